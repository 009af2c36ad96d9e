"""markdown and latex: every number and every reason is there to read, and TeX sets what it is given."""

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from clipbench.results.export.formats import format_of
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench.results.table.latex import escape
from tests.clipbench.results.export.conftest import MakeRun, Record

XELATEX = shutil.which("xelatex")


def markdown(*runs: Run) -> str:
    return format_of("markdown").render(runs).content.decode()


def latex(*runs: Run) -> str:
    return format_of("latex").render(runs).content.decode()


def test_markdown_shows_hostile_names_as_they_are(make_run: MakeRun, record: Record) -> None:
    hostile = "a|b <img src=x> *c* _d_ `e` [f](g) \\| &amp; \n# h"
    run = make_run(evaluations=[record("zero-shot", "d", {hostile: Metric(value=0.5, n=3)})], model={"ref": hostile})
    text = markdown(run)
    assert text.count("\n# ") == 0
    rows = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {7}
    line = next(line for line in text.splitlines() if "50.0" in line)
    # As a reader of Markdown has it: what has a backslash is itself, and an entity that has none is its character.
    shown = re.sub(r"\\(\W|_)|&\w+;", lambda result: result[1] or unescape(result[0]), line)
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
    notes = format_of("latex").render([make_run("again")]).notes
    assert notes == ["retrieval@coco: vit-b-32: unavailable: no folder coco: clipbench data get coco"]


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
