"""Building a transformers model from a name or folder. Imported only with torch and transformers."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import numpy as np
import torch
import transformers
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.decoding import rgb
from clipbench.errors import ClipbenchError, ModelError
from clipbench.hub import HubRequest, cache_only, cached_first, files_of
from clipbench.models.checkpoints import CHECKPOINT_SUFFIXES, step_in_name, step_inside
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo
from clipbench.models.towers.context import needs_causal_tower, stretched_to
from clipbench.models.towers.text_tower import (
    LOWERED,
    TextTower,
    Tokens,
    check_vocabulary,
    context_of,
    first_of,
    token_counts,
    tokenizer_identity,
)
from clipbench.models.towers.torch_model import (
    PIXELS,
    TorchModel,
    first_line,
    freeze,
    n_parameters,
    placement,
    probe,
    quiet,
    scale_and_bias,
    weights_digest,
)
from clipbench.models.trust.config_limits import check_weights
from clipbench.models.trust.foreign_code import asks_for_code, check_model, needs_code, no_foreign_code
from clipbench.models.trust.remote_code import Pinned, TrustedCode, only_shown, show_code, snapshot
from clipbench.untrusted.reading import decode_json, is_file, is_folder, matching, read_bytes, shown

ADAPTER = "transformers adapter 1"
"""Part of every fingerprint; changed whenever the same weights would give other vectors."""

AIMV2 = "aimv2"
"""Model type whose text tower needs eager attention and whose scale is clamped."""

AIMV2_ADAPTER = "transformers adapter 2"
"""Takes the place of ``ADAPTER`` for AIMv2, whose texts without padding once lost their causal mask."""

FEATURES = ("get_image_features", "get_text_features")

CONSTANTS = "position_ids"
"""Suffix of constants that older versions of the library saved with the weights."""

ARGMAX_POOLING = 2
"""The ``eos_token_id`` of old CLIP configurations, for which transformers pools at the largest id instead."""


class _Loaded(NamedTuple):
    """The parts of a model as the library loads them."""

    module: Any
    processor: Any
    tokenizer: Any
    left_over: list[str]
    """Weights of the checkpoint that the model has no place for."""
    notes: tuple[str, ...]
    """Facts about the files of the model."""
    inputs: list[str]
    """Names of the arrays that the processor makes of an image."""
    code: str
    """Hash of the model's own code that runs; empty where none does."""


PIXEL_VALUES = "pixel_values"
"""The library's name for the one array of most image towers."""


