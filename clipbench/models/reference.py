"""Models by reference, such as ``vit-b-32``, ``hf:ORG/REPO`` or ``checkpoint.pt`` with an architecture.

A reference is an alias, or ``PREFIX:BODY`` where the prefix is an entry point of ``clipbench.models``, or one of the
forms that users know from elsewhere. An adapter is a function ``load(body, options) -> Model``; it needs to know
nothing of aliases, nor of the reference that led to it.
"""

import copy
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, cast

from clipbench import plugins
from clipbench.errors import ModelError, Stray, UsageError, cause, did_you_mean, foreign, missing_package, option
from clipbench.models.checkpoints import (
    CHECKPOINT_SUFFIXES,
    holds_bundled_checkpoint,
    is_open_clip_checkpoint,
    params_of,
)
from clipbench.models.fingerprint import Probes, coarse_digest, digest, encode_probes
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import COSINE, Embedder, Model, ModelInfo
from clipbench.untrusted.reading import entries, is_file, is_folder

VECTOR_SUFFIXES = (".npz", ".npy", ".parquet")

Adapter = Callable[[str, LoadOptions], Model | Embedder]

FORMS = (
    ("open_clip:ARCH/TAG", "open_clip with its pretrained tag; ARCH,TAG means the same; ARCH/random is untrained"),
    ("hf-hub:ORG/REPO", "open_clip model on the Hugging Face Hub"),
    ("local-dir:FOLDER", "the same in a folder"),
    ("hf:ORG/REPO, hf:FOLDER", "transformers model: CLIP, SigLIP, SigLIP 2 and what else has both towers"),
    (
        "FILE --arch ARCH",
        f"open_clip training checkpoint ({', '.join(CHECKPOINT_SUFFIXES)}, sharded folder); with its params.txt no --arch",
    ),
    ("bundled:FOLDER, FOLDER", "checkpoint of clipbench train, or a run of it: its newest one"),
    ("embeddings:FILE", "precomputed vectors with their samples: an .npz, or a folder of .npy or .parquet"),
    ("st:ORG/REPO, st:FOLDER", "sentence-transformers model of images and texts"),
    ("onnx:FOLDER", "two ONNX towers by onnxruntime, beside the files of their processor and tokenizer"),
    ("api:URL", "OpenAI-style embeddings over HTTP, with --model-option model=NAME"),
    ("pair:IMAGE_REF+TEXT_REF", "the image tower of one model with the text tower of another"),
    ("python:MODULE:FACTORY", "object with encode_images and encode_texts, made by a function of yours"),
)


class Loaded(NamedTuple):
    """A model, and the vectors of its probes where it is one that encodes."""

    model: Model | Embedder
    probes: Probes | None


class Alias(NamedTuple):
    """A short name for a reference."""

    alias: str
    target: str
    what: str
    """Family, and size where it is known."""
    context: int
    """Tokens that the text tower takes."""
    licence: str | None
    """Licence of the weights, None where it is not known here; the one that comes with them holds."""

    @property
    def n_bytes(self) -> int | None:
        """Bytes of the weights, 4 per parameter; None if unknown, or if they come with clipbench."""
        n_parameters = re.search(r"([\d,]+) M parameters", self.what)
        if n_parameters is None or self.target.startswith("bundled:"):
            return None
        return 4_000_000 * int(n_parameters[1].replace(",", ""))

    def described(self) -> str:
        """Return what is known of it in one line, with the adapter that loads it."""
        licence = "" if self.licence is None else f", {self.licence}"
        return f"{self.what}, {self.context} tokens{licence} ({self.target})"


