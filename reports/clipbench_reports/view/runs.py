"""The runs below a folder, looked up for each request. Each run is read once, as long as its result does not change.

Ten thousand results take minutes to read. They are read in the background, the newest first, and the list has what is
known.
"""

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from clipbench.errors import FOREIGN, ClipbenchError, bug_summary
from clipbench.files import is_inside
from clipbench.results.matching import match
from clipbench.results.record import EvaluationRecord, Metric, as_json
from clipbench.results.run import Run, model_name, read_headlines, read_run
from clipbench.results.titles import first_headline, full_title

MOST_LETTERS = 1 << 17
"""Characters of all names of a run together."""
PATIENCE = 0.5
"""Seconds that a page waits for runs that are not read yet."""
FEW = 20
"""Runs that are waited for."""
PAUSE = 1.0
"""Seconds between two looks at the folder."""
MOST_DEPTH = 16
"""Folders inside each other that are searched."""
N_COLUMNS, ROOM_OF_HEADLINES = 4, 2
"""The most metrics that are shown where none is chosen, and columns that have no room next to the first headlines with
their names.
"""
NOWHERE = (0, 0, "")

Stamp = tuple[int, int, str]
"""Time and size of a result, and why it is not read: another one, another content."""


class HeadlineColumn(NamedTuple):
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
    relative_path: str
    """The folder as seen from the one that is viewed."""
    stamp: Stamp = NOWHERE
    fault: str = ""
    """The reason why it cannot be read. Then the rest is empty."""
    model: str = ""
    created: str = ""
    data: Sequence[str] = ()
    tasks: Sequence[str] = ()
    n_missing: int = 0
    """Evaluations without numbers."""
    columns: Mapping[str, HeadlineColumn] = field(default_factory=dict)
    """Headline metrics by their full names."""
    headline: str = ""
    """The full name of the first headline metric of the first evaluation with numbers, empty if there is none."""
    records: Mapping[str, EvaluationRecord] = field(default_factory=dict)
    """Facts by which an evaluation with samples is the same as another, by its name; parameters as their hash."""

    def has_same(self, name: str, other: "Row") -> bool:
        """Return whether another run has samples of the same evaluation."""
        record, other_record = self.records.get(name), other.records.get(name)
        return record is not None and other_record is not None and match(record, other_record).is_same

    @cached_property
    def text(self) -> str:
        """The text that a filter searches."""
        return " ".join((self.model, self.relative_path, self.fault, *self.tasks, *self.data)).casefold()


@dataclass(frozen=True)
class Opened:
    """A run that was asked for."""

    id: str
    stamp: Stamp
    run: Run = field(compare=False)


