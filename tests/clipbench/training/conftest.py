"""A model that trains in milliseconds, and a folder of captioned images for it."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from clipbench.training.clip import config
from clipbench.training.clip.config import ClipConfig
from tests.bundled import MICRO

COLOURS = ("red", "green", "blue", "white")
KINDS = ("disc", "square")
N_WRITTEN_IMAGES = 48


@pytest.fixture
def micro(monkeypatch: pytest.MonkeyPatch) -> ClipConfig:
    """The small model's configuration, which also has a name: ``micro``."""
    monkeypatch.setitem(config.CONFIGS, "micro", MICRO)
    return MICRO


@pytest.fixture(scope="session")
def captions_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of images with two captions each."""
    folder = tmp_path_factory.mktemp("captioned")
    lines = ["image,caption"]
    for number in range(N_WRITTEN_IMAGES):
        colour, kind = COLOURS[number % 4], KINDS[number // 4 % 2]
        name = f"{number}.png"
        _draw(colour, kind, number).save(folder / name)
        lines += [f"{name},a {colour} {kind}", f"{name},an image of a {colour} {kind}"]
    path = folder / "captions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _draw(colour: str, kind: str, number: int) -> Image.Image:
    image = Image.new("RGB", (20 + number % 3, 20), (60, 60, 60 + number))
    box = (4, 4, 14, 14)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if kind == "disc" else pen.rectangle)(box, fill=colour)
    return image
