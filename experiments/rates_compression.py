"""How often a format is said to lose less than a point that does lose as much, and how often paired differences are covered.

    python experiments/rates_compression.py     # about twenty minutes on a quiet core; tables of docs/statistics.md

Answers: five kinds of five formats each, whose credits are lost and won with given chances, independently of each other, which
makes most errors; one query an image, or five that are alike. Vectors: pairs of images and captions that share a part whose size falls with
the dimension, stored in the formats of the task; the truth is the mean of all samples of a size.
"""

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

from clipbench.metrics import cross_ranks, recall_at_k
from clipbench.metrics.compression import Format, compressed, principal_components
from clipbench.metrics.similarity import unit
from clipbench.stats.compression import walk
from clipbench.stats.intervals import DIFFERENCES, mean_interval
from clipbench_tasks.compression import Compression
from clipbench_tasks.compression.task import _least_stored

SIZES = (25, 100, 1_000, 5_000)
MARGIN = 0.01
ANSWERS: Mapping[str, Sequence[tuple[float, float]]] = {
    "none: no answer changes": [(0.0, 0.0)] * 5,
    "none: 1 % lost, 1 % won": [(0.01, 0.01)] * 5,
    "small: 1 % lost": [(0.01, 0.0)] * 5,
    "small: 3 % lost, 2 % won": [(0.03, 0.02)] * 5,
    "large: none, then 6 % lost, 1 % won": [(0.0, 0.0)] + [(0.06, 0.01)] * 4,
}
"""Of each kind the formats, from the largest to the smallest, with their chances of losing and winning an answer."""
VECTORS = {"none": 100.0, "small": 0.35, "large": 0.8}
"""Noise of each vector, where the shared part has a length of about 1: pairs that share nothing, and easy and hard ones."""
DIM = 64


def of_answers(repeats: int, per_image: int) -> None:
    for name, formats in ANSWERS.items():
        for n in SIZES[:3] if per_image > 1 else SIZES:
            rng = np.random.default_rng((n, per_image))
            clusters = np.repeat(np.arange(n), per_image)
            wrong, chosen, covered = 0, 0, []
            for repeat in range(repeats):
                kinds = [
                    {f"{kind}@{place}": _changes(rng, clusters, *each) for place, each in enumerate(formats)}
                    for kind in range(5)
                ]
                passed = walk(kinds, MARGIN, clusters=clusters).passed
                lost = {f"{kind}@{place}": a - b for kind in range(5) for place, (a, b) in enumerate(formats)}
                wrong += any(lost[form] >= MARGIN - 1e-12 for form in passed)
                chosen += len(passed) > 0
                if repeat < repeats // 4:
                    for form, change in kinds[0].items():
                        covered.append(_covers(change, clusters, -lost[form]))
            rates = f"wrong {wrong / repeats:.4f}, any {chosen / repeats:.3f}, covered {np.mean(covered):.3f}"
            print(f"answers, {per_image} an image, {name}, n = {n}: {rates}", flush=True)


def _changes(rng: np.random.Generator, clusters: np.ndarray, lost: float, won: float) -> np.ndarray:
    """Return changes of credits; two thirds of those of an image, where it has several, are the same."""
    u = rng.random(clusters[-1] + 1)[clusters]
    own = rng.random(len(clusters)) < 1 / 3
    u[own] = rng.random(int(own.sum()))
    return np.where(u < lost, -1.0, np.where(u < lost + won, 1.0, 0.0))


def of_vectors(most: int) -> None:
    chains = Compression()._chains(DIM)
    for n in SIZES[:3]:
        repeats = most if n < 1_000 else 2 * most // 5
        for effect, noise in VECTORS.items():
            rng = np.random.default_rng(n)
            kept = [[form for form in chain if n >= _least_stored(form)] for chain in chains]
            kinds = [chain for chain in kept if chain]
            forms = [form for chain in kinds for form in chain]
            changes = [_credits(rng, n, noise, forms) for _ in range(repeats)]
            true = {form.name: float(np.mean([each[form.name].mean() for each in changes])) for form in forms}
            wrong, chosen, covered = 0, 0, []
            for each in changes:
                passed = walk([{form.name: each[form.name] for form in chain} for chain in kinds], MARGIN).passed
                wrong += any(-true[form] >= MARGIN for form in passed)
                chosen += len(passed) > 0
                covered += [_covers(change, None, true[form]) for form, change in each.items()]
            rates = f"wrong {wrong / repeats:.4f}, any {chosen / repeats:.3f}, covered {np.mean(covered):.3f}"
            print(
                f"vectors, {effect}, n = {n}: {rates}; {min(true.values()):.3f} to {max(true.values()):.3f}", flush=True
            )


def _credits(rng: np.random.Generator, n: int, noise: float, forms: Sequence[Format]) -> dict[str, np.ndarray]:
    """Return the change of each caption's credit in each format."""
    sizes = np.exp(-np.arange(DIM) / 12)
    sizes /= np.linalg.norm(sizes)
    shown = rng.standard_normal((n, DIM)) * sizes
    images, texts = (shown + noise * rng.standard_normal((n, DIM)) * sizes + 0.2 for _ in range(2))
    images, texts, owner = unit(images.astype(np.float32)), unit(texts.astype(np.float32)), np.arange(n)
    components = principal_components(images)
    whole = recall_at_k(cross_ranks(images, texts, owner)[1], 1)
    return {
        form.name: recall_at_k(cross_ranks(*compressed(form, images, texts, components), owner)[1], 1) - whole
        for form in forms
    }


def _covers(change: np.ndarray, clusters: np.ndarray | None, true: float) -> bool:
    low, high, _ = mean_interval(change, clusters=clusters, within=DIFFERENCES)
    return low is not None and high is not None and low - 1e-9 <= true <= high + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1_000)
    parser.add_argument("--only", choices=["answers", "vectors"])
    options = parser.parse_args()
    if options.only in (None, "answers"):
        for per_image in (1, 5):
            of_answers(options.repeats, per_image)
    if options.only in (None, "vectors"):
        of_vectors(options.repeats // 4)


if __name__ == "__main__":
    main()
