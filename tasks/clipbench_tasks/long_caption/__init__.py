"""How much of a long caption does a model use?"""

from clipbench_tasks.long_caption.task import LongCaption

__all__ = ["LongCaption"]
