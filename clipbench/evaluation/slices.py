"""Metrics by slice: an evaluation seen by the groups of its data, such as regions, domains or languages.

Groups of images share the rest of the data: an image of one region is searched for among all images, and classified
among all classes, so that slices of different sizes can be compared. What is a mean or a statistic of samples is taken
over the slice's samples; what is a function of all of them, such as the modality gap, is measured on the slice as data
of its own. Groups of captions, such as languages, are data sets of their own: their captions, and the images that have
one. So are slices with classes of their own: those classes, and the images that belong to one. Judged queries of
one language search all documents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped

from clipbench.data.dataset import Dataset
from clipbench.data.readers.languages import LANGUAGE
from clipbench.errors import ClipbenchError
from clipbench.evaluation.task import Evaluation, Task, evaluate
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import counted
from clipbench.results.record import GROUP_COLUMN, Metric, SlicesRecord, finite
from clipbench.seeding import generator
from clipbench.stats.estimators import Samples
from clipbench.stats.intervals import Interval
from clipbench.stats.measures import RANGES, Measure, Smooth, Within
from clipbench.stats.slices import Slice, slice_mean, slice_range, worst_slice

MOST_SLICES = 300
"""Largest number of groups that make slices: more are names of samples rather than groups."""

Part = Mapping[str, tuple[Metric, Slice | None]]
"""The metrics of one slice, each with the samples that it follows from."""
Parts = dict[str, Part]
"""The metrics of each slice, by its name."""


@dataclass(frozen=True)
class Sliced:
    """The slices of an evaluation, by the name of the group."""

    records: dict[str, SlicesRecord] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    """Columns that the evaluation's samples gain: the group of each, for groups of images."""
    tables: dict[str, list[Samples]] = field(default_factory=dict)
    """Samples of each slice, where slices are data of their own: other samples than the evaluation's."""
    notes: list[str] = field(default_factory=list)


def slices_of(task: Task, dataset: Dataset, embedder: Embedder, evaluation: Evaluation, seed: int) -> Sliced:
    """Return an evaluation's metrics by the groups of its data, with a note for a group that makes no slices."""
    sliced = Sliced()
    group_values = {name: sorted(set(groups.values) - {""}) for name, groups in dataset.groups.items()}
    label_values = {}
    for name, sets in dataset.label_slices.items():
        # Classes without an image make no slice.
        label_values[name] = sorted(value for value, label_set in sets.items() if (label_set.labels >= 0).any())
    languages = () if dataset.judgements is None else dataset.judgements.queries.languages
    query_values = {LANGUAGE: sorted(set(languages) - {""})} if languages else {}
    for name, values in (group_values | label_values | query_values).items():
        if not 2 <= len(values) <= MOST_SLICES:
            sliced.notes.append(
                f"no slices by {name}: got {counted(len(values), 'group')}, expected 2 to {MOST_SLICES}"
            )
            continue
        try:
            sliced.records[name] = _Slicer(task, dataset, embedder, evaluation, name, values, seed, sliced).record()
        except ClipbenchError as error:
            sliced.notes.append(f"no slices by {name}: {error}")
    return sliced


