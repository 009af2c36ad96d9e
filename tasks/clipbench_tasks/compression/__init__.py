"""Compression: quality of vectors that are stored in fewer bytes."""

from clipbench_tasks.compression.task import Compression

__all__ = ["Compression"]
