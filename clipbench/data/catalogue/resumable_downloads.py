"""Files of the web, the Hub's among them: fetched with the Hub's client, resumed from the last byte, checked, unpacked.

The client's own downloads of whole repositories throw a partial file away when they fail. Here a file grows under a
name of its own, and a later run goes on from its last byte.
"""

import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from clipbench.errors import DataError, Unavailable, option
from clipbench.untrusted.limits import ARCHIVE_ERRORS

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
RESUME_ADVICE = "repeat the command, which resumes where it ended"
TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = (1.0, 2.0, 4.0)
"""Waits before the second request for a file that the server could not give. The client itself waits only after 429."""
PARTIAL, VERSION = ".part", ".tag"
"""Endings of a file that has not come whole, and of the note of which version it is."""
ByteCounter = Callable[[int], None]
"""Called with each number of new bytes, a negative one for bytes that came in vain."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to fetch, as its server describes it."""

    url: str
    path: str
    """Place below the data set's folder."""
    size: int | None = None
    tag: str = ""
    """Version: a partial file of another one is thrown away."""
    sha256: str | None = None
    """The hash, or its first digits where only those are published."""
    git_sha1: str | None = None
    """Git's hash, which the Hub gives for small files."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def look_up(url: str, name: str) -> tuple[int | None, str | None]:
    """Return size and version tag of a file outside the Hub, as far as its server gives them."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    with client_errors(url, name):
        response = get_session().head(url, timeout=TIMEOUT_SECONDS, follow_redirects=True)
        hf_raise_for_status(response)
    length = response.headers.get("Content-Length")
    return (int(length) if length else None), response.headers.get("ETag")


def fetch_file(file: RemoteFile, folder: Path, on_bytes: ByteCounter) -> Path:
    """Return the file below the folder once it is complete and has its hash. Bytes of an earlier try are kept."""
    from huggingface_hub.errors import HfHubHTTPError

    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file.url} would be written to {file.path}, outside {folder}: do not trust its server")
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, version = (path.with_name(path.name + ending) for ending in (PARTIAL, VERSION))
    if partial.is_file() and not (version.is_file() and version.read_text(encoding="utf-8") == file.tag):
        on_bytes(-partial.stat().st_size)
        partial.unlink()
    version.write_text(file.tag, encoding="utf-8")
    for seconds in (*RETRY_SECONDS, None):
        try:
            _download(file, partial, on_bytes)
            break
        except HfHubHTTPError as error:
            if seconds is None or error.response.status_code < 500:
                raise
            time.sleep(seconds)
    _check_hash(file, partial, on_bytes)
    os.replace(partial, path)
    version.unlink()
    return path


def n_bytes_in(folder: Path, file: RemoteFile) -> int:
    """Return how many bytes of a file have come."""
    for path in (folder / file.path, folder / (file.path + PARTIAL)):
        if path.is_file():
            return path.stat().st_size
    return 0


def unpack(archive: Path) -> None:
    """Put the files of an archive next to it, and remove it. None of its members can get outside its folder.

    Raises:
        DataError: it is damaged, and removed, so that it will be fetched again, or it is encrypted.
    """
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(archive.parent)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(archive.parent, filter="data")
    except (ValueError, RuntimeError) as error:  # encrypted, or nothing that this library can read
        raise DataError(f"{archive} is not unpacked: {error}") from error
    except ARCHIVE_ERRORS as error:
        archive.unlink()
        raise DataError(f"{archive.name} is damaged and was removed ({error}): fetch it again") from error
    archive.unlink()


@contextmanager
def client_errors(url: str, name: str) -> Iterator[None]:
    """Raise Unavailable, in one line, for any error of the client."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(
            f"cannot get {name} from {url}: offline (HF_HUB_OFFLINE or {option('offline', True)} is set)"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        may_recover = status >= 500 or status in (408, 429)
        advice = RESUME_ADVICE if may_recover else "check the address, or choose another source with --from"
        raise Unavailable(f"cannot get {name} from {url}: the server answered {status}. Fix: {advice}") from error
    except (errors.HTTPError, OSError) as error:  # http_get raises OSError for a file that is cut short, too
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise  # the disk's, not the network's
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(
            f"cannot get {name} from {url}: the connection broke ({cause}). Fix: {RESUME_ADVICE}"
        ) from error


class _Counted:
    """A partial file that reports the bytes it grows by. It begins again if a server ignores the range."""

    def __init__(self, file: IO[bytes], on_bytes: ByteCounter) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self.seek, self.tell, self.name = file.seek, file.tell, file.name

    def write(self, content: bytes) -> int:
        self._on_bytes(len(content))
        return self._file.write(content)

    def truncate(self) -> int:
        position = self._file.tell()
        self._on_bytes(position - self._file.seek(0, os.SEEK_END))
        self._file.seek(position)
        return self._file.truncate()


def _download(file: RemoteFile, partial: Path, on_bytes: ByteCounter) -> None:
    from huggingface_hub.file_download import http_get

    with partial.open("ab") as content:
        counted = _Counted(content, on_bytes)
        if file.size is not None and counted.tell() > file.size:
            counted.seek(0)
            counted.truncate()
        http_get(file.url, counted, resume_size=counted.tell(), expected_size=file.size, headers=dict(file.headers))


def _check_hash(file: RemoteFile, partial: Path, on_bytes: ByteCounter) -> None:
    from huggingface_hub.utils.sha import git_hash, sha_fileobj

    with partial.open("rb") as content:
        if file.sha256 is not None:
            kind, expected, actual = "sha256", file.sha256, sha_fileobj(content).hex()
        elif file.git_sha1 is not None:
            kind, expected, actual = "git hash", file.git_sha1, git_hash(content.read())
        else:
            return
    if not actual.startswith(expected):
        on_bytes(-partial.stat().st_size)
        partial.unlink()
        raise DataError(f"{file.url} has {kind} {actual}, expected {expected}: repeat the command to fetch it again")
