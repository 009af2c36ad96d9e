"""How far down the list the right answer is, both ways."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from clipbench.result import Curve
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure, thinned
from clipbench_reports.svg import Plot, fraction_axis, log_axis, text

LINE = 18
"""Distance of two labels, one below the other, in pixels."""


class Way(NamedTuple):
    """A direction of retrieval."""

    css: str
    """The colour of what is looked for."""
    label: str
    words: str
    reading: str


ACROSS = {
    "image_retrieval_recall": Way(
        "image", "caption → image", "a caption finds its image", "Blue: captions look for their image."
    ),
    "text_retrieval_recall": Way(
        "text", "image → caption", "an image its caption", "Orange: images look for one of their captions."
    ),
}
WITHIN = {
    "image_image_recall": Way(
        "image", "image → image", "an image finds one of its label", "Blue: images look for images of their label."
    ),
    "text_text_recall": Way(
        "text",
        "caption → caption",
        "a caption finds another of its image",
        "Orange: captions look for captions of their image.",
    ),
}


def recall(evidence: Evidence) -> Figure:
    """Return recall against the number of answers looked at, for captions finding images and the reverse.

    Raises:
        Lacking: the run kept neither curve.
    """
    curves = _known(evidence, ACROSS)
    if not curves:
        raise Lacking("no recall curve across images and captions was kept")
    return _drawn(evidence, ACROSS, curves)


def recall_within(evidence: Evidence) -> Figure:
    """Return recall against the number of answers looked at, for images finding images and captions captions.

    Raises:
        Lacking: the run kept neither curve.
    """
    curves = _known(evidence, WITHIN)
    if not curves:
        raise Lacking(
            "images finding images, which takes labels, and captions finding captions, which takes several of an image"
        )
    return _drawn(evidence, WITHIN, curves)


def _known(evidence: Evidence, ways: Mapping[str, Way]) -> dict[str, Curve]:
    kept = {name: _positive(evidence.curve(name)) for name in ways if name in evidence.evaluation.curves}
    return {name: curve for name, curve in kept.items() if curve.x}


def _drawn(evidence: Evidence, ways: Mapping[str, Way], curves: dict[str, Curve]) -> Figure:
    ks = [k for curve in curves.values() for k in curve.x]
    plot = Plot(x=log_axis(ks, "Answers looked at, k"), y=fraction_axis("Found among the first k, %"))
    chance = [_chance(plot, evidence, name, curve) for name, curve in curves.items()]
    lines = [_line(plot, ways[name], curve) for name, curve in curves.items()]
    return figure(
        _sentence(ways, curves),
        [plot.frame(), *chance, *lines, *_names(plot, ways, curves)],
        height=plot.height,
        reading=" ".join([*(ways[name].reading for name in curves), "Dotted: chance, where it is known."]),
        detail=" ".join(_detail(ways[name], curve) for name, curve in curves.items()),
    )


def _positive(curve: Curve) -> Curve:
    """Return the points that a logarithmic axis can hold, thinned."""
    kept = [row for row, x in enumerate(curve.x) if x > 0 and math.isfinite(curve.y[row])]
    kept = [kept[row] for row in thinned(len(kept))]
    low, high = ([bound[row] for row in kept] if bound else None for bound in (curve.low, curve.high))
    return Curve(x=[curve.x[row] for row in kept], y=[curve.y[row] for row in kept], low=low, high=high)


def _line(plot: Plot, way: Way, curve: Curve) -> Markup:
    band = plot.band(curve.x, curve.low, curve.high, way.css) if curve.low and curve.high else Markup("")
    dots = plot.dots(curve.x, curve.y, way.css) if len(curve.x) <= 12 else Markup("")
    return Markup("").join([band, plot.line(curve.x, curve.y, way.css), dots])


def _names(plot: Plot, ways: Mapping[str, Way], curves: dict[str, Curve]) -> list[str]:
    """Return the label of each curve: above the upper and below the lower one where there is room, else both below."""
    upper, *lower = sorted(curves, key=lambda name: -_middle(curves[name])[1])
    floor = plot.height - plot.bottom - 10
    x, y = plot.at(*_middle(curves[upper]))
    _, foot = plot.at(*_middle(curves[lower[-1]])) if lower else (x, y)
    if y - 10 >= plot.top + 12:
        has_room = foot + 22 <= floor
        places = [(x - 8, y - 10 - (0 if has_room else LINE), "end")]
        places.append((x + 8, foot + 22, "start") if has_room else (x - 8, y - 10, "end"))
    elif foot - y < 2 * LINE:  # both at the top: the curves rise, so that it is free below them to the right
        places = [(x + 8, foot + 22, "start"), (x + 8, foot + 22 + LINE, "start")]
    else:
        places = [(x + 8, y + 22, "start"), (x - 8, foot - 10, "end")]
    return [
        text(ways[name].label, at_x, at_y, css=f"halo name {ways[name].css}", anchor=anchor)
        for name, (at_x, at_y, anchor) in zip([upper, *lower], places, strict=False)
    ]


def _middle(curve: Curve) -> tuple[float, float]:
    """Return the point of a curve that is nearest to the middle of a logarithmic axis."""
    target = math.sqrt(curve.x[0] * curve.x[-1])
    row = min(range(len(curve.x)), key=lambda k: abs(math.log(curve.x[k] / target)))
    return curve.x[row], curve.y[row]


def _chance(plot: Plot, evidence: Evidence, name: str, curve: Curve) -> Markup:
    """Return the line through the chance levels of a curve's metrics, which name their k."""
    known: dict[float, float] = {}
    for metric_name, metric in evidence.evaluation.metrics.items():
        base, _, k = metric_name.partition("@")
        if base == name and k.isdecimal() and metric.chance is not None and curve.x[0] <= int(k) <= curve.x[-1]:
            known[float(k)] = metric.chance
    return plot.line(sorted(known), [known[k] for k in sorted(known)], "chance")


def _sentence(ways: Mapping[str, Way], curves: dict[str, Curve]) -> str:
    parts = [f"{ways[name].words} in {fmt.percent(curve.y[0])} %" for name, curve in curves.items()]
    k = next(iter(curves.values())).x[0]
    start = "At the first answer" if k == 1 else f"Among the first {fmt.significant(k)} answers"
    return f"{start}, {' and '.join(parts)}."


def _detail(way: Way, curve: Curve) -> str:
    few = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if x in (1, 5, 10, 100, curve.x[-1])]
    return f"{way.label}: " + ", ".join(f"{fmt.percent(y)} % at {fmt.significant(x)}" for x, y in few) + "."
