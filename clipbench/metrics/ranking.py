"""Ranks of the best positive in retrieval, exact and aware of ties, from blocks of scores.

Ties are never broken by position: for each query, the non-positives above its best positive and those with the same
score are counted, and every rank statistic is an expectation under random tie-breaking. Scores may have any sign.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.errors import UsageError
from clipbench.metrics.geometry import check_owners
from clipbench.metrics.similarity import product_error, product_tiles, score_blocks, scores_of

FEW = 32
"""Where more than one in so many pairs of a tile needs its exact score, all of the tile's are computed."""


class Ranks(NamedTuple):
    """Rank of each query's best positive in its gallery."""

    better: Int64[np.ndarray, " n_queries"]
    """Items that are not positives and score strictly above the best positive."""
    tied: Int64[np.ndarray, " n_queries"]
    """Items that are not positives and score exactly as the best positive does."""
    tied_positives: Int64[np.ndarray, " n_queries"]
    """Positives with that best score, at least 1."""


class Answers(NamedTuple):
    """Result of each query: rank and row of its best positive, and the first item of the whole gallery.

    Of items with one score, the first in the order of the data is named.
    """

    ranks: Ranks
    right: Int64[np.ndarray, " n_queries"]
    """Row in the gallery of the best positive."""
    right_score: Float32[np.ndarray, " n_queries"]
    first: Int64[np.ndarray, " n_queries"]
    """Row of the item with the highest score, positive or not."""
    first_score: Float32[np.ndarray, " n_queries"]


class GroupAnswers(NamedTuple):
    """Results of the items whose group has another member; the others are no queries."""

    queries: Int64[np.ndarray, " n_queries"]
    """Rows of the items that were queries, ascending."""
    answers: Answers
    n_positives: Int64[np.ndarray, " n_queries"]
    """Other members of each query's group."""


