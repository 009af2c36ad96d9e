"""Mixed retrieval: in a corpus of images and texts, does a caption find the right document, whichever of the two it is?

Each image is a document: as the image itself, as its first caption, or as both: the vector of the model's joint
encoder, or without one the mean of the two unit vectors, scaled to length 1. Its other captions are the queries, so
that no query is a document. The fraction of documents that are texts goes from none to all. In one more corpus, a third
each are texts, images and both, as in MixBench. Texts are drawn once: a document that is a text at one share is a text
at all larger shares.

All is measured twice: as it is, and with each modality centred. GR-CLIP subtracts its mean from each modality. The
means here are over the images and over the first captions of the data, which no query enters, and queries take the mean
of captions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE as IMAGES
from clipbench.data.modalities import JOINT
from clipbench.data.modalities import TEXT as TEXTS
from clipbench.errors import MissingPart, UsageError, VectorError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.ranking import Answers, Ranks, expected_rank
from clipbench.metrics.relevance import Levels, Relevant, ndcg_at_k, relevant_recall_at_k
from clipbench.metrics.shift import correction_maps
from clipbench.metrics.similarity import score_blocks, unit
from clipbench.models.protocol import Embedder
from clipbench.results.metric_name import split_outer_subset
from clipbench.results.numbers import counted, shortest
from clipbench.stats.estimators import Samples
from clipbench.stats.measures import (
    ClusteredValues,
    Definition,
    Definitions,
    Mean,
    Measures,
    define,
    defined_values,
    undefined,
)
from clipbench_tasks import mixed_judged
from clipbench_tasks.mixed_judged import BOTH, CENTRED, IMAGE, TEXT, ZERO
from clipbench_tasks.tables import (
    CERTAIN,
    Column,
    Columns,
    Curves,
    Cutoffs,
    QuerySet,
    Rows,
    SearchedItems,
    Table,
    Vectors,
    captions_of,
    check_cutoffs,
    cosine_columns,
    curve_of_means,
    items_at,
    neighbours_of_answers,
    text_column,
    tie_rate,
)

DIRECTION = "mixed"
THIRDS = "thirds"
"""The corpus of a third each."""
UNDEFINED = undefined(ZERO)


class Documents(NamedTuple):
    """The captions of the data as documents and as queries."""

    images: Rows
    """Row of the image of each document."""
    texts: Rows
    """Row of the caption of each document."""
    queries: Rows
    """Rows of the captions that search."""
    right: Rows
    """The document that each query looks for."""


class Corpus(NamedTuple):
    """A corpus, and the kind of each of its documents."""

    name: str
    title: str
    kinds: Rows


class CorpusResults(NamedTuple):
    """The results of all queries in a corpus."""

    answers: Answers
    first_is_text: Column
    """Fraction of texts among the documents with the highest score."""
    first_is_image: Column


def corpus_name(share: float) -> str:
    """Return the name of the corpus of a fraction of texts, such as ``texts=50``."""
    return f"texts={shortest(100 * share)}"


HALF = 0.5
"""Fraction of texts at which recall and the preference for texts are metrics. At all others they are points of
curves.
"""
OF_HALF = corpus_name(HALF)


@dataclass(frozen=True)
class MixedRetrieval(Task):
    """nDCG and recall in corpora of images and texts, and the preference for texts, before and after centring."""

    name = "mixed-retrieval"
    version = 1
    data_form = "paraphrases"
    summary = "nDCG in a corpus of images and texts by the fraction of texts, before and after centring"
    question = "In a corpus of images and texts, does a caption find the right document, whether image or text?"
    scoring = (
        "Each image is one document, as the image or as its first caption, and its other captions search for it. A tie"
        " scores as a random order would."
    )

    ks: tuple[int, ...] = (1, 5, 10)
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        check_cutoffs(self.name, "ks", self.ks)
        if HALF not in self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise UsageError(
                f"task mixed-retrieval: shares = {list(self.shares)}, expected numbers from 0 to 1, {HALF} among them"
            )

    def check(self, dataset: Dataset) -> None:
        """Raise unless some caption can search for its image's document, or judgements have documents of both kinds."""
        if dataset.judgements is not None:
            mixed_judged.check(dataset, dataset.judgements)
            return
        dataset.require("captions", "caption_image")
        documents_of(dataset)

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per query. Needs images with two captions or more, or judgements of texts and images."""
        if dataset.judgements is not None:
            return mixed_judged.evaluation(dataset, dataset.judgements, embedder, self.ks, definitions(self.ks))
        assert dataset.captions is not None
        documents = documents_of(dataset)
        captions = embedder.encode_sides(TEXTS, dataset.captions)
        queries, texts = captions.query[documents.queries], captions.document[documents.texts]
        document_images = items_at(dataset.images, documents.images)
        images = unit(embedder.encode(IMAGES, document_images, "document"))
        joint = None
        if embedder.info.is_joint:
            document_texts = [dataset.captions[row] for row in documents.texts]
            pairs = list(zip(document_images, document_texts, strict=True))
            joint = unit(embedder.encode(JOINT, pairs, "document"))
        corpora = list(corpora_of(len(images), sorted(self.shares), rng))
        results = search_corpora(queries, images, texts, corpora, documents.right, joint)
        notes = []
        n_without = len(documents.images) - len(np.unique(documents.right))
        if n_without:
            notes.append(
                f"{counted(n_without, 'document')} without a query: the image has no other caption, or only captions"
                " equal to the first"
            )
        try:
            maps = correction_maps(images, texts, kind="centring")
            if joint is not None:
                joint = correction_maps(joint, joint, kind="centring").image(joint)
            moved = maps.text(queries), maps.image(images), maps.text(texts)
            centred = search_corpora(*moved, corpora, documents.right, joint)
            results |= {f"{name}/{CENTRED}": result for name, result in centred.items()}
        except VectorError:
            notes.append(ZERO)
        kinds = next(corpus.kinds for corpus in corpora if corpus.name == OF_HALF)
        answers = results[OF_HALF].answers
        shown_texts = np.where(kinds == IMAGE, "", text_column(dataset.captions)[documents.texts])
        shown_images = np.where(kinds == TEXT, -1, documents.images)
        samples = {
            **_query_columns(dataset, documents, shown_texts, shown_images, answers),
            **_columns(results, corpora, documents.right, self.ks),
        }
        documents_of_half = np.where(kinds[:, None] == TEXT, texts, images)
        searched = SearchedItems(documents_of_half, np.arange(len(kinds)), shown_texts.tolist(), shown_images)
        searching = QuerySet(samples["sample_id"].tolist(), queries, documents.right)
        return Evaluation(
            samples=samples,
            inputs={"caption": "caption"},
            measures=_measures(results, corpora, self.ks),
            baselines=_baselines(results, self.ks),
            curves=_curves(samples, corpora, self.ks),
            neighbours=neighbours_of_answers(searching, answers, searched),
            subsets=_titles(corpora),
            notes=tuple(notes),
        )


def _titles(corpora: Sequence[Corpus]) -> dict[str, str]:
    """Return the titles of the corpora, and of the corpora with each modality centred, by subset."""
    titles = {}
    for corpus in corpora:
        titles[corpus.name] = corpus.title
        titles[f"{corpus.name}/{CENTRED}"] = f"{corpus.title}, centred"
    return titles


def documents_of(dataset: Dataset) -> Documents:
    """Return the captions that are documents and the captions that search.

    Raises:
        MissingPart: no image has a second caption.
    """
    texts, caption_image = captions_of(dataset)
    images, firsts, image_index = np.unique(caption_image, return_index=True, return_inverse=True)
    later_captions = np.setdiff1d(np.arange(len(texts)), firsts)
    if not len(later_captions):
        raise MissingPart(dataset.id, "an image with a second caption, which is the query")
    captions = text_column(texts)
    first_of_image = firsts[image_index]  # of the image of each caption
    queries = later_captions[captions[later_captions] != captions[first_of_image[later_captions]]]
    if not len(queries):
        raise MissingPart(dataset.id, "an image with a second caption that differs from the first")
    return Documents(images, firsts, queries, image_index[queries])


def corpora_of(n: int, shares: Sequence[float], rng: np.random.Generator) -> Iterator[Corpus]:
    """Yield the corpora of n documents: one per fraction of texts, and one with a third each of texts, images and
    both.
    """
    order = rng.permutation(n)
    for share in shares:
        title = {0.0: "Images alone", 1.0: "Texts alone"}.get(share, f"{shortest(100 * share)} % texts")
        kinds = np.where(order < round(share * n), TEXT, IMAGE)
        yield Corpus(corpus_name(share), title, kinds)
    yield Corpus(THIRDS, "A third each texts, images and both", order % 3)


def search_corpora(
    queries: Vectors, images: Vectors, texts: Vectors, corpora: list[Corpus], right: Rows, joint: Vectors | None = None
) -> dict[str, CorpusResults]:
    """Return the results of all queries in each corpus, from three products of queries and documents.

    Args:
        joint: vectors of images with their texts, None for the mean of the two.
    """
    total = images + texts if joint is None else joint
    has_direction = np.abs(total).max(axis=1, keepdims=True) > 0
    both = unit(np.where(has_direction, total, images))  # a mean without a direction, of opposite vectors, is the image
    blocks_of_corpus: dict[str, list[_Block]] = {corpus.name: [] for corpus in corpora}
    assert (IMAGE, TEXT, BOTH) == (0, 1, 2)
    scores_of_kinds = (score_blocks(queries, documents) for documents in (images, texts, both))
    for (rows, image_scores), (_, text_scores), (_, both_scores) in zip(*scores_of_kinds, strict=True):
        for corpus in corpora:
            scores = np.choose(corpus.kinds, [image_scores, text_scores, both_scores])
            blocks_of_corpus[corpus.name].append(_search_block(scores, corpus.kinds, right[rows]))
    results = {}
    for name, blocks in blocks_of_corpus.items():
        joined = _Block(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))
        ranks = Ranks(joined.n_above, joined.n_tied, np.ones_like(joined.n_above))
        answers = Answers(ranks, right, joined.right_score, joined.first, joined.first_score)
        results[name] = CorpusResults(answers, joined.first_is_text, joined.first_is_image)
    return results


class _Block(NamedTuple):
    """The results of some queries in a corpus."""

    n_above: Rows
    """Documents with a higher score than the right one."""
    n_tied: Rows
    """Other documents with its score."""
    right_score: np.ndarray
    first: Rows
    first_score: np.ndarray
    first_is_text: Column
    """Fraction of texts among the documents with the highest score."""
    first_is_image: Column


def _search_block(scores: Float32[np.ndarray, "block n_documents"], kinds: Rows, right: Rows) -> _Block:
    rows = np.arange(len(scores))
    right_score, first = scores[rows, right], scores.argmax(axis=1)
    first_score = scores[rows, first]
    is_first = scores == first_score[:, None]
    n_first = is_first.sum(axis=1)
    return _Block(
        n_above=(scores > right_score[:, None]).sum(axis=1),
        n_tied=(scores == right_score[:, None]).sum(axis=1) - 1,
        right_score=right_score,
        first=first,
        first_score=first_score,
        first_is_text=is_first[:, kinds == TEXT].sum(axis=1) / n_first,
        first_is_image=is_first[:, kinds == IMAGE].sum(axis=1) / n_first,
    )


def _columns(results: Mapping[str, CorpusResults], corpora: Sequence[Corpus], right: Rows, ks: Cutoffs) -> Table:
    """Return the metrics of each query in each corpus. A preference is NaN for queries of the other kind."""
    kinds = {corpus.name: corpus.kinds[right] for corpus in corpora}
    columns: Table = {}
    for name, result in results.items():
        kind = kinds[split_outer_subset(name).subset]
        columns |= {f"{name}/{metric}": values for metric, values in _query_metrics(result.answers.ranks, ks).items()}
        columns[f"{name}/text_preference"] = np.where(kind == IMAGE, result.first_is_text, np.nan)
        columns[f"{name}/image_preference"] = np.where(kind == TEXT, result.first_is_image, np.nan)
    if f"{OF_HALF}/{CENTRED}" in results:
        before = columns[f"{OF_HALF}/ndcg@{max(ks)}"]
        after = columns[f"{OF_HALF}/{CENTRED}/ndcg@{max(ks)}"]
        columns[f"{OF_HALF}/centring_gain"] = after - before
    return columns


def _query_metrics(ranks: Ranks, ks: Sequence[int]) -> Columns:
    """Return nDCG at the last k and recall at every k, for queries with a single right document."""
    queries = np.arange(len(ranks.better))
    levels = Levels(queries, ranks.better, ranks.tied + 1, np.ones_like(queries), np.ones(len(queries)))
    relevant = Relevant(queries, np.zeros_like(queries), np.ones_like(queries))
    ndcg = {f"ndcg@{max(ks)}": ndcg_at_k(levels, relevant, max(ks))}
    return ndcg | {f"recall@{k}": relevant_recall_at_k(levels, relevant, k) for k in ks}


def _measures(results: Mapping[str, CorpusResults], corpora: Sequence[Corpus], ks: Cutoffs) -> Measures:
    """Return nDCG in each corpus, and further measures in the corpus of half texts, such as the gain from centring."""
    n = len(corpora[0].kinds)
    constant = Ranks(np.zeros(1, np.int64), np.full(1, n - 1), np.ones(1, np.int64))
    by_chance = {name: float(values[0]) for name, values in _query_metrics(constant, ks).items()}
    measures: Measures = {}
    for corpus in corpora:
        for subset in (corpus.name, f"{corpus.name}/{CENTRED}"):
            subset_measures = _subset_measures(corpus, subset, by_chance, ks)
            measures |= subset_measures if subset in results else dict.fromkeys(subset_measures, UNDEFINED)
    gain = f"{OF_HALF}/centring_gain"
    is_centred = f"{OF_HALF}/{CENTRED}" in results
    measures[gain] = Mean(column=gain, unit="difference", chance=0.0) if is_centred else UNDEFINED
    return define(measures, definitions(ks))


def _subset_measures(corpus: Corpus, subset: str, by_chance: Mapping[str, float], ks: Cutoffs) -> Measures:
    """Return nDCG in a corpus, as it is or centred, with recall and the preference for texts if half are texts."""
    n = len(corpus.kinds)
    last = f"ndcg@{max(ks)}"
    is_half = corpus.name == OF_HALF
    measures: Measures = {}
    for name, chance in by_chance.items():
        column = f"{subset}/{name}"
        if not is_half and name != last:
            continue
        if chance >= CERTAIN:
            measures[column] = undefined(f"every query hits, whatever the model: there are only {n} documents")
        else:
            measures[column] = Mean(column=column, chance=chance, is_headline=subset == OF_HALF and name == last)
    if is_half:
        measures[f"{subset}/text_preference"] = Mean(
            column=f"{subset}/text_preference",
            chance=float((corpus.kinds == TEXT).mean()),
            higher_is_better=False,
            is_headline=subset == OF_HALF,
        )
    return measures


def _baselines(results: Mapping[str, CorpusResults], ks: Cutoffs) -> Measures:
    """Return the preference for images over the right text, and the tie rate, in the corpus of half texts."""
    names = [f"{subset}/image_preference" for subset in (OF_HALF, f"{OF_HALF}/{CENTRED}") if subset in results]
    baselines: Measures = {name: Mean(column=name, higher_is_better=False) for name in names}
    baselines[f"{OF_HALF}/tie_rate"] = tie_rate(results[OF_HALF].answers.ranks.tied > 0)
    return define(baselines, definitions(ks))


def definitions(ks: Cutoffs) -> Definitions:
    """Return the definitions of the metrics and baselines of a corpus."""
    last = max(ks)
    return {
        f"ndcg@{last}": Definition(
            f"nDCG@{last}", f"1 / log2(rank + 1) of the right document if it is among the first {last}, 0 otherwise."
        ),
        **{
            f"recall@{k}": Definition(
                f"R@{k}", f"Fraction of the captions with the right document among the first {k}."
            )
            for k in ks
        },
        "text_preference": Definition(
            "Text before the right image",
            "Fraction of captions with a text as nearest document, among those whose right document is an image.",
        ),
        "centring_gain": Definition(
            f"Gain from centring in nDCG@{last}",
            f"nDCG@{last} with each modality centred, minus its value without centring, over the same captions.",
        ),
        "image_preference": Definition(
            "Image before the right text",
            "Fraction of captions with an image as nearest document, among those whose right document is a text.",
            "text_preference",
        ),
        "tie_rate": Definition(
            "Ties with the right document",
            "Fraction of the captions whose right document ties with another one.",
            f"ndcg@{last}",
        ),
    }


DRAWN_BY_SHARE = ("ndcg", "text_preference")
"""Metrics whose curves a figure shows. The others are in a table."""


def _curves(samples: Samples, corpora: Sequence[Corpus], ks: Cutoffs) -> Curves:
    """Return the metrics by the fraction of texts, with intervals, the preference only if there are both kinds."""
    last = max(ks)
    columns = {"ndcg": (f"ndcg@{last}", f"nDCG@{last}")}
    for k in ks:
        columns[f"recall@{k}"] = (f"recall@{k}", f"R@{k}")
    columns["text_preference"] = ("text_preference", "text before the right image")
    curves = {}
    for name, (column, label) in columns.items():
        for is_centred in (False, True):
            points = _points_by_share(samples, corpora, f"{CENTRED}/{column}" if is_centred else column)
            series = "each modality centred" if is_centred else "as it is"
            if points:
                curves[f"{name}_by_share_{CENTRED}" if is_centred else f"{name}_by_share"] = curve_of_means(
                    points,
                    list(points.values()),
                    chance=list(points) if name == "text_preference" else None,
                    x_label="documents that are texts",
                    y_label=label,
                    figure="fraction of texts",
                    series=series if name in DRAWN_BY_SHARE else "",
                    role="pair" if is_centred else "ink",
                )
    return curves


def _points_by_share(samples: Samples, corpora: Sequence[Corpus], column: str) -> dict[float, ClusteredValues]:
    """Return the values of a column of each corpus by the corpus's fraction of texts, without empty ones."""
    points: dict[float, ClusteredValues] = {}
    for corpus in corpora:
        key = f"{corpus.name}/{column}"
        share = float((corpus.kinds == TEXT).mean())
        has_choice = share > 0 or not column.endswith("text_preference")  # a preference takes both kinds
        if corpus.name != THIRDS and key in samples and has_choice:
            points[share] = defined_values(samples, key)
    return {share: point for share, point in points.items() if len(point[0])}


def _query_columns(dataset: Dataset, documents: Documents, texts: np.ndarray, images: Rows, answers: Answers) -> Table:
    """Return the columns of the queries, their right documents and the first documents.

    Args:
        texts: text of each document, empty for an image.
        images: row of the image of each document, -1 for a text.
    """
    assert dataset.captions is not None
    captions, names = text_column(dataset.captions), text_column(dataset.caption_names())
    rank = expected_rank(answers.ranks)
    of_image = documents.images[documents.right]
    return {
        "sample_id": text_column(f"text:{name}" for name in names[documents.queries]),
        "direction": np.full(len(rank), DIRECTION, object),
        "cluster": text_column(dataset.image_ids)[of_image],
        "image": of_image,
        "margin": 1.5 - rank,
        "caption": captions[documents.queries],
        "target_text": texts[documents.right],
        "target_image": images[documents.right],
        "predicted_text": texts[answers.first],
        "predicted_image": images[answers.first],
        **cosine_columns(answers, f"{DIRECTION}_cosine_margin"),
        f"{DIRECTION}_rank": rank,
    }
