"""Rows of composition: who won each contrast, how alike its captions are, and what a blind rule chooses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.contrasts import shuffled, words
from clipbench.data.dataset import Dataset
from clipbench.metrics import Choices, chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import pair_scores, unit
from clipbench.models.protocol import Embedder

MAX_SHUFFLED = 2_000
"""Captions that are shuffled, a seeded sample of a larger set: each shuffle must be encoded."""
SETS = ("controlled_a", "controlled_b")
"""Subsets of What'sUp whose groups are sets: four images of the same two objects, each in another place."""
Column = Float64[np.ndarray, " n"]


class ItemVectors(NamedTuple):
    """Unit vectors of all images, and of each distinct text."""

    images: Float32[np.ndarray, "n_images dim"]
    texts: Float32[np.ndarray, "n_texts dim"]
    row: Mapping[str, int]
    """Row in ``texts`` of each text."""

    def rows(self, texts: Iterable[str]) -> Int64[np.ndarray, " n"]:
        return np.array([self.row[text] for text in texts], np.int64)

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> Float32[np.ndarray, " n"]:
        """Return the cosine of each text with that at the same place of the other list."""
        return pair_scores(self.texts[self.rows(left)], self.texts[self.rows(right)])


class Shuffles(NamedTuple):
    """Captions with their words in another order."""

    rows: Int64[np.ndarray, " n"]
    """Rows of the contrasts."""
    images: Int64[np.ndarray, " n"]
    """Row of an image that each is true of."""
    captions: list[str]
    others: list[str]


class Nearest(NamedTuple):
    """The choice of each contrast that is nearest to failing, or failed by the most: an image's, and a caption's."""

    image: Int64[np.ndarray, " n"]
    caption: list[str]
    """The true caption with the lowest score."""
    preferred: list[str]
    """The false caption with the highest score; empty where no image has a choice."""
    cosines: Float64[np.ndarray, "n 2"]
    """Cosines of both captions with the image; NaN where it has nothing to choose."""
    asked_caption: list[str]
    right_image: Int64[np.ndarray, " n"]
    """The true image with the lowest score; -1 where no caption has a choice."""
    preferred_image: Int64[np.ndarray, " n"]
    """The false image with the highest score; -1 where no caption has a choice."""
    image_cosines: Float64[np.ndarray, "n 2"]


def vectors_of(dataset: Dataset, texts: Iterable[str], embedder: Embedder) -> ItemVectors:
    """Return the unit vectors of a data set's images and of some texts, each encoded in one call."""
    distinct = list(dict.fromkeys(texts))
    return ItemVectors(
        unit(embedder.images(dataset.images)),
        unit(embedder.texts(distinct)),
        {text: row for row, text in enumerate(distinct)},
    )


def decide(contrasts: Sequence[Contrast], vectors: ItemVectors) -> tuple[Choices, Nearest]:
    """Return the decision of each contrast, and its choice nearest to failing."""
    of_images, of_captions = (_Places.none(len(contrasts)) for _ in range(2))
    parts = []
    for rows in truth_groups([contrast.truth for contrast in contrasts]):
        group, truth = [contrasts[row] for row in rows], contrasts[rows[0]].truth
        images = np.array([contrast.images for contrast in group])
        captions = np.stack([vectors.rows(contrast.captions) for contrast in group])
        scores = contrast_scores(vectors.images, vectors.texts, images, captions)
        parts.append((rows, choices(scores, truth)))
        of_images.fill(rows, scores, truth)
        of_captions.fill(rows, scores.swapaxes(1, 2), truth.T)
    return _joined(parts, len(contrasts)), _nearest(contrasts, of_images, of_captions)


def chances(contrasts: Sequence[Contrast]) -> Choices:
    """Return the scores of a constant model on each contrast."""

    def judge(rows: Int64[np.ndarray, " n"], truth: Bool[np.ndarray, "images captions"]) -> Choices:
        return Choices(*(np.repeat(column, len(rows)) for column in chance_choices(truth)))

    return _by_truth(contrasts, judge)


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


