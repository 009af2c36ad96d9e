"""Seeded random generators by name: each draw has its own, so that a new draw changes no other."""

import hashlib
from _random import Random  # ``random.Random`` seeds the generator twice, which is most of a stream's cost
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends only on the seed and the names: a new metric changes no other's interval.

    Example:
        >>> float(generator(0, "retrieval", "recall@1").random()) == float(
        ...     generator(0, "retrieval", "recall@1").random()
        ... )
        True
    """
    # Not hash(): Python salts it in each process.
    digest = hashlib.blake2b(repr((seed, names)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))


T = TypeVar("T")


class Sampler:
    """A stream of random choices that depends only on its key.

    Only ``random()`` of Python's generator is used: it is the one method whose sequence Python promises to keep.

    Example:
        >>> Sampler("demo", 0).one_of("abcdef"), Sampler("demo", 0).one_of("abcdef")
        ('e', 'e')
    """

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        self._next = Random(int.from_bytes(digest)).random

    def bernoulli(self, probability: float) -> bool:
        """Return True with a probability."""
        return self._next() < probability

    def between(self, low: float, high: float) -> float:
        """Return a number from low to high, with four decimals."""
        return round(low + (high - low) * self._next(), 4)

    def below(self, bound: int) -> int:
        """Return an integer from 0 to bound - 1."""
        return int(self._next() * bound)

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of the options, all equally likely."""
        return options[self.below(len(options))]

    def some_of(self, options: Sequence[T], n: int) -> list[T]:
        """Return n distinct options in random order."""
        pool = list(options)
        return [pool.pop(self.below(len(pool))) for _ in range(n)]

    def weighted(self, options: Mapping[T, float]) -> T:
        """Return one of the keys, with its value as probability. The values sum to 1."""
        left = self._next()
        for option, share in options.items():
            left -= share
            if left < 0:
                return option
        return next(reversed(list(options)))
