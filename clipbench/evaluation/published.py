"""Published values for the model, data and protocol of a measurement."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

from clipbench.data import CatalogueEntry, Dataset
from clipbench.data.catalogue.entries import catalogue, entry_of_repository, size_differences
from clipbench.data.prompts import published_prompts
from clipbench.evaluation.task import Task
from clipbench.models.protocol import ModelInfo
from clipbench.results.metric_name import is_of_slice, slice_suffix, split_column, subset_prefix
from clipbench.results.record import Metric, Metrics, PublishedValue, SlicesRecord
from clipbench.results.reference_models import OPEN_CLIP, open_clip_results, read_table

SAME = MappingProxyType(
    {
        "hf:openai/clip-vit-base-patch32": "ViT-B-32-quickgelu/openai",
        "hf:openai/clip-vit-base-patch16": "ViT-B-16-quickgelu/openai",
        "hf:openai/clip-vit-large-patch14": "ViT-L-14-quickgelu/openai",
        "hf:openai/clip-vit-large-patch14-336": "ViT-L-14-336-quickgelu/openai",
        "hf:google/siglip-base-patch16-224": "ViT-B-16-SigLIP/webli",
        "hf:google/siglip-large-patch16-384": "ViT-L-16-SigLIP-384/webli",
        "hf:google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384/webli",
    }
)
"""The same weights in transformers."""
TABLES = "clipbench.data"
"""Package of the tables."""
WIDE = ("published_languages.csv", "published_judged.csv")
"""Tables with a column for each metric and a row for each model."""
MTEB = "embeddings-benchmark/results"
WINDOWS = MappingProxyType(
    {
        "ViT-SO400M-14-SigLIP-384": 64,
        "ViT-SO400M-14-SigLIP": 16,
        "SigLIP": 64,
        "CLIPA": 32,
        "coca_": 76,
        "PE-Core-bigG": 72,
        "PE-Core": 32,
    }
)
"""Text windows in tokens by a part of the architecture's name, the first that matches. All others have 77 tokens."""


