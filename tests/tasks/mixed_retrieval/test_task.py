"""mixed-retrieval: a world of two contents and a modality axis, whose every number can be worked out."""

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.errors import MissingPart
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.mixed_judged import BOTH, TEXT
from clipbench_tasks.mixed_retrieval import Corpus, MixedRetrieval, corpora_of, search_corpora
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task

IMAGES = {"sea": [1.0, 0.0, 2.0], "wood": [0.0, 1.0, 2.0]}
TEXTS = {"the sea": [1.0, 0.0, -2.0], "a wood": [0.0, 1.0, -2.0], "waves": [1.0, 0.1, -2.0], "trees": [0.1, 1.0, -2.0]}
OWNER = np.array([0, 1, 0, 1])


def dataset(captions: list[str] | None = None, owner: np.ndarray = OWNER) -> Dataset:
    return data_of(IMAGES, captions=list(TEXTS) if captions is None else captions, caption_image=owner)


def evaluate(data: Dataset, embedder: Embedder | None = None) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(MixedRetrieval(ks=(1, 2)), data, embedder or FixedEmbedder(IMAGES, TEXTS))


def test_a_text_of_anything_comes_before_the_right_image_until_the_modalities_are_centred() -> None:
    evaluation, metrics = evaluate(dataset())
    # Of two documents, one is a text at 50 %: the caption that looks for the image has the text first.
    assert metrics["texts=50/ndcg@2"].value == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert metrics["texts=50/recall@1"].value == 0.5 and metrics["texts=50/text_preference"].value == 1.0
    assert metrics["texts=50/text_preference"].n == 1 and metrics["texts=50/text_preference"].chance == 0.5
    assert metrics["texts=50/image_preference"].value == 0.0
    for name in ("texts=0/ndcg@2", "texts=100/ndcg@2", "texts=50/centred/ndcg@2", "texts=50/centred/recall@1"):
        assert metrics[name].value == 1.0, name
    assert metrics["texts=50/centred/text_preference"].value == 0.0
    assert metrics["texts=50/centring_gain"].value == pytest.approx((1 - 1 / np.log2(3)) / 2)
    assert metrics["texts=50/ndcg@2"].chance == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert metrics["texts=50/recall@1"].chance == 0.5 and "only 2 documents" in str(metrics["texts=50/recall@2"].reason)
    assert evaluation.curves["ndcg_by_share"].x == [0, 0.5, 1]  # of two documents, 25 % are none, and 75 % all
    assert evaluation.curves["text_preference_by_share"].y == [1.0]
    assert [name for name, metric in metrics.items() if metric.is_headline] == [
        "texts=50/ndcg@2",
        "texts=50/text_preference",
    ]


def test_a_query_says_what_it_looks_for_and_what_came_first() -> None:
    evaluation, _ = evaluate(dataset())
    rows = evaluation.samples
    (lost,) = np.flatnonzero(rows["mixed_rank"] == 2)
    (other,) = np.flatnonzero(rows["mixed_rank"] == 1)
    assert rows["sample_id"].tolist() == ["text:sea#1", "text:wood#1"] and rows["cluster"].tolist() == ["sea", "wood"]
    assert (rows["target_text"][lost], rows["target_image"][lost]) == ("", lost)
    assert rows["predicted_text"][lost] == ["the sea", "a wood"][other] and rows["predicted_image"][lost] == -1
    assert rows["mixed_cosine_margin"][lost] < -0.9 and rows["mixed_cosine_margin"][other] == 0
    assert evaluation.neighbours["text"].tolist() == [["the sea", "a wood"][other], ""]
    assert evaluation.neighbours["is_right"].tolist() == [False, True]


def test_no_query_is_a_document() -> None:
    with pytest.raises(MissingPart, match="the task needs an image with a second caption, which is the query"):
        evaluate(dataset(["the sea", "a wood"], np.array([0, 1])))
    with pytest.raises(MissingPart, match="an image with a second caption that differs from the first"):
        evaluate(dataset(["the sea", "a wood", "the sea"], np.array([0, 1, 0])))
    evaluation, metrics = evaluate(dataset(["the sea", "a wood", "the sea", "waves"], np.array([0, 1, 0, 0])))
    assert evaluation.samples["caption"].tolist() == ["waves"] and metrics["texts=0/ndcg@2"].n == 1
    assert evaluation.notes[0].startswith("1 document without a query: the image has no other caption")


def test_a_constant_model_scores_chance_and_cannot_be_centred() -> None:
    evaluation, metrics = evaluate(dataset(), ConstantEmbedder())
    assert_at_chance({name: metric for name, metric in metrics.items() if metric.value is not None})
    assert metrics["texts=50/centred/ndcg@2"].value is None and metrics["texts=50/centring_gain"].value is None
    assert "centring leaves a vector without a direction" in evaluation.notes[-1]
    assert metrics["texts=50/tie_rate"].value == 1.0


def test_ranks_are_those_of_the_vectors_of_each_corpus() -> None:
    draws = np.random.default_rng(3)
    queries, images, texts = (unit(draws.integers(-2, 3, (n, 5)).astype(np.float32) + 0.5) for n in (30, 12, 12))
    right = draws.integers(12, size=30)
    corpora = list(corpora_of(12, (0.25, 0.5), draws))
    result = search_corpora(queries, images, texts, corpora, right)
    assert [np.bincount(corpus.kinds, minlength=3).tolist() for corpus in corpora] == [[9, 3, 0], [6, 6, 0], [4, 4, 4]]
    assert (corpora[1].kinds[corpora[0].kinds == TEXT] == TEXT).all()  # a text at one share is one at all larger ones
    for name, _, kinds in corpora:
        documents = np.choose(kinds[:, None], (images, texts, unit(images + texts)))
        scores = (queries.astype(np.float64) @ documents.astype(np.float64).T).astype(np.float32)
        own, answers = scores[np.arange(30), right], result[name].answers
        np.testing.assert_array_equal(answers.ranks.better, (scores > own[:, None]).sum(axis=1))
        np.testing.assert_array_equal(answers.ranks.tied, (scores == own[:, None]).sum(axis=1) - 1)
        np.testing.assert_array_equal(answers.first, scores.argmax(axis=1))
        first = scores == scores.max(axis=1, keepdims=True)
        np.testing.assert_allclose(result[name].first_is_text, (first * (kinds == TEXT)).sum(1) / first.sum(1))


@pytest.mark.parametrize(("text", "cosine"), [([0.6, 0.8], 0.4472), ([-1, 0], 0.0)])
def test_a_document_that_is_both_is_the_mean_of_two_unit_vectors_or_the_image_where_they_are_opposite(
    text: list[float], cosine: float
) -> None:
    query, image, other = (np.array([each], np.float32) for each in ([0, 1], [1, 0], text))
    answers = search_corpora(query, image, other, [Corpus("x", "X", np.array([BOTH]))], np.array([0]))
    assert answers["x"].answers.right_score[0] == pytest.approx(cosine, abs=1e-4)
