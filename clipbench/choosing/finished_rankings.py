"""Finished rankings: what a search engine returned for the queries of a pool.

``data.readers.result_lists`` has the forms of a file. A query is a line of the queries by its text, or by its number as
``q1``. A result is a file name relative to the folder of photographs, or the last part of it if no other photograph has
that.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from clipbench.data.images import content_digest
from clipbench.data.readers.result_lists import ResultList, read_result_lists
from clipbench.errors import DataError, option
from clipbench.results.numbers import counted
from clipbench.untrusted.reading import shown


def read_ranking(file: Path, queries: Sequence[str]) -> list[ResultList]:
    """Return the results of each query, in the order of the queries.

    Raises:
        DataError: the file cannot be read, a query is unknown, missing or there twice, a result is there twice, or
            scores contradict ranks; the message names the line.
    """
    numbers = {f"q{number}": number for number in range(1, len(queries) + 1)}
    numbers |= {query: number for number, query in enumerate(queries, 1)}  # a text before the number of another query
    results: dict[int, ResultList] = {}
    for result in read_result_lists(file):
        number = numbers.get(result.query.strip())
        if number is None:
            fault = f"the query {shown(result.query)}, expected a line of the queries, or q1 to q{len(queries)}"
        elif number in results:
            fault = f"query {shown(result.query)} again, after {results[number].source}"
        else:
            results[number] = result
            continue
        raise DataError(f"{result.source}: got {fault}")
    if missing := [query for number, query in enumerate(queries, 1) if number not in results]:
        n = counted(len(queries), "query", "queries")
        raise DataError(f"{file} has results of {len(results)} of {n}: the first without any is {shown(missing[0])}")
    return [result for _, result in sorted(results.items())]


def photograph_names(results: Sequence[ResultList], names: Sequence[str], folder: Path) -> list[list[str]]:
    """Return the results as names of photographs, relative to their folder.

    Raises:
        DataError: no photograph, or several, have the name of a result.
    """
    full_names: dict[str, list[str]] = {}
    for name in names:
        full_names.setdefault(name.rpartition("/")[2], []).append(name)
    full_names |= {name: [name] for name in names}
    for result in results:
        for file in result.results:
            matches = full_names.get(file, [])
            if len(matches) != 1:
                fault = f"which {len(matches)} photographs have" if matches else f"which is not in {folder}"
                expected = f"names relative to {folder}, such as {shown([*matches, *names][0])}"
                raise DataError(f"{result.source}: got {shown(file)}, {fault}: expected {expected}")
    return [[full_names[file][0] for file in result.results] for result in results]


def first_rows(
    results: Sequence[ResultList], names: Sequence[Sequence[str]], rows: Mapping[str, int], k: int
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
