"""A model with one switch flipped, such as texts in lower case: each variant is a model like any other.

Whatever an adapter does, a switch is flipped outside of it: texts and images are changed before its own code sees them,
and tokens and pixels where it shows these parts. The activation is replaced in the module while the model encodes.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from clipbench.data.modalities import IMAGE, TEXT
from clipbench.models.fingerprint import digest
from clipbench.models.introspection.preprocessing import METHODS, make_square, measure_preprocessing
from clipbench.models.introspection.tokens import TokenFacts, pad_tokens, restore_end, tokenizer_facts, trim_tokens
from clipbench.models.options import Tower
from clipbench.models.protocol import (
    Internals,
    Model,
    ModelInfo,
    Preprocessing,
    Resize,
    Role,
    Tokens,
    Vectors,
    in_batches,
)

BATCH = 64
"""Texts whose tokens are changed at a time. A tokenizer that pads to the longest text pads to the longest of these."""

NORMALIZATIONS = {
    "OpenAI's mean and standard deviation": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "ImageNet's mean and standard deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "a mean and standard deviation of 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "no normalization": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of the usual image preprocessings."""

Texts = Callable[[Sequence[str], Role], Float32[np.ndarray, "n_texts dim"]]
Images = Callable[[Sequence[Image.Image], Role], Float32[np.ndarray, "n_images dim"]]


@dataclass(frozen=True, kw_only=True)
class Variant(Model):
    """A model with one switch flipped."""

    switch: str
    """Name of the switch, such as ``case``."""
    setting: str
    """The setting instead of the model's own, such as ``texts in lower case``."""
    changes: tuple[Tower, ...]
    """The vectors that may differ from the model's own."""
    info: ModelInfo
    images: Images
    texts: Texts
    model: Model
    """The model itself, which encodes all that is neither, and combines prompts."""

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        if modality in (IMAGE, TEXT):
            return self.images(inputs, role) if modality == IMAGE else self.texts(inputs, role)
        return self.model.encode(modality, inputs, role)

    def combine(self, vectors: Vectors) -> Float32[np.ndarray, " dim"] | None:
        return self.model.combine(vectors)


def images_as(model: Model, images: Sequence[Image.Image], role: Role) -> Vectors:
    """Return the vectors of images in a role."""
    return model.encode_images(images) if role is None else model.encode(IMAGE, model.inputs_of(images), role)


def texts_as(model: Model, texts: Sequence[str], role: Role) -> Vectors:
    """Return the vectors of texts in a role."""
    return model.encode_texts(texts) if role is None else model.encode(TEXT, list(texts), role)


def variants(model: Model) -> Iterator[Variant]:
    """Yield the model with each of its own parts changed, one at a time, as far as its adapter shows them.

    Changes of templates, spelling and shape, which need no part, are in ``input_changes``.
    """
    parts = model.internals()
    yield from (variant for variant in case_variants(model) if variant.switch == "punctuation")
    yield from token_variants(model, parts)
    if parts.preprocess is not None:
        yield from image_variants(model, parts, measure_preprocessing(parts.preprocess))
    yield from activation_variants(model, parts)


def case_variants(model: Model) -> Iterator[Variant]:
    """Yield the model with texts in lower case, and with texts as SigLIP's code cleans them, without punctuation."""
    for switch, setting, change in (
        ("case", "texts in lower case", str.lower),
        ("punctuation", "texts in lower case without punctuation", canonicalize),
    ):
        yield _variant(model, switch, setting, texts=partial(_changed_texts, model, change))


def canonicalize(text: str) -> str:
    """Return a text in lower case, without punctuation, with single blanks.

    So google-research/big_vision evaluates SigLIP, and open_clip tokenizes for it (``clean: canonicalize``).

    Example:
        >>> canonicalize('A dog,  "Rex" (left).')
        'a dog rex left'
    """
    cleaned = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    return " ".join(cleaned.lower().split())


def token_variants(model: Model, parts: Internals) -> Iterator[Variant]:
    """Yield the model with texts padded otherwise, and with the end-of-text token put back where a cut took it."""
    if parts.tokenize is None or parts.encode_tokens is None:
        return
    facts = tokenizer_facts(model, parts.tokenize)
    context = max(model.info.context_length or 0, facts.width)
    change = partial(partial, _changed_tokens, parts, facts)
    if facts.pad is not None and facts.is_padded_to_longest:
        full = change(lambda tokens, facts: pad_tokens(tokens, facts, context))
        yield _variant(model, "padding", f"texts padded to {context} tokens", texts=full)
    elif facts.pad is not None:
        yield _variant(model, "padding", "texts padded to the longest of a batch", texts=change(trim_tokens))
    if facts.keeps_end is False:
        yield _variant(model, "end of text", "end-of-text token kept where a text is cut", texts=change(restore_end))


