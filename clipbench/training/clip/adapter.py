"""Checkpoints of the bundled CLIP: folders that ``clipbench train`` wrote. Nothing here imports torch when imported."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ModelError
from clipbench.models._checkpoint_names import step_in_name, step_inside
from clipbench.models._fingerprint import digest
from clipbench.models.checkpoint_folders import (
    CONFIG,
    TRAIN,
    WEIGHTS,
    bundled_checkpoints,
    is_bundled_checkpoint,
    read_json,
)
from clipbench.models.protocol import LoadOptions, ModelInfo

if TYPE_CHECKING:
    from clipbench.models._torch_model import TorchModel
    from clipbench.training.clip.model import CLIP
    from clipbench.training.clip.tokeniser import Tokeniser

ADAPTER = "bundled adapter 1"
"""Raised when the same weights would give other vectors: it is part of the fingerprint."""

SHIPPED = {"tiny": Path(__file__).parent / "checkpoints" / "tiny"}
"""Checkpoints that come with clipbench, by name; each has a model card, README.md, beside its weights."""


def load(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a checkpoint, or of a run's newest one, which a note then names. Option: ``context``.

    Args:
        body: a folder, or the name of a checkpoint that comes with clipbench (``SHIPPED``); a folder of that name is
            ``./NAME``.

    Raises:
        ModelError: the folder holds no checkpoint, or a damaged one.
        UsageError: an unknown option, device or precision, or a context that the positions do not stretch to.
    """
    options.refuse_arch(body)
    options.refuse_unknown(["context"], body)
    path = SHIPPED.get(body, Path(body))
    folder = _checkpoint(path)
    notes = () if folder == path else (f"of the run in {body}, its newest checkpoint: {folder.name}",)
    return _build(folder, options, notes)


def _checkpoint(path: Path) -> Path:
    if is_bundled_checkpoint(path):
        return path
    found = bundled_checkpoints(path)
    if not found:
        raise ModelError(
            f"{path} is no checkpoint of clipbench train: expected a folder with {CONFIG} and {WEIGHTS}, or a run's folder"
        )
    return found[-1]


def _build(folder: Path, options: LoadOptions, notes: tuple[str, ...]) -> "TorchModel":
    import torch

    from clipbench.models._text_tower import TextTower, tokenizer_identity
    from clipbench.models._torch_model import TorchModel, freeze, placement, probe, weights_digest
    from clipbench.training.clip.checkpoint import load_model
    from clipbench.training.clip.preprocess import Preprocess

    place = placement(options.device, options.precision, options.batch_size)
    module, tokeniser = load_model(folder)
    context = options.whole_number("context")
    if context is not None:
        tokeniser, stretching = _stretched(module, tokeniser, context)
        notes += stretching
    tower = TextTower(
        tokenize=lambda texts: {"text": torch.from_numpy(tokeniser.encode(texts))},
        encode=lambda tokens: module.encode_text(tokens["text"]),
        lengths=lambda tokens: tokens["text"].argmax(dim=-1) + 1,
        count=tokeniser.count,
    )
    words = tokenizer_identity(tower.tokenize, tokeniser.vocabulary())
    identity = digest(ADAPTER, weights_digest(module), options.precision, module.config, words)
    model = TorchModel(
        info=replace(
            _info(module, _name(folder), identity, notes),
            device=str(place.device),
            precision=options.precision,
            step=_step(folder),
        ),
        preprocess=Preprocess(module.config),
        image_tower=module.encode_image,
        text_tower=tower,
        placement=place,
    )
    freeze(module, place)
    probe(model, place)
    return model


def _stretched(module: "CLIP", tokeniser: "Tokeniser", context: int) -> "tuple[Tokeniser, tuple[str, ...]]":
    """Give a model so many text positions; return the tokeniser for them, and what a reader should know."""
    from torch import nn

    from clipbench.models._context import stretched_to

    table, notes = stretched_to(module.positional_embedding.data, context)
    module.positional_embedding = nn.Parameter(table)
    module.config = replace(module.config, context_length=context)
    return tokeniser.with_context(context), notes


def _info(module: "CLIP", name: str, fingerprint: str, notes: tuple[str, ...]) -> ModelInfo:
    from clipbench.models._torch_model import n_parameters

    config, bias = module.config, module.logit_bias
    return ModelInfo(
        ref=name,
        id=f"bundled:{name}",
        fingerprint=fingerprint,
        family="clipbench/CLIP" if bias is None else "clipbench/SigLIP",
        embed_dim=config.embed_dim,
        context_length=config.context_length,
        image_size=config.image_size,
        logit_scale=math.exp(module.logit_scale.item()),
        logit_bias=0.0 if bias is None else bias.item(),
        n_parameters=n_parameters(module),
        notes=notes,
    )


def _step(folder: Path) -> int | None:
    """Return the step of a checkpoint; one whose weights alone were copied has only its name to say it."""
    said = step_inside(read_json(folder / TRAIN)) if (folder / TRAIN).is_file() else None
    return step_in_name(folder) if said is None else said


def _name(folder: Path) -> str:
    """Return what tells a checkpoint from others: of a step, its run's name too."""
    absolute = folder.resolve()
    return f"{absolute.parent.name}/{absolute.name}" if absolute.name.startswith("step-") else absolute.name
