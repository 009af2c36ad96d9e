import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipbench.errors import ModelError, UsageError
from clipbench.models.checkpoints import bundled_checkpoints, is_bundled_checkpoint, newest_checkpoint
from clipbench.training.clip.checkpoint import (
    CheckpointContent,
    TrainingProgress,
    load_checkpoint,
    load_model,
    load_optimizer,
    save_checkpoint,
    save_model,
)
from clipbench.training.clip.config import ClipConfig
from clipbench.training.clip.inputs import train_tokenizer
from clipbench.training.clip.model import CLIP
from clipbench.training.step import make_optimizer


def trained(config: ClipConfig, step: int = 0) -> CheckpointContent:
    tokenizer = train_tokenizer(["a red disc", "a blue square"], vocab_size=560, context_length=12)
    torch.manual_seed(0)
    model = CLIP(replace(config, vocab_size=tokenizer.vocab_size))
    progress = TrainingProgress(
        arguments={"seed": 3, "lr": 0.1}, data={"name": "toy"}, step=step, losses=[[1, 2.5]], seconds=7.0
    )
    return CheckpointContent(model, tokenizer, progress)


def optimizer_of(model: CLIP) -> torch.optim.AdamW:
    """An optimizer that has taken a step, and so has a state."""
    optimizer = make_optimizer(model, lr=0.01, weight_decay=0.1)
    tokens = torch.tensor([[1, 2, model.config.vocab_size - 1]])
    vectors = model.encode_text(tokens), model.encode_image(torch.ones(1, 3, 16, 16))
    (torch.cat(vectors).square().sum() * model.logit_scale.exp()).backward()
    optimizer.step()
    return optimizer


def test_a_checkpoint_is_loaded_as_it_was_saved(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro, step=5)
    optimizer = optimizer_of(saved.model)
    (tmp_path / ".step-4-123").mkdir()  # left by a kill
    folder = save_checkpoint(tmp_path, saved, optimizer)
    assert folder == tmp_path / "step-5"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    checkpoint = load_checkpoint(folder)
    assert checkpoint.progress == saved.progress
    assert checkpoint.model.config == saved.model.config
    assert checkpoint.tokenizer.vocabulary() == saved.tokenizer.vocabulary()
    for name, value in saved.model.state_dict().items():
        assert torch.equal(checkpoint.model.state_dict()[name], value), name
    again = make_optimizer(checkpoint.model, lr=0.01, weight_decay=0.1)
    load_optimizer(folder, checkpoint.model, again)
    before, after = optimizer.state_dict()["state"], again.state_dict()["state"]
    assert before.keys() == after.keys()
    for number, moments in before.items():
        assert moments.keys() == after[number].keys()
        assert all(torch.equal(value, after[number][moment]) for moment, value in moments.items())


def test_only_the_newest_checkpoint_can_be_resumed_from(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro)
    optimizer = optimizer_of(saved.model)
    for step in (9, 10, 100):
        saved.progress.step = step
        save_checkpoint(tmp_path, saved, optimizer)
    assert [path.name for path in bundled_checkpoints(tmp_path)] == ["step-9", "step-10", "step-100"]
    assert newest_checkpoint(tmp_path).name == "step-100"
    load_optimizer(tmp_path / "step-100", saved.model, optimizer)
    with pytest.raises(ModelError, match="only the newest checkpoint of a run can be resumed from"):
        load_optimizer(tmp_path / "step-10", saved.model, optimizer)
    with pytest.raises(UsageError, match="holds no checkpoint to resume from: start the run without --resume"):
        newest_checkpoint(tmp_path / "step-10")


@torch.no_grad()
def test_a_checkpoint_loads_into_open_clip(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro)
    save_model(tmp_path, saved.model, saved.tokenizer)
    theirs = open_clip.CLIP(**json.loads((tmp_path / "config.json").read_text())["model_cfg"]).eval()
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))
    tokens = torch.from_numpy(saved.tokenizer.encode(["a red disc", "square"]))
    torch.testing.assert_close(theirs.encode_text(tokens), saved.model.encode_text(tokens), rtol=1e-5, atol=1e-6)


def test_weights_in_half_the_space_are_read_as_float32(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro)
    save_model(tmp_path, saved.model, saved.tokenizer, dtype=torch.float16)
    model, _ = load_model(tmp_path)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    np.testing.assert_allclose(
        model.visual.proj.detach().numpy(), saved.model.visual.proj.detach().numpy(), rtol=1e-3, atol=1e-6
    )


def test_an_optimizer_s_state_that_is_damaged_or_another_s_is_refused(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro, step=5)
    optimizer = optimizer_of(saved.model)
    path = save_checkpoint(tmp_path, saved, optimizer) / "optimiser.safetensors"
    state = load_file(path)
    first = next(iter(state))
    for tensors, message in (
        ({name: value for name, value in state.items() if name != first}, r"does not belong to .*: 1 of \d+ weights missing"),
        ({**state, "step/extra": torch.tensor(1.0)}, r"does not belong to .*: 1 left over \(step/extra\)"),
        ({name: value.reshape(-1)[:1].clone() for name, value in state.items()}, r"of another shape \("),
        ({}, "holds an object of type dict"),
    ):  # fmt: skip
        save_file(tensors, path)
        with pytest.raises(ModelError, match=message):
            load_optimizer(path.parent, saved.model, optimizer)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"optimiser\.safetensors is not a complete safetensors file"):
        load_optimizer(path.parent, saved.model, optimizer)


def test_damaged_checkpoints_are_refused(micro: ClipConfig, tmp_path: Path) -> None:
    saved = trained(micro)
    folder = save_checkpoint(tmp_path, saved, optimizer_of(saved.model))
    assert is_bundled_checkpoint(folder)
    config = (folder / "config.json").read_text()
    for damage, message in (
        (config[:40], "is not JSON"),
        ("[1]", "holds a JSON list"),
        (config.replace('"format": 1', '"format": 2'), "has format 2, and clipbench .* reads format 1"),
        (config.replace('"layers": 2', '"layers": 3'), "does not fit the configuration: .* weights missing"),
        (config.replace('"vocab_size"', '"words"'), "does not describe a model"),
    ):
        (folder / "config.json").write_text(damage)
        with pytest.raises(ModelError, match=message):
            load_model(folder)
    (folder / "config.json").write_text(config)
    (folder / "train.json").unlink()
    with pytest.raises(ModelError, match=r"no checkpoint in .*step-0: it has no file train\.json"):
        load_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="is not a complete safetensors file"):
        load_model(folder)
