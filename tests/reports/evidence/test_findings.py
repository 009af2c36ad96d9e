"""Sentences say what their intervals carry, and no more."""

from dataclasses import replace
from typing import Any

import pytest

from clipbench.results.record import EvaluationRecord, Metric
from clipbench.stats.intervals import wilson
from clipbench_reports.findings import Finding, claim, mark_of, not_better, skill
from clipbench_reports.sections.section import load_section
from tests.made import record_of


def evaluation(task: str, metrics: dict[str, Metric], **changes: Any) -> EvaluationRecord:
    return record_of(task, metrics=metrics, **changes)


def findings(record: EvaluationRecord) -> list[Finding]:
    return load_section(record.task).summary(record)


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "expected"),
    [
        (0.51, 0.61, True, "good"),
        (0.50, 0.60, True, "level"),  # an end of the interval is in it
        (0.40, 0.50, True, "level"),
        (0.39, 0.49, True, "weak"),
        (0.39, 0.49, False, "good"),
        (0.51, 0.61, False, "weak"),
        (0.51, 0.61, None, "plain"),
        (None, None, True, "plain"),
    ],
)
def test_only_an_interval_without_chance_is_good_or_weak(
    low: float | None, high: float | None, higher_is_better: bool | None, expected: str
) -> None:
    value = 0.55 if low is None or high is None else (low + high) / 2
    metric = Metric(value=value, low=low, high=high, chance=0.5, higher_is_better=higher_is_better)
    assert claim("Right in {value}", metric).mark == expected


def test_sixty_hits_of_a_hundred_are_not_better_than_a_coin() -> None:
    low, high, _ = wilson(60.0, 100)
    metric = Metric(value=0.6, low=low, high=high, n=100, chance=0.5, higher_is_better=True)
    assert low is not None and low > 0.5  # though the interval excludes it: the exact test has p 0.057
    sentence = claim("Right in {value}", metric)
    assert sentence.mark == "level" and sentence.text == "Right in 60.0 % [50.2, 69.1], where chance is 50.0 %."


@pytest.mark.parametrize(("chance", "mark"), [(0.0006, "level"), (0.0004, "good")])
def test_one_hit_is_better_than_chance_if_chance_seldom_gives_one(chance: float, mark: str) -> None:
    low, high, _ = wilson(1.0, 100)
    metric = Metric(value=0.01, low=low, high=high, n=100, chance=chance, higher_is_better=True)
    assert claim("Right in {value}", metric).mark == mark  # in 6 and in 4 of 100 runs


def test_a_sentence_on_several_metrics_is_corrected_for_their_number() -> None:
    low, high, _ = wilson(61.0, 100)
    likely = Metric(value=0.61, low=low, high=high, n=100, chance=0.5, higher_is_better=True)
    low, high, _ = wilson(50.0, 100)
    even = replace(likely, value=0.5, low=low, high=high)
    assert mark_of([likely]) == "good" and not_better({"a": likely}) == {}
    assert not_better({"a": likely, "b": even}) == {"no difference shown": ["a", "b"]}


@pytest.mark.parametrize(
    ("value", "chance", "higher_is_better", "expected"),
    [
        (1.0, 0.25, True, 1.0),
        (0.0, 0.25, True, -1.0),
        (0.0, 0.25, False, 1.0),
        (1.0, 0.25, False, -1.0),
        (0.25, 0.25, False, 0.0),
        (0.1, 0.0, False, -0.1),
        (0.5, 0.25, None, 0.0),
        (0.5, None, True, 0.0),
        (None, 0.5, True, 0.0),
        (-0.1, 0.0, True, 0.0),
        (1.5, 1.0, True, 0.0),
    ],
)
def test_skill_is_one_at_the_best_and_minus_one_at_the_worst(
    value: float | None, chance: float | None, higher_is_better: bool | None, expected: float
) -> None:
    assert skill(Metric(value=value, chance=chance, higher_is_better=higher_is_better)) == expected


def test_a_task_without_a_section_is_told_by_its_headlines() -> None:
    metric = Metric(value=0.4, low=0.3, high=0.5, chance=0.25, n=90, higher_is_better=True)
    metrics = {
        "other": metric,
        "wins": replace(metric, title="Longest caption wins", is_headline=True),
        "swap/wins": replace(metric, title="Longest caption wins", is_headline=True),
    }
    result = findings(evaluation("mine", metrics, subsets={"swap": "Words swapped"}))
    assert [finding.text for finding in result] == [
        "Longest caption wins: 40.0 % [30.0, 50.0] of 90 samples, where chance is 25.0 %.",
        "Longest caption wins (words swapped): 40.0 % [30.0, 50.0] of 90 samples, where chance is 25.0 %.",
    ]
    assert [finding.mark for finding in result] == ["good", "good"]


def test_a_name_cannot_turn_the_direction_of_its_sentence() -> None:
    (result,) = findings(evaluation("zero-shot", {}, status="failed", reason="\u202eno"))
    assert result.text == "Failed: zero-shot@birds – \N{FIRST STRONG ISOLATE}\u202eno\N{POP DIRECTIONAL ISOLATE}"
