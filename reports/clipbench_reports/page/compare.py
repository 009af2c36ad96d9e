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
    difference_text,
    headline,
    standing,
    tally,
    ungated,
)
from clipbench.comparison.gate import REPORTED, Judged, Outcome, Status
from clipbench.comparison.records import Comparison, Difference, Verdict
from clipbench.results.costs import cost_table
from clipbench.results.provenance import moment
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Axis, Chart
from clipbench_reports.drawing.svg import two_lines
from clipbench_reports.galleries.flipped import Flipped, flipped
from clipbench_reports.galleries.images import MAX_BYTES, PageBudget
from clipbench_reports.page.compare_rows import (
    all_differences_html,
    difference_html,
    difference_rows,
    evaluation_anchors,
    evaluation_title,
    overview_html,
    similarity_html,
    telling,
)
from clipbench_reports.page.contents import PROVENANCE, SUMMARY, Entry, of_tasks
from clipbench_reports.page.groups import short
from clipbench_reports.page.provenance import citations, headline_facts, origin
from clipbench_reports.page.report import assets, write_page
from clipbench_reports.page.text import in_turn, sentence_case

STATUSES: Mapping[Status, tuple[str, str]] = {
    "regression": ("▲", "Regression"),
    "unmet": ("▲", "Not met"),
    "missing": ("✕", "Missing"),
    "untested": ("✕", "Untested"),
    "acknowledged": ("■", "Known"),
}
"""The mark and the word of each outcome."""
GLYPHS: Mapping[Standing, str] = {"worse": "▲", "incomplete": "✕", "doubtful": "■", "good": "●", "open": "■"}

BREADTH = 1.2
"""Width of a figure beside the samples that changed."""
NAME_LENGTH = 24
"""Letters of a line of a name beside a row, which has two."""
MAX_ROWS, MAX_LISTED = 12, 8
"""Rows of a figure and of a table that stand open."""
N_NAMED: Mapping[Verdict, int] = {"worse": 3, "better": 3, "different": 1}
"""Metrics of a verdict that are named at the top: the surest of each evaluation before the second of any."""
MOST_OUTCOMES = 4
"""Outcomes of the gate that stand open."""


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

    title: str
    data: str
    anchor: str = ""
    tally: str
    figure: Chart | None
    """The most telling fractions; None where the headline metric is none."""
    table: Markup
    """The most telling differences, where that is so."""
    whole: Chart | None
    """All fractions, unless the figure has them."""
    similarity: Markup | None = None
    """How alike the two models arrange the same pairs, as a table; None where the runs kept no vectors."""
    flipped: Sequence[Flipped] = ()


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
    n_metrics: int
    table: Markup
    """All differences."""


def write_compare(judged: Sequence[Judged], runs: Sequence[Run | None], path: Path) -> None:
    """Write the page of comparisons with one base, whole or not at all.

    Args:
        runs: the base, then the candidate of each comparison; None for results that are no run of clipbench.

    Raises:
        UsageError: the file cannot be written.
    """
    write_page("compare.html.j2", _context(judged, runs), path)


def _context(judged: Sequence[Judged], runs: Sequence[Run | None]) -> dict[str, object]:
    comparisons = [each.comparison for each in judged]
    names = short([comparisons[0].base, *(each.candidate for each in comparisons)])
    budget = PageBudget(MAX_BYTES)
    known = [(place, name, run) for place, (name, run) in enumerate(zip(names, runs, strict=True)) if run is not None]
    rows, reach = difference_rows(comparisons)
    parts = [
        _part(each, evaluation_anchors(each.comparison, place, len(judged)), (names[0], name), (runs[0], run), budget)
        for place, (each, name, run) in enumerate(zip(judged, names[1:], runs[1:], strict=True))
    ]
    return {
        **assets("compare"),
        "prints_all": False,
        "training": [],
        "models": [
            {"label": name, "facts": headline_facts(run) if run else "results without samples: values only"}
            for name, run in zip(names, runs, strict=True)
        ],
        "contents": [SUMMARY, *_sections(parts), PROVENANCE],
        "created": moment(max(run.result.created for _, _, run in known)) if known else "",
        "glyphs": VERDICTS,
        "rows": rows,
        "reach": reach,
        "overview": overview_html(comparisons, names) if len(judged) > 1 else "",
        "parts": parts,
        "most_outcomes": MOST_OUTCOMES,
        "citations": citations([run for _, _, run in known]),
        "costs": cost_table([run.result for _, _, run in known], [name for _, name, _ in known]),
        "origins": [origin(run, name, place) for place, name, run in known],
    }


