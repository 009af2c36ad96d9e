"""The directions of retrieval: which queries search which gallery, and what they find."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from clipbench.data.dataset import Dataset
from clipbench.metrics import Answers, Ranks, cross_answers, expected_rank, group_answers
from clipbench.stats.clusters import joined, sharing
from clipbench_tasks.neighbours import Asked, Items, neighbours
from clipbench_tasks.queries import Draw

DIRECTIONS = {
    "image_retrieval": ("Text-to-image", "captions"),
    "text_retrieval": ("Image-to-text", "images"),
    "image_image": ("Image-to-image", "images"),
    "text_text": ("Text-to-text", "captions"),
}
"""A direction as papers name it, and its queries."""


class Direction(NamedTuple):
    """The queries of one direction, such as text queries over images, and their results; a sample of all queries, or all."""

    name: str
    """Prefix of its metrics: ``image_retrieval``, ``text_retrieval``, ``image_image`` or ``text_text``."""
    sample_ids: list[str]
    images: Int64[np.ndarray, " n_queries"]
    """Row of the image that each query is or belongs to."""
    clusters: Shaped[np.ndarray, " n_queries"]
    """Name of the cluster of each query: its image; of images that search among images, those that find each other; and of
    captions that search among captions, the images that share one."""
    answers: Answers
    n_positives: Int64[np.ndarray, " n_queries"]
    n_gallery: int
    n_all: int
    """Queries that these are drawn from."""
    columns: Mapping[str, np.ndarray]
    """Sample columns of the query and the first item: texts, and rows of images in columns named ``..._image``."""
    neighbours: Mapping[str, np.ndarray]
    """The nearest items to the worst failures."""

    @property
    def ranks(self) -> Ranks:
        """Rank of each query's best right item."""
        return self.answers.ranks


def directions_of(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"] | None,
    draw: Draw,
) -> Iterator[Direction]:
    """Yield the directions that the data allow, each with the queries that are drawn for it.

    Args:
        images: unit vectors.
        texts: unit vectors of the captions, None for data without.
        draw: takes the ids of a direction's queries.
    """
    if texts is not None and dataset.captions is not None and dataset.caption_image is not None:
        yield from _across(dataset, images, texts, draw)
        if (np.bincount(dataset.caption_image) > 1).any():
            yield _among_texts(dataset, texts, draw)
    per_class = np.bincount([] if dataset.labels is None else dataset.labels)
    if dataset.labels is not None and per_class.max() > 1 and (per_class > 0).sum() > 1:
        yield _among_images(dataset, images, draw)


def _across(
    dataset: Dataset, images: Float32[np.ndarray, "n_images dim"], texts: Float32[np.ndarray, "n_texts dim"], draw: Draw
) -> Iterator[Direction]:
    """Yield the directions of captions that look for their image, and of images that look for a caption."""
    assert dataset.captions is not None and dataset.caption_image is not None
    owner, captions = dataset.caption_image, np.array(dataset.captions, object)
    names, rows = np.array(dataset.image_ids, object), np.arange(len(images))
    caption_names = dataset.caption_names()
    of_texts, of_images = draw(caption_names), draw(dataset.image_ids)
    is_sample = len(of_texts) < len(texts) or len(of_images) < len(images)
    by_image, by_text = cross_answers(images, texts, owner, (of_images, of_texts) if is_sample else None)
    ids, image_of = _ids("text", caption_names, of_texts), owner[of_texts]
    yield Direction(
        name="image_retrieval",
        sample_ids=ids,
        images=image_of,
        clusters=names[image_of],
        answers=by_text,
        n_positives=np.ones(len(of_texts), np.int64),
        n_gallery=len(images),
        n_all=len(texts),
        columns={"caption": captions[of_texts], "chosen_image": by_text.first},
        neighbours=_nearest(
            Asked(ids, _rows(texts, of_texts), image_of), by_text, Items(images, rows, _image_texts(dataset), rows)
        ),
    )
    ids = _ids("image", dataset.image_ids, of_images)
    yield Direction(
        name="text_retrieval",
        sample_ids=ids,
        images=of_images,
        clusters=names[of_images],
        answers=by_image,
        n_positives=np.bincount(owner, minlength=len(images))[of_images],
        n_gallery=len(texts),
        n_all=len(images),
        columns={"caption": captions[by_image.right], "chosen_caption": captions[by_image.first]},
        neighbours=_nearest(
            Asked(ids, _rows(images, of_images), of_images), by_image, Items(texts, owner, dataset.captions)
        ),
    )


