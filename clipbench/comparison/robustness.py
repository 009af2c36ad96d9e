"""Effective robustness: how much higher a model scores on shifted data than its accuracy on ImageNet lets expect.

The expectation is a line through other models' accuracies (``stats.trend``): of models that were trained only on
ImageNet, as Taori et al. define it, or of open_clip's CLIP models except the models fine-tuned on captions of COCO.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipbench.errors import ClipbenchError, DataError, UsageError, did_you_mean
from clipbench.results.frames import as_frame
from clipbench.results.other_tool_names import DATA
from clipbench.results.record import finished_evaluations
from clipbench.results.reference_models import OPEN_CLIP, TESTBED, Results, open_clip_results, standard_results
from clipbench.results.run import Run, labels, runs_of
from clipbench.stats.trend import Bounded, Trend

if TYPE_CHECKING:
    import pandas

ORIGINAL = "imagenet"
SHIFTS = ("imagenetv2", "imagenet-sketch", "imagenet-r", "objectnet", "imagenet-a")
"""Shifted data of ImageNet's classes, by their names in the catalogue."""
MIN_ACCURACY = 0.55
"""The lowest accuracy on ImageNet of a reference model: weaker models do not fit the line of the others."""
BASELINES: Mapping[str, Callable[[], Results]] = {
    "standard": standard_results,
    "open_clip": lambda: {model: scores for model, scores in open_clip_results().items() if "finetuned" not in model},
}
"""Reference models: trained only on ImageNet, or open_clip's."""
SOURCES = {"standard": TESTBED, "open_clip": OPEN_CLIP}


class Reference(NamedTuple):
    """The reference models' accuracies on one shift, and their line."""

    original: np.ndarray
    shifted: np.ndarray
    trend: Trend


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """One model on one shift, as fractions."""

    model: str
    data: str
    original: float
    """Top-1 accuracy on ImageNet."""
    shifted: float
    """Top-1 accuracy on the shifted data."""
    shifted_low: float
    shifted_high: float
    expected: float
    """Shifted accuracy of a model on the line with the same accuracy on ImageNet."""
    value: float
    """Effective robustness: ``shifted`` less ``expected``."""
    low: float
    high: float
    scatter: float
    """Standard deviation of the reference models around the line, at this place."""
    n_models: int
    is_within: bool
    """False where no reference model is as good, or as bad, on ImageNet: the line is continued beyond them."""


def effective_robustness(*runs: Run | str | os.PathLike[str], baseline: str = "standard") -> "pandas.DataFrame":
    """Return how much higher models score on shifted data than their accuracy on ImageNet lets expect.

    Args:
        runs: runs with the top-1 accuracy of zero-shot, or of a task that sets ``Evaluation.accuracy``, on ``imagenet``
            and on one or more of ``imagenetv2``, ``imagenet-sketch``, ``imagenet-r``, ``objectnet`` and
            ``imagenet-a``, or their folders. If several tasks have it, the one with more of this data is used.
        baseline: the models that give the expectation: ``"standard"``, trained only on ImageNet (Taori et al. 2020, not
            for ImageNet-A, which was made of mistakes of such a model), or ``"open_clip"``, the CLIP models of its
            results table except for one that was fine-tuned to captions of COCO. ``"standard"`` by default.

    Returns:
        One row per model and shift: ``original`` and ``shifted`` accuracy, what was ``expected``, ``value`` (effective
        robustness) with ``low`` and ``high``, all fractions, the ``scatter`` of the ``n_models`` reference models, and
        ``is_within``, False where the line is continued beyond them.

    Raises:
        UsageError: no such baseline, or no runs.
        ClipbenchError: a run lacks ImageNet, or all shifts.

    Example:
        >>> from pathlib import Path
        >>> from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
        >>> def measured(data, acc):
        ...     metric = Metric(value=acc, low=acc - 0.005, high=acc + 0.005)
        ...     return EvaluationRecord(
        ...         task="zero-shot",
        ...         accuracy="acc1",
        ...         task_version=1,
        ...         params={},
        ...         dataset=DatasetRecord(id=data),
        ...         status="ok",
        ...         metrics={"acc1": metric},
        ...     )
        >>> both = [measured("imagenet", 0.6332), measured("imagenetv2", 0.5592)]  # OpenAI's ViT-B/32
        >>> result = Result(
        ...     clipbench_version="", created="", command=[], seed=0, environment={}, model={}, evaluations=both
        ... )
        >>> effective_robustness(Run(Path("."), result))[["data", "expected", "value"]].round(3).to_string(index=False)
        '      data  expected  value\\nimagenetv2     0.502  0.058'

    See Also:
        Run.plot: the figure ``robustness``.
    """
    loaded_runs = runs_of(runs)
    rows = []
    for robustness_of_run in robustness_of(loaded_runs, baseline):
        rows += [asdict(robustness) for robustness in robustness_of_run]
    return as_frame(rows, Robustness.__dataclass_fields__)


