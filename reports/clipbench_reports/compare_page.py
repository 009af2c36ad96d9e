"""The page of a comparison: what the gate says, all differences with their verdicts, and the samples that changed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from clipbench.compare import Comparison, Difference
from clipbench.compare_formats import Cells, by_evaluation, cells, headline, refusals, tally
from clipbench.gate import TELLING, Judged, Outcome
from clipbench.result import Run
from clipbench_reports import figures
from clipbench_reports.drawing import Figure
from clipbench_reports.evidence import Lacking
from clipbench_reports.flipped import Flipped, flipped
from clipbench_reports.groups import short
from clipbench_reports.html import static, write_page
from clipbench_reports.pictures import MAX_BYTES, Room
from clipbench_reports.provenance import headline_facts, moment, origin
from clipbench_reports.words import describe

MARKS = {
    "regression": "weak",
    "unmet": "weak",
    "missing": "missing",
    "untested": "missing",
    "acknowledged": "plain",
}
"""Of outcomes, the marks of the report's findings."""

BREADTH, FLATTENED = 2.0, 0.55
"""The figure is two columns wide, and its rows stand as far apart as lines of text."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A difference as the table shows it."""

    cells: Cells
    words: str
    """What the metric is, where that is known."""
    flips: str
    why: str
    """Which test was made, or why none."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One candidate against the base."""

    title: str
    summary: str
    tally: str
    outcomes: Sequence[tuple[str, Outcome]]
    """What did not pass, with its mark; what passed is only counted."""
    ungated: Mapping[str, Sequence[str]]
    """Metrics that a pattern matches and its tolerance means nothing for, by the reason."""
    refused: Sequence[str]
    notes: Sequence[str]
    tables: Sequence[tuple[str, Sequence[Row]]]
    figures: Sequence[Figure]
    lacking: str
    flipped: Sequence[Flipped]


def write_compare(judged: Sequence[Judged], runs: Sequence[Run | None], path: Path) -> None:
    """Write the page of comparisons with one base, whole or not at all.

    Args:
        runs: the base, then the candidate of each comparison; None for results that are no run of clipbench.

    Raises:
        UsageError: the file cannot be written.
    """
    write_page("compare.html.j2", _context(judged, runs), path, what="page")


def _context(judged: Sequence[Judged], runs: Sequence[Run | None]) -> dict[str, object]:
    names = short([judged[0].comparison.base, *(each.comparison.candidate for each in judged)])
    room = Room(MAX_BYTES)
    known = [(name, run) for name, run in zip(names, runs, strict=True) if run is not None]
    return {
        "style": Markup("\n".join(static(name) for name in ("report.css", "compare.css"))),
        "models": [
            {"label": name, "facts": headline_facts(run) if run else "results without samples: values only"}
            for name, run in zip(names, runs, strict=True)
        ],
        "created": moment(max(run.result.created for _, run in known)) if known else "",
        "parts": [
            _part(each, (names[0], name), (runs[0], run), room)
            for each, name, run in zip(judged, names[1:], runs[1:], strict=True)
        ],
        "origins": [origin(run, name, place) for place, (name, run) in enumerate(known)],
    }


def _part(judged: Judged, names: tuple[str, str], runs: tuple[Run | None, Run | None], room: Room) -> Part:
    comparison = judged.comparison
    base, candidate = runs
    drawn, lacking = _figures(comparison, names)
    return Part(
        title=f"{names[1]} against {names[0]}",
        summary=headline(judged),
        tally=tally(comparison.differences),
        outcomes=[(MARKS[each.status], each) for each in judged.of(*TELLING)],
        ungated=_by_message(judged.of("not gated")),
        refused=refusals(comparison),
        notes=comparison.notes,
        tables=[(name, [_row(each) for each in found]) for name, found in by_evaluation(comparison).items()],
        figures=drawn,
        lacking=lacking,
        flipped=list(flipped(comparison, base, candidate, room)) if base and candidate else [],
    )


def _by_message(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in outcomes:
        found.setdefault(each.message, []).append(each.metric)
    return found


def _row(found: Difference) -> Row:
    flips = "" if found.flips is None else f"+{len(found.flips.gained):,} −{len(found.flips.lost):,}"
    why = found.test if found.p_value is None else ""
    return Row(cells=Cells(*map(_typeset, cells(found))), words=describe(found.name), flips=flips, why=why)


def _typeset(text: str) -> str:
    """Return a cell with a minus that is one, and a dash for no number."""
    return "–" if text == "-" else re.sub(r"(?<![\w@])-(?=[0-9])", "−", text)


def _figures(comparison: Comparison, names: tuple[str, str]) -> tuple[list[Figure], str]:
    """Return the figure of the differences, its sentence that of the verdicts; or why there is none."""
    try:
        drawn = figures.compare(comparison.differences, names)
    except Lacking as reason:
        return [], str(reason)
    fractions = [each for each in comparison.differences if each.base.unit == "fraction"]
    title = f"{names[1]} against {names[0]}, metrics that are fractions: {tally(fractions)}."
    panels = [replace(panel, aspect=FLATTENED * panel.aspect) for panel in drawn.panels]
    return [replace(drawn, title=title, panels=panels, breadth=BREADTH)], ""
