"""What a model said of itself when it was last loaded, so that a run whose vectors are all stored need not load it.

It is believed as long as nothing has changed that loading went by: the reference and the options, the machine, its
accelerators and the environment, the packages that can be imported, each source file and shared library of the process,
and each file that was read. Whoever doubts, loads: a wrong fingerprint would answer with another model's vectors.
design/fingerprint.md has the law, and what each part of it is there for.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from clipbench import __version__, plugins
from clipbench.errors import MachineError
from clipbench.files import write_atomic
from clipbench.models._fingerprint import digest
from clipbench.models.protocol import LoadOptions, ModelInfo
from clipbench.models.store import folder_of
from clipbench.results.record import CheckFinding, TowerRecord
from clipbench.untrusted.reading import MOST_BYTES_OF_SETTINGS, decode_json, open_file, read_bytes
from clipbench.untrusted.schema import SchemaError, fitted

ADAPTERS = ("bundled", "hf", "hf-hub", "local-dir", "onnx", "open_clip", "st")
"""Adapters of ours whose models are made of files alone. Objects of a user's code and servers always say it anew."""
PREFIX, SUFFIX = "loaded-", ".json"
"""Ends of the names of the files, which lie beside the vectors of the model."""
MOST_KEPT = 4
"""Files of one model, as of several precisions or folders that it was asked for from; the oldest go."""
MOST_FILES = 4_000
"""Files beside those that were read; a model among more is always loaded."""
SETTLED_SECONDS = 2.0
"""A file counts as unchanged since loading if it was changed so long before: clocks of file systems are coarse."""
WHOLE_BYTES = 1 << 20
"""Files up to this size are compared whole, larger ones in blocks."""
N_BLOCKS, BLOCK_BYTES = 16, 4096
VARIABLES = (
    "CUDA", "CUBLAS", "CUDNN", "GGML", "HF_", "HIP", "HOME", "HUGGINGFACE", "KMP_", "LD_", "MKL_", "NVIDIA", "OMP_",
    "ONNX", "OPENBLAS", "ORT_", "PYTHON", "PYTORCH", "ROC", "SENTENCE_TRANSFORMERS", "TIMM", "TOKENIZERS", "TORCH",
    "TRANSFORMERS", "TRITON", "XDG_",
)  # fmt: skip
"""Beginnings of the environment variables that libraries of models look at."""
IMPORTABLE = (".py", ".so", ".pyd", ".pth", ".dist-info", ".egg-info", ".egg-link")
ACCELERATORS = ("nvidia", "kfd", "dri", "accel", "davinci", "hl")
"""Beginnings of the names of accelerators in /dev."""
SYSTEM = ("/proc/", "/sys/", "/dev/")
"""Folders of the system's own, whose files change by themselves."""


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What a model said of itself."""

    info: ModelInfo
    findings: list[CheckFinding] | None = None
    """Warnings and faults of the quick checks; None where they were not made."""
    towers: Mapping[str, TowerRecord]
    """Size and work of each tower, by its modality."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The JSON of a file."""

    info: ModelInfo
    findings: list[CheckFinding] | None
    towers: Mapping[str, TowerRecord]
    program: Mapping[str, list[str]]
    """Source files and shared libraries, by their folders."""
    opened: list[str]
    """Files that were read; those beside them count too, as some libraries open files unseen."""
    trees: list[str]
    """Folders that count with all that is in them: those of models, and of repositories in the Hub's cache."""
    signature: str
    """Digest of the state of all these."""


