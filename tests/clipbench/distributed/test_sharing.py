"""Process 0 and another one, here in a thread, share work: results, errors and vectors are those of a single process."""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.distributed import HashStore  # type: ignore[attr-defined]

from clipbench.data.images import FileImage
from clipbench.distributed import leader as leading
from clipbench.distributed.exchange import folder_of, make_private, new_name, read, write
from clipbench.distributed.leader import Leader
from clipbench.distributed.place import Place
from clipbench.distributed.worker import _serve
from clipbench.errors import BadImage, UsageError
from clipbench.metrics.ranking import cross_answers
from clipbench.metrics.similarity import unit
from clipbench.models.embedder import StoreEmbedder, load_embedder
from clipbench.models.filling import encode_together
from clipbench.models.pair import PairModel
from clipbench.models.protocol import LoadOptions, is_sole
from clipbench.models.reference import RenamedModel
from clipbench.parallel import Processes, alone, ranges, sharing
from clipbench.testing import ToyModel
from clipbench.training.clip.adapter import SHIPPED

PLACE = Place(rank=0, n=2, local_rank=0, n_local=2, address="127.0.0.1", port=1)


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Leader]:
    """Return process 0, beside which a thread works as process 1."""
    store, name = HashStore(), new_name()
    folder = tmp_path / "processes" / name
    make_private(folder)
    store.set("folder", name)
    place = Place(rank=1, n=2, local_rank=1, n_local=2, address="127.0.0.1", port=1)
    other = threading.Thread(target=_serve, args=(place, store, tmp_path))
    other.start()
    watch: Any = SimpleNamespace(lost=None, launched=None, killed=lambda: None, stop=lambda: None)
    yield (group := Leader(PLACE, store, folder, watch))
    group.end()
    other.join(10)
    assert not other.is_alive()


def squares(table: np.ndarray, claimed: Iterator[range]) -> Iterator[tuple[str, np.ndarray]]:
    """Square some rows of a table, and say which thread did."""
    for rows in claimed:
        if len(table) == 20 and (7 in rows or 9 in rows):
            raise BadImage(f"{rows.start}.png", "it is cut off")
        yield threading.current_thread().name, table[rows.start : rows.stop] ** 2


def slowly(work: Any, enough: threading.Event, claimed: Iterator[range]) -> Iterator[Any]:
    """Do the same when another has done some of it."""
    first = next(claimed)
    enough.wait(10)
    yield from work(iter([first]))
    yield from work(claimed)


def signalling(enough: threading.Event, work: Any, claimed: Iterator[range]) -> Iterator[Any]:
    for result in work(claimed):
        yield result
        enough.set()


class Telling:
    """Work that says when the other process has done a part; it is pickled by name."""

    event = threading.Event()

    def __init__(self, work: Any) -> None:
        self.work = work

    def __call__(self, claimed: Iterator[range]) -> Iterator[Any]:
        return signalling(Telling.event, self.work, claimed)


def shared(group: Processes, work: Any, shards: list[range]) -> dict[range, Any]:
    Telling.event.clear()
    return dict(group.share(Telling(work), shards, partial(slowly, work, Telling.event)))


def test_two_processes_share_shards_and_their_results_are_those_of_one(leader: Leader) -> None:
    table = np.arange(5000.0)
    for n in (3, 400):
        work, shards = partial(squares, table), ranges(1000, 1000 // n + 1)[1:]
        found, expected = shared(leader, work, shards), dict(alone(work, shards))
        assert found.keys() == expected.keys()
        assert all((found[rows][1] == expected[rows][1]).all() for rows in shards)
        assert len({who for who, _ in found.values()}) == 2


def test_the_error_is_that_of_the_first_shard_that_has_one_whoever_met_it(leader: Leader) -> None:
    for _ in range(3):
        with pytest.raises(BadImage, match=r"cannot read image 7\.png: it is cut off"):
            shared(leader, partial(squares, np.arange(20.0)), ranges(20, 1))
    with pytest.raises(UsageError, match="cannot be handed to other processes"):
        list(leader.share(lambda claimed: claimed, ranges(2, 1)))


def test_two_processes_store_the_vectors_of_one_to_the_last_bit(tmp_path: Path, leader: Leader) -> None:
    rng = np.random.default_rng(0)
    for number in range(22):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    images = [FileImage(tmp_path / f"{number}.png") for number in range(22)]
    texts = [f"a {'very ' * (number % 5)}red cube {number}" for number in range(70)]
    load = LoadOptions(device="cpu", batch_size=4)
    found = []
    for group, root in ((Processes(), tmp_path / "one"), (leader, tmp_path / "two")):
        embedder: Any = load_embedder("tiny", load, root, workers=0)
        with sharing(group):
            with pytest.raises(BadImage, match=r"3\.png"):
                embedder.images(images)
            good = images[:3] + images[4:]
            found.append((embedder.images(good).tobytes(), embedder.texts(texts).tobytes(), embedder.digests(images)))
            assert embedder.counts().n_items()["images"] >= 18
    assert found[0] == found[1]


def test_two_models_on_one_decode_are_shared_too(tmp_path: Path, leader: Leader) -> None:
    rng = np.random.default_rng(0)
    for number in range(17):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"{number}.png")
    images = [FileImage(tmp_path / f"{number}.png") for number in range(17)]
    found = []
    for group, root in ((Processes(), tmp_path / "one"), (leader, tmp_path / "two")):
        loads = [LoadOptions(device="cpu", batch_size=2, precision=each) for each in ("fp32", "bf16")]
        embedders: list[Any] = [load_embedder("tiny", load, root, workers=0) for load in loads]
        with sharing(group):
            if group is leader:
                encode_together(embedders, images)
                assert leader.n_jobs == 1
            found.append([each.images(images).tobytes() for each in embedders])
    assert found[0] == found[1]
    assert leader.n_jobs == 1


