"""Code that comes with a model: none of it runs, or only what was shown before, from one commit of a Hub repository.

``no_foreign_code`` holds while a library loads: it lets none of them run a model's Python files or unpickle objects,
however it was asked to. A branch may hold other code tomorrow, and a folder is pinned by nothing: design/security.md.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from clipbench.errors import ModelError, model_option, option
from clipbench.files import is_inside
from clipbench.models.fingerprint import digest
from clipbench.models.hub_files import COMMIT, Pinned
from clipbench.models.options import LoadOptions
from clipbench.untrusted.reading import read_json
from clipbench.untrusted.terminal import printable

ENVIRONMENT = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None,
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
"""The first makes torch.load refuse objects even if a library requests them, and excludes the second. Without the
third, transformers reports to a service of the Hub, from a thread, which pickled weights it has loaded.
"""


@contextmanager
def no_foreign_code() -> Iterator[None]:
    """Make torch and transformers refuse a model's own code and pickled objects, however they are asked for them."""
    from transformers import dynamic_module_utils as dynamic

    replaced = {name: getattr(dynamic, name) for name in ("get_cached_module_file", "get_class_in_module")}
    seconds, environment = dynamic.TIME_OUT_REMOTE_CODE, {name: os.environ.get(name) for name in ENVIRONMENT}
    for name in replaced:
        setattr(dynamic, name, _refuse_code)
    dynamic.TIME_OUT_REMOTE_CODE = 0  # else it asks on the terminal whether to run the code
    _set_environment(ENVIRONMENT)
    try:
        yield
    finally:
        for name, function in replaced.items():
            setattr(dynamic, name, function)
        dynamic.TIME_OUT_REMOTE_CODE = seconds
        _set_environment(environment)


def needs_code_error(reference: str) -> ModelError:
    """Return the error for a model that its library cannot build without the model's own code."""
    return ModelError(
        f"{reference} needs Python code from its repository, which is not run by default: give"
        f" {option('trust_remote_code', True)} with ORG/REPO@COMMIT after reading the code, wrap the model as"
        " python:MODULE:FACTORY, or store its vectors and give embeddings:FILE"
    )


def is_code_request(error: BaseException) -> bool:
    """Return whether a library's error is about running a model's own code."""
    return "trust_remote_code" in str(error)


def _refuse_code(*_: object, **__: object) -> NoReturn:
    raise ValueError("the model's own code is not run (trust_remote_code)")


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


CLASS_ELSEWHERE = re.compile(r"(?!\w+://)(.+)--[^\W\d][\w/-]*(\.[^\W\d]\w*)+")
"""A class of another place, such as ``org/code--module.Class``, anywhere in a model's files."""


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


def show_code(source: Pinned, folder: Path, options: LoadOptions) -> TrustedCode | None:
    """Print and return the code of a repository that is about to run, or return None if it has none.

    Raises:
        ModelError: the code is in another repository, which the commit does not pin.
    """
    from huggingface_hub import snapshot_download

    repositories = sorted(_code_repositories(folder))
    commit = options.options.get("code_commit")
    folders, other = {f"{source.name}@{source.commit}": folder}, None
    if repositories:
        if len(repositories) > 1:
            raise ModelError(
                f"the code of {source.name} is in {', '.join(repositories)}: expected one repository besides its own"
            )
        if commit is None or not re.fullmatch(COMMIT, commit):
            raise ModelError(
                f"the code of {source.name} is in {repositories[0]}, which its commit does not pin:"
                f" add {model_option(code_commit='COMMIT')}, a commit of that repository (40 hex digits)"
            )
        other = Pinned(repositories[0], commit)
        folders[f"{other.name}@{commit}"] = Path(
            snapshot_download(other.name, revision=commit, allow_patterns=["*.py", "*.json"])
        )
    files: list[tuple[str, Path]] = []
    for name, root in folders.items():
        files += [(name, path) for path in sorted(root.rglob("*.py"))]
    if not files:
        return None
    lines, hashes = [], []
    for name, path in files:
        content = path.read_bytes()
        hashes.append(hashlib.sha256(content).hexdigest())
        described = f"({len(content.splitlines())} lines, sha256 {hashes[-1][:12]})"
        lines.append(f"{path.relative_to(folders[name])} {described}")
    note = f"runs code of {', '.join(folders)}: {', '.join(lines)}"
    print_load_note(f"{option('trust_remote_code', True)} {note}, stored in {folder}")
    return TrustedCode(digest(*hashes), note, folder, other)


def print_load_note(note: str) -> None:
    """Print a note about a model that is about to be loaded, also for callers from Python."""
    print(f"note: {printable(note)}", file=sys.stderr, flush=True)


@contextmanager
def only_shown_code(code: TrustedCode) -> Iterator[None]:
    """Let transformers import only the code that was shown, at its commit."""
    from transformers import dynamic_module_utils as dynamic

    library = dynamic.get_cached_module_file

    def shown_file(location: str, file: str, **settings: Any) -> Any:
        if code.other is not None and str(location) == code.other.name:
            settings["revision"] = code.other.commit  # sentence-transformers passes code_revision to one module only
        elif not is_inside(Path(location), code.folder):
            raise ModelError(
                f"the model requests code of {location} ({file}), which is not the code that was shown: it was not run"
            )
        return library(location, file, **settings)

    dynamic.get_cached_module_file = shown_file
    try:
        yield
    finally:
        dynamic.get_cached_module_file = library


def _code_repositories(folder: Path) -> set[str]:
    """Return the repositories before ``--`` in class names of the model's JSON files, at any depth."""
    values = [read_json(path, ModelError) for path in sorted(folder.rglob("*.json"))]
    repositories = set()
    for value in values:
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str) and (match := CLASS_ELSEWHERE.fullmatch(value)):
            repositories.add(match[1])
    return repositories
