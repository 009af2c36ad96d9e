"""`clipbench run` from the command line: what it writes, what it says, and one line for everything that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from clipbench.results.record import PriceRecord
from clipbench.results.run import read_run
from tests.cli.conftest import Call, Done, holds_only_a_reason

TOY = """
from clipbench.testing import ConstantModel, ToyModel

def toy(**options):
    return ToyModel(fingerprint="toy" + repr(options))

def constant():
    return ConstantModel()
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a toy model, images with captions and labels, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name == "toymodels"]:
        del sys.modules[name]
    (tmp_path / "toymodels.py").write_text(TOY)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        kind = ("cat", "dog", "owl")[number % 3]
        file = tmp_path / "images" / kind / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 12, 3), np.uint8)).save(file)
        captions = [f"the {kind} of image {number}", f"number {number}"]
        rows.append({"image": str(file.relative_to(tmp_path)), "captions": captions, "label": kind})
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


@pytest.fixture
def run(call: Call) -> Call:
    def run(*arguments: str, model: str = "python:toymodels:toy", command: str = "run") -> Done:
        return call(command, *(("--model", model) if command == "run" else ()), *arguments)

    return run


ALL = "zero-shot@all.jsonl,retrieval@all.jsonl,modality-gap@all.jsonl"


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    result = json.loads((folder / "result.json").read_text())
    return {f"{e['task']}/{name}": metric for e in result["evaluations"] for name, metric in e["metrics"].items()}


def test_a_run_writes_its_folder(world: Path, run: Call) -> None:
    done = run("--tasks", ALL, "--out", "out")
    assert done.status == 0
    written = {str(path.relative_to(world / "out")) for path in (world / "out").rglob("*") if path.is_file()}
    assert {
        "result.json",
        "report.html",
        "samples/retrieval@all.jsonl.parquet",
        "arrays/retrieval@all.jsonl.npz",
    } <= written
    assert sum(name.startswith("thumbs/") for name in written) == 12
    made = read_run(world / "out")
    assert [evaluation.name for evaluation in made.result.evaluations] == [
        f"{task}@{made.result.evaluations[0].dataset.id}" for task in ("zero-shot", "retrieval", "modality-gap")
    ]
    retrieval = made.result.evaluations[1]
    table = made.samples(retrieval)
    assert table["sample_id"].is_unique
    for name in ("image_retrieval_recall@1", "text_retrieval_recall@5", "text_text_recall@1", "image_image_recall@1"):
        assert retrieval.metrics[name].value == pytest.approx(table[name].mean())
    assert made.result.command[:2] == ["clipbench", "run"] and made.result.seed == 0
    stems = {path.stem for path in (world / "out/thumbs").iterdir()}
    assert set(table["image"]) == stems
    of_captions = table[table["direction"] == "image_retrieval"]
    assert set(of_captions["predicted_image"]) <= stems and set(of_captions["target_image"]) == {""}
    near, misses = made.neighbours(retrieval), table[table["target_cosine"] < table["predicted_cosine"]]
    assert set(near["sample_id"]) == set(misses["sample_id"]) and set(near["image"]) <= {*stems, ""}
    first = near[near["rank"] == 1].set_index("sample_id")["cosine"]
    assert first.equals(misses.set_index("sample_id").loc[first.index, "predicted_cosine"].rename("cosine"))
    assert made.neighbours("modality-gap").empty
    is_hit = of_captions["image_retrieval_rank"] == 1
    assert (of_captions["predicted_image"] == of_captions["image"])[is_hit].all() and is_hit.any()
    pairs = made.samples(made.result.evaluations[2])
    assert set(pairs["caption"]) <= set(of_captions["caption"])


def test_what_the_data_lack_is_said_once_and_before_a_model_is_loaded(world: Path, run: Call) -> None:
    text = "clipbench: modalities@all.jsonl cannot be measured: the task needs modalities"
    done = run("--tasks", "modalities@all.jsonl", "--out", "out", model="python:nowhere:model")
    assert (done.status, done.out) == (2, "") and done.err.startswith(text)
    assert holds_only_a_reason(world / "out")
    done = run("--tasks", "zero-shot@all.jsonl,modalities@all.jsonl", "--out", "out", "--no-report")
    first, second, *_ = done.err.splitlines()
    assert first.startswith(text) and second.startswith("measuring") and done.err.count("needs modalities") == 1
    assert done.status == 3 and done.out.endswith("results in out\n")
    assert [evaluation.status for evaluation in read_run(world / "out").result.evaluations] == ["ok", "failed"]


def test_a_sign_that_the_terminal_lacks_is_written_as_an_escape(world: Path, run: Call) -> None:
    assert run("--tasks", "zero-shot@all.jsonl", "--out", "out", "--no-report").status == 0
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", "compare", "out", "out", "-v"]
    western = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=False, cwd=world, env=western)
    assert done.returncode == 0 and b"ece \\u2193" in done.stdout and not done.stderr


