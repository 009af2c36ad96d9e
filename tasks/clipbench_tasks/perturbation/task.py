"""Perturbation: how much of its score does a model lose on disturbed images and texts, each against its clean self?

One side is disturbed at a time: the images that are classified, or search; the class names; or the captions that
search. What is searched stays clean, so that the answer to a query depends on the query's own copy. Each sample
has a row per disturbance, with the credit at severity 0, which is the clean sample, and at five severities.

**Severity of half the loss**: where the score has lost half of what the clean one has above chance. Between severities
the curve is taken to be straight, and its interval holds the severities at which no test shows more or less than half
to be left (``crossing_interval``).

**Worst disturbance, spread of templates**: the largest of several means. Its interval runs from the largest lower to
the largest upper bound of intervals that hold for all of the means at once (Bonferroni), so that a choice after the
fact is paid for.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import comb
from operator import eq
from typing import Any, NamedTuple

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.images import ImageRef
from clipbench.data.modalities import IMAGE
from clipbench.data.prompts import Prompts, prompts_of
from clipbench.errors import DataError, MissingPart, UsageError, did_you_mean
from clipbench.evaluation.task import Evaluation, Task
from clipbench.models.protocol import Embedder
from clipbench.results.numbers import count, listed
from clipbench.results.sample_inputs import InputKind
from clipbench.stats.estimators import Samples
from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench.stats.measures import Definition, Fixed, Mean, Measures, define
from clipbench_tasks.perturbation.disturbances import IMAGE_DISTURBANCES, TEMPLATE, TEXT_DISTURBANCES
from clipbench_tasks.perturbation.measures import SEVERITIES, SEVERITY, HalfLoss, LargestMean, template_differences
from clipbench_tasks.perturbation.sides import (
    ACCURACY,
    TO_IMAGE,
    TO_TEXT,
    Answer,
    DisturbedSide,
    retrieval_sides,
    zero_shot_sides,
)
from clipbench_tasks.tables import Column, Curves, Table, bounded_curve, curve_of_means, stack_tables, text_column

DISTURBANCES = {name: part.title for name, part in {**IMAGE_DISTURBANCES, **TEXT_DISTURBANCES}.items()}
"""Titles by name."""
SCORES = {ACCURACY: "Top-1 accuracy", TO_TEXT: "Image-to-text R@1", TO_IMAGE: "Text-to-image R@1"}
"""Titles of the scores of zero-shot and retrieval."""
SHORT_SCORES = {ACCURACY: "accuracy", TO_TEXT: "R@1", TO_IMAGE: "R@1"}

METRICS = {name: Definition(title, "Score of the clean samples.") for name, title in SCORES.items()}
METRICS |= {
    f"disturbed_{name}": Definition(
        f"{title}, disturbed", "Mean score over all disturbances and severities.", is_headline=True
    )
    for name, title in SCORES.items()
}
METRICS |= {
    "worst_loss": Definition(
        "Largest loss",
        "Loss with the worst disturbance.",
        is_headline=True,
    ),
    "loss": Definition("Loss", "Clean score minus the mean score over the severities."),
    "half_loss": Definition("Half lost at", "Severity at which half of the clean score above chance is lost."),
    "spread": Definition("Spread of templates", "Score with the best template minus the worst."),
    "blind": Definition("Blind", "Score with the mean of all queries for each query.", "loss"),
}


@dataclass(frozen=True)
class Perturbation(Task):
    """Scores of disturbed images and texts, and the losses against the clean ones."""

    name = "perturbation"
    version = 2
    takes_dot = True
    summary = "loss of accuracy or recall with JPEG, thumbnails, blur, typos, case, templates, ..."
    needs_model = True
    question = "How much of its score does the model lose when images or texts are disturbed?"
    scoring = (
        "Each sample is compared with itself: a loss is the clean credit minus the credit of the disturbed copy. Only"
        " queries or class names are disturbed. A tie scores as a random choice would."
    )

    disturbances: tuple[str, ...] = tuple(DISTURBANCES)
    """Those that are measured."""
    score: str = ""
    """``retrieval`` or ``zero-shot``, empty for retrieval if the data has captions and zero-shot otherwise."""
    prompts: Prompts | None = None
    """Prompts of the classes, None for the data set's own templates, or the default if it has none."""

    def __post_init__(self) -> None:
        if not self.disturbances:
            raise UsageError("task perturbation: disturbances = [], expected one or more, such as jpeg")
        for name in self.disturbances:
            if name not in DISTURBANCES:
                raise UsageError(f"task perturbation: unknown disturbance '{name}': {did_you_mean(name, DISTURBANCES)}")
        if self.score not in ("", "retrieval", "zero-shot"):
            raise UsageError(f"task perturbation: score = {self.score!r}, expected 'retrieval' or 'zero-shot'")

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are captions, or labels with class names, of two images or more."""
        if not self.score and dataset.captions is None and dataset.labels is None:
            raise MissingPart(dataset.id, "captions, or labels")
        parts = ("captions", "caption_image") if self._is_retrieval(dataset) else ("labels", "class_names")
        dataset.require(*parts)
        if len(dataset) < 2:
            raise DataError(f"data set {dataset.id} has {len(dataset)} image: expected two or more. Add images.")

    def _is_retrieval(self, dataset: Dataset) -> bool:
        return self.score == "retrieval" or (not self.score and dataset.captions is not None)

    def first_images(self, dataset: Dataset) -> Sequence[ImageRef]:
        """Return the images that are encoded first: all."""
        return dataset.images

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per sample and disturbance. Needs captions, or labels with class names."""
        if self._is_retrieval(dataset):
            sides = retrieval_sides(dataset, embedder)
        else:
            sides = zero_shot_sides(dataset, embedder, self.prompts or prompts_of(dataset))
        responses: list[Response] = []
        notes: list[str] = []
        for side in sides:
            for name in side.disturbances:
                if name not in self.disturbances:
                    continue
                copies = [side.disturb(name, severity) for severity in SEVERITIES[1:]]
                notes += _unchanged_note(name, side, copies)
                if copies[-1] != list(side.sources):
                    responses.append(_respond(name, side, copies))
        if not responses:
            reason = "; ".join(notes) or "prompts by class have no class names to change"
            raise DataError(f"no disturbance changes data set {dataset.id}: {reason}. Choose other disturbances.")
        return _evaluation(responses, notes, len(dataset))


