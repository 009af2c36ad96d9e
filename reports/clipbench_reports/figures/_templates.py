"""How much the wording of the prompt matters."""

import numpy as np

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import Axis, Plot, element, nice_axis, shorten, text

N_NAMED = 12
"""Up to as many templates each has a line with its name; more are dots."""
ROW = 30
LETTER = 7
"""Width that a letter of a name takes, in pixels, generously."""


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
    children = [plot.frame(), _ensemble(plot, ensemble, names, scores), *_rows(plot, names, scores)]
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
    """Return an axis that fits the spread, which is often a few percent: at least one, within 0 to 100."""
    low, high = 100 * min(values), 100 * max(values)
    room = max(0.0, 1.0 - (high - low)) / 2
    fitted = nice_axis([max(0.0, low - room), min(100.0, high + room)])
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


def _ensemble(plot: Plot, value: float | None, names: list[str], scores: list[float]) -> str:
    if value is None:
        return ""
    x, _ = plot.at(value, 0)
    anchor = "end" if plot.x.share(value) > 0.75 else "start" if plot.x.share(value) < 0.25 else "middle"
    words = text(f"all together {fmt.percent(value)}", x, plot.top - 8, css="name pair", anchor=anchor)
    # The line makes way for a name that it would strike through.
    gaps = [y for name, score, y in _named(plot, names, scores) if _covers(plot, name, score, x)]
    starts, stops = [plot.top, *(y + ROW / 2 for y in gaps)], [*(y - ROW / 2 for y in gaps), plot.height - plot.bottom]
    data = "".join(f"M{x:.1f} {y:g}V{end:g}" for y, end in zip(starts, stops, strict=True) if end - y > ROW / 2)
    return words + element("path", d=data, css="line pair dashed")


def _rows(plot: Plot, names: list[str], scores: list[float]) -> list[str]:
    rows: list[str] = [plot.dots(scores, range(len(scores)), "ink")]
    for name, score, y in _named(plot, names, scores):
        x, anchor = _place(plot, score)
        rows.append(text(name, x, y + 4.5, css="halo", anchor=anchor))
    return rows


def _named(plot: Plot, names: list[str], scores: list[float]) -> list[tuple[str, float, float]]:
    """Return the names that are written, with their scores and heights; none where they are too many."""
    if len(names) > N_NAMED:
        return []
    rows = enumerate(zip(names, scores, strict=True))
    return [(shorten(name, 32), score, plot.at(score, row)[1]) for row, (name, score) in rows]


def _place(plot: Plot, score: float) -> tuple[float, str | None]:
    """Return where the name of a dot begins, or where it ends: it stands on the side that has more room."""
    x, _ = plot.at(score, 0)
    return (x - 9, "end") if plot.x.share(score) > 0.5 else (x + 9, None)


def _covers(plot: Plot, name: str, score: float, x: float) -> bool:
    start, anchor = _place(plot, score)
    width = LETTER * len(name)
    return start - width < x < start if anchor else start < x < start + width
