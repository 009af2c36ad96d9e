"""Contrasts in JSON, JSON Lines or CSV files, next to their images.

A file is one subset: SugarCrepe's ``data/swap_att.json``, VALSE's ``existence.json``. A ``manifest.jsonl`` is a whole
data set, and its rows may name their ``subset``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clipbench.data.contrasts import schemas
from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, outside_notes
from clipbench.data.readers import manifest
from clipbench.errors import DataError, UsageError
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import is_file, is_folder, matching, read_json, reading, shown

IMAGE_FOLDERS = (
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


UNNAMED = frozenset({"manifest", "metadata", "contrasts", "test", "validation", "val", "dev", "train", "data"}) | {
    "cola_multiobjects_matching_benchmark"
}
"""File names that do not name a subset."""
SUBSETS = {
    "visual_genome_relation": "vg_relation",
    "visual_genome_attribution": "vg_attribution",
    "controlled_images_dataset": "controlled_a",
    "controlled_clevr_dataset": "controlled_b",
}
_CREPE = re.compile(r"prod_vg_hard_negs_(?P<subset>[a-z]+)_complexity_(?P<group>\d+)")
_CREPE_SEEN = re.compile(r"syst_vg_hard_negs_(?P<split>seen|unseen)_compounds_in_(?P<trained_on>[a-z0-9]+)")
_CHECKLIST = re.compile(
    r"(?:.*/)?(?:(?P<kind>Attribute|Relation)/(?:(?P<own>vg|vaw)/|(?P<action>hake|swig)_)(?P<part>[a-z]+)"
    r"|Object/(?P<of>Location|Size)/(?P<objects>hake|swig|vg)_[a-z]+/(?:[a-z_]+/)?"
    r"[a-z]+_[a-z]+_(?P<where>[a-z]+))\.json"
)
"""Paths of VL-CheckList's files, which say what differs and which collection has the images."""
_SPEC = ("image2text", "text2image")
NESTED = (
    *(f"*/{name}.json" for name in _SPEC),
    *(f"{kind}/prod_vg_hard_negs_*.csv" for kind in ("atom", "swap", "negate")),
    "*/syst_vg_hard_negs_*.csv",
    *(f"{kind}.json" for kind in ("Attribute/*/*", "Relation/*", "Relation/*/*", "Object/*/*/*", "Object/*/*/*/*")),
)
"""Files in folders below the folder of the data, for SPEC, CREPE and VL-CheckList."""


