"""The arrays of an embeddings file: read without running code, and checked before a number is made from them."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

from clipbench.data.modalities import IDS, LINK, NAME
from clipbench.errors import DataError, VectorError, did_you_mean
from clipbench.metrics.similarity import Vectors
from clipbench.models.fingerprint import unusable_rows
from clipbench.untrusted.reading import entries, is_folder, open_file

if TYPE_CHECKING:
    import pyarrow

CHECKED_ROWS = 1 << 16
"""Vectors that are checked at once, so that a memory-mapped file is never read into memory whole."""

Arrays = dict[str, np.ndarray]


class ArrayKind(NamedTuple):
    """Requirements on the arrays of one sort."""

    expected: str
    n_dims: tuple[int, ...]
    dtype_kinds: str
    dtype: type[np.generic]
    """Type in which they are computed with."""


VECTORS = ArrayKind("floating-point vectors, one per row", (2,), "f", np.float32)
ROWS = ArrayKind("row numbers, counted from 0", (1,), "iu", np.int64)
LABELS = ArrayKind("row numbers, counted from 0, or 1 in the column of each right class", (1, 2), "iub", np.int64)
NAMES = ArrayKind("a text or an integer for each row", (1,), "USiu", np.str_)
GROUPS = NAMES._replace(expected="the group of each row, a text or an integer")
NUMBER = ArrayKind("one number", (0, 1), "fiu", np.float64)
WORD = ArrayKind("one word", (0, 1), "US", np.str_)

KINDS: Mapping[str, ArrayKind] = {
    "images": VECTORS,
    "texts": VECTORS,
    "class_texts": VECTORS,
    "text_to_image": ROWS,
    "labels": LABELS,
    "image_ids": NAMES,
    "text_ids": NAMES,
    "class_names": NAMES,
    "group": GROUPS,
    "logit_scale": NUMBER,
    "logit_bias": NUMBER,
    "similarity": WORD,
}
"""Arrays whose names have a meaning. Vectors of any other name are a modality."""

ARRAY_OF = {"image": "images", "text": "texts"}
"""The array that holds the vectors of a modality, where it is not called as the modality is."""

MEANT = (
    (re.compile(r"class|label", re.IGNORECASE), "class_texts"),
    (re.compile(r"(ima?ge?s?|vis(ion|ual)?|photos?|pic(ture)?s?)(_|$)", re.IGNORECASE), "images"),
    (re.compile(r"(te?xts?|cap(tion)?s?|titles?)(_|$)", re.IGNORECASE), "texts"),
)
"""Names under which vectors of images, texts and classes come, and what they are called here."""


class ArrayTable(NamedTuple):
    """The kind of each array, and the array that it describes."""

    kinds: Mapping[str, ArrayKind]
    describes: Mapping[str, str]
    """The vectors that an array describes, one entry each."""
    points_to: Mapping[str, str]
    """The vectors whose rows an array of rows has."""


def array_name(modality: str) -> str:
    """Return the name of the array with the vectors of a modality."""
    return ARRAY_OF.get(modality, modality)


def _array_name_in(modality: str, arrays: Arrays) -> str:
    """Return the name under which the vectors of a modality were given, for messages: ``text`` or ``texts``."""
    return modality if modality in arrays else array_name(modality)


def modalities_of(arrays: Arrays) -> list[str]:
    """Return the names of the modalities that there are vectors of, in alphabetical order.

    Example:
        >>> modalities_of({"texts": np.eye(2), "audio": np.eye(2), "audio_to_text": np.arange(2)})
        ['audio', 'text']
    """
    extra_modalities = {name for name, array in arrays.items() if name not in KINDS and _are_vectors(array)}
    return sorted(extra_modalities | {name for name in ARRAY_OF if _array_name_in(name, arrays) in arrays})


def _are_vectors(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.dtype.kind == "f"


def _array_table(arrays: Arrays) -> ArrayTable:
    modalities = modalities_of(arrays)
    vectors_of = {name: _array_name_in(name, arrays) for name in sorted({*modalities, *ARRAY_OF})}
    kinds = {**KINDS, **{vectors_of[name]: VECTORS for name in modalities}}
    describes = {"class_names": "class_texts", "labels": vectors_of["image"]}
    points_to = {"labels": "class_texts"}
    is_by_text = "group" in arrays and len(arrays["group"]) != len(arrays.get(vectors_of["image"], ()))
    describes["group"] = vectors_of["text" if is_by_text else "image"]
    for name, vectors in vectors_of.items():
        kinds[f"{name}{IDS}"], describes[f"{name}{IDS}"] = NAMES, vectors
    for source in sorted({*modalities, "text"}):
        for target in sorted({*modalities, "image"} - {source}):
            link = f"{source}{LINK}{target}"
            if link == "image_to_text":  # captions are of an image each, not the other way round
                continue
            kinds[link], describes[link], points_to[link] = ROWS, vectors_of[source], vectors_of[target]
    return ArrayTable(kinds, describes, points_to)


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of an ``.npz``, or of a folder of ``.npy`` and ``.parquet``, checked.

    A ``.npy`` is an array of the file's name, memory-mapped if it is float32. Each column of a ``.parquet`` is an
    array.

    Raises:
        DataError: no such file, not readable, an unknown array, or arrays that do not fit together.
        VectorError: a vector is zero or not finite.
    """
    return checked_arrays(_read_folder(path) if is_folder(path) else _read_file(path, _read_npz), str(path))


