"""The modality gap: do images and texts share one space, or sit in two cones?

All measures are computed on unit vectors of pairs, each image with its first caption (Liang et al. 2022 take one
caption an image); RMG uses all captions, and calibration two of each image. Means over pairs, and smooth functions of
them, have an interval from the pairs' influence; other measures have none, with the reason. docs/modality-gap.md
defines each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench import metrics
from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.errors import DataError, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import Estimate, Hubness
from clipbench.metrics.neighbourhood import DIMENSION_SAMPLE
from clipbench.metrics.similarity import row_blocks
from clipbench.models.encoding.unit_vectors import unit_vectors
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Smooth, define
from clipbench_tasks.gaps import gap_measure
from clipbench_tasks.modality_gap.calibration import CAPTIONS_EACH, SAMPLED_IMAGES, calibration
from clipbench_tasks.modality_gap.curves import ablation_curves, cosine_curves, separability_curve, spectrum_curves
from clipbench_tasks.modality_gap.shift import correction_curves, rescoring, shift_curves
from clipbench_tasks.modality_gap.structure import METRICS as STRUCTURE
from clipbench_tasks.modality_gap.structure import conformity_curves, norm_measures, structure_measures

Vectors = Float32[np.ndarray, "n dim"]
Rows = Int64[np.ndarray, " n_rows"]
Table = dict[str, np.ndarray]

METRICS = {
    "gap": Definition(
        "Modality gap (distance of the centroids)",
        "Euclidean distance between the mean image vector and the mean text vector.",
        is_headline=True,
    ),
    "gap_if_none": Definition(
        "Gap of one common centroid",
        "Distance of the mean vectors that as many pairs would show if the modalities had one centroid, by noise alone.",
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
        "Share of held-out vectors that a linear classifier names image or text correctly; 50 % is no gap.",
        is_headline=True,
    ),
    "separability_dimensions": Definition(
        "Dimensions needed to separate the modalities",
        "Fewest dimensions, those with the most of the gap first, on which a linear classifier separates the modalities.",
    ),
    "image_uniformity": Definition(
        "Uniformity of image vectors", "Logarithm of the mean Gaussian potential of two images."
    ),
    "text_uniformity": Definition(
        "Uniformity of text vectors", "Logarithm of the mean Gaussian potential of two texts."
    ),
    "cross_uniformity": Definition(
        "Cross-modal uniformity", "Logarithm of the mean Gaussian potential of an image and the text of another."
    ),
    **{
        f"{side}_{name}": Definition(f"{title} of {side} vectors", description)
        for side in ("image", "text")
        for name, title, description in (
            ("effective_rank", "Effective rank", "Exponential of the entropy of the spectrum of the covariance."),
            (
                "participation_ratio",
                "Participation ratio",
                "Squared sum of the covariance's eigenvalues over their sum of squares.",
            ),
            ("isoscore", "IsoScore", "Share of dimensions that are used evenly: 1 is isotropic, 0 a single direction."),
        )
    },
}

METRICS |= STRUCTURE

UNEQUAL = "it needs at least two pairs that are not all equal"


class PairVectors(NamedTuple):
    """Images that have captions, each with its first; and all captions."""

    rows: Rows
    """Rows of the images in the data set."""
    first: Rows
    """Row, in the data set, of each image's first caption."""
    images: Vectors
    texts: Vectors
    captions: Float32[np.ndarray, "n_captions dim"]
    caption_pair: Int64[np.ndarray, " n_captions"]
    """Pair that each caption belongs to."""
    lengths: Mapping[str, Float64[np.ndarray, " n"]]
    """Of the raw vectors of the pairs, by ``image`` and ``text``."""

    @property
    def has_several(self) -> bool:
        """True if some image has several captions."""
        return len(self.captions) > len(self.rows)

    def take(self, rows: Rows) -> tuple[Vectors, Vectors]:
        """Return the image and text vectors of some pairs."""
        return self.images[rows], self.texts[rows]


