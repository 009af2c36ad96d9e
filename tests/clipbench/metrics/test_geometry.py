"""Geometry against double loops, known values of real CLIP vectors, and influences against a numerical derivative."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipbench import arrays
from clipbench.arrays import unit
from clipbench.metrics import (
    Estimate,
    alignment,
    cone,
    cross_uniformity,
    effective_rank,
    gap_vector,
    l2i,
    modality_gap,
    pair_cosine,
    rmg,
    uniformity,
)
from clipbench.stats import influence_interval

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "clip_embeddings" / "modality_gap"

Pairs = tuple[np.ndarray, np.ndarray]


def pairs(n: int = 30, dim: int = 6, *, gap: float = 1.0, seed: int = 0) -> Pairs:
    """Unit vectors in two flat cones around different axes, each text near its image."""
    draws = np.random.default_rng(seed)
    shared, widths = draws.standard_normal((n, dim)), np.linspace(1, 0.3, dim)
    images, texts = (widths * (shared + 0.5 * draws.standard_normal((n, dim))) for _ in range(2))
    images[:, 0] += gap
    texts[:, 1] += gap
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def off_diagonal(values: list[list[float]]) -> np.ndarray:
    return np.array([value for i, row in enumerate(values) for j, value in enumerate(row) if i != j])


def cosines(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    return [[sum(float(a) * float(b) for a, b in zip(left, right, strict=True)) for right in y] for left in x]


def squared_distances(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    return [[sum((float(a) - float(b)) ** 2 for a, b in zip(left, right, strict=True)) for right in y] for left in x]


# Values against double loops ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "dim"), [(2, 3), (17, 5), (30, 40)])
def test_the_cone_is_the_mean_of_all_cosines_off_the_diagonal(n: int, dim: int) -> None:
    images, _ = pairs(n, dim)
    assert cone(images).value == pytest.approx(off_diagonal(cosines(images, images)).mean(), abs=1e-12)


@pytest.mark.parametrize("t", [0.5, 2.0])
@pytest.mark.parametrize("block_elements", [1, 70, 1 << 23])
def test_uniformity_is_the_log_mean_kernel_over_all_pairs(
    t: float, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    images, texts = pairs(17, 5)
    for found, x, y in (
        (uniformity(images, t), images, images),
        (cross_uniformity(images, texts, t), images, texts),
    ):
        expected = np.log(np.exp(-t * off_diagonal(squared_distances(x, y))).mean())
        assert found.value == pytest.approx(expected, abs=1e-12)


def test_what_is_a_mean_over_pairs_agrees_with_a_loop() -> None:
    images, texts = pairs(17, 5)
    squared = np.diag(squared_distances(images, texts))
    np.testing.assert_allclose(pair_cosine(images, texts), np.diag(cosines(images, texts)), atol=1e-13)
    np.testing.assert_allclose(l2i(images, texts), np.sqrt(squared), atol=1e-13)
    np.testing.assert_allclose(alignment(images, texts), squared, atol=1e-13)
    np.testing.assert_allclose(alignment(images, texts, 1.0), np.sqrt(squared), atol=1e-13)
    np.testing.assert_allclose(alignment(images, texts), 2 - 2 * pair_cosine(images, texts), atol=4e-7)  # length 1


def test_the_gap_is_the_distance_of_the_means() -> None:
    images, texts = pairs(17, 5)
    by_hand = np.array([sum(map(float, column)) for column in images.T]) / 17
    by_hand -= np.array([sum(map(float, column)) for column in texts.T]) / 17
    np.testing.assert_allclose(gap_vector(images, texts), by_hand, atol=1e-14)
    assert modality_gap(images, texts).value == pytest.approx(np.sqrt((by_hand**2).sum()), abs=1e-14)


def test_the_squared_gap_is_what_the_mean_cosines_say() -> None:
    """Identity: gap² = C_xx + C_yy - 2 C_xy with means over all n² cosines, the diagonal included."""
    images, texts = pairs(40, 8)
    c_xx, c_yy, c_xy = (np.mean(cosines(x, y)) for x, y in ((images, images), (texts, texts), (images, texts)))
    assert modality_gap(images, texts).value ** 2 == pytest.approx(c_xx + c_yy - 2 * c_xy, abs=1e-12)


def test_rmg_is_the_definition_in_cosines() -> None:
    images, texts = pairs(17, 5)

    def d(values: np.ndarray) -> float:
        return float((1 - values.mean()) / 2)

    matched = d(np.diag(cosines(images, texts)))
    within = (d(off_diagonal(cosines(images, images))) + d(off_diagonal(cosines(texts, texts)))) / 2
    assert rmg(images, texts).value == pytest.approx(matched / (matched + within), abs=1e-7)  # lengths are 1 ± 1e-8


def test_rmg_of_equal_modalities_counts_a_matched_distance_of_0_as_its_authors_do() -> None:
    images, _ = pairs(17, 5)
    within = (1 - off_diagonal(cosines(images, images)).mean()) / 2
    assert rmg(images, images).value == pytest.approx(1e-3 / (1e-3 + within), abs=1e-7)


@pytest.mark.parametrize(("n", "dim"), [(10, 4), (100, 12), (8, 30)])
def test_effective_rank_is_the_entropy_of_the_singular_values(n: int, dim: int) -> None:
    vectors = pairs(n, dim)[0].astype(np.float64)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    singular = singular[: min(n - 1, dim)]  # centring takes one dimension
    p = singular / singular.sum()
    assert effective_rank(pairs(n, dim)[0]).value == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)


@pytest.mark.parametrize("n_axes", [1, 3, 8])
def test_effective_rank_counts_equal_axes(n_axes: int) -> None:
    axes = np.eye(10, dtype=np.float32)[:n_axes]
    assert effective_rank(np.concatenate([axes, -axes])).value == pytest.approx(n_axes, rel=1e-12)


def test_real_vectors_have_the_known_geometry() -> None:
    if not SHARED.exists():
        pytest.skip("published CLIP vectors are not at ../shared/data")
    images, texts = (unit(side) for side in np.load(SHARED / "features_clip.npy"))
    found = [modality_gap(images, texts).value, cone(images).value, cone(texts).value]
    found.append(pair_cosine(images, texts).mean())
    assert found == pytest.approx([0.8514, 0.5315, 0.5152, 0.3099], abs=5e-5)
    images, texts = (unit(side) for side in np.load(SHARED / "features_clip_random.npy"))
    found = [modality_gap(images, texts).value, cone(images).value, cone(texts).value]
    assert found == pytest.approx([1.1361, 0.6814, 0.6635], abs=5e-5)


# Influences -----------------------------------------------------------------------------------------------------------

ESTIMATES: dict[str, Callable[[np.ndarray, np.ndarray], Estimate]] = {
    "modality_gap": modality_gap,
    "rmg": rmg,
    "cross_uniformity": cross_uniformity,
    "cone": lambda images, _: cone(images),
    "uniformity": lambda images, _: uniformity(images),
    "effective_rank": lambda images, _: effective_rank(images),
}
each_estimate = pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES.keys())


@each_estimate
def test_influences_sum_to_zero(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    influence = estimate(*pairs(50, 6)).influence
    assert influence.shape == (50,)
    assert abs(influence.sum()) < 1e-9
    assert np.abs(influence).max() > 1e-3


@each_estimate
def test_influences_are_what_leaving_one_out_changes(
    estimate: Callable[[np.ndarray, np.ndarray], Estimate],
) -> None:
    """(n - 1) (value - value without i) differs from the influence by order 1/n."""
    images, texts = pairs(400, 6)
    value, influence = estimate(images, texts)
    left_out = [value - estimate(np.delete(images, i, 0), np.delete(texts, i, 0)).value for i in range(60)]
    np.testing.assert_allclose(399 * np.array(left_out), influence[:60], atol=0.03 * np.abs(influence).max())


@each_estimate
def test_the_standard_error_is_that_of_repeated_samples(
    estimate: Callable[[np.ndarray, np.ndarray], Estimate],
) -> None:
    found = [estimate(*pairs(200, 6, seed=seed)) for seed in range(300)]
    predicted = np.mean([np.linalg.norm(influence) / len(influence) for _, influence in found])
    # 300 repeats know a standard deviation to 4 %.
    assert predicted == pytest.approx(np.std([value for value, _ in found]), rel=0.12)


@each_estimate
def test_intervals_cover_the_value_at_this_n(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    found = [estimate(*pairs(200, 6, seed=seed)) for seed in range(400)]
    centre = np.mean([value for value, _ in found])
    bounds = [influence_interval(value, influence) for value, influence in found]
    covered = np.mean([low <= centre <= high for low, high, _ in bounds if low is not None and high is not None])
    assert covered == pytest.approx(0.95, abs=0.025)


def test_the_interval_of_the_gap_covers_the_gap_of_a_population() -> None:
    population = pairs(100_000, 6, seed=99)
    truth = modality_gap(*population).value
    draws, covered = np.random.default_rng(0), []
    for _ in range(400):
        rows = draws.integers(100_000, size=200)
        low, high, _ = influence_interval(*modality_gap(population[0][rows], population[1][rows]))
        assert low is not None and high is not None
        covered.append(low <= truth <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


# Edges ----------------------------------------------------------------------------------------------------------------


def test_too_few_samples_give_nan_and_no_warning() -> None:
    for n in (0, 1):
        images, texts = pairs(2, 4)
        images, texts = images[:n], texts[:n]
        for name in ("rmg", "cross_uniformity", "cone", "uniformity", "effective_rank"):
            found = ESTIMATES[name](images, texts)
            assert np.isnan(found.value), name
            assert found.influence.shape == (n,) and np.isnan(found.influence).all(), name
    assert np.isnan(modality_gap(images[:0], texts[:0]).value)


def test_a_collapsed_model_has_a_full_cone_and_no_gap_rank_or_spread() -> None:
    constant = pairs(1, 64)[0].repeat(101, axis=0)
    assert cone(constant).value == pytest.approx(1, abs=1e-7)
    assert uniformity(constant).value == 0
    assert modality_gap(constant, constant).value == 0
    assert np.isnan(effective_rank(constant).value)
    assert np.isnan(rmg(constant, constant).value)
    for estimate in (cone(constant), uniformity(constant), modality_gap(constant, constant)):
        assert influence_interval(*estimate).low is None


def test_two_collapsed_modalities_are_all_gap() -> None:
    images, texts = (side.repeat(50, axis=0) for side in pairs(1, 8))
    assert modality_gap(images, texts).value == pytest.approx(l2i(images, texts)[0], abs=1e-12)
    assert rmg(images, texts).value == 1


def test_arguments_are_not_written_into() -> None:
    images, texts = pairs(20, 5)
    copies = images.copy(), texts.copy()
    for estimate in ESTIMATES.values():
        estimate(images, texts)
    np.testing.assert_array_equal(images, copies[0])
    np.testing.assert_array_equal(texts, copies[1])
