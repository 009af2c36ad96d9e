"""Flat maps of the space that images and texts, or other modalities, share or do not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.errors import UsageError, option
from clipbench.results import numbers as fmt
from clipbench.results.shown_samples import MAX_POINTS, evenly_spaced
from clipbench_reports.drawing.facets import Statement, chart, side_by_side
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Mark, Panel, Role, Threads, nice_axis
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.matrices import metrics_of, modalities, modality_list
from clipbench_reports.text import quoted

ROLES: tuple[Role, ...] = ("m1", "m2", "m3", "m4", "m5", "m0")
OF_IMAGES_AND_TEXTS = "gap-axis"
"""The projection that is of two modalities only."""
MAX_LINES = 150
"""Pairs that are joined by a line, of those that are drawn: evenly spread over them."""
NEIGHBOURS, MIN_DISTANCE = 15, 0.1
"""Parameters of UMAP, its own defaults."""

Vectors = Float64[np.ndarray, "n dim"]


class Flat(NamedTuple):
    """Coordinates on a plane of all images, then all texts, and the words about that plane."""

    coordinates: Float64[np.ndarray, "n 2"]
    axes: tuple[str, str]
    statement: Statement
    reading: str
    is_to_scale: bool = True


def gap(models: Models, *, projection: str = "pca", seed: int = 0) -> Chart:
    """Return images and texts as points of a plane, with lines between pairs.

    Args:
        projection: one of ``PROJECTIONS``.
        seed: of UMAP; the others have no chance in them.
    """

    def read(evidence: Evidence) -> _Cloud:
        images, texts, ids = _pairs(evidence)
        flat = PROJECTIONS[projection](np.concatenate([images, texts]), seed)
        return _Cloud(flat, ["image", "text"], 2 * [np.arange(len(ids))], ids)

    return _map(read_each(models, read), _pairs_drawn)


class _Cloud(NamedTuple):
    flat: Flat
    names: list[str]
    rows: list[np.ndarray]
    """The group of each item, by modality."""
    ids: list[str]
    """The name of each group."""


def _pairs(evidence: Evidence) -> tuple[Vectors, Vectors, list[str]]:
    """Return the kept unit vectors of images and of their texts, and the ids of the pairs."""
    images, texts = evidence.matrix("images"), evidence.matrix("texts")
    if images.shape != texts.shape or len(images) < 2:
        raise MissingEvidence(
            f"the kept vectors of images and texts have shapes {images.shape} and {texts.shape}, expected equal shapes"
            " and two or more pairs"
        )
    rows = evenly_spaced(len(images), MAX_POINTS)
    return images[rows], texts[rows], _ids(evidence, "pair_id", len(images), "pairs")[rows].astype(str).tolist()


def _ids(evidence: Evidence, name: str, n: int, noun: str) -> np.ndarray:
    """Return the kept ids of pairs or groups, or their numbers if the run kept none."""
    ids = evidence.array(name) if evidence.has_array(name) else np.arange(n)
    if ids.shape != (n,):
        raise evidence.damaged(
            f"the array {quoted(name)} has shape {ids.shape}, expected one id for each of the {n} {noun}"
        )
    return ids


def _map(clouds: ByModel[_Cloud], describe: Callable[[_Cloud], str]) -> Chart:
    """Return clouds on a plane that holds the points of all models, with the words on each cloud."""
    flats = [cloud.flat for cloud in clouds.all]
    plane = Panel(
        x=_axis(flats, 0),
        y=_axis(flats, 1),
        aspect=max(map(_aspect, flats)),
        is_to_scale=flats[0].is_to_scale,
        has_grid=False,
    )
    parts = side_by_side(clouds.map(lambda cloud: [replace(plane, marks=_dots(cloud))]))
    statements = clouds.map(lambda cloud: _with_reading(cloud.flat.statement, describe(cloud)))
    return chart([parts], statements, reading=flats[0].reading)


def _with_reading(statement: Statement, reading: str) -> Statement:
    return statement._replace(reading=" ".join(filter(None, [statement.reading, reading])))


def _pairs_drawn(cloud: _Cloud) -> str:
    n_joined = len(evenly_spaced(len(cloud.ids), MAX_LINES))
    return (
        f"{fmt.count(len(cloud.ids))} pairs. A grey line joins an image and its text, "
        f"for {fmt.count(n_joined)} of them."
    )


def _axis(flats: Sequence[Flat], dimension: int) -> Axis:
    """Return an axis that ends a little beyond the points, with round marks where it is to scale."""
    values = np.concatenate([flat.coordinates[:, dimension] for flat in flats])
    low, high = float(values.min()), float(values.max())
    room = 0.03 * (high - low) or 1.0
    axis = Axis(low=low - room, high=high + room, label=flats[0].axes[dimension])
    if not flats[0].is_to_scale:
        return axis
    round_ticks = nice_axis([low, high], n_steps=4).ticks
    return replace(axis, ticks=[tick for tick in round_ticks if axis.low <= tick <= axis.high])


def _aspect(flat: Flat) -> float:
    """Return the aspect of the plane: the aspect of the cloud, within limits."""
    wide, high = np.ptp(flat.coordinates, axis=0)
    return float(np.clip(high / max(wide, 1e-12), 0.6, 1.0)) if flat.is_to_scale else 0.75


def _pca(vectors: Vectors, seed: int) -> Flat:
    """Project on the two directions in which all vectors together vary most."""
    return _two_directions(
        vectors - vectors.mean(axis=0),
        "First principal component",
        "Fraction of all variation of images and texts that two directions hold",
        "Principal components of images and texts together. Two separate clouds are a modality gap, and its length in "
        "the full space is the metric gap.",
    )


def _svd(vectors: Vectors, seed: int) -> Flat:
    """Project on the two first right singular vectors, nothing subtracted."""
    return _two_directions(
        vectors,
        "First singular direction",
        "Fraction of the squared length of images and texts that two singular directions hold",
        "Singular value decomposition of images and texts together, nothing subtracted, both axes to the same scale.",
    )


def _two_directions(vectors: Vectors, first_axis: str, subject: str, reading: str) -> Flat:
    coordinates, shares = _components(vectors)
    statement = Statement(subject, f"{fmt.percent(sum(shares))} %")
    return Flat(coordinates, (first_axis, "Second"), statement, reading)


def _gap_axis(vectors: Vectors, seed: int) -> Flat:
    """Put the gap vector on x and the first principal component of the rest on y."""
    half = len(vectors) // 2
    difference = vectors[half:].mean(axis=0) - vectors[:half].mean(axis=0)
    length = float(np.linalg.norm(difference))
    if length < 1e-9:
        raise MissingEvidence("the means of images and texts are equal, so the gap vector has no direction for an axis")
    along = vectors @ (difference / length)
    rest = vectors - np.outer(along, difference / length)
    across, shares = _components(rest - rest.mean(axis=0))
    coordinates = np.column_stack([along, across[:, 0]])
    return Flat(
        coordinates,
        ("Along the gap vector", "First component of the rest"),
        Statement(
            subject="Distance of the mean image and the mean text along the gap vector",
            value=fmt.number(length, "distance"),
            reading=f"The first component of the rest holds {fmt.percent(shares[0])} % of its variation.",
        ),
        "Across: the coordinate along the line from the mean image to the mean text of the pairs shown. Upwards: the "
        "first principal component of the rest. Both axes to the same scale.",
    )


def _umap(vectors: Vectors, seed: int) -> Flat:
    import warnings

    if len(vectors) <= NEIGHBOURS:
        raise MissingEvidence(f"UMAP needs more than {NEIGHBOURS} vectors: the run kept {len(vectors)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and umap warn of their own internals
        try:
            import umap
        except ModuleNotFoundError as error:
            raise UsageError(f"{option('projection', 'umap')} needs umap-learn: pip install umap-learn") from error
        model = umap.UMAP(n_neighbors=NEIGHBOURS, min_dist=MIN_DISTANCE, metric="cosine", random_state=seed, n_jobs=1)
        coordinates = np.asarray(model.fit_transform(vectors.astype(np.float32)), np.float64)
    return Flat(
        coordinates,
        ("UMAP 1", "UMAP 2"),
        Statement(
            subject="UMAP of images and texts, by their nearest neighbours",
            value="",
        ),
        f"UMAP fitted to images and texts together ({NEIGHBOURS} neighbours, minimal distance {MIN_DISTANCE}, cosine, "
        f"seed {seed}). Distances in it are not to scale: the distance of two clouds says nothing about the gap.",
        is_to_scale=False,
    )


PROJECTIONS: dict[str, Callable[[Vectors, int], Flat]] = {
    "pca": _pca,
    "svd": _svd,
    "gap-axis": _gap_axis,
    "umap": _umap,
}
"""Ways to lay vectors out on a plane."""


def _components(vectors: Vectors) -> tuple[Float64[np.ndarray, "n 2"], list[float]]:
    """Return the two components of the largest squared length, images to the left, and their fractions of it."""
    squares, directions = np.linalg.eigh(vectors.T @ vectors)
    if squares[-1] <= 1e-12 * len(vectors) or len(squares) < 2:
        raise MissingEvidence("all kept vectors are equal, so there is nothing to map")
    flat = vectors @ directions[:, [-1, -2]]
    # A component's sign is arbitrary: images are on the left, and the first of them is not below the middle.
    half = len(vectors) // 2
    if flat[:half, 0].mean() > flat[half:, 0].mean():
        flat[:, 0] *= -1
    if flat[0, 1] < 0:
        flat[:, 1] *= -1
    total = float(np.maximum(squares, 0).sum())
    return flat, [max(0.0, float(squares[k])) / total for k in (-1, -2)]


def modality_map(models: Models, *, projection: str = "pca", seed: int = 0) -> Chart:
    """Return the items of all modalities as points of one plane.

    Args:
        projection: one of ``PROJECTIONS``, of which ``gap-axis`` takes two modalities only.
        seed: of UMAP; the others have no chance in them.
    """
    return _map(read_each(models, lambda evidence: _read_cloud(evidence, projection, seed)), _items_drawn)


def _read_cloud(evidence: Evidence, projection: str, seed: int) -> _Cloud:
    all_names = modalities(metrics_of(evidence))
    matrices = [_vectors(evidence, name) for name in all_names]
    n_groups, n_dimensions = matrices[0].shape
    if any(matrix.shape != (n_groups, n_dimensions) for matrix in matrices):
        raise evidence.damaged(f"arrays {', '.join(quoted(name) for name in all_names)} of different shapes")
    drawn_groups = np.array(evenly_spaced(n_groups, MAX_POINTS), np.int64)
    names, rows, vectors = list[str](), list[np.ndarray](), [np.zeros((0, n_dimensions))]
    for name, matrix in zip(all_names, matrices, strict=True):
        kept_rows = drawn_groups[~np.isnan(matrix[drawn_groups, 0])]
        if len(kept_rows):  # a run keeps no item of a modality without partners
            names.append(name)
            rows.append(kept_rows)
            vectors.append(matrix[kept_rows])
    if projection == OF_IMAGES_AND_TEXTS and len(names) > 2:
        raise UsageError(f"{option('projection', projection)} maps two modalities: got {len(names)}")
    stack = np.concatenate(vectors)
    if len(stack) < 2:
        raise MissingEvidence(f"the run kept {fmt.counted(len(stack), 'vector')}, expected two or more")
    flat = _with_modality_names(PROJECTIONS[projection](stack, seed), names)
    ids = _ids(evidence, "group_id", n_groups, "groups").astype(str).tolist()
    return _Cloud(flat, names, rows, ids)


def _vectors(evidence: Evidence, name: str) -> Float32[np.ndarray, "n dim"]:
    """Return the kept vectors of a modality, NaN where a group has no item of it."""
    array = evidence.array(name)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise evidence.damaged(f"the array {quoted(name)} is not a matrix of numbers")
    if not np.isfinite(array[~np.isnan(array[:, 0])]).all():
        raise evidence.damaged(f"the array {quoted(name)} is not a matrix of finite numbers")
    return array.astype(np.float32)


def _with_modality_names(flat: Flat, names: Sequence[str]) -> Flat:
    """Return a projection whose words name these modalities instead of images and texts."""
    words = modality_list(names)
    small = f"{words[:1].lower()}{words[1:]}"

    def name_modalities(text: str) -> str:
        return text.replace("Images and texts", words).replace("images and texts", small)

    statement = flat.statement._replace(subject=name_modalities(flat.statement.subject))
    return flat._replace(statement=statement, reading=name_modalities(flat.reading))


def _dots(cloud: _Cloud) -> list[Mark]:
    marks: list[Mark] = []
    ends_of_modalities = np.cumsum([len(rows) for rows in cloud.rows])
    coordinates = np.split(cloud.flat.coordinates, ends_of_modalities[:-1])
    if len(cloud.names) == 2:
        first_rows, second_rows = cloud.rows
        _, left, right = np.intersect1d(first_rows, second_rows, return_indices=True)  # the groups that both have
        joined = evenly_spaced(len(left), MAX_LINES)
        starts, ends = coordinates[0][left[joined]], coordinates[1][right[joined]]
        marks.append(Threads(starts=starts, ends=ends, name="pair"))
    own_roles: dict[str, Role] = {"image": "image", "text": "text"}
    unused_roles = iter(ROLES * len(cloud.names))
    for name, rows, points in zip(cloud.names, cloud.rows, coordinates, strict=True):
        role = own_roles[name] if name in own_roles else next(unused_roles)
        ids = [cloud.ids[row] for row in rows.tolist()]
        xs, ys = points.T.tolist()
        marks.append(Dots(xs=xs, ys=ys, role=role, name=name.replace("_", " "), ids=ids, is_dense=True))
    return marks


def _items_drawn(cloud: _Cloud) -> str:
    counts = [f"{fmt.count(len(rows))} of {name}" for name, rows in zip(cloud.names, cloud.rows, strict=True)]
    joined = " A grey line joins two that belong together." if len(cloud.names) == 2 else ""
    return f"Items drawn: {', '.join(counts)}.{joined}"
