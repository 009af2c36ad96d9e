"""The slices of a metric, such as its values by language: their mean, the worst one, and how far they are apart.

The worst of several noisy values looks worse than the worst true value is, and slices that are alike look apart. So the
intervals here are of the true worst value and the true distance, and allow for the slices having been chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np

from clipbench.stats import intervals
from clipbench.stats.clusters import (
    NEGLIGIBLE,
    Clusters,
    Values,
    cluster_codes,
    cluster_sums,
    n_equal_clusters,
    snap_to_integers,
    standard_error,
    student,
)
from clipbench.stats.intervals import CONFIDENCE, SHARES, TAIL, Bounds, Interval, Range


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The samples of one slice: the values of which a metric is the mean, or their influences on a value."""

    value: float
    influence: Values
    """Influence of each sample on the value: for a mean, its deviation from the mean."""
    clusters: Clusters = None
    within: Range = None
    are_hits: bool = False
    """True where the value is the fraction of samples that are hits."""

    @classmethod
    def of_mean(cls, values: Values, clusters: Clusters = None, within: Range = SHARES) -> "Slice":
        """Return the slice of a metric that is the mean of its samples' values."""
        values = snap_to_integers(values)
        within = intervals.applicable_range(within, values)
        mean = float(values.mean())
        are_hits = within == SHARES and bool(np.isin(values, SHARES).all())
        return cls(value=mean, influence=values - mean, clusters=clusters, within=within, are_hits=are_hits)

    @property
    def n_units(self) -> int:
        """Number of samples, or of clusters."""
        return len(cluster_sums(self.influence, self.clusters))

    def bounds(self, tail: float) -> Bounds:
        """Return a lower and an upper bound that are each missed with a chance of ``tail``, infinite without evidence.

        Hits have the exact bounds of Clopper and Pearson, with the effective number of samples if they are clustered
        (Korn and Graubard 1998). Other values have the bounds of Student's t, and equal values the bound of unseen
        ones. Without a range, each bound is the wider of Student's and the one corrected for skewness: few values with
        wide tails look skewed by chance.
        """
        minimum, maximum = self.within or (-inf, inf)
        if self.are_hits:
            return exact_bounds(self.value, self._trials(1 - 2 * tail), tail)
        error = standard_error(self.influence, self.clusters)
        if error is not None:
            half = error * student(1 - tail, self.n_units)
            low, high = max(minimum, self.value - half), min(maximum, self.value + half)
            if self.within is not None:
                return low, high
            corrected = intervals.hall_interval(self.value, self.influence, cluster_codes(self.clusters), tail=tail)
            return min(low, corrected.bounds[0]), max(high, corrected.bounds[1])
        if self.within is None:
            return minimum, maximum
        return intervals.unchanged_interval(self.value, self.n_units, self.within, tail=tail).bounds

    def interval(self) -> Bounds:
        """Return the 95 % bounds of one slice: for hits Wilson's, as exact ones are too wide on average."""
        if not self.are_hits:
            return self.bounds(TAIL)
        trials = self._trials(CONFIDENCE)
        return intervals.wilson(self.value * trials, trials).bounds

    def _trials(self, confidence: float) -> float:
        """Return the number of independent hits that know as much as the slice's."""
        n, codes = float(len(self.influence)), cluster_codes(self.clusters)
        if codes is None:
            return n
        at_least = n_equal_clusters(codes)
        return intervals.effective_n(
            self.value, self.influence, codes, at_least=at_least, at_most=n, confidence=confidence
        )


class Extreme(NamedTuple):
    """The worst slice: its name, its value, and an interval of the worst true value, whichever slice has it."""

    name: str
    value: float
    interval: Interval


