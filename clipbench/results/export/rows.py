"""All that runs hold of their metrics as one long table: a row a metric, with all that is needed to believe it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

from clipbench.errors import ClipbenchError
from clipbench.results.record import EvaluationRecord, Metric, as_json
from clipbench.results.run import Run, labels

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "model": str,
        "task": str,
        "data": str,
        "revision": str,
        "split": str,
        "status": str,
        "kind": str,
        "metric": str,
        "value": float,
        "low": float,
        "high": float,
        "confidence": float,
        "n": int,
        "unit": str,
        "chance": float,
        "higher_is_better": bool,
        "method": str,
        "reason": str,
        "published": str,
        "model_id": str,
        "fingerprint": str,
        "step": int,
        "task_version": int,
        "params": str,
        "n_samples": int,
        "data_fingerprint": str,
        "seed": int,
        "created": str,
        "clipbench_version": str,
        "device": str,
        "precision": str,
        "python": str,
        "torch": str,
        "environment": str,
        "notes": str,
    }
)
"""Names and types. ``kind`` is ``metric`` or ``control``; ``params``, ``published``, ``environment``, ``notes`` are JSON."""


def rows(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each metric and control of each run, in their order.

    An evaluation without numbers has one row, with its status and its reason in place of a metric. What a run does not
    say, such as an old one, is None.
    """
    return [
        {name: _cell(found.get(name), kind) for name, kind in COLUMNS.items()}
        for label, run in zip(labels(runs), runs, strict=True)
        for found in _of_run(label, run)
    ]


def _of_run(label: str, run: Run) -> Iterator[Mapping[str, object]]:
    result, model = run.result, run.result.model
    told = {name: result.environment.get(name) for name in ("device", "precision", "python", "torch")}
    whose: dict[str, object] = {
        **told,
        "model": label,
        "model_id": model.get("id"),
        "fingerprint": model.get("fingerprint"),
        "step": model.get("step"),
        "seed": result.seed,
        "created": result.created,
        "clipbench_version": result.clipbench_version,
        "environment": as_json(dict(result.environment)),
    }
    for record in result.evaluations:
        of_what = {**whose, **_of_evaluation(record)}
        metrics = [*_of_metrics(record.metrics, "metric"), *_of_metrics(record.controls, "control")]
        yield from ({**of_what, **metric} for metric in metrics or [{}])


def _of_evaluation(record: EvaluationRecord) -> dict[str, object]:
    data = record.dataset
    return {
        "task": record.task,
        "task_version": record.task_version,
        "params": as_json(dict(record.params)),
        "data": data.id,
        "revision": data.revision,
        "split": data.split,
        "n_samples": data.n_samples,
        "data_fingerprint": data.fingerprint,
        "status": record.status,
        "reason": record.reason,
        "notes": as_json(list(record.notes)),
    }


def _of_metrics(metrics: Mapping[str, Metric], kind: str) -> list[dict[str, object]]:
    return [
        {
            "kind": kind,
            "metric": name,
            **{column: getattr(metric, column) for column in COLUMNS if column in metric.__dataclass_fields__},
            "published": as_json([asdict(each) for each in metric.published]) if metric.published else None,
        }
        for name, metric in metrics.items()
    ]


def _cell(value: object, kind: type) -> Cell:
    if value is None:
        return None
    if kind is str:  # a lone surrogate, which the name of a file may hold, cannot be written
        return str(value).encode("utf-8", errors="replace").decode()
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise ClipbenchError(f"a run has {value!r} where a number is expected: make it again") from error
