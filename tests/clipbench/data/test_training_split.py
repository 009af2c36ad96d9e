"""A split to train on beside the one that is tested."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipbench.data import Attack, DataOptions
from clipbench.data.dataset import Dataset
from clipbench.data.dataset_loading import load_data
from clipbench.data.training_split import join_attacks
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.testing import NamedImage
from tests.clipbench.data.conftest import labels_of


def folder(root: Path, **splits: dict[str, int]) -> Path:
    for split, classes in splits.items():
        for name, n in classes.items():
            (root / split / name).mkdir(parents=True)
            for number in range(n):
                Image.new("RGB", (4, 4), (number, len(split), len(name))).save(root / split / name / f"{number}.png")
    return root


def load(root: Path, form: str = "training", **options: str) -> Dataset:
    return load_data(str(root), DataOptions(form=form, options=options))


def test_both_splits_are_there_with_marks_on_the_images_to_train_on(tmp_path: Path) -> None:
    root = folder(tmp_path, test={"cat": 2, "dog": 1}, train={"cat": 1, "dog": 2})
    data = load(root, split="test", train="train")
    assert data.is_training is not None and data.is_training.tolist() == [False] * 3 + [True] * 3
    assert labels_of(data) == [0, 0, 1, 0, 1, 1] and data.split == "test"
    assert data.image_ids[3] == f"train: {load(root, split='train').image_ids[0]}"
    part = data.take(np.array([2, 5]))
    assert part.is_training is not None and part.is_training.tolist() == [False, True]
    digests = [image.digest() for image in data.images]
    dataset = Dataset(**{**vars(data), "is_training": ~data.is_training})
    assert dataset.fingerprint(digests) != data.fingerprint(digests)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"split": "train", "train": "train"},
            UsageError,
            "'train': 'train'}: the images to test are of the split 'train' too: name another",
        ),
        ({"split": "test", "train": "trian"}, UsageError, "trian"),
        ({"split": "test", "train": "val"}, DataError, "the split 'val' has the class 'emu', which the tested images"),
        ({"split": "test", "train": "validation"}, DataError, "the split 'validation' has no image of 1 of the"),
    ],
)
def test_splits_that_do_not_fit_are_refused(
    tmp_path: Path, options: dict[str, str], error: type[ClipbenchError], message: str
) -> None:
    root = folder(
        tmp_path, test={"cat": 1, "dog": 1}, train={"cat": 1, "dog": 1}, val={"cat": 1, "emu": 1}, validation={"cat": 1}
    )
    with pytest.raises(error, match=message):
        load(root, **options)


def test_images_beside_attacks_go_by_the_names_of_their_classes_whatever_their_case() -> None:
    images, ids = [NamedImage("a"), NamedImage("b")], ["a", "b"]
    tested = Dataset(id="x", images=images, image_ids=ids, class_names=("cat", "dog"), attacks=[Attack("1", 0, 1, 0)])
    training = Dataset(id="y", images=images, image_ids=ids, class_names=("Dog", "emu"), labels=np.array([0, 1]))
    data = join_attacks(tested, training, "photos")
    assert labels_of(data) == [0, 1] and data.image_ids == ["a", "photos: a"]
    assert data.notes == ("images of photos in classes without an attack (1): left out",)
    with pytest.raises(DataError, match=r"the classes 'Cat' and 'cat' differ only in upper and lower case"):
        join_attacks(tested, replace(training, class_names=("Cat", "cat")), "photos")
