"""operating-points: the thresholds of both questions, what has none, and what the intervals cover."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.stats

from clipbench.data import Dataset, Prompts
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.operating_points import (
    JudgedTrials,
    acceptance_rates,
    even_thresholds,
    judged_answers,
    judged_pairs,
)
from clipbench.metrics.similarity import unit
from clipbench.results.record import Metric
from clipbench.stats.threshold_intervals import SURE, OperatingPoint, operating_point, precision_recall
from clipbench.testing import FixedEmbedder
from clipbench_tasks.operating_points import OperatingPoints
from tests.made import data_of, evaluate_task

PLAIN = Prompts(templates=("{c}",))
N = 60


def world(noise: float, n: int = N) -> tuple[Dataset, FixedEmbedder]:
    """Return images with a caption and one of three classes each; vectors have a part of the image, of its class, and
    noise.
    """
    rng = np.random.default_rng(3)
    labels, ids = np.arange(n) % 3, [f"p{row:03}" for row in range(n)]
    shown = rng.standard_normal((n, 16)) + 3 * np.eye(16)[labels]
    images, texts = (shown + noise * rng.standard_normal((n, 16)) for _ in range(2))
    names = ("cat", "dog", "emu")
    captions = [f"caption {image_id}" for image_id in ids]
    data = data_of(ids, labels=labels, class_names=names, captions=captions, caption_image=np.arange(n))
    vectors = dict(zip((*captions, *names), [*texts.tolist(), *np.eye(16).tolist()], strict=False))
    return data, FixedEmbedder(dict(zip(ids, images.tolist(), strict=True)), vectors)


def evaluate(
    data: Dataset, embedder: FixedEmbedder, *, prevalence: float = 0.5
) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(OperatingPoints(prompts=PLAIN, prevalence=prevalence), data, embedder)


def test_both_questions_are_asked_of_data_with_captions_and_labels() -> None:
    evaluation, values = evaluate(*world(0.1))
    parts = product(("pairs", "answers"), ("threshold", "recall"), ("p90", "p95", "p99"))
    assert set(values) == {f"{part}/{metric}@{precision}" for part, metric, precision in parts}
    assert {name for name, metric in values.items() if metric.is_headline} == {
        name for name in values if name.endswith("/recall@p95")
    }
    point = values["pairs/threshold@p90"]
    assert point.unit == "cosine" and point.value is not None and point.low is not None and point.high is not None
    assert point.low <= point.value <= point.high and point.n == N and point.higher_is_better is None
    recall = values["pairs/recall@p90"]
    assert recall.value is not None and recall.value > 0.8 and recall.influence == "pairs/recall@p90_influence"
    precision, curve = evaluation.curves["pairs/precision_by_cosine"], evaluation.curves["pairs/recall_by_cosine"]
    assert precision.x == curve.x and precision.x[0] == -1 and precision.y[0] == pytest.approx(0.5)
    assert len(evaluation.samples["sample_id"]) == 2 * N
    assert "pairs: 60 true and 3,540 false ones, weighted as if 50 % were true" in evaluation.notes


def test_what_has_no_threshold_says_why() -> None:
    _, values = evaluate(*world(50))
    for name in ("pairs/threshold@p95", "pairs/recall@p95", "answers/recall@p99"):
        assert values[name].value is None
        assert str(values[name].reason).startswith("no threshold reliably reaches a precision of 9")


def test_faults_are_named() -> None:
    data, embedder = world(0.1)
    with pytest.raises(DataError, match="by hand has 1 image: operating points need two"):
        evaluate(data.take(np.array([0])), embedder)
    alone = replace(data, class_names=("cat",), labels=np.zeros(N, np.int64), captions=None, caption_image=None)
    with pytest.raises(DataError, match="by hand has 1 class: operating points need another"):
        evaluate(alone, embedder)


def test_a_search_takes_a_higher_threshold_than_an_even_stream() -> None:
    even, rare = (evaluate(*world(0.3), prevalence=prevalence)[1] for prevalence in (0.5, 0.05))
    at, higher = (stream["pairs/threshold@p90"].value for stream in (even, rare))
    assert at is not None and higher is not None and at < higher
    assert "5 % of all should be accepted" in str(rare["pairs/threshold@p90"].description)


def operating_point_of(judged: JudgedTrials, n_thresholds: int, prevalence: float = 0.5) -> OperatingPoint | None:
    """Return the operating point for a precision of 90 %."""
    coarse = acceptance_rates(judged, even_thresholds(judged, n_thresholds))
    return operating_point(judged, coarse, precision_recall(coarse, prevalence, confidence=SURE), 0.9, prevalence)


def test_intervals_of_answers_cover() -> None:
    """Cosines of a law: right ones and the best others are normal, so that the threshold for 90 % can be worked out."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own, other = 0.4 + 0.1 * rng.standard_normal(n), 0.1 + 0.1 * rng.standard_normal(n)
        return np.maximum(own, other), other, (own > other).astype(np.float64)

    top, other, right = draw(50_000)
    at = np.linspace(0, 0.5, 501)
    recall = np.array([(right * (top >= each)).mean() for each in at])
    array = np.array([(top >= each).mean() + (other >= each).mean() for each in at])
    first = int(np.argmax(recall / array >= 0.9))
    covered = []
    for _ in range(30):
        judged = judged_answers(*draw(100))
        point = operating_point_of(judged, 50)
        if point is not None:
            for (low, high, _), true in ((point.interval, at[first]), (point.recall_interval, recall[first])):
                covered.append(low is not None and high is not None and low <= true <= high)
    assert len(covered) > 40 and np.mean(covered) >= 0.85


