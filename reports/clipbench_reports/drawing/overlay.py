"""Values and lines of several models in one panel: there, colour is the model, and nothing else.

What colour was in the figure of one model, such as image and text, is a panel of its own: the same axes, the models in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

from clipbench.results.numbers import Number
from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Boxes,
    Cells,
    Dots,
    Hill,
    Line,
    Mark,
    Panel,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
)
from clipbench_reports.drawing.models import ModelKey
from clipbench_reports.drawing.shared_axes import united

MAX_BANDS = 2
"""Models up to which the bands of lines are drawn: more of them would be one grey."""
SPREAD, MAX_STEP, NEAR = 0.7, 0.05, 0.02
"""What the models of a category are spread over, where 1 is the distance of two; what is between two models at most, where 1
is the whole axis; and the same where the places of the categories are values themselves."""

Which = Literal["x", "y"]
Measured = Line | Ranges | Dots | Bars


class Part(NamedTuple):
    """A panel of one model."""

    model: ModelKey
    panel: Panel


class Overlay(NamedTuple):
    """Panels in which all models are, and what must be said of them."""

    panels: list[Panel]
    own: list[str]
    """Names of references that differ from model to model."""
    common: list[str]
    """Names of what is the same for all, and drawn once."""
    has_hidden_bands: bool
    is_reordered: bool
    """Whether a model had its rows in another order."""


def can_be_overlaid(parts: Sequence[Part]) -> bool:
    """Return whether models can be told apart in one panel: no mark hides others, and their categories are the same."""
    if any(part.panel.is_to_scale or any(map(_hides, part.panel.marks)) for part in parts):
        return False
    which = _categories(parts)
    names = [list(getattr(part.panel, which).names) for part in parts] if which else []
    return all(each == names[0] or _is_reordering(each, names[0]) for each in names)


def can_be_told_apart(models: Sequence[ModelKey]) -> bool:
    """Return whether each model has a colour of its own."""
    return all(model.place < len(MODELS) for model in models)


def overlay(parts: Sequence[Part], keys: Sequence[str]) -> Overlay:
    """Return a panel for each series of the panels of several models, with all models in it.

    Args:
        parts: of one quantity, one a model.
        keys: names of series that need no title.
    """
    aligned = _aligned(parts)
    found = [_common(aligned), _differing(aligned)]
    names = list(
        dict.fromkeys(mark.name for part in aligned for mark in part.panel.marks if _is_measured(mark, found[0]))
    )
    panels = [_facet(aligned, name, found[0], keys) for name in names or [""]]
    if len(panels) > 1 and _categories(parts) == "y":  # narrower than the figure of one model, and its rows hold more
        panels = [replace(panel, aspect=panel.aspect * (1 + len(parts) / 6)) for panel in panels]
    lines = [mark for part in parts for mark in part.panel.marks if isinstance(mark, Line)]
    return Overlay(
        panels=panels,
        own=list(dict.fromkeys(mark.name for mark in found[1] if mark.name)),
        common=[mark.name for mark in found[0] if isinstance(mark, Bars)],
        has_hidden_bands=len(parts) > MAX_BANDS and any(line.lows is not None for line in lines),
        is_reordered=any(list(one.names) != list(other.names) for one, other in pairwise(_category_axes(parts))),
    )


def _hides(mark: Mark) -> bool:
    return isinstance(mark, Threads | Hill | Cells | Boxes) or (isinstance(mark, Dots) and mark.is_dense)


def _is_reordering(names: list[str], others: list[str]) -> bool:
    return sorted(names) == sorted(others) and len(set(names)) == len(names)


def _is_reference(mark: Mark) -> bool:
    is_drawn_to_compare = isinstance(mark, Rule | Shade | Words) or mark.role == "chance"
    return is_drawn_to_compare or (isinstance(mark, Line) and mark.is_reference)


def _is_measured(mark: Mark, common: Sequence[Mark]) -> bool:
    return not _is_reference(mark) and mark not in common


def _common(parts: Sequence[Part]) -> list[Mark]:
    """Return the references that are equal for all; so is a histogram of the data themselves."""
    candidates = [
        mark for mark in parts[0].panel.marks if _is_reference(mark) or (isinstance(mark, Bars) and len(parts) > 1)
    ]
    return [mark for mark in candidates if all(mark in part.panel.marks for part in parts)]


def _differing(parts: Sequence[Part]) -> list[Mark]:
    common = _common(parts)
    return [mark for part in parts for mark in part.panel.marks if _is_reference(mark) and mark not in common]


def _facet(parts: Sequence[Part], name: str, common: Sequence[Mark], keys: Sequence[str]) -> Panel:
    """Return the panel of one series."""
    first, marks = parts[0].panel, [_neutral(mark) for mark in common if _is_for(mark, name)]
    for part in parts:
        own = (mark for mark in part.panel.marks if mark not in common and _is_reference(mark) and _is_for(mark, name))
        marks += [made for mark in own for made in _own(mark, part.model, len(parts))]
    for k, part in enumerate(parts):
        series = [mark for mark in part.panel.marks if mark.name == name and _is_measured(mark, common)]
        marks += [_recoloured(mark, part.model, aside=_aside(parts, k), n=len(parts)) for mark in series]
    return replace(
        first,
        title=": ".join(filter(None, (first.title, "" if name in keys else name))),
        marks=marks,
        is_broad=False,
    )


def _is_for(mark: Mark, name: str) -> bool:
    """Return whether a reference is for the series of a name."""
    return not isinstance(mark, Line | Rule | Shade) or mark.of in ("", name)


def _neutral(mark: Mark) -> Mark:
    """Return what is of all models in grey: black is the first of them."""
    return replace(mark, role="pair") if isinstance(mark, Bars) or mark.role == "ink" else mark


def _own(mark: Mark, model: ModelKey, n: int) -> list[Mark]:
    """Return a reference of one model in its colour: broken, so as not to be taken for what was measured."""
    role, name = MODELS[model.place], f"{model.label}, {mark.name}" if mark.name else ""
    if isinstance(mark, Line | Rule):
        return [replace(mark, role=role, name=name, is_dashed=True)]
    if isinstance(mark, Shade) and n > MAX_BANDS:
        return []
    return [replace(mark, role=role, name=name)]


def _recoloured(mark: Mark, model: ModelKey, *, aside: Number, n: int) -> Mark:
    made = replace(mark, role=MODELS[model.place], name=model.label)
    if isinstance(made, Line):
        return replace(made, is_dashed=False, has_band=n <= MAX_BANDS)
    if isinstance(made, Ranges):
        return replace(made, aside=aside)
    return replace(made, is_filled=False) if isinstance(made, Bars) else made


def _categories(parts: Sequence[Part]) -> Which | None:
    """Return the axis along which the models of a place are spread: that of categories, and not that of values."""
    panel = parts[0].panel
    for mark in panel.marks:
        if isinstance(mark, Ranges):
            return "x" if mark.is_upright else "y"
    named: list[Which] = [which for which in ("x", "y") if getattr(panel, which).names]
    return named[0] if named and any(isinstance(mark, Dots) for mark in panel.marks) else None


def _category_axes(parts: Sequence[Part]) -> list[Axis]:
    which = _categories(parts)
    return [getattr(part.panel, which) for part in parts] if which else []


def _aside(parts: Sequence[Part], k: int) -> float:
    """Return how far aside a model stands, so that the intervals of no two hide each other."""
    axes = _category_axes(parts)
    if not axes:
        return 0.0
    gaps = {round(b - a, 9) for a, b in pairwise(sorted(axes[0].ticks))}
    most = (NEAR if len(gaps) > 1 else MAX_STEP) * abs(axes[0].high - axes[0].low)
    step = min(SPREAD * _distance(axes[0]) / len(parts), most)
    return step * (k - (len(parts) - 1) / 2)


def _distance(axis: Axis) -> Number:
    """Return the least distance of two categories; half the axis where there is only one."""
    places = sorted(axis.ticks)
    return min((b - a for a, b in pairwise(places)), default=abs(axis.high - axis.low) / 2)


def _aligned(parts: Sequence[Part]) -> list[Part]:
    """Return the panels on the same axes, each category where the first model has it."""
    which = _categories(parts)
    xs, ys = (united([getattr(part.panel, name) for part in parts]) for name in ("x", "y"))
    x, y = max(xs, key=_reach), max(ys, key=_reach)
    if which:
        x, y = (xs[0], y) if which == "x" else (x, ys[0])
    made = []
    for part in parts:
        marks = [_moved(mark, part.panel, which, x if which == "x" else y) for mark in part.panel.marks]
        made.append(part._replace(panel=replace(part.panel, x=x, y=y, marks=marks)))
    return made


def _reach(axis: Axis) -> Number:
    """Return how far the marks of an axis go: where they have names, those of one model may end before another's."""
    return max(axis.ticks, default=0) - min(axis.ticks, default=0)


def _moved(mark: Mark, panel: Panel, which: Which | None, axis: Axis) -> Mark:
    """Return a mark with its categories at their places on an axis, without what set one series aside from another."""
    if which is None:
        return mark
    own: Axis = getattr(panel, which)
    if isinstance(mark, Ranges) or (isinstance(mark, Dots) and own.names):
        places = [_category(value, own, axis) for value in (mark.xs if which == "x" else mark.ys)]
        return replace(mark, xs=places) if which == "x" else replace(mark, ys=places)
    if isinstance(mark, Rule) and mark.span is not None and mark.axis != which:
        middle, half = _category(sum(mark.span) / 2, own, axis), SPREAD / 2 * _distance(axis)
        return replace(mark, span=(middle - half, middle + half))
    return mark


def _category(value: Number, own: Axis, axis: Axis) -> Number:
    """Return the place on an axis of the category that a value of a model's own axis is nearest to."""
    if not own.ticks:
        return (axis.low + axis.high) / 2
    place = min(range(len(own.ticks)), key=lambda k: abs(own.ticks[k] - value))
    return axis.ticks[place if list(own.names) == list(axis.names) else list(axis.names).index(own.names[place])]
