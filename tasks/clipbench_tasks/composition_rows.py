"""What composition measures of each contrast: who won, how alike the captions are, and what a blind rule says."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.arrays import pair_scores, unit
from clipbench.data.contrasts import shuffled, words
from clipbench.data.dataset import Dataset
from clipbench.data.items import Contrast
from clipbench.metrics import Choices, chance_choices, choices, contrast_scores, truth_groups
from clipbench.task import Embedder

MOST_SHUFFLED = 2_000
"""Captions that are shuffled, a seeded sample of a larger set: each costs another encoding."""
Column = Float64[np.ndarray, " n"]


class Vectors(NamedTuple):
    """Unit vectors of all pictures, and of each distinct text."""

    images: Float32[np.ndarray, "n_images dim"]
    texts: Float32[np.ndarray, "n_texts dim"]
    row: Mapping[str, int]
    """Of each text in ``texts``."""

    def rows(self, texts: Iterable[str]) -> Int64[np.ndarray, " n"]:
        """Return the rows of texts."""
        return np.array([self.row[text] for text in texts], np.int64)

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> Float32[np.ndarray, " n"]:
        """Return the cosine of each text with the same one of the other list."""
        return pair_scores(self.texts[self.rows(left)], self.texts[self.rows(right)])


class Shuffles(NamedTuple):
    """Captions with their words in another order."""

    rows: Int64[np.ndarray, " n"]
    """Of their contrasts."""
    images: Int64[np.ndarray, " n"]
    """Of a picture that each is true of."""
    captions: list[str]
    others: list[str]


class Nearest(NamedTuple):
    """Where each contrast is nearest to failing, or failed by the most."""

    image: Int64[np.ndarray, " n"]
    caption: list[str]
    preferred: list[str]
    """The false caption with the highest score; empty where there is only one caption."""


def vectors_of(dataset: Dataset, texts: Iterable[str], embedder: Embedder) -> Vectors:
    """Return the unit vectors of a data set's pictures and of some texts, all asked for at once."""
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

    place: dict[int, tuple[int, int, int]] = {}
    parts = []
    for rows in truth_groups([each.truth for each in contrasts]):
        found, truth = scores(rows), contrasts[rows[0]].truth
        parts.append((rows, choices(found, truth)))
        place |= dict(zip(rows.tolist(), _nearest(found, truth), strict=True))
    where = [place[row] for row in range(len(contrasts))]
    nearest = Nearest(
        np.array([each.images[image] for each, (image, _, _) in zip(contrasts, where, strict=True)], np.int64),
        [each.captions[true] for each, (_, true, _) in zip(contrasts, where, strict=True)],
        [each.captions[false] if false >= 0 else "" for each, (_, _, false) in zip(contrasts, where, strict=True)],
    )
    return _joined(parts, len(contrasts)), nearest


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
    """Return the mean cosine of a true caption with a false one of the same picture; NaN where there are none."""
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

    NaN where a picture has not two true captions and a false one.

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
    """Return a true caption of each contrast, with its picture, beside itself in another order."""
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
    """Return, of each contrast, the cosine of a caption with its shuffled self, and whether the picture prefers it."""
    cosine, credit = np.full((2, n), np.nan)
    if len(shuffles.rows):
        cosine[shuffles.rows] = vectors.cosines(shuffles.captions, shuffles.others)
        images = vectors.images[shuffles.images]
        own = pair_scores(images, vectors.texts[vectors.rows(shuffles.captions)])
        other = pair_scores(images, vectors.texts[vectors.rows(shuffles.others)])
        credit[shuffles.rows] = (1 + np.sign(own.astype(np.float64) - other)) / 2
    return cosine, credit


def _nearest(
    scores: Float32[np.ndarray, "n images captions"], truth: Bool[np.ndarray, "images captions"]
) -> list[tuple[int, int, int]]:
    """Return, of each contrast, the picture with the least margin, its lowest true and its highest false caption.

    Where pictures have nothing to choose, the lowest true picture of the first caption that has, and no false caption.
    """
    low = np.where(truth, scores, np.inf)
    asked = truth.any(axis=1) & ~truth.all(axis=1)
    if not asked.any():
        column = int(np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))[0])
        return [(int(image), column, -1) for image in low[:, :, column].argmin(axis=1)]
    high = np.where(truth, -np.inf, scores)
    margin = np.where(asked, low.min(axis=2) - high.max(axis=2), np.inf)
    image = margin.argmin(axis=1)
    rows = np.arange(len(scores))
    true, false = low[rows, image].argmin(axis=1), high[rows, image].argmax(axis=1)
    return list(zip(image.tolist(), true.tolist(), false.tolist(), strict=True))


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
    """Return the mean over each contrast's pairs of a true and a false caption of one picture, judged all at once."""
    pairs = [(row, a, b) for row, each in enumerate(contrasts) for a, b in _twins(each)]
    if not pairs:
        return np.full(len(contrasts), np.nan)
    values = np.asarray(judge([a for _, a, _ in pairs], [b for _, _, b in pairs]), np.float64)
    rows = np.array([row for row, _, _ in pairs])
    counts = np.bincount(rows, minlength=len(contrasts)).astype(np.float64)
    sums = np.bincount(rows, values, minlength=len(contrasts))
    return np.divide(sums, counts, out=np.full(len(contrasts), np.nan), where=counts > 0)


def _twins(contrast: Contrast) -> list[tuple[str, str]]:
    """Return the pairs of a true and a false caption of one picture, each pair once."""
    found = {
        tuple(sorted((a, b)))
        for line in contrast.is_true
        for a, line_a in zip(range(len(line)), line, strict=True)
        for b, line_b in zip(range(len(line)), line, strict=True)
        if line_a and not line_b
    }
    return [(contrast.captions[a], contrast.captions[b]) for a, b in sorted(found)]


def _split(contrast: Contrast) -> tuple[list[str], list[str]]:
    """Return the true and the false captions of the first picture."""
    line = contrast.is_true[0]
    true = [caption for caption, is_true in zip(contrast.captions, line, strict=True) if is_true]
    return true, [caption for caption, is_true in zip(contrast.captions, line, strict=True) if not is_true]


def _bag(caption: str) -> Counter[str]:
    return Counter(words(caption))
