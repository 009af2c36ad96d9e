"""modality-gap: values worked by hand, captions beyond the first, curves, and what is undefined or sampled."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.errors import DataError, VectorError
from clipbench.evaluation.task import Evaluation
from clipbench.models.protocol import Embedder
from clipbench.results.record import Metric
from clipbench.testing import FixedEmbedder
from clipbench_tasks.modality_gap.task import ModalityGap
from tests.made import data_of, evaluate_task

IMAGES = {"a": [2.0, 0.0], "b": [0.0, 1.0]}
TEXTS = {"x": [-1.0, 0.0], "second of a": [5.0, 5.0], "y": [0.0, 3.0]}

RANKS = {
    f"{side}_{name}" for side in ("image", "text") for name in ("effective_rank", "participation_ratio", "isoscore")
}


def dataset(**parts: object) -> Dataset:
    return data_of(IMAGES, **{"captions": list(TEXTS), "caption_image": np.array([0, 0, 1]), **parts})


def random_pairs(n: int, dim: int) -> tuple[Dataset, FixedEmbedder]:
    """Pairs of random vectors, each text near its image."""
    rng = np.random.default_rng(0)
    names = [f"i{row}" for row in range(n)]
    images = {name: (rng.standard_normal(dim) + 0.5).tolist() for name in names}
    texts = {f"t of {name}": (np.array(images[name]) + rng.standard_normal(dim)).tolist() for name in names}
    data = data_of(names, captions=list(texts), caption_image=np.arange(n))
    return data, FixedEmbedder(images, texts)


def evaluate(task: ModalityGap, data: Dataset, embedder: Embedder) -> tuple[Evaluation, dict[str, Metric]]:
    evaluation, metrics = evaluate_task(task, data, embedder)
    json.dumps([asdict(curve) for curve in evaluation.curves.values()], allow_nan=False)
    return evaluation, metrics


def test_values_worked_by_hand() -> None:
    _, metrics = evaluate(ModalityGap(), dataset(), FixedEmbedder(IMAGES, TEXTS))
    # Unit vectors: images (1, 0), (0, 1); first captions (-1, 0), (0, 1).
    assert metrics["gap"].value == pytest.approx(1.0)  # means (.5, .5) and (-.5, .5)
    assert metrics["image_cone"].value == pytest.approx(0.0) == metrics["text_cone"].value
    assert metrics["cross_cosine"].value == pytest.approx(0.0)  # (1, 0)·(0, 1) and (0, 1)·(-1, 0)
    assert metrics["pair_cosine"].value == pytest.approx(0.0)  # -1 and 1
    assert metrics["alignment"].value == pytest.approx(2.0)  # 4 and 0
    assert metrics["l2i"].value == pytest.approx(1.0)  # 2 and 0
    assert metrics["image_uniformity"].value == pytest.approx(-4.0)
    assert metrics["gap_dimensions"].value == 1  # (1, 0)
    assert metrics["image_participation_ratio"].value == pytest.approx(1.0)  # two points span a line


def test_rmg_looks_at_all_captions_as_its_authors_do() -> None:
    _, metrics = evaluate(ModalityGap(), dataset(), FixedEmbedder(IMAGES, TEXTS))
    far, near = (1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2
    m, d_text = (1 + near + 0) / 3, (far + 0.5 + near) / 3
    assert metrics["rmg"].value == pytest.approx(m / (m + (0.5 + d_text) / 2), abs=1e-7)
    assert metrics["rmg_unhalved"].value == pytest.approx(m / (m + 0.5 + d_text), abs=1e-7)
    assert metrics["rmg_first_caption"].value == pytest.approx(0.5)  # m 1/2, both D 1/2


def test_a_gap_where_there_is_none_has_an_interval_down_to_0_and_the_chance_of_its_size() -> None:
    """Images and texts of one distribution, of which the delta method says 0.033 to 0.039."""
    sides = np.random.default_rng(0).standard_normal((2, 500, 512))
    names = [f"i{row}" for row in range(500)]
    data = data_of(names, captions=names, caption_image=np.arange(500))
    images, texts = (dict(zip(names, side.tolist(), strict=True)) for side in sides)
    task = ModalityGap(pairwise_sample=20, rescored_sample=20)
    _, metrics = evaluate(task, data, FixedEmbedder(images, texts))
    gap = metrics["gap"]
    assert gap.low == 0 and gap.value is not None and gap.high is not None and gap.value <= gap.high
    assert gap.chance == pytest.approx(gap.value, rel=0.05)


def test_curves_say_at_their_first_point_what_the_measures_say() -> None:
    data, embedder = random_pairs(60, 6)
    evaluation, metrics = evaluate(ModalityGap(), data, embedder)
    curves = evaluation.curves
    for name in ("gap_by_ablation", "gap_by_shift_both", "gap_by_shift_image"):
        at_none = curves[name].y[curves[name].x.index(0)]
        assert at_none == pytest.approx(metrics["gap"].value), name
    share = curves["gap_share_by_dimensions"]
    assert share.y[-1] == pytest.approx(1) and len(share.x) == 6
    assert (np.array(share.y, np.float64) >= 0.9).sum() == 6 - metrics["gap_dimensions"].value + 1  # type: ignore[operator]
    for kind in ("image", "text", "cross", "pair"):
        shares = np.array(curves[f"cosines_{kind}"].y, np.float64)
        assert shares.sum() == pytest.approx(1) and shares[0] > 0 and shares[-1] > 0
    assert curves["separability_by_dimensions"].x[-1] == 6
    assert curves["image_retrieval_recall@1_by_ablation"].x == [0, 1, 2, 5]


# Undefined and refused ------------------------------------------------------------------------------------------------


def test_equal_vectors_leave_undefined_what_they_do_not_define() -> None:
    same = FixedEmbedder({key: [1.0, 1.0] for key in IMAGES}, {key: [1.0, 1.0] for key in TEXTS})
    evaluation, metrics = evaluate(ModalityGap(hub_k=1), dataset(), same)
    assert metrics["gap"].value == pytest.approx(0.0, abs=1e-7)
    assert metrics["separability"].value == metrics["separability"].chance == 0.5
    undefined = {name for name, metric in metrics.items() if metric.value is None}
    assert undefined >= {"rmg", "rmg_unhalved", "gap_dimensions", "image_hub_skewness"} | RANKS
    assert all(metrics[name].reason for name in undefined)
    assert metrics["gap_dimensions"].reason == "the gap is zero"
    assert "gap_share_by_dimensions" not in evaluation.curves
    assert set(evaluation.curves["image_retrieval_recall@1_by_ablation"].y) == {0.5}


def test_one_pair_has_a_gap_and_nothing_that_needs_two() -> None:
    data = data_of("a", captions=["x"], caption_image=np.array([0]))
    evaluation, metrics = evaluate(ModalityGap(), data, FixedEmbedder(IMAGES, TEXTS))
    assert metrics["gap"].value == metrics["l2i"].value == pytest.approx(2.0)
    defined = {name for name, metric in metrics.items() if metric.value is not None}
    assert defined == {"gap", "pair_cosine", "alignment", "l2i", "gap_dimensions", "image_norm"}
    assert all(metrics[name].reason for name in metrics if name not in defined)
    assert metrics["image_cone"].reason == "it needs at least two pairs that are not all equal"
    assert metrics["gap"].low is None and metrics["gap"].reason
    assert not {name for name in evaluation.curves if "recall" in name or name == "cosines_cross"}


def test_fewer_pairs_than_dimensions_leave_ranks_undefined_and_say_why() -> None:
    data, embedder = random_pairs(20, 21)
    _, metrics = evaluate(ModalityGap(), data, embedder)
    for name in ("image_effective_rank", "text_participation_ratio", "image_isoscore"):
        assert metrics[name].value is None
        assert metrics[name].reason == "20 pairs in 21 dimensions: their covariance has rank 19 at most"
    _, enough = evaluate(ModalityGap(), *random_pairs(20, 20))
    assert enough["image_effective_rank"].value and enough["image_isoscore"].value


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_vector_without_a_direction_is_refused(bad: list[float]) -> None:
    with pytest.raises(VectorError, match=r"vector 1 has length .*: expected a finite one above 0"):
        evaluate(ModalityGap(), dataset(), FixedEmbedder({**IMAGES, "b": bad}, TEXTS))


class Forgetful(FixedEmbedder):
    """Loses the last text."""

    def texts(self, texts: object) -> np.ndarray:
        return super().texts(texts)[:-1]  # type: ignore[arg-type]


def test_unequal_counts_of_vectors_are_refused() -> None:
    with pytest.raises(DataError, match="2 vectors for 2 images and 2 for 3 captions: expected one vector each"):
        evaluate(ModalityGap(), dataset(), Forgetful(IMAGES, TEXTS))


def test_no_captions_are_refused() -> None:
    with pytest.raises(DataError, match="data set by hand has no caption"):
        evaluate(ModalityGap(), dataset(captions=[], caption_image=np.empty(0, np.int64)), FixedEmbedder(IMAGES, TEXTS))


def test_captions_may_come_in_any_order_and_images_without_one_are_left_out_and_counted() -> None:
    """Against means over all pairs in plain numpy; images 0, 3, ... have no caption."""
    rng = np.random.default_rng(3)
    names = [f"i{row}" for row in range(30)]
    owners = rng.permutation(np.repeat(np.arange(30), np.arange(30) % 3))
    images = {name: rng.standard_normal(5).tolist() for name in names}
    texts = {f"c{row}": rng.standard_normal(5).tolist() for row in range(len(owners))}
    data = data_of(names, captions=list(texts), caption_image=owners)
    evaluation, metrics = evaluate(ModalityGap(), data, FixedEmbedder(images, texts))
    rows = [row for row in range(30) if row % 3]
    x, all_texts = (np.array(list(side.values())) for side in (images, texts))
    x, all_texts = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, all_texts))
    first = all_texts[[owners.tolist().index(row) for row in rows]]
    off, off_texts = ~np.eye(20, dtype=bool), ~np.eye(30, dtype=bool)
    m = np.mean([(1 - x[owner] @ text) / 2 for owner, text in zip(owners, all_texts, strict=True)])
    within = (1 - (x[rows] @ x[rows].T)[off].mean()) / 2 + (1 - (all_texts @ all_texts.T)[off_texts].mean()) / 2
    assert metrics["gap"].value == pytest.approx(np.linalg.norm(x[rows].mean(axis=0) - first.mean(axis=0)), abs=1e-7)
    assert metrics["pair_cosine"].value == pytest.approx((x[rows] * first).sum(axis=1).mean(), abs=1e-7)
    assert metrics["cross_cosine"].value == pytest.approx((x[rows] @ first.T)[off].mean(), abs=1e-7)
    assert metrics["rmg"].value == pytest.approx(m / (m + within / 2), abs=1e-7)
    assert evaluation.samples["sample_id"].tolist() == [names[row] for row in rows]
    assert evaluation.notes[:3] == (
        "20 pairs: each image with its first caption",
        "images left out, as they have no caption: 10",
        "rmg and rmg_unhalved use all captions (30), calibration uses the first 2 of each image",
    )


# Samples --------------------------------------------------------------------------------------------------------------


def test_what_costs_the_square_is_taken_on_a_seeded_sample_and_says_so() -> None:
    data, embedder = random_pairs(60, 6)
    task = ModalityGap(pairwise_sample=40, rescored_sample=30)
    evaluation, metrics = evaluate(task, data, embedder)
    assert any(note.endswith("cosines on a seeded sample of 40 pairs") for note in evaluation.notes)
    assert "ablation, shifts and corrections on a seeded sample of 30 pairs" in evaluation.notes
    sizes = [metrics[name].n for name in ("gap", "cross_cosine", "image_uniformity", "image_isoscore", "separability")]
    assert sizes == [60, 60, 40, 40, 20]
    again, _ = evaluate(task, data, embedder)
    assert again.curves == evaluation.curves
