"""Changes of the input are tried on a sample of the data, and those that a paired test supports are named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipbench.checks.behaviour import SERVED
from clipbench.checks.subject import WatchedModel
from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import DEFAULT_TEMPLATES, Prompts
from clipbench.data.subset import random_subset
from clipbench.errors import FOREIGN, ClipbenchError, error_summary, is_machine_error
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.mixed_embedder import MixedEmbedder
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.task import Task, evaluate
from clipbench.files import temporary_folder
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.input_changes import (
    ChangeKind,
    InputChange,
    caption_changes,
    changed_model,
    image_changes,
    part_changes,
    prompt_changes,
)
from clipbench.models.protocol import Embedder, Model, ModelEmbedder, capability
from clipbench.results.numbers import change as change_text
from clipbench.results.numbers import change_interval, counted, interval, metric_value, quantity
from clipbench.results.record import CheckFinding, Metric, TriedChange
from clipbench.results.tried_changes import METRICS, best_change, gain_sentence
from clipbench.seeding import generator
from clipbench.stats.significance import ALPHA, is_significant

if TYPE_CHECKING:
    import pandas

N_SAMPLES = 500
"""Images of the sample that changes are tried on."""
NEAR_CHANCE = 0.1
"""Fraction of the way from chance to 1 below which a score is near chance."""
LEAST_SAMPLES = 100
"""Images of the sample of a run with few images, on which only large effects show."""
PAID_BY_RUN = 0.25
"""Largest number of captions that a run tries, as a fraction of the images and texts that it encodes."""
LEAST_GAIN = 0.02
"""Gain below which a change is not named, however small its p-value."""


@dataclass(frozen=True, kw_only=True)
class TryScope:
    """The changes that are tried, and on how much."""

    with_images: bool = True
    """Also changes of images, which encode the sample once per change, and of the parts that the model shows."""
    n_samples: int = N_SAMPLES
    """Images of the sample."""
    most_texts: int | None = None
    """Texts that a change may have encoded. One that needs more is not tried. None for no limit."""


@dataclass(frozen=True, kw_only=True)
class Tries:
    """All changes that were tried for one metric on a sample."""

    metric_name: str
    """``TASK/METRIC``."""
    title: str
    """Such as ``top-1``."""
    metric: Metric
    """The score without a change. Without a value, no change was tried."""
    changes: Sequence[TriedChange]


def task_to_try(dataset: Dataset) -> Task | None:
    """Return the task that changes are tried for: zero-shot, or retrieval for data with captions only, or None."""
    if has_choice_of_classes(dataset):
        return build_task(Request(task="zero-shot"))
    if dataset.captions is not None:
        return build_task(Request(task="retrieval"))
    return None


def has_choice_of_classes(dataset: Dataset) -> bool:
    """Return whether each image has one of several classes."""
    has_classes = dataset.labels is not None and dataset.class_names is not None
    return has_classes and len(dataset.class_names or ()) > 1 and dataset.label_sets is None


def try_changes(task: Task, dataset: Dataset, embedder: Embedder, scope: TryScope, *, seed: int = 0) -> Tries | None:
    """Return the effect of each change of the input on a stratified sample.

    The number of changes is fixed. P-values and intervals are corrected for all of them by Bonferroni, so that choosing
    the best of them costs neither its level, and an interval excludes 0 exactly if its p-value is at most 5 %. If the
    score without a change cannot be computed, no change is tried, and each has the reason.

    Args:
        task: zero-shot or retrieval.
        embedder: the model as it is. Vectors without a model cannot be tried, and give None.
        seed: of the sample.
    """
    encoder = capability(embedder, ModelEmbedder)
    if encoder is None:
        return None
    sample = random_subset(dataset.whole(), scope.n_samples, generator(seed, "tries", "sample"))
    changes = input_changes(task, sample, encoder.model, with_images=scope.with_images)
    base, reason = _base_score(task, sample, embedder, seed)
    if base is None:
        metric, tried = Metric(value=None, reason=reason), [_not_tried(change, reason) for change in changes]
    else:
        with temporary_folder("tries") as root:
            scores = [
                too_many_texts(n_texts_of(change, task, sample), scope.most_texts)
                or _try(change, task, sample, embedder, root, seed)
                for change in changes
            ]
        metric, tried = base[1], compare_changes(base, list(zip(changes, scores, strict=True)), seed=seed)
    return Tries(
        metric_name=f"{task.name}/{METRICS[task.name]}",
        title="top-1" if task.name == "zero-shot" else "recall@1 of images",
        metric=metric,
        changes=tried,
    )


def tried_texts(
    request: Request, embedder: Embedder, datasets: Datasets, seed: int, *, tries_served: bool = False
) -> list[TriedChange]:
    """Return the changes of the texts that were tried for a finished evaluation, none where nothing can be tried.

    The images are embedded already, so each change costs the encoding of a sample's texts. The evaluation pays for a
    fraction of its own encodings: captions are tried on fewer images, and a change with more texts than the evaluation
    has images and texts, such as 80 templates on a few images, is left to ``doctor``.

    Args:
        tries_served: also try a model behind a server, where each request may cost money.
    """
    if request.task not in METRICS or (embedder.info.family == SERVED and not tries_served):
        return []
    task, dataset = build_task(request), datasets.dataset_for(request, embedder)
    may_try = has_choice_of_classes(dataset) if request.task == "zero-shot" else dataset.captions is not None
    if not may_try:
        return []
    n_encoded = len(dataset) + len(dataset.captions or dataset.class_names or ())
    n_samples = n_captioned_samples(n_encoded, dataset) if request.task == "retrieval" else N_SAMPLES
    scope = TryScope(with_images=False, n_samples=n_samples, most_texts=max(N_SAMPLES, n_encoded))
    tries = try_changes(task, dataset, embedder, scope, seed=seed)
    return [] if tries is None else list(tries.changes)


@contextmanager
def with_best_change(
    tries: Tries, task: Task, dataset: Dataset, embedder: Embedder
) -> Iterator[tuple[str, Task, Embedder]]:
    """Yield the named change that scores highest, empty if there is none, and the task and the embedder with it.

    Args:
        tries: the changes that were tried.
        dataset: the sample that they were tried on, or a part of it.
    """
    best, encoder = best_change(tries.changes), capability(embedder, ModelEmbedder)
    if best is None or encoder is None:
        yield "", task, embedder
        return
    changes = input_changes(task, dataset, encoder.model, with_images=True)
    change = next(change for change in changes if (change.kind, change.setting) == (best.kind, best.setting))
    with temporary_folder("tries") as root:
        yield best.setting, *_changed(change, task, embedder, root)


def samples_of(task: Task, dataset: Dataset, embedder: Embedder, *, seed: int = 0) -> "pandas.DataFrame":
    """Return the samples of a task by their names."""
    return _score(task, dataset, embedder, seed)[0]


def n_captioned_samples(n_encoded: int, dataset: Dataset) -> int:
    """Return the number of images whose captions a run tries: all changes together take a fraction of its encodings.

    Args:
        n_encoded: images and texts of the evaluation.
    """
    texts_per_image = len(dataset.captions or ()) / max(1, len(dataset))
    n_affordable = PAID_BY_RUN * n_encoded / (len(caption_changes()) * max(1.0, texts_per_image))
    return int(min(N_SAMPLES, max(LEAST_SAMPLES, n_affordable)))


def n_texts_of(change: InputChange, task: Task, dataset: Dataset) -> int:
    """Return the number of texts that a change has encoded, 0 for a change of images."""
    if change.kind == "images":
        return 0
    if change.kind == "captions":
        return len(dataset.captions or ())
    templates = change.templates or _current_templates(task, dataset) or DEFAULT_TEMPLATES
    return len(templates) * len(dataset.class_names or ())


def too_many_texts(n: int, most: int | None) -> str:
    """Return the reason why a change is not tried, empty if it may be."""
    if most is None or n <= most:
        return ""
    return f"it needs {counted(n, 'text')}, more than a run should pay: doctor with the data tries it"


def input_changes(task: Task, dataset: Dataset, model: Model, *, with_images: bool) -> list[InputChange]:
    """Return the changes that are tried for a task on a data set."""
    of_texts: ChangeKind = "captions" if task.name == "retrieval" else "prompts"
    if of_texts == "captions":
        changes = list(caption_changes())
    else:
        changes = list(prompt_changes(_current_templates(task, dataset), dataset.templates))
    if with_images:
        changes += [*_part_changes(model, of_texts), *image_changes(model.info.image_size)]
    return changes


def _current_templates(task: Task, dataset: Dataset) -> tuple[str, ...] | None:
    """Return the templates in use, None for prompts that are given by class."""
    given = getattr(task, "prompts", None)
    return given.templates if given is not None else dataset.templates or DEFAULT_TEMPLATES


def _part_changes(model: Model, of_texts: ChangeKind) -> Sequence[InputChange]:
    """Return the changes of the parts that a model shows, none if they fail: the checks of the model name that."""
    try:
        return part_changes(WatchedModel(model), of_texts)
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return []


_Score = tuple["pandas.DataFrame", Metric]


def compare_changes(
    base: _Score, scores: Sequence[tuple[InputChange, _Score | str]], *, seed: int = 0
) -> list[TriedChange]:
    """Return each change with its paired test and interval, corrected for all that were tried.

    Args:
        base: samples and metric without a change.
        scores: the same of each change, or the reason why it could not be tried.
    """
    n_tried = sum(not isinstance(score, str) for _, score in scores)
    tried = []
    for number, (change, score) in enumerate(scores):
        if isinstance(score, str):
            tried.append(_not_tried(change, score))
        else:
            tried.append(_tried(change, base, score, n_tried, np.random.default_rng([seed, number])))
    return tried


def _tried(change: InputChange, base: _Score, score: _Score, n_tried: int, rng: np.random.Generator) -> TriedChange:
    """Return a change with its score. The interval is the one of the test, at the corrected level."""
    before, after = base[1].value, score[1].value
    assert before is not None and after is not None
    test = paired_test(base[1], score[1], tables=Tables(base[0], score[0]), rng=rng)
    low, high, p_value = None, None, None
    if test.p_value is not None and test.at_level is not None:
        low, high, _ = test.at_level(ALPHA / n_tried)
        p_value = min(1.0, n_tried * test.p_value)
    return TriedChange(
        kind=change.kind,
        switch=change.switch,
        setting=change.setting,
        score=after,
        change=after - before,
        low=low,
        high=high,
        p=p_value,
        is_named=after - before >= LEAST_GAIN and is_significant(p_value),
        fix=change.fix,
        n=score[1].n,
    )


def _not_tried(change: InputChange, reason: str) -> TriedChange:
    return TriedChange(kind=change.kind, switch=change.switch, setting=change.setting, fix=change.fix, reason=reason)


def tries_finding(tries: Tries | None, kind: str, reason: str = "") -> CheckFinding:
    """Return the finding of doctor on the changes of one kind."""
    finding = CheckFinding(
        check=f"try-{kind}",
        status="not examined",
        seen=reason,
        why="A model reads best what it was trained on: another template, case or shape can cost most of a score.",
    )
    if tries is None:
        return finding
    changes = [change for change in tries.changes if change.kind == kind]
    tried = [change for change in changes if change.score is not None]
    if not tried:
        first_reason = changes[0].reason if changes else ""
        return replace(finding, seen=first_reason or "no change fits")
    best = best_change(changes)
    n_failed = len(changes) - len(tried)
    failed = f" ({counted(n_failed, 'change')} not examined: {_first_reason(changes)})" if n_failed else ""
    n = max(change.n for change in tried)
    if best is None and kind != "images" and is_near_chance(tries.metric):
        score, bounds = metric_value(tries.metric), interval(tries.metric)
        return replace(
            finding,
            status="warning",
            seen=f"{tries.title} is {score} {bounds} on {counted(n, 'sample')}, where chance is"
            f" {quantity(tries.metric.chance, 'fraction')}, and none of {counted(len(tried), 'change')} raises it"
            f" clearly{failed}",
            fix="check that the texts belong to these images and are in a language that the model reads, and the"
            " tokenizer and the weights",
        )
    if best is None:
        return replace(
            finding,
            status="ok",
            seen=f"none of {counted(len(tried), 'change')} scores clearly higher on {counted(n, 'sample')}{failed}",
        )
    bounds = change_interval(best.low, best.high, "fraction")
    assert best.change is not None
    seen = f"{gain_sentence(best, tries.title)}: {change_text(best.change, 'fraction')} {bounds}{failed}"
    return replace(finding, status="warning", seen=seen, fix=best.fix)


def is_near_chance(metric: Metric) -> bool:
    """Return whether a score is surely less than a tenth of the way from chance to 1.

    Example:
        >>> is_near_chance(Metric(value=0.01, low=0.0, high=0.03, chance=0.01))
        True
        >>> is_near_chance(Metric(value=0.1, low=0.0, high=0.3, chance=0.1))  # too few samples to say
        False
    """
    if metric.high is None or metric.chance is None:
        return False
    return metric.high < metric.chance + NEAR_CHANCE * (1 - metric.chance)


def _first_reason(changes: Sequence[TriedChange]) -> str:
    return next((change.reason for change in changes if change.reason is not None), "")


def _try(change: InputChange, task: Task, dataset: Dataset, embedder: Embedder, root: Path, seed: int) -> _Score | str:
    """Return the score with a change, or the reason why the model cannot encode the changed input."""
    try:
        if change.templates is not None and not _takes_prompts(task):
            return f"{task.name} takes no prompts"
        changed_task, changed_embedder = _changed(change, task, embedder, root)
        return _score(changed_task, dataset, changed_embedder, seed)
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return str(error) if isinstance(error, ClipbenchError) else error_summary(error)


def _takes_prompts(task: Task) -> bool:
    return "prompts" in {part.name for part in fields(task)}  # type: ignore[arg-type]


def _changed(change: InputChange, task: Task, embedder: Embedder, root: Path) -> tuple[Task, Embedder]:
    """Return the task and the embedder with a change. What it does not change is encoded already."""
    encoder = capability(embedder, ModelEmbedder)
    assert encoder is not None
    if change.templates is not None:
        prompted = replace(task, prompts=Prompts(templates=change.templates))  # type: ignore[type-var]
        texts_only = StoreEmbedder(encoder.model, root, workers=0)  # apart from the store and the costs of the run
        return prompted, MixedEmbedder(embedder, texts_only)
    variant = changed_model(WatchedModel(encoder.model), change)
    other = StoreEmbedder(variant, root, workers=0)
    images = other if "images" in variant.changes else embedder
    texts = other if "texts" in variant.changes else embedder
    return task, MixedEmbedder(images, texts)


def _base_score(task: Task, sample: Dataset, embedder: Embedder, seed: int) -> tuple[_Score | None, str]:
    """Return the score without a change, or None and the reason why it cannot be computed."""
    try:
        base = _score(task, sample, embedder, seed)
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return None, f"the score without a change cannot be computed ({error_summary(error)})"
    if base[1].value is None:
        return None, f"the score without a change is undefined ({base[1].reason})"
    return base, ""


def _score(task: Task, dataset: Dataset, embedder: Embedder, seed: int) -> _Score:
    import pandas

    evaluation = evaluate(task, dataset, embedder, generator(seed, "tries", "task"))
    measure = evaluation.measures[METRICS[task.name]]
    metric = measure.metric(evaluation.samples, generator(seed, "tries", "metric"))
    return pandas.DataFrame(dict(evaluation.samples)).set_index("sample_id").sort_index(), metric
