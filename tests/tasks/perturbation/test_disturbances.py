"""Disturbed copies: what each severity changes, and that a copy depends on its item and on nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipbench.data import DrawnImage, FileImage
from clipbench.data.images import image_size, open_image
from clipbench.data.scenes.scene_datasets import scenes_dataset
from clipbench_tasks.perturbation.disturbances import (
    IMAGE_DISTURBANCES,
    TEXT_DISTURBANCES,
    disturb_image,
    disturb_text,
)

TEXT = "A large striped Moon, against a plain navy background"
SEVERITIES = range(1, 6)


def photo(path: Path, size: tuple[int, int] = (320, 240), seed: int = 0) -> FileImage:
    """Return a colourful image with coarse and fine structure, in a file."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-20, 21, (size[1], size[0], 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return FileImage(path)


def pixels_of(source: FileImage, name: str, severity: int) -> np.ndarray:
    return np.asarray(disturb_image(source, source.digest(), name, severity).open(), np.float64)


def distance(source: FileImage, name: str, severity: int) -> float:
    """Return the root mean square of the change, after both are made as small as models see them."""
    copy = disturb_image(source, source.digest(), name, severity).open().resize((96, 96))
    return float(np.sqrt(((np.asarray(copy, float) - np.asarray(source.open().resize((96, 96)), float)) ** 2).mean()))


@pytest.mark.parametrize("name", [name for name in IMAGE_DISTURBANCES if name != "rotation"])
def test_each_severity_changes_an_image_more_than_the_one_before(tmp_path: Path, name: str) -> None:
    source = photo(tmp_path / "a.png")
    distances = [distance(source, name, severity) for severity in SEVERITIES]
    assert distances == sorted(distances) and distances[0] > 0


@pytest.mark.parametrize("name", IMAGE_DISTURBANCES)
def test_a_copy_depends_on_the_content_of_its_image_only(tmp_path: Path, name: str) -> None:
    source = photo(tmp_path / "a.png")
    moved = FileImage(tmp_path / "elsewhere.png")
    moved.path.write_bytes(source.path.read_bytes())
    one, other = (disturb_image(picture, picture.digest(), name, 3) for picture in (source, moved))
    assert one.digest() == other.digest() != source.digest()
    assert one.open().tobytes() == other.open().tobytes() == one.open().tobytes()
    digests = {disturb_image(source, source.digest(), name, severity).digest() for severity in SEVERITIES}
    assert len(digests) == 5


def test_parameters_of_images_are_those_of_the_page(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    clean = np.asarray(source.open(), np.float64)
    assert disturb_image(source, "", "downscale", 5).open().size == (64, 48)
    assert disturb_image(source, "", "crop", 5).open().size == (96, 72)
    grey = pixels_of(source, "grey", 5)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 1] == grey[..., 2]).all()
    brighter = {
        round(pixels_of(photo(tmp_path / f"{seed}.png", seed=seed), "brightness", 5).mean()) for seed in range(8)
    }
    assert min(brighter) < 60 and max(brighter) > 180  # a third, and three times
    contrast = pixels_of(source, "contrast", 5)
    assert contrast.std() == pytest.approx(0.05 * clean.std(), rel=0.1)
    half = Image.new("RGB", (448, 448), (128, 128, 128))
    half.save(tmp_path / "half.png")
    noise = pixels_of(FileImage(tmp_path / "half.png"), "noise", 1)
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert (noise[::2, ::2] == noise[1::2, 1::2]).all()  # a grain has four pixels of an image twice as wide


@pytest.mark.parametrize("name", IMAGE_DISTURBANCES)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2)])
def test_tiny_and_thin_images_are_disturbed_without_an_error(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    Image.new("L", size, 100).save(tmp_path / "a.png")
    source = FileImage(tmp_path / "a.png")
    for severity in SEVERITIES:
        assert disturb_image(source, source.digest(), name, severity).open().mode == "RGB"


def test_a_drawn_image_is_disturbed_at_the_size_of_the_model() -> None:
    (source,) = scenes_dataset("pairs", n=1).images
    copy = disturb_image(source, source.digest(), "blur", 2)
    assert isinstance(copy, DrawnImage)
    assert open_image(copy, 96).size == (96, 96) and image_size(source) == (64, 64)


@pytest.mark.parametrize("name", TEXT_DISTURBANCES)
def test_a_larger_severity_changes_what_a_smaller_one_changes(name: str) -> None:
    copies = [disturb_text(TEXT, name, severity) for severity in SEVERITIES]
    if name not in ("template", "typos", "word-order"):
        parts = [set(enumerate(copy.split())) for copy in (TEXT, *copies)]
        unchanged = [len(parts[0] & part) for part in parts[1:]]
        assert unchanged == sorted(unchanged, reverse=True)
    assert copies == [disturb_text(TEXT, name, severity) for severity in SEVERITIES]


def test_parameters_of_texts_are_those_of_the_page() -> None:
    assert disturb_text(TEXT, "upper-case", 5) == TEXT.upper()
    assert disturb_text(TEXT, "lower-case", 5) == TEXT.lower()
    assert len(disturb_text(TEXT, "truncation", 1).split()) in (7, 8)  # 80 % of nine words
    assert disturb_text(TEXT, "truncation", 5) == "A"
    assert sorted(disturb_text(TEXT, "word-order", 5).split()) == sorted(TEXT.split())
    assert not any(a == b for a, b in zip(disturb_text(TEXT, "word-order", 5).split(), TEXT.split(), strict=True))
    assert all(word[-1] in ",.;:!?" for word in disturb_text(TEXT, "punctuation", 5).split())
    assert [disturb_text("x", "template", severity) for severity in SEVERITIES] == [
        "a photo of x", "an image of x", "a picture showing x", "this is x", "x, seen in a photo",
    ]  # fmt: skip


def test_shares_of_letters_and_words_are_exact_on_average() -> None:
    captions = [f"the {number} dogs ran to the sea" for number in range(1_500)]
    names = [f"plover {number}" for number in range(1_500)]
    for severity, share, typos in zip(SEVERITIES, (0.2, 0.4, 0.6, 0.8, 1.0), (0.02, 0.05, 0.1, 0.2, 0.3), strict=True):
        upper = [sum(map(str.isupper, disturb_text(text, "upper-case", severity).split())) for text in captions]
        words = share * 6  # a number has no case, and is one of the seven
        assert np.mean(upper) == pytest.approx(words, abs=0.06)
        left = [len(disturb_text(text, "truncation", 6 - severity).split()) for text in captions]
        n_kept = (0.1, 0.2, 0.4, 0.6, 0.8)[severity - 1] * 7
        assert np.mean(left) == pytest.approx(max(1.0, n_kept), abs=0.05)
        if typos * 6 < 1:  # then as many names have a typo as letters have
            changed = np.mean([disturb_text(name, "typos", severity) != name for name in names])
            assert changed == pytest.approx(typos * 6, abs=4 * np.sqrt(0.25 / len(names)))


@given(st.text(), st.sampled_from(sorted(TEXT_DISTURBANCES)), st.integers(1, 5))
def test_any_text_is_disturbed_without_an_error_and_none_becomes_blank(text: str, name: str, severity: int) -> None:
    copy = disturb_text(text, name, severity)
    assert copy.strip() or not text.strip()


@pytest.mark.parametrize("name", ["typos", "word-order", "truncation"])
def test_a_text_of_one_character_stays_as_it_is(name: str) -> None:
    assert {disturb_text("x", name, severity) for severity in SEVERITIES} == {"x"}
