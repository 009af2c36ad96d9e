"""FG-CLIP 2 on the library's SigLIP 2, from which it differs in the texts' positions and heads. Imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from clipbench.data.images import rgb
from clipbench.models.towers.families import own_budget

KEPT, LONG = 20, 196
"""Positions that long texts share with short ones, and the tokens of a long text, where a configuration states none."""

OF_REGIONS = ("dense_feature_head.", "boxtext_head.")
"""Beginnings of the weights that no vector of a whole image or caption depends on."""


class Fgclip2Model(transformers.Siglip2Model):  # type: ignore[misc]
    """The towers of FG-CLIP 2, without what it has for regions."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        text = config.text_config
        places, length = self.text_model.embeddings, getattr(text, "longtext_len", LONG)
        places.position_embedding_ori = torch.nn.Embedding(length, text.hidden_size)
        places.position_embedding_res = torch.nn.Embedding(length, text.hidden_size)
        self.longtext_head = torch.nn.Linear(text.hidden_size, text.hidden_size)

    def keep(self, walk_type: str) -> None:
        """Keep the positions and the head of ``short`` or of ``long`` texts alone; a long text's first positions were kept
        fixed while the rest was trained, in a table beside."""
        text, places = self.config.text_config, self.text_model.embeddings
        kept = getattr(text, "keep_len", KEPT)
        first, rest = places.position_embedding_ori.weight.data, places.position_embedding_res.weight.data
        if walk_type == "long":
            places.position_embedding = torch.nn.Embedding.from_pretrained(torch.cat([first[:kept], rest[kept:]]))
            places.position_ids = torch.arange(len(rest)).expand((1, -1))
            self.text_model.head = self.longtext_head
            text.max_position_embeddings = len(rest)
        del places.position_embedding_ori, places.position_embedding_res, self.longtext_head


@dataclass(frozen=True)
class PatchesPreprocess:
    """The image processor of SigLIP 2 with as many patches as FG-CLIP 2's authors give an image of its size, padded to the
    most that any has; picklable, without weights."""

    processor: Any

    def __call__(self, image: Image.Image) -> dict[str, np.ndarray]:
        budget = own_budget(image.size)
        arrays = self.processor(images=[rgb(image)], max_num_patches=budget, return_tensors="np")
        found: Mapping[str, np.ndarray] = {name: np.asarray(values)[0] for name, values in arrays.items()}
        lacking = self.processor.max_num_patches - budget
        return {
            name: values if name == "spatial_shapes" else np.pad(values, [(0, lacking), *[(0, 0)] * (values.ndim - 1)])
            for name, values in found.items()
        }
