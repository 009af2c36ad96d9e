"""Labels that a user gives for the images of a data set: ``--data-option labels=FILE``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.labels import distinct_names, label_fields
from clipbench.errors import DataError, UsageError, data_option, did_you_mean
from clipbench.untrusted.label_files import Classes, LabelFile, read_label_file
from clipbench.untrusted.reading import user_path

OPTION = "labels"
LEAST_AGREEMENT = 0.5
"""Fraction of images whose recorded class must be among the classes of a list by position. Below, the list is of images
in another order. For ImageNet-val and its ReaL labels it is 0.87.
"""


def with_given_labels(dataset: Dataset, source: str, class_names: Sequence[str] | None = None) -> Dataset:
    """Return a data set with the labels of a file in place of its own, and a note that counts them.

    An image that the file does not have, or gives no class, stays without a class.

    Args:
        dataset: with the class names that the file refers to, if it has any.
        source: the file (``read_label_file``).
        class_names: for data without class names. By default they are the sorted labels of the file.

    Raises:
        UsageError: it is not a file of labels, or the data has several sets of labels.
        DataError: it is malformed, is of other images, or names an unknown class.
    """
    option = data_option(**{OPTION: source})
    if dataset.label_sets or dataset.label_slices or dataset.multilabels is not None:
        raise UsageError(f"{option}: data set {dataset.id} has several sets of labels already: remove the option")
    labels = read_label_file(user_path(source))
    by_image = [labels.of(image_id) for image_id in dataset.image_ids]
    _check_images(dataset, labels, by_image)
    names = dataset.class_names or (None if class_names is None else tuple(class_names))
    if names is None and not labels.are_numbers:
        names = tuple(sorted({name for classes in labels.classes.values() for name in classes}))
    row_of_class = _class_rows(labels, names)
    rows = [
        _find_rows(classes or (), row_of_class, f"{labels.file}, id '{image_id}'")
        for image_id, classes in zip(dataset.image_ids, by_image, strict=True)
    ]
    if labels.is_by_position:
        _check_agreement(dataset, labels, rows)
    return replace(dataset, class_names=names, notes=(*dataset.notes, _note(labels, by_image)), **label_fields(rows))


def _check_images(dataset: Dataset, labels: LabelFile, by_image: Sequence[Classes | None]) -> None:
    if all(classes is None for classes in by_image):
        expected = "the file names of ImageNet-val, such as 'ILSVRC2012_val_00000001.JPEG', as ids of the images"
        if not labels.is_by_position:
            expected = f"such as '{dataset.image_ids[0]}'"
        first = dataset.image_ids[0] if labels.is_by_position else next(iter(labels.classes))
        raise DataError(
            f"{labels.file} has none of the {len(dataset):,} images of {dataset.id}: got '{first}', expected {expected}"
        )
    if not any(by_image):
        raise DataError(f"{labels.file} has a class for none of the {len(dataset):,} images of {dataset.id}")


def _class_rows(labels: LabelFile, names: Sequence[str] | None) -> Mapping[str, int] | None:
    """Return the row of each class by the text that the file has for it, or None if it has row numbers."""
    if names is None or (labels.are_numbers and (labels.is_by_position or not all(name.isdecimal() for name in names))):
        if names is None:
            return None
        return {str(row): row for row in range(len(names))}
    return {name: row for row, name in enumerate(distinct_names(names))}


def _find_rows(classes: Classes, row_of_class: Mapping[str, int] | None, location: str) -> list[int]:
    if row_of_class is None:
        return [int(name) for name in classes]
    unknown = [name for name in classes if name not in row_of_class]
    if unknown:
        raise DataError(f"{location}: unknown class '{unknown[0]}': {did_you_mean(unknown[0], row_of_class)}")
    return [row_of_class[name] for name in classes]


def _check_agreement(dataset: Dataset, labels: LabelFile, rows: Sequence[Sequence[int]]) -> None:
    """Raise DataError if few images have their recorded class among those of a list by position."""
    if dataset.labels is None:
        return
    recorded = dataset.labels.tolist()
    agrees = [label in classes for label, classes in zip(recorded, rows, strict=True) if classes]
    agreement = float(np.mean(agrees))
    if agreement < LEAST_AGREEMENT:
        raise DataError(
            f"{labels.file} is of other images than {dataset.id}: it has the recorded class of {agreement:.0%} of them,"
            f" expected {LEAST_AGREEMENT:.0%} or more. Number the images as ILSVRC2012_val does"
        )


def _note(labels: LabelFile, by_image: Sequence[Classes | None]) -> str:
    n_several = sum(len(classes or ()) > 1 for classes in by_image)
    n_missing = sum(classes is None for classes in by_image)
    n_none = sum(classes == () for classes in by_image)
    counts = {"with several classes": n_several, "without a class": n_none, "not in the file": n_missing}
    listed = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
    return f"labels from {labels.file}: {len(by_image):,} images" + (f", {listed}" if listed else "")
