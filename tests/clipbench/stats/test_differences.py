"""Interval and p-value of a difference agree, for every kind of metric: 0 is excluded exactly where p is at most 5
%.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import scipy.stats

from clipbench.metrics.classification import macro_f1, mean_per_class_recall
from clipbench.results.record import Metric
from clipbench.stats import intervals, significance
from clipbench.stats.differences import NO_BOUNDS, PairedTest, paired_difference
from clipbench.stats.estimators import Estimator

N_TRIALS = 80
Samples = dict[str, np.ndarray]
Both = tuple[Metric, Metric, Samples, Samples]


def columns(rng: np.random.Generator, n: int, effect: float, kind: str) -> Both:
    if kind == "hits":
        pair = [(rng.random(n) < 0.4 + by).astype(np.float64) for by in (0.0, effect)]
    elif kind == "credits":
        pair = [np.clip(np.round(3 * rng.random(n)) / 3 + by, 0, 1) for by in (0.0, effect * rng.choice([-1, 1]))]
    else:
        first = 0.1 * rng.normal(size=n)
        pair = [first, first + 0.1 * rng.normal(size=n) + 0.1 * effect]
    unit = "cosine" if kind == "cosines" else "fraction"
    one, other = (Metric(value=float(values.mean()), unit=unit, column="x") for values in pair)
    return one, other, {"x": pair[0]}, {"x": pair[1]}


def influences(rng: np.random.Generator, n: int, effect: float) -> Both:
    first = rng.normal(size=n)
    pair = [first, first + rng.normal(size=n) + effect]
    one, other = (Metric(value=float(values.mean()), unit="nats", influence="i") for values in pair)
    before, after = ({"i": values - values.mean()} for values in pair)
    return one, other, before, after


def recalls(rng: np.random.Generator, n: int, effect: float, labels: np.ndarray | None = None) -> Both:
    labels = rng.integers(0, 4, n) if labels is None else labels
    hits = [(rng.random(n) < 0.4 + by).astype(np.float64) for by in (0.0, effect)]
    estimator = Estimator("mean_over_parts", ("hit", "class"))
    return *(of_classes(estimator, mean_per_class_recall(hit, labels)) for hit in hits), *(  # type: ignore[return-value]
        {"hit": hit, "class": labels.astype(np.float64)} for hit in hits
    )


def f1_scores(rng: np.random.Generator, n: int, effect: float) -> Both:
    labels, *predicted = rng.integers(0, 4, (3, n))
    predicted[1] = np.where(rng.random(n) < effect, labels, predicted[1])
    estimator = Estimator("macro_f1", ("predicted", "class"))
    return *(of_classes(estimator, macro_f1(array, labels).value) for array in predicted), *(  # type: ignore[return-value]
        {"predicted": array.astype(np.float64), "class": labels.astype(np.float64)} for array in predicted
    )


def of_classes(estimator: Estimator, value: float) -> Metric:
    return Metric(value=value, statistic=estimator.record())


def distances(rng: np.random.Generator, n: int, effect: float) -> Both:
    metrics, tables = [], []
    for by in (0.0, effect):
        moved = 0.2 * rng.normal(size=n)
        tables.append({"i": moved - moved.mean(), "s": moved - moved.mean()})
        fields = {"influence": "i", "squared_influence": "s", "unit": "distance"}
        chance = float(rng.uniform(0.05, 0.15))
        metrics.append(Metric(value=float(rng.uniform(0.1, 0.4) + by), chance=chance, **fields))  # type: ignore[arg-type]
    return metrics[0], metrics[1], tables[0], tables[1]


def statistics(rng: np.random.Generator, n: int, effect: float, kind: str) -> Both:
    if kind == "median":
        estimator = Estimator("median", ("x",))
        tables = [{"x": np.round(rng.exponential(10, n) + 10 * by)} for by in (0.0, effect)]
    elif kind == "calibration":
        estimator = Estimator("expected_calibration_error", ("p", "hit"))
        tables = [{"p": rng.random(n), "hit": (rng.random(n) < 0.5).astype(np.float64)} for _ in range(2)]
    else:
        estimator = Estimator("first_length_reaching", ("a", "b"), {"lengths": [5, 10], "share": 0.9})
        chances = [{"a": 0.3 + by, "b": 0.9} for by in (0.0, effect)]
        tables = [{name: (rng.random(n) < p).astype(np.float64) for name, p in table.items()} for table in chances]
    one, other = (Metric(value=estimator(table), unit="rank", statistic=estimator.record()) for table in tables)
    return one, other, tables[0], tables[1]


KINDS: dict[str, Callable[[np.random.Generator, int, float], Both]] = {
    **{kind: partial(columns, kind=kind) for kind in ("hits", "credits", "cosines")},
    "smooth": influences,
    "recall": recalls,
    "macro F1": f1_scores,
    "distances": distances,
    **{kind: partial(statistics, kind=kind) for kind in ("median", "calibration", "length")},
}


def trial(kind: str, seed: int) -> tuple[PairedTest, float]:
    """Return what is found of 2 to 40 samples, in clusters or not, without an effect or with a large one."""
    rng = np.random.default_rng(seed)
    n, effect = int(rng.integers(2, 40)), float(rng.choice([0.0, 0.0, 0.2, 0.5, 2.0]))
    one, other, before, after = KINDS[kind](rng, n, effect)
    clusters = np.unique(rng.integers(0, max(1, n // 2), n), return_inverse=True)[1] if rng.random() < 0.4 else None
    if clusters is not None and len(np.unique(clusters)) == n:
        clusters = None
    assert one.value is not None and other.value is not None
    paired_result = paired_difference(one, other, before=before, after=after, clusters=clusters, rng=rng)
    return paired_result, other.value - one.value


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_excludes_0_exactly_where_p_is_at_most_5_percent(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "STATISTIC_RESAMPLES", 100)
    n_excluding = n_tested = 0
    for seed in range(N_TRIALS):
        result, value = trial(kind, seed)
        low, high, _ = result.interval
        if np.isnan(value) or result.p_value is None or low is None or high is None:
            continue
        assert (not low <= 0 <= high) == (result.p_value <= significance.ALPHA), (seed, result)
        assert low - 1e-9 <= value <= high + 1e-9 or kind in ("median", "length"), (seed, result)
        n_tested, n_excluding = n_tested + 1, n_excluding + (low > 0 or high < 0)
    assert n_tested > N_TRIALS / 2 and (kind == "calibration" or 5 < n_excluding < n_tested)


def test_a_near_miss_of_the_interval_of_the_mean_is_decided_by_the_test() -> None:
    """Five gained and none lost of 40: Wilson's gains and losses exclude 0, and five coins agree in 2 / 2^5."""
    hits = np.zeros(40), np.array([1.0] * 5 + [0.0] * 35)
    metrics = [Metric(value=float(hit.mean()), column="x") for hit in hits]
    before, after = ({"x": hit} for hit in hits)
    interval = intervals.mean_interval(hits[1] - hits[0], within=intervals.DIFFERENCES)
    paired_result = paired_difference(*metrics, before=before, after=after, clusters=None, rng=np.random.default_rng(0))
    assert interval.low is not None and interval.low > 0
    assert paired_result.p_value == 2 / 2**5 and (paired_result.interval.low, paired_result.interval.high) == (
        0.0,
        interval.high,
    )


