"""A split to train on beside the one that is tested, for the task that trains on labelled images: ``--data-option train=SPLIT``."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.errors import DataError, UsageError, did_you_mean

TASK, OPTION = "few-shot", "train"
"""The task, and the option that names the split."""


def is_named(options: DataOptions) -> bool:
    """Return whether the data are to come with a split to train on."""
    return options.task == TASK and OPTION in options.options


def load(load_split: Callable[[DataOptions], Dataset], options: DataOptions) -> Dataset:
    """Return the images to test together with those of the split that is named, marked as images to train on.

    Args:
        load_split: loads one split.

    Raises:
        UsageError: both are the same split, or which one is tested is not said.
        DataError: a class that is tested has no image to train on.
        MissingPart: the data have no labels.
    """
    name = options.options[OPTION]
    others = {key: value for key, value in options.options.items() if key != OPTION}
    tested = load_split(replace(options, options=others))
    if tested.split in (None, name):
        which = (
            "the images to test are not of a split"
            if tested.split is None
            else f"the images to test are of '{name}' too"
        )
        raise UsageError(f"--data-option {OPTION}={name}: {which}: name another with --data-option split=NAME")
    of_training = replace(options, options={**others, "split": name}, n_images=None, allow_partial=True)
    return joined(tested, load_split(of_training), name)


def joined(tested: Dataset, training: Dataset, split: str) -> Dataset:
    """Return the images of two splits as one data set, those to train on last.

    Example:
        >>> from clipbench.testing import NamedImage
        >>> parts = dict(images=[NamedImage("a")], image_ids=["a"], labels=np.array([0]))
        >>> one, other = Dataset(id="x", class_names=("cat",), **parts), Dataset(id="x", class_names=("dog",), **parts)
        >>> joined(one, replace(other, class_names=("cat",)), "train").is_training
        array([False,  True])
    """
    for dataset in (tested, training):
        dataset.require("labels", "class_names")
    assert tested.labels is not None and tested.class_names is not None
    assert training.labels is not None and training.class_names is not None
    row = {name: number for number, name in enumerate(tested.class_names)}
    unknown = [name for name in training.class_names if name not in row]
    if unknown:
        raise DataError(
            f"data set {tested.id}: the split '{split}' has the class '{unknown[0]}', which the tested images do not have:"
            f" {did_you_mean(unknown[0], row)}"
        )
    labels = np.array([row[training.class_names[label]] for label in training.labels.tolist()], np.int64)
    lacking = np.setdiff1d(tested.labels, labels)
    if len(lacking):
        raise DataError(
            f"data set {tested.id}: the split '{split}' has no image of {len(lacking)} of the classes that are tested,"
            f" the first '{tested.class_names[lacking[0]]}'"
        )
    n, more = len(tested), len(training)
    return check(
        replace(
            tested,
            images=[*tested.images, *training.images],
            image_ids=[*tested.image_ids, *(f"{split}: {each}" for each in training.image_ids)],
            labels=np.concatenate([tested.labels, labels]),
            is_training=np.arange(n + more) >= n,
            label_sets=None,
            label_slices={},
            captions=None,
            caption_image=None,
            caption_ids=None,
            groups={
                name: each._replace(values=[*each.values, *[""] * more])
                for name, each in tested.groups.items()
                if not each.of_captions
            },
            notes=(*tested.notes, *(f"split '{split}': {note}" for note in training.notes if note not in tested.notes)),
        ),
        allow_partial=True,
    )
