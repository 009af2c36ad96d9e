"""The record of one run: written once, never edited. Reports, comparisons and exports are made only from it.

A run folder holds ``result.json`` (strict JSON, written last), a parquet table of samples and an ``.npz`` of arrays
for each evaluation, and thumbnails. `results.run` reads and writes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any, Literal

from clipbench.results.metric_name import evaluation_name
from clipbench.results.sample_inputs import InputKind
from clipbench.untrusted.schema import MOST

SCHEMA_VERSION = "1.0"
"""A new field makes the second number larger; a field that goes, or means something else, the first
(docs/runs.md).
"""

UNDEFINED_BY_LISTS = "finished result lists do not define it"
"""Beginning of the reason why a metric of vectors is undefined for result lists. A pattern of a gate leaves it out."""

GROUP_COLUMN = "group:"
"""Beginning of the sample columns that say which group of the data a sample is in."""

Status = Literal["ok", "unavailable", "failed"]

FindingStatus = Literal["ok", "warning", "fault", "not examined"]


@dataclass(frozen=True, kw_only=True)
class CheckFinding:
    """The answer of one check of a model or of data: ``clipbench doctor`` gives all, a run keeps warnings and
    faults.
    """

    check: str
    """Name of the check, such as ``padding``."""
    status: FindingStatus
    seen: str
    """The observation, or the reason why a check was not made."""
    why: str = ""
    """The reason why it matters, in a sentence."""
    fix: str = ""
    """Advice, empty if all is well."""


@dataclass(frozen=True, kw_only=True)
class TriedChange:
    """The score with one change of the input, compared with the score without it on the same samples."""

    kind: str
    """``prompts``, ``captions`` or ``images``."""
    switch: str = ""
    """The aspect that it changes, such as ``templates`` or ``case``."""
    setting: str
    """The change, such as ``class names without a template``."""
    score: float | None = None
    """None if the change could not be tried, see ``reason``."""
    change: float | None = None
    low: float | None = None
    """Bounds of the change that hold at 95 % for all tried changes at once, so also for the best of them."""
    high: float | None = None
    p: float | None = None
    """P-value of the paired test, corrected over all tried changes."""
    is_named: bool = False
    """True if the score is higher by 2 points or more and the test supports it."""
    fix: str = ""
    """The option or the line of code that makes the change for good."""
    n: int = 0
    """Samples that it was tried on."""
    reason: str | None = None
    """The reason why the change could not be tried."""


@dataclass(frozen=True, kw_only=True)
class PublishedValue:
    """A value that was published for the same model, data and protocol."""

    value: float
    """In the unit of the metric that has it in ``published``."""
    protocol: str
    source: str
    is_secondary: bool
    """True where the source transcribes another: a paper that quotes a paper, a table copied from the web."""
    agrees: bool | None = None
    """True where our interval contains it, None if there is none."""

    @property
    def verdict(self) -> str:
        """Whether it agrees with our interval, in words."""
        agreement = {True: "agrees", False: "differs", None: "no interval"}[self.agrees]
        return f"{agreement}, secondary source" if self.is_secondary else agreement


@dataclass(frozen=True, kw_only=True)
class StatisticRecord:
    """A statistic of the sample table, by its name in ``clipbench.stats.estimators``."""

    name: str
    columns: list[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number with what is needed to believe it. An undefined one has value None and a reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    n: int = 0
    """Samples behind the value."""
    unit: str = "fraction"
    """``fraction`` (in [0, 1]), ``difference`` (of two fractions), ``cosine``, ``distance``, ``rank``, ``nats``,
    ``dimensions``, ``bytes``, ..."""
    chance: float | None = None
    """The score of a model that knows nothing, where that is defined. For ``gap``, the distance that pairs of
    one centroid would show. Levels of other errors, which a model that knows nothing need not show, are baselines.
    """
    higher_is_better: bool | None = None
    """None where neither direction is better."""
    title: str = ""
    """The name that papers give it, such as ``Top-1 accuracy``."""
    description: str = ""
    """One sentence that says what is measured."""
    baseline_of: list[str] = field(default_factory=list)
    """Names of the metrics that a baseline is read against."""
    is_headline: bool = False
    """True for the few metrics, one to three, that stand for a task where there is room for no more."""
    method: str | None = None
    """The method of the interval."""
    reason: str | None = None
    """The reason why the value, or the interval, is missing. For a metric that has both, a limit of the value."""
    published: list[PublishedValue] = field(default_factory=list)
    """Values that others published for this model, data and protocol."""
    column: str | None = None
    """The column of the sample table whose mean is the value. Two models are compared by it, sample by sample."""
    influence: str | None = None
    """The column of each sample's influence on the value, for a smooth function of means."""
    squared_influence: str | None = None
    """The column of each sample's influence on the unbiased square of a distance, value² - chance². Two models are
    tested by it in addition to ``influence``, which fails near 0.
    """
    statistic: StatisticRecord | None = None
    """The estimator that gives the value from the sample table, such as a median, if neither a column nor an influence
    does. A mean over classes, or over other parts, has it in addition to ``influence``. Two models are compared by it.
    """

    @property
    def is_testable(self) -> bool:
        """True if its samples are recorded, so that a paired test of two models exists for some data."""
        return self.column is not None or self.influence is not None or self.statistic is not None


