"""Tables of samples, the nearest items to the failures that a report lists, and the measures and curves that several
tasks have.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from clipbench.evaluation.task import Evaluation
from clipbench.metrics.classification import mean_per_class_recall, recall_influence
from clipbench.metrics.geometry import Estimate, GapNoise
from clipbench.metrics.ranking import Answers, expected_rank
from clipbench.metrics.similarity import nearest
from clipbench.results.record import Curve
from clipbench.results.shown_samples import NEAREST, worst
from clipbench.stats.distances import distance_interval
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import mean_interval, trials_of_means
from clipbench.stats.measures import Fixed, Measure, Smooth

Table = dict[str, np.ndarray]
"""Columns by name."""
Vectors = Float32[np.ndarray, "_ dim"]
Column = Float64[np.ndarray, " _"]
Rows = Int64[np.ndarray, " _"]
"""Numbers of rows, of images or classes for example."""
Mask = Bool[np.ndarray, " _"]
CERTAIN = 1 - 1e-9
"""A value by chance from which on no model can miss."""


def stacked(*tables: Mapping[str, np.ndarray]) -> Table:
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


def _column(table: Mapping[str, np.ndarray], name: str, like: np.ndarray) -> np.ndarray:
    if name in table:
        return table[name]
    size = len(table["sample_id"])
    if like.dtype == object:
        return np.full(size, "", object)
    return np.full(size, -1, like.dtype) if np.issubdtype(like.dtype, np.integer) else np.full(size, np.nan)


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluations of several questions, whose metrics have different names, as one."""
    return Evaluation(
        samples=stacked(*(part.samples for part in parts)),
        measures={name: measure for part in parts for name, measure in part.measures.items()},
        controls={name: measure for part in parts for name, measure in part.controls.items()},
        curves={name: curve for part in parts for name, curve in part.curves.items()},
        neighbours=stacked(*(part.neighbours for part in parts)),
        notes=tuple(note for part in parts for note in part.notes),
    )


def sampled(rows: Rows, at_most: int, rng: np.random.Generator) -> Rows:
    """Return a seeded sample of rows in their order, or all where they are no more."""
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def at_rows(values: np.ndarray, rows: np.ndarray, n: int) -> Column:
    """Return a column of n rows that has values in some, by number or by mask, and NaN in the others."""
    column = np.full(n, np.nan)
    column[rows] = values
    return column


def by_subset(subset: np.ndarray, columns: Mapping[str, Column]) -> Table:
    """Return each column for each subset in which it is defined, named like its metric, with NaN for the other
    samples.
    """
    parts = {
        f"{name_of_subset}/{name}" if name_of_subset else name: np.where(subset == name_of_subset, column, np.nan)
        for name_of_subset in dict.fromkeys(subset.tolist())
        for name, column in columns.items()
    }
    return {name: part for name, part in parts.items() if not np.isnan(part).all()}


class Asked(NamedTuple):
    """Queries."""

    ids: Sequence[str]
    vectors: Vectors
    """Unit vectors."""
    groups: Rows
    """Group of each: what is right has the same."""
    left_out: Sequence[Rows] | None = None
    """The rows of the items that each does not look for, such as itself."""


class Items(NamedTuple):
    """Those that were looked for."""

    vectors: Vectors
    """Unit vectors."""
    groups: Rows
    texts: Sequence[str]
    """A class, a caption, or that of an image; empty where it has none."""
    images: Rows | None = None
    """Rows of the images that they are."""


IsRight = Callable[[Rows, Rows], Mask]
"""Says of the rows of queries and items which items are right, in place of equal groups."""


def neighbours(
    asked: Asked, items: Items, *, margin: Column, is_failure: Mask, is_right: IsRight | None = None
) -> Table:
    """Return ``Evaluation.neighbours`` of the worst failures: a row for each of the nearest items of each, the nearest
    first.

    Example:
        >>> vectors, rows = np.eye(2, dtype=np.float32), np.arange(2)
        >>> asked, items = Asked(["a", "b"], vectors[::-1].copy(), rows), Items(vectors, rows, ["cat", "dog"])
        >>> table = neighbours(asked, items, margin=np.array([-1.0, 0.5]), is_failure=np.array([True, False]))
        >>> [table[name].tolist() for name in ("sample_id", "text", "cosine", "is_right")]
        [['a', 'a'], ['dog', 'cat'], [1.0, 0.0], [False, True]]
    """
    rows = worst(margin, is_failure)
    left_out = None if asked.left_out is None else [asked.left_out[row] for row in rows.tolist()]
    found, scores = nearest(asked.vectors[rows], items.vectors, NEAREST, without=left_out)
    item, query = found.ravel(), np.repeat(rows, found.shape[1])
    return {
        "sample_id": np.array([asked.ids[row] for row in query.tolist()], object),
        "place": np.tile(np.arange(1, found.shape[1] + 1), len(rows)),
        "text": np.array([items.texts[row] for row in item.tolist()], object),
        "image": np.full(len(item), -1) if items.images is None else items.images[item],
        "cosine": scores.ravel().astype(np.float64),
        "is_right": items.groups[item] == asked.groups[query] if is_right is None else is_right(query, item),
    }


