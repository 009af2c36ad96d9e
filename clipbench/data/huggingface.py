"""Hugging Face data sets: the rows of one split, from the Hub or a folder, with images left encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.data.attacks import Photograph, attack_dataset, described_rows, dialect_of
from clipbench.data.class_names import read_class_names, spoken_names
from clipbench.data.contrasts import huggingface as contrasts
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.huggingface_rows import (
    SAVED_FILES,
    ImageColumn,
    RowImage,
    Rows,
    library_errors,
    open_saved,
    open_split,
)
from clipbench.data.table import Samples, Table, read_samples
from clipbench.data.table_columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.table_columns import Roles, find_roles
from clipbench.errors import DataError, UsageError

if TYPE_CHECKING:
    import datasets

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")


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
            opened = open_saved(path, split)
        else:
            opened = open_split(str(path), config=config, split=split, key="local")
    return from_rows(opened, options, id)


def from_rows(opened: Rows, options: DataOptions, id: str) -> Dataset:
    """Return the data set that rows describe.

    The image column is the one of type Image, whatever its name; other columns go by the usual names. Rows are
    images of their own, unless a column of image ids says that several are one image with several captions.
    Columns of typographic attacks, such as SCAM's, make a data set of attacks.

    Raises:
        UsageError: it cannot be told which column is what.
        DataError: a row lacks its image (unless ``allow_partial``), label or caption, or the split has no labels.
    """
    if dialect_of(opened.rows.column_names) is not None:
        return _attacks(opened, options, id)
    if schema := contrasts.schema_of_rows(opened.rows):
        return contrasts.from_rows(opened, schema, options, id)
    roles = _roles(opened.rows, options, id)
    column = ImageColumn(opened.rows, roles.image)
    missing = set(column.missing())
    if missing and (not options.allow_partial or len(missing) == len(opened.rows)):
        raise DataError(f"{id}, row {min(missing)} has no image ({len(missing)} of {len(opened.rows)} rows)")
    kept = [row for row in range(len(opened.rows)) if row not in missing]
    class_names, notes = _class_names(opened.rows, roles, options)
    samples = _samples(opened.rows, roles, kept, id, class_names)
    _refuse_hidden_labels(samples, opened.split, id)
    if missing:
        notes = (*notes, f"{len(missing)} of {len(opened.rows)} rows have no image and were left out")
    dataset = Dataset(
        id=id,
        revision=opened.revision,
        split=opened.split,
        images=[RowImage(column, id, row) for row in samples.first_rows],
        image_ids=samples.image_ids,
        has_ids=list(samples.image_ids) != [str(row) for row in samples.first_rows],
        labels=samples.labels,
        class_names=samples.class_names,
        captions=samples.captions,
        caption_image=samples.caption_image,
        notes=(*samples.notes, *notes),
    )
    return check(dataset, allow_partial=options.allow_partial)


def _attacks(opened: Rows, options: DataOptions, id: str) -> Dataset:
    """Return the typographic attacks that rows describe."""
    from datasets import Image

    options.refuse_unknown(("split",), id)
    dialect, image = dialect_of(opened.rows.column_names), _only(opened.rows, Image)
    if dialect is None or image is None:
        raise UsageError(f"{id}: expected one column of images, got {', '.join(opened.rows.column_names)}")
    column = ImageColumn(opened.rows, image)
    if missing := column.missing():
        raise DataError(f"{id}, row {missing[0]} has no image ({len(missing)} of {len(opened.rows)} rows)")
    columns = {name: _spoken(opened.rows, name) for name in opened.rows.column_names if name != image}
    described = described_rows(Table(columns=columns, place=lambda row: f"{id}, row {row}"), dialect)
    photographs = [Photograph(RowImage(column, id, row), str(row), *each) for row, each in enumerate(described)]
    dataset = attack_dataset(photographs, options, id, templates=dialect.templates())
    return replace(dataset, revision=opened.revision, split=opened.split, has_ids=False)


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
        raise UsageError(f"{id}: column '{roles.image}' holds texts, not images: a list of image files is a manifest")
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
