"""The beginnings of texts, in whole words, that fit into a number of tokens."""

import re
from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
from jaxtyping import Int64

Count = Callable[[Sequence[str]], Int64[np.ndarray, " n_texts"]]
"""Returns the tokens of each text before any is cut off, start and end among them."""


class Prefixes:
    """Texts that can be cut at the end of any word.

    The number of words that fit is guessed from the tokens of each distinct word alone, and settled by counting the
    prefix itself and the one that is a word longer: a tokenizer need not treat words one by one. A longer prefix is
    assumed to have no fewer tokens.

    Example:
        >>> texts = Prefixes(["a red  cube", "it"], lambda texts: np.array([len(text.split()) + 2 for text in texts]))
        >>> texts.n_tokens.tolist(), texts.fitting(4), texts.fitting(2)
        ([5, 3], ['a red', 'it'], ['', ''])
    """

    def __init__(self, texts: Sequence[str], count: Count) -> None:
        self.texts = list(texts)
        self.n_tokens = count(self.texts)
        """Tokens of each whole text."""
        self._count = count
        self._ends = [[match.end() for match in re.finditer(r"\S+", text)] for text in self.texts]
        self._n_words = np.array([len(ends) for ends in self._ends], np.int64)
        self._guesses = self._guessed()

    def fitting(self, n_tokens: int) -> list[str]:
        """Return each text, or its longest beginning of whole words that takes at most ``n_tokens``.

        It is the empty text if the first word is already too long.
        """
        n_kept = np.array([int(np.searchsorted(guess, n_tokens, side="right")) for guess in self._guesses], np.int64)
        whole = self.n_tokens <= n_tokens
        over = rows = np.flatnonzero(~whole)
        while len(over := over[(n_kept[over] > 0) & (self._taken(over, n_kept[over]) > n_tokens)]):
            n_kept[over] -= 1
        while len(rows := rows[n_kept[rows] < self._n_words[rows]]):
            rows = rows[self._taken(rows, n_kept[rows] + 1) <= n_tokens]
            n_kept[rows] += 1
        return [text if whole[row] else self._cut(row, int(n_kept[row])) for row, text in enumerate(self.texts)]

    def _taken(self, rows: Int64[np.ndarray, " n"], n_words: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        return self._count([self._cut(int(row), int(n)) for row, n in zip(rows, n_words, strict=True)])

    def _cut(self, row: int, n_words: int) -> str:
        return self.texts[row][: self._ends[row][n_words - 1]] if n_words else ""

    def _guessed(self) -> list[Int64[np.ndarray, " _"]]:
        """Return the tokens of the first word of each text, the first two, ..., with words counted one by one."""
        words = [text.split() for text in self.texts]
        distinct = sorted({word for words_of_one in words for word in words_of_one})
        start_and_end = int(self._count([""])[0])
        alone = dict(zip(distinct, (self._count(distinct) - start_and_end).tolist(), strict=True))
        return [start_and_end + np.cumsum([alone[word] for word in text_words], dtype=np.int64) for text_words in words]


def shared_beginning(texts: Sequence[str]) -> str:
    """Return the words with which all texts begin, up to the first word in which any two differ.

    Example:
        >>> shared_beginning(["It is old. A red cube.", "It is old. A red cone."])
        'It is old. A red'
    """
    at_places = zip(*(text.split() for text in texts), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, at_places))
