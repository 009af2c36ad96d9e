"""A comparison, with the verdict of a gate, as a table, a pull-request comment, JSON, JUnit and GitHub annotations."""

from clipbench.comparison.formats._github import github
from clipbench.comparison.formats._markdown import markdown
from clipbench.comparison.formats._records import as_json, junit
from clipbench.comparison.formats._tables import (
    NO_GATE,
    NO_VERDICT,
    VERDICTS,
    Standing,
    by_data,
    by_evaluation,
    by_grouping,
    difference_table,
    difference_text,
    headline,
    metric_cell,
    similarity_table,
    standing,
    tally,
    ungated,
)
from clipbench.comparison.formats._terminal import terminal

__all__ = [
    "NO_GATE",
    "NO_VERDICT",
    "VERDICTS",
    "Standing",
    "as_json",
    "by_data",
    "by_evaluation",
    "by_grouping",
    "difference_table",
    "difference_text",
    "github",
    "headline",
    "junit",
    "markdown",
    "metric_cell",
    "similarity_table",
    "standing",
    "tally",
    "terminal",
    "ungated",
]
