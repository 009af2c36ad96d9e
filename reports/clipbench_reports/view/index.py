"""The runs below a folder: looked for at each question, and each read once, as long as its result does not change.

Ten thousand results take minutes to read. They are read in the background, the newest first, and the list has what is known.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from clipbench.errors import FOREIGN, ClipbenchError, bug
from clipbench.files import is_inside
from clipbench.results.record import Metric
from clipbench.results.run import Run, model_name, read_headlines, read_run
from clipbench.results.titles import full_title

MOST_BYTES = 1 << 26
"""Bytes of a result that is listed: one of all tasks has 200 KB."""
PATIENCE = 0.5
"""Seconds that a page waits for runs that are not read yet."""
FEW = 20
"""Runs that are waited for."""
PAUSE = 1.0
"""Seconds between two looks at the folder."""
MOST_DEPTH = 16
"""Folders inside each other that are searched."""


class Column(NamedTuple):
    """A headline metric of an evaluation."""

    title: str
    evaluation: str
    metric: Metric


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run of the list."""

    id: str
    """Its name in addresses: no path is ever made from an address."""
    folder: Path
    place: str
    """The folder as seen from the one that is viewed."""
    fault: str = ""
    """Why it cannot be read; it then has nothing of the rest."""
    model: str = ""
    created: str = ""
    data: Sequence[str] = ()
    tasks: Sequence[str] = ()
    n_missing: int = 0
    """Evaluations without numbers."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Headline metrics by their full names."""

    @cached_property
    def text(self) -> str:
        """All that a filter looks in."""
        return " ".join((self.model, self.place, self.fault, *self.tasks, *self.data)).casefold()


class Found(NamedTuple):
    """A run folder, or what stands in its place."""

    folder: Path
    stamp: tuple[int, int]
    """Time and size of its result."""
    fault: str = ""


class Index:
    """The runs below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.version = 0
        self.n_unread = 0
        self.has_looked = False
        """False until it is known how many runs there are."""
        self._found: dict[str, Found] = {}
        self._rows: dict[str, Row] = {}
        self._lock, self._is_done = threading.Lock(), threading.Event()
        self._looked = -PAUSE
        self._is_done.set()
        self._read = lru_cache(8)(_read)

    @property
    def state(self) -> str:
        """A text that changes with the list, and with what is known of it."""
        return f"{self.version}-{self.n_unread}-{self.has_looked}"

    def rows(self) -> list[Row]:
        """Return the runs that are known, after a look for new ones."""
        with self._lock:
            if self._is_done.is_set() and time.monotonic() - self._looked >= PAUSE:
                self._is_done.clear()
                threading.Thread(target=self._look, daemon=True).start()
        self._is_done.wait(PATIENCE if self.n_unread <= FEW else 0)
        return list(self._rows.values())

    def run(self, name: str) -> tuple[tuple[int, int], Run]:
        """Return a run by its name in addresses, and the stamp of its result.

        Raises:
            KeyError: there is none.
            ClipbenchError: it is damaged, or not below the folder any more.
        """
        self.rows()
        row = self._rows[name]
        if row.fault:
            raise ClipbenchError(row.fault)
        if not is_inside(row.folder, self.folder):
            raise ClipbenchError(f"{row.place} leads out of {self.folder}, and is not read")
        stamp = _stamp(row.folder) or (0, 0)
        return stamp, self._read(row.folder, stamp)

    def _look(self) -> None:
        try:
            found = dict(self._find())
            unread = [place for place, each in found.items() if self._found.get(place) != each]
            gone = self._found.keys() - found.keys()
            self._found, self.n_unread, self.has_looked = found, len(unread), True
            for place in gone:
                del self._rows[_name(place)]
            self.version += bool(gone)
            for place in sorted(unread, key=lambda each: found[each].stamp, reverse=True):
                row = _row(place, found[place])
                self._rows[row.id] = row
                self.version += 1
                self.n_unread -= 1
        finally:
            self._looked = time.monotonic()
            self._is_done.set()

    def _find(self) -> Iterator[tuple[str, Found]]:
        pending = [(".", 0)]
        while pending:
            place, depth = pending.pop()
            known = self._found.get(place)
            if known is not None and not known.fault and (stamp := _stamp(known.folder)) is not None:
                yield place, known if known.stamp == stamp else known._replace(stamp=stamp)
                continue
            folder = self.folder / place
            try:
                entries = list(os.scandir(folder))
            except OSError as error:
                yield place, Found(folder, (0, 0), f"{place} cannot be read: {error.strerror}")
                continue
            if any(each.name == "result.json" for each in entries):
                yield place, Found(folder, _stamp(folder) or (0, 0))
                continue
            for each in entries if depth < MOST_DEPTH else ():
                inside = each.name if place == "." else f"{place}/{each.name}"
                if each.is_dir(follow_symlinks=False):
                    if not each.name.startswith("."):
                        pending.append((inside, depth + 1))
                elif each.is_symlink() and each.is_dir() and not is_inside(folder / each.name, self.folder):
                    yield (
                        inside,
                        Found(
                            folder / each.name, (0, 0), f"{inside} is a link that leads out of the folder: not followed"
                        ),
                    )


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        stat = os.lstat(f"{folder}/result.json")
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _name(place: str) -> str:
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:16]


def _read(folder: Path, stamp: tuple[int, int]) -> Run:
    return read_run(folder)


def _row(place: str, found: Found) -> Row:
    name, shown = _name(place), os.fsencode(place).decode(errors="replace")
    if found.fault:
        return Row(id=name, folder=found.folder, place=shown, fault=found.fault)
    try:
        run = read_headlines(found.folder, MOST_BYTES)
    except FOREIGN as error:  # whatever is wrong with a run costs its row
        fault = str(error) if isinstance(error, ClipbenchError) else bug(error, "clipbench or the run")
        return Row(id=name, folder=found.folder, place=shown, fault=fault)
    records = run.result.evaluations
    done = [each for each in records if each.status == "ok"]
    columns: dict[str, Column] = {}
    for each in done:
        for metric, value in each.metrics.items():
            column = Column(full_title(metric, value, each.subsets), each.name, value)
            columns.setdefault(f"{each.name}/{metric}", column)  # of an evaluation that was made twice, the first
    return Row(
        id=name,
        folder=found.folder,
        place=shown,
        model=model_name(run),
        created=run.result.created,
        data=list(dict.fromkeys(each.dataset.id for each in records)),
        tasks=list(dict.fromkeys(each.task for each in records)),
        n_missing=len(records) - len(done),
        columns=columns,
    )
