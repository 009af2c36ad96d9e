"""Judged data on disk: the folders of BEIR and MixBench, with judgements as these write them, or as TREC does.

    corpus.jsonl     {"_id": "d1", "title": "...", "text": "...", "image": "images/1.jpg"}    or mixed_corpus.jsonl
    queries.jsonl    {"_id": "q1", "text": "...", "image": "images/2.jpg"}
    qrels/test.tsv   query-id  corpus-id  score         with tabs, after a line of names
    qrels/test.txt   q1 0 d1 2                          TREC: query, iteration, document, grade

Documents and queries have a text, an image, or both: an empty field is none. A title is put before its text, as in
BEIR. The tables may be .csv, .tsv or .json too, and a single file of judgements may be next to them as qrels.tsv.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import FileImage, ImageRef, existing_files
from clipbench.data.questions import NO_IMAGE, POOL_FACTS, JudgedItems, Judgements
from clipbench.data.readers import manifest
from clipbench.data.readers.table import usual_column
from clipbench.errors import DataError, UnknownSplit, UsageError, data_option, option
from clipbench.untrusted import text_tables
from clipbench.untrusted.reading import (
    entries,
    is_file,
    is_folder,
    is_int64,
    open_text,
    read_json,
    reading,
    shown,
    user_path,
    without_cycle_search,
)
from clipbench.untrusted.text_tables import ColumnTable

CORPORA, QUERIES, QRELS = ("corpus", "mixed_corpus"), ("queries",), "qrels"
"""Names of the files of documents, queries and judgements, without suffix. The last is also the name of the folder of
judgements.
"""
QRELS_SUFFIXES = (".tsv", ".txt", ".trec", ".qrel", ".qrels")
SPLIT = "test"
"""The split that is read where there are several, as BEIR's own code does."""
IDS = ("_id", "id", "query_id", "corpus_id", "doc_id", "query-id", "corpus-id")
TEXTS = (("title", "text"), ("query",))
"""Columns whose texts are joined: the first of these of which the last is there."""
QRELS_COLUMNS = {3: (0, 1, 2), 4: (0, 2, 3)}
"""Indices of query, document and grade in a line, by its number of fields."""


class ItemColumns(NamedTuple):
    """Queries or documents, by column: a million objects take longer to make than their file takes to read."""

    ids: Sequence[str]
    texts: Sequence[str]
    """Empty where an item has none."""
    images: Sequence[ImageRef | None]
    languages: Sequence[str]
    """Language of each, empty where the data does not say it."""

    def take(self, rows: Sequence[int]) -> "ItemColumns":
        """Return some items, in the order of ``rows``."""
        return ItemColumns._make([column[row] for row in rows] for column in self)


Sides = tuple[ItemColumns, ItemColumns]
"""Queries and documents."""


class Judgement(NamedTuple):
    """A line of judgements."""

    query: str
    document: str
    grade: int


def fits(path: Path) -> bool:
    """Return whether a folder has documents and queries, whose judgements may be elsewhere."""
    return is_folder(path) and None not in (_table(path, CORPORA), _table(path, QUERIES))


def load(path: Path, options: DataOptions, id: str) -> Dataset:
    """Return all documents, and the queries that were judged in a split.

    Paths of images are relative to the folder, or absolute. The option ``split`` names a file in the folder ``qrels``,
    by default ``test`` if there are several. The option ``qrels`` names any other file of judgements.
    """
    options.refuse_unknown(("split", "qrels"), id)
    with without_cycle_search():
        return _load(path, options, id)


def _load(path: Path, options: DataOptions, id: str) -> Dataset:
    qrels, split, split_notes = _qrels(path, options)
    corpus, table_of_queries = _table(path, CORPORA), _table(path, QUERIES)
    assert corpus is not None and table_of_queries is not None, path
    sides = _items(table_of_queries), _items(corpus)
    queries, judged_pairs, query_notes = select_judged(sides, _read_qrels(qrels), qrels.name, options)
    advice = "paths are relative to the folder of the data"
    dataset = dataset_of_files((queries, sides[1]), judged_pairs, path, options, id, advice=advice)
    assert dataset.judgements is not None
    judgements = replace(dataset.judgements, depth=_depth(path / POOL_FACTS))
    return replace(dataset, judgements=judgements, split=split, notes=(*split_notes, *query_notes, *dataset.notes))


