"""Make a pool: models and finished rankings order the photographs for every query, and the first ones are judged."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clipbench.choosing.finished_rankings import (
    first_rows,
    photograph_names,
    ranking_fingerprint,
    read_ranking,
    short_lists_note,
)
from clipbench.choosing.pool import CANDIDATES, CORPUS, FACTS, LOG, QRELS, QUERIES, RANKINGS, Facts, Pool, read_pool
from clipbench.data import Dataset, FileImage
from clipbench.data.images import content_digest
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.readers.image_folder import scan
from clipbench.data.subset import without_images
from clipbench.errors import BadImage, DataError, UsageError, on_command_line, option
from clipbench.files import folder_lock, write_atomic
from clipbench.metrics.similarity import score_blocks
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import counted
from clipbench.results.record import PriceRecord
from clipbench.seeding import generator
from clipbench.untrusted.reading import entries, is_file, is_folder, read_text, shown

Rows = Int64[np.ndarray, "n_queries k"]
"""Rows of the photographs that are first for each query."""
Firsts = Sequence[Sequence[int]]
"""The same as lists, which are short if a finished ranking has fewer."""
Models = Sequence[tuple[str, Callable[[], Embedder]]]
"""Names of models and functions that load them."""
Reporter = Callable[[str], None]
"""Called with facts for the user."""


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The options of a pool."""

    k: int = 10
    """Photographs of each model per query."""
    rankings: Sequence[tuple[str, Path]] = ()
    """Names of search engines with their files, as ``finished_rankings`` reads them."""
    n_random: int = 5
    """Others that are drawn at random for each query."""
    seed: int = 0
    skip_bad_images: bool = False
    price: Callable[[str], PriceRecord] | None = None
    """Measures the price of a model by its name, None to measure none."""


class Photographs(NamedTuple):
    """The readable photographs of a pool, each content once."""

    dataset: Dataset
    digests: list[str]
    """Hash of the content of each."""
    rows: Mapping[str, int]
    """Row of each readable photograph by its name; copies have the row of the first."""


def read_queries(file: Path) -> list[str]:
    """Return the queries of a file, one per line, or raise DataError if a line is empty or repeated."""
    line_numbers: dict[str, int] = {}
    for number, line in enumerate(read_text(file, DataError).removesuffix("\n").split("\n"), 1):
        query = line.strip()
        if not query:
            raise DataError(f"{file}, line {number} is empty: expected a query in each line")
        if query in line_numbers:
            raise DataError(
                f"{file}, line {number} repeats line {line_numbers[query]}, {shown(query)}: expected each query once"
            )
        line_numbers[query] = number
    return list(line_numbers)


def make_pool(
    models: Models,
    images: Path,
    queries: Sequence[str],
    folder: Path,
    options: PoolOptions,
    *,
    note: Reporter = lambda text: None,
) -> Pool:
    """Rank photographs by each model, and write a pool of the first ones, and of the first ones in finished rankings.

    A pool that is there already is kept, with its judgements; queries that are new come after its own, and prices
    replace those before.

    Ties of scores are broken by one random order of the photographs, the same for all models. Photographs with equal
    content are kept once, the first by name.

    Args:
        models: one at a time is loaded.
        images: a folder of photographs, at any depth.
        queries: distinct texts.
        folder: of the pool, new or empty.

    Raises:
        ClipbenchError: there are too few models, photographs or queries, a model fails, a ranking does not fit, or the
            folder holds other files or another pool.
    """
    _check([name for name, _ in (*models, *options.rankings)], queries, folder)
    if options.price is not None and not models:
        raise UsageError(f"{option('price', True)} measures models: got only finished rankings. Remove it.")
    scanned = _photographs(images)
    results = {name: read_ranking(file, queries) for name, file in options.rankings}
    names = {name: photograph_names(results[name], scanned.image_ids, images) for name in results}
    photographs, fingerprints, firsts = _rank_by_models(models, scanned, queries, options, note)
    k = min(options.k, len(photographs.dataset))
    for name in results:
        firsts[name] = first_rows(names[name], photographs.rows, k)
        if short_lists := short_lists_note(name, firsts[name], k):
            note(short_lists)
    _check_candidates(firsts, queries, options)

    def facts_of(n_queries: int) -> Facts:
        ids = photographs.dataset.image_ids
        models = dict(fingerprints)
        for name in results:
            first_ids = [[ids[row] for row in rows] for rows in firsts[name][:n_queries]]
            models[name] = ranking_fingerprint(first_ids)
        return Facts(
            models=models,
            rankings=[*results],
            images=str(images.absolute()),
            n_images=len(ids),
            content=content_digest("\n".join(photographs.digests).encode()),
            k=options.k,
            n_random=options.n_random,
            seed=options.seed,
        )

    facts = facts_of(len(queries))
    with folder_lock(folder):
        n_existing, existing = 0, read_pool(folder) if is_file(folder / FACTS) else None
        if existing is not None:
            n_existing = len(existing.queries)
            facts_of(n_existing).check_same(existing.facts, folder)
            facts = replace(facts, prices=existing.facts.prices)
            if list(queries[:n_existing]) != [existing.queries.get(f"q{row}") for row in range(1, n_existing + 1)]:
                raise UsageError(
                    f"{folder} holds a pool of other queries: keep its queries, and add new ones at the end"
                )
        if options.price is not None:
            facts = replace(facts, prices=_prices(fingerprints, options.price, note))
        rest = generator(options.seed, "queries", str(n_existing)).permutation(np.arange(n_existing, len(queries)))
        files = _files(facts, photographs.dataset, queries, firsts, rest.tolist())
        _write(folder, files, is_new=existing is None)
    return read_pool(folder)


