"""Is the candidate better than the base: each metric's difference with its paired interval, test and verdict."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from clipbench.comparison.paired import Flips, Generators, paired
from clipbench.errors import NotComparable, UsageError
from clipbench.results.matching import Pair, Tables, common_pairs, other_facts, read_tables, refusal
from clipbench.results.other_tools import BARE, Values
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.seeding import generator
from clipbench.stats import significance

VALUES_ONLY = (
    "only values are compared: without samples there is no interval and no test, and that data, prompts and protocol "
    "are the same is taken on trust"
)

RECORDED = ("column", "influence", "statistic")
"""Fields of a metric that say which samples it is made of."""

Verdict = Literal["better", "worse", "different", "no evidence", "not tested", "too small to matter"]
"""``different``: a significant difference of a metric of which neither direction is better; ``not tested``: no test can be
made of the metric (``Difference.test`` says why), which is less than no evidence."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two models on the same samples; the candidate's value minus the base's."""

    evaluation: str
    """``task@data``."""
    name: str
    base: Metric
    candidate: Metric
    value: float
    low: float | None
    high: float | None
    """Bounds of the difference, paired by sample; None where ``method`` says why there are none."""
    n: int
    method: str
    test: str
    """Which test the p-value is of, or why there is none."""
    p_value: float | None = None
    p_adjusted: float | None = None
    """After Holm's correction over all metrics of the comparison that have a p-value; the verdict is made of it."""
    detectable: float | None = None
    """The smallest true difference that a test at alpha of this metric alone would have found with 80 % power, by
    the standard error of the paired difference; None where the samples cannot tell."""
    verdict: Verdict = "not tested"
    flips: Flips | None = None
    """For columns of zeros and ones, or of credits between them: which samples changed."""


