"""Calibration of cosines across kinds of pair: image-text, text-text and image-image.

The kinds are calibrated when P(match | cosine) is the same function of the cosine for all of them. The functions are
estimated from histograms of cosines, filled a block at a time.
"""

from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.metrics.similarity import dot_blocks

FINE_BINS = 4000
"""Equal bins of [-1, 1] in which cosines are counted: 0.0005 wide."""
N_BINS = 15
"""Bins of equal mass in which probabilities are estimated."""
_NOISE = 0.55
"""Mean error of a kind's estimated P times the square root of its independent matches, by simulation."""


PerBin = Float64[np.ndarray, " n_bins"]


class MatchCounts(NamedTuple):
    """Number of pairs of each kind with a cosine in each of the fine bins."""

    matches: Int64[np.ndarray, " n_fine"]
    non_matches: Int64[np.ndarray, " n_fine"]


class MatchProbabilities(NamedTuple):
    """P(match | cosine) at even odds, of each kind and of all together, in bins of ascending cosine."""

    cosine: Mapping[str, PerBin]
    """Mean cosine of each kind in the bin, NaN if the kind has no cosine there."""
    probability: Mapping[str, PerBin]
    """P of each kind in the bin, NaN if it has no cosine there."""
    pooled: PerBin
    """P of all kinds together, which never falls with the cosine."""
    errors: Mapping[str, float]
    """Mean distance of each kind's P from the pooled one, in [0, 1]."""

    @property
    def error(self) -> float:
        """The mean of the kinds' errors."""
        return float(np.mean(list(self.errors.values())))


def match_counts(
    left: Float32[np.ndarray, "n_left dim"],
    right: Float32[np.ndarray, "n_right dim"],
    *,
    left_groups: Int64[np.ndarray, " n_left"],
    right_groups: Int64[np.ndarray, " n_right"],
    is_same: bool = False,
) -> MatchCounts:
    """Return the counts of cosines between vectors of one group (matches) and of different groups (non-matches).

    Args:
        left, right: unit vectors.
        left_groups, right_groups: any numbers. A pair is a match if both sides have the same.
        is_same: both sides are the same vectors: each pair counts once, and no vector with itself.

    Example:
        >>> axes = np.eye(2, dtype=np.float32)
        >>> counts = match_counts(axes, axes, left_groups=np.array([0, 1]), right_groups=np.array([0, 1]))
        >>> np.flatnonzero(counts.matches).tolist(), np.flatnonzero(counts.non_matches).tolist()  # two 1s, two 0s
        ([3999], [2000])
    """
    counts = np.zeros(2 * FINE_BINS, np.int64)
    for rows, cosines in dot_blocks(left, right):
        columns = slice(rows.start if is_same else 0, None)
        positions = (cosines[:, columns].astype(np.float32) + 1.0) * (FINE_BINS / 2)
        bins = np.clip(positions, 0, FINE_BINS - 1).astype(np.int64)
        bins += FINE_BINS * (left_groups[rows, None] == right_groups[columns])
        if is_same:  # only above the diagonal
            bins = bins[np.arange(bins.shape[1]) > np.arange(len(bins))[:, None]]
        counts += np.bincount(bins.ravel(), minlength=len(counts))
    return MatchCounts(counts[FINE_BINS:], counts[:FINE_BINS])


