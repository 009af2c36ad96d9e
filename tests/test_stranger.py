"""Somebody else's package adds a task, its section and a model by entry points alone, and they are as good as ours."""

import csv
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

PACKAGE = Path(__file__).parent / "stranger"
COLOURS = {"red": (250, 5, 5), "blue": (3, 9, 240), "green": (10, 120, 8), "leaf": (10, 120, 8)}
CAPTIONS = {"red": "a red card", "blue": "a blue card", "green": "a green card", "leaf": "a nice card"}
"""The longest names a colour, and a leaf of that colour has a caption without one: it loses to the longest."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the package apart from the environment, and return variables with which it is found."""
    folder = tmp_path_factory.mktemp("installed")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", *command, str(PACKAGE)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder), "CLIPBENCH_CACHE": str(folder / "cache")}


@pytest.fixture(scope="module")
def runs(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the runs of two of its models on its task and on two of ours."""
    folder = tmp_path_factory.mktemp("cards")
    rows = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 12), colour).save(folder / f"{name}.png")
        label = "green" if name == "leaf" else name
        rows.append(json.dumps({"image": f"{name}.png", "caption": CAPTIONS[name], "label": label}))
    data = folder / "cards.jsonl"
    data.write_text("\n".join(rows))
    tasks = ",".join(f"{task}@{data}" for task in ("length-bias", "zero-shot", "retrieval"))
    found = []
    for steps in (3, 2):
        found.append(folder / f"run-{steps}")
        done = clipbench(
            "run", "--model", f"colour:{steps}", "--tasks", tasks, "--out", str(found[-1]), env=environment
        )
        assert done.returncode == 0, done.stderr
    return found


def clipbench(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def words(html: str) -> str:
    """Return the words of a part of a page, one space apart."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).replace("\N{NO-BREAK SPACE}", " ").split())


def test_they_are_listed_beside_clipbench_s_own(environment: dict[str, str]) -> None:
    listed = clipbench("list", "tasks", env=environment).stdout
    assert "length-bias" in listed and "zero-shot" in listed
    assert "colour:" in clipbench("list", "models", env=environment).stdout


def test_they_run_together_and_with_clipbench_s_own(runs: list[Path]) -> None:
    bias, zero_shot, retrieval = json.loads((runs[0] / "result.json").read_text())["evaluations"]
    wins = bias["metrics"]["longest_wins"]
    assert wins["value"] == pytest.approx((0 + 0 + 0.5 + 1) / 4)
    assert (wins["title"], wins["is_headline"]) == ("Longest caption wins", True)
    assert bias["controls"]["tie_rate"]["control_of"] == ["longest_wins"]
    assert zero_shot["metrics"]["acc1"]["value"] == 1.0
    # A green caption ties between two green images, and the leaf's says nothing: a random order of four.
    assert 0.5 <= retrieval["metrics"]["image_retrieval_recall@1"]["value"] <= 0.875


def test_its_section_has_question_sentence_figure_gallery_table_and_control(runs: list[Path]) -> None:
    page = (runs[0] / "report.html").read_text(encoding="utf-8")
    section = page.partition('aria-labelledby="length-bias"')[2].partition("</section>")[0]
    text = words(section)
    assert "Does the longest of all captions score above the one that is true of an image?" in text
    assert "How it is scored A tie scores half" in text
    assert (
        "The longest caption beats an image's own in 37.5 % of 4 cases: not significantly different from chance" in text
    )
    assert "25.0 % of the captions score below the longest." in text and section.count("<figure") == 1
    assert "Images whose caption lost to the longest All 1, the worst first." in text
    assert "Caption a nice card Preferred a green card Margin −" in text
    assert section.count("data:image/webp;base64,") == 1
    assert "Longest caption wins, by the length of the caption" in text and "Letters Longest wins, % n" in text
    assert "1 control" in text and "Ties tie_rate 25.0" in text
    assert "Not drawn" not in text and "left out" not in text


def test_its_rows_stand_in_the_scorecard_as_ours_do(runs: list[Path]) -> None:
    page = (runs[0] / "report.html").read_text(encoding="utf-8")
    card = words(page.partition('id="metrics"')[2].partition("</table>")[0])
    assert "Longest caption wins ↓ , lower is better longest_wins – controls: ties 25.0 % 37.5" in card
    assert "Top-1 accuracy ↑ , higher is better acc1" in card
    assert "Lead over the longest caption ↑" in card and "Text-to-image median rank ↓" in card


def test_its_sentence_stands_at_the_top_and_leads_where_there_are_several(
    runs: list[Path], environment: dict[str, str], tmp_path: Path
) -> None:
    top = words((runs[0] / "report.html").read_text(encoding="utf-8").partition('id="scorecard"')[0])
    assert "The longest caption beats an image's own in 37.5 %" in top
    joint = tmp_path / "joint.html"
    assert clipbench("report", *map(str, runs), "--out", str(joint), env=environment).returncode == 0
    top = words(joint.read_text(encoding="utf-8").partition('id="scorecard"')[0])
    assert "length-bias on cards.jsonl, longest caption wins: " in top


def test_a_comparison_has_its_titles(runs: list[Path], environment: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    done = clipbench("compare", *map(str, runs), "--format", "html", "--out", str(page), env=environment)
    assert done.returncode in (0, 1), done.stderr
    text = words(page.read_text(encoding="utf-8"))
    assert "Longest caption wins longest_wins ↓ 37.5 %" in text and "Top-1 accuracy acc1" in text


def test_exports_hold_its_metrics_as_they_hold_ours(runs: list[Path], environment: dict[str, str]) -> None:
    table, markdown, latex = (
        clipbench("export", str(runs[0]), "--to", form, env=environment).stdout for form in ("csv", "markdown", "latex")
    )
    rows = {(row["task"], row["metric"]): row for row in csv.DictReader(table.splitlines())}
    assert float(rows["length-bias", "longest_wins"]["value"]) == pytest.approx(0.375)
    assert rows["length-bias", "tie_rate"]["kind"] == "control"
    row = rows["length-bias", "longest_wins"]
    assert (row["title"], row["is_headline"]) == ("Longest caption wins", "true")
    assert json.loads(rows["length-bias", "tie_rate"]["control_of"]) == ["longest_wins"]
    assert "| Longest caption wins | % | 37.5 " in markdown and "| Top-1 accuracy | % | 100.0 " in markdown
    assert r"Longest caption wins & \% & 37.5 [" in latex and r"Top-1 accuracy & \% & 100.0 [" in latex


def test_its_errors_are_lines_like_clipbench_s_own(environment: dict[str, str]) -> None:
    done = clipbench("run", "--model", "colour:x", "--tasks", "length-bias@.", env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2 and "Traceback" not in done.stderr


def test_it_imports_from_the_public_faces_alone() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "stranger_clip").glob("*.py")]
    modules = {
        module for text in sources for module in re.findall(r"^(?:from|import) (clipbench\S*)", text, re.MULTILINE)
    }
    assert modules == {"clipbench", "clipbench_reports"}
