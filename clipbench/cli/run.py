"""``clipbench run``: measure models and write run folders and a report."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from clipbench.cli.main import DONE, INCOMPLETE, INTERRUPTED, SETTINGS
from clipbench.cli.options import evaluation_options, session_options
from clipbench.cli.output import print_error
from clipbench.cli.processes import serves_another, sharing_work
from clipbench.errors import ClipbenchError, UsageError


@click.command(context_settings=SETTINGS)
@click.option("--model", "models", multiple=True, required=True, metavar="REF", help="Model to measure; repeatable.")
@evaluation_options
@click.option(
    "--yes",
    is_flag=True,
    help="Fetch missing data sets without asking; implied where the environment variable CI is set.",
)
@click.option("--offline", is_flag=True, help="Do not use the network.")
@click.option("-v", "--verbose", is_flag=True, help="Print all metrics and notes, not one metric for each task.")
def run(**given: Any) -> int:
    """Measure models on tasks, and write a report.

    Each model gets a run folder with result.json, a table of samples for each task, and report.html.

    \b
    --model   vit-b-32, siglip-b-16, ... (clipbench list models)
              open_clip:ARCH/TAG   hf:ORG/REPO   hf:PATH   hf-hub:ORG/REPO   local-dir:PATH
              PATH.safetensors or PATH.pt with --arch ARCH
              'runs/train/step-*'  a pattern: all matching checkpoints, in the order of their steps
              st:ORG/REPO  onnx:FOLDER  api:URL  pair:IMAGE_REF+TEXT_REF
              embeddings:FILE.npz  python:module:factory
    --tasks   all   zero-shot   retrieval@path/to/captions.jsonl   zero-shot@hf:ORG/NAME:config:split

    Exit status: 0 done, 2 bad usage or input, 3 something could not be measured, 130 interrupted.
    """
    if given["verbose"] and (given["quiet"] or given["as_json"]):
        raise UsageError(f"--verbose has no meaning with {'--quiet' if given['quiet'] else '--json'}: drop one of them")
    if given["offline"]:
        from clipbench.hub import cache_only

        click.get_current_context().with_resource(cache_only())
    if serves_another(given):
        return DONE
    with sharing_work(given, click.get_current_context().obj[1:]):
        return _lead(given)


def _lead(given: dict[str, Any]) -> int:
    """Run the command in the process that writes and prints: the only one, or the first of several."""
    from clipbench.cli.fetching import FetchingPrinter
    from clipbench.cli.summary import results_alone
    from clipbench.evaluation.session import Session
    from clipbench.evaluation.targets import REPORT, find_targets
    from clipbench.results.run import check_whole

    targets = find_targets(given["models"], given["out"], writes_reports=not given["no_report"])
    printer = FetchingPrinter(
        quiet=given["quiet"],
        as_json=given["as_json"],
        several=targets.are_several,
        is_series=targets.are_series,
        is_verbose=given["verbose"],
        root=given["data_root"] or Path(),
        may_fetch=given["yes"] or is_in_ci(),
        again=_again(click.get_current_context().obj),
        quick=_quick_command(given, click.get_current_context().obj),
    )
    options = replace(session_options({**given, "fetches": None}), recalls_models=True)
    session = Session(options, targets, printer)
    try:
        with results_alone(given["as_json"]):
            runs = session.run_all()
            session.try_report_all(runs)
            session.end_log()
        for run in runs:
            check_whole(run)
    except KeyboardInterrupt:
        what = "what was encoded is stored"
        if targets.are_several:
            what = f"{session.n_done} of {len(targets.each)} models are finished, in {targets.out}"
        after = f"the same command with --out {targets.out} goes on from there"
        print_error(f"interrupted: {what}; {after}")
        return INTERRUPTED
    except ClipbenchError:
        printer.still_missing(session.needs)
        raise
    is_done = session.is_complete and all(map(session.is_whole, runs))
    printer.still_missing(session.needs, is_excused=is_done)
    reports = [targets.out / REPORT, *(run.folder / REPORT for run in runs)]
    printer.end(runs, next((path for path in reports if path.is_file()), None))
    return DONE if is_done else INCOMPLETE


def _quick_command(given: dict[str, Any], command: list[str]) -> str | None:
    """Return a command with the quick suite, into a folder of its own; None where something else than the papers'
    benchmarks is asked for."""
    from clipbench.evaluation.plan import QUICK, STANDARD

    if given["suite"] != STANDARD or any("@" in tasks for tasks in given["tasks"]):
        return None
    out = [] if given["out"] is None else ["--out", f"{given['out']}-{QUICK}"]
    return shlex.join([*command, "--suite", QUICK, *out])


def _again(command: list[str]) -> str:
    """Return a command with leave to fetch, and to use the network."""
    return shlex.join([*(part for part in command if part not in ("--offline", "--yes")), "--yes"])


def is_in_ci() -> bool:
    """Return whether this runs in continuous integration, where no one answers questions."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")
