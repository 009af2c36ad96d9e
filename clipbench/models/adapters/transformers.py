"""Models of transformers: CLIP, SigLIP, SigLIP 2, and any other with get_image_features and get_text_features.

``import transformers`` in here means the library: imports are absolute. Imports torch.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import numpy as np
import torch
import transformers
from PIL import Image

from clipbench.data.images import rgb
from clipbench.errors import ModelError
from clipbench.hub import cache_only, cached_first, local_folder, model_request
from clipbench.models.checkpoints import step_in_name
from clipbench.models.fingerprint import digest
from clipbench.models.foreign_code import TrustedCode, is_code_request, no_foreign_code, only_shown_code, show_code
from clipbench.models.hub_files import Pinned, resolve_source, settings_folder, snapshot_folder
from clipbench.models.model_settings import check_model
from clipbench.models.options import LoadOptions, with_options
from clipbench.models.protocol import TOWERS, ModelInfo, Notes, Preprocess
from clipbench.models.towers.checkpoint_file import causal_tower_error, stretch_table
from clipbench.models.towers.families import FGCLIP2, JINA_V4, OPTIONS, WITHOUT_THEIR_CODE, family_of
from clipbench.models.towers.fgclip2 import (
    BUDGETS,
    PATCHES_BY_SIZE,
    REGION_WEIGHTS,
    Fgclip2Model,
    PatchesPreprocess,
    patch_limit,
    walk_type,
)
from clipbench.models.towers.jina_v4 import JinaV4, load_jina_v4
from clipbench.models.towers.text_tower import (
    LOWERED,
    TextLengths,
    TextTower,
    Tokenize,
    Tokens,
    check_vocabulary,
    first_position,
    smallest_context,
    token_counts,
    tokenizer_identity,
)
from clipbench.models.towers.torch_model import (
    PIXELS,
    TorchModel,
    TransformersPreprocess,
    error_line,
    freeze,
    library_errors,
    n_parameters,
    probe,
    resolve_placement,
    scale_and_bias,
    weights_digest,
)
from clipbench.untrusted.reading import is_folder, shown

ADAPTER = "transformers adapter 1"
"""Part of every fingerprint, changed whenever the same weights would give other vectors."""

AIMV2 = "aimv2"
"""Model type whose text tower needs eager attention and whose scale is clamped."""

AIMV2_ADAPTER = "transformers adapter 2"
"""Takes the place of ``ADAPTER`` for AIMv2, whose texts without padding once lost their causal mask."""

FEATURES = TOWERS[1]
CONSTANTS = "position_ids"
"""Suffix of constants that older versions of the library saved with the weights."""
SIGLIP = (transformers.SiglipModel, transformers.Siglip2Model)
ARGMAX_POOLING = 2
"""The ``eos_token_id`` of old CLIP configurations, for which transformers pools at the largest id instead."""
WEIGHTS = ("model*.safetensors", "*.safetensors", "pytorch_model*.bin", "*.bin")
"""Forms of weights, best first: a repository may hold open_clip's weights next to the library's."""
PIXEL_VALUES = "pixel_values"
"""The library's name for the one array of most image towers."""


class _Loaded(NamedTuple):
    module: Any
    processor: Any
    tokenizer: Any
    notes: Notes
    """Facts about the files of the model."""
    inputs: list[str]
    """Names of the arrays that the processor makes of an image."""
    code: str
    """Hash of the model's own code that runs, or empty if none does."""
    options: Mapping[str, str]
    """The options of the model's family that were given."""


@dataclass(frozen=True)
class ArraysPreprocess:
    """The library's image processor of a model with several arrays per image, named as in its tower."""

    processor: Any

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        arrays = self.processor(images=[rgb(image)], return_tensors="np")
        return {name: np.asarray(values)[0] for name, values in arrays.items()}


