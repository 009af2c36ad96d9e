"""``clipbench run``: measure models and write run folders and a report."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli import options
from clipbench.cli.main import BAD_INPUT, DONE, INCOMPLETE, INTERRUPTED, command
from clipbench.cli.options import PATH, DataArguments, ModelArguments, shows_traceback, with_arguments
from clipbench.cli.output import print_error
from clipbench.cli.processes import launch_processes, serve_as_worker, share_work
from clipbench.errors import FOREIGN, RESUME, ClipbenchError, UsageError, error_summary
from clipbench.results.metric_name import names_data

if TYPE_CHECKING:
    from clipbench.cli.printer import Printer
    from clipbench.evaluation.output_folders import Targets
    from clipbench.evaluation.session import Session, SessionOptions


@dataclass(frozen=True, kw_only=True)
class RunArguments(ModelArguments, DataArguments):
    """The arguments of ``clipbench run``."""

    models: Sequence[str]
    watch: Path | None
    interval: float | None
    idle: float | None
    tasks: Sequence[str]
    suite: str
    prompts: Path | None
    out: Path | None
    workers: int | None
    on_bad_image: str
    thumbnails: int
    keep_arrays: bool
    keep_lists: int
    no_preflight: bool
    price: bool
    no_report: bool
    log: Sequence[str]
    as_json: bool
    yes: bool
    offline: bool
    verbose: bool | None
    """None if neither ``--verbose`` nor ``--quiet`` is set."""


@command(
    What=("models", "watch", "tasks", "suite", "prompts", "out"),
    Data=("data", "data_root", "data_option", "limit", "yes", "offline"),
    Model=("model_option", "arch", "precision"),
    Speed=("device",),
    Output=("as_json", "verbose"),
)
@click.option("--model", "models", multiple=True, metavar="REF", help="Model to measure (repeatable).")
@click.option(
    "--watch",
    metavar="FOLDER",
    type=PATH,
    help="Measure the checkpoints in the folder of a training as they appear, instead of --model.",
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="With --watch: seconds between two scans of FOLDER. [default: 60]",
)
@click.option(
    "--idle",
    metavar="MINUTES",
    type=click.FloatRange(min=0),
    help=(
        "With --watch: end after MINUTES without a new checkpoint. "
        "0 measures the present checkpoints and ends. [default: never]"
    ),
)
@options.MODEL_OPTION
@options.TRUST_REMOTE_CODE
@options.ARCH
@click.option(
    "--tasks",
    multiple=True,
    metavar="TASK[@DATA],...",
    help="Tasks to measure. all is every task, except those that the suite runs only by name. [default: all]",
)
@click.option("--data", metavar="DATA", help="Data of all tasks, instead of the suite's.")
@click.option("--suite", default="standard", metavar="NAME|FILE.toml", help="Suite: which data each task uses.")
@options.DATA_ROOT
@options.DATA_OPTION
@click.option(
    "--prompts",
    metavar="FILE",
    type=PATH,
    help="JSON file of zero-shot prompts: a list of templates, or a dict of prompts by class.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=PATH,
    help="Run folder, or with several models the folder of their run folders. [default: runs/TIME-MODEL]",
)
@options.DEVICES
@options.PRECISION
@options.BATCH_SIZE
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode images. [default: cores - 1]"
)
@options.LIMIT
@options.SEED
@click.option("--allow-partial", is_flag=True, help="Measure what is present when images or classes are missing.")
@click.option(
    "--on-bad-image",
    default="error",
    type=click.Choice(["error", "skip"]),
    help="Stop at an image that cannot be read, or skip it.",
)
@click.option(
    "--thumbnails",
    default=200,
    type=click.IntRange(min=0),
    metavar="N",
    help=(
        "Thumbnails that each evaluation keeps of its worst mistakes. It also keeps five times this number of"
        " smaller ones for scatter plots. 0 keeps none."
    ),
)
@click.option("--keep-arrays", is_flag=True, help="Keep all vectors in the run folder, instead of a sample.")
@click.option(
    "--keep-lists",
    default=0,
    type=click.IntRange(min=0),
    metavar="K",
    help="Keep the first K results of each query of retrieval in the run folder, for export --to trec.",
)
@click.option(
    "--no-preflight",
    is_flag=True,
    help="Skip the quick checks of the model before the run, and the tries of its texts after.",
)
@click.option(
    "--price",
    is_flag=True,
    help="Measure what one query costs first: seconds to load, time of one text and one image, best speed, memory.",
)
@click.option("--no-report", is_flag=True, help="Write no report.html.")
@click.option(
    "--log",
    multiple=True,
    metavar="wandb|tensorboard|trackio|mlflow",
    help="Experiment tracker that finished runs are logged to (repeatable).",
)
@options.JSON
@click.option(
    "--yes",
    is_flag=True,
    help="Fetch missing data sets without asking. This is the default if the environment variable CI is set.",
)
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option(
    "-v/-q",
    "--verbose/--quiet",
    default=None,
    help="Print all metrics and notes, or only errors. [default: the first metric of each task]",
)
@options.TRACEBACK
@with_arguments(RunArguments)
def run(arguments: RunArguments) -> int:
    """Measure models on tasks, and write a report.

    Each model gets a run folder with result.json, a table of samples for each task, and report.html.

    \b
    --model   vit-b-32, siglip-b-16, ...
              open_clip:ARCH/TAG  hf:ORG/REPO  hf:PATH
              embeddings:FILE.npz
              PATH.safetensors or PATH.pt with --arch ARCH
              'runs/train/step-*': all matching checkpoints, by their steps
              and more: clipbench list models
    --watch   a folder with step-*/ (clipbench train), checkpoint-*/
              (transformers), or *.pt and *.safetensors (open_clip, with
              --arch), also in FOLDER/checkpoints
    --tasks   all  zero-shot  zero-shot@hf:ORG/NAME  retrieval@captions.jsonl

    With --watch each checkpoint gets a run folder in --out (default: runs/watch-FOLDER), and all of them a joint
    report. A checkpoint that is still being written is measured once it no longer changes. A checkpoint that cannot be
    read is tried again when it changes. After an interruption, the same command continues.

    Exit status: 0 done, 2 bad usage, or a model or data of which nothing can be measured, 3 something could not be
    measured, 130 interrupted.
    """
    _check(arguments)
    context = click.get_current_context()
    if arguments.offline:
        from clipbench.hub import cache_only

        context.with_resource(cache_only())
    if arguments.watch is not None:
        from clipbench.cli.watch import INTERVAL, watch

        return watch(
            arguments.watch,
            arguments.out,
            _session_options(arguments),
            _printer(arguments, several=True, is_series=True),
            interval=arguments.interval or INTERVAL,
            idle=None if arguments.idle is None else 60 * arguments.idle,
        )
    status, device = launch_processes(arguments.device, arguments.models, context.obj[1:], advice=RESUME)
    if status is not None:
        return status
    if serve_as_worker():
        return DONE
    with share_work(arguments.models):
        return _run_as_lead(replace(arguments, device=device))


def _check(arguments: RunArguments) -> None:
    watched = arguments.watch is not None
    if watched == bool(arguments.models):
        raise click.UsageError("expected either --model REF, the model to measure, or --watch FOLDER")
    for name, value in {"interval": arguments.interval, "idle": arguments.idle}.items():
        if value is not None and not watched:
            raise click.UsageError(f"--{name} has no effect without --watch: add --watch FOLDER, or remove --{name}")
    is_one = arguments.device != "all" and "," not in arguments.device and os.environ.get("WORLD_SIZE", "1") == "1"
    if watched and not is_one:
        raise click.UsageError("--watch measures in one process: give one --device, and start it without torchrun")
    for name, is_used in {"json": arguments.as_json, "watch": watched}.items():
        if arguments.verbose and is_used:
            raise UsageError(f"--verbose has no effect with --{name}: remove one of them")


def _run_as_lead(arguments: RunArguments) -> int:
    """Run the command in the process that writes and prints: the only one, or the first of several."""
    from clipbench.evaluation.output_folders import find_targets
    from clipbench.evaluation.session import Session

    targets = find_targets(arguments.models, arguments.out, writes_reports=not arguments.no_report)
    printer = _printer(arguments, several=targets.are_several, is_series=targets.are_series)
    session, failures = None, dict[str, str]()
    try:
        session = Session(_session_options(arguments), targets, printer)
        return _measure_targets(session, printer, arguments)
    except BrokenPipeError:  # nobody reads what is printed, which says nothing about the models
        raise
    except FOREIGN as error:
        reason = str(error) if isinstance(error, ClipbenchError) else error_summary(error)
        failures = {target.reference: reason for target in targets.models}
        raise
    finally:
        if session is not None:
            failures |= session.failures
        if arguments.out is not None:  # nobody knows the name of another folder before
            _write_failures(targets, failures)


def _write_failures(targets: "Targets", failures: Mapping[str, str]) -> None:
    """Leave the reason in the folder of each model that could not be measured, if a run could be written there."""
    from clipbench.evaluation.output_folders import check_folder
    from clipbench.files import folder_lock
    from clipbench.results.failure import write_failure

    for target in targets.models:
        if target.reference not in failures:
            continue
        # A folder that holds something, or that another process writes to, stays as it is.
        with suppress(ClipbenchError), folder_lock(target.folder):
            check_folder(target.folder)
            command = click.get_current_context().obj
            write_failure(target.folder, model=target.reference, command=command, reason=failures[target.reference])


def _measure_targets(session: "Session", printer: "Printer", arguments: RunArguments) -> int:
    """Measure all models and return the exit status."""
    from clipbench.cli.printer import reserve_stdout
    from clipbench.evaluation.output_folders import REPORT
    from clipbench.results.run import all_evaluations

    targets = session.targets
    try:
        with reserve_stdout(arguments.as_json):
            runs = session.run_all()
            session.try_report_all(runs)
            session.end_log()
    except KeyboardInterrupt:
        progress = "encoded vectors are stored"
        if targets.are_several:
            progress = f"{session.n_done} of {len(targets.models)} models are finished, in {targets.out}"
        print_error(f"interrupted: {progress}. The same command with --out {targets.out} resumes from there")
        return INTERRUPTED
    except ClipbenchError:
        printer.still_missing(session.needs)
        raise
    is_done = session.is_complete and all(map(session.covers_requests, runs))
    printer.still_missing(session.needs, is_excused=is_done)
    reports = [targets.out / REPORT, *(run.folder / REPORT for run in runs)]
    printer.end(runs, next((path for path in reports if path.is_file()), None))
    if is_done:
        return DONE
    is_unusable = all(record.status == "failed" and record.error for record in all_evaluations(runs))
    return BAD_INPUT if is_unusable else INCOMPLETE


def _session_options(arguments: RunArguments) -> "SessionOptions":
    from clipbench.evaluation.plan import RunOptions
    from clipbench.evaluation.session import SessionOptions

    return SessionOptions(
        tasks=arguments.tasks or ["all"],
        suite=arguments.suite,
        data=arguments.data,
        prompts=arguments.prompts,
        run=RunOptions(
            seed=arguments.seed,
            limit=arguments.limit,
            skip_bad_images=arguments.on_bad_image == "skip",
            keep_arrays=arguments.keep_arrays,
            keep_lists=arguments.keep_lists,
            n_thumbnails=arguments.thumbnails,
            raise_bugs=shows_traceback(),
            data=arguments.data_options,
            command=click.get_current_context().obj,
        ),
        load=arguments.load_options,
        workers=arguments.workers,
        checks_model=not arguments.no_preflight,
        owns_process=arguments.watch is None,
        prices=arguments.price,
        writes_reports=not arguments.no_report,
        fetches=None,
        log=arguments.log,
    )


def _printer(arguments: RunArguments, *, several: bool, is_series: bool) -> "Printer":
    from clipbench.cli.printer import Printer

    command = click.get_current_context().obj
    again = [*(part for part in command if part not in ("--offline", "--yes")), "--yes"]
    if arguments.verbose is False:
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read where the library is imported, which is later
    return Printer(
        quiet=arguments.verbose is False,
        as_json=arguments.as_json,
        several=several,
        is_series=is_series,
        is_verbose=arguments.verbose is True,
        root=arguments.data_root or Path(),
        may_fetch=arguments.yes or os.environ.get("CI", "").lower() in ("1", "true", "yes"),
        again=shlex.join(again),
        quick=_quick_command(arguments, command),
        tasks=arguments.tasks or ["all"],
        models=arguments.models,
    )


def _quick_command(arguments: RunArguments, command: list[str]) -> str | None:
    """Return the command with the quick suite and a folder of its own, or None if it names other data or another
    suite.
    """
    from clipbench.evaluation.plan import QUICK, STANDARD

    if arguments.suite != STANDARD or arguments.data is not None or any(map(names_data, arguments.tasks)):
        return None
    parts = []
    for previous, part in pairwise(["", *command]):
        names_folder = previous == "--out" or part.startswith("--out=")
        if part != "--offline":
            parts.append(f"{part.rstrip('/')}-{QUICK}" if names_folder else part)
    return shlex.join([*parts, "--suite", QUICK])
