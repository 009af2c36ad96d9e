"""Measure how often `clipbench explain` claims a loss that is not there, and how often it finds one that is.

    python experiments/rates_explain.py runs/explain.jsonl                                      # hours
    python experiments/rates_explain.py runs/explain.jsonl --worlds null --n 300 --simulations 100
    python experiments/rates_explain.py runs/methods.jsonl --worlds planted --methods           # next to other methods
    python experiments/rates_explain.py runs/explain.jsonl --summary

Each simulation draws samples with hidden properties, groups made of these (columns and their pairs, words, clusters,
cuts of measured inputs), and a paired change of each sample. A line has the share of simulations with a false claim of
each kind, with bounds that miss a true change, and of planted groups that are named.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from clipbench.comparison.explanation_groups import FINE_TAILS
from clipbench.stats.groups import Covering, Grouping, GroupTests, cover_changes, judge_groups
from clipbench.stats.significance import holm
from rates_skewed import rises, share_of_falls

ALPHA = 0.05
N_PROPERTIES = 12
N_MEASURED = 8
"""Properties that are measured inputs: six of images, and two lengths."""
CHUNK = 20
"""Simulations with the same samples."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The law of the samples' changes."""

    name: str
    flips: float = 0.08
    """Share of the samples that change in either direction."""
    hard: float = 0.0
    """By how much that share rises along a hidden property: models differ most on what is hard."""
    uniform: float = 0.0
    """Loss of every sample."""
    planted: tuple[tuple[float, float], ...] = ()
    """Share of the samples and loss of each planted group."""
    n_each: int = 1
    """Samples of a cluster."""
    alike: float = 0.6
    """Chance of a sample to change as its cluster does."""
    shape: str = "hits"
    """``hits``; ``ranks``, of which many rise a little and few fall far; or ``trainings``, hits of two models of equal
    accuracy on each sample, which is between 0.2 and 1.
    """
    harder: float = 0.0
    """Loss of the hardest samples, along a hidden property that groups correlate with."""


WORLDS = (
    World(name="null"),
    World(name="null, few flips", flips=0.02),
    World(name="two seeds", flips=0.03, hard=0.25),
    World(name="uniform", uniform=0.05),
    World(name="uniform, large", flips=0.03, uniform=0.15),
    World(name="uniform, where it is hard", flips=0.02, hard=0.2, uniform=0.05),
    World(name="null, two trainings", shape="trainings"),
    World(name="null, ranks", shape="ranks"),
    World(name="uniform, ranks", shape="ranks", uniform=0.05),
    World(name="by difficulty", flips=0.02, harder=0.2),
    World(name="null, clusters", n_each=5),
    World(name="uniform, clusters", uniform=0.05, n_each=5),
    *(
        World(name=f"planted {share:.0%} {loss:.0%}", planted=((share, loss),))
        for share, loss in product((0.01, 0.04, 0.1), (0.05, 0.15, 0.25))
    ),
    World(name="planted 4% 25%, clusters", planted=((0.04, 0.25),), n_each=5),
    World(name="planted three", planted=((0.02, 0.25), (0.04, 0.2), (0.08, 0.12))),
)


@dataclass(frozen=True)
class Samples:
    """Samples with their groups: which have them, which are planted, and the cluster of each sample."""

    grouping: Grouping
    hidden: np.ndarray
    planted: np.ndarray


