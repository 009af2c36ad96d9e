"""Models of sentence-transformers: images and texts, or one of them for ``pair:``.

``import sentence_transformers`` in here means the library: imports are absolute.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image

from clipbench.data.images import rgb
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.errors import ModelError, NoTokenCounts, UsageError, did_you_mean, model_option
from clipbench.hub import cache_only, cached_first, local_folder, model_request
from clipbench.models.fingerprint import digest, file_digest
from clipbench.models.foreign_code import TrustedCode, no_foreign_code, only_shown_code, show_code
from clipbench.models.hub_files import Pinned, resolve_source, snapshot_folder
from clipbench.models.model_settings import check_settings
from clipbench.models.options import LoadOptions, Tower, with_options
from clipbench.models.protocol import ROLES, Internals, Model, ModelInfo, Role, RoleTexts, TokenCounts, Vectors
from clipbench.models.towers.families import JINA_V4, family_of
from clipbench.models.towers.text_tower import token_counts
from clipbench.models.towers.torch_model import (
    Placement,
    freeze,
    library_errors,
    n_parameters,
    probe,
    resolve_placement,
    scale_and_bias,
    weights_digest,
)
from clipbench.plugins import import_optional
from clipbench.untrusted.reading import read_json, refuse_special_files

ADAPTER = "sentence-transformers adapter 1"
"""Part of every fingerprint, changed whenever the same weights would give other vectors."""

NAMES: dict[Tower, str] = {"images": "image", "texts": "text"}
"""Modalities in the library's words."""

OWN_CLASSES = "sentence_transformers."
ACTIVATIONS = "torch.nn.modules."
"""Beginnings of the names of classes that a folder may ask for."""

SETTINGS_SUFFIXES = (".json", ".txt", ".model", ".jinja")
"""Ends of the names of files that change the vectors, in addition to the weights."""

