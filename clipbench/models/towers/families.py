"""Families of transformers that need more than the class their files name, and those refused by name. Imports torch.

FG-CLIP 2 runs on the library's SigLIP 2, from which it differs in the texts' positions and heads, and
jina-embeddings-v4 on its Qwen2.5-VL, with the weights of one task added: their own code does not run.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from clipbench.data.images import rgb
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, UsageError, did_you_mean, model_option
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions, with_options
from clipbench.models.protocol import ROLES, Internals, Model, ModelInfo, Role, TokenCounts, Vectors, encode_in_batches
from clipbench.models.towers.checkpoint_file import read_weights
from clipbench.models.towers.text_tower import check_vocabulary, token_counts, tokenizer_identity
from clipbench.models.towers.torch_model import Placement, freeze, n_parameters, resolve_placement, weights_digest
from clipbench.untrusted.reading import is_file, read_json, shown

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

WALK_TYPES = ("short", "long")
"""FG-CLIP 2's names of its positions and head for captions of up to 64 and up to 196 tokens. Its third ones are for
regions.
"""

MOST_PATCHES = 16_384
"""Maximum number of patches of an image, which FG-CLIP 2's authors use for their densest features."""

BUDGETS = ((784, 1024), (576, 784), (256, 576), (128, 256), (0, 128))
"""FG-CLIP 2's own numbers of patches, each after a threshold: an image has the number after the first threshold that
its count of whole squares of 16 pixels exceeds.
"""
SQUARE = 16
PATCHES_BY_SIZE = "each image gets 128 to 1,024 patches by its size, as its authors choose them"
"""Note on FG-CLIP 2 without the option ``max_num_patches``."""

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


def patch_limit(options: LoadOptions) -> int | None:
    """Return the option ``max_num_patches``, None if unset, or raise UsageError for a number out of range."""
    number = options.whole_number("max_num_patches")
    if number is not None and not 1 <= number <= MOST_PATCHES:
        raise UsageError(f"model option max_num_patches={number}: expected 1 to {MOST_PATCHES:,} patches per image")
    return number


