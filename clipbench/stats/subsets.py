"""Sums over many random subsets of the same things, eight things at a lookup: what flips and exchanges of samples need."""

import itertools

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped, UInt8

_BITS = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(np.float64)
"""The eight bits of each value of a byte, the lowest first."""
_EIGHTS = 64
"""Bytes that are looked up at once: their 64 x 256 sums stay in the processor's cache."""


class ByteSums:
    """Sums of weights over the bits that are set in rows of bytes.

    Example:
        >>> ByteSums(np.array([1.0, 2.0, 4.0])).of(np.array([[0b101], [0b010]], np.uint8))
        array([5., 2.])
    """

    def __init__(self, weights: Float64[np.ndarray, " n"]) -> None:
        """Take the weight of each bit, the lowest of the first byte first."""
        eights = np.zeros((-(-len(weights) // 8), 8))
        eights.flat[: len(weights)] = weights
        self.n_bytes = len(eights)
        self._table = (eights @ _BITS.T).ravel()

    def of(self, rows: UInt8[np.ndarray, "draws n_bytes"]) -> Float64[np.ndarray, " draws"]:
        """Return the sum of each row."""
        sums, first = np.zeros(len(rows)), 256 * np.arange(_EIGHTS)[:, None]
        for start in range(0, self.n_bytes, _EIGHTS):
            part = rows[:, start : start + _EIGHTS].T  # byte after byte: the 256 sums of one are at hand for all rows
            table = self._table[256 * start : 256 * (start + _EIGHTS)]
            sums += table.take(part + first[: len(part)]).sum(axis=0)
        return sums


class SubsetSums:
    """Sums of weights over subsets of units, in several columns; a unit may have a weight in any of them.

    Example:
        >>> sums = SubsetSums(units=np.array([0, 0, 1]), columns=np.array([0, 1, 1]), weights=np.array([1.0, 2.0, 4.0]), n_columns=2)
        >>> sums.of(np.array([[True, False], [True, True]])).tolist()
        [[1.0, 2.0], [1.0, 6.0]]
    """

    def __init__(
        self,
        units: Int64[np.ndarray, " n"],
        columns: Shaped[np.ndarray, " n"],
        weights: Float64[np.ndarray, " n"],
        n_columns: int,
    ) -> None:
        """Take the weights, one for a unit in a column; several for the same are added."""
        n_units = int(units.max(initial=-1)) + 1
        cells, cell = np.unique(columns.astype(np.int64) * n_units + units, return_inverse=True)
        total = np.bincount(cell, weights, minlength=len(cells)).astype(np.float64)  # of nothing it counts
        cells, total = cells[total != 0], total[total != 0]
        starts = np.searchsorted(cells, np.arange(n_columns + 1) * n_units)
        parts = [slice(*bounds) for bounds in itertools.pairwise(starts)]
        self._columns = [(cells[part] % max(n_units, 1), ByteSums(total[part])) for part in parts]

    def of(self, is_in: Bool[np.ndarray, "draws n_units"]) -> Float64[np.ndarray, "draws n_columns"]:
        """Return the sums of each subset, in each column."""
        sums = [
            weights.of(np.packbits(is_in.take(units, axis=1), axis=1, bitorder="little"))
            for units, weights in self._columns
        ]
        return np.stack(sums, axis=1)
