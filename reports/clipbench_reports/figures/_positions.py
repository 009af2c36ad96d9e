"""How well a fact is told, by how far in it is stated."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import bounds, chance_rule
from clipbench_reports.figures._window import context_of, reason_of
from clipbench_reports.page.evidence import Evidence, MissingEvidence

BY_POSITION = "text_acc_by_position"
"""The curve that is drawn with the names of its places."""


class _Place(NamedTuple):
    name: str
    token: float
    metric: Metric

    @property
    def share(self) -> float:
        assert self.metric.value is not None, self.name
        return self.metric.value


def positions(evidence: Evidence) -> Chart:
    """Return how often the true caption is chosen, against the place of the deciding token in it.

    Raises:
        MissingEvidence: nothing was asked by place, or the tokens could not be counted.
    """
    curve = evidence.evaluation.curves.get(BY_POSITION)
    if curve is None or not curve.x:
        asked = any(name.endswith("/text_acc") for name in evidence.evaluation.metrics)
        raise MissingEvidence(
            "facts at several places, which these data do not have" if not asked else reason_of(evidence)
        )
    places, context = _places(evidence), context_of(evidence)
    x = _token_axis(places, context)
    told = ", ".join(f"{place.name} {fmt.percent(place.share)} %" for place in places)
    return Chart(
        title=f"The same fact told from a false one, by where it is stated: {told}.",
        panels=[Panel(x=x, y=fraction_axis("True caption chosen, %"), marks=_marks(places, x, context))],
        reading="One sentence decides whether the caption is true of the image; all others fit any image. Each dot has "
        "the same sentences in another order, bars are 95 % intervals. From the last token of the window on, the model "
        "cannot read the deciding words, and can only guess.",
        detail=" ".join(f"{place.name}: token {fmt.significant(place.token)}." for place in places),
        keys=["true caption chosen"],
        subject=f"The same fact told from a false one, stated {places[0].name} and {places[-1].name}",
        value=f"{fmt.percent(places[0].share)} and {fmt.percent(places[-1].share)} %",
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
        raise MissingEvidence("no place has an accuracy")
    return sorted(found, key=lambda place: place.token)


def _token_axis(places: list[_Place], context: int | None) -> Axis:
    """Return the axis of tokens, which has its marks where facts are told."""
    ticks = [place.token for place in places]
    names = [f"{place.name}\n{fmt.significant(place.token)}" for place in places]
    return replace(nice_axis([0, *ticks, context or 0], "Place of the deciding token"), ticks=ticks, names=names)


def _marks(places: list[_Place], x: Axis, context: int | None) -> list[Mark]:
    lows, highs = bounds(place.metric for place in places)
    chance = next((place.metric.chance for place in places if place.metric.chance is not None), None)
    beyond = [Shade(low=context, high=x.high, name="beyond the window")] if context and context < x.high else []
    dots = Ranges(
        xs=[place.token for place in places],
        ys=[place.share for place in places],
        lows=lows,
        highs=highs,
        role="ink",
        name="true caption chosen",
        is_joined=True,
        ids=[place.name for place in places],
    )
    return [*beyond, *chance_rule(chance), dots]
