"""Families of transformers that need more than the class their files name, and those refused by name. Imports no torch."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipbench.errors import ModelError, UsageError, model_option
from clipbench.models.options import LoadOptions
from clipbench.untrusted.reading import MOST_BYTES_OF_SETTINGS, is_file, read_json

SIGLIP2, FGCLIP2, JINA_V4 = "siglip2", "fgclip2", "jina_embeddings_v4"

OPTIONS: Mapping[str, Sequence[str]] = {
    SIGLIP2: ("max_num_patches",),
    FGCLIP2: ("max_num_patches", "walk_type"),
    JINA_V4: ("task", "truncate_dim"),
}
"""Options of ``hf:`` that a family has, by its model type."""

WITHOUT_THEIR_CODE = (FGCLIP2, JINA_V4)
"""Families whose repositories bring code that is not run, even if it is trusted: classes of the library hold their weights."""

WALK_TYPES = ("short", "long")
"""FG-CLIP 2's names of its positions and head for captions of up to 64 and up to 196 tokens; its third are for regions."""

MOST_PATCHES = 16_384
"""Patches of an image; FG-CLIP 2's authors use as many for their densest features."""

BUDGETS = ((784, 1024), (576, 784), (256, 576), (128, 256), (0, 128))
"""FG-CLIP 2's own patches of an image: that of the first row whose number its whole squares of 16 pixels exceed."""
SQUARE = 16
PATCHES_BY_SIZE = "each image gets 128 to 1,024 patches by its size, as its authors choose them"
"""Note on FG-CLIP 2 without the option ``max_num_patches``."""

_ELSEWHERE = "as python:FILE.py:FACTORY where its packages are, or store its vectors and give embeddings:FILE"

REFUSED: Mapping[str, str] = {
    r"col(pali|qwen|idefics|smol|modernvbert|llama|gemma|nomic|intern).*|.*colembed.*": (
        "gives many vectors an item (late interaction), and clipbench compares one vector with one: use mteb or"
        " vidore-benchmark"
    ),
    r"jina_?clip.*": (
        "runs code of three repositories that does not go with transformers 5, so that nothing could be compared: wrap its"
        f" encode_image and encode_text {_ELSEWHERE}"
    ),
    r"fgclip(model|config)?": (
        "squashes images and has positions of its own for long texts, which was not compared (FG-CLIP 2 is): wrap it"
        f" {_ELSEWHERE}"
    ),
}
"""Model types and classes, in lower case, whose numbers would be wrong or cannot be had, and why."""


def family_of(folder: Path, reference: str) -> str:
    """Return the model type that a folder's configuration states, empty where it states none; that of jina-embeddings-v4 is
    of its base, and its class tells.

    Raises:
        ModelError: of a family that is refused; the message names it and says why.
    """
    path = folder / "config.json"
    settings = read_json(path, ModelError, most=MOST_BYTES_OF_SETTINGS) if is_file(path) else {}
    settings = settings if isinstance(settings, Mapping) else {}
    names = _names(settings)
    for name in names:
        reason = next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, name.lower())), None)
        if reason is not None:
            raise ModelError(f"{reference} is not supported, because {name} {reason}")
    return JINA_V4 if any(name.startswith("JinaEmbeddingsV4") for name in names) else names[-1]


def _names(settings: Mapping[str, Any]) -> list[str]:
    """Return the classes and the model type of a configuration: a class first, as its type may be that of its base."""
    architectures, code = settings.get("architectures"), settings.get("auto_map")
    named = [*architectures] if isinstance(architectures, list) else []
    named += [str(value).rpartition(".")[2] for value in code.values()] if isinstance(code, Mapping) else []
    return [str(name) for name in (*named, settings.get("model_type", ""))]


def most_patches(options: LoadOptions) -> int | None:
    """Return the option ``max_num_patches``, None where it is not given; raise UsageError for a number out of range."""
    number = options.whole_number("max_num_patches")
    if number is not None and not 1 <= number <= MOST_PATCHES:
        raise UsageError(f"model option max_num_patches={number}: expected 1 to {MOST_PATCHES:,} patches an image")
    return number


def own_budget(size: tuple[int, int]) -> int:
    """Return the patches that FG-CLIP 2 takes of an image of a size in pixels.

    Example:
        >>> [own_budget(size) for size in ((640, 480), (448, 448), (224, 224), (160, 160), (8, 8))]
        [1024, 784, 256, 128, 128]
    """
    squares = (size[0] // SQUARE) * (size[1] // SQUARE)
    return next((budget for least, budget in BUDGETS if squares > least), BUDGETS[-1][1])


def walk_type(options: LoadOptions) -> str:
    """Return the option ``walk_type``, ``short`` where it is not given; raise UsageError where it is neither of the two."""
    name = options.options.get("walk_type", WALK_TYPES[0])
    if name not in WALK_TYPES:
        raise UsageError(f"{model_option(walk_type=name)}: expected {' or '.join(WALK_TYPES)}")
    return name
