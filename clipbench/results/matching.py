"""The one rule of sameness: what makes several records the same evaluation, and what is worth a note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clipbench.results.record import DatasetRecord, EvaluationRecord, as_json

EQUAL_SAMPLES = "the samples are equal"
OTHER_ORDER = "the same samples in another order: they are paired by id, and random draws that follow the order differ"
BY_POSITION = "samples are paired by position: the data have no ids"
ON_TRUST = "a data fingerprint is missing: that the samples are equal is taken on trust"


class DifferingFact(NamedTuple):
    """Something that is not the same in all records."""

    name: str
    """Such as ``task version`` or ``parameters``."""
    values: tuple[str, ...]
    """Distinct values, in the order in which the records have them."""

    def __str__(self) -> str:
        if len(self.values) == 2:
            return f"{self.name} {self.values[0]} in the one run, {self.values[1]} in the other"
        return f"{self.name} {', '.join(self.values)} in different runs"


@dataclass(frozen=True)
class Match:
    """The differences between records of evaluations, and what is worth a note."""

    differences: tuple[DifferingFact, ...] = ()
    """Facts that forbid holding their numbers against each other; empty when the evaluations are the same."""
    notes: tuple[str, ...] = ()
    """Facts that differ while the samples are the same, and how the samples are paired."""

    @property
    def is_same(self) -> bool:
        """True when the numbers may be held against each other."""
        return not self.differences

    @property
    def reason(self) -> str:
        """All differences with their values, in one line."""
        return "; ".join(map(str, self.differences))

    @property
    def names(self) -> str:
        """The names of the differences, in one line."""
        return ", ".join(each.name for each in self.differences)


def match(*records: EvaluationRecord) -> Match:
    """Return whether records are of the same evaluation: the same task, version, parameters and samples.

    Parameters are compared as JSON, so that one just made equals one that was read. Equal fingerprints are equal
    samples, and so are equal fingerprints whatever the order, where samples have ids: a revision, split or count that
    differs alone is a note. Where a record has no fingerprint, as old runs and data that were never read have none,
    whatever else is known of its data must agree.

    Example:
        >>> data = DatasetRecord(id="birds", revision="a", n_samples=2, fingerprint="f")
        >>> one = EvaluationRecord(task="retrieval", task_version=1, params={"ks": [1]}, dataset=data, status="ok")
        >>> other = EvaluationRecord(task="retrieval", task_version=2, params={"ks": (1,)}, dataset=data, status="ok")
        >>> match(one, other).reason
        'task version 1 in the one run, 2 in the other'
    """
    data = [each.dataset for each in records]
    differences = _facts(
        {
            "task": [each.task for each in records],
            "task version": [str(each.task_version) for each in records],
            "parameters": [as_json(each.params) for each in records],
        }
    )
    described = _facts(
        {
            "data revision": [each.revision for each in data],
            "data split": [each.split for each in data],
            "number of samples": [str(each.n_samples or "") for each in data],
        }
    )
    read = [each for each in data if each.fingerprint is not None]
    notes = []
    if not _are_same_samples(read):
        differences += _facts({"data fingerprint": [each.fingerprint for each in read]}) + described
    elif len(read) == len(data):
        notes += [f"{fact}; {EQUAL_SAMPLES}" for fact in described]
        notes += [OTHER_ORDER] if len({each.fingerprint for each in data}) > 1 else []
    else:
        differences += described
        notes += [] if described else [ON_TRUST]
    if any(each.has_ids is False for each in data):
        notes.append(BY_POSITION)
    return Match(tuple(differences), tuple(notes))


def _are_same_samples(read: Sequence[DatasetRecord]) -> bool:
    """Return whether data of known fingerprints hold the same samples, in whatever order."""
    if len({each.fingerprint for each in read}) <= 1:
        return True
    unordered = {each.unordered_fingerprint for each in read}
    return len(unordered) == 1 and None not in unordered


def _facts(values: Mapping[str, Sequence[str | None]]) -> list[DifferingFact]:
    """Return the facts that have several values; None and an empty text are unknown and contradict nothing."""
    distinct = {name: tuple(dict.fromkeys(each for each in those if each)) for name, those in values.items()}
    return [DifferingFact(name, those) for name, those in distinct.items() if len(those) > 1]