def _depth(file: Path) -> int | None:
    """Return the depth of a pool, None without its file."""
    facts = read_json(file, DataError) if is_file(file) else {}
    return facts["k"] if isinstance(facts, dict) and type(facts.get("k")) is int else None


def select_judged(
    sides: Sides,
    all_judgements: Sequence[Judgement],
    qrels: str,
    options: DataOptions,
) -> tuple[ItemColumns, list[Judgement], list[str]]:
    """Return the judged queries, the judgements of existing items, and notes on everything left out.

    Args:
        sides: all queries and documents.
        all_judgements: all judgements.
        qrels: what messages call their source.

    Raises:
        DataError: judgements refer to missing items, without ``allow_partial``, or all of them do.
    """
    queries = set(sides[0].ids)
    documents = {judgement.document for judgement in all_judgements}.intersection(sides[1].ids)
    valid_judgements, unknown = list[Judgement](), list[str]()
    for judgement in all_judgements:
        if judgement.query not in queries:
            unknown.append(f"query '{judgement.query}'")
        elif judgement.document not in documents:
            unknown.append(f"document '{judgement.document}'")
        else:
            valid_judgements.append(judgement)
    counts = f"{len(unknown):,} of {len(all_judgements):,} judgements"
    problem = f"{counts} in {qrels} name a query or document that the data set lacks"
    if unknown and not (valid_judgements and options.allow_partial):
        advice = f"fix them, or leave them out with {option('allow_partial', True)}" if valid_judgements else "fix them"
        raise DataError(f"{problem}, the first is {unknown[0]}: {advice}")
    judged_ids = {judgement.query for judgement in valid_judgements}
    notes = []
    if n_left := len(queries - judged_ids):
        notes.append(f"{n_left:,} {'query is' if n_left == 1 else 'queries are'} not judged in {qrels}: left out")
    if unknown:
        notes.append(f"{problem}: left out")
    judged_rows = [row for row, id in enumerate(sides[0].ids) if id in judged_ids]
    return sides[0].take(judged_rows), valid_judgements, notes


def dataset_of_files(
    sides: Sides, judgements: Sequence[Judgement], folder: Path, options: DataOptions, id: str, *, advice: str
) -> Dataset:
    """Return the data set of the queries and documents whose files, below a folder, exist, with notes on the others.

    Raises:
        Unavailable: files are missing, with ``allow_partial`` only if all are.
    """
    images = _images(sides)
    files: dict[ImageRef, Path] = {image: image.path for image in images if isinstance(image, FileImage)}
    existing, notes = existing_files(files.values(), folder, id, advice, allow_partial=options.allow_partial)
    queries, documents = sides
    if len(existing) < len(set(files.values())):
        kept: set[ImageRef | None] = {image for image, file in files.items() if file in existing} | {None}
        queries, documents = _with_images(queries, kept), _with_images(documents, kept)
    image_ids = {image: manifest.id_below(folder, file) for image, file in files.items()}
    return replace(judged_dataset((queries, documents), judgements, id, image_ids=image_ids), notes=notes)


def _with_images(items: ItemColumns, images: Collection[ImageRef | None]) -> ItemColumns:
    return items.take([row for row, image in enumerate(items.images) if image in images])


def judged_dataset(
    sides: Sides,
    judgements: Sequence[Judgement],
    id: str,
    *,
    image_ids: Mapping[ImageRef, str],
) -> Dataset:
    """Return a data set of queries and documents, with the judgements that refer to them."""
    images = _images(sides)
    image_rows: dict[ImageRef | None, int] = {image: row for row, image in enumerate(images)} | {None: NO_IMAGE}
    judged_ids = {judgement.query for judgement in judgements}, {judgement.document for judgement in judgements}
    judged_items, rows = [], []
    for items, judged in zip(sides, judged_ids, strict=True):
        of_image = np.fromiter(map(image_rows.__getitem__, items.images), np.int64, len(items.ids))
        languages = tuple(items.languages) if any(items.languages) else ()
        judged_items.append(JudgedItems(tuple(items.ids), tuple(items.texts), of_image, languages))
        rows.append({id: row for row, id in enumerate(items.ids) if id in judged})
    resolved = [judgement for judgement in judgements if judgement.query in rows[0] and judgement.document in rows[1]]
    pairs = [(rows[0][judgement.query], rows[1][judgement.document], judgement.grade) for judgement in resolved]
    query, document, grade = np.array(pairs, np.int64).reshape(-1, 3).T
    return Dataset(
        id=id,
        images=images,
        image_ids=[image_ids[image] for image in images],
        judgements=Judgements(
            queries=judged_items[0], documents=judged_items[1], query=query, document=document, grade=grade
        ),
    )


