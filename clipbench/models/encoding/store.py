"""The store: every vector that a model ever gave, on disk, by the content that it stands for.

One folder a model fingerprint and modality, holding chunks. A chunk is one file, an ``.npy`` array of 16-byte keys
followed by an ``.npy`` array of vectors and a digest of both, of the model's fingerprint and of the modality. It
appears by an atomic rename, complete or not at all, and never changes. A chunk whose digest is another one, damaged or
of another model, is removed before any of its vectors is used. So processes may share a store without locks, a kill
loses only what was not yet committed, and the folder may be deleted at any time. design/store.md has the alternatives
and their timings.
"""

import hashlib
import io
import json
import math
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import xxhash
from jaxtyping import Int64, Shaped

from clipbench.errors import MachineError
from clipbench.files import atomic_file, check_writable, remove_abandoned, write_atomic
from clipbench.metrics.similarity import Vectors
from clipbench.metrics.threads import in_threads
from clipbench.models.large_arrays import large_array, memory_bytes
from clipbench.untrusted.reading import array_header, open_file

KEY = np.dtype("V16")
Keys = Shaped[np.ndarray, " n"]
"""Keys of type ``KEY``."""
Rows = Int64[np.ndarray, " n"]
SUFFIX = ".vectors"
TOKENS = "token-counts"
"""Name of the folder of token counts, which are stored as vectors of one dimension. No modality can have this name."""
MODEL_FILE = "model.json"
"""Names of the model for people, next to the folders of its vectors. Its time of change is the last use of the
vectors.
"""
DIGEST_BYTES = 16
ATTEMPTS = 3
"""Attempts to write a chunk whose folder is deleted meanwhile."""
ADVICE = "make room there, or set CLIPBENCH_CACHE to another folder"

DESCRIPTION_PREFIX, DESCRIPTION_SUFFIX = "loaded-", ".json"
"""Ends of the names of files with the description of a model (``models.encoding.load_cache``), next to its vectors."""

DAMAGED = "damaged or another model's, and removed"
SMALL_CHUNK = 256 * 1024
"""Bytes up to which a chunk is read into memory. One that is memory-mapped keeps its file open, and the number of
open files is limited, while a thousand small runs leave a thousand chunks.
"""
MEMORY_SHARE = 8
"""Divisor of the memory's bytes up to which fetched vectors are in memory: a file takes twice as long to fill."""


@dataclass(eq=False)
class _Chunk:
    keys: Keys
    vectors: Vectors
    unverified: tuple[Path, memoryview] | None = None
    """The file and all of its bytes, as long as they have not been compared with the digest at their end."""


