"""What is taken for what."""

import re
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Panel
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._confusion_map import confusion_map
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.text import quoted

MAX_NAMED, MAX_CLASSES = 30, 120
"""Up to as many classes have a named row and column each; up to as many have a row of pixels, as a pattern."""
MAX_WRITTEN = 15
"""Up to as many classes have their shares written into the cells."""
NAME_LENGTH = 16
SUBJECT = "Most often taken for another class"


def confusion(evidence: Evidence) -> Chart:
    """Return the confusion matrix: one row a true class, one column an answer, each row adding up to 100 %.

    Raises:
        MissingEvidence: there are no single answers, or too many classes for an image.
    """
    names, shares = _shares(evidence)
    if len(names) > MAX_NAMED:
        drawn = confusion_map(_sentence(names, shares), names, shares)
        return replace(drawn, subject=SUBJECT, value=_worst(names, shares))
    n = len(names)
    short = [shorten(name, NAME_LENGTH) for name in names]
    ticks = [k + 0.5 for k in range(n)]
    right = fmt.percent(float(np.diag(shares)[shares.any(axis=1)].mean()))
    return Chart(
        title=_sentence(names, shares),
        panels=[
            Panel(
                x=Axis(low=0, high=n, ticks=ticks, names=short, label="Answer", is_turned=True),
                y=Axis(low=n, high=0, ticks=ticks, names=short, label="True class"),
                marks=[Cells(depths=np.sqrt(shares), values=shares, words=_written(shares), name="share")],
                aspect=1.0,
                has_grid=False,
            )
        ],
        reading="A row is the true class, a column the answer; a row adds up to 100 %. Shades grow with the square "
        "root of the share, so that rare mistakes can be seen.",
        detail=f"Confusion matrix of {n} classes; right on the diagonal: {right} % on average over classes.",
        breadth=_breadth(short),
        subject=SUBJECT,
        value=_worst(names, shares),
    )


def _breadth(names: list[str]) -> float:
    """Return the width that lets each name, and each share that is written, stand free."""
    cell = 0.06 if len(names) <= MAX_WRITTEN else 0.042
    return max(1.0, 0.15 + 0.0185 * max(map(len, names)) + cell * len(names))


def _written(shares: Float64[np.ndarray, "n n"]) -> list[tuple[int, int, str]]:
    if len(shares) > MAX_WRITTEN:
        return []
    return [(row, column, f"{100 * shares[row, column]:.0f}") for row, column in np.argwhere(shares >= 0.005).tolist()]


def _shares(evidence: Evidence) -> tuple[list[str], Float64[np.ndarray, "n n"]]:
    """Return the class names in order, and how each class's samples are spread over answers."""
    label = evidence.column("label").astype(str)
    predicted = evidence.column("predicted").astype(str)
    names = sorted({*label.tolist(), *predicted.tolist()}, key=_natural)
    if len(names) > MAX_CLASSES:
        raise MissingEvidence(
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
    row, column, wrong = _largest(shares)
    if not wrong:
        return "No image is taken for another class."
    return (
        f"Most often, {quoted(names[row])} is taken for {quoted(names[column])}: {fmt.percent(wrong)} % of its images."
    )


def _worst(names: list[str], shares: Float64[np.ndarray, "n n"]) -> str:
    """Return the same in fewer words."""
    row, column, wrong = _largest(shares)
    return f"{quoted(names[row])} for {quoted(names[column])} ({fmt.percent(wrong)} %)" if wrong else "none"


def _largest(shares: Float64[np.ndarray, "n n"]) -> tuple[int, int, float]:
    """Return the row and the column of the largest share off the diagonal, and the share."""
    wrong = shares * (1 - np.eye(len(shares)))
    row, column = divmod(int(wrong.argmax()), len(wrong))
    return row, column, float(wrong[row, column])
