"""Figures of recorded curves: a curve says its figure, series, role and chance, and one function draws them all."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from clipbench.results import numbers as fmt
from clipbench.results.numbers import Number
from clipbench_reports.drawing.facets import Panels, Statement, chart, facets
from clipbench_reports.drawing.marks import (
    Axis,
    Chart,
    Line,
    Mark,
    Panel,
    Ranges,
    Role,
    Rule,
    fraction_axis,
    log_axis,
    nice_axis,
    percent_axis,
)
from clipbench_reports.evidence import ByModel, Evidence, MissingEvidence, Models, PlottedCurve, read_each
from clipbench_reports.figures.shared import CHANCE, MAX_DOTTED, chance_rule, log_spaced_rows
from clipbench_reports.text import quoted, sentence_case, shorten

ROLES: tuple[Role, ...] = ("ink", "m1", "m2", "m3", "m4", "pair")
"""Roles of series whose curves name none, in their order."""
X_LABEL_LENGTH, Y_LABEL_LENGTH = 44, 32
"""Characters of a label under and next to a plane. The explanation has the whole label."""

Curves = Sequence[PlottedCurve]
References = Callable[[Evidence, str], Sequence[Mark]]
"""Takes the evidence and a label of y, and returns the marks that the curves with it are read against."""


def no_marks(evidence: Evidence, y_label: str) -> Sequence[Mark]:
    """Return no marks."""
    return ()


class _Plane(NamedTuple):
    """The curves of one model, with its statement and evidence."""

    curves: Curves
    statement: Statement
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class CurvesFigure:
    """A figure of the curves that name it: a plane for each label of y, and a line for each series.

    Called with the evidence of one or several models, it returns the chart.
    """

    name: str
    """The figure that curves name, or the name of a curve that names none."""
    reading: str = ""
    """How to read it. Without it, the labels of the axes say what is drawn."""
    x_axis: Callable[[Sequence[Number], str], Axis] = nice_axis
    """Makes the axis of x from the values that it holds and its label."""
    is_zoomed: bool = False
    """True for an axis of fractions that ends where the values do, instead of at 0 and 100 %."""
    has_bars: bool = False
    """True for intervals as bars instead of bands."""
    has_all_bands: bool = True
    """False to draw only the interval of the first series in a plane."""
    n_columns: int = 2
    """Planes next to each other, of one model."""
    aspect: float = 0.72
    references: References = no_marks
    """Marks that the curves with a label of y are read against, apart from chance."""
    complete: Callable[[Evidence, PlottedCurve], PlottedCurve] = lambda evidence, curve: curve
    """Returns a curve as it is drawn."""
    state: Callable[[Evidence, Curves], Statement] | None = None
    """The words on one model. Without it, they are the values at both ends."""
    check: Callable[[Evidence], None] = lambda evidence: None
    """Raises MissingEvidence for evidence that the figure is not for."""
    metric: str = ""
    """The metric whose reason says why there are no curves."""
    needs: str = ""
    """The data that the curves take."""
    missing: type[MissingEvidence] = field(default=MissingEvidence)
    """What is raised without curves: ``NotAsked`` if nothing is to be said of it."""

    def __call__(self, models: Models) -> Chart:
        """Return the figure of one or several models.

        Raises:
            MissingEvidence: no model has its curves.
        """
        by_model = read_each(models, self._read)
        all_curves: list[PlottedCurve] = []
        for plane in by_model.all:
            all_curves += plane.curves
        labels = list(dict.fromkeys(curve.y_label for curve in all_curves))
        return chart(
            [self._panels(by_model, label) for label in labels],
            by_model.map(lambda plane: plane.statement),
            reading=self.reading or f"{_listed(labels)} against {all_curves[0].x_label}.",
            n_columns=min(self.n_columns, len(labels)),
        )

    def _read(self, evidence: Evidence) -> _Plane:
        self.check(evidence)
        recorded = [curve for curve in evidence.curves_of(self.name) if any(map(math.isfinite, curve.y))]
        if not recorded:
            raise self.missing(self._reason(evidence))
        statement = self.state(evidence, recorded) if self.state is not None else state_at_both_ends(recorded)
        curves = []
        for curve in recorded:
            drawn_curve = self.complete(evidence, curve)
            if self.x_axis is log_axis:
                positive_rows = [row for row, x in enumerate(drawn_curve.x) if x > 0]
                drawn_curve = drawn_curve.take(positive_rows)
            curves.append(drawn_curve)
        return _Plane(curves, statement, evidence)

    def _reason(self, evidence: Evidence) -> str:
        recorded = evidence.evaluation.metrics.get(self.metric)
        reason = recorded.reason if recorded is not None and recorded.value is None else None
        needs = f"this takes {self.needs}" if self.needs else "the run kept none"
        return f"no curves for {quoted(self.name)}: {reason or needs}"

    def _panels(self, by_model: ByModel[_Plane], label: str) -> Panels:
        marks = by_model.map(lambda plane: self._marks(plane, label))
        all_marks: list[Mark] = []
        for model_marks in marks.all:
            all_marks += model_marks
        curves: list[PlottedCurve] = []
        for plane in by_model.all:
            curves += [curve for curve in plane.curves if curve.y_label == label]
        x = self.x_axis(_x_values(all_marks), shorten(_label(curves[0].x_label), X_LABEL_LENGTH))
        are_fractions = all(curve.unit == "fraction" for curve in curves)
        y = self._y_axis(all_marks, shorten(_label(label), Y_LABEL_LENGTH), are_fractions=are_fractions)
        series = {curve.series for curve in curves}
        keys = list(series) if len(series) == 1 else []
        return facets(Panel(x=x, y=y, aspect=self.aspect), marks, keys=keys)

    def _y_axis(self, marks: Sequence[Mark], label: str, *, are_fractions: bool) -> Axis:
        heights: list[Number] = []
        for mark in marks:
            if isinstance(mark, Line | Ranges):
                heights += _heights(mark)
        if not are_fractions:
            return nice_axis(heights, label)
        return percent_axis(heights, f"{label}, %") if self.is_zoomed else fraction_axis(f"{label}, %")

    def _marks(self, plane: _Plane, label: str) -> list[Mark]:
        """Return the lines of one model over their references."""
        references, lines = list(self.references(plane.evidence, label)), list[Mark]()
        used: dict[str, Role] = {}
        for curve in plane.curves:
            if curve.y_label != label:
                continue
            unused: Role = next((role for role in ROLES if role not in used.values()), "ink")
            role: Role = used.get(curve.series) or curve.role or unused
            is_dashed = curve.series not in used and role in used.values()  # another series has its colour
            used.setdefault(curve.series, role)
            references += [mark for mark in _chance(curve) if mark not in references]
            lines.append(_bars(curve, role) if self.has_bars else curve_line(curve, role, is_dashed=is_dashed))
        if not self.has_all_bands:
            lines[1:] = [replace(line, has_band=False) for line in lines[1:] if isinstance(line, Line)]
        return [*references, *lines]


def curve_line(curve: PlottedCurve, role: Role, *, is_dashed: bool = False) -> Line:
    """Return a curve as a line over the band of its bounds, thinned, with a dot at each point if they are few."""
    finite_rows = []
    for row, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
        if math.isfinite(x + y):
            finite_rows.append(row)
    thinned_rows = [finite_rows[index] for index in log_spaced_rows(len(finite_rows))]
    thinned_curve = curve.take(thinned_rows)
    return Line(
        xs=thinned_curve.x,
        ys=thinned_curve.y,
        lows=thinned_curve.low,
        highs=thinned_curve.high,
        role=role,
        name=curve.series,
        is_dashed=is_dashed,
        has_dots=len(thinned_curve.x) <= MAX_DOTTED,
    )


def _bars(curve: PlottedCurve, role: Role) -> Ranges:
    missing = [math.nan] * len(curve.x)
    return Ranges(
        xs=curve.x,
        ys=curve.y,
        lows=curve.low or missing,
        highs=curve.high or missing,
        role=role,
        name=curve.series,
        is_joined=True,
    )


def _chance(curve: PlottedCurve) -> list[Mark]:
    """Return the level of chance of a curve: a line across the plane if it is the same at all points."""
    if curve.chance is None:
        return []
    levels = {level for level in curve.chance if math.isfinite(level)}
    if len(levels) == 1:
        return chance_rule(levels.pop())
    line = curve_line(curve._replace(y=curve.chance, low=None, high=None, series=CHANCE), "chance")
    return [replace(line, of=curve.series, has_dots=False, is_reference=True)]


def state_at_both_ends(curves: Curves) -> Statement:
    """Return the statement about the curves with the first y label: their values at both ends."""
    first_curve = curves[0]
    first_curves = [curve for curve in curves if curve.y_label == first_curve.y_label]
    values, starts, ends = list[str](), list[float](), list[float]()
    for curve in first_curves:
        points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(x + y)]
        (start, at_start), (end, at_end) = points[0], points[-1]
        starts.append(start)
        ends.append(end)
        name = f"{curve.series} " if len(first_curves) > 1 else ""
        at_start_words = _quantity(at_start, curve.unit).removesuffix(" %")
        values.append(f"{name}{at_start_words} to {_quantity(at_end, curve.unit)}")
    x_label = first_curve.x_label.partition(",")[0]
    y_label = _label(first_curve.y_label) if first_curve.series else quoted(first_curve.y_label)
    span = f"{_shortest(min(starts))} to {_shortest(max(ends))}"
    return Statement(subject=f"{y_label} with {x_label} from {span}", value=", ".join(values))


def state_on_queries(evidence: Evidence, curves: Curves) -> Statement:
    """Return the statement about retrieval curves, with the number of queries if they are a sample."""
    statement = state_at_both_ends(curves)
    n_queries = evidence.evaluation.params.get("queries")
    if not isinstance(n_queries, int):
        return statement
    return statement._replace(
        reading=f"Queries: at most {fmt.count(n_queries)} per direction, drawn at random, searching the whole gallery."
    )


def _shortest(x: float) -> str:
    return fmt.count(x) if float(x).is_integer() else fmt.shortest(x)


def _quantity(value: float, unit: str) -> str:
    return f"{fmt.percent(value)} %" if unit == "fraction" else fmt.significant(value)


def _x_values(marks: Iterable[Mark]) -> list[Number]:
    """Return the x values of lines and of the references that an x axis holds."""
    xs: list[Number] = []
    for mark in marks:
        if isinstance(mark, Line | Ranges):
            xs += mark.xs
        elif isinstance(mark, Rule) and mark.axis == "x":
            xs.append(mark.at)
    return xs


def _heights(mark: Line | Ranges) -> list[Number]:
    return [*mark.ys, *(mark.lows or ()), *(mark.highs or ())]


def _label(words: str) -> str:
    """Return a label for an axis: without the unit after its comma, and names unchanged."""
    start = words.partition(",")[0]
    first_word = start.partition(" ")[0]
    return start if len(first_word) == 1 or first_word != first_word.lower() else sentence_case(start)


def _listed(labels: Sequence[str]) -> str:
    return sentence_case(fmt.listed(labels))
