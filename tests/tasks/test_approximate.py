"""retrieval by approximate search: the recall of what faiss finds, how many of the exact nearest that is, and its labels."""

import sys
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.data.judgements import JudgedItems, Judgements
from clipbench.errors import UsageError
from clipbench.evaluation.evaluate import _parameters
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.approximate import approximate_nearest, search_recall
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import ModelInfo
from clipbench.results.matching import match
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.testing import INFO, GivenVectors, NamedImage
from clipbench_reports.sections.retrieval import findings
from clipbench_tasks import approximate
from clipbench_tasks.retrieval import Retrieval

N_IMAGES, N_TEXTS, DIM = 600, 1_300, 8
OWNER = np.concatenate([np.arange(N_IMAGES), np.arange(N_IMAGES), np.arange(N_TEXTS - 2 * N_IMAGES)])


@cache
def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    images = rng.standard_normal((N_IMAGES, DIM)).astype(np.float32)
    texts = images[OWNER] + rng.standard_normal((N_TEXTS, DIM)).astype(np.float32) / 2
    return unit(images), unit(texts)


class Given(GivenVectors):
    """The vectors above, whatever is asked."""

    info: ModelInfo = replace(INFO, embed_dim=DIM)

    def images(self, images: object) -> np.ndarray:
        return vectors()[0]

    def texts(self, texts: object) -> np.ndarray:
        return vectors()[1]


def dataset(**parts: Any) -> Dataset:
    given: dict[str, Any] = {
        "id": "pairs",
        "images": [NamedImage(str(row)) for row in range(N_IMAGES)],
        "image_ids": [str(row) for row in range(N_IMAGES)],
        "captions": [f"caption {row}" for row in range(N_TEXTS)],
        "caption_image": OWNER,
        "labels": np.arange(N_IMAGES) % 2,
    }
    return Dataset(**{**given, **parts})


def measured(task: Retrieval, **parts: Any) -> tuple[Evaluation, dict[str, Metric]]:
    found = task.evaluate(dataset(**parts), Given(), np.random.default_rng(0))
    return found, {name: each.metric(found.samples, np.random.default_rng(0)) for name, each in found.measures.items()}


@pytest.fixture
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let approximate search take as few items as are there."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install 'clipbench[faiss]'")
    monkeypatch.setattr(approximate, "LEAST_ITEMS", N_IMAGES)


@pytest.mark.usefixtures("few_items")
def test_with_all_lists_approximate_search_has_the_recall_of_exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "approximate_nearest", partial(approximate_nearest, n_probes=N_TEXTS))
    found, metrics = measured(Retrieval(search="faiss"), labels=None)
    exact, of_exact = measured(Retrieval(), labels=None)
    for direction in ("image_retrieval", "text_retrieval"):
        for k in (1, 5, 10):
            name = f"{direction}_recall@{k}"
            one, other = metrics[f"{name}_approximate"], of_exact[name]
            assert (one.value, one.low, one.high, one.chance) == (other.value, other.low, other.high, other.chance)
            assert 0 < (one.value or 0) < 1
    for name, n in (("image_search_recall@10", 1_000), ("text_search_recall@10", N_IMAGES)):
        assert (metrics[name].value, metrics[name].n) == (1.0, n)
    of_pairs = np.isin(exact.samples["direction"], ["image_retrieval", "text_retrieval"])
    for column in ("sample_id", "image", "chosen_image", "right_cosine", "chosen_cosine"):
        np.testing.assert_array_equal(found.samples[column], exact.samples[column][of_pairs], column)


