"""The first words of a report on several models: which is ahead in each evaluation, by paired tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from clipbench.comparison.best_models import FEW_TASKS, BestModels
from clipbench.comparison.compare_runs import compare
from clipbench.comparison.metric_difference import Difference
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.grouping import group_values
from clipbench.results.run import Run
from clipbench.results.titles import first_headline, full_title, within_sentence
from clipbench.stats.claims import claimed
from clipbench_reports.findings import Finding
from clipbench_reports.page.groups import EvaluatedModel, Group, task_titles
from clipbench_reports.page.opening import Sentence
from clipbench_reports.text import isolated

RULE_OF_SEVERAL = (
    "Each sentence is about the first headline metric of an evaluation that all models have. Paired tests compare the "
    "model with the best value with each other one, corrected for all tests of these sentences (Holm). "
    "`clipbench compare` tests every metric."
)
"""The rule, for a reader."""


MOST_NAMED = 5
"""Models that the first line of a page names."""


class MetricComparison(NamedTuple):
    """Models with a metric: the best value first for leads, or the largest if neither direction is better."""

    group: Group
    name: str
    models: list[EvaluatedModel]
    values: list[float]
    differences: Sequence[Difference] = ()
    """Tested differences of one model from the others. Leads have the differences of the first model, and only the one
    from the second model if that is not significant."""
    untested_reason: str = ""
    """The reason for a missing test."""


def with_claims(
    groups: Sequence[Group], compare_models: Callable[[Group], MetricComparison | None]
) -> list[tuple[MetricComparison, list[bool]]]:
    """Return the comparison of each evaluation, with whether each of its differences may be claimed."""
    comparisons = []
    for group in groups:
        comparison = None if group.same.differences else compare_models(group)
        if comparison is not None:
            comparisons.append(comparison)
    # All differences of the page are one family of tests.
    family = [difference.p_value for comparison in comparisons for difference in comparison.differences]
    may_claim = claimed(family)
    claims, start = [], 0
    for comparison in comparisons:
        end = start + len(comparison.differences)
        claims.append((comparison, may_claim[start:end]))
        start = end
    return claims


def leads(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation that two models or more have, and that may be compared."""
    titles, sentences = task_titles(groups), []
    for lead, claims in with_claims(groups, _lead):
        is_ahead = all(claims) and not lead.untested_reason
        ahead = lead.models[0].label if is_ahead else ""
        anchor = lead.group.anchor
        sentences.append(Sentence(anchor, _finding(lead, is_ahead=is_ahead), titles[anchor], ahead))
    return sentences


def lead_line(sentences: Sequence[Sentence], n_models: int) -> str:
    """Return which models are ahead in which tasks, in one line, an empty text if nothing was tested."""
    if not sentences:
        return "Nothing here can be compared between these models"
    tasks = group_values((sentence.ahead, within_sentence(sentence.task)) for sentence in sentences if sentence.ahead)
    if tasks:
        return "; ".join(f"{isolated(label)} is ahead in {fmt.listed(names)}" for label, names in tasks.items())
    if not any(sentence.finding.mark == "level" for sentence in sentences):
        return ""
    return "No test here shows a difference" if n_models == 2 else "No model is shown to be ahead of all others"


def best_line(
    sentences: Sequence[Sentence], best: Sequence[BestModels], groups: Sequence[Group], names: Sequence[str]
) -> str:
    """Return which model is ahead, or which could be best, of models that have ranks, in one line.

    It has a part for each of few evaluations. With more, it has those in which a model is ahead, and the mean rank.

    Args:
        sentences: as ``leads`` returns them.
        best: by the rank intervals.
        names: of all models.
    """
    of_tasks = {models.evaluation: models for models in best if models.evaluation}
    overall = [models for models in best if not models.evaluation]
    ahead_by_anchor = {sentence.anchor: sentence.ahead for sentence in sentences if sentence.ahead}
    titles = task_titles(groups)
    isolated_names = [isolated(name) for name in names]
    is_short = len(of_tasks) <= FEW_TASKS or not overall
    ahead: list[tuple[str, str]] = []
    parts: list[str] = []
    for group in groups:
        task = within_sentence(titles[group.anchor])
        models = of_tasks.get(group.models[0].evaluation.name)
        if group.anchor in ahead_by_anchor:
            ahead.append((ahead_by_anchor[group.anchor], task))
        elif models is not None and is_short and len(parts) < FEW_TASKS:
            parts.append(models._replace(scope=f"in {task}").sentence(isolated_names, most_named=MOST_NAMED))
    if not is_short:
        parts = [overall[0].sentence(isolated_names, most_named=MOST_NAMED)]
    ahead_parts = [f"{isolated(label)} is ahead in {fmt.listed(tasks)}" for label, tasks in group_values(ahead).items()]
    line = "; ".join([*ahead_parts, *parts])
    return f"E{line[1:]}" if line.startswith("each of") else line  # a model's name stays as it is


