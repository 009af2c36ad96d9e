"""The adapter of checkpoints of ``clipbench train``, found by the entry point ``bundled``. Imports torch late."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ModelError
from clipbench.models.checkpoints import (
    CONFIG,
    TRAIN,
    WEIGHTS,
    bundled_checkpoints,
    is_bundled_checkpoint,
    read_json,
    step_in_name,
    step_inside,
)
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo
from clipbench.untrusted.reading import is_file

if TYPE_CHECKING:
    from clipbench.models.towers.torch_model import TorchModel
    from clipbench.training.clip.model import CLIP
    from clipbench.training.clip.tokenizer import ClipTokenizer

ADAPTER = "bundled adapter 1"
"""Part of the fingerprint: the number goes up when the same weights give different vectors."""

SHIPPED = {"tiny": Path(__file__).parent / "checkpoints" / "tiny"}
"""Checkpoints that come with clipbench, by name; each has a model card (README.md) beside its weights."""


def load(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a checkpoint, or of the newest one of a training, which a note then names. Option: ``context``.

    Args:
        body: a folder, or a name in ``SHIPPED``; a folder of such a name is written ``./NAME``.

    Raises:
        ModelError: the folder holds no checkpoint, or a damaged one.
        UsageError: an unknown option, device or precision, or a context that cannot be stretched to.
    """
    options.refuse_arch(body)
    options.refuse_unknown(["context"], body)
    path = SHIPPED.get(body, Path(body))
    folder = _checkpoint(path)
    notes = () if folder == path else (f"of the run in {body}, its newest checkpoint: {folder.name}",)
    return _build(folder, options, notes, files=(folder, path))


def _checkpoint(path: Path) -> Path:
    if is_bundled_checkpoint(path):
        return path
    found = bundled_checkpoints(path)
    if not found:
        raise ModelError(
            f"{path} is no checkpoint of clipbench train: expected a folder with {CONFIG} and {WEIGHTS}, or a run's folder"
        )
    return found[-1]


def _build(folder: Path, options: LoadOptions, notes: tuple[str, ...], *, files: tuple[Path, ...]) -> "TorchModel":
    import torch

    from clipbench.models.towers.text_tower import TextTower, tokenizer_identity
    from clipbench.models.towers.torch_model import TorchModel, freeze, of_pixels, placement, probe, weights_digest
    from clipbench.training.clip.checkpoint import load_model
    from clipbench.training.clip.preprocess import ClipPreprocess

    place = placement(options.device, options.precision, options.batch_size)
    module, tokenizer = load_model(folder)
    context = options.whole_number("context")
    if context is not None:
        tokenizer, stretching = _stretched(module, tokenizer, context)
        notes += stretching
    tower = TextTower(
        tokenize=lambda texts: {"text": torch.from_numpy(tokenizer.encode(texts))},
        encode=lambda tokens: module.encode_text(tokens["text"]),
        lengths=lambda tokens: tokens["text"].argmax(dim=-1) + 1,
        count=tokenizer.count,
    )
    words = tokenizer_identity(tower.tokenize, tokenizer.vocabulary())
    identity = digest(ADAPTER, weights_digest(module), options.precision, module.config, words)
    model = TorchModel(
        info=replace(
            _info(module, _name(folder), identity, notes),
            device=str(place.device),
            precision=options.precision,
            step=_step(folder),
        ),
        preprocess=ClipPreprocess(module.config),
        image_tower=of_pixels(module.encode_image),
        text_tower=tower,
        placement=place,
        module=module,
        files=files,
    )
    freeze(module, place)
    probe(model, place)
    return model


def _stretched(module: "CLIP", tokenizer: "ClipTokenizer", context: int) -> "tuple[ClipTokenizer, tuple[str, ...]]":
    """Stretch a model to a number of text positions; return the tokenizer for them, and notes for the result."""
    from torch import nn

    from clipbench.models.towers.context import stretched_to

    table, notes = stretched_to(module.positional_embedding.data, context)
    module.positional_embedding = nn.Parameter(table)
    module.config = replace(module.config, context_length=context)
    return tokenizer.with_context(context), notes


def _info(module: "CLIP", name: str, fingerprint: str, notes: tuple[str, ...]) -> ModelInfo:
    from clipbench.models.towers.torch_model import n_parameters, scale_and_bias

    config, (scale, bias) = module.config, scale_and_bias(module, f"bundled:{name}")
    return ModelInfo(
        ref=name,
        id=f"bundled:{name}",
        fingerprint=fingerprint,
        family="clipbench/CLIP" if module.logit_bias is None else "clipbench/SigLIP",
        embed_dim=config.embed_dim,
        context_length=config.context_length,
        image_size=config.image_size,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=n_parameters(module),
        notes=notes,
    )


def _step(folder: Path) -> int | None:
    """Return the step that train.json records, else the one in the folder's name: often only the weights are copied."""
    recorded = step_inside(read_json(folder / TRAIN)) if is_file(folder / TRAIN) else None
    return step_in_name(folder) if recorded is None else recorded


def _name(folder: Path) -> str:
    """Return the folder's name, with that of its training if it is a ``step-N``."""
    absolute = folder.resolve()
    return f"{absolute.parent.name}/{absolute.name}" if absolute.name.startswith("step-") else absolute.name
