"""Small images of samples, so that a report can show them years later without the data set.

A gallery shows the worst mistakes, and of a large data set only their images are kept. A scatter shows each of its
points to who points at it; there are many, so that theirs are smaller, in a folder of their own.
"""

import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clipbench.data import Dataset
from clipbench.data.decoding import rgb
from clipbench.data.images import ImageRef, opened
from clipbench.errors import BadImage, MachineError
from clipbench.files import atomic_file
from clipbench.results.even_spacing import MAX_POINTS, evenly_spaced
from clipbench.untrusted.reading import read_bytes

SIDE, SMALL_SIDE = 160, 96
"""Longest side in pixels: of an image in a gallery, and of one behind a point."""
SMALL = "small"
"""Folder of the images behind points, among the others."""
POINTS_EACH = 5
"""Images behind points that are kept for each one that a gallery may have."""
COPIES = "thumbnails"
"""Folder in the cache of the copies that later runs take."""
QUALITY = {SIDE: 80, SMALL_SIDE: 70}


def write_thumbnails(
    dataset: Dataset, digests: Sequence[str], rows: Sequence[int], folder: Path, *, kept: Path, side: int = SIDE
) -> None:
    """Write ``<content hash>.webp`` for some images, without those that are there already.

    Args:
        digests: of all images of the data set.
        rows: of the images to write.
        kept: the cache, where copies are kept for later runs: an image is decoded and made small once.
        side: longest side in pixels, one of ``QUALITY``.
    """
    copies = kept / COPIES / f"{side}-{QUALITY[side]}"
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    for row in rows:
        name = f"{digests[row]}.webp"
        if name in there:
            continue
        there.add(name)
        copy = copies / digests[row][:2] / name
        data = _whole(copy)
        if data is None:
            try:
                data = _thumbnail(dataset.images[row], side)
            except BadImage:  # it was readable when its vector was stored, and no number depends on its small copy
                continue
            with suppress(MachineError):  # a cache that cannot be written to costs time, and nothing else
                _write(copy, data)
        if not _link(copy, folder / name):
            _write(folder / name, data)


def kept_copies(root: Path, *, before: float = math.inf) -> dict[Path, int]:
    """Return the copies in a cache that were written before a time, in seconds since 1970, and the bytes of each."""
    copies = {}
    for path in (root / COPIES).glob("*-*/??/*.webp"):
        with suppress(FileNotFoundError):  # another process has just removed it
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_mtime < before:
                copies[path] = found.st_size
    return copies


def remove_copies(copies: Iterable[Path]) -> None:
    """Remove copies from a cache.

    Raises:
        MachineError: one cannot be removed; those before it are.
    """
    for path in copies:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise MachineError(f"cannot remove {path}: {error.strerror or error}") from error


def gallery_rows(samples: Mapping[str, np.ndarray], n_images: int, budget: int) -> list[int]:
    """Return the rows of at most ``budget`` images for galleries: all of a small set, the worst failures of a large.

    Each column whose name ends in ``margin`` is the order of one gallery, its least values the worst, NaN where a sample
    is not in it. They take turns. A column ``margin`` stands for the whole table: it counts where there is no other.

    Args:
        samples: the table of an evaluation; rows of images are in ``image`` and in columns named ``..._image``, -1
            for none. Without images or margins the first images of the data set are taken.

    Example:
        >>> image, other = np.array([0, 1, 2, 3]), np.array([9, -1, -1, 8])
        >>> samples = {"image": image, "chosen_image": other, "margin": np.array([0.1, 0.2, np.nan, -0.3])}
        >>> gallery_rows(samples, n_images=10, budget=3)
        [3, 8, 0]
    """
    image_columns = [samples[name] for name in samples if is_image(name, samples[name])]
    margins = [name for name in samples if name.endswith("margin")]
    of_galleries = [name for name in margins if name != "margin"]
    orders = [_worst_first(samples[name]) for name in of_galleries or margins]
    if n_images <= budget or not image_columns or not orders:
        return list(range(min(n_images, budget)))
    in_turn = (int(column[row]) for row in _in_turn(orders) for column in image_columns)
    return list(islice(dict.fromkeys(thumbnail for thumbnail in in_turn if thumbnail >= 0), budget))


def point_rows(
    samples: Mapping[str, np.ndarray], kept: Int64[np.ndarray, " n_kept"], budget: int
) -> Int64[np.ndarray, " n_images"]:
    """Return the rows of the images behind a scatter's points: of all points, or evenly spread over them.

    Args:
        samples: the table of an evaluation, with a row for each vector.
        kept: rows of the vectors that the run keeps.
        budget: of images in galleries.
    """
    if "image" not in samples:
        return np.zeros(0, np.int64)
    points = kept[evenly_spaced(len(kept), MAX_POINTS)]
    rows = samples["image"][points[evenly_spaced(len(points), POINTS_EACH * budget)]]
    return rows[rows >= 0].astype(np.int64)  # -1 is none, not the last


def is_image(name: str, column: np.ndarray) -> bool:
    """Return whether a column of a task's table holds rows of images."""
    return (name == "image" or name.endswith("_image")) and np.issubdtype(column.dtype, np.integer)


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)


def _link(copy: Path, path: Path) -> bool:
    """Give a copy that was just looked at a name in the run folder too; return False where that cannot be done.

    The copy outlives its removal from the cache, and nobody ever writes into one. A file of its own takes ten times as
    long.
    """
    try:
        os.link(copy, path)
    except FileNotFoundError:
        if path.parent.is_dir() or not copy.is_file():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        return _link(copy, path)
    except (OSError, NotImplementedError):  # another file system, one without links, a copy of another user
        return False
    return True


def _thumbnail(image: ImageRef, side: int) -> bytes:
    thumbnail = rgb(opened(image, side)).copy()  # images in memory are the caller's
    thumbnail.thumbnail((side, side))
    encoded = BytesIO()
    # A method above 2 takes twice as long and saves 5 %.
    thumbnail.save(encoded, "WEBP", quality=QUALITY[side], method=2)
    return encoded.getvalue()


def _whole(path: Path) -> bytes | None:
    """Return a kept copy; None where there is none, or one that was cut off."""
    try:
        data = read_bytes(path)
    except OSError:
        return None
    # A RIFF file says its size after its first four bytes, themselves and the size not counted.
    return data if data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") == len(data) - 8 else None


def _worst_first(margin: np.ndarray) -> Int64[np.ndarray, " n_rows"]:
    order = np.argsort(margin, kind="stable")
    return order[~np.isnan(margin[order])]


def _in_turn(orders: Sequence[Int64[np.ndarray, " _"]]) -> Iterator[int]:
    """Yield the first of each order, then the second of each, and so on."""
    rounds = zip_longest(*(order.tolist() for order in orders))
    return (row for row in chain.from_iterable(rounds) if row is not None)
