"""Slices of an evaluation: the same numbers as by hand, in the run's files, comparisons, gates and the report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clipbench as cb
from clipbench.comparison.gate import judge
from clipbench.comparison.gate_rules import Gate
from clipbench.data.labels import Groups, LabelSet
from clipbench.evaluation.slices import slices_of
from clipbench.testing import FixedEmbedder, NamedImage
from clipbench_tasks.retrieval import Retrieval
from clipbench_tasks.zero_shot import ZeroShot
from tests.made import data_of

N = 120


def classified(rate: dict[str, float], seed: int = 0) -> tuple[cb.Dataset, FixedEmbedder, np.ndarray]:
    """Return images of two classes in regions, a fraction of which, that of their region, is classified as it should
    be.
    """
    rng = np.random.default_rng(seed)
    labels, regions = rng.integers(2, size=N), np.array(sorted(rate))[np.arange(N) % len(rate)]
    is_right = rng.random(N) < np.array([rate[region] for region in regions])
    names = [f"{k}.png" for k in range(N)]
    vectors = np.eye(2)[np.where(is_right, labels, 1 - labels)] + 0.1
    data = data_of(
        names,
        labels=labels,
        class_names=("cat", "dog"),
        templates=("{c}",),
        groups={"region": Groups(regions.tolist())},
    )
    texts = {"cat": [1.0, 0.0], "dog": [0.0, 1.0]}
    return data, FixedEmbedder(dict(zip(names, vectors.tolist(), strict=True)), texts), is_right


def sliced(data: cb.Dataset, embedder: FixedEmbedder) -> cb.SlicesRecord:
    task = ZeroShot()
    evaluation = task.evaluate(data, embedder, np.random.default_rng(0))
    return slices_of(task, data, embedder, evaluation, 0).records["region"]


def test_slices_of_images_have_the_means_of_their_own_samples() -> None:
    data, embedder, is_right = classified({"north": 0.9, "south": 0.6})
    result = sliced(data, embedder)
    regions = np.array(data.groups["region"].values)
    for region in ("north", "south"):
        metric = result.groups[region]["acc1"]
        assert metric.value == pytest.approx(is_right[regions == region].mean())
        assert metric.n == (regions == region).sum() and metric.chance is None
    assert result.mean["acc1"].value == pytest.approx(
        np.mean([result.groups[group]["acc1"].value for group in result.groups])
    )
    assert result.worst_group["acc1"] == "south" and result.worst["acc1"].value == result.groups["south"]["acc1"].value


def test_what_is_a_function_of_all_samples_is_measured_on_the_slice_alone() -> None:
    data, embedder, is_right = classified({"north": 0.9, "south": 0.6})
    regions, labels = np.array(data.groups["region"].values), data.labels
    assert labels is not None
    is_south = regions == "south"
    by_class = [is_right[is_south & (labels == c)].mean() for c in (0, 1)]
    assert sliced(data, embedder).groups["south"]["mean_per_class_recall"].value == pytest.approx(np.mean(by_class))


def test_planted_differences_are_found_and_no_others() -> None:
    planted = {f"region {k}": 0.9 for k in range(4)} | {"region 4": 0.2}
    assert (sliced(*classified(planted)[:2]).distance["acc1"].low or 0) > 0
    none = [sliced(*classified(dict.fromkeys(planted, 0.7), seed)[:2]) for seed in range(20)]
    assert sum((each.distance["acc1"].low or 0) > 0 for each in none) <= 1


def test_slices_of_captions_are_data_of_their_own() -> None:
    captions = ["a cat", "eine Katze", "a dog", "ein Hund"]
    vectors = dict(zip(captions, ([1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.1]), strict=True))
    data = cb.Dataset(
        id="two",
        images=[NamedImage("cat"), NamedImage("dog")],
        image_ids=["cat", "dog"],
        captions=captions,
        caption_image=np.array([0, 0, 1, 1]),
        groups={"language": Groups(["en", "de", "en", "de"], of_captions=True)},
    )
    embedder, task = FixedEmbedder({"cat": [1.0, 0.0], "dog": [0.0, 1.0]}, vectors), Retrieval(ks=(1,))
    evaluation = task.evaluate(data, embedder, np.random.default_rng(0))
    slices = slices_of(task, data, embedder, evaluation, 0)
    record = slices.records["language"]
    assert record.of == "captions"
    for direction in ("image_retrieval", "text_retrieval"):
        assert record.groups["en"][f"{direction}_recall@1"].value == 1.0
        assert record.groups["de"][f"{direction}_recall@1"].value == 0.0
    assert slices.tables["language"][0]["sample_id"][0].startswith("de:")


def test_the_metrics_of_all_data_are_of_the_main_captions_and_the_images_that_have_one(tmp_path: Path) -> None:
    images = [Image.new("RGB", (4, 4), (k, 0, 0)) for k in range(4)]
    for k, image in enumerate(images):
        image.save(tmp_path / f"{k}.png")
    captions = ["Bild 0", "image 1", "Bild 1", "image 2", "Bild 2", "image 3"]
    data = cb.Dataset(
        id="some",
        images=[cb.FileImage(tmp_path / f"{k}.png") for k in range(4)],
        image_ids=[str(k) for k in range(4)],
        captions=captions,
        caption_image=np.array([0, 1, 1, 2, 2, 3]),
        groups={
            "region": Groups(["north", "north", "south", "south"]),
            "language": Groups([text.split()[0] for text in captions], of_captions=True, main="image"),
        },
    )
    evaluation = cb.run(Named(skill=0.0), "retrieval", data=data).result.evaluations[0]
    metric = "image_retrieval_recall@1"
    assert (evaluation.metrics[metric].value, evaluation.metrics[metric].n) == (1.0, 3)
    assert evaluation.dataset.n_samples == 4
    of_language, of_region = (evaluation.slices[name].groups for name in ("language", "region"))
    assert of_language["image"][metric].value == 1.0 and (of_language["Bild"][metric].value or 0) < 0.2
    assert {name: metrics[metric].n for name, metrics in of_region.items()} == {"north": 1, "south": 2}


def test_slices_with_classes_of_their_own_share_images_and_their_mean_knows() -> None:
    data, embedder, is_right = classified({"north": 0.7, "south": 0.7})
    assert data.labels is not None
    data = replace(data, groups={}, label_slices={"language": {
        "de": LabelSet(data.labels, ("Katze", "Hund"), ("{c}",)),
        "fr": LabelSet(data.labels, ("chat", "chien")),
        "sw": LabelSet(np.where(data.labels == 0, 0, -1), ("paka", "mbwa")),
    }})  # fmt: skip
    cats, dogs = ("cat", "Katze", "chat", "paka"), ("dog", "Hund", "chien", "mbwa")
    texts = {name: np.eye(2)[k].tolist() for k, names in enumerate((cats, dogs)) for name in names}
    names, vectors = [image.name for image in data.images], embedder.images(data.images).tolist()
    embedder, task = FixedEmbedder(dict(zip(names, vectors, strict=True)), texts), ZeroShot()
    slices = slices_of(task, data, embedder, task.evaluate(data, embedder, np.random.default_rng(0)), 0)
    record = slices.records["language"]
    assert record.of == "classes" and [accuracy.n for accuracy in (record.groups[v]["acc1"] for v in ("de", "fr", "sw"))] == [
        N, N, int(np.sum(data.labels == 0)),
    ]  # fmt: skip
    assert record.groups["de"]["acc1"].value == pytest.approx(is_right.mean())
    assert slices.tables["language"][2]["sample_id"][0].startswith("sw:")
    both = replace(data, label_slices={"language": {v: data.label_slices["language"][v] for v in ("de", "fr")}})
    mean = (
        slices_of(task, both, embedder, task.evaluate(both, embedder, np.random.default_rng(0)), 0)
        .records["language"]
        .mean["acc1"]
    )
    one = record.groups["de"]["acc1"]
    width = (mean.high or 0) - (mean.low or 0)
    assert width == pytest.approx((one.high or 0) - (one.low or 0), rel=0.05), (
        "twice the same images tell no more than once"
    )


class Named:
    """A model that knows images by their colour, and captions by their number; German ones only with some skill."""

    def __init__(self, skill: float) -> None:
        self.is_lost = np.random.default_rng(0).random(64) >= skill

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        return np.array([np.eye(64)[image.getpixel((0, 0))[0] % 64] for image in images])  # type: ignore[index]

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array([np.eye(64)[self.number(text)] for text in texts])

    def number(self, caption: str) -> int:
        number = int("0" + re.sub(r"\D", "", caption)) % 64
        return (number + 1) % 64 if caption.startswith("Bild") and self.is_lost[number] else number


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[cb.Run]:
    """Two models that differ in German only."""
    images = [Image.new("RGB", (4, 4), (k, 0, 0)) for k in range(64)]
    rows = [(image, f"{word} {k}", word) for k, image in enumerate(images) for word in ("image", "Bild")]
    frame = pd.DataFrame(rows, columns=["image", "caption", "language"])
    folder = tmp_path_factory.mktemp("slices")
    return [
        cb.run(Named(skill), "retrieval", data=frame, data_options={"group": "language"}, out=folder / str(skill))
        for skill in (1.0, 0.3)
    ]


def test_a_run_keeps_its_slices(runs: list[cb.Run]) -> None:
    table = cb.read_run(runs[0].folder).slices()
    rows = table[table.metric == "text_retrieval_recall@1"].set_index("group")
    assert set(rows.index) == {"Bild", "image", "(mean)", "(worst)", "(distance)"}
    assert rows.value["Bild"] == rows.value["(mean)"] == 1.0 and rows.value["(distance)"] == 0.0
    assert runs[1].slices().query("metric == 'text_retrieval_recall@1' and group == 'Bild'").value.item() < 0.5
    assert (
        json.loads((runs[0].folder / "result.json").read_text())["evaluations"][0]["slices"]["language"]["of"]
        == "captions"
    )


def test_a_gate_reaches_slices_by_name_alone(runs: list[cb.Run]) -> None:
    compared = cb.compare(*runs)
    base, candidate = (run.named_metrics for run in runs)

    def outcomes(gate: Gate) -> dict[str, str]:
        return {
            evaluation.metric: evaluation.status
            for evaluation in judge(compared, gate, base=base, candidate=candidate, alpha=0.05)
        }

    assert not any("{" in name for name in outcomes(Gate.from_options("1pp")))
    name = "retrieval@memory{{language={}}}/text_retrieval_recall@1"
    result = outcomes(Gate.from_options(None, ["retrieval{language=*}/text_retrieval_recall@1 >= 0.9"]))
    assert result == {name.format("Bild"): "unmet", name.format("image"): "pass"}
    result = outcomes(Gate.from_options(None, ["*{language=(worst)}/text_retrieval_recall@1 >= 0.9"]))
    assert result == {name.format("(worst)"): "unmet"}
