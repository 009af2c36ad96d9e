"""The data set itself: parts, fingerprint, and what every loader's result must meet."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.labels import LabelSet
from clipbench.data.memory import dataset_in_memory
from clipbench.data.questions import Attack, Contrast
from clipbench.errors import DataError
from clipbench.testing import NamedImage
from tests.clipbench.data.conftest import labels_of, owners_of


def made(**parts: object) -> Dataset:
    all_fields: dict[str, object] = {
        "id": "x",
        "images": [NamedImage(id) for id in "abc"],
        "image_ids": list("abc"),
        "labels": np.array([0, 1, 0]),
        "class_names": ("cat", "dog"),
        "captions": ["1", "2", "3", "4"],
        "caption_image": np.array([2, 0, 1, 2]),
        "caption_ids": ["w", "x", "y", "z"],
    }
    return Dataset(**{**all_fields, **parts})  # type: ignore[arg-type]


def test_taking_images_takes_their_captions_along() -> None:
    part = made().take(np.array([2, 0]))
    assert part.image_ids == ["c", "a"]
    assert part.captions == ["1", "2", "4"]
    assert part.caption_ids == ["w", "x", "z"]
    assert (labels_of(part), owners_of(part)) == ([0, 0], [0, 1, 0])


def test_the_fingerprint_depends_on_the_images_content_and_not_on_where_they_lie() -> None:
    moved = made(images=[NamedImage(id) for id in "xyz"], id="y", notes=("moved",))
    assert made().fingerprint(["d1", "d2", "d3"]) == moved.fingerprint(["d1", "d2", "d3"])
    assert made().fingerprint(["d1", "d2", "d3"]) != made().fingerprint(["d1", "d2", "d4"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [], "image_ids": []}, "data set x is empty: expected at least one image"),
        ({"image_ids": ["a", "b", "a"]}, "data set x has the image id 'a' twice"),
        ({"image_ids": ["a", "b"]}, "data set x has 2 image ids for 3 images"),
        ({"labels": np.array([0, 1])}, "data set x has 2 labels for 3 images"),
        ({"caption_image": np.array([2, 0, 1])}, "data set x has 3 rows of images for 4 captions"),
        ({"caption_ids": ["a"]}, "data set x has 1 caption ids for 4 captions"),
        ({"caption_ids": ["a"] * 4}, "data set x has the caption id 'a' twice"),
        ({"caption_image": np.array([2, 0, 1, -1])}, "has a caption with the image index -1, expected 0 to 2"),
        ({"caption_image": np.array([2, 0, 1, 9])}, "has a caption with the image index 9, expected 0 to 2"),
        ({"captions": ["1", " \n", "3", "4"]}, "data set x has an empty caption for image 'a'"),
        ({"caption_image": np.array([2, 0, 0, 2])}, "1 images without a caption, the first 'b'"),
        ({"labels": np.array([0, 2, 0])}, r"image 'b' has label 2, expected 0 to 1 \(2 class names\)"),
        ({"labels": np.array([0, -1, 0])}, r"image 'b' has label -1, expected 0 to 1"),
        ({"labels": np.array([0, 0, 0])}, "lacks samples of 1 of its 2 classes, the first 'dog': .*allow_partial=True"),
        ({"labels": None, "multilabels": np.ones((3, 3), bool)}, "labels for 3 classes, but 2 class names"),
        ({"labels": None, "multilabels": np.array([[True, False]] * 3)}, "lacks samples of 1 of its 2 classes, the"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    assert check(made())
    for checked in (check, lambda dataset: dataset_in_memory(dataset, DataOptions())):
        with pytest.raises(DataError, match=message):
            checked(made(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "\udce9"}, r"the name '\\udce9'"),
        ({"image_ids": ["a", "b", "c\udce9.jpg"]}, r"the image id 'c\\udce9.jpg'"),
        ({"class_names": ("cat", "d\ud800")}, r"the class name 'd\\ud800'"),
        ({"templates": ("a {c}\ud800",)}, r"the template 'a {c}\\ud800'"),
        ({"captions": ["1", "2", "3\ud83d", "4"]}, r"the caption '3\\ud83d'"),
        ({"caption_ids": ["w", "x", "y", "\ud800"]}, r"the caption id '\\ud800'"),
    ],
)
def test_half_a_character_is_refused_and_shown(change: dict[str, object], message: str) -> None:
    assert check(made(captions=["1", "2", "3", "\N{OWL}"]))
    with pytest.raises(DataError, match=rf"has {message}, which is not Unicode text: correct it"):
        check(made(**change))


def everything(**parts: object) -> Dataset:
    """Return a data set that has every part."""
    contrast = Contrast("n", "swap", (0, 2), ("right", "wrong"), ((True, False), (False, True)))
    attack = Attack("p", label=0, word=1, attacked=1, clean=0)
    all_fields: dict[str, object] = {
        "multilabels": np.eye(3, 2, dtype=bool),
        "label_sets": {"kind": LabelSet(np.array([1, 0, 0]), ("x", "y"))},
        "contrasts": (contrast, contrast._replace(id="m", images=(1,), is_true=((True, False),))),
        "attacks": (attack, attack._replace(id="o", attacked=2)),
    }
    return made(**{**all_fields, **parts})


def reordered(data: Dataset, images: list[int], captions: list[int]) -> Dataset:
    """Return the same samples in another order, each part by itself rather than by ``take``."""
    place = {old: new for new, old in enumerate(images)}
    assert data.captions is not None and data.caption_image is not None and data.label_sets is not None
    assert data.labels is not None and data.multilabels is not None
    kinds = data.label_sets["kind"]
    return replace(
        data,
        images=[data.images[row] for row in images],
        image_ids=[data.image_ids[row] for row in images],
        labels=data.labels[images],
        multilabels=data.multilabels[images],
        label_sets={"kind": kinds._replace(labels=kinds.labels[images])},
        captions=[data.captions[row] for row in captions],
        caption_image=np.array([place[data.caption_image[row]] for row in captions]),
        caption_ids=None if data.caption_ids is None else [data.caption_ids[row] for row in captions],
        contrasts=tuple(
            contrast._replace(images=tuple(place[row] for row in contrast.images))
            for contrast in reversed(data.contrasts or ())
        ),
        attacks=tuple(
            contrast._replace(
                attacked=place[contrast.attacked], clean=None if contrast.clean is None else place[contrast.clean]
            )
            for contrast in reversed(data.attacks or ())
        ),
    )


@pytest.mark.parametrize("images", list(itertools.permutations(range(3))))
def test_the_unordered_fingerprint_is_the_same_in_every_order(images: tuple[int, ...]) -> None:
    data, digests = everything(), ["d1", "d2", "d3"]
    for captions in itertools.permutations(range(4)):
        other, those = reordered(data, list(images), list(captions)), [digests[row] for row in images]
        assert other.unordered_fingerprint(those) == data.unordered_fingerprint(digests)
        assert other.fingerprint(those) != data.fingerprint(digests)  # questions, at least, are in another order


@pytest.mark.parametrize(
    "change",
    [
        {"image_ids": ["a", "b", "d"]},
        {"labels": np.array([0, 0, 1])},
        {"class_names": ("cat", "Dog")},
        {"multilabels": np.eye(3, 2, dtype=bool)[::-1]},
        {"label_sets": {"kind": LabelSet(np.array([0, 1, 0]), ("x", "y"))}},
        {"captions": ["2", "1", "3", "4"]},
        {"caption_image": np.array([0, 2, 1, 2])},
        {"caption_ids": ["x", "w", "y", "z"]},
        {"contrasts": None},
        {"attacks": None},
    ],
)
def test_the_unordered_fingerprint_changes_when_a_part_moves_to_another_sample(change: dict[str, object]) -> None:
    digests = ["d1", "d2", "d3"]
    assert everything().unordered_fingerprint(digests) != everything(**change).unordered_fingerprint(digests)
    assert everything().unordered_fingerprint(digests) != everything().unordered_fingerprint(["d2", "d1", "d3"])


def test_captions_without_ids_are_told_by_their_image_and_their_order_there() -> None:
    data, digests = everything(caption_ids=None), ["d1", "d2", "d3"]
    assert data.caption_names() == ["c#0", "a#0", "b#0", "c#1"]
    assert everything().caption_names() == ["w", "x", "y", "z"]
    same = reordered(data, [0, 1, 2], [1, 2, 0, 3])
    assert same.unordered_fingerprint(digests) == data.unordered_fingerprint(digests)
    swapped = reordered(data, [0, 1, 2], [3, 1, 2, 0])
    assert swapped.unordered_fingerprint(digests) != data.unordered_fingerprint(digests)
