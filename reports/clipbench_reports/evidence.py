"""The evidence that one evaluation of one run left behind, for figures and tables to draw on.

If a task is scored once for each of several label sets of the same images, what is recorded as ``kind/acc1`` is the
``acc1`` of the set ``kind``. In other tasks, a name before a slash means something else.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, Shaped

from clipbench.errors import ClipbenchError
from clipbench.results.metric_name import subset_of
from clipbench.results.record import Curve, CurveRole, EvaluationRecord
from clipbench.results.run import Run
from clipbench_reports.text import quoted

Value = TypeVar("Value")
Mapped = TypeVar("Mapped")
Value_co = TypeVar("Value_co", covariant=True)
PLAIN = ""
"""Stands for the one set of data that has no others."""
MAX_MAGNITUDE = 1e18
"""Numbers beyond it are none of a vector or a cosine, and their squares would overflow."""


class ModelKey(NamedTuple):
    """The label of a model in a figure, and its position among the models of the page, which decides its colour."""

    label: str
    position: int


class MissingEvidence(Exception):
    """A figure or table cannot be made. The text names the missing evidence."""


class AllMissing(MissingEvidence):
    """No model has the evidence of a figure. The text is the reason of the first model."""

    def __init__(self, by_model: "Mapping[ModelKey, MissingEvidence]") -> None:
        super().__init__(str(next(iter(by_model.values()))))
        self.by_model = by_model


class NotAsked(MissingEvidence):
    """A figure, gallery or table is about a question that was not asked of the data: nothing is said of it."""


class MissingArray(MissingEvidence):
    """The run kept no array of the name: one that is made again may."""


class Damaged(MissingEvidence):
    """A file of the run is missing or cannot be read. The text names the run and the remedy."""


class Fault(MissingEvidence):
    """The code of a section raised. The text names its package."""


class Neighbour(NamedTuple):
    """A text or image that was nearest to a failure."""

    text: str
    image: str
    """Content hash, empty for none."""
    cosine: float
    is_right: bool


class PlottedCurve(NamedTuple):
    """A curve of a result with NaN for undefined values, as figures draw it."""

    x: list[float]
    y: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    chance: list[float] | None = None
    x_label: str = ""
    y_label: str = ""
    unit: str = ""
    series: str = ""
    role: CurveRole | None = None

    def take(self, rows: Sequence[int]) -> "PlottedCurve":
        """Return some of the points."""
        return self._replace(
            x=[self.x[row] for row in rows],
            y=[self.y[row] for row in rows],
            low=self.low and [self.low[row] for row in rows],
            high=self.high and [self.high[row] for row in rows],
            chance=self.chance and [self.chance[row] for row in rows],
        )


@dataclass(frozen=True)
class Evidence:
    """An evaluation with its samples and arrays, read once, when first asked for."""

    run: Run
    evaluation: EvaluationRecord
    all_label_sets: "Evidence | None" = None
    """The evidence of all label sets, if this is the evidence of one of them."""
    label_set: str = PLAIN

    def for_label_set(self, label_set: str) -> "Evidence":
        """Return the evidence of one label set, with the names of metrics, columns and arrays without the set."""
        return Evidence(
            self.run, restrict_to_label_set(self.evaluation, label_set), all_label_sets=self, label_set=label_set
        )

    def column(self, name: str) -> np.ndarray:
        """Return a column of the sample table.

        Raises:
            MissingEvidence: the run kept no such column, or its table cannot be read.
        """
        return self._require_part(self._samples, name, "column")

    def numbers(self, name: str) -> Float64[np.ndarray, " n"]:
        """Return a column of the sample table as numbers.

        Raises:
            MissingEvidence: the run kept no such column.
            Damaged: it holds something else.
        """
        try:
            return self.column(name).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise self.damaged(f"the column {quoted(name)} holds no numbers") from error

    def words(self, name: str) -> Shaped[np.ndarray, " n"]:
        """Return a column of the sample table as strings of Python. A cell that is not a string is empty.

        Numpy's own strings are all as long as the longest, which one cell of a foreign table makes gigabytes.

        Raises:
            MissingEvidence: the run kept no such column.
        """
        words = [cell if isinstance(cell, str) else "" for cell in self.column(name)]
        return np.array(words, object)

    @property
    def columns(self) -> list[str]:
        """The names of the columns of the sample table. Damaged if it cannot be read."""
        return list(self._samples)

    def has_column(self, name: str) -> bool:
        """Return whether the run kept a column with the name.

        Raises:
            Damaged: its table cannot be read, so that its columns are not known.
        """
        return name in self._samples

    def array(self, name: str) -> np.ndarray:
        """Return one of the arrays kept for figures.

        Raises:
            MissingArray: the run kept no such array.
            Damaged: its arrays cannot be read.
        """
        return self._require_part(self._arrays, name, "array")

    def matrix(self, name: str) -> Float64[np.ndarray, "n_rows n_columns"]:
        """Return one of the arrays kept for figures, of two dimensions and finite numbers.

        Raises:
            MissingArray: the run kept no such array.
            Damaged: it is another one, or cannot be read.
        """
        array = self.array(name)
        numbers = array.astype(np.float64) if array.ndim == 2 and array.dtype.kind in "biuf" else None
        if numbers is None or not (np.abs(numbers) < MAX_MAGNITUDE).all():
            raise self.damaged(f"the array {quoted(name)} is not a matrix of finite numbers")
        return numbers

    def damaged(self, fault: str) -> Damaged:
        """Return the error of a part of the evaluation that does not fit its task."""
        return Damaged(f"{self.evaluation.name} in {self.run.folder}: {fault}: the run is damaged, make it again")

    def has_array(self, name: str) -> bool:
        """Return whether the run kept an array of a name, in a file that can be read."""
        with suppress(Damaged):
            return name in self._arrays
        return False

    def curve(self, name: str) -> "PlottedCurve":
        """Return a curve that has at least one point.

        Raises:
            MissingEvidence: the run kept no such curve.
        """
        curve = self.evaluation.curves.get(name)
        if curve is None or not curve.x:
            raise MissingEvidence(f"the run kept no curve {quoted(name)}")
        return PlottedCurve(
            x=_floats(curve.x),
            y=_floats(curve.y),
            low=None if curve.low is None else _floats(curve.low),
            high=None if curve.high is None else _floats(curve.high),
            chance=None if curve.chance is None else _floats(curve.chance),
            x_label=curve.x_label or "x",
            y_label=curve.y_label or name,
            unit=curve.unit,
            series=curve.series,
            role=curve.role,
        )

    def curves_of(self, figure: str) -> list[PlottedCurve]:
        """Return the curves that a figure shows. A curve that names no figure is the figure of its own name."""
        curves = []
        for name, curve in self.evaluation.curves.items():
            if figure_of(name, curve) == figure and curve.x:
                curves.append(self.curve(name))
        return curves

    @cached_property
    def neighbours(self) -> Mapping[str, Sequence[Neighbour]]:
        """The nearest items to each listed failure, by sample id, empty if the run kept none that can be read."""
        neighbours: dict[str, list[Neighbour]] = {}
        try:
            for row in self.run.neighbours(self.evaluation).to_dict("records"):
                if row.get("label_set", PLAIN) in (PLAIN, self.label_set):
                    sample, text, image = str(row["sample_id"]), str(row["text"]), str(row["image"])
                    neighbour = Neighbour(text, image, float(row["cosine"]), bool(row["is_right"]))
                    neighbours.setdefault(sample, []).append(neighbour)
        except (ClipbenchError, KeyError, TypeError, ValueError):
            return {}
        return neighbours

    @cached_property
    def _samples(self) -> Mapping[str, np.ndarray]:
        if self.all_label_sets is not None:
            return self._label_set_parts(self.all_label_sets._samples)
        if "samples" not in self.evaluation.files:
            return {}
        try:
            table = self.run.samples(self.evaluation)
        except ClipbenchError as error:
            raise Damaged(str(error)) from error
        return {str(name): table[name].to_numpy() for name in table.columns}

    @cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        if self.all_label_sets is not None:
            return self._label_set_parts(self.all_label_sets._arrays)
        try:
            return self.run.arrays(self.evaluation)
        except ClipbenchError as error:
            raise Damaged(str(error)) from error

    def _label_set_parts(self, parts: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the parts that all label sets share, and the parts of this set under their short names."""
        return parts if self.label_set == PLAIN else {**parts, **without_prefix(parts, f"{self.label_set}/")}

    def _require_part(self, parts: Mapping[str, np.ndarray], name: str, kind: str) -> np.ndarray:
        if name not in parts or not parts[name].size:
            raise (MissingArray if kind == "array" else MissingEvidence)(f"the run kept no {kind} {quoted(name)}")
        return parts[name]