def neighbours_of_answers(asked: Asked, answers: Answers, items: Items, is_right: IsRight | None = None) -> Table:
    """Return ``neighbours`` of the queries of a search that failed by the widest margins."""
    margin = answers.right_score.astype(np.float64) - answers.first_score
    is_failure = expected_rank(answers.ranks) > 1
    return neighbours(asked, items, margin=margin, is_failure=is_failure, is_right=is_right)


def tie_rate(is_tied: Mask) -> Fixed:
    """Return the share of queries whose right item ties with a wrong one."""
    reason = "no interval: items that are alike tie together, not one by one"
    return Fixed(value=float(is_tied.mean()), n=len(is_tied), reason=reason)


def smooth(name: str, estimate: Estimate, samples: Table, unit: str) -> Measure:
    """Return an estimate over pairs as a measure, adding its influences to the samples; undefined where it is NaN."""
    if isnan(estimate.value):
        return Fixed(value=None, unit=unit, reason="it needs at least two pairs that are not all equal")
    samples[f"{name}_influence"] = estimate.influence
    return Smooth(value=estimate.value, influence=f"{name}_influence", unit=unit)


def gap_measure(gap: Estimate, noise: GapNoise, samples: Table, prefix: str = "") -> Smooth:
    """Return the gap of two modalities with what no gap would show as chance, and add its influences to the samples.

    Args:
        gap: the distance of the two means.
        noise: of the same pairs.
        samples: columns of the pairs, which are added to.
        prefix: of the names of the columns.
    """
    has_spread = not isnan(noise.standard_error)
    samples[f"{prefix}gap_influence"] = gap.influence
    if has_spread:
        samples[f"{prefix}squared_gap_influence"] = noise.influence
    return Smooth(
        value=gap.value,
        influence=f"{prefix}gap_influence",
        squared_influence=f"{prefix}squared_gap_influence" if has_spread else None,
        unit="distance",
        chance=None if isnan(noise.chance) else noise.chance,
        interval=distance_interval(gap.value, noise.squared_gap, noise.standard_error, len(gap.influence)),
    )


def mean_over_parts(
    name: str,
    credit: Float64[np.ndarray, " n"],
    parts: Shaped[np.ndarray, " n"],
    *,
    chance: Float64[np.ndarray, " n"] | None = None,
) -> tuple[Table, Smooth]:
    """Return the mean over parts, such as classes, of their samples' mean credit, with the columns that it is made
    from.

    A bootstrap leaves out whole parts where each has a sample or two: its intervals cover the truth too rarely.

    Args:
        name: beginning of the columns' names.
        credit: in [0, 1]; NaN for samples that are left out, of which there are others.
        chance: score of a constant model on each sample.

    Example:
        >>> _, recall = mean_over_parts(
        ...     "recall", np.array([1.0, 1.0, 0.0, 0.0]), np.array(["cat", "cat", "cat", "dog"])
        ... )
        >>> recall.value  # (2/3 + 0) / 2
        0.3333333333333333
    """
    rows = np.flatnonzero(~np.isnan(credit))
    _, part, sizes = np.unique(parts[rows], return_inverse=True, return_counts=True)
    columns = {f"{name}_{kind}": np.full(len(credit), np.nan) for kind in ("influence", "credit", "part")}
    columns[f"{name}_influence"][rows] = recall_influence(credit[rows], part)
    columns[f"{name}_credit"][rows], columns[f"{name}_part"][rows] = credit[rows], part
    measure = Smooth(
        value=mean_per_class_recall(credit[rows], part),
        influence=f"{name}_influence",
        statistic=Estimator("mean_over_parts", (f"{name}_credit", f"{name}_part")),
        unit="fraction",
        chance=None if chance is None else mean_per_class_recall(chance[rows], part),
        higher_is_better=True,
        most_trials=trials_of_means(np.bincount(part, credit[rows]) / sizes, sizes),
    )
    return columns, measure


def curve_of_means(x: Iterable[float], parts: Sequence[tuple[np.ndarray, np.ndarray | None]], **facts: Any) -> Curve:
    """Return the mean at each point with its interval, from the values there and their clusters, if they have any.

    Args:
        facts: other fields of the curve, such as ``x_label`` and ``figure``.
    """
    y = [float(values.mean()) for values, _ in parts]
    return bounded_curve(x, y, [mean_interval(values, clusters=clusters)[:2] for values, clusters in parts], **facts)


Bounds = Sequence[tuple[float | None, float | None]]


def bounded_curve(x: Iterable[float], y: Sequence[float], bounds: Bounds, **facts: Any) -> Curve:
    """Return a curve with its bounds, or without them where any point has none."""
    low, high = ([bound[side] for bound in bounds if bound[side] is not None] for side in (0, 1))
    is_bounded = len(low) == len(high) == len(bounds)
    return Curve(x=list(x), y=list(y), low=low if is_bounded else None, high=high if is_bounded else None, **facts)
