"""Unit vectors of as many images or texts as there are, in memory or beside it."""

import numpy as np
from jaxtyping import Float32

from clipbench.metrics.similarity import unit
from clipbench.models.large_arrays import large_array
from clipbench.models.protocol import Embedder, StoringEmbedder
from clipbench.models.store import default_root


def unit_vectors(vectors: Float32[np.ndarray, "n dim"], embedder: Embedder) -> Float32[np.ndarray, "n dim"]:
    """Return ``metrics.similarity.unit`` of vectors, made block by block in a ``large_arrays.large_array``.

    Args:
        embedder: the one that gave the vectors: a large array lies beside its store.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    folder = embedder.root if isinstance(embedder, StoringEmbedder) else default_root()
    return unit(vectors, out=large_array(vectors.shape, folder))
