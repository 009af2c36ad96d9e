"""Memory of an explanation of large runs with many columns, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import write_result
from tests.made import record_of, result_of

EXPLAIN = """
import json, sys
from pathlib import Path
from clipbench.comparison.explanation import ExplainOptions, explain
from tests.peak_memory import peak_bytes
folder = Path(sys.argv[1])
explanation = explain(folder / "base", folder / "candidate", ExplainOptions(columns=folder / "columns.csv"))
print(json.dumps({"claims": [claim.slice for claim in explanation.claims], "peak": peak_bytes()}))
"""


def write_runs(folder: Path, n: int, n_columns: int) -> None:
    """Write a base and a candidate that lost a tenth of one value of a column, and the columns: half are numbers."""
    rng = np.random.default_rng(0)
    ids = [f"zero-shot:image:{row:06}" for row in range(n)]
    columns: dict[str, np.ndarray] = {}
    for index in range(n_columns // 2):
        columns[f"code {index}"] = np.array([f"value {value}" for value in range(10)], object)[rng.integers(10, size=n)]
        columns[f"number {index}"] = rng.normal(size=n).round(5)
    pandas.DataFrame({"id": ids, **columns}).to_csv(folder / "columns.csv", index=False)
    base = rng.random(n) < 0.8
    is_lost = (columns["code 0"] == "value 3") & (rng.random(n) < 0.3)
    for name, right in (("base", base), ("candidate", base & ~is_lost)):
        (folder / name / "samples").mkdir(parents=True)
        table = pandas.DataFrame({"sample_id": ids, "correct": right.astype(float)})
        table.to_parquet(folder / name / "samples/zero-shot@made.parquet", index=False)
        metric = Metric(value=float(right.mean()), n=n, column="correct", higher_is_better=True, is_headline=True)
        record = record_of(
            "zero-shot",
            dataset=DatasetRecord(id="made", n_samples=n, fingerprint="f00d"),
            metrics={"acc1": metric},
            files={"samples": "samples/zero-shot@made.parquet"},
        )
        write_result(result_of(record, model={"ref": name}), folder / name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("n", "n_columns", "most_bytes"), [(50_000, 500, 1.5e9), (200_000, 100, 2.5e9)])
def test_large_runs_are_explained_in_bounded_memory(tmp_path: Path, n: int, n_columns: int, most_bytes: float) -> None:
    write_runs(tmp_path, n, n_columns)

    command = [sys.executable, "-c", EXPLAIN, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    result = json.loads(printed)
    assert result["claims"][0] == "code 0 = value 3"
    assert result["peak"] < most_bytes
