"""Figures of several models: series on shared axes, in the colours of the models, or panels beside each other.

In a figure of one model, colour tells series apart, such as image and text. In one of several, colour is the model and
nothing else, so that each series has a panel of its own, with all models in it. What would hide each other, such as
clouds, matrices and distributions, has a panel a model; so has everything of more models than there are colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from clipbench_reports.drawing.marks import (
    MODELS,
    Axis,
    Bars,
    Chart,
    Dots,
    Line,
    Mark,
    ModelKey,
    Panel,
    Ranges,
    Role,
    Rule,
    Shade,
)
from clipbench_reports.page.evidence import ByModel
from clipbench_reports.page.groups import short
from clipbench_reports.page.text import isolated, quoted

MAX_LABEL = 28
"""Letters of a model's name in a figure."""
MAX_VALUES = 280
"""Letters of the values of all models in a title; longer ones are only in the words for those who cannot see the drawing."""
MAX_BESIDE = 4
"""Models beside each other."""
MAX_BANDS = 2
"""Models up to which the bands of lines are drawn: more of them would be one grey."""
SPREAD, MAX_STEP, NEAR = 0.7, 0.05, 0.02
"""Share of the distance of two categories that the models of one are spread over; the largest distance of two models, as a
share of the axis; and the same where the places of the categories are values themselves."""


class Series(NamedTuple):
    """One quantity as a line, values with intervals, dots or a histogram of each model."""

    name: str
    role: Role
    """Its colour in the figure of one model."""
    marks: Mapping[ModelKey, Line | Ranges | Dots | Bars]


class Panels(NamedTuple):
    """Panels that belong together, and what the legend and the explanation of the figure must say of them."""

    panels: Sequence[Panel]
    keys: Sequence[str] = ()
    """Names that need no entry in the legend."""
    notes: Sequence[str] = ()


class Statement(NamedTuple):
    """The words of a figure on one model."""

    title: str
    """One sentence with what is to be seen, for a figure of this model alone."""
    subject: str
    """The same in two parts, for a figure of several models: a sentence up to its colon, and what comes after it."""
    value: str
    detail: str = ""
    reading: str = ""


def figure_labels(labels: Sequence[str]) -> list[str]:
    """Return the names of models for a figure: the last parts of their paths, cut in the middle where they are long.

    Example:
        >>> figure_labels(["runs/step-100", "runs/" + "a" * 30 + "-final"])
        ['step-100', 'aaaaaaaaaaaaa…aaaaaaaa-final']
    """
    names = short(labels)
    half = MAX_LABEL // 2
    cut = [name if len(name) <= MAX_LABEL else f"{name[: half - 1]}…{name[-half:]}" for name in names]
    return cut if len(set(cut)) == len(cut) else names


def chart(
    parts: Sequence[Panels],
    claims: Mapping[ModelKey, Statement],
    models: ByModel[Any],
    *,
    reading: str,
    n_columns: int = 1,
    breadth: float = 1.0,
) -> Chart:
    """Return the figure of one model or of several.

    Its title states the value of each model and never a difference, which takes a paired test.

    Args:
        parts: made by ``facets`` or ``beside``.
        reading: the explanation that holds for all models.
        n_columns: panels beside each other where there is one model.
    """
    panels = [panel for part in parts for panel in part.panels]
    keys = [key for part in parts for key in part.keys]
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    if not models.is_joint:
        (claim,) = claims.values()
        reading = " ".join(filter(None, [reading, claim.reading, *notes]))
        return Chart(
            title=claim.title,
            panels=panels,
            reading=reading,
            detail=claim.detail,
            n_columns=n_columns,
            keys=keys,
            breadth=breadth,
        )
    own = [f"{model.label}: {claim.reading}" for model, claim in claims.items() if claim.reading]
    own = [claims[next(iter(claims))].reading] if len({claim.reading for claim in claims.values()}) == 1 else own
    widest = max((len(part.panels) for part in parts), default=1)
    is_grid = widest > 1 and all(panel.model is None for panel in panels)
    if any(panel.model is not None for panel in panels):
        panels = [panel for model in claims for panel in panels if panel.model == model.place]
        n_of_one = len(panels) // len({panel.model for panel in panels})
        n_columns = n_of_one if n_of_one > 1 else min(MAX_BESIDE, len(panels))
        n_columns = 1 if any(panel.is_broad for panel in panels) else n_columns
    elif is_grid:
        panels = [replace(panel, starts_row=k == 0) for part in parts for k, panel in enumerate(part.panels)]
        n_columns = {2: 2, 4: 2}.get(widest, 3)
    return Chart(
        title=_title(claims),
        panels=panels,
        reading=" ".join(filter(None, [reading, *own, *notes])),
        detail=" ".join(f"{model.label}: {claim.title} {claim.detail}".strip() for model, claim in claims.items()),
        n_columns=n_columns,
        is_grid=is_grid,
        keys=keys,
        breadth=breadth,
        missing=models.missing,
    )


