"""Zero-shot with several right classes per image: every metric equals loops, and what has no meaning has a reason."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import clipbench as cb
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

N, N_CLASSES = 80, 7
RNG = np.random.default_rng(5)
IMAGES, CLASSES = RNG.normal(size=(N, 5)), RNG.normal(size=(N_CLASSES, 5))
SETS = [sorted(RNG.choice(N_CLASSES, size, replace=False).tolist()) for size in RNG.integers(0, 4, size=N)]
MATRIX = np.array([[int(row in rows) for row in range(N_CLASSES)] for rows in SETS])
KEPT = [row for row, rows in enumerate(SETS) if rows]
NAMES = [f"kind {row}" for row in range(N_CLASSES)]


def measured(
    images: np.ndarray = IMAGES, classes: np.ndarray = CLASSES, labels: np.ndarray = MATRIX, tasks: str = "zero-shot"
) -> Run:
    vectors = cb.vectors(images=images, labels=labels, class_texts=classes, class_names=NAMES, logit_scale=8.0)
    return cb.run(vectors, tasks.split(","))


def numbers(run: Run) -> EvaluationRecord:
    evaluation = run.result.evaluations[0]
    assert evaluation.status == "ok", evaluation.reason
    return evaluation


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_metrics_equal_naive_loops() -> None:
    evaluation = numbers(measured())
    cosines = unit(IMAGES) @ unit(CLASSES).T
    order = (-cosines).argsort(axis=1)
    hits = [int(order[row, 0] in SETS[row]) for row in KEPT]
    hits5 = [int(bool({*order[row, :5]} & {*SETS[row]})) for row in KEPT]
    metrics = evaluation.metrics
    assert metrics["acc1"].value == pytest.approx(np.mean(hits), abs=1e-12)
    assert metrics["acc5"].value == pytest.approx(np.mean(hits5), abs=1e-12)
    assert metrics["acc1"].n == len(KEPT) < N
    sizes, right = np.zeros((2, N_CLASSES))
    for row in KEPT:
        first = order[row, 0]
        if first in SETS[row]:
            sizes[first] += 1
            right[first] += 1
        else:
            sizes[SETS[row]] += 1 / len(SETS[row])
    predicted = np.bincount(order[KEPT, 0], minlength=N_CLASSES)
    assert metrics["mean_per_class_recall"].value == pytest.approx((right / sizes).mean(), abs=1e-9)
    assert metrics["macro_f1"].value == pytest.approx((2 * right / (sizes + predicted)).mean(), abs=1e-9)
    logits = np.exp(8 * cosines[KEPT])
    confidence = (logits / logits.sum(axis=1, keepdims=True)).max(axis=1)
    bins = np.ceil(confidence * 15).astype(int)
    gaps = [abs(sum(np.array(hits)[bins == b] - confidence[bins == b])) for b in range(1, 16)]
    assert metrics["ece"].value == pytest.approx(sum(gaps) / len(KEPT), abs=1e-6)
    most = max(np.mean([label in SETS[row] for row in KEPT]) for label in range(N_CLASSES))
    assert evaluation.baselines["majority_class"].value == pytest.approx(most)


def test_images_without_a_class_are_left_out_and_counted() -> None:
    run = measured()
    n_several = sum(len(rows) > 1 for rows in SETS)
    notes = numbers(run).notes
    assert f"of {len(KEPT)} images with a right class, {n_several} have several" in notes
    assert f"{N - len(KEPT)} images without a right class left out" in notes
    table = run.samples("zero-shot")
    assert table["sample_id"].tolist() == [str(row) for row in KEPT]
    assert [json.loads(text) for text in table["right_classes"]] == [
        [NAMES[label] for label in SETS[row]] for row in KEPT
    ]
    assert table["label"].tolist() == ["; ".join(NAMES[label] for label in SETS[row]) for row in KEPT]


def test_a_constant_model_scores_chance_and_the_tie_rate_is_of_wrong_classes() -> None:
    evaluation = numbers(measured(np.ones((N, 5)), np.ones((N_CLASSES, 5))))
    for name in ("acc1", "acc5", "mean_per_class_recall"):
        assert evaluation.metrics[name].value == pytest.approx(evaluation.metrics[name].chance, abs=1e-12)
    assert evaluation.metrics["acc1"].chance == pytest.approx(np.mean([len(SETS[row]) / N_CLASSES for row in KEPT]))
    assert evaluation.baselines["tie_rate"].value == 1.0
    twins = CLASSES.copy()
    twins[1] = twins[0]
    labels = np.zeros((N, N_CLASSES), int)
    labels[:, :2] = 1
    assert numbers(measured(classes=twins, labels=labels)).baselines["tie_rate"].value == 0.0


def test_lists_of_one_class_change_no_number_to_the_last_bit() -> None:
    labels = RNG.integers(N_CLASSES, size=N)
    plain = numbers(measured(labels=labels))
    lists = numbers(measured(labels=np.eye(N_CLASSES, dtype=int)[labels]))
    assert plain.metrics == lists.metrics
    assert plain.baselines == lists.baselines
    assert plain.curves == lists.curves
    assert plain.dataset == lists.dataset


def test_an_image_of_all_classes_is_always_right() -> None:
    labels = MATRIX.copy()
    labels[:5] = 1
    table = measured(labels=labels).samples("zero-shot")
    assert table["acc1"][:5].tolist() == [1.0] * 5
    assert table["margin"][:5].isna().all()


def test_other_tasks_say_why_they_are_unavailable() -> None:
    run = measured(tasks="zero-shot,few-shot")
    few_shot = run.result.evaluations[1]
    assert few_shot.status == "unavailable"
    assert few_shot.reason is not None and few_shot.reason.endswith("lists of right classes, of none, one or several")


def test_slices_have_only_their_images() -> None:
    group = np.where(np.arange(N) % 2, "odd", "even")
    vectors = cb.vectors(images=IMAGES, labels=MATRIX, class_texts=CLASSES, class_names=NAMES, group=group)
    evaluation = numbers(cb.run(vectors, "zero-shot"))
    of_group = {name: metrics["acc1"] for name, metrics in evaluation.slices["group"].groups.items()}
    assert of_group["odd"].n == sum(row % 2 for row in KEPT)
    cosines = unit(IMAGES) @ unit(CLASSES).T
    hits = [cosines[row].argmax() in SETS[row] for row in KEPT if row % 2]
    assert of_group["odd"].value == pytest.approx(np.mean(hits))
    assert "mean_per_class_recall" in evaluation.slices["group"].groups["odd"]


# Predictions ----------------------------------------------------------------------------------------------------------


def predictions_file(folder: Path, cells: Sequence[str], predicted: Sequence[int]) -> Path:
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = [
            (f"{row}.jpg", cell, NAMES[label], 0.5)
            for row, (cell, label) in enumerate(zip(cells, predicted, strict=True))
        ]
        csv.writer(file).writerows([("id", "label", "prediction", "confidence"), *rows])
    return folder / "predictions.csv"


def test_predictions_are_right_if_they_are_one_of_the_labels(tmp_path: Path) -> None:
    predicted = RNG.integers(N_CLASSES, size=N).tolist()
    hits = [predicted[row] in SETS[row] for row in KEPT]
    for separate in (";".join, lambda names: str([*names])):
        cells = [separate([NAMES[label] for label in rows]) for rows in SETS]
        run = cb.run(f"predictions:{predictions_file(tmp_path, cells, predicted)}", "zero-shot")
        evaluation = numbers(run)
        acc1: Metric = evaluation.metrics["acc1"]
        assert acc1.value == pytest.approx(np.mean(hits))
        assert acc1.n == len(KEPT)
        assert evaluation.metrics["acc5"].value is None
        assert evaluation.scoring == "An image counts as right when its predicted class is one of its labels."


def test_predictions_take_a_file_of_labels(tmp_path: Path) -> None:
    labels = RNG.integers(N_CLASSES, size=N).tolist()
    predicted = RNG.integers(N_CLASSES, size=N).tolist()
    reference = f"predictions:{predictions_file(tmp_path, [NAMES[label] for label in labels], predicted)}"
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["id,label", *(f"{row}.jpg,{NAMES[label]}" for row, label in enumerate(labels))]))
    plain = numbers(cb.run(reference, "zero-shot"))
    same = numbers(cb.run(cb.load_model(reference, model_options={"labels": str(file)}), "zero-shot"))
    assert plain.metrics == same.metrics
    assert plain.dataset.fingerprint == same.dataset.fingerprint
    rows = [{"id": f"{row}.jpg", "label": [NAMES[label] for label in rows]} for row, rows in enumerate(SETS)]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    several = numbers(cb.run(cb.load_model(reference, model_options={"labels": str(file)}), "zero-shot"))
    assert several.metrics["acc1"].value == pytest.approx(np.mean([predicted[row] in SETS[row] for row in KEPT]))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["kind 0;kind 1", "kind 2;"], "row 2: column 'label' is 'kind 2;', expected a class, or several"),
        (["kind 0", ""], "row 2: column 'label' is '', expected a text or an integer"),
        (["kind 0;horse", "kind 1"], "unknown class in column 'prediction': got 'kind 3'"),
    ],
)
def test_malformed_labels_of_predictions_are_an_error_of_one_line(cells: list[str], words: str, tmp_path: Path) -> None:
    file = predictions_file(tmp_path, cells, [0, 3])
    with pytest.raises(cb.ClipbenchError, match=words) as error:
        cb.run(f"predictions:{file}", "zero-shot")
    assert "\n" not in str(error.value)
