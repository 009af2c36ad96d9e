"""Retrieval on data with judgements: how high are the relevant documents of a query ranked among all documents?

Queries and documents are texts, images or both. For an image with a text, the model's joint encoder gives the vector.
Without one it is the mean of the two unit vectors, scaled to length 1. A document that was not judged counts as not
relevant. Queries without a relevant document are left out and counted, and a document that is the query itself (the
same id, text and image) is not an answer. Nor is a query's own image, if the query is an image and a text that says
what to change in it: that is CIRR's rule (Liu et al., ICCV 2021). Results on data where it leaves something out are of
a higher version of the task, so that results made without the rule do not compare with them, while all others do.

Captions are judgements of grade 1: the caption of an image that is the only relevant document has MRR and nDCG of its
rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.data.questions import NO_IMAGE, JudgedItems, Judgements
from clipbench.errors import DataError, Unavailable
from clipbench.evaluation.task import OF_UNIT_VECTORS, Evaluation, ResultLists
from clipbench.metrics import relevance
from clipbench.metrics.ranking import Answers, Ranks, expected_rank, recall_at_k
from clipbench.metrics.result_lists import ListedItems, list_answers, take_queries, without_items
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import COSINE, ROLES, Embedder, Role, SearchResults
from clipbench.results.numbers import bounded, counted, percent
from clipbench.results.record import Curve
from clipbench.stats.clusters import clusters_by_half_overlap, n_equal_clusters
from clipbench.stats.measures import Definition, Definitions, Mean, Measures, define, undefined
from clipbench_tasks.directions import Draw, sample_notes
from clipbench_tasks.listed import (
    Lists,
    answers_of_lists,
    column_of_first,
    listed_margins,
    listed_neighbours,
    listed_ranks,
    notes_of_lists,
    result_lists,
    with_depth,
)
from clipbench_tasks.tables import (
    CERTAIN,
    Columns,
    Cutoffs,
    QuerySet,
    Rows,
    SearchedItems,
    Table,
    Vectors,
    cosine_columns,
    curve_of_means,
    items_at,
    neighbours_of_answers,
    text_column,
    tie_rate,
)

QUESTION = "Are the documents that people judged relevant to a query the first that it finds?"
SCORING = (
    "nDCG@k has the grades as gains. Tied documents are in random order, and a value is the mean over these orders."
)
DIRECTION = "judged"
FEW_CLUSTERS = 10
"""Clusters of one size below which a note says why intervals are wide."""
BY_JOINT_ENCODER = " An image with a text has one vector, of the model's joint encoder."
BY_MEAN = " An image with a text has the mean of their two unit vectors."
CURVE_KS = (1, 2, 3, 5, 10, 20, 50, 100)


class Parts(NamedTuple):
    """Unit vectors of queries or documents: of their texts, of their images, and of both by a joint encoder.

    With a joint encoder, items with a text and an image are only in ``joint``. Without one, ``joint`` is None.
    """

    texts: Vectors
    images: Vectors
    joint: Vectors | None


class JudgedSearch(NamedTuple):
    """The queries that have a relevant document, the documents, and the vectors of both."""

    queries: JudgedItems
    documents: JudgedItems
    relevant: relevance.Relevant
    judgements: Judgements
    """The judgements of these queries."""
    left_out: Sequence[Rows]
    """Rows of the documents that each query ignores."""
    parts: Sequence[Parts]
    """Vectors of the queries, and of the documents, by content."""
    vectors: Sequence[Vectors]
    """Unit vectors of the queries, and of the documents."""
    n_without: int
    """Queries without a relevant document, which are left out."""
    of_both: str = ""
    """A sentence on the vectors of items with an image and a text, empty if there are none."""
    lists: Lists | None = None
    """The result lists of the queries, None for a search by vectors."""
    list_notes: tuple[str, ...] = ()

    @property
    def n_documents(self) -> Rows:
        """Documents that each query searches."""
        return len(self.documents.ids) - np.array([len(rows) for rows in self.left_out])

    @property
    def n_ranked(self) -> Rows:
        """Documents that each query has ranks of."""
        return self.n_documents if self.lists is None else self.lists.lengths

    def answers(self, relevant: relevance.Relevant) -> tuple[relevance.Levels, Answers]:
        """Return the score levels of each query's relevant documents, and its best and first document."""
        if self.lists is None:
            queries, documents = self.vectors
            return relevance.judged_answers(queries, documents, relevant, without=self.left_out)
        answers = list_answers(self.lists.listed, relevant, len(self.documents.ids))
        return answers.levels, answers_of_lists(answers)


