"""Result lists: what a search engine, an index or a reranker returned for queries.

A file is a TREC run, ``QUERY Q0 DOCUMENT RANK SCORE TAG`` per line, or JSON Lines of
``{"query": ..., "results": [...], "scores": [...]}``, where ``scores`` is optional. Either may be compressed by gzip.

Ranks and the order of ``results`` are the order in which a user sees the results. Equal ``scores`` of JSON Lines mean
that the order among these results is arbitrary. In a TREC run the rank decides, and scores may not contradict it.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from clipbench.errors import DataError
from clipbench.untrusted.reading import encoding_of, parse_json, read_bytes, reading, shown
from clipbench.untrusted.schema import SchemaError, parse_record

JSON_FORM = '{"query": "a text", "results": ["a file name"]}'
FORMS = f"QUERY Q0 FILE RANK SCORE TAG, or {JSON_FORM}"
_GZIP = b"\x1f\x8b"


class ResultList(NamedTuple):
    """The results of one query, the best first."""

    source: str
    """The file, and the line or the query in it, for messages."""
    query: str
    results: list[str]
    """Distinct names, or none for a query that found nothing."""
    scores: list[float] | None = None
    """Never rising. Results with equal scores are in no order. None: the order of the results decides."""


@dataclass(frozen=True)
class _Line:
    query: str
    results: list[str]
    scores: list[float] | None = None


class _Hit(NamedTuple):
    rank: int
    score: float
    name: str


def read_result_lists(file: Path) -> list[ResultList]:
    """Return the result lists of a file, in the order in which their queries first appear.

    Raises:
        DataError: the file cannot be read or is empty, a line has another form, a result is in a list twice, or scores
            contradict ranks. The message names the line or the query.
    """
    text = _read_text(file)
    if not text.strip():
        raise DataError(f"{file} is empty: expected lines of {FORMS}")
    is_json = text.lstrip().startswith("{")
    result_lists = list(_json_lists(file, text) if is_json else _trec_lists(file, text))
    for result_list in result_lists:
        if len(set(result_list.results)) < len(result_list.results):
            repeated, _ = Counter(result_list.results).most_common(1)[0]
            raise DataError(f"{result_list.source}: got {shown(repeated)} again, expected each result once")
    return result_lists


def _read_text(file: Path) -> str:
    with reading(file, DataError):
        data = read_bytes(file)
        if data.startswith(_GZIP):
            data = _decompressed(file, data)
        text = data.decode(encoding_of(data))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decompressed(file: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot decompress {file} ({error}): expected a whole gzip file. Write it again") from error


def _json_lists(file: Path, text: str) -> Iterator[ResultList]:
    for number, line_text in enumerate(text.split("\n"), 1):
        if not line_text.strip():
            continue
        source = f"{file}, line {number}"
        try:
            line = parse_record(_Line, parse_json(line_text, source, DataError))
        except SchemaError as error:
            raise DataError(f"{source}: {error}. Write {JSON_FORM}") from error
        if line.scores is not None:
            _check_scores(source, line.results, line.scores)
        yield ResultList(source, line.query, line.results, line.scores)


def _check_scores(source: str, results: list[str], scores: list[float]) -> None:
    if len(scores) != len(results):
        raise DataError(f"{source}: got {len(scores)} scores of {len(results)} results, expected one score per result")
    for rank, score in enumerate(scores, 1):
        if not isfinite(score):
            raise DataError(f"{source}: got the score {score} at rank {rank}, expected a finite number")
    for rank, (score, next_score) in enumerate(pairwise(scores), 1):
        if next_score > score:
            raise DataError(_contradiction(source, _Hit(rank, score, ""), _Hit(rank + 1, next_score, "")))


def _trec_lists(file: Path, text: str) -> Iterator[ResultList]:
    hits: dict[str, list[_Hit]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            query, _, name, rank, score, _ = line.split()
            hit = _Hit(int(rank), float(score), name)
        except ValueError:
            raise DataError(f"{file}, line {number}: got {shown(line)}, expected {FORMS}") from None
        hits.setdefault(query, []).append(hit)
    for query, query_hits in hits.items():
        source, ordered = f"{file}, query {query}", sorted(query_hits)
        for hit, next_hit in pairwise(ordered):
            if hit.rank == next_hit.rank or not hit.score >= next_hit.score:
                raise DataError(_contradiction(source, hit, next_hit))
        yield ResultList(source, query, [hit.name for hit in ordered])


def _contradiction(source: str, hit: _Hit, next_hit: _Hit) -> str:
    fault = f"{next_hit.score:g} at rank {next_hit.rank} after {hit.score:g} at rank {hit.rank}"
    return f"{source}: scores contradict ranks: got {fault}"
