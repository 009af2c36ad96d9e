"""Finished rankings: what a search engine returned for the queries of a pool.

A file is a TREC run, ``QUERY Q0 FILE RANK SCORE TAG`` per line, or JSON Lines of ``{"query": ..., "results": [...]}``.
A query is a line of the queries by its text, or by its number as ``q1``. A result is a file name relative to the folder
of photographs, or the last part of it if no other photograph has that.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

from clipbench.choosing.pool import lines
from clipbench.data.images import content_digest
from clipbench.errors import DataError, option
from clipbench.results.numbers import counted
from clipbench.untrusted.reading import read_text, shown

JSON_FORM = '{"query": "a text", "results": ["a file name"]}'


class QueryResults(NamedTuple):
    """The results of one query, the best first."""

    source: str
    """The file, and the line or the query in it, for messages."""
    query: str
    files: list[str]


@dataclass(frozen=True)
class _Line:
    query: str
    results: list[str]


def read_ranking(file: Path, queries: Sequence[str]) -> list[QueryResults]:
    """Return the results of each query, in the order of the queries.

    Raises:
        DataError: the file cannot be read, a query is unknown, missing or there twice, a result is there twice, or
            scores contradict ranks; the message names the line.
    """
    text = read_text(file, DataError)
    numbers = {f"q{number}": number for number in range(1, len(queries) + 1)}
    numbers |= {query: number for number, query in enumerate(queries, 1)}  # a text before the number of another query
    results: dict[int, QueryResults] = {}
    for result in _json_results(file) if text.lstrip().startswith("{") else _trec_results(file, text):
        number = numbers.get(result.query.strip())
        if number is None:
            fault = f"the query {shown(result.query)}, expected a line of the queries, or q1 to q{len(queries)}"
        elif number in results:
            fault = f"query {shown(result.query)} again, after {results[number].source}"
        elif repeated := [name for name, n in Counter(result.files).items() if n > 1]:
            fault = f"{shown(repeated[0])} again, expected each result once"
        else:
            results[number] = result
            continue
        raise DataError(f"{result.source}: got {fault}")
    if missing := [query for number, query in enumerate(queries, 1) if number not in results]:
        n = counted(len(queries), "query", "queries")
        raise DataError(f"{file} has results of {len(results)} of {n}: the first without any is {shown(missing[0])}")
    return [result for _, result in sorted(results.items())]


def _json_results(file: Path) -> Iterator[QueryResults]:
    for source, line in lines(file, _Line, advice=f"Write {JSON_FORM}"):
        yield QueryResults(source, line.query, line.results)


def _trec_results(file: Path, text: str) -> Iterator[QueryResults]:
    hits: dict[str, list[tuple[int, float, str]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                query, _, name, rank_text, score_text, _ = line.split()
                hits.setdefault(query, []).append((int(rank_text), float(score_text), name))
        except ValueError:
            raise DataError(
                f"{file}, line {number}: got {shown(line)}, expected QUERY Q0 FILE RANK SCORE TAG, or {JSON_FORM}"
            ) from None
    for query, query_hits in hits.items():
        source, ordered = f"{file}, query {query}", sorted(query_hits)
        for (rank, score, _), (next_rank, next_score, _) in pairwise(ordered):
            if rank == next_rank or not score >= next_score:
                fault = f"{next_score:g} at rank {next_rank} after {score:g} at rank {rank}"
                raise DataError(f"{source}: scores contradict ranks: got {fault}")
        yield QueryResults(source, query, [name for _, _, name in ordered])


def photograph_names(results: Sequence[QueryResults], names: Sequence[str], folder: Path) -> list[list[str]]:
    """Return the results as names of photographs, relative to their folder.

    Raises:
        DataError: no photograph, or several, have the name of a result.
    """
    full_names: dict[str, list[str]] = {}
    for name in names:
        full_names.setdefault(name.rpartition("/")[2], []).append(name)
    full_names |= {name: [name] for name in names}
    for result in results:
        for file in result.files:
            matches = full_names.get(file, [])
            if len(matches) != 1:
                fault = f"which {len(matches)} photographs have" if matches else f"which is not in {folder}"
                expected = f"names relative to {folder}, such as {shown([*matches, *names][0])}"
                raise DataError(f"{result.source}: got {shown(file)}, {fault}: expected {expected}")
    return [[full_names[file][0] for file in result.files] for result in results]


def first_rows(
    results: Sequence[QueryResults], names: Sequence[Sequence[str]], rows: Mapping[str, int], k: int
) -> Int64[np.ndarray, "n_queries k"]:
    """Return the rows of the first k photographs of each query, photographs with equal content once.

    Args:
        names: of the results of each query.
        rows: row of each readable photograph, by its name.

    Raises:
        DataError: a query has fewer than k.
    """
    firsts = [[*dict.fromkeys(rows[name] for name in query_names if name in rows)][:k] for query_names in names]
    for result, first in zip(results, firsts, strict=True):
        if len(first) < k:
            n = f"{counted(len(first), 'result')} without copies and unreadable images"
            advice = f"Write more results, or set {option('k', max(1, len(first)))}."
            raise DataError(f"{result.source}: got {n}, expected at least {k}. {advice}")
    return np.array(firsts, np.int64)


def ranking_fingerprint(names: Shaped[np.ndarray, "n_queries k"]) -> str:
    """Return the fingerprint of the names of the first photographs of some queries."""
    return content_digest(json.dumps(names.tolist(), ensure_ascii=False).encode())
