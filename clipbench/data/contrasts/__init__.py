"""Contrasts on disk: SugarCrepe, ARO, Winoground, What'sUp, MMVP and the like, and a plain manifest for one's own.

``schemas`` tells the layouts apart by their fields; ``files`` reads them from JSON, JSON Lines and CSV files beside
their images (those of Hugging Face data sets are read by ``data.huggingface``). ``word_order`` draws the shuffled
captions of the order sets.
"""

from clipbench.data.contrasts.word_order import order_contrasts, shuffled, words

__all__ = ["order_contrasts", "shuffled", "words"]
