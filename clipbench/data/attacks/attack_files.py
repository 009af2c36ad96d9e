"""Typographic attacks on disk: a manifest (SCAM's too), file names (PAINT, RTA-100), annotations (Materzynska)."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, ImageRef, existing_files
from clipbench.data.prompts import published_prompts
from clipbench.data.questions import Attack
from clipbench.data.readers import manifest
from clipbench.data.readers.image_folder import EXTENSIONS
from clipbench.data.readers.table import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table import usual_column
from clipbench.errors import DataError, did_you_mean
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import decode_json, entries, is_file, is_folder, read_json
from clipbench.untrusted.text_tables import ColumnTable

OWN_COLUMNS = ("object", "text", "attack")
SCAM_COLUMNS = ("type", "object_label", "attack_word")
SCAM_TYPES = {"NoSCAM": (False, ""), "SCAM": (True, ""), "SynthSCAM": (True, "synthetic")}
"""(is the word written, condition) of each type of SCAM. NoSCAM shows the same note with the word removed."""
Cells = Mapping[str, str]


class Photograph(NamedTuple):
    """One image of an object, and what is written on it."""

    image: ImageRef
    id: str
    object: str
    """Name of the object."""
    text: str | None
    """Text of the overlay: "" for a blank overlay, None without an overlay."""
    object_key: str
    """Key of the photographed object, whose photographs are compared with each other."""
    condition: str = ""
    """Style of the overlay, in data that vary it, or "" for the data set's one style."""

    @property
    def kind(self) -> str:
        """Role in an attack: ``clean``, ``blank``, ``benign`` or ``attacked``. The case of the text does not matter."""
        if not self.text:
            return "clean" if self.text is None else "blank"
        return "benign" if self.text.casefold() == self.object.casefold() else "attacked"


def is_attack_table(columns: Iterable[str]) -> bool:
    """Return whether a table with these columns lists attacks: clipbench's own columns, or the columns of SCAM."""
    return any(set(required_columns) <= set(columns) for required_columns in (OWN_COLUMNS, SCAM_COLUMNS))


def read_attacks(
    table: ColumnTable, images: Sequence[ImageRef], ids: Sequence[str]
) -> tuple[list[Photograph], tuple[str, ...] | None]:
    """Return the photographs that the rows of a table describe, and the templates of the published protocol, if any.

    SCAM's own evaluation uses the first 32 of CLIP's 80 ImageNet templates.
    """
    is_own = set(OWN_COLUMNS) <= set(table.columns)
    used_columns = (*OWN_COLUMNS, "set", "note") if is_own else (*SCAM_COLUMNS, "id")
    columns = {name: table.columns[name] for name in used_columns if name in table.columns}
    rows = []
    for cells in zip(*columns.values(), strict=True):
        texts = ["" if cell is None else str(cell) for cell in cells]
        rows.append(dict(zip(columns, texts, strict=True)))
    templates: tuple[str, ...] | None = None
    if is_own:
        subjects = [_manifest_subject(row, table.row_name(number)) for number, row in enumerate(rows)]
    else:
        subjects = _scam_subjects(rows, table)
        templates = published_prompts("imagenet").templates[:32]
    photographs = [Photograph(image, id, *subject) for image, id, subject in zip(images, ids, subjects, strict=True)]
    return photographs, templates


def attack_dataset(photographs: Sequence[Photograph], id: str, *, templates: tuple[str, ...] | None = None) -> Dataset:
    """Return a data set of photographs: one attack for each that has another object's name written on it.

    The classes are all objects and all words, in alphabetical order. Attacks on one object are one cluster: the same
    thing is photographed several times.

    Raises:
        DataError: nothing is attacked, or a thing has two images of one kind to compare with.
    """
    spellings: dict[str, str] = {}
    for photograph in photographs:
        for name in (photograph.object, photograph.text):
            if name:
                spellings.setdefault(name.casefold(), name)
    class_names = sorted(spellings.values())
    controls = _controls(photographs, id)
    attacks = []
    for number, photograph in enumerate(photographs):
        if photograph.kind != "attacked":
            continue
        object_name = spellings[photograph.object.casefold()]
        word = spellings[(photograph.text or "").casefold()]
        attacks.append(
            Attack(
                id=photograph.id,
                label=class_names.index(object_name),
                word=class_names.index(word),
                attacked=number,
                clean=controls.get((photograph.object_key, "clean")),
                blank=controls.get((photograph.object_key, "blank")),
                benign=controls.get((photograph.object_key, "benign")),
                condition=photograph.condition,
                object=object_name,
            )
        )
    if not attacks:
        raise DataError(
            f"data set {id} has {len(photographs)} images, none of them with an attack: expected images with the"
            " name of another object on them"
        )
    return Dataset(
        id=id,
        images=[photograph.image for photograph in photographs],
        image_ids=[photograph.id for photograph in photographs],
        class_names=tuple(class_names),
        templates=templates,
        attacks=attacks,
    )