def _lead(group: Group) -> MetricComparison | None:
    """Return the first headline metric that all of several models have a value of."""
    shared = shared_metric(group, group.measured)
    if shared is None:
        return None
    is_higher_better = shared.models[0].evaluation.metrics[shared.name].higher_is_better
    sign = 1 if is_higher_better is False else -1
    ranked = sorted(zip(shared.values, shared.models, strict=True), key=lambda pair: sign * pair[0])
    lead = shared._replace(models=[model for _, model in ranked], values=[value for value, _ in ranked])
    if is_higher_better is None:
        return lead._replace(untested_reason="neither direction is better")
    try:
        differences = _differences(lead.models, lead.name)
    except ClipbenchError as error:
        return lead._replace(untested_reason=f"not tested: {error}")
    untested = next((difference.test for difference in differences if difference.p_value is None), "")
    return lead._replace(differences=differences, untested_reason=untested)


def shared_metric(group: Group, models: list[EvaluatedModel]) -> MetricComparison | None:
    """Return the first headline metric that all of two or more models have a value of, or None if there is none."""
    metrics = models[0].evaluation.metrics if len(models) > 1 else {}
    shared_values: dict[str, list[float]] = {}
    for name in metrics:
        metrics_of_models = [model.evaluation.metrics.get(name) for model in models]
        values = [metric.value for metric in metrics_of_models if metric is not None and metric.value is not None]
        if len(values) == len(models):
            shared_values[name] = values
    if not shared_values:
        return None
    name = first_headline(metrics, lambda name: name in shared_values)
    return MetricComparison(group, name, models, shared_values[name]) if name in shared_values else None


def _differences(ranked: Sequence[EvaluatedModel], name: str) -> list[Difference]:
    """Return the differences of the first model from the others, as far as it takes to show that it is ahead."""
    differences: list[Difference] = []
    for other in ranked[1:]:
        differences += compare(with_metric(other, name), with_metric(ranked[0], name)).differences
        if not claimed([differences[-1].p_value])[0]:
            break  # no correction makes it significant, and the first is not ahead of all
    return differences


def with_metric(model: EvaluatedModel, name: str) -> Run:
    """Return the run with one metric of one evaluation, so that only this metric is read and tested."""
    evaluation = replace(model.evaluation, metrics={name: model.evaluation.metrics[name]})
    return Run(model.run.folder, replace(model.run.result, evaluations=[evaluation]))


def _finding(lead: MetricComparison, *, is_ahead: bool) -> Finding:
    evaluation = lead.models[0].evaluation
    metric = evaluation.metrics[lead.name]
    values = [fmt.quantity(value, metric.unit) for value in lead.values]
    first, second, *other_labels = (isolated(model.label) for model in lead.models)
    best, second_best, *other_values = values
    rest = ""
    if len(other_labels) == 1:
        rest = f", {other_labels[0]} {other_values[0]}"
    elif other_labels:
        rest = f", the other {len(other_labels)} models {other_values[0]} to {other_values[-1]}"
    title = within_sentence(full_title(lead.name, metric, evaluation.subsets))
    subject = f"{isolated(lead.group.task)} on {isolated(lead.group.data)}, {isolated(title)}"
    both = f"{first} {best}, {second} {second_best}"
    if lead.untested_reason:
        return Finding("plain", f"{subject}: {both}{rest} ({lead.untested_reason}).")
    difference = difference_text(lead.differences[0], metric.unit)
    if is_ahead:
        ahead = f"{first} is ahead with {best}, {second} has {second_best}"
        return Finding("ahead", f"{subject}: {ahead} ({difference}){rest}.")
    no_lead = "none is significantly ahead of all others" if other_labels else "no difference is shown"
    return Finding("level", f"{subject}: {no_lead}, {both} ({difference}){rest}.")


def difference_text(difference: Difference, unit: str) -> str:
    """Return a difference with its interval, in words."""
    text = f"difference {fmt.change(difference.value, unit)}"
    if difference.low is None:
        return text
    return f"{text}, 95 % interval {fmt.change_interval(difference.low, difference.high, unit)}"
