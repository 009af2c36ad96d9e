"""Images to train on in addition to the tested ones: ``--data-option train=``, a split for few-shot, data for
text-in-image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import DataOptions, Dataset, check, without_options
from clipbench.errors import DataError, MissingPart, UsageError, data_option, did_you_mean

FORM, OPTION = "training", "train"
"""The form of data with a split to train on, and the option that names what is trained on."""


def has_training_split(options: DataOptions) -> bool:
    """Return whether the data is to come with a split to train on."""
    return options.form == FORM and OPTION in options.options


def training_options(options: DataOptions) -> DataOptions:
    """Return the options for images to train on, which are loaded next to attacks: ``train.split=NAME`` is their split.

    Example:
        >>> training_options(DataOptions(options={"train": "photos", "train.split": "val", "n": "9"})).options
        {'split': 'val'}
    """
    prefix = f"{OPTION}."
    selected = {key.removeprefix(prefix): value for key, value in options.options.items() if key.startswith(prefix)}
    return replace(options, form=DataOptions().form, options=selected, n_images=None, allow_partial=True)


def tested_options(options: DataOptions) -> DataOptions:
    """Return the options without the options of the images to train on.

    Raises:
        UsageError: there are options of images to train on, but no such images are named.
    """
    training_names = [name for name in options.options if name.startswith(f"{OPTION}.")]
    if training_names and OPTION not in options.options:
        first = training_names[0]
        raise UsageError(
            f"{data_option(**{first: options.options[first]})} has no effect without images to train on: add"
            f" {data_option(train='DATA')}"
        )
    return without_options(options, OPTION, *training_names)


def load_splits(load_split: Callable[[DataOptions], Dataset], options: DataOptions) -> Dataset:
    """Return the images to test together with the images of the named split, marked as images to train on."""
    name = options.options[OPTION]
    test_options = without_options(options, OPTION)
    tested = load_split(test_options)
    if tested.split in (None, name):
        of_what = "of no split" if tested.split is None else f"of the split '{name}' too"
        advice = f"name another split for them with {data_option(split='NAME')}"
        raise UsageError(f"{data_option(train=name)}: the images to test are {of_what}: {advice}")
    split_options = {**test_options.options, "split": name}
    of_training = replace(options, options=split_options, n_images=None, allow_partial=True)
    return join_splits(tested, load_split(of_training), name)


def join_splits(tested: Dataset, training: Dataset, split: str) -> Dataset:
    """Return the images of two splits as one data set, those to train on last."""
    for dataset in (tested, training):
        dataset.require("labels", "class_names")
    assert tested.labels is not None and tested.class_names is not None
    class_rows = {name: number for number, name in enumerate(tested.class_names)}
    of_split = f"data set {tested.id}: the split '{split}' has"
    for name in training.class_names or ():
        if name not in class_rows:
            hint = did_you_mean(name, class_rows)
            raise DataError(f"{of_split} the class '{name}', which the tested images do not have: {hint}")
    labels = _numbers_in(class_rows, training)
    untrained = np.setdiff1d(tested.labels, labels)
    if len(untrained):
        first = tested.class_names[untrained[0]]
        raise DataError(f"{of_split} no image of {len(untrained)} of the classes that are tested, the first '{first}'")
    groups = {
        name: group._replace(values=[*group.values, *[""] * len(training)])
        for name, group in tested.groups.items()
        if not group.of_captions
    }
    notes = [f"split '{split}': {note}" for note in training.notes if note not in tested.notes]
    plain = replace(tested, label_sets=None, label_slices={}, captions=None, caption_image=None, caption_ids=None)
    return _with_training(replace(plain, groups=groups), training, labels, split, notes)


def join_attacks(tested: Dataset, training: Dataset, name: str) -> Dataset:
    """Return attacks and labelled training images, which come last. Drop images of classes without an attack.

    Words to read are left out too. Classes are matched by their names, regardless of case.

    Raises:
        UsageError: nothing is attacked in the tested data.
        DataError: none of the images to train on is of a class of the attacks, or names of classes differ only in case.
        MissingPart: the images to train on have no labels.
    """
    option = data_option(train=name)
    if tested.attacks is None or tested.class_names is None:
        raise UsageError(
            f"{option}: data set {tested.id} has no objects with words on them to test: leave the option out, or name"
            " data with attacks (docs/data.md)"
        )
    for part in ("labels", "class_names"):
        if getattr(training, part) is None:
            raise MissingPart(
                training.id, part, f": {option} takes images with labels, such as a folder for each class"
            )
    assert training.labels is not None and training.class_names is not None
    _refuse_ambiguous(tested.class_names, training.class_names, option)
    class_rows = {class_name.casefold(): number for number, class_name in enumerate(tested.class_names)}
    n_readings, n_labelled, first = len(tested.contrasts or ()), len(training), training.class_names[0]
    training = replace(training, class_names=tuple(training_name.casefold() for training_name in training.class_names))
    is_known = np.array([name in class_rows for name in training.class_names or ()])
    training = training.take(np.flatnonzero(is_known[training.labels]))
    if not len(training):
        raise DataError(
            f"{option}: none of its {n_labelled:,} images is of a class of {tested.id}: its first class is"
            f" '{first}', expected names such as '{min(tested.class_names)}'. "
            "Use the same class names in both"
        )
    attack_images = sorted({image for attack in tested.attacks for image in attack.images})
    tested = replace(tested, contrasts=None).take(np.array(attack_images, np.int64))
    attack_labels = np.zeros(len(tested), np.int64)
    for attack in tested.attacks or ():
        attack_labels[list(attack.images)] = attack.label
    notes = [f"words to read ({n_readings:,}): left out"] if n_readings else []
    if n_labelled > len(training):
        notes.append(f"images of {name} in classes without an attack ({n_labelled - len(training):,}): left out")
    labels = _numbers_in(class_rows, training)
    return _with_training(replace(tested, labels=attack_labels, groups={}), training, labels, name, notes)


def _numbers_in(class_rows: Mapping[str, int], training: Dataset) -> Int64[np.ndarray, " n_training"]:
    assert training.labels is not None and training.class_names is not None
    return np.array([class_rows[training.class_names[label]] for label in training.labels.tolist()], np.int64)


def _with_training(
    tested: Dataset, training: Dataset, labels: Int64[np.ndarray, " n_training"], name: str, notes: Sequence[str]
) -> Dataset:
    """Return the images to test, then those to train on, whose ids begin with the name of their split or data."""
    assert tested.labels is not None
    joined = replace(
        tested,
        images=[*tested.images, *training.images],
        image_ids=[*tested.image_ids, *(f"{name}: {image_id}" for image_id in training.image_ids)],
        labels=np.concatenate([tested.labels, labels]),
        is_training=np.arange(len(tested) + len(training)) >= len(tested),
        notes=(*tested.notes, *notes),
    )
    return check(joined, allow_partial=True)


def _refuse_ambiguous(tested: Sequence[str], training: Sequence[str], option: str) -> None:
    """Raise DataError when two names of either that both have differ only in the case of their letters."""
    common = {class_name.casefold() for class_name in tested} & {class_name.casefold() for class_name in training}
    for names in (tested, training):
        first: dict[str, str] = {}
        for class_name in names:
            other = first.setdefault(class_name.casefold(), class_name)
            if other != class_name and class_name.casefold() in common:
                raise DataError(
                    f"{option}: the classes '{other}' and '{class_name}' differ only in upper and lower case,"
                    " so the images to train on cannot be assigned. Rename one of them"
                )
