"""Images and texts that belong together: the separation of true pairs, and whether one other setting increases it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from PIL import Image

from clipbench.data import DataOptions, prompts_of
from clipbench.data.dataset import Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.images import open_image
from clipbench.errors import BadImage
from clipbench.metrics.similarity import unit
from clipbench.models.introspection.preprocessing import limit_size
from clipbench.models.introspection.variants import Variant
from clipbench.models.protocol import Embedder, Model
from clipbench.seeding import generator
from clipbench.stats.intervals import Interval, mean_interval

N_PAIRS = 64
"""Images that pairs are encoded of."""
N_MORE_PAIRS = 512
"""Images of the user's data where the first pairs do not decide."""
N_VECTOR_PAIRS = 1_000
"""Images of given vectors that are looked at, from the first on: only neighbours show that rows are shifted."""
MIN_PAIRS = 16
"""Fewer pairs, which a weak model may miss, show nothing."""
USEFUL = 0.4
"""Mean margin below which a model finds hardly anything: the right one of 64 texts is first in about 1 of 25 cases."""
LEAST_GAIN = 0.1
"""Share by which the mean margin must grow: small gains on a few images are the images', not the setting's."""
LEAST_T = 4.0
"""Mean gain in standard errors: by chance above it once in 10,000 at 64 pairs."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Images, texts, and which text is true of which image."""

    source: str
    """The source of both, for messages: ``64 generated scenes``."""
    is_own: bool
    """True for the user's data."""
    images: Sequence[Image.Image] = ()
    texts: Sequence[str] = ()
    truth: Int64[np.ndarray, " n_images"]
    """Row of each image's text."""
    image_vectors: Float[np.ndarray, "n_images dim"]
    text_vectors: Float[np.ndarray, "n_texts dim"]

    @property
    def cosines(self) -> Float64[np.ndarray, "n_images n_texts"]:
        """Cosines of all images with all texts."""
        return unit(self.image_vectors).astype(np.float64) @ unit(self.text_vectors).astype(np.float64).T

    @property
    def is_other(self) -> Bool[np.ndarray, "n_images n_texts"]:
        """Whether each text is not the true one of each image."""
        return self.truth[:, None] != np.arange(len(self.text_vectors))

    def unrelated_cosine(self) -> float:
        """Return the mean cosine of images with the texts of other images."""
        return float(self.cosines[self.is_other].mean())

    def margins(self) -> Float64[np.ndarray, " n_images"]:
        """Return the distance of each image's true text above the mean of the other texts, in standard deviations.

        Example:
            >>> x = np.eye(4, dtype=np.float32)
            >>> pairs = Pairs(source="four", is_own=True, truth=np.arange(4), image_vectors=x, text_vectors=x)
            >>> pairs.margins().tolist() == replace(pairs, image_vectors=3 * x).margins().tolist()
            True
        """
        cosines, is_other = self.cosines, self.is_other
        true_cosines = cosines[np.arange(len(cosines)), self.truth]
        other_means = (cosines.sum(axis=1) - true_cosines) / max(cosines.shape[1] - 1, 1)
        spread = float((cosines - other_means[:, None])[is_other].std()) if is_other.any() else 0.0
        return (true_cosines - other_means) / spread if spread > 0 else np.zeros(len(true_cosines))


def pair_separation(pairs: Pairs) -> tuple[float, Interval]:
    """Return the distance of true pairs above shuffled ones, in standard deviations of those, with the 95 % interval.

    The means of its image and of its text are subtracted from each cosine, so that hubs and a gap count for nothing,
    and random pairs are at 0. Images with one text, such as the prompt of their class, are one cluster.
    """
    cosines, is_other = pairs.cosines, pairs.is_other
    for axis in (1, 0):
        sums = np.where(is_other, cosines, 0.0).sum(axis=axis, keepdims=True)
        cosines = cosines - sums / np.maximum(is_other.sum(axis=axis, keepdims=True), 1)
    n_free = int(is_other.sum()) - sum(cosines.shape) + 1  # a mean was taken out of each row and column
    spread = math.sqrt(float((cosines[is_other] ** 2).sum()) / max(1, n_free))
    excess = cosines[np.arange(len(cosines)), pairs.truth] / (spread or 1.0)
    value, squares = float(excess.mean()), np.where(is_other, cosines**2, 0.0)
    # The unit of a value far from 0 is as uncertain as its mean: what each pair adds to the spread counts, too.
    rows, columns = (squares.sum(axis=axis) / np.maximum(is_other.sum(axis=axis), 1) for axis in (1, 0))
    n_images = np.bincount(pairs.truth, minlength=len(columns))[pairs.truth]
    of_spread = (rows - rows.mean()) + (columns - columns.mean())[pairs.truth] * len(rows) / len(columns) / n_images
    influence = excess - value - value / 2 * of_spread / (spread**2 or 1.0)
    return value, mean_interval(value + influence - influence.mean(), clusters=pairs.truth, within=None)