def image_variants(model: Model, parts: Internals, measured: Preprocessing) -> Iterator[Variant]:
    """Yield the model with images interpolated and normalized otherwise."""
    if measured.size is None or measured.size[0] != measured.size[1] or measured.fault is not None:
        return
    side, resize, interpolation = measured.size[0], measured.resize, measured.interpolation
    if resize is not None and interpolation in METHODS:
        for method in ("bicubic", "bilinear", "nearest"):
            if method != interpolation:
                images = partial(_changed_images, model, side, resize, method)
                yield _variant(model, "interpolation", f"images resized by {method} interpolation", images=images)
    if parts.encode_pixels is not None and measured.mean is not None and measured.std is not None:
        normalization = np.array([measured.mean, measured.std])
        for name, settings in NORMALIZATIONS.items():
            if np.abs(np.array(settings) - normalization).max() > 0.01:
                images = partial(_renormalized_vectors, parts, normalization, np.array(settings))
                yield _variant(model, "normalization", name, images=images)


SQUARES: dict[Resize, str] = {
    "crop": "the middle of an image cut out",
    "squash": "images squashed to a square",
    "pad": "images padded to a square",
}


def activation_variants(model: Model, parts: Internals) -> Iterator[Variant]:
    """Yield the model with QuickGELU for GELU, or the reverse."""
    from clipbench.models.introspection.modules import GELU, QUICK_GELU, activations, other_activation

    if parts.module is None:
        return
    module, activation_names = parts.module, {name for names in activations(parts.module).values() for name in names}
    if len(activation_names) != 1:
        return
    other_name = QUICK_GELU if activation_names == {GELU} else GELU

    def with_other(encode: Callable[[Model, Any, Role], Vectors], items: Sequence[Any], role: Role = None) -> Vectors:
        with other_activation(module):
            return encode(model, items, role)

    images, texts = partial(with_other, images_as), partial(with_other, texts_as)
    yield _variant(model, "activation", f"{other_name} for {activation_names.pop()}", images=images, texts=texts)


def _variant(
    model: Model, switch: str, setting: str, *, images: Images | None = None, texts: Texts | None = None
) -> Variant:
    changes: list[Tower] = []
    if images:
        changes.append("images")
    if texts:
        changes.append("texts")
    return Variant(
        switch=switch,
        setting=setting,
        changes=tuple(changes),
        info=replace(model.info, fingerprint=digest(model.info.fingerprint, switch, setting)),
        images=images or partial(images_as, model),
        texts=texts or partial(texts_as, model),
        model=model,
    )


def _changed_texts(model: Model, change: Callable[[str], str], texts: Sequence[str], role: Role = None) -> Vectors:
    return texts_as(model, [change(text) for text in texts], role)


def _changed_images(
    model: Model, side: int, resize: Resize, interpolation: str, images: Sequence[Image.Image], role: Role = None
) -> Vectors:
    return images_as(model, [make_square(image, side, resize, interpolation) for image in images], role)


def _changed_tokens(
    parts: Internals,
    facts: TokenFacts,
    change: Callable[[Tokens, TokenFacts], Tokens],
    texts: Sequence[str],
    role: Role = None,
) -> Vectors:
    assert parts.tokenize is not None and parts.encode_tokens is not None
    batches = map(parts.tokenize, in_batches(list(texts), BATCH))
    return np.concatenate([parts.encode_tokens(change(tokens, facts)) for tokens in batches])


def _renormalized_vectors(
    parts: Internals,
    normalization: np.ndarray,
    new_normalization: np.ndarray,
    images: Sequence[Image.Image],
    role: Role = None,
) -> Vectors:
    assert parts.preprocess is not None and parts.encode_pixels is not None
    (mean, std), (new_mean, new_std) = (settings[:, :, None, None] for settings in (normalization, new_normalization))
    vectors = []
    for batch in in_batches(images, BATCH):
        inputs = [parts.preprocess(image.convert("RGB")) for image in batch]
        pixels = np.stack(inputs).astype(np.float32) * std + mean
        vectors.append(parts.encode_pixels(((pixels - new_mean) / new_std).astype(np.float32)))
    return np.concatenate(vectors)
