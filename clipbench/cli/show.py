"""``clipbench show``: a run in the terminal, from its result alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import SETTINGS
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo, terminal_width
from clipbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from clipbench.results.record import AverageRecord, EvaluationRecord, Metric, Result


@click.command(context_settings=SETTINGS)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--task", "tasks", multiple=True, metavar="TASK[@DATA]", help="Task to print; repeatable. [default: all]")
@click.option(
    "--all",
    "shows_all",
    is_flag=True,
    help="Print all metrics, notes, controls, methods, data, versions and the command.",
)
@TRACEBACK
def show(run: Path, tasks: tuple[str, ...], shows_all: bool) -> None:
    """Print the results of a run, and what is missing from it.

    \b
    clipbench show runs/tiny                             # the headline metric of each task
    clipbench show runs/tiny --task retrieval            # all metrics and notes of a task
    clipbench show runs/tiny --task retrieval --all      # and controls, methods, data and versions
    """
    from clipbench.cli.summary import average_lines, folded_facts, headline_lines
    from clipbench.results.provenance import model_facts, origin
    from clipbench.results.run import model_name, read_one_run

    found = read_one_run(run)
    result = found.result
    records = _chosen(result.evaluations, tasks)
    lines = ["  ".join(filter(None, (model_name(found), ", ".join(model_facts(found))))), origin(found)]
    lines += [f"warning: {each.check}: {each.seen}; {each.mend}" for each in result.preflight or ()]
    lines += _provenance(result) if shows_all else ()
    width = terminal_width()
    if not tasks and (table := headline_lines(records, width)):
        lines += ["", *table]
    folded = None if tasks or shows_all else folded_facts([record for record in records if record.status == "ok"])
    lines += [] if folded is None else [f"{folded}: --all"]
    for record in records:
        if tasks or shows_all or record.status != "ok":
            lines += ["", *_evaluation(result, record, width), *(_rest(record, width) if shows_all else ())]
    if result.average is not None and not tasks:
        lines += ["", *average_lines(result.average, width), *(_parts(result.average) if shows_all else ())]
    lines += _missing(records)
    echo(*lines)


def _chosen(records: "Sequence[EvaluationRecord]", tasks: Sequence[str]) -> "list[EvaluationRecord]":
    for asked in tasks:
        if not any(asked in (record.task, record.name) for record in records):
            known = {record.name for record in records} | {record.task for record in records}
            raise UsageError(f"--task {asked}: the run has no such task: {did_you_mean(asked, known)}")
    return [record for record in records if not tasks or record.task in tasks or record.name in tasks]


def _provenance(result: "Result") -> Iterator[str]:
    from clipbench.results.costs import cost_table
    from clipbench.results.table import as_text

    yield f"command: {' '.join(result.command)}"
    yield f"environment: {_pairs(result.environment)}"
    yield f"model: {_pairs(result.model)}"
    costs = cost_table([result], [""])
    if costs is not None:
        yield from as_text(replace(costs, facts="")).splitlines()
        yield from (f"  {warning}" for warning in costs.warnings)


def _evaluation(result: "Result", record: "EvaluationRecord", width: int | None) -> list[str]:
    from clipbench.cli.summary import evaluation_lines
    from clipbench.results.provenance import why_missing

    if record.status != "ok":
        return [f"{record.name}  {why_missing(record)}"]
    is_precomputed = result.model.get("family") == "embeddings"
    return evaluation_lines(record, is_precomputed=is_precomputed, width=width)


def _rest(record: "EvaluationRecord", width: int | None) -> Iterator[str]:
    """Yield the facts that ``run`` does not print."""
    from clipbench.cli.summary import metric_lines

    data = record.dataset
    yield f"  data: revision {data.revision}, split {data.split}, fingerprint {data.fingerprint}"
    if data.cite:
        yield f"  cite: {data.cite}"
    yield f"  task: version {record.task_version}{''.join(f', {key} {value}' for key, value in record.params.items())}"
    if record.controls:
        yield "  controls:"
        yield from ("  " + line for line in metric_lines(record.controls, width and width - 2))
    yield from (f"  {line}" for line in _methods(record.metrics))


def _parts(average: "AverageRecord") -> Iterator[str]:
    """Yield what an average is made of."""
    yield from (f"  {' + '.join(names)}" for names in average.parts)


def _methods(metrics: "Mapping[str, Metric]") -> Iterator[str]:
    """Yield how the intervals of the metrics that have a value were made; then why others have none."""
    with_interval: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            continue
        if metric.low is None:
            without.setdefault(metric.reason or "no interval", []).append(name)
        else:
            made = f"{100 * metric.confidence:g} % interval by {metric.method or 'a method not recorded'}"
            with_interval.setdefault(made, []).append(name)
    yield from (f"{made}: {', '.join(names)}" for made, names in with_interval.items())
    yield from (f"{', '.join(names)}: {reason}" for reason, names in without.items())


def _missing(records: "Sequence[EvaluationRecord]") -> list[str]:
    lacking = [record.name for record in records if record.status != "ok"]
    if not records:
        return ["", "missing: the run has no evaluation"]
    return ["", f"missing: {len(lacking)} of {len(records)} evaluations: {', '.join(lacking)}"] if lacking else []


def _pairs(facts: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())