class ModelEvidence(NamedTuple):
    """The evidence of a model, which may be one of several in a figure."""

    model: ModelKey
    evidence: Evidence


Models = Sequence[ModelEvidence]
"""The same evaluation of one model, or of several that a figure draws together."""


@dataclass(frozen=True)
class ByModel(Generic[Value_co]):
    """A value of each model that has one, and why the others have none."""

    values: Mapping[ModelKey, Value_co]
    missing: Mapping[ModelKey, MissingEvidence] = field(default_factory=dict)

    @property
    def all(self) -> list[Value_co]:
        """The values, in the order of the models."""
        return list(self.values.values())

    @property
    def is_joint(self) -> bool:
        """True of several models, of which only one may have a value."""
        return len(self.values) + len(self.missing) > 1

    def map(self, make: "Callable[[Value_co], Mapped]") -> "ByModel[Mapped]":
        """Return the results of a function of each value."""
        return ByModel({model: make(value) for model, value in self.values.items()}, self.missing)


def read_each(models: Models, read: Callable[[Evidence], Value]) -> ByModel[Value]:
    """Return the values that ``read`` returns for the evidence of each model.

    Raises:
        AllMissing: ``read`` raises MissingEvidence for every model.
    """
    values, missing = dict[ModelKey, Value](), dict[ModelKey, MissingEvidence]()
    for model, evidence in models:
        try:
            values[model] = read(evidence)
        except MissingEvidence as reason:
            missing[model] = reason
    if not values:
        raise AllMissing(missing) from next(iter(missing.values()))
    return ByModel(values, missing)


