"""Ranks of the best positive in retrieval, exact and aware of ties, from blocks of scores.

Ties are never broken by position: for each query, the non-positives above its best positive and those with the same
score are counted, and every rank statistic is an expectation under random tie-breaking. Scores may have any sign.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.metrics._search import OfQueries, QueryScores, Tile, TiledSearch, scan, search_tiles, tiles
from clipbench.metrics.geometry import check_owners
from clipbench.metrics.similarity import (
    Images,
    Items,
    Labels,
    Pairs,
    Queries,
    Texts,
    Vectors,
    product_error,
    scores_of_pairs,
)
from clipbench.metrics.threads import in_threads

Counts = Int64[np.ndarray, " n_draws"]

NOT_RETRIEVED = 2**40
"""``Ranks.better`` of a query without a positive in a finished result list: beyond every k."""


class Ranks(NamedTuple):
    """Rank of each query's best positive in its gallery."""

    better: OfQueries
    """Items that are not positives and score strictly above the best positive."""
    tied: OfQueries
    """Items that are not positives and score exactly as the best positive does."""
    tied_positives: OfQueries
    """Positives with that best score, at least 1."""


class Answers(NamedTuple):
    """Result of each query: rank and row of its best positive, and the first item of the whole gallery.

    Among items with equal scores, the first in the order of the data is named.
    """

    ranks: Ranks
    right: OfQueries
    """Row in the gallery of the best positive."""
    right_score: QueryScores
    first: OfQueries
    """Row of the item with the highest score, positive or not."""
    first_score: QueryScores


def cross_ranks(images: Images, texts: Texts, text_image: Int64[np.ndarray, " n_texts"]) -> tuple[Ranks, Ranks]:
    """Return the ranks of image queries over all texts, and of text queries over all images, in one pass.

    An image's positives are its texts, and a text's only positive is its image.

    Args:
        images, texts: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        text_image: row of each text's image.

    Raises:
        DataError: a text names no image, or an image has no text.

    Example:
        >>> images = np.array([[1, 0], [0, 1]], np.float32)
        >>> texts = np.array([[0.8, 0.6], [0.6, 0.8], [0.8, 0.6]], np.float32)
        >>> by_image, by_text = cross_ranks(images, texts, np.array([0, 0, 1]))
        >>> by_image  # image 0: its text 0 ties with text 2; image 1: text 1 beats its text 2, and text 0 ties with it
        Ranks(better=array([0, 1]), tied=array([1, 1]), tied_positives=array([1, 1]))
        >>> by_text
        Ranks(better=array([0, 1, 1]), tied=array([0, 0, 0]), tied_positives=array([1, 1, 1]))
    """
    by_image, by_text = cross_answers(images, texts, text_image)
    return by_image.ranks, by_text.ranks


def cross_answers(
    images: Images,
    texts: Texts,
    text_image: Int64[np.ndarray, " n_texts"],
    query_rows: tuple[Int64[np.ndarray, " n_asked_images"], Int64[np.ndarray, " n_asked_texts"]] | None = None,
) -> tuple[Answers, Answers]:
    """Return the results of image queries over all texts, and of text queries over all images, in one pass.

    Arguments and errors are the same as in ``cross_ranks``. Vectors may be memory-mapped: they are not copied.

    Args:
        query_rows: rows of the images and of the texts that are queries, each over the whole other side, in the order
            of their results, None for all.

    Example:
        >>> images = np.array([[1, 0], [0, 1]], np.float32)
        >>> texts = np.array([[0.8, 0.6], [0.6, 0.8], [0.8, 0.6]], np.float32)
        >>> by_image, by_text = cross_answers(images, texts, np.array([0, 0, 1]))
        >>> by_image.right, by_image.first  # texts 0 and 2 tie for image 0
        (array([0, 2]), array([0, 1]))
        >>> by_text.right, by_text.first
        (array([0, 0, 1]), array([0, 1, 0]))
        >>> by_text.right_score, by_text.first_score
        (array([0.8, 0.6, 0.6], dtype=float32), array([0.8, 0.8, 0.8], dtype=float32))
        >>> by_image, by_text = cross_answers(images, texts, np.array([0, 0, 1]), (np.array([1]), np.array([0, 2])))
        >>> by_image.right, by_text.first
        (array([2]), array([0, 0]))
    """
    check_owners(text_image, len(images))
    if query_rows is not None:
        of_images, of_texts = query_rows
        position = np.full(len(images), -1)
        position[of_images] = np.arange(len(of_images))
        positives = np.flatnonzero(position[text_image] >= 0)
        positives = positives[np.argsort(position[text_image[positives]], kind="stable")]
        return (
            _answers(images[of_images], texts, (position[text_image[positives]], positives)),
            _answers(texts[of_texts], images, (np.arange(len(of_texts)), text_image[of_texts])),
        )
    images, texts = np.asarray(images), np.asarray(texts)  # a slice of a memmap costs more than one of an array
    order = np.argsort(text_image, kind="stable")  # the texts of an image become one slice
    starts = np.searchsorted(text_image[order], np.arange(len(images) + 1))
    own_scores = scores_of_pairs(images, texts, (text_image, np.arange(len(texts))))
    best, best_positions, n_best = _best_positives(own_scores[order], starts)
    error = product_error(images, texts)
    by_image, by_text = (
        TiledSearch(images, texts, best, order[best_positions], error),
        TiledSearch(texts, images, own_scores, text_image, error),
    )

    def scan_tile(tile: Tile) -> None:
        positives = order[starts[tile.rows.start] : starts[tile.rows.stop]]
        positives = positives[(tile.columns.start <= positives) & (positives < tile.columns.stop)]
        scan(by_image, by_text, tile, (text_image[positives] - tile.rows.start, positives - tile.columns.start))

    in_threads(scan_tile, tiles(len(images), len(texts)))
    return _answers_of_search(by_image, n_best), _answers_of_search(by_text, np.ones(len(texts), np.int64))


