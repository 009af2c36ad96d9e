"""Shift, corrections and losses against naive versions, torch, and the notebook of Liang et al."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipbench.errors import VectorError
from clipbench.metrics import similarity as arrays
from clipbench.metrics.geometry import gap_vector, modality_gap
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.shift import (
    Classes,
    contrastive_loss,
    correction_maps,
    scores_after_move,
    shift_maps,
    sigmoid_loss,
)
from clipbench.metrics.similarity import unit
from tests.made import published_vectors

Pairs = tuple[np.ndarray, np.ndarray]


def shifted(images: np.ndarray, texts: np.ndarray, *, distance: float, moved: str = "both") -> Pairs:
    maps = shift_maps(images, texts, distance=distance, shift=moved)
    return maps.image(images), maps.text(texts)


def pairs(n: int = 30, dim: int = 6, seed: int = 0) -> Pairs:
    """Unit vectors in two cones, each text near its image, some of them equal."""
    draws = np.random.default_rng(seed)
    shared = draws.standard_normal((n, dim))
    images, texts = (shared + 0.5 * draws.standard_normal((n, dim)) for _ in range(2))
    images[:, 0] += 1.5
    texts[:, 1] += 1.5
    texts[n // 2] = texts[0]
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def normalised(vectors: np.ndarray) -> np.ndarray:
    return np.array([vector / np.sqrt(sum(part**2 for part in vector)) for vector in vectors.astype(np.float64)])


# Shift ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moved", "by_image", "by_text"), [("both", 0.5, 0.5), ("image", 1, 0), ("text", 0, 1)])
@pytest.mark.parametrize("distance", [-1.0, -0.25, 0.0, 0.5, 1.0])
def test_modalities_move_along_the_unit_gap_vector(
    moved: str, by_image: float, by_text: float, distance: float
) -> None:
    images, texts = pairs()
    gap = images.astype(np.float64).mean(axis=0) - texts.astype(np.float64).mean(axis=0)
    step = distance * gap / np.sqrt((gap**2).sum())
    moved_images, moved_texts = shifted(images, texts, distance=distance, moved=moved)
    np.testing.assert_allclose(moved_images, normalised(images - by_image * step), atol=1e-7)
    np.testing.assert_allclose(moved_texts, normalised(texts + by_text * step), atol=1e-7)


def test_moving_by_half_the_gap_each_closes_it_before_renormalising() -> None:
    images, texts = pairs()
    gap = modality_gap(images, texts)
    maps = shift_maps(images, texts, distance=gap)
    closed = gap_vector(images, texts) - maps.image.offset + maps.text.offset
    np.testing.assert_allclose(closed, 0, atol=1e-12)
    assert modality_gap(*shifted(images, texts, distance=gap)) < 0.2 * gap


def test_a_vector_that_becomes_zero_is_an_error() -> None:
    images, texts = np.array([[1, 0]], np.float32), np.array([[-1, 0]], np.float32)
    with pytest.raises(VectorError, match=r"vector 0 becomes zero when it is moved \(1 of 1 do\)"):
        shifted(images, texts, distance=2.0)


def test_a_gap_of_zero_has_no_direction() -> None:
    images, _ = pairs()
    with pytest.raises(VectorError, match="the gap is zero, so it has no direction to shift along"):
        shifted(images, images, distance=0.5)
    np.testing.assert_array_equal(shifted(images, images, distance=0.0)[0], images)


# The notebook of Liang et al. -----------------------------------------------------------------------------------------

NOTEBOOK_GAP, NOTEBOOK_CONES, NOTEBOOK_N = 0.822103, (0.4679, 0.5080), 5000
NOTEBOOK_BOTH = {-1.0: 1.4128, -0.75: 1.3051, -0.5: 1.1731, -0.25: 1.0131, 0.25: 0.5998, 0.5: 0.3504, 0.75: 0.0838}
NOTEBOOK_IMAGE = {-1.0: 1.2879, -0.75: 1.2249, -0.5: 1.1349, -0.25: 1.0051, 0.25: 0.5842, 0.5: 0.3178, 0.75: 0.0703}
NOTEBOOK = [("both", d, gap) for d, gap in NOTEBOOK_BOTH.items()]
NOTEBOOK += [("image", d, gap) for d, gap in NOTEBOOK_IMAGE.items()]
"""Gaps of CLIP ViT-B/32 on 5,000 COCO pairs, by which modality is moved, and how far."""

CLOSED_FORM = 0.0035
"""Largest distance of true vectors from the closed form: not all images (or texts) lie alike along the gap vector."""


def closed_form(moved: str, distance: float, gap: float, mean_cosines: tuple[float, float]) -> float:
    """Return the gap after a shift if all images had one component along the gap vector g, and all texts one.

    The means then have components a and b along g, a - b = gap, and one common part p across it; their squared
    lengths are the mean cosines, so that a² - b² is the difference of those. Renormalising divides each mean by one
    length.
    """
    image_cosine, text_cosine = mean_cosines
    total = (image_cosine - text_cosine) / gap
    a, b = (total + gap) / 2, (total - gap) / 2
    by_image, by_text = {"both": (distance / 2, distance / 2), "image": (distance, 0.0)}[moved]
    image_length = np.sqrt(1 - 2 * by_image * a + by_image**2)
    text_length = np.sqrt(1 + 2 * by_text * b + by_text**2)
    along = (a - by_image) / image_length - (b + by_text) / text_length
    across = (image_cosine - a**2) * (1 / image_length - 1 / text_length) ** 2
    return float(np.sqrt(along**2 + across))


def notebook_closed_form(moved: str, distance: float) -> float:
    """Return the closed form from the gap and the cones that the notebook prints."""
    image_cosine, text_cosine = ((cone * (NOTEBOOK_N - 1) + 1) / NOTEBOOK_N for cone in NOTEBOOK_CONES)
    return closed_form(moved, distance, NOTEBOOK_GAP, (image_cosine, text_cosine))


@pytest.mark.parametrize(("moved", "distance", "published"), NOTEBOOK)
def test_published_gaps_after_a_shift_follow_from_the_published_cones(
    moved: str, distance: float, published: float
) -> None:
    assert published == pytest.approx(notebook_closed_form(moved, distance), abs=CLOSED_FORM)


@pytest.fixture(scope="module")
def trained() -> Pairs:
    return published_vectors("features_clip")


@pytest.mark.parametrize(("moved", "distance", "published"), NOTEBOOK)
def test_real_vectors_move_as_the_notebook_s_do(moved: str, distance: float, published: float, trained: Pairs) -> None:
    """Another model and sample, of another gap and other cones: what these do not explain is the same for both."""
    images, texts = trained
    image_cosine, text_cosine = (float((side.mean(axis=0, dtype=np.float64) ** 2).sum()) for side in trained)
    gap = modality_gap(images, texts)
    expected = closed_form(moved, distance, gap, (image_cosine, text_cosine))
    measured_gap = modality_gap(*shifted(images, texts, distance=distance, moved=moved))
    assert measured_gap == pytest.approx(expected, abs=CLOSED_FORM)
    assert measured_gap - expected == pytest.approx(published - notebook_closed_form(moved, distance), abs=0.0012)


def test_the_default_gap_has_the_least_loss_at_the_temperature_of_training(trained: Pairs) -> None:
    """Liang et al., section 5: at a scale of 100 neither way is better; at a higher temperature a smaller gap is."""
    images, texts = trained

    def best(logit_scale: float) -> float:
        losses = {
            distance: contrastive_loss(*shifted(images, texts, distance=distance), logit_scale=logit_scale)
            for distance in (-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75)
        }
        return min(losses, key=losses.__getitem__)

    assert best(100.0) == 0.0
    assert best(20.0) == 0.5
    assert best(5.0) == 0.75


# Corrections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["centring", "standardising", "collapse"])
def test_corrections_are_their_definitions(kind: str, strength: float) -> None:
    fit_images, fit_texts = pairs(40, seed=1)
    images, texts = pairs(20, seed=2)
    maps = correction_maps(fit_images, fit_texts, kind=kind, strength=strength)
    for fit, vectors, moved in ((fit_images, images, maps.image(images)), (fit_texts, texts, maps.text(texts))):
        mean = np.array([sum(map(float, column)) / len(column) for column in fit.T])
        spread = np.array([np.sqrt(((column - m) ** 2).mean()) for column, m in zip(fit.T, mean, strict=True)])
        less = vectors - strength * mean
        by_hand = {
            "centring": normalised(less),
            "standardising": normalised(less / spread**strength),
            "collapse": less,
        }[kind]
        np.testing.assert_allclose(moved, by_hand, atol=2e-6 if kind == "standardising" else 1e-7)


def test_centring_what_it_was_fitted_on_leaves_no_gap_before_renormalising() -> None:
    images, texts = pairs(200)
    maps = correction_maps(images, texts, kind="collapse")
    assert modality_gap(maps.image(images), maps.text(texts)) == pytest.approx(0, abs=1e-7)  # float32


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_realign_takes_texts_to_the_mean_and_the_spread_of_images(strength: float) -> None:
    fit_images, fit_texts = pairs(40, seed=1)
    images, texts = pairs(20, seed=2)
    maps = correction_maps(fit_images, fit_texts, kind="realign", strength=strength)
    np.testing.assert_array_equal(maps.image(images), images)
    x, y = fit_images.astype(float), fit_texts.astype(float)
    scale = (np.trace(np.cov(x.T)) / np.trace(np.cov(y.T))) ** (strength / 2)
    anchor = y.mean(axis=0) + strength * (x.mean(axis=0) - y.mean(axis=0))
    drift = x.mean(axis=0) - normalised(anchor + scale * (y - y.mean(axis=0))).mean(axis=0)
    by_hand = normalised(anchor + scale * (texts - y.mean(axis=0))) + strength * drift
    np.testing.assert_allclose(maps.text(texts), by_hand, atol=2e-7)


def test_a_dimension_that_varies_by_rounding_is_not_divided() -> None:
    """Divided by 3e-8, the last bit of 0.5 would weigh as much as all that the model says."""
    fit = np.array([[0.5, 0.8], [np.nextafter(np.float32(0.5), np.float32(1)), -0.8]], np.float32)
    moved = correction_maps(fit, fit, kind="standardising").image(fit)
    np.testing.assert_allclose(moved, [[0, 1], [0, -1]], atol=1e-7)


def test_a_constant_model_has_nothing_left_but_collapses_to_ties() -> None:
    constant = unit(np.full((4, 5), 0.3, np.float32))
    with pytest.raises(VectorError, match=r"vector 0 becomes zero when it is moved \(4 of 4 do\)"):
        correction_maps(constant, constant, kind="centring").image(constant)
    collapsed = correction_maps(constant, constant, kind="collapse").image(constant)
    scores = scores_after_move(collapsed, collapsed, logit_scale=100.0)
    assert scores["image_retrieval_recall@1"] == pytest.approx(1 / 4)
    assert scores["loss"] == pytest.approx(np.log(4))


def test_ties_of_collapsed_vectors_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text stands twice: whatever the block, it ties with its copy, and recall@1 is half a hit at most."""
    images, texts = (np.repeat(side, 2, axis=0) for side in pairs(40, 48))
    maps = correction_maps(images, texts, kind="collapse", strength=0.9)
    moved_images, moved_texts = maps.image(images), maps.text(texts)
    for block_elements in (1, 700, 1 << 23):
        monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
        by_image, by_text = cross_ranks(moved_images, moved_texts, np.arange(80))
        assert (by_image.tied >= 1).all() and (by_text.tied >= 1).all()


