"""``every-eval-ever``: the JSON of the EvalEval coalition's shared schema, version 0.3.0, for one model.

The schema asks for the direction of each metric: those without one, such as the modality gap, are left out. It asks who
made the evaluation, which a run does not say: ``unknown`` is to be replaced before a file is published. A folder has
the paths of the archive, with the instance-level records next to the metrics.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from clipbench.errors import UsageError
from clipbench.results.export.every_eval_ever_samples import sample_lines
from clipbench.results.export.formats import ExportFormat, Object, RenderedExport
from clipbench.results.export.model_card import METRIC_TYPES, hub_name, missing_value_notes, one_model
from clipbench.results.metric_name import base_name
from clipbench.results.record import EvaluationRecord, Metric, Metrics, as_json
from clipbench.results.run import Run, all_evaluations
from clipbench.untrusted.terminal import one_line

VERSION = "0.3.0"
UNKNOWN = "unknown"
INFINITE = "Infinity"

Bound = float | str

UNITS: Mapping[str, tuple[str, Bound, Bound]] = {
    "fraction": ("proportion", 0, 1),
    "difference": ("difference of proportions", -1, 1),
    "cosine": ("cosine", -1, 1),
    "rank": ("rank", 1, INFINITE),
    **{name: (name, 0, INFINITE) for name in ("distance", "dimensions", "tokens")},
}
"""Names of our units there, and the smallest and largest value; of others nothing is known."""
HUB_MODELS = re.compile(r"(?:hf|hf-hub|st):([\w.-]+/[\w.-]+)(?:@\w+)?")


def render(runs: Sequence[Run]) -> RenderedExport:
    """Return the metrics of all evaluations of one model, each with its interval.

    Raises:
        UsageError: the runs are of several models, or no metric has a value and a direction.
    """
    log, notes = _log(runs)
    if any("samples" in record.files for record in all_evaluations(runs)):
        notes.insert(0, "samples are left out: a folder, -o FOLDER, has them too")
    return RenderedExport(content=_as_bytes(log), notes=notes)


def render_folder(runs: Sequence[Run]) -> RenderedExport:
    """Return the metrics and the instance-level records by their paths in the archive; raise as ``render`` does.

    The archive names both files by a UUID of version 4. It is made of the metrics, so that equal runs have equal files.
    """
    log, notes = _log(runs)
    model_id = str(_model(runs[0])["id"])
    developer, _, name = model_id.partition("/")
    developer, name = _path_part(developer), _path_part(name)
    identity = {field: log[field] for field in ("schema_version", "evaluation_id")} | {"model_id": model_id}
    lines: list[bytes] = []
    for run in runs:
        for record in run.result.evaluations:
            metrics = _exported_metrics(record)
            if metrics:
                samples = sample_lines(run, record, metrics, identity)
                lines += samples.lines
                notes += [one_line(note) for note in samples.notes]
    content = b"".join(lines)
    file_id = uuid.UUID(bytes=hashlib.sha256(_as_bytes(log)).digest()[:16], version=4)
    path = f"data/clipbench/{developer or UNKNOWN}/{name or developer or UNKNOWN}/{file_id}"
    parts = {}
    if lines:
        log["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{path}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(content).hexdigest(),
            "total_rows": len(lines),
        }
        parts[f"{path}_samples.jsonl"] = content
    return RenderedExport(content=_as_bytes(log), parts={f"{path}.json": _as_bytes(log), **parts}, notes=notes)


def _path_part(name: str) -> str:
    """Return a name as a part of a path: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")


def _log(runs: Sequence[Run]) -> tuple[Object, list[str]]:
    """Return the file of the metrics, and notes on what it leaves out."""
    one_model(runs, "a file of Every Eval Ever")
    result = runs[0].result
    notes: list[str] = []
    results: list[Object] = []
    for record in all_evaluations(runs):
        notes += missing_value_notes(record)
        both = [
            name
            for name, metric in record.metrics.items()
            if metric.value is not None and metric.higher_is_better is None
        ]
        if both:
            notes.append(
                f"{record.name}: {', '.join(both)} left out: neither direction is better, and the schema requires one"
            )
        results += _results(record)
    notes = [one_line(note) for note in notes]
    if not results:
        raise UsageError(f"no metric with a value and a direction: {'; '.join(notes[:3]) or 'no evaluation'}")
    model = _model(runs[0])
    moment = "0"  # where a run does not say when it was made
    with suppress(ValueError):
        moment = f"{datetime.fromisoformat(result.created).timestamp():.0f}"
    log: Object = {
        "schema_version": VERSION,
        "evaluation_id": f"clipbench/{model['id']}/{moment}",
        "evaluation_timestamp": result.created,
        "retrieved_timestamp": moment,
        "source_metadata": {
            "source_name": "clipbench",
            "source_type": "evaluation_run",
            "source_organization_name": UNKNOWN,
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "clipbench",
            "version": result.clipbench_version,
            "additional_details": _texts({"seed": result.seed, **result.environment}),
        },
        "model_info": model,
        "evaluation_results": results,
    }
    return log, notes


