"""Runs by hand for the verdicts of comparisons: each differs from ``pairs/base`` in what its name says."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas

from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import write_result
from tests.made import record_of, result_of

N = 400
ROWS = np.arange(N)
BASE = ROWS % 5 > 1
"""Hits of the base in both tasks: 60 %."""


@dataclass(frozen=True)
class Pair:
    """How a candidate differs from the base."""

    classified: np.ndarray = field(default_factory=BASE.copy)
    """Hits of zero-shot classification."""
    retrieved: np.ndarray = field(default_factory=BASE.copy)
    """Hits of retrieval, whose mean rank is 1 for a hit and 9 for a miss."""
    hub: float = 0.1
    """Fraction of the largest hub, which no data allow to test."""
    missing: Sequence[str] = ()
    """Metrics without a value."""
    n_clusters: int | None = None
    """Photographers, whose samples belong together, None if each sample has its own."""
    has_samples: bool = True
    data: str = "f00d"
    """Fingerprint of the data."""


PAIRS = {
    "base": Pair(),
    "better": Pair(classified=ROWS % 5 > 0, retrieved=ROWS % 5 > 0, hub=0.2),
    "worse": Pair(classified=BASE & (ROWS >= 60), retrieved=BASE & (ROWS >= 60)),
    "mixed": Pair(classified=ROWS % 5 > 0, retrieved=BASE & (ROWS >= 60)),
    "noisy": Pair(classified=np.where(ROWS < 20, ~BASE, BASE), retrieved=np.where(ROWS < 15, ~BASE, BASE)),
    "unlucky": Pair(classified=BASE & (ROWS >= 5)),
    "one-cluster": Pair(n_clusters=1),
    "one-cluster-worse": Pair(classified=BASE & (ROWS >= 200), n_clusters=1),
    "without-samples": Pair(classified=BASE & (ROWS >= 60), has_samples=False),
    "without-metric": Pair(missing=["acc1"]),
    "without-gap": Pair(missing=["gap"]),
    "other-data": Pair(data="beef"),
    "fifty": Pair(classified=BASE[:50], retrieved=BASE[:50]),
    "photographs": Pair(classified=BASE[:120], retrieved=BASE[:120]),
    "photographs-noisy": Pair(
        classified=np.where(ROWS[:120] < 10, ~BASE[:120], BASE[:120]),
        retrieved=np.where(ROWS[:120] % 13 == 4, ~BASE[:120], BASE[:120]),
    ),
} | {
    f"clusters-{n_clusters}{suffix}": Pair(
        classified=np.full(30 * n_clusters, is_right),
        retrieved=np.full(30 * n_clusters, is_right),
        n_clusters=n_clusters,
    )
    for n_clusters in range(5, 10)
    for suffix, is_right in (("", True), ("-lost", False))
}
"""Each candidate, and ``clusters-6`` with 30 captions for each of 6 images, of which ``clusters-6-lost`` finds none."""


def write_pairs(folder: Path) -> None:
    """Write the runs, and two files of another tool: one worse than the base, and one better."""
    for name, pair in PAIRS.items():
        _write_run(folder / "pairs" / name, pair)
    for name, value in {"their-worse": 0.3, "their-better": 0.9}.items():
        line = (
            f'{{"key": "birds", "dataset": "birds", "metrics": {{"acc1": {value}}}, "task":'
            ' "zeroshot_classification"}\n'
        )
        (folder / f"pairs/{name}.json").write_text(line, encoding="utf-8")

    write_columns(folder / "columns")


def write_columns(folder: Path) -> None:
    """Write files of columns for the samples: ``worse`` lost half of what phones took."""
    named = [(f"bird-{row:03}", "phone" if row < 100 else "mirrorless", str(row % 7)) for row in ROWS.tolist()]
    files: dict[str, tuple[tuple[str, ...], Sequence[tuple[str, ...]]]] = {
        "cameras": (("id", "camera", "day"), named),
        "others": (("id", "camera"), [("fish-1", "phone"), ("fish-2", "phone")]),
        "twice": (("id", "camera"), [("bird-000", "phone"), ("bird-000", "mirrorless")]),
        "one-value": (("id", "camera"), [(row[0], "phone") for row in named]),
        "no-id": (("name", "camera"), [row[:2] for row in named]),
        "uneven": (("id", "camera"), [("bird-000", "phone", "1")]),
    }
    folder.mkdir()
    for name, (header, rows) in files.items():
        lines = [",".join(map(str, row)) for row in (header, *rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_run(folder: Path, pair: Pair) -> None:
    folder.mkdir(parents=True)
    result = result_of(
        _classification(pair, folder),
        _retrieval(pair, folder),
        _gap(pair, folder),
        created="2026-11-24T14:15:00+00:00",
        model={"ref": folder.name, "id": folder.name, "fingerprint": folder.name},
    )
    write_result(result, folder)


def _classification(pair: Pair, folder: Path) -> EvaluationRecord:
    columns = {"acc1": pair.classified.astype(np.float64)}
    accuracy = Metric(
        value=None if "acc1" in pair.missing else float(columns["acc1"].mean()),
        reason="no classes" if "acc1" in pair.missing else None,
        n=len(pair.classified),
        column="acc1",
        title="Top-1 accuracy",
        higher_is_better=True,
        is_headline=True,
    )
    return _record("zero-shot", {"acc1": accuracy}, columns, pair, folder)


def _retrieval(pair: Pair, folder: Path) -> EvaluationRecord:
    columns = {"recall": pair.retrieved.astype(np.float64), "rank": np.where(pair.retrieved, 1.0, 9.0)}
    recall = Metric(
        value=float(columns["recall"].mean()),
        n=len(pair.retrieved),
        column="recall",
        title="Text-to-image R@1",
        higher_is_better=True,
        is_headline=True,
    )
    rank = Metric(
        value=float(columns["rank"].mean()),
        n=len(pair.retrieved),
        column="rank",
        title="Text-to-image mean rank",
        unit="rank",
        higher_is_better=False,
    )
    metrics = {"image_retrieval_recall@1": recall, "image_retrieval_mean_rank": rank}
    return _record("retrieval", metrics, columns, pair, folder)


def _gap(pair: Pair, folder: Path) -> EvaluationRecord:
    gap = Metric(
        value=None if "gap" in pair.missing else 0.7,
        reason="one image" if "gap" in pair.missing else None,
        n=len(pair.classified),
        title="Modality gap",
        unit="distance",
    )
    hub = Metric(value=pair.hub, n=len(pair.classified), title="Largest hub of images", higher_is_better=False)
    record = _record("modality-gap", {"gap": gap, "image_largest_hub": hub}, {}, pair, folder)
    return replace(record, vectors=["images", "texts", "pair_id"])


def _record(
    task: str, metrics: dict[str, Metric], columns: dict[str, np.ndarray], pair: Pair, folder: Path
) -> EvaluationRecord:
    n = len(pair.classified)
    table = pandas.DataFrame({"sample_id": [f"bird-{row:03}" for row in range(n)], **columns})
    if pair.n_clusters is not None:
        table["cluster"] = [f"photographer {row % pair.n_clusters}" for row in range(n)]
    file = f"samples/{task}@birds.parquet"
    if pair.has_samples:
        (folder / "samples").mkdir(exist_ok=True)
        table.to_parquet(folder / file, index=False)
    return record_of(task, dataset=_data(pair), metrics=metrics, files={"samples": file}, inputs={"sample_id": "query"})


def _data(pair: Pair) -> DatasetRecord:
    n = len(pair.classified)
    return DatasetRecord(id="birds", n_samples=n, fingerprint=pair.data if n == N else f"{pair.data}{n}")
