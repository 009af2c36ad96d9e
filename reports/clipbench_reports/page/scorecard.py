"""The metrics of all models, the headlines and all of them: fractions on one axis, others in their units."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from clipbench.comparison.best_models import BestModels, best_models
from clipbench.comparison.board import RANK_RULE
from clipbench.comparison.model_ranks import Entrant, MetricRanks, mean_ranks, rank_metrics
from clipbench.results.metric_name import subset_of
from clipbench.results.numbers import number, symbol
from clipbench.results.record import AverageRecord, EvaluationRecord, Metric
from clipbench.results.titles import full_title, headlines, metric_title, subset_title, within_sentence
from clipbench_reports.drawing.marks import Axis, nice_axis
from clipbench_reports.evidence import PLAIN
from clipbench_reports.page.groups import EvaluatedModel, Gap, Group, unique_ids

OTHER_LEVEL = "The sentences at the top are corrected over the whole page, so that they may claim less."
FRACTIONS = Axis(low=0, high=1, ticks=(0, 0.25, 0.5, 0.75, 1), is_percent=True)
"""The axis on which all fractions are."""
Baseline = tuple[str, str]
"""The short title of a baseline of a metric, and its value with its unit."""


class FootnotedValue(NamedTuple):
    """A value that was published for the same model, data and protocol."""

    value: float
    verdict: str
    note: int
    """Number of the footnote with its source."""


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """One model's value of a metric."""

    label: str
    position: int
    metric: Metric
    note: int | None
    """Number of the footnote with the reason for a missing interval."""
    published: list[FootnotedValue]
    baselines: list[Baseline]
    """Baselines that the value is read against."""
    rank_range: str = ""
    """The ranks that are possible for the model, empty if the metric is not ranked."""


@dataclass(frozen=True, kw_only=True)
class MetricLines:
    """A metric with a line for each model that has it."""

    anchor: str = ""
    """The id of its row, empty if it has none."""
    subset: str
    """The part of its name before the slash, where several metrics share that and are listed under it."""
    heading: str
    """The title of the subset."""
    name: str
    words: str
    """The title, with the title of its subset unless it is listed under it."""
    full_title: str
    """The title with the title of its subset."""
    direction: str
    unit: str
    lines: list[MetricValue]

    @property
    def shared(self) -> list[Baseline]:
        """The baselines, where they are the same for several models: said once."""
        first, *other_baselines = (line.baselines for line in self.lines)
        return first if other_baselines and all(baselines == first for baselines in other_baselines) else []

    @property
    def axis(self) -> Axis | None:
        """The axis of all values: from 0 to 100 % for fractions, otherwise around them. None without any value."""
        if self.unit == "fraction":
            return FRACTIONS
        metrics = [line.metric for line in self.lines if line.metric.value is not None]
        if not metrics:
            return None
        ends: list[float | None] = []
        for metric in metrics:
            ends += [metric.value, metric.low, metric.high, metric.chance]
        return nice_axis(end for end in ends if end is not None)


class LooseBaselines(NamedTuple):
    """Baselines of a model that belong to no single metric, or of all models at once if the label is empty."""

    label: str
    position: int
    baselines: list[Baseline]


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """The metrics of one task on one data set, or an average, which has no section and so no anchor."""

    anchor: str = ""
    title: str
    data: str = ""
    metrics: list[MetricLines]
    asides: Sequence[LooseBaselines] = ()
    missing: Sequence[Gap] = ()


@dataclass(frozen=True)
class Scorecard:
    """Blocks of metrics, with the footnotes that their lines number."""

    blocks: list[TaskMetrics]
    notes: list[str]
    rank_rules: Sequence[str] = ()
    """The meaning of the ranks, for a reader, empty if nothing is ranked."""
    unranked: Mapping[str, str] = field(default_factory=dict)
    """Why evaluations and metrics have no ranks, by name."""
    best: Sequence[BestModels] = ()
    """The models that could be best by each ranked evaluation, and by the mean rank, by the ranks of the card."""

    @property
    def lines(self) -> list[MetricValue]:
        """All values."""
        lines = []
        for block in self.blocks:
            for metric in block.metrics:
                lines += metric.lines
        return lines


def scorecard(groups: list[Group], averages: Mapping[str, AverageRecord | None] = MappingProxyType({})) -> Scorecard:
    """Return all metrics, and the evaluations without any.

    Args:
        averages: the averages of the models' suites, by label in the models' order. They come first.
    """
    notes: list[str] = []
    blocks = _averages(averages, notes)
    for group in groups:
        block = TaskMetrics(
            anchor=group.anchor,
            title=group.title,
            data=group.data,
            metrics=metric_lines(group.measured, notes, anchor=group.anchor),
            asides=_asides(group.measured),
            missing=group.gaps,
        )
        blocks.append(block)
    return Scorecard([block for block in blocks if block.metrics or block.missing], notes)


