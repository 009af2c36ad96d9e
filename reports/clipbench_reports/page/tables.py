"""Cells of the tables that fold out in a section."""

import numpy as np

from clipbench.results import numbers as fmt


def most_common(answers: np.ndarray) -> str:
    """Return the answer that is given most often, the first in the alphabet among equals; a dash without any."""
    if not len(answers):
        return fmt.NONE
    names, counts = np.unique(answers, return_counts=True)
    return str(names[counts.argmax()])
