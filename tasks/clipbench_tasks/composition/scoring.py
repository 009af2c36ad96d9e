"""Rows of composition: who won each contrast, how alike its captions are, and what a blind rule chooses."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

from clipbench.data.contrasts import shuffled, words
from clipbench.data.questions import Contrast
from clipbench.metrics.choice import choices
from clipbench.metrics.similarity import pair_scores
from clipbench_tasks.choices import ItemVectors
from clipbench_tasks.tables import Column, sampled

MAX_SHUFFLED = 2_000
"""Captions that are shuffled, a seeded sample of a larger set: each shuffle must be encoded."""
SETS = ("controlled_a", "controlled_b")
"""Subsets of What'sUp whose groups are sets: four images of the same two objects, each in another place."""


def set_of(contrast: Contrast) -> str | None:
    """Return the set of an image of What'sUp; None for all other items."""
    is_of_set = contrast.subset in SETS and contrast.group is not None and len(contrast.images) == 1
    return f"{contrast.subset}/{contrast.group}" if is_of_set else None


def all_of_pair_and_set(contrasts: Sequence[Contrast], text: Column) -> dict[str, Column]:
    """Return What'sUp's pair and set accuracy: the credit of all images of a pair, and of a set, being right.

    A pair is the two images of a set in which the objects are left and right of each other, or the other two. Each pair
    (and set) has its value at its first item; the others, and those that are not whole, have NaN.
    """
    sets: dict[tuple[str, ...], list[int]] = {}
    pairs: dict[tuple[str, ...], list[int]] = {}
    for row, contrast in enumerate(contrasts):
        name = set_of(contrast)
        if name is not None:
            true = contrast.captions[contrast.is_true[0].index(True)]
            sets.setdefault((name,), []).append(row)
            pairs.setdefault((name, "side" if {"left", "right"} & set(words(true)) else "other"), []).append(row)
    columns = {name: np.full(len(contrasts), np.nan) for name in ("pair_acc", "set_acc")}
    for column, parts, size in zip(columns.values(), (pairs, sets), (2, 4), strict=True):
        for rows in parts.values():
            if len(rows) == size:
                column[rows[0]] = text[rows].prod()
    return columns


def same_words(contrasts: Sequence[Contrast]) -> Column:
    """Return the share of each contrast's twins with the same words, each as often; NaN where there are no twins."""

    def judge(true: list[str], false: list[str]) -> list[bool]:
        bag = {text: sorted(words(text)) for text in {*true, *false}}
        return [bag[a] == bag[b] for a, b in zip(true, false, strict=True)]

    return _mean_of_twins(contrasts, judge)


def twin_cosine(contrasts: Sequence[Contrast], vectors: ItemVectors) -> Column:
    """Return the mean cosine of a true caption with a false one of the same image; NaN where there are none."""
    return _mean_of_twins(contrasts, vectors.cosines)


def _mean_of_twins(
    contrasts: Sequence[Contrast], judge: Callable[[list[str], list[str]], Sequence[float] | np.ndarray]
) -> Column:
    """Return the mean over each contrast's pairs of a true and a false caption of one image, judged all at once."""
    pairs = [(row, a, b) for row, contrast in enumerate(contrasts) for a, b in _twins(contrast)]
    if not pairs:
        return np.full(len(contrasts), np.nan)
    values = np.asarray(judge([a for _, a, _ in pairs], [b for _, _, b in pairs]), np.float64)
    rows = np.array([row for row, _, _ in pairs])
    counts = np.bincount(rows, minlength=len(contrasts)).astype(np.float64)
    sums = np.bincount(rows, values, minlength=len(contrasts))
    return np.divide(sums, counts, out=np.full(len(contrasts), np.nan), where=counts > 0)


