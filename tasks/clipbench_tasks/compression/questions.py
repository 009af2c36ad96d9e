"""The questions of compression: captions that look for images, images that look for captions, and images that are classified."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import DataError
from clipbench.metrics import chance_recall_at_k, class_scores, cross_ranks, recall_at_k, top_k_credit
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, counted
from clipbench_tasks.class_prompts import class_vectors, prompt_vectors

Stored = Float32[np.ndarray, "n_stored dim"]
Queries = Float32[np.ndarray, "n_queries dim"]
Rows = slice | Bool[np.ndarray, " n"]
Credits = Float64[np.ndarray, " n_asked"]
ALL = slice(None)

SAMPLED_IMAGES = 5_000
"""Images, a seeded sample of a larger set, that are asked about, with their captions."""
N_FOLDS = 5
"""Parts of the images that are classified."""


class Question(NamedTuple):
    """A metric, the vectors that it compares, and how a query's answer is credited."""

    name: str
    ids: np.ndarray
    """Of the samples."""
    images: Int64[np.ndarray, " n"]
    """Row of each sample's image in the data set."""
    clusters: Shaped[np.ndarray, " n"]
    stored: Stored
    queries: Queries
    credit: Callable[[Stored, Queries, Rows], Credits]
    """Credit in [0, 1] of the queries in some rows, from all stored vectors and all queries."""
    chance: float
    folds: Int64[np.ndarray, " n"] | None = None
    """Of queries that are themselves what is stored: what is fitted for those of a fold is fitted on the others."""


def retrieval(dataset: Dataset, embedder: Embedder, rng: np.random.Generator, notes: list[str]) -> list[Question]:
    """Return the questions of captions that look for their image, and of images that look for a caption."""
    assert dataset.captions is not None and dataset.caption_image is not None
    rows = _sampled(np.unique(dataset.caption_image), "images with their captions", rng, notes)
    if len(rows) < 2:
        raise DataError(
            f"data set {dataset.id} has captions of {counted(len(rows), 'image')}: compression needs those of two"
        )
    captions = np.flatnonzero(np.isin(dataset.caption_image, rows))
    owner = np.searchsorted(rows, dataset.caption_image[captions])
    images = unit(embedder.images([dataset.images[row] for row in rows.tolist()]))
    texts = unit(embedder.texts([dataset.captions[row] for row in captions.tolist()]))
    names, caption_names = (
        np.array(dataset.image_ids, object)[rows],
        np.array(dataset.caption_names(), object)[captions],
    )

    def by_caption(stored: Stored, queries: Queries, asked: Rows) -> Credits:
        return recall_at_k(cross_ranks(stored, queries, owner)[1], 1)[asked]

    def by_image(stored: Stored, queries: Queries, asked: Rows) -> Credits:
        return recall_at_k(cross_ranks(queries, stored, owner)[0], 1)[asked]

    return [
        Question(
            name="image_retrieval_recall@1",
            ids="image_retrieval:text:" + caption_names,
            images=rows[owner],
            clusters=names[owner],
            stored=images,
            queries=texts,
            credit=by_caption,
            chance=1 / len(images),
        ),
        Question(
            name="text_retrieval_recall@1",
            ids="text_retrieval:image:" + names,
            images=rows,
            clusters=names,
            stored=texts,
            queries=images,
            credit=by_image,
            chance=chance_recall_at_k(np.bincount(owner), len(texts), 1),
        ),
    ]


def zero_shot(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, notes: list[str], prompts: Prompts | None
) -> Question:
    """Return the question of images, which are stored, that are classified by prompts."""
    dataset.require("class_names", "labels")
    assert dataset.labels is not None and dataset.class_names is not None
    rows = _sampled(np.arange(len(dataset)), "images to classify", rng, notes)
    names, labels = np.array(dataset.image_ids, object)[rows], dataset.labels[rows]
    texts = (prompts or prompts_of(dataset)).render(dataset.class_names)

    def credit(stored: Stored, queries: Queries, asked: Rows) -> Credits:
        scores = class_scores(stored[asked], queries, labels[asked], logit_scale=None)
        return top_k_credit(scores.better, scores.tied)

    return Question(
        name="acc1",
        ids="class:" + names,
        images=rows,
        clusters=names,
        stored=unit(embedder.images([dataset.images[row] for row in rows.tolist()])),
        queries=class_vectors(prompt_vectors(texts, embedder)),
        credit=credit,
        chance=1 / len(dataset.class_names),
        folds=rng.permutation(len(rows)) % N_FOLDS,
    )


def _sampled(
    rows: Int64[np.ndarray, " n"], what: str, rng: np.random.Generator, notes: list[str]
) -> Int64[np.ndarray, " n_sampled"]:
    if len(rows) <= SAMPLED_IMAGES:
        return rows
    notes.append(f"a seeded sample of {count(SAMPLED_IMAGES)} of {count(len(rows))} {what}")
    return np.sort(rng.choice(rows, SAMPLED_IMAGES, replace=False))
