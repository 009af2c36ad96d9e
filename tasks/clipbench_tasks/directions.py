"""The directions of retrieval: which queries search which gallery, and what they find.

A gallery that is too large for all queries is searched by a random sample of them: each searches all of it, and its
rank is exact.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from clipbench.data.dataset import Dataset
from clipbench.metrics.ranking import Answers, Ranks, answers_with_distractors, cross_answers, group_answers
from clipbench.metrics.relevance import Relevant
from clipbench.metrics.result_lists import ListedItems, list_answers, take_queries
from clipbench.models.protocol import SearchResults, Sides
from clipbench.results.numbers import count, listed
from clipbench.stats.clusters import clusters_by_links, clusters_by_shared_item
from clipbench.stats.estimators import Samples
from clipbench_tasks.duplicates import recall_limits
from clipbench_tasks.listed import Lists, answers_of_lists, column_of_first
from clipbench_tasks.tables import QuerySet, Rows, SearchedItems, Table, Vectors, captions_of, items_at, text_column

DIRECTIONS = {
    "image_retrieval": ("Text-to-image", "captions"),
    "text_retrieval": ("Image-to-text", "images"),
    "image_image": ("Image-to-image", "images"),
    "text_text": ("Text-to-text", "captions"),
}
"""A direction as papers name it, and its queries."""
Draw = Callable[[Sequence[str]], Rows]
"""Returns the rows of the queries that search, from the ids of all."""
Found = TypeVar("Found")
Find = Callable[..., tuple[Found, Found]]


def draw_queries(ids: Sequence[str], at_most: int | None, rng: np.random.Generator) -> Rows:
    """Return the rows of a sample of queries, ascending: a random sample that depends on ids, not on their order.

    Args:
        ids: ids of all queries.
        at_most: None for all.

    Example:
        >>> draws = [draw_queries(ids, 2, np.random.default_rng(0)) for ids in (["a", "b", "c"], ["b", "c", "a"])]
        >>> [rows.tolist() for rows in draws]  # b and c, wherever they stand
        [[1, 2], [0, 1]]
    """
    if at_most is None or at_most >= len(ids):
        return np.arange(len(ids))
    by_id = np.argsort(text_column(ids), kind="stable")
    return np.sort(by_id[rng.choice(len(ids), at_most, replace=False)])


def sample_notes(sizes: Iterable[tuple[int, int, str]]) -> tuple[str, ...]:
    """Return a note on the queries that are a sample, empty if all queries search.

    Args:
        sizes: the number of queries of each direction, the number that they are drawn from, and their plural noun.

    Example:
        >>> sample_notes([(500, 25_000, "captions"), (400, 400, "images"), (500, 25_000, "captions")])
        ('500 of 25,000 captions, drawn at random, search the whole gallery, and each is ranked exactly',)
        >>> sample_notes([(400, 400, "images")])
        ()
    """
    samples: dict[str, None] = {}
    for n, n_all, noun in sizes:
        if n < n_all:
            samples[f"{count(n)} of {count(n_all)} {noun}"] = None
    if not samples:
        return ()
    return (f"{listed(list(samples))}, drawn at random, search the whole gallery, and each is ranked exactly",)


class ListNames(NamedTuple):
    """Names of the queries and items of a search, as a file of result lists has them."""

    side: Literal["text", "image"]
    """The side that the queries are on."""
    queries: Sequence[str]
    items: Sequence[str]


class Direction(NamedTuple):
    """The queries of one direction, such as text queries over images, with the results of all queries or a sample."""

    name: str
    """Prefix of its metrics: ``image_retrieval``, ``text_retrieval``, ``image_image`` or ``text_text``."""
    queries: QuerySet
    items: SearchedItems
    images: Rows
    """Row of the image that each query is or belongs to."""
    clusters: Shaped[np.ndarray, " n_queries"]
    """Name of the cluster of each query: its image.

    Images that search among images share a cluster if they find each other; captions that search among captions share
    one if their images share a caption.
    """
    answers: Answers
    n_positives: Rows
    n_all: int
    """Queries that these are drawn from."""
    columns: Samples
    """Sample columns of the query and the first item: texts, and rows of images in columns named ``..._image``."""
    among: tuple[Ranks, Ranks] | None = None
    """Ranks in the gallery without distractors, and ranks among the distractors, None if there are none."""
    n_more: int = 0
    """Number of distractors in the gallery."""
    lists: Lists | None = None
    """The result lists of the queries, None for a search by vectors."""
    limit: str = ""
    """The largest R@1 that equal captions or images allow, empty if it may be 100 %, or queries are a sample."""
    names: ListNames | None = None
    """None for a search within a modality, which no file of result lists has."""

    @property
    def ranks(self) -> Ranks:
        """Rank of each query's best right item."""
        return self.answers.ranks

    @property
    def n_gallery(self) -> int:
        """Number of items that each query searches, without the query itself."""
        if self.lists is not None:
            return self.lists.n_items
        return len(self.items.vectors) - (self.queries.left_out is not None)


