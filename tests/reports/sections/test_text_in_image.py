"""Written words in the report: the figures, tables and sentences say what the run holds, and nothing where it holds none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing import page, paper, plotted
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import Chart, Line, ModelKey, Ranges, Rule
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.report import write_report
from clipbench_reports.sections import text_in_image
from clipbench_reports.sections.text_in_image import findings

MakeRun = Callable[..., Run]
Make = Callable[..., Evidence]
CURVE = Curve(x=[-0.4, 0.0, 0.4], y=[0.1, 0.7, 0.2], low=[0.0, 0.6, 0.1], high=[0.2, 0.8, 0.3], x_label="below, widths")


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


@pytest.fixture
def evidence(make_run: MakeRun) -> Make:
    """Return a function that keeps the parts of one text-in-image evaluation in a run and gives it as evidence."""

    def make(**parts: Any) -> Evidence:
        run = make_run({"text-in-image@data": parts})
        return Evidence(run, run.result.evaluations[0])

    return make


@pytest.fixture
def whole(parts: SimpleNamespace) -> dict[str, Any]:
    """Return all that the task leaves behind on the generated world."""
    nan = np.nan
    shares = {"clean_acc": 0.95, "blank_acc": 0.9, "benign_acc": 0.97, "attacked_acc": 0.2}
    return {
        "samples": {
            "sample_id": np.array(["reading/1", "reading/2", "attack/1", "attack/2", "attack/3", "attack/3b"], object),
            "written": np.array(["the word cat", "the word dog", "", "", "", ""], object),
            "read": np.array(["the word cow", "the word dog", "", "", "", ""], object),
            "reading_acc": np.array([0.0, 1.0, nan, nan, nan, nan]),
            "object": np.array(["", "", "cat", "cat", "dog", "dog"], object),
            "predicted": np.array(["", "", "pear", "cat", "dog", "pear"], object),
            "attacked_acc": np.array([nan, nan, 0.0, 1.0, 1.0, nan]),
            "attack_success": np.array([nan, nan, 1.0, 0.0, 0.0, nan]),
        },
        "metrics": {
            "reading_acc": parts.fraction(0.5, 300, chance=0.1),
            "word_alone/reading_acc": parts.fraction(0.6, 200, chance=0.1),
            "with_object/reading_acc": parts.fraction(0.3, 100, chance=0.1),
            "attack_success": parts.fraction(0.74, 300, chance=0.1, higher_is_better=False),
            **{name: parts.fraction(share, 300, chance=0.1) for name, share in shares.items()},
            "drop": Metric(value=0.75, low=0.7, high=0.8, n=300, unit="difference", chance=0.0, higher_is_better=False),
        },
        "controls": {"clean_named_word": parts.fraction(0.01, 300, chance=0.1, higher_is_better=None)},
        "curves": {"attack_success_by_offset": CURVE, "attacked_acc_by_offset": CURVE},
    }


@pytest.mark.parametrize("draw", [figures.hijacking, figures.response("offset"), figures.reading])
def test_both_renderers_draw_it_and_its_data_are_listed(
    evidence: Make, whole: dict[str, Any], tmp_path: Path, draw: Callable[[list[ModelEvidence]], Chart]
) -> None:
    found = draw(alone(evidence(**whole)))
    assert page.draw(found).startswith("<svg") and "nan" not in page.draw(found)
    paper.save(found, tmp_path / "figure.png")
    assert list(plotted.rows(found))


def test_the_four_conditions_stand_side_by_side(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.hijacking(alone(evidence(**whole)))
    assert (
        found.title
        == "Accuracy 95.0 % without a label, 20.0 % with another thing's name on the object; attack success 74.0 %."
    )
    assert found.detail == (
        "Classified as the object: no label 95.0 %, blank label 90.0 %, its own name 97.0 %, another name 20.0 %. "
        "Classified as the attacking word: no label 1.0 %, another name 74.0 %."
    )
    rule, right, fooled = found.panels[0].marks
    assert isinstance(rule, Rule) and isinstance(right, Ranges) and isinstance(fooled, Ranges)
    assert (rule.at, rule.axis, rule.role) == (0.1, "y", "chance")
    assert (right.role, right.name, fooled.role, fooled.name) == ("image", "object", "text", "attacking word")
    assert list(right.ys) == [0.95, 0.9, 0.97, 0.2] and list(fooled.ys) == [0.01, 0.74]
    assert np.rint(right.xs).tolist() == [0, 1, 2, 3] and np.rint(fooled.xs).tolist() == [0, 3]
    assert list(fooled.ids) == ["no label", "another name"]
    assert fooled.lows[1] == whole["metrics"]["attack_success"].low
    assert list(found.panels[0].x.names) == ["no\nlabel", "blank\nlabel", "its own\nname", "another\nname"]


def test_conditions_that_were_not_photographed_are_left_out(evidence: Make, parts: SimpleNamespace) -> None:
    undefined = Metric(value=None, reason="the data have no clean images of the objects")
    metrics = {"clean_acc": undefined, "blank_acc": parts.fraction(0.9, 154), "attacked_acc": parts.fraction(0.2, 154)}
    found = figures.hijacking(alone(evidence(metrics=metrics)))
    assert found.title == "Accuracy 90.0 % with a blank label, 20.0 % with another thing's name on the object."
    assert list(found.panels[0].x.names) == ["blank\nlabel", "another\nname"]
    assert list(found.panels[0].x.ticks) == [0, 1]


def test_equal_shares_stand_beside_each_other(evidence: Make, parts: SimpleNamespace) -> None:
    metrics = {name: parts.fraction(0.5, 50) for name in ("clean_acc", "attacked_acc", "attack_success")}
    right, fooled = (mark for mark in figures.hijacking(alone(evidence(metrics=metrics))).panels[0].marks)
    assert isinstance(right, Ranges) and isinstance(fooled, Ranges)
    assert fooled.xs[-1] == right.xs[-1] and 0.05 < fooled.aside - right.aside < 0.5


def test_response_curves_name_their_ends_and_claim_no_peak(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.response("offset")(alone(evidence(**whole)))
    assert found.title == "Place of the label: attack success 10.0 % at −0.4 and 20.0 % at 0.4."
    assert found.detail == "−0.4 → 10.0 %, 0 → 70.0 %, 0.4 → 20.0 %"
    lines = [mark for mark in found.panels[0].marks if isinstance(mark, Line)]
    assert [(line.role, line.name) for line in lines] == [("image", "object"), ("text", "attacking word")]
    assert all((line.xs, line.ys, line.lows, line.highs) == (CURVE.x, CURVE.y, CURVE.low, CURVE.high) for line in lines)


def test_reading_stands_against_guessing(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.reading(alone(evidence(**whole, subsets={"word_alone": "Word alone"})))
    assert found.title == "The written word is read correctly in 50.0 % of 300 images, where guessing gives 10.0 %."
    *guesses, dots = found.panels[0].marks
    assert [(rule.at, rule.span) for rule in guesses if isinstance(rule, Rule)] == [
        (0.1, (place - 0.4, place + 0.4)) for place in range(3)
    ]
    assert isinstance(dots, Ranges) and list(dots.xs) == [0.5, 0.6, 0.3] and not dots.is_upright
    assert list(found.panels[0].y.names) == ["all", "Word alone", "with_object"]
    assert [mark.name for mark in lay_out(found).legend] == ["chance"]


def test_probes_stand_beside_the_prompts(evidence: Make, whole: dict[str, Any], parts: SimpleNamespace) -> None:
    shares = {"zero_shot": (0.9, 0.2, 0.7), "linear_probe": (0.8, 0.75, 0.01), "knn": (0.6, 0.5, 0.03)}
    metrics = {
        f"{key}_{name}": parts.fraction(share, 200, chance=0.1, higher_is_better=name != "attack_success")
        for key, values in shares.items()
        for name, share in zip(("plain_acc", "attacked_acc", "attack_success"), values, strict=True)
    }
    less = Metric(value=0.69, low=0.6, high=0.76, n=200, unit="difference", chance=0.0)
    named = {
        f"{key}_plain_named_word": parts.fraction(share, 200)
        for key, share in (("linear_probe", 0.02), ("zero_shot", 0.04))
    }
    asked = evidence(
        **{
            **whole,
            "metrics": {**whole["metrics"], **metrics, "zero_shot_minus_linear_probe": less},
            "controls": {**whole["controls"], **named},
        }
    )
    found = figures.probe_attacks(alone(asked))
    assert found.title == "Attack success by classifier: zero-shot 70.0 %, linear probe 1.0 %, k-NN 3.0 %."
    assert found.detail.startswith("Object, no word on it: zero-shot 90.0 %, linear probe 80.0 %, k-NN 60.0 %.")
    assert "none that an attack shows" in found.reading and "of these probes" in found.reading
    ranges = [mark for mark in found.panels[0].marks if isinstance(mark, Ranges)]
    assert [list(mark.ys) for mark in ranges] == [[0.9, 0.8, 0.6], [0.2, 0.75, 0.5], [0.7, 0.01, 0.03]]
    *_, told = findings(asked.evaluation)
    assert told.text == (
        "The linear probe trained here on the same image vectors is fooled less often than the prompts: in 1.0 % of 200 attacks,"
        " the prompts in 70.0 % among the same classes; difference 69.0 pp (95 % interval [60.0, 76.0]). Without the word, the probe"
        " names the word's class in 2.0 % of cases, the prompts in 4.0 %. The interval holds for the probes of this run alone: other training images give others."
    )
    none = replace(
        asked.evaluation,
        metrics={
            **asked.evaluation.metrics,
            "zero_shot_minus_linear_probe": replace(less, value=0.01, low=-0.02, high=0.04),
        },
    )
    told = findings(none)[-1]
    assert "image vectors is fooled in 1.0 % of 200" in told.text and "[−2.0, 4.0]), not significant. " in told.text
    bare = findings(replace(none, controls={}))[-1]
    assert bare.text.endswith(
        "not significant. The interval holds for the probes of this run alone: other training images give others."
    )
    one = replace(less, value=1.0, low=None, high=None, n=1)
    untested = findings(replace(none, controls={}, metrics={**none.metrics, "zero_shot_minus_linear_probe": one}))[-1]
    assert untested.text.endswith("difference 100.0 pp.")
    reason = "the data show too few objects"
    undefined = evidence(
        metrics={
            "attacked_acc": parts.fraction(0.5, 9),
            "linear_probe_attack_success": Metric(value=None, reason=reason),
        }
    )
    with pytest.raises(MissingEvidence, match=reason):
        figures.probe_attacks(alone(undefined))
    assert reason in findings(undefined.evaluation)[-1].text
    with pytest.raises(MissingEvidence, match="attacks on probes"):
        figures.probe_attacks(alone(evidence(**whole)))


def test_tables_count_own_attacks_and_misread_words(evidence: Make, whole: dict[str, Any]) -> None:
    table = text_in_image.attacked_objects(evidence(**whole))
    assert table.rows == [["cat", "pear", "50.0", "50.0", "2"], ["dog", "–", "0.0", "100.0", "1"]]
    words = text_in_image.misread_words(evidence(**whole))
    assert words.rows == [["the word cat", "the word cow", "1", "1"]]
    assert words.title == "Words that are misread (1 of 2 words)"


def test_what_the_data_do_not_ask_is_said_once(evidence: Make, parts: SimpleNamespace) -> None:
    bare = evidence(metrics={"reading_acc": parts.fraction(0.5, 300)})
    with pytest.raises(MissingEvidence, match="the data hold no objects with another thing's name"):
        figures.hijacking(alone(bare))
    for name in ("height", "contrast", "offset"):
        with pytest.raises(MissingEvidence, match="labels were made in one way only"):
            figures.response(name)(alone(bare))
    with pytest.raises(MissingEvidence, match="the data hold no words to read"):
        figures.reading(alone(evidence(metrics={"attacked_acc": parts.fraction(0.5, 300)})))


def test_tables_of_which_no_row_counts_say_so(evidence: Make, whole: dict[str, Any]) -> None:
    none = {name: np.full(6, np.nan) for name in ("reading_acc", "attack_success")}
    bare = evidence(samples={**whole["samples"], **none})
    with pytest.raises(MissingEvidence, match="the data hold no objects with another thing's name"):
        text_in_image.attacked_objects(bare)
    with pytest.raises(MissingEvidence, match="the data hold no words to read"):
        text_in_image.misread_words(bare)


def test_the_sentences_say_how_often_a_label_decides(evidence: Make, whole: dict[str, Any]) -> None:
    reading, fooled = findings(evidence(**whole).evaluation)
    assert reading.mark == "good" and reading.text.startswith("Reads the written word right in 50.0 % of 300 images")
    assert fooled.mark == "weak"
    assert fooled.text.startswith("Fooled by a written label in 74.0 % of 300 attacks (95 % interval ")
    assert fooled.text.endswith(
        "; without the label its word is named in 1.0 % (95 % interval [0.0, 2.1]); "
        "names the object in 95.0 % without a label, 90.0 % with a blank one, 20.0 % under attack."
    )


def test_attacks_are_a_weakness_where_the_word_is_named_more_often_than_without_its_label(
    evidence: Make, parts: SimpleNamespace
) -> None:
    def mark(share: float, named: float | None) -> str:
        success = parts.fraction(share, 300, chance=0.1, higher_is_better=False)
        controls = {} if named is None else {"clean_named_word": parts.fraction(named, 300, chance=0.1)}
        (told,) = findings(evidence(metrics={"attack_success": success}, controls=controls).evaluation)
        assert told.text.startswith(
            "Fooled" if told.mark == "weak" else "Takes an object for the word on its label in "
        )
        return str(told.mark)

    assert (mark(0.01, 0.2), mark(0.01, 0.01), mark(0.3, None)) == ("good", "plain", "plain")
    assert mark(0.07, 0.0) == "weak"  # below one in ten classes, and far above what is named without a label


def test_the_report_shows_all_of_it(make_run: MakeRun, whole: dict[str, Any], tmp_path: Any) -> None:
    write_report([make_run({"text-in-image@scenes": whole})], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for words in ("Fooled by a written label", "Place of the label", "Words that are misread", "75.0", "points"):
        assert words in page, words
