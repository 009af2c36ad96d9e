"""Statistics of the sample table that a result names, so that two models are compared by computing them from both tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.metrics import expected_calibration_error
from clipbench.results.record import StatisticRecord

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


def first_length_reaching(*hits: Float64[np.ndarray, " n"], lengths: Sequence[int | float], share: float) -> float:
    """Return the length at which a share of the recall at the longest is reached, interpolated linearly.

    Args:
        hits: one column for each length, one row for each query.
        lengths: ascending.
        share: in (0, 1].

    Returns:
        NaN when nothing is found at the longest.

    Example:
        >>> hits = [np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0]), np.array([1.0, 1, 1, 1])]
        >>> first_length_reaching(*hits, lengths=[5.0, 10.0, 20.0], share=0.75)  # 0.75 lies half-way from 10 to 20
        15.0
    """
    recall = np.array([column.mean() for column in hits])
    if not recall[-1] > 0:
        return float("nan")
    target = share * recall[-1]
    row = int(np.argmax(recall >= target))
    if row == 0:
        return float(lengths[0])
    part = (target - recall[row - 1]) / (recall[row] - recall[row - 1])
    return float(lengths[row - 1] + part * (lengths[row] - lengths[row - 1]))


def _median(values: Float64[np.ndarray, " n"]) -> float:
    """Return what ``np.median`` does in a fraction of the time, as tests compute it ten thousand times."""
    middle = len(values) // 2
    parted = np.partition(values, middle)
    upper = float(parted[middle])
    return upper if len(values) % 2 else (float(parted[:middle].max()) + upper) / 2


class _Known(NamedTuple):
    function: Callable[..., float]
    is_biased: bool = False


ESTIMATORS: Mapping[str, _Known] = {
    "median": _Known(_median),
    "expected_calibration_error": _Known(expected_calibration_error, is_biased=True),
    "first_length_reaching": _Known(first_length_reaching),
}
"""By the name in results. Old results name them too: a function may be added, and none may change its meaning."""
