"""Several modalities: matrices of gap, cosines, recall and separability, and a flat map of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.errors import UsageError
from clipbench.results import numbers as fmt
from clipbench.results.even_spacing import MAX_POINTS, evenly_spaced
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Dots, Mark, Panel, Role, Threads
from clipbench_reports.drawing.models import Statement, beside, chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._gap import MAX_LINES, PROJECTIONS, Flat, plane
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

CONE, DRAWN_BY_PAIR, BY_DIRECTION = "cone", ("gap", "pair_cosine", "separability"), "recall@1"
MAX_BOUNDED, MAX_WRITTEN = 3, 6
"""Modalities up to which the cells have their intervals, and their values, written in them."""
MOST_LETTERS = 26
"""Letters of all names together up to which they stand beside each other below a matrix."""
NAME_LENGTH = 14
FULL = 0.44
"""Darkest shade: what is written on it is read on a light and on a dark page."""
ROLES: tuple[Role, ...] = ("m1", "m2", "m3", "m4", "m5", "m0")
OF_IMAGES_AND_TEXTS = "gap-axis"
"""The projection that is of two modalities only."""


class Matrix(NamedTuple):
    """One measure of every two modalities, or models, a row and a column for each."""

    title: str
    metrics: Mapping[tuple[int, int], Metric]
    """By row and column; what is not there, or undefined, stays blank."""
    depth: Callable[[float], float]
    """From a value to its shade, 0 to 1."""


def modality_matrices(models: Sequence[ModelEvidence]) -> Chart:
    """Return gap, cosines, recall@1 and separability of every two modalities, a matrix each.

    Raises:
        MissingEvidence: no run has the metrics of two modalities.
    """
    by_model = read_each(models, _metrics)
    is_bounded = any(len(modalities(metrics)) <= MAX_BOUNDED for metrics in by_model.all)
    bounded = (
        " Brackets, where they fit, hold 95 % intervals, each by itself: of many, about one in twenty misses."
        if is_bounded
        else ""
    )
    return chart(
        [beside(by_model.map(_panels), by_model, keys=_TITLES)],
        by_model.map(lambda metrics: _state(modalities(metrics), metrics)),
        by_model,
        n_columns=2,
        reading="Gap: the distance between the mean vectors of two modalities. Cosines: of matched pairs, and on the "
        "diagonal of two different items of the modality. R@1: the share of the row’s items whose partner in the column "
        "comes first. Separability: how often a linear classifier tells the two apart, 50 % by chance." + bounded,
    )


def modality_map(models: Sequence[ModelEvidence], *, projection: str = "pca", seed: int = 0) -> Chart:
    """Return the items of all modalities as points of one plane.

    Args:
        projection: one of ``PROJECTIONS``, of which ``gap-axis`` takes two modalities only.
        seed: of UMAP; the others have no chance in them.

    Raises:
        MissingEvidence: no run kept vectors of two items or more that are not all equal.
    """
    by_model = read_each(models, lambda evidence: _cloud(evidence, projection, seed))
    empty = plane([cloud.flat for cloud in by_model.all])
    return chart(
        [beside(by_model.map(lambda cloud: [replace(empty, marks=_dots(cloud))]), by_model)],
        by_model.map(_state_map),
        by_model,
        reading=by_model.all[0].flat.reading,
    )


def modalities(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the names of the modalities that an evaluation has metrics of."""
    return [name.removesuffix(f"/{CONE}") for name in metrics if name.endswith(f"/{CONE}")]


def _metrics(evidence: Evidence) -> Mapping[str, Metric]:
    metrics = evidence.evaluation.metrics
    if len(modalities(metrics)) < 2:
        raise MissingEvidence("the run has no metrics of two modalities")
    return metrics


def _matrices(names: Sequence[str], metrics: Mapping[str, Metric]) -> list[Matrix]:
    def of_pairs(kind: str) -> dict[tuple[int, int], Metric]:
        found: dict[tuple[int, int], Metric] = {}
        for row, first in enumerate(names):
            for column in range(row + 1, len(names)):
                metric = metrics.get(f"{first}-{names[column]}/{kind}")
                found |= {} if metric is None else {(row, column): metric, (column, row): metric}
        return found

    cones = {(row, row): metrics[f"{name}/{CONE}"] for row, name in enumerate(names)}
    directed = {
        (row, column): metrics[f"{source}-to-{target}/{BY_DIRECTION}"]
        for row, source in enumerate(names)
        for column, target in enumerate(names)
        if f"{source}-to-{target}/{BY_DIRECTION}" in metrics
    }
    gap, cosine, separability = map(of_pairs, DRAWN_BY_PAIR)
    return [
        Matrix(_TITLES[0], gap, lambda value: value / 2),
        Matrix(_TITLES[1], cosine | cones, lambda value: value),
        Matrix(_TITLES[2], directed, lambda value: value**0.5),
        Matrix(_TITLES[3], separability, lambda value: 2 * value - 1),
    ]


