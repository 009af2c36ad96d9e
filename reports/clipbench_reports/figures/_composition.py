"""Compositional accuracy by subset, and how near a caption is to its false twin."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.titles import subset_title
from clipbench.stats.claims import order
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Role, Rule, fraction_axis
from clipbench_reports.drawing.models import Layer, Statement, chart, facet_chart
from clipbench_reports.drawing.svg import two_lines
from clipbench_reports.figures._cosines import Distribution, binned, ridges
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted, sentence_case

SPACE, ROW = 0.6, 0.085
"""Between two subsets, where a row is 1, and the height of a row, where the width of the plane is 1."""
NAME_LENGTH = 18
MEANS = ("micro", "macro")
"""Subsets of a metric's name that are means over all."""


class Side(NamedTuple):
    """One way to ask."""

    role: Role
    words: str
    meaning: str = ""


SIDES = {
    "text_acc": Side("text", "captions", "all captions of an image in the right order"),
    "image_acc": Side("image", "images", "all images of a caption"),
    "group_acc": Side("ink", "both"),
    "text_only_acc": Side("pair", "text alone", "captions alone, without the image"),
}
KINDS = {
    "twin_cosine": Side("text", "its false twin"),
    "shuffled_cosine": Side("pair", "its words shuffled"),
    "other_cosine": Side("ink", "an unrelated caption"),
}

Accuracies = Mapping[str, Mapping[str, Metric]]
"""Metrics by subset, then by side."""
Heights = Mapping[tuple[str, str], float]
"""The row of each side of each subset, from the top."""


def composition(models: Sequence[ModelEvidence]) -> Chart:
    """Return the accuracy of each subset with its interval, against chance.

    Raises:
        MissingEvidence: there is no such accuracy.
    """
    by_model = read_each(models, _read)
    rows = {
        subset: [side for side in SIDES if any(side in each.get(subset, {}) for each in by_model.all)]
        for subset in dict.fromkeys(subset for each in by_model.all for subset in each)
    }
    asked = [side for side in SIDES if any(side in sides for sides in rows.values())]
    heights, foot = _heights(rows)
    middles = {subset: float(np.mean([heights[subset, side] for side in sides])) for subset, sides in rows.items()}
    if by_model.is_joint:  # each side has a panel, in which the models share the row of a subset
        heights = {(subset, side): middles[subset] for subset, side in heights}
    y = Axis(low=foot, high=0)
    if list(rows) != [""]:
        y = replace(y, ticks=list(middles.values()), names=[two_lines(subset, NAME_LENGTH) for subset in rows])
    meanings = "; ".join(f"{SIDES[side].words}: {SIDES[side].meaning}" for side in asked if SIDES[side].meaning)
    return facet_chart(
        Panel(x=fraction_axis("Accuracy, %"), y=y, aspect=ROW * foot, has_grid=False),
        ByModel(
            by_model.map(lambda each: Layer(_marks(each, asked, heights), _state(each, asked[0]))), by_model.missing
        ),
        reading=f"{sentence_case(meanings)}{'. ' if meanings else ''}Bars are 95 % intervals.",
    )


def _read(evidence: Evidence) -> Accuracies:
    """Return the defined accuracies by the title of their subset, then by side; means over subsets are left out."""
    of_sides = {side: by_subset(evidence.evaluation, side) for side in SIDES}
    subsets = subsets_of(evidence.evaluation.metrics)
    accuracies = {s: {side: of_side[s] for side, of_side in of_sides.items() if s in of_side} for s in subsets}
    if not any(accuracies.values()):
        raise MissingEvidence("no accuracy of choices was recorded")
    titles = evidence.evaluation.subsets
    return {subset_title(subset, titles): sides for subset, sides in accuracies.items() if sides}


def _heights(rows: Mapping[str, Sequence[str]]) -> tuple[dict[tuple[str, str], float], float]:
    """Return the row of each side of each subset, from the top, and where the plane ends."""
    heights, top = dict[tuple[str, str], float](), SPACE / 2
    for subset, sides in rows.items():
        for k, side in enumerate(sides):
            heights[subset, side] = top + k + 0.5
        top += len(sides) + SPACE
    return heights, top - SPACE / 2


def _marks(accuracies: Accuracies, asked: Sequence[str], heights: Heights) -> list[Mark]:
    marks: list[Mark] = [
        Rule(
            at=metric.chance,
            axis="x",
            role="chance",
            name=CHANCE,
            span=(heights[subset, side] - 0.5, heights[subset, side] + 0.5),
            of=SIDES[side].words,
        )
        for subset, sides in accuracies.items()
        for side, metric in sides.items()
        if metric.chance is not None
    ]
    for side in asked:
        known = {subset: sides[side] for subset, sides in accuracies.items() if side in sides}
        lows, highs = bounds(known.values())
        dots = Ranges(
            xs=[metric.value or 0.0 for metric in known.values()],
            ys=[heights[subset, side] for subset in known],
            lows=lows,
            highs=highs,
            role=SIDES[side].role,
            name=SIDES[side].words,
            is_upright=False,
            ids=list(known),
        )
        marks += [dots] if known else []
    return marks


