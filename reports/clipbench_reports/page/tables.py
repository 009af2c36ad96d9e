"""Tables that fold out in a section: what the figures cannot hold."""

from dataclasses import dataclass

import numpy as np

from clipbench.results import numbers as fmt


@dataclass(frozen=True, kw_only=True)
class Table:
    """A captioned table of words and numbers."""

    title: str
    """The line that folds out."""
    note: str
    """A line on how to read it, and on what is left out."""
    columns: list[str]
    rows: list[list[str]]
    n_words: int = 1
    """Leading columns that hold words; the others hold numbers."""


def most_common(answers: np.ndarray) -> str:
    """Return the answer that is given most often, the first in the alphabet among equals; a dash without any."""
    if not len(answers):
        return fmt.NONE
    names, counts = np.unique(answers, return_counts=True)
    return str(names[counts.argmax()])
