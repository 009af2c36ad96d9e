"""Few labels: how good do simple classifiers get with 1, 2, 4, 8, 16 labelled images of each class, and with all?

Three classifiers are trained on unit image vectors: the vote of the nearest images; a linear probe; and a linear probe that
starts at the class prompts, whose weights are drawn towards the logit scale times the prompts' vectors (``metrics.probes``
has the objectives). Nothing is tuned: the strength of the regularisation is the same for all data.

Half of the images of each class are trained on, the other half is tested, unless the data say which images may be trained
on. A draw is a seeded choice of the training
images; each test image is tested by one draw alone, and draws are the clusters of the intervals at k labels. So an accuracy at k labels is that of
other images *and* of other draws from the same training images. With all labels there is one training set, and the accuracy is of
that one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import DataError, UsageError
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import class_scores, top_k_credit
from clipbench.metrics.probes import C, first_credit, fit_probe, neighbour_votes
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import NO_LOGIT_SCALE, Embedder
from clipbench.results.numbers import count, counted, shortest
from clipbench.results.record import Curve
from clipbench.stats.intervals import mean_interval
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, define, defined
from clipbench_tasks.class_prompts import class_vectors, prompt_vectors
from clipbench_tasks.few_shot.shots import Cut, Draws, halves
from clipbench_tasks.few_shot.worth import Worth, labels_a_class
from clipbench_tasks.neighbours import Asked, Items, neighbours
from clipbench_tasks.tables import bounded_curve, stacked

ALL = "all"
"""Stands for the number of labels where every training image has one."""
METHODS = {
    "knn": ("Nearest-neighbour", "the weighted vote of the 20 nearest training images"),
    "linear_probe": ("Linear probe", "a linear classifier"),
    "prompt_probe": ("Prompt-initialised probe", "a linear classifier that is drawn towards the class prompts"),
}
"""The classifiers: a title, and the words of a sentence."""
ZERO_SHOT = "zero_shot_acc1"
OF_DRAWS = "draws/"
"""Beginning of columns that the rows of draws have again, of what does not depend on the draw."""

Scores = Callable[
    [Int64[np.ndarray, " n_test"], Int64[np.ndarray, " n_training"]], Float64[np.ndarray, "n_test n_classes"]
]
"""The scores of some test images for each class, by a classifier that is trained on some training images."""


class Vectors(NamedTuple):
    """What the classifiers are made from."""

    images: Float32[np.ndarray, "n_images dim"]
    """Unit vectors."""
    labels: Int64[np.ndarray, " n_images"]
    """Rows of the classes."""
    classes: Float32[np.ndarray, "n_classes dim"]
    """Unit vectors of the prompts."""
    logit_scale: float | None


@dataclass(frozen=True)
class FewShot:
    """Accuracy by the number of labels, and the number that the prompts are worth."""

    name: ClassVar[str] = "few-shot"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "k-NN, linear probe and prompt-initialised probe from 1 label a class to all, beside zero-shot"
    )
    question: ClassVar[str] = (
        "How many labelled images of each class does a classifier on the image vectors need to be as good as the prompts?"
    )
    scoring: ClassVar[str] = (
        "Half of the images of each class, or a training split, is trained on. Each other image is tested by one of 20 seeded draws of "
        "labelled images, with the same number for each class. An image counts as right when its true class scores highest; a tie scores what a "
        "coin flip would."
    )

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Labelled images of each class, ascending."""
    draws: int = 20
    """Draws of training images; fewer where there are fewer test images."""
    prompts: Prompts | None = None
    """Prompts of the classes; None takes the data set's own templates, or else the default."""

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or list(self.shots) != sorted(set(self.shots)):
            raise UsageError(f"task few-shot: shots = {list(self.shots)}, expected ascending numbers from 1 up")
        if self.draws < 2:
            raise UsageError(f"task few-shot: draws = {self.draws}, expected 2 or more")

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row a test image, and one more for its draw. Needs labels and class names."""
        dataset.require("class_names", "labels")
        assert dataset.labels is not None and dataset.class_names is not None
        cut = (
            halves(dataset.labels, dataset.image_ids, rng)
            if dataset.is_training is None
            else Cut(np.flatnonzero(dataset.is_training), np.flatnonzero(~dataset.is_training))
        )
        trained = np.unique(dataset.labels[cut.training])
        lacking = np.setdiff1d(dataset.labels[cut.test], trained)
        if len(trained) < 2 or len(cut.test) < 2 or len(lacking):
            raise DataError(
                f"data set {dataset.id} has {counted(len(cut.training), 'image')} of {counted(len(trained), 'class', 'classes')} to"
                f" train on, and {len(cut.test)} to test{', some of other classes' if len(lacking) else ''}: few-shot needs two"
                " classes, images of each to train on, and two images to test"
            )
        labels = np.searchsorted(trained, dataset.labels)
        prompts = (self.prompts or prompts_of(dataset)).render(dataset.class_names)
        vectors = Vectors(
            unit(embedder.images(dataset.images)),
            labels,
            class_vectors(prompt_vectors(prompts, embedder))[trained],
            embedder.info.logit_scale,
        )
        draws = Draws(vectors.labels, dataset.image_ids, cut, n=self.draws, rng=rng)
        names = np.array(dataset.class_names, object)[trained]
        return self._evaluation(dataset, vectors, cut, draws, names)

    def _evaluation(self, dataset: Dataset, vectors: Vectors, cut: Cut, draws: Draws, names: np.ndarray) -> Evaluation:
        per_class = np.bincount(vectors.labels[cut.training])
        shots = [k for k in self.shots if k <= per_class.min()]
        numbers = [*map(float, shots), *([float(per_class.mean())] if per_class.mean() > max(shots, default=0) else [])]
        classifiers, true = _classifiers(vectors), vectors.labels[cut.test]
        with_all = {method: scores(cut.test, cut.training) for method, scores in classifiers.items()}
        zero_shot = class_scores(vectors.images[cut.test], vectors.classes, true, logit_scale=None)
        of_images = {f"{method}_acc1@{ALL}": first_credit(scores, true) for method, scores in with_all.items()}
        of_images[ZERO_SHOT] = top_k_credit(zero_shot.better, zero_shot.tied)
        of_draws = {
            f"{method}_acc1@{k}": _hits_of_draws(scores, vectors.labels, cut, draws, k)
            for method, scores in classifiers.items()
            for k in shots
        }
        # The worth compares both on the same rows.
        of_draws |= {f"{OF_DRAWS}{name}": of_images[name] for name in (ZERO_SHOT, f"linear_probe_acc1@{ALL}")}
        margin = _margins(with_all["linear_probe"], true)
        answers = {
            "predicted": names[with_all["linear_probe"].argmax(axis=1)],
            "by_prompt": names[zero_shot.predicted],
            "margin": margin,
        }
        ids, shown = np.array(dataset.image_ids, object)[cut.test], {"image": cut.test, "label": names[true]}
        draw = np.array([f"draw {number + 1}" for number in draws.of_test.tolist()], object)
        samples = stacked(
            {"sample_id": ids, "cluster": ids, **shown, **answers, **of_images},
            {"sample_id": draw + ":" + ids, "cluster": draw, **shown, **of_draws},
        )
        return Evaluation(
            samples=samples,
            measures=define(self._measures(samples, numbers, per_class, true, classifiers), definitions(self.shots)),
            curves={f"{method}_acc1_by_labels": _curve(samples, method, numbers) for method in classifiers},
            neighbours=_nearest(ids.tolist(), vectors, cut, names, margin, of_images[f"linear_probe_acc1@{ALL}"]),
            notes=tuple(_notes(dataset, cut, draws, per_class)),
        )

    def _measures(
        self,
        samples: Mapping[str, np.ndarray],
        numbers: Sequence[float],
        per_class: Int64[np.ndarray, " n_classes"],
        true: Int64[np.ndarray, " n_test"],
        classifiers: Mapping[str, Scores],
    ) -> dict[str, Measure]:
        guess = 1 / len(per_class)
        most_frequent = per_class == per_class.max()
        # Trained on all labels, a constant model names the most frequent class, or one of them.
        by_frequency = float(most_frequent[true].mean() / most_frequent.sum())
        few = f"a class has only {counted(int(per_class.min()), 'training image')}"
        measures: dict[str, Measure] = {}
        for method in METHODS:
            for k in (*self.shots, ALL):
                name = f"{method}_acc1@{k}"
                if name in samples:
                    measures[name] = Mean(column=name, chance=by_frequency if k == ALL else guess)
                else:
                    reason = few if method in classifiers else NO_LOGIT_SCALE
                    measures[name] = Fixed(value=None, reason=reason, higher_is_better=True)
        measures[ZERO_SHOT] = Mean(column=ZERO_SHOT, chance=guess)
        columns = _columns(samples, "linear_probe", numbers)
        of_draws = [f"{OF_DRAWS}{name}" if name.endswith(f"@{ALL}") else name for name in columns]
        measures["zero_shot_worth"] = Worth(
            columns=tuple(of_draws), target=f"{OF_DRAWS}{ZERO_SHOT}", labels=tuple(numbers)
        )
        return measures


def definitions(shots: Sequence[int]) -> dict[str, Definition]:
    """Return the definitions of the metrics."""
    found = {
        ZERO_SHOT: Definition(
            "Zero-shot accuracy, same images", "Share of the test images whose true class has the nearest prompt."
        ),
        "zero_shot_worth": Definition(
            "Labels a class that zero-shot is worth",
            "Labelled images of each class with which a linear probe reaches the accuracy of the prompts.",
            is_headline=True,
        ),
    }
    given = {str(k): (labels_a_class(k), f"{counted(k, 'labelled image')} of each class") for k in shots}
    given[ALL] = ("all labels", "all training images")
    for method, (title, words) in METHODS.items():
        for k, (labels, images) in given.items():
            found[f"{method}_acc1@{k}"] = Definition(
                f"{title} accuracy, {labels}",
                f"Share of the test images named right by {words}, with {images}.",
                is_headline=k == ALL and method == "linear_probe",
            )
    return found


def _classifiers(vectors: Vectors) -> dict[str, Scores]:
    """Return the classifiers that can be trained: the one that starts at the prompts needs the model's logit scale."""
    images, labels, n_classes = vectors.images, vectors.labels, len(vectors.classes)

    def votes(
        test: Int64[np.ndarray, " n_test"], rows: Int64[np.ndarray, " n_training"]
    ) -> Float64[np.ndarray, "n_test n_classes"]:
        return neighbour_votes(images[test], images[rows], labels[rows], n_classes)

    def probe(
        test: Int64[np.ndarray, " n_test"],
        rows: Int64[np.ndarray, " n_training"],
        towards: Float64[np.ndarray, "n_classes dim"] | None = None,
    ) -> Float64[np.ndarray, "n_test n_classes"]:
        return fit_probe(images[rows], labels[rows], n_classes, towards=towards).scores(images[test])

    found: dict[str, Scores] = {"knn": votes, "linear_probe": probe}
    if vectors.logit_scale is not None:
        found["prompt_probe"] = partial(probe, towards=vectors.logit_scale * vectors.classes.astype(np.float64))
    return found