@dataclass(frozen=True)
class CompareOptions:
    """How sure a verdict has to be, and which differences are of no interest."""

    alpha: float = 0.05
    smallest: float = 0.0
    """In the metric's unit: a difference whose interval lies within plus and minus it is too small to matter."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha {self.alpha}: expected a number between 0 and 1, such as 0.05")
        if not self.smallest >= 0:
            raise UsageError(f"smallest difference {self.smallest}: expected 0 or more, in the metric's unit")


@dataclass(frozen=True)
class Refusal:
    """An evaluation that both runs have and that must not be compared."""

    evaluation: str
    reason: str
    """What differs, with both values."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that two runs have in common, and what they have not."""

    base: str
    """The run's folder, or the name of foreign results."""
    candidate: str
    differences: list[Difference]
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was not compared, and what else is not the same."""


def compare(base: Run | Values, candidate: Run | Values, options: CompareOptions | None = None) -> Comparison:
    """Return the differences of all metrics that both have a value of, in the order of the base, with a verdict each.

    Samples are paired by id, whole clusters together (``clipbench.comparison.paired`` says which test is made). A difference is
    better or worse when its p-value, after Holm's correction over the comparison, is at most alpha; the interval is
    corrected for nothing and may exclude 0 where the p-value says no evidence, or hardly include it where it says
    better: the p-value decides. When either side is foreign results, only values are compared, without a test.

    Raises:
        NotComparable: nothing can be compared: no evaluation or value in common, or each is refused.
        ClipbenchError: samples are missing or cannot be read.
    """
    options = options or CompareOptions()
    if isinstance(base, Values) or isinstance(candidate, Values):
        return _of_values(base, candidate)
    pairs = common_pairs(base, candidate)
    found: list[Difference] = []
    refused: list[Refusal] = []
    for pair in pairs:
        tables = _tables(base, candidate, pair)
        if isinstance(tables, str):
            refused.append(Refusal(pair.base.name, tables))
        else:
            found += _of_pair(pair, tables, base.result.seed, options.alpha)
    _check_any(found, refused, pairs)
    return Comparison(
        base=str(base.folder),
        candidate=str(candidate.folder),
        differences=_judged(found, options),
        refused=refused,
        notes=list(other_facts(base, candidate, pairs)),
    )


def differences(base: Run, candidate: Run) -> list[Difference]:
    """Return the differences of all metrics that both runs have a value of, as ``compare`` does, or refuse them all.

    Raises:
        NotComparable: they have no evaluation in common, or one was made on other data, by another version or with
            other parameters.
    """
    found = compare(base, candidate)
    for each in found.refused:
        raise NotComparable(refusal(each.evaluation, each.reason))
    return found.differences


def _tables(base: Run, candidate: Run, pair: Pair) -> Tables | str:
    """Return the samples of both runs, or why they must not be compared."""
    if (reason := pair.incomparable()) is not None:
        return reason
    tables = read_tables(base, candidate, pair)
    return tables.incomparable() or tables


def _check_any(found: Sequence[Difference], refused: Sequence[Refusal], pairs: Sequence[Pair]) -> None:
    if found:
        return
    if refused:
        more = f" ({len(refused) - 1} more likewise)" if len(refused) > 1 else ""
        raise NotComparable(refusal(refused[0].evaluation, refused[0].reason) + more)
    names = ", ".join(dict.fromkeys(pair.base.name for pair in pairs))
    raise NotComparable(f"the runs have {names} in common, but no metric that both have a value of")


def _of_pair(pair: Pair, tables: Tables, seed: int, alpha: float) -> Iterator[Difference]:
    for name, metric in pair.base.metrics.items():
        other = pair.candidate.metrics.get(name)
        if other is None or metric.value is None or other.value is None:
            continue  # the notes tell of it
        interval, test = (generator(seed, pair.base.name, name, what) for what in ("difference", "test"))
        generators = Generators(interval, test)
        found = paired(_as_recorded(metric, other), _as_recorded(other, metric), tables=tables, generators=generators)
        yield Difference(
            evaluation=pair.base.name,
            name=name,
            base=metric,
            candidate=other,
            value=other.value - metric.value,
            low=found.interval.low,
            high=found.interval.high,
            n=found.n,
            method=found.interval.method,
            test=found.test,
            p_value=found.p_value,
            detectable=found.detectable(alpha),
            flips=found.flips,
        )


def _as_recorded(metric: Metric, other: Metric) -> Metric:
    """Return a metric of an old run, which did not record what it is made of, with what the other did: the task is one."""
    is_known = any(each is not None for each in (metric.column, metric.influence, metric.statistic))
    return metric if is_known else replace(metric, **{name: getattr(other, name) for name in RECORDED})


def _judged(found: Sequence[Difference], options: CompareOptions) -> list[Difference]:
    """Return the differences with corrected p-values and verdicts."""
    tested = [each.p_value for each in found if each.p_value is not None]
    adjusted = iter(significance.holm(tested))
    corrected = [each if each.p_value is None else replace(each, p_adjusted=next(adjusted)) for each in found]
    return [replace(each, verdict=_verdict(each, options)) for each in corrected]


def _verdict(each: Difference, options: CompareOptions) -> Verdict:
    if _is_too_small(each, options.smallest):
        return "too small to matter"
    if each.p_adjusted is None:
        return "not tested"
    if each.p_adjusted > options.alpha:
        return "no evidence"
    if each.base.higher_is_better is None:
        return "different"
    return "better" if (each.value > 0) == each.base.higher_is_better else "worse"


def _is_too_small(each: Difference, smallest: float) -> bool:
    """Whether the interval lies within plus and minus the smallest difference of interest.

    An interval without width says that the samples do not differ, not how much others might: it is no evidence.
    """
    if each.low is None or each.high is None or each.low == each.high:
        return False
    return -smallest <= each.low and each.high <= smallest


@dataclass(frozen=True)
class _Named:
    """A metric with its place; of a run, or made of a bare value."""

    evaluation: str
    name: str
    metric: Metric
    is_bare: bool = False


def _of_values(base: Run | Values, candidate: Run | Values) -> Comparison:
    """Return differences of values alone."""
    one, other = (_named(side) for side in (base, candidate))
    common = [key for key in one if key in other]
    labels = [side.label if isinstance(side, Values) else str(side.folder) for side in (base, candidate)]
    if not common:
        first, second = (f"{label} ({_some(side)})" for label, side in zip(labels, (one, other), strict=True))
        raise NotComparable(f"{first} and {second} have no value in common")
    notes = [VALUES_ONLY]
    notes += [note for side in (base, candidate) if isinstance(side, Values) for note in side.notes]
    for label, here, there in zip(labels, (one, other), (other, one), strict=True):
        if rest := [key for key in here if key not in there]:
            notes.append(f"only {label} has {', '.join(rest)}")
    differences = [_of_value(one[key], other[key]) for key in common]
    return Comparison(base=labels[0], candidate=labels[1], differences=differences, notes=notes)


def _named(side: Run | Values) -> dict[str, _Named]:
    """Return the values of either side by ``task@data/metric``."""
    if isinstance(side, Values):
        parts = ((key, *key.partition("/"), metric) for key, metric in side.metrics.items())
        return {key: _Named(evaluation, name, metric, is_bare=True) for key, evaluation, _, name, metric in parts}
    return {
        f"{evaluation.name}/{name}": _Named(evaluation.name, name, metric)
        for evaluation in reversed(side.result.evaluations)  # of one that was made twice, the first is compared
        for name, metric in evaluation.metrics.items()
        if metric.value is not None
    }


def _of_value(before: _Named, after: _Named) -> Difference:
    """Return the difference of two values; a bare one is of the unit and direction of the other."""
    ours = after if before.is_bare else before
    unit, direction = ours.metric.unit, ours.metric.higher_is_better
    base, candidate = (
        replace(each.metric, unit=unit, higher_is_better=direction) if each.is_bare else each.metric
        for each in (before, after)
    )
    assert base.value is not None and candidate.value is not None, before
    return Difference(
        evaluation=ours.evaluation,
        name=ours.name,
        base=base,
        candidate=candidate,
        value=candidate.value - base.value,
        low=None,
        high=None,
        n=0,
        method=f"no paired interval: {BARE}",
        test=f"no test: {BARE}",
    )


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "") or "no value"
