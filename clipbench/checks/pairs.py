"""Images and texts that belong together, and how far they stand out from those that do not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from PIL import Image

from clipbench.checks.check import NotExamined
from clipbench.data import DataOptions, load_data, prompts_of
from clipbench.data.dataset import Dataset
from clipbench.data.images import opened
from clipbench.errors import BadImage
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder, Model
from clipbench.seeding import generator

N_PAIRS = 64
"""Images that pairs are encoded of."""
N_GIVEN = 1_000
"""Images of given vectors that are looked at, from the first on: only neighbours show that rows are shifted."""
N_SHUFFLES = 999
MIN_PAIRS = 16
"""Fewer pairs, which a weak model may miss, tell nothing."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Images, texts, and which text is true of which image."""

    source: str
    """Where they come from, for messages: ``64 generated scenes``."""
    is_own: bool
    """True for the user's data."""
    images: Sequence[Image.Image] = ()
    texts: Sequence[str] = ()
    truth: Int64[np.ndarray, " n_images"]
    """Row of each image's text."""
    image_vectors: Float[np.ndarray, "n_images dim"]
    text_vectors: Float[np.ndarray, "n_texts dim"]

    def margins(self) -> Float64[np.ndarray, " n_images"]:
        """Return how many standard deviations each image's own text lies above the mean of the other texts."""
        return margins(self.image_vectors, self.text_vectors, self.truth)

    def with_vectors(self, model: Model, changes: Sequence[str]) -> "Pairs":
        """Return the same pairs with the vectors of a variant of the model, as far as it changes them."""
        images = model.encode_images(self.images) if "images" in changes else self.image_vectors
        texts = model.encode_texts(self.texts) if "texts" in changes else self.text_vectors
        return replace(self, image_vectors=images, text_vectors=texts)


def margins(
    image_vectors: Float[np.ndarray, "n_images dim"],
    text_vectors: Float[np.ndarray, "n_texts dim"],
    truth: Int64[np.ndarray, " n_images"],
) -> Float64[np.ndarray, " n_images"]:
    """Return how many standard deviations each image's own text lies above the mean of the other texts.

    Example:
        >>> x = np.eye(4, dtype=np.float32)
        >>> margins(x, x, np.arange(4)).tolist() == margins(3 * x, x, np.arange(4)).tolist()
        True
    """
    cosines = unit(image_vectors).astype(np.float64) @ unit(text_vectors).astype(np.float64).T
    rows, n_texts = np.arange(len(cosines)), cosines.shape[1]
    own = cosines[rows, truth]
    others = (cosines.sum(axis=1) - own) / max(n_texts - 1, 1)
    is_other = np.ones_like(cosines, dtype=bool)
    is_other[rows, truth] = False
    spread = float((cosines - others[:, None])[is_other].std()) if is_other.any() else 0.0
    return (own - others) / spread if spread > 0 else np.zeros(len(own))


def largest_distance(one: Float[np.ndarray, "n dim"], other: Float[np.ndarray, "n dim"]) -> float:
    """Return the largest distance of two vectors in the same row, each scaled to length 1."""
    return float(np.linalg.norm(unit(one) - unit(other), axis=1).max())


class ShuffleTest(NamedTuple):
    """Mean margin of the true pairs, and how rarely shuffled ones reach it."""

    margin: float
    """Mean margin of the true pairs, in standard deviations."""
    p_value: float
    """Share of shuffles whose margin is as large."""


def shuffle_test(pairs: Pairs) -> ShuffleTest:
    """Return the mean margin of the true pairs, and how often shuffled ones reach it."""
    rng = generator(0, "doctor", "shuffles")
    cosines = unit(pairs.image_vectors).astype(np.float64) @ unit(pairs.text_vectors).astype(np.float64).T
    cosines -= cosines.mean(axis=1, keepdims=True)
    rows = np.arange(len(cosines))
    found = cosines[rows, pairs.truth].mean()
    shuffled = [cosines[rows, rng.permutation(pairs.truth)].mean() for _ in range(N_SHUFFLES)]
    n_reached = int((np.array(shuffled) >= found - 1e-12).sum())
    return ShuffleTest(float(pairs.margins().mean()), (1 + n_reached) / (1 + N_SHUFFLES))


