"""Finished rankings: what a search engine returned for the queries of a pool.

A file is a TREC run, ``QUERY Q0 FILE RANK SCORE TAG`` per line, or JSON Lines of ``{"query": ..., "results": [...]}``,
optionally with ``scores``. A query is a line of the queries by its text, or by its number as ``q1``. A result is a file
name relative to the folder of photographs, or the last part of it if no other photograph has that.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

from clipbench.data.images import content_digest
from clipbench.errors import DataError, option
from clipbench.results.numbers import counted
from clipbench.untrusted.reading import parse_json, read_text, shown
from clipbench.untrusted.schema import SchemaError, parse_record

TREC_FIELDS = 6


class QueryResults(NamedTuple):
    """The results of one query, the best first."""

    source: str
    """The file, and the line or the query in it, for messages."""
    files: list[str]


@dataclass(frozen=True)
class _Line:
    query: str
    results: list[str]
    scores: list[float] | None = None


class _Hit(NamedTuple):
    source: str
    file: str
    rank: int
    score: float


def read_ranking(file: Path, queries: Sequence[str]) -> list[QueryResults]:
    """Return the results of each query, in the order of the queries.

    Raises:
        DataError: the file cannot be read, a query is unknown, missing or there twice, a result is there twice, or
            scores contradict ranks; the message names the line.
    """
    text = read_text(file, DataError)
    read = _json_results if text.lstrip().startswith("{") else _trec_results
    rows = {name: row for row, query in enumerate(queries) for name in (f"q{row + 1}", query)}
    rows |= {query: row for row, query in enumerate(queries)}  # a text before the number of another query
    results: dict[int, QueryResults] = {}
    for query, query_results in read(file, text):
        if (row := rows.get(query.strip())) is None:
            expected = f"a line of the queries, or its number from q1 to q{len(queries)}"
            raise DataError(f"{query_results.source}: got the query {shown(query)}, expected {expected}")
        if row in results:
            raise DataError(f"{query_results.source}: got query {shown(query)} again, after {results[row].source}")
        repeated, n = Counter(query_results.files).most_common(1)[0] if query_results.files else ("", 0)
        if n > 1:
            raise DataError(f"{query_results.source}: got {shown(repeated)} {n} times, expected each result once")
        results[row] = query_results
    if missing := [query for row, query in enumerate(queries) if row not in results]:
        all_queries = counted(len(queries), "query", "queries")
        raise DataError(
            f"{file} has results of {len(results)} of {all_queries}: the first without any is {shown(missing[0])}"
        )
    return [query_results for _, query_results in sorted(results.items())]


def _json_results(file: Path, text: str) -> list[tuple[str, QueryResults]]:
    results = []
    for number, line_text in enumerate(text.split("\n"), 1):
        if not line_text.strip():
            continue
        source = f"{file}, line {number}"
        try:
            line = parse_record(_Line, parse_json(line_text, source, DataError))
        except SchemaError as error:
            expected = '{"query": "a text", "results": ["a file name"]}'
            raise DataError(f"{source}: {error}, expected {expected}") from error
        if line.scores is not None:
            if len(line.scores) != len(line.results):
                raise DataError(f"{source}: got {len(line.scores)} scores of {len(line.results)} results")
            _check_order(line.scores, source)
        results.append((line.query, QueryResults(source, line.results)))
    return results


def _trec_results(file: Path, text: str) -> list[tuple[str, QueryResults]]:
    hits: dict[str, list[_Hit]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            query, hit = _trec_hit(line, f"{file}, line {number}")
            hits.setdefault(query, []).append(hit)
    results = []
    for query, query_hits in hits.items():
        ordered = sorted(query_hits, key=lambda hit: hit.rank)
        for better, worse in pairwise(ordered):
            if better.rank == worse.rank:
                raise DataError(f"{worse.source}: got rank {worse.rank} of query {query} again, after {better.source}")
        source = f"{file}, query {query}"
        _check_order([hit.score for hit in ordered], source)
        results.append((query, QueryResults(source, [hit.file for hit in ordered])))
    return results


def _trec_hit(line: str, source: str) -> tuple[str, _Hit]:
    """Return the query and the result of a line; the name of a file may have spaces."""
    start, end = line.split(maxsplit=2), line.rsplit(maxsplit=3)
    try:
        if len(line.split()) < TREC_FIELDS:
            raise ValueError
        file = start[2][: -len(line.rstrip()[len(end[0]) :])]
        return start[0], _Hit(source, file, int(end[1]), float(end[2]))
    except ValueError:
        expected = "JSON, or QUERY Q0 FILE RANK SCORE TAG"
        raise DataError(f"{source}: got {shown(line)}, expected {expected}") from None


def _check_order(scores: Sequence[float], source: str) -> None:
    for rank, (better, worse) in enumerate(pairwise(scores), 2):
        if not better >= worse:
            raise DataError(f"{source}: scores contradict ranks: got {worse:g} at rank {rank} after {better:g}")


def photograph_names(results: Sequence[QueryResults], names: Sequence[str], folder: Path) -> list[list[str]]:
    """Return the results as names of photographs, relative to their folder.

    Raises:
        DataError: no photograph, or several, have the name of a result.
    """
    whole = set(names)
    by_last: dict[str, list[str]] = {}
    for name in names:
        by_last.setdefault(name.rpartition("/")[2], []).append(name)

    def full_name(file: str, source: str) -> str:
        if file in whole:
            return file
        matches = by_last.get(file, [])
        if len(matches) == 1:
            return matches[0]
        fault = f"which {len(matches)} photographs have" if matches else f"which is not in {folder}"
        example = shown(matches[0] if matches else names[0])
        raise DataError(f"{source}: got {shown(file)}, {fault}: expected names relative to {folder}, such as {example}")

    return [[full_name(file, query.source) for file in query.files] for query in results]


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
    firsts = []
    for query, query_names in zip(results, names, strict=True):
        distinct = list(dict.fromkeys(rows[name] for name in query_names if name in rows))
        if len(distinct) < k:
            copies = f", {counted(len(query_names) - len(distinct), 'of them')} a copy or unreadable"
            n = counted(len(query_names), "result") + (copies if len(distinct) < len(query_names) else "")
            advice = f"Write more results, or set {option('k', max(1, len(distinct)))}."
            raise DataError(f"{query.source}: got {n}, expected at least {k}. {advice}")
        firsts.append(distinct[:k])
    return np.array(firsts, np.int64).reshape(len(firsts), k)


def ranking_fingerprint(names: Shaped[np.ndarray, "n_queries k"]) -> str:
    """Return the fingerprint of the names of the first photographs of some queries."""
    return content_digest(json.dumps(names.tolist(), ensure_ascii=False).encode())
