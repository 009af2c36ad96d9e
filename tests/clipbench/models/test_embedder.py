"""The embedder: one encoding a distinct image or text, checked vectors, nothing lost when interrupted."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from clipbench.data.dataset import Dataset
from clipbench.data.images import FileImage
from clipbench.errors import BadImage, VectorError
from clipbench.models.adapters.python import wrap
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.image_hashes import ImageHashes
from clipbench.testing import NamedImage, ToyModel

TEXTS = ["a cat", "a dog", "a cat", "two words more"]


def images(folder: Path, n: int) -> list[FileImage]:
    rng = np.random.default_rng(0)
    for number in range(n):
        Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).save(folder / f"{number}.png")
    return [FileImage(folder / f"{number}.png") for number in range(n)]


def test_each_distinct_image_and_text_is_encoded_once_across_embedders(tmp_path: Path) -> None:
    refs = [NamedImage("a"), NamedImage("b"), NamedImage("a")]
    first, model = ToyModel(), ToyModel()
    expected_images = first.encode_images([ref.open() for ref in refs])
    expected_texts = first.encode_texts(TEXTS)
    embedder = StoreEmbedder(model, tmp_path)
    for _ in range(2):
        assert np.array_equal(embedder.images(refs), expected_images)
        assert np.array_equal(embedder.texts(TEXTS), expected_texts)
    assert (model.encoded_images, model.encoded_texts) == (2, 3)
    assert embedder.counts().n_items() == {"images": 2, "texts": 3, "stored_images": 0, "stored_texts": 0}
    again = StoreEmbedder(ToyModel(), tmp_path)
    assert np.array_equal(again.images(refs), expected_images)
    assert np.array_equal(again.texts(TEXTS), expected_texts)
    assert again.counts().n_items() == {"images": 0, "texts": 0, "stored_images": 2, "stored_texts": 3}


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing_but_the_time(tmp_path: Path, workers: int) -> None:
    refs = images(tmp_path, 9)
    embedder = StoreEmbedder(ToyModel(), tmp_path, batch_size=2, workers=workers)
    expected = np.concatenate([ToyModel().encode_images([ref.open()]) for ref in refs])
    np.testing.assert_allclose(embedder.images(refs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_is_replaced_during_the_run_is_refused_and_not_stored(tmp_path: Path, workers: int) -> None:
    refs = images(tmp_path, 3)
    expected = ToyModel().encode_images([ref.open() for ref in refs])
    embedder, content = StoreEmbedder(ToyModel(), tmp_path / "store", workers=workers), refs[1].path.read_bytes()
    embedder.digests(refs)
    Image.new("RGB", (9, 9), "red").save(refs[1].path)
    with pytest.raises(BadImage, match=r"1\.png: its content changed during the run") as error:
        embedder.images(refs)
    assert "\n" not in str(error.value)

    refs[1].path.write_bytes(content)
    again = StoreEmbedder(ToyModel(), tmp_path / "store")
    np.testing.assert_allclose(again.images(refs), expected, rtol=1e-5, atol=1e-5)


class Drawn(NamedImage):
    """An image that remembers at what sizes it was asked for."""

    asked: ClassVar[list[int]] = []

    def open_at(self, side: int) -> Image.Image:
        self.asked.append(side)
        return self.open()


def test_an_image_that_can_be_drawn_at_any_size_is_drawn_at_the_models(tmp_path: Path) -> None:
    model = ToyModel()
    StoreEmbedder(model, tmp_path).images([Drawn("a")])
    assert Drawn.asked == [8]
    model.info = replace(model.info, image_size=None)
    StoreEmbedder(model, tmp_path).images([Drawn("b")])
    assert Drawn.asked == [8], "of a model of unknown size it is opened as any other"


def test_an_unreadable_image_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    refs = images(tmp_path, 3)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    missing = FileImage(tmp_path / "gone.png")
    embedder = StoreEmbedder(ToyModel(), tmp_path)
    every = Dataset(id="some", images=[*refs, missing], image_ids=["0", "1", "2", "gone"])
    readable = embedder.readable(every)
    assert list(readable.image_ids) == ["0", "2"]
    assert readable.notes[0] == "skipped 2 of 4 images"
    assert [note.partition(": ")[0] for note in readable.notes[1:]] == [
        f"skipped {tmp_path / '1.png'}",
        f"skipped {tmp_path / 'gone.png'}",
    ]
    with pytest.raises(BadImage, match=r"cannot read image .*1\.png: .*on_bad_image='skip'"):
        embedder.images(refs)
    with pytest.raises(BadImage, match=r"gone\.png: No such file"):
        embedder.digests([missing])


def test_an_unreadable_image_ends_the_work_at_once_and_what_was_encoded_is_kept(tmp_path: Path) -> None:
    refs = images(tmp_path, 20)
    (tmp_path / "5.png").write_bytes(b"no image")
    model = ToyModel()
    with pytest.raises(BadImage, match=r"5\.png"):
        StoreEmbedder(model, tmp_path, batch_size=2, workers=0).images(refs)
    assert model.encoded_images == 5
    again = StoreEmbedder(ToyModel(), tmp_path)
    again.images(refs[:5])
    assert again.counts().n_items()["stored_images"] == 5


class Stained(ToyModel):
    """Gives a bad vector for one text and for images that are black."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        vectors = super().encode_texts(texts)
        vectors[[text == "a dog" for text in texts]] = self.value
        return vectors

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        vectors = super().encode_images(images)
        vectors[[not image.getbbox() for image in images]] = self.value
        return vectors


