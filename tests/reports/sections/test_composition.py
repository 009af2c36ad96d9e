"""composition in the report: what the figures, the table and the sentences say of what a run holds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing import page, paper, plotted
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import Chart, Hill, ModelKey, Ranges, Rule
from clipbench_reports.galleries.gallery import Fact
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.report import write_report
from clipbench_reports.sections import composition
from clipbench_reports.sections.composition import findings

MakeRun = Callable[..., Run]


def fraction(value: float, chance: float, n: int = 250, half: float = 0.05) -> Metric:
    return Metric(value=value, low=value - half, high=value + half, chance=chance, n=n, higher_is_better=True)


TITLES = {"swap_att": "Colours swapped"}
METRICS = {
    "macro/text_acc": fraction(0.5, 0.25),
    "micro/text_acc": fraction(0.5, 0.25, 500),
    "micro/image_acc": fraction(0.22, 0.25, 500),
    "swap_att/text_acc": fraction(0.27, 0.25),
    "swap_att/image_acc": fraction(0.21, 0.25),
    "swap_att/group_acc": fraction(0.1, 1 / 6),
    "count/text_acc": fraction(0.73, 0.25),
    "count/image_acc": fraction(0.6, 0.25),
    "twin_cosine": Metric(value=0.98, unit="cosine"),
    "other_cosine": Metric(value=0.2, unit="cosine"),
}


def samples(n: int = 40) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    return {
        "sample_id": np.array([f"i{k}" for k in range(n)], object),
        "subset": np.array(["swap_att", "count"] * (n // 2), object),
        "caption": np.array([f"a red cup {k}" for k in range(n)], object),
        "preferred": np.array([f"a blue cup {k}" for k in range(n)], object),
        "margin": np.arange(-n // 2, n // 2) / 100,
        "swap_att/text_acc": np.where(np.arange(n) % 2 == 0, np.arange(n) >= n // 2, np.nan),
        "count/text_acc": np.where(np.arange(n) % 2 == 1, np.arange(n) >= n // 2, np.nan),
        "twin_cosine": draws.uniform(0.9, 1.0, n),
        "other_cosine": draws.uniform(-0.3, 0.6, n),
    }


def parts(**changes: Any) -> dict[str, Any]:
    return {"samples": samples(), "metrics": METRICS, "subsets": TITLES, **changes}


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


@pytest.fixture
def evidence(make_run: MakeRun) -> Callable[..., Evidence]:
    """Return a function that keeps the parts of one evaluation in a run and gives it as evidence."""

    def make(**changes: Any) -> Evidence:
        run = make_run({"composition@scenes": parts(**changes)})
        return Evidence(run, run.result.evaluations[0])

    return make


Make = Callable[..., Evidence]


@pytest.mark.parametrize("draw", [figures.composition, figures.twins])
def test_both_renderers_draw_it_and_its_data_are_listed(
    evidence: Make, tmp_path: Path, draw: Callable[[list[ModelEvidence]], Chart]
) -> None:
    found = draw(alone(evidence()))
    assert page.draw(found).startswith("<svg") and "nan" not in page.draw(found)
    paper.save(found, tmp_path / "figure.png")
    assert list(plotted.rows(found))


def test_the_figure_names_the_best_and_the_worst_subset(evidence: Make) -> None:
    found = figures.composition(alone(evidence()))
    assert found.title == "Captions are told apart best in “count” (73.0 %) and worst in “Colours swapped” (27.0 %)."
    assert "Colours swapped: captions 27.0 %, images 21.0 %, both 10.0 %." in found.detail
    (panel,) = found.panels
    ranges = {mark.name: mark for mark in panel.marks if isinstance(mark, Ranges)}
    assert {name: list(mark.xs) for name, mark in ranges.items()} == {
        "captions": [0.27, 0.73],
        "images": [0.21, 0.6],
        "both": [0.1],
    }  # means over subsets are not drawn
    assert list(ranges["captions"].ids) == ["Colours swapped", "count"] and list(ranges["both"].ids) == [
        "Colours swapped"
    ]
    assert [mark.name for mark in lay_out(found).legend] == ["captions", "images", "both", "chance"]


def test_each_row_has_its_own_chance_and_each_subset_its_name(evidence: Make) -> None:
    (panel,) = figures.composition(alone(evidence())).panels
    rows = {y: x for mark in panel.marks if isinstance(mark, Ranges) for x, y in zip(mark.xs, mark.ys, strict=True)}
    rules = [mark for mark in panel.marks if isinstance(mark, Rule)]
    assert [rule.at for rule in rules] == [0.25, 0.25, 1 / 6, 0.25, 0.25]
    assert [rule.span for rule in rules] == [(y - 0.5, y + 0.5) for y in sorted(rows)]
    assert [rows[y] for y in sorted(rows)] == [0.27, 0.21, 0.1, 0.73, 0.6]
    tops = sorted(rows)
    assert list(panel.y.ticks) == pytest.approx([tops[1], (tops[3] + tops[4]) / 2])
    assert list(panel.y.names) == ["Colours swapped", "count"] and panel.y.low > tops[-1] > tops[0] > panel.y.high


def test_a_single_set_is_told_with_its_chance(evidence: Make) -> None:
    found = figures.composition(alone(evidence(metrics={"image_acc": fraction(0.31, 0.22, 246)})))
    assert found.title == "Images are told apart in 31.0 % of 246 items, chance 22.0 %."


def test_an_undefined_accuracy_is_not_drawn(evidence: Make) -> None:
    with pytest.raises(MissingEvidence, match="no accuracy of choices was recorded"):
        figures.composition(alone(evidence(metrics={"text_acc": Metric(value=None, reason="none")})))


def test_the_cosines_of_twins_stand_beside_those_of_unrelated_captions(evidence: Make) -> None:
    given = samples()
    found = figures.twins(alone(evidence(samples=given)))
    twin, other = given["twin_cosine"].mean(), given["other_cosine"].mean()
    assert found.title == (
        f"A caption’s cosine on average: with its false twin {twin:.4f}, with an unrelated caption {other:.4f}."
    )
    hills = [mark for mark in found.panels[0].marks if isinstance(mark, Hill)]
    assert [hill.name for hill in hills] == ["its false twin", "an unrelated caption"]
    assert not lay_out(found).legend  # the names stand beside the hills


def test_without_twins_there_is_no_figure_of_them(evidence: Make) -> None:
    given = {name: column for name, column in samples().items() if not name.endswith("_cosine")}
    with pytest.raises(MissingEvidence, match="no captions of one item were compared"):
        figures.twins(alone(evidence(samples=given | {"twin_cosine": np.full(40, np.nan)})))


def test_choices_lost_by_the_most_come_first(evidence: Make) -> None:
    table = composition.lost_choices(evidence())
    assert table.rows[0] == ["a red cup 0", "a blue cup 0", "Colours swapped", "−0.2000"]
    assert len(table.rows) == 15 and table.title == "Lost choices, the widest margins first (20 items lost in all)"
    with pytest.raises(MissingEvidence, match="no choice among captions was lost"):
        composition.lost_choices(evidence(samples=samples() | {"margin": np.ones(40)}))


def test_an_item_lost_by_its_images_alone_is_no_lost_choice_of_captions(evidence: Make) -> None:
    won = samples() | {"swap_att/text_acc": np.where(np.arange(40) % 2 == 0, 1.0, np.nan)}
    table = composition.lost_choices(evidence(samples=won))
    assert {row[2] for row in table.rows} == {"count"} and "(10 items lost in all)" in table.title
    assert "captions and of images together" in table.facts


def test_the_margin_of_captions_is_shown_where_it_was_recorded(evidence: Make) -> None:
    table = composition.lost_choices(evidence(samples=samples() | {"text_margin": np.full(40, -0.5)}))
    assert table.rows[0][3] == "−0.5000" and "captions and of images" not in table.facts


def record(metrics: dict[str, Metric]) -> EvaluationRecord:
    return EvaluationRecord(
        task="composition", task_version=1, params={}, dataset=DatasetRecord(id="d"), status="ok", metrics=metrics
    )


def test_sentences_say_the_whole_the_weak_subsets_and_the_twins() -> None:
    said = [(found.mark, found.text) for found in findings(record(METRICS))]
    assert said == [
        (
            "good",
            (
                "Puts the captions that are true of an image above the false ones in 50.0 % of 500 items"
                " (95 % interval [45.0, 55.0]; chance 25.0 %)."
            ),
        ),
        (
            "level",
            "Telling captions apart: not significantly different from chance in “swap_att” (27.0 %; chance 25.0).",
        ),
        (
            "level",
            (
                "Puts the images that a caption is true of above the others in 22.0 % of 500 items: not significantly"
                " different from chance (25.0 %; 95 % interval [17.0, 27.0])."
            ),
        ),
        ("level", "Telling images apart: not significantly different from chance in “swap_att” (21.0 %; chance 25.0)."),
        ("plain", "A caption and its false twin have cosine 0.9800 on average; a caption and an unrelated one 0.2000."),
    ]


def test_subsets_below_chance_are_said_to_be_below_it() -> None:
    below = METRICS | {"swap_att/text_acc": fraction(0.05, 0.25), "count/text_acc": fraction(0.27, 0.25)}
    said = [found.text for found in findings(record(below))]
    assert (
        "Telling captions apart: not significantly different from chance in “count” (27.0 %; chance 25.0);"
        " below chance in “swap_att” (5.0 %; chance 25.0)."
    ) in said
    del below["count/text_acc"]
    said = [found.text for found in findings(record(below))]
    assert "Telling captions apart: below chance in “swap_att” (5.0 %; chance 25.0)." in said


def test_subsets_are_named_by_their_titles() -> None:
    titled = replace(record(METRICS), subsets=TITLES)
    said = [found.text for found in findings(titled) if found.mark == "level"]
    assert any("different from chance in “Colours swapped” (27.0 %; chance 25.0)." in text for text in said)


def test_a_set_without_subsets_names_none() -> None:
    (found,) = findings(record({"image_acc": fraction(0.2, 0.22)}))
    assert found.mark == "level" and found.text.startswith("Puts the images that a caption is true of above")


def test_the_page_holds_figures_and_table(make_run: MakeRun, tmp_path: Any) -> None:
    run = make_run({"composition@scenes": parts()})
    write_report([run], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Captions are told apart best in" in html and "Lost choices, the widest margins first" in html
    assert "Colours swapped" in html and ">nan" not in html


def test_failures_are_shown_with_the_caption_that_was_preferred(evidence: Make) -> None:
    found = composition.mistaken(evidence(), PageBudget(1000))
    assert "Margin: by how much the item was lost at its worst" in found.note
    worst = found.failures[0]
    assert worst.facts == [
        Fact("True", "a red cup 0"),
        Fact("Preferred", "a blue cup 0"),
        Fact("Margin", "", "−0.2000"),
        Fact("Subset", "Colours swapped"),
    ]
    assert worst.images == []  # the run kept none
