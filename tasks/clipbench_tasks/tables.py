"""Shared by tasks with several parts: one table of samples, and curves with bounds at all points or at none."""

from collections.abc import Mapping, Sequence

import numpy as np

from clipbench.results.record import Curve

Bounds = tuple[float | None, float | None]


def stacked(*tables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tables of samples below each other; a table without columns has no rows.

    A column that a table lacks is NaN in its rows; "" if it holds text, and -1 if it holds row numbers.

    Example:
        >>> first, second = {"sample_id": np.array(["a"], object), "x": np.ones(1)}, {"sample_id": np.array(["b"])}
        >>> table = stacked(first, second)
        >>> table["sample_id"].tolist(), table["x"].tolist()
        (['a', 'b'], [1.0, nan])
    """
    filled = [table for table in tables if table]
    like = {name: column for table in filled for name, column in table.items()}
    return {name: np.concatenate([_column(table, name, column) for table in filled]) for name, column in like.items()}


def bounded_curve(
    x: Sequence[float], y: Sequence[float], bounds: Sequence[Bounds], *, x_label: str, y_label: str
) -> Curve:
    """Return a curve with its bounds, or without them where any point has none."""
    low = [bound for bound, _ in bounds if bound is not None]
    high = [bound for _, bound in bounds if bound is not None]
    is_bounded = len(low) == len(high) == len(bounds)
    return Curve(
        x=list(x),
        y=list(y),
        low=low if is_bounded else None,
        high=high if is_bounded else None,
        x_label=x_label,
        y_label=y_label,
    )


def _column(table: Mapping[str, np.ndarray], name: str, like: np.ndarray) -> np.ndarray:
    if name in table:
        return table[name]
    size = len(table["sample_id"])
    if like.dtype == object:
        return np.full(size, "", object)
    return np.full(size, -1, like.dtype) if np.issubdtype(like.dtype, np.integer) else np.full(size, np.nan)