def _answers(queries: Queries, items: Items, positives: Pairs) -> Answers:
    """Return the results of queries over all items.

    Args:
        positives: in the order of the queries, and of the items of each. Each query has one.
    """
    items, (query, item) = np.asarray(items), positives
    starts = np.searchsorted(query, np.arange(len(queries) + 1))
    best, best_positions, n_best = _best_positives(scores_of_pairs(queries, items, positives), starts)
    search = TiledSearch(queries, items, best, item[best_positions], product_error(queries, items))
    search_tiles(search, positives)
    return _answers_of_search(search, n_best)


def answers_with_distractors(
    answers: Answers, queries: Queries, distractors: Items, start: int
) -> tuple[Answers, Ranks]:
    """Return the results of queries over a gallery with distractors, and the ranks among the distractors only.

    Args:
        answers: of the queries over the gallery without distractors.
        distractors: vectors that are relevant to no query.
        start: row of the first distractor in the enlarged gallery, after all other items.

    Example:
        >>> images, texts = np.array([[0, 1], [1, 0]], np.float32), np.array([[0.6, 0.8]], np.float32)
        >>> _, answers = cross_answers(images[:1], texts, np.array([0]))
        >>> whole, among = answers_with_distractors(answers, texts, np.array([[0.6, 0.8], [0, 1]], np.float32), 1)
        >>> whole.ranks.better, whole.ranks.tied, whole.first, among.better, among.tied
        (array([1]), array([1]), array([1]), array([1]), array([1]))
    """
    distractors, nothing = np.asarray(distractors), np.full(len(queries), -1)
    search = TiledSearch(queries, distractors, answers.right_score, nothing, product_error(queries, distractors))
    none = np.zeros(0, np.int64)
    search_tiles(search, (none, none))
    ranks = answers.ranks
    is_ahead = search.first_score > answers.first_score
    enlarged = answers._replace(
        ranks=ranks._replace(better=ranks.better + search.above, tied=ranks.tied + search.level),
        first=np.where(is_ahead, start + search.first, answers.first),
        first_score=np.where(is_ahead, search.first_score, answers.first_score),
    )
    return enlarged, ranks._replace(better=search.above, tied=search.level)


def _answers_of_search(search: TiledSearch, n_best: OfQueries) -> Answers:
    ranks = Ranks(search.above, search.level, n_best)
    return Answers(ranks, search.right, search.best, search.first, search.first_score)


def _best_positives(
    scores: Float32[np.ndarray, " n_positives"], starts: Int64[np.ndarray, " n_queries_and_1"]
) -> tuple[QueryScores, OfQueries, OfQueries]:
    """Return the best score of each query's positives, the first position with it, and the number that have it."""
    best = np.maximum.reduceat(scores, starts[:-1])
    positions = np.flatnonzero(scores == np.repeat(best, np.diff(starts)))
    firsts = np.searchsorted(positions, starts)
    return best, positions[firsts[:-1]], np.diff(firsts)


