"""A comparison, with the verdict of a gate, as a table, a pull-request comment, JSON, JUnit and GitHub annotations."""

from clipbench.comparison.formats._markdown import markdown
from clipbench.comparison.formats._programs import as_json, github, junit
from clipbench.comparison.formats._terminal import terminal

__all__ = ["as_json", "github", "junit", "markdown", "terminal"]
