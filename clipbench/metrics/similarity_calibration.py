"""Is the same cosine as likely a match between an image and a text, two texts, and two images?

A kind of pair is calibrated with the others when P(match | cosine) is one function of the cosine for all of them. What
is compared is made of histograms of cosines, filled a block at a time.
"""

from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.errors import DataError, UsageError
from clipbench.metrics.similarity import dot_blocks

FINE_BINS = 4000
"""Equal bins of [-1, 1] in which cosines are counted: 0.0005 wide."""
N_BINS = 15
"""Bins of equal mass that probabilities are taken in."""
_NOISE = 0.55
"""Mean distance of a kind's P from the truth, times the square root of its independent matches: found by simulation."""


class MatchCounts(NamedTuple):
    """Number of pairs of each kind with a cosine in each of the fine bins."""

    matches: Int64[np.ndarray, " n_fine"]
    others: Int64[np.ndarray, " n_fine"]


class MatchProbabilities(NamedTuple):
    """P(match | cosine) at even odds, of each kind and of all together, in bins of ascending cosine."""

    cosine: Mapping[str, Float64[np.ndarray, " n_bins"]]
    """Mean of each kind in the bin; NaN where the kind has no cosine there."""
    probability: Mapping[str, Float64[np.ndarray, " n_bins"]]
    """Value of each kind; NaN where it has no cosine."""
    pooled: Float64[np.ndarray, " n_bins"]
    """Curve of all kinds together, never falling."""
    errors: Mapping[str, float]
    """Value of each kind, in [0, 1]."""

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
    """Return the counts of cosines between vectors of one group (matches), and of different groups (others).

    Args:
        left: unit vectors.
        right: unit vectors.
        left_groups: any numbers; a pair is a match where both sides have the same.
        right_groups: likewise.
        is_same: both sides are the same vectors: each two of them count once, and none with itself.

    Example:
        >>> axes = np.eye(2, dtype=np.float32)
        >>> counts = match_counts(axes, axes, left_groups=np.array([0, 1]), right_groups=np.array([0, 1]))
        >>> np.flatnonzero(counts.matches).tolist(), np.flatnonzero(counts.others).tolist()  # cosines 1, 1 and 0, 0
        ([3999], [2000])
    """
    counts = np.zeros(2 * FINE_BINS, np.int64)
    for rows, cosines in dot_blocks(left, right):
        bins = np.clip((cosines.astype(np.float32) + 1.0) * (FINE_BINS / 2), 0, FINE_BINS - 1).astype(np.int64)
        bins += FINE_BINS * (left_groups[rows, None] == right_groups)
        counts += np.bincount(_above_diagonal(bins, rows.start) if is_same else bins.ravel(), minlength=len(counts))
    return MatchCounts(counts[FINE_BINS:], counts[:FINE_BINS])