def load(body: str, options: LoadOptions) -> TorchModel | JinaV4:
    """Return the model of a folder that ``save_pretrained`` wrote, or of a Hub repository ``ORG/NAME``, at a commit if
    ``@COMMIT`` follows. Options: ``context``, the options of the model's family, and ``code_commit``, for trusted code
    in another repository.

    Code that comes with a repository is run only from a commit, and with ``options.trust_remote_code``.

    Raises:
        UsageError: neither a folder nor a valid Hub name, or a context that the model cannot have.
        ModelError: not a dual encoder, of a family that is refused, incomplete, damaged, or in need of its own code.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    reference = f"hf:{body}"
    common_options = ["context"]
    if options.trust_remote_code:
        common_options.append("code_commit")
    family_options = set().union(*OPTIONS.values())
    options.refuse_unknown([*common_options, *family_options], reference)
    source = resolve_source(body, reference, options)
    placement = resolve_placement(options.device, options.precision, options.batch_size)
    parts = _from_library(source, reference, options, common_options)
    if isinstance(parts, JinaV4):
        probe(parts)
        return parts
    stretching = _stretch(parts.module, options.whole_number("context"), reference)
    tower, notes = _text_tower(parts, reference)
    module = parts.module
    identity = digest(
        AIMV2_ADAPTER if module.config.model_type == AIMV2 else ADAPTER,
        weights_digest(module),
        options.precision,
        json.dumps(_computation(module.config.to_dict()), sort_keys=True),
        json.dumps(parts.processor.to_dict(), sort_keys=True, default=str),
        tokenizer_identity(tower.tokenize, parts.tokenizer.get_vocab()),
    )
    identity_parts = [f"{key}={value}" for key, value in sorted(parts.options.items())]
    if parts.code:
        identity_parts.insert(0, parts.code)
    scale, bias = _scale_and_bias(module, reference)
    embed_dim, context_length = _text_shape(module, tower, reference)
    vision = getattr(module.config, "vision_config", getattr(module.config, "image_config", None))
    size = getattr(vision, "image_size", None)
    info = ModelInfo(
        ref=reference,
        id=with_options(reference, parts.options),
        fingerprint=digest(identity, *identity_parts) if identity_parts else identity,
        family=f"transformers/{type(module).__name__.removesuffix('Model')}",
        embed_dim=embed_dim,
        context_length=context_length,
        image_size=size if isinstance(size, int) else None,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
        device=str(placement.device),
        precision=options.precision,
        notes=(*parts.notes, *notes, *stretching),
        step=step_in_name(Path(source.name)),
    )
    freeze(module, placement)
    is_one_array = parts.inputs == [PIXEL_VALUES]
    preprocess: Callable[[Any], Preprocess] = TransformersPreprocess if is_one_array else ArraysPreprocess
    if isinstance(module, Fgclip2Model) and "max_num_patches" not in parts.options:
        preprocess = PatchesPreprocess

    def image_tower(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        # Several arrays go by the processor's own names, as of SigLIP 2 NaFlex: patches, their mask, their grid.
        arrays = {PIXEL_VALUES: inputs[PIXELS]} if is_one_array else inputs
        return _vectors(module, module.get_image_features(**arrays))

    model = TorchModel(
        info=info,
        preprocess=preprocess(parts.processor),
        image_tower=image_tower,
        text_tower=tower,
        placement=placement,
        module=module,
        files=(local_folder(source.name),),
        has_pixels=is_one_array,
    )
    probe(model)
    return model


def _from_library(
    source: Pinned, reference: str, options: LoadOptions, common_options: Sequence[str]
) -> _Loaded | JinaV4:
    name = source.name
    request = model_request(reference, name, "hf")
    expected = "expected config.json, weights, an image processor and a tokenizer, as save_pretrained writes them"
    with library_errors("transformers", reference, expected, local_folder(name)), _without_loading_bar():
        folder, code = name, None
        settings = (
            Path(name) if is_folder(name) else cached_first(lambda: settings_folder(name, source.commit), request)
        )
        family = family_of(settings, reference)
        options.refuse_unknown(
            [*([] if family in WITHOUT_THEIR_CODE else common_options), *OPTIONS.get(family, ())], reference
        )
        if not is_folder(name):
            forms = ("*.safetensors",) if family == JINA_V4 else WEIGHTS
            folder = str(cached_first(lambda: snapshot_folder(name, source.commit, forms), request))
        if family == JINA_V4:
            with cache_only(), no_foreign_code():
                return load_jina_v4(
                    Path(folder), reference, options, check_model(folder, reference), (local_folder(name),)
                )
        if options.trust_remote_code and family not in WITHOUT_THEIR_CODE:
            code = cached_first(lambda: show_code(source, Path(folder), options), request)
        with cache_only(), no_foreign_code() if code is None else only_shown_code(code):
            return _load_parts(folder, reference, family, options, code)


@contextmanager
def _without_loading_bar() -> Iterator[None]:
    """Hide the progress bar for loading weights, and keep that for downloads."""
    was_on = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    huggingface_hub.utils.enable_progress_bars()
    try:
        yield
    finally:
        if was_on:
            transformers.utils.logging.enable_progress_bar()


def _load_parts(name: str, reference: str, family: str, options: LoadOptions, code: TrustedCode | None) -> _Loaded:
    notes = check_model(name, reference)
    trust = {"trust_remote_code": code is not None}
    if code is not None:
        notes = (code.note,)
    kind, configs = transformers.AutoModel, transformers.AutoConfig
    if family == FGCLIP2:
        kind, configs = Fgclip2Model, transformers.Siglip2Config
    config = configs.from_pretrained(name, **trust)
    if code is None:
        described = Fgclip2Model if family == FGCLIP2 else transformers.MODEL_MAPPING.get(type(config), None)
        _check_is_dual_encoder(described, config, reference)
    processor = _image_processor(name, reference, trust)
    patches = patch_limit(options)
    if patches is not None:
        processor.max_num_patches = patches
    elif family == FGCLIP2:
        processor.max_num_patches = BUDGETS[0][1]
        notes += (PATCHES_BY_SIZE,)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, **trust)
    # The library leaves AIMv2's causal mask out where no text of a batch is padded, and expects SDPA to apply one, but
    # this attention says is_causal=False. Eager attention always gets the mask.
    attention = {"text_config": "eager"} if config.model_type == AIMV2 else None
    module, report = kind.from_pretrained(
        name, config=config, dtype=torch.float32, output_loading_info=True, attn_implementation=attention, **trust
    )
    _check_is_dual_encoder(module, config, reference)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{reference} lacks {len(missing)} weights of its {type(module).__name__}"
            f" ({', '.join(missing[:3])}, ...): they would be random, so it is not loaded. Check that"
            " config.json belongs to these weights"
        )
    unused = REGION_WEIGHTS if family == FGCLIP2 else ()
    left_over = sorted(
        key for key in report["unexpected_keys"] if not key.endswith(CONSTANTS) and not key.startswith(unused)
    )
    if left_over:
        shown_names = ", ".join(left_over[:3])
        notes += (f"{len(left_over)} weights of the checkpoint are not used by the model ({shown_names})",)
    if isinstance(module, Fgclip2Model):
        module.keep_positions(walk_type(options))
    inputs = list(processor(images=Image.new("RGB", (64, 64)), return_tensors="pt"))
    family_options = {key: value for key, value in options.options.items() if key in OPTIONS.get(family, ())}
    return _Loaded(module, processor, tokenizer, notes, inputs, "" if code is None else code.identity, family_options)


def _image_processor(name: str, reference: str, trust: Mapping[str, bool]) -> Any:
    """Return the image processor, which a training may not have saved with the model."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, **trust)
    except OSError as error:
        if not is_folder(name) or is_code_request(error):
            raise
        raise ModelError(
            f"{reference} has no image processor that transformers can load: save the image processor and the"
            " tokenizer of the base model next to the weights, such as"
            f" AutoProcessor.from_pretrained('openai/clip-vit-base-patch32').save_pretrained('{name}')"
        ) from error