def fits(path: Path) -> bool:
    """Return whether a file, or files of a folder (or of its ``data`` folder), hold contrasts."""
    return bool(_files(path))


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the contrasts of a file or folder with the images that they name."""
    options.refuse_unknown(("subset",), id)
    files = _files(path)
    contrasts = _contrasts_by_id(files)
    subset = options.options.get("subset")
    if subset is not None:
        subsets = dict.fromkeys(contrast.subset or "(none)" for contrast in contrasts.values())
        contrasts = {key: contrast for key, contrast in contrasts.items() if contrast.subset == subset}
        if not contrasts:
            raise UsageError(f"{path} has no subset '{subset}': it has {', '.join(subsets)}")
    base = path if is_folder(path) else path.parent
    folders = _image_folders(base, options.data_root)
    images = _image_files(contrasts.values(), folders)
    sources = f"{base} and {', '.join(IMAGE_FOLDERS[:4])} below or next to it"
    dataset = schemas.build_dataset(contrasts, images, id, allow_partial=options.allow_partial, sources=sources)
    notes = dataset.notes + outside_notes({image.path for image in images.values()}, folders, id)
    tables = manifest.tables_in(files[0].parent) if is_folder(path) else []
    unread = [file.name for file in tables if file not in files]
    if unread:
        notes += (f"not read, because they hold no contrasts: {', '.join(unread)}",)
    return replace(dataset, notes=notes)


def _contrasts_by_id(files: Iterable[Path]) -> dict[str, schemas.ParsedContrast]:
    contrasts: dict[str, schemas.ParsedContrast] = {}
    for file in files:
        for key, contrast in _contrasts(file):
            if key in contrasts:
                raise DataError(f"{file}: two items have the id '{key}', expected distinct ids")
            contrasts[key] = contrast
    return contrasts


def _image_folders(base: Path, data_root: Path | None) -> list[Path]:
    """Return the folder of the data, then all others that may hold its images."""
    roots = [base, base.parent]
    if data_root:
        roots.append(data_root)
    candidates = [root / subfolder for root in roots for subfolder in IMAGE_FOLDERS]
    return [base, *(folder for folder in candidates if is_folder(folder))]


def _image_files(
    contrasts: Iterable[schemas.ParsedContrast], folders: Sequence[Path]
) -> dict[schemas.ImageKey, FileImage]:
    """Return the image files of contrasts, each from the first folder that has it, without missing ones."""
    images: dict[schemas.ImageKey, FileImage] = {}
    for key in schemas.distinct_images(contrasts):
        for folder in folders:
            if is_file(folder / key.name):
                images[key] = FileImage(folder / key.name)
                break
    return images


def _files(path: Path) -> list[Path]:
    """Return the files with contrasts of the first listing that has any."""
    if is_file(path):
        return [path] if _schema(path) else []
    if not is_folder(path):
        return []
    for listing in _listings(path):
        files = [file for file in listing if _schema(file)]
        if files:
            return files
    return []


def _listings(path: Path) -> Iterator[list[Path]]:
    """Yield the files of a folder that may hold contrasts: of its ``data`` folder, its own, then of nested folders."""
    folders = (path / "data", path)
    for folder in folders:
        yield manifest.tables_in(folder)
    for folder in (path / "prod_hard_negatives", *folders):
        yield [file for name in NESTED for file in matching(folder, name)]


def _schema(file: Path) -> schemas.Schema | None:
    head = text_tables.read_head(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return schemas.find_schema(text_tables.header_columns(head, file.suffix))
    start = _first_row_start(head, is_json=file.suffix.lower() == ".json")
    if start < 0:
        return None
    try:
        row, _ = json.JSONDecoder().raw_decode(head, start)
    except (ValueError, RecursionError):
        return None
    if isinstance(row, list):
        row = name_fields(row, file)
    return schemas.find_schema(row) if isinstance(row, dict) else None


def _first_row_start(head: str, *, is_json: bool) -> int:
    """Return where the first row begins in the first characters of a file, below 0 if it does not."""
    first_brace = head.find("{")
    if is_json and _LIST_OF_LISTS.match(head):
        return head.find("[", head.find("[") + 1)
    if is_json and head.lstrip().startswith("{"):  # an object whose values are the rows
        return head.find("{", first_brace + 1)
    return first_brace


def _contrasts(file: Path) -> Iterator[tuple[str, schemas.ParsedContrast]]:
    """Yield a file's questions with their ids, which begin with the subset."""
    schema = _schema(file)
    assert schema is not None, file
    name = name_parts(file)
    file_fields = {"subset": name.subset, "group": name.group} if name.part else {}
    for item in _items(file, schema, name.subset):
        fields = {**item.fields, **file_fields}
        contrast = schemas.read_contrast(schema.read, fields, f"{file}, {item.location}")
        subset = contrast.subset or name.subset
        row_id = item.fields.get("id", item.fields.get("ID"))
        id_parts = (subset, name.part, item.key if row_id is None else str(row_id))
        yield "/".join(part for part in id_parts if part), contrast._replace(subset=subset)


class LocatedFields(NamedTuple):
    """The fields of a row, or of an item that has several rows."""

    location: str
    """The place in the file, for messages."""
    key: str
    fields: schemas.Fields


def _items(file: Path, schema: schemas.Schema, subset: str) -> Iterator[LocatedFields]:
    """Yield each item, of one row or several, or of a column of a row."""
    rows: list[schemas.Fields] = []  # of an item that needs more
    n_contrasts = 0
    for row in _rows(file):
        if schemas.find_schema(row.fields) != schema:
            raise DataError(
                f"{file}, {row.location}: expected the fields of {schema.description}, which the first row has"
                f" ({', '.join(sorted(schema.fields))}), got {', '.join(row.fields)}"
            )
        if schema.columns:
            for kind, column in schema.columns.items():
                column_fields = {"hard_negs": row.fields[column], "subset": f"{subset}_{kind}"}
                yield row._replace(fields={**row.fields, **column_fields})
        elif schema.n_rows == 1:
            yield row
        else:
            rows.append(row.fields)
            if len(rows) == schema.n_rows:
                joined = {}
                for n, part in enumerate(rows):
                    for field, value in part.items():
                        joined[f"{field}_{n}"] = value
                yield LocatedFields(row.location, str(n_contrasts), joined)
                n_contrasts += 1
                rows = []
    if rows:
        raise DataError(
            f"{file}: the last item is incomplete: got {len(rows)} of {schema.n_rows} rows of {schema.description}"
        )


