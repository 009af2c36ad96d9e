"""modality-gap: values worked by hand, one caption an image, and what is undefined or sampled."""

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.errors import MissingPart
from clipbench.result import Metric
from clipbench.task import Evaluation
from clipbench.testing import FixedEmbedder, NamedImage
from clipbench_tasks.modality_gap import ModalityGap

IMAGES = {"a": [2.0, 0.0], "b": [0.0, 1.0]}
TEXTS = {"x": [-1.0, 0.0], "second of a": [5.0, 5.0], "y": [0.0, 3.0]}


def dataset(**parts: object) -> Dataset:
    defaults: dict[str, object] = {"captions": list(TEXTS), "caption_image": np.array([0, 0, 1])}
    return Dataset(
        id="pairs",
        images=[NamedImage(name) for name in IMAGES],
        image_ids=list(IMAGES),
        **{**defaults, **parts},  # type: ignore[arg-type]
    )


def evaluate(task: ModalityGap, data: Dataset, embedder: FixedEmbedder) -> tuple[Evaluation, dict[str, Metric]]:
    found = task.evaluate(data, embedder, np.random.default_rng(0))
    return found, {n: m.metric(found.samples, np.random.default_rng(0)) for n, m in found.measures.items()}


def test_values_worked_by_hand() -> None:
    _, metrics = evaluate(ModalityGap(), dataset(), FixedEmbedder(IMAGES, TEXTS))
    # Unit vectors: images (1, 0), (0, 1); first captions (-1, 0), (0, 1).
    assert metrics["gap"].value == pytest.approx(1.0)  # means (.5, .5) and (-.5, .5)
    assert metrics["image_cone"].value == pytest.approx(0.0) == metrics["text_cone"].value
    assert metrics["pair_cosine"].value == pytest.approx(0.0)  # -1 and 1
    assert metrics["alignment"].value == pytest.approx(2.0)  # 4 and 0
    assert metrics["l2i"].value == pytest.approx(1.0)  # 2 and 0
    assert metrics["rmg"].value == pytest.approx(0.5)  # m 1/2, both D 1/2
    assert metrics["image_uniformity"].value == pytest.approx(-4.0)


def test_each_image_comes_with_its_first_caption_only() -> None:
    found, metrics = evaluate(ModalityGap(), dataset(), FixedEmbedder(IMAGES, TEXTS))
    assert found.samples["sample_id"].tolist() == ["a", "b"] and metrics["pair_cosine"].n == 2
    assert np.allclose(found.vectors["texts"], [[-1, 0], [0, 1]])


def test_equal_vectors_leave_undefined_what_they_do_not_define() -> None:
    same = FixedEmbedder({key: [1.0, 1.0] for key in IMAGES}, {key: [1.0, 1.0] for key in TEXTS})
    _, metrics = evaluate(ModalityGap(hub_k=1), dataset(), same)
    assert metrics["gap"].value == pytest.approx(0.0, abs=1e-7)
    assert metrics["separability"].value == metrics["separability"].chance == 0.5
    for name in ("rmg", "image_effective_rank", "image_hub_skewness"):
        assert metrics[name].value is None and metrics[name].reason, name


def test_what_costs_the_square_is_taken_on_a_seeded_sample_and_says_so() -> None:
    rng = np.random.default_rng(0)
    names = [f"i{row}" for row in range(60)]
    images = {name: rng.standard_normal(6).tolist() for name in names}
    texts = {f"t of {name}": rng.standard_normal(6).tolist() for name in names}
    data = Dataset(
        id="many",
        images=[NamedImage(name) for name in names],
        image_ids=names,
        captions=list(texts),
        caption_image=np.arange(60),
    )
    found, metrics = evaluate(ModalityGap(pairwise_sample=40), data, FixedEmbedder(images, texts))
    assert "uniformity, hubness and separability on a seeded sample of 40 pairs" in found.notes
    assert (metrics["gap"].n, metrics["image_uniformity"].n, metrics["separability"].n) == (60, 40, 20)


def test_captions_are_needed() -> None:
    with pytest.raises(MissingPart, match="the task needs captions, and data set pairs has none"):
        evaluate(ModalityGap(), dataset(captions=None, caption_image=None), FixedEmbedder(IMAGES, TEXTS))