def _check_is_dual_encoder(kind: object, config: Any, reference: str) -> None:
    """Raise ModelError unless a class of models, or a model, has both features methods."""
    if all(hasattr(kind, name) for name in FEATURES):
        return
    if hasattr(kind, "get_audio_features"):
        raise ModelError(
            f"{reference} is not supported, because a model of type '{config.model_type}' embeds sounds: wrap it"
            " as python:MODULE:FACTORY with encode_audio, or store its vectors and give embeddings:FILE"
        )
    raise ModelError(
        f"{reference} is of type '{config.model_type}', which has no {' and '.join(FEATURES)}:"
        " expected a dual encoder, such as CLIP or SigLIP"
    )


def _stretch(module: Any, context: int | None, reference: str) -> Notes:
    """Stretch the positions of a CLIP text tower, and return notes for the result.

    Raises:
        UsageError: another kind of tower, or a context to which its positions do not stretch.
    """
    if context is None:
        return ()
    if type(module) is not transformers.CLIPModel:
        raise causal_tower_error(context, reference)
    embeddings = module.text_model.embeddings
    table, notes = stretch_table(embeddings.position_embedding.weight.data, context)
    embeddings.position_embedding = torch.nn.Embedding.from_pretrained(table)
    embeddings.position_ids = torch.arange(context).expand((1, -1))
    module.config.text_config.max_position_embeddings = context
    return notes


