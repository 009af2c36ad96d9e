"""Images to train on beside those that are tested: ``--data-option train=``, a split for few-shot, data for text-in-image."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.errors import DataError, MissingPart, UsageError, did_you_mean

TASK, OPTION = "few-shot", "train"
"""The task that trains on a split of its data, and the option that names what is trained on."""


def is_named(options: DataOptions) -> bool:
    """Return whether the data are to come with a split to train on."""
    return options.task == TASK and OPTION in options.options


def of_training(options: DataOptions) -> DataOptions:
    """Return the options with which images to train on beside attacks are loaded: ``train.split=NAME`` is their split.

    Example:
        >>> of_training(DataOptions(options={"train": "photos", "train.split": "val", "n": "9"})).options
        {'split': 'val'}
    """
    own = {
        key.removeprefix(f"{OPTION}."): value for key, value in options.options.items() if key.startswith(f"{OPTION}.")
    }
    return replace(options, task=None, options=own, n_images=None, allow_partial=True)


def of_tested(options: DataOptions) -> DataOptions:
    """Return the options without those of the images to train on.

    Raises:
        UsageError: there are some of images that are not named.

    Example:
        >>> of_tested(DataOptions(options={"train": "photos", "train.split": "val", "n": "9"})).options
        {'n': '9'}
    """
    own_option = next((key for key in options.options if key.startswith(f"{OPTION}.")), None)
    if own_option is not None and OPTION not in options.options:
        raise UsageError(
            f"--data-option {own_option}={options.options[own_option]}: the images to train on, whose option it is, are not"
            f" named: add --data-option {OPTION}=DATA"
        )
    own = {key: value for key, value in options.options.items() if key != OPTION and not key.startswith(f"{OPTION}.")}
    return replace(options, options=own)


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


def beside_attacks(tested: Dataset, training: Dataset, name: str) -> Dataset:
    """Return attacks together with labelled images to train on, which come last; those of classes that no attack has are left out.

    Words to read are left out too. Classes are told by their names, whatever the case of their letters.

    Args:
        name: of the images to train on.

    Raises:
        UsageError: nothing is attacked in the tested data.
        DataError: none of the images to train on is of a class of the attacks, or names of classes differ in case alone.
        MissingPart: the images to train on have no labels.

    Example:
        >>> from clipbench.data import Attack
        >>> from clipbench.testing import NamedImage
        >>> parts = dict(id="x", class_names=("cat", "dog"), image_ids=["a"], images=[NamedImage("a")])
        >>> tested = Dataset(**parts, attacks=[Attack("1", label=0, word=1, attacked=0)])
        >>> photographs = Dataset(**{**parts, "class_names": ("Dog",)}, labels=np.array([0]))
        >>> joined = beside_attacks(tested, photographs, "photographs")
        >>> joined.labels, joined.is_training
        (array([0, 1]), array([False,  True]))
    """
    if tested.attacks is None or tested.class_names is None:
        raise UsageError(
            f"--data-option {OPTION}={name}: data set {tested.id} has no objects with words on them to test: leave the option"
            " out, or name data with attacks (docs/data.md)"
        )
    for part in ("labels", "class_names"):
        if getattr(training, part) is None:
            advice = f": --data-option {OPTION}={name} takes images with labels, such as a folder for each class"
            raise MissingPart(training.id, part, advice)
    assert training.labels is not None and training.class_names is not None
    _refuse_ambiguous(tested.class_names, training.class_names, name)
    n_readings, n_unknown = len(tested.contrasts or ()), len(training)
    row = {class_name.casefold(): number for number, class_name in enumerate(tested.class_names)}
    labels = np.array([row.get(class_name.casefold(), -1) for class_name in training.class_names], np.int64)
    training = training.take(np.flatnonzero(labels[training.labels] >= 0))
    if not len(training):
        first, known = training.class_names or ("",), sorted(tested.class_names)
        raise DataError(
            f"--data-option {OPTION}={name}: none of its {n_unknown:,} images is of a class of {tested.id}: its first class is"
            f" '{first[0]}', expected names such as '{known[0]}'; name the classes of both alike"
        )
    assert training.labels is not None
    shown = sorted({image for attack in tested.attacks for image in attack.images})
    tested = replace(tested, contrasts=None).take(np.array(shown, np.int64))
    own = np.zeros(len(tested), np.int64)
    for attack in tested.attacks or ():
        own[list(attack.images)] = attack.label
    n_unknown -= len(training)
    left_out = [f"words to read ({n_readings:,}): left out"] if n_readings else []
    if n_unknown:
        left_out.append(f"images of {name} of classes that no attack has ({n_unknown:,}): left out")
    return check(
        replace(
            tested,
            images=[*tested.images, *training.images],
            image_ids=[*tested.image_ids, *(f"{name}: {each}" for each in training.image_ids)],
            labels=np.concatenate([own, labels[training.labels]]),
            is_training=np.arange(len(tested) + len(training)) >= len(tested),
            groups={},
            notes=(*tested.notes, *left_out),
        ),
        allow_partial=True,
    )


def _refuse_ambiguous(tested: Sequence[str], training: Sequence[str], name: str) -> None:
    """Raise DataError when two names of either that both have differ only in the case of their letters."""
    common = {each.casefold() for each in tested} & {each.casefold() for each in training}
    for names in (tested, training):
        first: dict[str, str] = {}
        for each in names:
            other = first.setdefault(each.casefold(), each)
            if other != each and each.casefold() in common:
                raise DataError(
                    f"--data-option {OPTION}={name}: the classes '{other}' and '{each}' differ only in the case of their"
                    " letters, by which images to train on cannot be told: expected other names; rename one of them"
                )
