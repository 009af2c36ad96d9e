"""Measure the test and the interval of means of changes that are skewed, graded, clustered or means of means.

    python experiments/rates_skewed.py runs/skewed.jsonl                    # a quarter of an hour
    python experiments/rates_skewed.py runs/skewed.jsonl --draws 200 --laws rises
    python experiments/rates_skewed.py runs/skewed.jsonl --summary

Each line has, for a law of changes, a number of samples, of samples in a cluster, and a shift: how often p is at most
5 %, how often that is wrong, how often the interval holds the true mean, and p of sign flips next to it.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from clipbench.metrics.classification import recall_influence
from clipbench.stats.intervals import share_interval, trials_of_means
from clipbench.stats.mean_law import interval_over_parts, law_of_mean
from clipbench.stats.significance import ALPHA

N_FLIPS = 999
SIZES = (30, 50, 100, 300, 1_000)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def discounted(rank: np.ndarray) -> np.ndarray:
    """Return the credit of a rank: nDCG@10 of one relevant document."""
    return np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)


def share_of_falls() -> float:
    """Return the share that falls from the first rank to none, so that 30 % may rise by a rank."""
    every = np.arange(3, 8)
    return 0.3 * float((discounted(every - 1) - discounted(every)).mean())


def rises(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of nDCG: 30 % rise by a rank, and a few fall from the first rank to none."""
    ranks, chance = rng.integers(3, 8, n), rng.random(n)
    gains = discounted(ranks - 1) - discounted(ranks)
    return np.where(chance < 0.3, gains, np.where(chance > 1 - share_of_falls(), -1.0, 0.0))


def falls(rng: np.random.Generator, n: int) -> np.ndarray:
    return -rises(rng, n)


def reciprocal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of the reciprocal rank: 25 % fall by a rank, and a few rise from the tenth to the first."""
    every = np.arange(4, 11)
    balance = 0.25 * float((1 / every - 1 / (every + 1)).mean()) / 0.9
    ranks, chance = rng.integers(4, 11, n), rng.random(n)
    return np.where(chance < 0.25, 1 / (ranks + 1) - 1 / ranks, np.where(chance > 1 - balance, 0.9, 0.0))


def mixed(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of which 25 % gain and 20 % lose a little, and a few lose much."""
    sizes, chance = np.minimum(rng.exponential(0.05, n), 0.5), rng.random(n)
    balance = 0.05 * 0.05 * (1 - np.exp(-10)) / 0.75
    small = np.where(chance < 0.25, sizes, np.where(chance < 0.45, -sizes, 0.0))
    return np.where(chance > 1 - balance, -rng.uniform(0.5, 1, n), small)