def directions_of(
    dataset: Dataset, gallery: Sides, digests: Sequence[str], texts: Sides | None, draw: Draw
) -> Iterator[Direction]:
    """Yield the directions that the data allows, each with the queries that are drawn for it.

    Args:
        gallery: vectors of the images, then of the distractors, on both sides of a search.
        digests: content hashes of the gallery.
        texts: vectors of the captions, None for data without captions.
        draw: takes the ids of a direction's queries.
    """
    if texts is not None and dataset.captions is not None and dataset.caption_image is not None:
        yield from _cross_directions(dataset, gallery, digests, texts, draw)
        if (np.bincount(dataset.caption_image) > 1).any():
            yield _text_direction(dataset, texts, draw)
    if searches_images(dataset):
        yield _image_direction(dataset, gallery.first(len(dataset)), draw)


def searches_images(dataset: Dataset) -> bool:
    """Return whether labels allow a search of images by images: two images of a class, and another class."""
    if dataset.labels is None:
        return False
    per_class = np.bincount(dataset.labels)
    return bool(per_class.max(initial=0) > 1 and (per_class > 0).sum() > 1)


def _cross_directions(
    dataset: Dataset, gallery: Sides, digests: Sequence[str], texts: Sides, draw: Draw
) -> Iterator[Direction]:
    """Yield the directions of captions that look for their image, and of images that look for a caption."""
    captions, owner = captions_of(dataset)
    words = text_column(captions)
    caption_names, image_names = dataset.caption_names(), text_column(dataset.image_ids)
    images, distractors = gallery.first(len(dataset)), gallery.document[len(dataset) :]
    caption_rows, image_rows = draw(caption_names), draw(dataset.image_ids)
    is_sample = len(caption_rows) < len(captions) or len(image_rows) < len(dataset)
    query_rows = (image_rows, caption_rows) if is_sample else None
    by_image, by_text = search_both_ways(cross_answers, images, texts, owner, query_rows)
    limits = ["", ""] if is_sample else recall_limits(captions, digests, owner, len(dataset))
    caption_vectors = _rows(texts.query, caption_rows)
    among, distractor_columns = None, {}
    if len(distractors):
        image_ranks = by_text.ranks
        by_text, distractor_ranks = answers_with_distractors(by_text, caption_vectors, distractors, len(dataset))
        among = image_ranks, distractor_ranks
        distractor_columns = {
            "distractors_above": distractor_ranks.better.astype(np.float64),
            "distractors_tied": distractor_ranks.tied.astype(np.float64),
        }
    owner_of_query = owner[caption_rows]
    gallery_rows = np.arange(len(gallery.document))
    gallery_texts = [*_image_texts(dataset), *[""] * len(distractors)]
    caption_ids = _ids("image_retrieval:text", caption_names, caption_rows)
    yield Direction(
        name="image_retrieval",
        queries=QuerySet(caption_ids, caption_vectors, owner_of_query),
        items=SearchedItems(gallery.document, gallery_rows, gallery_texts, gallery_rows),
        images=owner_of_query,
        clusters=image_names[owner_of_query],
        answers=by_text,
        n_positives=np.ones(len(caption_rows), np.int64),
        n_all=len(captions),
        columns={"caption": words[caption_rows], "predicted_image": by_text.first, **distractor_columns},
        among=among,
        n_more=len(distractors),
        limit=limits[0],
        names=_list_names(dataset, "text", caption_rows),
    )
    image_ids = _ids("text_retrieval:image", dataset.image_ids, image_rows)
    yield Direction(
        name="text_retrieval",
        queries=QuerySet(image_ids, _rows(images.query, image_rows), image_rows),
        items=SearchedItems(texts.document, owner, captions),
        images=image_rows,
        clusters=image_names[image_rows],
        answers=by_image,
        n_positives=np.bincount(owner, minlength=len(dataset))[image_rows],
        n_all=len(dataset),
        columns={"caption": words[by_image.right], "predicted_caption": words[by_image.first]},
        limit=limits[1],
        names=_list_names(dataset, "image", image_rows),
    )


