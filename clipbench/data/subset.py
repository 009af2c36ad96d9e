"""Parts of a data set: a fair sample of its pictures, or all but some."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Dataset
from clipbench.errors import DataError, UsageError


def limited(dataset: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Return ``n`` random pictures in their old order, each with all its captions, and a note that says so.

    With labels the sample is stratified: every class has its share of it, and at least one picture if ``n`` allows.
    A data set that is no larger comes back as it is.

    Raises:
        UsageError: n is below 1.
    """
    if n < 1:
        raise UsageError(f"a subset of {n} pictures: expected 1 or more")
    if n >= len(dataset):
        return dataset
    labels = dataset.labels
    rows = rng.choice(len(dataset), n, replace=False) if labels is None else _stratified(labels, n, rng)
    kind = "seeded" if labels is None else "seeded, stratified"
    note = f"a {kind} subset of {n} of {len(dataset)} pictures"
    return replace(dataset.take(np.sort(rows).astype(np.int64)), notes=(*dataset.notes, note))


def without(dataset: Dataset, rows: Int64[np.ndarray, " n_out"], *, why: str = "could not be read") -> Dataset:
    """Return the data set without some pictures, and a note that counts them and names the first.

    Raises:
        DataError: none would be left.
    """
    if not len(rows):
        return dataset
    kept = np.setdiff1d(np.arange(len(dataset)), rows)
    first = dataset.image_ids[int(np.min(rows))]
    said = f"{len(dataset) - len(kept)} of {len(dataset)} pictures {why}, the first '{first}'"
    if not len(kept):
        raise DataError(f"data set {dataset.id}: {said}: none is left")
    return replace(dataset.take(kept), notes=(*dataset.notes, f"{said}: left out"))


def _stratified(
    labels: Int64[np.ndarray, " n_images"], n: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n_kept"]:
    classes, counts = np.unique(labels, return_counts=True)
    shares = _shares(counts, n, rng)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), share, replace=False)
        for label, share in zip(classes, shares, strict=True)
    ]
    return np.concatenate(chosen)


def _shares(
    counts: Int64[np.ndarray, " n_classes"], n: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n_classes"]:
    """Return how many each class gives: one each if ``n`` allows, the rest in proportion by largest remainder.

    Example:
        >>> _shares(np.array([80, 15, 5]), 10, np.random.default_rng(0))
        array([7, 2, 1])
    """
    each = np.ones_like(counts) if n >= len(counts) else np.zeros_like(counts)
    left = counts - each
    total = max(1, int(left.sum()))
    scaled = (n - int(each.sum())) * left  # whole numbers throughout: a rounded share could exceed its class
    shares = each + scaled // total
    order = np.lexsort((rng.random(len(counts)), -(scaled % total)))  # equal remainders: by lot
    shares[order[: n - int(shares.sum())]] += 1
    return shares
