"""Coverage of the intervals of attacks on probes: cross-fitted probes, and their difference from the prompts.

    python experiments/rates_probe_attacks.py     # about seven minutes on a quiet core; a table of
    experiments/coverage.md

Objects of eight classes lie around fixed directions; a written word adds a direction of its own, which the prompts know
too, and a part of that of the objects it names. Each object has one attack, or two by different words, which are one
cluster. There are two
truths: how often the very probes of a draw are fooled by a population of attacks, each as often as it tests; and how
    often probes of
so many training images are fooled on average, over all draws.
"""

import argparse
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from clipbench.data import Attack, Dataset
from clipbench.data.prompts import Prompts
from clipbench.metrics.probes import fit_probe
from clipbench_tasks.text_in_image.probes import training_of
from clipbench_tasks.text_in_image.task import TextInImage
from rates_worlds import SimulatedModel, fixed_directions, images_named, unit

N_CLASSES, DIM, NOISE, POPULATION = 8, 24, 1.3, 8_000
STRENGTHS = {"none": 0.0, "small": 0.8, "large": 2.5}
"""Length of what a word adds, where an object's direction has the length 1."""
OF_OBJECTS = 0.4
"""Part of it along the direction of the objects that the word names."""
NAMES = tuple(f"class {row}" for row in range(N_CLASSES))
OBJECTS, WORDS = np.split(fixed_directions(5, 2 * N_CLASSES, DIM), 2)
METRICS = ("linear_probe_attack_success", "zero_shot_minus_linear_probe", "linear_probe_plain_acc")


class Shown(NamedTuple):
    """Objects, each without a word and under its attacks."""

    labels: np.ndarray
    words: np.ndarray
    """By object and attack."""
    images: np.ndarray
    """Unit vectors by object, the first without a word."""


def shown(rng: np.random.Generator, n_objects: int, n_attacks: int, strength: float) -> Shown:
    labels = rng.integers(N_CLASSES, size=n_objects)
    words = np.argsort(rng.random((n_objects, N_CLASSES - 1)), axis=1)[:, :n_attacks]
    words += words >= labels[:, None]
    own = OBJECTS[labels] + NOISE * rng.standard_normal((n_objects, DIM)) / np.sqrt(DIM)
    added = strength * (OF_OBJECTS * OBJECTS[words] + WORDS[words])
    images = np.concatenate([own[:, None], own[:, None] + added], axis=1)
    images += 0.2 * rng.standard_normal(images.shape) / np.sqrt(DIM)
    return Shown(labels, words, unit(images).astype(np.float32))


def data_set(drawn: Shown) -> Dataset:
    n_objects, each = drawn.images.shape[:2]
    attacks = [
        Attack(f"{row}-{at}", int(drawn.labels[row]), int(drawn.words[row, at]), each * row + 1 + at, clean=each * row)
        for row in range(n_objects)
        for at in range(each - 1)
    ]
    ids = [f"{row:06}" for row in range(each * n_objects)]
    return Dataset(id="x", images=images_named(len(ids)), image_ids=ids, class_names=NAMES, attacks=attacks)


def truth_of_probes(dataset: Dataset, drawn: Shown, population: Shown, prompts: float) -> list[float]:
    """Return the metrics of the probes of a data set on a population, which the prompts are fooled by so often."""
    training = training_of(dataset, dataset.attacks or (), dataset.image_ids)
    vectors = drawn.images.reshape(-1, DIM)[training.images]
    found = []
    for fold, n in zip(*np.unique(training.of_attack, return_counts=True), strict=True):
        others = training.folds != fold
        probe = fit_probe(vectors[others], training.labels[others], N_CLASSES, is_balanced=True)
        attacked, plain = (probe.scores(population.images[:, at]).argmax(axis=1) for at in (1, 0))
        success = (attacked == population.words[:, 0]).mean()
        found.append((n, success, prompts - success, (plain == population.labels).mean()))
    weights, *values = np.array(found).T
    return [float(np.average(each, weights=weights)) for each in values]


def rates(law: tuple[int, int, float], repeats: int, effect: str) -> None:
    n, n_attacks, strength = law
    rng = np.random.default_rng((n, n_attacks))
    texts = dict(zip(NAMES, OBJECTS + WORDS, strict=True))
    population = shown(rng, POPULATION, 1, strength)
    nearest = (population.images[:, 1] @ unit(OBJECTS + WORDS).T).argmax(axis=1)
    prompts = float((nearest == population.words[:, 0]).mean())
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for _ in range(repeats):
        drawn = shown(rng, n // n_attacks, n_attacks, strength)
        dataset = data_set(drawn)
        if len(training_of(dataset, dataset.attacks or (), dataset.image_ids).classes) < N_CLASSES:
            continue  # a class with one object alone is not trained
        model = SimulatedModel(drawn.images.reshape(-1, DIM), texts)
        task = TextInImage(prompts=Prompts(templates=("{c}",)), probes=True)
        evaluation = task.evaluate(dataset, model, rng)
        for name, truth in zip(METRICS, truth_of_probes(dataset, drawn, population, prompts), strict=True):
            metric = evaluation.measures[name].metric(evaluation.samples, rng)
            assert metric.low is not None and metric.high is not None, metric
            found[name].append((truth, metric.low - 1e-9, metric.high + 1e-9))
    if not found:
        return  # no draw so small trains every class
    print(f"{n_attacks} an object, {effect}, n = {n:,} ({len(found[METRICS[0]])} draws)")
    for name, values in found.items():
        truth, low, high = np.array(values).T
        mean = truth.mean()
        of_these, of_others = ((low <= true) & (true <= high) for true in (truth, mean))
        print(f"  {name} {mean:.3f}: these probes {of_these.mean():.3f}, others {of_others.mean():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=240)
    options = parser.parse_args()
    for n_attacks in (1, 2):
        for effect, strength in STRENGTHS.items():
            for n in (25, 100, 1_000):
                rates((n, n_attacks, strength), max(1, options.repeats // (4 if n == 1_000 else 1)), effect)


if __name__ == "__main__":
    main()
