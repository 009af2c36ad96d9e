"""Tasks: frozen dataclasses of parameters that ask for vectors and return rows, measures and curves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.errors import Unavailable
from clipbench.metrics.result_lists import ScoredItems
from clipbench.models.protocol import COSINE, Embedder
from clipbench.results.metric_name import base_name
from clipbench.results.record import Curve, StoredFormat
from clipbench.results.sample_inputs import InputKind
from clipbench.stats.measures import Definition, Fixed, Measure, Within

OF_UNIT_VECTORS = (
    "is defined only for vectors of length 1, and this model ranks by the inner product (similarity = 'dot')"
)
INNER_PRODUCTS = "the model ranks by the inner product: the cosines in samples and figures are inner products"


@dataclass(frozen=True, kw_only=True)
class ResultLists:
    """The result lists of the queries of a search."""

    queries: Sequence[str]
    """Names of the queries, as ``rankings:FILE`` has them."""
    items: Sequence[str]
    first: Callable[[int], ScoredItems]
    """Returns the first results of each query. Its argument is the number of results per query; more are returned if
    they score as the last one does."""
    depth: int | None = None
    """Number of results that finished lists may have, which a run keeps. None if ``first`` can return any number."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of a task: one row per sample, and the measures that turn rows into metrics.

    Example:
        >>> from clipbench import Mean
        >>> samples = {"sample_id": np.array(["a", "b"], object), "hit": np.array([1.0, 0.0])}
        >>> Evaluation(samples=samples, measures={"acc": Mean(column="hit", chance=0.5)}).measures["acc"].column
        'hit'
    """

    samples: Mapping[str, np.ndarray]
    """Columns of equal length. ``sample_id`` is distinct; ``cluster`` (if any) names what samples belong together;
    ``image`` (if any) is the row of the sample's image in the data set and ``margin`` how far the sample is from
    failing (negative: it failed), which choose the small images to keep. A missing number is NaN."""
    measures: Mapping[str, Measure]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    baselines: Mapping[str, Measure] = field(default_factory=dict)
    """Scores of blind rules, tie rates: reported next to the metrics."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arrays that figures need, kept whole."""
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Arrays of equal length whose rows belong together, such as the vectors of pairs. The run keeps a seeded sample
    of their rows, or all of them with ``--keep-arrays``. If they are the ``images`` and ``texts`` of pairs with their
    ``pair_id``, ``clipbench compare`` and ``clipbench plot representational-similarity`` compare models by them."""
    neighbours: Mapping[str, np.ndarray] = field(default_factory=dict)
    """A row for each of the few texts or images that were nearest to a listed failure: ``sample_id``, ``place`` from 1,
    ``text``, ``image`` (a row of the data set, -1 for none), ``cosine``, ``is_right``, and ``label_set`` where there
    are several. Empty where a task has none.
    """
    lists: Mapping[str, ResultLists] = field(default_factory=dict)
    """Result lists by the side of their queries: ``text``, ``image`` or ``query``. The run keeps finished lists, and
    the first results of others with ``--keep-lists``."""
    more_images: Sequence[ImageRef] = ()
    """Images that the data set does not have, such as disturbed copies. Columns of images name them by the rows that
    follow the data set's ``gallery``."""
    notes: tuple[str, ...] = ()
    question: str = ""
    """The question that was asked, if the data change the task's own. The same holds for ``scoring``."""
    scoring: str = ""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Titles of the subsets that metric names begin with, in addition to the data set's titles."""
    accuracy: str = ""
    """Name of the metric that is the top-1 accuracy over the classes of the data: on ImageNet and its shifts, the
    effective robustness of models is computed from it."""
    formats: Mapping[str, StoredFormat] = field(default_factory=dict)
    """Formats of stored vectors by the subset whose metrics are measured on them, such as ``int8@64`` for the metric
    ``int8@64/acc1``; the empty name is the format of ``acc1`` itself. ``clipbench show`` prints these metrics, with
    their ``int8@64/acc1_change``, as a table by bytes; the reason of ``acc1_smallest`` is the line below it."""
    inputs: Mapping[str, InputKind] = field(default_factory=dict)
    """What columns of the samples say about the inputs of a sample: ``{"label": "class"}``. ``clipbench explain`` makes
    groups of them. ``docs/plugins.md`` lists the kinds."""


