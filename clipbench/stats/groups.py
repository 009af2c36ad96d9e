"""Where a paired change is a loss or a gain, over many overlapping groups of samples at once. All pure.

Two questions have a test each. The null hypothesis of *here* is that the change in the group is as often a gain as a
loss, and its test flips the signs of whole clusters. The null hypothesis of *than elsewhere* is that the change does
not depend on the group, and its test permutes the changes of whole clusters among the samples. Both take the largest
statistic over all groups as their reference (Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm
2.8), so that the chance of any false claim among all groups, in either direction, is at most alpha for each question.
Groups must not depend on the changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from clipbench.stats.clusters import NEGLIGIBLE, Codes, Values, cluster_codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

N_DRAWS = 2_000
"""Sign flips, and permutations: a p-value has a step of 1 / 2,001."""
PRIOR_SAMPLES = 20.0
"""Samples of average variance that a group's variance is averaged with: of few samples, none may have changed."""
MOST_NUMBERS = 1 << 20
"""Numbers in memory at once: samples times draws."""
BISECTIONS = 30
FEWEST_ALIKE = 20
"""Fewest clusters that are permuted among each other. Rarer sizes are permuted together with the next size."""

OfGroups = Float64[np.ndarray, " n_groups"]
Drawn = Float[np.ndarray, "n_groups n_draws"]


@dataclass(frozen=True)
class Grouping:
    """Groups of samples, which may overlap, and the clusters that samples belong to."""

    members: Float32[np.ndarray, "n_groups n"]
    """1 if a group has a sample, otherwise 0."""
    clusters: Codes = None

    @classmethod
    def from_rows(cls, rows: Sequence[Int64[np.ndarray, " _"]], n_samples: int, clusters: Codes = None) -> "Grouping":
        """Return the grouping of samples by the row numbers of the members of each group."""
        members = np.zeros((len(rows), n_samples), np.float32)
        for group, members_of_group in enumerate(rows):
            members[group, members_of_group] = 1.0
        return cls(members, clusters)

    @property
    def n_samples(self) -> int:
        """Number of samples, in a group or not."""
        return self.members.shape[1]

    @cached_property
    def sizes(self) -> OfGroups:
        """Number of samples of each group."""
        return self.members.sum(axis=1, dtype=np.float64)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the samples' values in each group."""
        return self.members @ values

    def squared_sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum, over a group's clusters, of the squared sum of the values that the group has of a cluster."""
        if self.clusters is None:
            return self.members @ values**2
        has_whole, whole, parts, of_groups = self._cluster_parts
        sums = np.empty((len(self.members), *values.shape[1:]), values.dtype)
        sums[has_whole] = whole @ _sums_by_code(values, self.clusters) ** 2
        sums[~has_whole] = of_groups @ (parts @ values) ** 2
        return sums

    def take(self, groups: Int64[np.ndarray, " k"], is_kept: Bool[np.ndarray, " n"]) -> "Grouping":
        """Return some groups without the samples that are not kept."""
        clusters = None if self.clusters is None else cluster_codes(self.clusters[is_kept])
        return Grouping(self.members[np.ix_(groups, np.flatnonzero(is_kept))], clusters)

    @cached_property
    def _cluster_parts(self) -> "tuple[Bool[np.ndarray, ' n_groups'], np.ndarray, csr_array, csr_array]":
        """Which groups have whole clusters only, their clusters, and of the others the samples of each pair of a group
        and a cluster, and the pairs of each group.
        """
        from scipy.sparse import csr_array

        assert self.clusters is not None
        n_clusters = int(self.clusters.max()) + 1
        counts = _sums_by_code(self.members.T, self.clusters).T
        has_whole = ((counts == 0) | (counts == np.bincount(self.clusters))).all(axis=1)
        group, sample = np.nonzero(self.members[~has_whole])
        pairs, first, code = np.unique(
            group * n_clusters + self.clusters[sample], return_index=True, return_inverse=True
        )
        ones = np.ones(len(code), np.float32)
        parts = csr_array((ones, (code, sample)), shape=(len(pairs), self.n_samples))
        shape = (int((~has_whole).sum()), len(pairs))
        of_groups = csr_array((ones[: len(pairs)], (group[first], np.arange(len(pairs)))), shape=shape)
        return has_whole, (counts[has_whole] > 0).astype(np.float32), parts, of_groups


