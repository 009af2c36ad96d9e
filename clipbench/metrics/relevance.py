"""Judged relevance: nDCG, mAP@R, R-Precision, reciprocal rank and recall of graded documents, as in trec_eval.

Ties are never broken by position. Documents of one score are in random order, and every value is its expectation, in
closed form: a position in a group of tied documents has the mean gain of the group, and the products of two positions
that average precision needs follow from drawing without replacement. Where nothing ties, the values are trec_eval's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.metrics._search import OfQueries, TiledSearch, search_tiles
from clipbench.metrics.ranking import NOT_RETRIEVED, Answers, Ranks
from clipbench.metrics.similarity import Items, Queries, product_error, scores_of_pairs

OfJudged = Int64[np.ndarray, " n_judged"]
PerQuery = Float64[np.ndarray, " n_queries"]


OfLevels = Int64[np.ndarray, " n_levels"]


class Relevant(NamedTuple):
    """The relevant documents of each query, at least one, in the order of the queries and documents."""

    query: Int64[np.ndarray, " n_relevant"]
    document: Int64[np.ndarray, " n_relevant"]
    grade: Int64[np.ndarray, " n_relevant"]
    """Above 0."""

    @property
    def counts(self) -> OfQueries:
        """Number of documents that are relevant to each query."""
        return np.bincount(self.query)


class Levels(NamedTuple):
    """The scores at which a query has relevant documents, one row for each query and score, the highest first."""

    query: OfLevels
    above: OfLevels
    """Documents that score higher."""
    size: OfLevels
    """Documents with this score."""
    n_relevant: OfLevels
    """Relevant ones among them, at least 1."""
    gain: Float64[np.ndarray, " n_levels"]
    """Sum of their grades."""


def relevant_documents(
    query: OfJudged, document: OfJudged, grade: OfJudged
) -> tuple[Relevant, Int64[np.ndarray, " n_asked"]]:
    """Return the relevant documents of each query that has one, and the rows of these queries.

    Example:
        >>> relevant, query_rows = relevant_documents(np.array([4, 2, 2]), np.array([0, 1, 0]), np.array([1, 0, -1]))
        >>> query_rows, relevant.query, relevant.document
        (array([4]), array([0]), array([0]))
    """
    order = np.lexsort((document, query))
    order = order[grade[order] > 0]
    query_rows, rows = np.unique(query[order], return_inverse=True)
    return Relevant(rows.astype(np.int64), document[order], grade[order]), query_rows


def judged_answers(
    queries: Queries, documents: Items, relevant: Relevant, *, without: Sequence[Int64[np.ndarray, " _"]] | None = None
) -> tuple[Levels, Answers]:
    """Return the score levels of each query's relevant documents, and the best and first document of each query.

    Args:
        queries: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        documents: unit vectors. They may be memory-mapped, as they are not copied.
        without: rows of the documents left out for each query, such as itself, none of which is relevant to it.

    Example:
        >>> documents = np.array([[1, 0], [0.8, 0.6], [0.8, 0.6], [0, 1]], np.float32)
        >>> relevant = Relevant(np.array([0, 0]), np.array([1, 3]), np.array([2, 1]))
        >>> levels, answers = judged_answers(np.array([[1, 0]], np.float32), documents, relevant)
        >>> levels.above, levels.size, levels.n_relevant, levels.gain  # the first ties with one that is not relevant
        (array([1, 3]), array([2, 1]), array([1, 1]), array([2., 1.]))
        >>> answers.right, answers.first
        (array([1]), array([0]))
    """
    documents = np.asarray(documents)
    scores = scores_of_pairs(queries, documents, (relevant.query, relevant.document))
    order = np.lexsort((relevant.document, -scores, relevant.query))
    query, score = relevant.query[order], scores[order]
    starts = np.flatnonzero(np.diff(query, prepend=-1) | (score != np.roll(score, 1)))
    level_query, right = query[starts], relevant.document[order][starts]
    search = TiledSearch(queries, documents, score[starts], right, product_error(queries, documents))
    search.row_index = level_query
    left_out = [] if without is None else [without[row] for row in level_query.tolist()]
    hidden_row = np.repeat(np.arange(len(left_out)), [len(rows) for rows in left_out])
    hidden = np.concatenate([np.zeros(0, np.int64), *left_out])
    search_tiles(search, (hidden_row, hidden))
    gain = np.add.reduceat(relevant.grade[order].astype(np.float64), starts)
    table = Levels(level_query, search.above, search.level, np.diff(starts, append=len(order)), gain)
    top = np.searchsorted(level_query, np.arange(len(queries)))
    first_columns = (column[top] for column in (right, search.best, search.first, search.first_score))
    # No relevant document is above the best relevant document of a query.
    ranks = Ranks(table.above[top], (table.size - table.n_relevant)[top], table.n_relevant[top])
    return table, Answers(ranks, *first_columns)


def chance_levels(relevant: Relevant, n_documents: OfQueries) -> Levels:
    """Return the levels of a constant model, for which everything ties.

    Args:
        n_documents: searched by each query.
    """
    queries, gain = np.arange(len(n_documents)), np.bincount(relevant.query, relevant.grade)
    return Levels(queries, np.zeros(len(queries), np.int64), n_documents, relevant.counts, gain)


def ndcg_at_k(levels: Levels, relevant: Relevant, k: int) -> PerQuery:
    """Return the normalised discounted cumulative gain of each query's first k documents, in [0, 1].

    DCG is the sum over positions i up to k of grade / log2(i + 1). The ideal DCG has all relevant documents in the
    order of their grades. The gain is the grade itself (linear), as in trec_eval; others take 2^grade - 1. Documents
    that tie share their gain (McSherry and Najork, ECIR 2008).

    Example:
        >>> relevant = Relevant(np.array([0, 0]), np.array([0, 1]), np.array([2, 1]))
        >>> levels = Levels(*np.array([[0, 0], [0, 1], [1, 1], [1, 1]]), np.array([1.0, 2.0]))  # in the wrong order
        >>> ndcg_at_k(levels, relevant, 10).round(4)  # (1 + 2 / log2(3)) / (2 + 1 / log2(3))
        array([0.8597])
    """
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
    reached = discounts[np.minimum(levels.above + levels.size, k)] - discounts[np.minimum(levels.above, k)]
    dcg = np.bincount(levels.query, levels.gain / levels.size * reached)
    order = np.lexsort((-relevant.grade, relevant.query))
    query = relevant.query[order]
    position = np.arange(len(order)) - np.searchsorted(query, query)
    ideal = np.where(position < k, relevant.grade[order] / np.log2(position + 2), 0.0)
    return dcg / np.bincount(query, ideal)


def unjudged_at_k(
    levels: Levels, judged: Relevant, n_documents: OfQueries, k: int
) -> Float64[np.ndarray, "n_queries k"]:
    """Return the probability that the document at each position up to k was not judged, one row per query.

    Args:
        levels: of all judged documents, relevant or not.
        n_documents: searched by each query.

    Example:
        >>> second, judged = Levels(*np.array([[0], [1], [1], [1]]), np.ones(1)), Relevant(*np.array([[0], [1], [1]]))
        >>> unjudged_at_k(second, judged, np.array([3]), 4)
        array([[1., 0., 1., 0.]])
    """
    n_judged = [relevant_recall_at_k(levels, judged, position) * judged.counts for position in range(k + 1)]
    unjudged: Float64[np.ndarray, "n_queries k"] = (np.arange(k) < n_documents[:, None]) - np.diff(n_judged, axis=0).T
    return unjudged.round(9)


def ndcg_with_unjudged_at_k(
    levels: Levels, relevant: Relevant, unjudged: Float64[np.ndarray, "n_queries k"]
) -> PerQuery:
    """Return nDCG@k as if all of the first k documents that were not judged had the highest grade of the data.

    Args:
        unjudged: as ``unjudged_at_k`` returns it.

    Example:
        >>> relevant = Relevant(np.array([0]), np.array([0]), np.array([1]))
        >>> second = Levels(*np.array([[0], [1], [1], [1]]), np.array([1.0]))
        >>> ndcg_with_unjudged_at_k(second, relevant, np.array([[1.0, 0.0]]))
        array([1.])
    """
    query, position = np.nonzero(unjudged)
    ones, grade = np.ones_like(query), relevant.grade.max()
    added = Levels(query, position, ones, ones, grade * unjudged[query, position])
    all_levels = Levels(*map(np.concatenate, zip(levels, added, strict=True)))
    all_relevant = Relevant(*map(np.concatenate, zip(relevant, (query, position, grade * ones), strict=True)))
    return ndcg_at_k(all_levels, all_relevant, unjudged.shape[1])


def relevant_recall_at_k(levels: Levels, relevant: Relevant, k: int | OfLevels) -> PerQuery:
    """Return the fraction of each query's relevant documents that is among the first k, in [0, 1].

    trec_eval's ``recall``, not the hit rate that CLIP papers call recall@k (``ranking.recall_at_k``).

    Args:
        k: one number, or the number of the query of each level.

    Example:
        >>> relevant = Relevant(np.array([0, 0]), np.array([0, 1]), np.array([2, 1]))
        >>> relevant_recall_at_k(Levels(*np.array([[0, 0], [0, 4], [1, 2], [1, 1]]), np.ones(2)), relevant, 5)
        array([0.75])
    """
    reached = np.minimum(levels.above + levels.size, k) - np.minimum(levels.above, k)
    return np.bincount(levels.query, levels.n_relevant / levels.size * reached) / relevant.counts


def r_precision(levels: Levels, relevant: Relevant) -> PerQuery:
    """Return the precision of each query's first R documents, with R the number of relevant ones, in [0, 1].

    It is the recall of the first R too; trec_eval's ``Rprec``, and the R-Precision of ECCV Caption (Chun et al., ECCV
    2022).

    Example:
        >>> relevant = Relevant(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]))
        >>> r_precision(Levels(*np.array([[0, 0], [0, 2], [1, 1], [1, 1]]), np.ones(2)), relevant)
        array([0.5])
    """
    return relevant_recall_at_k(levels, relevant, relevant.counts[levels.query])


def average_precision_at_r(levels: Levels, relevant: Relevant) -> PerQuery:
    """Return the average precision of each query's first R documents, with R the number of relevant ones, in [0, 1].

    The sum over places i up to R that hold a relevant document of the precision of the first i, over R. Source:
    Musgrave et al., ECCV 2020; its mean over queries is the mAP@R of ECCV Caption (Chun et al., ECCV 2022). It is
    trec_eval's ``map_cut`` at R. With N documents at a score, r of them relevant, after a others of which b are
    relevant, place i holds a relevant one with probability r / N, and then b + 1 + (i - a - 1) (r - 1) / (N - 1) are
    relevant up to it on average.

    Example:
        >>> relevant = Relevant(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]))
        >>> average_precision_at_r(Levels(*np.array([[0, 0], [0, 2], [1, 1], [1, 1]]), np.ones(2)), relevant)
        array([0.5])
    """
    counts = relevant.counts
    r = counts[levels.query]
    start, end = np.minimum(levels.above, r), np.minimum(levels.above + levels.size, r)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, counts.max() + 1))])
    before = np.cumsum(levels.n_relevant) - levels.n_relevant
    before -= before[np.searchsorted(levels.query, levels.query)]  # of the same query
    slope = (levels.n_relevant - 1) / np.maximum(levels.size - 1, 1)
    at_start = before + 1 - (levels.above + 1) * slope
    precisions = at_start * (harmonic[end] - harmonic[start]) + slope * (end - start)
    return np.bincount(levels.query, levels.n_relevant / levels.size * precisions) / counts


def reciprocal_rank(ranks: Ranks) -> PerQuery:
    """Return the reciprocal rank of each query's first relevant document, in [0, 1], trec_eval's ``recip_rank``.

    With t others that tie and p relevant documents after b better ones, the first relevant one is at place b + j with
    probability p / (t + p) times the product over i < j of (t - i + 1) / (t + p - i): the sum over j is exact. It is 0
    for a query without a relevant document in a finished result list.

    Example:
        >>> one = np.array([1])
        >>> reciprocal_rank(Ranks(better=one, tied=one, tied_positives=one))  # at place 2 or 3
        array([0.41666667])
    """
    distinct, rows = np.unique(np.stack(ranks, axis=1), axis=0, return_inverse=True)
    return np.array([_expected_reciprocal(*counts) for counts in distinct.tolist()])[rows.reshape(-1)]


def _expected_reciprocal(better: int, tied: int, positives: int) -> float:
    if better == NOT_RETRIEVED:
        return 0.0
    steps = np.arange(tied)
    missed = np.concatenate([[1.0], np.cumprod((tied - steps) / (tied + positives - steps))])
    n_before = np.arange(tied + 1)
    return float((missed * positives / (tied + positives - n_before) / (better + n_before + 1)).sum())