Metrics = Mapping[str, Metric]
"""Metrics by their names."""

CurveRole = Literal["image", "text", "pair", "ink"]
"""Images, texts, pairs of both, or none of these."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A series of a figure: x, y, bounds and chance, with equal numbers of values.

    Curves of one figure are drawn together: curves with the same ``y_label`` on one plane, distinguished by ``series``.

    Example:
        >>> Curve(x=[1, 5], y=[0.4, 0.8], x_label="k", y_label="recall@k").y
        [0.4, 0.8]
    """

    x: Sequence[float]
    y: Sequence[float | None]
    """None if the value is undefined, as strict JSON has no NaN. The same holds for the bounds."""
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    chance: Sequence[float | None] | None = None
    """The value that a model without any knowledge would have at each point, None if that is not defined."""
    x_label: str = ""
    y_label: str = ""
    unit: str = ""
    """The unit of y, as of a metric: ``fraction`` is drawn in percent."""
    figure: str = ""
    """The figure that the curve belongs to, empty for a figure of its own."""
    series: str = ""
    """The name of the curve in its figure, such as ``text → image``. A curve of a figure without one is not drawn."""
    role: CurveRole | None = None
    """What the curve is about, which decides its colour, None for a colour that the figure chooses."""


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """The data of an evaluation. ``results.matching`` says which records are of the same samples."""

    id: str
    revision: str | None = None
    split: str | None = None
    n_samples: int = 0
    sample: str = field(default="image", compare=False)
    """The unit that ``n_samples`` counts, in the singular: ``group`` for groups of items of several modalities,
    ``document`` where relevance was judged.
    """
    fingerprint: str | None = None
    """Hash of all that scores depend on, in order: equal fingerprints, equal samples."""
    unordered_fingerprint: str | None = None
    """The same whatever the order of the samples, None if they have no ids of their own."""
    has_ids: bool | None = None
    """False where samples are numbered by their row, so that only the position pairs them, None if nothing was
    read.
    """
    cite: str | None = field(default=None, compare=False)
    """The citation of the data, where that is known."""
    licence: str | None = field(default=None, compare=False)
    """The licence of the data, with the condition of a gate; None if it is unknown, as for your own data."""


SUMMARIES = ("(mean)", "(worst)", "(distance)")
"""Groups that stand for a number over all groups of a grouping."""


@dataclass(frozen=True, kw_only=True)
class SlicesRecord:
    """The metrics of an evaluation by the groups of its data, such as languages."""

    of: Literal["images", "captions", "classes", "queries"]
    """``images`` and ``queries``: each slice is searched or classified among all data; ``captions`` and ``classes``:
    each is data of its own.
    """
    groups: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """Metrics of each group, by its name and theirs, without undefined ones."""
    mean: Mapping[str, Metric] = field(default_factory=dict)
    """Mean over the groups, each with the same weight."""
    worst: Mapping[str, Metric] = field(default_factory=dict)
    """The worst value. Its interval is of the worst true one, and allows for the choice."""
    worst_group: Mapping[str, str] = field(default_factory=dict)
    """The group with the worst value."""
    distance: Mapping[str, Metric] = field(default_factory=dict)
    """Largest value minus the smallest. An interval above 0 says that the groups differ."""

    @property
    def by_group(self) -> dict[str, Mapping[str, Metric]]:
        """The metrics of each group, and those over all groups as the groups ``SUMMARIES``."""
        return {**self.groups, **dict(zip(SUMMARIES, (self.mean, self.worst, self.distance), strict=True))}


