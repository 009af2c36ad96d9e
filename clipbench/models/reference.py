"""Models by reference, such as ``vit-b-32``, ``hf:ORG/REPO`` or ``checkpoint.pt`` with an architecture.

A reference is an alias, or ``PREFIX:BODY`` where the prefix is an entry point of ``clipbench.models``, or one of the
forms that users know from elsewhere. An adapter is a function ``load(body, options) -> Model``; it needs neither the
aliases nor the reference that led to it.
"""

import copy
import re
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, cast

from clipbench import plugins
from clipbench.errors import ModelError, UsageError, did_you_mean, error_summary, missing_package, option
from clipbench.models.checkpoints import (
    CHECKPOINT_SUFFIXES,
    holds_bundled_checkpoint,
    is_open_clip_checkpoint,
    params_of,
    split_arch,
)
from clipbench.models.fingerprint import Probes, coarse_digest, digest, encode_probes
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import COSINE, Embedder, Model, ModelInfo
from clipbench.untrusted.reading import entries, is_file, is_folder, is_there

VECTOR_SUFFIXES = (".npz", ".npy", ".parquet")
OPEN_CLIP, PAIR = "open_clip", "pair"
"""Adapters of checkpoint files, and of two models of which either may be one."""

Parts = tuple[str, str, str | None]
"""Adapter, rest and architecture of a reference."""

Adapter = Callable[[str, LoadOptions], Model | Embedder]

