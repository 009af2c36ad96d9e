"""Data sets of Hugging Face's datasets library, in folders and on the Hub: labels, captions, contrasts, attacks or
judgements.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from clipbench.data.attacks.attack_files import attack_dataset, is_attack_table, read_attacks
from clipbench.data.contrasts import schemas
from clipbench.data.dataset import DataOptions, Dataset, without_options
from clipbench.data.prompts import names_for_prompts, read_class_names
from clipbench.data.readers import huggingface_rows, judged_configs, manifest, webdataset
from clipbench.data.readers.huggingface_rows import RowImage, SplitRows
from clipbench.data.readers.table import OPTIONS as COLUMN_OPTIONS
from clipbench.data.readers.table import Roles, TableImage, find_roles, table_dataset
from clipbench.errors import DataError, Unavailable, UsageError
from clipbench.hub import HubRequest, cached_first, gated_error, hub_error
from clipbench.untrusted.reading import is_file, matching, refuse_special_files
from clipbench.untrusted.text_tables import ColumnTable

if TYPE_CHECKING:
    import datasets

OPTIONS = (*COLUMN_OPTIONS, "split", "class_names")
CARD = "README.md"


def is_folder_of_rows(path: Path) -> bool:
    """Return whether a folder is one of ``save_to_disk``, or has parquet files."""
    is_saved = any(is_file(path / name) for name in huggingface_rows.SAVED_FILES)
    return is_saved or any(matching(path, pattern) for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"))


def load_folder(path: Path, options: DataOptions, id: str, *, config: str | None = None) -> Dataset:
    """Return one split of a folder that ``save_to_disk`` wrote, or that ``load_dataset`` can read."""
    options.refuse_unknown(OPTIONS, id)
    split = options.options.get("split")
    refuse_special_files(path, DataError)
    judged = _load_judged(path, config, options, id)
    if judged is not None:
        return judged
    with huggingface_rows.library_errors(str(path)):
        if any(is_file(path / name) for name in huggingface_rows.SAVED_FILES):
            split_rows = huggingface_rows.open_saved(path, split)
        else:
            split_rows = huggingface_rows.open_split(str(path), config=config, split=split, key="local")
    return from_rows(split_rows, options, id)


def load_parquet(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return the data set in a parquet file, with encoded images in a column, or their paths below its folder."""
    from datasets import Image

    with huggingface_rows.library_errors(str(path)):
        split_rows = huggingface_rows.open_files([path], None)._replace(roots=(path.parent,))
    rows = split_rows.rows
    if not _columns_of(rows, Image):
        image = find_roles(rows.column_names, options.options, source=str(path)).image
        if "string" in getattr(rows.features[image], "dtype", ""):
            columns = {name: list(rows[name]) for name in rows.column_names}
            table = ColumnTable(columns=columns, source=str(path))
            return manifest.dataset_of(table, path, options, id)
    options.refuse_unknown([name for name in OPTIONS if name != "split"], id)
    return from_rows(split_rows, options, id)


def load_files(files: Sequence[Path], options: DataOptions, id: str, *, split: str | None) -> Dataset:
    """Return the rows of some parquet files."""
    options.refuse_unknown(OPTIONS, id)
    with huggingface_rows.library_errors(id):
        return from_rows(huggingface_rows.open_files(files, split), options, id)


