"""Titles for readers: recorded ones, and names made readable where a run has none."""

import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.titles import full_title, headlines, metric_title, readable, subset_title, within_sentence


def evaluation(**metrics: Metric) -> EvaluationRecord:
    return EvaluationRecord(
        task="mine", task_version=1, params={}, dataset=DatasetRecord(id="here"), status="ok", metrics=metrics
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("swap_att/text_acc", "Text acc"), ("ece", "Ece"), ("image_retrieval_recall@5", "Image retrieval recall@5")],
)
def test_a_metric_of_an_older_run_has_its_own_name_made_readable(name: str, expected: str) -> None:
    assert metric_title(name, Metric(value=0.5)) == expected


def test_a_subset_without_a_title_stands_in_brackets_as_it_is() -> None:
    metric = Metric(value=0.5, title="Text score")
    assert full_title("swap_att/text_acc", metric, {}) == "Text score (swap_att)"
    assert full_title("text_acc", metric, {}) == "Text score"
    assert subset_title("swap_att", {"swap_att": ""}) == "swap_att"


def test_headlines_are_those_that_are_marked_or_else_the_first_metric() -> None:
    plain, marked = Metric(value=0.5), Metric(value=0.25, is_headline=True)
    assert list(headlines(evaluation(a=plain, b=marked, c=marked))) == ["b", "c"]
    assert list(headlines(evaluation(a=plain, b=plain))) == ["a"]
    assert headlines(evaluation()) == {}


@pytest.mark.parametrize(
    ("title", "expected"),
    [("R@1, ties as misses", "R@1, ties as misses"), ("Ties", "ties"), ("IsoScore", "IsoScore"), ("", "")],
)
def test_a_title_in_a_sentence_keeps_the_capitals_of_its_name(title: str, expected: str) -> None:
    assert within_sentence(title) == expected


def test_readable_names_begin_with_a_capital() -> None:
    assert readable("_tie_rate") == "Tie rate" and readable("") == ""
