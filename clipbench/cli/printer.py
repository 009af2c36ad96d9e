"""Output of ``clipbench run``: progress and missing data on standard error, the numbers on standard output."""

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clipbench.cli.output import confirm, echo, echo_json, is_interactive, print_error, print_note, terminal_width
from clipbench.cli.tables import (
    MAX_WITH_INTERVALS,
    heading,
    headline_facts,
    models_lines,
    run_lines,
    series_lines,
)
from clipbench.data.catalogue.download import readable_size
from clipbench.data.catalogue.needs import Need, find_needs
from clipbench.errors import ClipbenchError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import QUICK, RunOptions, plan
from clipbench.evaluation.progress import Progress
from clipbench.files import nearest_existing_parent
from clipbench.models import aliases
from clipbench.results.grouping import group_values
from clipbench.results.metric_name import split_evaluation
from clipbench.results.numbers import ascii_signs, counted, duration
from clipbench.results.opening import opening_lines
from clipbench.results.record import CheckFinding, EvaluationRecord, finished_evaluations
from clipbench.results.run import Run, all_evaluations, model_name
from clipbench.results.short_names import last_parts
from clipbench.results.table import Cell, Row, Table, as_text, columns, note_number
from clipbench.untrusted.terminal import one_line

if TYPE_CHECKING:
    from tqdm import tqdm


SKIPPED = re.compile(r"skipped [\d,]+ of [\d,]+ images")
"""The note of an evaluation that left out images that cannot be read."""