def test_dot_products_of_collapsed_vectors_are_exact_in_any_order() -> None:
    """Scores are rounded to float32, which hides most sums that are not exact: these are the sums themselves."""
    images, texts = pairs(40, 48)
    maps = correction_maps(images, texts, kind="collapse", strength=0.9)
    products = maps.image(images).astype(np.float64) * maps.text(texts)
    exact = [math.fsum(row) for row in products]
    for order in (slice(None), slice(None, None, -1)):
        assert np.add.accumulate(products[:, order], axis=1)[:, -1].tolist() == exact


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0, 3000.0])
@pytest.mark.parametrize("block_elements", [1, 100, 1 << 23])
def test_the_contrastive_loss_is_torch_s_cross_entropy(
    scale: float, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    images, texts = pairs(33)
    logits = scale * torch.from_numpy(images.astype(np.float64)) @ torch.from_numpy(texts.astype(np.float64)).T
    labels = torch.arange(33)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert contrastive_loss(images, texts, logit_scale=scale) == pytest.approx(float(expected), rel=1e-11)


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (10.0, -10.0), (117.3, -12.9)])
@pytest.mark.parametrize("block_elements", [1, 100, 1 << 23])
def test_the_sigmoid_loss_is_torch_s_log_sigmoid(
    scale: float, bias: float, block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_ELEMENTS", block_elements)
    images, texts = pairs(33)
    logits = scale * torch.from_numpy(images.astype(np.float64)) @ torch.from_numpy(texts.astype(np.float64)).T + bias
    expected = -F.logsigmoid((2 * torch.eye(33) - 1) * logits).sum() / 33
    loss = sigmoid_loss(images, texts, logit_scale=scale, logit_bias=bias)
    assert loss == pytest.approx(float(expected), rel=1e-11)


# Scores ---------------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_metrics_themselves() -> None:
    images, texts = pairs(30)
    labels = np.arange(30) % 3
    classes = {"kind/acc1": Classes(texts[:3], labels)}
    scores = scores_after_move(images, texts, logit_scale=30.0, classes=classes)
    similarity = images.astype(np.float64) @ texts.T.astype(np.float64)
    by_image, by_text = cross_ranks(images, texts, np.arange(30))
    assert list(scores) == [
        "gap", "loss",
        "image_retrieval_recall@1", "image_retrieval_recall@5", "image_retrieval_recall@10",
        "text_retrieval_recall@1", "text_retrieval_recall@5", "text_retrieval_recall@10", "kind/acc1",
    ]  # fmt: skip
    assert scores["text_retrieval_recall@5"] == recall_at_k(by_image, 5).mean()
    assert scores["image_retrieval_recall@5"] == recall_at_k(by_text, 5).mean()
    untied = [row for row in range(30) if row not in (0, 15)]
    hits = [(similarity[:, row] > similarity[row, row]).sum() < 1 for row in untied]
    assert recall_at_k(by_text, 1)[untied].tolist() == hits
    assert scores["kind/acc1"] == (similarity[:, :3].argmax(axis=1) == labels).mean()
    assert scores["loss"] == contrastive_loss(images, texts, logit_scale=30.0)
