"""Rows of one split of a Hugging Face data set, from the Hub or a folder, with images left encoded."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.data.images import EncodedImage
from clipbench.errors import BadImage, DataError, Unavailable, UnknownSplit, UsageError, data_option
from clipbench.untrusted.reading import read_bytes

if TYPE_CHECKING:
    import datasets

PREFERRED_SPLITS = ("test", "validation", "val")
"""Splits to read when none is named, best first. ``train`` is never chosen for the user."""


SAVED_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
"""Files by which a folder written by ``save_to_disk`` is known."""


class SplitRows(NamedTuple):
    """The rows of one split."""

    rows: "datasets.Dataset"
    name: str | None
    """Name of the split, or None if a saved folder does not say."""
    revision: str | None
    """Commit of the data set on the Hub, or None for a folder."""
    roots: tuple[Path, ...] | None = None
    """Folders that may hold an image that a row names by its path, or None for any folder, if the user made the
    rows.
    """


class ImageColumn:
    """The encoded images of a data set. Pickled, it holds the paths of the Arrow files, not their content."""

    def __init__(self, split: SplitRows, column: str) -> None:
        from datasets import Image

        _check_image_column(split.rows, column)
        self._rows = split.rows.select_columns([column]).cast_column(column, Image(decode=False))
        self._column = column
        self._roots = split.roots

    def missing(self) -> list[int]:
        """Return the rows without an image."""
        import pyarrow.compute

        # In Arrow, since a loop over the rows would copy every encoded image.
        cells = self._rows.with_format("arrow")[:][self._column]
        has_no_bytes, has_no_path = (pyarrow.compute.struct_field(cells, part).is_null() for part in ("bytes", "path"))
        return np.flatnonzero(pyarrow.compute.and_(has_no_bytes, has_no_path)).tolist()

    def read(self, row: int, name: str) -> bytes:
        """Return the encoded image of a row."""
        cell = self._rows[row][self._column]
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        if self._roots is not None and not any(_is_below(cell["path"], root) for root in self._roots):
            raise BadImage(name, f"its row points to {cell['path']}, which is outside the folder of the data")
        try:
            return read_bytes(cell["path"])
        except OSError as error:
            raise BadImage(name, f"{cell['path']}: {error.strerror or error}") from error


def _check_image_column(rows: "datasets.Dataset", column: str) -> None:
    """Raise DataError if a column holds something else than images, encoded images or names of files."""
    from datasets import Image, Value

    feature = rows.features[column]
    kinds = ("string", "large_string", "binary", "large_binary", "null")
    is_image = (
        isinstance(feature, Image)
        or (isinstance(feature, Value) and feature.dtype in kinds)
        or (isinstance(feature, dict) and {"bytes", "path"} <= feature.keys())
    )
    if not is_image:
        got = feature.dtype if isinstance(feature, Value) else type(feature).__name__
        raise DataError(f"column {column} has no images: expected encoded images or names of files, got {got}")


@dataclass(frozen=True)
class RowImage(EncodedImage):
    """The image of one row."""

    column: ImageColumn
    source: str
    row: int

    @property
    def name(self) -> str:
        return f"{self.source}, row {self.row}"

    def read(self) -> bytes:
        return self.column.read(self.row, self.name)


def open_split(
    source: str, *, config: str | None, split: str | None, key: str, revision: str | None = None
) -> SplitRows:
    """Return one split of the data set that ``load_dataset`` calls ``source``, fetching and converting only its files.

    Args:
        key: name in the cache for the converted rows.
    """
    import datasets

    _check_card(Path(source))
    _hide_bars_in_logs()
    draft = datasets.load_dataset_builder(source, config, revision=revision)
    files = draft.config.data_files
    split = choose_split([str(name) for name in (files or draft.info.splits or ())], split, source)
    if files is not None:
        _check_files(source, str(draft.base_path or source), files[split])
    # Each split has a cache folder of its own: the library takes a folder with some of the splits for all of them.
    cache = cache_folder(key, split)
    builder = datasets.load_dataset_builder(source, config, revision=revision, cache_dir=str(cache))
    if files is not None:
        builder.config.data_files = type(files)({split: files[split]})
        builder.info.size_in_bytes = None  # that of all splits, for which the library would demand disk space
    builder.download_and_prepare(verification_mode="no_checks")
    return SplitRows(builder.as_dataset(split=split), split, revision, roots_of(source))


def roots_of(source: str) -> tuple[Path, ...]:
    """Return the folders that hold the files of a folder, or of a repository in the Hub's cache."""
    from datasets import config
    from huggingface_hub import constants

    return (Path(source),) if Path(source).is_dir() else (Path(config.HF_DATASETS_CACHE), Path(constants.HF_HUB_CACHE))


