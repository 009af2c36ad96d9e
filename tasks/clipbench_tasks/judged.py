"""Retrieval on data with judgements: where do the relevant documents of a query stand among all documents?

Queries and documents are texts, images or both. The vector of one that is both is the mean of the two unit vectors, scaled
to length 1. A document that was not judged counts as not relevant. Queries without a relevant document are left out and
counted, and a document that is the query itself (the same id, text and image) is no answer. Nor is a query's own image, if the query is an
image and a text that says what to change in it: that is CIRR's rule (Liu et al., ICCV 2021). Results on data where it leaves something
out are of a higher version of the task, so that those made without the rule do not compare with them, while all others do.

Captions are judgements of grade 1: the caption of an image that is the only relevant document has MRR and nDCG of its rank.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.judgements import NO_IMAGE, JudgedItems, Judgements
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import (
    Answers,
    Levels,
    Ranks,
    Relevant,
    average_precision_at_r,
    chance_levels,
    expected_rank,
    judged_answers,
    ndcg_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    relevant_documents,
    relevant_recall_at_k,
)
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import counted
from clipbench.results.record import Curve
from clipbench.stats.clusters import alike, n_equal_clusters
from clipbench.stats.intervals import mean_interval
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.neighbours import Asked, IsRight, Items, neighbours
from clipbench_tasks.queries import Draw, sample_notes
from clipbench_tasks.tables import bounded_curve

QUESTION = "Are the documents that people judged relevant to a query the first that it finds?"
SCORING = (
    "nDCG@k has the grades as gains; documents that tie stand in random order, and values are expected over that order."
)
DIRECTION = "judged"
CERTAIN = 1 - 1e-9
"""A value by chance from which on no model can do worse."""
FEW_CLUSTERS = 10
"""Clusters of one size below which a note says why intervals are wide."""
CURVE_KS = (1, 2, 3, 5, 10, 20, 50, 100)


class Parts(NamedTuple):
    """Unit vectors of what queries or documents are made of."""

    texts: Float32[np.ndarray, "n_texts dim"]
    """Of the items that have a text, in their order."""
    images: Float32[np.ndarray, "n_images dim"]
    """Of the items that have an image, in their order."""


class Search(NamedTuple):
    """The queries that have a relevant document, the documents, and the vectors of both."""

    queries: JudgedItems
    documents: JudgedItems
    relevant: Relevant
    left_out: Sequence[Int64[np.ndarray, " _"]]
    """The rows of the documents that each query does not look for."""
    parts: tuple[Parts, Parts]
    """Of the queries, and of the documents."""
    vectors: tuple[Float32[np.ndarray, "n_queries dim"], Float32[np.ndarray, "n_documents dim"]]
    """Unit vectors, likewise."""
    n_unjudged: int
    """Queries without a relevant document, which are left out."""

    @property
    def n_documents(self) -> Int64[np.ndarray, " n_queries"]:
        """Documents that each query searches."""
        return len(self.documents.ids) - np.array([len(rows) for rows in self.left_out])


def sampled(judgements: Judgements, draw: Draw) -> tuple[Judgements, tuple[str, ...]]:
    """Return the judgements of the queries that are drawn from those with a relevant document, and a note; or all, and none."""
    _, asked = relevant_documents(judgements.query, judgements.document, judgements.grade)
    rows = asked[draw([judgements.queries.ids[row] for row in asked.tolist()])]
    if len(rows) == len(asked):
        return judgements, ()
    return judgements.take_queries(rows), sample_notes([(len(rows), len(asked), "queries")])


def search_of(dataset: Dataset, judgements: Judgements, embedder: Embedder) -> Search:
    """Return the queries that have a relevant document, what they search, and the vectors.

    Raises:
        DataError: no query has one.
    """
    relevant, asked = relevant_documents(judgements.query, judgements.document, judgements.grade)
    if not len(asked):
        raise DataError(f"data set {dataset.id} judges no document relevant: expected a grade above 0")
    queries, documents = judgements.queries.take(asked), judgements.documents
    nothing = np.zeros((0, embedder.info.embed_dim), np.float32)
    images = unit(embedder.images(dataset.images)) if len(dataset.images) else nothing
    parts, vectors = [], []
    for items in (queries, documents):
        texts = [text for text in items.texts if text]
        own = Parts(unit(embedder.texts(texts)) if texts else nothing, images[items.images[items.images != NO_IMAGE]])
        parts.append(own)
        vectors.append(item_vectors(items, own))
    left_out = themselves(queries, documents, relevant)
    n_unjudged = len(judgements.queries.ids) - len(asked)
    return Search(queries, documents, relevant, left_out, (parts[0], parts[1]), (vectors[0], vectors[1]), n_unjudged)


def evaluation(search: Search, ks: tuple[int, ...]) -> Evaluation:
    """Return a row for each query."""
    queries, documents, relevant, left_out, _, vectors, n_unjudged = search
    levels, answers = judged_answers(*vectors, relevant, without=left_out)
    ids = [f"query:{id}" for id in queries.ids]
    samples = _table(search, levels, answers, ids, ks)
    return Evaluation(
        samples=samples,
        measures=_measures(relevant, search.n_documents, ks),
        controls=_controls(answers, ks),
        curves={f"{DIRECTION}_{name}": curve for name, curve in _curves(search, levels)},
        neighbours=neighbours(
            Asked(ids, vectors[0], np.arange(len(ids)), left_out),
            Items(vectors[1], np.arange(len(documents.ids)), documents.texts, documents.images),
            margin=answers.right_score.astype(np.float64) - answers.first_score,
            is_failure=expected_rank(answers.ranks) > 1,
            is_right=_is_relevant(relevant, len(documents.ids)),
        ),
        question=QUESTION,
        scoring=SCORING,
        notes=(*_notes(n_unjudged, queries, documents, left_out), *_notes_on_clusters(samples["cluster"])),
    )


def item_vectors(items: JudgedItems, parts: Parts) -> Float32[np.ndarray, "n dim"]:
    """Return the unit vector of each query or document: of its text or image, or of the mean of both unit vectors."""
    has_text, has_image = np.array([bool(text) for text in items.texts]), items.images != NO_IMAGE
    vectors = np.zeros((len(items.ids), parts.texts.shape[1]), np.float32)
    vectors[has_text] = parts.texts
    vectors[has_image] += parts.images
    has_both = has_text & has_image
    vectors[has_both] = unit(vectors[has_both])
    return vectors


def themselves(queries: JudgedItems, documents: JudgedItems, relevant: Relevant) -> list[Int64[np.ndarray, " _"]]:
    """Return the rows of the documents that each query is, without those that were judged relevant to it.

    For a query of an image and a text they include all documents that are this image alone.
    """
    rows = {id: row for row, id in enumerate(documents.ids)}
    alone: dict[int, list[int]] = {}
    for row, (text, image) in enumerate(_contents(documents)):
        if image != NO_IMAGE and not text:
            alone.setdefault(image, []).append(row)
    starts = np.searchsorted(relevant.query, np.arange(len(queries.ids) + 1))
    left_out = []
    for query, (id, (text, image)) in enumerate(zip(queries.ids, _contents(queries), strict=True)):
        at = rows.get(id, -1)
        is_document = at >= 0 and documents.texts[at] == text and documents.images[at] == image
        own = np.array([*([at] if is_document else ()), *(alone.get(image, ()) if text else ())], np.int64)
        left_out.append(np.setdiff1d(own, relevant.document[starts[query] : starts[query + 1]]) if len(own) else own)
    return left_out


def _n_leaving_out(
    queries: JudgedItems, documents: JudgedItems, left_out: Sequence[Int64[np.ndarray, " _"]]
) -> tuple[int, int]:
    """Return how many queries leave out the document that they are, and how many documents that are their own image alone."""
    is_itself = [  # a document of the query's image alone has no text, so another than the query's
        {documents.texts[row] == text for row in rows.tolist()}
        for text, rows in zip(queries.texts, left_out, strict=True)
    ]
    return sum(True in each for each in is_itself), sum(False in each for each in is_itself)


def _contents(items: JudgedItems) -> Iterator[tuple[str, int]]:
    """Yield the text and the row of the image of each item."""
    return zip(items.texts, items.images.tolist(), strict=True)


def _is_relevant(relevant: Relevant, n_documents: int) -> IsRight:
    """Return a function that says of pairs whether the document is relevant to the query."""
    pairs = relevant.query * n_documents + relevant.document

    def is_relevant(
        query: Int64[np.ndarray, " pairs"], document: Int64[np.ndarray, " pairs"]
    ) -> Bool[np.ndarray, " pairs"]:
        return np.isin(query * n_documents + document, pairs)

    return is_relevant


def values(levels: Levels, relevant: Relevant, ranks: Ranks, ks: Sequence[int]) -> dict[str, Float64[np.ndarray, " n"]]:
    """Return each metric of each query."""
    return {
        **{f"ndcg@{k}": ndcg_at_k(levels, relevant, k) for k in ks},
        **{f"recall@{k}": relevant_recall_at_k(levels, relevant, k) for k in ks},
        **{f"hit_rate@{k}": recall_at_k(ranks, k) for k in ks},
        "map@R": average_precision_at_r(levels, relevant),
        "r_precision": r_precision(levels, relevant),
        "mrr": reciprocal_rank(ranks),
    }


def _table(
    search: Search, levels: Levels, answers: Answers, ids: list[str], ks: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return one row a query: what it is, its best relevant document, the first of all, and each metric."""
    queries, documents, relevant = search.queries, search.documents, search.relevant
    right, chosen = answers.right_score.astype(np.float64), answers.first_score.astype(np.float64)
    rank = expected_rank(answers.ranks)
    # Queries with much the same relevant documents, such as captions of one image, are found or missed together.
    clusters = np.array(queries.ids, object)[alike(relevant.query, relevant.document, len(ids))]
    texts, names = np.array(documents.texts, object), np.array(documents.ids, object)
    return {
        "sample_id": np.array(ids, object),
        "direction": np.full(len(ids), DIRECTION, object),
        "cluster": clusters,
        "image": queries.images,
        "margin": 1.5 - rank,
        "query": np.array(queries.texts, object),
        "right_document": names[answers.right],
        "right_text": texts[answers.right],
        "right_image": documents.images[answers.right],
        "chosen_document": names[answers.first],
        "chosen_text": texts[answers.first],
        "chosen_image": documents.images[answers.first],
        "n_relevant": relevant.counts,
        "right_cosine": right,
        "chosen_cosine": chosen,
        f"{DIRECTION}_margin": right - chosen,
        f"{DIRECTION}_rank": rank,
        f"{DIRECTION}_tied": (answers.ranks.tied > 0).astype(np.float64),
        **values(levels, relevant, answers.ranks, ks),
    }