@dataclass(frozen=True)
class TransformersPreprocess:
    """The library's own image processor for one image in any mode; picklable, without weights."""

    processor: Any

    def __call__(self, image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        # As a tensor, since before transformers 5.4 most processors return nothing else.
        return np.asarray(self.processor(images=rgb(image), return_tensors="pt")["pixel_values"][0], np.float32)


@dataclass(frozen=True)
class ArraysPreprocess:
    """The same for a model that takes several arrays an image, by the names of its image tower's arguments."""

    processor: Any

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        arrays = self.processor(images=[rgb(image)], return_tensors="np")
        return {name: np.asarray(values)[0] for name, values in arrays.items()}


def build(source: Pinned, reference: str, options: LoadOptions) -> TorchModel:
    """Return the model of a folder or a Hub repository.

    Raises:
        UsageError: a device, precision or context that cannot be had.
        ModelError: not a dual encoder, incomplete, damaged, or in need of its own code.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    place = placement(options.device, options.precision, options.batch_size)
    parts = _from_library(source, reference, options)
    stretching = _stretch(parts.module, options.whole_number("context"), reference)
    tower, notes = _text_tower(parts, reference)
    info = _info(parts, tower, reference, options.precision)
    info = replace(
        info,
        device=str(place.device),
        precision=options.precision,
        notes=(*parts.notes, *notes, *stretching, *_note_of(parts.left_over)),
        step=_step(Path(source.name)),
    )
    freeze(parts.module, place)
    is_one_array = parts.inputs == [PIXEL_VALUES]
    model = TorchModel(
        info=info,
        preprocess=(TransformersPreprocess if is_one_array else ArraysPreprocess)(parts.processor),
        image_tower=partial(_image_vectors, parts.module, is_one_array),
        text_tower=tower,
        placement=place,
        module=parts.module,
        files=(files_of(source.name),),
        has_pixels=is_one_array,
    )
    probe(model, place)
    return model


def _from_library(source: Pinned, reference: str, options: LoadOptions) -> _Loaded:
    name = source.name
    wanted = HubRequest(
        what=reference,
        repository=name,
        remedy=f"where there is a network run `hf download {name} --local-dir FOLDER`, bring the folder here and give"
        " --model hf:FOLDER, or copy a filled Hugging Face cache here and set HF_HOME; local folders and embeddings:"
        " need no Hub",
    )
    try:
        with quiet(), _without_loading_bar():
            folder = name
            if source.commit is not None:
                folder = str(cached_first(lambda: snapshot(name, source.commit), wanted))
            if options.trust_remote_code:
                return _load_trusted(source, Path(folder), reference, options, wanted)
            with no_foreign_code():
                if is_folder(folder):
                    with cache_only():
                        return _load_parts(folder, reference)
                return cached_first(lambda: _load_parts(folder, reference), wanted)
    except ClipbenchError:
        raise
    except Exception as error:  # the library raises many kinds of error for missing, damaged and foreign files
        if asks_for_code(error):
            raise needs_code(reference) from error
        raise ModelError(
            f"transformers cannot load {reference} ({type(error).__name__}: {first_line(error)}): expected config.json,"
            " weights, an image processor and a tokenizer, as save_pretrained writes them"
        ) from error


def _image_vectors(module: Any, is_one_array: bool, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the vectors of images from one array, or from several by the processor's own names, as SigLIP 2 NaFlex has
    them: patches, their mask, their grid."""
    named = {PIXEL_VALUES: inputs[PIXELS]} if is_one_array else inputs
    return _vectors(module, module.get_image_features(**named))


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


def _load_trusted(source: Pinned, folder: Path, reference: str, options: LoadOptions, wanted: HubRequest) -> _Loaded:
    """Return the parts of a model after its code was shown; without code of its own it is loaded as any other."""
    code = cached_first(lambda: show_code(source, folder, options), wanted)
    with cache_only(), no_foreign_code() if code is None else only_shown(code):
        return _load_parts(str(folder), reference, code)


def _load_parts(name: str, reference: str, code: TrustedCode | None = None) -> _Loaded:
    notes = check_model(name, reference)
    trust = {"trust_remote_code": code is not None}
    if code is not None:
        notes = (code.note,)
    config = transformers.AutoConfig.from_pretrained(name, **trust)
    if code is None:
        _check_is_dual_encoder(config, reference)
        _check_weights(config, Path(name), reference)
    processor = _image_processor(name, reference, trust)
    tokenizer = transformers.AutoTokenizer.from_pretrained(name, **trust)
    # The library leaves AIMv2's causal mask out where no text of a batch is padded, and expects SDPA to apply one, but
    # this attention says is_causal=False. Eager attention always gets the mask.
    attention = {"text_config": "eager"} if config.model_type == AIMV2 else None
    module, found = transformers.AutoModel.from_pretrained(
        name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        attn_implementation=attention,
        **trust,
    )
    if not all(hasattr(module, name) for name in FEATURES):
        raise _no_dual_encoder(config, reference)
    lacking = sorted(found["missing_keys"])
    if lacking:
        raise ModelError(
            f"{reference} lacks {len(lacking)} weights of its {type(module).__name__} ({', '.join(lacking[:3])}, ...):"
            " they would be random, so it is not loaded; does config.json belong to these weights?"
        )
    left_over = sorted(name for name in found["unexpected_keys"] if not name.endswith(CONSTANTS))
    inputs = list(processor(images=Image.new("RGB", (64, 64)), return_tensors="pt"))
    identity = "" if code is None else code.identity
    return _Loaded(module, processor, tokenizer, left_over, notes, inputs, identity)


def _image_processor(name: str, reference: str, trust: Mapping[str, bool]) -> Any:
    """Return the image processor, which a training that saves its model alone leaves out."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, **trust)
    except OSError as error:
        if not is_folder(name) or asks_for_code(error):
            raise
        raise ModelError(
            f"{reference} has no image processor that transformers can load: save that of the model that you trained"
            " beside the weights, with the tokenizer, such as"
            f" AutoProcessor.from_pretrained('openai/clip-vit-base-patch32').save_pretrained('{name}')"
        ) from error


def _check_is_dual_encoder(config: Any, reference: str) -> None:
    kind = transformers.MODEL_MAPPING.get(type(config), None)
    if not isinstance(kind, type) or not all(hasattr(kind, name) for name in FEATURES):
        if hasattr(kind, "get_audio_features"):
            raise ModelError(
                f"{reference} is not supported, because a model of type '{config.model_type}' embeds sounds, and clipbench"
                " has data of images and texts only: store its vectors and give embeddings:FILE"
            )
        raise _no_dual_encoder(config, reference)


def _no_dual_encoder(config: Any, reference: str) -> ModelError:
    return ModelError(
        f"{reference} is of type '{config.model_type}', which has no {' and '.join(FEATURES)}:"
        " expected a dual encoder, such as CLIP or SigLIP"
    )


def _check_weights(config: Any, folder: Path, reference: str) -> None:
    """Raise ModelError for a configuration that the files of a folder are far too small for."""
    files = [file for suffix in CHECKPOINT_SUFFIXES for file in matching(folder, f"*{suffix}")]
    if not files:  # on the Hub, or without weights, which the library says better
        return
    try:
        with torch.device("meta"):
            described = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except (NotImplementedError, RuntimeError):  # some families compute with values while they are built
        return
    n_described = sum(value.numel() for value in (*described.parameters(), *described.buffers()))
    check_weights(n_described, sum(file.stat().st_size for file in files), reference)  # of one byte or more each


def _stretch(module: Any, context: int | None, reference: str) -> tuple[str, ...]:
    """Stretch the positions of a CLIP text tower, and return notes for the result.

    Raises:
        UsageError: another kind of tower, or a context to which its positions do not stretch.
    """
    if context is None:
        return ()
    if type(module) is not transformers.CLIPModel:
        raise needs_causal_tower(context, reference)
    places = module.text_model.embeddings
    table, notes = stretched_to(places.position_embedding.weight.data, context)
    places.position_embedding = torch.nn.Embedding.from_pretrained(table)
    places.position_ids = torch.arange(context).expand((1, -1))
    module.config.text_config.max_position_embeddings = context
    return notes


def _text_tower(parts: _Loaded, reference: str) -> tuple[TextTower, tuple[str, ...]]:
    """Return the text tower, fed as its family was trained, and notes for the result."""
    module, tokenizer = parts.module, parts.tokenizer
    check_vocabulary(tokenizer, reference)
    text = getattr(module.config, "text_config", module.config)
    stated = getattr(text, "max_position_embeddings", None)
    if isinstance(module, transformers.SiglipModel | transformers.Siglip2Model):
        return _padded_tower(module, tokenizer, context_of(tokenizer, [stated], reference))
    if type(module) is transformers.CLIPModel:
        return _causal_tower(module, tokenizer, context_of(tokenizer, [stated], reference), reference), ()
    length = context_of(tokenizer, [stated, tokenizer.model_max_length], reference)

    def tokenize(texts: list[str]) -> Tokens:
        return dict(tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"))

    encode = partial(_encode_text, module)
    return TextTower(tokenize=tokenize, encode=encode, lengths=None, count=partial(token_counts, tokenizer)), ()


def _padded_tower(module: Any, tokenizer: Any, length: int) -> tuple[TextTower, tuple[str, ...]]:
    """Return SigLIP's text tower, which attends to padding, pools the last token, and was trained on lower case.

    So every text is padded to the full length, no attention mask is passed even if the tokenizer returns one, and texts
    are lower-cased where the tokenizer does not do it. That happens with transformers 5 and SigLIP 2 checkpoints of
    fixed resolution, whose configuration says ``siglip`` and whose tokenizer says ``GemmaTokenizer``.
    """
    keeps_case = tokenizer("A").input_ids != tokenizer("a").input_ids

    def lowered(texts: Sequence[str]) -> list[str]:
        return [text.lower() if keeps_case else text for text in texts]

    def tokenize(texts: list[str]) -> Tokens:
        batch = tokenizer(lowered(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return {"input_ids": batch.input_ids}

    tower = TextTower(
        tokenize=tokenize,
        encode=partial(_encode_text, module),
        lengths=None,
        count=lambda texts: token_counts(tokenizer, lowered(texts)),
    )
    return tower, (LOWERED,) if keeps_case else ()


def _causal_tower(module: Any, tokenizer: Any, length: int, reference: str) -> TextTower:
    """Return CLIP's text tower: causal and pooled at the end of the text, so padding cannot reach the vector."""
    end = module.config.text_config.eos_token_id
    if not isinstance(end, int):
        raise ModelError(f"{reference} has eos_token_id {shown(end)}: expected the id of one token in config.json")

    def tokenize(texts: list[str]) -> Tokens:
        batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return {"input_ids": batch.input_ids}

    def lengths(tokens: Tokens) -> Int64[torch.Tensor, " n_texts"]:
        ids = tokens["input_ids"]
        return (ids.argmax(dim=-1) if end == ARGMAX_POOLING else first_of(end, ids)) + 1

    if int(lengths(tokenize(["a photo"]))[0]) < 3:
        raise ModelError(
            f"{reference} takes a text's vector at token id {end}, which its tokenizer does not put at the end of a text"
            f" (it puts {tokenizer.eos_token_id}): every text would get one vector; correct eos_token_id in config.json"
        )
    return TextTower(
        tokenize=tokenize, encode=partial(_encode_text, module), lengths=lengths, count=partial(token_counts, tokenizer)
    )


def _encode_text(module: Any, tokens: Tokens) -> torch.Tensor:
    return _vectors(module, module.get_text_features(**tokens))


def _vectors(module: Any, output: Any) -> torch.Tensor:
    """Return the vectors in the output of a features method: since transformers 5 it is an object, before a tensor.

    FLAVA projects every token, and its contrastive loss compares the first ones, the class tokens.
    """
    vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
    return vectors[:, 0] if isinstance(module, transformers.FlavaModel) else vectors


def _info(parts: _Loaded, tower: TextTower, reference: str, precision: str) -> ModelInfo:
    module = parts.module
    identity = digest(
        AIMV2_ADAPTER if module.config.model_type == AIMV2 else ADAPTER,
        weights_digest(module),
        precision,
        json.dumps(_computation(module.config.to_dict()), sort_keys=True),
        json.dumps(parts.processor.to_dict(), sort_keys=True, default=str),
        tokenizer_identity(tower.tokenize, parts.tokenizer.get_vocab()),
    )
    if parts.code:
        identity = digest(identity, parts.code)
    scale, bias = _scale_and_bias(module, reference)
    embed_dim, context_length = _text_shape(module, tower, reference)
    vision = getattr(module.config, "vision_config", getattr(module.config, "image_config", None))
    size = getattr(vision, "image_size", None)
    return ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=identity,
        family=f"transformers/{type(module).__name__.removesuffix('Model')}",
        embed_dim=embed_dim,
        context_length=context_length,
        image_size=size if isinstance(size, int) else None,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
    )


