"""The metrics of all models, the headlines and all of them: fractions on one axis, others in their units."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from clipbench.results.numbers import number, symbol
from clipbench.results.record import AverageRecord, EvaluationRecord, Metric
from clipbench.results.titles import full_title, headlines, metric_title, subset_title, within_sentence
from clipbench_reports.page.groups import Entry, Gap, Group, unique
from clipbench_reports.page.label_sets import PLAIN


@dataclass(frozen=True, kw_only=True)
class PublishedMark:
    """A value that was published for the same model, data and protocol."""

    value: float
    verdict: str
    """``agrees`` where the interval contains it, with the kind of source where that is not first-hand."""
    note: int
    """Number of the footnote with protocol and source."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control in few words, beside the metric that is read against it."""

    words: str
    value: str
    """With its unit."""


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    """One model's value of a metric."""

    label: str
    place: int
    metric: Metric
    note: int | None
    """Number of the footnote that says why there is no interval."""
    published: list[PublishedMark]
    controls: list[Control]
    """Controls that the value is read against."""


@dataclass(frozen=True, kw_only=True)
class MetricLines:
    """A metric with a line for each model that has it."""

    anchor: str
    """The id of its row; empty where it has none."""
    subset: str
    """The part of its name before the slash, where several metrics share that and are listed under it."""
    heading: str
    """The title of the subset."""
    name: str
    words: str
    """The title, with that of a subset that it is not listed under."""
    whole: str
    """The title with that of its subset in any case."""
    direction: str
    """``↑``, ``↓`` or nothing."""
    unit: str
    lines: list[MetricValue]

    @property
    def shared(self) -> list[Control]:
        """The controls, where they are the same for several models: said once."""
        first, *others = (line.controls for line in self.lines)
        return first if others and all(each == first for each in others) else []


@dataclass(frozen=True, kw_only=True)
class Aside:
    """One model's controls that belong to no single metric."""

    label: str
    """Nothing where it is said for all models at once."""
    place: int
    controls: list[Control]


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """The metrics of one task on one data set."""

    anchor: str
    """Empty for an average, which has no section."""
    title: str
    data: str
    metrics: list[MetricLines]
    asides: list[Aside]
    missing: list[Gap]


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """Blocks of metrics, with the footnotes that their lines number."""

    blocks: list[TaskMetrics]
    notes: list[str]

    @property
    def has_published(self) -> bool:
        """True where a published value stands beside any metric."""
        lines = (line for block in self.blocks for metric in block.metrics for line in metric.lines)
        return any(line.published for line in lines)

    @property
    def has_controls(self) -> bool:
        """True where a control stands beside any metric."""
        lines = (line for block in self.blocks for metric in block.metrics for line in metric.lines)
        return any(line.controls for line in lines)


def scorecard(groups: list[Group], averages: Mapping[str, AverageRecord | None] = MappingProxyType({})) -> Scorecard:
    """Return all metrics, and the evaluations without any.

    Args:
        averages: those of the models' suites, by label in the models' order; they come first.
    """
    notes: list[str] = []
    blocks = [*_averages(averages, notes), *(_block(group, notes) for group in groups)]
    return Scorecard(blocks=[block for block in blocks if block.metrics or block.missing], notes=notes)


def headline_cards(groups: list[Group], averages: Mapping[str, AverageRecord | None]) -> tuple[Scorecard, Scorecard]:
    """Return the first headline metric of each evaluation, below the averages of the suites, and all other headlines.

    An evaluation that is scored once for each label set has a first one of each.
    """
    firsts = [_first_headlines(group) for group in groups]
    notes: list[str] = []
    means = [block for block in _averages(averages, notes) if block.metrics]
    blocks = [*means, *_of_headlines(groups, firsts, notes)]
    others = [
        {each.name for each in _headlines(group, [])} - first for group, first in zip(groups, firsts, strict=True)
    ]
    more: list[str] = []
    return Scorecard(blocks=blocks, notes=notes), Scorecard(blocks=_of_headlines(groups, others, more), notes=more)


