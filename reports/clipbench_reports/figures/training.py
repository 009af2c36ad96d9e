"""Gap, cones and recall while a model trains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from clipbench.results import numbers as fmt
from clipbench.results.metric_name import MetricName
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run
from clipbench.results.titles import full_title, headlines, within_sentence
from clipbench.training.history import History
from clipbench_reports.drawing.facets import Panels, Statement, chart, facets
from clipbench_reports.drawing.marks import Chart, Line, Panel, Role, fraction_axis, nice_axis, tight_axis
from clipbench_reports.evidence import ByModel, MissingEvidence, ModelKey
from clipbench_reports.figures.shared import MAX_DOTTED

RECALL = "Recall@1, %"
SCALARS: Mapping[str, Mapping[str, tuple[str, Role]]] = {
    "Gap": {"gap": ("gap", "ink")},
    "Mean cosine": {
        "image_cone": ("image–image", "image"),
        "text_cone": ("text–text", "text"),
        "pair_cosine": ("true pair", "pair"),
    },
    RECALL: {
        "image_retrieval_recall@1": ("text → image", "image"),
        "text_retrieval_recall@1": ("image → text", "text"),
    },
}
"""Name and role of each scalar, by the label of its panel."""


def track(histories: Sequence[History], labels: Sequence[str]) -> Chart:
    """Return gap, mean cosines and recall@1 against the training step.

    Raises:
        MissingEvidence: a history has fewer than two steps, or no gap.
    """
    keys = [ModelKey(label, index) for index, label in enumerate(labels)]
    by_model = ByModel(dict(zip(keys, histories, strict=True)))
    claims = by_model.map(_state)
    steps: list[float] = []
    for history in histories:
        steps += history.steps
    x = tight_axis(steps, "Training step")
    parts = []
    for label, scalars in SCALARS.items():
        lines = by_model.map(partial(_lines, scalars=scalars))
        ys: list[float] = []
        for model_lines in lines.all:
            for line in model_lines:
                ys += line.ys
        if ys:
            y = fraction_axis(label) if label == RECALL else nice_axis([0, *ys], label, n_steps=3)
            parts.append(facets(Panel(x=x, y=y, aspect=0.42), lines))
    if not by_model.is_joint:  # of panels under each other, the last has the label of the axis
        parts = [*(_without_x_label(part) for part in parts[:-1]), parts[-1]]
    return chart(parts, claims, reading="")


def _without_x_label(part: Panels) -> Panels:
    return part._replace(panels=[replace(panel, x=replace(panel.x, label="")) for panel in part.panels])


def _lines(history: History, scalars: Mapping[str, tuple[str, Role]]) -> list[Line]:
    lines = []
    for scalar, (words, role) in scalars.items():
        lines += [replace(line, role=role, name=words) for line in _line(history, scalar)]
    return lines


def _state(history: History) -> Statement:
    if len(history.steps) < 2:
        raise MissingEvidence(f"{history.label} was measured at one step only: a track needs two or more")
    gaps = _line(history, "gap")
    if not gaps:
        raise MissingEvidence(f"{history.label} holds no gap: measure modality-gap on its checkpoints")
    steps, values = gaps[0].xs, gaps[0].ys
    value = f"{fmt.number(values[0], 'distance')} and {fmt.number(values[-1], 'distance')}"
    recalls = _line(history, "image_retrieval_recall@1")
    if recalls:
        shares = recalls[0].ys
        value += f", text-to-image R@1 {fmt.percent(shares[0])} and {fmt.percent(shares[-1])} %"
    measured = f"Measured at {fmt.counted(len(history.steps), 'step')} of the training."
    return Statement(
        subject=f"The gap at step {fmt.count(steps[0])} and at step {fmt.count(steps[-1])}",
        value=value,
        reading=" ".join([measured, *(f"{note}." for note in history.notes)]),
    )


def progress(history: History, runs: Sequence[Run], titles: Mapping[str, str]) -> Chart:
    """Return the first headline metric of each evaluation against the training step, one panel per evaluation.

    Raises:
        MissingEvidence: the history has fewer than two steps, or no metrics of evaluations.
    """
    if len(history.steps) < 2:
        raise MissingEvidence(f"{history.label} was measured at one step only: progress needs two or more")
    records_by_name: dict[str, EvaluationRecord] = {}
    for run in reversed(runs):
        measured = [record for record in run.result.evaluations if record.status == "ok"]
        records_by_name |= {record.name: record for record in reversed(measured)}  # the first run's counts
    records = list(records_by_name.values())[::-1]
    has_many_data = len({record.dataset.id for record in records}) > 1
    panels = []
    for record in records:
        title = titles.get(record.task, record.task)
        if has_many_data:
            title += f" on {record.dataset.id}"
        panels += _progress_panel(history, record, title)
    if not panels:
        raise MissingEvidence(f"{history.label} holds no metrics of evaluations")
    n_columns = min(3, len(panels))
    n_above = len(panels) - n_columns  # only the last row has the label of the axis
    panels[:n_above] = [replace(panel, x=replace(panel.x, label="")) for panel in panels[:n_above]]
    first, last = fmt.count(history.steps[0]), fmt.count(history.steps[-1])
    return Chart(
        title=f"Headline metrics at {len(history.steps)} steps of one training, {first} to {last}.",
        panels=panels,
        n_columns=n_columns,
        reading=" ".join(["Fractions in percent.", *(f"{note}." for note in history.notes)]),
    )


def _progress_panel(history: History, record: EvaluationRecord, evaluation: str) -> list[Panel]:
    for name, metric in headlines(record).items():
        for line in _line(history, MetricName(record.name, name)):
            title = f"{evaluation}: {within_sentence(full_title(name, metric, record.subsets))}"
            is_share = metric.unit == "fraction"
            y = fraction_axis("") if is_share else nice_axis([0, *line.ys], n_steps=3)
            x = tight_axis(history.steps, "Training step")
            return [Panel(x=x, y=y, marks=[replace(line, name=title)], title=title, aspect=0.5)]
    return []


def _line(history: History, name: str) -> list[Line]:
    """Return the line of a scalar of the first evaluation of its task, empty if there is no such scalar."""
    task = "retrieval" if name in SCALARS[RECALL] else "modality-gap"
    keys: list[str] = [name] if name in history.values else []
    for key in history.values:
        if isinstance(key, MetricName) and key.task == task and key.metric == name:
            keys.append(key)
    if not keys:
        return []
    points = [(x, y) for x, y in zip(history.steps, history.values[keys[0]], strict=True) if y is not None]
    if not points:
        return []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return [Line(xs=xs, ys=ys, role="ink", has_dots=len(points) <= MAX_DOTTED)]
