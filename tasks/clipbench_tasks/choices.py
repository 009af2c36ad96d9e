"""Choices of images among captions and of captions among images, and the pairs that decided them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

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
        images = np.zeros((len(dataset), embedder.info.embed_dim), np.float32)
        images[rows] = embedder.scoring_vectors(embedder.encode(IMAGE, [dataset.images[row] for row in rows], "query"))
    of_texts = embedder.scoring_vectors(embedder.encode(TEXT, distinct, "document"))
    has_sides = embedder.info.similarity != COSINE and TEXT in embedder.info.roles
    query_texts = embedder.scoring_vectors(embedder.encode(TEXT, distinct, "query")) if has_sides else of_texts
    return ItemVectors(images, of_texts, {text: row for row, text in enumerate(distinct)}, query_texts)


def decide(
    contrasts: Sequence[Contrast],
    vectors: ItemVectors,
    length: Callable[[str], int],
    read: Sequence[Sequence[str]] | None = None,
) -> tuple[Choices, Choices, Column, Table]:
    """Return the choices of the model and of a constant one, the text score of the shorter caption, and a table.

    The table has the choice of each contrast that is nearest to failing, or failed by the most: an image's (``image``,
    its lowest true ``caption`` and highest false one, ``preferred``, with their cosines), and a caption's
    (``query_caption``, ``target_image``, ``predicted_image``). Where there is no choice, texts are empty, rows -1 and
    cosines NaN.

    Args:
        length: length of a caption, which decides the shorter one.
        read: captions of each contrast as the model reads them, where that differs.
    """
    n = len(contrasts)
    nearest: Table = {name: np.full(n, -1) for name in ("image", "target_image", "predicted_image")}
    nearest |= {name: np.full(n, "", object) for name in ("caption", "preferred", "query_caption")}
    cosines = ("target_cosine", "predicted_cosine", "target_image_cosine", "predicted_image_cosine")
    nearest |= {name: np.full(n, np.nan) for name in cosines}
    decided, by_chance = np.full((2, len(Choices._fields), n), np.nan)
    shorter = np.full(n, np.nan)
    for rows in truth_groups([contrast.truth for contrast in contrasts]):
        group, truth, index = [contrasts[row] for row in rows], contrasts[rows[0]].truth, np.arange(len(rows))
        images = np.array([contrast.images for contrast in group])
        captions = np.array([contrast.captions for contrast in group], object)
        lines = captions if read is None else [read[row] for row in rows]
        text_rows = np.array([[vectors.row[text] for text in line] for line in lines])
        scores = contrast_scores(vectors.images, vectors.texts, images, text_rows)
        brevity = -np.array([[length(text) for text in line] for line in captions], np.float32)
        decided[:, rows] = np.stack(choices(scores, truth))
        by_chance[:, rows] = np.stack(chance_choices(truth))
        shorter[rows] = choices(np.repeat(brevity[:, None, :], len(truth), axis=1), truth).text
        chooser, true, false = _nearest_to_failing(scores, truth)
        nearest["image"][rows], nearest["caption"][rows] = images[index, chooser], captions[index, true]
        if false is not None:
            nearest["preferred"][rows] = captions[index, false]
            nearest["target_cosine"][rows] = scores[index, chooser, true]
            nearest["predicted_cosine"][rows] = scores[index, chooser, false]
        chooser, true, false = _nearest_to_failing(scores.swapaxes(1, 2), truth.T)
        if false is not None:
            nearest["query_caption"][rows] = captions[index, chooser]
            nearest["target_image"][rows], nearest["predicted_image"][rows] = images[index, true], images[index, false]
            nearest["target_image_cosine"][rows] = scores[index, true, chooser]
            nearest["predicted_image_cosine"][rows] = scores[index, false, chooser]
    return Choices(*decided), Choices(*by_chance), shorter, nearest


def _nearest_to_failing(
    scores: Float32[np.ndarray, "rows choosers options"], truth: Bool[np.ndarray, "choosers options"]
) -> tuple[Rows, Rows, Rows | None]:
    """Return the chooser nearest to failing in each contrast, its lowest true and its highest false option.

    Without a choice on this side, the chooser is the lowest true one of the first option that chooses among them.
    """
    low, high = np.where(truth, scores, np.inf), np.where(truth, -np.inf, scores)
    has_choice, index = truth.any(axis=1) & ~truth.all(axis=1), np.arange(len(scores))
    if not has_choice.any():
        option = int(np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))[0])
        return low[:, :, option].argmin(axis=1), np.full(len(scores), option), None
    chooser = np.where(has_choice, low.min(axis=2) - high.max(axis=2), np.inf).argmin(axis=1)
    return chooser, low[index, chooser].argmin(axis=1), high[index, chooser].argmax(axis=1)
