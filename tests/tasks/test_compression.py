"""compression: naive recall and accuracy in each format, the smallest that will do, and what cannot be told."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from clipbench.data import Dataset, Prompts
from clipbench.errors import DataError, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.compression import Format, compress, principal_components
from clipbench.metrics.similarity import unit
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.compression import Compression, SmallestFormat
from tests.made import data_of

N, DIM = 40, 16
TASK = Compression(dims=(4, 8), prompts=Prompts(templates=("{c}",)))
QUESTIONS = ("image_retrieval_recall@1", "text_retrieval_recall@1", "acc1")


def metric(evaluation: Evaluation, name: str) -> Metric:
    return evaluation.measures[name].metric(evaluation.samples, np.random.default_rng(0))


def world(n: int = N, *, per_image: int = 2) -> tuple[Dataset, FixedEmbedder]:
    """Return images with some captions and one of three classes each; vectors are near to a shared part."""
    rng = np.random.default_rng(3)
    labels, ids, owner = np.arange(n) % 3, [f"p{row:03}" for row in range(n)], np.repeat(np.arange(n), per_image)
    shown = rng.standard_normal((n, DIM)) + 2 * np.eye(DIM)[labels]
    images = shown + 0.5 * rng.standard_normal((n, DIM))
    texts = shown[owner] + 0.9 * rng.standard_normal((len(owner), DIM))
    names = ("cat", "dog", "emu")
    captions = [f"caption {row}" for row in range(len(owner))]
    data = data_of(ids, labels=labels, class_names=names, captions=captions, caption_image=owner)
    classes = dict(zip(names, np.eye(DIM).tolist(), strict=False))
    vectors = dict(zip(captions, texts.tolist(), strict=True)) | classes
    return data, FixedEmbedder(dict(zip(ids, images.tolist(), strict=True)), vectors)


def evaluate(data: Dataset, embedder: FixedEmbedder, task: Compression = TASK) -> Evaluation:
    task.check(data)
    return task.evaluate(data, embedder, np.random.default_rng(0))


@cache
def both() -> Evaluation:
    """Return the answers to all questions."""
    return evaluate(*world())


def naive(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return each query's credit: of the items with the highest score, the share that are right."""
    first = np.isclose(scores, scores.max(axis=1, keepdims=True), atol=1e-9)
    return (first & right).sum(axis=1) / first.sum(axis=1)


def test_signs_have_the_recall_and_accuracy_of_a_naive_search_with_its_ties() -> None:
    (data, embedder), result = world(), both()
    assert data.captions is not None and data.caption_image is not None and data.labels is not None
    images, texts, classes = (
        np.where(vectors_of_side[:, :8] > 0, 1.0, -1.0)
        for vectors_of_side in (
            embedder.images(data.images),
            embedder.texts(data.captions),
            embedder.texts(["cat", "dog", "emu"]),
        )
    )
    right = data.caption_image[:, None] == np.arange(N)
    expected = {
        "image_retrieval_recall@1": naive(texts @ images.T, right),
        "text_retrieval_recall@1": naive(images @ texts.T, right.T),
        "acc1": naive(images @ classes.T, data.labels[:, None] == np.arange(3)),
    }
    for name, credit in expected.items():
        column = result.samples[f"binary@8/{name}"]
        np.testing.assert_allclose(column[~np.isnan(column)], credit)
    assert expected["image_retrieval_recall@1"].mean() % 1 > 0 and (expected["acc1"] % 1 > 0).any()


def test_each_format_has_quality_and_its_paired_change() -> None:
    result = both()
    for question, form in zip(QUESTIONS, ("int8@4", "pca@4", "binary@8"), strict=True):
        whole, quality, change = (
            metric(result, name) for name in (question, f"{form}/{question}", f"{form}/{question}_change")
        )
        assert whole.value is not None and quality.value is not None and change.value is not None
        assert change.value == pytest.approx(quality.value - whole.value, abs=1e-12)
        assert change.higher_is_better is None and change.unit == "difference"
        assert change.n == quality.n == whole.n and quality.chance == whole.chance
        assert change.low is not None and change.high is not None and change.low <= change.value <= change.high
        assert whole.n == (2 * N if question == "image_retrieval_recall@1" else N) and whole.chance is not None
    assert metric(result, "float16@16/acc1_change").value == 0
    assert set(result.samples["cluster"][: 2 * N]) == {f"p{row:03}" for row in range(N)}
    assert result.subsets["int8@8"] == "The first 8 dimensions as int8"
    assert result.subsets["binary@16"] == "The signs of all 16 dimensions"
    curve = result.curves["int8/acc1_by_bytes"]
    assert curve.x == [4, 8, 16] and curve.y == [np.nanmean(result.samples[f"int8@{k}/acc1"]) for k in (4, 8, 16)]
    assert result.curves["float32/acc1_by_bytes"].x == [64] and result.curves["binary/acc1_by_bytes"].x == [1, 1, 2]


