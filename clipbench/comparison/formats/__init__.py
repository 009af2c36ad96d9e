"""A comparison, with the verdict of a gate, as a table, a pull-request comment, JSON, JUnit and GitHub annotations."""

from clipbench.comparison.formats._ci import as_json, chain_json, chain_markdown, github, junit, markdown
from clipbench.comparison.formats._terminal import chain_terminal, terminal

__all__ = ["as_json", "chain_json", "chain_markdown", "chain_terminal", "github", "junit", "markdown", "terminal"]
