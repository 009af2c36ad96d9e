"""Changes of the input are tried on a sample of the data, and those that a paired test supports are named."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipbench.checks.behaviour import SERVED
from clipbench.checks.subject import WatchedModel
from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test, sample_clusters
from clipbench.data.dataset import Dataset
from clipbench.data.prompts import DEFAULT_TEMPLATES, Prompts
from clipbench.data.subset import random_subset
from clipbench.errors import FOREIGN, ClipbenchError, error_summary, is_machine_error
from clipbench.evaluation.datasets import Datasets
from clipbench.evaluation.mixed_embedder import MixedEmbedder
from clipbench.evaluation.plan import Request, build_task
from clipbench.evaluation.task import Task, evaluate
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.introspection.input_changes import (
    InputChange,
    caption_changes,
    changed_model,
    image_changes,
    prompt_changes,
)
from clipbench.models.protocol import Embedder, ModelEmbedder, capability
from clipbench.results.numbers import change as change_text
from clipbench.results.numbers import change_interval, counted
from clipbench.results.record import CheckFinding, Metric, TriedChange
from clipbench.results.tried_changes import best_change, gain_sentence
from clipbench.seeding import generator
from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench.stats.significance import ALPHA, holm, is_significant

if TYPE_CHECKING:
    import pandas

N_SAMPLES = 500
"""Images of the sample that changes are tried on."""
LEAST_GAIN = 0.02
"""Gain below which a change is not named, however small its p-value."""
METRICS = {"zero-shot": "acc1", "retrieval": "image_retrieval_recall@1"}
"""The metric that changes are tried for, by the task."""


@dataclass(frozen=True, kw_only=True)
class Tries:
    """All changes that were tried for one metric on a sample."""

    metric_name: str
    """``TASK/METRIC``."""
    title: str
    """Such as ``top-1 accuracy``."""
    metric: Metric
    """The score without a change."""
    changes: Sequence[TriedChange]


def task_to_try(dataset: Dataset) -> Task | None:
    """Return the task that changes are tried for: zero-shot, or retrieval for data with captions only, or None."""
    has_classes = dataset.labels is not None and dataset.class_names is not None
    if has_classes and len(dataset.class_names or ()) > 1:
        return build_task(Request(task="zero-shot"))
    if dataset.captions is not None:
        return build_task(Request(task="retrieval"))
    return None


def try_changes(
    task: Task, dataset: Dataset, embedder: Embedder, *, with_images: bool = True, seed: int = 0
) -> Tries | None:
    """Return the effect of each change of the input on a stratified sample, None if no score is defined.

    The number of changes is fixed. P-values are corrected over all of them by Holm, and intervals hold for all at once
    by Bonferroni: choosing the best of them costs neither its level.

    Args:
        task: zero-shot or retrieval.
        embedder: the model as it is. Vectors without a model cannot be tried, and give None.
        with_images: also try changes of images, which encodes the sample once per change.
        seed: of the sample.
    """
    encoder = capability(embedder, ModelEmbedder)
    if encoder is None:
        return None
    sample = random_subset(dataset.whole(), N_SAMPLES, generator(seed, "tries", "sample"))
    changes = input_changes(task, sample, encoder.model.info.image_size if with_images else None, with_images)
    with tempfile.TemporaryDirectory(prefix="clipbench-tries-") as root:
        base = _score(task, sample, embedder, seed)
        if base[1].value is None:
            return None
        scores = [_try(change, task, sample, embedder, Path(root), seed) for change in changes]
    return Tries(
        metric_name=f"{task.name}/{METRICS[task.name]}",
        title="top-1" if task.name == "zero-shot" else "recall@1 of images",
        metric=base[1],
        changes=compare_changes(base, list(zip(changes, scores, strict=True)), seed=seed),
    )


def tried_texts(request: Request, embedder: Embedder, datasets: Datasets, seed: int) -> list[TriedChange]:
    """Return the changes of the texts that were tried for a finished evaluation, none where nothing can be tried.

    The images are embedded already, so each change costs the encoding of a sample's texts. A model behind a server is
    left out, because each request to it may cost money, and so are bad samples: the evaluation itself has its number.
    """
    if request.task not in METRICS or embedder.info.family == SERVED:
        return []
    task, dataset = build_task(request), datasets.dataset_for(request, embedder)
    may_choose = dataset.labels is not None and len(dataset.class_names or ()) > 1 and dataset.label_sets is None
    if not (may_choose if request.task == "zero-shot" else dataset.captions is not None):
        return []
    try:
        tries = try_changes(task, dataset, embedder, with_images=False, seed=seed)
    except FOREIGN as error:  # the evaluation has its number, which a failed try must not cost
        if is_machine_error(error):
            raise
        return []
    return [] if tries is None else list(tries.changes)


def input_changes(task: Task, dataset: Dataset, side: int | None, with_images: bool) -> list[InputChange]:
    """Return the changes that are tried for a task on a data set."""
    images = image_changes(side) if with_images else []
    if task.name == "retrieval":
        return [*caption_changes(), *images]
    given = getattr(task, "prompts", None)
    current = given.templates if given is not None else dataset.templates or DEFAULT_TEMPLATES
    return [*prompt_changes(current, dataset.templates), *images]


_Score = tuple["pandas.DataFrame", Metric]


def compare_changes(
    base: _Score, scores: Sequence[tuple[InputChange, _Score | str]], *, seed: int = 0
) -> list[TriedChange]:
    """Return each change with its paired test, corrected over all that were tried.

    Args:
        base: samples and metric without a change.
        scores: the same of each change, or the reason why it could not be tried.
    """
    p_values = [
        None if isinstance(score, str) else _p_value(base, score, np.random.default_rng([seed, number]))
        for number, (_, score) in enumerate(scores)
    ]
    n_tried = max(1, sum(p_value is not None for p_value in p_values))
    tried = []
    for (change, score), p_value in zip(scores, holm(p_values), strict=True):
        record = TriedChange(kind=change.kind, setting=change.setting, fix=change.fix)
        if isinstance(score, str):
            tried.append(replace(record, reason=score))
            continue
        value, gain = score[1].value, (score[1].value or 0.0) - (base[1].value or 0.0)
        low, high = _simultaneous_bounds(base, score, 1 - ALPHA / n_tried)
        is_named = gain >= LEAST_GAIN and is_significant(p_value) and low is not None and low > 0
        tried.append(
            replace(record, score=value, change=gain, low=low, high=high, p=p_value, is_named=is_named, n=score[1].n)
        )
    return tried


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
        return replace(finding, seen=changes[0].reason or "no change fits" if changes else "no change fits")
    best = best_change(changes)
    n_failed = len(changes) - len(tried)
    failed = f" ({counted(n_failed, 'change')} not examined: {_first_reason(changes)})" if n_failed else ""
    if best is None:
        return replace(
            finding, status="ok", seen=f"none of {counted(len(tried), 'change')} scores clearly higher{failed}"
        )
    bounds = change_interval(best.low, best.high, "fraction")
    assert best.change is not None
    seen = f"{gain_sentence(best, tries.title)}: {change_text(best.change, 'fraction')} {bounds}{failed}"
    return replace(finding, status="warning", seen=seen, fix=best.fix)


def _first_reason(changes: Sequence[TriedChange]) -> str:
    return next((change.reason for change in changes if change.reason is not None), "")


def _try(change: InputChange, task: Task, dataset: Dataset, embedder: Embedder, root: Path, seed: int) -> _Score | str:
    """Return the score with a change, or the reason why the model cannot encode the changed input."""
    encoder = capability(embedder, ModelEmbedder)
    assert encoder is not None
    try:
        if change.templates is not None:
            if "prompts" not in {part.name for part in fields(task)}:  # type: ignore[arg-type]
                return f"{task.name} takes no prompts"
            prompted = replace(task, prompts=Prompts(templates=change.templates))  # type: ignore[type-var]
            texts_only = StoreEmbedder(encoder.model, root, workers=0)  # apart from the store and the costs of the run
            return _score(prompted, dataset, MixedEmbedder(embedder, texts_only), seed)
        variant = changed_model(WatchedModel(encoder.model), change)
        other = StoreEmbedder(variant, root, workers=0)
        images, texts = (other if part in variant.changes else embedder for part in ("images", "texts"))
        return _score(task, dataset, MixedEmbedder(images, texts), seed)
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return str(error) if isinstance(error, ClipbenchError) else error_summary(error)


def _score(task: Task, dataset: Dataset, embedder: Embedder, seed: int) -> _Score:
    import pandas

    evaluation = evaluate(task, dataset, embedder, generator(seed, "tries", "task"))
    measure = evaluation.measures[METRICS[task.name]]
    metric = measure.metric(evaluation.samples, generator(seed, "tries", "metric"))
    return pandas.DataFrame(dict(evaluation.samples)).set_index("sample_id").sort_index(), metric


def _p_value(base: _Score, score: _Score, rng: np.random.Generator) -> float | None:
    if base[1].value is None or score[1].value is None:
        return None
    return paired_test(base[1], score[1], tables=Tables(base[0], score[0]), rng=rng).p_value


def _simultaneous_bounds(base: _Score, score: _Score, confidence: float) -> tuple[float | None, float | None]:
    """Return the bounds of the paired difference of credits at a confidence."""
    column = base[1].column
    if column is None or column not in base[0] or column not in score[0]:
        return None, None
    differences = (score[0][column] - base[0][column]).to_numpy(np.float64)
    is_defined = np.isfinite(differences)
    if not is_defined.any():
        return None, None
    clusters = sample_clusters(base[0], is_defined)
    low, high, _ = mean_interval(differences[is_defined], clusters=clusters, within=DIFFERENCES, confidence=confidence)
    return low, high
