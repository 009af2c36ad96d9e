"""Vectors in each format against naive numpy and scikit-learn's PCA."""

import numpy as np
import pytest

from clipbench.metrics.compression import Format, compress, principal_components
from clipbench.metrics.ranking import cross_ranks
from clipbench.metrics.similarity import unit

N, DIM = 60, 24


def vectors(seed: int, n: int = N) -> np.ndarray:
    """Return unit vectors of unequal dimensions and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    return unit((rng.standard_normal((n, DIM)) * np.geomspace(3, 0.1, DIM) + 0.5).astype(np.float32))


def scores(form: Format, stored_queries: np.ndarray, queries: np.ndarray) -> np.ndarray:
    components = principal_components(stored_queries) if form.is_fitted else None
    stored_vectors, evaluation = compress(form, stored_queries, queries, components)
    return evaluation.astype(np.float64) @ stored_vectors.astype(np.float64).T


def test_first_dimensions_are_cosines_of_what_is_left() -> None:
    x, q = vectors(0), vectors(1, 5)
    x8, q8 = (result[:, :8] / np.linalg.norm(result[:, :8], axis=1, keepdims=True) for result in (x, q))
    np.testing.assert_allclose(scores(Format("first", 8), x, q), q8 @ x8.T, atol=1e-6)


def test_nothing_left_of_a_vector_scores_as_all_queries_do() -> None:
    x = np.eye(4, dtype=np.float32)
    assert scores(Format("first", 2), x, x)[3].tolist() == [0, 0, 0, 0]
    assert scores(Format("int8", 2), x, x)[:, 3].tolist() == [0, 0, 0, 0]
    assert scores(Format("binary", 2), x, x)[3].round(6).tolist() == [0, 0, 1, 1]  # 0 has the sign of what is below it


def test_components_are_those_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x, q = vectors(0), vectors(1, 5)
    model = decomposition.PCA(6, svd_solver="full").fit(x.astype(np.float64))
    restored = model.inverse_transform(model.transform(x.astype(np.float64)))
    np.testing.assert_allclose(scores(Format("pca", 6), x, q), q @ restored.T, atol=1e-6)


def test_all_components_are_the_cosines() -> None:
    x, q = vectors(0), vectors(1, 5)
    np.testing.assert_allclose(scores(Format("pca", DIM), x, q), q @ x.T, atol=1e-6)


def test_float16_has_eleven_significant_bits() -> None:
    x, q = vectors(0), vectors(1, 5)
    stored_vectors, stored_queries = compress(Format("float16", DIM), x, q)
    _, exponent = np.frexp(x.astype(np.float64))
    exponent = np.maximum(exponent, -13)  # below 2**-14 steps stay as large as there
    np.testing.assert_array_equal(
        stored_vectors, np.ldexp(np.rint(np.ldexp(x.astype(np.float64), 11 - exponent)), exponent - 11)
    )
    np.testing.assert_array_equal(stored_queries, q)


def test_int8_has_a_scale_for_each_dimension_and_errs_little_more_than_codes_from_the_lowest_to_the_highest() -> None:
    x, q = vectors(0), vectors(1, 5)
    stored_vectors, stored_queries = compress(Format("int8", DIM), x, q)
    scales = np.abs(x).max(axis=0) / 127
    codes = stored_vectors / scales
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
    assert np.abs(codes).max() == pytest.approx(127) and (np.abs(stored_vectors - x) <= scales / 2 + 1e-7).all()
    np.testing.assert_array_equal(stored_queries, q)  # queries are not stored
    low, step = x.min(axis=0), np.ptp(x, axis=0) / 255
    error_of_range = np.abs(low + np.rint((x - low) / step) * step - x).mean()
    assert np.abs(stored_vectors - x).mean() < 2 * error_of_range


def test_int8_of_components_is_the_components_rounded() -> None:
    x, q = vectors(0), vectors(1, 5)
    mean, axes = principal_components(x)
    z = (x - mean) @ axes[:, :6]
    scales = np.abs(z).max(axis=0) / 127
    restored = mean + np.rint(z / scales) * scales @ axes[:, :6].T
    np.testing.assert_allclose(scores(Format("pca_int8", 6), x, q), q @ restored.T, atol=1e-6)


@pytest.mark.parametrize("k", [8, 13, DIM])
def test_signs_rank_as_hamming_distances_and_tie_with_them(k: int) -> None:
    x, q = vectors(0), vectors(1, 5)
    hamming = np.array(
        [[sum((a > 0) != (b > 0) for a, b in zip(one[:k], other[:k], strict=True)) for other in x] for one in q]
    )
    result = scores(Format("binary", k), x, q)
    np.testing.assert_allclose(result, 1 - 2 * hamming / k, atol=1e-6)
    assert all(len(set(of_query[hamming[n] == h])) <= 1 for n, of_query in enumerate(result) for h in range(k + 1))


def test_a_constant_model_ties_with_all_in_every_format() -> None:
    x = np.repeat(vectors(0, 1), 20, axis=0)
    components = principal_components(x)
    for form in (Format(kind, 8) for kind in ("first", "pca", "float16", "int8", "pca_int8", "binary")):
        ranks, _ = cross_ranks(*compress(form, x, x, components), np.arange(20))
        assert (ranks.tied == 19).all() and (ranks.better == 0).all(), form
