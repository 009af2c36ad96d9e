"""What is held of speed without a clock: how often each image is read and encoded, and memory; and the table of `make bench`."""

import importlib
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data import images
from clipbench.metrics import cross_ranks
from clipbench.testing import ToyModel

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is not part of the source distribution")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script, which finds its modules beside itself; last in the path, so that they hide nothing."""
    sys.path.append(str(BENCHMARKS))
    yield importlib.import_module("bench")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def table(bench: ModuleType) -> ModuleType:
    """The text of the table."""
    return importlib.import_module("table")


@pytest.fixture
def rows(bench: ModuleType) -> ModuleType:
    """What rows are made of."""
    return importlib.import_module("rows")


def record(bench: ModuleType, rows: ModuleType, seconds: float, *, others: float = 0.0) -> dict[str, Any]:
    """Return the record of a row with two bounds, of which one may be missed."""
    ours, limit = rows.Rounds(values=(seconds, seconds, 2 * seconds)), rows.Rounds(values=(1.0, 1.0, 1.0))
    reaches = [
        rows.times("the bare product", ours, limit, at_most=1.5),
        rows.count("MB above the vectors", 120, at_most=200, is_judged=False),
    ]
    row = rows.Row(what="ranks", ours=ours, limit=limit, limit_is="the product", reaches=reaches)
    found: dict[str, Any] = json.loads(json.dumps(bench.record_of(bench.Measured(row, 3.0, others))))
    return found


def test_each_reach_is_a_line_with_its_spread_and_verdict(
    bench: ModuleType, table: ModuleType, rows: ModuleType
) -> None:
    of_all = {**bench.conditions("small"), "rows": {"ranks": record(bench, rows, 1.75), "other": {"failed": "no room"}}}
    text = [" ".join(line.split()) for line in table.text_of(of_all)]
    assert text[2] == "| ranks: ranks | 1.75 s | – | 1 s | 1.75 (1.75–3.5) times the bare product | at most 1.5 | NO |"
    assert text[3] == "| | | | | 120 MB above the vectors | at most 200 | other size |"
    assert text[4] == "| other: not measured: no room | | | | | | |"
    assert "ranks: bare limit: the product" in text
    assert not any("busy" in line for line in text)


def test_an_older_file_stands_before_and_a_busy_machine_is_told(
    bench: ModuleType, table: ModuleType, rows: ModuleType
) -> None:
    old = {**bench.conditions("small"), "rows": {"ranks": record(bench, rows, 4.0)}}
    new = {**bench.conditions("small"), "rows": {"ranks": record(bench, rows, 1.0, others=0.8)}}
    text = [" ".join(line.split()) for line in table.text_of(new, old)]
    assert text[2].startswith("| ranks: ranks | 4 s | 1 s | – | 1 s | 4 (4–8) times the bare product | 1 (1–2) times")
    assert text[2].endswith("| at most 1.5 | yes |")
    assert text[-1].endswith("Processors that others used: ranks 0.8")


def test_the_page_takes_the_table_of_a_file(bench: ModuleType, rows: ModuleType) -> None:
    page = importlib.import_module("page")
    text = page.PAGE.read_text(encoding="utf-8")
    written = page.page_with({**bench.conditions("full"), "rows": {"ranks": record(bench, rows, 1.0)}}, text)
    assert (
        "| ranks: ranks | 1.9 s | 1 s | – | 1 s | 2.71 (2.43–3) times the bare product | 1 (1–2) times the bare product | at most 1.5 | yes |"
        in written
    )
    assert page.page_with({**bench.conditions("full"), "rows": {}}, written).count("ranks: ranks") == 0


def test_a_row_is_found_by_its_function(bench: ModuleType) -> None:
    names = bench.row_names()
    assert "compare" in names
    assert not {"bench", "rows", "table", "adapters", "store_formats"} & set(names)


def test_the_readme_tells_of_every_row(bench: ModuleType) -> None:
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [name for name in bench.row_names() if f"`{name}`" not in text] == []


