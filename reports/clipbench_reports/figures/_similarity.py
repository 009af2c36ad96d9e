"""The similarity matrix of a few pairs: in a good model, the diagonal lights up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.models.protocol import NO_LOGIT_SCALE
from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Panel
from clipbench_reports.drawing.models import Statement, beside, chart
from clipbench_reports.figures._relevance import refuse_judged
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, read_each

TITLES = ("Cosine", "By row", "By column")


class _Similarity(NamedTuple):
    cosines: Float64[np.ndarray, "n n"]
    scale: float


def similarity(models: Sequence[ModelEvidence]) -> Chart:
    """Return the cosines between the images and the texts of a sample of pairs, and their softmax by row and column.

    Raises:
        MissingEvidence: no run kept a square matrix of at least two pairs.
    """
    by_model = read_each(models, _read)
    return chart(
        [beside(by_model.map(_panels), by_model, keys=TITLES)],
        by_model.map(_state),
        by_model,
        n_columns=3,
        reading="A row is an image, a column a text. Cosines: blank from their median off the diagonal downwards, black at "
        "the highest. By row and by column: softmax at the model’s own logit scale, blank 0, black 1.",
    )


def _read(evidence: Evidence) -> _Similarity:
    refuse_judged(evidence)
    matrix = evidence.matrix("similarity")
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2:
        raise MissingEvidence(f"the kept similarity matrix has shape {matrix.shape}, expected a square one")
    scale = evidence.run.result.model.get("logit_scale")
    if not isinstance(scale, int | float) or not np.isfinite(scale):
        raise MissingEvidence(
            f"the run has no logit scale of the model (got {scale}), which the softmax needs: {NO_LOGIT_SCALE}"
        )
    return _Similarity(matrix, float(scale))


def _panels(similarity: _Similarity) -> list[Panel]:
    n = len(similarity.cosines)
    low, high = _median_of_others(similarity), float(similarity.cosines.max())
    depths = np.clip((similarity.cosines - low) / (high - low), 0, 1) if high > low else np.zeros((n, n))
    by_row, by_column = _softmaxes(similarity)
    parts = zip(TITLES, (depths, by_row, by_column), (similarity.cosines, by_row, by_column), strict=True)
    return [
        Panel(
            title=title,
            x=Axis(low=0, high=n, ticks=[n / 2], names=["texts"]),
            y=Axis(low=n, high=0, ticks=[n / 2], names=["images"]),
            marks=[Cells(depths=shades, values=values, is_percent=title != TITLES[0], name=title)],
            aspect=1.0,
            has_grid=False,
        )
        for title, shades, values in parts
    ]


def _median_of_others(similarity: _Similarity) -> float:
    return float(np.median(similarity.cosines[~np.eye(len(similarity.cosines), dtype=bool)]))


def _softmaxes(similarity: _Similarity) -> tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, "n n"]]:
    logits = similarity.scale * similarity.cosines
    return softmax(logits), softmax(logits.T).T


def softmax(logits: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, "n n"]:
    """Return the softmax of each row.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Float64[np.ndarray, "n n"] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _state(similarity: _Similarity) -> Statement:
    matrix, n = similarity.cosines, len(similarity.cosines)
    diagonal, rest = float(np.diag(matrix).mean()), float((matrix.sum() - np.trace(matrix)) / (n * n - n))
    others = np.where(np.eye(n, dtype=bool), -np.inf, matrix)
    lit = int((np.diag(matrix) > others.max(axis=1)).sum())
    by_row, by_column = (fmt.percent(float(np.diag(shares).mean())) for shares in _softmaxes(similarity))
    return Statement(
        title=f"In {lit} of {n} rows the true pair, on the diagonal, has the highest cosine.",
        subject="Rows in which the true pair, on the diagonal, has the highest cosine",
        value=f"{lit} of {n}",
        detail=f"Mean cosine on the diagonal {fmt.number(diagonal, 'cosine')}, off it {fmt.number(rest, 'cosine')}.",
        reading=f"{n} pairs; median {fmt.number(_median_of_others(similarity), 'cosine')}, highest {fmt.number(float(matrix.max()), 'cosine')}, "
        f"logit scale {fmt.significant(similarity.scale)}. The mean cosine of the pairs is {fmt.number(diagonal, 'cosine')}, of all "
        f"others {fmt.number(rest, 'cosine')}; the mean softmax of the true pair is {by_row} % by row and {by_column} % by column.",
    )
