"""Curves of shifts and corrections: their names and points, class prompts that move as texts do, and what is left
out.
"""

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.metrics.geometry import modality_gap
from clipbench.metrics.shift import contrastive_loss, correction_maps, shift_maps
from clipbench.metrics.similarity import unit
from clipbench.testing import FixedEmbedder
from clipbench_tasks.modality_gap.shift import Rescoring, correction_curves, rescoring, shift_curves
from tests.made import data_of

Pairs = tuple[np.ndarray, np.ndarray]

SCORES = ["gap", "loss"]
SCORES += [f"{query}_retrieval_recall@{k}" for query in ("image", "text") for k in (1, 5, 10)]


def shifted(images: np.ndarray, texts: np.ndarray, *, distance: float, moved: str = "both") -> Pairs:
    maps = shift_maps(images, texts, distance=distance, shift=moved)
    return maps.image(images), maps.text(texts)


def pairs(n: int = 24, dim: int = 5, seed: int = 0) -> Pairs:
    draws = np.random.default_rng(seed)
    shared = draws.standard_normal((n, dim))
    images, texts = (shared + 0.6 * draws.standard_normal((n, dim)) for _ in range(2))
    images[:, 0] += 1.5
    return unit(images.astype(np.float32)), unit(texts.astype(np.float32))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Curves ---------------------------------------------------------------------------------------------------------------


def test_every_score_has_a_curve_for_each_way_to_shift() -> None:
    images, texts = pairs()
    gap = modality_gap(images, texts)
    curves = shift_curves(images, texts, Rescoring(logit_scale=20.0))
    assert set(curves) == {f"{score}_by_shift_{name}" for score in SCORES for name in ("both", "image", "text")}
    for curve in curves.values():
        assert curve.x == sorted([-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, gap])
    for name in ("both", "image", "text"):
        for d, result in zip(*[curves[f"loss_by_shift_{name}"].x, curves[f"loss_by_shift_{name}"].y], strict=True):
            moved = shifted(images, texts, distance=d, moved=name)
            assert result == contrastive_loss(*moved, logit_scale=20.0)
    assert curves["gap_by_shift_both"].y[4] == gap


def test_a_gap_that_centring_leaves_is_that_of_no_gap() -> None:
    """Both halves are noisy: the gap left over is sqrt(2) times the one that the scored half alone would show."""
    images, texts = pairs(400, 64)
    curves = correction_curves(images, texts, Rescoring(logit_scale=20.0), rng())
    for kind in ("centring", "standardising", "collapse", "realign"):
        gap, chance = (np.array(curves[f"{name}_by_{kind}"].y, np.float64) for name in ("gap", "gap_chance"))
        assert gap[0] > 2 * chance[0] and gap[-1] == pytest.approx(chance[-1], rel=0.2)
        assert curves[f"gap_chance_by_{kind}"].y_label == "gap by noise only"


def test_corrections_are_fitted_on_one_half_and_scored_on_the_other() -> None:
    images, texts = pairs(25)
    order = rng(7).permutation(25)
    fitted, scored = sorted(order[:12]), sorted(order[12:])
    curves = correction_curves(images, texts, Rescoring(logit_scale=20.0), rng(7))
    for kind in ("centring", "standardising", "collapse", "realign"):
        maps = correction_maps(images[fitted], texts[fitted], kind=kind)
        expected = modality_gap(maps.image(images[scored]), maps.text(texts[scored]))
        assert curves[f"gap_by_{kind}"].y[-1] == expected > 0  # held out: not closed for good
        assert curves[f"gap_by_{kind}"].y[0] == modality_gap(images[scored], texts[scored])


# What is undefined ----------------------------------------------------------------------------------------------------


def test_a_distance_at_which_a_vector_becomes_zero_has_no_point() -> None:
    """Both modalities are constant, a gap of 2 apart: moved half of it each, they are zero."""
    images = np.array([[1, 0]], np.float32).repeat(3, axis=0)
    curves = shift_curves(images, -images, Rescoring(logit_scale=1.0))
    assert curves["gap_by_shift_both"].x == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]
    assert curves["gap_by_shift_image"].x == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 2]  # zero at 1
    assert curves["gap_by_shift_image"].y == [2] * 8 + [0]


