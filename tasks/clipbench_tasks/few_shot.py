"""Few labels: how good do simple classifiers get with 1, 2, 4, 8, 16 labelled images of each class, and with all?

Three classifiers are trained on unit image embeddings: the vote of the nearest images, a linear probe, and a linear
probe that starts at the class prompts, whose weights are drawn towards the logit scale times the prompts' vectors
(``metrics.probes`` has the objectives). Nothing is tuned: the strength of the regularisation is the same for all data.

Half of the images of each class are trained on, the other half is tested, unless the data says which images may be
trained on. A draw is a seeded choice of the training images. Each test image is tested by only one draw, and draws are
the clusters of the intervals at k labels. So an accuracy at k labels holds for other images *and* for other draws from
the same training images. With all labels there is one training set, and the accuracy is of that one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE
from clipbench.data.prompts import Prompts
from clipbench.errors import DataError, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores
from clipbench.metrics.probes import ByClass, C, Weights, first_credit, fit_probe, neighbour_votes
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder, no_logit_scale
from clipbench.results.metric_name import cutoff_of
from clipbench.results.numbers import bounded, change, change_interval, count, counted, percent, shortest, significant
from clipbench.results.record import Metric
from clipbench.stats.claims import above_chance
from clipbench.stats.crossings import crossing_interval
from clipbench.stats.estimators import Estimator, Samples
from clipbench.stats.intervals import DIFFERENCES, Interval, mean_interval
from clipbench.stats.measures import (
    Definition,
    Definitions,
    Mean,
    Measures,
    Statistic,
    define,
    defined_values,
    undefined,
)
from clipbench_tasks.tables import (
    Column,
    Curves,
    QuerySet,
    Rows,
    SearchedItems,
    SeriesStyles,
    Table,
    Vectors,
    count_range,
    curve_of_means,
    labels_of,
    neighbours,
    stack_tables,
    text_column,
)
from clipbench_tasks.zero_shot import prompted_classes

ALL = "all"
"""Stands for the number of labels where every training image has one."""
METHODS = {
    "knn": ("Nearest-neighbour", "the weighted vote of the 20 nearest training images"),
    "linear_probe": ("Linear probe", "a linear classifier"),
    "prompt_probe": ("Prompt-initialised probe", "a linear classifier that is drawn towards the class prompts"),
}
"""The classifiers: a title, and the words of a sentence."""
SERIES: SeriesStyles = {
    "knn": ("k-NN", "image"),
    "linear_probe": ("linear probe", "ink"),
    "prompt_probe": ("prompt-initialised probe", "pair"),
}
"""Name and role of the curve of each classifier."""
ZERO_SHOT = "zero_shot_acc1"
OF_DRAWS = "draws/"
"""Beginning of columns that the rows of draws have again, of what does not depend on the draw."""
LABELS = "labels"
"""Unit of the worth: labelled images of each class."""

Scores = Callable[[Rows, Rows], Float64[np.ndarray, "n_test n_classes"]]
"""The scores of some test images for each class, by a classifier that is trained on some training images."""


@dataclass(frozen=True)
class FewShot(Task):
    """Accuracy by the number of labels, and the number that the prompts are worth."""

    name = "few-shot"
    version = 1
    data_form = "training"
    summary = "k-NN, linear probe and prompt-initialised probe from 1 label per class to all, against zero-shot"
    question = (
        "How many labelled images of each class does a classifier on the image embeddings need to be as good as the"
        " prompts?"
    )
    scoring = (
        "Half of the images of each class, or a training split, is trained on. Each other image is tested by one of"
        " several seeded draws of labelled images, with the same number for each class. An image counts as right when"
        " its true class scores highest, and a tie scores as a random choice would."
    )

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Labelled images of each class, ascending."""
    draws: int = 20
    """Draws of training images, fewer if there are fewer test images."""
    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or list(self.shots) != sorted(set(self.shots)):
            raise UsageError(f"task few-shot: shots = {list(self.shots)}, expected ascending numbers from 1 up")
        if self.draws < 2:
            raise UsageError(f"task few-shot: draws = {self.draws}, expected 2 or more")

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are two classes, images of each to train on, and two images to test."""
        dataset.require("class_names", "labels")
        assert dataset.labels is not None
        training, test = _split_rows(dataset, np.random.default_rng(0))  # as many of each class whatever the draw
        trained = np.unique(dataset.labels[training])
        untrained = np.setdiff1d(dataset.labels[test], trained)
        if len(trained) < 2 or len(test) < 2 or len(untrained):
            of_others = ", some of other classes" if len(untrained) else ""
            raise DataError(
                f"data set {dataset.id} has {counted(len(training), 'image')} of"
                f" {counted(len(trained), 'class', 'classes')} to train on, and {len(test)} to"
                f" test{of_others}: few-shot needs two classes, images of each to train on, and two images to test"
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return two rows per test image, one of them for its draw. Needs labels and class names."""
        class_labels, class_names = labels_of(dataset)
        training, test = _split_rows(dataset, rng)
        trained = np.unique(class_labels[training])
        labels = np.searchsorted(trained, class_labels)  # numbered among the trained classes
        names = text_column(class_names)[trained]
        images = unit(embedder.encode(IMAGE, dataset.images, "query"))
        classes = prompted_classes(dataset, self.prompts, embedder)[trained]
        draws = Draws(labels, dataset.image_ids, (training, test), n=self.draws, rng=rng)
        training_labels, true = labels[training], labels[test]
        per_class = np.bincount(training_labels)
        shots = [k for k in self.shots if k <= per_class.min()]
        numbers = [float(k) for k in shots]
        if per_class.mean() > max(shots, default=0):
            numbers.append(float(per_class.mean()))  # with all labels
        classifiers = _classifiers(images, labels, classes, embedder.info.logit_scale)
        with_all = {method: scores(test, training) for method, scores in classifiers.items()}
        by_prompts = class_scores(images[test], classes, true)
        credits = {f"{method}_acc1@{ALL}": first_credit(scores, true) for method, scores in with_all.items()}
        credits[ZERO_SHOT] = by_prompts.credit()
        credits_of_draws = _credits_of_draws(classifiers, labels, test, draws, shots)
        for name in (ZERO_SHOT, f"linear_probe_acc1@{ALL}"):  # the worth compares both on the same rows
            credits_of_draws[f"{OF_DRAWS}{name}"] = credits[name]
        ids = text_column(dataset.image_ids)[test]
        draw = text_column(f"draw {number + 1}" for number in draws.of_test.tolist())
        margin = _margins(with_all["linear_probe"], true)
        test_columns = {"image": test, "label": names[true]}
        answers = {
            "predicted": names[with_all["linear_probe"].argmax(axis=1)],
            "by_prompt": names[by_prompts.predicted],
            "margin": margin,
        }
        samples = stack_tables(
            {"sample_id": ids, "cluster": ids, **test_columns, **answers, **credits},
            {"sample_id": draw + ":" + ids, "cluster": draw, **test_columns, **credits_of_draws},
        )
        measures = self._measures(samples, numbers, per_class, true, classifiers)
        return Evaluation(
            samples=samples,
            inputs={"label": "class"},
            measures=define(measures, definitions(self.shots)),
            curves=_curves(samples, classifiers, numbers, chance=1 / len(names)),
            neighbours=neighbours(
                QuerySet(ids.tolist(), images[test], true),
                SearchedItems(images[training], training_labels, names[training_labels].tolist(), training),
                margin=margin,
                is_failure=credits[f"linear_probe_acc1@{ALL}"] < 1,
            ),
            notes=tuple(_notes(dataset, training, test, draws, per_class)),
        )

    def _measures(
        self, samples: Table, numbers: Sequence[float], per_class: Rows, true: Rows, classifiers: Mapping[str, Scores]
    ) -> Measures:
        guess = 1 / len(per_class)
        most_frequent = per_class == per_class.max()
        # Trained on all labels, a constant model names the most frequent class, or one of them.
        by_frequency = float(most_frequent[true].mean() / most_frequent.sum())
        few = f"a class has only {counted(int(per_class.min()), 'training image')}"
        measures: Measures = {}
        for method in METHODS:
            for k in (*self.shots, ALL):
                name = f"{method}_acc1@{k}"
                if name in samples:
                    measures[name] = Mean(column=name, chance=by_frequency if k == ALL else guess)
                else:
                    reason = few if method in classifiers else no_logit_scale()
                    measures[name] = undefined(reason, higher_is_better=True)
        measures[ZERO_SHOT] = Mean(column=ZERO_SHOT, chance=guess)
        columns = _columns(samples, "linear_probe", numbers)
        of_draws = [f"{OF_DRAWS}{name}" if cutoff_of(name) == ALL else name for name in columns]
        measures["zero_shot_worth"] = LabelWorth(
            columns=tuple(of_draws), target=f"{OF_DRAWS}{ZERO_SHOT}", labels=tuple(numbers), chance=guess
        )
        return measures