OPTIONS = (
    "truncate_dim",
    "prompt",
    "prompt_name",
    "image_prompt",
    "image_prompt_name",
    "query_prompt",
    "document_prompt",
    "logit_scale",
    "logit_bias",
)
ENCODERS: Mapping[Role, str] = {None: "encode", "query": "encode_query", "document": "encode_document"}
"""The library's methods, which choose the part of a model that is for a role."""
ROLE_PROMPTS: Mapping[Role, Sequence[str]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
"""Names of the prompts of a role: the first that is not empty counts. The library takes the first that is there, and
adds an empty ``document`` to the prompts of a model that calls it ``passage``.
"""
Prompt = Mapping[str, str]
"""Arguments of a method of the library: ``prompt`` or ``prompt_name``, or none for the model's own."""


@dataclass(frozen=True, kw_only=True)
class SentenceModel(Model):
    """A model of the library, whose own ``encode`` gives the vectors."""

    info: ModelInfo
    module: Any
    prompts: Mapping[tuple[str, Role], Prompt]
    """The prompt of each modality and role."""
    placement: Placement
    files: Sequence[Path] = ()

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        if not inputs:
            return np.empty((0, self.info.embed_dim), np.float32)
        if modality == IMAGE:
            items: list[Any] = [rgb(image) for image in inputs]
        elif modality == JOINT:
            items = [{"image": rgb(image), "text": text} for image, text in inputs]
        elif self.module.supports("image"):  # a text that names an image would be fetched or opened by such a model
            items = [{"text": text} for text in inputs]
        else:
            items = list(inputs)
        encode = getattr(self.module, ENCODERS[role])
        prompt = self.prompts[modality, role]
        vectors = encode(items, batch_size=self.placement.batch_size, show_progress_bar=False, **prompt)
        return np.asarray(vectors, np.float32)

    def roles(self) -> RoleTexts:
        """Return the prompts by role of each modality whose vectors depend on the role."""
        items: dict[str, Any] = {IMAGE: Image.new("RGB", (64, 64), (128, 128, 128)), TEXT: "a photo"}
        items[JOINT] = items[IMAGE], items[TEXT]
        prompts: RoleTexts = {}
        for modality in dict.fromkeys(modality for modality, _ in self.prompts):
            plain, *by_role = (self.encode(modality, [items[modality]], role) for role in (None, *ROLES))
            if any((vectors != plain).any() for vectors in by_role):
                prompts[modality] = {
                    role: _prompt_text(self.module, self.prompts[modality, role], role) for role in ROLES
                }
        return prompts

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the tokens of each text with its longest prompt before truncation, start and end included.

        Raises:
            NoTokenCounts: the model has no tokenizer of transformers.
        """
        tokenizer = getattr(self.module, "tokenizer", None)
        if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
            raise NoTokenCounts(
                f"the tokenizer of {self.info.id} is not one of transformers: its tokens are not counted"
            )
        roles: Sequence[Role] = ROLES if TEXT in self.info.roles else (None,)
        prompts = {_prompt_text(self.module, self.prompts[TEXT, role], role) for role in roles}
        counts = [token_counts(tokenizer, [prompt + text for text in texts]) for prompt in prompts]
        return np.max(counts, axis=0)

    def internals(self) -> Internals:
        """Return the module, without the parts that the library hides."""
        return Internals(module=self.module)


def load(body: str, options: LoadOptions) -> SentenceModel:
    """Return the model of a folder that ``SentenceTransformer.save`` wrote, or of a Hub repository, at a commit if
    ``@COMMIT`` follows. Code that comes with it is run only from a commit, and with ``options.trust_remote_code``.

    Options: ``truncate_dim``, of Matryoshka vectors; ``prompt`` or ``prompt_name`` for texts, ``image_prompt`` or
    ``image_prompt_name`` for images, whatever their role; ``query_prompt`` and ``document_prompt`` instead of the
    model's own prompts of a role; ``logit_scale`` and ``logit_bias``.

    Raises:
        UsageError: neither a folder nor a valid Hub name, or an option that the model does not have.
        ModelError: the package is missing, the model cannot be loaded, needs its own code, or takes no images or no
            texts.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    reference = f"st:{body}"
    options.refuse_unknown((*OPTIONS, *(["code_commit"] if options.trust_remote_code else [])), reference)
    scale, bias = options.logits()
    source = resolve_source(body, reference, options)
    import_optional("sentence_transformers", extra="st", needed_by=reference)
    placement = resolve_placement(options.device, options.precision, options.batch_size)
    module, folder, code = _from_library(source, reference, options, placement)
    for tower in options.towers:
        if not module.supports(NAMES[tower]):
            takes = ", ".join(map(str, module.modalities))
            raise ModelError(
                f"{reference} does not encode {tower} (it encodes: {takes}): use it as one tower of"
                " pair:IMAGE_REF+TEXT_REF"
            )
    prompts = _prompts(module, options)
    notes = [] if code is None else [code.note]
    for tower in NAMES:
        if tower in options.towers and (text := _prompt_text(module, prompts[NAMES[tower], None])):
            notes.append(f"prompt of {tower}: '{text}'")
    freeze(module, placement)
    inner = module.transformers_model
    is_alone = all(type(part).__name__ in ("Transformer", "CLIPModel", "Normalize") for part in module)
    if scale is None and is_alone and module.truncate_dim is None and getattr(inner, "logit_scale", None) is not None:
        scale, bias = scale_and_bias(inner, reference)  # of the one model whose vectors ``encode`` returns unchanged
    identity_options = {key: value for key, value in sorted(options.options.items()) if not key.startswith("logit_")}
    dim = module.get_embedding_dimension()
    if not dim:
        tower = next(iter(options.towers))
        item: Any = "a photo" if tower == "texts" else Image.new("RGB", (64, 64), (128, 128, 128))
        dim = int(module.encode([item], show_progress_bar=False, **prompts[NAMES[tower], None]).shape[1])
    if module.truncate_dim is not None and module.truncate_dim != dim:
        raise UsageError(
            f"model option truncate_dim={module.truncate_dim}: expected at most {dim}, the dimension of the vectors"
            f" of {reference}"
        )
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(SETTINGS_SUFFIXES) and path.is_file())
    hashes = [f"{path.relative_to(folder)} {file_digest(path)}" for path in files]
    fingerprint = digest(
        ADAPTER,
        "" if code is None else code.identity,
        digest(weights_digest(module), *hashes),
        options.precision,
        identity_options,
        repr([module.truncate_dim, module.default_prompt_name, sorted(module.prompts.items())]),
    )
    first_part = module[0] if inner is None else inner
    info = ModelInfo(
        ref=reference,
        id=with_options(reference, identity_options),
        fingerprint=fingerprint,
        family=f"sentence-transformers/{type(first_part).__name__.removesuffix('Model')}",
        embed_dim=dim,
        context_length=module.get_max_seq_length(),
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
        device=str(placement.device),
        precision=options.precision,
        notes=tuple(notes),
        is_joint=(JOINT, None) in prompts,
        similarity=module.similarity_fn_name,
    )
    model = SentenceModel(
        info=info, module=module, prompts=prompts, placement=placement, files=(local_folder(source.name),)
    )
    model = replace(model, info=replace(info, roles=model.roles()))
    if len(options.towers) > 1:
        probe(model)
    return model


