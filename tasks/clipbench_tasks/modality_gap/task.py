"""The modality gap: do images and texts share one space, or sit in two cones?

All measures are computed on unit vectors of pairs, each image with its first caption (Liang et al. 2022 take one
caption per image). RMG uses all captions, and calibration two per image. Means over pairs, and smooth functions of
them, have an interval from the pairs' influence. Other measures have none, with the reason. docs/tasks/modality-gap.md
defines each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.errors import DataError, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics import spread
from clipbench.metrics.geometry import Estimate, PairGeometry, gap_noise, pair_geometry, relative_gaps
from clipbench.metrics.probes import (
    DIMENSION_SAMPLE,
    SeparabilityByDimensions,
    separability,
    separability_by_dimensions,
)
from clipbench.metrics.similarity import row_blocks
from clipbench.metrics.spectrum import GapSpectrum, ablations, gap_spectrum
from clipbench.models.protocol import Embedder
from clipbench.results.record import Curve
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Measures, define, undefined
from clipbench_tasks.modality_gap import structure
from clipbench_tasks.modality_gap.shift import correction_curves, rescoring, shift_curves
from clipbench_tasks.tables import (
    Column,
    Columns,
    Curves,
    Rows,
    SeriesStyles,
    Table,
    Vectors,
    captions_of,
    column_at_rows,
    gap_measure,
    items_at,
    sample_rows,
    smooth_measure,
    text_column,
)

METRICS = {
    "gap": Definition(
        "Modality gap (distance of the centroids)",
        "Euclidean distance between the mean image embedding and the mean text embedding.",
        is_headline=True,
    ),
    "gap_if_none": Definition(
        "Gap of one common centroid",
        "Distance of the mean vectors that the same number of pairs would show by noise, if the modalities had one"
        " centroid.",
        "gap",
    ),
    "image_cone": Definition("Mean image–image cosine", "Mean cosine of two different images."),
    "text_cone": Definition("Mean text–text cosine", "Mean cosine of two different texts."),
    "cross_cosine": Definition(
        "Mean cosine of unmatched pairs", "Mean cosine of an image and the text of another image."
    ),
    "pair_cosine": Definition("Mean cosine of matched pairs", "Mean cosine of an image and its text."),
    "alignment": Definition("Alignment", "Mean squared distance of an image and its text."),
    "l2i": Definition("Mean distance of matched pairs (L2I)", "Mean distance of an image and its text."),
    "rmg": Definition(
        "Relative modality gap", "Distance of matched pairs relative to itself and the distances within each modality."
    ),
    "rmg_first_caption": Definition(
        "Relative modality gap, first captions", "Relative modality gap with the first caption of each image."
    ),
    "rmg_unhalved": Definition(
        "Relative modality gap, not halved", "A variant in other code: distances within modalities count whole."
    ),
    "gap_dimensions": Definition(
        "Dimensions that carry 90 % of the gap", "Fewest dimensions with 90 % of the squared distance of the centroids."
    ),
    "separability": Definition(
        "Linear separability of the modalities",
        "Fraction of held-out vectors that a linear classifier names image or text correctly: 50 % without a gap.",
        is_headline=True,
    ),
    "separability_dimensions": Definition(
        "Dimensions needed to separate the modalities",
        "Fewest dimensions, those with the most of the gap first, on which a linear classifier separates the"
        " modalities.",
    ),
    "image_uniformity": Definition(
        "Uniformity of image embeddings", "Logarithm of the mean Gaussian potential of two images."
    ),
    "text_uniformity": Definition(
        "Uniformity of text embeddings", "Logarithm of the mean Gaussian potential of two texts."
    ),
    "cross_uniformity": Definition(
        "Cross-modal uniformity", "Logarithm of the mean Gaussian potential of an image and the text of another."
    ),
}
SPREADS = {
    "effective_rank": Definition(
        "Effective rank",
        "Exponential of the entropy of the singular values of the centred vectors, divided by their sum.",
    ),
    "participation_ratio": Definition(
        "Participation ratio", "Squared sum of the covariance's eigenvalues over their sum of squares."
    ),
    "isoscore": Definition(
        "IsoScore", "Fraction of dimensions that are used evenly: 1 is isotropic, 0 a single direction."
    ),
}
"""Metrics of the images' vectors, and of the texts'."""
METRICS |= {
    f"{side}_{name}": replace(definition, title=f"{definition.title} of {side} vectors")
    for side in ("image", "text")
    for name, definition in SPREADS.items()
}
METRICS |= structure.METRICS


class PairVectors(NamedTuple):
    """Images that have captions, each with its first, and all captions."""

    rows: Rows
    """Rows of the images in the data set."""
    first: Rows
    """Row, in the data set, of each image's first caption."""
    images: Vectors
    texts: Vectors
    captions: Vectors
    caption_pair: Rows
    """Pair that each caption belongs to."""
    lengths: Columns
    """Lengths of the raw vectors of the pairs, by ``image`` and ``text``."""

    @property
    def has_several(self) -> bool:
        """True if some image has several captions."""
        return len(self.captions) > len(self.rows)


