"""Missing data in ``clipbench run``: the offer to fetch them, the bytes as they arrive, and what is missing at the end."""

import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clipbench.cli.output import confirm, echo, someone_answers, terminal_width
from clipbench.cli.summary import Printer
from clipbench.data.catalogue.download import readable_size
from clipbench.data.catalogue.needs import Need
from clipbench.evaluation.plan import QUICK, most_bytes
from clipbench.files import nearest
from clipbench.results.numbers import counted, duration
from clipbench.results.record import EvaluationRecord
from clipbench.results.table import Cell, Column, Table, as_text
from clipbench.untrusted.terminal import one_line

if TYPE_CHECKING:
    from tqdm import tqdm


class FetchingPrinter(Printer):
    """A printer that offers to fetch missing data, and says at the end what is still missing.

    Args:
        root: folder that data sets are fetched into.
        may_fetch: leave was given already, so that there is no question.
        again: this command, with leave to fetch.
        quick: the command that needs less, for the offer; None if that is what is asked for.
        options: those of ``Printer``.
    """

    def __init__(
        self, *, root: Path, may_fetch: bool, again: str = "", quick: str | None = None, **options: bool
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.may_fetch = may_fetch
        self.again = again
        self.quick = quick
        self._missing: set[str] = set()
        self._bar: tqdm[NoReturn] | None = None
        self._start = 0.0
        self._n_arrived = 0

    def missing(self, needs: Sequence[Need]) -> bool:
        """Show what can be fetched, and ask for leave, once for all, where that was not given and someone can answer."""
        self._missing = {need.entry.name for need in needs}
        offered = [need for need in needs if _is_on_offer(need)]
        if not offered or self.quiet or not (self.may_fetch or someone_answers()):
            return self.may_fetch
        n_bytes = sum(need.n_bytes or 0 for need in offered) - sum(need.n_bytes_present for need in offered)
        echo(*needs_table(offered, title=f"To fetch into {_folder(self.root)} ({_free(self.root)} free):"), err=True)
        if self.quick is not None:
            echo(f"for a first look, with at most {readable_size(most_bytes(QUICK) or 0)}: {self.quick}", err=True)
        question = f"Fetch {counted(len(offered), 'data set')}, {readable_size(n_bytes)}?"
        return self.may_fetch or confirm(question)

    def fetching(self, need: Need, needs: Sequence[Need]) -> None:
        """Name the data set whose bytes arrive; a log gets a line for it."""
        if self._bar is None:
            self._bar = self._open_bar([each for each in needs if _is_on_offer(each)])
        if self._bar.disable and not self.quiet:
            echo(f"fetching {need.entry.name}, {_size(need)}", err=True)
        self._bar.set_description(need.entry.name)

    def arrived(self, n_bytes: int) -> None:
        """Move the bar."""
        assert self._bar is not None
        self._n_arrived += n_bytes
        self._bar.update(n_bytes)

    def fetched(self, left: Sequence[Need]) -> None:
        """Say how much came, and how long it took."""
        came = self._missing - {need.entry.name for need in left}
        self._missing -= came
        if self._bar is None:
            return
        self._bar.close()
        seconds = duration(time.monotonic() - self._start)
        if not self.quiet:
            echo(f"fetched {counted(len(came), 'data set')}: {readable_size(self._n_arrived)} in {seconds}", err=True)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Print an evaluation; data that are not there are in the table at the end."""
        if record.status == "ok" or record.dataset.id.lower() not in self._missing:
            super().evaluation(record)

    def _open_bar(self, offered: Sequence[Need]) -> "tqdm[NoReturn]":
        """Return a bar of the bytes of all."""
        from tqdm import tqdm

        self._start = time.monotonic()
        return tqdm(
            total=sum(each.n_bytes or 0 for each in offered),
            initial=sum(each.n_bytes_present for each in offered),
            unit="B",
            unit_scale=True,
            disable=True if self.quiet else None,  # None: unless on a terminal
            dynamic_ncols=True,
        )

    def still_missing(self, needs: Sequence[Need], *, is_excused: bool = False) -> None:
        """Print one table of what is missing, with the reasons, and one command.

        Args:
            is_excused: the command succeeds without it, as only a person can get it.
        """
        if not needs or (self.quiet and is_excused):
            return
        is_part = any(need.download is not None and need.download.is_partial for need in needs)
        command = self.again if is_part and self.again else get_command(needs, self.root)
        causes = [need.problem for need in needs if need.can_be_fetched]
        cause = causes[0] if len(causes) > 1 and len(set(causes)) == 1 else None  # of all, it is said once
        title = f"Not in {_folder(self.root)}{f' ({cause})' if cause else ''}:"
        echo(*needs_table(needs, title=title, known_cause=cause), err=True)
        if command is not None:
            echo(f"to fetch: {command}", err=True)


def needs_table(needs: Sequence[Need], *, title: str, known_cause: str | None = None) -> list[str]:
    """Return the lines of a table of data sets: name, tasks, size and licence, and below it what a person has to do or what went wrong.

    Args:
        known_cause: the reason that the title gives.
    """
    notes: dict[str, int] = {}
    rows: list[list[Cell | str]] = []
    for need in needs:
        remark = need.step or (need.problem if need.problem != known_cause else None)
        note = notes.setdefault(remark, len(notes) + 1) if remark else 0
        name = (
            need.entry.name
            if need.shards is None
            else f"{need.entry.name}, {need.shards[0]} of {need.shards[1]} shards"
        )
        rows.append([Cell(name, note=note), ", ".join(need.tasks), _size(need), need.entry.licence])
    known = sum(need.n_bytes or 0 for need in needs)
    if len(needs) > 1 and known:
        rows.append(["in all", "", readable_size(known), ""])
    columns = [Column("data set", is_number=False), Column("for", is_number=False), Column("size")]
    table = Table(
        columns=[*columns, Column("licence", is_number=False)], rows=rows, title=title, notes=list(map(one_line, notes))
    )
    return as_text(table, width=terminal_width(err=True)).splitlines()


def get_command(needs: Sequence[Need], root: Path) -> str | None:
    """Return the command that fetches what can be fetched of them; None where nothing can."""
    names = [need.entry.name for need in needs if need.can_be_fetched]
    where = "" if root == Path() else f" --data-root {shlex.quote(str(root))}"
    return f"clipbench data get {' '.join(names)}{where}" if names else None


def _is_on_offer(need: Need) -> bool:
    return need.can_be_fetched and need.problem is None


def _size(need: Need) -> str:
    return (
        "by hand"
        if not need.entry.can_be_fetched
        else "unknown"
        if need.n_bytes is None
        else readable_size(need.n_bytes)
    )


def _free(folder: Path) -> str:
    return readable_size(shutil.disk_usage(nearest(folder)).free)


def _folder(root: Path) -> str:
    return "the current folder" if root == Path() else str(root)
