"""The page of a comparison: what the gate says, all differences with their verdicts, and the samples that changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from clipbench.comparison.formats import (
    NO_GATE,
    VERDICTS,
    Standing,
    by_evaluation,
    by_grouping,
    difference_text,
    headline,
    standing,
    tally,
    ungated,
)
from clipbench.comparison.gate import REPORTED, Judged, Outcome, Status
from clipbench.comparison.records import Comparison, Difference, Verdict
from clipbench.results.provenance import moment
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Chart, Panel
from clipbench_reports.galleries.flipped import Flipped, flipped
from clipbench_reports.galleries.images import MAX_BYTES, PageBudget
from clipbench_reports.page.compare_rows import anchor, difference_html, overview_html
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.groups import short
from clipbench_reports.page.provenance import headline_facts, origin
from clipbench_reports.page.report import assets, write_page
from clipbench_reports.page.text import sentence_case

STATUSES: Mapping[Status, tuple[str, str]] = {
    "regression": ("▲", "Regression"),
    "unmet": ("▲", "Not met"),
    "missing": ("✕", "Missing"),
    "untested": ("✕", "Untested"),
    "acknowledged": ("■", "Known"),
}
"""The mark and the word of each outcome."""
GLYPHS: Mapping[Standing, str] = {"worse": "▲", "incomplete": "✕", "doubtful": "■", "good": "●", "open": "■"}

BREADTH, FLATTENED = 1.75, 0.64
"""Width of a figure, two columns, and the distance of its rows, that of lines of text."""
N_NAMED = 4
"""Metrics of a verdict that are named at the top, the surest first."""


@dataclass(frozen=True, kw_only=True)
class VerdictLine:
    """The number of metrics with a verdict, and the surest of them."""

    glyph: str
    verdict: Verdict
    count: str
    named: Sequence[tuple[str, str, str]]
    """Metric, difference, and the heading that it stands under."""
    n_more: int


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation of both models."""

    name: str
    anchor: str
    table: Markup
    figure: Chart | None
    """None where no metric is a fraction."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One candidate against the base."""

    label: str
    title: str
    glyph: str
    """Mark of the gate's verdict, or of the gravest significant change where there is no gate."""
    summary: str
    """The gate's verdict in a few words, or that there was none."""
    tally: str
    verdicts: Sequence[VerdictLine]
    outcomes: Sequence[tuple[str, str, Outcome]]
    """Outcomes that did not pass, with mark and word; those that passed are only counted."""
    ungated: Mapping[str, Sequence[str]]
    """Metrics that a pattern matches and its tolerance means nothing for, by the reason."""
    refused: Sequence[str]
    notes: Sequence[str]
    evaluations: Sequence[Evaluated]
    flipped: Sequence[Flipped]


def write_compare(judged: Sequence[Judged], runs: Sequence[Run | None], path: Path) -> None:
    """Write the page of comparisons with one base, whole or not at all.

    Args:
        runs: the base, then the candidate of each comparison; None for results that are no run of clipbench.

    Raises:
        UsageError: the file cannot be written.
    """
    write_page("compare.html.j2", _context(judged, runs), path)


def _context(judged: Sequence[Judged], runs: Sequence[Run | None]) -> dict[str, object]:
    names = short([judged[0].comparison.base, *(each.comparison.candidate for each in judged)])
    budget = PageBudget(MAX_BYTES)
    known = [(place, name, run) for place, (name, run) in enumerate(zip(names, runs, strict=True)) if run is not None]
    return {
        **assets("compare"),
        "models": [
            {"label": name, "facts": headline_facts(run) if run else "results without samples: values only"}
            for name, run in zip(names, runs, strict=True)
        ],
        "created": moment(max(run.result.created for _, _, run in known)) if known else "",
        "glyphs": VERDICTS,
        "overview": overview_html([each.comparison for each in judged], names) if len(judged) > 1 else "",
        "parts": [
            _part(each, place, names=(names[0], name), runs=(runs[0], run), budget=budget)
            for place, (each, name, run) in enumerate(zip(judged, names[1:], runs[1:], strict=True))
        ],
        "origins": [origin(run, name, place) for place, name, run in known],
    }