def _twins(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pairs of a true and a false caption of one image, each pair once."""
    twins = {
        tuple(sorted((a, b)))
        for line in contrast.is_true
        for a, line_a in zip(range(len(line)), line, strict=True)
        for b, line_b in zip(range(len(line)), line, strict=True)
        if line_a and not line_b
    }
    return [(contrast.captions[a], contrast.captions[b]) for a, b in sorted(twins)]


def other_cosine(
    contrasts: Sequence[Contrast], vectors: ItemVectors, rng: np.random.Generator
) -> tuple[Column, Column]:
    """Return the cosine of each contrast's first caption with that of a random other one, and the influence of each on the mean.

    Each caption is drawn once; the cosine of two equal texts is NaN.

    Each caption has two cosines, so that neighbours in the draw are alike: their covariance is at most half of the
    variance (Hoeffding, Ann. Math. Statist. 19 (1948), of a symmetric function of two). The influence of a caption is the
    sum of its two cosines' distances from the mean, times sqrt(2 / 3), which is right for the most alike and never too small.
    """
    captions = [contrast.captions[0] for contrast in contrasts]
    order = rng.permutation(len(captions))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    cosines = vectors.cosines(captions, [captions[row] for row in partner]).astype(np.float64)
    is_same = np.array([captions[row] == captions[other] for row, other in enumerate(partner)], bool)
    column = np.where(is_same, np.nan, cosines)
    if is_same.all():
        return column, column.copy()
    distance = np.where(is_same, 0.0, cosines - np.nanmean(column))
    of_partner = np.empty(len(captions))
    of_partner[partner] = distance
    return column, sqrt(2 / 3) * (distance + of_partner) / (~is_same).mean()


def text_only(contrasts: Sequence[Contrast], vectors: ItemVectors | None) -> Column:
    """Return SugarCrepe++'s text-only credit: two true captions are nearer to each other than either to a false one.

    Of the first image's captions: the first two true ones, and all false ones. NaN where there are not as many.

    Args:
        vectors: the model's; None for a constant model.
    """
    credit = np.full(len(contrasts), np.nan)
    by_number: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for row, contrast in enumerate(contrasts):
        first = list(zip(contrast.captions, contrast.is_true[0], strict=True))
        true, false = ([caption for caption, is_true in first if is_true == side] for side in (True, False))
        if len(true) > 1 and false:
            pairs = [(true[0], true[1]), *((one, other) for one in true[:2] for other in false)]
            by_number.setdefault(len(pairs), {})[row] = pairs
    for n_pairs, alike in by_number.items():
        left, right = zip(*(pair for pairs in alike.values() for pair in pairs), strict=True)
        scores = np.zeros(len(left), np.float32) if vectors is None else vectors.cosines(left, right)
        credit[list(alike)] = choices(scores.reshape(-1, 1, n_pairs), np.arange(n_pairs)[None, :] == 0).text
    return credit


def shuffles_of(contrasts: Sequence[Contrast], rng: np.random.Generator) -> list[tuple[int, int, str, str]]:
    """Return the row of each contrast that can be shuffled, with its image, a true caption and a shuffle of its words."""
    found = []
    for row in sampled(np.arange(len(contrasts)), MAX_SHUFFLED, rng).tolist():
        image, caption = np.argwhere(contrasts[row].truth)[0]
        other = shuffled(contrasts[row].captions[caption])
        if other is not None:
            found.append((row, contrasts[row].images[image], contrasts[row].captions[caption], other))
    return found


def word_order(shuffles: Sequence[tuple[int, int, str, str]], vectors: ItemVectors, n: int) -> tuple[Column, Column]:
    """Return, for each contrast, the cosine of a caption with its shuffle, and the credit for preferring the caption."""
    cosine, credit = np.full((2, n), np.nan)
    if shuffles:
        rows, images, captions, others = map(list, zip(*shuffles, strict=True))
        cosine[rows] = vectors.cosines(captions, others)
        own, other = (pair_scores(vectors.images[images], vectors.of(texts)) for texts in (captions, others))
        credit[rows] = (1 + np.sign(own.astype(np.float64) - other)) / 2
    return cosine, credit
