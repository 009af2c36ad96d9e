"""Statistics of the sample table that a result names, so that two models are compared by computing them from both tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from clipbench.metrics.classification import confidence_bins
from clipbench.results.record import StatisticRecord
from clipbench.stats.intervals import OfCounts
from clipbench.stats.significance import OfExchanges
from clipbench.stats.subsets import SubsetSums

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
        return ESTIMATORS[self.name].function(*self._read(samples), **self.parameters)

    def difference(self, base: Samples, candidate: Samples, units: Int64[np.ndarray, " n"]) -> OfExchanges:
        """Return the candidate's value less the base's, from which units' samples are exchanged between them.

        Args:
            units: the unit of each sample: its cluster, or itself; 0, 1, ...
        """
        columns = (np.column_stack(self._read(samples)) for samples in (base, candidate))
        return ESTIMATORS[self.name].difference(*columns, units, **self.parameters)

    def _read(self, samples: Samples) -> list[Float64[np.ndarray, " n"]]:
        return [samples[name].astype(np.float64) for name in self.columns]

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


def labels_reaching(
    accuracy: Float64[np.ndarray, "draws n_numbers"],
    target: Float64[np.ndarray, " draws"],
    *,
    labels: Sequence[int | float],
) -> Float64[np.ndarray, " draws"]:
    """Return the number of labels at which an accuracy first reaches a target, interpolated on the logarithm of the number.

    Args:
        accuracy: with each number of labels, one row for each draw of samples.
        target: to reach.
        labels: ascending, above 0.

    Returns:
        The first number where it reaches the target already, and the last one where none does.

    Example:
        >>> accuracy = np.array([[0.25, 0.5, 0.75]] * 3)
        >>> labels_reaching(accuracy, np.array([0.625, 0.2, 0.9]), labels=[1, 4, 16]).round(6)  # half-way from 4 to 16 is 8
        array([ 8.,  1., 16.])
    """
    draws, at = np.arange(len(accuracy)), np.log(np.array(labels, np.float64))
    reaches = accuracy >= target[:, None]
    row = np.where(reaches.any(axis=1), reaches.argmax(axis=1), len(at) - 1)
    before = np.maximum(row - 1, 0)
    rise = accuracy[draws, row] - accuracy[draws, before]
    missing = target - accuracy[draws, before]
    part = np.clip(missing / np.where(rise > 0, rise, 1.0), 0.0, 1.0)
    is_inside = reaches.any(axis=1) & (row > 0)
    return np.exp(np.where(is_inside, at[before] + part * (at[row] - at[before]), at[row]))


def _labels(*hits: Float64[np.ndarray, " n"], labels: Sequence[int | float]) -> OfCounts:
    """Return ``labels_reaching`` of hits, one column for each number of labels, and at last those of the target."""
    columns = np.column_stack(hits)

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        return _labels_of_means(counts @ columns / counts.sum(axis=1, keepdims=True), labels)

    return of


def _labels_of_means(
    means: Float64[np.ndarray, "draws n_columns"], labels: Sequence[int | float]
) -> Float64[np.ndarray, " draws"]:
    return labels_reaching(means[:, :-1], means[:, -1], labels=labels)


def _labels_difference(
    base: Float64[np.ndarray, "n n_columns"],
    candidate: Float64[np.ndarray, "n n_columns"],
    units: Int64[np.ndarray, " n"],
    *,
    labels: Sequence[int | float],
) -> OfExchanges:
    return _difference_of_means(base, candidate, units, partial(_labels_of_means, labels=labels))


def _length(*hits: Float64[np.ndarray, " n"], lengths: Sequence[int | float], share: float) -> OfCounts:
    """Return ``first_length_reaching`` of hits, one column for each length, one row for each query."""
    columns = np.column_stack(hits)

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        recall = counts @ columns / counts.sum(axis=1, keepdims=True)
        return first_length_reaching(recall, lengths=lengths, share=share)

    return of


def _length_difference(
    base: Float64[np.ndarray, "n n_lengths"],
    candidate: Float64[np.ndarray, "n n_lengths"],
    units: Int64[np.ndarray, " n"],
    *,
    lengths: Sequence[int | float],
    share: float,
) -> OfExchanges:
    return _difference_of_means(base, candidate, units, partial(first_length_reaching, lengths=lengths, share=share))


def _difference_of_means(
    base: Float64[np.ndarray, "n n_columns"],
    candidate: Float64[np.ndarray, "n n_columns"],
    units: Int64[np.ndarray, " n"],
    value: Callable[[Float64[np.ndarray, "draws n_columns"]], Float64[np.ndarray, " draws"]],
) -> OfExchanges:
    """Return the difference of a value that follows from the means of the columns."""
    n, n_columns = base.shape
    columns = np.tile(np.arange(n_columns), n)
    moved = SubsetSums(np.repeat(units, n_columns), columns, (candidate - base).ravel(), n_columns)

    def of(is_exchanged: Bool[np.ndarray, "draws n_units"]) -> Float64[np.ndarray, " draws"]:
        to_base = moved.of(is_exchanged)
        hits = candidate.sum(axis=0) - to_base, base.sum(axis=0) + to_base
        one, other = (value(each / n) for each in hits)
        return one - other

    return of


def _median(values: Float64[np.ndarray, " n"]) -> OfCounts:
    order, n = np.argsort(values), len(values)

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        drawn = counts.sum(axis=1)
        # In nearly all resamples the median is near the middle: the rows further out need only be added up.
        reach = int(4 * math.sqrt(n)) + 8
        low, high = max(0, n // 2 - reach), min(n, n // 2 + reach)
        below = counts.take(order[:low], axis=1).sum(axis=1)
        reached = below[:, None] + np.cumsum(counts.take(order[low:high], axis=1), axis=1)
        is_near = _holds_middle(below, reached, drawn)
        found = _middle(values[order[low:high]], reached, drawn)
        if not is_near.all():
            all_reached = np.cumsum(counts[~is_near][:, order], axis=1)
            found[~is_near] = _middle(values[order], all_reached, drawn[~is_near])
        return found

    return of


def _median_difference(
    base: Float64[np.ndarray, "n 1"], candidate: Float64[np.ndarray, "n 1"], units: Int64[np.ndarray, " n"]
) -> OfExchanges:
    n = len(base)
    values = np.concatenate([base[:, 0], candidate[:, 0]])
    order = np.argsort(values)
    values, units, is_base = values[order], units[order % n], order < n
    to_base = np.where(is_base, -1.0, 1.0)  # an exchange takes the base's rows from it, and gives it the candidate's
    spread = np.linalg.norm(np.bincount(units[:n], to_base[:n])) / 2  # of how many of the lower half are the base's
    reach = int(12 * spread) + 8
    near = _MiddleOfBoth(values, units, is_base, slice(max(0, n - reach), min(2 * n, n + reach)))
    everywhere = _MiddleOfBoth(values, units, is_base, slice(0, 2 * n))

    def of(is_exchanged: Bool[np.ndarray, "draws n_units"]) -> Float64[np.ndarray, " draws"]:
        found, is_near = near.difference(is_exchanged)
        if not is_near.all():
            found[~is_near], _ = everywhere.difference(is_exchanged[~is_near])
        return found

    return of


class _MiddleOfBoth:
    """The medians of two models, n rows each, looked for at some places among the sorted values of both."""

    def __init__(
        self,
        values: Float64[np.ndarray, " n_both"],
        units: Int64[np.ndarray, " n_both"],
        is_base: Bool[np.ndarray, " n_both"],
        places: slice,
    ) -> None:
        low, self.n = places.start, len(values) // 2
        to_base = np.where(is_base, -1.0, 1.0)
        self.moved = SubsetSums(units[:low], np.zeros(low, np.int64), to_base[:low], 1)
        self.n_below, self.base_below = low, int(is_base[:low].sum())
        self.values, self.units, self.to_base = values[places], units[places], to_base[places]
        self.at_first = np.cumsum(is_base[places])

    def difference(
        self, is_exchanged: Bool[np.ndarray, "draws n_units"]
    ) -> tuple[Float64[np.ndarray, " draws"], Bool[np.ndarray, " draws"]]:
        """Return the candidate's median less the base's, and whether both lie at these places."""
        below = self.base_below + self.moved.of(is_exchanged)[:, 0]
        moves = np.cumsum(is_exchanged.take(self.units, axis=1) * self.to_base, axis=1)
        reached = below[:, None] + self.at_first + moves
        reached_by_candidate = self.n_below + np.arange(1, len(self.values) + 1) - reached
        n = np.full(len(below), self.n)
        difference = _middle(self.values, reached_by_candidate, n) - _middle(self.values, reached, n)
        return difference, (
            _holds_middle(below, reached, n) & _holds_middle(self.n_below - below, reached_by_candidate, n)
        )


def _holds_middle(
    below: Shaped[np.ndarray, " draws"], reached: Shaped[np.ndarray, "draws places"], n: Shaped[np.ndarray, " draws"]
) -> Bool[np.ndarray, " draws"]:
    """Return whether both middles of n rows lie in places, of which the rows below and up to each are given."""
    return (below < (n + 1) // 2) & (reached[:, -1] > n // 2)


def _middle(
    values: Float64[np.ndarray, " places"], reached: Shaped[np.ndarray, "draws places"], n: Shaped[np.ndarray, " draws"]
) -> Float64[np.ndarray, " draws"]:
    """Return the mean of the values at both middles of n rows, from how many rows lie up to each place."""
    first, second = (reached >= (n[:, None] + 1) // 2).argmax(axis=1), (reached > n[:, None] // 2).argmax(axis=1)
    return values[np.array([first, second])].mean(axis=0)


def _calibration_error(
    confidence: Float64[np.ndarray, " n"], credit: Float64[np.ndarray, " n"], n_bins: int = 15
) -> OfCounts:
    """Return ``metrics.expected_calibration_error``."""
    bins = confidence_bins(confidence, n_bins)
    order = np.argsort(bins)
    gaps, starts = (credit - confidence)[order], np.unique(bins[order], return_index=True)[1]

    def of(counts: Shaped[np.ndarray, "draws n"]) -> Float64[np.ndarray, " draws"]:
        of_bins = np.add.reduceat(counts.take(order, axis=1) * gaps, starts, axis=1)
        return np.abs(of_bins).sum(axis=1) / counts.sum(axis=1)

    return of


def _calibration_difference(
    base: Float64[np.ndarray, "n 2"],
    candidate: Float64[np.ndarray, "n 2"],
    units: Int64[np.ndarray, " n"],
    n_bins: int = 15,
) -> OfExchanges:
    bins = np.concatenate([confidence_bins(each[:, 0], n_bins) for each in (base, candidate)])
    gaps = np.concatenate([each[:, 1] - each[:, 0] for each in (base, candidate)])
    n = len(base)
    moved = SubsetSums(np.tile(units, 2), bins, np.where(np.arange(2 * n) < n, -gaps, gaps), n_bins)
    at_first = [np.bincount(bins[rows], gaps[rows], minlength=n_bins) for rows in (slice(n), slice(n, None))]

    def of(is_exchanged: Bool[np.ndarray, "draws n_units"]) -> Float64[np.ndarray, " draws"]:
        to_base = moved.of(is_exchanged)
        return (np.abs(at_first[1] - to_base).sum(axis=1) - np.abs(at_first[0] + to_base).sum(axis=1)) / n

    return of


class _Known(NamedTuple):
    function: Callable[..., OfCounts]
    difference: Callable[..., OfExchanges]
    is_biased: bool = False


ESTIMATORS: Mapping[str, _Known] = {
    "median": _Known(_median, _median_difference),
    "expected_calibration_error": _Known(_calibration_error, _calibration_difference, is_biased=True),
    "first_length_reaching": _Known(_length, _length_difference),
    "labels_reaching": _Known(_labels, _labels_difference),
}
"""By the name in results. Old results name them too: a function may be added, and none may change its meaning."""
