"""Contrasts on disk: SugarCrepe, ARO, Winoground, What'sUp, MMVP and the like, and a plain manifest for one's own.

``schemas`` tells the layouts apart by their fields, and ``names`` says what the names of files add; ``files`` reads them
from JSON, JSON Lines and CSV files beside their images (those of Hugging Face data sets are read by
``data.huggingface``); ``questions`` makes a data set of what was read. ``word_order`` draws the shuffled captions of the
order sets.
"""

from clipbench.data.contrasts.questions import ImageKey, Question
from clipbench.data.contrasts.schemas import schema_of
from clipbench.data.contrasts.word_order import order_contrasts, shuffled, words

__all__ = ["ImageKey", "Question", "order_contrasts", "schema_of", "shuffled", "words"]
