"""The section on compression: its sentences, its table of formats, and the figure with the one that is chosen."""

from collections.abc import Callable
from typing import Any

import pytest

from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import ModelKey, Ranges, Rule
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence, NotAsked
from clipbench_reports.sections.compression import SECTION

MakeRun = Callable[..., Run]
REASON = "All 64 dimensions as int8 lose less than 1 point of the 80.0 % of float32: 64 bytes instead of 256"


def small(**changes: Any) -> dict[str, Any]:
    def share(value: float) -> Metric:
        return Metric(value=value, low=value - 0.05, high=value + 0.05, n=90)

    def by_bytes(points: dict[int, float]) -> Curve:
        ys = list(points.values())
        return Curve(x=list(points), y=ys, low=[y - 0.05 for y in ys], high=[y + 0.05 for y in ys])

    change = Metric(value=-0.002, low=-0.006, high=0.003, n=90, unit="difference")
    nothing = Metric(value=None, reason="too few vectors")
    return {
        "metrics": {
            "acc1_smallest": Metric(value=64.0, n=90, unit="bytes", reason=REASON),
            "acc1": share(0.8),
            "pca@16/acc1": nothing,
            "pca@16/acc1_change": nothing,
            "int8@64/acc1": share(0.798),
            "int8@64/acc1_change": change,
            "int8@16/acc1": share(0.5),
            "int8@16/acc1_change": change,
        },
        "curves": {
            "float32/acc1_by_bytes": by_bytes({256: 0.8}),
            "int8/acc1_by_bytes": by_bytes({16: 0.5, 64: 0.798}),
            "int8/acc1_most_lost": Curve(x=[64], y=[0.0071]),
            "acc1_smallest": Curve(x=[64], y=[0.798]),
        },
        **changes,
    }


def evidence(run: Run) -> Evidence:
    return Evidence(run, run.result.evaluations[0])


def test_the_sentence_has_the_format_and_its_bytes(make_run: MakeRun) -> None:
    (found,) = SECTION.findings(evidence(make_run({"compression@a": small()})).evaluation)
    assert (found.mark, found.text) == ("plain", f"Top-1 accuracy: {REASON}.")


def test_the_table_has_bytes_quality_and_loss(make_run: MakeRun) -> None:
    shown = evidence(make_run({"compression@a": small()}))
    of_captions, _, of_labels = SECTION.tables
    table = of_labels(shown)
    assert table.rows == [
        ["float32", "256", "80.0 [75.0, 85.0]", "–", "–"],
        ["16 PCA", "64", "–", "–", "–"],
        ["64 int8", "64", "79.8 [74.8, 84.8]", "−0.2 [−0.6, 0.3]", "0.71"],
        ["16 int8", "16", "50.0 [45.0, 55.0]", "−0.2 [−0.6, 0.3]", "–"],
    ]
    assert (
        "The smallest that loses less than 1 point is chosen" in table.facts
        and "smaller ones have no bound (–)" in table.facts
    )
    with pytest.raises(NotAsked):
        of_captions(shown)


def test_the_bound_of_a_format_is_not_shown_for_another_of_as_many_bytes(make_run: MakeRun) -> None:
    parts = small()
    for dim in (4, 5, 8, 16):
        parts["metrics"][f"binary@{dim}/acc1"] = Metric(value=0.5, n=90)
    parts["curves"]["binary/acc1_most_lost"] = Curve(x=[1, 2], y=[0.02, 0.001])
    table = SECTION.tables[2](evidence(make_run({"compression@a": parts})))
    bounds = {row[0]: row[4] for row in table.rows if str(row[0]).endswith("signs")}
    assert bounds == {"16 signs": "0.10", "8 signs": "2.00", "5 signs": "–", "4 signs": "–"}


def test_the_figure_has_a_line_a_kind_the_margin_and_the_choice(make_run: MakeRun) -> None:
    run = make_run({"compression@a": small()})
    models = [ModelEvidence(ModelKey("tiny", 0), evidence(run))]
    chart = figures.compression("acc1")(models)
    (panel,) = chart.panels
    assert {mark.name: list(mark.xs) for mark in panel.marks if isinstance(mark, Ranges)} == {
        "float32 and float16": [256],
        "int8 of the first dimensions": [16, 64],
    }
    rules = {mark.axis: (mark.at, mark.name) for mark in panel.marks if isinstance(mark, Rule)}
    assert rules == {"y": (0.79, "1 point below float32"), "x": (64, "smallest that loses less than 1 point")}
    assert chart.title == f"Top-1 accuracy: {REASON}." and panel.x.is_log and panel.x.label == "Bytes per vector"
    with pytest.raises(MissingEvidence, match="Image-to-text R@1 of stored vectors, which needs data with captions"):
        figures.compression("text_retrieval_recall@1")(models)


def test_where_nothing_will_do_nothing_is_marked(make_run: MakeRun) -> None:
    parts = small()
    reason = (
        "at n = 90 images no format is shown to lose less than 1 point: even one that changes no answer may lose 3.3"
    )
    parts["metrics"]["acc1_smallest"] = Metric(value=None, unit="bytes", reason=reason)
    parts["curves"]["float32/acc1_by_bytes"] = Curve(x=[256], y=[0.005])  # a point below it is no accuracy
    run = make_run({"compression@a": parts})
    chart = figures.compression("acc1")([ModelEvidence(ModelKey("tiny", 0), evidence(run))])
    assert chart.title == "Top-1 accuracy: no format is shown to lose less than 1 point."  # the sentences say why
    assert not any(isinstance(mark, Rule) for mark in chart.panels[0].marks)
