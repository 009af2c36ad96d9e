"""Vectors of length 1, and scores whose ties are real."""

import operator
from fractions import Fraction

import numpy as np
import pytest

from clipbench.errors import VectorError
from clipbench.metrics import similarity as arrays
from clipbench.metrics._search import tiles
from clipbench.metrics.similarity import dot_blocks, product_error, score_blocks, scores_of_pairs, unit, unscaled

SHAPES = [(40, 3), (40, 64), (30, 513), (20, 2048)]


def random_vectors(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def all_scores(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    return np.concatenate([scores for _, scores in score_blocks(queries, gallery)])


def exact_scores(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Dot products in Python's whole numbers, rounded to float32 once."""
    left, right = ([[int(value * 2**26) for value in row] for row in side.tolist()] for side in (queries, gallery))
    exact = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in right] for x in left]
    return np.array([[np.float32(dot / 2**52) for dot in row] for row in exact])


@pytest.mark.parametrize(("n", "dim"), SHAPES)
def test_unit_vectors_have_length_1(n: int, dim: int) -> None:
    lengths = np.linalg.norm(unit(random_vectors(n, dim)).astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-7)


@pytest.mark.parametrize(("n", "dim"), SHAPES)
@pytest.mark.parametrize("block_components", [1, 1000, 1 << 17])
def test_unit_in_blocks_is_unit_of_the_whole_bit_for_bit(
    n: int, dim: int, block_components: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_COMPONENTS", block_components)
    vectors = random_vectors(n, dim)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    expected = np.rint(vectors * (2.0**26 / lengths)[:, None]) / 2.0**26
    np.testing.assert_array_equal(unit(vectors), expected.astype(np.float32))


@pytest.mark.parametrize(("n", "dim"), SHAPES[:2])
def test_products_of_unscaled_vectors_of_any_length_are_exact(n: int, dim: int) -> None:
    vectors = random_vectors(n, dim) * np.logspace(-9, 9, n, dtype=np.float32)[:, None]
    products = unscaled(vectors)
    assert (
        np.abs(products - vectors).max(axis=1) <= np.linalg.norm(vectors.astype(np.float64), axis=1) * 2.0**-26
    ).all()
    rows = [[Fraction(float(value)) for value in row] for row in products]
    exact = np.array([[float(sum(map(operator.mul, x, y))) for y in rows] for x in rows])
    for order in (np.arange(dim), np.arange(dim)[::-1]):
        np.testing.assert_array_equal(
            products[:, order].astype(np.float64) @ products[:, order].astype(np.float64).T, exact
        )


@pytest.mark.parametrize("size", [2.0**-100, 2.0**100])
def test_unit_takes_lengths_beyond_what_float32_can_square(size: float) -> None:
    vectors = np.array([[3, -4], [0, 2]], np.float32) * np.float32(size)
    np.testing.assert_array_equal(unit(vectors), np.array([[0.6, -0.8], [0, 1]], np.float32))


@pytest.mark.parametrize(("value", "length"), [(0, "0.0"), (np.nan, "nan"), (np.inf, "inf"), (-np.inf, "inf")])
def test_unit_refuses_a_vector_without_a_direction(value: float, length: str) -> None:
    vectors = random_vectors(5, 4)
    vectors[3] = value
    with pytest.raises(VectorError, match=f"vector 3 has length {length}: expected a finite one above 0"):
        unit(vectors)


@pytest.mark.parametrize(("n", "dim"), SHAPES)
def test_scores_are_exact_dot_products_rounded_once(n: int, dim: int) -> None:
    images, texts = unit(random_vectors(n, dim)), unit(random_vectors(n // 2, dim, seed=1))
    np.testing.assert_array_equal(all_scores(images, texts), exact_scores(images, texts))


def test_scores_do_not_depend_on_the_order_of_the_sum() -> None:
    images, texts = unit(random_vectors(200, 512)), unit(random_vectors(300, 512, seed=1))
    order = np.random.default_rng(2).permutation(512)
    forward = np.concatenate([dots for _, dots in dot_blocks(images, texts)])
    shuffled = np.concatenate([dots for _, dots in dot_blocks(images[:, order], texts[:, order])])
    np.testing.assert_array_equal(forward, shuffled)


@pytest.mark.parametrize("block_elements", [1, 100, 1000, 10**6])
def test_blocks_cover_all_rows_and_do_not_change_scores(block_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = unit(random_vectors(70, 40)), unit(random_vectors(30, 40, seed=1))
    expected = all_scores(images, texts)
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    covered = np.zeros(70, np.int64)
    for rows, scores in score_blocks(images, texts):
        assert scores.size <= max(block_elements, 30)
        np.testing.assert_array_equal(scores, expected[rows])
        covered[rows] += 1
    assert (covered == 1).all()


def test_equal_vectors_have_equal_scores_wherever_they_stand() -> None:
    texts = unit(random_vectors(1001, 96))
    texts[1::2] = texts[0]
    scores = all_scores(unit(random_vectors(37, 96, seed=1)), texts)
    assert (scores[:, 1::2] == scores[:, :1]).all()


@pytest.mark.parametrize("dim", [1, 7, 64, 1000])
@pytest.mark.parametrize("length", [1.0, 30.0])
def test_products_differ_from_scores_by_no_more_than_their_error(dim: int, length: float) -> None:
    draws = np.random.default_rng(dim)
    near = unit((1 + 0.01 * draws.standard_normal((40, dim))).astype(np.float32))  # sums whose terms have one sign
    vectors = np.concatenate([near, unit(draws.standard_normal((200, dim)).astype(np.float32))]) * np.float32(length)
    error, worst = product_error(vectors, vectors), 0.0
    for rows, columns in tiles(len(vectors), len(vectors)):
        products = vectors[rows] @ vectors[columns].T
        scores = (vectors[rows].astype(np.float64) @ vectors[columns].astype(np.float64).T).astype(np.float32)
        worst = max(worst, float(np.abs(products.astype(np.float64) - scores).max()))
    assert worst <= error < 1e-4 * length**2


def test_scores_of_pairs_are_those_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "PAIRS_AT_ONCE", 7)
    left, right = (unit(np.random.default_rng(k).standard_normal((30, 9)).astype(np.float32)) for k in range(2))
    rows, columns = (np.random.default_rng(k).integers(30, size=50) for k in (2, 3))
    ((_, scores),) = score_blocks(left, right)
    np.testing.assert_array_equal(scores_of_pairs(left, right, (rows, columns)), scores[rows, columns])