class QuerySample(NamedTuple):
    """A sample of the queries with a relevant document, or all queries without a note."""

    judgements: Judgements
    rows: Rows | None
    """Rows of the queries that were drawn, None for all."""
    notes: tuple[str, ...]


def sample_queries(judgements: Judgements, draw: Draw) -> QuerySample:
    """Return the judgements of a sample of the queries with a relevant document."""
    _, query_rows = relevance.relevant_documents(judgements.query, judgements.document, judgements.grade)
    rows = query_rows[draw(items_at(judgements.queries.ids, query_rows))]
    if len(rows) == len(query_rows):
        return QuerySample(judgements, None, ())
    notes = sample_notes([(len(rows), len(query_rows), "queries")])
    return QuerySample(judgements.take_queries(rows), rows, notes)


def lists_of_sample(results: SearchResults, rows: Rows, n_queries: int) -> SearchResults:
    """Return the result lists of some queries, which are numbered from 0.

    Queries that no line of the file had have empty lists, which are counted with the short ones.
    """
    listed = take_queries(ListedItems(results.query, results.item, results.group), rows, n_queries)
    return results._replace(query=listed.query, item=listed.item, group=listed.group, n_without=0)


def check(dataset: Dataset, judgements: Judgements) -> None:
    """Raise DataError if no query has a relevant document."""
    if not (judgements.grade > 0).any():
        raise DataError(f"data set {dataset.id} judges no document relevant: expected a grade above 0")


def search_of(dataset: Dataset, judgements: Judgements, embedder: Embedder) -> JudgedSearch:
    """Return the queries that have a relevant document, the documents, and the vectors of both.

    Raises:
        Unavailable: some are an image and a text, the model has no joint encoder, and a mean makes no sense of its
            scores.
    """
    relevant, query_rows = relevance.relevant_documents(judgements.query, judgements.document, judgements.grade)
    queries, documents = judgements.queries.take(query_rows), judgements.documents
    of_both = ""
    if queries.has_both.any() or documents.has_both.any():
        if embedder.info.similarity != COSINE and not embedder.info.is_joint:
            raise Unavailable(f"a mean of an image and a text {OF_UNIT_VECTORS}")
        of_both = BY_JOINT_ENCODER if embedder.info.is_joint else BY_MEAN
    query_role, document_role = ROLES
    query_parts = _parts(dataset, queries, embedder, query_role)
    document_parts = _parts(dataset, documents, embedder, document_role)
    return JudgedSearch(
        queries=queries,
        documents=documents,
        relevant=relevant,
        judgements=judgements.take_queries(query_rows),
        left_out=documents_of_queries(queries, documents, relevant),
        parts=[query_parts, document_parts],
        vectors=[item_vectors(queries, query_parts), item_vectors(documents, document_parts)],
        n_without=len(judgements.queries.ids) - len(query_rows),
        of_both=of_both,
    )


def listed_search(judgements: Judgements, results: SearchResults) -> JudgedSearch:
    """Return the queries that have a relevant document, the documents, and the result lists of the queries.

    Args:
        results: of all queries of the judgements.
    """
    relevant, query_rows = relevance.relevant_documents(judgements.query, judgements.document, judgements.grade)
    queries, documents = judgements.queries.take(query_rows), judgements.documents
    left_out = documents_of_queries(queries, documents, relevant)
    listed = ListedItems(results.query, results.item, results.group)
    listed = take_queries(listed, query_rows, len(judgements.queries.ids))
    listed = without_items(listed, left_out, len(documents.ids))
    lengths = np.bincount(listed.query, minlength=len(query_rows))
    lists = Lists(listed, results.depth, lengths, len(documents.ids))
    return JudgedSearch(
        queries=queries,
        documents=documents,
        relevant=relevant,
        judgements=judgements.take_queries(query_rows),
        left_out=left_out,
        parts=(),
        vectors=(),
        n_without=len(judgements.queries.ids) - len(query_rows),
        lists=lists,
        list_notes=tuple(notes_of_lists(results, lists)),
    )


