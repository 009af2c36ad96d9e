"""jina-embeddings-v4 on the library's Qwen2.5-VL, with the weights of one task added: its own code does not run.

Imports torch.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from clipbench.data.images import rgb
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import ModelError, UsageError, did_you_mean, model_option
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions, with_options
from clipbench.models.protocol import ROLES, Internals, Model, ModelInfo, Role, TokenCounts, Vectors, encode_in_batches
from clipbench.models.towers.checkpoint_file import read_weights
from clipbench.models.towers.text_tower import check_vocabulary, token_counts, tokenizer_identity
from clipbench.models.towers.torch_model import Placement, freeze, n_parameters, resolve_placement, weights_digest
from clipbench.untrusted.reading import read_json, shown

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
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{reference} lacks {len(missing)} weights ({', '.join(missing[:3])}, ...): they would be random, so it is"
            " not loaded"
        )
    module = full_model.model
    _merge_adapters(module, folder / "adapters", task, reference)
    processor = transformers.Qwen2_5_VLProcessor.from_pretrained(folder)
    check_vocabulary(processor.tokenizer, reference)
    prefixes = JINA_PREFIXES if task != "text-matching" else dict.fromkeys(JINA_PREFIXES, JINA_PREFIXES[None])
    identity_options = {key: value for key, value in options.options.items() if key != "code_commit"}
    tokenize = lambda texts: processor.tokenizer(texts, padding=True, return_tensors="pt")
    fingerprint = digest(
        JINA_ADAPTER,
        weights_digest(module),
        options.precision,
        repr([dim, sorted(prefixes.items(), key=str)]),
        repr(sorted(processor.image_processor.to_dict().items(), key=str)),
        tokenizer_identity(tokenize, processor.tokenizer.get_vocab()),
    )
    roles: dict[str, dict[str, str]] = {}
    if task != "text-matching":
        roles[TEXT] = {role: JINA_PREFIXES[role] for role in ROLES}
    info = ModelInfo(
        ref=reference,
        id=with_options(reference, identity_options),
        fingerprint=fingerprint,
        family="transformers/JinaEmbeddingsV4",
        embed_dim=dim,
        context_length=JINA_TOKENS,
        n_parameters=n_parameters(module),
        device=str(placement.device),
        precision=options.precision,
        notes=(*notes, f"weights of the task {task}"),
        roles=roles,
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
