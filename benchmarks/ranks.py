"""Time retrieval ranks: `python benchmarks/ranks.py [N_IMAGES]`.

Random unit vectors of 512 dimensions, 5,000 images (by default) with five texts each, both directions: the streaming,
tie-aware ranks of clipbench against the whole similarity matrix, sorted. Prints times, memory and the ratio.
"""

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from clipbench.metrics import cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit

TEXTS_PER_IMAGE, DIM = 5, 512


def streaming(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> list[float]:
    """Return recall@1 of image queries and of text queries."""
    return [float(recall_at_k(ranks, 1).mean()) for ranks in cross_ranks(images, texts, owner)]


def whole_matrix(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> list[float]:
    """Return the same by sorting the full matrix, which knows no ties."""
    scores = images @ texts.T
    first_text = np.argsort(-scores, axis=1)[:, 0]
    first_image = np.argsort(-scores.T, axis=1)[:, 0]
    return [float((owner[first_text] == np.arange(len(images))).mean()), float((first_image == owner).mean())]


def timed(work: Callable[[], list[float]]) -> tuple[list[float], float, float]:
    """Return what the work gives, its seconds, and the peak of memory so far in MB."""
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    return result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    n_images = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(n_images), TEXTS_PER_IMAGE)
    images = unit(rng.standard_normal((n_images, DIM), np.float32))
    texts = unit(images[owner] + 0.06 * rng.standard_normal((len(owner), DIM), np.float32))
    print(f"{n_images:,} images x {len(owner):,} texts, both directions")
    ours, fast, peak = timed(lambda: streaming(images, texts, owner))
    print(f"streaming ranks  {fast:6.1f} s, peak {peak:6,.0f} MB, recall@1 {ours}", flush=True)
    theirs, slow, peak = timed(lambda: whole_matrix(images, texts, owner))
    print(f"sorted matrix    {slow:6.1f} s, peak {peak:6,.0f} MB, recall@1 {theirs}")
    print(f"{slow / fast:.1f} times faster")


if __name__ == "__main__":
    main()
