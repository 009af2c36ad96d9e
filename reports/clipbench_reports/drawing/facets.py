"""Figures of several models: series on shared axes, in the colours of the models, or panels next to each other.

In a figure of one model, colour distinguishes series, such as image and text. In a figure of several models, colour
shows the model and nothing else, so that each series has a panel of its own, with all models in it. Series that would
hide each other, such as clouds, matrices and distributions, have one panel per model. So has every series if there are
more models than colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from clipbench.results.short_names import last_parts, shorten_names
from clipbench_reports.drawing.marks import MODELS, Axis, Bars, Chart, Line, Mark, Panel, Ranges, Rule, Shade
from clipbench_reports.evidence import ByModel, ModelKey
from clipbench_reports.text import isolated, keeps_names, quoted

MAX_LABEL = 28
"""Letters of a model's name in a figure."""
MAX_VALUES = 280
"""Letters of the values of all models in a title; longer ones are only in the words for those who cannot see the
drawing.
"""
MAX_BESIDE = 4
"""Number of models next to each other."""
MAX_BANDS = 2
"""Models up to which the bands of lines are drawn: more of them would be one grey."""
SPREAD, MAX_STEP, NEAR = 0.7, 0.05, 0.02
"""Fraction of the distance of two categories that the models of one are spread over; the largest distance of two
models, as a fraction of the axis; and the same where the places of the categories are values themselves.
"""


class Panels(NamedTuple):
    """Panels that belong together, with their part of the legend and of the explanation of the figure."""

    panels: Sequence[Panel]
    keys: Sequence[str] = ()
    """Names that need no entry in the legend."""
    notes: Sequence[str] = ()


class _Arrangement(NamedTuple):
    """The panels of a figure in their order, and how many of them are next to each other."""

    panels: Sequence[Panel]
    n_columns: int
    is_grid: bool = False


class Statement(NamedTuple):
    """The words of a figure on one model: the title is the subject, a colon and the value, of several models each."""

    subject: str
    value: str
    reading: str = ""
    """How to read the marks of this model."""


class Layer(NamedTuple):
    """One model's part of a plane that all models share: its marks as in a figure of one model, and its statement."""

    marks: Sequence[Mark]
    statement: Statement


def figure_labels(labels: Sequence[str]) -> list[str]:
    """Return the names of models for a figure: the last parts of their paths, cut in the middle where they are long.

    Example:
        >>> figure_labels(["runs/step-100", "runs/" + "a" * 30 + "-final"])
        ['step-100', 'aaaaaaaaaaaaa…aaaaaaaa-final']
    """
    names = last_parts(labels)
    return names if keeps_names() else shorten_names(names, MAX_LABEL)


def facet_chart(plane: Panel, models: ByModel[Layer], *, reading: str, keys: Sequence[str] = ()) -> Chart:
    """Return the figure of one quantity: ``facets`` of the layers of all models, with their words."""
    panels = facets(plane, models.map(lambda layer: layer.marks), keys=keys)
    return chart([panels], models.map(lambda layer: layer.statement), reading=reading)


def chart(
    parts: Sequence[Panels], models: ByModel[Statement], *, reading: str, n_columns: int = 1, breadth: float = 1.0
) -> Chart:
    """Return the figure of one model or of several.

    Its title states the value of each model and never a difference, which takes a paired test.

    Args:
        parts: made by ``facets`` or ``side_by_side``.
        reading: the explanation that holds for all models.
        n_columns: panels next to each other if there is one model.
    """
    statements = models.values
    if models.is_joint:
        title = _title(statements)
        arrangement = _arrange_models(parts, list(statements), n_columns)
    else:
        title = _sentence(models.all[0])
        arrangement = _Arrangement([panel for part in parts for panel in part.panels], n_columns)
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return Chart(
        title=title,
        panels=arrangement.panels,
        reading=" ".join(filter(None, [reading, *_readings(statements), *notes])),
        n_columns=arrangement.n_columns,
        is_grid=arrangement.is_grid,
        keys=[key for part in parts for key in part.keys],
        breadth=breadth,
        missing=models.missing,
    )


def _arrange_models(parts: Sequence[Panels], models: Sequence[ModelKey], n_columns: int) -> _Arrangement:
    """Return the panels of several models: model by model if each has panels of its own, otherwise a part per row."""
    panels: list[Panel] = []
    for part in parts:
        panels += part.panels
    if any(panel.model is not None for panel in panels):
        by_model: list[Panel] = []
        for model in models:
            by_model += [panel for panel in panels if panel.model == model.position]
        n_of_one = len(by_model) // len({panel.model for panel in by_model})
        if any(panel.is_broad for panel in by_model):
            return _Arrangement(by_model, n_columns=1)
        if n_of_one > 1:
            return _Arrangement(by_model, n_columns=n_of_one)
        return _Arrangement(by_model, n_columns=min(MAX_BESIDE, len(by_model)))
    widest = max((len(part.panels) for part in parts), default=1)
    if widest <= 1:
        return _Arrangement(panels, n_columns)
    rows: list[Panel] = []
    for part in parts:
        rows += [replace(panel, starts_row=index == 0) for index, panel in enumerate(part.panels)]
    # Four panels are two rows of two, not a row of three and one left over.
    return _Arrangement(rows, n_columns=2 if widest in (2, 4) else 3, is_grid=True)


