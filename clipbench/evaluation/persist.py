"""Persisting an evaluation: tables, arrays, and small images of samples.

Small images let a report show samples years later without the data set. For a large data set only the small images of
the worst mistakes are kept, for galleries, and smaller ones for the points of a scatter, in a folder of their own.
"""

import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from clipbench.data import Dataset
from clipbench.data.images import ImageRef, open_image, rgb
from clipbench.errors import BadImage, MachineError
from clipbench.evaluation.plan import RunOptions
from clipbench.evaluation.slices import Sliced
from clipbench.evaluation.task import Evaluation
from clipbench.files import atomic_file, default_root
from clipbench.results.shown_samples import MAX_POINTS, evenly_spaced
from clipbench.seeding import generator
from clipbench.stats.estimators import Samples
from clipbench.untrusted.reading import read_bytes

if TYPE_CHECKING:
    import pandas

KEPT_ROWS = 2_000
"""Rows of vectors that a run keeps for figures, unless it keeps all."""
SIDE, SMALL_SIDE = 160, 96
"""Longest side in pixels: of an image in a gallery, and of one behind a point."""
SMALL = "small"
"""Folder of the images behind points, among the others."""
POINTS_EACH = 5
"""Images behind points that are kept for each one that a gallery may have."""
COPIES = "thumbnails"
"""Folder in the cache of the copies that later runs take."""
QUALITY = {SIDE: 80, SMALL_SIDE: 70}


def write_tables(
    evaluation: Evaluation, sliced: Sliced, digests: list[str], folder: Path, *, stem: str, options: RunOptions
) -> dict[str, str]:
    """Write samples, neighbours of failures, slices and arrays into a run's folder, and return the paths by content.

    Args:
        digests: content hashes of the images that the evaluation is of, and of ``more_images``.
        stem: name of the files, without folder and suffix.
    """
    import pandas

    hashes = np.array([*digests, ""], object)
    files = {"samples": f"samples/{stem}.parquet"}
    if len(evaluation.neighbours.get("sample_id", ())):
        files["neighbours"] = f"samples/{stem}-neighbours.parquet"
    for name, path in files.items():
        # A row of the data set means nothing to a reader of results: its content hash does. -1, no image, is the last.
        columns = {}
        for column, values in getattr(evaluation, name).items():
            columns[column] = hashes[values] if is_image(column, values) else values
        with atomic_file(folder / path) as file:
            pandas.DataFrame(columns).to_parquet(file, index=False)
    for number, (name, tables) in enumerate(sliced.tables.items()):
        files[f"slices/{name}"] = path = f"samples/{stem}-slices-{number}.parquet"
        frames = []
        for table in tables:
            columns = {column: values for column, values in table.items() if not is_image(column, values)}
            frames.append(pandas.DataFrame(columns))
        with atomic_file(folder / path) as file:
            pandas.concat(frames).to_parquet(file, index=False)
    list_tables = list(_list_tables(evaluation, options))
    if list_tables:
        files["lists"] = f"samples/{stem}-lists.parquet"
        with atomic_file(folder / files["lists"]) as file:
            pandas.concat(list_tables).to_parquet(file, index=False)
    vectors, row_indices = evaluation.vectors, kept_rows(evaluation.vectors, options)
    if row_indices is not None:  # all are taken as they are: indexing would copy them
        vectors = {name: rows[row_indices] for name, rows in vectors.items()}
    arrays = {**evaluation.arrays, **vectors}
    if arrays:
        files["arrays"] = f"arrays/{stem}.npz"
        with atomic_file(folder / files["arrays"]) as file:
            np.savez(file, allow_pickle=False, **arrays)
    return files


def kept_rows(vectors: Mapping[str, np.ndarray], options: RunOptions) -> Int64[np.ndarray, " n_kept"] | None:
    """Return a seeded sample of the rows of vectors, the same for all arrays, or None if the run keeps all rows."""
    n_rows = len(next(iter(vectors.values()), ()))
    if options.keep_arrays or n_rows <= KEPT_ROWS:
        return None
    return np.sort(generator(options.seed, "vectors").choice(n_rows, KEPT_ROWS, replace=False))


def _list_tables(evaluation: Evaluation, options: RunOptions) -> Iterator["pandas.DataFrame"]:
    """Yield a table per side of the queries whose lists are kept: a row per result, by query and then by rank."""
    import pandas

    for side, lists in evaluation.lists.items():
        depth = lists.depth or options.keep_lists
        if not depth:
            continue
        first = lists.first(depth)
        queries, results = np.array([*lists.queries], object), np.array([*lists.items], object)
        yield pandas.DataFrame(
            {
                "side": side,
                "query": queries[first.query],
                "result": results[first.item],
                "score": first.score,
                "depth": depth,
            }
        )


def write_images(
    evaluation: Evaluation, dataset: Dataset, digests: list[str], folder: Path, *, options: RunOptions
) -> None:
    """Write thumbnails for galleries, and smaller ones for points and neighbours, within the budget of the options."""
    samples, budget = evaluation.samples, options.n_thumbnails
    images = [*dataset.gallery, *evaluation.more_images]
    n_images = len(images)
    has_points = bool(evaluation.vectors) and n_images > budget
    if has_points:
        row_indices = kept_rows(evaluation.vectors, options)
        all_rows = np.arange(len(next(iter(evaluation.vectors.values()))))
        points = point_rows(samples, all_rows if row_indices is None else row_indices, budget)
        write_thumbnails(images, digests, points.tolist(), folder / SMALL, cache=default_root(), side=SMALL_SIDE)
    chosen = gallery_rows(samples, n_images, budget)
    if not has_points or any(name.endswith("margin") for name in samples):
        write_thumbnails(images, digests, chosen, folder, cache=default_root())
    if budget and "image" in evaluation.neighbours:
        neighbour_rows = sorted(set(evaluation.neighbours["image"].tolist()) - {-1, *chosen})
        write_thumbnails(images, digests, neighbour_rows, folder / SMALL, cache=default_root(), side=SMALL_SIDE)


