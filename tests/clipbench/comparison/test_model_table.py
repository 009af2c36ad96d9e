"""The table of a paper: models as rows, bold where a test shows the lead, the same cells in LaTeX, Markdown and CSV."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipbench as cb
from clipbench.comparison.model_table import ModelTableOptions, model_table
from clipbench.errors import UsageError
from clipbench.results.numbers import ascii_signs, number
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.results.table import Table
from tests.clipbench.comparison.test_board import with_metric, write_run

LATEX = next((path for name in ("xelatex", "pdflatex") if (path := shutil.which(name))), None)
N = 120
MakeRuns = Callable[..., list[Run]]


@pytest.fixture
def make_runs(tmp_path: Path) -> MakeRuns:
    """Return a function that writes a run per model with these fractions of hits on each of several data sets."""

    def make(*fractions: float, n_data: int = 1, n: int = N) -> list[Run]:
        runs = []
        for seed, fraction in enumerate(fractions):
            rng = np.random.default_rng(seed)
            hits = {f"data-{data}": (rng.random(n) < fraction).astype(float) for data in range(n_data)}
            runs.append(write_run(tmp_path / f"run-{seed}", f"model-{seed}", hits))
        return runs

    return make


def bold(table: Table) -> list[str]:
    """Return the names of the models of the rows that have a bold value, one per value."""
    return [str(row[0]) for row in table.rows for cell in table.cells(row) if cell.is_strong]


def test_the_model_that_tests_show_to_lead_is_bold(make_runs: MakeRuns) -> None:
    assert bold(model_table(make_runs(0.5, 0.95, 0.3))) == ["model-1"]


def test_a_lead_that_no_test_shows_is_not_bold(make_runs: MakeRuns) -> None:
    assert bold(model_table(make_runs(0.9, 0.88, 0.3))) == []


def test_the_lowest_value_leads_where_lower_is_better(make_runs: MakeRuns) -> None:
    runs = [with_metric(run, higher_is_better=False) for run in make_runs(0.5, 0.95, 0.1)]
    table = model_table(runs)
    assert bold(table) == ["model-2"] and table.columns[1].header == "Hit rate (%) ↓"


def test_columns_share_the_level_of_the_tests(tmp_path: Path) -> None:
    """A lead with p between 0.05 / 2 and 0.05 is bold in a table of one column, and not in a table of two."""
    base = np.repeat([1.0, 0.0], [40, 80])
    better = base.copy()
    better[40:46] = 1.0  # gained, none lost
    runs = [
        write_run(tmp_path / name, name, {"data-0": hits, "data-1": hits})
        for name, hits in (("a", better), ("b", base))
    ]
    one = ModelTableOptions(metrics=["zero-shot@data-0/acc1"])
    p_value = cb.compare(runs[1], runs[0]).differences[0].p_value
    assert p_value is not None and 0.025 < p_value < 0.05
    assert bold(model_table(runs, one)) == ["a"] and bold(model_table(runs)) == []


def test_a_lead_that_compare_does_not_show_is_not_bold(tmp_path: Path) -> None:
    """Five samples gained and none lost: the tests of ranks show it, McNemar's test does not."""
    base = np.repeat([1.0, 0.0], [40, 80])
    better = base.copy()
    better[40:45] = 1.0
    runs = [write_run(tmp_path / name, name, {"data": hits}) for name, hits in (("a", better), ("b", base))]
    assert cb.board(*runs).frame()["rank_high"].tolist() == [1, 2]
    assert cb.compare(runs[1], runs[0]).differences[0].verdict == "not shown"
    assert bold(model_table(runs)) == []


def test_a_name_means_each_evaluation_that_has_the_metric(make_runs: MakeRuns) -> None:
    runs = make_runs(0.5, 0.9, n_data=2)
    for name in ("acc1", "zero-shot/acc1"):
        table = model_table(runs, ModelTableOptions(metrics=[name, name]))
        groups = [(column.group, column.header) for column in table.columns]
        expected = [("Zero-shot on data-0", "Hit rate (%)"), ("Zero-shot on data-1", "Hit rate (%)")]
        assert groups == [("", "Model"), *expected]
    (_, column) = model_table(runs, ModelTableOptions(metrics=["zero-shot@data-1/acc1"])).columns
    assert column.full_header == "Hit rate (%)"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acc9", r"metric='acc9': no run has this metric, did you mean 'acc1'\? "),
        ("", "metric is empty: expected the name of a metric, such as acc1"),
        (" ", "metric is empty"),
        ("{language=de}/acc1", "is of a slice: expected a metric of all samples"),
    ],
)
def test_a_metric_that_no_run_has_is_refused(make_runs: MakeRuns, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cb.export(*make_runs(0.5), to="csv", rows="models", metric=name)


def test_options_that_do_not_fit_are_refused(make_runs: MakeRuns) -> None:
    (run,) = make_runs(0.5)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"to": "csv", "rows": "samples"}, "rows is 'samples': expected 'models' or 'metrics'"),
        ({"to": "mteb", "rows": "models"}, "mteb has no table with a row per model"),
        ({"to": "csv", "metric": "acc1"}, "metric needs a row per model: add rows='models'"),
        ({"to": "latex", "intervals": True}, "intervals needs a row per model"),
        ({"to": "trec", "direction": "up"}, "direction is 'up'"),
    ]
    for options, message in wrong:
        with pytest.raises(UsageError, match=re.escape(message)):
            cb.export(run, **options)
    with pytest.raises(UsageError, match="got 0 runs, expected at least 1"):
        cb.export(to="csv")


