"""The findings of the quick checks before a run, in its report."""

from collections.abc import Callable
from pathlib import Path

from clipbench.results.record import CheckFinding
from clipbench.results.run import Run, read_run
from clipbench_reports.page.report import write_report

PADDING = CheckFinding(
    check="padding", status="fault", seen="a text has <two> vectors", why="SigLIP reads it.", mend="pad to full length"
)


def page_of(runs: list[Run], path: Path) -> str:
    write_report(runs, path / "report.html")
    return (path / "report.html").read_text(encoding="utf-8")


def test_a_warning_opens_the_page_with_what_to_do(make_run: Callable[..., Run], tmp_path: Path) -> None:
    page = page_of([make_run(preflight=[PADDING])], tmp_path)
    section = page.partition('id="preflight"')[2].partition("</ul>")[0]
    for words in (
        "Checks before the run",
        "padding",
        "a text has &lt;two&gt; vectors",
        "pad to full length",
        "SigLIP reads",
    ):
        assert words in section, words
    assert page.index('id="preflight"') < page.index('class="rows"')
    assert "padding" in page.partition("Quick checks")[2][:80]


def test_a_run_without_warnings_says_so_where_the_numbers_come_from(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    found = page_of([make_run(name="found", preflight=[])], tmp_path)
    unmade = page_of([make_run(name="unmade", preflight=None)], tmp_path)
    for page, words in ((found, "nothing found"), (unmade, "not made")):
        assert 'id="preflight"' not in page
        assert words in page.partition("Quick checks")[2][:80]


def test_several_models_are_told_apart(make_run: Callable[..., Run], tmp_path: Path) -> None:
    runs = [make_run(name="one", preflight=[PADDING]), make_run(name="two", preflight=[])]
    section = page_of(runs, tmp_path).partition('id="preflight"')[2].partition("</ul>")[0]
    assert section.count("<li") == 1 and 'data-model="0"' in section


def test_a_result_keeps_its_findings(make_run: Callable[..., Run]) -> None:
    run = make_run(preflight=[PADDING])
    assert read_run(run.folder).result.preflight == [PADDING]
