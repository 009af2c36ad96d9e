"""The law of a mean: against random weights, against exact bounds of hits, and how often it errs."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from clipbench.metrics.classification import recall_influence
from clipbench.stats.clusters import standard_error
from clipbench.stats.intervals import trials_of_means
from clipbench.stats.mean_law import UNSEEN, UNSEEN_OF_ONE_SIDE, LawPower, MeanLaws, interval_over_parts, law_of_mean

Draw = Callable[[np.random.Generator, int], np.ndarray]


def law_of(changes: np.ndarray, clusters: np.ndarray | None = None, *, largest: float | None = 1.0) -> MeanLaws:
    mean = float(changes.mean())
    return law_of_mean(mean, changes - mean, clusters, largest=largest)


def gain_of_rank(rank: np.ndarray) -> np.ndarray:
    return 1 / np.log2(rank + 1)


def rises(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of nDCG: 30 % rise by a rank, and so few fall from the first rank that the mean is 0."""
    ranks = rng.integers(3, 8, n)
    every = np.arange(3, 8)
    balance = 0.3 * float((gain_of_rank(every - 1) - gain_of_rank(every)).mean())
    chance = rng.random(n)
    return np.where(
        chance < 0.3, gain_of_rank(ranks - 1) - gain_of_rank(ranks), np.where(chance > 1 - balance, -1.0, 0)
    )


def falls(rng: np.random.Generator, n: int) -> np.ndarray:
    return -rises(rng, n)


def reciprocal_ranks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of which 25 % fall by a rank, and few rise to the first."""
    ranks, every = rng.integers(4, 11, n), np.arange(4, 11)
    balance = 0.25 * float((1 / every - 1 / (every + 1)).mean()) / 0.9
    chance = rng.random(n)
    return np.where(chance < 0.25, 1 / (ranks + 1) - 1 / ranks, np.where(chance > 1 - balance, 0.9, 0))


def even_steps(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return changes of which none is as large as the gain of all others, so that no sample shows its own spread."""
    return np.where(rng.random(n) < 0.02 / 1.02, -1.0, 0.02)


LAWS: dict[str, Draw] = {each.__name__: each for each in (rises, falls, reciprocal_ranks, even_steps)}


@pytest.mark.parametrize("n", [4, 12, 60])
@pytest.mark.parametrize("unseen", [UNSEEN, UNSEEN_OF_ONE_SIDE])
def test_bounds_are_those_of_random_weights(n: int, unseen: float) -> None:
    rng = np.random.default_rng(n)
    changes = np.where(rng.random(n) < 0.5, rng.uniform(-0.3, 0.5, n), 0.0)
    law = law_of(changes)
    weights = rng.gamma(np.append(law.counts[0], unseen), size=(200_000, law.counts.shape[1] + 1))
    weights /= weights.sum(axis=1, keepdims=True)
    low, high = (float(bound[0]) for bound in law.bounds(0.025, unseen=unseen))
    for bound, end in ((low, -1.0), (-high, 1.0)):
        means = weights @ np.append(law.levels[0], end)
        assert (means < abs(bound) * np.sign(bound) if end < 0 else -means < bound).mean() == pytest.approx(
            0.025, rel=0.12
        )


@pytest.mark.parametrize(("n", "n_lost"), [(10, 0), (10, 3), (50, 1), (200, 20)])
def test_with_a_whole_unit_unseen_bounds_of_hits_are_exact(n: int, n_lost: int) -> None:
    """A loss is 1 of a range from 0 to 1: Clopper and Pearson's upper bound."""
    changes = np.repeat([-1.0, 0.0], [n_lost, n - n_lost])
    law = MeanLaws(np.array([[-1.0, 0.0]]), np.array([[float(n_lost), float(n - n_lost)]]), -np.ones(1), np.ones(1))
    low, _ = law.bounds(0.05, unseen=1.0)
    expected = scipy.stats.beta(n_lost + 1, n - n_lost).ppf(0.95)
    assert -low[0] == pytest.approx(expected, rel=0.02 if n_lost else 0.1)  # the saddle point of one unit is rough
    assert changes.mean() >= low[0]


@pytest.mark.simulation
@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("name", LAWS)
def test_skewed_changes_without_a_mean_are_claimed_in_five_percent_at_most(name: str, n: int) -> None:
    rng, n_draws = np.random.default_rng(3), 200
    n_claimed = sum(law_of(LAWS[name](rng, n)).p_values()[0] <= 0.05 for _ in range(n_draws))
    assert n_claimed <= scipy.stats.binom.isf(0.001, n_draws, 0.05)


@pytest.mark.parametrize("largest", [1.0, None])
def test_the_interval_excludes_0_exactly_where_p_is_at_most_its_level(largest: float | None) -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        changes = rng.normal(rng.uniform(0, 0.15), 0.2, 40)
        law = law_of(changes, largest=largest)
        low, high = law.bounds(0.025)
        assert (law.p_values()[0] <= 0.05) == (not low[0] <= 0 <= high[0])


