"""Data that are broken in one way each, which the check of that name says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench import Dataset, FileImage, load_data
from clipbench.checks.examination import examine
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.results.record import CheckFinding
from tests.clipbench.checks.conftest import Bind

DATA_CHECKS = {"images", "duplicates", "captions", "classes", "class-names", "caption-length"}
N = 12


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Twelve images of noise, each with a caption and a class."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.png" for number in range(N)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).resize((240, 160)).save(file)
    return Dataset(
        id="photos",
        images=[FileImage(file) for file in files],
        image_ids=[file.name for file in files],
        labels=np.arange(N) % 3,
        class_names=("cat", "dog", "owl"),
        captions=[f"caption number {number}" for number in range(N)],
        caption_image=np.arange(N),
    )


def named(dataset: Dataset, bound: StoreEmbedder) -> dict[str, CheckFinding]:
    findings = {finding.check: finding for finding in examine(bound, dataset, raise_bugs=True)}
    assert set(findings) >= DATA_CHECKS
    return {name: findings[name] for name in DATA_CHECKS if findings[name].status in ("warning", "fault")}


def test_healthy_data_are_left_alone(photos: Dataset, toy_clip: Any, embedder: Bind) -> None:
    bound = embedder(toy_clip())
    assert named(photos, bound) == {}
    assert named(load_data("scenes", data_options={"n": "60"}), bound) == {}
    assert named(load_data("scenes", task="zero-shot", data_options={"n": "200"}), bound) == {}


def break_an_image(data: Dataset) -> Dataset:
    path = Path(data.images[3].name)
    path.write_bytes(path.read_bytes()[:200])
    return data


def copy_an_image(data: Dataset) -> Dataset:
    Path(data.images[5].name).write_bytes(Path(data.images[2].name).read_bytes())
    return data


def resize_an_image(data: Dataset) -> Dataset:
    with Image.open(data.images[2].name) as image:
        image.resize((120, 80), Image.Resampling.LANCZOS).save(data.images[5].name)
    return data


BROKEN: dict[str, tuple[Callable[[Dataset], Dataset], str, str]] = {
    "unreadable": (break_an_image, "images", "1 of 12 images cannot be read, the first "),
    "copied": (copy_an_image, "duplicates", "among 12 images 1 exact copy: '2.png' and '5.png'"),
    "resized": (resize_an_image, "duplicates", "among 12 images 1 near-duplicate: '2.png' and '5.png'"),
    "shared caption": (
        lambda data: replace(data, captions=["A thing.", "a  thing.", *list(data.captions or ())[2:]]),
        "captions",
        "1 of 11 captions belongs to several images, 'a thing.' on 2",
    ),
    "empty class": (
        lambda data: replace(data, labels=np.arange(N) % 2),
        "classes",
        "1 of 3 classes has no image, the first 'owl'",
    ),
    "two classes of one name": (
        lambda data: replace(data, class_names=("crane", "dog", "Crane")),
        "class-names",
        "1 name names several classes: 'crane' names 2",
    ),
    "long caption": (
        lambda data: replace(data, captions=["word " * 60, *list(data.captions or ())[1:]]),
        "caption-length",
        "1 of 12 captions is longer than the 48 tokens that the model reads, up to 62",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_data_broken_in_one_way_are_named_for_it(name: str, photos: Dataset, toy_clip: Any, embedder: Bind) -> None:
    spoil, check, symptom = BROKEN[name]
    findings = named(spoil(photos), embedder(toy_clip()))
    assert set(findings) - {"classes"} == {check} - {"classes"} and symptom in findings[check].seen
    assert findings[check].why and findings[check].fix


def test_captions_of_the_user_are_what_the_model_is_checked_on(toy_clip: Any, embedder: Bind) -> None:
    scenes = load_data("scenes", data_options={"n": "80"})
    assert scenes.captions is not None
    bound = embedder(toy_clip())
    right = {finding.check: finding for finding in examine(bound, scenes)}["pairs"]
    assert right.status == "ok" and "64 images of scenes" in right.seen
    shuffled = replace(scenes, captions=np.random.default_rng(0).permutation(scenes.captions).tolist())
    wrong = {finding.check: finding for finding in examine(bound, shuffled)}["pairs"]
    assert wrong.status == "fault" and "standard deviations above shuffled ones: " in wrong.seen


def test_classes_are_pairs_too(toy_clip: Any, embedder: Bind) -> None:
    portraits = load_data("scenes", task="zero-shot", data_options={"n": "180"})
    assert portraits.label_sets is not None
    colours = replace(
        portraits, labels=portraits.label_sets["colour_kind"].labels,
        class_names=portraits.label_sets["colour_kind"].class_names, label_sets=None,
    )  # fmt: skip
    result = {finding.check: finding for finding in examine(embedder(toy_clip()), colours)}["pairs"]
    assert result.status == "ok" and "64 images of scenes" in result.seen
