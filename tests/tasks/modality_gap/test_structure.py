"""Lengths, shared structure, clusters and conformity in the task, with what each is when nothing is there to
measure.
"""

import numpy as np
import pytest

from clipbench.evaluation.task import Evaluation
from clipbench.metrics.similarity import unit
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.modality_gap.structure import k_means
from clipbench_tasks.modality_gap.task import ModalityGap
from tests.made import data_of, evaluate_task

N = 40


def evaluate(
    images: np.ndarray, texts: np.ndarray, labels: np.ndarray | None = None
) -> tuple[Evaluation, dict[str, Metric]]:
    names = [f"i{row}" for row in range(len(images))]
    captions = [f"t{row}" for row in range(len(images))]
    classes = {} if labels is None else {"labels": labels, "class_names": ("a", "b"), "templates": ("{c}",)}
    data = data_of(names, captions=captions, caption_image=np.arange(len(images)), **classes)
    rows = dict(zip(names, images.tolist(), strict=True))
    of_texts = {**dict(zip(captions, texts.tolist(), strict=True)), "a": [1.0, 0, 0, 0], "b": [0, 1.0, 0, 0]}
    return evaluate_task(ModalityGap(rescored_sample=N), data, FixedEmbedder(rows, of_texts))


def two_classes(gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and texts of two classes along one direction, and a gap along another."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 2
    classes = np.eye(4)[0] * np.where(labels, 3.0, -3.0)[:, None]
    sides = [classes + np.eye(4)[3] * shift + 0.1 * rng.standard_normal((N, 4)) for shift in (gap, -gap)]
    return sides[0], sides[1], labels


def test_a_wide_gap_makes_clusters_of_modalities_and_a_narrow_one_of_classes() -> None:
    for gap, of_modalities, of_classes in ((9.0, 1.0, 0.0), (0.3, 0.0, 1.0)):
        _, metrics = evaluate(*two_classes(gap))
        assert metrics["modality_ari"].value == pytest.approx(of_modalities, abs=0.05)
        assert metrics["clustering_ari"].value == pytest.approx(of_classes, abs=0.05)
        assert metrics["clustering_v_measure"].value == pytest.approx(of_classes, abs=0.05)
        assert metrics["clustering_ari"].chance == 0 and metrics["clustering_ari"].n == 2 * N


@pytest.mark.parametrize("k", [2, 5, 12])
def test_clusters_apart_are_found_and_one_seed_finds_the_same(k: int) -> None:
    rng = np.random.default_rng(k)
    truth = np.repeat(np.arange(k), 8)
    points = (50 * np.eye(k, 16)[truth] + rng.standard_normal((len(truth), 16))).astype(np.float32)
    first, second = (k_means(points, k, np.random.default_rng(1)) for _ in range(2))
    assert len(set(zip(truth, first.tolist(), strict=True))) == k and first.tolist() == second.tolist()
    assert set(k_means(np.ones((6, 3), np.float32), 3, rng).tolist()) == {0}


def test_a_gap_alone_changes_neither_neighbours_nor_structure() -> None:
    """Images and texts whose cosines among themselves are the same: one is the other, turned."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((N, 4)) + 2
    texts = images @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    _, metrics = evaluate(images, texts)
    assert metrics["gap"].value is not None and metrics["gap"].value > 0.3
    assert metrics["mutual_knn"].value == pytest.approx(1) and metrics["cka"].value == pytest.approx(1)
    assert metrics["mutual_knn"].chance == pytest.approx(10 / (N - 1))


def test_lengths_are_those_of_raw_vectors_and_undefined_where_all_are_1() -> None:
    rng = np.random.default_rng(2)
    images, texts = 3 * unit(rng.standard_normal((N, 4)).astype(np.float32)), rng.standard_normal((N, 4))
    _, metrics = evaluate(images, texts)
    assert metrics["image_norm"].value == pytest.approx(3, abs=1e-5)
    assert metrics["text_norm"].value == pytest.approx(np.linalg.norm(texts, axis=1).mean())
    assert metrics["text_norm"].n == N
    _, of_units = evaluate(images / 3, texts)
    assert (
        of_units["image_norm"].value is None and of_units["image_norm"].reason == "the model gives vectors of length 1"
    )


def test_conformity_is_the_mean_cosine_with_all_others() -> None:
    rng = np.random.default_rng(3)
    images, texts = rng.standard_normal((N, 4)) + 1, rng.standard_normal((N, 4))
    evaluation, metrics = evaluate(images, texts)
    curve = evaluation.curves["conformity_image"]
    shares = np.array(curve.y, float)
    assert shares.sum() == pytest.approx(1)
    assert (shares * np.array(curve.x)).sum() == pytest.approx(metrics["image_cone"].value, abs=0.006)  # half a bin
    x = images / np.linalg.norm(images, axis=1, keepdims=True)
    by_hand = ((x @ x.T).sum(axis=1) - 1) / (N - 1)
    assert curve.x[0] - 0.0051 <= by_hand.min() and by_hand.max() <= curve.x[-1] + 0.0051


def test_without_labels_there_is_no_clustering_against_classes() -> None:
    images, texts, _ = two_classes(1.0)
    _, metrics = evaluate(images, texts)
    assert metrics["clustering_ari"].value is None and metrics["clustering_ari"].reason == "the data has no labels"


def test_a_constant_model_is_at_chance_or_undefined() -> None:
    constant = np.ones((N, 4))
    _, metrics = evaluate(constant, constant)
    assert metrics["mutual_knn"].value == pytest.approx(metrics["mutual_knn"].chance)
    assert metrics["cka"].value is None and metrics["modality_ari"].value == 0
