"""A callback for any training loop: what happens to the geometry of a model, and an alarm when it collapses.

    monitor = Monitor(images=pixels, texts=tokens, log="runs/mine/monitor.jsonl")
    for step, batch in enumerate(batches):
        ...
        if step % 100 == 0:
            print(monitor(model, step))

Importing this imports no torch; measuring a model does.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from clipbench.errors import ClipbenchError, UsageError
from clipbench.training.log import log_line
from clipbench.training.monitored import as_array, constants, encoded, equal_inputs, n_inputs
from clipbench.training.scalars import Number, Scalars, pair_scalars

if TYPE_CHECKING:
    import torch


class CollapseWarning(UserWarning):
    """An alarm of a ``Monitor``, for ``on_alarm="warn"``."""


class CollapseError(ClipbenchError):
    """An alarm of a ``Monitor``, for ``on_alarm="raise"``."""


class Alarm(NamedTuple):
    """Something that a healthy model does not do."""

    step: Number
    name: str
    """Of the scalar, or ``failed`` when there was nothing to be measured."""
    value: Number | None
    limit: Number | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where alarms begin; None for no such alarm.

    The defaults lie outside all that was seen in healthy models at 128 to 256 pairs: trained ones (OpenAI's ViT-B/32 on
    COCO; the bundled model from step 250 on) and transformers with random weights. A ResNet with random weights, whose
    batch norms have seen no data, has an image cone of 0.997 and is as good as collapsed: there the alarm at step 0
    goes away with training.

    Raises:
        UsageError: a limit is out of the range of what it limits.
    """

    cone: Number | None = 0.99
    """Largest ``image_cone`` and ``text_cone``, mean cosine of different inputs. Seen: 0.05 to 0.53 trained, 0.47 to
    0.78 random. 1 is one direction for everything."""
    effective_rank: Number | None = 4.0
    """Smallest ``image_effective_rank`` and ``text_effective_rank``, in dimensions; a quarter of what can be filled,
    one less than there are distinct images or texts, where that is less. Seen: 30 and more trained, 15 and more
    random. A tower that has collapsed onto a line has 1."""
    duplicates: Number | None = 0.05
    """Largest ``image_duplicates`` and ``text_duplicates``, share of different inputs with one vector. Seen: 0. Real
    data hold some images twice in other words (resized, recompressed), hence not 0."""
    non_finite: Number | None = 0.0
    """Largest ``non_finite``, share of vectors that are not finite or zero: one is too many, it spreads to the loss."""

    def __post_init__(self) -> None:
        for name, most in {"cone": 1.0, "duplicates": 1.0, "non_finite": 1.0, "effective_rank": float("inf")}.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"limit {name} is {value}: expected 0 to {most:g}, or None for no alarm")


