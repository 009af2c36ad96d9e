"""The same evaluation of several models, side by side, and the differences between them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from clipbench.comparison.model_ranks import NO_DIRECTION
from clipbench.results.grouping import group_values
from clipbench.results.matching import Match, match
from clipbench.results.numbers import listed
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, labels
from clipbench.results.short_names import shorten_names
from clipbench.results.titles import readable
from clipbench_reports.drawing.facets import figure_labels
from clipbench_reports.findings import absence
from clipbench_reports.sections.section import LoadedSection, load_section
from clipbench_reports.text import isolated, slug

RESERVED = ["summary", "metrics", "training", "provenance", "preflight", "reading", "top", "keys", "switch"]
"""The ids of the page that are not sections of tasks."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model of the page, with its evaluation of one task."""

    position: int
    """The position of the model among the runs, which decides its colour."""
    label: str
    run: Run
    evaluation: EvaluationRecord


@dataclass(frozen=True)
class Gap:
    """Models without numbers, all for the same reason."""

    labels: list[str]
    status: str
    """``Failed`` or ``Not measured``."""
    reason: str


@dataclass(frozen=True)
class Group:
    """A task on a data set, for all models that were asked."""

    anchor: str
    """The id of its section: the task's name, with the name of the data if it has several data sets."""
    task: str
    data: str
    models: list[EvaluatedModel]
    unasked: list[str]
    """Labels of the models that have no such evaluation."""

    @cached_property
    def section(self) -> LoadedSection:
        """The section that a package brings for the task, or the plain one."""
        return load_section(self.task)

    @property
    def title(self) -> str:
        """The name of the task for a reader."""
        return self.section.section.title or readable(self.task)

    @property
    def measured(self) -> list[EvaluatedModel]:
        """The models that have numbers."""
        return [model for model in self.models if model.evaluation.status == "ok"]

    @property
    def gaps(self) -> list[Gap]:
        """The models without numbers, and why."""
        unmeasured = [model for model in self.models if model.evaluation.status != "ok"]
        labels_by_reason = group_values((absence(model.evaluation), model.label) for model in unmeasured)
        return [Gap(names, status, reason) for (status, reason), names in labels_by_reason.items()]

    @cached_property
    def same(self) -> Match:
        """The facts that are not the same for all models, so that their numbers must not be compared, and notes on
        others.
        """
        return match(*(model.evaluation for model in self.measured))


def group_evaluations(runs: Sequence[Run]) -> list[Group]:
    """Return the evaluations of all runs by task and data, in the order in which they first appear.

    A run that has a task on the same data twice, with other parameters, has it in two groups.
    """
    models_by_key: dict[tuple[str, str, int], list[EvaluatedModel]] = {}
    names = page_labels(runs)
    for position, (label, run) in enumerate(zip(names, runs, strict=True)):
        counts = Counter[tuple[str, str]]()
        for evaluation in run.result.evaluations:
            key = (evaluation.task, evaluation.dataset.id)
            counts[key] += 1
            models_by_key.setdefault((*key, counts[key]), []).append(EvaluatedModel(position, label, run, evaluation))
    ids = anchors([(task, data) for task, data, _ in models_by_key])
    groups = []
    for anchor, ((task, data, _), models) in zip(ids, models_by_key.items(), strict=True):
        asked = {model.label for model in models}
        groups.append(Group(anchor, task, data, models, unasked=[name for name in names if name not in asked]))
    return groups


def unique_ids(names: Iterable[str], reserved: Iterable[str] = ()) -> list[str]:
    """Return ids for the elements of a page: a name that is used or reserved gets a number.

    Example:
        >>> unique_ids(["a b", "a-b", "c"], reserved=["c"])
        ['a-b', 'a-b-2', 'c-2']
    """
    used_ids = set(reserved)
    ids = []
    for name in names:
        plain = free = re.sub(r"[^A-Za-z0-9_@.+/-]+", "-", name).strip("-") or "x"
        number = 1
        while free in used_ids:
            number += 1
            free = f"{plain}-{number}"
        used_ids.add(free)
        ids.append(free)
    return ids


