"""Building a model of sentence-transformers. Imported only with torch and sentence-transformers at hand."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import transformers
from jaxtyping import Int64
from PIL import Image
from sentence_transformers import SentenceTransformer

from clipbench.data.decoding import rgb
from clipbench.data.modalities import IMAGE
from clipbench.errors import ClipbenchError, ModelError, NoTokenCounts, UsageError, did_you_mean
from clipbench.hub import HubRequest, cache_only, cached_first, files_of
from clipbench.models.fingerprint import digest, file_digest
from clipbench.models.internals import Internals
from clipbench.models.options import LoadOptions, Tower
from clipbench.models.protocol import Model, ModelInfo, Role, Vectors
from clipbench.models.towers.devices import Placement
from clipbench.models.towers.torch_model import (
    first_line,
    freeze,
    n_parameters,
    placement,
    probe,
    quiet,
    scale_and_bias,
    weights_digest,
)
from clipbench.models.trust.foreign_code import asks_for_code, check_settings, needs_code, no_foreign_code
from clipbench.models.trust.remote_code import Pinned, TrustedCode, only_shown, show_code, snapshot
from clipbench.untrusted.reading import read_json, refuse_special_files

ADAPTER = "sentence-transformers adapter 1"
"""Part of every fingerprint; changed whenever the same weights would give other vectors."""

NAMES: dict[Tower, str] = {"images": "image", "texts": "text"}
"""Modalities in the library's words."""

EXPORTS = {"torch": (), "onnx": ("*.onnx", "*.onnx_data"), "openvino": ("openvino*",)}
"""Files of weights that an exported model has in place of torch's."""

OWN_CLASSES = "sentence_transformers."
ACTIVATIONS = "torch.nn.modules."
"""Beginnings of the names of classes that a folder may ask for."""


@dataclass(frozen=True, kw_only=True)
class SentenceModel(Model):
    """A model of the library, whose own ``encode`` gives the vectors."""

    info: ModelInfo
    module: SentenceTransformer
    prompts: Mapping[Tower, Mapping[str, str]]
    """Arguments of ``encode`` for the prompt of a modality."""
    placement: Placement
    files: Sequence[Path] = ()

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one raw vector an item, in order."""
        if not inputs:
            return np.empty((0, self.info.embed_dim), np.float32)
        items = [rgb(image) for image in inputs] if modality == IMAGE else self._texts(inputs)
        prompt = self.prompts["images" if modality == IMAGE else "texts"]
        vectors = self.module.encode(items, batch_size=self.placement.batch_size, show_progress_bar=False, **prompt)
        return np.asarray(vectors, np.float32)

    def _texts(self, texts: Sequence[str]) -> list[Any]:
        # A text that names an image, by address or path, would be fetched or opened by a model that takes images.
        return [{"text": text} for text in texts] if self.module.supports("image") else list(texts)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes with its prompt before any is cut off, start and end among them.

        Raises:
            NoTokenCounts: the model has no tokenizer of transformers.
        """
        tokenizer = getattr(self.module, "tokenizer", None)
        if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
            raise NoTokenCounts(
                f"the tokenizer of {self.info.id} is not one of transformers: its tokens are not counted"
            )
        prompt = self.prompts["texts"]
        before = prompt.get("prompt") or self.module.prompts.get(prompt.get("prompt_name", ""), "")
        named = [before + text for text in texts]
        ids = tokenizer(named, padding=False, truncation=False, verbose=False).input_ids if named else []
        return np.array([len(text_ids) for text_ids in ids], np.int64)

    def internals(self) -> Internals:
        """Return the module, unless it is an exported one, whose work is not torch's; what feeds it is the library's."""
        return Internals(module=None if self.info.n_parameters is None else self.module)


