"""Evaluations and samples of two runs brought side by side, and a line for all that has no partner."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.comparison.records import Refusal
from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.matching import match
from clipbench.results.metric_name import slice_suffix, subset_of
from clipbench.results.record import EvaluationRecord, Metric, Metrics, as_json, finished_evaluations
from clipbench.results.run import Run
from clipbench.results.run_names import distinct_names
from clipbench.stats.estimators import Estimator
from clipbench.untrusted.reading import shown

if TYPE_CHECKING:
    import pandas


SIMILARITY = "similarity"
"""Beginning of the note that two models compare vectors in different ways."""


class EvaluationPair(NamedTuple):
    """The same task on the same data in two runs."""

    base: EvaluationRecord
    candidate: EvaluationRecord

    @property
    def name(self) -> str:
        """``task@data``."""
        return self.base.name

    def subset_title(self, metric: str) -> str:
        """Return the recorded title of the subset that a metric's name begins with, empty if there is none."""
        subset = subset_of(metric)
        return self.candidate.subsets.get(subset) or self.base.subsets.get(subset, "")


class Tables(NamedTuple):
    """The samples of two runs in one order, with the sample's id as index."""

    base: "pandas.DataFrame"
    candidate: "pandas.DataFrame"


def pair_evaluations(base: Run, candidate: Run) -> list[EvaluationPair]:
    """Return the finished evaluations of the same task and data, in the order of the base.

    Where the candidate has several, its partner is the one with the base's parameters, otherwise the first.

    Raises:
        NotComparable: there is none, for example since a run could not be measured.
    """
    pairs = []
    for before in finished_evaluations(base.result):
        partners = [record for record in finished_evaluations(candidate.result) if record.name == before.name]
        same_parameters = [record for record in partners if as_json(record.params) == as_json(before.params)]
        pairs += [EvaluationPair(before, after) for after in (same_parameters or partners)[:1]]
    for run in (base, candidate):
        if not finished_evaluations(run.result) and run.result.evaluations:
            record = run.result.evaluations[0]
            status = "failed" if record.status == "failed" else f"is {record.status}"
            raise NotComparable(f"{run.label} was not measured: {record.name} {status}: {record.reason}")
    if not pairs:
        raise NotComparable(f"{base.label} and {candidate.label} have no finished evaluation in common")
    return pairs


def distinct_labels(base: Run, candidate: Run) -> list[str]:
    """Return the labels of two runs, numbered if both are of one model in memory, before and after a change.

    One run against itself has its label twice.
    """
    labels = [base.label, candidate.label]
    return labels if base.folder == candidate.folder else distinct_names(labels, " #")


def align_samples(base: Run, candidate: Run, pair: EvaluationPair, grouping: str | None = None) -> Tables:
    """Return the samples of an evaluation in both runs, or all samples of the slices of a grouping, paired by id.

    Raises:
        NotComparable: an id appears twice, or the runs have different ids.
        ClipbenchError: a table is missing or damaged.
    """
    return Tables(*sample_tables([(base, pair.base), (candidate, pair.candidate)], grouping))


def sample_tables(
    evaluations: Sequence[tuple[Run, EvaluationRecord]], grouping: str | None = None
) -> "list[pandas.DataFrame]":
    """Return the samples of an evaluation in several runs, in one order, with the errors of ``align_samples``."""
    tables = [_samples_by_id(run, evaluation, grouping) for run, evaluation in evaluations]
    for table in tables:
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise NotComparable(f"samples cannot be paired: the sample id '{twice}' appears twice in one run")
        if not table.index.equals(tables[0].index):
            raise NotComparable("the runs have different samples")
        if ("cluster" in table) != ("cluster" in tables[0]):
            raise NotComparable("only some of the runs say which samples belong together (their clusters)")
    return tables


def check_values(run: Run, metrics: Metrics, table: "pandas.DataFrame") -> None:
    """Raise NotComparable if a metric's value does not match its samples: the run is damaged or was edited."""
    for name, metric in metrics.items():
        statistic = Estimator.from_record(metric.statistic)
        first = metric.column or metric.influence
        columns: tuple[str, ...] = ()
        if statistic is not None:
            columns = statistic.columns
        elif first is not None:
            columns = (first,)
        if metric.value is None or not columns:
            continue
        recorded = f"{run.label}: {name} is {metric.value:g}"
        missing = next((column for column in columns if column not in table), None)
        try:
            numbers = (
                {} if missing else {column: table[column].to_numpy(np.float64, na_value=np.nan) for column in columns}
            )
            is_finite = np.isfinite(numbers[columns[0]]) if numbers else np.zeros(0, bool)
            values = {column: cells[is_finite] for column, cells in numbers.items()}
            if not is_finite.any():
                where = missing or columns[0]
                raise NotComparable(
                    f"{recorded}, but no sample has a value in the column '{where}': make the run again"
                )
            value = statistic(values) if statistic is not None else float(values[columns[0]].mean())
        except (LookupError, TypeError, ValueError):
            continue  # which the test of the difference says
        n = int(is_finite.sum())
        if n < metric.n:
            raise NotComparable(
                f"{recorded} over {metric.n:,} samples, but only {n:,} have a value: make the run again"
            )
        is_held = statistic is not None or metric.column is not None
        if is_held and not abs(value - metric.value) <= 1e-6 * max(1.0, abs(metric.value)):
            raise NotComparable(f"{recorded}, but its samples give {value:g}: the run is damaged, make it again")


