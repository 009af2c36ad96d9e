"""Promises of paired tests and intervals, held against simulations: false alarms, coverage and power.

A sample is right with a chance of its own, to which the candidate adds its true advantage; beyond that each model has
its own luck, the same in a whole cluster. Each trial is a comparison by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas
import pytest
import scipy.stats

from clipbench.comparison.align import Tables
from clipbench.comparison.paired_tests import paired_test
from clipbench.results.record import Metric
from clipbench.stats import significance
from clipbench.stats.differences import PairedTest

pytestmark = pytest.mark.simulation
ALPHA = 0.05
SURE = 0.999
"""Confidence of the binomial bands: one false alarm of this file in a thousand, were its seeds not fixed."""


@dataclass(frozen=True)
class World:
    """Samples that are measured, by hits or a smooth value; they are their own clusters, or share them."""

    n: int
    per_cluster: int = 1
    is_smooth: bool = False
    is_graded: bool = False
    """Credits between 0 and 1 in the place of hits."""

    @property
    def is_wide(self) -> bool:
        """Whether intervals allow for an unseen change of the far end, and so hold these small changes more often than
        95 % (design/skewed-changes.md).
        """
        return self.is_graded and not self.is_smooth

    def trial(self, rng: np.random.Generator, advantage: float) -> PairedTest:
        """Return what is found of two models, of which the second is better by the advantage."""
        n_clusters = self.n // self.per_cluster
        groups = np.arange(self.n) % n_clusters
        chances = rng.uniform(0.1, 0.7, n_clusters)
        columns = []
        for chance in (chances, chances + advantage):
            if self.is_graded:
                column = chance + rng.uniform(-0.1, 0.1, n_clusters)
            else:
                column = (rng.random(n_clusters) < chance).astype(np.float64)
            columns.append(column[groups])
        return self._compared(columns, groups, rng)

    def _compared(self, columns: Sequence[np.ndarray], groups: np.ndarray, rng: np.random.Generator) -> PairedTest:
        before, after = (float(column.mean()) for column in columns)
        values = [column - column.mean() for column in columns] if self.is_smooth else columns
        base, candidate = (pandas.DataFrame({"value": value, "cluster": groups}) for value in values)
        metric = Metric(value=before, influence="value") if self.is_smooth else Metric(value=before, column="value")
        tables = Tables(base, candidate)
        paired_result = paired_test(metric, replace(metric, value=after), tables=tables, rng=rng)
        n_differing = int((columns[0] != columns[1]).sum()) // self.per_cluster
        return replace(paired_result, test=str(n_differing))  # all that is asked of the test's name


WORLDS = {
    "hits": World(300),
    "clustered hits": World(600, per_cluster=3),
    "credits": World(120, is_graded=True),
    "clustered credits": World(240, per_cluster=3, is_graded=True),
    "smooth": World(300, is_smooth=True),
    "clustered smooth": World(600, per_cluster=3, is_smooth=True),
    "few clusters": World(33, per_cluster=3, is_graded=True),
    "few smooth clusters": World(33, per_cluster=3, is_smooth=True, is_graded=True),
}
QUICK = [pytest.param(name, marks=pytest.mark.slow) if "credits" in name else name for name in WORLDS]
"""Names of the worlds. Those of few clusters have graded credits, too, and take a quarter of the time."""
N_TRIALS = [100, pytest.param(2000, marks=pytest.mark.slow)]


class Trials:
    """The trials of each world, and what they can detect, made once for all that is asked of them."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, float, int], list[PairedTest]] = {}
        self.detectable: dict[tuple[str, float, int], float] = {}

    def __call__(self, name: str, advantage: float, n: int) -> list[PairedTest]:
        key = (name, advantage, n)
        if key not in self.made:
            rng = np.random.default_rng(sum(map(ord, f"{name}{advantage}")))
            self.made[key] = [WORLDS[name].trial(rng, advantage) for _ in range(n)]
        return self.made[key]

    def smallest_detectable(self, name: str, advantage: float, n: int) -> float:
        """Return the smallest detectable difference, on average."""
        key = (name, advantage, n)
        if key not in self.detectable:
            powers = [trial.power for trial in self(name, advantage, n) if trial.power is not None]
            self.detectable[key] = float(np.mean([power.at(ALPHA) for power in powers]))
        return self.detectable[key]


