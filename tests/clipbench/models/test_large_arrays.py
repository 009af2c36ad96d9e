"""Arrays beyond a bound lie in a file that nobody sees."""

from pathlib import Path

import numpy as np
import pytest

from clipbench.models.encoding import large_arrays
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.large_arrays import large_array, memory_bytes
from clipbench.models.encoding.unit_vectors import unit_vectors
from clipbench.testing import ToyModel


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
    made = unit_vectors(embedder.texts(["a cat", "a dog"]), embedder)
    assert isinstance(made, np.memmap) and np.allclose(np.linalg.norm(made, axis=1), 1)
    assert (tmp_path / "own").is_dir() and not (tmp_path / "default").exists()
