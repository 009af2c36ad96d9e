"""Choices of images among captions and of captions among images, and the pairs that decided them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.questions import Contrast
from clipbench.metrics.choice import Choices, chance_choices, choices, contrast_scores, truth_groups
from clipbench.metrics.similarity import pair_scores
from clipbench.models.protocol import COSINE, Embedder
from clipbench_tasks.tables import Column, Rows, Table, Vectors


class ItemVectors(NamedTuple):
    """Unit vectors of a data set's images, zeros for images that were not requested, and of distinct texts."""

    images: Vectors
    texts: Vectors
    row: Mapping[str, int]
    """Row in ``texts`` of each text."""
    query_texts: Vectors
    """Vectors of the texts in the query role: equal to ``texts``, except for inner products of a model with roles."""

    def of(self, texts: Iterable[str]) -> Vectors:
        """Return the vectors of some texts."""
        return self.texts[[self.row[text] for text in texts]]

    def cosines(self, left: Iterable[str], right: Iterable[str]) -> Float32[np.ndarray, " n"]:
        """Return the cosines of the texts of one list with the texts of the other, pair by pair."""
        return pair_scores(self.query_texts[[self.row[text] for text in left]], self.of(right))


def vectors_of(
    dataset: Dataset, texts: Iterable[str], embedder: Embedder, of: Sequence[Contrast] | None = None
) -> ItemVectors:
    """Return the unit vectors of a data set's images as queries, and of some texts as documents.

    Args:
        of: contrasts whose images are needed, None for all images.
    """
    distinct = list(dict.fromkeys(texts))
    if of is None:
        images = embedder.scoring_vectors(embedder.encode(IMAGE, dataset.images, "query"))
    else:
        rows = sorted({row for contrast in of for row in contrast.images})
        encoded = embedder.encode(IMAGE, [dataset.images[row] for row in rows], "query")
        images = np.zeros((len(dataset), embedder.info.embed_dim), np.float32)
        images[rows] = embedder.scoring_vectors(encoded)
    of_texts = embedder.scoring_vectors(embedder.encode(TEXT, distinct, "document"))
    has_sides = embedder.info.similarity != COSINE and TEXT in embedder.info.roles
    query_texts = of_texts
    if has_sides:
        query_texts = embedder.scoring_vectors(embedder.encode(TEXT, distinct, "query"))
    row_of_text = {text: row for row, text in enumerate(distinct)}
    return ItemVectors(images, of_texts, row_of_text, query_texts)


class Decisions(NamedTuple):
    """The choices in contrasts, one per contrast in each column."""

    by_model: Choices
    by_chance: Choices
    """The choices of a constant model."""
    shorter_caption: Column
    """Text score of the rule that the shorter caption is true."""
    nearest: Table
    """The choice of each contrast that is nearest to failing, or failed by the most.

    An image's: ``image``, its lowest true ``caption`` and highest false one, ``preferred``, with their cosines. A
    caption's: ``query_caption``, ``target_image``, ``predicted_image``. Where there is no choice, texts are empty, rows
    -1 and cosines NaN.
    """


def decide(
    contrasts: Sequence[Contrast],
    vectors: ItemVectors,
    length: Callable[[str], int],
    read: Sequence[Sequence[str]] | None = None,
) -> Decisions:
    """Return who chose what among the images and captions of contrasts.

    Args:
        length: length of a caption, which decides the shorter one.
        read: captions of each contrast as the model reads them, where that differs.
    """
    n = len(contrasts)
    decided, by_chance = np.full((2, len(Choices._fields), n), np.nan)
    shorter_caption = np.full(n, np.nan)
    nearest = _empty_choices(n)
    for rows in truth_groups([contrast.truth for contrast in contrasts]):
        group = [contrasts[row] for row in rows]
        truth = group[0].truth  # all contrasts of a group have the same
        images = np.array([contrast.images for contrast in group])
        captions = np.array([contrast.captions for contrast in group], object)
        read_captions = captions if read is None else [read[row] for row in rows]
        text_rows = np.array([[vectors.row[text] for text in line] for line in read_captions])
        scores = contrast_scores(vectors.images, vectors.texts, images, text_rows)
        decided[:, rows] = np.stack(choices(scores, truth))
        by_chance[:, rows] = np.stack(chance_choices(truth))
        lengths = np.array([[length(text) for text in line] for line in captions], np.float32)
        # A model that likes every image best with the shorter caption.
        brevity = np.repeat(-lengths[:, None, :], len(truth), axis=1)
        shorter_caption[rows] = choices(brevity, truth).text
        for name, values in _nearest_choices(images, captions, scores, truth).items():
            nearest[name][rows] = values
    return Decisions(Choices(*decided), Choices(*by_chance), shorter_caption, nearest)


