"""The models whose vectors the store holds: how many, how large, when last used; and how to remove them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import ClipbenchError, MachineError
from clipbench.files import HALF
from clipbench.models.encoding.recall import is_memory
from clipbench.models.encoding.store import MODEL_FILE, SUFFIX, TOKENS, count_vectors
from clipbench.untrusted.reading import read_json


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """The vectors of one fingerprint."""

    folder: Path
    names: tuple[str, ...]
    """The reference that the model was first asked for by, and its full name; none where older versions stored it."""
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
    """Return the models in the store below a folder, the largest first; what is no model's folder is left out.

    Raises:
        MachineError: the folder cannot be listed.
    """
    try:
        folders = [Path(each) for each in _entries(root / "store") if each.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MachineError(f"cannot list {root / 'store'}: {error.strerror or error}") from error
    models = [_stored_model(folder) for folder in folders]
    return sorted(
        (model for model in models if model is not None), key=lambda model: (-model.n_bytes, model.fingerprint)
    )


def remove(models: Iterable[StoredModel]) -> None:
    """Remove the vectors of models, and no other file that may lie beside them.

    Raises:
        MachineError: a file cannot be removed; those before it are.
    """
    for model in models:
        for entry in _files(model.folder):
            try:
                os.unlink(entry)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MachineError(f"cannot remove {entry.path}: {error.strerror or error}") from error
        for folder in (*_folders(model.folder), model.folder):
            with suppress(OSError):  # other files lie there, or another process has just stored a vector
                os.rmdir(folder)


def _stored_model(folder: Path) -> StoredModel | None:
    files = list(_files(folder))
    sizes = {Path(entry): entry.stat(follow_symlinks=False) for entry in files}
    if not sizes:
        return None
    chunks = [path for path in sizes if path.name.endswith(SUFFIX)]
    counts = {path: _n_vectors(path) for path in chunks}
    noted = sizes.get(folder / MODEL_FILE)
    return StoredModel(
        folder=folder,
        names=_names(folder / MODEL_FILE),
        n_vectors=sum(count or 0 for path, count in counts.items() if path.parent.name != TOKENS),
        n_bytes=sum(each.st_size for each in sizes.values()),
        n_damaged=[*counts.values()].count(None),
        last_used=noted.st_mtime if noted else max(each.st_mtime for each in sizes.values()),
    )


def _files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield the store's own files of a model; links, and files of others, are none."""
    for inside in (*_folders(folder), folder):
        with suppress(OSError):
            for entry in _entries(inside) if not inside.is_symlink() else ():
                is_named = entry.name == MODEL_FILE or is_memory(entry.name)
                is_own = entry.name.endswith((SUFFIX, HALF)) if inside != folder else is_named
                if is_own and entry.is_file(follow_symlinks=False):
                    yield entry


def _folders(folder: Path) -> list[Path]:
    """Return the folders of a model's vectors, one for each modality, and of its token counts."""
    with suppress(OSError):
        return [Path(entry) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]
    return []


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    with os.scandir(folder) as entries:
        return list(entries)


def _n_vectors(path: Path) -> int | None:
    try:
        return count_vectors(path)
    except Exception:  # numpy raises many kinds of error for damaged headers  # noqa: BLE001
        return None


def _names(path: Path) -> tuple[str, ...]:
    try:
        names = read_json(path, ClipbenchError)
    except (ClipbenchError, OSError):
        return ()
    return tuple(each for each in names if isinstance(each, str)) if isinstance(names, list) else ()
