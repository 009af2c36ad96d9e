"""Composition: whether a true caption scores above a false one made of the same words."""

from clipbench_tasks.composition.task import Composition

__all__ = ["Composition"]
