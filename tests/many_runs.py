"""Folders of many small runs, for what is printed and drawn of 3, 11 or 40 models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas

from clipbench.results.record import DatasetRecord, Metric
from clipbench.results.run import Run, read_run, write_result
from clipbench.stats.intervals import wilson
from tests.made import record_of, result_of


def write_many_runs(
    parent: Path, n_models: int, *, n_samples: int = 200, tasks: Sequence[str] = ("zero-shot",), spread: float = 0.4
) -> list[Run]:
    """Write runs of models that get worse from the first to the last, on the same samples.

    The model of the folder ``models-base-step-07`` is called ``models/base/step-07``.

    Args:
        spread: difference of the true accuracies of the first and the last model.
    """
    runs = []
    for position in range(n_models):
        accuracy = 0.9 - spread * position / max(1, n_models - 1)
        folder = parent / f"models-base-step-{position:02}"
        records = []
        for number, task in enumerate(tasks):
            hits = np.random.default_rng([position, number]).random(n_samples) < accuracy
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            ids = [f"s{row:03}" for row in range(n_samples)]
            file = f"samples/{task}.parquet"
            pandas.DataFrame({"sample_id": ids, "acc1": hits.astype(float)}).to_parquet(folder / file, index=False)
            low, high, _ = wilson(float(hits.sum()), n_samples)
            metric = Metric(
                value=float(hits.mean()),
                low=low,
                high=high,
                n=n_samples,
                chance=0.1,
                higher_is_better=True,
                column="acc1",
                is_headline=True,
                title="Top-1 accuracy",
            )
            data = DatasetRecord(id="birds", n_samples=n_samples, fingerprint="f", has_ids=True)
            records.append(record_of(task, data=data, metrics={"acc1": metric}, files={"samples": file}))
        model = {"ref": f"models/base/step-{position:02}", "fingerprint": f"weights {position}"}
        write_result(result_of(*records, model=model), folder)
        runs.append(read_run(folder))
    return runs
