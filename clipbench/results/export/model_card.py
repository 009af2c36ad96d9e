"""Two files of a model's repository on the Hugging Face Hub: the ``model-index`` of its card, and its
``.eval_results/``.
"""

import re
from collections.abc import Iterator, Sequence

from clipbench.errors import UsageError
from clipbench.results.export.formats import ExportFormat, Object, RenderedExport
from clipbench.results.metric_name import base_name
from clipbench.results.numbers import count, interval, interval_name, metric_value, quantity
from clipbench.results.provenance import missing_reason, origin
from clipbench.results.record import EvaluationRecord, Metric, Metrics, as_json
from clipbench.results.run import Run, all_evaluations, model_name
from clipbench.results.titles import first_headline, headlines
from clipbench.untrusted.terminal import one_line

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT = "default"
"""The task of a benchmark with a single one."""
TASK_TYPES = {"zero-shot": "zero-shot-image-classification"}
"""Tasks of the Hub, by ours. Other tasks keep their name."""
METRIC_TYPES = {"acc1": "accuracy"}
"""Metrics of the Hub, by ours. Other metrics keep their name."""


def model_index(runs: Sequence[Run]) -> RenderedExport:
    """Return a ``model-index`` with all evaluations of one model, which may come from several runs.

    A value is as the run has it, a fraction in [0, 1]; interval, n and unit are its ``args``. A card has no place for
    what has no value: it is a comment, and a note.

    Raises:
        UsageError: the runs are of several models, or nothing was measured.
    """
    name = one_model(runs, "a model card")
    records = all_evaluations(runs)
    results = [_result(record) for record in records if defined_metrics(record.metrics)]
    notes = [one_line(note) for record in records for note in missing_value_notes(record)]
    if not results:
        raise UsageError(
            f"no value of {name} to put on a model card: {'; '.join(notes[:3]) or 'the runs have no evaluation'}"
        )
    purpose = "`clipbench export --to model-index`, for the metadata of a model card."
    return as_yaml({"model-index": [{"name": name, "results": results}]}, purpose, runs, notes)


def as_yaml(data: object, purpose: str, runs: Sequence[Run], notes: Sequence[str]) -> RenderedExport:
    """Return YAML that begins with comments: its purpose, where the runs are from, and the notes."""
    from huggingface_hub.utils import yaml_dump

    origins = [one_line(f"{model_name(run)}: {origin(run)}") for run in runs]
    comments = "".join(f"# {line}\n" for line in (f"Made by {purpose}", *origins, *notes))
    text = comments + yaml_dump(data, sort_keys=False)
    return RenderedExport(content=text.encode("utf-8", errors="replace"), notes=notes)


def one_model(runs: Sequence[Run], document: str) -> str:
    """Return the name of the model that all runs are of. The error names the ``document``, which is for one model."""
    fingerprints = {as_json(run.result.model.get("fingerprint")) for run in runs}
    if len(runs) > 1 and (len(fingerprints) > 1 or "null" in fingerprints):
        names = ", ".join(dict.fromkeys(model_name(run) for run in runs))
        raise UsageError(f"{document} describes one model, and the {len(runs)} runs are of several: {names}")
    return model_name(runs[0])


def _result(record: EvaluationRecord) -> Object:
    return {
        "task": {"type": TASK_TYPES.get(record.task, record.task), "name": record.name},
        "dataset": _dataset(record),
        "metrics": [
            {
                "type": METRIC_TYPES.get(base_name(name), name),
                "value": metric.value,
                "name": name,
                "args": _args(metric),
            }
            for name, metric in defined_metrics(record.metrics).items()
        ],
    }


def _dataset(record: EvaluationRecord) -> Object:
    data = record.dataset
    name, config = hub_name(data.id) or (data.id, "")
    fields = {
        "name": data.id,
        "type": name,
        "config": config or None,
        "split": data.split,
        "revision": data.revision,
        "args": {
            "n_samples": data.n_samples,
            "fingerprint": data.fingerprint,
            "task_version": record.task_version,
            "params": dict(record.params),
        },
    }
    return {key: value for key, value in fields.items() if value is not None}