def checked_arrays(raw: Arrays, source: str) -> Arrays:
    """Return arrays in the types that they are computed with, each under the name that it has here.

    Raises:
        DataError: an unknown array, or arrays that do not fit together.
        VectorError: a vector is zero or not finite.
    """
    duplicate = next((name for name, array in ARRAY_OF.items() if name in raw and array in raw), None)
    if duplicate is not None:
        raise DataError(f"{source} has '{duplicate}' and '{ARRAY_OF[duplicate]}', two names of one array: keep one")
    _refuse_unknown(raw, source)
    if len(modalities_of(raw)) < 2 and not {_array_name_in("image", raw), "class_texts"} <= set(raw):
        raise DataError(
            f"{source} has {', '.join(raw) or 'no arrays'}: expected 'images' with 'texts' or 'class_texts' (or both),"
            " or vectors of at least two modalities, each array named after its modality"
        )
    table = _array_table(raw)
    arrays = {name: _cast(name, array, table.kinds[name], source) for name, array in raw.items()}
    for name in arrays:
        _check_size(name, arrays, table, source)
    for name in arrays:
        _check_values(name, arrays, table, source)
    return {array_name(name): array for name, array in arrays.items()}


def _refuse_unknown(arrays: Arrays, source: str) -> None:
    """Raise DataError for an array with an unknown name, or with a name that contradicts its content."""
    kinds = _array_table(arrays).kinds
    for name, array in arrays.items():
        correct_name = _corrected_name(name, array)
        if name not in kinds or correct_name is not None:
            hint = did_you_mean(name, kinds) if correct_name is None else f"call these vectors '{correct_name}'"
            raise DataError(f"{source} has an unknown array '{name}': {hint}")
        is_modality = name not in KINDS and _are_vectors(array)
        if is_modality and (not NAME.fullmatch(name) or LINK in name or name.endswith(IDS)):
            raise DataError(
                f"{source} has vectors under the name '{name}': expected the name of a modality, of letters, digits and"
                f" underscores, without '{LINK}' and '{IDS}'"
            )


def _corrected_name(name: str, array: np.ndarray) -> str | None:
    """Return the right name of vectors whose name says images, texts or classes, or None for other arrays."""
    if name in KINDS or name in ARRAY_OF or array.ndim != 2 or array.dtype.kind not in "fiu":
        return None
    return next((right for pattern, right in MEANT if pattern.match(name)), None)


