"""The word of a comparison: which evidence leads to which word, and how often it is wrong."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from clipbench.comparison.compare_runs import compare
from clipbench.comparison.gate import apply_gate
from clipbench.comparison.gate_rules import Gate, Tolerance
from clipbench.comparison.metric_difference import Difference, Verdict
from clipbench.comparison.overall import with_verdict
from clipbench.comparison.records import Comparison
from clipbench.results.metric_name import MetricName
from clipbench.results.record import DatasetRecord, Metric
from tests.clipbench.comparison.test_compare import Held, evaluation, held
from tests.clipbench.comparison.test_gate import comparison
from tests.clipbench.conftest import MakeDifference


def headline(make: MakeDifference, verdict: Verdict, number: int = 1, **changes: object) -> Difference:
    difference = make(f"retrieval@birds/recall@{number}", 0.6, 0.5, 0.001, verdict=verdict)
    return replace(difference, is_headline=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "word"),
    [
        (["worse", "not shown"], "worse"),
        (["better", "not shown"], "better"),
        (["better", "worse"], "mixed"),
        (["equivalent", "equivalent"], "equal"),
        (["equivalent", "not shown"], "undecided"),
        (["different"], "undecided"),
        (["not tested"], "undecided"),
        ([], "undecided"),
    ],
)
def test_headlines_decide_if_nothing_is_gated(difference: MakeDifference, verdicts: list[Verdict], word: str) -> None:
    headlines = [headline(difference, verdict, number) for number, verdict in enumerate(verdicts)]
    explored = difference("retrieval@birds/mrr", 0.6, 0.1, 0.001, verdict="worse")
    assert with_verdict(comparison(*headlines, explored)).verdict == word


def test_identical_samples_are_equal_only_if_their_interval_is_within_the_limit(difference: MakeDifference) -> None:
    identical = headline(difference, "not shown", value=0.0, p_value=1.0, low=-0.03, high=0.03, is_identical=True)
    result = with_verdict(comparison(identical))
    assert (result.verdict, result.reason) == (
        "undecided",
        "all samples of 1 headline metric are identical, others may differ by 3.00 pp",
    )
    metrics = {MetricName("retrieval@birds", "recall@1"): identical.base}
    for limit, word in (("2pp", "undecided"), ("3pp", "equal")):
        gate = Gate.from_options(limit)
        gated = apply_gate(comparison(identical), gate, base=metrics, candidate=metrics, alpha=0.05)
        assert gated.verdict == word


def test_an_interval_without_width_is_not_equal(difference: MakeDifference) -> None:
    same_value = headline(difference, "not shown", value=0.0, p_value=1.0, low=0.0, high=0.0)
    assert with_verdict(comparison(same_value)).verdict == "undecided"
    metrics = {MetricName("retrieval@birds", "recall@1"): same_value.base}
    gated = apply_gate(comparison(same_value), Gate.from_options("5pp"), base=metrics, candidate=metrics, alpha=0.05)
    assert gated.verdict == "undecided"


def test_gated_metrics_decide_with_their_own_correction_and_limits(difference: MakeDifference) -> None:
    lost = difference("zero-shot@birds/acc1", 0.6, 0.5, 0.02, verdict="not shown")
    gained = [difference(f"zero-shot@birds/acc{k}", 0.6, 0.6, 1.0) for k in (2, 3)]
    name = MetricName("zero-shot@birds", "acc1")
    result = comparison(lost, *gained)
    metrics = {
        MetricName("zero-shot@birds", metric_difference.name): metric_difference.base
        for metric_difference in result.differences
    }

    def gated(gate: Gate) -> Comparison:
        return apply_gate(result, gate, base=metrics, candidate=metrics, alpha=0.05)

    many = gated(Gate.from_options("1pp"))  # 3 * 0.02 > 0.05
    assert (many.verdict, many.exit_status) == ("undecided", 0)
    alone = Gate(rules=[replace(Gate.from_options("1pp").rules[0], pattern=str(name))])
    assert (gated(alone).verdict, gated(alone).exit_status) == ("worse", 1)
    assert gated(alone).reason == (
        "zero-shot@birds/acc1 −10.00 pp [−11.00, −9.00], 1 of 1 gated metric, 1 beyond the limit of 1 pp"
    )
    wide = Gate(rules=[replace(alone.rules[0], tolerance=Tolerance.parse("50pp", ""))])
    assert (gated(wide).verdict, gated(wide).exit_status) == ("worse", 0)
    assert gated(wide).reason.endswith("within the limit of 50 pp")


def test_intervals_within_the_limit_on_both_sides_are_equal(difference: MakeDifference) -> None:
    near = difference("zero-shot@birds/acc1", 0.6, 0.601, 0.5)  # its interval is one point wide on each side
    metrics = {MetricName("zero-shot@birds", "acc1"): near.base}
    for limit, word in (("2pp", "equal"), ("1pp", "undecided")):
        gate = Gate.from_options(limit)
        assert apply_gate(comparison(near), gate, base=metrics, candidate=metrics, alpha=0.05).verdict == word


def test_a_gain_beside_a_missing_metric_or_an_untested_loss_is_undecided(difference: MakeDifference) -> None:
    gained = difference("zero-shot@birds/acc1", 0.5, 0.6, 0.001)
    untested = difference("zero-shot@birds/acc5", 0.9, 0.5)
    names = {
        MetricName("zero-shot@birds", metric_outcome.name): metric_outcome.base for metric_outcome in (gained, untested)
    }
    gate = Gate.from_options("1pp")
    result = apply_gate(comparison(gained, untested), gate, base=names, candidate=names, alpha=0.05)
    assert (result.verdict, result.reason) == (
        "undecided",
        "zero-shot@birds/acc1 +10.00 pp [+9.00, +11.00], 1 of 2 gated metrics, untested loss: zero-shot@birds/acc5",
    )
    assert apply_gate(comparison(gained), gate, base=names, candidate={}, alpha=0.05).verdict == "undecided"


def runs_of(rng: np.random.Generator, n: int, advantages: Sequence[float]) -> tuple[Held, Held]:
    """Return two runs of hits on tasks of their own; the candidate's chance of a hit is higher by the advantages."""
    sides: tuple[list[object], list[object]] = ([], [])
    for number, advantage in enumerate(advantages):
        chance = rng.uniform(0.3, 0.7, n)
        for side, shift in zip(sides, (0.0, advantage), strict=True):
            hits = (rng.random(n) < np.clip(chance + shift, 0, 1)).astype(np.float64)
            metric = Metric(value=float(hits.mean()), column="hit", n=n, higher_is_better=True, is_headline=True)
            dataset = DatasetRecord(id=f"birds{number}", fingerprint=f"f{number}", n_samples=n)
            side.append(evaluation({"acc": metric}, {"hit": hits}, dataset=dataset))
    return held(*sides[0]), held(*sides[1])  # type: ignore[arg-type]


@pytest.mark.simulation
@pytest.mark.parametrize("n_pairs", [40, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("advantage", "most_wrong", "least_power"), [(0.0, 0.05, 0.0), (-0.15, 0.0, 0.9)])
def test_gate_and_word_keep_the_error_rate_of_the_test(
    n_pairs: int, advantage: float, most_wrong: float, least_power: float
) -> None:
    rng = np.random.default_rng(11)
    gate = Gate.from_options("0")
    words, statuses = list[str](), list[int]()
    for _ in range(n_pairs):
        base, candidate = runs_of(rng, 300, [advantage, 0.0, 0.0])
        comparison = compare(base, candidate, gate=gate)
        statuses.append(comparison.exit_status)
        words.append(comparison.verdict)
        assert comparison.verdict == compare(base, candidate).verdict  # the same three metrics, either way
    worse, better = words.count("worse") + words.count("mixed"), words.count("better")
    assert statuses.count(1) == worse
    if advantage == 0:
        assert worse + better <= scipy.stats.binom.isf(0.001, n_pairs, most_wrong)
    else:
        assert worse >= scipy.stats.binom.ppf(0.001, n_pairs, least_power)
        assert better <= scipy.stats.binom.isf(0.001, n_pairs, 0.05)
