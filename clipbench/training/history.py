"""The history of a training: scalars by step, from its log, a ``Monitor``'s log, or runs of its checkpoints.

Imports no torch, since figures are drawn from it where torch may not be installed.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipbench.errors import ClipbenchError, UsageError
from clipbench.files import is_inside
from clipbench.results.matching import match
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, read_run
from clipbench.results.run_names import run_folder
from clipbench.training.log import LOG_FILE
from clipbench.untrusted.reading import decode_json, is_file, is_there, matching, read_text, shown, why_not_there
from clipbench.untrusted.schema import MOST

Values = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class History:
    """Scalars by training step."""

    label: str
    """Name of the training: the name of its folder."""
    steps: list[float]
    """Steps in ascending order, each once."""
    values: dict[str, list[float | None]]
    """One number per step, by name (of runs, a ``MetricName``), None where it was not measured or is undefined."""
    notes: tuple[str, ...] = ()
    """Facts about the data that differ between the runs though their samples are the same."""


def read_history(path: str | os.PathLike[str], *further_runs: str | os.PathLike[str]) -> History:
    """Return the history of one training.

    A log gives the scalars of its ``evaluation`` events: ``gap``, ``image_retrieval_recall@1``, ... Where steps go back
    to an earlier one, the training was interrupted and resumed from there, and the events after it are replaced. Runs
    give each metric as ``task@data/name``.

    Args:
        path: a folder of ``clipbench train``, its log file or a ``Monitor``'s, a run folder, or a folder of run folders
            as ``clipbench run --watch`` writes it.
        further_runs: further run folders of the same training. None of them by default.

    Returns:
        The history: ``steps``, and ``values`` with a list per metric.

    Raises:
        ClipbenchError: a log or a run is damaged, or there is nothing to read.
        UsageError: runs of unknown steps, or runs that do not belong into one curve.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = Path(folder, "monitor.jsonl")
        ...     _ = log.write_text('{"event": "evaluation", "step": 100, "gap": 0.8}\\n')
        ...     read_history(log).values
        {'gap': [0.8]}

    See Also:
        Monitor: writes such a log during your training.
    """
    first, *further_paths = (run_folder(Path(run_path)) for run_path in (path, *further_runs))
    if not is_there(first):
        raise UsageError(f"no such file or folder: {first}{why_not_there(first)}")
    if not further_paths:
        if is_file(first) and first.name != "result.json":
            return _history_of_log(first)
        if is_file(first / LOG_FILE):
            if not is_inside(first / LOG_FILE, first):
                raise ClipbenchError(f"{first / LOG_FILE} is a link that leads out of its folder: give the log itself")
            return _history_of_log(first / LOG_FILE)
    return history_of_runs([read_run(folder) for root in (first, *further_paths) for folder in _run_folders(root)])


def history_of_runs(runs: Sequence[Run]) -> History:
    """Return the history of a training from finished runs of its checkpoints. If several runs have equal weights, the
    latest counts.

    Raises:
        UsageError: a run has no known step, two have the same step but different weights, or a task has different data
            or parameters in two runs.
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
    notes = _match_runs(list(by_step.values()))
    points: list[tuple[float, Values]] = []
    for step in sorted(by_step):
        metrics = by_step[step].named_metrics
        points.append((step, {name: metric.value for name, metric in metrics.items() if not name.slice}))
    # The folder that holds the checkpoints or, if they have several, that holds their runs.
    parents = {Path(str(run.result.model.get("ref", "")).rpartition(":")[2]).parent for run in runs}
    names = {(parent.parent if parent.name == "checkpoints" else parent).name for parent in parents}
    label = (names.pop() if len(names) == 1 else "") or runs[0].folder.resolve().parent.name
    return replace(_history(label, points), notes=notes)


def _history_of_log(path: Path) -> History:
    events: list[tuple[float, Values]] = []
    for step, values in _evaluations(path):
        while events and events[-1][0] >= step:  # resumed: these steps are measured again
            events.pop()
        events.append((step, values))
    if not events:
        raise ClipbenchError(
            f"{path} has no evaluation event: expected the log of clipbench train or of a"
            " clipbench.training.monitor.Monitor"
        )
    label = path.parent.resolve().name if path.name == LOG_FILE else path.stem
    return _history(label, events)


def _evaluations(path: Path) -> Iterable[tuple[float, Values]]:
    lines = read_text(path, ClipbenchError, name=f"the log {path}").split("\n")
    for number, line in enumerate(lines[:-1], 1):  # the last line is incomplete if its writer was killed
        try:
            content = decode_json(line)
            if content["event"] == "evaluation":
                scalars = {name: value for name, value in content.items() if name not in ("event", "step")}
                values = {name: None if value is None else _number(value) for name, value in scalars.items()}
                yield _number(content["step"]), values
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClipbenchError(
                f"line {number} of {path} is damaged ({type(error).__name__}: {error}): expected a JSON"
                " object with event and step. Remove the line to read the others"
            ) from error


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) < MOST:  # false for NaN too
        raise TypeError(f"{shown(value)} is not a finite number")
    return float(value)


def _run_folders(path: Path) -> list[Path]:
    if is_file(path) or is_file(path / "result.json"):
        return [path]
    folders = [file.parent for file in matching(path, "*/result.json") if is_inside(file, path)]
    if not folders:
        raise ClipbenchError(
            f"{path} holds neither {LOG_FILE} nor finished runs: expected a training folder or run folders"
        )
    return folders


def _step_of(run: Run) -> float:
    step = run.result.model.get("step")
    if step is None:
        raise UsageError(
            f"{run.folder} has no training step: expected runs of checkpoints called step-N, checkpoint-N or epoch_N"
        )
    try:
        return _number(step)
    except TypeError as error:
        raise ClipbenchError(f"run {run.folder}: the model's step {error}: make the run again") from error


def _match_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return notes on the match of the runs' evaluations, or raise UsageError if one differs between runs."""
    notes: dict[str, None] = {}
    first_records: dict[str, tuple[Run, EvaluationRecord]] = {}
    for run in runs:
        for record in run.result.evaluations:
            if record.status != "ok":
                continue
            other, before = first_records.setdefault(record.name, (run, record))
            same = match(before, record)
            if not same.is_same:
                raise UsageError(
                    f"{record.name} differs between {other.folder} and {run.folder} ({same.names}): its values cannot"
                    " be in one curve"
                )
            notes |= dict.fromkeys(f"{record.name}: {note}" for note in same.notes)
    return tuple(notes)


def _history(label: str, points: Sequence[tuple[float, Values]]) -> History:
    names: dict[str, None] = {}
    for _, values in points:
        names |= dict.fromkeys(values)
    values_by_name = {}
    for name in names:
        values_by_name[name] = [values.get(name) for _, values in points]
    return History(label=label, steps=[step for step, _ in points], values=values_by_name)
