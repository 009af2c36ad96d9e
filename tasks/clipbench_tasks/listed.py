"""Retrieval by finished result lists: the metrics that need no vectors, as deep as the lists are.

A list is the order in which results were returned, so that a metric of the first k is defined if lists may have k
results, or all items. What a shorter list lacks counts as not found.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clipbench.evaluation.task import ResultLists
from clipbench.metrics.ranking import NOT_RETRIEVED, Answers, Ranks, expected_rank
from clipbench.metrics.result_lists import ListAnswers, ListedItems, ScoredItems, first_items, list_scores
from clipbench.models.protocol import SearchResults
from clipbench.results.numbers import count, counted
from clipbench.results.record import UNDEFINED_BY_LISTS
from clipbench.results.shown_samples import NEAREST, worst
from clipbench.stats.measures import Measure, Measures, undefined
from clipbench_tasks.tables import Column, IsRight, Rows, Table, Vectors, items_at, text_column

FIRST = 0.5
"""Margin of a query whose right item certainly comes first."""


class Lists(NamedTuple):
    """The result lists of the queries of one search."""

    listed: ListedItems
    depth: int
    """Number of results that a list may have."""
    lengths: Rows
    """Number of results of each query."""
    n_items: int
    """Number of items that each query could have retrieved."""

    def reaches(self, k: int) -> bool:
        """Return whether a metric of the first k is defined."""
        return k <= self.depth or self.depth >= self.n_items

    def too_shallow(self, k: int) -> str:
        """Return the reason why a metric of the first k is undefined."""
        return f"{UNDEFINED_BY_LISTS}: it needs the first {count(k)} results, and the lists end at {count(self.depth)}"


def answers_of_lists(answers: ListAnswers) -> Answers:
    """Return what the lists say of each query as a search by vectors does, with scores that are not known."""
    unknown = np.full(len(answers.first), np.nan, np.float32)
    return Answers(answers.ranks, answers.right, unknown, answers.first, unknown)


def result_lists(
    queries: Sequence[str],
    items: Sequence[str],
    vectors: Sequence[Vectors],
    lists: Lists | None,
    left_out: Sequence[Rows] | None = None,
) -> ResultLists:
    """Return finished lists, or the lists of a search by vectors, which are made when they are asked for.

    Args:
        queries, items: their names.
        vectors: unit vectors of the queries and of the items, if there are no lists.
        left_out: rows of the items that each query ignores.
    """

    def first_of_vectors(depth: int) -> ScoredItems:
        of_queries, of_items = vectors
        return first_items(of_queries, of_items, depth, without=left_out)

    if lists is None:
        return ResultLists(queries=queries, items=items, first=first_of_vectors)
    scored = list_scores(lists.listed, len(queries))
    return ResultLists(queries=queries, items=items, first=lambda _: scored, depth=lists.depth)


def listed_ranks(ranks: Ranks) -> Column:
    """Return the expected rank of each query's best right item, NaN if its list has none."""
    return np.where(ranks.better < NOT_RETRIEVED, expected_rank(ranks), np.nan)


def listed_margins(ranks: Ranks, depth: int) -> Column:
    """Return how far each query is from failing, by rank: a right item that is not in the list has the next rank."""
    return 1.5 - np.where(ranks.better < NOT_RETRIEVED, expected_rank(ranks), depth + 1)


def column_of_first(values: np.ndarray, first: Rows) -> np.ndarray:
    """Return a column with the value of each query's first item: of an empty list "", or -1 for a row."""
    nothing = "" if values.dtype == object else -1
    return np.where(first >= 0, values[first], nothing).astype(values.dtype)


def with_depth(measures: Measures, depths: Mapping[str, int], lists: Lists) -> Measures:
    """Return measures of which those that need more results than the lists have are undefined.

    Args:
        depths: number of results that each measure needs, where it needs a number.
    """
    limited: dict[str, Measure] = {}
    for name, measure in measures.items():
        is_deep = name in depths and not lists.reaches(depths[name])
        limited[name] = undefined(lists.too_shallow(depths[name]), higher_is_better=True) if is_deep else measure
    return limited


def listed_neighbours(
    ids: Sequence[str],
    lists: Lists,
    ranks: Ranks,
    *,
    texts: Sequence[str],
    images: Rows | None,
    is_right: IsRight,
) -> Table:
    """Return ``Evaluation.neighbours`` of the worst failures: the first results of each list, without cosines."""
    listed, margin = lists.listed, listed_margins(ranks, lists.depth)
    rows: list[int] = []
    rank: list[int] = []
    starts = np.searchsorted(listed.query, np.arange(len(ids) + 1)).tolist()  # of each query's results
    for failed_query in worst(margin, margin < FIRST).tolist():
        start = starts[failed_query]
        stop = min(starts[failed_query + 1], start + NEAREST)
        rows += range(start, stop)
        rank += range(1, stop - start + 1)
    positions = np.array(rows, np.int64)
    query, item = listed.query[positions], listed.item[positions]
    return {
        "sample_id": text_column(items_at(ids, query)),
        "rank": np.array(rank, np.int64),
        "text": text_column(items_at(texts, item)),
        "image": np.full(len(item), -1) if images is None else images[item],
        "cosine": np.full(len(item), np.nan),
        "is_right": is_right(query, item),
    }


def notes_of_lists(results: SearchResults, lists: Lists) -> Iterator[str]:
    """Yield notes on queries without a list, and on short lists."""
    if results.n_without:
        n = counted(results.n_without, "query", "queries")
        yield f"{n} without a list: nothing was found for them (missing=empty)"
    longest = min(lists.depth, lists.n_items)
    n_short = int((lists.lengths < longest).sum())
    if n_short:
        yield (
            f"{count(n_short)} of {counted(len(lists.lengths), 'list')} have fewer than {count(longest)} results: what"
            " they lack counts as not found"
        )
