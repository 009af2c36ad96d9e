"""Written words in the report: the figures, tables and sentences say what the run holds, and nothing where it holds none."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.result import Curve, Metric, Run
from clipbench_reports import attack_tables, figures
from clipbench_reports.evidence import Evidence, Lacking
from clipbench_reports.findings import findings
from clipbench_reports.html import write_report

MakeRun = Callable[..., Run]
Make = Callable[..., Evidence]
CURVE = Curve(x=[-0.4, 0.0, 0.4], y=[0.1, 0.7, 0.2], low=[0.0, 0.6, 0.1], high=[0.2, 0.8, 0.3], x_label="below, widths")


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


def test_the_four_conditions_stand_side_by_side(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.hijacking(evidence(**whole))
    assert (
        found.title
        == "Right in 95.0 % without a label, in 20.0 % with another thing's name on it; taken for the word in 74.0 %."
    )
    assert (
        "Named the object: no label 95.0 %, blank label 90.0 %, its own name 97.0 %, another name 20.0 %."
        in found.picture
    )
    assert "Named the other name: no label 1.0 %, another name 74.0 %." in found.picture
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5" class="dot (\w+)"', found.picture)
    assert [css for *_, css in dots] == ["image"] * 4 + ["text"] * 2
    heights = [float(y) for _, y, _ in dots]
    # The plot runs from 242 (0 %) up to 12 (100 %).
    assert heights == pytest.approx([242 - 230 * share for share in (0.95, 0.9, 0.97, 0.2, 0.01, 0.74)], abs=0.06)


def test_conditions_that_were_not_photographed_are_left_out(evidence: Make, parts: SimpleNamespace) -> None:
    undefined = Metric(value=None, reason="the data have no clean pictures of the objects")
    metrics = {"clean_acc": undefined, "blank_acc": parts.fraction(0.9, 154), "attacked_acc": parts.fraction(0.2, 154)}
    found = figures.hijacking(evidence(metrics=metrics))
    assert found.title == "Right in 90.0 % with a blank label, in 20.0 % with another thing's name on it."
    assert "no label" not in found.picture and "nan" not in found.picture


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_no_label_of_a_series_leaves_the_plot(evidence: Make, parts: SimpleNamespace, share: float) -> None:
    metrics = {name: parts.fraction(share, 50) for name in ("clean_acc", "attacked_acc", "attack_success")}
    picture = figures.hijacking(evidence(metrics=metrics)).picture
    places = [float(y) for y in re.findall(r'y="([\d.]+)" class="halo', picture)]
    assert len(places) == 2 and abs(places[0] - places[1]) > 14 and all(12 < y < 242 for y in places)


def test_response_curves_name_their_ends_and_their_peak(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.response("offset")(evidence(**whole))
    assert (
        found.title
        == "Place of the label: taken for the word in 10.0 % at −0.4 and 20.0 % at 0.4, at most 70.0 % at 0."
    )
    assert found.picture.count('class="area') == 2 and "−0.4 → 10.0 %" in found.picture


def test_reading_stands_against_guessing(evidence: Make, whole: dict[str, Any]) -> None:
    found = figures.reading(evidence(**whole))
    assert found.title == "Reads the written word right in 50.0 % of 300 pictures, where guessing gives 10.0 %."
    assert found.picture.count('class="line chance"') == 3 and "a word alone: 60.0 %." in found.picture


def test_tables_count_own_attacks_and_misread_words(evidence: Make, whole: dict[str, Any]) -> None:
    table = attack_tables.attacked_objects(evidence(**whole))
    assert table.rows == [["cat", "pear", "50.0", "50.0", "2"], ["dog", "–", "0.0", "100.0", "1"]]
    words = attack_tables.misread_words(evidence(**whole))
    assert words.rows == [["the word cat", "the word cow", "1", "1"]]
    assert words.title == "Words that are misread (1 of 2 words)"


def test_what_the_data_do_not_ask_is_said_once(evidence: Make, parts: SimpleNamespace) -> None:
    bare = evidence(metrics={"reading_acc": parts.fraction(0.5, 300)})
    with pytest.raises(Lacking, match="the data hold no objects with another thing's name"):
        figures.hijacking(bare)
    for name in ("height", "contrast", "offset"):
        with pytest.raises(Lacking, match="labels were made in one way only"):
            figures.response(name)(bare)
    with pytest.raises(Lacking, match="the data hold no words to read"):
        figures.reading(evidence(metrics={"attacked_acc": parts.fraction(0.5, 300)}))


def test_tables_of_which_no_row_counts_say_so(evidence: Make, whole: dict[str, Any]) -> None:
    none = {name: np.full(6, np.nan) for name in ("reading_acc", "attack_success")}
    bare = evidence(samples={**whole["samples"], **none})
    with pytest.raises(Lacking, match="the data hold no objects with another thing's name"):
        attack_tables.attacked_objects(bare)
    with pytest.raises(Lacking, match="the data hold no words to read"):
        attack_tables.misread_words(bare)


def test_the_sentences_say_how_often_a_label_decides(evidence: Make, whole: dict[str, Any]) -> None:
    reading, fooled = findings(evidence(**whole).evaluation)
    assert reading.mark == "good" and reading.text.startswith("Reads the written word right in 50.0 % of 300 pictures")
    assert fooled.mark == "weak"
    assert fooled.text.startswith("Fooled by a written label in 74.0 % of 300 attacks (95 % interval ")
    assert fooled.text.endswith(
        "names the object in 95.0 % without a label, 90.0 % with a blank one, 20.0 % under attack."
    )


def test_fewer_successes_than_chance_are_no_weakness(evidence: Make, parts: SimpleNamespace) -> None:
    success = parts.fraction(0.01, 300, chance=0.1, higher_is_better=False)
    assert findings(evidence(metrics={"attack_success": success}).evaluation)[0].mark == "good"
    level = parts.fraction(0.1, 300, chance=0.1, higher_is_better=False)
    assert findings(evidence(metrics={"attack_success": level}).evaluation)[0].mark == "plain"


def test_the_report_shows_all_of_it(make_run: MakeRun, whole: dict[str, Any], tmp_path: Any) -> None:
    write_report([make_run({"text-in-image@scenes": whole})], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for words in ("Fooled by a written label", "Place of the label", "Words that are misread", "75.0", "points"):
        assert words in page, words
