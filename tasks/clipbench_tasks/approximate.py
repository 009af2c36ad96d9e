"""Retrieval by approximate search: recall@k of what an index finds, and how many of the exact nearest it finds.

For galleries so large that exact ranks take too long. The index knows the first items of each query and no order beyond
them, so that ranks are undefined. Ties are not averaged: items that tie score in the order in which the index finds them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from clipbench.data.dataset import Dataset
from clipbench.errors import UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import chance_recall_at_k
from clipbench.metrics.approximate import approximate_nearest, search_recall
from clipbench.metrics.geometry import check_owners
from clipbench.metrics.similarity import scores_of
from clipbench.results.numbers import count, percent
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.directions import DIRECTIONS
from clipbench_tasks.tables import stacked

SCORING = (
    "Approximate search: R@k is the share of queries with a right answer among the first k that an index finds; "
    "ties score in the order in which it finds them."
)
LEAST_ITEMS = 100_000
"""Images and captions from which on there is an approximate search: fewer are ranked exactly about as fast, or faster."""
LARGEST_K = 1_000
CHECKED = 10
"""Nearest items that are also looked for exactly ..."""
CHECKED_QUERIES = 1_000
"""... for so many queries of each direction."""
NO_ORDER = "approximate search knows no rank beyond its k"
NOT_SEARCHED = "approximate search is between images and captions only"


class _Direction(NamedTuple):
    """The queries of one direction, and what the index finds."""

    name: str
    sample_ids: list[str]
    images: Int64[np.ndarray, " n_queries"]
    clusters: Shaped[np.ndarray, " n_queries"]
    found: Int64[np.ndarray, "n_queries k"]
    """Rows of the items, the nearest first; -1 for none."""
    is_right: Bool[np.ndarray, "n_queries k"]
    right_score: Float32[np.ndarray, " n_queries"]
    """Of the best right item, found or not."""
    first_score: Float64[np.ndarray, " n_queries"]
    """NaN where nothing was found."""
    checked: Float64[np.ndarray, " n_queries"]
    """Share of the exact nearest that were found; NaN for queries that were not checked."""
    n_positives: Int64[np.ndarray, " n_queries"]
    n_gallery: int
    columns: Mapping[str, np.ndarray]


def evaluation(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    ks: tuple[int, ...],
    rng: np.random.Generator,
) -> Evaluation:
    """Return a row for each caption and each image as a query.

    Args:
        images: unit vectors.
        texts: unit vectors.

    Raises:
        UsageError: too few images or captions.
    """
    if min(len(images), len(texts)) < LEAST_ITEMS:
        raise UsageError(
            f'search = "faiss" is for {count(LEAST_ITEMS)} images and captions or more, and {dataset.id} has'
            f" {count(len(images))} and {count(len(texts))}: exact search of so few is faster, leave it out"
        )
    directions = list(_directions(dataset, images, texts, max(*ks, CHECKED), rng))
    measures: dict[str, Measure] = {}
    for direction in directions:
        measures |= _measures(direction, ks)
    for name in _unsearched(dataset):
        measures |= _undefined(name, ks)
    return Evaluation(
        samples=stacked(*(_table(direction, ks) for direction in directions)),
        measures=measures,
        scoring=SCORING,
        notes=(_note(directions),),
    )


def definitions(direction: str, ks: tuple[int, ...]) -> dict[str, Definition]:
    """Return the definitions of a direction's metrics."""
    title, queries = DIRECTIONS[direction]
    found = {
        f"{direction}_median_rank": Definition(
            f"{title} median rank, approximate search",
            f"Median rank of the first right answer, over the {queries} that search; unknown to approximate search.",
        )
    }
    is_searched = direction.endswith("retrieval")
    if is_searched:
        found[_search_name(direction)] = Definition(
            f"{title} search recall@{CHECKED}, approximate search",
            f"Share of the {CHECKED} exact nearest items that approximate search finds, over a sample of the {queries}.",
        )
    of = (
        " that approximate search finds" if is_searched else "; undefined, as approximate search does not look for them"
    )
    for k in ks:
        found[recall_name(direction, k)] = Definition(
            f"{title} R@{k}, approximate search",
            f"Share of the {queries} with a right answer among the first {k}{of}.",
            is_headline=is_searched and k == min(ks),
        )
    return found


def recall_name(direction: str, k: int) -> str:
    """Return the key of a recall, which is no key of exact search."""
    return f"{direction}_recall@{k}_approximate"


def _search_name(direction: str) -> str:
    return f"{direction.removesuffix('_retrieval')}_search_recall@{CHECKED}"


