"""The confusion matrix: which class is taken for which; of too many classes to name each, its pattern."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.results import numbers as fmt
from clipbench.stats.claims import claimed, p_of_shares
from clipbench.stats.significance import mcnemar_exact
from clipbench_reports.drawing.marks import Axis, Boxes, Cells, Chart, Panel
from clipbench_reports.drawing.models import Statement, beside, chart
from clipbench_reports.drawing.svg import shorten
from clipbench_reports.page.evidence import ByModel, Evidence, MissingEvidence, ModelEvidence, read_each
from clipbench_reports.page.text import quoted

MAX_NAMED, MAX_CLASSES = 30, 120
"""Classes up to which each has a named row and column; and up to which each has a row of pixels, as a pattern."""
MAX_WRITTEN = 15
"""Classes up to which the shares are written into the cells."""
NAME_LENGTH = 16
MAX_BOXES, MIN_CLASSES = 15, 3
"""More boxes, or fewer classes a box, would be no pattern."""
N_NAMED = 9
"""Classes that are named where there are no boxes."""
MAP_NAME_LENGTH = 14

Counts = Int64[np.ndarray, "n n"]
"""Samples of each true class (row) by answer (column)."""
Shares = Float64[np.ndarray, "n n"]
"""The same as shares of the class."""


class _Span(NamedTuple):
    """The rows, and columns, from ``start`` up to ``stop``, and what is written beside them."""

    words: str
    start: int
    stop: int


def confusion(models: Sequence[ModelEvidence]) -> Chart:
    """Return the confusion matrix: one row a true class, one column an answer, each row adding up to 100 %.

    Raises:
        MissingEvidence: there are no single answers, or too many classes for an image.
    """
    answers = read_each(models, _answers)
    names = sorted({name for pair in answers.values.values() for column in pair for name in column}, key=_natural)
    if len(names) > MAX_CLASSES:
        raise MissingEvidence(
            f"{len(names)} classes are too many for a confusion matrix; the table of confused pairs has the most frequent mistakes"
        )
    by_model = ByModel(answers.map(lambda pair: _counts(names, *pair)), answers.missing)
    is_map = len(names) > MAX_NAMED
    short = [shorten(name, NAME_LENGTH) for name in names]
    panels = by_model.map(
        lambda counts: [_map_panel(names, _shares_of(counts)) if is_map else _panel(names, _shares_of(counts))]
    )
    return chart(
        [beside(panels, by_model)],
        by_model.map(lambda counts: _state(names, counts, _map_reading(names, _shares_of(counts)) if is_map else "")),
        by_model,
        reading=f"A row is a true class, a column an answer, {len(names)} of each in the same order, so that right "
        "answers lie on the diagonal. Shades grow with the square root of the share of the row."
        if is_map
        else "A row is the true class, a column the answer; a row adds up to 100 %. Shades grow with the square root of "
        "the share, so that rare mistakes can be seen.",
        breadth=1.0 if is_map else _breadth(short),
    )


def _answers(evidence: Evidence) -> tuple[list[str], list[str]]:
    """Return the true class and the answer of each sample."""
    label, predicted = (evidence.words(name).tolist() for name in ("label", "predicted"))
    return label, predicted


def _counts(names: Sequence[str], label: Sequence[str], predicted: Sequence[str]) -> Counts:
    counts = np.zeros((len(names), len(names)), np.int64)
    place = {name: row for row, name in enumerate(names)}
    # counts[...] += 1 would count a pair that occurs many times only once.
    np.add.at(counts, tuple([place[name] for name in column] for column in (label, predicted)), 1)
    return counts


def _shares_of(counts: Counts) -> Shares:
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def _panel(names: Sequence[str], shares: Shares) -> Panel:
    n, short = len(names), [shorten(name, NAME_LENGTH) for name in names]
    ticks = [k + 0.5 for k in range(n)]
    is_written = n <= MAX_WRITTEN
    # Less would be written as 0.
    written = np.argwhere(shares >= 0.005).tolist() if is_written else []
    words = [(row, column, f"{100 * shares[row, column]:.0f}") for row, column in written]
    return Panel(
        x=Axis(low=0, high=n, ticks=ticks, names=short, label="Answer", is_turned=True),
        y=Axis(low=n, high=0, ticks=ticks, names=short, label="True class"),
        marks=[
            Cells(
                depths=np.sqrt(shares), values=shares, is_percent=True, names=(names, names), words=words, name="share"
            )
        ],
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


def _state(names: Sequence[str], counts: Counts, reading: str) -> Statement:
    """Return how many images are named right and, where tests tell it from all others, the most frequent mistake."""
    shares = _shares_of(counts)
    recalls = np.diag(shares)[shares.any(axis=1)]
    right, classes = f"{fmt.percent(float(recalls.mean()))} %", fmt.counted(len(recalls), "class", "classes")
    title = f"Named right: {right} of the images of a class, on average over {classes}."
    mistake = _most_frequent(counts)
    if mistake is not None:
        row, column = mistake
        share = f"{fmt.percent(float(shares[row, column]))} %"
        title = f"Most often, {quoted(names[row])} is taken for {quoted(names[column])}: {share} of its images."
    elif np.array_equal(counts, np.diag(np.diag(counts))):
        title = "No image is taken for another class."
    return Statement(
        title=title,
        subject="Named right, on average over classes",
        value=right,
        detail=f"Confusion matrix of {classes}; right on the diagonal: {right} on average over classes.",
        reading=reading,
    )


def _most_frequent(counts: Counts) -> tuple[int, int] | None:
    """Return true class and answer of the mistake with the largest share of its class, if it differs from each other."""
    n = len(counts)
    totals, wrong = counts.sum(axis=1), ~np.eye(n, dtype=bool)
    shares = np.where(wrong, _shares_of(counts), -1.0)
    row, column = divmod(int(shares.argmax()), n)
    hits, total = int(counts[row, column]), int(totals[row])
    if not hits:
        return None
    asked = wrong & (totals > 0)[:, None]
    asked[row, column] = False
    # Many cells are alike, most of them empty: each test is made once.
    others = Counter((int(counts[r, c]), int(totals[r]), r == row) for r, c in np.argwhere(asked).tolist())
    p_values = [
        p
        for (other, n_other, is_of_row), times in others.items()
        for p in [mcnemar_exact(hits, other) if is_of_row else p_of_shares(hits, total, other, n_other)] * times
    ]
    return (row, column) if all(claimed(p_values)) else None


def _map_panel(names: Sequence[str], shares: Shares) -> Panel:
    """Return the confusion matrix of many classes, with boxes where the first words of their names make groups."""
    boxes, n = _boxes(names), len(names)
    few = ((np.arange(N_NAMED) + 0.5) * n / N_NAMED).astype(int).tolist()
    spans = boxes or [_Span(shorten(names[row], MAP_NAME_LENGTH), row, row + 1) for row in few]
    ticks, words = [(span.start + span.stop) / 2 for span in spans], [span.words for span in spans]
    outlines = Boxes(corners=[(box.start, box.start, box.stop, box.stop) for box in boxes], name="first word in common")
    return Panel(
        x=Axis(low=0, high=n, ticks=ticks, names=words, label="Answer", is_turned=True),
        y=Axis(low=n, high=0, ticks=ticks, names=words, label="True class"),
        marks=[
            Cells(depths=np.sqrt(shares), values=shares, is_percent=True, names=(names, names), name="share"),
            *([outlines] if boxes else []),
        ],
        aspect=1.0,
        has_grid=False,
    )


def _map_reading(names: Sequence[str], shares: Shares) -> str:
    """Return what the boxes of ``_map_panel`` are, and how many of the mistakes stay inside them."""
    boxes = _boxes(names)
    if not boxes:
        return "Some classes are named; the table of confused classes has the pairs with the largest counts."
    wrong = shares * (1 - np.eye(len(shares)))
    inside = sum(float(wrong[box.start : box.stop, box.start : box.stop].sum()) for box in boxes)
    start = "A box holds the classes whose names begin with one word"
    if not wrong.any():
        return f"{start}."
    share = fmt.percent(inside / float(wrong.sum()))
    return f"{start}; {share} % of the mistakes stay inside, all classes weighing the same."


def _boxes(names: Sequence[str]) -> list[_Span]:
    """Return the runs of names with one first word, or nothing where they are no groups worth a box."""
    words = [name.split(" ", 1)[0] for name in names]
    starts = [0, *(row for row in range(1, len(words)) if words[row] != words[row - 1])]
    stops = [*starts[1:], len(words)]
    if not 1 < len(starts) <= min(MAX_BOXES, len(names) / MIN_CLASSES):
        return []
    return [
        _Span(shorten(words[start], MAP_NAME_LENGTH), start, stop) for start, stop in zip(starts, stops, strict=True)
    ]