def _rows(file: Path) -> Iterator[LocatedFields]:
    """Yield each row. The key comes from a JSON object, or is the row's number."""
    if file.suffix.lower() == ".json":
        yield from _json_rows(file)
        return
    with reading(file, DataError):
        for row_number, (line, row) in enumerate(text_tables.READERS[file.suffix.lower()](file)):
            yield LocatedFields(f"line {line}", str(row_number), row)


def _json_rows(file: Path) -> Iterator[LocatedFields]:
    content = read_json(file, DataError)
    is_keyed = isinstance(content, dict)
    for key, json_row in content.items() if is_keyed else enumerate(content):
        location = f"item '{key}'" if is_keyed else f"item {key + 1}"
        row = name_fields(json_row, file) if isinstance(json_row, list) else json_row
        if not isinstance(row, dict):
            raise DataError(f"{file}, {location}: expected an object, got {shown(json_row)}")
        yield LocatedFields(location, str(key), row)


# -- what the names of files say, and rows without names of fields


class NameParts(NamedTuple):
    """What the name of a file says about its contrasts."""

    subset: str
    group: str | None = None
    part: str = ""
    """What distinguishes the file from others of its subset."""


def name_parts(file: Path) -> NameParts:
    """Return what a file's name says about its contrasts.

    Example:
        >>> name_parts(Path("atom/prod_vg_hard_negs_atom_complexity_4.csv"))
        NameParts(subset='atom', group='4', part='4')
        >>> name_parts(Path("count/image2text.json"))
        NameParts(subset='count', group=None, part='image2text')
        >>> name_parts(Path("swap_obj.json"))
        NameParts(subset='swap_obj', group=None, part='')
    """
    if crepe := _CREPE.fullmatch(file.stem):
        return NameParts(crepe["subset"], crepe["group"], crepe["group"])
    if compounds := _CREPE_SEEN.fullmatch(file.stem):
        return NameParts(f"{compounds['trained_on']}_{compounds['split']}")
    if checklist := _CHECKLIST.fullmatch(file.as_posix()):
        kind = checklist["kind"] or f"Object_{checklist['of']}"
        difference = checklist["part"] or checklist["where"]
        source = f"{_collection(checklist)}/{file.stem}"
        return NameParts(f"{kind}_{difference}", source, source)
    if file.stem in _SPEC:
        return NameParts(file.parent.name, part=file.stem)
    if file.stem.lower() in UNNAMED:
        return NameParts("")
    return NameParts(SUBSETS.get(file.stem, file.stem))


def name_fields(row: Sequence[object], file: Path) -> dict[str, object] | None:
    """Return the fields of a row that is a list, by name, or None if the row is not a contrast.

    Example:
        >>> name_fields([139, "a cat on the left", "a cat on the right"], Path("coco_qa_one_obj.json"))
        {'image': '000000000139.jpg', 'true': 'a cat on the left', 'false': 'a cat on the right'}
        >>> name_fields([1, 2], Path("numbers.json")) is None
        True
    """
    checklist = _CHECKLIST.fullmatch(file.as_posix())
    is_whats_up = file.stem.startswith(("coco_qa", "vg_qa"))
    match row:
        case [int() | str() as image, str(true), str(false), *_] if is_whats_up:
            name = str(image).zfill(12 if file.stem.startswith("coco") else 0)
            return {"image": f"{name}.jpg", "true": true, "false": false}
        case [str(first), str(caption), str(second), str(other)] if "/" in first and "/" in second:  # Cola
            names = (PurePosixPath(url).name for url in (first, second))
            return dict(zip(("image_0", "image_1", "caption_0", "caption_1"), (*names, caption, other), strict=True))
        case [str(image), {"POS": [str(true), *_], "NEG": [str(false), *_]}] if checklist is not None:
            folder = _collection(checklist).replace("vaw", "vg")  # whose images are Visual Genome's
            return {"image": f"{folder}/{image}", "true": true, "false": false}
    return None


def _collection(checklist: re.Match[str]) -> str:
    return checklist["own"] or checklist["action"] or checklist["objects"]


LAYOUTS = (("contrasts (SugarCrepe, ARO, VALSE, NLVR, your own manifest)", fits, load),)
