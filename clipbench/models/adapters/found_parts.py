"""The parts of a user's object that are attributes of it: a torch module, its tokenizer and its preprocessing.

A found part is believed only if it gives the vectors that the object itself gives, so that a check never looks at a
tokenizer or a preprocessing that the object does not use in this way.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clipbench.errors import FOREIGN, is_machine_error
from clipbench.models.adapters.interpreter_child import as_floats
from clipbench.models.adapters.torch_module import torch_model
from clipbench.models.fingerprint import TEXTS, probe_images
from clipbench.models.introspection.modules import tower_methods
from clipbench.models.protocol import Internals

if TYPE_CHECKING:
    import torch

TOKENIZERS = ("tokenize", "tokenizer")
PREPROCESSINGS = ("preprocess", "transform", "processor")
"""Names of attributes, as libraries and their examples call them."""
SAME = 1e-3
"""Largest distance of unit vectors that an object and its parts give for the same input."""


def found_parts(encoders: Any) -> Internals:
    """Return the parts among the attributes of an object, as far as they give the same vectors as the object.

    Args:
        encoders: with ``encode_images`` and ``encode_texts``.
    """
    module = _only_module(encoders)
    if module is None:
        return Internals()
    if tower_methods(module) is None:
        return Internals(module=module)
    parts = Internals(module=module)
    images, texts = probe_images(), list(TEXTS)
    for name in PREPROCESSINGS:
        shown = _shown_parts(module, preprocess=getattr(encoders, name, None))
        if _gives_same(partial(encoders.encode_images, images), partial(_encode_images, shown, images)):
            parts = replace(parts, preprocess=shown.preprocess, encode_pixels=shown.encode_pixels)
            break
    for name in TOKENIZERS:
        shown = _shown_parts(module, tokenizer=getattr(encoders, name, None))
        if _gives_same(partial(encoders.encode_texts, texts), partial(_encode_texts, shown, texts)):
            parts = replace(parts, tokenize=shown.tokenize, encode_tokens=shown.encode_tokens)
            break
    return parts


def _only_module(encoders: Any) -> "torch.nn.Module | None":
    """Return the torch module that the object is, or the only one among its attributes, None for several."""
    torch = sys.modules.get("torch")  # an object with a module has imported it
    if torch is None:
        return None
    if isinstance(encoders, torch.nn.Module):
        return encoders
    modules = [value for value in getattr(encoders, "__dict__", {}).values() if isinstance(value, torch.nn.Module)]
    return modules[0] if len(modules) == 1 else None


def _shown_parts(module: "torch.nn.Module", *, preprocess: Any = None, tokenizer: Any = None) -> Internals:
    """Return the parts of a module with the functions that are there. The other one raises."""
    return torch_model(
        module,
        preprocess if callable(preprocess) else _missing,
        tokenizer if callable(tokenizer) else _missing,
    ).internals()


def _missing(_: object) -> Any:
    raise LookupError("the object has no such attribute")


def _encode_images(parts: Internals, images: Sequence[Any]) -> Any:
    assert parts.preprocess is not None and parts.encode_pixels is not None
    return parts.encode_pixels(np.stack([parts.preprocess(image) for image in images]))


def _encode_texts(parts: Internals, texts: Sequence[str]) -> Any:
    assert parts.tokenize is not None and parts.encode_tokens is not None
    return parts.encode_tokens(parts.tokenize(texts))


def _gives_same(encode: Callable[[], Any], encode_by_parts: Callable[[], Any]) -> bool:
    try:
        own, found = (as_floats(vectors).astype(np.float64) for vectors in (encode(), encode_by_parts()))
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return False
    if own.shape != found.shape:
        return False
    lengths = np.linalg.norm(own, axis=1), np.linalg.norm(found, axis=1)
    if not all(np.isfinite(length).all() and length.all() for length in lengths):
        return False
    distances = np.linalg.norm(own / lengths[0][:, None] - found / lengths[1][:, None], axis=1)
    return bool(distances.max() <= SAME)
