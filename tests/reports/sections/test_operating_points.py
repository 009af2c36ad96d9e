"""The section on operating points: its sentences, its tables, and thresholds that are carried over to other data."""

from typing import Any

import pytest

from clipbench.results.record import Curve, Metric
from clipbench_reports.evidence import NotAsked
from clipbench_reports.sections.operating_points import (
    LITTLE_ACCEPTED,
    SECTION,
    operating_points,
    threshold_table,
    transferred_thresholds,
)
from tests.reports.conftest import MakeRun, alone, evidence_of

XS = [-1.0, 0.1, 0.2, 0.4]


def part(name: str, threshold: float, recall: float) -> dict[str, Any]:
    def curve(*ys: float) -> Curve:
        return Curve(x=XS, y=list(ys), low=[y - 0.02 for y in ys], high=[y + 0.02 for y in ys])

    metrics = {
        f"{name}/threshold@p95": Metric(
            value=threshold, low=threshold - 0.01, high=threshold + 0.01, unit="cosine", n=90
        ),
        f"{name}/recall@p95": Metric(value=recall, low=recall - 0.1, high=recall + 0.1, n=90, higher_is_better=True),
    }
    curves = {
        f"{name}/precision_by_cosine": curve(0.5, 0.6, 0.8, 0.9),
        f"{name}/recall_by_cosine": curve(1, 0.9, 0.6, 0.2),
    }
    return {"metrics": metrics, "curves": curves, "params": {"prevalence": 0.5}}


def test_the_sentence_has_threshold_and_recall(make_run: MakeRun) -> None:
    run = make_run({"operating-points@a": part("pairs", 0.25, 0.8), "operating-points@b": part("answers", 0.25, 0.3)})
    (result,), (answers,) = (SECTION.findings(evaluation) for evaluation in run.result.evaluations)
    assert (
        result.text
        == "If half of the pairs are true, 95 % of the image-caption pairs with a cosine of at least 0.2500 (95 %"
        " interval [0.2400, 0.2600]) are true, "
        "and 80.0 % (95 % interval [70.0, 90.0]) of the true pairs are accepted."
    )
    assert (result.mark, result.weakness) == ("plain", "")
    assert answers.text.startswith(
        "If half of the images belong to a class in the list, "
        "95 % of the classes named at a cosine of at least 0.2500 ("
    )
    assert answers.weakness == LITTLE_ACCEPTED


def test_the_prevalence_is_said_and_thresholds_of_another_are_not_carried_over(make_run: MakeRun) -> None:
    rare = {**part("pairs", 0.15, 0.8), "params": {"prevalence": 0.01}}
    run = make_run({"operating-points@a": rare, "operating-points@b": part("pairs", 0.5, 0.1)})
    (result,) = SECTION.findings(run.result.evaluations[0])
    assert result.text.startswith("If 1 % of the pairs are true, 95 % of")
    chart = operating_points("pairs")(alone(evidence_of(run)))
    assert "By weight, 1 % of all should be accepted." in chart.reading
    for number in (0, 1):
        with pytest.raises(NotAsked, match="thresholds of other data"):
            transferred_thresholds(evidence_of(run, number))


def test_a_precision_that_was_not_asked_for_is_not_said_to_have_no_threshold(make_run: MakeRun) -> None:
    parts_of_pairs = part("pairs", 0.25, 0.8)
    parts_of_pairs["metrics"] = {
        name.replace("p95", "p90"): metric for name, metric in parts_of_pairs["metrics"].items()
    }
    evidence = evidence_of(make_run({"operating-points@a": parts_of_pairs}))
    chart = operating_points("pairs")(alone(evidence))
    assert chart.title.endswith("and recall there: not asked for.")
    assert SECTION.findings(evidence.evaluation) == []  # the section of any task has a sentence then


def test_what_has_no_threshold_is_said_with_the_reason(make_run: MakeRun) -> None:
    metrics = {
        f"pairs/{name}@p95": Metric(value=None, reason="no threshold is sure") for name in ("threshold", "recall")
    }
    without = {"metrics": metrics, "params": {"prevalence": 0.5}}
    bad = {"pairs/precision_by_cosine": Curve(x=XS, y=[0.5] * 4, low=[0.4] * 4, high=[0.6] * 4)}
    run = make_run({"operating-points@a": without, "operating-points@bad": {**without, "curves": bad}})
    (result,), (of_bad,) = (SECTION.findings(evaluation) for evaluation in run.result.evaluations)
    assert (result.text, result.weakness) == ("Pairs: no threshold is sure.", "")  # there may be too few images
    assert of_bad.weakness == LITTLE_ACCEPTED
    assert threshold_table(evidence_of(run)).rows == [["Pairs", "95", "–", "–"]]


def test_thresholds_of_other_data_have_the_precision_that_they_get_here(make_run: MakeRun) -> None:
    run = make_run({"operating-points@a": part("pairs", 0.15, 0.8), "operating-points@b": part("pairs", 0.5, 0.1)})
    assert threshold_table(evidence_of(run)).rows == [["Pairs", "95", "0.1500 [0.1400, 0.1600]", "80.0 [70.0, 90.0]"]]
    of_b = transferred_thresholds(evidence_of(run))
    assert of_b.rows == [["Pairs", "b", "95", "0.5000", "nothing accepted", "nothing accepted"]]
    of_a = transferred_thresholds(evidence_of(run, 1))  # half-way between 0.1 and 0.2
    assert of_a.rows == [["Pairs", "a", "95", "0.1500", "70.0 [68.0, 72.0]", "75.0 [73.0, 77.0]"]]
