"""Runs of older releases, kept as they were written, and damaged ones, through every command that reads runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clipbench.results.export import FORMATS
from clipbench.results.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from tests.cli.conftest import Done

RESULTS = Path(__file__).parents[1] / "fixtures" / "results"
OLD = sorted(path.parent for path in RESULTS.glob("version-*/*/result.json"))
FIRST = RESULTS / "version-1" / "first"
COMMANDS = (
    ("show", "old"),
    ("report", "old", "-o", "report.html"),
    ("compare", "old", "old"),
    ("plot", "scorecard", "old", "-o", "figure.svg"),
    *(("export", "old", "--to", form, "-o", f"file{FORMATS[form].suffixes[0]}") for form in FORMATS),
)
REFUSED = {"eval-results": "on a data set of the Hub", "mteb": "no result of a task that mteb has"}
"""Formats for data that others know, and what they say of the old runs, which are of a file of vectors."""


Call = Callable[..., "Done"]
Damage = Callable[[Callable[[dict[str, Any]], None]], Path]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that gives clipbench some arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))

    return call


@pytest.fixture
def damage(tmp_path: Path) -> Damage:
    """Return a function that changes the result of a copy of a run, `old` in the current folder."""

    def change(how: Callable[[dict[str, Any]], None], folder: Path = FIRST) -> Path:
        shutil.copytree(folder, tmp_path / "old")
        data = json.loads((tmp_path / "old/result.json").read_text())
        how(data)
        (tmp_path / "old/result.json").write_text(json.dumps(data))
        return tmp_path / "old"

    return change


def acc1(data: dict[str, Any]) -> dict[str, Any]:
    """Return the first metric of a result."""
    found: dict[str, Any] = data["evaluations"][0]["metrics"]["acc1"]
    return found


def test_each_schema_version_has_a_run_of_each_of_its_shapes() -> None:
    assert {path.parent.name for path in OLD} == {f"version-{number}" for number in range(1, SCHEMA_VERSION + 1)}
    keys = [set(acc1(json.loads((path / "result.json").read_text()))) for path in OLD if path.parent == FIRST.parent]
    assert sorted(map(len, keys)) == [10, 11, 13]  # published values came with one release, column and influence later


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.name)
def test_an_old_run_is_shown_reported_drawn_exported_and_compared_with_itself(call: Call, old: Path) -> None:
    shutil.copytree(old, "old")
    for command in COMMANDS:
        done = call(*command)
        assert done.status == 0 or any(form in command and words in done.err for form, words in REFUSED.items()), done
        assert "damaged" not in done.err
    assert "50.0 %  [25.4, 74.6]  chance 33.3 %  n 12" in call("show", "old", "--all").out
    page = Path("report.html").read_text()
    assert "[25.4, 74.6]" in page and "damaged" not in page
    rows = Path("file.csv").read_text().splitlines()
    assert sum(",acc1,0.5,0.25" in row for row in rows) == 1


def test_of_two_old_runs_what_cannot_be_tested_says_why(call: Call) -> None:
    (found,) = json.loads(call("compare", FIRST, FIRST, "--format", "json").out)["comparisons"]
    (test,) = {each["test"] for each in found["differences"]}
    assert test == "no test: no per-sample values are recorded"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_schema_is_refused_in_one_line(call: Call, damage: Damage, command: tuple[str, ...]) -> None:
    damage(lambda data: data.update(schema_version=SCHEMA_VERSION + 1, evaluations="of another kind"))
    done = call(*command)
    assert done.status == 2 and done.err.count("\n") == 1
    assert f"has schema version {SCHEMA_VERSION + 1}, expected at most {SCHEMA_VERSION}: update clipbench" in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["old"]


WRONG: tuple[tuple[Callable[[dict[str, Any]], None], str], ...] = (
    (lambda data: data["evaluations"][0]["metrics"].update(acc1=[1]), r"metrics.acc1 is [1], expected an object"),
    (lambda data: acc1(data).update(value="high"), "evaluations[0].metrics.acc1.value is 'high', expected a number"),
    (lambda data: acc1(data).update(n=12.5), "metrics.acc1.n is 12.5, expected a whole number"),
    (lambda data: acc1(data).update(value=True), "metrics.acc1.value is True, expected a number"),
    (lambda data: acc1(data).update(value=float("nan")), "metrics.acc1.value is nan, expected a number"),
    (
        lambda data: acc1(data).update(n=10**30),
        "metrics.acc1.n is 1000000000000000000000000000000, expected a whole number below 2^63",
    ),
    (lambda data: acc1(data).update(n=True), "metrics.acc1.n is True, expected a whole number"),
    (lambda data: data["model"].update(n_parameters=10**400), "expected a whole number below 2^63"),
    (
        lambda data: data["environment"].update(cpus=[2, {"of": float("nan")}]),
        "environment.cpus[1].of is nan, expected a number",
    ),
    (lambda data: data["evaluations"][0].update(status="done"), "status is 'done', expected one of ok, unavailable"),
    (lambda data: data.update(evaluations={}), "evaluations is {}, expected a list"),
    (lambda data: data["evaluations"][1].pop("dataset"), "evaluations[1].dataset is not there"),
    (lambda data: data["evaluations"][0]["curves"]["reliability"]["x"].append(1), "numbers, expected as many of each"),
    (lambda data: data.update(model="tiny"), "model is 'tiny', expected an object"),
)


@pytest.mark.parametrize(("how", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_value_of_another_type_is_named_with_its_place(
    call: Call, damage: Damage, how: Callable[[dict[str, Any]], None], message: str
) -> None:
    damage(how)
    for command in (COMMANDS[0], COMMANDS[1], COMMANDS[2], COMMANDS[4]):
        done = call(*command)
        assert done.status == 2 and done.err.count("\n") == 1
        assert message in done.err


def test_a_number_beyond_all_numbers_is_none(call: Call, damage: Damage) -> None:
    file = damage(lambda data: acc1(data).update(value=0.123456)) / "result.json"
    file.write_text(file.read_text().replace("0.123456", "1e999"))
    assert "metrics.acc1.value is inf, expected a number" in call("show", "old").err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_that_was_not_finished_is_said_in_one_line(call: Call, command: tuple[str, ...]) -> None:
    shutil.copytree(FIRST, "old")
    Path("old/result.json").unlink()
    done = call(*command)
    assert done.status == 2 and done.err.count("\n") == 1
    assert "no result.json in old" in done.err


def broken_table(folder: Path) -> str:
    (folder / "samples/zero-shot@own.parquet").write_bytes(b"PAR1 and no more")
    return r"cannot read the samples of zero-shot@embeddings in old"


def no_table(folder: Path) -> str:
    (folder / "samples/zero-shot@own.parquet").unlink()
    return "run old lacks zero-shot@own.parquet: the run is damaged, make it again"


def broken_arrays(folder: Path) -> str:
    file = folder / "arrays/modality-gap@own.npz"
    file.write_bytes(file.read_bytes()[:700])
    return "cannot read the arrays of modality-gap@embeddings in old"


def no_arrays(folder: Path) -> str:
    (folder / "arrays/modality-gap@own.npz").unlink()
    return "run old lacks modality-gap@own.npz: the run is damaged, run again with --keep-arrays"


@pytest.mark.parametrize("harm", [broken_table, no_table, broken_arrays, no_arrays])
def test_the_report_says_which_file_is_missing_or_damaged_and_shows_the_rest(
    call: Call, harm: Callable[[Path], str]
) -> None:
    shutil.copytree(FIRST, "old")
    message = harm(Path("old"))
    assert call("report", "old", "-o", "report.html").status == 0
    page = Path("report.html").read_text()
    assert message in page and "[25.4, 74.6]" in page and "image_cone" in page


@pytest.mark.parametrize("harm", [broken_table, no_table])
def test_a_comparison_does_not_pass_over_a_table_that_cannot_be_read(call: Call, harm: Callable[[Path], str]) -> None:
    shutil.copytree(FIRST, "old")
    message = harm(Path("old"))
    done = call("compare", FIRST, "old")
    assert done.status == 2 and done.err.count("\n") == 1
    assert message in done.err and not done.out