@dataclass(frozen=True)
class ModalityGap:
    """Gap, cones, distances, spectrum, uniformity, rank, separability, hubness, calibration, clusters; shifts, corrections."""

    name: ClassVar[str] = "modality-gap"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "gap and cones of image and text vectors, what carries the gap, and what closing it does"
    question: ClassVar[str] = "Do images and texts share one space, or does each keep to a region of its own?"
    scoring: ClassVar[str] = (
        "The gap is the distance between the mean image and the mean text vector; separability is how often a linear "
        "classifier tells the two apart on held-out vectors: 50 % would be no gap at all."
    )

    pairwise_sample: int = 10_000
    """Pairs, a seeded sample of a larger set, for what costs n² or n d²: cosines, uniformity, hubness, ranks; and for
    separability."""
    rescored_sample: int = 2_000
    """Pairs, a seeded sample of a larger set, that are scored again and again: shifts, corrections, ablation."""
    hub_k: int = 10
    """Neighbours that count as retrieved in hubness."""

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: those with a caption."""
        assert dataset.caption_image is not None, "asked of data with captions alone"
        return [dataset.images[row] for row in np.unique(dataset.caption_image).tolist()]

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row a pair. Needs captions; labels, where there are any, add accuracy and calibration."""
        pairs = _pairs(dataset, embedder)
        ids = [dataset.image_ids[row] for row in pairs.rows.tolist()]
        said = np.array(dataset.captions, object)[pairs.first]
        samples: Table = {"sample_id": np.array(ids, object), "image": pairs.rows, "caption": said}
        chosen = _chosen(np.arange(len(ids)), self.pairwise_sample, rng)
        scored = _chosen(chosen, self.rescored_sample, rng)
        rescore = rescoring(dataset, pairs.rows[scored], embedder)
        geometry = metrics.pair_geometry(pairs.images, pairs.texts)
        spectrum = metrics.gap_spectrum(geometry.gap_vector)
        by_dimensions = metrics.separability_by_dimensions(*pairs.take(chosen), rng)
        labels = None if dataset.labels is None else dataset.labels[pairs.rows]
        errors, match_curves = calibration(
            pairs.images, pairs.captions, text_image=pairs.caption_pair, labels=labels, rng=rng
        )
        noise = metrics.gap_noise(pairs.images, pairs.texts)
        measures = {
            "gap": gap_measure(geometry.modality_gap, noise, samples),
            **_linear_measures(geometry, pairs, samples),
            "gap_dimensions": _gap_dimensions(spectrum, len(ids)),
            "separability": _separability(pairs, samples, chosen, rng),
            "separability_dimensions": _separability_dimensions(by_dimensions, len(chosen)),
            **_sampled_measures(pairs, samples, chosen),
            **self._hub_measures(*pairs.take(chosen)),
            **errors,
            **norm_measures(pairs.lengths),
        }
        curves = {
            **cosine_curves(*pairs.take(chosen), geometry.pair_cosine),
            **spectrum_curves(spectrum),
            **ablation_curves(*pairs.take(scored)),
            **separability_curve(by_dimensions),
            **shift_curves(*pairs.take(scored), rescore),
            **correction_curves(*pairs.take(scored), rescore, rng),
            **match_curves,
            **conformity_curves(_conformity(geometry)),
        }
        measures |= self._structure(pairs, labels, scored, rng)
        return Evaluation(
            samples=samples,
            measures=define(measures, METRICS),
            controls=define(_level(noise, len(ids)), METRICS),
            curves=curves,
            arrays={
                "gap_vector": geometry.gap_vector,
                **({} if rescore.logit_scale is None else {"logit_scale": np.array(rescore.logit_scale)}),
            },
            vectors={"images": pairs.images, "texts": pairs.texts, "pair_id": np.array(ids)},
            notes=(*_notes(pairs, len(dataset), len(chosen), len(scored)), *rescore.notes),
        )

    def _structure(
        self, pairs: PairVectors, labels: Rows | None, rows: Rows, rng: np.random.Generator
    ) -> dict[str, Measure]:
        return structure_measures(*pairs.take(rows), None if labels is None else labels[rows], self.hub_k, rng)

    def _hub_measures(self, images: Vectors, texts: Vectors) -> dict[str, Measure]:
        by_text, by_image = metrics.hubness(texts, images, self.hub_k), metrics.hubness(images, texts, self.hub_k)
        return {**_hubs("image", by_text, len(images), self.hub_k), **_hubs("text", by_image, len(texts), self.hub_k)}


def _pairs(dataset: Dataset, embedder: Embedder) -> PairVectors:
    dataset.require("captions", "caption_image")
    assert dataset.captions is not None and dataset.caption_image is not None
    rows, first, caption_pair = np.unique(dataset.caption_image, return_index=True, return_inverse=True)
    if not len(rows):
        raise DataError(
            f"data set {dataset.id} has no caption: the modality gap is measured on images with their texts"
        )
    images, image_lengths = _with_lengths(embedder.images([dataset.images[row] for row in rows.tolist()]), embedder)
    captions, caption_lengths = _with_lengths(embedder.texts(dataset.captions), embedder)
    if (len(images), len(captions)) != (len(rows), len(dataset.captions)):
        raise DataError(
            f"the model gave {len(images):,} vectors of {len(rows):,} images and {len(captions):,} of"
            f" {len(dataset.captions):,} captions: expected one of each"
        )
    # No copy of the vectors where the captions are one an image, in the order of the images.
    texts = captions if len(captions) == len(rows) and (first == np.arange(len(rows))).all() else captions[first]
    lengths = {"image": image_lengths, "text": caption_lengths[first]}
    return PairVectors(rows, first, images, texts, captions, caption_pair, lengths)


