"""Inputs of ONNX towers: the processor and the tokenizer by the files that exporters write next to the towers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipbench.errors import ModelError
from clipbench.hub import cache_only
from clipbench.models.foreign_code import no_foreign_code
from clipbench.models.introspection.modules import IMAGE_PROCESSOR, PROCESSOR
from clipbench.models.model_settings import check_model
from clipbench.models.protocol import Notes, Preprocess, TokenCounts
from clipbench.models.towers.text_tower import (
    LOWERED,
    check_vocabulary,
    smallest_context,
    token_counts,
    tokenizer_identity,
)
from clipbench.models.towers.torch_model import (
    OpenClipPreprocess,
    TransformersPreprocess,
    error_line,
    first_line,
    library_errors,
)
from clipbench.untrusted.reading import is_file, read_json, shown

OPEN_CLIP, PREPROCESS_CFG = "open_clip_config.json", "preprocess_cfg.json"
"""open_clip's description of a model, and of only its preprocessing."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "spiece.model")

LOWER_CASED = ("siglip", "siglip2")
"""Types of transformers' models that were trained on lower case and padding, without an attention mask."""


class ImageInputs(NamedTuple):
    """The preprocessing of images."""

    preprocess: Preprocess
    identity: str
    """Text that differs where the pixels may."""
    side: int | None


@dataclass(frozen=True)
class TextInputs:
    """The tokenizer of a text tower."""

    tokenize: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
    """Returns arrays of shape (n_texts, context_length), padded and cut to the full length."""
    count: Callable[[Sequence[str]], TokenCounts]
    names: tuple[str, ...]
    context_length: int | None
    identity: str
    notes: Notes = ()

    def restricted_to(self, names: Sequence[str]) -> "TextInputs":
        """Return the inputs for a graph with some of the arrays, or with only the ids under any name."""
        sources = {name: name if name in self.names else "input_ids" for name in names}
        tokenize = self.tokenize

        def taken(texts: Sequence[str]) -> dict[str, np.ndarray]:
            arrays = tokenize(texts)
            return {name: arrays[source] for name, source in sources.items()}

        return replace(self, tokenize=taken, names=tuple(names))


def image_inputs(folder: Path, graph: Path, reference: str) -> ImageInputs:
    """Return the preprocessing next to a graph or in the model's folder, or raise ModelError if it is unreadable."""
    for directory in dict.fromkeys((graph.parent, folder)):
        if "image_processor" in _read_object(directory / PROCESSOR) or is_file(directory / IMAGE_PROCESSOR):
            return _transformers_images(directory, reference)
        for name in (OPEN_CLIP, PREPROCESS_CFG):
            if is_file(directory / name):
                return _open_clip_images(_read_object(directory / name), directory / name)
    raise ModelError(
        f"{reference} does not define how images are preprocessed: expected {PROCESSOR} or {IMAGE_PROCESSOR}"
        f" (transformers), {OPEN_CLIP} or {PREPROCESS_CFG} (open_clip) next to {graph.name}"
    )


def text_inputs(folder: Path, graph: Path, fixed_length: int | None, reference: str) -> TextInputs:
    """Return the tokenizer next to a graph or in the model's folder.

    Args:
        fixed_length: tokens that the graph is exported for, if it takes no other number.

    Raises:
        ModelError: there is none, it cannot be read, or nothing says how many tokens the tower takes.
    """
    config = _read_object(folder / "config.json") | _part(
        _read_object(folder / OPEN_CLIP), "model_cfg", folder / OPEN_CLIP
    )
    text = _part(config, "text_cfg", folder) or _part(config, "text_config", folder)
    length = fixed_length or text.get("max_position_embeddings") or text.get("context_length")
    if not isinstance(length, int | None):
        raise ModelError(f"{folder} has a context of {shown(length)}: expected a number of tokens")
    for directory in dict.fromkeys((graph.parent, folder)):
        if any(is_file(directory / name) for name in TOKENIZER_FILES):
            return _transformers_texts(directory, config, length, reference)
    if "text_cfg" in config and not text.get("hf_tokenizer_name"):
        return _open_clip_texts(length)
    raise ModelError(f"{reference} has no tokenizer: expected {', '.join(TOKENIZER_FILES)} next to {graph.name}")


