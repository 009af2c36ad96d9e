"""Measured inputs of images: their numbers by hand, what they follow, and that a run keeps them in the cache."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from clipbench.data.images import FileImage
from clipbench.models.encoding.image_hashes import CONVERSION, key_of
from clipbench.models.encoding.image_inputs import (
    NAMES,
    measure_decoded,
    measure_image,
    store_measures,
    stored_image_inputs,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))


def noise(size: tuple[int, int] = (64, 48), low: int = 0, high: int = 255) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(low, high, (size[1], size[0], 3), dtype=np.uint8).astype(np.uint8))


def test_half_black_and_half_white_have_half_a_contrast() -> None:
    grey = np.zeros((10, 20), np.uint8)
    grey[:, 10:] = 255

    measures = dict(zip(NAMES, measure_image(Image.fromarray(grey), 50.0).tolist(), strict=True))

    assert (measures["width"], measures["height"], measures["bytes per pixel"]) == (20, 10, 0.25)
    assert measures["brightness"] == measures["contrast"] == 0.5
    # Of 18 inner columns two touch the edge, where one neighbour of four differs.
    assert measures["sharpness"] == pytest.approx(2 / 18 / 4 / 0.5)


def test_a_dark_image_is_darker_and_as_sharp_and_a_blurred_one_is_less_sharp() -> None:
    plain, dark = measure_image(noise()), measure_image(noise().point(lambda value: value // 4))
    blurred = measure_image(noise().filter(ImageFilter.GaussianBlur(3)))

    assert dark[0] == pytest.approx(plain[0] / 4, rel=0.05)
    assert dark[2] == pytest.approx(plain[2], rel=0.05)
    assert blurred[2] < plain[2] / 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_is_measured(mode: str) -> None:
    image = Image.new("I;16", (30, 20), 900) if mode == "I;16" else noise().convert(mode)

    assert np.isfinite(measure_image(image, 10.0)).all()


def test_an_image_of_16_bits_is_as_bright_as_the_model_sees_it() -> None:
    assert measure_image(Image.new("I;16", (30, 20), 65535 // 4))[0] == pytest.approx(0.25, abs=0.003)


def test_measures_are_found_by_content_hash_also_of_converted_images(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    plain, converted = FileImage(tmp_path / "a.png"), b"\2" * 16
    digest = plain.digest()
    measures = measure_decoded(plain, plain.open())
    assert measures is not None
    store_measures({bytes.fromhex(digest): measures, key_of(CONVERSION + converted): measures})

    result = stored_image_inputs([digest, converted.hex(), "00" * 16, ""])

    assert set(result) == {digest, converted.hex()}
    size = (tmp_path / "a.png").stat().st_size
    assert result[digest]["bytes per pixel"] == pytest.approx(size / (64 * 48))


def test_a_cache_that_cannot_be_written_to_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "file"))
    store_measures({b"\1" * 16: measure_image(noise())})

    assert stored_image_inputs(["01" * 16]) == {}
