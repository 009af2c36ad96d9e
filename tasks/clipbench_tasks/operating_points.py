"""Operating points: where a threshold on the cosine accepts with the target precision, and what it misses there.

**Pairs** (data with captions): is this caption of this image? Accepted are pairs whose cosine reaches the threshold.
All pairs of an image and a caption of the data are judged. With a share π of them true, the prevalence, precision = π
TPR / (π TPR + (1 - π) FPR).

**Answers** (data with labels): which class is this, or none of these? The class with the highest cosine is named if
that reaches the threshold. Each image is classified twice, with its class in the list and without it, where "none" is
right. A share π of the images has its class in the list. Precision is the fraction of right ones among the classes that
are named, and recall is the fraction of images whose class is in the list, and is named.

The threshold for a precision is the lowest judged cosine with at least that precision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import IMAGE, TEXT
from clipbench.data.prompts import Prompts
from clipbench.errors import DataError, MissingPart, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.classification import class_scores
from clipbench.metrics.operating_points import (
    AcceptanceRates,
    JudgedTrials,
    acceptance_rates,
    even_thresholds,
    judged_answers,
    judged_pairs,
)
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, percent, shortest
from clipbench.results.record import Curve, CurveRole, Metric
from clipbench.stats.estimators import Samples
from clipbench.stats.intervals import CONFIDENCE, Interval
from clipbench.stats.measures import Definition, Definitions, Fixed, Measures, Smooth, define, undefined
from clipbench.stats.threshold_intervals import SURE, PrecisionRecall, operating_point, precision_recall
from clipbench_tasks.tables import Rows, Table, captions_of, items_at, join_evaluations, sample_rows, text_column
from clipbench_tasks.zero_shot import prompted_classes

PAIRS, ANSWERS = "pairs", "answers"
SUBSETS = {PAIRS: "Is this caption of this image?", ANSWERS: "Which class, or none of these?"}
SAMPLED_IMAGES = 2_000
"""Images, a seeded sample of a larger set, whose pairs with all captions of the sample are judged."""
CURVE_POINTS = 60
"""Thresholds of a curve: the number of right and of wrong cosines, evenly spaced by rank."""
HEADLINE = 0.95


@dataclass(frozen=True, kw_only=True)
class Threshold(Definition):
    """A cosine from which on precision is as wanted, with an interval that is made already."""

    value: float
    interval: Interval
    n: int

    def metric(self, samples: Samples, rng: np.random.Generator) -> Metric:
        """Return the threshold. Neither direction is better."""
        low, high, method = self.interval
        is_bounded = low is not None
        threshold = Metric(
            value=self.value,
            low=low,
            high=high,
            confidence=CONFIDENCE,
            n=self.n,
            unit="cosine",
            method=method if is_bounded else None,
            reason=None if is_bounded else f"no interval: {method}",
        )
        return self.define(threshold)


@dataclass(frozen=True)
class OperatingPoints(Task):
    """Precision and recall by cosine threshold, and the thresholds for the precisions that are wanted."""

    name = "operating-points"
    version = 1
    summary = "cosine thresholds for a target precision, and recall there: true pairs, and “none of these”"
    question = (
        "How high must a cosine be to believe that a caption describes an image, or that an image is of any class in"
        " the list?"
    )
    scoring = (
        "A cosine of at least the threshold is accepted. True and false pairs are weighted to the prevalence. Each"
        " image is classified once with its class in the list and once without it, with the same weights. The threshold"
        " for a precision is the lowest with at least this precision."
    )

    precisions: tuple[float, ...] = (0.9, 0.95, 0.99)
    """Precisions that are wanted, ascending."""
    prevalence: float = 0.5
    """Fraction of the pairs that are true, and of the images whose class is in the list, in (0, 1). In a search it is
    far lower than half, and the same precision takes a higher threshold.
    """
    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise UsageError(
                f"task operating-points: prevalence = {self.prevalence}, expected a number between 0 and 1"
            )
        inside = all(self.prevalence < precision < 1 for precision in self.precisions)
        if not self.precisions or not inside or list(self.precisions) != sorted(set(self.precisions)):
            raise UsageError(
                f"task operating-points: precisions = {list(self.precisions)}, expected ascending numbers below 1 and"
                f" above the prevalence ({shortest(self.prevalence)}), which is the precision of accepting everything"
            )

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions of two images, or two images with labels of two classes."""
        if dataset.captions is None and dataset.labels is None:
            raise MissingPart(dataset.id, "captions")
        if len(dataset) < 2:
            raise DataError(f"data set {dataset.id} has {len(dataset)} image: operating points need two")
        if dataset.caption_image is not None and (n := len(np.unique(dataset.caption_image))) < 2:
            raise DataError(f"data set {dataset.id} has captions of {n} image: pairs need captions of two")
        if dataset.labels is not None:
            dataset.require("class_names")
            if len(dataset.class_names or ()) < 2:
                raise DataError(
                    f"data set {dataset.id} has 1 class: operating points need another, so that an answer can be wrong"
                )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per image and question. Needs captions, or labels and class names."""
        parts: dict[str, tuple[JudgedTrials, np.ndarray]] = {}
        notes: list[str] = []
        if dataset.captions is not None:
            parts[PAIRS] = self._pairs(dataset, embedder, rng, notes)
        if dataset.labels is not None:
            parts[ANSWERS] = self._answers(dataset, embedder)
        evaluation = join_evaluations([self._part(name, dataset, *part) for name, part in parts.items()])
        return replace(evaluation, notes=tuple(notes), subsets={name: SUBSETS[name] for name in parts})

    def _pairs(
        self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator, notes: list[str]
    ) -> tuple[JudgedTrials, Rows]:
        """Return the pairs of images and captions, and the rows of the images."""
        all_captions, caption_image = captions_of(dataset)
        rows = np.unique(caption_image)
        if len(rows) > SAMPLED_IMAGES:
            notes.append(f"pairs of a seeded sample of {count(SAMPLED_IMAGES)} of {count(len(rows))} images")
        rows = sample_rows(rows, SAMPLED_IMAGES, rng)
        captions = np.flatnonzero(np.isin(caption_image, rows))
        images = unit(embedder.encode(IMAGE, items_at(dataset.images, rows), "query"))
        texts = unit(embedder.encode(TEXT, items_at(all_captions, captions), "document"))
        owner = np.searchsorted(rows, caption_image[captions])
        n_false = len(captions) * (len(rows) - 1)
        notes.append(
            f"pairs: {count(len(captions))} true and {count(n_false)} false ones, weighted as if"
            f" {shortest(100 * self.prevalence)} % were true"
        )
        return judged_pairs(images, texts, owner), rows

    def _answers(self, dataset: Dataset, embedder: Embedder) -> tuple[JudgedTrials, Rows]:
        """Return the answers to all images, and the rows of the images."""
        assert dataset.labels is not None
        classes = prompted_classes(dataset, self.prompts, embedder)
        scores = class_scores(unit(embedder.encode(IMAGE, dataset.images, "query")), classes, dataset.labels)
        other_score = scores.true_score.astype(np.float64) - scores.margin  # the highest cosine with another class
        return judged_answers(scores.top.astype(np.float64), other_score, scores.credit()), np.arange(len(dataset))

    def _part(self, part: str, dataset: Dataset, judged: JudgedTrials, rows: Rows) -> Evaluation:
        """Return the table, measures and curves of one question, their names prefixed by its name."""
        coarse = acceptance_rates(judged, even_thresholds(judged, CURVE_POINTS))
        rates = precision_recall(coarse, self.prevalence)
        sure = precision_recall(coarse, self.prevalence, confidence=SURE)
        ids = text_column(dataset.image_ids)[rows]
        samples: Table = {"sample_id": f"{part}:" + ids, "cluster": ids, "image": rows}
        measures: Measures = {}
        for precision in self.precisions:
            threshold = f"{part}/threshold@{precision_key(precision)}"
            recall = f"{part}/recall@{precision_key(precision)}"
            is_headline = precision == HEADLINE
            point = operating_point(judged, coarse, sure, precision, self.prevalence)
            if point is None:
                best = float(np.nanmax(sure.low))
                share = _in_percent(precision)
                reason = f"no threshold reliably reaches a precision of {share} (best lower bound {percent(best)} %)"
                measures[threshold] = undefined(reason, "cosine")
                measures[recall] = Fixed(value=None, reason=reason, higher_is_better=True, is_headline=is_headline)
            else:
                samples[f"{recall}_influence"] = point.influence
                measures[threshold] = Threshold(value=point.threshold, interval=point.interval, n=len(rows))
                measures[recall] = Smooth(
                    value=point.recall,
                    influence=f"{recall}_influence",
                    unit="fraction",
                    higher_is_better=True,
                    interval=point.recall_interval,
                    is_headline=is_headline,
                )
        return Evaluation(
            samples=samples,
            measures=define(measures, definitions(self.precisions, self.prevalence)),
            curves=_curves(part, coarse, rates),
        )


def precision_key(precision: float) -> str:
    """Return the name of a precision in keys.

    Example:
        >>> precision_key(0.95), precision_key(0.995)
        ('p95', 'p99.5')
    """
    return f"p{shortest(round(100 * precision, 6))}"


def _in_percent(precision: float) -> str:
    return f"{precision_key(precision)[1:]} %"


def definitions(precisions: Sequence[float], prevalence: float = 0.5) -> Definitions:
    """Return the definitions of the metrics, without the subset."""
    metric_definitions: Definitions = {}
    part = "half" if prevalence == 0.5 else f"{shortest(100 * prevalence)} %"
    for precision in precisions:
        share = _in_percent(precision)
        metric_definitions |= {
            f"threshold@{precision_key(precision)}": Definition(
                f"Cosine threshold for {share} precision",
                f"Lowest threshold at which at least {share} of the accepted are right, if {part} of all should be"
                " accepted.",
            ),
            f"recall@{precision_key(precision)}": Definition(
                f"Recall at {share} precision",
                f"Fraction of those to be accepted that are rightly accepted at the threshold for {share} precision.",
            ),
        }
    return metric_definitions


def _curves(part: str, coarse: AcceptanceRates, rates: PrecisionRecall) -> Mapping[str, Curve]:
    x = coarse.thresholds.tolist()

    def curve(name: str, role: CurveRole, *columns: np.ndarray) -> Curve:
        y, low, high = (column.tolist() for column in columns)
        return Curve(
            x=x,
            y=y,
            low=low,
            high=high,
            x_label="cosine threshold",
            y_label="precision and recall",
            unit="fraction",
            figure=part,
            series=name,
            role=role,
        )

    return {
        f"{part}/precision_by_cosine": curve("precision", "ink", rates.precision, rates.low, rates.high),
        f"{part}/recall_by_cosine": curve("recall", "pair", rates.recall, rates.recall_low, rates.recall_high),
    }
