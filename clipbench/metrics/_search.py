"""Search of the best items among all pairs of two sets of vectors, in tiles of products: exact, and in all threads.

Products in float32 decide wherever they differ from a known score by more than their error; the few other pairs are
scored exactly. Counts are sums and what is first is a maximum, so that the result does not depend on the order in which
tiles are looked at, nor on how many are at once.
"""

from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from clipbench.metrics.similarity import Items, Pairs, scores_of

TILE = 512
"""Rows of each side of a tile: its 1 MiB of float32 stays in the cache of a core while it is looked at."""
ROW_TILES = 16
"""Tiles whose rows stay while all columns pass by: a file larger than memory is read once for so many."""
FEW = 32
"""One in so many: where more of the pairs of a tile are above what is known, the whole tile is counted; and where more
need their exact score, all of the tile's are computed."""


TileScores = Float32[np.ndarray, "tile_queries tile_items"]
TileMask = Bool[np.ndarray, "tile_queries tile_items"]
OfTile = Float32[np.ndarray, " tile_queries"]
OfPairs = Int64[np.ndarray, " n_pairs"]
PairScores = Float32[np.ndarray, " n_pairs"]


class Tile(NamedTuple):
    """Rows of some queries, and of some items."""

    rows: slice
    columns: slice

    @property
    def is_diagonal(self) -> bool:
        """True where it has the pairs of each item with itself, where queries and items are the same."""
        return self.rows.start == self.columns.start

    def of_pairs(self, query: Int64[np.ndarray, " n_all"], item: Int64[np.ndarray, " n_all"]) -> Pairs:
        """Return those of some pairs that are in it, as rows and columns of the tile.

        Args:
            query: row of the query of each pair, ascending.
            item: row of its item.
        """
        own = slice(*np.searchsorted(query, (self.rows.start, self.rows.stop)))
        row, column = query[own] - self.rows.start, item[own] - self.columns.start
        is_here = (column >= 0) & (column < self.columns.stop - self.columns.start)
        return row[is_here], column[is_here]


def tiles(n_rows: int, n_columns: int, *, is_upper: bool = False) -> Iterator[Tile]:
    """Yield the tiles between all rows and all columns; where ``is_upper``, those on the diagonal and right of it.

    Example:
        >>> [(tile.rows.start, tile.columns.start) for tile in tiles(2 * TILE, 2 * TILE, is_upper=True)]
        [(0, 0), (0, 512), (512, 512)]
    """
    for block in _slices(slice(0, n_rows), ROW_TILES * TILE):
        for columns in _slices(slice(block.start if is_upper else 0, n_columns), TILE):
            for some in _slices(block, TILE):
                if not is_upper or some.start <= columns.start:
                    yield Tile(some, columns)


def _slices(rows: slice, step: int) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


class _Near(NamedTuple):
    """The pairs that a tile of products leaves open, as rows and columns of the tile."""

    above: Int64[np.ndarray, " tile_queries"]
    """Products of each query that are surely above its threshold."""
    undecided: Pairs
    """Pairs that may be above it, level or below."""
    first: Pairs
    """Pairs that may be first of all items."""

    @property
    def n_pairs(self) -> int:
        return len(self.undecided[0]) + len(self.first[0])


