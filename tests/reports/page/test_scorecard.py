"""The baselines beside the metrics of the scorecard: each beside those that it names, and none said twice."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from clipbench.results.record import EvaluationRecord, Metric
from clipbench_reports.page.report import write_report
from clipbench_reports.page.scorecard import baselines_of, loose_baselines
from tests.made import record_of
from tests.reports.conftest import MakeRun


def record(metrics: dict[str, Metric], baselines: dict[str, Metric]) -> EvaluationRecord:
    subsets = {"swap": "Attributes swapped"}
    return record_of("composition", metrics=metrics, baselines=baselines, subsets=subsets)


def test_a_baseline_stands_beside_each_metric_that_it_names() -> None:
    metrics = dict.fromkeys(("r@1", "r@5", "rank"), Metric(value=0.5, title="Metric"))
    ties = Metric(value=0.25, title="Ties", baseline_of=["r@1", "r@5", "gone"])
    evaluation = record(metrics, {"ties": ties, "mine": Metric(value=0.5, title="Of none")})
    assert {name: baselines_of(name, evaluation) for name in metrics} == {
        "r@1": [("ties", "25.0 %")],
        "r@5": [("ties", "25.0 %")],
        "rank": [],
    }


def test_what_belongs_to_no_metric_is_said_of_the_evaluation_where_it_has_a_title() -> None:
    baselines = {
        "tie_rate": Metric(value=0.125, title="Ties"),
        "swap/same_words": Metric(value=1.0, title="Same words", baseline_of=["gone/text_acc"]),
        "undefined/tie_rate": Metric(value=None, title="Ties", reason="no sample"),
        "owned": Metric(value=1.0, title="Owned", baseline_of=["text_acc"]),
        "old": Metric(value=0.5),
    }
    evaluation = record({"text_acc": Metric(value=0.5)}, baselines)
    assert loose_baselines(evaluation) == [
        ("ties", "12.5 %"),
        ("same words (attributes swapped)", "100.0 %"),
    ]


def test_each_evaluation_and_label_set_has_one_headline_row(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    marked = {name: replace(parts.fraction(0.5, 100), title=name, is_headline=True) for name in ("first", "second")}
    undefined = {"empty": Metric(value=None, reason="too few", title="empty", is_headline=True)}
    rng = np.random.default_rng(0)
    by_set = {name: parts.zero_shot(rng, parts.classes, n=60) for name in ("kind", "shape")}
    for value in by_set.values():
        value["metrics"]["acc1"] = replace(value["metrics"]["acc1"], title="Top-1", is_headline=True)
    result = {
        "zero-shot@here": parts.side_by_side(by_set),
        "letters@here": {"metrics": {**undefined, **marked}},
        "letters@there": {"metrics": undefined},
    }
    runs = [make_run(result, name=name) for name in "ab"]
    for some in (runs[:1], runs):
        write_report(some, tmp_path / "report.html")
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        table = r'<table class="heads.*?</table>'
        rows = [re.findall(r'<th scope="row"><bdi>([^<]*)', value) for value in re.findall(table, html, re.DOTALL)]
        assert rows == [["Top-1 (kind)", "Top-1 (shape)", "first", "empty"]]
