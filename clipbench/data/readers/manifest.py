"""Manifests: CSV, TSV, JSON Lines or JSON tables that list image files with captions, labels or both."""

import os
from dataclasses import replace
from pathlib import Path, PurePath

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, existing_files
from clipbench.data.prompts import read_class_names
from clipbench.data.readers.table import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table import TableImage, find_roles, rows_of_split, table_dataset
from clipbench.errors import DataError, UsageError, data_option
from clipbench.untrusted.reading import is_file, is_folder, matching, shown
from clipbench.untrusted.text_tables import READERS, ColumnTable, read_table

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
VISIBLE = "[!.]*"
"""Pattern of the names that are not hidden."""


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images that a table lists, in order of first appearance.

    An image's path is relative to the manifest's folder, or absolute. Rows with the same image are one image with
    several captions. A caption column may also hold a list, or be one of ``caption_0``, ``caption_1``, ... Without an
    id column an image's id is its path, relative to the manifest if it is below the manifest.
    """
    if is_folder(path):
        path, *other_manifests = manifests_in(path)
        if other_manifests:
            raise UsageError(f"{path.parent} has {path.name} and {other_manifests[0].name}: choose one, as {path}")
    return dataset_of(read_table(path), path, options, id)


def dataset_of(table: ColumnTable, path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the images that a table lists, as ``load`` does.

    Args:
        path: file of the table, to whose folder the paths of the images are relative.
    """
    options.refuse_unknown(OPTIONS, id)
    roles = find_roles(list(table.columns), options.options, source=str(path))
    split = options.options.get("split")
    if roles.split is None and split is not None:
        raise UsageError(f"{path} has no split column: remove {data_option(split=split)}")
    rows = rows_of_split(table.columns[roles.split or roles.image], split, source=str(path))
    files = {row: _file(path, table, roles.image, row) for row in rows}
    advice = "paths are relative to the manifest's folder"
    folder = path.parent
    existing, file_notes = existing_files(
        files.values(), folder, path.name, advice, allow_partial=options.allow_partial
    )
    files = {row: file for row, file in files.items() if file in existing}
    images = {row: TableImage(FileImage(file), file, id_below(folder, file)) for row, file in files.items()}
    names = options.options.get("class_names")
    roles = replace(roles, id=None) if roles.id == roles.image else roles
    dataset = table_dataset(table, roles, id, images, None if names is None else read_class_names(Path(names)))
    notes = (*dataset.notes, *file_notes)
    splits = sorted({str(value) for value in table.columns[roles.split]}) if roles.split is not None else []
    if split is None and len(splits) > 1:
        notes += (f"all splits are read together ({', '.join(splits)}). {data_option(split=splits[0])} reads one",)
    return replace(dataset, split=split, has_ids=True, notes=notes)


def fits(path: Path) -> bool:
    """Return whether a path is a file of a kind that is read."""
    return is_file(path) and path.suffix.lower() in READERS


def only_table(folder: Path, *, has_captions: bool) -> Path | None:
    """Return the one table in a folder, such as ``captions.csv``, or None if there is none, or several.

    Without captions, a table next to several folders does not count, because they may be one folder per class.
    """
    tables = tables_in(folder)
    n_folders = sum(map(is_folder, matching(folder, VISIBLE)))
    return tables[0] if len(tables) == 1 and (has_captions or n_folders < 2) else None


def tables_in(folder: Path) -> list[Path]:
    """Return the tables in a folder, by name, without hidden files such as the record of ``clipbench data get``."""
    return [file for file in matching(folder, VISIBLE) if fits(file)]


def manifests_in(folder: Path) -> list[Path]:
    """Return the files of a folder that have a manifest's name."""
    return [folder / name for name in NAMES if is_file(folder / name)]


NAMES = tuple(f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in READERS)
"""Files that make a folder one with a manifest."""


def _file(manifest: Path, table: ColumnTable, column: str, row: int) -> Path:
    value = table.columns[column][row]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{table.row_name(row)}: expected the path of an image in {column}, got {shown(value)}")
    if value.startswith(("http://", "https://")):
        raise DataError(f"{table.row_name(row)}: {value} is a web address: download the images and list their files")
    return Path(os.path.normpath(manifest.parent / value))


def id_below(folder: Path, file: Path) -> str:
    """Return the path of a file below a folder, so that a copy elsewhere has the same ids."""
    root = Path(os.path.normpath(folder))
    return PurePath(file.relative_to(root) if file.is_relative_to(root) else file).as_posix()
