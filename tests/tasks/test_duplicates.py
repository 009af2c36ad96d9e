"""The highest recall where captions or images are equal: against every ranking that a model could give, and models that reach it."""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder, NamedImage
from clipbench_tasks.duplicates import Duplicates
from clipbench_tasks.retrieval import Retrieval
from tests.made import metrics_of

KS = (1, 2, 3)


def evaluate(
    captions: Sequence[str], owner: Sequence[int], shown: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Metric]]:
    """Return the notes and metrics of a model for which an image is what it shows, and so is a caption."""
    names = sorted({*captions, *shown})
    vectors = {name: np.eye(len(names))[row].tolist() for row, name in enumerate(names)}
    data = Dataset(
        id="by hand",
        images=[NamedImage(name) for name in shown],
        image_ids=[f"i{row}" for row in range(len(shown))],
        captions=list(captions),
        caption_image=np.array(owner),
    )
    found = Retrieval(ks=(1, 2)).evaluate(data, FixedEmbedder(vectors, vectors), np.random.default_rng(0))
    return found.notes, metrics_of(found)


def test_a_model_that_knows_everything_reaches_the_limit_and_no_more() -> None:
    # three images of a frog, each captioned so, and one of a cat; the images differ in what a file holds, not in what they show
    notes, metrics = evaluate(["frog", "frog", "frog", "cat"], [0, 1, 2, 3], ["frog", "frog", "frog", "cat"])
    for direction, title in (("image_retrieval", "Text-to-image"), ("text_retrieval", "Image-to-text")):
        limit = "cannot exceed 50.0 %: 3 images share a caption and 3 images are equal to another"
        assert f"{title} R@1 {limit}" in notes
        assert metrics[f"{direction}_recall@1"].reason == f"R@1 {limit}"
        assert metrics[f"{direction}_recall@1"].value == pytest.approx(2 / 4)
        assert metrics[f"{direction}_recall@2"].value == pytest.approx((2 + 1) / 4)
        assert str(metrics[f"{direction}_recall@2"].reason).startswith("R@2 cannot exceed 75.0 %: ")


def test_data_without_duplicates_have_no_limit_and_captions_of_one_image_may_be_equal() -> None:
    notes, metrics = evaluate(["frog", "frog", "cat", "dog"], [0, 0, 1, 2], ["frog", "cat", "dog"])
    assert not notes and metrics["image_retrieval_recall@1"].reason is None
    assert metrics["image_retrieval_recall@1"].value == metrics["text_retrieval_recall@1"].value == 1.0


def hits(duplicates: Duplicates, ranking: Sequence[int], query: int, k: int) -> float:
    """Return the chance of each query of a code to find a right answer, summed: equal items in every order."""
    orders: list[list[int]] = [[]]
    for code in ranking:
        rows = np.flatnonzero(duplicates.item == code).tolist()
        orders = [[*before, *after] for before, after in product(orders, permutations(rows))]
    of_query, of_item = duplicates.pairs
    total = 0.0
    for row in np.flatnonzero(duplicates.query == query):
        right = set(of_item[of_query == row].tolist())
        total += float(np.mean([bool(right & set(order[:k])) for order in orders]))
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_ranking_is_better_and_for_one_answer_per_query_the_best_is_as_good(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_queries, n_items = 4, 4
    has_one_answer = seed % 2 == 0
    query, item = rng.integers(0, 2, n_queries), np.sort(rng.integers(0, 3, n_items))
    codes = np.unique(item, return_inverse=True)[1]
    query = np.unique(query, return_inverse=True)[1]
    answers = [rng.permutation(n_items)[: 1 if has_one_answer else 2] for _ in range(n_queries)]
    rows = np.repeat(np.arange(n_queries), [len(of_query) for of_query in answers])
    duplicates = Duplicates(query, codes, (rows, np.concatenate(answers)), "")
    for k in KS:
        best = sum(
            max(hits(duplicates, ranking, code, k) for ranking in permutations(range(codes.max() + 1)))
            for code in range(query.max() + 1)
        )
        limit = duplicates.highest_recall_at_k(k) * n_queries
        assert best <= limit + 1e-9
        if has_one_answer or k == 1:
            assert best == pytest.approx(limit)
