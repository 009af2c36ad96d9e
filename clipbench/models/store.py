"""The store: every vector that a model ever gave, on disk, by the content that it stands for.

One folder a model fingerprint and modality, holding chunks. A chunk is one file, an ``.npy`` array of 16-byte keys
followed by an ``.npy`` array of vectors; it appears by an atomic rename, whole or not at all, and never changes.
So processes may share a store without locks, a kill loses only what was not yet committed, and the folder may be
deleted at any time. design/store.md has the alternatives and their timings.
"""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.models.protocol import Modality

KEY = np.dtype("V16")
SUFFIX = ".vectors"
STALE_SECONDS = 3600
"""An unfinished file this old belongs to a process that was killed."""


def default_root() -> Path:
    """Return ``$CLIPBENCH_CACHE``, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("CLIPBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("clipbench")


class _Chunk(NamedTuple):
    keys: list[bytes]
    vectors: Float32[np.ndarray, "n dim"]


class Shelf:
    """The vectors of one model for one modality: look up by key, add in chunks."""

    def __init__(self, root: Path, fingerprint: str, modality: Modality) -> None:
        self.folder = root / "store" / fingerprint / modality
        self.damaged: list[Path] = []
        """Chunks that could not be read and were removed; their vectors have to be encoded again."""
        self._chunks: list[_Chunk] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        self._read: set[str] = set()
        self.refresh()

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    def refresh(self) -> None:
        """Take in the chunks that other processes have committed since."""
        for path in self._new_files():
            chunk = self._load(path)
            if chunk is not None:
                self._add(chunk)

    def get(self, keys: Sequence[bytes]) -> Float32[np.ndarray, "n dim"]:
        """Return the vectors of keys that are in the shelf, in order; KeyError names one that is not."""
        places = np.array([self._place[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        dim = self._chunks[0].vectors.shape[1] if self._chunks else 0
        out = np.empty((len(keys), dim), np.float32)
        for number in np.unique(places[:, 0]):
            at = np.flatnonzero(places[:, 0] == number)
            out[at] = self._chunks[number].vectors[places[at, 1]]
        return out

    def put(self, keys: Sequence[bytes], vectors: Float32[np.ndarray, "n dim"]) -> None:
        """Commit a chunk: when this returns, the vectors outlive a kill and a power cut."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        half = self.folder / f".{name}"
        with open(half, "wb") as file:
            np.save(file, np.frombuffer(b"".join(keys), KEY))
            np.save(file, np.ascontiguousarray(vectors, np.float32))
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, self.folder / name)
        self._read.add(name)
        self._add(_Chunk(list(keys), vectors))

    def _new_files(self) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(self.folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.name.startswith("."):
                _remove_if_stale(entry)
            elif entry.name.endswith(SUFFIX) and entry.name not in self._read:
                self._read.add(entry.name)
                yield Path(entry.path)

    def _load(self, path: Path) -> _Chunk | None:
        try:
            return _read_chunk(path)
        except FileNotFoundError:  # deleted since it was listed
            return None
        except (ValueError, EOFError):
            path.unlink(missing_ok=True)
            self.damaged.append(path)
            return None

    def _add(self, chunk: _Chunk) -> None:
        number = len(self._chunks)
        self._chunks.append(chunk)
        self._place.update((key, (number, row)) for row, key in enumerate(chunk.keys))


def _read_chunk(path: Path) -> _Chunk:
    """Return a chunk with its vectors memory-mapped; ValueError or EOFError when the file is damaged."""
    with open(path, "rb") as file:
        keys = np.load(file, allow_pickle=False)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not an array")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if keys.dtype != KEY or dtype != np.float32 or shape[:1] != keys.shape:
        raise ValueError("not a chunk")
    if path.stat().st_size != start + 4 * int(np.prod(shape)):
        raise ValueError("cut short")
    joined = keys.tobytes()
    width = KEY.itemsize
    vectors = np.memmap(path, np.float32, "r", start, shape)
    return _Chunk([joined[at : at + width] for at in range(0, len(joined), width)], np.asarray(vectors))


def _remove_if_stale(entry: "os.DirEntry[str]") -> None:
    try:
        if time.time() - entry.stat().st_mtime > STALE_SECONDS:
            os.unlink(entry)
    except FileNotFoundError:  # its process has finished it, or another has removed it
        pass
