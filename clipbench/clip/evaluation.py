"""What is measured while a model trains: gap, cones, recall and temperature. Imported only with torch at hand."""

import math

import numpy as np
import torch
from jaxtyping import Float32

from clipbench.arrays import unit
from clipbench.clip.batches import Batch
from clipbench.clip.step import Towers
from clipbench.metrics import cone, cross_ranks, modality_gap, pair_cosine, recall_at_k

AT_ONCE = 64


def measure(towers: Towers, pairs: Batch) -> dict[str, float]:
    """Return gap, cones, mean cosine of pairs, recall@1 of both directions, and temperature and bias.

    Equal captions have equal vectors, and their ties get the credit that a coin would give.

    Args:
        pairs: held out from training, each picture with one caption.
    """
    images, texts = vectors_of(towers, pairs)
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    measured = {
        "gap": modality_gap(images, texts).value,
        "image_cone": cone(images).value,
        "text_cone": cone(texts).value,
        "pair_cosine": float(pair_cosine(images, texts).mean()),
        "image_retrieval_recall@1": float(recall_at_k(by_text, 1).mean()),
        "text_retrieval_recall@1": float(recall_at_k(by_image, 1).mean()),
        "n_pairs": len(images),
    }
    return measured | constants(towers)


def constants(towers: Towers) -> dict[str, float]:
    """Return what turns cosines into logits: the temperature, and the bias of a model that has one."""
    found = {"temperature": math.exp(-towers.model.logit_scale.item())}
    bias = towers.model.logit_bias
    return found if bias is None else {**found, "logit_bias": bias.item()}


@torch.no_grad()
def vectors_of(towers: Towers, pairs: Batch) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n dim"]]:
    """Return unit vectors of pictures and captions, in order."""
    images = [towers.images(pixels) for pixels in pairs.pixels.split(AT_ONCE)]
    texts = [towers.texts(tokens) for tokens in pairs.tokens.split(AT_ONCE)]
    return unit(torch.cat(images).cpu().numpy()), unit(torch.cat(texts).cpu().numpy())
