"""Causes of an unexpected score: switches are flipped one at a time, and the same samples are scored again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import DEFAULT_TEMPLATES, Prompts
from clipbench.errors import ClipbenchError, UsageError, did_you_mean, option
from clipbench.evaluation.datasets import check_data
from clipbench.evaluation.mixed_embedder import MixedEmbedder
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.published import Measured, published_names, with_published
from clipbench.evaluation.task import Task, evaluate
from clipbench.files import temporary_folder
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.input_changes import (
    caption_changes,
    changed_model,
    image_changes,
    prompt_changes,
)
from clipbench.models.introspection.variants import Variant, variants
from clipbench.models.protocol import Embedder, ModelEmbedder, capability
from clipbench.results.frames import as_frame
from clipbench.results.metric_name import evaluation_name, full_name, split_task_metric
from clipbench.results.record import Metric
from clipbench.results.titles import first_headline
from clipbench.seeding import generator
from clipbench.stats.significance import holm, is_significant

if TYPE_CHECKING:
    import pandas

_Score = tuple["pandas.DataFrame", Metric]
"""The samples of an evaluation by their ids, and its metric."""
Reload = Callable[[Path], Embedder]
"""Loads a model in another precision, with a store in a folder."""
PUBLISHED = "published"
"""Instead of a score: the value that was published for the same model, data and protocol."""


@dataclass(frozen=True, kw_only=True)
class SwitchEffect:
    """The score with one switch flipped, compared with the score of the unchanged model."""

    switch: str
    setting: str
    """Such as ``texts in lower case`` of the switch ``case``."""
    value: float
    change: float
    low: float | None
    high: float | None
    p_value: float | None
    """Paired test of the change, after Holm's correction over all switches, None if there is none."""
    is_towards: bool
    """True where the test supports the change, and it leads nearer to the expected value."""


@dataclass(frozen=True, kw_only=True)
class ScoreCauses:
    """An expected score, the measured one, and the effect of each switch on it."""

    metric_name: str
    """``task@data/metric``."""
    expected: float
    source: str
    """The origin of the expected score: the user, or a publication."""
    metric: Metric
    """The measured score, with the model as it is."""
    effects: Sequence[SwitchEffect]
    """Sorted: those that lead towards the expected value first, and among them the nearest to it."""
    notes: Sequence[str] = ()
    """Switches that could not be flipped, with the reason."""

    @property
    def agrees(self) -> bool:
        """True where the interval of the measured score contains the expected one."""
        low, high = self.metric.low, self.metric.high
        if low is None or high is None:
            return self.metric.value == self.expected
        return low <= self.expected <= high

    @property
    def cause(self) -> SwitchEffect | None:
        """The switch that leads nearest to the expected score, None if no test supports one."""
        return next((effect for effect in self.effects if effect.is_towards), None)

    def frame(self) -> "pandas.DataFrame":
        """Return one row per switch: switch, setting, value, change, low, high, p_value, is_towards."""
        return as_frame([asdict(effect) for effect in self.effects], [part.name for part in fields(SwitchEffect)])


class Expectation(NamedTuple):
    """The expected score, as the user writes it. ``check`` raises UsageError if it is not a score."""

    score: str
    """A number, a percentage of fractions above 1, or ``published``."""
    metric: str | None = None
    """``TASK``, ``METRIC`` or ``TASK/METRIC``, None for the headline of the task that the data allows."""

    @property
    def is_published(self) -> bool:
        return self.score.lower() == PUBLISHED

    def check(self) -> None:
        if not self.is_published and not np.isfinite(self.number()):
            raise UsageError(f"{option('expect', self.score)}: expected a number such as 52.1 or 0.521, or published")

    def number(self) -> float:
        """Return the score as it is written, or NaN if it is no number."""
        try:
            return float(self.score.removesuffix("%").strip())
        except ValueError:
            return float("nan")


class MeasuredScore(NamedTuple):
    """The score of the model as it is, and the expected one."""

    samples: "pandas.DataFrame"
    metric: Metric
    expected: float
    source: str