def _parts(dataset: Dataset, items: JudgedItems, embedder: Embedder, role: Role) -> Parts:
    """Return the vectors of queries or documents, whose images are encoded in the order of the data."""

    def encode(modality: str, parts: Sequence[Any]) -> Vectors:
        if not parts:
            return np.zeros((0, embedder.info.embed_dim), np.float32)
        return embedder.scoring_vectors(embedder.encode(modality, parts, role))

    is_joint = embedder.info.is_joint
    is_pair = items.has_both & is_joint
    rows = items.images[(items.images != NO_IMAGE) & ~is_pair]
    distinct, image_index = np.unique(rows, return_inverse=True)
    images = encode(IMAGE, items_at(dataset.images, distinct))
    if not np.array_equal(image_index, np.arange(len(images))):  # a large corpus is not copied
        images = images[image_index]
    texts = encode(TEXT, items_at(items.texts, np.flatnonzero(items.has_text & ~is_pair)))
    joint = None
    if is_joint:
        pair_rows = np.flatnonzero(is_pair).tolist()
        pairs = [(dataset.images[items.images[row]], items.texts[row]) for row in pair_rows]
        joint = encode(JOINT, pairs)
    return Parts(texts, images, joint)


def evaluation(search: JudgedSearch, ks: Cutoffs) -> Evaluation:
    """Return one row per query."""
    relevant = search.relevant
    levels, answers = search.answers(relevant)
    ids = [f"query:{id}" for id in search.queries.ids]
    samples = _table(search, levels, answers, ids, ks)
    measures = _measures(relevant, search.n_documents, ks)
    if search.lists is not None:
        measures = with_depth(measures, _depths(relevant, ks), search.lists)
    baselines: Measures = {f"{DIRECTION}_tie_rate": tie_rate(answers.ranks.tied > 0)}
    limits: list[str] = []
    reached_ks = [k for k in ks if search.lists is None or search.lists.reaches(k)]
    if reached_ks:
        last = f"ndcg@{max(reached_ks)}"
        limits = list(_limits(search, levels, samples, baselines, max(reached_ks)))
        headline = measures[last]
        if isinstance(headline, Mean):
            measures[last] = replace(headline, limit="; ".join(limits))
    metric_definitions = {}
    for name, definition in definitions(ks, max(reached_ks, default=max(ks))).items():
        metric_definitions[name] = replace(definition, description=f"{definition.description}{search.of_both}")
    search_notes = _notes(search.queries, search.documents, search.left_out, samples["cluster"])
    return Evaluation(
        samples=samples,
        inputs={"query": "caption"},
        measures=define(measures, metric_definitions),
        baselines=define(baselines, metric_definitions),
        curves={f"{DIRECTION}_{name}": curve for name, curve in _curves(search, levels)},
        neighbours=_neighbours(search, answers, ids),
        lists={"query": _result_lists(search)},
        question=QUESTION,
        scoring=SCORING,
        notes=(*search.list_notes, *limits, *search_notes, *_notes_on_likeness(search)),
    )


def _result_lists(search: JudgedSearch) -> ResultLists:
    """Return the first results of each query, which are made only if they are kept."""
    return result_lists(search.queries.ids, search.documents.ids, search.vectors, search.lists, search.left_out)


def _neighbours(search: JudgedSearch, answers: Answers, ids: list[str]) -> Table:
    """Return the first documents of the worst failures."""
    documents, relevant = search.documents, search.relevant
    pairs = relevant.query * len(documents.ids) + relevant.document

    def is_relevant(query: Rows, document: Rows) -> Bool[np.ndarray, " _"]:
        return np.isin(query * len(documents.ids) + document, pairs)

    if search.lists is not None:
        images = documents.images
        return listed_neighbours(
            ids, search.lists, answers.ranks, texts=documents.texts, images=images, is_right=is_relevant
        )
    of_queries, of_documents = search.vectors
    return neighbours_of_answers(
        QuerySet(ids, of_queries, np.arange(len(ids)), search.left_out),
        answers,
        SearchedItems(of_documents, np.arange(len(documents.ids)), documents.texts, documents.images),
        is_relevant,
    )


def item_vectors(items: JudgedItems, parts: Parts) -> Vectors:
    """Return the unit vectors of queries or documents: of a text, an image, or both.

    Both are encoded by the joint encoder. Without one, their vector is the mean of the two unit vectors, at length 1.
    """
    has_text, has_image, has_both = items.has_text, items.images != NO_IMAGE, items.has_both
    if not has_text.any() and has_image.all():
        return parts.images
    vectors = np.zeros((len(items.ids), parts.texts.shape[1]), np.float32)
    if parts.joint is not None:
        vectors[has_both] = parts.joint
        has_text, has_image = has_text & ~has_both, has_image & ~has_both
    vectors[has_text] = parts.texts
    vectors[has_image] += parts.images
    if parts.joint is None:
        vectors[has_both] = unit(vectors[has_both])
    return vectors


