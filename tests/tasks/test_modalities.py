"""modalities: the numbers of modality-gap and retrieval for every pair, published gaps, and what is undefined."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipbench as cb
from clipbench.errors import ClipbenchError, DataError, MissingPart
from clipbench.evaluation.plan import drop_unsupported, plan
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.adapters.vectors import Embeddings
from clipbench.results.record import Metric
from clipbench_tasks.modalities import ModalitiesTask
from clipbench_tasks.modality_gap.task import ModalityGap
from clipbench_tasks.retrieval import Retrieval
from tests.made import PUBLISHED, evaluate_task

PUBLISHED_GAPS = {"convirt": ("xray", 0.8231), "videoclip": ("video", 1.0669), "clasp": ("protein", 1.0447)}
"""Gaps of figure 1 of Liang et al. 2022, for other modalities than CLIP's."""


def noisy(n: int = 60, dim: int = 8, **strength: float) -> dict[str, Any]:
    """Vectors of modalities, each with its own centroid and noise."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((n, dim))
    return {
        name: shared + rng.standard_normal(dim) + noise * rng.standard_normal((n, dim))
        for name, noise in strength.items()
    }


def evaluate(vectors: Embeddings, task: Task | None = None) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(task or ModalitiesTask(), vectors.dataset, vectors)


def values(metrics: dict[str, Metric]) -> dict[str, tuple[float | None, float | None, float | None]]:
    return {name: (metric.value, metric.low, metric.high) for name, metric in metrics.items()}


def test_images_and_texts_have_the_numbers_of_modality_gap_and_retrieval() -> None:
    of = noisy(image=0.7, text=1.0, audio=1.5)
    owner = np.repeat(np.arange(30), 2)
    vectors = cb.vectors(images=of["image"][:30], texts=of["text"], audio=of["audio"][:30], text_to_image=owner)
    mine = values(evaluate(vectors)[1])
    gap, result = (values(evaluate(vectors, task)[1]) for task in (ModalityGap(rescored_sample=3), Retrieval()))
    pair = {name: mine[f"image-text/{name}"] for name in ("gap", "pair_cosine", "cross_cosine")}
    assert pair == {name: gap[name] for name in pair}
    assert mine["image/cone"][0] == pytest.approx(gap["image_cone"][0])
    assert mine["text-to-image/recall@1"] == result["image_retrieval_recall@1"]
    assert mine["image-to-text/recall@1"] == result["text_retrieval_recall@1"]


def test_a_pair_has_the_same_numbers_whatever_other_modalities_there_are() -> None:
    of = noisy(audio=0.5, text=0.8, video=2.0, depth=3.0)
    two, four = (evaluate(cb.vectors(**{name: of[name] for name in names}))[1] for names in (("audio", "text"), of))
    same = [name for name in two if name != "mean_recall@1"]
    assert "audio-text/separability" in same
    assert {name: values(four)[name] for name in same} == {name: values(two)[name] for name in same}


def test_every_two_modalities_have_all_measures_in_alphabetical_order() -> None:
    evaluation, metrics = evaluate(cb.vectors(**noisy(video=1.0, text=0.5, audio=0.8)))
    pairs = ("audio-text", "audio-video", "text-video")
    directions = [f"{one}-to-{other}" for one, other in permutations(("audio", "text", "video"), 2)]
    expected = {f"{pair}/{kind}" for pair in pairs for kind in ("gap", "pair_cosine", "cross_cosine", "separability")}
    expected |= {f"{name}/cone" for name in ("audio", "text", "video")}
    expected |= {f"{direction}/recall@1" for direction in directions}
    assert set(evaluation.measures) == expected | {"mean_recall@1"}
    assert set(evaluation.subsets) == {name.rpartition("/")[0] for name in expected}
    assert evaluation.subsets["audio-to-text"] == "Audio to text"
    mean = metrics["mean_recall@1"]
    recalls = [metrics[f"{direction}/recall@1"].value for direction in directions]
    assert mean.value == pytest.approx(np.mean(np.array(recalls, float)))
    assert mean.chance == pytest.approx(1 / 60) and mean.is_headline
    assert mean.method is not None and mean.method.endswith("over 60 clusters")  # not 360 queries


def test_several_items_may_have_one_partner_and_those_without_any_are_left_out() -> None:
    audio, text = np.eye(4)[[0, 0, 1]], np.eye(4)
    evaluation, metrics = evaluate(cb.vectors(audio=audio, text=text, audio_to_text=[0, 0, 1]))
    assert metrics["audio-to-text/recall@1"].value == 1 and metrics["audio-to-text/recall@1"].chance == 0.5
    assert metrics["text-to-audio/recall@1"].n == 2 and metrics["text-to-audio/recall@1"].value == 1
    assert metrics["audio-text/gap"].n == 2 and metrics["audio-text/gap"].value == 0
    assert metrics["text/cone"].n == 4  # a cone is of all items
    assert any("2 of text have no partner" in note for note in evaluation.notes)
    assert evaluation.vectors["audio"].shape == (2, 4) and evaluation.vectors["group_id"].tolist() == ["0", "2"]


def test_images_and_texts_alone_are_sent_to_the_modality_gap() -> None:
    with pytest.raises(DataError, match="Use modality-gap if you have only images and texts"):
        cb.run(cb.vectors(images=np.eye(3), texts=np.eye(3), text_to_image=[0, 1, 2]), "modalities")


def test_modalities_without_pairs_are_undefined_with_what_would_say_it() -> None:
    evaluation, metrics = evaluate(cb.vectors(audio=np.eye(3), text=np.eye(3), video=np.eye(3)[:2]))
    assert "mean_recall@1 leaves out directions without pairs: audio and video, text and video" in evaluation.notes
    assert metrics["audio-text/gap"].value == 0
    reason = "no pairs of audio and video: give audio_to_video (needed because there are 3 of audio and 2 of video)"
    undefined = [name for name, metric in metrics.items() if metric.reason == reason]
    assert undefined == [
        "audio-video/gap", "audio-video/pair_cosine", "audio-video/cross_cosine", "audio-video/separability",
        "audio-to-video/recall@1", "video-to-audio/recall@1",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"no pairs of audio and text: give audio_to_text"):
        cb.vectors(audio=np.eye(3), text=np.eye(3)[:2])


def test_a_collapsed_model_scores_chance() -> None:
    _, metrics = evaluate(cb.vectors(audio=np.ones((5, 3)), text=np.ones((5, 3)), video=np.ones((5, 3))))
    assert all(
        metric.value == metric.chance for name, metric in metrics.items() if name.endswith(("recall@1", "ility"))
    )
    assert metrics["audio-text/gap"].value == 0 and metrics["audio/cone"].value == pytest.approx(1)


def test_one_pair_and_a_gallery_of_one_are_undefined_and_no_crash() -> None:
    _, metrics = evaluate(cb.vectors(audio=np.eye(2)[:1], text=np.eye(2)[:1]))
    assert metrics["audio-to-text/recall@1"].value is None and metrics["mean_recall@1"].value is None
    assert metrics["audio/cone"].value is None and metrics["audio-text/gap"].low is None


def test_all_asks_it_of_data_that_have_other_modalities_and_of_no_others() -> None:
    of, requests = noisy(image=0.7, text=1.0, audio=1.5), plan(["all"], "standard", own_samples=True)
    asked = {}
    for names in (("image", "text"), ("audio", "text"), ("image", "text", "audio")):
        data = cb.vectors(**{name: of[name] for name in names}).dataset
        asked[names] = [request.task for request in drop_unsupported(requests, data)]
    usual_requests = asked["image", "text"]
    assert "modalities" not in usual_requests and {"retrieval", "modality-gap"} <= set(usual_requests)
    assert asked["audio", "text"] == ["modalities"] and asked["image", "text", "audio"] == [
        *usual_requests,
        "modalities",
    ]
    run = cb.run(cb.vectors(audio=of["audio"], text=of["text"]))
    assert [evaluation.task for evaluation in run.result.evaluations] == ["modalities"] and not run.result.left_out
    with pytest.raises(MissingPart, match="needs modalities"):
        evaluate(cb.vectors(image=of["image"], text=of["text"]))
    with pytest.raises(ClipbenchError, match=r"lacks images"):
        cb.run(cb.vectors(audio=of["audio"], text=of["text"]), "retrieval")


@pytest.mark.parametrize("name", PUBLISHED_GAPS)
def test_published_vectors_of_other_modalities_have_their_gap(name: str, tmp_path: Path) -> None:
    modality, gap = PUBLISHED_GAPS[name]
    source = PUBLISHED / f"features_{name}.npy"
    if not source.exists():
        pytest.skip(f"published vectors of {name} are not at ../shared/data")
    first, texts = np.load(source)
    np.savez(tmp_path / "vectors.npz", **{modality: first, "text": texts})
    run = cb.run(f"embeddings:{tmp_path / 'vectors.npz'}", "modalities")
    metric = run.result.evaluations[0].metrics["-".join(sorted((modality, "text"))) + "/gap"]
    assert metric.value == pytest.approx(gap, abs=5e-5)
    assert metric.low is not None and metric.high is not None and metric.low < gap < metric.high
