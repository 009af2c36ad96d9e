"""Tables for people: one an evaluation, a line a metric, a column a model; what is missing stands below, numbered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clipbench.results.export.reading import why_missing
from clipbench.results.matching import match
from clipbench.results.numbers import NONE, count, counted, interval, interval_name, number, symbol
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels


@dataclass(frozen=True)
class Cell:
    """What one model scored."""

    value: str
    interval: str = ""
    """``[low, high]``, or nothing."""
    note: int | None = None
    """The note of its table that says what it lacks, from 1."""


@dataclass(frozen=True)
class Line:
    """One metric."""

    metric: str
    unit: str
    """Of all numbers of the line: ``%``, ``pp`` or a word."""
    cells: list[Cell]
    chance: str
    n: str


@dataclass
class Table:
    """One evaluation of all models."""

    task: str
    data: str
    facts: str
    """Which data: revision, split and number of samples."""
    models: list[str]
    intervals: str
    """The name of the intervals, such as ``95 % interval``."""
    lines: list[Line] = field(default_factory=list)
    """Empty where no model was measured."""
    notes: list[str] = field(default_factory=list)
    """Why a number or an interval is missing; cells refer to them."""
    remarks: list[str] = field(default_factory=list)
    """What must be known before the columns are compared."""
    said: list[str] = field(default_factory=list)
    """What the evaluation itself says of how it was made."""


def tables(runs: Sequence[Run]) -> list[Table]:
    """Return the tables of all evaluations in the order in which they first appear.

    A run that has a task on the same data twice, with other parameters, has it in two tables.
    """
    found: dict[tuple[str, str, int], dict[int, EvaluationRecord]] = {}
    for place, run in enumerate(runs):
        seen: dict[str, int] = {}
        for record in run.result.evaluations:
            seen[record.name] = seen.get(record.name, 0) + 1
            found.setdefault((record.task, record.dataset.id, seen[record.name]), {})[place] = record
    return [_table(records, labels(runs)) for records in found.values()]


def _table(records: dict[int, EvaluationRecord], names: list[str]) -> Table:
    measured = {place: record for place, record in records.items() if record.status == "ok"}
    first = next(iter(measured.values()), next(iter(records.values())))
    table = Table(
        task=first.task,
        data=first.dataset.id,
        facts=_facts(first),
        models=names,
        intervals=interval_name(metric for record in measured.values() for metric in record.metrics.values()),
        remarks=[*_lacking(records, names), *dict.fromkeys(_differences(list(measured.values())))],
        said=_said(measured, names),
    )
    keys = dict.fromkeys((name, each.unit) for record in measured.values() for name, each in record.metrics.items())
    table.lines += [_line(name, unit, measured, table) for name, unit in keys]
    return table


def _line(name: str, unit: str, measured: dict[int, EvaluationRecord], table: Table) -> Line:
    found = {
        place: record.metrics[name]
        for place, record in measured.items()
        if name in record.metrics and record.metrics[name].unit == unit
    }
    chances = [number(each.chance, unit) for each in found.values() if each.chance is not None]
    sizes = [count(each.n) for each in found.values() if each.value is not None]
    cells = [
        _cell(found[place], table) if place in found else _absent(place in measured, table)
        for place in range(len(table.models))
    ]
    return Line(name, symbol(unit), cells, _distinct(chances), _distinct(sizes))


def _cell(metric: Metric, table: Table) -> Cell:
    if metric.value is None:
        return Cell(NONE, note=_note(f"undefined: {metric.reason or 'no reason was recorded'}", table))
    value = number(metric.value, metric.unit)
    if metric.low is None or metric.high is None:
        return Cell(value, note=_note(metric.reason or "no interval: no reason was recorded", table))
    return Cell(value, interval(metric))


def _absent(is_measured: bool, table: Table) -> Cell:
    """Return the cell of a model without the metric; one without the whole evaluation has its remark."""
    return Cell(NONE, note=_note("the run has no such metric", table) if is_measured else None)


def _note(text: str, table: Table) -> int:
    if text not in table.notes:
        table.notes.append(text)
    return table.notes.index(text) + 1


def _lacking(records: dict[int, EvaluationRecord], names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        if place not in records:
            yield f"{name}: not asked"
        elif records[place].status != "ok":
            yield f"{name}: {why_missing(records[place])}"


def _differences(measured: Sequence[EvaluationRecord]) -> Iterator[str]:
    for record in measured[1:]:
        same = match(measured[0], record)
        if not same.is_same:
            yield f"{record.name} is not comparable: {same.reason}"
        yield from same.notes


def _said(measured: dict[int, EvaluationRecord], names: list[str]) -> list[str]:
    """Return the notes of all evaluations; one that not all have is told with whose it is."""
    whose: dict[str, list[str]] = {}
    for place, record in measured.items():
        for note in dict.fromkeys(record.notes):
            whose.setdefault(note, []).append(names[place])
    return [note if len(who) == len(measured) else f"{', '.join(who)}: {note}" for note, who in whose.items()]


def _facts(record: EvaluationRecord) -> str:
    data = record.dataset
    revision = None if data.revision is None else f"revision {data.revision}"
    split = None if data.split is None else f"split {data.split}"
    return ", ".join(filter(None, (revision, split, counted(data.n_samples, "image"))))


def _distinct(words: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(words))
