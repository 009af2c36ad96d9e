"""``clipbench show``: print the results of runs, and what is missing from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import command
from clipbench.cli.options import RUNS, TRACEBACK
from clipbench.cli.output import echo, print_note, terminal_width
from clipbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from clipbench.results.record import EvaluationRecord, Metric, Result
    from clipbench.results.run import Run


@command()
@RUNS
@click.option(
    "--task", "tasks", multiple=True, metavar="TASK[@DATA]", help="Task to print (repeatable). [default: all]"
)
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    help="Print all metrics, notes, baselines, methods, data, versions and the command.",
)
@TRACEBACK
def show(runs: tuple[Path, ...], tasks: tuple[str, ...], shows_all: bool) -> None:
    """Print the results of runs, and what is missing from them.

    \b
    clipbench show runs/tiny                    # the headline of each task
    clipbench show runs/tiny --task retrieval   # all metrics of a task
    clipbench show runs/tiny --all              # and methods, data, versions
    clipbench show runs/*                       # a row per run, and which could be best

    A RUN is a run folder or the folder of several. If you give several RUNs, those without a run are left out.
    """
    from clipbench.results.run import all_evaluations, find_runs, read_run

    loaded_runs = [read_run(folder) for folder in find_runs(runs, print_note)]
    names = {name for record in all_evaluations(loaded_runs) for name in (record.name, record.task)}
    for task in tasks:
        if task not in names:
            raise UsageError(f"--task {task}: the run has no such task: {did_you_mean(task, names)}")
    if len(loaded_runs) > 1 and not tasks and not shows_all:
        from clipbench.cli.run_tables import many_runs_facts, many_runs_lines

        echo(*many_runs_lines(loaded_runs, terminal_width()), *many_runs_facts(loaded_runs))
        return
    for number, run in enumerate(loaded_runs):
        heading = [f"{run.folder}:"] if len(loaded_runs) > 1 else []
        echo(*[""] * bool(number), *heading, *_run_lines(run, tasks, shows_all=shows_all))


def _run_lines(run: "Run", tasks: Sequence[str], *, shows_all: bool) -> list[str]:
    """Return the results of some tasks of a run, of all without tasks, and what is missing."""
    from clipbench.cli.tables import average_lines, evaluation_lines, folded_facts, headline_lines
    from clipbench.results.opening import opening_lines
    from clipbench.results.provenance import missing_reason, model_facts, origin
    from clipbench.results.run import model_name

    result = run.result
    records = [record for record in result.evaluations if not tasks or record.task in tasks or record.name in tasks]
    lines = ["  ".join(filter(None, (model_name(run), ", ".join(model_facts(run))))), origin(run)]
    lines += [f"warning: {finding.check}: {finding.seen}. Fix: {finding.fix}" for finding in result.preflight or ()]
    lines += opening_lines(records)
    lines += _provenance(result) if shows_all else ()
    width = terminal_width()
    if not tasks and (table := headline_lines(records, width)):
        lines += ["", *table]
    folded = None if tasks or shows_all else folded_facts([record for record in records if record.status == "ok"])
    lines += [] if folded is None else [f"{folded}: --all"]
    for record in records:
        if tasks or shows_all or record.status != "ok":
            has_results = record.status == "ok"
            lines += [
                "",
                *(evaluation_lines(record, width) if has_results else [f"{record.name}  {missing_reason(record)}"]),
            ]
            lines += _detail_lines(record, width) if shows_all else ()
    if result.average is not None and not tasks:
        parts = (f"  {' + '.join(names)}" for names in result.average.parts)
        lines += ["", *average_lines(result.average, width), *(parts if shows_all else ())]
    missing = [record.name for record in records if record.status != "ok"]
    if not records:
        lines += ["", "missing: the run has no such evaluation" if tasks else "missing: the run has no evaluation"]
    elif missing:
        lines += ["", f"missing: {len(missing)} of {len(records)} evaluations: {', '.join(missing)}"]
    return lines


def _provenance(result: "Result") -> Iterator[str]:
    from clipbench.results.model_costs import cost_table, price_table
    from clipbench.results.table import as_text

    yield f"command: {' '.join(result.command)}"
    yield f"environment: {_pairs(result.environment)}"
    yield f"model: {_pairs(result.model)}"
    costs, prices = cost_table([result], [""]), price_table([result], [str(result.model.get("ref", ""))])
    for table in (costs and replace(costs, facts=""), prices):
        if table is not None:
            yield from as_text(table).splitlines()
            yield from (f"  {warning}" for warning in table.warnings)


def _detail_lines(record: "EvaluationRecord", width: int | None) -> Iterator[str]:
    from clipbench.cli.tables import metric_lines

    data = record.dataset
    yield f"  data: revision {data.revision}, split {data.split}, fingerprint {data.fingerprint}"
    if data.cite:
        yield f"  cite: {data.cite}"
    parameters = [f"{key} {value}" for key, value in record.params.items()]
    yield f"  task: {', '.join([f'version {record.task_version}', *parameters])}"
    if record.baselines:
        yield "  baselines:"
        yield from ("  " + line for line in metric_lines(record.baselines, width and width - 2))
    yield from (f"  {line}" for line in _interval_methods(record.metrics))


def _interval_methods(metrics: "Mapping[str, Metric]") -> Iterator[str]:
    """Yield how the intervals of the metrics with a value were made, then why the others have no interval."""
    from clipbench.results.numbers import interval_name

    with_interval: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            continue
        if metric.low is None:
            without.setdefault(metric.reason or "no interval", []).append(name)
        else:
            method = f"{interval_name([metric])} by {metric.method or 'a method not recorded'}"
            with_interval.setdefault(method, []).append(name)
    yield from (f"{method}: {', '.join(names)}" for method, names in with_interval.items())
    yield from (f"{', '.join(names)}: {reason}" for reason, names in without.items())


def _pairs(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())
