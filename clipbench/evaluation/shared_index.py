"""May vectors of two models be in one index? Exact recall of one's queries in a gallery of the other's vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.data import DataOptions, Dataset
from clipbench.data.dataset_loading import adapt_to_form, load_data
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.errors import UsageError
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.plan import RunOptions, task_class
from clipbench.metrics.ranking import cross_ranks, recall_at_k
from clipbench.metrics.similarity import Vectors
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import change, change_interval, percent, quantity
from clipbench.results.table import Table, columns
from clipbench.seeding import generator
from clipbench.stats.intervals import DIFFERENCES, SHARES, mean_interval
from clipbench.stats.noninferiority import least_queries, walk

K = 10
"""Results of a query that count."""
MARGIN = 0.01
"""Loss of recall below which both models may share an index."""
Mix = Literal["first_alone", "second_on_first", "half_migrated", "second_alone"]
MIXES: Mapping[Mix, str] = {
    "first_alone": "queries and gallery of the first",
    "second_on_first": "queries of the second, gallery of the first",
    "half_migrated": "queries of the second, half of the gallery migrated to it",
    "second_alone": "queries and gallery of the second",
}
"""What is searched by what. The first comes from before a change of the model, the second from after it."""
MIXED: tuple[Mix, Mix] = ("second_on_first", "half_migrated")


@dataclass(frozen=True, kw_only=True)
class RecallInIndex:
    """Recall@10 of text queries in one mix of queries and gallery."""

    value: float
    low: float | None
    high: float | None
    change: float
    """Minus the recall of the first model by itself."""
    change_low: float | None
    change_high: float | None


@dataclass(frozen=True, kw_only=True)
class SharedIndex:
    """What one index for both models would find."""

    data: str
    n_queries: int
    n_gallery: int
    recall_at_10: Mapping[Mix, RecallInIndex]
    most_lost: float
    """Upper bound of the loss by both mixes, missed with a chance of 5 %."""
    may_share: bool
    """True if no loss above 1 point is possible in either mix, at 95 %."""

    @property
    def worst(self) -> RecallInIndex:
        """The mix that finds least."""
        return min((self.recall_at_10[mix] for mix in MIXED), key=lambda recall: recall.value)

    @property
    def sentence(self) -> str:
        """What to do, in a sentence."""
        before, worst = percent(self.recall_at_10["first_alone"].value), self.worst
        if self.may_share:
            lost = change(max(0.0, self.most_lost), "fraction", is_signed=False)
            return f"Both may share one index on {self.data}: recall@{K} of {before} % falls by at most {lost}"
        if worst.change_high is not None and worst.change_high < 0:
            return f"Re-embed: recall@{K} falls from {before} to {percent(worst.value)} %"
        loss = change(worst.change, "fraction")
        needed = least_queries(MARGIN, 1)
        return (
            f"Not decided: recall@{K} of {before} % changes by {loss}, and {self.n_queries:,} queries do not exclude a"
            f" loss of more than {change(MARGIN, 'fraction', is_signed=False)}. {needed} or more may"
        )

    def table(self) -> Table:
        """Return recall and change of each mix."""
        rows = []
        for mix, recall in self.recall_at_10.items():
            bounds = "–" if recall.low is None else f"[{percent(recall.low)}, {percent(recall.high)}]"
            moved = ["", ""]
            if mix != "first_alone":
                moved = [
                    change(recall.change, "fraction"),
                    change_interval(recall.change_low, recall.change_high, "fraction"),
                ]
            rows.append([MIXES[mix], quantity(recall.value, "fraction"), bounds, *moved])
        headers = columns("search", numbers=[f"R@{K}", "interval", "change", "interval"])
        title = f"Recall@{K} on {self.data}, {self.n_queries:,} texts in {self.n_gallery:,} images"
        return Table(title=title, columns=headers, rows=rows)


@dataclass(frozen=True, kw_only=True)
class IndexData:
    """Images and their captions."""

    dataset: Dataset
    owners: Int64[np.ndarray, " n_captions"]
    """Row of each caption's image."""


