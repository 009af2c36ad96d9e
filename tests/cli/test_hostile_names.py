"""Names that try to steer a terminal or a CI job are shown by every command, and steer neither."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

from clipbench.comparison.formats import github, junit, markdown, terminal
from clipbench.comparison.gate_outcomes import GateResult, Outcome
from clipbench.comparison.records import Comparison, Refusal
from clipbench.errors import ClipbenchError
from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import read_run, write_result
from clipbench.untrusted.terminal import json_text, log_line
from tests.cli.conftest import Call
from tests.made import record_of, result_of

NAME = (
    "red\x1b[2J\x1b]0;title\x07\x9b31m\r\x7fgreen\u202eback\u2066\n::stop-commands::x\n  ::error::y\u2028::debug::z"
    " ##[group]g ##vso[task.setvariable variable=a]b ##teamcity[testFailed]\ud800"
)
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
COMMAND = re.compile(r"^\s*::|##\[|##vso\[|##teamcity\[", re.MULTILINE)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs in which everything that has a name is called NAME, or begins with it."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for skill, folder in enumerate(folders):
        (folder / "samples").mkdir(parents=True)
        right = (np.arange(40) % 4 < 1 + 2 * skill).astype(np.float64)
        ids = [f"{NAME}{row}".replace("\ud800", "") for row in range(40)]
        table = pandas.DataFrame({"sample_id": ids, "acc1": right, "margin": right - 0.5})
        table.to_parquet(folder / "samples" / "a.parquet")
        metrics = {
            NAME: Metric(value=float(right.mean()), n=40, column="acc1", title=NAME, unit="fraction", method=NAME),
            f"{NAME}-undefined": Metric(value=None, reason=NAME),
        }
        record = record_of(
            f"zero-shot{NAME}",
            DatasetRecord(id=NAME, n_samples=40, fingerprint="f00", revision=NAME, split=NAME, cite=NAME),
            params={NAME: NAME},
            metrics=metrics,
            baselines={f"{NAME}-baseline": metrics[NAME]},
            notes=[NAME],
            files={"samples": "samples/a.parquet"},
        )
        failed = record_of(NAME, NAME, status="failed", reason=NAME)
        model = {"ref": NAME, "id": NAME, "family": NAME}
        result = result_of(record, failed, command=["clipbench", NAME], environment={"device": NAME}, model=model)
        write_result(result, folder)
    return folders


def check(text: str) -> None:
    """Fail if a text would steer whatever shows it."""
    assert not STEERING.search(text), ascii(text)
    assert not COMMAND.search(text), ascii(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "{0}"],
        ["show", "{0}", "--all"],
        ["show", "{0}", "--task", "nothing"],
        ["compare", "{0}", "{1}"],
        ["compare", "{0}", "{1}", "--max-drop", "0.5pp", "--strict"],
        ["compare", "{0}", "{1}", "--format", "md"],
        ["compare", "{0}", "{1}", "--format", "json"],
        ["compare", "{0}", "{1}", "--format", "junit", "--max-drop", "0.5pp"],
        ["export", "{0}", "{1}", "--to", "csv"],
        ["export", "{0}", "{1}", "--to", "latex"],
        ["export", "{0}", "--to", "clip_benchmark"],
        ["export", "{0}", "--to", "model-index"],
        ["report", "{0}/" + NAME.replace("\ud800", ""), "-o", "{0}/page.html"],
        [NAME.replace("\ud800", "")],
        ["run", "--model", "embeddings:" + NAME.replace("\ud800", "")],
        ["show", "{0}", "--" + NAME.replace("\ud800", "")],
        ["report", "{0}/" + NAME.replace("\ud800", ""), "-o", "{0}/page.html", "--traceback"],
    ],
    ids=lambda arguments: (
        " ".join(argument for argument in arguments if argument.isascii() and argument.isprintable()) or "none"
    ),
)
def test_no_name_in_a_result_steers_what_shows_it(runs: list[Path], call: Call, arguments: list[str]) -> None:
    answer = call(*(argument.replace("{0}", str(runs[0])).replace("{1}", str(runs[1])) for argument in arguments))
    assert "green" in answer.out + answer.err or arguments[-1].startswith("{0}/page") or "nothing" in arguments
    check(answer.out)
    check(answer.err)


def test_json_on_a_terminal_is_harmless_and_still_says_the_same() -> None:
    value = {NAME: [NAME, "é 猫 👩‍👩‍👧"]}
    text = json_text(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == value
    assert "é 猫" in text
    check(text)


def test_annotations_are_the_only_commands_of_the_github_format() -> None:
    outcome = Outcome(metric=NAME, rule=NAME, status="regression", message=NAME)
    judged = Comparison(
        base=NAME,
        candidate=NAME,
        differences=[],
        refused=[Refusal(NAME, NAME)],
        notes=[NAME],
        warnings=[NAME],
        gate=GateResult(outcomes=[outcome]),
        reason=NAME,
    )
    for line in github([judged]).splitlines():
        assert re.match(r"::(error|warning|notice) title=[^:\n]*::", line), ascii(line)
        assert not STEERING.search(line), ascii(line)
    for write in (terminal, markdown, junit):
        check(write([judged]))


def test_what_a_run_prints_as_it_goes_on_is_harmless(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    name = NAME.replace("\ud800", "").replace("/", "")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 4)).astype(np.float32)
    ids = np.array([f"{name}{row}" for row in range(6)])
    np.savez(tmp_path / f"{name}.npz", allow_pickle=False, images=images, texts=images, image_ids=ids, text_ids=ids)
    reference = f"embeddings:{name}.npz"
    for arguments in ([], ["--json"]):
        out = tmp_path / f"out{len(arguments)}"
        answer = call("run", "--model", reference, "--tasks", "retrieval", "--no-report", "--out", out, *arguments)
        check(answer.out)
        check(answer.err)
        if "--json" in arguments:
            assert json.loads(answer.out) == json.loads((out / "result.json").read_text())
    assert read_run(tmp_path / "out0").result.model["ref"] == reference


def test_the_error_of_a_library_is_harmless(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ClipbenchError(NAME), RuntimeError(NAME)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("clipbench.results.run.read_run", fail)
        for arguments in ([], ["--traceback"]):
            answer = call("show", "run", *arguments)
            assert answer.status == 2 and "red\N{REPLACEMENT CHARACTER}" in answer.err
            check(answer.err)


def test_a_line_is_shown_as_it_is_where_it_is_harmless() -> None:
    for line in ("  acc1   50.0 %", "a::b", "C# ## heading", "עברית", "猫 👩", "\\::error"):
        assert log_line(line) == line
    assert log_line(log_line(NAME)) == log_line(NAME)


def test_nothing_else_prints() -> None:
    for package in ("clipbench", "clipbench_tasks", "clipbench_reports"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations is not None
        for file in Path(spec.submodule_search_locations[0]).rglob("*.py"):
            if file.name == "output.py" and file.parent.name == "cli":
                continue
            text = file.read_text(encoding="utf-8")
            if (
                file.name == "foreign_code.py"
            ):  # shows code before it runs, to callers from Python too, made harmless itself
                text = text.replace('print(f"note: {printable(note)}", file=sys.stderr, flush=True)', "pass")
            for node in ast.walk(ast.parse(text if re.search(r"print|echo|confirm|prompt|\.write", text) else "")):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in ("print", "click.echo", "click.secho", "click.confirm", "click.prompt"), file
                    assert not re.match(r"(sys\.)?std(out|err)\.write|traceback\.print", called), file
