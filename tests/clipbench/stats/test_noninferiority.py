"""The walk over formats: where it stops, what it says of few queries, and how often it errs."""

import numpy as np
import pytest

from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench.stats.noninferiority import least_lost, least_queries, walk

SAME = np.zeros(1_000)


def lost(share: float, n: int = 1_000) -> np.ndarray:
    return -(np.arange(n) < round(share * n)).astype(np.float64)


def test_a_kind_is_walked_until_one_is_not_shown_to_lose_less() -> None:
    nodes = walk([{"a": SAME, "b": lost(0.1), "c": SAME}, {"d": lost(0.1)}, {"e": lost(0.001)}], 0.01)
    assert nodes.passed == ["a", "e"] and list(nodes.most_lost) == ["a", "b", "d", "e"]
    assert nodes.most_lost["a"] < 0.01 <= nodes.most_lost["b"]


def test_the_bound_allows_for_the_kinds_and_not_for_the_formats() -> None:
    change = lost(0.004)
    one = walk([{"a": change}], 0.01).most_lost["a"]
    assert one == -mean_interval(change, within=DIFFERENCES, confidence=0.9).low  # type: ignore[operator]
    assert (
        walk([{"a": change, "b": SAME}], 0.01).most_lost["a"]
        == one
        < walk([{"a": change}, {"b": SAME}], 0.01).most_lost["a"]
    )


def test_few_queries_show_nothing() -> None:
    assert walk([{"a": np.zeros(100)}], 0.01).passed == [] and walk([{"a": np.zeros(1)}], 0.01).most_lost == {"a": 1.0}
    n = least_queries(0.01, 5)
    assert least_lost(n, 5) < 0.01 <= least_lost(n - 1, 5)
    for queries, passes in ((n, True), (n - 1, False)):
        assert bool(walk([{"a": np.zeros(queries)}] * 5, 0.01).passed) is passes


def test_clusters_count_once() -> None:
    clusters = np.arange(1_000) // 5
    assert walk([{"a": SAME}], 0.01).passed and not walk([{"a": SAME}], 0.01, clusters=clusters).passed


@pytest.mark.slow
@pytest.mark.parametrize(("chances", "n"), [((0.01, 0.0), 1_000), ((0.03, 0.02), 400)])
def test_formats_that_lose_a_point_are_seldom_said_to_lose_less(chances: tuple[float, float], n: int) -> None:
    rng, errors = np.random.default_rng(0), 0
    for _ in range(120):
        u = rng.random((5, n))
        changes = np.where(u < chances[0], -1.0, np.where(u < sum(chances), 1.0, 0.0))
        errors += bool(walk([{str(kind): change} for kind, change in enumerate(changes)], 0.01).passed)
    assert errors <= 12  # of 6 expected at most, with a chance of 1 % of more
