"""How well a fact is told, by how far in it is stated."""

from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from clipbench.result import Metric
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, chance_line, figure
from clipbench_reports.figures._window import TOP, context_of, reason_of
from clipbench_reports.svg import WIDTH, Plot, element, fraction_axis, nice_axis, shorten, text

BY_POSITION = "text_acc_by_position"
"""The curve that is drawn with the names of its places."""


class _Place(NamedTuple):
    name: str
    token: float
    metric: Metric


def positions(evidence: Evidence) -> Figure:
    """Return how often the true caption is chosen, against the place of the deciding token in it.

    Raises:
        Lacking: nothing was asked by place, or the tokens could not be counted.
    """
    curve = evidence.evaluation.curves.get(BY_POSITION)
    if curve is None or not curve.x:
        asked = any(name.endswith("/text_acc") for name in evidence.evaluation.metrics)
        raise Lacking("facts at several places, which these data do not have" if not asked else reason_of(evidence))
    places, context = _places(evidence), context_of(evidence)
    plot = Plot(
        x=nice_axis([0, *(place.token for place in places), context or 0], "Place of the deciding token"),
        y=fraction_axis("True caption chosen, %"),
        top=TOP,
        height=318,
    )
    chance = next((place.metric.chance for place in places if place.metric.chance is not None), None)
    window = [_beyond(plot, context)] if context is not None and context < plot.x.high else []
    line = plot.line([place.token for place in places], [place.metric.value or 0 for place in places], "ink")
    told = ", ".join(f"{place.name} {fmt.percent(place.metric.value)} %" for place in places)
    return figure(
        f"The same fact told from a false one, by where it is stated: {told}.",
        [plot.frame(), *window, chance_line(plot, chance), line, *(_dot(plot, place) for place in places)],
        height=plot.height,
        reading="One sentence decides whether the caption is true of the image; all others fit any image. Each dot has "
        "the same sentences in another order, bars are 95 % intervals, dotted is chance. In the shaded part, from the "
        "last token of the window on, the model cannot read the deciding words, and can only guess.",
        detail=" ".join(f"{place.name}: token {fmt.significant(place.token)}." for place in places),
    )


def _places(evidence: Evidence) -> list[_Place]:
    """Return the places, the nearest first, with their accuracy."""
    names = evidence.column("place").astype(str)
    tokens = evidence.column("fact_token").astype(np.float64)
    found = []
    for name in dict.fromkeys(names.tolist()):
        metric = evidence.evaluation.metrics.get(f"{name}/text_acc")
        at = tokens[(names == name) & np.isfinite(tokens)]
        if metric is not None and metric.value is not None and len(at):
            found.append(_Place(shorten(name, 14), float(np.median(at)), metric))
    if not found:
        raise Lacking("no place has an accuracy")
    return sorted(found, key=lambda place: place.token)


def _beyond(plot: Plot, context: int) -> Markup:
    """Return the shade over what the model cannot read."""
    (left, top), (right, foot) = plot.at(context, plot.y.high), plot.at(plot.x.high, plot.y.low)
    shade = element("rect", x=left, y=top, width=right - left, height=foot - top, css="bar")
    return Markup("").join([shade, text("beyond the window", right, plot.top - 10, css="soft", anchor="end")])


def _dot(plot: Plot, place: _Place) -> Markup:
    assert place.metric.value is not None
    x, y = place.token, place.metric.value
    parts = [plot.dots([x], [y], "ink", radius=4.5)]
    if place.metric.low is not None and place.metric.high is not None:
        parts.insert(0, plot.line([x, x], [place.metric.low, place.metric.high], "ink"))
    at_x, at_y = plot.at(x, y)
    _, low = plot.at(x, y if place.metric.low is None else place.metric.low)
    is_low = low > plot.height - plot.bottom - 30
    anchor = "end" if at_x > WIDTH - 60 else "start" if at_x < plot.left + 30 else "middle"
    parts.append(text(place.name, at_x, at_y - 12 if is_low else low + 20, css="halo", anchor=anchor))
    return Markup("").join(parts)