def test_a_constant_model_scores_exactly_chance_on_every_metric_that_has_one(world: Path, run: Call) -> None:
    assert run("--tasks", ALL, "--out", "out", model="python:toymodels:constant").status == 0
    with_chance = {name: metric for name, metric in metrics(world / "out").items() if metric["chance"] is not None}
    assert len(with_chance) >= 14
    for name, metric in with_chance.items():
        assert metric["value"] == pytest.approx(metric["chance"], abs=1e-12), name


@pytest.mark.parametrize(
    ("arrays", "measured", "reason"),
    [
        (["texts"], ["retrieval", "modality-gap"], "the file lacks labels and class_texts"),
        (["class_texts", "labels"], ["zero-shot", "retrieval"], "the file lacks texts"),
    ],
)
def test_all_tasks_on_vectors_are_those_that_the_vectors_allow(
    world: Path, run: Call, arrays: list[str], measured: list[str], reason: str
) -> None:
    write_vectors(world / "vectors.npz", *arrays)
    done = run("--tasks", "all", "--out", "out", model="embeddings:vectors.npz")
    assert done.status == 0, done.err
    assert [record["task"] for record in json.loads((world / "out/result.json").read_text())["evaluations"]] == measured
    (line,) = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: left out: ")
    assert reason in line and "the file lacks items (items.jsonl in a folder of arrays)" in line
    assert "text-in-image, long-caption (needs the model itself)" in line


@pytest.mark.parametrize(
    ("tasks", "status", "by_name"),
    [("all", 0, set()), ("all,modality-gap", 3, {"modality-gap"})],
)
def test_of_all_those_tasks_are_left_out_that_given_data_do_not_allow(
    world: Path, run: Call, tasks: str, status: int, by_name: set[str]
) -> None:
    done = run("--tasks", tasks, "--data", "images", "--out", "out")
    assert done.status == status, done.err
    result = json.loads((world / "out/result.json").read_text())
    assert {record["task"] for record in result["evaluations"]} == {
        "zero-shot",
        "retrieval",
        "text-in-image",
        *by_name,
    }
    assert "long-caption (the task needs captions, and data set " in done.err.splitlines()[0]


def test_a_price_is_recorded_and_shown_and_vectors_have_none(
    world: Path, run: Call, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    price = PriceRecord(load_seconds=1.5, text_p50=0.0125, vector_bytes=128, machine={"device": "H100"})
    tag = Mock(price=Mock(return_value=price))
    monkeypatch.setattr("clipbench.evaluation.session.PriceTag", lambda: tag)
    retrieval = ("--tasks", "retrieval@all.jsonl")
    assert run(*retrieval, "--price", "--out", "out").status == 0
    assert read_run(world / "out").result.price == price
    text = (
        "12.5\N{NO-BREAK SPACE}ms\N{NO-BREAK SPACE}per\N{NO-BREAK SPACE}text\N{NO-BREAK SPACE}on\N{NO-BREAK SPACE}H100"
    )
    assert text in (world / "out/report.html").read_text(encoding="utf-8")
    assert "Price of one query" in call("show", "out", "--all").out
    assert run(*retrieval, "--no-report", "--out", "plain").status == 0
    assert read_run(world / "plain").result.price is None
    (world / "out/report.html").unlink()
    assert run(*retrieval, "--price", "--out", "out").status == 0, "the run with its price is reused"
    again = run(*retrieval, "--price", "--out", "plain")
    assert again.status == 2 and "holds a finished run without a price" in again.err
    assert tag.price.call_count == 1, "a finished run is recognised before anything is timed"
    write_vectors(world / "vectors.npz", "texts")
    refused = run("--tasks", "retrieval", "--price", "--out", "none", model="embeddings:vectors.npz")
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert "embeddings:vectors.npz encodes nothing, so it has no price: remove --price" in refused.err


def write_vectors(path: Path, *names: str, seed: int = 0) -> None:
    """Write vectors of 12 images, with some of texts, class_texts and labels."""
    rng = np.random.default_rng(seed)
    arrays = {"texts": rng.normal(size=(12, 4)), "class_texts": rng.normal(size=(3, 4)), "labels": np.arange(12) % 3}
    np.savez(path, allow_pickle=False, images=rng.normal(size=(12, 4)), **{name: arrays[name] for name in names})


def test_a_bug_in_a_model_is_one_line_and_its_traceback_is_shown_on_request(world: Path, run: Call) -> None:
    buggy = "    model = ToyModel()\n    model.encode_texts = lambda texts: 1 / 0\n    return model\n"
    (world / "toymodels.py").write_text(f"{TOY}\ndef buggy():\n{buggy}")
    arguments = ("--tasks", "zero-shot@images", "--out", "out")
    done = run(*arguments, model="python:toymodels:buggy")
    assert done.status == 2 and "ZeroDivisionError" in done.err and "Traceback" not in done.err
    done = run(*arguments, "--traceback", model="python:toymodels:buggy")
    assert done.status == 2 and "Traceback" in done.err and "model.encode_texts = lambda texts: 1 / 0" in done.err