def shorter_caption(contrasts: Sequence[Contrast]) -> Column:
    """Return the text score of the rule that the caption with fewer words is true."""

    def judge(rows: Int64[np.ndarray, " n"], truth: Bool[np.ndarray, "images captions"]) -> Choices:
        lengths = [[-len(words(caption)) for caption in contrasts[row].captions] for row in rows]
        scores = np.array(lengths, np.float32)[:, None, :]
        return choices(np.repeat(scores, len(truth), axis=1), truth)

    return _by_truth(contrasts, judge).text


def same_words(contrasts: Sequence[Contrast]) -> Column:
    """Return the share of each contrast's twins with the same words, each as often; NaN where there are no twins."""

    def judge(true: list[str], false: list[str]) -> list[bool]:
        bag = {text: sorted(words(text)) for text in {*true, *false}}
        return [bag[a] == bag[b] for a, b in zip(true, false, strict=True)]

    return _mean_of_twins(contrasts, judge)


def twin_cosine(contrasts: Sequence[Contrast], vectors: ItemVectors) -> Column:
    """Return the mean cosine of a true caption with a false one of the same image; NaN where there are none."""
    return _mean_of_twins(contrasts, vectors.cosines)


class OtherCosine(NamedTuple):
    """Cosines of captions of different items, with the influence of each item on their mean."""

    cosine: Column
    """NaN where both captions are the same text."""
    influence: Column


