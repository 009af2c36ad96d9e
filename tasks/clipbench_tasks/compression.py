"""Compression: the cost of a vector, and the loss when it is stored in fewer bytes.

Each image and text is encoded once. Its vector is then stored in each of several formats (``metrics.compression``):
float16, the first k dimensions, k principal components, int8 of k dimensions or of k components, and the signs of k
dimensions. Each format answers the questions of retrieval (data with captions) and of zero-shot classification (data
with labels), with their rules for ties, and each query's credit is compared with its credit by the whole float32
vectors.

Stored are the images that captions search, the captions that images search, and the images that are classified. The
other side are queries. Formats are fitted only on stored vectors, as in a store of vectors: on no query, and on no
label. An image to classify is stored and tested at once, so its components are fitted on other images (cross-fitting).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.prompts import Prompts
from clipbench.errors import DataError, MissingPart, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores
from clipbench.metrics.compression import Components, Format, Kind, compress, principal_components
from clipbench.metrics.ranking import chance_recall_at_k, cross_ranks, recall_at_k
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import bounded, count, counted, percent, shortest
from clipbench.results.record import Curve, Metric, StoredFormat
from clipbench.stats.clusters import cluster_sums
from clipbench.stats.estimators import Samples
from clipbench.stats.intervals import mean_interval
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
from clipbench.stats.noninferiority import Walk, least_lost, least_queries, walk
from clipbench_tasks.tables import (
    Column,
    Curves,
    Rows,
    Vectors,
    captions_of,
    curve_of_means,
    items_at,
    join_evaluations,
    labels_of,
    sample_rows,
    text_column,
)
from clipbench_tasks.zero_shot import prompted_classes

QUESTIONS = {
    "image_retrieval_recall@1": ("Text-to-image R@1", "captions whose image comes first", "images"),
    "text_retrieval_recall@1": ("Image-to-text R@1", "images for which one of their captions comes first", "captions"),
    "acc1": ("Top-1 accuracy", "images whose true class has the nearest prompt", "images"),
}
"""Metrics: a title, what they count, and what is stored."""
KINDS: tuple[tuple[Kind, ...], ...] = (("first",), ("pca",), ("float16", "int8"), ("pca_int8",), ("binary",))
"""Kinds of formats. Kinds of one group are tested as one sequence, from the largest to the smallest."""
SERIES = {
    "float32": "float32 and float16",
    "float16": "float32 and float16",
    "int8": "int8 of the first dimensions",
    "first": "first dimensions",
    "pca": "principal components",
    "pca_int8": "int8 of components",
    "binary": "signs",
}
"""The name of each kind in a figure."""
SMALLEST_DIM = 16
LEAST_VECTORS = 2
"""Stored vectors, at least, for each principal component."""
SAMPLED_IMAGES = 5_000
"""Images, a seeded sample of a larger set, that are asked about, with their captions."""
N_FOLDS = 5
"""Parts of the images that are classified."""

Some = slice | Bool[np.ndarray, " n"]
ALL = slice(None)
Fits = list[tuple[Components | None, Some]]
"""Principal components, each with the queries whose answers they are for."""


class CompressionQuestion(NamedTuple):
    """A metric, the vectors that it compares, and how a query's answer is credited."""

    name: str
    ids: np.ndarray
    """Ids of the samples."""
    images: Rows
    """Row of each sample's image in the data set."""
    clusters: Shaped[np.ndarray, " n"]
    stored: Vectors
    queries: Vectors
    credit: Callable[[Vectors, Vectors, Some], Column]
    """Credit in [0, 1] of the queries in some rows, from all stored vectors and all queries."""
    chance: float
    folds: Rows | None = None
    """Folds of queries that are themselves stored: components for one fold are fitted on the others."""


