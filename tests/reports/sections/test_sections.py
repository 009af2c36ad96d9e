"""Sections are found by their entry points; what goes wrong in one costs its own figures and is said."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import unescape
from importlib.metadata import EntryPoint
from importlib.metadata import entry_points as installed
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench import plugins
from clipbench.results.record import Curve, EvaluationRecord, Metric
from clipbench.results.table import Table, columns
from clipbench_reports.drawing.marks import Chart
from clipbench_reports.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.findings import Finding
from clipbench_reports.galleries import Gallery, PageBudget
from clipbench_reports.page.report import write_report
from clipbench_reports.sections.section import Section, load_section
from tests.reports.conftest import MakeRun

Declare = Callable[[Any], None]


def say(evaluation: EvaluationRecord) -> list[Finding]:
    return [Finding("plain", "Said by the section.")]


def tabulate(evidence: Evidence) -> Table:
    return Table(title="Counted", facts="A table.", columns=columns("Letter"), rows=[["a"]])


def break_down(*arguments: object) -> Any:
    raise ZeroDivisionError("by\nnothing")


def lack(models: Sequence[ModelEvidence]) -> Chart:
    raise MissingEvidence("the run kept no letters")


class Found:
    """An entry point that gives what it is told to, of a package that is not installed."""

    class dist:
        name = "letters-clip"

    name, value = "letters", "letters_clip:SECTION"

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def load(self) -> object:
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Return a function after which a package declares the section of the task ``letters``."""

    def make(thing: object) -> None:
        def declared(group: str) -> list[EntryPoint | Found]:
            return [*installed(group=group), *([Found(thing)] if group == plugins.SECTIONS else [])]

        monkeypatch.setattr(plugins, "declared", declared)

    return make