def default_patch_budget(size: tuple[int, int]) -> int:
    """Return the patches that FG-CLIP 2 uses for an image of a size in pixels.

    Example:
        >>> [default_patch_budget(size) for size in ((640, 480), (448, 448), (224, 224), (160, 160), (8, 8))]
        [1024, 784, 256, 128, 128]
    """
    squares = (size[0] // SQUARE) * (size[1] // SQUARE)
    return next((budget for threshold, budget in BUDGETS if squares > threshold), BUDGETS[-1][1])


def walk_type(options: LoadOptions) -> str:
    """Return the option ``walk_type``, ``short`` if unset, or raise UsageError for an unknown one."""
    name = options.options.get("walk_type", WALK_TYPES[0])
    if name not in WALK_TYPES:
        raise UsageError(f"{model_option(walk_type=name)}: expected {' or '.join(WALK_TYPES)}")
    return name


# -- FG-CLIP 2

N_KEPT, LONG = 20, 196
"""Positions that long texts share with short ones, and the tokens of a long text, where a configuration states none."""

REGION_WEIGHTS = ("dense_feature_head.", "boxtext_head.")
"""Beginnings of the weights that no vector of a whole image or caption depends on."""


class Fgclip2Model(transformers.Siglip2Model):  # type: ignore[misc]
    """The towers of FG-CLIP 2, without its parts for regions."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        text = config.text_config
        embeddings, length = self.text_model.embeddings, getattr(text, "longtext_len", LONG)
        embeddings.position_embedding_ori = torch.nn.Embedding(length, text.hidden_size)
        embeddings.position_embedding_res = torch.nn.Embedding(length, text.hidden_size)
        self.longtext_head = torch.nn.Linear(text.hidden_size, text.hidden_size)

    def keep_positions(self, walk_type: str) -> None:
        """Keep only the positions and the head of ``short`` or of ``long`` texts.

        The first positions of long texts were fixed while the others were trained, in a second table.
        """
        text, embeddings = self.config.text_config, self.text_model.embeddings
        n_kept = getattr(text, "keep_len", N_KEPT)
        first, rest = embeddings.position_embedding_ori.weight.data, embeddings.position_embedding_res.weight.data
        if walk_type == "long":
            embeddings.position_embedding = torch.nn.Embedding.from_pretrained(
                torch.cat([first[:n_kept], rest[n_kept:]])
            )
            embeddings.position_ids = torch.arange(len(rest)).expand((1, -1))
            self.text_model.head = self.longtext_head
            text.max_position_embeddings = len(rest)
        del embeddings.position_embedding_ori, embeddings.position_embedding_res, self.longtext_head


@dataclass(frozen=True)
class PatchesPreprocess:
    """The image processor of SigLIP 2 with FG-CLIP 2's patches per image size, padded. It is picklable, without
    weights.
    """

    processor: Any

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        budget = default_patch_budget(image.size)
        arrays = self.processor(images=[rgb(image)], max_num_patches=budget, return_tensors="np")
        unpadded: Mapping[str, np.ndarray] = {name: np.asarray(values)[0] for name, values in arrays.items()}
        n_missing = self.processor.max_num_patches - budget
        return {
            name: values
            if name == "spatial_shapes"
            else np.pad(values, [(0, n_missing), *[(0, 0)] * (values.ndim - 1)])
            for name, values in unpadded.items()
        }


# -- jina-embeddings-v4

JINA_ADAPTER = "jina-embeddings-v4 adapter 1"
"""Part of every fingerprint, changed whenever the same weights would give other vectors."""

JINA_TASKS = ("retrieval", "text-matching", "code")
JINA_PREFIXES: Mapping[Role, str] = {None: "Query: ", "query": "Query: ", "document": "Passage: "}
"""Before each text, by its role. ``text-matching`` has no sides, and the first for all."""
IMAGE_PROMPT = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
JINA_TOKENS = 32_768
JINA_AT_ONCE = 8
"""Items at a time where nobody asks for another number, as its own code has it."""

PARTS = r"(q|k|v|o|gate|up|down)_proj"
"""The last name of each matrix of the language model to which a task adds."""
ADDED = r"base_model\.model\.(?:model\.)?(?:language_model\.)?(layers\.\d+\.\w+\.{parts})\.lora_([AB])\.{task}\.weight"
"""Names of what a task adds, in the layouts of the library before and since 4.52."""


@dataclass(frozen=True, kw_only=True)
class JinaV4(Model):
    """The model for one task: one vector per item, the mean over its tokens."""

    info: ModelInfo
    module: Any
    processor: Any
    placement: Placement
    prefixes: Mapping[Role, str]
    at_once: int
    files: Sequence[Path] = ()

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        encode = lambda batch: self._encode_batch(modality, batch, role)
        return encode_in_batches(encode, inputs, self.at_once, self.info.embed_dim)

    def _encode_batch(self, modality: str, items: Sequence[Any], role: Role) -> Vectors:
        padded: dict[str, Any] = {"padding": "longest", "return_tensors": "pt"}
        if modality == IMAGE:
            images = [rgb(image) for image in items]
            arrays = self.processor(text=[IMAGE_PROMPT] * len(images), images=images, **padded)
        else:
            texts = [self.prefixes[role] + text for text in items]
            arrays = self.processor(text=texts, truncation=True, max_length=JINA_TOKENS, **padded)
        tokens = self.placement.send(dict(arrays))
        with torch.inference_mode():
            states = self.module(**tokens, use_cache=False).last_hidden_state.float()
            mask = tokens["attention_mask"]
            if modality == IMAGE:  # the tokens of the image alone, its first and last mark among them
                config, ids = self.module.config, tokens["input_ids"]
                begun = (ids == config.vision_start_token_id).cumsum(dim=1)
                ended = (ids == config.vision_end_token_id).cumsum(dim=1)
                mask = (begun > 0) & ((ended == 0) | (ids == config.vision_end_token_id))
            mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            return torch.nn.functional.normalize(mean[:, : self.info.embed_dim], dim=1).cpu().numpy()

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return token_counts(self.processor.tokenizer, [self.prefixes["document"] + text for text in texts])

    def internals(self) -> Internals:
        """Return the module, without the library's processor."""
        return Internals(module=self.module)


def load_jina_v4(
    folder: Path, reference: str, options: LoadOptions, notes: Sequence[str], files: Sequence[Path]
) -> JinaV4:
    """Return the model of a folder, for the option ``task``, with vectors cut to ``truncate_dim`` where that is given.

    Raises:
        UsageError: no task, or one or a dimension that the model does not have.
        ModelError: weights that are missing or do not fit.
    """
    settings = read_json(folder / "config.json", ModelError)
    task, dim = options.options.get("task"), _truncated_dim(options, settings, reference)
    if task is None:
        raise UsageError(
            f"{reference} has other weights for each task: add {model_option(task='retrieval')}, or"
            f" {' or '.join(JINA_TASKS[1:])}"
        )
    if task not in JINA_TASKS:
        raise UsageError(f"model option task={task}: {did_you_mean(task, JINA_TASKS)}")
    placement = resolve_placement(options.device, options.precision, options.batch_size)
    config = transformers.Qwen2_5_VLConfig.from_pretrained(folder)
    full_model, report = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ModelError(
            f"{reference} lacks {len(report['missing_keys'])} weights ({', '.join(sorted(report['missing_keys'])[:3])},"
            " ...): they would be random, so it is not loaded"
        )
    module = full_model.model
    _merge_adapters(module, folder / "adapters", task, reference)
    processor = transformers.Qwen2_5_VLProcessor.from_pretrained(folder)
    check_vocabulary(processor.tokenizer, reference)
    prefixes = JINA_PREFIXES if task != "text-matching" else dict.fromkeys(JINA_PREFIXES, JINA_PREFIXES[None])
    identity_options = {key: value for key, value in options.options.items() if key != "code_commit"}
    tokenize = lambda texts: processor.tokenizer(texts, padding=True, return_tensors="pt")
    info = ModelInfo(
        ref=reference,
        id=with_options(reference, identity_options),
        fingerprint=digest(
            JINA_ADAPTER,
            weights_digest(module),
            options.precision,
            repr([dim, sorted(prefixes.items(), key=str)]),
            repr(sorted(processor.image_processor.to_dict().items(), key=str)),
            tokenizer_identity(tokenize, processor.tokenizer.get_vocab()),
        ),
        family="transformers/JinaEmbeddingsV4",
        embed_dim=dim,
        context_length=JINA_TOKENS,
        n_parameters=n_parameters(module),
        device=str(placement.device),
        precision=options.precision,
        notes=(*notes, f"weights of the task {task}"),
        roles=({} if task == "text-matching" else {TEXT: {role: JINA_PREFIXES[role] for role in ROLES}}),
    )
    freeze(module, placement)
    return JinaV4(
        info=info,
        module=module,
        processor=processor,
        placement=placement,
        prefixes=prefixes,
        at_once=options.batch_size or JINA_AT_ONCE,
        files=files,
    )


def _truncated_dim(options: LoadOptions, settings: Mapping[str, Any], reference: str) -> int:
    text = settings.get("text_config")
    full = (text if isinstance(text, Mapping) else settings).get("hidden_size", settings.get("hidden_size"))
    dimensions = [*(settings.get("matryoshka_dims") or []), full]
    dim = options.whole_number("truncate_dim") or settings.get("truncate_dim") or full
    if dim not in dimensions:
        raise UsageError(
            f"model option truncate_dim={dim}: {reference} was trained for {', '.join(map(str, dimensions))}"
        )
    return int(dim)


def _merge_adapters(module: Any, folder: Path, task: str, reference: str) -> None:
    """Add the LoRA adapters of a task to the weights of the language model, or raise ModelError if some are missing."""
    settings = read_json(folder / "adapter_config.json", ModelError)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float)) or settings.get("use_dora"):
        raise ModelError(
            f"{reference}: adapter_config.json has r = {shown(rank)}, lora_alpha = {shown(alpha)}: expected plain LoRA"
        )
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    pattern = re.compile(ADDED.format(parts=PARTS, task=re.escape(task)))
    added: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in read_weights(folder / "adapter_model.safetensors").items():
        if match := pattern.fullmatch(name):
            added.setdefault(match[1], {})[match[3]] = value.float()
    matrices = {
        name: part
        for name, part in module.language_model.named_modules()
        if re.fullmatch(rf"layers\..*\.{PARTS}", name)
    }
    if {*matrices} != {name for name, pair in added.items() if len(pair) == 2}:
        raise ModelError(
            f"{reference} has adapters for {len(added)} of {len(matrices)} matrices in the task {task}: expected"
            " adapters/adapter_model.safetensors as its authors publish it"
        )
    for name, part in matrices.items():
        part.weight.data += scale * (added[name]["B"] @ added[name]["A"])