def load_model(reference: str, options: LoadOptions) -> Model | Embedder:
    """Return the model that a reference stands for, ready to encode; ``info.ref`` is the reference as given.

    Raises:
        UsageError: the reference or an option is wrong; the message suggests the nearest valid one.
        ModelError: the model is malformed, or does not fit its weights.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    return load_with_probes(reference, options).model


def load_with_probes(reference: str, options: LoadOptions) -> Loaded:
    """Return the model that a reference stands for, with what was encoded for its fingerprint."""
    prefix, body = resolve(reference.strip(), options)
    adapter = cast(Adapter, plugins.load(plugins.MODELS, prefix))
    try:
        with foreign():
            model = adapter(body, options)
    except (ModuleNotFoundError, Stray) as error:
        if missing_package(error) is None and not isinstance(error, Stray):
            raise
        raise ModelError(f"{reference} cannot be loaded: {cause(error)}") from error
    if not isinstance(model, Model | Embedder) or not isinstance(getattr(model, "info", None), ModelInfo):
        raise ModelError(
            f"model adapter '{prefix}' returned an object of type {type(model).__name__} for '{reference}': expected a"
            " clipbench.Model with a ModelInfo as info"
        )
    # What the adapter did not know: the user's reference, and the probes in the fingerprint.
    info, probes = replace(model.info, ref=reference), None
    if isinstance(model, Model):
        probes = encode_probes(model.encode_images, model.encode_texts)
        compared = () if info.similarity == COSINE else (info.similarity,)
        info = replace(info, fingerprint=digest(info.fingerprint, coarse_digest(probes), *compared))
    named = copy.copy(model)
    object.__setattr__(named, "info", info)  # of a frozen dataclass too
    return Loaded(named, probes)


def resolve(reference: str, options: LoadOptions) -> tuple[str, str]:
    """Return the adapter's prefix and the rest of the reference, aliases resolved.

    Raises:
        UsageError: the reference matches no form.

    Example:
        >>> resolve("ViT-B-16,laion2b_s34b_b88k", LoadOptions())
        ('open_clip', 'ViT-B-16/laion2b_s34b_b88k')
        >>> resolve("VIT-b-32", LoadOptions())
        ('open_clip', 'ViT-B-32-quickgelu/openai')
    """
    known = {name.casefold(): name for name in plugins.names(plugins.MODELS)}
    prefix, colon, body = reference.partition(":")
    if colon and prefix.casefold() in known:
        if not body:
            start = f"{prefix.casefold()}:"
            form = next((form for form, _ in FORMS if form.startswith(start)), f"{prefix}:...")
            raise UsageError(f"model reference '{reference}' ends after its prefix: expected {form}")
        return known[prefix.casefold()], body
    for alias in aliases():
        if alias.alias == reference.casefold():
            return resolve(alias.target, options)
    if holds_bundled_checkpoint(Path(reference)):
        return "bundled", reference
    if is_open_clip_checkpoint(Path(reference)):
        if options.arch is None and params_of(Path(reference)) is None:
            raise UsageError(
                f"checkpoint {reference} needs its architecture: add {option('arch', 'ARCH')}, such as"
                f" {option('arch', 'ViT-B-32')}"
            )
        return "open_clip", reference
    if re.fullmatch(r"[^\s:]+,[^\s:,]+", reference):
        arch, _, tag = reference.partition(",")
        return "open_clip", f"{arch}/{tag}"
    raise UsageError(f"unknown model '{reference}': {_hint(reference, known)} (clipbench list models)")


def brings_samples(reference: str) -> bool:
    """Return whether what a reference stands for holds its own samples, so that it can be asked for no other data.

    Example:
        >>> brings_samples("embeddings:vectors.npz"), brings_samples("vit-b-32")
        (True, False)
    """
    return reference.strip().partition(":")[0].casefold() == "embeddings"


def aliases() -> list[Alias]:
    """Return the short names in the order of ``aliases.toml``."""
    table = tomllib.loads(files("clipbench.models").joinpath("aliases.toml").read_text(encoding="utf-8"))
    return [
        Alias(name, entry["target"], entry["what"], entry["context"], entry.get("licence"))
        for name, entry in table.items()
    ]


def reference_rows() -> list[tuple[str, str]]:
    """Return (reference, description) for ``clipbench list models``: aliases, other forms, and prefixes of plug-ins."""
    ours = {form.partition(":")[0] for form, _ in FORMS}
    added = [(f"{name}:...", "from a plug-in") for name in plugins.names(plugins.MODELS) if name not in ours]
    return [(alias.alias, alias.described()) for alias in aliases()] + list(FORMS) + added


def _hint(reference: str, prefixes: dict[str, str]) -> str:
    path = Path(reference)
    if is_folder(path):
        return _folder_hint(path)
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return f"vectors in a file are embeddings:{reference}"
    if is_file(path):
        return (
            f"a checkpoint ends in {', '.join(CHECKPOINT_SUFFIXES)}, a file of vectors in {', '.join(VECTOR_SUFFIXES)}"
        )
    prefix, colon, _ = reference.partition(":")
    if colon:
        return f"no adapter '{prefix}': {did_you_mean(prefix, prefixes.values())}"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", reference):
        return f"no such folder; on the Hugging Face Hub it is hf:{reference}, or hf-hub:{reference} for open_clip"
    return did_you_mean(reference, [alias.alias for alias in aliases()])


def _folder_hint(path: Path) -> str:
    if is_file(path / "open_clip_config.json"):
        return f"a folder with open_clip_config.json is local-dir:{path}"
    if is_file(path / "config.json"):
        return f"a folder with config.json is hf:{path}"
    if any(file.suffix in VECTOR_SUFFIXES for file in entries(path, UsageError)):
        return f"a folder of vectors is embeddings:{path}"
    lacking = "the folder has no config.json (hf:) nor open_clip_config.json (local-dir:)"
    return f"{lacking}; a checkpoint in it is FILE with {option('arch', 'ARCH')}"
