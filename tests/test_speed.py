"""Guarantees of speed without a clock: how often each image is read and encoded, and memory."""

import importlib
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas
import pytest
from PIL import Image

import clipbench as cb
from clipbench.data import images
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
