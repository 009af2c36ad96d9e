"""retrieval: ranks for vectors written by hand in all four directions, clusters, and what is undefined."""

from pathlib import Path

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.evaluation.task import Evaluation
from clipbench.models import large_arrays, protocol
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.retrieval import Retrieval
from tests.made import data_of, evaluate_task

IMAGES = {"sea": [1.0, 0.0, 0.0], "wood": [0.0, 1.0, 0.0], "hill": [0.0, 0.0, 1.0]}
TEXTS = {
    "waves": [1.0, 0.1, 0.0],
    "a beach": [0.9, 0.0, 0.2],
    "trees": [0.7, 0.6, 0.0],  # nearer to the sea than to the wood
    "leaves": [0.0, 1.0, 0.1],
    "a slope": [0.0, 0.2, 1.0],
}
OWNER = [0, 0, 1, 1, 2]


def dataset(**parts: object) -> Dataset:
    defaults: dict[str, object] = {"captions": list(TEXTS), "caption_image": np.array(OWNER)}
    return data_of(IMAGES, **{**defaults, **parts})


def evaluate(data: Dataset, ks: tuple[int, ...] = (1, 5, 10)) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(Retrieval(ks=ks), data, FixedEmbedder(IMAGES, TEXTS))


def test_captions_find_images_and_images_find_any_of_their_captions() -> None:
    _, metrics = evaluate(dataset(), ks=(1, 2))
    assert metrics["image_retrieval_recall@1"].value == pytest.approx(4 / 5)  # "trees" finds the sea first
    assert metrics["image_retrieval_recall@2"].value == 1.0
    assert metrics["text_retrieval_recall@1"].value == 1.0
    assert metrics["image_retrieval_recall@1"].chance == pytest.approx(1 / 3)
    assert metrics["text_retrieval_recall@1"].chance == pytest.approx((2 + 2 + 1) / 5 / 3)
    assert metrics["image_retrieval_median_rank"].value == 1.0
    assert metrics["image_retrieval_recall@1"].n == 5 and metrics["text_retrieval_recall@1"].n == 3


def test_recall_by_chance_is_known_for_each_k_of_the_curve() -> None:
    evaluation, metrics = evaluate(dataset(), ks=(1, 2))
    for name in ("image_retrieval_recall", "text_retrieval_recall"):
        curve, chance = evaluation.curves[name], evaluation.curves[f"{name}_chance"]
        assert chance.x == curve.x
        assert chance.y[:2] == pytest.approx([metrics[f"{name}@{k}"].chance for k in (1, 2)])
        assert chance.y[-1] == (1.0 if name.startswith("image") else pytest.approx(1.0))


