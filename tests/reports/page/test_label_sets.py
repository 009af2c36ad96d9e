"""Several label sets of the same images: each is shown as it would be alone, and says which it is."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.record import Curve
from clipbench.results.run import Run
from clipbench_reports import figures
from clipbench_reports.drawing.marks import Chart, ModelKey
from clipbench_reports.drawing.page import draw
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.label_sets import PLAIN, label_sets, within
from clipbench_reports.page.report import write_report
from clipbench_reports.sections import zero_shot as tables
from clipbench_reports.sections.loading import load_section

MakeRun = Callable[..., Run]
PAIRS = tuple(f"{colour} {kind}" for colour in ("blue", "cyan", "pink", "red", "tan") for kind in "abcdefghijklmnopqr")
TITLES = {"kind": "Kind of object", "colour_kind": "Colour and kind of object"}
DRAWS = (figures.confusion, figures.reliability, figures.templates)
TABLES = (tables.class_recall, tables.confused_pairs, tables.template_scores)


@pytest.fixture
def by_set(parts: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """Return the parts of two label sets of 400 images, of 10 and of 90 classes."""
    rng = np.random.default_rng(0)
    return {"kind": parts.zero_shot(rng, parts.classes, n=400), "colour_kind": parts.zero_shot(rng, PAIRS, n=400)}


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes the report of some runs and gives its body without styles."""

    def make(*runs: Run) -> str:
        write_report(runs, tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8").partition("<body>")[2]

    return make


Page = Callable[..., str]
BySet = dict[str, dict[str, Any]]


def blocks(page: str) -> list[str]:
    """Return the parts of the first task's section that begin with the heading of a label set."""
    section = page.partition('aria-labelledby="zero-shot"')[2].partition("</section>")[0]
    first, *others = section.split('id="zero-shot/sets/')
    return [first, *others]


@pytest.mark.parametrize("make", [*DRAWS, *TABLES])
def test_a_set_among_others_is_drawn_as_it_would_be_alone(
    make: Callable[..., object], make_run: MakeRun, parts: SimpleNamespace, by_set: BySet
) -> None:
    def made(evidence: Evidence) -> object:
        if make in TABLES:
            return make(evidence)
        chart = make([ModelEvidence(ModelKey("model", 0), evidence)])
        assert isinstance(chart, Chart)
        return chart.title, chart.reading, draw(chart)

    together = make_run({"zero-shot@mine": parts.side_by_side(by_set)})
    for label_set, alone in by_set.items():
        run = make_run({"zero-shot@mine": alone}, name=label_set)
        evidence = Evidence(together, together.result.evaluations[0]).of(label_set)
        assert made(evidence) == made(Evidence(run, run.result.evaluations[0]))


def test_every_figure_and_table_is_there_for_each_set(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    found = page(make_run({"zero-shot@scenes": parts.side_by_side(by_set) | {"subsets": TITLES}}))
    assert "Not drawn" not in found
    for block, title, n in zip(blocks(found), ("Kind of object", "Colour and kind of object"), (10, 90), strict=True):
        assert block.count("<figure") == 3 and block.count('<table class="list') == 3
        assert f"<b>{title}" in block
        assert f"{n} classes, such as" in block


def test_sets_without_a_title_have_their_name(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    first, second = blocks(page(make_run({"zero-shot@mine": parts.side_by_side(by_set)})))
    assert "<b>kind</b>" in first and "<b>colour_kind</b>" in second


def test_notes_stand_with_their_set_and_shared_ones_once(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    by_set["kind"] |= {"notes": ["kinds have 4 prompts"]}
    by_set["colour_kind"] |= {"notes": ["colours have 5 prompts"]}
    found = page(make_run({"zero-shot@scenes": parts.side_by_side(by_set) | {"subsets": TITLES}}))
    first, second = blocks(found)
    assert "<bdi>colours have 5 prompts</bdi>" in second and "colours have" not in first
    assert found.count("<bdi>kinds have 4 prompts</bdi>") == 1
    assert found.count("drawn by a rule") == 1


def test_the_scorecard_lists_metrics_under_their_set(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    found = parts.side_by_side(by_set)
    found["metrics"]["alone/acc1"] = found["metrics"]["whole"] = parts.fraction(0.5, 9)
    card = page(make_run({"zero-shot@scenes": found | {"subsets": TITLES}})).partition('id="metrics"')[2]
    names = re.findall(r'(?<=class="subset"><th scope="rowgroup" colspan="6"><bdi>)[^<]+|[a-z_]+/<wbr>\w+|whole', card)
    assert names.index("whole") < names.index("Kind of object")  # not under the heading of another set
    start = names.index("Kind of object")
    assert names[start : start + 3] == ["Kind of object", "kind/<wbr>acc1", "kind/<wbr>acc5"]
    assert names.index("kind/<wbr>ece") < names.index("Colour and kind of object")
    assert "Acc1 (alone)" in card


def test_one_plain_set_has_no_headings_of_sets(make_run: MakeRun, page: Page, by_set: BySet) -> None:
    found = page(make_run({"zero-shot@scenes": by_set["kind"]}))
    section = found.partition('aria-labelledby="zero-shot"')[2].partition("</section>")[0]
    assert section.count("<figure") == 3 and section.count('<table class="list') == 3
    assert not re.search(r'class="(set|of|subset|classes|notes shared)"|<wbr>|/sets/', found)
    assert "Names the right class first for" in found


def test_headings_of_sets_are_in_order_for_several_models(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    runs = [make_run({"zero-shot@scenes": parts.side_by_side(by_set)}, name=name) for name in "ab"]
    found = page(*runs)
    levels = [int(level) for level in re.findall(r"<h(\d)", found)]
    assert (
        len(blocks(found)) == 2 and found.count('class="set"') == 4
    )  # both together, and a heading in each one's fold
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_the_figures_of_each_set_count_against_a_page_that_is_too_long(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    run = make_run({"zero-shot@scenes": parts.side_by_side(by_set) | {"subsets": TITLES}})
    series = [replace(run, result=replace(run.result, model={"ref": f"epoch {k}"})) for k in range(25)]
    assert "<figure" not in page(*series)  # 25 evaluations, 50 label sets


def test_a_set_without_samples_says_what_is_not_drawn(
    make_run: MakeRun, page: Page, parts: SimpleNamespace, by_set: BySet
) -> None:
    found = parts.side_by_side(by_set)
    found["samples"] = {name: column for name, column in found["samples"].items() if name != "kind/label"}
    first, second = blocks(page(make_run({"zero-shot@scenes": found | {"subsets": TITLES}})))
    assert "Not drawn: <bdi>the run kept no column “label”" in first
    assert "Not drawn" not in second


def test_a_set_does_not_borrow_what_is_another_s(make_run: MakeRun, parts: SimpleNamespace, by_set: BySet) -> None:
    found = parts.side_by_side({"kind": by_set["kind"], "x/kind": by_set["colour_kind"]})
    run = make_run({"zero-shot@mine": found})
    whole = Evidence(run, run.result.evaluations[0])
    assert label_sets(whole.evaluation) == ["kind", "x/kind"]
    assert set(whole.of("kind").column("label")) <= set(parts.classes)
    assert set(whole.of("x/kind").column("label")) <= set(PAIRS)
    with pytest.raises(MissingEvidence, match="no column “label”"):
        whole.column("label")


def test_what_belongs_to_no_set_stays_by_itself(make_run: MakeRun, parts: SimpleNamespace, by_set: BySet) -> None:
    found = parts.side_by_side(by_set)
    found["curves"]["loose"] = Curve(x=[0.0, 1.0], y=[0.0, 1.0])
    evaluation = make_run({"zero-shot@mine": found}).result.evaluations[0]
    assert label_sets(evaluation) == [PLAIN, "kind", "colour_kind"]
    assert list(within(evaluation, PLAIN).curves) == ["loose"]
    assert within(evaluation, PLAIN).notes == ["drawn by a rule"]


def test_a_slash_in_the_metrics_of_another_task_is_no_label_set(make_run: MakeRun, parts: SimpleNamespace) -> None:
    evaluation = make_run({"mine@here": {"metrics": {"a/b": parts.fraction(0.5, 9)}}}).result.evaluations[0]
    assert load_section(evaluation.task).label_sets(evaluation) == [PLAIN]
