"""Families of transformers that need more than the class their files name, and those refused by name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipbench.errors import ModelError
from clipbench.untrusted.reading import is_file, read_json

SIGLIP2, FGCLIP2, JINA_V4 = "siglip2", "fgclip2", "jina_embeddings_v4"


OPTIONS: Mapping[str, Sequence[str]] = {
    SIGLIP2: ("max_num_patches",),
    FGCLIP2: ("max_num_patches", "walk_type"),
    JINA_V4: ("task", "truncate_dim"),
}
"""Options of ``hf:`` that a family has, by its model type."""


WITHOUT_THEIR_CODE = (FGCLIP2, JINA_V4)
"""Families whose repositories bring code that is not run, even if it is trusted: classes of the library hold their
weights.
"""


_ELSEWHERE = "as python:FILE.py:FACTORY where its packages are, or store its vectors and give embeddings:FILE"


REFUSED: Mapping[str, str] = {
    r"col(pali|qwen|idefics|smol|modernvbert|llama|gemma|nomic|intern).*|.*colembed.*": (
        "gives many vectors per item (late interaction), and clipbench compares single vectors: "
        "use mteb or vidore-benchmark"
    ),
    r"jina_?clip.*": (
        "runs code of three repositories that does not work with transformers 5, so it could not be"
        f" verified: wrap its encode_image and encode_text {_ELSEWHERE}"
    ),
    r"fgclip(model|config)?": (
        "squashes images and has special positions for long texts, which was not verified "
        f"(FG-CLIP 2 was): wrap it {_ELSEWHERE}"
    ),
}
"""Model types and classes, in lower case, whose numbers would be wrong or cannot be had, and why."""


def family_of(folder: Path, reference: str) -> str:
    """Return the model type in a folder's configuration, or its class for jina-embeddings-v4, or empty if unstated.

    Raises:
        ModelError: of a family that is refused. The message has its name and the reason.
    """
    path = folder / "config.json"
    settings = read_json(path, ModelError) if is_file(path) else {}
    settings = settings if isinstance(settings, Mapping) else {}
    names = _class_names(settings)
    for name in names:
        reason = next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, name.lower())), None)
        if reason is not None:
            raise ModelError(f"{reference} is not supported, because {name} {reason}")
    return JINA_V4 if any(name.startswith("JinaEmbeddingsV4") for name in names) else names[-1]


def _class_names(settings: Mapping[str, Any]) -> list[str]:
    """Return the classes and the model type of a configuration, classes first: the type may be the base model's."""
    architectures, code = settings.get("architectures"), settings.get("auto_map")
    class_names = [*architectures] if isinstance(architectures, list) else []
    class_names += [str(value).rpartition(".")[2] for value in code.values()] if isinstance(code, Mapping) else []
    return [str(name) for name in (*class_names, settings.get("model_type", ""))]
