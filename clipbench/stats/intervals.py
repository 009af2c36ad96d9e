"""Intervals: Wilson's of shares, Hall's of means, bootstrap (seeded), and the delta method from influences. All pure.

Samples that share a cluster (five captions of one image) are not independent: where clusters are given, the cluster
is what is resampled, or summed over. Student's t allows for few samples, or clusters: with fewer than about ten that
are far from normal, intervals cover the truth somewhat less often.
"""

import math
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from clipbench.errors import DataError
from clipbench.stats.clusters import (
    NEGLIGIBLE,
    Clusters,
    Codes,
    Values,
    cluster_codes,
    cluster_sums,
    n_equal_clusters,
    snap_to_integers,
    standard_error,
    student,
)

CONFIDENCE = 0.95
STATISTIC_RESAMPLES = 1000

TAIL = (1 - CONFIDENCE) / 2
"""Chance that a bound is missed on one side."""
ONE_SIDED = 0.9
"""Confidence of an interval whose bounds, each by itself, are missed with a chance of 5 %."""
ONE_SIDED_WILSON = 0.9165
"""The same for Wilson's, whose bound of k hits is missed in up to 6.7 % at 0.9 if hits are rare (50 samples, 4 losses).
At this confidence, its bound for 0 of n is the exact one, 3 / n."""
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
FEW = 3
"""Hits, or misses, up to which Wilson's bound is too sure."""
HEAVY = 4
"""Kurtosis from which a few differences make most of the spread, so that larger ones may be unseen; 3 is normal."""
_BLOCK_DRAWS = 1 << 15
"""Rows drawn at once: few enough for the processor's cache."""


SHARES = (0.0, 1.0)
"""Range of hits, credits and their means."""
DIFFERENCES = (-1.0, 1.0)
"""Range of the difference of two shares."""

Bounds = tuple[float, float]
"""A lower and an upper bound, or the distances to them."""
Range = Bounds | None
"""Smallest and largest possible value, None if there is none."""
IntervalAt = Callable[[float], "Interval"]
"""The interval of a value by its confidence."""
OfCounts = Callable[[Shaped[np.ndarray, "draws n"]], Float64[np.ndarray, " draws"]]
"""The values of a statistic in several draws, from how often each row is in each of them."""


def applicable_range(within: Range, values: Values | float) -> Range:
    """Return a range, or None if a value is outside it, as in a plug-in's column that is called a fraction wrongly.

    Example:
        >>> applicable_range(SHARES, 1.0), applicable_range(SHARES, np.array([0.5, 18.0]))
        ((0.0, 1.0), None)
    """
    if within is None:
        return None
    is_inside = within[0] - NEGLIGIBLE <= np.min(values) and np.max(values) <= within[1] + NEGLIGIBLE
    return within if is_inside else None


class Interval(NamedTuple):
    """Bounds at ``CONFIDENCE``, unless a caller passes another one, and their method. Both None without evidence."""

    low: float | None
    high: float | None
    method: str
    """Name of the method, or the reason why there are no bounds."""

    def clipped(self, within: Range) -> "Interval":
        """Return the part of the interval within a range.

        Example:
            >>> Interval(-0.2, 0.4, "delta method").clipped(SHARES).low
            0.0
        """
        if within is None or self.low is None or self.high is None:
            return self
        return Interval(max(within[0], self.low), min(within[1], self.high), self.method)

    @property
    def bounds(self) -> Bounds:
        """Both bounds, which there are."""
        assert self.low is not None and self.high is not None, self.method
        return self.low, self.high

    def distances_to_bounds(self, value: float) -> Bounds:
        """Return the distances from a value to the lower and the upper bound, both of which exist."""
        low, high = self.bounds
        return value - low, high - value


