"""The highest R@1 that any model can reach if captions or images are duplicates.

A model gives equal items equal vectors. So of two images with one caption, a search by that caption finds only one
first; and of two equal images that tie, a search finds the right one first in half of the orders.
"""

from collections.abc import Sequence

import numpy as np

from clipbench.results.numbers import count, percent
from clipbench_tasks.tables import Column, Rows


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
    texts, images = _codes(captions), _codes(digests)  # equal items have equal codes
    n_sharing = _n_images_sharing_a_text(texts, owner)
    n_equal = int((np.bincount(images)[images] > 1).sum())
    n_of_cause = {"share a caption": n_sharing, "are equal to another": n_equal}
    causes = " and ".join(f"{count(n)} images {cause}" for cause, n in n_of_cause.items() if n)
    (text, image), n_pairs = np.unique(np.stack([texts, images[owner]]), axis=1, return_counts=True)
    highest_recalls = (
        _highest_recall(text, n_pairs / np.bincount(images)[image], len(texts)),
        _highest_recall(image, n_pairs / np.bincount(texts)[text], n_images),
    )
    limits = []
    for recall in highest_recalls:
        is_reachable = percent(recall) == percent(1.0)
        limits.append("" if is_reachable else f"R@1 cannot exceed {percent(recall)} %: {causes}")
    return limits


def _codes(names: Sequence[str]) -> Rows:
    return np.unique(np.array(names, object), return_inverse=True)[1]


def _n_images_sharing_a_text(texts: Rows, owner: Rows) -> int:
    """Return how many images have a text that another image has too."""
    of_text, of_image = np.unique(np.stack([texts, owner]), axis=1)
    n_owners = np.bincount(of_text)
    return len(np.unique(of_image[n_owners[of_text] > 1]))


def _highest_recall(query: Rows, n_right: Column, n_queries: int) -> float:
    """Return the R@1 of a model that ranks each query's best item first.

    Args:
        query: code of a query, for each item that it matches.
        n_right: number of equal queries that are right with this item, divided by the number of equal items.
        n_queries: number of all queries.
    """
    hits = np.zeros(query.max() + 1)
    np.maximum.at(hits, query, n_right)
    return float(hits.sum() / n_queries)
