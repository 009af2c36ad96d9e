"""The highest R@1 that any model can reach if captions or images are duplicates.

A model gives equal items equal vectors. So of two images with one caption, a search by that caption finds only one
first; and of two equal images that tie, a search finds the right one first in half of the orders.
"""

from collections.abc import Sequence

import numpy as np

from clipbench.results.numbers import count, percent
from clipbench_tasks.tables import Rows


def recall_limits(captions: Sequence[str], digests: Sequence[str], owner: Rows, n_images: int) -> list[str]:
    """Return sentences on the limits of text-to-image and image-to-text R@1, with causes, empty if it may be 100 %.

    Equal queries have the same first item, one of n that are equal. The number of these queries for which it is right
    is the number that have such an item for an answer, divided by n.

    Args:
        digests: content hashes of the images, then of distractors.
        owner: the image of each caption.
        n_images: without distractors.

    Example:
        >>> recall_limits(["a frog", "a frog", "a cat"], ["1", "2", "3"], np.array([0, 1, 2]), 3)[0]
        'R@1 cannot exceed 66.7 %: 2 images share a caption'
    """
    texts, images = (np.unique(np.array(names, object), return_inverse=True)[1] for names in (captions, digests))
    (text, image), n_right = np.unique(np.stack([texts, images[owner]]), axis=1, return_counts=True)
    of_text, of_image = np.unique(np.stack([texts, owner]), axis=1)
    n_sharing = len(np.unique(of_image[np.bincount(of_text)[of_text] > 1]))
    n_equal = {"share a caption": n_sharing, "are equal to another": int((np.bincount(images)[images] > 1).sum())}
    causes = " and ".join(f"{count(n)} images {relation}" for relation, n in n_equal.items() if n)
    limits = []
    for query, right, items, n_queries in ((text, image, images, len(texts)), (image, text, texts, n_images)):
        hits = np.zeros(query.max() + 1)
        np.maximum.at(hits, query, n_right / np.bincount(items)[right])
        highest = percent(float(hits.sum() / n_queries))
        limits.append("" if highest == percent(1.0) else f"R@1 cannot exceed {highest} %: {causes}")
    return limits
