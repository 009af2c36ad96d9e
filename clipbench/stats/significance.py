"""Significance of a paired difference, and the smallest difference that could have been found. All pure.

Independent zeros and ones have McNemar's test, other means the one of ``stats.mean_law``. A statistic such as a median
is tested by its differences when the models' samples are exchanged, and a smooth function of means by Student's t.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64

from clipbench.stats.clusters import student
from clipbench.stats.intervals import Interval

ALPHA = 0.05
"""Highest p-value at which a difference is significant."""
N_EXCHANGES = 5_000
"""Exchanges of the two models' rows of a statistic that may be significant: each computes the statistic twice."""
N_FIRST_EXCHANGES = 500
"""Exchanges that show whether it may be, and the spread of the statistic under the null hypothesis to 3 %."""

LEAST_P = 1e-12
"""The least p-value of an interval that is inverted: quantiles farther out have no digits left."""
_BLOCK_EXCHANGES = 1 << 21
"""Units times draws that are looked at at once."""

PValue = TypeVar("PValue", float, float | None)
Draws = Float64[np.ndarray, " draws"]
Exchanged = Bool[np.ndarray, "draws n_units"]
"""True for the units whose samples are exchanged, in several draws."""
OfExchanges = Callable[[Exchanged], Draws]
"""The candidate's statistic minus the base's, after the samples of these units are exchanged between them."""


class NullTest(NamedTuple):
    """A two-sided test of a difference, or of a total of differences, by its distribution under the null hypothesis."""

    p_value: float
    largest: float
    """The largest size whose p-value is above the level, 0 if there is none."""
    standard_error: float = math.nan
    """Spread of the difference under exchange, 0 if no exchange moves it, NaN if it is undefined, or of totals."""