def _write(folder: Path, files: dict[str, bytes], *, is_new: bool) -> None:
    """Write the files of a pool, or add to them, or leave nothing of a new pool if that fails."""
    try:
        if is_new:
            (folder / QRELS).parent.mkdir(exist_ok=True)
            write_atomic({folder / name: b"" for name in (QRELS, LOG, CANDIDATES, RANKINGS)})
        for name in (CANDIDATES, RANKINGS):  # what was judged stays as it was
            files[name] = (folder / name).read_bytes() + files[name]
        write_atomic({folder / name: text for name, text in files.items()})
    except BaseException:  # a full disk, or Ctrl-C
        if is_new:
            _remove_unfinished(folder)
        raise


def _remove_unfinished(folder: Path) -> None:
    """Remove the empty files of a pool that could not be written."""
    with suppress(OSError):
        for name in (QRELS, LOG, CANDIDATES, RANKINGS):
            file = folder / name
            if is_file(file) and not file.stat().st_size:
                file.unlink()
        (folder / QRELS).parent.rmdir()


def _rank_by_models(
    models: Models,
    dataset: Dataset,
    queries: Sequence[str],
    options: PoolOptions,
    note: Reporter,
) -> tuple[Photographs, dict[str, str], dict[str, Firsts]]:
    """Return the photographs, the fingerprint of each model, and the photographs that it finds first."""
    photographs = None if models else _distinct(dataset, None, options, note)
    fingerprints: dict[str, str] = {}
    firsts: dict[str, Firsts] = {}
    for name, load in models:
        embedder = load()
        if embedder.dataset is not None:
            raise UsageError(f"{name} holds stored results: expected a model that encodes photographs")
        photographs = photographs or _distinct(dataset, embedder, options, note)
        for model, fingerprint in fingerprints.items():
            if fingerprint == embedder.info.fingerprint:
                raise UsageError(f"{name} and {model} are the same model: remove one of them")
        fingerprints[name] = embedder.info.fingerprint
        firsts[name] = _search(embedder, photographs.dataset, queries, options).tolist()
        del embedder  # while the next one is loaded
    assert photographs is not None
    return photographs, fingerprints, firsts


def _search(embedder: Embedder, dataset: Dataset, queries: Sequence[str], options: PoolOptions) -> Rows:
    """Return the rows of the first photographs that a model finds for each query; ties are in a random order."""
    order = generator(options.seed, "ties").permutation(len(dataset))
    query_vectors = embedder.scoring_vectors(embedder.encode(TEXT, queries, "query"))
    image_vectors = embedder.scoring_vectors(embedder.encode(IMAGE, dataset.images, "document"))
    blocks = score_blocks(query_vectors, image_vectors)
    firsts = [np.argsort(-scores[:, order], axis=1, kind="stable")[:, : options.k] for _, scores in blocks]
    return order[np.concatenate(firsts)]


def _prices(names: Iterable[str], price: Callable[[str], PriceRecord], note: Reporter) -> dict[str, PriceRecord]:
    prices: dict[str, PriceRecord] = {}
    for name in names:
        note(f"measuring the price of {name}")
        prices[name] = price(name)
    return prices


def _check(names: Sequence[str], queries: Sequence[str], folder: Path) -> None:
    if len(names) < 2:
        advice = f"repeat {option('model', 'REF')}{on_command_line(' or --ranking NAME=FILE')}"
        raise UsageError(f"a pool needs two models or rankings, got {len(names)}: {advice}")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two models or rankings are called {name}: remove one, or give it another name")
    if not queries or not all(map(str.strip, queries)) or len(set(queries)) < len(queries):
        raise DataError(
            f"got {counted(len(queries), 'query', 'queries')}: expected at least one, and each of them distinct and not"
            " empty"
        )
    if is_folder(folder) and not is_file(folder / FACTS) and entries(folder, UsageError):
        raise UsageError(f"{folder} is not empty and holds no pool: name another folder")