def _images(sides: Sides) -> list[ImageRef]:
    """Return the images of the documents and then of the queries, each once."""
    queries, documents = sides
    return [image for image in dict.fromkeys(chain(documents.images, queries.images)) if image is not None]


def _table(folder: Path, names: Sequence[str]) -> Path | None:
    files = (folder / f"{name}{suffix}" for name in names for suffix in text_tables.READERS)
    return next((file for file in files if is_file(file)), None)


def _items(file: Path) -> ItemColumns:
    table = text_tables.read_table(file)
    column = usual_column("image", table.columns)

    def image_of(row: int) -> ImageRef | None:
        image = _text(table, column or "", row)
        if image.startswith(("http://", "https://")):
            raise DataError(
                f"{table.row_name(row)}: {image} is a web address: download the images and list their files"
            )
        return FileImage(Path(os.path.normpath(file.parent / image))) if image else None

    return items_of(table, str(file), None if column is None else image_of)


def items_of(table: ColumnTable, source: str, image_of: Callable[[int], ImageRef | None] | None) -> ItemColumns:
    """Return the queries or documents of a table.

    Args:
        source: what messages call the table.
        image_of: gives the image of a row, or None if it has none. None for a table without a column of images.

    Raises:
        DataError: it has no ids, or neither texts nor images.
    """
    by_name = {column.lower(): column for column in table.columns}
    id_column = next((by_name[name] for name in IDS if name in by_name), None)
    text_columns = next((names for names in TEXTS if names[-1] in table.columns), TEXTS[0])
    if id_column is None:
        raise DataError(
            f"{source} has no column of ids: its columns are {', '.join(table.columns)}, expected _id or id"
        )
    if image_of is None and not set(text_columns) & set(table.columns):
        columns = ", ".join(table.columns)
        raise DataError(f"{source} has no column of texts or images: expected title, text or image, got {columns}")
    ids = list(map(str, table.columns[id_column]))
    if not {*map(type, table.columns[id_column])} <= {str, int} or not all(map(str.strip, ids)):
        _refuse_ids(table, id_column)
    texts = _joined_texts([_texts(table, name) for name in text_columns if name in table.columns], len(ids))
    images = [None] * len(ids) if image_of is None else [image_of(row) for row in range(len(ids))]
    if not all(texts):
        for row, (text, image) in enumerate(zip(texts, images, strict=True)):
            if not text and image is None:
                raise DataError(f"{table.row_name(row)}: expected a text or an image, and both are empty")
    languages = _texts(table, "language") if "language" in table.columns else [""] * len(ids)
    return ItemColumns(ids, texts, images, languages)


def _refuse_ids(table: ColumnTable, column: str) -> None:
    """Raise DataError for the first id that is neither a text nor an integer, or blank."""
    for row, value in enumerate(table.columns[column]):
        if type(value) not in (str, int) or not str(value).strip():
            raise DataError(f"{table.row_name(row)}: expected an id in {column}, got {shown(value)}")


def _joined_texts(columns: Sequence[Sequence[str]], n_rows: int) -> list[str]:
    """Return the texts of columns, joined by a space. An empty text is left out."""
    columns = [column for column in columns if any(column)]
    if not columns:
        return [""] * n_rows
    if len(columns) == 1:  # most corpora of captions: a million texts are not joined one by one
        return list(columns[0])
    return [" ".join(filter(None, texts)) for texts in zip(*columns, strict=True)]


def _texts(table: ColumnTable, column: str) -> list[str]:
    """Return the texts of a column, empty for a row without one."""
    values = table.columns[column]
    if {*map(type, values)} == {str}:
        return list(map(str.strip, cast(Sequence[str], values)))
    return [value.strip() if type(value) is str else _text(table, column, row) for row, value in enumerate(values)]


