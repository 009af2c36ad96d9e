"""The geometry of pairs: every measure that costs O(n d), with the influence of each pair, beside reading and
multiplying.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipbench.metrics.geometry import pair_geometry
from clipbench.metrics.similarity import row_blocks, unit
from rows import Row, count, in_turns, peak_mb, times

DIM = 512
PAIRS = {"small": 4_000, "default": 100_000, "full": 1_000_000}


def write_vectors(path: Path, n: int, seed: int) -> None:
    """Write random unit vectors around one direction, a block at a time."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, DIM))
    rng = np.random.default_rng(seed)
    for rows in row_blocks(out):
        out[rows] = unit(rng.standard_normal((rows.stop - rows.start, DIM), np.float32) + np.float32(0.5))
    out.flush()


def reading(paths: list[Path]) -> Callable[[], None]:
    """Return the work of reading both modalities and multiplying each by a 512 x 512 matrix."""
    matrix = np.random.default_rng(2).standard_normal((DIM, DIM), np.float32)
    product = np.empty((1 << 14, DIM), np.float32)

    def work() -> None:
        for path in paths:
            side = np.load(path)
            for first in range(0, len(side), len(product)):
                block = side[first : first + len(product)]
                np.matmul(block, matrix, out=product[: len(block)])

    return work


def measure(size: str) -> Row:
    n = PAIRS[size]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.npy" for name in ("images", "texts")]
        for seed, path in enumerate(paths):
            write_vectors(path, n, seed)
        images, texts = (np.load(path) for path in paths)
        works: dict[str, Callable[[], object]] = {
            "ours": lambda: pair_geometry(images, texts),
            "reading": reading(paths),
        }
        timed = in_turns(works, rounds=3)
        peak = peak_mb(works["ours"])
    return Row(
        what=f"geometry of {n:,} pairs of {DIM} dimensions, with influences",
        ours=timed["ours"],
        limit=timed["reading"],
        limit_is=f"reading the vectors once and multiplying both modalities by a {DIM} x {DIM} matrix",
        reaches=[
            times("reading and multiplying", timed["ours"], timed["reading"], at_most=2.0),
            count("MB above the vectors", peak, at_most=300),
        ],
    )