@dataclass(frozen=True, kw_only=True)
class SmallestFormat(Definition):
    """Bytes of the smallest format that is shown to lose less than a margin, or the reason why there is none."""

    question: str
    chains: tuple[tuple[Format, ...], ...]
    """The formats of each kind, from the largest to the smallest. A kind that needs more vectors has none."""
    dim: int
    points: float
    chance: float

    @property
    def forms(self) -> list[Format]:
        """All formats."""
        return [form for forms in self.chains for form in forms]

    def walk(self, samples: Samples) -> Walk:
        """Return the formats that are shown to lose less than the margin."""
        changes = []
        for forms in self.chains:
            changes.append({form.name: self._changes(samples, form)[0] for form in forms})
        _, clusters = self._changes(samples)
        return walk(changes, self.points / 100, clusters=clusters)

    def choose(self, samples: Samples, verdict: Walk) -> Format | None:
        """Return the smallest passed format, or the one that loses least of equal ones, None if nothing can be lost."""
        passed = [form for form in self.forms if form.name in verdict.passed]
        if not self._can_lose(samples):
            return None
        return min(passed, key=lambda form: (form.n_bytes, verdict.most_lost[form.name]), default=None)

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the bytes. The choice, in a sentence, is the reason why they have no interval."""
        changes, clusters = self._changes(samples)
        n = len(cluster_sums(changes, clusters))
        if not n:
            return self.define(Metric(value=None, unit="bytes", higher_is_better=None, reason="no query"))
        verdict = self.walk(samples)
        form = self.choose(samples, verdict)
        if form is None:
            n_bytes, reason = None, self._reason_without_format(samples, verdict, n)
        else:
            n_bytes, reason = float(form.n_bytes), self._sentence(samples, form)
        # A model that has more to lose may need more bytes: between models, no direction is better.
        metric = Metric(value=n_bytes, n=len(changes), unit="bytes", higher_is_better=None, reason=reason)
        return self.define(metric)

    def _can_lose(self, samples: Samples) -> bool:
        """Return whether float32 is surely better than chance by the margin: a model at chance has nothing to lose."""
        float32_credit, clusters = defined_values(samples, self.question)
        low = mean_interval(float32_credit, clusters=clusters).low
        return low is not None and low - self.chance > self.points / 100

    def _sentence(self, samples: Samples, form: Format) -> str:
        """Return the bytes that a format saves, with the margin next to float32's score, which gives it its weight."""
        saved = f"{counted(form.n_bytes, 'byte')} instead of {count(4 * self.dim)}"
        margin = f"{in_points(self.points)} of the {self._float32_score(samples)} of float32"
        return f"{describe_format(form, self.dim)} lose less than {margin}: {saved}"

    def _float32_score(self, samples: Samples) -> str:
        return bounded(Mean(column=self.question).metric(samples, np.random.default_rng(0)))

    def _reason_without_format(self, samples: Samples, verdict: Walk, n: int) -> str:
        margin, n_kinds = self.points / 100, len(self.chains)
        if not verdict.passed and least_lost(n, n_kinds) >= margin:
            return (
                f"{count(n)} images are too few to show that a format loses less than {in_points(self.points)}: even"
                f" one that changes no answer may lose {percent(least_lost(n, n_kinds))} points."
                f" {count(least_queries(margin, n_kinds))} images are needed"
            )
        if not self._can_lose(samples):
            return (
                f"float32 has {self._float32_score(samples)}, too close to chance to measure a loss of"
                f" {in_points(self.points)}"
            )
        name = min(verdict.most_lost, key=verdict.most_lost.__getitem__)
        form = next(form for form in self.forms if form.name == name)
        return (
            f"no format is shown to lose less than {in_points(self.points)} of the {self._float32_score(samples)} of"
            f" float32: {describe_format(form, self.dim, is_first=False)} may lose"
            f" {percent(verdict.most_lost[name])} points"
        )

    def _changes(self, samples: Samples, form: Format | None = None) -> ClusteredValues:
        """Return the changes of a format and their clusters, of any format if none is given."""
        form = form or self.forms[0]
        return defined_values(samples, f"{form.name}/{self.question}_change")


