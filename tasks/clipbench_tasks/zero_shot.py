"""Zero-shot classification: is the nearest class prompt the right one?

The vector of a class is the mean of its prompts' unit vectors, at unit length again (Radford et al. 2021, and the
notebook that came with it). An image's scores are its cosines with the classes. Where several classes may be true
of an image, the score is the mean average precision over classes instead.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import DataError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores, macro_f1, mean_average_precision, reliability
from clipbench.models.protocol import ClassEmbedder, Embedder, Predictions, Role, capability, no_logit_scale
from clipbench.results.metric_name import base_name, over_rule
from clipbench.results.numbers import count, percent
from clipbench.results.record import Curve
from clipbench.stats.calibration import CalibrationError, calibration_estimate
from clipbench.stats.estimators import Estimator
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Measures, Smooth, Within, define, undefined
from clipbench_tasks.tables import (
    Column,
    Curves,
    QuerySet,
    Rows,
    SearchedItems,
    Table,
    Vectors,
    labels_of,
    lead_over_rule,
    mean_over_parts,
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
        """Return the images that are encoded first: all."""
        return dataset.images

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are class names with labels, or several sets of them."""
        if dataset.label_sets is None:
            dataset.require("class_names", *(["labels"] if dataset.multilabels is None else []))

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per image. Needs class names, and labels or multilabels, or several sets of labels."""
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
            return _evaluate_predictions(dataset, classifier.predictions(dataset.images))
        prompts = self.prompts or prompts_of(dataset)
        texts = prompts.render(dataset.class_names)
        by_prompt = prompt_vectors(texts, embedder)
        classes = class_vectors(by_prompt, embedder)
        images = embedder.scoring_vectors(embedder.encode(IMAGE, dataset.images, "query"))
        notes = (f"prompts for class '{dataset.class_names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",)
        if dataset.multilabels is not None:
            return _multilabel(dataset, images, classes, notes)
        evaluation = _single_label(dataset, images, classes, logit_scale=embedder.info.logit_scale, notes=notes)
        if dataset.is_slice or prompts.templates is None or len(prompts.templates) < 2:
            return evaluation
        assert dataset.labels is not None
        by_template = np.stack([embedder.scoring_vectors(rows) for rows in by_prompt], axis=1)
        return _with_templates(evaluation, by_template, images, dataset.labels, templates=prompts.templates, rng=rng)


def prompt_vectors(texts: Sequence[Sequence[str]], embedder: Embedder, role: Role = "document") -> list[Vectors]:
    """Return the raw vectors of each class's prompts, encoded in one call."""
    vectors = embedder.encode(TEXT, [text for prompts in texts for text in prompts], role)
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
        return {
            f"{label_set}/{name}": Within(prefix=f"{label_set}/", measure=value) if part in MEASURED else value
            for label_set, evaluation in by_set.items()
            for name, value in getattr(evaluation, part).items()
        }

    first = next(iter(by_set.values())).samples
    samples = {name: column for name, column in prefixed("samples").items() if base_name(name) not in SHARED}
    worst = np.min([evaluation.samples["margin"] for evaluation in by_set.values()], axis=0)
    return Evaluation(
        samples={**{name: first[name] for name in SHARED}, "margin": worst, **samples},
        measures=prefixed("measures"),
        baselines=prefixed("baselines"),
        curves=prefixed("curves"),
        inputs=prefixed("inputs"),
        arrays=prefixed("arrays"),
        neighbours=stack_tables(
            *(
                {**evaluation.neighbours, "label_set": np.full(len(evaluation.neighbours["sample_id"]), name, object)}
                for name, evaluation in by_set.items()
                if evaluation.neighbours
            )
        ),
        notes=tuple(f"{label_set}: {note}" for label_set, evaluation in by_set.items() for note in evaluation.notes),
    )


def _single_label(
    dataset: Dataset, images: Vectors, classes: Vectors, *, logit_scale: float | None, notes: tuple[str, ...]
) -> Evaluation:
    labels, class_names = labels_of(dataset)
    n_classes = len(classes)
    scores = class_scores(images, classes, labels, logit_scale=logit_scale)
    acc1 = scores.credit()
    chosen = Predictions(scores.predicted, None if logit_scale is None else scores.confidence)
    samples: Table = {
        "acc5": scores.credit(5),
        "margin": scores.margin,
        "target_cosine": scores.true_score.astype(np.float64),
        "predicted_cosine": scores.top.astype(np.float64),
        "tied": (scores.tied > 0).astype(np.float64),
    }
    acc5: Measure = Mean(column="acc5", chance=5 / n_classes)
    if n_classes <= 5:
        del samples["acc5"]
        reason = f"five of only {n_classes} classes are always right"
        acc5 = undefined(reason, higher_is_better=True)
    tie_rate = Mean(column="tied", higher_is_better=None)
    evaluation = _evaluate_choices(dataset, chosen, acc1, acc5=acc5, no_confidence=no_logit_scale())
    return replace(
        evaluation,
        samples={**evaluation.samples, **samples},
        baselines={**evaluation.baselines, **define({"tie_rate": tie_rate}, METRICS)},
        neighbours=neighbours(
            QuerySet(dataset.image_ids, images, labels),
            SearchedItems(classes, np.arange(n_classes), _distinct_names(class_names)),
            margin=scores.margin.astype(np.float64),
            is_failure=acc1 < 1,
        ),
        notes=(*notes, *evaluation.notes),
    )