def _check_candidates(firsts: Mapping[str, Firsts], queries: Sequence[str], options: PoolOptions) -> None:
    """Raise DataError for a query without any photograph to judge."""
    if options.n_random:
        return
    for row, query in enumerate(queries):
        if not any(rows[row] for rows in firsts.values()):
            raise DataError(
                f"no ranking has a result of query {shown(query)}: there is nothing to judge. Remove the query, or"
                " add random photographs to every query"
            )


def _photographs(folder: Path) -> Dataset:
    if not is_folder(folder):
        raise DataError(f"{folder} is not a folder: expected a folder with photographs")
    if not (files := scan(folder).images):
        raise DataError(f"{folder} has no images: expected photographs, at any depth")
    names = [file.relative_to(folder).as_posix() for file in files]
    return Dataset(id=str(folder), images=[FileImage(file.absolute()) for file in files], image_ids=names)


def _distinct(dataset: Dataset, embedder: Embedder | None, options: PoolOptions, note: Reporter) -> Photographs:
    """Return the readable photographs, each content once. Without a model, all are decoded to see if they are."""
    if embedder is None:
        dataset = _decodable(dataset, options)
    elif options.skip_bad_images:
        dataset = embedder.readable(dataset, "document")
    for image_note in dataset.notes:
        note(image_note)
    all_of = [image.digest() for image in dataset.images] if embedder is None else embedder.digests(dataset.images)
    rows = np.sort(np.unique(all_of, return_index=True)[1])
    if len(rows) < len(all_of):
        note(f"{counted(len(all_of) - len(rows), 'photograph')} left out, because another one is the same picture")
    digests = [all_of[row] for row in rows]
    row_of_digest = {digest: row for row, digest in enumerate(digests)}
    names = zip(dataset.image_ids, all_of, strict=True)
    return Photographs(dataset.take(rows), digests, {name: row_of_digest[digest] for name, digest in names})


def _decodable(dataset: Dataset, options: PoolOptions) -> Dataset:
    """Return the data set without undecodable images, as ``Embedder.readable`` does with a model."""
    notes: dict[int, str] = {}
    for row, image in enumerate(dataset.images):
        try:
            image.open()
        except BadImage as error:
            if not options.skip_bad_images:
                raise
            notes[row] = f"skipped {error.name}: {error.cause}"
    decodable = without_images(dataset, np.array([*notes], np.int64))
    return replace(decodable, notes=(*decodable.notes, *notes.values()))


def _files(
    facts: Facts,
    dataset: Dataset,
    queries: Sequence[str],
    model_rankings: Mapping[str, Firsts],
    query_rows: Sequence[int],
) -> dict[str, bytes]:
    """Return the files of a pool, with the candidates of some queries."""
    ids = [f"p{row}" for row in range(1, len(dataset) + 1)]
    corpus = [{"_id": id, "image": image.name} for id, image in zip(ids, dataset.images, strict=True)]
    candidates, rankings = [], []
    for row in query_rows:
        firsts = {name: rows[row] for name, rows in model_rankings.items()}
        union = sorted(set().union(*firsts.values()))
        rng = generator(facts.seed, "candidates", queries[row])
        remaining = np.setdiff1d(np.arange(len(ids)), union)
        random_rows = rng.permutation(remaining)[: facts.n_random].tolist()
        candidate_rows = rng.permutation([*union, *random_rows]).tolist()
        query = f"q{row + 1}"
        images = [ids[image_row] for image_row in candidate_rows]
        candidates.append({"query": query, "images": images, "batch": len(queries) - len(query_rows)})
        first_ids = {name: [ids[image_row] for image_row in first] for name, first in firsts.items()}
        rankings.append({"query": query, "models": first_ids, "random": [ids[image_row] for image_row in random_rows]})
    texts = [{"_id": f"q{row}", "text": query} for row, query in enumerate(queries, 1)]
    return {
        CORPUS: _json_lines(corpus),
        QUERIES: _json_lines(texts),
        CANDIDATES: _json_lines(candidates),
        RANKINGS: _json_lines(rankings),
        FACTS: json.dumps(asdict(facts), indent=1, ensure_ascii=False).encode(),  # last: with it the pool is there
    }


def _json_lines(rows: Iterable[object]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
