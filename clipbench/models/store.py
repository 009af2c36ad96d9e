"""The store: every vector that a model ever gave, on disk, by the content that it stands for.

One folder a model fingerprint and modality, holding chunks. A chunk is one file, an ``.npy`` array of 16-byte keys
followed by an ``.npy`` array of vectors and a digest of both, of the model's fingerprint and of the modality; it appears
by an atomic rename, whole or not at all, and never changes. A chunk whose digest is another one, damaged or of another
model, is removed before any of its vectors is used. So processes may share a store without locks, a kill loses only what
was not yet committed, and the folder may be deleted at any time. design/store.md has the alternatives and their timings.
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
from typing import BinaryIO, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float32

from clipbench.errors import MachineError
from clipbench.files import atomic_file, check_writable, remove_abandoned, write_atomic
from clipbench.models.protocol import Modality
from clipbench.untrusted.reading import array_header, open_file, user_path

KEY = np.dtype("V16")
SUFFIX = ".vectors"
MODALITIES: tuple[Modality, ...] = ("images", "texts")
TOKENS = "tokens"
"""Name of the folder of token counts, which are stored as vectors of one dimension."""
MODEL_FILE = "model.json"
"""Names of the model, beside the folders of its vectors, for people; changed last when the vectors were last used."""
DIGEST_BYTES = 16
ATTEMPTS = 3
"""How often a chunk is written whose folder is deleted meanwhile."""
ADVICE = "make room there, or name another folder in CLIPBENCH_CACHE"

DAMAGED = "damaged or another model's, and removed"
OLD = "without a digest, as older versions wrote them, and removed"


def default_root() -> Path:
    """Return ``$CLIPBENCH_CACHE``, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("CLIPBENCH_CACHE")
    return user_path(chosen) if chosen else platformdirs.user_cache_path("clipbench")


@dataclass(eq=False)
class _Chunk:
    keys: list[bytes]
    vectors: Float32[np.ndarray, "n dim"]
    unverified: tuple[Path, memoryview] | None = None
    """The file and all of its bytes, as long as they have not been compared with the digest at their end."""


