"""The options of a training, and those that a resumed training must share with its start."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clipbench.errors import ModelError, UsageError, did_you_mean
from clipbench.training.clip.config import find_config
from clipbench.training.log import LOG_FILE, has_steps, start_in
from clipbench.untrusted.schema import SchemaError, parse_record

LOSS_NAMES = ("clip", "siglip")
TRAINING_PRECISIONS = ("fp32", "bf16")
"""fp16 would need scaled gradients. bfloat16 has float32's range and does not."""

RESUMABLE = ("out", "data_root", "device", "workers", "save_every", "eval_every", "micro_batch_size")
"""Options that may differ when a training is resumed: the weights do not depend on them, except for rounding."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training.

    Raises:
        UsageError: a value is out of its range, or a name is unknown.
    """

    data: str
    out: Path
    """Folder of the log and the checkpoints."""
    arch: str = "tiny"
    loss: str = "clip"
    steps: int = 10_000
    batch_size: int = 256
    """Pairs per step, over all processes."""
    micro_batch_size: int | None = None
    """Pairs whose activations are held at a time in each process, or None for all."""
    lr: float = 5e-4
    warmup: int | None = None
    """Warm-up steps, or None for a tenth of all steps, at most the paper's 2,000."""
    weight_decay: float = 0.2
    temperature: float | None = None
    """Fixed temperature, or None to learn it."""
    precision: str = "fp32"
    augment: bool | None = None
    """Random crops, or None for data whose captions they keep true."""
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    save_every: int | None = None
    """Steps between checkpoints, or None for a tenth of all."""
    eval_every: int | None = None
    """Steps between measurements, or None for a twentieth of all."""
    data_root: str | None = None
    data_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        find_config(self.arch)
        for name, choices in {"loss": LOSS_NAMES, "precision": TRAINING_PRECISIONS}.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(f"unknown {name} '{value}': {did_you_mean(value, choices)}")
        at_least = {"steps": 1, "batch_size": 2, "micro_batch_size": 1, "save_every": 1, "eval_every": 1, "workers": 0}
        for name, smallest in {**at_least, "warmup": 0, "seed": 0}.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UsageError(f"{_flag(name)} is {value}: expected {smallest} or more")
        if not self.lr > 0 or not self.weight_decay >= 0:
            raise UsageError(
                f"--lr is {self.lr} and --weight-decay is {self.weight_decay}: expected --lr above 0 and --weight-decay"
                " of 0 or more"
            )
        if self.temperature is not None and not 0.01 <= self.temperature <= 1:
            raise UsageError(f"--temperature is {self.temperature}: expected 0.01 to 1")
        if self.warmup is not None and self.warmup > self.steps:
            raise UsageError(f"--warmup is {self.warmup}: expected at most --steps {self.steps}")

    @property
    def warmup_steps(self) -> int:
        return min(2000, self.steps // 10) if self.warmup is None else self.warmup

    def to_json(self) -> dict[str, object]:
        """Return the options as a checkpoint stores them."""
        return {**asdict(self), "out": str(self.out), "data_options": dict(self.data_options)}

    def check_same(self, arguments: Mapping[str, object]) -> None:
        """Raise UsageError unless the training was started with these arguments, except ``RESUMABLE`` ones."""
        for name, value in self.to_json().items():
            if name not in RESUMABLE and name in arguments and arguments[name] != value:
                raise UsageError(
                    f"{_flag(name)} is {value}, and the run in {self.out} was started with {arguments[name]}:"
                    " resume it with its arguments, or start another run with another --out"
                )


def arguments_of(run: Path) -> Mapping[str, object]:
    """Return the arguments of a training, from its newest checkpoint, or from its log if it has no checkpoint.

    Raises:
        UsageError: there are none.
        ModelError: the checkpoint is damaged.
    """
    from clipbench.models.checkpoints import TRAIN, bundled_checkpoints, newest_checkpoint, read_json  # import numpy

    if not bundled_checkpoints(run) and (event := start_in(run)) is not None and not has_steps(run):
        arguments, path = event.get("arguments"), run / LOG_FILE
    else:
        path = newest_checkpoint(run) / TRAIN
        arguments = read_json(path).get("arguments")
    if not isinstance(arguments, dict):
        raise ModelError(f"{path} does not hold the arguments of a run: it is damaged")
    return arguments


def options_of(arguments: Mapping[str, object], *, out: Path, overrides: Mapping[str, object]) -> TrainOptions:
    """Return the options of a training to resume: those it was started with, overridden by those given now.

    Raises:
        ModelError: it was started with none that a training has.
    """
    try:
        return parse_record(TrainOptions, {**arguments, **overrides, "out": out})
    except SchemaError as error:
        raise ModelError(f"the arguments that the run in {out} was started with are damaged: {error}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
