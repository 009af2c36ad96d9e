"""Compression: what a vector costs, and what is lost when it is stored in fewer bytes.

Each image and text is encoded once. Its vector is then stored in each of several formats (``metrics.compression``): as float16; the
first k dimensions; k principal components; int8 of k dimensions, or of k components; and the signs of k dimensions. Each format
answers the questions of retrieval (data with captions) and of zero-shot classification (data with labels), with their
rules for ties, and each query's credit is compared with its credit by the whole float32 vectors.

Stored are the images that captions search, the captions that images search, and the images that are classified; the other side
are queries. What is fitted is fitted on what is stored alone, as in a store of vectors: no query, and no label. An image that is
classified is itself what is tested, so that its components are fitted on other images (cross-fitting).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts
from clipbench.errors import DataError, MissingPart, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.compression import Components, Format, Kind, compressed, principal_components
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, counted
from clipbench.results.record import Curve
from clipbench.stats.intervals import mean_interval
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define, defined
from clipbench_tasks.compression.questions import ALL, Question, Rows, retrieval, zero_shot
from clipbench_tasks.compression.smallest import Smallest, in_points, words
from clipbench_tasks.tables import bounded_curve, stacked

QUESTIONS = {
    "image_retrieval_recall@1": ("Text-to-image R@1", "captions whose image comes first", "images"),
    "text_retrieval_recall@1": ("Image-to-text R@1", "images for which one of their captions comes first", "captions"),
    "acc1": ("Top-1 accuracy", "images whose true class has the nearest prompt", "images"),
}
"""Metrics: a title, what they count, and what is stored."""
KINDS: tuple[tuple[Kind, ...], ...] = (("first",), ("pca",), ("float16", "int8"), ("pca_int8",), ("binary",))
"""Kinds of formats; those that stand together are walked as one, from the largest to the smallest."""
SMALLEST_DIM = 16
LEAST_VECTORS = 2
"""Stored vectors, at least, for each principal component."""


@dataclass(frozen=True)
class Compression:
    """Quality of vectors that are stored in fewer bytes, and the smallest that lose less than a point."""

    name: ClassVar[str] = "compression"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "recall@1 and accuracy of vectors in fewer bytes: fewer dimensions, PCA, float16, int8, signs; the smallest that will do"
    )
    question: ClassVar[str] = "In how few bytes can a vector be stored before its answers get worse?"
    scoring: ClassVar[str] = (
        "Vectors are encoded once and stored in each format; a query's credit is compared with its credit by the whole float32 "
        "vectors. Components are fitted on the stored vectors alone; those of an image to classify, on other images. A tie scores what a "
        "coin flip would."
    )

    dims: tuple[int, ...] | None = None
    """Numbers of dimensions, ascending; None takes the powers of two from 16 up."""
    points: float = 1.0
    """Percentage points of recall or accuracy that may be lost."""
    prompts: Prompts | None = None
    """Prompts of the classes; None takes the data set's own templates, or else the default."""

    def __post_init__(self) -> None:
        if self.dims is not None and (not self.dims or min(self.dims) < 2 or list(self.dims) != sorted(set(self.dims))):
            raise UsageError(f"task compression: dims = {list(self.dims)}, expected ascending numbers from 2 up")
        if not 0 < self.points < 100:
            raise UsageError(
                f"task compression: points = {self.points:g}, expected percentage points between 0 and 100"
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row a query of each question. Needs captions, or labels and class names."""
        if dataset.captions is None and dataset.labels is None:
            raise MissingPart(dataset.id, "captions")
        has_classes = dataset.labels is not None and len(dataset.class_names or ()) > 1
        if len(dataset) < 2:
            raise DataError(f"data set {dataset.id} has {counted(len(dataset), 'image')}: compression needs two")
        notes: list[str] = []
        questions: list[Question] = []
        if dataset.captions is not None:
            questions += retrieval(dataset, embedder, rng, notes)
        if dataset.captions is None or has_classes:
            questions.append(zero_shot(dataset, embedder, rng, notes, self.prompts))
        elif dataset.labels is not None:
            of_what = "of one class" if dataset.class_names else "without class names"
            notes.append(f"labels {of_what}: images are not classified")
        dim = questions[0].stored.shape[1]
        chains = self._chains(dim)
        found = [self._answers(question, chains, dim) for question in questions]
        return Evaluation(
            samples=stacked(*(each.samples for each in found)),
            measures={name: measure for each in found for name, measure in each.measures.items()},
            curves={name: curve for each in found for name, curve in each.curves.items()},
            notes=tuple(notes),
            subsets={form.name: words(form, dim) for chain in chains for form in chain},
        )

    def _chains(self, dim: int) -> list[tuple[Format, ...]]:
        """Return the formats of each kind, from the largest to the smallest."""
        dims = self.dims or powers_of_two(dim)
        if max(dims, default=0) >= dim and self.dims is not None:
            raise UsageError(f"task compression: dims = {list(dims)}, expected fewer than the {dim} of the vectors")
        fewer = sorted(dims, reverse=True)
        whole = {"float16": [dim], "int8": [dim, *fewer], "binary": [dim, *fewer]}
        chains = [tuple(Format(kind, k) for kind in kinds for k in whole.get(kind, fewer)) for kinds in KINDS]
        return list(filter(None, chains))

    def _answers(self, question: Question, chains: Sequence[tuple[Format, ...]], dim: int) -> Evaluation:
        """Return the table, measures and curves of one question."""
        name, n_stored = question.name, len(question.stored)
        whole = question.credit(question.stored, question.queries, ALL)
        samples = {
            "sample_id": question.ids,
            "cluster": question.clusters,
            "image": question.images,
            name: whole,
        }
        measures: dict[str, Measure] = {}
        fits: list[tuple[Components | None, Rows]] = []
        for form in (form for chain in chains for form in chain):
            own = f"{form.name}/{name}"
            if n_stored < _least_stored(form):
                least = count(_least_stored(form))
                reason = (
                    f"{count(form.dim)} components need {least} stored vectors or more, and there are {count(n_stored)}"
                )
                measures[own] = Fixed(value=None, reason=reason, higher_is_better=True)
                measures[f"{own}_change"] = Fixed(value=None, reason=reason, unit="difference")
                continue
            if form.is_fitted and not fits:
                fits = _fits(question)
            credit = _credit(question, form, fits)
            samples |= {own: credit, f"{own}_change": credit - whole}
            measures[own] = Mean(column=own, chance=question.chance)
            # A model that has more to lose is no worse for losing more: between models, no direction is better.
            measures[f"{own}_change"] = Mean(column=f"{own}_change", unit="difference", higher_is_better=None)
        kept = [tuple(form for form in chain if n_stored >= _least_stored(form)) for chain in chains]
        smallest = Smallest(question=name, chains=tuple(kept), dim=dim, points=self.points, chance=question.chance)
        first: dict[str, Measure] = {
            f"{name}_smallest": smallest,
            name: Mean(column=name, chance=question.chance),
        }
        return Evaluation(
            samples=samples,
            measures=define(first | measures, definitions(self.points)),
            curves=_curves(smallest, samples),
        )


def _fits(question: Question) -> list[tuple[Components | None, Rows]]:
    """Return principal components, each with the queries whose answers they are for."""
    if question.folds is None:
        return [(principal_components(question.stored), ALL)]
    parts = [question.folds == fold for fold in np.unique(question.folds)]
    return [(principal_components(question.stored[~part]), part) for part in parts]


def _credit(question: Question, form: Format, fits: list[tuple[Components | None, Rows]]) -> Float64[np.ndarray, " n"]:
    credit = np.empty(len(question.ids))
    for components, rows in fits if form.is_fitted else [(None, ALL)]:
        # Those of a fold are stored among all: an int8 scale is that of all stored vectors.
        stored, queries = compressed(form, question.stored, question.queries, components)
        credit[rows] = question.credit(stored, queries, rows)
    return credit


def _least_stored(form: Format) -> int:
    return LEAST_VECTORS * form.dim if form.is_fitted else 0


def powers_of_two(dim: int) -> tuple[int, ...]:
    """Return the powers of two below a number of dimensions, from 16 up; of 32 dimensions or fewer, from a quarter up.

    Example:
        >>> powers_of_two(512), powers_of_two(8), powers_of_two(2)
        ((16, 32, 64, 128, 256), (2, 4), ())
    """
    return tuple(2**power for power in range(1, 32) if min(SMALLEST_DIM, dim / 4) <= 2**power < dim)


def definitions(points: float) -> dict[str, Definition]:
    """Return the definitions of the metrics, without the format."""
    found = {}
    for name, (title, counted_things, stored) in QUESTIONS.items():
        found[f"{name}_smallest"] = Definition(
            f"{title}: bytes of the smallest vectors that lose less than {in_points(points)}",
            f"Bytes of a stored vector in the smallest format that a test shows to lose less than {in_points(points)} of the share of "
            f"{counted_things}.",
            is_headline=True,
        )
        found[name] = Definition(title, f"Share of {counted_things}, where the {stored} are stored in the format.")
        found[f"{name}_change"] = Definition(
            f"{title}, change from float32",
            f"Share of {counted_things}, less that by the whole float32 vectors, over the same queries.",
        )
    return found


def _curves(smallest: Smallest, samples: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """Return quality and the most that may be lost by bytes, for each kind, and the point of the smallest format."""
    found, question, whole = smallest.walk(samples), smallest.question, Format("first", smallest.dim)
    by_kind: dict[str, list[Format]] = {}
    for form in (form for chain in smallest.chains for form in reversed(chain)):
        by_kind.setdefault(form.kind, []).append(form)
    curves = {}
    for kind, forms in {"float32": [whole], **by_kind}.items():
        columns = [question if form == whole else f"{form.name}/{question}" for form in forms]
        hits = [defined(samples, name) for name in columns]
        bounds = [mean_interval(column, clusters=clusters)[:2] for column, clusters in hits]
        sizes, means = [float(form.n_bytes) for form in forms], [float(column.mean()) for column, _ in hits]
        curves[f"{kind}/{question}_by_bytes"] = bounded_curve(
            sizes, means, bounds, x_label="bytes per vector", y_label=QUESTIONS[question][0]
        )
        lost = [(form.n_bytes, found.most_lost[form.name]) for form in forms if form.name in found.most_lost]
        if lost:
            x, y = zip(*lost, strict=True)
            name = f"{kind}/{question}_most_lost"
            curves[name] = Curve(x=list(map(float, x)), y=y, x_label="bytes per vector", y_label="lost at most")
    chosen = smallest.chosen(samples, found)
    if chosen is not None:
        mean = float(samples[f"{chosen.name}/{question}"].mean())
        curves[f"{question}_smallest"] = Curve(x=[float(chosen.n_bytes)], y=[mean], x_label="bytes per vector")
    return curves
