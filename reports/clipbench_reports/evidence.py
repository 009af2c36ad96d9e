"""What one evaluation of one run left behind, for figures and tables to draw on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from clipbench.result import Curve, EvaluationRecord, Run
from clipbench_reports.format import named
from clipbench_reports.label_sets import PLAIN, stripped, within


class Lacking(Exception):
    """A figure or table cannot be made; the text says what is not there."""


class LackingArray(Lacking):
    """The run kept no array of the name: one that is made again may."""


@dataclass(frozen=True)
class Evidence:
    """An evaluation with its samples and arrays; read once, when first asked for."""

    run: Run
    evaluation: EvaluationRecord
    whole: "Evidence | None" = None
    """What this is a part of, where it is the evidence of one label set only."""
    label_set: str = PLAIN

    def of(self, label_set: str) -> "Evidence":
        """Return the evidence of one label set, in which everything is named as if there were no other."""
        return Evidence(self.run, within(self.evaluation, label_set), whole=self, label_set=label_set)

    def column(self, name: str) -> np.ndarray:
        """Return a column of the sample table.

        Raises:
            Lacking: the run kept no such column.
        """
        return self._part(self._samples, name, "column")

    @property
    def columns(self) -> list[str]:
        """The names of the columns of the sample table."""
        return list(self._samples)

    def has_column(self, name: str) -> bool:
        """Return whether the run kept a column of a name."""
        return name in self._samples

    def array(self, name: str) -> np.ndarray:
        """Return one of the arrays kept for figures.

        Raises:
            LackingArray: the run kept no such array.
        """
        return self._part(self._arrays, name, "array")

    def has_array(self, name: str) -> bool:
        """Return whether the run kept an array of a name."""
        return name in self._arrays

    def curve(self, name: str) -> Curve:
        """Return a curve that has at least one point.

        Raises:
            Lacking: the run kept no such curve.
        """
        curve = self.evaluation.curves.get(name)
        if curve is None or not curve.x:
            raise Lacking(f"the run kept no curve {named(name)}")
        low, high = (None if bound is None else _numbers(bound) for bound in (curve.low, curve.high))
        return replace(curve, x=_numbers(curve.x), y=_numbers(curve.y), low=low, high=high)

    @cached_property
    def _samples(self) -> Mapping[str, np.ndarray]:
        if self.whole is not None:
            return self._own(self.whole._samples)
        if "samples" not in self.evaluation.files:
            return {}
        table = self.run.samples(self.evaluation)
        return {str(name): table[name].to_numpy() for name in table.columns}

    @cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        return self._own(self.whole._arrays) if self.whole is not None else self.run.arrays(self.evaluation)

    def _own(self, parts: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the parts under the name of the label set, beside those that all sets share."""
        return {**parts, **stripped(parts, f"{self.label_set}/")} if self.label_set != PLAIN else parts

    def _part(self, parts: Mapping[str, np.ndarray], name: str, kind: str) -> np.ndarray:
        if name not in parts or not len(parts[name]):
            raise (LackingArray if kind == "array" else Lacking)(f"the run kept no {kind} {named(name)}")
        return parts[name]


def _numbers(values: Sequence[float | None]) -> list[float]:
    """Return values as floats; strict JSON writes what is missing as null."""
    return [math.nan if value is None else float(value) for value in values]