def definitions(shots: Sequence[int]) -> Definitions:
    """Return the definitions of the metrics."""
    metric_definitions = {
        ZERO_SHOT: Definition(
            "Zero-shot accuracy, same images", "Fraction of the test images whose true class has the nearest prompt."
        ),
        "zero_shot_worth": Definition(
            "Labels per class that zero-shot is worth",
            "Labelled images of each class with which a linear probe reaches the accuracy of the prompts.",
            is_headline=True,
        ),
    }
    labels_by_shots = {**{str(k): labels_a_class(k) for k in shots}, ALL: "all labels"}
    for method, (title, words) in METHODS.items():
        for k, labels in labels_by_shots.items():
            metric_definitions[f"{method}_acc1@{k}"] = Definition(
                f"{title} accuracy, {labels}",
                f"Fraction of the test images named right by {words}.",
                is_headline=k == ALL and method == "linear_probe",
            )
    return metric_definitions


def _curves(samples: Samples, methods: Collection[str], numbers: Sequence[float], *, chance: float) -> Curves:
    """Return the accuracy of each classifier by the number of labels."""
    curves: Curves = {}
    for method, (series, role) in SERIES.items():
        if method in methods:
            curves[f"{method}_acc1_by_labels"] = curve_of_means(
                numbers,
                [defined_values(samples, name) for name in _columns(samples, method, numbers)],
                chance=[chance] * len(numbers),
                x_label="labelled images of each class",
                y_label="top-1 accuracy",
                figure="labels",
                series=series,
                role=role,
            )
    return curves


