"""A comparison as a table for the terminal."""

from collections.abc import Iterator, Sequence

from clipbench.comparison.formats.tables import (
    COLUMNS,
    NO_GATE,
    by_data,
    by_evaluation,
    by_grouping,
    difference_table,
    headline,
    similarity_lines,
    tally,
    ungated,
)
from clipbench.comparison.gate import REPORTED, Judged
from clipbench.comparison.records import Difference, Flips
from clipbench.results.numbers import ascii_signs
from clipbench.results.table import as_text
from clipbench.results.table.text import text_widths
from clipbench.untrusted.terminal import log_line

N_IDS = 5
"""Flipped samples that are named, each way; ``--format json`` has all."""
N_SLICES = 10
"""Rows of a table of slices, the gravest verdicts first."""
LEFT_OUT = ("p", "detectable")
"""Columns that a narrow terminal does without."""
MARKS = {
    "regression": "REGRESSION",
    "unmet": "NOT MET",
    "untested": "UNTESTED",
    "missing": "MISSING",
    "acknowledged": "known",
}


def terminal(judged: Sequence[Judged], width: int | None = None) -> str:
    """Return a table for each comparison, and the verdict of the gate last, where it is read first.

    Args:
        width: columns of the terminal; a wider table loses the columns ``p`` and ``detectable``. None: nothing is lost.
    """
    return ascii_signs("\n\n".join("\n".join(map(log_line, _lines(each, width))) for each in judged))


def _lines(judged: Judged, width: int | None) -> Iterator[str]:
    comparison = judged.comparison
    yield f"{comparison.candidate} against {comparison.base}"
    found = by_evaluation(comparison)
    tables = {name: difference_table(name, those).select(range(9)) for name, those in found.items()}
    widths = [max(column) for column in zip(*map(text_widths, tables.values()), strict=True)]
    is_narrow = width is not None and sum(widths[1:]) + 2 * len(widths) > width
    places = [place for place in range(9) if not (is_narrow and COLUMNS[place].header in LEFT_OUT)]
    widths = [widths[place] for place in places] if widths else []
    for name, table in tables.items():
        yield ""
        yield from as_text(table.select(places), widths=widths, width=width).splitlines()
        yield from _flips(found[name])
    for title, slices in by_grouping(comparison).items():
        yield ""
        yield from as_text(difference_table(title, slices[:N_SLICES]).select(places), width=width).splitlines()
        if len(slices) > N_SLICES:
            yield f"  ... ({len(slices) - N_SLICES} more: --format json has all)"
    yield ""
    if is_narrow:
        yield f"left out in {width} columns: {' and '.join(LEFT_OUT)} (--format md has all)"
    for name, similar in by_data(comparison).items():
        yield from similarity_lines(name, similar)
    yield from map(str, comparison.refused)
    yield from (f"note: {note}" for note in comparison.notes)
    yield tally(comparison.differences)
    if comparison.slices:
        yield f"slices: {tally(comparison.slices)}"
    if judged.outcomes:
        yield ""
        yield from _gate(judged)
    else:
        yield NO_GATE


def _flips(differences: Sequence[Difference]) -> Iterator[str]:
    for each in differences:
        flips = each.flips or Flips((), ())
        ways = {"gained": flips.gained, "lost": flips.lost}
        ways |= {"gained in part (ties)": flips.part_gained, "lost in part (ties)": flips.part_lost}
        for word, ids in ways.items():
            if ids:
                more = f", ... (--format json has all {len(ids):,})" if len(ids) > N_IDS else ""
                yield f"  {each.name} {word} {len(ids):,}: {', '.join(ids[:N_IDS])}{more}"


def _gate(judged: Judged) -> Iterator[str]:
    for each in judged.of(*REPORTED):
        yield f"{MARKS[each.status]}  {each.metric} ({each.rule}): {each.message}"
    for message, metrics in ungated(judged).items():
        more = f" (and {len(metrics) - 1} more)" if len(metrics) > 1 else ""
        yield f"not gated: {metrics[0]}{more}: {message}"
    yield f"gate: {headline(judged) or 'nothing was gated'}"