@dataclass(kw_only=True, eq=False)
class Printer(Progress):
    """Prints as a run goes on, offers to fetch missing data, and says at the end what is still missing."""

    quiet: bool = False
    as_json: bool = False
    several: bool = False
    """There may be more than one model."""
    is_series: bool = False
    """A line for each model has to be enough."""
    is_verbose: bool = False
    root: Path = Path()
    """Folder that data sets are fetched into."""
    may_fetch: bool = False
    """Permission was given already, so the user is not asked."""
    again: str = ""
    """This command, with leave to fetch."""
    quick: str | None = None
    """The command that needs less, for the offer, or None if that is what is asked for."""
    tasks: Sequence[str] = ("all",)
    models: Sequence[str] = ()
    """References of the models to measure."""

    def __post_init__(self) -> None:
        self.shows_bars = not self.quiet
        self._missing: set[str] = set()
        self._said: set[str] = set()
        self._bar: tqdm[NoReturn] | None = None
        self._start = 0.0
        self._n_arrived = 0
        self._has_offered_less = False

    def _say(self, *lines: str) -> None:
        if not self.quiet:
            echo(*lines, err=True)

    def missing(self, needs: Sequence[Need]) -> bool:
        """Show what can be fetched, and ask once whether to fetch it unless that was confirmed or nobody can answer."""
        self._missing = {need.entry.name for need in needs}
        offered = [need for need in needs if _is_on_offer(need)]
        if not offered or self.quiet or not (self.may_fetch or is_interactive()):
            return self.may_fetch
        n_bytes = sum(need.n_bytes or 0 for need in offered) - sum(need.n_bytes_present for need in offered)
        free = readable_size(shutil.disk_usage(nearest_existing_parent(self.root)).free)
        echo(*needs_table(offered, title=f"To fetch into {self._folder} ({free} free):"), err=True)
        self._offer_less()
        question = f"Fetch {counted(len(offered), 'data set')}, {readable_size(n_bytes)}?"
        return self.may_fetch or confirm(question)

    def fetching(self, need: Need, needs: Sequence[Need]) -> None:
        """Name the data set whose bytes arrive. A log gets a line for it."""
        if self._bar is None:
            from tqdm import tqdm

            self._start = time.monotonic()
            offered = [candidate for candidate in needs if _is_on_offer(candidate)]
            self._bar = tqdm(
                total=sum(candidate.n_bytes or 0 for candidate in offered),
                initial=sum(candidate.n_bytes_present for candidate in offered),
                unit="B",
                unit_scale=True,
                disable=True if self.quiet else None,  # None: unless on a terminal
                dynamic_ncols=True,
            )
        if self._bar.disable:
            self._say(f"fetching {need.entry.name}, {_size(need)}")
        self._bar.set_description(need.entry.name)

    def arrived(self, n_bytes: int) -> None:
        assert self._bar is not None
        self._n_arrived += n_bytes
        self._bar.update(n_bytes)

    def fetched(self, left: Sequence[Need]) -> None:
        came = self._missing - {need.entry.name for need in left}
        self._missing -= came
        if self._bar is not None:
            self._bar.close()
            seconds = duration(time.monotonic() - self._start)
            self._say(f"fetched {counted(len(came), 'data set')}: {readable_size(self._n_arrived)} in {seconds}")

    def still_missing(self, needs: Sequence[Need], *, is_excused: bool = False) -> None:
        """Print one table of missing data sets, with the reasons, and one command.

        Args:
            is_excused: the command succeeds without it, as only a person can get it.
        """
        if not needs or (self.quiet and is_excused):
            return
        is_part = any(need.download is not None and need.download.is_partial for need in needs)
        command = self.again if is_part and self.again else get_command(needs, self.root)
        causes = [need.problem for need in needs if need.can_be_fetched]
        cause = causes[0] if len(causes) > 1 and len(set(causes)) == 1 else None  # of all, it is said once
        title = f"Not in {self._folder}{f' ({cause})' if cause else ''}:"
        echo(*needs_table(needs, title=title, known_cause=cause), err=True)
        if command is not None:
            if None in causes:  # where nothing can be fetched, less cannot be fetched either
                self._offer_less()
            echo(f"to fetch: {command}", err=True)

    def _offer_less(self) -> None:
        """Print the command that needs less and the size of weights, once."""
        if self.quick is None or self._has_offered_less:
            return
        self._has_offered_less = True
        names = [model.strip().casefold() for model in self.models]
        sizes = {
            alias.alias: alias.n_bytes for alias in aliases() if alias.alias in names and alias.n_bytes is not None
        }
        if sizes:
            weights = ", ".join(f"{name} {readable_size(n_bytes)}" for name, n_bytes in sizes.items())
            echo(f"weights, unless they are on this machine: {weights}", err=True)
        needs = find_needs(Datasets(RunOptions()).uses(plan(self.tasks, QUICK)), self.root)
        size = readable_size(sum(need.n_bytes or 0 for need in needs))
        echo(f"for a first look, with {size} of data: {self.quick}", err=True)

    @property
    def _folder(self) -> str:
        return "the current folder" if self.root == Path() else str(self.root)

    def unmeasurable(self, name: str, error: ClipbenchError, *, data: str) -> None:
        """Print it once. Missing data sets are in the table at the end."""
        if data.lower() not in self._missing:
            print_error(f"{name} cannot be measured: {error}")
            self._said.add(name)

    def model(self, name: str, number: int, n_models: int) -> None:
        self._say(f"measuring {name}" + (f" ({number + 1} of {n_models})" if self.is_series else ""))

    def reused(self, name: str, run: Run) -> None:
        """Say that a run was finished before, and what of it could not be measured."""
        self._say(f"{name} was measured before, in {run.folder}")
        for record in run.result.evaluations:
            if record.status != "ok":
                self.evaluation(record)
                print_error(f"to measure it again, move or delete {run.folder}")

    def note(self, text: str) -> None:
        if not self.quiet:
            print_note(text)

    def warning(self, finding: CheckFinding) -> None:
        self._say(f"warning: {one_line(f'{finding.check}: {finding.seen}. Fix: {finding.fix}')}")

    def left_out(self, reasons: Mapping[str, str]) -> None:
        """Print which tasks the data does not allow, grouped by reason."""
        tasks = group_values((reason, split_evaluation(task).task) for task, reason in reasons.items())
        listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in tasks.items())
        self.note(f"left out: {listed}")

    def model_failed(self, name: str, error: ClipbenchError, data_problems: Sequence[str]) -> None:
        for line in data_problems:
            print_error(line)
        if self.several:
            print_error(f"{name}: {error}")

    def report_failed(self, report: Path, reason: str) -> None:
        print_error(f"cannot write {report}: {reason}")

    def log_failed(self, tracker: str, reason: str) -> None:
        print_error(f"--log: {tracker} failed ({reason}), but the run folder is complete")

    def evaluation(self, record: EvaluationRecord) -> None:
        """Say that an evaluation has ended, with its headline metric, or why there is none.

        Data that are not there are in the table at the end.
        """
        if record.status != "ok":
            if record.dataset.id.lower() not in self._missing and record.name not in self._said:
                print_error(f"{record.name} {record.status}: {record.reason}")
        elif not self.as_json and not self.is_series:
            self._say("; ".join([heading(record), *headline_facts(record)]), *opening_lines([record]))

    def end(self, runs: Sequence[Run], report: Path | None) -> None:
        """Print where the results are, with the report's path as the last line, or the results themselves."""
        if self.as_json:
            self._say(*_skipped_lines(runs))
            results = [asdict(run.result) for run in runs]
            echo_json(results if self.several else results[0])
            return
        if self.quiet:
            return
        width = terminal_width()
        is_table = self.is_series or len(runs) > 1
        for run in runs if self.is_verbose or not is_table else ():
            echo(*([model_name(run)] if self.several else []), *run_lines(run, is_verbose=self.is_verbose, width=width))
            label = "results" if finished_evaluations(run.result) else "no results: the reasons are"
            echo(f"{label} in {run.folder}", *([""] if self.several else []))
        if is_table:
            echo(*self._table_lines(runs, width), f"results in {runs[0].folder.parent}")
        echo(*_skipped_lines(runs), *([] if report is None else [str(report)]))
        if is_table and len(runs) == 2:
            echo(*([] if self.is_series else [_verdict_line(runs)]), _compare_command(runs))

    def _table_lines(self, runs: Sequence[Run], width: int | None) -> list[str]:
        """Return the table of several models: a column for each of few, otherwise a row for each."""
        if self.is_series:
            return series_lines(runs, width)
        if len(runs) <= MAX_WITH_INTERVALS:
            return models_lines(runs, width)
        from clipbench.cli.run_tables import many_runs_lines

        return many_runs_lines(runs, width)


