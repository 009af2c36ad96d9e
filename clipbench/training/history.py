"""What happened to a model while it trained: from a training's log, a ``Monitor``'s, or runs of its checkpoints.

Imports no torch: a history is read where its figure is drawn.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.matching import match
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, read_run
from clipbench.training.log import FILE


@dataclass(frozen=True, kw_only=True)
class History:
    """Scalars by training step."""

    label: str
    """What the training is called by: its folder's name."""
    steps: list[float]
    """Ascending, each once."""
    values: dict[str, list[float | None]]
    """By name, one for each step; None where it was not measured or is undefined."""
    notes: tuple[str, ...] = ()
    """Facts about the data that differ between the runs though their samples are the same."""


def read_history(path: Path, *more: Path) -> History:
    """Return the history of one training.

    A log gives what its ``evaluation`` events say: ``gap``, ``image_retrieval_recall@1``, ... Where steps start again
    from an earlier one, the training had been broken off and resumed from there, and what came after that one before is
    dropped. Runs give each metric as ``task@data/name``.

    Args:
        path: a folder of ``clipbench train``, the log file of it or of a ``Monitor``, a run folder, or a folder of run
            folders, as a series of checkpoints and ``clipbench watch`` leave it.
        more: further run folders.

    Raises:
        ClipbenchError: a log or a run is damaged, or there is nothing to be read.
        UsageError: runs of no known step, or whose points cannot stand in one curve.
    """
    if not path.exists():
        raise UsageError(f"no such file or folder: {path}")
    if not more:
        if path.is_file() and path.name != "result.json":
            return _history_of_log(path)
        if (path / FILE).is_file():
            return _history_of_log(path / FILE)
    return history_of_runs([read_run(folder) for each in (path, *more) for folder in _run_folders(each)])


def history_of_runs(runs: Sequence[Run]) -> History:
    """Return the history that finished runs of a training's checkpoints tell, whatever their order.

    Of runs of the same weights the one made last counts.

    Raises:
        UsageError: a run is of no known step, two are of the same step and other weights, or a task was measured on
            other data or with other parameters in one than in another.
    """
    if not runs:
        raise UsageError("a history needs at least one run: got none")
    by_step: dict[float, Run] = {}
    for run in sorted(runs, key=lambda run: run.result.created):
        step = _step_of(run)
        before = by_step.get(step, run)
        if before.result.model.get("fingerprint") != run.result.model.get("fingerprint"):
            raise UsageError(
                f"{before.folder} and {run.folder} are both of step {step:g} and of different weights:"
                " expected runs of one training"
            )
        by_step[step] = run
    notes = _check_alike(list(by_step.values()))
    history = _history(_label(runs), [(step, _values(run)) for step, run in sorted(by_step.items())])
    return replace(history, notes=notes)


class _Event(NamedTuple):
    step: float
    values: dict[str, float | None]


def _history_of_log(path: Path) -> History:
    events: list[_Event] = []
    for event in _evaluations(path):
        while events and events[-1].step >= event.step:  # resumed: these steps came again, or will
            events.pop()
        events.append(event)
    if not events:
        raise ClipbenchError(
            f"{path} has no evaluation event: expected the log of clipbench train or of a clipbench.training.monitor.Monitor"
        )
    label = path.parent.resolve().name if path.name == FILE else path.stem
    return _history(label, events)


def _evaluations(path: Path) -> Iterable[_Event]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ClipbenchError(f"cannot read the log {path} ({error})") from error
    for number, line in enumerate(lines[:-1], 1):  # what stands behind the last line's end was cut off by a kill
        try:
            content = json.loads(line)
            if content["event"] == "evaluation":
                yield _Event(_number(content["step"]), _scalars(content))
        except (ValueError, KeyError, TypeError) as error:
            raise ClipbenchError(
                f"line {number} of {path} is damaged ({type(error).__name__}: {error}): expected a JSON object with"
                " event and step; take the line out to read the others"
            ) from error


def _scalars(content: dict[str, object]) -> dict[str, float | None]:
    found = {name: value for name, value in content.items() if name not in ("event", "step")}
    return {name: None if value is None else _number(value) for name, value in found.items()}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no finite number")
    return float(value)


def _run_folders(path: Path) -> list[Path]:
    if path.is_file() or (path / "result.json").is_file():
        return [path]
    found = sorted(file.parent for file in path.glob("*/result.json"))
    if not found:
        raise ClipbenchError(
            f"{path} holds neither {FILE} nor finished runs: expected a training folder or run folders"
        )
    return found


def _step_of(run: Run) -> float:
    step = run.result.model.get("step")
    if step is None:
        raise UsageError(
            f"{run.folder} is of no known training step: expected runs of checkpoints called step-N, checkpoint-N or"
            " epoch_N, made by this version of clipbench or a newer one"
        )
    try:
        return _number(step)
    except TypeError as error:
        raise ClipbenchError(f"run {run.folder}: the model's step {error}: make the run again") from error


def _check_alike(runs: Sequence[Run]) -> tuple[str, ...]:
    """Raise unless each evaluation is the same in every run that has it; return what is worth a note."""
    notes: dict[str, None] = {}
    seen: dict[str, tuple[Run, EvaluationRecord]] = {}
    for run in runs:
        for record in run.result.evaluations:
            if record.status != "ok":
                continue
            other, before = seen.setdefault(record.name, (run, record))
            same = match(before, record)
            if not same.is_same:
                raise UsageError(
                    f"{record.name} has other {same.names} in {run.folder} than in {other.folder}:"
                    " its numbers cannot stand in one curve"
                )
            notes |= dict.fromkeys(f"{record.name}: {note}" for note in same.notes)
    return tuple(notes)


def _values(run: Run) -> dict[str, float | None]:
    return {name: metric.value for name, metric in run.metrics.items()}


def _label(runs: Sequence[Run]) -> str:
    """Return the name of the folder that the checkpoints lie in; or of the one that their runs lie in."""
    parents = {_training_folder(Path(str(run.result.model.get("ref", "")).rpartition(":")[2])) for run in runs}
    label = parents.pop() if len(parents) == 1 else ""
    return label or runs[0].folder.resolve().parent.name


def _training_folder(checkpoint: Path) -> str:
    parent = checkpoint.parent
    return parent.parent.name if parent.name == "checkpoints" else parent.name


def _history(label: str, points: Sequence[tuple[float, dict[str, float | None]]]) -> History:
    names = dict.fromkeys(name for _, values in points for name in values)
    return History(
        label=label,
        steps=[step for step, _ in points],
        values={name: [values.get(name) for _, values in points] for name in names},
    )
