"""Stretched text towers: Long-CLIP's table, checked by hand and against its own loop."""

import json
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from clipbench.errors import UsageError
from clipbench.models.adapters.open_clip import load_folder
from clipbench.models.adapters.transformers import load as load_transformers
from clipbench.models.options import LoadOptions
from clipbench.models.towers.context import stretched, stretched_length, stretched_to, with_context
from clipbench.training.clip import adapter as bundled
from clipbench.training.clip.checkpoint import load_model, save_model
from clipbench.training.clip.config import ClipConfig, Tower
from clipbench.training.clip.model import CLIP
from clipbench.training.clip.tokenizer import ClipTokenizer, train_tokenizer


def long_clip_table(table: torch.Tensor) -> torch.Tensor:
    """Follow the definition one position at a time."""
    kept, length = 20, len(table)
    out = torch.zeros(4 * length - 3 * kept, table.shape[1])
    out[:kept] = table[:kept]
    for i in range(length - 1 - kept):
        for k in range(4):
            out[kept + 4 * i + k] = (4 - k) / 4 * table[kept + i] + k / 4 * table[kept + i + 1]
    for k in range(4):
        out[4 * length - 3 * kept - 4 + k] = table[-1] + k / 4 * (table[-1] - table[-2])
    return out


def test_a_table_is_stretched_as_long_clip_does_it() -> None:
    table = torch.randn(77, 8, generator=torch.Generator().manual_seed(0))

    assert len(stretched(table)) == stretched_length(77) == 248
    torch.testing.assert_close(stretched(table), long_clip_table(table))


def test_a_straight_line_stays_one_from_the_kept_positions_on() -> None:
    line = torch.arange(22.0)[:, None]

    assert stretched(line)[:, 0].tolist() == [*range(20), 20, 20.25, 20.5, 20.75, 21, 21.25, 21.5, 21.75]


def test_the_two_tables_of_a_long_clip_checkpoint_become_one() -> None:
    state = {"positional_embedding": torch.zeros(248, 2), "positional_embedding_res": torch.ones(248, 2)}

    joined, notes = with_context(state, 248)

    assert list(joined) == ["positional_embedding"] and notes == ()
    assert joined["positional_embedding"][:, 0].tolist() == [0] * 20 + [1] * 228


def test_another_number_of_positions_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"context=100 does not fit a checkpoint with 77 text positions: expected 77, or 248"
    ):
        with_context({"positional_embedding": torch.zeros(77, 2)}, 100)


def test_a_stretched_model_reads_what_an_ordinary_one_cuts(
    small_clip_folder: Path, small_models: ModuleType, tmp_path: Path
) -> None:
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


def test_a_table_too_short_to_be_stretched_says_only_what_it_has() -> None:
    with pytest.raises(UsageError, match=r"with 21 text positions: expected 21$"):
        stretched_to(torch.zeros(21, 2), 24)
    table, notes = stretched_to(torch.arange(22.0)[:, None], 28)
    assert len(table) == 28 and "from 22 to 28" in notes[0]


def test_the_context_that_a_model_has_changes_nothing(small_clip_folder: Path) -> None:
    plain = load_folder(str(small_clip_folder), LoadOptions())
    same = load_folder(str(small_clip_folder), LoadOptions(options={"context": "77"}))
    assert same.info == plain.info
    assert (same.encode_texts([*SHORT, *TOO_LONG]) == plain.encode_texts([*SHORT, *TOO_LONG])).all()


def save_bundled(folder: Path) -> Path:
    tokenizer = train_tokenizer(["a red dog", "a blue cat"], vocab_size=540, context_length=77)
    tower = Tower(width=16, layers=2, heads=2)
    config = ClipConfig(
        embed_dim=16, image_size=16, patch_size=8, vision=tower, text=tower, vocab_size=tokenizer.vocab_size
    )
    torch.manual_seed(0)
    folder.mkdir()
    save_model(folder, CLIP(config), tokenizer)
    return folder


def test_the_bundled_model_is_stretched_by_the_same_rule(tmp_path: Path) -> None:
    folder = save_bundled(tmp_path / "model")
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


def test_the_bundled_model_is_itself_at_its_own_context_and_refuses_others(tmp_path: Path) -> None:
    folder = str(save_bundled(tmp_path / "model"))
    plain = bundled.load(folder, LoadOptions(device="cpu"))
    same = bundled.load(folder, LoadOptions(device="cpu", options={"context": "77"}))
    assert same.info == plain.info
    assert (same.encode_texts(TOO_LONG) == plain.encode_texts(TOO_LONG)).all()
    with pytest.raises(UsageError, match=r"context=100 does not fit a checkpoint with 77 text positions"):
        bundled.load(folder, LoadOptions(device="cpu", options={"context": "100"}))
    with pytest.raises(UsageError, match="model option context=long: expected a whole number"):
        bundled.load(folder, LoadOptions(device="cpu", options={"context": "long"}))


def save_transformers(folder: Path, small_models: ModuleType) -> Path:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shape, **small_models.LETTERS, "pad_token_id": small_models.LETTERS["eos_token_id"]}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    model.save_pretrained(folder)
    small_models.letters_tokenizer(folder)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder


def test_a_transformers_model_is_stretched_by_the_same_rule(small_models: ModuleType, tmp_path: Path) -> None:
    folder = save_transformers(tmp_path / "model", small_models)
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
