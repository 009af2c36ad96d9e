"""Differences as they stand in the tables, sentences and figures of a comparison's page."""

import re
from dataclasses import replace
from pathlib import Path

from clipbench.comparison.gate import Judged
from clipbench.comparison.records import Comparison, Difference
from clipbench.results.record import Metric
from clipbench_reports.page.compare import write_compare
from clipbench_reports.page.compare_rows import difference_html


def difference(name: str, low: float, high: float) -> Difference:
    """Return a difference that a test tells from none, with the middle of its interval as its value."""
    before, after = Metric(value=0.5, n=9, higher_is_better=True), Metric(value=0.75, n=9, higher_is_better=True)
    return Difference(
        evaluation="zero-shot@birds", name=name, base=before, candidate=after, value=(low + high) / 2, low=low, high=high,
        p_value=0.001, p_adjusted=0.002, verdict="better", test="a test", n=9, method="a method",
    )  # fmt: skip


def written(found: list[Difference], path: Path) -> str:
    """Write the page of some differences, and return it."""
    comparison = Comparison(base="old", candidate="new", differences=found)
    write_compare([Judged(comparison=comparison)], [None, None], path)
    return path.read_text(encoding="utf-8")


def test_of_a_verdict_the_surest_are_named_and_the_others_counted(tmp_path: Path) -> None:
    widths = {"e": 0.30, "a": 0.02, "d": 0.20, "b": 0.04, "c": 0.10}
    found = [difference(name, 0.25 - width / 2, 0.25 + width / 2) for name, width in widths.items()]
    text = re.sub("<[^>]*>", "", written(found, tmp_path / "page.html"))
    names = [f"zero-shot@birds/{name} +25.00 pp" for name in "abcd"]
    assert f"●5 better: {', '.join(names)} and 1 more\n" in text


def test_the_figures_of_all_evaluations_have_one_axis(tmp_path: Path) -> None:
    found = [difference("acc1", 0.5, 0.75), replace(difference("acc1", -0.02, -0.01), evaluation="zero-shot@dogs")]
    images = re.findall(r'<div class="broad"><svg.*?</svg>', written(found, tmp_path / "page.html"))
    first, second = (re.findall(r">(−?[0-9]+)</text>", image) for image in images)
    assert first == second and len(first) > 2


def test_columns_are_sorted_by_their_numbers_and_verdicts_by_their_weight() -> None:
    cells = re.findall(
        r'<td[^>]* data-label="(.*?)" data-sort="(.*?)"', difference_html([difference("acc1", 0.1, 0.3)])
    )
    assert dict(cells) == {
        "Base": "0.5", "Candidate": "0.75", "Difference": "0.2", "95 % interval": "0.1", "p (Holm)": "0.002",
        "Detectable": "", "Flipped": "", "Verdict": "1",
    }  # fmt: skip
