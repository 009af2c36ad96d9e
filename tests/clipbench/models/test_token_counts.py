"""Tokens of texts, counted before any is cut off: each adapter against its library."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import transformers

from clipbench.errors import NoTokenCounts
from clipbench.models.adapters import python
from clipbench.models.adapters.open_clip import count_tokens as count_in_open_clip
from clipbench.models.adapters.open_clip import load_folder
from clipbench.models.adapters.transformers import load as load_transformers
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Model, Role, Vectors
from clipbench.testing import INFO, ToyModel
from tests.clipbench.models.test_transformers import save_siglip

TEXTS = ["a photo of a cat", "", "It's a caf&eacute;, isn't it?", "dog " * 200]


def test_open_clip_counts_start_and_end_and_does_not_cut(small_clip_folder: Path) -> None:
    model = load_folder(str(small_clip_folder), LoadOptions())
    assert model.count_tokens(TEXTS).tolist() == [7, 2, count_of_a_long_window(TEXTS[2]), 202]
    assert model.count_tokens([]).tolist() == []


def count_of_a_long_window(text: str) -> int:
    """Return how many places of a window of 1,000 tokens a text fills: padding is 0."""
    return int((open_clip.get_tokenizer("ViT-B-32", context_length=1000)([text]) != 0).sum())


def test_a_siglip_tokenizer_counts_its_end_and_what_it_cleans_away_is_no_token(small_siglip_folder: Path) -> None:
    model = load_folder(str(small_siglip_folder), LoadOptions())
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small_siglip_folder}", context_length=1000)
    padded = tokenizer([*TEXTS[:1], *TEXTS[2:]])
    expected = (padded != 1).sum(dim=1) + 1  # the end is the padding too
    assert model.count_tokens([*TEXTS[:1], *TEXTS[2:]]).tolist() == expected.tolist()
    assert model.count_tokens(["a dog!!!"]).tolist() == model.count_tokens(["a dog"]).tolist()
    assert model.count_tokens([]).tolist() == []


def test_a_tokenizer_of_unknown_kind_is_not_guessed_at() -> None:
    with pytest.raises(NoTokenCounts, match="tokens of open_clip's SimpleNamespace cannot be counted"):
        count_in_open_clip(SimpleNamespace(tokenizer=object()), ["a"])


def test_transformers_counts_as_its_tokenizer_does(tmp_path: Path) -> None:
    model = load_transformers(str(save_siglip(tmp_path)), LoadOptions())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert model.count_tokens(TEXTS).tolist() == [len(tokenizer(text, verbose=False).input_ids) for text in TEXTS]
    assert model.count_tokens(["dog " * 200])[0] > model.info.context_length == 16


class Counting:
    def __init__(self, counts: object) -> None:
        self.counts = counts

    def encode_images(self, images: Sequence[object]) -> np.ndarray:
        return np.ones((len(images), 2), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), np.float32)

    def count_tokens(self, texts: Sequence[str]) -> object:
        if isinstance(self.counts, Exception):
            raise self.counts
        return self.counts if self.counts is not None else [len(text) for text in texts]


def python_model(encoders: object) -> python.PythonModel:
    info = replace(INFO, id="python:mine:load", embed_dim=2)
    return python.PythonModel(info=info, encoders=encoders, batch_size=4)


def test_an_object_of_the_users_counts_where_it_has_the_method() -> None:
    model = python_model(Counting(None))
    assert model.count_tokens(["abc", ""]).tolist() == [3, 0]
    assert model.count_tokens([]).tolist() == []


class Silent(Model):
    """A stranger's model, as the protocol has it and no more."""

    info = INFO

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return np.ones((len(inputs), self.info.embed_dim), np.float32)


def test_a_strangers_model_need_not_count(tmp_path: Path) -> None:
    with pytest.raises(NoTokenCounts, match="model 'toy' does not say how many tokens a text takes"):
        Silent().count_tokens(["a"])
    with pytest.raises(NoTokenCounts):
        StoreEmbedder(Silent(), tmp_path).count_tokens(["a"])
    assert StoreEmbedder(ToyModel(), tmp_path).count_tokens(["a red cube"]).tolist() == [5]
