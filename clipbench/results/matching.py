"""The rules of sameness: which records are of the same evaluation, and which runs are of one training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipbench.errors import ClipbenchError
from clipbench.results.record import EvaluationRecord, as_json
from clipbench.results.run import Run

EQUAL_SAMPLES = "the samples are equal"
OTHER_ORDER = "the same samples in another order: they are paired by id, and random draws that follow the order differ"
BY_POSITION = "samples are paired by position: the data has no ids"
ON_TRUST = "a data fingerprint is missing: the samples are assumed to be equal"


@dataclass(frozen=True)
class Match:
    """The differences between records of evaluations, and what is worth a note."""

    differences: Mapping[str, Sequence[str]]
    """Facts that forbid a comparison, such as ``task version``, with their distinct values in the order of the records,
    empty if the evaluations are the same.
    """
    notes: Sequence[str]
    """Facts that differ while the samples are the same, and how the samples are paired."""

    @property
    def is_same(self) -> bool:
        """True when the numbers may be held against each other."""
        return not self.differences

    @property
    def reason(self) -> str:
        """All differences with their values, in one line."""
        return "; ".join(_difference_text(name, values) for name, values in self.differences.items())

    @property
    def names(self) -> str:
        """The names of the differences, in one line."""
        return ", ".join(self.differences)


def match(*records: EvaluationRecord) -> Match:
    """Return whether records are of the same evaluation: the same task, version, parameters and samples.

    Parameters are compared as JSON, so that one just made equals one that was read. Each that differs is a fact of its
    own, by its name. Equal fingerprints mean equal
    samples. If samples have ids, so do equal fingerprints of the samples in any order. When the samples are equal, a
    different revision, split or count is only a note. If a record has no fingerprint, because its data was never read,
    whatever else is known of its data must agree.

    Example:
        >>> from clipbench.results.record import DatasetRecord
        >>> data = DatasetRecord(id="birds", revision="a", n_samples=2, fingerprint="f")
        >>> one = EvaluationRecord(task="retrieval", task_version=1, params={"ks": [1]}, dataset=data, status="ok")
        >>> other = EvaluationRecord(task="retrieval", task_version=2, params={"ks": (1,)}, dataset=data, status="ok")
        >>> match(one, other).reason
        'task version 1 in the one run, 2 in the other'
    """
    datasets = [record.dataset for record in records]
    differences = _differing_facts(
        {
            "task": [record.task for record in records],
            "task version": [str(record.task_version) for record in records],
        }
    )
    if "task" not in differences:
        differences |= _differing_parameters([record.params for record in records])
    described = _differing_facts(
        {
            "data revision": [dataset.revision for dataset in datasets],
            "data split": [dataset.split for dataset in datasets],
            "number of samples": [str(dataset.n_samples or "") for dataset in datasets],
        }
    )
    read = [dataset for dataset in datasets if dataset.fingerprint is not None]
    ordered = {dataset.fingerprint for dataset in read}
    unordered = {dataset.unordered_fingerprint for dataset in read}
    are_equal_but_for_order = len(unordered) == 1 and None not in unordered
    are_same = len(ordered) <= 1 or are_equal_but_for_order
    notes = []
    if not are_same:
        differences |= described or {"contents of the data": []}
    elif len(read) == len(datasets):
        notes += [f"{_difference_text(*fact)}; {EQUAL_SAMPLES}" for fact in described.items()]
        if len(ordered) > 1:
            notes.append(OTHER_ORDER)
    elif described:
        differences |= described
    else:
        notes.append(ON_TRUST)
    if any(dataset.has_ids is False for dataset in datasets):
        notes.append(BY_POSITION)
    return Match(differences, notes)


def check_same(records: Sequence[tuple[str, EvaluationRecord]], consequence: str) -> None:
    """Raise ClipbenchError, with the consequence, unless all named records are of the same evaluation."""
    for name, record in records[1:]:
        same = match(records[0][1], record)
        if not same.is_same:
            raise ClipbenchError(
                f"{record.name} differs between {records[0][0]} and {name} ({same.names}): {consequence}"
            )


def _differing_facts(values: Mapping[str, Sequence[str | None]]) -> dict[str, list[str]]:
    """Return the facts that have several values. None and an empty text are unknown and contradict nothing."""
    differing = {}
    for name, facts in values.items():
        distinct = list(dict.fromkeys(value for value in facts if value))
        if len(distinct) > 1:
            differing[name] = distinct
    return differing


def _differing_parameters(params: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """Return the parameters that have several values, by name.

    Of parameters with parts, such as prompts, a value has the parts that differ. Fingerprints are only among them if
    nothing else differs.

    Example:
        >>> first, other = ({"n_prompts": n, "fingerprint": str(n)} for n in (1, 7))
        >>> _differing_parameters([{"prompts": first, "ks": [1]}, {"prompts": other, "ks": [1]}])
        {'prompts': ['number of prompts 1', 'number of prompts 7']}
        >>> _differing_parameters([{"queries": 20}, {}])
        {'queries': ['20', 'not given']}
    """
    differences: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for record_params in params for name in record_params):
        values = [record_params.get(name) for record_params in params]
        if len(set(map(as_json, values))) > 1 or len({name in record_params for record_params in params}) > 1:
            differences[name] = _distinct_values(values)
    return differences


def _distinct_values(values: Sequence[object]) -> list[str]:
    """Return the values in words, each once, or the parts of them that differ."""
    mappings = [value for value in values if isinstance(value, Mapping)]
    all_parts: dict[str, None] = {}
    for mapping in mappings:
        all_parts |= dict.fromkeys(mapping)
    parts = []
    for part in all_parts:
        differs = len({as_json(mapping.get(part)) for mapping in mappings}) > 1
        if differs or len(mappings) == 1:
            parts.append(part)
    shown_parts = [part for part in parts if part != "fingerprint"] or parts
    words = []
    for value in values:
        if isinstance(value, Mapping):
            words.append(", ".join(f"{_part_name(part)} {_value_text(value.get(part))}" for part in shown_parts))
        else:
            words.append(_value_text(value))
    return list(dict.fromkeys(words))


def _part_name(part: str) -> str:
    return f"number of {part.removeprefix('n_')}" if part.startswith("n_") else part


def _value_text(value: object) -> str:
    if value is None:
        return "not given"
    return f"'{value}'" if isinstance(value, str) else as_json(value)


def _difference_text(name: str, values: Sequence[str]) -> str:
    if not values:
        return f"{name} differ"
    if len(values) == 2:
        return f"{name} {values[0]} in the one run, {values[1]} in the other"
    separator = " / " if any(", " in value for value in values) else ", "
    return f"{name} {separator.join(values)} in different runs"


_SIZES = ("family", "embed_dim", "n_parameters")
_STEP = re.compile(r"((?:step|checkpoint|ckpt|iter|iteration|epoch)s?[-_=]?)\d+", re.IGNORECASE)


def trainings(runs: Sequence[Run]) -> list[str | None]:
    """Return, for each run, the training that its model is a checkpoint of, None for a model whose step is not known.

    Models are of one training if their names differ only in the step, as ``logs/step-10.pt`` and ``logs/step-20.pt``
    do, if they are of one size, and if no two have different weights at the same step.
    """
    models = [run.result.model for run in runs]
    keys = [_training_key(model) for model in models]
    weights: dict[tuple[str | None, object], set[object]] = {}
    for key, model in zip(keys, models, strict=True):
        weights.setdefault((key, model.get("step")), set()).add(model.get("fingerprint"))
    mixed = {key for (key, _), fingerprints in weights.items() if len(fingerprints) > 1}
    return [None if key in mixed else key for key in keys]


def _training_key(model: Mapping[str, object]) -> str | None:
    """Return what checkpoints of a training have in common, None for a model whose step is not known."""
    if model.get("step") is None:
        return None
    name_without_step = _STEP.sub(r"\1#", str(model.get("ref")))
    return as_json([name_without_step, *(model.get(name) for name in _SIZES)])


def is_one_training(runs: Sequence[Run]) -> bool:
    """Return whether all runs, two or more, are of checkpoints of one training."""
    distinct = set(trainings(runs))
    return len(runs) > 1 and len(distinct) == 1 and None not in distinct
