"""``markdown`` and ``latex``: tables for people, one per evaluation, with a line per metric and a column per model."""

import re
from collections.abc import Iterator, Sequence

from clipbench.results.export.rendered import Rendered
from clipbench.results.matching import match
from clipbench.results.numbers import NONE, count, interval, interval_name, number, symbol
from clipbench.results.provenance import data_facts, origin, why_missing
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, labels
from clipbench.results.table import Cell, Column, Table, as_latex, as_markdown
from clipbench.results.table.latex import PACKAGES
from clipbench.results.table.markdown import bullets
from clipbench.results.titles import full_title
from clipbench.untrusted.terminal import one_line


def markdown(runs: Sequence[Run]) -> Rendered:
    """Return GitHub's Markdown: which models, then a heading and a table for each evaluation."""
    parts = ["\n".join(bullets(_origins(runs))), *map(as_markdown, tables(runs))]
    return Rendered(content=("\n\n".join(parts) + "\n").encode())


def latex(runs: Sequence[Run]) -> Rendered:
    """Return booktabs tables, and as comments what a paper rarely prints: fingerprints, and notes of the evaluations.

    An evaluation that no model could be measured on has no table: it is a comment, and a note.
    """
    found = tables(runs)
    parts = [
        f"% Made by clipbench export --to latex. Needs {PACKAGES}.",
        *(f"% {one_line(each)}" for each in _origins(runs)),
    ]
    notes = [one_line(f"{table.title}: {warning}") for table in found if not table.rows for warning in table.warnings]
    parts = ["\n".join([*parts, *(f"% {note}" for note in notes)])]
    measured = [table for table in found if table.rows]
    parts += [as_latex(table, label) for table, label in zip(measured, _labels(measured), strict=True)]
    return Rendered(content=("\n\n".join(parts) + "\n").encode(), notes=notes)


def tables(runs: Sequence[Run]) -> list[Table]:
    """Return the tables of all evaluations in the order in which they first appear.

    A run that has a task on the same data twice, with other parameters, has it in two tables.
    """
    found: dict[tuple[str, int], dict[int, EvaluationRecord]] = {}
    for place, run in enumerate(runs):
        seen: dict[str, int] = {}
        for record in run.result.evaluations:
            seen[record.name] = seen.get(record.name, 0) + 1
            found.setdefault((record.name, seen[record.name]), {})[place] = record
    return [_table(records, labels(runs)) for records in found.values()]


def _table(records: dict[int, EvaluationRecord], names: list[str]) -> Table:
    """Return the table of one evaluation, by the place of the model."""
    measured = {place: record for place, record in records.items() if record.status == "ok"}
    first = next(iter(measured.values()), next(iter(records.values())))
    metrics = [metric for record in measured.values() for metric in record.metrics.values()]
    # A metric that changed its unit between two versions has a line for each.
    keys = dict.fromkeys((name, each.unit) for record in measured.values() for name, each in record.metrics.items())
    notes: list[str] = []
    return Table(
        title=first.name,
        facts=f"{data_facts(first.dataset)}; {f'{interval_name(metrics)}s in brackets' if keys else 'not measured'}",
        columns=[
            Column("metric", is_number=False),
            Column("unit", is_number=False),
            *(Column(name, model=place) for place, name in enumerate(names)),
            Column("chance"),
            Column("n"),
        ],
        rows=[_row(name, unit, measured, len(names), notes) for name, unit in keys],
        notes=notes,
        warnings=[*_missing(records, names), *dict.fromkeys(_differences(list(measured.values())))],
        comments=_comments(measured, names),
    )


def _row(
    name: str, unit: str, measured: dict[int, EvaluationRecord], n_models: int, notes: list[str]
) -> list[Cell | str]:
    """Return the line of a metric; reasons for what is missing are added to the notes."""
    found = {
        place: record.metrics[name]
        for place, record in measured.items()
        if name in record.metrics and record.metrics[name].unit == unit
    }

    def note(reason: str) -> int:
        if reason not in notes:
            notes.append(reason)
        return notes.index(reason) + 1

    def cell(place: int) -> Cell:
        if place not in measured:
            return Cell(NONE)
        if place not in found:
            return Cell(NONE, note=note("the run has no such metric"))
        metric = found[place]
        if metric.value is None:
            return Cell(NONE, note=note(f"undefined: {metric.reason or 'no reason was recorded'}"))
        value = number(metric.value, unit)
        if metric.low is None or metric.high is None:
            return Cell(value, note=note(metric.reason or "no interval: no reason was recorded"))
        return Cell(value, aside=interval(metric))

    chances = dict.fromkeys(number(each.chance, unit) for each in found.values() if each.chance is not None)
    sizes = dict.fromkeys(count(each.n) for each in found.values() if each.value is not None)
    return [_title(name, measured), symbol(unit), *map(cell, range(n_models)), " / ".join(chances), " / ".join(sizes)]


def _title(name: str, measured: dict[int, EvaluationRecord]) -> str:
    """Return the title of a metric, the name that a paper prints; its own name where no run has one."""
    for record in measured.values():
        if name in record.metrics and record.metrics[name].title:
            return full_title(name, record.metrics[name], record.subsets)
    return name


def _missing(records: dict[int, EvaluationRecord], names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        if place not in records:
            yield f"{name}: not run"
        elif records[place].status != "ok":
            yield f"{name}: {why_missing(records[place])}"


def _differences(measured: Sequence[EvaluationRecord]) -> Iterator[str]:
    for record in measured[1:]:
        same = match(measured[0], record)
        if not same.is_same:
            yield f"{record.name} is not comparable: {same.reason}"
        yield from same.notes


def _comments(measured: dict[int, EvaluationRecord], names: list[str]) -> list[str]:
    """Return the notes of all evaluations; one that not all models have begins with the names of those that do."""
    owners: dict[str, list[str]] = {}
    for place, record in measured.items():
        for note in dict.fromkeys(record.notes):
            owners.setdefault(note, []).append(names[place])
    return [note if len(who) == len(measured) else f"{', '.join(who)}: {note}" for note, who in owners.items()]


def _origins(runs: Sequence[Run]) -> list[str]:
    return [f"{label}: {origin(run)}" for label, run in zip(labels(runs), runs, strict=True)]


def _labels(found: Sequence[Table]) -> list[str]:
    """Return a distinct label for each table, of letters that TeX takes there."""
    names = [re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-") for table in found]
    return [f"{name}-{place}" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]
