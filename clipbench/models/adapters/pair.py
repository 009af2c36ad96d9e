"""Two models as one: the image tower of the first with the text tower of the second, where both share a space."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clipbench import plugins
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, UsageError
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions, Tower
from clipbench.models.protocol import Internals, Model, ModelInfo, Notes, Role, TokenCounts, Vectors
from clipbench.models.reference import resolve

SIDES: dict[Tower, str] = {"images": "image.", "texts": "text."}
"""Prefixes of the options of either model."""


class PairModel(Model):
    """Images by one model, texts by another."""

    def __init__(self, info: ModelInfo, image_model: Model, text_model: Model) -> None:
        self.info = info
        self.preprocess = image_model.preprocess
        self.is_sole = image_model.is_sole or text_model.is_sole
        self._models = {IMAGE: image_model, TEXT: text_model}

    def towers(self) -> Mapping[str, Model]:
        return self._models

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return self._models[modality].encode(modality, inputs, role)

    def encode_batches(self, modality: str, batches: Iterable[Any], role: Role = None) -> Iterator[Vectors]:
        return self._models[modality].encode_batches(modality, batches, role)

    def combine(self, vectors: Vectors) -> np.ndarray | None:
        return self._models[TEXT].combine(vectors)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return self._models[TEXT].count_tokens(texts)

    def costs(self) -> Notes:
        return tuple(note for model in self._models.values() for note in model.costs())

    def internals(self) -> Internals:
        images, texts = (self._models[modality].internals() for modality in (IMAGE, TEXT))
        return replace(images, tokenize=texts.tokenize, encode_tokens=texts.encode_tokens, module=None)


def load(body: str, options: LoadOptions) -> PairModel:
    """Return ``IMAGE_REF+TEXT_REF``, two model references. An adapter that can lend one tower loads no more than that.

    Options: the options of the two models, with the prefix ``image.`` or ``text.``; with it also ``device`` and
    ``precision``, if the two models differ in them (``text.device=auto`` for a model that chooses its own); and
    ``logit_scale`` and ``logit_bias``, which belong to towers that were trained together, and so are not taken from
    either model.

    Raises:
        UsageError: not two references, or an option without its side.
        ModelError: one of them cannot be loaded, or their dimensions differ.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    reference = f"pair:{body}"
    pair_options = {
        name: value for name, value in options.options.items() if not name.startswith(tuple(SIDES.values()))
    }
    replace(options, options=pair_options).refuse_unknown(("logit_scale", "logit_bias", *SIDES.values()), reference)
    scale, bias = options.logits()
    parts = body.split("+")
    if len(parts) != 2 or not all(parts):
        raise UsageError(
            f"'{reference}' is not two models: expected pair:IMAGE_REF+TEXT_REF, with no other + in either"
        )
    for part in parts:
        resolve(part, options)  # a slip is said before the other model is loaded
    image_part, text_part = parts
    image_model, text_model = _side(image_part, "images", options), _side(text_part, "texts", options)
    images, texts = image_model.info, text_model.info
    if images.embed_dim != texts.embed_dim:
        raise ModelError(
            f"{reference}: {images.id} gives images vectors of dimension {images.embed_dim}, and {texts.id} gives texts"
            f" {texts.embed_dim}: expected towers of one space"
        )
    if images.similarity != texts.similarity:
        raise ModelError(
            f"{reference}: {images.id} compares vectors by {images.similarity}, {texts.id} by {texts.similarity}:"
            " expected one similarity"
        )
    roles = {}
    for modality, tower_info in ((IMAGE, images), (TEXT, texts)):
        if modality in tower_info.roles:
            roles[modality] = tower_info.roles[modality]
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
        device=images.device if images.device == texts.device else None,
        precision=images.precision if images.precision == texts.precision else None,
        roles=roles,
        similarity=images.similarity,
        notes=_notes(images, texts),
    )
    return PairModel(info, image_model, text_model)


def _notes(images: ModelInfo, texts: ModelInfo) -> Notes:
    """Return in which settings the two sides differ, and the notes of each side."""
    notes = []
    settings = {"device": (images.device, texts.device), "precision": (images.precision, texts.precision)}
    for name, (of_images, of_texts) in settings.items():
        if of_images != of_texts:
            notes.append(f"{name}: {of_images or 'unknown'} for images, {of_texts or 'unknown'} for texts")
    notes += [f"images: {note}" for note in images.notes]
    notes += [f"texts: {note}" for note in texts.notes]
    return tuple(notes)


def _side(part: str, tower: Tower, options: LoadOptions) -> Model:
    """Return the model of one side, without encoding its probes: the pair has its own."""
    prefix = SIDES[tower]
    side_options = {
        name.removeprefix(prefix): value for name, value in options.options.items() if name.startswith(prefix)
    }
    device, precision = side_options.pop("device", options.device), side_options.pop("precision", options.precision)
    options = replace(options, device=device, precision=precision, options=side_options, towers=(tower,))
    name, body, options = resolve(part, options)
    model = plugins.load(plugins.MODELS, name)(body, options)
    if not isinstance(model, Model):
        raise UsageError(
            f"{part} has vectors of its own samples and encodes nothing else: expected a model that encodes {tower}"
        )
    return model
