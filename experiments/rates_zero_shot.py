"""Worlds of zero-shot classification: one class per image, several of which one has to be named, and several."""

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
from sklearn.metrics import f1_score

from clipbench.data import Dataset
from clipbench.data.labels import pad_classes
from clipbench.data.prompts import Prompts
from clipbench.evaluation.task import Task
from clipbench_tasks.zero_shot import ZeroShot
from rates_worlds import Draw, Noise, SimulatedModel, Truth, Vectors, fixed_directions, images_named, unit, untied

POPULATION = 400_000
"""Samples of a population that stands for endless ones: its standard error is a twentieth of that of 1,000 samples."""
DATA_SETS = 4_000
"""Fresh data sets of n samples, of which precision in a ranking of n is the mean."""
PLAIN = Prompts(templates=("{c}",))


@dataclass(frozen=True)
class OneLabel:
    """Eight classes of unequal frequency, the last two with one vector, so that they tie."""

    name: ClassVar[str] = "zero-shot, one label"
    task: ClassVar[Task] = ZeroShot(prompts=PLAIN)
    dim: ClassVar[int] = 12

    n_classes: ClassVar = 8
    strengths: ClassVar = {"none": 0.0, "small": 0.6, "large": 3.0}
    frequencies: ClassVar = 1 / np.arange(1, 9) / (1 / np.arange(1, 9)).sum()
    scale: ClassVar = 8.0

    @property
    def classes(self) -> Vectors:
        directions = fixed_directions(1, self.n_classes, self.dim)
        return directions[[*range(self.n_classes - 1), self.n_classes - 2]]

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        labels, noise = rng.choice(self.n_classes, n, p=self.frequencies), Noise.draw(rng, n, self.dim)
        names = tuple(f"class {row}" for row in range(self.n_classes))
        dataset = Dataset(
            id="one-label",
            images=images_named(n),
            image_ids=[str(row) for row in range(n)],
            labels=labels,
            class_names=names,
        )
        texts = dict(zip(names, self.classes, strict=True))
        models = [
            SimulatedModel(self._images(rng, labels, noise, effect), texts, logit_scale=self.scale)
            for _ in range(n_models)
        ]
        return Draw(dataset, models)

    def _images(self, rng: np.random.Generator, labels: Vectors, noise: Noise, effect: str) -> Vectors:
        return self.strengths[effect] * self.classes[labels] + noise.of_model(rng) / np.sqrt(self.dim)

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_labels(self, effect)


@cache
def _truth_of_labels(world: OneLabel, effect: str) -> Truth:
    rng = np.random.default_rng(0)
    labels = rng.choice(world.n_classes, POPULATION, p=world.frequencies)
    images = unit(world._images(rng, labels, Noise.draw(rng, POPULATION, world.dim), effect))
    scores = images @ world.classes.T
    logits = np.exp(world.scale * scores)
    confidence = logits.max(axis=1) / logits.sum(axis=1)
    broken = untied(scores, rng)
    place = (broken > broken[np.arange(POPULATION), labels][:, None]).sum(axis=1)
    hit = place == 0
    bins = np.ceil(confidence * 15)
    error = sum(abs((hit - confidence)[bins == each].sum()) for each in np.unique(bins)) / POPULATION
    return {
        "acc1": hit.mean(),
        "acc5": (place < 5).mean(),
        "mean_per_class_recall": np.mean([hit[labels == each].mean() for each in range(world.n_classes)]),
        "macro_f1": f1_score(labels, scores.argmax(axis=1), average="macro"),
        "ece": error,
        "baseline tie_rate": world.frequencies[-2:].sum(),
    }


@dataclass(frozen=True)
class AnyOfSeveral:
    """The images of ``OneLabel``, of which some have further right classes at random, and a twentieth has none."""

    name: ClassVar[str] = "zero-shot, several right classes"
    task: ClassVar[Task] = ZeroShot(prompts=PLAIN)
    one: ClassVar[OneLabel] = OneLabel()
    further: ClassVar = 0.1
    without: ClassVar = 0.05

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        draw = self.one.draw(rng, n, effect, n_models)
        assert draw.dataset.labels is not None
        is_right = self._right(rng, draw.dataset.labels)
        right = pad_classes([np.flatnonzero(of_image).tolist() for of_image in is_right])
        dataset = replace(draw.dataset, id="any-of-several", labels=None, right_classes=right)
        return draw._replace(dataset=dataset)

    def _right(self, rng: np.random.Generator, labels: Vectors) -> Vectors:
        is_right = rng.random((len(labels), self.one.n_classes)) < self.further
        is_right[np.arange(len(labels)), labels] = True
        is_right[rng.random(len(labels)) < self.without] = False
        return is_right

    def truth(self, n: int, effect: str) -> Truth:
        return _truth_of_several(self, effect)


