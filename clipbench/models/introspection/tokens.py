"""The habits of a tokenizer, from the tokens of a few texts: padding, the end of a text, and its cut."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from clipbench.errors import NoTokenCounts
from clipbench.models.protocol import Model, TokenCounts, Tokens

Tokenize = Callable[[Sequence[str]], Tokens]

IDS = ("input_ids", "text", "tokens")
"""Names of the ids among the inputs of a text tower, as libraries call them."""
SHORT = ("cat", "a dog", "the red sea", "one two three four")
LONG = " ".join(["one two three four five six seven eight"] * 40)
"""More tokens than the context length of any model except language models."""


def longer_than(context: int | None) -> str:
    """Return a text of more words than a context has tokens, each of which takes one token or more."""
    n_words = len(LONG.split())
    return LONG if context is None else " ".join([LONG] * (context // n_words + 1))


@dataclass(frozen=True, kw_only=True)
class TokenFacts:
    """Length, padding and end of a tokenizer's output for short and long texts."""

    name: str
    """Name of the ids among the tower's inputs."""
    width: int
    """Tokens that a text of any length is cut to."""
    is_padded_to_longest: bool
    """True if a short text has fewer tokens on its own than in a batch with a long one."""
    pad: int | None
    """Id behind a short text, or None if it has none, or if padding comes first."""
    end: int | None
    """Id at the end of each short text, or None if texts end with words, or the end cannot be distinguished from the
    padding.
    """
    keeps_end: bool | None
    """True where a text that is cut ends with the end-of-text token too, or None without ``end``."""


def token_facts(
    tokenize: Tokenize, count: Callable[[Sequence[str]], Iterable[int]] | None = None, *, context: int | None = None
) -> TokenFacts:
    """Return the length, padding and end of a tokenizer's output.

    Args:
        context: stated context length of the model. A longer text shows where texts are truncated.
        count: tokens of each text, including start and end, to distinguish the end from padding with the same id.

    Example:
        >>> def tokenize(texts):
        ...     rows = [[1, *(len(word) + 9 for word in text.split())][:7] + [2] for text in texts]
        ...     return {"text": np.array([row + [0] * (8 - len(row)) for row in rows])}
        >>> facts = token_facts(tokenize)
        >>> facts.pad, facts.end, facts.keeps_end, facts.is_padded_to_longest
        (0, 2, True, False)
    """
    name = ids_name(tokenize(SHORT[:1]))
    single_rows = [tokenize([text])[name][0] for text in SHORT]
    rows = tokenize([*SHORT, longer_than(context)])[name]
    pad = _padding_id(rows[0])
    if pad is None:
        pad = _padding_id(rows[1])
    counts = None if count is None else [int(n_tokens) for n_tokens in count(SHORT)]
    end = _end_id(single_rows, pad, counts)
    return TokenFacts(
        name=name,
        width=rows.shape[1],
        is_padded_to_longest=len(single_rows[0]) < rows.shape[1],
        pad=pad,
        end=end,
        keeps_end=None if end is None else bool(rows[-1, -1] == end),
    )


def tokenizer_facts(model: Model, tokenize: Tokenize) -> TokenFacts:
    """Return ``token_facts`` of a model's tokenizer, with the model's own token counts if it has some."""
    try:
        return token_facts(tokenize, model.count_tokens, context=model.info.context_length)
    except NoTokenCounts:
        return token_facts(tokenize, context=model.info.context_length)


def ids_name(tokens: Tokens) -> str:
    """Return the name of the ids among the inputs of a text tower."""
    return next((name for name in IDS if name in tokens), next(iter(tokens)))


def pad_tokens(tokens: Tokens, facts: TokenFacts, width: int) -> Tokens:
    """Return tokens with padding after each text up to a width, where masks are 0."""
    assert facts.pad is not None
    missing = width - tokens[facts.name].shape[1]
    if missing <= 0:
        return tokens
    padded = {}
    for name, values in tokens.items():
        fill = facts.pad if name == facts.name else 0
        padded[name] = np.pad(values, ((0, 0), (0, missing)), constant_values=fill)
    return padded


def trim_tokens(tokens: Tokens, facts: TokenFacts) -> Tokens:
    """Return tokens without the padding after the longest text."""
    width = int(token_lengths(tokens[facts.name], facts).max(initial=1))
    return {name: ids[:, :width] for name, ids in tokens.items()}


def restore_end(tokens: Tokens, facts: TokenFacts) -> Tokens:
    """Return tokens in which each truncated text ends with the end-of-text token."""
    assert facts.end is not None
    ids = np.array(tokens[facts.name])
    ids[~(ids == facts.end).any(axis=1), -1] = facts.end
    return {**tokens, facts.name: ids}


def token_lengths(ids: Int64[np.ndarray, "n_texts n_tokens"], facts: TokenFacts) -> TokenCounts:
    """Return the number of tokens of each text before its padding, with an end-of-text token of the padding's id."""
    # Read from the end of each text: the product stays 1 up to the last token that is no padding.
    is_padding = np.cumprod(np.flip(ids == facts.pad, axis=1), axis=1)
    n_padding = is_padding.sum(axis=1).astype(np.int64)
    own_end = 1 if facts.pad is not None and facts.pad == facts.end else 0
    return ids.shape[1] - np.maximum(n_padding - own_end, 0)


def _padding_id(row: Int64[np.ndarray, " n_tokens"]) -> int | None:
    """Return the id that a short text repeats at its end next to a long one, or None without padding."""
    is_padded = len(row) > 3 and row[-1] == row[-2] == row[-3]
    return int(row[-1]) if is_padded else None


def _end_id(rows: Sequence[np.ndarray], pad: int | None, counts: Sequence[int] | None) -> int | None:
    last = []
    for row, n_tokens in zip(rows, counts or [0] * len(rows), strict=True):
        content = np.flatnonzero(row != pad)
        n_content = int(content[-1]) + 1 if len(content) else 0
        if n_content < n_tokens <= len(row):
            n_content = n_tokens  # the end has the padding's id
        elif n_content == len(row) - 1:
            n_content = len(row)  # one such id, and no padding: a text alone, as long as it is
        last.append(int(row[n_content - 1]))
    return last[0] if len(set(last)) == 1 else None