class Shelf:
    """The vectors of one model for one modality: look up by key, add in chunks.

    Args:
        modality: what the vectors are of, ``TOKENS`` for token counts.
        names: the reference of the model and its full name, for people.
    """

    def __init__(self, root: Path, fingerprint: str, modality: str, dim: int, names: Sequence[str] = ()) -> None:
        self.folder = model_folder(root, fingerprint) / modality
        self.dim = dim
        self._root = root
        self.rejected: Counter[str] = Counter()
        """Rejected chunks, counted by the reason. Their vectors have to be encoded again."""
        self._context = f"{fingerprint}\n{modality}\n{dim}\n".encode(errors="surrogatepass")
        self._chunks: list[_Chunk] = []
        self._index: _Index | None = None  # made when it is asked
        self._read: set[str] = set()
        self._names = list(dict.fromkeys(names))
        self.refresh()
        self._note_use()

    def __len__(self) -> int:
        return len(self._indexed())

    def refresh(self) -> None:
        """Take in the chunks that other processes have committed since."""
        with suppress(OSError):  # no folder yet; one that cannot be listed is told when it is to be written to
            remove_abandoned(self.folder)
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(SUFFIX) and not name.startswith(".") and name not in self._read:
                    self._read.add(name)
                    self._take_in(self.folder / name)

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return the keys without a vector, neither here nor in chunks of other processes.

        The chunks of the others are compared with their digests: from now on their vectors are to be believed.
        """
        keys = list(keys)
        return {keys[index] for index in np.flatnonzero(self._rows_of(keys) < 0)}

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Return the vectors of keys, in order, in a ``large_array``, or raise KeyError with one that is not in the
        shelf.
        """
        rows = self._rows_of(keys)
        for index in np.flatnonzero(rows < 0).tolist():
            raise KeyError(keys[index])
        out = large_array((len(keys), self.dim), self._root, in_memory=memory_bytes() // MEMORY_SHARE)
        order = np.argsort(rows, kind="stable")  # each chunk is read once, from its begin to its end
        starts = self._indexed().starts
        bounds = np.searchsorted(rows[order], starts)

        def copy(number: int) -> None:
            positions = order[bounds[number] : bounds[number + 1]]
            if len(positions):
                out[_span(positions)] = self._chunks[number].vectors[_span(rows[positions] - starts[number])]

        in_threads(copy, range(len(self._chunks)))
        return out

    def _rows_of(self, keys: Sequence[bytes]) -> Rows:
        """Return the row of each key in all chunks together, -1 for one that no chunk has whose digest is right."""
        self.refresh()
        while True:
            index = self._indexed()
            rows = index.rows_of(keys)
            if any(chunk.unverified for chunk in self._chunks):
                self._verify([self._chunks[number] for number in index.chunks_of(rows)])
            if self._index is index:
                return rows

    def _indexed(self) -> "_Index":
        if self._index is None:
            self._index = _Index([chunk.keys for chunk in self._chunks])
        return self._index

    def prepare(self, n_vectors: int) -> None:
        """Raise MachineError unless the shelf is writable and has room for a number of new vectors."""
        check_writable(self.folder, n_vectors * (KEY.itemsize + 4 * self.dim), advice=ADVICE)

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Commit a chunk.

        Its vectors then outlive a kill, and a power cut never leaves half of them.

        Raises:
            MachineError: the chunk cannot be written.
        """
        vectors, key_array = np.ascontiguousarray(vectors, np.float32), np.frombuffer(b"".join(keys), KEY)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        content = io.BytesIO()
        np.save(content, key_array)
        np.save(content, vectors)
        content.write(self._digest(content.getbuffer()))
        self._write(self.folder / name, content.getbuffer())
        self._read.add(name)
        self._add(_Chunk(key_array, vectors))
        self._note_use()

    def _note_use(self) -> None:
        file = self.folder.parent / MODEL_FILE
        with suppress(OSError, MachineError):  # a store that can only be read is used all the same
            if file.exists():
                os.utime(file)
            elif self._names and self.folder.is_dir():
                write_atomic({file: json.dumps(self._names).encode()})

    def _write(self, path: Path, content: memoryview) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with atomic_file(path, is_durable=True) as file:
                    file.write(content)
                return
            except MachineError as error:
                if attempt == ATTEMPTS or not isinstance(error.__cause__, FileNotFoundError):
                    raise MachineError(f"{error}; {ADVICE}") from error

    def _take_in(self, path: Path) -> None:
        try:
            self._add(_read_chunk(path))
        except FileNotFoundError:  # deleted since it was listed
            pass
        except OSError as error:  # a permission may be given again: the file stays
            self.rejected[f"unreadable ({error.strerror or error})"] += 1
        except Exception:  # numpy raises many kinds of error for damaged headers  # noqa: BLE001
            self._reject(path)

    def _add(self, chunk: _Chunk) -> None:
        self._chunks.append(chunk)
        self._index = None

    def _verify(self, chunks: Sequence[_Chunk]) -> None:
        """Compare chunks with their digests, if that was not done, and remove those that do not agree."""
        damaged: list[tuple[_Chunk, Path]] = []

        def compare(chunk: _Chunk) -> None:
            if chunk.unverified is None:
                return
            path, content = chunk.unverified
            if self._digest(content[:-DIGEST_BYTES]) != content[-DIGEST_BYTES:]:
                damaged.append((chunk, path))
            else:
                chunk.unverified = None

        in_threads(compare, chunks)
        for chunk, path in damaged:
            self._reject(path)
            self._chunks.remove(chunk)
            self._index = None  # another chunk may hold some of its keys too

    def _reject(self, path: Path) -> None:
        self.rejected[DAMAGED] += 1
        with suppress(OSError):  # where it cannot be removed, it is not believed the next time either
            path.unlink()

    def _digest(self, content: memoryview) -> bytes:
        digest = xxhash.xxh3_128(self._context)
        digest.update(content)
        return digest.digest()


def model_folder(root: Path, fingerprint: str) -> Path:
    """Return the folder of a model, named by its fingerprint, or by a hash of an unsafe fingerprint."""
    name = fingerprint
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", fingerprint):
        name = hashlib.blake2b(fingerprint.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return root / "store" / name


class _Index:
    """Rows of keys in all chunks together, by two sorted columns of the halves of keys: 24 bytes per key.

    A dictionary takes six times as much memory, and three times as long to make.
    """

    def __init__(self, chunks: Sequence[np.ndarray]) -> None:
        self.starts = np.cumsum([0, *map(len, chunks)])
        """First row of each chunk, and the end of the last."""
        first, second = _halves(np.concatenate([np.zeros(0, KEY), *chunks]))
        order = np.argsort(first)
        if (np.diff(first[order]) == 0).any():
            order = np.lexsort((second, first))
        first, second = first[order], second[order]
        is_last = np.ones(len(order), bool)  # of equal keys, that of the newest chunk counts
        is_last[:-1] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        self._first, self._second, self._rows = first[is_last], second[is_last], order[is_last]

    def __len__(self) -> int:
        return len(self._rows)

    def rows_of(self, keys: Sequence[bytes]) -> Rows:
        """Return the row of each key, -1 for one that is in no chunk."""
        first, second = _halves(np.frombuffer(b"".join(keys), KEY))
        rows = np.full(len(keys), -1, np.int64)
        pending = np.argsort((first >> 48).astype(np.uint16), kind="stable")  # to be found about in the order of memory
        position = np.searchsorted(self._first, first[pending])
        while len(pending):  # once, unless several keys have the same first half
            is_there = position < len(self)
            is_there[is_there] = self._first[position[is_there]] == first[pending[is_there]]
            pending, position = pending[is_there], position[is_there]
            is_found = self._second[position] == second[pending]
            rows[pending[is_found]] = self._rows[position[is_found]]
            pending, position = pending[~is_found], position[~is_found] + 1
        return rows

    def chunks_of(self, rows: Rows) -> Int64[np.ndarray, " n_chunks"]:
        """Return the numbers of the chunks that rows are in. Rows below 0 are in none."""
        is_used = np.zeros(self.starts[-1] + 1, bool)  # one more, which rows of -1 set
        is_used[rows] = True
        n_used_before = np.concatenate([[0], np.cumsum(is_used[:-1])])  # before each row, and before the end
        n_used_in_chunk = np.diff(n_used_before[self.starts])
        return np.flatnonzero(n_used_in_chunk)


def _span(rows: Rows) -> Rows | slice:
    """Return rows that follow each other as a slice, which is copied faster."""
    is_run = rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
    return slice(rows[0], rows[-1] + 1) if is_run else rows


def _halves(keys: Keys) -> tuple[Keys, Keys]:
    """Return the first and the last eight bytes of keys, as numbers of type uint64."""
    both = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def _read_chunk(path: Path) -> _Chunk:
    """Return a chunk, not verified, with its vectors memory-mapped unless it is small. Raise any error but an OSError
    if it is not a chunk.
    """
    with open_file(path) as file:
        keys_start, vectors_start, shape = chunk_layout(file)
        if os.fstat(file.fileno()).st_size <= SMALL_CHUNK:
            file.seek(0)
            content = memoryview(file.read())
        else:
            content = np.memmap(file, np.uint8, "r").data
    keys = np.frombuffer(content[keys_start:], KEY, shape[0])
    vectors = np.frombuffer(content[vectors_start:-DIGEST_BYTES], np.float32).reshape(shape)
    return _Chunk(keys, vectors, (path, content))


def chunk_layout(file: BinaryIO) -> tuple[int, int, tuple[int, ...]]:
    """Return the offsets of keys and vectors of an open chunk, and the shape, or raise ValueError if it is
    incomplete.
    """
    n_bytes = os.fstat(file.fileno()).st_size
    n_keys, _, kind = array_header(file)
    keys_start = file.tell()
    if kind != KEY or len(n_keys) != 1 or n_keys[0] * KEY.itemsize > n_bytes:
        raise ValueError("not a chunk")
    file.seek(keys_start + n_keys[0] * KEY.itemsize)
    shape, is_columns_first, dtype = array_header(file)
    vectors_start = file.tell()
    if dtype != np.float32 or is_columns_first or len(shape) != 2 or shape[:1] != n_keys:
        raise ValueError("not a chunk")
    if n_bytes - vectors_start - 4 * math.prod(shape) != DIGEST_BYTES:
        raise ValueError("cut short")
    return keys_start, vectors_start, shape
