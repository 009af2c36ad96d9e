"""`clipbench show` from the command line: what `run` printed, whose numbers they are, and what is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clipbench.cli.tables import evaluation_lines
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric, Result, SlicesRecord
from clipbench.results.run import write_result
from clipbench.stats.intervals import wilson

if TYPE_CHECKING:
    from tests.cli.conftest import Done


Call = Callable[..., "Done"]
ENCODED = {"images": 3, "texts": 4, "stored_images": 5, "stored_texts": 6}
RETRIEVAL = EvaluationRecord(
    task="retrieval",
    task_version=2,
    params={"ks": [1]},
    dataset=DatasetRecord(id="coco", revision="r7", split="test", n_samples=5000, fingerprint="da7a"),
    status="ok",
    seconds={"load": 1.0, "score": 0.5},
    encoded=ENCODED,
    metrics={
        "recall@1": Metric(value=0.5, low=0.25, high=0.75, n=5000, chance=0.0002, method="Wilson"),
        "hub": Metric(value=0.1, n=5000, reason="no interval: resampled vectors have other neighbours"),
        "isoscore": Metric(value=None, reason="of rank 3 at most"),
    },
    controls={"tie_rate": Metric(value=0.0, n=5000)},
    notes=["captions as they stand"],
)
RESULT = Result(
    clipbench_version="9.1",
    created="2026-11-24T12:34:56+00:00",
    command=["clipbench", "run", "--model", "vit-b-32"],
    seed=3,
    environment={"torch": "2.9"},
    model={"ref": "vit-b-32", "id": "open_clip:ViT-B-32/openai", "fingerprint": "f00", "n_parameters": 151277313},
    evaluations=[RETRIEVAL],
)


def test_subsets_have_their_titles_and_a_group_is_called_worst_only_if_tests_tell_it_from_each_other_one() -> None:
    def share(hits: float) -> Metric:
        low, high, _ = wilson(hits, 100)
        return Metric(value=hits / 100, low=low, high=high, n=100, is_headline=True, higher_is_better=True)

    def lines(**hits: float) -> str:
        groups = {group: {"kind/acc1": share(each)} for group, each in hits.items()}
        worst = min(hits, key=lambda group: hits[group])
        summaries = {name: {"kind/acc1": share(50.0)} for name in ("mean", "distance")}
        slices = SlicesRecord(
            of="images", groups=groups, worst=groups[worst], worst_group={"kind/acc1": worst}, **summaries
        )
        metrics, subsets = {"kind/acc1": share(50.0)}, {"kind": "Kind of object", "genus": "not asked"}
        record = replace(RETRIEVAL, metrics=metrics, subsets=subsets, slices={"language": slices})
        return "\n".join(evaluation_lines(record))

    assert "  subsets: kind: Kind of object\n" in lines(de=50.0, sw=48.0)
    assert "lowest sw 48.0 %" in lines(de=50.0, sw=48.0)
    assert "worst sw 8.0 %" in lines(de=50.0, sw=8.0, fr=60.0)
    assert "lowest sw 8.0 %" in lines(de=50.0, sw=8.0, fr=10.0)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Call:
    """Return a function that runs a command in a folder with the run `run`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    write_result(RESULT, tmp_path / "run")

    return call
