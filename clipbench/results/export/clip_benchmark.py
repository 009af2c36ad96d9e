"""``clip_benchmark``: the JSON that CLIP_benchmark 1.6.2 leaves of an evaluation, so that what reads it still works.

It has an entry for each data set, and one for each subset or label set, which it takes for data sets of their own. Its
values are means without intervals. They are ours: a tie gets half a point here, and a full one or none there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results import other_tool_names
from clipbench.results.export.rendered import Rendered
from clipbench.results.provenance import why_missing
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run

TASKS = MappingProxyType({ours: theirs for theirs, ours in other_tool_names.TASKS.items()})
"""CLIP_benchmark's tasks, by ours."""
METRICS = MappingProxyType(
    {
        "zero-shot": re.compile(r"acc1|acc5|mean_per_class_recall|mean_average_precision"),
        "retrieval": re.compile(r"(image|text)_retrieval_recall@\d+"),
        "composition": re.compile(r"text_acc|image_acc|group_acc"),
    }
)
"""Metrics that CLIP_benchmark gives the same name, by our task; it calls ``group_acc`` ``acc``."""
MEANS = ("macro", "micro")
"""Means over subsets, which are left out: CLIP_benchmark has none, and its readers compute their own."""
DATASETS = MappingProxyType(
    {
        "imagenet": "imagenet1k",
        "imagenet-sketch": "imagenet_sketch",
        "cifar-10": "vtab/cifar10",
        "cifar-100": "vtab/cifar100",
        "svhn": "vtab/svhn",
        "caltech101": "vtab/caltech101",
        "clevr-counts": "vtab/clevr_count_all",
        "clevr-distance": "vtab/clevr_closest_object_distance",
        "dtd": "vtab/dtd",
        "eurosat": "vtab/eurosat",
        "fgvc-aircraft": "fgvc_aircraft",
        "kitti-distance": "vtab/kitti_closest_vehicle_distance",
        "flowers102": "vtab/flowers",
        "oxford-pets": "vtab/pets",
        "pcam": "vtab/pcam",
        "resisc45": "vtab/resisc45",
        "stanford-cars": "cars",
        "rendered-sst2": "renderedsst2",
        "coco": "mscoco_captions",
        "sugarcrepe": "sugar_crepe",
    }
)
"""CLIP_benchmark's names of data sets, where they differ from ours."""

Entry = dict[str, object]


def render(runs: Sequence[Run]) -> Rendered:
    """Return a list of all entries, or a file each, called as CLIP_benchmark calls it.

    Raises:
        UsageError: CLIP_benchmark has none of the tasks, or two entries would have one name.
    """
    entries: dict[str, Entry] = {}
    notes: list[str] = []
    for run in runs:
        for record in run.result.evaluations:
            notes += _left_out(record)
            for entry in _entries(run, record):
                notes += _renamed(entry, record)
                name = _file_name(entry)
                if name in entries:
                    raise UsageError(f"two results would both be named {name}: export each run to a folder of its own")
                entries[name] = entry
    if not entries:
        raise UsageError(f"no result of a task that CLIP_benchmark has ({', '.join(TASKS)}): {'; '.join(notes[:3])}")
    parts = {name: _json(entry) for name, entry in entries.items()}
    return Rendered(content=_json(list(entries.values())), parts=parts, notes=notes)


def model_names(run: Run) -> tuple[str, str]:
    """Return what CLIP_benchmark calls ``model`` and ``pretrained``; the second is empty where a model has one name.

    ``open_clip:ARCH/TAG`` and ``FILE as ARCH`` have two.
    """
    name = str(run.result.model.get("id") or run.result.model.get("ref") or "unnamed model")
    if name.startswith("open_clip:") and "/" in name:
        architecture, _, tag = name.removeprefix("open_clip:").partition("/")
        return architecture, tag
    file, separator, architecture = name.rpartition(" as ")
    return (architecture, file) if separator else (name, "")


def _entries(run: Run, record: EvaluationRecord) -> Iterator[Entry]:
    if record.status != "ok" or record.task not in TASKS:
        return
    model, pretrained = model_names(run)
    for subset, metrics in _by_subset(record).items():
        yield {
            "dataset": "/".join(filter(None, (_dataset(record.dataset.id), subset))),
            "model": model,
            "pretrained": pretrained,
            "task": TASKS[record.task],
            "metrics": _values(metrics),
            "language": "en",
        }


def _by_subset(record: EvaluationRecord) -> dict[str, dict[str, Metric]]:
    """Return the metrics that are known there, by what stands before the last slash of their names."""
    found: dict[str, dict[str, Metric]] = {}
    for name, metric in record.metrics.items():
        subset, _, own = name.rpartition("/")
        if subset not in MEANS and METRICS[record.task].fullmatch(own):
            found.setdefault(subset, {})[own] = metric
    return found


def _values(metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    values = {name: metric.value for name, metric in metrics.items()}
    if "group_acc" in values:
        values["acc"] = values.pop("group_acc")
    elif "text_acc" in values and "image_acc" not in values:
        # Of a single image nothing can be wrong but the choice of its caption.
        values["acc"] = values["text_acc"]
    return values


def _left_out(record: EvaluationRecord) -> Iterator[str]:
    if record.status != "ok":
        yield f"{record.name} is left out, {why_missing(record)}"
    elif record.task not in TASKS:
        yield f"{record.name} is left out: CLIP_benchmark has no such task"
    else:
        known = _by_subset(record)
        lacking = [
            name for name in record.metrics if name.rpartition("/")[2] not in known.get(name.rpartition("/")[0], {})
        ]
        if lacking:
            yield f"{record.name}: {', '.join(lacking)} left out: CLIP_benchmark has no such metric"
        undefined = {
            name: each.reason for name, each in record.metrics.items() if each.value is None and name not in lacking
        }
        yield from (f"{record.name} {name} is null, undefined: {reason}" for name, reason in undefined.items())


def _renamed(entry: Entry, record: EvaluationRecord) -> Iterator[str]:
    """Yield what a reader of the entry, such as ``clipbench compare``, takes its data for, where that is another name."""
    evaluation, prefix = other_tool_names.clip_benchmark_name(str(entry["dataset"]), str(entry["task"]), "en")
    if not f"{evaluation}/{prefix}".startswith(f"{record.name}/"):
        yield f"{record.name} is named {entry['dataset']} in CLIP_benchmark and read back as {evaluation}"


def _dataset(name: str) -> str:
    hub = "hf:clip-benchmark/wds_"
    if name.startswith(hub):
        return re.sub("^vtab-", "vtab/", name.removeprefix(hub))
    return DATASETS.get(name, name)


def _file_name(entry: Entry) -> str:
    """Return ``dataset_pretrained_model_language_task.json``."""
    pretrained = PurePath(str(entry["pretrained"])).name
    words = (entry["dataset"], pretrained, entry["model"], entry["language"], entry["task"])
    return re.sub(r"[^\w.@=+,-]", "_", "_".join(map(str, words))).lstrip(".") + ".json"


def _json(value: object) -> bytes:
    try:
        return (json.dumps(value, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise ClipbenchError(f"a value cannot be written as JSON: {error}") from error
