"""Data sets from the rows of Hugging Face's datasets library: labels, captions, contrasts or attacks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.data.attacks import Photograph, attack_dataset, attack_schema, read_attack_rows
from clipbench.data.class_names import names_for_prompts, read_class_names
from clipbench.data.contrasts import ImageKey, Question, schema_of
from clipbench.data.contrasts.questions import CroppedImage, dataset_of, read_question
from clipbench.data.contrasts.schemas import Schema
from clipbench.data.dataset import DataOptions, Dataset, check
from clipbench.data.images import ImageRef
from clipbench.data.readers.huggingface_rows import (
    SAVED_FILES,
    ImageColumn,
    RowImage,
    SplitRows,
    library_errors,
    open_files,
    open_saved,
    open_split,
)
from clipbench.data.readers.table import ColumnTable, Samples, read_samples
from clipbench.data.readers.table_columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table_columns import Roles, find_roles
from clipbench.errors import DataError, UsageError
from clipbench.untrusted.reading import is_file, refuse_special_files

if TYPE_CHECKING:
    import datasets

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")


def load_folder(path: Path, options: DataOptions, id: str, *, config: str | None = None) -> Dataset:
    """Return one split of a folder that ``save_to_disk`` wrote, or that ``load_dataset`` can read.

    Raises:
        UsageError: the split or configuration does not exist or must be named, or columns must.
        DataError: the folder is damaged, or holds nothing that can be read.
    """
    options.refuse_unknown(OPTIONS, id)
    split = options.options.get("split")
    refuse_special_files(path, DataError)
    with library_errors(str(path)):
        if any(is_file(path / name) for name in SAVED_FILES):
            split_rows = open_saved(path, split)
        else:
            split_rows = open_split(str(path), config=config, split=split, key="local")
    return from_rows(split_rows, options, id)


def load_files(files: Sequence[Path], options: DataOptions, id: str, *, split: str | None) -> Dataset:
    """Return the rows of some parquet files."""
    options.refuse_unknown(OPTIONS, id)
    with library_errors(id):
        return from_rows(open_files(files, split), options, id)


def from_rows(split: SplitRows, options: DataOptions, id: str) -> Dataset:
    """Return the data set that rows describe.

    The image column is the one of type Image, whatever its name; other columns go by the usual names. Each row is an
    image of its own, unless a column of image ids says that several rows are one image with several captions.
    Columns of typographic attacks, such as SCAM's, make a data set of attacks; those of contrasts, such as
    Winoground's, a data set of contrasts.

    Raises:
        UsageError: the role of a column is unclear.
        DataError: a row lacks its image (unless ``allow_partial``), label or caption, or the split has no labels.
        Unavailable: rows of contrasts lack images; with ``allow_partial``, only if all do.
    """
    from datasets import Image

    split = split._replace(rows=_without_media(split.rows))
    if attack_schema(split.rows.column_names) is not None:
        return _attacks(split, options, id)
    schema, image_columns = schema_of(split.rows.column_names), _columns_of(split.rows, Image)
    if schema is not None and image_columns:
        return _contrasts(split, schema, image_columns, options, id)
    roles = _roles(split.rows, options, id)
    column = ImageColumn(split, roles.image)
    missing = set(column.missing())
    if missing and (not options.allow_partial or len(missing) == len(split.rows)):
        raise DataError(f"{id}, row {min(missing)} has no image ({len(missing)} of {len(split.rows)} rows)")
    kept_rows = [row for row in range(len(split.rows)) if row not in missing]
    class_names, notes = _class_names(split.rows, roles, options)
    samples = _samples(split.rows, roles, kept_rows, id, class_names)
    if samples.labels is not None and (samples.labels == -1).all():  # the Hub's convention for hidden test labels
        raise DataError(f"split '{split.name}' of {id} has its labels hidden (all -1): name another with split=NAME")
    if missing:
        notes = (*notes, f"{len(missing)} of {len(split.rows)} rows have no image and were left out")
    dataset = Dataset(
        id=id,
        revision=split.revision,
        split=split.name,
        images=[RowImage(column, id, row) for row in samples.first_rows],
        image_ids=samples.image_ids,
        has_ids=samples.has_ids,
        labels=samples.labels,
        class_names=samples.class_names,
        captions=samples.captions,
        caption_image=samples.caption_image,
        groups=samples.groups,
        notes=(*samples.notes, *notes),
    )
    return check(dataset, allow_partial=options.allow_partial)


def _without_media(rows: "datasets.Dataset") -> "datasets.Dataset":
    """Return rows that decode nothing: images stay encoded, and columns that hold sounds, films or images within lists go."""
    from datasets import Image

    for name, feature in rows.features.items():
        if isinstance(feature, Image):
            rows = rows.cast_column(name, Image(decode=False))
        elif _holds_media(feature):
            rows = rows.remove_columns(name)
    return rows


def _holds_media(feature: object) -> bool:
    if isinstance(feature, dict | list):
        return any(map(_holds_media, feature.values() if isinstance(feature, dict) else feature))
    return hasattr(feature, "decode_example") or _holds_media(getattr(feature, "feature", ()) or [])


def _attacks(split: SplitRows, options: DataOptions, id: str) -> Dataset:
    """Return the typographic attacks that rows describe."""
    from datasets import Image

    options.refuse_unknown(("split",), id)
    schema, image = attack_schema(split.rows.column_names), _only_column(split.rows, Image)
    if schema is None or image is None:
        raise UsageError(f"{id}: expected one column of images, got {', '.join(split.rows.column_names)}")
    column = ImageColumn(split, image)
    if missing := column.missing():
        raise DataError(f"{id}, row {missing[0]} has no image ({len(missing)} of {len(split.rows)} rows)")
    columns = {name: _values_by_name(split.rows, name, id) for name in split.rows.column_names if name != image}
    attack_rows = read_attack_rows(ColumnTable(columns=columns, place=lambda row: f"{id}, row {row}"), schema)
    photographs = [Photograph(RowImage(column, id, row), str(row), *facts) for row, facts in enumerate(attack_rows)]
    dataset = attack_dataset(photographs, options, id, templates=schema.templates())
    return replace(dataset, revision=split.revision, split=split.name, has_ids=False)


def _values_by_name(rows: "datasets.Dataset", column: str, id: str) -> list[object]:
    """Return the values of a column, classes by their names."""
    names: Sequence[str] | None = getattr(rows.features[column], "names", None)
    values = list(rows[column])
    if not names:
        return values
    for row, value in enumerate(values):
        if value is not None and not 0 <= value < len(names):  # -1 is the Hub's convention for hidden labels
            raise DataError(f"{id}, row {row}: {column} is {value}, expected 0 to {len(names) - 1}")
    return [None if value is None else names[value] for value in values]


def _contrasts(
    split: SplitRows, schema: Schema, image_columns: Sequence[str], options: DataOptions, id: str
) -> Dataset:
    """Return the contrasts that rows describe; a row may hold several images, as Winoground's and BiVLC's do."""
    options.refuse_unknown(("split", "revision"), id)
    columns = {name: ImageColumn(split, name) for name in image_columns}
    missing = {name: set(column.missing()) for name, column in columns.items()}
    questions: dict[str, Question] = {}
    images: dict[ImageKey, ImageRef] = {}
    for number, row in enumerate(split.rows.remove_columns(list(columns))):
        # The schemas read names of images from files: here each column's own name stands in for its image.
        question = read_question(schema.read, {**row, **{name: name for name in columns}}, f"{id}, row {number}")
        named = question.images
        keys = tuple(each._replace(name=f"{number}/{each.name}" if len(named) > 1 else str(number)) for each in named)
        for key, (column, _) in zip(keys, named, strict=True):
            if number not in missing[column]:
                image = RowImage(columns[column], id, number)
                images[key] = image if key.box is None else CroppedImage(image, key.box)
        questions[str(number)] = question._replace(images=keys)
    dataset = dataset_of(questions, images, id, allow_partial=options.allow_partial, places="its rows")
    return replace(dataset, split=split.name, revision=split.revision, has_ids=False)


def _columns_of(rows: "datasets.Dataset", kind: type) -> list[str]:
    return [name for name, feature in rows.features.items() if isinstance(feature, kind)]


def _only_column(rows: "datasets.Dataset", kind: type) -> str | None:
    """Return the one column of a type; None where there is none, or several."""
    columns = _columns_of(rows, kind)
    return columns[0] if len(columns) == 1 else None


def _roles(rows: "datasets.Dataset", options: DataOptions, id: str) -> Roles:
    from datasets import ClassLabel, Image

    typed = {"image": _only_column(rows, Image), "label": _only_column(rows, ClassLabel)}
    roles = find_roles(rows.column_names, options.options, source=id, **typed)
    if "string" in getattr(rows.features[roles.image], "dtype", ""):
        raise UsageError(f"{id}: column '{roles.image}' holds texts, not images: a list of image files is a manifest")
    return roles


def _class_names(
    rows: "datasets.Dataset", roles: Roles, options: DataOptions
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    names: Sequence[str] | None = getattr(rows.features.get(roles.label), "names", None)
    if names is not None:
        return names_for_prompts(names)
    file = options.options.get("class_names")
    return (None if file is None else read_class_names(Path(file))), ()


def _samples(
    rows: "datasets.Dataset", roles: Roles, kept_rows: Sequence[int], id: str, class_names: Sequence[str] | None
) -> Samples:
    groups = [name for name in roles.groups if name in rows.column_names]
    names = [*roles.captions, *groups, *filter(None, (roles.label, roles.class_name, roles.id))]
    columns: dict[str, Sequence[object]] = {name: list(rows[name]) for name in names}
    if "txt" in columns:  # a webdataset's captions are the lines of one text
        columns["txt"] = [value.splitlines() if isinstance(value, str) else value for value in columns["txt"]]
    table = ColumnTable(columns=columns, place=lambda row: f"{id}, row {row}")
    is_shared = roles.captions and (roles.id_is_named or roles.id == "image_id")
    keys = {row: str(columns[roles.id][row]) if is_shared and roles.id else str(row) for row in kept_rows}
    return read_samples(table, roles, keys=keys, ids={row: str(row) for row in kept_rows}, class_names=class_names)
