"""The checkpoint that comes with clipbench, measured as a user measures it: its floors, and what its card says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clipbench.results.record import Metric
from clipbench.results.run import read_run
from clipbench.training.clip.adapter import SHIPPED

TINY = SHIPPED["tiny"]

FLOORS = {
    ("zero-shot@scenes", "kind/acc1"): 0.95,
    ("zero-shot@scenes", "colour_kind/acc1"): 0.90,
    ("retrieval@scenes", "image_retrieval_recall@1"): 0.50,
    ("retrieval@scenes", "text_retrieval_recall@1"): 0.50,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Metric]:
    """Every metric of the whole suite, by evaluation and name."""
    folder = tmp_path_factory.mktemp("tiny")
    command = ["run", "--model", "tiny", "--suite", "scenes", "--tasks", "all", "--thumbnails", "0", "--quiet"]
    code = f"from clipbench.cli import main; main({[*command, '--out', 'run']!r})"
    environment = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=environment)
    evaluations = read_run(folder / "run").result.evaluations
    return {
        (evaluation.name, name): metric for evaluation in evaluations for name, metric in evaluation.metrics.items()
    }


@pytest.mark.slow
def test_it_knows_the_world_that_it_was_trained_on(found: dict[tuple[str, str], Metric]) -> None:
    values = {key: found[key].value for key in FLOORS}
    assert all(value is not None and value >= FLOORS[key] for key, value in values.items()), values
    assert (found["zero-shot@scenes", "kind/acc1"].n, found["retrieval@scenes", "text_retrieval_recall@1"].n) == (
        1800,
        1000,
    )


@pytest.mark.slow
def test_its_card_says_what_it_scores(found: dict[tuple[str, str], Metric]) -> None:
    rows = re.findall(r"^\| (\S+@scenes) \| (\S+) \| ([-\d.]+) \|", (TINY / "README.md").read_text(), re.MULTILINE)
    scores = {(evaluation, name): float(value) for evaluation, name, value in rows}
    assert scores.keys() == {key for key, metric in found.items() if metric.value is not None}
    for key in FLOORS:  # processors round differently, and a few of a thousand images are close calls
        assert scores[key] == pytest.approx(found[key].value, abs=0.005), key
    for key, value in scores.items():  # the others have fewer samples, of which five may be close calls
        assert value == pytest.approx(found[key].value, rel=0.01, abs=5 / found[key].n), key


def test_a_folder_of_the_same_name_does_not_stand_in_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipbench.models import load_model
    from clipbench.models.options import LoadOptions

    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text('{"model_cfg": {}}')
    monkeypatch.chdir(tmp_path)
    model = load_model("tiny", LoadOptions(device="cpu"))
    assert (model.info.ref, model.info.id, model.info.image_size) == ("tiny", "bundled:tiny", 64)
