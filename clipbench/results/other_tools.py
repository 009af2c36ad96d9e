"""Results of other toolkits, as values by clipbench's names.

CLIP_benchmark (a JSON for each model and data set, or the CSV of ``clip_benchmark build``), DataComp
(``eval_results.jsonl``), open_clip's training (``results.jsonl``) and MIEB (a JSON for each task of mteb). They hold
values without samples, which can be shown next to ours, but not tested.
"""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.errors import ClipbenchError, UsageError, did_you_mean
from clipbench.files import is_inside
from clipbench.results import other_tool_names as names
from clipbench.results.failure import FAILED
from clipbench.results.metric_name import MetricName, evaluation_name, subset_prefix
from clipbench.results.record import Metric
from clipbench.results.run import Run, read_run
from clipbench.results.run_names import run_folder
from clipbench.untrusted.reading import decode_json, entries, is_folder, is_there, read_text
from clipbench.untrusted.schema import MOST

EXPECTED = "expected a run folder, or results of CLIP_benchmark, DataComp, open_clip or MIEB (docs/other-tools.md)"

MODEL_CARD = "model_meta.json"
"""File in which mteb describes a model, in the folder with its results."""

BARE = "only values are known"
BARE_METRIC = f"no interval: {BARE}"
"""Reason of a metric of another tool, of which nothing but the value is known."""

ARTEFACT = "MIEB's is 0 whatever the model, as an item has one image"

_Record = Mapping[str, Any]
_Items = Iterator[tuple[MetricName, object]]


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values of one model, without samples."""

    label: str
    """The model if the file names one, the file otherwise."""
    values: Mapping[str, float]
    """Values by ``task@data/metric``. A name that is not a ``MetricName`` ends the data's id at its first slash."""
    notes: list[str] = field(default_factory=list)
    """Remarks on what the file holds and ``values`` does not."""

    @property
    def metrics(self) -> dict[str, Metric]:
        """The values as metrics without intervals, with unit and direction by their names."""
        return {str(name): metric for name, metric in self.named_metrics.items()}

    @property
    def named_metrics(self) -> dict[MetricName, Metric]:
        """The same by names that know their parts."""
        metrics = {}
        for key, value in self.values.items():
            name = key if isinstance(key, MetricName) else MetricName.from_text(key)
            unit, is_better = names.unit_of(name.metric, value), names.is_higher_better(name.metric)
            metrics[name] = Metric(value=value, unit=unit, higher_is_better=is_better, reason=BARE_METRIC)
        return metrics


def open_results(path: str | os.PathLike[str]) -> Run | Values:
    """Return the run in a folder or a result.json, or the values in a file, or a folder of files, of another toolkit.

    A path at which there is nothing may end with the name by which a table calls a run of its folder.

    Raises:
        NotMeasured: the run could not be made, and its folder says why.
        ClipbenchError: there is nothing that can be read.
    """
    path = Path(path)
    if path.name == "result.json" or is_there(path / "result.json") or is_there(path / FAILED):
        return read_run(path)
    source, model = _source_and_model(path)
    if not is_there(source) and run_folder(path) != path:
        return read_run(path)
    if not is_folder(source):
        return read_values(path)
    files = [
        file
        for file in entries(source, ClipbenchError)
        if file.suffix in (".json", ".jsonl") and file.name != MODEL_CARD
    ]
    for file in files:
        if not is_inside(file, source):
            raise ClipbenchError(f"{file} is a link that leads out of {source}, and is not read: name the file itself")
    return _merge_files(source, {file: read_values(file) for file in files}, model) if files else read_run(source)