def _text(table: ColumnTable, column: str, row: int) -> str:
    value = table.columns[column][row] if column in table.columns else None
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{table.row_name(row)}: expected a text in {column}, got {shown(value)}")
    return value.strip()


def _qrels(path: Path, options: DataOptions) -> tuple[Path, str | None, list[str]]:
    """Return the file of judgements, the name of its split, and a note where it was chosen among several."""
    split, qrels_file = options.options.get("split"), options.options.get("qrels")
    if qrels_file is not None:
        if split is not None:
            raise UsageError(f"{data_option(qrels=qrels_file)} names the judgements: remove {data_option(split=split)}")
        file = next((candidate for candidate in (user_path(qrels_file), path / qrels_file) if is_file(candidate)), None)
        if file is None:
            raise UsageError(
                f"{data_option(qrels=qrels_file)}: no such file, nor in {path}: expected a file of judgements"
            )
        return file, file.stem, []
    files = {file.stem: file for file in _qrels_in(path / QRELS)} or {file.stem: file for file in _qrels_in(path)}
    if not files:
        raise DataError(
            f"{path / QRELS} has no judgements: expected files such as test.tsv ({', '.join(QRELS_SUFFIXES)}), or"
            f" {data_option(qrels='FILE')}"
        )
    if split is not None:
        if split not in files:
            raise UnknownSplit(path / QRELS, split, sorted(files))
        return files[split], split, []
    if len(files) == 1:
        ((stem, file),) = files.items()
        return file, None if stem == QRELS else stem, []
    if SPLIT not in files:
        raise UsageError(
            f"{path} has judgements for {', '.join(sorted(files))}: choose one with {data_option(split='NAME')}"
        )
    ignored = ", ".join(sorted(set(files) - {SPLIT}))
    note = f"only the split {SPLIT} is read ({ignored} left out). {data_option(split='NAME')} reads another"
    return files[SPLIT], SPLIT, [note]


def _qrels_in(folder: Path) -> list[Path]:
    listed = entries(folder, DataError) if is_folder(folder) else []
    files = [file for file in listed if file.suffix.lower() in QRELS_SUFFIXES]
    if folder.name == QRELS:
        return files
    return [file for file in files if file.stem == QRELS]


def _read_qrels(file: Path) -> list[Judgement]:
    """Return the judgements of a file, one per pair, or raise DataError if it has none, or two grades for a pair."""
    judgements = one_per_pair(_qrels_lines(file))
    if not judgements:
        raise DataError(f"{file} has no judgements: expected one line per judgement, such as: query-id, document-id, 1")
    return judgements


def one_per_pair(located: Iterable[tuple[str, Judgement]]) -> list[Judgement]:
    """Return judgements that come with their location for messages, or raise DataError if a pair has two grades."""
    grades: dict[tuple[str, str], int] = {}
    for location, (query, document, grade) in located:
        before = grades.setdefault((query, document), grade)
        if before != grade:
            raise DataError(
                f"{location}: document '{document}' has grade {grade} for query '{query}', "
                f"and {before} before: expected one grade"
            )
    return [Judgement(*pair, grade) for pair, grade in grades.items()]


def _qrels_lines(file: Path) -> Iterator[tuple[str, Judgement]]:
    """Yield location and judgement of each line, or raise DataError if a line is malformed."""
    with reading(file, DataError), open_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.rstrip("\n").split("\t") if "\t" in line else line.split()
            if not fields or not line.strip():
                continue
            location = f"{file}, line {number}"
            if len(fields) not in QRELS_COLUMNS:
                raise DataError(
                    f"{location}: {len(fields)} fields, expected query, document and grade, "
                    "or TREC's query, 0, document and grade"
                )
            query, document, grade = (fields[column].strip() for column in QRELS_COLUMNS[len(fields)])
            if not is_int64(grade):
                if number == 1 and not grade.lstrip("+-.")[:1].isdigit():
                    continue  # the names of the columns
                raise DataError(f"{location}: the grade is '{grade}', expected an integer")
            yield location, Judgement(query, document, int(grade))


LAYOUTS = (("judged documents (corpus.jsonl, queries.jsonl, qrels/)", fits, load),)
