"""Somebody else's package adds a task, its section and a model by entry points alone, and they are as good as ours."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

PACKAGE = Path(__file__).parent / "stranger"
COLOURS = {"red": (250, 5, 5), "blue": (3, 9, 240), "green": (10, 120, 8), "leaf": (10, 120, 8)}
CAPTIONS = {"red": "a red card", "blue": "a blue card", "green": "a green card", "leaf": "a nice card"}
"""The longest names a colour, and a leaf of that colour has a caption without one: it loses to the longest."""


CODE = """
import io, json, sys
from clipbench.cli import main
given, done = sys.stdout, []
for arguments in json.loads(sys.argv[1]):
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    try:
        main(arguments)
    except SystemExit as end:
        done.append((end.code or 0, *(each.buffer.getvalue().decode() for each in (sys.stdout, sys.stderr))))
json.dump(done, given)
"""


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


class Stranger(NamedTuple):
    """Output and files of commands where the package is installed."""

    listed: dict[str, str]
    """Output of ``clipbench list`` for tasks and for models."""
    runs: list[Path]
    """Runs of two of its models on its task and on two of ours."""
    joint: Path
    """The report of both runs."""
    compared: Path
    """The page that compares them."""
    exported: dict[str, str]
    """The first run by format."""
    plotted: Path
    """The figure that its section brings for print, of both runs."""
    slip: Done
    """A run of a model that its package refuses."""
    explained: Path
    """The explanation of its models on 120 cards, as JSON."""


def clipbench(commands: Sequence[Sequence[str | Path]], environment: dict[str, str]) -> list[Done]:
    """Run commands in one process of their own: to start it takes longer than most of them."""
    text = json.dumps([[str(argument) for argument in arguments] for arguments in commands])
    done = subprocess.run(
        [sys.executable, "-c", CODE, text], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Done(*argument) for argument in json.loads(done.stdout)]


def write_cards(folder: Path) -> Path:
    """Write 120 cards of three colours with captions of several lengths, and return their table."""
    folder.mkdir()
    rows = []
    for number in range(120):
        name = ("red", "blue", "green")[number % 3]
        Image.new("RGB", (20, 12), COLOURS[name]).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": f"a {name} card{' of a set' * (number % 4)}"})
    table = folder / "cards.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    return table


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """Install the package apart from the environment, and use it beside clipbench's own."""
    installed, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("cards")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(installed), str(PACKAGE)]
    subprocess.run(pip, check=True)
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "CLIPBENCH_CACHE": str(folder / "cache")}
    rows = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 12), colour).save(folder / f"{name}.png")
        label = "green" if name == "leaf" else name
        rows.append(json.dumps({"image": f"{name}.png", "caption": CAPTIONS[name], "label": label}))
    data = folder / "cards.jsonl"
    data.write_text("\n".join(rows))
    tasks = ",".join(f"{task}@{data}" for task in ("length-bias", "zero-shot", "retrieval"))
    runs = [folder / "run-3", folder / "run-2"]
    joint, compared, forms = folder / "joint.html", folder / "compare.html", ("csv", "markdown", "latex")
    measured, slip = ("run", "--tasks", tasks, "--model"), ("run", "--tasks", "length-bias@.", "--model", "colour:x")
    commands: list[Sequence[str | Path]] = [
        ("list", "tasks"),
        ("list", "models"),
        (*measured, "colour:3", "--out", runs[0]),
        (*measured, "colour:2", "--out", runs[1]),
        ("report", *runs, "--out", joint),
        *(("export", str(runs[0]), "--to", form) for form in forms),
        ("plot", "length-bias", *runs, "-o", folder / "length-bias.svg"),
        slip,
        ("compare", *runs, "--format", "html", "--out", compared),
    ]
    many = write_cards(folder / "many")
    explained_runs = [folder / "many-3", folder / "many-2"]
    for model, run in zip(("colour:3", "colour:2"), explained_runs, strict=True):
        commands.append(("run", "--tasks", f"length-bias@{many}", "--model", model, "--out", run))
    commands.append(("explain", *explained_runs, "--json", folder / "explained.json"))
    *done, refused, compare_done, first_run, second_run, explain_done = clipbench(commands, environment)
    last_done = (first_run, second_run, explain_done)
    assert all(last.status == 0 for last in last_done), [last.err for last in last_done]
    assert all(evaluation.status == 0 for evaluation in done), [evaluation.err for evaluation in done]
    assert compare_done.status in (0, 1), compare_done.err
    listed = dict(zip(("tasks", "models"), (evaluation.out for evaluation in done[:2]), strict=True))
    exported = dict(zip(forms, (evaluation.out for evaluation in done[5:8]), strict=True))
    return Stranger(
        listed, runs, joint, compared, exported, folder / "length-bias.svg", refused, folder / "explained.json"
    )