def _from_library(
    source: Pinned, reference: str, options: LoadOptions, placement: Placement
) -> tuple[Any, Path, TrustedCode | None]:
    """Return the library's model, the folder that holds its files, and its own code if that runs."""
    import sentence_transformers

    name = source.name
    request = model_request(reference, name, "st")
    expected = "expected a folder as SentenceTransformer.save writes it"
    with library_errors("sentence-transformers", reference, expected, local_folder(name)):
        folder, code = Path(name), None
        if not folder.is_dir():
            folder = cached_first(lambda: snapshot_folder(name, source.commit), request)
        if options.trust_remote_code:
            code = cached_first(lambda: show_code(source, folder, options), request)
        _check_files(folder, reference, code)
        truncate_dim = options.whole_number("truncate_dim")
        if truncate_dim == 0:
            raise UsageError("model option truncate_dim=0: expected 1 or more dimensions")
        with cache_only(), no_foreign_code() if code is None else only_shown_code(code):
            module = sentence_transformers.SentenceTransformer(
                str(folder),
                device=str(placement.device),
                truncate_dim=truncate_dim,
                trust_remote_code=code is not None,
                local_files_only=True,
                model_kwargs={"dtype": placement.dtype},
            )
        return module, folder, code


def _check_files(folder: Path, reference: str, code: TrustedCode | None) -> None:
    """Raise for a folder that names outside files or untrusted code, some of which the library ignores silently.

    Raises:
        ModelError: the message names the file and the class.
    """
    refuse_special_files(folder, ModelError)
    for path in sorted(folder.rglob("*.json")):
        if path.name == "config.json" and family_of(path.parent, reference) == JINA_V4:
            raise ModelError(
                f"{reference} is jina-embeddings-v4, whose own code does not work with transformers 5: give"
                f" hf: instead of st:, with {model_option(task='retrieval')}"
            )
        settings = read_json(path, ModelError)
        check_settings(settings, path.name, reference, folder=path.parent, is_local=True)
        name = next(_foreign_names(path.name, settings), None) if code is None else None
        if name is not None:
            raise ModelError(
                f"{reference} needs {name}, which {path.relative_to(folder)} names and sentence-transformers"
                " does not have: code that comes with a model is not run. Wrap it yourself as"
                " python:MODULE:FACTORY"
            )


def _foreign_names(file: str, settings: Any) -> Iterator[str]:
    """Yield the names in a file that are neither classes of the libraries nor methods that encode."""
    if file == "modules.json" and isinstance(settings, list):
        yield from (str(part.get("type")) for part in settings if not str(part.get("type")).startswith(OWN_CLASSES))
    if not isinstance(settings, dict):
        return
    activation = str(settings.get("activation_function", ""))
    if "." in activation and not activation.startswith(ACTIVATIONS):  # transformers' own configurations say "gelu"
        yield activation
    types = settings.get("types")
    if file == "router_config.json" and isinstance(types, dict):
        yield from (str(name) for name in types.values() if not str(name).startswith(OWN_CLASSES))
    modes = settings.get("modality_config")
    if isinstance(modes, dict):
        methods = [str(mode.get("method")) for mode in modes.values() if isinstance(mode, dict)]
        yield from (method for method in methods if not re.fullmatch(r"forward|get_\w+_features", method))


def _prompts(module: Any, options: LoadOptions) -> dict[tuple[str, Role], Prompt]:
    """Return the prompt of each encoded modality by role. An image with a text has the prompt of texts."""
    prompts: dict[tuple[str, Role], Prompt] = {}
    for tower in options.towers:
        common_prompt = _option_prompt(module, "image_" if tower == "images" else "", options)
        for role, name in ((None, ""), *((role, f"{role}_prompt") for role in ROLES)):
            model_prompt = next((key for key in ROLE_PROMPTS.get(role, ()) if module.prompts.get(key)), None)
            role_prompt = {} if model_prompt is None else {"prompt_name": model_prompt}
            if name in options.options:
                role_prompt = {"prompt": options.options[name]}
            prompts[NAMES[tower], role] = common_prompt or role_prompt
    if len(options.towers) > 1 and module.supports(("image", "text")):
        prompts |= {(JOINT, role): prompts[TEXT, role] for role in ENCODERS}
    return prompts


def _option_prompt(module: Any, prefix: str, options: LoadOptions) -> dict[str, str]:
    settings = {
        key: options.options[f"{prefix}{key}"]
        for key in ("prompt", "prompt_name")
        if f"{prefix}{key}" in options.options
    }
    by_role = [option_name for role in ROLES if (option_name := f"{role}_prompt") in options.options]
    if settings and by_role and not prefix:
        raise UsageError(
            f"model option {next(iter(settings))} is the prompt of every role, and {by_role[0]} is the prompt"
            " of one role: give only one of them"
        )
    if len(settings) > 1:
        raise UsageError(
            f"model options {prefix}prompt and {prefix}prompt_name have the same meaning: give only one of them"
        )
    name = settings.get("prompt_name")
    if name is not None and name not in module.prompts:
        raise UsageError(f"model option {prefix}prompt_name={name}: {did_you_mean(name, module.prompts)}")
    return settings


def _prompt_text(module: Any, prompt: Prompt, role: Role = None) -> str:
    """Return the text of a prompt, or without one the default prompt for items without a role, or an empty text."""
    if "prompt" in prompt:
        return prompt["prompt"]
    name: str | None = prompt.get("prompt_name") or (module.default_prompt_name if role is None else role)
    return module.prompts.get(name) or ""
