"""Mixed retrieval: in a corpus of images and texts, does a caption find the right document, whichever of the two it is?

Each image is a document: as the image itself, as its first caption, or as both, which is the mean of the two unit vectors,
scaled to length 1. Its other captions are the queries, so that no query is a document. The share of documents that are texts
goes from none to all; in one more corpus, a third each are texts, images and both, as in MixBench. Which are which is drawn
once: a document that is a text at one share is one at all larger shares.

All is measured twice: as it is, and with each modality centred. GR-CLIP subtracts its mean from each modality; the means here
are those of the images and of the first captions of the data, which no query enters, and queries take that of captions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.errors import UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import Levels, Ranks, Relevant, expected_rank, ndcg_at_k, relevant_recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import counted
from clipbench.results.record import Curve
from clipbench.stats.intervals import mean_interval
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define
from clipbench_tasks.mixed_retrieval import given
from clipbench_tasks.mixed_retrieval.search import (
    CENTRED,
    IMAGE,
    TEXT,
    THIRDS,
    ZERO,
    Corpus,
    Documents,
    Found,
    Sides,
    corpora_of,
    corpus_name,
    documents_of,
    searches,
)
from clipbench_tasks.neighbours import Asked, Items, neighbours
from clipbench_tasks.tables import bounded_curve

DIRECTION = "mixed"
HALF = 0.5
"""Share of texts at which recall and the preference for texts are metrics; at all others they are points of curves."""
CERTAIN = 1 - 1e-9
"""A value by chance from which on no model can do worse."""
UNDEFINED = Fixed(value=None, reason=ZERO)


@dataclass(frozen=True)
class MixedRetrieval:
    """nDCG and recall in corpora of images and texts, and the preference for texts, before and after centring."""

    name: ClassVar[str] = "mixed-retrieval"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "nDCG in a corpus of images and texts by the share of texts, before and after centring"
    question: ClassVar[str] = (
        "In a corpus of images and texts, does a caption find the right document, whichever of the two that is?"
    )
    scoring: ClassVar[str] = (
        "Each image is one document, as the image or as its first caption, and its other captions search for it; a tie scores"
        " what a random order would."
    )

    ks: tuple[int, ...] = (1, 5, 10)
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"task mixed-retrieval: ks = {list(self.ks)}, expected numbers from 1 up")
        if HALF not in self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise UsageError(
                f"task mixed-retrieval: shares = {list(self.shares)}, expected numbers from 0 to 1, {HALF} among them"
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row a query. Needs images with two captions or more, or judgements of texts and images."""
        if dataset.judgements is not None:
            return given.evaluation(dataset, dataset.judgements, embedder, self.ks, definitions(self.ks))
        dataset.require("captions", "caption_image")
        assert dataset.captions is not None
        documents = documents_of(dataset)
        texts = unit(embedder.texts(dataset.captions))
        images = unit(embedder.images([dataset.images[row] for row in documents.images.tolist()]))
        sides = Sides(texts[documents.queries], images, texts[documents.texts])
        corpora = list(corpora_of(len(images), sorted(self.shares), rng))
        found = searches(sides, corpora, documents.right)
        half = next(corpus for corpus in corpora if corpus.name == corpus_name(HALF))
        columns = _columns(found, corpora, documents.right, self.ks)
        samples = {**_shown(dataset, documents, half, found[half.name]), **columns}
        return Evaluation(
            samples=samples,
            measures=_measures(found, corpora, self.ks),
            controls=_controls(found, self.ks),
            curves=_curves(samples, corpora, self.ks),
            neighbours=_neighbours(dataset, documents, sides, half, found[half.name]),
            subsets={
                name: title
                for corpus in corpora
                for name, title in (
                    (corpus.name, corpus.title),
                    (f"{corpus.name}/{CENTRED}", f"{corpus.title}, centred"),
                )
            },
            notes=tuple(_notes(documents, found)),
        )


