"""Time the geometry of pairs: `python benchmarks/geometry.py [N_PAIRS]`.

Every measure that costs O(n d), with the influence of each pair, on a million pairs (by default) of 512 dimensions,
against reading the vectors once and multiplying each modality by one 512 x 512 matrix. Prints both times, their ratio,
and the peak of memory beside the vectors. The vectors are made here, and stand in files of a temporary folder.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from clipbench.metrics import Estimate, pair_geometry
from clipbench.metrics.similarity import row_blocks, unit

DIM = 512


def write_vectors(path: Path, n: int, seed: int) -> None:
    """Write random unit vectors around one direction, a block at a time."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, DIM))
    rng = np.random.default_rng(seed)
    for rows in row_blocks(out):
        out[rows] = unit(rng.standard_normal((rows.stop - rows.start, DIM), np.float32) + np.float32(0.5))
    out.flush()


def read_and_multiply(paths: list[Path], matrix: np.ndarray) -> tuple[list[np.ndarray], float, float]:
    """Return the vectors of both modalities, and the seconds that reading and multiplying took."""
    start = time.perf_counter()
    sides = [np.load(path) for path in paths]
    read = time.perf_counter()
    product = np.empty((1 << 14, DIM), np.float32)
    for side in sides:
        for first in range(0, len(side), len(product)):
            block = side[first : first + len(product)]
            np.matmul(block, matrix, out=product[: len(block)])
    return sides, read - start, time.perf_counter() - read


def peak_gb() -> float:
    """Return the peak of memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.npy" for name in ("images", "texts")]
        for seed, path in enumerate(paths):
            write_vectors(path, n, seed)
        matrix = np.random.default_rng(2).standard_normal((DIM, DIM), np.float32)
        (images, texts), read, multiplied = read_and_multiply(paths, matrix)
    print(f"{n:,} pairs of {DIM} dimensions, float32: {images.nbytes / 1e9:.2f} GB a modality")
    print(f"read once {read:.1f} s, multiply by a {DIM} x {DIM} matrix {multiplied:.1f} s", flush=True)
    before, start = peak_gb(), time.perf_counter()
    found = pair_geometry(images, texts)
    seconds = time.perf_counter() - start
    held = sum((each.influence if isinstance(each, Estimate) else each).nbytes for each in found)
    print(f"all measures with their influences {seconds:.1f} s, gap {found.modality_gap.value:.6f}")
    print(f"{seconds / (read + multiplied):.2f} times reading and multiplying (at most 2)")
    print(f"peak beside the vectors {max(0.0, peak_gb() - before):.2f} GB, of which {held / 1e9:.2f} GB are results")
    start = time.perf_counter()
    images = unit(images)
    print(f"beside that, to bring one modality to unit length takes {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
