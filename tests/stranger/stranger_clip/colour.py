"""A model that knows nothing but colours: `colour:3` counts pixels in a 3 x 3 x 3 grid of colours."""

import re
import zlib
from typing import Any

import numpy as np

from clipbench import LoadOptions, Model, ModelInfo, UsageError

NAMED = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


class ColourModel(Model):
    """An image is its histogram of colours, a text the colours that it names."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.info = ModelInfo(
            ref=f"colour:{steps}",
            id=f"colour:{steps}",
            fingerprint=f"colour-v1-{steps}",
            family="colour",
            embed_dim=steps**3,
            context_length=None,
            image_size=None,
            logit_scale=10.0,
            logit_bias=0.0,
            n_parameters=0,
        )

    def encode(self, modality: str, inputs: Any, role: str | None = None) -> np.ndarray:
        of_one = self._image if modality == "image" else self._text
        return np.stack([of_one(one_input) for one_input in inputs])

    def _image(self, image: Any) -> np.ndarray:
        return self._histogram(np.asarray(image).reshape(-1, 3))

    def _text(self, text: str) -> np.ndarray:
        colours = [NAMED[word] for word in re.findall(r"[a-z]+", text.lower()) if word in NAMED]
        if colours:
            return self._histogram(np.array(colours))
        seed = zlib.crc32(text.encode())
        return np.random.default_rng(seed).random(self.steps**3).astype(np.float32)

    def _histogram(self, pixels: np.ndarray) -> np.ndarray:
        cells = pixels.astype(np.int64) * self.steps // 256 @ (self.steps**2, self.steps, 1)
        return np.bincount(cells, minlength=self.steps**3).astype(np.float32)


def load(body: str, options: LoadOptions) -> ColourModel:
    """Return the model of `colour:STEPS`."""
    options.refuse_unknown((), f"colour:{body}")
    if not body.isdigit() or int(body) < 2:
        raise UsageError(f"colour:{body}: expected a number of steps of at least 2, such as colour:3")
    return ColourModel(int(body))