def _readings(statements: Mapping[ModelKey, Statement]) -> list[str]:
    """Return how to read the marks of each model, once if all models are read alike."""
    first, *others = statements.values()
    if all(other.reading == first.reading for other in others):
        return [first.reading]
    return [f"{model.label}: {statement.reading}" for model, statement in statements.items() if statement.reading]


def _sentence(statement: Statement) -> str:
    return f"{statement.subject}: {statement.value}." if statement.value else f"{statement.subject}."


def _title(statements: Mapping[ModelKey, Statement]) -> str:
    labelled_statements = [(isolated(model.label), statement) for model, statement in statements.items()]
    subject = labelled_statements[0][1].subject
    if any(statement.subject != subject for _, statement in labelled_statements):
        return " ".join(f"{name}: {_sentence(statement)}" for name, statement in labelled_statements)
    values = "; ".join(f"{name} {statement.value}" for name, statement in labelled_statements if statement.value)
    if len(values) > MAX_VALUES:
        return f"{subject}, of {len(labelled_statements)} models."
    return f"{subject}: {values}." if values else f"{subject}."


def side_by_side(panels: ByModel[Sequence[Panel]], *, keys: Sequence[str] = ()) -> Panels:
    """Return the panels of all models next to each other, with the model's name over them if there are several."""
    if not panels.is_joint:
        return Panels([panel for model_panels in panels.all for panel in model_panels], keys)
    has_mark = all(model.position < len(MODELS) for model in (*panels.values, *panels.missing))
    titled = []
    for model, model_panels in panels.values.items():
        for panel in model_panels:
            title = ": ".join(filter(None, [model.label, panel.title]))
            titled.append(replace(panel, title=title, model=model.position, has_mark=has_mark))
    return Panels(titled, keys)


def facets(plane: Panel, models: ByModel[Sequence[Mark]], *, keys: Sequence[str] = ()) -> Panels:
    """Return one panel for one model, or for several models one panel per series name, with all models in it.

    References, such as chance, are drawn once if they are equal for all models. Otherwise they are broken lines in the
    colours of the models.

    Args:
        plane: the axes, which hold the values of all models.
        models: the marks as they are drawn for a single model. Marks of one name are a series.
        keys: names of series that need neither a title nor an entry in the legend.
    """
    marks_by_model = {}
    for model, marks in models.values.items():
        has_data = not all(_is_reference(mark) for mark in marks)
        if has_data:
            marks_by_model[model] = marks
    has_colours = all(model.position < len(MODELS) for model in marks_by_model)
    if not models.is_joint or not has_colours:
        single_panels = {model: [replace(plane, marks=marks)] for model, marks in marks_by_model.items()}
        panels_by_model = side_by_side(ByModel(single_panels, models.missing), keys=keys)
        if not models.is_joint:
            return panels_by_model
        too_many = f"{len(marks_by_model)} models need more than the {len(MODELS)} colours there are"
        return panels_by_model._replace(notes=[f"{too_many}: each has its own panel."])
    shared = _shared_marks(list(marks_by_model.values()))
    distinct: list[Mark] = []
    for marks in marks_by_model.values():
        distinct += [mark for mark in marks if mark not in shared]
    names = dict.fromkeys(mark.name for mark in distinct if not _is_reference(mark))
    panels = [_facet(plane, name, marks_by_model, shared, keys) for name in names or [""]]
    first_marks = next(iter(marks_by_model.values()))
    has_rows = any(isinstance(mark, Ranges) and not mark.is_upright for mark in first_marks)
    if len(panels) > 1 and has_rows:
        # Narrower than the figure of one model, and each row holds more.
        panels = [replace(panel, aspect=panel.aspect * (1 + len(marks_by_model) / 6)) for panel in panels]
    differing = dict.fromkeys(mark.name for mark in distinct if _is_reference(mark) and mark.name)
    broken = [f"{model.label}, {name}" for model in marks_by_model for name in differing]
    notes = [f"Broken, in the colour of each model: {', '.join(differing)}."] if differing else []
    notes += _notes(marks_by_model, shared)
    notes += _missing(plane, list(names), marks_by_model, models)
    return Panels(panels, [*keys, *broken], notes)


def _shared_marks(marks_by_model: Sequence[Sequence[Mark]]) -> list[Mark]:
    """Return the marks that are drawn once: references that are equal for all, and a histogram of the data itself."""
    first_marks, *other_marks = marks_by_model
    shared = []
    for mark in first_marks:
        # A histogram of only one model is a series of that model.
        can_be_shared = _is_reference(mark) or (isinstance(mark, Bars) and other_marks)
        if can_be_shared and all(mark in marks for marks in other_marks):
            shared.append(mark)
    return shared


