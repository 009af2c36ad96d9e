"""``clipbench run --watch``: measures the checkpoints of a training as they appear, and never before they are whole."""

import shlex
import time
from dataclasses import asdict
from pathlib import Path

from clipbench.cli.main import DONE, INCOMPLETE, INTERRUPTED
from clipbench.cli.output import echo, echo_json, print_error
from clipbench.cli.printer import Printer, reserve_stdout
from clipbench.cli.tables import series_line
from clipbench.errors import ClipbenchError, UsageError
from clipbench.evaluation.output_folders import RESULT, Target, Targets, check_folder, slug
from clipbench.evaluation.session import Session, SessionOptions
from clipbench.models.checkpoints import CHECKPOINT_FORMS, CONFIG, Signature, TrainingCheckpoint, training_checkpoints
from clipbench.results.run import Run
from clipbench.untrusted.reading import is_file, is_folder

INTERVAL = 60.0
"""Seconds between two looks."""


def watch(
    folder: Path, out: Path | None, options: SessionOptions, printer: Printer, *, interval: float, idle: float | None
) -> int:
    """Measure the checkpoints of a folder, and return the exit status.

    Args:
        folder: where a training writes its checkpoints.
        out: parent of the run folders.
        interval: seconds between two scans. A checkpoint that has not changed for so long is complete.
        idle: seconds without a new checkpoint after which to end, or None for never. At 0, only the present checkpoints
            are measured.

    Raises:
        UsageError: the folder is not there or is a checkpoint itself, or what is to be measured is wrong.
    """
    if not is_folder(folder):
        raise UsageError(f"no such folder: {folder}. Expected the folder that a training writes its checkpoints to")
    if is_file(folder / CONFIG) and not training_checkpoints(folder):
        raise UsageError(
            f"{folder} is a checkpoint itself: measure it with clipbench run --model {shlex.quote(str(folder))}"
        )
    targets = Targets(out or Path("runs") / f"watch-{slug(str(folder))}", [], are_series=True, are_several=True)
    watcher = Watcher(folder, Session(options, targets, printer), printer, interval)
    try:
        watcher.watch(idle)
    except KeyboardInterrupt:
        print_error(f"interrupted: finished runs are in {targets.out}, and the same command continues")
        return INTERRUPTED
    finally:
        watcher.session.end_log()
    is_done = not watcher.unmeasured and watcher.session.is_complete
    printer.still_missing(watcher.session.needs, is_excused=is_done)
    return DONE if is_done else INCOMPLETE


class Watcher:
    """A watched folder, with the checkpoints that were seen and measured in it."""

    def __init__(self, folder: Path, session: Session, printer: Printer, interval: float) -> None:
        self.folder = folder
        self.session = session
        self.printer = printer
        self.interval = interval
        self.runs: dict[Path, Run] = {}
        self.unmeasured: set[Path] = set()
        self._names: dict[Path, str] = {}
        self._tried: dict[Path, Signature] = {}
        self._seen: dict[Path, Signature] = {}

    def watch(self, idle: float | None) -> None:
        """Measure what is there and what comes, until nothing has come for long enough."""
        if not self.printer.quiet and idle != 0:
            out = self.session.targets.out
            echo(f"watching {self.folder} every {self.interval:g} s, results in {out}", err=True)
        last, is_first = time.monotonic(), True
        while True:
            n_tried = len(self._tried)
            growing = self._measure_new()
            if idle == 0 and not (growing and is_first):  # what is being written is looked at once more
                for checkpoint in growing:
                    print_error(f"left out {checkpoint.path}: it is still being written")
                    self.unmeasured.add(checkpoint.path)
                break
            if growing or len(self._tried) > n_tried:
                last = time.monotonic()
            if idle is not None and time.monotonic() - last >= idle > 0:
                break
            time.sleep(self.interval)
            is_first = False
        if not self._seen:
            raise UsageError(f"no checkpoint in {self.folder}: expected {CHECKPOINT_FORMS}")

    def _measure_new(self) -> list[TrainingCheckpoint]:
        """Measure the complete checkpoints that are new or have changed since the last try, and return those still
        being written.
        """
        growing = []
        checkpoints = training_checkpoints(self.folder)
        slugs = [slug(checkpoint.name) for checkpoint in checkpoints]
        for checkpoint in checkpoints:
            is_distinct = slugs.count(slug(checkpoint.name)) == 1
            self._names[checkpoint.path] = (
                checkpoint.name if is_distinct else str(checkpoint.path.relative_to(self.folder))
            )
        for checkpoint in sorted(checkpoints, key=lambda checkpoint: not self._has_run(checkpoint)):
            try:
                signature = checkpoint.signature()
            except FileNotFoundError:  # taken away, or given its name, since it was listed
                continue
            if self._tried.get(checkpoint.path) == signature:
                continue
            before = self._seen.get(checkpoint.path)
            self._seen[checkpoint.path] = signature
            newest = max((changed for _, _, changed in signature), default=0) / 1e9
            if before == signature or 0 <= self.interval <= time.time() - newest:
                self._tried[checkpoint.path] = signature
                self._measure(checkpoint, signature)
            else:
                growing.append(checkpoint)
        return growing

    def _measure(self, checkpoint: TrainingCheckpoint, signature: Signature) -> None:
        name, folder = self._names[checkpoint.path], self._folder(checkpoint)
        target = Target(checkpoint.reference, name, folder, may_be_finished=True)

        def check_read() -> None:  # one that is rewritten while it is read may be half of each
            if not _is_same(checkpoint, signature):
                raise ClipbenchError(f"{checkpoint.path} was changed while it was read")

        self.unmeasured.add(checkpoint.path)
        try:
            if not self._has_run(checkpoint):
                check_folder(folder)
            with reserve_stdout(self.printer.as_json):
                run = self.session.measure(target, check_read=check_read)
        except (ClipbenchError, OSError) as error:
            reason = str(error)
            if not _is_same(checkpoint, signature):
                reason = "it was changed or removed while it was read"
            elif isinstance(error, OSError) or (isinstance(error, UsageError) and not self._has_run(checkpoint)):
                raise  # an option is wrong, or the disk full: no checkpoint to come will fix it
            print_error(f"{name}: {reason} (tried again when it changes)")
            return
        self.runs[checkpoint.path] = run
        self.session.try_report(run)
        with reserve_stdout(self.printer.as_json):
            self.session.try_log(target, run)
        if self.session.covers_requests(run):
            self.unmeasured.remove(checkpoint.path)
        if self.printer.as_json:
            echo_json(asdict(run.result))
        elif not self.printer.quiet:
            echo(series_line(run))
        order = {other.path: position for position, other in enumerate(training_checkpoints(self.folder))}
        paths = sorted(self.runs, key=lambda path: order.get(path, -1))  # one that was deleted since was an early one
        self.session.try_report_all([self.runs[path] for path in paths])

    def _folder(self, checkpoint: TrainingCheckpoint) -> Path:
        return self.session.targets.out / slug(self._names[checkpoint.path])

    def _has_run(self, checkpoint: TrainingCheckpoint) -> bool:
        return is_file(self._folder(checkpoint) / RESULT)


def _is_same(checkpoint: TrainingCheckpoint, signature: Signature) -> bool:
    try:
        return checkpoint.signature() == signature
    except FileNotFoundError:
        return False
