"""Pieces of work in threads: each once, and none after a failure."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from clipbench.metrics import threads
from clipbench.metrics.threads import in_threads, n_threads


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("n_pieces", [0, 1, 2, 50])
def test_each_piece_is_done_once(n: int, n_pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: n)
    done: list[int] = []
    in_threads(done.append, range(n_pieces))
    assert sorted(done) == list(range(n_pieces))


def test_pieces_are_done_at_once_with_products_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: 2)
    both, seen = Barrier(2, timeout=600), []

    def meet(_: int) -> None:
        both.wait()
        seen.append(n_threads())

    in_threads(meet, range(2))
    assert seen == [1, 1]


def test_there_are_no_more_threads_than_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, n: int) -> None:
            pools.append(n)
            super().__init__(n)

    monkeypatch.setattr(threads, "n_threads", lambda: 8)
    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    for n_pieces in (1, 2, 3, 20):
        in_threads(lambda piece: None, iter(range(n_pieces)))
    assert pools == [2, 3, 8]


def test_threads_are_those_of_numpy() -> None:
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            assert n_threads() == n
            assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {n}


@pytest.mark.parametrize("n", [1, 2])
def test_a_failure_is_raised_and_ends_the_work(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: n)
    begun = []

    def fail_late(piece: int) -> None:
        begun.append(piece)
        if piece == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        in_threads(fail_late, range(1_000_000))
    assert len(begun) < 1_000_000
