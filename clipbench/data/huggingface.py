"""Hugging Face data sets: the rows of one split, from the Hub or a folder, with pictures left encoded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipbench.data.attacks import Photograph, attack_dataset, described_rows, dialect_of
from clipbench.data.classes import read_class_names, spoken_names
from clipbench.data.columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.columns import Roles, find_roles
from clipbench.data.dataset import DataOptions, Dataset, EncodedImage, check
from clipbench.data.samples import Samples, Table, read_samples
from clipbench.errors import BadImage, DataError, Unavailable, UsageError

if TYPE_CHECKING:
    import datasets

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
PREFERRED_SPLITS = ("test", "validation", "val")
"""What is read of several splits when none is named; ``train`` never is."""
SAVED_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
"""What ``save_to_disk`` leaves in its folder."""


class Rows(NamedTuple):
    """One split, opened."""

    rows: "datasets.Dataset"
    split: str | None
    revision: str | None
    """Commit of the data set on the Hub; None for a folder."""


class ImageColumn:
    """The encoded pictures of a data set; pickled, it is the paths of the Arrow files, not their content."""

    def __init__(self, rows: "datasets.Dataset", column: str) -> None:
        from datasets import Image

        self._rows = rows.select_columns([column]).cast_column(column, Image(decode=False))
        self._column = column

    def missing(self) -> list[int]:
        """Return the rows without a picture."""
        import pyarrow.compute

        cells = self._rows.with_format("arrow")[:][self._column]
        parts = [pyarrow.compute.struct_field(cells, part).is_null() for part in ("bytes", "path")]
        empty = pyarrow.compute.and_(*parts)
        return [row for row, is_empty in enumerate(empty.to_pylist()) if is_empty]

    def read(self, row: int, name: str) -> bytes:
        """Return the encoded picture of a row."""
        cell = self._rows[row][self._column]
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise BadImage(name, f"{cell['path']}: {error.strerror or error}") from error


@dataclass(frozen=True)
class RowImage(EncodedImage):
    """The picture of one row."""

    column: ImageColumn
    source: str
    row: int

    @property
    def name(self) -> str:
        return f"{self.source}, row {self.row}"

    def read(self) -> bytes:
        return self.column.read(self.row, self.name)


def load_folder(path: Path, options: DataOptions, id: str, *, config: str | None = None) -> Dataset:
    """Return one split of a folder that ``save_to_disk`` wrote, or that ``load_dataset`` can read.

    Raises:
        UsageError: the split or configuration is not there, or has to be named, or columns have to.
        DataError: the folder is damaged, or holds nothing that can be read.
    """
    options.refuse_unknown(OPTIONS, id)
    split = options.options.get("split")
    with library_errors(str(path)):
        if any((path / name).is_file() for name in SAVED_FILES):
            opened = _open_saved(path, split)
        else:
            opened = open_split(str(path), config=config, split=split, key="local")
    return from_rows(opened, options, id)


def from_rows(opened: Rows, options: DataOptions, id: str) -> Dataset:
    """Return the data set that rows describe.

    The image column is the one of type Image, whatever its name; other columns go by the usual names. Rows are
    pictures of their own, unless a column of image ids says that several are one picture with several captions.
    Columns of typographic attacks, such as SCAM's, make a data set of attacks.

    Raises:
        UsageError: it cannot be told which column is what.
        DataError: a row lacks its picture (unless ``allow_partial``), label or caption, or the split has no labels.
    """
    if dialect_of(opened.rows.column_names) is not None:
        return _attacks(opened, options, id)
    from clipbench.data.contrasts import rows as contrasts

    if schema := contrasts.schema_of_rows(opened.rows):
        return contrasts.from_rows(opened, schema, options, id)
    roles = _roles(opened.rows, options, id)
    pictures = ImageColumn(opened.rows, roles.image)
    missing = set(pictures.missing())
    if missing and (not options.allow_partial or len(missing) == len(opened.rows)):
        raise DataError(f"{id}, row {min(missing)} has no picture ({len(missing)} of {len(opened.rows)} rows)")
    kept = [row for row in range(len(opened.rows)) if row not in missing]
    class_names, notes = _class_names(opened.rows, roles, options)
    samples = _samples(opened.rows, roles, kept, id, class_names)
    _refuse_hidden_labels(samples, opened.split, id)
    if missing:
        notes = (*notes, f"{len(missing)} of {len(opened.rows)} rows have no picture and were left out")
    dataset = Dataset(
        id=id,
        revision=opened.revision,
        split=opened.split,
        images=[RowImage(pictures, id, row) for row in samples.first_rows],
        image_ids=samples.image_ids,
        labels=samples.labels,
        class_names=samples.class_names,
        captions=samples.captions,
        caption_image=samples.caption_image,
        notes=(*samples.notes, *notes),
    )
    return check(dataset, allow_partial=options.allow_partial)


def open_split(source: str, *, config: str | None, split: str | None, key: str, revision: str | None = None) -> Rows:
    """Return one split of what ``load_dataset`` knows as ``source``; only that split's files are fetched and converted.

    Args:
        key: where in the cache the converted rows go.
    """
    import datasets

    plan = datasets.load_dataset_builder(source, config, revision=revision)
    files = plan.config.data_files
    split = choose_split([str(name) for name in (files or plan.info.splits or ())], split, source)
    # A place of its own for each split: the library takes a folder with some of the splits for all of them.
    cache = cache_folder(key, split)
    builder = datasets.load_dataset_builder(source, config, revision=revision, cache_dir=str(cache))
    if files is not None:
        builder.config.data_files = type(files)({split: files[split]})
        builder.info.size_in_bytes = None  # of all splits: more than there is room for, it would refuse
    builder.download_and_prepare(verification_mode="no_checks")
    return Rows(builder.as_dataset(split=split), split, revision)


def choose_split(names: Sequence[str], split: str | None, source: str) -> str:
    """Return the split to read: the one that is named, else test, validation, or the only one.

    Raises:
        UsageError: it is not there, or one has to be named.
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
    """Turn what the datasets library raises into one line each."""
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
        raise UsageError(f"{source}: {_line(error, 2)} (hf:DATA:CONFIG names it)") from error


