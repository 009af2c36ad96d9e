"""Finished rankings: what a search engine returned for the queries of a pool.

``data.readers.result_lists`` has the forms of a file. A query is a line of the queries by its text, or by its number as
``q1``. A result is a file name relative to the folder of photographs, or the last part of it if no other photograph has
that.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipbench.data.images import content_digest
from clipbench.data.readers.result_lists import ResultList, read_result_lists
from clipbench.errors import DataError
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
        raise DataError(
            f"{file} has results of {len(results)} of {n}: the first query without a result is {shown(missing[0])}"
        )
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
                fault = f"the file name of {len(matches)} photographs" if matches else f"which is not in {folder}"
                expected = f"names relative to {folder}, such as {shown([*matches, *names][0])}"
                raise DataError(f"{result.source}: got {shown(file)}, {fault}: expected {expected}")
    return [[full_names[file][0] for file in result.results] for result in results]


def first_rows(names: Sequence[Sequence[str]], rows: Mapping[str, int], k: int) -> list[list[int]]:
    """Return the rows of the first k photographs of each query, or fewer, photographs with equal content once.

    Args:
        names: of the results of each query.
        rows: row of each readable photograph, by its name.

    Example:
        >>> first_rows([["a", "copy of a", "b"], []], {"a": 0, "copy of a": 0, "b": 1}, k=3)
        [[0, 1], []]
    """
    firsts = []
    for query_names in names:
        distinct_rows = dict.fromkeys(rows[name] for name in query_names if name in rows)
        firsts.append(list(distinct_rows)[:k])
    return firsts


def short_lists_note(name: str, firsts: Sequence[Sequence[int]], k: int) -> str:
    """Return a note on the short lists of a ranking, empty if there are none.

    Example:
        >>> short_lists_note("engine", [[0, 1], []], k=2)
        'engine: 1 of 2 lists has fewer than 2 photographs, without copies and unreadable images'
    """
    n_short = sum(len(first) < k for first in firsts)
    if not n_short:
        return ""
    n = f"{n_short} of {len(firsts)} lists {'has' if n_short == 1 else 'have'}"
    return f"{name}: {n} fewer than {k} photographs, without copies and unreadable images"


def ranking_fingerprint(names: Sequence[Sequence[str]]) -> str:
    """Return the fingerprint of the names of the first photographs of some queries."""
    return content_digest(json.dumps(names, ensure_ascii=False).encode())
