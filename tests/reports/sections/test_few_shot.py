"""The section on few labels: what it says where the prompts are worth a number of labels, and where there is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Line, ModelKey, Rule, Shade
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.sections.few_shot import FEW_LABELS_ENOUGH, SECTION, by_labels, misnamed

MakeRun = Callable[..., Run]
NUMBERS, KNN, LINEAR, PROMPT = [1.0, 4.0, 16.0, 90.0], [0.3, 0.4, 0.5, 0.6], [0.3, 0.5, 0.7, 0.8], [0.6, 0.65, 0.7, 0.8]
WORTH = Metric(value=8.0, low=5.0, high=12.5, unit="labels", n=900, higher_is_better=True)


def acc(value: float) -> Metric:
    return Metric(value=value, low=value - 0.05, high=value + 0.05, n=900, chance=0.1, higher_is_better=True)


def few_shot(worth: Metric = WORTH, **parts: Any) -> dict[str, Any]:
    curves = {"knn": KNN, "linear_probe": LINEAR, "prompt_probe": PROMPT}
    names = ["1", "4", "16", "all"]
    metrics = {
        f"{method}_acc1@{name}": acc(value)
        for method, values in curves.items()
        for name, value in zip(names, values, strict=True)
    }
    return {
        "metrics": {**metrics, "zero_shot_acc1": acc(0.6), "zero_shot_worth": worth},
        "curves": {
            f"{method}_acc1_by_labels": Curve(x=NUMBERS, y=ys, low=[y - 0.05 for y in ys], high=[y + 0.05 for y in ys])
            for method, ys in curves.items()
        },
        **parts,
    }


def evaluation(make_run: MakeRun, **parts: Any) -> EvaluationRecord:
    return make_run({"few-shot@data": few_shot(**parts)}).result.evaluations[0]


def test_the_worth_is_said_with_its_interval(make_run: MakeRun) -> None:
    worth, probe = SECTION.findings(evaluation(make_run))
    assert worth.text == (
        "The prompts are worth 8.0 labels a class (95 % interval [5.0, 12.5]): with so many, a linear probe reaches their "
        "accuracy, 60.0 %."
    )
    assert (worth.mark, worth.weakness, probe.mark) == ("plain", "", "good")
    assert probe.text.startswith(
        "A linear probe with all labels names the right class first for 80.0 % of 900 images ("
    )


@pytest.mark.parametrize(
    ("worth", "said", "weakness"),
    [
        (
            Metric(value=None, unit="labels", reason="not reached with up to 90 labels a class: why"),
            "The accuracy of the prompts is not reached with up to 90 labels a class: why.",
            "",
        ),
        (
            Metric(value=None, unit="labels", reason="reached with 1 label a class already: why"),
            "The accuracy of the prompts is reached with 1 label a class already: why.",
            FEW_LABELS_ENOUGH,
        ),
        (
            Metric(value=2.0, low=1.2, high=3.9, unit="labels"),
            "The prompts are worth 2.0 labels a class (",
            FEW_LABELS_ENOUGH,
        ),
    ],
)
def test_what_is_worth_little_or_cannot_be_told_is_said_in_words(
    make_run: MakeRun, worth: Metric, said: str, weakness: str
) -> None:
    found = SECTION.findings(evaluation(make_run, worth=worth))[0]
    assert found.text.startswith(said) and found.weakness == weakness


def test_the_figure_has_a_line_for_each_classifier_beside_the_prompts(make_run: MakeRun) -> None:
    run = make_run({"few-shot@data": few_shot()})
    models = [ModelEvidence(ModelKey("tiny", 0), Evidence(run, run.result.evaluations[0]))]
    chart = figures.few_shot(models)
    (panel,) = chart.panels
    assert [mark.name for mark in panel.marks if isinstance(mark, Line)] == [
        "k-NN",
        "linear probe",
        "prompt-initialised probe",
    ]
    assert [(mark.low, mark.high) for mark in panel.marks if isinstance(mark, Shade)] == [(5.0, 12.5)]
    assert {mark.name: mark.at for mark in panel.marks if isinstance(mark, Rule)} == {"chance": 0.1, "zero-shot": 0.6}
    assert panel.x.is_log and list(panel.x.ticks) == NUMBERS
    assert chart.title == (
        "A linear probe has 30.0 % with 1 label a class and 80.0 % with 90 labels a class; the prompts have 60.0 %, and are "
        "worth 8.0 labels a class."
    )
    both = figures.few_shot([*models, ModelEvidence(ModelKey("other", 1), models[0].evidence)])
    assert len(both.panels) == 3 and "80.0 and 60.0 %" in both.title


def test_classes_of_unequal_size_have_a_mean_number_of_labels(make_run: MakeRun) -> None:
    run = make_run(
        {"few-shot@data": few_shot(curves={"linear_probe_acc1_by_labels": Curve(x=[1, 34.5], y=[0.3, 0.8])})}
    )
    chart = figures.few_shot([ModelEvidence(ModelKey("tiny", 0), Evidence(run, run.result.evaluations[0]))])
    assert "1 label a class and 80.0 % with 34.5 labels a class on average;" in chart.title


def test_numbers_that_are_too_near_have_one_mark(make_run: MakeRun) -> None:
    curve = Curve(x=[1.0, 16.0, 17.0], y=[0.1, 0.2, 0.3])
    run = make_run({"few-shot@data": few_shot(curves={"linear_probe_acc1_by_labels": curve})})
    chart = figures.few_shot([ModelEvidence(ModelKey("tiny", 0), Evidence(run, run.result.evaluations[0]))])
    assert list(chart.panels[0].x.ticks) == [1.0, 17.0]


def test_the_table_has_a_row_for_each_number(make_run: MakeRun) -> None:
    run = make_run({"few-shot@data": few_shot()})
    table = by_labels(Evidence(run, run.result.evaluations[0]))
    assert [row[0] for row in table.rows] == ["1", "4", "16", "all"]
    assert table.rows[1][2] == "50.0 [45.0, 55.0]" and "have 60.0 [55.0, 65.0] on the same images" in table.facts
    bare = make_run({"few-shot@data": {"metrics": {}}}, name="bare")
    with pytest.raises(MissingEvidence, match="no accuracy of a linear probe"):
        by_labels(Evidence(bare, bare.result.evaluations[0]))


def test_the_worst_images_are_shown_with_both_answers(hang: Callable[..., Any]) -> None:
    samples = {
        "sample_id": ["a", "b", "draw 1:a"],
        "image": ["1" * 32, "2" * 32, "1" * 32],
        "label": ["cat", "dog", "cat"],
        "predicted": ["dog", "dog", ""],
        "by_prompt": ["cat", "dog", ""],
        "margin": [-0.5, 0.5, np.nan],
        "linear_probe_acc1@all": [0.0, 1.0, np.nan],
    }
    found = hang(misnamed, **samples)
    (failure,) = found.failures
    assert [(fact.term, fact.words) for fact in failure.facts] == [
        ("True class", "cat"), ("Probe", "dog"), ("Prompts", "cat"), ("Margin", "−50.0 pp")
    ]  # fmt: skip
