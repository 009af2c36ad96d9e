"""How often the intervals of attacks on probes hold the truth: cross-fitted probes, and their difference from the prompts.

    python experiments/rates_probe_attacks.py     # about ten minutes on a quiet core; a table of docs/statistics.md

Objects of eight classes lie around fixed directions; a written word adds a direction of its own, which the prompts know too, and a
part of that of the objects it names. Each object has one attack, or two by different words, which are one cluster. The truth is the
mean over all draws: what probes trained on so many other objects are fooled by on average.
"""

import argparse
from collections import defaultdict

import numpy as np

from clipbench.data import Attack, Dataset
from clipbench.data.prompts import Prompts
from clipbench.evaluation.task import Evaluation
from clipbench_tasks.text_in_image import TextInImage
from rates_worlds import SimulatedModel, fixed_directions, images_named

N_CLASSES, DIM, NOISE = 8, 24, 1.3
STRENGTHS = {"none": 0.0, "small": 0.8, "large": 2.5}
"""Length of what a word adds, where an object's direction has the length 1."""
OF_OBJECTS = 0.4
"""Part of it along the direction of the objects that the word names."""
NAMES = tuple(f"class {row}" for row in range(N_CLASSES))
METRICS = (
    "linear_probe_attack_success",
    "knn_attack_success",
    "linear_probe_plain_acc",
    "zero_shot_minus_linear_probe",
    "zero_shot_minus_knn",
)


def draw(rng: np.random.Generator, n: int, n_attacks: int, strength: float) -> Evaluation:
    """Return the evaluation of n attacks, so many on each object."""
    objects, words = np.split(fixed_directions(5, 2 * N_CLASSES, DIM), 2)
    n_objects = n // n_attacks
    labels = rng.integers(N_CLASSES, size=n_objects)
    named = np.stack([rng.permutation(N_CLASSES - 1)[:n_attacks] for _ in range(n_objects)])
    named += named >= labels[:, None]
    own = objects[labels] + NOISE * rng.standard_normal((n_objects, DIM)) / np.sqrt(DIM)
    added = strength * (OF_OBJECTS * objects[named] + words[named])
    shots = np.concatenate([own[:, None], own[:, None] + added], axis=1)
    shots += 0.2 * rng.standard_normal(shots.shape) / np.sqrt(DIM)
    each = 1 + n_attacks
    attacks = [
        Attack(f"{row}-{at}", int(labels[row]), int(named[row, at]), each * row + 1 + at, clean=each * row)
        for row in range(n_objects)
        for at in range(n_attacks)
    ]
    ids = [f"{row:06}" for row in range(each * n_objects)]
    dataset = Dataset(id="x", images=images_named(len(ids)), image_ids=ids, class_names=NAMES, attacks=attacks)
    model = SimulatedModel(shots.reshape(-1, DIM), dict(zip(NAMES, objects + words, strict=True)))
    return TextInImage(prompts=Prompts(templates=("{c}",)), probes=True).evaluate(dataset, model, rng)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1_000)
    options = parser.parse_args()
    for n_attacks in (1, 2):
        for effect, strength in STRENGTHS.items():
            for n in (25, 100, 1_000):
                repeats = options.repeats if n < 1_000 else options.repeats // 4
                rates(np.random.default_rng((n, n_attacks)), (n, n_attacks, strength), repeats, effect)


def rates(rng: np.random.Generator, law: tuple[int, int, float], repeats: int, effect: str) -> None:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for _ in range(repeats):
        evaluation = draw(rng, *law)
        for name in METRICS:
            measure = evaluation.measures.get(name)
            metric = None if measure is None else measure.metric(evaluation.samples, rng)
            if metric is not None and metric.value is not None and metric.low is not None and metric.high is not None:
                found[name].append((metric.value, metric.low, metric.high))
    cells = []
    for name in METRICS:
        value, low, high = np.array(found[name]).T
        truth = value.mean()
        cells.append(f"{name} {truth:.3f}: {np.mean((low - 1e-9 <= truth) & (truth <= high + 1e-9)):.3f}")
    print(f"{law[1]} an object, {effect}, n = {law[0]:,} ({len(found[METRICS[0]])}):", *cells, sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
