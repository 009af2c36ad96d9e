"""Retrieval: does a caption find its image among all, and an image its captions?

recall@k is the hit rate of the CLIP papers: the share of queries with a correct item among the first k. Text queries
rank the images (``image_retrieval_recall@k``), images rank the captions (``text_retrieval_recall@k``; any caption
of the image is a hit). Where the data have several captions an image, or labels, captions also look for captions of
the same image, and images for images of the same label, the query itself left out.

Each query's row names the first item: ``chosen_image`` or ``chosen_caption``, with ``chosen_cosine``, beside the
``right_cosine`` of its best right item. Of items that tie, the first in the order of the data is named.

Data with judgements have queries and documents of their own, which are texts, images or both: ``judged`` measures those.

A tie scores what a coin flip would. Where ties decide anything, ``..._strict`` among the controls is recall with a tie
counted as a miss; published numbers take ties in whatever order a sort left them.

A gallery that is too large for all queries is searched by a random sample of each direction's (``queries``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.errors import MissingPart, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import chance_recall_at_k, expected_rank, recall_at_k
from clipbench.models.encoding.unit_vectors import unit_vectors
from clipbench.models.protocol import Embedder
from clipbench.results.record import Curve
from clipbench.stats.estimators import Estimator
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Statistic, define
from clipbench_tasks import judged
from clipbench_tasks.directions import DIRECTIONS, Direction, directions_of
from clipbench_tasks.queries import drawn, sample_notes
from clipbench_tasks.tables import stacked

CURVE_ENDS_AT = 100
"""Largest k of the recall curves."""
CERTAIN = 1 - 1e-9
"""Recall by chance from which on no model can miss."""
SHOWN_PAIRS = 50
"""Pairs in the similarity matrix of the report."""


@dataclass(frozen=True)
class Retrieval:
    """recall@k and median rank in every direction that the data allow."""

    name: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "recall@k and median rank: text to image, image to text, image to image, text to text; nDCG and MRR on judged data"
    )
    question: ClassVar[str] = (
        "Does a caption find its image among all images, and an image its captions among all captions?"
    )
    scoring: ClassVar[str] = (
        "R@k is the share of queries with a right answer among the first k; a tie scores what a coin flip would."
    )

    ks: tuple[int, ...] = (1, 5, 10)
    queries: int | None = None
    """Queries of each direction, a random sample, that search the whole gallery; None for all."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"task retrieval: ks = {list(self.ks)}, expected numbers from 1 up")
        if self.queries is not None and (type(self.queries) is not int or self.queries < 1):
            raise UsageError(f"task retrieval: queries = {self.queries!r}, expected a whole number, 1 or more")

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all."""
        return dataset.images

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row a query. Needs captions, labels for image-to-image retrieval, or judgements."""
        draw = partial(drawn, at_most=self.queries, rng=rng)
        if dataset.judgements is not None:
            judgements, notes = judged.sampled(dataset.judgements, draw)
            found = judged.evaluation(judged.search_of(dataset, judgements, embedder), self.ks)
            return replace(found, notes=(*notes, *found.notes))
        if dataset.captions is None and dataset.labels is None:
            raise MissingPart(dataset.id, "captions")
        images = unit_vectors(embedder.images(dataset.images), embedder)
        texts = None if dataset.captions is None else unit_vectors(embedder.texts(dataset.captions), embedder)
        directions = list(directions_of(dataset, images, texts, draw))
        if not directions:
            labels = (
                "two images of a class" if len(np.unique(np.array(dataset.labels))) > 1 else "images of two classes"
            )
            raise MissingPart(dataset.id, "captions" if "captions" in dataset.missing else f"captions, or {labels}")
        measures: dict[str, Measure] = {}
        for direction in directions:
            measures |= self._measures(direction)
        return Evaluation(
            samples=stacked(*(_table(direction, dataset, self.ks) for direction in directions)),
            measures=measures,
            curves={f"{direction.name}_recall": _curve(direction) for direction in directions},
            controls={
                name: control for direction in directions for name, control in _controls(direction, self.ks).items()
            },
            arrays={} if texts is None else {"similarity": _shown_similarity(dataset, images, texts, rng)},
            neighbours=stacked(*map(_named_neighbours, directions)),
            notes=sample_notes((len(each.images), each.n_all, DIRECTIONS[each.name][1]) for each in directions),
        )

    def _measures(self, direction: Direction) -> dict[str, Measure]:
        """Return the metrics of one direction."""
        measures: dict[str, Measure] = {}
        for k in self.ks:
            name = f"{direction.name}_recall@{k}"
            chance = chance_recall_at_k(direction.n_positives, direction.n_gallery, k)
            if k >= direction.n_gallery or chance >= CERTAIN:
                few = f"the gallery has only {direction.n_gallery} items"
                cause = few if k >= direction.n_gallery else f"too few of the {direction.n_gallery} items are wrong"
                reason = f"every query hits, whatever the model: {cause}"
                measures[name] = Fixed(value=None, reason=reason, higher_is_better=True)
            else:
                measures[name] = Mean(column=name, chance=chance)
        column = f"{direction.name}_rank"
        measures[f"{direction.name}_median_rank"] = Statistic(
            function=Estimator("median", (column,)), columns=(column,), unit="rank", higher_is_better=False
        )
        return define(measures, _definitions(direction.name, self.ks))