def _scale_and_bias(module: Any, reference: str) -> tuple[float, float]:
    """Return the factor and the summand from cosine to logit, as the model's forward pass applies them."""
    if not hasattr(module, "logit_scale") and not hasattr(module, "temperature"):
        raise ModelError(
            f"{reference} is not supported, because its {type(module).__name__} has no logit_scale: its cosines cannot be"
            " made into probabilities"
        )
    scale, bias = scale_and_bias(module, reference)
    if module.config.model_type == AIMV2:  # other families clamp in training only, if at all
        scale = min(max(scale, 1.0), math.exp(module.max_log_logit_scale))
    return scale, bias


def _text_shape(module: Any, tower: TextTower, reference: str) -> tuple[int, int]:
    """Return the dimension of a text's vector, and the tokens that the tower takes."""
    tokens = tower.tokenize(["a photo"])
    try:
        with torch.inference_mode():
            vectors = tower.encode(tokens)
    except (IndexError, RuntimeError) as error:
        raise ModelError(
            f"the text tower of {reference} does not take its tokenizer's tokens ({type(error).__name__}:"
            f" {first_line(error)}): do vocabulary and model_max_length belong to these weights?"
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
    return {
        str(key): _computation(value) if isinstance(value, dict) else str(value)
        for key, value in config.items()
        if key not in irrelevant
    }


def _note_of(left_over: list[str]) -> tuple[str, ...]:
    if not left_over:
        return ()
    return (f"{len(left_over)} weights of the checkpoint have no place in the model ({', '.join(left_over[:3])})",)


def _step(folder: Path) -> int | None:
    """Return the training step of a checkpoint, by its name or by the Trainer's record in it."""
    step, state_file = step_in_name(folder), folder / "trainer_state.json"
    if step is not None or not is_file(state_file):
        return step
    try:
        state = decode_json(read_bytes(state_file).decode())
    except (OSError, ValueError):  # the file only describes the training: the model is not damaged
        return None
    return step_inside(state) if isinstance(state, dict) else None