@pytest.fixture(scope="module")
def runs(stranger: Stranger) -> list[Path]:
    return stranger.runs


def words(html: str) -> str:
    """Return the words of a part of a page, one space apart."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).replace("\N{NO-BREAK SPACE}", " ").split())


def test_they_are_listed_beside_clipbench_s_own(stranger: Stranger) -> None:
    assert "length-bias" in stranger.listed["tasks"] and "zero-shot" in stranger.listed["tasks"]
    assert "colour:" in stranger.listed["models"]


def test_they_run_together_and_with_clipbench_s_own(runs: list[Path]) -> None:
    bias, zero_shot, retrieval = json.loads((runs[0] / "result.json").read_text())["evaluations"]
    wins = bias["metrics"]["longest_wins"]
    assert wins["value"] == pytest.approx((0 + 0 + 0.5 + 1) / 4)
    assert (wins["title"], wins["is_headline"]) == ("Longest caption wins", True)
    assert bias["baselines"]["tie_rate"]["baseline_of"] == ["longest_wins"]
    assert zero_shot["metrics"]["acc1"]["value"] == 1.0
    # A green caption ties between two green images, and the leaf's says nothing: a random order of four.
    assert 0.5 <= retrieval["metrics"]["image_retrieval_recall@1"]["value"] <= 0.875


def test_its_section_has_question_sentence_figure_gallery_table_and_baseline(runs: list[Path]) -> None:
    page = (runs[0] / "report.html").read_text(encoding="utf-8")
    section = page.partition('aria-labelledby="length-bias"')[2].partition("</section>")[0]
    text = words(section)
    assert "Does the longest of all captions score above the one that is true of an image?" in text
    assert "How it is scored A tie scores half" in text
    assert "The longest caption beats an image's own in 37.5 % [" in text
    assert "Captions that score below the longest: 25.0 %." in text and section.count("<figure") == 1
    assert "Images whose caption lost to the longest All 1, the worst first." in text
    assert "Caption a nice card Preferred a green card Margin −" in text
    assert section.count("data:image/webp;base64,") == 1
    assert "Longest caption wins, by the length of the caption" in text and "Letters Longest wins, % n" in text
    assert "1 baseline" in text and "Ties tie_ rate 25.0" in text  # it may break after the _
    assert "Not drawn" not in text and "left out" not in text


def test_models_are_compared_by_the_vectors_that_it_keeps(stranger: Stranger) -> None:
    page = words(stranger.compared.read_text(encoding="utf-8"))
    assert "length-bias@cards.jsonl: mutual k-NN and CKA of the two models are not computed" in page
    assert "the runs have 4 pairs in common (they kept 4, 4): expected at least 12" in page
    assert "zero-shot@cards.jsonl: mutual k-NN" not in page


def test_explain_makes_groups_of_the_inputs_that_it_declares(stranger: Stranger) -> None:
    explanation = json.loads(stranger.explained.read_text())
    assert explanation["n_slices"].keys() >= {"columns", "caption words"}, "of n_letters, and of the caption"
    assert not any("declares no inputs" in note for note in explanation["notes"])


def test_exports_hold_its_metrics_as_they_hold_ours(stranger: Stranger) -> None:
    table, markdown, latex = (stranger.exported[form] for form in ("csv", "markdown", "latex"))
    rows = {(row["task"], row["metric"]): row for row in csv.DictReader(table.splitlines())}
    assert float(rows["length-bias", "longest_wins"]["value"]) == pytest.approx(0.375)
    assert rows["length-bias", "tie_rate"]["kind"] == "baseline"
    row = rows["length-bias", "longest_wins"]
    assert (row["title"], row["is_headline"]) == ("Longest caption wins", "true")
    assert json.loads(rows["length-bias", "tie_rate"]["baseline_of"]) == ["longest_wins"]
    assert "| Longest caption wins | % | 37.5 " in markdown and "| Top-1 accuracy | % | 100.0 " in markdown
    assert r"Longest caption wins & \% & 37.5 [" in latex and r"Top-1 accuracy & \% & 100.0 [" in latex


def test_its_section_brings_a_figure_for_print(stranger: Stranger) -> None:
    assert "<svg" in stranger.plotted.read_text(encoding="utf-8")
    with stranger.plotted.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        series = {row["series"] for row in csv.DictReader(file)}
    assert len(series) == 3  # each model, and the line at zero
    caption = stranger.plotted.with_suffix(".txt").read_text(encoding="utf-8")
    assert "Captions that score below the longest: " in caption and "Lead: the cosine" in caption


def test_it_imports_from_the_public_faces_alone() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "stranger_clip").glob("*.py")]
    modules = {
        module for text in sources for module in re.findall(r"^(?:from|import) (clipbench\S*)", text, re.MULTILINE)
    }
    assert modules == {"clipbench", "clipbench_reports"}