def _directions(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    k: int,
    rng: np.random.Generator,
) -> Iterator[_Direction]:
    assert dataset.captions is not None and dataset.caption_image is not None
    owner, captions = dataset.caption_image, np.array([*dataset.captions, ""], object)  # -1, nothing found, is the last
    check_owners(owner, len(images))
    names, rows = np.array(dataset.image_ids, object), np.arange(len(images))
    own = scores_of(images, texts, (owner, np.arange(len(texts))))
    best = np.full(len(images), -np.inf, np.float32)
    np.maximum.at(best, owner, own)

    found = approximate_nearest(texts, images, k)
    yield _Direction(
        name="image_retrieval",
        sample_ids=[f"text:{name}" for name in dataset.caption_names()],
        images=owner,
        clusters=names[owner],
        found=found,
        is_right=found == owner[:, None],
        right_score=own,
        first_score=_first_scores(texts, images, found),
        checked=_checked(texts, images, found, rng),
        n_positives=np.ones(len(texts), np.int64),
        n_gallery=len(images),
        columns={"caption": captions[:-1], "chosen_image": found[:, 0]},
    )
    found = approximate_nearest(images, texts, k)
    yield _Direction(
        name="text_retrieval",
        sample_ids=[f"image:{name}" for name in dataset.image_ids],
        images=rows,
        clusters=names,
        found=found,
        is_right=(np.append(owner, -1)[found] == rows[:, None]),
        right_score=best,
        first_score=_first_scores(images, texts, found),
        checked=_checked(images, texts, found, rng),
        n_positives=np.bincount(owner, minlength=len(images)),
        n_gallery=len(texts),
        columns={"chosen_caption": captions[found[:, 0]]},
    )


def _first_scores(
    queries: Float32[np.ndarray, "n_queries dim"],
    items: Float32[np.ndarray, "n_items dim"],
    found: Int64[np.ndarray, "n_queries k"],
) -> Float64[np.ndarray, " n_queries"]:
    scores = np.full(len(queries), np.nan)
    asked = np.flatnonzero(found[:, 0] >= 0)
    scores[asked] = scores_of(queries, items, (asked, found[asked, 0]))
    return scores


def _checked(
    queries: Float32[np.ndarray, "n_queries dim"],
    items: Float32[np.ndarray, "n_items dim"],
    found: Int64[np.ndarray, "n_queries k"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, " n_queries"]:
    asked = np.sort(rng.choice(len(queries), min(CHECKED_QUERIES, len(queries)), replace=False))
    shares = np.full(len(queries), np.nan)
    shares[asked] = search_recall(found[asked, :CHECKED], queries[asked], items)
    return shares


def _unsearched(dataset: Dataset) -> Iterator[str]:
    """Yield the directions that exact search would measure on the data, and approximate search does not."""
    if dataset.caption_image is not None and (np.bincount(dataset.caption_image) > 1).any():
        yield "text_text"
    if dataset.labels is not None:
        per_class = np.bincount(dataset.labels)
        if per_class.max() > 1 and (per_class > 0).sum() > 1:
            yield "image_image"


def _measures(direction: _Direction, ks: tuple[int, ...]) -> dict[str, Measure]:
    name = direction.name
    measures: dict[str, Measure] = {
        recall_name(name, k): Mean(
            column=recall_name(name, k), chance=chance_recall_at_k(direction.n_positives, direction.n_gallery, k)
        )
        for k in ks
    }
    measures[_search_name(name)] = Mean(column=_search_name(name))
    measures[f"{name}_median_rank"] = _no_rank(NO_ORDER)
    return define(measures, definitions(name, ks))


def _undefined(direction: str, ks: tuple[int, ...]) -> dict[str, Measure]:
    measures: dict[str, Measure] = {
        recall_name(direction, k): Fixed(value=None, reason=NOT_SEARCHED, higher_is_better=True) for k in ks
    }
    measures[f"{direction}_median_rank"] = _no_rank(NOT_SEARCHED)
    return define(measures, definitions(direction, ks))


def _no_rank(reason: str) -> Fixed:
    return Fixed(value=None, reason=reason, unit="rank", higher_is_better=False)


def _table(direction: _Direction, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return one row a query."""
    name, is_right = direction.name, direction.is_right
    place = np.where(is_right.any(axis=1), is_right.argmax(axis=1), is_right.shape[1])
    return {
        "sample_id": np.array([f"{name}:{sample}" for sample in direction.sample_ids], object),
        "direction": np.full(len(place), name, object),
        "cluster": direction.clusters,
        "image": direction.images,
        "margin": 0.5 - place,  # above 0 only where the right item is first
        **direction.columns,
        "right_cosine": direction.right_score.astype(np.float64),
        "chosen_cosine": direction.first_score,
        **{recall_name(name, k): (place < k).astype(np.float64) for k in ks},
        _search_name(name): direction.checked,
    }


def _note(directions: list[_Direction]) -> str:
    shares = [
        f"{percent(float(np.nanmean(each.checked)))} % ({DIRECTIONS[each.name][0].lower()})" for each in directions
    ]
    return (
        f"approximate search: the index finds {' and '.join(shares)} of the {CHECKED} exact nearest items, and R@k is of"
        " what it finds; not comparable with exact search"
    )
