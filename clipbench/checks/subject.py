"""Checks and their subject: a model, its parts, data if any, and vectors that several checks use, encoded once."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from clipbench.checks.pairs import Pairs, scene_pairs, user_pairs, vector_file_pairs
from clipbench.data.dataset import Dataset
from clipbench.errors import FOREIGN, ClipbenchError, ModelError, error_summary, is_machine_error
from clipbench.metrics.similarity import unit
from clipbench.models import fingerprint as probing
from clipbench.models.fingerprint import Probes
from clipbench.models.introspection.modules import training_parts
from clipbench.models.introspection.preprocessing import measure_preprocessing
from clipbench.models.introspection.tokens import LONG, TokenFacts, tokenizer_facts
from clipbench.models.protocol import (
    COSINE,
    Embedder,
    Internals,
    Model,
    ModelEmbedder,
    ModelInfo,
    Preprocessing,
    Role,
    Vectors,
    capability,
)
from clipbench.results.record import FindingStatus

if TYPE_CHECKING:
    import torch


Rows = Float[np.ndarray, "n dim"]
"""A vector per row."""

N_TWICE = 8
"""Images of the pairs that are encoded twice."""
LIMITS = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.05}
"""Distance of unit vectors of the same input up to which rounding explains it, by precision."""
UNKNOWN_LIMIT = 0.02
GIVEN = "only vectors are given, without the model and its inputs"
"""The reason why most checks cannot be made of vectors without their model."""


class NotExamined(Exception):
    """There is nothing to look at, such as the tokenizer of an adapter that shows none. The text is the reason."""


def largest_distance(one: Rows, other: Rows) -> float:
    """Return the largest distance of two vectors in the same row, each scaled to length 1.

    Raises:
        VectorError: one of them has no direction.

    Example:
        >>> largest_distance(np.array([[1.0, 0]], np.float32), np.array([[3.0, 0]], np.float32))
        0.0
    """
    return float(np.linalg.norm(unit(one) - unit(other), axis=1).max())


class RepeatedEncodings(NamedTuple):
    """Distances between vectors of the first probe image and text, encoded separately again and in batches."""

    text: Float32[np.ndarray, "1 dim"]
    """The vector of the text, encoded separately."""
    twice: float
    """The largest distance of two separate encodings."""
    image_among: float
    """The image among other images."""
    text_among: float
    """The text in a batch with its words in another order, which has the same number of tokens."""
    with_long_text: float
    """The text in a batch with a long one."""
    is_moved: bool
    """True where the two came back in the other order."""
    training: Sequence[str]
    """Parts of the module that worked in training mode meanwhile."""


class Subject:
    """A model and the data that the checks look at. Vectors that are encoded for one check are kept for the others.

    Args:
        embedder: the model bound to a store, or vectors that are given.
        dataset: data of the user's own.
        is_quick: only what costs next to nothing is wanted.
    """

    def __init__(
        self, embedder: Embedder, dataset: Dataset | None = None, *, is_quick: bool = False, seed: int = 0
    ) -> None:
        self.embedder = embedder
        self.dataset = dataset if embedder.dataset is None else embedder.dataset
        self.is_quick = is_quick
        self.seed = seed
        self.sample: object = None
        """A sample of the data's images, as the checks of data decode it once."""

    @property
    def info(self) -> ModelInfo:
        """The model's identity and constants."""
        return self.embedder.info

    @property
    def limit(self) -> float:
        """Distance of unit vectors of the same input up to which rounding explains it."""
        return LIMITS.get(self.info.precision or "", UNKNOWN_LIMIT)

    @property
    def encodes(self) -> bool:
        """True for a model, False for vectors that are given."""
        return capability(self.embedder, ModelEmbedder) is not None

    @cached_property
    def model(self) -> Model:
        """The model, whose own errors are ModelErrors. Raise NotExamined unless ``encodes`` is True."""
        encoder = capability(self.embedder, ModelEmbedder)
        if encoder is None:
            raise NotExamined(GIVEN)
        return WatchedModel(encoder.model)

    @cached_property
    def parts(self) -> Internals:
        """The parts that the adapter shows, whose own errors are ModelErrors."""
        return watched_internals(self.model)

    @property
    def module(self) -> "torch.nn.Module":
        """The torch module of both towers."""
        if self.parts.module is None:
            raise NotExamined("the adapter shows no torch module")
        return self.parts.module

    @cached_property
    def is_siglip(self) -> bool:
        """True for the SigLIP recipe: by the name of its family or module, or by a learned bias."""
        names = [self.info.family, self.info.id, type(self.parts.module).__name__ if self.encodes else ""]
        return self.info.logit_bias != 0 or any("siglip" in name.lower() for name in names)

    @cached_property
    def probes(self) -> Probes:
        """Vectors of three images and three texts, from the loading of the model or from the first check."""
        encoder = capability(self.embedder, ModelEmbedder)
        if encoder is not None and encoder.probes is not None:
            return encoder.probes
        probes = probing.encode_probes(self.model.encode_images, self.model.encode_texts)
        if encoder is not None:
            encoder.probes = probes  # the check after a run compares with them
        return probes

    @cached_property
    def repeated(self) -> RepeatedEncodings:
        """The first probes once more, otherwise batched."""
        images, texts = self.model.encode_images, self.model.encode_texts
        image, text = probing.probe_images()[:1], probing.TEXTS[0]
        training_mode: AbstractContextManager[Sequence[str]] = nullcontext([])
        if self.parts.module is not None:
            training_mode = training_parts(self.parts.module)
        with training_mode as training:
            text_alone, text_pair = texts([text]), texts([LONG, text])
            image_alone, image_again = images(image), images(image)
            text_again, with_long_text = texts([text]), largest_distance(text_pair[1:], text_alone)
            return RepeatedEncodings(
                text=text_alone,
                twice=max(largest_distance(image_alone, image_again), largest_distance(text_alone, text_again)),
                image_among=largest_distance(image_alone, self.probes.images[:1]),
                text_among=largest_distance(texts([" ".join(reversed(text.split())), text])[1:], text_alone),
                with_long_text=with_long_text,
                is_moved=largest_distance(text_pair[:1], text_alone) <= self.limit < with_long_text,
                training=training,
            )

    @cached_property
    def repeat_distance(self) -> float:
        """Largest distance of two encodings of one input, or of more inputs in the full form."""
        if self.is_quick:
            return self.repeated.twice
        # An image of waves changes little under a random crop; images of the pairs do.
        images, encode = self.pairs.images[:N_TWICE], self.model.encode_images
        return max(self.repeated.twice, largest_distance(encode(images), encode(images)))

    @cached_property
    def tokens(self) -> TokenFacts | None:
        """The tokenizer's habits, or None if it is not shown."""
        return None if self.parts.tokenize is None else tokenizer_facts(self.model, self.parts.tokenize)

    @cached_property
    def measured(self) -> Preprocessing:
        """The preprocessing as it is."""
        if self.parts.preprocess is None:
            raise NotExamined("the adapter shows no preprocessing for one image")
        return measure_preprocessing(self.parts.preprocess, with_interpolation=not self.is_quick)

    @cached_property
    def pairs(self) -> Pairs:
        """Images and their texts, from the vector file, from the user's data, or generated."""
        if self.encodes:
            user_sample = None if self.dataset is None else user_pairs(self.dataset, self.model, self.seed)
            return scene_pairs(self.model) if user_sample is None else user_sample
        file_pairs = vector_file_pairs(self.embedder)
        if file_pairs is None:
            raise NotExamined("the file has neither texts of the images nor classes")
        return file_pairs

    @property
    def ranked_pairs(self) -> Pairs:
        """The pairs, for a check that ranks them by cosine, or raise NotExamined for a model that does not."""
        if self.info.similarity != COSINE:
            raise NotExamined("the model compares vectors by the inner product, and this check needs cosines")
        return self.pairs


