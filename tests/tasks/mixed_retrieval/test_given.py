"""mixed-retrieval on data with judgements: documents of both kinds, before and after centring."""

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task

IMAGES = {"sea": [1.0, 0.0, 0.0, 2.0], "wood": [0.0, 1.0, 0.0, 2.0], "hill": [0.0, 0.0, 1.0, 2.0]}
TEXTS = {
    "waves": [1.0, 0.1, 0.0, -2.0],
    "trees": [0.0, 1.0, 0.0, -2.0],
    "a slope": [0.0, 0.0, 1.0, -2.0],
    "a forest": [0.1, 1.0, 0.0, -2.0],
}
DOCUMENTS = JudgedItems(("d-sea", "d-trees", "d-hill"), ("", "trees", "a slope"), np.array([0, -1, 2]))
QUERIES = JudgedItems(("q-sea", "q-wood", "q-both"), ("waves", "a forest", "waves"), np.full(3, -1))
GRADES = [(0, 0, 2), (1, 1, 1), (2, 0, 1), (2, 1, 1)]


def dataset(documents: JudgedItems = DOCUMENTS) -> Dataset:
    query, document, grade = np.array(GRADES, np.int64).T
    judgements = Judgements(queries=QUERIES, documents=documents, query=query, document=document, grade=grade)
    return data_of(IMAGES, judgements=judgements)


def evaluate(data: Dataset, embedder: Embedder | None = None) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(MixedRetrieval(ks=(1, 2)), data, embedder or FixedEmbedder(IMAGES, TEXTS))


def test_a_text_comes_before_the_right_image_until_the_modalities_are_centred() -> None:
    evaluation, metrics = evaluate(dataset())
    # "waves" is a text that looks for an image alone; "a forest" for a text; the third for one of each.
    assert metrics["text_preference"].value == 1.0 and metrics["text_preference"].n == 1
    assert metrics["text_preference"].chance == pytest.approx(1 / 3)  # one document of three is a text alone
    assert metrics["image_preference"].value == 0.0 and metrics["image_preference"].n == 1
    assert metrics["centred/text_preference"].value == 0.0
    assert metrics["mrr"].value is not None and metrics["mrr"].value < 1 and metrics["centred/mrr"].value == 1.0
    assert metrics["centring_gain"].value == pytest.approx(
        float(metrics["centred/ndcg@2"].value or 0) - float(metrics["ndcg@2"].value or 0)
    )
    assert metrics["centred/mrr"].chance == metrics["mrr"].chance
    assert [name for name, metric in metrics.items() if metric.is_headline] == ["ndcg@2", "mrr"]
    assert evaluation.subsets == {"centred": "Each modality centred"} and evaluation.question == ""


def test_documents_of_one_kind_are_refused() -> None:
    with pytest.raises(DataError, match="data set by hand: no document has an image: expected documents of both kinds"):
        evaluate(dataset(DOCUMENTS._replace(texts=("waves", "trees", "a slope"), images=np.full(3, -1))))
    with pytest.raises(DataError, match="no document has a text"):
        evaluate(dataset(DOCUMENTS._replace(texts=("", "", ""), images=np.arange(3))))


def test_a_constant_model_scores_chance_and_cannot_be_centred() -> None:
    evaluation, metrics = evaluate(dataset(), ConstantEmbedder())
    assert_at_chance({name: metric for name, metric in metrics.items() if metric.value is not None})
    assert metrics["centred/mrr"].value is None and metrics["centring_gain"].value is None
    assert "centring leaves a vector without a direction" in evaluation.notes[-1]
