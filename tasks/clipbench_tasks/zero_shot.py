"""Zero-shot classification: is the nearest class prompt the right one?

The vector of a class is the mean of its prompts' unit vectors, at unit length again (Radford et al. 2021, and the
notebook that came with it). An image's scores are its cosines with the classes. An image may have several right
classes, of which the model has to name one, as in ImageNet's ReaL labels. Where a model has to find all classes of an
image, the score is the mean average precision over classes instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores, mean_average_precision, reliability
from clipbench.models.protocol import ClassEmbedder, Embedder, Predictions, Role, capability, no_logit_scale
from clipbench.results.metric_name import base_name, over_rule
from clipbench.results.numbers import count, percent
from clipbench.results.record import Curve
from clipbench.stats.calibration import CalibrationError, calibration_estimate
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Measures, Smooth, Within, define, undefined
from clipbench_tasks.right_classes import FirstPlaces, SeveralClasses, Truth, truth_of, with_classes
from clipbench_tasks.tables import (
    Column,
    Curves,
    QuerySet,
    SearchedItems,
    Table,
    Vectors,
    lead_over_rule,
    neighbours,
    sample_rows,
    stack_tables,
    text_column,
)

METRICS = {
    "acc1": Definition(
        "Top-1 accuracy",
        "Fraction of images whose true class has the nearest prompt, where a tie scores as a random choice would.",
        is_headline=True,
    ),
    "acc5": Definition(
        "Top-5 accuracy", "Fraction of images whose true class is among the five with the nearest prompts."
    ),
    "mean_per_class_recall": Definition(
        "Mean per-class recall", "Top-1 accuracy of each class, averaged over classes."
    ),
    "macro_f1": Definition(
        "Macro F1",
        "Harmonic mean of precision and recall, averaged over the classes that have images, where the first of tied"
        " classes counts.",
    ),
    "ece": Definition(
        "Expected calibration error",
        "Distance of confidence from accuracy, averaged over 15 bins of confidence, to which noise adds (the interval "
        "is of the error without noise).",
    ),
    "mean_average_precision": Definition(
        "Mean average precision (mAP)",
        "Average precision of the images ranked for each class, averaged over classes.",
        is_headline=True,
    ),
    "ece_if_calibrated": Definition(
        "ECE of a calibrated model",
        "Calibration error that a perfectly calibrated model would show by noise, on the same number of images.",
        "ece",
    ),
    "majority_class": Definition(
        "Always the most frequent class", "Accuracy of naming the most frequent class for every image.", "acc1"
    ),
    over_rule("acc1"): Definition(
        "Lead over the most frequent class",
        "Top-1 accuracy minus the accuracy of naming the most frequent class for every image, where classes differ in "
        "size.",
        "acc1",
    ),
    "tie_rate": Definition(
        "Ties for first place", "Fraction of images for which another class scores exactly as the true one.", "acc1"
    ),
}

SEVERAL_METRICS = {
    **METRICS,
    "acc1": replace(
        METRICS["acc1"],
        description="Fraction of images for which a right class has the nearest prompt, where a tie scores as a random"
        " choice would.",
    ),
    "acc5": replace(
        METRICS["acc5"], description="Fraction of images with a right class among the five with the nearest prompts."
    ),
    "mean_per_class_recall": replace(
        METRICS["mean_per_class_recall"],
        description="Recall of each class, averaged over classes. An image counts for the predicted class if that is"
        " right, otherwise for each of its classes in equal parts.",
    ),
    "macro_f1": replace(
        METRICS["macro_f1"],
        description="Harmonic mean of precision and recall, averaged over classes. An image counts for the predicted"
        " class if that is right, otherwise for each of its classes in equal parts.",
    ),
    "tie_rate": replace(
        METRICS["tie_rate"], description="Fraction of images for which a wrong class scores exactly as a right one."
    ),
}
"""The same where images have several right classes."""
SEVERAL_SCORING = (
    "An image counts as right when one of its right classes scores highest (top-1) or is among the five highest "
    "(top-5). A tie scores as a random choice would."
)
SPREAD_IMAGES = 5_000
"""Images, a seeded sample of a larger set, on which each single template is scored."""


@dataclass(frozen=True)
class ZeroShot(Task):
    """Accuracy, recall by class and calibration of the nearest class prompt."""

    name = "zero-shot"
    version = 1
    takes_dot = True
    data_form = "classes"
    summary = "classification by the nearest class prompt: acc1, acc5, recall by class, macro F1, calibration"
    question = "Is the class whose prompt, such as “a photo of a dog”, is nearest to an image the true one?"
    scoring = (
        "An image counts as right when its true class scores highest (top-1) or is among the five highest (top-5). "
        "A tie scores as a random choice would."
    )

    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all that have a class."""
        return with_classes(dataset).images

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are class names with labels, or several sets of them."""
        if dataset.label_sets is None:
            has_lists = dataset.multilabels is not None or dataset.right_classes is not None
            dataset.require("class_names", *([] if has_lists else ["labels"]))

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per image. Needs class names, and labels, lists of right classes or multilabels, or several
        sets of labels.
        """
        if dataset.label_sets is None:
            return self._evaluate(dataset, embedder, rng)
        by_set = {}
        for name, label_set in dataset.label_sets.items():
            of_set = replace(dataset, labels=label_set.labels, class_names=label_set.class_names, label_sets=None)
            by_set[name] = self._evaluate(of_set, embedder, rng)
        return _join_label_sets(by_set)

    def _evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        assert dataset.class_names is not None
        classifier = capability(embedder, ClassEmbedder)
        if classifier is not None:
            return _evaluate_predictions(dataset, classifier.predictions(with_classes(dataset).images))
        prompts = self.prompts or prompts_of(dataset)
        texts = prompts.render(dataset.class_names)
        by_prompt = prompt_vectors(texts, embedder)
        classes = class_vectors(by_prompt, embedder)
        images = embedder.scoring_vectors(embedder.encode(IMAGE, with_classes(dataset).images, "query"))
        notes = (f"prompts for class '{dataset.class_names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",)
        if dataset.multilabels is not None:
            return _multilabel(dataset, images, classes, notes)
        truth = truth_of(dataset)
        evaluation = _evaluate_scores(
            dataset, truth, images, classes, logit_scale=embedder.info.logit_scale, notes=notes
        )
        if dataset.is_slice or prompts.templates is None or len(prompts.templates) < 2:
            return evaluation
        by_template = np.stack([embedder.scoring_vectors(rows) for rows in by_prompt], axis=1)
        return _with_templates(evaluation, by_template, images, truth, templates=prompts.templates, rng=rng)


