"""Protocols: a model gives raw vectors and the facts that scoring needs, an embedder gives tasks their vectors."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.errors import NoTokenCounts, UsageError, did_you_mean
from clipbench.untrusted.reading import is_int64

Modality = Literal["images", "texts"]

DEFAULT_BATCH_SIZE = 64
"""Images or texts at a time where nobody asks for another number."""

NO_LOGIT_SCALE = (
    "the model has no logit_scale, the factor from cosine to logit: give the object an attribute logit_scale, the vectors"
    " an array logit_scale, or torch_model(..., logit_scale=...); a model reference takes --model-option logit_scale=NUMBER"
    " where its files hold none"
)
"""The reason why confidences and losses of a model are undefined."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The identity of a model and the constants that turn its cosines into logits."""

    ref: str
    """The reference that the user gave, such as ``vit-b-32``."""
    id: str
    """The model that the reference stands for, such as ``open_clip:ViT-B-32-quickgelu/openai``."""
    fingerprint: str
    """Hash of weights, preprocessing, tokenizer and precision: equal fingerprints, equal vectors."""
    family: str
    """The adapter and architecture family, such as ``open_clip/CLIP``."""
    embed_dim: int
    context_length: int | None
    """Tokens that the text tower takes; None where it is not known."""
    image_size: int | None
    """Side of the square input in pixels; None where it is not known or varies."""
    logit_scale: float | None
    """Factor from cosine to logit (already exponentiated), > 0; None where nobody gave one: no confidence, no loss."""
    logit_bias: float
    """Added to the scaled cosine; 0 for CLIP, learned for SigLIP."""
    n_parameters: int | None
    device: str | None = None
    """Where it runs, such as ``cpu`` or ``cuda:0``; None where that means nothing."""
    precision: str | None = None
    """The type that the towers compute in, one of ``PRECISIONS``; None where that means nothing."""
    notes: tuple[str, ...] = ()
    """Facts about how the model was loaded that a reader of the numbers should know."""
    step: int | None = None
    """Training step or epoch of a checkpoint, as far as it or its name says."""


@runtime_checkable
class Model(Protocol):
    """Anything that turns images and texts into raw (not normalised) float32 vectors of one dimension."""

    @property
    def info(self) -> ModelInfo:
        """Identity and constants; does not change while the model lives."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        """Return one vector an image, in order."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        """Return one vector a text, in order; any number of texts may be given at once."""
        ...


AnyPreprocess = Callable[[Image.Image], np.ndarray | Mapping[str, np.ndarray]]
"""From an image to the input of an image tower: float32 of shape (channels, height, width), or several arrays by name."""


@runtime_checkable
class PixelModel(Model, Protocol):
    """A model whose preprocessing can run apart from it, in worker processes."""

    @property
    def preprocess(self) -> AnyPreprocess:
        """From an image to the input of the image tower: picklable, without the weights."""
        ...

    def encode_pixels(self, pixels: Any) -> Float32[np.ndarray, "n_images dim"]:
        """Return one vector a preprocessed image, in order; each array of ``preprocess`` comes stacked."""
        ...


@runtime_checkable
class BatchesModel(PixelModel, Protocol):
    """A model that is given one batch after the other, so that its device need not wait for what comes between them."""

    def encode_batches(self, batches: Iterable[Any]) -> Iterator[Float32[np.ndarray, "n_images dim"]]:
        """Yield the vectors of each batch of preprocessed images, in order; it may have taken later batches by then."""
        ...


def encode_batches(model: PixelModel, batches: Iterable[Any]) -> Iterator[Float32[np.ndarray, "n_images dim"]]:
    """Yield the vectors of each batch of preprocessed images, in order."""
    return model.encode_batches(batches) if isinstance(model, BatchesModel) else map(model.encode_pixels, batches)


@runtime_checkable
class ItemModel(Model, Protocol):
    """A model of modalities beside images and texts, or in place of them."""

    @property
    def modalities(self) -> Sequence[str]:
        """The names of the modalities that it encodes, ``image`` and ``text`` among them where it encodes those."""
        ...

    def encode_items(self, modality: str, items: Sequence[Any]) -> Float32[np.ndarray, "n_items dim"]:
        """Return one vector an item of a modality beside image and text, in order; items are as the data give them."""
        ...


@runtime_checkable
class CostlyModel(Model, Protocol):
    """A model whose use costs more than time on this machine, or was not as it was asked for."""

    def costs(self) -> tuple[str, ...]:
        """Return notes of it so far, for those who read the numbers."""
        ...


@runtime_checkable
class SoleModel(Model, Protocol):
    """A model that may have to do all of its work in one process, as one that counts what it costs."""

    @property
    def is_sole(self) -> bool:
        """False where other processes may load the same model and share its work."""
        ...


def is_sole(model: object) -> bool:
    """Return whether a model has to do all of its work in one process."""
    return isinstance(model, SoleModel) and model.is_sole


@runtime_checkable
class TokenModel(Model, Protocol):
    """A model that says how its tokenizer counts."""

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes before any is cut off, start and end among them.

        Raises:
            NoTokenCounts: the model has no tokenizer that could be asked, after all.
        """
        ...


