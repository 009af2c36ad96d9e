"""Zero-shot classification: is the nearest class prompt the right one?

The vector of a class is the mean of its prompts' unit vectors, at unit length again (Radford et al. 2021, and the
notebook that came with it). An image's scores are its cosines with the classes. Where several classes may be true
of an image, the score is the mean average precision over classes instead.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.evaluation.task import Evaluation
from clipbench.metrics import (
    class_scores,
    macro_f1,
    reliability,
    top_k_credit,
)
from clipbench.metrics.classification import MacroF1
from clipbench.metrics.multilabel import mean_average_precision
from clipbench.metrics.similarity import unit
from clipbench.models.encoding.unit_vectors import unit_vectors
from clipbench.models.protocol import NO_LOGIT_SCALE, Embedder
from clipbench.results.numbers import count, percent
from clipbench.results.record import Curve
from clipbench.stats.calibration import CalibrationError, calibration_estimate
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.measures import Definition, Fixed, Mean, Measure, Smooth, Within, define
from clipbench_tasks.class_prompts import class_vectors, prompt_vectors
from clipbench_tasks.neighbours import Asked, Items, neighbours
from clipbench_tasks.tables import mean_over_parts, stacked

METRICS = {
    "acc1": Definition(
        "Top-1 accuracy",
        "Share of images whose true class has the nearest prompt; a tie scores what a coin flip would.",
        is_headline=True,
    ),
    "acc5": Definition(
        "Top-5 accuracy", "Share of images whose true class is among the five with the nearest prompts."
    ),
    "mean_per_class_recall": Definition(
        "Mean per-class recall", "Top-1 accuracy of each class, averaged over classes."
    ),
    "macro_f1": Definition(
        "Macro F1",
        "Harmonic mean of precision and recall, averaged over the classes that have images; of tied classes the first counts.",
    ),
    "ece": Definition(
        "Expected calibration error",
        "Distance of confidence from accuracy, averaged over 15 bins of confidence; noise adds to it, and the interval "
        "is of the error without noise.",
    ),
    "mean_average_precision": Definition(
        "Mean average precision (mAP)",
        "Average precision of the images ranked for each class, averaged over classes.",
        is_headline=True,
    ),
    "ece_if_calibrated": Definition(
        "ECE of a calibrated model",
        "Calibration error that a perfectly calibrated model would show on as many images, by noise alone.",
        "ece",
    ),
    "majority_class": Definition(
        "Always the most frequent class", "Accuracy of naming the most frequent class for every image.", "acc1"
    ),
    "tie_rate": Definition(
        "Ties for first place", "Share of images for which another class scores exactly as the true one.", "acc1"
    ),
}

SPREAD_IMAGES = 5_000
"""Images, a seeded sample of a larger set, on which each single template is scored."""


@dataclass(frozen=True)
class ZeroShot:
    """Accuracy, recall by class and calibration of the nearest class prompt."""

    name: ClassVar[str] = "zero-shot"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "classification by the nearest class prompt: acc1, acc5, recall by class, macro F1, calibration"
    )
    question: ClassVar[str] = (
        "Is the class whose prompt, such as “a photo of a dog”, is nearest to an image the true one?"
    )
    scoring: ClassVar[str] = (
        "An image counts as right when its true class scores highest (top-1) or is among the five highest (top-5); "
        "a tie scores what a coin flip would."
    )

    prompts: Prompts | None = None
    """Prompts of the classes; None takes the data set's own templates, or else the default."""

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all."""
        return dataset.images

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return a row an image. Needs class names, and labels or multilabels; or several sets of labels."""
        if dataset.label_sets is None:
            return self._evaluate(dataset, embedder, rng)
        return _side_by_side(
            {
                name: self._evaluate(
                    replace(dataset, labels=label_set.labels, class_names=label_set.class_names, label_sets=None),
                    embedder,
                    rng,
                )
                for name, label_set in dataset.label_sets.items()
            }
        )

    def _evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        dataset.require("class_names")
        if dataset.multilabels is None:
            dataset.require("labels")
        assert dataset.class_names is not None
        prompts = self.prompts or prompts_of(dataset)
        texts = prompts.render(dataset.class_names)
        by_prompt = prompt_vectors(texts, embedder)
        classes = class_vectors(by_prompt)
        images = unit_vectors(embedder.images(dataset.images), embedder)
        notes = (f"prompts for class '{dataset.class_names[0]}': {len(texts[0])}, the first '{texts[0][0]}'",)
        if dataset.multilabels is not None:
            return _multilabel(dataset, images, classes, notes)
        evaluation = _single_label(dataset, images, classes, logit_scale=embedder.info.logit_scale, notes=notes)
        if dataset.is_slice or prompts.templates is None or len(prompts.templates) < 2:
            return evaluation
        assert dataset.labels is not None
        by_template = np.stack([unit(rows) for rows in by_prompt], axis=1)
        return _with_templates(evaluation, by_template, images, dataset.labels, templates=prompts.templates, rng=rng)