@pytest.fixture
def page(make_run: MakeRun, tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes the report of a run of the task, beside another, and gives its words."""

    def make(**parts: Any) -> str:
        letters = {"metrics": {"wins": Metric(value=0.5, n=9, title="Wins", is_headline=True)}, **parts}
        write_report([make_run({"letters@here": letters, "zero-shot@here": {}})], tmp_path / "report.html")
        html = (tmp_path / "report.html").read_text(encoding="utf-8").partition("<body>")[2]
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).replace("\N{NO-BREAK SPACE}", " ").split())

    return make


Page = Callable[..., str]


def test_each_task_that_ships_has_a_section() -> None:
    for task in plugins.names(plugins.TASKS):
        loaded = load_section(task)
        assert loaded.package == "clipbench" and not loaded.fault and loaded.section.figures


def test_each_advice_is_a_paragraph_of_the_page_of_weaknesses_and_no_paragraph_is_without_a_task() -> None:
    page = (Path(__file__).parents[3] / "docs/advice.md").read_text(encoding="utf-8")
    names = [weakness for task in plugins.names(plugins.TASKS) for weakness in load_section(task).section.advice]
    assert sorted(names) == sorted(set(re.findall("^## (.*)$", page, re.MULTILINE)) - {"References", "See also"})


def test_a_finding_leads_to_the_paragraph_on_its_weakness(declare: Declare, make_run: MakeRun, tmp_path: Path) -> None:
    findings = [Finding("weak", f"Said of {name}.", weakness=name) for name in ("Late letters", "Lost letters")]
    declare(Section(findings=lambda _: findings, advice={"Late letters": "Write earlier."}))
    write_report([make_run({"letters@here": {"metrics": {"wins": Metric(value=0.5)}}})], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8").partition("<body>")[2]
    assert re.findall(r'href="#(letters/advice[^"]*)"', html) == ["letters/advice/late-letters"]
    assert html.count('id="letters/advice/late-letters"') == 1
    assert "Write earlier." in html and "docs/advice.md" not in html  # which is of the tasks of clipbench


def test_a_section_of_another_package_gives_sentences_and_tables(declare: Declare, page: Page) -> None:
    declare(Section(findings=say, tables=(tabulate,), figures=(lack,)))
    words = page()
    assert words.count("Said by the section.") == 2  # at the top and in the section
    assert "Counted" in words and "Not drawn: the run kept no letters ." in words


def test_a_section_that_cannot_be_imported_is_said_and_the_plain_one_stands_in(declare: Declare, page: Page) -> None:
    declare(ImportError("no module named abc"))
    words = page()
    assert "The section of this task is left out: 'letters' of letters-clip cannot be imported" in words
    assert "(ImportError: no module named abc)" in words
    assert "Wins: 50.0 % (no interval) of 9 samples." in words and "zero-shot on here" in words


@pytest.mark.parametrize("part", ["figures", "tables", "galleries"])
def test_a_function_that_raises_costs_only_what_it_would_have_given(declare: Declare, page: Page, part: str) -> None:
    parts: Mapping[str, Any] = {"tables": (tabulate,), part: (break_down, *((tabulate,) if part == "tables" else ()))}
    declare(Section(findings=say, **parts))
    words = page()
    assert words.count("Not drawn: break_down of letters-clip failed (ZeroDivisionError: by) .") == 1
    assert "Said by the section." in words and "Counted" in words


@pytest.mark.parametrize(
    ("part", "expected"), [("figures", "Chart"), ("tables", "Table"), ("galleries", "Gallery"), ("findings", "Finding")]
)
def test_a_function_that_returns_something_else_costs_only_that(
    declare: Declare, page: Page, part: str, expected: str
) -> None:
    def return_nothing(*arguments: object) -> Any:
        return None

    parts: dict[str, Any] = {"findings": say, part: return_nothing if part == "findings" else (return_nothing,)}
    declare(Section(**parts))
    words = page()
    assert f"return_nothing of letters-clip failed (TypeError: it returned a NoneType, expected a {expected})" in words


def test_a_figure_that_cannot_be_drawn_costs_only_itself(declare: Declare, page: Page) -> None:
    def draw(models: Sequence[ModelEvidence]) -> Chart:
        return Chart(title="Odd", reading="", panels=[None])  # type: ignore[list-item]

    declare(Section(findings=say, figures=(draw,)))
    words = page()
    assert "Not drawn: draw of letters-clip failed (" in words and "Said by the section." in words


@pytest.mark.parametrize("rows", [[["a"]], [["a", 3.0]]])
def test_a_table_that_cannot_be_written_costs_only_itself(declare: Declare, page: Page, rows: Any) -> None:
    def count(evidence: Evidence) -> Table:
        return Table(title="Odd", columns=columns("Letter", numbers=["n"]), rows=rows)

    declare(Section(findings=say, tables=(count, tabulate)))
    words = page()
    assert "Not drawn: count of letters-clip failed (" in words and "Counted" in words


def test_a_single_sentence_is_said_and_one_of_an_unknown_mark_costs_only_itself(declare: Declare, page: Page) -> None:
    declare(Section(findings=lambda _: say(_)[0]))  # type: ignore[arg-type, return-value]
    assert page().count("Said by the section.") == 2
    declare(Section(findings=lambda _: [Finding("great", "Said.")], tables=(tabulate,)))  # type: ignore[arg-type]
    words = page()
    assert "failed (ValueError: mark 'great', expected one of good, weak," in words and "Counted" in words


def test_curves_of_any_task_are_drawn_by_what_they_say_of_themselves(declare: Declare, page: Page) -> None:
    def curve(figure: str = "", series: str = "") -> Curve:
        return Curve(
            x=[1.0, 2.0], y=[0.5, 0.75], x_label="letters", y_label="share read", unit="fraction", figure=figure,
            series=series, chance=[0.25, 0.25],
        )  # fmt: skip

    declare(Section(findings=say, drawn_figures=("shown",)))
    words = page(
        curves={
            "shown": curve("shown", "elsewhere"),
            "kept": curve("sizes"),
            "one": curve("sizes", "large letters"),
            "two": curve("sizes", "small letters"),
            "other": replace(curve(), y_label="", unit="", chance=None),
        }
    )
    title = "Share read with letters from 1 to 2: large letters 50.0 to 75.0 %, small letters 50.0 to 75.0 %."
    assert title in words and "“other” with letters from 1 to 2: 0.500 to 0.750." in words
    assert "chance" in words and "elsewhere" not in words


def test_without_a_section_the_worst_samples_are_shown_with_their_words(make_run: MakeRun) -> None:
    samples = {
        "sample_id": np.array(["one", "two", "three"], object),
        "image": np.array(["a" * 32, "b" * 32, "c" * 32], object),
        "margin": np.array([-0.1, 0.2, -0.3]),
        "caption": np.array(["a cat", "a dog", "a cow"], object),
    }
    run = make_run({"letters@here": {"samples": samples}})
    loaded = load_section("letters")
    assert loaded.section.lists_metrics
    (make,) = loaded.section.galleries
    result: Gallery = make(Evidence(run, run.result.evaluations[0]), PageBudget(1000))
    assert [[fact[1:3] for fact in failure.facts] for failure in result.failures] == [
        [("a cow", ""), ("", "−0.3000"), ("three", "")],
        [("a cat", ""), ("", "−0.1000"), ("one", "")],
    ]
