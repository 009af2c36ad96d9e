"""The similarity matrix of a few pairs: in a good model, the diagonal lights up."""

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Panel
from clipbench_reports.page.evidence import Evidence, MissingEvidence


def similarity(evidence: Evidence) -> Chart:
    """Return the cosines between the images and the texts of a sample of pairs, and their softmax by row and column.

    Raises:
        MissingEvidence: the run kept no square matrix of at least two pairs.
    """
    matrix = _matrix(evidence)
    n, scale = len(matrix), _scale(evidence)
    diagonal, rest = float(np.diag(matrix).mean()), float((matrix.sum() - np.trace(matrix)) / (n * n - n))
    others = np.where(np.eye(n, dtype=bool), -np.inf, matrix)
    lit = int((np.diag(matrix) > others.max(axis=1)).sum())
    by_row, by_column = softmax(scale * matrix), softmax(scale * matrix.T).T
    low, high = float(np.median(matrix[~np.eye(n, dtype=bool)])), float(matrix.max())
    depths = np.clip((matrix - low) / (high - low), 0, 1) if high > low else np.zeros_like(matrix)
    return Chart(
        title=f"In {lit} of {n} rows the true pair, on the diagonal, has the highest cosine.",
        panels=[
            _panel("Cosine", depths, matrix),
            _panel("By row", by_row, by_row),
            _panel("By column", by_column, by_column),
        ],
        n_columns=3,
        reading=f"{n} pairs; a row is an image, a column a text. Cosines: blank from their median off the diagonal "
        "downwards, black at the highest. By row and by column: softmax at the model’s own logit scale, blank 0, black 1. "
        f"Median {fmt.number(low, 'cosine')}, highest {fmt.number(high, 'cosine')}, logit scale {fmt.significant(scale)}. "
        f"The mean cosine of the pairs is "
        f"{fmt.number(diagonal, 'cosine')}, of all others {fmt.number(rest, 'cosine')}; the mean softmax of the true pair is "
        f"{fmt.percent(float(np.diag(by_row).mean()))} % by row and {fmt.percent(float(np.diag(by_column).mean()))} % "
        "by column.",
        keys=("Cosine", "By row", "By column"),
        detail=f"Mean cosine on the diagonal {fmt.number(diagonal, 'cosine')}, off it {fmt.number(rest, 'cosine')}.",
        subject="Rows in which the true pair, on the diagonal, has the highest cosine",
        value=f"{lit} of {n}",
    )


def softmax(logits: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, "n n"]:
    """Return the softmax of each row.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Float64[np.ndarray, "n n"] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _matrix(evidence: Evidence) -> Float64[np.ndarray, "n n"]:
    matrix = evidence.array("similarity").astype(np.float64)
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2 or not np.isfinite(matrix).all():
        raise MissingEvidence(f"the kept similarity matrix has shape {matrix.shape}, expected a square one")
    return matrix


def _scale(evidence: Evidence) -> float:
    scale = evidence.run.result.model.get("logit_scale")
    if not isinstance(scale, int | float) or not np.isfinite(scale):
        raise MissingEvidence(f"the run has no logit scale of the model (got {scale}), which the softmax needs")
    return float(scale)


def _panel(title: str, depths: Float64[np.ndarray, "n n"], values: Float64[np.ndarray, "n n"]) -> Panel:
    n = len(values)
    return Panel(
        title=title,
        x=Axis(low=0, high=n, ticks=[n / 2], names=["texts"]),
        y=Axis(low=n, high=0, ticks=[n / 2], names=["images"]),
        marks=[Cells(depths=depths, values=values, name=title)],
        aspect=1.0,
        has_grid=False,
    )