class Search:
    """For each query, how many items score above a threshold and how many level with it, and which item is first.

    Args:
        best: threshold of each query, the score of its best positive.
        right: row of the item that is first until one is ahead of it: the best positive.
        error: most by which a product differs from a score (``similarity.product_error``).
        groups: of the queries and of the items; ``level_mates`` then counts those of the query's own group.
    """

    def __init__(
        self,
        queries: Float32[np.ndarray, "n_vectors dim"],
        items: Items,
        best: Float32[np.ndarray, " n_queries"],
        right: Int64[np.ndarray, " n_queries"],
        error: float,
        groups: tuple[Int32[np.ndarray, " n_queries"], Int32[np.ndarray, " n_items"]] | None = None,
    ) -> None:
        self.queries, self.items, self.best, self.right, self.groups = queries, items, best, right, groups
        self.of: Int64[np.ndarray, " n_queries"] | None = None
        """Row of the vector of each query, ascending, where several thresholds are of one; None where each has its
        own.
        """
        self.error = np.float32(error)
        self.low, self.high = (
            np.nextafter(best - self.error, np.float32(-np.inf)),
            best + self.error,
        )  # zeros have no error
        self.above, self.level, self.level_mates = np.zeros((3, len(best)), np.int64)
        self.first, self.first_score = right.copy(), best.copy()
        self._lock = Lock()

    def products(self, tile: Tile, *, is_exact: bool = False) -> np.ndarray:
        """Return the products of a tile in float32, or its exact scores."""
        of = None if self.of is None else self.of[tile.rows]
        left, right = self.queries[tile.rows if of is None else slice(of[0], of[-1] + 1)], self.items[tile.columns]
        if is_exact:
            found = (left.astype(np.float64) @ right.astype(np.float64).T).astype(np.float32)
        else:
            found = left @ right.T
        return found if of is None or len(found) == len(of) else found[of - of[0]]

    def look(self, here: slice, products: TileScores) -> _Near:
        """Return what is open after a tile of products of the queries ``here``."""
        may_be_above = products > self.low[here, None]
        if np.count_nonzero(may_be_above) * FEW > products.size:
            return self._look_at_all(here, products, may_be_above)
        row, item = _places(may_be_above)
        found = products[row, item]
        is_above = found > self.high[here][row]
        highest = np.full(len(products), -np.inf, np.float32)
        np.maximum.at(highest, row, found)
        is_first = found >= self._bound(here, highest)[row]
        above = np.bincount(row[is_above], minlength=len(products))
        return _Near(above, (row[~is_above], item[~is_above]), (row[is_first], item[is_first]))

    def _look_at_all(self, here: slice, products: TileScores, may_be_above: TileMask) -> _Near:
        """Do the same without a list of the pairs that may be above; overwrites ``may_be_above``."""
        is_above = products > self.high[here, None]
        np.logical_xor(may_be_above, is_above, out=may_be_above)
        highest = products.max(axis=1)
        bound = self._bound(here, highest)
        hot = np.flatnonzero((highest >= bound) & (highest > -np.inf))
        row, item = np.nonzero(products[hot] >= bound[hot, None])
        return _Near(_count(is_above), _places(may_be_above), (hot[row], item))

    def _bound(self, here: slice, highest: OfTile) -> OfTile:
        """Return what a product must reach for its pair to be first, beside the highest of each query in the tile."""
        return np.maximum(self.first_score[here], highest - self.error) - self.error

    def add(self, near: _Near, here: slice, there: slice) -> None:
        """Add a tile of products by what ``look`` has returned."""
        row, item = near.undecided
        queries, items = row + here.start, item + there.start
        scores, best = self._scores(queries, items), self.best[queries]
        is_level = scores == best
        above = near.above + np.bincount(row[scores > best], minlength=len(near.above))
        level = np.bincount(row[is_level], minlength=len(near.above))
        mates = self._mates(row[is_level], queries[is_level], items[is_level], len(level))
        queries, items = near.first[0] + here.start, near.first[1] + there.start
        self._put(here, (above, level, mates), (queries, items), self._scores(queries, items))

    def add_exact(self, scores: TileScores, here: slice, there: slice) -> None:
        """Add a tile of exact scores."""
        best = self.best[here, None]
        is_level = scores == best
        row, item = np.nonzero(is_level) if self.groups is not None else (np.zeros(0, np.int64),) * 2
        mates = self._mates(row, row + here.start, item + there.start, len(scores))
        rows, first = np.arange(len(scores)), scores.argmax(axis=1)
        places = rows + here.start, first + there.start
        self._put(here, (_count(scores > best), _count(is_level), mates), places, scores[rows, first])

    def _scores(self, queries: OfPairs, items: OfPairs) -> PairScores:
        return scores_of(self.queries, self.items, (queries if self.of is None else self.of[queries], items))

    def _mates(self, row: OfPairs, queries: OfPairs, items: OfPairs, n_rows: int) -> Int64[np.ndarray, " n_rows"]:
        if self.groups is None:
            return np.zeros(n_rows, np.int64)
        of_queries, of_items = self.groups
        return np.bincount(row[of_queries[queries] == of_items[items]], minlength=n_rows)

    def _put(
        self, here: slice, counts: tuple[np.ndarray, np.ndarray, np.ndarray], pairs: Pairs, scores: PairScores
    ) -> None:
        """Add counts, and put items first that score above what was, or level with it and come earlier in the data."""
        queries, items = pairs
        order = np.lexsort((-items, scores, queries))
        order = order[np.diff(queries[order], append=-1) != 0]  # the last of each query
        queries, items, scores = queries[order], items[order], scores[order]
        with self._lock:
            for total, count in zip((self.above, self.level, self.level_mates), counts, strict=True):
                total[here] += count
            known = self.first_score[queries]
            is_ahead = (scores > known) | ((scores == known) & (items < self.first[queries]))
            self.first[queries[is_ahead]], self.first_score[queries[is_ahead]] = items[is_ahead], scores[is_ahead]


def scan(
    by_row: Search, by_column: Search | None, tile: Tile, hidden: Pairs | Bool[np.ndarray, "rows columns"]
) -> None:
    """Add a tile to the search of its rows and, where there is one, to the search of its columns.

    Args:
        hidden: pairs of the tile that count for neither.
    """
    products = by_row.products(tile)
    products[hidden] = -np.inf
    ways = [(by_row, tile.rows, tile.columns, products)]
    if by_column is not None:
        ways.append((by_column, tile.columns, tile.rows, products.T))
    near = [search.look(here, seen) for search, here, _, seen in ways]
    if sum(each.n_pairs for each in near) * FEW <= products.size:
        for each, (search, here, there, _) in zip(near, ways, strict=True):
            search.add(each, here, there)
        return
    scores = by_row.products(tile, is_exact=True)
    scores[hidden] = -np.inf
    for (search, here, there, _), seen in zip(ways, (scores, scores.T), strict=False):
        search.add_exact(seen, here, there)


def _places(mask: Bool[np.ndarray, "n_queries n_items"]) -> Pairs:
    """Return the rows and columns that are True, of a mask whose memory is ordered either way."""
    if mask.flags.c_contiguous:
        row, item = np.divmod(np.flatnonzero(mask), mask.shape[1])
    else:
        item, row = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    return row, item


def _count(mask: Bool[np.ndarray, "n_queries n_items"]) -> Int64[np.ndarray, " n_queries"]:
    """Return how many are True for each query, of a mask whose memory is ordered either way."""
    if mask.flags.c_contiguous:  # of bytes, a sum along rows would take five times as long
        return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    columns, total = mask.T.view(np.uint8), np.zeros(len(mask), np.int64)
    for start in range(0, len(columns), 255):  # as many as a byte can count
        total += np.add.reduce(columns[start : start + 255], axis=0, dtype=np.uint8)
    return total
