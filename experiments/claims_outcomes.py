"""Outcomes of finished runs: histories from their logs, values of each test image from their results, means over seeds.

Seeds and test images both vary. A value has a row for each seed and a column for each image, the same images in every
row: what they share does not average out over seeds. ``over_seeds`` bounds the mean by both sources of variance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64

from claims_texts import GROUPS, HAS_MATES
from clipbench.errors import DataError
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import Run, read_run
from clipbench.stats import intervals
from clipbench.stats.clusters import student
from clipbench.training.log import LOG_FILE, read_log
from clipbench.training.options import TrainOptions, options_of

MEASURED, WEAKNESSES = "measured", "weaknesses"
"""Folders of a run's results, within that of the run."""
DIRECTIONS = ("image_retrieval", "text_retrieval")
SWAPS = ("swap_att", "swap_obj")
"""Subsets whose two captions have the same words."""
FEW_TOKENS, ALL_TOKENS = 20, 77
WHOLE_LENGTH = 0.95
"""Share of the recall of whole captions at which clipbench's effective length ends."""

SHOWN = {
    "text": ("Swapped captions, text score", 1 / 4),
    "image": ("Swapped captions, image score", 1 / 4),
    "group": ("Swapped captions, group score", 1 / 6),
    SWAPS[0]: ("Colours swapped, text score", 1 / 4),
    SWAPS[1]: ("Objects swapped, text score", 1 / 4),
    "relation": ("Opposite relation, text score", 1 / 4),
    "count": ("One more or one fewer, text score", 1 / 4),
    "reading": ("Written word read, of ten", 1 / 10),
    "clean_acc": ("Object named, no label", 1 / 10),
    "blank_acc": ("Object named, blank label", 1 / 10),
    "attacked_acc": ("Object named, another's name on it", 1 / 10),
    "attack_success": ("Written name named", None),
    "few": (f"Long captions, recall@1 of {FEW_TOKENS} tokens", 1 / 500),
    "whole": ("Long captions, recall@1 of all that fit", 1 / 500),
    "early": ("Fact told, at the start", 1 / 2),
    "middle": ("Fact told, after 25 words", 1 / 2),
    "late": ("Fact told, after 45 words", 1 / 2),
}
"""Title and chance of each measure of a weakness that is a share."""

Values = Float64[np.ndarray, "n_seeds n_images"]


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
    """A mean over seeds with its 95 % interval."""

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...] = ()

    @property
    def sign(self) -> int:
        """1 where the whole interval is above zero, -1 where it is below, 0 where it holds zero."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished run of one seed."""

    options: TrainOptions
    history: Sequence[Moment]
    seconds: float
    """Seconds of training, without measurements."""
    hits: Mapping[str, Float64[np.ndarray, " n"]]
    """recall@1 of each test image, by direction."""
    gap: Float64[np.ndarray, " n"]
    """Pseudo-values of the gap on the test images: the gap plus each image's influence on it; their mean is the gap."""
    machine: str

    @property
    def label(self) -> str:
        """The temperature, as it is spoken of."""
        fixed = self.options.temperature
        return "learned" if fixed is None else f"fixed at {fixed:g}"


Runs = Sequence[Outcome]
"""The same run, once for each seed."""
Weaknesses = Mapping[str, Float64[np.ndarray, " n"]]
"""Values of each test item, by what was measured."""


