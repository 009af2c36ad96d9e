"""A comparison, with the verdict of a gate, as a table, a pull-request comment, JSON, JUnit and GitHub annotations."""

from clipbench.comparison.formats._ci import as_json, chain_json, github, junit, markdown
from clipbench.comparison.formats._terminal import terminal

__all__ = ["as_json", "chain_json", "github", "junit", "markdown", "terminal"]
