"""One table in four renderings: each shows every cell, and lets no text out of its place."""

import re
from html import unescape
from html.parser import HTMLParser

from clipbench.results.table import Cell, Column, Table, as_html, as_latex, as_markdown, as_text, columns
from clipbench.results.table.latex import MOST_MODELS, MOST_ROWS, STACKED_FROM

HOSTILE = "a|b & 50% <img src=x> {x_1} $y$ \\cmd `c` @team\n# d"


def table(n_models: int = 1, n_rows: int = 2) -> Table:
    return Table(
        title="zero-shot@birds",
        facts="90 images",
        columns=[
            Column("metric", is_number=False),
            *(Column(f"model{model}", model=model) for model in range(n_models)),
            Column("n"),
        ],
        rows=[
            [f"m{row}", *(Cell(f"{row}.{model}", aside=f"[−{row}.5, {model}.75]") for model in range(n_models)), "90"]
            for row in range(n_rows)
        ],
    )


def test_no_name_is_markup() -> None:
    hostile = Table(
        title=HOSTILE,
        columns=[Column("metric", is_number=False, is_name=True), Column(HOSTILE, is_number=False)],
        rows=[[Cell(HOSTILE, title=HOSTILE), Cell(HOSTILE, css='"x', sort_key='"')]],
        notes=[HOSTILE],
        warnings=[HOSTILE],
    )
    text = as_markdown(hostile)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "\n# d" not in text and " @team" not in text.replace(
        "`a\\|b & 50% <img src=x> {x_1} $y$ \\cmd 'c' @team # d`", ""
    )
    latex = as_latex(hostile, "t")
    assert r"a\textbar{}b \& 50\% \textless{}img" in latex and r"\textbackslash{}cmd" in latex and "{x_1}" not in latex
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    page = as_html(hostile)
    parser.feed(page)
    assert ("<ol" in page, "<ol" in as_html(table(1))) == (True, False)  # notes
    assert "img" not in tags and HOSTILE in unescape(re.sub("<[^>]*>", "", page))


def test_latex_gives_each_number_to_one_of_its_tables() -> None:
    large_table = table(2 * MOST_MODELS - 1, MOST_ROWS + 1)
    text = as_latex(large_table, "t")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels[:2] == ["tab:t", "tab:t-part-2"] and len(set(labels)) == len(labels) == text.count(r"\end{table}")
    for row in range(MOST_ROWS + 1):
        for model in range(2 * MOST_MODELS - 1):
            assert text.count(f"& {row}.{model} ") == text.count(f"[$-${row}.5, {model}.75]") == 1
    assert r"{\scriptsize [" in text and r"{\scriptsize [" not in as_latex(table(STACKED_FROM - 1), "t")


def test_a_row_as_a_paragraph_keeps_its_cells_if_the_first_one_is_empty() -> None:
    headers = [f"column{number}" for number in range(6)]
    narrow = Table(columns=columns(*headers), rows=[["", *(f"value{number}" for number in range(1, 6))]])
    text = as_text(narrow, width=20)
    assert all(f"value{number}" in text for number in range(1, 6)), text


def test_a_table_that_is_too_wide_gets_the_layout_with_the_fewest_lines() -> None:
    rows = [["acc1", "100.0 %", "one two three"], ["similarity_calibration_error", "3.4 %", "one"]]
    rows += [["image_text_calibration_error", "3.5 %", "one"]]
    table = Table(columns=[*columns("metric", numbers=["value"]), Column("why", is_number=False)], rows=rows)
    assert as_text(table, width=60) == as_text(table)
    assert as_text(table, width=50).splitlines() == [
        "  metric                          value  why",
        "  acc1                          100.0 %  one two",
        "                                         three",
        "  similarity_calibration_error    3.4 %  one",
        "  image_text_calibration_error    3.5 %  one",
    ]
    assert as_text(table, width=34).splitlines() == [
        "  metric    value  why",
        "  acc1    100.0 %  one two three",
        "  similarity_calibration_error",
        "            3.4 %  one",
        "  image_text_calibration_error",
        "            3.5 %  one",
    ]
    assert as_text(table, width=24).splitlines() == [
        "  acc1",
        "      value: 100.0 %",
        "      why: one two three",
        "  similarity_calibration_error",
        "      value: 3.4 %",
        "      why: one",
        "  image_text_calibration_error",
        "      value: 3.5 %",
        "      why: one",
    ]
