"""What is taken for what among many classes: too many to name each, so that the pattern is what is seen."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench_reports import format as fmt
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.svg import WIDTH, element, shorten, text

LEVELS = 12
MAX_BOXES, MIN_CLASSES = 15, 3
"""More boxes, or fewer classes a box, would be no pattern."""
N_NAMED = 9
"""Classes that are named where there are no boxes."""
NAME_LENGTH = 14
EDGE, LINE = 6, 16
"""Space on top and on the right, for names beside the outermost rows, and the least distance of two names."""
LETTER = 8.3
"""Width that a letter takes, in pixels, on a narrow screen, where letters are largest."""


class Span(NamedTuple):
    """The rows, and columns, from ``start`` up to ``stop``, and what is written beside them."""

    words: str
    start: int
    stop: int


def confusion_map(title: str, names: list[str], shares: Float64[np.ndarray, "n n"]) -> Figure:
    """Return the confusion matrix of many classes, with boxes where the first words of their names make groups.

    Args:
        shares: of the samples of each true class (row) by answer (column), both in the order of the names.
    """
    boxes, n = _boxes(names), len(names)
    spans = boxes or _few(names)
    margin = 14 + LETTER * max(len(span.words) for span in spans)
    cell = (WIDTH - margin - EDGE) / n
    side = n * cell
    right = fmt.percent(float(np.diag(shares)[shares.any(axis=1)].mean()))
    return figure(
        title,
        [
            element("rect", x=margin, y=EDGE, width=side, height=side, css="plate"),
            *(element("path", d=_outline(box, cell, margin), css="outline") for box in boxes),
            _cells(shares, cell, margin),
            *_labels(spans, cell, margin, foot=EDGE + side),
        ],
        height=EDGE + side + margin,
        reading=f"A row is one of the {n} true classes, a column an answer, in the same order, so that right answers "
        f"lie on the diagonal. Shades grow with the square root of the share of the row. {_pattern(boxes, shares)}",
        detail=f"Confusion matrix of {n} classes; right on the diagonal: {right} % on average over classes.",
    )


def _boxes(names: list[str]) -> list[Span]:
    """Return the runs of names with one first word, or nothing where they are no groups worth a box."""
    words = [name.split(" ", 1)[0] for name in names]
    starts = [0, *(row for row in range(1, len(words)) if words[row] != words[row - 1])]
    stops = [*starts[1:], len(words)]
    if not 1 < len(starts) <= min(MAX_BOXES, len(names) / MIN_CLASSES):
        return []
    return [Span(shorten(words[start], NAME_LENGTH), start, stop) for start, stop in zip(starts, stops, strict=True)]


def _few(names: list[str]) -> list[Span]:
    rows = ((np.arange(N_NAMED) + 0.5) * len(names) / N_NAMED).astype(int).tolist()
    return [Span(shorten(names[row], NAME_LENGTH), row, row + 1) for row in rows]


def _pattern(boxes: list[Span], shares: Float64[np.ndarray, "n n"]) -> str:
    if not boxes:
        return "Some classes are named; those that are confused most often are in the table."
    wrong = shares * (1 - np.eye(len(shares)))
    inside = sum(float(wrong[box.start : box.stop, box.start : box.stop].sum()) for box in boxes)
    start = "A box holds the classes whose names begin with one word"
    if not wrong.any():
        return f"{start}."
    share = fmt.percent(inside / float(wrong.sum()))
    return f"{start}; {share} % of the mistakes stay inside, all classes weighing the same."


def _outline(box: Span, cell: float, margin: float) -> str:
    left, top, side = margin + box.start * cell, EDGE + box.start * cell, (box.stop - box.start) * cell
    return f"M{left:.1f} {top:.1f}h{side:.1f}v{side:.1f}h-{side:.1f}Z"


def _cells(shares: Float64[np.ndarray, "n n"], cell: float, margin: float) -> str:
    """Return one path a shade, of strokes as wide as long: far less than an element a cell."""
    shades = np.clip(np.sqrt(shares) * LEVELS, 0, LEVELS - 1).astype(np.int64)
    paths = []
    for shade in range(1, LEVELS):
        data = "".join(f"M{column} {row}h1" for row, column in np.argwhere(shades == shade))
        if data:
            paths.append(element("path", d=data, css="cells", stroke_opacity=f"{shade / (LEVELS - 1):.2f}"))
    scale = f"translate({margin:.1f} {EDGE}) scale({cell:.4f}) translate(0 0.5)"
    return element("g", *paths, transform=scale, shape_rendering="crispEdges")


def _labels(spans: list[Span], cell: float, margin: float, *, foot: float) -> list[str]:
    """Return the names along both sides; one that would touch the name before it is left out."""
    drawn: list[str] = []
    last = -float(LINE)
    for span in spans:
        middle = (span.start + span.stop) / 2 * cell
        if middle < last + LINE:
            continue
        last = middle
        drawn.append(text(span.words, margin - 7, EDGE + middle + 4.5, anchor="end"))
        x, y = margin + middle + 4.5, foot + 8
        turn = f"rotate(-90 {x:.1f} {y:.1f})"
        drawn.append(element("text", span.words, x=x, y=y, text_anchor="end", transform=turn))
    return drawn
