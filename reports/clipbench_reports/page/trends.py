"""The first words of a report on the checkpoints of a training: its changes, by paired tests of the last one."""

from collections.abc import Sequence
from contextlib import suppress

from clipbench.comparison.compare_runs import compare
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.titles import full_title, within_sentence
from clipbench.stats.significance import is_significant
from clipbench_reports.findings import Finding, Mark
from clipbench_reports.page.groups import EvaluatedModel, Group, task_titles
from clipbench_reports.page.leads import MetricComparison, difference_text, shared_metric, with_claims, with_metric
from clipbench_reports.page.opening import Sentence
from clipbench_reports.text import isolated

RULE_OF_TRAINING = (
    "For each evaluation, the first headline metric that all checkpoints have: the last checkpoint against each "
    "earlier one, by paired tests, corrected for all tests of these sentences (Holm). "
    "“No change shown since” names the first checkpoint from which on no such test, without a correction, gives p of "
    "at most 0.05. This does not show that nothing changed."
)
"""The rule, for a reader."""


def trends(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation of two checkpoints or more: how its metric changed, by tests."""
    titles = task_titles(groups)
    sentences = []
    for trend, claims in with_claims(groups, _trend):
        anchor = trend.group.anchor
        sentences.append(Sentence(anchor, _finding(trend, claims, titles[anchor])))
    return sentences


def trend_line(sentences: Sequence[Sentence]) -> str:
    """Return the first trend that a test shows, in one line, an empty text if nothing was compared."""
    for sentence in sentences:
        if sentence.finding.mark in ("gained", "lost"):
            return sentence.finding.short
    return "No test here shows that the training changed anything" if sentences else ""


def _trend(group: Group) -> MetricComparison | None:
    """Return the first headline metric of all checkpoints, and the last checkpoint less each earlier one."""
    trend = shared_metric(group, sorted(group.measured, key=_step))
    if trend is None:
        return None
    *earlier, last = [with_metric(model, trend.name) for model in trend.models]
    with suppress(ClipbenchError):
        return trend._replace(differences=[compare(run, last).differences[0] for run in earlier])
    return None


def _step(model: EvaluatedModel) -> float:
    return float(model.run.result.model["step"])


def _finding(trend: MetricComparison, may_claim: Sequence[bool], task: str) -> Finding:
    """Return the sentence on a metric, and a shorter one without its interval.

    Args:
        trend: its metric.
        may_claim: whether each of its differences may be claimed.
        task: the title of its task.
    """
    evaluation = trend.models[-1].evaluation
    metric = evaluation.metrics[trend.name]
    title = isolated(full_title(trend.name, metric, evaluation.subsets))
    steps = [fmt.count(_step(model)) for model in trend.models]
    first, last = fmt.number(trend.values[0], metric.unit), fmt.quantity(trend.values[-1], metric.unit)
    ends = f"{steps[0]} and {steps[-1]}"
    total = trend.differences[0]
    sign = {True: 1, False: -1, None: 0}[metric.higher_is_better]
    mark: Mark = "level"
    change = f"is {first} and {last} at steps {ends}: no change is shown"
    if may_claim[0]:
        change = f"{'rose' if total.value > 0 else 'fell'} from {first} to {last} between steps {ends}"
        mark = "plain"
        if sign != 0:
            mark = "gained" if sign * total.value > 0 else "lost"
    rest = ""
    better = _better_checkpoints(trend, may_claim, sign)
    if better and better[-1] > 0:  # of the first checkpoint, the change says so already
        peak = max(better, key=lambda checkpoint: sign * trend.values[checkpoint])
        rest = f", but it was better at step {steps[peak]}, with {fmt.quantity(trend.values[peak], metric.unit)}"
        if mark == "level":
            mark = "lost"
    unchanged_since = _first_unchanged_checkpoint(trend)
    if 0 < unchanged_since < len(trend.differences):
        rest += f", with no change shown since step {steps[unchanged_since]}"
    text = f"{task}: {within_sentence(title)} {change} ({difference_text(total, metric.unit)}){rest}."
    return Finding(mark, text, short=f"{title} {change}{rest}")


def _better_checkpoints(trend: MetricComparison, may_claim: Sequence[bool], sign: int) -> list[int]:
    """Return the checkpoints that are shown to be better than the last one.

    Args:
        sign: 1 if higher is better, -1 if lower is, 0 if neither.
    """
    better = []
    for checkpoint, difference in enumerate(trend.differences):
        if may_claim[checkpoint] and sign * difference.value < 0:
            better.append(checkpoint)
    return better


def _first_unchanged_checkpoint(trend: MetricComparison) -> int:
    """Return the checkpoint from which on no test, without a correction, shows a change up to the last one."""
    unchanged_since = 0
    for checkpoint, difference in enumerate(trend.differences):
        if difference.p_value is None or is_significant(difference.p_value):
            unchanged_since = checkpoint + 1
    return unchanged_since
