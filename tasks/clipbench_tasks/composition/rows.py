"""Rows of composition: who won each contrast, how alike its captions are, and what a blind rule chooses."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.data.contrast_and_attack import Contrast
from clipbench.data.contrasts import shuffled, words
from clipbench.data.dataset import Dataset
from clipbench.metrics import Choices, chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import pair_scores, unit
from clipbench.models.protocol import Embedder

MOST_SHUFFLED = 2_000
"""Captions that are shuffled, a seeded sample of a larger set: each costs another encoding."""
Column = Float64[np.ndarray, " n"]


class Vectors(NamedTuple):
    """Unit vectors of all images, and of each distinct text."""

    images: Float32[np.ndarray, "n_images dim"]
    texts: Float32[np.ndarray, "n_texts dim"]
    row: Mapping[str, int]
    """Unit vectors of ``texts``, in order."""

    def rows(self, texts: Iterable[str]) -> Int64[np.ndarray, " n"]:
        """Return the rows of texts."""
        return np.array([self.row[text] for text in texts], np.int64)

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> Float32[np.ndarray, " n"]:
        """Return the cosine of each text with the same one of the other list."""
        return pair_scores(self.texts[self.rows(left)], self.texts[self.rows(right)])


class Shuffles(NamedTuple):
    """Captions with their words in another order."""

    rows: Int64[np.ndarray, " n"]
    """Ids of the contrasts."""
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
    """The false caption with the highest score; empty where no image has anything to choose."""
    cosines: Float64[np.ndarray, "n 2"]
    """Cosines of both captions with the image; NaN where it has nothing to choose."""
    asked_caption: list[str]
    right_image: Int64[np.ndarray, " n"]
    """The true image with the lowest score; -1 where no caption has anything to choose, as the next."""
    preferred_image: Int64[np.ndarray, " n"]
    """The false image with the highest score."""
    image_cosines: Float64[np.ndarray, "n 2"]


def vectors_of(dataset: Dataset, texts: Iterable[str], embedder: Embedder) -> Vectors:
    """Return the unit vectors of a data set's images and of some texts, all asked for at once."""
    distinct = list(dict.fromkeys(texts))
    return Vectors(
        unit(embedder.images(dataset.images)),
        unit(embedder.texts(distinct)),
        {text: row for row, text in enumerate(distinct)},
    )


