"""How well a fact is told, by how far in it is stated."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import bounds, chance_rule
from clipbench_reports.figures._window import context_of, reason_of
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

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


class _Positions(NamedTuple):
    places: list[_Place]
    """The nearest first."""
    context: int | None


def positions(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often the true caption is chosen, against the place of the deciding token in it.

    Raises:
        MissingEvidence: nothing was asked by place, or the tokens could not be counted.
    """
    found = read_each(models, _read)
    every = [place for each in found.values.values() for place in each.places]
    contexts = [each.context or 0 for each in found.values.values()]
    x = nice_axis([0, *(place.token for place in every), *contexts], "Place of the deciding token")
    first = {place.name: place.token for place in next(iter(found.values.values())).places}
    if all(first.get(place.name) == place.token for place in every):  # else tokenizers differ, and the axis has numbers
        names = [f"{name}\n{fmt.significant(token)}" for name, token in first.items()]
        x = replace(x, ticks=list(first.values()), names=names)
    dots = Series("true caption chosen", "ink", found.map(lambda each: _dots(each.places)))
    panels = facets(
        Panel(x=x, y=fraction_axis("True caption chosen, %")),
        [dots],
        found,
        references=found.map(lambda each: _references(each, x)),
        keys=[dots.name],
    )
    return chart(
        [panels],
        found.map(lambda each: _claim(each.places)),
        found,
        reading="One sentence decides whether the caption is true of the image; all others fit any image. Each dot has "
        "the same sentences in another order, bars are 95 % intervals. From the last token of the window on, the model "
        "cannot read the deciding words, and can only guess.",
    )


def _read(evidence: Evidence) -> _Positions:
    curve = evidence.evaluation.curves.get(BY_POSITION)
    if curve is None or not curve.x:
        asked = any(name.endswith("/text_acc") for name in evidence.evaluation.metrics)
        raise MissingEvidence(
            "facts at several places, which these data do not have" if not asked else reason_of(evidence)
        )
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
    return _Positions(sorted(found, key=lambda place: place.token), context_of(evidence))


def _references(found: _Positions, x: Axis) -> list[Mark]:
    chance = next((place.metric.chance for place in found.places if place.metric.chance is not None), None)
    context = found.context
    beyond = [Shade(low=context, high=x.high, name="beyond the window")] if context and context < x.high else []
    return [*beyond, *chance_rule(chance)]


def _dots(places: Sequence[_Place]) -> Ranges:
    lows, highs = bounds(place.metric for place in places)
    return Ranges(
        xs=[place.token for place in places],
        ys=[place.share for place in places],
        lows=lows,
        highs=highs,
        role="ink",
        is_joined=True,
        ids=[place.name for place in places],
    )


def _claim(places: Sequence[_Place]) -> Statement:
    first, last = places[0], places[-1]
    told = ", ".join(f"{place.name} {fmt.percent(place.share)} %" for place in places)
    return Statement(
        title=f"The same fact told from a false one, by where it is stated: {told}.",
        subject=f"The same fact told from a false one, stated {first.name} and {last.name}",
        value=f"{fmt.percent(first.share)} and {fmt.percent(last.share)} %",
        detail=" ".join(f"{place.name}: token {fmt.significant(place.token)}." for place in places),
    )