def figure_of(name: str, curve: Curve) -> str:
    """Return the figure of a recorded curve, empty for a curve of a figure that does not show it."""
    if not curve.figure:
        return name
    return curve.figure if curve.series else ""


def _floats(values: Sequence[float | None]) -> list[float]:
    """Return values as floats. Strict JSON has null for missing values."""
    return [math.nan if value is None else float(value) for value in values]


def label_sets(evaluation: EvaluationRecord) -> list[str]:
    """Return the label sets that an evaluation has results of, in their order, ``PLAIN`` if it has no named ones."""
    named_sets = _label_set_names(evaluation)
    everything = (*evaluation.metrics, *evaluation.curves)
    is_plain = not named_sets or any(subset_of(name) not in named_sets for name in everything)
    return [PLAIN, *named_sets] if is_plain else named_sets


def restrict_to_label_set(evaluation: EvaluationRecord, label_set: str) -> EvaluationRecord:
    """Return an evaluation with only the metrics, curves, baselines and notes of a label set, without its prefix.

    Everything without a prefix belongs to ``PLAIN``.
    """
    named_sets = _label_set_names(evaluation)
    if not named_sets:
        return evaluation
    start = f"{label_set}: "

    def select_parts(parts: Mapping[str, Value]) -> dict[str, Value]:
        if label_set != PLAIN:
            return without_prefix(parts, f"{label_set}/")
        return {name: value for name, value in parts.items() if subset_of(name) not in named_sets}

    if label_set == PLAIN:
        notes = shared_notes(evaluation)
    else:
        notes = [note.removeprefix(start) for note in evaluation.notes if note.startswith(start)]
    return replace(
        evaluation,
        metrics=select_parts(evaluation.metrics),
        curves=select_parts(evaluation.curves),
        baselines=select_parts(evaluation.baselines),
        notes=notes,
    )


def shared_notes(evaluation: EvaluationRecord) -> list[str]:
    """Return the notes that belong to no single label set."""
    starts = tuple(f"{name}: " for name in _label_set_names(evaluation))
    return [note for note in evaluation.notes if not note.startswith(starts)]


def without_prefix(parts: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the values whose names have a prefix, by the names without it."""
    return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}


def _label_set_names(evaluation: EvaluationRecord) -> list[str]:
    subsets = dict.fromkeys(subset_of(metric) for metric in evaluation.metrics)
    return [subset for subset in subsets if subset != PLAIN]
