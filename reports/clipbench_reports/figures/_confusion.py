"""What is taken for what."""

import re

import numpy as np
from jaxtyping import Float64

from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.figures._confusion_map import confusion_map
from clipbench_reports.figures._figure import Figure, figure
from clipbench_reports.format import Number
from clipbench_reports.svg import WIDTH, element, shorten, text

MAX_NAMED, MAX_CLASSES = 30, 120
"""Up to as many classes have a named row and column each; up to as many have a row of pixels, as a pattern."""
NAME_LENGTH = 16
LETTER = 7.2
"""Width that a letter of a class name takes, in pixels, generously."""


def confusion(evidence: Evidence) -> Figure:
    """Return the confusion matrix: one row a true class, one column an answer, each row adding up to 100 %.

    Raises:
        Lacking: there are no single answers, or too many classes for a picture.
    """
    names, shares = _shares(evidence)
    if len(names) > MAX_NAMED:
        return confusion_map(_sentence(names, shares), names, shares)
    n, margin = len(names), 14 + LETTER * min(NAME_LENGTH, max(len(name) for name in names))
    cell = max(18, min(32, (WIDTH - margin - 2) / n))
    children = [*_cells(shares, cell, margin), *_labels(names, cell, margin)]
    right = fmt.percent(float(np.diag(shares)[shares.any(axis=1)].mean()))
    return figure(
        _sentence(names, shares),
        children,
        height=n * cell + margin + 2,
        width=max(WIDTH, margin + n * cell + 2),
        reading="A row is the true class, a column the answer; a row adds up to 100 %. Shades grow with the square "
        "root of the share, so that rare mistakes can be seen.",
        detail=f"Confusion matrix of {n} classes; right on the diagonal: {right} % on average over classes.",
    )


def _shares(evidence: Evidence) -> tuple[list[str], Float64[np.ndarray, "n n"]]:
    """Return the class names in order, and how each class's samples are spread over answers."""
    label = evidence.column("label").astype(str)
    predicted = evidence.column("predicted").astype(str)
    names = sorted({*label.tolist(), *predicted.tolist()}, key=_natural)
    if len(names) > MAX_CLASSES:
        raise Lacking(
            f"{len(names)} classes are too many for a confusion matrix; the table of confused pairs shows the worst"
        )
    counts = np.zeros((len(names), len(names)))
    place = {name: row for row, name in enumerate(names)}
    np.add.at(counts, tuple([place[name] for name in column.tolist()] for column in (label, predicted)), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return names, np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts class 2 before class 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part]


def _sentence(names: list[str], shares: Float64[np.ndarray, "n n"]) -> str:
    """Return the largest share off the diagonal with its true class and answer."""
    wrong = shares * (1 - np.eye(len(shares)))
    row, column = divmod(int(wrong.argmax()), len(wrong))
    if not wrong.any():
        return "No picture is taken for another class."
    share = fmt.percent(float(wrong[row, column]))
    return f"Most often, {fmt.named(names[row])} is taken for {fmt.named(names[column])}: {share} % of its pictures."


def _cells(shares: Float64[np.ndarray, "n n"], cell: Number, margin: Number) -> list[str]:
    drawn: list[str] = [
        element("rect", x=margin, y=1, width=cell * len(shares), height=cell * len(shares), css="plate")
    ]
    for row, column in np.argwhere(shares > 0):
        share, x, y = float(shares[row, column]), margin + column * cell, 1 + row * cell
        depth = f"{np.sqrt(share):.2f}"
        drawn.append(element("rect", x=x, y=y, width=cell - 1, height=cell - 1, css="cell", fill_opacity=depth))
        if cell >= 24 and share >= 0.005:
            css = "on" if share > 0.38 else "mid" if share > 0.2 else ""  # for contrast with a light or dark page
            drawn.append(text(f"{100 * share:.0f}", x + (cell - 1) / 2, y + cell / 2 + 4.5, css=css, anchor="middle"))
    return drawn


def _labels(names: list[str], cell: Number, margin: Number) -> list[str]:
    foot = 1 + cell * len(names)
    drawn: list[str] = []
    for k, name in enumerate(names):
        middle, short = (k + 0.5) * cell, shorten(name, NAME_LENGTH)
        drawn.append(text(short, margin - 7, 1 + middle + 4.5, anchor="end"))
        x, y = margin + middle + 4.5, foot + 8
        drawn.append(element("text", short, x=x, y=y, text_anchor="end", transform=f"rotate(-90 {x:.1f} {y:.1f})"))
    return drawn