def first_headline(group: Group) -> MetricLines | None:
    """Return the first headline metric of a group that any of its models has a value of, or else the first; None without any."""
    return min(_headlines(group, []), key=lambda line: not _has_value(line), default=None)


def _first_headlines(group: Group) -> set[str]:
    """Return the name of the first headline metric with a value, or else of the first, of each label set."""
    label_sets = {name for entry in group.measured for name in group.section.label_sets(entry.evaluation)}
    names: dict[str, str] = {}
    for each in sorted(_headlines(group, []), key=lambda line: not _has_value(line)):
        names.setdefault(_subset(each.name) if _subset(each.name) in label_sets else PLAIN, each.name)
    return set(names.values())


def _of_headlines(groups: list[Group], names: list[set[str]], notes: list[str]) -> list[TaskMetrics]:
    """Return the headline metrics of some names of each group, without groups that have none."""
    blocks = []
    for group, own in zip(groups, names, strict=True):
        if metrics := _headlines(group, notes, own):
            facts = {"anchor": group.anchor, "title": group.title, "data": group.data}
            blocks.append(TaskMetrics(**facts, metrics=metrics, asides=[], missing=[]))
    return blocks


def _headlines(group: Group, notes: list[str], names: set[str] | None = None) -> list[MetricLines]:
    """Return the headline metrics of a group, or those of some names."""

    def choose(evaluation: EvaluationRecord) -> Mapping[str, Metric]:
        return {name: each for name, each in headlines(evaluation).items() if names is None or name in names}

    return [
        replace(each, subset="", heading="", words=each.whole)
        for each in metric_lines(group.measured, notes, choose=choose)
    ]


def _has_value(metric: MetricLines) -> bool:
    return any(line.metric.value is not None for line in metric.lines)


def metric_lines(
    entries: list[Entry],
    notes: list[str],
    *,
    choose: Callable[[EvaluationRecord], Mapping[str, Metric]] = lambda evaluation: evaluation.metrics,
    anchor: str = "",
) -> list[MetricLines]:
    """Return the metrics of some models, in the order in which they first appear.

    Args:
        notes: footnotes so far; new ones are added to it.
        choose: takes them from an evaluation; controls may be taken as well.
        anchor: that of the section, where each line is to have an id.
    """
    by_metric: dict[str, list[MetricValue]] = {}
    for entry in entries:
        for name, metric in choose(entry.evaluation).items():
            line = MetricValue(
                label=entry.label,
                place=entry.place,
                metric=metric,
                note=_footnote(metric, notes),
                published=_published(metric, notes),
                controls=controls_of(name, entry.evaluation) if metric is entry.evaluation.metrics.get(name) else [],
            )
            by_metric.setdefault(name, []).append(line)
    n_metrics = Counter(_subset(name) for name in by_metric)
    subsets = {name: title for entry in reversed(entries) for name, title in entry.evaluation.subsets.items()}
    # A stable sort: what has no heading must not stand under that of another.
    ordered = sorted(by_metric, key=lambda name: n_metrics[_subset(name)] > 1 and _subset(name) != "")
    made = [_titled(name, by_metric[name], subsets, is_listed=n_metrics[_subset(name)] > 1) for name in ordered]
    ids = unique(f"{anchor}/{each.name}" for each in made) if anchor else [""] * len(made)
    return [replace(each, anchor=own) for each, own in zip(made, ids, strict=True)]


def _block(group: Group, notes: list[str]) -> TaskMetrics:
    return TaskMetrics(
        anchor=group.anchor,
        title=group.title,
        data=group.data,
        metrics=metric_lines(group.measured, notes, anchor=group.anchor),
        asides=_asides(group.measured),
        missing=group.gaps,
    )