def from_rows(split: SplitRows, options: DataOptions, id: str) -> Dataset:
    """Return the data set that rows describe.

    The image column is the column of type Image, whatever its name. Other columns have the usual names. Each row is an
    image of its own, unless a column of image ids says that several rows are one image with several captions. Columns
    of typographic attacks, such as SCAM's, make a data set of attacks, and columns of contrasts, such as Winoground's,
    make a data set of contrasts.
    """
    from datasets import ClassLabel, Image

    split = split._replace(rows=_without_media(split.rows))
    rows, image_columns = split.rows, _columns_of(split.rows, Image)
    if is_attack_table(rows.column_names):
        return _attacks(split, options, id)
    schema = schemas.find_schema(rows.column_names)
    if schema is not None and image_columns:
        return _contrasts(split, schema, image_columns, options, id)
    typed_columns = {"image": image_columns, "label": _columns_of(rows, ClassLabel)}
    single_columns = {role: columns[0] for role, columns in typed_columns.items() if len(columns) == 1}
    roles = find_roles(rows.column_names, options.options, source=id, **single_columns)
    if "string" in getattr(rows.features[roles.image], "dtype", ""):
        raise UsageError(
            f"{id}: column '{roles.image}' holds texts, expected images. If they are paths of images, save the rows as"
            " a manifest (.csv, .tsv, .jsonl), and give its path as the data"
        )
    images = huggingface_rows.ImageColumn(split, roles.image)
    missing = set(images.missing())
    if missing and (not options.allow_partial or len(missing) == len(rows)):
        raise DataError(f"{id}, row {min(missing)} has no image ({len(missing)} of {len(rows)} rows)")
    label_feature = rows.features.get(roles.label)
    # A list of classes has the names in the feature of its items.
    label_feature = getattr(label_feature, "feature", None) or label_feature
    class_names: tuple[str, ...] | None = getattr(label_feature, "names", None)
    notes: tuple[str, ...] = ()
    if class_names is not None:
        class_names, notes = names_for_prompts(class_names)
    elif (file := options.options.get("class_names")) is not None:
        class_names = read_class_names(Path(file))
    table = _text_table(rows, roles, id)
    # Only a column of ids that the user named, or of images, makes several rows one image with several captions.
    is_shared = bool(roles.captions) and (roles.id_is_named or roles.id == "image_id")
    keys = table.columns[roles.id] if roles.id and is_shared else range(len(rows))
    kept_rows = sorted({*range(len(rows))} - missing)
    table_images = {row: TableImage(RowImage(images, id, row), str(keys[row]), str(row)) for row in kept_rows}
    dataset = table_dataset(table, roles, id, table_images, class_names)
    if dataset.labels is not None and (dataset.labels == -1).all():  # the Hub's convention for hidden test labels
        raise DataError(f"split '{split.name}' of {id} has its labels hidden (all -1): choose another with split=NAME")
    if missing:
        notes = (*notes, f"{len(missing)} of {len(rows)} rows have no image and were left out")
    return replace(dataset, revision=split.revision, split=split.name, notes=(*dataset.notes, *notes))


def _text_table(rows: "datasets.Dataset", roles: Roles, id: str) -> ColumnTable:
    groups = [name for name in roles.groups if name in rows.column_names]
    single_columns = [name for name in (roles.label, roles.class_name, roles.id) if name]
    names = [*roles.captions, *groups, *single_columns]
    columns: dict[str, Sequence[object]] = {name: list(rows[name]) for name in names}
    if "txt" in columns:  # a webdataset's captions are the lines of one text
        columns["txt"] = [value.splitlines() if isinstance(value, str) else value for value in columns["txt"]]
    return ColumnTable(columns=columns, source=id)


def _without_media(rows: "datasets.Dataset") -> "datasets.Dataset":
    """Return rows that decode nothing: images stay encoded, and columns that hold sounds, films or images within lists
    go.
    """
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
    from datasets import Image

    options.refuse_unknown(("split",), id)
    names, image = split.rows.column_names, _columns_of(split.rows, Image)
    if len(image) != 1:
        raise UsageError(f"{id}: expected one column of images, got {len(image)} among the columns {', '.join(names)}")
    column, rows = huggingface_rows.ImageColumn(split, image[0]), range(len(split.rows))
    if missing := column.missing():
        raise DataError(f"{id}, row {missing[0]} has no image ({len(missing)} of {len(rows)} rows)")
    columns = {name: _values_by_name(split.rows, name, id) for name in names if name != image[0]}
    table = ColumnTable(columns=columns, source=id)
    images = [RowImage(column, id, row) for row in rows]
    photographs, templates = read_attacks(table, images, list(map(str, rows)))
    dataset = attack_dataset(photographs, id, templates=templates)
    return replace(dataset, revision=split.revision, split=split.name, has_ids=False)