class Runs:
    """The runs below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.version = self.n_unread = 0
        self.has_looked = False
        """False until it is known how many runs there are."""
        self._rows: dict[str, Row] = {}
        self._lock, self._is_done = threading.Lock(), threading.Event()
        self._looked = -PAUSE
        self._is_done.set()
        self._read = lru_cache(8)(lambda folder, stamp: read_run(folder))

    @property
    def state(self) -> str:
        """A text that changes with the list of runs and with the progress of reading it."""
        return f"{self.version}-{self.n_unread}-{self.has_looked}"

    def rows(self) -> list[Row]:
        """Return the runs that are known, after a look for new ones."""
        with self._lock:
            if self._is_done.is_set() and time.monotonic() - self._looked >= PAUSE:
                self._is_done.clear()
                threading.Thread(target=self.look, daemon=True).start()
        self._is_done.wait(PATIENCE if self.n_unread <= FEW else 0)
        return list(self._rows.values())

    def folder_names(self, names: Collection[str]) -> str:
        """Return the folders of runs as text, from their names in addresses."""
        return ", ".join(row.relative_path for row in self.rows() if row.id in names)

    def comparable(self, name: str, evaluation: str) -> list[Row]:
        """Return the other runs with the same samples of an evaluation."""
        rows = {row.id: row for row in self.rows()}
        base = rows.pop(name, None)
        if base is None:
            return []
        return [row for row in rows.values() if base.has_same(evaluation, row)]

    def open(self, name: str) -> Opened:
        """Return a run by its name in addresses.

        Raises:
            KeyError: there is none.
            ClipbenchError: it is damaged, or not below the folder any more.
        """
        self.rows()
        row = self._rows[name]
        if row.fault:
            raise ClipbenchError(row.fault)
        if not is_inside(row.folder, self.folder):
            raise ClipbenchError(f"{row.relative_path} leads out of {self.folder}, and is not read")
        stamp = _stamp(row.folder)
        return Opened(name, stamp, self._read(row.folder, stamp))

    def look(self) -> None:
        """Read all runs that are new or have changed."""
        try:
            folders = {
                hashlib.sha256(os.fsencode(path)).hexdigest()[:16]: (path, stamp) for path, stamp in self._find()
            }
            stamps = {name: row.stamp for name, row in self._rows.items()}
            unread = [name for name, (_, stamp) in folders.items() if stamps.get(name) != stamp]
            self.n_unread, self.has_looked = len(unread), True
            for name in stamps.keys() - folders.keys():
                del self._rows[name]
                self.version += 1
            for name in sorted(unread, key=lambda name: folders[name][1], reverse=True):
                path, stamp = folders[name]
                relative_path = os.fsencode(path).decode(errors="replace")
                row = Row(id=name, folder=self.folder / path, relative_path=relative_path, stamp=stamp, fault=stamp[2])
                self._rows[name] = row if row.fault else _with_content(row)
                self.version += 1
                self.n_unread -= 1
        finally:
            self._looked = time.monotonic()
            self._is_done.set()

    def _find(self) -> Iterator[tuple[str, Stamp]]:
        """Yield each folder with a result, and each that cannot be searched, without following links."""
        unreadable: list[OSError] = []
        root = str(self.folder)
        for folder, inside, files in os.walk(root, onerror=unreadable.append):
            if "result.json" in files or "result.json" in inside:
                yield os.path.relpath(folder, root), _stamp(folder)
                inside.clear()
            for path in (f"{folder}/{name}" for name in inside):
                if os.path.islink(path) and not is_inside(Path(path), self.folder):
                    relative_path = os.path.relpath(path, root)
                    yield relative_path, (0, 0, f"{relative_path} is a link that leads out of the folder: not followed")
            depth = folder.count("/") - root.count("/")
            inside[:] = [name for name in inside if not name.startswith(".") and depth < MOST_DEPTH]
        for error in unreadable:
            relative_path = os.path.relpath(error.filename, root)
            yield relative_path, (0, 0, f"{relative_path} cannot be read: {error.strerror}")


def _with_content(row: Row) -> Row:
    try:
        run = read_headlines(row.folder)
    except FOREIGN as error:  # whatever is wrong with a run costs its row
        fault = str(error) if isinstance(error, ClipbenchError) else bug_summary(error, "clipbench or the run")
        return replace(row, fault=fault)
    records = run.result.evaluations
    done = [record for record in records if record.status == "ok"]
    first = next((record for record in done if record.metrics), None)
    columns: dict[str, HeadlineColumn] = {}
    for record in done:
        for metric, value in record.metrics.items():
            column = HeadlineColumn(full_title(metric, value, record.subsets), record.name, value)
            columns.setdefault(f"{record.name}/{metric}", column)  # of an evaluation that was made twice, the first
    names = [model_name(run), run.result.created, *(record.name for record in records), *columns]
    for column in columns.values():
        names += [column.title, column.metric.unit]
    n_characters = sum(len(name) for name in names)
    if n_characters > MOST_LETTERS:
        fault = f"{row.relative_path}: its names have {n_characters:,} characters, expected at most {MOST_LETTERS:,}"
        return replace(row, fault=fault)
    with_samples = [record for record in done if "samples" in record.files]
    return replace(
        row,
        model=model_name(run),
        created=run.result.created,
        data=list(dict.fromkeys(record.dataset.id for record in records)),
        tasks=list(dict.fromkeys(record.task for record in records)),
        n_missing=len(records) - len(done),
        columns=columns,
        headline="" if first is None else f"{first.name}/{first_headline(first.metrics)}",
        records={record.name: _identity(record) for record in with_samples},
    )


def _identity(record: EvaluationRecord) -> EvaluationRecord:
    params = hashlib.sha256(as_json(record.params).encode()).hexdigest()
    dataset = replace(record.dataset, cite=None, licence=None)
    return EvaluationRecord(
        task=record.task, task_version=record.task_version, params={"hash": params}, dataset=dataset, status="ok"
    )


def _stamp(folder: Path | str) -> Stamp:
    try:
        stat = os.lstat(f"{folder}/result.json")
    except OSError:
        return NOWHERE
    return stat.st_mtime_ns, stat.st_size, ""


def metric_columns(rows: Sequence[Row]) -> dict[str, HeadlineColumn]:
    """Return the metrics of runs by their full names, the commonest first."""
    counts, columns = Counter[str](), dict[str, HeadlineColumn]()
    for row in rows:
        counts.update(row.columns.keys())
        columns |= row.columns
    return {name: columns[name] for name, _ in counts.most_common()}


def default_columns(rows: Sequence[Row], columns: Iterable[str]) -> list[str]:
    """Return the columns if a reader chose none: the first metrics that at least half of the runs have."""
    readable = [row for row in rows if not row.fault]
    if not readable:
        return []
    common_columns = []
    for name in columns:
        n_runs = sum(name in row.columns for row in readable)
        if 2 * n_runs >= len(readable):
            common_columns.append(name)
    room = N_COLUMNS
    if have_different_headlines(rows):
        room -= ROOM_OF_HEADLINES
    return common_columns[:room]


def have_different_headlines(rows: Sequence[Row]) -> bool:
    """Return whether the first headline metrics of runs differ, so that each value needs the name of its metric."""
    return len({row.headline for row in rows} - {""}) > 1


def filter_runs(
    rows: Sequence[Row], *, words: str = "", sort: str = "created", is_rising: bool = False, is_grouped: bool = False
) -> list[Row]:
    """Return the runs that pass a filter, in order. Runs without a sort key come last.

    Args:
        words: all of them are in the model, the folder, a task or the data of a run.
        sort: ``created``, ``model``, ``place`` or the full name of a metric.
        is_grouped: True to keep the runs of a model together.
    """

    def key(row: Row) -> str | float | None:
        if sort in row.columns:
            return row.columns[sort].metric.value
        return {"created": row.created, "model": row.model.casefold(), "place": row.relative_path}.get(sort) or None

    searched_words = words.casefold().split()
    matching = [row for row in rows if all(word in row.text for word in searched_words)]
    with_key = [row for row in matching if key(row) is not None]
    with_key.sort(key=lambda row: (key(row), row.relative_path), reverse=not is_rising)
    without_key = [row for row in matching if key(row) is None]
    ordered = [*with_key, *without_key]
    if is_grouped:
        ordered.sort(key=lambda row: (bool(row.fault), row.model.casefold()))
    return ordered
