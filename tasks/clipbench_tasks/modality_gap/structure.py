"""Neighbours, lengths and clusters: hubs, lengths of raw vectors, and the structure that a gap keeps or breaks.

None of these has an interval. Each metric has the reason.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import isnan, nan
from warnings import catch_warnings, simplefilter

import numpy as np

from clipbench.metrics.similarity_calibration import (
    MatchCounts,
    MatchProbabilities,
    expected_noise,
    match_counts,
    match_probabilities,
)
from clipbench.metrics.structure import cka, hubness, mutual_neighbours
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Definitions, Fixed, Measures, define, undefined
from clipbench_tasks.tables import Columns, Curves, Rows, SeriesStyles, Vectors, sample_rows

OTHER_NEIGHBOURS = "no interval: the bootstrap duplicates vectors, which changes the nearest neighbours"
UNIT_LENGTH = 1e-3
"""Lengths that differ by no more from 1 were made so before."""

KINDS = ("image_text", "text_text", "image_image")
METRICS = {
    f"{side}_norm": Definition(
        f"Length of raw {side} vectors", f"Mean length of the {side} vectors before they are scaled to length 1."
    )
    for side in ("image", "text")
}
METRICS |= {
    "mutual_knn": Definition(
        "Mutual k-NN of images and texts",
        "Mean fraction of an image's nearest images whose texts are among the nearest texts of its text.",
    ),
    "cka": Definition(
        "CKA of images and texts",
        "Likeness of the cosines among images and among their texts: 1 is the same structure, 0 none in common.",
    ),
    "modality_ari": Definition(
        "Two clusters against modalities (ARI)",
        "Agreement of two k-means clusters of all vectors with images and texts: 1 where a cluster is a modality, 0 by"
        " chance.",
    ),
    "clustering_v_measure": Definition(
        "Joint clustering (V-measure)",
        "Agreement of k-means clusters of images and texts together with the classes, one cluster per class.",
    ),
    "clustering_ari": Definition(
        "Joint clustering (ARI)", "The same as the adjusted Rand index, which is 0 by chance."
    ),
    "similarity_calibration_error": Definition(
        "Cosine calibration error",
        "How differently the same cosine predicts a match for image–text, text–text and image–image pairs, 0 if alike.",
    ),
}
METRICS |= {
    f"{kind}_calibration_error": Definition(
        f"Cosine calibration error, {kind.replace('_', '–')}",
        f"Distance of the match probability of {kind.replace('_', '–')} pairs from the match probability of all"
        " pairs of one cosine.",
    )
    for kind in KINDS
}


def hub_measures(images: Vectors, texts: Vectors, k: int) -> Measures:
    """Return how unequally often images are among the k nearest of texts, and texts of images."""
    of_images = _hub_measures_of("image", texts, images, k)
    of_texts = _hub_measures_of("text", images, texts, k)
    return of_images | of_texts


def _hub_measures_of(modality: str, queries: Vectors, gallery: Vectors, k: int) -> Measures:
    n = len(gallery)
    few = f"{n} pairs, fewer than the {k} neighbours that count" if n < k else "all are retrieved equally often"
    units = {"hub_skewness": "skewness", "largest_hub": "fraction", "never_retrieved": "fraction"}
    measures: Measures = {}
    for (name, unit), value in zip(units.items(), hubness(queries, gallery, k), strict=True):
        measure = Fixed(value=value, unit=unit, n=n, reason=OTHER_NEIGHBOURS, higher_is_better=False)
        measures[f"{modality}_{name}"] = _unless_nan(measure, few)
    return define(measures, hub_definitions(modality, k))


def hub_definitions(modality: str, k: int) -> Definitions:
    """Return the definitions of a modality's hub measures."""
    other = "texts" if modality == "image" else "images"
    return {
        f"{modality}_hub_skewness": Definition(
            f"Hubness (skewness of {modality} {k}-occurrence)",
            f"Skewness of how often each {modality} is among the {k} nearest of the {other}.",
        ),
        f"{modality}_largest_hub": Definition(
            f"Largest {modality} hub", f"Fraction of the {other} that have the same {modality} among their {k} nearest."
        ),
        f"{modality}_never_retrieved": Definition(
            f"{modality.title()}s never retrieved",
            f"Fraction of {modality}s that are among the {k} nearest of none of the {other}.",
        ),
    }


def norm_measures(lengths: Columns) -> Measures:
    """Return the mean length of each modality's raw vectors.

    Args:
        lengths: lengths of the vectors of pairs, by ``image`` and ``text``, all 1 if vectors were given at unit length.
    """
    measures: Measures = {}
    for side, side_lengths in lengths.items():
        if (np.abs(side_lengths - 1) <= UNIT_LENGTH).all():
            measures[f"{side}_norm"] = undefined("the model gives vectors of length 1", "length")
        else:
            reason = "no interval: no method has been shown to cover the true value"
            measures[f"{side}_norm"] = Fixed(
                value=float(side_lengths.mean()), unit="length", n=len(side_lengths), reason=reason
            )
    return measures


