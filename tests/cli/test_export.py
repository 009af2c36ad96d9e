"""`clipbench export` from the command line: where it writes, what it says, and one line for everything that is wrong."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clipbench.results.export import FORMATS
from clipbench.results.other_tools import read_values
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result
from clipbench.results.run import write_result

if TYPE_CHECKING:
    from tests.cli.conftest import Done


Export = Callable[..., "Done"]

ANY_DATA = [name for name in FORMATS if name != "eval-results"]
"""The formats but one, which takes data of the Hub alone."""


def result(ref: str = "tiny", **metric: object) -> Result:
    given = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 7, "chance": 0.1, "higher_is_better": True, **metric}
    acc1 = Metric(**given)  # type: ignore[arg-type]
    evaluations = [
        EvaluationRecord(
            task="zero-shot",
            task_version=2,
            params={},
            dataset=DatasetRecord(id="imagenet", n_samples=7),
            status="ok",
            metrics={"acc1": acc1, "acc5": Metric(value=None, reason="of 3 classes")},
        )
    ]
    model = {"ref": ref, "fingerprint": ref}
    return Result(
        clipbench_version="9",
        created="2026-01-02",
        command=[],
        seed=3,
        environment={},
        model=model,
        evaluations=evaluations,
    )


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Export) -> Export:
    """Return a function that gives the command some arguments, in a folder with the runs `run` and `other`."""
    monkeypatch.chdir(tmp_path)
    for name, ref in (("run", "tiny"), ("other", "large")):
        (tmp_path / name).mkdir()
        write_result(result(ref), tmp_path / name)

    return partial(call, "export")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_without_a_file_it_prints(export: Export, tmp_path: Path) -> None:
    done = export("run", "other/result.json", "--to", "csv")
    rows = list(csv.DictReader(done.out.splitlines()))
    assert (done.status, done.err) == (0, "") and files(tmp_path) == ["other/result.json", "run/result.json"]
    assert [(row["model"], row["metric"], row["value"]) for row in rows] == [
        ("tiny", "acc1", "0.5"),
        ("tiny", "acc5", ""),
        ("large", "acc1", "0.5"),
        ("large", "acc5", ""),
    ]


@pytest.mark.parametrize("to", ANY_DATA)
def test_a_file_holds_what_is_printed_and_is_replaced_whole(export: Export, tmp_path: Path, to: str) -> None:
    out = f"out{FORMATS[to].suffixes[0]}"
    (tmp_path / out).write_text("old")
    done = export("run", "--to", to, "-o", out)
    assert (done.status, done.out) == (0, f"wrote {out}\n")
    assert files(tmp_path) == sorted([out, "other/result.json", "run/result.json"])
    content = (tmp_path / out).read_bytes()
    assert content != b"old"
    if FORMATS[to].is_text:
        assert export("run", "--to", to).out == content.decode()


def test_clip_benchmark_takes_a_folder_and_compare_reads_what_is_in_it(export: Export, tmp_path: Path) -> None:
    done = export("run", "other", "--to", "clip-benchmark", "-o", "theirs")
    assert (done.status, done.out) == (0, "wrote theirs\n")
    assert "note: zero-shot@imagenet acc5 is null, undefined: of 3 classes" in done.err
    names = [f"imagenet1k__{ref}_en_zeroshot_classification.json" for ref in ("large", "tiny")]
    assert files(tmp_path / "theirs") == names
    assert read_values(tmp_path / "theirs" / names[1]).values == {"zero-shot@imagenet/acc1": 0.5}
    assert export("run", "other", "--to", "clip_benchmark", "-o", "theirs").status == 0  # the same once more
    assert json.loads(export("run", "--to", "clip_benchmark").out)[0]["dataset"] == "imagenet1k"


def test_what_others_left_in_a_folder_is_not_lost(export: Export, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    theirs = tmp_path / "theirs/imagenet1k__tiny_en_zeroshot_classification.json"
    theirs.write_text("{}")
    done = export("run", "other", "--to", "clip_benchmark", "-o", "theirs")
    assert (
        done.status == 2 and "zeroshot_classification.json exists and holds other results: choose another" in done.err
    )
    assert theirs.read_text() == "{}" and files(tmp_path / "theirs") == [theirs.name]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument 'RUN...'"),
        (["run"], "Missing option '--to'"),
        (["run", "--to", "latx"], "--to latx: did you mean 'latex'?"),
        (["nowhere", "--to", "csv"], "no result.json in nowhere: expected a folder that"),
        (["run", "--to", "csv", "-o", "a.tsv"], "-o a.tsv: csv needs a file ending in .csv\n"),
        (["run", "--to", "model-index", "-o", "README.md"], "model-index needs a file ending in .yaml or .yml"),
        (["run", "--to", "clip_benchmark", "-o", "a.txt"], "a file ending in .json or a folder"),
        (["run", "--to", "clip_benchmark", "-o", "run/result.json"], "other than result.json"),
        (["run", "--to", "csv", "-o", "no/a.csv"], "cannot write no/a.csv: No such file or directory"),
        (["run", "--to", "parquet"], "parquet cannot be printed: give -o FILE.parquet"),
        (
            ["run", "other", "--to", "model-index"],
            "a model card describes one model, and the 2 runs are of several: tiny, la",
        ),
        (["run", "run", "--to", "clip_benchmark"], "two results would both be named imagenet1k__tiny_en"),
        (["run", "--to", "csv", "--force"], "No such option"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    export: Export, tmp_path: Path, arguments: list[str], told: str
) -> None:
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    done = export(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("clipbench: ") and done.err.count("\n") == 1 and told in done.err, done.err
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_nan_is_never_written(export: Export, tmp_path: Path) -> None:
    (tmp_path / "run/result.json").write_text(json.dumps(asdict(result(value=float("nan")))))
    for to in FORMATS:
        done = export("run", "--to", to, "-o", f"a{FORMATS[to].suffixes[0]}")
        assert done.status == 2 and done.err.count("\n") == 1
        assert "evaluations[0].metrics.acc1.value is nan, expected a number): make the run again" in done.err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("low", "0.1", "acc1.low is '0.1', expected a number"), ("n", None, "acc1.n is None, expected a whole number")],
)
def test_what_is_no_number_is_told(export: Export, tmp_path: Path, name: str, value: object, told: str) -> None:
    data = asdict(result())
    data["evaluations"][0]["metrics"]["acc1"][name] = value
    (tmp_path / "run/result.json").write_text(json.dumps(data))
    # In a process of its own: here the types of all records are checked when they are made.
    command = [sys.executable, "-m", "clipbench.cli", "export", "run", "--to", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and told in done.stderr and done.stderr.count("\n") == 1


def test_a_run_of_an_old_version_is_exported(export: Export, tmp_path: Path) -> None:
    """What the first version wrote had neither published values nor columns, nor counts of what was encoded."""
    data = asdict(result())
    del data["evaluations"][0]["encoded"], data["evaluations"][0]["files"], data["evaluations"][0]["notes"]
    for metric in data["evaluations"][0]["metrics"].values():
        for name in ("published", "column", "influence"):
            del metric[name]
    (tmp_path / "run/result.json").write_text(json.dumps(data))
    for to in ANY_DATA:
        assert export("run", "--to", to, "-o", f"a{FORMATS[to].suffixes[0]}").status == 0


def test_a_run_of_a_newer_version_is_told(export: Export, tmp_path: Path) -> None:
    (tmp_path / "run/result.json").write_text('{"schema_version": 99}')
    done = export("run", "--to", "csv")
    assert done.status == 2 and "has schema version 99" in done.err and "update clipbench" in done.err


def test_a_traceback_is_shown_on_request(export: Export) -> None:
    assert "Traceback (most recent call last)" in export("run", "--to", "x", "--traceback").err


def test_every_format_is_in_the_help(export: Export) -> None:
    help_text = export("--help").out
    assert all(name in help_text for name in FORMATS)


def test_nothing_of_it_needs_torch(export: Export, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom clipbench.cli import main\n"
        "sys.modules['torch'] = None\n"
        "from clipbench.results.export import FORMATS, export\n"
        f"for name in {ANY_DATA}:\n"
        "    form, several = FORMATS[name], name in ('csv', 'parquet', 'clip_benchmark', 'markdown', 'latex')\n"
        "    runs = [Path('run'), Path('other')] if several else [Path('run')]\n"
        "    export(runs, name, Path('a' + form.suffixes[0]))\n"
        "try:\n    main(['show', 'run', '--all'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'open_clip', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
