import numpy as np
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipbench.training.clip.config import CONFIGS
from clipbench.training.clip.inputs import ClipPreprocess, random_box

CONFIG = CONFIGS["tiny"]


def noise_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


@pytest.mark.parametrize("size", [(64, 64), (100, 70), (71, 131), (640, 65), (30, 20)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_images_are_prepared_as_open_clip_does(size: tuple[int, int], mode: str) -> None:
    theirs = image_transform_v2(PreprocessCfg(size=64, mean=CONFIG.mean, std=CONFIG.std), is_train=False)
    image = noise_image(*size, mode)
    np.testing.assert_allclose(ClipPreprocess(CONFIG)(image), theirs(image).numpy(), rtol=1e-5, atol=1e-6)


def test_random_boxes_keep_nine_tenths_and_lie_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        left, top, right, bottom = random_box((90, 70), rng)
        assert 0 <= left < right <= 90
        assert 0 <= top < bottom <= 70
        wide, high = right - left, bottom - top
        assert wide * high >= 0.9 * 90 * 70 - (wide + high) / 2, "but for rounding of the sides"