@dataclass(frozen=True)
class Compression(Task):
    """Quality of vectors that are stored in fewer bytes, and the smallest that lose less than a margin."""

    name = "compression"
    version = 1
    summary = (
        "recall@1 and accuracy of vectors in fewer bytes (fewer dimensions, PCA, float16, int8, signs), and the"
        " smallest format that suffices"
    )
    question = "In how few bytes can a vector be stored before its answers get worse?"
    scoring = (
        "Vectors are encoded once and stored in each format. The credit of a query is compared with its credit by the"
        " whole float32 vectors. Components are fitted only on the stored vectors, and for an image to classify on"
        " other images. A tie scores as a random choice would."
    )

    dims: tuple[int, ...] | None = None
    """Numbers of dimensions, ascending, None for the powers of two from 16 up."""
    points: float = 1.0
    """Percentage points of recall or accuracy that may be lost."""
    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""

    def __post_init__(self) -> None:
        if self.dims is not None and (not self.dims or min(self.dims) < 2 or list(self.dims) != sorted(set(self.dims))):
            raise UsageError(f"task compression: dims = {list(self.dims)}, expected ascending numbers from 2 up")
        if not 0 < self.points < 100:
            raise UsageError(
                f"task compression: points = {self.points:g}, expected percentage points between 0 and 100"
            )

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions of two images, or two images with labels and class names."""
        if dataset.captions is None and dataset.labels is None:
            raise MissingPart(dataset.id, "captions")
        if dataset.captions is None:
            dataset.require("class_names", "labels")
        if len(dataset) < 2:
            raise DataError(f"data set {dataset.id} has {counted(len(dataset), 'image')}: compression needs two images")
        if dataset.caption_image is not None and (n := len(np.unique(dataset.caption_image))) < 2:
            raise DataError(
                f"data set {dataset.id} has captions of {counted(n, 'image')}: compression needs captions of two"
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per query of each question. Needs captions, or labels and class names."""
        has_classes = dataset.labels is not None and len(dataset.class_names or ()) > 1
        notes: list[str] = []
        questions: list[CompressionQuestion] = []
        if dataset.captions is not None:
            questions += retrieval(dataset, embedder, rng, notes)
        if dataset.captions is None or has_classes:
            questions.append(zero_shot(dataset, embedder, rng, notes, self.prompts))
        elif dataset.labels is not None:
            fault = "with only one class" if dataset.class_names else "without class names"
            notes.append(f"labels {fault}: images are not classified")
        dim = questions[0].stored.shape[1]
        chains = self._chains(dim)
        evaluation = join_evaluations([self._answers(question, chains, dim) for question in questions])
        forms = [form for chain in chains for form in chain]
        stored = {form.name: StoredFormat(label=form.label, n_bytes=form.n_bytes) for form in forms}
        return replace(
            evaluation,
            notes=tuple(notes),
            subsets={form.name: describe_format(form, dim) for form in forms},
            formats={"": StoredFormat(label="float32", n_bytes=4 * dim), **stored},
        )

    def _chains(self, dim: int) -> list[tuple[Format, ...]]:
        """Return the formats of each kind, from the largest to the smallest."""
        dims = self.dims or powers_of_two(dim)
        if max(dims, default=0) >= dim and self.dims is not None:
            raise UsageError(
                f"task compression: dims = {list(dims)}, expected numbers below {dim}, the dimension of the vectors"
            )
        fewer = sorted(dims, reverse=True)
        dims_by_kind = {"float16": [dim], "int8": [dim, *fewer], "binary": [dim, *fewer]}
        chains = []
        for kinds in KINDS:
            forms: list[Format] = []
            for kind in kinds:
                forms += [Format(kind, k) for k in dims_by_kind.get(kind, fewer)]
            if forms:
                chains.append(tuple(forms))
        return chains

    def _answers(self, question: CompressionQuestion, chains: Sequence[tuple[Format, ...]], dim: int) -> Evaluation:
        """Return the table, measures and curves of one question."""
        name, n_stored = question.name, len(question.stored)
        float32_credit = question.credit(question.stored, question.queries, ALL)
        samples = {
            "sample_id": question.ids,
            "cluster": question.clusters,
            "image": question.images,
            name: float32_credit,
        }
        measures: Measures = {}
        fits: Fits = []
        for form in (form for forms in chains for form in forms):
            column = f"{form.name}/{name}"
            if n_stored < _least_stored(form):
                least_stored = count(_least_stored(form))
                reason = (
                    f"{count(form.dim)} components need {least_stored} stored vectors or more, and there are"
                    f" {count(n_stored)}"
                )
                measures[column] = undefined(reason, higher_is_better=True)
                measures[f"{column}_change"] = undefined(reason, "difference")
                continue
            if form.is_fitted and not fits:
                fits = _fits(question)
            credit = _credit(question, form, fits)
            samples |= {column: credit, f"{column}_change": credit - float32_credit}
            measures[column] = Mean(column=column, chance=question.chance)
            # A model that has more to lose is no worse for losing more: between models, no direction is better.
            measures[f"{column}_change"] = Mean(column=f"{column}_change", unit="difference", higher_is_better=None)
        measurable = []
        for forms in chains:
            measurable.append(tuple(form for form in forms if n_stored >= _least_stored(form)))
        smallest = SmallestFormat(
            question=name, chains=tuple(measurable), dim=dim, points=self.points, chance=question.chance
        )
        first: Measures = {f"{name}_smallest": smallest, name: Mean(column=name, chance=question.chance)}
        return Evaluation(
            samples=samples,
            inputs={"sample_id": "query"},
            measures=define(first | measures, definitions(self.points)),
            curves=_curves(smallest, samples),
        )


