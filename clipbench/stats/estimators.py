"""Statistics of the sample table that a result names, so that a comparison computes them from both models' tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from clipbench.metrics.classification import confidence_bins, macro_f1, macro_f1_changes, mean_per_class_recall
from clipbench.results.record import StatisticRecord
from clipbench.stats.clusters import Units, Values
from clipbench.stats.intervals import OfCounts
from clipbench.stats.significance import Exchanged, OfExchanges

Samples = Mapping[str, np.ndarray]

Curves = Float64[np.ndarray, "draws n_places"]
Draws = Float64[np.ndarray, " draws"]
"""A statistic in several draws of samples."""


@dataclass(frozen=True)
class Estimator:
    """A function of columns of the sample table that a later version finds again by its name.

    Example:
        >>> Estimator("median", ("rank",))({"rank": np.array([1.0, 2.0, 5.0])})
        2.0
    """

    name: str
    """One of ``ESTIMATORS`` or ``CHANGES``."""
    columns: tuple[str, ...]
    """Columns that it reads, in order. Samples whose first value is NaN are left out."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, samples: Samples) -> float:
        if self.name in MEANS:
            return MEANS[self.name](*(samples[name] for name in self.columns))
        return float(self.over_draws(samples)(np.ones((1, len(samples[self.columns[0]])), np.int64))[0])

    def over_draws(self, samples: Samples) -> OfCounts:
        """Return a function from the count of each sample in several draws to the statistic of each draw."""
        return self._statistic(samples).of_counts

    def difference(self, base: Samples, candidate: Samples, units: Units) -> OfExchanges:
        """Return the candidate's value less the base's, from which units' samples are exchanged between them.

        Args:
            units: the unit of each sample, its cluster or itself, as 0, 1, ...
        """
        before, after = (self._statistic(samples) for samples in (base, candidate))
        return before.difference(after, units)

    def _statistic(self, samples: Samples) -> Any:
        columns = [samples[name].astype(np.float64) for name in self.columns]
        return ESTIMATORS[self.name](*columns, **self.parameters)

    def record(self) -> StatisticRecord:
        """Return its entry in a result."""
        return StatisticRecord(name=self.name, columns=list(self.columns), parameters=dict(self.parameters))

    @classmethod
    def from_record(cls, record: StatisticRecord | None) -> "Estimator | None":
        """Return the statistic of a record, or None without one, or for one that this version does not know."""
        functions = {**ESTIMATORS, **CHANGES}
        if record is None or record.name not in functions:
            return None
        try:
            signature(functions[record.name]).bind(*record.columns, **record.parameters)
        except TypeError:
            return None
        return cls(record.name, tuple(record.columns), record.parameters)


def first_length_reaching(recall: Curves, *, lengths: Sequence[int | float], share: float) -> Draws:
    """Return the length at which a fraction of the recall at the longest is reached, interpolated linearly.

    Args:
        recall: at each length, one row for each draw of queries.
        lengths: ascending.
        share: in (0, 1].

    Returns:
        NaN where nothing is found at the longest.
    """
    length = first_position_reaching(recall, share * recall[:, -1], np.array(lengths, np.float64))
    return np.where(recall[:, -1] > 0, length, np.nan)


def labels_reaching(accuracy: Curves, target: Draws, *, labels: Sequence[int | float]) -> Draws:
    """Return the number of labels at which an accuracy first reaches a target, interpolated on a logarithmic scale.

    Args:
        accuracy: with each number of labels, one row for each draw of samples.
        target: to reach.
        labels: ascending, above 0.

    Returns:
        The first number where it reaches the target already, and the last one where none does.

    Example:
        >>> accuracy = np.array([[0.25, 0.5, 0.75]] * 3)
        >>> labels_reaching(accuracy, np.array([0.625, 0.2, 0.9]), labels=[1, 4, 16]).round(6)  # half-way: 8
        array([ 8.,  1., 16.])
    """
    return np.exp(first_position_reaching(accuracy, target, np.log(np.array(labels, np.float64))))


def first_position_reaching(curves: Curves, target: Draws, positions: Float64[np.ndarray, " n_positions"]) -> Draws:
    """Return where each curve first reaches its target, interpolated linearly, the last position if it never does."""
    is_reached = curves >= target[:, None]
    draws, row = np.arange(len(curves)), is_reached.argmax(axis=1)
    before = np.maximum(row - 1, 0)
    rise = curves[draws, row] - curves[draws, before]
    part = (target - curves[draws, before]) / np.where(row > 0, rise, 1.0)
    reached = positions[before] + part * (positions[row] - positions[before])
    return np.where(is_reached.any(axis=1), reached, positions[-1])


class _Sums(NamedTuple):
    """A statistic that follows from the sums of some columns."""

    columns: Float64[np.ndarray, "n n_columns"]
    value: Callable[[Float64[np.ndarray, "draws n_columns"], Any], Draws]
    """From the sums, and the number of samples."""

    def of_counts(self, counts: Shaped[np.ndarray, "draws n"]) -> Draws:
        return self.value(counts @ self.columns, counts.sum(axis=1, keepdims=True))

    def difference(self, candidate: "_Sums", units: Units) -> OfExchanges:
        unit_differences = np.column_stack(
            [np.bincount(units, column) for column in (candidate.columns - self.columns).T]
        )
        before, after = (model.columns.sum(axis=0) for model in (self, candidate))

        def difference_of(is_exchanged: Exchanged) -> Draws:
            moved = is_exchanged @ unit_differences
            return self.value(after - moved, len(units)) - self.value(before + moved, len(units))

        return difference_of


