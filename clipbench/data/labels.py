"""Parts of a data set that sort its images: labels, several sets of labels, images to train on, and slices."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from clipbench.data.part import (
    DataPart,
    Fields,
    KeptRows,
    LimitedFields,
    RowSelection,
    array_bytes,
    check_length,
    check_unicode,
    pick,
)
from clipbench.errors import DataError


class LabelSet(NamedTuple):
    """One way to sort a data set's images into classes."""

    labels: Int64[np.ndarray, " n_images"]
    """True class of each image, as a row of ``class_names``."""
    class_names: tuple[str, ...]
    templates: tuple[str, ...] | None = None
    """Prompt templates of its own, such as those in the language of the names, or None for the data set's."""


class Groups(NamedTuple):
    """One way to slice a data set, such as by region or by language."""

    values: Sequence[str]
    """The group of each image, or of each caption, or empty if it has none."""
    of_captions: bool = False
    main: str | None = None
    """The group of captions that the metrics of all data are of, such as English, or None for all captions together."""

    @property
    def has_main(self) -> bool:
        """True where the metrics of all data are of the captions of one group."""
        return self.of_captions and self.main in self.values

    def take(self, rows: KeptRows) -> "Groups":
        """Return the groups of some images, or captions.

        Args:
            rows: their row numbers.
        """
        return self._replace(values=pick(self.values, rows))


@dataclass(frozen=True, kw_only=True)
class LabelSetPart(DataPart):
    """Several ways to sort the images into classes."""

    label_sets: Mapping[str, LabelSet] | None = None
    """Several ways to sort the images into classes, by name, with scores of classification for each."""

    def _take(self, selection: RowSelection) -> Fields:
        return {} if self.label_sets is None else {"label_sets": _take_all(self.label_sets, selection)}

    def _content(self) -> Iterator[bytes]:
        for name, label_set in (self.label_sets or {}).items():
            yield repr((name, label_set.class_names)).encode() + label_set.labels.tobytes()

    def _check(self) -> None:
        for name, label_set in (self.label_sets or {}).items():
            _check_label_set(self, name, label_set, minimum=0)


@dataclass(frozen=True, kw_only=True)
class TrainingPart(DataPart):
    """Images to train on."""

    _image_columns = MappingProxyType({"is_training": "marks of images to train on"})

    is_training: Bool[np.ndarray, " n_images"] | None = None
    """True for the images that a task may train on, which it then does not test, or None without this distinction."""

    def _content(self) -> Iterable[bytes]:
        return () if self.is_training is None else (b"training" + self.is_training.tobytes(),)

    def _limit(self, n: int, rng: np.random.Generator) -> LimitedFields:
        """Return all images to train on."""
        return {}, () if self.is_training is None else np.flatnonzero(self.is_training).tolist()


@dataclass(frozen=True, kw_only=True)
class SlicePart(DataPart):
    """Slices by groups of images or captions, and by classes."""

    groups: Mapping[str, Groups] = field(default_factory=dict)
    """Ways to slice the data, by name, with metrics for each slice too. They are not part of the fingerprint."""
    label_slices: Mapping[str, Mapping[str, LabelSet]] = field(default_factory=dict)
    """Ways to slice the data by classes of their own, such as ImageNet's in several languages, by name: the classes of
    each slice, which has only the images that belong to one of them. The label of all other images is -1.
    """
    is_slice: bool = False
    """True for a slice of a larger data set: samples and measures are all that is used of its evaluation."""

    @property
    def main_slice(self) -> str:
        """The slice that the metrics of all data are of, as in ``{language=en}/acc1``, or empty if they are of all."""
        for name, groups in self.groups.items():
            if groups.has_main:
                return f"{{{name}={groups.main}}}/"
        return ""

    def _take(self, selection: RowSelection) -> Fields:
        rows = {True: selection.captions, False: selection.images}
        return {
            "groups": {name: groups.take(rows[groups.of_captions]) for name, groups in self.groups.items()},
            "label_slices": {name: _take_all(label_sets, selection) for name, label_sets in self.label_slices.items()},
        }

    def _content(self) -> Iterator[bytes]:
        if self.main_slice:
            yield repr(self.main_slice).encode()
        for name, label_sets in self.label_slices.items():
            for value, (labels, *texts) in label_sets.items():
                yield repr((name, value, texts)).encode() + labels.tobytes()

    def _check(self) -> None:
        owners = {"images": self.images, "captions": getattr(self, "captions", None) or ()}
        for name, groups in self.groups.items():
            owner = "captions" if groups.of_captions else "images"
            check_length(self.id, groups.values, f"values of the group '{name}'", owners[owner], owner)
        for label_sets in self.label_slices.values():
            for value, label_set in label_sets.items():
                _check_label_set(self, value, label_set, minimum=-1)


