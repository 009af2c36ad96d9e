"""The confusion matrix: which class is taken for which."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from clipbench.results import numbers as fmt
from clipbench_reports.drawing.marks import Axis, Cells, Chart, Panel
from clipbench_reports.drawing.models import Statement, beside, chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.figures._confusion_map import map_panel, map_reading
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

MAX_NAMED, MAX_CLASSES = 30, 120
"""Classes up to which each has a named row and column; and up to which each has a row of pixels, as a pattern."""
MAX_WRITTEN = 15
"""Classes up to which the shares are written into the cells."""
NAME_LENGTH = 16


Shares = Float64[np.ndarray, "n n"]
"""Share of the samples of each true class (row) by answer (column)."""


def confusion(models: Sequence[ModelEvidence]) -> Chart:
    """Return the confusion matrix: one row a true class, one column an answer, each row adding up to 100 %.

    Raises:
        MissingEvidence: there are no single answers, or too many classes for an image.
    """
    answers = read_each(models, _answers)
    names = sorted({name for pair in answers.values.values() for column in pair for name in column}, key=_natural)
    if len(names) > MAX_CLASSES:
        raise MissingEvidence(
            f"{len(names)} classes are too many for a confusion matrix; the table of confused pairs shows the worst"
        )
    by_model = ByModel(answers.map(lambda pair: _shares(names, *pair)), answers.missing)
    is_map = len(names) > MAX_NAMED
    short = [shorten(name, NAME_LENGTH) for name in names]
    panels = by_model.map(lambda shares: [map_panel(names, shares) if is_map else _panel(short, shares)])
    return chart(
        [beside(panels, by_model)],
        by_model.map(lambda shares: _state(names, shares, map_reading(names, shares) if is_map else "")),
        by_model,
        reading=f"A row is one of the {len(names)} true classes, a column an answer, in the same order, so that right "
        "answers lie on the diagonal. Shades grow with the square root of the share of the row."
        if is_map
        else "A row is the true class, a column the answer; a row adds up to 100 %. Shades grow with the square root of "
        "the share, so that rare mistakes can be seen.",
        breadth=1.0 if is_map else _breadth(short),
    )


def _answers(evidence: Evidence) -> tuple[list[str], list[str]]:
    """Return the true class and the answer of each sample."""
    label, predicted = (evidence.column(name).astype(str).tolist() for name in ("label", "predicted"))
    return label, predicted


def _shares(names: Sequence[str], label: Sequence[str], predicted: Sequence[str]) -> Shares:
    counts = np.zeros((len(names), len(names)))
    place = {name: row for row, name in enumerate(names)}
    np.add.at(counts, tuple([place[name] for name in column] for column in (label, predicted)), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def _panel(names: Sequence[str], shares: Shares) -> Panel:
    n = len(names)
    ticks = [k + 0.5 for k in range(n)]
    is_written = n <= MAX_WRITTEN
    written = np.argwhere(shares >= 0.005).tolist() if is_written else []
    words = [(row, column, f"{100 * shares[row, column]:.0f}") for row, column in written]
    return Panel(
        x=Axis(low=0, high=n, ticks=ticks, names=names, label="Answer", is_turned=True),
        y=Axis(low=n, high=0, ticks=ticks, names=names, label="True class"),
        marks=[Cells(depths=np.sqrt(shares), values=shares, words=words, name="share")],
        aspect=1.0,
        has_grid=False,
    )


def _breadth(names: list[str]) -> float:
    """Return the width that lets each name, and each share that is written, stand free."""
    cell = 0.06 if len(names) <= MAX_WRITTEN else 0.042
    return max(1.0, 0.15 + 0.0185 * max(map(len, names)) + cell * len(names))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts class 2 before class 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts if part]


def _state(names: Sequence[str], shares: Shares, reading: str) -> Statement:
    """Return the largest share off the diagonal with its true class and answer."""
    wrong = shares * (1 - np.eye(len(shares)))
    row, column = divmod(int(wrong.argmax()), len(wrong))
    share = f"{fmt.percent(float(wrong[row, column]))} %"
    true, answer = quoted(names[row]), quoted(names[column])
    title, value = f"Most often, {true} is taken for {answer}: {share} of its images.", f"{true} for {answer} ({share})"
    if not wrong.any():
        title, value = "No image is taken for another class.", "none"
    right = fmt.percent(float(np.diag(shares)[shares.any(axis=1)].mean()))
    return Statement(
        title=title,
        subject="Most often taken for another class",
        value=value,
        detail=f"Confusion matrix of {len(names)} classes; right on the diagonal: {right} % on average over classes.",
        reading=reading,
    )
