"""Judged data as repositories of the Hub hold them: configurations of documents, queries and judgements, as listed in
the card.

mteb and BEIR call them ``corpus``, ``queries`` and ``default`` or ``qrels``, and M-BEIR calls the second ``query``. If
each language has its own, they are ``french-corpus``, ``french-queries`` and ``french-qrels``. A column ``language`` of
the queries makes slices too. Each has files for a split, or for one split only, which then serves all. Images stay
where they are, encoded in the parquet files, and are read one group of rows at a time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import EncodedImage, ImageRef
from clipbench.data.readers import judged, manifest
from clipbench.data.readers.huggingface_rows import card_configs, choose_split
from clipbench.data.readers.judged import ItemColumns, Judgement
from clipbench.errors import (
    FOREIGN,
    BadImage,
    ClipbenchError,
    DataError,
    Unavailable,
    UnknownSplit,
    UsageError,
    error_summary,
)
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import is_int64, shown
from clipbench.untrusted.text_tables import ColumnTable

if TYPE_CHECKING:
    import pyarrow.parquet

QUERIES, QRELS = ("query", "queries"), ("default", "qrels")
"""Names of the configurations of queries and judgements. If both exist, the first is read."""
QUERY_IDS, DOCUMENT_IDS = ("query-id", "query_id"), ("corpus-id", "corpus_id")
COLUMNS = {
    *judged.IDS,
    *QUERY_IDS,
    *DOCUMENT_IDS,
    *(name for names in judged.TEXTS for name in names),
    "language",
    "score",
}
"""Columns that are read in addition to images. Others may hold long texts."""
SHARD = re.compile(r"-\d+-of-(\d+)(?:-\w+)?\.\w+$")
"""End of the name of one file of several, such as ``-00000-of-00004.parquet``, with their number as the group."""


class Part(NamedTuple):
    """The configurations of one language, or of all data."""

    corpus: str
    queries: str
    qrels: str


Configs = Mapping[str, Mapping[str, Sequence[str]]]
"""Patterns of files by configuration and split."""


def configs_of(folder: Path) -> Configs:
    """Return the configurations that the card of a repository names."""
    configs = {}
    for config in card_configs(folder):
        if isinstance(config, dict) and isinstance(config.get("config_name"), str):
            configs[config["config_name"]] = dict(_patterns(config.get("data_files")))
    return configs


def _patterns(data_files: object) -> Iterator[tuple[str, list[str]]]:
    """Yield the splits of a configuration. As in the datasets library, the default split is ``train``."""
    listed = data_files if isinstance(data_files, list) else [data_files]
    of_all = [source for source in listed if isinstance(source, str)]
    if of_all:
        yield "train", of_all
    for source in listed:
        if isinstance(source, dict) and isinstance(source.get("split"), str):
            paths = source["path"] if isinstance(source.get("path"), list) else [source.get("path")]
            yield source["split"], [path for path in paths if isinstance(path, str)]


def parts_of(configs: Configs, config: str | None) -> dict[str, Part]:
    """Return the parts by language, or by "" for all data, or nothing if ``config`` is not judged data.

    Example:
        >>> parts_of({"corpus": {}, "queries": {}, "default": {}}, None)
        {'': Part(corpus='corpus', queries='queries', qrels='default')}
    """
    if config in configs:
        return {}
    shared = next((name for name in QUERIES if name in configs), None)
    qrels = next((name for name in QRELS if name in configs), None)
    if config is None and None not in (shared, qrels) and "corpus" in configs:
        return {"": Part("corpus", str(shared), str(qrels))}
    languages = [name.removesuffix("-corpus") for name in configs if name.endswith("-corpus")]
    parts = {}
    for language in languages:
        part = Part(f"{language}-corpus", f"{language}-queries", f"{language}-qrels")
        if set(part) <= set(configs):
            parts[language] = part
    if config is None:
        return parts
    return {"": parts[config]} if config in parts else {}


class JudgedFiles(NamedTuple):
    """The files of judged data, relative to their folder."""

    split: str
    parts: Mapping[str, tuple[Sequence[str], ...]]
    """The files of documents, queries and judgements, by language, or by "" for all data."""

    @property
    def files(self) -> list[str]:
        """All files."""
        files: list[str] = []
        for part in self.parts.values():
            for names in part:
                files += names
        return files


def locate(folder: Path, names: Sequence[str], config: str | None, split: str | None, id: str) -> JudgedFiles | None:
    """Return the files of a split, or None where the card of a repository names no judged data.

    Args:
        folder: holds the card.
        names: of all files of the repository, relative to the folder.

    Raises:
        UsageError: several splits were judged and none is named, or the named split does not exist.
        Unavailable: files are missing.
    """
    configs = configs_of(folder)
    parts = parts_of(configs, config)
    if not parts:
        return None
    chosen = choose_split(list(configs[next(iter(parts.values())).qrels]), split, id)
    files = {}
    for language, part in parts.items():
        files[language] = tuple(_files(configs, config_name, chosen, names, id) for config_name in part)
    return JudgedFiles(chosen, files)


def _files(configs: Configs, config: str, split: str, names: Sequence[str], id: str) -> list[str]:
    splits = configs[config]
    if split not in splits and len(splits) != 1:
        raise UnknownSplit(f"{id}, configuration {config},", split, list(splits))
    patterns = splits[split] if split in splits else next(iter(splits.values()))
    matches = [name for name in names if any(fnmatch(name, pattern.removeprefix("./")) for pattern in patterns)]
    shards = {int(match[1]) for match in map(SHARD.search, matches) if match}
    if not matches or shards - {len(matches)}:
        expected = f"{max(shards)} files" if shards else "files"
        raise Unavailable(
            f"{id}, configuration {config}: expected {expected} such as {', '.join(patterns[:1])}, got"
            f" {len(matches) or 'none'}: fetch the data again, which keeps the files that are complete"
        )
    return sorted(matches)


def load(folder: Path, located: JudgedFiles, options: DataOptions, id: str) -> Dataset:
    """Return all documents and the judged queries, if all languages search the same documents."""
    options.refuse_unknown(("split",), id)
    documents: ItemColumns | None = None
    queries_by_language: list[ItemColumns] = []
    all_judgements: list[Judgement] = []
    for language, names in located.parts.items():
        corpus, query_files, qrels = ([folder / name for name in part] for part in names)
        language_documents = _items(corpus, folder)
        prefix = f"{language}/" if language else ""
        queries = _items(query_files, folder)
        languages = [language] * len(queries.ids) if language else queries.languages
        queries_by_language.append(queries._replace(ids=[f"{prefix}{id}" for id in queries.ids], languages=languages))
        all_judgements += [
            judgement._replace(query=f"{prefix}{judgement.query}")
            for judgement in judged.one_per_pair(_judgements(qrels, folder))
        ]
        if documents is not None and set(language_documents.ids) != set(documents.ids):
            raise UsageError(
                f"{id} has different documents for {language} than for {next(iter(located.parts))}: choose one"
                f" language, as {id}:{language}"
            )
        documents = documents or language_documents
    assert documents is not None, located
    all_queries = _joined(queries_by_language)
    judged_queries, judgements, notes = judged.select_judged(
        (all_queries, documents), all_judgements, f"the split {located.split}", options
    )
    sides = (("document", documents), ("query", judged_queries))
    ids: dict[ImageRef, str] = {}
    for kind, items in sides:
        for item_id, image in zip(items.ids, items.images, strict=True):
            if image is not None:
                ids[image] = f"{kind}:{item_id}"
    dataset = judged.judged_dataset((judged_queries, documents), judgements, id, image_ids=ids)
    return replace(dataset, split=located.split, notes=tuple(notes))


@dataclass(frozen=True)
class ParquetImage(EncodedImage):
    """The image of one row of a parquet file."""

    file: Path
    column: str
    group: int
    """The group of rows that holds it."""
    row: int
    """Its row in the group."""

    @property
    def name(self) -> str:
        return f"{self.file}, group {self.group}, row {self.row}"

    def read(self) -> bytes:
        try:
            data = _cells(self.file, self.column, self.group)[self.row].as_py()
        except FOREIGN as error:  # pyarrow raises many kinds of error for a damaged file
            raise BadImage(self.name, error_summary(error)) from error
        if data is None:
            raise BadImage(self.name, "its row has no image")
        return bytes(data)


@lru_cache(maxsize=2)
def _cells(file: Path, column: str, group: int) -> Any:
    """Return the encoded images of a group of rows. The last two groups stay, because images are read in order."""
    import pyarrow.compute
    import pyarrow.parquet

    # Each different image once: a small file may hold one a million times.
    with pyarrow.parquet.ParquetFile(file, read_dictionary=[f"{column}.bytes"]) as opened:
        cells = opened.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False).column(0)
    return pyarrow.compute.struct_field(cells, "bytes")


def _items(files: Sequence[Path], folder: Path) -> ItemColumns:
    parts = []
    for file in files:
        table, images = _read(file, folder)
        image_of = None if images is None else images.__getitem__
        parts.append(judged.items_of(table, file.relative_to(folder).as_posix(), image_of))
    return _joined(parts)


def _joined(parts: Sequence[ItemColumns]) -> ItemColumns:
    return ItemColumns._make(list(chain.from_iterable(columns)) for columns in zip(*parts, strict=True))


TableWithImages = tuple[ColumnTable, Sequence[ImageRef | None] | None]
"""The columns of a file that hold no images, and the image of each row, None without a column of them."""


def _read(file: Path, folder: Path) -> TableWithImages:
    if file.suffix != ".parquet":
        if not manifest.fits(file):
            suffixes = ", ".join(text_tables.READERS)
            raise DataError(f"{file.relative_to(folder)}: expected a file of .parquet, {suffixes}")
        return text_tables.read_table(file), None
    try:
        return _read_parquet(file, file.relative_to(folder).as_posix())
    except ClipbenchError:
        raise
    except FOREIGN as error:  # pyarrow raises many kinds of error for a damaged file
        raise DataError(
            f"{file.relative_to(folder)} cannot be read ({error_summary(error)}): delete it, and fetch the data again"
        ) from error


def _read_parquet(file: Path, location: str) -> TableWithImages:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as opened:
        columns = {arrow_field.name: arrow_field.type for arrow_field in opened.schema_arrow}
        encoded = [name for name, type in columns.items() if _holds_images(type)]
        read_columns = [name for name in columns if name.lower() in COLUMNS and name not in encoded]
        values = {name: [] for name in columns} | opened.read(read_columns).to_pydict()
        table = ColumnTable(columns=values, source=location)
        if len(encoded) > 1 and "image" not in encoded:
            raise DataError(f"{location}: expected one column of images, or one called image, got {', '.join(encoded)}")
        if not encoded:
            return table, None
        column = "image" if "image" in encoded else encoded[0]
        return table, list(_images(file, column, opened))


def _holds_images(type: "pyarrow.DataType") -> bool:
    import pyarrow

    fields = type if pyarrow.types.is_struct(type) else ()
    return any(field.name == "bytes" and field.type in (pyarrow.binary(), pyarrow.large_binary()) for field in fields)


def _images(file: Path, column: str, opened: "pyarrow.parquet.ParquetFile") -> Iterator[ImageRef | None]:
    """Yield the image of each row, without a look at any where the file's statistics say that all are there, or
    none.
    """
    paths = [opened.schema.column(number).path for number in range(len(opened.schema))]
    leaf = paths.index(f"{column}.bytes")
    for group in range(opened.num_row_groups):
        chunk = opened.metadata.row_group(group).column(leaf)
        n_null = chunk.statistics.null_count if chunk.statistics is not None else None
        if n_null in (0, chunk.num_values):
            is_there = [n_null == 0] * chunk.num_values
        else:
            is_there = _cells(file, column, group).is_valid().to_pylist()
        for row, has_image in enumerate(is_there):
            yield ParquetImage(file, column, group, row) if has_image else None


def _judgements(files: Sequence[Path], folder: Path) -> Iterator[tuple[str, Judgement]]:
    """Yield location and judgement of each row, or raise DataError if a grade is not an integer."""
    for file in files:
        table, _ = _read(file, folder)
        query_name = next((name for name in QUERY_IDS if name in table.columns), None)
        document_name = next((name for name in DOCUMENT_IDS if name in table.columns), None)
        if query_name is None or document_name is None or "score" not in table.columns:
            raise DataError(
                f"{file.relative_to(folder)}: its columns are {', '.join(table.columns)}, "
                "expected query-id, corpus-id and score"
            )
        columns = (table.columns[name] for name in (query_name, document_name, "score"))
        for row, (query, document, score) in enumerate(zip(*columns, strict=True)):
            text = str(int(score)) if isinstance(score, float) and score.is_integer() else str(score)
            if not is_int64(text):
                raise DataError(f"{table.row_name(row)}: the grade is {shown(score)}, expected an integer")
            yield table.row_name(row), Judgement(str(query), str(document), int(text))
