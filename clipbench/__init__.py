"""Evaluation and diagnostics for CLIP-style dual encoders."""

from importlib.metadata import version

__version__ = version("clipbench")

__all__ = ["__version__"]