def wilson(
    successes: float,
    n: int | float,  # noqa: PYI041 (a checker of types at run time tells them apart)
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the score interval of a proportion, which is never empty: 0 of 10 may still be 28 %.

    For up to ``FEW`` hits, the lower bound is at most the exact one that is missed with a chance of 5 %, and so is the
    upper bound for misses. Without it, a fraction of 0.2 % is covered in 84 % of samples of 100, as one hit excludes
    it.

    Source: Wilson, JASA 22 (1927); with few hits Brown, Cai and DasGupta, Statistical Science 16 (2001), section 4.1.1.

    Args:
        successes: of ``n`` independent trials, in [0, n]. Need not be an integer.
        n: at least 1. An effective number of trials need not be an integer.

    Example:
        >>> low, high, _ = wilson(6.0, 10)
        >>> round(low, 4), round(high, 4)
        (0.3127, 0.8318)
    """
    if n < 1:
        raise DataError(f"cannot bound a proportion of {n} trials: expected at least 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, half = successes / n, z**2 / (2 * n)
    spread = half + sqrt(share * (1 - share) * 2 * half + half**2)
    # Each bound by the root's conjugate: exactly 0 without successes, exactly 1 without failures.
    low = share**2 / (share + spread)
    lack = (1 - share) ** 2 / (1 - share + spread)
    return Interval(
        min(low, _exact_lower_bound(successes, float(n), confidence)),
        1 - min(lack, _exact_lower_bound(n - successes, float(n), confidence)),
        "Wilson",
    )


def _exact_lower_bound(successes: float, n: float, confidence: float) -> float:
    """Return the exact lower bound of a share from few successes, 1 for more than ``FEW``, 0 for none."""
    from scipy.special import betaincinv

    if successes <= 0:
        return 0.0
    if successes > FEW + 1e-6:  # a mean of so many hits, times n, is not always whole
        return 1.0
    successes = max(1.0, successes)  # of less than one hit there is no exact law
    return float(betaincinv(successes, max(1.0, n - successes + 1), 1 - confidence))


def unchanged_interval(value: float, n_units: int, within: Bounds, *, tail: float = TAIL) -> Interval:
    """Return the interval of a mean that all of n samples share: others may differ, though none of these does.

    If more than 1 - 0.025^(1 / n) of all samples were different, one of n would be with a chance of 97.5 %. This
    fraction may differ, by as much as the range allows, on either side.

    Source: the exact bound of no successes in n trials, of Clopper and Pearson, Biometrika 26 (1934).
    """
    unseen = 1 - tail ** (1 / n_units)
    low, high = within
    return Interval(
        value - (value - low) * unseen, value + (high - value) * unseen, "bound of differences that no sample shows"
    )


def mean_interval(
    values: Values, *, clusters: Clusters = None, within: Range = SHARES, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of a mean: Wilson's of hits and credits, by gains and losses of differences, or Hall's.

    Independent hits have Wilson's. Credits between 0 and 1 and hits in clusters have Wilson's with the effective number
    of samples (``share_interval``), and differences have the interval of their gains and losses
    (``_difference_interval``): a bootstrap is too short if hardly a sample is wrong, or changes. Cosines and the like
    have ``hall_interval``.

    Equal values have no spread: when all are 0, or all 1, the interval is Wilson's with n the number of clusters;
    another constant of a known range has the bound of ``unchanged_interval``, and one without a range has no width, and
    the method says so. One value (or cluster) that is neither hit nor miss has no interval.

    Args:
        within: the range of the values, and limit of the bounds: ``SHARES``, of which 0 is a miss and 1 a hit,
            one from -x to x for differences of shares, or None for cosines and the like.
        confidence: of the interval. Each bound is missed with half of the rest.

    Raises:
        DataError: there are no values.
    """
    if not len(values):
        raise DataError("cannot bound the mean of no values: expected at least 1")
    values, codes = snap_to_integers(values), cluster_codes(clusters)
    mean, is_constant = float(values.mean()), np.ptp(values) < NEGLIGIBLE
    n = len(values) if codes is None else int(codes.max()) + 1
    within = applicable_range(within, values)
    are_hits = within == SHARES and bool(np.isin(values, SHARES).all())
    if are_hits and (codes is None or is_constant):
        return wilson(mean * n, n, confidence=confidence)._replace(method="Wilson" + _cluster_suffix(codes, n))
    if n == 1:
        return too_few(codes)
    is_seen, tail = not is_constant and standard_error(values - mean, codes) is not None, (1 - confidence) / 2
    if within is None:
        return (
            hall_interval(mean, values - mean, codes, tail=tail)
            if is_seen
            else Interval(mean, mean, "all values are equal")
        )
    if within == SHARES and (are_hits or is_seen):
        min_trials, max_trials = _trials(values, codes)
        return share_interval(
            mean, values - mean, codes, at_least=min_trials, at_most=max_trials, confidence=confidence
        )
    if not is_seen:
        return unchanged_interval(mean, n, within, tail=tail)  # in each cluster, gains and losses cancel
    return _difference_interval(values, codes, within[1], confidence).clipped(within)


def _trials(values: Values, codes: Codes) -> Bounds:
    """Return the smallest and the largest number of independent hits that may be as informative as these credits.

    The smallest is for clusters which are each all right or all wrong: no credits spread more (Bhatia and Davis 2000).
    Hits are at most as informative as independent ones: if few clusters of them agree less than by chance, it is luck.
    Other credits are bounded by one more sample, or cluster, at the far end of the range. For example, a few reciprocal
    ranks near 1 make most of a mean near 0, and a sample without any does not show their spread.
    """
    n = float(len(values))
    min_trials = n if codes is None else n_equal_clusters(codes)
    if np.isin(values, SHARES).all():
        return min_trials, n
    share, sums = float(values.mean()), cluster_sums(values - values.mean(), codes)
    far = max(share, 1 - share) * n / len(sums)
    variance = (float(sums @ sums) + far**2) / n**2 * len(sums) / (len(sums) - 1)
    return min_trials, share * (1 - share) / variance


def hall_interval(mean: float, deviations: Values, codes: Codes, *, tail: float = TAIL) -> Interval:
    """Return Student's interval of a mean, after a transformation of t that takes out its skewness.

    Source: Hall, JRSS B 54 (1992), the cubic one, with Student's quantiles instead of the normal law's.
    """
    sums = cluster_sums(deviations, codes)
    n, error = len(sums), standard_error(deviations, codes)
    assert error is not None, "they differ"
    skewness, t = float((sums**3).mean() / (sums**2).mean() ** 1.5) / sqrt(n), student(1 - tail, n)

    def inverse(quantile: float) -> float:
        if abs(skewness) < 1e-6:
            return quantile  # the limit, without the rounding errors
        return 3 / skewness * (math.cbrt(1 + skewness * (quantile - skewness / 6)) - 1)

    method = "Student's t, corrected for skewness" + _cluster_suffix(codes, n)
    return Interval(mean - error * inverse(t), mean - error * inverse(-t), method)


def _difference_interval(values: Values, codes: Codes, largest: float, confidence: float) -> Interval:
    """Return the interval of a mean of differences, from its gains and losses.

    Differences of credits without outliers have ``hall_interval``.
    """
    are_of_hits = bool(np.isin(np.abs(values), (0.0, largest)).all())
    if not are_of_hits and _is_spread_evenly(cluster_sums(values - values.mean(), codes)):
        return hall_interval(float(values.mean()), values - values.mean(), codes, tail=(1 - confidence) / 2)
    return gains_and_losses(values, codes, largest=largest, confidence=confidence)


def gains_and_losses(values: Values, codes: Codes, *, largest: float = 1.0, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a mean of differences from the intervals of its gains and of its losses.

    Gains and losses are fractions of the largest possible difference. If nothing was lost, Wilson's interval bounds the
    true loss. No resample would show any.
    """
    mean = float(values.mean())
    parts = [np.maximum(0.0, side * values / largest) for side in (1, -1)]
    distances, sums = [], []
    for credits in parts:
        share, (min_trials, max_trials) = float(credits.mean()), _trials(credits, codes)
        bounds = share_interval(
            share, credits - share, codes, at_least=min_trials, at_most=max_trials, confidence=confidence
        )
        distances.append(bounds.distances_to_bounds(share))
        sums.append(cluster_sums(credits - share, codes))
    below, above = mover_distances(distances[0], distances[1], *sums)
    method = "gains and losses by Wilson" + _cluster_suffix(codes, len(sums[0]))
    return Interval(mean - largest * below, mean + largest * above, method)


def _is_spread_evenly(sums: Float64[np.ndarray, " n_units"]) -> bool:
    """Return whether deviations have a kurtosis below ``HEAVY``, and more than four of them make the spread.

    Their own spread is then enough. One more sample at the far end of the range, which ``_trials`` allows for, would
    make the interval twice as wide for 120 changes of at most .2, and three times as wide for 11 clusters of them.
    """
    n_spreading = float((sums**2).sum() ** 2 / (sums**4).sum())
    return n_spreading > max(HEAVY, len(sums) / HEAVY)


def mover_distances(one: Bounds, other: Bounds, influence: Values, of_other: Values) -> Bounds:
    """Return the distances from a difference of two values to its bounds, from the distances of each value (MOVER).

    Squared distances are added like squared standard errors, with the correlation of both values.

    Source: Newcombe, Statistics in Medicine 17 (1998), 2635-2650; Zou and Donner, Statistics in Medicine 27 (2008).

    Args:
        one, other: distances from each value to its lower and its upper bound.
        influence, of_other: of each sample, or cluster, on each value.
    """
    correlation = influence_correlation(influence, of_other)

    def joint(a: float, b: float) -> float:
        return sqrt(max(0.0, a**2 + b**2 - 2 * correlation * a * b))

    return joint(one[0], other[1]), joint(one[1], other[0])


def influence_correlation(one: Values, other: Values) -> float:
    """Return the correlation of two values by the influences of their samples, 0 if no sample moves either."""
    spread = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / spread if spread > NEGLIGIBLE else 0.0


def mean_of_independent(values: Sequence[float], bounds: Sequence[Bounds], *, times: float = 1.0) -> Interval:
    """Return the interval of the mean of independent values, each with the same weight, from theirs.

    The distances of the bounds from the values are added as standard errors are, so that a value without a miss still
    has its doubt (MOVER; Zou and Donner, Statistics in Medicine 27 (2008)). The mean of many is less skewed than each
    of them is, so that neither side is shorter than half the width.

    Args:
        times: a factor of the width, for values that are not quite independent.

    Example:
        >>> low, high, _ = mean_of_independent([1.0, 0.25], [(0.91, 1.0), (0.14, 0.4)])
        >>> round(low, 3), round(high, 3)
        (0.554, 0.7)
    """
    distances = np.array([(value - low, high - value) for value, (low, high) in zip(values, bounds, strict=True)])
    halves = np.maximum(np.linalg.norm(distances, axis=0), np.linalg.norm(distances.mean(axis=1))) / len(values)
    below, above = (halves * times).tolist()
    value = float(np.mean(values))
    return Interval(value - below, value + above, f"bounds of {len(values)} values, added as standard errors (MOVER)")


def share_interval(
    share: float,
    influence: Values,
    codes: Codes,
    *,
    at_least: float = 1.0,
    at_most: float | None = None,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return Wilson's interval with the effective number of samples (``effective_n``, which has the arguments).

    Example:
        >>> share_interval(0.5, np.array([0.5, -0.5] * 200), np.arange(400) // 2 % 100).method
        'Wilson of 100 effective samples over 100 clusters'
    """
    share = min(1.0, max(0.0, share))  # rounding may have left it outside
    trials = effective_n(share, influence, codes, at_least=at_least, at_most=at_most, confidence=confidence)
    method = f"Wilson of {trials:.0f} effective samples" + _cluster_suffix(codes, len(cluster_sums(influence, codes)))
    return wilson(share * trials, trials, confidence=confidence)._replace(method=method)


def trials_of_means(
    means: Float64[np.ndarray, " n_parts"],
    sizes: Shaped[np.ndarray, " n_parts"],
    spreads: Float64[np.ndarray, " n_parts"] | None = None,
) -> float:
    """Return how many independent hits know as much as a mean of the means of several parts, such as classes.

    A few samples that are all right do not show that the part always is. So each part counts as if it had four samples
    more with the mean of all (Agresti and Coull, The American Statistician 52 (1998)).

    Args:
        means: mean credit of each part.
        sizes: samples of each part, at least 1.
        spreads: variance of the credits of each part, by default the variance of hits.
    """
    value, n_parts = float(means.mean()), len(means)
    shrunk = (sizes * means + 4 * value) / (sizes + 4)
    spread = shrunk * (1 - shrunk) if spreads is None else (sizes * spreads + 4 * value * (1 - value)) / (sizes + 4)
    variance = float((spread / sizes).sum()) / n_parts**2
    if value * (1 - value) < NEGLIGIBLE or variance < NEGLIGIBLE:
        return n_parts**2 / float((1 / sizes).sum())
    return max(1.0, value * (1 - value) / variance)  # of one sample, rounding may leave a little less


def bootstrap_interval(statistic: OfCounts, n: int, rng: np.random.Generator, *, clusters: Clusters = None) -> Interval:
    """Return the expanded percentile bootstrap interval of a statistic of rows (``bootstrap_intervals``)."""
    return bootstrap_intervals(statistic, n, rng, clusters=clusters)(CONFIDENCE)


def bootstrap_intervals(
    statistic: OfCounts, n: int, rng: np.random.Generator, *, clusters: Clusters = None
) -> IntervalAt:
    """Return the expanded percentile bootstrap intervals of a statistic of rows, all from the same resamples.

    Source: Hesterberg, The American Statistician 69 (2015).

    The percentile bootstrap corrects neither bias nor skewness: it is too narrow for extremes, and for discrete
    statistics at small n (a median of ranks). Resamples for which the statistic is NaN (a class is absent) are left
    out, and the method says how many; when more than half are, there is no interval.

    Args:
        statistic: its values, from how often each row is in each resample (``of_rows`` makes it of a function of rows).
        rng: draws ``STATISTIC_RESAMPLES`` resamples.
        clusters: the cluster of each row. Whole clusters are drawn.

    Returns:
        The interval by its confidence.
    """
    codes = cluster_codes(clusters)
    n_units = n if codes is None else int(codes.max(initial=-1)) + 1
    if n_units < 2:
        return lambda confidence: too_few(codes)
    values, size = np.empty(STATISTIC_RESAMPLES), max(1, _BLOCK_DRAWS // n)
    for start in range(0, len(values), size):
        block = values[start : start + size]
        units = rng.integers(n_units, size=(len(block), n_units))
        counts = np.array([np.bincount(row, minlength=n_units) for row in units])
        block[:] = statistic(counts if codes is None else counts[:, codes])
    return lambda confidence: _percentiles(values, codes, n_units, confidence)


def of_rows(statistic: Callable[[Int64[np.ndarray, " rows"]], float]) -> OfCounts:
    """Return a statistic of the rows of a resample, with repeats, as one of how often each row is in it."""
    return lambda counts: np.array([statistic(np.repeat(np.arange(len(row)), row)) for row in counts], np.float64)


def influence_interval(
    value: float,
    influence: Values,
    *,
    clusters: Clusters = None,
    within: Range = None,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the delta-method interval of a smooth function of means: value ± t × standard error.

    t is Student's, with one degree of freedom less than there are samples, or clusters.

    The standard error is from ``clusters.standard_error``. If no sample has any influence there is no interval, as the
    method is blind, not the value certain.

    Args:
        value: the estimate.
        influence: derivative of the estimate with respect to each sample's weight, times n. It sums to about 0.
        within: the range of the value, and limit of the bounds.
        confidence: of the interval. Each bound is missed with half of the rest.
    """
    codes = cluster_codes(clusters)
    n_units = len(cluster_sums(influence, codes))
    if n_units < 2:
        return too_few(codes)
    half = standard_error(influence, codes, times=student((1 + confidence) / 2, n_units))
    if half is None:
        return Interval(None, None, "the delta method has no width here: no sample moves the value")
    return Interval(value - half, value + half, "delta method" + _cluster_suffix(codes, n_units)).clipped(within)


def effective_n(
    share: float,
    influence: Values,
    clusters: Clusters,
    *,
    at_least: float = 1.0,
    at_most: float | None = None,
    confidence: float = CONFIDENCE,
) -> float:
    """Return the number of independent hits whose share would be as uncertain.

    Few samples, or clusters, estimate their own spread badly, for which the quantiles of Student's t and the normal law
    give fewer hits (Korn and Graubard, Survey Methodology 24 (1998)). If few of many clusters have a hit (or a miss),
    only these few estimate it: with s the sum of each cluster, their number is 1.25 (sum of s²)² / (sum of s⁴). The
    factor 1.25 was found by simulation (experiments/coverage.md). Where no cluster deviates, each counts as one hit.

    Args:
        share: in [0, 1].
        influence: of each sample on the share, such as its deviation from it.
        at_least: the number that is reached, however badly the spread is known.
        at_most: the number that is not exceeded, however small the error.

    Example:
        >>> round(effective_n(0.5, np.array([0.5, -0.5] * 500), None))  # 999, less 0.2 % for Student's t
        997
    """
    sums, error = cluster_sums(influence, clusters), standard_error(influence, clusters)
    most = math.inf if at_most is None else at_most
    if error is None:
        return max(at_least, min(float(len(sums)), most))
    n_known = float(len(sums))
    if len(sums) < len(influence):
        n_known = min(n_known, 1 + 1.25 * float((sums**2).sum() ** 2 / (sums**4).sum()))
    upper = (1 + confidence) / 2
    trials = min(share * (1 - share) / error**2, most)
    return max(at_least, trials * (NormalDist().inv_cdf(upper) / student(upper, n_known)) ** 2)


def _percentiles(values: Float64[np.ndarray, " resamples"], codes: Codes, n_units: int, confidence: float) -> Interval:
    defined = values[~np.isnan(values)]
    n_undefined = len(values) - len(defined)
    if 2 * n_undefined > len(values):
        return Interval(None, None, f"the value is undefined in {n_undefined} of {len(values)} resamples")
    # A bootstrap distribution is too narrow by sqrt((n - 1) / n), and has the tails of the normal law where those of
    # Student's t are needed; percentiles further out make up for both.
    reach = student((1 + confidence) / 2, n_units) * sqrt(n_units / (n_units - 1))
    low, high = np.quantile(defined, (NormalDist().cdf(-reach), NormalDist().cdf(reach)))
    method = f"percentile bootstrap, {len(defined)} resamples" + _cluster_suffix(codes, n_units)
    if n_undefined:
        method += f", {n_undefined} without a value left out"
    return Interval(float(low), float(high), method)


def _cluster_suffix(codes: Codes, n_units: int) -> str:
    return "" if codes is None else f" over {n_units} clusters"


def too_few(codes: Codes) -> Interval:
    """Return the interval of a single sample, or cluster: none."""
    unit = "sample" if codes is None else "cluster"
    return Interval(None, None, f"an interval needs at least two {unit}s")


UNMOVED = "no sample moves the value"


def shared_neighbours_interval(value: float, influence: Values) -> Interval:
    """Return the interval of a mutual k-NN: value ± t × jackknife standard error, which is too wide rather than too
    narrow.

    Samples share neighbours, so that the error of a mean of independent shares would be too small.

    Args:
        influence: of each sample, as ``metrics.shared_neighbours`` returns it.

    Example:
        >>> shared_neighbours_interval(1.0, np.zeros(30)).method
        'no sample moves the value'
    """
    interval = influence_interval(value, influence, within=SHARES)
    return interval._replace(method=UNMOVED if interval.low is None else "jackknife")


def cka_interval(value: float, influence: Values) -> Interval:
    """Return the interval of a CKA: Fisher's z ± t × jackknife standard error, and back.

    CKA is a correlation, of centred dot products, and as skewed near 1.

    Args:
        value: at most 1.
        influence: of each sample, as ``metrics.cka`` returns it.

    Example:
        >>> low, high, _ = cka_interval(0.9, np.array([-0.3, 0.3] * 50))
        >>> round(low, 3), round(high, 3)
        (0.82, 0.945)
    """
    half = standard_error(influence, times=student((1 + CONFIDENCE) / 2, len(influence)))
    if half is None or abs(value) >= 1:
        return Interval(None, None, UNMOVED)
    z, reach = math.atanh(value), half / (1 - value**2)
    return Interval(math.tanh(z - reach), math.tanh(z + reach), "jackknife of Fisher's z")
