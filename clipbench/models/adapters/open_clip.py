"""Models of open_clip: pretrained tags, Hub repositories, folders, and checkpoints of a training run. Imports torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import open_clip
import torch
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from open_clip.coca_model import CoCa
from open_clip.factory import convert_state_dict
from open_clip.model import CLIP, CustomTextCLIP, convert_to_custom_text_state_dict
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import TextTransformer
from torch.func import functional_call

from clipbench.errors import ModelError, NoTokenCounts, UsageError, did_you_mean, model_option, option, shorten_list
from clipbench.hub import HubRequest, cached_first, local_folder, model_request
from clipbench.models.checkpoints import (
    CHECKPOINT_SUFFIXES,
    PARAMS,
    is_open_clip_checkpoint,
    params_of,
    step_in_name,
    training_settings,
)
from clipbench.models.fingerprint import digest
from clipbench.models.foreign_code import no_foreign_code
from clipbench.models.hub_files import hub_file, settings_folder
from clipbench.models.model_settings import check_model
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo, Notes, TokenCounts
from clipbench.models.towers.checkpoint_file import (
    Checkpoint,
    causal_tower_error,
    load_strictly,
    read_checkpoint,
    stretch_context,
)
from clipbench.models.towers.text_tower import (
    TextLengths,
    TextTower,
    Tokens,
    check_vocabulary,
    first_position,
    tokenizer_identity,
)
from clipbench.models.towers.torch_model import (
    OpenClipPreprocess,
    TorchModel,
    freeze,
    library_errors,
    n_parameters,
    pixel_tower,
    probe,
    resolve_placement,
    scale_and_bias,
    weights_digest,
)
from clipbench.untrusted.reading import entries, is_file, is_folder, read_json

ADAPTER = "open_clip adapter 1"
"""Part of every fingerprint, changed whenever the same weights would give other vectors."""

OLD_BUFFERS = {"text.transformer.embeddings.position_ids"}
"""Constants that older versions of the libraries saved with the weights, and newer ones refuse."""

NO_REPOSITORY = "(none)"
FOREIGN = ("local-dir:", "hf-hub:")
"""Beginnings of the names of architectures whose configuration comes with the weights."""

T = TypeVar("T")


RANDOM = "random"
"""Tag for random weights on purpose."""

FORCED = ("force_quick_gelu", "force_custom_text", "force_image_size", "force_context_length")
"""Settings of a training that change the architecture, as ``create_model`` takes them."""
PREPROCESS = ("mean", "std", "interpolation", "resize_mode")
"""Settings of the preprocessing, which a training calls ``image_mean`` and so on."""

QUICK = "-quickgelu"
"""Suffix of open_clip's architectures with OpenAI's activation."""

FOLDER_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""File names that open_clip gives the weights it writes for the Hub, best first."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that an open_clip model is built from."""

    id: str
    name: str
    """Name by which open_clip knows the architecture and the tokenizer."""
    weights: Path | None
    """None for random ones."""
    preprocess: Mapping[str, object] = field(default_factory=dict)
    """Settings that differ from open_clip's for the name."""
    context: int | None = None
    """Tokens to stretch the text tower to, or None to leave it as it is."""
    seed: int = 0
    """Seed of random weights."""
    forced: Mapping[str, object] = field(default_factory=dict)
    """Arguments of ``create_model`` by which the training changed the architecture."""
    params: Path | None = None
    """The settings of the training, where the rest comes from them."""
    notes: Notes = ()


