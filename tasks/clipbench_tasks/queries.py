"""A random sample of queries, for a gallery that is too large for all: each searches all of it, and its rank is exact."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int64

from clipbench.results.numbers import count

Rows = Int64[np.ndarray, " n_drawn"]
Draw = Callable[[Sequence[str]], Rows]
"""Returns the rows of the queries that search, from the ids of all."""


def drawn(ids: Sequence[str], at_most: int | None, rng: np.random.Generator) -> Rows:
    """Return the rows of at most so many queries, ascending: a random sample that depends on ids, not on their order.

    Args:
        ids: of all queries.
        at_most: None for all.

    Example:
        >>> draws = [drawn(ids, 2, np.random.default_rng(0)) for ids in (["a", "b", "c"], ["b", "c", "a"])]
        >>> [rows.tolist() for rows in draws]  # b and c, wherever they stand
        [[1, 2], [0, 1]]
    """
    if at_most is None or at_most >= len(ids):
        return np.arange(len(ids))
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    return np.sort(by_id[rng.choice(len(ids), at_most, replace=False)])


def sample_notes(sizes: Iterable[tuple[int, int, str]]) -> tuple[str, ...]:
    """Return a note on the queries that are a sample, or none where all search.

    Args:
        sizes: of each direction the number of queries, the number that they are drawn from, and what they are.

    Example:
        >>> sample_notes([(500, 25_000, "captions"), (400, 400, "images"), (500, 25_000, "captions")])
        ('500 of 25,000 captions, drawn at random, search the whole gallery; each is ranked exactly',)
        >>> sample_notes([(400, 400, "images")])
        ()
    """
    samples = list(dict.fromkeys(f"{count(n)} of {count(n_all)} {what}" for n, n_all, what in sizes if n < n_all))
    if not samples:
        return ()
    listed = " and ".join([*([", ".join(samples[:-1])] if samples[1:] else []), samples[-1]])
    return (f"{listed}, drawn at random, search the whole gallery; each is ranked exactly",)