@dataclass(kw_only=True)
class Monitor:
    """Measures a model on the same pairs again and again.

    Nothing of it is raised into the training loop unless that is asked for: what cannot be measured is an alarm too.
    With several processes, call it in one of them.

    Raises:
        UsageError: images and texts are not as many, fewer than two, or come one without the other; an unknown
            ``on_alarm``; a log that cannot be written.
    """

    images: "torch.Tensor | Mapping[str, torch.Tensor] | None" = None
    """Preprocessed images, as the model takes them: held out from training, a few hundred. None when only vectors
    will be given."""
    texts: "torch.Tensor | Mapping[str, torch.Tensor] | None" = None
    """Tokens of their captions, in the same order; a mapping such as a transformers tokeniser returns will do."""
    limits: Limits = field(default_factory=Limits)
    on_alarm: Literal["warn", "raise"] | Callable[[Alarm], object] = "warn"
    """``warn`` (a ``CollapseWarning``), ``raise`` (a ``CollapseError``), or a function to call with each alarm."""
    log: str | Path | None = None
    """File to which scalars and alarms are added, a line of JSON each, as ``clipbench train`` logs its own."""
    batch_size: int = 64
    """Pairs that are encoded at once."""

    def __post_init__(self) -> None:
        if not callable(self.on_alarm) and self.on_alarm not in ("warn", "raise"):
            raise UsageError(f"on_alarm is {self.on_alarm!r}: expected 'warn', 'raise' or a function of an Alarm")
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}: expected 1 or more")
        _check_pairs(self.images, self.texts)
        self._same = (equal_inputs(self.images), equal_inputs(self.texts))
        if self.log is not None:
            _prepare(Path(self.log))

    def __call__(self, model: "torch.nn.Module", step: Number) -> Scalars:
        """Return the scalars of a model: those of ``pair_scalars``, and its temperature and bias where it has them.

        The model has ``encode_image`` and ``encode_text`` (open_clip, OpenAI, bundled) or ``get_image_features`` and
        ``get_text_features`` (transformers), bare or wrapped by DistributedDataParallel or torch.compile. It is run
        without gradients, in evaluation mode and in the type of its weights; each of its modules then has the mode
        that it had.
        """
        try:
            values = self._measured(model)
        except Exception as error:  # noqa: BLE001  a measurement must not end a training
            self._note(step, None, [_failure(step, "the model could not be measured", error)])
            return {}
        self._note(step, values, raised(values, self.limits, step))
        return values

    def vectors(self, images: "np.ndarray | torch.Tensor", texts: "np.ndarray | torch.Tensor", step: Number) -> Scalars:
        """Return the scalars of vectors that the loop has at hand, raw ones or unit ones, row by row of the same pairs.

        Nothing is known of their inputs: equal captions, which have equal vectors, count as duplicates here.
        """
        try:
            values = pair_scalars(as_array(images), as_array(texts))
        except Exception as error:  # noqa: BLE001
            self._note(step, None, [_failure(step, "the vectors could not be measured", error)])
            return {}
        self._note(step, values, raised(values, self.limits, step))
        return values

    def _measured(self, model: "torch.nn.Module") -> Scalars:
        if self.images is None or self.texts is None:
            raise UsageError("the monitor has no pairs: Monitor(images=..., texts=...), or monitor.vectors(...)")
        images, texts = encoded(model, self.images, self.texts, batch_size=self.batch_size)
        return pair_scalars(images, texts, same_images=self._same[0], same_texts=self._same[1]) | constants(model)

    def _note(self, step: Number, values: Scalars | None, alarms: list[Alarm]) -> None:
        """Log what was measured, if it could be, and the alarms; then tell these."""
        events: list[tuple[str, Mapping[str, object]]] = [] if values is None else [("evaluation", values)]
        events += [("alarm", _said(alarm)) for alarm in alarms]
        failures: list[Alarm] = []
        try:
            if self.log is not None:
                lines = "".join(log_line(kind, step, said) for kind, said in events)
                with Path(self.log).open("a", encoding="utf-8") as file:
                    file.write(lines)
        except (OSError, TypeError, ValueError) as error:  # the last two: a step that JSON has not
            failures.append(_failure(step, f"{self.log} could not be written", error))
        self._tell([*alarms, *failures])

    def _tell(self, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            if callable(self.on_alarm):
                self.on_alarm(alarm)
            elif self.on_alarm == "raise":
                raise CollapseError(alarm.message)
            else:
                warnings.warn(alarm.message, CollapseWarning, stacklevel=4)


def raised(values: Scalars, limits: Limits, step: Number) -> list[Alarm]:
    """Return an alarm for each scalar beyond its limit; an undefined one raises none.

    Example:
        >>> [alarm.message for alarm in raised({"image_cone": 0.999}, Limits(), 300)]
        ['step 300: image_cone is 0.999, where healthy models have at most 0.99: collapsing, or collapsed']
    """
    return [
        Alarm(step, name, value, limit, f"step {step:g}: {name} is {value:.3g}, where healthy models have {bound}")
        for name, value in values.items()
        for limit, bound in _bounds(name, limits, values)
        if value is not None and (value < limit if bound.startswith("at least") else value > limit)
    ]


def _bounds(name: str, limits: Limits, values: Scalars) -> list[tuple[Number, str]]:
    """Return the limit of a scalar, if it has one, and how to say it."""
    n_distinct = values.get(f"n_distinct_{name.removesuffix('_effective_rank')}s")
    if n_distinct is not None and limits.effective_rank is not None:
        smallest = min(limits.effective_rank, (n_distinct - 1) / 4)
        return [(smallest, f"at least {smallest:g}: collapsing, or collapsed")]
    largest = {"cone": limits.cone, "duplicates": limits.duplicates, "non_finite": limits.non_finite}
    advice = "training has diverged" if name == "non_finite" else "collapsing, or collapsed"
    return [
        (limit, f"at most {limit:g}: {advice}")
        for kind, limit in largest.items()
        if name.endswith(kind) and limit is not None
    ]


def _failure(step: Number, what: str, error: Exception) -> Alarm:
    return Alarm(step, "failed", None, None, f"step {step:g}: {what} ({type(error).__name__}: {error})")


def _said(alarm: Alarm) -> dict[str, object]:
    return {"name": alarm.name, "value": alarm.value, "limit": alarm.limit, "message": alarm.message}


def _check_pairs(images: object, texts: object) -> None:
    if images is None and texts is None:
        return
    if images is None or texts is None:
        raise UsageError("a monitor needs pairs: give images and texts, or neither and call vectors(...)")
    n_images, n_texts = n_inputs(images), n_inputs(texts)
    if n_images != n_texts or n_images < 2:
        raise UsageError(f"a monitor needs pairs, two or more: got {n_images} images and {n_texts} texts")


def _prepare(path: Path) -> None:
    """Make the log's folder, and cut off what a kill left of a line, so that the next one starts where it should."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    except OSError as error:
        raise UsageError(f"cannot write the log {path}: {error.strerror or error}") from error