def group_answers(
    vectors: Vectors,
    groups: Labels,
    query_rows: Int64[np.ndarray, " n_asked"] | None = None,
    query_vectors: Vectors | None = None,
) -> tuple[OfQueries, Answers, OfQueries]:
    """Return the results of each item as a query over all others. Its positives are the others of its group.

    Image-to-image retrieval by label, or text-to-text retrieval by shared image. The query itself is not in its
    gallery. Items whose group has no other member have no positive: they are not queries, but stay in the gallery.

    Args:
        vectors: unit vectors (``metrics.similarity.unit``). They may be memory-mapped, as they are not copied.
        groups: any numbers, equal for items of a group.
        query_rows: rows of the items that are queries, ascending, each over all others, None for all.
        query_vectors: vectors of the items as queries, if they differ from ``vectors``, the gallery.

    Returns:
        The rows of the queries, ascending, their results, and how many others are in the group of each.

    Example:
        >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
        >>> queries, answers, n_positives = group_answers(vectors, np.array([7, 8, 7]))
        >>> queries, answers.ranks.better, n_positives
        (array([0, 2]), array([1, 1]), array([1, 1]))
        >>> answers.right, answers.first
        (array([2, 0]), array([1, 1]))
    """
    vectors = np.asarray(vectors)
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rows = np.arange(len(vectors)) if query_rows is None else query_rows
    all_query_vectors = vectors if query_vectors is None else np.asarray(query_vectors)
    queries = all_query_vectors if query_rows is None else all_query_vectors[query_rows]
    codes, n_positives = codes.astype(np.int32), sizes[codes[rows]] - 1
    error = product_error(all_query_vectors, vectors)
    # If all items are queries, one of two mirrored tiles is enough.
    is_mirrored = query_rows is None and query_vectors is None
    pairs = partial(tiles, len(rows), len(vectors), is_upper=is_mirrored)
    # The best positive is what comes first within the group; one that is no query looks for what is above infinity.
    nothing = np.where(n_positives > 0, -np.inf, np.inf).astype(np.float32)
    mates = TiledSearch(queries, vectors, nothing, np.full(len(rows), len(vectors)), error)

    def scan_mates(tile: Tile) -> None:
        is_hidden = codes[rows[tile.rows], None] != codes[tile.columns]
        is_hidden[_self_pairs(rows, tile)] = True
        if not is_hidden.all():
            scan(mates, mates if is_mirrored and not tile.is_diagonal else None, tile, is_hidden)

    in_threads(scan_mates, pairs())
    search = TiledSearch(queries, vectors, mates.first_score, mates.first, error, (codes[rows], codes))

    def scan_all(tile: Tile) -> None:
        scan(search, search if is_mirrored and not tile.is_diagonal else None, tile, _self_pairs(rows, tile))

    in_threads(scan_all, pairs())
    answerable = np.flatnonzero(n_positives)
    ranks = Ranks(
        *(column[answerable] for column in (search.above, search.level - search.level_mates, search.level_mates))
    )
    columns = (column[answerable] for column in (search.right, search.best, search.first, search.first_score))
    return rows[answerable], Answers(ranks, *columns), n_positives[answerable]


def _self_pairs(rows: OfQueries, tile: Tile) -> Pairs:
    """Return the pairs of a tile in which an item is compared with itself."""
    columns = rows[tile.rows] - tile.columns.start
    row = np.flatnonzero((columns >= 0) & (columns < tile.columns.stop - tile.columns.start))
    return row, columns[row]


def recall_at_k(ranks: Ranks, k: int) -> Float64[np.ndarray, " n_queries"]:
    """Return each query's hit credit: the probability that a positive is among the first k, ties in random order.

    1 or 0 where nothing is tied: the hit rate that CLIP papers call recall@k. After the better items come
    N = tied + tied_positives items in random order, and the first s = k - better of them are seen. They all miss with
    probability C(tied, s) / C(N, s). If k is not below the size of the gallery, every query hits.

    Example:
        >>> one = np.array([1])
        >>> recall_at_k(Ranks(better=0 * one, tied=3 * one, tied_positives=one), k=1)  # one of four, at random
        array([0.25])
        >>> recall_at_k(Ranks(better=one[:0], tied=one[:0], tied_positives=one[:0]), k=1)
        array([], dtype=float64)
    """
    n_drawn = k - ranks.better
    miss = np.ones(len(n_drawn))
    for position in range(min(k, int(ranks.tied.max(initial=0)) + 1)):
        left = np.maximum(ranks.tied - position, 0)
        miss *= np.where(position < n_drawn, left / np.maximum(left + ranks.tied_positives, 1), 1.0)
    return 1 - miss


