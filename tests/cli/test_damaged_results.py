"""Runs that are damaged, unfinished or of a newer version, through every command that reads runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import clipbench
from clipbench.results.record import SCHEMA_VERSION

if TYPE_CHECKING:
    from tests.cli.conftest import Done

Call = Callable[..., "Done"]
Damage = Callable[[Callable[[dict[str, Any]], None]], Path]
COMMANDS = (
    ("show", "run"),
    ("report", "run", "-o", "report.html"),
    ("compare", "run", "run"),
    ("plot", "scorecard", "run", "-o", "figure.svg"),
    ("export", "run", "--to", "csv", "-o", "file.csv"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of vectors with classes and captions."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    rng = np.random.default_rng(0)
    classes, labels = rng.standard_normal((3, 8)), np.arange(12) % 3
    images = classes[labels] + rng.standard_normal((12, 8))
    texts = images + rng.standard_normal((12, 8))
    given = clipbench.vectors(images=images, texts=texts, labels=labels, class_texts=classes, logit_scale=10.0)
    clipbench.run(given, ["zero-shot", "modality-gap"], out=folder)
    return folder


@pytest.fixture
def call(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that gives clipbench some arguments in a folder with a copy of the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(whole, "run")
    return call


def damage(how: Callable[[dict[str, Any]], None]) -> None:
    """Change the result of the copy."""
    file = Path("run/result.json")
    data = json.loads(file.read_text())
    how(data)
    file.write_text(json.dumps(data))


def acc1(data: dict[str, Any]) -> dict[str, Any]:
    """Return the first metric of a result."""
    found: dict[str, Any] = data["evaluations"][0]["metrics"]["acc1"]
    return found


def refused(done: "Done", message: str) -> bool:
    return done.status == 2 and done.err.count("\n") == 1 and message in done.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_schema_and_an_unfinished_run_are_refused_in_one_line(call: Call, command: tuple[str, ...]) -> None:
    damage(lambda data: data.update(schema_version=SCHEMA_VERSION + 1, evaluations="of another kind"))
    message = f"has schema version {SCHEMA_VERSION + 1}, expected at most {SCHEMA_VERSION}: update clipbench"
    assert refused(call(*command), message)
    Path("run/result.json").unlink()
    assert refused(call(*command), "no result.json in run")
    assert [path.name for path in Path().iterdir()] == ["run"]


WRONG: tuple[tuple[Callable[[dict[str, Any]], None], str], ...] = (
    (lambda data: data["evaluations"][0]["metrics"].update(acc1=[1]), r"metrics.acc1 is [1], expected an object"),
    (lambda data: acc1(data).update(value="high"), "evaluations[0].metrics.acc1.value is 'high', expected a number"),
    (lambda data: acc1(data).update(n=12.5), "metrics.acc1.n is 12.5, expected a whole number"),
    (lambda data: acc1(data).update(value=True), "metrics.acc1.value is True, expected a number"),
    (lambda data: acc1(data).update(value=float("nan")), "metrics.acc1.value is nan, expected a number"),
    (lambda data: acc1(data).update(value=float("inf")), "metrics.acc1.value is inf, expected a number"),
    (lambda data: acc1(data).update(n=10**30), f"metrics.acc1.n is {10**30}, expected a whole number below 2^63"),
    (lambda data: data["model"].update(n_parameters=10**400), "expected a whole number below 2^63"),
    (
        lambda data: data["environment"].update(cpus=[2, {"of": float("nan")}]),
        "environment.cpus[1].of is nan, expected a number",
    ),
    (lambda data: data["evaluations"][0].update(status="done"), "status is 'done', expected one of ok, unavailable"),
    (lambda data: data.update(evaluations={}), "evaluations is {}, expected a list"),
    (lambda data: data["evaluations"][1].pop("dataset"), "evaluations[1].dataset is not there"),
    (
        lambda data: data["evaluations"][0].update(curves={"made": {"x": [1, 2], "y": [1]}}),
        "curves.made has 2 and 1 numbers, expected as many of each",
    ),
    (lambda data: data.update(model="tiny"), "model is 'tiny', expected an object"),
)


@pytest.mark.parametrize(("how", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_value_of_another_type_is_named_with_its_place(
    call: Call, how: Callable[[dict[str, Any]], None], message: str
) -> None:
    damage(how)
    for command in COMMANDS:
        assert refused(call(*command), message)


TABLE, ARRAYS = "samples/zero-shot@own.parquet", "arrays/modality-gap@own.npz"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (TABLE, b"PAR1 and no more", "cannot read the samples of zero-shot@embeddings in run"),
        (TABLE, None, "run run lacks zero-shot@own.parquet: the run is damaged, make it again"),
        (ARRAYS, b"PK\x03\x04 and no more", "cannot read the arrays of modality-gap@embeddings in run"),
        (ARRAYS, None, "run run lacks modality-gap@own.npz: the run is damaged, run again with --keep-arrays"),
    ],
)
def test_the_report_says_which_file_is_missing_or_damaged_and_a_comparison_does_not_pass_over_it(
    call: Call, whole: Path, file: str, content: bytes | None, message: str
) -> None:
    Path("run", file).unlink()
    if content is not None:
        Path("run", file).write_bytes(content)
    assert call("report", "run", "-o", "report.html").status == 0
    page = Path("report.html").read_text()
    assert message in page and "image_cone" in page
    if file == TABLE:
        done = call("compare", whole, "run")
        assert refused(done, message) and not done.out