def load(body: str, options: LoadOptions) -> TorchModel:
    """Return ``ARCH/TAG`` with its pretrained weights, ``ARCH/random``, or a checkpoint: of ``options.arch``, or of the
    architecture that its training's ``params.txt`` names.

    Options: ``context``. A checkpoint also has ``weights`` (``ema`` or ``raw``), and ``tag``, whose preprocessing and
        activation it shares. Random weights have ``seed``.

    Raises:
        UsageError: an unknown architecture, tag or option.
        ModelError: a checkpoint that cannot be read or does not fit.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    path = Path(body)
    if is_open_clip_checkpoint(path) and params_of(path) is not None:
        return build(_training_recipe(path, options), options)
    if options.arch is not None:
        return build(_file_recipe(path, options.arch, options), options)
    arch, tag = _arch_and_tag(body)
    return build(_random_recipe(arch, options) if tag == RANDOM else _tag_recipe(arch, tag, options), options)


def load_hub(body: str, options: LoadOptions) -> TorchModel:
    """Return the model of a Hub repository ``ORG/NAME`` that holds an open_clip configuration. Option: ``context``."""
    reference = f"hf-hub:{body}"
    options.refuse_unknown(["context"], reference)
    path = load_from_hub(
        lambda: _fetch_weights(f"{body}/"), model_request(f"the weights of {reference}", body, "local-dir"), reference
    )
    return build(Recipe(id=reference, name=reference, weights=path), options)


def load_folder(body: str, options: LoadOptions) -> TorchModel:
    """Return the model of a folder with ``open_clip_config.json``, weights and its tokenizer. Option: ``context``."""
    reference = f"local-dir:{body}"
    options.refuse_unknown(["context"], reference)
    _check_folder_config(Path(body), reference)
    weights = _find_weights(Path(body), reference)
    return build(Recipe(id=reference, name=reference, weights=weights), options)


def _tag_recipe(arch: str, tag: str, options: LoadOptions) -> Recipe:
    options.refuse_unknown(["context"], f"open_clip:{arch}/{tag}")
    settings = open_clip.get_pretrained_cfg(arch, tag)
    name, notes = _with_activation(arch, tag)
    reference = f"open_clip:{name}/{tag}"
    request = model_request(f"the weights of {reference}", settings["hf_hub"].rpartition("/")[0], "local-dir")
    path = load_from_hub(lambda: _fetch_weights(settings["hf_hub"]), request, reference)
    return Recipe(id=reference, name=name, weights=path, preprocess=settings, notes=notes)


def _fetch_weights(hub_path: str) -> Path:
    """Return the weights at ``ORG/NAME/FILE``, or at ``ORG/NAME/`` by one of open_clip's file names.

    Its own function takes every error for a file that is not there, and asks for the next.
    """
    repository, _, file = hub_path.rpartition("/")
    names = dict.fromkeys((f"{Path(file).stem}.safetensors", file)) if file else FOLDER_WEIGHTS
    weights = next(filter(None, (hub_file(repository, name) for name in names)), None)
    if weights is None:
        raise (LocalEntryNotFoundError if is_offline_mode() else EntryNotFoundError)(f"no {' or '.join(names)}")
    return weights


def _random_recipe(arch: str, options: LoadOptions) -> Recipe:
    reference = f"open_clip:{arch}/{RANDOM}"
    options.refuse_unknown(["seed", "context"], reference)
    seed = options.whole_number("seed") or 0
    settings, _ = _preprocess_of(arch)
    notes = (f"random weights (seed {seed}), as requested: the model is untrained",)
    return Recipe(id=reference, name=arch, weights=None, preprocess=settings, seed=seed, notes=notes)


def _file_recipe(path: Path, arch: str, options: LoadOptions) -> Recipe:
    options.refuse_unknown(["tag", "context", "weights"], str(path))
    name = _match_name("open_clip architecture", arch, open_clip.list_models())
    if "tag" in options.options:
        tags = open_clip.list_pretrained_tags_by_model(name)
        tag = _match_name(f"pretrained tag of {name}", options.options["tag"], tags)
        settings: Mapping[str, object] = open_clip.get_pretrained_cfg(name, tag)
        name, notes = _with_activation(name, tag)
    else:
        settings, notes = _preprocess_of(name)
        if f"{name}{QUICK}" in open_clip.list_models():
            arch = option("arch", f"{name}{QUICK}")
            notes += (f"the activation is {name}'s GELU: weights fine-tuned from OpenAI's need {arch}",)
    return Recipe(id=f"{path} as {name}", name=name, weights=path, preprocess=settings, notes=notes)


def _training_recipe(path: Path, options: LoadOptions) -> Recipe:
    """Return the recipe of a checkpoint from its training's params.txt, as open_clip built the model."""
    options.refuse_unknown(["tag", "context", "weights"], str(path))
    settings, params = training_settings(path), params_of(path)
    assert settings is not None
    name = _match_name(f"open_clip architecture in {params}", str(settings["model"]), open_clip.list_models())
    other_arch = (
        options.arch if options.arch is not None and _normalize_name(options.arch) != _normalize_name(name) else None
    )
    if other_arch is not None or "tag" in options.options:
        wrong = option("arch", other_arch) if other_arch is not None else model_option(tag=options.options["tag"])
        raise UsageError(
            f"{wrong} contradicts {params}, which says that {path.name} is a {name} with its own preprocessing:"
            f" remove the option, or move {PARAMS} away"
        )
    if settings.get("use_naflex") or settings.get("force_naflex_vision"):
        raise ModelError(f"{params} says that {path.name} was trained with NaFlex, which open_clip 3 cannot build")
    forced = {key: settings[key] for key in FORCED if settings.get(key)}
    preprocess_settings = {
        key: settings[f"image_{key}"] for key in PREPROCESS if settings.get(f"image_{key}") is not None
    }
    preprocess = {**open_clip.get_pretrained_cfg(name, str(settings.get("pretrained"))), **preprocess_settings}
    summary = ", ".join([name, *(f"{key} {value}" for key, value in {**forced, **preprocess_settings}.items())])
    if settings.get("siglip"):
        forced["init_logit_bias"] = -10.0
    note = f"architecture and preprocessing from the training's {PARAMS}: {summary}"
    if (precision := settings.get("precision", options.precision)) != options.precision:
        note = f"{note}. Trained in {precision}, evaluated in {options.precision}"
    return Recipe(
        id=f"{path} as {name}",
        name=name,
        weights=path,
        preprocess=preprocess,
        forced=forced,
        params=params,
        notes=(note,),
    )


