"""few-shot: cuts and draws, known answers, and intervals that know of the draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from clipbench.data import Dataset, Prompts
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.few_shot import Draws, FewShot, LabelWorth, split_halves
from tests.made import data_of, evaluate_task

PLAIN = Prompts(templates=("{c}",))
Answers = tuple[Evaluation, dict[str, Metric]]


def dataset(labels: list[int], names: tuple[str, ...]) -> Dataset:
    ids = [f"p{row:03}" for row in range(len(labels))]
    return data_of(ids, labels=np.array(labels, np.int64), class_names=names)


def noisy(labels: list[int], names: tuple[str, ...], *, noise: float, scale: float | None = 10.0) -> FixedEmbedder:
    """Return an embedder whose images lie around their class's axis, and whose prompts are these axes."""
    rng, axes = np.random.default_rng(5), np.eye(len(names))
    images = {
        f"p{row:03}": (axes[c] + noise * rng.standard_normal(len(names))).tolist() for row, c in enumerate(labels)
    }
    return FixedEmbedder(images, dict(zip(names, axes.tolist(), strict=True)), logit_scale=scale)


NAMES = ("cat", "dog", "emu")
LABELS = [row % 3 for row in range(60)]


def evaluate(noise: float, *, labels: list[int] = LABELS, scale: float | None = 10.0, **parameters: Any) -> Answers:
    """Return what is found in images of some labels, all of them of 20 images of each class."""
    embedder = noisy(labels, NAMES, noise=noise, scale=scale)
    return evaluate_task(FewShot(prompts=PLAIN, **parameters), dataset(labels, NAMES), embedder)


def test_each_class_is_cut_in_halves_that_depend_on_the_ids_alone() -> None:
    labels, ids = np.array([0, 0, 0, 0, 1, 1, 1, 2]), list("abcdefgh")
    cut = split_halves(labels, ids, np.random.default_rng(1))
    assert np.bincount(labels[cut[0]]).tolist() == [2, 2, 1]  # the larger half, and the only image
    assert np.bincount(labels[cut[1]]).tolist() == [2, 1]
    assert sorted([*cut[0], *cut[1]]) == list(range(8))
    order = np.array([5, 0, 7, 2, 4, 1, 3, 6])
    other = split_halves(labels[order], [ids[row] for row in order], np.random.default_rng(1))
    assert sorted(order[other[0]]) == cut[0].tolist()


def test_each_test_image_is_of_one_draw_and_more_shots_hold_the_fewer() -> None:
    labels = np.array(LABELS)
    ids = [f"p{row:03}" for row in range(60)]
    cut = split_halves(labels, ids, np.random.default_rng(1))
    draws = Draws(labels, ids, cut, n=5, rng=np.random.default_rng(2))
    assert np.bincount(draws.of_test).tolist() == [6] * 5
    for draw in range(5):
        shots = {k: set(draws.rows(draw, k).tolist()) for k in (1, 4, 99)}
        assert shots[1] < shots[4] < shots[99] == set(cut[0].tolist())
        assert np.bincount(labels[list(shots[4])]).tolist() == [4, 4, 4]
        assert np.bincount(labels[cut[1]][draws.of_test == draw]).tolist() == [2, 2, 2]
    assert draws.rows(0, 4).tolist() != draws.rows(1, 4).tolist()
    assert Draws(labels, ids, cut, n=99, rng=np.random.default_rng(2)).n == 30


def test_images_of_one_vector_a_class_are_named_right_with_one_label() -> None:
    evaluation, values = evaluate(0, shots=(1, 2), draws=3)
    names = [f"{method}_acc1@{k}" for method in ("knn", "linear_probe", "prompt_probe") for k in (1, 2, "all")]
    assert {name: values[name].value for name in names} == dict.fromkeys(names, 1.0)
    assert values["zero_shot_acc1"].value == 1.0 and values["zero_shot_acc1"].n == 30
    reason = "reached with 1 label per class already: the accuracy of the probe is 100.0 %, the accuracy of the prompts 100.0 %"
    assert values["zero_shot_worth"].value is None
    assert (
        values["zero_shot_worth"].reason == f"{reason}, the difference 0.00 pp [−70.76, +70.76]"
    )  # 1 - .025^(1/3) of three draws
    assert evaluation.curves["linear_probe_acc1_by_labels"].x == [1.0, 2.0, 10.0]


def test_a_constant_model_scores_chance_with_any_number_of_labels() -> None:
    labels = [0] * 12 + [1] * 12 + [2] * 8
    images = {f"p{row:03}": [1.0, 1.0] for row in range(32)}
    embedder = FixedEmbedder(images, {name: [1.0, 1.0] for name in NAMES})
    _, values = evaluate_task(FewShot(shots=(1, 4), draws=3, prompts=PLAIN), dataset(labels, NAMES), embedder)
    for name in ("knn_acc1@1", "linear_probe_acc1@4", "prompt_probe_acc1@1", "zero_shot_acc1"):
        assert values[name].value == pytest.approx(1 / 3) == values[name].chance
    assert values["zero_shot_worth"].value is None
    assert str(values["zero_shot_worth"].reason).startswith(
        "33.3 % [26.5, 47.1], which does not reliably exceed chance (33.3 %)"
    )
    for method in ("knn", "linear_probe"):  # the two largest classes have 12 of 16 test images, and tie
        assert values[f"{method}_acc1@all"].value == pytest.approx(12 / 16 / 2) == values[f"{method}_acc1@all"].chance


