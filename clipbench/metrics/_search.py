"""Search of the best items among all pairs of two sets of vectors, in tiles of products: exact, and in all threads.

Products in float32 decide wherever they differ from a known score by more than their error. The few other pairs are
scored exactly. Counts are sums and what is first is a maximum, so that the result does not depend on the order in which
tiles are looked at, nor on how many are at once.
"""

from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from clipbench.metrics.similarity import Items, Pairs, row_slices, scores_of_pairs
from clipbench.metrics.threads import in_threads

TILE = 512
"""Rows of each side of a tile: its 1 MiB of float32 stays in the cache of a core while it is looked at."""
ROW_TILES = 16
"""Tiles whose rows stay while all columns pass by: a file larger than memory is read once per 16 tiles of rows."""
FEW = 32
"""If more than one pair in 32 of a tile may be above a threshold, or needs an exact score, all are counted exactly."""


TileScores = Float32[np.ndarray, "tile_queries tile_items"]
TileMask = Bool[np.ndarray, "tile_queries tile_items"]
OfQueries = Int64[np.ndarray, " n_queries"]
QueryScores = Float32[np.ndarray, " n_queries"]
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
        """Return the pairs that are in the tile, as its rows and columns.

        Args:
            query: row of the query of each pair, ascending.
            item: row of its item.
        """
        in_rows = slice(*np.searchsorted(query, (self.rows.start, self.rows.stop)))
        row, column = query[in_rows] - self.rows.start, item[in_rows] - self.columns.start
        is_inside = (column >= 0) & (column < self.columns.stop - self.columns.start)
        return row[is_inside], column[is_inside]


def tiles(n_rows: int, n_columns: int, *, is_upper: bool = False) -> Iterator[Tile]:
    """Yield the tiles between all rows and all columns; where ``is_upper``, those on the diagonal and right of it.

    Example:
        >>> [(tile.rows.start, tile.columns.start) for tile in tiles(2 * TILE, 2 * TILE, is_upper=True)]
        [(0, 0), (0, 512), (512, 512)]
    """
    for block in row_slices(n_rows, ROW_TILES * TILE):
        for columns in row_slices(n_columns, TILE, block.start if is_upper else 0):
            for rows in row_slices(block.stop, TILE, block.start):
                if not is_upper or rows.start <= columns.start:
                    yield Tile(rows, columns)


class _OpenPairs(NamedTuple):
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


