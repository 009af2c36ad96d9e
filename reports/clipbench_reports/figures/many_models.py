"""Many models by two quantities, such as accuracy on shifted data and that on ImageNet."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipbench.comparison.across import Across, ModelPoint
from clipbench.comparison.robustness import BASELINES, SHIFTS, Reference, Robustness, reference
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import within_sentence
from clipbench.stats.rank_correlation import RankCorrelation
from clipbench_reports.drawing import marks
from clipbench_reports.drawing.page_marks import Anchor, Box, Lift
from clipbench_reports.evidence import MissingEvidence

MOST_NAMED = 16
"""Models whose names are written into the drawing; more would hide each other, and are in the table alone."""
LOG_FROM = 8
"""A count, such as of parameters, has a logarithmic axis where the largest is so many times the smallest."""

MARGIN = 1.2
"""Room at the ends of a logarithmic axis, as a factor."""
MOST_TICKS = 9
LETTER, LINE, POINT = 0.024, 0.055, 0.012
"""Width of a letter, height of a line and radius of a point, in shares of a plane of column width."""
SIDES: tuple[tuple[Anchor, Lift], ...] = (("start", 1), ("end", 1), ("start", -1), ("end", -1))
"""Sides at which a name may stand, the best first."""


def across(found: Across, names: Sequence[str]) -> marks.Chart:
    """Return a panel with a point a model, and the rank correlation of the two quantities in words."""
    x = _axis([each.x for each in found.places], found.x_title)
    y = _axis([each.y for each in found.places], found.y_title)
    by_training: dict[str, list[ModelPoint]] = {}
    for each in found.places:
        if each.training is not None:
            by_training.setdefault(each.training, []).append(each)
    lines = [_line(own, "one training") for own in by_training.values() if len(own) > 1]
    if found.front is not None and len(found.front) > 1:
        by_label = {each.label: each for each in found.places}
        front = _line([by_label[label] for label in found.front], "Pareto front")
        lines.append(replace(front, is_dashed=True, is_reference=True))
    return marks.Chart(
        title=_title(found),
        panels=[marks.Panel(x=x, y=y, marks=[*lines, *_points(found, names, x, y)], aspect=0.8)],
        reading=" ".join(_reading(found, names)),
    )


def _written(metric: Metric) -> str:
    """Return a value with its unit; counts, which prices in millions are too, by their significant digits."""
    return fmt.significant(metric.value) if metric.unit == "count" else fmt.quantity(metric.value, metric.unit)


def _line(places: Sequence[ModelPoint], name: str) -> marks.Line:
    xs, ys = [_or_nan(each.x.value) for each in places], [_or_nan(each.y.value) for each in places]
    return marks.Line(xs=xs, ys=ys, role="ink", name=name)


def _points(found: Across, names: Sequence[str], x: marks.Axis, y: marks.Axis) -> list[marks.Mark]:
    """Return a mark a model where its colour tells it apart; else alike points, with their names beside them."""
    places, titles = found.places, (found.y_title, found.x_title)
    if len(places) <= len(marks.MODELS):
        return [
            mark
            for role, name, each in zip(marks.MODELS, names, places, strict=False)
            for mark in _point(role, name, [name], [each], titles)
        ]
    return [
        *_point("ink", "", names, places, titles),
        *(_names(places, names, x, y) if len(places) <= MOST_NAMED else ()),
    ]


def _names(places: Sequence[ModelPoint], names: Sequence[str], x: marks.Axis, y: marks.Axis) -> list[marks.Words]:
    """Return the names beside their points, where they touch neither another point nor another name; else not."""
    points = [(_or_nan(each.x.value), _or_nan(each.y.value)) for each in places]
    shares = [(x.share(across), y.share(up)) for across, up in points]
    taken = [Box(across - POINT, up - POINT, across + POINT, up + POINT) for across, up in shares]
    words = []
    for name, point, share in zip(names, points, shares, strict=True):
        for anchor, lift in SIDES:
            left = share[0] if anchor == "start" else share[0] - len(name) * LETTER
            low = share[1] + POINT if lift > 0 else share[1] - POINT - LINE
            box = Box(left, low, left + len(name) * LETTER, low + LINE)
            is_inside = box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1
            if is_inside and not any(box.touches(other) for other in taken):
                taken.append(box)
                words.append(marks.Words(words=name, x=point[0], y=point[1], anchor=anchor, lift=lift))
                break
    return words


def _point(
    role: marks.Role, name: str, names: Sequence[str], places: Sequence[ModelPoint], titles: Sequence[str]
) -> list[marks.Mark]:
    """Return points with the bars of both intervals; those along x where there are some."""
    upright, lying = (
        marks.Ranges(
            xs=[_or_nan(each.x.value) for each in places],
            ys=[_or_nan(each.y.value) for each in places],
            lows=[_or_nan(getattr(each, axis).low) for each in places],
            highs=[_or_nan(getattr(each, axis).high) for each in places],
            role=role,
            name=name if axis == "y" else "",
            is_upright=axis == "y",
            ids=[f"{each}, interval of: {title}" for each in names],
        )
        for axis, title in zip("yx", titles, strict=True)
    )
    return [upright] if all(map(math.isnan, lying.lows)) else [upright, lying]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _axis(metrics: Sequence[Metric], title: str) -> marks.Axis:
    values = [end for each in metrics for end in (each.value, each.low, each.high) if end is not None]
    unit = metrics[0].unit
    if unit == "fraction":
        return marks.percent_axis(values, f"{title}, %")
    if unit == "count" and min(values) > 0 and max(values) >= LOG_FROM * min(values):
        return _log_axis(values, title)
    return marks.nice_axis(values, title)


def _log_axis(values: Sequence[float], title: str) -> marks.Axis:
    low, high = min(values) / MARGIN, max(values) * MARGIN
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return marks.Axis(
        low=low, high=high, ticks=inside if len(inside) <= MOST_TICKS else inside[::3], label=title, is_log=True
    )


def _title(found: Across) -> str:
    # The unit stands at the axis.
    y_title, x_title = (each.removesuffix(", millions") for each in (found.y_title, found.x_title))
    words = f"{y_title} against {within_sentence(x_title)} of {len(found.places)} models"
    if math.isnan(found.correlation.value):
        return f"{words}: no rank correlation, as {found.correlation.interval.method}."
    return f"{words}: rank correlation {_correlation(found.correlation)}."


def _correlation(found: RankCorrelation) -> str:
    low, high, _ = found.interval
    value, *ends = (fmt.number(each, "correlation") for each in (found.value, low, high))
    return value if low is None else f"{value} ({ends[0]} to {ends[1]})"


def _reading(found: Across, names: Sequence[str]) -> list[str]:
    said = ["Each point is a model, with 95 % intervals of both where there are some."]
    if found.front is not None:
        of_label = dict(zip((each.label for each in found.places), names, strict=True))
        said.append(
            "On the Pareto front of cost and quality, where no other model is at least as cheap and at least as good,"
            f" and ahead in one of the two: {fmt.listed([of_label[each] for each in found.front])}. By the values:"
            " where intervals overlap, a model beside it may belong to it."
        )
    said += found.notes
    method = found.correlation.interval.method
    if found.are_checkpoints:
        said.append(
            "Checkpoints of one training are joined; they are not independent models, so the correlation has no"
            " interval and no test."
        )
    elif found.correlation.interval.low is None:
        said.append(f"The rank correlation is Spearman's, without an interval: {method}.")
    else:
        said.append(f"The rank correlation is Spearman's, with a {method}.")
    if found.correlation.p is not None:
        said.append(f"Permutation test of independence: p = {fmt.p_value(found.correlation.p)}.")
    if found.given_parameters is not None:
        said.append(
            f"With the number of parameters held fixed it is {_correlation(found.given_parameters)} (partial rank"
            " correlation)."
        )
    if not found.are_checkpoints:
        said.append("Models differ in more than these two quantities: a correlation is no cause.")
    said += [f"Not drawn: {each}." for each in found.left_out]
    return said


TITLES = {
    "imagenetv2": "ImageNetV2",
    "imagenet-sketch": "ImageNet-Sketch",
    "imagenet-r": "ImageNet-R",
    "objectnet": "ObjectNet",
    "imagenet-a": "ImageNet-A",
}
NAMES = {"standard": "trained on ImageNet alone", "open_clip": "trained as CLIP, of open_clip's table"}
"""Names of the reference models of each baseline."""
POINTS = 60
"""Points of a line."""
assert TITLES.keys() == set(SHIFTS) and NAMES.keys() == BASELINES.keys()


def robustness(found: Sequence[Sequence[Robustness]], names: Sequence[str], baseline: str) -> marks.Chart:
    """Return a panel for each shift, with the models in it.

    Args:
        found: effective robustness of each model on its shifts.

    Raises:
        MissingEvidence: there are more models than can be told apart.
    """
    if len(names) > len(marks.MODELS):
        raise MissingEvidence(f"{len(names)} models cannot be told apart in one panel: at most {len(marks.MODELS)}")
    by_shift = {
        data: {
            name: each for name, of_model in zip(names, found, strict=True) for each in of_model if each.data == data
        }
        for data in SHIFTS
    }
    panels = [
        _shift_panel(data, of_data, line, names, NAMES[baseline])
        for data, of_data in by_shift.items()
        if of_data and (line := reference(baseline, data)) is not None
    ]
    first = found[0][0]
    beyond = sorted({name for name, of_model in zip(names, found, strict=True) if not of_model[0].is_within})
    outside = f" The line is continued to {', '.join(beyond)}, beyond the reference models." if beyond else ""
    return marks.Chart(
        title=(
            f"{names[0]} lies {fmt.percent(abs(first.value))} percentage points"
            f" {'above' if first.value >= 0 else 'below'} the line on {TITLES[first.data]} ({_range(first)})."
        ),
        panels=panels,
        n_columns=min(2, len(panels)),
        reading=(
            "Top-1 accuracy on shifted data against that on ImageNet, with 95 % intervals; effective robustness is the"
            f" distance to the line of models {NAMES[baseline]}, fitted to the logits of both (Taori et al., 2020),"
            f" with the band of its own doubt.{outside}"
        ),
    )


def _shift_panel(
    data: str, found: dict[str, Robustness], line: Reference, names: Sequence[str], reference_name: str
) -> marks.Panel:
    xs = [*line.original.tolist(), *(each.original for each in found.values())]
    ys = [*line.shifted.tolist(), *(each.shifted for each in found.values())]
    x, y = marks.percent_axis(xs, "ImageNet, %"), marks.percent_axis(ys, "Top-1 accuracy, %")
    along = np.linspace(max(float(x.low), 0.005), min(float(x.high), 0.995), POINTS)
    along = along[[y.low <= line.trend.expected(each) <= y.high for each in along.tolist()]]
    bands = [line.trend.band(each) for each in along.tolist()]
    drawn: list[marks.Mark] = [
        marks.Dots(xs=line.original.tolist(), ys=line.shifted.tolist(), role="ink", name=reference_name, is_dense=True),
        marks.Line(
            xs=along.tolist(),
            ys=[line.trend.expected(each) for each in along.tolist()],
            lows=[low for low, _ in bands],
            highs=[high for _, high in bands],
            role="chance",
            name="their line",
        ),
    ]
    for role, name in zip(marks.MODELS, names, strict=False):
        if name in found:
            each = found[name]
            low, high = each.shifted_low, each.shifted_high
            drawn.append(
                marks.Ranges(xs=[each.original], ys=[each.shifted], lows=[low], highs=[high], role=role, name=name)
            )
    return marks.Panel(title=TITLES[data], x=x, y=y, marks=drawn, aspect=0.8)


def _range(each: Robustness) -> str:
    return f"{fmt.percent(each.low)} to {fmt.percent(each.high)}"