@dataclass(frozen=True, kw_only=True)
class StoredFormat:
    """A format in which a vector can be stored.

    Example:
        >>> StoredFormat(label="64 int8", n_bytes=64).n_bytes
        64
    """

    label: str
    """Name in a column of a table, such as ``64 int8``."""
    n_bytes: int
    """Bytes of one vector."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One task on one data set."""

    task: str
    task_version: int
    params: Mapping[str, Any]
    dataset: DatasetRecord
    status: Status
    reason: str | None = None
    error: str | None = None
    """Class of the error that is the reason, such as ``VectorError``. None also for a bug."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """``load``, ``encode_images``, ``encode_texts``, ``score``, 0 for an encoding that the store already held. Another
    modality that was encoded, such as ``audio``, has its ``encode_audio``."""
    encoded: Mapping[str, int] = field(default_factory=dict)
    """``images``, ``texts``: how many went through the model in this run. ``stored_images``, ``stored_texts``: how many
    the store already held. Another modality has the same two numbers.
    """
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    baselines: Mapping[str, Metric] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    question: str = ""
    """The question about a model that the task answers, in a sentence or two."""
    scoring: str = ""
    """The rule by which the task scores an answer."""
    subsets: Mapping[str, str] = field(default_factory=dict)
    """Titles of the subsets, or label sets, that metric names begin with: ``swap_att`` is ``Attributes swapped``."""
    accuracy: str = ""
    """Name of the metric that is the top-1 accuracy over the classes of the data, empty if there is none. Effective
    robustness is computed from it."""
    formats: Mapping[str, StoredFormat] = field(default_factory=dict)
    """Formats of the vectors that metrics are measured on, by the subset that the metric names begin with; the empty
    name is the format of the others. These metrics are shown in a table by bytes."""
    inputs: Mapping[str, InputKind] = field(default_factory=dict)
    """What columns of the samples say about the inputs of each sample, such as its class. ``clipbench explain`` makes
    groups of them."""
    slices: Mapping[str, SlicesRecord] = field(default_factory=dict)
    """Metrics by the groups of the data, by the name of the grouping, such as ``language``."""
    files: Mapping[str, str] = field(default_factory=dict)
    """``samples``, ``arrays`` and ``lists``: paths inside the run folder. ``slices/NAME``: samples of groups of
    captions."""
    vectors: list[str] = field(default_factory=list)
    """Names of the arrays in ``arrays`` that hold a row per item. Representational similarity is computed from
    ``images``, ``texts`` and their ``pair_id``."""
    tries: list[TriedChange] = field(default_factory=list)
    """Changes of the texts that were tried on a sample, with the effect of each, empty if none were."""
    has_all_rows: bool | None = None
    """False where ``arrays`` holds a sample of the rows of vectors, None if nothing was measured."""

    @property
    def name(self) -> str:
        """``task@data``, as it is asked for."""
        return evaluation_name(self.task, self.dataset.id)


@dataclass(frozen=True, kw_only=True)
class AverageRecord:
    """The mean of the scores of a suite's data sets, each with the same weight."""

    suite: str
    metric: Metric
    """Without a value, and with the reason, unless all data sets were measured."""
    parts: list[list[str]]
    """Full names of the metrics whose mean is the score of each data set, measured or not."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """The facts on a model that readers of results use. A result may lack any, and hold others."""

    ref: str | None = None
    id: str | None = None
    fingerprint: str | None = None
    family: str | None = None
    embed_dim: int | None = None
    context_length: int | None = None
    image_size: int | None = None
    logit_scale: float | None = None
    logit_bias: float | None = None
    n_parameters: int | None = None
    notes: list[str] | None = None
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class TowerRecord:
    """Costs of the tower of one modality: size and work of the model, speed and memory of the run."""

    n_parameters: int | None = None
    """Parameters that encoding one item uses. A parameter that two towers share counts in each."""
    flops: int | None = None
    """Floating-point operations of encoding one ``item``: products of matrices, convolutions and attention, a
    multiply-add as two. Attention counts in full under a mask too; activations, normalisations and lookups do not
    count.
    """
    item: str | None = None
    """The item that was encoded to count them, such as ``an image of 224 x 224 pixels``."""
    n_encoded: int = 0
    """Distinct items that went through the tower in this run. An item whose content has no hash counts each time."""
    n_timed: int = 0
    """Items among these that ``items_per_second`` is of: all except items encoded together with other models."""
    n_processes: int = 1
    """Processes that shared the work of the run, encoding among it."""
    items_per_second: float | None = None
    """Such items by the time from asking for their vectors to having them all in the store: decoding, preprocessing or
    tokenizing included; loading the model, and hashing the files, which reads them first, not."""
    peak_bytes: int | None = None
    """The most memory of a CUDA device that tensors took at a time while this run encoded, weights of all towers
    included; known where ``clipbench run`` measures one model.
    """
    reasons: Mapping[str, str] = field(default_factory=dict)
    """The reasons why values are missing, by the names of their fields."""


@dataclass(frozen=True, kw_only=True)
class PriceRecord:
    """The price of one query: time and memory of encoding on one machine, measured apart from the evaluations."""

    load_seconds: float
    """Time to load the model, with the import of its packages where they were not imported yet."""
    text_p50: float | None = None
    """Median seconds to encode a single text, tokenizing included, after warming up."""
    text_p95: float | None = None
    image_p50: float | None = None
    """Median seconds to encode a single decoded image, preprocessing included, after warming up."""
    image_p95: float | None = None
    images_per_second: float | None = None
    """Decoded images a second at ``batch_size``, preprocessing in the same process included."""
    batch_size: int | None = None
    """The size, of those that were tried, that encodes most images a second."""
    memory_bytes: int | None = None
    """The most memory that loading the model and encoding one item at a time took: memory of tensors on a CUDA device,
    otherwise memory of the process.
    """
    vector_bytes: int
    """The size of one vector in float32."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """``cpu``, ``threads``, ``device`` and ``precision``."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """The reasons why values are missing, by the names of their fields."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """All evaluations of one model in one run."""

    schema_version: str = SCHEMA_VERSION
    clipbench_version: str
    created: str
    """UTC, ISO 8601."""
    command: list[str]
    seed: int
    environment: Mapping[str, Any]
    model: Mapping[str, Any]
    evaluations: list[EvaluationRecord]
    preflight: list[CheckFinding] | None = None
    """Warnings and faults of the quick checks before the run, None if none were made."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Evaluations of ``all`` that the data does not allow, with the reason of each."""
    towers: Mapping[str, TowerRecord] = field(default_factory=dict)
    """Costs of each tower, by its modality, such as ``image``, empty if vectors were given."""
    price: PriceRecord | None = None
    """None where it was not asked for, or vectors were given."""
    average: AverageRecord | None = None
    """None where the suite has no average, or none of its data sets was asked for."""

    @property
    def is_complete(self) -> bool:
        """True when every evaluation is ok."""
        return all(evaluation.status == "ok" for evaluation in self.evaluations)