def _with_lengths(raw: Vectors, embedder: Embedder) -> tuple[Vectors, Float64[np.ndarray, " n"]]:
    """Return vectors at unit length, and the lengths that they had."""
    lengths = np.empty(len(raw))
    for rows in row_blocks(raw):
        np.einsum("ij,ij->i", raw[rows], raw[rows], dtype=np.float64, out=lengths[rows])
    return unit_vectors(raw, embedder), np.sqrt(lengths)


def _conformity(geometry: metrics.PairGeometry) -> dict[str, Float64[np.ndarray, " n"]]:
    """Return the mean cosine of each item with all others of its modality; of a single one, nothing."""
    cones = {"image": geometry.image_cone, "text": geometry.text_cone}
    return {side: cone.value + cone.influence / 2 for side, cone in cones.items() if not isnan(cone.value)}


def _chosen(rows: Rows, at_most: int, rng: np.random.Generator) -> Int64[np.ndarray, " n_chosen"]:
    """Return a seeded sample of rows in their order, or all of them."""
    if at_most < 1:
        raise UsageError(f"a sample of {at_most} pairs: expected at least 1")
    return rows if len(rows) <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def _linear_measures(geometry: metrics.PairGeometry, pairs: PairVectors, samples: Table) -> dict[str, Measure]:
    """Return the measures that cost O(n d), and add their columns to the table."""
    samples |= {name: getattr(geometry, name) for name in ("pair_cosine", "alignment", "l2i")}
    cosines = {name: getattr(geometry, name) for name in ("image_cone", "text_cone", "cross_cosine")}
    ratios = {"rmg": geometry.rmg, "rmg_unhalved": geometry.rmg_unhalved}
    if pairs.has_several:
        of_all = metrics.relative_gaps(pairs.images, pairs.captions, pairs.caption_pair)
        ratios = {"rmg": of_all.rmg, "rmg_first_caption": geometry.rmg, "rmg_unhalved": of_all.rmg_unhalved}
    return {
        **_smooth(cosines, samples, unit="cosine"),
        # Of vectors that are all alike, both are perfect: neither has a direction alone.
        "pair_cosine": Mean(column="pair_cosine", unit="cosine", higher_is_better=None),
        "alignment": Mean(column="alignment", unit="squared distance", higher_is_better=None),
        "l2i": Mean(column="l2i", unit="distance", higher_is_better=None),
        **_smooth(ratios, samples, unit="ratio"),
    }


def _level(noise: metrics.GapNoise, n: int) -> dict[str, Measure]:
    """Return the gap that no gap would show; none for a single pair."""
    if isnan(noise.chance):
        return {}
    return {"gap_if_none": Fixed(value=noise.chance, unit="distance", n=n, reason="the gap of one common centroid")}


def _sampled_measures(pairs: PairVectors, samples: Table, chosen: Rows) -> dict[str, Measure]:
    """Return the measures that cost n² or n d², and add their columns to the table, with NaN for pairs not chosen."""
    x, y = pairs.take(chosen)
    uniformity = {
        "image_uniformity": metrics.uniformity(x),
        "text_uniformity": metrics.uniformity(y),
        "cross_uniformity": metrics.cross_uniformity(x, y),
    }
    measures = _smooth(_spread_out(uniformity, chosen, len(pairs.rows)), samples, unit="nats")
    for measure, unit_name in (
        (metrics.effective_rank, "dimensions"),
        (metrics.participation_ratio, "dimensions"),
        (metrics.isoscore, "ratio"),
    ):
        for modality, side in (("image", x), ("text", y)):
            measures[f"{modality}_{measure.__name__}"] = _rank(measure(side), x.shape, unit_name)
    return measures


def _rank(value: float, shape: tuple[int, ...], unit: str) -> Measure:
    """Return a measure of the spectrum without an interval: it is biased by more than its spread (docs/statistics.md)."""
    n, dim = shape
    if n < dim:
        reason = f"{n:,} pairs in {dim:,} dimensions: their covariance has rank {n - 1:,} at most"
        return Fixed(value=None, unit=unit, reason=reason)
    if isnan(value):
        return Fixed(value=None, unit=unit, reason="all vectors are equal, or have one dimension")
    return Fixed(value=value, unit=unit, n=n, reason="biased by the number of samples: no interval")


