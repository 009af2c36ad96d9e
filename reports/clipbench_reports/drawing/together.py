"""The figures of several models for the same evaluation as one: on the same axes, in one panel where they can be told apart."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench_reports.drawing.marks import MODELS, Chart, Panel
from clipbench_reports.drawing.models import ModelKey
from clipbench_reports.drawing.overlay import Overlay, Part, can_be_overlaid, can_be_told_apart, overlay
from clipbench_reports.drawing.shared_axes import sharing
from clipbench_reports.page.text import isolated, quoted

MAX_VALUES = 280
"""Letters of what a title says of all models; more of them are in the words for who cannot see the drawing."""
MAX_BESIDE = 4
"""Models beside each other."""


class _Quantity(NamedTuple):
    """What is in the same place of the figures of several models."""

    words: str
    parts: list[Part]


def together(figures: Sequence[Chart], models: Sequence[ModelKey]) -> Chart:
    """Return the figures of several models as one.

    Values and lines lie in one panel, in the colours of the models: a panel a series. What would hide each other, such as
    clouds, matrices and distributions, stands side by side on the same axes; so does all of more models than have a
    colour. A panel that only some models have is drawn of them, and the explanation says of which it is not.

    Args:
        figures: of one evaluation, one a model.
        models: whose colours are those of their places.
    """
    found = _quantities(figures, models)
    keys = list(dict.fromkeys(key for figure in figures for key in figure.keys))
    are_told_apart = can_be_told_apart(models)
    overlays = {
        each: overlay(quantity.parts, keys)
        for each, quantity in enumerate(found)
        if are_told_apart and can_be_overlaid(quantity.parts)
    }
    notes = _notes(found, list(overlays.values()), models)
    if not are_told_apart and all(can_be_overlaid(quantity.parts) for quantity in found):
        notes.append(
            f"{len(models)} models are more than {len(MODELS)} colours can tell apart: each has its own panel."
        )
    own = [f"{model.label}, {name}" for each in overlays.values() for name in each.own for model in models]
    return Chart(
        title=_title(figures, models),
        panels=_overlaid(found, overlays) if overlays else _beside(found, models),
        reading=" ".join([_readings([figure.reading for figure in figures], models), *notes]),
        detail=" ".join(
            f"{model.label}: {figure.title} {figure.detail}".strip()
            for figure, model in zip(figures, models, strict=True)
        ),
        n_columns=_n_overlaid(overlays, figures[0]) if overlays else _n_beside(figures),
        is_grid=any(len(each.panels) > 1 for each in overlays.values()),
        keys=[*keys, *own],
        breadth=figures[0].breadth,
    )


def _quantities(figures: Sequence[Chart], models: Sequence[ModelKey]) -> list[_Quantity]:
    """Return the panels by what they show, on the same axes, in the order of the first figure that has them."""
    found: dict[tuple[str, ...], _Quantity] = {}
    for figure, model in zip(figures, models, strict=True):
        seen: dict[tuple[str, ...], int] = {}
        for panel in figure.panels:
            names = (panel.title, panel.x.label, panel.y.label)
            seen[names] = seen.get(names, 0) + 1
            words = panel.title or panel.y.label or panel.x.label
            found.setdefault((*names, str(seen[names])), _Quantity(words, [])).parts.append(Part(model, panel))
    made = []
    for quantity in found.values():
        panels = sharing([part.panel for part in quantity.parts])
        parts = [part._replace(panel=panel) for part, panel in zip(quantity.parts, panels, strict=True)]
        made.append(quantity._replace(parts=parts))
    return made


def _overlaid(found: Sequence[_Quantity], overlays: dict[int, Overlay]) -> list[Panel]:
    panels = [
        overlays[each].panels if each in overlays else [_labelled(part) for part in quantity.parts]
        for each, quantity in enumerate(found)
    ]
    if max(map(len, panels)) > 1:
        panels = [[replace(each[0], starts_row=True), *each[1:]] for each in panels]
    return _labelled_below([panel for each in panels for panel in each])


def _labelled_below(panels: list[Panel]) -> list[Panel]:
    """Give panels without a label under them that of the others, if they have one: no longer is each under another."""
    labels = {panel.x.label for panel in panels if panel.x.label}
    if len(labels) != 1:
        return panels
    (label,) = labels
    return [replace(panel, x=replace(panel.x, label=label)) for panel in panels]


def _beside(found: Sequence[_Quantity], models: Sequence[ModelKey]) -> list[Panel]:
    """Return all panels of the first model, then those of the second, and so on."""
    return [_labelled(part) for model in models for quantity in found for part in quantity.parts if part.model == model]


def _labelled(part: Part) -> Panel:
    model, panel = part
    return replace(panel, title=f"{model.label}: {panel.title}" if panel.title else model.label, model=model.place)


def _n_overlaid(overlays: dict[int, Overlay], first: Chart) -> int:
    """Return how many panels stand in a row: the series of a quantity, where there are several."""
    most = max(len(each.panels) for each in overlays.values())
    return first.n_columns if most == 1 else {2: 2, 4: 2}.get(most, 3)


def _n_beside(figures: Sequence[Chart]) -> int:
    first = figures[0]
    if any(panel.is_broad for panel in first.panels):
        return 1
    return len(first.panels) if len(first.panels) > 1 else min(MAX_BESIDE, len(figures))


def _title(figures: Sequence[Chart], models: Sequence[ModelKey]) -> str:
    """Return one sentence with what is said of each model, and never a claim of a difference: that takes a paired test."""
    subjects = {figure.subject for figure in figures}
    named = [isolated(model.label) for model in models]
    if len(subjects) > 1 or subjects == {""}:
        return " ".join(f"{name}: {figure.title}" for name, figure in zip(named, figures, strict=True))
    values = "; ".join(f"{name} {figure.value}" for name, figure in zip(named, figures, strict=True) if figure.value)
    if len(values) > MAX_VALUES:
        return f"{figures[0].subject}, of {len(models)} models."
    return f"{figures[0].subject}: {values}." if values else f"{figures[0].subject}."


def _readings(readings: Sequence[str], models: Sequence[ModelKey]) -> str:
    """Return the sentences that all share, once, then what is said of each model alone.

    Example:
        >>> _readings(["To scale. 5 pairs.", "To scale. 7 pairs."], [ModelKey("a", 0), ModelKey("b", 1)])
        'To scale. a: 5 pairs. b: 7 pairs.'
    """
    parts = [re.split(r"(?<=\.) ", reading) for reading in readings]
    shared = [sentence for sentence in parts[0] if all(sentence in part for part in parts)]
    own = [" ".join(sentence for sentence in part if sentence not in shared) for part in parts]
    return " ".join([*shared, *(f"{model.label}: {words}" for model, words in zip(models, own, strict=True) if words)])


def _notes(found: Sequence[_Quantity], overlays: Sequence[Overlay], models: Sequence[ModelKey]) -> list[str]:
    """Return what must be said of how models are drawn together."""
    own = dict.fromkeys(name for each in overlays for name in each.own)
    common = dict.fromkeys(name for each in overlays for name in each.common)
    notes = [f"Broken, in the colour of each model: {', '.join(own)}."] if own else []
    notes += [f"The same for all models: {', '.join(common)}."] if common else []
    notes += ["Of more than two models, no bands are drawn."] if any(each.has_hidden_bands for each in overlays) else []
    notes += [f"Rows in the order of {models[0].label}."] if any(each.is_reordered for each in overlays) else []
    for quantity in found:
        lacking = [model.label for model in models if model not in {part.model for part in quantity.parts}]
        notes += [f"{quoted(quantity.words)}: not there for {', '.join(lacking)}."] if lacking else []
    return notes