FORMS = (
    ("open_clip:ARCH/TAG", "open_clip with its pretrained tag, also ARCH,TAG (ARCH/random is untrained)"),
    ("hf-hub:ORG/REPO", "open_clip model on the Hugging Face Hub"),
    ("local-dir:FOLDER", "the same in a folder"),
    ("hf:ORG/REPO, hf:FOLDER", "transformers model with both towers, such as CLIP, SigLIP and SigLIP 2"),
    (
        "FILE --arch ARCH, ARCH,FILE",
        (
            f"open_clip training checkpoint ({', '.join(CHECKPOINT_SUFFIXES)}, sharded folder), or only FILE"
            " if its params.txt is there"
        ),
    ),
    ("bundled:FOLDER, FOLDER", "checkpoint of clipbench train, or a run of it: its newest one"),
    ("embeddings:FILE", "precomputed vectors with their samples: an .npz, or a folder of .npy or .parquet"),
    ("predictions:FILE", "predicted classes with their samples: a .csv or .parquet with id, label, prediction"),
    ("rankings:FILE", "finished result lists of the queries of --data: a TREC run or JSON Lines, also .gz"),
    ("st:ORG/REPO, st:FOLDER", "sentence-transformers model of images and texts"),
    ("onnx:FOLDER", "two ONNX towers, run by onnxruntime, next to the files of their processor and tokenizer"),
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
    description: str
    """Family, and size where it is known."""
    context: int
    """Tokens that the text tower takes."""
    licence: str | None = None
    """Licence of the weights, None if it is unknown here. The licence that comes with them holds."""
    openai: str | None = None
    """The name of the same weights in OpenAI's package, such as ``ViT-B/32``."""

    @property
    def n_bytes(self) -> int | None:
        """Bytes of the weights, 4 per parameter, or None if unknown, or if they come with clipbench."""
        n_parameters = re.search(r"([\d,]+) M parameters", self.description)
        if n_parameters is None or self.target.startswith("bundled:"):
            return None
        return 4_000_000 * int(n_parameters[1].replace(",", ""))

    def described(self) -> str:
        """Return a description in one line, with the adapter that loads the model and OpenAI's name for it."""
        licence = "" if self.licence is None else f", {self.licence}"
        openai = "" if self.openai is None else f", also {self.openai}"
        return f"{self.description}, {self.context} tokens{licence} ({self.target}{openai})"


class Resolved(NamedTuple):
    """A reference whose aliases are resolved."""

    adapter: str
    """Prefix of the adapter that loads the model."""
    body: str
    """The rest of the reference, as the adapter takes it."""
    options: LoadOptions
    """The options for the adapter: ``arch`` is None unless this reference needs one."""


def load_model(reference: str, options: LoadOptions) -> Model | Embedder:
    """Return the model of a reference, ready to encode, with the reference as given in ``info.ref``.

    Raises:
        UsageError: the reference or an option is wrong. The message suggests the nearest valid one.
        ModelError: the model is malformed, or does not fit its weights.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    return load_with_probes(reference, options).model


def load_with_probes(reference: str, options: LoadOptions) -> Loaded:
    """Return the model of a reference, with the probe vectors of its fingerprint."""
    prefix, body, options = resolve(reference.strip(), options)
    adapter = cast(Adapter, plugins.load(plugins.MODELS, prefix))
    try:
        model = adapter(body, options)
    except ModuleNotFoundError as error:
        if missing_package(error) is None:
            raise
        raise ModelError(f"{reference} cannot be loaded: {error_summary(error)}") from error
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
    model_copy = copy.copy(model)
    object.__setattr__(model_copy, "info", info)  # of a frozen dataclass too
    return Loaded(model_copy, probes)


def resolve(reference: str, options: LoadOptions) -> Resolved:
    """Return the adapter, the rest of the reference with aliases resolved, and the options for this reference.

    Raises:
        UsageError: the reference matches no form, or is a checkpoint without an architecture.

    Example:
        >>> resolve("ViT-B-16,laion2b_s34b_b88k", LoadOptions())[:2]
        ('open_clip', 'ViT-B-16/laion2b_s34b_b88k')
        >>> resolve("ViT-B/32", LoadOptions())[:2]
        ('open_clip', 'ViT-B-32-quickgelu/openai')
        >>> adapter, body, loading = resolve("mine.pt", LoadOptions(arch="ViT-B-32"))
        >>> adapter, body, loading.arch
        ('open_clip', 'mine.pt', 'ViT-B-32')
        >>> resolve("tiny", LoadOptions(arch="ViT-B-32")).options.arch is None
        True
    """
    adapter, body, arch = _parse_reference(reference)
    if _needs_arch(adapter, body, arch):
        arch = options.arch
        if arch is None and adapter != PAIR:
            raise UsageError(
                f"checkpoint {body} needs its architecture: add {option('arch', 'ARCH')}, such as"
                f" {option('arch', 'ViT-B-32')}, or name both as ARCH,{body}"
            )
    return Resolved(adapter, body, replace(options, arch=arch))


def check_references(references: Sequence[str], options: LoadOptions) -> None:
    """Raise UsageError if two references are the same model, or if none of them needs the architecture that is given.

    References that match no form are not errors here: loading one of them says why.
    """
    parsed: dict[str, Parts] = {}
    for reference in references:
        with suppress(UsageError):
            parsed[reference] = _parse_reference(reference.strip())
    if options.arch is not None and parsed and not any(_needs_arch(*parts) for parts in parsed.values()):
        names = ", ".join(f"'{reference}'" for reference in parsed)
        raise UsageError(
            f"{option('arch', options.arch)} has no effect on {names}: only a checkpoint file without the params.txt of"
            f" its training needs an architecture. Remove {option('arch')}"
        )
    models: dict[Parts, str] = {}
    for reference, (adapter, body, arch) in parsed.items():
        model = (adapter, body, options.arch if _needs_arch(adapter, body, arch) else arch)
        if model in models:
            raise UsageError(
                f"'{models[model]}' and '{reference}' are the same model, {adapter}:{body}. Remove one of them"
            )
        models[model] = reference


def _parse_reference(reference: str) -> Parts:
    """Return the adapter, the rest and the architecture of a reference, or raise UsageError for an invalid one."""
    adapters = {name.casefold(): name for name in plugins.names(plugins.MODELS)}
    prefix, colon, body = reference.partition(":")
    if colon and prefix.casefold() in adapters:
        if not body:
            start = f"{prefix.casefold()}:"
            form = next((form for form, _ in FORMS if form.startswith(start)), f"{prefix}:...")
            raise UsageError(f"model reference '{reference}' ends after its prefix: expected {form}")
        return adapters[prefix.casefold()], body, None
    for alias in aliases():
        if reference.casefold() in [name.casefold() for name in (alias.alias, alias.openai) if name]:
            return _parse_reference(alias.target)
    if holds_bundled_checkpoint(Path(reference)):
        return "bundled", reference, None
    arch, path = split_arch(reference)
    if is_open_clip_checkpoint(Path(path)):
        if arch is not None and not is_there(Path(path)):
            raise UsageError(f"no checkpoint {path}: expected a file after '{arch},'. Check the path")
        return OPEN_CLIP, path, arch
    if arch is not None:
        if re.fullmatch(r"[^\s:,/]+", path):
            return OPEN_CLIP, f"{arch}/{path}", None
        raise UsageError(
            f"'{reference}' names no checkpoint: expected ARCH,FILE with a file ({', '.join(CHECKPOINT_SUFFIXES)}) or a"
            " sharded folder, or ARCH,TAG with a pretrained tag of open_clip"
        )
    raise UsageError(f"unknown model '{reference}': {_hint(reference, adapters)} (clipbench list models)")


def _needs_arch(adapter: str, body: str, arch: str | None) -> bool:
    """Return whether the command has to name the architecture of a model, or of one side of a pair."""
    if adapter == PAIR:
        return any(_needs_arch(*_parse_reference(part)) for part in body.split("+") if part)
    return (
        adapter == OPEN_CLIP and arch is None and is_open_clip_checkpoint(Path(body)) and params_of(Path(body)) is None
    )


def holds_samples(reference: str) -> bool:
    """Return whether the model of a reference has its own samples, and therefore accepts no other data.

    Example:
        >>> [holds_samples(name) for name in ("embeddings:vectors.npz", "predictions:labels.csv", "vit-b-32")]
        [True, True, False]
    """
    return reference.strip().partition(":")[0].casefold() in ("embeddings", "predictions")


def aliases() -> list[Alias]:
    """Return the short names in the order of ``aliases.toml``."""
    table = tomllib.loads(files("clipbench.models").joinpath("aliases.toml").read_text(encoding="utf-8"))
    return [Alias(name, **settings) for name, settings in table.items()]


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
        return f"no such folder. For the Hugging Face Hub, give hf:{reference}, or hf-hub:{reference} for open_clip"
    return did_you_mean(reference, [alias.alias for alias in aliases()])


def _folder_hint(path: Path) -> str:
    if is_file(path / "open_clip_config.json"):
        return f"a folder with open_clip_config.json is local-dir:{path}"
    if is_file(path / "config.json"):
        return f"a folder with config.json is hf:{path}"
    if any(file.suffix in VECTOR_SUFFIXES for file in entries(path, UsageError)):
        return f"a folder of vectors is embeddings:{path}"
    hint = "the folder has no config.json (hf:) nor open_clip_config.json (local-dir:)"
    return f"{hint}. For a checkpoint in it, give FILE with {option('arch', 'ARCH')}"