def _among_texts(dataset: Dataset, texts: Float32[np.ndarray, "n_texts dim"], draw: Draw) -> Direction:
    """Return the direction of captions that look for another of their image."""
    assert dataset.captions is not None and dataset.caption_image is not None
    owner, captions = dataset.caption_image, np.array(dataset.captions, object)
    caption_names = dataset.caption_names()
    queries, answers, n_positives, n_all = _group_answers(texts, owner, caption_names, draw)
    # Two equal captions of different images come first for each other: both miss.
    clusters = np.array(dataset.image_ids, object)[sharing(owner, captions, len(dataset))[owner[queries]]]
    ids = _ids("text", caption_names, queries)
    return Direction(
        name="text_text",
        sample_ids=ids,
        images=owner[queries],
        clusters=clusters,
        answers=answers,
        n_positives=n_positives,
        n_gallery=len(texts) - 1,
        n_all=n_all,
        columns={
            "caption": captions[queries],
            "right_caption": captions[answers.right],
            "chosen_caption": captions[answers.first],
        },
        neighbours=_nearest(
            Asked(ids, _rows(texts, queries), owner[queries], list(queries[:, None])),
            answers,
            Items(texts, owner, dataset.captions),
        ),
    )


def _among_images(dataset: Dataset, images: Float32[np.ndarray, "n_images dim"], draw: Draw) -> Direction:
    """Return the direction of images that look for another of their class."""
    assert dataset.labels is not None
    queries, answers, n_positives, n_all = _group_answers(images, dataset.labels, dataset.image_ids, draw)
    ids = _ids("image", dataset.image_ids, queries)
    return Direction(
        name="image_image",
        sample_ids=ids,
        images=queries,
        # Two images that are each other's best right answer are found, or missed, together.
        clusters=np.array(dataset.image_ids, object)[joined(queries, answers.right, len(images))[queries]],
        answers=answers,
        n_positives=n_positives,
        n_gallery=len(images) - 1,
        n_all=n_all,
        columns={
            "right_image": answers.right,
            "chosen_image": answers.first,
            **_classes(dataset, queries, answers.first),
        },
        neighbours=_nearest(
            Asked(ids, _rows(images, queries), dataset.labels[queries], list(queries[:, None])),
            answers,
            Items(images, dataset.labels, _image_texts(dataset), np.arange(len(images))),
        ),
    )


def _group_answers(
    vectors: Float32[np.ndarray, "n dim"], groups: Int64[np.ndarray, " n"], ids: Sequence[str], draw: Draw
) -> tuple[Int64[np.ndarray, " n_queries"], Answers, Int64[np.ndarray, " n_queries"], int]:
    """Return the fields of ``group_answers`` of the queries that are drawn, and the number that they are drawn from."""
    having = np.flatnonzero(np.bincount(groups)[groups] > 1)
    queries = having[draw([ids[row] for row in having.tolist()])]
    found = group_answers(vectors, groups, queries if len(queries) < len(having) else None)
    return *found, len(having)


def _nearest(asked: Asked, answers: Answers, items: Items) -> dict[str, np.ndarray]:
    """Return what was nearest to the queries that failed by the widest margins."""
    margin = answers.right_score.astype(np.float64) - answers.first_score
    return neighbours(asked, items, margin=margin, is_failure=expected_rank(answers.ranks) > 1)


def _image_texts(dataset: Dataset) -> list[str]:
    """Return the first caption of each image, or else its class; empty where it has neither."""
    if dataset.captions is not None and dataset.caption_image is not None:
        first = dict(zip(reversed(dataset.caption_image.tolist()), reversed(dataset.captions), strict=True))
        return [first.get(row, "") for row in range(len(dataset))]
    if dataset.labels is not None and dataset.class_names is not None:
        return [dataset.class_names[label] for label in dataset.labels.tolist()]
    return [""] * len(dataset)


def _classes(
    dataset: Dataset, queries: Int64[np.ndarray, " n_queries"], first: Int64[np.ndarray, " n_queries"]
) -> dict[str, np.ndarray]:
    """Return the classes of image queries and of the first images; no columns where classes have no names."""
    if dataset.labels is None or dataset.class_names is None:
        return {}
    names = np.array(dataset.class_names, object)
    return {"label": names[dataset.labels[queries]], "chosen_label": names[dataset.labels[first]]}


def _ids(kind: str, names: Sequence[str], rows: Int64[np.ndarray, " n"]) -> list[str]:
    return [f"{kind}:{names[row]}" for row in rows.tolist()]


def _rows(
    vectors: Float32[np.ndarray, "n dim"], rows: Int64[np.ndarray, " n_rows"]
) -> Float32[np.ndarray, "n_rows dim"]:
    """Return some vectors; all of them are not copied."""
    return vectors if len(rows) == len(vectors) else vectors[rows]
