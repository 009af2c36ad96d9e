"""Subsets of a data set: a random, stratified sample of its images, or all images but some."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from clipbench.data.caption_part import CaptionPart
from clipbench.data.dataset import Dataset
from clipbench.data.labels import TrainingPart
from clipbench.data.part import DataPart
from clipbench.data.questions import AttackPart, ContrastPart
from clipbench.errors import DataError, UsageError


def random_subset(dataset: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Return ``n`` random images in their old order, each with all its captions, with a note that says so.

    With labels the sample is stratified: every class has its fraction of it, and at least one image if ``n`` allows. If
    an image has several right classes, its first one counts.
    For contrasts and attacks, ``n`` of each are kept, with their images, and ``n`` of the images that have captions.
    Attacks with labels of another style stay with the usual one on the same object, and so do all images to train on.
    For judged data, ``n`` queries are kept, and all documents, so that the gallery keeps its size. A data set that is
    no larger is returned unchanged. Raises UsageError for an n below 1.
    """
    if n < 1:
        raise UsageError(f"a subset of {n} images: expected 1 or more")
    if dataset.judgements is not None:
        n_queries = len(dataset.judgements.queries.ids)
        if n >= n_queries:
            return dataset
        rows = np.sort(rng.choice(n_queries, n, replace=False))
        note = f"a seeded subset of {n} of {n_queries} queries, which search all documents"
        return replace(dataset, judgements=dataset.judgements.take_queries(rows), notes=(*dataset.notes, note))
    if dataset.contrasts or dataset.attacks:  # a few images may have many of them
        return _limit_items(dataset, n, rng)
    if n >= len(dataset):
        return dataset
    strata = dataset.labels
    if dataset.right_classes is not None:
        strata = dataset.right_classes[:, 0]
    if strata is None:
        kind, rows = "seeded", rng.choice(len(dataset), n, replace=False)
    else:
        classes, counts = np.unique(strata, return_counts=True)
        of_classes = [np.flatnonzero(strata == label) for label in classes]
        shares = zip(of_classes, _shares(counts, n, rng), strict=True)
        kind, rows = (
            "seeded, stratified",
            np.concatenate([rng.choice(class_rows, n, replace=False) for class_rows, n in shares]),
        )
    note = f"a {kind} subset of {n} of {len(dataset)} images"
    return replace(dataset.take(np.sort(rows)), notes=(*dataset.notes, note))


def without_images(dataset: Dataset, rows: Int64[np.ndarray, " n_out"]) -> Dataset:
    """Return the data set without some images, and a note that counts them, or raise DataError if none would be
    left.
    """
    if not len(rows):
        return dataset
    kept_rows = np.setdiff1d(np.arange(len(dataset)), rows)
    if not len(kept_rows):
        first = dataset.image_ids[int(np.min(rows))]
        raise DataError(
            f"data set {dataset.id}: none of its {len(dataset)} images can be read (the first is '{first}')"
        )
    note = f"skipped {len(dataset) - len(kept_rows):,} of {len(dataset):,} images"
    return replace(dataset.take(kept_rows), notes=(*dataset.notes, note))


ITEMS: tuple[type[DataPart], ...] = (ContrastPart, AttackPart, CaptionPart, TrainingPart)
"""Parts of which a number of items is kept, in the order in which they are drawn."""


def _limit_items(dataset: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Return n contrasts, n attacks and n of the images with captions."""
    draws = [part._limit(dataset, n, rng) for part in ITEMS]
    kept_rows = sorted({row for _, rows in draws for row in rows})
    limited = replace(dataset, **{name: value for fields, _ in draws for name, value in fields.items()})
    n_items, n_kept = (len(data.contrasts or ()) + len(data.attacks or ()) for data in (dataset, limited))
    if (n >= len(dataset) or len(kept_rows) == len(dataset)) and n_kept == n_items:
        return dataset
    note = f"a seeded subset: at most {n} of each kind of question ({n_items} in all)"
    has_captions = dataset.caption_image is not None and len(dataset.caption_image) > 0
    note += f" and {n} captioned images" if has_captions else ""
    return replace(limited, notes=(*dataset.notes, note)).take(np.array(kept_rows, np.int64))


def _shares(
    counts: Int64[np.ndarray, " n_classes"], n: int, rng: np.random.Generator
) -> Int64[np.ndarray, " n_classes"]:
    """Return the sample size of each class: one each if ``n`` allows, the rest in proportion by largest remainder."""
    minimum = np.ones_like(counts) if n >= len(counts) else np.zeros_like(counts)
    left = counts - minimum
    total = max(1, int(left.sum()))
    scaled = (n - int(minimum.sum())) * left  # integers throughout: a rounded share could exceed its class
    shares = minimum + scaled // total
    order = np.lexsort((rng.random(len(counts)), -(scaled % total)))  # equal remainders are broken at random
    shares[order[: n - int(shares.sum())]] += 1
    return shares