def retrieval(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, notes: list[str]
) -> list[CompressionQuestion]:
    """Return the questions of captions that look for their image, and of images that look for a caption."""
    all_captions, caption_image = captions_of(dataset)
    rows = _sample_images(np.unique(caption_image), "images with their captions", rng, notes)
    captions = np.flatnonzero(np.isin(caption_image, rows))
    owner = np.searchsorted(rows, caption_image[captions])
    images = embedder.encode_sides(IMAGE, items_at(dataset.images, rows))
    texts = embedder.encode_sides(TEXT, items_at(all_captions, captions))
    names = text_column(dataset.image_ids)[rows]
    caption_names = text_column(dataset.caption_names())[captions]

    def by_caption(stored: Vectors, queries: Vectors, query_rows: Some) -> Column:
        return recall_at_k(cross_ranks(stored, queries, owner)[1], 1)[query_rows]

    def by_image(stored: Vectors, queries: Vectors, query_rows: Some) -> Column:
        return recall_at_k(cross_ranks(queries, stored, owner)[0], 1)[query_rows]

    return [
        CompressionQuestion(
            name="image_retrieval_recall@1",
            ids="image_retrieval:text:" + caption_names,
            images=rows[owner],
            clusters=names[owner],
            stored=images.document,
            queries=texts.query,
            credit=by_caption,
            chance=1 / len(rows),
        ),
        CompressionQuestion(
            name="text_retrieval_recall@1",
            ids="text_retrieval:image:" + names,
            images=rows,
            clusters=names,
            stored=texts.document,
            queries=images.query,
            credit=by_image,
            chance=chance_recall_at_k(np.bincount(owner), len(captions), 1),
        ),
    ]


def zero_shot(
    dataset: Dataset, embedder: Embedder, rng: np.random.Generator, notes: list[str], prompts: Prompts | None
) -> CompressionQuestion:
    """Return the question of images, which are stored, that are classified by prompts."""
    all_labels, class_names = labels_of(dataset)
    rows = _sample_images(np.arange(len(dataset)), "images to classify", rng, notes)
    names, labels = text_column(dataset.image_ids)[rows], all_labels[rows]

    def credit(stored: Vectors, queries: Vectors, query_rows: Some) -> Column:
        return class_scores(stored[query_rows], queries, labels[query_rows]).credit()

    return CompressionQuestion(
        name="acc1",
        ids="class:" + names,
        images=rows,
        clusters=names,
        stored=unit(embedder.encode(IMAGE, items_at(dataset.images, rows), "query")),
        queries=prompted_classes(dataset, prompts, embedder),
        credit=credit,
        chance=1 / len(class_names),
        folds=rng.permutation(len(rows)) % N_FOLDS,
    )


def _sample_images(rows: Rows, noun: str, rng: np.random.Generator, notes: list[str]) -> Rows:
    if len(rows) > SAMPLED_IMAGES:
        notes.append(f"a seeded sample of {count(SAMPLED_IMAGES)} of {count(len(rows))} {noun}")
    return sample_rows(rows, SAMPLED_IMAGES, rng)


def _fits(question: CompressionQuestion) -> Fits:
    """Return principal components, each with the queries whose answers they are for."""
    if question.folds is None:
        return [(principal_components(question.stored), ALL)]
    parts = [question.folds == fold for fold in np.unique(question.folds)]
    return [(principal_components(question.stored[~part]), part) for part in parts]


def _credit(question: CompressionQuestion, form: Format, fits: Fits) -> Column:
    credit = np.empty(len(question.ids))
    for components, rows in fits if form.is_fitted else [(None, ALL)]:
        # Those of a fold are stored among all: an int8 scale is that of all stored vectors.
        stored, queries = compress(form, question.stored, question.queries, components)
        credit[rows] = question.credit(stored, queries, rows)
    return credit


