"""Checkpoint files: one clear line for each way in which one is no good, no code that is run, and tables of positions
that are stretched as Long-CLIP does it, checked by hand and against its own loop.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from clipbench.errors import ModelError, UsageError
from clipbench.models.adapters.open_clip import load_folder
from clipbench.models.adapters.transformers import load as load_transformers
from clipbench.models.options import LoadOptions
from clipbench.models.towers.checkpoint_file import (
    load_strictly,
    read_weights,
    stretch_context,
    stretched,
    stretched_length,
)
from clipbench.training.clip import adapter as bundled
from clipbench.training.clip.checkpoint import load_model
from clipbench.training.clip.inputs import ClipTokenizer
from tests.bundled import MICRO, save_bundled
from tests.clipbench.models import small_models
from tests.clipbench.models.test_foreign_code import Payload

WEIGHTS = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no FIFO")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_that_becomes_a_fifo_after_it_was_looked_at_is_not_waited_for(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model{suffix}"

    def look_and_replace(name: object) -> bool:
        path.unlink()
        os.mkfifo(path)
        return True

    save_file(WEIGHTS, path)
    monkeypatch.setattr("clipbench.models.towers.checkpoint_file.is_file", look_and_replace)
    with pytest.raises(ModelError, match=r"model\.(pt|safetensors) is not a (complete|checkpoint)"):
        read_weights(path)


def test_a_truncated_safetensors_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(
        ModelError, match=r"half.safetensors is not a complete safetensors file .*: copy or save it again"
    ):
        read_weights(path)
    link = tmp_path / "model.safetensors"  # as in the cache of the Hub
    link.symlink_to(path)
    with pytest.raises(
        ModelError, match=r"/half.safetensors is not a complete .*: remove that file, and it is downloaded again"
    ):
        read_weights(link)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")

    with pytest.raises(
        ModelError, match=r"evil.pt holds Python objects \(posix.mkdir\).*save only the state"
    ) as caught:
        read_weights(tmp_path / "evil.pt")

    assert not (tmp_path / "ran").exists()
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 not a zip", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)

    with pytest.raises(ModelError, match=r"x.pt is not a checkpoint, or is damaged .*: expected a file that"):
        read_weights(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "jit.pt")

    with pytest.raises(ModelError, match=r"is a TorchScript archive, which is a program and is not run: .*vit-b-32"):
        read_weights(tmp_path / "jit.pt")


def test_what_holds_no_tensors_by_name_is_refused(tmp_path: Path) -> None:
    for content, message in [
        ([1, 2], "holds an object of type list: expected names"),
        ({}, "holds an object of type dict: expected names"),
        ({"model": WEIGHTS}, "holds 'model' of type dict: expected names with their tensors, or a training checkpoint"),
    ]:
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(ModelError, match=message):
            read_weights(tmp_path / "x.pt")


def test_weights_that_do_not_fit_are_told_apart_and_counted() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 4), torch.nn.Linear(4, 1))
    state = module.state_dict()
    state["0.weight"] = torch.ones(2, 5)
    for name in ("1.weight", "1.bias", "2.weight", "2.bias"):
        del state[name]
    state["head.weight"] = torch.ones(1)

    with pytest.raises(
        ModelError,
        match=r"checkpoint x.pt does not fit ViT: 4 of 6 weights missing \(1.weight, 1.bias, 2.weight, ...\),"
        r" 1 left over \(head.weight\), 1 of another shape \(0.weight \(2, 5\) where \(2, 3\) is expected\): "
        r"check arch$",
    ):
        load_strictly(module, state, source="x.pt", arch="ViT")


def test_names_of_other_families_are_recognised() -> None:
    module = torch.nn.Linear(1, 1)
    for name, advice in [
        ("text_model.final_layer_norm.bias", "give its folder as model='hf:FOLDER'"),
        ("positional_embedding_res", "it is a Long-CLIP checkpoint: add model_options={'context': '248'}"),
    ]:
        with pytest.raises(ModelError, match=advice):
            load_strictly(module, {name: torch.ones(1)}, source="x.pt", arch="ViT")


def long_clip_table(table: torch.Tensor) -> torch.Tensor:
    """Follow the definition one position at a time."""
    n_kept, length = 20, len(table)
    out = torch.zeros(4 * length - 3 * n_kept, table.shape[1])
    out[:n_kept] = table[:n_kept]
    for i in range(length - 1 - n_kept):
        for k in range(4):
            out[n_kept + 4 * i + k] = (4 - k) / 4 * table[n_kept + i] + k / 4 * table[n_kept + i + 1]
    for k in range(4):
        out[4 * length - 3 * n_kept - 4 + k] = table[-1] + k / 4 * (table[-1] - table[-2])
    return out


def test_a_table_is_stretched_as_long_clip_does_it() -> None:
    table = torch.randn(77, 8, generator=torch.Generator().manual_seed(0))

    assert len(stretched(table)) == stretched_length(77) == 248
    torch.testing.assert_close(stretched(table), long_clip_table(table))


def test_the_two_tables_of_a_long_clip_checkpoint_become_one() -> None:
    state = {"positional_embedding": torch.zeros(248, 2), "positional_embedding_res": torch.ones(248, 2)}

    joined, notes = stretch_context(state, 248)

    assert list(joined) == ["positional_embedding"] and notes == ()
    assert joined["positional_embedding"][:, 0].tolist() == [0] * 20 + [1] * 228


def test_a_stretched_model_reads_what_an_ordinary_one_cuts(small_clip_folder: Path, tmp_path: Path) -> None:
    ordinary = load_folder(str(small_clip_folder), LoadOptions())
    model = load_folder(str(small_clip_folder), LoadOptions(options={"context": "248"}))
    start = " ".join(["dog"] * 100)
    texts = [f"{start} red", f"{start} blue"]

    assert model.info.context_length == 248
    assert "stretched from 77 to 248" in model.info.notes[0]
    assert (ordinary.encode_texts(texts)[0] == ordinary.encode_texts(texts)[1]).all()
    assert abs(model.encode_texts(texts)[0] - model.encode_texts(texts)[1]).max() > 1e-4
    # the same as open_clip's own model of that context, with the table put in by hand
    weights = load_file(small_clip_folder / "open_clip_model.safetensors")
    weights["positional_embedding"] = long_clip_table(weights["positional_embedding"])
    config = {**small_models.CLIP, "text_cfg": {**small_models.TEXT, "context_length": 248}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    with torch.no_grad():
        expected = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(texts))
    torch.testing.assert_close(torch.from_numpy(model.encode_texts(texts)), expected, rtol=1e-4, atol=1e-5)


def test_a_tower_that_sees_its_padding_is_not_stretched(small_siglip_folder: Path) -> None:
    with pytest.raises(UsageError, match="option context=248 needs a causal text tower pooled at the end of the text"):
        load_folder(str(small_siglip_folder), LoadOptions(options={"context": "248"}))


TOO_LONG = [f"{'dog ' * 100}red", f"{'dog ' * 100}blue"]
SHORT = ["a photo of a cat", "dog"]


def test_the_bundled_model_is_stretched_by_the_same_rule(tmp_path: Path) -> None:
    folder = save_bundled(tmp_path / "model", replace(MICRO, context_length=77))
    plain = bundled.load(str(folder), LoadOptions(device="cpu"))
    model = bundled.load(str(folder), LoadOptions(device="cpu", options={"context": "248"}))

    assert (plain.info.context_length, model.info.context_length) == (77, 248)
    assert model.info.fingerprint != plain.info.fingerprint
    assert "stretched from 77 to 248" in model.info.notes[0]
    module, tokenizer = load_model(folder)
    module.positional_embedding = torch.nn.Parameter(long_clip_table(module.positional_embedding.data))
    ids = torch.from_numpy(ClipTokenizer(tokenizer._tokenizer, 248).encode(TOO_LONG))
    with torch.no_grad():
        expected = module.encode_text(ids)
    torch.testing.assert_close(torch.from_numpy(model.encode_texts(TOO_LONG)), expected, rtol=1e-4, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-5
    # the first 20 positions are kept, so that short texts give what they gave
    assert abs(model.encode_texts(SHORT) - plain.encode_texts(SHORT)).max() < 1e-6


def test_a_transformers_model_is_stretched_by_the_same_rule(tmp_path: Path) -> None:
    folder = small_models.transformers_clip(tmp_path / "model", pad_token_id=513)
    texts = [text[200:] for text in TOO_LONG]  # 150 letters, each a token
    plain = load_transformers(str(folder), LoadOptions())
    model = load_transformers(str(folder), LoadOptions(options={"context": "248"}))

    assert (plain.info.context_length, model.info.context_length) == (77, 248)
    assert model.info.fingerprint != plain.info.fingerprint
    assert "stretched from 77 to 248" in model.info.notes[0]
    # the library's own model of that context, with the table put in by hand
    config = transformers.CLIPConfig.from_pretrained(folder)
    config.text_config.max_position_embeddings = 248
    theirs = transformers.CLIPModel(config).eval()
    weights = transformers.CLIPModel.from_pretrained(folder).state_dict()
    place = "text_model.embeddings.position_embedding.weight"
    theirs.load_state_dict({**weights, place: long_clip_table(weights[place])})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=248, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = theirs.get_text_features(input_ids=ids).pooler_output
    torch.testing.assert_close(torch.from_numpy(model.encode_texts(texts)), expected, rtol=1e-4, atol=1e-5)
    assert abs(expected[0] - expected[1]).max() > 1e-5

    same = load_transformers(str(folder), LoadOptions(options={"context": "77"}))
    assert same.info == plain.info
    assert (same.encode_texts(TOO_LONG) == plain.encode_texts(TOO_LONG)).all()
    with pytest.raises(UsageError, match=r"context=100 does not fit a checkpoint with 77 text positions"):
        load_transformers(str(folder), LoadOptions(options={"context": "100"}))
