"""Coverage of the intervals of few-shot accuracies, and of the labels that zero-shot is worth; how often models that
guess have such a number.

    python experiments/rates_few_shot.py            # about ten minutes on a quiet core; the tables of
    experiments/coverage.md

A law has classes around fixed directions, and prompts that are these directions with an error. Of each set of training
images, a bank of draws is trained once and tested on a population of images. A data set is then n images of the
population and 20 draws of the bank, exactly as the task takes them, and the truth is the mean of the whole bank on the
whole population.
"""

import argparse
from typing import NamedTuple

import numpy as np

from clipbench.metrics.probes import fit_probe
from clipbench.stats.estimators import Estimator, labels_reaching
from clipbench.stats.intervals import bootstrap_interval, mean_interval
from clipbench_tasks.few_shot import LabelWorth, _position_in_class

CLASSES, DIM, SHOTS, DRAWS = 5, 16, (1, 2, 4, 8, 16), 20
POOL, BANK, POPULATION = 40, 200, 4_000
"""Training images of a class; draws that are trained; test images of a population."""
STRENGTHS = {"none": 0.0, "small": 0.5, "large": 1.0}
"""Length of a class's direction, where an image's noise has the length 1."""
ERRORS = {"small": 1.6, "large": 0.9}
"""Length of the prompts' error, where a direction has the length 1: with it, zero-shot is worth some labels."""
NS = (25, 100, 1_000)


class Bank(NamedTuple):
    """Hits of all draws from one set of training images on a population."""

    hits: np.ndarray
    """By number of shots, draw and image."""
    zero_shot: np.ndarray
    labels: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def images(rng: np.random.Generator, labels: np.ndarray, directions: np.ndarray, strength: float) -> np.ndarray:
    noise = rng.standard_normal((len(labels), DIM)) / np.sqrt(DIM)
    return unit(strength * directions[labels] + noise).astype(np.float32)


def bank(rng: np.random.Generator, strength: float, error: float, *, is_known: bool = True) -> Bank:
    """Return the hits of a law; where the prompts know nothing, each image is taken for a class at random."""
    directions = unit(np.random.default_rng(7).standard_normal((CLASSES, DIM)))
    prompts = unit(directions + error * unit(np.random.default_rng(8).standard_normal((CLASSES, DIM))))
    of_pool = np.repeat(np.arange(CLASSES), POOL)
    pool = images(rng, of_pool, directions, strength)
    labels = rng.integers(CLASSES, size=POPULATION)
    population = images(rng, labels, directions, strength)
    hits = np.empty((len(SHOTS), BANK, POPULATION), bool)
    for draw in range(BANK):
        order = rng.permutation(len(pool))
        place = _position_in_class(of_pool[order])
        for row, shots in enumerate(SHOTS):
            rows = order[place < shots]
            hits[row, draw] = fit_probe(pool[rows], of_pool[rows], CLASSES).scores(population).argmax(axis=1) == labels
    named = (population @ prompts.T).argmax(axis=1) if is_known else rng.integers(CLASSES, size=POPULATION)
    return Bank(hits, named == labels, labels)


