"""zero-shot: right answers for vectors written by hand, fair ties, and what it says when data lack a part."""

import numpy as np
import pytest

from clipbench.data import Dataset, LabelSet, Prompts
from clipbench.evaluation.task import Evaluation
from clipbench.results.record import Metric
from clipbench.stats.intervals import wilson
from clipbench.testing import FixedEmbedder
from clipbench_tasks.zero_shot import ZeroShot
from tests.made import data_of, evaluate_task


def dataset(labels: list[int], class_names: tuple[str, ...] = ("cat", "dog"), **parts: object) -> Dataset:
    names = [f"p{row}" for row in range(len(labels))]
    return data_of(names, labels=np.array(labels, np.int64), class_names=class_names, **parts)


IMAGES = {"p0": [1.0, 0.1], "p1": [1.0, 0.3], "p2": [0.2, 1.0]}
TEXTS = {"a photo of a cat.": [1.0, 0.0], "a photo of a dog.": [0.0, 1.0]}


def evaluate(
    data: Dataset, texts: dict[str, list[float]] = TEXTS, images: dict[str, list[float]] = IMAGES, **task: Prompts
) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(ZeroShot(**task), data, FixedEmbedder(images, texts))


def test_the_nearest_class_is_the_answer() -> None:
    texts = {"a photo of a cat.": [2.0, 0.0], "a photo of a dog.": [0.0, 3.0]}
    evaluation, values = evaluate(dataset([0, 1, 1]), texts)
    assert evaluation.samples["predicted"].tolist() == ["cat", "cat", "dog"]
    assert evaluation.samples["acc1"].tolist() == [1.0, 0.0, 1.0]
    lengths = np.sqrt([1.01, 1.09, 1.04])
    assert evaluation.samples["target_cosine"] == pytest.approx(np.array([1.0, 0.3, 1.0]) / lengths, abs=1e-7)
    assert evaluation.samples["predicted_cosine"] == pytest.approx(np.ones(3) / lengths, abs=1e-7)
    assert values["acc1"].value == pytest.approx(2 / 3) and values["acc1"].chance == 0.5
    assert values["mean_per_class_recall"].value == pytest.approx((1 + 1 / 2) / 2)
    assert values["mean_per_class_recall"].influence == "mean_per_class_recall_influence"
    # cat's one sample against dog's recall, dog's two against it
    expected = [3 / 2 * (1 - 1 / 2), -3 / 2 / np.sqrt(2) / 2, 3 / 2 / np.sqrt(2) / 2]
    assert evaluation.samples["mean_per_class_recall_influence"] == pytest.approx(np.array(expected))
    assert values["acc5"].value is None and values["acc5"].reason == "five of only 2 classes are always right"
    assert values["majority_class"].value == pytest.approx(2 / 3)
    assert values["tie_rate"].value == 0


def test_a_class_is_the_mean_of_the_unit_vectors_of_its_prompts() -> None:
    # Mean of unit vectors (1, 0) and (0, 1): 45 degrees. A mean of the raw ones would lie near (1, 0).
    texts = {"a cat": [9.0, 0.0], "the cat": [0.0, 1.0], "a dog": [1.0, 0.0], "the dog": [1.0, 0.0]}
    images = {"p0": [1.0, 1.0], "p1": [1.0, 0.0], "p2": [1.0, 0.5]}
    evaluation, _ = evaluate(dataset([0, 1, 0]), texts, images, prompts=Prompts(templates=("a {c}", "the {c}")))
    assert evaluation.samples["predicted"].tolist() == ["cat", "dog", "cat"]
    cosine = (1 + 0.5) / np.sqrt(1.25) / np.sqrt(2)
    assert evaluation.samples["margin"][2] == pytest.approx(cosine - 1 / np.sqrt(1.25), abs=1e-6)


def test_single_templates_are_scored_from_worst_to_best() -> None:
    texts = {"a cat": [1.0, 0.0], "the cat": [0.0, 1.0], "a dog": [0.0, 1.0], "the dog": [1.0, 0.0]}
    evaluation, _ = evaluate(dataset([0, 0, 1]), texts, prompts=Prompts(templates=("a {c}", "the {c}")))
    assert evaluation.curves["templates"].y == [0.0, 1.0]
    assert evaluation.arrays["template_names"].tolist() == ["the {c}", "a {c}"]


def test_confidence_is_the_softmax_at_the_model_s_own_scale_and_calibration_is_beside_its_noise() -> None:
    evaluation, values = evaluate_task(
        ZeroShot(), dataset([0]), FixedEmbedder({"p0": [1.0, 0.0]}, TEXTS, logit_scale=2.0)
    )
    p, level = 1 / (1 + np.exp(-2.0)), values["ece_if_calibrated"]
    assert evaluation.samples["confidence"][0] == pytest.approx(p)
    assert level.value == pytest.approx(np.sqrt(2 / np.pi * p * (1 - p))) and level.baseline_of == ["ece"]
    assert any(note.startswith("by noise, a calibrated model would show an ece of 25.9 %") for note in evaluation.notes)