def build(source: Pinned, reference: str, options: LoadOptions) -> SentenceModel:
    """Return the model of a folder or a Hub repository.

    Raises:
        UsageError: a device, precision or prompt that cannot be had.
        ModelError: it cannot be loaded, needs its own code, or takes no images or no texts.
        Unavailable: files that are not on this machine and cannot be fetched.
    """
    place = placement(options.device, options.precision, options.batch_size)
    backend = options.options.get("backend", "torch")
    module, folder, code = _from_library(source, reference, options, place)
    for tower in options.towers:
        if not module.supports(NAMES[tower]):
            takes = ", ".join(map(str, module.modalities))
            raise ModelError(
                f"{reference} takes no {tower} (it takes: {takes}): as one of two towers it goes into"
                " pair:IMAGE_REF+TEXT_REF"
            )
    prompts = {tower: _prompt(module, tower, options) for tower in NAMES}
    if backend == "torch":
        freeze(module, place)
    scale, bias = _logits(module, reference, options)
    own = {key: value for key, value in sorted(options.options.items()) if not key.startswith("logit_")}
    dim = module.get_embedding_dimension() or _measured_dimension(module, options, prompts)
    if module.truncate_dim is not None and module.truncate_dim != dim:
        raise UsageError(
            f"model option truncate_dim={module.truncate_dim}: the vectors of {reference} have {dim} dimensions"
        )
    info = ModelInfo(
        ref=reference,
        id=" ".join([reference, *(f"{key}={value}" for key, value in own.items())]),
        fingerprint=digest(
            ADAPTER,
            "" if code is None else code.identity,
            _identity(module, folder, backend),
            options.precision,
            own,
            repr([module.truncate_dim, module.default_prompt_name, sorted(module.prompts.items())]),
        ),
        family=f"sentence-transformers/{_family(module)}",
        embed_dim=dim,
        context_length=module.get_max_seq_length(),
        image_size=None,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module) if backend == "torch" else None,
        device=str(place.device),
        precision=options.precision if backend == "torch" else None,
        notes=(*(() if code is None else (code.note,)), *_notes(module, prompts)),
    )
    model = SentenceModel(info=info, module=module, prompts=prompts, placement=place, files=(files_of(source.name),))
    if len(options.towers) > 1:
        probe(model, place)
    return model


def _from_library(
    source: Pinned, reference: str, options: LoadOptions, place: Placement
) -> tuple[SentenceTransformer, Path, TrustedCode | None]:
    """Return the library's model, the folder that holds its files, and its own code if that runs."""
    name, backend = source.name, options.options.get("backend", "torch")
    wanted = HubRequest(
        what=reference,
        repository=name,
        remedy=f"where there is a network run `hf download {name} --local-dir FOLDER`, bring the folder here and give"
        " --model st:FOLDER",
    )
    try:
        with quiet():
            folder, code = Path(name), None
            if not folder.is_dir():
                folder = cached_first(lambda: snapshot(name, source.commit, *EXPORTS[backend]), wanted)
            if options.trust_remote_code:
                code = cached_first(lambda: show_code(source, folder, options), wanted)
            _check_files(folder, reference, code)
            with cache_only(), no_foreign_code() if code is None else only_shown(code):
                return _loaded(folder, options, place, code), folder, code
    except ClipbenchError:
        raise
    except Exception as error:  # the library raises many kinds of error for missing, damaged and foreign files
        if asks_for_code(error):
            raise needs_code(reference) from error
        raise ModelError(
            f"sentence-transformers cannot load {reference} ({type(error).__name__}: {first_line(error)}): expected a"
            " folder as SentenceTransformer.save writes it"
        ) from error


