"""``clipbench run``: measure models and write run folders and a report."""

from typing import Any

import click

from clipbench.cli.main import DONE, INCOMPLETE, INTERRUPTED, SETTINGS
from clipbench.cli.options import evaluation_options, session_options
from clipbench.cli.output import print_error


@click.command(context_settings=SETTINGS)
@click.option("--model", "models", multiple=True, required=True, metavar="REF", help="Model to measure; repeatable.")
@evaluation_options
def run(**given: Any) -> int:
    """Measure models on tasks, and write a report.

    Each model gets a run folder with result.json, a table of samples for each task, and report.html.

    \b
    --model   vit-b-32, siglip-b-16, ... (clipbench list models)
              open_clip:ARCH/TAG   hf:ORG/REPO   hf:PATH   hf-hub:ORG/REPO   local-dir:PATH
              PATH.safetensors or PATH.pt with --arch ARCH
              'runs/train/step-*'  a pattern: all matching checkpoints, in the order of their steps
              onnx:FOLDER  api:URL  pair:IMAGE_REF+TEXT_REF
              embeddings:FILE.npz  python:module:factory
    --tasks   all   zero-shot   retrieval@path/to/captions.jsonl   zero-shot@hf:ORG/NAME:config:split

    Exit status: 0 done, 2 bad usage or input, 3 something could not be measured, 130 interrupted.
    """
    from clipbench.cli.summary import Printer, results_alone
    from clipbench.evaluation.session import Session
    from clipbench.evaluation.targets import find_targets
    from clipbench.results.run import check_whole

    targets = find_targets(given["models"], given["out"], writes_reports=not given["no_report"])
    printer = Printer(
        quiet=given["quiet"], as_json=given["as_json"], several=targets.are_several, is_series=targets.are_series
    )
    session = Session(session_options(given), targets, printer)
    try:
        with results_alone(given["as_json"]):
            runs = session.run_all()
            session.report_all(runs)
        for run in runs:
            check_whole(run)
    except KeyboardInterrupt:
        what = "what was encoded is stored"
        if targets.are_several:
            what = f"{session.n_done} of {len(targets.each)} models are finished, in {targets.out}"
        after = f"the same command with --out {targets.out} goes on from there"
        print_error(f"interrupted: {what}; {after}")
        return INTERRUPTED
    printer.end(runs)
    return DONE if session.is_complete and all(run.result.is_complete for run in runs) else INCOMPLETE