def decided(contrasts: Sequence[Contrast], vectors: Vectors) -> tuple[Choices, Nearest]:
    """Return how each contrast was decided, and where it was nearest to failing."""

    def scores(rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n images captions"]:
        chosen = [contrasts[row] for row in rows]
        captions = np.stack([vectors.rows(each.captions) for each in chosen])
        return contrast_scores(vectors.images, vectors.texts, np.array([each.images for each in chosen]), captions)

    of_images, of_captions = (_Places.none(len(contrasts)) for _ in range(2))
    parts = []
    for rows in truth_groups([each.truth for each in contrasts]):
        found, truth = scores(rows), contrasts[rows[0]].truth
        parts.append((rows, choices(found, truth)))
        of_images.fill(rows, found, truth)
        of_captions.fill(rows, found.swapaxes(1, 2), truth.T)
    return _joined(parts, len(contrasts)), _told(contrasts, of_images, of_captions)


def chances(contrasts: Sequence[Contrast]) -> Choices:
    """Return what a constant model scores on each contrast."""
    return _by_truth(contrasts, lambda rows, truth: _repeated(chance_choices(truth), len(rows)))


def shorter_caption(contrasts: Sequence[Contrast]) -> Column:
    """Return what the rule that the caption with fewer words is true scores on the text side."""

    def judged(rows: Int64[np.ndarray, " n"], truth: Bool[np.ndarray, "images captions"]) -> Choices:
        lengths = [[-len(words(caption)) for caption in contrasts[row].captions] for row in rows]
        scores = np.array(lengths, np.float32)[:, None, :]
        return choices(np.repeat(scores, len(truth), axis=1), truth)

    return _by_truth(contrasts, judged).text


def same_words(contrasts: Sequence[Contrast]) -> Column:
    """Return the share of each contrast's twins that hold the same words as often; NaN where there are none."""
    return _mean_of_twins(contrasts, lambda true, false: [_bag(a) == _bag(b) for a, b in zip(true, false, strict=True)])


def twin_cosine(contrasts: Sequence[Contrast], vectors: Vectors) -> Column:
    """Return the mean cosine of a true caption with a false one of the same image; NaN where there are none."""
    return _mean_of_twins(contrasts, vectors.cosines)


def other_cosine(contrasts: Sequence[Contrast], vectors: Vectors, rng: np.random.Generator) -> Column:
    """Return the cosine of each contrast's first caption with that of another one, drawn so that each is drawn once."""
    captions = [each.captions[0] for each in contrasts]
    order = rng.permutation(len(captions))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    found = vectors.cosines(captions, [captions[row] for row in partner]).astype(np.float64)
    is_same = [captions[row] == captions[other] for row, other in enumerate(partner)]
    return np.where(is_same, np.nan, found)


def text_only(contrasts: Sequence[Contrast], vectors: Vectors | None) -> Column:
    """Return SugarCrepe++'s text-only credit: two true captions are nearer to each other than either to a false one.

    NaN where an image has not two true captions and a false one.

    Args:
        vectors: None for a constant model's.
    """
    credit = np.full(len(contrasts), np.nan)
    for row, each in enumerate(contrasts):
        true, false = _split(each)
        if len(true) < 2 or not false:
            continue
        pairs = [(true[0], true[1]), *((one, other) for one in true[:2] for other in false)]
        left, right = zip(*pairs, strict=True)
        scores = np.zeros(len(pairs), np.float32) if vectors is None else vectors.cosines(left, right)
        truth = np.arange(len(pairs))[None, :] == 0
        credit[row] = choices(scores[None, None, :], truth).text[0]
    return credit


def shuffles_of(contrasts: Sequence[Contrast], rng: np.random.Generator) -> Shuffles:
    """Return a true caption of each contrast, with its image, beside itself in another order."""
    rows = np.arange(len(contrasts))
    if len(rows) > MOST_SHUFFLED:
        rows = np.sort(rng.choice(len(rows), MOST_SHUFFLED, replace=False))
    kept, images, captions, others = [], [], [], []
    for row in rows.tolist():
        image, caption = np.argwhere(contrasts[row].truth)[0]
        other = shuffled(contrasts[row].captions[caption])
        if other is not None:
            kept.append(row)
            images.append(contrasts[row].images[image])
            captions.append(contrasts[row].captions[caption])
            others.append(other)
    return Shuffles(np.array(kept, np.int64), np.array(images, np.int64), captions, others)


def word_order(shuffles: Shuffles, vectors: Vectors, n: int) -> tuple[Column, Column]:
    """Return, of each contrast, the cosine of a caption with its shuffled self, and whether the image prefers it."""
    cosine, credit = np.full((2, n), np.nan)
    if len(shuffles.rows):
        cosine[shuffles.rows] = vectors.cosines(shuffles.captions, shuffles.others)
        images = vectors.images[shuffles.images]
        own = pair_scores(images, vectors.texts[vectors.rows(shuffles.captions)])
        other = pair_scores(images, vectors.texts[vectors.rows(shuffles.others)])
        credit[shuffles.rows] = (1 + np.sign(own.astype(np.float64) - other)) / 2
    return cosine, credit


class _Places(NamedTuple):
    """Return, for each contrast, the chooser nearest to failing, its lowest true and its highest false option."""

    asker: Int64[np.ndarray, " n"]
    true: Int64[np.ndarray, " n"]
    false: Int64[np.ndarray, " n"]
    """-1 where nothing is asked."""
    cosines: Float64[np.ndarray, "n 2"]

    @classmethod
    def none(cls, n: int) -> "_Places":
        return cls(np.full(n, -1), np.full(n, -1), np.full(n, -1), np.full((n, 2), np.nan))

    def fill(
        self,
        rows: Int64[np.ndarray, " rows"],
        scores: Float32[np.ndarray, "rows askers options"],
        truth: Bool[np.ndarray, "askers options"],
    ) -> None:
        """Fill in contrasts of one shape.

        Where nothing is asked, it is the lowest true asker of the first option that has something to choose among them.
        """
        low, high = np.where(truth, scores, np.inf), np.where(truth, -np.inf, scores)
        asked, here = truth.any(axis=1) & ~truth.all(axis=1), np.arange(len(rows))
        if not asked.any():
            option = int(np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))[0])
            self.asker[rows], self.true[rows] = low[:, :, option].argmin(axis=1), option
            return
        margin = np.where(asked, low.min(axis=2) - high.max(axis=2), np.inf)
        self.asker[rows] = asker = margin.argmin(axis=1)
        self.true[rows] = true = low[here, asker].argmin(axis=1)
        self.false[rows] = false = high[here, asker].argmax(axis=1)
        self.cosines[rows] = np.stack([scores[here, asker, true], scores[here, asker, false]], axis=1)


