"""retrieval on data with judgements: values for vectors written by hand, who is asked, clusters, and what is shown."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipbench as cb
from clipbench.choosing.judgement_log import append, grade_lines, read_log, write_qrels
from clipbench.choosing.make import PoolOptions, make_pool
from clipbench.data import Dataset
from clipbench.data.dataset import DataOptions
from clipbench.data.dataset_loading import load_data
from clipbench.data.images import ImageRef
from clipbench.data.modalities import JOINT
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.errors import DataError, Unavailable
from clipbench.evaluation.slices import slices_of
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import DOT, Role, Vectors
from clipbench.results.record import Metric
from clipbench.testing import INFO, FixedEmbedder, StubEmbedder, ToyModel
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from clipbench_tasks.retrieval import Retrieval
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task, metrics_of

IMAGES = {"sea": [1.0, 0.0, 0.0], "wood": [0.0, 1.0, 0.0]}
TEXTS = {
    "waves": [1.0, 0.2, 0.0],
    "trees": [0.6, 0.8, 0.0],
    "hills": [0.0, 0.6, 0.8],
    "the sea": [1.0, 0.1, 0.0],
    "a wood": [0.1, 1.0, 0.0],
    "nothing": [0.0, 0.0, 1.0],
}
OWN_IMAGE = "the own image is left out of the search of"
DOCUMENTS = JudgedItems(
    ("d-sea", "d-wood", "d-waves", "d-hills"), ("", "trees", "waves", "hills"), np.array([0, 1, -1, -1])
)
QUERIES = JudgedItems(("q-sea", "q-wood", "q-none"), ("the sea", "a wood", "nothing"), np.array([-1, -1, -1]))
GRADES = [(0, 0, 2), (0, 2, 1), (0, 3, 0), (1, 1, 1), (2, 1, 0)]


def dataset(
    queries: JudgedItems = QUERIES, documents: JudgedItems = DOCUMENTS, grades: list[tuple[int, int, int]] = GRADES
) -> Dataset:
    query, document, grade = np.array(grades, np.int64).reshape(-1, 3).T
    judgements = Judgements(queries=queries, documents=documents, query=query, document=document, grade=grade)
    return data_of(IMAGES, judgements=judgements)


def evaluate(data: Dataset, *, ks: tuple[int, ...] = (1, 2)) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(Retrieval(ks=ks), data, FixedEmbedder(IMAGES, TEXTS))


@pytest.mark.parametrize("task", [Retrieval(ks=(1, 2)), MixedRetrieval(ks=(1, 2))], ids=lambda task: task.name)
def test_queries_of_a_language_are_a_slice_that_searches_all_documents(task: cb.Task) -> None:
    data = dataset(QUERIES._replace(languages=("en", "de", "de")))
    assert data.judgements is not None
    embedder = FixedEmbedder(IMAGES, TEXTS)
    evaluation = task.evaluate(data, embedder, np.random.default_rng(0))
    record = slices_of(task, data, embedder, evaluation, 0).records["language"]
    values = []
    for language, rows in (("en", [0]), ("de", [1, 2])):
        own = replace(data, judgements=data.judgements.take_queries(np.array(rows)))
        expected = metrics_of(task.evaluate(own, embedder, np.random.default_rng(0)))["ndcg@2"].value
        assert expected is not None and record.groups[language]["ndcg@2"].value == pytest.approx(expected)
        values.append(expected)
    assert values[0] != values[1] and record.mean["ndcg@2"].value == pytest.approx(np.mean(values))


def test_values_worked_by_hand() -> None:
    evaluation, metrics = evaluate(dataset())
    # "the sea" is nearest to the waves (0.9952), of grade 1, and then to the image (0.9950), of grade 2
    assert evaluation.samples["predicted_document"].tolist() == ["d-waves", "d-wood"]
    assert metrics["ndcg@2"].value == pytest.approx(((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)) + 1) / 2)
    assert metrics["ndcg@1"].value == pytest.approx((1 / 2 + 1) / 2)
    assert metrics["recall@1"].value == pytest.approx((1 / 2 + 1) / 2) and metrics["recall@2"].value == 1.0
    assert metrics["mrr"].value == 1.0 and metrics["map@R"].value == 1.0
    assert metrics["r_precision"].value == metrics["hit_rate@1"].value == 1.0
    # of the first two of "a wood" the second was not judged: with grade 2 its nDCG would be that of the wrong order
    assert metrics["mrr"].n == 2 and len(evaluation.notes) == 2
    assert (
        evaluation.notes[0]
        == "25.0 % [2.5, 90.3] of the first 2 documents are not judged: nDCG@2 is 93.0 % if none of them is relevant,"
        " and 86.0 % if all are, with the highest grade"
    )
    assert evaluation.notes[1].endswith(
        f"nDCG@2 is {200 * (metrics['ndcg@2'].value or 0) / 3:.1f} % where they count as 0"
    )
    assert metrics["ndcg@2"].reason == "; ".join(evaluation.notes) and metrics["ndcg@1"].reason is None
    assert [name for name, metric in metrics.items() if metric.is_headline] == ["ndcg@2", "mrr"]
    # by chance, with one relevant of four: (1 + 1/2 + 1/3 + 1/4) / 4; with two: 1/2 + 2/6 1/2 + 1/6 1/3
    assert metrics["mrr"].chance == pytest.approx(((25 / 12) / 4 + 1 / 2 + 1 / 6 + 1 / 18) / 2)
    assert metrics["recall@1"].chance == pytest.approx(1 / 4)
    assert evaluation.question.startswith("Are the documents") and evaluation.curves["judged_recall"].x == [1, 2, 3]


def test_a_pool_has_one_value_in_choose_and_in_a_run_and_says_what_it_did_not_judge(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(30):
        Image.new("RGB", (8, 8), (8 * number, 0, 0)).save(photographs / f"{number}.png")
    models = {name: Coloured(name) for name in ("one", "two", "outside")}
    queries = [f"query {number}" for number in range(8)]
    loaders = [(name, partial(Coloured, name)) for name in ("one", "two")]
    pool = make_pool(loaders, photographs, queries, tmp_path / "pool", PoolOptions(k=5))
    for number, (query, images) in enumerate(pool.candidates.items()):  # the last three have nothing relevant
        append(
            pool,
            grade_lines(query, {image: int(number < 5 and index < 3) for index, image in enumerate(images)}, "anna"),
        )
    write_qrels(read_log(pool))
    chosen = cb.choose(pool)
    data = load_data(str(pool.folder), DataOptions())
    for model, scores in chosen.scores.items():
        evaluation = Retrieval(ks=(1, 5)).evaluate(data, models[model], np.random.default_rng(0))
        value = metrics_of(evaluation)["ndcg@5"].value
        assert value is not None and scores["nDCG@5"].value == pytest.approx(value * 5 / 8)
        assert f"{100 * value:.1f} % for {model}" in str(chosen)
        as_zero = f"nDCG@5 is {100 * value * 5 / 8:.1f} % where they count as 0, as in choose"
        assert evaluation.notes[0] == f"3 queries without a relevant document: left out, and {as_zero}"
    left_out = "3 queries have no relevant photograph: each counts 0 here, and the task retrieval leaves them out"
    assert left_out in str(chosen)
    outside = Retrieval(ks=(5, 10)).evaluate(data, models["outside"], np.random.default_rng(0))
    unjudged, ndcg = (outside.samples[f"{name}@10"].mean() for name in ("unjudged", "ndcg"))
    assert 0 < unjudged < 1 and outside.notes[0].startswith(f"{100 * unjudged:.1f} % [")
    assert outside.notes[2] == "the pool has only the first 5 documents of each of its models, and nDCG@10 needs more"
    assert ndcg < 1 and f"nDCG@10 is {100 * ndcg:.1f} % if none" in outside.notes[0]


class Coloured(StubEmbedder):
    """A model that knows each photograph and each query by a random vector."""

    def __init__(self, name: str) -> None:
        self.info = replace(INFO, ref=name, fingerprint=name, embed_dim=8)

    def images(self, images: Sequence[ImageRef]) -> Vectors:
        return self.texts([image.digest() for image in images])

    def texts(self, texts: Sequence[str]) -> Vectors:
        seeds = [zlib.crc32(f"{self.info.ref} {text}".encode()) for text in texts]
        return np.array([np.random.default_rng(seed).standard_normal(8) for seed in seeds], np.float32)


def test_a_document_with_text_and_image_is_the_mean_of_both_unit_vectors() -> None:
    evaluation, _ = evaluate(dataset())
    both = np.array([0.6, 0.8, 0]) + np.array([0, 1, 0])
    query = np.array([0.1, 1, 0]) / np.hypot(0.1, 1)
    assert evaluation.samples["target_cosine"][1] == pytest.approx(query @ both / np.linalg.norm(both), abs=1e-7)


def test_a_query_may_be_an_image_and_does_not_find_itself_among_the_documents() -> None:
    queries = JudgedItems(("d-sea", "d-wood"), ("", ""), np.array([0, 1]))
    evaluation, metrics = evaluate(dataset(queries, grades=[(0, 2, 1), (1, 1, 1)]), ks=(1,))
    # The sea is document d-sea too, which is left out; d-wood has a text besides, so that it is not the query.
    assert (
        evaluation.samples["predicted_document"].tolist() == ["d-waves", "d-wood"] and metrics["recall@1"].value == 1.0
    )
    assert evaluation.samples["image"].tolist() == [0, 1] and evaluation.samples["target_image"].tolist() == [-1, 1]
    assert evaluation.notes == ("the query itself is left out of the search of 1 query",)
    assert metrics["recall@1"].chance == pytest.approx((1 / 3 + 1 / 4) / 2)
    sea = evaluation.neighbours["sample_id"] == "query:d-sea"
    assert not sea.any() or "d-sea" not in evaluation.neighbours["text"][sea]


def test_a_query_of_an_image_and_a_text_is_the_sum_of_both_and_does_not_find_its_own_image() -> None:
    # "The sea, but a wood": without the rule, the sea itself would be the nearest.
    queries = JudgedItems(("q-both",), ("a wood",), np.array([0]))
    documents = JudgedItems(("d-sea", "d-wood", "d-hills"), ("", "", "hills"), np.array([0, 1, -1]))
    evaluation, metrics = evaluate(dataset(queries, documents, grades=[(0, 1, 1)]), ks=(1,))
    both = np.array([1.0, 0, 0]) + np.array([0.1, 1, 0]) / np.hypot(0.1, 1)
    assert evaluation.samples["target_cosine"][0] == pytest.approx(both[1] / np.linalg.norm(both), abs=1e-7)
    assert metrics["hit_rate@1"].value == metrics["r_precision"].value == 1.0
    assert metrics["hit_rate@1"].chance == pytest.approx(1 / 2)  # of two documents, its own image left out
    assert evaluation.notes == (f"{OWN_IMAGE} 1 of 1 query of an image and a text",)
    asked_for, _ = evaluate(dataset(queries, documents, grades=[(0, 0, 1)]), ks=(1,))
    assert asked_for.samples["hit_rate@1"].tolist() == [1.0] and asked_for.notes == ()


class Joint(FixedEmbedder):
    """A model whose vector of an image with a text has nothing to do with those of the two."""

    def __init__(self) -> None:
        super().__init__(IMAGES, TEXTS)
        self.info = replace(self.info, is_joint=True)

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        if modality != JOINT:
            return super().encode(modality, items, role)
        assert [(image.name, text) for image, text in items] == [("sea", "a wood")]
        return np.array([[0, 0.6 if role == "query" else 1, 0.8]], np.float32)


def test_a_mean_that_inner_products_do_not_have_is_refused_before_anything_is_encoded() -> None:
    class Dot(FixedEmbedder):
        def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
            raise AssertionError("it costs")

    model = Dot(IMAGES, TEXTS)
    model.info = replace(model.info, similarity=DOT)
    with pytest.raises(Unavailable, match="a mean of an image and a text is defined only for vectors of length 1"):
        Retrieval(ks=(1,)).evaluate(dataset(), model, np.random.default_rng(0))


def test_a_query_of_an_image_and_a_text_goes_through_the_joint_encoder() -> None:
    queries = JudgedItems(("q-both", "q-wood"), ("a wood", "a wood"), np.array([0, -1]))
    documents = JudgedItems(("d-sea", "d-wood", "d-hills"), ("", "", "hills"), np.array([0, 1, -1]))
    data = dataset(queries, documents, grades=[(0, 1, 1), (1, 1, 1)])
    evaluation = Retrieval(ks=(1,)).evaluate(data, Joint(), np.random.default_rng(0))
    assert evaluation.samples["predicted_document"].tolist() == ["d-hills", "d-wood"]
    assert evaluation.samples["target_cosine"].tolist() == pytest.approx([0.6, 1 / np.hypot(0.1, 1)])
    assert all(
        metric.description.endswith("of the model's joint encoder.") for metric in metrics_of(evaluation).values()
    )
    _, by_mean = evaluate(data, ks=(1,))
    assert all(value.description.endswith("the mean of their two unit vectors.") for value in by_mean.values())
    mixed = MixedRetrieval(ks=(1,)).evaluate(data, Joint(), np.random.default_rng(0))
    assert mixed.samples["hit_rate@1"].tolist() == [0.0, 1.0]
    assert "centred/hit_rate@1" not in mixed.samples  # the one joint vector is its own mean


def test_a_composed_query_finds_neither_itself_nor_any_document_of_its_own_image() -> None:
    queries = JudgedItems(("q-both",), ("a wood",), np.array([0]))
    documents = JudgedItems(("q-both", "d-1", "d-wood", "d-2"), ("a wood", "", "", ""), np.array([0, 0, 1, 0]))
    evaluation, metrics = evaluate(dataset(queries, documents, grades=[(0, 2, 1)]), ks=(1,))
    assert evaluation.samples["predicted_document"].tolist() == ["d-wood"]
    assert metrics["hit_rate@1"].value is None  # one document is left to search
    assert evaluation.notes == (
        "the query itself is left out of the search of 1 query",
        f"{OWN_IMAGE} 1 of 1 query of an image and a text",
    )
    more = JudgedItems((*documents.ids, "d-hills"), (*documents.texts, "hills"), np.array([0, 0, 1, 0, -1]))
    data = dataset(queries, more, [(0, 2, 1)])
    mixed, _ = evaluate_task(MixedRetrieval(ks=(1,)), data, FixedEmbedder(IMAGES, TEXTS))
    assert mixed.samples["hit_rate@1"].tolist() == [1.0]


def test_queries_that_look_for_the_same_documents_are_one_cluster() -> None:
    texts = tuple(TEXTS)
    queries = JudgedItems(tuple(f"q{row}" for row in range(6)), texts, np.full(6, -1))
    grades = [(0, 0, 1), (1, 0, 2), (2, 0, 1), (2, 1, 1), (3, 1, 1), (3, 2, 1), (3, 3, 1), (4, 3, 1), (5, 3, 1)]
    evaluation, metrics = evaluate(dataset(queries, grades=grades))
    assert evaluation.samples["cluster"].tolist() == ["q0", "q0", "q0", "q3", "q4", "q4"]
    assert "over 3 clusters" in str(metrics["mrr"].method)
    assert not any("intervals are wide" in note for note in evaluation.notes)
    many = JudgedItems(tuple(f"q{row}" for row in range(10)), (*texts, *texts)[:10], np.full(10, -1))
    noted, _ = evaluate(dataset(many, grades=[(row, max(0, row - 7), 1) for row in range(10)]))  # of 8, 1 and 1 queries
    assert noted.notes[0].startswith("intervals are wide: 10 queries count as 2 clusters, since")


def test_a_failure_names_what_is_right_and_what_came_first() -> None:
    evaluation, metrics = evaluate(dataset(grades=[(0, 3, 1), (1, 1, 1)]))
    row = {name: column[0] for name, column in evaluation.samples.items()}
    expected = {
        "query": "the sea",
        "target_text": "hills",
        "predicted_text": "waves",
        "predicted_image": -1,
        "judged_rank": 4,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["judged_cosine_margin"] < -0.9 and metrics["mrr"].value == pytest.approx(5 / 8)
    near = evaluation.neighbours
    assert near["text"].tolist() == ["waves", "", "trees", "hills"] and near["image"].tolist() == [-1, 0, 1, -1]
    assert near["rank"].tolist() == [1, 2, 3, 4] and near["is_right"].tolist() == [False, False, False, True]


def test_a_constant_model_scores_chance() -> None:
    evaluation, metrics = evaluate_task(Retrieval(), dataset(), ConstantEmbedder())
    defined = {name: metrics[name] for name in evaluation.measures if metrics[name].value is not None}
    assert all(metric.chance is not None for metric in defined.values())
    assert_at_chance(defined)
    assert metrics["recall@5"].value is None
    assert metrics["judged_tie_rate"].value == 1.0 and metrics["judged_tie_rate"].baseline_of == ["mrr", "ndcg@10"]


def test_data_without_a_relevant_document_are_refused() -> None:
    with pytest.raises(DataError, match="data set by hand judges no document relevant: expected a grade above 0"):
        evaluate(dataset(grades=[(0, 0, 0), (1, 1, -1)]))


def test_a_run_names_the_documents_that_were_searched(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "a sea"}\n{"_id": "d2", "text": "a wood"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "waves"}\n{"_id": "q2", "text": "trees"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td2\t2\n")
    run = cb.run(ToyModel(), tasks=["retrieval"], data=str(tmp_path))
    (record,) = run.result.evaluations
    assert (record.dataset.n_samples, record.dataset.sample, record.dataset.split) == (2, "document", "test")
    assert record.question.startswith("Are the documents") and record.metrics["mrr"].n == 2
    assert set(run.samples("retrieval")["query"]) == {"waves", "trees"}


def test_documents_that_may_be_the_query_are_noted() -> None:
    ids, texts = ("q-sea", "d-2", "d-3", "q-none"), ("waves", "the sea", "a wood", "nothing")
    documents = JudgedItems(ids, texts, np.full(4, -1))
    evaluation, _ = evaluate(dataset(documents=documents, grades=[(0, 2, 1), (1, 2, 1), (2, 1, 1)]))
    # Document d-2 has the text of q-sea, and d-3 that of q-wood, but people judged d-3 relevant. Document q-sea has the
    # id of a query and another text. Document q-none is a query of the same id and text.
    assert evaluation.notes == (
        "the query itself is left out of the search of 1 query",
        (
            "1 query has the text of a document with another id that is not judged relevant: the document is searched,"
            " and counts as wrong"
        ),
        "1 query has the id of a document with another text: both are taken as different items",
    )


def test_a_query_that_is_an_image_shares_its_id_with_its_caption_without_a_note() -> None:
    queries = JudgedItems(("sea",), ("",), np.array([0]))
    documents = JudgedItems(("sea", "d-2"), ("waves", "a wood"), np.full(2, -1))
    evaluation, _ = evaluate(dataset(queries, documents, grades=[(0, 0, 1)]), ks=(1,))
    assert evaluation.notes == ()
