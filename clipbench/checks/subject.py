"""The subject of an examination: a model, its parts, data if there are some, and what several checks want, encoded once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.checks.check import NotExamined
from clipbench.checks.pairs import Pairs, given_pairs, largest_distance, own_pairs, scene_pairs
from clipbench.data.dataset import Dataset
from clipbench.errors import FOREIGN, ClipbenchError, ModelError, cause, is_machines
from clipbench.models import probes as probing
from clipbench.models.facts.modules import training_parts
from clipbench.models.facts.preprocessing import measure
from clipbench.models.facts.tokens import LONG, TokenFacts, facts_of
from clipbench.models.internals import Internals, Preprocessing
from clipbench.models.probes import Probes
from clipbench.models.protocol import Embedder, Model, ModelInfo, Role, Vectors

if TYPE_CHECKING:
    import torch

N_TWICE = 8
"""Images of the pairs that are encoded twice."""
LIMITS = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.05}
"""Distance of unit vectors of the same input up to which rounding explains it, by precision."""
UNKNOWN_LIMIT = 0.02


class Again(NamedTuple):
    """The first probes, encoded alone and in company."""

    image: Float32[np.ndarray, " dim"]
    """The first image alone."""
    image_twice: Float32[np.ndarray, " dim"]
    """The same once more."""
    text: Float32[np.ndarray, " dim"]
    """The first text alone."""
    text_twice: Float32[np.ndarray, " dim"]
    """The same once more."""
    in_company: Float32[np.ndarray, " dim"]
    """The first text beside its own words in another order: a text of as many tokens."""
    beside_long: Float32[np.ndarray, " dim"]
    """The first text beside one of any length."""
    is_moved: bool
    """True where the two came back in the other order."""
    training: Sequence[str]
    """Parts of the module that worked in training mode meanwhile."""


class Subject:
    """A model and the data that the checks look at; whatever is encoded for one check is there for the others.

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
        self._model, self._probes = embedder.model, embedder.probes

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
        return self._model is not None

    @cached_property
    def model(self) -> Model:
        """The model, whose own errors are ModelErrors; only where ``encodes`` is True."""
        if self._model is None:
            raise NotExamined(GIVEN)
        return WatchedModel(self._model)

    @cached_property
    def parts(self) -> Internals:
        """The parts that the adapter shows, whose own errors are ModelErrors."""
        if self._model is None:
            raise NotExamined(GIVEN)
        parts = self.model.internals()
        watched: dict[str, Any] = _watched(parts, PARTS)
        return replace(parts, **watched)

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
        """Vectors of three images and three texts."""
        return self._probes or probing.encode_probes(self.model.encode_images, self.model.encode_texts)

    @cached_property
    def again(self) -> Again:
        """The first probes once more, otherwise batched."""
        module = self.parts.module
        if module is None:
            return self._encode_again([])
        with training_parts(module) as training:
            return self._encode_again(training)

    def _encode_again(self, training: Sequence[str]) -> Again:
        images, texts = self.model.encode_images, self.model.encode_texts
        image, text = probing.probe_images()[:1], probing.TEXTS[0]
        alone, both = texts([text])[0], texts([LONG, text])
        return Again(
            image=images(image)[0],
            image_twice=images(image)[0],
            text=alone,
            text_twice=texts([text])[0],
            in_company=texts([" ".join(reversed(text.split())), text])[1],
            beside_long=both[1],
            is_moved=largest_distance(both[:1], alone[None]) <= self.limit < largest_distance(both[1:], alone[None]),
            training=training,
        )

    @cached_property
    def apart_twice(self) -> float:
        """Distance of the vectors of one input that is encoded twice, of more inputs in the full form."""
        again = self.again
        apart = largest_distance(np.stack([again.image, again.text]), np.stack([again.image_twice, again.text_twice]))
        if self.is_quick:
            return apart
        # An image of waves looks much alike after a random crop: those of the pairs do not.
        shown, encode = self.pairs.images[:N_TWICE], self.model.encode_images
        return max(apart, largest_distance(encode(shown), encode(shown)))

    @cached_property
    def tokens(self) -> TokenFacts | None:
        """The tokenizer's habits; None where it is not shown."""
        return None if self.parts.tokenize is None else facts_of(self.model, self.parts.tokenize)

    @cached_property
    def measured(self) -> Preprocessing:
        """The preprocessing as it is."""
        if self.parts.preprocess is None:
            raise NotExamined("the adapter shows no preprocessing for one image")
        return measure(self.parts.preprocess, with_interpolation=not self.is_quick)

    @cached_property
    def pairs(self) -> Pairs:
        """Images and their texts: of the vectors that are given, of the user's data, or else generated."""
        if not self.encodes:
            return given_pairs(self.embedder)
        own = None if self.dataset is None else own_pairs(self.dataset, self.model, self.seed)
        return scene_pairs(self.model) if own is None else own


class WatchedModel(Model):
    """A model whose own errors are ModelErrors: they are faults of what is examined."""

    def __init__(self, model: Model) -> None:
        self.info, self.modalities, self.preprocess = model.info, model.modalities, model.preprocess
        self._model = model

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return _watch("encode", self._model.encode)(modality, inputs, role)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return _watch("encode_images", self._model.encode_images)(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return _watch("encode_texts", self._model.encode_texts)(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        return _watch("count_tokens", self._model.count_tokens)(texts)

    def internals(self) -> Internals:
        return _watch("internals", self._model.internals)()


PARTS = ("preprocess", "encode_pixels", "tokenize", "encode_tokens")


def _watched(owner: object, names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Return the functions of these names that the owner has."""
    functions = {name: getattr(owner, name, None) for name in names}
    return {name: _watch(name, function) for name, function in functions.items() if function is not None}


def _watch(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the adapter whose errors are ModelErrors: they are faults of what is examined."""

    def watched(*inputs: Any) -> Any:
        try:
            return function(*inputs)
        except FOREIGN as error:
            if isinstance(error, ClipbenchError) or is_machines(error):
                raise
            raise ModelError(f"{name} fails: {cause(error)}") from error

    return watched


GIVEN = "the vectors are given, and what made them is not here"
"""Why most checks cannot be made of vectors without their model."""