def _empty_choices(n: int) -> Table:
    columns: Table = {}
    for name in ("image", "target_image", "predicted_image"):
        columns[name] = np.full(n, -1)
    for name in ("caption", "preferred", "query_caption"):
        columns[name] = np.full(n, "", object)
    for name in ("target_cosine", "predicted_cosine", "target_image_cosine", "predicted_image_cosine"):
        columns[name] = np.full(n, np.nan)
    return columns


def _nearest_choices(
    images: Int64[np.ndarray, "rows n_images"],
    captions: Shaped[np.ndarray, "rows n_captions"],
    scores: Float32[np.ndarray, "rows n_images n_captions"],
    truth: Bool[np.ndarray, "n_images n_captions"],
) -> Table:
    """Return the columns of ``Decisions.nearest`` for contrasts with the same truth, as far as there are choices."""
    index = np.arange(len(images))
    of_image = _nearest_to_failing(scores, truth)
    columns = {
        "image": images[index, of_image.chooser],
        "caption": captions[index, of_image.true],
    }
    if of_image.false is not None:
        columns["preferred"] = captions[index, of_image.false]
        columns["target_cosine"] = scores[index, of_image.chooser, of_image.true]
        columns["predicted_cosine"] = scores[index, of_image.chooser, of_image.false]
    of_caption = _nearest_to_failing(scores.swapaxes(1, 2), truth.T)
    if of_caption.false is not None:
        columns["query_caption"] = captions[index, of_caption.chooser]
        columns["target_image"] = images[index, of_caption.true]
        columns["predicted_image"] = images[index, of_caption.false]
        columns["target_image_cosine"] = scores[index, of_caption.true, of_caption.chooser]
        columns["predicted_image_cosine"] = scores[index, of_caption.false, of_caption.chooser]
    return columns


class _NearestChoice(NamedTuple):
    """The choice of each contrast that is nearest to failing."""

    chooser: Rows
    true: Rows
    """The lowest true option."""
    false: Rows | None
    """The highest false option, None if nothing is chosen on this side."""


def _nearest_to_failing(
    scores: Float32[np.ndarray, "rows choosers options"], truth: Bool[np.ndarray, "choosers options"]
) -> _NearestChoice:
    """Return the choice of each contrast that is nearest to failing.

    Without a choice on this side, the chooser is the lowest true one of the first option that chooses among them.
    """
    true_scores = np.where(truth, scores, np.inf)
    false_scores = np.where(truth, -np.inf, scores)
    has_choice = truth.any(axis=1) & ~truth.all(axis=1)
    if not has_choice.any():
        option = int(np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))[0])
        return _NearestChoice(true_scores[:, :, option].argmin(axis=1), np.full(len(scores), option), None)
    lead = true_scores.min(axis=2) - false_scores.max(axis=2)
    chooser = np.where(has_choice, lead, np.inf).argmin(axis=1)
    index = np.arange(len(scores))
    lowest_true = true_scores[index, chooser].argmin(axis=1)
    highest_false = false_scores[index, chooser].argmax(axis=1)
    return _NearestChoice(chooser, lowest_true, highest_false)