def robustness_of(runs: Sequence[Run], baseline: str) -> list[list[Robustness]]:
    """Return the effective robustness of each run on each shift that it has."""
    if not runs:
        raise UsageError("no runs: expected one or more, or their folders")
    return [_run_robustness(label, run, baseline) for label, run in zip(labels(runs), runs, strict=True)]


def reference(baseline: str, data: str) -> Reference | None:
    """Return the accuracies of the reference models on a shift, or None where the baseline has none.

    Raises:
        UsageError: no such baseline.
    """
    if baseline not in BASELINES:
        raise UsageError(f"unknown baseline '{baseline}': {did_you_mean(baseline, BASELINES)}")
    original_column, shifted_column = _column(ORIGINAL), _column(data)
    pairs = []
    for scores in BASELINES[baseline]().values():
        if shifted_column in scores and scores[original_column] >= MIN_ACCURACY:
            pairs.append((scores[original_column], scores[shifted_column]))
    if not pairs:
        return None
    original, shifted = np.array(pairs).T
    return Reference(original, shifted, Trend.fit(original, shifted))


def _run_robustness(label: str, run: Run, baseline: str) -> list[Robustness]:
    accuracies = _accuracies(run)
    original = accuracies.get(ORIGINAL)
    lines = {data: line for data in SHIFTS if (line := reference(baseline, data)) is not None}
    measured = [data for data in lines if original is not None and data in accuracies]
    if original is None or not measured:
        raise ClipbenchError(
            f"run {run.label} has no effective robustness against the baseline {baseline}: got a top-1 accuracy with an"
            f" interval on {', '.join(accuracies) or 'no such data'}, expected one on {ORIGINAL} and on one of"
            f" {', '.join(lines)}. Measure a task that has it, such as zero-shot, on them."
        )
    measurements = []
    for data in measured:
        shifted, line = accuracies[data], lines[data]
        try:
            value, interval = line.trend.residual(original, shifted)
        except DataError as error:
            raise DataError(f"{label} on {ORIGINAL}: {error}") from error
        expected = line.trend.expected(original.value)
        assert interval.low is not None and interval.high is not None
        measurements.append(
            Robustness(
                model=label,
                data=data,
                original=original.value,
                shifted=shifted.value,
                shifted_low=shifted.low,
                shifted_high=shifted.high,
                expected=expected,
                value=value,
                low=interval.low,
                high=interval.high,
                scatter=line.trend.scatter * expected * (1 - expected),  # from logits: p (1 - p) is the slope of p
                n_models=line.trend.n,
                is_within=bool(line.original.min() <= original.value <= line.original.max()),
            )
        )
    return measurements


def _accuracies(run: Run) -> dict[str, Bounded]:
    """Return the top-1 accuracies of a run with their bounds, by the names of the data in the catalogue.

    They are of one task: the first one of those that have the accuracy on most of the data.
    """
    by_task: dict[str, dict[str, Bounded]] = {}
    for record in finished_evaluations(run.result):
        metric = record.metrics.get(record.accuracy)
        if metric is None or metric.value is None or metric.low is None or metric.high is None:
            continue
        name = record.dataset.id.removeprefix("hf:clip-benchmark/wds_")  # the catalogue would import open_clip
        data, accuracy = DATA.get(name, name), Bounded(metric.value, metric.low, metric.high)
        accuracies = by_task.setdefault(record.task, {})
        if data in (ORIGINAL, *SHIFTS):
            accuracies.setdefault(data, accuracy)
    most = max(by_task.values(), key=len, default={})
    return {data: most[data] for data in (ORIGINAL, *SHIFTS) if data in most}


def _column(data: str) -> str:
    return f"zero-shot@{data}/acc1"
