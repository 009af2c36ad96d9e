"""Fingerprints of every part of a data set: values that results of earlier versions have recorded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clipbench import Attack, Contrast, Dataset, Groups, LabelSet
from clipbench.data.modalities import Modalities, ModalityItem
from clipbench.data.part import text_bytes
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.testing import NamedImage

NAMES = list("hgfedcba")
IMAGES: dict[str, Any] = {"images": [NamedImage(name) for name in NAMES], "image_ids": NAMES}
LABELS: dict[str, Any] = {"labels": np.array([0, 1, 2, 0, 1, 2, 0, 1]), "class_names": ("a", "b", "c")}
CAPTIONS: dict[str, Any] = {
    "captions": [f"c{row}" for row in range(16)],
    "caption_image": np.repeat(np.arange(8), 2)[::-1].copy(),
}
CONTRASTS = [
    Contrast(f"q{row}", "s" if row % 2 else "t", (row, (row + 1) % 8), ("x", "y"), ((True, False), (False, True)), "g")
    for row in reversed(range(8))
]
ATTACKS = [
    Attack("b", 0, 1, 0, 1, 2, 3, "", "mug"),
    Attack("a", 1, 2, 4, 5, None, None, "h=1", "cup"),
    Attack("c", 2, 0, 6, None, 7, None, "", None),
]
LANGUAGES = {"language": Groups(["en", "de"] * 8, of_captions=True, main="en")}


def label_set(*labels: int, names: tuple[str, ...], templates: tuple[str, ...] | None = None) -> LabelSet:
    return LabelSet(np.array(labels), names, templates)


def judgements() -> Judgements:
    return Judgements(
        queries=JudgedItems(["z", "y"], ["t", ""], np.array([-1, 3]), ["en", "de"]),
        documents=JudgedItems(["k", "j", "i"], ["", "u", "v"], np.array([0, -1, 5])),
        query=np.array([0, 1, 1]),
        document=np.array([0, 2, 1]),
        grade=np.array([1, 2, 0]),
    )


def modalities() -> Modalities:
    sounds = [ModalityItem(b"s%d" % row, f"s{row}") for row in range(8)]
    return Modalities(
        {"audio": sounds, "image": IMAGES["images"], "text": CAPTIONS["captions"][:8]},
        {"audio": [sound.name for sound in sounds], "image": NAMES, "text": [f"t{row}" for row in range(8)]},
        {("audio", "image"): np.arange(8)[::-1].copy(), ("image", "text"): np.arange(8)},
    )


DATASETS: dict[str, Callable[[], Dataset]] = {
    "images": lambda: Dataset(id="x", **IMAGES),
    "labels": lambda: Dataset(id="x", **IMAGES, **LABELS, templates=("a {c}",), groups={"region": Groups("xxyyxxyy")}),
    "several labels": lambda: Dataset(id="x", **IMAGES, class_names=("a",), multilabels=np.ones((8, 1), bool)),
    "label sets": lambda: Dataset(
        id="x", **IMAGES, label_sets={"one": label_set(*[0, 1] * 4, names=("p", "q")), "two": label_set(*[0] * 8, names=("z",))}
    ),
    "label slices": lambda: Dataset(
        id="x", **IMAGES, **LABELS,
        label_slices={"language": {"de": label_set(-1, 0, 1, 0, 1, -1, 0, 1, names=("ja", "nein"), templates=("ein {c}",))}},
    ),
    "images to train on": lambda: Dataset(id="x", **IMAGES, **LABELS, is_training=np.arange(8) >= 5),
    "captions": lambda: Dataset(id="x", **IMAGES, **CAPTIONS),
    "ids of captions": lambda: Dataset(id="x", **IMAGES, **CAPTIONS, caption_ids=[f"i{row:02}" for row in reversed(range(16))]),
    "a main language": lambda: Dataset(
        id="x", **IMAGES, **CAPTIONS, **LABELS, groups=LANGUAGES, is_training=np.arange(8) >= 5,
        label_sets={"one": label_set(*[0, 1] * 4, names=("p", "q"))},
        label_slices={"language": {"fr": label_set(*[0] * 8, names=("oui",))}},
    ),
    "contrasts": lambda: Dataset(id="x", **IMAGES, contrasts=CONTRASTS),
    "no contrasts": lambda: Dataset(id="x", **IMAGES, contrasts=()),
    "attacks": lambda: Dataset(id="x", **IMAGES, attacks=ATTACKS, contrasts=CONTRASTS, class_names=("a", "b", "c")),
    "judgements": lambda: Dataset(id="x", **IMAGES, judgements=judgements()),
    "modalities": lambda: Dataset(
        id="x", **IMAGES, captions=CAPTIONS["captions"][:8], caption_image=np.arange(8), modalities=modalities()
    ),
    "distractors": lambda: Dataset(
        id="x", **IMAGES, **CAPTIONS, distractors=Dataset(id="d", images=[NamedImage("A")], image_ids=["A"])
    ),
}  # fmt: skip

RECORDED: dict[str, tuple[str, str | None, str]] = {
    "images": (
        "b16f2fc81113bff1bd3e45829f754e4a",
        "de12ebc9350d9a87471eec9b50a10b65",
        "f31684dfa02a691e55effbfdfab3b55a",
    ),
    "labels": (
        "e2f63147f04b831d8cf92a6d504bb318",
        "41323874829bf996a39ab0facdfb75de",
        "262c7f79ba6853ac34b2768c0e009258",
    ),
    "several labels": (
        "27d21e25710722c039d2539cacc806c7",
        "b3693b7b1d0c158fdb1a7b1107839792",
        "24a0cd3cf67854b6d101e7b737b5b474",
    ),
    "label sets": (
        "4b5e65363797becad5a8204197efea5e",
        "beac5b2829e8cc5780eb751385046382",
        "6b406607d9e272cb16b2c802e6653208",
    ),
    "label slices": (
        "5cf173e826b25cb37c84268101ca4ea7",
        "4e1288a35c638d4c2ccb456819287457",
        "2e710820a644b8c8ca4239aef34af041",
    ),
    "images to train on": (
        "7af2d03bc9a0b5ef9a9a142817f7ef4a",
        "b63f6b17c07d783dee6862caab6ebd9d",
        "cdf105377f02550c1fe4d77c282de928",
    ),
    "captions": (
        "ac9742fde21750dd9a2740ad60111597",
        "7be4cb10da4603c8e1102c418e7d2df8",
        "a7190fe24add6dfa48c91b02d9b3a36a",
    ),
    "ids of captions": (
        "afde170b547297c1f929d0194d36a9ca",
        "830f2f24219b175d8f09027d6c012c9a",
        "3fcff59dd77d07e8c6cfc68ba0506272",
    ),
    "a main language": (
        "99dabd1b31b1b7f1c2c448e360501450",
        "481dc5bd5dcc26dbd6f4da9a5852867f",
        "a09d151d0f85e107c109866d1ccdcd3e",
    ),
    "contrasts": (
        "b1afbe9e54c53aa67f840ff12f52c690",
        "707ee06720bce2e259c50daf87875e77",
        "2c1432726415efacc11480e806cfc7b6",
    ),
    "no contrasts": (
        "c34f1ca450462d2c8af3538f4c87af65",
        "7eec37220c92a9d50d64bcf043ff2170",
        "8db0bc5fdc27bb9c8799ad9da03f2344",
    ),
    "attacks": (
        "5a7bfc7dbdf0a8223b77d4174ab592f9",
        "e86b0c0715743722ec8e85b985dde4c1",
        "83acf3d73d9de8505d7aadad37b25327",
    ),
    "judgements": (
        "096faba7134bb741f5cb68e0d04a9f40",
        "fbd11206f16c5bcc9a56ff7b9f421faf",
        "6c89e4248fb893c93e87c1f20653ff51",
    ),
    "modalities": ("8122c59ff2dcfa53344c91767ad32b6c", None, "38435d314c9da600c2e665dfbe9a2725"),
    "distractors": (
        "60808522b60431a6dbd62d1903738bbf",
        "07ca8f932105d2ba1b2f50b378bd43c6",
        "281278338941bd6df101aa81f028082c",
    ),
}
"""The fingerprint, the one without order, and that of four of the images, by the name of the data set."""


@pytest.mark.parametrize("name", DATASETS)
def test_a_fingerprint_is_the_one_that_was_recorded(name: str) -> None:
    dataset = DATASETS[name]()
    digests = [image.name for image in dataset.gallery]
    part = dataset.take(np.array([6, 1, 0, 7]))
    fingerprints = (
        dataset.fingerprint(digests),
        dataset.unordered_fingerprint(digests),
        part.fingerprint(digests[: len(part.gallery)]),
    )
    assert fingerprints == RECORDED[name]


def test_texts_that_are_divided_differently_have_other_bytes() -> None:
    columns: list[list[str]] = [[], [""], ["", ""], ["abc"], ["a", "bc"], ["ab", "c"], ["\ud800"], ["\\ud800"], ["é"]]
    assert len({text_bytes(column) for column in columns}) == len(columns)
