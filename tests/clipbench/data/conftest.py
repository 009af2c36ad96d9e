"""Tiny pictures, and the library caches kept out of the user's home."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Picture = Callable[[int], bytes]


def _picture(number: int) -> bytes:
    """A PNG whose pixels all have the value of its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def picture() -> Picture:
    return _picture


@pytest.fixture
def closed_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding any picture fails."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(Image, "open", refuse)


@pytest.fixture
def library_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Converted rows go below this folder."""
    import datasets

    cache = tmp_path_factory.mktemp("library-cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    datasets.disable_progress_bars()
    return cache


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub is refused before any packet is sent."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def shared_data() -> Path:
    root = Path(__file__).parents[3].parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("the real pictures in ../shared/data are not there")
    return root
