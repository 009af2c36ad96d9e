"""The loop of ``clipbench watch``: finds new checkpoints, measures them, and reports."""

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipbench.cli.main import DONE, INCOMPLETE
from clipbench.cli.options import session_options
from clipbench.cli.output import echo, echo_json, print_error
from clipbench.cli.summary import Printer, results_alone
from clipbench.cli.telling import line
from clipbench.errors import ClipbenchError, UsageError
from clipbench.evaluation.session import Session
from clipbench.evaluation.targets import RESULT, Target, Targets, check_folder, slug
from clipbench.models.checkpoints import (
    CHECKPOINT_FORMS,
    CONFIG,
    Signature,
    TrainingCheckpoint,
    training_checkpoints,
)
from clipbench.results.run import Run
from clipbench.untrusted.reading import is_file, is_folder


class Watcher:
    """Measures each checkpoint of a folder once it is whole.

    Args:
        given: the options of an evaluation.
        interval: seconds between two looks; a checkpoint that has not changed for so long is whole.
        idle: seconds without a new checkpoint after which to end; None for never.

    Raises:
        UsageError: the folder is not there or is a checkpoint itself, or what is to be measured is wrong.
    """

    def __init__(self, folder: Path, given: dict[str, Any], *, interval: float, idle: float | None) -> None:
        _check(folder)
        self.folder = folder
        self.out: Path = given["out"] or Path("runs") / f"watch-{slug(str(folder))}"
        self.interval = interval
        self.idle = idle
        self.quiet, self.as_json = given["quiet"], given["as_json"]
        printer = Printer(quiet=self.quiet, as_json=self.as_json, several=True, is_series=True)
        targets = Targets(self.out, [], are_series=True, are_several=True)
        self.session = Session(session_options(given), targets, printer)
        self.runs: dict[Path, Run] = {}
        self._names: dict[Path, str] = {}
        self._tried: dict[Path, Signature] = {}
        self._seen: dict[Path, Signature] = {}
        self._unmeasured: set[Path] = set()

    def once(self) -> int:
        """Measure what is there; what is being written is looked at once more, and then left out."""
        if not training_checkpoints(self.folder):
            raise self._nothing()
        if self._look():
            time.sleep(self.interval)
            for checkpoint in self._look():
                print_error(f"{checkpoint.path} is still being written: left out")
                self._unmeasured.add(checkpoint.path)
        return self._status()

    def go(self) -> int:
        """Measure what is there and what comes, until nothing has come for long enough."""
        if not self.quiet:
            echo(f"watching {self.folder}, every {self.interval:g} s; results in {self.out}", err=True)
        last = time.monotonic()
        while True:
            n_tried = len(self._tried)
            is_growing = bool(self._look())
            if is_growing or len(self._tried) > n_tried:
                last = time.monotonic()
            if self.idle is not None and time.monotonic() - last >= self.idle:
                if not self._tried:
                    raise self._nothing()
                return self._status()
            time.sleep(self.interval)

    def _look(self) -> list[TrainingCheckpoint]:
        """Measure what is whole and was not tried as it is; return what is being written."""
        growing = []
        checkpoints = training_checkpoints(self.folder)
        names = [slug(each.name) for each in checkpoints]
        for each, name in zip(checkpoints, names, strict=True):
            is_distinct = names.count(name) == 1
            self._names[each.path] = each.name if is_distinct else str(each.path.relative_to(self.folder))
        for checkpoint in sorted(checkpoints, key=lambda checkpoint: not self._has_run(checkpoint)):
            try:
                signature = checkpoint.signature()
            except FileNotFoundError:  # taken away, or given its name, since it was listed
                continue
            if self._tried.get(checkpoint.path) == signature:
                continue
            if not self._stands_still(checkpoint, signature):
                growing.append(checkpoint)
                continue
            self._tried[checkpoint.path] = signature
            self._measure(checkpoint, signature)
        return growing

    def _stands_still(self, checkpoint: TrainingCheckpoint, signature: Signature) -> bool:
        before = self._seen.get(checkpoint.path)
        self._seen[checkpoint.path] = signature
        newest = max((changed for _, _, changed in signature), default=0) / 1e9
        return before == signature or 0 <= self.interval <= time.time() - newest

    def _measure(self, checkpoint: TrainingCheckpoint, signature: Signature) -> None:
        try:
            if not self._has_run(checkpoint):
                check_folder(self._folder(checkpoint))
            name = self._names[checkpoint.path]
            target = Target(checkpoint.reference, name, self._folder(checkpoint), may_be_finished=True)
            with results_alone(self.as_json):
                run = self.session.measure(target, check_read=lambda: _check_same(checkpoint, signature))
        except (ClipbenchError, OSError) as error:
            if not _is_same(checkpoint, signature):
                self._failed(checkpoint, "it was changed or taken away while it was read")
            elif not isinstance(error, ClipbenchError) or (
                isinstance(error, UsageError) and not self._has_run(checkpoint)
            ):
                raise  # an option is wrong, or the disk full: no checkpoint to come will mend it
            else:
                self._failed(checkpoint, str(error))
        else:
            self._made(checkpoint, target, run)

    def _made(self, checkpoint: TrainingCheckpoint, target: Target, run: Run) -> None:
        self.runs[checkpoint.path] = run
        self.session.try_report(run)
        with results_alone(self.as_json):
            self.session.try_log(target, run)
        self._unmeasured.discard(checkpoint.path)
        if not run.result.is_complete:
            self._unmeasured.add(checkpoint.path)
        if self.as_json:
            echo_json(asdict(run.result))
        elif not self.quiet:
            echo(line(run))
        self.session.try_report_all([self.runs[path] for path in sorted(self.runs, key=_place(self.folder))])

    def _failed(self, checkpoint: TrainingCheckpoint, why: str) -> None:
        self._unmeasured.add(checkpoint.path)
        print_error(f"{self._names[checkpoint.path]}: {why} (tried again when it changes)")

    def _folder(self, checkpoint: TrainingCheckpoint) -> Path:
        return self.out / slug(self._names[checkpoint.path])

    def _has_run(self, checkpoint: TrainingCheckpoint) -> bool:
        return is_file(self._folder(checkpoint) / RESULT)

    def _status(self) -> int:
        return INCOMPLETE if self._unmeasured or not self.session.is_complete else DONE

    def _nothing(self) -> UsageError:
        return UsageError(f"no checkpoint in {self.folder}: expected {CHECKPOINT_FORMS}")


def _place(folder: Path) -> Any:
    order = {checkpoint.path: place for place, checkpoint in enumerate(training_checkpoints(folder))}
    return lambda path: order.get(path, -1)  # one that the training has deleted since was an early one


def _is_same(checkpoint: TrainingCheckpoint, signature: Signature) -> bool:
    try:
        return checkpoint.signature() == signature
    except FileNotFoundError:
        return False


def _check_same(checkpoint: TrainingCheckpoint, signature: Signature) -> None:
    """Raise unless a checkpoint is as it was: one rewritten while it was read may be half of each."""
    if not _is_same(checkpoint, signature):
        raise ClipbenchError(f"{checkpoint.path} was changed while it was read")


def _check(folder: Path) -> None:
    if not is_folder(folder):
        raise UsageError(f"no such folder: {folder}; expected one that a training writes its checkpoints to")
    if is_file(folder / CONFIG) and not training_checkpoints(folder):
        raise UsageError(
            f"{folder} is a checkpoint itself: measure it with clipbench run --model {shlex.quote(str(folder))}"
        )