def anchors(evaluations: Sequence[tuple[str, str]]) -> list[str]:
    """Return the ids of the sections of tasks on data sets, without the data of a task with only one data set.

    Example:
        >>> anchors([("zero-shot", "a"), ("zero-shot", "hf:b/C"), ("retrieval", "a"), ("Summary", "a")])
        ['zero-shot-a', 'zero-shot-hf-b-c', 'retrieval', 'summary-2']
    """
    n_data = Counter(task for task, _ in evaluations)
    slugs = []
    for task, data in evaluations:
        is_only = n_data[task] == 1
        slugs.append(slug(task if is_only else f"{task}-{data}"))
    return unique_ids(slugs, RESERVED)


def page_labels(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs on a page: one in full, several short enough for a figure."""
    return figure_labels(labels(runs)) if len(runs) > 1 else labels(runs)


def task_titles(groups: Sequence[Group]) -> dict[str, str]:
    """Return the title of the task of each section by its anchor, with the data if several sections have the task."""
    n_sections = Counter(group.title for group in groups)
    titles = {}
    for group in groups:
        title = isolated(group.title)
        if n_sections[group.title] > 1:
            title += f" on {_short_name(group.data)}"
        titles[group.anchor] = title
    return titles


def _short_name(data: str) -> str:
    return isolated(*shorten_names([data]))


def scope(groups: Sequence[Group]) -> str:
    """Return the tasks and data that were measured, in one sentence.

    Example:
        >>> scope([])
        'Nothing was measured.'
    """
    tasks = group_values((group.data, isolated(group.task)) for group in groups if group.measured)
    if not tasks:
        return "Nothing was measured."
    parts = [f"{listed(list(dict.fromkeys(names)))} on {_short_name(data)}" for data, names in tasks.items()]
    n_missing = sum(1 for group in groups if not group.measured)
    missing = f" {n_missing} of {len(groups)} evaluations could not be measured." if n_missing else ""
    return f"Measured: {'; '.join(parts)}.{missing}"


def uncompared(
    groups: Sequence[Group], n_models: int, unranked: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, str]]:
    """Return each reason why models cannot be compared, with the evaluations that it affects.

    Args:
        unranked: reasons why evaluations and metrics have no ranks, by name.
    """
    names_by_reason: dict[str, list[str]] = {}
    for group in groups:
        for reason in _reasons(group, n_models):
            names_by_reason.setdefault(reason, []).append(f"{isolated(group.task)} on {isolated(group.data)}")
    for name, reason in unranked.items():
        if reason != NO_DIRECTION:
            names_by_reason.setdefault(f"Not ranked, as {isolated(reason)}", []).append(isolated(name))
    return [(reason, listed(names)) for reason, names in names_by_reason.items()]


def comparison_notes(
    groups: Sequence[Group], unranked: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, str]]:
    """Return what a reader may want to know of the models that were compared, with the evaluations that it affects.

    Args:
        unranked: reasons why evaluations and metrics have no ranks, by name.
    """
    notes = []
    for group in groups:
        is_compared = len(group.measured) > 1 and not group.same.differences
        if is_compared:
            evaluation = f"{isolated(group.task)} on {isolated(group.data)}"
            notes += [(note, evaluation) for note in group.same.notes]
    for name, reason in unranked.items():
        if reason == NO_DIRECTION:
            notes.append((f"Compared without ranks, as {isolated(reason)}", isolated(name)))
    return [(note, listed(names)) for note, names in group_values(notes).items()]


def _reasons(group: Group, n_models: int) -> list[str]:
    reasons = [f"The models differ in {group.same.names}"] if group.same.differences else []
    if group.unasked:
        reasons.append(f"Not run for {listed([isolated(label) for label in group.unasked])}")
    for gap in group.gaps:
        models = "all models"
        if len(gap.labels) < n_models:
            models = listed([isolated(label) for label in gap.labels])
        reasons.append(f"{gap.status} for {models}, as {isolated(gap.reason)}")
    return reasons