def structure_measures(
    images: Vectors, texts: Vectors, labels: Rows | None, k: int, rng: np.random.Generator
) -> Measures:
    """Return mutual k-NN, CKA, and the agreement of clusters of all vectors with the modalities and the classes.

    Args:
        images: unit vectors.
        texts: unit vectors. Row i belongs to image i.
        labels: class of each pair, if there are any.
        k: neighbours of the mutual k-NN.
        rng: draws the first centres of the clusters.
    """
    n = len(images)
    mutual = Fixed(
        value=mutual_neighbours(images, texts, k),
        unit="fraction",
        n=n,
        chance=k / max(n - 1, 1),
        reason=OTHER_NEIGHBOURS,
    )
    reason = "no interval: the bootstrap duplicates pairs, which biases this metric"
    alignment = Fixed(value=cka(images, texts).value, unit="ratio", n=n, chance=0.0, reason=reason)
    return {
        "mutual_knn": _unless_nan(mutual, f"{n} pairs: it needs more than the {k} neighbours that count"),
        "cka": _unless_nan(alignment, "it needs four pairs that are not all equal"),
        **_cluster_measures(images, texts, labels, rng),
    }


def _cluster_measures(images: Vectors, texts: Vectors, labels: Rows | None, rng: np.random.Generator) -> Measures:
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    n = len(images)
    both = np.concatenate([images, texts])
    reason = "no interval: the bootstrap duplicates vectors, which changes the clusters"
    modality_ari = nan
    if n > 1:
        modality_ari = float(adjusted_rand_score(np.repeat([0, 1], n), k_means(both, 2, rng)))
    of_modalities = Fixed(value=modality_ari, unit="ratio", n=2 * n, chance=0.0, reason=reason)
    v_measure = class_ari = nan
    if labels is None:
        n_classes = 0
        few = "the data has no labels"
    else:
        n_classes = len(np.unique(labels))
        few = f"{n_classes} classes of {n} pairs: it needs two, and several pairs of some"
    if labels is not None and 1 < n_classes < n:
        clusters = k_means(both, n_classes, rng)
        classes = np.tile(labels, 2)
        v_measure = float(v_measure_score(classes, clusters))
        class_ari = float(adjusted_rand_score(classes, clusters))
    of_classes = Fixed(
        value=v_measure,
        unit="ratio",
        n=2 * n,
        reason=f"{reason} ({n_classes} clusters, one per class)",
        higher_is_better=True,
    )
    return {
        "modality_ari": _unless_nan(of_modalities, "it needs two pairs"),
        "clustering_v_measure": _unless_nan(of_classes, few),
        "clustering_ari": _unless_nan(replace(of_classes, value=class_ari, chance=0.0), few),
    }


def k_means(vectors: Vectors, k: int, rng: np.random.Generator) -> Rows:
    """Return the cluster of each vector: the best of ten starts, or of one for more than ten clusters.

    It takes one thread: with several, sums are rounded in another order, and a vector between two centres may change
    sides.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**32))
    starts = 10 if k <= 10 else 1
    with threadpool_limits(1), catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # of fewer distinct vectors than clusters
        labels = KMeans(k, n_init=starts, random_state=seed).fit_predict(vectors.astype(np.float64))
    return np.asarray(labels, np.int64)


def _unless_nan(measure: Fixed, few: str) -> Fixed:
    """Return a measure, or an undefined one for too few pairs if its value is NaN."""
    if measure.value is None or isnan(measure.value):
        return replace(measure, value=None, n=0, chance=None, reason=few)
    return measure


SAMPLED_IMAGES = 2_000
"""Images, a seeded sample of a larger set, with at most ``CAPTIONS_EACH`` captions each: cosines are n²."""
CAPTIONS_EACH = 2


PairKind = MatchCounts | str
"""Counts of a kind of pair, or the reason why there are none."""


def calibration(
    images: Vectors, texts: Vectors, *, text_image: Rows, labels: Rows | None, rng: np.random.Generator
) -> tuple[Measures, Curves]:
    """Return the similarity calibration errors, and P(match | cosine) of each kind as a curve.

    A match of image and text is an image and a caption of it. A match of two texts is two captions of one image if any
    image has several, otherwise captions of two images with the same label. A match of two images is two images with
    the same label. A label is a wider relation than a caption: part of the error is due to that, not to the model, but
    models on the same data share the relations.

    ``similarity_calibration_error`` is the mean over kinds, ``image_text_calibration_error`` and so on are of one
    (see ``metrics.similarity_calibration``). A kind without matches is undefined, with the reason; so are all, unless
    image-text and another are there.

    Args:
        images: unit vectors, of all images.
        texts: unit vectors, of all captions.
        text_image: row of each caption's image. Every image has a caption.
        labels: labels of the images, if they have any.
        rng: draws the images if there are more than ``SAMPLED_IMAGES``.
    """
    chosen, captions = _sample(len(images), text_image, rng)
    row_in_sample = np.full(len(images), -1, np.int64)
    row_in_sample[chosen] = np.arange(len(chosen))
    images, texts, owners = images[chosen], texts[captions], row_in_sample[text_image[captions]]
    labels = None if labels is None else labels[chosen]
    image_text = match_counts(images, texts, left_groups=np.arange(len(images)), right_groups=owners)
    text_groups = None if labels is None else labels[owners]
    if len(texts) > len(images):  # captions of one image match, which is a narrower relation than a label
        text_groups = owners
    kinds = {
        "image_text": _counts_or_reason(image_text),
        "text_text": _within_modality(texts, text_groups, "no image has several captions, and the data has no labels"),
        "image_image": _within_modality(images, labels, "the data has no labels"),
    }
    counts = {name: kind for name, kind in kinds.items() if not isinstance(kind, str)}
    probabilities = match_probabilities(counts) if counts else None
    measures = define(_measures(kinds, counts, probabilities), METRICS)
    return measures, {} if probabilities is None else _curves(probabilities)


def _sample(n_images: int, text_image: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows of some images, and of the first captions of each."""
    chosen = sample_rows(np.arange(n_images), SAMPLED_IMAGES, rng)
    order = np.argsort(text_image, kind="stable")
    owners = text_image[order]
    number = np.arange(len(order)) - np.searchsorted(owners, owners)  # of a caption among those of its image
    is_kept = (number < CAPTIONS_EACH) & np.isin(owners, chosen)
    return chosen, np.sort(order[is_kept])