def write_thumbnails(
    images: Sequence[ImageRef],
    digests: Sequence[str],
    rows: Sequence[int],
    folder: Path,
    *,
    cache: Path,
    side: int = SIDE,
) -> None:
    """Write ``<content hash>.webp`` for the images of some rows, except for files that exist.

    Args:
        images: of the data set, and more.
        digests: content hashes of all images.
        cache: the folder whose copies later runs reuse.
        side: longest side in pixels, one of ``QUALITY``.
    """
    copies = cache / COPIES / f"{side}-{QUALITY[side]}"
    existing_names = set(os.listdir(folder)) if folder.is_dir() else set()
    for row in rows:
        name = f"{digests[row]}.webp"
        if name in existing_names:
            continue
        existing_names.add(name)
        copy = copies / digests[row][:2] / name
        data = _read_copy(copy)
        if data is None:
            try:
                thumbnail = rgb(open_image(images[row], side)).copy()  # images in memory are the caller's
            except BadImage:  # it was readable when its vector was stored, and no number depends on its small copy
                continue
            thumbnail.thumbnail((side, side))
            encoded = BytesIO()
            thumbnail.save(encoded, "WEBP", quality=QUALITY[side], method=2)  # above 2: twice the time, 5 % less
            data = encoded.getvalue()
            with suppress(MachineError):  # a cache that cannot be written to costs time, and nothing else
                _write(copy, data)
        _write(folder / name, data)


def kept_copies(root: Path, *, before: float = math.inf) -> dict[Path, int]:
    """Return the copies in a cache that were written before a time (Unix seconds), with their sizes in bytes."""
    copies = {}
    for path in (root / COPIES).glob("*-*/??/*.webp"):
        with suppress(FileNotFoundError):  # another process has just removed it
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                copies[path] = status.st_size
    return copies


def remove_copies(copies: Iterable[Path]) -> None:
    """Remove copies from a cache, or raise MachineError if one cannot be removed."""
    for path in copies:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(f"cannot remove {path}: {error.strerror or error}") from error


def gallery_rows(samples: Samples, n_images: int, budget: int) -> list[int]:
    """Return the rows of at most ``budget`` images for galleries: all images, or the worst failures of a large set.

    Each column whose name ends in ``margin`` is the order of one gallery, its least values the worst, NaN where a
    sample is not in it. They take turns. A column ``margin`` stands for the whole table: it counts where there is no
    other.

    Args:
        samples: the table of an evaluation; rows of images are in ``image`` and in columns named ``..._image``, -1
            for none. Without images or margins the first images of the data set are taken.

    Example:
        >>> image, other = np.array([0, 1, 2, 3]), np.array([9, -1, -1, 8])
        >>> samples = {"image": image, "predicted_image": other, "margin": np.array([0.1, 0.2, np.nan, -0.3])}
        >>> gallery_rows(samples, n_images=10, budget=3)
        [3, 8, 0]
    """
    image_columns = [samples[name] for name in samples if is_image(name, samples[name])]
    margins = [name for name in samples if name.endswith("margin")]
    gallery_names = [name for name in margins if name != "margin"]
    gallery_margins = [samples[name] for name in gallery_names or margins]
    orders = []
    for margin in gallery_margins:
        n_defined = (~np.isnan(margin)).sum()
        orders.append(np.argsort(margin, kind="stable")[:n_defined])  # NaN comes last
    if n_images <= budget or not image_columns or not orders:
        return list(range(min(n_images, budget)))
    turns = chain.from_iterable(zip_longest(*(order.tolist() for order in orders)))
    images = (int(column[row]) for row in turns if row is not None for column in image_columns)
    return list(islice(dict.fromkeys(image for image in images if image >= 0), budget))


def point_rows(
    samples: Samples, vector_rows: Int64[np.ndarray, " n_kept"], budget: int
) -> Int64[np.ndarray, " n_images"]:
    """Return the rows of the images behind a scatter's points: all of them, or an evenly spread subset.

    Args:
        samples: with a row for each vector.
        vector_rows: rows of the vectors that the run keeps.
        budget: images that galleries may have.
    """
    if "image" not in samples:
        return np.zeros(0, np.int64)
    points = vector_rows[evenly_spaced(len(vector_rows), MAX_POINTS)]
    rows = samples["image"][points[evenly_spaced(len(points), POINTS_EACH * budget)]]
    return rows[rows >= 0].astype(np.int64)  # -1 is none, not the last


def is_image(name: str, column: np.ndarray) -> bool:
    """Return whether a column of a task's table holds rows of images."""
    return (name == "image" or name.endswith("_image")) and np.issubdtype(column.dtype, np.integer)


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def _read_copy(path: Path) -> bytes | None:
    """Return a cached copy, or None if it is missing or was cut off."""
    try:
        data = read_bytes(path)
    except OSError:
        return None
    # A RIFF file says its size after its first four bytes, themselves and the size not counted.
    stated_size = int.from_bytes(data[4:8], "little")
    is_whole = data[:4] == b"RIFF" and stated_size == len(data) - 8
    return data if is_whole else None
