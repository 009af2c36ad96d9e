"""A chain of runs: the reference, then what is made of it step by step, such as served, compressed, indexed, filtered.

Each run is compared with the one before it, and the last with the first. All these comparisons are one family of tests
(Holm), headline metrics and others apart, so that a longer chain makes no more false alarms. A gate applies to the last
against the first: that is what a user of the product gets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from clipbench.comparison.compare_runs import Side, compare, metrics_of, open_side
from clipbench.comparison.families_of_tests import with_verdicts
from clipbench.comparison.gate import check_gate
from clipbench.comparison.gate_rules import NO_GATE, Gate
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.records import CompareOptions, Comparison, table_row, verdict_line
from clipbench.errors import UsageError
from clipbench.results.grouping import group_values
from clipbench.results.table import Row, Table, as_text, columns
from clipbench.untrusted.terminal import printable

if TYPE_CHECKING:
    import pandas

LAST_AGAINST_FIRST = "last against first"
NUMBERS = ("before", "after", "difference", "95 % interval", "p (Holm)")


@dataclass(frozen=True, kw_only=True, repr=False)
class Chain:
    """The comparisons of a chain of runs."""

    steps: list[Comparison]
    """Each run against the one before, in order."""
    whole: Comparison
    """The last run against the first, with the gate."""

    @property
    def labels(self) -> list[str]:
        """Names of the runs, in order."""
        return [self.steps[0].base, *(step.candidate for step in self.steps)]

    @property
    def verdict(self) -> str:
        """The word for the last run against the first."""
        return self.whole.verdict

    @property
    def reason(self) -> str:
        """The numbers behind the word, in one line."""
        return self.whole.reason

    @property
    def exit_status(self) -> int:
        """The exit status of ``clipbench compare --chain``: of the last run against the first."""
        return self.whole.exit_status

    def __repr__(self) -> str:
        return f"<chain of {', '.join(self.labels)}: {self.verdict} ({self.reason})>"

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in self.lines(width=100))

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield a table with the headline metrics of each step, what was not compared, the gate and the verdict.

        Args:
            width: columns of the terminal. None breaks no line.
        """
        yield from as_text(self.table(), width=width).splitlines()
        yield from self.refusal_lines()
        yield from self.warning_lines()
        if self.whole.gate.counts:
            yield f"gate: {self.whole.gate.counts}"
        yield verdict_line(self.verdict, self.reason)

    def refusal_lines(self) -> Iterator[str]:
        """Yield what was not compared in a step, or between the last run and the first."""
        for comparison in (*self.steps, self.whole):
            for refusal in comparison.refused:
                if not refusal.is_part:
                    yield f"{comparison.candidate} against {comparison.base}: {refusal}"

    def warning_lines(self) -> Iterator[str]:
        """Yield the warnings of all runs, each once."""
        for warning in dict.fromkeys(warning for step in self.steps for warning in step.warnings):
            yield f"warning: {warning}"

    def table(self) -> Table:
        """Return the headline metrics: a row for each step, and one for the last run against the first."""
        rows_by_metric = group_values((difference.label, row) for difference, row in self._headline_rows())
        rows: list[Row | str] = []
        for label, metric_rows in rows_by_metric.items():
            rows += [label, *metric_rows]
        headers = columns("step", numbers=NUMBERS) + columns("verdict")
        return Table(title=" → ".join(self.labels), columns=headers, rows=rows)

    def _headline_rows(self) -> Iterator[tuple[Difference, Row]]:
        for comparison in (*self.steps, self.whole):
            name = LAST_AGAINST_FIRST if comparison is self.whole else comparison.candidate
            for difference in comparison.differences:
                if difference.is_headline:
                    yield difference, table_row(name, difference)

    def frame(self) -> "pandas.DataFrame":
        """Return a table with a row for each step and metric, as ``Comparison.frame``, and the column ``step``.

        ``step`` counts from 1. The last run against the first has step 0.
        """
        import pandas

        frames = [step.frame().assign(step=number) for number, step in enumerate(self.steps, 1)]
        return pandas.concat([*frames, self.whole.frame().assign(step=0)], ignore_index=True)


def compare_chain(sides: Sequence[Side], options: CompareOptions | None = None, gate: Gate = NO_GATE) -> Chain:
    """Return the comparison of each run with the one before, and of the last with the first.

    Raises:
        UsageError: there are fewer than three runs.
        NotComparable: two of the runs have nothing to compare. The message names them.
        ClipbenchError: a run cannot be read.
    """
    if len(sides) < 3:
        raise UsageError(f"a chain needs 3 runs or more: got {len(sides)}. Compare two runs without it")
    options = options or CompareOptions()
    runs = [open_side(side) for side in sides]
    check_gate(gate, metrics_of(*runs))
    comparisons = [compare(before, after, options) for before, after in pairwise(runs)]
    comparisons.append(compare(runs[0], runs[-1], options, gate))
    *steps, whole = _as_one_family(comparisons, options)
    return Chain(steps=steps, whole=whole)


def _as_one_family(comparisons: Sequence[Comparison], options: CompareOptions) -> list[Comparison]:
    """Return the comparisons with verdicts and p-values that are corrected over all of them."""
    judged = with_verdicts([difference for one in comparisons for difference in one.differences], options)
    corrected: list[Comparison] = []
    start = 0
    for comparison in comparisons:
        stop = start + len(comparison.differences)
        corrected.append(with_verdict(replace(comparison, differences=judged[start:stop])))
        start = stop
    return corrected
