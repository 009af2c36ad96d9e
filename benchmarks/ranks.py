"""Row: recall of retrieval both ways, exact and aware of ties, beside the product of the vectors alone.

Random unit vectors of 512 dimensions, five texts an image, each text near its image. The peer's routine, as
CLIP_benchmark publishes it: the whole matrix, and for each k and batch of 64 queries the first k of a sort as one-hot
rows over the gallery.
"""

import numpy as np
import torch

from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.metrics.threads import n_threads
from rows import Row, count, in_turns, peak_mb, times

TEXTS_PER_IMAGE, DIM, KS, PEER_BATCH = 5, 512, (1, 5, 10), 64


def vectors(n_images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, texts and the row of each text's image."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(n_images), TEXTS_PER_IMAGE)
    images = unit(rng.standard_normal((n_images, DIM), np.float32))
    return images, unit(images[owner] + 0.06 * rng.standard_normal((len(owner), DIM), np.float32)), owner


def recalls(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> list[float]:
    """Return recall@k of image queries and of text queries."""
    return [float(recall_at_k(ranks, k).mean()) for ranks in cross_ranks(images, texts, owner) for k in KS]


def peer_recalls(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> list[float]:
    """Return the share of queries with a positive among the first k by the peer's routine, which breaks ties by
    position.
    """
    scores = torch.from_numpy(texts) @ torch.from_numpy(images).T
    is_positive = torch.zeros(scores.shape, dtype=torch.bool)
    is_positive[torch.arange(len(texts)), torch.from_numpy(owner)] = True
    ways = ((scores.T, is_positive.T), (scores, is_positive))
    return [_share_of_hits(way, positive, k) for way, positive in ways for k in KS]


def _share_of_hits(scores: torch.Tensor, is_positive: torch.Tensor, k: int) -> float:
    hits = []
    for start in range(0, len(scores), PEER_BATCH):
        batch = slice(start, start + PEER_BATCH)
        first = torch.topk(scores[batch], k).indices
        one_hot = torch.nn.functional.one_hot(first, num_classes=scores.shape[1])
        n_found = (one_hot * is_positive[batch][:, None, :]).sum(dim=(1, 2))
        hits.append(n_found > 0)
    return float(torch.cat(hits).float().mean())


def measure(size: str) -> Row:
    images, texts, owner = vectors({"small": 500, "default": 5_000, "full": 5_000}[size])
    torch.set_num_threads(n_threads())
    out = np.empty((len(images), len(texts)), np.float32)
    timed = in_turns(
        {"ours": lambda: recalls(images, texts, owner), "product": lambda: np.matmul(images, texts.T, out=out)}
    )
    found: dict[str, list[float]] = {}
    of_peer = in_turns(  # a minute and more at full size, so once
        {
            "ours": lambda: found.update(ours=recalls(images, texts, owner)),
            "peer": lambda: found.update(peer=peer_recalls(images, texts, owner)),
        },
        rounds=3 if size == "small" else 1,
        warm_up=False,
    )
    np.testing.assert_allclose(found["ours"], found["peer"], atol=1e-3)
    is_full = size != "small"
    return Row(
        what=f"recall both ways, {len(images):,} x {len(texts):,} x {DIM}",
        ours=timed["ours"],
        limit=timed["product"],
        limit_is="the product in numpy, into memory that is there",
        peer=of_peer["peer"],
        peer_is="the published routine of CLIP_benchmark, as benchmarks/ranks.py writes it",
        reaches=[
            times("the bare product", timed["ours"], timed["product"], at_most=1.5 if is_full else 6),
            times("faster than the peer", of_peer["peer"], of_peer["ours"], at_least=25 if is_full else 3),
            count("MB above the vectors", peak_mb(lambda: recalls(images, texts, owner)), at_most=200),
        ],
        notes=["the results of the peer are the same to 1e-3"],
    )