def changed(values: np.ndarray, change: np.ndarray, *, points: float = 1.0) -> Metric:
    """Return the smallest of five kinds of one format, of which all change the credits of float32 alike."""
    forms = [Format(kind, 8) for kind in ("first", "pca", "int8", "pca_int8", "binary")]
    samples = {"q": values, "cluster": np.arange(len(values))}
    samples |= {f"{form.name}/q{end}": column for form in forms for end, column in (("", values), ("_change", change))}
    chains = tuple((form,) for form in forms)
    smallest = SmallestFormat(title="", description="", question="q", chains=chains, dim=16, points=points, chance=0.01)
    return smallest.metric(samples, np.random.default_rng(0))


def test_a_format_that_wins_answers_needs_fewer_images() -> None:
    n = 200
    won = np.repeat([1.0, 0.0], [10, n - 10])
    result = changed(np.repeat([0.0, 1.0], n // 2), won)
    lost = "The signs of the first 8 dimensions lose less than 1 point of the 50.0 % [43.1, 56.9] of float32"
    assert (result.value, result.reason) == (1, f"{lost}: 1 byte instead of 64")
    at_chance = changed(np.repeat([0.0, 1.0], [n - 2, 2]), won)
    assert at_chance.reason == "float32 has 1.0 % [0.2, 3.6], too close to chance to measure a loss of 1 point"


def test_the_smallest_that_will_do_is_named_with_its_bytes() -> None:
    data, embedder = world(600, per_image=1)
    data = replace(data, captions=None, caption_image=None)
    evaluation = evaluate(data, embedder, replace(TASK, points=5.0))
    smallest = metric(evaluation, "acc1_smallest")
    lost = "The first 4 dimensions as int8 lose less than 5 points of the 82.8 % [79.6, 85.6] of float32"
    assert (smallest.value, smallest.reason) == (4, f"{lost}: 4 bytes instead of 64")
    assert evaluation.curves["acc1_smallest"].x == [4.0]
    assert set(evaluation.curves["binary/acc1_most_lost"].x) <= {1.0, 2.0}
    strict = metric(evaluate(data, embedder, replace(TASK, points=0.1)), "acc1_smallest")
    assert strict.value is None
    assert "600 images are too few to show that a format loses less than 0.1 points" in str(strict.reason)


def test_a_model_at_chance_has_nothing_to_lose() -> None:
    data, embedder = world(600, per_image=1)
    assert data.labels is not None
    shuffled = np.random.default_rng(0).permutation(data.labels)
    data = replace(data, captions=None, caption_image=None, labels=shuffled)
    evaluation = evaluate(data, embedder, replace(TASK, points=8.0))
    smallest = metric(evaluation, "acc1_smallest")
    assert smallest.value is None and str(smallest.reason).endswith("too close to chance to measure a loss of 8 points")
    assert (
        "acc1_smallest" not in evaluation.curves
        and max(filter(None, evaluation.curves["int8/acc1_most_lost"].y)) < 0.08
    )


def test_components_need_vectors_to_be_fitted_on() -> None:
    data, embedder = world(10)
    evaluation = evaluate(data, embedder)
    reason = "8 components need 16 stored vectors or more, and there are 10"
    for name in ("pca@8/acc1", "pca_int8@8/image_retrieval_recall@1_change"):
        assert metric(evaluation, name).reason == reason
    assert all(metric(evaluation, name).value is not None for name in ("pca@4/acc1", "pca@8/text_retrieval_recall@1"))
    few = evaluate(*world(3))  # too few for any component: the kinds count all the same
    assert "459 images are needed" in str(metric(few, "acc1_smallest").reason)


def test_components_of_images_to_classify_are_fitted_on_others() -> None:
    dim, n, n_classes = 64, 128, 50
    rng = np.random.default_rng(4)
    names, classes = [f"c{row}" for row in range(n_classes)], rng.standard_normal((n_classes, dim))
    labels = [rng.integers(n_classes, size=array) for array in (n, 2_000)]
    both = [classes[array] + 2 * rng.standard_normal((len(array), dim)) for array in labels]  # no direction varies most
    ids = [f"p{row}" for row in range(n)]
    data = data_of(ids, labels=labels[0], class_names=tuple(names))
    embedder = FixedEmbedder(
        dict(zip(ids, both[0].tolist(), strict=True)), dict(zip(names, classes.tolist(), strict=True))
    )
    result = evaluate(data, embedder, replace(TASK, dims=(32,)))
    known, new = (unit(array.astype(np.float32)) for array in both)
    components, queries = principal_components(known), unit(classes.astype(np.float32))
    lost = {}
    for name, x, true in (("known", known, labels[0]), ("new", new, labels[1])):
        stored_vectors, stored = compress(Format("pca", 32), x, queries, components)
        lost[name] = np.mean((x @ queries.T).argmax(1) == true) - np.mean((stored_vectors @ stored.T).argmax(1) == true)
    change = metric(result, "pca@32/acc1_change").value
    assert change is not None and lost["known"] < lost["new"] - 0.1 and -change > lost["new"] - 0.05


def test_cross_fitted_answers_are_those_of_a_naive_search_a_fold_at_a_time() -> None:
    data, embedder = world()
    assert data.labels is not None
    evaluation = evaluate(replace(data, captions=None, caption_image=None), embedder)
    images, classes = (
        vectors_of_side / np.linalg.norm(vectors_of_side, axis=1, keepdims=True)
        for vectors_of_side in (embedder.images(data.images), embedder.texts(["cat", "dog", "emu"]))
    )
    folds, expected, of_int8 = np.random.default_rng(0).permutation(N) % 5, np.empty(N), np.empty(N)
    for fold in range(5):
        mean = images[folds != fold].mean(axis=0)
        axes = np.linalg.svd(images[folds != fold] - mean)[2][:4]
        projected = (images - mean) @ axes.T
        scales = np.abs(projected).max(axis=0) / 127  # of all that are stored
        right = data.labels[:, None] == np.arange(3)
        for credit, stored in ((expected, projected), (of_int8, np.rint(projected / scales) * scales)):
            credit[folds == fold] = naive((mean + stored @ axes) @ classes.T, right)[folds == fold]
    np.testing.assert_array_equal(evaluation.samples["pca@4/acc1"], expected)
    np.testing.assert_array_equal(evaluation.samples["pca_int8@4/acc1"], of_int8)
    assert 0 < np.mean(evaluation.samples["pca@4/acc1_change"] != 0) < 1


def test_what_is_fitted_knows_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted_on: list[np.ndarray] = []

    def recorded(form: Format, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        stored, queries = compress(form, *args)
        fitted_on.append(stored)
        return stored, queries

    monkeypatch.setattr("clipbench_tasks.compression.compress", recorded)
    data, embedder = world()
    assert data.captions is not None
    captions = [f"another {caption}" for caption in data.captions]
    texts = np.random.default_rng(9).standard_normal((len(captions), DIM)).tolist()
    names = data.image_ids
    images = dict(zip(names, embedder.images(data.images).tolist(), strict=True))
    for asked in (data.captions, captions):
        vectors = dict(zip(asked, texts if asked is captions else embedder.texts(asked).tolist(), strict=True))
        of_captions = replace(data, captions=asked, labels=None, class_names=None)
        evaluate(of_captions, FixedEmbedder(images, vectors))
    # Of each run, the formats of images that captions search come first, then those of captions that images search.
    first, second = fitted_on[: len(fitted_on) // 2], fitted_on[len(fitted_on) // 2 :]
    half = len(first) // 2
    for one, other in zip(first[:half], second[:half], strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.any(one != other) for one, other in zip(first[half:], second[half:], strict=True))


def test_faults_are_named() -> None:
    data, embedder = world()
    with pytest.raises(DataError, match="by hand has 1 image: compression needs two"):
        evaluate(data.take(np.array([0])), embedder)
    with pytest.raises(UsageError, match=r"dims = \[8, 16\], expected numbers below 16, the dimension of the vectors"):
        evaluate(data, embedder, replace(TASK, dims=(8, 16)))
