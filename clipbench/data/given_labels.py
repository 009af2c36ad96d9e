"""Labels that a user gives for the images of a data set: ``--data-option labels=FILE``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clipbench.data.dataset import Dataset
from clipbench.data.labels import distinct_names, label_fields
from clipbench.errors import DataError, UsageError, data_option, did_you_mean
from clipbench.untrusted.label_files import Classes, LabelFile, read_label_file
from clipbench.untrusted.reading import user_path

OPTION = "labels"


def with_given_labels(
    dataset: Dataset, source: str, class_names: Sequence[str] | None = None, *, option: str = ""
) -> Dataset:
    """Return a data set with the labels of a file instead of its own, and a note that counts them.

    An image that the file does not have, or gives no class, stays without a class.

    Args:
        dataset: with the class names that the file refers to, if it has any.
        source: the file (``read_label_file``).
        class_names: for data without class names. By default they are the sorted labels of the file.
        option: the option that names the file, for messages, by default ``labels`` of the data.

    Raises:
        UsageError: it is not a file of labels, or the data has several sets of labels.
        DataError: it is malformed, is of other images, or names an unknown class.
    """
    option = option or data_option(**{OPTION: source})
    if dataset.label_sets or dataset.label_slices or dataset.multilabels is not None:
        raise UsageError(f"{option}: data set {dataset.id} has several sets of labels already: remove the option")
    if not len(dataset.image_ids):
        raise UsageError(f"{option}: data set {dataset.id} has no images to label: remove the option")
    labels = read_label_file(user_path(source))
    if labels.is_by_position and not dataset.has_ids:
        raise DataError(
            f"{labels.file} refers to images by their number in ImageNet-val, but the images of {dataset.id} have no"
            " ids: expected their file names as ids, such as ILSVRC2012_val_00000001.JPEG"
        )
    return with_labels(dataset, labels, dataset.image_ids, class_names)


def with_labels(
    dataset: Dataset, labels: LabelFile, image_ids: Sequence[str], class_names: Sequence[str] | None = None
) -> Dataset:
    """Return a data set with the labels of a file, as ``with_given_labels`` does.

    Args:
        dataset: of the images.
        labels: of a file.
        image_ids: the id of each image in the file.
        class_names: for data without class names.
    """
    by_image = labels.of_images(image_ids, dataset.id)
    names = dataset.class_names or (None if class_names is None else tuple(class_names))
    if names is None and not labels.are_numbers:
        names = tuple(sorted({name for classes in labels.classes.values() for name in classes}))
    row_of_class = _class_rows(labels, names)
    rows = [
        _find_rows(classes or (), row_of_class, f"{labels.file}, id '{image_id}'")
        for image_id, classes in zip(image_ids, by_image, strict=True)
    ]
    if dataset.labels is not None:
        recorded = dataset.labels.tolist()
        agrees = [label in classes for label, classes in zip(recorded, rows, strict=True) if classes]
        labels.check_order(agrees, dataset.id)
    return replace(dataset, class_names=names, notes=(*dataset.notes, _note(labels, by_image)), **label_fields(rows))


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


def _note(labels: LabelFile, by_image: Sequence[Classes | None]) -> str:
    n_several = sum(len(classes or ()) > 1 for classes in by_image)
    n_missing = sum(classes is None for classes in by_image)
    n_none = sum(classes == () for classes in by_image)
    counts = {"with several classes": n_several, "without a class": n_none, "not in the file": n_missing}
    listed = ", ".join(f"{n:,} {reason}" for reason, n in counts.items() if n)
    return f"labels from {labels.file}: {len(by_image):,} images" + (f", {listed}" if listed else "")
