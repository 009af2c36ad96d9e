"""The structure that two modalities, or two models, give the same samples, whatever the gap: neighbours and kernels."""

import math

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.errors import UsageError
from clipbench.metrics.geometry import check_paired
from clipbench.metrics.neighbourhood import retrieval_chances
from clipbench.metrics.similarity import score_blocks


def mutual_neighbours(
    first: Float32[np.ndarray, "n dim"], second: Float32[np.ndarray, "n_second other_dim"], k: int = 10
) -> float:
    """Return the mean share of a sample's k nearest that are the same in both spaces, in [0, 1]; chance is k / (n - 1).

    A sample's neighbours are of its own space: images near an image, and texts near its text. So a shift of one space
    changes nothing. Source: mutual k-NN of Huh et al., The Platonic Representation Hypothesis, ICML 2024. Ties at place k
    are broken at random in each space: equal vectors score chance. NaN for k samples or fewer.

    Args:
        first: unit vectors.
        second: unit vectors; row i is the same sample.
        k: neighbours.

    Raises:
        UsageError: k is below 1.
        DataError: there are not as many vectors of both.

    Example:
        >>> line = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], np.float32)
        >>> mutual_neighbours(line, line[:, ::-1].copy(), k=1)  # a mirror keeps all neighbours
        1.0
    """
    if k < 1:
        raise UsageError(f"mutual neighbours need k of at least 1, got {k}")
    check_paired(first, second)
    n = len(first)
    if n <= k:
        return math.nan
    total = 0.0
    for (rows, scores), (_, others) in zip(score_blocks(first, first), score_blocks(second, second), strict=True):
        places = np.arange(rows.start, rows.start + len(scores))
        shares = [_chances(each, places, k) for each in (scores, others)]
        total += float((shares[0] * shares[1]).sum())
    return total / (k * n)


def cka(first: Float32[np.ndarray, "n dim"], second: Float32[np.ndarray, "n_second other_dim"]) -> float:
    """Return the linear centred kernel alignment of two spaces, at most 1: 1 for the same up to rotation and scale.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the matrices K and L of dot products, each HSIC by its unbiased estimator: it is 0 on
    average for independent spaces, and may be below, where the biased one is far above 0 for fewer samples than dimensions.
    Sources: Kornblith et al., ICML 2019; Song et al., JMLR 13 (2012), equation 5. NaN for fewer than four samples, or
    vectors that are all equal.

    Raises:
        DataError: there are not as many vectors of both.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
        >>> round(cka(x, 2 * x[:, ::-1] + 5), 6)
        1.0
    """
    check_paired(first, second)
    if len(first) < 4:
        return math.nan
    # Centring changes no HSIC, and loses fewer digits.
    kernels = [_kernel(vectors) for vectors in (first, second)]
    own = [_hsic(each, each) for each in kernels]
    return _hsic(*kernels) / math.sqrt(own[0] * own[1]) if min(own) > 1e-18 else math.nan


def _chances(scores: Float32[np.ndarray, "block n"], places: np.ndarray, k: int) -> Float64[np.ndarray, "block n"]:
    others = scores.copy()
    others[np.arange(len(places)), places] = -np.inf  # a sample is not its own neighbour
    return retrieval_chances(others, k)


def _kernel(vectors: Float32[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n n"]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    kernel = centred @ centred.T
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _hsic(first: Float64[np.ndarray, "n n"], second: Float64[np.ndarray, "n n"]) -> float:
    n = len(first)
    rows = first.sum(axis=1), second.sum(axis=1)
    total = float((first * second).sum()) + rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2))
    return float(total - 2 * (rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3))