def reranked(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return symmetric changes of nDCG: 40 % get another rank of the same law."""
    ranks = np.floor(np.exp(rng.exponential(1.0, (2, n)))).clip(1, 100)
    return np.where(rng.random(n) < 0.4, discounted(ranks[1]) - discounted(ranks[0]), 0.0)


def steps(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return small symmetric changes: 30 %, by at most .3."""
    return np.where(rng.random(n) < 0.3, rng.uniform(-0.3, 0.3, n), 0.0)


LAWS: dict[str, Draw] = {law.__name__: law for law in (rises, falls, reciprocal, mixed, reranked, steps)}
SHIFTS = {"rises": 0.06, "falls": 0.06, "reciprocal": 0.04, "mixed": 0.04, "reranked": 0.08, "steps": 0.03}
"""Expected gain of each law where it is not 0: each sample gains twice of it with a chance of one half."""

PARTS: dict[str, Sequence[int]] = {
    "120, 80, 30 and 20": (120, 80, 30, 20),
    "200, 10 and 10": (200, 10, 10),
    "50 of 5": (5,) * 50,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one draw gave."""

    p_value: float
    low: float
    high: float
    p_of_flips: float | None = None

    @property
    def is_claimed(self) -> bool:
        """True if p is at most 5 %."""
        return self.p_value <= ALPHA


def outcome_of(changes: np.ndarray, clusters: np.ndarray | None, rng: np.random.Generator) -> Outcome:
    """Return test and interval of one draw."""
    mean = float(changes.mean())
    law = law_of_mean(mean, changes - mean, clusters, largest=1.0)
    sums = changes if clusters is None else np.bincount(clusters, changes)
    sums = sums[sums != 0]
    totals = np.abs((1 - 2 * rng.integers(2, size=(N_FLIPS, len(sums)))) @ sums)
    p_of_flips = (1 + np.count_nonzero(totals >= abs(sums.sum()) - 1e-9)) / (1 + N_FLIPS)
    low, high = law.bounds(ALPHA / 2)
    return Outcome(p_value=float(law.p_values()[0]), low=float(low[0]), high=float(high[0]), p_of_flips=p_of_flips)


def outcome_of_parts(changes: np.ndarray, parts: np.ndarray) -> Outcome:
    """Return test and interval of a mean over parts."""
    sizes = np.bincount(parts)
    value = float((np.bincount(parts, changes) / sizes).mean())
    weights = 1 / (len(sizes) * sizes[parts])
    law = law_of_mean(value, recall_influence(changes, parts), None, largest=1.0, weights=weights)
    low, high = law.bounds(ALPHA / 2)
    return Outcome(p_value=float(law.p_values()[0]), low=float(low[0]), high=float(high[0]))


def line_of(facts: dict[str, object], truth: float, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return the rates of all draws of a cell."""
    claimed = np.array([outcome.is_claimed for outcome in outcomes])
    values = np.array([(outcome.low + outcome.high) / 2 for outcome in outcomes])
    flips = [outcome.p_of_flips for outcome in outcomes if outcome.p_of_flips is not None]
    return {
        **facts,
        "true mean": round(truth, 4),
        "claimed": float(claimed.mean()),
        "wrong": float((claimed & (np.sign(values) != np.sign(truth))).mean()),
        "covered": float(np.mean([outcome.low <= truth <= outcome.high for outcome in outcomes])),
        "width": round(float(np.mean([outcome.high - outcome.low for outcome in outcomes])), 4),
        "claimed by flips": float(np.mean(np.array(flips) <= ALPHA)) if flips else None,
    }


def cells(names: Sequence[str], n_draws: int) -> Iterator[dict[str, object]]:
    """Yield a line for each law, size, cluster size and shift."""
    for name, n, n_each, is_shifted in product(names, SIZES, (1, 5), (False, True)):
        rng, shift = np.random.default_rng([n, n_each, is_shifted, sum(map(ord, name))]), SHIFTS[name] * is_shifted
        clusters = None if n_each == 1 else np.arange(n) // n_each
        outcomes = []
        for _ in range(n_draws):
            changes = LAWS[name](rng, n)
            if clusters is not None:  # half of the samples change as the first of their cluster
                changes = np.where(rng.random(n) < 0.5, changes[(np.arange(n) // n_each) * n_each], changes)
            changes = changes + 2 * shift * (rng.random(n) < 0.5)
            outcomes.append(outcome_of(changes, clusters, rng))
        yield line_of({"law": name, "n": n, "in clusters of": n_each, "draws": n_draws}, shift, outcomes)


def cells_of_parts(n_draws: int) -> Iterator[dict[str, object]]:
    """Yield a line for means over parts: hits that change alike, or that part for part make up for each other."""
    for (name, sizes), is_uneven, shift in product(PARTS.items(), (False, True), (0.0, 0.03, 0.06)):
        rng, parts = np.random.default_rng(len(sizes)), np.repeat(np.arange(len(sizes)), sizes)
        tilt = (
            np.where(parts == 0, -0.03 * (len(sizes) - 1), 0.03) if len(sizes) < 5 else np.where(parts % 2, 0.03, -0.03)
        )
        gain, loss = (0.04 + np.maximum(0.0, side * tilt * is_uneven) for side in (1, -1))
        outcomes = []
        for _ in range(n_draws):
            chance = rng.random(len(parts))
            changes = np.where(chance < gain + shift, 1.0, np.where(chance > 1 - loss, -1.0, 0.0))
            outcomes.append(outcome_of_parts(changes, parts))
        facts = {"law": f"parts of {name}{', uneven' if is_uneven else ''}", "n": len(parts), "draws": n_draws}
        yield line_of(facts, shift, outcomes)


RATES: dict[str, tuple[float, float]] = {
    "5 % right": (0.05, 0.05),
    "17 %": (0.17, 0.17),
    "60 %": (0.6, 0.6),
    "90 %": (0.9, 0.9),
    "2 to 10 %": (0.02, 0.1),
    "80 to 95 %": (0.95, 0.8),
}
"""Share of hits in the first part and in the last; those between are evenly spaced."""
PARTS_OF_ONE_MODEL: dict[str, Sequence[int]] = {**PARTS, "20 of 1 and 20 of 10": (1,) * 20 + (10,) * 20}


def cells_of_one_model(n_draws: int) -> Iterator[dict[str, object]]:
    """Yield a line for the mean over parts of one model: coverage and width, next to those of effective samples."""
    for (name, sizes), (title, (first, last)) in product(PARTS_OF_ONE_MODEL.items(), RATES.items()):
        rng, parts = np.random.default_rng(len(sizes)), np.repeat(np.arange(len(sizes)), sizes)
        chances = np.linspace(first, last, len(sizes))
        bounds = []
        for _ in range(n_draws):
            credit = (rng.random(len(parts)) < chances[parts]) * 1.0
            means, influence = np.bincount(parts, credit) / np.array(sizes), recall_influence(credit, parts)
            value, trials = float(means.mean()), trials_of_means(means, np.array(sizes))
            found = interval_over_parts(value, influence, parts.astype(np.float64), None, most_trials=trials)
            bounds.append((found.bounds, share_interval(value, influence, None, at_most=trials).bounds))
        low, high = np.moveaxis(np.array(bounds), -1, 0)
        is_covered = (low <= chances.mean() + 1e-9) & (high >= chances.mean() - 1e-9)
        covered, of_effective_samples = is_covered.mean(axis=0).tolist()
        width, width_of_effective_samples = (high - low).mean(axis=0).round(4).tolist()
        yield {
            "law": f"one model, parts of {name}",
            "hits": title,
            "draws": n_draws,
            "covered": covered,
            "covered by effective samples": of_effective_samples,
            "width": width,
            "width of effective samples": width_of_effective_samples,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="file of lines, which is continued")
    parser.add_argument("--draws", type=int, default=2_000, help="of each cell")
    parser.add_argument("--laws", nargs="*", default=list(LAWS), choices=[*LAWS, "parts", "one model"])
    parser.add_argument("--summary", action="store_true", help="print the log and stop")
    arguments = parser.parse_args()
    if not arguments.summary:
        lines = [cells([name for name in arguments.laws if name in LAWS], arguments.draws)]
        if "parts" in arguments.laws or len(arguments.laws) == len(LAWS):
            lines.append(cells_of_parts(arguments.draws))
        if "one model" in arguments.laws or len(arguments.laws) == len(LAWS):
            lines.append(cells_of_one_model(arguments.draws))
        for line in (line for part in lines for line in part):
            with arguments.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    for text in arguments.log.read_text(encoding="utf-8").splitlines():
        print(text)


if __name__ == "__main__":
    main()
