"""Captions cut to a number of tokens: cut here, for a model to encode, or held by the data with their vectors."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from clipbench.data.caption_part import CaptionBeginnings
from clipbench.data.dataset import Dataset
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import listed
from clipbench_tasks.tables import Rows

Count = Callable[[Sequence[str]], Rows]
"""Returns the tokens of each text before any is cut off, start and end among them."""


def prefixes_of(dataset: Dataset, embedder: Embedder) -> "Prefixes | HeldPrefixes":
    """Return the captions of a data set, which can be cut to any length, or to the lengths that the data hold.

    Raises:
        NoTokenCounts: the data hold no beginnings, and the model does not count tokens.
    """
    if dataset.caption_beginnings is not None:
        return HeldPrefixes(dataset.caption_beginnings)
    return Prefixes(list(dataset.captions or ()), embedder.count_tokens)


class HeldPrefixes:
    """Beginnings of captions that vectors are held of. A caption that is shorter than a length is whole.

    Example:
        >>> held = HeldPrefixes([CaptionBeginnings(("a", "b"), (5, 9)), CaptionBeginnings(("c",), (4,))])
        >>> held.n_tokens.tolist(), held.texts, held.truncate(5), held.lengths((5, 7), end=9)
        ([9, 4], ['b', 'c'], ['a', 'c'], [5])
    """

    def __init__(self, beginnings: Sequence[CaptionBeginnings]) -> None:
        self._beginnings = beginnings
        self.texts = [held.texts[-1] for held in beginnings]
        self.n_tokens = np.array([held.tokens[-1] for held in beginnings], np.int64)
        """Tokens of each whole text."""
        self._text_at = [dict(zip(held.tokens, held.texts, strict=True)) for held in beginnings]

    def truncate(self, n_tokens: int) -> list[str]:
        """Return each text at a length that all have, or whole if it is no longer."""
        return [texts.get(n_tokens, caption) for texts, caption in zip(self._text_at, self.texts, strict=True)]

    def lengths(self, tokens: Sequence[int], end: int) -> list[int]:
        """Return the lengths below the end that every caption has, whatever lengths are asked for."""
        candidates: set[int] = set()
        for beginnings in self._beginnings:
            candidates.update(n for n in beginnings.tokens if n < end)
        return [n for n in sorted(candidates) if self._have_all(n)]

    def _have_all(self, n_tokens: int) -> bool:
        """Return whether every caption has a beginning of that length, or is not longer."""
        for texts, length in zip(self._text_at, self.n_tokens, strict=True):
            if n_tokens not in texts and n_tokens < length:
                return False
        return True

    def undefined_length(self, lengths: Sequence[int]) -> str:
        """Return the reason why there is no effective length, empty if the captions share a length below the end."""
        if len(lengths) > 1:
            return ""
        held = sorted(set().union(*(beginnings.tokens for beginnings in self._beginnings)))
        some = listed([str(n) for n in held[:4]]) + (", ..." if len(held) > 4 else "")
        return f"no length is held of every caption: items have {some} tokens, expected some lengths in all of them"


class Prefixes:
    """Texts that can be cut at the end of any word.

    The number of words that fit is guessed from the tokens of each distinct word, and settled by counting the prefix
    itself and the one that is a word longer: a tokenizer need not treat words one by one. A longer prefix is assumed
    to have no fewer tokens.

    Example:
        >>> texts = Prefixes(["a red  cube", "it"], lambda texts: np.array([len(text.split()) + 2 for text in texts]))
        >>> texts.n_tokens.tolist(), texts.truncate(4), texts.truncate(2)
        ([5, 3], ['a red', 'it'], ['', ''])
    """

    def __init__(self, texts: Sequence[str], count: Count) -> None:
        self.texts = list(texts)
        self.n_tokens = count(self.texts)
        """Tokens of each whole text."""
        self._count = count
        self._ends = [[match.end() for match in re.finditer(r"\S+", text)] for text in self.texts]
        self._n_words = np.array([len(ends) for ends in self._ends], np.int64)
        words = [text.split() for text in self.texts]
        distinct = sorted(set().union(*words))
        start_and_end = int(count([""])[0])
        n_of_distinct = count(distinct) - start_and_end
        tokens_of_word = dict(zip(distinct, n_of_distinct.tolist(), strict=True))
        self._guesses: list[Rows] = []
        """Tokens of the first word of each text, the first two, ..., with words counted one by one."""
        for text_words in words:
            n_of_words = [tokens_of_word[word] for word in text_words]
            self._guesses.append(start_and_end + np.cumsum(n_of_words, dtype=np.int64))

    def lengths(self, tokens: Sequence[int], end: int) -> list[int]:
        """Return the lengths that are asked for, below the end."""
        return sorted({n for n in tokens if n < end})

    def undefined_length(self, lengths: Sequence[int]) -> str:
        """Return an empty reason: captions can be cut to any length."""
        return ""

    def truncate(self, n_tokens: int) -> list[str]:
        """Return the texts, cut to their longest beginning of whole words that takes at most ``n_tokens``.

        It is the empty text if the first word is already too long.
        """
        guessed = [int(np.searchsorted(guess, n_tokens, side="right")) for guess in self._guesses]
        n_kept = np.array(guessed, np.int64)
        fits = self.n_tokens <= n_tokens
        cut = np.flatnonzero(~fits)
        too_long = cut
        while len(too_long):
            too_long = too_long[n_kept[too_long] > 0]
            too_long = too_long[self._prefix_tokens(too_long, n_kept[too_long]) > n_tokens]
            n_kept[too_long] -= 1
        too_short = cut
        while len(too_short):
            too_short = too_short[n_kept[too_short] < self._n_words[too_short]]
            too_short = too_short[self._prefix_tokens(too_short, n_kept[too_short] + 1) <= n_tokens]
            n_kept[too_short] += 1
        return [text if fits[row] else self._prefix(row, int(n_kept[row])) for row, text in enumerate(self.texts)]

    def _prefix_tokens(self, rows: Rows, n_words: Rows) -> Rows:
        prefixes = [self._prefix(int(row), int(n)) for row, n in zip(rows, n_words, strict=True)]
        return self._count(prefixes)

    def _prefix(self, row: int, n_words: int) -> str:
        return self.texts[row][: self._ends[row][n_words - 1]] if n_words else ""