def match_probabilities(kinds: Mapping[str, MatchCounts], n_bins: int = N_BINS) -> MatchProbabilities:
    """Return P(match | cosine) of each kind of pair and of all kinds pooled, and the distance of each from the pool.

    Matches and others of each kind have equal weight, whatever their numbers, so that P(match | c) = p(c | match) /
    (p(c | match) + p(c | other)): the likelihood ratio at even odds. In the pool each kind has equal weight.

    The error of a kind is the mean, over its own cosines at even odds, of |P_kind - P_pooled| in their bin. P_pooled is
    the never-falling function of the cosine that is nearest to the pool (isotonic regression by mass): the best
    prediction from a cosine without knowing its kind, if a higher cosine is never less likely a match. Without
    monotonicity, kinds that share no cosine, as with a wide modality gap, would each be their own pool, and the error
    would be 0.

    Bins have equal mass in the pool and consist of fine bins: equal cosines are always in one bin, and empty bins are
    dropped. Constant vectors have one bin, P = 1/2, and an error of 0.

    The error is biased upwards in small samples by the noise of a kind's P. Three kinds with the same P, in 15 bins,
    show on average 0.045 with 100 independent matches each, 0.014 with 1,000 and 0.005 with 10,000: about
    0.45 / √matches; ``expected_noise`` gives it for other numbers. It is not corrected.

    Args:
        kinds: counts by name, each with at least one match and one other.
        n_bins: at most.

    Example:
        >>> far, near = np.eye(4, dtype=np.int64)[[0, 1]], np.eye(4, dtype=np.int64)[[2, 3]]  # other, match
        >>> kinds = {"a": MatchCounts(far[1], far[0]), "b": MatchCounts(near[1], near[0])}
        >>> result = match_probabilities(kinds, n_bins=4)
        >>> result.probability["a"], result.pooled  # a match of a is farther than b's others
        (array([ 0.,  1., nan, nan]), array([0. , 0.5, 0.5, 1. ]))
        >>> result.errors
        {'a': 0.25, 'b': 0.25}
    """
    p = np.stack([counts.matches / counts.matches.sum() for counts in kinds.values()])  # (kinds, fine)
    q = np.stack([counts.non_matches / counts.non_matches.sum() for counts in kinds.values()])
    starts = _equal_mass_starts((p + q).mean(axis=0) / 2, n_bins)
    p_bin, q_bin = (np.add.reduceat(share, starts, axis=1) for share in (p, q))  # (kinds, bins)
    mass = (p_bin + q_bin) / 2
    middles = (np.arange(p.shape[1]) + 0.5) * 2 / p.shape[1] - 1
    nonzero_mass = np.where(mass > 0, mass, np.nan)
    cosine = np.add.reduceat((p + q) / 2 * middles, starts, axis=1) / nonzero_mass
    probability = p_bin / 2 / nonzero_mass
    pooled = _isotonic_regression(p_bin.sum(axis=0) / 2 / mass.sum(axis=0), mass.sum(axis=0))
    errors = np.nansum(mass * np.abs(probability - pooled), axis=1)
    return MatchProbabilities(
        cosine=dict(zip(kinds, cosine, strict=True)),
        probability=dict(zip(kinds, probability, strict=True)),
        pooled=pooled,
        errors={name: float(error) for name, error in zip(kinds, errors, strict=True)},
    )


def expected_noise(n_matches: Mapping[str, int]) -> dict[str, float]:
    """Return the mean error of each kind if all kinds had the same P.

    The pool is the mean of K kinds: a kind differs from it by (1 - 1/K) of its own noise and 1/K of each other's, so
    that kinds with few matches add noise to kinds with many. Simulations in the tests confirm it to a fifth, for 15
    bins and many more non-matches than matches.

    Args:
        n_matches: independent matches of each kind, at least 1; of matches that share images or labels there are fewer
            than are counted, and more noise.

    Example:
        >>> {kind: round(noise, 3) for kind, noise in expected_noise({"a": 100, "b": 100, "c": 100}).items()}
        {'a': 0.045, 'b': 0.045, 'c': 0.045}
    """
    n_kinds = len(n_matches)
    other_noise = {kind: sum(1 / n for other, n in n_matches.items() if other != kind) for kind in n_matches}
    return {
        kind: _NOISE * sqrt((1 - 1 / n_kinds) ** 2 / n + other_noise[kind] / n_kinds**2)
        for kind, n in n_matches.items()
    }


def _equal_mass_starts(mass: Float64[np.ndarray, " n_fine"], n_bins: int) -> Int64[np.ndarray, " n_bins"]:
    """Return the first fine bin of each bin: a fine bin belongs where the middle of its mass falls."""
    nonempty = np.flatnonzero(mass)
    before = np.cumsum(mass[nonempty]) - mass[nonempty] / 2
    # Sums of equal shares that should be whole are off by rounding: 1e-9 puts a middle on an edge to the right of it.
    bin_of_middle = np.minimum(np.floor(before * n_bins + 1e-9), n_bins - 1)
    _, first = np.unique(bin_of_middle, return_index=True)
    return nonempty[first]


def _isotonic_regression(values: PerBin, weights: PerBin) -> PerBin:
    """Return the isotonic regression: at i, the largest over a <= i of the least over b >= i of the mean of a to b."""
    n = len(values)
    sums, totals = np.cumsum(values * weights), np.cumsum(weights)
    fitted = np.empty(n)
    for i in range(n):
        over_b = np.empty(i + 1)
        for a in range(i + 1):
            before, weight_before = (sums[a - 1], totals[a - 1]) if a else (0.0, 0.0)
            over_b[a] = ((sums[i:] - before) / (totals[i:] - weight_before)).min()
        fitted[i] = over_b.max()
    return fitted
