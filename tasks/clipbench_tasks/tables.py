"""Tables of samples, the nearest items to the failures that a report lists, and the measures and curves that several
tasks have.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from math import isnan
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from clipbench.data.dataset import Dataset
from clipbench.errors import UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.classification import mean_per_class_recall, recall_influence
from clipbench.metrics.geometry import Estimate, GapNoise
from clipbench.metrics.ranking import Answers, expected_rank
from clipbench.metrics.similarity import nearest
from clipbench.results.metric_name import over_rule
from clipbench.results.numbers import count
from clipbench.results.record import Curve, CurveRole
from clipbench.results.shown_samples import NEAREST, worst
from clipbench.stats.distances import distance_interval
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.intervals import mean_interval, trials_of_means
from clipbench.stats.measures import ClusteredValues, Fixed, Mean, Measure, Smooth, undefined

Table = dict[str, np.ndarray]
"""Columns by name."""
Curves = dict[str, Curve]
"""Curves by name."""
SeriesStyles = Mapping[str, tuple[str, CurveRole]]
"""Name and role of curves."""
Cutoffs = tuple[int, ...]
"""Numbers k of first items, as in recall@k."""
Vectors = Float32[np.ndarray, "_ dim"]
Column = Float64[np.ndarray, " _"]
Columns = dict[str, Column]
"""Columns of numbers by name."""
Rows = Int64[np.ndarray, " _"]
"""Numbers of rows, of images or classes for example."""
Mask = Bool[np.ndarray, " _"]
Item = TypeVar("Item")
CERTAIN = 1 - 1e-9
"""A value by chance from which on no model can miss."""


def captions_of(dataset: Dataset) -> tuple[Sequence[str], Rows]:
    """Return the captions of data that has some, and the row of the image of each."""
    assert dataset.captions is not None and dataset.caption_image is not None, dataset.id
    return dataset.captions, dataset.caption_image


def labels_of(dataset: Dataset) -> tuple[Rows, Sequence[str]]:
    """Return the class of each image of data that has labels, and the class names."""
    assert dataset.labels is not None and dataset.class_names is not None, dataset.id
    return dataset.labels, dataset.class_names


def text_column(texts: Iterable[str]) -> np.ndarray:
    """Return a column of texts, each of which takes only its own length, as strings of one width would not."""
    return np.array([*texts], object)


def items_at(items: Sequence[Item], rows: Rows) -> list[Item]:
    """Return the items of some rows."""
    return [items[row] for row in rows.tolist()]


def count_range(numbers: Rows) -> str:
    """Return the smallest and the largest of some numbers in words, or the one that all are."""
    fewest, most = int(numbers.min()), int(numbers.max())
    return count(fewest) if fewest == most else f"{count(fewest)} to {count(most)}"


def cosine_columns(answers: Answers, margin: str) -> Columns:
    """Return the scores of each query's best right item and of its first item, and the lead of the right one.

    Args:
        answers: of the queries.
        margin: name of the column of the lead.
    """
    right, chosen = answers.right_score.astype(np.float64), answers.first_score.astype(np.float64)
    return {"target_cosine": right, "predicted_cosine": chosen, margin: right - chosen}


def check_cutoffs(task: str, name: str, numbers: Cutoffs) -> None:
    """Raise UsageError unless there are numbers, all of them from 1 up."""
    if not numbers or min(numbers) < 1:
        raise UsageError(f"task {task}: {name} = {list(numbers)}, expected numbers from 1 up")


def stack_tables(*tables: Samples) -> Table:
    """Return one table with the rows of several tables of samples. A table without columns has no rows.

    A column that a table lacks is NaN in its rows, "" if it holds text, and -1 if it holds row numbers.

    Example:
        >>> first, second = {"sample_id": np.array(["a"], object), "x": np.ones(1)}, {"sample_id": np.array(["b"])}
        >>> table = stack_tables(first, second)
        >>> table["sample_id"].tolist(), table["x"].tolist()
        (['a', 'b'], [1.0, nan])
    """
    filled = [table for table in tables if table]
    prototypes = _merged(filled)
    stacked = {}
    for name, prototype in prototypes.items():
        stacked[name] = np.concatenate([_column(table, name, prototype) for table in filled])
    return stacked


def _column(table: Samples, name: str, prototype: np.ndarray) -> np.ndarray:
    if name in table:
        return table[name]
    size = len(table["sample_id"])
    if prototype.dtype == object:
        return np.full(size, "", object)
    if np.issubdtype(prototype.dtype, np.integer):
        return np.full(size, -1, prototype.dtype)
    return np.full(size, np.nan)


def _merged(mappings: Iterable[Mapping[str, Item]]) -> dict[str, Item]:
    merged: dict[str, Item] = {}
    for mapping in mappings:
        merged.update(mapping)
    return merged


def join_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluations of several questions, whose metrics have different names, as one."""
    return Evaluation(
        samples=stack_tables(*(part.samples for part in parts)),
        measures=_merged(part.measures for part in parts),
        baselines=_merged(part.baselines for part in parts),
        curves=_merged(part.curves for part in parts),
        neighbours=stack_tables(*(part.neighbours for part in parts)),
        lists=_merged(part.lists for part in parts),
        notes=tuple(chain.from_iterable(part.notes for part in parts)),
        inputs=_merged(part.inputs for part in parts),
    )


