"""Code that comes with a model: run only if the user allows it, from one commit of a Hub repository, shown before.

A branch may hold other code tomorrow, and a folder is pinned by nothing, so neither will do (design/security.md).
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipbench.errors import ModelError, UsageError
from clipbench.models._fingerprint import digest
from clipbench.models.protocol import LoadOptions
from clipbench.untrusted.reading import is_folder
from clipbench.untrusted.terminal import printable

NAME = r"[\w.-]+(?:/[\w.-]+)?"
COMMIT = r"[0-9a-f]{40}"

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
    other_commit: str | None
    """Commit of the other repository that holds the code, where the model's own does not."""


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
    found = re.fullmatch(rf"({NAME})(?:@(.*))?", body)
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
    others = sorted({place for place in _code_places(folder) if place})
    other_commit = options.options.get("code_commit")
    folders = {f"{source.name}@{source.commit}": folder}
    if others:
        if len(others) > 1 or other_commit is None or not re.fullmatch(COMMIT, other_commit):
            raise ModelError(
                f"the code of {source.name} lies in {', '.join(others)}, which its commit does not pin: add --model-option"
                " code_commit=COMMIT, 40 hex digits of that repository"
            )
        folders[f"{others[0]}@{other_commit}"] = _code_snapshot(others[0], other_commit)
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
    return TrustedCode(digest(*hashes), note, other_commit if others else None)


def _code_snapshot(name: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=["*.py", "*.json"]))


def _code_places(folder: Path) -> Iterator[str]:
    """Yield the repository of each class that the files of a model name, empty where it is the model's own."""
    for path in folder.rglob("*.json"):
        try:
            settings: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        names = settings.get("auto_map") if isinstance(settings, dict) else None
        for value in names.values() if isinstance(names, dict) else ():
            for name in value if isinstance(value, list) else [value]:
                repository, found, _ = str(name).partition("--")
                yield repository if found else ""