def _compare_command(runs: Sequence[Run]) -> str:
    """Return the line with the command that compares two runs, to copy."""
    return f"to compare them: {shlex.join(['clipbench', 'compare', *(str(run.folder) for run in runs)])}"


def _verdict_line(runs: Sequence[Run]) -> str:
    """Return the verdict on the second of two models against the first, or the reason why there is none."""
    from clipbench.comparison.compare_runs import compare
    from clipbench.comparison.records import verdict_line

    base, candidate = last_parts([model_name(run) for run in runs])
    try:
        comparison = compare(runs[0], runs[1])
        word, reason = comparison.verdict, comparison.reason
    except ClipbenchError as error:
        word, reason = "undecided", str(error)
    return ascii_signs(verdict_line(word, reason, f"{candidate} against {base}"))


def _skipped_lines(runs: Sequence[Run]) -> list[str]:
    """Return a line per data set with images that were skipped, once for several tasks and models."""
    lines: dict[str, None] = {}
    for record in all_evaluations(runs):
        for note in record.notes:
            if SKIPPED.fullmatch(note):
                lines[f"{note} of {record.dataset.id}"] = None
    return list(lines)


@contextmanager
def reserve_stdout(is_on: bool) -> Iterator[None]:
    """Send what models and libraries print meanwhile to standard error, so that only results are on standard output.

    Output of C libraries and child processes goes there too.
    """
    if not is_on:
        yield
        return
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        output = None
        with suppress(OSError):  # a standard output that is closed needs no keeping clean
            output = os.dup(1)
            os.dup2(2, 1)
        try:
            yield
        finally:
            if output is not None:
                os.dup2(output, 1)
                os.close(output)


def needs_table(needs: Sequence[Need], *, title: str, known_cause: str | None = None) -> list[str]:
    """Return a table of data sets: name, tasks, size and licence, and below what a person has to do or what went wrong.

    Args:
        known_cause: the reason that the title gives.
    """
    notes: list[str] = []
    rows: list[Row] = []
    for need in needs:
        remark = need.step or (need.problem if need.problem != known_cause else need.licence_step)
        note = note_number(remark or "", notes)
        part = "" if need.shards is None else f", {need.shards[0]} of {need.shards[1]} shards"
        rows.append([Cell(need.entry.name + part, note=note), ", ".join(need.tasks), _size(need), need.entry.licence])
    n_bytes = sum(need.n_bytes or 0 for need in needs)
    if len(needs) > 1 and n_bytes:
        rows.append(["in all", "", readable_size(n_bytes), ""])
    headers = [*columns("data set", "for", numbers=["size"]), *columns("licence")]
    table = Table(columns=headers, rows=rows, title=title, notes=list(map(one_line, notes)))
    return as_text(table, width=terminal_width(err=True)).splitlines()


def get_command(needs: Sequence[Need], root: Path) -> str | None:
    """Return the command that fetches what can be fetched of them, or None if nothing can."""
    names = [need.entry.name for need in needs if need.can_be_fetched]
    where = "" if root == Path() else f" --data-root {shlex.quote(str(root))}"
    return f"clipbench data get {' '.join(names)}{where}" if names else None


def _is_on_offer(need: Need) -> bool:
    return need.can_be_fetched and need.problem is None


def _size(need: Need) -> str:
    if not need.entry.can_be_fetched:
        return "by hand"
    return "unknown" if need.n_bytes is None else readable_size(need.n_bytes)
