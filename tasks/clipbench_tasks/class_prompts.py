"""Class vectors from prompts, for zero-shot classification and for attacks by written words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder


def prompt_vectors(texts: Sequence[Sequence[str]], embedder: Embedder) -> list[Float32[np.ndarray, "n_prompts dim"]]:
    """Return the raw vectors of each class's prompts, encoded in one call."""
    vectors = embedder.texts([text for prompts in texts for text in prompts])
    return np.split(vectors, np.cumsum([len(prompts) for prompts in texts])[:-1])


def class_vectors(
    by_prompt: Sequence[Float32[np.ndarray, "_ dim"]], *, of_raw: bool = False
) -> Float32[np.ndarray, "n_classes dim"]:
    """Return each class's unit vector: the mean of its prompts' unit vectors, at unit length again.

    Source: Radford et al. 2021, and the notebook that came with it.

    Args:
        by_prompt: raw vectors of each class's prompts.
        of_raw: take the mean of the raw vectors, in which longer ones weigh more: SCAM's protocol (Westerhoff et al.
            2025). With one prompt a class there is no difference.

    Example:
        >>> prompts = [np.array([[9, 0], [0, 1]], np.float32)]
        >>> class_vectors(prompts).round(3), class_vectors(prompts, of_raw=True).round(3)
        (array([[0.707, 0.707]], dtype=float32), array([[0.994, 0.11 ]], dtype=float32))
    """
    parts = by_prompt if of_raw else [unit(rows) for rows in by_prompt]
    return unit(np.stack([rows.mean(axis=0, dtype=np.float64).astype(np.float32) for rows in parts]))
