"""The adapter of checkpoints of ``clipbench train``, found by the entry point ``bundled``. Imports torch late."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ModelError
from clipbench.models import checkpoints
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo, Notes
from clipbench.untrusted.reading import is_file

if TYPE_CHECKING:
    from clipbench.models.towers.torch_model import Placement, TorchModel
    from clipbench.training.clip.model import CLIP

ADAPTER = "bundled adapter 1"
"""Part of the fingerprint: the number goes up when the same weights give different vectors."""

SHIPPED = {"tiny": Path(__file__).parent / "checkpoints" / "tiny"}
"""Checkpoints that come with clipbench, by name, each with a model card (README.md) next to its weights."""


def load(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a checkpoint, or of a training's newest one, which a note then names. Option: ``context``.

    Args:
        body: a folder, or a name in ``SHIPPED``. A folder of such a name is written ``./NAME``.

    Raises:
        ModelError: the folder holds no checkpoint, or a damaged one.
        UsageError: an unknown option, device or precision, or a context that cannot be stretched to.
    """
    options.refuse_unknown(["context"], body)
    path = SHIPPED.get(body, Path(body))
    folder, notes = path, Notes()
    if not checkpoints.is_bundled_checkpoint(path):
        run_checkpoints = checkpoints.bundled_checkpoints(path)
        if not run_checkpoints:
            raise ModelError(
                f"{path} is not a checkpoint of clipbench train: expected a folder with {checkpoints.CONFIG}"
                f" and {checkpoints.WEIGHTS}, or the folder of a training"
            )
        folder = run_checkpoints[-1]
        notes = (f"the newest checkpoint of the run in {body}: {folder.name}",)
    return _build(folder, options, notes, files=(folder, path))


def _build(folder: Path, options: LoadOptions, notes: Notes, *, files: tuple[Path, ...]) -> "TorchModel":
    import torch
    from torch import nn

    from clipbench.models.towers.checkpoint_file import stretch_table
    from clipbench.models.towers.text_tower import TextTower, tokenizer_identity
    from clipbench.models.towers.torch_model import (
        TorchModel,
        freeze,
        pixel_tower,
        probe,
        resolve_placement,
        weights_digest,
    )
    from clipbench.training.clip.checkpoint import load_model
    from clipbench.training.clip.inputs import ClipPreprocess

    target = resolve_placement(options.device, options.precision, options.batch_size)
    module, tokenizer = load_model(folder)
    context = options.whole_number("context")
    if context is not None:
        table, stretching = stretch_table(module.positional_embedding.data, context)
        module.positional_embedding = nn.Parameter(table)
        module.config = replace(module.config, context_length=context)
        tokenizer, notes = tokenizer.with_context(context), notes + stretching
    tower = TextTower(
        tokenize=lambda texts: {"text": torch.from_numpy(tokenizer.encode(texts))},
        encode=lambda tokens: module.encode_text(tokens["text"]),
        lengths=lambda tokens: tokens["text"].argmax(dim=-1) + 1,
        count=tokenizer.count,
    )
    words = tokenizer_identity(tower.tokenize, tokenizer.vocabulary())
    identity = digest(ADAPTER, weights_digest(module), options.precision, module.config, words)
    model = TorchModel(
        info=_info(module, folder, identity, notes, target, options),
        preprocess=ClipPreprocess(module.config),
        image_tower=pixel_tower(module.encode_image),
        text_tower=tower,
        placement=target,
        module=module,
        files=files,
    )
    freeze(module, target)
    probe(model)
    return model


def _info(
    module: "CLIP", folder: Path, fingerprint: str, notes: Notes, target: "Placement", options: LoadOptions
) -> ModelInfo:
    from clipbench.models.towers.torch_model import n_parameters, scale_and_bias

    absolute = folder.resolve()
    name = f"{absolute.parent.name}/{absolute.name}" if absolute.name.startswith("step-") else absolute.name
    config, (scale, bias) = module.config, scale_and_bias(module, f"bundled:{name}")
    # The step that train.json records, else the one in the folder's name: often only the weights are copied.
    progress = folder / checkpoints.TRAIN
    recorded = checkpoints.step_inside(checkpoints.read_json(progress)) if is_file(progress) else None
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
        device=str(target.device),
        precision=options.precision,
        step=checkpoints.step_in_name(folder) if recorded is None else recorded,
        notes=notes,
    )