def _state(accuracies: Accuracies, side: str) -> Statement:
    scored = {subset: sides[side] for subset, sides in accuracies.items() if side in sides}
    words = sentence_case(SIDES[side].words)
    if len(scored) == 1:
        (metric,) = scored.values()
        chance = f", chance {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
        title = f"{words} are told apart in {fmt.percent(metric.value)} % of {fmt.count(metric.n)} items{chance}."
        subject, value = f"{words} told apart", f"{fmt.percent(metric.value)} %"
    else:
        title = f"{words} are told apart {_order(scored)}."
        subject, value = f"{words} told apart, over the subsets", _span(scored.values())
    details = []
    for subset, sides in accuracies.items():
        shares = ", ".join(f"{SIDES[side].words} {fmt.percent(metric.value)} %" for side, metric in sides.items())
        details.append(f"{subset or 'All'}: {shares}.")
    return Statement(title, subject, value, detail=" ".join(details))


def _order(scored: Mapping[str, Metric]) -> str:
    """Return in which subset true and false are told apart best, and worst, as far as tests tell; else the values."""

    def say(subset: str) -> str:
        return f"{quoted(subset)} ({fmt.percent(scored[subset].value)} %)"

    found = order(scored)
    ends = {"best": found.highest, "worst": found.lowest}
    named = {how: subset for how, subset in ends.items() if subset is not None}
    if named:
        parts = " and ".join(f"{how} in {say(subset)}" for how, subset in named.items())
        rest = [metric for subset, metric in scored.items() if subset not in named.values()]
        return f"{parts}, in the others in {_span(rest)}" if rest else parts
    if found.ends:
        low, high = map(say, found.ends)
        return f"more often in {high} than in {low}"
    return f"in {_span(scored.values())} of the items of {len(scored)} subsets"


def _span(metrics: Iterable[Metric]) -> str:
    """Return the lowest and the highest of some values, which claims no order of the metrics."""
    values = [metric.value or 0.0 for metric in metrics]
    low, high = fmt.percent(min(values)), fmt.percent(max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"


def subsets_of(names: Iterable[str]) -> list[str]:
    """Return the subsets of metric names, without means over all and over a category; "" is a set without subsets.

    A subset is a category where others have its name and an underscore before their own, as ``swap`` and ``swap_att``.

    Example:
        >>> subsets_of(["macro/text_acc", "swap/text_acc", "swap_att/text_acc", "swap_obj/text_acc", "twin_cosine"])
        ['swap_att', 'swap_obj', '']
    """
    subsets = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    categories = {each for each in subsets if each and any(other.startswith(f"{each}_") for other in subsets)}
    return [each for each in subsets if each not in MEANS and each not in categories]


def by_subset(evaluation: EvaluationRecord, score: str) -> Mapping[str, Metric]:
    """Return a score's defined values by subset."""
    known = {subset: f"{subset}/{score}" if subset else score for subset in subsets_of(evaluation.metrics)}
    metrics = {subset: evaluation.metrics[name] for subset, name in known.items() if name in evaluation.metrics}
    return {subset: metric for subset, metric in metrics.items() if metric.value is not None}


def twins(models: Sequence[ModelEvidence]) -> Chart:
    """Return the distributions of cosines between a caption and its twin, its shuffled self, and another caption.

    Raises:
        MissingEvidence: no two captions were compared.
    """
    by_model = read_each(models, _cosines)
    return chart(
        [ridges(by_model)],
        by_model.map(_state_twins),
        by_model,
        reading="Cosines between text vectors, each distribution scaled to the same height; the upright stroke is its "
        "mean. Where a caption lies as near to its twin as to itself (cosine 1), no image can tell the two apart.",
    )


def _cosines(evidence: Evidence) -> list[Distribution]:
    distributions = []
    for name, side in KINDS.items():
        try:
            values = evidence.numbers(name)
        except MissingEvidence:
            continue
        values = values[np.isfinite(values)]
        if len(values):
            distributions.append(Distribution(side.words, side.role, *binned(values), float(values.mean())))
    if not distributions:
        raise MissingEvidence("no captions of one item were compared")
    return distributions


def _state_twins(distributions: Sequence[Distribution]) -> Statement:
    means = ", ".join(f"with {each.label} {fmt.number(each.mean, 'cosine')}" for each in distributions)
    return Statement(
        title=f"A caption’s cosine on average: {means}.",
        subject=f"A caption’s mean cosine with {distributions[0].label}",
        value=fmt.number(distributions[0].mean, "cosine"),
    )
