"""A comparison as a table for the terminal."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from clipbench.comparison.align import SIMILARITY
from clipbench.comparison.chain import Chain
from clipbench.comparison.formats import difference_tables as tables
from clipbench.comparison.formats._many import many_lines
from clipbench.comparison.gate_outcomes import QUIET, REPORTED, GateResult, Outcome, Status
from clipbench.comparison.metric_difference import Difference, Flips
from clipbench.comparison.records import Comparison, Refusal
from clipbench.results.grouping import group_values
from clipbench.results.numbers import ascii_signs, counted
from clipbench.results.table import Cell, Row, Table, as_text, note_number
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
TABLE_WIDTH = 112
"""Columns of the table in the short form, where nothing narrower is asked for."""
MOST_LINES = 40
"""Lines of the sections of several candidates in the short form, and one more for each candidate."""
MANY_WIDTH = 120
"""Columns of the table of many candidates without a terminal."""
SHORT = ("metric", "base", "candidate", "difference", "95 % interval", "p (Holm)", "verdict")
LEFT_OUT = ("p", "detectable")
"""Columns that a narrow terminal does without."""
WITHOUT_FLIPS = [index for index, column in enumerate(tables.COLUMNS) if column.header != "flipped"]
"""All columns but the flipped samples, which have lines of their own."""
STATUSES_IN_TABLE: tuple[Status, ...] = ("regression", "acknowledged")
"""Outcomes of the gate that are words in the table of differences: each is printed once."""
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


def terminal(
    comparisons: Sequence[Comparison],
    width: int | None = None,
    *,
    is_verbose: bool = False,
    labels: Sequence[str] | None = None,
) -> str:
    """Return each comparison, and their verdicts as the last lines, which are never wrapped.

    More than ``tables.FEW`` candidates have a row each, and one verdict: the worst one's. Fewer have a row each too if
    their sections would have more than ``MOST_LINES`` lines.

    Args:
        width: columns of the terminal. With None, the short form has ``SHORT_WIDTH`` and the long form is as wide as
            it needs to be.
        is_verbose: all metrics, slices, flipped samples and notes, not only headlines, losses and the gate.
        labels: names of the base and of the candidates in the rows of many.
    """
    verdicts = list(map(log_line, tables.verdict_lines(comparisons)))
    if is_verbose:
        sections = [list(map(log_line, _lines(comparison, width))) for comparison in comparisons]
    else:
        short_width = min(width or SHORT_WIDTH, SHORT_WIDTH)
        table_width = min(width or TABLE_WIDTH, TABLE_WIDTH)
        sections = [_short_section(comparison, short_width, table_width) for comparison in comparisons]
        n_lines = sum(map(len, sections)) + 2 * len(sections)
        is_long = len(comparisons) > 1 and n_lines > MOST_LINES + len(comparisons)
        if len(comparisons) > tables.FEW or is_long:
            many_width = width or MANY_WIDTH
            ordered, ordered_labels = _worst_last(comparisons, labels)
            lines = [*many_lines(ordered, many_width, ordered_labels), _details_line(comparisons)]
            return ascii_signs("\n".join([*_wrapped(lines, many_width), *verdicts]))
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


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    return [part for line in lines for part in wrap_text(log_line(line), width)]


def _worst_last(
    comparisons: Sequence[Comparison], labels: Sequence[str] | None
) -> tuple[list[Comparison], list[str] | None]:
    """Return the comparisons with the worst last, and the names of the base and of the candidates in that order."""
    ordered = tables.sort_worst_last(comparisons)
    if labels is None:
        return ordered, None
    base_label, *candidate_labels = labels
    label_of = {id(comparison): label for comparison, label in zip(comparisons, candidate_labels, strict=True)}
    return ordered, [base_label, *(label_of[id(comparison)] for comparison in ordered)]


def _details_line(comparisons: Sequence[Comparison]) -> str:
    """Return the line with the command that compares the base with the worst candidate."""
    worst = tables.sort_worst_last(comparisons)[-1]
    return f"details of all: -v; of one: {shlex.join(['clipbench', 'compare', worst.base, worst.candidate])}"


def _short_section(comparison: Comparison, width: int, table_width: int) -> list[str]:
    """Return the lines of a comparison. A table has more room than sentences."""
    lines: list[str] = []
    for line in _short_lines(comparison, table_width):
        lines += [log_line(line)] if isinstance(line, _TableLine) else _wrapped([line], width)
    return lines


class _TableLine(str):
    """A line of a table, which is not wrapped again."""

    __slots__ = ()


def _short_lines(comparison: Comparison, width: int) -> Iterator[str]:
    """Yield headlines, what got worse, what was refused or not tested, and the gate."""
    yield f"{comparison.candidate} against {comparison.base}"
    if not comparison.differences:
        yield from (f"warning: {warning}" for warning in comparison.warnings)
        return  # the verdict has the reason
    yield ""
    gated = _outcomes_in_table(comparison.gate)
    explored = _explored_differences(comparison, gated)
    shown = {_key(difference) for difference in explored[:N_EXPLORED]}
    differences = [
        difference for difference in comparison.differences if difference.is_headline or _key(difference) in shown
    ]
    is_tested = any(difference.p_value is not None for difference in comparison.differences)
    if not is_tested:
        differences = comparison.differences[:N_UNTESTED]
    if differences:
        yield from _short_table_lines(differences, gated, width)
    left_out = explored[N_EXPLORED:]
    n_failed = sum(_key(difference) in gated for difference in left_out)
    if left_out:
        words = f", {counted(n_failed, 'regression')} among them" if n_failed else ""
        yield f"... and {counted(len(left_out), 'metric')} more that got worse{words}: -v"
    if not is_tested and len(comparison.differences) > len(differences):
        yield f"... and {counted(len(comparison.differences) - len(differences), 'metric')} more: -v"
    yield ""
    yield from _relabelled_lines(comparison, width)
    yield from _refusal_lines(comparison.refused)
    worse = [difference for difference in comparison.slices if difference.verdict == "worse"]
    if worse:
        yield f"{counted(len(worse), 'metric')} of slices got worse: -v"
    yield from (f"note: {note}" for note in comparison.notes if note.startswith(SIMILARITY))
    yield from (f"warning: {warning}" for warning in comparison.warnings)
    tabled = {_key(difference) for difference in comparison.differences}
    reported = [
        outcome
        for outcome in comparison.gate.with_status(*REPORTED)
        if outcome.difference is None or _key(outcome.difference) not in gated.keys() & tabled
    ]
    yield from map(_outcome_line, reported[:N_GATED])
    if len(reported) > N_GATED:
        yield f"... and {len(reported) - N_GATED} more: -v"
    if comparison.notes:
        yield f"{counted(len(comparison.notes), 'note')}: -v"
    yield from _gate_lines(comparison.gate)


def _explored_differences(comparison: Comparison, gated: Mapping[tuple[str, str], Outcome]) -> list[Difference]:
    """Return the differences apart from headlines that got worse or that the gate reports, the gate's first."""
    explored = []
    for difference in comparison.differences:
        needs_attention = difference.verdict == "worse" or _key(difference) in gated
        if needs_attention and not difference.is_headline:
            explored.append(difference)
    # What fails the gate is never left out first.
    return sorted(explored, key=lambda difference: _key(difference) not in gated)


