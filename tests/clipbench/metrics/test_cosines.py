"""Distributions of cosines against the whole matrix and numpy's histogram."""

import numpy as np
import pytest

from clipbench.errors import DataError
from clipbench.metrics import similarity as arrays
from clipbench.metrics.similarity import unit
from clipbench.metrics.spread import cosine_counts, cosine_histogram
from tests.made import published_vectors


def pairs(source: str) -> tuple[np.ndarray, np.ndarray]:
    if source == "random":
        images, texts = np.random.default_rng(0).standard_normal((2, 60, 8)).astype(np.float32)
        return unit(images), unit(texts)
    return published_vectors(source)


@pytest.mark.parametrize("source", ["random", "features_clip", "features_clip_random"])
def test_counts_are_those_of_the_whole_matrix_without_its_diagonal(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts = pairs(source)
    n, edges = len(images), np.linspace(-1, 1, 201)
    off = ~np.eye(n, dtype=bool)
    x, y = images.astype(np.float64), texts.astype(np.float64)
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", 7 * n)
    counts = cosine_counts(images, texts)
    for kind, matrix in {"image": x @ x.T, "text": y @ y.T, "cross": x @ y.T}.items():
        np.testing.assert_array_equal(counts[kind], np.histogram(matrix[off], edges)[0], kind)
        assert counts[kind].sum() == n * (n - 1)
    np.testing.assert_array_equal(cosine_histogram(np.diag(x @ y.T)), np.histogram(np.diag(x @ y.T), edges)[0])


def test_a_cosine_beyond_1_by_rounding_counts_in_the_last_bin() -> None:
    counts = cosine_histogram(np.array([1 + 1e-7, 1.0, -1.0, -1 - 1e-7]))
    assert (counts[0], counts[-1], counts.sum()) == (2, 2, 4)


def test_unequal_counts_are_refused() -> None:
    images, texts = pairs("random")
    with pytest.raises(DataError, match="60 image embeddings and 1 text embeddings"):
        cosine_counts(images, texts[:1])
