"""Differences of bare values, where a side is the results of another tool: no samples, so no interval and no test."""

from collections.abc import Collection
from dataclasses import replace

from clipbench.comparison.records import Comparison, Difference
from clipbench.errors import NotComparable
from clipbench.results.other_tools import BARE, Values
from clipbench.results.record import Metric, MetricName
from clipbench.results.run import Run

VALUES_ONLY = (
    "only values are compared: without samples there is no interval and no test, and that data, prompts and protocol "
    "are the same is taken on trust"
)


def compare_values(base: Run | Values, candidate: Run | Values) -> Comparison:
    """Return differences of values alone, in the order of the base.

    Raises:
        NotComparable: no value is in both.
    """
    one, other = (
        {name: metric for name, metric in side.named_metrics.items() if metric.value is not None and not name.slice}
        for side in (base, candidate)
    )
    labels = [base.label, candidate.label]
    common = [name for name in one if name in other]
    if not common:
        first, second = (f"{label} ({_some(side)})" for label, side in zip(labels, (one, other), strict=True))
        raise NotComparable(f"{first} and {second} have no value in common")
    notes = [VALUES_ONLY]
    notes += [note for side in (base, candidate) if isinstance(side, Values) for note in side.notes]
    for label, here, there in zip(labels, (one, other), (other, one), strict=True):
        if rest := [name for name in here if name not in there]:
            notes.append(f"only {label} has {', '.join(rest)}")
    # A bare value has the parts of the name, the unit and the direction of the run's own metric, where one side is a run.
    ours = {name: (name, metric) for name, metric in (other if isinstance(base, Values) else one).items()}
    subsets = {
        f"{record.name}/{subset}": title
        for side in (base, candidate)
        if isinstance(side, Run)
        for record in side.result.evaluations
        for subset, title in record.subsets.items()
    }
    return Comparison(
        base=labels[0],
        candidate=labels[1],
        differences=[
            replace(_difference(*ours[name], one[name], other[name]), subset=subsets.get(name.rpartition("/")[0], ""))
            for name in common
        ],
        notes=notes,
    )


def _difference(name: MetricName, like: Metric, base: Metric, candidate: Metric) -> Difference:
    """Return the difference of two values with the unit and direction of a metric."""
    assert base.value is not None and candidate.value is not None, name
    return Difference(
        evaluation=name.evaluation,
        name=name.metric,
        base=replace(base, unit=like.unit, higher_is_better=like.higher_is_better),
        candidate=replace(candidate, unit=like.unit, higher_is_better=like.higher_is_better),
        value=candidate.value - base.value,
        low=None,
        high=None,
        n=0,
        method=f"no paired interval: {BARE}",
        test=f"no test: {BARE}",
    )


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "") or "no value"
