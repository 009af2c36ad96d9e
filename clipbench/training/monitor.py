"""A callback for any training loop: the geometry of the model by step, and an alarm when it collapses.

    monitor = Monitor(images=pixels, texts=tokens, log="runs/mine/monitor.jsonl")
    for step, batch in enumerate(batches):
        ...
        if step % 100 == 0:
            print(monitor(model, step))

Importing this module does not import torch. Measuring a model does.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from clipbench.errors import ClipbenchError, UsageError
from clipbench.results.trackers import TRACKERS, Trackers, TrackerTarget
from clipbench.training.log import log_line
from clipbench.training.scalars import (
    Number,
    Scalars,
    as_array,
    encode_pairs,
    equal_inputs,
    logit_constants,
    n_inputs,
    pair_scalars,
)

if TYPE_CHECKING:
    import torch


class CollapseWarning(UserWarning):
    """An alarm of a ``Monitor``, for ``on_alarm="warn"``."""


class CollapseError(ClipbenchError):
    """An alarm of a ``Monitor``, for ``on_alarm="raise"``."""


class Alarm(NamedTuple):
    """A scalar outside the range of healthy models."""

    step: Number
    name: str
    """Name of the scalar, or ``failed`` if nothing could be measured."""
    value: Number | None
    limit: Number | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits beyond which scalars raise alarms. A limit of None raises none.

    The defaults are outside the range seen in healthy models at 128 to 256 pairs: trained ones (OpenAI's ViT-B/32 on
    COCO, and the bundled model from step 250 on) and transformers with random weights. A ResNet with random weights has
    an image cone of 0.997: its alarm at step 0 ends with training.

    Raises:
        UsageError: a limit is out of the range of its scalar.
    """

    cone: Number | None = 0.99
    """Largest ``image_cone`` and ``text_cone``, mean cosine of different inputs. Seen: 0.05 to 0.53 trained, 0.47 to
    0.78 random. At 1 all vectors have one direction.
    """
    effective_rank: Number | None = 4.0
    """Smallest ``image_effective_rank`` and ``text_effective_rank``, in dimensions. With few pairs it is a quarter of
    the possible rank, the number of distinct images or texts less one. Seen: 30 and more trained, 15 and more random. A
    tower that has collapsed onto a line has 1.
    """
    duplicates: Number | None = 0.05
    """Largest ``image_duplicates`` and ``text_duplicates``, fraction of different inputs with equal vectors. Seen: 0.
    Not 0, since real data hold some images twice (resized, recompressed).
    """
    non_finite: Number | None = 0.0
    """Largest ``non_finite``, fraction of vectors that are not finite or zero: a single one spreads to the loss."""

    def __post_init__(self) -> None:
        for name, most in {"cone": 1.0, "duplicates": 1.0, "non_finite": 1.0, "effective_rank": float("inf")}.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"limit {name} is {value}: expected 0 to {most:g}, or None for no alarm")