def read_values(path: Path) -> Values:
    """Return the values of one model from a file of another toolkit.

    ``FILE#MODEL`` names one model of a file with several. In open_clip's log, with one line per evaluation, the last is
    read.

    Raises:
        ClipbenchError: the file cannot be read, is of no known kind, or has two values of one name.
        UsageError: it holds several models, and none or an unknown one was named.
    """
    source, model = _source_and_model(path)
    text = read_text(source, ClipbenchError, advice=EXPECTED)
    records = _parse_csv(text, source) if source.suffix == ".csv" else _parse_json(text, source)
    kind = _detect_format(records, source)
    notes: list[str] = []
    try:
        models = [kind.model(record) or str(source) for record in records]
        label = _one_model(list(dict.fromkeys(models)), source, model)
        model_records = [record for record, record_model in zip(records, models, strict=True) if record_model == label]
        if kind is _OPEN_CLIP and len(model_records) > 1:
            epoch = f" (epoch {model_records[-1]['epoch']})" if "epoch" in model_records[-1] else ""
            notes.append(f"{source} logs {len(model_records)} evaluations: the last{epoch} is compared")
            model_records = model_records[-1:]
        items = [item for record in model_records for item in kind.items(record)]
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ClipbenchError(
            f"{source} looks like a file of {kind.name}, but is malformed ({error}); {EXPECTED}"
        ) from error
    return _collect_values(label, items, source, notes)


def _source_and_model(path: Path) -> tuple[Path, str]:
    """Return a path and the model that follows its ``#``. The name of an existing file may contain ``#`` itself."""
    source, mark, model = str(path).rpartition("#")
    return (Path(source), model) if mark and not is_there(path) else (path, "")


def _merge_files(folder: Path, values_by_file: Mapping[Path, Values], model: str) -> Values:
    distinct_labels: dict[str, None] = {}
    for file, file_values in values_by_file.items():
        if file_values.label != str(file):
            distinct_labels[file_values.label] = None
    labels = list(distinct_labels)
    for file, file_values in values_by_file.items():
        if labels and file_values.label == str(file):
            raise ClipbenchError(f"{file} does not name its model, unlike other files in {folder}: move it elsewhere")
    label = _one_model(labels or [str(folder)], folder, model)
    values_by_file = {
        file: file_values for file, file_values in values_by_file.items() if not labels or file_values.label == label
    }
    values: dict[str, float] = {}
    for file, file_values in values_by_file.items():
        for key, value in file_values.values.items():
            if values.setdefault(key, value) != value:
                first = next(other for other, one in values_by_file.items() if key in one.values)
                raise ClipbenchError(
                    f"{first} and {file} have different values of {key}: got {values[key]} and {value}, expected one"
                )
    return Values(
        label=label,
        values=values,
        notes=[note for file_values in values_by_file.values() for note in file_values.notes],
    )


def _one_model(models: Sequence[str], path: Path, requested: str) -> str:
    if requested and requested not in models:
        raise UsageError(f"{path} has no model '{requested}': {did_you_mean(requested, models)}")
    if not requested and len(models) > 1:
        raise UsageError(f"{path} holds {len(models)} models: name one as {path}#MODEL ({', '.join(models[:3])}, ...)")
    return requested or models[0]


def _parse_json(text: str, path: Path) -> list[_Record]:
    """Return the object of a JSON file, the objects of its list (as our export writes it), or one object a line."""
    try:
        content = decode_json(text)
        records = content if isinstance(content, list) else [content]
    except ValueError as error:
        try:
            records = [decode_json(line) for line in text.splitlines() if line.strip()]
        except ValueError as line:
            cause = line if path.suffix == ".jsonl" else error
            raise ClipbenchError(f"{path} is not JSON: {cause}; {EXPECTED}") from error
    if not records or not all(isinstance(record, dict) for record in records):
        raise ClipbenchError(f"{path} holds no JSON objects: {EXPECTED}")
    return records


def _parse_csv(text: str, path: Path) -> list[_Record]:
    """Return the rows of CLIP_benchmark's table in the form of its JSON files. All numbers are taken for metrics."""
    facts = ("dataset", "task", "model", "pretrained", "language", "model_fullname")

    def number(cell: object) -> object:
        try:
            return float(str(cell))
        except ValueError:
            return cell

    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error as error:  # such as a field of more than 131,072 characters
        raise ClipbenchError(f"{path} is not CSV: {error}; {EXPECTED}") from error
    records: list[_Record] = []
    for row in rows:
        metrics = {key: number(cell) for key, cell in row.items() if key and key not in facts and cell}
        row_facts = {key: row[key] for key in facts if row.get(key)}
        records.append({**row_facts, "metrics": metrics})
    return records


