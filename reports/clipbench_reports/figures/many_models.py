"""Many models by two quantities, for example accuracy on shifted data and on ImageNet."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipbench.comparison.across import Across, ModelPoint
from clipbench.comparison.robustness import BASELINES, SHIFTS, Reference, Robustness, reference
from clipbench.results import numbers as fmt
from clipbench.results.grouping import group_values
from clipbench.results.record import Metric
from clipbench.results.titles import within_sentence
from clipbench.stats.rank_correlation import RankCorrelation
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Ranges,
    Role,
    Words,
    nice_axis,
    percent_axis,
)
from clipbench_reports.drawing.svg_marks import Anchor, LabelBox, Lift
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.figures.shared import ends_of, intervals

MOST_NAMED = 16
"""Number of models up to which names are in the drawing. More would hide each other and are only in the table."""
LOG_FROM = 8
"""Least ratio of the largest to the smallest value for which a count, such as of parameters, has a logarithmic axis."""

MARGIN = 1.2
"""Room at the ends of a logarithmic axis, as a factor."""
MOST_TICKS = 9
LETTER, LINE, POINT = 0.024, 0.055, 0.012
"""Width of a letter, height of a line and radius of a point, in fractions of a plane of column width."""
SIDES: tuple[tuple[Anchor, Lift], ...] = (("start", 1), ("end", 1), ("start", -1), ("end", -1))
"""Possible sides of a name, the best first."""


def across(comparison: Across, names: Sequence[str]) -> Chart:
    """Return a panel with one point per model. The title states the rank correlation of the two quantities."""
    x = _axis([point.x for point in comparison.points], comparison.x_title)
    y = _axis([point.y for point in comparison.points], comparison.y_title)
    by_training = group_values((point.training, point) for point in comparison.points if point.training is not None)
    lines = [_line(points, "one training") for points in by_training.values() if len(points) > 1]
    if comparison.front is not None and len(comparison.front) > 1:
        by_label = {point.label: point for point in comparison.points}
        front = _line([by_label[label] for label in comparison.front], "Pareto front")
        lines.append(replace(front, is_dashed=True, is_reference=True))
    return Chart(
        title=_title(comparison),
        panels=[Panel(x=x, y=y, marks=[*lines, *_points(comparison, names, x, y)], aspect=0.8)],
        reading=" ".join(_reading(comparison, names)),
    )


def _line(points: Sequence[ModelPoint], name: str) -> Line:
    return Line(xs=_xs(points), ys=_ys(points), role="ink", name=name)


def _xs(points: Sequence[ModelPoint]) -> list[float]:
    """Return the values of x, which each point of a comparison has."""
    return [point.x.value or 0.0 for point in points]


def _ys(points: Sequence[ModelPoint]) -> list[float]:
    """Return the values of y, which each point of a comparison has."""
    return [point.y.value or 0.0 for point in points]


def _points(comparison: Across, names: Sequence[str], x: Axis, y: Axis) -> list[Mark]:
    """Return one mark per model in its colour, or equal points with their names for more models than colours."""
    points, titles = comparison.points, (comparison.x_title, comparison.y_title)
    if len(points) > len(MODELS):
        marks = _point("ink", "", names, points, titles)
        return [*marks, *_names(points, names, x, y)] if len(points) <= MOST_NAMED else marks
    marks = []
    for role, name, point in zip(MODELS, names, points, strict=False):
        marks += _point(role, name, [name], [point], titles)
    return marks


def _names(points: Sequence[ModelPoint], names: Sequence[str], x: Axis, y: Axis) -> list[Words]:
    """Return the names next to their points, without names that would touch another point or name."""
    coordinates = list(zip(_xs(points), _ys(points), strict=True))
    places = [(x.share(x_value), y.share(y_value)) for x_value, y_value in coordinates]
    occupied_boxes = [LabelBox(across - POINT, up - POINT, across + POINT, up + POINT) for across, up in places]
    words = []
    for name, (x_value, y_value), (across, up) in zip(names, coordinates, places, strict=True):
        width = len(name) * LETTER
        for anchor, lift in SIDES:
            left = across if anchor == "start" else across - width
            low = up + POINT if lift > 0 else up - POINT - LINE
            box = LabelBox(left, low, left + width, low + LINE)
            is_inside = box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1
            if is_inside and not any(box.touches(other) for other in occupied_boxes):
                occupied_boxes.append(box)
                words.append(Words(words=name, x=x_value, y=y_value, anchor=anchor, lift=lift))
                break
    return words


def _point(
    role: Role, name: str, names: Sequence[str], points: Sequence[ModelPoint], titles: Sequence[str]
) -> list[Mark]:
    """Return points with the bars of their y intervals, and of their x intervals if there are any."""
    x_title, y_title = titles
    x_metrics = {f"{label}, interval of: {x_title}": point.x for label, point in zip(names, points, strict=True)}
    y_metrics = {f"{label}, interval of: {y_title}": point.y for label, point in zip(names, points, strict=True)}
    upright = intervals(y_metrics, _xs(points), role, name)
    lying = intervals(x_metrics, _ys(points), role, "", is_upright=False)
    has_x_intervals = not all(math.isnan(low) for low in lying.lows)
    return [upright, lying] if has_x_intervals else [upright]


def _axis(metrics: Sequence[Metric], title: str) -> Axis:
    values, unit = ends_of(metrics), metrics[0].unit
    if unit == "fraction":
        return percent_axis(values, f"{title}, %")
    if unit == "count" and min(values) > 0 and max(values) >= LOG_FROM * min(values):
        return _log_axis(values, title)
    return nice_axis(values, title)


def _log_axis(values: Sequence[float], title: str) -> Axis:
    low, high = min(values) / MARGIN, max(values) * MARGIN
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) > MOST_TICKS:
        inside = inside[::3]  # one per power of ten
    return Axis(low=low, high=high, ticks=inside, label=title, is_log=True)


def _title(comparison: Across) -> str:
    # The unit stands at the axis.
    x_title = comparison.x_title.removesuffix(", millions")
    y_title = comparison.y_title.removesuffix(", millions")
    words = f"{y_title} against {within_sentence(x_title)} of {len(comparison.points)} models"
    if math.isnan(comparison.correlation.value):
        return f"{words}: no rank correlation, as {comparison.correlation.interval.method}."
    return f"{words}: rank correlation {_correlation(comparison.correlation)}."


def _correlation(correlation: RankCorrelation) -> str:
    low, high, _ = correlation.interval
    value = fmt.number(correlation.value, "correlation")
    if low is None:
        return value
    return f"{value} ({fmt.number(low, 'correlation')} to {fmt.number(high, 'correlation')})"


def _reading(comparison: Across, names: Sequence[str]) -> list[str]:
    sentences = ["Each point is a model, with 95 % intervals of both where there are some."]
    if comparison.front is not None:
        short_names = {point.label: name for point, name in zip(comparison.points, names, strict=True)}
        front = fmt.listed([short_names[label] for label in comparison.front])
        sentences.append(
            "On the Pareto front of cost and quality, where no other model is at least as cheap and at least as good,"
            f" and ahead in one of the two: {front}. The"
            " front is by the values: where intervals overlap, a model near the front may belong to it."
        )
    sentences += comparison.notes
    method = comparison.correlation.interval.method
    if comparison.are_checkpoints:
        sentences.append(
            "Checkpoints of one training are joined. They are not independent models, "
            "so the correlation has no interval and no test."
        )
    elif comparison.correlation.interval.low is None:
        sentences.append(f"The rank correlation is Spearman's, without an interval: {method}.")
    else:
        sentences.append(f"The rank correlation is Spearman's, with a {method}.")
    if comparison.correlation.p is not None:
        sentences.append(f"Permutation test of independence: p = {fmt.p_value(comparison.correlation.p)}.")
    if comparison.given_parameters is not None:
        sentences.append(
            f"With the number of parameters held fixed it is {_correlation(comparison.given_parameters)} (partial rank"
            " correlation)."
        )
    if not comparison.are_checkpoints:
        sentences.append("Models differ in more than these two quantities: correlation does not imply a cause.")
    sentences += [f"Not drawn: {reason}." for reason in comparison.left_out]
    return sentences


TITLES = {
    "imagenetv2": "ImageNetV2",
    "imagenet-sketch": "ImageNet-Sketch",
    "imagenet-r": "ImageNet-R",
    "objectnet": "ObjectNet",
    "imagenet-a": "ImageNet-A",
}
NAMES = {"standard": "trained on ImageNet only", "open_clip": "trained as CLIP, from open_clip's table"}
"""Names of the reference models of each baseline."""
POINTS = 60
"""Points of a line."""
assert TITLES.keys() == set(SHIFTS) and NAMES.keys() == BASELINES.keys()


def robustness(robustness_by_model: Sequence[Sequence[Robustness]], names: Sequence[str], baseline: str) -> Chart:
    """Return a panel for each shift, with the models in it.

    Args:
        robustness_by_model: effective robustness of each model on its shifts.

    Raises:
        MissingEvidence: there are more models than can be distinguished.
    """
    if len(names) > len(MODELS):
        raise MissingEvidence(f"{len(names)} models are too many for one panel: it has {len(MODELS)} colours")
    by_shift: dict[str, dict[str, Robustness]] = {}
    for name, estimates in zip(names, robustness_by_model, strict=True):
        for estimate in estimates:
            by_shift.setdefault(estimate.data, {})[name] = estimate
    panels = []
    for data in SHIFTS:
        of_shift = by_shift.get(data, {})
        line = reference(baseline, data) if of_shift else None
        if line is not None:
            panels.append(_shift_panel(data, of_shift, line, names, NAMES[baseline]))
    # Accuracy on ImageNet is the same in all estimates of a model.
    firsts = {name: estimates[0] for name, estimates in zip(names, robustness_by_model, strict=True)}
    reading = (
        "Top-1 accuracy on shifted data against ImageNet accuracy, with 95 % intervals. Effective robustness is the"
        f" distance to the line of models {NAMES[baseline]}, fitted to the logits of both accuracies (Taori et al.,"
        " 2020) and drawn with its own confidence band."
    )
    beyond = sorted(name for name, estimate in firsts.items() if not estimate.is_within)
    if beyond:
        reading += f" The line is continued to {', '.join(beyond)}, beyond the reference models."
    first = robustness_by_model[0][0]
    side = "above" if first.value >= 0 else "below"
    distance = f"{fmt.percent(abs(first.value))} percentage points {side}"
    return Chart(
        title=f"{names[0]} is {distance} the line on {TITLES[first.data]} ({_range(first)}).",
        panels=panels,
        n_columns=min(2, len(panels)),
        reading=reading,
    )


def _shift_panel(
    data: str, estimates: dict[str, Robustness], line: Reference, names: Sequence[str], reference_name: str
) -> Panel:
    xs = [*line.original.tolist(), *(estimate.original for estimate in estimates.values())]
    ys = [*line.shifted.tolist(), *(estimate.shifted for estimate in estimates.values())]
    x, y = percent_axis(xs, "ImageNet, %"), percent_axis(ys, "Top-1 accuracy, %")
    marks: list[Mark] = [
        Dots(xs=line.original.tolist(), ys=line.shifted.tolist(), role="ink", name=reference_name, is_dense=True),
        _trend_line(line, x, y),
    ]
    for role, name in zip(MODELS, names, strict=False):
        if name in estimates:
            estimate = estimates[name]
            low, high = estimate.shifted_low, estimate.shifted_high
            marks.append(
                Ranges(xs=[estimate.original], ys=[estimate.shifted], lows=[low], highs=[high], role=role, name=name)
            )
    return Panel(title=TITLES[data], x=x, y=y, marks=marks, aspect=0.8)


def _trend_line(line: Reference, x: Axis, y: Axis) -> Line:
    """Return the line of the reference models with its band, as far as it is inside the plane."""
    accuracies, expected, lows, highs = list[float](), list[float](), list[float](), list[float]()
    # Its ends are inside 0 and 1, where logits are finite.
    for accuracy in np.linspace(max(float(x.low), 0.005), min(float(x.high), 0.995), POINTS).tolist():
        shifted = line.trend.expected(accuracy)
        if y.low <= shifted <= y.high:
            low, high = line.trend.band(accuracy)
            accuracies.append(accuracy)
            expected.append(shifted)
            lows.append(low)
            highs.append(high)
    return Line(xs=accuracies, ys=expected, lows=lows, highs=highs, role="chance", name="their line")


def _range(estimate: Robustness) -> str:
    return f"{fmt.percent(estimate.low)} to {fmt.percent(estimate.high)}"
