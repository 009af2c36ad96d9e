"""Work on pieces in threads: numpy lets go of the interpreter lock while it computes."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")


def n_threads() -> int:
    """Return the number of threads of numpy's products: OPENBLAS_NUM_THREADS, OMP_NUM_THREADS, or all processors."""
    counts = [library["num_threads"] for library in _blas().info()]
    return max(counts) if counts else os.cpu_count() or 1


@cache
def _blas() -> "ThreadpoolController":
    """Return the libraries of products that are loaded: a millisecond's search, for matrices that take a few."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def in_threads(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Call ``work`` with each piece, in order but several at once, and return when all are done.

    At most ``n_threads()`` threads each take the next piece when they have done one, and products in a piece take one
    thread: numpy's own threads would idle between the products of a piece.

    Raises:
        Exception: the first error of a piece. No piece is begun after an error.
    """
    left = iter(pieces)
    begun = list(islice(left, n_threads()))
    n, left = len(begun), chain(begun, left)
    if n < 2:
        for piece in left:
            work(piece)
        return
    lock, has_failed = Lock(), False

    def take_pieces() -> None:
        nonlocal has_failed
        while not has_failed:
            with lock:
                piece = next(left, None)
            if piece is None:
                return
            try:
                work(piece)
            except BaseException:
                has_failed = True
                raise

    with _blas().limit(limits=1), ThreadPoolExecutor(n) as pool:
        running = [pool.submit(take_pieces) for _ in range(n)]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:  # an interrupt too: each thread ends after the piece in hand
            has_failed = True
            raise
