"""A comparison, with what a gate says of it, as a table, a pull-request comment, JSON, JUnit and GitHub annotations."""

from clipbench.comparison.formats._cells import Cells, by_evaluation, cells, headline, refusals, tally, ungated
from clipbench.comparison.formats._github import github
from clipbench.comparison.formats._markdown import markdown
from clipbench.comparison.formats._records import as_json, junit
from clipbench.comparison.formats._terminal import terminal

__all__ = [
    "Cells",
    "as_json",
    "by_evaluation",
    "cells",
    "github",
    "headline",
    "junit",
    "markdown",
    "refusals",
    "tally",
    "terminal",
    "ungated",
]
