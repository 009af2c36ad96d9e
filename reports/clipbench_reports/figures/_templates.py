"""Accuracy by prompt template: how much the wording matters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench.results.record import Metric
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Mark, Panel, Rule, Shade, percent_axis
from clipbench_reports.drawing.models import Layer, Statement, facet_chart
from clipbench_reports.drawing.svg import two_lines
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

N_NAMED = 12
"""Templates up to which each has a row with its name; more are dots."""
NAME_LENGTH = 20
"""Letters of a line of a name, of which there are two."""
ALONE, TOGETHER = "single template", "ensemble"


class _Templates(NamedTuple):
    names: list[str]
    scores: list[float]
    """Accuracy of each template alone, in descending order."""
    ensemble: Metric | None


def templates(models: Sequence[ModelEvidence]) -> Chart:
    """Return the accuracy of each prompt template alone, and of their ensemble.

    Raises:
        MissingEvidence: no run kept such a curve, or each used one template only.
    """
    by_model = read_each(models, _read)
    names = list(dict.fromkeys(name for each in by_model.all for name in each.names))
    is_named = len(names) <= N_NAMED
    n_rows = len(names) if is_named else max(len(each.names) for each in by_model.all)
    values = [score for each in by_model.all for score in (*each.scores, *_ends(each.ensemble))]
    rows = Axis(low=n_rows - 0.4, high=-0.6, label=f"{n_rows} prompt templates")
    if is_named:
        rows = Axis(
            low=n_rows - 0.5, high=-0.5, ticks=range(n_rows), names=[two_lines(name, NAME_LENGTH) for name in names]
        )
    plane = Panel(x=_axis(values), y=rows, aspect=0.08 + 0.15 * n_rows if is_named else 0.72)
    ranking = names if is_named else None
    layers = by_model.map(lambda each: Layer(_marks(each, ranking), _state(each, is_named=is_named)))
    first = next(iter(by_model.values))
    has_one_order = not is_named or all(each.names == by_model.values[first].names for each in by_model.all)
    return facet_chart(
        plane,
        ByModel(layers, by_model.missing),
        reading=f"In descending order of {'accuracy' if has_one_order else f'the accuracy of {first.label}'}. The ensemble "
        "is the mean vector of all templates, which the metrics are computed with; its 95 % interval is shaded.",
    )


def _marks(templates: _Templates, ranking: list[str] | None) -> list[Mark]:
    """Return a dot a template, at its place in the ranking or, where there is none, in its own."""
    ys = range(len(templates.names)) if ranking is None else [ranking.index(name) for name in templates.names]
    dots = Dots(xs=templates.scores, ys=ys, role="ink", name=ALONE, ids=templates.names)
    if templates.ensemble is None or templates.ensemble.value is None:
        return [dots]
    low, high = templates.ensemble.low, templates.ensemble.high
    doubt = [] if low is None or high is None else [Shade(low=low, high=high, name=TOGETHER)]
    return [*doubt, Rule(at=templates.ensemble.value, axis="x", role="ink", name=TOGETHER, is_dashed=True), dots]


def _ends(metric: Metric | None) -> list[float]:
    return [] if metric is None else [end for end in (metric.value, metric.low, metric.high) if end is not None]


def _read(evidence: Evidence) -> _Templates:
    names, scores = ranked(evidence)
    return _Templates(names, scores, evidence.evaluation.metrics.get("acc1"))


def ranked(evidence: Evidence) -> tuple[list[str], list[float]]:
    """Return the prompt templates and what each reaches alone, in descending order.

    Raises:
        MissingEvidence: the run kept no such curve, or used one template only.
    """
    if "templates" not in evidence.evaluation.curves:
        raise MissingEvidence(
            "the run kept no scores of single prompt templates: there is one only, or each class has its own"
        )
    curve = evidence.curve("templates")
    if len(curve.y) < 2:
        raise MissingEvidence("one prompt template was used, so there is no spread")
    names = evidence.array("template_names")
    if names.shape != (len(curve.y),):
        raise MissingEvidence(f"the run kept {names.size} names for {len(curve.y)} prompt templates")
    order = np.argsort(-np.asarray(curve.y), kind="stable").tolist()
    return [str(names[row]) for row in order], [curve.y[row] for row in order]


def _state(templates: _Templates, *, is_named: bool) -> Statement:
    ends = f"From {quoted(templates.names[-1])} to {quoted(templates.names[0])}"
    low, high = fmt.percent(templates.scores[-1]), fmt.percent(templates.scores[0])
    reach = f"{high} %" if low == high else f"{low} to {high} %"
    which = f"Each of {len(templates.names)}" if low == high else "Single"
    return Statement(
        title=f"{which} prompt templates {'alone reaches' if low == high else 'reach'} an accuracy of {reach}.",
        subject="Accuracy of single prompt templates",
        value=reach,
        detail=f"{ends}; ensemble: {fmt.percent(templates.ensemble.value if templates.ensemble else None)} %.",
        reading="" if is_named else f"{ends}.",
    )


def _axis(values: list[float]) -> Axis:
    """Return an axis that fits the spread, which is often a few percent: at least one, within 0 to 100."""
    low, high = min(values), max(values)
    room = max(0.0, 0.01 - (high - low)) / 2
    return percent_axis([max(0.0, low - room), min(1.0, high + room)], "Top-1 accuracy, %", n_steps=4)