def _transformers_images(directory: Path, reference: str) -> ImageInputs:
    import transformers
    from PIL import Image

    _read_object(directory / IMAGE_PROCESSOR)  # which says what is wrong with it
    file = directory / (PROCESSOR if "image_processor" in _read_object(directory / PROCESSOR) else IMAGE_PROCESSOR)
    processor = _load_pretrained(partial(transformers.AutoImageProcessor.from_pretrained, directory), file)
    try:
        arrays = processor(images=Image.new("RGB", (64, 64)), return_tensors="pt")
    except Exception as error:  # the library raises many kinds of error for a configuration of wrong types
        raise ModelError(f"{file} cannot be used ({error_line(error)})") from error
    if list(arrays) != ["pixel_values"]:
        raise ModelError(
            f"{reference} needs {', '.join(arrays)} for each image: expected a processor that gives only pixels"
        )
    side = arrays["pixel_values"].shape[-1]
    return ImageInputs(
        TransformersPreprocess(processor), json.dumps(processor.to_dict(), sort_keys=True, default=str), side
    )


def _open_clip_images(config: Mapping[str, Any], path: Path) -> ImageInputs:
    from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

    is_alone = not config.keys() & {"preprocess_cfg", "model_cfg"}
    preprocess = config if is_alone else _part(config, "preprocess_cfg", path)
    size = preprocess.get("size") or _part(_part(config, "model_cfg", path), "vision_cfg", path).get("image_size")
    try:
        settings = merge_preprocess_dict(PreprocessCfg(), {**preprocess, "size": size})
        transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    except Exception as error:  # open_clip asserts
        raise ModelError(f"{path} cannot be used ({first_line(error)}): expected open_clip's preprocess_cfg") from error
    side = settings["size"] if isinstance(settings["size"], int) else max(settings["size"])
    return ImageInputs(OpenClipPreprocess(transform), json.dumps(sorted(settings.items())), side)


def _transformers_texts(directory: Path, config: Mapping[str, Any], length: int | None, reference: str) -> TextInputs:
    import transformers

    tokenizer = _load_pretrained(
        partial(transformers.AutoTokenizer.from_pretrained, directory), directory / TOKENIZER_FILES[0]
    )
    length = smallest_context(tokenizer, [tokenizer.model_max_length if length is None else length], reference)
    clean, notes = _text_cleaner(tokenizer, config, directory)

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        return dict(
            tokenizer(
                [clean(text) for text in texts],
                padding="max_length",
                truncation=True,
                max_length=length,
                return_tensors="np",
            )
        )

    def count(texts: Sequence[str]) -> TokenCounts:
        return token_counts(tokenizer, [clean(text) for text in texts])

    check_vocabulary(tokenize, reference)  # type: ignore[arg-type]  # arrays serve as tensors there
    identity = tokenizer_identity(tokenize, tokenizer.get_vocab())  # type: ignore[arg-type]
    return TextInputs(tokenize, count, tuple(tokenize(["a"])), length, identity, notes)


def _text_cleaner(tokenizer: Any, config: Mapping[str, Any], directory: Path) -> tuple[Callable[[str], str], Notes]:
    """Return the function that cleans texts before the tokenizer, from open_clip's configuration or for SigLIP."""
    rule = _part(_part(config, "text_cfg", directory), "tokenizer_kwargs", directory).get("clean")
    if rule is not None:
        from open_clip.tokenizer import get_clean_fn

        try:
            return get_clean_fn(rule), ()
        except AssertionError as error:
            raise ModelError(
                f"{directory} has clean = {shown(rule)}: expected canonicalize, lower or whitespace"
            ) from error
    keeps_case = tokenizer("A").input_ids != tokenizer("a").input_ids
    if config.get("model_type") in LOWER_CASED and keeps_case:
        return str.lower, (LOWERED,)
    return str, ()


def _open_clip_texts(length: int | None) -> TextInputs:
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, SimpleTokenizer

    length = length or DEFAULT_CONTEXT_LENGTH
    tokenizer = SimpleTokenizer(context_length=length)

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        return {"input_ids": tokenizer(list(texts)).numpy()}

    def count(texts: Sequence[str]) -> TokenCounts:
        return np.array([len(tokenizer.encode(text)) + 2 for text in texts], np.int64)

    identity = tokenizer_identity(tokenize, tokenizer.encoder)  # type: ignore[arg-type]
    return TextInputs(tokenize, count, ("input_ids",), length, identity)


def _load_pretrained(load: Callable[..., Any], path: Path) -> Any:
    """Return a transformers object from local files, without running their code."""
    with library_errors("transformers", str(path), "check that it is complete"), cache_only(), no_foreign_code():
        check_model(str(path.parent), str(path.parent))
        return load(trust_remote_code=False)


def _part(content: Mapping[str, Any], name: str, source: Path) -> dict[str, Any]:
    part = content.get(name) or {}
    if not isinstance(part, dict):
        raise ModelError(f"{source} has {name} = {shown(part)}: expected an object")
    return part


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty if there is no file, or raise ModelError for other content."""
    if not is_file(path):
        return {}
    content = read_json(path, ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a JSON {type(content).__name__}: expected an object")
    return content
