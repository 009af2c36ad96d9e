"""Geometry against double loops, known values of real CLIP vectors, and influences against a numerical derivative."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from clipbench.errors import DataError
from clipbench.metrics import similarity as arrays
from clipbench.metrics.geometry import Estimate, gap_vector, modality_gap, pair_cosine, pair_geometry, relative_gaps
from clipbench.metrics.similarity import unit
from clipbench.metrics.spread import cross_uniformity, uniformity
from clipbench.stats.intervals import influence_interval
from tests.made import published_vectors

Pairs = tuple[np.ndarray, np.ndarray]


@cache
def pairs(n: int = 30, dim: int = 6, *, gap: float = 1.0, seed: int = 0) -> Pairs:
    """Unit vectors in two flat cones around different axes, each text near its image."""
    draws = np.random.default_rng(seed)
    shared, widths = draws.standard_normal((n, dim)), np.linspace(1, 0.3, dim)
    images, texts = (widths * (shared + 0.5 * draws.standard_normal((n, dim))) for _ in range(2))
    images[:, 0] += gap
    texts[:, 1] += gap
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def cone(vectors: np.ndarray) -> Estimate:
    return pair_geometry(vectors, vectors).image_cone


def cross_cosine(images: np.ndarray, texts: np.ndarray) -> Estimate:
    return pair_geometry(images, texts).cross_cosine


def rmg(images: np.ndarray, texts: np.ndarray) -> Estimate:
    return relative_gaps(images, texts)[0]


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


@pytest.mark.parametrize(("n", "dim"), [(2, 3), (17, 5), (30, 40)])
def test_the_cross_cosine_is_the_mean_of_all_cosines_with_another_s_text(n: int, dim: int) -> None:
    images, texts = pairs(n, dim)
    assert cross_cosine(images, texts).value == pytest.approx(off_diagonal(cosines(images, texts)).mean(), abs=1e-12)


@pytest.mark.parametrize("t", [0.5, 2.0])
@pytest.mark.parametrize("block_elements", [1, 70, 1 << 23])
def test_uniformity_is_the_log_mean_kernel_over_all_pairs(
    t: float, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    images, texts = pairs(17, 5)
    for result, x, y in ((uniformity(images, t), images, images), (cross_uniformity(images, texts, t), images, texts)):
        expected = np.log(np.exp(-t * off_diagonal(squared_distances(x, y))).mean())
        assert result.value == pytest.approx(expected, abs=1e-12)


def test_what_is_a_mean_over_pairs_agrees_with_a_loop() -> None:
    images, texts = pairs(17, 5)
    squared = np.diag(squared_distances(images, texts))
    np.testing.assert_allclose(pair_cosine(images, texts), np.diag(cosines(images, texts)), atol=1e-13)
    geometry = pair_geometry(images, texts)
    np.testing.assert_allclose(geometry.l2i, np.sqrt(squared), atol=1e-13)
    np.testing.assert_allclose(geometry.alignment, squared, atol=1e-13)
    np.testing.assert_allclose(geometry.alignment, 2 - 2 * pair_cosine(images, texts), atol=4e-7)  # length 1


def test_the_gap_is_the_distance_of_the_means() -> None:
    images, texts = pairs(17, 5)
    by_hand = np.array([sum(map(float, column)) for column in images.T]) / 17
    by_hand -= np.array([sum(map(float, column)) for column in texts.T]) / 17
    np.testing.assert_allclose(gap_vector(images, texts), by_hand, atol=1e-14)
    assert modality_gap(images, texts) == pytest.approx(np.sqrt((by_hand**2).sum()), abs=1e-14)


def test_the_squared_gap_is_what_the_mean_cosines_say() -> None:
    """Identity: gap² = C_xx + C_yy - 2 C_xy with means over all n² cosines, the diagonal included."""
    images, texts = pairs(40, 8)
    c_xx, c_yy, c_xy = (np.mean(cosines(x, y)) for x, y in ((images, images), (texts, texts), (images, texts)))
    assert modality_gap(images, texts) ** 2 == pytest.approx(c_xx + c_yy - 2 * c_xy, abs=1e-12)


def test_rmg_is_the_definition_in_cosines() -> None:
    images, texts = pairs(17, 5)

    def d(values: np.ndarray) -> float:
        return float((1 - values.mean()) / 2)

    matched = d(np.diag(cosines(images, texts)))
    within = (d(off_diagonal(cosines(images, images))) + d(off_diagonal(cosines(texts, texts)))) / 2
    assert rmg(images, texts).value == pytest.approx(matched / (matched + within), abs=1e-7)  # lengths are 1 ± 1e-8


OWNERS = np.array([2, 0, 0, 1, 2, 3, 2, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12])


def test_rmg_of_several_texts_an_image_is_what_its_authors_code_computes() -> None:
    """m over all texts, each with its image; D_text over all texts, those of one image among them."""
    images, texts = pairs(17, 5)
    images = images[:13]
    matched = np.mean(
        [(1 - float(images[owner].astype(float) @ text)) / 2 for owner, text in zip(OWNERS, texts, strict=True)]
    )
    d_image = (1 - off_diagonal(cosines(images, images)).mean()) / 2
    d_text = (1 - off_diagonal(cosines(texts, texts)).mean()) / 2
    gaps = relative_gaps(images, texts, OWNERS)
    assert gaps[0].value == pytest.approx(matched / (matched + (d_image + d_text) / 2), abs=1e-7)
    assert gaps[1].value == pytest.approx(matched / (matched + d_image + d_text), abs=1e-7)


def test_influences_of_images_with_several_texts_are_the_derivatives_by_their_weights() -> None:
    """The factor n / (n - 1) is that of the sample: weights do not move it."""
    images, texts = pairs(17, 5)
    images = images[:13]
    n_copies = 2000
    centre = naive_weighted_rmg(images, texts, OWNERS, np.full(13, 1.0))
    influence = relative_gaps(images, texts, OWNERS)[0].influence
    for image in range(13):
        weights = np.ones(13)
        weights[image] += 1 / n_copies
        slope = (naive_weighted_rmg(images, texts, OWNERS, weights) - centre) * n_copies * 13
        assert slope == pytest.approx(influence[image], abs=2e-3)
    assert abs(influence.sum()) < 1e-12


def naive_weighted_rmg(images: np.ndarray, texts: np.ndarray, owners: np.ndarray, weights: np.ndarray) -> float:
    """RMG with weighted images, each with its texts; within, the weighted mean over all n² pairs times n / (n - 1)."""

    def within(vectors: np.ndarray, w: np.ndarray) -> float:
        d = (1 - np.array(cosines(vectors, vectors))) / 2
        return float(w @ d @ w / w.sum() ** 2) * len(w) / (len(w) - 1)

    of_text = weights[owners]
    matched = (1 - np.einsum("ij,ij->i", images[owners].astype(float), texts)) / 2
    m = float(of_text @ matched / of_text.sum())
    return m / (m + (within(images, weights) + within(texts, of_text)) / 2)


@pytest.mark.parametrize("block_components", [1, 40])
def test_measures_do_not_depend_on_blocks(block_components: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = pairs(33, 6)
    expected = pair_geometry(images, texts)
    monkeypatch.setattr(arrays, "BLOCK_COMPONENTS", block_components)
    geometry = pair_geometry(images, texts)
    for name in geometry._fields:
        for one, other in zip(_parts(getattr(geometry, name)), _parts(getattr(expected, name)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-13, err_msg=name)


def _parts(values: Estimate | np.ndarray) -> tuple[float | np.ndarray, ...]:
    return tuple(values) if isinstance(values, Estimate) else (values,)


def test_rmg_of_equal_modalities_counts_a_matched_distance_of_0_as_its_authors_do() -> None:
    images, _ = pairs(17, 5)
    within = (1 - off_diagonal(cosines(images, images)).mean()) / 2
    assert rmg(images, images).value == pytest.approx(1e-3 / (1e-3 + within), abs=1e-7)


@pytest.mark.parametrize(
    ("name", "known"),
    [("features_clip", [0.8514, 0.5315, 0.5152, 0.3099]), ("features_clip_random", [1.1361, 0.6814, 0.6635])],
)
def test_real_vectors_have_the_known_geometry(name: str, known: list[float]) -> None:
    images, texts = published_vectors(name)
    result = [modality_gap(images, texts), cone(images).value, cone(texts).value]
    result.append(pair_cosine(images, texts).mean())
    assert result[: len(known)] == pytest.approx(known, abs=5e-5)


@pytest.mark.parametrize("name", ["features_clip", "features_clip_random"])
def test_real_vectors_have_what_the_matrices_of_their_cosines_say(name: str) -> None:
    """All n² cosines of vectors at length 1, and means over them, in plain numpy."""
    images, texts = published_vectors(name)
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (images.astype(float), texts.astype(float)))
    xx, yy, xy = x @ x.T, y @ y.T, x @ y.T
    off = ~np.eye(500, dtype=bool)
    within = [(1 - metric[off].mean()) / 2 for metric in (xx, yy)]
    matched = (1 - np.diag(xy).mean()) / 2
    geometry = pair_geometry(images, texts)
    expected = {
        "image_cone": xx[off].mean(),
        "text_cone": yy[off].mean(),
        "cross_cosine": xy[off].mean(),
        "rmg": matched / (matched + sum(within) / 2),
        "rmg_unhalved": matched / (matched + sum(within)),
    }
    for measure, value in expected.items():
        assert getattr(geometry, measure).value == pytest.approx(value, abs=1e-8), measure
    assert geometry.modality_gap.value**2 == pytest.approx(xx.mean() + yy.mean() - 2 * xy.mean(), abs=1e-8)
    np.testing.assert_allclose(geometry.pair_cosine, np.diag(xy), atol=1e-7)
    np.testing.assert_allclose(geometry.l2i, np.linalg.norm(x - y, axis=1), atol=1e-7)
    np.testing.assert_allclose(geometry.alignment, 2 - 2 * np.diag(xy), atol=1e-7)
    kernel = {"image": np.exp(2 * (2 * xx - 2)), "text": np.exp(2 * (2 * yy - 2)), "cross": np.exp(2 * (2 * xy - 2))}
    logs = {kind: np.log(metric[off].mean()) for kind, metric in kernel.items()}
    uniformities = {"image": uniformity(images), "text": uniformity(texts), "cross": cross_uniformity(images, texts)}
    assert {kind: metric.value for kind, metric in uniformities.items()} == pytest.approx(logs, abs=1e-7)


# Influences -----------------------------------------------------------------------------------------------------------

ESTIMATES: dict[str, Callable[[np.ndarray, np.ndarray], Estimate]] = {
    "modality_gap": lambda images, texts: pair_geometry(images, texts).modality_gap,
    "rmg": rmg,
    "cross_uniformity": cross_uniformity,
    "rmg_unhalved": lambda images, texts: relative_gaps(images, texts)[1],
    "cross_cosine": cross_cosine,
    "cone": lambda images, _: cone(images),
    "uniformity": lambda images, _: uniformity(images),
}
each_estimate = pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES.keys())


@each_estimate
def test_influences_sum_to_zero(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    influence = estimate(*pairs(50, 6)).influence
    assert influence.shape == (50,)
    assert abs(influence.sum()) < 1e-9
    assert np.abs(influence).max() > 1e-3


@each_estimate
def test_influences_are_what_leaving_one_out_changes(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    """(n - 1) (value - value without i) differs from the influence by order 1/n."""
    images, texts = pairs(400, 6)
    value, influence = estimate(images, texts)
    left_out = [value - estimate(np.delete(images, i, 0), np.delete(texts, i, 0)).value for i in range(60)]
    np.testing.assert_allclose(399 * np.array(left_out), influence[:60], atol=0.03 * np.abs(influence).max())


@each_estimate
def test_the_standard_error_is_that_of_repeated_samples(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    result = [estimate(*pairs(200, 6, seed=seed)) for seed in range(400)]
    predicted = np.mean([np.linalg.norm(influence) / len(influence) for _, influence in result])
    # 400 repeats know a standard deviation to 3.5 %.
    assert predicted == pytest.approx(np.std([value for value, _ in result]), rel=0.12)


@each_estimate
def test_intervals_cover_the_value_at_this_n(estimate: Callable[[np.ndarray, np.ndarray], Estimate]) -> None:
    result = [estimate(*pairs(200, 6, seed=seed)) for seed in range(400)]
    centre = np.mean([value for value, _ in result])
    bounds = [influence_interval(value, influence) for value, influence in result]
    covered = np.mean([low <= centre <= high for low, high, _ in bounds if low is not None and high is not None])
    assert covered == pytest.approx(0.95, abs=0.025)


def test_the_interval_of_the_gap_covers_the_gap_of_a_population() -> None:
    population = pairs(100_000, 6, seed=99)
    truth = modality_gap(*population)
    draws, covered = np.random.default_rng(0), []
    for _ in range(400):
        rows = draws.integers(100_000, size=200)
        low, high = influence_interval(*ESTIMATES["modality_gap"](population[0][rows], population[1][rows])).bounds
        covered.append(low <= truth <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


# Edges ----------------------------------------------------------------------------------------------------------------


def test_too_few_samples_give_nan_and_no_warning() -> None:
    for n in (0, 1):
        images, texts = pairs(2, 4)
        images, texts = images[:n], texts[:n]
        for name in sorted(ESTIMATES.keys() - {"modality_gap"}):
            estimates = ESTIMATES[name](images, texts)
            assert np.isnan(estimates.value), name
            assert estimates.influence.shape == (n,) and np.isnan(estimates.influence).all(), name
    assert np.isnan(modality_gap(images[:0], texts[:0]))


@pytest.mark.parametrize("measure", [pair_geometry, pair_cosine, relative_gaps, cross_uniformity])
def test_one_text_is_not_paired_with_every_image(measure: Callable[[np.ndarray, np.ndarray], object]) -> None:
    images, texts = pairs(5, 4)
    with pytest.raises(
        DataError, match="5 image embeddings and 1 text embeddings: expected equal numbers, one pair per row"
    ):
        measure(images, texts[:1])


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ([0, 1, 2, 2], "text_image has 4 rows: expected 5, one per text"),
        ([0, 1, 2, 3, 2], "text 3 belongs to image 3: expected 0 to 2"),
        ([0, 1, -1, 1, 2], "text 2 belongs to image -1: expected 0 to 2"),
        ([0, 2, 2, 2, 2], "image 1 has no text: expected at least one for each"),
    ],
)
def test_owners_that_do_not_fit_are_refused(owners: list[int], message: str) -> None:
    images, texts = pairs(5, 4)
    with pytest.raises(DataError, match=message):
        relative_gaps(images[:3], texts, np.array(owners))