def _within_modality(vectors: Vectors, groups: Rows | None, reason: str) -> PairKind:
    if groups is None:
        return reason
    return _counts_or_reason(match_counts(vectors, vectors, left_groups=groups, right_groups=groups, is_same=True))


def _counts_or_reason(counts: MatchCounts) -> PairKind:
    n_matches, n_others = int(counts.matches.sum()), int(counts.non_matches.sum())
    return counts if n_matches and n_others else f"it needs matches and non-matches: got {n_matches} and {n_others}"


def _measures(
    kinds: Mapping[str, PairKind], counts: Mapping[str, MatchCounts], probabilities: MatchProbabilities | None
) -> Measures:
    missing = {name: kind for name, kind in kinds.items() if isinstance(kind, str)}
    if probabilities is None or "image_text" not in counts or len(counts) < 2:
        causes = "; ".join(f"{_words(name)}: {reason}" for name, reason in missing.items())
        general = f"it compares image-text with other kinds of pairs ({causes})"
        reasons = {"similarity": general, **dict.fromkeys(kinds, general), **missing}
        return {
            f"{name}_calibration_error": undefined(reason, higher_is_better=False) for name, reason in reasons.items()
        }
    n_matches = {name: int(pair_counts.matches.sum()) for name, pair_counts in counts.items()}
    noise = expected_noise(n_matches)
    mean_noise = sum(noise.values()) / len(noise)
    kinds_in_words = ", ".join(_words(name) for name in counts)
    mean = _calibration_error(probabilities.error, min(n_matches.values()), mean_noise, f"mean over {kinds_in_words}")
    measures: Measures = {"similarity_calibration_error": mean}
    for name in kinds:
        if name in missing:
            measure = undefined(missing[name], higher_is_better=False)
        else:
            basis = f"{n_matches[name]:,} matches, against all of {kinds_in_words}"
            measure = _calibration_error(probabilities.errors[name], n_matches[name], noise[name], basis)
        measures[f"{name}_calibration_error"] = measure
    return measures


SERIES: SeriesStyles = {
    "image_text": ("image–text", "ink"),
    "text_text": ("text–text", "text"),
    "image_image": ("image–image", "image"),
}
"""Name and role of the curve of each kind of pairs."""


def _curves(probabilities: MatchProbabilities) -> Curves:
    curves = {}
    for name, (series, role) in SERIES.items():
        if name not in probabilities.probability:
            continue
        cosine, probability = probabilities.cosine[name], probabilities.probability[name]
        is_defined = ~np.isnan(probability)
        curves[f"match_by_cosine_{name}"] = Curve(
            x=cosine[is_defined].tolist(),
            y=probability[is_defined].tolist(),
            x_label="cosine",
            y_label="probability of a match",
            unit="fraction",
            figure="matches",
            series=series,
            role=role,
        )
    return curves


def _calibration_error(value: float, n: int, noise: float, basis: str) -> Fixed:
    expected = f"kinds with the same P would show at least {noise:.2g} by noise"
    reason = f"no interval: the bootstrap duplicates images, which biases this metric ({basis}, where {expected})"
    return Fixed(value=value, n=n, reason=reason, higher_is_better=False)


def _words(kind: str) -> str:
    return kind.replace("_", "-")