def documents_of_queries(queries: JudgedItems, documents: JudgedItems, relevant: relevance.Relevant) -> list[Rows]:
    """Return the rows of the documents that equal each query, without those that were judged relevant to it.

    For a query of an image and a text they include all documents that are only this image.
    """
    query_ids = {*queries.ids}
    rows = {id: row for row, id in enumerate(documents.ids) if id in query_ids}
    image_only: dict[int, list[int]] = {}
    for row in np.flatnonzero(documents.images != NO_IMAGE).tolist():
        if not documents.texts[row]:
            image_only.setdefault(int(documents.images[row]), []).append(row)
    starts = np.searchsorted(relevant.query, np.arange(len(queries.ids) + 1))
    left_out = []
    for query, (id, (text, image)) in enumerate(zip(queries.ids, _contents(queries), strict=True)):
        document = rows.get(id, -1)
        is_document = document >= 0 and documents.texts[document] == text and documents.images[document] == image
        equal_documents = [document] if is_document else []
        if text:
            equal_documents += image_only.get(image, [])
        ignored = np.array(equal_documents, np.int64)
        if equal_documents:
            ignored = np.setdiff1d(ignored, relevant.document[starts[query] : starts[query + 1]])
        left_out.append(ignored)
    return left_out


def _contents(items: JudgedItems) -> Iterator[tuple[str, int]]:
    """Yield the text and the row of the image of each item."""
    return zip(items.texts, items.images.tolist(), strict=True)


def query_metrics(levels: relevance.Levels, relevant: relevance.Relevant, ranks: Ranks, ks: Sequence[int]) -> Columns:
    """Return each metric of each query."""
    metrics = {f"ndcg@{k}": relevance.ndcg_at_k(levels, relevant, k) for k in ks}
    metrics |= {f"recall@{k}": relevance.relevant_recall_at_k(levels, relevant, k) for k in ks}
    metrics |= {f"hit_rate@{k}": recall_at_k(ranks, k) for k in ks}
    metrics["map@R"] = relevance.average_precision_at_r(levels, relevant)
    metrics["r_precision"] = relevance.r_precision(levels, relevant)
    metrics["mrr"] = relevance.reciprocal_rank(ranks)
    return metrics


def _table(search: JudgedSearch, levels: relevance.Levels, answers: Answers, ids: list[str], ks: Cutoffs) -> Table:
    """Return one row per query: the query, its best relevant document, the first document, and all metrics."""
    queries, documents, relevant = search.queries, search.documents, search.relevant
    ranks, lists = answers.ranks, search.lists
    metrics = query_metrics(levels, relevant, ranks, ks)
    if lists is None:
        rank, margin = expected_rank(ranks), 1.5 - expected_rank(ranks)
        scores = cosine_columns(answers, f"{DIRECTION}_cosine_margin")
    else:
        rank, margin, scores = listed_ranks(ranks), listed_margins(ranks, lists.depth), {}
        depths = _depths(relevant, ks)
        metrics = {name: column for name, column in metrics.items() if lists.reaches(depths.get(name, 1))}
    # Queries with much the same relevant documents, such as captions of one image, are found or missed together.
    clusters = text_column(queries.ids)[clusters_by_half_overlap(relevant.query, relevant.document, len(ids))]
    texts, names = text_column(documents.texts), text_column(documents.ids)
    return {
        "sample_id": text_column(ids),
        "direction": np.full(len(ids), DIRECTION, object),
        "cluster": clusters,
        "image": queries.images,
        "margin": margin,
        "query": text_column(queries.texts),
        "target_document": names[answers.right],
        "target_text": texts[answers.right],
        "target_image": documents.images[answers.right],
        "predicted_document": column_of_first(names, answers.first),
        "predicted_text": column_of_first(texts, answers.first),
        "predicted_image": column_of_first(documents.images, answers.first),
        "n_relevant": relevant.counts,
        **scores,
        f"{DIRECTION}_rank": rank,
        f"{DIRECTION}_tied": (answers.ranks.tied > 0).astype(np.float64),
        **metrics,
    }


