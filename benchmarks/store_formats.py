"""Time the candidate on-disk forms of the store: `python benchmarks/store_formats.py [N]`.

For each form: write N vectors of 512 float32 in chunks of 4,096 as an encoder would commit them (each chunk
durable before the next), open the store cold and read its keys, fetch 10,000 random vectors, fetch all of them.
The page cache is warm in every read, as it is for a second run. Prints one line a form.
"""

import itertools
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

DIM, CHUNK, KEY = 512, 4096, 16


class Form(Protocol):
    """One on-disk form: commit a chunk; open it to (keys, fetch), where fetch takes rows in key order."""

    def commit(self, number: int, keys: np.ndarray, vectors: np.ndarray) -> None: ...

    def open(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]: ...


class ArrowChunks:
    """One Arrow IPC file a chunk, keys and vectors as columns, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def commit(self, number: int, keys: np.ndarray, vectors: np.ndarray) -> None:
        flat = pa.array(vectors.reshape(-1))
        table = pa.table(
            {
                "key": pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY), len(keys), [None, pa.py_buffer(keys)]),
                "vector": pa.FixedSizeListArray.from_arrays(flat, DIM),
            }
        )
        temporary = self.folder / f".{number}"
        with open(temporary, "wb") as sink:
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.rename(self.folder / f"{number:06d}.arrow")

    def open(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        tables = [pa.ipc.open_file(pa.memory_map(str(p))).read_all() for p in sorted(self.folder.glob("*.arrow"))]
        keys = np.concatenate([np.frombuffer(t["key"].chunk(0).buffers()[1], f"V{KEY}", len(t)) for t in tables])
        vectors = [t["vector"].chunk(0).values.to_numpy().reshape(-1, DIM) for t in tables]
        return keys, gather_from(vectors)


class NumpyChunks:
    """One file a chunk: an .npy of keys followed by an .npy of vectors, which is memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def commit(self, number: int, keys: np.ndarray, vectors: np.ndarray) -> None:
        with open(self.folder / ".half", "wb") as file:
            np.save(file, keys)
            np.save(file, vectors)
            file.flush()
            os.fsync(file.fileno())
        (self.folder / ".half").rename(self.folder / f"{number:06d}.vectors")

    def open(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        keys, vectors = [], []
        for path in sorted(self.folder.glob("*.vectors")):
            with open(path, "rb") as file:
                keys.append(np.load(file))
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                vectors.append(np.memmap(path, dtype, "r", file.tell(), shape))
        return np.concatenate(keys), gather_from(vectors)


class SafetensorsChunks:
    """One safetensors file a chunk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def commit(self, number: int, keys: np.ndarray, vectors: np.ndarray) -> None:
        save_file({"keys": keys.view(np.uint8).reshape(-1, KEY), "vectors": vectors}, self.folder / ".half")
        with open(self.folder / ".half", "rb") as file:
            os.fsync(file.fileno())
        (self.folder / ".half").rename(self.folder / f"{number:06d}.safetensors")

    def open(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        chunks = [load_file(p) for p in sorted(self.folder.glob("*.safetensors"))]
        keys = np.concatenate([c["keys"].view(f"V{KEY}").reshape(-1) for c in chunks])
        return keys, gather_from([c["vectors"] for c in chunks])


class Sqlite:
    """One database in WAL mode, a row a vector."""

    def __init__(self, folder: Path) -> None:
        self.connection = sqlite3.connect(folder / "store.sqlite")
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def commit(self, number: int, keys: np.ndarray, vectors: np.ndarray) -> None:
        with self.connection:
            rows = ((k.tobytes(), v.tobytes()) for k, v in zip(keys, vectors, strict=True))
            self.connection.executemany("INSERT INTO vectors VALUES (?, ?)", rows)

    def open(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        keys = np.array([k for (k,) in self.connection.execute("SELECT key FROM vectors")], dtype=f"V{KEY}")

        def fetch(rows: np.ndarray) -> np.ndarray:
            out = np.empty((len(rows), DIM), np.float32)
            for at, row in enumerate(rows):
                query = self.connection.execute("SELECT vector FROM vectors WHERE key=?", (keys[row].tobytes(),))
                out[at] = np.frombuffer(query.fetchone()[0], np.float32)
            return out

        return keys, fetch


def gather_from(chunks: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    starts = np.cumsum([0, *(len(c) for c in chunks)])

    def fetch(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), DIM), np.float32)
        which = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(which, kind="stable")
        bounds = np.searchsorted(which[order], np.arange(len(chunks) + 1))
        for chunk, (low, high) in enumerate(itertools.pairwise(bounds)):
            at = order[low:high]
            out[at] = chunks[chunk][rows[at] - starts[chunk]]
        return out

    return fetch


def batches(n: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, n, CHUNK)):
        size = min(CHUNK, n - start)
        keys = rng.integers(0, 256, (size, KEY), np.uint8).view(f"V{KEY}").reshape(-1)
        yield number, keys, rng.standard_normal((size, DIM), np.float32)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(form: type, n: int) -> str:
    folder = Path(tempfile.mkdtemp(prefix="store-", dir="."))
    try:
        subject: Form = form(folder)
        write = sum(timed(lambda c=chunk: subject.commit(*c))[0] for chunk in batches(n))
        opening, opened = timed(subject.open)
        _, fetch = opened  # type: ignore[misc]
        some, _ = timed(lambda: fetch(np.random.default_rng(1).integers(0, n, 10_000)))
        whole, _ = timed(lambda: fetch(np.arange(n)))
        size = sum(p.stat().st_size for p in folder.iterdir()) / 1e9
        return f"{form.__name__:18} {write:8.2f} {opening:8.2f} {some:10.3f} {whole:8.2f} {size:8.2f}"
    finally:
        shutil.rmtree(folder)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{n:,} x {DIM} float32, chunks of {CHUNK:,}; seconds, and GB on disk")
    print(f"{'form':18} {'write':>8} {'open':>8} {'10k random':>10} {'all':>8} {'GB':>8}")
    for form in (ArrowChunks, NumpyChunks, SafetensorsChunks, Sqlite):
        print(measure(form, n), flush=True)


if __name__ == "__main__":
    main()