def _split_rows(dataset: Dataset, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows to train on and the rows to test: the data's own split, or halves if they have none."""
    if dataset.is_training is not None:
        return np.flatnonzero(dataset.is_training), np.flatnonzero(~dataset.is_training)
    assert dataset.labels is not None
    return split_halves(dataset.labels, dataset.image_ids, rng)


def split_halves(labels: Rows, ids: Sequence[str], rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows to train on and the rows to test: each class is cut at random, and its larger half trains.

    It depends on ids, not on the order of the images, and on no model: two models, and two orders, have the same
    halves.

    Example:
        >>> training, test = split_halves(np.array([0, 0, 0, 1]), ["a", "b", "c", "d"], np.random.default_rng(0))
        >>> len(training), len(test), 3 in training
        (3, 1, True)
    """
    order = _shuffle_by_id(ids, rng)
    class_size = np.bincount(labels)[labels[order]]
    trains = 2 * _position_in_class(labels[order]) < class_size
    return np.sort(order[trains]), np.sort(order[~trains])


class Draws:
    """Seeded draws from the training images, and the fraction of the test images that each draw is tested on.

    A draw is an order of the training images: its first k of each class are its k shots, so that more shots hold the
    fewer. Each test image is tested by a single draw. So the draws' shares are independent, each with its own images
    and its own training set, and an interval over them holds for other draws and other images.
    """

    def __init__(
        self, labels: Rows, ids: Sequence[str], cut: tuple[Rows, Rows], *, n: int, rng: np.random.Generator
    ) -> None:
        training, test = cut
        names = text_column(ids)
        of_test = test[_shuffle_by_id(names[test], rng)]
        by_class = of_test[np.argsort(labels[of_test], kind="stable")]  # so that each share has its part of every class
        self.n = min(n, len(by_class))
        self.of_test = np.empty(len(by_class), np.int64)
        """The draw that each test image is tested by, in the order of the test images."""
        self.of_test[np.searchsorted(test, by_class)] = np.arange(len(by_class)) % self.n
        by_id = training[np.argsort(names[training], kind="stable")]
        self._orders = [by_id[rng.permutation(len(by_id))] for _ in range(self.n)]
        self._labels = labels

    def rows(self, draw: int, shots: int) -> Rows:
        """Return the training images of a draw: this number per class, or all that a class has."""
        order = self._orders[draw]
        return order[_position_in_class(self._labels[order]) < shots]


def _shuffle_by_id(ids: Iterable[str], rng: np.random.Generator) -> Rows:
    """Return the rows of some images in a random order that depends only on their ids."""
    by_id = np.argsort(text_column(ids), kind="stable")
    return by_id[rng.permutation(len(by_id))]


def _position_in_class(labels: Rows) -> Rows:
    """Return the number of rows of the same class before each row.

    Example:
        >>> _position_in_class(np.array([1, 0, 1, 1])).tolist()
        [0, 0, 1, 2]
    """
    import pandas

    return pandas.Series(labels).groupby(labels).cumcount().to_numpy()


def _classifiers(images: Vectors, labels: Rows, classes: Vectors, logit_scale: float | None) -> dict[str, Scores]:
    """Return the classifiers that can be trained: the one that starts at the prompts needs the model's logit scale."""
    n_classes = len(classes)

    def votes(test: Rows, rows: Rows) -> Float64[np.ndarray, "n_test n_classes"]:
        return neighbour_votes(images[test], images[rows], labels[rows], n_classes)

    def probe(test: Rows, rows: Rows, towards: Weights | None = None) -> Float64[np.ndarray, "n_test n_classes"]:
        return fit_probe(images[rows], labels[rows], n_classes, towards=towards).scores(images[test])

    classifiers: dict[str, Scores] = {"knn": votes, "linear_probe": probe}
    if logit_scale is not None:
        classifiers["prompt_probe"] = partial(probe, towards=logit_scale * classes.astype(np.float64))
    return classifiers


def _credits_of_draws(
    classifiers: Mapping[str, Scores], labels: Rows, test: Rows, draws: Draws, shots: Sequence[int]
) -> dict[str, Column]:
    """Return the credit of each test image, by classifier and number of labels."""
    credits = {}
    for method, scores in classifiers.items():
        for k in shots:
            credits[f"{method}_acc1@{k}"] = _hits_of_draws(scores, labels, test, draws, k)
    return credits


def _hits_of_draws(scores: Scores, labels: Rows, test: Rows, draws: Draws, shots: int) -> Column:
    """Return the credit of each test image, by the classifier of its draw."""
    hits = np.empty(len(test))
    for draw in range(draws.n):
        of_draw = draws.of_test == draw
        rows = test[of_draw]
        hits[of_draw] = first_credit(scores(rows, draws.rows(draw, shots)), labels[rows])
    return hits


def _margins(scores: ByClass, true: Rows) -> Column:
    from scipy.special import softmax

    shares, rows = softmax(scores, axis=1), np.arange(len(true))
    true_share = shares[rows, true]
    shares[rows, true] = -np.inf
    return true_share - shares.max(axis=1)


def _columns(samples: Samples, method: str, numbers: Sequence[float]) -> list[str]:
    """Return the columns of a classifier's hits by number of labels. The last may be the column of all labels."""
    names = [f"{method}_acc1@{shortest(number)}" for number in numbers]
    return [name if name in samples else f"{method}_acc1@{ALL}" for name in names]


def _notes(dataset: Dataset, training: Rows, test: Rows, draws: Draws, per_class: Rows) -> Iterator[str]:
    source = "each class split at random" if dataset.is_training is None else "trained on the training split"
    yield (
        f"{source}: {count(len(training))} images to train on ({count_range(per_class)} per class) and"
        f" {count(len(test))} to test"
    )
    assert dataset.labels is not None
    n_untested = len(per_class) - len(np.unique(dataset.labels[test]))
    if n_untested:
        has = "has" if n_untested == 1 else "have"
        yield f"{count(n_untested)} of {count(len(per_class))} classes {has} no image to test"
    yield f"{draws.n} draws of training images, each tested on its own fraction of the test images"
    yield f"regularisation of the probes fixed at C = {shortest(C)}"


@dataclass(frozen=True, kw_only=True)
class LabelWorth(Definition):
    """The number of labels per class with which an accuracy first reaches another, or the reason why there is none."""

    columns: tuple[str, ...]
    """Hits of the probe with each number of labels."""
    target: str
    """Hits that it has to reach."""
    labels: tuple[float, ...]
    """Numbers of labels a class, ascending."""
    chance: float
    """Accuracy of guesses: a target that is not surely above it is worth no labels."""

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the number, None if the target is not above chance, or is reached with the fewest labels or never."""
        columns = (*self.columns, self.target)
        hits, clusters = zip(*(defined_values(samples, name) for name in columns), strict=True)
        means = [float(column.mean()) for column in hits]
        excess = np.column_stack(hits[:-1]) - hits[-1][:, None]
        without_draws = self.target.removeprefix(OF_DRAWS)  # the accuracy of the prompts does not depend on draws
        accuracy = Mean(column=without_draws, chance=self.chance).metric(samples, rng)
        if above_chance(accuracy)[0]:
            reason = self._reason(means[:-1], means[-1], excess, clusters[0])
        else:
            reason = f"{bounded(accuracy)}, which does not reliably exceed chance ({percent(self.chance)} %)"
        if reason is not None:
            return self.define(Metric(value=None, unit=LABELS, n=len(hits[0]), higher_is_better=True, reason=reason))
        number = Estimator("labels_reaching", columns, {"labels": list(self.labels)})
        interval = self._interval(excess, clusters[0])
        statistic = Statistic(function=number, columns=columns, unit=LABELS, interval=interval)
        return self.define(statistic.metric(samples, rng))

    def _reason(
        self, accuracy: list[float], target: float, excess: np.ndarray, clusters: np.ndarray | None
    ) -> str | None:
        """Return the reason for a missing number, as the end of a sentence on the accuracy of the prompts."""
        best = int(np.argmax(accuracy))
        if accuracy[0] < target <= accuracy[best]:
            return None
        is_reached = accuracy[0] >= target
        row = 0 if is_reached else best
        low, high, _ = mean_interval(excess[:, row], clusters=clusters, within=DIFFERENCES)
        is_noise = low is None or high is None or low <= 0 <= high
        if is_reached:
            verb = "reached" if is_noise else "exceeded"
            head = f"{verb} with {labels_a_class(self.labels[0])} already"
        elif is_noise:
            head = f"neither clearly reached nor clearly missed with up to {labels_a_class(self.labels[-1])}"
        else:
            head = f"not reached with up to {labels_a_class(self.labels[-1])}"
        with_labels = "" if is_reached else f" with {labels_a_class(self.labels[row])}"
        return (
            f"{head}: the accuracy of the probe{with_labels} is {percent(accuracy[row])} %,"
            f" the accuracy of the prompts {percent(target)} %, the difference"
            f" {change(accuracy[row] - target, 'fraction')} {change_interval(low, high, 'fraction')}"
        )

    def _interval(self, excess: np.ndarray, clusters: np.ndarray | None) -> Interval:
        """Return the interval. If it ends at the fewest or the most labels, its method says that more are possible."""
        log_labels = np.log(self.labels).tolist()
        log_interval = crossing_interval(
            excess, log_labels, excess_name="the probe's hits minus the prompts' hits", clusters=clusters
        )
        if log_interval.low is None or log_interval.high is None:
            return log_interval
        method = log_interval.method
        if log_interval.low <= log_labels[0]:
            method += f"; {significant(self.labels[0])} or fewer"
        if log_interval.high >= log_labels[-1]:
            method += f"; {significant(self.labels[-1])} or more"
        return Interval(float(np.exp(log_interval.low)), float(np.exp(log_interval.high)), method)


def labels_a_class(number: int | float) -> str:  # noqa: PYI041 (a checker of types at run time tells them apart)
    """Return a number of labels per class in words.

    Example:
        >>> labels_a_class(1.0), labels_a_class(90.0), labels_a_class(12.5)
        ('1 label per class', '90 labels per class', '12.5 labels per class')
    """
    return f"{significant(number)} {'label' if number == 1 else 'labels'} per class"