class _Format(NamedTuple):
    """A file format: the keys that every record has, and the readers of a record."""

    name: str
    keys: frozenset[str]
    items: Callable[[_Record], _Items]
    model: Callable[[_Record], str | None] = lambda _: None


def _clip_benchmark(record: _Record) -> _Items:
    evaluation, prefix = names.clip_benchmark_name(str(record["dataset"]), str(record["task"]), record.get("language"))
    for name, value in names.clip_benchmark_metrics(evaluation, record["metrics"]).items():
        yield MetricName(evaluation, f"{prefix}{name}"), value


def _clip_benchmark_model(record: _Record) -> str | None:
    parts = [str(record[key]) for key in ("model", "pretrained") if record.get(key)]
    return record.get("model_fullname") or " ".join(parts) or None


def _datacomp(record: _Record) -> _Items:
    for name, value in record["metrics"].items():
        yield MetricName(names.datacomp_name(str(record["key"])), name), value


def _open_clip(record: _Record) -> _Items:
    for key, value in record.items():
        if (name := names.open_clip_name(key)) is not None:
            yield MetricName(*name), value


def _mieb(record: _Record) -> _Items:
    task = str(record["task_name"])
    evaluation = names.MIEB.get(task, evaluation_name("mieb", task))
    has_one_image = evaluation.startswith("composition") and task != "Winoground"
    for split, subset_scores in record["scores"].items():
        split_evaluation = evaluation if len(record["scores"]) == 1 else f"{evaluation}-{split}"
        for entry in subset_scores:
            subset = entry.get("hf_subset") or "default"
            prefix = "" if subset == "default" else subset_prefix(subset)
            for name, value in entry.items():
                if not (name.startswith("cv_recall_at") and name.replace("cv_recall", "hit_rate") in entry):
                    key = MetricName(split_evaluation, f"{prefix}{names.mieb_metric(task, name)}")
                    yield key, ARTEFACT if has_one_image and name in names.ALWAYS_ZERO else value


_OPEN_CLIP = _Format("open_clip", frozenset(), _open_clip)
_KINDS = (
    _Format("MIEB", frozenset({"task_name", "scores"}), _mieb),
    _Format("CLIP_benchmark", frozenset({"dataset", "task", "metrics"}), _clip_benchmark, _clip_benchmark_model),
    _Format("DataComp", frozenset({"key", "metrics"}), _datacomp),
)


def _detect_format(records: Sequence[_Record], path: Path) -> _Format:
    for kind in _KINDS:
        if records and all(kind.keys <= record.keys() for record in records):
            return kind
    if any(names.open_clip_name(key) is not None for record in records for key in record):
        return _OPEN_CLIP
    if records and "schema_version" in records[0]:
        raise ClipbenchError(
            f"{path} is the result.json of a run under another name: name the run's folder, which holds its samples too"
        )
    keys = ", ".join(str(key) for key in list(records[0])[:6]) if records else "none"
    raise ClipbenchError(f"{path} is not a results file that clipbench knows (its keys: {keys}); {EXPECTED}")


def _collect_values(label: str, items: Sequence[tuple[MetricName, object]], path: Path, notes: list[str]) -> Values:
    """Return the numbers among the items. Texts are descriptions, not results."""
    values: dict[str, float] = {}
    for key, value in items:
        if value is ARTEFACT:
            notes.append(f"{key} of {path} is left out: {ARTEFACT}")
        elif value is None or (isinstance(value, int | float) and not abs(value) < MOST):
            notes.append(f"{key} has no value in {path} ({'null' if value is None else str(value)[:20]})")
        elif isinstance(value, int | float) and not isinstance(value, bool) and values.setdefault(key, value) != value:
            raise ClipbenchError(f"{path} has two values of {key}: got {values[key]} and {value}, expected one")
    if not values:
        raise ClipbenchError(f"{path} holds no value: {EXPECTED}")
    return Values(label=label, values=values, notes=notes)
