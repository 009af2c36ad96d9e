"""FG-CLIP 2 on the library's SigLIP 2, from which it differs in the texts' positions and heads.

Its own code does not run. Imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from clipbench.data.images import rgb
from clipbench.errors import UsageError, model_option
from clipbench.models.options import LoadOptions

WALK_TYPES = ("short", "long")
"""FG-CLIP 2's names of its positions and head for captions of up to 64 and up to 196 tokens. Its third ones are for
regions.
"""


MOST_PATCHES = 16_384
"""Maximum number of patches of an image, which FG-CLIP 2's authors use for their densest features."""


BUDGETS = ((784, 1024), (576, 784), (256, 576), (128, 256), (0, 128))
"""FG-CLIP 2's own numbers of patches, each after a threshold: an image has the number after the first threshold that
its count of whole squares of 16 pixels exceeds.
"""


SQUARE = 16


PATCHES_BY_SIZE = "each image gets 128 to 1,024 patches by its size, as its authors choose them"
"""Note on FG-CLIP 2 without the option ``max_num_patches``."""


def patch_limit(options: LoadOptions) -> int | None:
    """Return the option ``max_num_patches``, None if unset, or raise UsageError for a number out of range."""
    number = options.whole_number("max_num_patches")
    if number is not None and not 1 <= number <= MOST_PATCHES:
        raise UsageError(f"model option max_num_patches={number}: expected 1 to {MOST_PATCHES:,} patches per image")
    return number


def default_patch_budget(size: tuple[int, int]) -> int:
    """Return the patches that FG-CLIP 2 uses for an image of a size in pixels.

    Example:
        >>> [default_patch_budget(size) for size in ((640, 480), (448, 448), (224, 224), (160, 160), (8, 8))]
        [1024, 784, 256, 128, 128]
    """
    squares = (size[0] // SQUARE) * (size[1] // SQUARE)
    return next((budget for threshold, budget in BUDGETS if squares > threshold), BUDGETS[-1][1])


def walk_type(options: LoadOptions) -> str:
    """Return the option ``walk_type``, ``short`` if unset, or raise UsageError for an unknown one."""
    name = options.options.get("walk_type", WALK_TYPES[0])
    if name not in WALK_TYPES:
        raise UsageError(f"{model_option(walk_type=name)}: expected {' or '.join(WALK_TYPES)}")
    return name


N_KEPT, LONG = 20, 196
"""Positions that long texts share with short ones, and the tokens of a long text, where a configuration states none."""


REGION_WEIGHTS = ("dense_feature_head.", "boxtext_head.")
"""Beginnings of the weights that no vector of a whole image or caption depends on."""


class Fgclip2Model(transformers.Siglip2Model):  # type: ignore[misc]
    """The towers of FG-CLIP 2, without its parts for regions."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        text = config.text_config
        embeddings, length = self.text_model.embeddings, getattr(text, "longtext_len", LONG)
        embeddings.position_embedding_ori = torch.nn.Embedding(length, text.hidden_size)
        embeddings.position_embedding_res = torch.nn.Embedding(length, text.hidden_size)
        self.longtext_head = torch.nn.Linear(text.hidden_size, text.hidden_size)

    def keep_positions(self, walk_type: str) -> None:
        """Keep only the positions and the head of ``short`` or of ``long`` texts.

        The first positions of long texts were fixed while the others were trained, in a second table.
        """
        text, embeddings = self.config.text_config, self.text_model.embeddings
        n_kept = getattr(text, "keep_len", N_KEPT)
        first, rest = embeddings.position_embedding_ori.weight.data, embeddings.position_embedding_res.weight.data
        if walk_type == "long":
            embeddings.position_embedding = torch.nn.Embedding.from_pretrained(
                torch.cat([first[:n_kept], rest[n_kept:]])
            )
            embeddings.position_ids = torch.arange(len(rest)).expand((1, -1))
            self.text_model.head = self.longtext_head
            text.max_position_embeddings = len(rest)
        del embeddings.position_embedding_ori, embeddings.position_embedding_res, self.longtext_head


@dataclass(frozen=True)
class PatchesPreprocess:
    """The image processor of SigLIP 2 with FG-CLIP 2's patches per image size, padded. It is picklable, without
    weights.
    """

    processor: Any

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        budget = default_patch_budget(image.size)
        arrays = self.processor(images=[rgb(image)], max_num_patches=budget, return_tensors="np")
        unpadded: Mapping[str, np.ndarray] = {name: np.asarray(values)[0] for name, values in arrays.items()}
        n_missing = self.processor.max_num_patches - budget
        padded = {}
        for name, values in unpadded.items():
            behind_patches = [(0, n_missing), *[(0, 0)] * (values.ndim - 1)]
            padded[name] = values if name == "spatial_shapes" else np.pad(values, behind_patches)
        return padded