@pytest.fixture(scope="module")
def trials() -> Trials:
    return Trials()


@pytest.mark.parametrize("n", N_TRIALS)
@pytest.mark.parametrize("name", QUICK)
def test_models_that_are_as_good_raise_false_alarms_at_the_rate_of_the_test(name: str, n: int, trials: Trials) -> None:
    outcomes = trials(name, 0.0, n)
    n_alarms = int((p_values(outcomes) <= ALPHA).sum())
    assert n_alarms <= scipy.stats.binom.isf((1 - SURE) / 2, n, ALPHA)
    if WORLDS[name].is_wide:
        return
    sizes = [size(outcome, WORLDS[name]) for outcome in outcomes]
    assert max(sizes) <= ALPHA + 1e-12
    spread = scipy.stats.norm.isf((1 - SURE) / 2) * np.sqrt(sum(outcome * (1 - outcome) for outcome in sizes))
    assert abs(n_alarms - sum(sizes)) <= spread + 1


@pytest.mark.parametrize("n", N_TRIALS)
@pytest.mark.parametrize("name", QUICK)
def test_intervals_hold_a_true_difference_nineteen_times_in_twenty(name: str, n: int, trials: Trials) -> None:
    advantage = round(trials.smallest_detectable(name, 0.0, n), 3)
    n_holding = sum(
        trial.interval.low <= advantage <= trial.interval.high
        for trial in trials(name, advantage, n)
        if trial.interval.low is not None and trial.interval.high is not None
    )
    assert is_between(n_holding, n, 0.93, 1.0 if WORLDS[name].is_wide else 0.97)


@pytest.mark.parametrize("n", N_TRIALS)
@pytest.mark.parametrize("name", QUICK)
def test_the_smallest_detectable_difference_is_found_four_times_in_five(name: str, n: int, trials: Trials) -> None:
    advantage = round(trials.smallest_detectable(name, 0.0, n), 3)
    outcomes = trials(name, advantage, n)
    assert trials.smallest_detectable(name, advantage, n) == pytest.approx(advantage, rel=0.05)
    assert is_between(int((p_values(outcomes) <= ALPHA).sum()), n, 0.76, 0.84)


@pytest.mark.parametrize("n", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_many_metrics_together_raise_a_false_alarm_no_more_often_than_one(n: int) -> None:
    rng = np.random.default_rng(0)
    for shared in (0.0, 0.7):  # independent metrics, and metrics of the same samples
        own, common = rng.normal(size=(n, 20)), rng.normal(size=(n, 1))
        tables = np.sqrt(1 - shared**2) * own + shared * common
        alarms = [
            min(significance.holm([significance.t_test(p_value, 1.0, 100_000_000) for p_value in row])) <= ALPHA
            for row in tables
        ]
        assert sum(alarms) <= scipy.stats.binom.isf((1 - SURE) / 2, n, ALPHA)
        assert sum(alarms) >= (scipy.stats.binom.ppf((1 - SURE) / 2, n, 1 - 0.95) if shared == 0 else 1)


def p_values(paired_tests: Sequence[PairedTest]) -> np.ndarray:
    return np.array([difference.p_value for difference in paired_tests], np.float64)


def is_between(n_found: int, n: int, low: float, high: float) -> bool:
    """Whether the rate behind a count may lie between two rates; for 2,000 trials, half a point about them."""
    tail = (1 - SURE) / 2 if n < 1000 else 0.3
    return bool(scipy.stats.binom.ppf(tail, n, low) <= n_found <= scipy.stats.binom.isf(tail, n, high))


def size(paired_test: PairedTest, world: World) -> float:
    """Return how often the test raises a false alarm, given what it is of; alpha for one that is not discrete."""
    if world.is_smooth:
        return ALPHA
    return size_of_mcnemar(int(paired_test.test))


@cache
def size_of_mcnemar(n_differing: int) -> float:
    """Return how often a fair coin's test raises a false alarm after so many throws, from its definition.

    Of clusters that are of one size and of one mind, the flips are such throws too.
    """
    heads = np.arange(n_differing + 1)
    fewer = np.minimum(heads, n_differing - heads)
    alarms = np.minimum(1, 2 * scipy.stats.binom.cdf(fewer, n_differing, 0.5)) <= ALPHA
    return float(scipy.stats.binom.pmf(heads, n_differing, 0.5)[alarms].sum())