def card_configs(folder: Path) -> list[object]:
    """Return the configurations that the card of a data set lists, or raise DataError if it is not a card."""
    from huggingface_hub import DatasetCard

    if not (folder / "README.md").is_file():
        return []
    try:
        configs = DatasetCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict().get("configs")
    except Exception as error:  # of YAML, of UTF-8, and of what is no mapping
        raise DataError(f"{folder / 'README.md'} is not a valid data set card ({_line(error)})") from error
    return list(configs) if isinstance(configs, list) else []


def _check_card(folder: Path) -> None:
    """Refuse a folder whose card names data of another place: the library would look for them, on the web too."""
    sources = []
    for config in card_configs(folder):
        if isinstance(config, dict):
            sources += [config.get("data_files"), config.get("data_dir")]
    for text in _texts(sources):
        if "://" in text or not _is_below(str(folder / text), folder):
            raise _outside_error(str(folder), text)


def _check_files(source: str, base: str, files: Sequence[object]) -> None:
    """Raise DataError if a file of the data is neither in its folder nor in its repository.

    Args:
        source: the folder, or the name of the repository on the Hub.
        base: where datasets says that the files are: before its fifth version, a folder also for a repository.
    """
    for file in map(str, files):
        if Path(source).is_dir():
            is_below = _is_below(file, Path(base))
        else:
            is_below = file.startswith((f"{base}/", f"hf://datasets/{source}@")) and ".." not in file
        if not is_below:
            raise _outside_error(source, file)


def _outside_error(source: str, file: str) -> DataError:
    return DataError(f"{source} names {file} as its data, which is outside its folder: copy it into the folder")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for nested in value.values() if isinstance(value, dict) else value:
            yield from _texts(nested)


def _is_below(path: str, folder: Path) -> bool:
    """Return whether a path leads into a folder by its name. Links in a data set's own folder may lead anywhere."""
    return "://" not in path and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def open_files(files: Sequence[Path], split: str | None) -> SplitRows:
    """Return the rows of some parquet files, which the library caches by their paths."""
    import datasets

    _hide_bars_in_logs()
    rows = datasets.load_dataset("parquet", data_files={"some": [str(file) for file in files]}, split="some")
    return SplitRows(rows, split, None)


def _hide_bars_in_logs() -> None:
    """Hide the library's progress bars where nobody sees them move: each of their states would be a line of a log."""
    import datasets

    if not (sys.stderr and sys.stderr.isatty()):
        datasets.disable_progress_bars()


def choose_split(names: Sequence[str], split: str | None, source: str) -> str:
    """Return the split to read: the named one, or test, validation, or the only one."""
    if split is not None and split not in names:
        raise UnknownSplit(source, split, names)
    preferred = [name for name in PREFERRED_SPLITS if name in names]
    if not preferred and len(names) == 1:
        preferred = list(names)
    if split is None and not preferred:
        raise UsageError(f"{source} has the splits {', '.join(names) or '(none)'}: choose one with split=NAME")
    return split or preferred[0]


def cache_folder(key: str, split: str) -> Path:
    """Return the folder of converted rows, inside the library's own cache."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "clipbench" / split / key


@contextmanager
def library_errors(source: str) -> Iterator[None]:
    """Raise a ClipbenchError, in one line, for each error of the datasets library."""
    from json import JSONDecodeError

    from datasets import exceptions
    from pyarrow import ArrowException

    try:
        yield
    except exceptions.DatasetNotFoundError as error:
        raise Unavailable(f"{source}: {_line(error)}") from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"{source} is loaded by a script, which the datasets library no longer runs: the Hub may have converted it,"
            f" try {data_option(revision='refs/convert/parquet')}, or use a copy in parquet or webdataset form"
        ) from error
    except (exceptions.DatasetGenerationError, FileNotFoundError, ArrowException, JSONDecodeError) as error:
        raise DataError(f"cannot read {source}: {_line(error.__cause__ or error)}") from error
    except ValueError as error:  # an unknown configuration, or one that has to be named
        raise UsageError(f"{source}: {_line(error, 2)} (hf:DATA:CONFIG names one)") from error


def _line(error: BaseException, n_lines: int = 1) -> str:
    return " ".join((str(error).strip() or type(error).__name__).splitlines()[:n_lines])


def open_saved(path: Path, split: str | None) -> SplitRows:
    """Return one split of a folder that ``save_to_disk`` wrote."""
    from datasets import load_from_disk

    saved = load_from_disk(str(path))
    if not isinstance(saved, dict):
        if split not in (None, str(saved.split)):
            raise UsageError(f"{path} has only one split: remove {data_option(split=split)}")
        return SplitRows(saved, None if saved.split is None else str(saved.split), None, (path,))
    split = choose_split(list(saved), split, str(path))
    return SplitRows(saved[split], split, None, (path,))
