"""The task mixed-retrieval: a corpus of images and texts."""

from clipbench_tasks.mixed_retrieval.task import MixedRetrieval

__all__ = ["MixedRetrieval"]
