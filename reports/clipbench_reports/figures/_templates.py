"""How much the wording of the prompt matters."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Panel, Rule, percent_axis
from clipbench_reports.drawing.models import Series, Statement, chart, facets
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

N_NAMED = 12
"""Up to as many templates each have a row with their name; more are dots."""
NAME_LENGTH = 20
"""Of a line of a name, of which there are two."""
ALONE, TOGETHER = "one template", "all together"


class _Templates(NamedTuple):
    names: list[str]
    scores: list[float]
    """Of each template alone, the best first."""
    ensemble: float | None


def templates(models: Sequence[ModelEvidence]) -> Chart:
    """Return the accuracy of each prompt template alone, beside that of all together.

    Raises:
        MissingEvidence: no run kept such a curve, or each used one template only.
    """
    found = read_each(models, _read)
    names = list(dict.fromkeys(name for each in found.values.values() for name in each.names))
    is_named = len(names) <= N_NAMED
    n_rows = len(names) if is_named else max(len(each.names) for each in found.values.values())
    values = [score for each in found.values.values() for score in (*each.scores, each.ensemble) if score is not None]
    rows = {
        model: Dots(
            xs=each.scores,
            ys=[names.index(name) for name in each.names] if is_named else range(len(each.names)),
            role="ink",
            ids=each.names,
        )
        for model, each in found.values.items()
    }
    plane = Panel(
        x=_axis(values),
        y=Axis(low=n_rows - 0.5, high=-0.5, ticks=range(n_rows), names=[_two_lines(name) for name in names])
        if is_named
        else Axis(low=n_rows - 0.4, high=-0.6, label=f"{n_rows} prompt templates"),
        aspect=0.08 + 0.15 * n_rows if is_named else 0.72,
    )
    lines = found.map(
        lambda each: (
            []
            if each.ensemble is None
            else [Rule(at=each.ensemble, axis="x", role="ink", name=TOGETHER, is_dashed=True)]
        )
    )
    panels = facets(plane, [Series(ALONE, "ink", rows)], found, references=lines)
    return chart(
        [panels],
        found.map(lambda each: _claim(each, is_named=is_named)),
        found,
        reading=f"{_order(found, is_named=is_named)} All together are scored by their mean vector, which is how the "
        "metrics are scored.",
    )


def _order(found: ByModel[_Templates], *, is_named: bool) -> str:
    first, *others = found.values
    is_same = all(found.values[each].names == found.values[first].names for each in others)
    return "The best on top." if is_same or not is_named else f"The best of {first.label} on top."


def _read(evidence: Evidence) -> _Templates:
    names, scores = ranked(evidence)
    metric = evidence.evaluation.metrics.get("acc1")
    return _Templates(names, scores, None if metric is None else metric.value)


def ranked(evidence: Evidence) -> tuple[list[str], list[float]]:
    """Return the prompt templates and what each reaches alone, the best first.

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
    names = evidence.array("template_names").tolist()
    if len(names) != len(curve.y):
        raise MissingEvidence(f"the run kept {len(names)} names for {len(curve.y)} prompt templates")
    order = np.argsort(-np.asarray(curve.y), kind="stable").tolist()
    return [str(names[row]) for row in order], [curve.y[row] for row in order]


def _claim(found: _Templates, *, is_named: bool) -> Statement:
    ends = f"Best: {quoted(found.names[0])}; worst: {quoted(found.names[-1])}"
    reach = f"{fmt.percent(found.scores[-1])} to {fmt.percent(found.scores[0])} %"
    return Statement(
        title=f"Alone, the prompt templates reach {reach}.",
        subject="What the prompt templates reach alone",
        value=reach,
        detail=f"{ends}; all together: {fmt.percent(found.ensemble)} %.",
        reading="" if is_named else f"{ends}.",
    )


def _two_lines(name: str) -> str:
    lines = textwrap.wrap(name, NAME_LENGTH) or [""]
    return "\n".join([lines[0], shorten(" ".join(lines[1:]), NAME_LENGTH)][: len(lines)])


def _axis(values: list[float]) -> Axis:
    """Return an axis that fits the spread, which is often a few percent: at least one, within 0 to 100."""
    low, high = min(values), max(values)
    room = max(0.0, 0.01 - (high - low)) / 2
    return percent_axis([max(0.0, low - room), min(1.0, high + room)], "Right class first, %", n_steps=4)