def _length_reaching(*hits: Values, lengths: Sequence[int | float], share: float) -> _Sums:
    """Return ``first_length_reaching`` of hits, one column for each length, one row for each query."""
    return _Sums(np.column_stack(hits), lambda sums, n: first_length_reaching(sums / n, lengths=lengths, share=share))


def _labels_reaching(*hits: Values, labels: Sequence[int | float]) -> _Sums:
    """Return ``labels_reaching`` of hits, one column per number of labels. The last column is the target's hits."""
    return _Sums(
        np.column_stack(hits), lambda sums, n: labels_reaching((sums / n)[:, :-1], (sums / n)[:, -1], labels=labels)
    )


def _calibration_error(confidence: Values, credit: Values, n_bins: int = 15) -> _Sums:
    """Return ``metrics.expected_calibration_error``."""
    in_bins = np.eye(n_bins)[confidence_bins(confidence, n_bins)]
    return _Sums(in_bins * (credit - confidence)[:, None], lambda sums, n: np.abs(sums).sum(axis=1) / np.ravel(n))


class _Median:
    """The median, of whose differences only the rows near the middle are looked at where that is enough."""

    def __init__(self, values: Values) -> None:
        self.values, self.order = values, np.argsort(values)

    def of_counts(self, counts: Shaped[np.ndarray, "draws n"]) -> Draws:
        return _medians(self.values[self.order], np.cumsum(counts[:, self.order], axis=1), counts.sum(axis=1))

    def difference(self, candidate: "_Median", units: Units) -> OfExchanges:
        n, n_units = len(units), int(units.max()) + 1
        both = np.concatenate([self.values, candidate.values])
        order = np.argsort(both)
        both, owner, is_base = both[order], units[order % n], order < n
        to_base = np.where(is_base, -1.0, 1.0)  # an exchange takes the base's rows, and gives it the candidate's
        spread = np.linalg.norm(np.bincount(owner[:n], to_base[:n])) / 2  # of how many of the lower half are the base's
        reach = int(12 * spread) + 8

        def at(is_exchanged: Exchanged, low: int, high: int) -> tuple[Draws, Bool[np.ndarray, " draws"]]:
            """Return the difference of the medians, and whether both are between these positions among all values."""
            size = np.full(len(is_exchanged), n)
            below = is_base[:low].sum() + is_exchanged @ np.bincount(owner[:low], to_base[:low], n_units).astype(float)
            moves = is_exchanged.take(owner[low:high], axis=1) * to_base[low:high]
            reached = below[:, None] + np.cumsum(is_base[low:high] + moves, axis=1)
            of_candidate = np.arange(low + 1, high + 1) - reached
            sides = ((below, reached), (low - below, of_candidate))  # both middles of n rows lie among these places
            is_near = np.all([(before < (n + 1) // 2) & (up_to[:, -1] > n // 2) for before, up_to in sides], axis=0)
            return _medians(both[low:high], of_candidate, size) - _medians(both[low:high], reached, size), is_near

        def of(is_exchanged: Exchanged) -> Draws:
            value, is_near = at(is_exchanged, max(0, n - reach), min(2 * n, n + reach))
            if not is_near.all():
                value[~is_near], _ = at(is_exchanged[~is_near], 0, 2 * n)
            return value

        return of


def _medians(
    values: Float64[np.ndarray, " places"], reached: Shaped[np.ndarray, "draws places"], n: Shaped[np.ndarray, " draws"]
) -> Draws:
    """Return the median of n rows in each draw, from the number of rows up to each value."""
    first, second = (reached >= (n[:, None] + 1) // 2).argmax(axis=1), (reached > n[:, None] // 2).argmax(axis=1)
    return values[np.array([first, second])].mean(axis=0)


ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "median": _Median,
    "expected_calibration_error": _calibration_error,
    "first_length_reaching": _length_reaching,
    "labels_reaching": _labels_reaching,
}
"""By the name in results."""


def _macro_f1(predicted: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"]) -> float:
    codes = np.unique(np.concatenate([predicted, labels]), return_inverse=True)[1]  # a table may hold a class 10^12
    return macro_f1(codes[: len(labels)], codes[len(labels) :]).value


MEANS: Mapping[str, Callable[..., float]] = {
    "mean_over_parts": lambda credit, parts: mean_per_class_recall(credit, np.unique(parts, return_inverse=True)[1]),
    "macro_f1": _macro_f1,
}
"""Means over parts, such as classes, by the name in results."""
CHANGES: Mapping[str, Callable[..., Values]] = {
    "mean_over_parts": lambda credit, parts: credit[1] - credit[0],
    "macro_f1": lambda predicted, labels: macro_f1_changes(
        predicted[0].astype(np.int64), predicted[1].astype(np.int64), labels
    ),
}
"""Each sample's change of the mean of its part, from both models' columns, by the names of ``MEANS``."""