def _panels(metrics: Mapping[str, Metric]) -> list[Panel]:
    names = modalities(metrics)
    return matrix_panels([name.replace("_", " ") for name in names], _matrices(names, metrics))


_TITLES = ("Gap", "Cosine", "R@1, %", "Separability, %")


def matrix_panels(names: Sequence[str], matrices: Sequence[Matrix]) -> list[Panel]:
    """Return a panel for each matrix, with the names of its rows, which are those of its columns."""
    words = [shorten(name, NAME_LENGTH) for name in names]
    n, ticks = len(names), [place + 0.5 for place in range(len(names))]
    is_turned = sum(map(len, words)) > MOST_LETTERS
    return [
        Panel(
            title=matrix.title,
            x=Axis(low=0, high=n, ticks=ticks, names=words, is_turned=is_turned),
            y=Axis(low=n, high=0, ticks=ticks, names=words),
            marks=[_cells(matrix, words)],
            aspect=0.8,
            has_grid=False,
        )
        for matrix in matrices
    ]


def _cells(matrix: Matrix, names: Sequence[str]) -> Cells:
    n = len(names)
    values, depths = np.full((n, n), np.nan), np.zeros((n, n))
    written = []
    for (row, column), metric in matrix.metrics.items():
        if metric.value is None:
            continue
        values[row, column] = metric.value
        depths[row, column] = FULL * min(1.0, max(0.0, matrix.depth(metric.value)))
        written += [(row, column, _written(metric, has_bounds=n <= MAX_BOUNDED))] if n <= MAX_WRITTEN else []
    is_percent = matrix.title.endswith("%")
    return Cells(
        depths=depths, values=values, is_percent=is_percent, names=(names, names), words=written, name=matrix.title
    )


def _written(metric: Metric, *, has_bounds: bool) -> str:
    """Return a value as it fits into a cell, and its interval on a second line."""
    value, low, high = (
        "" if each is None else fmt.percent(each) if metric.unit == "fraction" else f"{each:.2f}".replace("-", "−")
        for each in (metric.value, metric.low, metric.high)
    )
    return f"{value}\n[{low}, {high}]" if has_bounds and low and high else value


def _state(names: Sequence[str], metrics: Mapping[str, Metric]) -> Statement:
    """Return the range of gaps, and recall over all directions; of two modalities, the gap."""
    gaps = [metric.value for name, metric in metrics.items() if name.endswith("/gap") and metric.value is not None]
    recall = metrics.get("mean_recall@1")
    found = "" if recall is None or recall.value is None else f"{fmt.percent(recall.value)} %"
    said = [f"{_listed(linked(names, metrics))}:", _range(gaps)] if gaps else [f"{_listed(names)}: no pairs, no gap"]
    title = " ".join(said) + (f"; mean R@1 over all directions {found}" if found else "")
    detail = "; ".join(
        f"{matrix.title}: "
        + ", ".join(
            f"{names[row]} and {names[column]} {fmt.number(metric.value, metric.unit)}"
            for (row, column), metric in matrix.metrics.items()
            if metric.value is not None and (row <= column or matrix.title == _TITLES[2])
        )
        for matrix in _matrices(names, metrics)
    )
    return Statement(title=f"{title}.", subject="Mean R@1 over all directions", value=found, detail=f"{detail}.")


def linked(names: Sequence[str], metrics: Mapping[str, Metric]) -> list[str]:
    """Return the modalities that have a gap to another, so partners there; all where none has one."""
    with_gap = {name.removesuffix("/gap") for name, metric in metrics.items() if metric.value is not None}
    pairs = [(first, second) for first in names for second in names if f"{first}-{second}" in with_gap]
    return [name for name in names if any(name in pair for pair in pairs)] or list(names)


def _range(gaps: Sequence[float]) -> str:
    if len(gaps) == 1:
        return f"a gap of {fmt.number(gaps[0], 'distance')}"
    return f"gaps of {fmt.number(min(gaps), 'distance')} to {fmt.number(max(gaps), 'distance')}"


def _listed(names: Sequence[str]) -> str:
    words = [name.replace("_", " ") for name in names]
    text = f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{text[:1].upper()}{text[1:]}"