def _read_folder(folder: Path) -> Arrays:
    arrays: Arrays = {}
    for file in entries(folder, DataError):
        read = {".npy": _read_npy, ".parquet": read_parquet}.get(file.suffix)
        for name, array in _read_file(file, read).items() if read else ():
            if name in arrays:
                raise DataError(f"{folder} has the array '{name}' twice, the second time in {file.name}: keep one")
            arrays[name] = array
    return arrays


def _read_file(path: Path, read: Callable[[Path], Arrays]) -> Arrays:
    try:
        open_file(path).close()  # else a FIFO would be waited for
        return read(path)
    except FileNotFoundError as error:
        raise DataError(
            f"no embeddings file {path}: expected an .npz, or a folder of .npy or .parquet files"
        ) from error
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and pyarrow raise many kinds of error for damaged files
        strerror = getattr(error, "strerror", None)
        cause = strerror or f"{type(error).__name__}: {error}".splitlines()[0]
        if "allow_pickle" in cause:
            is_array = "Object arrays" in cause  # numpy takes any file without its own mark for a pickle
            objects = "it holds Python objects, so write names as text, np.array(names, dtype=str)"
            cause = objects if is_array else "it is neither .npz nor .npy"
        raise DataError(f"cannot read {path} ({cause}): expected arrays that numpy.savez or pyarrow wrote") from error


def _read_npz(path: Path) -> Arrays:
    with open_file(path) as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(
                f"{path} holds one array, of shape {archive.shape}, and both images and texts are needed: write them to"
                " one file, np.savez('vectors.npz', images=x, texts=y), "
                "or as images.npy and texts.npy into one folder, and give embeddings:FOLDER"
            )
        # A member that is no array comes as bytes.
        return {name: np.asarray(array) for name, array in archive.items()}


def _read_npy(path: Path) -> Arrays:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an .npz by its content: rename it, and give embeddings:{path.with_suffix('.npz')}")
    return {path.stem: array}


