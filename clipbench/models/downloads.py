"""Files of models from the Hub, each held once against the hash that names it in the Hub's cache.

The Hub's client checks the length of a file alone, and a damaged model may load: with other numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from clipbench.errors import ClipbenchError, MachineError, ModelError, Unavailable
from clipbench.files import default_root, write_atomic
from clipbench.hub import HubRequest, cached_first, files_of
from clipbench.models.fingerprint import digest
from clipbench.models.trust import say
from clipbench.untrusted.reading import is_folder, matching, open_file, read_json

SHA256, SHA1 = r"[0-9a-f]{64}", r"[0-9a-f]{40}"
"""Names of files by their content: large ones, and those that lie in git. Mirrors may give other names, which say
nothing.
"""

T = TypeVar("T")


def from_hub(load: Callable[[], T], wanted: HubRequest) -> T:
    """Return the result of ``load`` as ``cached_first`` does, with files that are whole: damaged ones are fetched
    again.

    Raises:
        Unavailable: as ``cached_first``, or they arrive damaged again.
    """
    damaged: list[str] = []
    for _ in range(2):
        failure: Exception | None = None
        try:
            found = cached_first(load, wanted)
        except Exception as error:  # noqa: BLE001  raised below, unless a damaged file may be its cause
            failure = error
        damaged = remove_damaged(files_of(wanted.repository))
        if not damaged and failure is not None:
            raise failure
        if not damaged:
            return found
    raise Unavailable(
        f"cannot get {wanted.what} from Hub repository {wanted.repository}: {', '.join(damaged)} arrived damaged twice:"
        f" try another network or mirror; {wanted.remedy}"
    )


def check_fingerprint(reference: str, options: object, fingerprint: str, files: Iterable[Path]) -> None:
    """Raise ModelError where a model has another fingerprint than when it was last loaded in the same way, and its
    files on the disk are damaged; they are removed.
    """
    key = digest(reference, options)
    for folder in [each for each in files if is_folder(each / "blobs")]:
        if _remembered(folder).get(key, fingerprint) != fingerprint:
            check_again(reference, [folder])
        _remember(folder, {**_remembered(folder), key: fingerprint})


def check_again(reference: str, files: Iterable[Path]) -> None:
    """Raise ModelError where files of a model whose fingerprint has changed are damaged on the disk; they are
    removed.
    """
    for folder in files:
        if damaged := remove_damaged(folder, is_trusting=False):
            raise ModelError(
                f"{reference} has another fingerprint than before: {', '.join(damaged)} was damaged on the disk, and is"
                " removed; the same command fetches it again"
            )


def remove_damaged(folder: Path, *, is_trusting: bool = True) -> list[str]:
    """Remove the files of a repository in the Hub's cache whose content is not what their name says; return their
    names.

    Each is read once: that it is whole is remembered by its size and times.

    Args:
        is_trusting: False to read all of them again.
    """
    blobs = [path for path in matching(folder / "blobs", "*") if re.fullmatch(f"{SHA256}|{SHA1}", path.name)]
    states = {path: [path.stat().st_size, path.stat().st_mtime_ns] for path in blobs}
    known = _remembered(folder)
    doubtful = [path for path, state in states.items() if not is_trusting or known.get(path.name) != state]
    damaged = [path for path in doubtful if not _is_whole(path)]
    names = []
    for path in damaged:
        links = [link for link in matching(folder, "snapshots/*/**/*") if link.resolve() == path.resolve()]
        names.append(links[0].name if links else path.name)
        say(f"{names[-1]} is damaged and removed: {path}")
        try:
            path.unlink()
        except OSError as error:
            raise MachineError(f"cannot remove {path}, which is damaged: {error.strerror or error}") from error
    if doubtful:
        _remember(folder, known | {path.name: state for path, state in states.items() if path not in damaged})
    return names


def _remembered(folder: Path) -> dict[str, object]:
    """Return what is remembered of a repository: size and time of files by their names, fingerprints by the way of
    loading.
    """
    with suppress(ClipbenchError):
        found = read_json(_memory(folder), ClipbenchError)
        return found if isinstance(found, dict) else {}
    return {}


def _remember(folder: Path, content: dict[str, object]) -> None:
    if content != _remembered(folder):
        with suppress(MachineError, OSError):  # it is read again, then
            _memory(folder).parent.mkdir(parents=True, exist_ok=True)
            write_atomic({_memory(folder): json.dumps(content).encode()})


def _memory(folder: Path) -> Path:
    return default_root() / "hub" / f"{digest(folder)}.json"


def _is_whole(path: Path) -> bool:
    from huggingface_hub.utils.sha import git_hash

    with open_file(path) as file:
        if len(path.name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name
        content = file.read()
    return path.name in (git_hash(content), hashlib.sha1(content).hexdigest())  # some mirrors give the latter