def over_seeds(values: Values, *, within: intervals.Range = intervals.SHARES) -> Bounded:
    """Return the mean over seeds and images, with an interval for other seeds and other images.

    Seeds are crossed with images. With the mean squares of seeds A, of images B and of the rest E, the variance of the
    mean is (A + B - E) / (seeds × images), and at least B's part; the degrees of freedom are Satterthwaite's, and at
    least seeds - 1. Shares have Wilson's interval with that variance. With one seed, or seeds that agree on every
    image, the interval is that of images alone.

    Source: Searle, Casella and McCulloch, Variance Components (1992), section 4.7; Satterthwaite, Biometrics Bulletin 2
        (1946).

    Example:
        >>> found = over_seeds(np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]]))
        >>> found.value, found.by_seed
        (0.625, (0.5, 0.75))
    """
    n_seeds, n = values.shape
    value, of_seeds, of_images = float(values.mean()), values.mean(axis=1), values.mean(axis=0)
    by_seed = tuple(of_seeds.tolist())
    if n_seeds == 1 or not values.var(axis=0).any():  # seeds that agree in every image tell of images alone
        low, high, method = intervals.mean_interval(of_images, within=within)
        if low is None or high is None:
            raise DataError(f"there is no interval ({method}): the claims need more test images")
        return Bounded(value, low, high, by_seed)
    rest = values - of_seeds[:, None] - of_images + value
    squares = np.array([n * of_seeds.var(ddof=1), n_seeds * of_images.var(ddof=1), np.square(rest).sum()])
    squares[2] /= (n_seeds - 1) * (n - 1)
    total = max(squares[0] + squares[1] - squares[2], squares[1])
    freedom = total**2 / (squares**2 / [n_seeds - 1, n - 1, (n_seeds - 1) * (n - 1)]).sum()
    variance, times = float(total) / (n_seeds * n), student(0.975, 1 + max(freedom, n_seeds - 1))
    centre, half = value, times * math.sqrt(variance)
    if within == intervals.SHARES:  # Wilson's: near 0 and 1, the standard error of a share depends on the share
        shrink = 1 + variance * times**2 / (value * (1 - value))
        centre = (value + (shrink - 1) / 2) / shrink
        half = math.hypot(half, (shrink - 1) / 2) / shrink
    low, high, _ = intervals.Interval(centre - half, centre + half, "").clipped(within)
    assert low is not None and high is not None
    return Bounded(value, low, high, by_seed)


def over_names(values: Float64[np.ndarray, " n"], *, within: intervals.Range = intervals.SHARES) -> Bounded:
    """Return the mean over class names that have a mate, with an interval over supercategories."""
    low, high, _ = intervals.mean_interval(values, clusters=GROUPS[HAS_MATES], within=within)
    assert low is not None and high is not None
    return Bounded(float(values.mean()), low, high)


def of_seeds(values: Sequence[float]) -> Bounded:
    """Return the mean of a value of each seed, with Student's interval; of one seed alone, without a width."""
    each = np.array(values)
    half = student(0.975, len(each)) * float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else 0.0
    return Bounded(float(each.mean()), float(each.mean()) - half, float(each.mean()) + half, tuple(values))


def read_outcome(folder: Path) -> Outcome:
    """Return the outcome of a run that was trained and measured.

    Raises:
        DataError: the run is not at its end.
        ClipbenchError: there is no result, or it lacks something.
    """
    events = read_log(folder / LOG_FILE)
    arguments = events[0]["arguments"]
    assert isinstance(arguments, dict), arguments
    options = options_of(arguments, out=folder, overrides={})
    steps = [event for event in events if event["event"] == "step"]
    if not steps or steps[-1]["step"] != options.steps:
        raise DataError(f"the run in {folder} is not at its last step, {options.steps}: train it to its end")
    seconds = steps[-1]["seconds"]
    assert isinstance(seconds, float), seconds
    run = read_run(folder / MEASURED)
    gap = _evaluation(run, "modality-gap")
    value = gap.metrics["gap"].value
    if value is None:
        raise DataError(f"the gap in {run.folder} is undefined: {gap.metrics['gap'].reason}")
    environment = run.result.environment
    of_image = run.samples(_evaluation(run, "retrieval")).groupby("image")  # a row as a query, and one for its caption
    return Outcome(
        options=options,
        history=[_moment(event) for event in events if event["event"] == "evaluation"],
        seconds=seconds,
        hits={name: of_image[f"{name}_recall@1"].mean().to_numpy(np.float64) for name in DIRECTIONS},
        gap=value + run.samples(gap)["gap_influence"].to_numpy(np.float64),
        machine=f"{environment['cpus']} cores, Python {environment['python']}, torch {environment['torch']}",
    )