def count_tokens(model: Model, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
    """Return how many tokens each text takes before any is cut off, start and end among them.

    Raises:
        NoTokenCounts: the model cannot say.
    """
    if not isinstance(model, TokenModel):
        raise NoTokenCounts(
            f"model '{model.info.ref}' does not say how many tokens a text takes: its adapter has no count_tokens(texts)"
        )
    return model.count_tokens(texts)


@runtime_checkable
class Embedder(Protocol):
    """Where a task gets its vectors, and an evaluation its images: each distinct image and text is encoded once, ever."""

    @property
    def info(self) -> ModelInfo:
        """The model's identity, logit scale and bias."""
        ...

    @property
    def dataset(self) -> Dataset | None:
        """The only samples that there are vectors for, where they come along with the vectors; None for a model."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts about where the vectors come from that a reader of the numbers should know."""
        ...

    def images(self, images: Sequence[ImageRef]) -> Float32[np.ndarray, "n_images dim"]:
        """Return the raw vector of each image, in order; finite and not zero."""
        ...

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        """Return the raw vector of each text, in order; finite and not zero."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes before any is cut off, start and end among them.

        Raises:
            NoTokenCounts: the model cannot say.
        """
        ...

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        """Return the content hash of each image, in order; raise BadImage for one that cannot be read."""
        ...

    def readable(self, dataset: Dataset) -> Dataset:
        """Return a data set without the images that cannot be decoded, with a note for each that is left out.

        Raises:
            DataError: none can be decoded.
        """
        ...

    def counts(self) -> "Counts | None":
        """Return what was encoded so far; None where nothing is encoded, because the vectors were given."""
        ...


@runtime_checkable
class DecodingEmbedder(Embedder, Protocol):
    """An embedder that decodes images, and says of some how it does so."""

    def image_notes(self, images: Sequence[ImageRef]) -> tuple[str, ...]:
        """Return notes of the images that are no plain RGB or grey ones, by how they are read."""
        ...


def image_notes(embedder: Embedder, images: Sequence[ImageRef]) -> tuple[str, ...]:
    """Return notes of how images are read, none of an embedder that decodes none."""
    return embedder.image_notes(images) if isinstance(embedder, DecodingEmbedder) else ()


@runtime_checkable
class StoringEmbedder(Embedder, Protocol):
    """An embedder with a folder for its vectors."""

    @property
    def root(self) -> Path:
        """Folder of the store."""
        ...


@runtime_checkable
class ItemEmbedder(Embedder, Protocol):
    """An embedder of modalities beside images and texts."""

    def items(self, modality: str, items: Sequence[Any]) -> Float32[np.ndarray, "n_items dim"]:
        """Return the raw vector of each item of a data set's ``modalities``, in order; finite and not zero.

        Raises:
            Unavailable: there is no encoder of the modality.
        """
        ...


class Call(NamedTuple):
    """The work of one call of an embedder; items are identified by the hash of their content."""

    modality: str
    """``images``, ``texts``, or the name of another modality."""
    encoded: frozenset[bytes] = frozenset()
    """Items that went through the model."""
    stored: frozenset[bytes] = frozenset()
    """Items that the store already had."""
    seconds: float = 0.0
    """Time spent on encoding, decoding included."""
    seconds_loading: float = 0.0
    """Of it, what the model took to be loaded, where that was put off."""
    is_ahead: bool = False
    """True where it was spent before the evaluation that the call counts for, on several models at once."""


@dataclass(frozen=True)
class Counts:
    """The work of an embedder up to a moment; the difference of two is the work between them.

    Example:
        >>> before = Counts((Call("texts", encoded=frozenset({b"a", b"b"}), seconds=2.0),))
        >>> now = Counts((*before.calls, Call("texts", stored=frozenset({b"a", b"b"}))))
        >>> (now - before).n_items()
        {'images': 0, 'texts': 0, 'stored_images': 0, 'stored_texts': 2}
        >>> (now - before).seconds("texts")
        0.0
    """

    calls: tuple[Call, ...] = ()

    def __sub__(self, earlier: "Counts") -> "Counts":
        return Counts(self.calls[len(earlier.calls) :])

    def n_items(self) -> dict[str, int]:
        """Return how many distinct images and texts were encoded, and how many the store had before; so of others."""
        encoded: dict[str, set[bytes]] = {modality: set() for modality in self.modalities}
        stored: dict[str, set[bytes]] = {modality: set() for modality in self.modalities}
        for call in self.calls:
            encoded[call.modality] |= call.encoded
            stored[call.modality] |= call.stored
        return {
            **{modality: len(items) for modality, items in encoded.items()},
            **{f"stored_{modality}": len(items - encoded[modality]) for modality, items in stored.items()},
        }

    @property
    def modalities(self) -> list[str]:
        """``images``, ``texts``, and the names of other modalities that were asked for."""
        return list(dict.fromkeys(["images", "texts", *(call.modality for call in self.calls)]))

    def seconds(self, modality: str) -> float:
        """Return the seconds that were spent on encoding."""
        return sum((call.seconds for call in self.calls if call.modality == modality), 0.0)

    def seconds_ahead(self) -> float:
        """Return those of them that were spent before the evaluation that the calls are of."""
        return sum((call.seconds for call in self.calls if call.is_ahead), 0.0)


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is to be loaded; every adapter gets the same."""

    device: str = "auto"
    """``auto`` (the accelerator if there is one), or a torch device name."""
    precision: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``: what the towers compute in. Vectors are float32 in any case."""
    batch_size: int | None = None
    """Images or texts that go through the model at once; None leaves it to the model, ``DEFAULT_BATCH_SIZE`` on a CPU."""
    arch: str | None = None
    """Architecture of a bare checkpoint file."""
    options: Mapping[str, str] = field(default_factory=dict)
    """``--model-option key=value`` pairs, for the adapter to use up."""
    trust_remote_code: bool = False
    """Run code that comes with a model, where the reference pins it to a commit of the Hub; adapters that run none of it
    need not look at this."""
    towers: Collection[Modality] = ("images", "texts")
    """The modalities that will be encoded; one of the two where a model lends a single tower to ``pair:``."""

    @property
    def n_at_once(self) -> int:
        """The batch size, ``DEFAULT_BATCH_SIZE`` where none was given."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size

    def refuse_unknown(self, known: Iterable[str], model: str) -> None:
        """Raise UsageError when an option is not among those that the model takes."""
        names = list(known)
        for name in self.options:
            if name not in names:
                raise UsageError(f"model '{model}' takes no option '{name}': {did_you_mean(name, names)}")

    def whole_number(self, name: str) -> int | None:
        """Return an option as a whole number, None where it is not given; raise UsageError when it is none."""
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdecimal() or not is_int64(text):
            raise UsageError(f"model option {name}={text}: expected a whole number")
        return int(text)

    def number(self, name: str) -> float | None:
        """Return an option as a finite number, None where it is not given; raise UsageError when it is none."""
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
            UsageError: one is no number, or the scale is not above 0.
        """
        scale = self.number("logit_scale")
        if scale is not None and scale <= 0:
            raise UsageError(f"model option logit_scale={scale:g}: expected a number above 0")
        return scale, self.number("logit_bias") or 0.0

    def refuse_precision(self, model: str, why: str) -> None:
        """Raise UsageError when a precision is given to a model that is not computed by torch here."""
        if self.precision != "fp32":
            raise UsageError(f"--precision {self.precision} does not reach {model}, {why}: drop it")

    def refuse_device(self, model: str, why: str) -> None:
        """Raise UsageError when a device is given to a model that does not take one."""
        if self.device != "auto":
            raise UsageError(f"--device {self.device} does not reach {model}, {why}: drop it")

    def refuse_arch(self, model: str) -> None:
        """Raise UsageError when an architecture is given to a model that knows its own."""
        if self.arch is not None:
            raise UsageError(
                f"--arch {self.arch} goes with a checkpoint file, and '{model}' knows its own architecture: drop --arch"
            )


PRECISIONS = ("fp32", "bf16", "fp16")
