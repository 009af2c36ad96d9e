"""Time what the digest of a chunk costs the store: `python benchmarks/store_digest.py [N]`.

The store itself is timed, with each digest and without one: N vectors of 512 float32 are written in chunks of 4,096, then
opened and read whole, in turns, with the page cache warm. Prints seconds, and the ratio to the store without a digest.
"""

import hashlib
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from clipbench.models.encoding.store import Shelf

DIM, CHUNK, ROUNDS = 512, 4096, 5

DIGESTS: dict[str, Callable[[memoryview], bytes]] = {
    "none": lambda _: bytes(16),
    "xxh3_128": lambda content: xxhash.xxh3_128(content).digest(),
    "crc32": lambda content: zlib.crc32(content).to_bytes(16, "big"),
    "sha256": lambda content: hashlib.sha256(content).digest()[:16],
    "blake2b": lambda content: hashlib.blake2b(content, digest_size=16).digest(),
}


def seconds(digest: Callable[[memoryview], bytes], n: int) -> tuple[float, float]:
    """Return the seconds to write N vectors, and to open the store and read all of them."""

    class Digested(Shelf):
        def _digest(self, content: memoryview) -> bytes:
            return digest(content)

    root = Path(tempfile.mkdtemp(prefix="store-", dir="."))
    try:
        rng = np.random.default_rng(0)
        keys = [number.to_bytes(16, "little") for number in range(n)]
        vectors = rng.standard_normal((n, DIM), np.float32)
        start = time.perf_counter()
        shelf = Digested(root, "model", "images", DIM)
        for at in range(0, n, CHUNK):
            shelf.put(keys[at : at + CHUNK], vectors[at : at + CHUNK])
        written = time.perf_counter()
        found = Digested(root, "model", "images", DIM).get(keys)
        read = time.perf_counter()
        assert np.array_equal(found, vectors)
        return written - start, read - written
    finally:
        shutil.rmtree(root)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    timed = {name: [seconds(digest, n) for _ in [0]] for name, digest in DIGESTS.items()}
    for _ in range(ROUNDS - 1):  # in turns, as other work on the machine comes and goes
        for name, digest in DIGESTS.items():
            timed[name].append(seconds(digest, n))
    print(f"{n:,} x {DIM} float32, chunks of {CHUNK:,}; least of {ROUNDS} rounds, in seconds and as a ratio")
    base = [min(column) for column in zip(*timed["none"], strict=True)]
    for name, rounds in timed.items():
        write, read = (min(column) for column in zip(*rounds, strict=True))
        print(f"{name:10} write {write:6.2f} {write / base[0]:5.2f}   read {read:6.2f} {read / base[1]:5.2f}")


if __name__ == "__main__":
    main()
