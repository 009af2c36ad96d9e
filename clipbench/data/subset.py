"""Subsets of a data set: a random, stratified sample of its images, or all images but some."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from clipbench.data.dataset import Dataset
from clipbench.data.questions import Attack
from clipbench.errors import DataError, UsageError

T = TypeVar("T")


def random_subset(dataset: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Return ``n`` random images in their old order, each with all its captions, with a note that says so.

    With labels the sample is stratified: every class has its share of it, and at least one image if ``n`` allows.
    Of contrasts and attacks, ``n`` of each are kept, with their images, and ``n`` of the images that have captions;
    attacks with labels of another style stay with the usual one on the same object, and so do all images to train on.
    Of judged data, ``n`` queries are kept, and all documents: what is searched stays as large.
    A data set that is no larger is returned unchanged. Raises UsageError for an n below 1.
    """
    if n < 1:
        raise UsageError(f"a subset of {n} images: expected 1 or more")
    if dataset.judgements is not None:
        n_queries = len(dataset.judgements.queries.ids)
        if n >= n_queries:
            return dataset
        rows = np.sort(rng.choice(n_queries, n, replace=False)).astype(np.int64)
        note = f"a seeded subset of {n} of {n_queries} queries; all documents are searched"
        return replace(dataset, judgements=dataset.judgements.take_queries(rows), notes=(*dataset.notes, note))
    if dataset.contrasts or dataset.attacks:  # a few images may have many of them
        return _limited_items(dataset, n, rng)
    if n >= len(dataset):
        return dataset
    if dataset.labels is None:
        kind, rows = "seeded", rng.choice(len(dataset), n, replace=False)
    else:
        classes, counts = np.unique(dataset.labels, return_counts=True)
        of_classes = [np.flatnonzero(dataset.labels == label) for label in classes]
        shares = zip(of_classes, _shares(counts, n, rng), strict=True)
        kind, rows = "seeded, stratified", np.concatenate([rng.choice(own, n, replace=False) for own, n in shares])
    note = f"a {kind} subset of {n} of {len(dataset)} images"
    return replace(dataset.take(np.sort(rows).astype(np.int64)), notes=(*dataset.notes, note))


def without_images(dataset: Dataset, rows: Int64[np.ndarray, " n_out"]) -> Dataset:
    """Return the data set without some images, and a note that counts them; raise DataError if none would be left."""
    if not len(rows):
        return dataset
    kept_rows = np.setdiff1d(np.arange(len(dataset)), rows)
    if not len(kept_rows):
        first = dataset.image_ids[int(np.min(rows))]
        raise DataError(
            f"data set {dataset.id} has no image that can be read: none of {len(dataset)}, the first '{first}'"
        )
    note = f"skipped {len(dataset) - len(kept_rows):,} of {len(dataset):,} images"
    return replace(dataset.take(kept_rows), notes=(*dataset.notes, note))


def _limited_items(dataset: Dataset, n: int, rng: np.random.Generator) -> Dataset:
    """Return n contrasts, n attacks and n of the images with captions."""
    contrasts, attacks = _some(dataset.contrasts, n, rng), _some_attacks(dataset.attacks, n, rng)
    captioned = [] if dataset.caption_image is None else np.unique(dataset.caption_image).tolist()
    kept_rows = {row for item in (*(contrasts or ()), *(attacks or ())) for row in item.images}
    kept_rows |= set(_some(captioned, n, rng) or ())
    kept_rows |= set() if dataset.is_training is None else set(np.flatnonzero(dataset.is_training).tolist())
    n_items = len(dataset.contrasts or ()) + len(dataset.attacks or ())
    is_whole = n >= len(dataset) or len(kept_rows) == len(dataset)
    if is_whole and len(contrasts or ()) + len(attacks or ()) == n_items:
        return dataset
    note = f"a seeded subset: at most {n} of each kind of question ({n_items} in all)"
    note += f" and {n} captioned images" if captioned else ""
    subset = replace(dataset, contrasts=contrasts, attacks=attacks, notes=(*dataset.notes, note))
    return subset.take(np.array(sorted(kept_rows), np.int64))


def _some_attacks(attacks: Sequence[Attack] | None, n: int, rng: np.random.Generator) -> list[Attack] | None:
    """Return at most n attacks of the usual style, and the same words on the same objects in other styles."""
    usual = [attack for attack in attacks or () if not attack.condition]
    if not usual or len(attacks or ()) <= n:
        return _some(attacks, n, rng)
    chosen = _some(usual, n, rng) or []
    pairs = {(attack.object, attack.word) for attack in chosen if attack.object is not None}
    ids = {attack.id for attack in chosen}
    return [
        attack
        for attack in attacks or ()
        if attack.id in ids or (attack.condition and (attack.object, attack.word) in pairs)
    ]


def _some(items: Sequence[T] | None, n: int, rng: np.random.Generator) -> list[T] | None:
    if items is None or len(items) <= n:
        return None if items is None else list(items)
    return [items[row] for row in np.sort(rng.choice(len(items), n, replace=False)).tolist()]


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
