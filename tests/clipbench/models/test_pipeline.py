"""The one road of all items: several models on one decode, sides of a search, an image with a text, what has no
encoder.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.data.dataset import Dataset
from clipbench.data.images import FileImage, ImageRef
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.errors import BadImage, Unavailable, UsageError
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.encoding.pipeline import EncodeItem, EncodeRequest, item_of, load
from clipbench.models.encoding.sharing import encode_together
from clipbench.models.introspection import preprocessing
from clipbench.models.introspection.preprocessing import crop_middle, limit_size
from clipbench.models.protocol import Model, Role, Vectors, parse_role
from clipbench.models.towers.torch_model import TransformersPreprocess
from clipbench.testing import INFO, NamedImage
from clipbench.untrusted.limits import MAX_PIXELS


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


class Pixels(Model):
    """A model whose vectors depend on the whole batch, as rounding does, and are bad for some batches."""

    modalities = (IMAGE,)

    def __init__(self, name: str, preprocess: Resize = Resize(4), fails_at: int = -1) -> None:
        self.info = replace(INFO, embed_dim=3, fingerprint=name, image_size=None)
        self.preprocess = preprocess
        self.batches: list[int] = []
        self.fails_at = fails_at

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        assert modality == IMAGE
        pixels = inputs["pixels"] + inputs["size"].sum() if isinstance(inputs, dict) else inputs
        self.batches.append(len(pixels))
        if len(self.batches) - 1 == self.fails_at:
            return np.full((len(pixels), 3), np.nan, np.float32)
        return (pixels.mean(axis=(2, 3)) + pixels.mean() + len(self.info.fingerprint)).astype(np.float32)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        raise AssertionError("images are preprocessed")


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
    open_unchanged = FileImage.open_unchanged

    def noted(self: FileImage, is_known: Callable[[str], bool]) -> Image.Image:
        names.append(self.path.name)
        return open_unchanged(self, is_known)

    monkeypatch.setattr(FileImage, "open_unchanged", noted)
    return names


Models = Callable[[], list[Pixels]]


@pytest.mark.parametrize(
    "models",
    [
        lambda: [Pixels("a"), Pixels("bb"), Pixels("ccc")],
        lambda: [Pixels("a"), Pixels("bb", Resize(2, is_named=True)), Pixels("ccc")],
        lambda: [Pixels("a", Resize(2, is_named=True)), Pixels("bb", Resize(2, is_named=True))],
    ],
)
def test_vectors_are_those_of_each_model_by_itself(
    tmp_path: Path, images: list[FileImage], decoded: list[str], models: Models
) -> None:
    single = [StoreEmbedder(model, tmp_path / "single", batch_size=4, workers=0).images(images) for model in models()]
    several = models()
    embedders = [StoreEmbedder(model, tmp_path / "several", batch_size=4, workers=0) for model in several]
    decoded.clear()
    encode_together(embedders, images)
    assert len(decoded) == 11  # for the models of one preprocessing
    for embedder, expected in zip(embedders, single, strict=True):
        assert embedder.images(images).tobytes() == expected.tobytes()
        assert embedder.counts().n_items()["images"] == 11
    assert len(decoded) == 11 * len({model.preprocess for model in several})
    assert [model.batches for model in several] == [[4, 4, 3]] * len(several)


def test_what_goes_wrong_is_left_to_the_model_that_it_is_of(
    tmp_path: Path, images: list[FileImage], decoded: list[str]
) -> None:
    def embedders(folder: str, *models: Pixels) -> list[StoreEmbedder]:
        return [StoreEmbedder(model, tmp_path / folder, batch_size=4, workers=0) for model in models]

    odd = Resize(4, refuses=(8, 9))
    refusing = embedders("refusing", Pixels("a", odd), Pixels("bb", odd))
    encode_together(refusing, images)
    assert len(decoded) == 11
    for embedder, alone in zip(refusing, embedders("readable", Pixels("a"), Pixels("bb")), strict=True):
        assert embedder.images(images[:7]).tobytes() == alone.images(images[:7]).tobytes()
        with pytest.raises(BadImage, match=r"7\.png: ValueError: an odd size"):
            embedder.images(images)

    good, diverged = embedders("diverged", Pixels("a"), Pixels("bb", fails_at=1))
    encode_together([good, diverged], images)
    assert good.images(images).tobytes() == embedders("alone", Pixels("a"))[0].images(images).tobytes()

    ahead, behind, last = embedders("ahead", Pixels("a"), Pixels("bb"), Pixels("ccc"))
    ahead.images(images[:4])
    decoded.clear()
    encode_together([ahead, behind, last], images)
    assert len(decoded) == 11  # of the two that lack the same
    ahead.images(images)
    assert len(decoded) == 11 + 7


class Searching(Model):
    """A model that encodes the sides of a search, images, and images with texts differently; it keeps what it is
    given.
    """

    modalities: Sequence[str] = (IMAGE, TEXT)

    def __init__(self, *with_roles: str) -> None:
        roles = {modality: {"query": "q: ", "document": ""} for modality in with_roles}
        self.info = replace(INFO, embed_dim=3, roles=roles, is_joint=True)
        self.given: list[tuple[str, Any, Role]] = []

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        self.given.append((modality, inputs, role))
        sides = [None, "query", "document"]
        side, place = sides.index(role), (IMAGE, TEXT, JOINT).index(modality)
        return np.array([[side + 1, place, number] for number in range(len(inputs))], np.float32)


def test_the_same_item_on_another_side_of_a_search_is_another_one(tmp_path: Path, images: list[FileImage]) -> None:
    model = Searching(IMAGE, TEXT, JOINT)
    embedder = StoreEmbedder(model, tmp_path / "store", workers=0)
    roles: tuple[Role, ...] = (None, "query", "document")
    for modality, items in ((TEXT, ["a cat"]), (IMAGE, images[:1]), (JOINT, [(images[0], "a cat")])):
        model.given.clear()
        for _ in range(2):
            assert [embedder.encode(modality, items, role)[0, 0] for role in roles] == [1, 2, 3]
        assert [(batch, role) for batch, _, role in model.given] == [(modality, role) for role in roles]
    counts = embedder.counts().n_items()
    assert (counts["images"], counts["texts"], counts[JOINT]) == (3, 3, 3)
    again = StoreEmbedder(Searching(TEXT), tmp_path / "store", workers=0)
    assert again.encode(TEXT, ["a cat"], "document")[0, 0] == 3 and again.texts(["a cat"])[0, 0] == 1
    assert again.encode(IMAGE, images[:1], "query")[0, 0] == 1  # images have no roles here: one vector, one key
    assert again.counts().n_items()["texts"] == again.counts().n_items()["images"] == 0
    assert len(again.encode_sides(IMAGE, images)) == 2 and again.counts().n_items()["images"] == len(images) - 1
    with pytest.raises(UsageError, match=r"^no role 'querry': did you mean 'query'\?$"):
        parse_role("querry")
    bad: list[ImageRef] = [*images, NamedImage("bad")]
    sided = StoreEmbedder(Searching(IMAGE), tmp_path / "other", workers=0)
    assert sided.missing_images(images) == []  # of which role, no task has said
    every = Dataset(id="d", images=bad, image_ids=list("abcdefghijkl"))
    assert len(sided.readable(every, "document").images) == len(images)
    sided.encode(IMAGE, images, "document")
    assert sided.counts().n_items()["images"] == len(images)  # once, in the role in which they were wanted


def test_an_image_with_a_text_is_one_item(tmp_path: Path, images: list[FileImage]) -> None:
    model = Searching()
    embedder = StoreEmbedder(model, tmp_path / "store", workers=0)
    copy = tmp_path / "copy.png"
    copy.write_bytes(images[0].path.read_bytes())
    pairs = [(images[0], "a"), (images[0], "b"), (images[1], "a"), (FileImage(copy), "a")]
    vectors = embedder.encode(JOINT, pairs)
    ((modality, batches, role),) = model.given
    assert (modality, role, [text for _, text in batches]) == (JOINT, None, ["a", "b", "a"])
    assert [np.asarray(image).tobytes() for image, _ in batches] == [
        np.asarray(ref.open()).tobytes() for ref, _ in pairs[:3]
    ]
    assert vectors[:, 2].tolist() == [0, 1, 2, 0]  # by content
    assert (tmp_path / "store/store/toy" / JOINT).is_dir() and not (tmp_path / "store/store/toy" / TEXT).exists()
    images[2].path.write_bytes(b"no image")
    with pytest.raises(BadImage, match=r"2\.png"):
        embedder.encode(JOINT, [(images[2], "a")])


@pytest.mark.parametrize("modality", [IMAGE, TEXT, JOINT, "audio"])
def test_a_modality_without_an_encoder_is_unavailable(tmp_path: Path, images: list[FileImage], modality: str) -> None:
    model = Searching()
    model.modalities = tuple(each for each in (IMAGE, TEXT) if each != modality)
    model.info = replace(model.info, is_joint=False)
    items: dict[str, Any] = {
        IMAGE: images[:1],
        TEXT: ["a"],
        JOINT: [(images[0], "a")],
        "audio": [SimpleNamespace(content="ab" * 16, name="0", value=b"")],
    }
    with pytest.raises(Unavailable, match=f"model toy has no encoder of {re.escape(modality)}"):
        StoreEmbedder(model, tmp_path / "store", workers=0).encode(modality, items[modality])
    assert model.given == []


@pytest.mark.parametrize("size", [(330, 110), (1271, 97), (31, 1000), (2000, 50), (3400, 85), (1, 90)])
def test_the_middle_of_a_long_image_becomes_the_same_pixels_as_in_the_whole(size: tuple[int, int]) -> None:
    T = pytest.importorskip("torchvision.transforms")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    for name in ("bicubic", "bilinear"):
        transform = T.Compose([T.Resize(224, T.InterpolationMode(name)), T.CenterCrop(224)])
        whole, part = (np.asarray(transform(picture), np.int64) for picture in (image, crop_middle(image, 224, name)))
        assert np.abs(whole - part).max() <= 1


@pytest.mark.parametrize("kind", ["CLIPImageProcessor", "SiglipImageProcessor"])
@pytest.mark.parametrize("size", [(900, 700), (701, 1000)])
def test_a_large_image_is_resized_before_a_processor_copies_it_to_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int]
) -> None:
    processor = getattr(pytest.importorskip("transformers"), kind)(do_normalize=False)
    preprocess = TransformersPreprocess(processor)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))
    assert limit_size(image, preprocess, 224, "x") is image
    monkeypatch.setattr(preprocessing, "LARGE", 600_000)
    resized = limit_size(image, preprocess, 224, "x")
    assert min(resized.size) == 224
    assert np.abs(preprocess(resized) - preprocess(image)).max() * 255 < 1.01


@dataclass(frozen=True)
class Shape:
    """A preprocessing to 16 x 16, which fails where it is given or makes too large an image."""

    resized: Callable[[Image.Image], tuple[int, int]]

    def __call__(self, image: Image.Image) -> np.ndarray:
        size = self.resized(image)
        assert size[0] * size[1] <= 40_000, size
        left, top = ((length - 16) // 2 for length in size)
        square = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 16, top + 16))
        return np.asarray(square, np.float32).transpose(2, 0, 1)


def shortest_side(image: Image.Image) -> tuple[int, int]:
    width, height = (16 * length // min(image.size) for length in image.size)
    return width, height


def hashed_item(file: Path) -> EncodeItem:
    return item_of(IMAGE, FileImage(file), image_key=bytes.fromhex(FileImage(file).digest()))


@pytest.mark.parametrize(
    ("preprocess", "is_read"), [(Shape(shortest_side), True), (Shape(lambda _: (16, 16)), True), (None, False)]
)
def test_a_long_image_is_not_enlarged_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preprocess: Shape | None, is_read: bool
) -> None:
    monkeypatch.setenv(MAX_PIXELS, "40000")
    Image.new("RGB", (2000, 10)).save(tmp_path / "long.png")
    item = hashed_item(tmp_path / "long.png")
    (batch,) = load(EncodeRequest(IMAGE, [item]), preprocess, 16, [range(1)])
    assert (batch.rows == [0]) is is_read
    if not is_read:
        with pytest.raises(
            BadImage, match=r"long\.png: it has 2,000 x 10 pixels, and 51,200 with its shorter side resized to 16"
        ):
            raise batch.errors[0]


@pytest.mark.parametrize("preprocess", [Resize(4), None])
@pytest.mark.parametrize("workers", [0, 1])
def test_measured_inputs_travel_with_their_batch_and_an_unreadable_image_has_none(
    tmp_path: Path, preprocess: Resize | None, workers: int
) -> None:
    for row, grey in enumerate((0, 102, 255)):
        Image.new("L", (8, 8), grey).save(tmp_path / f"{row}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    items = [hashed_item(tmp_path / f"{row}.png") for row in range(3)]

    (batch,) = load(EncodeRequest(IMAGE, items, is_strict=False, workers=workers), preprocess, 4, [range(3)])

    assert {row: measures[0] for row, measures in batch.measures.items()} == {0: 0.0, 2: 1.0}
    assert [*batch.errors] == [1]
