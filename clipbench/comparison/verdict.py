"""The verdict on each difference: Holm's correction over the comparison, then significance, direction and size."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.comparison.records import CompareOptions, Difference, Verdict
from clipbench.stats.claims import claimed
from clipbench.stats.significance import holm


def with_verdicts(differences: Sequence[Difference], options: CompareOptions) -> list[Difference]:
    """Return the differences with corrected p-values and verdicts."""
    p_values = [each.p_value for each in differences]
    return [
        replace(each, p_adjusted=adjusted, verdict=_verdict(each, options, is_claimed=is_claimed))
        for each, adjusted, is_claimed in zip(
            differences, holm(p_values), claimed(p_values, options.alpha), strict=True
        )
    ]


def _verdict(each: Difference, options: CompareOptions, *, is_claimed: bool) -> Verdict:
    smallest = options.smallest_of(each.base.unit)
    # An interval without width says that these samples do not differ, not how much others might: no evidence.
    if each.low is not None and each.high is not None and -smallest <= each.low < each.high <= smallest:
        return "too small to matter"
    if each.p_value is None:
        return "not tested"
    if not is_claimed:
        return "no evidence"
    if None in (each.base.higher_is_better, each.candidate.higher_is_better):
        return "different"
    return "better" if (each.value > 0) == each.base.higher_is_better else "worse"
