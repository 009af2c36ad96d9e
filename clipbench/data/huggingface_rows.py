"""Rows of one split of a Hugging Face data set, from the Hub or a folder, with images left encoded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipbench.data.images import EncodedImage
from clipbench.errors import BadImage, DataError, Unavailable, UsageError
from clipbench.reading import read_bytes

if TYPE_CHECKING:
    import datasets

PREFERRED_SPLITS = ("test", "validation", "val")
"""Splits to read when none is named, best first; ``train`` is never chosen for the user."""


SAVED_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
"""Files by which a folder written by ``save_to_disk`` is known."""


class SplitRows(NamedTuple):
    """The rows of one split."""

    rows: "datasets.Dataset"
    name: str | None
    """Name of the split; None where a saved folder does not say."""
    revision: str | None
    """Commit of the data set on the Hub; None for a folder."""


class ImageColumn:
    """The encoded images of a data set; pickled, it holds the paths of the Arrow files, not their content."""

    def __init__(self, rows: "datasets.Dataset", column: str) -> None:
        from datasets import Image

        self._rows = rows.select_columns([column]).cast_column(column, Image(decode=False))
        self._column = column

    def missing(self) -> list[int]:
        """Return the rows without an image."""
        import pyarrow.compute

        # In Arrow, since a loop over the rows would copy every encoded image.
        cells = self._rows.with_format("arrow")[:][self._column]
        has_no_bytes, has_no_path = (pyarrow.compute.struct_field(cells, part).is_null() for part in ("bytes", "path"))
        return [
            row for row, is_empty in enumerate(pyarrow.compute.and_(has_no_bytes, has_no_path).to_pylist()) if is_empty
        ]

    def read(self, row: int, name: str) -> bytes:
        """Return the encoded image of a row."""
        cell = self._rows[row][self._column]
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        try:
            return read_bytes(cell["path"])
        except OSError as error:
            raise BadImage(name, f"{cell['path']}: {error.strerror or error}") from error


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
    """Return one split of the data set that ``load_dataset`` calls ``source``; only its files are fetched and converted.

    Args:
        source: repository or folder.
        config: configuration, or None for the only one.
        split: split, or None for the preferred one.
        key: name in the cache for the converted rows.
        revision: commit on the Hub.
    """
    import datasets

    draft = datasets.load_dataset_builder(source, config, revision=revision)
    files = draft.config.data_files
    split = choose_split([str(name) for name in (files or draft.info.splits or ())], split, source)
    # Each split has a cache folder of its own: the library takes a folder with some of the splits for all of them.
    cache = cache_folder(key, split)
    builder = datasets.load_dataset_builder(source, config, revision=revision, cache_dir=str(cache))
    if files is not None:
        builder.config.data_files = type(files)({split: files[split]})
        builder.info.size_in_bytes = None  # that of all splits, for which the library would demand disk space
    builder.download_and_prepare(verification_mode="no_checks")
    return SplitRows(builder.as_dataset(split=split), split, revision)


def open_files(files: Sequence[Path], split: str | None) -> SplitRows:
    """Return the rows of some parquet files; the library's cache knows them by their paths."""
    import datasets

    rows = datasets.load_dataset("parquet", data_files={"some": [str(file) for file in files]}, split="some")
    return SplitRows(rows, split, None)


def choose_split(names: Sequence[str], split: str | None, source: str) -> str:
    """Return the split to read: the named one, else test, validation, or the only one.

    Raises:
        UsageError: it does not exist, or one must be named.
    """
    if split is not None:
        if split not in names:
            raise UsageError(f"{source} has no split '{split}': it has {', '.join(names)}")
        return split
    preferred = [name for name in PREFERRED_SPLITS if name in names] or (list(names) if len(names) == 1 else [])
    if not preferred:
        raise UsageError(f"{source} has the splits {', '.join(names) or '(none)'}: name one with split=NAME")
    return preferred[0]


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
            " try --data-option revision=refs/convert/parquet, or use a copy in parquet or webdataset form"
        ) from error
    except (exceptions.DatasetGenerationError, FileNotFoundError, ArrowException, JSONDecodeError) as error:
        raise DataError(f"cannot read {source}: {_line(error.__cause__ or error)}") from error
    except ValueError as error:  # an unknown configuration, or one that has to be named
        raise UsageError(f"{source}: {_line(error, 2)} (hf:DATA:CONFIG names one)") from error


def _line(error: BaseException, n_lines: int = 1) -> str:
    """Return the first lines of a message as one."""
    return " ".join((str(error).strip() or type(error).__name__).splitlines()[:n_lines])


def open_saved(path: Path, split: str | None) -> SplitRows:
    """Return one split of a folder that ``save_to_disk`` wrote."""
    from datasets import load_from_disk

    saved = load_from_disk(str(path))
    if not isinstance(saved, dict):
        if split not in (None, str(saved.split)):
            raise UsageError(f"{path} holds one split only: drop --data-option split={split}")
        return SplitRows(saved, None if saved.split is None else str(saved.split), None)
    split = choose_split(list(saved), split, str(path))
    return SplitRows(saved[split], split, None)
