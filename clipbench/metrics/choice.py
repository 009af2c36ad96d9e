"""Choices among a few images and captions, exact and aware of ties: SugarCrepe, Winoground, NLVR, reading a word.

One rule for all: whatever is true must score above whatever is false.

- **text**, for each image: all its true captions above all its false ones
- **image**, for each caption: all its true images above all its false ones
- **group**: both

A contrast is right when all its images, or captions, are. With one image and two captions, text is SugarCrepe's
accuracy, with one and five ARO's order accuracy, and with two true and one false SugarCrepe++'s. With two and two, all
three are Winoground's. An image (or caption) for which all is true, or all false, has no choice. Without any choice the
credit is NaN.

Ties are broken at random: the credit is the probability that all comparisons come out right when equal scores are put
in random order, all of them at once. For example, Winoground's group needs the two true scores above the two false
ones: for a constant model, 2! 2! / 4! = 1/6. The strict value, where a tie fails, is ``credit == 1``.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb, factorial, perm
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from clipbench.errors import DataError
from clipbench.metrics.similarity import Images, Texts, Values, row_slices

_MAX_TIED = 16
"""Tied true (or false) entries of one contrast up to which its group credit is computed: each doubles the work."""


Truth = Bool[np.ndarray, "images captions"]
OptionScores = Float32[np.ndarray, "n choosers options"]
OptionTruth = Bool[np.ndarray, "choosers options"]


class Choices(NamedTuple):
    """Decisions of n contrasts; NaN throughout for a side on which there is no choice."""

    text: Values
    """Credit in [0, 1]: every image has all its true captions above all its false ones. Fractions are ties."""
    image: Values
    """Credit: every caption has all its true images above all its false ones."""
    group: Values
    """Credit: both; defined where both are."""
    text_pairs: Values
    """Fraction of pairs, a true caption and a hard negative of one image, in the right order; a tie counts half."""
    image_pairs: Values
    """Fraction of pairs, a true and a false image of one caption, in the right order (their AUC)."""
    image_jaccard: Values
    """Jaccard index of each caption's true images and the same number of top ones, ties in random order (WinoGAViL)."""
    text_margin: Values
    """Lowest true minus highest false score of an image, the least of them: positive right, 0 tied, negative wrong."""
    image_margin: Values


def choices(scores: Float32[np.ndarray, "n images captions"], truth: Truth) -> Choices:
    """Decide n contrasts of one shape.

    Args:
        scores: of each image with each caption, from ``metrics.similarity.unit`` vectors, so that ties are real. Any
            sign.
        truth: True where a caption is true of an image, the same for all n.

    Raises:
        DataError: nothing is to be chosen, or more than 16 true and 16 false scores of a group are tied.

    Example:
        >>> wino = np.eye(2, dtype=bool)
        >>> right = np.array([[0.3, 0.2], [0.1, 0.3]], np.float32)  # each image's own caption is the higher
        >>> hot = np.array([[0.3, 0.2], [0.5, 0.6]], np.float32)  # but caption 0 likes image 1 better
        >>> result = choices(np.stack([right, hot, 0 * right]), wino)
        >>> result.text.tolist(), result.image.tolist(), result.group.round(3).tolist()
        ([1.0, 1.0, 0.25], [1.0, 0.0, 0.25], [1.0, 0.0, 0.167])
    """
    text, text_pairs, text_margin = _side(scores, truth)
    image, image_pairs, image_margin = _side(scores.swapaxes(1, 2), truth.T)
    if np.isnan(text).all() and np.isnan(image).all() and len(scores):
        raise DataError(f"nothing to choose in {truth.tolist()}: expected something true and something false")
    group, jaccard = _joint_credit(scores, truth, text, image), _jaccard(scores.swapaxes(1, 2), truth.T)
    return Choices(text, image, group, text_pairs, image_pairs, jaccard, text_margin, image_margin)


