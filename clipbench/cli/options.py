"""The options of an evaluation, which ``clipbench run`` and ``clipbench watch`` share, and ``clipbench doctor`` in part."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clipbench.cli.main import SHOWS_TRACEBACK, key_values

if TYPE_CHECKING:
    from clipbench.evaluation.session import SessionOptions
    from clipbench.models.options import LoadOptions

Command = TypeVar("Command", bound=Callable[..., object])


def evaluation_options(command: Command) -> Command:
    """Add the options that say how models are measured to a command; a decorator."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def doctor_options(command: Command) -> Command:
    """Add the options that say how a model and data are loaded for a diagnosis; a decorator."""
    for option in reversed(DOCTOR_OPTIONS):
        command = option(command)
    return command


def session_options(given: dict[str, Any]) -> "SessionOptions":
    """Return what the options of a command line ask a session for."""
    from clipbench.data import DataOptions
    from clipbench.evaluation.plan import RunOptions
    from clipbench.evaluation.session import SessionOptions

    return SessionOptions(
        tasks=given["tasks"] or ["all"],
        suite=given["suite"],
        prompts=given["prompts"],
        run=RunOptions(
            seed=given["seed"],
            limit=given["limit"],
            skip_bad_images=given["on_bad_image"] == "skip",
            keep_arrays=given["keep_arrays"],
            n_thumbnails=given["thumbnails"],
            raise_bugs=shows_traceback(),
            data=DataOptions(
                data_root=given["data_root"], allow_partial=given["allow_partial"], options=given["data_option"]
            ),
            command=click.get_current_context().obj,
        ),
        load=load_options(given),
        workers=given["workers"],
        checks_model=not given["no_preflight"],
        writes_reports=not given["no_report"],
        fetches=given.get("fetches", False),
        log=given["log"],
    )


def load_options(given: dict[str, Any]) -> "LoadOptions":
    """Return how a command line asks for a model to be loaded."""
    from clipbench.models.options import LoadOptions

    return LoadOptions(
        device=given["device"],
        precision=given["precision"],
        batch_size=given["batch_size"],
        arch=given["arch"],
        options=given["model_option"],
        trust_remote_code=given["trust_remote_code"],
    )


def shows_traceback() -> bool:
    """Return whether the command that runs was asked for the traceback of an error."""
    return bool(click.get_current_context().meta.get(SHOWS_TRACEBACK))


def _ask_for_traceback(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[SHOWS_TRACEBACK] = value


MODEL_OPTION = click.option(
    "--model-option",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Option of the model, such as context=248; repeatable.",
)
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run the code that comes with an hf: or st: model; the reference has to name its commit, ORG/REPO@COMMIT.",
)
ARCH = click.option("--arch", metavar="ARCH", help="Architecture of a bare checkpoint file, such as ViT-B-32.")
DATA_ROOT = click.option(
    "--data-root",
    envvar=["CLIPBENCH_DATA_ROOT", "CLIPBENCH_DATA"],
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that holds data sets by name. [default: .]",
)
DATA_OPTION = click.option(
    "--data-option",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Option of the data, such as split=test or a column name; repeatable.",
)
DEVICE = click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda, cuda:1, mps.")
DEVICES = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device: auto, cpu, cuda, cuda:1, mps; several, such as cuda:0,cuda:1; or all.",
)
PRECISION = click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Number format in which the model computes.",
)
BATCH_SIZE = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images or texts encoded at a time. [default: 64, and on a CUDA device the fastest]",
)
LIMIT = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure a random subset of N images, stratified by class.",
)
SEED = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0, max=2**63 - 1),
    help="Seed of subsets, resampling and all else that is random.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
TRACEBACK = click.option(
    "--traceback",
    is_flag=True,
    is_eager=True,  # before what may fail
    expose_value=False,
    callback=_ask_for_traceback,
    help="Print the traceback of an error.",
)

OPTIONS = (
    MODEL_OPTION,
    TRUST_REMOTE_CODE,
    ARCH,
    click.option(
        "--tasks",
        multiple=True,
        metavar="TASK[@DATA],...",
        help="Tasks to measure; all means those of the suite that are not only_by_name. [default: all]",
    ),
    click.option(
        "--suite",
        default="standard",
        show_default=True,
        metavar="NAME|FILE.toml",
        help="Suite: which data each task uses.",
    ),
    DATA_ROOT,
    DATA_OPTION,
    click.option(
        "--prompts",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="JSON file of zero-shot prompts: a list of templates, or a dict of prompts by class.",
    ),
    click.option(
        "--out",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Run folder; with several models, the folder of their run folders. [default: runs/TIME-MODEL]",
    ),
    DEVICES,
    PRECISION,
    BATCH_SIZE,
    click.option("--workers", type=click.IntRange(min=0), help="Processes that decode images. [default: cores - 1]"),
    LIMIT,
    SEED,
    click.option("--allow-partial", is_flag=True, help="Measure what is present when images or classes are missing."),
    click.option(
        "--on-bad-image",
        default="error",
        show_default=True,
        type=click.Choice(["error", "skip"]),
        help="Stop at an image that cannot be read, or skip it.",
    ),
    click.option(
        "--thumbnails",
        default=200,
        show_default=True,
        type=click.IntRange(min=0),
        metavar="N",
        help="Thumbnails of its worst mistakes that each evaluation keeps for the report, and five times as many smaller"
        " ones for scatter plots; 0 for none.",
    ),
    click.option("--keep-arrays", is_flag=True, help="Keep all vectors in the run folder, not a sample."),
    click.option("--no-preflight", is_flag=True, help="Skip the quick checks of the model before the run."),
    click.option("--no-report", is_flag=True, help="Write no report.html."),
    click.option(
        "--log",
        multiple=True,
        metavar="wandb|tensorboard|trackio|mlflow",
        help="Experiment tracker that finished runs are logged to; repeatable.",
    ),
    JSON,
    click.option("--quiet", is_flag=True, help="Print errors only."),
    TRACEBACK,
)

DOCTOR_OPTIONS = (
    MODEL_OPTION,
    TRUST_REMOTE_CODE,
    ARCH,
    DEVICE,
    PRECISION,
    BATCH_SIZE,
    DATA_ROOT,
    DATA_OPTION,
    LIMIT,
    SEED,
    JSON,
    TRACEBACK,
)
