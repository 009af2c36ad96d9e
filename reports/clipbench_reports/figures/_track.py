"""What gap, cones and recall do while a model trains."""

from collections.abc import Sequence
from dataclasses import replace

from clipbench.results import numbers as fmt
from clipbench.training.history import History
from clipbench_reports.drawing.marks import Axis, Chart, Line, Panel, Role, fraction_axis, nice_axis, tight_axis
from clipbench_reports.figures._figure import MAX_DOTTED
from clipbench_reports.page.evidence import MissingEvidence

COSINES: dict[str, tuple[str, Role]] = {
    "image_cone": ("image–image", "image"),
    "text_cone": ("text–text", "text"),
    "pair_cosine": ("true pair", "pair"),
}
RECALLS: dict[str, tuple[str, Role]] = {
    "image_retrieval_recall@1": ("caption → image", "image"),
    "text_retrieval_recall@1": ("image → caption", "text"),
}


def track(history: History) -> Chart:
    """Return gap, mean cosines and recall@1 against the training step.

    Raises:
        MissingEvidence: the history has fewer than two steps, or no gap.
    """
    if len(history.steps) < 2:
        raise MissingEvidence(f"{history.label} was measured at one step only: a track needs two or more")
    gap = _line(history, "gap", "gap", "ink")
    if not gap:
        raise MissingEvidence(f"{history.label} holds no gap: measure modality-gap on its checkpoints")
    cosines = [line for name, (words, role) in COSINES.items() for line in _line(history, name, words, role)]
    recalls = [line for name, (words, role) in RECALLS.items() for line in _line(history, name, words, role)]
    x = tight_axis(history.steps, "Training step")
    ends = f"from {fmt.number(gap[0].ys[0], 'distance')} at step {fmt.count(gap[0].xs[0])}"
    panels = [_panel(x, nice_axis([0, *gap[0].ys], "Gap", n_steps=3), gap)]
    if cosines:
        values = [0, *(y for line in cosines for y in line.ys)]
        panels.append(_panel(x, nice_axis(values, "Mean cosine", n_steps=3), cosines))
    if recalls:
        panels.append(_panel(x, fraction_axis("Recall@1, %"), recalls))
    panels = [*(replace(panel, x=replace(x, label="")) for panel in panels[:-1]), panels[-1]]
    return Chart(
        title=f"The gap goes {ends} to {fmt.number(gap[0].ys[-1], 'distance')} at step {fmt.count(gap[0].xs[-1])}{_recall(recalls)}.",
        panels=panels,
        reading=f"Measured at {fmt.counted(len(history.steps), 'step')} of the training.",
        detail=_ends(cosines + recalls),
        subject="The gap at the first and at the last step",
        value=f"{fmt.number(gap[0].ys[0], 'distance')} and {fmt.number(gap[0].ys[-1], 'distance')}",
    )


def progress(history: History) -> Chart:
    """Return the first metric of each evaluation against the training step, a panel each.

    Raises:
        MissingEvidence: the history has fewer than two steps, or no metrics of evaluations.
    """
    if len(history.steps) < 2:
        raise MissingEvidence(f"{history.label} was measured at one step only: progress needs two or more")
    firsts: dict[str, str] = {}
    for name, values in history.values.items():
        evaluation, _, metric = name.partition("/")
        if metric and any(value is not None for value in values):
            firsts.setdefault(evaluation, name)
    lines = [line for name in firsts.values() for line in _line(history, name, name, "ink")]
    if not lines:
        raise MissingEvidence(f"{history.label} holds no metrics of evaluations")
    x = tight_axis(history.steps, "Training step")
    return Chart(
        title=f"{fmt.counted(len(lines), 'evaluation')} at {fmt.counted(len(history.steps), 'step')} of one training.",
        panels=[
            Panel(x=x, y=nice_axis([0, *line.ys], n_steps=3), marks=[line], title=line.name, aspect=0.6)
            for line in lines
        ],
        n_columns=min(3, len(lines)),
        reading="The first metric of each evaluation against the training step; fractions in [0, 1].",
        detail=_ends(lines),
    )


def _ends(lines: Sequence[Line]) -> str:
    return " ".join(f"{line.name}: {fmt.significant(line.ys[0])} to {fmt.significant(line.ys[-1])}." for line in lines)


def _recall(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    return f", recall@1 of images from {fmt.percent(lines[0].ys[0])} to {fmt.percent(lines[0].ys[-1])} %"


def _line(history: History, name: str, words: str, role: Role) -> list[Line]:
    """Return the line of a scalar, of the first evaluation of the task that it belongs to; none where there is none."""
    task = "retrieval" if name in RECALLS else "modality-gap"
    full = next((each for each in history.values if each == name or _is_of(each, task, name)), None)
    if full is None:
        return []
    points = [(x, y) for x, y in zip(history.steps, history.values[full], strict=True) if y is not None]
    if not points:
        return []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return [Line(xs=xs, ys=ys, role=role, name=words, has_dots=len(points) <= MAX_DOTTED)]


def _is_of(full: str, task: str, name: str) -> bool:
    return full.startswith(f"{task}@") and full.endswith(f"/{name}")


def _panel(x: Axis, y: Axis, lines: Sequence[Line]) -> Panel:
    return Panel(x=x, y=y, marks=lines, aspect=0.42)