def _controls(photographs: Sequence[Photograph], data: str) -> dict[tuple[str, str], int]:
    """Return the row of each thing's image without an overlay, with a blank one, and with its own name."""
    controls: dict[tuple[str, str], int] = {}
    for number, photograph in enumerate(photographs):
        if photograph.kind == "attacked":
            continue
        first = controls.setdefault((photograph.object_key, photograph.kind), number)
        if first != number:
            raise DataError(
                f"data set {data}: '{photographs[first].id}' and '{photograph.id}' are both {photograph.kind}"
                f" images of {photograph.object_key}: expected only one per object. "
                "If they show different objects, put them into different sets"
            )
    return controls


class _Subject(NamedTuple):
    """What a photograph shows: its fields without the image."""

    object: str
    text: str | None
    object_key: str
    condition: str = ""


def _manifest_subject(row: Cells, location: str) -> _Subject:
    """Return what the image of a row with ``attack`` (0 or 1) shows.

    Without an attack, the text is the object's own name or empty. A ``note`` with "blank" marks an image with an
    overlay.
    """
    name, text, attack = row["object"].strip(), row["text"].strip(), row["attack"].strip()
    if not name:
        raise DataError(f"{location}: the object is empty")
    if attack not in ("0", "1"):
        raise DataError(f"{location}: attack is '{attack}', expected 0 or 1")
    is_other = text.casefold() not in ("", name.casefold())
    if is_other != (attack == "1"):
        expected = "the name of another object" if attack == "1" else f"'{name}' or nothing"
        raise DataError(f"{location}: attack is {attack} and '{text}' is written on the {name}: expected {expected}")
    is_bare = not text and "blank" not in row.get("note", "").casefold()
    object_key = f"{row.get('set', '')}/{name}".lstrip("/")
    return _Subject(name, None if is_bare else text, object_key)


def _scam_subjects(rows: Sequence[Cells], table: ColumnTable) -> list[_Subject]:
    ids = [row.get("id", "") for row in rows]
    ids_by_type = {(row["type"], id) for row, id in zip(rows, ids, strict=True)}
    # An id joins the three versions of a photograph in some copies, and numbers the rows in others. There it goes by
    # object, word and occurrence: each type lists the photographs in the same order.
    is_joining = len(set(ids)) < len(ids) == len(ids_by_type) and all(ids)
    occurrences: Counter[tuple[str, str, str]] = Counter()
    subjects = []
    for number, row in enumerate(rows):
        kind, name, word = (row[column] for column in SCAM_COLUMNS)
        if kind not in SCAM_TYPES:
            raise DataError(f"{table.row_name(number)}: unknown type '{kind}': {did_you_mean(kind, SCAM_TYPES)}")
        if not name.strip() or not word.strip():
            raise DataError(f"{table.row_name(number)}: the object_label or attack_word is empty")
        occurrences[kind, name, word] += 1
        object_key = ids[number] if is_joining else f"{name}/{word}/{occurrences[kind, name, word]}"
        is_written, condition = SCAM_TYPES[kind]
        subjects.append(_Subject(name, word if is_written else "", object_key, condition))
    return subjects


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
    return file is not None and is_attack_table(_columns(file))


