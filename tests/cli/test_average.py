"""The average of a suite, from `run` to the page: named with the number of its data sets, or missing with the
reason.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.evaluation.output_folders import find_targets
from clipbench.evaluation.session import Session, SessionOptions
from clipbench.results.run import read_run

SUITE = """
[[evaluation]]
task = "retrieval"
data = "data.csv"
main = ["image_retrieval_recall@1", "text_retrieval_recall@1"]

[[evaluation]]
task = "zero-shot"
data = "labels.csv"
main = "{group=(worst)}/acc1"
"""
MODEL = ("run", "--model", "python:clipbench.testing:ToyModel", "--suite", "mine.toml")
TITLE = "Average over 2 data sets (mine)"


@pytest.fixture
def suite(world: Path) -> Path:
    """A suite of captions and of labelled images from two places."""
    for number in range(6):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(world / f"grey{number}.png")
    rows = [f"grey{number}.png,{'dark' if number < 3 else 'light'},{'NS'[number % 2]}" for number in range(6)]
    (world / "labels.csv").write_text("\n".join(["image,label,group", *rows]) + "\n")
    (world / "mine.toml").write_text(SUITE)
    return world


def test_a_run_of_a_whole_suite_ends_with_its_average(suite: Path, call: Callable[..., Any]) -> None:
    done = call(*MODEL, "--tasks", "all", "--out", "whole")
    assert done.status == 0, done.err
    run = read_run(suite / "whole")
    average = run.result.average
    assert average is not None and average.suite == "mine" and average.metric.title == TITLE
    by_name = {str(name): metric.value for name, metric in run.named_metrics.items()}
    values = [np.mean([by_name[name] for name in names]) for names in average.parts]
    assert average.metric.value == pytest.approx(np.mean(values))
    lines = done.out.splitlines()
    assert lines[lines.index(TITLE) + 1].split()[:2] == ["average", f"{100 * np.mean(values):.1f}"]
    shown = call("show", "whole", "--all").out.splitlines()
    assert [line.split() for line in shown[shown.index(TITLE) + 2 :][:2]] == [
        ["retrieval@data.csv/image_retrieval_recall@1", "+", "retrieval@data.csv/text_retrieval_recall@1"],
        ["zero-shot@labels.csv{group=(worst)}/acc1"],
    ]
    (row,) = run.frame().query("task == '(average)'").to_dict("records")
    assert (row["data"], row["metric"], row["n"], row["value"]) == ("mine", "average", 2, average.metric.value)
    assert TITLE in run._repr_html_()
    assert TITLE in (suite / "whole" / "report.html").read_text(encoding="utf-8")
    call("export", "whole", "--to", "csv", "-o", "whole.csv")
    with (suite / "whole.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["kind"] == "average")
    assert (row["data"], row["title"], float(row["value"])) == ("mine", TITLE, average.metric.value)


def session_of(out: Path, **options: Any) -> Session:
    chosen = SessionOptions(suite="mine.toml", writes_reports=False, checks_model=False, **options)
    return Session(chosen, find_targets(["python:clipbench.testing:ToyModel"], out))


def test_data_for_all_tasks_make_each_evaluation_once(suite: Path) -> None:
    table = '[[evaluation]]\ntask = "retrieval"\ndata = "{}"\n{}\n'
    rest = ('main = "image_retrieval_recall@1"', 'main = "text_retrieval_recall@1"', "params = {ks = [1]}")
    (suite / "mine.toml").write_text("".join(table.format(*evaluation) for evaluation in zip("abc", rest, strict=True)))
    for _ in range(2):  # the second finds the first one's
        (run,) = session_of(suite / "own", data="data.csv").run_all()
        assert run.result.average is None
        assert [list(evaluation.params["ks"]) for evaluation in run.result.evaluations] == [[1, 5, 10], [1]]
