"""Where a true mean of changes may be, from units with random weights and a part of one that nobody saw. All pure.

Changes of graded credits are skewed: where many answers rise a little and few fall far, a sample may show only those
that rise. So each unit (a sample, or a cluster) has an exponential weight, next to a part of a unit at the far end of
the range. The chance that the weighted mean is on the other side of a value is the p-value of that value, on this side.

Without the far end it is the Bayesian bootstrap (Rubin, Annals of Statistics 9 (1981)); with a whole unit there, it is
the bound of Gaffke (Mathematical Methods of Statistics 14 (2005)), which is Clopper and Pearson's for hits, and too
wide on average. Three quarters make p-values of a few equal changes half as large, as mid-p-values are, and a loss that
no unit shows is missed in 5 %. design/skewed-changes.md has the rates. Chances follow from the cumulants (Lugannani and
Rice, Adv. Appl. Prob. 12 (1980), in the form of Barndorff-Nielsen): nothing is drawn.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.stats.clusters import (
    NEGLIGIBLE,
    Codes,
    Values,
    cluster_sums,
    design_effect,
    student,
    sums_of_squares,
)
from clipbench.stats.intervals import SHARES, TAIL, Bounds, Interval, share_interval
from clipbench.stats.significance import PairedPower

UNSEEN = 0.75
"""Weight of the unseen unit in a two-sided test, or interval."""
UNSEEN_OF_ONE_SIDE = 1.0
"""Its weight for a bound that is used by itself: for a loss that none of n shows, the bound is the exact 3 / n."""
_MOST_AT_ONCE = 1 << 20
"""Levels in memory at once."""
_STEPS = 60
"""Most steps to a root: halvings of a double reach its last bit in fewer."""
_NEAR = 1e-12
"""Fraction of its range to which a root is found."""
_ITERATIONS = 8
"""Steps to the least significant change: each is ten times as near."""
_LEAST = 1e-100
"""Smallest number whose inverse has a square."""
_FLAT = 1e-4
"""Standard errors below which the formula of a tail is 0 / 0, and its limit is taken."""

OfMeans = Float64[np.ndarray, " means"]
Levels = Float64[np.ndarray, "means levels"]


@dataclass(frozen=True)
class MeanLaws:
    """What is known of several means: the levels of their units, and how far an unseen unit may be."""

    levels: Levels
    counts: Levels
    """Units of each level. Need not be integers."""
    lowest: OfMeans
    """Level of an unseen unit that lost most."""
    highest: OfMeans
    """Level of an unseen unit that gained most."""

    @classmethod
    def stack(cls, laws: Sequence["MeanLaws"]) -> "MeanLaws":
        """Return the laws of all means at once. Levels that a law does not have have a count of 0."""
        n_levels = max(law.levels.shape[1] for law in laws)

        def padded(part: np.ndarray) -> np.ndarray:
            return np.pad(part, [(0, 0), (0, n_levels)])[:, :n_levels]

        levels = np.concatenate([padded(law.levels) for law in laws])
        counts = np.concatenate([padded(law.counts) for law in laws])
        lowest, highest = np.concatenate([np.stack([law.lowest, law.highest]) for law in laws], axis=1)
        return cls(levels, counts, lowest, highest)

    @classmethod
    def stacks(cls, laws: Iterable["MeanLaws"]) -> Iterator["MeanLaws"]:
        """Yield the laws of all means in their order, in stacks that fit into memory."""
        part: list[MeanLaws] = []
        widest = 0
        for law in laws:
            widest = max(widest, law.levels.shape[1])
            if part and widest * (len(part) + 1) > _MOST_AT_ONCE:
                yield cls.stack(part)
                part, widest = [], law.levels.shape[1]
            part.append(law)
        if part:
            yield cls.stack(part)

    def p_values(self) -> OfMeans:
        """Return the two-sided p-values of no change: twice the smaller chance, at most 1."""
        from scipy.special import ndtr

        return np.asarray(2 * ndtr(-self.sizes()))

    def sizes(self) -> OfMeans:
        """Return the standard normal size of each two-sided p-value. It tells apart what is far below any p-value."""
        below, above = (self._side(side, UNSEEN).distance_of_zero() for side in (1, -1))
        return np.maximum(0.0, -np.minimum(below, above))

    def bounds(self, tail: float, *, unseen: float = UNSEEN) -> tuple[OfMeans, OfMeans]:
        """Return the lower and the upper bounds, each missed with a chance of ``tail``."""
        return self._side(1, unseen).quantiles(tail), -self._side(-1, unseen).quantiles(tail)

    def _side(self, side: int, unseen: float) -> "_Weighted":
        ends = (self.lowest if side > 0 else -self.highest)[:, None]
        counts = np.concatenate([self.counts, np.full_like(ends, unseen)], axis=1)
        return _Weighted(np.concatenate([side * self.levels, ends], axis=1), counts)


def law_of_mean(
    value: float,
    influence: Values,
    codes: Codes,
    *,
    largest: float | None,
    weights: Values | None = None,
    terms: Values | None = None,
) -> MeanLaws:
    """Return the law of a mean, of a mean of means or of a difference of means, of samples that may be in clusters.

    The samples of an unseen cluster change together as much as samples do in the clusters that were seen: by the
    largest change of each if all do, and by the geometric mean of this and the change of one sample if none do.

    Args:
        value: the mean.
        influence: n times each sample's part of the value's deviation. Sums to about 0.
        codes: the cluster of each sample.
        largest: size of the largest possible change of a sample, None if it has no limit: then an unseen unit is as
            large as the largest that was seen.
        weights: size of each sample's weight in the value, 1 / n by default.
        terms: what each sample adds to the value, by default its weight times its change.
    """
    parts = influence / len(influence)
    if largest is None:
        far = float(np.abs(value + _deviations_of_units(influence, codes)).max())
    else:
        weights = np.full(len(parts), 1 / len(parts)) if weights is None else weights
        terms = parts + value * weights if terms is None else terms
        far = largest * _effect_of_unseen(weights, terms, codes)
    return _law(value, influence, codes, (-far, far))


def law_of_share(value: float, influence: Values, codes: Codes, *, weights: Values) -> MeanLaws:
    """Return the law of a mean of means of credits, of which unseen ones are 0 or 1 (``law_of_mean``).

    Args:
        value: in [0, 1].
        weights: of each sample in the value. They sum to 1.
    """
    effect = _effect_of_unseen(weights, influence, codes)
    return _law(value, influence, codes, (value * (1 - effect), value + (1 - value) * effect))


def interval_over_parts(
    value: float, influence: Values, parts: Values, codes: Codes, *, most_trials: float | None
) -> Interval:
    """Return the interval of a mean over parts, such as classes, of their samples' mean credit in [0, 1].

    A part of few samples that are alike may have others. The law of the mean allows for one of a weight that is typical
    of what the mean depends on, and the interval of effective samples for some in each part: the wider one on each side
    holds the mean. The first is too narrow where many parts have one sample, the second where two of three parts
    have few.

    Args:
        value: the mean over parts.
        influence: of each sample on it, as ``metrics.recall_influence`` returns it.
        parts: of each sample.
        most_trials: independent hits that it may count as (``trials_of_means``).

    Example:
        >>> no_hit, parts = np.zeros(220), np.repeat([0.0, 1.0, 2.0], [200, 10, 10])
        >>> low, high, _ = interval_over_parts(0.0, no_hit, parts, None, most_trials=44.0)
        >>> low, round(high, 2)  # ten of a part do not show that it has none
        (0.0, 0.08)
    """
    _, labels, sizes = np.unique(parts, return_inverse=True, return_counts=True)
    law = law_of_share(value, influence, codes, weights=1 / (len(sizes) * sizes[labels]))
    low, high = (float(bound[0]) for bound in law.bounds(TAIL))
    least, most, method = share_interval(value, influence, codes, at_most=most_trials)
    assert least is not None and most is not None, method
    method = f"{method_of_law(len(cluster_sums(influence, codes)), codes)}, at least {method}"
    return Interval(min(low, least), max(high, most), method).clipped(SHARES)


def method_of_law(n_units: int, codes: Codes) -> str:
    """Return the name of the method of an interval."""
    unit = "sample" if codes is None else "cluster"
    return f"Bayesian bootstrap of {n_units} {unit}{'' if n_units == 1 else 's'}, with one unseen"


def _deviations_of_units(influence: Values, codes: Codes) -> Float64[np.ndarray, " n_units"]:
    """Return by how much each unit's level deviates from the mean, which is the mean of all levels.

    Influences do not sum to 0 where a class has one sample, as this is compared with the other classes.
    """
    sums = cluster_sums(influence / len(influence), codes)
    return len(sums) * (sums - sums.mean())


def _effect_of_unseen(weights: Values, terms: Values, codes: Codes) -> float:
    """Return by how much an unseen unit moves the mean of units if all of its samples change by 1."""
    of_samples, of_units = sums_of_squares(weights, codes)
    effect = design_effect(terms, codes, largest=of_units / of_samples)
    return len(cluster_sums(weights, codes)) * sqrt(of_samples * effect * of_units)


def _law(value: float, influence: Values, codes: Codes, ends: Bounds) -> MeanLaws:
    levels, counts = np.unique(value + _deviations_of_units(influence, codes), return_counts=True)
    lowest, highest = np.array(ends)[:, None]
    return MeanLaws(levels[None], counts[None].astype(np.float64), lowest, highest)


@dataclass(frozen=True, kw_only=True)
class LawPower:
    """What the test of one mean can show with its units, at any level."""

    law: MeanLaws = field(compare=False)
    standard_error: float | None
    """Standard error of the mean, None if no unit differs."""
    n_units: int
    largest: float | None
    """Size of the largest possible change, None if it has no limit."""

    @property
    def least_p(self) -> float:
        """The smallest p-value of n units: all gain most, and the unseen one loses this amount."""
        return float(_p_values_of_equal_changes(np.array([self.n_units]), 1.0)[0])

    def at(self, alpha: float, power: float = 0.8) -> float | None:
        """Return the smallest true change that the two-sided test finds with a power, None if it cannot find any.

        Half the width of the interval at this level, and what the mean varies by. If hardly a unit changed, that says
        little: k units have to change in one direction for p to be at most alpha. k of n do with the given power if a
        fraction d of all units does, where P(binomial(n, d) ≥ k) is the power.

        Args:
            alpha: level of this test by itself. After a correction for many tests, it is smaller.
        """
        from scipy.special import betaincinv

        far = float(self.law.highest[0])
        if far == 0 or self.least_p > alpha:
            return None
        spread = 0.0 if self.standard_error is None else student(power, self.n_units) * self.standard_error
        sizes = [self._least_significant(alpha) + spread]
        changed = np.abs(self.law.levels[np.abs(self.law.levels) > NEGLIGIBLE])
        size = float(changed.mean()) if len(changed) else far
        n_needed = 1 + np.flatnonzero(_p_values_of_equal_changes(np.arange(1, self.n_units + 1), far / size) <= alpha)
        if len(n_needed):
            k = int(n_needed[0])
            sizes.append(size * float(betaincinv(k, self.n_units - k + 1, power)))
        return max(sizes) if self.largest is None or max(sizes) <= self.largest else None

    def _least_significant(self, alpha: float) -> float:
        """Return the mean of the least gain and the least loss that have this p-value, if units vary as they do."""
        law, size = self.law, 0.0
        deviations = law.levels - (law.counts * law.levels).sum(axis=1) / law.counts.sum(axis=1)
        for _ in range(_ITERATIONS):  # the unseen unit is farther from a mean that changed
            far = law.highest + size
            low, high = MeanLaws(deviations, law.counts, -far, far).bounds(alpha / 2)
            size = float(high[0] - low[0]) / 2
        return size


Power = PairedPower | LawPower
"""What a test of two models can show."""


def _p_values_of_equal_changes(n_changed: Int64[np.ndarray, " cases"], far: float) -> Float64[np.ndarray, " cases"]:
    """Return the p-value of n units that change by 1, where an unseen one may change by ``far`` the other way."""
    from scipy.special import betainc

    return np.minimum(1.0, 2 * betainc(n_changed, UNSEEN, far / (1 + far)))


@dataclass(frozen=True)
class _Weighted:
    """Means of levels with gamma weights, each of the shape of its count."""

    levels: Levels
    counts: Levels

    def distance_of_zero(self) -> OfMeans:
        """Return the standard normal quantile of the chance that each mean is below 0."""
        lowest, highest = self._ends()
        is_between = (lowest < 0) & (highest > 0)
        values = np.where(is_between, 0.0, self._centre)
        tilt = _root(lambda tilt: self._means(tilt) - values, self._most_tilted())
        return np.where(is_between, self._distance(tilt, values), np.where(highest <= 0, np.inf, -np.inf))

    def quantiles(self, chance: float) -> OfMeans:
        """Return the value that each mean is below with a chance."""
        from scipy.special import ndtri

        reach = float(ndtri(chance))
        lowest, highest = self._ends()
        is_constant = highest - lowest < NEGLIGIBLE
        tilt = _root(lambda tilt: self._distance(tilt, self._means(tilt)) - reach, self._most_tilted())
        return np.where(is_constant, lowest, self._means(tilt))

    @cached_property
    def _deviations(self) -> Levels:
        return self.levels - self._centre[:, None]

    @cached_property
    def _centre(self) -> OfMeans:
        return (self.counts * self.levels).sum(axis=1) / self.counts.sum(axis=1)

    def _ends(self) -> tuple[OfMeans, OfMeans]:
        """Return the lowest and the highest level that any unit has."""
        lowest, highest = (np.where(self.counts > 0, self.levels, end) for end in (np.inf, -np.inf))
        return lowest.min(axis=1), highest.max(axis=1)

    def _most_tilted(self) -> tuple[OfMeans, OfMeans]:
        """Return the tilts at which the lowest, and the highest level has all the weight."""
        lowest, highest = (end - self._centre for end in self._ends())
        return 1 / np.minimum(lowest, -NEGLIGIBLE), 1 / np.maximum(highest, NEGLIGIBLE)

    def _means(self, tilt: OfMeans) -> OfMeans:
        """Return the mean whose law has this tilt at its saddle point: of levels weighted by 1 / (1 - tilt x level)."""
        weights = self.counts / np.where(self.counts > 0, 1 - tilt[:, None] * self._deviations, 1.0)
        return self._centre + (weights * self._deviations).sum(axis=1) / weights.sum(axis=1)

    def _distance(self, tilt: OfMeans, values: OfMeans) -> OfMeans:
        """Return the standard normal quantile of the chance that the mean is below a value with this tilt."""
        shift = values - self._centre
        point = tilt / (1 - tilt * shift)
        distances = self.levels - values[:, None]
        rest = np.where(self.counts > 0, np.maximum(1 - point[:, None] * distances, _LEAST), 1.0)
        exponent = 2 * (self.counts * np.log(rest)).sum(axis=1)
        root = np.sign(point) * np.sqrt(np.maximum(exponent, 0.0))
        curvature = point * np.sqrt((self.counts * (distances / rest) ** 2).sum(axis=1))
        square = (self.counts * distances**2).sum(axis=1)
        skewness = 2 * (self.counts * distances**3).sum(axis=1) / np.maximum(square, NEGLIGIBLE**2) ** 1.5
        is_flat = np.abs(root) < _FLAT
        safe = np.where(is_flat, 1.0, root)
        ratio = np.maximum(np.where(is_flat, 1.0, curvature) / safe, _LEAST)
        return np.where(is_flat, point * np.sqrt(square) + skewness / 6, safe + np.log(ratio) / safe)


def _root(function: Callable[[OfMeans], OfMeans], ends: tuple[OfMeans, OfMeans]) -> OfMeans:
    """Return where a rising function crosses 0 between the ends, at which it may be infinite.

    Halves the bracket until both of its ends were tried, and then takes the chord between them, of which an end that
    stays counts half as much each time (the Illinois method).
    """
    (low, high), shape = ends, len(ends[0])
    at_low, at_high, last = np.full(shape, -np.inf), np.full(shape, np.inf), np.zeros(shape)
    for _ in range(_STEPS):
        is_tried = np.isfinite(at_low) & np.isfinite(at_high) & (at_high > at_low)
        drop = np.where(is_tried, at_high, 1.0) - np.where(is_tried, at_low, 0.0)
        chord = high - np.where(is_tried, at_high, 0.0) * (high - low) / drop
        middle = np.where(is_tried, chord, (low + high) / 2)
        found = function(middle)
        side = np.sign(found)
        is_again = side == last
        at_low = np.where(side < 0, found, np.where(is_again & (side > 0), at_low / 2, at_low))
        at_high = np.where(side > 0, found, np.where(is_again & (side < 0), at_high / 2, at_high))
        low, high = np.where(side <= 0, middle, low), np.where(side >= 0, middle, high)
        last = side
        if (high - low <= _NEAR * (ends[1] - ends[0])).all() or not side.any():
            break
    return np.where(last == 0, middle, np.where(-at_low < at_high, low, high))
