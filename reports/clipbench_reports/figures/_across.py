"""Many models by two quantities."""

import math
from collections.abc import Sequence

from clipbench.comparison.across import Across, Place
from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import within_sentence
from clipbench.stats.rank_correlation import RankCorrelation
from clipbench_reports.drawing.labels import Anchor, Lift
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Chart,
    Line,
    Mark,
    Panel,
    Ranges,
    Role,
    Words,
    nice_axis,
    percent_axis,
)

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
"""Where a name may stand, the best first."""

Box = tuple[float, float, float, float]


def across(found: Across, names: Sequence[str]) -> Chart:
    """Return a panel with a point a model, and the rank correlation of the two quantities in words.

    Args:
        names: of the models.
    """
    x = _axis([each.x for each in found.places], found.x_title)
    y = _axis([each.y for each in found.places], found.y_title)
    lines = [
        Line(
            xs=[_or_nan(each.x.value) for each in own],
            ys=[_or_nan(each.y.value) for each in own],
            role="ink",
            name="one training",
        )
        for own in _trainings(found.places)
    ]
    return Chart(
        title=_title(found),
        panels=[Panel(x=x, y=y, marks=[*lines, *_front(found), *_points(found, names, x, y)], aspect=0.8)],
        reading=" ".join(_reading(found, names)),
        detail=" ".join(
            f"{name}: {_written(each.x)} and {_written(each.y)}."
            for name, each in zip(names, found.places, strict=True)
        ),
    )


def _written(metric: Metric) -> str:
    """Return a value with its unit; counts, which prices in millions are too, by their significant digits."""
    return fmt.significant(metric.value) if metric.unit == "count" else fmt.quantity(metric.value, metric.unit)


def _front(found: Across) -> list[Line]:
    """Return a line through the models of the front."""
    if found.front is None or len(found.front) < 2:
        return []
    by_label = {each.label: each for each in found.places}
    own = [by_label[label] for label in found.front]
    return [
        Line(
            xs=[_or_nan(each.x.value) for each in own],
            ys=[_or_nan(each.y.value) for each in own],
            role="ink",
            name="front of price and quality",
            is_dashed=True,
            is_reference=True,
        )
    ]


def _points(found: Across, names: Sequence[str], x: Axis, y: Axis) -> list[Mark]:
    """Return a mark a model where its colour tells it apart; else alike points, with their names beside them."""
    places, titles = found.places, (found.y_title, found.x_title)
    if len(places) <= len(MODELS):
        return [
            mark
            for role, name, each in zip(MODELS, names, places, strict=False)
            for mark in _point(role, name, [name], [each], titles)
        ]
    return [
        *_point("ink", "", names, places, titles),
        *(_names(places, names, x, y) if len(places) <= MOST_NAMED else ()),
    ]


def _names(places: Sequence[Place], names: Sequence[str], x: Axis, y: Axis) -> list[Words]:
    """Return the names beside their points, where they touch neither another point nor another name; else not."""
    taken = [_box(x.share(_or_nan(each.x.value)), y.share(_or_nan(each.y.value))) for each in places]
    words = []
    for name, each in zip(names, places, strict=True):
        across, up = x.share(_or_nan(each.x.value)), y.share(_or_nan(each.y.value))
        for anchor, lift in SIDES:
            box = _box(across, up, len(name), anchor, lift)
            is_inside = box[0] >= 0 and box[2] <= 1 and box[1] >= 0 and box[3] <= 1
            if is_inside and not any(_touch(box, other) for other in taken):
                taken.append(box)
                words.append(
                    Words(words=name, x=_or_nan(each.x.value), y=_or_nan(each.y.value), anchor=anchor, lift=lift)
                )
                break
    return words


def _box(across: float, up: float, n_letters: int = 0, anchor: Anchor = "middle", lift: Lift = 0) -> Box:
    """Return the left, low, right and high end of a name beside a point, or of the point alone, in shares of the plane."""
    if not n_letters:
        return across - POINT, up - POINT, across + POINT, up + POINT
    left = across if anchor == "start" else across - n_letters * LETTER
    low = up + POINT if lift > 0 else up - POINT - LINE
    return left, low, left + n_letters * LETTER, low + LINE


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _point(role: Role, name: str, names: Sequence[str], places: Sequence[Place], titles: Sequence[str]) -> list[Mark]:
    """Return points with the bars of both intervals."""
    xs, ys = ([_or_nan(getattr(each, axis).value) for each in places] for axis in "xy")
    marks: list[Mark] = []
    for axis, title in zip("yx", titles, strict=True):
        metrics = [getattr(each, axis) for each in places]
        lows, highs = ([_or_nan(getattr(each, side)) for each in metrics] for side in ("low", "high"))
        if axis == "y" or not all(map(math.isnan, lows)):
            ids = [f"{each}, interval of: {title}" for each in names]
            marks.append(
                Ranges(
                    xs=xs, ys=ys, lows=lows, highs=highs, role=role, name=name if axis == "y" else "",
                    is_upright=axis == "y", ids=ids,
                )
            )  # fmt: skip
    return marks


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _axis(metrics: Sequence[Metric], title: str) -> Axis:
    values = [end for each in metrics for end in (each.value, each.low, each.high) if end is not None]
    unit = metrics[0].unit
    if unit == "fraction":
        return percent_axis(values, f"{title}, %")
    if unit == "count" and min(values) > 0 and max(values) >= LOG_FROM * min(values):
        return _log_axis(values, title)
    return nice_axis(values, title)


def _log_axis(values: Sequence[float], title: str) -> Axis:
    """Return a logarithmic axis with marks at 1, 2 and 5 times powers of ten, and some room at its ends."""
    low, high = min(values) / MARGIN, max(values) * MARGIN
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return Axis(
        low=low, high=high, ticks=inside if len(inside) <= MOST_TICKS else inside[::3], label=title, is_log=True
    )


def _trainings(places: Sequence[Place]) -> list[list[Place]]:
    """Return the checkpoints of each training that has several, in their order."""
    by_training: dict[str, list[Place]] = {}
    for each in places:
        if each.training is not None:
            by_training.setdefault(each.training, []).append(each)
    return [own for own in by_training.values() if len(own) > 1]


def _title(found: Across) -> str:
    # The unit stands at the axis.
    y_title, x_title = (each.removesuffix(", millions") for each in (found.y_title, found.x_title))
    words = f"{y_title} against {within_sentence(x_title)} of {len(found.places)} models"
    if math.isnan(found.correlation.value):
        return f"{words}: no rank correlation, as {found.correlation.interval.method}."
    return f"{words}: rank correlation {_correlation(found.correlation)}."


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _correlation(found: RankCorrelation) -> str:
    low, high, _ = found.interval
    value, *ends = (fmt.number(each, "correlation") for each in (found.value, low, high))
    return value if low is None else f"{value} ({ends[0]} to {ends[1]})"


def _reading(found: Across, names: Sequence[str]) -> list[str]:
    said = ["Each point is a model, with 95 % intervals of both where there are some."]
    if found.front is not None:
        of_label = dict(zip((each.label for each in found.places), names, strict=True))
        said.append(
            "On the front of price and quality, where no other model is at least as cheap and at least as good, and ahead in one"
            f" of the two: {_listed([of_label[each] for each in found.front])}. By the values: where intervals overlap, a model"
            " beside it may belong to it."
        )
    said += found.notes
    method = found.correlation.interval.method
    if found.are_checkpoints:
        said.append(
            "Checkpoints of one training are joined; they are not independent models, so the correlation has no interval and"
            " no test."
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