def chance_choices(truth: Truth) -> Choices:
    """Return the scores of a constant model, or of random order, on one contrast.

    Example:
        >>> chance_choices(np.array([[True, True, False]])).text  # SugarCrepe++: two above one
        array([0.33333333])
    """
    return choices(np.zeros((1, *truth.shape), np.float32), truth)


def contrast_scores(
    images: Images, texts: Texts, image_rows: Int64[np.ndarray, "n images"], text_rows: Int64[np.ndarray, "n captions"]
) -> Float32[np.ndarray, "n images captions"]:
    """Return the scores of each contrast's images with its captions, exact for vectors from ``unit``.

    Args:
        images, texts: unit vectors.
        image_rows, text_rows: of each contrast's images and captions among them.

    Example:
        >>> axes = np.eye(2, dtype=np.float32)
        >>> contrast_scores(axes, axes, np.array([[1]]), np.array([[0, 1]])).tolist()
        [[[0.0, 1.0]]]
    """
    out = np.empty((len(image_rows), image_rows.shape[1], text_rows.shape[1]), np.float32)
    for rows in row_slices(len(out), 1024):
        left, right = images[image_rows[rows]].astype(np.float64), texts[text_rows[rows]].astype(np.float64)
        out[rows] = left @ right.swapaxes(1, 2)
    return out


def truth_groups(truths: Sequence[Bool[np.ndarray, "_ _"]]) -> list[Int64[np.ndarray, " _"]]:
    """Return the rows of equal truth matrices, by first appearance: ``choices`` decides each group at once.

    Example:
        >>> pair, other = np.array([[True, False]]), np.array([[False, True]])
        >>> [rows.tolist() for rows in truth_groups([pair, other, pair])]
        [[0, 2], [1]]
    """
    groups: dict[tuple[tuple[int, ...], bytes], list[int]] = {}
    for row, truth in enumerate(truths):
        groups.setdefault((truth.shape, truth.tobytes()), []).append(row)
    return [np.array(rows, np.int64) for rows in groups.values()]


def _side(scores: OptionScores, truth: OptionTruth) -> tuple[Values, Values, Values]:
    """Return credit, fraction of right pairs and margin of one side's choices: the images', or the captions'."""
    choosing = np.flatnonzero(truth.any(axis=1) & ~truth.all(axis=1))
    undefined = np.full(len(scores), np.nan)
    if not len(choosing):
        return undefined, undefined.copy(), undefined.copy()
    credit, margin = np.ones(len(scores)), np.full(len(scores), np.inf)
    right, n_pairs = np.zeros(len(scores)), 0
    for row in choosing:
        true, false = scores[:, row, truth[row]], scores[:, row, ~truth[row]]
        credit *= _credit(true, false)
        margin = np.minimum(margin, true.min(axis=1).astype(np.float64) - false.max(axis=1))
        pairs = np.sign(true[:, :, None].astype(np.float64) - false[:, None, :])
        right += (1 + pairs).sum(axis=(1, 2)) / 2
        n_pairs += pairs.shape[1] * pairs.shape[2]
    return credit, right / n_pairs, margin


def _credit(true: Float32[np.ndarray, "n true"], false: Float32[np.ndarray, "n false"]) -> Values:
    """Return the probability that all of ``true`` come above all of ``false``, ties in random order.

    Of the a true and b false scores at the level where they meet, the a have to be on top: 1 / C(a + b, a).
    """
    low, high = true.min(axis=1, keepdims=True), false.max(axis=1, keepdims=True)
    a, b = (true == low).sum(axis=1), (false == high).sum(axis=1)
    on_top = np.ones(len(true))
    for position in range(int(b.max(initial=0))):
        on_top *= np.where(position < b, (b - position) / np.maximum(a + b - position, 1), 1.0)
    return np.where(low > high, 1.0, np.where(low < high, 0.0, on_top[:, None]))[:, 0]