def mcnemar(gained: int, lost: int, *, alpha: float = ALPHA) -> NullTest:
    """Return McNemar's exact test: a binomial test of the samples in which two models differ.

    The binomial is symmetric, so the p-value is twice the smaller tail, at most 1. The test is discrete, hence
    conservative: with fewer than six samples that differ, p never falls below 0.05.

    Source: McNemar, Psychometrika 12 (1947), with the binomial instead of its normal approximation.

    Args:
        gained: samples that the base has wrong and the candidate right.
        lost: the reverse.
        alpha: level of ``largest``.

    Example:
        >>> mcnemar(0, 5).p_value, mcnemar(3, 3).p_value, mcnemar(6, 0)  # 2 / 2^5; 1; 2 / 2^6
        (0.0625, 1.0, NullTest(p_value=0.03125, largest=4.0, standard_error=nan))
    """
    from scipy.special import bdtr

    n = gained + lost
    tails = bdtr(np.arange(n // 2 + 1), n, 0.5)
    fewest = int(np.searchsorted(tails, alpha / 2, side="right"))
    return NullTest(min(1.0, 2 * float(tails[min(gained, lost)])), float(max(0, n - 2 * fewest)))


def exchange_test(difference: OfExchanges, n_units: int, rng: np.random.Generator) -> NullTest:
    """Return the test of a statistic's difference when each unit's samples are given to either model at random.

    The p-value is (1 + exchanges with a difference as large) / (1 + exchanges), never 0 (Phipson and Smyth, Stat. Appl.
    Genet. Mol. Biol. 9 (2010)). No law is assumed: a median of ranks has few values, and Student's t assumes a
    continuous statistic. Where a tenth of the first exchanges are as large, no more are drawn. Exchanges in which the
    statistic is undefined are left out; where it is undefined for either model, the p-value is 1.

    Args:
        difference: of the statistic, whatever its bias.
        n_units: number of samples, or of clusters, whose samples stay together.
    """
    observed = abs(float(difference(np.zeros((1, n_units), np.bool))[0]))
    if math.isnan(observed):
        return NullTest(1.0, math.inf)
    reached = observed - 1e-9 * max(1.0, observed)  # an exchange that gives the same size in another order must count
    sizes = _exchanged_sizes(difference, n_units, rng, N_FIRST_EXCHANGES)
    if np.count_nonzero(sizes >= reached) < N_FIRST_EXCHANGES / 10:
        further_sizes = _exchanged_sizes(difference, n_units, rng, N_EXCHANGES - N_FIRST_EXCHANGES)
        sizes = np.concatenate([sizes, further_sizes])
    sizes = sizes[~np.isnan(sizes)]
    n = 1 + len(sizes)
    rank = math.floor(ALPHA * n) - 1  # of the largest size that as many as 5 % and one more reach
    return NullTest(
        p_value=(1 + int(np.count_nonzero(sizes >= reached))) / n,
        largest=float(np.sort(sizes)[::-1][rank]) if 0 <= rank < len(sizes) else math.inf,
        standard_error=float(np.sqrt(np.mean(sizes**2))) if len(sizes) else math.nan,
    )


def _exchanged_sizes(
    difference: OfExchanges, n_units: int, rng: np.random.Generator, n_draws: int
) -> Float64[np.ndarray, " n_draws"]:
    n_block = max(1, _BLOCK_EXCHANGES // n_units)
    parts = [min(n_block, n_draws - start) for start in range(0, n_draws, n_block)]
    return np.concatenate([np.abs(difference(rng.random((n, n_units)) < 0.5)) for n in parts])


def p_value_by_inversion(interval: Callable[[float], Interval]) -> float:
    """Return the p-value of no difference by an interval: 1 less the confidence at which it begins to hold 0.

    Args:
        interval: of the difference, by its confidence. It is wider for a larger confidence.
    """
    from scipy.optimize import brentq

    def distance(log_p: float) -> float:
        low, high = interval(1 - math.exp(log_p)).bounds
        return max(low, -high)

    is_excluded = distance(math.log(ALPHA)) > 0
    low, high = (LEAST_P, ALPHA) if is_excluded else (ALPHA, 0.999)
    log_low, log_high = math.log(low), math.log(high)
    if (distance(log_low) > 0) == (distance(log_high) > 0):
        return LEAST_P if is_excluded else 1.0
    p_value = math.exp(brentq(distance, log_low, log_high, xtol=1e-6))
    return min(p_value, ALPHA) if is_excluded else max(p_value, math.nextafter(ALPHA, 1))


def t_test(value: float, standard_error: float, n_units: int) -> float:
    """Return the two-sided p-value of a value under the null hypothesis that its mean is 0, by Student's t.

    Args:
        n_units: samples, or clusters, behind the standard error. Degrees of freedom are one less.
    """
    from scipy.special import stdtr

    return float(2 * stdtr(n_units - 1, -abs(value) / standard_error))


def is_significant(p_value: float | None, alpha: float = ALPHA) -> bool:
    """Return whether a p-value is at most a level. False for None, which is a comparison without a test.

    Example:
        >>> is_significant(0.05), is_significant(0.051), is_significant(None)
        (True, False, False)
    """
    return p_value is not None and p_value <= alpha


def holm(p_values: Sequence[PValue]) -> list[PValue]:
    """Return p-values corrected so that the chance of any false alarm among them is at most the alpha of each.

    Source: Holm, Scand. J. Statist. 6 (1979): the smallest is multiplied by their number, the next by one less, and
    so on; none is below the one before it. It is valid however the tests depend on each other.

    Args:
        p_values: None for a comparison without a test: it stays None and does not count.

    Example:
        >>> holm([0.02, None, 0.5, 0.01])
        [0.04, None, 0.5, 0.03]
    """
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: dict[int, float] = {}
    largest = 0.0
    for rank, (p, position) in enumerate(tested):
        adjusted[position] = largest = max(largest, min(1.0, (len(tested) - rank) * p))
    return [p if p is None else adjusted[position] for position, p in enumerate(p_values)]


@dataclass(frozen=True, kw_only=True)
class PairedPower:
    """What a paired test can show with its samples, at any level."""

    standard_error: float | None
    """Standard error of the difference, None if no sample differs."""
    n_units: int
    """Samples, or clusters, behind the standard error."""
    margin: float = 0.0
    """Added to a detectable difference because totals are discrete: half the step between two of them, over n."""
    unit_size: float | None = None
    """The difference of the means if every sample, or cluster, changed as those that did: for tests of signs, of which
    a few have to change. None for other tests.
    """
    least_p: float = 0.0
    """The smallest p-value that the test can have with this number of samples, or clusters."""

    def at(self, alpha: float, power: float = 0.8) -> float | None:
        """Return the smallest true difference that the two-sided test finds with a power, None if it cannot find any.

        (t of 1 - alpha / 2 + t of the power) × the standard error of the paired difference; at 5 % and 80 %, 2.8 of
        them where there are many samples. If hardly a sample changed, the standard error says little: a test of signs
        needs k changes in one direction, with 2 × 2^-k at most alpha. If samples change in no other direction, k of n
        change with the given power if a fraction d of all samples does, where P(binomial(n, d) ≥ k) is the power.

        Args:
            alpha: level of this test by itself. After a correction for many tests, it is smaller.
        """
        from scipy.special import betaincinv

        if self.least_p > alpha:
            return None
        sizes = []
        if self.standard_error is not None:
            quantiles = student(1 - alpha / 2, self.n_units) + student(power, self.n_units)
            sizes.append(quantiles * self.standard_error + self.margin)
        if self.unit_size is not None:
            n_needed = math.ceil(math.log2(2 / alpha) - 1e-9)
            sizes.append(self.unit_size * float(betaincinv(n_needed, self.n_units - n_needed + 1, power)))
        return max(sizes, default=None)
