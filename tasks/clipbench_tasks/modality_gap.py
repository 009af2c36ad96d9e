"""The modality gap: do pictures and texts share one space, or sit in two cones?

All measures are taken on unit vectors of pairs, each picture with its first caption (Liang et al. 2022 take one
caption a picture). What is a mean over pairs, or a smooth function of such means, has an interval from the pairs'
influence on it; hubness has none, because resampled vectors have other neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from clipbench import metrics
from clipbench.arrays import unit
from clipbench.data.dataset import Dataset
from clipbench.measures import Fixed, Mean, Measure, Smooth
from clipbench.metrics import Estimate, Hubness
from clipbench.task import Embedder, Evaluation

Vectors = Float32[np.ndarray, "n dim"]


@dataclass(frozen=True)
class ModalityGap:
    """Gap, cones, alignment, uniformity, effective rank, separability and hubness of pairs."""

    name: ClassVar[str] = "modality-gap"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "gap and cones of image and text vectors, alignment, separability, hubness"

    pairwise_sample: int = 10_000
    """Pairs, a seeded sample of a larger set, for what costs n²: uniformity and hubness; and for separability."""
    hub_k: int = 10
    """Neighbours that count as retrieved in hubness."""

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row a pair. Needs captions."""
        dataset.require("captions", "caption_image")
        assert dataset.captions is not None and dataset.caption_image is not None
        rows, first = np.unique(dataset.caption_image, return_index=True)
        images = unit(embedder.images([dataset.images[row] for row in rows]))
        texts = unit(embedder.texts([dataset.captions[row] for row in first]))
        samples: dict[str, np.ndarray] = {
            "sample_id": np.array([dataset.image_ids[row] for row in rows], object),
            "image": rows,
        }
        measures = _linear_measures(images, texts, samples)
        chosen = self._chosen(len(images), rng)
        measures |= self._pairwise_measures(images, texts, samples, chosen=chosen, rng=rng)
        notes = [f"{len(images):,} pairs: each image with its first caption"]
        if len(chosen) < len(images):
            notes.append(f"uniformity, hubness and separability on a seeded sample of {len(chosen):,} pairs")
        return Evaluation(
            samples=samples, measures=measures, vectors={"images": images, "texts": texts}, notes=tuple(notes)
        )

    def _chosen(self, n: int, rng: np.random.Generator) -> Int64[np.ndarray, " n_chosen"]:
        if n <= self.pairwise_sample:
            return np.arange(n)
        return np.sort(rng.choice(n, self.pairwise_sample, replace=False))

    def _pairwise_measures(
        self,
        images: Vectors,
        texts: Vectors,
        samples: dict[str, np.ndarray],
        *,
        chosen: Int64[np.ndarray, " n_chosen"],
        rng: np.random.Generator,
    ) -> dict[str, Measure]:
        """Return what costs n², adding its columns to the table: NaN for pairs that were not chosen."""
        x, y = images[chosen], texts[chosen]
        samples["separability"] = _spread_out(metrics.separability(x, y, rng), chosen, len(images))
        estimates = {"image_uniformity": metrics.uniformity(x), "text_uniformity": metrics.uniformity(y)}
        filled = {
            name: Estimate(estimate.value, _spread_out(estimate.influence, chosen, len(images)))
            for name, estimate in estimates.items()
        }
        return {
            "separability": Mean(column="separability", chance=0.5, higher_is_better=None),
            **_smooth(filled, samples, unit="nats"),
            **_hub_measures("image", metrics.hubness(y, x, self.hub_k), len(x)),
            **_hub_measures("text", metrics.hubness(x, y, self.hub_k), len(x)),
        }


def _linear_measures(images: Vectors, texts: Vectors, samples: dict[str, np.ndarray]) -> dict[str, Measure]:
    """Return what costs O(n d), adding its columns to the table."""
    samples["pair_cosine"] = metrics.pair_cosine(images, texts)
    samples["alignment"] = metrics.alignment(images, texts)
    samples["l2i"] = metrics.l2i(images, texts)
    cones = {"image_cone": metrics.cone(images), "text_cone": metrics.cone(texts)}
    ranks = {
        "image_effective_rank": metrics.effective_rank(images),
        "text_effective_rank": metrics.effective_rank(texts),
    }
    return {
        **_smooth({"gap": metrics.modality_gap(images, texts)}, samples, unit="distance"),
        **_smooth(cones, samples, unit="cosine"),
        "pair_cosine": Mean(column="pair_cosine", unit="cosine", higher_is_better=True),
        "alignment": Mean(column="alignment", unit="squared distance", higher_is_better=False),
        "l2i": Mean(column="l2i", unit="distance", higher_is_better=None),
        **_smooth({"rmg": metrics.rmg(images, texts)}, samples, unit="ratio"),
        **_smooth(ranks, samples, unit="dimensions"),
    }


def _smooth(estimates: Mapping[str, Estimate], samples: dict[str, np.ndarray], *, unit: str) -> dict[str, Measure]:
    """Return measures of estimates, adding their influences to the table."""
    measures: dict[str, Measure] = {}
    for name, (value, influence) in estimates.items():
        if isnan(value):
            measures[name] = Fixed(value=None, unit=unit, reason="it needs at least two pairs that are not all equal")
            continue
        samples[f"{name}_influence"] = influence
        measures[name] = Smooth(value=value, influence=f"{name}_influence", unit=unit)
    return measures


def _hub_measures(modality: str, found: Hubness, n: int) -> dict[str, Measure]:
    values = {
        f"{modality}_hub_skewness": (found.skewness, "skewness"),
        f"{modality}_largest_hub": (found.largest_hub, "fraction"),
        f"{modality}_never_retrieved": (found.never_retrieved, "fraction"),
    }
    return {name: _hub_measure(value, unit, n) for name, (value, unit) in values.items()}


def _hub_measure(value: float, unit: str, n: int) -> Measure:
    if isnan(value):
        reason = "fewer pairs than neighbours, or all are retrieved equally often"
        return Fixed(value=None, unit=unit, reason=reason, higher_is_better=False)
    reason = "no interval: resampled vectors have other neighbours"
    return Fixed(value=value, unit=unit, n=n, reason=reason, higher_is_better=False)


def _spread_out(values: np.ndarray, rows: Int64[np.ndarray, " n_chosen"], n: int) -> np.ndarray:
    out = np.full(n, np.nan)
    out[rows] = values
    return out
