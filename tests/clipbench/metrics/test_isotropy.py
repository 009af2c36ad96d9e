"""Effective rank, participation ratio and IsoScore against their definitions, on random and on real vectors."""

from collections.abc import Callable

import numpy as np
import pytest

from clipbench.metrics.similarity import unit
from clipbench.metrics.spread import effective_rank, isoscore, participation_ratio
from tests.made import published_vectors


def random_vectors(n: int, dim: int) -> np.ndarray:
    widths = np.linspace(1, 0.3, dim)
    return unit((widths * np.random.default_rng(n).standard_normal((n, dim)) + 0.5).astype(np.float32))


def real_vectors(name: str, modality: int) -> np.ndarray:
    """The first 100 components, so that there are more vectors than dimensions."""
    return unit(published_vectors(name)[modality][:, :100])


def naive_isoscore(vectors: np.ndarray) -> float:
    """The paper's steps: principal components, their variances, at the length of isotropic ones, and how far from
    them.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    variances = (centred @ axes.T).var(axis=0, ddof=1)
    n = len(variances)
    normed = np.sqrt(n) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normed - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    share = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    return float((n * share - 1) / (n - 1))


def naive_effective_rank(vectors: np.ndarray) -> float:
    singular = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64), compute_uv=False)
    singular = singular[: min(len(vectors) - 1, vectors.shape[1])]  # centring takes one dimension
    p = singular / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def naive_participation_ratio(vectors: np.ndarray) -> float:
    eigenvalues = np.linalg.eigvalsh(np.cov(vectors.astype(np.float64).T))
    return float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


Measure = Callable[[np.ndarray], float]
MEASURES: dict[Measure, Callable[[np.ndarray], float]] = {
    effective_rank: naive_effective_rank,
    participation_ratio: naive_participation_ratio,
    isoscore: naive_isoscore,
}
each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)


@each_measure
@pytest.mark.parametrize(("n", "dim"), [(10, 4), (100, 12), (8, 30), (3, 2)])
def test_random_vectors_have_what_the_definition_says(measure: Measure, n: int, dim: int) -> None:
    vectors = random_vectors(n, dim)
    assert measure(vectors) == pytest.approx(MEASURES[measure](vectors), rel=1e-9)


@each_measure
@pytest.mark.parametrize("name", ["features_clip", "features_clip_random"])
@pytest.mark.parametrize("modality", [0, 1])
def test_real_vectors_have_what_the_definition_says(measure: Measure, name: str, modality: int) -> None:
    vectors = real_vectors(name, modality)
    assert measure(vectors) == pytest.approx(MEASURES[measure](vectors), rel=1e-9)


@pytest.mark.parametrize("n_axes", [1, 3, 8])
def test_equal_axes_are_counted(n_axes: int) -> None:
    axes = np.eye(10, dtype=np.float32)[:n_axes]
    vectors = np.concatenate([axes, -axes])
    assert effective_rank(vectors) == pytest.approx(n_axes, rel=1e-12)
    assert participation_ratio(vectors) == pytest.approx(n_axes, rel=1e-12)
    assert isoscore(vectors) == pytest.approx((n_axes - 1) / 9, abs=1e-12)