class Memory:
    """The place of what one reference, loaded in one way on this machine, says of itself.

    Args:
        reference: as the user gave it.
        adapter: prefix of the adapter.
        body: the rest of the reference, aliases resolved.
        root: folder of the store.
    """

    def __init__(self, reference: str, adapter: str, body: str, options: LoadOptions, root: Path) -> None:
        self._root = root
        self._body = os.path.abspath(body)
        self._name = f"{PREFIX}{_circumstances(reference, adapter, body, options)}{SUFFIX}"
        self._reading = _Reading(0, set())

    def recall(self) -> Recalled | None:
        """Return what the model said, None where something may have changed since."""
        for path in self._paths():
            content = _read(path)
            with suppress(OSError, _Untold):
                if content is not None and _signature(content.program, _data_files(content)) == content.signature:
                    return Recalled(info=content.info, findings=content.findings, towers=content.towers)
        return None

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Watch which files are read in the block, which loads the model."""
        with _watch() as opened:
            self._reading = _Reading(time.time_ns(), opened)
            yield

    def keep(self, recalled: Recalled) -> None:
        """Keep what a model says that has just been loaded, if what it was loaded from can be told and is at rest."""
        folder = folder_of(self._root, recalled.info.fingerprint)
        if not self._reading.start or not folder.is_dir():
            return
        with suppress(OSError, MachineError, _Untold):  # it is loaded again, then
            content = self._content(recalled)
            text = json.dumps(asdict(content)).encode()
            self.forget()
            write_atomic({folder / self._name: _sum(text) + text})
            for old in _by_age(folder)[MOST_KEPT:]:
                old.unlink()

    def forget(self) -> None:
        """Remove what is kept."""
        for path in self._paths():
            with suppress(OSError):
                path.unlink()

    def _paths(self) -> list[Path]:
        with suppress(OSError):
            paths = [Path(folder) / self._name for folder in os.scandir(self._root / "store")]
            return [path for path in paths if os.path.isfile(path)]
        return []

    def _content(self, recalled: Recalled) -> _Content:
        repositories = {path: _hub_repository(path) for path in self._reading.opened}
        content = _Content(
            info=recalled.info,
            findings=recalled.findings,
            towers=recalled.towers,
            program=_program_files(),
            opened=sorted(
                path for path, repository in repositories.items() if repository is None and os.path.isfile(path)
            ),
            trees=sorted({self._body, *filter(None, repositories.values())}),
            signature="",
        )
        before = self._reading.start - round(SETTLED_SECONDS * 1e9)
        return replace(content, signature=_signature(content.program, _data_files(content), before=before))


def memory_of(reference: str, adapter: str, body: str, options: LoadOptions, root: Path) -> Memory | None:
    """Return where a model's words are kept; None for one that has to be loaded to know what it is."""
    is_ours = adapter in ADAPTERS and plugins.distribution(plugins.MODELS, adapter) == plugins.OURS
    # Windows keeps no time at which a file was changed that a copy could not set back.
    if not is_ours or options.trust_remote_code or plugins.has_foreign_code() or os.name == "nt":
        return None
    return Memory(reference, adapter, body, options, root)


def is_memory(name: str) -> bool:
    """Return whether a file beside the vectors of a model is one of this module's, by its name."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


class _Untold(Exception):
    """Nobody can tell whether the files of a model are those that it was loaded from."""


class _Reading(NamedTuple):
    start: int
    """When loading began, in nanoseconds since 1970; 0 if the model was not loaded."""
    opened: set[str]


# -- the circumstances of loading


def _circumstances(reference: str, adapter: str, body: str, options: LoadOptions) -> str:
    """Return a digest of all that a model may depend on and that can be known before it is loaded."""
    given = {each.name: getattr(options, each.name) for each in fields(options)}
    given["options"] = sorted(options.options.items())
    return digest(__version__, reference, adapter, body, os.getcwd(), sorted(given.items()), *surroundings())


@cache
def surroundings() -> tuple[object, ...]:
    """Return what is equal for all models of a process, as it was before the first was loaded: libraries change it."""
    return (
        (sys.version, sys.executable, sys.flags, os.uname(), os.cpu_count(), _n_usable(), _accelerators()),
        sorted((name, value) for name, value in os.environ.items() if name.upper().startswith(VARIABLES)),
        [(folder, _importable(folder or os.curdir)) for folder in sys.path],
    )


def _n_usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _accelerators() -> list[str]:
    """Return names of accelerators and the version of their driver, as far as the system shows them in files."""
    found = []
    with suppress(OSError):
        found = sorted(name for name in os.listdir("/dev") if name.startswith(ACCELERATORS))
    with suppress(OSError):
        found.append(Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace"))
    return found


def _importable(folder: str) -> list[str]:
    """Return the names of modules, packages and distributions in a folder: versions are part of the last."""
    with suppress(OSError):
        return sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.name.endswith(IMPORTABLE) or os.path.isfile(os.path.join(entry.path, "__init__.py"))
        )
    return []


# -- the files


class _Watch:
    """The files that Python opens for reading, but for its own source: an audit hook, which stays once it is there."""

    def __init__(self) -> None:
        self._is_hooked = False
        self._opened: set[str] | None = None
        self._of_packages: set[str] = set()

    @contextmanager
    def __call__(self) -> Iterator[set[str]]:
        """Yield a set that is filled in the block.

        In the end it has also those files of packages that were read for an earlier model: a library reads its settings
        once in a process.
        """
        if not self._is_hooked:
            sys.addaudithook(self._note)
            self._is_hooked = True
        opened: set[str] = set()
        self._opened = opened
        try:
            yield opened
        finally:
            self._opened = None
            self._of_packages |= {path for path in opened if path.startswith(_package_folders())}
            opened |= self._of_packages

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if self._opened is None or event != "open" or not isinstance(args[0], str | bytes | os.PathLike):
            return
        is_written = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = os.path.abspath(os.fsdecode(args[0]))
        if not is_written and not path.endswith((".py", ".pyc")) and not path.startswith(SYSTEM):
            self._opened.add(path)


_watch = _Watch()


@cache
def _package_folders() -> tuple[str, ...]:
    """Return the folders that packages are installed in, each with a separator at its end."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = [folder for folder in sys.path if os.path.basename(folder) in ("site-packages", "dist-packages")]
    return tuple(os.path.join(folder, "") for folder in (own, *installed))


