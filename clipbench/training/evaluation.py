"""What is measured while a model trains: geometry, recall and temperature. Imported only with torch at hand."""

import numpy as np
import torch
from jaxtyping import Float32

from clipbench.metrics.similarity import unit
from clipbench.training.batches import Batch
from clipbench.training.monitored import constants, equal_inputs
from clipbench.training.scalars import Scalars, pair_scalars
from clipbench.training.step import Towers

AT_ONCE = 64


def measure(towers: Towers, pairs: Batch) -> Scalars:
    """Return the scalars of a ``Monitor``: gap, cones, recall@1, effective ranks, ..., temperature and bias.

    Args:
        pairs: held out from training, each image with one caption.

    Raises:
        VectorError: a vector is zero or not finite.
    """
    images, texts = vectors_of(towers, pairs)
    same_images, same_texts = equal_inputs(pairs.pixels), equal_inputs(pairs.tokens)
    return pair_scalars(images, texts, same_images=same_images, same_texts=same_texts) | constants(towers.model)


@torch.no_grad()
def vectors_of(towers: Towers, pairs: Batch) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n dim"]]:
    """Return unit vectors of images and captions, in order."""
    images = [towers.images(pixels) for pixels in pairs.pixels.split(AT_ONCE)]
    texts = [towers.texts(tokens) for tokens in pairs.tokens.split(AT_ONCE)]
    return unit(torch.cat(images).cpu().numpy()), unit(torch.cat(texts).cpu().numpy())