def test_the_order_of_the_images_changes_nothing() -> None:
    task, data = FewShot(shots=(1, 4), draws=4, prompts=PLAIN), dataset(LABELS, NAMES)
    embedder = noisy(LABELS, NAMES, noise=0.6)
    order = np.random.default_rng(9).permutation(60)
    (one, _), (other, _) = (evaluate_task(task, images, embedder) for images in (data, data.take(order)))
    rows, orders = (np.argsort(result.samples["sample_id"]) for result in (one, other))
    for name in ("sample_id", "cluster", "linear_probe_acc1@1", "prompt_probe_acc1@4", "knn_acc1@all"):
        np.testing.assert_array_equal(other.samples[name][orders], one.samples[name][rows])
    assert (order[other.samples["image"]][orders] == one.samples["image"][rows]).all()


def test_draws_are_clusters_of_what_they_decide_and_of_nothing_else() -> None:
    evaluation, values = evaluate(0.6, shots=(1,), draws=4)
    methods = {name: metric.method for name, metric in values.items() if metric.value is not None}
    assert "over 4 clusters" in str(methods["linear_probe_acc1@1"]) and "over 4 clusters" in str(methods["knn_acc1@1"])
    assert methods["linear_probe_acc1@all"] == methods["zero_shot_acc1"] == "Wilson"
    of_draws = evaluation.samples["cluster"] == "draw 1"
    assert len(set(evaluation.samples["sample_id"])) == 60 and of_draws.sum() in (7, 8)
    assert np.isnan(evaluation.samples["linear_probe_acc1@1"]).sum() == 30


def test_no_test_image_is_trained_on() -> None:
    evaluation, _ = evaluate(0.6, draws=3)
    trained = set(evaluation.neighbours["image"].tolist())
    assert trained and not trained & set(evaluation.samples["image"].tolist())
    assert any(
        note.startswith("each class split at random: 30 images to train on (10 per class) and 30 to test")
        for note in evaluation.notes
    )


def test_a_class_of_one_image_is_trained_on_and_said_not_to_be_tested() -> None:
    evaluation, values = evaluate(0.1, labels=[0, *[1] * 6, *[2] * 6], draws=2)
    assert evaluation.notes[0] == "each class split at random: 7 images to train on (1 to 3 per class) and 6 to test"
    assert evaluation.notes[1] == "1 of 3 classes has no image to test"
    assert values["linear_probe_acc1@1"].chance == pytest.approx(1 / 3)


def test_what_cannot_be_measured_has_a_reason() -> None:
    evaluation, values = evaluate(0.6, scale=None, draws=3)
    assert values["linear_probe_acc1@16"].reason == "a class has only 10 training images"
    assert values["linear_probe_acc1@8"].value is not None
    assert "no logit_scale" in str(values["prompt_probe_acc1@all"].reason)
    assert "prompt_probe_acc1_by_labels" not in evaluation.curves
    reason = "by hand has 2 images of 1 class to train on, and 2 to test: few-shot needs two classes"
    with pytest.raises(DataError, match=reason):
        evaluate(0, labels=[0] * 4)


def worth(columns: Mapping[str, list[float]]) -> Metric:
    names = tuple(name for name in columns if name != "prompts")
    measure = LabelWorth(columns=names, target="prompts", labels=tuple(map(float, names)), chance=0.1)
    return measure.metric({name: np.array(column) for name, column in columns.items()}, np.random.default_rng(0))


def hits(share: float, n: int = 40) -> list[float]:
    return [float(row < round(share * n)) for row in range(n)]


def test_the_worth_is_interpolated_on_the_logarithm() -> None:
    result = worth({"1": hits(0.2), "4": hits(0.4), "16": hits(0.8), "prompts": hits(0.6)})
    assert result.value == pytest.approx(8) and result.unit == "labels" and result.n == 40  # half-way from 4 to 16
    assert result.low is not None and result.high is not None and 1 <= result.low < 8 < result.high <= 16
    assert result.statistic is not None and result.statistic.name == "labels_reaching"


def test_a_worth_beyond_the_labels_is_said_in_words() -> None:
    never = worth({"1": hits(0.2), "16": hits(0.5), "prompts": hits(0.9)})
    assert never.value is None and never.low is None
    assert str(never.reason).startswith(
        "not reached with up to 16 labels per class: the accuracy of the probe with 16 labels per class is 50.0 %,"
        " the accuracy of the prompts 90.0 %, the difference −40.00 pp [−"
    )
    unclear = worth({"1": hits(0.2), "4": hits(0.85), "16": hits(0.8), "prompts": [*hits(0.9)[::-1]]})
    assert str(unclear.reason).startswith(
        "neither clearly reached nor clearly missed with up to 16 labels per class: the accuracy of the probe with 4"
        " labels per class is 85.0 %, the accuracy of the prompts 90.0 %, the difference −5.00 pp [−"
    )
    already = worth({"1": hits(0.6), "16": hits(0.9), "prompts": hits(0.3)})
    assert str(already.reason).startswith(
        "exceeded with 1 label per class already: the accuracy of the probe is 60.0 %,"
        " the accuracy of the prompts 30.0 %, the difference +30.00 pp [+"
    )
    guessed = worth({"1": hits(0.05), "16": hits(0.9), "prompts": hits(0.2)})
    assert guessed.value is None and str(guessed.reason).startswith(
        "20.0 % [10.0, 34.8], which does not reliably exceed chance (10.0 %)"
    )


def test_bounds_at_the_ends_are_open() -> None:
    rng = np.random.default_rng(0)
    columns = {name: (rng.random(40) < share).tolist() for name, share in (("1", 0.5), ("16", 0.6), ("prompts", 0.55))}
    result = worth({name: [float(each) for each in column] for name, column in columns.items()})
    assert result.value is not None and result.low == pytest.approx(1) and (result.high or 0) < 16
    assert result.method is not None and result.method.endswith("over 40 samples; 1 or fewer")