def _program_files() -> dict[str, list[str]]:
    """Return the files of all modules that are imported, and of all shared libraries that are mapped."""
    modules = [vars(module).get("__file__") for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    found = {os.path.abspath(path) for path in modules if isinstance(path, str)}
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        mapped = {line.partition("/") for line in maps}
        libraries = {f"/{path.rstrip()}" for _, slash, path in mapped if slash and ".so" in path}
        found |= {path for path in libraries if os.path.isfile(path)}
    return _by_folder(found)


def _hub_repository(path: str) -> str | None:
    """Return the folder of a repository in the Hub's cache that a file lies in: links lead from one part to another."""
    parts = path.split(os.sep)
    at = next((at for at, part in enumerate(parts) if part.startswith("models--")), None)
    return None if at is None else os.sep.join(parts[: at + 1])


def _data_files(content: _Content) -> dict[str, list[str]]:
    """Return the files that were read, with all that lies beside them now; raise _Untold where they are too many."""
    found = {*content.opened}
    for folder in {os.path.dirname(path) for path in content.opened}:
        found |= {entry.path for entry in os.scandir(folder) if entry.is_file()}
    for tree in content.trees:
        found.add(tree)  # a file, or a name on the Hub that must not become a folder here
        for inside, folders, names in os.walk(tree):
            if any(os.path.islink(os.path.join(inside, name)) for name in folders):
                raise _Untold
            found.update(os.path.join(inside, name) for name in names)
            if len(found) > MOST_FILES:
                raise _Untold
    if len(found) > MOST_FILES:
        raise _Untold
    return _by_folder(found)


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return names by their folders, which takes a third of the room of whole paths."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def _paths_of(files: Mapping[str, list[str]]) -> Iterator[str]:
    return (f"{folder}/{name}" for folder, names in files.items() for name in names)


def _signature(program: Mapping[str, list[str]], data: Mapping[str, list[str]], *, before: int | None = None) -> str:
    """Return a digest of the state of files: what the system says of each, and parts of the content of data.

    The time of any change cannot be set back, unlike that of a modification, and a file that takes the place of another
    has another inode. The content is there for file systems that keep neither. The time of any change does not count for
    files of packages: installers link them into other environments, and each link changes it.

    Args:
        before: nanoseconds since 1970.

    Raises:
        _Untold: a file was changed later than ``before``.
    """
    hasher = hashlib.blake2b(digest_size=16)
    latest = 0
    for path in _paths_of(program):
        *state, _ = _state(path)
        hasher.update(repr((path, state)).encode(errors="surrogatepass"))
        latest = max(latest, state[-1])
    for path in _paths_of(data):
        content, state = _sample(path), [*_state(path)]
        if path.startswith(_package_folders()):
            state.pop()
        hasher.update(repr((path, state, len(content))).encode(errors="surrogatepass") + content)
        latest = max(latest, state[-1])
    if before is not None and latest > before:
        raise _Untold
    return hasher.hexdigest()


def _state(path: str) -> tuple[int, ...]:
    """Return inode, mode, size, times of modification and of any change of a file, links followed; zeros if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0, 0, 0)
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sample(path: str) -> bytes:
    """Return a file's content if it is small, else blocks from its beginning to its end; nothing where there is none.

    Opening has a network file system ask its server for the state of the file.
    """
    try:
        with open_file(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes <= WHOLE_BYTES:
                return file.read()
            blocks = []
            for number in range(N_BLOCKS):
                file.seek((n_bytes - BLOCK_BYTES) * number // (N_BLOCKS - 1))
                blocks.append(file.read(BLOCK_BYTES))
            return b"".join(blocks)
    except OSError:
        return b""


# -- the file of the memory


def _sum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode() + b"\n"


def _read(path: Path) -> _Content | None:
    """Return the content of a file, None where it is damaged or of another version."""
    try:
        total, _, text = read_bytes(path, MOST_BYTES_OF_SETTINGS).partition(b"\n")
        if total + b"\n" != _sum(text):
            return None
        return fitted(_Content, decode_json(text.decode(), is_text=False))
    except (OSError, ValueError, SchemaError):
        return None


def _by_age(folder: Path) -> list[Path]:
    """Return the files of a model, the newest first."""
    kept = [path for path in folder.iterdir() if is_memory(path.name)]
    return sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)
