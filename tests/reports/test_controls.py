"""The controls beside the metrics of the scorecard: each where its name says, and none said twice."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench_reports.page.controls import controls_of, loose_controls
from clipbench_reports.page.report import write_report

MakeRun = Callable[..., Run]

OWNERS = {
    "text_retrieval_recall@5_strict": ["text_retrieval_recall@5"],
    "text_retrieval_tie_rate": ["text_retrieval_recall@1", "text_retrieval_recall@5"],
    "image_image_tie_rate": ["image_image_recall@1"],
    "kind/majority_class": ["kind/acc1"],
    "kind/tie_rate": ["kind/acc1"],
    "majority_class": ["acc1"],
    "swap_att/text_acc_strict": ["swap_att/text_acc"],
    "swap_att/image_acc_strict": ["swap_att/image_acc"],
    "swap_att/shorter_caption": ["swap_att/text_acc"],
    "swap_att/same_words": ["swap_att/text_acc"],
    "same_words": ["text_acc"],
    "tie_rate": ["acc1"],
    "late/tie_rate": ["late/text_acc"],
    "late/beyond_window": ["late/text_acc"],
    "reading_blind": ["reading_acc"],
    "reading_shortest": ["reading_acc"],
    "reading_tie_rate": ["reading_acc"],
    "clean_named_word": ["attack_success"],
    "blank_named_word": ["attack_success"],
    "attack_tie_rate": ["attack_success"],
    "a+b(/tie_rate": ["a+b(/acc1"],
    "mine": [],
    "mine_tie_rate": [],
    "other/majority_class": [],
}
"""Worked out by hand: which of all the metrics below each control belongs to."""
METRICS = (
    *sorted({owner for owners in OWNERS.values() for owner in owners}),
    *("text_retrieval_median_rank", "kind/acc5", "swap_obj/text_acc", "macro/text_acc", "word_alone/reading_acc"),
    *("clean_acc", "xtext_acc", "attack_success_rate", "text_retrieval_recall@all"),
)


@pytest.mark.parametrize("control", OWNERS)
def test_a_control_belongs_to_the_metrics_that_its_name_tells(control: str) -> None:
    metrics = {name: Metric(value=0.5) for name in METRICS}
    controls = {control: Metric(value=0.25)}
    owners = [name for name in METRICS if controls_of(name, metrics, controls)]
    assert sorted(owners) == sorted(OWNERS[control])


def test_a_strict_value_is_said_only_where_it_is_another() -> None:
    metrics = {"a/text_acc": Metric(value=0.5), "b/text_acc": Metric(value=0.5)}
    controls = {
        "a/text_acc_strict": Metric(value=0.5),
        "b/text_acc_strict": Metric(value=0.4),
        "b/same_words": Metric(value=None),
    }
    assert controls_of("a/text_acc", metrics, controls) == []
    assert [(each.words, each.value) for each in controls_of("b/text_acc", metrics, controls)] == [
        ("a tie fails", "40.0 %")
    ]


def test_what_belongs_to_no_metric_is_said_of_the_evaluation_where_its_name_is_known() -> None:
    controls = {
        "tie_rate": Metric(value=0.125),
        "gone/same_words": Metric(value=1.0),
        "swap/same_words": Metric(value=1.0),
        "undefined/tie_rate": Metric(value=None, reason="no sample"),
        "mine": Metric(value=0.5),
    }
    found = loose_controls(["swap/text_acc"], controls)
    assert [(each.words, each.value) for each in found] == [
        ("ties", "12.5 %"),
        ("same bag of words (gone)", "100.0 %"),
    ]


@pytest.fixture
def evaluation(parts: SimpleNamespace) -> dict[str, dict[str, object]]:
    """Return an evaluation with controls of a metric, of none, and of an unknown kind."""
    controls = {"swap/shorter_caption": 0.52, "swap/same_words": 1.0, "tie_rate": 0.0, "mine": 0.3}
    return {
        "composition@scenes": {
            "metrics": {
                "swap/text_acc": parts.fraction(0.5, 100, chance=0.5),
                "twin": Metric(value=0.9, unit="cosine"),
            },
            "controls": {name: parts.fraction(value, 100) for name, value in controls.items()},
        }
    }


def cards(path: Path) -> list[str]:
    """Return the words of the tables of a report, without its marks."""
    tables = re.findall(r"<table class=\"card.*?</table>", path.read_text(encoding="utf-8"), re.DOTALL)
    rows = ["|".join(re.findall(r"<tr.*?</tr>", each, re.DOTALL)) for each in tables]
    return [" ".join(re.sub(r"<[^>]*>", "", each).replace("\N{NO-BREAK SPACE}", " ").split()) for each in rows]


def test_controls_stand_beside_the_metric_and_all_of_them_in_the_section(
    make_run: MakeRun, tmp_path: Path, evaluation: dict[str, dict[str, object]]
) -> None:
    write_report([make_run(evaluation)], tmp_path / "report.html")
    on_axis, in_units, section = cards(tmp_path / "report.html")
    assert "swap/text_acc – controls: shorter caption wins 52.0 % · same bag of words 100.0 % 50.0" in on_axis
    assert "composition on scenes – controls: ties 0.0 % |" in on_axis
    assert "controls:" not in in_units + section and "mine" not in on_axis
    assert all(name in section for name in ("swap/shorter_caption", "swap/same_words", "tie_rate", "mine"))


def test_of_several_models_controls_stand_once_where_they_are_the_same_and_else_by_model(
    make_run: MakeRun, tmp_path: Path, evaluation: dict[str, dict[str, object]]
) -> None:
    one, other = (make_run(evaluation, name=name) for name in ("a", "b"))
    record = other.result.evaluations[0]
    controls = {**record.controls, "tie_rate": Metric(value=0.5)}
    changed = replace(other, result=replace(other.result, evaluations=[replace(record, controls=controls)]))
    write_report([one, changed], tmp_path / "report.html")
    on_axis, *_ = cards(tmp_path / "report.html")
    assert on_axis.count("same bag of words") == 1
    assert (
        "composition on scenes – controls of vit-b-32 (a): ties 0.0 % – controls of vit-b-32 (b): ties 50.0 %"
        in on_axis
    )
    controls["swap/same_words"] = Metric(value=0.5)
    write_report([one, changed], tmp_path / "report.html")
    on_axis, *_ = cards(tmp_path / "report.html")
    assert "vit-b-32 (b) – controls: shorter caption wins 52.0 % · same bag of words 50.0 %" in on_axis