def metrics_in_both(metrics: Metrics, other_metrics: Metrics) -> dict[str, tuple[Metric, Metric]]:
    """Return the metrics that have a value in both records, by name."""
    pairs = {}
    for name, metric in metrics.items():
        other_metric = other_metrics.get(name)
        if other_metric is not None and metric.value is not None and other_metric.value is not None:
            pairs[name] = (metric, other_metric)
    return pairs


def contradiction(pair: EvaluationPair) -> str:
    """Return what two records of the same task say otherwise of a metric, as no two runs do, empty if they agree."""
    for name, (metric, other) in metrics_in_both(pair.base.metrics, pair.candidate.metrics).items():
        for fact in ("unit", "higher_is_better", "column", "influence", "squared_influence", "statistic"):
            before, after = getattr(metric, fact), getattr(other, fact)
            if before != after:
                return f"{fact} of {name} is {shown(before)} in the one run, {shown(after)} in the other"
    return ""


def lost_evaluations(base: Run, candidate: Run) -> Iterator[Refusal]:
    """Yield the evaluations that one of the runs has finished and that cannot be compared.

    The other failed at them, or one of the runs has them twice, so that nobody knows which counts; or the candidate
    lacks them.
    """
    finished = {}
    for run in (base, candidate):
        for record in finished_evaluations(run.result):
            finished[_evaluation_key(record)] = record.name
    names = {record.name for record in candidate.result.evaluations}
    for key, name in finished.items():
        for run in (base, candidate):
            records = [record for record in run.result.evaluations if _evaluation_key(record) == key]
            failed = [record for record in records if record.status != "ok"]
            if len(records) - len(failed) > 1:
                yield Refusal(name, f"{run.label} has it {len(records)} times")
            elif failed:
                yield Refusal(name, f"it is {failed[0].status} in {run.label}: {failed[0].reason}")
        if name not in names:
            yield Refusal(name, f"{candidate.label} has not measured it", is_part=True)


def lost_metrics(candidate: Run, pair: EvaluationPair) -> Iterator[Refusal]:
    """Yield the metrics and the slices that the base has, and the candidate has not."""
    for name, reason in _missing_values(pair.base.metrics, pair.candidate.metrics):
        yield Refusal(f"{pair.name}/{name}", f"it has no value in {candidate.label} ({reason})", is_part=True)
    for grouping in pair.base.slices:
        if grouping not in pair.candidate.slices:
            yield Refusal(f"{pair.name}{slice_suffix(grouping)}", f"{candidate.label} has no such slices", is_part=True)


def _evaluation_key(evaluation: EvaluationRecord) -> tuple[str, object]:
    return evaluation.name, as_json(evaluation.params)


def alignment_notes(base: Run, candidate: Run, pairs: Sequence[EvaluationPair]) -> Iterator[str]:
    """Yield a note for each evaluation or metric of only one run, and for each condition that differs."""
    paired = {id(record) for pair in pairs for record in pair}
    for run, other, side in ((base, candidate, "base"), (candidate, base, "candidate")):
        names = {record.name for record in finished_evaluations(other.result)}
        for record in run.result.evaluations:
            if record.status != "ok":
                yield f"{record.name} is {record.status} in the {side}: {record.reason}"
            elif record.name not in names:
                if run is candidate:
                    yield f"{record.name} is not compared: only the candidate has it finished"
            elif id(record) not in paired:
                yield (
                    f"{record.name} with the parameters {as_json(record.params)} is not compared: it is another of the"
                    f" {side}"
                )
    for pair in pairs:
        same = match(*pair)
        if same.is_same:
            yield from (f"{pair.name}: {note}" for note in same.notes)
            for name, reason in _missing_values(pair.candidate.metrics, pair.base.metrics):
                yield f"{pair.name}/{name} is not compared: it has no value in the base ({reason})"
    yield from _other_conditions(base, candidate)


def _samples_by_id(run: Run, evaluation: EvaluationRecord, grouping: str | None) -> "pandas.DataFrame":
    table = run.samples(evaluation) if grouping is None else run.slice_samples(evaluation, grouping)
    if "sample_id" not in table:
        raise ClipbenchError(
            f"the samples of {evaluation.name} in {run.label} have no sample_id to pair them by: make the run again"
        )
    texts = [name for name in ("sample_id", "cluster") if name in table and table[name].dtype.kind == "O"]
    return table.assign(**{name: table[name].map(str) for name in texts}).set_index("sample_id").sort_index()


def _missing_values(metrics: Metrics, other_metrics: Metrics) -> Iterator[tuple[str, str | None]]:
    """Yield the names of metrics with a value that the others have none of, and why."""
    for name, metric in metrics.items():
        other = other_metrics.get(name)
        if metric.value is not None and (other is None or other.value is None):
            yield name, "it is not there" if other is None else other.reason


def _other_conditions(base: Run, candidate: Run) -> Iterator[str]:
    one, other = base.result, candidate.result
    if one.model.get("fingerprint") and one.model.get("fingerprint") == other.model.get("fingerprint"):
        yield "both runs are of the same model, by its fingerprint"
    conditions = {
        "precision": (one.environment.get("precision"), other.environment.get("precision")),
        SIMILARITY: (one.model.get("similarity"), other.model.get("similarity")),
        "clipbench version": (one.clipbench_version, other.clipbench_version),
    }
    for name, (before, after) in conditions.items():
        if before != after:
            yield f"{name} {before or 'not recorded'} in the base, {after or 'not recorded'} in the candidate"
