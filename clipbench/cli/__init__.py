"""The command line: one command a file, and nothing heavy is imported before it is needed."""

from clipbench.cli.main import main

__all__ = ["main"]
