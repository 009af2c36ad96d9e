"""The lines that a run opens with: scores below a rule that ignores the input, and changes that raise a score."""

from collections.abc import Sequence

from clipbench.results.blind_rules import rule_lines
from clipbench.results.record import EvaluationRecord
from clipbench.results.tried_changes import change_lines


def opening_lines(evaluations: Sequence[EvaluationRecord]) -> list[str]:
    """Return the lines, empty for a run without such findings."""
    return [*change_lines(evaluations), *rule_lines(evaluations)]