@dataclass(frozen=True, kw_only=True)
class LabelPart(DataPart):
    """The classes of the images, and the prompt templates that come with them."""

    _image_columns = MappingProxyType(
        {"labels": "labels", "right_classes": "lists of right classes", "multilabels": "multilabels"}
    )

    labels: Int64[np.ndarray, " n_images"] | None = None
    """True class of each image, as a row of ``class_names``."""
    right_classes: Int64[np.ndarray, "n_images n_most"] | None = None
    """If images have several right classes, of which a model has to name one: their rows of ``class_names``, ascending,
    then -1. An image without any is in no score of classes. ``labels`` is then None.
    """
    multilabels: Bool[np.ndarray, "n_images n_classes"] | None = None
    """True for each class that holds of the image, where several may, and a model has to find all of them: the images
    are ranked for each class.
    """
    class_names: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    """Prompt templates that come with the data, with ``{c}`` for the class name."""

    def _texts(self) -> list[object]:
        return [self.class_names, self.templates]

    def _content(self) -> Iterable[bytes]:
        content = array_bytes(self.labels), array_bytes(self.multilabels)
        if self.right_classes is None:
            return content
        is_used = (self.right_classes >= 0).any(axis=0)  # images that were left out may have had more classes
        return (*content, b"right classes", array_bytes(self.right_classes[:, is_used]))

    def _class_counts(self) -> Int64[np.ndarray, " n_classes"] | None:
        """Return the number of images of each class, or None for data without labels."""
        if self.labels is not None and self.class_names is not None:
            return np.bincount(self.labels, minlength=len(self.class_names))
        if self.right_classes is not None and self.class_names is not None:
            return np.bincount(self.right_classes[self.right_classes >= 0], minlength=len(self.class_names))
        return None if self.multilabels is None else self.multilabels.sum(axis=0)

    def _check(self) -> None:
        check_unicode(self.id, "class name", self.class_names or ())
        check_unicode(self.id, "template", self.templates or ())
        if self.class_names is None:
            return
        n_classes = len(self.class_names)
        if self.multilabels is not None and self.multilabels.shape[1] != n_classes:
            n_labels = self.multilabels.shape[1]
            raise DataError(
                f"data set {self.id} has labels for {n_labels} classes, but {n_classes} class names: expected one name"
                " per class"
            )
        if self.labels is not None:
            _check_range(self, LabelSet(self.labels, self.class_names), "label", minimum=0)
        for column in () if self.right_classes is None else self.right_classes.T:
            _check_range(self, LabelSet(column, self.class_names), "label", minimum=-1)


def pad_classes(rows: Sequence[Sequence[int]]) -> Int64[np.ndarray, "n_images n_most"]:
    """Return ``LabelPart.right_classes`` from the rows of each image's right classes.

    Example:
        >>> pad_classes([[4, 2], [], [1]])
        array([[ 2,  4],
               [-1, -1],
               [ 1, -1]])
    """
    right = np.full((len(rows), max([1, *map(len, rows)])), -1, np.int64)
    for image, classes in enumerate(rows):
        right[image, : len(classes)] = sorted(classes)
    return right


def label_fields(rows: Sequence[Sequence[int]]) -> Fields:
    """Return the fields of a data set for the right classes of its images: ``labels`` if each has exactly one."""
    if all(len(classes) == 1 for classes in rows):
        return {"labels": np.array([classes[0] for classes in rows], np.int64), "right_classes": None}
    return {"labels": None, "right_classes": pad_classes(rows)}


def distinct_names(class_names: Sequence[str]) -> list[str]:
    """Return the class names, numbered if two classes have the same name, as in ImageNet.

    Example:
        >>> distinct_names(["crane", "tench", "crane"])
        ['crane (0)', 'tench', 'crane (2)']
    """
    counts = Counter(class_names)
    names = []
    for row, name in enumerate(class_names):
        is_shared = counts[name] > 1
        names.append(f"{name} ({row})" if is_shared else name)
    return names


def _take_all(label_sets: Mapping[str, LabelSet], selection: RowSelection) -> dict[str, LabelSet]:
    return {
        name: label_set._replace(labels=label_set.labels[selection.images]) for name, label_set in label_sets.items()
    }


def _check_label_set(part: DataPart, name: str, label_set: LabelSet, *, minimum: int) -> None:
    check_length(part.id, label_set.labels, f"labels in the set '{name}'", part.images, "images")
    _check_range(part, label_set, f"'{name}' label", minimum=minimum)


def _check_range(part: DataPart, label_set: LabelSet, name: str, *, minimum: int) -> None:
    """Raise DataError if a label is below ``minimum``, or names no class."""
    labels, n_classes = label_set.labels, len(label_set.class_names)
    out_of_range = np.flatnonzero((labels < minimum) | (labels >= n_classes))
    if len(out_of_range):
        row = out_of_range[0]
        raise DataError(
            f"data set {part.id}: image '{part.image_ids[row]}' has {name} {labels[row]}, expected 0 to"
            f" {n_classes - 1} ({n_classes} class names)"
        )