def _depths(relevant: relevance.Relevant, ks: Cutoffs) -> dict[str, int]:
    """Return the number of documents that each metric looks at, where it is not all of a list."""
    most_relevant = int(relevant.counts.max())
    depths = {"map@R": most_relevant, "r_precision": most_relevant}
    for k in ks:
        depths |= {f"ndcg@{k}": k, f"recall@{k}": k, f"hit_rate@{k}": k}
    return depths


def _limits(
    search: JudgedSearch, levels: relevance.Levels, samples: Table, baselines: Measures, k: int
) -> Iterator[str]:
    """Yield notes on the limits of nDCG@k: documents that were not judged, queries left out, and a shallow pool.

    The fraction of documents that were not judged gets a column and a baseline.
    """
    ndcg, judgements, left_out = f"nDCG@{k}", search.judgements, search.left_out
    as_now = samples[f"ndcg@{k}"]
    if (judgements.grade <= 0).any():  # else the data name only relevant documents
        pairs = zip(judgements.query.tolist(), judgements.document.tolist(), strict=True)
        is_sought = np.array([document not in left_out[query] for query, document in pairs], np.int64)
        judged, _ = relevance.relevant_documents(judgements.query, judgements.document, is_sought)
        of_judged, _ = search.answers(judged)
        unjudged = relevance.unjudged_at_k(of_judged, judged, search.n_ranked, k)
        share = Mean(column=f"unjudged@{k}", higher_is_better=None)
        samples[share.column] = unjudged.sum(axis=1) / np.clip(search.n_ranked, 1, k)
        baselines[share.column] = share
        with_all = relevance.ndcg_with_unjudged_at_k(levels, search.relevant, unjudged)
        if unjudged.any():
            yield (
                f"{bounded(share.metric(samples, np.random.default_rng(0)))} of the first {k} documents are not judged:"
                f" {ndcg} is {percent(float(as_now.mean()))} % if none of them is relevant, and"
                f" {percent(float(with_all.mean()))} % if all are, with the highest grade"
            )
    if search.n_without:
        as_zero = percent(float(as_now.sum()) / (search.n_without + len(as_now)))
        yield (
            f"{counted(search.n_without, 'query', 'queries')} without a relevant document: left out, and {ndcg} is"
            f" {as_zero} % where they count as 0{'' if judgements.depth is None else ', as in choose'}"
        )
    if (judgements.depth or k) < k:
        yield f"the pool has only the first {judgements.depth} documents of each of its models, and {ndcg} needs more"


def _measures(relevant: relevance.Relevant, n_documents: Rows, ks: Cutoffs) -> Measures:
    ranks = Ranks(0 * n_documents, n_documents - relevant.counts, relevant.counts)
    by_chance = query_metrics(relevance.chance_levels(relevant, n_documents), relevant, ranks, ks)
    measures: Measures = {}
    for name, credits in by_chance.items():
        chance = float(credits.mean())
        measures[name] = Mean(column=name, chance=chance)
        if chance >= CERTAIN:
            n = int(n_documents.max())
            few = "there is only 1 document" if n == 1 else f"too few of the {n:,} documents are wrong"
            reason = f"every query scores 1, whatever the model: {few}"
            measures[name] = undefined(reason, higher_is_better=True)
    return measures


def definitions(ks: Cutoffs, last: int | None = None) -> Definitions:
    """Return the definitions of the metrics and the baseline of data with judgements.

    Args:
        last: k of the nDCG that is a headline metric, None for the largest.
    """
    last = max(ks) if last is None else last
    metric_definitions = {
        f"ndcg@{k}": Definition(
            f"nDCG@{k}",
            f"Normalised discounted cumulative gain of the first {k} documents, with the grades as gains.",
            is_headline=k == last,
        )
        for k in ks
    }
    metric_definitions["map@R"] = Definition(
        "mAP@R",
        "Average precision of the first R documents, R being the number of documents that are relevant to the query.",
    )
    metric_definitions["mrr"] = Definition(
        "MRR", "Mean reciprocal rank of the first relevant document.", is_headline=True
    )
    for k in ks:
        metric_definitions[f"recall@{k}"] = Definition(
            f"Recall@{k} of relevant documents",
            f"Fraction of a query's relevant documents that is among the first {k}.",
        )
    metric_definitions["r_precision"] = Definition(
        "R-Precision",
        "Fraction of relevant ones among the first R documents, R being the number of documents that are relevant to"
        " the query.",
    )
    for k in ks:
        metric_definitions[f"hit_rate@{k}"] = Definition(
            f"Hit rate@{k}",
            f"Fraction of the queries with a relevant document among the first {k}: R@{k} in papers on CLIP.",
        )
    metric_definitions[f"unjudged@{last}"] = Definition(
        f"Not judged among the first {last}",
        f"Fraction of documents among the first {last} that nobody judged: they count as not relevant.",
        f"ndcg@{last}",
    )
    metric_definitions[f"{DIRECTION}_tie_rate"] = Definition(
        "Ties for first place",
        "Fraction of the queries whose best relevant document ties with one that is not relevant.",
        ("mrr", f"ndcg@{last}"),
    )
    return metric_definitions