def _as_bytes(log: Object) -> bytes:
    return f"{json.dumps(log, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode("utf-8", errors="replace")


def _model(run: Run) -> Object:
    """Return the model by its name on the Hub, where it has one."""
    model = run.result.model
    name = str(model.get("id") or model.get("ref") or UNKNOWN)
    hub = HUB_MODELS.fullmatch(name)
    is_served = name.startswith("api:")
    is_public = hub is not None or name.startswith("open_clip:")
    details = {key: value for key, value in model.items() if key not in ("id", "notes")}
    return {
        "name": name,
        "id": hub[1] if hub else re.sub(r"[^\w./-]+", "/", name, count=1),
        "additional_details": {
            **_texts(details),
            "deployment_type": "externally_managed" if is_served else "self_deployed",
            "model_availability": "open_weights" if is_public else UNKNOWN,
        },
    }


def _exported_metrics(record: EvaluationRecord) -> Metrics:
    return {
        name: metric
        for name, metric in record.metrics.items()
        if record.status == "ok" and metric.value is not None and metric.higher_is_better is not None
    }


def _results(record: EvaluationRecord) -> Iterator[Object]:
    for name, metric in _exported_metrics(record).items():
        details = {
            "n": metric.n,
            "chance": metric.chance,
            "reason": metric.reason,
            "task_version": record.task_version,
            "params": as_json(dict(record.params)),
        }
        score: Object = {"score": metric.value, "details": _texts(details)}
        if metric.low is not None:
            score["uncertainty"] = _uncertainty(metric)
        yield {
            "evaluation_result_id": f"{record.name}/{name}",
            "evaluation_name": record.name,
            "source_data": _data(record),
            "metric_config": _metric(name, metric),
            "score_details": score,
        }


def _uncertainty(metric: Metric) -> Object:
    """Return the confidence interval of a metric that has one."""
    interval: Object = {"lower": metric.low, "upper": metric.high, "confidence_level": metric.confidence}
    if metric.method is not None:
        interval["method"] = metric.method
    return {"confidence_interval": interval, "num_samples": metric.n}


def _metric(name: str, metric: Metric) -> Object:
    unit, smallest, largest = UNITS.get(metric.unit, (metric.unit, f"-{INFINITE}", INFINITE))
    if not float(smallest) <= (metric.value or 0) <= float(largest):  # of a plug-in, whose unit may say too much
        smallest, largest = f"-{INFINITE}", INFINITE
    hub_type = METRIC_TYPES.get(base_name(name))
    return {
        **({"evaluation_description": metric.description} if metric.description else {}),
        "metric_id": hub_type or f"clipbench.{name}",
        "metric_name": metric.title or name,
        "metric_unit": unit,
        "lower_is_better": not metric.higher_is_better,
        "score_type": "continuous",
        "min_score": smallest,
        "max_score": largest,
    }


def _data(record: EvaluationRecord) -> Object:
    data, hub_dataset = record.dataset, hub_name(record.dataset.id)
    details = _texts(
        {"revision": data.revision, "fingerprint": data.fingerprint, "config": hub_dataset and hub_dataset[1]}
    )
    if hub_dataset is None:
        facts = _texts({"n_samples": data.n_samples, "split": data.split})
        return {"dataset_name": data.id, "source_type": "other", "additional_details": {**facts, **details}}
    hub_fields = {
        "dataset_name": hub_dataset[0],
        "source_type": "hf_dataset",
        "hf_repo": hub_dataset[0],
        "hf_split": data.split,
    }
    recorded_fields = {key: value for key, value in hub_fields.items() if value is not None}
    return {**recorded_fields, "samples_number": data.n_samples, "additional_details": details}


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    """Return facts as texts, as the schema has all that is not its own. Unknown facts are left out."""
    texts = {}
    for name, fact in facts.items():
        if fact not in (None, ""):
            texts[name] = fact if isinstance(fact, str) else as_json(fact)
    return texts


FORMAT = ExportFormat(suffixes=(".json",), render=render, render_folder=render_folder, takes_folder=True)