class Inquiry:
    """An expected score: ``measure`` takes the model's own, and ``explanation`` flips the switches.

    Args:
        expectation: the expected score.
        dataset: the data to score.
        embedder: the model as it is.
        tasks: names of all tasks.
        seed: of tests and intervals.
        may_be_part: some of the data may have been left out, so that no published value is to be expected.

    Raises:
        UsageError: the score is no number, the metric is unknown, nothing was published that is of this data, or no
            task is named and the data allows neither zero-shot nor retrieval.
        ClipbenchError: the task cannot be done on the data.
    """

    def __init__(
        self,
        expectation: Expectation,
        dataset: Dataset,
        embedder: Embedder,
        tasks: Sequence[str],
        *,
        seed: int = 0,
        may_be_part: bool = False,
    ) -> None:
        self.task, metric = _question(expectation, dataset, tasks)
        encoder = capability(embedder, ModelEmbedder)
        if encoder is None:
            raise UsageError(
                f"{embedder.info.ref} holds vectors only: {option('expect')} needs the model itself,"
                " because it changes settings of the model"
            )
        check_data(self.task, dataset)
        self.dataset = dataset.whole()
        self.seed = seed
        self._model = encoder.model
        self._embedder = embedder
        self._metric = metric or ""
        self._expectation = expectation
        self._measured = Measured(model=embedder.info, task=self.task, dataset=dataset, may_be_part=may_be_part)
        if expectation.is_published:
            _check_published(metric, self._measured)

    def measure(self) -> MeasuredScore:
        """Return the score of the model as it is, which may take hours, and the expected one.

        Raises:
            UsageError: the task has no such metric, or it has no value on the data.
        """
        samples, base = self._score(self.task, self._embedder)
        metric = with_published({self._metric: base}, self._measured)[self._metric]
        return MeasuredScore(samples, metric, *_expected(self._expectation, metric, self._metric))

    def explanation(self, score: MeasuredScore, reloads: Iterable[tuple[str, Reload]] = ()) -> ScoreCauses:
        """Return the two scores, and the effect of each switch.

        Args:
            score: what ``measure`` returned.
            reloads: other precisions, each with a function that loads the model in it.
        """
        effects, notes = [], []
        with temporary_folder("doctor") as root:
            for switch, setting, flipped in self._flips(root, reloads):
                try:
                    effects.append(self._effect(score, switch, setting, *flipped()))
                except ClipbenchError as error:
                    notes.append(f"{setting}: {error}")
        return ScoreCauses(
            metric_name=full_name(evaluation_name(self.task.name, self.dataset.id), self._metric),
            expected=score.expected,
            source=score.source,
            metric=score.metric,
            effects=_ranked(effects, score.metric, score.expected),
            notes=notes,
        )

    def _score(self, task: Task, embedder: Embedder) -> _Score:
        import pandas

        evaluation = evaluate(task, self.dataset, embedder, self._rng("task"))
        self._metric = self._metric or first_headline(evaluation.measures, lambda _: True)
        if self._metric not in evaluation.measures:
            raise UsageError(
                f"{task.name} has no metric '{self._metric}': {did_you_mean(self._metric, evaluation.measures)}"
            )
        metric = evaluation.measures[self._metric].metric(evaluation.samples, self._rng("metric"))
        if metric.value is None:
            raise UsageError(
                f"{self._metric} has no value on this data ({metric.reason}): name another with {option('metric')}"
            )
        return pandas.DataFrame(dict(evaluation.samples)).set_index("sample_id").sort_index(), metric

    def _flips(
        self, root: Path, reloads: Iterable[tuple[str, Reload]]
    ) -> Iterator[tuple[str, str, Callable[[], _Score]]]:
        for setting, task in _other_prompts(self.task, self.dataset):
            yield "templates", setting, partial(self._score, task, self._embedder)
        for variant in self._variants():
            other = StoreEmbedder(variant, root, workers=0)
            images = other if "images" in variant.changes else self._embedder
            texts = other if "texts" in variant.changes else self._embedder
            mixed = MixedEmbedder(images, texts)
            yield variant.switch, variant.setting, partial(self._score, self.task, mixed)
        for precision, reload in reloads:
            setting = f"{precision} instead of {self._embedder.info.precision}"
            yield "precision", setting, partial(lambda reload: self._score(self.task, reload(root)), reload)

    def _variants(self) -> Iterator[Variant]:
        """Yield the model with its input changed, then with each of its own parts changed that its adapter shows."""
        takes_prompts = "prompts" in {part.name for part in fields(self.task)}  # type: ignore[arg-type]
        of_texts = prompt_changes(None) if takes_prompts else caption_changes()
        for change in (*of_texts, *image_changes(self._model.info.image_size)):
            if change.templates is None:
                yield changed_model(self._model, change)
        yield from variants(self._model)

    def _effect(
        self, score: MeasuredScore, switch: str, setting: str, samples: "pandas.DataFrame", metric: Metric
    ) -> SwitchEffect:
        """Return the paired difference between a score and the score of the unchanged model."""
        test = paired_test(score.metric, metric, tables=Tables(score.samples, samples), rng=self._rng("test", setting))
        assert score.metric.value is not None and metric.value is not None
        return SwitchEffect(
            switch=switch,
            setting=setting,
            value=metric.value,
            change=metric.value - score.metric.value,
            low=test.interval.low,
            high=test.interval.high,
            p_value=test.p_value,
            is_towards=False,
        )

    def _rng(self, *names: str) -> np.random.Generator:
        return generator(self.seed, "explain", *names)


