"""Text in images: reading a written word, and attacks in which a written word hijacks the label."""

from clipbench_tasks.text_in_image.task import TextInImage

__all__ = ["TextInImage"]
