"""Subsets: fair to every class, seeded, in the old order, and said in a note."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipbench.data.dataset import Dataset
from clipbench.data.subset import random_subset, without_images
from clipbench.errors import DataError
from tests.clipbench.data.conftest import labels_of, owners_of
from tests.made import data_of


def labelled(counts: list[int]) -> Dataset:
    """A data set with so many images of each class, in random order."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    ids = [f"{row:04d}" for row in range(len(labels))]
    names = tuple(f"class {number}" for number in range(len(counts)))
    return data_of(ids, labels=labels, class_names=names)


def captioned(n: int) -> Dataset:
    """Images with two captions each, the second captions after all the first."""
    ids = [f"{row:04d}" for row in range(n)]
    return data_of(
        ids,
        captions=[f"{half} {id}" for half in ("first", "second") for id in ids],
        caption_image=np.tile(np.arange(n), 2),
    )


def counts_of(dataset: Dataset, n_classes: int) -> list[int]:
    return np.bincount(labels_of(dataset), minlength=n_classes).tolist()


def test_shares_are_proportional_when_they_come_out_even() -> None:
    subset = random_subset(labelled([60, 30, 10]), 10, np.random.default_rng(0))
    # One each, and the other 7 places in proportion 59 : 29 : 9, so 4.26, 2.09, 0.65: the last goes to the third class.
    assert counts_of(subset, 3) == [5, 3, 2]
    assert subset.notes == ("a seeded, stratified subset of 10 of 100 images",)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 99))
def test_every_class_is_kept_and_none_gives_more_than_it_has(counts: list[int], n: int, seed: int) -> None:
    dataset = labelled(counts)
    subset = random_subset(dataset, n, np.random.default_rng(seed))
    array = np.array(counts_of(subset, len(counts)))
    assert array.sum() == min(n, sum(counts))
    assert (array <= counts).all()
    if n < sum(counts):
        sure = int(n >= len(counts))
        left = np.array(counts) - sure
        share = (n - sure * len(counts)) * left / left.sum()
        assert (np.abs(array - sure - share) < 1).all()


def test_images_keep_their_order_and_labels() -> None:
    dataset = labelled([20, 20])
    subset = random_subset(dataset, 7, np.random.default_rng(1))
    assert list(subset.image_ids) == sorted(subset.image_ids)
    assert labels_of(subset) == [labels_of(dataset)[int(id)] for id in subset.image_ids]


def test_fewer_places_than_classes_are_drawn_by_lot_among_equals() -> None:
    drawn_classes = {
        labels_of(random_subset(labelled([5, 5, 5]), 1, np.random.default_rng(seed)))[0] for seed in range(40)
    }
    assert drawn_classes == {0, 1, 2}


def test_an_image_keeps_all_its_captions() -> None:
    subset = random_subset(captioned(10), 3, np.random.default_rng(0))
    assert subset.captions is not None
    captions = [(subset.image_ids[i], text) for i, text in zip(owners_of(subset), subset.captions, strict=True)]
    assert sorted(captions) == sorted((id, f"{half} {id}") for id in subset.image_ids for half in ("first", "second"))
    assert subset.notes == ("a seeded subset of 3 of 10 images",)


def test_bad_images_are_left_out_and_said() -> None:
    dataset = without_images(captioned(4), np.array([2, 0]))
    assert dataset.image_ids == ["0001", "0003"]
    assert dataset.captions == ["first 0001", "first 0003", "second 0001", "second 0003"]
    assert dataset.notes == ("skipped 2 of 4 images",)
    assert without_images(dataset, np.array([], np.int64)) is dataset


def test_when_no_image_is_left_that_is_an_error() -> None:
    with pytest.raises(DataError, match=r"none of its 2 images can be read \(the first is '0000'\)"):
        without_images(captioned(2), np.arange(2))