def draw_samples(world: World, n: int, rng: np.random.Generator) -> Samples:
    """Return samples with columns of 2 to 20 values, pairs of columns, words, clusters, cuts of numbers, and what is planted."""
    clusters = None if world.n_each == 1 else np.arange(n) // world.n_each
    of_unit = rng.normal(size=(n, N_PROPERTIES))
    if clusters is not None:
        of_unit = 0.9 * rng.normal(size=(clusters.max() + 1, N_PROPERTIES))[clusters] + 0.45 * of_unit
    columns = []
    for index in range(10):
        noisy = of_unit[:, index] + 0.5 * of_unit[:, (index + 1) % N_PROPERTIES]
        if clusters is not None and index % 2:  # a column of images
            noisy = noisy.reshape(-1, world.n_each)[:, :1].repeat(world.n_each, axis=1).ravel()
        n_values = int(rng.integers(2, 21))
        columns.append(np.digitize(noisy, np.quantile(noisy, np.arange(1, n_values) / n_values)))
    masks = [column == value for column in columns for value in np.unique(column)]
    masks += [
        (one == value) & (other == rest)
        for one, other in pairwise(columns)
        for value, rest in product(np.unique(one)[:4], np.unique(other)[:4])
    ]
    directions = of_unit @ rng.normal(size=(N_PROPERTIES, 120)) / np.sqrt(N_PROPERTIES)
    shares = rng.choice([0.01, 0.02, 0.05, 0.1, 0.2], 120)
    masks += [column > np.quantile(column, 1 - share) for column, share in zip(directions.T, shares, strict=True)]
    for k in (5, 10, 20, 40):
        nearest = (of_unit @ rng.normal(size=(N_PROPERTIES, k))).argmax(axis=1)
        masks += [nearest == index for index in range(k)]
    # Cuts of measured inputs, as many as ``clipbench explain`` makes.
    for number in of_unit[:, -N_MEASURED:].T:
        for share in FINE_TAILS:
            masks += [number <= np.quantile(number, share), number >= np.quantile(number, 1 - share)]
    planted = [
        of_unit[:, index] > np.quantile(of_unit[:, index], 1 - share) for index, (share, _) in enumerate(world.planted)
    ]
    masks += planted
    kept = [mask for mask in masks if max(20, 0.01 * n - 1) <= mask.sum() < n]
    rows = [np.flatnonzero(mask) for mask in kept]
    return Samples(Grouping.from_rows(rows, n, clusters), of_unit[:, -1], np.array(planted).reshape(-1, n))


