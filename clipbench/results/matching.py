"""Which evaluations and samples of two runs belong together, and what must not be compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipbench.errors import ClipbenchError, NotComparable
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Pair:
    """The same task on the same data in two runs."""

    base: EvaluationRecord
    candidate: EvaluationRecord

    def incomparable(self) -> str | None:
        """Return what forbids a comparison, with both values, or None where nothing does."""
        before, after = self.base, self.candidate
        facts = {
            "task version": (before.task_version, after.task_version),
            "parameters": (dict(before.params), dict(after.params)),
            "data fingerprint": (before.dataset.fingerprint, after.dataset.fingerprint),
        }
        if before.dataset.fingerprint != after.dataset.fingerprint:
            facts["number of samples"] = (before.dataset.n_samples, after.dataset.n_samples)
        told = [f"{name} {one} in the one run, {two} in the other" for name, (one, two) in facts.items() if one != two]
        return "; ".join(told) or None


@dataclass(frozen=True)
class Tables:
    """The samples of two runs in one order; the sample's id is the index."""

    base: "pandas.DataFrame"
    candidate: "pandas.DataFrame"

    def incomparable(self) -> str | None:
        """Return why samples cannot be paired by id, or None where they can."""
        for table in (self.base, self.candidate):
            if not table.index.is_unique:
                twice = table.index[table.index.duplicated()][0]
                return f"samples cannot be paired, as '{twice}' is there twice"
        return None if self.base.index.equals(self.candidate.index) else "the runs hold other samples"


def refusal(evaluation: str, reason: str) -> str:
    """Return the line that says why an evaluation is not compared."""
    return f"{evaluation} is not comparable: {reason}"


def common_pairs(base: Run, candidate: Run) -> list[Pair]:
    """Return the finished evaluations of the same task and data, in the order of the base.

    Where the candidate has made one several times, it is the one with the base's parameters.

    Raises:
        NotComparable: there is none.
    """
    finished = [each for each in candidate.result.evaluations if each.status == "ok"]
    pairs = [
        Pair(before, after)
        for before in base.result.evaluations
        if before.status == "ok" and (after := _partner(before, finished)) is not None
    ]
    if not pairs:
        raise NotComparable(f"{base.folder} and {candidate.folder} have no finished evaluation in common")
    return pairs


def read_tables(base: Run, candidate: Run, pair: Pair) -> Tables:
    """Return the samples of an evaluation in both runs.

    Raises:
        ClipbenchError: a table is missing or damaged.
    """
    return Tables(_samples(base, pair.base), _samples(candidate, pair.candidate))


def other_facts(base: Run, candidate: Run, pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield a line for all that is not compared, and for what else differs between two runs."""
    for before, after, side in ((base, candidate, "base"), (candidate, base, "candidate")):
        partners = {each.name: each for each in after.result.evaluations if each.status == "ok"}
        for each in before.result.evaluations:
            if each.status == "ok" and each.name not in partners:
                yield f"{each.name} is not compared: only the {side} has it finished"
            elif each.status != "ok":
                yield f"{each.name} is {each.status} in the {side}: {each.reason}"
    for pair in pairs:
        if not pair.incomparable():
            yield from _other_metrics(pair)
    yield from _other_conditions(base, candidate)


def _partner(before: EvaluationRecord, finished: Sequence[EvaluationRecord]) -> EvaluationRecord | None:
    named = [each for each in finished if each.name == before.name]
    return next((each for each in named if each.params == before.params), named[0] if named else None)


def _samples(run: Run, evaluation: EvaluationRecord) -> "pandas.DataFrame":
    table = run.samples(evaluation)
    if "sample_id" not in table:
        raise ClipbenchError(
            f"the samples of {evaluation.name} in {run.folder} have no sample_id to pair them by: make the run again"
        )
    return table.set_index("sample_id").sort_index()


def _other_metrics(pair: Pair) -> Iterator[str]:
    """Yield a line for each metric that has no value to compare in one of the two."""
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
    pairs = {
        "precision": (one.environment.get("precision"), other.environment.get("precision")),
        "clipbench version": (one.clipbench_version, other.clipbench_version),
    }
    for name, (before, after) in pairs.items():
        if before != after:
            yield f"{name} {before} in the base, {after} in the candidate"
