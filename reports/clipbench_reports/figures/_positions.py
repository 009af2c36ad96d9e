"""Accuracy on a fact, by how far into the caption it is stated."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Shade, fraction_axis, nice_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._figure import bounds, chance_rule
from clipbench_reports.figures._tokens import context_of, reason_of
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each

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


def positions(models: Sequence[ModelEvidence]) -> Chart:
    """Return how often the true caption is chosen, against the place of the deciding token in it.

    Raises:
        MissingEvidence: nothing was asked by place, or the tokens could not be counted.
    """
    places = read_each(models, _read)
    every, first = [place for own in places.all for place in own], {each.name: each.token for each in places.all[0]}
    contexts = {model: context_of(evidence) for model, evidence in models}
    x = nice_axis(
        [0, *(place.token for place in every), *(each or 0 for each in contexts.values())],
        "Place of the deciding token",
    )
    if all(first.get(place.name) == place.token for place in every):  # else tokenizers differ, and the axis has numbers
        names = [f"{name}\n{fmt.significant(token)}" for name, token in first.items()]
        x = replace(x, ticks=list(first.values()), names=names)
    layers = {model: Layer(_marks(own, contexts[model], x), _state(own)) for model, own in places.values.items()}
    return facet_chart(
        Panel(x=x, y=fraction_axis("True caption chosen, %")),
        ByModel(layers, places.missing),
        reading="One sentence decides whether the caption is true of the image; all others fit any image. Each dot has "
        "the same sentences in another order, bars are 95 % intervals. From the last token of the window on, the model "
        "cannot read the deciding words, and can only guess.",
        keys=["true caption chosen"],
    )


def _read(evidence: Evidence) -> list[_Place]:
    """Return the places, the nearest first, with their accuracy."""
    curve = evidence.evaluation.curves.get(BY_POSITION)
    if curve is None or not curve.x:
        asked = any(name.endswith("/text_acc") for name in evidence.evaluation.metrics)
        raise MissingEvidence(
            "facts at several places, which these data do not have" if not asked else reason_of(evidence)
        )
    names = evidence.words("place")
    tokens = evidence.numbers("fact_token")
    places = []
    for name in dict.fromkeys(names.tolist()):
        metric = evidence.evaluation.metrics.get(f"{name}/text_acc")
        at = tokens[(names == name) & np.isfinite(tokens)]
        if metric is not None and metric.value is not None and len(at):
            title = within_sentence(subset_title(name, evidence.evaluation.subsets))
            places.append(_Place(shorten(title, 16), float(np.median(at)), metric))
    if not places:
        raise MissingEvidence("no place has an accuracy")
    return sorted(places, key=lambda place: place.token)


def _marks(places: Sequence[_Place], context: int | None, x: Axis) -> list[Mark]:
    lows, highs = bounds(place.metric for place in places)
    chance = next((place.metric.chance for place in places if place.metric.chance is not None), None)
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
    beyond = [Shade(low=context, high=x.high, name="beyond the window")] if context and context < x.high else []
    return [*beyond, *chance_rule(chance), dots]


def _state(places: Sequence[_Place]) -> Statement:
    shares = {place.name: f"{fmt.percent(place.share)} %" for place in places}
    first, last = places[0], places[-1]
    return Statement(
        title=f"Accuracy by where the fact is stated: {', '.join(f'{name} {share}' for name, share in shares.items())}.",
        subject=f"Accuracy for a fact stated {first.name} and {last.name}",
        value=f"{fmt.percent(first.share)} and {shares[last.name]}",
        detail=" ".join(f"{place.name}: token {fmt.significant(place.token)}." for place in places),
    )