def prompt_vectors(texts: Sequence[Sequence[str]], embedder: Embedder, role: Role = "document") -> list[Vectors]:
    """Return the raw vectors of each class's prompts, encoded in one call."""
    all_prompts = list(chain.from_iterable(texts))
    vectors = embedder.encode(TEXT, all_prompts, role)
    return np.split(vectors, np.cumsum([len(prompts) for prompts in texts])[:-1])


def class_vectors(by_prompt: Sequence[Vectors], embedder: Embedder, *, of_raw: bool = False) -> Vectors:
    """Return each class's unit vector: the mean of its prompts' unit vectors, at unit length again.

    A model that ranks by the inner product has the mean of the vectors as they are; a model with ``Embedder.combine``
    has the result of that.

    Source: Radford et al. 2021, and the notebook that came with it.

    Args:
        by_prompt: raw vectors of each class's prompts.
        of_raw: take the mean of the raw vectors, in which longer ones weigh more: SCAM's protocol (Westerhoff et al.
            2025). With one prompt a class there is no difference.

    Example:
        >>> from clipbench import vectors
        >>> prompts = [np.array([[9, 0], [0, 1]], np.float32)]
        >>> model = vectors(images=np.eye(2), texts=np.eye(2))
        >>> class_vectors(prompts, model).round(3), class_vectors(prompts, model, of_raw=True).round(3)
        (array([[0.707, 0.707]], dtype=float32), array([[0.994, 0.11 ]], dtype=float32))
    """
    combined = embedder.combine(by_prompt)
    if combined is None:
        parts = by_prompt if of_raw else [embedder.scoring_vectors(rows) for rows in by_prompt]
        combined = np.stack([rows.mean(axis=0, dtype=np.float64).astype(np.float32) for rows in parts])
    return embedder.scoring_vectors(combined)


