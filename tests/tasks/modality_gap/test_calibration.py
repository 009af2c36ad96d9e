"""Similarity calibration of a data set: what matches in each kind, what is undefined and why, and what is sampled."""

import numpy as np
import pytest

from clipbench.metrics.similarity import unit
from clipbench.metrics.similarity_calibration import match_counts, match_probabilities
from clipbench.results.record import Curve, Metric
from clipbench_tasks.modality_gap import structure
from clipbench_tasks.modality_gap.structure import calibration
from tests.made import unit_vectors

NAMES = [
    "similarity_calibration_error",
    "image_text_calibration_error",
    "text_text_calibration_error",
    "image_image_calibration_error",
]


def vectors(n: int, seed: int) -> np.ndarray:
    return unit_vectors(n, 5, seed)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def run(
    images: np.ndarray, texts: np.ndarray, owners: np.ndarray, labels: np.ndarray | None
) -> tuple[dict[str, Metric], dict[str, Curve]]:
    measures, curves = calibration(images, texts, text_image=owners, labels=labels, rng=rng())
    assert list(measures) == NAMES
    return {name: measure.metric({}, rng()) for name, measure in measures.items()}, curves


def test_matches_are_pairs_shared_images_and_shared_labels() -> None:
    images, texts, labels = vectors(20, 0), vectors(40, 1), rng(2).integers(0, 4, 20)
    owners = rng(1).permutation(np.arange(40) // 2)
    completed, curves = run(images, texts, owners, labels)
    expected = match_probabilities(
        {
            "image_text": match_counts(images, texts, left_groups=np.arange(20), right_groups=owners),
            "text_text": match_counts(texts, texts, left_groups=owners, right_groups=owners, is_same=True),
            "image_image": match_counts(images, images, left_groups=labels, right_groups=labels, is_same=True),
        }
    )
    assert completed["similarity_calibration_error"].value == expected.error
    for kind, error in expected.errors.items():
        assert completed[f"{kind}_calibration_error"].value == error
        held = ~np.isnan(expected.probability[kind])
        assert curves[f"match_by_cosine_{kind}"].y == expected.probability[kind][held].tolist()
        assert curves[f"match_by_cosine_{kind}"].x == expected.cosine[kind][held].tolist()
    assert (completed["image_text_calibration_error"].n, completed["text_text_calibration_error"].n) == (40, 20)
    assert set(curves) == {"match_by_cosine_image_text", "match_by_cosine_text_text", "match_by_cosine_image_image"}
    reason = completed["text_text_calibration_error"].reason
    n_alike = sum(labels[i] == labels[j] for i in range(20) for j in range(i))
    noise = 0.55 * (4 / 9 / 20 + 1 / 9 / 40 + 1 / 9 / n_alike) ** 0.5  # 2/3 of its own, 1/3 of each other kind's
    assert reason is not None and reason.startswith("no interval: ")  # which a comparison repeats
    assert reason.endswith(f"at least {noise:.2g} by noise)")


def test_without_labels_images_have_no_matches() -> None:
    completed, curves = run(vectors(10, 0), vectors(20, 1), np.arange(20) % 10, None)
    assert completed["image_image_calibration_error"].value is None
    assert completed["image_image_calibration_error"].reason == "the data has no labels"
    reason = completed["similarity_calibration_error"].reason
    assert completed["similarity_calibration_error"].value is not None
    assert reason is not None and "(mean over image-text, text-text, where kinds with the same P" in reason
    assert set(curves) == {"match_by_cosine_image_text", "match_by_cosine_text_text"}


def test_one_kind_alone_has_a_curve_but_no_error() -> None:
    completed, curves = run(vectors(10, 0), vectors(10, 1), np.arange(10), None)
    assert all(metric.value is None and metric.reason for metric in completed.values())
    assert completed["image_text_calibration_error"].reason == (
        "it compares image-text with other kinds of pairs (text-text: no image has several captions, and the data"
        " has no labels; image-image: the data has no labels)"
    )
    assert set(curves) == {"match_by_cosine_image_text"}


def test_a_larger_set_is_sampled_with_two_captions_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "SAMPLED_IMAGES", 12)
    owners = rng(3).permutation(np.repeat(np.arange(30), 3))
    images, texts = vectors(30, 0), vectors(90, 1)
    completed, _ = run(images, texts, owners, np.arange(30) % 2)
    assert completed["image_text_calibration_error"].n == 24 and completed["text_text_calibration_error"].n == 12
    chosen = np.sort(rng().choice(30, 12, replace=False)).tolist()
    sampled_rows = [row for image in chosen for row in [row for row in range(90) if owners[row] == image][:2]]
    array = np.array([chosen.index(owners[row]) for row in sampled_rows])
    expected, _ = run(images[chosen], texts[sampled_rows], array, np.array(chosen) % 2)
    assert {name: metric.value for name, metric in completed.items()} == {
        name: metric.value for name, metric in expected.items()
    }


def test_a_modality_gap_is_an_error_of_calibration() -> None:
    """The same vectors for images and texts are calibrated; texts turned away from them are not."""
    draws = rng(0)
    labels = np.arange(400) % 40
    centres = draws.standard_normal((40, 12))
    images, texts = ((centres[labels] + 0.3 * draws.standard_normal((400, 12))) for _ in range(2))
    images, texts = (np.pad(side, ((0, 0), (0, 2))) for side in (images, texts))

    def error(gap: float) -> float:
        moved_images, moved_texts = images.copy(), texts.copy()
        moved_images[:, -1], moved_texts[:, -2] = gap, gap
        completed, _ = run(
            unit(moved_images.astype(np.float32)), unit(moved_texts.astype(np.float32)), np.arange(400), labels
        )
        value = completed["similarity_calibration_error"].value
        assert value is not None
        return value

    errors = [error(gap) for gap in (0.0, 2.0, 6.0)]
    assert errors == sorted(errors) and errors[0] < 0.05 and errors[-1] > 0.15
