"""How near vectors are to each other within and across the modalities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure, spread
from clipbench_reports.svg import WIDTH, Axis, Plot, element, nice_axis, path, text

BINS = 200
"""Over [-1, 1], counted in one pass; drawn over the range that is used."""
ROW, RISE = 74, 40
"""Distance between the feet of two distributions, and the height of each, in pixels."""
BLOCK = 512
MAX_PAIRS = 2000
"""Of a run that kept all its vectors, evenly spread rows stand for the rest."""


class Distribution(NamedTuple):
    """Counts of cosines over ``BINS`` equal bins of [-1, 1]."""

    label: str
    css: str
    counts: Int64[np.ndarray, " bins"]
    mean: float


def cosines(evidence: Evidence) -> Figure:
    """Return the distributions of cosines between images, between texts, of pairs, and of images with other texts.

    Raises:
        Lacking: the run kept no vectors, or fewer than two pairs.
    """
    images, texts = pairs(evidence)
    rows = [
        _within("image – image", "image", images),
        _within("text – text", "text", texts),
        _paired(images, texts),
        _unpaired(images, texts),
    ]
    plot = ridge_plot(rows)
    means = ", ".join(f"{row.label} {fmt.significant(row.mean)}" for row in rows)
    return figure(
        f"A true pair has cosine {fmt.significant(rows[2].mean)} on average, an image and another text "
        f"{fmt.significant(rows[3].mean)}.",
        [plot.frame(), *(ridge(plot, place, row) for place, row in enumerate(rows))],
        height=plot.height,
        reading=f"Cosines between the vectors of {fmt.count(len(images))} pairs, each distribution scaled to the same "
        "height; the tick is its mean. Vectors of one kind that lie nearer to each other than to their own partner "
        "are what is called the modality gap.",
        detail=f"Mean cosines: {means}.",
    )


def pairs(evidence: Evidence) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n dim"]]:
    """Return the kept unit vectors of images and of their texts, at most ``MAX_PAIRS``.

    Raises:
        Lacking: there are fewer than two pairs, or the two do not fit together.
    """
    images, texts = (evidence.array(name).astype(np.float32) for name in ("images", "texts"))
    if images.ndim != 2 or images.shape != texts.shape or len(images) < 2:
        raise Lacking(f"the kept vectors have shapes {images.shape} and {texts.shape}, expected two or more pairs")
    rows = spread(len(images), MAX_PAIRS)
    return images[rows], texts[rows]


def _within(label: str, css: str, vectors: Float32[np.ndarray, "n dim"]) -> Distribution:
    """Return the cosines of each vector with every other one."""
    counts, total = _products(vectors, vectors)
    own = np.clip(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64), -1, 1)
    n = len(vectors)
    return Distribution(label, css, counts - bin_counts(own), (total - float(own.sum())) / (n * n - n))


def _paired(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Distribution:
    own = np.einsum("ij,ij->i", images, texts, dtype=np.float64)
    return Distribution("true pair", "pair", bin_counts(own), float(own.mean()))


def _unpaired(images: Float32[np.ndarray, "n dim"], texts: Float32[np.ndarray, "n dim"]) -> Distribution:
    counts, total = _products(images, texts)
    own = np.einsum("ij,ij->i", images, texts, dtype=np.float64)
    n = len(images)
    return Distribution("image – other text", "ink", counts - bin_counts(own), (total - float(own.sum())) / (n * n - n))


def _products(
    left: Float32[np.ndarray, "n dim"], right: Float32[np.ndarray, "n dim"]
) -> tuple[Int64[np.ndarray, " bins"], float]:
    """Return the counts and the sum of all dot products, block by block."""
    counts, total = np.zeros(BINS, np.int64), 0.0
    columns = right.astype(np.float64).T
    for start in range(0, len(left), BLOCK):
        scores = left[start : start + BLOCK].astype(np.float64) @ columns
        counts += bin_counts(scores.ravel())
        total += float(scores.sum())
    return counts, total


def bin_counts(scores: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " bins"]:
    """Return how many cosines fall into each of the ``BINS`` bins."""
    places = np.clip(((scores + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    return np.bincount(places, minlength=BINS)


def ridge_plot(rows: list[Distribution]) -> Plot:
    """Return the plane that distributions are drawn in, one below the other, over the range that is used."""
    used = np.flatnonzero(sum(np.maximum(row.counts, 0) for row in rows))
    edges = np.linspace(-1, 1, BINS + 1)
    axis = nice_axis([float(edges[used[0]]), float(edges[used[-1] + 1])], "Cosine")
    feet = Axis(low=len(rows), high=0, ticks=())
    return Plot(x=axis, y=feet, height=12 + ROW * len(rows) + 46, left=16)


def ridge(plot: Plot, place: int, row: Distribution) -> str:
    """Return a distribution as the outline of a hill, with its name and its mean."""
    xs, heights = _outline(row.counts, plot)
    _, foot = plot.at(plot.x.low, place + 1)
    foot -= 2
    points = [(plot.at(x, 0)[0], foot - RISE * height) for x, height in zip(xs, heights, strict=True)]
    start, stop = (points[0][0], foot), (points[-1][0], foot)
    mean, _ = plot.at(row.mean, 0)
    parts = [
        element("path", d=f"M{plot.left} {foot}H{WIDTH - plot.right}", css="grid"),
        element("path", d=path([start, *points, stop]) + "Z", css=f"hill {row.css}"),
        element("path", d=f"M{mean:.1f} {foot - RISE - 3:.1f}V{foot:.1f}", css=f"line {row.css}"),
        text(f"{row.label}  {fmt.significant(row.mean)}", plot.left, foot - RISE - 10, css=f"name {row.css}"),
    ]
    return element("g", *parts)


def _outline(counts: Int64[np.ndarray, " bins"], plot: Plot) -> tuple[list[float], list[float]]:
    """Return the smoothed heights over the drawn range, at most 1."""
    edges = np.linspace(-1, 1, BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    kernel = np.array([1, 2, 1]) / 4
    smooth = np.convolve(counts.astype(np.float64), kernel, mode="same")
    shown = (middles >= plot.x.low) & (middles <= plot.x.high)
    heights = smooth[shown] / max(float(smooth.max()), 1.0)
    return middles[shown].tolist(), heights.tolist()