def hub_name(data: str) -> tuple[str, str] | None:
    """Return repository and configuration of a data set of the Hub, or None for another.

    Example:
        >>> hub_name("hf:org/birds:small"), hub_name("imagenet")
        (('org/birds', 'small'), None)
    """
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?::(.*))?", data)
    return (match[1], match[2] or "") if match else None


def _args(metric: Metric) -> Object:
    interval = {"low": metric.low, "high": metric.high, "confidence": metric.confidence, "method": metric.method}
    return {
        **(interval if metric.low is not None else {"reason": metric.reason}),
        "n": metric.n,
        "unit": metric.unit,
        "chance": metric.chance,
    }


def defined_metrics(metrics: Metrics) -> Metrics:
    """Return the metrics that have a value."""
    return {name: metric for name, metric in metrics.items() if metric.value is not None}


def missing_value_notes(record: EvaluationRecord) -> Iterator[str]:
    """Yield a note on an evaluation that was not made, and on each metric without a value."""
    if record.status != "ok":
        yield f"{record.name} is left out, {missing_reason(record)}"
    for name, metric in record.metrics.items():
        if metric.value is None:
            yield f"{record.name} {name} is left out, undefined: {metric.reason}"


def eval_results(runs: Sequence[Run]) -> RenderedExport:
    """Return the entries of all evaluations on data sets of the Hub, of one model.

    Raises:
        UsageError: the runs are of several models, or nothing was measured on data of the Hub.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    name = one_model(runs, "a file of evaluation results")
    entries, notes = [], []
    for run in runs:
        for record in run.result.evaluations:
            headline_values = defined_metrics(headlines(record))
            hub_dataset = hub_name(record.dataset.id)
            if record.status != "ok":
                notes += list(missing_value_notes(record))
            elif hub_dataset is None:
                notes.append(f"{record.name} is left out: its data is not named as a data set of the Hub, hf:ORG/NAME")
            elif not headline_values:
                notes.append(f"{record.name} is left out: it has no headline metric with a value")
            else:
                metric = first_headline(record.metrics)
                for other in headline_values:
                    if other != metric:
                        notes.append(f"{record.name} {other} is left out: a task of a benchmark has one value")
                revision = record.dataset.revision or ""
                facts = [*_value_facts(record, metric), f"clipbench {run.result.clipbench_version}"]
                entries.append(
                    EvalResultEntry(
                        dataset_id=hub_dataset[0],
                        task_id=hub_dataset[1] or DEFAULT,
                        value=record.metrics[metric].value,
                        dataset_revision=revision if COMMIT.fullmatch(revision) else None,
                        date=run.result.created or None,
                        notes=one_line("; ".join(facts)),
                    )
                )
    notes = [one_line(note) for note in notes]
    if not entries:
        raise UsageError(f"no value of {name} on a data set of the Hub: {'; '.join(notes[:3]) or 'no evaluation'}")
    purpose = "`clipbench export --to eval-results`, for .eval_results/ in the model's repository."
    return as_yaml(eval_result_entries_to_yaml(entries), purpose, runs, notes)


def _value_facts(record: EvaluationRecord, name: str) -> list[str]:
    """Return a metric with its value, interval and chance as far as they are known, and its n."""
    metric = record.metrics[name]
    facts = [f"{record.task} {name} {metric_value(metric)}"]
    if metric.low is not None:
        facts.append(f"{interval_name([metric])} {interval(metric)}")
    if metric.chance is not None:
        facts.append(f"chance {quantity(metric.chance, metric.unit)}")
    return [*facts, f"n {count(metric.n)}"]


MODEL_INDEX, EVAL_RESULTS = (
    ExportFormat(suffixes=(".yaml", ".yml"), render=render) for render in (model_index, eval_results)
)
