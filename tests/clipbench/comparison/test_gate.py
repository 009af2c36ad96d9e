"""The gate: which losses are regressions, which are known, and one line for a gate that cannot be what was meant."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from clipbench.comparison import gate as gates
from clipbench.comparison.compare_runs import compare
from clipbench.comparison.gate import apply_gate, check_gate
from clipbench.comparison.gate_outcomes import GateResult, Outcome
from clipbench.comparison.gate_rules import Gate, Tolerance, matches, read_gate
from clipbench.comparison.metric_difference import Difference
from clipbench.comparison.records import Comparison, Refusal
from clipbench.errors import UsageError, for_command_line
from clipbench.results.metric_name import MetricName
from clipbench.results.record import Metric
from tests.clipbench.comparison.test_compare import evaluation, held, mean_of
from tests.clipbench.conftest import MakeDifference

ACC1 = MetricName("zero-shot@birds", "acc1")
RECALL = MetricName("retrieval@coco", "recall@1")
DAY = date(2026, 6, 1)


def comparison(*differences: Difference, refused: Sequence[Refusal] = ()) -> Comparison:
    return Comparison(base="old", candidate="new", differences=list(differences), refused=list(refused))


def judge(comparison: Comparison, gate: Gate, today: date | None = None) -> list[Outcome]:
    """Return the outcomes of a comparison that holds all metrics of both sides."""
    names = [
        (MetricName(difference.evaluation, difference.name), difference)
        for difference in reversed(comparison.differences)
    ]
    before, after = (
        {name: difference.base for name, difference in names},
        {name: difference.candidate for name, difference in names},
    )
    ordered = list(reversed(before))
    base, candidate = ({name: side[name] for name in ordered} for side in (before, after))
    return gates.judge(comparison, gate, base=base, candidate=candidate, alpha=0.05, today=today)


def only(outcomes: Sequence[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def gate_of(tmp_path: Path, text: str) -> Gate:
    (tmp_path / "gate.toml").write_text(text, encoding="utf-8")
    return read_gate(tmp_path / "gate.toml")


@pytest.mark.parametrize(
    ("candidate", "p", "status"),
    [
        (0.57, 0.001, "regression"),
        (0.57, 0.05, "regression"),  # at alpha itself
        (0.57, 0.2, "not decided"),  # may be chance
        (0.59, 0.001, "within"),  # significant, and within the tolerance
        (0.583, 0.001, "not decided"),  # the bound is beyond the limit
        (0.588, 0.001, "within"),  # the bound is exactly the limit, which binary fractions miss by a rounding
        (0.58, 0.001, "not decided"),  # exactly the limit
        (0.63, 0.001, "within"),  # better
        (0.57, None, "untested"),
        (0.59, None, "not decided"),
    ],
)
def test_a_regression_is_a_loss_beyond_the_tolerance_that_is_significant(
    difference: MakeDifference, candidate: float, p: float | None, status: str
) -> None:
    result = comparison(difference(ACC1, 0.6, candidate, p))
    assert only(judge(result, Gate.from_options("2pp"))).status == status


def test_a_strict_gate_takes_the_loss_alone(difference: MakeDifference) -> None:
    strict = Gate.from_options("2pp", strict=True)
    for p in (0.2, None):
        assert only(judge(comparison(difference(ACC1, 0.6, 0.57, p)), strict)).status == "regression"
    assert only(judge(comparison(difference(ACC1, 0.6, 0.59, 0.001)), strict)).status == "within"


def test_a_rise_is_the_loss_where_less_is_better(difference: MakeDifference) -> None:
    for candidate, status in ((0.2, "regression"), (0.05, "within"), (0.105, "not decided")):
        result = comparison(difference("zero-shot@birds/ece", 0.1, candidate, 0.001, higher_is_better=False))
        assert only(judge(result, Gate.from_options("1pp"))).status == status


def test_p_values_are_corrected_over_the_gated_metrics_alone(difference: MakeDifference, tmp_path: Path) -> None:
    lost = [difference(f"zero-shot@birds/acc{k}", 0.6, 0.5, 0.02) for k in range(4)]
    statuses = [evaluation.status for evaluation in judge(comparison(*lost), Gate.from_options("1pp"))]
    assert statuses == ["not decided"] * 4  # 4 * 0.02 > 0.05
    one = gate_of(tmp_path, '"zero-shot/acc2" = {max_drop = "1pp"}')
    assert only(judge(comparison(*lost), one)).status == "regression"


def test_the_last_pattern_that_matches_counts_with_its_own_alpha(difference: MakeDifference, tmp_path: Path) -> None:
    gate = gate_of(
        tmp_path,
        '"*" = {max_drop = "1pp"}\n"composition/*/text_acc" = {max_drop = "1pp", alpha = 0.01}\n',
    )
    result = comparison(
        difference("composition@aro/swap/text_acc", 0.6, 0.5, 0.015),
        difference("composition@aro/text_acc", 0.6, 0.5, 0.015),
    )
    assert [evaluation.status for evaluation in judge(result, gate)] == ["not decided", "regression"]


@pytest.mark.parametrize(
    ("pattern", "is_match"),
    [
        ("composition@sugarcrepe/swap_att/text_acc", True),
        ("composition/swap_att/text_acc", True),
        ("composition/*/text_acc", True),
        ("composition@sugarcrepe/*", True),
        ("*text_acc", True),
        ("composition@aro/*", False),
        ("composition/text_acc", False),
        ("Composition/*", False),
    ],
)
def test_a_pattern_matches_a_name_with_its_data_or_without(pattern: str, is_match: bool) -> None:
    assert matches(pattern, MetricName("composition@sugarcrepe", "swap_att/text_acc")) == is_match


def test_groups_may_have_braces_and_brackets_in_their_names() -> None:
    name = MetricName("zero-shot@birds", "acc1", "language", "{unk}/a=b")
    assert matches("zero-shot{language=*}/acc1", name)
    assert not matches("*", name)
    assert copy.deepcopy(name).slice == "{language={unk}/a=b}"


def test_a_known_regression_passes_to_the_last_day_of_its_acknowledgement(
    difference: MakeDifference, tmp_path: Path
) -> None:
    gate = gate_of(
        tmp_path,
        '"*" = {max_drop = "1pp"}\n[[acknowledge]]\nmetric = "zero-shot/*"\nreason = "new crop"\nexpires ='
        " 2026-06-01\n",
    )
    result = comparison(difference(ACC1, 0.6, 0.5, 0.001))
    outcome = only(judge(result, gate, today=DAY))
    assert outcome.status == "acknowledged"
    assert outcome.message.endswith("known until 2026-06-01: new crop")
    expired = only(judge(result, gate, today=date(2026, 6, 2)))
    assert expired.status == "regression"
    assert expired.message.endswith("its acknowledgement expired on 2026-06-01: new crop")


@pytest.mark.parametrize(
    ("text", "status"),
    [(">= 63%", "pass"), (">= 63 %", "pass"), ("> 63%", "unmet"), ("<= 70pp", "pass"), ("< 50%", "unmet")],
)
def test_a_requirement_is_held_against_the_value_of_the_candidate(
    difference: MakeDifference, text: str, status: str
) -> None:
    gate = Gate.from_options(require=[f"{ACC1} {text}"])
    outcome = only(judge(comparison(difference(ACC1, 0.9, 0.63, 0.001)), gate))
    assert (outcome.metric, outcome.status) == (ACC1, status)
    assert outcome.message.startswith("63.0 %, required ")


def test_a_metric_that_the_candidate_lacks_is_missing_and_not_passed(difference: MakeDifference) -> None:
    values = {ACC1: 0.6, RECALL: 0.4}
    base = {name: Metric(value=value, higher_is_better=True, column="hit") for name, value in values.items()}
    candidate = {ACC1: Metric(value=None, reason="3 classes", higher_is_better=True)}
    result = comparison(refused=[Refusal("retrieval@coco", "data fingerprint a in the one run, b in the other")])
    gate = Gate.from_options("1pp", require=[f"{ACC1} >= 10%", "retrieval@coco/recall@1 >= 10%"])
    gated = apply_gate(result, gate, base=base, candidate=candidate, alpha=0.05)
    outcomes = gated.gate.outcomes
    assert {outcome.status for outcome in outcomes} == {"missing"}
    assert [outcome.message for outcome in outcomes] == [
        "new has no value: 3 classes",
        "not compared: data fingerprint a in the one run, b in the other",
        "new has no value: 3 classes",
        "new has no value",
    ]
    assert gated.exit_status == 3


def test_what_the_base_never_had_is_missing_by_its_name_and_not_gated_by_a_pattern(tmp_path: Path) -> None:
    base = {ACC1: Metric(value=None, reason="1 class", higher_is_better=True, column="hit")}
    candidate = {ACC1: Metric(value=0.5, higher_is_better=True, column="hit")}
    for pattern, status in ((ACC1, "missing"), ("zero-shot/*", "not gated")):
        gate = gate_of(tmp_path, f'"{pattern}" = {{max_drop = "1pp"}}')
        outcome = only(gates.judge(comparison(), gate, base=base, candidate=candidate, alpha=0.05))
        assert (outcome.status, outcome.message) == (status, "old has no value: 1 class")


def test_a_task_that_was_asked_twice_is_judged_twice(difference: MakeDifference) -> None:
    result = comparison(difference(ACC1, 0.6, 0.6, 1.0), difference(ACC1, 0.6, 0.5, 0.001))
    assert [evaluation.status for evaluation in judge(result, Gate.from_options("1pp"))] == ["within", "regression"]


def test_metrics_that_a_limit_does_not_fit_are_not_gated_and_decide_nothing(
    difference: MakeDifference, tmp_path: Path
) -> None:
    result = comparison(
        difference("modality-gap@birds/gap", 0.8, 0.9, 0.001, unit="distance", higher_is_better=None),
        replace(
            difference("retrieval@birds/median_rank", 1.0, 9.0, 0.001, unit="rank", higher_is_better=False),
            verdict="worse",
        ),
    )
    outcomes = judge(result, Gate.from_options("1pp"))
    assert [outcome.status for outcome in outcomes] == ["not gated"] * 2
    assert [outcome.message for outcome in outcomes] == [
        "no direction",
        "the limit 1 pp has no meaning for the unit rank",
    ]
    assert GateResult(outcomes=outcomes).exit_status == 0
    (ranked,) = judge(result, gate_of(tmp_path, '"*rank" = {max_drop = "5"}'))
    assert (ranked.status, ranked.message) == ("regression", "1.0 to 9.0: loss 8.00, allowed 5.00, p 0.001")


@pytest.mark.parametrize(
    ("limit", "unit", "does_fit"),
    [
        ("0.5pp", "fraction", True),
        ("0.5pp", "rank", False),
        ("1%", "rank", True),
        ("0.5pp", "difference", True),
        ("0.005", "fraction", False),
        ("1", "difference", False),
        ("1", "rank", True),
        ("0", "fraction", True),
        ("0pp", "rank", True),
    ],
)
def test_a_limit_fits_the_units_in_which_it_means_something(limit: str, unit: str, does_fit: bool) -> None:
    assert Tolerance.parse(limit, "--max-drop").fits(unit) is does_fit


@pytest.mark.parametrize("text", ["0.5xy", "pp", "1 pp 2", "%", "five", "-1", "nan"])
def test_a_limit_of_an_unknown_unit_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^max_drop '.*': expected 0\.5pp \(percentage points\), 1% .* or 0$"):
        Gate.from_options(text)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("0.5", r"write 0\.5pp \(points\) or 0\.5% \(of the base's value\)"),
        ("1", r"write 1pp \(points\) or 1% \(of"),
        ("30", r"write 30pp \(points\) or 30% \(of"),
        ("300", r"write 300% \(of"),
    ],
)
def test_a_limit_of_all_metrics_has_a_unit(text: str, spelling: str) -> None:
    with pytest.raises(UsageError, match=rf"^max_drop='{re.escape(text)}' has no unit: {spelling}"):
        Gate.from_options(text)
    with for_command_line(), pytest.raises(UsageError, match=rf"^--max-drop {re.escape(text)} has no unit: {spelling}"):
        Gate.from_options(text)


@pytest.mark.parametrize("text", ["", " ", "100pp", "250pp"])
def test_a_limit_that_limits_nothing_is_an_error(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^max_drop '.*': (expected 0\.5pp|no fraction can lose more than 100 points)"
    ):
        Gate.from_options(text)


@pytest.mark.parametrize("option", ["strict", "conclusive"])
def test_an_option_of_limits_without_a_limit_is_an_error(option: str) -> None:
    make_gate: Callable[..., Gate] = Gate.from_options
    with pytest.raises(UsageError, match=f"^{option}=True needs a limit"):
        make_gate(require=["a/b >= 1%"], **{option: True})
    assert not make_gate("1pp", **{option: True}).is_empty
    with pytest.raises(UsageError, match=r"^conclusive=True needs a limit above 0"):
        Gate.from_options("0", conclusive=True)


def test_a_conclusive_gate_ends_with_3_if_a_metric_is_not_decided(difference: MakeDifference) -> None:
    result = comparison(difference(ACC1, 0.6, 0.595, 0.4))
    metrics = {ACC1: result.differences[0].base}
    for limit, statuses in (("1pp", (0, 3)), ("5pp", (0, 0))):
        gates_of_limit = [Gate.from_options(limit, conclusive=is_conclusive) for is_conclusive in (False, True)]
        gated = [apply_gate(result, gate, base=metrics, candidate=metrics, alpha=0.05) for gate in gates_of_limit]
        assert tuple(comparison.exit_status for comparison in gated) == statuses


def test_with_a_limit_of_0_no_metric_counts_as_not_decided(difference: MakeDifference) -> None:
    result = comparison(difference(ACC1, 0.6, 0.595, 0.4), difference("zero-shot@birds/acc5", 0.6, 0.7, 0.001))
    assert [outcome.status for outcome in judge(result, Gate.from_options("0"))] == ["pass", "pass"]


@pytest.mark.parametrize("n_clusters", [5, 6, 7, 8, 9])
def test_a_total_loss_of_few_clusters_is_never_passed(n_clusters: int) -> None:
    names = [f"{side}_retrieval_recall@{k}" for side in ("image", "text") for k in (1, 5, 10, 20)]
    sides = []
    for value in (1.0, 0.0):
        column = np.full(30 * n_clusters, value)
        metrics = {name: mean_of(column, column=name) for name in names}
        clusters = np.array([f"image-{row % n_clusters}" for row in range(len(column))])
        sides.append(held(evaluation(metrics, {**dict.fromkeys(names, column), "cluster": clusters})))
    comparison = compare(sides[0], sides[1], gate=Gate.from_options("1pp"))
    can_be_shown = 2 * scipy.stats.beta(n_clusters, 0.75).cdf(0.5) * len(names) <= 0.05
    assert comparison.exit_status == (1 if can_be_shown else 3)
    assert {outcome.status for outcome in comparison.gate.outcomes} == {"regression" if can_be_shown else "untested"}


def test_identical_samples_are_within_a_limit_only_if_their_number_shows_it() -> None:
    hits = np.tile([1.0, 0.0], 25)
    same = held(evaluation({"acc": mean_of(hits)}, {"hit": hits}))
    for limit, status, word in (("0.1pp", "not decided", "undecided"), ("8pp", "within", "equal")):
        comparison = compare(same, same, gate=Gate.from_options(limit))
        assert [outcome.status for outcome in comparison.gate.outcomes] == [status]
        assert comparison.verdict == word


def test_a_metric_that_no_data_allow_to_test_is_gated_only_by_its_name(
    difference: MakeDifference, tmp_path: Path
) -> None:
    name = "modality-gap@birds/image_largest_hub"
    hub = replace(difference(name, 0.1, 0.5, higher_is_better=False), test="no test: other neighbours")
    hub = replace(hub, base=replace(hub.base, column=None), candidate=replace(hub.candidate, column=None))
    result = comparison(difference(ACC1, 0.6, 0.7, 0.001), hub)
    for pattern in ("*", "modality-gap/*", "*hub"):
        outcomes = judge(
            result, gate_of(tmp_path, f'"*" = {{max_drop = "1pp"}}\n"{pattern}x" = {{max_drop = "1pp"}}\n')
        )
        assert {outcome.metric: outcome.status for outcome in outcomes} == {ACC1: "within", name: "not gated"}
        assert GateResult(outcomes=outcomes).exit_status == 0
    for pattern in (name, "modality-gap/image_largest_hub", "modality-gap@*/image_largest_hub"):
        gate = gate_of(tmp_path, f'"{pattern}" = {{max_drop = "1pp"}}')
        metrics = {MetricName(*name.split("/")): hub.base}
        gated = apply_gate(result, gate, base=metrics, candidate=metrics, alpha=0.05)
        assert [outcome.status for outcome in gated.gate.outcomes] == ["untested"]
        assert (gated.exit_status, gated.verdict) == (3, "undecided")


KNOWN = {
    ACC1: Metric(value=0.6, higher_is_better=True, column="acc1"),
    MetricName("modality-gap@birds", "gap"): Metric(value=0.8, unit="distance"),
    MetricName("modality-gap@birds", "largest_hub"): Metric(value=0.8, higher_is_better=False),
    MetricName("retrieval@birds", "median_rank"): Metric(value=1.0, unit="rank", higher_is_better=False, column="rank"),
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"zero-shot@birds/acc2" = {max_drop = "1pp"}', r"matches no metric of any run: did you mean '.*/acc1'\?"),
        ('require = ["nothing/here >= 1%"]', "'nothing/here' matches no metric of any run: known: modality-gap@birds"),
        ('[[acknowledge]]\nmetric = "a/b"\nreason = "r"\nexpires = 2026-01-01', "'a/b' matches no metric"),
        ('"modality-gap/gap" = {max_drop = "1%"}', "'modality-gap/gap' gates nothing: .*/gap: no direction"),
        (
            '"*/median_rank" = {max_drop = "1pp"}',
            "gates nothing: .*: got the limit 1 pp for the unit rank, expected one such as 1%",
        ),
        (
            '"zero-shot/acc1" = {max_drop = "2"}',
            "'zero-shot/acc1': max_drop 2 has no unit, and .* is a fraction: write 2pp",
        ),
        ('"*" = {max_drop = "0.5"}', r"'\*': max_drop 0.5 has no unit, and zero-shot@birds/acc1 is a fraction"),
        ('"zero-shot/*" = {max_drop = "100%"}', "lets zero-shot@birds/acc1 lose everything: expected less than 100%"),
        ('require = ["zero-shot/acc1 >= 0.5"]', r">= 0.5 has no unit, and .* is a fraction: write 0.5% or 50%"),
        ('require = ["zero-shot/acc1 >= 30"]', r">= 30 has no unit, and .* is a fraction: write 30%$"),
        ('require = ["*/median_rank <= 5%"]', r"the unit of .*median_rank is rank: write the number without %"),
        (
            '"*/largest_hub" = {max_drop = "1pp"}\n"*hub*" = {max_drop = "1pp"}',
            r"'\*hub\*' gates nothing: .*: no test exists",
        ),
    ],
)
def test_a_pattern_that_gates_nothing_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_gate(gate_of(tmp_path, text), KNOWN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'requires = ["a/b > 1"]',
            r"unknown key 'requires': did you mean 'require'\? \(a pattern .* holds a / or a \*",
        ),
        ('"a/*" = {max_dorp = "1pp"}', "'a/\\*': unknown key 'max_dorp': did you mean 'max_drop'"),
        ('"a/*" = {alpha = 0.01}', "'a/\\*' has no max_drop"),
        ('"a/*" = "1pp"', "'a/\\*' is '1pp': expected a table with max_drop, alpha"),
        ('"a/*" = {max_drop = 0.5}', "max_drop is 0.5, expected a text in quotes"),
        ('"a/*" = {max_drop = "1 point"}', "max_drop '1 point': expected 0.5pp .*, 1% .* or 0"),
        ('"a/*" = {max_drop = ""}', "max_drop '': expected 0.5pp"),
        ('"a/*" = {max_drop = "100pp"}', "max_drop '100pp': no fraction can lose more than 100 points"),
        ("# nothing yet", "gates nothing: add a limit, such as"),
        ("require = []", "gates nothing: add a limit, such as"),
        ('"a/*" = {max_drop = "-1pp"}', "max_drop '-1pp': expected 0.5pp"),
        ('"a/*" = {max_drop = "1pp", alpha = 5.0}', "alpha is 5, expected 1e-06 to 0.5"),
        ('"a/*" = {max_drop = "1pp", alpha = 1e-300}', "alpha is 1e-300, expected 1e-06 to 0.5"),
        ('"a/*" = {max_drop = "1pp", alpha = "x"}', "alpha is 'x', expected a number such as 0.01"),
        ('require = "a/b > 1"', "require is 'a/b > 1', expected a list"),
        ("require = [1]", "require holds 1: expected texts"),
        ('require = ["a/b == 1"]', "require 'a/b == 1': expected METRIC >= NUMBER"),
        ('[[acknowledge]]\nmetric = "a/b"\nexpires = 2026-01-01', "acknowledge has no reason"),
        ('[[acknowledge]]\nmetric = "a/b"\nreason = "r"', "acknowledge has no expires"),
        (
            '[[acknowledge]]\nmetric = "a/b"\nreason = "r"\nexpires = "2026-01-01"',
            "expires is '2026-01-01', expected a date such as 2026-12-31",
        ),
        (
            '[[acknowledge]]\nmetric = "a/b"\nreason = "r"\nexpires = 2026-01-01T10:00:00',
            "expires is .*, expected a date such as 2026-12-31",
        ),
        ("[acknowledge", "is not TOML: "),
    ],
)
def test_a_gate_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        gate_of(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_gate_file_of_acknowledgements_only_gates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('[[acknowledge]]\nmetric = "a/b"\nreason = "r"\nexpires = 2026-01-01\n')
    with pytest.raises(UsageError, match="has acknowledgements only, and gates nothing: add a limit, such as"):
        Gate.from_options(file=path)
    assert Gate.from_options("1pp", file=path).acknowledged


def test_a_gate_may_be_a_mapping_with_the_keys_of_a_file() -> None:
    gate = Gate.from_options(file={"zero-shot/*": {"max_drop": "1pp"}, "require": [f"{ACC1} >= 60%"]})
    assert [rule.pattern for rule in gate.rules] == ["zero-shot/*"]
    assert [requirement.rule for requirement in gate.requirements] == [">= 60 %"]
    with pytest.raises(UsageError, match=r"^the gate: unknown key 'zero': "):
        Gate.from_options(file={"zero": {"max_drop": "1pp"}})


def test_a_gate_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the gate file .*none\.toml: No such file"):
        read_gate(tmp_path / "none.toml")
