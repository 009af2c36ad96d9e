"""The similarity matrix of a few pairs: in a good model, the diagonal lights up."""

import numpy as np
from jaxtyping import Float64, Int64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import element, text

LEVELS = 12
LEFT, TOP, SIDE = 34, 8, 320


def similarity(evidence: Evidence) -> Figure:
    """Return the cosines between the images and the texts of a sample of pairs.

    Raises:
        Lacking: the run kept no square matrix of at least two pairs.
    """
    matrix = evidence.array("similarity").astype(np.float64)
    n = len(matrix)
    if matrix.shape != (n, n) or n < 2 or not np.isfinite(matrix).all():
        raise Lacking(f"the kept similarity matrix has shape {matrix.shape}, expected a square one")
    diagonal, rest = float(np.diag(matrix).mean()), float((matrix.sum() - np.trace(matrix)) / (n * n - n))
    others = np.where(np.eye(n, dtype=bool), -np.inf, matrix)
    lit = int((np.diag(matrix) > others.max(axis=1)).sum())
    return figure(
        f"In {lit} of {n} rows the true pair, on the diagonal, has the highest cosine.",
        [*_cells(matrix), *_labels(n), *_legend(matrix)],
        height=TOP + SIDE + 62,
        reading=f"{n} pairs; a row is an image, a column a text. The mean cosine of the pairs is "
        f"{fmt.significant(diagonal)}, of all others {fmt.significant(rest)}. Half of the others, the lower ones, "
        "are blank.",
        detail=f"Mean cosine on the diagonal {fmt.significant(diagonal)}, off it {fmt.significant(rest)}.",
    )


def _cells(matrix: Float64[np.ndarray, "n n"]) -> list[str]:
    """Return one path a shade, of strokes as wide as long: far less than an element a cell."""
    cell = SIDE / len(matrix)
    shades = _shades(matrix)
    drawn: list[str] = [element("rect", x=LEFT, y=TOP, width=SIDE, height=SIDE, css="plate")]
    for shade in range(1, LEVELS):
        data = "".join(f"M{column} {row}h1" for row, column in np.argwhere(shades == shade))
        if data:
            drawn.append(element("path", d=data, css="cells", stroke_opacity=f"{shade / (LEVELS - 1):.2f}"))
    scale = f"translate({LEFT} {TOP}) scale({cell:.4f}) translate(0 0.5)"
    return [drawn[0], element("g", *drawn[1:], transform=scale, shape_rendering="crispEdges")]


def _shades(matrix: Float64[np.ndarray, "n n"]) -> Int64[np.ndarray, "n n"]:
    low, high = _range(matrix)
    if high <= low:
        return np.zeros(matrix.shape, np.int64)
    return np.clip((matrix - low) / (high - low) * LEVELS, 0, LEVELS - 1).astype(np.int64)


def _range(matrix: Float64[np.ndarray, "n n"]) -> tuple[float, float]:
    """Return the cosines that are blank and full: the median off the diagonal, and the highest of all."""
    return float(np.median(matrix[~np.eye(len(matrix), dtype=bool)])), float(matrix.max())


def _labels(n: int) -> list[str]:
    middle = TOP + SIDE / 2
    turned = element(
        "text",
        f"{n} images",
        x=20,
        y=middle,
        css="name image",
        text_anchor="middle",
        transform=f"rotate(-90 20 {middle})",
    )
    return [turned, text(f"their {n} texts", LEFT + SIDE / 2, TOP + SIDE + 20, css="name text", anchor="middle")]


def _legend(matrix: Float64[np.ndarray, "n n"]) -> list[str]:
    y, width = TOP + SIDE + 38, 10
    start = LEFT + SIDE / 2 - LEVELS * width / 2
    drawn: list[str] = [
        element(
            "rect", x=start + k * width, y=y, width=width, height=12, css="cell", fill_opacity=f"{k / (LEVELS - 1):.2f}"
        )
        for k in range(LEVELS)
    ]
    drawn.append(element("rect", x=start, y=y, width=LEVELS * width, height=12, css="outline"))
    low, high = (fmt.significant(cosine) for cosine in _range(matrix))
    drawn.append(text(f"cosine ≤ {low}", start - 8, y + 11, css="soft", anchor="end"))
    drawn.append(text(high, start + LEVELS * width + 8, y + 11, css="soft"))
    return drawn
