"""`clipbench compare` from the command line: exit statuses, formats, and one line for everything that is wrong."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import read_run, write_result
from tests.cli.conftest import Call
from tests.made import record_of, result_of

N = 400


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that gives the command some arguments, in a folder with a base and candidates."""
    monkeypatch.chdir(tmp_path)
    for name in ("CLIPBENCH_ALPHA", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    right = np.zeros(N)
    right[:240] = 1.0
    write(tmp_path / "base", right)
    write(tmp_path / "same", right)
    write(tmp_path / "worse", np.roll(right, -1) * (np.arange(N) >= 40))  # 40 lost
    write(tmp_path / "unlucky", right * (np.arange(N) >= 4))  # 4 lost: 1 pp, and McNemar's p is 1/8
    write(tmp_path / "better", np.maximum(right, np.arange(N) % 4 == 0))

    return partial(call, "compare")


def write(folder: Path, right: np.ndarray, **changes: Any) -> None:
    """Write a run with one evaluation, of which these samples are right."""
    (folder / "samples").mkdir(parents=True)
    ids = [f"bird-{k:03}" for k in range(len(right))]
    table = pandas.DataFrame({"sample_id": ids, "acc1": np.asarray(right, np.float64)})
    table.to_parquet(folder / "samples/zero-shot@birds.parquet", index=False)
    facts: dict[str, Any] = {
        "metrics": {
            "acc1": Metric(value=float(np.mean(right)), n=len(right), column="acc1", higher_is_better=True),
            "gap": Metric(value=0.5, n=len(right), unit="distance"),
        },
        "files": {"samples": "samples/zero-shot@birds.parquet"},
    }
    data = DatasetRecord(id="birds", n_samples=len(right), fingerprint="f00d")
    model = {"ref": folder.name, "fingerprint": "abc"}
    result = result_of(record_of(data=data, **{**facts, **changes}), created="2026-11-24T14:15:00+00:00", model=model)
    write_result(result, folder)


@pytest.mark.parametrize(
    ("candidate", "options", "status"),
    [
        ("worse", ["--max-drop", "0.5pp"], 1),
        ("worse", ["--max-drop", "1%"], 1),
        ("worse", ["--max-drop", "50pp"], 0),
        ("same", ["--max-drop", "0pp"], 0),
        ("better", ["--max-drop", "0pp"], 0),
        ("unlucky", ["--max-drop", "0.5pp"], 0),  # beyond the tolerance, and it may be chance
        ("unlucky", ["--max-drop", "0.5pp", "--strict"], 1),
        ("unlucky", ["--max-drop", "0.5pp", "--alpha", "0.2"], 1),
        ("unlucky", ["--max-drop", "1pp", "--strict"], 0),
        ("worse", ["--require", "zero-shot@birds/acc1 >= 90%"], 1),
        ("worse", ["--require", "zero-shot/acc1 >= 10%"], 0),
    ],
)
def test_the_status_is_1_for_a_regression_alone(compare: Call, candidate: str, options: list[str], status: int) -> None:
    assert compare("base", candidate, *options).status == status


def test_a_gated_metric_that_the_candidate_lacks_ends_with_3(compare: Call) -> None:
    result = read_run(Path("worse")).result
    metrics = dict(result.evaluations[0].metrics)
    metrics["acc1"] = Metric(value=None, reason="one class", higher_is_better=True)
    write_result(replace(result, evaluations=[replace(result.evaluations[0], metrics=metrics)]), Path("worse"))
    done = compare("base", "worse", "--max-drop", "1pp")
    assert done.status == 3
    assert "MISSING  zero-shot@birds/acc1 (max drop 1 pp): worse has no value: one class" in done.out


def test_a_candidate_without_samples_has_a_page_and_the_reason_why_nothing_is_explained(compare: Call) -> None:
    Path("theirs.json").write_text(
        '[{"model": "theirs", "dataset": "birds", "task": "zeroshot_classification", "metrics": {"acc1": 0.5}}]'
    )
    done = compare("base", "theirs.json", "--explain", "--format", "html", "-o", "page.html")
    assert done.status == 0 and Path("page.html").is_file()
    assert "no explanation: theirs has values without samples: expected a run folder of clipbench" in done.err