def data_set(rng: np.random.Generator, of: Bank, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return hits by number of shots and image, those of zero-shot, the draw of each image, and the rows of the
    images.
    """
    rows = rng.integers(POPULATION, size=n)
    rows = rows[np.argsort(of.labels[rows], kind="stable")]  # each draw has its part of every class
    n_draws = min(DRAWS, n)
    share = np.arange(n) % n_draws
    draws = rng.integers(BANK, size=n_draws)
    return of.hits[:, draws[share], rows].astype(np.float64), of.zero_shot[rows].astype(np.float64), share, rows


def covers(interval: tuple[float | None, float | None, str], truth: float) -> bool:
    low, high, _ = interval
    return low is not None and high is not None and low - 1e-12 <= truth <= high + 1e-12


def accuracies(rng: np.random.Generator, banks: list[Bank], n: int, repeats: int) -> dict[str, dict[int, float]]:
    """Return coverages by number of shots: of the mean over draws, of draws and training sets, and without clusters."""
    found: dict[str, list[list[bool]]] = {"draws": [], "pools": [], "five seeds": []}
    marginal = np.mean([each.hits.mean(axis=(1, 2)) for each in banks], axis=0)
    for repeat in range(repeats):
        of = banks[repeat % len(banks)]
        truth = of.hits.mean(axis=(1, 2))
        hits, _, share, rows = data_set(rng, of, n)
        intervals = [mean_interval(column, clusters=share) for column in hits]
        found["draws"].append([covers(each, true) for each, true in zip(intervals, truth, strict=True)])
        found["pools"].append([covers(each, true) for each, true in zip(intervals, marginal, strict=True)])
        five = of.hits[:, rng.integers(BANK, size=5)][:, :, rows].mean(axis=1)
        found["five seeds"].append(
            [covers(mean_interval(column), true) for column, true in zip(five, truth, strict=True)]
        )
    return {name: dict(zip(SHOTS, np.mean(rows, axis=0).tolist(), strict=True)) for name, rows in found.items()}


def worths(rng: np.random.Generator, banks: list[Bank], n: int, repeats: int) -> dict[str, float]:
    names = tuple(f"hits@{k}" for k in SHOTS)
    measure = LabelWorth(columns=names, target="zero_shot", labels=tuple(map(float, SHOTS)), chance=1 / CLASSES)
    number = Estimator("labels_reaching", (*names, "zero_shot"), {"labels": list(SHOTS)})
    inside, boot, defined = [], [], []
    for repeat in range(repeats):
        of = banks[repeat % len(banks)]
        truth = float(
            labels_reaching(of.hits.mean(axis=(1, 2))[None], np.array([of.zero_shot.mean()]), labels=SHOTS)[0]
        )
        hits, zero_shot, share, _ = data_set(rng, of, n)
        samples = {"cluster": share, "zero_shot": zero_shot, **dict(zip(names, hits, strict=True))}
        metric = measure.metric(samples, rng)
        defined.append(metric.value is not None)
        if metric.value is None:
            continue
        inside.append(covers((metric.low, metric.high, ""), truth))
        if repeat % 4 == 0:
            boot.append(covers(bootstrap_interval(number.over_draws(samples), n, rng, clusters=share), truth))
    truths = [
        labels_reaching(b.hits.mean(axis=(1, 2))[None], np.array([b.zero_shot.mean()]), labels=SHOTS)[0] for b in banks
    ]
    return {
        "truth": float(np.mean(truths)),
        "defined": float(np.mean(defined)),
        "covers": float(np.mean(inside)) if inside else np.nan,
        "bootstrap": float(np.mean(boot)) if boot else np.nan,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=2_000)
    parser.add_argument("--pools", type=int, default=8)
    options = parser.parse_args()
    for effect, strength in STRENGTHS.items():
        rng = np.random.default_rng(1)
        banks = [bank(rng, strength, 1.0) for _ in range(options.pools)]
        levels = np.mean([each.hits.mean(axis=(1, 2)) for each in banks], axis=0)
        print(f"accuracy, {effect}:", dict(zip(SHOTS, levels.round(3).tolist(), strict=True)), flush=True)
        for n in NS:
            for name, rates in accuracies(rng, banks, n, options.repeats).items():
                print(f"  n = {n:5,} {name:12}", *(f"{k}: {rate:.3f}" for k, rate in rates.items()), flush=True)
    for strength in (0.0, STRENGTHS["large"]):
        rng = np.random.default_rng(3)
        banks = [bank(rng, strength, 0.0, is_known=False) for _ in range(options.pools)]
        for n in NS:
            share = worths(rng, banks, n, options.repeats)["defined"]
            print(
                f"worth claimed of prompts without a relation, strength {strength}, n = {n:5,}: {share:.3f}", flush=True
            )
    for effect, error in ERRORS.items():
        rng = np.random.default_rng(2)
        banks = [bank(rng, STRENGTHS["small"], error) for _ in range(options.pools)]
        for n in NS:
            found = worths(rng, banks, n, options.repeats)
            print(f"worth, {effect}, n = {n:5,}", *(f"{name} {value:.3f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
