"""Which side is at fault if classes are named badly: class means of the images need no text, so they show the images.

The mean of the other images of a class is the best text that the class could have. If it names the images right and the
texts do not, then the image tower works, and the fault is in the texts or between the towers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE
from clipbench.data.subset import random_subset
from clipbench.errors import FOREIGN, error_summary, is_machine_error
from clipbench.evaluation.task import Task
from clipbench.evaluation.tries import (
    N_SAMPLES,
    NEAR_CHANCE,
    Tries,
    is_near_chance,
    samples_of,
    with_best_change,
)
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import counted, interval, metric_value, quantity
from clipbench.results.record import CheckFinding, FindingStatus, Metric
from clipbench.seeding import generator
from clipbench.stats.intervals import DIFFERENCES, SHARES, Interval, mean_interval

LEAST_IMAGES = 50
"""Images below which nothing is said: an interval of fewer supports only extreme differences."""
LEAST_REACH = 1 / 3
"""Fraction of what class means reach above chance, below which texts do not reach the model as in its training.

Models that work reach half of it on data that is hard to name, such as satellite images."""
ORDER_REACH = 2 / 3
"""The same fraction that class names in another order surely exceed to be believed: some order fits any texts."""

FIX_OF_IMAGES = (
    "check the preprocessing, the weights of the image tower and the order of the labels; if all are right, the model"
    " does not know such images"
)
FIX_OF_ORDER = (
    "put the class names in the order of the labels' numbers; if they are, check the tokenizer and its ids, the"
    " language of the class names, and that both towers are of one model"
)
FIX_OF_TEXTS = (
    "check the tokenizer and its ids, the language of the class names, their order, and that both towers are of one"
    " model; if all are right, the model does not know these names"
)


@dataclass(frozen=True, kw_only=True)
class ClassHits:
    """Which images get their class's name without texts and with them. Rows are the same images."""

    by_means: Float64[np.ndarray, " n"]
    """Credit of the nearest class mean, without the image itself: 1 for the true class, a fraction for a tie."""
    by_texts: Float64[np.ndarray, " n"]
    """Credit of the nearest class text."""
    labels: Int64[np.ndarray, " n"]
    named: Int64[np.ndarray, " n"]
    """Class that the nearest text names."""
    class_names: Sequence[str]
    """Classes with two or more images in the sample. Both rules choose among these."""
    with_change: str = ""
    """The named change of the input that both are with, empty for the input as it is."""

    @property
    def chance(self) -> float:
        """Credit of a random class."""
        return 1 / len(self.class_names)