def test_without_a_scale_there_is_no_calibration_and_the_reason_says_how_to_give_one() -> None:
    evaluation, values = evaluate_task(
        ZeroShot(), dataset([0]), FixedEmbedder({"p0": [1.0, 0.0]}, TEXTS, logit_scale=None)
    )
    ece = values["ece"]
    assert ece.value is None and "no logit_scale" in str(ece.reason) and "attribute logit_scale" in str(ece.reason)
    assert values["acc1"].value == 1.0
    assert "confidence" not in evaluation.samples and "reliability" not in evaluation.curves


def test_several_true_classes_are_scored_by_average_precision() -> None:
    multilabels = np.array([[True, False], [True, True], [False, True]])
    _, values = evaluate(data_of(IMAGES, multilabels=multilabels, class_names=("cat", "dog")))
    # cat ranks p0, p1, p2 and is true of the first two: AP 1. dog ranks p2, p1, p0, true of the first two: AP 1.
    metric = values["mean_average_precision"]
    assert metric.value == pytest.approx(1.0)
    assert metric.chance == pytest.approx((1 * 2 / 3 * 1 + 2 / 3 * (1 + 1 / 2) / 2 + 2 / 3 * (1 + 1) / 3) / 2)


def precision_of(rng: np.random.Generator, n_positives: int, strength: float, n: int = 300) -> Metric:
    """Return the mAP of 20 classes, each true of a few of n images, which lie nearer to it than noise does."""
    positives = np.zeros((n, 20), bool)
    for column in positives.T:
        column[rng.choice(n, n_positives, replace=False)] = True
    vectors = strength * positives + rng.standard_normal(positives.shape)
    names = [f"p{row}" for row in range(n)]
    classes = tuple(f"class {row}" for row in range(20))
    data = data_of(names, multilabels=positives, class_names=classes)
    texts, images = (
        dict(zip(classes, np.eye(20).tolist(), strict=True)),
        dict(zip(names, vectors.tolist(), strict=True)),
    )
    return evaluate(data, texts, images, prompts=Prompts(templates=("{c}",)))[1]["mean_average_precision"]


def test_classes_of_one_image_each_that_are_nearly_all_right_leave_room_for_doubt() -> None:
    metric = precision_of(np.random.default_rng(0), n_positives=1, strength=9.0)
    assert metric.value == pytest.approx(1.0) and metric.low == pytest.approx(wilson(20.0, 20).low)
    metric = precision_of(np.random.default_rng(1), n_positives=1, strength=6.5)  # one is second
    assert metric.value == pytest.approx(0.975)
    assert (metric.low, metric.high) == pytest.approx(tuple(wilson(19.5, 20))[:2], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("n_positives", "strength"), [(1, 6.5), (2, 6.5), (5, 4.0), (30, 2.0), (1, 0.0), (30, 0.3)])
def test_the_interval_of_mean_average_precision_covers(n_positives: int, strength: float) -> None:
    rng = np.random.default_rng(1)
    result = [precision_of(rng, n_positives, strength) for _ in range(1000)]
    truth = float(np.mean([metric.value for metric in result if metric.value is not None]))
    covered = np.mean([metric.low <= truth <= metric.high for metric in result])  # type: ignore[operator]
    print(f"coverage: {n_positives} a class, mAP {truth:.3f}: {covered}")
    assert covered >= 0.94


def test_each_set_of_labels_is_scored_under_its_own_name() -> None:
    texts = TEXTS | {
        "a photo of a red cat.": [1.0, 0.2],
        "a photo of a blue cat.": [1.0, -0.2],
        "a photo of a red dog.": [0.2, 1.0],
    }
    sets = {
        "kind": LabelSet(np.array([0, 0, 1]), ("cat", "dog")),
        "colour_kind": LabelSet(np.array([0, 1, 2]), ("red cat", "blue cat", "red dog")),
    }
    evaluation, values = evaluate(dataset([0, 0, 1], label_sets=sets), texts)
    assert values["kind/acc1"].value == 1.0 and values["kind/acc1"].chance == 0.5
    assert values["colour_kind/acc1"].value == pytest.approx(2 / 3)  # p1 leans to red
    assert values["colour_kind/acc1"].chance == pytest.approx(1 / 3)
    assert values["colour_kind/mean_per_class_recall"].value == pytest.approx((1 + 0 + 1) / 3)
    assert evaluation.samples["kind/predicted"].tolist() == ["cat", "cat", "dog"]
    assert evaluation.samples["margin"].tolist() == evaluation.samples["colour_kind/margin"].tolist()
    near = {name: column.tolist() for name, column in evaluation.neighbours.items()}
    assert near["sample_id"] == ["p1"] * 3 and near["label_set"] == ["colour_kind"] * 3
    assert near["text"] == ["red cat", "blue cat", "red dog"] and near["is_right"] == [False, True, False]
    assert near["cosine"][:2] == [evaluation.samples[f"colour_kind/{of}_cosine"][1] for of in ("predicted", "target")]
    assert "acc1" not in values and set(evaluation.curves) == {"kind/reliability", "colour_kind/reliability"}
