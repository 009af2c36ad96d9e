"""The store: vectors come back as they were put, across processes, kills and damage, also those too large for
memory.
"""

import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from clipbench.errors import UsageError
from clipbench.files import atomic_file
from clipbench.models import large_arrays
from clipbench.models.encoding import store
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.store import DAMAGED, MODEL_FILE, Shelf
from clipbench.models.encoding.stored_models import stored_models
from clipbench.models.large_arrays import large_array, memory_bytes
from clipbench.testing import ToyModel
from tests.made import file_size_limit


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in numbers]


def rows(*numbers: int) -> np.ndarray:
    return np.array([[number, -number, 0.5] for number in numbers], np.float32)


def shelf_of(root: Path, fingerprint: str = "model", modality: str = "image") -> Shelf:
    return Shelf(root, fingerprint, modality, 3)


def chunk_of(root: Path) -> Path:
    (chunk,) = (root / "store/model/image").glob("*.vectors")
    return chunk


def test_vectors_come_back_in_the_order_asked_for_across_chunks(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    shelf.put(keys(1, 2), rows(1, 2))
    shelf.put(keys(3), rows(3))
    again = shelf_of(tmp_path)
    for held in (shelf, again):
        assert np.array_equal(held.get(keys(3, 1, 3, 2)), rows(3, 1, 3, 2))
        assert held.missing(keys(2, 9)) == {*keys(9)} and len(held) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_thousand_small_runs_keep_no_files_open(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    for number in range(50):
        shelf.put(keys(number), rows(number))
    n_open = len(os.listdir("/proc/self/fd"))
    again = shelf_of(tmp_path)
    assert np.array_equal(again.get(keys(*range(50))), rows(*range(50)))
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_models_and_modalities_do_not_mix(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(1), rows(1))
    assert len(shelf_of(tmp_path, "model", "text")) == len(shelf_of(tmp_path, "other", "image")) == 0


@pytest.mark.parametrize("n_first_halves", [1, 3, 500])
def test_a_shelf_finds_what_a_dictionary_finds(n_first_halves: int, tmp_path: Path) -> None:
    """Keys that share a half, keys in several chunks (the newest counts), and keys that are in none."""
    rng = np.random.default_rng(n_first_halves)
    halves = [rng.bytes(8) for _ in range(n_first_halves)]
    pool = [halves[rng.integers(n_first_halves)] + int(rng.integers(100)).to_bytes(8, "big") for _ in range(600)]
    expected: dict[bytes, np.ndarray] = {}
    shelf = shelf_of(tmp_path)
    for size in (1, 200, 7, 150):
        some = [pool[at] for at in rng.integers(400, size=size)]
        vectors = rng.standard_normal((size, 3)).astype(np.float32)
        shelf.put(some, vectors)
        expected |= dict(zip(some, vectors, strict=True))
    requested_keys = [pool[at] for at in rng.integers(600, size=2000)]
    for held in (shelf, shelf_of(tmp_path)):
        assert held.missing(requested_keys) == set(requested_keys) - expected.keys() and len(held) == len(expected)
        stored_keys = [key for key in requested_keys if key in expected]
        assert np.array_equal(held.get(stored_keys), np.array([expected[key] for key in stored_keys]))
        assert np.array_equal(held.get([*expected]), np.array([*expected.values()]))
        with pytest.raises(KeyError):
            held.get(requested_keys)
        assert held.get([]).shape == (0, 3) and held.missing([]) == set()


def test_a_lookup_takes_little_more_memory_than_the_vectors(tmp_path: Path) -> None:
    n, dim = 20_000, 64
    names = keys(*range(n))
    shelf = Shelf(tmp_path, "model", "image", dim)
    shelf.put(names, np.ones((n, dim), np.float32))
    tracemalloc.start()
    again = Shelf(tmp_path, "model", "image", dim)
    assert not again.missing(names)
    again.get(names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * n * dim + 200 * n


def test_vectors_beyond_a_share_of_memory_are_fetched_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "memory_bytes", lambda: 8 * 12 * 2)
    shelf = shelf_of(tmp_path)
    shelf.put(keys(1, 2, 3), rows(1, 2, 3))
    few, many = shelf.get(keys(2, 1)), shelf.get(keys(3, 1, 2))
    assert not isinstance(few, np.memmap) and isinstance(many, np.memmap)
    assert np.array_equal(few, rows(2, 1)) and np.array_equal(many, rows(3, 1, 2))


def test_refresh_takes_in_what_another_process_committed(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom clipbench.models.encoding.store import MODEL_FILE, Shelf\n"
        "vectors = numpy.array([[7, -7, 0.5]], numpy.float32)\n"
        "Shelf(Path(sys.argv[1]), 'model', 'image', 3).put([(7).to_bytes(16, 'little')], vectors)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(shelf) == 0
    shelf.refresh()
    assert np.array_equal(shelf.get(keys(7)), rows(7))


@pytest.mark.parametrize("keep", [0, 10, 100, -20, -16])
def test_a_chunk_that_was_cut_is_removed_and_its_vectors_are_missing(tmp_path: Path, keep: int) -> None:
    shelf_of(tmp_path).put(keys(1, 2, 3), rows(1, 2, 3))
    chunk = chunk_of(tmp_path)
    chunk.write_bytes(chunk.read_bytes()[:keep])
    shelf = shelf_of(tmp_path)
    assert shelf.rejected == {DAMAGED: 1} and not chunk.exists() and len(shelf) == 0


def flip(position: int, content: bytes) -> bytes:
    spoilt = bytearray(content)
    spoilt[position] ^= 4
    return bytes(spoilt)


def test_a_flipped_bit_is_found_before_a_vector_is_used_wherever_it_is(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(1, 2, 3), rows(1, 2, 3))
    chunk = chunk_of(tmp_path)
    content = chunk.read_bytes()
    for position in range(len(content)):
        chunk.write_bytes(flip(position, content))
        shelf = shelf_of(tmp_path)
        assert shelf.missing(keys(1, 2, 3)) == set(keys(1, 2, 3)), position
        assert shelf.rejected.total() == 1 and not chunk.exists(), position


@pytest.mark.parametrize("source", ["other/image", "model/text"])
def test_a_chunk_of_another_model_or_modality_is_not_believed(tmp_path: Path, source: str) -> None:
    fingerprint, modality = source.split("/")
    shelf_of(tmp_path, fingerprint, modality).put(keys(1), rows(9))
    shutil.copytree(tmp_path / "store" / source, tmp_path / "store/model/image")
    shelf = shelf_of(tmp_path)
    assert shelf.missing(keys(1)) == set(keys(1)) and shelf.rejected == {DAMAGED: 1}


def test_a_chunk_is_counted_by_its_headers_and_its_size(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(*range(20_000)), np.ones((20_000, 3), np.float32))
    chunk = chunk_of(tmp_path)
    stored_models(tmp_path)  # so that imports are not measured
    tracemalloc.start()
    try:
        (model,) = stored_models(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (model.n_vectors, model.n_damaged) == (20_000, 0)
    assert peak < 20_000 * 16  # the keys are not read
    for keep in (0, 10, 200, 200_000, -1, -16):
        (tmp_path / "store/model/image" / f"{keep}.vectors").write_bytes(chunk.read_bytes()[:keep])
    (model,) = stored_models(tmp_path)
    assert (model.n_vectors, model.n_damaged) == (20_000, 6)


def test_what_a_newer_version_keeps_in_the_store_is_neither_read_nor_removed(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(1), rows(1))
    newer = [
        tmp_path / "store" / name
        for name in ("index-2.json", "model/image/1.vectors-2", "model/image-2/1.vectors-2", "model/loaded-new.json")
    ]
    for path in newer:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of a form that is not known yet")
    (tmp_path / "store/model" / MODEL_FILE).write_text('{"names": ["tiny"], "form": 2}')
    shelf = shelf_of(tmp_path)
    assert np.array_equal(shelf.get(keys(1)), rows(1)) and not shelf.rejected
    (model,) = stored_models(tmp_path)
    assert (model.n_vectors, model.n_damaged) == (1, 0)
    assert all(path.exists() for path in newer)


def test_of_two_copies_the_whole_one_is_used(tmp_path: Path) -> None:
    for numbers in ((1, 2), (2, 3)):
        shelf_of(tmp_path).put(keys(*numbers), rows(*numbers))
    last = max((tmp_path / "store/model/image").iterdir())
    last.write_bytes(flip(-20, last.read_bytes()))
    shelf = shelf_of(tmp_path)
    assert shelf.missing(keys(1, 2, 3)) == set(keys(3))
    assert np.array_equal(shelf.get(keys(2, 1)), rows(2, 1))


def test_a_chunk_that_cannot_be_read_stays_and_is_told(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(1), rows(1))
    (tmp_path / "store/model/image/a.vectors").mkdir()
    shelf = shelf_of(tmp_path)
    assert np.array_equal(shelf.get(keys(1)), rows(1))
    assert shelf.rejected == {"unreadable (Is a directory)": 1} and (tmp_path / "store/model/image/a.vectors").exists()


def test_a_file_that_is_being_written_is_left_however_old_and_one_whose_writer_is_gone_is_not(tmp_path: Path) -> None:
    shelf_of(tmp_path).put(keys(1), rows(1))
    folder = tmp_path / "store/model/image"
    (folder / ".1.vectors.00000000.half").write_bytes(b"of a process that was killed")
    with atomic_file(folder / "2.vectors") as file:
        (half,) = (path for path in folder.glob(".2*"))
        os.utime(half, (0, 0))  # as a machine sees it whose clock is ahead
        assert len(shelf_of(tmp_path)) == 1 and half.exists()
        file.write(b"no chunk")
    assert len(list(folder.iterdir())) == 2 and (folder / "2.vectors").exists()


@pytest.mark.parametrize("fingerprint", ["../../up", "/tmp/elsewhere", "a/b", "..", "", ".hidden", "x" * 300, "ä\n"])
def test_no_fingerprint_leads_out_of_the_store(tmp_path: Path, fingerprint: str) -> None:
    shelf_of(tmp_path / "cache", fingerprint).put(keys(1), rows(1))
    (chunk,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert chunk.parent.parent.parent == tmp_path / "cache/store"
    assert np.array_equal(shelf_of(tmp_path / "cache", fingerprint).get(keys(1)), rows(1))
    assert len(shelf_of(tmp_path / "cache", f"{fingerprint}2")) == 0


def test_a_chunk_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    with file_size_limit(300), pytest.raises(UsageError, match=r"^cannot write .*File too large; .*CLIPBENCH_CACHE"):
        shelf.put(keys(1, 2, 3), rows(1, 2, 3))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [] and len(shelf) == 0


def test_a_store_that_cannot_be_written_to_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    shelf = shelf_of(tmp_path)
    with pytest.raises(UsageError, match=r"^cannot write to .*Not a directory\. .*CLIPBENCH_CACHE"):
        shelf.prepare(1)
    shelf_of(tmp_path / "other").prepare(1)
    with pytest.raises(UsageError, match=r"the disk has [\d,.]+ MB free, expected 28,000,000\.0 MB"):
        shelf_of(tmp_path / "other").prepare(10**12)
    assert not (tmp_path / "other").exists()


def test_the_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    shelf.put(keys(1), rows(1))
    (chunk,) = (tmp_path / "store/model/image").iterdir()
    chunk.unlink()
    chunk.parent.rmdir()
    shelf.put(keys(2), rows(2))
    assert np.array_equal(shelf.get(keys(1, 2)), rows(1, 2))
    assert len(shelf_of(tmp_path)) == 1


def test_an_array_beyond_the_bound_is_in_a_file_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 4 * 3 * 10)
    assert type(large_array((10, 3), tmp_path / "new")) is np.ndarray and not (tmp_path / "new").exists()
    large = large_array((11, 3), tmp_path / "new")
    large[:] = 7
    assert isinstance(large, np.memmap) and large.sum() == 7 * 33 and not list((tmp_path / "new").iterdir())
    assert type(large_array((11, 3), tmp_path, in_memory=4 * 33)) is np.ndarray
    assert memory_bytes() > 1 << 26
    (tmp_path / "file").touch()
    assert type(large_array((11, 3), tmp_path / "file")) is np.ndarray  # no folder, or no room


def test_unit_vectors_lie_beside_the_store_of_their_embedder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 10)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "default"))
    embedder = StoreEmbedder(ToyModel(), tmp_path / "own")
    vectors = embedder.scoring_vectors(embedder.texts(["a cat", "a dog"]))
    assert isinstance(vectors, np.memmap) and np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert (tmp_path / "own").is_dir() and not (tmp_path / "default").exists()
