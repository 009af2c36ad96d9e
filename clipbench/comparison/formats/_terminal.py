"""A comparison as a table for the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from clipbench.comparison.align import SIMILARITY
from clipbench.comparison.chain import Chain
from clipbench.comparison.formats import difference_tables as tables
from clipbench.comparison.gate_outcomes import QUIET, REPORTED, GateResult, Outcome
from clipbench.comparison.metric_difference import Difference, Flips
from clipbench.comparison.records import Comparison, Refusal
from clipbench.results.grouping import group_values
from clipbench.results.numbers import ascii_signs, counted
from clipbench.results.table import as_text
from clipbench.results.table.text import text_widths, wrap_text
from clipbench.untrusted.terminal import log_line

N_IDS = 5
"""Flipped samples that are named, each way. ``--format json`` has all."""
N_SLICES = 10
"""Rows of a table of slices, the gravest verdicts first."""
N_EXPLORED = 8
"""Explored metrics that got worse, in the short form."""
N_UNTESTED = 20
"""Metrics of a comparison without any test, in the short form."""
N_GATED = 4
"""Lines of the gate in the short form."""
SHORT_WIDTH = 100
"""Columns of the short form, where nothing narrower is asked for."""
SHORT = ("metric", "base", "candidate", "difference", "95 % interval", "p (Holm)", "verdict")
LEFT_OUT = ("p", "detectable")
"""Columns that a narrow terminal does without."""
WITHOUT_FLIPS = [index for index, column in enumerate(tables.COLUMNS) if column.header != "flipped"]
"""All columns but the flipped samples, which have lines of their own."""
MARKS = {
    "regression": "REGRESSION",
    "unmet": "NOT MET",
    "untested": "UNTESTED",
    "missing": "MISSING",
    "acknowledged": "known",
    "not decided": "not decided",
    "within": "within",
    "pass": "passed",
}


def terminal(comparisons: Sequence[Comparison], width: int | None = None, *, is_verbose: bool = False) -> str:
    """Return each comparison, and their verdicts as the last lines, which are never wrapped.

    Args:
        width: columns of the terminal. With None, the short form has ``SHORT_WIDTH`` and the long form is as wide as
            it needs to be.
        is_verbose: all metrics, slices, flipped samples and notes, not only headlines, losses and the gate.
    """
    if not is_verbose:
        width = min(width or SHORT_WIDTH, SHORT_WIDTH)
        sections = [
            [part for line in _short_lines(comparison, width) for part in wrap_text(log_line(line), width)]
            for comparison in comparisons
        ]
    else:
        sections = [list(map(log_line, _lines(comparison, width))) for comparison in comparisons]
    verdicts = list(map(log_line, tables.verdict_lines(comparisons)))
    if len(comparisons) == 1:
        sections[0] += verdicts
    else:
        sections.append(verdicts)
    return ascii_signs("\n\n".join(map("\n".join, sections)))


def chain_terminal(chain: Chain, width: int | None = None, *, is_verbose: bool = False) -> str:
    """Return the table of a chain, and its verdict as the last line.

    Args:
        width: columns of the terminal, None for the width of the table.
        is_verbose: the long form of each step and of the last run against the first too, above the table.
    """
    sections = []
    if is_verbose:
        sections = [list(map(log_line, _lines(comparison, width))) for comparison in (*chain.steps, chain.whole)]
    sections.append(list(map(log_line, chain.lines(width))))
    return ascii_signs("\n\n".join(map("\n".join, sections)))


def _short_lines(comparison: Comparison, width: int) -> Iterator[str]:
    """Yield headlines, what got worse, what was refused or not tested, and the gate."""
    yield f"{comparison.candidate} against {comparison.base}"
    if not comparison.differences:
        yield from (f"warning: {warning}" for warning in comparison.warnings)
        return  # the verdict has the reason
    yield ""
    explored = [
        difference
        for difference in comparison.differences
        if difference.verdict == "worse" and not difference.is_headline
    ]
    differences = [
        difference
        for difference in comparison.differences
        if difference.is_headline or difference in explored[:N_EXPLORED]
    ]
    is_tested = any(difference.p_value is not None for difference in comparison.differences)
    if not is_tested:
        differences = comparison.differences[:N_UNTESTED]
    if differences:
        table = tables.difference_table("", differences)
        rows = iter(table.rows)
        headed = [
            row
            for name, group in tables.by_evaluation(differences).items()
            for row in (name, *islice(rows, len(group)))
        ]
        indices = [index for index, column in enumerate(tables.COLUMNS) if column.header in SHORT]
        yield from as_text(replace(table, rows=headed).select(indices), indent="", width=width).splitlines()
    if len(explored) > N_EXPLORED:
        yield f"... and {counted(len(explored) - N_EXPLORED, 'metric')} more that got worse: -v"
    if not is_tested and len(comparison.differences) > len(differences):
        yield f"... and {counted(len(comparison.differences) - len(differences), 'metric')} more: -v"
    yield ""
    yield from _refusal_lines(comparison.refused)
    worse = [difference for difference in comparison.slices if difference.verdict == "worse"]
    if worse:
        yield f"{counted(len(worse), 'metric')} of slices got worse: -v"
    yield from (f"note: {note}" for note in comparison.notes if note.startswith(SIMILARITY))
    yield from (f"warning: {warning}" for warning in comparison.warnings)
    reported = comparison.gate.with_status(*REPORTED)
    yield from map(_outcome_line, reported[:N_GATED])
    if len(reported) > N_GATED:
        yield f"... and {len(reported) - N_GATED} more: -v"
    if comparison.notes:
        yield f"{counted(len(comparison.notes), 'note')}: -v"
    yield from _gate_lines(comparison.gate)


def _refusal_lines(refused: Sequence[Refusal]) -> Iterator[str]:
    """Yield a line for each reason why evaluations were not compared."""
    for reason, names in group_values((refusal.reason, refusal.evaluation) for refusal in refused).items():
        suffix = f" and {len(names) - 2} more" if len(names) > 2 else ""
        yield f"{', '.join(names[:2])}{suffix} {'is' if len(names) == 1 else 'are'} not comparable: {reason}"


def _lines(comparison: Comparison, width: int | None) -> Iterator[str]:
    yield f"{comparison.candidate} against {comparison.base}"
    if not comparison.differences:
        yield from (f"warning: {warning}" for warning in comparison.warnings)
        return
    by_evaluation = tables.by_evaluation(comparison.differences)
    by_name = {
        name: tables.difference_table(name, differences).select(WITHOUT_FLIPS)
        for name, differences in by_evaluation.items()
    }
    widths = [max(column) for column in zip(*map(text_widths, by_name.values()), strict=True)]
    is_narrow = width is not None and sum(widths[1:]) + 2 * len(widths) > width
    indices = [index for index in WITHOUT_FLIPS if not (is_narrow and tables.COLUMNS[index].header in LEFT_OUT)]
    widths = [widths[index] for index in indices] if widths else []
    for name, table in by_name.items():
        yield ""
        yield from as_text(table.select(indices), widths=widths, width=width).splitlines()
        yield from _flip_lines(by_evaluation[name])
    for title, slices in tables.by_grouping(comparison).items():
        yield ""
        yield from as_text(tables.difference_table(title, slices[:N_SLICES]).select(indices), width=width).splitlines()
        if len(slices) > N_SLICES:
            yield f"  ... ({len(slices) - N_SLICES} more: --format json has all)"
    yield ""
    if is_narrow:
        yield f"left out in {width} columns: {' and '.join(LEFT_OUT)} (--format md has all)"
    for name, similar in tables.by_evaluation(comparison.representational_similarity).items():
        yield from tables.similarity_lines(name, similar)
    yield from map(str, comparison.refused)
    yield from (f"note: {note}" for note in comparison.notes)
    yield from (f"warning: {warning}" for warning in comparison.warnings)
    if comparison.slices:
        yield f"slices: {tables.tally(comparison.slices)}"
    yield from map(_outcome_line, comparison.gate.with_status(*REPORTED, *QUIET))
    yield tables.tally(comparison.differences)
    yield from _gate_lines(comparison.gate)


def _flip_lines(differences: Sequence[Difference]) -> Iterator[str]:
    for difference in differences:
        flips = difference.flips or Flips((), ())
        for word, ids in (
            ("gained", flips.gained),
            ("lost", flips.lost),
            ("gained in part (ties)", flips.part_gained),
            ("lost in part (ties)", flips.part_lost),
        ):
            if ids:
                ellipsis = f", ... (--format json has all {len(ids):,})" if len(ids) > N_IDS else ""
                yield f"  {difference.name} {word} {len(ids):,}: {', '.join(ids[:N_IDS])}{ellipsis}"


def _outcome_line(outcome: Outcome) -> str:
    return f"{MARKS[outcome.status]}  {outcome.metric} ({outcome.rule}): {outcome.message}"


def _gate_lines(gate: GateResult) -> Iterator[str]:
    """Yield what the gate decided, and what it does not gate."""
    if gate.outcomes:
        yield f"gate: {gate.counts or 'nothing is gated'}"
    yield from tables.ungated_lines(gate)