def _asides(models: Sequence[EvaluatedModel]) -> list[LooseBaselines]:
    """Return the loose baselines of each model, or once if they are the same for all."""
    asides = [LooseBaselines(model.label, model.position, loose_baselines(model.evaluation)) for model in models]
    if asides and all(aside.baselines == asides[0].baselines for aside in asides):
        return [asides[0]._replace(label="")]
    return asides


def headline_card(
    groups: list[Group], averages: Mapping[str, AverageRecord | None], *, has_ranks: bool = False
) -> Scorecard:
    """Return the first headline metric of each evaluation, below mean ranks and the averages of the suites.

    An evaluation that is scored once for each label set has a first one of each.

    Args:
        has_ranks: True for the ranks of models, the best model first.
    """
    notes: list[str] = []
    ranked: dict[str, list[MetricRanks]] = {}
    unranked: dict[str, str] = {}
    for group in groups if has_ranks else ():
        entrants = [Entrant(model.position, model.run, model.evaluation) for model in group.measured]
        if len(entrants) > 1 and not group.same.differences:  # the page says which others are not compared
            group_ranks = rank_metrics(entrants)
            ranked[group.anchor] = group_ranks.ranks
            unranked |= group_ranks.reasons
    all_ranks = list(chain.from_iterable(ranked.values()))
    means = mean_ranks(all_ranks, len(averages))
    labels = list(averages)
    blocks = []
    for models in means.ranked() if means else ():
        values = [_metric_value(labels[model.position], model.position, model.metric, notes, []) for model in models]
        mean_rank = _titled_metric("mean_rank", values, {}, is_listed=False)
        blocks.append(TaskMetrics(title="All tasks", metrics=[mean_rank]))
    blocks += [block for block in _averages(averages, notes) if block.metrics]
    for group in groups:
        lines = metric_lines(group.measured, notes, choose=partial(_select_headlines, names=_first_headlines(group)))
        if lines:
            metrics = [replace(metric, subset="", heading="", words=metric.full_title) for metric in lines]
            metrics = [_with_ranks(metric, ranked.get(group.anchor, ())) for metric in metrics]
            blocks.append(TaskMetrics(anchor=group.anchor, title=group.title, data=group.data, metrics=metrics))
    rules = [RANK_RULE, OTHER_LEVEL] if any(ranked.values()) else []
    if rules and means:
        rules.append(means.rule)
    return Scorecard(blocks, notes, rules, unranked, best_models(all_ranks, means))


def _with_ranks(metric: MetricLines, ranked: Sequence[MetricRanks]) -> MetricLines:
    """Return a metric with the ranks of its models, the best model first, or unchanged if it is not ranked."""
    ranks = next((ranks for ranks in ranked if ranks.name == metric.name), None)
    if ranks is None:
        return metric
    by_position = {line.position: line for line in metric.lines}
    ordered = [replace(by_position.pop(model.position), rank_range=model.ranks) for model in ranks.ranked()]
    return replace(metric, lines=[*ordered, *by_position.values()])


def _select_headlines(evaluation: EvaluationRecord, names: set[str]) -> dict[str, Metric]:
    return {name: metric for name, metric in headlines(evaluation).items() if name in names}


def _first_headlines(group: Group) -> set[str]:
    """Return the first headline metric of each label set: the first with a value, if there is one."""
    label_sets: set[str] = set()
    for model in group.measured:
        label_sets.update(group.section.label_sets(model.evaluation))
    names: dict[str, str] = {}
    lines = metric_lines(group.measured, [], choose=headlines)
    for metric in sorted(lines, key=lambda metric: all(line.metric.value is None for line in metric.lines)):
        subset = subset_of(metric.name)
        names.setdefault(subset if subset in label_sets else PLAIN, metric.name)
    return set(names.values())


Choose = Callable[[EvaluationRecord], Mapping[str, Metric]]
"""Takes metrics, or baselines, from an evaluation."""


