"""The parts that adapters show: fed by hand, they give the vectors of the two methods."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import torch
from PIL import Image

from clipbench import torch_model
from clipbench.checks.hidden_parts import method_for
from clipbench.models.adapters.python import wrap
from clipbench.models.protocol import Internals, Model, Role, Vectors
from clipbench.testing import INFO, ToyModel
from tests.clipbench.models import small_models
from tests.clipbench.models.test_costs import loaded


def wrapped(folder: Path) -> Model:
    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return wrap(torch_model(net, preprocess, tokenizer), "mine", batch_size=2)


def assert_parts_give_the_vectors(model: Model, images: list[Image.Image], texts: list[str]) -> Internals:
    parts = model.internals()
    assert parts.module is not None and next(parts.module.parameters()) is not None
    assert parts.tokenize is not None and parts.encode_tokens is not None
    assert parts.preprocess is not None and parts.encode_pixels is not None
    tokens = parts.tokenize(texts)
    assert all(ids.shape[0] == len(texts) for ids in tokens.values())
    np.testing.assert_allclose(parts.encode_tokens(tokens), model.encode_texts(texts), atol=1e-5)
    pixels = np.stack([parts.preprocess(image) for image in images])
    np.testing.assert_allclose(parts.encode_pixels(pixels), model.encode_images(images), atol=1e-5)
    return parts


def test_the_parts_of_each_adapter_give_its_vectors(small_clip_folder: Path, small_siglip_folder: Path) -> None:
    images = [image.convert("RGB") for image in small_models.images()[:3]]
    models = [loaded("tiny"), *(loaded(f"local-dir:{folder}") for folder in (small_clip_folder, small_siglip_folder))]
    for model in (*models, wrapped(small_clip_folder)):
        assert_parts_give_the_vectors(model, images, list(small_models.TEXTS))


def test_a_torch_module_keeps_its_mode_where_its_parts_are_used(small_clip_folder: Path) -> None:
    model = wrapped(small_clip_folder)
    parts = model.internals()
    assert parts.module is not None and parts.tokenize is not None and parts.encode_tokens is not None
    parts.module.train()
    parts.encode_tokens(parts.tokenize(["a photo"]))
    assert parts.module.training


class Pixels(Model):
    info = INFO

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.ones((3, 8, 8), np.float32)

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        return inputs.reshape(len(inputs), -1)[:, : self.info.embed_dim]


class Odd:
    encode_images, encode_texts = ToyModel().encode_images, ToyModel().encode_texts
    internals = "an attribute of another meaning"


def test_a_model_that_shows_nothing_has_the_parts_of_its_protocol() -> None:
    for model in (ToyModel(), wrap(ToyModel(), "toy", batch_size=4), wrap(Odd(), "odd", batch_size=4)):
        assert model.internals() == Internals()
    parts = Pixels().internals()
    assert parts.preprocess is not None and parts.encode_pixels is not None and parts.module is None
    assert parts.encode_pixels(np.zeros((2, 3, 8, 8), np.float32)).shape == (2, 32)


class Attributes:
    """A user's object that keeps its parts as attributes, and encodes with them."""

    def __init__(self, folder: Path) -> None:
        self.net, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.net.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def encode_images(self, images: list[Image.Image]) -> Any:
        with torch.no_grad():
            return self.net.encode_image(torch.stack([self.preprocess(image) for image in images]))

    def encode_texts(self, texts: list[str]) -> Any:
        with torch.no_grad():
            return self.net.encode_text(self.tokenizer(texts))


class Otherwise(Attributes):
    """An object that does not use its attributes as they are: texts are in lower case, and images are turned."""

    def encode_images(self, images: list[Image.Image]) -> Any:
        return super().encode_images([image.rotate(90) for image in images])

    def encode_texts(self, texts: list[str]) -> Any:
        return super().encode_texts([f"x {text}" for text in texts])


def test_parts_that_are_attributes_are_found_where_they_give_the_vectors(small_clip_folder: Path) -> None:
    images = [image.convert("RGB") for image in small_models.images()[:3]]
    model = wrap(Attributes(small_clip_folder), "mine", batch_size=2)
    assert_parts_give_the_vectors(model, images, list(small_models.TEXTS))
    other = wrap(Otherwise(small_clip_folder), "other", batch_size=2).internals()
    assert other.module is not None and other.preprocess is None and other.tokenize is None


def test_the_code_that_shows_hidden_parts_names_them_all() -> None:
    lines = method_for(Internals()).splitlines()
    assert lines[0] == "def internals(self):" and len(lines) == 8
    part = cast(Any, len)
    everything = Internals(module=part, preprocess=part, encode_pixels=part, tokenize=part, encode_tokens=part)
    assert method_for(everything) == ""