@dataclass(kw_only=True)
class Monitor:
    """Measures a model on the same pairs again and again.

    It raises nothing into the training loop unless asked to: a failed measurement is an alarm too. With several
    processes, call it in one of them.

    Raises:
        UsageError: images and texts differ in number, are fewer than two, or one of them is missing, ``on_alarm`` is
            unknown, or a log cannot be written.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> monitor = Monitor(on_alarm=lambda alarm: print(alarm.name))
        >>> images, texts = rng.standard_normal((64, 16)), rng.standard_normal((64, 16))
        >>> scalars = monitor.vectors(images, texts, step=100)  # monitor(model, 100) measures a module on its pairs
        >>> 0 < scalars["gap"] < 1
        True
        >>> _ = monitor.vectors(images, np.ones((64, 16)), step=200)
        text_cone
        text_duplicates
    """

    images: "torch.Tensor | Mapping[str, torch.Tensor] | None" = None
    """A few hundred preprocessed images, held out from training. None if only ``vectors`` is called."""
    texts: "torch.Tensor | Mapping[str, torch.Tensor] | None" = None
    """Tokens of their captions, in the same order, or the mapping that a tokenizer of transformers returns."""
    limits: Limits = field(default_factory=Limits)
    on_alarm: Literal["warn", "raise"] | Callable[[Alarm], object] = "warn"
    """``warn`` (a ``CollapseWarning``), ``raise`` (a ``CollapseError``), or a function, called with each alarm."""
    log: str | Path | Sequence[str | Path] | None = None
    """File to which scalars and alarms are appended, a line of JSON each, as in the log of ``clipbench train``, or
    ``"wandb"``, ``"tensorboard"``, ``"trackio"`` or ``"mlflow"``, which get the scalars as ``clipbench/NAME`` in the
    run that the loop has open, otherwise in a new one, or several of these.
    """
    batch_size: int = 64
    """Pairs encoded at a time."""

    def __post_init__(self) -> None:
        if not callable(self.on_alarm) and self.on_alarm not in ("warn", "raise"):
            raise UsageError(f"on_alarm is {self.on_alarm!r}: expected 'warn', 'raise' or a function of an Alarm")
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}: expected 1 or more")
        if (self.images is None) != (self.texts is None):
            raise UsageError(
                "a monitor needs pairs: got only images or only texts. Give both, or give neither and"
                " call monitor.vectors(...)"
            )
        if self.images is not None:
            n_images, n_texts = n_inputs(self.images), n_inputs(self.texts)
            if n_images != n_texts or n_images < 2:
                raise UsageError(f"a monitor needs pairs, two or more: got {n_images} images and {n_texts} texts")
        self._same = (equal_inputs(self.images), equal_inputs(self.texts))
        logs = [self.log] if isinstance(self.log, str | Path) else self.log or ()
        self._files = [Path(target) for target in logs if target not in TRACKERS]
        self._not_logged: list[tuple[str, BaseException]] = []
        names = [str(target) for target in logs if target in TRACKERS]
        self._trackers = Trackers(names, failed=lambda *failure: self._not_logged.append(failure))
        self._place = TrackerTarget(
            name="monitor", folder=Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-monitor", joins=True
        )
        for file in self._files:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("ab+") as opened:  # a last line is incomplete if its writer was killed
                    opened.seek(0)
                    opened.truncate(opened.read().rfind(b"\n") + 1)
            except OSError as error:
                raise UsageError(f"cannot write the log {file}: {error.strerror or error}") from error

    def __call__(self, model: "torch.nn.Module", step: Number) -> Scalars:
        """Return the scalars of a model: the scalars of ``pair_scalars``, and its temperature and bias if it has them.

        The model has ``encode_image`` and ``encode_text`` (open_clip, OpenAI, bundled) or ``get_image_features`` and
        ``get_text_features`` (transformers), bare or wrapped by DistributedDataParallel or torch.compile. It is run
        without gradients, in evaluation mode and in the type of its weights. Then each module gets its mode back.
        """

        def measure() -> Scalars:
            if self.images is None or self.texts is None:
                raise UsageError("the monitor has no pairs: Monitor(images=..., texts=...), or monitor.vectors(...)")
            pairs = encode_pairs(model, self.images, self.texts, batch_size=self.batch_size)
            return pair_scalars(*pairs, same_images=self._same[0], same_texts=self._same[1]) | logit_constants(model)

        return self._record(step, "the model", measure)

    def vectors(self, images: "np.ndarray | torch.Tensor", texts: "np.ndarray | torch.Tensor", step: Number) -> Scalars:
        """Return the scalars of vectors that the loop has computed, raw or normalized, row by row of the same pairs.

        Their inputs are unknown: equal captions, which have equal vectors, count as duplicates here.

        Args:
            images: one vector per pair, (n, dim), an array or a tensor.
            texts: the text of each pair, (n, dim).
            step: step of the training, a number.
        """
        return self._record(step, "the vectors", lambda: pair_scalars(as_array(images), as_array(texts)))

    def close(self) -> None:
        """End the runs of trackers that were opened here. A loop with its own open run does not need to call it."""
        self._trackers.close()

    def _record(self, step: Number, subject: str, measure: Callable[[], Scalars]) -> Scalars:
        events: list[tuple[str, Mapping[str, object]]] = []
        try:
            values = measure()
        except Exception as error:  # noqa: BLE001  a measurement must not end a training
            values, alarms = {}, [_failure(step, f"{subject} could not be measured", error)]
        else:
            events.append(("evaluation", values))
            alarms = find_alarms(values, self.limits, step)
        events += [("alarm", alarm._asdict()) for alarm in alarms]
        for path in self._files:
            try:
                lines = "".join(log_line(kind, step, content) for kind, content in events)
                with path.open("a", encoding="utf-8") as file:
                    file.write(lines)
            except (OSError, TypeError, ValueError) as error:  # the last two: a step that JSON cannot hold
                alarms.append(_failure(step, f"{path} could not be written", error))
        scalars = {f"clipbench/{name}": value for name, value in values.items() if value is not None}
        self._trackers.scalars(scalars, step, self._place)
        alarms += [_failure(step, f"{name} could not be written", error) for name, error in self._not_logged]
        self._not_logged.clear()
        for alarm in alarms:
            if callable(self.on_alarm):
                self.on_alarm(alarm)
            elif self.on_alarm == "raise":
                raise CollapseError(alarm.message)
            else:
                warnings.warn(alarm.message, CollapseWarning, stacklevel=3)
        return values


def find_alarms(values: Scalars, limits: Limits, step: Number) -> list[Alarm]:
    """Return an alarm for each scalar beyond its limit, and none for undefined scalars.

    Example:
        >>> [alarm.message for alarm in find_alarms({"image_cone": 0.999}, Limits(), 300)]
        ['step 300: image_cone is 0.999, where healthy models have at most 0.99: collapsing, or collapsed']
    """
    alarms = []
    for name, value in values.items():
        kind = next((limit_field.name for limit_field in fields(Limits) if name.endswith(limit_field.name)), None)
        limit = None if kind is None else getattr(limits, kind)
        if value is None or limit is None:
            continue
        if kind == "effective_rank":
            n_distinct = values.get(f"n_distinct_{name.removesuffix('_effective_rank')}s")
            limit = min(limit, ((n_distinct or 0) - 1) / 4)
        is_beyond, bound = (value < limit, "at least") if kind == "effective_rank" else (value > limit, "at most")
        advice = "training has diverged" if kind == "non_finite" else "collapsing, or collapsed"
        if is_beyond:
            message = f"step {step:g}: {name} is {value:.3g}, where healthy models have {bound} {limit:g}: {advice}"
            alarms.append(Alarm(step, name, value, limit, message))
    return alarms


def _failure(step: Number, failure: str, error: BaseException) -> Alarm:
    return Alarm(step, "failed", None, None, f"step {step:g}: {failure} ({type(error).__name__}: {error})")
