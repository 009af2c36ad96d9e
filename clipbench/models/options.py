"""Options for loading a model: the options of every adapter, and the refusal of options without effect on its
models.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from clipbench.errors import UsageError, did_you_mean, option
from clipbench.untrusted.reading import is_int64

Tower = Literal["images", "texts"]
"""A tower as options name it."""

PRECISIONS = ("fp32", "bf16", "fp16")

DEFAULT_BATCH_SIZE = 64
"""Images or texts at a time where nobody asks for another number."""


def with_options(reference: str, options: Mapping[str, str]) -> str:
    """Return the full name of a model: its reference, and the options that its vectors depend on, by name.

    Example:
        >>> with_options("st:a/b", {"truncate_dim": "64", "prompt": "query: "})
        'st:a/b prompt=query:  truncate_dim=64'
    """
    return " ".join([reference, *(f"{name}={value}" for name, value in sorted(options.items()))])


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options for loading a model, the same for every adapter."""

    device: str = "auto"
    """``auto`` (the accelerator if there is one), or a torch device name."""
    precision: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``, the number format of the towers. Vectors are float32 in any case."""
    batch_size: int | None = None
    """Images or texts per batch. None leaves it to the model, ``DEFAULT_BATCH_SIZE`` on a CPU.
    """
    arch: str | None = None
    """Architecture of a bare checkpoint file. An adapter gets one only for a reference that needs it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """``--model-option key=value`` pairs, for the adapter to use up."""
    trust_remote_code: bool = False
    """Run code that comes with a model, where the reference pins it to a commit of the Hub. Adapters that run no such
    code can ignore this.
    """
    towers: Collection[Tower] = ("images", "texts")
    """The modalities that will be encoded, one of the two if a model gives a single tower to ``pair:``."""

    @property
    def n_at_once(self) -> int:
        """The batch size, ``DEFAULT_BATCH_SIZE`` where none was given."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size

    def refuse_unknown(self, accepted: Iterable[str], model: str) -> None:
        """Raise UsageError if an option is not accepted by the model."""
        names = list(accepted)
        for name in self.options:
            if name not in names:
                raise UsageError(f"model '{model}' takes no option '{name}': {did_you_mean(name, names)}")

    def whole_number(self, name: str) -> int | None:
        """Return an option as an integer, None if unset, or raise UsageError for other values."""
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdecimal() or not is_int64(text):
            raise UsageError(f"model option {name}={text}: expected an integer, 0 or more")
        return int(text)

    def number(self, name: str) -> float | None:
        """Return an option as a finite number, None if unset, or raise UsageError for other values."""
        text = self.options.get(name)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"model option {name}={text}: expected a finite number")
        return number

    def logits(self) -> tuple[float | None, float]:
        """Return the options ``logit_scale`` and ``logit_bias``, for models whose files do not hold them.

        Raises:
            UsageError: one is not a number, or the scale is not above 0.
        """
        scale = self.number("logit_scale")
        if scale is not None and scale <= 0:
            raise UsageError(f"model option logit_scale={scale:g}: expected a number above 0")
        return scale, self.number("logit_bias") or 0.0

    def refuse_precision(self, model: str, reason: str) -> None:
        """Raise UsageError if a precision is set for a model that torch does not compute here."""
        if self.precision != "fp32":
            raise UsageError(f"{option('precision', self.precision)} has no effect on {model}, {reason}: remove it")

    def refuse_device(self, model: str, reason: str) -> None:
        """Raise UsageError if a device is set for a model that does not use one."""
        if self.device != "auto":
            raise UsageError(f"{option('device', self.device)} has no effect on {model}, {reason}: remove it")