def metric_lines(
    models: list[EvaluatedModel], notes: list[str], *, choose: Choose = attrgetter("metrics"), anchor: str = ""
) -> list[MetricLines]:
    """Return the metrics of models, in the order in which they first appear.

    Args:
        notes: footnotes so far, to which new ones are added.
        anchor: the anchor of the section, if each line is to have an id.
    """
    by_metric: dict[str, list[MetricValue]] = {}
    for model in models:
        for name, metric in choose(model.evaluation).items():
            is_measured = metric is model.evaluation.metrics.get(name)
            baselines = baselines_of(name, model.evaluation) if is_measured else []
            by_metric.setdefault(name, []).append(_metric_value(model.label, model.position, metric, notes, baselines))
    subsets: dict[str, str] = {}
    for model in reversed(models):  # the first model's title of a subset counts
        subsets |= model.evaluation.subsets
    n_metrics = Counter(subset_of(name) for name in by_metric)
    has_siblings = {name: n_metrics[subset_of(name)] > 1 for name in by_metric}
    # The sort is stable: a metric without a heading must not come under the heading of another.
    ordered = sorted(by_metric, key=lambda name: has_siblings[name] and subset_of(name) != "")
    metrics = [_titled_metric(name, by_metric[name], subsets, is_listed=has_siblings[name]) for name in ordered]
    if not anchor:
        return metrics
    ids = unique_ids(f"{anchor}/{metric.name}" for metric in metrics)
    return [replace(metric, anchor=row_id) for metric, row_id in zip(metrics, ids, strict=True)]


def arrow(metric: Metric) -> str:
    """Return ``↑`` where higher is better, ``↓`` where lower is, or nothing."""
    return {True: "↑", False: "↓", None: ""}[metric.higher_is_better]


def _averages(averages: Mapping[str, AverageRecord | None], notes: list[str]) -> list[TaskMetrics]:
    """Return a block for each average, over the same scores of all its models."""
    models_by_title: dict[str, list[tuple[str, int, Metric]]] = {}
    for position, (label, average) in enumerate(averages.items()):
        if average is not None:
            models_by_title.setdefault(average.metric.title, []).append((label, position, average.metric))
    blocks = []
    for title, models in models_by_title.items():
        lines, gaps = list[MetricValue](), list[Gap]()
        for label, position, metric in models:
            if metric.value is None:
                gaps.append(Gap([label], "No average", str(metric.reason)))
            else:
                lines.append(_metric_value(label, position, metric, notes, []))
        metrics = [_titled_metric("average", lines, {}, is_listed=False)] if lines else []
        blocks.append(TaskMetrics(title=title, metrics=metrics, missing=gaps))
    return blocks


def _titled_metric(name: str, lines: list[MetricValue], subsets: Mapping[str, str], *, is_listed: bool) -> MetricLines:
    """Return a metric with its title. If it is listed with others of its subset, their heading names the subset."""
    first = next((line.metric for line in lines if line.metric.title), lines[0].metric)
    subset = subset_of(name) if is_listed else ""
    return MetricLines(
        subset=subset,
        heading=subset_title(subset, subsets),
        name=name,
        words=metric_title(name, first) if is_listed else full_title(name, first, subsets),
        full_title=full_title(name, first, subsets),
        direction=arrow(first),
        unit=first.unit,
        lines=lines,
    )


def _metric_value(
    label: str, position: int, metric: Metric, notes: list[str], baselines: list[Baseline]
) -> MetricValue:
    """Return a model's value, and add its footnotes to ``notes``."""

    def numbered(note: str) -> int:
        if note not in notes:
            notes.append(note)
        return notes.index(note) + 1

    note, published = None, []
    if metric.value is not None:  # an undefined one has its reason in place
        if metric.low is None or metric.reason:
            note = numbered(metric.reason or "No interval and no reason were recorded.")
        for publication in metric.published:
            source = numbered(f"Published value: {publication.protocol}. Source: {publication.source}.")
            published.append(FootnotedValue(publication.value, publication.verdict, source))
    return MetricValue(
        label=label, position=position, metric=metric, note=note, published=published, baselines=baselines
    )


def baselines_of(name: str, evaluation: EvaluationRecord) -> list[Baseline]:
    """Return the baselines of a metric, in their order.

    One without a value is left out: the table of baselines says why. A variant of the metric itself, such as ``Text
    score, ties as misses``, is left out where it has the metric's own value.
    """
    metric, baselines = evaluation.metrics[name], []
    for other, baseline in evaluation.baselines.items():
        if name not in baseline.baseline_of or baseline.value is None:
            continue
        title = metric_title(other, baseline)
        variant = title.removeprefix(f"{metric_title(name, metric)}, ")
        if variant == title or baseline.value != metric.value:
            baselines.append(_baseline(variant, baseline))
    return baselines


def loose_baselines(evaluation: EvaluationRecord) -> list[Baseline]:
    """Return the baselines that have a title and belong to no metric of the evaluation."""
    baselines = []
    for name, baseline in evaluation.baselines.items():
        is_loose = not set(baseline.baseline_of) & set(evaluation.metrics)
        if is_loose and baseline.title and baseline.value is not None:
            baselines.append(_baseline(full_title(name, baseline, evaluation.subsets), baseline))
    return baselines


def _baseline(words: str, metric: Metric) -> Baseline:
    return within_sentence(words), f"{number(metric.value, metric.unit)} {symbol(metric.unit)}"
