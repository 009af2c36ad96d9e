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
    names = [f"zero-shot@birds/{name} +25.00 pp" for name in "abc"]
    assert f"●5 better: {', '.join(names)} and 2 more\n" in text
    found += [replace(difference("f", 0.0, 0.5), evaluation="retrieval@birds")]
    text = re.sub("<[^>]*>", "", written(found, tmp_path / "page.html"))
    assert f"●6 better: {names[0]}, retrieval@birds/f +25.00 pp, {names[1]} and 3 more\n" in text


def test_the_figures_of_all_evaluations_have_one_axis(tmp_path: Path) -> None:
    found = [difference("acc1", 0.5, 0.75), replace(difference("acc1", -0.02, -0.01), evaluation="zero-shot@dogs")]
    images = re.findall(r'<div class="broad"><svg.*?</svg>', written(found, tmp_path / "page.html"))
    first, second = (re.findall(r">(−?[0-9]+)</text>", image) for image in images)
    assert first == second and len(first) > 2


def test_columns_are_sorted_by_their_numbers_and_verdicts_by_their_weight() -> None:
    cells = re.findall(
        r'<td[^>]* data-label="(.*?)" data-sort="(.*?)"', difference_html({"": [difference("acc1", 0.1, 0.3)]})
    )
    assert dict(cells) == {
        "Base": "0.5", "Candidate": "0.75", "Difference": "0.2", "95 % interval": "0.1", "p (Holm)": "0.002",
        "Detectable": "", "Flipped": "", "Verdict": "1",
    }  # fmt: skip


def test_the_first_screen_has_a_row_for_each_evaluation_with_its_headline_on_one_axis(tmp_path: Path) -> None:
    found = [
        difference("other", 0.1, 0.2),
        replace(difference("acc1", -0.5, -0.3), candidate=Metric(value=0.1, is_headline=True), verdict="worse"),
        replace(difference("gap", 0.1, 0.2), evaluation="mine@dogs", base=Metric(value=1.0, unit="distance")),
    ]
    page = written(found, tmp_path / "page.html").replace("\N{NO-BREAK SPACE}", " ")
    rows = [" ".join(re.sub("<[^>]*>", " ", row).split()) for row in page.split('<div class="row"')[1:3]]
    assert "Zero-shot birds acc1" in rows[0].replace("Acc1", "acc1") and "▲ worse 50.0 % → 10.0 %" in rows[0]
    assert "Mine dogs" in rows[1] and "95 % interval [+0.1000, +0.2000]" in rows[1]
    (axis,) = re.findall(r'<svg width="100%".*?</svg>', page, re.DOTALL)
    assert 'class="point" x1="10%"' in axis and 'class="range" x1="0%" x2="20%"' in axis  # from −50 to +50 pp
    assert "from −50 pp to +50 pp" in page


def test_of_a_headline_that_is_no_fraction_the_most_telling_differences_are_a_table(tmp_path: Path) -> None:
    gap = Metric(value=1.0, n=9, unit="distance", is_headline=True)
    unsure = replace(difference("sure", 0.1, 0.2), p_value=None, verdict="not tested")
    found = [
        replace(difference("gap", 0.1, 0.2), base=gap, candidate=gap),
        *(replace(unsure, name=f"unsure{k}") for k in range(9)),
        replace(difference("sure", 0.1, 0.2), verdict="worse"),
    ]
    page = written(found, tmp_path / "page.html")
    _, section = page.split('<section aria-labelledby="zero-shot">')
    table = section[: section.index("</table>")]
    assert re.findall(r"<bdi>(gap|sure|unsure\d)</bdi>", table) == ["gap", *(f"unsure{k}" for k in range(6)), "sure"]
    assert "All 10 fractions" in section and "<figure" in section