def test_few_answers_show_no_threshold_for_a_rare_class() -> None:
    """With one true answer in a hundred, 90 % precision allows one false answer in a thousand: 200 images cannot show it."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, other = 0.6 + 0.1 * rng.standard_normal(200), 0.1 * rng.standard_normal(200)
        judged = judged_answers(np.maximum(own, other), other, (own > other).astype(np.float64))
        assert operating_point_of(judged, 50, 0.01) is None


@pytest.mark.parametrize(
    ("prevalence", "n", "n_draws"),
    [
        (0.01, 300, 30),
        *(pytest.param(prevalence, n, 300, marks=pytest.mark.slow) for prevalence in (0.5, 0.01) for n in (300, 1_000)),
    ],
)
def test_intervals_of_pairs_cover_the_threshold_of_their_law(prevalence: float, n: int, n_draws: int) -> None:
    """The squared cosine of two directions at random follows a beta law, so that all false pairs are known."""
    rng, dim = np.random.default_rng(7), 16

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        vectors = rng.standard_normal((n, dim))
        images, texts = (unit((vectors + 0.6 * rng.standard_normal((n, dim))).astype(np.float32)) for _ in range(2))
        return images, texts

    true = np.sort(np.einsum("nd,nd->n", *draw(200_000)))
    at = np.linspace(0, 1, 20_001)
    right = prevalence * (1 - np.searchsorted(true, at) / len(true))
    wrong = (1 - prevalence) * scipy.stats.beta.sf(at**2, 0.5, (dim - 1) / 2) / 2
    threshold, covered = float(at[int(np.argmax(right >= 0.9 * (right + wrong)))]), []
    for _ in range(n_draws):
        point = operating_point_of(judged_pairs(*draw(n), np.arange(n)), 60, prevalence)
        if point is not None:
            low, high = point.interval.bounds
            assert low < high
            covered.append(low <= threshold <= high)
    print(f"prevalence {prevalence}, n {n}: {len(covered)} of {n_draws} have one, covered {np.mean(covered):.3f}")
    assert len(covered) > n_draws / 2
    assert sum(covered) >= scipy.stats.binom.ppf(0.001, len(covered), 0.93)
