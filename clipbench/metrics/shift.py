"""Moving the modalities, along the gap vector or by post-hoc corrections, and the loss, recall and accuracy after it.

Every move is an affine map of a modality, after which vectors have unit length again (except in C3's collapse). Texts
and class prompts share one map: both are texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.errors import VectorError
from clipbench.metrics.classification import class_scores
from clipbench.metrics.geometry import gap_vector, modality_gap
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import (
    Images,
    Labels,
    Texts,
    Values,
    Vector,
    Vectors,
    dot_blocks,
    round_to_steps,
    unit,
)

SHIFTS = {"both": (0.5, 0.5), "image": (1.0, 0.0), "text": (0.0, 1.0)}
"""Ways to shift: the fraction of the distance that images move, and that texts move."""
CORRECTIONS = ("centring", "standardising", "collapse", "realign")
RECALL_AT = (1, 5, 10)

_NO_DIRECTION = 1e-6
"""A shorter vector is a rounded zero: float32 components are off by up to 6e-8 each."""
_NO_SPREAD = 1e-7
"""A smaller standard deviation is rounding error."""
_STEPS = 2.0**25
"""Steps of a component of a collapsed vector, of length up to 2: float64 dot products are exact, so ties are real."""


class Classes(NamedTuple):
    """Input of zero-shot classification: a unit vector a class, and each image's class."""

    vectors: Float32[np.ndarray, "n_classes dim"]
    labels: Labels


@dataclass(frozen=True)
class AffineMap:
    """The map from x to (x - offset) / divisor, and on to unit length, and from there by ``drift``, if there is any."""

    offset: Vector
    divisor: Vector
    is_renormalised: bool = True
    drift: Vector | None = None

    def __call__(self, vectors: Vectors) -> Vectors:
        """Return the moved vectors. Equal ones stay equal, and the identity returns them unchanged, to the last bit.

        Raises:
            VectorError: a vector becomes zero, so that it has no direction.
        """
        if self.drift is not None and self.drift.any():
            return round_to_steps(replace(self, drift=None)(vectors) + self.drift, _STEPS)
        if not self.offset.any() and (self.divisor == 1).all():
            return vectors
        moved = (vectors - self.offset) / self.divisor
        if not self.is_renormalised:
            return round_to_steps(moved, _STEPS)
        lengths = np.sqrt(np.einsum("ij,ij->i", moved, moved))
        zero = np.flatnonzero(lengths < _NO_DIRECTION)
        if len(zero):
            raise VectorError(f"vector {zero[0]} becomes zero when it is moved ({zero.size} of {len(vectors)} do)")
        return unit((moved / lengths[:, None]).astype(np.float32))


class Maps(NamedTuple):
    """Movement of each modality."""

    image: AffineMap
    text: AffineMap
    """Movement of captions and of class prompts."""


def shift_maps(images: Vectors, texts: Vectors, *, distance: float, shift: str = "both") -> Maps:
    """Return the maps that move modalities towards each other along the unit gap vector g.

    With "both", images move to image - distance/2 × g and texts to text + distance/2 × g; otherwise the one modality
    moves the whole distance. A negative distance widens the gap. A distance equal to the gap closes it, up to the
    renormalisation. Source: Liang et al., Mind the Gap, 2022, section 5, with the convention of their notebook.

    Args:
        images, texts: unit vectors, which define g.
        distance: length of the move along g.
        shift: one of ``SHIFTS``.

    Raises:
        VectorError: the gap is zero, so that there is no direction to move along (unless the distance is 0 too).
    """
    gap = gap_vector(images, texts)
    length = float(np.linalg.norm(gap))
    if distance and length < _NO_DIRECTION:
        raise VectorError("the gap is zero, so it has no direction to shift along")
    step = distance / length * gap if distance else np.zeros_like(gap)
    by_image, by_text = SHIFTS[shift]
    ones = np.ones_like(gap)
    return Maps(AffineMap(by_image * step, ones), AffineMap(-by_text * step, ones))


def correction_maps(images: Images, texts: Texts, *, kind: str, strength: float = 1.0) -> Maps:
    """Return a post-hoc correction of the gap, fitted on these vectors, for others of the same model.

    Each modality has its own map, from its mean m and its standard deviation s (n in the divisor) by dimension:

    - "centring": x - strength × m, at unit length. I0T_post (An et al., 2025, as their code has it) and GR-CLIP
      (arXiv 2507.19054).
    - "standardising": (x - strength × m) / s**strength, at unit length: z-scores at strength 1, unchanged at 0. A
      dimension that does not vary here is not divided.
    - "collapse": x - strength × m, of whatever length. Scores are dot products. C3 (Zhang et al., ICLR 2024).
    - "realign": images stay, and texts take the images' mean and spread. With T the trace of a modality's covariance, a
    text
      y goes to m_image + sqrt(T_image / T_text) (y - m_text), at unit length, and then by as much as the mean of
      these is from m_image. Scores are dot products. ReAlign (Yu et al., arXiv 2602.07026, as their repository
      states it). Each of the three steps is made to its ``strength``.

    The text mean is the mean of captions; class prompts, which are corrected with it, may have another mean.

    Args:
        images, texts: unit vectors to fit on, at least one.
        kind: one of ``CORRECTIONS``.
        strength: in [0, 1].

    Example:
        >>> images = np.array([[0.6, 0.8], [0.6, -0.8]], np.float32)  # the mean is (0.6, 0)
        >>> correction_maps(images, images, kind="centring").image(images).tolist()
        [[0.0, 1.0], [0.0, -1.0]]
    """
    if kind == "realign":
        return _realign(images, texts, strength)
    return Maps(_fit_map(images, kind, strength), _fit_map(texts, kind, strength))


