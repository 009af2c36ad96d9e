"""Several label sets of the same images: what is recorded as ``kind/acc1`` is the ``acc1`` of the set ``kind``.

Only of a task that is scored once for each label set: in others a name before a slash means something else.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from clipbench.results.record import EvaluationRecord

Value = TypeVar("Value")

PLAIN = ""
"""Stands for the one set of data that has no others."""


def label_sets(evaluation: EvaluationRecord) -> list[str]:
    """Return the label sets that an evaluation has results of, in their order; only ``PLAIN`` where it has no others.

    Example:
        >>> from clipbench.results.record import DatasetRecord, Metric
        >>> record = {"task": "zero-shot", "task_version": 1, "params": {}, "status": "ok"}
        >>> metrics = dict.fromkeys(["kind/acc1", "colour/acc1", "colour/ece"], Metric(value=0.5))
        >>> label_sets(EvaluationRecord(**record, dataset=DatasetRecord(id="here"), metrics=metrics))
        ['kind', 'colour']
    """
    named = _named(evaluation)
    everything = (*evaluation.metrics, *evaluation.curves)
    is_plain = not named or any(_set_of(name) not in named for name in everything)
    return [PLAIN, *named] if is_plain else named


def within(evaluation: EvaluationRecord, label_set: str) -> EvaluationRecord:
    """Return an evaluation with only the metrics, curves, controls and notes of a label set, named as if it were alone.

    What belongs to no named set belongs to ``PLAIN``.
    """
    named = _named(evaluation)
    if not named:
        return evaluation
    if label_set == PLAIN:
        return replace(
            evaluation,
            metrics=_outside(named, evaluation.metrics),
            curves=_outside(named, evaluation.curves),
            controls=_outside(named, evaluation.controls),
            notes=shared_notes(evaluation),
        )
    prefix = f"{label_set}/"
    return replace(
        evaluation,
        metrics=stripped(evaluation.metrics, prefix),
        curves=stripped(evaluation.curves, prefix),
        controls=stripped(evaluation.controls, prefix),
        notes=[note.removeprefix(f"{label_set}: ") for note in evaluation.notes if note.startswith(f"{label_set}: ")],
    )


def shared_notes(evaluation: EvaluationRecord) -> list[str]:
    """Return the notes that belong to no single label set."""
    starts = tuple(f"{name}: " for name in _named(evaluation))
    return [note for note in evaluation.notes if not note.startswith(starts)] if starts else list(evaluation.notes)


def stripped(parts: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return what has a prefix, named without it."""
    return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}


def _named(evaluation: EvaluationRecord) -> list[str]:
    return [name for name in dict.fromkeys(_set_of(metric) for metric in evaluation.metrics) if name != PLAIN]


def _outside(named: list[str], parts: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in parts.items() if _set_of(name) not in named}


def _set_of(name: str) -> str:
    return name.rpartition("/")[0]
