"""An embedder that takes images from one embedder and texts from another, so that only one side is encoded again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE
from clipbench.models.protocol import Embedder, Role, Vectors


class MixedEmbedder(Embedder):
    """Images from one embedder and texts from another, so that nothing is encoded twice."""

    def __init__(self, images_from: Embedder, texts_from: Embedder) -> None:
        self.info = texts_from.info
        self.dataset = images_from.dataset
        self._images_from, self._texts_from = images_from, texts_from

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        return (self._images_from if modality == IMAGE else self._texts_from).encode(modality, items, role)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        return self._texts_from.count_tokens(texts)

    def digests(self, images: Sequence[ImageRef]) -> list[str]:
        return self._images_from.digests(images)

    def readable(self, dataset: Dataset, role: Role = "query") -> Dataset:
        return self._images_from.readable(dataset, role)