def _definitions(direction: str, ks: tuple[int, ...]) -> dict[str, Definition]:
    """Return the definitions of a direction's metrics and controls."""
    title, queries = DIRECTIONS[direction]
    first, is_cross = f"{direction}_recall@{min(ks)}", direction.endswith("retrieval")
    definitions = {
        f"{direction}_median_rank": Definition(
            f"{title} median rank", f"Median rank of the first right answer, over the {queries} that search."
        ),
        f"{direction}_tie_rate": Definition(
            "Ties for first place",
            f"Share of the {queries} whose right answer ties with a wrong one.",
            first,
        ),
    }
    for k in ks:
        name, recall = f"{direction}_recall@{k}", f"{title} R@{k}"
        share = f"Share of the {queries} with a right answer among the first {k}"
        definitions[name] = Definition(recall, f"{share}.", is_headline=is_cross and name == first)
        definitions[f"{name}_strict"] = Definition(
            f"{recall}, ties as misses", f"{share}, where a tie counts as a miss.", name
        )
    return definitions


def _table(direction: Direction, dataset: Dataset, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return one row a query."""
    name, answers = direction.name, direction.answers
    right, chosen = answers.right_score.astype(np.float64), answers.first_score.astype(np.float64)
    return {
        "sample_id": np.array([f"{name}:{sample}" for sample in direction.sample_ids], object),
        "direction": np.full(len(direction.images), name, object),
        "cluster": direction.clusters,
        "image": direction.images,
        "margin": 1.5
        - expected_rank(direction.ranks),  # above 0 only where the right item is first; 0 for a tie of two
        **direction.columns,
        "right_cosine": right,
        "chosen_cosine": chosen,
        f"{name}_margin": right - chosen,
        **_columns(direction, ks),
    }


def _named_neighbours(direction: Direction) -> dict[str, np.ndarray]:
    """Return the neighbours of a direction with the ids of its rows in the table of samples."""
    ids = [f"{direction.name}:{sample}" for sample in direction.neighbours["sample_id"].tolist()]
    return {**direction.neighbours, "sample_id": np.array(ids, object)}


def _controls(direction: Direction, ks: tuple[int, ...]) -> dict[str, Measure]:
    """Return the rate of ties, and recall with a tie counted as a miss where that differs."""
    tied = _is_tied(direction)
    controls: dict[str, Measure] = {
        f"{direction.name}_tie_rate": Fixed(
            value=float(tied.mean()),
            n=len(tied),
            reason="no interval: items that are alike tie together, not one by one",
        )
    }
    controls |= {name: Mean(column=name) for name in _strict(direction, ks)}
    return define(controls, _definitions(direction.name, ks))


def _is_tied(direction: Direction) -> Float64[np.ndarray, " n_queries"]:
    """Return 1 for each query whose best right item ties with a wrong one, else 0."""
    return (direction.ranks.tied > 0).astype(np.float64)


def _strict(direction: Direction, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the queries that hit whatever the order of ties, for each k at which ties decide any."""
    hits = {k: recall_at_k(direction.ranks, k) for k in ks if k < direction.n_gallery}
    return {
        f"{direction.name}_recall@{k}_strict": (hit == 1).astype(np.float64)
        for k, hit in hits.items()
        if ((hit > 0) & (hit < 1)).any()
    }


def _columns(direction: Direction, ks: tuple[int, ...]) -> Mapping[str, np.ndarray]:
    name, ranks = direction.name, direction.ranks
    return {
        **_strict(direction, ks),
        f"{name}_rank": expected_rank(ranks),
        f"{name}_tied": _is_tied(direction),
        **{f"{name}_recall@{k}": recall_at_k(ranks, k) for k in ks if k < direction.n_gallery},
    }


def _curve(direction: Direction) -> Curve:
    ks = range(1, min(CURVE_ENDS_AT, direction.n_gallery) + 1)
    recall = [float(recall_at_k(direction.ranks, k).mean()) for k in ks]
    return Curve(x=[float(k) for k in ks], y=recall, x_label="k", y_label="recall@k")


def _shown_similarity(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    texts: Float32[np.ndarray, "n_texts dim"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "n_shown n_shown"]:
    """Return the cosines between a seeded sample of images and the first caption of each, pairs on the diagonal."""
    assert dataset.caption_image is not None
    _, first = np.unique(dataset.caption_image, return_index=True)
    chosen = np.sort(rng.choice(len(images), min(SHOWN_PAIRS, len(images)), replace=False))
    return images[chosen] @ texts[first[chosen]].T