def _hits_of_draws(
    scores: Scores, labels: Int64[np.ndarray, " n_images"], cut: Cut, draws: Draws, shots: int
) -> Float64[np.ndarray, " n_test"]:
    """Return the credit of each test image, by the classifier of its draw."""
    hits = np.empty(len(cut.test))
    for draw in range(draws.n):
        of_draw = draws.of_test == draw
        test = cut.test[of_draw]
        hits[of_draw] = first_credit(scores(test, draws.rows(draw, shots)), labels[test])
    return hits


def _margins(scores: Float64[np.ndarray, "n n_classes"], true: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the probability of the true class less that of the best other one."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    rows = np.arange(len(true))
    own = shares[rows, true]
    shares[rows, true] = -np.inf
    return own - shares.max(axis=1)


def _nearest(
    ids: Sequence[str],
    vectors: Vectors,
    cut: Cut,
    names: np.ndarray,
    margin: Float64[np.ndarray, " n_test"],
    hits: Float64[np.ndarray, " n_test"],
) -> dict[str, np.ndarray]:
    """Return the training images that are nearest to the worst failures."""
    own = vectors.labels[cut.training]
    items = Items(vectors.images[cut.training], own, names[own].tolist(), cut.training)
    asked = Asked(ids, vectors.images[cut.test], vectors.labels[cut.test])
    return neighbours(asked, items, margin=margin, is_failure=hits < 1)


def _columns(samples: Mapping[str, np.ndarray], method: str, numbers: Sequence[float]) -> list[str]:
    """Return the columns of a classifier's hits, for each number of labels; the last may be that of all."""
    names = [f"{method}_acc1@{shortest(number)}" for number in numbers]
    return [name if name in samples else f"{method}_acc1@{ALL}" for name in names]


def _curve(samples: Mapping[str, np.ndarray], method: str, numbers: Sequence[float]) -> Curve:
    hits = [defined(samples, name) for name in _columns(samples, method, numbers)]
    bounds = [mean_interval(column, clusters=clusters) for column, clusters in hits]
    return bounded_curve(
        list(numbers),
        [float(column.mean()) for column, _ in hits],
        [(interval.low, interval.high) for interval in bounds],
        x_label="labelled images of each class",
        y_label="acc1",
    )


def _notes(dataset: Dataset, cut: Cut, draws: Draws, per_class: Int64[np.ndarray, " n_classes"]) -> Iterator[str]:
    fewest, most = int(per_class.min()), int(per_class.max())
    each = count(fewest) if fewest == most else f"{count(fewest)} to {count(most)}"
    how = "each class cut at random" if dataset.is_training is None else "trained on a split of its own"
    yield f"{how}: {count(len(cut.training))} images to train on ({each} a class), {count(len(cut.test))} to test"
    assert dataset.labels is not None
    n_untested = len(per_class) - len(np.unique(dataset.labels[cut.test]))
    if n_untested:
        yield f"{count(n_untested)} of {count(len(per_class))} classes {'has' if n_untested == 1 else 'have'} no image to test"
    yield f"{draws.n} draws of training images, each tested on its own share of the test images"
    yield f"regularisation of the probes fixed at C = {shortest(C)}"
