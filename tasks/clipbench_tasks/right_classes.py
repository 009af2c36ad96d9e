"""The right answers of classification: one class per image, or several, of which a model has to name one.

Both kinds give the same metrics. They differ in what counts for a class: an image of several classes counts once for
the predicted class if that is right, otherwise for each of its classes in equal parts.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.data.dataset import Dataset
from clipbench.data.labels import distinct_names
from clipbench.errors import DataError
from clipbench.metrics import several_classes
from clipbench.metrics.classification import RightClasses, macro_f1
from clipbench.results.numbers import counted
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.measures import Smooth
from clipbench_tasks.tables import Column, Mask, Rows, Table, labels_of, mean_over_parts, text_column

SEVERAL = "right_classes"
"""Column of the names of each image's right classes, as a JSON list."""
SHOWN_SEPARATOR = "; "
"""Between the names of the right classes that readers see."""


class FirstPlaces(NamedTuple):
    """The right classes in the first place of each image, which several classes may share."""

    is_first: Bool[np.ndarray, "n_images n_most"]
    """For each right class of an image."""
    n_first: Rows
    """Classes that share the first place, right and wrong, at least 1. Any number if no right one is among them."""


class ClassMeasure(NamedTuple):
    """A measure of classes, and the columns of samples that it follows from."""

    measure: Smooth
    columns: Table