def _sections(parts: Sequence[Part]) -> list[Entry]:
    """Return the sections: of one candidate the evaluations, of several the candidates."""
    if len(parts) > 1:
        return [Entry(f"c{place}", part.label) for place, part in enumerate(parts, 1)]
    return of_tasks(Entry(each.anchor, each.title, each.data) for each in parts[0].evaluations)


def _part(
    judged: Judged,
    anchors: Mapping[str, str],
    names: tuple[str, str],
    runs: tuple[Run | None, Run | None],
    budget: PageBudget,
) -> Part:
    comparison = judged.comparison
    base, candidate = runs
    changed = list(flipped(comparison, base, candidate, budget)) if base and candidate else []
    return Part(
        label=names[1],
        title=f"{names[1]} against {names[0]}",
        glyph=GLYPHS[standing(judged)],
        summary=_summary(judged),
        tally=tally(comparison.differences),
        verdicts=_verdicts(comparison, anchors),
        outcomes=[(*STATUSES[each.status], each) for each in judged.of(*REPORTED)],
        ungated=ungated(judged),
        refused=[str(each) for each in comparison.refused],
        notes=comparison.notes,
        evaluations=_evaluations(comparison, anchors, names, changed),
        n_metrics=len(comparison.differences),
        table=all_differences_html(comparison),
    )


def _summary(judged: Judged) -> str:
    if not judged.outcomes:
        return sentence_case(NO_GATE)
    return f"Gate: {headline(judged) or 'nothing was gated'}"


def _verdicts(comparison: Comparison, anchors: Mapping[str, str]) -> list[VerdictLine]:
    """Return a line for each verdict that there is."""
    lines = []
    for verdict in VERDICTS:
        decided = [each for each in comparison.differences if each.verdict == verdict]
        named = in_turn(sorted(decided, key=figures.doubt), lambda each: each.evaluation)[: N_NAMED.get(verdict, 0)]
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


def _evaluations(
    comparison: Comparison, anchors: Mapping[str, str], names: tuple[str, str], changed: Sequence[Flipped]
) -> list[Evaluated]:
    fractions = [each for each in comparison.differences if each.base.unit == "fraction"]
    axis = replace(figures.difference_axis(fractions, n_steps=4), label="Percentage points")
    return [
        replace(
            _evaluated(name, differences, axis, names),
            anchor=anchors[name],
            similarity=similarity_html(comparison, name),
            flipped=[each for each in changed if each.evaluation == name],
        )
        for name, differences in by_evaluation(comparison).items()
    ]


def _evaluated(name: str, differences: Sequence[Difference], axis: Axis, names: tuple[str, str]) -> Evaluated:
    """Return the most telling differences of an evaluation: a figure if its headline is a fraction, or else a table."""
    fractions = [each for each in differences if each.base.unit == "fraction"]
    is_drawn = telling(differences).base.unit == "fraction"
    few = figures.most_telling(fractions if is_drawn else differences, MAX_ROWS if is_drawn else MAX_LISTED)
    is_all = len(few) == len(fractions)
    reading = (
        "" if is_all else f"{len(few)} of {len(fractions)} fractions: headline metrics, and the surest differences."
    )
    whole = None if is_drawn and is_all else _figure(fractions, axis, names, f"All {len(fractions)} fractions")
    return Evaluated(
        title=evaluation_title(name),
        data=name.partition("@")[2],
        tally=tally(differences),
        figure=_figure(few, axis, names, f"{sentence_case(tally(differences))}.", reading) if is_drawn else None,
        table=Markup() if is_drawn else difference_html({"": few}),
        whole=whole if fractions else None,
    )


def _figure(shown: Sequence[Difference], axis: Axis, names: tuple[str, str], title: str, reading: str = "") -> Chart:
    """Return a figure in which the mark of each verdict stands beside its row."""
    names_of_rows = figures.row_names(shown, two_lines, NAME_LENGTH)
    rows = [f"{name} {VERDICTS[each.verdict]}" for name, each in zip(names_of_rows, shown, strict=True)]
    return Chart(
        title=title,
        panels=[figures.difference_panel(shown, rows, axis, names)],
        breadth=BREADTH,
        reading=reading,
        detail=" ".join(
            f"{each.title} {difference_text(each)}, {each.verdict}."
            for each in shown
            if each.verdict not in ("no evidence", "not tested")
        ),
    )
