"""Files of a model: of a folder, or of a repository of the Hub that may be pinned to a commit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipbench.errors import UsageError, option
from clipbench.hub import HUB_NAME
from clipbench.models.options import LoadOptions
from clipbench.untrusted.reading import is_file, is_folder


def file_of(name: str, file: str) -> Path | None:
    """Return a file of a folder, or of a repository of the Hub, or None if there is none."""
    if is_folder(name):
        path = Path(name, file)
        return path if is_file(path) else None
    return hub_file(name, file)


def hub_file(name: str, file: str) -> Path | None:
    """Return a file of a Hub repository, or None if it does not exist, or is not cached when offline."""
    from huggingface_hub import hf_hub_download, is_offline_mode
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except LocalEntryNotFoundError:
        if not is_offline_mode():  # the Hub did not say that there is none
            raise
        return None
    except (EntryNotFoundError, HFValidationError):  # the latter for a path
        return None


COMMIT = r"[0-9a-f]{40}"


SETTINGS = ("*.json", "*.py", "*.txt", "*.model", "*.jinja")
"""Files of a repository that are fetched in any case. Weights follow in the available form."""


WEIGHTS = ("*.safetensors", "*.bin")
"""Forms of weights, best first."""


ELSEWHERE = ("onnx/*", "openvino/*", "*.onnx", "*.msgpack", "*.h5", "*.gguf")


@dataclass(frozen=True)
class Pinned:
    """A folder, or a repository of the Hub that may be pinned to a commit."""

    name: str
    commit: str | None = None


def resolve_source(body: str, reference: str, options: LoadOptions) -> Pinned:
    """Return the source of a reference ``FOLDER``, ``ORG/REPO`` or ``ORG/REPO@COMMIT``.

    Raises:
        UsageError: another form, or code that no commit pins shall run.
    """
    prefix = reference.partition(":")[0]
    needs = (
        f"{option('trust_remote_code', True)} only runs code at a commit that you have read: expected"
        f" {prefix}:ORG/REPO@COMMIT, 40 hex digits"
    )
    if is_folder(body):
        if options.trust_remote_code:
            raise UsageError(f"{reference} is a folder, so its code has no commit, but {needs}")
        return Pinned(body)
    match = re.fullmatch(rf"({HUB_NAME})(?:@(.*))?", body)
    if match is None:
        raise UsageError(
            f"'{reference}' is neither a folder nor a name on the Hub: expected {prefix}:FOLDER or {prefix}:ORG/REPO"
        )
    name, commit = match[1], match[2]
    if commit is not None and not re.fullmatch(COMMIT, commit):
        raise UsageError(
            f"'{reference}' names '{commit}', which may change: expected a commit, {prefix}:ORG/REPO@ and 40 hex digits"
        )
    if commit is None and options.trust_remote_code:
        raise UsageError(f"{reference} names no commit, but {needs}. The code of a branch may change")
    return Pinned(name, commit)


def snapshot_folder(name: str, commit: str | None, forms: Sequence[str] = WEIGHTS) -> Path:
    """Return the folder of a repository's files, without weights for other libraries, ignoring an incomplete cache.

    Args:
        forms: of weights, of which the first that is there is fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = settings_folder(name, commit)
    for form in forms:
        snapshot_download(name, revision=commit, allow_patterns=[form], ignore_patterns=[*ELSEWHERE])
        if any(folder.rglob(form)):
            return folder
    raise LocalEntryNotFoundError(f"the cache holds no weights of {name}")


def settings_folder(name: str, commit: str | None = None) -> Path:
    """Return the folder of a repository's files except its weights."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=[*SETTINGS], ignore_patterns=[*ELSEWHERE]))
