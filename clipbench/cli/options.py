"""The options that several commands share, and the records that commands receive them in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from clipbench.cli.main import SHOWS_TRACEBACK

if TYPE_CHECKING:
    from clipbench.data import DataOptions
    from clipbench.models.options import LoadOptions

A = TypeVar("A")
R = TypeVar("R")

PATH = click.Path(path_type=Path)


def key_values(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return the values of a repeatable KEY=VALUE option as a dict, as the ``callback`` of the option."""
    pairs = {}
    for value in values:
        key, separator, rest = value.partition("=")
        if not separator or not key:
            raise click.UsageError(f"{parameter.opts[0]} {value}: expected KEY=VALUE", context)
        pairs[key] = rest
    return pairs


@dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """The options that say how a model is loaded."""

    model_option: Mapping[str, str]
    trust_remote_code: bool
    arch: str | None
    device: str
    precision: str
    batch_size: int | None

    @property
    def load_options(self) -> "LoadOptions":
        from clipbench.models.options import LoadOptions

        return LoadOptions(
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
            arch=self.arch,
            options=self.model_option,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True, kw_only=True)
class DataArguments:
    """The options that say how data is loaded, and which part of it is measured."""

    data: str | None
    data_root: Path | None
    data_option: Mapping[str, str]
    allow_partial: bool
    limit: int | None
    seed: int

    @property
    def data_options(self) -> "DataOptions":
        from clipbench.data import DataOptions

        return DataOptions(data_root=self.data_root, allow_partial=self.allow_partial, options=self.data_option)


def with_arguments(record: type[A]) -> Callable[[Callable[[A], R]], Callable[..., R]]:
    """Return a decorator that passes the arguments of a command as one record, which has a field for each."""

    def decorate(run_command: Callable[[A], R]) -> Callable[..., R]:
        @wraps(run_command)
        def call(**arguments: object) -> R:
            return run_command(record(**arguments))

        return call

    return decorate


def shows_traceback() -> bool:
    """Return whether the command that runs was asked for the traceback of an error."""
    return bool(click.get_current_context().meta.get(SHOWS_TRACEBACK))


MODEL_OPTION = click.option(
    "--model-option",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Option of the model, such as context=248 (repeatable).",
)
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run the code in the repository of an hf: or st: model. The reference must name the commit: ORG/REPO@COMMIT.",
)
ARCH = click.option("--arch", metavar="ARCH", help="Architecture of a bare checkpoint file, such as ViT-B-32.")
DATA_ROOT = click.option(
    "--data-root",
    metavar="DIR",
    type=PATH,
    help="Folder that holds data sets by name. [default: .]",
)
DATA_OPTION = click.option(
    "--data-option",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Option of the data, such as split=test or a column name (repeatable).",
)
DEVICE = click.option("--device", default="auto", metavar="NAME", help="Device: auto, cpu, cuda, cuda:1, mps.")
DEVICES = click.option(
    "--device",
    default="auto",
    metavar="NAME[,...]",
    help="Device: auto, cpu, cuda, cuda:1, mps. Several devices: cuda:0,cuda:1, or all.",
)
PRECISION = click.option(
    "--precision",
    default="fp32",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Number format in which the model computes.",
)
BATCH_SIZE = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images or texts per batch. [default: 64, and 256 on a CUDA device]",
)


def model_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add the options of ``ModelArguments`` to a command of models on one device."""
    for add_option in (BATCH_SIZE, PRECISION, DEVICE, ARCH, TRUST_REMOTE_CODE, MODEL_OPTION):
        function = add_option(function)
    return function


LIMIT = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Measure a random subset of N images, stratified by class."
)
SEED = click.option(
    "--seed",
    default=0,
    type=click.IntRange(min=0, max=2**63 - 1),
    metavar="N",
    help="Seed of everything random, such as subsets and resampling.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
TRACEBACK = click.option(
    "--traceback",
    is_flag=True,
    is_eager=True,  # before what may fail
    expose_value=False,
    callback=lambda context, _, value: context.meta.update({SHOWS_TRACEBACK: value}),
    help="Print the traceback of an error.",
)
PORT = click.option("--port", default=0, metavar="N", type=click.IntRange(0, 65535), help="Port. 0 takes a free one.")
NO_OPEN = click.option("--no-open", is_flag=True, help="Do not open a browser.")
RUNS = click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
POOL = click.argument("folder", metavar="POOL", type=PATH)
