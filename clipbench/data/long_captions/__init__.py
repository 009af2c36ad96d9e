"""Published sets of long captions as they lie on disk once unpacked, one layout a module.

Each has ``fits(path)`` and ``load(path, options, id)``, as all layouts. ``pairs`` makes a data set of what they read.
"""

from clipbench.data.long_captions import dci, docci, iiw, sharegpt4v, urban1k

__all__ = ["dci", "docci", "iiw", "sharegpt4v", "urban1k"]
