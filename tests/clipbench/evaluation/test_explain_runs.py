"""An explanation from images to claim: dark photographs are named without any file of columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipbench as cb

N = 240


class ByColour:
    """A model that sees whether an image is redder than blue; one that is blind to the dark guesses there."""

    def __init__(self, *, is_blind: bool) -> None:
        self.is_blind = is_blind
        self.fingerprint = f"by colour, blind {is_blind}"

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(image.convert("RGB"), np.float64).mean(axis=(0, 1)) for image in images])
        redness = means[:, 0] - means[:, 2]
        if self.is_blind:
            redness = np.where(means.max(axis=1) < 60, np.sin(1e3 * means[:, 1]), redness)
        return np.stack([1 + np.sign(redness), 1 - np.sign(redness)], axis=1).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[2.0, 0.0] if "red" in text else [0.0, 2.0] for text in texts], np.float32)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write red and blue images, a quarter of them dark, in an empty cache."""
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for row in range(N):
        colour, most = ("red", "blue")[row % 2], 40 if row % 8 < 2 else 230
        pixels = rng.integers(0, most // 2, (24, 24, 3)).astype(np.uint8)
        pixels[..., 0 if colour == "red" else 2] += most // 2
        (tmp_path / "photos" / colour).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / colour / f"{row:03}.png")
    return tmp_path / "photos"


def test_dark_images_are_named_by_their_measured_brightness(photos: Path) -> None:
    base, blind = (cb.run(ByColour(is_blind=is_blind), f"zero-shot@{photos}") for is_blind in (False, True))

    explanation, comparison = cb.explain(base, blind), cb.compare(base, blind)

    assert (explanation.base, explanation.candidate) == (comparison.base, comparison.candidate)
    assert explanation.base != explanation.candidate
    assert explanation.base_value == 1.0
    assert explanation.losses[0].slice.startswith("brightness at most")
    assert explanation.losses[0].claim == "worse than elsewhere"
    assert "image inputs" not in explanation.unavailable


def test_images_that_nobody_measured_are_not_available(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = cb.run(ByColour(is_blind=False), f"zero-shot@{photos}")
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "other"))

    explanation = cb.explain(base, base)

    assert explanation.unavailable["image inputs"].startswith("0 of 240 images were measured")
    assert "clipbench cache prune --model" in explanation.unavailable["image inputs"]


def test_phrases_need_the_model_of_the_base_and_its_stored_embeddings(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = cb.run(ByColour(is_blind=False), f"zero-shot@{photos}")

    assert "phrases" not in cb.explain(base, base, model=ByColour(is_blind=False)).unavailable
    with pytest.raises(cb.UsageError, match="is not the model of the base: got the fingerprint"):
        cb.explain(base, base, model=ByColour(is_blind=True))

    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "other"))
    reason = cb.explain(base, base, model=ByColour(is_blind=False)).unavailable["phrases"]
    assert reason == "240 of 240 images have no stored embedding: run the base again"
