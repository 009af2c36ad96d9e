"""Mixed retrieval on data with judgements, such as MixBench, whose documents are texts, images or both already.

All that ``retrieval`` measures on such data, once more with each modality centred, and how often a text comes first
if a text looks only for images. The means are over the images and over the texts of the documents. A document that is
both is the mean of its two centred vectors. If a joint encoder makes one vector of both, these are a modality of their
own. A modality without documents has the mean of the queries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.questions import JudgedItems, Judgements
from clipbench.errors import DataError, VectorError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.relevance import judged_answers
from clipbench.metrics.shift import correction_maps
from clipbench.metrics.similarity import score_blocks
from clipbench.models.protocol import Embedder
from clipbench.stats.measures import Definitions, Mean, Measure, Measures, define, undefined
from clipbench_tasks import judged
from clipbench_tasks.tables import Column, Cutoffs, Rows, Table, Vectors

IMAGE, TEXT, BOTH = range(3)
"""Kinds of a document: an image, a text, or one of each."""
CENTRED = "centred"
"""Prefix of metrics with each modality centred."""
ZERO = "centring leaves a vector without a direction: it is the mean of its modality"
PREFERENCES = {"text_preference": (TEXT, IMAGE), "image_preference": (IMAGE, TEXT)}
"""The modality of the first document, and the modality of all relevant documents."""
NO_IMAGE_ALONE = "no query is a text whose relevant documents are all images without a text"


def evaluation(
    dataset: Dataset, judgements: Judgements, embedder: Embedder, ks: Cutoffs, metrics: Definitions
) -> Evaluation:
    """Return the evaluation of ``retrieval``, with the metrics of centred vectors and the preference for texts."""
    kinds = _kinds(judgements.documents)
    search = judged.search_of(dataset, judgements, embedder)
    base = judged.evaluation(search, ks)
    columns = dict(_columns(search, kinds, ks))
    if f"{CENTRED}/ndcg@{max(ks)}" in columns:
        columns["centring_gain"] = columns[f"{CENTRED}/ndcg@{max(ks)}"] - base.samples[f"ndcg@{max(ks)}"]
    measures, baselines = _measures(base.measures, columns, kinds)
    definitions = {name: metrics[name] for name in (*PREFERENCES, "centring_gain")}
    notes = base.notes if "centring_gain" in columns else (*base.notes, ZERO)
    return replace(
        base,
        samples={**base.samples, **columns},
        measures={**base.measures, **define(measures, definitions)},
        baselines={**base.baselines, **define(baselines, definitions)},
        subsets={CENTRED: "Each modality centred"},
        question="",  # the task's own
        lists={},  # retrieval has them
        notes=notes,
    )


def check(dataset: Dataset, judgements: Judgements) -> None:
    """Raise DataError if no document has an image, none has a text, or no query has a relevant document."""
    kinds = _kinds(judgements.documents)
    for kind, words in ((IMAGE, "an image"), (TEXT, "a text")):
        if not np.isin(kinds, (kind, BOTH)).any():
            raise DataError(f"data set {dataset.id}: no document has {words}: expected documents of both kinds")
    judged.check(dataset, judgements)


def _kinds(items: JudgedItems) -> Rows:
    return np.where(items.has_both, BOTH, np.where(items.has_text, TEXT, IMAGE))


def _columns(search: judged.JudgedSearch, kinds: Rows, ks: Cutoffs) -> Iterator[tuple[str, Column]]:
    """Yield the preferences of each query, and its metrics with both modalities centred if that is possible."""
    yield from _preferences("", search, kinds, *search.vectors)
    of_queries, of_documents = search.parts
    try:
        centred_queries = _centred_parts(of_queries, of_queries, of_documents)
        centred_documents = _centred_parts(of_documents, of_queries, of_documents)
        queries = judged.item_vectors(search.queries, centred_queries)
        documents = judged.item_vectors(search.documents, centred_documents)
    except VectorError:
        return
    yield from _preferences(f"{CENTRED}/", search, kinds, queries, documents)
    levels, answers = judged_answers(queries, documents, search.relevant, without=search.left_out)
    for name, values in judged.query_metrics(levels, search.relevant, answers.ranks, ks).items():
        yield f"{CENTRED}/{name}", values


def _centred_parts(parts: judged.Parts, of_queries: judged.Parts, of_documents: judged.Parts) -> judged.Parts:
    texts = _centred(parts.texts, of_queries.texts, of_documents.texts)
    images = _centred(parts.images, of_queries.images, of_documents.images)
    if parts.joint is None or of_queries.joint is None or of_documents.joint is None:
        return judged.Parts(texts, images, None)
    return judged.Parts(texts, images, _centred(parts.joint, of_queries.joint, of_documents.joint))


def _centred(vectors: Vectors, of_queries: Vectors, of_documents: Vectors) -> Vectors:
    """Return vectors of one modality minus the documents' mean (the queries' mean without documents), at length 1."""
    if not len(vectors):
        return vectors
    fitted = of_documents if len(of_documents) else of_queries
    return correction_maps(fitted, fitted, kind="centring").text(vectors)


def _preferences(
    subset: str, search: judged.JudgedSearch, kinds: Rows, queries: Vectors, documents: Vectors
) -> Iterator[tuple[str, Column]]:
    """Yield the fraction of first documents of another kind than the relevant ones, NaN if these are of several
    kinds.
    """
    shares = {name: np.full(len(search.queries.ids), np.nan) for name in PREFERENCES}
    for rows, scores in score_blocks(queries, documents):
        for line, left_out in zip(scores, search.left_out[rows], strict=True):
            line[left_out] = -np.inf
        is_first = scores == scores.max(axis=1, keepdims=True)
        for name, (kind, _) in PREFERENCES.items():
            shares[name][rows] = is_first[:, kinds == kind].sum(axis=1) / is_first.sum(axis=1)
    of_relevant = kinds[search.relevant.document]
    for name, (_, right) in PREFERENCES.items():
        n_others = np.bincount(search.relevant.query, of_relevant != right)
        shares[name][(n_others > 0) | (_kinds(search.queries) != TEXT)] = np.nan
        yield f"{subset}{name}", shares[name]


def _measures(of_retrieval: Mapping[str, Measure], columns: Table, kinds: Rows) -> tuple[Measures, Measures]:
    """Return the metrics of centred vectors, the preference for texts, the gain from centring, and the baselines."""
    uncentred = undefined(ZERO)
    measures: Measures = {}
    for name, measure in of_retrieval.items():
        column = f"{CENTRED}/{name}"
        if isinstance(measure, Mean):
            is_there = column in columns
            measures[column] = replace(measure, column=column, is_headline=False, limit="") if is_there else uncentred
    baselines: Measures = {}
    for subset in ("", f"{CENTRED}/"):
        text, image = (f"{subset}{name}" for name in PREFERENCES)
        chance = float((kinds == TEXT).mean())
        if text not in columns:
            measures[text] = uncentred
            continue
        has_queries = not np.isnan(columns[text]).all()
        preference = Mean(column=text, chance=chance, higher_is_better=False)
        measures[text] = preference if has_queries else undefined(NO_IMAGE_ALONE, higher_is_better=False)
        baselines[image] = Mean(column=image, higher_is_better=False)
    has_gain = "centring_gain" in columns
    measures["centring_gain"] = Mean(column="centring_gain", unit="difference", chance=0.0) if has_gain else uncentred
    return measures, baselines
