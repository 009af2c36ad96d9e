"""Coverage of the intervals of operating points: thresholds for a precision, and the recall there.

    python experiments/rates_operating_points.py [--prevalence 0.01]     # two hours on a quiet core; a table of
    experiments/coverage.md

Pairs have a common part of their vectors and noise of their own; a hub image in ten is near to all texts, but none of
the plain pairs. Answers are those of a classifier with ten classes. The truth is that of some populations of 4,000 images, pooled;
for plain pairs it is computed from the law of the cosines.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta

from clipbench.metrics.classification import class_scores, top_k_credit
from clipbench.metrics.operating_points import (
    JudgedTrials,
    acceptance_rates,
    even_thresholds,
    judged_answers,
    judged_pairs,
)
from clipbench.stats.threshold_intervals import SURE, OperatingPoint, operating_point, precision_recall

DIM, POPULATION, FEW = 16, 4_000, 200
POPULATIONS = {"pairs": 4, "answers": 500}
"""Populations whose trials are pooled: 64 million false pairs, four million answers."""
WANTED = (0.9, 0.95, 0.99)
Truths = dict[float, tuple[float, float] | None]
"""Threshold and recall for each precision; None where none has it."""
NOISE = {
    "pairs": {"none": 100.0, "small": 1.0, "large": 0.45},
    "plain pairs": {"none": 100.0, "small": 1.0, "large": 0.5},
    "answers": {"none": 100.0, "small": 0.65, "large": 0.45},
}
"""Size of each vector's noise, where the common part has the size 1."""
NS = {"pairs": (25, 100, 1_000), "plain pairs": (2_000,), "answers": (25, 100, 1_000)}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def pairs(rng: np.random.Generator, n: int, noise: float) -> JudgedTrials:
    shown = rng.standard_normal((n, DIM))
    images, texts = (shown + noise * rng.standard_normal((n, DIM)) for _ in range(2))
    middle = np.zeros(DIM)
    middle[0] = 1.5
    images[rng.random(n) < 0.1] += 3 * middle
    return judged_pairs(unit(images + middle), unit(texts + middle), np.arange(n))


def plain_pairs(rng: np.random.Generator, n: int, noise: float) -> JudgedTrials:
    shown = rng.standard_normal((n, 2 * DIM))
    images, texts = (unit(shown + noise * rng.standard_normal(shown.shape)) for _ in range(2))
    return judged_pairs(images, texts, np.arange(n))


def answers(rng: np.random.Generator, n: int, noise: float) -> JudgedTrials:
    classes = unit(np.random.default_rng(3).standard_normal((10, DIM)))
    labels = rng.integers(10, size=n)
    own = np.exp(0.3 * rng.standard_normal((n, 1)))  # some images are harder than others
    images = unit(classes[labels] + noise * own * rng.standard_normal((n, DIM)) / 2)
    scores = class_scores(images, classes, labels, logit_scale=None)
    top, margin = scores.top.astype(np.float64), scores.margin.astype(np.float64)
    return judged_answers(top, scores.true_score.astype(np.float64) - margin, top_k_credit(scores.better, scores.tied))


def plain_truths(noise: float, prevalence: float) -> Truths:
    """Return the threshold and recall of endless plain pairs, for each precision; None where no threshold has it.

    The squared cosine of two directions at random follows a beta law.
    """
    rng = np.random.default_rng(4)
    cosines = []
    for _ in range(20):
        shown = rng.standard_normal((50_000, 2 * DIM))
        images, texts = (unit(shown + noise * rng.standard_normal(shown.shape)) for _ in range(2))
        cosines.append(np.einsum("nd,nd->n", images, texts))
    true = np.sort(np.concatenate(cosines))

    def recall(threshold: float) -> float:
        return float(1 - np.searchsorted(true, threshold) / len(true))

    def excess(threshold: float, wanted: float) -> float:
        false = float(beta.sf(threshold**2, 0.5, DIM - 0.5)) / 2
        return (1 - wanted) * prevalence * recall(threshold) - wanted * (1 - prevalence) * false

    found: Truths = {}
    for wanted in WANTED:
        at = np.linspace(0, 0.9, 901)
        has_precision = np.array([excess(each, wanted) > 0 for each in at])
        found[wanted] = None
        if has_precision.any():
            end = float(at[int(has_precision.argmax())])
            threshold = float(brentq(excess, end - 0.001, end, args=(wanted,)))
            found[wanted] = threshold, recall(threshold)
    return found


