"""Significance of a paired difference, and the smallest difference that could have been found. All pure.

Under the null hypothesis that the models are exchangeable, each sample's difference (with clusters, each cluster's) has
either sign with equal probability. For independent zeros and ones that is McNemar's test; other means are tested by
flipping signs; a statistic such as a median by its differences when the models' samples are exchanged. A smooth function
of means is tested by Student's t.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from clipbench.stats.clusters import NEGLIGIBLE, cluster_sums, student
from clipbench.stats.subsets import ByteSums

N_DRAWS = 20_000
"""Sign flips of a test: no p-value is below one in as many, which leaves room for Holm's correction of a few hundred metrics."""
N_EXCHANGES = 5_000
"""Exchanges of the two models' rows of a statistic that may be significant: each computes the statistic twice."""
N_FIRST_EXCHANGES = 500
"""Exchanges that show whether it may be, and the spread of the statistic under the null hypothesis to 3 %."""
EXACT_UNITS = 12
"""Up to this many clusters (or samples) that differ, all sign flips are counted instead of drawn."""

_BLOCK_BYTES = 1 << 18
"""Random bytes of one call: the generator leaves some unused at its end, so that p-values depend on it."""
_CALLS = 16
"""Calls whose bytes are looked up together: one reading of the sums serves them all."""
_BLOCK_EXCHANGES = 1 << 23
"""Units times draws that are looked at at once."""

OfExchanges = Callable[[Bool[np.ndarray, "draws n_units"]], Float64[np.ndarray, " draws"]]
"""The difference of a statistic, the candidate's less the base's, when the samples of these units are exchanged between them."""


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: a binomial test of the samples in which two models differ.

    The binomial is symmetric, so the p-value is twice the smaller tail, at most 1. The test is discrete, hence
    conservative: with fewer than six samples that differ, p never falls below 0.05.

    Source: McNemar, Psychometrika 12 (1947), with the binomial in place of its normal approximation.

    Args:
        gained: samples that the base has wrong and the candidate right.
        lost: the reverse.

    Example:
        >>> mcnemar_exact(0, 5), mcnemar_exact(3, 3)  # 2 / 2^5
        (0.0625, 1.0)
    """
    n, fewer = gained + lost, min(gained, lost)
    # The tail from its largest term down: each is k / (n - k + 1) of the one before, so that nothing overflows.
    log_largest = math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2)
    below = np.arange(fewer, 0, -1, dtype=np.float64)
    tail = math.exp(log_largest) * (1 + float(np.cumprod(below / (n - below + 1)).sum()))
    return min(1.0, 2 * tail)


def permutation_p(
    differences: Float64[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"] | None,
    rng: np.random.Generator,
    *,
    n_draws: int = N_DRAWS,
) -> float:
    """Return the two-sided p-value of a mean difference: the share of sign flips that reach its size.

    The signs of whole clusters are flipped together. Clusters without a difference have none to flip; with at most
    ``EXACT_UNITS`` others, all flips are counted, else ``n_draws`` are drawn, and the observed difference counts as
    one of them, so that the p-value is never 0 (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010)).

    Args:
        differences: one for each sample.
        clusters: of the samples; None when each is its own.
        rng: used when flips are drawn.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> permutation_p(np.array([0.5, 1.0, 1.0, 0.0]), None, rng)  # two of the eight flips: all plus, all minus
        0.25
        >>> permutation_p(np.array([0.5, 1.0, 1.0, 0.0]), np.array(["a", "a", "b", "b"]), rng)  # 1.5 and 1: two of four
        0.5
    """
    sums = cluster_sums(differences, clusters)
    sums = sums[np.abs(sums) > NEGLIGIBLE]
    if not len(sums):
        return 1.0
    # A flip that gives the same size in another order of summation must count.
    reached = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if len(sums) <= EXACT_UNITS:
        flips = 1.0 - 2.0 * ((np.arange(1 << len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float(np.mean(np.abs(flips @ sums) >= reached))
    n_reached = sum(int((np.abs(totals) >= reached).sum()) for totals in _flipped_totals(sums, rng, n_draws))
    return (n_reached + 1) / (n_draws + 1)


def exchanged(
    difference: OfExchanges, n_units: int, rng: np.random.Generator, *, n_draws: int = N_FIRST_EXCHANGES
) -> Float64[np.ndarray, " n_draws"]:
    """Return the differences of a statistic when each unit's samples are given to either model at random.

    That is its distribution under the null hypothesis that the models are exchangeable, whatever bias the statistic has.

    Args:
        n_units: number of samples, or of clusters, whose samples stay together.

    Example:
        >>> last = lambda is_exchanged: np.where(is_exchanged[:, 1], -3.0, 3.0)
        >>> sorted(set(exchanged(last, 2, np.random.default_rng(0)).tolist()))
        [-3.0, 3.0]
    """
    differences = np.empty(n_draws)
    n_block = max(1, _BLOCK_EXCHANGES // n_units)
    for start in range(0, n_draws, n_block):
        block = differences[start : start + n_block]
        block[:] = difference(_coins(len(block), n_units, rng))
    return differences


def _coins(n_draws: int, n_units: int, rng: np.random.Generator) -> Bool[np.ndarray, "n_draws n_units"]:
    is_exchanged = np.empty((n_draws, n_units), np.bool)
    n_part = max(1, (1 << 15) // n_units)  # few enough for the processor's cache
    for start in range(0, n_draws, n_part):
        part = is_exchanged[start : start + n_part]
        np.less(rng.random(part.shape), 0.5, out=part)
    return is_exchanged


class ExchangeTest(NamedTuple):
    """The test of a statistic by exchanging the two models' samples."""

    p_value: float
    standard_error: float
    """Spread of the difference under the null hypothesis; 0 where no exchange moves it, NaN where it is undefined."""