def _values_by_name(rows: "datasets.Dataset", column: str, id: str) -> list[object]:
    names: Sequence[str] | None = getattr(rows.features[column], "names", None)
    values = list(rows[column])
    if not names:
        return values
    for row, value in enumerate(values):
        if value is not None and not 0 <= value < len(names):  # -1 is the Hub's convention for hidden labels
            raise DataError(f"{id}, row {row}: {column} is {value}, expected 0 to {len(names) - 1}")
    return [None if value is None else names[value] for value in values]


def _contrasts(
    split: SplitRows, schema: schemas.Schema, image_columns: Sequence[str], options: DataOptions, id: str
) -> Dataset:
    """Return the contrasts of rows, each with one or several images, as in Winoground and BiVLC."""
    options.refuse_unknown(("split", "revision"), id)
    columns = {name: huggingface_rows.ImageColumn(split, name) for name in image_columns}
    missing = {name: set(column.missing()) for name, column in columns.items()}
    contrasts: dict[str, schemas.ParsedContrast] = {}
    images: dict[schemas.ImageKey, RowImage] = {}
    for number, row in enumerate(split.rows.remove_columns(list(columns))):
        # The schemas read names of images from files: here each column's own name stands in for its image.
        fields = row | {name: name for name in columns}
        contrast = schemas.read_contrast(schema.read, fields, f"{id}, row {number}")
        has_several = len(contrast.images) > 1
        keys = []
        for image_key in contrast.images:
            column = image_key.name
            key = image_key._replace(name=f"{number}/{column}" if has_several else str(number))
            keys.append(key)
            if number not in missing[column]:
                images[key] = RowImage(columns[column], id, number)
        contrasts[str(number)] = contrast._replace(images=tuple(keys))
    dataset = schemas.build_dataset(contrasts, images, id, allow_partial=options.allow_partial, sources="its rows")
    return replace(dataset, split=split.name, revision=split.revision, has_ids=False)


def _columns_of(rows: "datasets.Dataset", kind: type) -> list[str]:
    return [name for name, feature in rows.features.items() if isinstance(feature, kind)]


# -- the Hub


class HubReference(NamedTuple):
    """One split of a data set on the Hub."""

    repository: str
    """``ORG/NAME``."""
    config: str | None
    split: str | None
    revision: str | None

    @property
    def id(self) -> str:
        return f"hf:{self.repository}" + (f":{self.config}" if self.config else "")

    @property
    def request(self) -> HubRequest:
        remedy = "download it on a machine with a network, and give the folder instead (hf:PATH)"
        return HubRequest(subject=f"data set {self.id}", repository=f"datasets/{self.repository}", remedy=remedy)

    @property
    def key(self) -> str:
        """The reference as a name in the cache: a copy is used only for the reference that it was fetched by."""
        parts = {"--": self.config, "@": self.revision}
        suffixes = [f"{mark}{quote(part, safe='')}" for mark, part in parts.items() if part is not None]
        return self.repository.replace("/", "--") + "".join(suffixes)


def load_hub(repository: str, config: str | None, options: DataOptions) -> Dataset:
    """Return one split of a data set on the Hub, chosen by the options ``split`` and ``revision``.

    A repository with CLIP_benchmark's layout is read as that, class names and templates included, and any other through
    the datasets library. Only the files of the split are fetched.
    """
    reference = HubReference(repository, config, options.options.get("split"), options.options.get("revision"))
    options.refuse_unknown((*OPTIONS, "revision"), reference.id)
    options = without_options(options, "revision")
    try:
        return cached_first(lambda: _download(reference, options), reference.request)
    except Unavailable:
        cached = _load_cached(reference, options)
        if cached is None:
            raise
        note = "the Hub did not answer, so the newest copy in the cache was read"
        return replace(cached, notes=(*cached.notes, note))