def sample_rows(rows: Rows, at_most: int, rng: np.random.Generator) -> Rows:
    """Return a seeded sample of rows in their order, or all rows if there are at most ``at_most``."""
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def column_at_rows(values: np.ndarray, rows: np.ndarray, n: int) -> Column:
    """Return a column of n rows with values in some rows, given by number or mask, and NaN in all others."""
    column = np.full(n, np.nan)
    column[rows] = values
    return column


def split_by_subset(subset: np.ndarray, columns: Columns) -> Table:
    """Return the columns per subset in which they are defined, named like their metric, with NaN for other samples."""
    parts = {}
    for subset_name in dict.fromkeys(subset.tolist()):
        is_of_subset = subset == subset_name
        prefix = f"{subset_name}/" if subset_name else ""
        for name, column in columns.items():
            parts[f"{prefix}{name}"] = np.where(is_of_subset, column, np.nan)
    return defined_columns(parts)


def defined_columns(columns: Columns) -> Columns:
    """Return the columns that any sample has a value in."""
    return {name: column for name, column in columns.items() if not np.isnan(column).all()}


class QuerySet(NamedTuple):
    """The queries of a search."""

    ids: Sequence[str]
    vectors: Vectors
    """Unit vectors."""
    groups: Rows
    """Group of each query: right items have the same."""
    left_out: Sequence[Rows] | None = None
    """Rows of the items that each query ignores, such as itself."""


class SearchedItems(NamedTuple):
    """The items that queries search among."""

    vectors: Vectors
    """Unit vectors."""
    groups: Rows
    texts: Sequence[str]
    """A class, a caption, or the caption of an image, empty if it has none."""
    images: Rows | None = None
    """Rows of the items' images."""


IsRight = Callable[[Rows, Rows], Mask]
"""Marks right items by the rows of queries and items, instead of by equal groups."""


def neighbours(
    queries: QuerySet, items: SearchedItems, *, margin: Column, is_failure: Mask, is_right: IsRight | None = None
) -> Table:
    """Return ``Evaluation.neighbours`` of the worst failures: one row per nearby item, the nearest first.

    Example:
        >>> vectors, rows = np.eye(2, dtype=np.float32), np.arange(2)
        >>> queries = QuerySet(["a", "b"], vectors[::-1].copy(), rows)
        >>> items = SearchedItems(vectors, rows, ["cat", "dog"])
        >>> table = neighbours(queries, items, margin=np.array([-1.0, 0.5]), is_failure=np.array([True, False]))
        >>> [table[name].tolist() for name in ("sample_id", "text", "cosine", "is_right")]
        [['a', 'a'], ['dog', 'cat'], [1.0, 0.0], [False, True]]
    """
    rows = worst(margin, is_failure)
    left_out = None if queries.left_out is None else items_at(queries.left_out, rows)
    nearest_rows, scores = nearest(queries.vectors[rows], items.vectors, NEAREST, without=left_out)
    n_nearest = nearest_rows.shape[1]
    item, query = nearest_rows.ravel(), np.repeat(rows, n_nearest)
    right = items.groups[item] == queries.groups[query] if is_right is None else is_right(query, item)
    return {
        "sample_id": text_column(items_at(queries.ids, query)),
        "rank": np.tile(np.arange(1, n_nearest + 1), len(rows)),
        "text": text_column(items_at(items.texts, item)),
        "image": np.full(len(item), -1) if items.images is None else items.images[item],
        "cosine": scores.ravel().astype(np.float64),
        "is_right": right,
    }


