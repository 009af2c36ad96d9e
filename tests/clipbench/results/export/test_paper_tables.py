"""markdown and latex: every number and every reason is there to read, and TeX sets what it is given."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from clipbench.results.export import FORMATS
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run
from clipbench.results.table.latex import escape

MakeRun = Callable[..., Run]
Record = Callable[..., EvaluationRecord]
XELATEX = shutil.which("xelatex")


def markdown(*runs: Run) -> str:
    return FORMATS["markdown"].render(runs).content.decode()


def latex(*runs: Run) -> str:
    return FORMATS["latex"].render(runs).content.decode()


def cells(text: str) -> dict[str, list[str]]:
    """Return the cells of Markdown's tables by their first, read as GitHub does: a bar with a backslash is none."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    return {row[0].strip(): [re.sub(r"\\(\W)", r"\1", cell).strip() for cell in row[1:]] for row in rows}


def test_markdown_has_a_line_a_metric_with_what_is_missing_below(make_run: MakeRun) -> None:
    text = markdown(make_run())
    found = cells(text)
    assert found["metric"] == ["unit", "vit-b-32", "chance", "n"]
    assert found["acc1"] == ["%", "62.5 [50.0, 75.0]", "10.0", "1,000"]
    assert found["acc5"] == ["%", "– (1)", "", ""]
    assert found["ece"] == ["%", "7.0 (2)", "", "1,000"]
    assert found["gap"] == ["distance", "0.8514 [0.8445, 0.8582]", "", "500"]
    assert found["drop"] == ["pp", "-10.0 [-20.0, 5.0]", "", "500"]
    assert "1. undefined: of only 3 classes\n2. no interval: too few samples\n" in text
    assert "### retrieval@coco\n" in text
    assert "- vit-b-32: unavailable: no folder coco: clipbench data get coco" in text
    assert "- 500 classes" in text and "95 % intervals in brackets" in text
    assert "- vit-b-32: fingerprint f00, seed 3, 2026-11-24 12:00 UTC, clipbench 9.1" in text


def test_several_models_are_columns_and_what_one_lacks_is_said(make_run: MakeRun, record: Record) -> None:
    other = record("zero-shot", "imagenet", {"acc1": Metric(value=0.5, low=0.4, high=0.6, n=900, chance=0.1)})
    tiny = make_run("tiny", model={"ref": "tiny"}, evaluations=[other])
    text = markdown(make_run(), tiny)
    found = cells(text)
    assert found["metric"] == ["unit", "vit-b-32", "tiny", "chance", "n"]
    assert found["acc1"] == ["%", "62.5 [50.0, 75.0]", "50.0 [40.0, 60.0]", "10.0", "1,000 / 900"]
    assert found["acc5"] == ["%", "– (1)", "– (2)", "", ""]
    assert found["ece"] == ["%", "7.0 (3)", "– (2)", "", "1,000"]
    assert "2. the run has no such metric" in text
    assert text.count("- tiny: not run") == 2
    assert "- vit-b-32: 500 classes" in text


def test_columns_of_other_data_are_said_not_to_compare(make_run: MakeRun, record: Record) -> None:
    dataset = DatasetRecord(id="imagenet", fingerprint="0ther")
    other = record("zero-shot", "imagenet", {"acc1": Metric(value=0.5, n=9)}, dataset=dataset)
    runs = make_run(), make_run("tiny", model={"ref": "tiny"}, evaluations=[other])
    told = "zero-shot@imagenet is not comparable: data fingerprint da7a in the one run, 0ther in the other"
    assert told in markdown(*runs) and told in latex(*runs)


def test_a_metric_that_changed_its_unit_has_a_line_for_each(make_run: MakeRun, record: Record) -> None:
    runs = [
        make_run(name, model={"ref": name}, evaluations=[record("x", "d", {"m": Metric(value=0.5, n=9, unit=unit)})])
        for name, unit in (("one", "fraction"), ("two", "rank"))
    ]
    lines = [line for line in markdown(*runs).splitlines() if line.startswith("| m ")]
    assert lines == ["| m | % | 50.0 (1) | – (2) |  | 9 |", "| m | rank | – (2) | 0.5 (1) |  | 9 |"]


def test_markdown_shows_hostile_names_as_they_are(make_run: MakeRun, record: Record) -> None:
    hostile = "a|b <img src=x> *c* _d_ `e` [f](g) \\| &amp; \n# h"
    run = make_run(evaluations=[record("zero-shot", "d", {hostile: Metric(value=0.5, n=3)})], model={"ref": hostile})
    text = markdown(run)
    assert text.count("\n# ") == 0
    rows = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {7}
    line = next(line for line in text.splitlines() if "50.0" in line)
    # As a reader of Markdown has it: what has a backslash is itself, and an entity that has none is its character.
    shown = re.sub(r"\\(\W|_)|&\w+;", lambda found: found[1] or unescape(found[0]), line)
    assert shown.startswith("| a|b <img src=x> *c* _d_ `e` [f](g) \\| &amp; # h |")


def test_latex_says_the_same_as_markdown(make_run: MakeRun) -> None:
    text = latex(make_run())
    assert r"acc1 & \% & 62.5 [50.0, 75.0] & 10.0 & 1,000 \\" in text
    assert r"acc5 & \% & --$^{1}$ &  &  \\" in text
    assert r"drop & pp & $-$10.0 [$-$20.0, 5.0] &  & 500 \\" in text
    assert "$^{1}$~undefined: of only 3 classes." in text and "$^{2}$~no interval: too few samples." in text
    assert text.count(r"\begin{table}") == text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert "% retrieval@coco: vit-b-32: unavailable: no folder coco: clipbench data get coco" in text
    assert r"\label{tab:zero-shot-imagenet}" in text and r"95 \% intervals in brackets" in text
    notes = FORMATS["latex"].render([make_run("again")]).notes
    assert notes == ["retrieval@coco: vit-b-32: unavailable: no folder coco: clipbench data get coco"]


