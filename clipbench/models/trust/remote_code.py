"""Code that comes with a model: run only if the user allows it, from one commit of a Hub repository, shown before.

A branch may hold other code tomorrow, and a folder is pinned by nothing, so neither will do (design/security.md).
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipbench.errors import ModelError, UsageError
from clipbench.files import is_inside
from clipbench.hub import HUB_NAME
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.untrusted.reading import is_folder, read_json
from clipbench.untrusted.terminal import printable

COMMIT = r"[0-9a-f]{40}"
CLASS_ELSEWHERE = re.compile(r"(?!\w+://)(.+)--[^\W\d][\w/-]*(\.[^\W\d]\w*)+")
"""A class of another place, such as ``org/code--module.Class``, wherever it stands in a model's files."""

SETTINGS = ("*.json", "*.py", "*.txt", "*.model", "*.jinja")
"""Files of a repository that are fetched in any case; weights follow in the form that is there."""

WEIGHTS = ("*.safetensors", "*.bin")
"""Forms of weights, best first."""

ELSEWHERE = ("onnx/*", "openvino/*", "*.onnx", "*.msgpack", "*.h5", "*.gguf")


@dataclass(frozen=True)
class Pinned:
    """A folder, or a repository of the Hub that may be pinned to a commit."""

    name: str
    commit: str | None = None


@dataclass(frozen=True)
class TrustedCode:
    """The code that a model may run."""

    identity: str
    """Hash of all of its files."""
    note: str
    folder: Path
    """The model's own."""
    other: Pinned | None
    """The other repository that holds code, if any."""


def pinned(body: str, reference: str, options: LoadOptions) -> Pinned:
    """Return the folder or repository of a reference ``FOLDER``, ``ORG/REPO`` or ``ORG/REPO@COMMIT``.

    Raises:
        UsageError: it is none of them, or code shall be run that no commit pins.
    """
    prefix = reference.partition(":")[0]
    needs = f"--trust-remote-code runs code at a commit that you have read: expected {prefix}:ORG/REPO@COMMIT, 40 hex digits"
    if is_folder(body):
        if options.trust_remote_code:
            raise UsageError(f"{reference} is a folder, which no commit pins, and {needs}")
        return Pinned(body)
    found = re.fullmatch(rf"({HUB_NAME})(?:@(.*))?", body)
    if found is None:
        raise UsageError(
            f"'{reference}' is no folder, nor a name on the Hub: expected {prefix}:FOLDER or {prefix}:ORG/REPO"
        )
    name, commit = found[1], found[2]
    if commit is not None and not re.fullmatch(COMMIT, commit):
        raise UsageError(
            f"'{reference}' names '{commit}', which may change: expected a commit, {prefix}:ORG/REPO@ and 40 hex digits"
        )
    if commit is None and options.trust_remote_code:
        raise UsageError(f"{reference} names no commit, and {needs}; a branch may hold other code tomorrow")
    return Pinned(name, commit)


def snapshot(name: str, commit: str | None, *more: str) -> Path:
    """Return the folder of a repository's files, without weights of other libraries; an incomplete one in the cache is none.

    Args:
        more: patterns of further files.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    ignored = [pattern for pattern in ELSEWHERE if not more]
    folder = Path(snapshot_download(name, revision=commit, allow_patterns=[*SETTINGS, *more], ignore_patterns=ignored))
    if more and any(folder.rglob(pattern) for pattern in more):
        return folder
    for form in WEIGHTS:
        snapshot_download(name, revision=commit, allow_patterns=[form], ignore_patterns=ignored)
        if any(folder.rglob(form)):
            return folder
    raise LocalEntryNotFoundError(f"the cache holds no weights of {name}")


def show_code(source: Pinned, folder: Path, options: LoadOptions) -> TrustedCode | None:
    """Print which code of a repository is about to be run; None where it brings none.

    Raises:
        ModelError: its code lies in another repository, which the commit does not pin.
    """
    others = sorted(_other_places(folder))
    commit = options.options.get("code_commit")
    folders, other = {f"{source.name}@{source.commit}": folder}, None
    if others:
        if len(others) > 1 or commit is None or not re.fullmatch(COMMIT, commit):
            raise ModelError(
                f"the code of {source.name} lies in {', '.join(others)}, which its commit does not pin: add --model-option"
                " code_commit=COMMIT, 40 hex digits of that repository"
            )
        other = Pinned(others[0], commit)
        folders[f"{other.name}@{commit}"] = _code_snapshot(other.name, commit)
    files = [(name, path) for name, place in folders.items() for path in sorted(place.rglob("*.py"))]
    if not files:
        return None
    lines, hashes = [], []
    for name, path in files:
        content = path.read_bytes()
        hashes.append(hashlib.sha256(content).hexdigest())
        relative = path.relative_to(folders[name])
        n_lines = len(content.splitlines())
        lines.append(f"{relative} ({n_lines} lines, sha256 {hashes[-1][:12]})")
    note = f"runs code of {', '.join(folders)}: {', '.join(lines)}"
    print(f"note: --trust-remote-code {printable(note)}; it lies in {folder}", file=sys.stderr, flush=True)
    return TrustedCode(digest(*hashes), note, folder, other)


@contextmanager
def only_shown(code: TrustedCode) -> Iterator[None]:
    """Let transformers import the code that was shown, of its commit, and none of another place."""
    from transformers import dynamic_module_utils as dynamic

    library = dynamic.get_cached_module_file

    def shown_file(place: str, file: str, **settings: Any) -> Any:
        if code.other is not None and str(place) == code.other.name:
            settings["revision"] = code.other.commit  # sentence-transformers passes code_revision to one module only
        elif not is_inside(Path(place), code.folder):
            raise ModelError(f"the model asks for code of {place} ({file}), which was not shown: it is not run")
        return library(place, file, **settings)

    dynamic.get_cached_module_file = shown_file
    try:
        yield
    finally:
        dynamic.get_cached_module_file = library


def _code_snapshot(name: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=["*.py", "*.json"]))


def _other_places(folder: Path) -> set[str]:
    """Return the places before ``--`` in the names of classes that the files of a model hold, however deep."""
    values = [read_json(path, ModelError) for path in sorted(folder.rglob("*.json"))]
    places = set()
    for value in values:
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and (found := CLASS_ELSEWHERE.fullmatch(value)):
            places.add(found[1])
    return places