def test_the_law_of_several_means_is_that_of_each() -> None:
    rng = np.random.default_rng(4)
    levels, counts = np.tile([-1.0, 0.0, 0.5], (6, 1)), rng.integers(0, 30, (6, 3)).astype(np.float64)
    together = MeanLaws(levels, counts, -np.ones(6), np.ones(6))
    for row in range(6):
        laws = MeanLaws(levels[[row]], counts[[row]], -np.ones(1), np.ones(1))
        assert laws.p_values() == pytest.approx(together.p_values()[[row]], rel=1e-9)
        assert np.ravel(laws.bounds(0.01)) == pytest.approx(np.array(together.bounds(0.01))[:, row], rel=1e-9)


def test_the_mirror_image_has_the_mirrored_interval() -> None:
    changes = rises(np.random.default_rng(5), 80)
    one, other = law_of(changes), law_of(-changes)
    assert one.p_values() == pytest.approx(other.p_values())
    assert np.ravel(one.bounds(0.025)) == pytest.approx(-np.ravel(other.bounds(0.025))[::-1])


def test_units_that_all_change_by_the_same_amount_leave_the_unseen_one() -> None:
    law = law_of(np.full(20, 0.3))
    low, high = (float(bound[0]) for bound in law.bounds(0.025))
    assert low < 0.3 < high <= 1
    assert law_of(np.zeros(20)).p_values()[0] == 1


@pytest.mark.parametrize("together", [False, True])
def test_an_unseen_cluster_changes_as_much_together_as_those_that_were_seen(together: bool) -> None:
    rng, clusters = np.random.default_rng(6), np.arange(200) // 5
    each = rng.choice([-1.0, 0.0, 1.0], 40 if together else 200, p=[0.1, 0.8, 0.1])
    law = law_of(np.repeat(each, 5) if together else each, clusters)
    assert law.highest[0] == pytest.approx(1.0 if together else np.sqrt(1 / 5), rel=0.2)


@pytest.mark.simulation
@pytest.mark.parametrize("n", [30, 200])
def test_the_smallest_detectable_change_is_found_four_times_in_five(n: int) -> None:
    rng, n_draws = np.random.default_rng(7), 300
    samples = np.clip(rng.normal(0, 0.2, (n_draws, n)), -0.6, 0.6)
    powers = []
    for sample in samples[:50]:  # their median is enough, and takes most of the time
        error = standard_error(sample - sample.mean())
        powers.append(LawPower(law=law_of(sample), standard_error=error, n_units=n, largest=1.0))
    change = float(np.median([power.at(0.05) or np.nan for power in powers]))
    n_found = sum(law_of(sample + change).p_values()[0] <= 0.05 for sample in samples)
    assert scipy.stats.binom.ppf(0.0005, n_draws, 0.75) <= n_found <= scipy.stats.binom.isf(0.0005, n_draws, 0.85)


def test_a_few_equal_changes_have_p_values_half_as_large_as_those_of_a_coin() -> None:
    for n_changed in (4, 6, 10, 20):
        p_value = law_of(np.repeat([1.0, 0.0], [n_changed, 100 - n_changed])).p_values()[0]
        assert 0.3 < p_value / (2 * 0.5**n_changed) < 0.7


def test_no_detectable_change_is_larger_than_the_largest_possible_one() -> None:
    changes = np.repeat([1.0, -1.0], 3)
    power = LawPower(law=law_of(changes), standard_error=standard_error(changes), n_units=6, largest=1.0)
    assert power.least_p < 0.05 and power.at(0.05) is None


@pytest.mark.simulation
@pytest.mark.parametrize("rates", [(0.05, 0.05, 0.05), (0.023, 0.05, 0.105), (0.95, 0.9, 0.8)])
def test_the_interval_of_a_mean_over_parts_covers_where_two_of_three_have_ten_samples(rates: tuple[float, ...]) -> None:
    rng, covered = np.random.default_rng(3), []
    sizes = np.array([200, 10, 10])
    parts, chances = (np.repeat(values, sizes) for values in ([0, 1, 2], rates))
    for _ in range(300):
        credit = (rng.random(len(parts)) < chances) * 1.0
        means = np.bincount(parts, credit) / sizes
        low, high, _ = interval_over_parts(
            float(means.mean()),
            recall_influence(credit, parts),
            parts.astype(np.float64),
            None,
            most_trials=trials_of_means(means, sizes),
        )
        assert low is not None and high is not None
        covered.append(low <= np.mean(rates) <= high)
    assert np.mean(covered) >= 0.93  # 0.95 less 1.6 standard errors; of effective samples alone .75 to .93
