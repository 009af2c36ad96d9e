"""Files written whole or not at all, folders that one process at a time writes to, and the bounds of a folder."""

import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from typing import BinaryIO

from clipbench.errors import MachineError, UsageError, option
from clipbench.untrusted.reading import is_there, user_path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

TEMPORARY_FOLDER = "clipbench-temporary-"
"""Beginning of the names of temporary folders."""
TEMPORARY_SUFFIX = ".half"
"""End of the name of a file that is being written. The name begins with a dot."""
LEAST_FREE = 1 << 20
"""Bytes that a disk must have free before work is begun whose results go to it."""
ATTEMPTS = 5
"""Attempts to create a file again that was removed, or whose folder was removed, before it could be locked."""


def default_root() -> Path:
    """Return ``$CLIPBENCH_CACHE``, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("CLIPBENCH_CACHE")
    return user_path(chosen) if chosen else platformdirs.user_cache_path("clipbench")


_held: set[int] = set()
"""Handles of the folders that this process holds."""


def write_atomic(files: Mapping[Path, bytes], *, is_durable: bool = False) -> None:
    """Write files atomically, and replace none before all have been written.

    Args:
        is_durable: have the content on the disk before the name, so that a power cut cannot leave an empty file.

    Raises:
        MachineError: one cannot be written.
    """
    with writing_atomically(files, is_durable=is_durable):
        pass


@contextmanager
def writing_atomically(files: Mapping[Path, bytes], *, is_durable: bool = False) -> Iterator[None]:
    """Write files under temporary names, and move them into place if the block raises nothing. Otherwise remove them.
    Raise MachineError if a file cannot be written.
    """
    with ExitStack() as stack:
        for path, content in files.items():
            with write_errors(path):
                if path.is_dir():  # else found only when it is replaced, after the block has done its work
                    raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
                remove_abandoned(path.parent, path.name)
                file = stack.enter_context(_temporary_file(path, is_durable=is_durable))
                file.write(content)
                file.flush()
        yield


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is in a folder, following links, so False for a link that leads out of it.

    Example:
        >>> is_inside(Path("run/samples/a.parquet"), Path("run")), is_inside(Path("run/../secret"), Path("run"))
        (True, False)
    """
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a circle of links
        return False


@contextmanager
def atomic_file(path: Path, *, is_durable: bool = False) -> Iterator[BinaryIO]:
    """Yield a new file, which replaces the file of that name when the block has ended well, and is removed otherwise.

    Args:
        is_durable: have the content on the disk before the name, so that a power cut cannot leave an empty file.

    Raises:
        MachineError: it cannot be written.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(path, is_durable=is_durable) as file:
            yield file


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove the unfinished files of processes that are gone.

    The lock says so, and not the age: a clock may jump, or be another machine's.

    Args:
        name: final name of the files, or None for all.
    """
    pattern = "*" if name is None else glob.escape(_stem(name))
    for temporary in folder.glob(f".{pattern}.*{TEMPORARY_SUFFIX}") if fcntl is not None else ():
        with suppress(OSError):  # it is being written, or gone; or there are no locks here, and it is left
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()
            finally:
                os.close(handle)


def nearest_existing_parent(folder: Path) -> Path:
    """Return a folder, or the nearest folder above it that exists."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if is_there(parent))


def check_writable(folder: Path, n_bytes: int = 0, *, advice: str) -> None:
    """Raise MachineError unless a folder, or the one that it is to be made in, can be written to and has room.

    Args:
        n_bytes: room that is needed, as far as it is known.
    """
    parent = nearest_existing_parent(folder)
    try:
        with tempfile.TemporaryFile(dir=parent):  # without a name, so that a killed process leaves nothing
            pass
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise MachineError(f"cannot write to {folder}: {error.strerror or error}. Fix: {advice}") from error
    needed = max(n_bytes, LEAST_FREE)
    if free < needed:
        raise MachineError(
            f"cannot write to {folder}: the disk has {free / 1e6:,.1f} MB free, expected {needed / 1e6:,.1f} MB. "
            f"Fix: {advice}"
        )


@contextmanager
def folder_lock(folder: Path, busy: str | None = None, *, wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a folder, made if it is not there: two watchers of one training would write over each other's tables.

    A process that ends, in whatever way, lets go of it, and so do the children that it forked. Where the system has no
    such locks (Windows, some network file systems), nothing is held. A folder that was made and is still empty in the
    end is removed.

    Args:
        busy: the message if another process holds it.
        wait: called if another process holds it, before waiting until that process ends. None raises instead.

    Raises:
        UsageError: another holds it.
        MachineError: it cannot be made.
    """
    busy = busy or (
        f"another clipbench process writes to {folder}: wait until it ends, or choose another {option('out')}"
    )
    handle, is_new = _lock_folder(folder, busy, wait)
    try:
        yield
    finally:
        if is_new and (handle < 0 or _has_name(handle, folder)):
            with suppress(OSError):
                folder.rmdir()
        if handle in _held:  # not in a child that was forked meanwhile
            _held.remove(handle)
            with suppress(OSError):  # a child that was forked just now has the handle too: closing ours is not enough
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def _lock_folder(folder: Path, busy: str, wait: Callable[[], object] | None) -> tuple[int, bool]:
    """Return the handle of a locked folder, or -1 if the system has no locks, and whether it was created."""
    for _ in range(ATTEMPTS):
        is_new = not is_there(folder)
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                return -1, is_new
            handle = os.open(folder, os.O_RDONLY)
        is_free = _try_lock(handle)
        if not is_free and wait is not None:
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
            is_free = True
        if is_free and _has_name(handle, folder):
            _held.add(handle)
            return handle, is_new
        os.close(handle)
        if not is_free:
            raise UsageError(busy)
    raise MachineError(f"cannot write to {folder}: another program keeps removing it")