def scene_pairs(model: Model) -> Pairs:
    """Return generated images with their captions, drawn at the size of the model's input."""
    images, captions = _scenes(model.info.image_size)
    source = f"{N_PAIRS} generated scenes"
    return _encoded(model, images, captions, np.arange(N_PAIRS), source, is_own=False)


@cache
def _scenes(side: int | None) -> tuple[list[Image.Image], list[str]]:
    dataset = load_data("scenes", DataOptions(task="retrieval", options={"n": str(N_PAIRS)}))
    assert dataset.captions is not None
    return [opened(ref, side).convert("RGB") for ref in dataset.images], list(dataset.captions)


def own_pairs(dataset: Dataset, model: Model, seed: int) -> Pairs | None:
    """Return a sample of the user's images with a caption, or with the prompt of their class; None where they have neither."""
    order = generator(seed, "doctor", "sample").permutation(len(dataset))
    if dataset.captions is not None and dataset.caption_image is not None:
        first = _first_captions(dataset)
        rows, images = _readable(dataset, [row for row in order.tolist() if row in first], model.info.image_size)
        texts = [dataset.captions[first[row]] for row in rows]
        truth = np.arange(len(rows))
    elif dataset.labels is not None and dataset.class_names is not None:
        rows, images = _readable(dataset, order.tolist(), model.info.image_size)
        prompts = [prompts[0] for prompts in prompts_of(dataset).render(dataset.class_names)]
        shown, truth = np.unique(dataset.labels[rows], return_inverse=True)
        texts = [prompts[label] for label in shown]
    else:
        return None
    if len(images) < MIN_PAIRS or len(set(texts)) < 2:
        return None
    source = f"{len(images)} images of {dataset.id}"
    return _encoded(model, images, texts, truth.astype(np.int64), source, is_own=True)


def given_pairs(embedder: Embedder) -> Pairs:
    """Return the first rows of given vectors with their texts, or with their classes."""
    dataset = embedder.dataset
    assert dataset is not None
    n = min(len(dataset), N_GIVEN)
    if dataset.captions is not None and dataset.caption_image is not None:
        first = _first_captions(dataset)
        rows = [row for row in range(n) if row in first]
        texts = [dataset.captions[first[row]] for row in rows]
        truth = np.arange(len(rows))
    elif dataset.labels is not None and dataset.class_names is not None:
        rows, truth = list(range(n)), dataset.labels[:n]
        texts = [prompts[0] for prompts in prompts_of(dataset).render(dataset.class_names)]
    else:
        raise NotExamined("the file has neither texts of the images nor classes")
    images = [dataset.images[row] for row in rows]
    return Pairs(
        source=f"{len(rows)} images of the file",
        is_own=True,
        truth=truth.astype(np.int64),
        image_vectors=embedder.images(images),
        text_vectors=embedder.texts(texts),
    )


def _first_captions(dataset: Dataset) -> dict[int, int]:
    """Return the row of the first caption of each image that has one."""
    assert dataset.caption_image is not None
    images, rows = np.unique(dataset.caption_image, return_index=True)
    return dict(zip(images.tolist(), rows.tolist(), strict=True))


def _encoded(
    model: Model,
    images: Sequence[Image.Image],
    texts: Sequence[str],
    truth: Int64[np.ndarray, " n_images"],
    source: str,
    *,
    is_own: bool,
) -> Pairs:
    return Pairs(
        source=source,
        is_own=is_own,
        images=images,
        texts=texts,
        truth=truth,
        image_vectors=model.encode_images(images),
        text_vectors=model.encode_texts(texts),
    )


def _readable(dataset: Dataset, rows: Sequence[int], side: int | None) -> tuple[list[int], list[Image.Image]]:
    """Return the first rows whose images can be decoded, with their images, as many as pairs need."""
    kept: dict[int, Image.Image] = {}
    for row in rows:
        if len(kept) == N_PAIRS:
            break
        try:
            kept[row] = opened(dataset.images[row], side).convert("RGB")
        except BadImage:  # the check of images counts and names them
            continue
    return list(kept), list(kept.values())