def wide(make_run: MakeRun, record: Record, n_models: int, n_metrics: int = 32) -> list[Run]:
    """Return runs with more metrics than a page holds, which have long names, long units and wide intervals."""
    runs = []
    for model in range(n_models):
        values = [-2 - (model * n_metrics + k) / 1000 for k in range(n_metrics)]
        metrics = {
            f"image_text_calibration_{'of_all_' * (k % 2)}error@{k}": Metric(
                value=value, low=value - 0.5, high=value + 0.5, n=2000, unit="squared distance"
            )
            for k, value in enumerate(values)
        }
        metrics["bare"] = Metric(value=0.5, n=100 + model, chance=0.25, reason="no interval: " + "of many words " * 9)
        ref = f"runs/finetune-of-vit/step-{model}000"
        runs.append(make_run(f"run{model}", model={"ref": ref}, evaluations=[record("modality-gap", "d", metrics)]))
    return runs


@pytest.mark.parametrize("n_models", [1, 2, 5])
def test_of_a_table_that_leaves_the_page_each_number_is_in_one_of_its_parts(
    make_run: MakeRun, record: Record, n_models: int
) -> None:
    runs = wide(make_run, record, n_models)
    text = latex(*runs)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == len(labels) == text.count(r"\begin{table}") == text.count(r"\bottomrule") > 1
    assert text.count("continued") == len(labels) - 1
    plain = text.replace("$-$", "-")
    for run in runs:
        for name, metric in run.result.evaluations[0].metrics.items():
            if metric.value is not None and metric.low is not None and metric.high is not None:
                interval = f"[{metric.low:.4f}, {metric.high:.4f}]"
                assert (plain.count(f"{metric.value:.4f} "), plain.count(interval)) == (1, 1), name
    assert text.count("no interval: of many words") == len(re.findall(r"^ *bare &", text, re.MULTILINE))


@pytest.mark.skipif(XELATEX is None, reason="needs xelatex, to compile the table")
@pytest.mark.parametrize("n_models", [1, 2, 5])
def test_tables_stay_on_the_page(make_run: MakeRun, record: Record, tmp_path: Path, n_models: int) -> None:
    (tmp_path / "table.tex").write_text(latex(*wide(make_run, record, n_models)), encoding="utf-8")
    main = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{table}\n\\end{document}\n"
    (tmp_path / "main.tex").write_text(main)
    command = [str(XELATEX), "-interaction=nonstopmode", "-no-pdf", "main.tex"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, errors="replace")
    assert done.returncode == 0
    assert not re.findall("Overfull.*|.*Float too large.*", done.stdout)


def test_labels_of_tables_are_distinct(make_run: MakeRun, record: Record) -> None:
    found = [record("retrieval", "coco", {"r": Metric(value=0.5, n=3)}, params={"k": k}) for k in (1, 2)]
    assert re.findall(r"\\label\{(.*)\}", latex(make_run(evaluations=found))) == [
        "tab:retrieval-coco-1",
        "tab:retrieval-coco-2",
    ]


@pytest.mark.skipif(XELATEX is None, reason="needs xelatex, to compile the table")
def test_the_tables_compile_whatever_they_hold(make_run: MakeRun, record: Record, hostile: str, tmp_path: Path) -> None:
    metrics = {name: Metric(value=0.5, low=0.4, high=0.6, n=3) for name in (hostile, "[c] d", "*e", "x_y^2~z")}
    metrics["lost"] = Metric(value=None, reason=hostile)
    notes = [f"{hostile}\n\\undefinedcommand"]
    evaluations = [record("zero-shot", hostile, metrics, notes=notes), record(hostile, "d", {}, status="failed")]
    runs = make_run(), make_run("other", model={"ref": hostile}, evaluations=evaluations)
    (tmp_path / "table.tex").write_text(latex(*runs), encoding="utf-8")
    main = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n\\input{table}\n\\end{document}\n"
    (tmp_path / "main.tex").write_text(main)
    command = [str(XELATEX), "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, errors="replace")
    assert done.returncode == 0 and (tmp_path / "main.pdf").is_file(), done.stdout[-2000:]


@pytest.mark.skipif(
    XELATEX is None or shutil.which("pdftotext") is None, reason="needs xelatex and pdftotext, to read the table again"
)
def test_what_tex_sets_is_what_was_to_be_set(tmp_path: Path) -> None:
    words = "a_b 50% $x$ {c} #1 & ~y ^z <i> |p| \\cmd [q] -- `r' *s*"
    body = f"\\documentclass{{article}}\\begin{{document}}\\ttfamily {escape(words)}\\end{{document}}"
    (tmp_path / "main.tex").write_text(body)
    command = [str(XELATEX), "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    read = subprocess.run(["pdftotext", "main.pdf", "-"], capture_output=True, text=True, check=True, cwd=tmp_path)
    plain = read.stdout.translate(str.maketrans("‘’˜ˆ", "`'~^"))
    assert plain.split("\n")[0].strip() == words


def test_a_metric_stands_under_the_title_and_subset_that_a_paper_prints(make_run: MakeRun, record: Record) -> None:
    metric = Metric(value=0.5, title="Text score")
    metrics = {"swap_att/text_acc": metric, "old": Metric(value=0.25)}
    titled = replace(record("composition", "d", metrics), subsets={"swap_att": "Colours swapped"})
    run = make_run("titled", evaluations=[titled])
    assert "| Text score (colours swapped) |" in markdown(run) and "| old |" in markdown(run)
    assert "Text score (colours swapped) &" in latex(run)