class TiledSearch:
    """For each query, how many items score above a threshold and how many level with it, and which item is first.

    Args:
        best: threshold of each query, the score of its best positive.
        right: row of the item that is first until one is ahead of it: the best positive.
        error: most by which a product differs from a score (``similarity.product_error``).
        groups: of the queries and of the items; ``level_mates`` then counts level items of the query's own group.
    """

    def __init__(
        self,
        queries: Float32[np.ndarray, "n_vectors dim"],
        items: Items,
        best: QueryScores,
        right: OfQueries,
        error: float,
        groups: tuple[Int32[np.ndarray, " n_queries"], Int32[np.ndarray, " n_items"]] | None = None,
    ) -> None:
        self.queries, self.items, self.best, self.right, self.groups = queries, items, best, right, groups
        self.row_index: OfQueries | None = None
        """Row of each query's vector, ascending, if queries share vectors, None if each has its own vector."""
        self.error = np.float32(error)
        self.low = np.nextafter(
            best - self.error, np.float32(-np.inf)
        )  # pairs level with it are looked at, even without an error
        self.high = best + self.error
        self.above, self.level, self.level_mates = np.zeros((3, len(best)), np.int64)
        self.first, self.first_score = right.copy(), best.copy()
        self._lock = Lock()

    def products(self, tile: Tile, *, is_exact: bool = False) -> np.ndarray:
        """Return the products of a tile in float32, or its exact scores."""
        row_index = None if self.row_index is None else self.row_index[tile.rows]
        queries = self.queries[tile.rows if row_index is None else slice(row_index[0], row_index[-1] + 1)]
        items = self.items[tile.columns]
        if is_exact:
            scores = (queries.astype(np.float64) @ items.astype(np.float64).T).astype(np.float32)
        else:
            # OpenBLAS raises the flag of invalid values at times for finite ones (numpy #24067): vectors are checked
            # where they are read, so the flag tells nothing here.
            with np.errstate(invalid="ignore"):
                scores = queries @ items.T
        return scores if row_index is None or len(scores) == len(row_index) else scores[row_index - row_index[0]]

    def process_tile(self, query_slice: slice, products: TileScores) -> _OpenPairs:
        """Return the pairs that a tile of products of the queries ``query_slice`` leaves open."""
        may_be_above = products > self.low[query_slice, None]
        if np.count_nonzero(may_be_above) * FEW > products.size:
            return self._process_dense_tile(query_slice, products, may_be_above)
        row, item = _true_indices(may_be_above)
        scores = products[row, item]
        is_above = scores > self.high[query_slice][row]
        highest = np.full(len(products), -np.inf, np.float32)
        np.maximum.at(highest, row, scores)
        is_first = scores >= self._bound(query_slice, highest)[row]
        above = np.bincount(row[is_above], minlength=len(products))
        return _OpenPairs(above, (row[~is_above], item[~is_above]), (row[is_first], item[is_first]))

    def _process_dense_tile(self, query_slice: slice, products: TileScores, may_be_above: TileMask) -> _OpenPairs:
        """Return the same without a list of the pairs that may be above; overwrites ``may_be_above``."""
        is_above = products > self.high[query_slice, None]
        np.logical_xor(may_be_above, is_above, out=may_be_above)
        highest = products.max(axis=1)
        bound = self._bound(query_slice, highest)
        candidates = np.flatnonzero((highest >= bound) & (highest > -np.inf))
        row, item = np.nonzero(products[candidates] >= bound[candidates, None])
        return _OpenPairs(_count_by_query(is_above), _true_indices(may_be_above), (candidates[row], item))

    def _bound(self, query_slice: slice, highest: OfTile) -> OfTile:
        """Return the product that a pair must reach to be first, given the highest product of its query in the tile."""
        return np.maximum(self.first_score[query_slice], highest - self.error) - self.error

    def add_tile(self, open_pairs: _OpenPairs, query_slice: slice, item_slice: slice) -> None:
        """Add the open pairs of a tile of products, from ``process_tile``."""
        row, item = open_pairs.undecided
        queries, items = row + query_slice.start, item + item_slice.start
        scores, best = self._scores(queries, items), self.best[queries]
        is_level = scores == best
        above = open_pairs.above + np.bincount(row[scores > best], minlength=len(open_pairs.above))
        level = np.bincount(row[is_level], minlength=len(open_pairs.above))
        mates = self._count_level_mates(row[is_level], queries[is_level], items[is_level], len(level))
        queries, items = open_pairs.first[0] + query_slice.start, open_pairs.first[1] + item_slice.start
        self._update(query_slice, (above, level, mates), (queries, items), self._scores(queries, items))

    def add_exact(self, scores: TileScores, query_slice: slice, item_slice: slice) -> None:
        """Add a tile of exact scores."""
        best = self.best[query_slice, None]
        is_level = scores == best
        row, item = np.nonzero(is_level) if self.groups is not None else (np.zeros(0, np.int64),) * 2
        mates = self._count_level_mates(row, row + query_slice.start, item + item_slice.start, len(scores))
        rows, first = np.arange(len(scores)), scores.argmax(axis=1)
        first_pairs = rows + query_slice.start, first + item_slice.start
        self._update(
            query_slice,
            (_count_by_query(scores > best), _count_by_query(is_level), mates),
            first_pairs,
            scores[rows, first],
        )

    def _scores(self, queries: OfPairs, items: OfPairs) -> PairScores:
        return scores_of_pairs(
            self.queries, self.items, (queries if self.row_index is None else self.row_index[queries], items)
        )

    def _count_level_mates(
        self, row: OfPairs, queries: OfPairs, items: OfPairs, n_rows: int
    ) -> Int64[np.ndarray, " n_rows"]:
        if self.groups is None:
            return np.zeros(n_rows, np.int64)
        of_queries, of_items = self.groups
        return np.bincount(row[of_queries[queries] == of_items[items]], minlength=n_rows)

    def _update(
        self, query_slice: slice, counts: tuple[np.ndarray, np.ndarray, np.ndarray], pairs: Pairs, scores: PairScores
    ) -> None:
        """Add counts, and replace the first item by one that scores above it, or equally but earlier in the data."""
        queries, items = pairs
        order = np.lexsort((-items, scores, queries))
        order = order[np.diff(queries[order], append=-1) != 0]  # the last of each query
        queries, items, scores = queries[order], items[order], scores[order]
        with self._lock:
            for total, count in zip((self.above, self.level, self.level_mates), counts, strict=True):
                total[query_slice] += count
            previous = self.first_score[queries]
            is_ahead = (scores > previous) | ((scores == previous) & (items < self.first[queries]))
            self.first[queries[is_ahead]], self.first_score[queries[is_ahead]] = items[is_ahead], scores[is_ahead]