@dataclass(frozen=True)
class _Slicer:
    """One evaluation, and one way to slice it."""

    task: Task
    dataset: Dataset
    embedder: Embedder
    evaluation: Evaluation
    name: str
    values: list[str]
    seed: int
    sliced: Sliced
    """To which samples and columns are added."""

    def record(self) -> SlicesRecord:
        """Return the metrics of each slice and over all of them."""
        sets, groups = self.dataset.label_slices.get(self.name), self.dataset.groups.get(self.name)
        if sets is not None:
            return _record(
                self._separate_slice_metrics((value, self.dataset.take_classes(sets[value])) for value in self.values),
                "classes",
            )
        if groups is None:
            return _record(self._metrics_by_query(), "queries")
        if not groups.of_captions:
            return _record(self._metrics_by_image(), "images")
        of_caption = np.array(groups.values, object)
        rows = ((value, np.flatnonzero(of_caption == value)) for value in self.values)
        return _record(
            self._separate_slice_metrics(
                (value, self.dataset.take_captions(caption_rows)) for value, caption_rows in rows
            ),
            "captions",
        )

    def _metrics_by_image(self) -> Parts:
        """Return the slices by groups of images, and make the group of each sample a column."""
        samples, measures = self.evaluation.samples, self.evaluation.measures
        if "image" not in samples:
            raise ClipbenchError("the task does not record the image of each sample")
        main_data = self.dataset.whole()  # of which the evaluation is
        of_image = np.array([*main_data.groups[self.name].values, ""], object)  # -1, no image, is the last
        of_sample = of_image[samples["image"]]
        self.sliced.columns[f"{GROUP_COLUMN}{self.name}"] = of_sample
        parts: Parts = {}
        for value in self.values:
            metrics = dict(self._sample_metrics(of_sample == value, value))
            if any(_joint_measure(measure) is not None for measure in measures.values()):
                slice_evaluation = self._evaluate(main_data.take(np.flatnonzero(of_image[:-1] == value)), value)
                joint_measures = {
                    name: measure
                    for name, measure in slice_evaluation.measures.items()
                    if _joint_measure(measure) is not None
                }
                metrics |= self._part_metrics(joint_measures, slice_evaluation.samples, value)
            parts[value] = {name: metrics[name] for name in measures if name in metrics}
        return parts

    def _metrics_by_query(self) -> Parts:
        """Return the slices by the languages of judged queries, and make the language of each sample a column."""
        judgements = self.dataset.judgements
        assert judgements is not None, self.name
        of_query = dict(zip(judgements.queries.ids, judgements.queries.languages, strict=True))
        of_sample = np.array(
            [of_query[id.removeprefix("query:")] for id in self.evaluation.samples["sample_id"]], object
        )
        self.sliced.columns[f"{GROUP_COLUMN}{self.name}"] = of_sample
        return {value: self._sample_metrics(of_sample == value, value) for value in self.values}

    def _sample_metrics(self, is_member: Bool[np.ndarray, " n_samples"], value: str) -> Part:
        """Return the metrics of some of the evaluation's samples, without a level of chance: that is of all data."""
        slice_samples = {name: column[is_member] for name, column in self.evaluation.samples.items()}
        measures = {
            name: measure for name, measure in self.evaluation.measures.items() if _joint_measure(measure) is None
        }
        measured = self._part_metrics(measures, slice_samples, value)
        return {name: (replace(metric, chance=None), part) for name, (metric, part) in measured.items()}

    def _separate_slice_metrics(self, slices: Iterable[tuple[str, Dataset]]) -> Parts:
        """Return the metrics of slices that are data sets of their own, and keep their samples.

        An image may be in several: samples without a cluster are clustered by their image, so that the mean knows.
        """
        row = {id: number for number, id in enumerate(self.dataset.image_ids)}
        parts: Parts = {}
        tables: list[Samples] = []
        for value, dataset in slices:
            slice_evaluation = self._evaluate(dataset, value)
            samples = slice_evaluation.samples
            ids = np.array([f"{value}:{sample_id}" for sample_id in samples["sample_id"]], object)
            group = np.full(len(ids), value, object)
            tables.append({**samples, "sample_id": ids, f"{GROUP_COLUMN}{self.name}": group})
            if "cluster" not in samples and "image" in samples:
                rows = np.array([row[id] for id in dataset.image_ids], np.int64)
                samples = {**samples, "cluster": rows[samples["image"]]}
            parts[value] = self._part_metrics(slice_evaluation.measures, samples, value)
        self.sliced.tables[self.name] = tables
        return parts

    def _evaluate(self, dataset: Dataset, value: str) -> Evaluation:
        part = replace(dataset, is_slice=True)
        self.task.check(part)
        return evaluate(self.task, part, self.embedder, self._rng(value, ""))

    def _part_metrics(self, measures: Mapping[str, Measure], samples: Samples, value: str) -> Part:
        part = {}
        for name, measure in measures.items():
            metric = finite(measure.metric(samples, self._rng(value, name)))
            smooth = _joint_measure(measure)
            # Influences do not tell how sure a value with an interval of its own is, such as a distance near 0.
            has_influences = smooth is None or smooth.interval is None
            if metric.value is not None:
                part[name] = metric, _slice(metric, samples) if has_influences else None
        return part

    def _rng(self, value: str, metric: str) -> np.random.Generator:
        return generator(self.seed, self.task.name, self.dataset.id, self.name, value, metric)


def _joint_measure(measure: Measure) -> Smooth | None:
    """Return a measure that follows from all samples together, which a subset cannot reuse, or None for any other."""
    inner = measure.measure if isinstance(measure, Within) else measure
    return inner if isinstance(inner, Smooth) else None


def _slice(metric: Metric, samples: Samples) -> Slice | None:
    """Return the samples behind a metric, or None if it is neither a mean nor has influences, such as a median."""
    column = metric.column or metric.influence
    if column is None or metric.value is None:
        return None
    values = samples[column].astype(np.float64)
    is_defined = ~np.isnan(values)
    clusters: Shaped[np.ndarray, " n"] | None = samples["cluster"][is_defined] if "cluster" in samples else None
    within = RANGES.get(metric.unit)
    if metric.column is not None:
        return Slice.of_mean(values[is_defined], clusters, within)
    return Slice(value=metric.value, influence=values[is_defined], clusters=clusters, within=within)


def _record(parts: Parts, of: Literal["images", "captions", "classes", "queries"]) -> SlicesRecord:
    means, worsts, distances, worst_groups = {}, {}, {}, {}
    for name in dict.fromkeys(chain.from_iterable(parts.values())):
        metrics = {value: part[name] for value, part in parts.items() if name in part}
        slices = {value: samples for value, (_, samples) in metrics.items() if samples is not None}
        if len(slices) < 2 or len(slices) < len(metrics):  # medians and the like: no bounds to choose among
            continue
        prototype, _ = next(iter(metrics.values()))
        means[name] = _summary(prototype, *slice_mean(slices), slices)
        distances[name] = _summary(replace(prototype, higher_is_better=False), *slice_range(slices), slices)
        if prototype.higher_is_better is not None:
            extreme = worst_slice(slices, higher_is_better=prototype.higher_is_better)
            worsts[name] = _summary(prototype, extreme.value, extreme.interval, slices)
            worst_groups[name] = extreme.name
    groups = {}
    for value, part in parts.items():
        groups[value] = {name: metric for name, (metric, _) in part.items()}
    return SlicesRecord(
        of=of,
        groups=groups,
        mean=means,
        worst=worsts,
        worst_group=worst_groups,
        distance=distances,
    )


def _summary(prototype: Metric, value: float, interval: Interval, slices: Mapping[str, Slice]) -> Metric:
    """Return the metric of a number over all slices, with the title and unit of ``prototype``."""
    is_bounded = interval.low is not None
    return replace(
        prototype,
        value=value,
        low=interval.low,
        high=interval.high,
        n=sum(len(samples.influence) for samples in slices.values()),
        chance=None,
        column=None,
        influence=None,
        statistic=None,
        method=interval.method if is_bounded else None,
        reason=None if is_bounded else f"no interval: {interval.method}",
    )