def _told(contrasts: Sequence[Contrast], of_images: _Places, of_captions: _Places) -> Nearest:
    """Return the captions and images at some places."""

    def captions(places: Int64[np.ndarray, " n"]) -> list[str]:
        found = zip(contrasts, places.tolist(), strict=True)
        return [each.captions[place] if place >= 0 else "" for each, place in found]

    def images(places: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        found = zip(contrasts, places.tolist(), strict=True)
        return np.array([each.images[place] if place >= 0 else -1 for each, place in found], np.int64)

    is_asked = of_captions.false >= 0
    return Nearest(
        image=images(of_images.asker),
        caption=captions(of_images.true),
        preferred=captions(of_images.false),
        cosines=of_images.cosines,
        asked_caption=captions(np.where(is_asked, of_captions.asker, -1)),
        right_image=images(np.where(is_asked, of_captions.true, -1)),
        preferred_image=images(of_captions.false),
        image_cosines=of_captions.cosines,
    )


Judge = Callable[[Int64[np.ndarray, " n"], Bool[np.ndarray, "images captions"]], Choices]


def _by_truth(contrasts: Sequence[Contrast], judge: Judge) -> Choices:
    groups = truth_groups([each.truth for each in contrasts])
    return _joined([(rows, judge(rows, contrasts[rows[0]].truth)) for rows in groups], len(contrasts))


def _joined(parts: Sequence[tuple[Int64[np.ndarray, " _"], Choices]], n: int) -> Choices:
    out = np.full((len(Choices._fields), n), np.nan)
    for rows, found in parts:
        out[:, rows] = np.stack(found)
    return Choices(*out)


def _repeated(found: Choices, n: int) -> Choices:
    return Choices(*(np.repeat(column, n) for column in found))


def _mean_of_twins(
    contrasts: Sequence[Contrast], judge: Callable[[list[str], list[str]], Sequence[float] | np.ndarray]
) -> Column:
    """Return the mean over each contrast's pairs of a true and a false caption of one image, judged all at once."""
    pairs = [(row, a, b) for row, each in enumerate(contrasts) for a, b in _twins(each)]
    if not pairs:
        return np.full(len(contrasts), np.nan)
    values = np.asarray(judge([a for _, a, _ in pairs], [b for _, _, b in pairs]), np.float64)
    rows = np.array([row for row, _, _ in pairs])
    counts = np.bincount(rows, minlength=len(contrasts)).astype(np.float64)
    sums = np.bincount(rows, values, minlength=len(contrasts))
    return np.divide(sums, counts, out=np.full(len(contrasts), np.nan), where=counts > 0)


def _twins(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pairs of a true and a false caption of one image, each pair once."""
    found = {
        tuple(sorted((a, b)))
        for line in contrast.is_true
        for a, line_a in zip(range(len(line)), line, strict=True)
        for b, line_b in zip(range(len(line)), line, strict=True)
        if line_a and not line_b
    }
    return [(contrast.captions[a], contrast.captions[b]) for a, b in sorted(found)]


def _split(contrast: Contrast) -> tuple[list[str], list[str]]:
    """Return the true and the false captions of the first image."""
    line = contrast.is_true[0]
    true = [caption for caption, is_true in zip(contrast.captions, line, strict=True) if is_true]
    return true, [caption for caption, is_true in zip(contrast.captions, line, strict=True) if not is_true]


def _bag(caption: str) -> Counter[str]:
    return Counter(words(caption))