def read_weaknesses(folder: Path) -> Weaknesses:
    """Return the values of each test item from a result of composition, text-in-image and long-caption on scenes.

    ``swapped`` and the like are scores of items of the same words, in which a caption and its false twin have two
    images; ``word_wins`` is 1 where the written word was named, -1 where the object was; ``past_few`` is the recall of
    the first tokens less 95 % of that of whole captions.

    Raises:
        ClipbenchError: there is no result, or it lacks something.
    """
    run = read_run(folder)
    pairs, words, captions = (
        run.samples(_evaluation(run, task)) for task in ("composition", "text-in-image", "long-caption")
    )
    swapped = pairs[pairs["subset"].isin(SWAPS)]
    attacked = words[words["attack_success"].notna()]
    queries = captions[captions["direction"] == "image_retrieval"]
    few, whole = (_column(queries, f"image_retrieval/recall@1/{n}_tokens") for n in (FEW_TOKENS, ALL_TOKENS))
    return {
        **{name: _column(swapped, f"micro/{name}_acc") for name in ("text", "image", "group")},
        **{name: _column(pairs[pairs["subset"] == name], "micro/text_acc") for name in (*SWAPS, "relation", "count")},
        "hard_negative_cosine": _column(swapped, "hard_negative_cosine"),
        "other_cosine": _column(pairs, "other_cosine"),
        "reading": _column(words[words["reading_acc"].notna()], "reading_acc"),
        **{name: _column(attacked, name) for name in ("clean_acc", "blank_acc", "attacked_acc", "attack_success")},
        "word_wins": _column(attacked, "attack_success") - _column(attacked, "attacked_acc"),
        "few": few,
        "whole": whole,
        "past_few": few - WHOLE_LENGTH * whole,
        **{name: _column(captions[captions["place"] == name], "text_acc") for name in ("early", "middle", "late")},
    }


def value_of(models: Sequence[Weaknesses], name: str) -> Bounded:
    """Return what was measured of a model, or of one for each seed."""
    values = np.stack([model[name] for model in models])
    if name.endswith("cosine"):
        found = over_seeds(values, within=None)
        return found._replace(low=max(-1.0, found.low), high=min(1.0, found.high))
    return over_seeds(values, within=intervals.SHARES if values.min() >= 0 else intervals.DIFFERENCES)


def recall(runs: Runs, direction: str | None = None) -> Bounded:
    """Return recall@1 in a direction, or the mean of both."""
    directions = DIRECTIONS if direction is None else (direction,)
    return over_seeds(np.mean([[run.hits[each] for run in runs] for each in directions], axis=0))


def lead(first: Runs, second: Runs) -> Bounded:
    """Return by how much the first's recall@1 is above the second's, with the same seeds and images."""
    return over_seeds(_lead(first, second), within=intervals.DIFFERENCES)


def loss_of_lead(before: tuple[Runs, Runs], after: tuple[Runs, Runs]) -> Bounded:
    """Return by how much the lead of the first over the second is larger before than after, likewise."""
    return over_seeds(_lead(*before) - _lead(*after), within=(-2.0, 2.0))


def gap(runs: Runs) -> Bounded:
    """Return the gap on the test images."""
    return over_seeds(np.stack([run.gap for run in runs]), within=None)


def gap_difference(first: Runs, second: Runs) -> Bounded:
    """Return by how much the first's gap is wider than the second's, with the same seeds and images (delta method)."""
    return over_seeds(np.stack([run.gap for run in first]) - [run.gap for run in second], within=None)


def gap_of_one_cloud(moment: Moment) -> float:
    """Return about how far the means of both sides would lie apart if they were samples of clouds with equal means.

    The mean of n unit vectors with mean cosine c between them has a variance of (1 - c) / n.
    """
    return float(np.sqrt((1 - moment.image_cone + 1 - moment.text_cone) / moment.n_pairs))


def _lead(first: Runs, second: Runs) -> Values:
    one, other = (
        np.array([np.mean([run.hits[name] for name in DIRECTIONS], axis=0) for run in runs]) for runs in (first, second)
    )
    difference: Values = one - other
    return difference


def _column(table: pd.DataFrame, name: str) -> Float64[np.ndarray, " n"]:
    return table[name].to_numpy(np.float64)


def _evaluation(run: Run, task: str) -> EvaluationRecord:
    for evaluation in run.result.evaluations:
        if evaluation.task == task and evaluation.status == "ok":
            return evaluation
    raise DataError(f"the result in {run.folder} has no finished {task}: remove that folder, and measure again")


def _moment(event: Mapping[str, object]) -> Moment:
    return Moment._make(event[name] for name in Moment._fields)