def draws_of(dataset: Dataset, draw: Draw) -> dict[str, Rows]:
    """Return the rows of the queries that search in each direction that the data allows, in the order of drawing."""
    _, owner = captions_of(dataset)
    rows = {"image_retrieval": draw(dataset.caption_names()), "text_retrieval": draw(dataset.image_ids)}
    if (np.bincount(owner) > 1).any():
        having = np.flatnonzero(np.bincount(owner)[owner] > 1)
        rows["text_text"] = having[draw(items_at(dataset.caption_names(), having))]
    if dataset.labels is not None and searches_images(dataset):
        having = np.flatnonzero(np.bincount(dataset.labels)[dataset.labels] > 1)
        rows["image_image"] = having[draw(items_at(dataset.image_ids, having))]
    return rows


def unanswered_queries(dataset: Dataset, name: str, rows: Rows) -> Table:
    """Return the samples of the queries of a direction that finished result lists do not answer: ids without values.

    They are there so that runs of lists and of vectors have the same samples.
    """
    _, owner = captions_of(dataset)
    is_of_captions = DIRECTIONS[name][1] == "captions"
    all_ids = dataset.caption_names() if is_of_captions else dataset.image_ids
    images = owner[rows] if is_of_captions else rows
    kind = "text" if is_of_captions else "image"
    return {
        "sample_id": text_column(_ids(f"{name}:{kind}", all_ids, rows)),
        "direction": np.full(len(rows), name, object),
        "cluster": text_column(dataset.image_ids)[images],
        "image": images,
        "margin": np.full(len(rows), np.nan),
    }


def direction_of_lists(
    dataset: Dataset, results: SearchResults, digests: Sequence[str], draws: Mapping[str, Rows]
) -> Direction:
    """Return the direction of finished result lists: captions that look for their image, or images for a caption.

    Args:
        results: of all captions, or of all images.
        digests: content hashes of the gallery.
        draws: rows of the queries of each direction.
    """
    captions, owner = captions_of(dataset)
    words, no_vectors = text_column(captions), np.zeros((0, 0), np.float32)
    is_by_text = results.side == "text"
    name, kind = ("image_retrieval", "text") if is_by_text else ("text_retrieval", "image")
    all_ids = dataset.caption_names() if is_by_text else dataset.image_ids
    rows = draws[name]
    is_sample = len(draws["image_retrieval"]) < len(captions) or len(draws["text_retrieval"]) < len(dataset)
    limits = ["", ""] if is_sample else recall_limits(captions, digests, owner, len(dataset))
    n_items = len(dataset.gallery) if is_by_text else len(captions)
    listed = take_queries(ListedItems(results.query, results.item, results.group), rows, len(all_ids))
    relevant = _relevant_items(owner, rows, is_by_text=is_by_text)
    answers = list_answers(listed, relevant, n_items)
    images = owner[rows] if is_by_text else rows
    if is_by_text:
        gallery_rows = np.arange(n_items)
        n_more = n_items - len(dataset)
        items = SearchedItems(no_vectors, gallery_rows, [*_image_texts(dataset), *[""] * n_more], gallery_rows)
        columns = {"caption": words[rows], "predicted_image": column_of_first(gallery_rows, answers.first)}
    else:
        items = SearchedItems(no_vectors, owner, captions)
        columns = {"caption": words[answers.right], "predicted_caption": column_of_first(words, answers.first)}
    return Direction(
        name=name,
        queries=QuerySet(_ids(f"{name}:{kind}", all_ids, rows), no_vectors, images),
        items=items,
        images=images,
        clusters=text_column(dataset.image_ids)[images],
        answers=answers_of_lists(answers),
        n_positives=relevant.counts,
        n_all=len(all_ids),
        columns=columns,
        lists=Lists(listed, results.depth, answers.lengths, n_items),
        limit=limits[0 if is_by_text else 1],
        names=_list_names(dataset, "text" if is_by_text else "image", rows),
    )


def _list_names(dataset: Dataset, side: Literal["text", "image"], rows: Rows) -> ListNames:
    """Return the names of some captions as queries and of the gallery, or of some images and all captions."""
    distractors = () if dataset.distractors is None else dataset.distractors.image_ids
    if side == "text":
        return ListNames(side, items_at(dataset.caption_names(), rows), [*dataset.image_ids, *distractors])
    return ListNames(side, items_at(dataset.image_ids, rows), dataset.caption_names())


def _relevant_items(owner: Rows, query_rows: Rows, *, is_by_text: bool) -> Relevant:
    """Return the image of each caption that is a query, or the captions of each image that is one."""
    if is_by_text:
        queries = np.arange(len(query_rows))
        return Relevant(queries, owner[query_rows], np.ones_like(queries))
    new_row = np.full(owner.max() + 1, -1)
    new_row[query_rows] = np.arange(len(query_rows))
    captions = np.flatnonzero(new_row[owner] >= 0)
    captions = captions[np.argsort(new_row[owner[captions]], kind="stable")]
    return Relevant(new_row[owner[captions]], captions, np.ones_like(captions))