class _Cloud(NamedTuple):
    """Items of several modalities on a plane."""

    flat: Flat
    names: list[str]
    rows: list[np.ndarray]
    """The group of each item, by modality."""
    ids: list[str]
    """The name of each group."""


def _cloud(evidence: Evidence, projection: str, seed: int) -> _Cloud:
    all_names = modalities(_metrics(evidence))
    vectors = [_vectors(evidence, name) for name in all_names]
    if len({len(own) for own in vectors}) > 1 or len({own.shape[1] for own in vectors}) > 1:
        raise evidence.damaged(f"arrays {', '.join(map(quoted, all_names))} of different shapes")
    chosen = np.array(evenly_spaced(len(vectors[0]), MAX_POINTS), np.int64)
    drawn = [(name, chosen[~np.isnan(own[chosen, 0])], own) for name, own in zip(all_names, vectors, strict=True)]
    drawn = [each for each in drawn if len(each[1])]  # a run keeps no item of a modality without partners
    names, rows = [name for name, *_ in drawn], [kept for _, kept, _ in drawn]
    if projection == OF_IMAGES_AND_TEXTS and len(names) > 2:
        raise UsageError(f"--projection {projection}: it lays out two modalities, and there are {len(names)}")
    stack = np.concatenate([np.zeros((0, vectors[0].shape[1])), *(own[kept] for _, kept, own in drawn)])
    if len(stack) < 2:
        raise MissingEvidence(f"the run kept {fmt.counted(len(stack), 'vector')}, expected two or more")
    ids = evidence.array("group_id") if evidence.has_array("group_id") else np.arange(len(vectors[0]))
    if ids.shape != (len(vectors[0]),):
        raise evidence.damaged(f"{len(vectors[0])} groups, and the array {quoted('group_id')} of shape {ids.shape}")
    return _Cloud(_of_all(PROJECTIONS[projection](stack, seed), names), names, rows, ids.astype(str).tolist())


def _vectors(evidence: Evidence, name: str) -> Float32[np.ndarray, "n dim"]:
    """Return the kept vectors of a modality, NaN where a group has no item of it."""
    array = evidence.array(name)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise evidence.damaged(f"the array {quoted(name)} is no matrix of numbers")
    if not np.isfinite(array[~np.isnan(array[:, 0])]).all():
        raise evidence.damaged(f"the array {quoted(name)} is no matrix of finite numbers")
    return array.astype(np.float32)


def _of_all(flat: Flat, names: Sequence[str]) -> Flat:
    """Return a projection whose words are of these modalities, in place of images and texts."""
    listed = _listed(names)
    small = f"{listed[:1].lower()}{listed[1:]}"

    def said(words: str) -> str:
        return words.replace("Images and texts", listed).replace("images and texts", small)

    statement = flat.statement._replace(title=said(flat.statement.title), subject=said(flat.statement.subject))
    return flat._replace(statement=statement, reading=said(flat.reading))


def _dots(cloud: _Cloud) -> list[Mark]:
    marks: list[Mark] = []
    places = _places(cloud)
    if len(cloud.names) == 2:
        (of_first, first), (of_second, second) = zip(cloud.rows, places, strict=True)
        _, left, right = np.intersect1d(of_first, of_second, return_indices=True)
        joined = evenly_spaced(len(left), MAX_LINES)
        marks.append(Threads(starts=first[left[joined]], ends=second[right[joined]], name="pair"))
    others = iter(ROLES * len(cloud.names))
    for name, rows, points in zip(cloud.names, cloud.rows, places, strict=True):
        role: Role = "image" if name == "image" else "text" if name == "text" else next(others)
        ids = [cloud.ids[row] for row in rows.tolist()]
        words = name.replace("_", " ")
        marks.append(
            Dots(xs=points[:, 0].tolist(), ys=points[:, 1].tolist(), role=role, name=words, ids=ids, is_dense=True)
        )
    return marks


def _places(cloud: _Cloud) -> list[Float64[np.ndarray, "n 2"]]:
    return np.split(cloud.flat.places, np.cumsum([len(rows) for rows in cloud.rows])[:-1])


def _state_map(cloud: _Cloud) -> Statement:
    counts = ", ".join(f"{fmt.count(len(rows))} of {name}" for name, rows in zip(cloud.names, cloud.rows, strict=True))
    joined = " A grey line joins two that belong together." if len(cloud.names) == 2 else ""
    reading = " ".join(filter(None, [cloud.flat.statement.reading, f"Items drawn: {counts}.{joined}"]))
    return cloud.flat.statement._replace(detail=f"Scatter of vectors of {', '.join(cloud.names)}.", reading=reading)
