"""One table in four renderings: each shows every cell, and lets no text out of its place."""

import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser

import pytest

from clipbench.results.table import Cell, Column, Table, as_html, as_latex, as_markdown, as_text, columns
from clipbench.results.table.latex import MOST_MODELS, MOST_ROWS, STACKED_FROM

HOSTILE = "a|b & 50% <img src=x> {x_1} $y$ \\cmd `c` @team\n# d"
WRITE: list[Callable[[Table], str]] = [as_text, as_markdown, lambda table: as_latex(table, "t"), as_html]


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


@pytest.mark.parametrize("write", WRITE)
def test_every_cell_is_there(write: Callable[[Table], str]) -> None:
    text = write(table(2)).replace("$-$", "-").replace("−", "-")
    for words in ("zero-shot@birds", "90 images", "metric", "model1", "m0", "1.1", "[-1.5, 1.75]", "90"):
        assert words in text


def test_text_stands_in_columns_numbers_to_the_right() -> None:
    given = Table(
        columns=[Column("metric", is_number=False), Column("value"), Column("verdict", is_number=False)],
        rows=[["acc1", "9.0", "no"], ["recall@10", Cell("−110.0", note=1), "yes"]],
        notes=["too few samples"],
    )
    assert as_text(given).splitlines() == [
        "  metric          value  verdict",
        "  acc1              9.0  no",
        "  recall@10  -110.0 (1)  yes",
        "  (1) too few samples",
    ]
    assert as_text(given, has_header=False, indent="").splitlines()[0] == "acc1              9.0  no"


def test_a_text_in_place_of_a_row_is_a_heading() -> None:
    given = Table(columns=[Column("metric", is_number=False), Column("n")], rows=["birds", ["acc1", "9"]])
    assert as_text(given).splitlines()[1:] == ["  birds", "  acc1    9"]
    assert "| **birds** |  |\n| acc1 | 9 |" in as_markdown(given)
    assert r"\multicolumn{2}{@{}l}{\emph{birds}} \\" in as_latex(given, "t")
    assert '<tr class="block"><th scope="rowgroup" colspan="2"><bdi>birds</bdi></th></tr>' in as_html(given)


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
    assert "img" not in tags and HOSTILE in unescape(re.sub("<[^>]*>", "", page))


def test_latex_gives_each_number_to_one_of_its_tables() -> None:
    given = table(2 * MOST_MODELS - 1, MOST_ROWS + 1)
    text = as_latex(given, "t")
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels[:2] == ["tab:t", "tab:t-part-2"] and len(set(labels)) == len(labels) == text.count(r"\end{table}")
    for row in range(MOST_ROWS + 1):
        for model in range(2 * MOST_MODELS - 1):
            assert text.count(f"& {row}.{model} ") == text.count(f"[$-${row}.5, {model}.75]") == 1
    assert r"{\scriptsize [" in text and r"{\scriptsize [" not in as_latex(table(STACKED_FROM - 1), "t")


def test_html_sorts_by_keys_and_hides_columns_by_model() -> None:
    given = Table(
        columns=[Column("metric", is_number=False), Column("a", model=0)],
        rows=[["m", Cell("−1.0 %", sort_key=-0.01)], ["k", Cell("–", sort_key="", note=1)]],
        notes=["undefined"],
    )
    page = as_html(given, "list")
    assert '<th scope="col" class="number" data-model="0">a</th>' in page and page.startswith('<table class="list">')
    assert '<td class="number" data-model="0" data-label="a" data-sort="-0.01">−1.0\N{NO-BREAK SPACE}%</td>' in page
    assert 'data-sort="">– <sup>1</sup></td>' in page and "<li><bdi>undefined</bdi></li>" in page


def test_a_row_with_other_cells_than_columns_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        as_text(Table(columns=[Column("a")], rows=[["1", "2"]]))


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


def test_signs_of_two_columns_are_counted_as_two() -> None:
    table = Table(columns=columns("class", numbers=["n"]), rows=[["犬", "9"], ["cat", "10"]])
    assert as_text(table).splitlines() == ["  class   n", "  犬      9", "  cat    10"]
