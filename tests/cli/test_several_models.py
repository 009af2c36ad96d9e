"""What ``run`` prints of several models: one table with a column per model, whatever their names and the width."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench.cli.tables import models_lines
from clipbench.results.record import AverageRecord, Metric
from clipbench.results.run import Run
from tests.cli.conftest import Call
from tests.made import record_of, result_of


def run_of(name: str, **metrics: Metric) -> Run:
    """Return the run of a model with the metrics of zero-shot."""
    records = [record_of("zero-shot", status="ok", metrics=metrics)] if metrics else []
    return Run(Path(name), result_of(*records, model={"ref": name}))


def share(value: float | None, **facts: Any) -> Metric:
    return Metric(value=value, **facts)


def test_each_model_has_a_column_and_each_evaluation_a_row() -> None:
    bounds = {"low": 0.4, "high": 0.6, "chance": 0.1}
    lines = models_lines([run_of("runs/a", acc1=share(0.5, **bounds)), run_of("runs/b", acc1=share(0.25))])
    assert [line.split() for line in lines] == [
        ["in", "brackets:", "95", "%", "interval"],
        ["task", "metric", "a", "b", "chance"],
        ["zero-shot@birds", "acc1", "50.0", "%", "[40.0,", "60.0]", "25.0", "%", "10.0", "%"],
    ]


def test_what_a_model_lacks_is_a_dash() -> None:
    lines = models_lines([run_of("a", acc1=share(0.5)), run_of("b"), run_of("c", acc1=share(None, reason="no class"))])
    assert lines[-1].split() == ["zero-shot@birds", "acc1", "50.0", "%", "–", "–", "–"]


def test_the_average_of_a_suite_is_a_row() -> None:
    runs = [run_of(name, acc1=share(0.5)) for name in "ab"]
    average = AverageRecord(suite="s", metric=share(0.75, title="Average of s"), parts=[])
    runs[1] = Run(runs[1].folder, result_of(*runs[1].result.evaluations, model={"ref": "b"}, average=average))
    assert models_lines(runs)[-1].split() == ["Average", "of", "s", "average", "–", "75.0", "%", "–"]


@pytest.mark.parametrize("n_models", [2, 3, 11, 40])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_name_or_number_is_cut_in_a_terminal(n_models: int, width: int) -> None:
    names = [f"ViT-B-32-laion2b-lr1e-3-wd{k:02}-warmup2000-final-candidate" for k in range(n_models)]
    lines = models_lines([run_of(name, acc1=share(0.5 + k / 100)) for k, name in enumerate(names)], width)
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert all(f"{50 + k}.0 %" in text and f"d{k:02}-" in text for k in range(n_models))


def test_run_prints_one_table_and_where_the_results_are(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    models = []
    for name in ("one", "other"):
        vectors = rng.normal(size=(12, 8)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", images=vectors, texts=vectors)
        models += ["--model", f"embeddings:{tmp_path / name}.npz"]
    done = call("run", *models, "--tasks", "retrieval", "--out", tmp_path / "runs", "--no-report")
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["task", "retrieval@embeddings"]
    assert "one.npz" in lines[1] and "other.npz" in lines[1]
    assert f"results in {tmp_path / 'runs'}" in lines
    assert lines[-1].startswith("to compare them: clipbench compare ")
    assert lines[-2] == (
        "verdict: undecided (other.npz against one.npz: all samples of 1 headline metric are identical,"
        " others may differ by 26.46 pp)"
    )