class WatchedModel(Model):
    """A model whose own errors are ModelErrors: they are faults of the examined model."""

    def __init__(self, model: Model) -> None:
        self.info, self.modalities, self.preprocess = model.info, model.modalities, model.preprocess
        self._encode = _watch("encode", model.encode)
        for name in ("encode_images", "encode_texts", "count_tokens", "internals"):
            setattr(self, name, _watch(name, getattr(model, name)))

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return self._encode(modality, inputs, role)


PARTS = ("open_image", "preprocess", "encode_pixels", "tokenize", "encode_tokens")
"""Functions among the parts of a model."""


def watched_internals(model: Model) -> Internals:
    """Return the parts that a model shows, whose own errors are ModelErrors."""
    parts = model.internals()
    functions = {name: getattr(parts, name) for name in PARTS}
    watched: dict[str, Any] = {name: function and _watch(name, function) for name, function in functions.items()}
    return replace(parts, **watched)


def _watch(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the adapter whose errors are ModelErrors."""

    def watched(*inputs: Any) -> Any:
        try:
            return function(*inputs)
        except FOREIGN as error:
            if isinstance(error, ClipbenchError) or is_machine_error(error):
                raise
            raise ModelError(f"{name} fails: {error_summary(error)}") from error

    return watched


class CheckOutcome(NamedTuple):
    """The answer of a check."""

    status: FindingStatus
    seen: str
    """An observation, or the reason why none could be made."""
    fix: str = ""
    """Advice."""


def healthy(observation: str) -> CheckOutcome:
    """Return an outcome without a problem, with the observation."""
    return CheckOutcome("ok", observation)


def warning(observation: str, fix: str) -> CheckOutcome:
    """Return an outcome with a possible problem and advice."""
    return CheckOutcome("warning", observation, fix)


def fault(observation: str, fix: str) -> CheckOutcome:
    """Return an outcome with a problem and advice."""
    return CheckOutcome("fault", observation, fix)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of ``clipbench doctor``.

    A package brings its own by the entry point ``clipbench.checks``, which names an object of this type.

    Example:
        >>> def examine(subject):
        ...     return healthy(f"{subject.info.embed_dim} dimensions")
        >>> Check(name="dimensions", why="Vectors of one dimension have no angle.", examine=examine).about
        'model'
    """

    name: str
    """Name in the output, such as ``padding``."""
    why: str
    """The reason why it matters, in a sentence."""
    examine: Callable[[Subject], CheckOutcome]
    """Gives the outcome, or raises NotExamined."""
    about: Literal["model", "data"] = "model"
    """Checks of data are made where there are some."""
    needs_model: bool = True
    """False for a check that vectors suffice for, whatever made them."""
    is_quick: bool = False
    """Made before every run too: costs less than encoding a few images and texts."""
