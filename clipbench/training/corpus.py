"""From a data reference to pairs to train on, and others held out to measure on."""

from dataclasses import replace

import numpy as np

from clipbench.data import DataOptions, Dataset, load_data
from clipbench.errors import DataError, UnknownSplit, UsageError
from clipbench.training.pairs import HELD_OUT, SCENES, Corpus, DatasetPairs
from clipbench.training.scene_pairs import scene_corpus


def load_corpus(data: str, options: DataOptions, *, seed: int, size: int) -> Corpus:
    """Return the pairs that a data reference names, those of the ``train`` split if there is one and no other is asked for.

    Args:
        seed: decides which images are held out, and which scenes are drawn.
        size: side in pixels of scenes, which are drawn at the size that the model sees.

    Raises:
        UsageError: the reference or an option is wrong, or the data have splits, but no ``train``, and none is named.
        DataError: the data have no captions, or too few images.
    """
    if data.lower() == SCENES:
        return scene_corpus(options, size=size, seed=seed)
    dataset = _load_split(data, options)
    if dataset.captions is None:
        raise DataError(
            f"data set {dataset.id} has no captions to train on: name their column with --data-option caption=COLUMN,"
            " or give other data"
        )
    n_images = len(dataset)
    n_held_out = min(HELD_OUT, n_images // 10)
    if n_held_out < 2:
        raise DataError(f"data set {dataset.id} has {n_images} images: expected at least 20, a tenth to measure on")
    order = np.random.default_rng(seed).permutation(n_images)
    held_out, train = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    pairs, held_out_pairs = DatasetPairs(dataset.take(train)), DatasetPairs(dataset.take(held_out))
    return Corpus(pairs, held_out_pairs, may_crop=True, notes=dataset.notes)


def _load_split(data: str, options: DataOptions) -> Dataset:
    """Return a data set, the split ``train`` by default: loaders take ``test``, which is right for measuring only."""
    if "split" not in options.options:
        try:
            return load_data(data, replace(options, options={**options.options, "split": "train"}))
        except UnknownSplit:
            raise
        except UsageError:
            pass  # the data have no splits, or the reference names one; any other mistake comes up again below
    return load_data(data, options)
