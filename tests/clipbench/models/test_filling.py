"""Several models on one decode: their vectors are those of each by itself, whatever differs between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.data.images import FileImage
from clipbench.errors import BadImage
from clipbench.models.embedder import StoreEmbedder
from clipbench.models.encoding import Encoder, Wanted
from clipbench.models.filling import encode_together
from clipbench.testing import ToyModel


@dataclass(frozen=True)
class Resize:
    """A preprocessing to squares of a size, of one array or of two by name, which fails on some images."""

    side: int
    is_named: bool = False
    refuses: tuple[int, int] = (0, 0)

    def __call__(self, image: Image.Image) -> Any:
        if image.size == self.refuses:
            raise ValueError("an odd size")
        pixels = np.asarray(image.convert("RGB").resize((self.side, self.side)), np.float32).transpose(2, 0, 1)
        return {"pixels": pixels, "size": np.array(image.size)} if self.is_named else pixels


@dataclass
class Pixels:
    """A model whose vectors depend on the whole batch, as rounding does, and are bad for some batches."""

    name: str
    preprocess: Resize = Resize(4)
    batches: list[int] = field(default_factory=list)
    fails_at: int = -1

    @property
    def info(self) -> Any:
        return replace(ToyModel(embed_dim=3, fingerprint=self.name).info, image_size=None)

    def encode_pixels(self, pixels: Any) -> np.ndarray:
        pixels = pixels["pixels"] + pixels["size"].sum() if isinstance(pixels, dict) else pixels
        self.batches.append(len(pixels))
        if len(self.batches) - 1 == self.fails_at:
            return np.full((len(pixels), 3), np.nan, np.float32)
        return (pixels.mean(axis=(2, 3)) + pixels.mean() + len(self.name)).astype(np.float32)

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        raise AssertionError("images are preprocessed")

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError("there are none")


@pytest.fixture
def images(tmp_path: Path) -> list[FileImage]:
    rng = np.random.default_rng(0)
    for number in range(11):
        size = (8, 9) if number == 7 else (8, 8)
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(tmp_path / f"{number}.png")
    return [FileImage(tmp_path / f"{number}.png") for number in range(11)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were decoded."""
    names: list[str] = []
    open_ = FileImage.open

    def noted(self: FileImage) -> Image.Image:
        names.append(self.path.name)
        return open_(self)

    monkeypatch.setattr(FileImage, "open", noted)
    return names


Models = Callable[[], list[Pixels]]


@pytest.mark.parametrize(
    ("models", "n_decoded"),
    [
        (lambda: [Pixels("a"), Pixels("bb"), Pixels("ccc")], 11),
        (lambda: [Pixels("a"), Pixels("bb", Resize(2)), Pixels("ccc", Resize(3, is_named=True))], 11),
        (lambda: [Pixels("a", Resize(2, is_named=True)), Pixels("bb", Resize(2, is_named=True))], 11),
    ],
)
def test_vectors_are_those_of_each_model_by_itself(
    tmp_path: Path, images: list[FileImage], decoded: list[str], models: Models, n_decoded: int
) -> None:
    single = [StoreEmbedder(model, tmp_path / "single", batch_size=4, workers=0).images(images) for model in models()]
    several = models()
    embedders = [StoreEmbedder(model, tmp_path / "several", batch_size=4, workers=0) for model in several]
    decoded.clear()
    encode_together(embedders, images)
    assert len(decoded) == n_decoded
    for embedder, expected in zip(embedders, single, strict=True):
        assert embedder.images(images).tobytes() == expected.tobytes()
        assert embedder.counts().n_items()["images"] == 11
    assert len(decoded) == n_decoded
    assert [model.batches for model in several] == [[4, 4, 3]] * len(several)


def test_images_are_prepared_by_one_loader(
    tmp_path: Path, images: list[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    load = Encoder.load

    def noted(self: Encoder, wanted: Wanted, claimed: Any, preprocess: Any) -> Any:
        made.append(len(wanted.items))
        return load(self, wanted, claimed, preprocess)

    monkeypatch.setattr(Encoder, "load", noted)
    encode_together([StoreEmbedder(Pixels(name), tmp_path, batch_size=4, workers=0) for name in ("a", "bb")], images)
    assert made == [11]


def test_what_goes_wrong_is_left_to_the_model_that_it_is_of(
    tmp_path: Path, images: list[FileImage], decoded: list[str]
) -> None:
    def embedders(folder: str, *models: Pixels) -> list[StoreEmbedder]:
        return [StoreEmbedder(model, tmp_path / folder, batch_size=4, workers=0) for model in models]

    good, refusing = embedders("refusing", Pixels("a"), Pixels("bb", Resize(4, refuses=(8, 9))))
    encode_together([good, refusing], images)
    assert len(decoded) == 11
    assert good.images(images).tobytes() == embedders("alone", Pixels("a"))[0].images(images).tobytes()
    with pytest.raises(BadImage, match=r"7\.png: ValueError: an odd size"):
        refusing.images(images)

    good, diverged = embedders("diverged", Pixels("a"), Pixels("bb", fails_at=1))
    encode_together([good, diverged], images)
    assert good.images(images).tobytes() == embedders("alone", Pixels("a"))[0].images(images).tobytes()

    ahead, behind, alone = embedders("ahead", Pixels("a"), Pixels("bb"), Pixels("ccc"))
    ahead.images(images[:4])
    decoded.clear()
    encode_together([ahead, behind, alone], images)
    assert len(decoded) == 11  # of the two that lack the same
    ahead.images(images)
    assert len(decoded) == 11 + 7
