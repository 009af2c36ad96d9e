"""Files from outside the Hub: fetched with the Hub's client, resumed where they broke off, checked and unpacked."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from clipbench.data.catalogue import WebFile
from clipbench.errors import DataError, Unavailable

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
TIMEOUT_SECONDS = 10.0


def look_up(url: str, name: str) -> tuple[int | None, str | None]:
    """Return size and version tag of a file, as far as its server gives them.

    Args:
        url: address of the file.
        name: the data set, for messages.

    Raises:
        Unavailable: the server cannot be reached, or does not have it.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status

    with _client_errors(url, name):
        response = get_session().head(url, timeout=TIMEOUT_SECONDS, follow_redirects=True)
        hf_raise_for_status(response)
    length = response.headers.get("Content-Length")
    return (int(length) if length else None), response.headers.get("ETag")


def fetch_file(file: WebFile, folder: Path, *, tag: str | None, name: str) -> Path:
    """Return the file, fetched into ``folder / file.into`` under the name that its address ends in.

    Args:
        file: address, checksum and subfolder.
        folder: of the data set.
        tag: the server's present version; a partial file of another version is thrown away.
        name: the data set, for messages.

    Raises:
        Unavailable: the connection broke, or the server refused; the partial file is kept.
        DataError: it has another checksum; it is removed.
    """
    path = folder / file.into / PurePosixPath(urlsplit(file.url).path).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, version = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.tag")
    if not version.is_file() or version.read_text(encoding="utf-8") != (tag or ""):
        partial.unlink(missing_ok=True)
    version.write_text(tag or "", encoding="utf-8")
    _download(file, partial, name)
    _check_hash(file, partial)
    os.replace(partial, path)
    version.unlink()
    return path


def unpack(archive: Path) -> None:
    """Put the files of an archive beside it, and remove it; nothing in it can get outside its folder.

    Raises:
        DataError: it is damaged; it is removed, so that it will be fetched again.
    """
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(archive.parent)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(archive.parent, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        archive.unlink()
        raise DataError(f"{archive.name} is damaged and was removed ({error}): fetch it again") from error
    archive.unlink()


def _download(file: WebFile, partial: Path, name: str) -> None:
    from huggingface_hub.file_download import http_get

    with _client_errors(file.url, name), partial.open("ab") as target:
        if file.size is not None and target.tell() > file.size:
            target.truncate(0)
        http_get(file.url, target, resume_size=target.tell(), expected_size=file.size)


def _check_hash(file: WebFile, partial: Path) -> None:
    from huggingface_hub.utils.sha import sha_fileobj

    if file.sha256 is None:
        return
    with partial.open("rb") as content:
        actual = sha_fileobj(content).hex()
    if not actual.startswith(file.sha256):
        partial.unlink()
        raise DataError(f"{file.url} has sha256 {actual}, expected {file.sha256}: it was removed; fetch it again")


@contextmanager
def _client_errors(url: str, name: str) -> Iterator[None]:
    """Raise Unavailable, in one line, for any error of the client."""
    from huggingface_hub import errors

    advice = "the same command resumes where this one ended"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(f"cannot get {name} from {url}: HF_HUB_OFFLINE is set") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise Unavailable(f"cannot get {name} from {url}: the server answered {status}; {advice}") from error
    except (errors.HTTPError, OSError) as error:  # http_get raises OSError for a file that is cut short, too
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(f"cannot get {name} from {url}: the connection broke ({cause}); {advice}") from error
