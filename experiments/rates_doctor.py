"""Coverage of the distance of true pairs from shuffled ones, which a run looks at first: a line of
experiments/coverage.md.

    python experiments/rates_doctor.py     # two minutes

Vectors of a pair share a part; one image in ten is a hub, and the modalities lie apart. The truth is the mean of pairs
of much larger data.
"""

import argparse

import numpy as np

from clipbench.checks.pairs import Pairs, pair_separation

DIM, LARGE = 64, 2_000
SHARED = {"none": 0.0, "small": 0.35, "large": 1.0, "reversed": -0.35}
"""Size of the shared part, where each vector's own has the size 1; reversed, that of the text points the other way."""


def drawn(rng: np.random.Generator, n: int, shared: float) -> tuple[float, float, float]:
    """Return the distance of the true pairs of a draw, with its interval."""
    scenes, gap = rng.standard_normal((n, DIM)), np.zeros(DIM)
    gap[0] = 3.0
    images = abs(shared) * scenes + rng.standard_normal((n, DIM)) + gap
    texts = shared * scenes + rng.standard_normal((n, DIM)) - gap
    images[rng.random(n) < 0.1] -= 2 * gap  # near to all texts
    pairs = Pairs(source="", is_own=True, truth=np.arange(n), image_vectors=images, text_vectors=texts)
    value, (low, high, _) = pair_separation(pairs)
    assert low is not None and high is not None
    return value, low, high


def main() -> None:
    """Print a line for each effect and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000)
    options = parser.parse_args()
    for effect, shared in SHARED.items():
        large = [drawn(np.random.default_rng((seed, LARGE)), LARGE, shared)[0] for seed in range(4)]
        truth = float(np.mean(large)) if shared else 0.0
        for n in (16, 64, 500):
            rng = np.random.default_rng(n)
            found = np.array([drawn(rng, n, shared) for _ in range(options.simulations if n < 500 else 500)])
            covers = ((found[:, 1] <= truth) & (truth <= found[:, 2])).mean()
            above, below = (found[:, 1] > 0).mean(), (found[:, 2] < 0).mean()
            print(
                f"{effect}, n = {n}: truly {truth:.3f}, covers {covers:.3f}, above 0 {above:.3f}, below 0 {below:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
