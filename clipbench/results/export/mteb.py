"""``mteb``: the results of mteb's image tasks (MIEB), a JSON for each task, as ``mteb.TaskResult`` reads it.

A recall@k of ours is mteb's ``hit_rate_at_k``. Its intervals and n are next to the scores under ``clipbench``, which
mteb passes over. The values are ours: a tie gets half a point here, and a full one or none there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from clipbench.errors import UsageError
from clipbench.results.export.formats import ExportFormat, Object, RenderedExport, json_bytes
from clipbench.results.export.model_card import defined_metrics, missing_value_notes, one_model
from clipbench.results.metric_name import cutoff_of, split_evaluation
from clipbench.results.other_tool_names import MIEB, mieb_metric
from clipbench.results.record import EvaluationRecord, Metric, Metrics
from clipbench.results.run import Run
from clipbench.untrusted.terminal import one_line

SPLITS = {"Food101ZeroShot": "validation"}
"""Splits that mteb measures, where they are not called ``test``; ours of the same images may have another name."""


def render(runs: Sequence[Run]) -> RenderedExport:
    """Return a list of all results of one model, the only one by itself, or a file each, called as mteb calls it.

    Raises:
        UsageError: the runs are of several models, mteb has none of the tasks, or two results would have one name.
    """
    one_model(runs, "a folder of mteb's results")
    results: dict[str, Object] = {}
    notes: list[str] = []
    for run in runs:
        for record in run.result.evaluations:
            if record.status != "ok":
                notes += missing_value_notes(record)
                continue
            defined = defined_metrics(record.metrics)
            tasks = [task for task, evaluation in MIEB.items() if evaluation == record.name]
            by_task = {task: _renamed(task, defined) for task in tasks}
            notes += _left_out(record, by_task)
            for task, metrics in by_task.items():
                if f"{task}.json" in results:
                    raise UsageError(f"two results would both be named {task}.json: export each run by itself")
                if metrics:
                    results[f"{task}.json"] = _result(task, metrics, record, run)
    notes = [one_line(note) for note in notes]
    if not results:
        raise UsageError(f"no result of a task that mteb has: {'; '.join(notes[:3]) or 'no evaluation'}")
    task_results = list(results.values())
    parts = {name: json_bytes(result, indent=2) for name, result in results.items()}
    return RenderedExport(
        content=json_bytes(task_results if len(task_results) > 1 else task_results[0], indent=2),
        parts=parts,
        notes=notes,
    )


def _renamed(task: str, metrics: Metrics) -> dict[str, Metric]:
    """Return the metrics that one of mteb's tasks has, by mteb's names."""
    renamed = {}
    for name, metric in metrics.items():
        mteb_name = _name(task, name)
        if mteb_name is not None:
            renamed[mteb_name] = metric
    return renamed


def main_metric(task: str) -> str:
    """Return the metric that mteb ranks models by on one of its tasks."""
    kind = split_evaluation(MIEB[task]).task
    if kind == "composition":
        return "accuracy" if task == "Winoground" else "text_acc"
    return {"zero-shot": "accuracy", "retrieval": "ndcg_at_10"}[kind]


def _result(task: str, metrics: Metrics, record: EvaluationRecord, run: Run) -> Object:
    main = metrics.get(main_metric(task))
    scores: Object = {name: metric.value for name, metric in metrics.items()}
    scores["main_score"] = main.value if main else None
    scores |= {"hf_subset": "default", "languages": ["eng-Latn"]}
    details = {}
    for name, metric in metrics.items():
        details[name] = {key: getattr(metric, key) for key in ("low", "high", "confidence", "method", "n", "chance")}
    scores["clipbench"] = details
    created = None
    with suppress(ValueError):
        created = datetime.fromisoformat(run.result.created).isoformat()
    return {
        "dataset_revision": record.dataset.revision or "unknown",
        "task_name": task,
        "mteb_version": None,  # it was not mteb that made it
        "scores": {SPLITS.get(task, "test"): [scores]},
        "evaluation_time": sum(record.seconds.values()),
        "kg_co2_emissions": None,
        "date": created,
    }


def _name(task: str, ours: str) -> str | None:
    """Return mteb's name of a metric, or None: the inverse of ``other_tool_names.mieb_metric``."""
    names = ("accuracy", "text_acc", "image_acc", f"hit_rate_at_{cutoff_of(ours)}")
    return next((theirs for theirs in names if mieb_metric(task, theirs) == ours), None)


def _left_out(record: EvaluationRecord, by_task: Mapping[str, Metrics]) -> Iterator[str]:
    if not by_task:
        yield f"{record.name} is left out: mteb has no task on the same data"
        return
    unsupported = [name for name in record.metrics if not any(_name(task, name) for task in by_task)]
    if unsupported:
        yield f"{record.name}: {', '.join(unsupported)} left out: mteb has no such metric"
    for task, metrics in by_task.items():
        for name, metric in record.metrics.items():
            if metric.value is None and _name(task, name):
                yield f"{record.name} {name} is left out, undefined: {metric.reason}"
        if metrics and main_metric(task) not in metrics:
            yield f"{task}: main_score is null, as {main_metric(task)} was not measured"


FORMAT = ExportFormat(suffixes=(".json",), render=render, takes_folder=True)