def leave_one_out_credit(
    images: Float32[np.ndarray, "n dim"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return for each image whether the mean of its class's other images is nearer than the means of other classes.

    Vectors and means have length 1. A tie of k classes counts 1 / k. A mean of length 0 has the similarity 0.

    Args:
        images: of any length but 0.
        labels: numbers from 0, each at least twice.

    Example:
        >>> images = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.2]], np.float32)
        >>> leave_one_out_credit(images, np.array([0, 0, 1, 1, 1]))
        array([1., 1., 1., 1., 0.])
    """
    vectors = unit(images).astype(np.float64)
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    rows = np.arange(len(labels))
    similarity = vectors @ _at_unit_length(sums).T
    similarity[rows, labels] = (vectors * _at_unit_length(sums[labels] - vectors)).sum(axis=1)
    own = similarity[rows, labels][:, None]
    is_nearest = (similarity <= own).all(axis=1)
    return is_nearest / (similarity == own).sum(axis=1)


def _at_unit_length(rows: Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, "n dim"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-9)


def class_means_finding(  # noqa: PLR0913  what was tried, and the sample that it was tried on
    task: Task | None,
    dataset: Dataset,
    embedder: Embedder,
    tries: Tries | None,
    *,
    seed: int = 0,
    n_samples: int = N_SAMPLES,
    reason: str = "",
) -> CheckFinding:
    """Return the finding of doctor on the side that is at fault, on the sample that changes are tried on.

    Where a change of the input raises the score, a warning has to hold with this change too.

    Args:
        task: the one that changes are tried for.
        tries: None if nothing could be tried.
        n_samples: images of the sample.
        reason: why nothing could be tried.
    """
    if task is None or tries is None:
        return _not_examined(reason)
    if task.name != "zero-shot":
        return _not_examined("only images that have one of several classes have class means")
    if tries.metric.value is None:
        return _not_examined(tries.metric.reason or "")
    comparable = with_other_images(random_subset(dataset.whole(), n_samples, generator(seed, "tries", "sample")))
    if isinstance(comparable, str):
        return _not_examined(comparable)
    try:
        return _judged_with_change(task, comparable, embedder, tries, seed=seed)
    except FOREIGN as error:
        if is_machine_error(error):
            raise
        return _not_examined(error_summary(error))


def _judged_with_change(task: Task, dataset: Dataset, embedder: Embedder, tries: Tries, *, seed: int) -> CheckFinding:
    finding = judged(class_hits(task, dataset, embedder, seed=seed))
    if finding.status == "ok":
        return finding
    with with_best_change(tries, task, dataset, embedder) as (setting, changed_task, changed_embedder):
        changed = judged(class_hits(changed_task, dataset, changed_embedder, seed=seed, with_change=setting))
    return finding if changed.status == "warning" else changed


def with_other_images(sample: Dataset) -> Dataset | str:
    """Return the part of a sample whose classes have two or more images, or the reason why it is too small."""
    assert sample.labels is not None and sample.class_names is not None
    counts = np.bincount(sample.labels[sample.labels >= 0], minlength=len(sample.class_names))
    kept = np.flatnonzero(counts >= 2)
    rows = np.flatnonzero(np.isin(sample.labels, kept))
    if len(kept) < 2:
        return f"of {counted(len(sample), 'image')}, no two classes have two images each"
    if len(rows) < LEAST_IMAGES:
        return f"{counted(len(rows), 'image')} with another one of the class are too few: {LEAST_IMAGES} or more"
    part = sample.take(rows)
    assert part.labels is not None
    names = tuple(sample.class_names[number] for number in kept)
    return replace(part, labels=np.searchsorted(kept, part.labels), class_names=names)


def class_hits(task: Task, dataset: Dataset, embedder: Embedder, *, seed: int, with_change: str = "") -> ClassHits:
    """Return which images get their class's name, by class means and by texts.

    Args:
        task: zero-shot.
        with_change: the change of the input that the task and the embedder make.
    """
    assert dataset.labels is not None and dataset.class_names is not None
    samples = samples_of(task, dataset, embedder, seed=seed).loc[list(dataset.image_ids)]
    return ClassHits(
        by_means=leave_one_out_credit(embedder.encode(IMAGE, dataset.images, "query"), dataset.labels),
        by_texts=samples["acc1"].to_numpy(np.float64),
        labels=np.asarray(dataset.labels, np.int64),
        named=samples["predicted_class"].to_numpy(np.int64),
        class_names=dataset.class_names,
        with_change=with_change,
    )


def judged(hits: ClassHits) -> CheckFinding:
    """Return a warning if the texts surely reach less than a third of what class means reach above chance, or if
    neither is surely above chance.
    """
    means, texts = _metric(hits.by_means, hits), _metric(hits.by_texts, hits)
    n = counted(len(hits.labels), "image")
    changed = f" (with {hits.with_change})" if hits.with_change else ""
    if is_near_chance(means) and is_near_chance(texts):
        seen = (
            f"neither the mean of a class's other images ({metric_value(means)} {interval(means)} of {n}) nor the"
            f" texts ({metric_value(texts)} {interval(texts)}{changed}) distinguish the classes, where chance is"
            f" {quantity(hits.chance, 'fraction')}: the images do not reach the model as in its training, or the labels"
            " are wrong"
        )
        return _finding("warning", seen, fix=FIX_OF_IMAGES)
    reach = _reach(hits.by_texts, hits.by_means, hits.chance, LEAST_REACH)
    are_apart = means.low is not None and means.low > hits.chance + NEAR_CHANCE * (1 - hits.chance)
    if not are_apart or reach.high is None or reach.high >= 0:
        named = f"names {metric_value(means)} of {n}, the texts {metric_value(texts)}"
        return _finding("ok", f"the mean of a class's other images {named}{changed}")
    seen = (
        f"the images distinguish the classes (the mean of a class's other images names {metric_value(means)} of {n}),"
        f" but the texts name {metric_value(texts)} {interval(texts)}{changed}"
    )
    order = other_order(hits)
    if order:
        reordered = f"{order}, as if the class names were in another order than the labels"
        return _finding("warning", f"{seen}: {reordered}", fix=FIX_OF_ORDER)
    return _finding("warning", f"{seen}: the texts do not reach the model as in its training", fix=FIX_OF_TEXTS)


def other_order(hits: ClassHits) -> str:
    """Return how many images another order of the class names gets right, empty unless an interval supports it.

    The order is the one-to-one assignment of class texts to classes that names most images of one half. It is measured
    on the other half, where it has to name surely more than the order in use, and surely more than two thirds of what
    class means reach above chance.
    """
    from scipy.optimize import linear_sum_assignment

    is_first = np.zeros(len(hits.labels), bool)
    is_first[np.argsort(hits.labels, kind="stable")[::2]] = True
    n_named = np.zeros((len(hits.class_names),) * 2)
    np.add.at(n_named, (hits.labels[is_first], hits.named[is_first]), 1)
    _, text_of_class = linear_sum_assignment(-n_named)
    labels, by_means, by_texts = (rows[~is_first] for rows in (hits.labels, hits.by_means, hits.by_texts))
    by_order = (hits.named[~is_first] == text_of_class[labels]).astype(np.float64)
    gain = mean_interval(by_order - by_texts, within=DIFFERENCES)
    reach = _reach(by_order, by_means, hits.chance, ORDER_REACH)
    if gain.low is None or gain.low <= 0 or reach.low is None or reach.low <= 0:
        return ""
    moved = np.flatnonzero(text_of_class != np.arange(len(text_of_class))).tolist()
    clearest = max(moved, key=lambda label: n_named[label, text_of_class[label]])
    names = hits.class_names
    return (
        f"in the order that fits one half of the images, they name {quantity(float(by_order.mean()), 'fraction')} of"
        f" the other half ('{names[int(text_of_class[clearest])]}' fits the images of '{names[clearest]}')"
    )


def _reach(
    by_texts: Float64[np.ndarray, " n"], by_means: Float64[np.ndarray, " n"], chance: float, part: float
) -> Interval:
    """Return the interval of what texts reach above chance, minus a part of what class means do."""
    return mean_interval((by_texts - chance) - part * (by_means - chance), within=DIFFERENCES)


def _metric(credit: Float64[np.ndarray, " n"], hits: ClassHits) -> Metric:
    bounds = mean_interval(credit, within=SHARES)
    return Metric(
        value=float(credit.mean()), low=bounds.low, high=bounds.high, chance=hits.chance, n=len(credit), unit="fraction"
    )


def _finding(status: FindingStatus, observation: str, fix: str = "") -> CheckFinding:
    why = "Class means need no text, so they show whether the images distinguish classes."
    return CheckFinding(check="class-means", status=status, seen=observation, why=why, fix=fix)


def _not_examined(reason: str) -> CheckFinding:
    return _finding("not examined", reason)
