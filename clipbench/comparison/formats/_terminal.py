"""A comparison as a table for the terminal."""

from collections.abc import Iterator, Sequence

from clipbench.comparison.formats._cells import (
    HEADINGS,
    by_evaluation,
    cells,
    headline,
    refusals,
    tally,
    ungated,
    untested,
)
from clipbench.comparison.gate import TELLING, Judged
from clipbench.comparison.records import Difference
from clipbench.results.numbers import ascii_signs

N_IDS = 5
"""Of flipped samples, each way; ``--format json`` has all."""
MARKS = {
    "regression": "REGRESSION",
    "unmet": "NOT MET",
    "untested": "UNTESTED",
    "missing": "MISSING",
    "acknowledged": "known",
}


def terminal(judged: Sequence[Judged]) -> str:
    """Return a table for each comparison, and what the gate says last, where it is read first."""
    return ascii_signs("\n\n".join("\n".join(_lines(each)) for each in judged))


def _lines(judged: Judged) -> Iterator[str]:
    comparison = judged.comparison
    yield f"{comparison.candidate} against {comparison.base}"
    tables = by_evaluation(comparison)
    rows = {name: [cells(each) for each in found] for name, found in tables.items()}
    widths = [
        max(map(len, column))
        for column in zip(HEADINGS, *(row for found in rows.values() for row in found), strict=True)
    ]
    for name, found in rows.items():
        yield ""
        yield name
        yield _row(HEADINGS, widths)
        yield from (_row(row, widths) for row in found)
        yield from _flips(tables[name])
        yield from (f"  {line}" for line in untested(tables[name]))
    yield ""
    yield from refusals(comparison)
    yield from (f"note: {note}" for note in comparison.notes)
    yield tally(comparison.differences)
    if judged.outcomes:
        yield from _gate(judged)


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        f"{cell:<{width}}" if place in (0, len(row) - 1) else f"{cell:>{width}}"
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"  {'  '.join([first, *rest])}".rstrip()


def _flips(found: Sequence[Difference]) -> Iterator[str]:
    for each in found:
        if each.flips is not None:
            for word, ids in (("gained", each.flips.gained), ("lost", each.flips.lost)):
                if ids:
                    more = f", ... (--format json has all {len(ids):,})" if len(ids) > N_IDS else ""
                    yield f"  {each.name} {word} {len(ids):,}: {', '.join(ids[:N_IDS])}{more}"


def _gate(judged: Judged) -> Iterator[str]:
    yield ""
    for each in judged.of(*TELLING):
        yield f"{MARKS[each.status]}  {each.metric} ({each.rule}): {each.message}"
    for message, metrics in ungated(judged).items():
        yield f"not gated: {metrics[0]}{_more(len(metrics) - 1)}: {message}"
    yield f"gate: {headline(judged) or 'nothing was gated'}"


def _more(n: int) -> str:
    return f" (and {n} more)" if n else ""