def _measures(
    relevant: Relevant, n_documents: Int64[np.ndarray, " n_queries"], ks: tuple[int, ...]
) -> dict[str, Measure]:
    ranks = Ranks(0 * n_documents, n_documents - relevant.counts, relevant.counts)
    by_chance = values(chance_levels(relevant, n_documents), relevant, ranks, ks)
    measures: dict[str, Measure] = {}
    for name, each in by_chance.items():
        chance = float(each.mean())
        measures[name] = Mean(column=name, chance=chance)
        if chance >= CERTAIN:
            n = int(n_documents.max())
            few = "there is only 1 document" if n == 1 else f"too few of the {n:,} documents are wrong"
            reason = f"every query scores 1, whatever the model: {few}"
            measures[name] = Fixed(value=None, reason=reason, higher_is_better=True)
    return define(measures, definitions(ks))


def _controls(answers: Answers, ks: tuple[int, ...]) -> dict[str, Measure]:
    is_tied = answers.ranks.tied > 0
    reason = "no interval: items that are alike tie together, not one by one"
    rate = Fixed(value=float(is_tied.mean()), n=len(is_tied), reason=reason)
    return define({f"{DIRECTION}_tie_rate": rate}, definitions(ks))


def definitions(ks: tuple[int, ...]) -> dict[str, Definition]:
    """Return the definitions of the metrics and the control of data with judgements."""
    last = max(ks)
    found = {
        f"ndcg@{k}": Definition(
            f"nDCG@{k}",
            f"Normalised discounted cumulative gain of the first {k} documents, with the grades as gains.",
            is_headline=k == last,
        )
        for k in ks
    }
    found["map@R"] = Definition(
        "mAP@R",
        "Average precision of the first R documents, R being the number of documents that are relevant to the query.",
    )
    found["mrr"] = Definition("MRR", "Mean reciprocal rank of the first relevant document.", is_headline=True)
    for k in ks:
        found[f"recall@{k}"] = Definition(
            f"Recall@{k} of relevant documents", f"Share of a query's relevant documents that is among the first {k}."
        )
    found["r_precision"] = Definition(
        "R-Precision",
        "Share of relevant ones among the first R documents, R being the number of documents that are relevant to the query.",
    )
    for k in ks:
        found[f"hit_rate@{k}"] = Definition(
            f"Hit rate@{k}",
            f"Share of the queries with a relevant document among the first {k}: R@{k} in papers on CLIP.",
        )
    found[f"{DIRECTION}_tie_rate"] = Definition(
        "Ties for first place",
        "Share of the queries whose best relevant document ties with one that is not relevant.",
        ("mrr", f"ndcg@{last}"),
    )
    return found