@dataclass(frozen=True)
class ModalityGap(Task):
    """Gap, cones, distances, spectrum, uniformity, rank, separability, hubness, calibration, clusters; shifts,
    corrections.
    """

    name = "modality-gap"
    version = 1
    data_form = "paraphrases"
    summary = "gap and cones of image and text embeddings, dimensions that carry the gap, and effects of closing it"
    question = "Do images and texts share one space, or does each keep to a region of its own?"
    scoring = (
        "The gap is the distance between the mean image and the mean text embedding. Separability is the accuracy of a "
        "linear classifier that separates the two on held-out vectors: 50 % without a gap."
    )

    pairwise_sample: int = 10_000
    """Pairs, a seeded sample of a larger set, for what costs n² or n d²: cosines, uniformity, hubness, ranks; and for
    separability."""
    rescored_sample: int = 2_000
    """Pairs, a seeded sample of a larger set, that are scored again and again: shifts, corrections, ablation."""
    hub_k: int = 10
    """Neighbours that count as retrieved in hubness."""

    def __post_init__(self) -> None:
        for name in ("pairwise_sample", "rescored_sample", "hub_k"):
            if getattr(self, name) < 1:
                raise UsageError(f"task modality-gap: {name} = {getattr(self, name)}, expected 1 or more")

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: those with a caption."""
        return items_at(dataset.images, np.unique(captions_of(dataset)[1]))

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions."""
        dataset.require("captions", "caption_image")
        if not dataset.captions:
            raise DataError(
                f"data set {dataset.id} has no caption: the modality gap is measured on images with their texts"
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per pair. Needs captions. Labels, if there are any, add accuracy and calibration."""
        pairs = _pairs(dataset, embedder)
        x, y, n = pairs.images, pairs.texts, len(pairs.rows)
        ids = items_at(dataset.image_ids, pairs.rows)
        first_captions = text_column(captions_of(dataset)[0])[pairs.first]
        samples: Table = {"sample_id": text_column(ids), "image": pairs.rows, "caption": first_captions}
        chosen = sample_rows(np.arange(n), self.pairwise_sample, rng)
        scored = sample_rows(chosen, self.rescored_sample, rng)
        pairwise, rescored = (x[chosen], y[chosen]), (x[scored], y[scored])
        rescore = rescoring(dataset, pairs.rows[scored], embedder)
        geometry, noise = pair_geometry(x, y), gap_noise(x, y)
        spectrum = gap_spectrum(geometry.gap_vector)
        by_dimensions = separability_by_dimensions(*pairwise, rng)
        labels = None if dataset.labels is None else dataset.labels[pairs.rows]
        errors, match_curves = structure.calibration(
            x, pairs.captions, text_image=pairs.caption_pair, labels=labels, rng=rng
        )
        samples["separability"] = column_at_rows(separability(*pairwise, rng), chosen, n)
        measures = {
            "gap": gap_measure(geometry.modality_gap, noise, samples),
            **_linear_measures(geometry, pairs, samples),
            "gap_dimensions": _gap_dimensions(spectrum, n),
            "separability": Mean(column="separability", chance=0.5, higher_is_better=None),
            "separability_dimensions": _separability_dimensions(by_dimensions, len(chosen)),
            **_sampled_measures(*pairwise, chosen, samples),
            **structure.hub_measures(*pairwise, self.hub_k),
            **errors,
            **structure.norm_measures(pairs.lengths),
        }
        curves = {
            **_cosine_curves(*pairwise, geometry),
            **_spectrum_curves(spectrum),
            **_ablation_curves(*rescored),
            **_separability_curve(by_dimensions),
            **shift_curves(*rescored, rescore),
            **correction_curves(*rescored, rescore, rng),
            **match_curves,
            **_conformity_curves(geometry),
        }
        scored_labels = None if labels is None else labels[scored]
        measures |= structure.structure_measures(*rescored, scored_labels, self.hub_k, rng)
        baselines: Measures = {}
        if not isnan(noise.chance):
            reason = "the gap of one common centroid"
            baselines["gap_if_none"] = Fixed(value=noise.chance, unit="distance", n=n, reason=reason)
        arrays = {"gap_vector": geometry.gap_vector}
        if rescore.logit_scale is not None:
            arrays["logit_scale"] = np.array(rescore.logit_scale)
        notes = _notes(pairs, len(dataset), len(chosen), len(scored))
        return Evaluation(
            samples=samples,
            inputs={"caption": "caption"},
            measures=define(measures, METRICS),
            baselines=define(baselines, METRICS),
            curves=curves,
            arrays=arrays,
            vectors={"images": x, "texts": y, "pair_id": np.array(ids)},
            notes=(*notes, *rescore.notes),
        )


def _pairs(dataset: Dataset, embedder: Embedder) -> PairVectors:
    texts, caption_image = captions_of(dataset)
    rows, first, caption_pair = np.unique(caption_image, return_index=True, return_inverse=True)
    images, image_lengths = _with_lengths(embedder.images(items_at(dataset.images, rows)), embedder)
    captions, caption_lengths = _with_lengths(embedder.texts(texts), embedder)
    if (len(images), len(captions)) != (len(rows), len(texts)):
        raise DataError(
            f"the model gave {len(images):,} vectors for {len(rows):,} images and {len(captions):,} for"
            f" {len(texts):,} captions: expected one vector each"
        )
    # No copy of the vectors where the captions are one an image, in the order of the images.
    is_paired = len(captions) == len(rows) and (first == np.arange(len(rows))).all()
    first_captions = captions if is_paired else captions[first]
    lengths = {"image": image_lengths, "text": caption_lengths[first]}
    return PairVectors(rows, first, images, first_captions, captions, caption_pair, lengths)


def _with_lengths(raw: Vectors, embedder: Embedder) -> tuple[Vectors, Column]:
    """Return vectors at unit length, and the lengths that they had."""
    lengths = np.empty(len(raw))
    for rows in row_blocks(raw):
        np.einsum("ij,ij->i", raw[rows], raw[rows], dtype=np.float64, out=lengths[rows])
    return embedder.scoring_vectors(raw), np.sqrt(lengths)


def _linear_measures(geometry: PairGeometry, pairs: PairVectors, samples: Table) -> Measures:
    """Return the measures that cost O(n d), and add their columns to the table."""
    samples |= {name: getattr(geometry, name) for name in ("pair_cosine", "alignment", "l2i")}
    cosines = ("image_cone", "text_cone", "cross_cosine")
    ratios = {"rmg": geometry.rmg, "rmg_unhalved": geometry.rmg_unhalved}
    if pairs.has_several:
        of_all, unhalved = relative_gaps(pairs.images, pairs.captions, pairs.caption_pair)
        ratios = {"rmg": of_all, "rmg_first_caption": geometry.rmg, "rmg_unhalved": unhalved}
    return {
        **{name: smooth_measure(name, getattr(geometry, name), samples, "cosine") for name in cosines},
        # Of vectors that are all alike, both are perfect: neither has a direction alone.
        "pair_cosine": Mean(column="pair_cosine", unit="cosine", higher_is_better=None),
        "alignment": Mean(column="alignment", unit="squared distance", higher_is_better=None),
        "l2i": Mean(column="l2i", unit="distance", higher_is_better=None),
        **{name: smooth_measure(name, ratio, samples, "ratio") for name, ratio in ratios.items()},
    }


def _sampled_measures(images: Vectors, texts: Vectors, chosen: Rows, samples: Table) -> Measures:
    """Return the measures of the chosen pairs that cost n² or n d², adding columns with NaN for all other pairs."""
    measures: Measures = {}
    uniformities = {
        "image_uniformity": spread.uniformity(images),
        "text_uniformity": spread.uniformity(texts),
        "cross_uniformity": spread.cross_uniformity(images, texts),
    }
    for name, (value, influence) in uniformities.items():
        column = column_at_rows(influence, chosen, len(samples["image"]))
        measures[name] = smooth_measure(name, Estimate(value, column), samples, "nats")
    units = {spread.effective_rank: "dimensions", spread.participation_ratio: "dimensions", spread.isoscore: "ratio"}
    for measure, unit in units.items():
        for modality, side in (("image", images), ("text", texts)):
            measures[f"{modality}_{measure.__name__}"] = _rank(measure(side), side.shape, unit)
    return measures


def _rank(value: float, shape: tuple[int, ...], unit: str) -> Measure:
    """Return a measure of the spectrum without an interval: it is biased by more than its spread
    (experiments/coverage.md).
    """
    n, dim = shape
    if n < dim:
        reason = f"{n:,} pairs in {dim:,} dimensions: their covariance has rank {n - 1:,} at most"
        return undefined(reason, unit)
    if isnan(value):
        return undefined("all vectors are equal, or have one dimension", unit)
    return Fixed(value=value, unit=unit, n=n, reason="biased by the number of samples: no interval")


def _gap_dimensions(spectrum: GapSpectrum, n: int) -> Measure:
    fewest = spectrum.n_carrying()
    if fewest is None:
        return undefined("the gap is zero", "dimensions")
    reason = "no interval: the bootstrap adds noise to all dimensions, which biases this metric"
    return Fixed(value=float(fewest), unit="dimensions", n=n, reason=reason)


def _separability_dimensions(by_dimensions: SeparabilityByDimensions, n: int) -> Measure:
    if by_dimensions.fewest is None:
        return undefined("it needs two pairs, one to train on and one to hold out", "dimensions")
    n_used = min(n, DIMENSION_SAMPLE)
    reason = "no interval: the bootstrap puts copies of one pair into training and test"
    return Fixed(value=float(by_dimensions.fewest), unit="dimensions", n=n_used - n_used // 2, reason=reason)


def _notes(pairs: PairVectors, n_images: int, n_chosen: int, n_scored: int) -> list[str]:
    n = len(pairs.rows)
    notes = [f"{n:,} pairs: each image with its first caption"]
    if n < n_images:
        notes.append(f"images left out, as they have no caption: {n_images - n:,}")
    if pairs.has_several:
        notes.append(
            f"rmg and rmg_unhalved use all captions ({len(pairs.captions):,}), calibration uses the first"
            f" {structure.CAPTIONS_EACH} of each image"
        )
    if n_chosen < n:
        notes.append(
            "uniformity, hubness, separability, ranks, IsoScore and the distributions of cosines on a seeded sample of"
            f" {n_chosen:,} pairs"
        )
    if n_scored < n:
        notes.append(f"ablation, shifts and corrections on a seeded sample of {n_scored:,} pairs")
    if n > structure.SAMPLED_IMAGES:
        notes.append(f"similarity calibration on a seeded sample of {structure.SAMPLED_IMAGES:,} images")
    return notes


def _cosine_curves(images: Vectors, texts: Vectors, geometry: PairGeometry) -> Curves:
    """Return the fraction of cosines in each bin: of two images, two texts, an image and another's text, and of all
    pairs.
    """
    counts = spread.cosine_counts(images, texts) | {"pair": spread.cosine_histogram(geometry.pair_cosine)}
    curves: Curves = {}
    for kind, (series, role) in COSINES.items():
        curves |= _distribution(f"cosines_{kind}", counts[kind], figure="cosines", series=series, role=role)
    return curves


def _spectrum_curves(spectrum: GapSpectrum) -> Curves:
    """Return the mean differences by rank, and the fraction of the squared gap that the first ones carry."""
    ranks = np.arange(1, len(spectrum.dimensions) + 1)
    facts = {**SPECTRUM, "y_label": "mean difference"}
    curves = _curve("gap_spectrum", ranks, spectrum.mean_differences, **facts)
    if spectrum.n_carrying() is not None:
        series = "fraction of the squared gap"
        curves |= _curve("gap_share_by_dimensions", ranks, spectrum.shares, series=series, role="ink", **SPECTRUM)
    return curves


def _separability_curve(by_dimensions: SeparabilityByDimensions) -> Curves:
    return _curve(
        "separability_by_dimensions",
        by_dimensions.ks,
        by_dimensions.accuracies,
        series="accuracy of a linear classifier",
        role="pair",
        **SPECTRUM,
    )


def _ablation_curves(images: Vectors, texts: Vectors) -> Curves:
    """Return the gap and recall@1 both ways by the number of dimensions removed, without recall for a single pair."""
    scores_by_dimensions = ablations(images, texts)
    n_removed = np.array(list(scores_by_dimensions))
    values_of_score = zip(*scores_by_dimensions.values(), strict=True)  # in the order of ABLATED
    curves: Curves = {}
    for (name, facts), values in zip(ABLATED.items(), values_of_score, strict=False):
        if name == "gap" or len(images) > 1:
            curves |= _curve(
                f"{name}_by_ablation",
                n_removed,
                np.array(values),
                x_label="dimensions removed",
                figure="ablation",
                **facts,
            )
    return curves


def _conformity_curves(geometry: PairGeometry) -> Curves:
    """Return the fraction of items in each bin of conformity, an item's mean cosine with all others of its modality."""
    curves: Curves = {}
    for side, cone in (("image", geometry.image_cone), ("text", geometry.text_cone)):
        if not isnan(cone.value):
            counts = spread.cosine_histogram(cone.value + cone.influence / 2)
            curves |= _distribution(
                f"conformity_{side}",
                counts,
                x_label="mean cosine with all others of the modality",
                figure="conformity",
                series=f"{side}s",
                role=side,
            )
    return curves


def _distribution(name: str, counts: Rows, *, x_label: str = "cosine", **facts: Any) -> Curves:
    """Return the fractions of a histogram between its first and last non-empty bin, or no curve if it is empty."""
    nonempty = np.flatnonzero(counts)
    if not len(nonempty):
        return {}
    bins = slice(nonempty[0], nonempty[-1] + 1)
    return _curve(
        name,
        spread.bin_middles(len(counts))[bins],
        counts[bins] / counts.sum(),
        x_label=x_label,
        y_label="share",
        **facts,
    )


def _curve(name: str, x: np.ndarray, y: np.ndarray, **facts: Any) -> Curves:
    """Return a curve by its name, or none without points, since strict JSON has no NaN."""
    if not len(x):
        return {}
    return {name: Curve(x=x.astype(float).tolist(), y=y.astype(float).tolist(), **facts)}


COSINES: SeriesStyles = {
    "image": ("image–image", "image"),
    "text": ("text–text", "text"),
    "pair": ("true pair", "pair"),
    "cross": ("image–other text", "ink"),
}
"""Name and role of the distribution of each kind of cosines."""
SPECTRUM: Mapping[str, Any] = {
    "x_label": "dimensions kept",
    "y_label": "share",
    "unit": "fraction",
    "figure": "spectrum",
}
"""Common fields of the curves by dimensions, which are in the order of their mean differences."""
ABLATED: Mapping[str, Mapping[str, Any]] = {
    "gap": {"y_label": "gap", "series": "gap", "role": "ink"},
    "image_retrieval_recall@1": {
        "y_label": "recall@1",
        "unit": "fraction",
        "series": "text → image",
        "role": "image",
    },
    "text_retrieval_recall@1": {"y_label": "recall@1", "unit": "fraction", "series": "image → text", "role": "text"},
}
"""What is measured when dimensions are removed."""