def _averages(averages: Mapping[str, AverageRecord | None], notes: list[str]) -> list[TaskMetrics]:
    """Return a block for each average, over the same scores of all its models."""
    blocks = []
    of_models = [(place, label, each) for place, (label, each) in enumerate(averages.items()) if each is not None]
    for title in dict.fromkeys(each.metric.title for _, _, each in of_models):
        mine = [(place, label, each.metric) for place, label, each in of_models if each.metric.title == title]
        lines = [
            MetricValue(
                label=label, place=place, metric=metric, note=_footnote(metric, notes),
                published=_published(metric, notes), controls=[],
            )
            for place, label, metric in mine
            if metric.value is not None
        ]  # fmt: skip
        missing = [Gap([label], "No average", str(metric.reason)) for _, label, metric in mine if metric.value is None]
        metrics = [_titled("average", lines, {}, is_listed=False)] if lines else []
        blocks.append(TaskMetrics(anchor="", title=title, data="", metrics=metrics, asides=[], missing=missing))
    return blocks


def _asides(entries: list[Entry]) -> list[Aside]:
    """Return the controls of each model that belong to none of its metrics."""
    asides = []
    for entry in entries:
        loose = loose_controls(entry.evaluation, entry.evaluation.controls)
        asides.append(Aside(label=entry.label, place=entry.place, controls=loose))
    if asides and all(aside.controls == asides[0].controls for aside in asides):
        return [replace(asides[0], label="")]
    return asides


def _titled(name: str, lines: list[MetricValue], subsets: Mapping[str, str], *, is_listed: bool) -> MetricLines:
    """Return a metric with its title; where it is listed with others of its subset, their heading names that."""
    first = next((line.metric for line in lines if line.metric.title), lines[0].metric)
    subset = _subset(name) if is_listed else ""
    return MetricLines(
        anchor="",
        subset=subset,
        heading=subset_title(subset, subsets),
        name=name,
        words=metric_title(name, first) if is_listed else full_title(name, first, subsets),
        whole=full_title(name, first, subsets),
        direction={True: "↑", False: "↓", None: ""}[first.higher_is_better],
        unit=first.unit,
        lines=lines,
    )


def _subset(name: str) -> str:
    return name.rpartition("/")[0]


def _footnote(metric: Metric, notes: list[str]) -> int | None:
    """Return the number of the footnote for a value without an interval; an undefined one has its reason in place."""
    if metric.value is None or metric.low is not None:
        return None
    return _numbered(metric.reason or "No interval and no reason were recorded.", notes)


def _published(metric: Metric, notes: list[str]) -> list[PublishedMark]:
    if metric.value is None:
        return []
    verdicts = {True: "agrees", False: "differs", None: "no interval to agree with"}
    return [
        PublishedMark(
            value=each.value,
            verdict=verdicts[each.agrees] + (", secondary source" if each.is_secondary else ""),
            note=_numbered(f"Published value: {each.protocol}. Source: {each.source}.", notes),
        )
        for each in metric.published
    ]


def _numbered(note: str, notes: list[str]) -> int:
    """Return the number of a footnote, after it has been added if it is new."""
    if note not in notes:
        notes.append(note)
    return notes.index(note) + 1


def controls_of(name: str, evaluation: EvaluationRecord) -> list[Control]:
    """Return the controls of a metric, in their order.

    One without a value is left out: the table of controls says why. A variant of the metric itself, such as ``Text
    score, ties as misses``, is left out where it has the metric's own value.
    """
    metric, controls = evaluation.metrics[name], []
    for other, control in evaluation.controls.items():
        if name not in control.control_of or control.value is None:
            continue
        title = metric_title(other, control)
        variant = title.removeprefix(f"{metric_title(name, metric)}, ")
        if variant == title or control.value != metric.value:
            controls.append(_control(variant, control))
    return controls


def loose_controls(evaluation: EvaluationRecord, controls: Mapping[str, Metric]) -> list[Control]:
    """Return those of some controls that have a title and belong to no metric of the evaluation."""
    return [
        _control(full_title(name, control, evaluation.subsets), control)
        for name, control in controls.items()
        if control.value is not None and control.title and not set(control.control_of) & set(evaluation.metrics)
    ]


def _control(words: str, metric: Metric) -> Control:
    return Control(words=within_sentence(words), value=f"{number(metric.value, metric.unit)} {symbol(metric.unit)}")
