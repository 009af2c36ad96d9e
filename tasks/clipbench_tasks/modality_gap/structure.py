"""Neighbours, lengths and clusters: hubs, lengths of raw vectors, and what a gap leaves alone or breaks within each modality.

None of these has an interval; each says why.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isnan, nan
from warnings import catch_warnings, simplefilter

import numpy as np

from clipbench.metrics.structure import cka, hubness, mutual_neighbours
from clipbench.stats.measures import Definition, Fixed, Measure, define
from clipbench_tasks.tables import Column, Rows, Vectors

OTHER_NEIGHBOURS = "no interval: resampled vectors have other neighbours"
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
        "Joint clustering (ARI)", "The same as the adjusted Rand index, which is 0 by chance."
    ),
}


def hub_measures(images: Vectors, texts: Vectors, k: int) -> dict[str, Measure]:
    """Return how unequally often images are among the k nearest of texts, and texts of images."""
    measures: dict[str, Measure] = {}
    for modality, queries, gallery in (("image", texts, images), ("text", images, texts)):
        n = len(gallery)
        few = f"{n} pairs, fewer than the {k} neighbours that count" if n < k else "all are retrieved equally often"
        of_modality: dict[str, Measure] = {}
        names = ("hub_skewness", "largest_hub", "never_retrieved")
        for name, value in zip(names, hubness(queries, gallery, k), strict=True):
            unit = "skewness" if name == "hub_skewness" else "fraction"
            measure = Fixed(value=value, unit=unit, n=n, reason=OTHER_NEIGHBOURS, higher_is_better=False)
            of_modality[f"{modality}_{name}"] = _unless_nan(measure, few)
        measures |= define(of_modality, hub_definitions(modality, k))
    return measures


def hub_definitions(modality: str, k: int) -> dict[str, Definition]:
    """Return the definitions of a modality's hub measures."""
    other = "texts" if modality == "image" else "images"
    return {
        f"{modality}_hub_skewness": Definition(
            f"Hubness (skewness of {modality} {k}-occurrence)",
            f"Skewness of how often each {modality} is among the {k} nearest of the {other}.",
        ),
        f"{modality}_largest_hub": Definition(
            f"Largest {modality} hub", f"Share of the {other} that have the same {modality} among their {k} nearest."
        ),
        f"{modality}_never_retrieved": Definition(
            f"{modality.title()}s never retrieved",
            f"Share of {modality}s that are among the {k} nearest of none of the {other}.",
        ),
    }


def norm_measures(lengths: Mapping[str, Column]) -> dict[str, Measure]:
    """Return the mean length of each modality's raw vectors.

    Args:
        lengths: of the vectors of pairs, by ``image`` and ``text``; all 1 where vectors were given at unit length.
    """
    measures: dict[str, Measure] = {}
    for side, own in lengths.items():
        if (np.abs(own - 1) <= UNIT_LENGTH).all():
            measures[f"{side}_norm"] = Fixed(value=None, unit="length", reason="the model gives vectors of length 1")
        else:
            reason = "no interval: its coverage has not been validated"
            measures[f"{side}_norm"] = Fixed(value=float(own.mean()), unit="length", n=len(own), reason=reason)
    return measures


def structure_measures(
    images: Vectors, texts: Vectors, labels: Rows | None, k: int, rng: np.random.Generator
) -> dict[str, Measure]:
    """Return mutual k-NN, CKA, and how clusters of all vectors agree with the modalities and with the classes.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        labels: class of each pair, where there are any.
        k: neighbours of the mutual k-NN.
        rng: draws the first centres of the clusters.
    """
    n, chance = len(images), k / max(len(images) - 1, 1)
    mutual = Fixed(
        value=mutual_neighbours(images, texts, k), unit="fraction", n=n, chance=chance, reason=OTHER_NEIGHBOURS
    )
    why = "no interval: a resampled pair is its own copy"
    alike = Fixed(value=cka(images, texts).value, unit="ratio", n=n, chance=0.0, reason=why)
    return {
        "mutual_knn": _unless_nan(mutual, f"{n} pairs: it needs more than the {k} neighbours that count"),
        "cka": _unless_nan(alike, "it needs four pairs that are not all equal"),
        **_cluster_measures(images, texts, labels, rng),
    }


def _cluster_measures(
    images: Vectors, texts: Vectors, labels: Rows | None, rng: np.random.Generator
) -> dict[str, Measure]:
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    n, both = len(images), np.concatenate([images, texts])
    why = "no interval: resampled vectors have other clusters"
    ari = float(adjusted_rand_score(np.repeat([0, 1], n), k_means(both, 2, rng))) if n > 1 else nan
    of_modalities = Fixed(value=ari, unit="ratio", n=2 * n, chance=0.0, reason=why)
    n_classes, v, ari = 0 if labels is None else len(np.unique(labels)), nan, nan
    few = f"{n_classes} classes of {n} pairs: it needs two, and several pairs of some"
    if labels is not None and 1 < n_classes < n:
        clusters, of_both = k_means(both, n_classes, rng), np.tile(labels, 2)
        v, ari = float(v_measure_score(of_both, clusters)), float(adjusted_rand_score(of_both, clusters))
    of_v = Fixed(
        value=v, unit="ratio", n=2 * n, reason=f"{why}; {n_classes} clusters, one a class", higher_is_better=True
    )
    few = "there are no labels" if labels is None else few
    return {
        "modality_ari": _unless_nan(of_modalities, "it needs two pairs"),
        "clustering_v_measure": _unless_nan(of_v, few),
        "clustering_ari": _unless_nan(replace(of_v, value=ari, chance=0.0), few),
    }


def k_means(vectors: Vectors, k: int, rng: np.random.Generator) -> Rows:
    """Return the cluster of each vector: the best of ten starts, or of one for more than ten clusters.

    It takes one thread: with several, sums are rounded in another order, and a vector between two centres may change sides.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed, starts = int(rng.integers(2**32)), 10 if k <= 10 else 1
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # of fewer distinct vectors than clusters
        labels = KMeans(k, n_init=starts, random_state=seed).fit_predict(vectors.astype(np.float64))
    return np.asarray(labels, np.int64)


def _unless_nan(measure: Fixed, few: str) -> Fixed:
    """Return a measure, or an undefined one for too few pairs where its value is NaN."""
    if measure.value is None or isnan(measure.value):
        return replace(measure, value=None, n=0, chance=None, reason=few)
    return measure
