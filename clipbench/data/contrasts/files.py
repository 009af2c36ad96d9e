"""Contrasts in JSON, JSON Lines or CSV files, beside their images.

A file is one subset: SugarCrepe's ``data/swap_att.json``, VALSE's ``existence.json``. A ``manifest.jsonl`` is a whole
data set, and its rows may name their ``subset``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from clipbench.data.contrasts.names import NESTED, named, read_name
from clipbench.data.contrasts.questions import CroppedImage, Question, dataset_of, image_files, read_question
from clipbench.data.contrasts.schemas import Schema, schema_of
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, outside_notes
from clipbench.data.readers import manifest
from clipbench.errors import DataError, UsageError
from clipbench.untrusted.reading import is_file, is_folder, matching, read_json, reading, shown

PLACES = (
    "images",
    "val2017",
    "coco",
    "coco/val2017",
    "coco/images",
    "coco/images/val2017",
    "images/val2017",
    "winogavil_images",
    "data",
    "MLLM_VLM Images",
    "vg_images",
    "VG_100K",
    "VG_100K_2",
    "JPEGImages",
    "VOCdevkit/VOC2007/JPEGImages",
)
"""Folders that may hold the images, relative to the data's folder, its parent, or the data root."""
_LIST_OF_LISTS = re.compile(r"\s*\[\s*\[")


def fits(path: Path) -> bool:
    """Return whether a file, or files of a folder (or of its ``data`` folder), hold contrasts."""
    return bool(_files(path))


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the contrasts of a file or folder with the images that they name.

    Raises:
        UsageError: no such subset.
        DataError: a malformed row, or an item without a choice.
        Unavailable: images are missing; with ``allow_partial``, only if no contrast is left.
    """
    options.refuse_unknown(("subset",), id)
    questions: dict[str, Question] = {}
    for file in _files(path):
        for key, question in _questions(file):
            if key in questions:
                raise DataError(f"{file}: the item '{key}' is there twice: ids must be distinct")
            questions[key] = question
    questions = _of_subset(questions, options.options.get("subset"), path)
    folders = _image_folders(path, options.data_root)
    files = image_files(questions.values(), folders)
    images = {
        key: FileImage(file) if key.box is None else CroppedImage(FileImage(file), key.box)
        for key, file in files.items()
    }
    base = path if is_folder(path) else path.parent
    places = f"{base} and {', '.join(PLACES[:4])} below or beside it"
    dataset = dataset_of(questions, images, id, allow_partial=options.allow_partial, places=places)
    outside = outside_notes({*files.values()}, folders, id)
    return replace(dataset, notes=(*dataset.notes, *outside, *_unread_note(path)))


def _files(path: Path) -> list[Path]:
    """Return the files with contrasts, those of a ``data`` folder first, and of folders in it last."""
    if is_file(path):
        return [path] if _schema(path) else []
    if not is_folder(path):
        return []
    folders = (path / "data", path)
    nested = (path / "prod_hard_negatives", *folders)
    places = chain(
        map(_tables, folders),
        ([file for name in NESTED for file in matching(place, name)] for place in nested),
    )
    return next((files for place in places if (files := [file for file in place if _schema(file)])), [])


def _tables(folder: Path) -> list[Path]:
    return [file for file in matching(folder, "*") if file.suffix.lower() in manifest.READERS and is_file(file)]


def _unread_note(path: Path) -> Iterator[str]:
    if is_folder(path):
        files = _files(path)
        others = [file.name for file in _tables(files[0].parent) if file not in files]
        if others:
            yield f"not read, because they hold no contrasts: {', '.join(others)}"


def _schema(file: Path) -> Schema | None:
    """Return the schema of a file's first row; None for a file that cannot be read: a later layout reports it."""
    head = manifest.read_head(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return schema_of(manifest.header_columns(head, file.suffix))
    row = _first_row(head, file)
    return None if row is None else schema_of(row)


def _first_row(text: str, file: Path) -> Mapping[str, object] | None:
    """Return the first object of a list or of lines, the first value of an object of objects, or a list by its names."""
    start = text.find("{")
    if file.suffix.lower() == ".json":
        if _LIST_OF_LISTS.match(text):
            start = text.find("[", text.find("[") + 1)
        elif text.lstrip().startswith("{"):
            start = text.find("{", start + 1)
    try:
        value = json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    return named(value, file) if isinstance(value, list) else value if isinstance(value, dict) else None


def _questions(file: Path) -> Iterator[tuple[str, Question]]:
    """Yield a file's questions with their ids, which begin with the subset."""
    name, schema = read_name(file), _schema(file)
    assert schema is not None, file
    said = {"subset": name.subset, "group": name.group} if name.part else {}
    for place, key, row in _items(file, schema):
        question = read_question(schema.read, {**row, **said}, f"{file}, {place}")
        subset = question.subset or name.subset
        given = row.get("id", row.get("ID"))
        yield name.id(subset, key if given is None else str(given)), question._replace(subset=subset)


def _items(file: Path, schema: Schema) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Yield place, key and fields of each item, of one row or several."""
    part: dict[str, object] = {}
    n_items = n_parts = 0
    for place, key, row in _rows(file):
        if schema_of(row) != schema:
            raise DataError(f"{file}, {place}: expected the fields of {schema.description}, got {', '.join(row)}")
        for kind, column in schema.columns.items():
            yield place, key, {**row, "hard_negs": row[column], "subset": f"{read_name(file).subset}_{kind}"}
        if schema.columns:
            continue
        if schema.n_rows == 1:
            yield place, key, row
            continue
        part |= {f"{field}_{n_parts}": value for field, value in row.items()}
        n_parts += 1
        if n_parts == schema.n_rows:
            yield place, str(n_items), part
            part, n_parts, n_items = {}, 0, n_items + 1
    if n_parts:
        raise DataError(f"{file}: an item of {schema.description} has {schema.n_rows} rows, the last one {n_parts}")


def _rows(file: Path) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    """Yield place, key and fields of each row; the key is that of a JSON object of objects, else the row's number."""
    if file.suffix.lower() == ".json":
        items = read_json(file, DataError)
        is_keyed = isinstance(items, dict)
        for key, item in items.items() if is_keyed else enumerate(items):
            place = f"item '{key}'" if is_keyed else f"item {key + 1}"
            row = named(item, file) if isinstance(item, list) else item
            if not isinstance(row, dict):
                raise DataError(f"{file}, {place}: expected an object, got {shown(item)}")
            yield place, str(key), row
        return
    with reading(file, DataError):
        for row_number, (line, row) in enumerate(manifest.READERS[file.suffix.lower()](file)):
            yield f"line {line}", str(row_number), row


def _of_subset(questions: dict[str, Question], subset: str | None, path: Path) -> dict[str, Question]:
    if subset is None:
        return questions
    in_subset = {key: question for key, question in questions.items() if question.subset == subset}
    if not in_subset:
        known = dict.fromkeys(question.subset or "(none)" for question in questions.values())
        raise UsageError(f"{path} has no subset '{subset}': it has {', '.join(known)}")
    return in_subset


def _image_folders(path: Path, data_root: Path | None) -> Sequence[Path]:
    base = path if is_folder(path) else path.parent
    places = [base, *(base / place for place in PLACES), *(base.parent / place for place in PLACES)]
    if data_root is not None:
        places += [data_root / place for place in PLACES]
    return [place for place in dict.fromkeys(places) if is_folder(place)]
