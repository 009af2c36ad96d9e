"""The modalities' geometry: distributions of cosines, dimensions of the gap, and match probability by cosine."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench_reports.drawing.facets import Statement, chart, side_by_side
from clipbench_reports.drawing.marks import Axis, Chart, Hill, Mark, Panel, Role, Rule, Words, log_axis, nice_axis
from clipbench_reports.drawing.svg_marks import Anchor
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, read_each
from clipbench_reports.figures.curves import Curves, CurvesFigure
from clipbench_reports.findings import defined
from clipbench_reports.text import NO_REASON, quoted

BINS = 200
"""Over [-1, 1]."""
RISE = 0.62
"""Height of a distribution, where 1 is the distance of two feet."""

MEANS = {
    "image–image": "image_cone",
    "text–text": "text_cone",
    "true pair": "pair_cosine",
    "image–other text": "cross_cosine",
    "images": "image_cone",
    "texts": "text_cone",
}
"""The metric that is the mean of each distribution."""


class Distribution(NamedTuple):
    """Fractions of cosines over the middles of equal bins."""

    label: str
    role: Role
    xs: Sequence[float]
    shares: Sequence[float]
    mean: float

    @property
    def mean_words(self) -> str:
        """The mean as text."""
        return fmt.number(self.mean, "cosine")

    @property
    def mean_label(self) -> str:
        """The name of the stroke at the mean."""
        return f"{self.label}, mean"

    @property
    def used_cosines(self) -> list[float]:
        """The middles of the bins that hold something."""
        return [x for x, share in zip(self.xs, self.shares, strict=True) if share > 0]


def cones(models: Models) -> Chart:
    """Return the distributions of cosines between images, between texts, of pairs, and of images with other texts."""
    return ridges(
        read_each(models, lambda evidence: distributions(evidence, "cosines")),
        "Mean cosines",
        lambda distribution: f"{distribution.label} {distribution.mean_words}",
        reading=(
            "Cosines between unit vectors. Each distribution is scaled to the same height, and the upright stroke is "
            "its mean. "
            "With a modality gap, vectors of one modality are nearer to each other than to their partners in the other."
        ),
    )


def distributions(evidence: Evidence, figure: str) -> list[Distribution]:
    """Return the distributions that a run kept for a figure.

    Raises:
        MissingEvidence: there is none.
    """
    curves = evidence.curves_of(figure)
    if not curves:
        raise MissingEvidence(f"no distributions for {quoted(figure)}: the run kept none")
    curve_distributions = []
    for curve in curves:
        (metric,) = defined(evidence.evaluation.metrics, MEANS[curve.series])
        mean = float(np.dot(curve.x, curve.y)) if metric is None else metric.value or 0.0
        curve_distributions.append(Distribution(curve.series, curve.role or "ink", curve.x, curve.y, mean))
    return curve_distributions


def ridges(
    by_model: ByModel[list[Distribution]],
    subject: str,
    describe: Callable[[Distribution], str],
    *,
    reading: str,
    separator: str = ", ",
) -> Chart:
    """Return the distributions of each model below each other, over the range that any of them uses.

    Args:
        subject: the subject of the statement on a model, whose value has the words of each distribution.
        describe: returns the words of a distribution.
    """
    used_cosines: list[float] = []
    keys = dict[str, None]()
    for model_distributions in by_model.all:
        for distribution in model_distributions:
            used_cosines += distribution.used_cosines
            keys |= dict.fromkeys([distribution.label, distribution.mean_label])
    axis = nice_axis([min(used_cosines) - 1 / BINS, max(used_cosines) + 1 / BINS], "Cosine")

    def state(distributions: Sequence[Distribution]) -> Statement:
        return Statement(subject, separator.join(describe(distribution) for distribution in distributions))

    panels = by_model.map(lambda distributions: [_panel(distributions, axis)])
    return chart([side_by_side(panels, keys=list(keys))], by_model.map(state), reading=reading)


def _panel(distributions: Sequence[Distribution], axis: Axis) -> Panel:
    feet = list(range(len(distributions) - 1, -1, -1))
    marks: list[Mark] = []
    for foot, distribution in zip(feet, distributions, strict=True):
        marks += _ridge(distribution, foot, axis)
    return Panel(
        x=axis,
        y=Axis(
            low=-0.06,
            high=len(distributions),
            ticks=[foot + 0.25 for foot in feet],
            names=[distribution.label for distribution in distributions],
        ),
        marks=marks,
        aspect=0.27 * len(distributions) + 0.06,
        has_grid=False,
        is_broad=True,
    )


def histogram_shares(values: Float64[np.ndarray, " n"]) -> tuple[list[float], list[float]]:
    """Return the middles of the bins, and the fraction of the values in each."""
    counts, edges = np.histogram(np.clip(values, -1, 1), bins=BINS, range=(-1, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    shares = counts / max(1, counts.sum())
    return middles.tolist(), shares.tolist()


def _ridge(distribution: Distribution, foot: int, axis: Axis) -> list[Mark]:
    outline = _outline(distribution, axis)
    hill = Hill(
        xs=outline.xs,
        ys=[foot + RISE * height for height in outline.heights],
        foot=foot,
        role=distribution.role,
        name=distribution.label,
        values=outline.shares,
        is_percent=True,
    )
    mean = Rule(
        at=distribution.mean,
        axis="x",
        role=distribution.role,
        span=(foot, foot + RISE),
        name=distribution.mean_label,
    )
    position = axis.share(distribution.mean)
    anchor: Anchor = "middle"
    if position < 0.1:
        anchor = "start"  # the words would begin outside of the panel
    elif position > 0.9:
        anchor = "end"
    words = Words(
        words=distribution.mean_words,
        x=distribution.mean,
        y=foot + RISE,
        role=distribution.role,
        anchor=anchor,
        lift=1,
    )
    return [hill, mean, words]


class _Outline(NamedTuple):
    """A distribution as it is drawn, over the middles of the visible bins."""

    xs: list[float]
    heights: list[float]
    """Smoothed, where 1 is the highest of all bins."""
    shares: list[float]


def _outline(distribution: Distribution, axis: Axis) -> _Outline:
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    bins = np.rint((np.array(distribution.xs) + 1) / 2 * BINS - 0.5).astype(int)
    shares = np.zeros(BINS)
    shares[np.clip(bins, 0, BINS - 1)] = distribution.shares
    smooth = np.convolve(shares, np.array([1, 2, 1]) / 4, mode="same")
    heights = smooth / smooth.max()
    is_visible = (middles >= axis.low) & (middles <= axis.high)
    return _Outline(middles[is_visible].tolist(), heights[is_visible].tolist(), shares[is_visible].tolist())


def conformity(models: Models) -> Chart:
    """Return the distributions of the mean cosine that an item has with all others of its modality."""
    return ridges(
        read_each(models, lambda evidence: distributions(evidence, "conformity")),
        "Mean cosine of an item with all others of its modality",
        lambda distribution: f"{distribution.mean_words} ({distribution.label})",
        separator=" and ",
        reading=(
            "Conformity is an item’s mean cosine with all others of its modality: common items are on the right,"
            " unusual ones on the left. Each distribution is scaled to the same height, and the upright stroke is its"
            " mean, the width of the cone."
        ),
    )


def _state_spectrum(evidence: Evidence, curves: Curves) -> Statement:
    (needed,) = defined(evidence.evaluation.metrics, "gap_dimensions")
    n_needed = "?" if needed is None else fmt.count(needed.value or 0)
    n_dimensions = max(curve.x[-1] for curve in curves)
    return Statement(
        subject="Dimensions that carry 90 % of the squared gap", value=f"{n_needed} of {fmt.count(n_dimensions)}"
    )


def _gap_reference(evidence: Evidence, y_label: str) -> list[Mark]:
    return [Rule(at=0.9, axis="y", role="chance", name="90 %", of="fraction of the squared gap")]


def _dimensions_axis(dimensions: Sequence[Number], label: str) -> Axis:
    """Return the logarithmic axis of dimensions removed, with nothing removed at its left edge."""
    axis = log_axis([NOTHING, max(2.0, *dimensions)], label)
    return replace(axis, names=["0", *axis.words[1:]])


NOTHING = 0.5
"""The place of nothing on a logarithmic axis of dimensions."""
SPECTRUM = CurvesFigure(
    name="spectrum",
    reading=(
        "The cumulative fraction of the squared distance of the two centroids, by dimensions in the order of their mean"
        " differences, and the accuracy of a linear classifier of the modality on these dimensions, on held-out pairs."
    ),
    x_axis=log_axis,
    aspect=0.45,
    references=_gap_reference,
    state=_state_spectrum,
    metric="gap_dimensions",
)
ABLATION = CurvesFigure(
    name="ablation",
    reading=(
        "Gap and recall@1 when the dimensions that carry most of the gap are removed from all vectors, which are then"
        " normalized again. On the left edge, nothing is removed. Recall is by one caption per image."
    ),
    x_axis=_dimensions_axis,
    aspect=0.45,
    n_columns=1,
    complete=lambda evidence, curve: curve._replace(x=[x or NOTHING for x in curve.x]),
    metric="gap",
)


def _state_matches(evidence: Evidence, curves: Curves) -> Statement:
    value = ", ".join(f"{curve.series} {_even_odds_cosine(curve.x, curve.y)}" for curve in curves)
    (error,) = defined(evidence.evaluation.metrics, "similarity_calibration_error")
    if error is not None:
        value += f", with a cosine calibration error of {fmt.percent(error.value)} pp"
    return Statement(
        subject="Cosine at which the probability of a match is one half",
        value=value,
        reading=_without_line(evidence),
    )


def _without_line(evidence: Evidence) -> str:
    """Return the kinds of pairs that have no line, with the reasons, or nothing if all have one."""
    reasons = []
    for name, metric in evidence.evaluation.metrics.items():
        is_of_one_kind = name.endswith("_calibration_error") and name != MATCHES.metric
        if is_of_one_kind and metric.value is None:
            reasons.append(f"{metric.title or name}: {metric.reason or NO_REASON}")
    return f"Without a line: {'; '.join(reasons)}." if reasons else ""


MATCHES = CurvesFigure(
    name="matches",
    reading=(
        "The probability of a match by cosine, for one match per non-match. Where the lines differ, no single threshold"
        " serves searches within a modality and across."
    ),
    state=_state_matches,
    metric="similarity_calibration_error",
)


def _even_odds_cosine(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the cosine at which a line rises through one half, or that there is no single one.

    Example:
        >>> _even_odds_cosine([0.0, 0.2], [0.1, 0.9]), _even_odds_cosine([0.0, 0.1, 0.2], [0.6, 0.4, 0.6])
        ('0.1000', 'no single cosine')
    """
    is_above = [y >= 0.5 for y in ys]
    crossings = [k for k in range(1, len(ys)) if is_above[k - 1] != is_above[k]]
    if len(crossings) != 1 or is_above[0]:
        return "no single cosine"
    ends = slice(crossings[0] - 1, crossings[0] + 1)
    return fmt.number(float(np.interp(0.5, ys[ends], xs[ends])), "cosine")
