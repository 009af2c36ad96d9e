"""Evaluations and samples of two runs brought side by side, and a line for all that has no partner."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.matching import match
from clipbench.results.record import EvaluationRecord, as_json
from clipbench.results.run import Run

if TYPE_CHECKING:
    import pandas


class EvaluationPair(NamedTuple):
    """The same task on the same data in two runs."""

    base: EvaluationRecord
    candidate: EvaluationRecord

    def subset_title(self, metric: str) -> str:
        """Return the recorded title of the subset that a metric's name begins with; empty where there is none."""
        subset = metric.rpartition("/")[0]
        return self.candidate.subsets.get(subset) or self.base.subsets.get(subset, "")


class Tables(NamedTuple):
    """The samples of two runs in one order; the sample's id is the index."""

    base: "pandas.DataFrame"
    candidate: "pandas.DataFrame"


def pair_evaluations(base: Run, candidate: Run) -> list[EvaluationPair]:
    """Return the finished evaluations of the same task and data, in the order of the base.

    Where the candidate has several, its partner is the one with the base's parameters, else the first.

    Raises:
        NotComparable: there is none.
    """
    pairs = []
    for before in _finished(base):
        named = [each for each in _finished(candidate) if each.name == before.name]
        alike = [each for each in named if as_json(each.params) == as_json(before.params)]
        pairs += [EvaluationPair(before, after) for after in (alike or named)[:1]]
    if not pairs:
        raise NotComparable(f"{base.label} and {candidate.label} have no finished evaluation in common")
    return pairs


def align_samples(
    base: Run,
    candidate: Run,
    pair: EvaluationPair,
    read: "Callable[[Run, EvaluationRecord], pandas.DataFrame]" = lambda run, evaluation: run.samples(evaluation),
) -> Tables:
    """Return the samples of an evaluation in both runs, paired by id.

    Args:
        read: returns the samples of a run.

    Raises:
        NotComparable: an id appears twice, or the runs have different ids.
        ClipbenchError: a table is missing or damaged.
    """
    sides = ((base, pair.base), (candidate, pair.candidate))
    tables = Tables(*(_by_id(read(run, evaluation), run, evaluation) for run, evaluation in sides))
    for (run, evaluation), table in zip(sides, tables, strict=True):
        _hold_against_samples(run, evaluation, table)
    for table in tables:
        if not table.index.is_unique:
            twice = table.index[table.index.duplicated()][0]
            raise NotComparable(f"samples cannot be paired: '{twice}' appears twice")
    if not tables.base.index.equals(tables.candidate.index):
        raise NotComparable("the runs have different samples")
    return tables


def _hold_against_samples(run: Run, evaluation: EvaluationRecord, table: "pandas.DataFrame") -> None:
    """Raise NotComparable where values are not those of their samples: one of the two is damaged, or changed by hand."""
    for name, metric in evaluation.metrics.items():
        column = metric.column or metric.influence
        if metric.value is None or metric.statistic is not None or column is None:
            continue
        try:
            numbers = table[column].to_numpy(np.float64, na_value=np.nan) if column in table else np.array([])
        except (TypeError, ValueError):
            continue  # which the test of the difference says
        known = numbers[np.isfinite(numbers)]
        said = f"{run.label}: {name} is {metric.value:g}"
        if not len(known):
            raise NotComparable(f"{said}, and no sample has a value in the column '{column}': make the run again")
        mean = float(known.mean())
        if metric.column is not None and abs(mean - metric.value) > 1e-6 * max(1.0, abs(metric.value)):
            raise NotComparable(f"{said}, and {mean:g} by its samples: one of them is damaged, make the run again")


def lost_evaluations(base: Run, candidate: Run) -> Iterator[tuple[str, str]]:
    """Yield the evaluations that the base has finished and that must not be compared, with the reason.

    The candidate failed at them, or one of the runs has them twice, so that nobody knows which counts.
    """
    for before in _finished(base):
        for run in (base, candidate):
            own = [each for each in run.result.evaluations if _key(each) == _key(before)]
            failed = [each for each in own if each.status != "ok"]
            if len(own) - len(failed) > 1:
                yield before.name, f"{run.label} has it {len(own)} times"
            elif failed:
                yield before.name, f"it is {failed[0].status} in {run.label}: {failed[0].reason}"


def _key(evaluation: EvaluationRecord) -> tuple[str, object]:
    return evaluation.name, as_json(evaluation.params)


def notes_on(base: Run, candidate: Run, pairs: Sequence[EvaluationPair]) -> Iterator[str]:
    """Yield a line for all that is not compared, and for what else differs between two runs."""
    paired = {id(record) for pair in pairs for record in pair}
    for before, after, side in ((base, candidate, "base"), (candidate, base, "candidate")):
        partners = {each.name for each in _finished(after)}
        for each in before.result.evaluations:
            if each.status != "ok":
                yield f"{each.name} is {each.status} in the {side}: {each.reason}"
            elif each.name not in partners:
                yield f"{each.name} is not compared: only the {side} has it finished"
            elif id(each) not in paired:
                yield f"{each.name} with the parameters {as_json(each.params)} is not compared: it is another of the {side}"
    for pair in pairs:
        same = match(*pair)
        if same.is_same:
            yield from (f"{pair.base.name}: {note}" for note in same.notes)
            yield from _metrics_without_partner(pair)
    yield from _other_conditions(base, candidate)


def _finished(run: Run) -> list[EvaluationRecord]:
    return [each for each in run.result.evaluations if each.status == "ok"]


def _by_id(table: "pandas.DataFrame", run: Run, evaluation: EvaluationRecord) -> "pandas.DataFrame":
    if "sample_id" not in table:
        raise ClipbenchError(
            f"the samples of {evaluation.name} in {run.label} have no sample_id to pair them by: make the run again"
        )
    texts = [name for name in ("sample_id", "cluster") if name in table and table[name].dtype.kind == "O"]
    return table.assign(**{name: table[name].map(str) for name in texts}).set_index("sample_id").sort_index()


def _metrics_without_partner(pair: EvaluationPair) -> Iterator[str]:
    """Yield a line for each metric that has a value in one of the two only."""
    sides = ((pair.base, pair.candidate, "candidate"), (pair.candidate, pair.base, "base"))
    for one, other, side in sides:
        for name, metric in one.metrics.items():
            partner = other.metrics.get(name)
            if metric.value is not None and (partner is None or partner.value is None):
                why = "it is not there" if partner is None else partner.reason
                yield f"{one.name}/{name} is not compared: it has no value in the {side} ({why})"


def _other_conditions(base: Run, candidate: Run) -> Iterator[str]:
    one, other = base.result, candidate.result
    if one.model.get("fingerprint") and one.model.get("fingerprint") == other.model.get("fingerprint"):
        yield "both runs are of the same model, by its fingerprint"
    conditions = {
        "precision": (one.environment.get("precision"), other.environment.get("precision")),
        "clipbench version": (one.clipbench_version, other.clipbench_version),
    }
    for name, (before, after) in conditions.items():
        if before != after:
            yield f"{name} {before or 'not recorded'} in the base, {after or 'not recorded'} in the candidate"