def cross_ranks(
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    text_image: Int64[np.ndarray, " n_texts"],
) -> tuple[Ranks, Ranks]:
    """Return the ranks of image queries over all texts, and of text queries over all images, in one pass.

    An image's positives are its texts; a text's only positive is its image.

    Args:
        images: unit vectors (``metrics.similarity.unit``, which makes ties exact).
        texts: unit vectors.
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
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    text_image: Int64[np.ndarray, " n_texts"],
) -> tuple[Answers, Answers]:
    """Return the results of image queries over all texts, and of text queries over all images, in one pass.

    Arguments and errors are those of ``cross_ranks``.

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
    """
    check_owners(text_image, len(images))
    order = np.argsort(text_image, kind="stable")  # the texts of an image become one slice
    starts = np.searchsorted(text_image[order], np.arange(len(images) + 1))
    own = scores_of(images, texts, (text_image, np.arange(len(texts))))
    best = np.maximum.reduceat(own[order], starts[:-1])
    places = np.flatnonzero((own == best[text_image])[order])
    firsts = np.searchsorted(places, starts)
    right = order[places[firsts[:-1]]]
    error = product_error(images, texts)
    by_image = _Search(images, texts, best, right, error)
    by_text = _Search(texts, images, own, text_image, error)
    for rows, columns, products in product_tiles(images, texts):
        mine = order[starts[rows.start] : starts[rows.stop]]
        mine = mine[(columns.start <= mine) & (mine < columns.stop)]
        positives = (text_image[mine] - rows.start, mine - columns.start)
        products[positives] = -np.inf  # they are known
        near = by_image.look(rows, products), by_text.look(columns, products.T)
        if sum(each.n_pairs for each in near) <= products.size / FEW:
            by_image.add(near[0], rows, columns)
            by_text.add(near[1], columns, rows)
            continue
        scores = (images[rows].astype(np.float64) @ texts[columns].astype(np.float64).T).astype(np.float32)
        scores[positives] = -np.inf
        by_image.add_exact(scores, rows, columns)
        by_text.add_exact(scores.T, columns, rows)
    return by_image.answers(np.diff(firsts)), by_text.answers(np.ones(len(texts), np.int64))


def group_answers(vectors: Float32[np.ndarray, "n dim"], groups: Int64[np.ndarray, " n"]) -> GroupAnswers:
    """Return the results of each item as a query over all others; its positives are the others of its group.

    Image-to-image retrieval by label, or text-to-text retrieval by shared image. The query itself is not in its
    gallery. Items whose group has no other member have no positive: they are no queries, but stay in the gallery.

    Args:
        vectors: unit vectors (``metrics.similarity.unit``).
        groups: any numbers, equal for items of a group.

    Example:
        >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
        >>> queries, answers, n_positives = group_answers(vectors, np.array([7, 8, 7]))
        >>> queries, answers.ranks.better, n_positives
        (array([0, 2]), array([1, 1]), array([1, 1]))
        >>> answers.right, answers.first
        (array([2, 0]), array([1, 1]))
    """
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], groups, side="left")
    ends = np.searchsorted(groups[order], groups, side="right")
    members = [order[start:end] for start, end in zip(starts, ends, strict=True)]
    counts = np.zeros((3, len(groups)), np.int64)
    right, first = _FirstItems(len(groups)), _FirstItems(len(groups))
    for rows, scores in score_blocks(vectors, vectors):
        here = np.arange(len(scores))
        scores[here, here + rows.start] = -np.inf
        positives = [line[mates] for line, mates in zip(scores, members[rows], strict=True)]
        right.rows[rows] = [mates[among.argmax()] for among, mates in zip(positives, members[rows], strict=True)]
        right.scores[rows] = best = scores[here, right.rows[rows]]
        counts[:2, rows] = _above_and_level(scores, best)
        counts[2, rows] = [np.count_nonzero(among == top) for among, top in zip(positives, best, strict=True)]
        first.update_rows(rows, scores)
    n_positives = ends - starts - 1
    queries = np.flatnonzero(n_positives)
    above, level, tied_positives = counts[:, queries]
    ranks = Ranks(above, level - tied_positives, tied_positives)
    columns = (column[queries] for column in (right.rows, right.scores, first.rows, first.scores))
    return GroupAnswers(queries, Answers(ranks, *columns), n_positives[queries])


def recall_at_k(ranks: Ranks, k: int) -> Float64[np.ndarray, " n_queries"]:
    """Return each query's hit credit: the probability that a positive is among the first k, ties in random order.

    1 or 0 where nothing is tied: the hit rate that CLIP papers call recall@k. Of the N = tied + tied_positives items
    in random order after the better ones, the first s = k - better are seen; they all miss with probability
    C(tied, s) / C(N, s). With a k that is not below the size of the gallery every query hits.

    Raises:
        UsageError: k is below 1.

    Example:
        >>> one = np.array([1])
        >>> recall_at_k(Ranks(better=0 * one, tied=3 * one, tied_positives=one), k=1)  # one of four, at random
        array([0.25])
    """
    if k < 1:
        raise UsageError(f"recall@k needs k of at least 1, got {k}")
    seen = k - ranks.better
    miss = np.ones(len(seen))
    for place in range(min(k, int(ranks.tied.max(initial=0)) + 1)):
        left = np.maximum(ranks.tied - place, 0)
        miss *= np.where(place < seen, left / np.maximum(left + ranks.tied_positives, 1), 1.0)
    return 1 - miss


def expected_rank(ranks: Ranks) -> Float64[np.ndarray, " n_queries"]:
    """Return the rank, from 1, that the first positive has on average with ties in random order.

    Example:
        >>> one = np.array([1])
        >>> expected_rank(Ranks(better=4 * one, tied=one, tied_positives=one))
        array([5.5])
    """
    return ranks.better + 1 + ranks.tied / (ranks.tied_positives + 1)


def chance_ranks(n_positives: Int64[np.ndarray, " n_queries"], n_gallery: int) -> Ranks:
    """Return the ranks of a constant model, for which everything is tied.

    Args:
        n_positives: of each query, at least 1.
        n_gallery: size of a query's gallery, without the query itself.
    """
    return Ranks(np.zeros_like(n_positives), n_gallery - n_positives, n_positives)


def chance_recall_at_k(n_positives: Int64[np.ndarray, " n_queries"], n_gallery: int, k: int) -> float:
    """Return the recall@k of a constant model, or of random order; NaN without queries.

    Example:
        >>> round(chance_recall_at_k(np.array([5, 5]), n_gallery=25, k=1), 12)
        0.2
    """
    credit = recall_at_k(chance_ranks(n_positives, n_gallery), k)
    return float(credit.mean()) if len(credit) else float("nan")


class _FirstItems:
    """The item with the highest score of each query; of equal ones, the first in the order of the data."""

    def __init__(self, n_queries: int) -> None:
        self.rows: Int64[np.ndarray, " n_queries"] = np.zeros(n_queries, np.int64)
        self.scores: Float32[np.ndarray, " n_queries"] = np.full(n_queries, -np.inf, np.float32)

    def update_rows(self, rows: slice, scores: Float32[np.ndarray, "block n_gallery"]) -> None:
        """Add some queries with all their scores, a row each."""
        self.rows[rows] = first = scores.argmax(axis=1)
        self.scores[rows] = scores[np.arange(len(scores)), first]


class _Near(NamedTuple):
    """What a tile of products leaves open, as rows and columns of the tile."""

    above: Int64[np.ndarray, " tile_queries"]
    """Products of each query that are surely above the score of its best positive."""
    undecided: tuple[Int64[np.ndarray, " n_undecided"], Int64[np.ndarray, " n_undecided"]]
    """Pairs that may be above it, level or below."""
    first: tuple[Int64[np.ndarray, " n_first"], Int64[np.ndarray, " n_first"]]
    """Pairs that may be first in the whole gallery."""

    @property
    def n_pairs(self) -> int:
        return len(self.undecided[0]) + len(self.first[0])


class _Search:
    """Queries of one side among the items that are no positives of theirs, tile by tile.

    Products in float32 decide wherever they differ from the best positive's score by more than their error. The few
    other pairs are scored exactly, so that the result is that of exact scores of all pairs, ties among them.
    """

    def __init__(
        self,
        queries: Float32[np.ndarray, "n_queries dim"],
        items: Float32[np.ndarray, "n_items dim"],
        best: Float32[np.ndarray, " n_queries"],
        right: Int64[np.ndarray, " n_queries"],
        error: float,
    ) -> None:
        self.queries, self.items, self.best, self.right = queries, items, best, right
        self.error = np.float32(error)
        self.low, self.high = best - self.error, best + self.error
        self.above, self.level = np.zeros((2, len(best)), np.int64)
        # What is first so far: the best positive, which is in no tile, until something is ahead of it.
        self.first, self.first_score = right.copy(), best.copy()

    def look(self, here: slice, products: Float32[np.ndarray, "tile_queries tile_items"]) -> _Near:
        """Return what is open after a tile of products of the queries ``here``."""
        low, high = self.low[here, None], self.high[here, None]
        at_least, above = _count(products > low), _count(products > high)
        open_rows = np.flatnonzero(at_least != above)
        of_open = products[open_rows]
        row, item = np.nonzero((of_open > low[open_rows]) & (of_open <= high[open_rows]))
        highest = products.max(axis=1)
        bound = np.maximum(self.first_score[here], highest - self.error) - self.error
        hot = np.flatnonzero(highest >= bound)
        hot_row, hot_item = np.nonzero(products[hot] >= bound[hot, None])
        return _Near(above, (open_rows[row], item), (hot[hot_row], hot_item))

    def add(self, near: _Near, here: slice, there: slice) -> None:
        """Add a tile of products by what ``look`` has returned."""
        row, item = near.undecided
        scores, best = self._scores(row + here.start, item + there.start), self.best[here][row]
        self.above[here] += near.above + np.bincount(row[scores > best], minlength=len(near.above))
        self.level[here] += np.bincount(row[scores == best], minlength=len(near.above))
        queries, items = near.first[0] + here.start, near.first[1] + there.start
        self._put_first(queries, items, self._scores(queries, items))

    def add_exact(self, scores: Float32[np.ndarray, "tile_queries tile_items"], here: slice, there: slice) -> None:
        """Add a tile of exact scores."""
        best = self.best[here, None]
        above = _count(scores > best)
        self.above[here] += above
        self.level[here] += _count(scores >= best) - above
        row, item = np.arange(len(scores)), scores.argmax(axis=1)
        self._put_first(row + here.start, item + there.start, scores[row, item])

    def answers(self, tied_positives: Int64[np.ndarray, " n_queries"]) -> Answers:
        """Return the results after all tiles."""
        ranks = Ranks(self.above, self.level, tied_positives)
        return Answers(ranks, self.right, self.best, self.first, self.first_score)

    def _scores(
        self, queries: Int64[np.ndarray, " n_pairs"], items: Int64[np.ndarray, " n_pairs"]
    ) -> Float32[np.ndarray, " n_pairs"]:
        return scores_of(self.queries, self.items, (queries, items))

    def _put_first(
        self,
        queries: Int64[np.ndarray, " n_pairs"],
        items: Int64[np.ndarray, " n_pairs"],
        scores: Float32[np.ndarray, " n_pairs"],
    ) -> None:
        """Put items first that score above what was first, or level with it and come earlier in the data."""
        known = self.first_score[queries]
        is_ahead = (scores > known) | ((scores == known) & (items < self.first[queries]))
        queries, items, scores = queries[is_ahead], items[is_ahead], scores[is_ahead]
        order = np.lexsort((-items, scores, queries))
        order = order[np.diff(queries[order], append=-1) != 0]  # the last of each query
        self.first[queries[order]], self.first_score[queries[order]] = items[order], scores[order]


def _count(mask: Bool[np.ndarray, "n_queries n_items"]) -> Int64[np.ndarray, " n_queries"]:
    """Return how many are True for each query, of a mask whose memory is ordered either way."""
    if mask.flags.c_contiguous:  # row by row, count_nonzero is faster than a sum
        return np.array([np.count_nonzero(line) for line in mask], np.int64)
    columns = mask.T.view(np.uint8)
    assert len(columns) <= 255, columns.shape  # what a byte can count: ``TILE_QUERIES`` is less
    return np.add.reduce(columns, axis=0, dtype=np.uint8).astype(np.int64)


def _above_and_level(
    scores: Float32[np.ndarray, "block n_gallery"], best: Float32[np.ndarray, " block"]
) -> Int64[np.ndarray, "2 block"]:
    """Return the number of scores of each row above its best positive's, and of those equal to it."""
    # Row by row, count_nonzero is faster than a sum of the whole mask along its last axis.
    pairs = zip(scores, best, strict=True)
    counts = [(np.count_nonzero(line > top), np.count_nonzero(line == top)) for line, top in pairs]
    return np.array(counts, np.int64).reshape(-1, 2).T