def read_parquet(path: Path) -> Arrays:
    """Return each column of a parquet file as an array, or raise any kind of error for a damaged file."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    return {name: _column(table.column(name).combine_chunks(), name) for name in table.column_names}


def _column(column: "pyarrow.Array", name: str) -> np.ndarray:
    """Return a column of a file as an array, with two dimensions if its cells are lists of one length."""
    import pyarrow.compute

    if column.null_count:
        raise ValueError(f"column '{name}' has {column.null_count} empty cells")
    if not pyarrow.types.is_nested(column.type):
        values = column.to_numpy(zero_copy_only=False)
        return values if values.dtype != object else values.astype(str)
    if len(pyarrow.compute.unique(pyarrow.compute.list_value_length(column))) > 1:
        raise ValueError(f"column '{name}' has lists of different lengths")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _cast(name: str, array: np.ndarray, kind: ArrayKind, source: str) -> np.ndarray:
    fits = array.ndim in kind.n_dims and array.dtype.kind in kind.dtype_kinds and array.size
    if not fits or (kind in (NUMBER, WORD) and array.size != 1):
        empty_note = "" if array.size else ", and it holds none: fill it, or leave it out"
        raise DataError(
            f"{source}: '{name}' is {array.dtype} of shape {array.shape}: expected {kind.expected}{empty_note}"
        )
    if array.dtype.kind == "U" and array.dtype.itemsize:  # Python fails, or crashes, where it makes a text of others
        points = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if points.size and int(points.max()) > sys.maxunicode:
            raise DataError(
                f"{source}: '{name}' holds code points beyond Unicode, expected text: write the names again"
            )
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which a later check reports
        try:
            cast = array.astype(kind.dtype, copy=False)
        except (UnicodeDecodeError, ValueError) as error:  # bytes that are no ASCII, and code points beyond Unicode
            raise DataError(
                f"{source}: '{name}' cannot be read as text ({error}): write np.array(names, dtype=str)"
            ) from error
    return cast.reshape(()) if kind in (NUMBER, WORD) else cast


def _check_size(name: str, arrays: Arrays, table: ArrayTable, source: str) -> None:
    array, described = arrays[name], table.describes.get(name)
    images = _array_name_in("image", arrays)
    first = images if images in arrays else next(other for other in arrays if table.kinds[other] is VECTORS)
    if table.kinds[name] is VECTORS and array.shape[1] != arrays[first].shape[1]:
        raise DataError(
            f"{source}: '{first}' has dimension {arrays[first].shape[1]} and '{name}' {array.shape[1]}: "
            "expected the same for both towers"
        )
    if described is None:
        return
    if described not in arrays:
        raise DataError(f"{source} has '{name}' but no '{described}', which it describes")
    if len(array) != len(arrays[described]):
        raise DataError(
            f"{source}: '{name}' has {len(array)} rows: expected {len(arrays[described])}, as '{described}' has"
        )


def _check_values(name: str, arrays: Arrays, table: ArrayTable, source: str) -> None:
    array, kind = arrays[name], table.kinds[name]
    if kind is VECTORS:
        ids = [key for key, described in table.describes.items() if described == name and table.kinds[key] is NAMES]
        _check_vectors(array, name, arrays.get(ids[0]) if ids else None)
    elif kind is NAMES:
        distinct, counts = np.unique(array, return_counts=True)
        if len(distinct) < len(array):
            raise DataError(f"{source}: '{name}' has '{distinct[counts > 1][0]}' twice: expected distinct ones")
    elif kind is NUMBER:
        if not np.isfinite(array) or (name == "logit_scale" and array <= 0):
            above = " above 0" if name == "logit_scale" else ""
            raise DataError(f"{source}: '{name}' is {array}: expected a finite number{above}")
    elif kind is LABELS and array.ndim == 2:
        _check_right_classes(array, name, table.points_to[name], arrays, source)
    elif kind in (ROWS, LABELS):
        _check_rows(array, name, table.points_to[name], arrays, source)


def _check_right_classes(
    right: Int64[np.ndarray, "n n_classes"], name: str, target_name: str, arrays: Arrays, source: str
) -> None:
    """Raise DataError unless the array has a 0 or 1 for each class."""
    n_classes = len(arrays[target_name]) if target_name in arrays else right.shape[1]
    if right.shape[1] != n_classes or not np.isin(right, (0, 1)).all():
        raise DataError(
            f"{source}: '{name}' has shape {right.shape} and values from {right.min()} to {right.max()}: expected one"
            f" class number per image, or {n_classes} columns of 0 and 1, one per class"
        )


def _check_vectors(vectors: Vectors, name: str, ids: Shaped[np.ndarray, " n"] | None) -> None:
    for start in range(0, len(vectors), CHECKED_ROWS):
        block = np.asarray(vectors[start : start + CHECKED_ROWS])
        bad = np.flatnonzero(unusable_rows(block))
        if len(bad):
            row = start + int(bad[0])
            row_id = "" if ids is None else f" ('{ids[row]}')"
            fault = "zero" if not vectors[row].any() else "not finite"
            raise VectorError(f"row {row}{row_id} of '{name}' is {fault}: no metric can be computed from it")


def _check_rows(rows: Int64[np.ndarray, " n"], name: str, target_name: str, arrays: Arrays, source: str) -> None:
    """Raise DataError for rows without a vector. Labels may name classes without vectors."""
    target = arrays.get(target_name)
    if target is None and name != "labels":
        raise DataError(f"{source} has '{name}' but no '{target_name}', whose rows it names")
    out = np.flatnonzero((rows < 0) | (target is not None and rows >= len(target)))
    if len(out):
        expected = "0 or more" if target is None else f"0 to {len(target) - 1}, a row of '{target_name}'"
        raise DataError(f"{source}: '{name}' has {rows[out[0]]} in row {out[0]}: expected {expected}")
    backwards = LINK.join(reversed(name.split(LINK))) if LINK in name else ""
    if backwards in arrays:
        raise DataError(f"{source} has '{name}' and '{backwards}': give the one from the modality with more items")
