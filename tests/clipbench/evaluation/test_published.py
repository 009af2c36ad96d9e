"""Published values: which measurement they may stand beside, and when they agree with it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from clipbench.data import Dataset
from clipbench.data.catalogue.entries import catalogue
from clipbench.data.labels import Groups
from clipbench.data.prompts import published_prompts
from clipbench.evaluation.published import (
    SAME,
    Key,
    Measured,
    published_names,
    published_values,
    slices_with_published,
    with_published,
)
from clipbench.evaluation.task import Task
from clipbench.models.protocol import ModelInfo
from clipbench.results.record import Metric, SlicesRecord
from clipbench.results.reference_models import open_clip_results
from clipbench.testing import NamedImage
from clipbench_tasks.retrieval import Retrieval

KEY = Key("ViT-B-32-quickgelu/openai", "zero-shot", "imagenet", "acc1")


@dataclass(frozen=True)
class Plain(Task):
    """A task with the name of zero-shot."""

    name = "zero-shot"
    version = 1
    summary = ""
    prompts: str | None = None


class Composition(Plain):
    """A task with the name of composition."""

    name = "composition"


MODEL = ModelInfo(
    ref="vit-b-32", id="open_clip:ViT-B-32-quickgelu/openai", fingerprint="", family="", embed_dim=2, context_length=77,
    image_size=224, logit_scale=100.0, logit_bias=0.0, n_parameters=None,
)  # fmt: skip
METRICS = {"acc1": Metric(value=0.634, low=0.6325, high=0.6355, n=50_000), "acc5": Metric(value=0.9)}


def imagenet(n_images: int = 50_000, id: str = "imagenet") -> Dataset:
    ids = [str(row) for row in range(n_images)]
    templates, names = published_prompts("imagenet")
    images = [NamedImage("0")] * n_images
    return Dataset(id=id, images=images, image_ids=ids, templates=templates, class_names=names)


WHOLE = imagenet()


def beside(model: ModelInfo = MODEL, task: object = None, dataset: Dataset = WHOLE) -> list[tuple[float, bool | None]]:
    measured = Measured(model=model, task=task or Plain(), dataset=dataset)  # type: ignore[arg-type]
    return [(metric.value, metric.agrees) for metric in with_published(METRICS, measured)["acc1"].published]


def test_each_published_value_is_told_to_agree_where_it_lies_within_the_interval() -> None:
    assert beside() == [(0.6332, True), (0.632, False)]
    measured = Measured(model=MODEL, task=Plain(), dataset=WHOLE)
    metrics = with_published(METRICS, measured)
    assert published_names(measured) >= {"acc1"} and "acc9" not in published_names(measured)
    assert not published_names(replace(measured, dataset=imagenet(49_000)))
    assert metrics["acc5"].published == []
    assert [published_value.is_secondary for published_value in metrics["acc1"].published] == [False, True]


def test_the_same_weights_and_data_elsewhere_count() -> None:
    assert len(beside(replace(MODEL, id="hf:openai/clip-vit-base-patch32"))) == 2
    assert len(beside(dataset=replace(WHOLE, id="hf:clip-benchmark/wds_imagenet1k"))) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"model": replace(MODEL, id="open_clip:ViT-B-32/openai")},
        {"model": replace(MODEL, context_length=248)},
        {"model": replace(MODEL, id="bundled:tiny")},
        {"task": Plain(prompts="mine.json")},
        {"dataset": imagenet(1_000)},
        {"dataset": replace(WHOLE, id="my/imagenet")},
        {"dataset": replace(WHOLE, templates=None)},
        {"dataset": replace(WHOLE, class_names=tuple(str(row) for row in range(1_000)))},
    ],
    ids=[
        "other activation",
        "stretched window",
        "other model",
        "other prompts",
        "part of the data",
        "other data",
        "default templates",
        "other class names",
    ],
)
def test_another_model_protocol_or_part_of_the_data_has_no_published_value(changes: dict[str, object]) -> None:
    assert beside(**changes) == []  # type: ignore[arg-type]


def test_slices_and_their_mean_have_what_was_published_for_each() -> None:
    images = [NamedImage(str(row)) for row in range(1_000)]
    ids = [image.name for image in images]
    owner = np.arange(11_000) % 1_000
    data = Dataset(id="xtd-10", images=images, image_ids=ids, captions=["x"] * 11_000, caption_image=owner)
    metric = {"image_retrieval_recall@1": Metric(value=0.33, low=0.3, high=0.36)}
    record = SlicesRecord(of="captions", groups={"de": metric, "xx": metric}, mean=metric)
    measured = Measured(model=MODEL, task=Retrieval(), dataset=data)
    result = slices_with_published({"language": record}, measured)["language"]
    of_slices = {"de": result.groups["de"], "xx": result.groups["xx"], "mean": result.mean}
    shown = {name: metrics["image_retrieval_recall@1"].published for name, metrics in of_slices.items()}
    assert {name: [value.value for value in values] for name, values in shown.items()} == {
        "de": [0.131], "xx": [], "mean": [0.1115],
    }  # fmt: skip
    german = replace(data, groups={"language": Groups(["de"] * 11_000, of_captions=True, main="de")})
    published_of_all = with_published(metric, replace(measured, dataset=german))["image_retrieval_recall@1"]
    assert [value.value for value in published_of_all.published] == [0.131], "all data is German"
    assert (
        slices_with_published({"language": record}, replace(measured, options=frozenset({"language"})))["language"]
        == record
    )


def has_published(data: str, dataset: Dataset, metric: str = "acc1", **value: object) -> bool:
    task = Composition() if dataset.contrasts else Plain()
    measured = Measured(model=MODEL, task=task, dataset=replace(dataset, id=data), **value)  # type: ignore[arg-type]
    return bool(with_published({metric: Metric(value=0.5)}, measured)[metric].published)


def test_classes_without_published_prompts_need_those_that_lie_beside_the_data() -> None:
    images = [NamedImage(str(row)) for row in range(21_100)]
    plain = Dataset(id="", images=images, image_ids=[str(row) for row in range(21_100)], class_names=("AD", "AE"))
    beside_data = replace(plain, templates=("a photo of {c}.",))
    assert has_published("country211", beside_data) and not has_published("country211", plain)
    assert has_published("country211", beside_data, options=frozenset({"group"}))
    assert not has_published("country211", beside_data, options=frozenset({"class_names"}))


def test_every_value_is_of_a_known_model_and_data_set_and_says_where_it_is_from() -> None:
    from clipbench.models.reference import aliases

    models = {alias.target.removeprefix("open_clip:") for alias in aliases()}
    assert set(SAME.values()) <= models
    for key, values in published_values().items():
        entry = catalogue()[key.data]
        assert key.task in entry.tasks
        assert key.model in models or key.model in open_clip_results()
        assert all(value.protocol and value.source and value.agrees is None for value in values)
        assert (
            key.metric == "gap"
            or all(0 < value.value < 1 for value in values)
            or (key.metric.startswith("{language=") and min(value.value for value in values) == 0)
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, 0.6332),
        (Key("ViT-B-32-quickgelu/openai", "retrieval", "coco", "image_retrieval_recall@1"), 0.3044),
        (Key("ViT-B-32-quickgelu/openai", "composition", "sugarcrepe", "swap_att/text_acc"), 0.6396),
        (Key("ViT-B-32-quickgelu/openai", "composition", "winoground", "group_acc"), 0.0875),
        (Key("ViT-L-14/laion2b_s32b_b82k", "composition", "aro-vg-relation", "vg_relation/macro_text_acc"), 0.4726),
        (Key("ViT-L-14-quickgelu/openai", "text-in-image", "scam", "attacked_two_way_acc"), 0.4014),
        (Key("ViT-B-16-quickgelu/openai", "long-caption", "urban-1k", "image_retrieval_recall@1"), 0.529),
        (Key("ViT-B-32-quickgelu/openai", "retrieval", "vidore-arxivqa", "ndcg@5"), 0.17109),
        (Key("ViT-B-32-quickgelu/openai", "retrieval", "coco-t2i", "ndcg@10"), 0.47651),
    ],
)
def test_values_are_those_of_the_sources(key: Key, value: float) -> None:
    assert published_values()[key][0].value == pytest.approx(value, abs=5e-5)


def test_each_model_of_the_table_is_known_by_the_window_that_open_clip_gives_it() -> None:
    open_clip = pytest.importorskip("open_clip")
    for name in sorted({key.model for key in published_values()}):
        window = open_clip.get_model_config(name.partition("/")[0])["text_cfg"].get("context_length", 77)
        assert beside(replace(MODEL, id=f"open_clip:{name}", context_length=window)), name
        assert not beside(replace(MODEL, id=f"open_clip:{name}", context_length=window + 1)), name