def _check_files(folder: Path, reference: str, code: TrustedCode | None) -> None:
    """Refuse a folder that names files of another place, or untrusted code, some of which the library leaves out unsaid.

    Raises:
        ModelError: the message names the file and the class.
    """
    refuse_special_files(folder, ModelError)
    for path in sorted(folder.rglob("*.json")):
        settings = read_json(path, ModelError)
        check_settings(settings, path.name, reference, folder=path.parent, is_local=True)
        name = next(_foreign_names(path.name, settings), None) if code is None else None
        if name is not None:
            raise ModelError(
                f"{reference} needs {name}, which {path.relative_to(folder)} names and sentence-transformers does not have:"
                " code that comes with a model is not run; wrap it yourself as python:MODULE:FACTORY"
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
        methods = [str(each.get("method")) for each in modes.values() if isinstance(each, dict)]
        yield from (method for method in methods if not re.fullmatch(r"forward|get_\w+_features", method))


def _loaded(folder: Path, options: LoadOptions, place: Placement, code: TrustedCode | None) -> SentenceTransformer:
    backend = options.options.get("backend", "torch")
    arguments: dict[str, Any] = {"dtype": place.dtype} if backend == "torch" else {"export": False}
    if "file" in options.options:
        arguments["file_name"] = options.options["file"]
    return SentenceTransformer(
        str(folder),
        device=str(place.device),
        backend=cast(Any, backend),
        truncate_dim=_truncated_to(options),
        trust_remote_code=code is not None,
        local_files_only=True,
        model_kwargs=arguments,
    )


def _truncated_to(options: LoadOptions) -> int | None:
    dim = options.whole_number("truncate_dim")
    if dim == 0:
        raise UsageError("model option truncate_dim=0: expected 1 or more dimensions")
    return dim


def _prompt(module: SentenceTransformer, tower: Tower, options: LoadOptions) -> dict[str, str]:
    """Return the arguments of ``encode`` for the prompt of a modality."""
    before = "image_" if tower == "images" else ""
    given = {
        key: options.options[f"{before}{key}"]
        for key in ("prompt", "prompt_name")
        if f"{before}{key}" in options.options
    }
    if len(given) > 1:
        raise UsageError(f"model options {before}prompt and {before}prompt_name say the same thing: give one")
    name = given.get("prompt_name")
    if name is not None and name not in module.prompts:
        raise UsageError(f"model option {before}prompt_name={name}: {did_you_mean(name, module.prompts)}")
    return given


def _logits(module: SentenceTransformer, reference: str, options: LoadOptions) -> tuple[float | None, float]:
    """Return scale and bias: as given, or those of the one model whose vectors ``encode`` returns unchanged."""
    scale, bias = options.logits()
    inner = module.transformers_model
    is_alone = all(type(each).__name__ in ("Transformer", "CLIPModel", "Normalize") for each in module)
    is_truncated = module.truncate_dim is not None
    if scale is not None or getattr(inner, "logit_scale", None) is None or not is_alone or is_truncated:
        return scale, bias
    return scale_and_bias(inner, reference)


def _measured_dimension(
    module: SentenceTransformer, options: LoadOptions, prompts: Mapping[Tower, Mapping[str, str]]
) -> int:
    tower = next(iter(options.towers))
    item: Any = "a photo" if tower == "texts" else Image.new("RGB", (64, 64), (128, 128, 128))
    return int(module.encode([item], show_progress_bar=False, **prompts[tower]).shape[1])


def _identity(module: SentenceTransformer, folder: Path, backend: str) -> str:
    """Return a hash of the weights, or of the files of an exported model, and of all settings beside them."""
    patterns = ["*.json", "*.txt", "*.model", "*.jinja"]
    patterns += EXPORTS[backend]
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    hashes = [f"{path.relative_to(folder)} {file_digest(path)}" for path in files]
    return digest(weights_digest(module) if backend == "torch" else "", *hashes)


def _family(module: SentenceTransformer) -> str:
    inner = module.transformers_model
    return type(module[0] if inner is None else inner).__name__.removesuffix("Model")


def _notes(module: SentenceTransformer, prompts: Mapping[Tower, Mapping[str, str]]) -> tuple[str, ...]:
    """Return what is put before images and texts."""
    notes = []
    for tower, given in prompts.items():
        name = given.get("prompt_name", module.default_prompt_name)
        text = given.get("prompt") or (module.prompts.get(name, "") if name is not None else "")
        if text:
            notes.append(f"prompt of {tower}: '{text}'")
    return tuple(notes)
