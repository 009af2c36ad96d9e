"""The shift experiment and the post-hoc corrections of the modality gap, as curves.

Liang et al. (2022) move the modalities along the gap vector and score them again. Centring, standardising, C3's
collapse and ReAlign are fitted on one half of the pairs and scored on the other.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import sqrt
from typing import NamedTuple

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.labels import LabelSet
from clipbench.errors import VectorError
from clipbench.metrics.geometry import gap_noise, modality_gap
from clipbench.metrics.shift import CORRECTIONS, SHIFTS, Classes, Maps, correction_maps, scores_after_move, shift_maps
from clipbench.models.protocol import Embedder, no_logit_scale
from clipbench.results.metric_name import split_subset
from clipbench.results.record import Curve, CurveRole
from clipbench_tasks.tables import Curves, Rows, Vectors
from clipbench_tasks.zero_shot import prompted_classes

DISTANCES = tuple(step / 4 for step in range(-4, 5))
"""Distances of the shift, as in Liang et al., to which the gap itself is added."""
STRENGTHS = tuple(step / 4 for step in range(5))

Scores = dict[str, float]
"""Numbers of ``metrics.shift.scores_after_move`` by name."""


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """Input for scoring the pairs again after they were moved."""

    logit_scale: float | None
    """None for a model that has none: no loss is scored."""
    logit_bias: float = 0.0
    """0 for a model of the contrastive loss, any other number for the sigmoid loss."""
    classes: Mapping[str, Classes] = field(default_factory=dict)
    """Class labels by the name of their accuracy, ``acc1`` or ``kind/acc1``, one label per pair."""
    notes: tuple[str, ...] = ()
    """Remarks for readers of the curves."""

    def take(self, rows: Rows) -> "Rescoring":
        """Return the input for some of the pairs."""
        classes = {name: part._replace(labels=part.labels[rows]) for name, part in self.classes.items()}
        return replace(self, classes=classes)

    def scores(
        self, images: Vectors, texts: Vectors, maps: Maps, relative_fit_noise: float | None = None
    ) -> dict[str, float]:
        """Return the scores of moved pairs (see ``metrics.shift.scores_after_move``).

        Args:
            relative_fit_noise: variance that the fit of the maps adds to the moved centroids' difference, relative to
                the variance from its own pairs. With it, ``gap_chance`` is the gap expected where none remains.

        Raises:
            VectorError: a vector becomes zero.
        """
        images, texts = maps.image(images), maps.text(texts)
        classes = {name: part._replace(vectors=maps.text(part.vectors)) for name, part in self.classes.items()}
        values = scores_after_move(
            images, texts, logit_scale=self.logit_scale, logit_bias=self.logit_bias, classes=classes
        )
        if relative_fit_noise is not None and len(images) > 1:
            values["gap_chance"] = gap_noise(images, texts).chance * sqrt(1 + relative_fit_noise)
        return values


def rescoring(dataset: Dataset, rows: Rows, embedder: Embedder) -> Rescoring:
    """Return the input for scoring pairs of a data set again, with zero-shot accuracy if it has labels.

    Class prompts are made as the zero-shot task makes them by default: from the data set's own templates. A set of
    labels with fewer than two classes has no accuracy, nor have data with several labels an image.

    Args:
        rows: the image of each pair.
    """
    classes: dict[str, Classes] = {}
    notes = [_loss_note(embedder, len(rows))]
    for name, label_set in _label_sets(dataset).items():
        of_set = replace(dataset, class_names=label_set.class_names)
        classes[name] = Classes(prompted_classes(of_set, None, embedder, role=None), label_set.labels[rows])
    if classes:
        notes.append("class prompts of the data set's own templates are moved and corrected as texts are")
    if dataset.captions is not None and len(dataset.captions) > len(dataset):
        notes.append("recall after a shift or correction is over pairs of one caption per image, not over all captions")
    notes.append("corrections are fitted on a seeded half of the pairs and scored on the other")
    info = embedder.info
    return Rescoring(logit_scale=info.logit_scale, logit_bias=info.logit_bias, classes=classes, notes=tuple(notes))


def shift_curves(images: Vectors, texts: Vectors, rescore: Rescoring) -> Curves:
    """Return curves of all scores by the distance moved along the unit gap vector, for both modalities or one.

    Curves are named ``gap_by_shift_both``, ``loss_by_shift_image``, ``kind/acc1_by_shift_text``. A distance at which a
    vector becomes zero, or for which a gap of zero has no direction, is left out of its curves.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        rescore: of these pairs.
    """

    @cache
    def scores(shift: str, distance: float) -> Scores:
        if distance == 0 and shift != "both":  # no way of moving moves anything
            return scores("both", distance)
        return rescore.scores(images, texts, shift_maps(images, texts, distance=distance, shift=shift))

    distances = sorted({*DISTANCES, modality_gap(images, texts)})
    curves: Curves = {}
    for shift in SHIFTS:
        curves |= _curves(distances, partial(scores, shift), f"shift_{shift}", rescore)
    return curves


def correction_curves(images: Vectors, texts: Vectors, rescore: Rescoring, rng: np.random.Generator) -> Curves:
    """Return curves of all scores by the strength of post-hoc corrections, 0 (none) to 1 (full), on held-out pairs.

    Curves are named ``gap_by_centring``, ``loss_by_realign``, ``kind/acc1_by_collapse``;
    ``gap_chance_by_centring`` is the gap expected where none remains, of the noise of both halves. A strength at which
    a vector becomes zero is left out of its curves. Empty with fewer than two pairs: there are no halves.

    Args:
        images: unit vectors.
        texts: unit vectors; row i belongs to image i.
        rescore: of these pairs.
        rng: draws the half that corrections are fitted on. The other is scored, at strength 0 too.
    """
    order = rng.permutation(len(images))
    fitted, scored = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    if not len(fitted):
        return {}
    held_out = rescore.take(scored)

    @cache
    def scores(kind: str, strength: float) -> Scores:
        if strength == 0 and kind != CORRECTIONS[0]:
            return scores(CORRECTIONS[0], strength)
        maps = correction_maps(images[fitted], texts[fitted], kind=kind, strength=strength)
        # Means of the fitted half are taken away in part: their noise, in units of that of the scored half's.
        relative_fit_noise = strength**2 * len(scored) / len(fitted)
        return held_out.scores(images[scored], texts[scored], maps, relative_fit_noise)

    curves: Curves = {}
    for kind in CORRECTIONS:
        curves |= _curves(STRENGTHS, partial(scores, kind), kind, rescore)
    return curves


def _label_sets(dataset: Dataset) -> dict[str, LabelSet]:
    if dataset.label_sets is not None:
        sets = {f"{name}/acc1": label_set for name, label_set in dataset.label_sets.items()}
    elif dataset.labels is not None and dataset.class_names is not None:
        sets = {"acc1": LabelSet(dataset.labels, dataset.class_names)}
    else:
        sets = {}
    return {name: label_set for name, label_set in sets.items() if len(label_set.class_names) > 1}


def _loss_note(embedder: Embedder, n: int) -> str:
    scale, bias = embedder.info.logit_scale, embedder.info.logit_bias
    if scale is None:
        return f"no loss of moved or corrected pairs: {no_logit_scale()}"
    if bias:
        return f"loss: the sigmoid loss of {n:,} pairs at the model's scale {scale:.4g} and bias {bias:.4g}"
    return f"loss: the contrastive loss of {n:,} pairs in one batch at the model's scale {scale:.4g}"


class Move(NamedTuple):
    """A way to move vectors, as its curves are drawn."""

    figure: str
    series: str
    role: CurveRole


X_LABELS = {"shift": "distance moved", "corrections": "strength of the correction"}
"""Labels of the axis of each figure."""
MOVES: Mapping[str, Move] = {
    "shift_both": Move("shift", "both moved by half", "ink"),
    "shift_image": Move("shift", "images moved", "image"),
    "shift_text": Move("shift", "texts moved", "text"),
    "centring": Move("corrections", "centred", "ink"),
    "standardising": Move("corrections", "standardised", "pair"),
    "collapse": Move("corrections", "centred, length kept", "ink"),
    "realign": Move("corrections", "ReAlign", "text"),
}
"""The ways, by the ends of the names of their curves."""
DRAWN = {
    "gap": "gap",
    "image_retrieval_recall@1": "text-to-image R@1",
    "text_retrieval_recall@1": "image-to-text R@1",
}
"""Labels of scores that a figure shows. Recall at more than the first place is only recorded."""
RECORDED = {"gap_chance": "gap by noise only"}
"""Labels of scores that no figure shows, where they are not their names."""


def _curves(xs: Sequence[float], scores: Callable[[float], Scores], by: str, rescore: Rescoring) -> Curves:
    """Return one curve per score. A move under which a vector becomes zero has no point."""
    points: dict[float, Scores] = {}
    for x in xs:
        with suppress(VectorError):
            points[x] = scores(x)
    names = next(iter(points.values()), {})
    return {f"{name}_by_{by}": _curve(name, points, MOVES[by], rescore) for name in names}


def _curve(name: str, points: Mapping[float, Scores], move: Move, rescore: Rescoring) -> Curve:
    y_label = _y_label(name, rescore)
    chances = [values["gap_chance"] for values in points.values() if name == "gap" and "gap_chance" in values]
    is_fraction = "_recall@" in name or name.endswith("acc1")
    return Curve(
        x=list(points),
        y=[values[name] for values in points.values()],
        chance=chances if len(chances) == len(points) else None,
        x_label=X_LABELS[move.figure],
        y_label=y_label or RECORDED.get(name, name),
        unit="fraction" if is_fraction else "",
        figure=move.figure,
        series=move.series if y_label else "",
        role=move.role,
    )


def _y_label(name: str, rescore: Rescoring) -> str:
    """Return the label of a score, which is empty if no figure shows the score."""
    subset, score = split_subset(name)
    if score == "acc1":
        return f"zero-shot top-1 accuracy ({subset})" if subset else "zero-shot top-1 accuracy"
    if name == "loss":
        return "sigmoid loss (nats)" if rescore.logit_bias else "contrastive loss (nats)"
    return DRAWN.get(name, "")
