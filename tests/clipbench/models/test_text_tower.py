"""Batches of texts: cut to the longest, in any number, and each vector in its place."""

from collections.abc import Callable

import numpy as np
import torch

from clipbench.models.towers.text_tower import TextTower, Tokens
from clipbench.testing import count_words

LENGTH = 12


def tokenize(texts: list[str]) -> Tokens:
    """Give each letter its number, and nothing else, in twelve places."""
    return {"ids": torch.tensor([[*map(ord, text), *[0] * (LENGTH - len(text))] for text in texts])}


def used(tokens: Tokens) -> torch.Tensor:
    return (tokens["ids"] > 0).sum(dim=1)


def run(
    texts: list[str], batch_size: int, lengths: Callable[[Tokens], torch.Tensor] | None
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the sums of the letters as the tower saw them, in order of the texts, and the shapes it was given."""
    shapes: list[tuple[int, int]] = []

    def encode(tokens: Tokens) -> torch.Tensor:
        shapes.append((tokens["ids"].shape[0], tokens["ids"].shape[1]))
        return tokens["ids"].sum(dim=1, keepdim=True)

    tower = TextTower(tokenize=tokenize, encode=encode, lengths=lengths, count=count_words)
    out = np.zeros(len(texts), np.int64)
    for rows, tokens in tower.batches(texts, batch_size=batch_size):
        out[rows.numpy()] = tower.encode(tokens)[:, 0].numpy()
    return out, shapes


def test_batches_are_sorted_by_length_and_cut_to_the_longest_of_each() -> None:
    _, shapes = run(["aaaaaaaa", "b", "cccc", "dd", "eeeeeeeeeeee", "fff"], 2, used)

    assert shapes == [(2, 2), (2, 4), (2, 12)]


def test_vectors_come_in_the_order_of_the_texts_over_several_windows() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(chr(c) for c in rng.integers(97, 123, n)) for n in rng.integers(1, LENGTH + 1, 500)]
    expected = [sum(map(ord, text)) for text in texts]

    for lengths in (used, None):
        assert run(texts, 3, lengths)[0].tolist() == expected