def _part(
    judged: Judged, place: int, *, names: tuple[str, str], runs: tuple[Run | None, Run | None], budget: PageBudget
) -> Part:
    comparison = judged.comparison
    base, candidate = runs
    return Part(
        label=names[1],
        title=f"{names[1]} against {names[0]}",
        glyph=GLYPHS[standing(judged)],
        summary=_summary(judged),
        tally=tally(comparison.differences),
        verdicts=_verdicts(comparison, place),
        outcomes=[(*STATUSES[each.status], each) for each in judged.of(*REPORTED)],
        ungated=ungated(judged),
        refused=[str(each) for each in comparison.refused],
        notes=comparison.notes,
        evaluations=_evaluations(comparison, names, place),
        flipped=list(flipped(comparison, base, candidate, budget)) if base and candidate else [],
    )


def _summary(judged: Judged) -> str:
    if not judged.outcomes:
        return sentence_case(NO_GATE)
    return f"Gate: {headline(judged) or 'nothing was gated'}"


def _verdicts(comparison: Comparison, place: int) -> list[VerdictLine]:
    """Return a line for each verdict that there is."""
    anchors = {name: anchor(place, k) for k, name in enumerate(by_evaluation(comparison))}
    lines = []
    for verdict in VERDICTS:
        decided = [each for each in comparison.differences if each.verdict == verdict]
        named = sorted(decided, key=_doubt)[:N_NAMED] if verdict in ("worse", "better", "different") else []
        if decided:
            lines.append(
                VerdictLine(
                    glyph=VERDICTS[verdict],
                    verdict=verdict,
                    count=tally(decided),
                    named=[(each.label, difference_text(each), anchors[each.evaluation]) for each in named],
                    n_more=len(decided) - len(named) if named else 0,
                )
            )
    return lines


def _doubt(each: Difference) -> float:
    """Return the width of a difference's interval, where 1 is the difference itself."""
    if each.low is None or each.high is None or not each.value:
        return float("inf")
    return (each.high - each.low) / abs(each.value)


def _evaluations(comparison: Comparison, names: tuple[str, str], place: int) -> list[Evaluated]:
    drawn = _figures(comparison, names)
    return [
        Evaluated(name=name, anchor=anchor(place, k), table=difference_html(differences), figure=drawn.get(name))
        for k, (name, differences) in enumerate((by_evaluation(comparison) | by_grouping(comparison)).items())
    ]


def _figures(comparison: Comparison, names: tuple[str, str]) -> dict[str, Chart]:
    """Return the figure of each evaluation's fractions, all on the same axis."""
    try:
        drawn = figures.compare(comparison.differences, names)
    except MissingEvidence:
        return {}
    axis = drawn.panels[-1].x
    charts = {}
    for panel in drawn.panels:
        shown = [
            each for each in comparison.differences if (each.evaluation, each.base.unit) == (panel.title, "fraction")
        ]
        charts[panel.title] = replace(
            drawn,
            title=f"{panel.title}: {tally(shown)}.",
            panels=[replace(_with_verdicts(panel, shown), x=axis)],
            breadth=BREADTH,
            detail=" ".join(
                f"{each.title} {difference_text(each)}, {each.verdict}."
                for each in shown
                if each.verdict not in ("no evidence", "not tested")
            ),
        )
    return charts


def _with_verdicts(panel: Panel, shown: Sequence[Difference]) -> Panel:
    """Return a panel in which the mark of each verdict stands beside its row."""
    names = [f"{name} {VERDICTS[each.verdict]}" for name, each in zip(panel.y.names, shown, strict=True)]
    return replace(panel, title="", y=replace(panel.y, names=names), aspect=FLATTENED * panel.aspect)
