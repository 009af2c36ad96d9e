"""How often a gate fails, claims "within" and claims "equal": a table of experiments/coverage.md.

    python experiments/rates_gate.py --draws 2000     # half an hour on two cores

Six correlated metrics have the same true loss, which is a multiple of the limit of one point. Each draw goes through the
tests of ``clipbench compare`` and the rule of the gate.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from clipbench.comparison.families_of_tests import with_verdicts
from clipbench.comparison.gate import apply_gate
from clipbench.comparison.gate_rules import Gate
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import CompareOptions, Comparison
from clipbench.results.metric_name import MetricName
from clipbench.results.record import Metric
from clipbench.stats.differences import paired_difference
from clipbench.stats.significance import ALPHA

PAGE = Path(__file__).parent / "coverage.md"
START, END = "<!-- rates of the gate: python experiments/rates_gate.py -->", "<!-- end -->"
LIMIT = 0.01
TIMES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""True losses, in limits."""
SHARES = (0.4, 0.55, 0.6, 0.65, 0.7, 0.8)
"""Mean credit of the base in each metric."""
SHARED_BY_METRICS, SHARED_BY_MODELS = 0.6, 0.9
"""Correlation of two metrics of one model on a sample, and of two models in one metric."""


@dataclass(frozen=True)
class Law:
    """How samples are drawn."""

    name: str
    ns: Sequence[int]
    per_cluster: int = 1
    is_graded: bool = False


LAWS = (
    Law("hits", (300, 2_000, 10_000)),
    Law("hits, five captions per image", (2_000,), per_cluster=5),
    Law("graded credits", (300,), is_graded=True),
)


class Cell(NamedTuple):
    """A row of the table before it is simulated."""

    law: Law
    n: int
    times: float


class Rates(NamedTuple):
    """What the draws of a cell did."""

    fails: float
    """Fraction of the draws with status 1."""
    is_open: float
    """Fraction with a metric that is not decided."""
    within: float
    """Fraction of the metrics that are within the limit."""
    inside: float
    """Fraction of the metrics whose whole interval is within the limit: if all are, the word is *equal*."""
    equal: float
    """Fraction of the draws with the word *equal*."""


def credits(law: Law, n: int, loss: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the credits of base and candidate, each of shape n metrics."""
    n_metrics, n_clusters = len(SHARES), n // law.per_cluster
    common = np.repeat(rng.normal(size=(n_clusters, 1)), law.per_cluster, axis=0)
    own = rng.normal(size=(n, n_metrics))
    base = math.sqrt(SHARED_BY_METRICS) * common + math.sqrt(1 - SHARED_BY_METRICS) * own
    noise = rng.normal(size=(n, n_metrics))
    candidate = SHARED_BY_MODELS * base + math.sqrt(1 - SHARED_BY_MODELS**2) * noise
    before, after = np.array(SHARES), np.array(SHARES) - loss
    if law.is_graded:  # the mean of ndtr(mean + standard normal) is ndtr(mean / sqrt(2))
        means = math.sqrt(2) * ndtri([before, after])
        return ndtr(means[0] + base), ndtr(means[1] + candidate)
    return (base < ndtri(before)).astype(np.float64), (candidate < ndtri(after)).astype(np.float64)


def compared(before: np.ndarray, after: np.ndarray, per_cluster: int, rng: np.random.Generator) -> Comparison:
    """Return the comparison of two models by their credits, held against the gate."""
    clusters = None if per_cluster == 1 else np.arange(len(before)) // per_cluster
    differences, sides = list[Difference](), (dict[MetricName, Metric](), dict[MetricName, Metric]())
    for index, columns in enumerate(zip(before.T, after.T, strict=True)):
        name = f"recall@{index + 1}"
        base, candidate = (
            Metric(value=float(column.mean()), n=len(column), column="x", higher_is_better=True) for column in columns
        )
        assert base.value is not None and candidate.value is not None
        test = paired_difference(
            base, candidate, before={"x": columns[0]}, after={"x": columns[1]}, clusters=clusters, rng=rng
        )
        low, high, method = test.interval
        difference = Difference(
            evaluation="retrieval@birds",
            name=name,
            base=base,
            candidate=candidate,
            value=candidate.value - base.value,
            low=low,
            high=high,
            lower_bound=test.bounds.low,
            upper_bound=test.bounds.high,
            n=test.n,
            method=method,
            test=test.test,
            p_value=test.p_value,
            power=test.power,
            is_identical=test.is_identical,
        )
        differences.append(difference)
        for side, metric in zip(sides, (base, candidate), strict=True):
            side[MetricName("retrieval@birds", name)] = metric
    comparison = Comparison(
        base="base", candidate="candidate", differences=with_verdicts(differences, CompareOptions())
    )
    return apply_gate(comparison, Gate.from_options("1pp"), base=sides[0], candidate=sides[1], alpha=ALPHA)


def simulate(cell: Cell, n_draws: int) -> Rates:
    """Return the rates of a cell."""
    rng = np.random.default_rng([cell.n, cell.law.per_cluster, cell.law.is_graded, round(10 * cell.times)])
    n_fails = n_open = n_within = n_inside = n_equal = 0
    for _ in range(n_draws):
        found = compared(*credits(cell.law, cell.n, cell.times * LIMIT, rng), cell.law.per_cluster, rng)
        n_fails += found.exit_status == 1
        n_open += bool(found.gate.with_status("not decided"))
        n_within += len(found.gate.with_status("within"))
        n_inside += sum(outcome.is_within_limit for outcome in found.gate.outcomes)
        n_equal += found.verdict == "equal"
    n_metrics = n_draws * len(SHARES)
    return Rates(n_fails / n_draws, n_open / n_draws, n_within / n_metrics, n_inside / n_metrics, n_equal / n_draws)


def table(rates: Mapping[Cell, Rates], n_draws: int) -> str:
    """Return the table in Markdown."""
    lines = [
        f"{n_draws:,} draws per row; the standard error of a rate is at most {0.5 / math.sqrt(n_draws):.3f}.",
        "",
        (
            "| samples | true loss, in limits | status 1 | a metric is not decided | metrics *within* | metrics with the whole"
            " interval within | *equal* |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for cell, found in rates.items():
        row = " | ".join(f"{rate:.3f}" for rate in found)
        lines.append(f"| {cell.n:,}, {cell.law.name} | {cell.times:g} | {row} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate all cells, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    n_draws = parser.parse_args().draws
    cells = [Cell(law, n, times) for law in LAWS for n, times in product(law.ns, TIMES)]
    rates = {}
    with ProcessPoolExecutor(2) as pool:
        for cell, found in zip(cells, pool.map(simulate, cells, [n_draws] * len(cells)), strict=True):
            rates[cell] = found
            print(cell, found, flush=True)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{table(rates, n_draws)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
