"""Published sets of long captions as they are laid out on disk once unpacked, one layout a module.

Each has ``fits(path)`` and ``load(path, options, id)``, like all layouts; ``pairs`` holds what they share.
"""

from clipbench.data.long_captions import dci, docci, iiw, sharegpt4v, urban1k

__all__ = ["dci", "docci", "iiw", "sharegpt4v", "urban1k"]
