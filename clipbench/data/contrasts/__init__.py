"""Contrasts on disk: SugarCrepe, ARO, Winoground, What'sUp, MMVP and the like, and a plain manifest for one's own.

``schemas`` distinguishes the layouts by their fields. ``contrast_files`` reads them from JSON, JSON Lines and CSV files
next to their images (``data.huggingface_data`` reads the Hugging Face data sets). ``word_order`` draws the shuffled
captions of the order sets.
"""

from clipbench.data.contrasts.word_order import order_contrasts, shuffle_words, words

__all__ = ["order_contrasts", "shuffle_words", "words"]
