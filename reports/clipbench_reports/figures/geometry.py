"""The modalities' geometry: distributions of cosines, the dimensions that carry the gap, and what a cosine says of a
match.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing import marks
from clipbench_reports.drawing.models import Layer, Panels, Statement, beside, chart, facet_chart, facets
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, PlottedCurve, read_each
from clipbench_reports.figures.shared import curve_line, why_lacking, xs_of

BINS = 200
"""Over [-1, 1]."""
RISE = 0.62
"""Height of a distribution, where 1 is the distance of two feet."""

COSINES: dict[str, tuple[str, marks.Role, str]] = {
    "cosines_image": ("image–image", "image", "image_cone"),
    "cosines_text": ("text–text", "text", "text_cone"),
    "cosines_pair": ("true pair", "pair", "pair_cosine"),
    "cosines_cross": ("image–other text", "ink", "cross_cosine"),
}
"""Curves with the name, the role and the metric that is the mean of each."""


class Distribution(NamedTuple):
    """Shares of cosines over the middles of equal bins."""

    label: str
    role: marks.Role
    xs: Sequence[float]
    shares: Sequence[float]
    mean: float


def cones(models: Models) -> marks.Chart:
    """Return the distributions of cosines between images, between texts, of pairs, and of images with other texts."""
    return ridges(
        read_each(models, lambda evidence: distributions(evidence, COSINES, "cosines")),
        _state,
        reading=(
            "Cosines between unit vectors, each distribution scaled to the same height; the upright stroke is its "
            "mean. Vectors of one kind that lie nearer to each other than to their own partner are what is called the "
            "modality gap."
        ),
    )


def distributions(
    evidence: Evidence, curves: Mapping[str, tuple[str, marks.Role, str]], subject: str
) -> list[Distribution]:
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


def ridges(
    by_model: ByModel[list[Distribution]], state: Callable[[Sequence[Distribution]], Statement], *, reading: str
) -> marks.Chart:
    """Return the distributions of each model below each other, over the range that any of them uses."""
    every = [each for own in by_model.all for each in own]
    used = [x for each in every for x, share in zip(each.xs, each.shares, strict=True) if share > 0]
    axis = marks.nice_axis([min(used) - 1 / BINS, max(used) + 1 / BINS], "Cosine")
    keys = dict.fromkeys(name for each in every for name in (each.label, f"{each.label}, mean"))
    panels = beside(by_model.map(lambda own: [_panel(own, axis)]), keys=list(keys))
    return chart([panels], by_model.map(state), reading=reading)


def _panel(distributions: Sequence[Distribution], axis: marks.Axis) -> marks.Panel:
    feet = list(range(len(distributions) - 1, -1, -1))
    return marks.Panel(
        x=axis,
        y=marks.Axis(
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


def _ridge(distribution: Distribution, foot: int, axis: marks.Axis) -> list[marks.Mark]:
    xs, heights, shares = _outline(distribution, axis)
    far = axis.share(distribution.mean)
    return [
        marks.Hill(
            xs=xs,
            ys=[foot + RISE * height for height in heights],
            foot=foot,
            role=distribution.role,
            name=distribution.label,
            values=shares,
            is_percent=True,
        ),
        marks.Rule(
            at=distribution.mean,
            axis="x",
            role=distribution.role,
            span=(foot, foot + RISE),
            name=f"{distribution.label}, mean",
        ),
        marks.Words(
            words=fmt.number(distribution.mean, "cosine"),
            x=distribution.mean,
            y=foot + RISE,
            role=distribution.role,
            anchor="start" if far < 0.1 else "end" if far > 0.9 else "middle",
            lift=1,
        ),
    ]


def _outline(distribution: Distribution, axis: marks.Axis) -> tuple[list[float], list[float], list[float]]:
    """Return the middles of the bins that are drawn, their smoothed heights, at most 1, and their shares."""
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    shares = np.zeros(BINS)
    shares[np.clip(np.rint((np.array(distribution.xs) + 1) / 2 * BINS - 0.5).astype(int), 0, BINS - 1)] = (
        distribution.shares
    )
    smooth = np.convolve(shares, np.array([1, 2, 1]) / 4, mode="same")
    shown = (middles >= axis.low) & (middles <= axis.high)
    return middles[shown].tolist(), (smooth[shown] / smooth.max()).tolist(), shares[shown].tolist()


CONFORMITY: dict[str, tuple[str, marks.Role, str]] = {
    "conformity_image": ("images", "image", "image_cone"),
    "conformity_text": ("texts", "text", "text_cone"),
}
"""Curves with the name, the role and the metric that is the mean of each."""


def conformity(models: Models) -> marks.Chart:
    """Return the distributions of the mean cosine that an item has with all others of its modality."""
    return ridges(
        read_each(models, lambda evidence: distributions(evidence, CONFORMITY, "conformity")),
        _state_conformity,
        reading=(
            "Conformity is an item’s mean cosine with all others of its modality: common items lie to the right,"
            " unusual ones to the left. Each distribution is scaled to the same height; the upright stroke is its mean,"
            " the width of the cone."
        ),
    )


def _state_conformity(of_modalities: Sequence[Distribution]) -> Statement:
    means = " and ".join(f"{fmt.number(each.mean, 'cosine')} ({each.label})" for each in of_modalities)
    return Statement(
        title=f"Mean cosine of an item with all others of its modality: {means}.",
        subject="Mean cosine of an item with all others of its modality",
        value=means,
    )


SHARE, LEFT = "gap_share_by_dimensions", "gap_by_ablation"
KEPT: dict[str, tuple[marks.Role, str]] = {
    SHARE: ("ink", "share of the squared gap"),
    "separability_by_dimensions": ("pair", "accuracy of a linear classifier"),
}
REMOVED: dict[str, tuple[marks.Role, str]] = {
    LEFT: ("ink", "gap, of the whole"),
    "image_retrieval_recall@1_by_ablation": ("image", "recall@1, text → image"),
    "text_retrieval_recall@1_by_ablation": ("text", "recall@1, image → text"),
}


def spectrum(models: Models) -> marks.Chart:
    """Return how the gap is spread over dimensions, and gap and recall when the dimensions that carry most are
    removed.
    """
    by_model = read_each(models, _read_spectrum)
    return chart(
        [_concentration(by_model), _ablation(by_model)],
        by_model.map(_state_spectrum),
        reading=(
            "Above: the cumulative share of the squared distance of the two centroids, by dimensions in the order of"
            " their shares; and the accuracy of a linear classifier of the modality on so many dimensions, on held-out"
            " pairs. Below: the gap and recall@1 when the dimensions that carry most of the gap are removed from all"
            " vectors, which are then normalized again; on the left edge, nothing is removed."
        ),
    )


def _read_spectrum(evidence: Evidence) -> dict[str, PlottedCurve]:
    curves = evidence.curves([*KEPT, *REMOVED])
    if SHARE not in curves:
        raise MissingEvidence(f"the run kept no spectrum of the gap: {why_lacking(evidence, 'gap_dimensions')}")
    return curves


def _concentration(by_model: ByModel[dict[str, PlottedCurve]]) -> Panels:
    most = marks.Rule(at=0.9, axis="y", role="chance", name="90 %", of=KEPT[SHARE][1])
    n_dimensions = max(curves[SHARE].x[-1] for curves in by_model.all)
    plane = marks.Panel(
        x=marks.log_axis([1, n_dimensions], "Dimensions kept"), y=marks.fraction_axis("Share, %"), aspect=0.45
    )

    def drawn(curves: Mapping[str, PlottedCurve]) -> list[marks.Mark]:
        return [*(curve_line(curves[name], *KEPT[name]) for name in KEPT if name in curves), most]

    return facets(plane, by_model.map(drawn))


def _ablation(by_model: ByModel[dict[str, PlottedCurve]]) -> Panels:
    """Return the panel of what is left; the point with nothing removed stands at the edge of the logarithmic axis."""

    def lines(curves: Mapping[str, PlottedCurve]) -> list[marks.Line]:
        made = []
        for name, (role, words) in REMOVED.items():
            if name in curves:
                curve = curves[name]
                whole = curve.y[0] or 1.0 if name == LEFT else 1.0
                moved = curve._replace(x=[x or 0.5 for x in curve.x], y=[y / whole for y in curve.y])
                made.append(curve_line(moved, role, words))
        return made

    drawn = by_model.map(lines)
    highest = max((y for own in drawn.all for line in own for y in line.ys), default=1.0)
    x = marks.log_axis([0.5, max(2.0, *(curves[SHARE].x[-1] for curves in by_model.all))], "Dimensions removed")
    y = marks.fraction_axis("Remaining, %") if highest <= 1 else marks.percent_axis([0, highest], "Remaining, %")
    return facets(marks.Panel(x=replace(x, names=["0", *x.words[1:]]), y=y, aspect=0.45), drawn)


def _state_spectrum(curves: Mapping[str, PlottedCurve]) -> Statement:
    share, gap, recall = curves[SHARE], curves.get(LEFT), curves.get("image_retrieval_recall@1_by_ablation")
    needed, n = next((x for x, y in zip(share.x, share.y, strict=True) if y >= 0.9), share.x[-1]), share.x[-1]
    carry = "carries" if needed == 1 else "carry"
    title = f"{fmt.counted(int(needed), 'dimension')} of {fmt.count(n)} {carry} 90 % of the squared gap"
    if gap is not None and recall is not None:
        half = next((k for k, y in enumerate(gap.y) if y <= gap.y[0] / 2), len(gap.y) - 1)
        title += (
            f"; with all of them, and without the first {fmt.count(gap.x[half])}, the gap is "
            f"{fmt.number(gap.y[0], 'distance')} and {fmt.number(gap.y[half], 'distance')}, and text-to-image R@1 by"
            " one caption per image "
            f"{fmt.percent(recall.y[0])} and {fmt.percent(recall.y[half])} %"
        )
    return Statement(
        title=f"{title}.",
        subject="Dimensions that carry 90 % of the squared gap",
        value=f"{fmt.count(needed)} of {fmt.count(n)}",
    )


MATCHES: dict[str, tuple[str, marks.Role]] = {
    "match_by_cosine_image_text": ("image–text", "ink"),
    "match_by_cosine_text_text": ("text–text", "text"),
    "match_by_cosine_image_image": ("image–image", "image"),
}
"""The curves, with the name and the role of each."""


def similarity_calibration(models: Models) -> marks.Chart:
    """Return the probability of a match by cosine: of an image and a text, of two texts, of two images."""
    by_model = read_each(models, _read_matches)
    plane = marks.Panel(
        x=marks.nice_axis(xs_of(by_model), "Cosine"), y=marks.fraction_axis("Probability of a match, %")
    )
    return facet_chart(
        plane,
        by_model,
        reading=(
            "The probability that two items belong together, by their cosine, for one match drawn for each non-match. "
            "Where the lines lie apart, one threshold on the cosine cannot serve searches within a modality and across."
        ),
    )


def _read_matches(evidence: Evidence) -> Layer:
    why = why_lacking(evidence, "similarity_calibration_error")
    curves = evidence.curves(MATCHES, MissingEvidence(f"the probability of a match by cosine: {why}"))
    lines = [curve_line(curve, MATCHES[name][1], MATCHES[name][0]) for name, curve in curves.items()]
    even = [_even(line.xs, line.ys) for line in lines]
    middles = ", ".join(f"{line.name} {cosine}" for line, cosine in zip(lines, even, strict=True))
    error = evidence.evaluation.metrics.get("similarity_calibration_error")
    known = "" if error is None or error.value is None else f" Cosine calibration error {fmt.percent(error.value)} pp."
    statement = Statement(
        title=f"Cosine at which the probability of a match is one half: {middles}.{known}",
        subject=f"Cosine at which the probability of a match is one half, {lines[0].name}",
        value=even[0],
        reading=_without_line(evidence),
    )
    return Layer(lines, statement)


def _without_line(evidence: Evidence) -> str:
    """Return the kinds of pairs that have no line, with the reasons; nothing where all have one."""
    errors = {name: f"{name.removeprefix('match_by_cosine_')}_calibration_error" for name in MATCHES}
    lacking = [
        f"{words}: {why_lacking(evidence, errors[name])}"
        for name, (words, _) in MATCHES.items()
        if name not in evidence.evaluation.curves
    ]
    return f"No line for {'; '.join(lacking)}." if lacking else ""


def _even(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the cosine at which a line crosses one half, upwards; none where it crosses it more than once, or never.

    Example:
        >>> _even([0.0, 0.2], [0.1, 0.9]), _even([0.0, 0.1, 0.2], [0.6, 0.4, 0.6]), _even([0.0, 0.1], [0.6, 0.7])
        ('0.1000', 'no single cosine', 'no single cosine')
    """
    steps = [k for k in range(1, len(ys)) if (ys[k - 1] >= 0.5) != (ys[k] >= 0.5)]
    if len(steps) != 1 or ys[0] >= 0.5:
        return "no single cosine"
    k = steps[0]
    return fmt.number(float(np.interp(0.5, ys[k - 1 : k + 1], xs[k - 1 : k + 1])), "cosine")
