"""How much the wording of the prompt matters."""

import numpy as np

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import Axis, Plot, element, nice_axis, shorten, text

N_NAMED = 12
"""Up to as many templates each has a line with its name; more are dots."""
ROW = 30


def templates(evidence: Evidence) -> Figure:
    """Return the accuracy of each prompt template alone, beside that of all together.

    Raises:
        Lacking: the run kept no such curve, or used one template only.
    """
    names, scores = ranked(evidence)
    together = evidence.evaluation.metrics.get("acc1")
    ensemble = None if together is None else together.value
    axis = _axis([*scores, *([] if ensemble is None else [ensemble])])
    plot = _plot(axis, len(scores))
    children = [plot.frame(), _ensemble(plot, ensemble), *_rows(plot, names, scores)]
    return figure(
        f"Alone, the prompt templates reach {fmt.percent(scores[-1])} to {fmt.percent(scores[0])} %.",
        children,
        height=plot.height,
        reading="Each dot is one template, the best on top. The dashed line is what all give together, as their mean "
        "vector, which is how the metrics are scored."
        + ("" if len(scores) <= N_NAMED else f" Best: {fmt.named(names[0])}; worst: {fmt.named(names[-1])}."),
        detail=f"Best: {fmt.named(names[0])}; worst: {fmt.named(names[-1])}; all together: {fmt.percent(ensemble)} %.",
    )


def ranked(evidence: Evidence) -> tuple[list[str], list[float]]:
    """Return the prompt templates and what each reaches alone, the best first.

    Raises:
        Lacking: the run kept no such curve, or used one template only.
    """
    if "templates" not in evidence.evaluation.curves:
        raise Lacking("the run kept no scores of single prompt templates: there is one only, or each class has its own")
    curve = evidence.curve("templates")
    if len(curve.y) < 2:
        raise Lacking("one prompt template was used, so there is no spread")
    names = evidence.array("template_names").tolist()
    if len(names) != len(curve.y):
        raise Lacking(f"the run kept {len(names)} names for {len(curve.y)} prompt templates")
    order = np.argsort(-np.asarray(curve.y), kind="stable").tolist()
    return [str(names[row]) for row in order], [curve.y[row] for row in order]


def _axis(values: list[float]) -> Axis:
    """Return an axis that fits the spread, which is often a few percent: percentages, but not 0 to 100."""
    fitted = nice_axis([100 * value for value in values])
    return Axis(
        low=fitted.low / 100,
        high=fitted.high / 100,
        ticks=[tick / 100 for tick in fitted.ticks],
        label="Right class first, %",
        is_percent=True,
    )


def _plot(axis: Axis, n: int) -> Plot:
    rows = Axis(low=n - 0.4, high=-0.7, ticks=())
    height = 12 + 46 + (ROW * n if n <= N_NAMED else 240)
    return Plot(x=axis, y=rows, height=height + 12, left=16, top=24)


def _ensemble(plot: Plot, value: float | None) -> str:
    if value is None:
        return ""
    x, _ = plot.at(value, 0)
    anchor = "end" if plot.x.share(value) > 0.75 else "start" if plot.x.share(value) < 0.25 else "middle"
    words = text(f"all together {fmt.percent(value)}", x, plot.top - 8, css="name pair", anchor=anchor)
    return words + element("path", d=f"M{x:.1f} {plot.top}V{plot.height - plot.bottom}", css="line pair dashed")


def _rows(plot: Plot, names: list[str], scores: list[float]) -> list[str]:
    rows: list[str] = [plot.dots(scores, range(len(scores)), "ink")]
    if len(scores) <= N_NAMED:
        for row, (name, score) in enumerate(zip(names, scores, strict=True)):
            x, y = plot.at(score, row)
            is_left = plot.x.share(score) > 0.5
            rows.append(
                text(
                    shorten(name, 32),
                    x + (-9 if is_left else 9),
                    y + 4.5,
                    css="halo",
                    anchor="end" if is_left else None,
                )
            )
    return rows
