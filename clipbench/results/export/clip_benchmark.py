"""``clip_benchmark``: the JSON that CLIP_benchmark 1.6.2 leaves of an evaluation, so that what reads it still works.

It has an entry for each data set, and one for each subset or label set, which it takes for data sets of their own. Its
values are means without intervals. They are ours: a tie gets half a point here, and a full one or none there.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from clipbench.errors import UsageError
from clipbench.results import other_tool_names
from clipbench.results.export.formats import ExportFormat, Object, RenderedExport, json_bytes
from clipbench.results.metric_name import full_name, in_subset, split_subset
from clipbench.results.provenance import missing_reason
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

TASKS = {ours: theirs for theirs, ours in other_tool_names.TASKS.items()}
"""CLIP_benchmark's tasks, by ours."""
METRICS = {
    "zero-shot": re.compile(r"acc1|acc5|mean_per_class_recall|mean_average_precision"),
    "retrieval": re.compile(r"(image|text)_retrieval_recall@\d+"),
    "composition": re.compile(r"text_acc|image_acc|group_acc"),
}
"""Metrics that CLIP_benchmark gives the same name, by our task. It calls ``group_acc`` ``acc``."""
MEANS = ("macro", "micro")
"""Means over subsets, which are left out: CLIP_benchmark has none, and its readers compute their own."""
VTAB = frozenset(
    [
        "caltech101",
        "cifar10",
        "cifar100",
        "clevr_closest_object_distance",
        "clevr_count_all",
        "dtd",
        "eurosat",
        "flowers",
        "kitti_closest_vehicle_distance",
        "pcam",
        "pets",
        "resisc45",
        "svhn",
    ]
)
"""Data sets that CLIP_benchmark calls ``vtab/...``."""


def render(runs: Sequence[Run]) -> RenderedExport:
    """Return a list of all entries, or a file each, called as CLIP_benchmark calls it.

    Raises:
        UsageError: CLIP_benchmark has none of the tasks, or two entries would have one name.
    """
    entries: dict[str, Object] = {}
    notes: list[str] = []
    for run in runs:
        for record in run.result.evaluations:
            notes += _left_out(record)
            for entry in _entries(run, record):
                # What a reader of the entry, such as ``clipbench compare``, takes its data for.
                read, prefix = other_tool_names.clip_benchmark_name(str(entry["dataset"]), str(entry["task"]), "en")
                if not full_name(read, prefix).startswith(full_name(record.name, "")):
                    notes.append(f"{record.name} is named {entry['dataset']} in CLIP_benchmark and read back as {read}")
                pretrained = PurePath(str(entry["pretrained"])).name
                words = (entry["dataset"], pretrained, entry["model"], entry["language"], entry["task"])
                name = re.sub(r"[^\w.@=+,-]", "_", "_".join(map(str, words))).lstrip(".") + ".json"
                if name in entries:
                    raise UsageError(f"two results would both be named {name}: export each run to a folder of its own")
                entries[name] = entry
    if not entries:
        raise UsageError(f"no result of a task that CLIP_benchmark has ({', '.join(TASKS)}): {'; '.join(notes[:3])}")
    parts = {name: json_bytes(entry) for name, entry in entries.items()}
    return RenderedExport(content=json_bytes(list(entries.values())), parts=parts, notes=notes)


def model_names(run: Run) -> tuple[str, str]:
    """Return what CLIP_benchmark calls ``model`` and ``pretrained``, where the second is empty if a model has one name.

    ``open_clip:ARCH/TAG`` and ``FILE as ARCH`` have two.
    """
    name = str(run.result.model.get("id") or run.result.model.get("ref") or "unnamed model")
    if name.startswith("open_clip:") and "/" in name:
        architecture, _, tag = name.removeprefix("open_clip:").partition("/")
        return architecture, tag
    file, separator, architecture = name.rpartition(" as ")
    return (architecture, file) if separator else (name, "")


def _entries(run: Run, record: EvaluationRecord) -> Iterator[Object]:
    if record.status != "ok" or record.task not in TASKS:
        return
    model, pretrained = model_names(run)
    for subset, metrics in _by_subset(record).items():
        values = {"acc" if name == "group_acc" else name: metric.value for name, metric in metrics.items()}
        if "text_acc" in values and not {"image_acc", "group_acc"} & metrics.keys():
            values["acc"] = values["text_acc"]  # of a single image nothing can be wrong but the choice of its caption
        dataset = dataset_name(record.dataset.id)
        yield {
            "dataset": f"{dataset}/{subset}" if subset else dataset,
            "model": model,
            "pretrained": pretrained,
            "task": TASKS[record.task],
            "metrics": values,
            "language": "en",
        }


def _by_subset(record: EvaluationRecord) -> dict[str, dict[str, Metric]]:
    """Return the metrics that CLIP_benchmark has, by the subset in front of the last slash of their names."""
    by_subset: dict[str, dict[str, Metric]] = {}
    for name, metric in record.metrics.items():
        subset, metric_name = split_subset(name)
        if subset not in MEANS and METRICS[record.task].fullmatch(metric_name):
            by_subset.setdefault(subset, {})[metric_name] = metric
    return by_subset


def _left_out(record: EvaluationRecord) -> Iterator[str]:
    if record.status != "ok":
        yield f"{record.name} is left out, {missing_reason(record)}"
    elif record.task not in TASKS:
        yield f"{record.name} is left out: CLIP_benchmark has no such task"
    else:
        exported = set[str]()
        for subset, metrics in _by_subset(record).items():
            exported.update(in_subset(subset, metric_name) for metric_name in metrics)
        if unsupported := [name for name in record.metrics if name not in exported]:
            yield f"{record.name}: {', '.join(unsupported)} left out: CLIP_benchmark has no such metric"
        for name, metric in record.metrics.items():
            if metric.value is None and name in exported:
                yield f"{record.name} {name} is null, undefined: {metric.reason}"


def dataset_name(name: str) -> str:
    """Return what CLIP_benchmark calls a data set."""
    hub = "hf:clip-benchmark/wds_"
    if name.startswith(hub):
        return re.sub("^vtab-", "vtab/", name.removeprefix(hub))
    theirs = next((theirs for theirs, ours in other_tool_names.CLIP_BENCHMARK.items() if ours == name), name)
    return f"vtab/{theirs}" if theirs in VTAB else theirs


FORMAT = ExportFormat(suffixes=(".json",), render=render, takes_folder=True)