def _columns(
    found: Mapping[str, Found], corpora: Sequence[Corpus], right: Int64[np.ndarray, " n_queries"], ks: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return what each query scores in each corpus; a query that a preference is not of has NaN."""
    kinds = {corpus.name: corpus.kinds[right] for corpus in corpora}
    columns: dict[str, np.ndarray] = {}
    for name, each in found.items():
        kind = kinds[name.partition("/")[0]]
        columns |= {f"{name}/{metric}": values for metric, values in _values(each, ks).items()}
        columns[f"{name}/text_preference"] = np.where(kind == IMAGE, each.first_is_text, np.nan)
        columns[f"{name}/image_preference"] = np.where(kind == TEXT, each.first_is_image, np.nan)
    gained = f"ndcg@{max(ks)}"
    if f"{corpus_name(HALF)}/{CENTRED}" in found:
        before, after = (columns[f"{corpus_name(HALF)}{part}/{gained}"] for part in ("", f"/{CENTRED}"))
        columns[f"{corpus_name(HALF)}/centring_gain"] = after - before
    return columns


def _values(found: Found, ks: Sequence[int]) -> dict[str, Float64[np.ndarray, " n_queries"]]:
    """Return nDCG at the last k and recall at each, of queries with a single right document."""
    queries = np.arange(len(found.above))
    levels = Levels(queries, found.above, found.tied + 1, np.ones_like(queries), np.ones(len(queries)))
    relevant = Relevant(queries, np.zeros_like(queries), np.ones_like(queries))
    ndcg = {f"ndcg@{max(ks)}": ndcg_at_k(levels, relevant, max(ks))}
    return ndcg | {f"recall@{k}": relevant_recall_at_k(levels, relevant, k) for k in ks}


def _measures(found: Mapping[str, Found], corpora: Sequence[Corpus], ks: tuple[int, ...]) -> dict[str, Measure]:
    """Return nDCG in each corpus, and of that of half texts recall, the preference for texts and the gain from centring."""
    n, last, half = len(corpora[0].kinds), f"ndcg@{max(ks)}", corpus_name(HALF)
    by_chance = {name: float(values[0]) for name, values in _values(_tied(n), ks).items()}
    measures: dict[str, Measure] = {}
    for corpus in corpora:
        is_half = corpus.name == half
        for subset in (corpus.name, f"{corpus.name}/{CENTRED}"):
            own: dict[str, Measure] = {
                f"{subset}/{name}": _mean(f"{subset}/{name}", chance, n, is_headline=subset == half and name == last)
                for name, chance in by_chance.items()
                if is_half or name == last
            }
            if is_half:
                own[f"{subset}/text_preference"] = Mean(
                    column=f"{subset}/text_preference",
                    chance=float((corpus.kinds == TEXT).mean()),
                    higher_is_better=False,
                    is_headline=subset == half,
                )
            measures |= own if subset in found else dict.fromkeys(own, UNDEFINED)
    gain = f"{half}/centring_gain"
    is_centred = f"{half}/{CENTRED}" in found
    measures[gain] = Mean(column=gain, unit="difference", chance=0.0) if is_centred else UNDEFINED
    return define(measures, definitions(ks))


def _mean(column: str, chance: float, n: int, *, is_headline: bool) -> Measure:
    if chance >= CERTAIN:
        return Fixed(value=None, reason=f"every query hits, whatever the model: there are only {n} documents")
    return Mean(column=column, chance=chance, is_headline=is_headline)


def _tied(n: int) -> Found:
    """Return what a constant model finds in a corpus of n documents."""
    zero, one = np.zeros(1), np.zeros(1, np.float32)
    return Found(np.zeros(1, np.int64), np.full(1, n - 1), one, np.zeros(1, np.int64), one, zero, zero)


def _controls(found: Mapping[str, Found], ks: tuple[int, ...]) -> dict[str, Measure]:
    """Return how often an image comes before the right text, and the rate of ties, in the corpus of half texts."""
    half = corpus_name(HALF)
    names = [f"{subset}/image_preference" for subset in (half, f"{half}/{CENTRED}") if subset in found]
    is_tied = found[half].tied > 0
    controls: dict[str, Measure] = {name: Mean(column=name, higher_is_better=False) for name in names}
    controls[f"{half}/tie_rate"] = Fixed(
        value=float(is_tied.mean()),
        n=len(is_tied),
        reason="no interval: items that are alike tie together, not one by one",
    )
    return define(controls, definitions(ks))


def definitions(ks: tuple[int, ...]) -> dict[str, Definition]:
    """Return the definitions of the metrics and controls, which all are of a corpus."""
    last = max(ks)
    return {
        f"ndcg@{last}": Definition(
            f"nDCG@{last}", f"1 / log2(rank + 1) of the right document where it is among the first {last}, else 0."
        ),
        **{
            f"recall@{k}": Definition(f"R@{k}", f"Share of the captions with the right document among the first {k}.")
            for k in ks
        },
        "text_preference": Definition(
            "Text before the right image",
            "Share of captions with a text as nearest document, among those whose right document is an image.",
        ),
        "centring_gain": Definition(
            f"Gain from centring in nDCG@{last}",
            f"nDCG@{last} with each modality centred, less that without, over the same captions.",
        ),
        "image_preference": Definition(
            "Image before the right text",
            "Share of captions with an image as nearest document, among those whose right document is a text.",
            "text_preference",
        ),
        "tie_rate": Definition(
            "Ties with the right document",
            "Share of the captions whose right document ties with another one.",
            f"ndcg@{last}",
        ),
    }


def _curves(samples: Mapping[str, np.ndarray], corpora: Sequence[Corpus], ks: tuple[int, ...]) -> dict[str, Curve]:
    """Return each metric by the share of texts, with its intervals; the preference only where there are both kinds."""
    by_share = [corpus for corpus in corpora if corpus.name != THIRDS]
    last = max(ks)
    columns = {"ndcg": (f"ndcg@{last}", f"nDCG@{last}"), **{f"recall@{k}": (f"recall@{k}", f"R@{k}") for k in ks}}
    columns["text_preference"] = ("text_preference", "text before the right image")
    curves = {}
    for name, (column, label) in columns.items():
        for part, end in (("", ""), (f"/{CENTRED}", f"_{CENTRED}")):
            points = {
                float((corpus.kinds == TEXT).mean()): _defined(samples, f"{corpus.name}{part}/{column}")
                for corpus in by_share
                if f"{corpus.name}{part}/{column}" in samples
            }
            points = {
                share: point for share, point in points.items() if len(point[0]) and (name[:4] != "text" or share)
            }
            if points:
                means = list(points.values())
                curves[f"{name}_by_share{end}"] = bounded_curve(
                    list(points),
                    [float(values.mean()) for values, _ in means],
                    [mean_interval(values, clusters=clusters)[:2] for values, clusters in means],
                    x_label="share of texts among the documents",
                    y_label=label,
                )
    return curves


def _defined(samples: Mapping[str, np.ndarray], column: str) -> tuple[Float64[np.ndarray, " n"], np.ndarray]:
    is_defined = ~np.isnan(samples[column])
    return samples[column][is_defined], samples["cluster"][is_defined]


def _shown(dataset: Dataset, documents: Documents, corpus: Corpus, found: Found) -> dict[str, np.ndarray]:
    """Return what each query is, what it looks for and what came first, in one corpus."""
    assert dataset.captions is not None
    captions, names = np.array(dataset.captions, object), np.array(dataset.caption_names(), object)
    right, chosen = found.right_score.astype(np.float64), found.first_score.astype(np.float64)
    rank = expected_rank(_ranks(found))
    of_image = documents.images[documents.right]
    texts, images = _texts_of(dataset, documents, corpus), _images_of(documents, corpus)
    return {
        "sample_id": np.array([f"text:{name}" for name in names[documents.queries]], object),
        "direction": np.full(len(rank), DIRECTION, object),
        "cluster": np.array(dataset.image_ids, object)[of_image],
        "image": of_image,
        "margin": 1.5 - rank,
        "caption": captions[documents.queries],
        "right_text": texts[documents.right],
        "right_image": images[documents.right],
        "chosen_text": texts[found.first],
        "chosen_image": images[found.first],
        "right_cosine": right,
        "chosen_cosine": chosen,
        f"{DIRECTION}_margin": right - chosen,
        f"{DIRECTION}_rank": rank,
    }


def _texts_of(dataset: Dataset, documents: Documents, corpus: Corpus) -> np.ndarray:
    """Return the texts of documents, empty for those that are images."""
    assert dataset.captions is not None
    return np.where(corpus.kinds == IMAGE, "", np.array(dataset.captions, object)[documents.texts])


def _images_of(documents: Documents, corpus: Corpus) -> Int64[np.ndarray, " n_documents"]:
    """Return the rows of the images of documents, -1 for those that are texts."""
    return np.where(corpus.kinds == TEXT, -1, documents.images)


def _ranks(found: Found) -> Ranks:
    return Ranks(found.above, found.tied, np.ones_like(found.above))


def _neighbours(
    dataset: Dataset, documents: Documents, sides: Sides, corpus: Corpus, found: Found
) -> dict[str, np.ndarray]:
    """Return what was nearest to the queries that failed by the widest margins."""
    names = dataset.caption_names()
    ids = [f"text:{names[row]}" for row in documents.queries.tolist()]
    rows = np.arange(len(corpus.kinds))
    texts = _texts_of(dataset, documents, corpus).tolist()
    return neighbours(
        Asked(ids, sides.queries, documents.right),
        Items(sides.documents(corpus), rows, texts, _images_of(documents, corpus)),
        margin=found.right_score.astype(np.float64) - found.first_score,
        is_failure=expected_rank(_ranks(found)) > 1,
    )


def _notes(documents: Documents, found: Mapping[str, Found]) -> Iterator[str]:
    n_without = len(documents.images) - len(np.unique(documents.right))
    if n_without:
        yield (
            f"no caption searches for {counted(n_without, 'document')}: its image has no other caption, or none in other"
            " words than the first"
        )
    if f"{corpus_name(HALF)}/{CENTRED}" not in found:
        yield ZERO