def test_one_run_has_a_table_without_bold(make_runs: MakeRuns) -> None:
    table = model_table(make_runs(0.5))
    assert bold(table) == [] and len(table.rows) == 1 and not table.warnings
    assert table.caption == ["n = 120"]


def test_a_metric_that_is_undefined_for_a_model_has_its_reason(make_runs: MakeRuns) -> None:
    first, second, third = make_runs(0.5, 0.6, 0.95)
    undefined = with_metric(first, value=None, low=None, high=None, reason="too few classes")
    table = model_table([undefined, second, third])
    assert table.cells(table.rows[0])[1].plain == "– (1)" and table.notes == ["undefined: too few classes"]
    assert bold(table) == ["model-2"]
    none = model_table([undefined])
    assert none.cells(none.rows[0])[1].text == "–" and none.caption == ["n = 0"]


def test_runs_of_other_samples_have_no_test_and_a_warning(make_runs: MakeRuns, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", "other", {"data-0": np.ones(60)})
    table = model_table([*make_runs(0.1), other])
    assert bold(table) == []
    assert any("zero-shot@data-0 is not comparable" in warning for warning in table.warnings), table.warnings


def test_forty_models_are_two_tables_of_a_page(make_runs: MakeRuns) -> None:
    runs = make_runs(*np.linspace(0.1, 0.6, 39), 0.99)
    text = cb.export(*runs, to="latex", rows="models", metric="acc1").text or ""
    assert text.count(r"\begin{table}") == 2 and r"40 models, continued" in text
    assert [*re.findall(r"^ +(model-\d+) &", text, re.MULTILINE)] == [f"model-{n}" for n in range(40)]
    assert re.findall(r"(model-\d+) & \\textbf", text) == ["model-39"]


def test_the_three_formats_have_the_same_cells(make_runs: MakeRuns) -> None:
    runs = make_runs(0.3, 0.99, n_data=2)
    choice: dict[str, Any] = {"rows": "models", "metric": "acc1", "intervals": True}
    rows = list(csv.reader(io.StringIO(cb.export(*runs, to="csv", **choice).text)))
    values = [[row[index] for index in (1, 4)] for row in rows[1:]]
    expected = [[number(metric.value, "fraction") for metric in run.metrics.values()] for run in runs]
    assert values == expected
    assert rows[1][-1] == "" and rows[2][-1].count("Hit rate") == 2  # the bold ones
    markdown = str(cb.export(*runs, to="markdown", **choice))
    latex = str(cb.export(*runs, to="latex", **choice))
    for run, (first, second) in zip(runs, expected, strict=True):
        bounds = [re.escape(f"[{low}, {high}]") for low, high in [("0.0", "100.0")] * 2]
        cells = [rf"\**{re.escape(value)} {bound}\**" for value, bound in zip((first, second), bounds, strict=True)]
        assert re.search(rf"\| {run.result.model['ref']} \| {cells[0]} \| {cells[1]} \|", markdown)
        tex = [
            rf"(?:\\textbf{{)?{re.escape(value)}}}? {bound}"
            for value, bound in zip((first, second), bounds, strict=True)
        ]
        assert re.search(rf"{run.result.model['ref']} & {tex[0]} & {tex[1]}", latex), latex
    assert markdown.count("**") == 4 and latex.count(r"\textbf{") == 2


def test_a_title_of_tex_is_escaped(make_runs: MakeRuns) -> None:
    runs = [with_metric(run, title=r"$x$ \input{a} 50%") for run in make_runs(0.5, 0.9)]
    text = str(cb.export(*runs, to="latex", rows="models"))
    assert r"\$x\$ \textbackslash{}input\{a\} 50\% (\%)" in text


@pytest.mark.skipif(LATEX is None, reason="needs xelatex or pdflatex, to compile the table")
@pytest.mark.parametrize("has_intervals", [False, True])
def test_the_table_compiles(make_runs: MakeRuns, tmp_path: Path, has_intervals: bool) -> None:
    runs = make_runs(0.5, 0.95, 0.3, n_data=2)
    hostile = r"$x$ \input{a} 50% & #_{} ~^ [b] *c*"
    runs[0] = Run(runs[0].folder, replace(runs[0].result, model={"ref": hostile}))
    runs = [
        Run(
            run.folder,
            replace(run.result, evaluations=[with_title(record, hostile) for record in run.result.evaluations]),
        )
        for run in runs
    ]
    cb.export(*runs, to="latex", rows="models", metric="acc1", intervals=has_intervals, out=tmp_path / "table.tex")
    document = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{table}\n\\end{document}\n"
    (tmp_path / "main.tex").write_text(document)
    command = [str(LATEX), "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, errors="replace")
    assert done.returncode == 0 and (tmp_path / "main.pdf").is_file(), done.stdout[-2000:]
    if shutil.which("pdftotext") is None:
        pytest.skip("the table compiles; pdftotext is missing, which reads its numbers again")
    read = subprocess.run(
        ["pdftotext", "-layout", "main.pdf", "-"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    for run in runs[1:]:
        (line,) = [line for line in read.stdout.splitlines() if line.strip().startswith(str(run.result.model["ref"]))]
        expected = [ascii_signs(number(metric.value, metric.unit)) for metric in run.metrics.values()]
        values = re.sub(r"\[.*?\]", "", line).split()[1:]
        assert values == expected, line


def with_title(record: Any, title: str) -> Any:
    """Return an evaluation whose metrics have another title."""
    metrics: dict[str, Metric] = {name: replace(metric, title=title) for name, metric in record.metrics.items()}
    return replace(record, metrics=metrics)
