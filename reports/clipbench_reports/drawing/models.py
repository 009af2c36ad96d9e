"""The name and the colour of each model in a figure of several."""

from collections.abc import Sequence
from typing import NamedTuple

from clipbench_reports.page.groups import short

MAX_LABEL = 28
"""Letters of a model's name in a figure."""


class ModelKey(NamedTuple):
    """The label of a model, and its place among those of the page, which is its colour."""

    label: str
    place: int


def figure_labels(labels: Sequence[str]) -> list[str]:
    """Return the names of models for a figure: the last parts of their paths, cut in the middle where they are long.

    Example:
        >>> figure_labels(["runs/step-100", "runs/" + "a" * 30 + "-final"])
        ['step-100', 'aaaaaaaaaaaaa…aaaaaaaa-final']
    """
    names = short(labels)
    half = MAX_LABEL // 2
    cut = [name if len(name) <= MAX_LABEL else f"{name[: half - 1]}…{name[-half:]}" for name in names]
    return cut if len(set(cut)) == len(cut) else names
