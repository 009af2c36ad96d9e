"""The store: vectors come back as they were put, across processes, kills and damage."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from clipbench.models.store import STALE_SECONDS, Shelf, default_root


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in numbers]


def rows(*numbers: int) -> np.ndarray:
    return np.array([[number, -number, 0.5] for number in numbers], np.float32)


def test_vectors_come_back_in_the_order_asked_for_across_chunks(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "model", "images")
    shelf.put(keys(1, 2), rows(1, 2))
    shelf.put(keys(3), rows(3))
    again = Shelf(tmp_path, "model", "images")
    for held in (shelf, again):
        assert np.array_equal(held.get(keys(3, 1, 3, 2)), rows(3, 1, 3, 2))
        assert keys(2)[0] in held and keys(9)[0] not in held and len(held) == 3


def test_models_and_modalities_do_not_mix(tmp_path: Path) -> None:
    Shelf(tmp_path, "model", "images").put(keys(1), rows(1))
    assert len(Shelf(tmp_path, "model", "texts")) == len(Shelf(tmp_path, "other", "images")) == 0


def test_keys_that_end_in_zero_bytes_stay_apart(tmp_path: Path) -> None:
    near = [b"a" + bytes(15), b"a" + bytes(14) + b"\x01"]
    Shelf(tmp_path, "model", "images").put(near, rows(1, 2))
    assert np.array_equal(Shelf(tmp_path, "model", "images").get(near), rows(1, 2))


def test_refresh_takes_in_what_another_process_committed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "model", "images")
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom clipbench.models.store import Shelf\n"
        "vectors = numpy.array([[7, -7, 0.5]], numpy.float32)\n"
        "Shelf(Path(sys.argv[1]), 'model', 'images').put([(7).to_bytes(16, 'little')], vectors)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert keys(7)[0] not in shelf
    shelf.refresh()
    assert np.array_equal(shelf.get(keys(7)), rows(7))


@pytest.mark.parametrize("keep", [0, 10, 100, 200, -1])
def test_a_damaged_chunk_is_removed_and_its_vectors_are_missing(tmp_path: Path, keep: int) -> None:
    Shelf(tmp_path, "model", "images").put(keys(1, 2, 3), rows(1, 2, 3))
    (chunk,) = (tmp_path / "store/model/images").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:keep])
    shelf = Shelf(tmp_path, "model", "images")
    assert shelf.damaged == [chunk] and not chunk.exists() and len(shelf) == 0


def test_an_unfinished_file_is_ignored_and_swept_away_when_old(tmp_path: Path) -> None:
    Shelf(tmp_path, "model", "images").put(keys(1), rows(1))
    half = tmp_path / "store/model/images/.half.vectors"
    half.write_bytes(b"half")
    assert len(Shelf(tmp_path, "model", "images")) == 1 and half.exists()
    os.utime(half, (0, time.time() - STALE_SECONDS - 60))
    assert len(Shelf(tmp_path, "model", "images")) == 1 and not half.exists()


def test_the_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "model", "images")
    shelf.put(keys(1), rows(1))
    (chunk,) = (tmp_path / "store/model/images").iterdir()
    chunk.unlink()
    chunk.parent.rmdir()
    shelf.put(keys(2), rows(2))
    assert np.array_equal(shelf.get(keys(1, 2)), rows(1, 2))
    assert len(Shelf(tmp_path, "model", "images")) == 1


def test_the_root_is_the_variable_or_the_user_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("CLIPBENCH_CACHE")
    assert default_root().name == "clipbench"
