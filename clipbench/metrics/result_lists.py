"""Ranks and score levels from finished result lists, as ``ranking`` and ``relevance`` have them from vectors, and the
result lists of vectors.

A list holds the first results of a query. What is relevant and not in its list has the rank ``NOT_RETRIEVED``, beyond
every k: it adds nothing to recall, nDCG and average precision, and its reciprocal rank is 0, as in trec_eval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from clipbench.metrics._search import OfQueries
from clipbench.metrics.ranking import NOT_RETRIEVED, Ranks
from clipbench.metrics.relevance import Levels, Relevant
from clipbench.metrics.similarity import Items, Queries, nearest_candidates

OfResults = Int64[np.ndarray, " n_results"]
NO_ITEM = -1
"""Row of the first item of an empty list."""
MOST_TIED = 1_000
"""Items beyond the depth that a list takes in if they score as the last one does."""


class ListedItems(NamedTuple):
    """The results of queries, by query and then by rank."""

    query: OfResults
    """Row of the query, ascending."""
    item: OfResults
    group: OfResults
    """Ascending number of the group of results with equal scores. A group has results of one query."""


class ScoredItems(NamedTuple):
    """The results of queries with their scores, by query and then by rank."""

    query: OfResults
    """Row of the query, ascending."""
    item: OfResults
    score: Float64[np.ndarray, " n_results"]
    """Never rising within a query. Results with equal scores are in no order."""


class ListAnswers(NamedTuple):
    """The results of each query by its list."""

    levels: Levels
    ranks: Ranks
    """``better`` is ``NOT_RETRIEVED`` for a query without a relevant item in its list."""
    right: OfQueries
    """Row of the best relevant item, the first in the order of the data where none was retrieved."""
    first: OfQueries
    """Row of the first item, ``NO_ITEM`` for an empty list."""
    lengths: OfQueries

    @property
    def is_found(self) -> Bool[np.ndarray, " n_queries"]:
        """True for queries with a relevant item in their list."""
        return self.ranks.better < NOT_RETRIEVED


class _Groups(NamedTuple):
    """Groups of results with equal scores."""

    first: Int64[np.ndarray, " n_groups"]
    """Position of the first result among all."""
    size: Int64[np.ndarray, " n_groups"]
    above: Int64[np.ndarray, " n_groups"]
    """Results of the query before the group."""


def first_items(
    queries: Queries, items: Items, depth: int, *, without: Sequence[Int64[np.ndarray, " _"]] | None = None
) -> ScoredItems:
    """Return the first items of each query by their exact scores.

    The list of a query ends after the items that score as the one at ``depth`` does, at most ``MOST_TIED`` more than
    the depth: which of them come first is arbitrary.

    Args:
        queries, items: unit vectors (``metrics.similarity.unit``).
        without: rows of the items that are left out for each query, such as itself.

    Example:
        >>> items = np.array([[0, 1], [1, 0], [0.6, 0.8], [0, 1]], np.float32)
        >>> first = first_items(np.array([[0, 1]], np.float32), items, depth=1)
        >>> first.item, first.score
        (array([0, 3]), array([1., 1.]))
    """
    rows: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for candidates, exact in nearest_candidates(queries, items, depth, without=without):
        is_level = exact[depth:] == exact[depth - 1] if len(exact) > depth else exact[:0] == 0
        n = min(len(exact), depth + min(int(is_level.sum()), MOST_TIED))
        rows.append(candidates[:n])
        scores.append(exact[:n])
    query = np.repeat(np.arange(len(queries)), [len(candidates) for candidates in rows])
    return ScoredItems(query, np.concatenate(rows), np.concatenate(scores).astype(np.float64))


def list_scores(listed: ListedItems, n_queries: int) -> ScoredItems:
    """Return the results of finished lists with the reciprocal of the first rank of their group as scores.

    Example:
        >>> list_scores(ListedItems(*np.array([[0, 0, 0], [5, 3, 4], [0, 1, 1]])), n_queries=1).score
        array([1. , 0.5, 0.5])
    """
    lengths = np.bincount(listed.query, minlength=n_queries)
    groups = _groups(listed, np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    return ScoredItems(listed.query, listed.item, np.repeat(1 / (groups.above + 1), groups.size))


def list_answers(listed: ListedItems, relevant: Relevant, n_items: int) -> ListAnswers:
    """Return the score levels of each query's relevant items, and its best and first item.

    Args:
        relevant: of every query, at least one, in the order of queries and items.
        n_items: number of items that could be retrieved.

    Example:
        >>> listed = ListedItems(*np.array([[0, 0, 0], [5, 3, 4], [0, 1, 1]]))  # 3 and 4 have one score
        >>> answers = list_answers(listed, Relevant(*np.array([[0, 0], [4, 9], [1, 1]])), n_items=10)
        >>> answers.levels.above.tolist() == [1, NOT_RETRIEVED], answers.levels.size, answers.first
        (True, array([2, 1]), array([5]))
        >>> answers.ranks.better, answers.ranks.tied, answers.right
        (array([1]), array([1]), array([4]))
    """
    n_queries = int(relevant.query[-1]) + 1
    lengths = np.bincount(listed.query, minlength=n_queries)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    groups = _groups(listed, starts)

    relevant_keys = relevant.query * n_items + relevant.document
    keys = listed.query * n_items + listed.item
    position = np.minimum(np.searchsorted(relevant_keys, keys), len(relevant_keys) - 1)
    is_relevant = relevant_keys[position] == keys
    retrieved = position[is_relevant]
    group_of = np.searchsorted(groups.first, np.flatnonzero(is_relevant), side="right") - 1

    is_missing = np.ones(len(relevant_keys), bool)
    is_missing[retrieved] = False
    missing = np.flatnonzero(is_missing)
    n_missing = np.bincount(relevant.query[missing], minlength=n_queries)
    above = np.concatenate([groups.above[group_of], np.full(len(missing), NOT_RETRIEVED)])
    size = np.concatenate([groups.size[group_of], n_missing[relevant.query[missing]]])
    rows = np.concatenate([retrieved, missing])  # of the relevant items
    order = np.lexsort((relevant.document[rows], above, relevant.query[rows]))
    rows, above, size = rows[order], above[order], size[order]
    query = relevant.query[rows]
    level_starts = np.flatnonzero(np.diff(query, prepend=-1) | np.diff(above, prepend=-1))
    levels = Levels(
        query[level_starts],
        above[level_starts],
        size[level_starts],
        np.diff(level_starts, append=len(rows)),
        np.add.reduceat(relevant.grade[rows].astype(np.float64), level_starts),
    )
    top = np.searchsorted(levels.query, np.arange(n_queries))
    ranks = Ranks(levels.above[top], (levels.size - levels.n_relevant)[top], levels.n_relevant[top])
    first = np.full(n_queries, NO_ITEM)
    is_filled = lengths > 0
    first[is_filled] = listed.item[starts[is_filled]]
    return ListAnswers(levels, ranks, relevant.document[rows[level_starts[top]]], first, lengths)


def take_queries(listed: ListedItems, rows: OfQueries, n_queries: int) -> ListedItems:
    """Return the results of some queries, which are numbered from 0.

    Args:
        rows: of the queries, ascending.

    Example:
        >>> take_queries(ListedItems(*np.array([[0, 1, 1], [7, 8, 9], [0, 1, 2]])), np.array([1]), 2).query
        array([0, 0])
    """
    new_row = np.full(n_queries, -1)
    new_row[rows] = np.arange(len(rows))
    is_kept = new_row[listed.query] >= 0
    return ListedItems(new_row[listed.query[is_kept]], listed.item[is_kept], listed.group[is_kept])


def without_items(listed: ListedItems, left_out: Sequence[Int64[np.ndarray, " _"]], n_items: int) -> ListedItems:
    """Return the results without some items of each query, such as itself. Later results move up.

    Example:
        >>> listed = ListedItems(*np.array([[0, 0], [3, 4], [0, 1]]))
        >>> without_items(listed, [np.array([3])], n_items=5).item
        array([4])
    """
    hidden = [query * n_items + rows for query, rows in enumerate(left_out) if len(rows)]
    if not hidden:
        return listed
    is_kept = ~np.isin(listed.query * n_items + listed.item, np.concatenate(hidden))
    return ListedItems(*(column[is_kept] for column in listed))


def _groups(listed: ListedItems, starts: OfQueries) -> _Groups:
    first = np.flatnonzero(np.diff(listed.group, prepend=-1))
    return _Groups(first, np.diff(first, append=len(listed.group)), first - starts[listed.query[first]])