def finished_evaluations(result: Result) -> list[EvaluationRecord]:
    """Return the evaluations that were measured."""
    return [record for record in result.evaluations if record.status == "ok"]


def strict_json(record: Any, *, indent: int | None = None) -> str:
    """Return a record as it is written into a result.

    Raises:
        ValueError: a number is infinite or NaN.
        TypeError: JSON has no such type.
    """
    return json.dumps(asdict(record), indent=indent, allow_nan=False, ensure_ascii=False)


def finite(metric: Metric) -> Metric:
    """Return a metric that can be written and read: what is NaN, infinite or too large is undefined, with the
    reason.
    """
    explanation = "too large a number, or made from one"
    chance = metric.chance if _is_finite(metric.chance) else None
    if not _is_finite(metric.value):
        reason = f"the value is {metric.value}: {explanation}"
        return replace(metric, value=None, low=None, high=None, chance=chance, method=None, reason=reason)
    wrong = next((bound for bound in (metric.low, metric.high) if not _is_finite(bound)), None)
    if wrong is None:
        return replace(metric, chance=chance)
    reason = f"no interval: a bound is {wrong}: {explanation}"
    return replace(metric, low=None, high=None, chance=chance, method=None, reason=reason)


def finite_curve(curve: Curve) -> Curve:
    """Return a curve that can be written and read: points without a place are left out, and other values undefined."""
    rows = [row for row, x in enumerate(curve.x) if _is_finite(x)]
    sides: dict[str, Any] = {}
    for name in ("x", "y", "low", "high", "chance"):
        values = getattr(curve, name)
        if values is not None:
            kept = [values[row] for row in rows]
            sides[name] = [value if _is_finite(value) else None for value in kept]
    return replace(curve, **sides)


def _is_finite(value: float | None) -> bool:
    return value is None or abs(value) < MOST  # false for NaN


def as_json(value: object) -> str:
    """Return a value in one line of JSON with sorted keys, the same whether it was just made or read from a result."""

    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=plain)