def points_of(judged: JudgedTrials, prevalence: float) -> dict[float, OperatingPoint | None]:
    coarse = acceptance_rates(judged, even_thresholds(judged, 60))
    bounds = precision_recall(coarse, prevalence, confidence=SURE)
    return {wanted: operating_point(judged, coarse, bounds, wanted, prevalence) for wanted in WANTED}


def law_truths(draw: Callable[[np.random.Generator], JudgedTrials], n_populations: int, prevalence: float) -> Truths:
    """Return the threshold and recall of endless trials, for each precision; None where few of them reach it."""
    rng = np.random.default_rng(POPULATION)
    populations = [draw(rng) for _ in range(n_populations)]
    right, wrong = (
        np.sort(np.concatenate([getattr(judged, side).cosines for judged in populations]))
        for side in ("right", "wrong")
    )
    n_right, n_wrong = (sum(getattr(judged, f"n_{side}") for judged in populations) for side in ("right", "wrong"))
    grid = np.linspace(-1, 1, 40_001)
    n_accepted = len(right) - np.searchsorted(right, grid)
    recall, false = n_accepted / n_right, (len(wrong) - np.searchsorted(wrong, grid)) / n_wrong
    with np.errstate(invalid="ignore"):
        precision = prevalence * recall / (prevalence * recall + (1 - prevalence) * false)
    truths: Truths = {}
    for wanted in WANTED:
        reached = np.flatnonzero((precision >= wanted) & (n_accepted > FEW))
        truths[wanted] = (float(grid[reached[0]]), float(recall[reached[0]])) if len(reached) else None
    return truths


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--only", choices=NOISE)
    parser.add_argument("--effect", choices=NOISE["pairs"])
    parser.add_argument("--prevalence", type=float, default=0.5)
    options = parser.parse_args()
    draws: dict[str, Callable[..., JudgedTrials]] = {"pairs": pairs, "plain pairs": plain_pairs, "answers": answers}
    for what, draw in draws.items():
        if options.only not in (None, what):
            continue
        for effect, noise in NOISE[what].items():
            if options.effect not in (None, effect):
                continue
            true = (
                plain_truths(noise, options.prevalence)
                if what == "plain pairs"
                else law_truths(partial(draw, n=POPULATION, noise=noise), POPULATIONS[what], options.prevalence)
            )
            print(
                what,
                effect,
                {wanted: each and tuple(round(part, 3) for part in each) for wanted, each in true.items()},
                flush=True,
            )
            for n in NS[what]:
                rates(np.random.default_rng(n), partial(draw, n=n, noise=noise), true, options, n)


def rates(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator], JudgedTrials],
    true: Truths,
    options: argparse.Namespace,
    n: int,
) -> None:
    repeats, prevalence = options.repeats, options.prevalence
    told = {wanted: np.zeros(3) for wanted in WANTED}  # has a value; its threshold, and its recall, is covered
    for _ in range(repeats):
        found = points_of(draw(rng), prevalence)
        for wanted, truth in true.items():
            point = found[wanted]
            if point is None:
                continue
            told[wanted][0] += 1
            if truth is None:
                continue
            for place, (interval, value) in enumerate(zip((point.interval, point.recall_interval), truth, strict=True)):
                low, high, _ = interval
                told[wanted][1 + place] += low is not None and high is not None and low - 1e-9 <= value <= high + 1e-9
    for wanted in WANTED:
        value, threshold, recall = told[wanted]
        covered = f"threshold {threshold / max(1, value):.3f}, recall {recall / max(1, value):.3f}"
        print(f"  n = {n:5,} {wanted}: value {value / repeats:.3f}, {covered}", flush=True)


if __name__ == "__main__":
    main()
