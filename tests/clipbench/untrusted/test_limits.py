"""Small files that unpack to gigabytes are refused before the memory is taken, and a variable lets them pass."""

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from clipbench.data.catalogue import shards
from clipbench.data.catalogue.web_files import unpack
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.models.adapters.vector_arrays import read_arrays
from clipbench.results.run import Run, write_result
from clipbench.untrusted.limits import MAX_UNPACKED, check_parquet, max_unpacked
from tests.made import record_of, result_of

LIMIT = 1_000_000
POOLS: list[pyarrow.MemoryPool] = []
"""They live as long as what was allocated from them."""
TOO_MUCH = r"unpack to [\d,]+ or more, and 1,000,000 are the limit: .* set CLIPBENCH_MAX_UNPACKED"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_UNPACKED, str(LIMIT))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a table and arrays of 8 MB each, in files of some kilobytes."""
    zeros = np.zeros((1000, 1000), np.float64)
    np.savez_compressed(tmp_path / "arrays.npz", images=zeros)
    pandas.DataFrame({"sample_id": ["a" * 8_000] * 1_000}).to_parquet(tmp_path / "samples.parquet")
    result = result_of(record_of(files={"samples": "samples.parquet", "arrays": "arrays.npz"}))
    write_result(result, tmp_path)
    return Run(tmp_path, result)


def peak(read: Callable[[], object]) -> int:
    """Return how many bytes Python and numpy, or Arrow, took at most while something was refused."""
    usual = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)  # which counts from 0
    POOLS.append(pool)
    pyarrow.set_memory_pool(pool)
    tracemalloc.start()
    try:
        with pytest.raises((ClipbenchError, ValueError), match=TOO_MUCH):
            read()
        return max(tracemalloc.get_traced_memory()[1], pool.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pyarrow.set_memory_pool(usual)


def test_arrays_and_tables_of_a_run_are_refused_before_their_memory_is_taken(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (run.folder / "arrays.npz").stat().st_size < 20_000 > (run.folder / "samples.parquet").stat().st_size
    assert peak(lambda: run.arrays(run.result.evaluations[0])) < LIMIT
    assert peak(lambda: run.samples("zero-shot")) < LIMIT
    monkeypatch.setenv(MAX_UNPACKED, "20000000")
    assert run.arrays(run.result.evaluations[0])["images"].shape == (1000, 1000)
    assert len(run.samples("zero-shot")) == 1_000


def test_compressed_vectors_are_refused_and_plain_ones_of_any_size_are_not(tmp_path: Path) -> None:
    vectors = np.ones((1000, 500), np.float32)
    np.savez_compressed(tmp_path / "small.npz", images=vectors, texts=vectors)
    np.savez(tmp_path / "plain.npz", images=vectors, texts=vectors)
    assert peak(lambda: read_arrays(tmp_path / "small.npz")) < LIMIT
    assert read_arrays(tmp_path / "plain.npz")["images"].shape == (1000, 500)


def test_a_parquet_of_one_number_repeated_is_refused_by_its_count(tmp_path: Path) -> None:
    table = pyarrow.table({"image_ids": pyarrow.array(np.zeros(500_000, np.int64))})
    pyarrow.parquet.write_table(table, tmp_path / "image_ids.parquet")
    np.save(tmp_path / "images.npy", np.ones((1, 2), np.float32))
    assert (tmp_path / "image_ids.parquet").stat().st_size < 5_000
    assert peak(lambda: read_arrays(tmp_path)) < LIMIT


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (bytes(20_000), pyarrow.binary(20_000)),
        ("a" * 20_000, pyarrow.string()),
        (["a" * 20_000], pyarrow.list_(pyarrow.string())),
        ({"bytes": b"a" * 20_000}, pyarrow.struct({"bytes": pyarrow.binary()})),
    ],
    ids=["fixed length", "texts", "lists", "structures"],
)
def test_a_column_of_one_value_repeated_is_never_whole_in_memory(
    tmp_path: Path, value: object, kind: pyarrow.DataType
) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.array([value] * 1_000, kind)}), tmp_path / "a.parquet")
    assert peak(lambda: check_parquet(tmp_path / "a.parquet")) < LIMIT


def test_one_long_name_does_not_make_all_of_them_long(tmp_path: Path) -> None:
    names = ["a" * 50_000, *map(str, range(999))]  # as an array of text each would take 200 kB
    pandas.DataFrame({"image_ids": names}).to_parquet(tmp_path / "image_ids.parquet")
    np.save(tmp_path / "images.npy", np.ones((1000, 2), np.float32))
    assert peak(lambda: read_arrays(tmp_path)) < 2 * LIMIT


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz"])
def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, name: str) -> None:
    content = bytes(3_000_000)
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("big", content)
    else:
        with tarfile.open(tmp_path / name, "w:gz") as packed_tar:
            member = tarfile.TarInfo("big")
            member.size = len(content)
            packed_tar.addfile(member, io.BytesIO(content))
    with pytest.raises(DataError, match=f"{name} is not unpacked: its .*{TOO_MUCH}"):
        unpack(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


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


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)], ids=["encrypted", "unknown compression"])
def test_a_zip_that_cannot_be_unpacked_is_one_line(tmp_path: Path, place: int, value: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a", "content")
    content = bytearray(buffer.getvalue())
    content[place] = content[content.index(b"PK\x01\x02") + place + 2] = (
        value  # in the local header and in the directory
    )
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip is not unpacked: "):
        unpack(tmp_path / "a.zip")


def test_a_table_of_ordinary_texts_passes_whatever_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pandas.DataFrame(
        {"a": [f"text {row}" for row in range(3_000)], "b": np.arange(3_000), "c": [["x", "y"]] * 3_000}
    )
    table.to_parquet(tmp_path / "a.parquet")
    check_parquet(tmp_path / "a.parquet")
    monkeypatch.setenv(MAX_UNPACKED, "much")
    with pytest.raises(UsageError, match="CLIPBENCH_MAX_UNPACKED is 'much': expected a whole number above 0"):
        max_unpacked(1)