def load_index_data(data: str | Dataset, loading: DataOptions, *, limit: int | None = None, seed: int = 0) -> IndexData:
    """Return data with captions, or raise ClipbenchError for data without them."""
    of_captions = replace(loading, form=task_class("retrieval").data_form)
    dataset = adapt_to_form(data, of_captions) if isinstance(data, Dataset) else load_data(data, of_captions)
    dataset.require("captions", "caption_image")
    cut = Datasets(RunOptions(data=of_captions, seed=seed, limit=limit)).cut(dataset).whole()
    assert cut.caption_image is not None
    if len(cut) <= K:
        raise UsageError(f"{dataset.id} has {len(cut)} images: expected more than {K}, so that recall@{K} can differ")
    return IndexData(dataset=cut, owners=cut.caption_image)


def measure_shared_index(first: Embedder, second: Embedder, data: IndexData, *, seed: int = 0) -> SharedIndex:
    """Return the recall of queries and galleries of two models, with paired intervals.

    Captions are the queries, images the gallery. In the half-migrated gallery, a random half of the images has vectors
    of the second model. Captions of one image are one cluster.

    Raises:
        ClipbenchError: an image cannot be read, or a model fails.
    """
    texts, galleries = zip(*(_scoring_vectors(embedder, data.dataset) for embedder in (first, second)), strict=True)
    is_migrated = np.zeros(len(galleries[0]), bool)
    order = generator(seed, "doctor", "half migrated").permutation(len(is_migrated))
    is_migrated[order[: len(order) // 2]] = True
    half = np.where(is_migrated[:, None], galleries[1], galleries[0])
    hits = {
        "first_alone": _hits(texts[0], galleries[0], data.owners),
        "second_on_first": _hits(texts[1], galleries[0], data.owners),
        "half_migrated": _hits(texts[1], half, data.owners),
        "second_alone": _hits(texts[1], galleries[1], data.owners),
    }
    return shared_index(hits, data.owners, name=data.dataset.id, n_gallery=len(half))  # type: ignore[arg-type]


def shared_index(
    hits: Mapping[Mix, Float64[np.ndarray, " n_queries"]],
    owners: Int64[np.ndarray, " n_queries"],
    *,
    name: str,
    n_gallery: int,
) -> SharedIndex:
    """Return recall, intervals and the decision from the credit of each query in each mix.

    Args:
        hits: in [0, 1], ties in random order.
        owners: the image of each query, whose captions are one cluster.
    """
    before = hits["first_alone"]
    bounds: list[float] = []
    passed: list[str] = []
    for mix in MIXED:  # both have to pass, so that each may have the whole error rate
        walked = walk([{mix: hits[mix] - before}], MARGIN, clusters=owners)
        bounds.append(walked.most_lost[mix])
        passed += walked.passed
    return SharedIndex(
        data=name,
        n_queries=len(owners),
        n_gallery=n_gallery,
        recall_at_10={mix: _recall(credits, before, owners) for mix, credits in hits.items()},
        most_lost=max(bounds),
        may_share=len(passed) == len(MIXED),
    )


def _scoring_vectors(embedder: Embedder, dataset: Dataset) -> tuple[Vectors, Vectors]:
    """Return vectors of captions as queries and of images as documents."""
    texts = embedder.encode(TEXT, list(dataset.captions or ()), "query")
    images = embedder.encode(IMAGE, dataset.images, "document")
    return np.asarray(embedder.scoring_vectors(texts)), np.asarray(embedder.scoring_vectors(images))


def _hits(
    queries: Vectors, gallery: Vectors, owners: Int64[np.ndarray, " n_queries"]
) -> Float64[np.ndarray, " n_queries"]:
    _, by_text = cross_ranks(np.ascontiguousarray(gallery, np.float32), queries, owners)
    return recall_at_k(by_text, K)


def _recall(
    credits: Float64[np.ndarray, " n_queries"],
    before: Float64[np.ndarray, " n_queries"],
    owners: Int64[np.ndarray, " n_queries"],
) -> RecallInIndex:
    interval = mean_interval(credits, clusters=owners, within=SHARES)
    difference = credits - before
    moved = mean_interval(difference, clusters=owners, within=DIFFERENCES)
    return RecallInIndex(
        value=float(credits.mean()),
        low=interval.low,
        high=interval.high,
        change=float(difference.mean()),
        change_low=moved.low,
        change_high=moved.high,
    )
