"""Files of models from the Hub, each held once against the hash that names it in the Hub's cache.

The Hub's client checks the length of a file alone, and a damaged model may load: with other numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from clipbench.errors import ClipbenchError, MachineError, Unavailable
from clipbench.files import default_root, write_atomic
from clipbench.hub import HubRequest, cached_first, files_of
from clipbench.models.fingerprint import digest
from clipbench.models.trust import say
from clipbench.untrusted.reading import MOST_BYTES_OF_SETTINGS, matching, open_file, read_json

SHA256, SHA1 = r"[0-9a-f]{64}", r"[0-9a-f]{40}"
"""Names of files by their content: large ones, and those that lie in git. Mirrors may give other names, which say nothing."""

T = TypeVar("T")


def from_hub(load: Callable[[], T], wanted: HubRequest) -> T:
    """Return the result of ``load`` as ``cached_first`` does, with files that are whole: damaged ones are fetched again.

    Raises:
        Unavailable: as ``cached_first``, or they arrive damaged again.
    """
    damaged: list[str] = []
    for _ in range(2):
        try:
            found = cached_first(load, wanted)
        except Exception:
            damaged = remove_damaged(files_of(wanted.repository))
            if not damaged:  # else a damaged file may be the cause
                raise
        else:
            damaged = remove_damaged(files_of(wanted.repository))
            if not damaged:
                return found
    raise Unavailable(
        f"cannot get {wanted.what} from Hub repository {wanted.repository}: {', '.join(damaged)} arrived damaged twice: try"
        f" another network or mirror; {wanted.remedy}"
    )


def remove_damaged(folder: Path) -> list[str]:
    """Remove the files of a repository in the Hub's cache whose content is not what their name says; return their names.

    Each is read once: that it is whole is remembered by its size and times.
    """
    blobs = [path for path in matching(folder / "blobs", "*") if re.fullmatch(f"{SHA256}|{SHA1}", path.name)]
    states = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in blobs}
    memory = default_root() / "hub" / f"{digest(folder)}.json"
    known: object = None
    with suppress(ClipbenchError):
        known = read_json(memory, ClipbenchError, most=MOST_BYTES_OF_SETTINGS)
    if known == states:
        return []
    known = known if isinstance(known, dict) else {}
    damaged = [path for path in blobs if known.get(path.name) != states[path.name] and not _is_whole(path)]
    names = []
    for path in damaged:
        links = [link for link in matching(folder, "snapshots/*/**/*") if link.resolve() == path.resolve()]
        names.append(links[0].name if links else path.name)
        say(f"{names[-1]} is damaged and removed: {path}")
        try:
            path.unlink()
        except OSError as error:
            raise MachineError(f"cannot remove {path}, which is damaged: {error.strerror or error}") from error
        del states[path.name]
    with suppress(MachineError, OSError):  # they are read again, then
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomic({memory: json.dumps(states).encode()})
    return names


def _is_whole(path: Path) -> bool:
    from huggingface_hub.utils.sha import git_hash

    with open_file(path) as file:
        if len(path.name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name
        content = file.read()
    return path.name in (git_hash(content), hashlib.sha1(content).hexdigest())  # some mirrors give the latter
