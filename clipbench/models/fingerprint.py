"""Hashes that are equal in every process and on every machine, and the probes: a few fixed images and texts, whose
vectors are part of a model's fingerprint (design/fingerprint.md).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from clipbench.errors import VectorError
from clipbench.metrics.similarity import Vectors
from clipbench.untrusted.reading import open_file

TEXTS = ("a photo of a dog", "two red cubes on a table", "the sea at night")
SIZES = ((64, 64), (96, 64), (64, 128))
DECIMALS = 3
"""Digits of a cosine and of a norm that count: threads change the seventh, other weights the first."""

Encode = Callable[[list[Any]], np.ndarray]


def digest(*parts: object) -> str:
    """Return 32 hex digits that stand for the texts of some parts, in order.

    Example:
        >>> digest("ab", "c") == digest("a", "bc")
        False
    """
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = str(part).encode()
        hasher.update(f"{len(encoded)} ".encode() + encoded)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return 128 hex digits that stand for the content of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def array_digest(array: np.ndarray) -> str:
    """Return 32 hex digits of an array's type, shape and content."""
    contiguous = np.ascontiguousarray(array)
    hasher = hashlib.blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=16)
    hasher.update(contiguous.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


# -- probes


class Probes(NamedTuple):
    """The raw vectors that a model gives the probes, each kind in one call."""

    images: Float32[np.ndarray, "3 dim"]
    texts: Float32[np.ndarray, "3 dim"]


def encode_probes(encode_images: Encode, encode_texts: Encode) -> Probes:
    """Return the vectors of the probes."""
    return Probes(encode_images(probe_images()), encode_texts(list(TEXTS)))


def unusable_rows(vectors: Vectors) -> Bool[np.ndarray, " n"]:
    """Return which vectors are zero or not finite."""
    return ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)


def check_vectors(vectors: Vectors, model: str) -> None:
    """Raise VectorError where a model gave a fixed input a vector that is zero or not finite."""
    if unusable_rows(vectors).any():
        raise VectorError(
            f"{model} gave a vector that is zero or not finite for a fixed input: nothing can be measured"
        )


def coarse_digest(probes: Probes) -> str:
    """Return a hash of the first digits of the probes' norms and cosines, equal for all threads and machines."""
    vectors = np.concatenate(probes).astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a zero or infinite vector is reported where it is stored
        units = vectors / norms[:, None]
        cosines = (units @ units.T)[np.triu_indices(len(units), 1)]
    parts = [f"{norm:.{DECIMALS - 1}e}" for norm in norms]
    return digest(*parts, *(f"{cosine + 0.0:.{DECIMALS}f}".replace("-0.000", "0.000") for cosine in cosines))


def probe_images() -> list[Image.Image]:
    """Return the same RGB images in every process and on every machine."""
    images = []
    for k, (width, height) in enumerate(SIZES):
        y, x, channel = np.indices((height, width, 3))
        waves = (x * (3 + k) + y * (5 - k) * (channel + 1) + x * y // 16) % 256
        images.append(Image.fromarray(waves.astype(np.uint8)))
    return images