def _line(error: BaseException, n_lines: int = 1) -> str:
    """Return the beginning of a message as one line."""
    return " ".join((str(error).strip() or type(error).__name__).splitlines()[:n_lines])


def _open_saved(path: Path, split: str | None) -> Rows:
    from datasets import load_from_disk

    saved = load_from_disk(str(path))
    if not isinstance(saved, dict):
        if split not in (None, str(saved.split)):
            raise UsageError(f"{path} holds one split only: drop --data-option split={split}")
        return Rows(saved, None if saved.split is None else str(saved.split), None)
    split = choose_split(list(saved), split, str(path))
    return Rows(saved[split], split, None)


def _attacks(opened: Rows, options: DataOptions, id: str) -> Dataset:
    """Return the typographic attacks that rows describe."""
    from datasets import Image

    options.refuse_unknown(("split",), id)
    dialect, image = dialect_of(opened.rows.column_names), _only(opened.rows, Image)
    if dialect is None or image is None:
        raise UsageError(f"{id}: expected one column of pictures, got {', '.join(opened.rows.column_names)}")
    pictures = ImageColumn(opened.rows, image)
    if missing := pictures.missing():
        raise DataError(f"{id}, row {missing[0]} has no picture ({len(missing)} of {len(opened.rows)} rows)")
    columns = {name: _spoken(opened.rows, name) for name in opened.rows.column_names if name != image}
    described = described_rows(Table(columns=columns, place=lambda row: f"{id}, row {row}"), dialect)
    photographs = [Photograph(RowImage(pictures, id, row), str(row), *each) for row, each in enumerate(described)]
    dataset = attack_dataset(photographs, options, id, templates=dialect.templates())
    return replace(dataset, revision=opened.revision, split=opened.split)


def _spoken(rows: "datasets.Dataset", column: str) -> list[object]:
    """Return the values of a column, classes by their names."""
    names: Sequence[str] | None = getattr(rows.features[column], "names", None)
    return [names[value] for value in rows[column]] if names else list(rows[column])


def _only(rows: "datasets.Dataset", kind: type) -> str | None:
    """Return the one column of a type; None where there is none, or several."""
    found = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
    return found[0] if len(found) == 1 else None


def _roles(rows: "datasets.Dataset", options: DataOptions, id: str) -> Roles:
    from datasets import ClassLabel, Image

    usual = {"image": _only(rows, Image), "label": _only(rows, ClassLabel)}
    roles = find_roles(rows.column_names, options.options, source=id, **usual)
    if "string" in getattr(rows.features[roles.image], "dtype", ""):
        raise UsageError(
            f"{id}: column '{roles.image}' holds texts, not pictures: a list of picture files is a manifest"
        )
    return roles


def _class_names(
    rows: "datasets.Dataset", roles: Roles, options: DataOptions
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    names: Sequence[str] | None = getattr(rows.features.get(roles.label), "names", None)
    if names is not None:
        return spoken_names(names)
    given = options.options.get("class_names")
    return (None if given is None else read_class_names(Path(given))), ()


def _samples(
    rows: "datasets.Dataset", roles: Roles, kept: Sequence[int], id: str, class_names: Sequence[str] | None
) -> Samples:
    wanted = [*roles.captions, *filter(None, (roles.label, roles.class_name, roles.id))]
    columns: Mapping[str, Sequence[object]] = {name: _values(rows, name) for name in wanted}
    table = Table(columns=columns, place=lambda row: f"{id}, row {row}")
    is_shared = roles.captions and (roles.id_is_named or roles.id == "image_id")
    keys = {row: str(columns[roles.id][row]) if is_shared and roles.id else str(row) for row in kept}
    return read_samples(table, roles, keys=keys, ids={row: str(row) for row in kept}, class_names=class_names)


def _values(rows: "datasets.Dataset", column: str) -> list[object]:
    values = list(rows[column])
    if column == "txt":  # a webdataset's captions are the lines of one text
        return [value.splitlines() if isinstance(value, str) else value for value in values]
    return values


def _refuse_hidden_labels(samples: Samples, split: str | None, id: str) -> None:
    if samples.labels is not None and (samples.labels == -1).all():
        raise DataError(f"split '{split}' of {id} has its labels hidden (all -1): name another with split=NAME")
