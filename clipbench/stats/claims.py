"""The one rule for the claims of a title, a sentence or a mark: a difference, an order, a distance from chance.

A statement implies comparisons. A comparison may be claimed if its p-value, after Holm's correction over all
comparisons of the statement, is at most ``ALPHA`` divided by the number of statements on the page (Bonferroni). For
example, to name the largest of several values implies its comparison with each other one. If nothing may be claimed, a
statement gives values. experiments/coverage.md has the rates of false claims.

Two models that share samples have the p-values of a paired test. For other values with bounds, ``p_against`` and
``p_between`` test the values that the bounds imply: a share as a number of independent hits with an interval of this
width, any other value by the normal law.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from clipbench.results.record import Metric
from clipbench.stats.intervals import FEW, wilson
from clipbench.stats.significance import ALPHA, holm, is_significant

Standing = Literal["better", "worse", "level"]
"""Relation of a value to chance. ``level`` means that nothing may be claimed, not that the two are equal."""


@dataclass
class _Page:
    n_statements: int = 0
    alpha: float = ALPHA


_page: ContextVar[_Page | None] = ContextVar("page", default=None)


@contextmanager
def one_page(say: Callable[[], object], *, n_more: int = 0) -> Iterator[None]:
    """Correct the statements of the context for their number, so that 5 % of pages at most have a false claim.

    Args:
        say: makes the statements once, to be counted.
        n_more: statements that the page may make besides.

    Example:
        >>> with one_page(lambda: [claimed([0.5]), claimed([0.5])]):
        ...     claimed([0.03]), claimed([0.02])
        ([False], [True])
    """
    page = _Page()
    token = _page.set(page)
    try:
        say()
        page.alpha = ALPHA / max(1, page.n_statements + n_more)
        yield
    finally:
        _page.reset(token)


def claimed(p_values: Sequence[float | None], alpha: float | None = None) -> list[bool]:
    """Return which of the comparisons that one statement implies may be claimed.

    Args:
        p_values: one per comparison, None for one that cannot be tested, which is never claimed.
        alpha: level of the statement, by default the page's.
    """
    page = _page.get() or _Page()
    page.n_statements += any(p is not None for p in p_values)
    alpha = page.alpha if alpha is None else alpha
    return [is_significant(p_value, alpha) for p_value in holm(p_values)]


def against_chance(*metrics: Metric) -> list[Standing | None]:
    """Return the relation of each metric of one statement to its chance, None without interval, chance or direction."""
    p_values = [None if metric.higher_is_better is None else _p_against_chance(metric) for metric in metrics]
    may_claim = claimed(p_values)
    return [_relation_to_chance(metric, is_claimed) for metric, is_claimed in zip(metrics, may_claim, strict=True)]


def above_chance(*metrics: Metric) -> list[bool]:
    """Return which metrics of one statement are above chance, whatever direction is better."""
    may_claim = claimed([_p_against_chance(metric) for metric in metrics])
    return [
        is_claimed and metric.value > metric.chance  # type: ignore[operator]
        for metric, is_claimed in zip(metrics, may_claim, strict=True)
    ]


def may_differ(one: Metric, other: Metric) -> bool:
    """Return whether a statement may say that two metrics, of samples that are not paired, differ."""
    return claimed([p_between(one, other)])[0]


class Order(NamedTuple):
    """The names that a statement on several values may use, None if the tests show no difference."""

    highest: str | None
    """Name of the value that is above all others."""
    lowest: str | None
    ends: tuple[str, str] | None
    """The ones with the lowest and the highest value, which differ from each other."""


def order(metrics: Mapping[str, Metric]) -> Order:
    """Return what may be said of the order of two or more metrics, by the tests of all their pairs.

    Args:
        metrics: with values, of samples that are not paired.
    """
    names = sorted(metrics, key=lambda name: metrics[name].value or 0.0)
    pairs = list(combinations(names, 2))
    may_claim = claimed([p_between(metrics[a], metrics[b]) for a, b in pairs])
    claimed_pairs = {pair for pair, is_claimed in zip(pairs, may_claim, strict=True) if is_claimed}
    first, last = names[0], names[-1]
    return Order(
        highest=last if all((name, last) in claimed_pairs for name in names[:-1]) else None,
        lowest=first if all((first, name) in claimed_pairs for name in names[1:]) else None,
        ends=(first, last) if (first, last) in claimed_pairs else None,
    )


def p_against(metric: Metric, level: float) -> float | None:
    """Return the two-sided p-value of a metric under the hypothesis that its true value is ``level``.

    1 where the interval contains the level, so that no claim contradicts it. A share is tested as a binomial, exactly:
    the interval of a single hit in a hundred excludes 0.04 %, where one run in 25 has such a hit. None without an
    interval.
    """
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    if metric.low <= level <= metric.high or metric.value == level:
        return 1.0
    if not _is_share(metric) or not 0 < level < 1:
        error = _standard_error(metric, level)
        return _p_normal(abs(metric.value - level) / error) if error else None
    n = _trials(metric)
    return None if n is None else _p_binomial(metric.value * n, n, level)


def align_with_test(metric: Metric) -> Metric:
    """Return a metric whose interval contains chance if the test does not reject it, so that both agree.

    Intervals of shares are right on average, the test at every share: of 100 hits where chance is 50 %, 60 have an
    interval from 50.2 % and a p-value of 0.057. Where the test rejects chance, the interval does so too, or nothing is
    claimed.
    """
    p_value = _p_against_chance(metric)
    if p_value is None or p_value <= 1 - metric.confidence:
        return metric
    assert metric.low is not None and metric.high is not None and metric.chance is not None, metric
    low, high = min(metric.low, metric.chance), max(metric.high, metric.chance)
    if (low, high) == (metric.low, metric.high):
        return metric
    return replace(metric, low=low, high=high, method=f"{metric.method}, chance by the exact test")


def p_between(one: Metric, other: Metric) -> float | None:
    """Return the two-sided p-value of two metrics under the hypothesis that their true values are equal.

    Where their samples go along with each other, as of one image, the test is conservative. None where either has no
    interval.
    """
    if one.value is None or other.value is None or one.low is None or other.low is None:
        return None
    if one.value == other.value:
        return 1.0
    if _is_share(one) and _is_share(other):
        n, m = _trials(one), _trials(other)
        return None if n is None or m is None else p_of_shares(one.value * n, n, other.value * m, m)
    errors = _standard_error(one, other.value), _standard_error(other, one.value)
    if None in errors:
        return None
    spread = math.hypot(*(error or 0.0 for error in errors))
    return _p_normal(abs(one.value - other.value) / spread) if spread else None


def p_of_shares(hits: float, n: float, other_hits: float, other_n: float) -> float:
    """Return the two-sided p-value of two fractions of independent trials: the score test with Yates's correction.

    Numbers need not be whole. The correction keeps the test at its level where hits are few, as Fisher's exact test
    does.
    """
    pooled = (hits + other_hits) / (n + other_n)
    difference = abs(hits / n - other_hits / other_n) - (1 / n + 1 / other_n) / 2
    if difference <= 0 or not 0 < pooled < 1:
        return 1.0
    return _p_normal(difference / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / other_n)))


def _relation_to_chance(metric: Metric, is_claimed: bool) -> Standing | None:
    if metric.higher_is_better is None or _p_against_chance(metric) is None:
        return None
    if not is_claimed:
        return "level"
    return "better" if (metric.value > metric.chance) == metric.higher_is_better else "worse"  # type: ignore[operator]


def _p_against_chance(metric: Metric) -> float | None:
    return None if metric.chance is None else p_against(metric, metric.chance)


def _is_share(metric: Metric) -> bool:
    return metric.unit == "fraction" and all(
        0 <= (bound or 0.0) <= 1 for bound in (metric.value, metric.low, metric.high)
    )


def _trials(metric: Metric) -> float | None:
    """Return the number of independent trials whose Wilson interval has the bound towards one half.

    The other bound may be moved if hits, or misses, are few (``wilson``). With up to ``2 * FEW`` samples both may be
    moved: the number is then the largest whose interval is as wide. At most n. None if the bound is not a bound of such
    an interval: at 0, at 1, or at the value.
    """
    assert metric.value is not None and metric.low is not None and metric.high is not None, metric
    if metric.n and metric.n <= 2 * FEW:
        width = metric.high - metric.low - 1e-9
        candidates = ((n, wilson(metric.value * n, n)) for n in range(metric.n, 0, -1))
        return float(next((n for n, (low, high, _) in candidates if high - low >= width), 1))  # type: ignore[operator]
    bound = metric.high if metric.value < 0.5 else metric.low
    half = abs(metric.value - bound)
    if not 0 < bound < 1 or not half:
        return None
    n = _quantile(metric) ** 2 * bound * (1 - bound) / half**2
    return min(n, metric.n) if metric.n else n


def _standard_error(metric: Metric, level: float) -> float | None:
    """Return the standard error of the bound on the side of a level, or None if it is the value."""
    assert metric.value is not None and metric.low is not None and metric.high is not None, metric
    facing = metric.low if level < metric.value else metric.high
    return abs(metric.value - facing) / _quantile(metric) or None


def _quantile(metric: Metric) -> float:
    return NormalDist().inv_cdf((1 + metric.confidence) / 2)


def _p_normal(z: float) -> float:
    return math.erfc(z / math.sqrt(2))


def _p_binomial(hits: float, n: float, share: float) -> float:
    """Return the exact two-sided p-value of a number of hits, or twice the smaller tail if a number is not an integer.

    It is the chance of all numbers that are at most as likely as this one, as in SciPy's ``binomtest`` and R's
    ``binom.test``.
    """
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    if max(abs(hits - round(hits)), abs(n - round(n))) < 1e-6:
        hits, n = round(hits), round(n)
        counts = np.arange(n + 1)
        ways = gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1)
        chances = np.exp(ways + xlogy(counts, share) + xlog1py(n - counts, -share))
        return min(
            1.0, float(chances[chances <= chances[hits] * (1 + 1e-7)].sum())
        )  # equal chances may differ by rounding
    above = 1.0 if hits <= 0 else float(betainc(hits, n - hits + 1, share))
    below = 1.0 if hits >= n else float(betainc(n - hits, hits + 1, 1 - share))
    return min(1.0, 2 * min(above, below))