def _question(expectation: Expectation, dataset: Dataset, tasks: Sequence[str]) -> tuple[Task, str | None]:
    name, rest = split_task_metric(expectation.metric or "")
    if name in tasks:
        return build_task(Request(task=name)), rest or None
    classes = (dataset.labels, dataset.right_classes, dataset.label_sets)
    if any(part is not None for part in classes):
        return build_task(Request(task="zero-shot")), expectation.metric
    if dataset.captions is not None:
        return build_task(Request(task="retrieval")), expectation.metric
    raise UsageError(
        f"data set {dataset.id} has neither labels nor captions: name the metric with {option('metric', 'TASK/METRIC')}"
    )


def _other_prompts(task: Task, dataset: Dataset) -> Iterator[tuple[str, Task]]:
    """Yield the task with other templates, each with their name."""
    if "prompts" not in {part.name for part in fields(task)}:  # type: ignore[arg-type]
        return
    given = getattr(task, "prompts", None)
    current = given.templates if given is not None else dataset.templates or DEFAULT_TEMPLATES
    for change in prompt_changes(current, dataset.templates):
        if change.templates is not None:
            yield change.setting, replace(task, prompts=Prompts(templates=change.templates))  # type: ignore[type-var]


def _ranked(effects: Sequence[SwitchEffect], metric: Metric, expected: float) -> list[SwitchEffect]:
    """Return the effects with corrected p-values, those that lead towards the expected value first."""
    assert metric.value is not None
    adjusted = iter(holm([effect.p_value for effect in effects if effect.p_value is not None]))
    missing = abs(expected - metric.value)
    ranked = []
    for effect in effects:
        p_value = None if effect.p_value is None else next(adjusted)
        is_supported = is_significant(p_value)
        is_towards = is_supported and abs(expected - effect.value) < missing
        ranked.append(replace(effect, p_value=p_value, is_towards=is_towards))
    return sorted(ranked, key=lambda effect: (not effect.is_towards, abs(expected - effect.value)))


def _check_published(metric: str | None, measured: Measured) -> None:
    """Raise UsageError unless a value of the metric, or of any where none is named, was published for the
    measurement.
    """
    published = published_names(measured)
    if published if metric is None else metric in published:
        return
    evaluation = evaluation_name(measured.task.name, measured.dataset.id)
    name = full_name(evaluation, metric) if metric else evaluation
    if measured.may_be_part:
        raise UsageError(
            f"{option('expect', PUBLISHED)}: a published value is for the whole data set, but samples may be left out"
            f" here (by {option('limit')} or {option('allow_partial', True)}, or because they are malformed). Score the"
            f" whole data set, or give the expected value of {name}"
        )
    raise UsageError(
        f"{option('expect', PUBLISHED)}: no published value of {name} is known for this model, this data and this"
        " protocol. Give the expected value"
    )


def _expected(expectation: Expectation, metric: Metric, name: str) -> tuple[float, str]:
    if expectation.is_published:  # which was seen to be known
        return metric.published[0].value, metric.published[0].source
    value = expectation.number()
    if metric.unit != "fraction" and expectation.score.endswith("%"):
        raise UsageError(
            f"{option('expect', expectation.score)}: {name} is not a fraction (its unit is {metric.unit}): "
            "expected a plain number"
        )
    if metric.unit == "fraction" and (value > 1 or expectation.score.endswith("%")):
        value = value / 100
    if metric.unit == "fraction" and not 0 <= value <= 1:
        raise UsageError(f"{option('expect', expectation.score)}: expected a value of {name}, such as 52.1 or 0.521")
    return value, "as given"