def _title(claims: Mapping[ModelKey, Statement]) -> str:
    named = [(isolated(model.label), claim) for model, claim in claims.items()]
    subject = named[0][1].subject
    if any(claim.subject != subject for _, claim in named):
        return " ".join(f"{name}: {claim.title}" for name, claim in named)
    values = "; ".join(f"{name} {claim.value}" for name, claim in named if claim.value)
    if len(values) > MAX_VALUES:
        return f"{subject}, of {len(claims)} models."
    return f"{subject}: {values}." if values else f"{subject}."


def beside(panels: Mapping[ModelKey, Sequence[Panel]], models: ByModel[Any], *, keys: Sequence[str] = ()) -> Panels:
    """Return the panels of each model beside those of the others, with its name over them where there are several."""
    if not models.is_joint:
        return Panels([panel for own in panels.values() for panel in own], keys)
    return Panels(
        [
            replace(panel, title=": ".join(filter(None, [model.label, panel.title])), model=model.place)
            for model, own in panels.items()
            for panel in own
        ],
        keys,
    )


def facets(
    plane: Panel,
    series: Sequence[Series],
    models: ByModel[Any],
    *,
    references: Mapping[ModelKey, Sequence[Mark]] | None = None,
    keys: Sequence[str] = (),
) -> Panels:
    """Return one panel with all series of one model; of several models, a panel a series with all models in it.

    Args:
        plane: the axes, which hold the values of all models.
        references: what the series of each model are read against, such as chance. It is drawn once where it is equal for
            all, and else broken, in the colours of the models.
        keys: names of series that need neither a title nor an entry in the legend.
    """
    references = references or {}
    known = [each for each in series if each.marks]
    there = [model for model in models.values if any(model in each.marks for each in known)]
    if not models.is_joint or any(model.place >= len(MODELS) for model in there):
        single = {model: [_of_one(plane, known, model, references.get(model, ()))] for model in there}
        note = f"{len(there)} models are more than {len(MODELS)} colours can tell apart: each has its own panel."
        return beside(single, models, keys=keys)._replace(notes=[note] if models.is_joint else [])
    own_marks = {model: references.get(model, ()) for model in there}
    shared = [mark for mark in own_marks[there[0]] if all(mark in marks for marks in own_marks.values())]
    differing = {model: [mark for mark in marks if mark not in shared] for model, marks in own_marks.items()}
    panels = []
    for each in known:
        marks = [_neutral(mark) for mark in shared if _is_for(mark, each)]
        for model, own in differing.items():
            marks += [made for mark in own if _is_for(mark, each) for made in _broken(mark, model, len(there))]
        title = ": ".join(filter(None, [plane.title, "" if each.name in keys else each.name]))
        panels.append(replace(plane, title=title, marks=[*marks, *_in_colours(each, plane)]))
    if len(panels) > 1 and any(isinstance(mark, Ranges) and not mark.is_upright for mark in known[0].marks.values()):
        # Narrower than the figure of one model, and each row holds more.
        panels = [replace(panel, aspect=panel.aspect * (1 + len(there) / 6)) for panel in panels]
    names = list(dict.fromkeys(mark.name for own in differing.values() for mark in own if mark.name))
    unexplained = [f"{model.label}, {name}" for model in there for name in names]
    return Panels(panels, [*keys, *unexplained], _notes(plane, known, models, names))


