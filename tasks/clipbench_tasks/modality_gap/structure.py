"""What a gap leaves alone, and what it breaks: lengths of raw vectors, neighbours within each modality, joint clusters.

None of these has an interval; each says why.
"""

from collections.abc import Mapping
from math import isnan

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench import metrics
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Fixed, Measure
from clipbench_tasks.modality_gap.curves import distribution

Vectors = Float32[np.ndarray, "n dim"]
UNIT_LENGTH = 1e-3
"""Lengths that differ by no more from 1 were made so before."""

METRICS = {
    **{
        f"{side}_norm": Definition(
            f"Length of raw {side} vectors", f"Mean length of the {side} vectors before they are scaled to length 1."
        )
        for side in ("image", "text")
    },
    "mutual_knn": Definition(
        "Mutual k-NN of images and texts",
        "Mean share of an image's nearest images whose texts are among the nearest texts of its text.",
    ),
    "cka": Definition(
        "CKA of images and texts",
        "Likeness of the cosines among images and among their texts: 1 is the same structure, 0 none in common.",
    ),
    "modality_ari": Definition(
        "Two clusters against modalities (ARI)",
        "Agreement of two k-means clusters of all vectors with images and texts: 1 where a cluster is a modality, 0 by chance.",
    ),
    "clustering_v_measure": Definition(
        "Joint clustering (V-measure)",
        "Agreement of k-means clusters of images and texts together with the classes, one cluster a class.",
    ),
    "clustering_ari": Definition(
        "Joint clustering (ARI)",
        "The same as the adjusted Rand index, which is 0 by chance.",
    ),
}


def norm_measures(lengths: Mapping[str, Float64[np.ndarray, " n"]]) -> dict[str, Measure]:
    """Return the mean length of each modality's raw vectors.

    Args:
        lengths: of the vectors of pairs, by ``image`` and ``text``; all 1 where vectors were given at unit length.
    """
    measures: dict[str, Measure] = {}
    for side, own in lengths.items():
        if (np.abs(own - 1) <= UNIT_LENGTH).all():
            measures[f"{side}_norm"] = Fixed(value=None, unit="length", reason="the model gives vectors of length 1")
        else:
            reason = "no interval: how often one would cover was not simulated"
            measures[f"{side}_norm"] = Fixed(value=float(own.mean()), unit="length", n=len(own), reason=reason)
    return measures


def structure_measures(
    images: Vectors, texts: Vectors, labels: Int64[np.ndarray, " n"] | None, k: int, rng: np.random.Generator
) -> dict[str, Measure]:
    """Return mutual k-NN, CKA, and how clusters of all vectors agree with the modalities and with the classes.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        labels: class of each pair, where there are any.
        k: neighbours of the mutual k-NN.
        rng: draws the first centres of the clusters.
    """
    n = len(images)
    shared, alike = metrics.mutual_neighbours(images, texts, k), metrics.cka(images, texts).value
    few = f"{n} pairs: it needs more than the {k} neighbours that count"
    return {
        "mutual_knn": _value(
            shared, "fraction", n, few, "resampled vectors have other neighbours", chance=k / max(n - 1, 1)
        ),
        "cka": _value(
            alike,
            "ratio",
            n,
            "it needs four pairs that are not all equal",
            "a resampled pair is its own copy",
            chance=0.0,
        ),
        **_clusters(images, texts, labels, rng),
    }


def _clusters(
    images: Vectors, texts: Vectors, labels: Int64[np.ndarray, " n"] | None, rng: np.random.Generator
) -> dict[str, Measure]:
    n, both = len(images), np.concatenate([images, texts])
    why, alone = "resampled vectors have other clusters", "it needs two pairs"
    by_modality = np.repeat([0, 1], n)
    ari = metrics.adjusted_rand_index(by_modality, metrics.k_means(both, 2, rng)) if n > 1 else float("nan")
    measures = {"modality_ari": _value(ari, "ratio", 2 * n, alone, why, chance=0.0)}
    n_classes = 0 if labels is None else len(np.unique(labels))
    if labels is None or not 1 < n_classes < n:
        reason = (
            "there are no labels"
            if labels is None
            else f"{n_classes} classes of {n} pairs: it needs two, and several pairs of some"
        )
        return measures | {
            name: Fixed(value=None, unit="ratio", reason=reason, higher_is_better=True)
            for name in ("clustering_v_measure", "clustering_ari")
        }
    clusters, of_both = metrics.k_means(both, n_classes, rng), np.tile(labels, 2)
    found = f"{why}; {n_classes} clusters, one a class"
    v, of_classes = metrics.v_measure(of_both, clusters), metrics.adjusted_rand_index(of_both, clusters)
    return {
        **measures,
        "clustering_v_measure": Fixed(
            value=v, unit="ratio", n=2 * n, reason=f"no interval: {found}", higher_is_better=True
        ),
        "clustering_ari": Fixed(
            value=of_classes, unit="ratio", n=2 * n, chance=0.0, reason=f"no interval: {found}", higher_is_better=True
        ),
    }


def conformity_curves(conformity: Mapping[str, Float64[np.ndarray, " n"]]) -> dict[str, Curve]:
    """Return the share of items in each bin of conformity, an item's mean cosine with all others of its modality."""
    return {
        f"conformity_{side}": curve
        for side, values in conformity.items()
        for curve in distribution(metrics.cosine_histogram(values), "mean cosine with all others of the modality")
    }


def _value(value: float, unit: str, n: int, few: str, why: str, *, chance: float) -> Measure:
    if isnan(value):
        return Fixed(value=None, unit=unit, reason=few)
    return Fixed(value=value, unit=unit, n=n, chance=chance, reason=f"no interval: {why}")
