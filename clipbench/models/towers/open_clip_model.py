"""Building an open_clip model from a recipe. Imported only with torch and open_clip at hand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
from jaxtyping import Float32
from open_clip.coca_model import CoCa
from open_clip.factory import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipbench.errors import ClipbenchError, ModelError
from clipbench.hub import HubRequest, cached_first, files_of
from clipbench.models.checkpoints import step_in_name
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo
from clipbench.models.towers.checkpoint_file import StateDict, fit, read_checkpoint
from clipbench.models.towers.context import needs_causal_tower, with_context
from clipbench.models.towers.open_clip_text import text_tower
from clipbench.models.towers.text_tower import TextTower, check_vocabulary, tokenizer_identity
from clipbench.models.towers.torch_model import (
    TorchModel,
    first_line,
    freeze,
    n_parameters,
    of_pixels,
    placement,
    probe,
    quiet,
    scale_and_bias,
    weights_digest,
)
from clipbench.models.trust.config_limits import check_weights
from clipbench.models.trust.foreign_code import asks_for_code, check_model, needs_code, no_foreign_code

ADAPTER = "open_clip adapter 1"
"""Part of every fingerprint; changed whenever the same weights would give other vectors."""

OLD_BUFFERS = {"text.transformer.embeddings.position_ids"}
"""Constants that older versions of the libraries saved with the weights, and newer ones refuse."""

OFFLINE_ADVICE = "copy a filled Hugging Face cache here and set HF_HOME; local folders and embeddings: need no Hub"

NO_REPOSITORY = "(none)"
FOREIGN = ("local-dir:", "hf-hub:")
"""Beginnings of the names of architectures whose configuration comes with the weights."""

T = TypeVar("T")


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
    """Tokens to which the text tower is to be stretched; None leaves it as it is."""
    seed: int = 0
    """Seed of random weights."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenClipPreprocess:
    """open_clip's own evaluation transform, from an image in its own mode to an array; picklable, without weights."""

    transform: Callable[[Image.Image], torch.Tensor]

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        return self.transform(image).numpy()


def build(recipe: Recipe, options: LoadOptions) -> TorchModel:
    """Return the model of a recipe.

    Raises:
        UsageError: a device, precision or context that cannot be had.
        ModelError: the weights cannot be read or do not fit, or open_clip refuses the configuration.
        Unavailable: the tokenizer or a configuration is on a Hub that cannot be reached.
    """
    place = placement(options.device, options.precision, options.batch_size)
    file_notes = from_hub(partial(_check_files, recipe), _tokenizer_request(recipe), recipe.id)
    state, step = (None, None) if recipe.weights is None else read_checkpoint(recipe.weights)
    tokenizer, config, module = _from_library(recipe, state)
    tower = _text_tower(module, tokenizer, recipe)
    notes = (*recipe.notes, *file_notes, *(() if state is None else _load_weights(module, state, recipe)))
    words = tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.tokenizer.get_vocab()
    tokens = tokenizer_identity(tower.tokenize, words)
    info = replace(
        _info(module, config, recipe, digest(options.precision, tokens)),
        context_length=tokenizer.context_length,
        device=str(place.device),
        precision=options.precision,
        notes=notes,
        step=step_in_name(Path(recipe.id)) if step is None else step,
    )
    model = TorchModel(
        info=info,
        preprocess=OpenClipPreprocess(
            image_transform_v2(PreprocessCfg(**module.visual.preprocess_cfg), is_train=False)
        ),
        image_tower=of_pixels(lambda pixels: module.encode_image(pixels, normalize=False)),
        text_tower=tower,
        placement=place,
        module=module,
        files=_files(recipe),
    )
    freeze(module, place)
    probe(model, place)
    return model


def _files(recipe: Recipe) -> tuple[Path, ...]:
    """Return the files and folders that a model is made of; none of random weights, which are made anew."""
    if recipe.weights is None:
        return ()
    cached = next((folder for folder in recipe.weights.parents if folder.name.startswith("models--")), None)
    own = recipe.weights.parent if recipe.name.startswith("local-dir:") else cached or recipe.weights
    repository = _tokenizer_repository(recipe.name)
    return (own,) if repository == NO_REPOSITORY else (own, files_of(repository))


def from_hub(load: Callable[[], T], wanted: HubRequest, model: str) -> T:
    """Return the result of one of open_clip's functions, from the cache or by download; its errors in one line.

    Raises:
        Unavailable: the Hub is needed and cannot be reached, or refuses.
        ModelError: anything else that open_clip raises.
    """
    try:
        with quiet(), no_foreign_code():
            return cached_first(load, wanted)
    except ClipbenchError:
        raise
    except Exception as error:  # a published configuration can make open_clip raise anything
        if asks_for_code(error):
            raise needs_code(model) from error
        raise ModelError(f"open_clip cannot build {model} ({first_line(error)}): see its configuration") from error


