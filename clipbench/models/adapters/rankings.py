"""Finished result lists as a model: what a served model, an index, a filter or a reranker returned for each query.

The data set says what the queries and the documents are. In data with judgements both are named by their ids, and a
query may be named by its text. In data with captions, queries are captions that look for their image, or images that
look for their captions. A caption is named by its id, or by its text if no other caption has it. An image is named by
its id, or by the last part of its path if no other image has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.readers.result_lists import ResultList, read_result_lists
from clipbench.errors import DataError, MissingPart, Unavailable, UsageError, model_option
from clipbench.models.fingerprint import digest
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import ModelInfo, Role, SearchEmbedder, SearchResults, Vectors
from clipbench.results.numbers import count, counted
from clipbench.untrusted.reading import shown

FAMILY = "rankings"
Side = Literal["text", "image", "query"]
AMBIGUOUS = -1
"""Row of a name that several items have."""


class Names(NamedTuple):
    """Names of the items of a data set, such as its images."""

    noun: str
    rows: Mapping[str, int]
    """Row of each name, ``AMBIGUOUS`` if several items have it."""
    n_items: int
    first: str
    """The name of the first item, for messages."""

    @property
    def plural(self) -> str:
        return "queries" if self.noun == "query" else f"{self.noun}s"

    def row(self, name: str, source: str, dataset: Dataset) -> int:
        """Return the row of a name, or raise DataError if no item, or several, have it."""
        row = self.rows.get(name)
        if row is None:
            items = counted(self.n_items, self.noun, self.plural)
            expected = f"the id of one of its {items}, such as {shown(self.first)}"
            raise DataError(
                f"{source}: got the {self.noun} {shown(name)}, which {dataset.id} lacks: expected {expected}"
            )
        if row == AMBIGUOUS:
            fault = f"the {self.noun} {shown(name)}, which several {self.plural} of {dataset.id} match"
            raise DataError(f"{source}: got {fault}: expected an id, such as {shown(self.first)}")
        return row


class SearchDirection(NamedTuple):
    """The queries and the items that one direction of a search has."""

    side: Side
    queries: Names
    items: Names


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRankings(SearchEmbedder):
    """The result lists of a file."""

    info: ModelInfo
    file: str
    result_lists: Sequence[ResultList]
    depth: int
    missing_is_empty: bool
    direction: Literal["text", "image"] | None
    _last: list[tuple[Dataset, SearchResults]] = field(default_factory=list)
    """The last data set with its results, which are looked up when a run is planned and when it is measured."""

    def encode(self, modality: str, items: Sequence[Any], role: Role = None) -> Vectors:
        """Raise Unavailable: a result list has no vectors."""
        raise Unavailable(f"{self.info.id} holds result lists, no vectors: only retrieval can be measured")

    def search_results(self, dataset: Dataset) -> SearchResults:
        """Return the result lists of all queries of a data set, an empty list for a query without results.

        Raises:
            DataError: a query or a result is not in the data, a query has two lists, a query has no list, or the
                queries are on both sides.
        """
        if not self._last or self._last[0][0] is not dataset:
            self._last[:] = [(dataset, self._search_results(dataset))]
        return self._last[0][1]

    def _search_results(self, dataset: Dataset) -> SearchResults:
        sides = self._sides(dataset)
        list_of: dict[int, ResultList] = {}
        for result_list in self.result_lists:
            row = sides.queries.row(result_list.query.strip(), result_list.source, dataset)
            if row in list_of:
                raise DataError(
                    f"{result_list.source}: got query {shown(result_list.query)} again, after {list_of[row].source}"
                )
            list_of[row] = result_list
        n_without = self._check_missing(dataset, sides, list_of)
        query: list[int] = []
        item: list[int] = []
        group: list[int] = []
        for row, result_list in sorted(list_of.items()):
            groups = _groups(result_list, self.depth)
            names = result_list.results[: len(groups)]
            rows = [sides.items.row(name, result_list.source, dataset) for name in names]
            if len(set(rows)) < len(rows):
                raise DataError(
                    f"{result_list.source}: two results are the same {sides.items.noun}: expected each result once"
                )
            first_group = group[-1] + 1 if group else 0
            query += [row] * len(rows)
            item += rows
            group += [first_group + number for number in groups]
        return SearchResults(
            side=sides.side,
            query=np.array(query, np.int64),
            item=np.array(item, np.int64),
            group=np.array(group, np.int64),
            depth=self.depth,
            n_without=n_without,
        )

    def _sides(self, dataset: Dataset) -> SearchDirection:
        """Return the direction in which the file searches the data."""
        query_names = {result_list.query.strip() for result_list in self.result_lists}
        result_names = {name for result_list in self.result_lists for name in result_list.results}
        if dataset.judgements is not None:
            if self.direction is not None:
                raise UsageError(
                    f"{model_option(direction=self.direction)} has no effect on {dataset.id}, because its judgements"
                    " already define the queries: remove it"
                )
            queries, documents = dataset.judgements.queries, dataset.judgements.documents
            return SearchDirection(
                "query",
                _names("query", query_names, queries.ids, queries.texts),
                _names("document", result_names, documents.ids),
            )
        if dataset.captions is None:
            raise MissingPart(dataset.id, "captions")
        captions = dataset.caption_names()
        gallery_ids = [*dataset.image_ids, *(() if dataset.distractors is None else dataset.distractors.image_ids)]
        by_text = SearchDirection(
            "text",
            _names("caption", query_names, captions, dataset.captions),
            _names("image", result_names, gallery_ids, _last_parts(gallery_ids)),
        )
        by_image = SearchDirection(
            "image",
            _names("image", query_names, dataset.image_ids, _last_parts(dataset.image_ids)),
            _names("caption", result_names, captions, dataset.captions),
        )
        return self._choose_side(dataset, query_names, by_text, by_image)

    def _choose_side(
        self, dataset: Dataset, query_names: Iterable[str], by_text: SearchDirection, by_image: SearchDirection
    ) -> SearchDirection:
        """Return the side of the queries: the one that the option says, or the one that has them all.

        If neither has them all, the side that has more is returned, and the first unknown query is an error later.
        """
        if self.direction is not None:
            return by_text if self.direction == "text" else by_image
        is_caption = [name in by_text.queries.rows for name in query_names]
        is_image = [name in by_image.queries.rows for name in query_names]
        if all(is_caption) and all(is_image):
            raise UsageError(
                f"{self.file}: its queries match both captions and images of {dataset.id}: add"
                f" {model_option(direction='text')} if they are captions, or {model_option(direction='image')} if they"
                " are images"
            )
        only_captions = sum(caption and not image for caption, image in zip(is_caption, is_image, strict=True))
        only_images = sum(image and not caption for caption, image in zip(is_caption, is_image, strict=True))
        if only_captions and only_images:
            raise DataError(
                f"{self.file} has both directions: got {counted(only_captions, 'caption')} and"
                f" {counted(only_images, 'image')} as queries, expected one of them. Write a file for each direction"
            )
        return by_text if sum(is_caption) >= sum(is_image) else by_image

    def _check_missing(self, dataset: Dataset, sides: SearchDirection, list_of: Mapping[int, ResultList]) -> int:
        """Return the number of queries without a list, or raise DataError unless they have an empty one."""
        needed = np.arange(sides.queries.n_items)
        if dataset.judgements is not None:  # no list is needed of a query that is left out
            needed = np.unique(dataset.judgements.query[dataset.judgements.grade > 0])
        missing = [row for row in needed.tolist() if row not in list_of]
        if missing and not self.missing_is_empty:
            needed_count = counted(len(needed), sides.queries.noun, sides.queries.plural)
            n = f"{count(len(needed) - len(missing))} of {needed_count}"
            first = shown(_query_name(dataset, sides.side, missing[0]))
            raise DataError(
                f"{self.file} has lists for {n}: the first query without a list is {first}."
                f" Add an empty list for each query without results, or set {model_option(missing='empty')}"
            )
        return len(missing)


def load(body: str, options: LoadOptions) -> FinishedRankings:
    """Return the result lists of a TREC run or of JSON Lines, for the queries of a data set.

    Raises:
        UsageError: an option has no effect on result lists, or another value than it may have.
        DataError: the file cannot be read, or a line does not fit.
    """
    reference = f"rankings:{body}"
    options.refuse_unknown(["depth", "missing", "direction"], reference)
    options.refuse_precision(reference, "whose results are there already")
    options.refuse_device(reference, "whose results are there already")
    depth, missing, direction = (
        options.whole_number("depth"),
        options.options.get("missing"),
        options.options.get("direction"),
    )
    if depth is not None and depth < 1:
        raise UsageError(f"{model_option(depth=depth)}: expected 1 or more results")
    if missing not in (None, "empty"):
        raise UsageError(f"{model_option(missing=missing)}: expected {model_option(missing='empty')}, or nothing")
    if direction not in (None, "text", "image"):
        raise UsageError(f"{model_option(direction=direction)}: expected text or image, the side of the queries")
    result_lists = read_result_lists(Path(body))
    longest = max(len(result_list.results) for result_list in result_lists)
    if longest == 0:
        raise DataError(f"{body} has only empty lists: expected results of at least one query")
    content = repr([(one.query, one.results, one.scores) for one in result_lists])
    info = ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=digest("rankings 1", content, repr((depth, missing, direction))),
        family=FAMILY,
        embed_dim=0,
        notes=("the file has only result lists, so metrics that need vectors or scores of all items are undefined",),
    )
    return FinishedRankings(
        info=info,
        file=body,
        result_lists=result_lists,
        depth=longest if depth is None else depth,
        missing_is_empty=missing == "empty",
        direction=cast(Literal["text", "image"] | None, direction),
    )


def _groups(result_list: ResultList, depth: int) -> list[int]:
    """Return the group of each result, from 0: results with equal scores are one group.

    The list ends at the depth, or after the group that the depth is in: which of its results come first is arbitrary.

    Example:
        >>> _groups(ResultList("", "q", ["a", "b", "c", "d"], [0.9, 0.5, 0.5, 0.1]), depth=2)
        [0, 1, 1]
    """
    if result_list.scores is None:
        return list(range(min(depth, len(result_list.results))))
    groups: list[int] = []
    for rank, score in enumerate(result_list.scores):
        is_tied = rank > 0 and score == result_list.scores[rank - 1]
        if rank >= depth and not is_tied:
            break
        groups.append(groups[-1] + (not is_tied) if groups else 0)
    return groups


def _names(noun: str, used: set[str], ids: Sequence[str], other_names: Iterable[str] = ()) -> Names:
    """Return the rows of the names in use. Ids come before other names, which several items may have."""
    rows: dict[str, int] = {}
    for row, name in enumerate(other_names):
        if name in used:
            rows[name] = AMBIGUOUS if name in rows else row
    rows |= {id: row for row, id in enumerate(ids) if id in used}
    return Names(noun, rows, len(ids), ids[0])


def _last_parts(ids: Sequence[str]) -> list[str]:
    return [id.rpartition("/")[2] for id in ids]


def _query_name(dataset: Dataset, side: Side, row: int) -> str:
    if dataset.judgements is not None:
        return dataset.judgements.queries.ids[row]
    return dataset.caption_names()[row] if side == "text" else dataset.image_ids[row]