def neighbours_of_answers(
    queries: QuerySet, answers: Answers, items: SearchedItems, is_right: IsRight | None = None
) -> Table:
    """Return ``neighbours`` of the queries of a search that failed by the widest margins."""
    margin = answers.right_score.astype(np.float64) - answers.first_score
    is_failure = expected_rank(answers.ranks) > 1
    return neighbours(queries, items, margin=margin, is_failure=is_failure, is_right=is_right)


def tie_rate(is_tied: Mask) -> Fixed:
    """Return the fraction of queries whose right item ties with a wrong one."""
    reason = "no interval: similar items tie together, so samples are not independent"
    return Fixed(value=float(is_tied.mean()), n=len(is_tied), reason=reason)


def lead_over_rule(metric: str, rule: str) -> Mean:
    """Return the mean lead of a metric over a rule that ignores the input, 0 where the model is as good as the rule.

    Args:
        metric: whose ``over_rule`` names the column of differences per sample.
        rule: in words, such as ``always answering 'dress'``.
    """
    return Mean(column=over_rule(metric), unit="difference", chance=0.0, limit=rule)


def smooth_measure(name: str, estimate: Estimate, samples: Table, unit: str) -> Measure:
    """Return an estimate over pairs as a measure, and add its influences to the samples. NaN is undefined."""
    if isnan(estimate.value):
        return undefined("it needs at least two pairs that are not all equal", unit)
    samples[f"{name}_influence"] = estimate.influence
    return Smooth(value=estimate.value, influence=f"{name}_influence", unit=unit)


def gap_measure(gap: Estimate, noise: GapNoise, samples: Table, prefix: str = "") -> Smooth:
    """Return the gap of two modalities, with the gap of pure noise as chance, and add its influences to the samples.

    Args:
        gap: the distance of the two means.
        noise: the noise of the same pairs.
        samples: columns of the pairs, which are added to.
        prefix: the beginning of the columns' names.
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
    """Return the mean over parts, such as classes, of their samples' mean credit, and the columns behind it.

    A bootstrap leaves out whole parts where each has a sample or two: its intervals cover the truth too rarely.

    Args:
        name: beginning of the columns' names.
        credit: in [0, 1], NaN for samples that are left out, of which there are others.
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
    defined_credit = credit[rows]
    values = {"influence": recall_influence(defined_credit, part), "credit": defined_credit, "part": part}
    columns = {f"{name}_{kind}": column_at_rows(column, rows, len(credit)) for kind, column in values.items()}
    mean_of_part = np.bincount(part, defined_credit) / sizes
    measure = Smooth(
        value=mean_per_class_recall(defined_credit, part),
        influence=f"{name}_influence",
        statistic=Estimator("mean_over_parts", (f"{name}_credit", f"{name}_part")),
        unit="fraction",
        chance=None if chance is None else mean_per_class_recall(chance[rows], part),
        higher_is_better=True,
        most_trials=trials_of_means(mean_of_part, sizes),
    )
    return columns, measure


def curve_of_means(x: Iterable[float], parts: Sequence[ClusteredValues], **facts: Any) -> Curve:
    """Return the mean at each point with its interval, from the point's values and their clusters, if any.

    The values are credits, so that the curve has the unit "fraction".

    Args:
        facts: other fields of the curve, such as ``x_label`` and ``figure``.
    """
    y = [float(values.mean()) for values, _ in parts]
    bounds = [mean_interval(values, clusters=clusters)[:2] for values, clusters in parts]
    return bounded_curve(x, y, bounds, unit="fraction", **facts)


Bounds = Sequence[tuple[float | None, float | None]]


def bounded_curve(x: Iterable[float], y: Sequence[float], bounds: Bounds, **facts: Any) -> Curve:
    """Return a curve with its bounds, or without them if any point has none."""
    lows = [low for low, _ in bounds if low is not None]
    highs = [high for _, high in bounds if high is not None]
    if len(lows) == len(highs) == len(bounds):
        return Curve(x=list(x), y=list(y), low=lows, high=highs, **facts)
    return Curve(x=list(x), y=list(y), low=None, high=None, **facts)
