"""The numbers that are tracked while a model trains: gap, cones, recall, effective ranks, duplicates. Pure numpy."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from clipbench.metrics import cross_ranks, effective_rank, pair_geometry, recall_at_k
from clipbench.metrics.similarity import dot_blocks, unit

SAME = 1 - 1e-6
"""Cosine from which two vectors count as equal: closer ones differ by no more than the rounding of float32."""

Number = int | float
"""A number in JSON: counts stay whole."""

Scalars = dict[str, Number | None]
"""Numbers by name; None where one is undefined."""


def pair_scalars(
    images: Float32[np.ndarray, "n dim"],
    texts: Float32[np.ndarray, "n dim"],
    *,
    same_images: Sequence[int] | None = None,
    same_texts: Sequence[int] | None = None,
) -> Scalars:
    """Return gap, cones, mean cosine of pairs, recall@1 both ways, effective ranks, and shares of duplicate vectors.

    Names and definitions are those of the tasks ``modality-gap`` and ``retrieval``; equal captions have equal vectors,
    and a tie scores what a random choice would. ``image_duplicates`` and ``text_duplicates`` are the shares of
    different inputs whose vector has a cosine of ``SAME`` or more with that of another one; ``n_distinct_images`` and
    ``n_distinct_texts`` count different inputs, and ranks are below that; ``non_finite`` is the share of vectors that
    are not finite or zero, and if there is one, all else is None but ``n_pairs``.

    Args:
        images: raw vectors, of any length.
        texts: raw vectors of the same pairs, row by row.
        same_images: a number for each input, equal for equal inputs, whose vectors cannot differ. None if the inputs
            are unknown: then duplicates count all inputs as different, and ``n_distinct_images`` counts different
            vectors.
        same_texts: likewise, of texts.

    Example:
        >>> x, y = np.eye(2, dtype=np.float32)
        >>> found = pair_scalars(np.stack([x, y]), np.stack([x, x]))
        >>> found["pair_cosine"], found["text_cone"], found["image_duplicates"], found["text_duplicates"]
        (0.5, 1.0, 0.0, 1.0)
    """
    n_bad = sum(int((~np.isfinite(each).all(axis=1) | ~each.any(axis=1)).sum()) for each in (images, texts))
    if n_bad:
        return {**dict.fromkeys(_NAMES), "n_pairs": len(images), "non_finite": n_bad / (2 * len(images))}
    images, texts = unit(images), unit(texts)
    geometry = pair_geometry(images, texts)
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    image_duplicates, n_images = _duplicates(images, same_images)
    text_duplicates, n_texts = _duplicates(texts, same_texts)
    values = (
        geometry.modality_gap.value,
        geometry.image_cone.value,
        geometry.text_cone.value,
        float(geometry.pair_cosine.mean()),
        float(recall_at_k(by_text, 1).mean()),
        float(recall_at_k(by_image, 1).mean()),
        effective_rank(images),
        effective_rank(texts),
        image_duplicates,
        text_duplicates,
        n_images,
        n_texts,
    )
    scalars = {name: finite_or_none(value) for name, value in zip(_NAMES, values, strict=True)}
    return {**scalars, "n_pairs": len(images), "non_finite": 0.0}


def finite_or_none(value: Number) -> Number | None:
    """Return a number, or None for one that is not finite, which JSON does not have."""
    return value if math.isfinite(value) else None


_NAMES = (
    "gap",
    "image_cone",
    "text_cone",
    "pair_cosine",
    "image_retrieval_recall@1",
    "text_retrieval_recall@1",
    "image_effective_rank",
    "text_effective_rank",
    "image_duplicates",
    "text_duplicates",
    "n_distinct_images",
    "n_distinct_texts",
)


def _duplicates(vectors: Float32[np.ndarray, "n dim"], same: Sequence[int] | None) -> tuple[float, int]:
    """Return the share of different inputs whose unit vector another one has too, and the number of different inputs.

    If the inputs are unknown, different vectors are counted instead.
    """
    if same is not None:
        vectors = vectors[np.unique(same, return_index=True)[1]]
    counts = np.empty(len(vectors))
    for rows, dots in dot_blocks(vectors, vectors):
        dots[np.arange(len(dots)), np.arange(rows.start, rows.stop)] = 1
        counts[rows] = (dots >= SAME).sum(axis=1)
    # Each of k equal vectors counts 1/k.
    n_distinct = len(vectors) if same is not None else round(float((1 / counts).sum()))
    return float((counts > 1).sum()) / max(1, len(vectors)), n_distinct