@cache
def _truth_of_several(world: AnyOfSeveral, effect: str) -> Truth:
    rng, one = np.random.default_rng(0), world.one
    labels = rng.choice(one.n_classes, POPULATION, p=one.frequencies)
    images = unit(one._images(rng, labels, Noise.draw(rng, POPULATION, one.dim), effect))
    is_right = world._right(rng, labels)
    kept = is_right.any(axis=1)
    scores, is_right = (images @ one.classes.T)[kept], is_right[kept]
    logits = np.exp(one.scale * scores)
    confidence = logits.max(axis=1) / logits.sum(axis=1)
    order = np.argsort(-untied(scores, rng), axis=1)
    rows = np.arange(len(scores))
    hit = is_right[rows, order[:, 0]]
    bins = np.ceil(confidence * 15)
    error = sum(abs((hit - confidence)[bins == each].sum()) for each in np.unique(bins)) / len(hit)
    best = np.where(is_right, scores, -np.inf).max(axis=1)
    recall, _ = _counts_of_several(is_right, order[:, 0])
    _, f1 = _counts_of_several(is_right, scores.argmax(axis=1))
    return {
        "acc1": hit.mean(),
        "acc5": np.take_along_axis(is_right, order[:, :5], axis=1).any(axis=1).mean(),
        "mean_per_class_recall": recall,
        "macro_f1": f1,
        "ece": error,
        "baseline tie_rate": ((scores == best[:, None]) & ~is_right).any(axis=1).mean(),
    }


def _counts_of_several(is_right: Vectors, predicted: Vectors) -> tuple[float, float]:
    """Return mean recall and macro F1, by the rule in words: a hit counts for its class, a miss for each in parts."""
    n_classes = is_right.shape[1]
    hit = is_right[np.arange(len(predicted)), predicted]
    hits = np.bincount(predicted[hit], minlength=n_classes)
    missed = is_right[~hit] / is_right[~hit].sum(axis=1, keepdims=True)
    sizes = hits + missed.sum(axis=0)
    return float((hits / sizes).mean()), float(
        (2 * hits / (sizes + np.bincount(predicted, minlength=n_classes))).mean()
    )


@dataclass(frozen=True)
class SeveralLabels:
    """Twelve classes, from rare to frequent, any of which may be true of an image."""

    name: ClassVar[str] = "zero-shot, several labels"
    task: ClassVar[Task] = ZeroShot(prompts=PLAIN)
    dim: ClassVar[int] = 12

    n_classes: ClassVar = 12
    strengths: ClassVar = {"none": 0.0, "small": 0.3, "large": 2.0}
    frequencies: ClassVar = np.linspace(0.03, 0.4, 12)

    @property
    def classes(self) -> Vectors:
        return fixed_directions(2, self.n_classes, self.dim)

    def draw(self, rng: np.random.Generator, n: int, effect: str, n_models: int = 1) -> Draw:
        positives, noise = rng.random((n, self.n_classes)) < self.frequencies, Noise.draw(rng, n, self.dim)
        names = tuple(f"class {row}" for row in range(self.n_classes))
        dataset = Dataset(
            id="several-labels",
            images=images_named(n),
            image_ids=[str(row) for row in range(n)],
            multilabels=positives,
            class_names=names,
        )
        texts = dict(zip(names, self.classes, strict=True))
        return Draw(
            dataset,
            [SimulatedModel(self._images(rng, positives, noise, effect), texts) for _ in range(n_models)],
        )

    def _images(self, rng: np.random.Generator, positives: Vectors, noise: Noise, effect: str) -> Vectors:
        return self.strengths[effect] * positives @ self.classes + noise.of_model(rng) / np.sqrt(self.dim)

    def truth(self, n: int, effect: str) -> Truth:
        return {"mean_average_precision": _mean_average_precision(self, n, effect)}


@cache
def _mean_average_precision(world: SeveralLabels, n: int, effect: str) -> float:
    """Return the mean over fresh data sets: as recall depends on the gallery, precision depends on the number of
    images.
    """
    rng = np.random.default_rng(0)
    values = []
    for _ in range(DATA_SETS):
        positives, noise = rng.random((n, world.n_classes)) < world.frequencies, Noise.draw(rng, n, world.dim)
        scores = unit(world._images(rng, positives, noise, effect)) @ world.classes.T
        of_classes = []
        for column, is_positive in zip(scores.T, positives.T, strict=True):
            hits = is_positive[np.argsort(-column)]
            precision = np.cumsum(hits) / np.arange(1, n + 1)
            of_classes += [precision[hits].mean()] if hits.any() else []
        values.append(np.mean(of_classes))
    return float(np.mean(values))
