"""Long captions: how much of each a model uses."""

from clipbench_tasks.long_caption.task import LongCaption

__all__ = ["LongCaption"]