SHARED = ("sample_id", "image")
"""Columns that are the same for every set of labels."""


def _side_by_side(by_set: Mapping[str, Evaluation]) -> Evaluation:
    """Return the evaluations of several sets of labels as one, each name prefixed by its set, as in ``kind/acc1``."""

    def prefixed(part: str) -> dict[str, Any]:
        return {
            f"{label_set}/{name}": value
            for label_set, evaluation in by_set.items()
            for name, value in getattr(evaluation, part).items()
        }

    first = next(iter(by_set.values())).samples
    samples = {name: column for name, column in prefixed("samples").items() if name.rpartition("/")[2] not in SHARED}
    worst = np.min([evaluation.samples["margin"] for evaluation in by_set.values()], axis=0)
    return Evaluation(
        samples={**{name: first[name] for name in SHARED}, "margin": worst, **samples},
        measures=_within(by_set, "measures"),
        controls=_within(by_set, "controls"),
        curves=prefixed("curves"),
        arrays=prefixed("arrays"),
        neighbours=stacked(
            *(
                {**each.neighbours, "label_set": np.full(len(each.neighbours["sample_id"]), name, object)}
                for name, each in by_set.items()
                if each.neighbours
            )
        ),
        notes=tuple(f"{label_set}: {note}" for label_set, evaluation in by_set.items() for note in evaluation.notes),
    )


def _within(by_set: Mapping[str, Evaluation], part: str) -> dict[str, Measure]:
    return {
        f"{label_set}/{name}": Within(prefix=f"{label_set}/", measure=measure)
        for label_set, evaluation in by_set.items()
        for name, measure in getattr(evaluation, part).items()
    }


def _single_label(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    classes: Float32[np.ndarray, "n_classes dim"],
    *,
    logit_scale: float | None,
    notes: tuple[str, ...],
) -> Evaluation:
    assert dataset.labels is not None and dataset.class_names is not None
    labels, n_classes = dataset.labels, len(classes)
    scores = class_scores(images, classes, labels, logit_scale=logit_scale)
    names = np.array(_distinct(dataset.class_names), object)
    samples = {
        "sample_id": np.array(dataset.image_ids, object),
        "image": np.arange(len(labels)),
        "label": names[labels],
        "predicted": names[scores.predicted],
        "class": labels,
        "acc1": top_k_credit(scores.better, scores.tied, 1),
        "acc5": top_k_credit(scores.better, scores.tied, 5),
        "confidence": scores.confidence,
        "margin": scores.margin,
        "right_cosine": scores.own.astype(np.float64),
        "chosen_cosine": scores.top.astype(np.float64),
        "tied": (scores.tied > 0).astype(np.float64),
    }
    columns, recall = mean_over_parts("mean_per_class_recall", samples["acc1"], labels)
    f1 = macro_f1(scores.predicted, labels)
    samples |= columns | {"macro_f1_influence": f1.influence}
    near = neighbours(
        Asked(dataset.image_ids, images, labels),
        Items(classes, np.arange(n_classes), names.tolist()),
        margin=scores.margin.astype(np.float64),
        is_failure=samples["acc1"] < 1,
    )
    if n_classes <= 5:
        del samples["acc5"]
    has_confidence = logit_scale is not None
    calibrated: dict[str, Measure] = {}
    if has_confidence:
        noise = calibration_estimate(scores.confidence, samples["acc1"]).noise
        calibrated["ece_if_calibrated"] = Fixed(
            value=noise, n=len(labels), reason="the score of a calibrated model", higher_is_better=False
        )
        notes = (
            *notes,
            f"by noise alone, a calibrated model would show an ece of {percent(noise)} % on as many images",
        )
    else:
        del samples["confidence"]
    return Evaluation(
        samples=samples,
        measures=define(_measures(recall, _macro_f1(f1), n_classes, has_confidence=has_confidence), METRICS),
        curves={"reliability": _reliability_curve(scores.confidence, samples["acc1"])} if has_confidence else {},
        controls=define(
            {
                **calibrated,
                "majority_class": Fixed(
                    value=float(np.bincount(labels).max() / len(labels)),
                    n=len(labels),
                    reason="the score of always naming the most frequent class",
                ),
                "tie_rate": Mean(column="tied", higher_is_better=None),
            },
            METRICS,
        ),
        neighbours=near,
        notes=notes,
    )