def draw_changes(world: World, samples: Samples, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of each sample, and its expectation."""
    n = len(samples.hidden)
    if world.shape == "ranks":
        loss = 2 * world.uniform * (rng.random(n) < 0.5)
        return np.maximum(rises(rng, n) - loss, -1.0), np.full(n, -world.uniform * (1 - share_of_falls()))
    if world.shape == "trainings":
        accuracy = 0.2 + 0.8 / (1 + np.exp(2 * samples.hidden))
        before, after = (rng.random((2, n)) < accuracy) * 1.0
        return after - before, np.zeros(n)
    rate = world.flips + world.hard * np.clip(samples.hidden - 0.5, 0, 1)
    loss = np.maximum(world.uniform, world.harder * np.clip(samples.hidden, 0, 1))
    for mask, (_, planted) in zip(samples.planted, world.planted, strict=True):
        loss = np.where(mask, np.maximum(loss, planted), loss)
    chance = rng.random(n)
    if world.n_each > 1:
        of_cluster = rng.random(n // world.n_each).repeat(world.n_each)
        chance = np.where(rng.random(n) < world.alike, of_cluster, chance)
    changes = np.where(chance < rate + loss, -1.0, np.where(chance > 1 - rate, 1.0, 0.0))
    return changes, -loss


Claims = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of each group: claimed to be worse, better, worse than elsewhere, better than elsewhere."""


def claims_of(tests: GroupTests) -> Claims:
    """Return the groups that are claimed: worse, better, and of these the ones that changed more than elsewhere."""
    here = tests.is_claimed(ALPHA)
    elsewhere = tests.exceeds_elsewhere(ALPHA)
    return (
        here & (tests.change < 0),
        here & (tests.change > 0),
        elsewhere & (tests.contrast < 0),
        elsewhere & (tests.contrast > 0),
    )


def _p_normal(statistics: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return 2 * ndtr(-np.abs(statistics))


def by_holm(changes: np.ndarray, grouping: Grouping, rng: np.random.Generator) -> np.ndarray:
    """Return groups that are worse by an exact binomial test and Holm's correction."""
    from scipy.special import bdtr

    lost, n = grouping.sums((changes < 0) * 1.0), grouping.sums((changes != 0) * 1.0)
    p_values = np.minimum(1.0, 2 * bdtr(np.minimum(lost, n - lost), n.astype(int), 0.5))
    return (np.array(holm(p_values.tolist())) <= ALPHA) & (2 * lost > n)


def by_split(changes: np.ndarray, grouping: Grouping, rng: np.random.Generator) -> np.ndarray:
    """Return which of the five worst groups of one half are worse in the other by Holm."""
    is_first = rng.random(len(changes)) < 0.5
    half = grouping.take(np.arange(len(grouping.sizes)), is_first)
    lost, n = half.sums((changes[is_first] < 0) * 1.0), half.sums((changes[is_first] != 0) * 1.0)
    worst = np.argsort((n - 2 * lost) / np.sqrt(np.maximum(n, 1)))[:5]
    claimed = np.zeros(len(grouping.sizes), bool)
    claimed[worst] = by_holm(changes[~is_first], grouping.take(worst, ~is_first), rng)
    return claimed


def by_evalues(changes: np.ndarray, grouping: Grouping, rng: np.random.Generator) -> np.ndarray:
    """Return groups whose e-value, a mixture over how often a change is a loss, reaches that of Holm's e-test."""
    from scipy.special import betaincc, betaln

    lost, n = grouping.sums((changes < 0) * 1.0), grouping.sums((changes != 0) * 1.0)
    # Uniform prior of the chance of a loss on [1/2, 1]: 2 ∫ p^k (1-p)^(n-k) dp over 2^-n.
    e_values = np.exp(np.log(2) * (n + 1) + betaln(lost + 1, n - lost + 1)) * betaincc(lost + 1, n - lost + 1, 0.5)
    order = np.argsort(-e_values)
    claimed = np.zeros(len(e_values), bool)
    for rank, group in enumerate(order):  # closed testing by the mean of e-values: e-Holm
        if e_values[group] < (len(order) - rank) / ALPHA:
            break
        claimed[group] = True
    return claimed


def by_top_down(changes: np.ndarray, grouping: Grouping, rng: np.random.Generator, n_draws: int = 1_999) -> np.ndarray:
    """Return groups that are worse in a test from the top: all groups, then blocks of 25, then groups of a block.

    Each node has the level times its share of the groups (Meinshausen, Biometrika 95 (2008)).
    """
    n_groups = len(grouping.sizes)
    spread = np.sqrt(np.maximum(grouping.sums(changes**2), 1e-12))
    signs = rng.choice([-1.0, 1.0], (len(changes), n_draws))
    observed, drawn = -grouping.sums(changes) / spread, -grouping.sums(changes[:, None] * signs) / spread[:, None]

    def p_of(groups: np.ndarray) -> float:
        size = np.maximum(observed[groups], 0) ** 2
        return (1 + ((np.maximum(drawn[groups], 0) ** 2).sum(axis=0) >= size.sum() - 1e-6).sum()) / (1 + drawn.shape[1])

    claimed = np.zeros(n_groups, bool)
    if p_of(np.arange(n_groups)) > ALPHA:
        return claimed
    for block in np.array_split(np.arange(n_groups), max(1, n_groups // 25)):
        if p_of(block) > ALPHA * len(block) / n_groups:
            continue
        p_values = _p_normal(observed[block]) / 2
        claimed[block] = np.array(holm(p_values.tolist())) <= ALPHA * len(block) / n_groups
    return claimed


OTHERS: Mapping[str, Callable[..., np.ndarray]] = {
    "Holm": by_holm,
    "split": by_split,
    "e-values": by_evalues,
    "top down": by_top_down,
}


def named(claimed: np.ndarray, samples: Samples) -> np.ndarray:
    """Return which planted groups a claimed group is of: half of its samples, and it half of the group's."""
    members = samples.grouping.members[claimed]
    both = members.astype(float) @ samples.planted.T
    either = members.sum(axis=1)[:, None] + samples.planted.sum(axis=1)[None] - both
    return (both / either > 0.5).any(axis=0) if len(members) else np.zeros(len(samples.planted), bool)


def simulate(world: World, n: int, seed: int, n_draws: int, *, methods: bool) -> Iterator[dict[str, float | None]]:
    """Yield the outcome of 20 simulations with the same samples."""
    rng = np.random.default_rng([seed, n])
    samples = draw_samples(world, n, rng)
    grouping, sizes = samples.grouping, samples.grouping.sizes
    for _ in range(CHUNK):
        changes, expected = draw_changes(world, samples, rng)
        true = grouping.sums(expected) / sizes
        relative = true - expected.mean()
        tests = judge_groups(changes, grouping, rng, alpha=ALPHA, n_draws=n_draws)
        worse, better, worse_than, better_than = claims_of(tests)
        outcome: dict[str, Any] = {
            "groups": len(sizes),
            "worse, false": (worse & (true > -1e-9)).any(),
            "better, false": (better & (true < 1e-9)).any(),
            "worse than elsewhere, false": (worse_than & (relative > -1e-9)).any(),
            "better than elsewhere, false": (better_than & (relative < 1e-9)).any(),
            "any claim": (worse | better | worse_than | better_than).any(),
            "any better": (better | (better_than & (tests.change > 0))).any(),
            "uneven": tests.p_elsewhere.min() <= ALPHA,
            "bounds miss": ((true < tests.low - 1e-9) | (true > tests.high + 1e-9)).any(),
            "critical here": tests.critical_here,
            "critical elsewhere": tests.critical_elsewhere,
        }
        large = sizes >= max(20, n // 20)
        outcome["large bounds miss"] = (((true < tests.low - 1e-9) | (true > tests.high + 1e-9)) & large).any()
        covering = cover_changes(changes, grouping, tests)
        losses = np.array([part.group for part in covering if part.net_change < 0], int)
        outcome |= {
            "listed": len(covering),
            "listed, any": len(covering) > 0,
            "listed, false": _is_any_false(covering, expected, grouping, is_net=False),
            "listed, net false": _is_any_false(covering, expected, grouping, is_net=True),
        }
        if len(samples.planted):
            claimed_rows = grouping.members[losses].any(axis=0)
            outcome |= {
                "worse, named": named(worse, samples).mean(),
                "worse than elsewhere, named": named(worse_than, samples).mean(),
                "either, named": named(worse | worse_than, samples).mean(),
                "listed, named": named(losses, samples).mean(),
                "listed, gains": len(covering) > len(losses),
                "precision": float((samples.planted.sum(axis=0) > 0)[claimed_rows].mean()) if len(losses) else np.nan,
            }
        if methods:
            for name, method in OTHERS.items():
                claimed = method(changes, grouping, rng)
                outcome[f"{name}, false"] = (claimed & (true > -1e-9)).any()
                outcome[f"{name}, named"] = named(claimed, samples).mean() if len(samples.planted) else np.nan
        yield {key: None if np.isnan(value) else float(value) for key, value in outcome.items()}


def _is_any_false(covering: list[Covering], expected: np.ndarray, grouping: Grouping, *, is_net: bool) -> bool:
    """Return whether a listed group has no true change, or no net one; all changes that are expected are losses.

    A gain is true if the group's samples lose less than those in no listed group of losses.
    """
    is_left = np.ones(len(expected), bool)
    for part in covering:
        rows = (grouping.members[part.group]) & (is_left | (not is_net))
        is_loss = expected[rows].mean() < -1e-9
        if is_loss != (part.net_change < 0):
            return True
        is_left &= ~grouping.members[part.group]
    return False


def summarise(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the mean of each outcome over all simulations of a world and size in a log."""
    chunks: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        chunk = json.loads(line)
        chunks.setdefault((chunk["world"], chunk["n"]), []).append(chunk)
    for (world, n), parts in chunks.items():
        outcomes = [outcome for part in parts for outcome in part["outcomes"]]
        row: dict[str, Any] = {"world": world, "n": n, "simulations": len(outcomes)}
        for key in dict.fromkeys(key for outcome in outcomes for key in outcome):
            values = [outcome[key] for outcome in outcomes if outcome.get(key) is not None]
            row[key] = round(float(np.mean(values)), 4) if values else None
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="file of outcomes, which is continued")
    parser.add_argument("--worlds", nargs="*", default=[""], help="beginnings of the names of worlds")
    parser.add_argument("--n", type=int, nargs="*", default=[300, 2_000, 10_000])
    parser.add_argument("--simulations", type=int, default=2_000, help="of each world and size")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=199, help="sign flips, and permutations")
    parser.add_argument("--methods", action="store_true", help="other methods too")
    parser.add_argument("--summary", action="store_true", help="print the rates of the log and stop")
    arguments = parser.parse_args()
    worlds = [world for world in WORLDS if world.name.startswith(tuple(arguments.worlds))]
    n_seeds = 0 if arguments.summary else -(-arguments.simulations // CHUNK)
    for seed in range(arguments.first_seed, arguments.first_seed + n_seeds):
        for n, world in product(arguments.n, worlds):
            outcomes = [*simulate(world, n, seed, arguments.draws, methods=arguments.methods)]
            with arguments.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"world": world.name, "n": n, "seed": seed, "outcomes": outcomes}) + "\n")
    for row in summarise(arguments.log):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
