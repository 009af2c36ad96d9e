"""Power of a comparison by how many tasks it has, and its false alarms: a table of experiments/coverage.md.

    python experiments/rates_families.py     # two minutes

Each task has a headline and metrics of other kinds, all of them hits, tested by McNemar and judged as ``clipbench
compare`` does. The headline of one task falls; of all else as many hits are gained as lost.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from clipbench.comparison.families_of_tests import with_verdicts
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import CompareOptions
from clipbench.results.record import Metric
from clipbench.stats.significance import ALPHA, holm, mcnemar

TASKS, OTHERS = (1, 2, 7), 20
"""Tasks of a comparison, and metrics of each besides its headline."""
CHANGED = 0.156
"""Share of the queries whose hit changes."""
LOSSES = {200: (0.0, 0.048, 0.096), 1_000: (0.0, 0.02, 0.043)}
"""True falls of a headline, by the number of queries: none, a small and a large one."""


@cache
def p_value(gained: int, lost: int) -> float:
    return mcnemar(gained, lost).p_value


def drawn(rng: np.random.Generator, n: int, loss: float, task: int) -> list[Difference]:
    """Return the differences of a task; its headline falls by a loss."""
    losses = np.array([loss] + [0.0] * OTHERS)
    shares = np.stack([(CHANGED - losses) / 2, (CHANGED + losses) / 2, np.full(1 + OTHERS, 1 - CHANGED)], axis=1)
    found = []
    for place, (gained, lost, _) in enumerate(rng.multinomial(n, shares).tolist()):
        metric = Metric(value=0.5, n=n, higher_is_better=True)
        value = (gained - lost) / n
        found.append(
            Difference(
                evaluation=f"task {task}",
                name=f"metric {place}",
                base=metric,
                candidate=replace(metric, value=0.5 + value),
                value=value,
                low=None,
                high=None,
                n=n,
                method="",
                test="",
                p_value=p_value(gained, lost),
                is_headline=place == 0,
            )
        )
    return found


def outcomes(differences: Sequence[Difference], *, falls: bool) -> tuple[bool, ...]:
    """Return whether the first headline is shown worse: alone, in its family, and among all; and false alarms of both
    families.
    """
    judged = with_verdicts(differences, CompareOptions())
    p_values = [each.p_value for each in differences if each.p_value is not None]
    alarms = [each for each in judged[int(falls) :] if each.verdict != "not shown"]
    return (
        differences[0].value < 0 and p_values[0] <= ALPHA,
        judged[0].verdict == "worse",
        differences[0].value < 0 and holm(p_values)[0] <= ALPHA,
        any(each.is_headline for each in alarms),
        any(not each.is_headline for each in alarms),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000)
    options = parser.parse_args()
    print("| Queries | A headline falls by | raw p | among headlines of 1 · 2 · 7 tasks | among all metrics |", end="")
    print(" false alarm, any headline | any other metric |\n|--:|--:|--:|---|---|---|---|")
    for n, loss in ((n, loss) for n, losses in LOSSES.items() for loss in losses):
        rng = np.random.default_rng([n, round(1_000 * loss)])
        rates = np.zeros((len(TASKS), 5))
        for _ in range(options.simulations):
            tasks = [drawn(rng, n, loss if task == 0 else 0.0, task) for task in range(max(TASKS))]
            rates += [outcomes([each for task in tasks[:k] for each in task], falls=loss > 0) for k in TASKS]
        raw, *others = (rates / options.simulations).T
        cells = [" · ".join(f"{each:.3f}".removeprefix("0") for each in column) for column in others]
        print(f"| {n:,} | {100 * loss:.1f} points | {raw[0]:.3f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