def _curves(search: JudgedSearch, levels: relevance.Levels) -> Iterator[tuple[str, Curve]]:
    """Yield nDCG and recall at several k, with their intervals."""
    relevant, n_documents = search.relevant, search.n_documents
    clusters = clusters_by_half_overlap(relevant.query, relevant.document, len(n_documents))
    ks = [k for k in CURVE_KS if k <= n_documents.max()]
    if search.lists is not None:
        ks = [k for k in ks if search.lists.reaches(k)]
    for name, label, role, metric in (
        ("ndcg", "nDCG@k", "ink", relevance.ndcg_at_k),
        ("recall", "recall@k of relevant documents", "pair", relevance.relevant_recall_at_k),
    ):
        curve = curve_of_means(
            [float(k) for k in ks],
            [(metric(levels, relevant, k), clusters) for k in ks],
            x_label="k",
            y_label="nDCG@k and recall@k",
            figure="relevance",
            series=label,
            role=role,
        )
        yield name, curve


def _notes(
    queries: JudgedItems, documents: JudgedItems, left_out: Sequence[Rows], clusters: np.ndarray
) -> Iterator[str]:
    """Yield notes on left-out documents, and on wide intervals if queries with common documents leave few clusters."""
    n_itself = n_images = 0
    for text, rows in zip(queries.texts, left_out, strict=True):
        # A document that is only the query's image has no text, so its text differs from the query's.
        equalities = {documents.texts[row] == text for row in rows.tolist()}
        n_itself += True in equalities
        n_images += False in equalities
    if n_itself:
        yield f"the query itself is left out of the search of {counted(n_itself, 'query', 'queries')}"
    if n_images:
        n_both = int(queries.has_both.sum())
        of_both = f"{n_images:,} of {counted(n_both, 'query', 'queries')} of an image and a text"
        yield f"the own image is left out of the search of {of_both}"
    n, n_queries = n_equal_clusters(clusters), len(clusters)
    if n < FEW_CLUSTERS <= n_queries:
        yield (
            f"intervals are wide: {n_queries:,} queries count as {counted(round(n), 'cluster')}, since queries that"
            " share half of their relevant documents, directly or through others, are one"
        )


def _notes_on_likeness(search: JudgedSearch) -> Iterator[str]:
    """Yield notes on documents that may be the query by another id, or another item by the query's id.

    Both are searched as other items, since only an item of the same id, text and image is the query itself.
    """
    queries, documents, relevant = search.queries, search.documents, search.relevant
    relevant_pairs = set(zip(relevant.query.tolist(), relevant.document.tolist(), strict=True))
    query_rows = np.flatnonzero(queries.has_text & ~queries.has_both).tolist()
    query_texts = {queries.texts[query] for query in query_rows}
    query_ids = {queries.ids[query] for query in query_rows}
    rows_of_text: dict[str, list[int]] = {}
    for row, text in enumerate(documents.texts):
        if text in query_texts and documents.images[row] == NO_IMAGE:
            rows_of_text.setdefault(text, []).append(row)
    row_of_id = {id: row for row, id in enumerate(documents.ids) if id in query_ids}
    n_of_text = n_of_id = 0
    for query in query_rows:
        id, text = queries.ids[query], queries.texts[query]
        others = [row for row in rows_of_text.get(text, ()) if documents.ids[row] != id]
        n_of_text += any((query, row) not in relevant_pairs for row in others)
        document = row_of_id.get(id)
        n_of_id += document is not None and documents.texts[document] not in ("", text)
    if n_of_text:
        yield (
            f"{counted(n_of_text, 'query has', 'queries have')} the text of a document with another id that is not"
            " judged relevant: the document is searched, and counts as wrong"
        )
    if n_of_id:
        yield (
            f"{counted(n_of_id, 'query has', 'queries have')} the id of a document with another text: both are taken"
            " as different items"
        )