@pytest.mark.parametrize(("value", "what"), [(0.0, "zero"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_nan_infinite_and_zero_vectors_are_refused_by_name(tmp_path: Path, value: float, what: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "black.png")
    embedder = StoreEmbedder(Stained(value), tmp_path)
    with pytest.raises(VectorError, match=rf"gave a.*{what}.* for text 'a dog'"):
        embedder.texts(TEXTS)
    with pytest.raises(VectorError, match=rf"gave a.*{what}.* for image .*black\.png"):
        embedder.images([FileImage(tmp_path / "black.png")])
    assert not list(tmp_path.rglob("*.vectors"))


class Interrupted(ToyModel):
    """Is stopped by the user after some texts."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if self.encoded_texts >= 32:
            raise KeyboardInterrupt
        return super().encode_texts(texts)


def test_what_was_encoded_before_an_interruption_is_kept(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(100)]
    with pytest.raises(KeyboardInterrupt):
        StoreEmbedder(Interrupted(), tmp_path, batch_size=1).texts(texts)
    again = StoreEmbedder(ToyModel(), tmp_path, batch_size=1)
    again.texts(texts)
    assert again.counts().n_items() == {"images": 0, "texts": 68, "stored_images": 0, "stored_texts": 32}


class Counting:
    """A model in the user's own hands, which gets whole images; it remembers how many pixels are held at its calls."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []
        self.held: list[int] = []
        self._alive: list[weakref.ref[Image.Image]] = []

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        gc.collect()
        self._alive += [weakref.ref(image) for image in images]
        self.held.append(sum(one.width * one.height for reference in self._alive if (one := reference()) is not None))
        self.batches.append([image.size for image in images])
        return np.array([[image.width, image.height, 1.0] for image in images])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_whole_images_come_in_batches_of_limited_pixels_and_are_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("CLIPBENCH_MAX_PIXELS", "10000")
    sizes = [(100, 100)] * 6 + [(10, 10)] * 5 + [(200, 200), (100, 100)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / f"{number}.png")
    refs = [FileImage(tmp_path / f"{number}.png") for number in range(len(sizes))]
    model = Counting()
    embedder = StoreEmbedder(wrap(model, "mine", batch_size=6), tmp_path, batch_size=6, workers=workers)
    model.batches.clear()
    model.held.clear()
    dataset = embedder.readable(
        Dataset(id="d", images=refs, image_ids=[ref.name for ref in refs], labels=np.zeros(13, int))
    )
    assert [size for batch in model.batches for size in batch] == [size for size in sizes if size != (200, 200)]
    assert [len(batch) for batch in model.batches] == [4, 2, 5, 1]  # of six images, or fewer with 40,000 pixels at most
    assert max(model.held) <= 40_000
    assert dataset.notes[-1].endswith(
        "make it smaller, or set CLIPBENCH_MAX_PIXELS=40000 (4 bytes of memory per pixel)"
    )


def test_images_that_are_no_plain_ones_are_counted_and_encoded_again_under_a_new_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    deep.save(tmp_path / "deep.png")
    deep.convert("L").convert("RGBA").save(tmp_path / "alpha.png")
    refs = [*images(tmp_path, 2), FileImage(tmp_path / "deep.png"), FileImage(tmp_path / "alpha.png")]
    hashes = ImageHashes()
    embedder = StoreEmbedder(ToyModel(), tmp_path / "store", hashes=hashes)
    embedder.images(refs)
    notes = (
        "1 image with 16 bits per pixel: scaled to 8",
        "1 image with transparency: the alpha channel is dropped, so the colours below it are used",
    )
    assert embedder.image_notes(refs) == notes and embedder.image_notes(refs[:2]) == ()
    another = StoreEmbedder(ToyModel(fingerprint="other"), tmp_path / "store", hashes=hashes)
    assert another.digests(refs) == [ref.digest() for ref in refs]
    assert another.image_notes(refs) == notes  # told of each model, though the images are read once
    monkeypatch.setattr("clipbench.models.encoding.image_hashes.CONVERSION", b"another rule ")
    again = StoreEmbedder(ToyModel(), tmp_path / "store")
    again.images(refs)
    assert again.counts().n_items() == {"images": 2, "texts": 0, "stored_images": 2, "stored_texts": 0}
