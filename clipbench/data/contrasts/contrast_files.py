"""Contrasts in JSON, JSON Lines or CSV files, next to their images.

A file is one subset: SugarCrepe's ``data/swap_att.json``, VALSE's ``existence.json``. A ``manifest.jsonl`` is a whole
data set, and its rows may name their ``subset``.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath

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
    contrasts: dict[str, schemas.ParsedContrast] = {}
    files = _files(path)
    for file in files:
        for key, contrast in _contrasts(file):
            if key in contrasts:
                raise DataError(f"{file}: two items have the id '{key}', expected distinct ids")
            contrasts[key] = contrast
    subset = options.options.get("subset")
    if subset is not None:
        subsets = dict.fromkeys(contrast.subset or "(none)" for contrast in contrasts.values())
        contrasts = {key: contrast for key, contrast in contrasts.items() if contrast.subset == subset}
        if not contrasts:
            raise UsageError(f"{path} has no subset '{subset}': it has {', '.join(subsets)}")
    base = path if is_folder(path) else path.parent
    roots = [base, base.parent, *([options.data_root] if options.data_root else [])]
    folders = [base, *filter(is_folder, (root / subfolder for root in roots for subfolder in IMAGE_FOLDERS))]
    images: dict[schemas.ImageKey, FileImage] = {}
    for image in dict.fromkeys(image for contrast in contrasts.values() for image in contrast.images):
        if image_file := next((folder / image.name for folder in folders if is_file(folder / image.name)), None):
            images[image] = FileImage(image_file)
    sources = f"{base} and {', '.join(IMAGE_FOLDERS[:4])} below or next to it"
    dataset = schemas.build_dataset(contrasts, images, id, allow_partial=options.allow_partial, sources=sources)
    notes = dataset.notes + outside_notes({file_image.path for file_image in images.values()}, folders, id)
    tables = manifest.tables_in(files[0].parent) if is_folder(path) else []
    if unread := [file.name for file in tables if file not in files]:
        notes += (f"not read, because they hold no contrasts: {', '.join(unread)}",)
    return replace(dataset, notes=notes)


def _files(path: Path) -> list[Path]:
    """Return the files with contrasts, first from the ``data`` folder, last from nested folders."""
    if is_file(path):
        return [path] if _schema(path) else []
    if not is_folder(path):
        return []
    folders = (path / "data", path)
    nested = (path / "prod_hard_negatives", *folders)
    listings = chain(
        map(manifest.tables_in, folders),
        ([file for name in NESTED for file in matching(folder, name)] for folder in nested),
    )
    return next((files for listing in listings if (files := [file for file in listing if _schema(file)])), [])


def _schema(file: Path) -> schemas.Schema | None:
    head = text_tables.read_head(file)
    if file.suffix.lower() in (".csv", ".tsv"):
        return schemas.find_schema(text_tables.header_columns(head, file.suffix))
    # the first object of a list or of lines, the first value of an object of objects, or a list by its names
    start = head.find("{")
    if file.suffix.lower() == ".json":
        if _LIST_OF_LISTS.match(head):
            start = head.find("[", head.find("[") + 1)
        elif head.lstrip().startswith("{"):
            start = head.find("{", start + 1)
    try:
        first_value = json.JSONDecoder().raw_decode(head, start)[0] if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    row = name_fields(first_value, file) if isinstance(first_value, list) else first_value
    return schemas.find_schema(row) if isinstance(row, dict) else None


def _contrasts(file: Path) -> Iterator[tuple[str, schemas.ParsedContrast]]:
    """Yield a file's questions with their ids, which begin with the subset."""
    schema, (file_subset, group, part) = _schema(file), name_parts(file)
    assert schema is not None, file
    file_fields = {"subset": file_subset, "group": group} if part else {}
    for location, key, row in _items(file, schema, file_subset):
        contrast = schemas.read_contrast(schema.read, {**row, **file_fields}, f"{file}, {location}")
        subset = contrast.subset or file_subset
        row_id = row.get("id", row.get("ID"))
        id = "/".join(filter(None, (subset, part, key if row_id is None else str(row_id))))
        yield id, contrast._replace(subset=subset)


LocatedFields = tuple[str, str, schemas.Fields]
"""Location, key and fields of a row or an item."""


def _items(file: Path, schema: schemas.Schema, subset: str) -> Iterator[LocatedFields]:
    """Yield each item, of one row or several, or of a column of a row."""
    rows: list[schemas.Fields] = []
    n_contrasts = 0
    for location, key, row in _rows(file):
        if schemas.find_schema(row) != schema:
            raise DataError(f"{file}, {location}: expected the fields of {schema.description}, got {', '.join(row)}")
        for kind, column in schema.columns.items():
            yield location, key, {**row, "hard_negs": row[column], "subset": f"{subset}_{kind}"}
        if schema.n_rows == 1 and not schema.columns:
            yield location, key, row
        rows.append(row)
        if len(rows) == schema.n_rows > 1:
            yield (
                location,
                str(n_contrasts),
                {f"{field}_{n}": part[field] for n, part in enumerate(rows) for field in part},
            )
            n_contrasts += 1
        rows = [] if len(rows) == schema.n_rows else rows
    if rows:
        raise DataError(f"{file}: an item of {schema.description} has {schema.n_rows} rows, the last one {len(rows)}")


def _rows(file: Path) -> Iterator[LocatedFields]:
    """Yield each row. The key comes from a JSON object, or is the row's number."""
    if file.suffix.lower() == ".json":
        content = read_json(file, DataError)
        is_keyed = isinstance(content, dict)
        for key, json_row in content.items() if is_keyed else enumerate(content):
            location = f"item '{key}'" if is_keyed else f"item {key + 1}"
            row = name_fields(json_row, file) if isinstance(json_row, list) else json_row
            if not isinstance(row, dict):
                raise DataError(f"{file}, {location}: expected an object, got {shown(json_row)}")
            yield location, str(key), row
        return
    with reading(file, DataError):
        for row_number, (line, row) in enumerate(text_tables.READERS[file.suffix.lower()](file)):
            yield f"line {line}", str(row_number), row


# -- what the names of files say, and rows without names of fields


def name_parts(file: Path) -> tuple[str, str | None, str]:
    """Return the subset and group in a file's name, and the part that distinguishes it within its subset.

    Example:
        >>> name_parts(Path("atom/prod_vg_hard_negs_atom_complexity_4.csv"))
        ('atom', '4', '4')
        >>> name_parts(Path("count/image2text.json")), name_parts(Path("swap_obj.json"))
        (('count', None, 'image2text'), ('swap_obj', None, ''))
    """
    if crepe := _CREPE.fullmatch(file.stem):
        return crepe["subset"], crepe["group"], crepe["group"]
    if compounds := _CREPE_SEEN.fullmatch(file.stem):
        return f"{compounds['trained_on']}_{compounds['split']}", None, ""
    if checklist := _CHECKLIST.fullmatch(file.as_posix()):
        kind, part = checklist["kind"] or f"Object_{checklist['of']}", checklist["part"] or checklist["where"]
        source = f"{_collection(checklist)}/{file.stem}"
        return f"{kind}_{part}", source, source
    if file.stem in _SPEC:
        return file.parent.name, None, file.stem
    return "" if file.stem.lower() in UNNAMED else SUBSETS.get(file.stem, file.stem), None, ""


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
