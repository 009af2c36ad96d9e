"""Row: a million vectors looked up in the store, in random order, beside reading its files whole.

The store is written in chunks of 4,096 vectors of 512 dimensions; then it is opened, asked which keys it lacks, and for
all of its vectors by keys in random order. The page cache is warm. The bare limit reads the same files into memory.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from clipbench.models.encoding.store import SUFFIX, Shelf
from rows import Row, count, in_turns, peak_mb, times

DIM, CHUNK = 512, 4096


def fill(root: Path, n: int) -> list[bytes]:
    """Write n vectors into a store, and return their keys in random order."""
    rng = np.random.default_rng(0)
    shelf = Shelf(root, "model", "images", DIM)
    keys: list[bytes] = []
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        some = rng.bytes(16 * size)
        keys += [some[at : at + 16] for at in range(0, len(some), 16)]
        shelf.put(keys[start:], rng.standard_normal((size, DIM), np.float32))
    rng.shuffle(keys)
    return keys


def look_up(root: Path, keys: list[bytes]) -> np.ndarray:
    """Open the store, and return the vectors of keys."""
    shelf = Shelf(root, "model", "images", DIM)
    assert not shelf.missing(keys)
    return shelf.get(keys)


def read_whole(root: Path) -> np.ndarray:
    """Read the files of the store into one array."""
    files = sorted(root.rglob(f"*{SUFFIX}"))
    whole = np.empty(sum(file.stat().st_size for file in files), np.uint8)
    content = memoryview(whole)  # type: ignore[arg-type]
    at = 0
    for path in files:
        with open(path, "rb", buffering=0) as file:
            at += file.readinto(content[at : at + path.stat().st_size])
    return whole


def measure(size: str) -> Row:
    n = {"small": 20_000, "default": 200_000, "full": 1_000_000}[size]
    root = Path(tempfile.mkdtemp(prefix="store-", dir="."))
    try:
        keys = fill(root, n)
        timed = in_turns({"ours": lambda: look_up(root, keys), "read": lambda: read_whole(root)}, rounds=3)
        peak = peak_mb(lambda: look_up(root, keys)) - 4 * DIM * n / 1e6
    finally:
        shutil.rmtree(root)
    return Row(
        what=f"open the store and look up {n:,} x {DIM} in random order",
        ours=timed["ours"],
        limit=timed["read"],
        limit_is="the same files read into one new array",
        reaches=[
            times("reading the files whole", timed["ours"], timed["read"], at_most=2 if size != "small" else 4),
            count("MB above the vectors", peak, at_most=100 + 100 * n / 1e6),
        ],
    )
