"""Whether true beats false, subset by subset, and how near a caption is to its twin."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from clipbench.result import EvaluationRecord, Metric
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._cosines import Distribution, bin_counts, ridge, ridge_plot
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.subsets import by_subset, subsets_of
from clipbench_reports.svg import Axis, Plot, element, fraction_axis, shorten, text

ROW, SPACE = 20, 12
"""Height of a line, and what is left between two subsets, in pixels."""
NAME_LENGTH = 17
LEFT = 136


class Side(NamedTuple):
    """One way to ask."""

    css: str
    words: str


SIDES = {
    "text_acc": Side("text", "captions"),
    "image_acc": Side("image", "pictures"),
    "group_acc": Side("ink", "both"),
    "text_only_acc": Side("pair", "text alone"),
}
KINDS = {
    "twin_cosine": Side("text", "its false twin"),
    "shuffled_cosine": Side("pair", "its words shuffled"),
    "other_cosine": Side("ink", "an unrelated caption"),
}


def composition(evidence: Evidence) -> Figure:
    """Return the accuracy of each subset with its interval, against chance.

    Raises:
        Lacking: there is no such accuracy.
    """
    found = accuracies(evidence.evaluation)
    if not found:
        raise Lacking("no accuracy of choices was recorded")
    n_lines = sum(len(sides) for sides in found.values())
    height = 12 + ROW * n_lines + SPACE * len(found) + 46
    plot = Plot(x=fraction_axis("Right, %"), y=Axis(low=1, high=0, ticks=()), height=height, left=LEFT)
    rows, top = [], float(plot.top)
    for subset, sides in found.items():
        rows.append(_block(plot, subset, sides, top))
        top += ROW * len(sides) + SPACE
    asked = [side for side in SIDES if any(side in sides for sides in found.values())]
    return figure(
        _sentence(found, asked[0]),
        [plot.frame(), *rows],
        height=height,
        reading=_reading(asked),
        detail=" ".join(_detail(subset, sides) for subset, sides in found.items()),
    )


def accuracies(evaluation: EvaluationRecord) -> dict[str, dict[str, Metric]]:
    """Return the defined accuracies by subset, then by side; means over subsets are left out."""
    of_sides = {side: by_subset(evaluation, side) for side in SIDES}
    subsets = subsets_of(evaluation.metrics)
    found = {s: {side: of_side[s] for side, of_side in of_sides.items() if s in of_side} for s in subsets}
    return {subset: sides for subset, sides in found.items() if sides}


def twins(evidence: Evidence) -> Figure:
    """Return the distributions of cosines between a caption and its twin, its shuffled self, and another caption.

    Raises:
        Lacking: no two captions were compared.
    """
    rows = [_distribution(side, evidence.column(name)) for name, side in KINDS.items() if _is_kept(evidence, name)]
    if not rows:
        raise Lacking("no captions of one item were compared")
    plot = ridge_plot(rows)
    means = ", ".join(f"with {row.label} {fmt.significant(row.mean)}" for row in rows)
    return figure(
        f"A caption’s cosine on average: {means}.",
        [plot.frame(), *(ridge(plot, place, row) for place, row in enumerate(rows))],
        height=plot.height,
        reading="Cosines between text vectors, each distribution scaled to the same height; the tick is its mean. Where "
        "a caption lies as near to its twin as to itself (cosine 1), no picture can tell the two apart.",
    )


def _is_kept(evidence: Evidence, name: str) -> bool:
    try:
        return bool(np.isfinite(evidence.column(name).astype(np.float64)).any())
    except Lacking:
        return False


def _distribution(side: Side, column: np.ndarray) -> Distribution:
    values = column.astype(np.float64)
    values = values[np.isfinite(values)]
    return Distribution(side.words, side.css, bin_counts(values), float(values.mean()))


def _block(plot: Plot, subset: str, sides: Mapping[str, Metric], top: float) -> Markup:
    """Return the lines of one subset under each other, with its name to the left of the first."""
    name = (
        text(shorten(subset, NAME_LENGTH), plot.left - 10, top + ROW / 2 + 4.5, anchor="end") if subset else Markup("")
    )
    lines = [_line(plot, side, metric, top + ROW * (k + 0.5)) for k, (side, metric) in enumerate(sides.items())]
    return element("g", name, *lines)


def _line(plot: Plot, side: str, metric: Metric, y: float) -> Markup:
    """Return a dot with its interval, and a short stroke at chance."""
    assert metric.value is not None, side
    css = SIDES[side].css
    x, _ = plot.at(metric.value, 0)
    parts = [element("path", d=f"M{plot.left} {y:.1f}H{plot.at(1, 0)[0]:.1f}", css="grid")]
    if metric.chance is not None:
        at, _ = plot.at(metric.chance, 0)
        parts.append(element("path", d=f"M{at:.1f} {y - ROW / 2:.1f}v{ROW}", css="line chance"))
    if metric.low is not None and metric.high is not None:
        (low, _), (high, _) = plot.at(metric.low, 0), plot.at(metric.high, 0)
        parts.append(element("path", d=f"M{low:.1f} {y:.1f}H{high:.1f}", css=f"line {css}"))
    parts.append(element("circle", cx=x, cy=y, r=4, css=f"dot {css}"))
    return element("g", *parts, css=css)


def _sentence(found: Mapping[str, Mapping[str, Metric]], side: str) -> str:
    scored = {subset: sides[side] for subset, sides in found.items() if side in sides}
    what = fmt.sentence_case(SIDES[side].words)
    if len(scored) == 1:
        (metric,) = scored.values()
        chance = f", chance {fmt.percent(metric.chance)} %" if metric.chance is not None else ""
        return f"{what} are told apart in {fmt.percent(metric.value)} % of {fmt.count(metric.n)} items{chance}."
    order = sorted(scored, key=lambda subset: scored[subset].value or 0.0)
    first, last = order[-1], order[0]
    return (
        f"{what} are told apart best in {fmt.named(first)} ({fmt.percent(scored[first].value)} %) and worst in "
        f"{fmt.named(last)} ({fmt.percent(scored[last].value)} %)."
    )


def _reading(asked: list[str]) -> str:
    colours = {
        "text_acc": "Orange: all captions of a picture in the right order",
        "image_acc": "blue: all pictures of a caption",
        "group_acc": "black: both",
        "text_only_acc": "grey: captions alone, without the picture",
    }
    said = "; ".join(colours[side] for side in asked)
    return f"{said[:1].upper()}{said[1:]}. The line is the 95 % interval; dotted: chance."


def _detail(subset: str, sides: Mapping[str, Metric]) -> str:
    said = ", ".join(f"{SIDES[side].words} {fmt.percent(metric.value)} %" for side, metric in sides.items())
    return f"{subset}: {said}." if subset else f"{fmt.sentence_case(said)}."