def _download(reference: HubReference, options: DataOptions) -> Dataset:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        info = HfApi().dataset_info(reference.repository, revision=reference.revision)
    except RevisionNotFoundError as error:
        raise UsageError(f"{reference.id} has no revision '{reference.revision}' on the Hub") from error
    files = [PurePosixPath(file.rfilename) for file in info.siblings or ()]
    splits = [file.parent.name for file in files if file.name == webdataset.SHARDS_FILE]
    if splits:
        split = huggingface_rows.choose_split(splits, reference.split or webdataset.DEFAULT_SPLIT, reference.id)
        return _from_shards(_snapshot(reference, ["*.txt", f"{split}/*"]), reference, options)
    if CARD in map(str, files):
        card = _snapshot(reference, [CARD])
        located = judged_configs.locate(card, list(map(str, files)), reference.config, reference.split, reference.id)
        if located is not None:
            folder = _snapshot(reference, [CARD, *located.files])
            return replace(judged_configs.load(folder, located, options, reference.id), revision=folder.name)
    return from_rows(_open(reference, info.sha), options, reference.id)


def _open(reference: HubReference, commit: str | None) -> SplitRows:
    """Return the rows of the split, although the library wraps the Hub's answers in errors of its own."""
    repository, config, split, _ = reference
    try:
        with huggingface_rows.library_errors(reference.id):
            key = reference.key
            return huggingface_rows.open_split(repository, config=config, split=split, key=key, revision=commit)
    except (Unavailable, DataError) as error:
        # For a gated repository the library passes on the Hub's message, but not its error.
        is_gated = "is a gated dataset" in str(error)
        access_error = gated_error(reference.request) if is_gated else hub_error(error, reference.request)
        if access_error is None:
            raise
        raise access_error from error


def _load_judged(folder: Path, config: str | None, options: DataOptions, id: str) -> Dataset | None:
    """Return the judged data of a folder, or None where its card names none."""

    if not judged_configs.parts_of(judged_configs.configs_of(folder), config):
        return None  # before its files are listed, which may be many
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if is_file(path)]
    located = judged_configs.locate(folder, names, config, options.options.get("split"), id)
    return None if located is None else judged_configs.load(folder, located, options, id)


def _snapshot(reference: HubReference, patterns: Sequence[str], *, local_files_only: bool = False) -> Path:
    """Return the folder of some files of a repository in the Hub's cache, and keep partial downloads."""
    from huggingface_hub import snapshot_download

    arguments = {"revision": reference.revision, "allow_patterns": list(patterns), "local_files_only": local_files_only}
    return Path(snapshot_download(reference.repository, repo_type="dataset", **arguments))


def _load_cached(reference: HubReference, options: DataOptions) -> Dataset | None:
    import datasets
    from huggingface_hub.errors import LocalEntryNotFoundError

    split = reference.split or webdataset.DEFAULT_SPLIT
    with suppress(LocalEntryNotFoundError):
        folder = _snapshot(reference, ["*.txt", f"{split}/*"], local_files_only=True)
        if (folder / split / webdataset.SHARDS_FILE).is_file():
            return _from_shards(folder, reference, options)
        with suppress(Unavailable):  # a part of the files
            judged = _load_judged(folder, reference.config, options, reference.id)
            if judged is not None:
                return replace(judged, revision=folder.name)
    for split in (reference.split,) if reference.split else (*huggingface_rows.PREFERRED_SPLITS, "train"):
        # The folder that holds converted rows is named after the commit; that of a killed conversion is left out.
        files = huggingface_rows.cache_folder(reference.key, split).rglob("*.arrow")
        folders = {file.parent for file in files if file.parent.suffix != ".incomplete"}
        if folders:
            newest = max(folders, key=lambda folder: folder.stat().st_mtime)
            tables = [datasets.Dataset.from_file(str(file)) for file in sorted(newest.glob("*.arrow"))]
            roots = huggingface_rows.roots_of(reference.repository)
            rows = SplitRows(datasets.concatenate_datasets(tables), split, newest.name, roots)
            return from_rows(rows, options, reference.id)
    return None


def _from_shards(folder: Path, reference: HubReference, options: DataOptions) -> Dataset:
    if reference.config is not None:
        raise UsageError(f"{reference.id}: the repository has no configurations, only splits: write hf:DATA::SPLIT")
    return replace(webdataset.load(folder, options, reference.id), revision=folder.name)  # named after its commit
