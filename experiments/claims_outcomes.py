"""Outcomes of finished runs: histories from their logs, recall and gap from their results, differences with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from clipbench.errors import DataError
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run, read_run
from clipbench.stats import intervals
from clipbench.training.log import LOG_FILE, read_log
from clipbench.training.options import TrainOptions, options_of

MEASURED = "measured"
"""The folder of a run's result, within that of the run."""
DIRECTIONS = ("image_retrieval", "text_retrieval")


class Moment(NamedTuple):
    """Measurements on held-out pairs at one step of a training."""

    step: int
    gap: float
    image_cone: float
    text_cone: float
    pair_cosine: float
    temperature: float
    n_pairs: int


class Bounded(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 where the whole interval is above zero, -1 where it is below, 0 where it holds zero."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run."""

    options: TrainOptions
    history: Sequence[Moment]
    seconds: float
    """Seconds of training, without measurements."""
    recalls: Mapping[str, Metric]
    """recall@1 of each direction on the test scenes."""
    hits: Float64[np.ndarray, " n"]
    """Mean of the image's own hit and its caption's, for each test image."""
    gap: Metric
    """On the test scenes."""
    gap_influence: Float64[np.ndarray, " n"]
    machine: str

    @property
    def label(self) -> str:
        """The temperature, as it is spoken of."""
        fixed = self.options.temperature
        return "learned" if fixed is None else f"fixed at {fixed:g}"

    @property
    def chance(self) -> float:
        """recall@1 of a model that knows nothing: one of n."""
        return 1 / len(self.hits)


def read_outcome(folder: Path) -> Outcome:
    """Return the outcome of a run that was trained and measured.

    Raises:
        DataError: the run is not at its end.
        ClipbenchError: there is no result, or it lacks something.
    """
    events = read_log(folder / LOG_FILE)
    arguments = events[0]["arguments"]
    assert isinstance(arguments, dict), arguments
    options = options_of(arguments, out=folder, given={})
    steps = [event for event in events if event["event"] == "step"]
    if not steps or steps[-1]["step"] != options.steps:
        raise DataError(f"the run in {folder} is not at its last step, {options.steps}: train it to its end")
    seconds = steps[-1]["seconds"]
    assert isinstance(seconds, float), seconds
    run = read_run(folder / MEASURED)
    retrieval, gap = _evaluation(run, "retrieval"), _evaluation(run, "modality-gap")
    environment = run.result.environment
    return Outcome(
        options=options,
        history=[_moment(event) for event in events if event["event"] == "evaluation"],
        seconds=seconds,
        recalls={name: retrieval.metrics[f"{name}_recall@1"] for name in DIRECTIONS},
        hits=_hits(run, retrieval),
        gap=gap.metrics["gap"],
        gap_influence=run.samples(gap)["gap_influence"].to_numpy(np.float64),
        machine=f"{environment['cpus']} cores, Python {environment['python']}, torch {environment['torch']}",
    )


def recall(outcome: Outcome) -> Bounded:
    """Return recall@1, the mean of both directions."""
    return _mean(outcome.hits, intervals.SHARES)


def lead(first: Outcome, second: Outcome) -> Bounded:
    """Return by how much the first's recall@1 is above the second's, on the same images."""
    return _mean(first.hits - second.hits, intervals.DIFFERENCES)


def loss_of_lead(before: tuple[Outcome, Outcome], after: tuple[Outcome, Outcome]) -> Bounded:
    """Return by how much the lead of the first over the second is larger before than after, on the same images."""
    leads = [first.hits - second.hits for first, second in (before, after)]
    return _mean(leads[0] - leads[1], intervals.DIFFERENCES)


def gap_difference(first: Outcome, second: Outcome) -> Bounded:
    """Return by how much the first's gap is wider than the second's, on the same images (delta method)."""
    assert first.gap.value is not None and second.gap.value is not None, (first.gap, second.gap)
    value = first.gap.value - second.gap.value
    return _bounded(value, intervals.influence_interval(value, first.gap_influence - second.gap_influence))


def has_learned(outcome: Outcome) -> bool:
    """Return whether recall@1 is above chance, with its whole interval."""
    return recall(outcome).low > outcome.chance


def gap_of_one_cloud(moment: Moment) -> float:
    """Return about how far the means of both sides would lie apart if they were samples of clouds with equal means.

    The mean of n unit vectors with mean cosine c between them has a variance of (1 - c) / n.
    """
    return float(np.sqrt((1 - moment.image_cone + 1 - moment.text_cone) / moment.n_pairs))


def _mean(values: Float64[np.ndarray, " n"], within: intervals.Range) -> Bounded:
    interval = intervals.mean_interval(values, within=within)
    return _bounded(float(values.mean()), interval)


def _bounded(value: float, interval: intervals.Interval) -> Bounded:
    if interval.low is None or interval.high is None:
        raise DataError(f"there is no interval ({interval.method}): the claims need more test images")
    return Bounded(value, interval.low, interval.high)


def _hits(run: Run, retrieval: EvaluationRecord) -> Float64[np.ndarray, " n"]:
    """Return a value an image; the table has a row for it as a query, and one for its caption."""
    table = run.samples(retrieval)
    of_image = table.groupby("image")[[f"{name}_recall@1" for name in DIRECTIONS]].mean()
    return of_image.mean(axis=1).to_numpy(np.float64)


def _evaluation(run: Run, task: str) -> EvaluationRecord:
    for evaluation in run.result.evaluations:
        if evaluation.task == task and evaluation.status == "ok":
            return evaluation
    raise DataError(f"the result in {run.folder} has no finished {task}: remove that folder, and measure again")


def _moment(event: Mapping[str, object]) -> Moment:
    return Moment._make(event[name] for name in Moment._fields)
