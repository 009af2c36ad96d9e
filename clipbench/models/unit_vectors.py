"""Unit vectors of as many images or texts as there are, in memory or beside it."""

import numpy as np
from jaxtyping import Float32

from clipbench.metrics.similarity import unit
from clipbench.models.large_arrays import large_array
from clipbench.models.store import default_root


def unit_vectors(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Return ``metrics.similarity.unit`` of vectors, made block by block in a ``large_arrays.large_array`` beside the store.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    return unit(vectors, out=large_array(vectors.shape, default_root()))