def _least_stored(form: Format) -> int:
    return LEAST_VECTORS * form.dim if form.is_fitted else 0


def powers_of_two(dim: int) -> tuple[int, ...]:
    """Return the powers of two below a number of dimensions, from 16 up, for 32 dimensions or fewer from a quarter up.

    Example:
        >>> powers_of_two(512), powers_of_two(8), powers_of_two(2)
        ((16, 32, 64, 128, 256), (2, 4), ())
    """
    smallest = min(SMALLEST_DIM, dim / 4)
    powers = [2**exponent for exponent in range(1, 32)]
    return tuple(power for power in powers if smallest <= power < dim)


def definitions(points: float) -> Definitions:
    """Return the definitions of the metrics, without the format."""
    metric_definitions: Definitions = {}
    for name, (title, counted_things, stored) in QUESTIONS.items():
        metric_definitions |= {
            f"{name}_smallest": Definition(
                f"{title}: bytes of the smallest vectors that lose less than {in_points(points)}",
                "Bytes of a stored vector in the smallest format that a test shows to lose less than"
                f" {in_points(points)} of the fraction of {counted_things}.",
                is_headline=True,
            ),
            name: Definition(title, f"Fraction of {counted_things}, where the {stored} are stored in the format."),
            f"{name}_change": Definition(
                f"{title}, change from float32",
                f"Fraction of {counted_things}, minus the share with whole float32 vectors, over the same queries.",
            ),
        }
    return metric_definitions


def _curves(smallest: SmallestFormat, samples: Samples) -> Curves:
    """Return quality and the most that may be lost by bytes, for each kind, and the point of the smallest format."""
    verdict, question = smallest.walk(samples), smallest.question
    axes: Mapping[str, Any] = {"x_label": "bytes per vector", "figure": f"{question} by bytes"}
    float32_format = Format("first", smallest.dim)
    by_kind: dict[str, list[Format]] = {"float32": [float32_format]}
    for forms in smallest.chains:
        for form in reversed(forms):
            by_kind.setdefault(form.kind, []).append(form)
    curves = {}
    for kind, forms_of_kind in by_kind.items():
        n_bytes, values = [], []
        for form in forms_of_kind:
            column = question if form == float32_format else f"{form.name}/{question}"
            n_bytes.append(float(form.n_bytes))
            values.append(defined_values(samples, column))
        curves[f"{kind}/{question}_by_bytes"] = curve_of_means(
            n_bytes, values, y_label=QUESTIONS[question][0], series=SERIES[kind], **axes
        )
        tested = [form for form in forms_of_kind if form.name in verdict.most_lost]
        if tested:
            n_bytes = [float(form.n_bytes) for form in tested]
            most_lost = [verdict.most_lost[form.name] for form in tested]
            curves[f"{kind}/{question}_most_lost"] = Curve(x=n_bytes, y=most_lost, y_label="lost at most", **axes)
    chosen = smallest.choose(samples, verdict)
    if chosen is not None:
        mean = float(samples[f"{chosen.name}/{question}"].mean())
        curves[f"{question}_smallest"] = Curve(x=[float(chosen.n_bytes)], y=[mean], **axes)
    return curves


def describe_format(form: Format, dim: int, *, is_first: bool = True) -> str:
    """Return the description of a format, in the plural.

    Example:
        >>> describe_format(Format("int8", 128), 512), describe_format(Format("binary", 512), 512)
        ('The first 128 dimensions as int8', 'The signs of all 512 dimensions')
    """
    if form.is_fitted:
        dimensions = f"{count(form.dim)} principal components"
    elif form.dim == dim:
        dimensions = f"all {count(dim)} dimensions"
    else:
        dimensions = f"the first {count(form.dim)} dimensions"
    phrase = f"the signs of {dimensions}" if form.kind == "binary" else dimensions
    phrase = f"{phrase} as {form.number}" if form.number in ("int8", "float16") else phrase
    return f"{phrase[:1].upper()}{phrase[1:]}" if is_first else phrase


def in_points(points: float) -> str:
    return f"{shortest(points)} {'point' if points == 1 else 'points'}"
