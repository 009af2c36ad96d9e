"""The models that the store holds vectors of: list them, and remove their vectors."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import ClipbenchError, MachineError
from clipbench.files import TEMPORARY_SUFFIX
from clipbench.models.encoding.store import (
    DESCRIPTION_PREFIX,
    DESCRIPTION_SUFFIX,
    MODEL_FILE,
    SUFFIX,
    TOKENS,
    chunk_layout,
)
from clipbench.untrusted.reading import open_file, read_json


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """The vectors of one fingerprint."""

    folder: Path
    names: tuple[str, ...]
    """The reference by which the model was first loaded, and its full name, or empty if their file is damaged."""
    n_vectors: int
    n_bytes: int
    n_damaged: int
    """Files that hold no whole vectors."""
    last_used: float
    """Seconds since 1970."""

    @property
    def fingerprint(self) -> str:
        """The name of the folder: the fingerprint, or a hash of one that no folder can be called by."""
        return self.folder.name

    def is_called(self, name: str) -> bool:
        """Return whether a name is one of the model's, or the beginning of its fingerprint."""
        folded = name.casefold()
        return folded in map(str.casefold, self.names) or (len(name) >= 6 and self.fingerprint.startswith(name))


def stored_models(root: Path) -> list[StoredModel]:
    """Return the models in the store, the largest first, or raise MachineError for an unreadable folder."""
    try:
        folders = [path for path in (root / "store").iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MachineError(f"cannot list {root / 'store'}: {error.strerror or error}") from error
    models = [model for folder in folders if (model := _stored_model(folder)) is not None]
    return sorted(models, key=lambda model: (-model.n_bytes, model.fingerprint))


def remove(models: Iterable[StoredModel]) -> None:
    """Remove the vectors of models, and no other file in their folders.

    Raises:
        MachineError: a file cannot be removed. The files before it are removed.
    """
    for model in models:
        for file in _files(model.folder):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise MachineError(f"cannot remove {file}: {error.strerror or error}") from error
        for folder in (*model.folder.glob("*/"), model.folder):
            with suppress(OSError):  # other files lie there, or another process has just stored a vector
                folder.rmdir()


def _stored_model(folder: Path) -> StoredModel | None:
    sizes = {file: file.stat() for file in _files(folder)}
    if not sizes:
        return None
    counts = {path: _n_vectors(path) for path in sizes if path.name.endswith(SUFFIX)}
    noted = sizes.get(folder / MODEL_FILE)
    return StoredModel(
        folder=folder,
        names=_names(folder / MODEL_FILE),
        n_vectors=sum(count or 0 for path, count in counts.items() if path.parent.name != TOKENS),
        n_bytes=sum(status.st_size for status in sizes.values()),
        n_damaged=[*counts.values()].count(None),
        last_used=noted.st_mtime if noted else max(status.st_mtime for status in sizes.values()),
    )


def _files(folder: Path) -> list[Path]:
    """Return the files of a model that the store has written, without links."""
    files = []
    for file in folder.glob("*/*"):
        is_of_vectors = file.name.endswith((SUFFIX, TEMPORARY_SUFFIX))
        if is_of_vectors and not file.parent.is_symlink():
            files.append(file)
    # The descriptions are last: what an interrupted removal leaves can still be named.
    files += [*folder.glob(f"{DESCRIPTION_PREFIX}*{DESCRIPTION_SUFFIX}"), folder / MODEL_FILE]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def _n_vectors(path: Path) -> int | None:
    try:
        with open_file(path) as file:
            return chunk_layout(file)[2][0]
    except Exception:  # numpy raises many kinds of error for damaged headers  # noqa: BLE001
        return None


def _names(path: Path) -> tuple[str, ...]:
    names: object = None
    with suppress(ClipbenchError, OSError):
        names = read_json(path, ClipbenchError)
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
