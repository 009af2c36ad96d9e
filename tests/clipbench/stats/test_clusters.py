"""Clusters and the standard error that allows for them, against scipy's and the interval that is made of it."""

import numpy as np
import pytest
import scipy.stats

from clipbench.stats import clusters as clusters_module
from clipbench.stats import intervals
from clipbench.stats.clusters import cluster_codes, clusters_by_half_overlap, clusters_by_links, standard_error


def test_samples_that_are_each_their_own_cluster_have_no_codes() -> None:
    assert cluster_codes(None) is None
    assert cluster_codes(np.array(["b", "a", "c"], object)) is None
    codes = cluster_codes(np.array(["b", "a", "b"], object))
    assert codes is not None and codes.tolist() == [1, 0, 1]


def test_the_standard_error_is_that_of_the_intervals() -> None:
    rng = np.random.default_rng(7)
    rows, clusters = rng.normal(0, 1, 200), rng.integers(0, 30, 200)
    rows -= rows.mean()
    for groups in (None, clusters):
        low, high = intervals.influence_interval(0.0, rows, clusters=groups).bounds
        reach = scipy.stats.t.ppf(0.975, (200 if groups is None else 30) - 1)
        assert standard_error(rows, groups) == pytest.approx((high - low) / 2 / reach)
    assert standard_error(rows) == pytest.approx(scipy.stats.sem(rows))


@pytest.mark.parametrize(
    ("rows", "clusters"), [([0.3], None), ([0.3, -0.3], ["a", "a"]), ([0.0, 0.0, 0.0], None), ([1e-17, 0.0], None)]
)
def test_samples_that_cannot_tell_have_no_standard_error(rows: list[float], clusters: list[str] | None) -> None:
    groups = None if clusters is None else np.array(clusters)
    assert standard_error(np.array(rows), groups) is None


@pytest.mark.parametrize("rows_at_once", [1, 7, 256])
def test_rows_that_share_half_of_their_things_are_alike(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters_module, "_ROWS_AT_ONCE", rows_at_once)
    draws = np.random.default_rng(0)
    for _ in range(20):
        held = draws.random((12, 6)) < 0.4
        rows, things = np.nonzero(held)
        links = [
            (a, b)
            for a in range(12)
            for b in range(a)
            if (held[a] & held[b]).any() and 2 * (held[a] & held[b]).sum() >= max(held[a].sum(), held[b].sum())
        ]
        one, other = np.array(links, np.int64).reshape(-1, 2).T
        np.testing.assert_array_equal(
            clusters_by_half_overlap(rows, things * 10, 12), clusters_by_links(one, other, 12)
        )


def test_one_shared_document_of_many_joins_no_queries() -> None:
    rows, things = np.repeat(np.arange(4), 3), np.array([0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8])
    assert clusters_by_half_overlap(rows, things, 4).tolist() == [0, 1, 2, 3]
    assert clusters_by_half_overlap(np.array([0, 1, 2]), np.array([5, 5, 5]), 3).tolist() == [0, 0, 0]
