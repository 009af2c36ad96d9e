"""k-means, V-measure and ARI: scikit-learn's values, hand-worked ones, and clusters that cannot be mistaken."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, v_measure_score

from clipbench.errors import UsageError
from clipbench.metrics import adjusted_rand_index, k_means, v_measure


@pytest.mark.parametrize("seed", range(12))
def test_both_agreements_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, clusters = rng.integers(1 + seed, size=30), rng.integers(1 + seed // 2, size=30)
    assert v_measure(labels, clusters) == pytest.approx(v_measure_score(labels, clusters), abs=1e-12)
    assert adjusted_rand_index(labels, clusters) == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-12)


def test_names_of_labels_and_clusters_do_not_matter_and_neither_does_the_order() -> None:
    rng = np.random.default_rng(0)
    labels, clusters, order = rng.integers(4, size=40), rng.integers(3, size=40), rng.permutation(40)
    for agreement in (v_measure, adjusted_rand_index):
        value = agreement(labels, clusters)
        assert agreement(np.array(list("dbca"))[labels], 7 - clusters) == pytest.approx(value)
        assert agreement(labels[order], clusters[order]) == pytest.approx(value)
        assert agreement(labels, labels) == pytest.approx(1)


def test_clusters_of_nothing_in_common_have_no_ari_on_average() -> None:
    rng = np.random.default_rng(0)
    found = [adjusted_rand_index(rng.integers(3, size=60), rng.integers(4, size=60)) for _ in range(300)]
    assert np.mean(found) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_clusters_apart_are_found(k: int) -> None:
    rng = np.random.default_rng(k)
    truth = np.repeat(np.arange(k), 8)
    points = (50 * np.eye(k, 16)[truth] + rng.standard_normal((len(truth), 16))).astype(np.float32)
    assert adjusted_rand_index(truth, k_means(points, k, rng)) == 1


def test_clusters_are_as_tight_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((120, 5)).astype(np.float32)
    labels = k_means(points, 6, rng)
    own = sum(((points[labels == c] - points[labels == c].mean(axis=0)) ** 2).sum() for c in np.unique(labels))
    assert own <= 1.02 * KMeans(6, n_init=10, random_state=0).fit(points).inertia_


def test_equal_vectors_and_as_many_clusters_as_vectors_are_no_trouble() -> None:
    rng = np.random.default_rng(0)
    assert len(set(k_means(np.ones((6, 3), np.float32), 3, rng).tolist())) == 1
    assert sorted(k_means(np.eye(4, dtype=np.float32), 4, rng).tolist()) == [0, 1, 2, 3]
    for k in (0, 5):
        with pytest.raises(UsageError, match=f"{k} clusters of 4 vectors: expected 1 to 4"):
            k_means(np.eye(4, dtype=np.float32), k, rng)
