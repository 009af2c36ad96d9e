"""Curves of the modality gap: distributions of cosines, the spectrum of the gap, and gap and recall by ablation.

A curve without points is left out, since strict JSON has no NaN.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench import metrics
from clipbench.metrics import GapSpectrum, SeparabilityByDimensions
from clipbench.results.record import Curve

Vectors = Float32[np.ndarray, "n dim"]


def cosine_curves(images: Vectors, texts: Vectors, pair_cosines: Float64[np.ndarray, " n_pairs"]) -> dict[str, Curve]:
    """Return the share of cosines in each bin: of two images, two texts, an image and another's text, and of pairs.

    Args:
        images: unit vectors of the pairs that all cosines are taken of.
        texts: unit vectors; row i belongs to image i.
        pair_cosines: of all pairs, which may be more.
    """
    counts = metrics.cosine_counts(images, texts)
    counts = counts._replace(pair=metrics.cosine_histogram(pair_cosines))
    return {f"cosines_{kind}": curve for kind, of_kind in counts._asdict().items() for curve in distribution(of_kind)}


def spectrum_curves(spectrum: GapSpectrum) -> dict[str, Curve]:
    """Return the mean differences by rank, and the share of the squared gap that the first ones carry."""
    ranks = np.arange(1, len(spectrum.dimensions) + 1)
    label = "dimensions, the largest mean difference first"
    curves = {"gap_spectrum": _curve(ranks, spectrum.mean_differences, label, "mean difference")}
    if spectrum.n_carrying() is not None:
        curves["gap_share_by_dimensions"] = _curve(ranks, spectrum.shares, label, "share of the squared gap")
    return curves


def ablation_curves(images: Vectors, texts: Vectors) -> dict[str, Curve]:
    """Return the gap and recall@1 both ways by the number of dimensions removed; no recall for a single pair."""
    ablations = metrics.ablations(images, texts)
    columns: dict[str, list[float]] = {"gap": [ablation.gap for ablation in ablations]}
    if len(images) > 1:
        columns["image_retrieval_recall@1"] = [ablation.image_recall for ablation in ablations]
        columns["text_retrieval_recall@1"] = [ablation.text_recall for ablation in ablations]
    removed = np.array([ablation.n_removed for ablation in ablations])
    label = "dimensions removed, the largest mean difference first"
    return _present({f"{name}_by_ablation": _curve(removed, y, label, name) for name, y in columns.items()})


def separability_curve(by_dimensions: SeparabilityByDimensions) -> dict[str, Curve]:
    """Return held-out accuracy by the number of dimensions kept."""
    label = "dimensions kept, the largest mean difference first"
    return _present(
        {"separability_by_dimensions": _curve(by_dimensions.ks, by_dimensions.accuracies, label, "held-out accuracy")}
    )


def distribution(counts: Int64[np.ndarray, " n_bins"], label: str = "cosine") -> list[Curve]:
    """Return the shares of a histogram between its first and last non-empty bin; no curve of an empty one."""
    nonempty = np.flatnonzero(counts)
    if not len(nonempty):
        return []
    bins = slice(nonempty[0], nonempty[-1] + 1)
    return [_curve(metrics.bin_middles(len(counts))[bins], counts[bins] / counts.sum(), label, "share")]


def _curve(x: np.ndarray, y: np.ndarray | list[float], x_label: str, y_label: str) -> Curve:
    return Curve(
        x=np.asarray(x, np.float64).tolist(),
        y=np.asarray(y, np.float64).tolist(),
        x_label=x_label,
        y_label=y_label,
    )


def _present(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if curve.x}
