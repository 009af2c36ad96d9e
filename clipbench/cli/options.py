"""The options of an evaluation, which ``clipbench run`` and ``clipbench watch`` share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from clipbench.cli.main import key_values

Command = TypeVar("Command", bound=Callable[..., object])


def evaluation_options(command: Command) -> Command:
    """Give a command all that says how models are measured; for use as a decorator."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


OPTIONS = (
    click.option(
        "--model-option",
        multiple=True,
        metavar="KEY=VALUE",
        callback=key_values,
        help="Passed to the model; repeatable.",
    ),
    click.option("--arch", metavar="ARCH", help="Architecture of a bare checkpoint file, such as ViT-B-32."),
    click.option("--tasks", multiple=True, metavar="TASK[@DATA],...", help="all, or tasks with or without data."),
    click.option(
        "--suite", default="standard", show_default=True, metavar="NAME|FILE.toml", help="Data for each task."
    ),
    click.option(
        "--data-root",
        envvar=["CLIPBENCH_DATA_ROOT", "CLIPBENCH_DATA"],
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Folder that holds data sets by name.",
    ),
    click.option(
        "--data-option",
        multiple=True,
        metavar="KEY=VALUE",
        callback=key_values,
        help="Column names and split of the data, such as split=test; repeatable.",
    ),
    click.option(
        "--prompts",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Templates (a list), or prompts by class (a dict), for zero-shot.",
    ),
    click.option(
        "--out",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Run folder; with several models, their parent. [default: runs/TIME-MODEL]",
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option("--precision", default="fp32", show_default=True, type=click.Choice(["fp32", "bf16", "fp16"])),
    click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1)),
    click.option("--workers", type=click.IntRange(min=0), help="Processes that decode images. [default: cores - 1]"),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Score a seeded, stratified subset."),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0, max=2**63 - 1)),
    click.option("--allow-partial", is_flag=True, help="Score what is there when images or classes are missing."),
    click.option("--on-bad-image", default="error", show_default=True, type=click.Choice(["error", "skip"])),
    click.option(
        "--thumbnails",
        default=200,
        show_default=True,
        type=click.IntRange(min=0),
        metavar="N",
        help="Small images that each evaluation keeps for the report: of its worst mistakes N, or all if there are no"
        " more; of the points of a scatter up to 5 N, yet smaller. 0: none.",
    ),
    click.option("--keep-arrays", is_flag=True, help="Keep all vectors in the run, not a sample."),
    click.option("--no-preflight", is_flag=True, help="Accepted; there is no preflight check yet.", hidden=True),
    click.option("--no-report", is_flag=True, help="Write no report.html."),
    click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output."),
    click.option("--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("--traceback", is_flag=True, help="Show the traceback of an error."),
)