def variant_improves(pairs: Pairs, variant: Variant) -> tuple[bool, str]:
    """Return whether true pairs score clearly higher with one setting of the model changed.

    The text gives both mean margins, for a message.
    """
    images = variant.encode_images(pairs.images) if "images" in variant.changes else pairs.image_vectors
    texts = variant.encode_texts(pairs.texts) if "texts" in variant.changes else pairs.text_vectors
    return compare_margins(pairs, replace(pairs, image_vectors=images, text_vectors=texts))


def compare_margins(pairs: Pairs, changed: Pairs) -> tuple[bool, str]:
    """Return whether the true pairs score clearly higher with other vectors, and both mean margins as text."""
    before, after = pairs.margins(), changed.margins()
    gains = after - before
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    t = 0.0
    if error > 0:
        t = float(gains.mean()) / error
    elif gains.any():  # all gains are equal
        t = math.copysign(math.inf, gains.mean())
    old, new = float(np.mean(before)), float(np.mean(after))
    is_better = new > 0 and new - old > LEAST_GAIN * abs(old) and t > LEAST_T
    return is_better, f"true pairs score {new:.2f} standard deviations above shuffled ones, now {old:.2f}"


def scene_pairs(model: Model) -> Pairs:
    """Return generated images with their captions, drawn at the size of the model's input."""
    dataset = load_data("scenes", DataOptions(options={"n": str(N_PAIRS)}))
    assert dataset.captions is not None
    images = [open_image(ref, model.info.image_size).convert("RGB") for ref in dataset.images]
    return Pairs(
        source=f"{N_PAIRS} generated scenes",
        is_own=False,
        images=images,
        texts=dataset.captions,
        truth=np.arange(N_PAIRS),
        image_vectors=model.encode_images(images),
        text_vectors=model.encode_texts(list(dataset.captions)),
    )


def user_pairs(dataset: Dataset, model: Model, seed: int, *, n: int = N_PAIRS) -> Pairs | None:
    """Return a sample of the user's images with captions, or with prompts of their classes, or None without either."""
    order = generator(seed, "doctor", "sample").permutation(len(dataset)).tolist()
    return _pairs_of_rows(dataset, model, order, n)


def first_pairs(dataset: Dataset, model: Model) -> Pairs | None:
    """Return the first of the user's images with their texts, as only neighbours show that rows are shifted."""
    return _pairs_of_rows(dataset, model, list(range(len(dataset))), N_PAIRS)


def _pairs_of_rows(dataset: Dataset, model: Model, order: list[int], n: int) -> Pairs | None:
    rows, texts, truth = _texts(dataset, order)
    images: dict[int, Image.Image] = {}
    for position, row in enumerate(rows):
        if len(images) == n:
            break
        try:
            image = open_image(dataset.images[row], model.info.image_size)
            resized = limit_size(image, model.preprocess, model.info.image_size, dataset.images[row].name)
            images[position] = resized.convert("RGB")
        except BadImage:  # the check of images counts and names them
            continue
    text_rows, truth = np.unique(truth[list(images)], return_inverse=True)
    texts = [texts[row] for row in text_rows]
    if len(images) < MIN_PAIRS or len(set(texts)) < 2:
        return None
    opened_images = list(images.values())
    return Pairs(
        source=f"{len(images)} images of {dataset.id}",
        is_own=True,
        images=opened_images,
        texts=texts,
        truth=truth.astype(np.int64),
        image_vectors=model.encode_images(opened_images),
        text_vectors=model.encode_texts(texts),
    )


def vector_file_pairs(embedder: Embedder) -> Pairs | None:
    """Return the first rows of a vector file with their texts, or with their classes, or None without either."""
    dataset = embedder.dataset
    assert dataset is not None
    rows, texts, truth = _texts(dataset, range(min(len(dataset), N_VECTOR_PAIRS)))
    if not texts:
        return None
    return Pairs(
        source=f"{len(rows)} images of the file",
        is_own=True,
        truth=truth,
        image_vectors=embedder.images([dataset.images[row] for row in rows]),
        text_vectors=embedder.texts(texts),
    )


def _texts(dataset: Dataset, rows: Sequence[int]) -> tuple[Sequence[int], list[str], Int64[np.ndarray, " n"]]:
    """Return the rows that have a text, the texts (first captions, or prompts of all classes), and each row's text."""
    if dataset.captions is not None and dataset.caption_image is not None:
        images, caption_rows = np.unique(dataset.caption_image, return_index=True)
        first = dict(zip(images.tolist(), caption_rows.tolist(), strict=True))
        rows = [row for row in rows if row in first]
        return rows, [dataset.captions[first[row]] for row in rows], np.arange(len(rows))
    if dataset.labels is not None and dataset.class_names is not None:
        prompts = prompts_of(dataset).render(dataset.class_names)
        return rows, [of_class[0] for of_class in prompts], dataset.labels[list(rows)].astype(np.int64)
    return (), [], np.empty(0, np.int64)