LAWS = [(50, 1, False), (300, 1, False), (300, 5, False), (100, 1, True)]
"""Samples, samples per cluster, and whether credits are graded instead of hits."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_equal_to_itself(kind: str) -> None:
    one, _, before, _ = KINDS[kind](np.random.default_rng(0), 30, 0.0)
    paired_result = paired_difference(
        one, one, before=before, after=before, clusters=None, rng=np.random.default_rng(0)
    )
    low, high, _ = paired_result.interval
    assert (paired_result.test, paired_result.p_value) == ("equal in all 30 samples", 1.0)
    if low is None or high is None:
        assert paired_result.bounds == NO_BOUNDS
        assert paired_result.interval.method.startswith(("all samples are equal", "the delta method has no width"))
    else:
        assert low < 0 < high  # the range of the metric bounds what other samples may change


@pytest.mark.parametrize("kind", KINDS)
def test_one_sided_bounds_are_within_the_interval_around_the_value(kind: str) -> None:
    n_bounded = 0
    for seed in range(10):
        result, value = trial(kind, seed)
        low, high, _ = result.interval
        if low is None or high is None or result.bounds.low is None or result.bounds.high is None:
            continue
        assert low <= result.bounds.low <= result.bounds.high <= high, (seed, result)
        assert result.bounds.low - 1e-9 <= value <= result.bounds.high + 1e-9 or kind in ("median", "length")
        n_bounded += 1
    assert n_bounded >= 5


@pytest.mark.simulation
@pytest.mark.parametrize("n_draws", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.2])
@pytest.mark.parametrize(("n", "per_cluster", "is_graded"), LAWS)
def test_a_one_sided_bound_is_missed_in_one_of_twenty_draws_at_most(
    n: int, per_cluster: int, is_graded: bool, loss: float, n_draws: int
) -> None:
    """The base has 60 % right. The candidate gains 5 % of the others, and loses what makes up the loss."""
    rng, n_missed = np.random.default_rng(5), 0
    clusters = None if per_cluster == 1 else np.arange(n) // per_cluster
    lost_share = (loss + 0.4 * 0.05) / 0.6
    for _ in range(n_draws):
        is_right = np.repeat(rng.random(n // per_cluster) < 0.6, per_cluster)  # all captions of an image, or none
        stays_right = is_right & (rng.random(n) >= lost_share)
        becomes_right = ~is_right & (rng.random(n) < 0.05)
        credits = rng.uniform(0.5, 1.0, (2, n)) if is_graded else np.ones((2, n))
        before, after = is_right * credits[0], (stays_right | becomes_right) * credits[1]
        metrics = [Metric(value=float(column.mean()), column="x") for column in (before, after)]
        paired_result = paired_difference(
            *metrics, before={"x": before}, after={"x": after}, clusters=clusters, rng=rng
        )
        assert paired_result.bounds.low is not None
        n_missed += paired_result.bounds.low > -loss * (0.75 if is_graded else 1.0)
    assert n_missed <= scipy.stats.binom.isf(0.001, n_draws, 0.05)


@pytest.mark.parametrize("n", [50, 120, 300])
@pytest.mark.parametrize("n_lost", [1, 2, 3, 4.25, 6, 10])
def test_the_bound_of_rare_losses_is_missed_in_one_of_twenty_by_the_binomial_law(n: int, n_lost: float) -> None:
    """No sample improves. The chance of each number of losses is known, so that nothing is drawn."""
    rng, missed = np.random.default_rng(0), 0.0
    for count in range(25):
        before, after = np.ones(n), (np.arange(n) >= count).astype(np.float64)
        metrics = [Metric(value=float(column.mean()), column="x") for column in (before, after)]
        paired_result = paired_difference(*metrics, before={"x": before}, after={"x": after}, clusters=None, rng=rng)
        assert paired_result.bounds.low is not None
        missed += float(scipy.stats.binom.pmf(count, n, n_lost / n)) * (paired_result.bounds.low > -n_lost / n)
    assert missed <= 0.052


@pytest.mark.parametrize(("per_cluster", "n_needed"), [(1, 6), (5, 5)])
def test_identical_hits_show_a_loss_of_whole_clusters(per_cluster: int, n_needed: int) -> None:
    """With a chance of 80 %, so many of 60 units change as the test needs, whatever a unit holds."""
    hits = np.ones(60 * per_cluster)
    clusters = None if per_cluster == 1 else np.arange(len(hits)) // per_cluster
    metric, table = Metric(value=1.0, column="x"), {"x": hits}
    rng = np.random.default_rng(0)
    paired_result = paired_difference(metric, metric, before=table, after=table, clusters=clusters, rng=rng)
    loss = paired_result.power and paired_result.power.at(0.05)
    assert loss and scipy.stats.binom.sf(n_needed - 1, 60, loss) == pytest.approx(0.8)


def test_identical_values_without_a_range_have_no_detectable_loss() -> None:
    metric, table = Metric(value=0.25, unit="cosine", column="x"), {"x": np.full(60, 0.25)}
    rng = np.random.default_rng(0)
    paired_result = paired_difference(metric, metric, before=table, after=table, clusters=None, rng=rng)
    assert paired_result.power is not None and paired_result.power.at(0.05) is None


# Means over classes ----------------------------------------------------------------------------------------------------


def rates(
    sizes: list[int], gain: float, loss: float, n_trials: int = 200, in_clusters_of: int = 1
) -> tuple[float, float]:
    """Return how often the interval of mean per-class recall covers what is true, and how often it excludes 0."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    clusters = None if in_clusters_of == 1 else np.arange(len(labels)) // in_clusters_of
    estimator, covers, excludes = Estimator("mean_over_parts", ("hit", "class")), 0, 0
    for _ in range(n_trials):
        chance = np.repeat(rng.random(len(labels) // in_clusters_of), in_clusters_of)
        hits = [(chance >= gain).astype(np.float64), np.where(chance < gain, 1.0, chance < 1 - loss)]
        metrics = [of_classes(estimator, mean_per_class_recall(hit, labels)) for hit in hits]
        before, after = ({"hit": hit, "class": labels.astype(np.float64)} for hit in hits)
        paired_result = paired_difference(*metrics, before=before, after=after, clusters=clusters, rng=rng)
        low, high = paired_result.interval.bounds
        covers, excludes = covers + (low <= gain - loss <= high), excludes + (low > 0 or high < 0)
    return covers / n_trials, excludes / n_trials


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("sizes", "loss"), [([2] * 8 + [40] * 2, 0.02), ([10] * 10, 0.03), ([2, 3, 4, 6, 9, 13, 19, 28, 41, 60], 0.03)]
)
def test_a_loss_that_small_classes_rarely_show_is_covered(sizes: list[int], loss: float) -> None:
    assert rates(sizes, 0.0, loss)[0] >= 0.91


@pytest.mark.simulation
@pytest.mark.parametrize("in_clusters_of", [1, 4])
def test_equal_models_are_told_apart_in_one_of_twenty_cases_at_most(in_clusters_of: int) -> None:
    assert rates([20] * 10, 0.05, 0.05, in_clusters_of=in_clusters_of)[1] <= 0.085  # 2.5 standard errors more


def test_a_large_loss_is_found() -> None:
    assert rates([20] * 10, 0.02, 0.2, 50) == pytest.approx((0.95, 1.0), abs=0.06)


def test_gains_of_one_class_make_up_for_losses_of_another() -> None:
    """Six gained of a class of 60 and two lost of one of 20: signs that are flipped would be a test of samples."""
    labels = np.repeat([0, 1], [60, 20])
    before, after = np.zeros(80), np.zeros(80)
    after[:6], before[60:62] = 1.0, 1.0
    metrics = [of_classes(Estimator("mean_over_parts", ("hit", "class")), 0.05) for _ in range(2)]
    tables = [{"hit": table, "class": labels.astype(np.float64)} for table in (before, after)]
    paired_result = paired_difference(
        *metrics, before=tables[0], after=tables[1], clusters=None, rng=np.random.default_rng(0)
    )
    assert paired_result.p_value == 1.0 and significance.mcnemar(6, 2).p_value < 0.3


def test_few_changed_predictions_of_many_classes_are_no_evidence() -> None:
    """Three of 100 images of 50 classes are right in one model alone, where McNemar's p is 1/4."""
    labels = np.arange(100) % 50
    predicted = np.stack([labels, labels])
    predicted[0, [3, 20, 70]] = [4, 21, 40]
    metrics = [of_classes(Estimator("macro_f1", ("predicted", "class")), macro_f1(p, labels).value) for p in predicted]
    tables = [{"predicted": p.astype(np.float64), "class": labels.astype(np.float64)} for p in predicted]
    paired_result = paired_difference(
        *metrics, before=tables[0], after=tables[1], clusters=None, rng=np.random.default_rng(0)
    )
    assert paired_result.p_value is not None and paired_result.p_value > 0.05


@pytest.mark.parametrize("kind", ["recall", "macro F1"])
def test_classes_without_samples_change_nothing(kind: str) -> None:
    one, other, before, after = KINDS[kind](np.random.default_rng(4), 40, 0.3)
    rng, apart = np.random.default_rng(0), [dict(each) for each in (before, after)]
    for table in apart:
        table |= {name: 3 * column for name, column in table.items() if name in ("class", "predicted")}
    plain, result = (
        paired_difference(one, other, before=tables[0], after=tables[1], clusters=None, rng=rng)
        for tables in ((before, after), apart)
    )
    assert result == plain and plain.p_value is not None and plain.p_value < 1


# The calibration error -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "second"), [(100, 0.0), (300, 0.1), (1000, 0.1)])
def test_a_difference_of_true_calibration_errors_is_covered(n: int, second: float) -> None:
    rng, named, covers = np.random.default_rng(0), Estimator("expected_calibration_error", ("p", "hit")), 0
    for _ in range(40):
        p, luck = rng.uniform(0.1, 1.0, n), rng.random(n)
        tables = [{"p": p, "hit": (luck < np.maximum(p - by, 0)).astype(np.float64)} for by in (0.0, second)]
        metrics = [Metric(value=named(table), statistic=named.record()) for table in tables]
        paired_result = paired_difference(*metrics, before=tables[0], after=tables[1], clusters=None, rng=rng)
        low, high, _ = paired_result.interval
        covers += second == 0 if low is None or high is None else low <= second <= high  # equal models have none
    assert covers >= 36