def contrastive_loss(images: Vectors, texts: Vectors, *, logit_scale: float) -> float:
    """Return the mean cross-entropy of finding each image's text, and each text's image, among all n, in nats.

    All pairs are one batch, so that it grows with n (a constant model has ln n), and compares at equal n only. An
    equal caption of another pair counts as wrong, as it does in training. Source: Radford et al., 2021, figure 3.
    NaN without pairs.

    Args:
        images, texts: vectors, row by row a pair. Scores are dot products.
        logit_scale: the model's own, already exponentiated.

    Example:
        >>> same = np.array([[1, 0], [1, 0]], np.float32)
        >>> round(contrastive_loss(same, same, logit_scale=100.0), 6)  # both equally likely: ln 2
        0.693147
    """
    n = len(images)
    if not n:
        return float("nan")
    pair_logits, by_image, by_text = np.empty(n), np.empty(n), np.full(n, -np.inf)
    for rows, dots in dot_blocks(images, texts):
        logits = logit_scale * dots
        pair_logits[rows] = np.diagonal(logits, rows.start)
        by_image[rows] = _log_sum_exp(logits, 1)
        by_text = np.logaddexp(by_text, _log_sum_exp(logits, 0))
    return float(((by_image + by_text) / 2 - pair_logits).mean())


def sigmoid_loss(images: Vectors, texts: Vectors, *, logit_scale: float, logit_bias: float) -> float:
    """Return the cross-entropy of classifying n × n combinations as pairs or non-pairs, divided by n, in nats.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1. NaN without pairs.

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> loss = sigmoid_loss(eye, eye, logit_scale=1.0, logit_bias=0.0)  # -(ln sigmoid(1) + ln sigmoid(-0))
        >>> round(loss, 4)
        1.0064
    """
    n = len(images)
    if not n:
        return float("nan")
    total = 0.0
    for rows, dots in dot_blocks(images, texts):
        logits = logit_scale * dots + logit_bias
        # -ln sigmoid(-z) of every logit; for pairs -ln sigmoid(z), which is that minus z.
        total += np.logaddexp(0, logits).sum() - np.diagonal(logits, rows.start).sum()
    return float(total / n)


def scores_after_move(
    images: Vectors,
    texts: Vectors,
    *,
    logit_scale: float | None,
    logit_bias: float = 0.0,
    classes: Mapping[str, Classes] | None = None,
) -> dict[str, float]:
    """Return gap, loss, recall both ways and accuracy of vectors after they were moved.

    Recall is over these pairs, one text an image, with ties broken at random; recall@k is left out where every query
    hits (k of n or more). A model with a bias has the sigmoid loss, one without the contrastive loss.

    Args:
        images, texts: vectors, unit ones or collapsed, row by row a pair. Scores are dot products.
        logit_scale: the model's own, None if it has none, and there is no ``loss`` then.
        logit_bias: the model's own, 0 for CLIP.
        classes: by the name of their accuracy, such as ``acc1`` or ``kind/acc1``. They are moved as texts are.

    Returns:
        ``gap``, ``loss``, ``image_retrieval_recall@K``, ``text_retrieval_recall@K``, and the names of ``classes``.
    """
    by_image, by_text = cross_ranks(images, texts, np.arange(len(images)))
    directions = {"image_retrieval": by_text, "text_retrieval": by_image}
    values = {"gap": modality_gap(images, texts)}
    if logit_scale is None:
        pass
    elif logit_bias:
        values["loss"] = sigmoid_loss(images, texts, logit_scale=logit_scale, logit_bias=logit_bias)
    else:
        values["loss"] = contrastive_loss(images, texts, logit_scale=logit_scale)
    for name, ranks in directions.items():
        for k in RECALL_AT:
            if k < len(images):
                values[f"{name}_recall@{k}"] = float(recall_at_k(ranks, k).mean())
    for name, (vectors, labels) in (classes or {}).items():
        values[name] = float(class_scores(images, vectors, labels).credit().mean())
    return values


def _realign(images: Images, texts: Texts, strength: float) -> Maps:
    means = [side.mean(axis=0, dtype=np.float64) for side in (images, texts)]
    traces = [float(side.var(axis=0, dtype=np.float64).sum()) for side in (images, texts)]
    scale = (traces[0] / traces[1]) ** (strength / 2) if min(traces) > _NO_SPREAD**2 else 1.0
    anchor = means[1] + strength * (means[0] - means[1])
    first = AffineMap(means[1] - anchor / scale, np.full_like(anchor, 1 / scale))
    nothing = AffineMap(np.zeros_like(anchor), np.ones_like(anchor))
    drift = means[0] - first(texts).mean(axis=0, dtype=np.float64)
    return Maps(nothing, replace(first, drift=strength * drift))


def _fit_map(vectors: Vectors, kind: str, strength: float) -> AffineMap:
    mean = vectors.mean(axis=0, dtype=np.float64)
    divisor = np.ones_like(mean)
    if kind == "standardising":
        deviation = vectors.std(axis=0, dtype=np.float64)
        divisor = np.where(deviation > _NO_SPREAD, deviation, 1.0) ** strength
    return AffineMap(strength * mean, divisor, is_renormalised=kind != "collapse")


def _log_sum_exp(logits: Float64[np.ndarray, "rows columns"], axis: int) -> Values:
    top = logits.max(axis=axis, keepdims=True)
    return np.log(np.exp(logits - top).sum(axis=axis)) + top.squeeze(axis)
