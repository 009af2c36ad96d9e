"""retrieval with a sample of queries: each has its rank of the full run, the sample is fair, and intervals hold for all
queries.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.evaluation.measure import with_numbers
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.ranking import cross_answers, recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import ModelInfo
from clipbench.results.record import EvaluationRecord
from clipbench.stats.intervals import mean_interval
from clipbench.testing import INFO, FixedEmbedder, StubEmbedder
from clipbench_tasks.directions import draw_queries
from clipbench_tasks.retrieval import Retrieval
from tests.made import data_of
from tests.made import record_of as made_record

N_IMAGES, N_TEXTS, DIM = 60, 150, 3
OWNER = np.arange(N_TEXTS) % N_IMAGES
DIRECTIONS = {"image_retrieval": N_TEXTS, "text_retrieval": N_IMAGES, "text_text": N_TEXTS, "image_image": N_IMAGES}


class Coarse(StubEmbedder):
    """Vectors of few different values, with many ties, whatever is asked."""

    info: ModelInfo = replace(INFO, embed_dim=DIM)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draws = np.random.default_rng(seed)
        images = draws.integers(-2, 3, (N_IMAGES, DIM)) + 0.25
        texts = images[OWNER] + draws.integers(-1, 2, (N_TEXTS, DIM)) + 0.125
        self._sides = [array.astype(np.float32) for array in (images, texts)]

    def images(self, images: object) -> np.ndarray:
        return self._sides[0]

    def texts(self, texts: object) -> np.ndarray:
        return self._sides[1]


def pairs() -> Dataset:
    return data_of(
        [str(row) for row in range(N_IMAGES)],
        captions=[f"caption {row}" for row in range(N_TEXTS)],
        caption_image=OWNER,
        labels=np.arange(N_IMAGES) % 7,
    )


def evaluate(queries: int | None, model: Coarse | None = None) -> Evaluation:
    return Retrieval(ks=(1, 5), queries=queries).evaluate(pairs(), model or Coarse(), np.random.default_rng(1))


def of_direction(evaluation: Evaluation, name: str) -> dict[str, np.ndarray]:
    """Return the rows of a direction."""
    is_own = evaluation.samples["direction"] == name
    return {key: column[is_own] for key, column in evaluation.samples.items()}


def assert_some_of(some: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], but: Collection[str] = ()) -> None:
    """Assert that all columns of some samples are as in the table of all."""
    row_of = {sample: row for row, sample in enumerate(values["sample_id"].tolist())}
    rows = [row_of[sample] for sample in some["sample_id"].tolist()]
    for name in some.keys() - set(but):
        np.testing.assert_array_equal(some[name], values[name][rows], name)


def record_of(evaluation: Evaluation, params: dict[str, Any] | None = None) -> EvaluationRecord:
    return with_numbers(made_record("retrieval", params=params or {}), evaluation, 0)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_each_query_has_the_row_that_it_has_where_all_search(name: str) -> None:
    some, whole = of_direction(evaluate(20), name), of_direction(evaluate(None), name)
    assert len(some["sample_id"]) == 20 and len(whole["sample_id"]) == DIRECTIONS[name]
    assert some[f"{name}_tied"].any()
    # Images are joined to clusters by what the sample finds.
    assert_some_of(some, whole, ["cluster"] if name == "image_image" else [])


def test_numbers_and_notes_are_of_the_sample() -> None:
    record, result = record_of(evaluate(40)), evaluate(40)
    assert {record.metrics[f"{name}_recall@1"].n for name in DIRECTIONS} == {40}
    assert result.notes == (
        "40 of 150 captions and 40 of 60 images, drawn at random, search the whole gallery, and each is ranked exactly",
    )
    full_record = record_of(evaluate(None))
    for name in ("image_retrieval", "image_image"):  # of one size, so that the chance of each query is that of all
        assert record.metrics[f"{name}_recall@1"].chance == pytest.approx(
            full_record.metrics[f"{name}_recall@1"].chance, abs=0.01
        )
    metric = record.metrics["image_retrieval_recall@1"]
    assert "clusters" in (metric.method or "")
    assert metric.low is not None and metric.value is not None and metric.low < metric.value


def test_another_model_has_the_same_sample_and_so_do_the_same_data_in_another_order() -> None:
    first, second = evaluate(20), evaluate(20, Coarse(seed=9))
    assert first.samples["sample_id"].tolist() == second.samples["sample_id"].tolist()
    assert first.samples["target_cosine"].tolist() != second.samples["target_cosine"].tolist()
    ids = [str(row) for row in range(100)]
    order = np.random.default_rng(3).permutation(100)
    moved = [ids[row] for row in order.tolist()]
    rows, of_moved = (draw_queries(each, 10, np.random.default_rng(0)) for each in (ids, moved))
    assert sorted(ids[row] for row in rows.tolist()) == sorted(moved[row] for row in of_moved.tolist())
    assert (np.diff(rows) > 0).all() and (np.diff(of_moved) > 0).all()


def test_every_query_is_as_likely_to_be_drawn() -> None:
    ids = [str(row) for row in range(12)]
    drawings = np.concatenate([draw_queries(ids, 3, np.random.default_rng(seed)) for seed in range(2_000)])
    np.testing.assert_allclose(np.bincount(drawings, minlength=12) / 2_000, 3 / 12, atol=0.04)


def test_of_judged_data_a_sample_of_the_queries_with_a_relevant_document_searches() -> None:
    queries = [f"query {row}" for row in range(30)]
    documents = [f"document {row}" for row in range(20)]
    draws = np.random.default_rng(0)
    texts = {name: draws.standard_normal(4).tolist() for name in (*queries, *documents)}
    none = np.full(30, -1)
    judged = Judgements(
        queries=JudgedItems(tuple(queries), tuple(queries), none),
        documents=JudgedItems(tuple(documents), tuple(documents), none[:20]),
        query=np.arange(30),
        document=np.arange(30) % 20,
        grade=(np.arange(30) < 25).astype(np.int64),
    )
    data = Dataset(id="judged", images=[], image_ids=[], judgements=judged)
    embedder = FixedEmbedder({}, texts)
    some, of_all = (Retrieval(queries=most).evaluate(data, embedder, np.random.default_rng(0)) for most in (10, None))
    assert some.notes[0] == "10 of 25 queries, drawn at random, search the whole gallery, and each is ranked exactly"
    assert len(some.samples["sample_id"]) == 10 and record_of(some).metrics["ndcg@10"].n == 10
    assert_some_of(some.samples, of_all.samples, ["cluster"])
    (note,) = Retrieval(queries=25).evaluate(data, embedder, np.random.default_rng(0)).notes
    assert note.startswith("5 queries without a relevant document: left out, and nDCG@10 is ")


@pytest.mark.parametrize("noise", [0.25, 0.7, 2.5])
@pytest.mark.parametrize("n", [20, 200])
def test_the_interval_of_a_sample_holds_for_all_queries(noise: float, n: int) -> None:
    """experiments/coverage.md has the rates of more draws."""
    draws = np.random.default_rng(0)
    owner = np.repeat(np.arange(400), 5)
    shown, spread = draws.standard_normal((400, 16)), noise * draws.uniform(0.2, 1.8, 400)[:, None]
    drawn_images = shown + spread * draws.standard_normal((400, 16))
    drawn_texts = shown[owner] + spread[owner] * draws.standard_normal((2_000, 16))
    images, texts = (unit(array.astype(np.float32)) for array in (drawn_images, drawn_texts))
    _, by_text = cross_answers(images, texts, owner)
    hits, ids = recall_at_k(by_text.ranks, 1), [str(row) for row in range(2_000)]
    samples = [draw_queries(ids, n, np.random.default_rng(seed)) for seed in range(200)]
    bounds = np.array([mean_interval(hits[rows], clusters=owner[rows])[:2] for rows in samples])
    covered = (bounds[:, 0] <= hits.mean()) & (hits.mean() <= bounds[:, 1])
    assert covered.mean() > 0.9  # a standard error of 0.95 is 0.015