def _macro_f1(f1: MacroF1) -> Smooth:
    return Smooth(
        value=f1.value,
        influence="macro_f1_influence",
        unit="fraction",
        higher_is_better=True,
        most_trials=trials_of_means(f1.by_class, f1.n_samples),
    )


def _measures(recall: Smooth, f1: Smooth, n_classes: int, *, has_confidence: bool) -> dict[str, Measure]:
    enough = n_classes > 5
    few = Fixed(value=None, reason=f"five of only {n_classes} classes are always right", higher_is_better=True)
    return {
        "acc1": Mean(column="acc1", chance=1 / n_classes),
        "acc5": Mean(column="acc5", chance=5 / n_classes) if enough else few,
        "mean_per_class_recall": replace(recall, chance=1 / n_classes),
        "macro_f1": f1,
        "ece": CalibrationError(confidence="confidence", credit="acc1")
        if has_confidence
        else Fixed(value=None, reason=NO_LOGIT_SCALE, higher_is_better=False),
    }


def _reliability_curve(confidence: Float64[np.ndarray, " n"], credit: Float64[np.ndarray, " n"]) -> Curve:
    bins = reliability(confidence, credit)
    filled = bins.n_samples > 0
    return Curve(
        x=bins.confidence[filled].tolist(), y=bins.accuracy[filled].tolist(), x_label="confidence", y_label="accuracy"
    )


def _with_templates(
    evaluation: Evaluation,
    by_template: Float32[np.ndarray, "n_templates n_classes dim"],
    images: Float32[np.ndarray, "n_images dim"],
    labels: Int64[np.ndarray, " n_images"],
    *,
    templates: Sequence[str],
    rng: np.random.Generator,
) -> Evaluation:
    """Add the accuracy of each single template, whose vectors are already computed."""
    chosen = np.arange(len(images))
    if len(images) > SPREAD_IMAGES:
        chosen = np.sort(rng.choice(len(images), SPREAD_IMAGES, replace=False))
    accuracy = np.empty(len(templates))
    for row, classes in enumerate(by_template):
        scores = class_scores(images[chosen], classes, labels[chosen], logit_scale=None)
        accuracy[row] = top_k_credit(scores.better, scores.tied, 1).mean()
    order = np.argsort(accuracy, kind="stable")
    curve = Curve(
        x=[float(place) for place in range(1, len(templates) + 1)],
        y=accuracy[order].tolist(),
        x_label="single template, in ascending order of accuracy",
        y_label="acc1",
    )
    low, high = (percent(accuracy[order[end]]) for end in (0, -1))
    if low == high:
        note = f"each single template scores {low} % on {count(len(chosen))} images"
    else:
        note = f"single templates score from {low} % ('{templates[order[0]]}') to"
        note = f"{note} {high} % ('{templates[order[-1]]}') on {count(len(chosen))} images"
    return replace(
        evaluation,
        curves={**evaluation.curves, "templates": curve},
        arrays={**evaluation.arrays, "template_names": np.array([templates[row] for row in order])},
        notes=(*evaluation.notes, note),
    )


def _multilabel(
    dataset: Dataset,
    images: Float32[np.ndarray, "n_images dim"],
    classes: Float32[np.ndarray, "n_classes dim"],
    notes: tuple[str, ...],
) -> Evaluation:
    assert dataset.multilabels is not None
    precision = mean_average_precision(images, classes, dataset.multilabels)
    parts = (precision.by_class, precision.n_positives, precision.spreads)
    samples = {
        "sample_id": np.array(dataset.image_ids, object),
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


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, with their row added where two classes share one, as in ImageNet."""
    counts = Counter(names)
    return [f"{name} ({row})" if counts[name] > 1 else name for row, name in enumerate(names)]
