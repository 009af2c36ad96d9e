"""The section on few labels: what it says where the prompts are worth a number of labels, and where there is none."""

from typing import Any

import pytest

from clipbench.results.record import EvaluationRecord, Metric
from clipbench_reports.sections.few_shot import FEW_LABELS_ENOUGH, SECTION
from tests.reports.conftest import MakeRun

KNN, LINEAR, PROMPT = [0.3, 0.4, 0.5, 0.6], [0.3, 0.5, 0.7, 0.8], [0.6, 0.65, 0.7, 0.8]
WORTH = Metric(value=8.0, low=5.0, high=12.5, unit="labels", n=900, higher_is_better=True)


def acc(value: float) -> Metric:
    return Metric(value=value, low=value - 0.05, high=value + 0.05, n=900, chance=0.1, higher_is_better=True)


def recorded(worth: Metric = WORTH, **parts: Any) -> dict[str, Any]:
    curves = {"knn": KNN, "linear_probe": LINEAR, "prompt_probe": PROMPT}
    names = ["1", "4", "16", "all"]
    metrics = {
        f"{method}_acc1@{name}": acc(value)
        for method, values in curves.items()
        for name, value in zip(names, values, strict=True)
    }
    return {"metrics": {**metrics, "zero_shot_acc1": acc(0.6), "zero_shot_worth": worth}, **parts}


def evaluation(make_run: MakeRun, **parts: Any) -> EvaluationRecord:
    return make_run({"few-shot@data": recorded(**parts)}).result.evaluations[0]


def test_the_worth_is_said_with_its_interval(make_run: MakeRun) -> None:
    worth, probe = SECTION.findings(evaluation(make_run))
    assert worth.text == (
        "The prompts are worth 8.0 labels per class (95 % interval [5.0, 12.5]): with these, a linear probe reaches"
        " their accuracy, 60.0 % [55.0, 65.0]."
    )
    assert (worth.mark, worth.weakness, probe.mark) == ("plain", "", "good")
    assert probe.text.startswith(
        "A linear probe with all labels names the right class first for 80.0 % [75.0, 85.0] of 900 images,"
    )


@pytest.mark.parametrize(
    ("reason", "weakness"),
    [
        ("not reached with up to 90 labels per class: why", ""),
        ("exceeded with 1 label per class already: why", FEW_LABELS_ENOUGH),
        ("reached with 1 label per class already: why", ""),
    ],
)
def test_a_worth_that_cannot_be_told_is_said_in_words(make_run: MakeRun, reason: str, weakness: str) -> None:
    worth = Metric(value=None, unit="labels", reason=reason)
    finding = SECTION.findings(evaluation(make_run, worth=worth))[0]
    assert finding.text.startswith(f"The accuracy of the prompts is {reason}.") and finding.weakness == weakness


def test_prompts_that_are_worth_few_labels_are_a_weakness(make_run: MakeRun) -> None:
    worth = Metric(value=2.0, low=1.2, high=3.9, unit="labels")
    finding = SECTION.findings(evaluation(make_run, worth=worth))[0]
    assert finding.text.startswith("The prompts are worth 2.0 labels per class (")
    assert finding.weakness == FEW_LABELS_ENOUGH


def test_prompts_that_are_not_above_chance_are_worth_no_labels(make_run: MakeRun) -> None:
    guess = Metric(value=0.11, low=0.06, high=0.16, n=900, chance=0.1, higher_is_better=True)
    missed = Metric(value=None, unit="labels", reason="not reached with up to 90 labels per class: why")
    parts = recorded(worth=missed)
    parts["metrics"]["zero_shot_acc1"] = guess
    finding = SECTION.findings(evaluation(make_run, **parts))[0]
    assert finding.text == (
        "The accuracy of the prompts is 11.0 [6.0, 16.0] %. It does not reliably exceed chance (10.0 %), so the labels that"
        " it is worth are not known."
    )
