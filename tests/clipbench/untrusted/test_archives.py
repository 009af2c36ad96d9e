"""Archives that cannot be read are refused in one line."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from clipbench.data.catalogue import shards
from clipbench.data.catalogue.resumable_downloads import unpack
from clipbench.errors import DataError


def tar_of(*headers: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for header in headers:
            tar.addfile(header, io.BytesIO(bytes(header.size)))
    return buffer.getvalue()


def hostile_tars() -> dict[str, bytes]:
    sparse, long_name = tarfile.TarInfo("a.png"), tarfile.TarInfo("././@LongLink")
    sparse.pax_headers = {"GNU.sparse.map": "x"}
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 4
    return {"sparse map": tar_of(sparse), "nested names": tar_of(*[long_name] * 3_000)}


@pytest.mark.parametrize(("name", "content"), hostile_tars().items())
def test_a_hostile_tar_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.tar is damaged or cut short \("):
        shards.n_samples(tmp_path / "0.tar")
    with pytest.raises(DataError, match=r"0\.tar is not unpacked: |0\.tar is damaged and was removed"):
        unpack(tmp_path / "0.tar")


@pytest.mark.parametrize(("position", "value"), [(6, 1), (8, 99)], ids=["encrypted", "unknown compression"])
def test_a_zip_that_cannot_be_unpacked_is_one_line(tmp_path: Path, position: int, value: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a", "content")
    content = bytearray(buffer.getvalue())
    content[position] = content[content.index(b"PK\x01\x02") + position + 2] = (
        value  # in the local header and in the directory
    )
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip is not unpacked: "):
        unpack(tmp_path / "a.zip")
