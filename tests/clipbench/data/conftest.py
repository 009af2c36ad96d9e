"""Tiny images, and the library caches kept out of the user's home."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from clipbench.data import Dataset

ImageBytes = Callable[[int], bytes]


def labels_of(dataset: Dataset) -> list[int]:
    """Return the labels of a data set that has some."""
    assert dataset.labels is not None
    return dataset.labels.tolist()


def owners_of(dataset: Dataset) -> list[int]:
    """Return the row of each caption's image, of a data set that has captions."""
    assert dataset.caption_image is not None
    return dataset.caption_image.tolist()


def _image(number: int) -> bytes:
    """A PNG whose pixels all have the value of its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def image_bytes() -> ImageBytes:
    return _image


@pytest.fixture
def closed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding any image fails."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub is refused before any packet is sent."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
