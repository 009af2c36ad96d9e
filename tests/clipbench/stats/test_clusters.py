"""Clusters and the standard error that allows for them, against scipy's and the interval that is made of it."""

import numpy as np
import pytest
import scipy.stats

from clipbench.stats import intervals
from clipbench.stats.clusters import cluster_codes, standard_error


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
        low, high, _ = intervals.influence_interval(0.0, rows, clusters=groups)
        assert low is not None and high is not None
        reach = scipy.stats.t.ppf(0.975, (200 if groups is None else 30) - 1)
        assert standard_error(rows, groups) == pytest.approx((high - low) / 2 / reach)
    assert standard_error(rows) == pytest.approx(scipy.stats.sem(rows))


@pytest.mark.parametrize(
    ("rows", "clusters"), [([0.3], None), ([0.3, -0.3], ["a", "a"]), ([0.0, 0.0, 0.0], None), ([1e-17, 0.0], None)]
)
def test_samples_that_cannot_tell_have_no_standard_error(rows: list[float], clusters: list[str] | None) -> None:
    groups = None if clusters is None else np.array(clusters)
    assert standard_error(np.array(rows), groups) is None