def _arch_and_tag(body: str) -> tuple[str, str]:
    if _normalize_name(body) in map(
        _normalize_name, open_clip.list_models()
    ):  # such as ViT-B/32, which is a whole name with a slash
        arch, tag = body, ""
    else:
        arch, _, tag = body.rpartition("," if "," in body else "/")
    arch = _match_name("open_clip architecture", arch or body, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if not tag:
        raise UsageError(
            f"'{body}' names no pretrained weights: expected {arch}/TAG, where TAG is {shorten_list(tags)}."
            f" For random weights on purpose, give open_clip:{arch}/{RANDOM}"
        )
    return arch, RANDOM if tag.lower() == RANDOM else _match_name(f"pretrained tag of {arch}", tag, tags)


def _normalize_name(name: str) -> str:
    return name.casefold().replace("/", "-").replace("_", "-")


def _match_name(kind: str, name: str, names: list[str]) -> str:
    """Return the name that matches regardless of case, slashes and dashes, or raise UsageError if none does."""
    by_plain = {_normalize_name(candidate): candidate for candidate in reversed(names)}
    match = by_plain.get(_normalize_name(name))
    if match is None:
        raise UsageError(f"unknown {kind} '{name}': {did_you_mean(name, names)}")
    return match


def _with_activation(arch: str, tag: str) -> tuple[str, Notes]:
    """Return the architecture with the activation that a tag was trained with, and a note if that is another one.

    ``create_model("ViT-B-32", pretrained="openai")`` of open_clip 3.3 computes with the wrong one and only warns.
    """
    is_quick = open_clip.get_model_config(arch).get("quick_gelu", False)
    if is_quick or not open_clip.get_pretrained_cfg(arch, tag).get("quick_gelu", False):
        return arch, ()
    name = f"{arch}{QUICK}"
    if name not in open_clip.list_models():
        raise ModelError(f"{arch}/{tag} was trained with QuickGELU, and this open_clip has no {name}: update open_clip")
    return name, (f"{tag} was trained with QuickGELU: loaded as {name}, because {arch} has another activation",)


def _preprocess_of(arch: str) -> tuple[Mapping[str, object], Notes]:
    """Return the preprocessing shared by all pretrained weights of an architecture, or open_clip's default.

    A checkpoint of one's own does not record which it was trained with, so a note says what is used.
    """
    configs = [open_clip.get_pretrained_cfg(arch, tag) for tag in open_clip.list_pretrained_tags_by_model(arch)]
    candidates: list[dict[str, object]] = [{key: config[key] for key in PREPROCESS} for config in configs]
    distinct = {repr(settings): settings for settings in candidates}
    if len(distinct) == 1:
        settings = candidates[0]
        summary = ", ".join(f"{key} {value}" for key, value in settings.items())
        return settings, (f"preprocessing of open_clip's {arch} weights: {summary}",)
    reason = "the pretrained weights differ in it" if distinct else "pretrained weights do not exist"
    tag = model_option(tag="TAG")
    return {}, (f"the preprocessing is open_clip's default, because {reason} for {arch}. Choose another with {tag}",)


def _check_folder_config(folder: Path, reference: str) -> None:
    path = folder / "open_clip_config.json"
    if not is_file(path):
        raise ModelError(
            f"{reference} has no open_clip_config.json: expected a folder as open_clip writes it for the Hub."
            f" For a bare checkpoint give {option('model', 'FILE')} with {option('arch', 'ARCH')}, for a"
            f" transformers model {option('model', 'hf:FOLDER')}"
        )
    config = read_json(path, ModelError)
    model = config.get("model_cfg") if isinstance(config, dict) else None
    kinds = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    if not isinstance(model, dict) or not all(isinstance(model.get(key), kind) for key, kind in kinds.items()):
        raise ModelError(
            f"{path} has no integer embed_dim, or no objects vision_cfg and text_cfg, under 'model_cfg':"
            " expected a file of open_clip"
        )


def _find_weights(folder: Path, reference: str) -> Path:
    for name in FOLDER_WEIGHTS:
        if is_file(folder / name):
            return folder / name
    checkpoints = sorted(path for path in entries(folder, ModelError) if path.suffix.lower() in CHECKPOINT_SUFFIXES)
    if len(checkpoints) != 1:
        names = ", ".join(path.name for path in checkpoints) or "none"
        raise ModelError(
            f"{reference} has no {FOLDER_WEIGHTS[0]}, so exactly one other checkpoint is expected: found {names}"
        )
    return checkpoints[0]


# -- building a model


def build(recipe: Recipe, options: LoadOptions) -> TorchModel:
    """Return the model of a recipe, or raise as ``load`` does."""
    placement = resolve_placement(options.device, options.precision, options.batch_size)
    recipe = replace(recipe, context=options.whole_number("context"))
    file_notes = load_from_hub(partial(_check_files, recipe), _tokenizer_request(recipe), recipe.id)
    checkpoint = None if recipe.weights is None else read_checkpoint(recipe.weights, options.options.get("weights"))
    tokenizer, config, module = _from_library(recipe)
    tower = text_tower(module, tokenizer)
    check_vocabulary(tower.tokenize, recipe.id)
    if recipe.context is not None and tower.lengths is None:
        raise causal_tower_error(recipe.context, recipe.id)
    notes = (*recipe.notes, *file_notes)
    if checkpoint is not None:
        notes = (*notes, *checkpoint.notes, *_load_weights(module, checkpoint, recipe))
    words = tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.tokenizer.get_vocab()
    tokens = tokenizer_identity(tower.tokenize, words)
    visual = module.visual
    sides = (visual.image_size,) if isinstance(visual.image_size, int) else visual.image_size
    scale, bias = scale_and_bias(module, recipe.id)
    # The settings that fix the computation beside the weights. The tokenizer's behaviour is hashed, not its name, and a
    # context that the model already has is the same as none.
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    context = None if recipe.context == text.get("context_length", DEFAULT_CONTEXT_LENGTH) else recipe.context
    computation = {**config, **recipe.forced, "text_cfg": {**text, "context": context}}
    fingerprint = digest(
        ADAPTER,
        weights_digest(module),
        json.dumps(computation, sort_keys=True),
        sorted(visual.preprocess_cfg.items()),
        digest(options.precision, tokens),
    )
    step = step_in_name(Path(recipe.id))
    if checkpoint is not None and checkpoint.step is not None:
        step = checkpoint.step
    info = ModelInfo(
        ref=recipe.id,
        id=recipe.id,
        fingerprint=fingerprint,
        family=f"open_clip/{_family(module)}",
        embed_dim=config["embed_dim"],
        context_length=tokenizer.context_length,
        image_size=sides[0] if len(set(sides)) == 1 else None,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
        device=str(placement.device),
        precision=options.precision,
        notes=notes,
        step=step,
    )
    model = TorchModel(
        info=info,
        preprocess=OpenClipPreprocess(image_transform_v2(PreprocessCfg(**visual.preprocess_cfg), is_train=False)),
        image_tower=pixel_tower(lambda pixels: module.encode_image(pixels, normalize=False)),
        text_tower=tower,
        placement=placement,
        module=module,
        files=_source_files(recipe),
    )
    freeze(module, placement)
    probe(model)
    return model


def _family(module: Any) -> str:
    if isinstance(module, CoCa):
        return "CoCa"
    return "CLIP" if module.logit_bias is None else "SigLIP"


def _source_files(recipe: Recipe) -> tuple[Path, ...]:
    """Return the files and folders that a model was loaded from, or none for random weights."""
    if recipe.weights is None:
        return ()
    cached = next((folder for folder in recipe.weights.parents if folder.name.startswith("models--")), None)
    model_files = recipe.weights.parent if recipe.name.startswith("local-dir:") else cached or recipe.weights
    repository = _tokenizer_repository(recipe.name)
    tokenizer_files = [] if repository == NO_REPOSITORY else [local_folder(repository)]
    return (model_files, *tokenizer_files, *([] if recipe.params is None else [recipe.params]))


def load_from_hub(load: Callable[[], T], request: HubRequest, model: str) -> T:
    """Return the result of an open_clip function, from the cache or by download, with errors in one line."""
    with library_errors("open_clip", model, "see its configuration"), no_foreign_code():
        return cached_first(load, request)


def _from_library(recipe: Recipe) -> tuple[Any, dict[str, Any], Any]:
    """Return the tokenizer, the configuration and the module without its weights."""

    def load() -> tuple[Any, dict[str, Any], Any]:
        _check_files(recipe)  # again: what was not in the cache before is fetched now
        config = open_clip.get_model_config(recipe.name)
        # The last argument overrides the configuration's; open_clip's own tokenizer does not know it.
        trust = {"trust_remote_code": False} if config["text_cfg"].get("hf_tokenizer_name") else {}
        context = recipe.context or recipe.forced.get("force_context_length")
        tokenizer = open_clip.get_tokenizer(recipe.name, context_length=context, **trust)
        return tokenizer, config, _without_weights(recipe)

    return load_from_hub(load, _tokenizer_request(recipe), recipe.id)


def _check_files(recipe: Recipe) -> Notes:
    """Raise if files of the model or of repositories that they name require code. Return notes."""
    model_names = [recipe.name.partition(":")[2]] if recipe.name.startswith(FOREIGN) else []
    notes = [note for name in model_names for note in check_model(name, recipe.id)]
    text = (open_clip.get_model_config(recipe.name) or {}).get("text_cfg", {})
    keys = ["hf_model_name"] if recipe.name.startswith("local-dir:") else ["hf_model_name", "hf_tokenizer_name"]
    for name in dict.fromkeys(text[key] for key in keys if text.get(key)):
        if not is_folder(name):
            settings_folder(name)  # whole: of a part that is cached the library makes another tokenizer
        notes += check_model(name, recipe.id)
    return tuple(notes)


def _tokenizer_request(recipe: Recipe) -> HubRequest:
    return model_request(f"the tokenizer of {recipe.id}", _tokenizer_repository(recipe.name), "local-dir")


def _without_weights(recipe: Recipe) -> Any:
    with torch.random.fork_rng(devices=[]):  # the user's random state stays as it was
        torch.manual_seed(recipe.seed)
        return open_clip.create_model(
            recipe.name,
            device="cpu",
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=dict(recipe.preprocess),
            **{**recipe.forced, **({} if recipe.context is None else {"force_context_length": recipe.context})},
        )


def _tokenizer_repository(name: str) -> str:
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    return text.get("hf_tokenizer_name") or text.get("hf_model_name") or NO_REPOSITORY


def _load_weights(module: Any, checkpoint: Checkpoint, recipe: Recipe) -> Notes:
    """Load weights as open_clip does, except that it would silently resize positions, and here they must fit."""
    state = convert_state_dict(module, checkpoint.state)
    if "positional_embedding" in state and not hasattr(module, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        parameter = getattr(module, name)
        if parameter is not None and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(parameter.shape)
    for name in OLD_BUFFERS - module.state_dict().keys():
        state.pop(name, None)
    state, notes = (state, ()) if recipe.context is None else stretch_context(state, recipe.context)
    advice = [
        *([] if recipe.params is None else [f"check that {recipe.params} belongs to this training"]),
        *checkpoint.notes,
    ]
    load_strictly(module, state, source=checkpoint.source, arch=recipe.name, advice=". ".join(advice))
    return notes


# -- texts, cut to the longest of a batch where that is exact


class _CausalTower(NamedTuple):
    """A tower in which no token attends to a later one, and whose vector is taken at the end of the text."""

    holder: Any
    """The module with the positions and the mask, which are read at each use, because moving the module replaces
    them.
    """
    prefix: str
    """Prefix of their names in the model."""
    pool: str
    end: int


def text_tower(model: Any, tokenizer: Any) -> TextTower:
    """Return the text tower of a model.

    Causal towers pooled at the end of the text get only the tokens of the longest text of a batch, because tokens after
    the end cannot change the vector. The tower's own mask and pooling decide that, not its name. Other towers are not
    cut: CoCa, whose class token is put behind the padding, and towers of transformers.
    """
    causal, text_model = _causal_tower(model), _TextOnly(model)

    def lengths(tokens: Tokens) -> TextLengths:
        assert causal is not None
        text = tokens["text"]  # the position of the end of each text, as the tower itself finds it, plus one
        return (text.argmax(dim=-1) if causal.pool == "argmax" else first_position(causal.end, text)) + 1

    def encode(tokens: Tokens) -> torch.Tensor:
        text = tokens["text"]
        if causal is None:
            return text_model(text)
        n = text.shape[1]  # open_clip 3.3 accepts the full length only, so positions and mask are cut to the tokens
        cut = {
            f"{causal.prefix}positional_embedding": causal.holder.positional_embedding[:n],
            f"{causal.prefix}attn_mask": causal.holder.attn_mask[:n, :n],
        }
        return functional_call(text_model, cut, (text,), tie_weights=False)

    return TextTower(
        tokenize=lambda texts: {"text": tokenizer(texts)},
        encode=encode,
        lengths=None if causal is None else lengths,
        count=lambda texts: count_tokens(tokenizer, texts),
    )


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> TokenCounts:
    """Return the tokens of each text by one of open_clip's tokenizers, before it cuts.

    Raises:
        NoTokenCounts: an unknown kind of tokenizer.
    """
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None and hasattr(tokenizer, "encode"):
        return np.array([len(tokenizer.encode(text)) + 2 for text in texts], np.int64)
    if inner is None or not hasattr(tokenizer, "clean_fn"):
        raise NoTokenCounts(f"tokens of open_clip's {type(tokenizer).__name__} cannot be counted")
    if not texts:
        return np.empty(0, np.int64)
    is_clips = tokenizer.tokenizer_mode == "clips"  # CLIPS: open_clip adds start, end and a class token itself
    cleaned = [tokenizer.clean_fn(text) for text in texts]
    ids = inner(cleaned, add_special_tokens=not is_clips, padding=False, truncation=False, verbose=False).input_ids
    return np.array([len(text_ids) + 3 * is_clips for text_ids in ids], np.int64)


class _TextOnly(torch.nn.Module):
    """A model whose ``forward`` is its ``encode_text``: ``functional_call`` can call nothing else."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(text, normalize=False)


def _causal_tower(model: Any) -> _CausalTower | None:
    if type(model) is CLIP:
        tower = _CausalTower(model, "model.", model.text_pool_type, model.text_eos_id)
    elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer and model.text.cls_emb is None:
        tower = _CausalTower(model.text, "model.text.", model.text.pool_type, model.text.eos_id)
    else:
        return None
    mask = tower.holder.attn_mask
    if mask is None or tower.pool not in ("argmax", "eos"):
        return None
    hidden = torch.triu(torch.ones_like(mask, dtype=torch.bool), diagonal=1)
    is_causal = bool((mask[hidden] == -torch.inf).all() and (mask[~hidden] == 0).all())
    return tower if is_causal else None
