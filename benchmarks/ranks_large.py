"""Recall both ways for so many images and texts that no matrix of all pairs can be held: memory, and how time grows."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ranks import DIM, recalls, vectors
from rows import Reach, Rounds, Row, count, in_turns, peak_mb, ratio

SIZES = {"small": (400, 2_000), "default": (2_500, 10_000), "full": (10_000, 100_000)}
"""Images of the smaller and of the larger set; each has five texts."""


def works(n_images: int) -> dict[str, Callable[[], object]]:
    """Return the ranks of a set, and the product of its vectors, in blocks that are not kept."""
    images, texts, owner = vectors(n_images)

    def product() -> None:
        block = np.empty((256, len(texts)), np.float32)
        for start in range(0, len(images), len(block)):
            rows = images[start : start + len(block)]
            np.matmul(rows, texts.T, out=block[: len(rows)])

    return {"ours": partial(recalls, images, texts, owner), "product": product}


def measure(size: str) -> Row:
    few, many = SIZES[size]
    small = in_turns(works(few), rounds=3)
    large_works = works(many)
    large = in_turns(large_works, rounds=1 if size == "full" else 3, warm_up=size != "full")
    of_small = ratio(small["ours"], small["product"]).median
    growth = [each / of_small for each in ratio(large["ours"], large["product"]).values]
    return Row(
        what=f"recall both ways, {many:,} x {5 * many:,} x {DIM}",
        ours=large["ours"],
        limit=large["product"],
        limit_is="the product in numpy, in blocks of 256 images",
        reaches=[
            Reach(
                what=f"times the ratio to the product of {few:,} x {5 * few:,}",
                found=Rounds(values=growth, unit="x"),
                at_most=1.2,
                is_judged=size != "small",
            ),
            count("MB above the vectors", peak_mb(large_works["ours"]), at_most=1_000),
        ],
    )