def _evaluate_predictions(dataset: Dataset, predictions: Predictions) -> Evaluation:
    """Return the metrics of predicted classes. Metrics that need the scores of other classes are undefined."""
    labels, names = labels_of(dataset)
    if len(names) < 2:
        raise DataError(f"zero-shot classification needs at least 2 classes, got {len(names)}")
    credit = (predictions.predicted == labels).astype(np.float64)
    acc5 = undefined("it needs five classes per image, and the file has one", higher_is_better=True)
    no_confidence = "it needs confidences, and the file has none"
    return replace(
        _evaluate_choices(dataset, predictions, credit, acc5=acc5, no_confidence=no_confidence),
        question="Is the predicted class of an image the true one?",
        scoring="An image counts as right when its predicted class is its label.",
    )


def _distinct_names(class_names: Sequence[str]) -> list[str]:
    """Return the class names, numbered if two classes have the same name, as in ImageNet."""
    counts = Counter(class_names)
    return [f"{name} ({row})" if counts[name] > 1 else name for row, name in enumerate(class_names)]


def _evaluate_choices(
    dataset: Dataset, chosen: Predictions, credit: Column, *, acc5: Measure, no_confidence: str
) -> Evaluation:
    """Return the metrics that follow from the chosen class, and from its confidence if it is known.

    Args:
        credit: of the chosen class of each image.
        acc5: top-5 accuracy, which does not follow from them.
        no_confidence: why calibration is undefined without confidence.
    """
    labels, class_names = labels_of(dataset)
    n, names = len(labels), text_column(_distinct_names(class_names))
    samples: Table = {
        "sample_id": text_column(dataset.image_ids),
        "image": np.arange(n),
        "label": names[labels],
        "predicted": names[chosen.predicted],
        "class": labels,
        "acc1": credit,
    }
    columns, recall = mean_over_parts("mean_per_class_recall", credit, labels)
    f1 = macro_f1(chosen.predicted, labels)
    samples |= columns | {"macro_f1_influence": f1.influence, "predicted_class": chosen.predicted}
    measures: Measures = {
        "acc1": Mean(column="acc1", chance=1 / len(names)),
        "acc5": acc5,
        "mean_per_class_recall": replace(recall, chance=1 / len(names)),
        "macro_f1": Smooth(
            value=f1.value,
            influence="macro_f1_influence",
            unit="fraction",
            higher_is_better=True,
            most_trials=trials_of_means(f1.by_class, f1.n_samples),
            statistic=Estimator("macro_f1", ("predicted_class", "class")),
        ),
        "ece": undefined(no_confidence, higher_is_better=False),
    }
    curves, baselines, notes = Curves(), Measures(), tuple[str, ...]()
    if chosen.confidence is not None:
        samples["confidence"] = chosen.confidence
        measures["ece"] = CalibrationError(confidence="confidence", credit="acc1")
        curves["reliability"] = _reliability_curve(chosen.confidence, credit)
        noise = calibration_estimate(chosen.confidence, credit).noise
        baselines["ece_if_calibrated"] = Fixed(
            value=noise, n=n, reason="the score of a calibrated model", higher_is_better=False
        )
        notes = (f"by noise, a calibrated model would show an ece of {percent(noise)} % on this number of images",)
    baselines["majority_class"] = Fixed(
        value=float(np.bincount(labels).max() / n), n=n, reason="the score of always naming the most frequent class"
    )
    most_frequent = int(np.bincount(labels).argmax())
    is_most_frequent = (labels == most_frequent).astype(np.float64)
    if is_most_frequent.mean() > 1 / len(names):
        samples[over_rule("acc1")] = credit - is_most_frequent
        baselines[over_rule("acc1")] = lead_over_rule("acc1", f"always answering '{names[most_frequent]}'")
    return Evaluation(
        samples=samples,
        measures=define(measures, METRICS),
        inputs={"label": "class"},
        curves=curves,
        baselines=define(baselines, METRICS),
        notes=notes,
        accuracy="acc1",
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
    labels: Rows,
    *,
    templates: Sequence[str],
    rng: np.random.Generator,
) -> Evaluation:
    """Add the accuracy of each single template, whose vectors are already computed."""
    chosen = sample_rows(np.arange(len(images)), SPREAD_IMAGES, rng)
    accuracy = np.empty(len(templates))
    for row, classes in enumerate(by_template):
        accuracy[row] = class_scores(images[chosen], classes, labels[chosen]).credit().mean()
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
