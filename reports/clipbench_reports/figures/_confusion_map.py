"""The confusion matrix of many classes: too many to name each, so that the pattern is what is seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Boxes, Cells, Panel
from clipbench_reports.drawing.svg import shorten

MAX_BOXES, MIN_CLASSES = 15, 3
"""More boxes, or fewer classes a box, would be no pattern."""
N_NAMED = 9
"""Classes that are named where there are no boxes."""
NAME_LENGTH = 14


class Span(NamedTuple):
    """The rows, and columns, from ``start`` up to ``stop``, and what is written beside them."""

    words: str
    start: int
    stop: int


def map_panel(names: Sequence[str], shares: Float64[np.ndarray, "n n"]) -> Panel:
    """Return the confusion matrix of many classes, with boxes where the first words of their names make groups.

    Args:
        shares: of the samples of each true class (row) by answer (column), both in the order of the names.
    """
    boxes, n = _boxes(names), len(names)
    spans = boxes or _few(names)
    ticks, words = [(span.start + span.stop) / 2 for span in spans], [span.words for span in spans]
    outlines = Boxes(corners=[(box.start, box.start, box.stop, box.stop) for box in boxes], name="first word in common")
    return Panel(
        x=Axis(low=0, high=n, ticks=ticks, names=words, label="Answer", is_turned=True),
        y=Axis(low=n, high=0, ticks=ticks, names=words, label="True class"),
        marks=[Cells(depths=np.sqrt(shares), values=shares, name="share"), *([outlines] if boxes else [])],
        aspect=1.0,
        has_grid=False,
    )


def map_reading(names: Sequence[str], shares: Float64[np.ndarray, "n n"]) -> str:
    """Return what the boxes of ``map_panel`` are, and how many of the mistakes stay inside them."""
    boxes = _boxes(names)
    if not boxes:
        return "Some classes are named; those that are confused most often are in the table."
    wrong = shares * (1 - np.eye(len(shares)))
    inside = sum(float(wrong[box.start : box.stop, box.start : box.stop].sum()) for box in boxes)
    start = "A box holds the classes whose names begin with one word"
    if not wrong.any():
        return f"{start}."
    share = fmt.percent(inside / float(wrong.sum()))
    return f"{start}; {share} % of the mistakes stay inside, all classes weighing the same."


def _boxes(names: Sequence[str]) -> list[Span]:
    """Return the runs of names with one first word, or nothing where they are no groups worth a box."""
    words = [name.split(" ", 1)[0] for name in names]
    starts = [0, *(row for row in range(1, len(words)) if words[row] != words[row - 1])]
    stops = [*starts[1:], len(words)]
    if not 1 < len(starts) <= min(MAX_BOXES, len(names) / MIN_CLASSES):
        return []
    return [Span(shorten(words[start], NAME_LENGTH), start, stop) for start, stop in zip(starts, stops, strict=True)]


def _few(names: Sequence[str]) -> list[Span]:
    rows = ((np.arange(N_NAMED) + 0.5) * len(names) / N_NAMED).astype(int).tolist()
    return [Span(shorten(names[row], NAME_LENGTH), row, row + 1) for row in rows]
