"""Coverage of the intervals of experiments/claims.md: means over few seeds that share their test images.

    python experiments/rates_claims.py     # about five minutes on a quiet core; a table of experiments/coverage.md

Two models a seed have hits on the same images, in both directions: an image has a difficulty, each model of each seed a
skill, and each hit noise of its own. The value is the lead of one model in recall@1. Then shares of one model, in one
direction.
"""

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t

from claims_outcomes import Values, over_seeds

SIMULATIONS, N_IMAGES, NOISE, BASE = 1_000, 1_000, 0.7, -0.3
SEEDS = (3, 4, 5)
SPREADS = {"none": 0.0, "1 pp": 0.03, "3 pp": 0.1, "14 pp": 0.4}
"""Standard deviations of a model's skill over seeds, by about what they make of its recall."""
EFFECTS = {"none": 0.0, "small": 0.1, "large": 0.6}
SHARES = (0.01, 0.05, 0.5, 0.98)
SIZES = (250, 1_000)
"""Test images, of shares."""


def leads(rng: np.random.Generator, n_seeds: int, spread: float, effect: float) -> Values:
    """Return the lead of the second model on each image, for each seed."""
    images = rng.standard_normal(N_IMAGES)
    hits = []
    for skill in (BASE, BASE + effect):
        of_seed = skill + spread * rng.standard_normal((n_seeds, 1))
        hits.append((of_seed + images + NOISE * rng.standard_normal((2, n_seeds, N_IMAGES)) > 0).mean(axis=0))
    return np.asarray(hits[1] - hits[0], np.float64)


def truth(spread: float, effect: float) -> float:
    """Return the lead over all seeds and images."""
    size = np.sqrt(1 + NOISE**2 + spread**2)
    return float(ndtr((BASE + effect) / size) - ndtr(BASE / size))


def half_width_of_seeds(values: Values) -> float:
    """Return half the width of Student's interval of seeds alone, as if the images were all there are."""
    return float(t.ppf(0.975, len(values) - 1) * values.mean(axis=1).std(ddof=1) / len(values) ** 0.5)


def half_width_of_images(values: Values) -> float:
    """Return half the width of the interval of images alone, as if the seeds were all there are."""
    return float(1.96 * values.mean(axis=0).std(ddof=1) / values.shape[1] ** 0.5)


def coverage_of_share(share: float, spread: float, n_seeds: int, n_images: int) -> float:
    """Return how often the interval holds a model's share of hits over all seeds and images."""
    rng = np.random.default_rng([n_seeds, n_images, round(100 * spread), round(100 * share)])
    base, covered = float(ndtri(share)) * np.sqrt(1 + NOISE**2 + spread**2), 0
    for _ in range(SIMULATIONS):
        skill = base + spread * rng.standard_normal((n_seeds, 1)) + rng.standard_normal(n_images)
        hits = skill + NOISE * rng.standard_normal((n_seeds, n_images)) > 0
        found = over_seeds(hits.astype(np.float64))
        covered += found.low <= share <= found.high
    return covered / SIMULATIONS


def main() -> None:
    """Print the tables."""
    print("| Share | Spread of skill | " + " | ".join(f"{s} seeds, n = {n:,}" for s in SEEDS for n in SIZES) + " |")
    print("|--:|--:|" + "---|" * len(SEEDS) * len(SIZES))
    for share in SHARES:
        for spread in (0.0, 0.1, 0.4):
            cells = [f"{coverage_of_share(share, spread, s, n):.3f}" for s in SEEDS for n in SIZES]
            print(f"| {100 * share:.0f} % | {spread} | " + " | ".join(cells) + " |", flush=True)
    print("| Spread of seeds | Lead, truly | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |")
    print("|---|--:|" + "---|" * len(SEEDS))
    for (spread_name, spread), (effect_name, effect) in ((s, e) for s in SPREADS.items() for e in EFFECTS.items()):
        lead, cells = truth(spread, effect), []
        for n_seeds in SEEDS:
            rng = np.random.default_rng([n_seeds, round(100 * spread), round(100 * effect)])
            rates = np.zeros(4)
            for _ in range(SIMULATIONS):
                values = leads(rng, n_seeds, spread, effect)
                found = over_seeds(values, within=(-1.0, 1.0))
                away = abs(found.value - lead)
                alone = (away <= half_width_of_seeds(values), away <= half_width_of_images(values))
                rates += (found.low <= lead <= found.high, found.sign != 0, *alone)
            covered, told, seeds, images = rates / SIMULATIONS
            cells.append(f"{covered:.3f} · {told:.3f} ({seeds:.3f}, {images:.3f})")
        print(f"| {spread_name} | {100 * lead:.1f} pp, {effect_name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