class Task:
    """Base class of tasks: a question put to a model. Subclasses are frozen dataclasses whose fields are the
    parameters.
    """

    name: ClassVar[str]
    """The name in ``--tasks``, such as ``zero-shot``."""
    version: ClassVar[int]
    """Raised whenever the same inputs would give other numbers."""
    summary: ClassVar[str]
    """One line for ``clipbench list tasks``."""
    question: ClassVar[str] = ""
    """The question that is put to a model, for the report."""
    scoring: ClassVar[str] = ""
    """The rule by which an answer is scored, for the report."""
    data_form: ClassVar[str] = "pairs"
    """The form of generated data that it is measured on: "classes", "training", "pairs", "paraphrases", "contrasts",
    "attacks" or "long-captions". For "attacks" words are written onto any images of classes; "training" takes
    ``--data-option train=SPLIT``.
    """
    needs_model: ClassVar[bool] = False
    """True where the task encodes images or texts that no data set holds, such as shuffled captions: precomputed
    vectors cannot answer it, and ``--tasks all`` leaves it out for them.
    """
    held_parts: ClassVar[tuple[str, ...]] = ()
    """Parts of a data set that hold what the task encodes, such as ``attacks``: vectors with one of them can answer a
    task that needs a model otherwise.
    """
    searches_distractors: ClassVar[bool] = False
    """True if captions search a data set's ``distractors`` too. Other tasks leave them out."""
    needs_modalities: ClassVar[bool] = False
    """True if the task is about modalities by name: ``--tasks all`` runs it on all data that have modalities other than
    images and captions, whatever the suite says, and on no other data."""

    takes_dot: ClassVar[bool] = False
    """True where its scores are inner products of ``Embedder.scoring_vectors``, so that it is defined for models whose
    vectors have no length of 1; others are unavailable for these.
    """

    takes_lists: ClassVar[bool] = False
    """True if finished result lists can be measured, which have no vectors."""

    def check(self, dataset: Dataset) -> None:
        """Raise DataError where the data set lacks what ``evaluate`` needs: it is asked before a model is loaded."""

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return rows and measures of data that ``check`` has passed."""
        raise NotImplementedError

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef] | None:
        """Return the images that ``evaluate`` asks of the embedder first, in the same order, or None if that is not
        known.

        Several models of one command encode these on one decode.
        """
        return None


def can_use_vectors(task: type[Task], dataset: Dataset) -> bool:
    """Return whether precomputed vectors with their samples hold all that a task encodes."""
    return not task.needs_model or any(getattr(dataset, part) is not None for part in task.held_parts)


def supports_similarity(task: type[Task], embedder: Embedder) -> bool:
    """Return whether a task is defined for a model's way to compare vectors."""
    return task.takes_dot or embedder.info.similarity == COSINE


def evaluate(task: Task, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
    """Return a task's evaluation. Measures in cosines or distances are undefined for a model with inner products.

    Raises:
        Unavailable: the task is not defined for such a model.
    """
    if not supports_similarity(type(task), embedder):
        raise Unavailable(f"{task.name} {OF_UNIT_VECTORS}")
    if embedder.info.similarity == COSINE:
        return task.evaluate(dataset, embedder, rng)
    return _without_cosines(task.evaluate(dataset, embedder, rng))


def _without_cosines(evaluation: Evaluation) -> Evaluation:
    def without_cosine(name: str, measure: Measure) -> Measure:
        if isinstance(measure, Within):
            return replace(measure, measure=without_cosine(name, measure.measure))
        unit = getattr(measure, "unit", "")
        if unit not in ("cosine", "distance"):
            return measure
        meaning = {parameter.name: getattr(measure, parameter.name) for parameter in fields(Definition)}
        return Fixed(value=None, reason=f"{base_name(name)} {OF_UNIT_VECTORS}", unit=unit, **meaning)

    return replace(
        evaluation,
        measures={name: without_cosine(name, measure) for name, measure in evaluation.measures.items()},
        baselines={name: without_cosine(name, measure) for name, measure in evaluation.baselines.items()},
        notes=(*evaluation.notes, INNER_PRODUCTS),
    )
