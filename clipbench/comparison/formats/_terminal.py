"""A comparison as a table for the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from clipbench.comparison.align import SIMILARITY
from clipbench.comparison.formats import tables
from clipbench.comparison.gate import REPORTED, Judged, Outcome
from clipbench.comparison.records import Difference, Flips, Refusal
from clipbench.results.numbers import ascii_signs, counted
from clipbench.results.table import as_text
from clipbench.results.table.text import text_widths, wrapped
from clipbench.untrusted.terminal import log_line

N_IDS = 5
"""Flipped samples that are named, each way; ``--format json`` has all."""
N_SLICES = 10
"""Rows of a table of slices, the gravest verdicts first."""
N_EXPLORED = 8
"""Explored metrics that got worse, in the short form."""
N_GATED = 4
"""Lines of the gate in the short form."""
SHORT_WIDTH = 100
"""Columns of the short form, where nothing narrower is asked for."""
SHORT = ("metric", "base", "candidate", "difference", "95 % interval", "p (Holm)", "verdict")
LEFT_OUT = ("p", "detectable")
"""Columns that a narrow terminal does without."""
MARKS = {
    "regression": "REGRESSION",
    "unmet": "NOT MET",
    "untested": "UNTESTED",
    "missing": "MISSING",
    "acknowledged": "known",
}


def terminal(judged: Sequence[Judged], width: int | None = None, *, is_verbose: bool = False) -> str:
    """Return each comparison, its verdict last, where it is read first.

    Args:
        width: columns of the terminal; None: of the short form ``SHORT_WIDTH``, and of the long one as many as it needs.
        is_verbose: all metrics, slices, flipped samples and notes, not headlines, what got worse and the gate alone.
    """
    if not is_verbose:
        width = min(width or SHORT_WIDTH, SHORT_WIDTH)
        lines = [[part for line in _short(each, width) for part in wrapped(log_line(line), width)] for each in judged]
    else:
        lines = [list(map(log_line, _lines(each, width))) for each in judged]
    return ascii_signs("\n\n".join(map("\n".join, lines)))


def _short(judged: Judged, width: int) -> Iterator[str]:
    """Yield headlines, what got worse, what was refused, the gate and the verdict."""
    comparison = judged.comparison
    yield f"{comparison.candidate} against {comparison.base}"
    yield ""
    explored = [each for each in comparison.differences if each.verdict == "worse" and not each.is_headline]
    shown = [each for each in comparison.differences if each.is_headline or each in explored[:N_EXPLORED]]
    if shown:
        table = tables.difference_table("", shown)
        rows = iter(table.rows)
        headed = [
            row for name, those in tables.by_evaluation(shown).items() for row in (name, *islice(rows, len(those)))
        ]
        places = [place for place, column in enumerate(tables.COLUMNS) if column.header in SHORT]
        yield from as_text(replace(table, rows=headed).select(places), indent="", width=width).splitlines()
    if len(explored) > N_EXPLORED:
        yield f"... and {counted(len(explored) - N_EXPLORED, 'metric')} more that got worse: -v"
    yield ""
    yield from _refusals(comparison.refused)
    worse = [each for each in comparison.slices if each.verdict == "worse"]
    if worse:
        yield f"{counted(len(worse), 'metric')} of slices got worse: -v"
    yield from (f"note: {note}" for note in comparison.notes if note.startswith(SIMILARITY))
    reported = judged.of(*REPORTED)
    yield from map(_outcome, reported[:N_GATED])
    if len(reported) > N_GATED:
        yield f"... and {len(reported) - N_GATED} more: -v"
    if comparison.notes or tables.ungated(judged):
        yield f"{counted(len(comparison.notes) + len(tables.ungated(judged)), 'note')}: -v"
    yield from _verdict(judged)


def _refusals(refused: Sequence[Refusal]) -> Iterator[str]:
    """Yield a line for each reason why evaluations were not compared."""
    by_reason: dict[str, list[str]] = {}
    for each in refused:
        by_reason.setdefault(each.reason, []).append(each.evaluation)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        yield f"{', '.join(names[:2])}{more} {'is' if len(names) == 1 else 'are'} not comparable: {reason}"


def _lines(judged: Judged, width: int | None) -> Iterator[str]:
    comparison = judged.comparison
    yield f"{comparison.candidate} against {comparison.base}"
    found = tables.by_evaluation(comparison.differences)
    by_name = {name: tables.difference_table(name, those).select(range(9)) for name, those in found.items()}
    widths = [max(column) for column in zip(*map(text_widths, by_name.values()), strict=True)]
    is_narrow = width is not None and sum(widths[1:]) + 2 * len(widths) > width
    places = [place for place in range(9) if not (is_narrow and tables.COLUMNS[place].header in LEFT_OUT)]
    widths = [widths[place] for place in places] if widths else []
    for name, table in by_name.items():
        yield ""
        yield from as_text(table.select(places), widths=widths, width=width).splitlines()
        yield from _flips(found[name])
    for title, slices in tables.by_grouping(comparison).items():
        yield ""
        yield from as_text(tables.difference_table(title, slices[:N_SLICES]).select(places), width=width).splitlines()
        if len(slices) > N_SLICES:
            yield f"  ... ({len(slices) - N_SLICES} more: --format json has all)"
    yield ""
    if is_narrow:
        yield f"left out in {width} columns: {' and '.join(LEFT_OUT)} (--format md has all)"
    for name, similar in tables.by_data(comparison).items():
        yield from tables.similarity_lines(name, similar)
    yield from map(str, comparison.refused)
    yield from (f"note: {note}" for note in comparison.notes)
    if comparison.slices:
        yield f"slices: {tables.tally(comparison.slices)}"
    yield from map(_outcome, judged.of(*REPORTED))
    for message, metrics in tables.ungated(judged).items():
        more = f" (and {len(metrics) - 1} more)" if len(metrics) > 1 else ""
        yield f"not gated: {metrics[0]}{more}: {message}"
    yield from _verdict(judged)


def _flips(differences: Sequence[Difference]) -> Iterator[str]:
    for each in differences:
        flips = each.flips or Flips((), ())
        ways = {"gained": flips.gained, "lost": flips.lost}
        ways |= {"gained in part (ties)": flips.part_gained, "lost in part (ties)": flips.part_lost}
        for word, ids in ways.items():
            if ids:
                more = f", ... (--format json has all {len(ids):,})" if len(ids) > N_IDS else ""
                yield f"  {each.name} {word} {len(ids):,}: {', '.join(ids[:N_IDS])}{more}"


def _outcome(each: Outcome) -> str:
    return f"{MARKS[each.status]}  {each.metric} ({each.rule}): {each.message}"


def _verdict(judged: Judged) -> Iterator[str]:
    """Yield what all metrics say, and last what decides: the gate, where there is one."""
    found = tables.tally(judged.comparison.differences)
    yield found if judged.outcomes else f"{found}; {tables.NO_GATE}"
    if judged.outcomes:
        yield f"gate: {tables.headline(judged) or 'nothing was gated'}"