def _curves(search: Search, levels: Levels) -> Iterator[tuple[str, Curve]]:
    """Yield nDCG and recall at several k, with their intervals."""
    relevant, n_documents = search.relevant, search.n_documents
    clusters = alike(relevant.query, relevant.document, len(n_documents))
    ks = [k for k in CURVE_KS if k <= n_documents.max()]
    for name, label, metric in (("ndcg", "nDCG@k", ndcg_at_k), ("recall", "recall@k", relevant_recall_at_k)):
        columns = [metric(levels, relevant, k) for k in ks]
        intervals = [mean_interval(column, clusters=clusters) for column in columns]
        yield (
            name,
            bounded_curve(
                [float(k) for k in ks],
                [float(column.mean()) for column in columns],
                [(interval.low, interval.high) for interval in intervals],
                x_label="k",
                y_label=label,
            ),
        )


def _notes(
    n_unjudged: int, queries: JudgedItems, documents: JudgedItems, left_out: Sequence[Int64[np.ndarray, " _"]]
) -> Iterator[str]:
    if n_unjudged:
        yield f"{counted(n_unjudged, 'query', 'queries')} without a relevant document: left out"
    n_itself, n_images = _n_leaving_out(queries, documents, left_out)
    if n_itself:
        yield f"the query itself is left out of the search of {counted(n_itself, 'query', 'queries')}"
    if n_images:
        n_both = sum(bool(text) and image != NO_IMAGE for text, image in _contents(queries))
        of_both = f"{n_images:,} of {counted(n_both, 'query', 'queries')} of an image and a text"
        yield f"the own image is left out of the search of {of_both}"


def _notes_on_clusters(clusters: np.ndarray) -> Iterator[str]:
    """Yield why intervals are wide, where chains of queries with common documents leave few independent ones."""
    n, n_queries = n_equal_clusters(clusters), len(clusters)
    if n < FEW_CLUSTERS <= n_queries:
        yield (
            f"intervals are wide: {n_queries:,} queries count as {counted(round(n), 'cluster')}, since those that share half of their"
            " relevant documents, directly or through others, are one"
        )
