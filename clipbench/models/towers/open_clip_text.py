"""Text towers of open_clip, cut to the longest text of a batch where that is exact. Imported only with open_clip at hand."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch.func import functional_call

from clipbench.errors import NoTokenCounts
from clipbench.models.towers.text_tower import TextTower, Tokens, first_of

Tokenizer = Callable[[list[str]], torch.Tensor]


class _CausalTower(NamedTuple):
    """A tower in which no token attends to a later one, and whose vector is taken at the end of the text."""

    holder: Any
    """The module with the positions and the mask; they are read at each use, as moving the module replaces them."""
    prefix: str
    """Prefix of their names in the model."""
    pool: str
    end: int


def text_tower(model: Any, tokenizer: Tokenizer) -> TextTower:
    """Return the text tower of a model.

    Causal towers pooled at the end of the text get only as many tokens as the longest text of a batch has: tokens
    behind the end cannot reach the vector. The tower's own mask and pooling decide that, not its name. Other towers
    are not cut: CoCa, whose class token is put behind the padding, and towers of transformers.
    """
    causal = _causal_tower(model)
    if causal is None:
        return TextTower(
            tokenize=lambda texts: {"text": tokenizer(texts)},
            encode=lambda tokens: model.encode_text(tokens["text"], normalize=False),
            lengths=None,
            count=lambda texts: count_tokens(tokenizer, texts),
        )
    text_model = _TextOnly(model)
    return TextTower(
        tokenize=lambda texts: {"text": tokenizer(texts)},
        encode=lambda tokens: _encode_cut(text_model, causal, tokens["text"]),
        lengths=lambda tokens: _lengths(causal, tokens),
        count=lambda texts: count_tokens(tokenizer, texts),
    )


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
    """Return the tokens of each text by one of open_clip's tokenizers, before it cuts.

    Raises:
        NoTokenCounts: an unknown kind of tokenizer.
    """
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None and hasattr(tokenizer, "encode"):
        return np.array([len(tokenizer.encode(text)) + 2 for text in texts], np.int64)
    if inner is None or not hasattr(tokenizer, "clean_fn"):
        raise NoTokenCounts(f"it is not known how open_clip's {type(tokenizer).__name__} counts the tokens of a text")
    if not texts:
        return np.empty(0, np.int64)
    is_clips = tokenizer.tokenizer_mode == "clips"  # CLIPS: open_clip adds start, end and a class token itself
    cleaned = [tokenizer.clean_fn(text) for text in texts]
    ids = inner(cleaned, add_special_tokens=not is_clips, padding=False, truncation=False, verbose=False).input_ids
    return np.array([len(text_ids) + 3 * is_clips for text_ids in ids], np.int64)


class _TextOnly(torch.nn.Module):
    """A model whose ``forward`` is its ``encode_text``: ``functional_call`` can call nothing else."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return self.model.encode_text(text, normalize=False)


def _encode_cut(
    text_model: _TextOnly, causal: _CausalTower, text: Int64[torch.Tensor, "batch n_tokens"]
) -> torch.Tensor:
    """Run the library's own text tower with positions and mask cut to the tokens: open_clip 3.3 accepts full length only."""
    n = text.shape[1]
    cut = {
        f"{causal.prefix}positional_embedding": causal.holder.positional_embedding[:n],
        f"{causal.prefix}attn_mask": causal.holder.attn_mask[:n, :n],
    }
    return functional_call(text_model, cut, (text,), tie_weights=False)


def _lengths(causal: _CausalTower, tokens: Tokens) -> Int64[torch.Tensor, " n_texts"]:
    """Return the position of the end of each text, as the tower itself finds it, plus one."""
    text = tokens["text"]
    return (text.argmax(dim=-1) if causal.pool == "argmax" else first_of(causal.end, text)) + 1


def _causal_tower(model: Any) -> _CausalTower | None:
    if type(model) is CLIP:
        tower = _CausalTower(model, "model.", model.text_pool_type, model.text_eos_id)
    elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer and model.text.cls_emb is None:
        tower = _CausalTower(model.text, "model.text.", model.text.pool_type, model.text.eos_id)
    else:
        return None
    return tower if tower.pool in ("argmax", "eos") and _is_causal(tower.holder.attn_mask) else None


def _is_causal(mask: torch.Tensor | None) -> bool:
    if mask is None:
        return False
    hidden = torch.triu(torch.ones_like(mask, dtype=torch.bool), diagonal=1)
    return bool((mask[hidden] == -torch.inf).all() and (mask[~hidden] == 0).all())
