"""``clipbench train``: train the bundled CLIP, with a log and checkpoints in a folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from clipbench.cli.main import DONE, INTERRUPTED, command
from clipbench.cli.options import DATA_ROOT, DEVICES, PATH, TRACEBACK, key_values, with_arguments
from clipbench.cli.output import echo, print_error, print_note
from clipbench.cli.processes import launch_processes
from clipbench.training.options import LOSS_NAMES, TRAINING_PRECISIONS

if TYPE_CHECKING:
    from clipbench.training.options import TrainOptions


RESUME = "the same command with --resume continues from the last checkpoint"


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """The arguments of ``clipbench train``."""

    data: str | None
    data_options: Mapping[str, str]
    data_root: Path | None
    out: Path
    arch: str
    loss: str
    steps: int
    batch_size: int
    micro_batch_size: int | None
    lr: float
    warmup: int | None
    weight_decay: float
    temperature: float | None
    precision: str
    augment: bool | None
    save_every: int | None
    eval_every: int | None
    resume: bool
    seed: int
    device: str
    workers: int | None
    quiet: bool


@command(
    What=("data", "out", "resume"),
    Data=("data_options", "data_root"),
    Model=("arch", "loss", "temperature"),
    Training=("steps", "batch_size", "lr", "save_every", "eval_every", "seed"),
    Speed=("device", "precision", "micro_batch_size"),
)
@click.option(
    "--data", metavar="DATA", help="Images with captions: scenes, a folder, manifest or webdataset, or hf:ORG/NAME."
)
@click.option(
    "--data-option",
    "data_options",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Column name or split of the data (repeatable). [default: the train split, if the data has splits]",
)
@DATA_ROOT
@click.option(
    "--out", required=True, metavar="DIR", type=PATH, help="Output folder for log.jsonl and the checkpoints step-N."
)
@click.option("--arch", default="tiny", metavar="NAME", help="Architecture: tiny, small, ViT-B-32, ViT-L-14, ...")
@click.option("--loss", default="clip", type=click.Choice(LOSS_NAMES), help="Loss: CLIP's or SigLIP's.")
@click.option("--steps", default=10_000, type=int, metavar="N", help="Optimizer steps.")
@click.option("--batch-size", default=256, type=int, metavar="N", help="Pairs per step, over all processes.")
@click.option(
    "--micro-batch-size",
    type=int,
    metavar="N",
    help="Pairs whose activations are held at a time: less memory, same gradients, a third more time.",
)
@click.option("--lr", default=5e-4, type=float, metavar="RATE", help="Peak learning rate.")
@click.option("--warmup", type=int, metavar="STEPS", help="Warm-up steps. [default: a tenth of --steps, at most 2000]")
@click.option("--weight-decay", default=0.2, type=float, metavar="NUMBER", help="Weight decay of AdamW.")
@click.option("--temperature", type=float, metavar="NUMBER", help="Fixed temperature, such as 0.07. [default: learned]")
@click.option(
    "--precision", default="fp32", type=click.Choice(TRAINING_PRECISIONS), help="Number format of the forward pass."
)
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Random crops of 90 to 100 % of the image. [default: on, except for scenes]",
)
@click.option(
    "--save-every", type=int, metavar="STEPS", help="Steps between checkpoints. [default: a tenth of --steps]"
)
@click.option(
    "--eval-every", type=int, metavar="STEPS", help="Steps between measurements. [default: a twentieth of --steps]"
)
@click.option("--resume", is_flag=True, help="Continue the run in --out with the arguments it was started with.")
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(max=2**63 - 1),
    metavar="N",
    help="Seed of weights, order and augmentation.",
)
@DEVICES
@click.option("--workers", type=int, metavar="N", help="Processes that prepare images. [default: cores - 1, at most 8]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@TRACEBACK
@with_arguments(TrainArguments)
def train(arguments: TrainArguments) -> int:
    """Train the bundled CLIP on images with captions.

    \b
    clipbench train --data scenes --out runs/mine
    clipbench train --data captions.jsonl --loss siglip --out runs/mine
    clipbench train --data hf:ORG/NAME --arch ViT-B-32 --out runs/mine
    clipbench train --resume --out runs/mine
    clipbench train --data ... --device all --out runs/mine
    torchrun --nproc-per-node 8 -m clipbench train --data ... --out runs/mine

    The log holds the modality gap, cones, recall@1 on held-out pairs and the temperature at step 0 and every
    --eval-every steps. Measure the result with clipbench run --model runs/mine.
    """
    from clipbench.distributed.group import ProcessLost
    from clipbench.distributed.process_rank import LAUNCHED, LOST
    from clipbench.training.train import Interrupted
    from clipbench.training.train import train as train_model

    context = click.get_current_context()
    status, device = launch_processes(arguments.device, (), context.obj[1:], advice=RESUME)
    if status is not None:
        return status
    try:
        checkpoint = train_model(
            _training_options(context, replace(arguments, device=device)),
            is_resumed=arguments.resume,
            show_progress=not arguments.quiet,
            tell=print_note,
        )
    except Interrupted as interrupted:
        print_error(f"{interrupted}. Add --resume to continue from there")
        return INTERRUPTED
    except ProcessLost:
        if LAUNCHED not in os.environ:
            raise
        return LOST
    if not arguments.quiet:
        echo(f"checkpoint in {checkpoint}")
    return DONE


def _training_options(context: click.Context, arguments: TrainArguments) -> "TrainOptions":
    """Return the options of the command line. A resumed training keeps its own options unless they are set here."""
    from clipbench.training.options import TrainOptions, arguments_of, options_of

    options = {name: value for name, value in vars(arguments).items() if name not in ("resume", "quiet")}
    if arguments.data_root is not None:
        options["data_root"] = str(arguments.data_root)  # a checkpoint stores it
    if arguments.workers is None:
        options["workers"] = min(8, (os.cpu_count() or 1) - 1)
    if arguments.resume:
        sources = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        explicit = {name: value for name, value in options.items() if context.get_parameter_source(name) in sources}
        return options_of(arguments_of(arguments.out), out=explicit.pop("out"), overrides=explicit)
    if arguments.data is None:
        raise click.UsageError("missing option --data: the data to train on, such as scenes", context)
    return TrainOptions(**options)