def _short_table_lines(
    differences: Sequence[Difference], gated: Mapping[tuple[str, str], Outcome], width: int
) -> Iterator[_TableLine]:
    """Yield the lines of a table with few columns, with the name of each evaluation above its differences."""
    table = _with_gate_words(tables.difference_table("", differences), differences, gated)
    rows = iter(table.rows)
    headed: list[Row | str] = []
    for name, group in tables.by_evaluation(differences).items():
        headed += [name, *islice(rows, len(group))]
    indices = [index for index, column in enumerate(tables.COLUMNS) if column.header in SHORT]
    text = as_text(replace(table, rows=headed).select(indices), indent="", width=width)
    yield from map(_TableLine, text.splitlines())


def _relabelled_lines(comparison: Comparison, width: int | None) -> Iterator[str]:
    """Yield both differences of each classification by both sets of labels, and the sentence about them."""
    for part in comparison.relabelled:
        yield f"{part.evaluation} by other labels ({part.counts})"
        yield from as_text(tables.relabelled_table(part), indent="  ", width=width).splitlines()
        yield f"{part.sentence}."
        yield ""


def _key(difference: Difference) -> tuple[str, str]:
    return difference.evaluation, difference.name


def _outcomes_in_table(gate: GateResult) -> dict[tuple[str, str], Outcome]:
    """Return the losses beyond a limit, which a row of the table shows, by evaluation and metric."""
    return {
        _key(outcome.difference): outcome
        for outcome in gate.with_status(*STATUSES_IN_TABLE)
        if outcome.difference is not None
    }


def _with_gate_words(
    table: Table, differences: Sequence[Difference], gated: Mapping[tuple[str, str], Outcome]
) -> Table:
    """Return a table of differences with the gate's word in the place of the verdict, where the gate has one.

    A note has the limit if there are several, why a known regression is allowed, and the gate's own p-value if the
    table's would not show the loss.
    """
    notes = list(table.notes)
    has_several_limits = len({outcome.rule for outcome in gated.values()}) > 1
    column = [column.header for column in table.columns].index("verdict")
    rows: list[Row | str] = []
    for difference, row in zip(differences, table.rows, strict=True):
        outcome = gated.get(_key(difference))
        if outcome is None:
            rows.append(row)
            continue
        facts = [outcome.rule] if has_several_limits else []
        if difference.verdict != "worse":
            facts.append(outcome.message)  # it ends with the reason
        elif outcome.reason:
            facts.append(outcome.reason)
        cells = list(row)
        cells[column] = Cell(MARKS[outcome.status], note=note_number(": ".join(facts), notes))
        rows.append(cells)
    return replace(table, rows=rows, notes=notes)


def _refusal_lines(refused: Sequence[Refusal]) -> Iterator[str]:
    """Yield a line for each reason why evaluations were not compared."""
    for reason, names in group_values((refusal.reason, refusal.evaluation) for refusal in refused).items():
        suffix = f" and {len(names) - 2} more" if len(names) > 2 else ""
        verb = "is" if len(names) == 1 else "are"
        yield f"{', '.join(names[:2])}{suffix} {verb} not comparable: {reason}"


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
    yield from _relabelled_lines(comparison, width)
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