class Response(NamedTuple):
    """The answers to one disturbance, by severity."""

    name: str
    side: DisturbedSide
    answers: Sequence[Answer]
    blind: Sequence[float]
    copies: Sequence[Sequence[Any]]
    """By severity, from 1."""

    @property
    def credits(self) -> list[Column]:
        """Credit of each sample by severity, the clean one first."""
        return [answer.credit for answer in self.answers]


def _unchanged_note(name: str, side: DisturbedSide, copies: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield a note on the items that a disturbance leaves as they are, if any."""
    items = f"the {count(len(side.sources))} {side.noun}"
    n_unchanged = [sum(map(eq, side.sources, of_severity)) for of_severity in copies]
    if n_unchanged[-1] == len(side.sources):
        yield f"{name} changes none of {items}: left out"
    elif any(n_unchanged):
        numbers = [f"{count(n)} at severity {severity}" for severity, n in enumerate(n_unchanged, 1) if n]
        yield f"unchanged by {name}, of {items}: {listed(numbers)}"


def _respond(name: str, side: DisturbedSide, copies: Sequence[Sequence[Any]]) -> Response:
    vectors = side.encode(name, list(chain(*copies)))  # at once, which is faster than severity by severity
    by_severity = [side.clean, *np.split(vectors, len(copies))]
    blind = [float(side.blind(part).credit.mean()) for part in by_severity]
    answers = [side.answer(part) for part in by_severity]
    return Response(name, side, answers, blind, copies)


def _evaluation(responses: Sequence[Response], notes: Sequence[str], n_images: int) -> Evaluation:
    tables: list[Table] = []
    curves: Curves = {}
    scores: set[str] = set()
    flipped_images: dict[int, ImageRef] = {}  # by the row of the clean image
    for response in responses:
        table = _table(response, is_first=response.side.score not in scores)
        scores.add(response.side.score)
        flip = _first_flip(response, flipped_images) if response.side.modality == IMAGE else None
        if flip is not None:
            row, severity = flip
            table["chosen"][row] = response.answers[severity].chosen[row]
            table["flip_margin"][row] = severity - len(SEVERITIES)
            table["disturbed_image"][row] = n_images + len(flipped_images)
            flipped_images[row] = response.copies[severity - 1][row]
        tables.append(table)
        curves |= _curves(response)
    samples = stack_tables(*tables)
    kinds: dict[str, InputKind] = {
        "sample_id": "query",
        "condition": "condition",
        "label": "class",
        "caption": "caption",
    }
    return Evaluation(
        samples=samples,
        inputs={name: kind for name, kind in kinds.items() if name in samples},
        measures=define(_measures(responses), METRICS),
        baselines=define({f"{response.name}/blind": _blind_score(response) for response in responses}, METRICS),
        curves=curves,
        notes=tuple(notes),
        subsets={response.name: DISTURBANCES[response.name] for response in responses},
        more_images=[*flipped_images.values()],
    )


def _blind_score(response: Response) -> Fixed:
    return Fixed(
        value=float(np.mean(response.blind[1:])),
        n=len(response.credits[0]),
        chance=response.side.chance,
        reason="no interval: the answers depend on the mean of all queries, so samples are not independent",
    )


def _table(response: Response, *, is_first: bool) -> Table:
    """Return a row per sample.

    Args:
        is_first: add the clean score, of which each sample has one.
    """
    side, credits = response.side, response.credits
    clean, disturbed = credits[0], np.mean(credits[1:], axis=0)
    n = len(clean)
    table = dict(side.table)
    table["sample_id"] = text_column(f"{response.name}:{id}" for id in side.table["sample_id"])
    table["condition"] = np.full(n, response.name, object)
    for severity, credit in zip(SEVERITIES, credits, strict=True):
        table[f"severity_{severity}"] = credit
    table[f"disturbed_{side.score}"] = disturbed
    table[f"{response.name}/loss"] = clean - disturbed
    # A pair of images that a report shows. Other rows stay empty.
    table["chosen"] = np.full(n, "", object)
    table["flip_margin"] = np.full(n, np.nan)
    table["disturbed_image"] = np.full(n, -1)
    if is_first:
        table[side.score] = clean
    return table


class Flip(NamedTuple):
    """A sample that is right when clean, and wrong when disturbed."""

    row: int
    severity: int


def _first_flip(response: Response, other_rows: Collection[int]) -> Flip | None:
    """Return one of the samples that flip at the lowest severity, apart from other rows, or None if none flips."""
    clean, *disturbed = response.credits
    for severity, credit in enumerate(disturbed, 1):
        for row in np.flatnonzero((clean == 1) & (credit == 0)).tolist():
            if row not in other_rows:
                return Flip(row, severity)
    return None


def _curves(response: Response) -> Curves:
    name, side, credits = response.name, response.side, response.credits
    title, clusters = DISTURBANCES[name], side.table["cluster"]
    severities = [float(severity) for severity in SEVERITIES]
    axes = {
        "x_label": "template" if name == TEMPLATE else SEVERITY,
        "y_label": f"{title}: {SHORT_SCORES[side.score]}",
    }
    score = curve_of_means(
        severities,
        [(credit, clusters) for credit in credits],
        chance=[side.chance] * len(SEVERITIES),
        figure=SEVERITY,
        series=side.noun,
        role=side.modality,
        **axes,
    )
    losses = [credits[0] - credit for credit in credits]
    loss_intervals = [mean_interval(values, clusters=clusters, within=DIFFERENCES) for values in losses]
    loss = bounded_curve(
        severities,
        [float(values.mean()) for values in losses],
        [interval[:2] for interval in loss_intervals],
        unit="difference",
        figure="loss",
        series=title,
        role=side.modality,
        **axes,
    )
    blind = replace(score, y=response.blind, low=None, high=None, chance=None, series="blind", role="ink")
    return {f"{name}/score_by_severity": score, f"{name}/blind_by_severity": blind, f"{name}/loss_by_severity": loss}


def _measures(responses: Sequence[Response]) -> Measures:
    chances = {response.side.score: response.side.chance for response in responses}

    def losses(samples: Samples) -> list[Column]:
        return [samples[f"{response.name}/loss"] for response in responses]

    measures: Measures = {}
    for score, chance in chances.items():
        measures[f"disturbed_{score}"] = Mean(column=f"disturbed_{score}", chance=chance, image="image")
    measures["worst_loss"] = LargestMean(columns=losses, n_tests=len(responses))
    for score, chance in chances.items():
        measures[score] = Mean(column=score, chance=chance)
    for response in responses:
        name = response.name
        measures[f"{name}/loss"] = Mean(column=f"{name}/loss", unit="difference", chance=0.0, higher_is_better=False)
        if name == TEMPLATE:
            n_pairs = comb(len(SEVERITIES[1:]), 2)
            measures[f"{name}/spread"] = LargestMean(columns=template_differences, n_tests=n_pairs, lower_limit=0.0)
        else:
            measures[f"{name}/half_loss"] = HalfLoss(name=name, chance=response.side.chance)
    return measures