def test_works_are_timed_in_turns_back_and_forth(rows: ModuleType) -> None:
    order: list[str] = []
    timed = rows.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert len(timed["a"].values) == len(timed["a"].cpu) == 2


def test_a_reach_is_kept_up_to_its_bound(rows: ModuleType) -> None:
    assert rows.count("encodings", 10, at_most=10, at_least=10).is_met
    assert rows.count("encodings", 11, at_most=10).is_met is False
    assert rows.count("encodings", 9, at_least=10).is_met is False


# The guard ------------------------------------------------------------------------------------------------------------


class Recorder(ToyModel):
    """A model that writes down what it is given."""

    def __init__(self) -> None:
        super().__init__(fingerprint="recorder")
        self.images: list[int] = []
        self.texts: list[str] = []

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.images += [zlib.crc32(image.tobytes()) for image in images]
        return super().encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        return super().encode_texts(texts)


@pytest.fixture
def captions(tmp_path: Path) -> pandas.DataFrame:
    """Twelve photographs with captions and classes; the last is the first once more."""
    importlib.import_module("bench")
    paths = importlib.import_module("photos").write_photos(tmp_path / "photos", 11)
    (tmp_path / "photos/again.jpg").write_bytes(paths[0].read_bytes())
    paths = [*paths, tmp_path / "photos/again.jpg"]
    labels = ["cat" if number % 2 else "dog" for number in range(len(paths))]
    texts = [f"a {label} in colour {number // 3}" for number, label in enumerate(labels)]
    return pandas.DataFrame({"image": paths, "caption": texts, "label": labels})


def test_all_tasks_encode_each_image_and_text_once_and_a_repeat_encodes_and_decodes_nothing(
    bench: ModuleType, captions: pandas.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    reads: Counter[str] = Counter()
    decoded: list[str] = []
    read, decode = vars(images)["read_bytes"], vars(images)["decode"]

    def counted_read(path: Path) -> bytes:
        reads[path.name] += 1
        data: bytes = read(path)
        return data

    def counted_decode(data: bytes, name: str) -> Image.Image:
        decoded.append(name)
        image: Image.Image = decode(data, name)
        return image

    monkeypatch.setattr(images, "read_bytes", counted_read)
    monkeypatch.setattr(images, "decode", counted_decode)
    tasks = ["zero-shot", "retrieval"]
    model, again = Recorder(), Recorder()
    cb.run(model, tasks=tasks, data=captions, preflight=False, workers=0, out=tmp_path / "one")
    assert len(model.images) == len(set(model.images)) == 11
    assert len(model.texts) == len(set(model.texts)) == 10
    # By content, to encode it, and for its thumbnail.
    assert max(reads.values()) <= 3 and len(decoded) <= 2 * 11
    reads.clear()
    decoded.clear()
    cb.run(again, tasks=tasks, data=captions, preflight=False, workers=0, out=tmp_path / "two")
    assert not again.images and not again.texts
    assert max(reads.values()) == 1 and not decoded


@pytest.fixture
def pairs(bench: ModuleType) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of 500 images and of their 2,500 texts."""
    vectors: tuple[np.ndarray, np.ndarray, np.ndarray] = importlib.import_module("ranks").vectors(500)
    return vectors


def sorted_matrix(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> None:
    """Find ranks as one would without a thought: all scores at once, each row and column sorted."""
    scores = images @ texts.T
    for each in (scores, scores.T):
        np.argsort(np.argsort(-each, axis=1), axis=1)


def test_ranks_hold_less_than_the_matrix(rows: ModuleType, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    whole = len(pairs[0]) * len(pairs[1]) * 4 / 1e6
    assert rows.peak_mb(lambda: sorted_matrix(*pairs)) > whole
    few = tuple(each[:, :32] if each.ndim == 2 else each for each in pairs)  # their copies weigh little
    assert rows.peak_mb(lambda: cross_ranks(*few)) < whole
