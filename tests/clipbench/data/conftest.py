"""Tiny images, and the library caches kept out of the user's home."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

ImageBytes = Callable[[int], bytes]


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
        pytest.skip("the real images in ../shared/data are not there")
    return root


@pytest.fixture
def hub(hub_server: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hub on this machine that the true clients talk to; they never wait before they try again."""
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars, enable_progress_bars

    with hub_server.running(tmp_path / "served") as (served, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50)  # less than a chunk is lost when it breaks
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        close_session()
        disable_progress_bars()
        served.address = address
        yield served
        enable_progress_bars()
        close_session()