def worst_slice(slices: Mapping[str, Slice], *, higher_is_better: bool = True) -> Extreme:
    """Return the slice with the worst value, and an interval of the worst true value.

    With L and U the bounds of K slices, the smallest true value is between the smallest L, each missed with a chance of
    2.5 %, and the smallest U, each missed with a chance of 2.5 % / K: the L of the truly worst slice bounds it from
    below, and no U may fall below it. This holds at 95 % or more however the slices depend on each other (Bonferroni).
    The first of equal values is the worst.
    """
    sign = 1 if higher_is_better else -1
    name = min(slices, key=lambda slice_name: sign * slices[slice_name].value)
    certain = [subset.bounds(TAIL) for subset in slices.values()]
    corrected = [subset.bounds(TAIL / len(slices)) for subset in slices.values()]
    if higher_is_better:
        low, high = min(low for low, _ in certain), min(high for _, high in corrected)
    else:
        low, high = max(low for low, _ in corrected), max(high for _, high in certain)
    value = slices[name].value
    return Extreme(name, value, _chosen_interval(value, low, high, len(slices)))


def slice_range(slices: Mapping[str, Slice]) -> tuple[float, Interval]:
    """Return the largest value less the smallest, and an interval of that distance between the true values.

    It is at most the largest U less the smallest L, each missed with a chance of 1.25 %, and at least the largest L
    less the smallest U, each missed with a chance of 1.25 % / K. A lower bound above 0 says that the slices differ:
    where they do not, it is above 0 with a chance of 2.5 % or less.
    """
    values = [subset.value for subset in slices.values()]
    value = max(values) - min(values)
    certain = [subset.bounds(TAIL / 2) for subset in slices.values()]
    corrected = [subset.bounds(TAIL / 2 / len(slices)) for subset in slices.values()]
    high = max(high for _, high in certain) - min(low for low, _ in certain)
    low = max(0.0, max(low for low, _ in corrected) - min(high for _, high in corrected))
    return value, _chosen_interval(value, low, high, len(slices))


def slice_mean(slices: Mapping[str, Slice]) -> tuple[float, Interval]:
    """Return the mean of the slices' values, each with the same weight, and its interval.

    The interval is for independent values (``intervals.mean_of_independent``). If slices share clusters, such as
    captions of one image in several languages, it is widened in proportion to the standard error.
    """
    subsets = list(slices.values())
    values = [subset.value for subset in subsets]
    bounds = [subset.interval() for subset in subsets]
    low, high = intervals.mean_of_independent(values, bounds, times=_dependence(subsets)).bounds
    ranges = {subset.within for subset in subsets}
    within = ranges.pop() if len(ranges) == 1 else None
    method = f"bounds of {len(subsets)} slices, added as standard errors (MOVER)"
    return float(np.mean(values)), _interval(low, high, method).clipped(within)


def _dependence(slices: Sequence[Slice]) -> float:
    """Return by how much clusters that slices share widen the standard error of their mean, 1 if they share none."""
    if any(subset.clusters is None for subset in slices):
        return 1.0
    clusters = np.concatenate([np.asarray(subset.clusters) for subset in slices])
    if len(np.unique(clusters)) == sum(len(np.unique(np.asarray(subset.clusters))) for subset in slices):
        return 1.0
    n = len(clusters)
    influence = np.concatenate([subset.influence * n / len(subset.influence) for subset in slices])
    owner = np.repeat(np.arange(len(slices)), [len(subset.influence) for subset in slices])
    pairs = np.stack([owner, np.unique(clusters, return_inverse=True)[1]])
    cell = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
    shared, separate = standard_error(influence, clusters), standard_error(influence, cell)
    return 1.0 if shared is None or separate is None else max(1.0, shared / separate)


def exact_bounds(share: float, trials: float, tail: float) -> Bounds:
    """Return the bounds of Clopper and Pearson, Biometrika 26 (1934), for a number of trials that need not be whole."""
    from scipy.special import betaincinv

    hits, misses = share * trials, (1 - share) * trials
    low = 0.0 if hits < NEGLIGIBLE else float(betaincinv(hits, misses + 1, tail))
    high = 1.0 if misses < NEGLIGIBLE else float(betaincinv(hits + 1, misses, 1 - tail))
    return low, high


def _chosen_interval(value: float, low: float, high: float, n_slices: int) -> Interval:
    method = f"bounds of {n_slices} slices, corrected for the choice (Bonferroni)"
    return _interval(min(low, value), max(high, value), method)


def _interval(low: float, high: float, method: str) -> Interval:
    if not (-inf < low and high < inf):
        return Interval(None, None, "a slice has too few samples for an interval")
    return Interval(low, high, method)
