"""``markdown`` and ``latex``: tables for people, one per evaluation, with a line per metric and a column per model."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain

from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.matching import match
from clipbench.results.numbers import NONE, count, interval, interval_name, number, symbol
from clipbench.results.provenance import data_facts, missing_reason, origin
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, labels
from clipbench.results.run_names import distinct_names
from clipbench.results.table import Cell, Column, Row, Table, as_latex, as_markdown, columns, note_number
from clipbench.results.table.latex import PACKAGES
from clipbench.results.table.markdown import bullets
from clipbench.results.titles import full_title
from clipbench.untrusted.terminal import one_line


def markdown(runs: Sequence[Run]) -> RenderedExport:
    """Return GitHub's Markdown: which models, then a heading and a table for each evaluation."""
    parts = ["\n".join(bullets(_origins(runs))), *map(as_markdown, tables(runs))]
    return RenderedExport(content=("\n\n".join(parts) + "\n").encode())


def latex(runs: Sequence[Run]) -> RenderedExport:
    """Return booktabs tables, and as comments what a paper rarely prints: fingerprints, and notes of the evaluations.

    An evaluation that no model could be measured on has no table: it is a comment, and a note.
    """
    measured, notes = list[Table](), list[str]()
    for table in tables(runs):
        if table.rows:
            measured.append(table)
        else:
            notes += [one_line(f"{table.title}: {warning}") for warning in table.warnings]
    head = [f"Made by `clipbench export --to latex`. Needs {PACKAGES}."]
    head += [one_line(line) for line in _origins(runs)]
    head += notes
    parts = ["\n".join(f"% {line}" for line in head)]
    # Labels of letters that TeX takes there.
    labels = distinct_names([re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-") for table in measured])
    parts += [as_latex(table, label) for table, label in zip(measured, labels, strict=True)]
    return RenderedExport(content=("\n\n".join(parts) + "\n").encode(), notes=notes)


def tables(runs: Sequence[Run]) -> list[Table]:
    """Return the tables of all evaluations in the order in which they first appear.

    A run that has a task on the same data twice, with other parameters, has it in two tables.
    """
    return [_table(records, labels(runs)) for records in records_by_evaluation(runs)]


def records_by_evaluation(runs: Sequence[Run]) -> list[dict[int, EvaluationRecord]]:
    """Return the records of each evaluation by the position of the run; a second one of a run is another evaluation."""
    records: dict[tuple[str, int], dict[int, EvaluationRecord]] = {}
    for position, run in enumerate(runs):
        names: list[str] = []
        for record in run.result.evaluations:
            names.append(record.name)
            records.setdefault((record.name, names.count(record.name)), {})[position] = record
    return list(records.values())


def _table(records: dict[int, EvaluationRecord], names: list[str]) -> Table:
    measured = {model: record for model, record in records.items() if record.status == "ok"}
    first = next(iter(measured.values()), next(iter(records.values())))
    by_name: dict[str, dict[int, Metric]] = {}
    for model, record in measured.items():
        for name, metric in record.metrics.items():
            by_name.setdefault(name, {})[model] = metric
    values = "not measured"
    if by_name:
        all_metrics = chain.from_iterable(metrics.values() for metrics in by_name.values())
        values = f"{interval_name(all_metrics)}s in brackets"
    notes: list[str] = []
    rows = [_row(name, metrics, measured, len(names), notes) for name, metrics in by_name.items()]
    return Table(
        title=first.name,
        facts=f"{data_facts(first.dataset)}; {values}",
        columns=[
            *columns("metric", "unit"),
            *(Column(name, model=model) for model, name in enumerate(names)),
            *columns(numbers=("chance", "n")),
        ],
        rows=rows,
        notes=notes,
        warnings=[*_missing_models(records, names), *dict.fromkeys(_differences(first, measured))],
        comments=_comments(measured, names),
    )


def _missing_models(records: Mapping[int, EvaluationRecord], names: Sequence[str]) -> list[str]:
    """Return why models have no numbers of an evaluation."""
    missing = []
    for model, name in enumerate(names):
        if model not in records:
            missing.append(f"{name}: not run")
        elif records[model].status != "ok":
            missing.append(f"{name}: {missing_reason(records[model])}")
    return missing


def _differences(first: EvaluationRecord, measured: Mapping[int, EvaluationRecord]) -> list[str]:
    """Return what is not the same in the first record and the others, so that their numbers cannot be compared."""
    differences = []
    for record in measured.values():
        same = match(first, record)
        if not same.is_same:
            differences.append(f"{record.name} is not comparable: {same.reason}")
        if record is not first:
            differences += same.notes
    return differences


def _comments(measured: Mapping[int, EvaluationRecord], names: Sequence[str]) -> list[str]:
    """Return the notes of all models. A note that not all models have begins with the names of those that do."""
    models_by_note: dict[str, list[str]] = {}
    for model, record in measured.items():
        for note in dict.fromkeys(record.notes):
            models_by_note.setdefault(note, []).append(names[model])
    comments = []
    for note, models in models_by_note.items():
        is_shared = len(models) == len(measured)
        comments.append(note if is_shared else f"{', '.join(models)}: {note}")
    return comments


def _row(
    name: str, metrics: dict[int, Metric], measured: dict[int, EvaluationRecord], n_models: int, notes: list[str]
) -> Row:
    """Return the line of a metric, and add the reasons for missing values to the notes."""

    def cell(model: int) -> Cell:
        if model not in measured:
            return Cell(NONE)
        if model not in metrics:
            return Cell(NONE, note=note_number("the run has no such metric", notes))
        metric = metrics[model]
        if metric.value is None:
            return Cell(NONE, note=note_number(f"undefined: {metric.reason or 'no reason was recorded'}", notes))
        value = number(metric.value, metric.unit)
        if metric.low is None or metric.high is None:
            return Cell(value, note=note_number(metric.reason or "no interval: no reason was recorded", notes))
        return Cell(value, aside=interval(metric))

    model, first = next(iter(metrics.items()))
    title = full_title(name, first, measured[model].subsets) if first.title else name
    cells = [cell(model) for model in range(n_models)]
    levels = [number(metric.chance, metric.unit) for metric in metrics.values() if metric.chance is not None]
    sizes = [count(metric.n) for metric in metrics.values() if metric.value is not None]
    chance, n = " / ".join(dict.fromkeys(levels)), " / ".join(dict.fromkeys(sizes))
    return [title, symbol(first.unit), *cells, chance, n]


def _origins(runs: Sequence[Run]) -> list[str]:
    return [f"{label}: {origin(run)}" for label, run in zip(labels(runs), runs, strict=True)]


def _one_markdown_table(table: Table) -> RenderedExport:
    return RenderedExport(content=f"{as_markdown(table).strip()}\n".encode(errors="replace"))


def _one_latex_table(table: Table) -> RenderedExport:
    head = f"% Made by `clipbench export --to latex --rows models`. Needs {PACKAGES}."
    return RenderedExport(content=f"{head}\n{as_latex(table, 'models')}\n".encode(errors="replace"))


MARKDOWN = ExportFormat(suffixes=(".md",), render=markdown, render_table=_one_markdown_table)
LATEX = ExportFormat(suffixes=(".tex",), render=latex, render_table=_one_latex_table)