def expected_recall_at_k(
    ranks: Ranks, distractor_ranks: Ranks, n_distractors: int, n: int, k: int
) -> Float64[np.ndarray, " n_queries"]:
    """Return each query's hit credit, expected over all galleries enlarged by n of ``n_distractors`` distractors.

    The number of distractors that beat the one positive follows the hypergeometric law. Ties are in random order: v of
    the t tied items of the gallery, and u of the s tied distractors, are before the positive with probability
    C(v + u, v) C(t - v + s - u, t - v) / C(t + s, t) / (t + s + 1).

    Args:
        ranks: over the gallery without distractors. Each query has one positive.
        distractor_ranks: ranks among the distractors only.

    Example:
        >>> one = np.array([1])
        >>> first, beaten = Ranks(0 * one, 0 * one, one), Ranks(2 * one, 0 * one, one)
        >>> expected_recall_at_k(first, beaten, n_distractors=4, n=1, k=1)  # two of the four items would beat it
        array([0.5])
    """
    columns = np.stack([ranks.better, ranks.tied, distractor_ranks.better, distractor_ranks.tied], axis=1)
    distinct, rows = np.unique(columns, axis=0, return_inverse=True)
    better, tied, above, level = distinct.T
    credit = np.zeros(len(distinct))
    plain = level == 0
    for v in range(min(k, int(tied[plain].max(initial=0)) + 1)):
        tied_rows = np.flatnonzero(plain & (v <= tied))
        credit[tied_rows] += _hypergeometric_cdf(k - 1 - better[tied_rows] - v, n_distractors, above[tied_rows], n) / (
            tied[tied_rows] + 1
        )
    for row in np.flatnonzero(~plain & (better < k)).tolist():
        t, s, u = int(tied[row]), int(level[row]), np.arange(level[row] + 1)
        for v in range(min(k - int(better[row]), t + 1)):
            orders = _log_choose(v + u, v) + _log_choose(t - v + s - u, t - v) - _log_choose(t + s, t)
            hits = _hypergeometric_cdf(np.full(s + 1, k - 1 - better[row] - v), n_distractors, above[row] + u, n)
            credit[row] += np.exp(orders) @ hits / (t + s + 1)
    return credit[rows.reshape(-1)]


def _hypergeometric_cdf(most: Counts, n_all: int, n_marked: Counts, n: int) -> Float64[np.ndarray, " n_draws"]:
    """Return the probability that n of ``n_all`` items, drawn without replacement, have at most ``most`` marked."""
    total = np.zeros(len(most))
    for a in range(int(most.max(initial=-1)) + 1):
        can_be = (a <= most) & (a <= np.minimum(n_marked, n)) & (n - a <= n_all - n_marked)
        marked = n_marked[can_be]
        chances = _log_choose(marked, a) + _log_choose(n_all - marked, n - a) - _log_choose(n_all, n)
        total[can_be] += np.exp(chances)
    return np.minimum(total, 1.0)


def _log_choose(n: Int64[np.ndarray, " _"] | int, k: Int64[np.ndarray, " _"] | int) -> Float64[np.ndarray, "..."]:
    from scipy.special import betaln

    return np.asarray(-np.log1p(n) - betaln(n - k + 1, k + 1))


def expected_rank(ranks: Ranks) -> Float64[np.ndarray, " n_queries"]:
    """Return the rank, from 1, that the first positive has on average with ties in random order.

    Example:
        >>> one = np.array([1])
        >>> expected_rank(Ranks(better=4 * one, tied=one, tied_positives=one))
        array([5.5])
    """
    return ranks.better + 1 + ranks.tied / (ranks.tied_positives + 1)


def chance_recall_at_k(n_positives: OfQueries, n_gallery: int, k: int) -> float:
    """Return the recall@k of a constant model, or of random order, or NaN without queries.

    Example:
        >>> round(chance_recall_at_k(np.array([5, 5]), n_gallery=25, k=1), 12)
        0.2
    """
    distinct, rows = np.unique(n_positives, return_inverse=True)  # few among many queries
    positions = np.arange(min(k, n_gallery + 1))[:, None]  # as in recall_at_k, of items that are all tied
    misses_left = np.maximum(n_gallery - distinct - positions, 0)
    miss = np.prod(misses_left / np.maximum(misses_left + distinct, 1), axis=0)[rows]
    return float((1 - miss).mean()) if len(miss) else float("nan")
