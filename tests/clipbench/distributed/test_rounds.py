"""Process 0 and another one, here in a thread, share work: they store what one stores, and each fault is one line."""

import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch.distributed import HashStore  # type: ignore[attr-defined]

from clipbench.data.dataset import Dataset
from clipbench.data.images import FileImage
from clipbench.distributed import rounds
from clipbench.distributed.process_rank import ProcessRank, connect
from clipbench.distributed.rounds import Rounds, current_rounds, lead_rounds, serve_rounds
from clipbench.errors import BadImage, MachineError, UsageError
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.loading import load_embedder
from clipbench.models.encoding.sharing import encode_together
from clipbench.models.options import LoadOptions

DEALT = """
import threading
from clipbench.testing import ToyModel

batches = []


class Toy(ToyModel):
    fingerprint = "toy"

    def encode_images(self, images):
        batches.append((threading.current_thread().name, [image.width - 100 for image in images]))
        return super().encode_images(images)
"""
TEXTS = [f"a {'very ' * (number % 5)}red cube {number}" for number in range(70)]


def process(rank: int, port: int) -> ProcessRank:
    return ProcessRank(rank=rank, n=2, local_rank=rank, n_local=2, address="127.0.0.1", port=port)


@contextmanager
def paired(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lead as process 0, beside which a thread serves as process 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    is_there = threading.Event()

    def noted(of: ProcessRank) -> Any:
        is_there.set() if of.rank else is_there.wait()  # two processes have a group each: here the leader's counts
        return connect(of)

    monkeypatch.setattr(rounds, "connect", noted)
    monkeypatch.setattr(rounds, "_current", rounds._current)
    monkeypatch.setattr("clipbench.models.encoding.sharing._loaded", {})
    other = threading.Thread(target=serve_rounds, args=(process(1, port), root), name="other")
    other.start()
    with lead_rounds(process(0, port), root):
        yield
    other.join(10)
    assert not other.is_alive() and list((root / "processes").iterdir()) == []


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FileImage]:
    """Images that are told by their widths, 100 and more, beside the module ``dealt`` with a model."""
    (tmp_path / "dealt.py").write_text(DEALT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dealt", raising=False)
    for number in range(18):
        Image.new("RGB", (100 + number, 40), (number, 9, 200)).save(tmp_path / f"{number}.png")
    return [FileImage(tmp_path / f"{number}.png") for number in range(18)]


def loaded(reference: str, root: Path, **options: Any) -> StoreEmbedder:
    embedder = load_embedder(reference, LoadOptions(batch_size=4, **options), root, workers=0)
    assert isinstance(embedder, StoreEmbedder) and embedder.source is not None
    return embedder


def test_whole_batches_are_dealt_in_turn_and_vectors_are_those_of_one_to_the_last_bit(
    tmp_path: Path, images: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    single = loaded("python:dealt:Toy", tmp_path / "one")
    expected = single.images(images).tobytes(), single.texts(TEXTS).tobytes()
    embedder = loaded("python:dealt:Toy", tmp_path / "two")
    import dealt  # type: ignore[import-not-found]

    dealt.batches.clear()
    with paired(tmp_path / "two", monkeypatch):
        assert (embedder.images(images).tobytes(), embedder.texts(TEXTS).tobytes()) == expected
    rows = {
        name: [rows for who, rows in dealt.batches if who == name and rows[0] >= 0] for name in ("MainThread", "other")
    }
    assert rows["MainThread"] == [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17]]
    assert rows["other"] == [[4, 5, 6, 7], [12, 13, 14, 15]]
    assert embedder.counts().n_items() == single.counts().n_items()


def test_two_models_on_one_decode_are_one_round(
    tmp_path: Path, images: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = [{"device": "cpu", "precision": name} for name in ("fp32", "bf16")]
    expected = [loaded("tiny", tmp_path / "one", **way).images(images).tobytes() for way in ways]
    embedders = [loaded("tiny", tmp_path / "two", **way) for way in ways]
    with paired(tmp_path / "two", monkeypatch):
        encode_together(embedders, images)
        group: Any = current_rounds()
        assert group._number == 1
        assert [name.images(images).tobytes() for name in embedders] == expected
        assert group._number == 1


@pytest.mark.parametrize("bad", [(6, 9), (2, 6)])
def test_the_error_is_that_of_the_first_row_that_has_one_whoever_met_it(
    tmp_path: Path, images: list[FileImage], monkeypatch: pytest.MonkeyPatch, bad: tuple[int, int]
) -> None:
    for number in bad:
        images[number].path.write_bytes(b"no image %d" % number)
    dataset = Dataset(id="some", images=images, image_ids=[image.name for image in images])
    embedder = loaded("python:dealt:Toy", tmp_path / "two")
    with paired(tmp_path / "two", monkeypatch):
        with pytest.raises(BadImage, match=rf"/{bad[0]}\.png: .*on_bad_image='skip'"):
            embedder.images(images)
        result = embedder.readable(dataset)
    assert result.notes == loaded("python:dealt:Toy", tmp_path / "one").readable(dataset).notes and len(result) == 16


def test_a_process_that_is_late_and_what_cannot_be_handed_over_are_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BARRIER_SECONDS", 0.0)
    with pytest.raises(MachineError, match=r"^process 1 of 2 has not answered for 0 s: encoded vectors are stored"):
        Rounds(process(0, 1), HashStore(), tmp_path).run_shares(max, max)
    with pytest.raises(UsageError, match=r"the data cannot be passed to other processes .*: run in one process"):
        Rounds(process(0, 1), HashStore(), tmp_path).run_shares(lambda rank, n: rank, max)
    error = pickle.loads(pickle.dumps(rounds.picklable_error(ValueError("x"))))
    assert isinstance(error, ValueError) and error.__notes__[0].startswith("In another process:")
    assert str(rounds.picklable_error(type("Local", (Exception,), {})("x"))) == "Local: x"


def test_a_folder_that_others_can_write_to_is_refused_and_old_ones_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LATE_SECONDS", 0.0)
    made, young = rounds._new_folder(tmp_path / "processes"), rounds._new_folder(tmp_path / "processes")
    assert rounds._folder(tmp_path, made.name) == made and made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o770)
    with pytest.raises(UsageError, match="is not private to this user"):
        rounds._folder(tmp_path, made.name)
    for name in ("0" * 32, "../processes"):
        with pytest.raises(UsageError, match="is not visible here: set CLIPBENCH_CACHE to a folder"):
            rounds._folder(tmp_path, name)
    os.utime(made, times=(time.time() - 2 * rounds.DAY_SECONDS,) * 2)
    rounds._new_folder(tmp_path / "processes")
    assert young.is_dir() and not made.exists()
