"""`clipbench export` from the command line: where it writes, what it says, and one line for everything that is
wrong.
"""

import csv
import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from clipbench import plugins
from clipbench.results.export.formats import format_of
from clipbench.results.record import DatasetRecord, Metric, Result
from clipbench.results.run import write_result
from tests.cli.conftest import Call
from tests.made import record_of, result_of

SPECIAL = ("eval-results", "board", "board-csv", "trec", "rankings")
ANY_DATA = [name for name in plugins.names(plugins.EXPORTS) if name not in SPECIAL]
"""The formats for any run: one needs data of the Hub, boards need two models, and lists need a run that kept some."""


def result(ref: str = "tiny", **metric: object) -> Result:
    fields = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 7, "chance": 0.1, "higher_is_better": True, **metric}
    acc1 = Metric(**fields)  # type: ignore[arg-type]
    evaluation = record_of(
        data=DatasetRecord(id="imagenet", n_samples=7),
        task_version=2,
        metrics={"acc1": acc1, "acc5": Metric(value=None, reason="of 3 classes")},
    )
    return result_of(evaluation, seed=3, model={"ref": ref, "fingerprint": ref})


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that gives the command some arguments, in a folder with the runs `run` and `other`."""
    monkeypatch.chdir(tmp_path)
    for name, ref in (("run", "tiny"), ("other", "large")):
        (tmp_path / name).mkdir()
        write_result(result(ref), tmp_path / name)

    return partial(call, "export")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("to", ANY_DATA)
def test_a_file_holds_what_is_printed_and_is_replaced_whole(export: Call, tmp_path: Path, to: str) -> None:
    out = f"out{format_of(to).suffixes[0]}"
    (tmp_path / out).write_text("old")
    done = export("run", "--to", to, "-o", out)
    assert (done.status, done.out) == (0, f"wrote {out}\n")
    assert files(tmp_path) == sorted([out, "other/result.json", "run/result.json"])
    content = (tmp_path / out).read_bytes()
    assert content != b"old"
    if format_of(to).is_text:
        assert export("run", "--to", to).out == content.decode()


def test_no_cell_of_a_csv_is_a_formula(export: Call, tmp_path: Path) -> None:
    refs = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "plain"]
    for number, ref in enumerate(refs):
        (tmp_path / f"all/{number}").mkdir(parents=True)
        write_result(result(ref, value=-0.5), tmp_path / f"all/{number}")
    cells = [row for row in csv.DictReader(export("all", "--to", "csv").out.splitlines()) if row["metric"] == "acc1"]
    assert [row["model"] for row in cells] == ["'=HYPERLINK(1)", "'+1", "'-1", "'@SUM(A1)", "plain"]
    assert {row["value"] for row in cells} == {"-0.5"}


def test_what_others_left_in_a_folder_is_not_lost(export: Call, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs/imagenet1k__tiny_en_zeroshot_classification.json"
    theirs.write_text("{}")
    done = export("run", "other", "--to", "clip_benchmark", "-o", "theirs")
    assert (
        done.status == 2 and "zeroshot_classification.json exists and holds other results: choose another" in done.err
    )
    assert theirs.read_text() == "{}" and files(tmp_path / "theirs") == [theirs.name]


def test_a_nan_is_never_written(export: Call, tmp_path: Path) -> None:
    (tmp_path / "run/result.json").write_text(json.dumps(asdict(result(value=float("nan")))))
    for to in plugins.names(plugins.EXPORTS):
        done = export("run", "--to", to, "-o", f"a{format_of(to).suffixes[0]}")
        assert done.status == 2 and done.err.count("\n") == 1
        assert "evaluations[0].metrics.acc1.value is nan, expected a number): make the run again" in done.err


def test_the_format_of_mteb_needs_no_torch(export: Call, tmp_path: Path) -> None:
    out = f"a{format_of('mteb').suffixes[0]}"
    code = "import sys; sys.modules['torch'] = None; from clipbench.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "export", "run", "--to", "mteb", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
