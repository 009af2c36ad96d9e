"""The load cache: a run whose vectors are all stored takes the description of its model from the last loading.

The description is valid while nothing that loading depends on has changed: the reference and the options, the machine
and its accelerators, variables of the environment, versions of packages, and the files that the adapter has named
(``Model.files``), by their size and times. In doubt the model is loaded: design/fingerprint.md.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from clipbench import __version__, plugins
from clipbench.data.modalities import TEXT
from clipbench.errors import MachineError, ModelError
from clipbench.files import write_atomic
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.pipeline import item_of
from clipbench.models.encoding.store import DESCRIPTION_PREFIX, DESCRIPTION_SUFFIX, TOKENS, Shelf, model_folder
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ClassVectors, Model, ModelInfo, Notes, PromptVectors, TokenCounts
from clipbench.models.reference import Loaded
from clipbench.results.record import CheckFinding, TowerRecord
from clipbench.untrusted.reading import decode_json, read_bytes
from clipbench.untrusted.schema import SchemaError, parse_record

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
class ModelDescription:
    """The facts of a model that a run needs if all vectors are stored."""

    info: ModelInfo
    findings: list[CheckFinding] | None = None
    """Warnings and faults of the quick checks, or None if they were not made."""
    towers: Mapping[str, TowerRecord]
    """Size and work of each tower, by its modality."""
    roots: list[str] = field(default_factory=list)
    """Files, and folders with all that is in them, that the model was loaded from."""
    state: Mapping[str, list[int]] = field(default_factory=dict)
    """Files with their size and the times, in nanoseconds since 1970, of their last modification and of any change."""


class LoadCache:
    """The stored description of one reference, loaded in one way on this machine.

    Args:
        parts: the user's reference, the prefix of its adapter, and the rest of it with aliases resolved.
    """

    def __init__(self, parts: tuple[str, str, str], options: LoadOptions, root: Path) -> None:
        values = {option.name: getattr(options, option.name) for option in fields(options)}
        values["options"] = sorted(options.options.items())
        key = digest(*parts, os.getcwd(), sorted(values.items()), *_environment_key())
        self._root = root
        self._name = f"{DESCRIPTION_PREFIX}{key}{DESCRIPTION_SUFFIX}"
        self._start = time.time_ns()

    def read(self) -> ModelDescription | None:
        """Return the description of the last loading, None if something may have changed since."""
        for path in self._paths():
            with suppress(OSError, ValueError, SchemaError):
                total, _, text = read_bytes(path).partition(b"\n")
                if total + b"\n" == _sum(text):
                    content = parse_record(ModelDescription, decode_json(text.decode(), is_text=False))
                    if _state(content.roots) == content.state:
                        return content
        return None

    def write(self, description: ModelDescription, files: Sequence[Path]) -> None:
        """Store the description of a model and the state of its files, unless they have just changed."""
        folder = model_folder(self._root, description.info.fingerprint)
        roots = sorted(os.path.abspath(file) for file in files)
        with suppress(OSError, MachineError):  # without a description, the model is loaded again
            state = _state(roots)
            latest = max((max(times) for _, *times in state.values()), default=self._start)
            if latest > self._start - SETTLED_SECONDS * 1e9 or not folder.is_dir():
                return
            text = json.dumps(asdict(replace(description, roots=roots, state=state))).encode()
            self.remove()
            write_atomic({folder / self._name: _sum(text) + text})

    def remove(self) -> None:
        """Remove the description."""
        for path in self._paths():
            with suppress(OSError):
                path.unlink()

    def _paths(self) -> list[Path]:
        with suppress(OSError):
            paths = [Path(folder) / self._name for folder in os.scandir(self._root / "store")]
            return [path for path in paths if os.path.isfile(path)]
        return []


class CachedEmbedder(StoreEmbedder):
    """A model with a load cache: it is loaded only when the store does not have something.

    Args:
        model: loaded, or described by its last loading.
        cache: keeps the description of the model. Token counts are stored too.
        load: loads the model.
        options: as in ``StoreEmbedder``.
    """

    def __init__(
        self, model: Model | ModelDescription, root: Path, cache: LoadCache, load: Callable[[], Loaded], **options: Any
    ) -> None:
        self._description = model if isinstance(model, ModelDescription) else None
        self._cache = cache
        self._load = load
        self._load_error: Exception | None = None
        super().__init__(_NotLoaded(model.info) if isinstance(model, ModelDescription) else model, root, **options)
        self._sizes = dict(model.towers) if isinstance(model, ModelDescription) else None
        self._token_counts = Shelf(root, self.info.fingerprint, TOKENS, 1)

    @property
    def model(self) -> Model:
        """The model, loaded at the first use, or raise ClipbenchError if it fails or differs from its description."""
        if self._description is not None:
            if self._load_error is not None:
                raise self._load_error
            try:
                self._loaded = self._load_described()
            except Exception as error:
                self._load_error = error
                raise
            self._description = None
        return self._loaded

    @model.setter
    def model(self, model: Model) -> None:
        self._loaded = model

    def _load_described(self) -> Model:
        loaded = self._load()
        if not isinstance(loaded.model, Model) or loaded.model.info.fingerprint != self.info.fingerprint:
            self._cache.remove()
            raise ModelError(
                f"model {self.info.ref} has changed since the run began, because its files were changed: "
                "run the command again"
            )
        self.probes = loaded.probes
        return loaded.model

    @property
    def notes(self) -> Notes:
        return tuple(self._store_notes()) if self._description is not None else super().notes

    def combine(self, by_prompt: PromptVectors) -> ClassVectors | None:
        # Only models of files are described, and none of them combines prompts in its own way.
        return None if self._description is not None else super().combine(by_prompt)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        keys = [item_of(TEXT, text).key for text in texts]
        missing_keys = self._token_counts.missing(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key in missing_keys}
        if missing:
            counts = self.model.count_tokens([*missing.values()])
            self._token_counts.prepare(len(counts))
            self._token_counts.put([*missing], counts[:, None].astype(np.float32))
        return self._token_counts.get(keys)[:, 0].astype(np.int64)

    def stored_findings(self) -> list[CheckFinding] | None:
        return None if self._description is None else self._description.findings

    def store_findings(self, findings: list[CheckFinding] | None) -> None:
        if self._load_error is not None:
            raise self._load_error
        if self._description is None and self.model.files:
            self._cache.write(
                ModelDescription(info=self.info, findings=findings, towers=self.sizes()), self.model.files
            )


class _NotLoaded(Model):
    """The identity of a model that is not loaded."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info


