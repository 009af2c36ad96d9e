"""Many candidates against one base, for the terminal: a row per candidate."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clipbench.comparison.gate_outcomes import FAILED, UNDECIDED
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import WORDS, Comparison
from clipbench.results.grouping import group_values
from clipbench.results.numbers import NONE, change, change_interval, counted, quantity
from clipbench.results.run_names import short_labels
from clipbench.results.table import Cell, Row, Table, as_text, columns
from clipbench.results.table.text import text_widths

MOST_FACTS = 5
"""Lines on what was not compared, and on warnings, each."""


class Headline(NamedTuple):
    """A headline metric by its evaluation and name."""

    evaluation: str
    name: str


def many_lines(comparisons: Sequence[Comparison], width: int, labels: Sequence[str] | None = None) -> Iterator[str]:
    """Yield a table with a row per candidate, what was not compared, and how to see the details.

    Args:
        comparisons: the worst last.
        labels: names of the base and of the candidates, in the order of the comparisons. By default they are short
            forms of the names that the comparisons have.
    """
    base, *names = labels or short_labels([comparisons[0].base, *(one.candidate for one in comparisons)])
    yield f"{counted(len(comparisons), 'candidate')} against {base}"
    yield ""
    yield from as_text(_table(comparisons, names, base, width), indent="", width=width).splitlines()
    yield ""
    refusals, warnings = list[tuple[str, str]](), list[tuple[str, str]]()
    for comparison, name in zip(comparisons, names, strict=True):
        refusals += [(str(refusal), name) for refusal in comparison.refused]
        warnings += [(f"warning: {warning}", name) for warning in comparison.warnings]
    yield from _grouped(refusals, len(comparisons))
    yield from _grouped(warnings, len(comparisons))


def verdict_summary(comparisons: Sequence[Comparison]) -> str:
    """Return how many candidates have which word, the gravest first.

    Example:
        >>> verdict_summary([Comparison(base="a", candidate="b", differences=[])])
        '1 undecided of 1 candidate'
    """
    counts = Counter(comparison.verdict for comparison in comparisons)
    words = [f"{counts[word]} {word}" for word in WORDS if counts[word]]
    return f"{', '.join(words)} of {counted(len(comparisons), 'candidate')}"


def _table(comparisons: Sequence[Comparison], names: Sequence[str], base: str, width: int) -> Table:
    """Return a row for the base, and one for each candidate with its changes, the gate and the word.

    Each headline metric has a column, if there is room for all. Otherwise each row has the headline metric with the
    strongest evidence.
    """
    headlines = _headlines(comparisons)
    rows: list[Row] = [["", *(headline.name for headline in headlines)]]
    rows.append([base, *_base_values(headlines, comparisons)])
    for comparison, name in zip(comparisons, names, strict=True):
        rows.append([name, *(_change_cell(_find(comparison, headline)) for headline in headlines)])
    table = Table(columns=columns("candidate", numbers=[headline.evaluation for headline in headlines]), rows=rows)
    words = _words(comparisons)
    wide = _beside(table, [["", ""], ["", "base"], *words], comparisons)
    if sum(text_widths(wide)) + 2 * (len(wide.columns) - 1) <= width:
        return wide
    rows = [[name, *_strongest_cells(one)] for one, name in zip(comparisons, names, strict=True)]
    table = Table(columns=[*columns("candidate", "strongest change"), *columns(numbers=["difference"])], rows=rows)
    return _beside(table, words, comparisons)


def _words(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return the gate's word and the verdict of each candidate."""
    return [[_gate_word(comparison), comparison.verdict] for comparison in comparisons]


def _beside(table: Table, words: Sequence[Sequence[str]], comparisons: Sequence[Comparison]) -> Table:
    """Return a table with the verdicts as its last column, after the gate's words if there is a gate."""
    has_gate = any(comparison.gate.outcomes for comparison in comparisons)
    first = 0 if has_gate else 1
    rows = [[*row, *pair[first:]] for row, pair in zip(table.rows, words, strict=True)]
    return Table(columns=[*table.columns, *columns("gate", "verdict")[first:]], rows=rows)


def _headlines(comparisons: Sequence[Comparison]) -> list[Headline]:
    """Return the headline metrics with a direction of all comparisons, or all headlines if none has a direction."""
    headlines: list[Difference] = []
    for comparison in comparisons:
        headlines += [difference for difference in comparison.differences if difference.is_headline]
    directed = [difference for difference in headlines if difference.base.higher_is_better is not None]
    return list(dict.fromkeys(Headline(one.evaluation, one.name) for one in directed or headlines))


def _find(comparison: Comparison, headline: Headline) -> Difference | None:
    for difference in comparison.differences:
        if (difference.evaluation, difference.name) == headline:
            return difference
    return None


def _base_values(headlines: Sequence[Headline], comparisons: Sequence[Comparison]) -> Iterator[str]:
    for headline in headlines:
        differences = (_find(comparison, headline) for comparison in comparisons)
        first = next(difference for difference in differences if difference is not None)
        yield quantity(first.base.value, first.base.unit)


def _change_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell(NONE)
    unit = difference.base.unit
    bounds = "" if difference.low is None else change_interval(difference.low, difference.high, unit)
    return Cell(change(difference.value, unit), aside=bounds)


def _strongest_cells(comparison: Comparison) -> list[Cell]:
    """Return the name and the change of the headline metric with the smallest p-value."""
    headlines = [difference for difference in comparison.differences if difference.is_headline]
    directed = [difference for difference in headlines if difference.base.higher_is_better is not None] or headlines
    if not directed:
        return [Cell(NONE), Cell(NONE)]
    strongest = min(directed, key=lambda difference: 1.0 if difference.p_value is None else difference.p_value)
    return [Cell(f"{strongest.evaluation}/{strongest.name}"), _change_cell(strongest)]


def _gate_word(comparison: Comparison) -> str:
    """Return what the gate decided about a candidate, in a word or two."""
    gate = comparison.gate
    if comparison.exit_status == FAILED:
        n_failed = len(gate.with_status("regression", "unmet"))
        return counted(n_failed, "failure")
    if comparison.exit_status == UNDECIDED:
        n_open = len(gate.with_status("missing", "untested", "not decided"))
        return f"{n_open} open" if n_open else "not comparable"
    return "passed"


def _grouped(facts: Sequence[tuple[str, str]], n_candidates: int) -> Iterator[str]:
    """Yield each fact once, with the candidates for which it holds."""
    by_fact = group_values(facts)
    for fact, names in list(by_fact.items())[:MOST_FACTS]:
        distinct = list(dict.fromkeys(names))
        more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
        whose = "all candidates" if len(distinct) == n_candidates else f"{', '.join(distinct[:3])}{more}"
        yield f"{fact} ({whose})"
    if len(by_fact) > MOST_FACTS:
        yield f"... and {len(by_fact) - MOST_FACTS} more lines like these: -v"