def _text_direction(dataset: Dataset, texts: Sides, draw: Draw) -> Direction:
    """Return the direction of captions that look for another of their image."""
    captions, owner = captions_of(dataset)
    words = text_column(captions)
    queries, answers, n_positives, n_all = _group_answers(texts, owner, dataset.caption_names(), draw)
    owner_of_query = owner[queries]
    # Two equal captions of different images come first for each other: both miss.
    clusters = clusters_by_shared_item(owner, words, len(dataset))[owner_of_query]
    ids = _ids("text_text:text", dataset.caption_names(), queries)
    return Direction(
        name="text_text",
        queries=QuerySet(ids, _rows(texts.query, queries), owner_of_query, list(queries[:, None])),
        items=SearchedItems(texts.document, owner, captions),
        images=owner_of_query,
        clusters=text_column(dataset.image_ids)[clusters],
        answers=answers,
        n_positives=n_positives,
        n_all=n_all,
        columns={
            "caption": words[queries],
            "target_caption": words[answers.right],
            "predicted_caption": words[answers.first],
        },
    )


def _image_direction(dataset: Dataset, images: Sides, draw: Draw) -> Direction:
    """Return the direction of images that look for another of their class."""
    assert dataset.labels is not None
    labels = dataset.labels
    queries, answers, n_positives, n_all = _group_answers(images, labels, dataset.image_ids, draw)
    ids = _ids("image_image:image", dataset.image_ids, queries)
    # Two images that are each other's best right answer are found, or missed, together.
    clusters = clusters_by_links(queries, answers.right, len(labels))[queries]
    columns = {"target_image": answers.right, "predicted_image": answers.first}
    if dataset.class_names is not None:
        class_names = text_column(dataset.class_names)
        columns["label"] = class_names[labels[queries]]
        columns["predicted_label"] = class_names[labels[answers.first]]
    return Direction(
        name="image_image",
        queries=QuerySet(ids, _rows(images.query, queries), labels[queries], list(queries[:, None])),
        items=SearchedItems(images.document, labels, _image_texts(dataset), np.arange(len(labels))),
        images=queries,
        clusters=text_column(dataset.image_ids)[clusters],
        answers=answers,
        n_positives=n_positives,
        n_all=n_all,
        columns=columns,
    )


class _GroupAnswers(NamedTuple):
    """The results of items that search for others of their group."""

    queries: Rows
    answers: Answers
    n_positives: Rows
    n_all: int
    """Queries that these are drawn from."""


def _group_answers(vectors: Sides, groups: Rows, ids: Sequence[str], draw: Draw) -> _GroupAnswers:
    """Return the results of the queries that are drawn from the items with another of their group."""
    candidates = np.flatnonzero(np.bincount(groups)[groups] > 1)
    queries = candidates[draw(items_at(ids, candidates))]
    query_rows = queries if len(queries) < len(candidates) else None
    results = group_answers(vectors.document, groups, query_rows, None if vectors.are_equal else vectors.query)
    return _GroupAnswers(*results, len(candidates))


def search_both_ways(find: Find[Found], images: Sides, texts: Sides, *arguments: Any) -> tuple[Found, Found]:
    """Return the results of images among texts, and of texts among images, in one pass if the model has no roles.

    Args:
        find: ``cross_answers`` or ``cross_ranks``.
        arguments: passed to it after the vectors.
    """
    if images.are_equal and texts.are_equal:
        return find(images.query, texts.query, *arguments)
    by_image, _ = find(images.query, texts.document, *arguments)
    _, by_text = find(images.document, texts.query, *arguments)
    return by_image, by_text


def _image_texts(dataset: Dataset) -> list[str]:
    """Return the first caption of each image, or its class, empty if it has neither."""
    if dataset.captions is not None and dataset.caption_image is not None:
        first: dict[int, str] = {}
        for image, caption in zip(dataset.caption_image.tolist(), dataset.captions, strict=True):
            first.setdefault(image, caption)
        return [first.get(row, "") for row in range(len(dataset))]
    if dataset.labels is not None and dataset.class_names is not None:
        return items_at(dataset.class_names, dataset.labels)
    return [""] * len(dataset)


def _ids(kind: str, names: Sequence[str], rows: Rows) -> list[str]:
    return [f"{kind}:{names[row]}" for row in rows.tolist()]


def _rows(vectors: Vectors, rows: Rows) -> Vectors:
    """Return some vectors, without a copy if all are chosen."""
    return vectors if len(rows) == len(vectors) else vectors[rows]
