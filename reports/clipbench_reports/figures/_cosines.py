"""Distributions of cosines within and across the modalities."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Chart, Hill, Mark, Panel, Role, Rule, Words, nice_axis
from clipbench_reports.drawing.models import Panels, Statement, beside, chart
from clipbench_reports.figures._figure import why_lacking
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each

BINS = 200
"""Over [-1, 1]."""
RISE = 0.62
"""Height of a distribution, where 1 is the distance of two feet."""

COSINES: dict[str, tuple[str, Role, str]] = {
    "cosines_image": ("image–image", "image", "image_cone"),
    "cosines_text": ("text–text", "text", "text_cone"),
    "cosines_pair": ("true pair", "pair", "pair_cosine"),
    "cosines_cross": ("image–other text", "ink", "cross_cosine"),
}
"""Curves with the name, the role and the metric that is the mean of each."""


class Distribution(NamedTuple):
    """Shares of cosines over the middles of equal bins."""

    label: str
    role: Role
    xs: Sequence[float]
    shares: Sequence[float]
    mean: float


def cones(models: Sequence[ModelEvidence]) -> Chart:
    """Return the distributions of cosines between images, between texts, of pairs, and of images with other texts.

    Raises:
        MissingEvidence: no run holds such distributions.
    """
    by_model = read_each(models, lambda evidence: distributions(evidence, COSINES, "cosines"))
    return chart(
        [ridges(by_model)],
        by_model.map(_state),
        by_model,
        reading="Cosines between unit vectors, each distribution scaled to the same height; the upright stroke is its "
        "mean. Vectors of one kind that lie nearer to each other than to their own partner are what is called the "
        "modality gap.",
    )


def distributions(evidence: Evidence, curves: Mapping[str, tuple[str, Role, str]], subject: str) -> list[Distribution]:
    """Return the distributions that a run kept.

    Args:
        curves: as ``COSINES``.
        subject: the word for what is distributed.

    Raises:
        MissingEvidence: one of them is not there.
    """
    found = []
    for name, (label, role, metric_name) in curves.items():
        if name not in evidence.evaluation.curves:
            reason = why_lacking(evidence, metric_name)
            raise MissingEvidence(f"the run kept no distribution of {subject}, {label}: {reason}")
        curve, metric = evidence.curve(name), evidence.evaluation.metrics.get(metric_name)
        mean = metric.value if metric is not None and metric.value is not None else float(np.dot(curve.x, curve.y))
        found.append(Distribution(label, role, curve.x, curve.y, mean))
    return found


def ridges(by_model: ByModel[list[Distribution]]) -> Panels:
    """Return the distributions of each model below each other, over the range that any of them uses."""
    every = [each for own in by_model.values.values() for each in own]
    used = [x for each in every for x, share in zip(each.xs, each.shares, strict=True) if share > 0]
    axis = nice_axis([min(used) - 1 / BINS, max(used) + 1 / BINS], "Cosine")
    keys = dict.fromkeys(name for each in every for name in (each.label, f"{each.label}, mean"))
    return beside(by_model.map(lambda own: [_panel(own, axis)]), by_model, keys=list(keys))


def _panel(distributions: Sequence[Distribution], axis: Axis) -> Panel:
    feet = list(range(len(distributions) - 1, -1, -1))
    return Panel(
        x=axis,
        y=Axis(
            low=-0.06,
            high=len(distributions),
            ticks=[foot + 0.25 for foot in feet],
            names=[each.label for each in distributions],
        ),
        marks=[mark for foot, each in zip(feet, distributions, strict=True) for mark in _ridge(each, foot, axis)],
        aspect=0.27 * len(distributions) + 0.06,
        has_grid=False,
        is_broad=True,
    )


def binned(values: Float64[np.ndarray, " n"]) -> tuple[list[float], list[float]]:
    """Return the middles of the bins, and the share of the values in each."""
    counts, edges = np.histogram(np.clip(values, -1, 1), bins=BINS, range=(-1, 1))
    return ((edges[:-1] + edges[1:]) / 2).tolist(), (counts / max(1, counts.sum())).tolist()


def _state(distributions: Sequence[Distribution]) -> Statement:
    pair, other = (fmt.number(each.mean, "cosine") for each in distributions[2:])
    means = ", ".join(f"{each.label} {fmt.number(each.mean, 'cosine')}" for each in distributions)
    return Statement(
        title=f"A true pair has cosine {pair} on average, an image and another text {other}.",
        subject="Mean cosine of a true pair, and of an image and another text",
        value=f"{pair} and {other}",
        detail=f"Mean cosines: {means}.",
    )


def _ridge(distribution: Distribution, foot: int, axis: Axis) -> list[Mark]:
    """Return a distribution as the outline of a hill, with its mean."""
    xs, heights, shares = _outline(distribution, axis)
    far = axis.share(distribution.mean)
    return [
        Hill(
            xs=xs,
            ys=[foot + RISE * height for height in heights],
            foot=foot,
            role=distribution.role,
            name=distribution.label,
            values=shares,
            is_percent=True,
        ),
        Rule(
            at=distribution.mean,
            axis="x",
            role=distribution.role,
            span=(foot, foot + RISE),
            name=f"{distribution.label}, mean",
        ),
        Words(
            words=fmt.number(distribution.mean, "cosine"),
            x=distribution.mean,
            y=foot + RISE,
            role=distribution.role,
            anchor="start" if far < 0.1 else "end" if far > 0.9 else "middle",
            lift=1,
        ),
    ]


def _outline(distribution: Distribution, axis: Axis) -> tuple[list[float], list[float], list[float]]:
    """Return the middles of the bins that are drawn, their smoothed heights, at most 1, and their shares."""
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    shares = np.zeros(BINS)
    shares[np.clip(np.rint((np.array(distribution.xs) + 1) / 2 * BINS - 0.5).astype(int), 0, BINS - 1)] = (
        distribution.shares
    )
    smooth = np.convolve(shares, np.array([1, 2, 1]) / 4, mode="same")
    shown = (middles >= axis.low) & (middles <= axis.high)
    return middles[shown].tolist(), (smooth[shown] / smooth.max()).tolist(), shares[shown].tolist()