def prompted_classes(dataset: Dataset, prompts: Prompts | None, embedder: Embedder, role: Role = "document") -> Vectors:
    """Return the unit vectors of a data set's classes, by the given prompts or by the data set's own."""
    assert dataset.class_names is not None
    by_prompt = prompt_vectors((prompts or prompts_of(dataset)).render(dataset.class_names), embedder, role)
    return class_vectors(by_prompt, embedder)


SHARED = ("sample_id", "image")
"""Columns that are the same for every set of labels."""
MEASURED = ("measures", "baselines")


def _join_label_sets(by_set: Mapping[str, Evaluation]) -> Evaluation:
    """Return the evaluations of several sets of labels as one, with names prefixed by the set, as in ``kind/acc1``."""

    def prefixed(part: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for label_set, evaluation in by_set.items():
            prefix = f"{label_set}/"
            for name, value in getattr(evaluation, part).items():
                values[f"{prefix}{name}"] = Within(prefix=prefix, measure=value) if part in MEASURED else value
        return values

    first = next(iter(by_set.values())).samples
    shared_columns = {name: first[name] for name in SHARED}
    columns_of_sets = {name: column for name, column in prefixed("samples").items() if base_name(name) not in SHARED}
    worst = np.min([evaluation.samples["margin"] for evaluation in by_set.values()], axis=0)
    neighbours: list[Table] = []
    notes: list[str] = []
    for label_set, evaluation in by_set.items():
        notes += [f"{label_set}: {note}" for note in evaluation.notes]
        if evaluation.neighbours:
            n_rows = len(evaluation.neighbours["sample_id"])
            neighbours.append({**evaluation.neighbours, "label_set": np.full(n_rows, label_set, object)})
    return Evaluation(
        samples={**shared_columns, "margin": worst, **columns_of_sets},
        measures=prefixed("measures"),
        baselines=prefixed("baselines"),
        curves=prefixed("curves"),
        inputs=prefixed("inputs"),
        arrays=prefixed("arrays"),
        neighbours=stack_tables(*neighbours),
        notes=tuple(notes),
    )


class _Choices(NamedTuple):
    """The class that was chosen for each image that counts."""

    chosen: Predictions
    credit: Column
    first: FirstPlaces


def _evaluate_scores(
    dataset: Dataset,
    truth: Truth,
    images: Vectors,
    classes: Vectors,
    *,
    logit_scale: float | None,
    notes: tuple[str, ...],
) -> Evaluation:
    n_classes = len(classes)
    scores = class_scores(images, classes, truth.right, logit_scale=logit_scale)
    acc1 = scores.credit()
    chosen = Predictions(scores.predicted, None if logit_scale is None else scores.confidence)
    # If all classes of an image are right, no score of a wrong one is there to subtract.
    margin = np.where(np.isinf(scores.margin), np.nan, scores.margin)
    samples: Table = {
        "acc5": scores.credit(5),
        "margin": margin,
        "target_cosine": scores.true_score.astype(np.float64),
        "predicted_cosine": scores.top.astype(np.float64),
        "tied": (scores.tied > scores.tied_right).astype(np.float64),
    }
    acc5: Measure = Mean(column="acc5", chance=truth.chance(5))
    if n_classes <= 5:
        del samples["acc5"]
        reason = f"five of only {n_classes} classes are always right"
        acc5 = undefined(reason, higher_is_better=True)
    tie_rate = Mean(column="tied", higher_is_better=None)
    choices = _Choices(chosen, acc1, FirstPlaces(scores.is_first, scores.tied + 1))
    evaluation = _evaluate_choices(dataset, truth, choices, acc5=acc5, no_confidence=no_logit_scale())
    return replace(
        evaluation,
        samples={**evaluation.samples, **samples},
        baselines={**evaluation.baselines, **define({"tie_rate": tie_rate}, _definitions(truth))},
        neighbours=neighbours(
            QuerySet(with_classes(dataset).image_ids, images, np.arange(len(images))),
            SearchedItems(classes, np.arange(n_classes), truth.names),
            margin=scores.margin.astype(np.float64),
            is_failure=acc1 < 1,
            is_right=truth.is_right,
        ),
        notes=(*notes, *evaluation.notes),
    )


def _evaluate_predictions(dataset: Dataset, predictions: Predictions) -> Evaluation:
    """Return the metrics of predicted classes. Metrics that need the scores of other classes are undefined."""
    truth = truth_of(dataset)
    if len(truth.names) < 2:
        raise DataError(f"zero-shot classification needs at least 2 classes, got {len(truth.names)}")
    rows = np.arange(len(predictions.predicted))
    credit = truth.is_right(rows, predictions.predicted).astype(np.float64)
    choices = _Choices(predictions, credit, truth.first_places(predictions.predicted))
    acc5 = undefined("it needs five classes per image, and the file has one", higher_is_better=True)
    no_confidence = "it needs confidences, and the file has none"
    scoring = "An image counts as right when its predicted class is its label."
    if isinstance(truth, SeveralClasses):
        scoring = "An image counts as right when its predicted class is one of its labels."
    evaluation = _evaluate_choices(dataset, truth, choices, acc5=acc5, no_confidence=no_confidence)
    return replace(evaluation, question="Is the predicted class of an image the true one?", scoring=scoring)


def _definitions(truth: Truth) -> Mapping[str, Definition]:
    return SEVERAL_METRICS if isinstance(truth, SeveralClasses) else METRICS


def _evaluate_choices(
    dataset: Dataset, truth: Truth, choices: _Choices, *, acc5: Measure, no_confidence: str
) -> Evaluation:
    """Return the metrics that follow from the chosen class, and from its confidence if it is known.

    Args:
        choices: the chosen class of each image that counts.
        acc5: top-5 accuracy, which does not follow from them.
        no_confidence: why calibration is undefined without confidence.
    """
    chosen, credit, first = choices
    n = len(credit)
    samples: Table = {
        "sample_id": text_column(with_classes(dataset).image_ids),
        "image": truth.image_rows,
        **truth.label_columns,
        "predicted": text_column(truth.names)[chosen.predicted],
        **truth.class_columns,
        "acc1": credit,
    }
    recall, f1 = truth.mean_recall(credit, first), truth.macro_f1(chosen.predicted)
    samples |= recall.columns | f1.columns | {"predicted_class": chosen.predicted}
    measures: Measures = {
        "acc1": Mean(column="acc1", chance=truth.chance()),
        "acc5": acc5,
        "mean_per_class_recall": recall.measure,
        "macro_f1": f1.measure,
        "ece": undefined(no_confidence, higher_is_better=False),
    }
    curves, baselines, notes = Curves(), Measures(), truth.notes
    if chosen.confidence is not None:
        samples["confidence"] = chosen.confidence
        measures["ece"] = CalibrationError(confidence="confidence", credit="acc1")
        curves["reliability"] = _reliability_curve(chosen.confidence, credit)
        noise = calibration_estimate(chosen.confidence, credit).noise
        baselines["ece_if_calibrated"] = Fixed(
            value=noise, n=n, reason="the score of a calibrated model", higher_is_better=False
        )
        notes += (f"by noise, a calibrated model would show an ece of {percent(noise)} % on this number of images",)
    baselines["majority_class"] = Fixed(
        value=truth.majority_share, n=n, reason="the score of always naming the most frequent class"
    )
    has_several = isinstance(truth, SeveralClasses)
    definitions = _definitions(truth)
    most_frequent = truth.most_frequent
    if truth.majority_share > truth.chance():
        is_most_frequent = truth.is_right(np.arange(n), np.full(n, most_frequent))
        samples[over_rule("acc1")] = credit - is_most_frequent
        baselines[over_rule("acc1")] = lead_over_rule("acc1", f"always answering '{truth.names[most_frequent]}'")
    return Evaluation(
        samples=samples,
        measures=define(measures, definitions),
        inputs={} if has_several else {"label": "class"},
        curves=curves,
        baselines=define(baselines, definitions),
        notes=notes,
        scoring=SEVERAL_SCORING if has_several else "",
        accuracy="" if has_several else "acc1",
    )


def _reliability_curve(confidence: Column, credit: Column) -> Curve:
    bins = reliability(confidence, credit)
    filled = bins.n_samples > 0
    return Curve(
        x=bins.confidence[filled].tolist(),
        y=bins.accuracy[filled].tolist(),
        x_label="confidence",
        y_label="accuracy",
        unit="fraction",
        figure="reliability",
        series="accuracy",
    )


def _with_templates(
    evaluation: Evaluation,
    by_template: Float32[np.ndarray, "n_templates n_classes dim"],
    images: Vectors,
    truth: Truth,
    *,
    templates: Sequence[str],
    rng: np.random.Generator,
) -> Evaluation:
    """Add the accuracy of each single template, whose vectors are already computed."""
    chosen = sample_rows(np.arange(len(images)), SPREAD_IMAGES, rng)
    accuracy = np.empty(len(templates))
    for row, classes in enumerate(by_template):
        accuracy[row] = class_scores(images[chosen], classes, truth.right[chosen]).credit().mean()
    order = np.argsort(accuracy, kind="stable")
    curve = Curve(
        x=[float(rank) for rank in range(1, len(templates) + 1)],
        y=accuracy[order].tolist(),
        x_label="single template, in ascending order of accuracy",
        y_label="acc1",
        unit="fraction",
        figure="templates",
        series="single templates",
    )
    low, high = (percent(accuracy[order[end]]) for end in (0, -1))
    n, (worst, best) = count(len(chosen)), (templates[order[end]] for end in (0, -1))
    note = f"single templates score from {low} % ('{worst}') to {high} % ('{best}') on {n} images"
    if low == high:
        note = f"each single template scores {low} % on {n} images"
    return replace(
        evaluation,
        curves={**evaluation.curves, "templates": curve},
        arrays={**evaluation.arrays, "template_names": np.array([templates[row] for row in order])},
        notes=(*evaluation.notes, note),
    )


def _multilabel(dataset: Dataset, images: Vectors, classes: Vectors, notes: tuple[str, ...]) -> Evaluation:
    assert dataset.multilabels is not None
    precision = mean_average_precision(images, classes, dataset.multilabels)
    parts = (precision.by_class, precision.n_positives, precision.spreads)
    samples = {
        "sample_id": text_column(dataset.image_ids),
        "image": np.arange(len(images)),
        "mean_average_precision_influence": precision.influence,
    }
    measure = Smooth(
        value=precision.value,
        influence="mean_average_precision_influence",
        unit="fraction",
        chance=precision.chance,
        higher_is_better=True,
        # A few positives that all come first do not show that all do.
        most_trials=trials_of_means(*parts) if len(precision.by_class) else None,
    )
    return Evaluation(samples=samples, measures=define({"mean_average_precision": measure}, METRICS), notes=notes)