def test_a_constant_model_has_no_gap_to_shift_along_and_nothing_left_when_centred() -> None:
    constant = unit(np.ones((8, 3), np.float32))
    shifts = shift_curves(constant, constant, Rescoring(logit_scale=100.0))
    assert all(curve.x == [0] for curve in shifts.values())
    assert shifts["image_retrieval_recall@1_by_shift_both"].y == pytest.approx([1 / 8])
    corrected = correction_curves(constant, constant, Rescoring(logit_scale=100.0), rng())
    assert corrected["gap_by_centring"].x == [0, 0.25, 0.5, 0.75]
    assert corrected["gap_by_collapse"].x == [0, 0.25, 0.5, 0.75, 1]
    assert corrected["loss_by_collapse"].y == pytest.approx([np.log(4)] * 5)


# Classes --------------------------------------------------------------------------------------------------------------

IMAGES = {"a": [1.0, 0.2, 0.1], "b": [1.0, 0.1, 0.3], "c": [1.0, -0.4, 0.0]}
TEXTS = {
    "caption of a": [0.1, 1.0, 0.0],
    "caption of b": [0.3, 1.0, 0.0],
    "caption of c": [0.2, -0.3, 1.0],
    "another of c": [0.2, -0.2, 1.0],
    "a photo of a cat.": [0.0, 1.0, 0.0],
    "a photo of a dog.": [0.0, 0.0, 1.0],
}


def dataset() -> Dataset:
    """Return four captions of three images of two classes."""
    parts = {"labels": np.array([0, 0, 1]), "class_names": ("cat", "dog")}
    return data_of(IMAGES, captions=list(TEXTS)[:4], caption_image=np.array([0, 1, 2, 2]), **parts)


EMBEDDER = FixedEmbedder(IMAGES, TEXTS, logit_scale=30.0)


def test_labels_of_the_rows_and_prompts_of_the_classes_are_kept() -> None:
    data = dataset()
    result = rescoring(data, np.array([2, 0]), EMBEDDER)
    assert result.logit_scale == 30.0 and list(result.classes) == ["acc1"]
    assert result.classes["acc1"].labels.tolist() == [1, 0]
    assert result.classes["acc1"].vectors.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert result.notes == (
        "loss: the contrastive loss of 2 pairs in one batch at the model's scale 30",
        "class prompts of the data set's own templates are moved and corrected as texts are",
        "recall after a shift or correction is over pairs of one caption per image, not over all captions",
        "corrections are fitted on a seeded half of the pairs and scored on the other",
    )


def test_without_a_scale_recall_and_accuracy_are_scored_again_but_no_loss() -> None:
    data = dataset()
    rescore = rescoring(data, np.array([2, 0]), FixedEmbedder(IMAGES, TEXTS, logit_scale=None))
    assert rescore.logit_scale is None
    assert "no loss of moved or corrected pairs: the model has no logit_scale" in rescore.notes[0]
    without, scaled = (shift_curves(*pairs(), Rescoring(logit_scale=scale)) for scale in (None, 30.0))
    assert without == {name: curve for name, curve in scaled.items() if not name.startswith("loss")}


def test_class_prompts_move_with_the_texts() -> None:
    data = dataset()
    rescore = rescoring(data, np.arange(3), EMBEDDER)
    images, texts = (unit(np.array(list(of.values())[:3], np.float32)) for of in (IMAGES, TEXTS))
    gap = images.astype(np.float64).mean(axis=0) - texts.astype(np.float64).mean(axis=0)
    step = gap / np.linalg.norm(gap)
    for moved, by_image, by_text in (("both", 0.5, 0.5), ("image", 1, 0), ("text", 0, 1)):
        curve = shift_curves(images, texts, rescore)[f"acc1_by_shift_{moved}"]
        for distance, accuracy in zip(curve.x, curve.y, strict=True):
            classes = np.array([[0, 1, 0], [0, 0, 1]]) + by_text * distance * step
            classes /= np.linalg.norm(classes, axis=1, keepdims=True)
            scores = (images - by_image * distance * step) @ classes.T
            assert accuracy == pytest.approx((scores.argmax(axis=1) == [0, 0, 1]).mean())


def test_held_out_pairs_keep_their_own_labels() -> None:
    images, texts = pairs(30)
    labels = np.arange(30) % 2
    images[:, 1] += np.where(labels, 3, -3)
    images = unit(images)
    data = data_of([f"i{row}" for row in range(30)], labels=labels, class_names=("left", "right"))
    prompts = {"a photo of a left.": [0.0, -1.0, 0.0, 0.0, 0.0], "a photo of a right.": [0.0, 1.0, 0.0, 0.0, 0.0]}
    rescore = rescoring(data, np.arange(30), FixedEmbedder({}, prompts))
    assert correction_curves(images, texts, rescore, rng())["acc1_by_centring"].y[0] == 1.0
