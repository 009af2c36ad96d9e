"""Typographic attacks on disk: a manifest, file names (PAINT, RTA-100), annotations (Materzynska), SCAM's columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clipbench.data.attacks.photographs import Photograph, attack_dataset
from clipbench.data.attacks.schemas import AttackRow, AttackSchema, attack_schema
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, existing_files
from clipbench.data.readers import manifest
from clipbench.data.readers.image_folder import EXTENSIONS
from clipbench.data.readers.table import ColumnTable
from clipbench.data.readers.table_columns import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table_columns import USUAL_NAMES
from clipbench.errors import DataError
from clipbench.untrusted.reading import decode_json, entries, is_file, is_folder, read_json

ANNOTATIONS = "annotations.json"
OBJECT, WORD = "true object", "typographic attack label"
"""Keys of Materzynska's annotations."""

_FILE_NAME = re.compile(r"label=(?P<object>.+?)_text=(?P<text>.*)")
_N_FOLDERS_TRIED = 8
"""Subfolders that are searched for a first image."""


# -- a manifest


def is_manifest(path: Path) -> bool:
    """Return whether a file, or the one manifest of a folder, is a table of images with written words."""
    file = _manifest(path)
    return file is not None and attack_schema(_columns(file)) is not None


def load_manifest(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks that a table lists: ``object``, ``text`` and ``attack``, or SCAM's columns, and an image file.

    If the user names a column of captions or labels, the table is read as an ordinary manifest instead.

    Raises:
        DataError: a row is malformed.
        Unavailable: images are missing; with ``allow_partial``, only if all are.
    """
    file = _manifest(path)
    assert file is not None, path
    if any(name in options.options for name in COLUMN_OPTIONS):
        return manifest.load(file, options, id)
    options.refuse_unknown((), id)
    table = manifest.read_table(file)
    schema = attack_schema(table.columns)
    if schema is None:
        raise DataError(f"{file}: not every row has the columns that its first row shows")
    image = _image_column(table, file)
    files = {str(name): file.parent / str(name) for name in table.columns[image]}
    photographs = [
        Photograph(FileImage(files[str(name)]), str(name), *facts)
        for name, facts in zip(table.columns[image], read_attack_rows(table, schema), strict=True)
    ]
    return _dataset(photographs, file.parent, options, id, templates=schema.templates())


def read_attack_rows(table: ColumnTable, schema: AttackSchema) -> list[AttackRow]:
    """Return the rows of a table as its schema reads them, cells as texts."""
    names = [*schema.columns, *(name for name in ("set", "note", "id") if name in table.columns)]
    columns = {name: table.columns[name] for name in names}
    n_rows = len(next(iter(columns.values())))
    rows = [
        {name: "" if column[row] is None else str(column[row]) for name, column in columns.items()}
        for row in range(n_rows)
    ]
    return schema.read(rows, table.place)


def _manifest(path: Path) -> Path | None:
    if is_file(path):
        return path if path.suffix.lower() in manifest.READERS else None
    manifests = manifest.manifests_in(path)
    return manifests[0] if len(manifests) == 1 else None


def _columns(file: Path) -> set[str]:
    """Return the columns in the first row of a table; none where the file cannot be read."""
    head = manifest.read_head(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return set(manifest.header_columns(head, file.suffix))
    first = re.search(r"\{[^{}]*\}", head)
    try:
        return set(decode_json(first[0])) if first else set()
    except ValueError:
        return set()


def _image_column(table: ColumnTable, file: Path) -> str:
    for tier in USUAL_NAMES["image"]:
        for name in table.columns:
            if name.lower() in tier:
                return name
    raise DataError(f"{file} has no column of image files: expected one called path or image")


# -- file names


def has_named_files(path: Path) -> bool:
    """Return whether a folder's images have names like ``label=dog_text=cat.png``, as in PAINT and RTA-100."""
    if not is_folder(path):
        return False
    folders = [path, *[entry for entry in entries(path, DataError) if is_folder(entry)][:_N_FOLDERS_TRIED]]
    first_images = (next(_images(folder), None) for folder in folders)
    return any(image is not None and _FILE_NAME.fullmatch(image.stem) for image in first_images)


def load_named_files(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks of a folder whose files' names say what is shown and what is written.

    The prompt is the default one, "a photo of a {c}.", which is that of both papers.

    Raises:
        DataError: an image has no such name.
    """
    options.refuse_unknown((), id)
    photographs = []
    for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS):
        match = _FILE_NAME.fullmatch(file.stem)
        if match is None:
            raise DataError(
                f"{file}: expected a name such as label=dog_text=cat{file.suffix}, like other files of its folder"
            )
        shown, written = match["object"].replace("_", " "), match["text"].replace("_", " ") or None
        photographs.append(Photograph(FileImage(file), file.relative_to(path).as_posix(), shown, written, shown))
    return _dataset(photographs, path, options, id)


def _images(folder: Path) -> Iterator[Path]:
    return (file for file in entries(folder, DataError) if file.suffix.lower() in EXTENSIONS and is_file(file))


# -- annotations


def has_annotations(path: Path) -> bool:
    """Return whether a folder (or its annotations.json) has Materzynska's annotations."""
    file = path / ANNOTATIONS if is_folder(path) else path
    return file.name == ANNOTATIONS and is_file(file) and f'"{OBJECT}"' in manifest.read_head(file)


def load_annotations(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks of ``{"IMG.JPG": {"true object": "mug", "typographic attack label": "dog"}}``.

    An empty label, or none, is an image without one. The prompt is "a photo of {c}.", that of Defense-Prefix.

    Raises:
        DataError: the file is malformed.
        Unavailable: images are missing; with ``allow_partial``, only if all are.
    """
    options.refuse_unknown((), id)
    file = path / ANNOTATIONS if is_folder(path) else path
    files = {path.name: path for path in file.parent.rglob("*") if path.suffix.lower() in EXTENSIONS}
    photographs = []
    for name, entry in _annotations(file).items():
        shown = entry.get(OBJECT)
        if not isinstance(shown, str) or not shown.strip():
            raise DataError(f"{file}: '{name}' has the {OBJECT} {shown!r}, expected its name")
        word = str(entry.get(WORD) or "").strip()
        written = word if word.casefold() not in ("", "none") else None
        image = FileImage(files.get(Path(name).name, file.parent / name))
        photographs.append(Photograph(image, name, shown, written, shown))
    return _dataset(photographs, file.parent, options, id, templates=("a photo of {c}.",))


def _annotations(file: Path) -> Mapping[str, Mapping[str, object]]:
    content = read_json(file, DataError)
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise DataError(f'{file}: expected an object such as {{"IMG.JPG": {{"{OBJECT}": ..., "{WORD}": ...}}}}')
    return content


def _dataset(
    photographs: Sequence[Photograph],
    folder: Path,
    options: DataOptions,
    id: str,
    *,
    templates: tuple[str, ...] | None = None,
) -> Dataset:
    """Return the data set of the photographs whose files exist, which a table in a folder names."""
    existing, notes = existing_files(
        (Path(photograph.image.name) for photograph in photographs),
        folder,
        id,
        allow_partial=options.allow_partial,
        advice="put the images there",
    )
    present = [photograph for photograph in photographs if Path(photograph.image.name) in existing]
    return replace(attack_dataset(present, options, id, templates=templates), notes=notes)