def other_cosine(contrasts: Sequence[Contrast], vectors: ItemVectors, rng: np.random.Generator) -> OtherCosine:
    """Return the cosine of each contrast's first caption with that of a random other one; each is drawn once.

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
        return OtherCosine(column, column.copy())
    distance = np.where(is_same, 0.0, cosines - np.nanmean(column))
    of_partner = np.empty(len(captions))
    of_partner[partner] = distance
    return OtherCosine(column, sqrt(2 / 3) * (distance + of_partner) / (~is_same).mean())


def text_only(contrasts: Sequence[Contrast], vectors: ItemVectors | None) -> Column:
    """Return SugarCrepe++'s text-only credit: two true captions are nearer to each other than either to a false one.

    Of the first image's captions: the first two true ones, and all false ones. NaN where there are not as many.

    Args:
        contrasts: the items.
        vectors: the model's vectors; None for a constant model.
    """
    credit = np.full(len(contrasts), np.nan)
    by_number: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for row, contrast in enumerate(contrasts):
        true, false = _true_and_false(contrast)
        if len(true) > 1 and false:
            pairs = [(true[0], true[1]), *((one, other) for one in true[:2] for other in false)]
            by_number.setdefault(len(pairs), {})[row] = pairs
    for n_pairs, alike in by_number.items():
        left, right = zip(*(pair for pairs in alike.values() for pair in pairs), strict=True)
        scores = np.zeros(len(left), np.float32) if vectors is None else vectors.cosines(left, right)
        credit[list(alike)] = choices(scores.reshape(-1, 1, n_pairs), np.arange(n_pairs)[None, :] == 0).text
    return credit


def shuffles_of(contrasts: Sequence[Contrast], rng: np.random.Generator) -> Shuffles:
    """Return a true caption of each contrast with a shuffle of its words, and its image."""
    rows = np.arange(len(contrasts))
    if len(rows) > MAX_SHUFFLED:
        rows = np.sort(rng.choice(len(rows), MAX_SHUFFLED, replace=False))
    shuffled_rows, images, captions, others = [], [], [], []
    for row in rows.tolist():
        image, caption = np.argwhere(contrasts[row].truth)[0]
        other = shuffled(contrasts[row].captions[caption])
        if other is not None:
            shuffled_rows.append(row)
            images.append(contrasts[row].images[image])
            captions.append(contrasts[row].captions[caption])
            others.append(other)
    return Shuffles(np.array(shuffled_rows, np.int64), np.array(images, np.int64), captions, others)


def word_order(shuffles: Shuffles, vectors: ItemVectors, n: int) -> tuple[Column, Column]:
    """Return, for each contrast, the cosine of a caption with its shuffle, and the credit for preferring the caption."""
    cosine, credit = np.full((2, n), np.nan)
    if len(shuffles.rows):
        cosine[shuffles.rows] = vectors.cosines(shuffles.captions, shuffles.others)
        images = vectors.images[shuffles.images]
        own = pair_scores(images, vectors.texts[vectors.rows(shuffles.captions)])
        other = pair_scores(images, vectors.texts[vectors.rows(shuffles.others)])
        credit[shuffles.rows] = (1 + np.sign(own.astype(np.float64) - other)) / 2
    return cosine, credit


class _Places(NamedTuple):
    """For each contrast, the chooser nearest to failing, its lowest true option and its highest false one."""

    chooser: Int64[np.ndarray, " n"]
    true: Int64[np.ndarray, " n"]
    false: Int64[np.ndarray, " n"]
    """-1 where there is no choice."""
    cosines: Float64[np.ndarray, "n 2"]

    @classmethod
    def none(cls, n: int) -> "_Places":
        return cls(np.full(n, -1), np.full(n, -1), np.full(n, -1), np.full((n, 2), np.nan))

    def fill(
        self,
        rows: Int64[np.ndarray, " rows"],
        scores: Float32[np.ndarray, "rows choosers options"],
        truth: Bool[np.ndarray, "choosers options"],
    ) -> None:
        """Fill in contrasts of one shape.

        Without a choice on this side, the chooser is the lowest true one of the first option that chooses among them.
        """
        low, high = np.where(truth, scores, np.inf), np.where(truth, -np.inf, scores)
        has_choice, here = truth.any(axis=1) & ~truth.all(axis=1), np.arange(len(rows))
        if not has_choice.any():
            option = int(np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))[0])
            self.chooser[rows], self.true[rows] = low[:, :, option].argmin(axis=1), option
            return
        margin = np.where(has_choice, low.min(axis=2) - high.max(axis=2), np.inf)
        self.chooser[rows] = chooser = margin.argmin(axis=1)
        self.true[rows] = true = low[here, chooser].argmin(axis=1)
        self.false[rows] = false = high[here, chooser].argmax(axis=1)
        self.cosines[rows] = np.stack([scores[here, chooser, true], scores[here, chooser, false]], axis=1)


def _nearest(contrasts: Sequence[Contrast], of_images: _Places, of_captions: _Places) -> Nearest:
    """Return the captions and images at some places."""

    def captions(places: Int64[np.ndarray, " n"]) -> list[str]:
        pairs = zip(contrasts, places.tolist(), strict=True)
        return [contrast.captions[place] if place >= 0 else "" for contrast, place in pairs]

    def images(places: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        pairs = zip(contrasts, places.tolist(), strict=True)
        return np.array([contrast.images[place] if place >= 0 else -1 for contrast, place in pairs], np.int64)

    has_choice = of_captions.false >= 0
    return Nearest(
        image=images(of_images.chooser),
        caption=captions(of_images.true),
        preferred=captions(of_images.false),
        cosines=of_images.cosines,
        asked_caption=captions(np.where(has_choice, of_captions.chooser, -1)),
        right_image=images(np.where(has_choice, of_captions.true, -1)),
        preferred_image=images(of_captions.false),
        image_cosines=of_captions.cosines,
    )


Judge = Callable[[Int64[np.ndarray, " n"], Bool[np.ndarray, "images captions"]], Choices]


def _by_truth(contrasts: Sequence[Contrast], judge: Judge) -> Choices:
    groups = truth_groups([contrast.truth for contrast in contrasts])
    return _joined([(rows, judge(rows, contrasts[rows[0]].truth)) for rows in groups], len(contrasts))


def _joined(parts: Sequence[tuple[Int64[np.ndarray, " _"], Choices]], n: int) -> Choices:
    out = np.full((len(Choices._fields), n), np.nan)
    for rows, decided in parts:
        out[:, rows] = np.stack(decided)
    return Choices(*out)


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


def _true_and_false(contrast: Contrast) -> tuple[list[str], list[str]]:
    """Return the true and the false captions of the first image."""
    line = contrast.is_true[0]
    true = [caption for caption, is_true in zip(contrast.captions, line, strict=True) if is_true]
    return true, [caption for caption, is_true in zip(contrast.captions, line, strict=True) if not is_true]
