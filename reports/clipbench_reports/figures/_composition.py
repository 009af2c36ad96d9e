"""Whether true beats false, subset by subset, and how near a caption is to its twin."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import EvaluationRecord, Metric
from clipbench_reports.drawing.marks import Axis, Chart, Mark, Panel, Ranges, Role, Rule, fraction_axis
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._cosines import Distribution, binned, ridge_keys, ridges
from clipbench_reports.figures._figure import CHANCE, bounds
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.subsets import by_subset, subsets_of
from clipbench_reports.page.text import quoted, sentence_case

SPACE, ROW = 0.6, 0.085
"""Between two subsets, where a row is 1, and the height of a row, where the width of the plane is 1."""
NAME_LENGTH = 17


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


def composition(evidence: Evidence) -> Chart:
    """Return the accuracy of each subset with its interval, against chance.

    Raises:
        MissingEvidence: there is no such accuracy.
    """
    found = accuracies(evidence.evaluation)
    if not found:
        raise MissingEvidence("no accuracy of choices was recorded")
    heights = _heights(found)
    asked = [side for side in SIDES if any(side in sides for sides in found.values())]
    foot = max(heights.values()) + 0.5 + SPACE / 2
    return Chart(
        title=_sentence(found, asked[0]),
        panels=[
            Panel(
                x=fraction_axis("Right, %"),
                y=_subset_axis(found, heights, foot),
                marks=[*_chances(found, heights), *(_ranges(side, found, heights) for side in asked)],
                aspect=ROW * foot,
                has_grid=False,
            )
        ],
        reading=_reading(asked),
        detail=" ".join(_detail(subset, sides) for subset, sides in found.items()),
        subject=_subject(found, asked[0]),
        value=_value(found, asked[0]),
    )


def accuracies(evaluation: EvaluationRecord) -> dict[str, dict[str, Metric]]:
    """Return the defined accuracies by subset, then by side; means over subsets are left out."""
    of_sides = {side: by_subset(evaluation, side) for side in SIDES}
    subsets = subsets_of(evaluation.metrics)
    found = {s: {side: of_side[s] for side, of_side in of_sides.items() if s in of_side} for s in subsets}
    return {subset: sides for subset, sides in found.items() if sides}


def twins(evidence: Evidence) -> Chart:
    """Return the distributions of cosines between a caption and its twin, its shuffled self, and another caption.

    Raises:
        MissingEvidence: no two captions were compared.
    """
    found = [_distribution(side, evidence.column(name)) for name, side in KINDS.items() if _is_kept(evidence, name)]
    if not found:
        raise MissingEvidence("no captions of one item were compared")
    means = ", ".join(f"with {each.label} {fmt.number(each.mean, 'cosine')}" for each in found)
    return Chart(
        title=f"A caption’s cosine on average: {means}.",
        panels=[ridges(found)],
        reading="Cosines between text vectors, each distribution scaled to the same height; the upright stroke is its "
        "mean. Where a caption lies as near to its twin as to itself (cosine 1), no image can tell the two apart.",
        keys=ridge_keys(found),
        subject=f"A caption’s mean cosine with {found[0].label}",
        value=fmt.number(found[0].mean, "cosine"),
    )


def _is_kept(evidence: Evidence, name: str) -> bool:
    try:
        return bool(np.isfinite(evidence.column(name).astype(np.float64)).any())
    except MissingEvidence:
        return False


def _distribution(side: Side, column: np.ndarray) -> Distribution:
    values = column.astype(np.float64)
    values = values[np.isfinite(values)]
    return Distribution(side.words, side.role, *binned(values), float(values.mean()))


def _heights(found: Mapping[str, Mapping[str, Metric]]) -> dict[tuple[str, str], float]:
    """Return the row of each side of each subset, from the top."""
    heights, top = dict[tuple[str, str], float](), SPACE / 2
    for subset, sides in found.items():
        for k, side in enumerate(sides):
            heights[subset, side] = top + k + 0.5
        top += len(sides) + SPACE
    return heights


def _subset_axis(
    found: Mapping[str, Mapping[str, Metric]], heights: Mapping[tuple[str, str], float], foot: float
) -> Axis:
    """Return the axis that names each subset at the middle of its rows."""
    if list(found) == [""]:
        return Axis(low=foot, high=0)
    ticks = [float(np.mean([heights[subset, side] for side in sides])) for subset, sides in found.items()]
    return Axis(low=foot, high=0, ticks=ticks, names=[shorten(subset, NAME_LENGTH) for subset in found])


def _chances(found: Mapping[str, Mapping[str, Metric]], heights: Mapping[tuple[str, str], float]) -> list[Mark]:
    return [
        Rule(
            at=found[subset][side].chance or 0.0,
            axis="x",
            role="chance",
            name=CHANCE,
            span=(height - 0.5, height + 0.5),
            of=SIDES[side].words,
        )
        for (subset, side), height in heights.items()
        if found[subset][side].chance is not None
    ]


def _ranges(side: str, found: Mapping[str, Mapping[str, Metric]], heights: Mapping[tuple[str, str], float]) -> Ranges:
    """Return one side of all subsets that have it."""
    known = {subset: sides[side] for subset, sides in found.items() if side in sides}
    lows, highs = bounds(known.values())
    return Ranges(
        xs=[metric.value or 0.0 for metric in known.values()],
        ys=[heights[subset, side] for subset in known],
        lows=lows,
        highs=highs,
        role=SIDES[side].role,
        name=SIDES[side].words,
        is_upright=False,
        ids=list(known),
    )


def _sentence(found: Mapping[str, Mapping[str, Metric]], side: str) -> str:
    scored = {subset: sides[side] for subset, sides in found.items() if side in sides}
    what = sentence_case(SIDES[side].words)
    if len(scored) == 1:
        (metric,) = scored.values()
        chance = f", chance {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
        return f"{what} are told apart in {fmt.percent(metric.value)} % of {fmt.count(metric.n)} items{chance}."
    order = sorted(scored, key=lambda subset: scored[subset].value or 0.0)
    first, last = order[-1], order[0]
    return (
        f"{what} are told apart best in {quoted(first)} ({fmt.percent(scored[first].value)} %) and worst in "
        f"{quoted(last)} ({fmt.percent(scored[last].value)} %)."
    )


def _subject(found: Mapping[str, Mapping[str, Metric]], side: str) -> str:
    several = sum(1 for sides in found.values() if side in sides) > 1
    return f"{sentence_case(SIDES[side].words)} told apart{', in the worst and the best subset' if several else ''}"


def _value(found: Mapping[str, Mapping[str, Metric]], side: str) -> str:
    """Return the accuracy of the only subset; of several, the smallest and the largest."""
    values = sorted(sides[side].value or 0.0 for sides in found.values() if side in sides)
    return (
        f"{' and '.join(fmt.percent(value) for value in (values if len(values) == 1 else (values[0], values[-1])))} %"
    )


def _reading(asked: list[str]) -> str:
    sides = [SIDES[side] for side in asked]
    said = "; ".join(f"{side.words}: {side.meaning}" for side in sides if side.meaning)
    return f"{sentence_case(said)}{'. ' if said else ''}Bars are 95 % intervals."


def _detail(subset: str, sides: Mapping[str, Metric]) -> str:
    said = ", ".join(f"{SIDES[side].words} {fmt.percent(metric.value)} %" for side, metric in sides.items())
    return f"{subset or 'All'}: {said}."