def load_cache_of(reference: str, adapter: str, body: str, options: LoadOptions, root: Path) -> LoadCache | None:
    """Return the load cache of a reference, or None if only loading shows which model it is."""
    is_ours = plugins.distribution(plugins.MODELS, adapter) == plugins.OURS
    # Windows keeps no time at which a file was changed that a copy could not set back.
    if not is_ours or options.trust_remote_code or plugins.has_foreign_code() or os.name == "nt":
        return None
    return LoadCache((reference, adapter, body), options, root)


@cache
def _environment_key() -> tuple[object, ...]:
    """Return the facts that are equal for all models of a process: code, packages, machine and environment."""
    sources = sorted(Path(__file__).parents[2].rglob("*.py"))
    versions = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    return (
        (__version__, [(str(path), *_times(path)) for path in sources], versions),
        (platform.python_version(), platform.uname(), [os.path.exists(device) for device in ACCELERATORS]),
        sorted((name, value) for name, value in os.environ.items() if name.startswith(VARIABLES)),
    )


def _state(roots: Sequence[str]) -> dict[str, list[int]]:
    """Return the state of files, and of all files in folders, following links."""
    files = [root for root in roots if not os.path.isdir(root)]
    for folder in (root for root in roots if os.path.isdir(root)):
        for inside, folders, names in os.walk(folder):
            if len(files) > MOST_FILES or any(os.path.islink(os.path.join(inside, name)) for name in folders):
                raise OSError("too many files, or links to folders, to be sure of")
            files += [os.path.join(inside, name) for name in names]
    return {file: _times(Path(file)) for file in sorted(files)}


def _times(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode() + b"\n"