def _jaccard(scores: OptionScores, truth: OptionTruth) -> Values:
    """Return the Jaccard index of the true options and the same number of top-scoring ones, averaged over choosers."""
    choosing = np.flatnonzero(truth.any(axis=1) & ~truth.all(axis=1))
    total = np.zeros(len(scores))
    for row in choosing:
        row_scores, true = scores[:, row], truth[row]
        n_chosen = int(true.sum())
        lowest = np.partition(row_scores, -n_chosen, axis=1)[:, -n_chosen, None]
        above, level = row_scores > lowest, row_scores == lowest
        hits, tied_hits = (above & true).sum(axis=1), (level & true).sum(axis=1)
        cases = np.stack([hits, tied_hits, level.sum(axis=1), n_chosen - above.sum(axis=1)], axis=1)
        distinct, case_of_sample = np.unique(cases, axis=0, return_inverse=True)
        values = np.array([_mean_jaccard(*case, n_chosen=n_chosen) for case in distinct.tolist()])
        total += values[case_of_sample.ravel()]
    return total / len(choosing) if len(choosing) else np.full(len(scores), np.nan)


def _mean_jaccard(hits: int, tied_hits: int, n_tied: int, n_open: int, *, n_chosen: int) -> float:
    """Return the mean Jaccard index if the open positions are drawn from the tied options (hypergeometric)."""
    ways = (
        comb(tied_hits, n_added) * comb(n_tied - tied_hits, n_open - n_added)
        for n_added in range(min(tied_hits, n_open) + 1)
    )
    total = sum(Fraction(way * (hits + n_added), 2 * n_chosen - hits - n_added) for n_added, way in enumerate(ways))
    return float(total / comb(n_tied, n_open))  # whole numbers until here: they are larger than any float


def _joint_credit(
    scores: Float32[np.ndarray, "n images captions"], truth: Truth, text: Values, image: Values
) -> Values:
    """Return the credit of text and image together: with ties it is not their product, as they share scores."""
    credit = text * image
    for row in np.flatnonzero((credit > 0) & (credit < 1)):
        credit[row] = _order_probability(_tied_competitors(scores[row], truth))
    return credit


def _tied_competitors(scores: Float32[np.ndarray, "images captions"], truth: Truth) -> tuple[int, ...]:
    """Return, for each true entry (or false one, whichever are fewer), the entries that it is tied and compared with.

    They are bits of a number. Being above a set is as likely as being below it, so the sides may change places.
    """
    true, false = np.argwhere(truth), np.argwhere(~truth)
    compared = (true[:, None, :] == false[None, :, :]).any(axis=2)
    tied = compared & (scores[truth][:, None] == scores[~truth][None, :])
    tied = tied[tied.any(axis=1)][:, tied.any(axis=0)]
    fewer = tied if len(tied) <= tied.shape[1] else tied.T
    if len(fewer) > _MAX_TIED:
        raise DataError(
            f"a group of {scores.shape[0]} images and {scores.shape[1]} captions has {len(fewer)} tied true entries:"
            f" its credit can be computed for up to {_MAX_TIED}"
        )
    return tuple(sum(1 << int(bit) for bit in np.flatnonzero(line)) for line in fewer)


@lru_cache(maxsize=4096)
def _order_probability(below: tuple[int, ...]) -> float:
    """Return the probability that in random order each upper element comes above all the lower ones it must exceed.

    The orders are counted by adding the upper elements from the lowest up. The next one goes on top of those present;
    its lower elements that are not yet present may then be anywhere below it: with m of them and L elements
    before, (L + 1) ... (L + m) ways. The elements present depend only on which upper elements were added.

    Args:
        below: of each upper element, the lower ones as bits.
    """
    ways, present = {0: 1}, {0: 0}
    for chosen in range(1 << len(below)):
        n_present = chosen.bit_count() + present[chosen].bit_count()
        for number, lower in enumerate(below):
            if not chosen >> number & 1:
                with_number = chosen | 1 << number
                m = (lower & ~present[chosen]).bit_count()
                present[with_number] = present[chosen] | lower
                ways[with_number] = ways.get(with_number, 0) + ways[chosen] * perm(n_present + m, m)
    last = (1 << len(below)) - 1
    return ways[last] / factorial(len(below) + present[last].bit_count())
