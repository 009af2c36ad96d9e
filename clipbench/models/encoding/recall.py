"""The model's own description, as it was last loaded, so that a run whose vectors are all stored need not load it.

It is valid while nothing that loading depends on has changed: the reference and the options, the machine and its
accelerators, variables of the environment, versions of packages, and the files that the model's adapter has named
(``Model.files``), by their size and times. In doubt the model is loaded: design/fingerprint.md.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipbench import __version__, plugins
from clipbench.errors import MachineError
from clipbench.files import write_atomic
from clipbench.models.encoding.store import MEMORY_PREFIX, MEMORY_SUFFIX, folder_of
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo
from clipbench.results.record import CheckFinding, TowerRecord
from clipbench.untrusted.reading import decode_json, read_bytes
from clipbench.untrusted.schema import SchemaError, fitted

MOST_FILES = 4_000
"""A model of more files is always loaded."""
SETTLED_SECONDS = 2.0
"""A file counts as unchanged since loading if it was changed so long before: clocks of file systems are coarse."""
PACKAGES = (
    "ftfy",
    "huggingface-hub",
    "numpy",
    "onnxruntime",
    "open-clip-torch",
    "pillow",
    "protobuf",
    "safetensors",
    "sentence-transformers",
    "sentencepiece",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)
VARIABLES = (
    "CUDA",
    "HF_",
    "HIP",
    "HOME",
    "HUGGINGFACE",
    "PYTORCH",
    "SENTENCE_TRANSFORMERS",
    "TORCH",
    "TRANSFORMERS",
    "XDG_",
)
"""Beginnings of the environment variables that libraries of models look at."""
ACCELERATORS = ("/dev/nvidia0", "/dev/kfd", "/dev/accel")


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """The model's own description, as it was last loaded."""

    info: ModelInfo
    findings: list[CheckFinding] | None = None
    """Warnings and faults of the quick checks; None where they were not made."""
    towers: Mapping[str, TowerRecord]
    """Size and work of each tower, by its modality."""
    roots: list[str] = field(default_factory=list)
    """Files, and folders with all that is in them, that the model was loaded from."""
    state: Mapping[str, list[int]] = field(default_factory=dict)
    """Files with their size and the times, in nanoseconds since 1970, of their last modification and of any change."""


class LoadCache:
    """The place of what one reference, loaded in one way on this machine, says of itself.

    Args:
        parts: the reference as the user gave it, the prefix of its adapter, and the rest of it with aliases resolved.
    """

    def __init__(self, parts: tuple[str, str, str], options: LoadOptions, root: Path) -> None:
        given = {each.name: getattr(options, each.name) for each in fields(options)}
        given["options"] = sorted(options.options.items())
        self._root = root
        self._name = (
            f"{MEMORY_PREFIX}{digest(*parts, os.getcwd(), sorted(given.items()), *_surroundings())}{MEMORY_SUFFIX}"
        )
        self._start = time.time_ns()

    def recall(self) -> Recalled | None:
        """Return what the model said, None where something may have changed since."""
        for path in self._paths():
            with suppress(OSError, ValueError, SchemaError):
                total, _, text = read_bytes(path).partition(b"\n")
                if total + b"\n" == _sum(text):
                    content = fitted(Recalled, decode_json(text.decode(), is_text=False))
                    if _state(content.roots) == content.state:
                        return content
        return None

    def keep(self, recalled: Recalled, files: Sequence[Path]) -> None:
        """Keep what a model says that has just been loaded from some files and folders, if these are at rest."""
        folder = folder_of(self._root, recalled.info.fingerprint)
        roots = sorted(os.path.abspath(file) for file in files)
        with suppress(OSError, MachineError):  # it is loaded again, then
            state = _state(roots)
            latest = max((max(times) for _, *times in state.values()), default=self._start)
            if latest > self._start - SETTLED_SECONDS * 1e9 or not folder.is_dir():
                return
            text = json.dumps(asdict(replace(recalled, roots=roots, state=state))).encode()
            self.forget()
            write_atomic({folder / self._name: _sum(text) + text})

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


def load_cache_of(reference: str, adapter: str, body: str, options: LoadOptions, root: Path) -> LoadCache | None:
    """Return where a model's words are kept; None for one that has to be loaded to know what it is."""
    is_ours = plugins.distribution(plugins.MODELS, adapter) == plugins.OURS
    # Windows keeps no time at which a file was changed that a copy could not set back.
    if not is_ours or options.trust_remote_code or plugins.has_foreign_code() or os.name == "nt":
        return None
    return LoadCache((reference, adapter, body), options, root)


@cache
def _surroundings() -> tuple[object, ...]:
    """Return what is equal for all models of a process: own code, packages, machine and environment."""
    own = sorted(Path(__file__).parents[2].rglob("*.py"))
    versions = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    return (
        (__version__, [(str(path), *_times(path)) for path in own], versions),
        (platform.python_version(), platform.uname(), [os.path.exists(each) for each in ACCELERATORS]),
        sorted((name, value) for name, value in os.environ.items() if name.startswith(VARIABLES)),
    )


def _state(roots: Sequence[str]) -> dict[str, list[int]]:
    """Return the state of files, and of all files in folders; links are followed."""
    files = [root for root in roots if not os.path.isdir(root)]
    for folder in (root for root in roots if os.path.isdir(root)):
        for inside, folders, names in os.walk(folder):
            if len(files) > MOST_FILES or any(os.path.islink(os.path.join(inside, name)) for name in folders):
                raise OSError("too many files, or links to folders, to be sure of")
            files += [os.path.join(inside, name) for name in names]
    return {file: _times(Path(file)) for file in sorted(files)}


def _times(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _sum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode() + b"\n"