def scan(
    by_row: TiledSearch, by_column: TiledSearch | None, tile: Tile, hidden: Pairs | Bool[np.ndarray, "rows columns"]
) -> None:
    """Add a tile to the search of its rows and, if there is one, to the search of its columns.

    Args:
        hidden: pairs of the tile that count for neither.
    """
    products = by_row.products(tile)
    products[hidden] = -np.inf
    searches = [(by_row, tile.rows, tile.columns, products)]
    if by_column is not None:
        searches.append((by_column, tile.columns, tile.rows, products.T))
    open_by_search = [search.process_tile(query_slice, tile_scores) for search, query_slice, _, tile_scores in searches]
    if sum(open_pairs.n_pairs for open_pairs in open_by_search) * FEW <= products.size:
        for open_pairs, (search, query_slice, item_slice, _) in zip(open_by_search, searches, strict=True):
            search.add_tile(open_pairs, query_slice, item_slice)
        return
    scores = by_row.products(tile, is_exact=True)
    scores[hidden] = -np.inf
    for (search, query_slice, item_slice, _), tile_scores in zip(searches, (scores, scores.T), strict=False):
        search.add_exact(tile_scores, query_slice, item_slice)


def search_tiles(search: TiledSearch, hidden: Pairs) -> None:
    """Search all tiles of all queries and items.

    Args:
        hidden: pairs that do not count, in the order of the queries.
    """
    in_threads(
        lambda tile: scan(search, None, tile, tile.of_pairs(*hidden)), tiles(len(search.best), len(search.items))
    )


def _true_indices(mask: Bool[np.ndarray, "n_queries n_items"]) -> Pairs:
    """Return the rows and columns of the True values of a mask, stored by rows or by columns."""
    if mask.flags.c_contiguous:
        row, item = np.divmod(np.flatnonzero(mask), mask.shape[1])
    else:
        item, row = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    return row, item


def _count_by_query(mask: Bool[np.ndarray, "n_queries n_items"]) -> OfQueries:
    """Return the number of True values for each query of a mask, stored by rows or by columns."""
    if mask.flags.c_contiguous:  # of bytes, a sum along rows would take five times as long
        return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    columns, total = mask.T.view(np.uint8), np.zeros(len(mask), np.int64)
    for part in row_slices(len(columns), 255):  # as many as a byte can count
        total += np.add.reduce(columns[part], axis=0, dtype=np.uint8)
    return total