def _from_library(recipe: Recipe, state: StateDict | None) -> tuple[Any, dict[str, Any], Any]:
    """Return the tokenizer, the configuration and the module without its weights.

    A configuration that comes with the weights ``state`` may describe anything: it is built only if they can fill it.
    """

    def load() -> tuple[Any, dict[str, Any], Any]:
        _check_files(recipe)  # again: what was not in the cache before is fetched now
        if state is not None and recipe.name.startswith(FOREIGN):
            check_weights(_n_described(recipe), sum(value.numel() for value in state.values()), recipe.id)
        config = open_clip.get_model_config(recipe.name)
        # The last argument overrides the configuration's; open_clip's own tokenizer does not know it.
        trust = {"trust_remote_code": False} if config["text_cfg"].get("hf_tokenizer_name") else {}
        tokenizer = open_clip.get_tokenizer(recipe.name, context_length=recipe.context, **trust)
        return tokenizer, config, _without_weights(recipe)

    return from_hub(load, _tokenizer_request(recipe), recipe.id)


def _check_files(recipe: Recipe) -> tuple[str, ...]:
    """Refuse a model whose files, or those of the repositories that they name, ask for code; return notes."""
    own = [recipe.name.partition(":")[2]] if recipe.name.startswith(FOREIGN) else []
    notes = [note for name in own for note in check_model(name, recipe.id)]
    text = (open_clip.get_model_config(recipe.name) or {}).get("text_cfg", {})
    keys = ["hf_model_name"] if recipe.name.startswith("local-dir:") else ["hf_model_name", "hf_tokenizer_name"]
    for name in dict.fromkeys(text[key] for key in keys if text.get(key)):
        notes += check_model(name, recipe.id)
    return tuple(notes)


def _tokenizer_request(recipe: Recipe) -> HubRequest:
    repository = _tokenizer_repository(recipe.name)
    return HubRequest(
        what=f"the tokenizer of {recipe.id}",
        repository=repository,
        remedy=f"run `hf download {repository}` where there is a network, then {OFFLINE_ADVICE}",
    )


def _n_described(recipe: Recipe) -> int:
    """Return the numbers in the model that a configuration describes, without making them; 0 if that needs them made."""
    try:
        with torch.device("meta"):
            described = _without_weights(recipe, device="meta")
    except (NotImplementedError, RuntimeError):  # some timm towers compute with values while they are built
        return 0
    return sum(value.numel() for value in (*described.parameters(), *described.buffers()))


def _without_weights(recipe: Recipe, device: str = "cpu") -> Any:
    with torch.random.fork_rng(devices=[]):  # the user's random state stays as it was
        torch.manual_seed(recipe.seed)
        return open_clip.create_model(
            recipe.name,
            device=device,
            load_weights=False,
            pretrained_text=False,
            force_context_length=recipe.context,
            force_preprocess_cfg=dict(recipe.preprocess),
        )


def _info(module: Any, config: Mapping[str, Any], recipe: Recipe, identity: str) -> ModelInfo:
    """Return the module's info; ``identity`` is a hash of everything else that its vectors depend on."""
    preprocess = sorted(module.visual.preprocess_cfg.items())
    computation = _computation(config, recipe)
    scale, bias = scale_and_bias(module, recipe.id)
    return ModelInfo(
        ref=recipe.id,
        id=recipe.id,
        fingerprint=digest(ADAPTER, weights_digest(module), computation, preprocess, identity),
        family=f"open_clip/{_family(module)}",
        embed_dim=config["embed_dim"],
        context_length=None,
        image_size=_side(module.visual.image_size),
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
    )


def _computation(config: Mapping[str, Any], recipe: Recipe) -> str:
    """Return the settings that fix the computation beside the weights, such as activations and numbers of heads.

    The tokenizer's name is left out, since its behaviour is hashed. A context that the model already has is the same as
    none.
    """
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    context = None if recipe.context == text.get("context_length", DEFAULT_CONTEXT_LENGTH) else recipe.context
    return json.dumps({**config, "text_cfg": {**text, "context": context}}, sort_keys=True)


def _tokenizer_repository(name: str) -> str:
    if name.startswith("hf-hub:"):
        return name.removeprefix("hf-hub:")
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    return text.get("hf_tokenizer_name") or text.get("hf_model_name") or NO_REPOSITORY


def _text_tower(module: Any, tokenizer: Any, recipe: Recipe) -> TextTower:
    tower = text_tower(module, tokenizer)
    check_vocabulary(tower.tokenize, recipe.id)
    if recipe.context is not None and tower.lengths is None:
        raise needs_causal_tower(recipe.context, recipe.id)
    return tower


def _load_weights(module: Any, state: StateDict, recipe: Recipe) -> tuple[str, ...]:
    """Load weights as open_clip does, except that it would silently resize positions, and here they must fit."""
    state = convert_state_dict(module, state)
    if "positional_embedding" in state and not hasattr(module, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        parameter = getattr(module, name)
        if parameter is not None and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(parameter.shape)
    for name in set(state) & OLD_BUFFERS:
        if name not in module.state_dict():
            del state[name]
    state, notes = (state, ()) if recipe.context is None else with_context(state, recipe.context)
    fit(module, state, source=recipe.weights, arch=recipe.name)
    return notes


def _side(size: int | tuple[int, int]) -> int | None:
    height, width = (size, size) if isinstance(size, int) else size
    return height if height == width else None


def _family(module: Any) -> str:
    """Return the family by the model's parts: a class token behind the text, a learned bias, or neither."""
    if isinstance(module, CoCa):
        return "CoCa"
    return "CLIP" if module.logit_bias is None else "SigLIP"