def exchange_test(difference: OfExchanges, n_units: int, rng: np.random.Generator) -> ExchangeTest:
    """Return the two-sided test of a statistic's difference, and the spread of the difference under exchange.

    The p-value is (1 + exchanges with a difference as large) / (1 + exchanges), never 0 (Phipson and Smyth, Stat. Appl.
    Genet. Mol. Biol. 9 (2010)). No law is assumed: a median of ranks has few values, and Student's t assumes a
    continuous statistic. Where a tenth of the first exchanges are as large, no more are drawn. Exchanges in which the statistic is
    undefined are left out; where it is undefined for either model, the p-value is 1.

    Args:
        difference: as of ``exchanged``.
        n_units: likewise.

    Example:
        >>> first = lambda is_exchanged: np.where(is_exchanged[:, 0], -5.0, 5.0)
        >>> exchange_test(first, 2, np.random.default_rng(0))  # 5 or -5, whatever is exchanged
        ExchangeTest(p_value=1.0, standard_error=5.0)
    """
    observed = abs(float(difference(np.zeros((1, n_units), np.bool))[0]))
    if math.isnan(observed):
        return ExchangeTest(1.0, math.nan)
    reached = observed - 1e-9 * max(1.0, observed)  # an exchange that gives the same size in another order must count
    drawn = exchanged(difference, n_units, rng)
    if np.count_nonzero(np.abs(drawn) >= reached) < N_FIRST_EXCHANGES / 10:
        more = exchanged(difference, n_units, rng, n_draws=N_EXCHANGES - N_FIRST_EXCHANGES)
        drawn = np.concatenate([drawn, more])
    drawn = drawn[~np.isnan(drawn)]
    p_value = (1 + np.count_nonzero(np.abs(drawn) >= reached)) / (1 + len(drawn))
    return ExchangeTest(float(p_value), float(np.sqrt(np.mean(drawn**2))) if len(drawn) else math.nan)


def t_test(value: float, standard_error: float, n_units: int) -> float:
    """Return the two-sided p-value of a value under the null hypothesis that its mean is 0, by Student's t.

    Args:
        n_units: samples, or clusters, behind the standard error; degrees of freedom are one less.

    Example:
        >>> round(t_test(1.96, 1.0, 100_000), 3), round(t_test(2.2281, 1.0, 11), 3)
        (0.05, 0.05)
    """
    from scipy.special import stdtr

    return float(2 * stdtr(n_units - 1, -abs(value) / standard_error))


@overload
def holm(p_values: Sequence[float]) -> list[float]: ...


@overload
def holm(p_values: Sequence[float | None]) -> list[float | None]: ...


def holm(p_values: Sequence[float | None]) -> Sequence[float | None]:
    """Return p-values corrected so that the chance of any false alarm among them is at most the alpha of each.

    Source: Holm, Scand. J. Statist. 6 (1979): the smallest is multiplied by their number, the next by one less, and
    so on; none is below the one before it. It is valid however the tests depend on each other.

    Args:
        p_values: None for a comparison without a test: it stays None and does not count.

    Example:
        >>> holm([0.02, None, 0.5, 0.01])
        [0.04, None, 0.5, 0.03]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        adjusted[place] = largest = max(largest, min(1.0, (len(tested) - rank) * p))
    return adjusted


def detectable(standard_error: float, n_units: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference that a two-sided test finds with the given power.

    (t of 1 - alpha / 2 + t of the power) × the standard error of the paired difference; at 5 % and 80 %, 2.8 of them
    where there are many samples. This is for one test by itself: after a correction for many, more is needed.

    Args:
        n_units: samples, or clusters, behind the standard error.

    Example:
        >>> round(detectable(0.01, 10_000), 4)
        0.028
    """
    return (student(1 - alpha / 2, n_units) + student(power, n_units)) * standard_error


def _flipped_totals(
    sums: Float64[np.ndarray, " n"], rng: np.random.Generator, n_draws: int
) -> Iterator[Float64[np.ndarray, " draws"]]:
    """Yield the totals under random signs, a block of draws at a time.

    Units of equal size are drawn together, as the number of them that are plus (a binomial). Where sizes differ, units
    are drawn eight at a time: the bits of a random byte say which are minus.
    """
    sizes, repeats = np.unique(np.abs(sums), return_counts=True)
    if len(sizes) < min(len(sums) / 8, 100):
        yield (2 * rng.binomial(repeats, 0.5, size=(n_draws, len(sizes))) - repeats) @ sizes
        return
    added = ByteSums(sums)
    n_block = max(1, _BLOCK_BYTES // added.n_bytes)
    n_drawn = [min(n_block, n_draws - start) for start in range(0, n_draws, n_block)]
    for start in range(0, len(n_drawn), _CALLS):
        drawn = [rng.integers(256, size=(n, added.n_bytes), dtype=np.uint8) for n in n_drawn[start : start + _CALLS]]
        yield sums.sum() - 2 * added.of(np.concatenate(drawn))
