"""Can a model read a word in an image, and does one hijack the label?"""

from clipbench_tasks.text_in_image.task import TextInImage

__all__ = ["TextInImage"]