def test_ranks_are_shared_and_equal_those_of_one_process(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, owner = unit(rng.normal(size=(90, 8)).astype(np.float32)), rng.permutation(np.arange(300) % 90)
    texts = unit(np.round(rng.normal(size=(300, 8))).astype(np.float32) + images[owner])
    images[5], texts[7] = images[4], texts[6]  # ties
    expected = cross_answers(images, texts, owner)
    monkeypatch.setattr("clipbench.metrics.ranking.SHARED_PAIRS", 1)
    with sharing(leader):
        found = cross_answers(images, texts, owner)
    assert (leader.n_jobs, len(expected)) == (1, 2)
    for one, two in zip(expected, found, strict=True):
        arrays = zip([*one.ranks, *one[1:]], [*two.ranks, *two[1:]], strict=True)
        assert all((a == b).all() and a.dtype == b.dtype for a, b in arrays)


def test_arrays_are_handed_over_as_they_are_and_no_folder_of_others_is_read(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6).reshape(2, 3),
        "b": np.zeros(0),
        "c": np.arange(9, dtype=np.float32)[::2],
    }
    write(tmp_path / "job", arrays)
    found = read(tmp_path / "job")
    assert all((found[name] == each).all() and found[name].dtype == each.dtype for name, each in arrays.items())
    assert not found["a"].flags.writeable
    name = new_name()
    make_private(tmp_path / "processes" / name)
    assert folder_of(tmp_path, name).is_dir()
    (tmp_path / "processes" / name).chmod(0o770)
    with pytest.raises(UsageError, match="not for this user alone"):
        folder_of(tmp_path, name)
    for wrong, message in ((new_name(), "CLIPBENCH_CACHE has to name"), ("../x", "expected 32 hex digits")):
        with pytest.raises(UsageError, match=message):
            folder_of(tmp_path, wrong)


def test_a_command_that_begins_meanwhile_leaves_a_new_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, others = tmp_path / "processes", list[threading.Thread]()
    make_private(parent / "abandoned")

    def begin() -> None:
        with leading._own_folder(parent):
            pass

    def make_while_another_begins(folder: Path) -> None:
        make_private(folder)
        if not others:
            others.append(threading.Thread(target=begin))
            others[0].start()
            others[0].join(0.2)

    monkeypatch.setattr("clipbench.distributed.leader.make_private", make_while_another_begins)
    with leading._own_folder(parent) as folder:
        others[0].join()
        assert folder.is_dir() and folder.stat().st_mode & 0o777 == 0o700
        assert not (parent / "abandoned").exists()


def test_a_model_is_shared_unless_it_has_to_work_alone(tmp_path: Path) -> None:
    """An address is none by its letters: here a folder has them."""
    folder = tmp_path / "api:mine"
    shutil.copytree(SHIPPED["tiny"], folder)
    found = load_embedder(f"bundled:{folder}", LoadOptions(device="cpu"), tmp_path)
    assert isinstance(found, StoreEmbedder) and found.source is not None

    class Paid(ToyModel):
        is_sole = True

    assert is_sole(RenamedModel(Paid(), Paid().info)) and not is_sole(RenamedModel(ToyModel(), ToyModel().info))
    assert is_sole(PairModel(ToyModel().info, ToyModel(), Paid()))
