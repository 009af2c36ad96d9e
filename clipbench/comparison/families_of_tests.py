"""Families of tests: which differences are corrected together, and what they can show after the correction.

- All headline metrics are one family. All other metrics are a second one, explored. The slices of the data have the
  same two.
- The metrics of a gate are a family of their own, since only they decide.

Within a family, the chance of any false alarm is at most alpha (Holm).
"""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.comparison.metric_difference import Difference, Verdict
from clipbench.comparison.records import CompareOptions
from clipbench.stats.significance import holm, is_significant


def with_verdicts(differences: Sequence[Difference], options: CompareOptions) -> list[Difference]:
    """Return the differences with verdicts and with p-values corrected over the headline metrics or over the others."""
    judged = list(differences)
    for is_headline in (True, False):
        rows = [row for row, difference in enumerate(judged) if difference.is_headline is is_headline]
        for row, adjusted in zip(rows, holm([judged[row].p_value for row in rows]), strict=True):
            verdict = _verdict(judged[row], options, is_claimed=is_significant(adjusted, options.alpha))
            judged[row] = replace(judged[row], p_adjusted=adjusted, verdict=verdict)
    return judged


def _verdict(difference: Difference, options: CompareOptions, *, is_claimed: bool) -> Verdict:
    if difference.is_within(options.margin_of(difference.base)):
        return "equivalent"
    if difference.p_value is None:
        return "not tested"
    if not is_claimed:
        return "not shown"
    if difference.base.higher_is_better is None:
        return "different"
    return "better" if (difference.value > 0) == difference.base.higher_is_better else "worse"


class GatedFamily:
    """The gated differences as one family of tests, with Holm's correction over those that have a test."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self.differences = differences
        self.p_values = [difference.p_value for difference in differences]
        self.adjusted = holm(self.p_values)
        self.n_tests = sum(p is not None for p in self.p_values)

    def can_show(self, index: int, alpha: float) -> bool:
        """Return whether a difference could have been significant, with all other p-values as they are."""
        if self.p_values[index] is None:
            return False
        p_values = list(self.p_values)
        power = self.differences[index].power
        p_values[index] = 0.0 if power is None else power.least_p
        return is_significant(holm(p_values)[index], alpha)