def test_the_papers_recall_is_given_beside_ours_where_a_tie_decides() -> None:
    # Two captions read alike and belong to different images; CLIP_benchmark's topk takes whichever comes first.
    texts = {"one": [1.0, 0.0, 0.0], "two": [1.0, 0.0, 0.0], "three": [0.0, 0.0, 1.0]}
    data = dataset(captions=list(texts), caption_image=np.array([0, 1, 2]))
    _, metrics = evaluate_task(Retrieval(ks=(1, 2)), data, FixedEmbedder(IMAGES, texts))
    value = {name: metric.value for name, metric in metrics.items()}
    # sea: "one" and "two" tie, one right: 1/2. wood: all three captions at 0: 1/3. hill: right.
    assert value["text_retrieval_recall@1"] == pytest.approx((1 / 2 + 1 / 3 + 1) / 3)
    assert value["text_retrieval_recall@1_strict"] == pytest.approx(1 / 3)
    # at k = 2 the sea's pair is among the first two in any order; of the wood's three, two in three cases
    assert value["text_retrieval_recall@2"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert value["text_retrieval_recall@2_strict"] == pytest.approx(2 / 3)
    # "two" likes the sea, and the wood and the hill alike after it: a coin at k = 2
    assert value["image_retrieval_recall@1"] == pytest.approx(2 / 3) and "image_retrieval_recall@1_strict" not in value
    assert value["image_retrieval_recall@2_strict"] == pytest.approx(2 / 3)


def test_distractors_are_searched_by_captions_alone() -> None:
    vectors = {**IMAGES, "far": [-1.0, 0.0, 0.0], "more trees": [0.7, 0.6, 0.0], "copy of the sea": IMAGES["sea"]}
    added = data_of(["far", "more trees", "copy of the sea"])
    evaluation, of_all = evaluate_task(Retrieval(ks=(1, 2)), dataset(distractors=added), FixedEmbedder(vectors, TEXTS))
    plain, metrics = evaluate(dataset(), ks=(1, 2))
    # waves and a beach tie with the copy; trees has two before the wood; leaves and a slope are right
    assert of_all["image_retrieval_recall@1"].value == pytest.approx((1 / 2 + 1 / 2 + 0 + 1 + 1) / 5)
    assert of_all["image_retrieval_recall@1"].chance == pytest.approx(1 / 6)
    assert of_all["text_retrieval_recall@1"] == metrics["text_retrieval_recall@1"]
    columns = {name: evaluation.samples[name][:5].tolist() for name in ("distractors_above", "distractors_tied")}
    assert columns == {"distractors_above": [0, 0, 2, 0, 0], "distractors_tied": [1, 1, 0, 0, 0]}
    assert evaluation.samples["predicted_image"][:5].tolist() == [0, 0, 4, 1, 2]
    curve = evaluation.curves["image_retrieval_recall@1/by_gallery"]
    assert curve.x == [3, 4, 5, 6] and curve.low is not None
    # one of three added: the copy, a coin for two captions, in a third of the cases; "trees" misses as it is
    assert curve.y == pytest.approx([4 / 5, (2 * (1 - 1 / 6) + 2) / 5, (2 * (1 - 2 / 6) + 2) / 5, 3 / 5])
    assert not any("by_gallery" in name for name in plain.curves)


def test_captions_find_captions_of_the_same_image() -> None:
    evaluation, metrics = evaluate(dataset(), ks=(1,))
    # cosines: waves-beach .97, waves-trees .82; trees-beach .73, trees-leaves .65, trees-waves .82 (first)
    assert metrics["text_text_recall@1"].value == pytest.approx(3 / 4)
    assert metrics["text_text_recall@1"].n == 4  # "a slope" has no other caption
    assert "image_image_recall@1" not in metrics
    rows = evaluation.samples["direction"] == "text_text"
    assert np.isnan(evaluation.samples["image_retrieval_recall@1"][rows]).all()


def test_images_find_images_of_the_same_label() -> None:
    _, metrics = evaluate(dataset(labels=np.array([0, 1, 0]), class_names=("wet", "dry")), ks=(1,))
    # sea and hill share a label; both others are orthogonal to each: a tie of two, one of them right
    assert metrics["image_image_recall@1"].value == pytest.approx(0.5) == metrics["image_image_recall@1"].chance
    assert metrics["image_image_tie_rate"].value == 1.0


def cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def told(evaluation: Evaluation, direction: str, *columns: str) -> list[tuple[object, ...]]:
    rows = evaluation.samples["direction"] == direction
    return list(zip(*(evaluation.samples[column][rows].tolist() for column in columns), strict=True))


def test_each_query_says_what_came_first_and_both_cosines() -> None:
    evaluation, _ = evaluate(dataset(labels=np.array([0, 1, 0]), class_names=("wet", "dry")))
    text = [list(vector) for vector in TEXTS.values()]
    assert told(evaluation, "image_retrieval", "caption", "image", "predicted_image") == [
        ("waves", 0, 0), ("a beach", 0, 0), ("trees", 1, 0), ("leaves", 1, 1), ("a slope", 2, 2)
    ]  # fmt: skip
    assert told(evaluation, "text_retrieval", "image", "caption", "predicted_caption", "predicted_image") == [
        (0, "waves", "waves", -1), (1, "leaves", "leaves", -1), (2, "a slope", "a slope", -1)
    ]  # fmt: skip
    assert told(evaluation, "text_text", "caption", "target_caption", "predicted_caption") == [
        ("waves", "a beach", "a beach"), ("a beach", "waves", "waves"), ("trees", "leaves", "waves"),
        ("leaves", "trees", "trees"),
    ]  # fmt: skip
    # All three images are orthogonal: of those that tie, the first of the data is named.
    assert told(evaluation, "image_image", "image", "target_image", "predicted_image", "label", "predicted_label") == [
        (0, 2, 1, "wet", "dry"), (2, 0, 0, "wet", "wet")
    ]  # fmt: skip
    right_and_chosen = {"image_retrieval": (IMAGES["wood"], IMAGES["sea"]), "text_text": (text[3], text[0])}
    for direction, vectors in right_and_chosen.items():
        rows = {row[0]: row[1:] for row in told(evaluation, direction, "caption", "target_cosine", "predicted_cosine")}
        assert rows["trees"] == pytest.approx([cosine(text[2], vector) for vector in vectors], abs=1e-7)


def test_what_was_nearest_to_a_failure_is_kept_and_nothing_of_a_success() -> None:
    evaluation, _ = evaluate(dataset(labels=np.array([0, 1, 0]), class_names=("wet", "dry")))
    near = {name: column.tolist() for name, column in evaluation.neighbours.items()}
    rows = list(zip(*(near[name] for name in ("sample_id", "rank", "text", "image", "is_right")), strict=True))
    trees = next(name for name in near["sample_id"] if name.startswith("image_retrieval"))
    assert [row for row in rows if row[0] == trees] == [
        (trees, 1, "waves", 0, False), (trees, 2, "trees", 1, True), (trees, 3, "a slope", 2, False)
    ]  # fmt: skip
    (of_text,) = {row[0] for row in rows if row[0].startswith("text_text")}
    assert [row[1:] for row in rows if row[0] == of_text] == [
        (1, "waves", -1, False), (2, "a beach", -1, False), (3, "leaves", -1, True), (4, "a slope", -1, False)
    ]  # fmt: skip
    assert not any(row[0].startswith("text_retrieval") for row in rows)  # each image found a caption of its own
    table = dict(zip(evaluation.samples["sample_id"], evaluation.samples["predicted_cosine"], strict=True))
    assert all(near["cosine"][k] == table[row[0]] for k, row in enumerate(rows) if row[1] == 1)
    image = [row for row in rows if row[0].startswith("image_image")]
    assert {row[0] for row in image} <= set(evaluation.samples["sample_id"]) and image[0][2:] == ("trees", 1, False)


def test_a_k_that_every_query_meets_is_undefined() -> None:
    _, metrics = evaluate(dataset(), ks=(1, 3, 10))
    recall = metrics["image_retrieval_recall@3"]
    assert recall.value is None
    assert recall.reason == "every query hits, whatever the model: the gallery has only 3 items"
    assert metrics["text_retrieval_recall@3"].value == 1.0 and metrics["text_retrieval_recall@10"].value is None


def test_a_recall_that_holds_for_any_order_is_undefined() -> None:
    # Three of the four other images are right: of two answers, one always is.
    images = {name: [1.0, float(i), 0.0] for i, name in enumerate("abcde")}
    data = data_of(images, labels=np.array([0, 0, 0, 0, 1]))
    _, metrics = evaluate_task(Retrieval(ks=(1, 2)), data, FixedEmbedder(images, {}))
    first, second = (metrics[f"image_image_recall@{k}"] for k in (1, 2))
    assert first.chance == pytest.approx(0.75)
    assert second.value is None
    assert second.reason == "every query hits, whatever the model: too few of the 4 items are wrong"


def test_images_with_each_other_as_best_right_answer_are_one_cluster_and_ties_have_no_interval() -> None:
    angles = {"a": 0, "b": 10, "c": 25, "d": 90, "e": 95, "f": 180}  # right answers: a b, b a, e b; c d, d c, f d
    vectors = {name: [np.cos(np.radians(angle)), np.sin(np.radians(angle))] for name, angle in angles.items()}
    data = data_of(vectors, labels=np.array([0, 0, 1, 1, 0, 1]), class_names=("n", "s"))
    evaluation, metrics = evaluate_task(Retrieval(ks=(1,)), data, FixedEmbedder(vectors, {}))
    assert evaluation.samples["cluster"].tolist() == ["a", "a", "c", "c", "a", "c"]
    recall, ties = metrics["image_image_recall@1"], metrics["image_image_tie_rate"]
    assert recall.method is not None and recall.method.endswith("over 2 clusters")
    assert ties.value == 1 / 6 and ties.n == 6 and ties.low is None and "tie together" in (ties.reason or "")


def test_vectors_beyond_memory_give_the_same_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected, _ = evaluate(dataset(labels=np.array([0, 0, 1]), class_names=("a", "b")))
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 0)
    results: list[np.ndarray] = []
    make = large_arrays.large_array

    def noted(shape: tuple[int, int], folder: Path) -> np.ndarray:
        results.append(make(shape, folder))
        return results[-1]

    monkeypatch.setattr(protocol, "large_array", noted)
    evaluation, _ = evaluate(dataset(labels=np.array([0, 0, 1]), class_names=("a", "b")))
    assert len(results) == 2 and all(isinstance(result, np.memmap) for result in results)
    for name, column in expected.samples.items():
        np.testing.assert_array_equal(evaluation.samples[name], column, err_msg=name)
