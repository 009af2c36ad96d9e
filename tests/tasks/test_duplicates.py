"""The highest R@1 where captions or images are equal: against every ranking that a model could give, and models that
reach it.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.duplicates import recall_limits
from clipbench_tasks.retrieval import Retrieval
from tests.made import data_of, evaluate_task


def evaluate(
    captions: Sequence[str], owner: Sequence[int], texts: Sequence[str], queries: int | None = None
) -> tuple[tuple[str, ...], dict[str, Metric]]:
    """Return the notes and metrics of a model for which an image is what it shows, and so is a caption."""
    names = sorted({*captions, *texts})
    vectors = {name: np.eye(len(names))[row].tolist() for row, name in enumerate(names)}
    ids = [f"i{row}" for row in range(len(texts))]
    data = data_of(texts, image_ids=ids, captions=list(captions), caption_image=np.array(owner))
    evaluation, metrics = evaluate_task(Retrieval(ks=(1, 2), queries=queries), data, FixedEmbedder(vectors, vectors))
    return evaluation.notes, metrics


def test_a_model_that_knows_everything_reaches_the_limit_and_no_more() -> None:
    notes, metrics = evaluate(["frog", "frog", "frog", "cat"], [0, 1, 2, 3], ["frog", "frog", "frog", "cat"])
    for direction, title in (("image_retrieval", "Text-to-image"), ("text_retrieval", "Image-to-text")):
        limit = "R@1 cannot exceed 50.0 %: 3 images share a caption and 3 images are equal to another"
        assert f"{title} {limit}" in notes
        assert metrics[f"{direction}_recall@1"].reason == limit and metrics[f"{direction}_recall@2"].reason is None
        assert metrics[f"{direction}_recall@1"].value == pytest.approx(2 / 4)


def test_data_without_duplicates_have_no_limit_nor_have_equal_captions_of_one_image_nor_a_sample_of_the_queries() -> (
    None
):
    notes, metrics = evaluate(["frog", "frog", "cat", "dog"], [0, 0, 1, 2], ["frog", "cat", "dog"])
    assert not notes and metrics["image_retrieval_recall@1"].reason is None
    assert metrics["image_retrieval_recall@1"].value == metrics["text_retrieval_recall@1"].value == 1.0
    notes, metrics = evaluate(["frog", "frog", "frog", "cat"], [0, 1, 2, 3], ["frog", "frog", "frog", "cat"], queries=3)
    assert len(notes) == 1 and metrics["image_retrieval_recall@1"].reason is None


def best(query: np.ndarray, item: np.ndarray, is_right: np.ndarray) -> float:
    """Return R@1 of the best model: it chooses a first code of items for each code of queries; equal items tie."""
    scores = []
    for firsts in product(range(item.max() + 1), repeat=int(query.max()) + 1):
        hits = [is_right[row, item == firsts[code]].mean() for row, code in enumerate(query)]
        scores.append(float(np.mean(hits)))
    return max(scores)


@pytest.mark.parametrize("seed", range(20))
def test_the_limit_is_the_best_that_any_ranking_reaches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_images, n_captions = 4, 6
    captions = np.unique(rng.integers(0, 4, n_captions), return_inverse=True)[1]
    images = np.unique(rng.integers(0, 3, n_images + 1), return_inverse=True)[1]  # the last is a distractor
    owner = np.sort(np.concatenate([np.arange(n_images), rng.integers(0, n_images, n_captions - n_images)]))
    limits = recall_limits([f"c{code}" for code in captions], [f"i{code}" for code in images], owner, n_images)
    is_right = owner[:, None] == np.arange(n_images + 1)
    for limit, highest in zip(
        limits,
        (best(captions, images, is_right), best(images[:n_images], captions, is_right[:, :n_images].T)),
        strict=True,
    ):
        written = f"R@1 cannot exceed {100 * highest:.1f} %: "
        assert limit.startswith(written) if highest < 0.9995 else limit == ""
