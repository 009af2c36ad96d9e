"""Stretched text towers: Long-CLIP's table, checked by hand and against its own loop."""

import json
from pathlib import Path
from types import ModuleType

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipbench.errors import UsageError
from clipbench.model import LoadOptions
from clipbench.models._context import stretched, stretched_length, with_context
from clipbench.models.open_clip import load_folder


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
