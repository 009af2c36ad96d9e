"""The controls beside the metrics of the scorecard: each beside those that it names, and none said twice."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report
from clipbench_reports.page.scorecard import controls_of, loose_controls

MakeRun = Callable[..., Run]


def record(metrics: dict[str, Metric], controls: dict[str, Metric]) -> EvaluationRecord:
    return EvaluationRecord(
        task="composition",
        task_version=1,
        params={},
        dataset=DatasetRecord(id="here"),
        status="ok",
        metrics=metrics,
        controls=controls,
        subsets={"swap": "Attributes swapped"},
    )


def test_a_control_stands_beside_each_metric_that_it_names() -> None:
    metrics = dict.fromkeys(("r@1", "r@5", "rank"), Metric(value=0.5, title="Metric"))
    ties = Metric(value=0.25, title="Ties", control_of=["r@1", "r@5", "gone"])
    evaluation = record(metrics, {"ties": ties, "mine": Metric(value=0.5, title="Of none")})
    assert {name: controls_of(name, evaluation) for name in metrics} == {
        "r@1": [("ties", "25.0 %")],
        "r@5": [("ties", "25.0 %")],
        "rank": [],
    }


def test_what_belongs_to_no_metric_is_said_of_the_evaluation_where_it_has_a_title() -> None:
    controls = {
        "tie_rate": Metric(value=0.125, title="Ties"),
        "swap/same_words": Metric(value=1.0, title="Same words", control_of=["gone/text_acc"]),
        "undefined/tie_rate": Metric(value=None, title="Ties", reason="no sample"),
        "owned": Metric(value=1.0, title="Owned", control_of=["text_acc"]),
        "old": Metric(value=0.5),
    }
    evaluation = record({"text_acc": Metric(value=0.5)}, controls)
    assert loose_controls(evaluation) == [
        ("ties", "12.5 %"),
        ("same words (attributes swapped)", "100.0 %"),
    ]


@pytest.fixture
def evaluation(parts: SimpleNamespace) -> dict[str, dict[str, object]]:
    """Return an evaluation with controls of a metric, of none, and of an older run."""
    values = {"swap/shorter_caption": 0.52, "swap/same_words": 1.0, "tie_rate": 0.0, "mine": 0.3}
    controls = {name: parts.fraction(value, 100) for name, value in values.items()}
    for name, title, owners in (
        ("swap/shorter_caption", "Always the shorter caption", ["swap/text_acc"]),
        ("swap/same_words", "Same words", ["swap/text_acc"]),
        ("tie_rate", "Ties", []),
    ):
        controls[name] = replace(controls[name], title=title, control_of=owners)
    return {
        "composition@scenes": {
            "metrics": {
                "swap/text_acc": parts.fraction(0.5, 100, chance=0.5),
                "twin": Metric(value=0.9, unit="cosine"),
            },
            "controls": controls,
        }
    }


def test_each_evaluation_and_label_set_has_one_headline_row(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    marked = {name: replace(parts.fraction(0.5, 100), title=name, is_headline=True) for name in ("first", "second")}
    undefined = {"empty": Metric(value=None, reason="too few", title="empty", is_headline=True)}
    rng = np.random.default_rng(0)
    by_set = {name: parts.zero_shot(rng, parts.classes, n=60) for name in ("kind", "shape")}
    for each in by_set.values():
        each["metrics"]["acc1"] = replace(each["metrics"]["acc1"], title="Top-1", is_headline=True)
    found = {
        "zero-shot@here": parts.side_by_side(by_set),
        "letters@here": {"metrics": {**undefined, **marked}},
        "letters@there": {"metrics": undefined},
    }
    runs = [make_run(found, name=name) for name in "ab"]
    for some in (runs[:1], runs):
        write_report(some, tmp_path / "report.html")
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        table = r'<table class="heads.*?</table>'
        rows = [re.findall(r'<th scope="row"><bdi>([^<]*)', each) for each in re.findall(table, html, re.DOTALL)]
        assert rows == [["Top-1 (kind)", "Top-1 (shape)", "first", "empty"]]