class Truth(ABC):
    """The right classes of the images that count."""

    names: Sequence[str]
    """Distinct names of the classes of the data."""

    @property
    @abstractmethod
    def image_rows(self) -> Rows:
        """The rows of the data set of the images that count."""

    @property
    @abstractmethod
    def right(self) -> Rows | RightClasses:
        """The right classes, as ``class_scores`` takes them."""

    @property
    @abstractmethod
    def label_columns(self) -> Table:
        """Columns of samples with the names of the right classes."""

    @property
    @abstractmethod
    def class_columns(self) -> Table:
        """Columns of samples with the numbers of the right classes."""

    @abstractmethod
    def chance(self, k: int = 1) -> float:
        """Return the score of a constant model, by the first k classes."""

    @abstractmethod
    def mean_recall(self, credit: Column, first: FirstPlaces) -> ClassMeasure:
        """Return the mean recall of the classes."""

    @abstractmethod
    def macro_f1(self, predicted: Rows) -> ClassMeasure:
        """Return the mean F1 score of the classes."""

    @property
    @abstractmethod
    def majority_share(self) -> float:
        """The accuracy of always naming the most frequent class."""

    @property
    def most_frequent(self) -> int:
        """The class that is right for the most images."""
        return int(np.bincount(self.right[self.right >= 0]).argmax())

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what counts."""
        return ()

    def first_places(self, predicted: Rows) -> FirstPlaces:
        """Return the first places if the first class of each image is known, and nothing of ties."""
        right = self.right if self.right.ndim == 2 else self.right[:, None]
        return FirstPlaces(right == predicted[:, None], np.ones(len(predicted), np.int64))

    def is_right(self, images: Rows, classes: Rows) -> Mask:
        """Return whether each class is right for the image next to it."""
        right = self.right if self.right.ndim == 2 else self.right[:, None]
        return (right[images] == classes[:, None]).any(axis=1)


def truth_of(dataset: Dataset) -> Truth:
    """Return the right classes of a data set with labels, or with lists of right classes.

    Raises:
        DataError: no image has a right class.
    """
    if dataset.right_classes is None:
        labels, class_names = labels_of(dataset)
        return OneClass(distinct_names(class_names), labels)
    assert dataset.class_names is not None, dataset.id
    if not (dataset.right_classes >= 0).any():
        raise DataError(f"data set {dataset.id} has a right class for none of its {len(dataset):,} images")
    return SeveralClasses(distinct_names(dataset.class_names), dataset.right_classes)


def with_classes(dataset: Dataset) -> Dataset:
    """Return the images of a data set that have a class."""
    if dataset.right_classes is None:
        return dataset
    rows = np.flatnonzero((dataset.right_classes >= 0).any(axis=1))
    return dataset if len(rows) == len(dataset) else dataset.take(rows)


@dataclass(frozen=True, eq=False)
class OneClass(Truth):
    """One right class per image."""

    names: Sequence[str]
    labels: Rows

    @property
    def image_rows(self) -> Rows:
        return np.arange(len(self.labels))

    @property
    def right(self) -> Rows:
        return self.labels

    @property
    def label_columns(self) -> Table:
        return {"label": text_column(self.names)[self.labels]}

    @property
    def class_columns(self) -> Table:
        return {"class": self.labels}

    def chance(self, k: int = 1) -> float:
        return k / len(self.names)

    def mean_recall(self, credit: Column, first: FirstPlaces) -> ClassMeasure:
        columns, recall = mean_over_parts("mean_per_class_recall", credit, self.labels)
        return ClassMeasure(replace(recall, chance=1 / len(self.names)), columns)

    def macro_f1(self, predicted: Rows) -> ClassMeasure:
        f1 = macro_f1(predicted, self.labels)
        measure = Smooth(
            value=f1.value,
            influence="macro_f1_influence",
            unit="fraction",
            higher_is_better=True,
            most_trials=trials_of_means(f1.by_class, f1.n_samples),
            statistic=Estimator("macro_f1", ("predicted_class", "class")),
        )
        return ClassMeasure(measure, {"macro_f1_influence": f1.influence})

    @property
    def majority_share(self) -> float:
        return float(np.bincount(self.labels).max() / len(self.labels))


@dataclass(frozen=True, eq=False)
class SeveralClasses(Truth):
    """Lists of right classes, of which images without any are left out."""

    names: Sequence[str]
    of_all_images: RightClasses

    @cached_property
    def image_rows(self) -> Rows:
        return np.flatnonzero((self.of_all_images >= 0).any(axis=1))

    @cached_property
    def right(self) -> RightClasses:
        return self.of_all_images[self.image_rows]

    @property
    def label_columns(self) -> Table:
        shown_labels, json_labels = [], []
        for classes in self.right.tolist():
            names = [self.names[row] for row in classes if row >= 0]
            shown_labels.append(SHOWN_SEPARATOR.join(names))
            json_labels.append(json.dumps(names, ensure_ascii=False))
        return {"label": text_column(shown_labels), SEVERAL: text_column(json_labels)}

    @property
    def class_columns(self) -> Table:
        return {}

    def chance(self, k: int = 1) -> float:
        return several_classes.chance_of_hit(self.right, len(self.names), k)

    def mean_recall(self, credit: Column, first: FirstPlaces) -> ClassMeasure:
        parts = several_classes.class_parts(self.right, first.is_first, first.n_first)
        recall = several_classes.mean_recall(parts, len(self.right))
        return _class_measure(
            "mean_per_class_recall", recall, several_classes.chance_of_recall(self.right, len(self.names))
        )

    def macro_f1(self, predicted: Rows) -> ClassMeasure:
        return _class_measure("macro_f1", several_classes.macro_f1_of_several(predicted, self.right), None)

    @property
    def majority_share(self) -> float:
        return several_classes.most_frequent_share(self.right)

    @property
    def notes(self) -> tuple[str, ...]:
        n_several = int(((self.right >= 0).sum(axis=1) > 1).sum())
        n_left_out = len(self.of_all_images) - len(self.right)
        several = f"of {counted(len(self.right), 'image')} with a right class, {n_several:,} have several"
        if n_left_out == 0:
            return (several,)
        return (several, f"{counted(n_left_out, 'image')} without a right class left out")


def _class_measure(name: str, mean: several_classes.MeanOverClasses, chance: float | None) -> ClassMeasure:
    measure = Smooth(
        value=mean.value,
        influence=f"{name}_influence",
        unit="fraction",
        chance=chance,
        higher_is_better=True,
        most_trials=trials_of_means(mean.by_class, mean.sizes),
    )
    return ClassMeasure(measure, {f"{name}_influence": mean.influence})
