"""Two models as one: the image tower of the first with the text tower of the second, where both share a space."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench import plugins
from clipbench.errors import ModelError, UsageError
from clipbench.models._fingerprint import digest
from clipbench.models.checkpoints import CHECKPOINT_SUFFIXES
from clipbench.models.internals import Internals, internals_of
from clipbench.models.protocol import (
    AnyPreprocess,
    CostlyModel,
    LoadOptions,
    Modality,
    Model,
    ModelInfo,
    PixelModel,
    count_tokens,
    encode_batches,
    is_sole,
)
from clipbench.models.reference import resolve

SIDES: dict[Modality, str] = {"images": "image.", "texts": "text."}
"""Prefixes of the options of either model."""


@dataclass(frozen=True)
class PairModel:
    """Images by one model, texts by another."""

    info: ModelInfo
    image_model: Model
    text_model: Model

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        """Return one vector an image, in order, by the first model."""
        return self.image_model.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        """Return one vector a text, in order, by the second model."""
        return self.text_model.encode_texts(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes; raise NoTokenCounts where the second model cannot say."""
        return count_tokens(self.text_model, texts)

    def costs(self) -> tuple[str, ...]:
        """Return what both models have cost so far."""
        return tuple(
            note
            for model in (self.image_model, self.text_model)
            if isinstance(model, CostlyModel)
            for note in model.costs()
        )

    @property
    def is_sole(self) -> bool:
        """True where either model has to work in one process."""
        return is_sole(self.image_model) or is_sole(self.text_model)

    def internals(self) -> Internals:
        """Return the parts of both towers; there is no one module that holds them."""
        texts = internals_of(self.text_model)
        return replace(
            internals_of(self.image_model), tokenize=texts.tokenize, encode_tokens=texts.encode_tokens, module=None
        )


@dataclass(frozen=True)
class PixelPairModel(PairModel):
    """The same where the preprocessing of images runs apart from the first model."""

    image_model: PixelModel

    @property
    def preprocess(self) -> AnyPreprocess:
        return self.image_model.preprocess

    def encode_pixels(self, pixels: Any) -> Float32[np.ndarray, "n_images dim"]:
        return self.image_model.encode_pixels(pixels)

    def encode_batches(self, batches: Iterable[Any]) -> Iterator[Float32[np.ndarray, "n_images dim"]]:
        return encode_batches(self.image_model, batches)


def load(body: str, options: LoadOptions) -> PairModel:
    """Return ``IMAGE_REF+TEXT_REF``, two model references. An adapter that can lend one tower loads no more than that.

    Options: those of the models behind ``image.`` and ``text.``, and there ``device`` and ``precision`` where the two differ in
    them (``text.device=auto`` for a model that chooses its own); ``logit_scale`` and ``logit_bias``, which belong to towers that
    were trained together, and so are not taken from either model.

    Raises:
        UsageError: not two references, or an option without its side.
        ModelError: one of them cannot be loaded, or their dimensions differ.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    reference = f"pair:{body}"
    own = {name: value for name, value in options.options.items() if not name.startswith(tuple(SIDES.values()))}
    replace(options, options=own).refuse_unknown(("logit_scale", "logit_bias", *SIDES.values()), reference)
    scale, bias = options.logits()
    image_part, text_part = _split(body, reference, options)
    if not any(_is_file(part) for part in (image_part, text_part)):
        options.refuse_arch(reference)
    image_model, text_model = _side(image_part, "images", options), _side(text_part, "texts", options)
    images, texts = image_model.info, text_model.info
    if images.embed_dim != texts.embed_dim:
        raise ModelError(
            f"{reference}: {images.id} gives images vectors of dimension {images.embed_dim}, and {texts.id} gives texts"
            f" {texts.embed_dim}: expected towers of one space"
        )
    info = ModelInfo(
        ref=reference,
        id=f"pair:{images.id}+{texts.id}",
        fingerprint=digest("pair 1", images.fingerprint, texts.fingerprint),
        family=f"pair/{images.family}+{texts.family}",
        embed_dim=images.embed_dim,
        context_length=texts.context_length,
        image_size=images.image_size,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=None,
        device=images.device if images.device == texts.device else None,
        precision=images.precision if images.precision == texts.precision else None,
        notes=(
            *_differences(images, texts),
            *(f"images: {note}" for note in images.notes),
            *(f"texts: {note}" for note in texts.notes),
        ),
    )
    if isinstance(image_model, PixelModel):
        return PixelPairModel(info, image_model, text_model)
    return PairModel(info, image_model, text_model)


def _split(body: str, reference: str, options: LoadOptions) -> tuple[str, str]:
    """Return the two references; a + may also be part of one, so each is tried as the place where they meet."""
    lenient = replace(options, arch=options.arch or "any")  # whether a checkpoint has its architecture is said later
    found, fault = [], None
    for place in (place for place, character in enumerate(body) if character == "+"):
        parts = body[:place], body[place + 1 :]
        try:
            for part in parts:
                resolve(part, lenient)
        except UsageError as error:
            fault = error
        else:
            found.append(parts)
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise UsageError(
            f"'{reference}' can be read in {len(found)} ways: expected one + that does not belong to a name or path"
        )
    cause = f" ({fault})" if fault is not None else ""
    raise UsageError(f"'{reference}' is not two models: expected pair:IMAGE_REF+TEXT_REF{cause}")


def _differences(images: ModelInfo, texts: ModelInfo) -> Iterator[str]:
    """Yield a note where the two do not run on one device or in one precision."""
    for name in ("device", "precision"):
        ours, theirs = getattr(images, name), getattr(texts, name)
        if ours != theirs:
            yield f"{name}: {ours or 'unknown'} for images, {theirs or 'unknown'} for texts"


def _is_file(part: str) -> bool:
    return part.lower().endswith(CHECKPOINT_SUFFIXES)


def _side(part: str, tower: Modality, options: LoadOptions) -> Model:
    """Return the model of one side; its probes are not encoded, since those of the pair are."""
    prefix = SIDES[tower]
    arch = options.arch if _is_file(part) else None
    own = {name.removeprefix(prefix): value for name, value in options.options.items() if name.startswith(prefix)}
    device, precision = own.pop("device", options.device), own.pop("precision", options.precision)
    options = replace(options, device=device, precision=precision, options=own, arch=arch, towers=(tower,))
    name, body = resolve(part, options)
    model = plugins.load(plugins.MODELS, name)(body, options)
    if not isinstance(model, Model):
        raise UsageError(f"{part} holds vectors of its own samples: expected a model that encodes {tower}")
    return model
