"""Statistics of the sample table that a result names, so that two models are compared by computing them from both tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

from clipbench.metrics.classification import confidence_bins
from clipbench.results.record import StatisticRecord
from clipbench.stats.intervals import OfCounts

Samples = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """A function of columns of the sample table that a later version finds again by its name.

    Example:
        >>> Estimator("median", ("rank",))({"rank": np.array([1.0, 2.0, 5.0])})
        2.0
    """

    name: str
    """One of ``ESTIMATORS``."""
    columns: tuple[str, ...]
    """Columns that it reads, in order; samples where the first is NaN are left out."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, samples: Samples) -> float:
        return float(self.of(samples)(np.ones((1, len(samples[self.columns[0]])), np.int64))[0])

    def of(self, samples: Samples) -> OfCounts:
        """Return its values in many draws at once, from how often each sample is in each of them."""
        columns = [samples[name].astype(np.float64) for name in self.columns]
        return ESTIMATORS[self.name].function(*columns, **self.parameters)

    @property
    def is_biased(self) -> bool:
        """True when resampling moves its mean, so that intervals are recentred on the value."""
        return ESTIMATORS[self.name].is_biased

    def record(self) -> StatisticRecord:
        """Return its entry in a result."""
        return StatisticRecord(name=self.name, columns=list(self.columns), parameters=dict(self.parameters))

    @classmethod
    def from_record(cls, record: StatisticRecord | None) -> "Estimator | None":
        """Return the statistic of a record; None without one, or for one that this version does not know."""
        if record is None or record.name not in ESTIMATORS:
            return None
        try:
            signature(ESTIMATORS[record.name].function).bind(*record.columns, **record.parameters)
        except TypeError:
            return None
        return cls(record.name, tuple(record.columns), record.parameters)


def first_length_reaching(
    recall: Float64[np.ndarray, "draws n_lengths"], *, lengths: Sequence[int | float], share: float
) -> Float64[np.ndarray, " draws"]:
    """Return the length at which a share of the recall at the longest is reached, interpolated linearly.

    Args:
        recall: at each length, one row for each draw of queries.
        lengths: ascending.
        share: in (0, 1].

    Returns:
        NaN where nothing is found at the longest.

    Example:
        >>> recall = np.array([[0.25, 0.5, 1.0]])
        >>> first_length_reaching(recall, lengths=[5.0, 10.0, 20.0], share=0.75)  # 0.75 lies half-way from 10 to 20
        array([15.])
    """
    draws, at, target = np.arange(len(recall)), np.array(lengths, np.float64), share * recall[:, -1]
    row = (recall >= target[:, None]).argmax(axis=1)
    before = np.maximum(row - 1, 0)
    rise = recall[draws, row] - recall[draws, before]
    part = (target - recall[draws, before]) / np.where(row > 0, rise, 1.0)
    return np.where(recall[:, -1] > 0, at[before] + part * (at[row] - at[before]), np.nan)


def _length(*hits: Float64[np.ndarray, " n"], lengths: Sequence[int | float], share: float) -> OfCounts:
    """Return ``first_length_reaching`` of hits, one column for each length, one row for each query."""
    columns = np.column_stack(hits)

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        recall = counts @ columns / counts.sum(axis=1, keepdims=True)
        return first_length_reaching(recall, lengths=lengths, share=share)

    return of


def _median(values: Float64[np.ndarray, " n"]) -> OfCounts:
    order = np.argsort(values)

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        reached = np.cumsum(counts[:, order], axis=1)
        n = reached[:, -1:]
        middle = (reached >= (n + 1) // 2).argmax(axis=1), (reached > n // 2).argmax(axis=1)
        return values[order[np.array(middle)]].mean(axis=0)

    return of


def _calibration_error(
    confidence: Float64[np.ndarray, " n"], credit: Float64[np.ndarray, " n"], n_bins: int = 15
) -> OfCounts:
    """Return ``metrics.expected_calibration_error``."""
    bins = confidence_bins(confidence, n_bins)
    order = np.argsort(bins)
    gaps, starts = (credit - confidence)[order], np.unique(bins[order], return_index=True)[1]

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        of_bins = np.add.reduceat(counts[:, order] * gaps, starts, axis=1)
        return np.abs(of_bins).sum(axis=1) / counts.sum(axis=1)

    return of


class _Known(NamedTuple):
    function: Callable[..., OfCounts]
    is_biased: bool = False


ESTIMATORS: Mapping[str, _Known] = {
    "median": _Known(_median),
    "expected_calibration_error": _Known(_calibration_error, is_biased=True),
    "first_length_reaching": _Known(_length),
}
"""By the name in results. Old results name them too: a function may be added, and none may change its meaning."""
