"""Unpacking what data sets are published in."""

import tarfile
import zipfile
import zlib
from pathlib import Path

from clipbench.errors import DataError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


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
