"""Small pictures of samples, so that a report can show them years later without the data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clipbench.data import Dataset
from clipbench.errors import BadImage

SIDE = 160
"""Longest side in pixels."""


def write_thumbnails(
    dataset: Dataset, digests: Sequence[str], samples: Mapping[str, np.ndarray], folder: Path, budget: int
) -> None:
    """Write ``<content hash>.webp`` for at most ``budget`` pictures: all of a small set, the worst failures of a large.

    Args:
        samples: the table of an evaluation; without ``image`` and ``margin`` columns the first pictures are taken.
        budget: pictures; 0 for none.
    """
    for row in _chosen(len(dataset), samples, budget):
        path = folder / f"{digests[row]}.webp"
        if path.exists():
            continue
        try:
            picture = dataset.images[row].open().convert("RGB")
        except BadImage:  # it was readable when its vector was stored, and no number depends on its small copy
            continue
        folder.mkdir(parents=True, exist_ok=True)
        picture.thumbnail((SIDE, SIDE))
        picture.save(path, quality=80, method=4)


def _chosen(n_images: int, samples: Mapping[str, np.ndarray], budget: int) -> Int64[np.ndarray, " n_chosen"]:
    if n_images <= budget or "image" not in samples or "margin" not in samples:
        return np.arange(min(n_images, budget))
    order = np.argsort(samples["margin"], kind="stable")
    distinct = dict.fromkeys(samples["image"][order].tolist())
    return np.array(list(distinct)[:budget], np.int64)