@pytest.mark.usefixtures("few_items")
def test_the_share_of_the_exact_nearest_is_that_of_a_naive_search(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = vectors()
    rows = approximate_nearest(texts, images, 10, n_probes=2)
    np.testing.assert_array_equal(rows, approximate_nearest(texts, images, 10, n_probes=2))
    best = np.argsort(-(texts.astype(np.float64) @ images.T.astype(np.float64)), axis=1)[:, :10]
    naive = [len({*one} & {*other}) / 10 for one, other in zip(rows.tolist(), best.tolist(), strict=True)]
    assert search_recall(rows, texts, images).tolist() == naive
    assert 0.2 < np.mean(naive) < 0.98

    monkeypatch.setattr(approximate, "approximate_nearest", partial(approximate_nearest, n_probes=2))
    found, metrics = measured(Retrieval(search="faiss"))
    shares = found.samples["image_search_recall@10"][:N_TEXTS]
    asked = np.flatnonzero(~np.isnan(shares))
    assert len(asked) == metrics["image_search_recall@10"].n == 1_000
    assert shares[asked].tolist() == [naive[row] for row in asked]
    low, high = metrics["image_search_recall@10"].low, metrics["image_search_recall@10"].high
    assert low is not None and high is not None and low < shares[asked].mean() < high


@pytest.mark.usefixtures("few_items")
def test_every_number_says_that_the_search_was_approximate_and_ranks_are_undefined() -> None:
    found, metrics = measured(Retrieval(ks=(1, 5), search="faiss"))
    assert all("approximate search" in metric.title for metric in metrics.values())
    assert all("approximate search" in each.description for each in metrics.values())
    assert "Approximate search" in found.scoring
    assert found.notes[0].startswith("approximate search: the index finds ")
    assert [name for name, each in metrics.items() if each.is_headline] == [
        "image_retrieval_recall@1_approximate",
        "text_retrieval_recall@1_approximate",
    ]
    undefined = {name: each.reason for name, each in metrics.items() if each.value is None}
    for name in ("image_retrieval", "text_retrieval"):
        assert undefined.pop(f"{name}_median_rank") == "approximate search knows no rank beyond its k"
    assert set(undefined) == {
        f"{name}_{what}"
        for name in ("text_text", "image_image")
        for what in ("recall@1_approximate", "recall@5_approximate", "median_rank")
    }
    record = EvaluationRecord(
        task="retrieval", task_version=1, params={}, dataset=DatasetRecord(id="d"), status="ok", metrics=metrics
    )
    head, *others = findings(record)
    assert head.text.startswith("Approximate search: the index finds ")
    assert "% of the 10 exact nearest images and " in head.text
    assert len(others) == 2 and all(each.text.startswith("Approximate search: a") for each in others)


@pytest.mark.usefixtures("few_items")
def test_equal_vectors_and_lists_without_items_cost_nothing_but_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "approximate_nearest", lambda asked, _, k: np.full((len(asked), k), -1))
    found, metrics = measured(Retrieval(search="faiss"))
    assert metrics["image_retrieval_recall@10_approximate"].value == metrics["text_search_recall@10"].value == 0.0
    assert np.isnan(found.samples["chosen_cosine"]).all() and set(found.samples["chosen_caption"]) == {""}


def test_few_items_and_judgements_are_for_exact_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipbench_tasks.retrieval.optional", lambda *_, **__: None)
    with pytest.raises(UsageError, match="is for 100,000 images and captions or more, and pairs has 600 and 1,300: "):
        measured(Retrieval(search="faiss"))
    items, rows = JudgedItems(("a",), ("one",), np.array([-1])), np.array([0])
    judged = Judgements(queries=items, documents=items, query=rows, document=rows, grade=rows)
    with pytest.raises(UsageError, match="pairs has judgements, which take exact search"):
        Retrieval(search="faiss").evaluate(replace(dataset(), judgements=judged), Given(), np.random.default_rng(0))
    with pytest.raises(UsageError, match="expected at most 1,000 with search"):
        Retrieval(ks=(2_000,), search="faiss")
    with pytest.raises(UsageError, match="search = 'fast', expected 'exact' or 'faiss'"):
        Retrieval(search="fast")


def test_without_faiss_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"needs the package faiss.*: pip install 'clipbench\[faiss\]'"):
        build_task(Request(task="retrieval", params={"search": "faiss"}))
    build_task(Request(task="retrieval", params={"search": "exact"}))


def test_exact_and_approximate_search_are_not_compared_and_older_exact_results_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clipbench_tasks.retrieval.optional", lambda *_, **__: None)
    params = _parameters(Retrieval()), _parameters(Retrieval(search="faiss"))
    assert params[0] == {"ks": (1, 5, 10)}  # as before there was another search
    records = [
        EvaluationRecord(task="retrieval", task_version=1, params=each, dataset=DatasetRecord(id="d"), status="ok")
        for each in params
    ]
    assert match(*records).reason == (
        'parameters {"ks": [1, 5, 10]} in the one run, {"ks": [1, 5, 10], "search": "faiss"} in the other'
    )