def _text_tower(parts: _Loaded, reference: str) -> tuple[TextTower, Notes]:
    """Return the text tower, fed as its family was trained, and notes for the result.

    SigLIP's attends to padding, pools the last token, and was trained on lower case. So every text is padded to the
    full length, no attention mask is passed even if the tokenizer returns one, and texts are lower-cased where the
    tokenizer does not do it. That happens with transformers 5 and SigLIP 2 checkpoints of fixed resolution, whose
    configuration says ``siglip`` and whose tokenizer says ``GemmaTokenizer``.

    CLIP's is causal and pooled at the end of the text, so padding cannot reach the vector.
    """
    module, tokenizer = parts.module, parts.tokenizer
    check_vocabulary(tokenizer, reference)
    stated = getattr(getattr(module.config, "text_config", module.config), "max_position_embeddings", None)
    is_clip, is_siglip = type(module) is transformers.CLIPModel, isinstance(module, SIGLIP)
    limits = [stated] if is_clip or is_siglip else [stated, tokenizer.model_max_length]
    length = smallest_context(tokenizer, limits, reference)
    is_lowered = is_siglip and tokenizer("A").input_ids != tokenizer("a").input_ids

    def cleaned(texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if is_lowered else list(texts)

    def tokenize(texts: list[str]) -> Tokens:
        batch = tokenizer(cleaned(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return {"input_ids": batch.input_ids} if is_clip or is_siglip else dict(batch)

    tower = TextTower(
        tokenize=tokenize,
        encode=lambda tokens: _vectors(module, module.get_text_features(**tokens)),
        lengths=_lengths_of_clip(module, tokenize, tokenizer, reference) if is_clip else None,
        count=lambda texts: token_counts(tokenizer, cleaned(texts)),
    )
    return tower, (LOWERED,) if is_lowered else ()


def _lengths_of_clip(
    module: Any, tokenize: Tokenize, tokenizer: Any, reference: str
) -> Callable[[Tokens], TextLengths]:
    end = module.config.text_config.eos_token_id
    if not isinstance(end, int):
        raise ModelError(f"{reference} has eos_token_id {shown(end)}: expected the id of one token in config.json")

    def lengths(tokens: Tokens) -> TextLengths:
        ids = tokens["input_ids"]
        return (ids.argmax(dim=-1) if end == ARGMAX_POOLING else first_position(end, ids)) + 1

    if int(lengths(tokenize(["a photo"]))[0]) < 3:
        raise ModelError(
            f"{reference} takes a text's vector at token id {end}, which its tokenizer does not put at the"
            f" end of a text (it puts {tokenizer.eos_token_id}): all texts would get the same vector. Correct"
            " eos_token_id in config.json"
        )
    return lengths


def _vectors(module: Any, output: Any) -> torch.Tensor:
    """Return the vectors in the output of a features method: since transformers 5 it is an object, before a tensor.

    FLAVA projects every token, and its contrastive loss compares the first ones, the class tokens.
    """
    vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
    return vectors[:, 0] if isinstance(module, transformers.FlavaModel) else vectors


def _scale_and_bias(module: Any, reference: str) -> tuple[float, float]:
    """Return the factor and the summand from cosine to logit, as the model's forward pass applies them."""
    if not hasattr(module, "logit_scale") and not hasattr(module, "temperature"):
        raise ModelError(
            f"{reference} is not supported, because its {type(module).__name__} has no logit_scale: its"
            " cosines cannot be converted to probabilities"
        )
    scale, bias = scale_and_bias(module, reference)
    if module.config.model_type == AIMV2:  # other families clamp in training only, if at all
        scale = min(max(scale, 1.0), math.exp(module.max_log_logit_scale))
    return scale, bias


def _text_shape(module: Any, tower: TextTower, reference: str) -> tuple[int, int]:
    tokens = tower.tokenize(["a photo"])
    try:
        with torch.inference_mode():
            vectors = tower.encode(tokens)
    except (IndexError, RuntimeError) as error:
        raise ModelError(
            f"the text tower of {reference} does not take its tokenizer's tokens ({error_line(error)}):"
            f" check that vocabulary and model_max_length belong to these weights"
        ) from error
    if vectors.ndim != 2:
        raise ModelError(
            f"{reference} is not supported, because get_text_features of its {type(module).__name__} gives a vector per"
            " token and not per text: wrap it with the pooling that it was trained with as python:MODULE:FACTORY, or"
            " store its vectors and give embeddings:FILE"
        )
    return vectors.shape[1], next(iter(tokens.values())).shape[1]


def _computation(config: Mapping[object, Any]) -> dict[str, Any]:
    """Return the settings of a configuration that affect the vectors: not its origin, nor the type it was saved in."""
    irrelevant = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
    settings = {}
    for key, value in config.items():
        if key not in irrelevant:
            settings[str(key)] = _computation(value) if isinstance(value, dict) else str(value)
    return settings