def _close_inherited_locks() -> None:
    """Close, in a child that was forked, what its parent holds: a worker may outlive a parent that was killed."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_close_inherited_locks)


@contextmanager
def temporary_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of temporary files, ``clipbench-temporary-…/PURPOSE``, which is removed in the end.

    It is locked until then. Folders that processes left when they were killed have nobody's lock, and are removed
    first, as at the start of each command. Where the system has no locks, those stay.

    Args:
        parent: the folder that it is made in. The default is the system's folder of temporary files.

    Raises:
        MachineError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_abandoned_folders(parent)
    folder, handle = _new_temporary_folder(parent)
    owner = os.getpid()
    try:
        with write_errors(folder):
            (folder / purpose).mkdir()
        yield folder / purpose
    finally:
        if os.getpid() == owner:  # not in a child that was forked meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            if handle in _held:
                _held.remove(handle)
                os.close(handle)


def _new_temporary_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the handle that holds its lock, or -1 if the system has no locks."""
    for _ in range(ATTEMPTS):
        with write_errors(parent):
            folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_FOLDER, dir=parent))
        if fcntl is None:
            return folder, -1
        with suppress(FileNotFoundError):  # another process took it for abandoned, as it was not locked yet
            handle = os.open(folder, os.O_RDONLY)
            if _try_lock(handle) and _has_name(handle, folder):
                _held.add(handle)
                return folder, handle
            os.close(handle)
    raise MachineError(f"cannot write to {parent}: another program keeps removing what is written there")


def remove_abandoned_folders(parent: Path | None = None) -> None:
    """Remove the temporary folders of processes that are gone, unless they are another user's.

    Args:
        parent: where they are. The default is the system's folder of temporary files.
    """
    if fcntl is None:
        return
    folders: list[Path] = []
    with suppress(OSError):  # no folder of temporary files, or one that cannot be listed
        folders += (parent or Path(tempfile.gettempdir())).glob(f"{TEMPORARY_FOLDER}*")
    for folder in folders:
        with suppress(OSError):  # it is another's, in use, or gone
            handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                if os.fstat(handle).st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(handle)


@contextmanager
def _temporary_file(path: Path, *, is_durable: bool) -> Iterator[BinaryIO]:
    temporary, file = _new_temporary_file(path)
    with file:
        try:
            yield file
            with write_errors(path):
                file.flush()
                if is_durable:
                    os.fsync(file.fileno())
                if fcntl is None:
                    file.close()  # Windows moves no open file; elsewhere it is locked until it has its name
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # what could not be written is not flushed either
                file.close()
            with suppress(OSError):
                temporary.unlink()
            raise


def _new_temporary_file(path: Path) -> tuple[Path, BinaryIO]:
    for _ in range(ATTEMPTS):
        temporary = path.with_name(f".{_stem(path.name)}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}")
        file: BinaryIO | None = None
        try:
            file = temporary.open("xb")
            if fcntl is None or (_try_lock(file.fileno()) and _has_name(file.fileno(), temporary)):
                return temporary, file
        except KeyboardInterrupt:  # before the caller knows of it
            if file is not None:
                file.close()
            temporary.unlink(missing_ok=True)
            raise
        file.close()  # another process took it for abandoned, as it was not locked yet
    raise FileNotFoundError(f"another program keeps removing {temporary}")


def _stem(name: str) -> str:
    """Return as much of a name as leaves room for an ending: file systems take 255 bytes."""
    return name[:50]


@contextmanager
def file_lock(handle: int) -> Iterator[None]:
    """Hold the lock of an open file, after waiting for other processes. Do nothing if the system has no locks."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
    yield  # closing the file lets go of it


def _try_lock(handle: int) -> bool:
    """Lock a file. Return False if another process has it, and True where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _has_name(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Raise MachineError, in one line, if the block cannot write a file or folder."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}") from error
