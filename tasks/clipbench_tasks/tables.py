"""Shared by tasks with several parts: one table of samples, curves with bounds at all points or at none, means over parts."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Shaped

from clipbench.metrics import mean_per_class_recall, recall_influence
from clipbench.results.record import Curve
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.measures import Smooth

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


def mean_over_parts(
    name: str,
    credit: Float64[np.ndarray, " n"],
    parts: Shaped[np.ndarray, " n"],
    *,
    chance: Float64[np.ndarray, " n"] | None = None,
) -> tuple[dict[str, np.ndarray], Smooth]:
    """Return the mean over parts, such as classes, of their samples' mean credit, with the columns that it is made from.

    A bootstrap leaves out whole parts where each has a sample or two: its intervals cover the truth too rarely.

    Args:
        name: beginning of the columns' names.
        credit: in [0, 1]; NaN for samples that are left out, of which there are others.
        chance: score of a constant model on each sample.

    Example:
        >>> _, recall = mean_over_parts("recall", np.array([1.0, 1.0, 0.0, 0.0]), np.array(["cat", "cat", "cat", "dog"]))
        >>> recall.value  # (2/3 + 0) / 2
        0.3333333333333333
    """
    rows = np.flatnonzero(~np.isnan(credit))
    _, part, sizes = np.unique(parts[rows], return_inverse=True, return_counts=True)
    columns = {f"{name}_{kind}": np.full(len(credit), np.nan) for kind in ("influence", "weighted")}
    columns[f"{name}_influence"][rows] = recall_influence(credit[rows], part)
    columns[f"{name}_weighted"][rows] = credit[rows] * (len(rows) / (len(sizes) * sizes))[part]
    measure = Smooth(
        value=mean_per_class_recall(credit[rows], part),
        influence=f"{name}_influence",
        weighted_column=f"{name}_weighted",
        unit="fraction",
        chance=None if chance is None else mean_per_class_recall(chance[rows], part),
        higher_is_better=True,
        most_trials=trials_of_means(np.bincount(part, credit[rows]) / sizes, sizes),
    )
    return columns, measure


def _column(table: Mapping[str, np.ndarray], name: str, like: np.ndarray) -> np.ndarray:
    if name in table:
        return table[name]
    size = len(table["sample_id"])
    if like.dtype == object:
        return np.full(size, "", object)
    return np.full(size, -1, like.dtype) if np.issubdtype(like.dtype, np.integer) else np.full(size, np.nan)