def match_probabilities(kinds: Mapping[str, MatchCounts], n_bins: int = N_BINS) -> MatchProbabilities:
    """Return how likely a match is by cosine, in each kind of pair and in all, and how far the kinds are from all.

    Matches and others of each kind weigh the same, whatever their numbers, so that P(match | c) = p(c | match) /
    (p(c | match) + p(c | other)): what a likelihood ratio says at even odds. In the pool each kind weighs the same.

    The error of a kind is the mean, over its own cosines at even odds, of |P_kind - P_pooled| in their bin. P_pooled is
    the never-falling function of the cosine that is nearest to the pool (isotonic regression by mass): what one can
    believe of a cosine without knowing its kind, more alike never being less likely a match. Without that, kinds that
    share no cosine, as a wide modality gap makes them, would each be their own pool, and the error 0.

    Bins are of equal mass in the pool, made of fine bins: equal cosines are always together, and bins that one value
    leaves empty are dropped. Constant vectors have one bin, P = 1/2, and an error of 0.

    The error is biased upwards in small samples, as the noise of a kind's P counts. Three kinds that mean the same, in
    15 bins, show on average 0.045 with 100 independent matches each, 0.014 with 1,000 and 0.005 with 10,000: about
    0.45 / √matches, and with other numbers what ``expected_noise`` says. It is not corrected for.

    Args:
        kinds: counts by name, each with at least one match and one other.
        n_bins: at most.

    Raises:
        DataError: a kind has no match, or nothing else.
        UsageError: fewer than one bin.

    Example:
        >>> far, near = np.eye(4, dtype=np.int64)[[0, 1]], np.eye(4, dtype=np.int64)[[2, 3]]  # other, match
        >>> kinds = {"a": MatchCounts(far[1], far[0]), "b": MatchCounts(near[1], near[0])}
        >>> found = match_probabilities(kinds, n_bins=4)
        >>> found.probability["a"], found.pooled  # a match of a is farther than b's others
        (array([ 0.,  1., nan, nan]), array([0. , 0.5, 0.5, 1. ]))
        >>> found.errors
        {'a': 0.25, 'b': 0.25}
    """
    _check(kinds, n_bins)
    p = np.stack([each.matches / each.matches.sum() for each in kinds.values()])  # (kinds, fine)
    q = np.stack([each.others / each.others.sum() for each in kinds.values()])
    starts = _equal_mass_starts((p + q).mean(axis=0) / 2, n_bins)
    p_bin, q_bin = (np.add.reduceat(share, starts, axis=1) for share in (p, q))  # (kinds, bins)
    mass = (p_bin + q_bin) / 2
    middles = (np.arange(p.shape[1]) + 0.5) * 2 / p.shape[1] - 1
    held = np.where(mass > 0, mass, np.nan)
    cosine = np.add.reduceat((p + q) / 2 * middles, starts, axis=1) / held
    probability = p_bin / 2 / held
    pooled = _never_falling(p_bin.sum(axis=0) / 2 / mass.sum(axis=0), mass.sum(axis=0))
    errors = np.nansum(mass * np.abs(probability - pooled), axis=1)
    return MatchProbabilities(
        cosine=dict(zip(kinds, cosine, strict=True)),
        probability=dict(zip(kinds, probability, strict=True)),
        pooled=pooled,
        errors={name: float(error) for name, error in zip(kinds, errors, strict=True)},
    )


def expected_noise(n_matches: Mapping[str, int]) -> dict[str, float]:
    """Return the error that each kind would show on average if all kinds meant the same.

    The pool is the mean of K kinds: from it, a kind is off by (1 - 1/K) of its own noise and 1/K of each other's, so
    that a kind of many matches has the noise of those of few. Simulations in the tests hold it to a fifth, for 15 bins
    and many more others than matches.

    Args:
        n_matches: independent matches of each kind, at least 1; of matches that share images or labels there are fewer
            than are counted, and more noise.

    Example:
        >>> {kind: round(noise, 3) for kind, noise in expected_noise({"a": 100, "b": 100, "c": 100}).items()}
        {'a': 0.045, 'b': 0.045, 'c': 0.045}
    """
    n_kinds = len(n_matches)
    others = {kind: sum(1 / n for each, n in n_matches.items() if each != kind) for kind in n_matches}
    return {
        kind: _NOISE * sqrt((1 - 1 / n_kinds) ** 2 / n + others[kind] / n_kinds**2) for kind, n in n_matches.items()
    }


def _above_diagonal(bins: Int64[np.ndarray, "block n"], start: int) -> Int64[np.ndarray, " n_kept"]:
    columns = np.arange(bins.shape[1])
    return bins[columns > start + np.arange(len(bins))[:, None]]


def _equal_mass_starts(mass: Float64[np.ndarray, " n_fine"], n_bins: int) -> Int64[np.ndarray, " n_bins"]:
    """Return the fine bin that each bin begins with: a fine bin goes where the middle of its mass falls."""
    held = np.flatnonzero(mass)
    # Sums of equal shares that should be whole are off by rounding: 1e-9 puts a middle on an edge to the right of it.
    before = np.cumsum(mass[held]) - mass[held] / 2
    place = np.minimum(np.floor(before * n_bins + 1e-9), n_bins - 1)
    _, first = np.unique(place, return_index=True)
    return held[first]


def _never_falling(
    values: Float64[np.ndarray, " n_bins"], weights: Float64[np.ndarray, " n_bins"]
) -> Float64[np.ndarray, " n_bins"]:
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


def _check(kinds: Mapping[str, MatchCounts], n_bins: int) -> None:
    if n_bins < 1:
        raise UsageError(f"similarity calibration needs at least 1 bin, got {n_bins}")
    for name, each in kinds.items():
        if not each.matches.sum() or not each.others.sum():
            raise DataError(
                f"similarity calibration of '{name}' has {each.matches.sum()} matches and {each.others.sum()} others:"
                " expected at least one of each"
            )