def _of_one(plane: Panel, series: Sequence[Series], model: ModelKey, references: Sequence[Mark]) -> Panel:
    marks = [replace(each.marks[model], role=each.role, name=each.name) for each in series if model in each.marks]
    bars = [mark for mark in marks if isinstance(mark, Bars)]
    return replace(plane, marks=[*bars, *references, *(mark for mark in marks if mark not in bars)])


def _in_colours(series: Series, plane: Panel) -> list[Mark]:
    """Return the marks of a series in the colours of the models; once, in grey, a histogram that is equal for all."""
    marks, n = series.marks, len(series.marks)
    if _is_equal_histogram(series):
        return [replace(next(iter(marks.values())), role="pair", name=series.name)]
    return [
        _in_colour(replace(mark, role=MODELS[model.place], name=model.label), plane, k - (n - 1) / 2, n)
        for k, (model, mark) in enumerate(marks.items())
    ]


def _in_colour(mark: Mark, plane: Panel, place: float, n_models: int) -> Mark:
    if isinstance(mark, Line):
        return replace(mark, is_dashed=False, has_band=n_models <= MAX_BANDS)
    if isinstance(mark, Ranges):
        return replace(mark, aside=place * _distance_of_models(plane.x if mark.is_upright else plane.y, n_models))
    return replace(mark, is_filled=False) if isinstance(mark, Bars) else mark


def _is_equal_histogram(series: Series) -> bool:
    first, *others = series.marks.values()
    return isinstance(first, Bars) and bool(others) and all(mark == first for mark in others)


def _is_for(mark: Mark, series: Series) -> bool:
    return not isinstance(mark, Line | Rule | Shade) or mark.of in ("", series.name)


def _neutral(mark: Mark) -> Mark:
    """Return what is of all models in grey: black is the first of them."""
    return replace(mark, role="pair") if mark.role == "ink" else mark


def _broken(mark: Mark, model: ModelKey, n_models: int) -> list[Mark]:
    """Return a reference in the colour of its model, broken so as not to be taken for a measurement."""
    mark = replace(mark, role=MODELS[model.place], name=f"{model.label}, {mark.name}" if mark.name else "")
    if isinstance(mark, Line | Rule):
        return [replace(mark, is_dashed=True)]
    return [] if isinstance(mark, Shade) and n_models > MAX_BANDS else [mark]


def _distance_of_models(axis: Axis, n_models: int) -> float:
    """Return how far apart the models of a category stand, so that the intervals of no two hide each other."""
    gaps = [round(abs(b - a), 9) for a, b in pairwise(sorted(axis.ticks))]
    length = abs(axis.high - axis.low)
    most = (NEAR if len(set(gaps)) > 1 else MAX_STEP) * length
    return min(SPREAD * min(gaps, default=length / 2) / n_models, most)


def _notes(plane: Panel, series: Sequence[Series], models: ByModel[Any], own: Sequence[str]) -> list[str]:
    """Return the sentences on how several models are drawn together."""
    marks = [mark for each in series for mark in each.marks.values()]
    equal = [each.name for each in series if _is_equal_histogram(each)]
    n_most = max((len(each.marks) for each in series), default=0)
    has_bands = any(isinstance(mark, Line) and mark.lows is not None for mark in marks)
    lacking = [model.label for model in models.values if not any(model in each.marks for each in series)]
    words = plane.title or plane.y.label or plane.x.label
    notes = [f"Broken, in the colour of each model: {', '.join(own)}."] if own else []
    notes += [f"The same for all models: {', '.join(equal)}."] if equal else []
    notes += ["Of more than two models, no bands are drawn."] if has_bands and n_most > MAX_BANDS else []
    return notes + ([f"{quoted(words)}: not there for {', '.join(lacking)}."] if lacking else [])