def _is_reference(mark: Mark) -> bool:
    return isinstance(mark, Rule | Shade) or mark.role == "chance" or (isinstance(mark, Line) and mark.is_reference)


def _facet(
    plane: Panel, name: str, marks: Mapping[ModelKey, Sequence[Mark]], shared: Sequence[Mark], keys: Sequence[str]
) -> Panel:
    """Return the panel of one series, its references below it."""
    references: list[Mark] = []
    for mark in shared:
        if mark.of in ("", name):
            # Grey is of all models: black is the first of them.
            is_black = isinstance(mark, Bars) or mark.role == "ink"
            references.append(replace(mark, role="pair") if is_black else mark)
    series: list[Mark] = []
    middle = (len(marks) - 1) / 2
    for index, (model, model_marks) in enumerate(marks.items()):
        for mark in model_marks:
            if mark in shared:
                continue
            if _is_reference(mark) and mark.of in ("", name):
                references += _in_model_colour(mark, model, len(marks))
            elif not _is_reference(mark) and mark.name == name:
                coloured = replace(mark, role=MODELS[model.position], name=model.label)
                series.append(_without_overlap(coloured, plane, index - middle, len(marks)))
    titles = [plane.title] if name in keys else [plane.title, name]
    return replace(plane, title=": ".join(filter(None, titles)), marks=[*references, *series])


def _in_model_colour(mark: Mark, model: ModelKey, n_models: int) -> list[Mark]:
    """Return a reference in the colour of its model, broken so as not to be taken for a measurement."""
    name = f"{model.label}, {mark.name}" if mark.name else ""
    coloured = replace(mark, role=MODELS[model.position], name=name)
    if isinstance(coloured, Line | Rule):
        return [replace(coloured, is_dashed=True)]
    if isinstance(coloured, Shade) and n_models > MAX_BANDS:
        return []
    return [coloured]


def _without_overlap(mark: Mark, plane: Panel, offset: float, n_models: int) -> Mark:
    """Return the mark of a model so that it hides no other model. An offset of 0 is the middle of the models."""
    if isinstance(mark, Line):
        return replace(mark, is_dashed=False, has_band=n_models <= MAX_BANDS)
    if isinstance(mark, Ranges):
        categories = plane.x if mark.is_upright else plane.y
        return replace(mark, aside=offset * _model_spacing(categories, n_models))
    if isinstance(mark, Bars):
        return replace(mark, is_filled=False)
    return mark


def _model_spacing(axis: Axis, n_models: int) -> float:
    """Return the distance between the models of a category, so that no two intervals hide each other.

    On a logarithmic axis the distance is 0, because the same distance would look different at each position.
    """
    if axis.is_log:
        return 0.0
    gaps = [round(abs(b - a), 9) for a, b in pairwise(sorted(axis.ticks))]
    length = abs(axis.high - axis.low)
    are_values = len(set(gaps)) > 1  # names are at equal distances
    max_spacing = (NEAR if are_values else MAX_STEP) * length
    return min(SPREAD * min(gaps, default=length / 2) / n_models, max_spacing)


def _notes(marks: Mapping[ModelKey, Sequence[Mark]], shared: Sequence[Mark]) -> list[str]:
    """Return sentences on marks that are drawn once for all models, and on bands that are left out."""
    notes = []
    equal = [mark.name for mark in shared if isinstance(mark, Bars)]
    if equal:
        notes.append(f"Bars that are the same for all models: {', '.join(equal)}.")
    lines: list[Line] = []
    for model_marks in marks.values():
        lines += [mark for mark in model_marks if isinstance(mark, Line)]
    if len(marks) > MAX_BANDS and any(line.lows is not None for line in lines):
        notes.append("Bands are drawn for two models at most.")
    return notes


def _missing(
    plane: Panel, names: Sequence[str], marks: Mapping[ModelKey, Sequence[Mark]], models: ByModel[Any]
) -> list[str]:
    """Return sentences that name the models without the quantity, or without one of its series."""
    words = plane.title or plane.y.label or plane.x.label
    series_of_models = {}
    for model in models.values:
        series_of_models[model] = {mark.name for mark in marks.get(model, ())}
    missing_models = {}
    for name in names:
        missing_models[name] = [model.label for model, series in series_of_models.items() if name not in series]
    if names:
        missing_first = missing_models[names[0]]
        if all(labels == missing_first for labels in missing_models.values()):
            missing_models = {"": missing_first}
    sentences = []
    for name, labels in missing_models.items():
        if labels:
            quantity = ": ".join(filter(None, [words, name]))
            sentences.append(f"{quoted(quantity)} is missing for {', '.join(labels)}.")
    return sentences