def load_manifest(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks that a table lists: ``object``, ``text`` and ``attack``, or SCAM's columns, and an image file.

    If the user names a column of captions or labels, the table is read as an ordinary manifest instead.
    """
    file = _manifest(path)
    assert file is not None, path
    if any(name in options.options for name in COLUMN_OPTIONS):
        return manifest.load(file, options, id)
    options.refuse_unknown((), id)
    table = text_tables.read_table(file)
    if not is_attack_table(table.columns):
        raise DataError(f"{file}: its rows have different columns: expected the columns of the first row in each row")
    column = usual_column("image", table.columns)
    if column is None:
        raise DataError(f"{file} has no column of image files: expected one called path or image")
    names = list(map(str, table.columns[column]))
    photographs, templates = read_attacks(table, [FileImage(file.parent / name) for name in names], names)
    return _dataset(photographs, file.parent, options, id, templates=templates)


def _manifest(path: Path) -> Path | None:
    if is_file(path):
        return path if path.suffix.lower() in text_tables.READERS else None
    manifests = manifest.manifests_in(path)
    return manifests[0] if len(manifests) == 1 else None


def _columns(file: Path) -> set[str]:
    """Return the columns in the first row of a table, or none if the file cannot be read."""
    head = text_tables.read_head(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return set(text_tables.header_columns(head, file.suffix))
    first = re.search(r"\{[^{}]*\}", head)
    try:
        return set(decode_json(first[0])) if first else set()
    except ValueError:
        return set()


# -- file names


def has_named_files(path: Path) -> bool:
    """Return whether a folder's images have names like ``label=dog_text=cat.png``, as in PAINT and RTA-100."""
    if not is_folder(path):
        return False
    subfolders = [entry for entry in entries(path, DataError) if is_folder(entry)]
    for folder in (path, *subfolders[:_N_FOLDERS_TRIED]):
        image = _first_image(folder)
        if image is not None and _FILE_NAME.fullmatch(image.stem):
            return True
    return False


def _first_image(folder: Path) -> Path | None:
    for file in entries(folder, DataError):
        if file.suffix.lower() in EXTENSIONS and is_file(file):
            return file
    return None


def load_named_files(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks of a folder whose file names state the object and the written word.

    The prompt is the default one, "a photo of a {c}.", as in both papers.
    """
    options.refuse_unknown((), id)
    photographs = []
    for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS):
        match = _FILE_NAME.fullmatch(file.stem)
        if match is None:
            raise DataError(f"{file}: expected a name such as label=dog_text=cat{file.suffix}, like the other files")
        object_name = match["object"].replace("_", " ")
        text = match["text"].replace("_", " ") or None
        photograph_id = file.relative_to(path).as_posix()
        photographs.append(Photograph(FileImage(file), photograph_id, object_name, text, object_name))
    return _dataset(photographs, path, options, id)


# -- annotations


def has_annotations(path: Path) -> bool:
    """Return whether a folder (or its annotations.json) has Materzynska's annotations."""
    file = path / ANNOTATIONS if is_folder(path) else path
    return file.name == ANNOTATIONS and is_file(file) and f'"{OBJECT}"' in text_tables.read_head(file)


def load_annotations(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the attacks of ``{"IMG.JPG": {"true object": "mug", "typographic attack label": "dog"}}``.

    An empty overlay, or none, is an image without one. The prompt is "a photo of {c}.", as in Defense-Prefix.
    """
    options.refuse_unknown((), id)
    file = path / ANNOTATIONS if is_folder(path) else path
    files = {path.name: path for path in file.parent.rglob("*") if path.suffix.lower() in EXTENSIONS}
    photographs = []
    content = read_json(file, DataError)
    if not isinstance(content, dict) or not all(isinstance(annotation, dict) for annotation in content.values()):
        raise DataError(f'{file}: expected an object such as {{"IMG.JPG": {{"{OBJECT}": ..., "{WORD}": ...}}}}')
    for name, annotation in content.items():
        object_name = annotation.get(OBJECT)
        if not isinstance(object_name, str) or not object_name.strip():
            raise DataError(f"{file}: '{name}' has the {OBJECT} {object_name!r}, expected its name")
        word = str(annotation.get(WORD) or "").strip()
        text = word if word.casefold() not in ("", "none") else None
        image = FileImage(files.get(Path(name).name, file.parent / name))
        photographs.append(Photograph(image, name, object_name, text, object_name))
    return _dataset(photographs, file.parent, options, id, templates=("a photo of {c}.",))


def _dataset(
    photographs: Sequence[Photograph],
    folder: Path,
    options: DataOptions,
    id: str,
    *,
    templates: tuple[str, ...] | None = None,
) -> Dataset:
    """Return the data set of the photographs whose files exist, which a table in a folder names."""
    files = [Path(photograph.image.name) for photograph in photographs]
    existing, notes = existing_files(files, folder, id, "put the images there", allow_partial=options.allow_partial)
    present = [photograph for photograph in photographs if Path(photograph.image.name) in existing]
    return replace(attack_dataset(present, id, templates=templates), notes=notes)


LAYOUTS = (
    ("a manifest of objects with words written on them", is_manifest, load_manifest),
    ("images called label=dog_text=cat.png", has_named_files, load_named_files),
    ("annotations.json of typographic attacks", has_annotations, load_annotations),
)
