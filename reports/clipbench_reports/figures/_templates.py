"""How much the wording of the prompt matters."""

import textwrap

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Chart, Dots, Panel, Rule, percent_axis
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.text import quoted

N_NAMED = 12
"""Up to as many templates each have a row with their name; more are dots."""
NAME_LENGTH = 20
"""Of a line of a name, of which there are two."""
ALONE, TOGETHER = "one template", "all together"


def templates(evidence: Evidence) -> Chart:
    """Return the accuracy of each prompt template alone, beside that of all together.

    Raises:
        MissingEvidence: the run kept no such curve, or used one template only.
    """
    names, scores = ranked(evidence)
    together = evidence.evaluation.metrics.get("acc1")
    ensemble = None if together is None else together.value
    known = [] if ensemble is None else [ensemble]
    line = [Rule(at=value, axis="x", role="ink", name=TOGETHER, is_dashed=True) for value in known]
    dots = Dots(xs=scores, ys=range(len(scores)), role="ink", name=ALONE, ids=names)
    ends = f"Best: {quoted(names[0])}; worst: {quoted(names[-1])}"
    return Chart(
        title=f"Alone, the prompt templates reach {fmt.percent(scores[-1])} to {fmt.percent(scores[0])} %.",
        panels=[
            Panel(
                x=_axis([*scores, *known]),
                y=_rows(names),
                marks=[*line, dots],
                aspect=0.08 + 0.15 * len(names) if len(names) <= N_NAMED else 0.72,
            )
        ],
        reading="The best on top. All together are scored by their mean vector, which is how the metrics are scored."
        + ("" if len(scores) <= N_NAMED else f" {ends}."),
        detail=f"{ends}; all together: {fmt.percent(ensemble)} %.",
        subject="What the prompt templates reach alone",
        value=f"{fmt.percent(scores[-1])} to {fmt.percent(scores[0])} %",
    )


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


def _rows(names: list[str]) -> Axis:
    """Return the axis of the templates, the best on top, with their names where there are few."""
    n = len(names)
    if n > N_NAMED:
        return Axis(low=n - 0.4, high=-0.6, label=f"{n} prompt templates")
    return Axis(low=n - 0.5, high=-0.5, ticks=range(n), names=[_two_lines(name) for name in names])


def _two_lines(name: str) -> str:
    lines = textwrap.wrap(name, NAME_LENGTH) or [""]
    return "\n".join([lines[0], shorten(" ".join(lines[1:]), NAME_LENGTH)][: len(lines)])


def _axis(values: list[float]) -> Axis:
    """Return an axis that fits the spread, which is often a few percent: at least one, within 0 to 100."""
    low, high = min(values), max(values)
    room = max(0.0, 0.01 - (high - low)) / 2
    return percent_axis([max(0.0, low - room), min(1.0, high + room)], "Right class first, %", n_steps=4)
