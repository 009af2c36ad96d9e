"""Where a paired change is a loss or a gain, over many overlapping groups of samples at once. All pure.

Two questions have a test each. *Here* asks whether the mean change of a group is not 0, and *than elsewhere* whether it
differs from the mean change of the other samples. Both have the test of a mean that may be skewed (``stats.mean_law``),
which lets the spread of changes differ between a group and the others. They are corrected by the largest of all groups
under flipped signs of whole clusters (step down, as Westfall and Young, Resampling-Based Multiple Testing, 1993,
algorithm 2.8): the chance of any false claim among all groups, in either direction, is about alpha for each question.
Groups must not depend on the changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from clipbench.stats.clusters import NEGLIGIBLE, Codes, Values, cluster_codes, design_effect, sums_of_squares
from clipbench.stats.mean_law import UNSEEN_OF_ONE_SIDE, MeanLaws, law_of_mean

N_DRAWS = 2_000
"""Sign flips: a p-value has a step of 1 / 2,001."""
MOST_NUMBERS = 1 << 22
"""Numbers in memory at once: levels times groups, or samples times draws."""
MOST_LEVELS = 257
"""Levels that changes are rounded to if they have more, each split over its neighbours so that the mean stays."""
DETECTABLE_STEPS = 400
"""Losses of a group that are tried, evenly spaced: the detectable one is found to a quarter of a point."""

OfGroups = Float64[np.ndarray, " n_groups"]
Drawn = Float[np.ndarray, "n_groups n_draws"]


@dataclass(frozen=True)
class Grouping:
    """Groups of samples, which may overlap, and the clusters that samples belong to."""

    members: Bool[np.ndarray, "n_groups n"]
    """True if a group has a sample."""
    clusters: Codes = None

    @classmethod
    def from_rows(cls, rows: Sequence[Int64[np.ndarray, " _"]], n_samples: int, clusters: Codes = None) -> "Grouping":
        """Return the grouping of samples by the row numbers of the members of each group."""
        members = np.zeros((len(rows), n_samples), np.bool)
        for group, members_of_group in enumerate(rows):
            members[group, members_of_group] = True
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
        """Return the sum of the samples' values in each group, a block of groups at a time."""
        n_block = max(1, MOST_NUMBERS // max(1, self.n_samples))
        starts = range(0, len(self.members), n_block)
        blocks = [self.members[start : start + n_block].astype(values.dtype) @ values for start in starts]
        return np.concatenate(blocks) if blocks else np.empty((0, *values.shape[1:]), values.dtype)

    def take(self, groups: Int64[np.ndarray, " k"], is_kept: Bool[np.ndarray, " n"]) -> "Grouping":
        """Return some groups without the samples that are not kept."""
        clusters = None if self.clusters is None else cluster_codes(self.clusters[is_kept])
        return Grouping(self.members[np.ix_(groups, np.flatnonzero(is_kept))], clusters)


class GroupTests(NamedTuple):
    """The tests of all groups. Below 0 is a loss."""

    change: OfGroups
    """Mean change of each group's samples."""
    contrast: OfGroups
    """The same less the mean change of the samples elsewhere."""
    p_here: OfGroups
    """Two-sided, corrected over all groups."""
    p_elsewhere: OfGroups
    critical_here: float
    """Size that the largest of all groups exceeds with a chance of alpha."""
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
        differs = (self.p_elsewhere <= alpha) & (self.contrast * self.change > 0)
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
    from scipy.special import ndtr

    here, elsewhere = _flipped(changes, grouping, rng, n_draws)
    critical_here, critical_elsewhere = _critical_size(here.drawn, alpha), _critical_size(elsewhere.drawn, alpha)
    laws = [*_laws_here(changes, grouping)]
    p_here = here.corrected(_sizes(laws))
    sums = grouping.sums(changes)
    change = sums / grouping.sizes
    tail = float(ndtr(-critical_here))
    bounds = np.concatenate([part.bounds(tail, unseen=UNSEEN_OF_ONE_SIDE) for part in laws], axis=1)
    low, high = _with_zero_by_test(bounds, change, p_here <= alpha)
    return GroupTests(
        change=change,
        contrast=change - (changes.sum() - sums) / np.maximum(1, grouping.n_samples - grouping.sizes),
        p_here=p_here,
        p_elsewhere=elsewhere.corrected(_sizes(_laws_elsewhere(changes, grouping))),
        critical_here=critical_here,
        critical_elsewhere=critical_elsewhere,
        low=low,
        high=high,
    )


def _with_zero_by_test(
    bounds: Float64[np.ndarray, "two n_groups"], change: OfGroups, is_claimed: Bool[np.ndarray, " n_groups"]
) -> tuple[OfGroups, OfGroups]:
    """Return bounds that hold 0 exactly if a group is not claimed: its p-value may ask for less than they do."""
    low, high = bounds
    is_worse, is_better = is_claimed & (change < 0), is_claimed & (change > 0)
    low = np.where(is_better, np.maximum(low, 0.0), np.where(is_worse, low, np.minimum(low, 0.0)))
    high = np.where(is_worse, np.minimum(high, 0.0), np.where(is_better, high, np.maximum(high, 0.0)))
    return low, high


class Covering(NamedTuple):
    """A group that carries a part of the change that no group before it holds."""

    group: int
    """Its row in the grouping."""
    net_change: float
    """Sum of the changes of the samples that no group before it has."""
    n_net: int
    """Number of these samples."""
    exceeds_elsewhere: bool
    """True if its samples that no group before it has show that they lost, or gained, more than elsewhere."""


def cover_changes(changes: Values, grouping: Grouping, tests: GroupTests, alpha: float = 0.05) -> list[Covering]:
    """Return the few groups that hold the claimed losses and gains, each net of those before it.

    Next is the group whose remaining samples exceed the critical size by most: first among those that changed more than
    elsewhere, then among those that changed at all. Elsewhere is where no group before it is: next to a large loss, all
    other groups look better than elsewhere, and are not listed for that.
    """
    covering: list[Covering] = []
    is_left = np.ones(grouping.n_samples, bool)
    signs = np.sign(tests.change)
    questions = (
        (True, _laws_elsewhere, tests.exceeds_elsewhere(alpha), tests.critical_elsewhere),
        (False, _laws_here, tests.is_claimed(alpha), tests.critical_here),
    )
    for is_elsewhere, laws_of, is_claimed, critical in questions:
        claimed = np.flatnonzero(is_claimed)
        while len(claimed := claimed[grouping.members[np.ix_(claimed, is_left)].any(axis=1)]):
            left = grouping.take(claimed, is_left)
            net_changes = left.sums(changes[is_left])
            is_same_way = net_changes * signs[claimed] > 0
            sizes = np.where(is_same_way, _sizes(laws_of(changes[is_left], left)), 0.0)
            best = int(np.argmax(sizes))
            # The first passed by its step-down p-value, which may ask for less than the critical size of all groups.
            if sizes[best] < (NEGLIGIBLE if is_left.all() else critical):
                break
            group = int(claimed[best])
            covering.append(Covering(group, float(net_changes[best]), int(left.sizes[best]), is_elsewhere))
            is_left &= ~grouping.members[group]
            claimed = np.delete(claimed, best)
    return covering


def change_p_value(changes: Values, clusters: Codes) -> float:
    """Return the two-sided p-value of no mean change of all samples."""
    mean = float(changes.mean())
    return float(law_of_mean(mean, changes - mean, clusters, largest=1.0).p_values()[0])


def detectable_change(
    changes: Values, grouping: Grouping, critical: float, share: float, *, power: float = 0.8
) -> float | None:
    """Return the loss that a group of a fraction of the samples needs to be claimed with some power, None if it cannot.

    Apart from the loss, the group changes as all samples do. A loss adds to the variance as much as it is itself.
    """
    from scipy.special import ndtr, ndtri

    n_samples, of_clusters = sums_of_squares(np.ones_like(changes), grouping.clusters)
    effect = design_effect(changes - changes.mean(), grouping.clusters, largest=of_clusters / n_samples)
    n = share * grouping.n_samples / effect
    varied = min(1.0, float((changes**2).mean()))
    losses = np.linspace(0, 1 - varied / 2, DETECTABLE_STEPS)
    lost, gained = n * (varied / 2 + losses), np.full_like(losses, n * varied / 2)
    counts = np.stack([lost, np.maximum(0.0, n - lost - gained), gained], axis=1)
    laws = MeanLaws(np.tile([-1.0, 0.0, 1.0], (len(losses), 1)), counts, *_ends(np.ones(len(losses))))
    _, high = laws.bounds(float(ndtr(-critical)))
    is_found = high + float(ndtri(power)) * np.sqrt((varied + losses - losses**2) / n) < 0
    return float(losses[np.argmax(is_found)]) if is_found.any() else None


class _Flipped(NamedTuple):
    """Sizes of the groups' sums, and of the same sums under signs that are flipped at random."""

    observed: OfGroups
    drawn: Drawn

    def corrected(self, sizes: OfGroups) -> OfGroups:
        """Return p-values corrected over all groups, by the smaller of two sizes of each.

        The sum is exact if changes are symmetric, where few changes count for less than their law says. The law holds
        if they are skewed.
        """
        from scipy.special import ndtr

        return np.maximum(2 * ndtr(-sizes), step_down_p_values(np.minimum(self.observed, sizes), self.drawn))


def _flipped(changes: Values, grouping: Grouping, rng: np.random.Generator, n_draws: int) -> tuple[_Flipped, _Flipped]:
    """Return the sums of changes, and of deviations from the mean of all, under flipped signs of whole clusters."""
    n_units = len(changes) if grouping.clusters is None else int(grouping.clusters.max()) + 1
    share = (grouping.sizes / grouping.n_samples)[:, None].astype(np.float32)
    has_changed = changes != 0  # the others add nothing to sums of changes, and most samples are others
    changed = Grouping(grouping.members[:, has_changed])
    here, deviations = changes.astype(np.float32)[:, None], (changes - changes.mean()).astype(np.float32)[:, None]
    n_block = max(1, MOST_NUMBERS // max(1, len(changes)))
    sums_here, sums_elsewhere = [changed.sums(here[has_changed])], [grouping.sums(deviations)]
    for start in range(0, n_draws, n_block):
        signs = 1 - 2 * rng.integers(2, size=(n_units, min(n_block, n_draws - start)), dtype=np.int8)
        signs = signs if grouping.clusters is None else signs[grouping.clusters]
        sums_here.append(changed.sums(here[has_changed] * signs[has_changed]))
        flipped = deviations * signs
        sums_elsewhere.append(grouping.sums(flipped) - share * flipped.sum(axis=0))
    return _scaled(np.concatenate(sums_here, axis=1)), _scaled(np.concatenate(sums_elsewhere, axis=1))


def _scaled(sums: Drawn) -> _Flipped:
    """Return the sizes of sums, the first of which are the observed ones, over the spread of the others."""
    spread = np.sqrt(np.maximum((sums[:, 1:] ** 2).mean(axis=1, keepdims=True), NEGLIGIBLE))
    sizes = np.abs(sums) / spread
    return _Flipped(sizes[:, 0].astype(np.float64), sizes[:, 1:])


def _sizes(laws: Iterable[MeanLaws]) -> OfGroups:
    return np.concatenate([part.sizes() for part in laws])


def _laws_here(changes: Values, grouping: Grouping) -> Iterator[MeanLaws]:
    """Yield the laws of the groups' mean changes, some groups at a time."""
    if grouping.clusters is not None:
        yield from MeanLaws.stacks(
            _law_of_contrast(changes[rows], np.ones(int(rows.sum())), grouping.clusters[rows])
            for rows in grouping.members
        )
        return
    levels, codes, weights = _levels(changes)
    for counts in _counts(grouping, codes, weights, len(levels)):
        yield MeanLaws(np.tile(levels, (len(counts), 1)), counts, *_ends(np.ones(len(counts))))


def _laws_elsewhere(changes: Values, grouping: Grouping) -> Iterator[MeanLaws]:
    """Yield the laws of the groups' mean changes less the mean change elsewhere, some groups at a time."""
    if grouping.clusters is not None:
        yield from MeanLaws.stacks(
            _law_of_contrast(changes, np.where(rows, 1.0, -1.0), grouping.clusters) for rows in grouping.members
        )
        return
    levels, codes, weights = _levels(changes)
    of_all = np.bincount(codes.ravel(), weights.ravel(), len(levels))
    for counts in _counts(grouping, codes, weights, len(levels)):
        sides, value = [], np.zeros(len(counts))
        for side, part in ((1, counts), (-1, of_all - counts)):
            size = np.maximum(part.sum(axis=1), 1.0)
            mean = part @ levels / size
            sides.append((side * len(changes) / size)[:, None] * (levels - mean[:, None]))
            value = value + side * mean
        sizes = np.maximum(counts.sum(axis=1), 1.0)
        far = len(changes) * (1 / sizes + 1 / np.maximum(len(changes) - sizes, 1.0))
        both = np.concatenate([counts, np.maximum(of_all - counts, 0.0)], axis=1)
        yield MeanLaws(value[:, None] + np.concatenate(sides, axis=1), both, *_ends(far))


def _ends(far: OfGroups) -> tuple[OfGroups, OfGroups]:
    return -far, far


def _law_of_contrast(changes: Values, sides: Values, clusters: Codes) -> MeanLaws:
    """Return the law of the mean change of samples on the side of 1, less the mean change on the side of -1."""
    assert clusters is not None
    weights, deviations = np.zeros(len(changes)), np.zeros(len(changes))
    value = 0.0
    for side in (1.0, -1.0):
        rows = sides == side
        if rows.any():
            weights[rows], mean = 1 / rows.sum(), float(changes[rows].mean())
            deviations[rows], value = side * (changes[rows] - mean), value + side * mean
    influence = len(changes) * weights * deviations
    codes = cluster_codes(clusters)
    return law_of_mean(value, influence, codes, largest=1.0, weights=weights, terms=sides * weights * changes)


def _levels(
    changes: Values,
) -> tuple[Float64[np.ndarray, " levels"], Int64[np.ndarray, "two n"], Float64[np.ndarray, "two n"]]:
    """Return the levels of changes, and for each sample two of them with their weights, which sum to 1."""
    levels, codes = np.unique(changes, return_inverse=True)
    if len(levels) <= MOST_LEVELS:
        return levels, np.stack([codes, codes]), np.stack([np.ones(len(changes)), np.zeros(len(changes))])
    levels = np.union1d(np.linspace(levels[0], levels[-1], MOST_LEVELS - 1), [0.0])
    above = np.clip(np.searchsorted(levels, changes, side="right"), 1, len(levels) - 1)
    part = (changes - levels[above - 1]) / (levels[above] - levels[above - 1])
    return levels, np.stack([above - 1, above]), np.stack([1 - part, part])


def _counts(
    grouping: Grouping, codes: Int64[np.ndarray, "two n"], weights: Float64[np.ndarray, "two n"], n_levels: int
) -> Iterator[Float64[np.ndarray, "n_groups levels"]]:
    """Yield how many samples of each group have each level, some groups at a time."""
    n_block = max(1, MOST_NUMBERS // (4 * n_levels))
    for start in range(0, len(grouping.members), n_block):
        counts = []
        for rows in grouping.members[start : start + n_block]:
            counts.append(np.bincount(codes[:, rows].ravel(), weights[:, rows].ravel(), n_levels))
        yield np.array(counts)


def _critical_size(drawn_sizes: Drawn, alpha: float) -> float:
    """Return the size that the largest of all groups exceeds with a chance of alpha, at least the size of one group."""
    from scipy.special import ndtri

    largest = drawn_sizes.max(axis=0, initial=0.0)
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
