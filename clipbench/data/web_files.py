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
    """Return size and version tag of a file, as far as its server tells them.

    Args:
        name: the data set, for messages.

    Raises:
        Unavailable: the server cannot be reached, or does not have it.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status

    with _one_line(url, name):
        response = get_session().head(url, timeout=TIMEOUT_SECONDS, follow_redirects=True)
        hf_raise_for_status(response)
    length = response.headers.get("Content-Length")
    return (int(length) if length else None), response.headers.get("ETag")


def fetch_file(file: WebFile, folder: Path, *, tag: str | None, name: str) -> Path:
    """Return the file, fetched into ``folder / file.into`` under the name that its address ends in.

    Args:
        tag: the version that the server has now; the beginning of another version is thrown away.

    Raises:
        Unavailable: the connection broke, or the server refused; what has come is kept.
        DataError: it has another checksum; it is thrown away.
    """
    path = folder / file.into / PurePosixPath(urlsplit(file.url).path).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    half, version = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.tag")
    if _read(version) != (tag or ""):
        half.unlink(missing_ok=True)
    version.write_text(tag or "", encoding="utf-8")
    _download(file, half, name)
    _check(file, half)
    os.replace(half, path)
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


def _download(file: WebFile, half: Path, name: str) -> None:
    from huggingface_hub.file_download import http_get

    with _one_line(file.url, name), half.open("ab") as target:
        if file.size is not None and target.tell() > file.size:
            target.truncate(0)
        http_get(file.url, target, resume_size=target.tell(), expected_size=file.size)


def _check(file: WebFile, half: Path) -> None:
    from huggingface_hub.utils.sha import sha_fileobj

    if file.sha256 is None:
        return
    with half.open("rb") as content:
        actual = sha_fileobj(content).hex()
    if not actual.startswith(file.sha256):
        half.unlink()
        raise DataError(f"{file.url} has sha256 {actual}, expected {file.sha256}: it was removed; fetch it again")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


@contextmanager
def _one_line(url: str, name: str) -> Iterator[None]:
    """Turn what the client raises into one line."""
    from huggingface_hub import errors

    again = "the same command goes on where this one ended"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(f"cannot get {name} from {url}: HF_HUB_OFFLINE is set") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise Unavailable(f"cannot get {name} from {url}: the server answered {status}; {again}") from error
    except (errors.HTTPError, OSError) as error:  # a size that is not the promised one is an OSError too
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(f"cannot get {name} from {url}: the connection broke ({cause}); {again}") from error