class Shelf:
    """The vectors of one model for one modality: look up by key, add in chunks.

    Args:
        modality: what the vectors are of, ``TOKENS`` for token counts.
        dim: dimension of the vectors.
        names: the reference of the model and its full name, for people.
    """

    def __init__(self, root: Path, fingerprint: str, modality: str, dim: int, names: Sequence[str] = ()) -> None:
        self.folder = folder_of(root, fingerprint) / modality
        self.dim = dim
        self.rejected: Counter[str] = Counter()
        """How many chunks were not believed, by the reason; their vectors have to be encoded again."""
        self._context = f"{fingerprint}\n{modality}\n{dim}\n".encode(errors="surrogatepass")
        self._chunks: list[_Chunk] = []
        self._place: dict[bytes, tuple[_Chunk, int]] = {}
        self._read: set[str] = set()
        self._names = list(dict.fromkeys(names))
        self.refresh()
        self._note_use()

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    def refresh(self) -> None:
        """Take in the chunks that other processes have committed since."""
        with suppress(OSError):  # no folder yet; one that cannot be listed is told when it is to be written to
            remove_abandoned(self.folder)
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(SUFFIX) and not name.startswith(".") and name not in self._read:
                    self._read.add(name)
                    self._take_in(self.folder / name)

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return the keys that have no vector here, also not in what other processes have committed.

        The chunks of the others are compared with their digests: from now on their vectors are to be believed.
        """
        self.refresh()
        wanted = set(keys)
        while True:
            chunks = {self._place[key][0] for key in wanted & self._place.keys()}
            unverified = [chunk for chunk in chunks if chunk.unverified]
            if not unverified:
                return wanted - self._place.keys()
            for chunk in unverified:
                self._verify(chunk)

    def get(self, keys: Sequence[bytes]) -> Float32[np.ndarray, "n dim"]:
        """Return the vectors of keys, in order; KeyError names one that is not in the shelf."""
        for key in self.missing(keys):
            raise KeyError(key)
        numbers = {chunk: number for number, chunk in enumerate(self._chunks)}
        places = [self._place[key] for key in keys]
        chunk_of = np.array([numbers[chunk] for chunk, _ in places], np.int64)
        row_of = np.array([row for _, row in places], np.int64)
        out = np.empty((len(keys), self.dim), np.float32)
        for number in np.unique(chunk_of):
            at = np.flatnonzero(chunk_of == number)
            out[at] = self._chunks[number].vectors[row_of[at]]
        return out

    def prepare(self, n_vectors: int) -> None:
        """Raise MachineError unless the shelf can be written to and has room for so many more vectors."""
        check_writable(self.folder, n_vectors * (KEY.itemsize + 4 * self.dim), advice=ADVICE)

    def put(self, keys: Sequence[bytes], vectors: Float32[np.ndarray, "n dim"]) -> None:
        """Commit a chunk: when this returns, the vectors outlive a kill; a power cut never leaves half of them.

        Raises:
            MachineError: the chunk cannot be written.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        content = io.BytesIO()
        np.save(content, np.frombuffer(b"".join(keys), KEY))
        np.save(content, vectors)
        content.write(self._digest(content.getbuffer()))
        self._write(self.folder / name, content.getbuffer())
        self._read.add(name)
        self._add(_Chunk(list(keys), vectors))
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
            self._add(read_chunk(path))
        except FileNotFoundError:  # deleted since it was listed
            pass
        except OSError as error:  # a permission may be given again: the file stays
            self.rejected[f"unreadable ({error.strerror or error})"] += 1
        except Exception as error:  # numpy raises many kinds of error for damaged headers  # noqa: BLE001
            self._reject(path, OLD if error.args == (OLD,) else DAMAGED)

    def _add(self, chunk: _Chunk) -> None:
        self._chunks.append(chunk)
        self._place.update((key, (chunk, row)) for row, key in enumerate(chunk.keys))

    def _verify(self, chunk: _Chunk) -> None:
        """Compare a chunk with its digest, and remove it unless they agree."""
        assert chunk.unverified is not None
        path, content = chunk.unverified
        chunk.unverified = None
        if self._digest(content[:-DIGEST_BYTES]) == content[-DIGEST_BYTES:]:
            return
        self._reject(path, DAMAGED)
        self._chunks.remove(chunk)
        self._place = {}  # another chunk may hold some of its keys too
        for kept in self._chunks:
            self._place.update((key, (kept, row)) for row, key in enumerate(kept.keys))

    def _reject(self, path: Path, reason: str) -> None:
        self.rejected[reason] += 1
        with suppress(
            OSError
        ):  # in a store that cannot be written to it stays, and is not believed the next time either
            path.unlink()

    def _digest(self, content: memoryview) -> bytes:
        digest = xxhash.xxh3_128(self._context)
        digest.update(content)
        return digest.digest()


def folder_of(root: Path, fingerprint: str) -> Path:
    """Return the folder of a model: named by its fingerprint, or by its hash where that could name another place."""
    name = fingerprint
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", fingerprint):
        name = hashlib.blake2b(fingerprint.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return root / "store" / name


class _Layout(NamedTuple):
    """Where the arrays of a chunk lie in its file, in bytes, and the shape of the second."""

    keys_start: int
    vectors_start: int
    shape: tuple[int, ...]


def read_chunk(path: Path) -> _Chunk:
    """Return a chunk with its vectors memory-mapped, not verified; any error but an OSError when it cannot be one."""
    width = KEY.itemsize
    with open_file(path) as file:
        layout = _layout(file)
        file.seek(layout.keys_start)
        joined = file.read(layout.shape[0] * width)
        content = np.memmap(file, np.uint8, "r").data
    vectors = np.frombuffer(content[layout.vectors_start : -DIGEST_BYTES], np.float32).reshape(layout.shape)
    return _Chunk([joined[at : at + width] for at in range(0, len(joined), width)], vectors, (path, content))


def count_vectors(path: Path) -> int:
    """Return how many vectors a chunk holds, from its two headers and its size; errors as of ``read_chunk``."""
    with open_file(path) as file:
        return _layout(file).shape[0]


def _layout(file: BinaryIO) -> _Layout:
    """Return the layout of an open chunk; ValueError where the headers or the size of the file are not those of one."""
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
    n_more = n_bytes - vectors_start - 4 * math.prod(shape)
    if n_more != DIGEST_BYTES:
        raise ValueError(OLD if n_more == 0 else "cut short")
    return _Layout(keys_start, vectors_start, shape)
