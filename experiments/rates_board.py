"""Measure how often the rank intervals of a board contain all true ranks, for experiments/coverage.md.

    python experiments/rates_board.py runs/board.jsonl                          # an hour
    python experiments/rates_board.py runs/board.jsonl --simulations 100 --worlds equal "mean rank"
    python experiments/rates_board.py runs/board.jsonl --summary                # tables of experiments/coverage.md

Each simulation draws a table of credits of 3, 5 or 12 models on the same samples. A line has the share of simulations in
which all true ranks are inside at once, the mean width of an interval, and both for a test of each pair with Holm's
correction: McNemar's exact test of hits, sign flips of other credits.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import ndtr, stdtrit

from clipbench.stats.mean_law import law_of_mean
from clipbench.stats.rank_intervals import (
    MIN_NEW_TASKS,
    model_pairs,
    new_task_interval,
    pair_p_values,
    rank_bounds,
)
from clipbench.stats.significance import ALPHA, holm, mcnemar

N_DRAWS = 2_000
"""Sign flips of a simulation; the product draws more."""
N_HOLM = 200
"""Simulations that test each pair by itself, which takes most of the time, with sign flips."""
Table = np.ndarray
Outcomes = dict[str, list[tuple[float, float]]]
"""Whether all true ranks were inside, and the mean width, of each simulation by method."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A law of credits, with models in groups of equal true value."""

    name: str
    step: float = 0.0
    """Difference of the true values of one model and the next."""
    correlation: float = 0.6
    """Correlation of two models, by what is hard for both."""
    level: float = 0.6
    """True value of the best model."""
    n_each: int = 1
    """Samples of a cluster."""
    shape: str = "hits"
    """``hits``; ``copies``, hits of pairs of models that share nearly all; ``reciprocal``, reciprocal ranks;
    ``spreads``, credits of which every second model's are all or nothing; ``skewed``, of which every second model's
    rise a little and rarely fall far; or ``both ways``, where every fourth's fall a little and rarely rise far.
    """

    def values(self, n_models: int) -> np.ndarray:
        """Return the true values of the models, the best first."""
        return self.level - self.step * np.arange(n_models)

    def draw(self, rng: np.random.Generator, n: int, n_models: int) -> Table:
        """Return the credits of n samples."""
        shared = np.repeat(rng.standard_normal((-(-n // self.n_each), 1)), self.n_each, axis=0)[:n]
        if self.shape == "copies":  # pairs of models that share nearly all
            common = np.repeat(rng.standard_normal((n, -(-n_models // 2))), 2, axis=1)[:, :n_models]
            parts = np.sqrt(0.3) * shared + np.sqrt(0.65) * common + np.sqrt(0.05) * rng.standard_normal((n, n_models))
        else:
            parts = np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * rng.standard_normal(
                (n, n_models)
            )
        uniform = ndtr(parts)
        values = self.values(n_models)
        hits = (uniform < values).astype(float)
        if self.shape == "spreads":  # graded credits of the same mean as the hits of the next model
            graded = np.clip(values + 0.25 * (uniform - 0.5), 0, 1)
            return np.where(np.arange(n_models) % 2 == 1, hits, graded)
        if self.shape == "skewed":
            return _skewed(uniform, values)
        if self.shape == "both ways":
            return np.where(
                np.arange(n_models) % 4 == 3, 2 * values - _skewed(uniform, values), _skewed(uniform, values)
            )
        if self.shape == "reciprocal":  # of a geometric rank, whose mean reciprocal is the value
            return _reciprocal(uniform, values)
        return hits


def _skewed(uniform: Table, values: np.ndarray) -> Table:
    """Return the value of every second model, and around it those of the others: many rise a little, few fall far."""
    fall = values * 0.04
    changed = np.select([uniform < 0.04, uniform < 0.34], [0.0, values + fall / 0.3], values)
    return np.where(np.arange(len(values)) % 2 == 1, changed, values)


def _reciprocal(uniform: Table, values: np.ndarray) -> Table:
    """Return reciprocal ranks by a law of 1, 1/2, 1/5 and 0 whose mean is the value."""
    share = values / (0.5 + 0.3 * 0.5 + 0.2 * 0.2)
    cut = np.cumsum(np.stack([0.5 * share, 0.3 * share, 0.2 * share]), axis=0)
    return np.select([uniform < cut[0], uniform < cut[1], uniform < cut[2]], [1.0, 0.5, 0.2], 0.0)


WORLDS = (
    World(name="equal"),
    World(name="equal, rarely right", level=0.03),
    World(name="equal, nearly always right", level=0.98),
    World(name="equal, pairs of near copies", shape="copies"),
    World(name="equal, other spreads", shape="spreads"),
    World(name="equal, reciprocal ranks", level=0.4, shape="reciprocal"),
    World(name="equal, few fall far", level=0.5, shape="skewed"),
    World(name="equal, few fall or rise far", level=0.5, shape="both ways"),
    World(name="equal, clusters of 5", n_each=5),
    World(name="graded, 1 point", step=0.01),
    World(name="graded, 4 points", step=0.04),
    World(name="graded, pairs of near copies", step=0.02, shape="copies"),
    World(name="graded, other spreads", step=0.02, shape="spreads"),
    World(name="graded, reciprocal ranks", level=0.4, step=0.02, shape="reciprocal"),
    World(name="graded, few fall far", level=0.5, step=0.02, shape="skewed"),
    World(name="graded, clusters of 5", step=0.02, n_each=5),
)


def holm_p_values(credits: Table, clusters: np.ndarray | None) -> np.ndarray:
    """Return the p-values of all pairs by a test of each and Holm's correction."""
    p_values = []
    for first, second in zip(*model_pairs(credits.shape[1]), strict=True):
        changes = credits[:, second] - credits[:, first]
        if clusters is None and np.isin(changes, (-1, 0, 1)).all():
            p_values.append(mcnemar(int((changes > 0).sum()), int((changes < 0).sum())).p_value)
        else:
            law = law_of_mean(changes.mean(), changes - changes.mean(), clusters, largest=1.0)
            p_values.append(float(law.p_values()[0]))
    return np.array(holm(p_values))


def true_ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best and the worst rank of each model; equal models share all their ranks."""
    rounded = np.round(values, 9)
    return 1 + (rounded[:, None] > rounded).sum(axis=0), len(values) - (rounded[:, None] > rounded).sum(axis=1)


def simulate(world: World, n: int, n_models: int, n_simulations: int) -> dict[str, object]:
    """Return a line of the results: coverage and mean width, by the product and by Holm over pairs."""
    rng = np.random.default_rng([n, n_models, sum(map(ord, world.name))])
    best, worst = true_ranks(world.values(n_models))
    outcomes: Outcomes = {name: [] for name in ("law", "Holm")}
    clusters = np.arange(n) // world.n_each if world.n_each > 1 else None
    for simulation in range(n_simulations):
        credits = world.draw(rng, n, n_models)
        p_values_by_method = {"law": pair_p_values(credits, clusters, rng, n_draws=N_DRAWS)}
        if simulation < N_HOLM:
            p_values_by_method["Holm"] = holm_p_values(credits, clusters)
        for method, p_values in p_values_by_method.items():
            bounds = rank_bounds(credits.mean(axis=0), p_values)
            is_inside = (bounds.low <= best).all() and (bounds.high >= worst).all()
            _add(outcomes[method], is_inside, (bounds.high - bounds.low + 1).mean())
    facts = {"world": world.name, "n": n, "models": n_models, "simulations": n_simulations}
    return {**facts, **_rates(outcomes)}


@dataclass(frozen=True, kw_only=True)
class TaskWorld:
    """A law of tasks: the true values of models differ from task to task."""

    name: str
    step: float
    """Difference of the true values of one model and the next, over all tasks."""
    moves: float = 0.0
    """Standard deviation of a model's true value over tasks."""
    reversed_tasks: float = 0.0
    """Share of tasks in which the order of the models is reversed."""

    def values(self, rng: np.random.Generator, n_models: int) -> np.ndarray:
        """Return the true values on a task."""
        values = 0.7 - self.step * np.arange(n_models) + self.moves * rng.standard_normal(n_models)
        return np.clip(values[::-1] if rng.random() < self.reversed_tasks else values, 0.02, 0.98)


TASK_WORLDS = (
    TaskWorld(name="mean rank, equal models", step=0.0),
    TaskWorld(name="mean rank, models differ more than tasks", step=0.04, moves=0.02),
    TaskWorld(name="mean rank, tasks differ more than models", step=0.02, moves=0.1),
    TaskWorld(name="mean rank, a tenth of the tasks reversed", step=0.05, reversed_tasks=0.1),
)


def task_hits(rng: np.random.Generator, values: np.ndarray, n: int) -> Table:
    """Return the hits of n samples of a task."""
    parts = np.sqrt(0.6) * rng.standard_normal((n, 1)) + np.sqrt(0.4) * rng.standard_normal((n, len(values)))
    return (ndtr(parts) < values).astype(float)


def mean_ranks(world: TaskWorld, rng: np.random.Generator, n: int, n_models: int) -> np.ndarray:
    """Return the mean ranks of models over 20,000 tasks, as n samples of each show them."""
    untested = np.ones(n_models * (n_models - 1) // 2)
    values = (world.values(rng, n_models) for _ in range(20_000))
    return np.mean([rank_bounds(task_hits(rng, task, n).mean(axis=0), untested).rank for task in values], axis=0)


def simulate_tasks(world: TaskWorld, n_tasks: int, n_models: int, n_simulations: int) -> dict[str, object]:
    """Return coverage and mean width of the mean rank over these tasks, and over new ones next to Student's t."""
    rng, n = np.random.default_rng([n_tasks, n_models, sum(map(ord, world.name))]), 200
    truth = mean_ranks(world, rng, n, n_models)
    outcomes: Outcomes = {name: [] for name in ("these", "new", "t")}
    for _ in range(n_simulations):
        values = [world.values(rng, n_models) for _ in range(n_tasks)]
        of_tasks = []
        for task in values:
            hits = task_hits(rng, task, n)
            p_values = pair_p_values(hits, None, rng, n_draws=N_DRAWS)
            of_tasks.append(rank_bounds(hits.mean(axis=0), p_values, alpha=ALPHA / n_tasks))
        best, worst = np.mean([true_ranks(task) for task in values], axis=0)
        low, high = (np.mean([getattr(bounds, side) for bounds in of_tasks], axis=0) for side in ("low", "high"))
        _add(outcomes["these"], (low <= best + 1e-9).all() and (high >= worst - 1e-9).all(), (high - low).mean())
        ranks = np.array([bounds.rank for bounds in of_tasks])
        if n_tasks >= MIN_NEW_TASKS:
            low, high = np.transpose([new_task_interval(column, n_models).bounds for column in ranks.T])
            _add(outcomes["new"], ((low <= truth) & (truth <= high)).all(), (high - low).mean())
            reach = stdtrit(n_tasks - 1, 1 - ALPHA / 2 / n_models) * ranks.std(axis=0, ddof=1) / np.sqrt(n_tasks)
            _add(outcomes["t"], (np.abs(ranks.mean(axis=0) - truth) <= reach).all(), 2 * reach.mean())
    facts = {"world": world.name, "tasks": n_tasks, "models": n_models, "simulations": n_simulations}
    return {**facts, **_rates(outcomes)}


def _add(pairs: list[tuple[float, float]], is_inside: np.bool, width: float) -> None:
    pairs.append((bool(is_inside), float(width)))


def _rates(outcomes: Outcomes) -> dict[str, float]:
    return {
        f"{method} {name}": round(float(rate), 4)
        for method, pairs in outcomes.items()
        for name, rate in zip(("coverage", "width"), np.mean(pairs, axis=0) if pairs else (0, 0), strict=True)
    }


def simulations(arguments: argparse.Namespace, done: set[tuple[str, int, int]]) -> Iterator[dict[str, object]]:
    """Yield a line for each world whose name has one of the words, and each size; those that are done are left out."""
    words, n_simulations = arguments.worlds, arguments.simulations
    for world, n, n_models in product(WORLDS, arguments.n, arguments.models):
        if any(word in world.name for word in words) and (world.name, n, n_models) not in done:
            yield simulate(world, n, n_models, n_simulations)
    for task_world, n_tasks, n_models in product(TASK_WORLDS, (2, 6, 12), arguments.models):
        if any(word in task_world.name for word in words) and (task_world.name, n_tasks, n_models) not in done:
            yield simulate_tasks(task_world, n_tasks, n_models, n_simulations)


def summary(lines: list[dict[str, float | str]]) -> Iterator[str]:
    """Yield Markdown: a row for each world and size, with the rates of 3, 5 and 12 models."""
    for size, methods in (("n", ("law", "Holm")), ("tasks", ("these", "new", "t"))):
        rates = [f"{method} {rate}" for rate in ("coverage", "width") for method in methods]
        yield f"\n| world | {size} | {' | '.join(rates)} |\n|---|--:|{'---|' * len(rates)}"
        rows: dict[tuple[str, float | str], dict[str, list[str]]] = {}
        for line in (line for line in lines if size in line):
            row = rows.setdefault((str(line["world"]).removeprefix("mean rank, "), line[size]), {})
            for rate in rates:
                is_measured = line[rate.replace("coverage", "width")]
                text = f"{line[rate]:.3f}".removeprefix("0") if "coverage" in rate else f"{line[rate]:.2f}"
                row.setdefault(rate, []).append(text if is_measured else "–")
        for (world, n), row in rows.items():
            yield f"| {world} | {n} | {' | '.join(' · '.join(row[rate]) for rate in rates)} |"


def main() -> None:
    """Append the results of all worlds to a file, or print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--worlds", nargs="*", default=[""], help="words of their names")
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--n", type=int, nargs="*", default=(100, 500), help="samples")
    parser.add_argument("--models", type=int, nargs="*", default=(3, 5, 12))
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    texts = arguments.file.read_text().splitlines() if arguments.file.is_file() else []
    lines = [json.loads(text) for text in texts]
    if arguments.summary:
        print("\n".join(summary(lines)))
        return
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    done = {(line["world"], line.get("n", line.get("tasks")), line["models"]) for line in lines}
    for line in simulations(arguments, done):
        with arguments.file.open("a") as file:
            print(json.dumps(line), file=file)


if __name__ == "__main__":
    main()
