"""The first words of a report on the checkpoints of a training: what it changed, by paired tests of the last checkpoint."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clipbench.comparison.compare import compare
from clipbench.comparison.records import Difference
from clipbench.errors import ClipbenchError
from clipbench.results import numbers as fmt
from clipbench.results.titles import full_title, within_sentence
from clipbench.stats.claims import claimed
from clipbench.stats.significance import ALPHA
from clipbench_reports.findings import Finding, Mark
from clipbench_reports.page.groups import Entry, Group, task_titles
from clipbench_reports.page.leads import shared_headline, values_of, with_metric
from clipbench_reports.page.opening import Sentence
from clipbench_reports.text import isolated, sentence_case

RULE_OF_TRAINING = (
    "For each evaluation, the first headline metric that all checkpoints have: the last checkpoint against each earlier one, "
    "by paired tests, corrected for all tests of these sentences (Holm). “No change is shown since” names the first "
    "checkpoint from which on no such test, without a correction, gives p of at most 0.05: it is not shown that nothing changed."
)
"""The rule, for a reader."""


class _Trend(NamedTuple):
    """A metric at the steps of a training, the first step first."""

    group: Group
    name: str
    steps: list[float]
    values: list[float]
    differences: list[Difference]
    """The last checkpoint less each earlier one; empty if they cannot be tested."""


def trends(groups: Sequence[Group]) -> list[Sentence]:
    """Return a sentence for each evaluation of two checkpoints or more: how its metric changed, as far as tests show."""
    found = [trend for group in groups if not group.same.differences and (trend := _trend(group)) is not None]
    may_claim = iter(claimed([difference.p_value for trend in found for difference in trend.differences]))
    titles = task_titles(groups)
    return [
        Sentence(
            trend.group.anchor,
            _finding(trend, [next(may_claim) for _ in trend.differences], titles[trend.group.anchor]),
            titles[trend.group.anchor],
        )
        for trend in found
    ]


def trend_line(sentences: Sequence[Sentence]) -> str:
    """Return the first trend that a test shows, in one line; an empty text if nothing was tested."""
    findings = [sentence.finding for sentence in sentences]
    shown = next((finding.short for finding in findings if finding.mark in ("gained", "lost")), "")
    is_tested = any(finding.mark == "level" for finding in findings)
    return shown or ("No test here shows that the training changed anything" if is_tested else "")


def _trend(group: Group) -> _Trend | None:
    entries = sorted(group.measured, key=_step)
    name = shared_headline(entries)
    if name is None:
        return None
    try:
        differences = [
            difference
            for entry in entries[:-1]
            for difference in compare(with_metric(entry, name), with_metric(entries[-1], name)).differences
        ]
    except ClipbenchError:
        differences = []
    return _Trend(group, name, list(map(_step, entries)), values_of(entries, name), differences)


def _step(entry: Entry) -> float:
    return float(entry.run.result.model["step"])


def _finding(trend: _Trend, may_claim: Sequence[bool], task: str) -> Finding:
    """Return the sentence on a metric, and a shorter one without its interval.

    Args:
        trend: its metric.
        may_claim: whether each of its differences may be claimed.
        task: the title of its task.
    """
    evaluation = trend.group.measured[0].evaluation
    metric = evaluation.metrics[trend.name]
    title = isolated(full_title(trend.name, metric, evaluation.subsets))
    ends = [fmt.count(trend.steps[place]) for place in (0, -1)]
    first, last = (fmt.quantity(trend.values[place], metric.unit) for place in (0, -1))
    between = f"between steps {ends[0]} and {ends[1]}"
    if not trend.differences or trend.differences[0].p_value is None:
        return Finding(
            "plain", f"{task}: {within_sentence(title)} is {first} at step {ends[0]}, {last} at step {ends[1]}."
        )
    difference = trend.differences[0]
    interval = f"difference {fmt.change(difference.value, metric.unit)}"
    if difference.low is not None:
        interval += f", 95 % interval {fmt.change_interval(difference.low, difference.high, metric.unit)}"
    rest = "".join(f"; {part}" for part in _rest(trend, may_claim))
    if not may_claim[0]:
        change = f"no change is shown {between}: {first} and {last}"
        mark: Mark = "lost" if _peak(trend, may_claim) is not None else "level"
        return Finding(
            mark, f"{task}, {within_sentence(title)}: {change} ({interval}){rest}.", short=f"{title}: {change}{rest}"
        )
    start = first.removesuffix(f" {fmt.symbol(metric.unit)}")
    change = f"{'rose' if difference.value > 0 else 'fell'} from {start} to {last} {between}"
    mark = "plain"
    if metric.higher_is_better is not None:
        mark = "gained" if (difference.value > 0) == metric.higher_is_better else "lost"
    return Finding(
        mark,
        f"{task}: {within_sentence(title)} {change} ({interval}){rest}.",
        short=sentence_case(f"{title} {change}{rest}"),
    )


def _rest(trend: _Trend, may_claim: Sequence[bool]) -> Iterator[str]:
    """Yield where a metric was better than at the end, and since when no test shows a change."""
    unit = trend.group.measured[0].evaluation.metrics[trend.name].unit
    peak = _peak(trend, may_claim)
    if peak is not None:
        yield f"it was better at step {fmt.count(trend.steps[peak])}, with {fmt.quantity(trend.values[peak], unit)}"
    changes = [difference.p_value is None or difference.p_value <= ALPHA for difference in trend.differences]
    since = next((place for place in range(len(changes)) if not any(changes[place:])), None)
    if since:  # at the first step there is no change to speak of
        yield f"no change is shown since step {fmt.count(trend.steps[since])}"


def _peak(trend: _Trend, may_claim: Sequence[bool]) -> int | None:
    """Return the position of the best value, if the last one is shown to be worse."""
    is_higher_better = trend.group.measured[0].evaluation.metrics[trend.name].higher_is_better
    if is_higher_better is None:
        return None
    sign = 1 if is_higher_better else -1
    best = max(range(len(may_claim)), key=lambda place: sign * trend.values[place])
    return best if may_claim[best] and sign * trend.differences[best].value < 0 else None
