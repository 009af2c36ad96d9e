"""The tables of a comparison's page: a row for each difference, and one table of all candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.comparison.formats import Cells, by_evaluation, cells
from clipbench.comparison.records import Comparison, Difference, Verdict
from clipbench.results.titles import full_title

ORDER: tuple[Verdict, ...] = ("worse", "better", "different", "too small to matter", "no evidence", "not tested")
"""What a reader looks for first; a table is sorted by it."""
GLYPHS: Mapping[Verdict, str] = {
    "worse": "▲",
    "better": "●",
    "different": "■",
    "too small to matter": "≈",
    "no evidence": "○",
    "not tested": "–",
}
"""The marks of the report's findings: what is filled is a finding, what is hollow is none."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A difference as the table of a candidate shows it."""

    cells: Cells
    words: str
    """What the metric is, where that is known."""
    flips: str
    note: int
    """The footnote that says why there is no test, counted from 1; 0 where there is one."""
    keys: Mapping[str, object]
    """What columns are sorted by; nothing for what has no number."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The differences of an evaluation, with the footnotes of their rows."""

    rows: Sequence[Row]
    footnotes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class OverviewCell:
    """What one candidate has of a metric."""

    cells: Cells
    key: float
    anchor: str
    """Of the evaluation in the candidate's part."""


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """A metric of all candidates."""

    metric: str
    words: str
    base: str
    base_key: float | None
    candidates: Sequence[OverviewCell | None]
    """None where the metric was not compared."""


def table(found: Sequence[Difference]) -> Table:
    """Return the differences of an evaluation as rows."""
    notes = list(dict.fromkeys(each.test for each in found if each.p_value is None))
    return Table(rows=[_row(each, notes) for each in found], footnotes=[_footnote(note) for note in notes])


def overview(comparisons: Sequence[Comparison]) -> dict[str, list[OverviewRow]]:
    """Return all metrics by evaluation, with the difference of every candidate, in the order of the first that has it.

    A task that was asked twice on the same data has its metrics twice.
    """
    found: dict[tuple[str, str, int], dict[int, Difference]] = {}
    for place, comparison in enumerate(comparisons):
        seen: dict[tuple[str, str], int] = {}
        for each in comparison.differences:
            name = each.evaluation, each.name
            seen[name] = seen.get(name, 0) + 1
            found.setdefault((*name, seen[name]), {})[place] = each
    anchors = [
        {name: anchor(place, k) for k, name in enumerate(by_evaluation(comparison))}
        for place, comparison in enumerate(comparisons)
    ]
    rows: dict[str, list[OverviewRow]] = {}
    for (evaluation, _, _), by_place in found.items():
        rows.setdefault(evaluation, []).append(_overview_row(by_place, anchors))
    return rows


def anchor(candidate: int, evaluation: int) -> str:
    """Return the id of an evaluation's heading in a candidate's part, both by their places."""
    return f"c{candidate + 1}-{evaluation + 1}"


def _overview_row(by_place: Mapping[int, Difference], anchors: Sequence[Mapping[str, str]]) -> OverviewRow:
    first = next(iter(by_place.values()))
    return OverviewRow(
        metric=cells(first).metric,
        words=_words(first),
        base=cells(first).base,
        base_key=first.base.value,
        candidates=[
            OverviewCell(cells=cells(by_place[place]), key=by_place[place].value, anchor=names[first.evaluation])
            if place in by_place
            else None
            for place, names in enumerate(anchors)
        ],
    )


def _row(found: Difference, notes: Sequence[str]) -> Row:
    n_flips = 0 if found.flips is None else len(found.flips.gained) + len(found.flips.lost)
    flips = "" if found.flips is None else f"+{len(found.flips.gained):,} −{len(found.flips.lost):,}"
    keys = {
        "base": found.base.value,
        "candidate": found.candidate.value,
        "difference": found.value,
        "interval": found.low,
        "p": found.p_adjusted,
        "detectable": found.detectable,
        "flips": n_flips if flips else None,
        "verdict": ORDER.index(found.verdict),
    }
    return Row(
        cells=cells(found),
        words=_words(found),
        flips=flips,
        note=0 if found.p_value is not None else notes.index(found.test) + 1,
        keys={name: "" if key is None else key for name, key in keys.items()},
    )


def _words(found: Difference) -> str:
    """Return the title of a metric, which the results of other tools, or of before there were titles, do not have."""
    return full_title(found.name, found.candidate if found.candidate.title else found.base, {})


def _footnote(test: str) -> str:
    """Return the reason for no test as a sentence.

    Example:
        >>> _footnote("no test: the value is no mean over samples")
        'No test: the value is no mean over samples.'
    """
    return f"{test[:1].upper()}{test[1:].rstrip('.')}."