def _smooth(
    estimates: Mapping[str, Estimate], samples: Table, *, unit: str, reason: str = UNEQUAL
) -> dict[str, Measure]:
    """Return measures of estimates, adding their influences to the table."""
    measures: dict[str, Measure] = {}
    for name, (value, influence) in estimates.items():
        if isnan(value):
            measures[name] = Fixed(value=None, unit=unit, reason=reason)
            continue
        samples[f"{name}_influence"] = influence
        measures[name] = Smooth(value=value, influence=f"{name}_influence", unit=unit)
    return measures


def _spread_out(estimates: Mapping[str, Estimate], rows: Rows, n: int) -> dict[str, Estimate]:
    """Return estimates on some rows, with their influences in columns of n rows: NaN for the other rows."""
    return {name: Estimate(value, _column(influence, rows, n)) for name, (value, influence) in estimates.items()}


def _column(values: np.ndarray, rows: Rows, n: int) -> np.ndarray:
    out = np.full(n, np.nan)
    out[rows] = values
    return out


def _gap_dimensions(spectrum: metrics.GapSpectrum, n: int) -> Measure:
    fewest = spectrum.n_carrying()
    if fewest is None:
        return Fixed(value=None, unit="dimensions", reason="there is no gap to carry")
    reason = "no interval: noise of the means spreads over all dimensions, so that resamples need more of them"
    return Fixed(value=float(fewest), unit="dimensions", n=n, reason=reason)


def _separability(pairs: PairVectors, samples: Table, chosen: Rows, rng: np.random.Generator) -> Measure:
    credit = metrics.separability(*pairs.take(chosen), rng)
    samples["separability"] = _column(credit, chosen, len(pairs.rows))
    return Mean(column="separability", chance=0.5, higher_is_better=None)


def _separability_dimensions(by_dimensions: metrics.SeparabilityByDimensions, n: int) -> Measure:
    if by_dimensions.fewest is None:
        return Fixed(value=None, unit="dimensions", reason="it needs two pairs, one to train on and one to hold out")
    n_used = min(n, DIMENSION_SAMPLE)
    reason = "no interval: a resample would hold out pairs that it trains on"
    return Fixed(value=float(by_dimensions.fewest), unit="dimensions", n=n_used - n_used // 2, reason=reason)


def _hubs(modality: str, hubness: Hubness, n: int, k: int) -> dict[str, Measure]:
    measures = {
        f"{modality}_hub_skewness": _hub_measure(hubness.skewness, "skewness", n, k),
        f"{modality}_largest_hub": _hub_measure(hubness.largest_hub, "fraction", n, k),
        f"{modality}_never_retrieved": _hub_measure(hubness.never_retrieved, "fraction", n, k),
    }
    return define(measures, hub_definitions(modality, k))


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


def _hub_measure(value: float, unit: str, n: int, k: int) -> Measure:
    if isnan(value):
        reason = f"{n} pairs, fewer than the {k} neighbours that count" if n < k else "all are retrieved equally often"
        return Fixed(value=None, unit=unit, reason=reason, higher_is_better=False)
    reason = "no interval: resampled vectors have other neighbours"
    return Fixed(value=value, unit=unit, n=n, reason=reason, higher_is_better=False)


def _notes(pairs: PairVectors, n_images: int, n_chosen: int, n_scored: int) -> list[str]:
    """Return notes on the pairs that each measure was computed on."""
    n = len(pairs.rows)
    notes = [f"{n:,} pairs: each image with its first caption"]
    if n < n_images:
        notes.append(f"images left out, as they have no caption: {n_images - n:,}")
    if pairs.has_several:
        notes.append(
            f"rmg and rmg_unhalved look at all captions ({len(pairs.captions):,}), calibration at the first"
            f" {CAPTIONS_EACH} of each image"
        )
    if n_chosen < n:
        notes.append(
            "uniformity, hubness, separability, ranks, IsoScore and the distributions of cosines on a seeded sample of"
            f" {n_chosen:,} pairs"
        )
    if n_scored < n:
        notes.append(f"ablation, shifts and corrections on a seeded sample of {n_scored:,} pairs")
    if n > SAMPLED_IMAGES:
        notes.append(f"similarity calibration on a seeded sample of {SAMPLED_IMAGES:,} images")
    return notes