class Key(NamedTuple):
    """``ARCH/TAG`` of open_clip, task, data by their name in the catalogue, and metric: ``{language=de}/acc1``."""

    model: str
    task: str
    data: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The facts of a measurement that decide which published values it can be compared with."""

    model: ModelInfo
    task: Task
    dataset: Dataset
    options: frozenset[str] = frozenset()
    """Names of the data options that were given."""
    may_be_part: bool = False
    """True if a limit was given, or if missing or unreadable images may be left out."""


def with_published(metrics: Metrics, measured: Measured, group: str | None = None) -> dict[str, Metric]:
    """Return the metrics with the values that were published for the same model, data and protocol.

    The data must be the catalogue's, and whole, with the published prompts or the prompts that its packagers put next
    to the data: a folder of the same name that is read as a path has others. The task must have its own parameters. A
    model whose text window was stretched is another model.

    Args:
        group: the slice that the metrics are of, such as ``{language=de}/``, None for the slice that stands for all
            data.

    Example:
        >>> all_values = published_values()
        >>> key = Key("ViT-B-32-quickgelu/openai", "zero-shot", "imagenet", "acc1")
        >>> [(published.value, published.is_secondary) for published in all_values[key]]
        [(0.6332, False), (0.632, True)]
    """
    prefix = _key_prefix(measured)
    if prefix is None:
        return dict(metrics)
    published = published_values()
    group = measured.dataset.main_slice if group is None else group
    return {
        name: _with_published_values(metric, published.get(Key(*prefix, f"{group}{name}"), ()))
        for name, metric in metrics.items()
    }


def published_names(measured: Measured) -> set[str]:
    """Return the names of the metrics that have published values for the same model, data and protocol."""
    prefix, group = _key_prefix(measured), measured.dataset.main_slice
    metrics = (key.metric for key in published_values() if key[:3] == prefix)
    return {name.removeprefix(group) for name in metrics if name.startswith(group)}


def slices_with_published(slices: Mapping[str, SlicesRecord], measured: Measured) -> dict[str, SlicesRecord]:
    """Return the slices with the values that were published for them, and for their mean."""
    published_slices = {}
    for name, record in slices.items():
        groups = {}
        for group, metrics in record.groups.items():
            groups[group] = with_published(metrics, measured, subset_prefix(slice_suffix(name, group)))
        mean = with_published(record.mean, measured, subset_prefix(slice_suffix(name, "(mean)")))
        published_slices[name] = replace(record, groups=groups, mean=mean)
    return published_slices


@cache
def published_values() -> Mapping[Key, tuple[PublishedValue, ...]]:
    """Return all values of ``open_clip.csv``, ``published.csv`` and the ``WIDE`` tables, with fractions in [0, 1]."""
    values_by_key: dict[Key, list[PublishedValue]] = defaultdict(list)
    for model, results in open_clip_results().items():
        for column, score in results.items():
            task, data, metric = split_column(column)
            if metric and not is_of_slice(column) and " + " not in metric:
                values_by_key[Key(model, task, data, metric)] = [_open_clip_value(score)]
    for row in read_table(TABLES, "published.csv"):
        value = PublishedValue(
            value=float(row["value"]),
            protocol=row["protocol"],
            source=row["source"],
            is_secondary=row["is_secondary"] == "true",
        )
        values_by_key[Key(row["model"], row["task"], row["data"], row["metric"])].append(value)
    for row in (row for table in WIDE for row in read_table(TABLES, table)):
        model, protocol, source = (row.pop(name) for name in ("model", "protocol", "source"))
        for column, cell in row.items():
            if cell:
                value = PublishedValue(value=float(cell), protocol=protocol, source=source, is_secondary=False)
                values_by_key[_key(model, column)].append(value)
    return MappingProxyType({key: tuple(values) for key, values in values_by_key.items()})


def _key(model: str, column: str) -> Key:
    """Return the key of a column such as ``retrieval@cirr/ndcg@5`` or ``retrieval@xm3600{language=de}/ndcg@5``."""
    return Key(model, *split_column(column))


def published_average(metric: Metric, parts: Sequence[Sequence[str]], info: ModelInfo) -> Metric:
    """Return an average with the published average of the same model over the same scores, if there is one.

    It is open_clip's own average, or the mean of mteb's results per data set, as on its leaderboard.
    """
    if metric.value is None:
        return metric
    model = _model(info)
    results = open_clip_results().get(model or "", {})
    if {"average", *(" + ".join(part) for part in parts)} == set(results):
        return _with_published_values(metric, (_open_clip_value(results["average"]),))
    values_of_parts = []
    for names in parts:
        values = [_value_by_mteb(model or "", name) for name in names]
        known_values = [value for value in values if value is not None]
        if len(known_values) < len(values):
            return metric
        values_of_parts.append(known_values)
    mean = fmean(fmean(value.value for value in values) for values in values_of_parts)
    first = values_of_parts[0][0]
    average = replace(first, value=mean, protocol=f"{first.protocol}, the mean of the data sets")
    return _with_published_values(metric, (average,))


def _value_by_mteb(model: str, name: str) -> PublishedValue | None:
    """Return the value of a score that MTEB published for a model, if there is one."""
    for value in published_values().get(_key(model, name), ()):
        if value.source.startswith(MTEB):
            return value
    return None


def _key_prefix(measured: Measured) -> tuple[str, str, str] | None:
    """Return the model, task and data of a ``Key``, or None if the measurement has no published counterpart."""
    data = measured.dataset.id
    entry = catalogue().get(data) or entry_of_repository(data.removeprefix("hf:"))
    model = None if entry is None else _model(measured.model)  # reads all published values
    if entry is None or model is None or not _is_as_published(measured, entry):
        return None
    for parameter in fields(measured.task):  # type: ignore[arg-type]
        default = parameter.default if parameter.default_factory is MISSING else parameter.default_factory()
        if getattr(measured.task, parameter.name) != default:
            return None
    return model, measured.task.name, entry.name


def _open_clip_value(score: float) -> PublishedValue:
    return PublishedValue(value=score, protocol="DataComp's suite", source=OPEN_CLIP, is_secondary=False)


def _with_published_values(metric: Metric, values: tuple[PublishedValue, ...]) -> Metric:
    """Return a metric with published values, which agree if the metric's interval contains them."""
    low, high = metric.low, metric.high
    if low is not None and high is not None:
        values = tuple(replace(value, agrees=low <= value.value <= high) for value in values)
    return replace(metric, published=list(values))


def _is_as_published(measured: Measured, entry: CatalogueEntry) -> bool:
    """Return whether the data is complete, and read and prompted like the catalogue's."""
    dataset = measured.dataset
    has_size = (entry.n_images, entry.n_captions, entry.n_items) != (None, None, None)
    if size_differences(dataset, entry) or (measured.may_be_part and not has_size):
        return False
    if measured.options - {"group"}:  # other names of classes, columns or parts
        return False
    if entry.prompts is None:
        return entry.kind != "classification" or dataset.templates is not None
    templates, names = published_prompts(entry.prompts)
    return dataset.templates == templates and names in (None, dataset.class_names)


def _model(info: ModelInfo) -> str | None:
    """Return the model's name in the tables, or None if it is not in them."""
    name = SAME.get(info.id.lower(), info.id.removeprefix("open_clip:"))
    architecture = name.partition("/")[0]
    own_context = next((window for part, window in WINDOWS.items() if part in architecture), 77)
    is_known = any(key.model == name for key in published_values())
    return name if is_known and info.context_length == own_context else None
