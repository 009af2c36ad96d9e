"""Unit vectors of any number of items, memory-mapped when large."""

import numpy as np
from jaxtyping import Float32

from clipbench.metrics.similarity import unit
from clipbench.models.encoding.large_arrays import large_array
from clipbench.models.protocol import Embedder


def unit_vectors(vectors: Float32[np.ndarray, "n dim"], embedder: Embedder) -> Float32[np.ndarray, "n dim"]:
    """Return ``metrics.similarity.unit`` of vectors, made block by block in a ``large_arrays.large_array``.

    Args:
        embedder: the one that gave the vectors: a large array lies beside its store.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    return unit(vectors, out=large_array(vectors.shape, embedder.root))
