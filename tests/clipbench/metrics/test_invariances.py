"""All metrics against all that must not change them, and against chance. A new metric joins by one line of the table.

The vectors are of few different values, so that scores are exact, tie often, and stay so under each change.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from inspect import isfunction
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.metrics.choice import Choices
from clipbench.metrics.classification import ClassScores
from clipbench.metrics.ranking import Ranks
from clipbench.metrics.relevance import Levels, Relevant
from clipbench.metrics.similarity_calibration import MatchProbabilities

HOMES = ("choice", "classification", "geometry", "ranking", "relevance", "shift", "similarity_calibration", "spectrum")
FUNCTIONS = {
    name: value
    for home in (*HOMES, "spread", "structure")
    for name, value in vars(import_module(f"clipbench.metrics.{home}")).items()
    if isfunction(value) and value.__module__.endswith(home) and not name.startswith("_")
}
m = SimpleNamespace(**(vars(import_module("clipbench.metrics.probes")) | FUNCTIONS))


@dataclass(frozen=True)
class Inputs:
    """Inputs of metrics: images with labels, a paired text each, more texts, and classes."""

    images: np.ndarray
    pair_texts: np.ndarray
    texts: np.ndarray
    text_image: np.ndarray
    classes: np.ndarray
    labels: np.ndarray
    positives: np.ndarray

    def map_vectors(self, change: Callable[[np.ndarray], np.ndarray]) -> "Inputs":
        return replace(
            self,
            images=change(self.images),
            pair_texts=change(self.pair_texts),
            texts=change(self.texts),
            classes=change(self.classes),
        )

    def ranks(self) -> tuple[Ranks, Ranks]:
        return m.cross_ranks(self.images, self.texts, self.text_image)

    def scores(self) -> ClassScores:
        return m.class_scores(self.images, self.classes, self.labels, logit_scale=20.0)

    def credit(self) -> np.ndarray:
        scores = self.scores()
        return m.top_k_credit(scores.better, scores.tied)


def inputs(seed: int = 0, n_images: int = 40, n_texts: int = 90, n_classes: int = 6) -> Inputs:
    draws = np.random.default_rng(seed)
    owners = np.concatenate([np.arange(n_images), draws.integers(n_images, size=n_texts - n_images)])

    def vectors(n: int) -> np.ndarray:
        return (draws.integers(-2, 3, (n, 5)) / 4).astype(np.float32)

    return Inputs(
        images=vectors(n_images),
        pair_texts=vectors(n_images),
        texts=vectors(n_texts),
        text_image=draws.permutation(owners),
        classes=vectors(n_classes),
        labels=draws.permutation(np.arange(n_images) % n_classes),
        positives=draws.random((n_images, n_classes)) < 0.3,
    )


# What must not matter -------------------------------------------------------------------------------------------------


def reorder(inputs: Inputs) -> Inputs:
    draws = np.random.default_rng(1)
    images, texts = draws.permutation(len(inputs.images)), draws.permutation(len(inputs.texts))
    return replace(
        inputs,
        images=inputs.images[images],
        pair_texts=inputs.pair_texts[images],
        texts=inputs.texts[texts],
        text_image=np.argsort(images)[inputs.text_image[texts]],
        labels=inputs.labels[images],
        positives=inputs.positives[images],
    )


def relabel(inputs: Inputs) -> Inputs:
    order = np.random.default_rng(2).permutation(len(inputs.classes))
    return replace(
        inputs,
        classes=inputs.classes[order],
        labels=np.argsort(order)[inputs.labels],
        positives=inputs.positives[:, order],
    )


def scale(inputs: Inputs) -> Inputs:
    """Every score times 4."""
    return inputs.map_vectors(lambda vectors: vectors * np.float32(2))


def shift(inputs: Inputs) -> Inputs:
    """Every score plus 1/4, by a coordinate that all vectors share."""
    return inputs.map_vectors(lambda vectors: np.pad(vectors, ((0, 0), (0, 1)), constant_values=0.5))


def rotate(inputs: Inputs) -> Inputs:
    """Axes in another order, some turned round: an orthogonal map without rounding."""
    signs = np.array([1, -1, -1, 1, -1], np.float32)
    return inputs.map_vectors(lambda vectors: vectors[:, [3, 0, 4, 1, 2]] * signs)


def swap(inputs: Inputs) -> Inputs:
    """Images for texts."""
    return replace(inputs, images=inputs.pair_texts, pair_texts=inputs.images)


RANKING = frozenset({reorder, relabel, scale, shift, rotate})
CALIBRATION = RANKING - {scale}
ONE_SIDE = frozenset({reorder, relabel, rotate})
BOTH_SIDES = ONE_SIDE | {swap}


# The table ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    value: Callable[[Inputs], float]
    unchanged_by: frozenset[Callable[[Inputs], Inputs]]
    chance: Callable[[Inputs], float] | None = None
    """Score of constant vectors."""


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def n_texts(inputs: Inputs) -> np.ndarray:
    return np.bincount(inputs.text_image)


def ones(inputs: Inputs) -> np.ndarray:
    return np.ones(len(inputs.texts), np.int64)


def others(inputs: Inputs) -> np.ndarray:
    return np.bincount(inputs.labels)[inputs.labels] - 1


def with_length(vectors: np.ndarray) -> np.ndarray:
    """Add to each vector what no removal of other dimensions takes away."""
    return np.pad(vectors, ((0, 0), (0, 1)), constant_values=0.5)


def kinds(inputs: Inputs) -> MatchProbabilities:
    """Images with texts by pair, and images with images by label."""
    rows = np.arange(len(inputs.images))
    by_pair = m.match_counts(inputs.images, inputs.pair_texts, left_groups=rows, right_groups=rows)
    by_label = m.match_counts(
        inputs.images, inputs.images, left_groups=inputs.labels, right_groups=inputs.labels, is_same=True
    )
    return m.match_probabilities({"image_text": by_pair, "image_image": by_label}, n_bins=5)


def contrasts(inputs: Inputs) -> Choices:
    """Two images and their own texts at a time: which two belong together depends on the order."""
    pairs = np.arange(len(inputs.images)).reshape(-1, 2)
    return m.choices(m.contrast_scores(inputs.images, inputs.pair_texts, pairs, pairs), np.eye(2, dtype=bool))


def judged(inputs: Inputs) -> tuple[Levels, Relevant, Ranks]:
    """Texts that look for images of the label of their own, which is the most relevant."""
    grades = (inputs.labels[inputs.text_image, None] == inputs.labels).astype(np.int64)
    grades[np.arange(len(inputs.texts)), inputs.text_image] += 1
    query, image = np.nonzero(grades)
    relevant, _ = m.relevant_documents(query, image, grades[query, image])
    levels, answers = m.judged_answers(inputs.texts, inputs.images, relevant)
    return levels, relevant, answers.ranks


def unjudged(inputs: Inputs, judge: Callable[[Inputs], tuple[Levels, Relevant, Ranks]] | None = None) -> np.ndarray:
    """The probability that the image at each of the first ten places is not judged, if only relevant ones are."""
    levels, relevant, _ = (judge or judged)(inputs)
    return m.unjudged_at_k(levels, relevant, np.full(len(relevant.counts), len(inputs.images)), 10)


def judged_by_chance(inputs: Inputs) -> tuple[Levels, Relevant, Ranks]:
    _, relevant, _ = judged(inputs)
    n = np.full(len(relevant.counts), len(inputs.images))
    levels = m.chance_levels(relevant, n)
    return levels, relevant, Ranks(0 * n, n - relevant.counts, relevant.counts)


TABLE = {
    "recall_at_k, image queries": Row(
        lambda g: mean(m.recall_at_k(g.ranks()[0], 5)),
        RANKING,
        chance=lambda g: m.chance_recall_at_k(n_texts(g), len(g.texts), 5),
    ),
    "recall_at_k, text queries": Row(
        lambda g: mean(m.recall_at_k(g.ranks()[1], 5)),
        RANKING,
        chance=lambda g: m.chance_recall_at_k(ones(g), len(g.images), 5),
    ),
    "recall_at_k, images by label": Row(
        lambda g: mean(m.recall_at_k(m.group_answers(g.images, g.labels)[1].ranks, 1)),
        RANKING,
        chance=lambda g: m.chance_recall_at_k(others(g), len(g.images) - 1, 1),
    ),
    "expected_rank": Row(
        lambda g: mean(m.expected_rank(g.ranks()[1])), RANKING, chance=lambda g: (len(g.images) + 1) / 2
    ),
    "ndcg_at_k": Row(
        lambda g: mean(m.ndcg_at_k(*judged(g)[:2], 10)),
        RANKING,
        chance=lambda g: mean(m.ndcg_at_k(*judged_by_chance(g)[:2], 10)),
    ),
    "unjudged_at_k": Row(
        lambda g: mean(unjudged(g).mean(axis=1)),
        RANKING,
        chance=lambda g: mean(unjudged(g, judged_by_chance).mean(axis=1)),
    ),
    "ndcg_with_unjudged_at_k": Row(
        lambda g: mean(m.ndcg_with_unjudged_at_k(*judged(g)[:2], unjudged(g))),
        RANKING,
        chance=lambda g: mean(m.ndcg_with_unjudged_at_k(*judged_by_chance(g)[:2], unjudged(g, judged_by_chance))),
    ),
    "relevant_recall_at_k": Row(
        lambda g: mean(m.relevant_recall_at_k(*judged(g)[:2], 5)), RANKING, chance=lambda g: 5 / len(g.images)
    ),
    "r_precision": Row(
        lambda g: mean(m.r_precision(*judged(g)[:2])),
        RANKING,
        chance=lambda g: mean(m.r_precision(*judged_by_chance(g)[:2])),
    ),
    "average_precision_at_r": Row(
        lambda g: mean(m.average_precision_at_r(*judged(g)[:2])),
        RANKING,
        chance=lambda g: mean(m.average_precision_at_r(*judged_by_chance(g)[:2])),
    ),
    "reciprocal_rank": Row(
        lambda g: mean(m.reciprocal_rank(judged(g)[2])),
        RANKING,
        chance=lambda g: mean(m.reciprocal_rank(judged_by_chance(g)[2])),
    ),
    "top_k_credit": Row(lambda g: mean(g.credit()), RANKING, chance=lambda g: 1 / len(g.classes)),
    "choices, text": Row(lambda g: mean(contrasts(g).text), RANKING - {reorder}, chance=lambda g: 1 / 4),
    "choices, image": Row(lambda g: mean(contrasts(g).image), RANKING - {reorder}, chance=lambda g: 1 / 4),
    "choices, group": Row(lambda g: mean(contrasts(g).group), RANKING - {reorder}, chance=lambda g: 1 / 6),
    # Of tied classes the first counts, so that their order matters.
    "macro_f1": Row(lambda g: m.macro_f1(g.scores().predicted, g.labels).value, RANKING - {relabel}),
    "mean_per_class_recall": Row(
        lambda g: m.mean_per_class_recall(g.credit(), g.labels), RANKING, chance=lambda g: 1 / len(g.classes)
    ),
    "expected_calibration_error": Row(
        lambda g: m.expected_calibration_error(g.scores().confidence, g.credit()), CALIBRATION, chance=lambda g: 0.0
    ),
    "reliability": Row(
        lambda g: float(np.nanmean(m.reliability(g.scores().confidence, g.credit(), 5).confidence)),
        CALIBRATION,
        chance=lambda g: 1 / len(g.classes),
    ),
    "average_precision": Row(
        lambda g: mean(
            np.array([m.average_precision(g.images @ c, p) for c, p in zip(g.classes, g.positives.T, strict=True)])
        ),
        RANKING,
        chance=lambda g: mean(
            np.array([m.chance_average_precision(int(k), len(g.images)) for k in g.positives.sum(0)])
        ),
    ),
    "mean_average_precision": Row(
        lambda g: m.mean_average_precision(g.images, g.classes, g.positives).value,
        RANKING,
        chance=lambda g: m.mean_average_precision(g.images, g.classes, g.positives).chance,
    ),
    "hubness, largest hub": Row(
        lambda g: m.hubness(g.texts, g.images, 5).largest_hub, RANKING, chance=lambda g: 5 / len(g.images)
    ),
    "cone": Row(lambda g: m.cone(g.images).value, ONE_SIDE),
    "mutual_neighbours": Row(
        lambda g: m.mutual_neighbours(g.images, g.pair_texts, 5),
        BOTH_SIDES | RANKING,
        chance=lambda g: 5 / (len(g.images) - 1),
    ),
    "cka": Row(lambda g: m.cka(g.images, g.pair_texts).value, BOTH_SIDES | {scale, shift, relabel}),
    "shared_neighbours": Row(
        lambda g: m.shared_neighbours(g.images, g.pair_texts, 5).value,
        (BOTH_SIDES | RANKING) - {reorder},  # ties go to the lower row
    ),
    "hubness, skewness": Row(lambda g: m.hubness(g.texts, g.images, 5).skewness, RANKING),
    "hubness, never retrieved": Row(lambda g: m.hubness(g.texts, g.images, 5).never_retrieved, RANKING),
    "modality_gap": Row(lambda g: m.modality_gap(g.images, g.pair_texts), BOTH_SIDES, chance=lambda g: 0.0),
    "gap_vector": Row(
        lambda g: float(np.abs(m.gap_vector(g.images, g.pair_texts)).sum()), BOTH_SIDES, chance=lambda g: 0.0
    ),
    "pair_cosine": Row(lambda g: mean(m.pair_cosine(g.images, g.pair_texts)), BOTH_SIDES, chance=lambda g: 1.0),
    "pair_geometry, l2i": Row(
        lambda g: mean(m.pair_geometry(g.images, g.pair_texts).l2i), BOTH_SIDES, chance=lambda g: 0.0
    ),
    "pair_geometry, alignment": Row(
        lambda g: mean(m.pair_geometry(g.images, g.pair_texts).alignment), BOTH_SIDES, chance=lambda g: 0.0
    ),
    "pair_geometry, cone": Row(
        lambda g: m.pair_geometry(g.images, g.pair_texts).image_cone.value, ONE_SIDE, chance=lambda g: 1.0
    ),
    "pair_geometry, cross cosine": Row(
        lambda g: m.pair_geometry(g.images, g.pair_texts).cross_cosine.value, BOTH_SIDES, chance=lambda g: 1.0
    ),
    "relative_gaps": Row(lambda g: m.relative_gaps(g.images, g.pair_texts)[0].value, BOTH_SIDES),
    "relative_gaps, unhalved": Row(lambda g: m.relative_gaps(g.images, g.texts, g.text_image)[1].value, ONE_SIDE),
    "gap_noise": Row(lambda g: m.gap_noise(g.images, g.pair_texts).squared_gap, BOTH_SIDES),
    "cosine_counts": Row(
        lambda g: float(np.arange(200) @ m.cosine_counts(g.images, g.pair_texts)["cross"]), BOTH_SIDES
    ),
    "gap_spectrum": Row(
        lambda g: float(m.gap_spectrum(m.gap_vector(g.images, g.pair_texts)).shares[1]), BOTH_SIDES | {scale, shift}
    ),
    "ablations": Row(lambda g: m.ablations(with_length(g.images), with_length(g.pair_texts))[2][0], BOTH_SIDES),
    "uniformity": Row(lambda g: m.uniformity(g.images).value, ONE_SIDE, chance=lambda g: 0.0),
    "cross_uniformity": Row(
        lambda g: m.cross_uniformity(g.images, g.pair_texts).value, BOTH_SIDES, chance=lambda g: 0.0
    ),
    "effective_rank": Row(lambda g: m.effective_rank(g.images), ONE_SIDE),
    "participation_ratio": Row(lambda g: m.participation_ratio(g.images), ONE_SIDE | {scale, shift}),
    "isoscore": Row(lambda g: m.isoscore(g.images), ONE_SIDE | {scale}),
    "contrastive_loss": Row(
        lambda g: m.contrastive_loss(g.images, g.pair_texts, logit_scale=20.0),
        BOTH_SIDES | {shift},
        chance=lambda g: float(np.log(len(g.images))),
    ),
    "sigmoid_loss": Row(
        lambda g: m.sigmoid_loss(g.images, g.pair_texts, logit_scale=20.0, logit_bias=-10.0), BOTH_SIDES
    ),
    "scores_after_move": Row(
        lambda g: m.scores_after_move(g.images, g.pair_texts, logit_scale=20.0)["image_retrieval_recall@5"],
        RANKING,
        chance=lambda g: 5 / len(g.images),
    ),
    "match_probabilities": Row(lambda g: kinds(g).error, ONE_SIDE, chance=lambda g: 0.0),
    "separability_by_dimensions": Row(
        lambda g: mean(m.separability_by_dimensions(g.images, g.pair_texts, np.random.default_rng(0)).accuracies),
        frozenset({relabel, swap}),
        chance=lambda g: 0.5,
    ),
    "separability": Row(
        lambda g: float(np.nanmean(m.separability(g.images, g.pair_texts, np.random.default_rng(0)))),
        frozenset({relabel, swap}),  # the order decides which half is drawn
        chance=lambda g: 0.5,
    ),
}
NOT_METRICS = {
    "class_scores",
    "any_drawn",
    "answers_with_distractors",
    "cross_answers",
    "cross_ranks",
    "expected_recall_at_k",
    "group_answers",
} | {
    "judged_answers",
    "chance_levels",
    "relevant_documents",
    "bin_middles",
    "confidence_bins",
    "cosine_histogram",
    "round_numbers",
    "shift_maps",
    "correction_maps",
    "match_counts",
    "chance_recall_at_k",
    "chance_average_precision",
    "chance_choices",
    "contrast_scores",
    "truth_groups",
    "recall_influence",
    "macro_f1_changes",
    "check_owners",
    "check_paired",
    "expected_noise",
    "precision_changes",
    "precision_spread",
    "undefined_estimate",
}
"""Functions that rows of the table are made from, or compared with."""


@cache
def value(name: str, seed: int) -> float:
    """Return a metric of inputs that nothing has changed."""
    return TABLE[name].value(inputs(seed))


@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name, row in TABLE.items() for change in sorted(row.unchanged_by, key=lambda f: f.__name__)],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_metric_does_not_change(name: str, change: Callable[[Inputs], Inputs]) -> None:
    for seed in range(3):
        changed = TABLE[name].value(change(inputs(seed)))
        assert changed == pytest.approx(value(name, seed), abs=1e-12), f"seed {seed}"


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.chance])
def test_constant_vectors_score_chance(name: str) -> None:
    row, constant = TABLE[name], np.array([[0.5, -0.5, 0.5, 0.5, 0]], np.float32)
    constant_inputs = inputs().map_vectors(lambda vectors: constant.repeat(len(vectors), axis=0))
    assert row.chance is not None
    assert row.value(constant_inputs) == pytest.approx(row.chance(constant_inputs), abs=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_a_metric_changes_with_the_vectors(name: str) -> None:
    """Else the tests above would say nothing."""
    assert len({round(value(name, seed), 9) for seed in range(4)}) > 1


def test_every_metric_is_in_the_table() -> None:
    functions = FUNCTIONS.keys() | {"separability", "separability_by_dimensions"}
    assert {name.split(",")[0] for name in TABLE} == functions - NOT_METRICS
