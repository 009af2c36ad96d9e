"""Seeded random generators by name: each draw has its own, so that a new draw changes no other."""

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends only on the seed and the names: a new metric changes no other's interval.

    Example:
        >>> float(generator(0, "retrieval", "recall@1").random()) == float(generator(0, "retrieval", "recall@1").random())
        True
    """
    # Not hash(): Python salts it anew in each process.
    digest = hashlib.blake2b(repr((seed, names)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))