class GroupTests(NamedTuple):
    """The tests of all groups. Statistics have the sign of the change: below 0 is a loss."""

    change: OfGroups
    """Mean change of each group's samples."""
    statistic_here: OfGroups
    statistic_elsewhere: OfGroups
    p_here: OfGroups
    """Two-sided, corrected over all groups."""
    p_elsewhere: OfGroups
    critical_here: float
    """Size of the statistic that the largest of all groups exceeds with a chance of alpha."""
    critical_elsewhere: float
    low: OfGroups
    """Bounds that hold the true change of all groups at once, at 1 - alpha."""
    high: OfGroups

    def is_claimed(self, alpha: float) -> Bool[np.ndarray, " n_groups"]:
        """Return which groups changed by the test of their own change: worse, or better.

        A group that differs from the others only because they changed has neither got better nor worse.
        """
        return self.p_here <= alpha

    def exceeds_elsewhere(self, alpha: float) -> Bool[np.ndarray, " n_groups"]:
        """Return which groups changed, and more than elsewhere in the same direction."""
        differs = (self.p_elsewhere <= alpha) & (self.statistic_elsewhere * self.change > 0)
        return self.is_claimed(alpha) & differs


def judge_groups(
    changes: Values, grouping: Grouping, rng: np.random.Generator, *, alpha: float = 0.05, n_draws: int = N_DRAWS
) -> GroupTests:
    """Return both tests of all groups, and simultaneous bounds of their changes.

    Args:
        changes: of each sample's credit, the candidate's minus the base's, in [-1, 1].
        grouping: made without the changes.
        rng: equal results need an equal order of samples and groups.
    """
    n_blocks = max(1, MOST_NUMBERS // max(1, len(changes)))
    parts = [min(n_blocks, n_draws - start) for start in range(0, n_draws, n_blocks)]
    flips, permutations = rng.spawn(2)
    statistic_here = here_statistics(changes, grouping)
    flipped = np.concatenate([_flipped(changes, grouping, flips, n) for n in parts], axis=1)
    statistic_elsewhere = elsewhere_statistics(changes, grouping)
    permute = _Permuter(len(changes), grouping.clusters)
    permuted = np.concatenate([_permuted(changes, grouping, permute, permutations, n) for n in parts], axis=1)
    critical_here, critical_elsewhere = (
        _critical_size(null_statistics, alpha) for null_statistics in (flipped, permuted)
    )
    p_here = step_down_p_values(np.abs(statistic_here), np.abs(flipped))
    low, high = simultaneous_bounds(changes, grouping, critical_here)
    # The test decides on 0: with clusters, or after the first step down, the bounds differ from it a little.
    is_claimed = p_here <= alpha
    low = np.where(
        is_claimed & (statistic_here > 0), np.maximum(low, 0.0), np.where(is_claimed, low, np.minimum(low, 0.0))
    )
    high = np.where(
        is_claimed & (statistic_here < 0), np.minimum(high, 0.0), np.where(is_claimed, high, np.maximum(high, 0.0))
    )
    return GroupTests(
        change=grouping.sums(changes) / grouping.sizes,
        statistic_here=statistic_here,
        statistic_elsewhere=statistic_elsewhere,
        p_here=p_here,
        p_elsewhere=step_down_p_values(np.abs(statistic_elsewhere), np.abs(permuted)),
        critical_here=critical_here,
        critical_elsewhere=critical_elsewhere,
        low=low,
        high=high,
    )


class Covering(NamedTuple):
    """A group that carries a part of the change that no group before it holds."""

    group: int
    """Its row in the grouping."""
    net_change: float
    """Sum of the changes of the samples that no group before it has."""
    exceeds_elsewhere: bool
    """True if the test shows that the group lost, or gained, more than elsewhere."""


def cover_changes(changes: Values, grouping: Grouping, tests: GroupTests, alpha: float = 0.05) -> list[Covering]:
    """Return the few groups that hold the claimed losses and gains, each net of those before it.

    Next is the group whose remaining samples exceed the critical size by most: first among those that changed more than
    elsewhere, then among those that changed at all. Elsewhere is where no group before it is: next to a large loss, all
    other groups look better than elsewhere, and are not listed for that.
    """
    covering: list[Covering] = []
    is_left = np.ones(grouping.n_samples, bool)
    signs, exceeds_elsewhere = np.sign(tests.change), tests.exceeds_elsewhere(alpha)
    questions = (
        (elsewhere_statistics, exceeds_elsewhere, tests.critical_elsewhere),
        (here_statistics, tests.is_claimed(alpha), tests.critical_here),
    )
    for statistic, is_claimed, critical in questions:
        claimed = np.flatnonzero(is_claimed)
        while len(claimed) and is_left.any():
            left = grouping.take(claimed, is_left)
            net_changes = left.sums(changes[is_left])
            sizes = np.where(net_changes * signs[claimed] > 0, signs[claimed] * statistic(changes[is_left], left), 0.0)
            best = int(np.argmax(sizes))
            # The first passed by its step-down p-value, which may ask for less than the critical size of all groups.
            if sizes[best] < (NEGLIGIBLE if is_left.all() else critical):
                break
            group = int(claimed[best])
            covering.append(Covering(group, float(net_changes[best]), bool(exceeds_elsewhere[group])))
            is_left &= grouping.members[group] == 0
            claimed = np.delete(claimed, best)
    return covering


def here_statistics(changes: Values, grouping: Grouping) -> OfGroups:
    """Return the sum of each group's changes over its spread under flipped signs: the root of the squared clusters."""
    return grouping.sums(changes) / np.sqrt(np.maximum(grouping.squared_sums(changes), NEGLIGIBLE))


def elsewhere_statistics(changes: Values, grouping: Grouping) -> OfGroups:
    """Return the distance of each group's mean change from the mean of all samples, over its standard error.

    The group's samples give the variance (White), averaged with ``PRIOR_SAMPLES`` samples of average variance.
    """
    deviations = changes - changes.mean()
    return _score(deviations[:, None], _of_clusters(deviations, grouping.clusters)[:, None], grouping)[:, 0]


def simultaneous_bounds(changes: Values, grouping: Grouping, critical: float) -> tuple[OfGroups, OfGroups]:
    """Return bounds of all groups' true changes, by the size that a statistic must exceed.

    Tango's score interval (Statistics in Medicine 17 (1998)): the changes that the group's mean does not differ from by
    more than the critical number of standard errors. Gains and losses are estimated under the change in question. Where
    their skewness makes that number too small (nearly all changes are losses, and the bound is a small loss), it is
    raised (Gart and Nam, Biometrics 44 (1988)). It is not lowered on the other side: of few samples without a change
    the correction is too large.
    With clusters, their variance is multiplied by the design effect. Without them, the bounds exclude 0 exactly where
    the statistic of ``here_statistics`` exceeds the critical size.
    """
    gains, losses = (grouping.sums(np.maximum(0.0, side * changes) ** 2) for side in (1, -1))
    squares, clustered = gains + losses, grouping.squared_sums(changes)
    # Of few changes a design effect is a guess: it is averaged with that of all samples.
    of_all = [
        float(part) for part in ((changes * _of_clusters(changes, grouping.clusters)).mean(), (changes**2).mean())
    ]
    effect = (clustered + PRIOR_SAMPLES * of_all[0] + NEGLIGIBLE) / (squares + PRIOR_SAMPLES * of_all[1] + NEGLIGIBLE)
    effect, sums = np.maximum(effect, 1.0), grouping.sums(changes)
    low = -_score_bound(-sums, losses, gains, grouping.sizes, effect, critical)
    return low, _score_bound(sums, gains, losses, grouping.sizes, effect, critical)


def detectable_change(
    changes: Values, grouping: Grouping, critical: float, share: float, *, power: float = 0.8
) -> float:
    """Return the loss that a group of a fraction of the samples needs to exceed the critical size with some power.

    A loss adds to the variance as much as it is itself.
    """
    from scipy.special import ndtri

    variance = float((changes * _of_clusters(changes, grouping.clusters)).mean())
    needed = (critical + float(ndtri(power))) ** 2 / (share * grouping.n_samples)
    return (needed + float(np.sqrt(needed**2 + 4 * needed * variance))) / 2


def _score_bound(
    sums: OfGroups, gains: OfGroups, losses: OfGroups, n: OfGroups, effect: OfGroups, critical: float
) -> OfGroups:
    """Return the largest change t up to 1 that n t - sum does not exceed by the critical size, by bisection."""
    inside, outside = sums / n, np.ones(len(n))
    for _ in range(BISECTIONS):
        t = (inside + outside) / 2
        # The fraction of losses under the change t, and from it the variance, as Tango has them.
        linear = (2 * n - gains + losses) * t - gains - losses
        share = (np.sqrt(np.maximum(0.0, linear**2 + 8 * n * losses * t * (1 - t))) - linear) / (4 * n)
        variance = np.maximum(0.0, 2 * share + t * (1 - t))
        third_moment = t * (1 - 3 * variance - t**2)
        skew = np.maximum(0.0, -third_moment) / np.maximum(variance, NEGLIGIBLE)
        reach = critical * np.sqrt(effect * n * variance) + (critical**2 - 1) / 6 * effect * skew
        is_inside = n * t - sums <= reach
        inside, outside = np.where(is_inside, t, inside), np.where(is_inside, outside, t)
    return outside


def _flipped(changes: Values, grouping: Grouping, rng: np.random.Generator, n_draws: int) -> Drawn:
    """Return the statistics of *here* when the signs of whole clusters are flipped at random."""
    n_units = len(changes) if grouping.clusters is None else int(grouping.clusters.max()) + 1
    signs = rng.integers(2, size=(n_units, n_draws), dtype=np.int8) * 2 - 1
    signs = signs if grouping.clusters is None else signs[grouping.clusters]
    spread = np.sqrt(np.maximum(grouping.squared_sums(changes[:, None]), NEGLIGIBLE))  # flips do not change it
    return grouping.sums(changes.astype(np.float32)[:, None] * signs) / spread.astype(np.float32)


def _permuted(
    changes: Values, grouping: Grouping, permute: "_Permuter", rng: np.random.Generator, n_draws: int
) -> Drawn:
    deviations = (changes - changes.mean()).astype(np.float32)
    rows = permute(rng, n_draws)
    return _score(deviations[rows], _of_clusters(deviations, grouping.clusters)[rows], grouping)


def _score(deviations: np.ndarray, of_clusters: np.ndarray, grouping: Grouping) -> Drawn:
    """Return the sums of groups over their standard errors.

    A cluster counts in a group of share s by its deviations in the group, minus s times all deviations of the cluster.

    Args:
        deviations: from the mean of all samples, by sample and draw.
        of_clusters: the sum of the deviations of each sample's cluster.
    """
    n = grouping.sizes[:, None].astype(deviations.dtype)
    share, variance = n / grouping.n_samples, (deviations * of_clusters).mean(axis=0)
    weight = n / (n + PRIOR_SAMPLES)
    squares = grouping.squared_sums(deviations)
    shared = squares if grouping.clusters is None else grouping.sums(deviations * of_clusters)
    of_group, of_both = (weight * (total + PRIOR_SAMPLES * variance) for total in (squares, shared))
    squared = of_group - 2 * share * of_both + share**2 * grouping.n_samples * variance
    min_variance = np.maximum(1e-6 * n * variance, NEGLIGIBLE)
    return grouping.sums(deviations) / np.sqrt(np.maximum(squared, min_variance))


def _of_clusters(values: Float[np.ndarray, " n"], clusters: Codes) -> Float[np.ndarray, " n"]:
    return values if clusters is None else np.bincount(clusters, values)[clusters].astype(values.dtype)


def _sums_by_code(values: np.ndarray, codes: Int64[np.ndarray, " n"]) -> np.ndarray:
    order = np.argsort(codes, kind="stable")
    return np.add.reduceat(values[order], np.searchsorted(codes[order], np.arange(codes.max() + 1)), axis=0)


class _Permuter:
    """Rows of samples when clusters are permuted among clusters of the same size, or of a near one if few have it.

    Inside each cluster, rows are shifted by a random number: a group may have one sample of every cluster, such as the
    copies of all images with one disturbance, and would keep its samples otherwise.
    """

    def __init__(self, n: int, clusters: Codes) -> None:
        codes = np.arange(n) if clusters is None else clusters
        sizes = np.bincount(codes)
        self._order = np.argsort(codes, kind="stable")  # samples, cluster by cluster
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._sizes = sizes
        self._cluster = codes
        rank = np.empty(n, np.int64)
        rank[self._order] = np.arange(n)
        self._position = rank - self._starts[codes]  # of each sample in its cluster
        self._bins = [*_size_bins(sizes)]

    def __call__(self, rng: np.random.Generator, n_draws: int) -> Int64[np.ndarray, "n n_draws"]:
        donors = np.empty((n_draws, len(self._sizes)), np.int64)
        for bin_clusters in self._bins:
            donors[:, bin_clusters] = rng.permuted(np.tile(bin_clusters, (n_draws, 1)), axis=1)
        donor = donors.T[self._cluster]
        position = self._position[:, None]
        if len(self._sizes) < len(self._order):
            position = position + (rng.random(donors.T.shape) * self._sizes[:, None]).astype(np.int64)[self._cluster]
        return self._order[self._starts[donor] + position % self._sizes[donor]]


def _size_bins(sizes: Int64[np.ndarray, " n_clusters"]) -> list[Int64[np.ndarray, " _"]]:
    """Return bins of clusters of one size. A size with fewer than 20 clusters shares a bin with the next."""
    bins: list[np.ndarray] = []
    for size in np.unique(sizes):
        clusters = np.flatnonzero(sizes == size)
        if bins and (len(bins[-1]) < FEWEST_ALIKE or len(clusters) < FEWEST_ALIKE):
            bins[-1] = np.concatenate([bins[-1], clusters])
        else:
            bins.append(clusters)
    return bins


def _critical_size(null_statistics: Drawn, alpha: float) -> float:
    """Return the size that the largest statistic exceeds with a chance of alpha, at least as for one group.

    Where next to nothing changed, no flip is large, which says nothing of changes that other samples might have.
    """
    from scipy.special import ndtri

    largest = np.abs(null_statistics).max(axis=0, initial=0.0)
    return float(max(ndtri(1 - alpha / 2), np.quantile(largest, 1 - alpha, method="higher")))


def step_down_p_values(sizes: OfGroups, null_statistics: Drawn) -> OfGroups:
    """Return p-values of statistics, the largest first: each by the largest drawn one of those that are not larger."""
    order = np.argsort(-sizes, kind="stable")
    # From the smallest statistic up: the largest drawn one of all groups so far.
    largest = np.maximum.accumulate(null_statistics[order[::-1]], axis=0)[::-1]
    reached = (largest >= sizes[order][:, None] - 1e-4).sum(axis=1)
    p_values = np.empty(len(sizes))
    p_values[order] = np.maximum.accumulate((1 + reached) / (1 + null_statistics.shape[1])) if len(sizes) else 0.0
    return p_values
