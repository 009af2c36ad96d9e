"""`clipbench run` from the command line: what it writes, what it says, and one line for everything that is wrong."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from clipbench import __version__
from clipbench.data.scenes import SCENES_VERSION
from clipbench.results.run import read_run

if TYPE_CHECKING:
    from tests.cli.conftest import Done

TOY = """
from clipbench.testing import ConstantModel, ToyModel

def toy(**options):
    return ToyModel(fingerprint="toy" + repr(options))

def constant():
    return ConstantModel()

def bare():
    class Bare:
        def encode_images(self, images): return ToyModel().encode_images(images)
        def encode_texts(self, texts): return ToyModel().encode_texts(texts)
    return Bare()

def broken():
    raise RuntimeError("no weights today")
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
def run(call: Callable[..., "Done"]) -> Callable[..., "Done"]:
    def run(*arguments: str, model: str = "python:toymodels:toy", command: str = "run") -> "Done":
        return call(command, *(("--model", model) if command == "run" else ()), *arguments)

    return run


ALL = "zero-shot@all.jsonl,retrieval@all.jsonl,modality-gap@all.jsonl"
Run = Callable[..., "Done"]


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    result = json.loads((folder / "result.json").read_text())
    return {f"{e['task']}/{name}": metric for e in result["evaluations"] for name, metric in e["metrics"].items()}


def test_a_run_writes_its_folder_and_says_its_numbers(world: Path, run: Run) -> None:
    done = run("--tasks", ALL, "--out", "out")
    assert done.status == 0
    assert "zero-shot@all.jsonl  12 images; 12 images encoded, 3 texts encoded; " in done.err
    head, *rows, folded, where, report = done.out.splitlines()
    assert head.split("  ")[0] == "task" and [row.split()[0] for row in rows] == ALL.split(",")
    assert re.fullmatch(r"zero-shot@all.jsonl +acc1 +\d+\.\d % +\[.*\] +33.3 %", rows[0])
    assert re.fullmatch(r"\d+ more metrics, \d+ notes: -v, or clipbench show out --all", folded)
    assert (where, report) == ("results in out", "out/report.html")
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
    kept = {path.stem for path in (world / "out/thumbs").iterdir()}
    assert set(table["image"]) == kept
    of_captions = table[table["direction"] == "image_retrieval"]
    assert set(of_captions["chosen_image"]) <= kept and set(of_captions["right_image"]) == {""}
    near, misses = made.neighbours(retrieval), table[table["right_cosine"] < table["chosen_cosine"]]
    assert set(near["sample_id"]) == set(misses["sample_id"]) and set(near["image"]) <= {*kept, ""}
    first = near[near["place"] == 1].set_index("sample_id")["cosine"]
    assert first.equals(misses.set_index("sample_id").loc[first.index, "chosen_cosine"].rename("cosine"))
    assert made.neighbours("modality-gap").empty
    is_hit = of_captions["image_retrieval_rank"] == 1
    assert (of_captions["chosen_image"] == of_captions["image"])[is_hit].all() and is_hit.any()
    pairs = made.samples(made.result.evaluations[2])
    assert set(pairs["caption"]) <= set(of_captions["caption"])


@pytest.mark.slow
def test_of_a_large_set_galleries_keep_what_failed_and_scatters_smaller_images(world: Path, run: Run) -> None:
    for task in ("zero-shot", "modality-gap"):
        assert run("--tasks", f"{task}@all.jsonl", "--thumbnails", "2", "--out", task).status == 0
    sizes = {
        str(path.relative_to(world).parent): len(list(path.parent.glob("*.webp")))
        for path in world.glob("*/thumbs/**/*.webp")
    }
    assert sizes == {"zero-shot/thumbs": 2, "modality-gap/thumbs/small": 10}
    assert run("--tasks", "zero-shot@all.jsonl,modality-gap@all.jsonl", "--thumbnails", "0", "--out", "out").status == 0
    assert not (world / "out/thumbs").exists()


def test_a_sign_that_the_terminal_lacks_is_written_as_an_escape(world: Path, run: Run) -> None:
    assert run("--tasks", "zero-shot@all.jsonl", "--out", "out", "--no-report").status == 0
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", "compare", "out", "out"]
    western = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=False, cwd=world, env=western)
    assert done.returncode == 0 and b"ece \\u2193" in done.stdout and not done.stderr


@pytest.mark.slow
def test_a_second_run_encodes_nothing_and_gives_the_same_numbers(world: Path, run: Run) -> None:
    run("--tasks", ALL, "--out", "first")
    done = run("--tasks", ALL, "--out", "second")
    assert "12 images from cache, 24 texts from cache" in done.err
    assert metrics(world / "first") == metrics(world / "second")
    for evaluation in read_run(world / "second").result.evaluations:
        assert evaluation.seconds["encode_images"] == evaluation.seconds["encode_texts"] == 0
        assert evaluation.encoded["images"] == evaluation.encoded["texts"] == 0


def test_a_constant_model_scores_exactly_chance_on_every_metric_that_has_one(world: Path, run: Run) -> None:
    assert run("--tasks", ALL, "--out", "out", model="python:toymodels:constant").status == 0
    with_chance = {name: metric for name, metric in metrics(world / "out").items() if metric["chance"] is not None}
    assert len(with_chance) >= 14
    for name, metric in with_chance.items():
        assert metric["value"] == pytest.approx(metric["chance"], abs=1e-12), name


def test_a_model_of_one_s_own_needs_two_methods(world: Path, run: Run) -> None:
    assert run("--tasks", "zero-shot@images", "--out", "out", model="python:toymodels:bare").status == 0
    model = json.loads((world / "out/result.json").read_text())["model"]
    assert model["logit_scale"] is None and any("fingerprint" in note for note in model["notes"])


@pytest.mark.slow
def test_all_that_lies_beside_the_runs_of_several_models_may_be_given_to_report_export_and_plot(
    world: Path, run: Run
) -> None:
    for number in (1, 2):
        write_vectors(world / f"v{number}.npz", "texts", seed=number)
    models = ("--model", "embeddings:v2.npz", "--tasks", "retrieval,modality-gap", "--out", "series")
    assert run(*models, model="embeddings:v1.npz").status == 0
    inside = sorted(str(path) for path in Path("series").iterdir())
    assert "series/report.html" in inside
    for given in (inside, ["series"]):
        for command in ("report -o r.html", "export --to csv", "plot -o gap.svg gap"):
            name, *options = command.split()
            done = run(*options, *given, command=name)
            assert done.status == 0, done.err
            assert ("series/report.html is left out: it holds no run" in done.err) == (given == inside)


def test_weights_that_were_overwritten_are_encoded_anew(world: Path, run: Run) -> None:
    (world / "weighted.py").write_text(
        "import numpy as np\nfrom clipbench.testing import ToyModel\n\n"
        "class Weighted(ToyModel):\n    def __init__(self):\n        super().__init__()\n"
        "        self._pixel_weights = self._pixel_weights * np.load('weights.npy')\n"
    )
    for scale, out in ((1.0, "first"), (1.0, "same"), (1.0001, "changed")):
        np.save(world / "weights.npy", np.float32(scale))
        assert run("--tasks", "zero-shot@images", "--out", out, model="python:weighted:Weighted").status == 0
    encoded = {name: read_run(world / name).result.evaluations[0].encoded["images"] for name in ("same", "changed")}
    assert encoded["same"] == 0 and encoded["changed"] > 0


def test_several_models_get_a_folder_each_and_a_joint_report(world: Path, run: Run) -> None:
    done = run("--model", "python:toymodels:constant", "--tasks", "zero-shot@images", "--out", "out")
    assert done.status == 0
    folders = [path for path in (world / "out").iterdir() if path.is_dir()]
    assert len(folders) == 2 and all((folder / "result.json").exists() for folder in folders)
    assert (world / "out/report.html").exists()


def test_the_scenes_suite_needs_nothing_but_a_model(world: Path, run: Run) -> None:
    done = run("--suite", "scenes", "--tasks", "all", "--limit", "16", "--no-report", "--out", "out")
    assert done.status == 0, done.err
    found = metrics(world / "out")
    assert found["zero-shot/kind/acc1"]["n"] == 16 and found["zero-shot/kind/acc1"]["chance"] == 0.1
    assert found["retrieval/image_retrieval_recall@1"]["chance"] == pytest.approx(1 / 16)
    assert found["modality-gap/gap"]["n"] == 16
    cited = {each.dataset.cite for each in read_run(world / "out").result.evaluations}
    assert cited == {f"scenes {SCENES_VERSION}, the generated world of clipbench {__version__}"}
    done = run("--tasks", "retrieval@scenes", "--data-option", "size=12", "--out", "small")
    assert done.status == 2 and "64 to 512 pixels wide, got a size of 12" in done.err


def test_one_broken_model_does_not_cost_the_others(world: Path, run: Run) -> None:
    done = run("--model", "python:toymodels:broken", "--tasks", "zero-shot@images", "--out", "out")
    assert done.status == 3
    assert "no weights today" in done.err and "acc1" in done.out


def test_json_is_all_there_is_on_standard_output(world: Path, run: Run) -> None:
    done = run("--tasks", "zero-shot@images", "--out", "out", "--json")
    assert json.loads(done.out) == json.loads((world / "out/result.json").read_text())


def test_quiet_says_nothing(world: Path, run: Run) -> None:
    done = run("--tasks", "zero-shot@images", "--out", "out", "--quiet")
    assert (done.status, done.out, done.err) == (0, "", "")


def test_flags_take_underscores_and_variables(world: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPBENCH_LIMIT", "6")
    done = run("--tasks", "zero-shot@images", "--out", "out", "--no_report", "--batch_size", "2", "-v")
    assert done.status == 0 and "a seeded, stratified subset of 6 of 12 images" in done.out
    assert not (world / "out/report.html").exists()


def test_prompts_of_one_s_own_are_used(world: Path, run: Run) -> None:
    (world / "prompts.json").write_text(json.dumps(["a {c}", "my {c}"]))
    done = run("--tasks", "zero-shot@images", "--prompts", "prompts.json", "--out", "out", "--verbose")
    assert "prompts for class 'cat': 2, the first 'a cat'" in done.out
    assert "single templates score from" in done.out
    params = json.loads((world / "out/result.json").read_text())["evaluations"][0]["params"]
    assert params["prompts"]["n_prompts"] == 2


def test_an_unreadable_image_fails_that_evaluation_only(world: Path, run: Run) -> None:
    (world / "images/cat/0.png").write_bytes(b"no image")
    rows = (world / "all.jsonl").read_text().splitlines()
    (world / "good.jsonl").write_text("\n".join(rows[1:]))
    done = run("--tasks", "zero-shot@images,retrieval@good.jsonl", "--out", "out")
    assert done.status == 3
    assert "cannot read image" in done.err and "0.png" in done.err and "--on-bad-image skip" in done.err
    failed, good = read_run(world / "out").result.evaluations
    assert failed.status == "failed" and failed.reason is not None and "0.png" in failed.reason
    assert good.status == "ok"


def test_unreadable_images_may_be_skipped_and_are_listed(world: Path, run: Run) -> None:
    (world / "images/cat/0.png").write_bytes(b"no image")
    done = run("--tasks", "zero-shot@images,retrieval@all.jsonl", "--out", "out", "--on-bad-image", "skip")
    assert done.status == 0
    for evaluation in read_run(world / "out").result.evaluations:
        assert evaluation.dataset.n_samples == 11
        assert any("1 of 12 images could not be read" in note for note in evaluation.notes)
        assert any("0.png" in note for note in evaluation.notes)


def test_what_is_not_there_is_unavailable_and_the_rest_is_measured(world: Path, run: Run) -> None:
    done = run("--tasks", "zero-shot@imagenet,zero-shot@images", "--out", "out")
    assert done.status == 3
    head, row, *_, last = done.err.partition("Not in the current folder:\n")[2].splitlines()
    assert (head.split(), row.split()[:3]) == (
        ["data", "set", "for", "size", "licence"],
        ["imagenet", "(1)", "zero-shot"],
    )
    assert last == "to fetch: clipbench data get imagenet" and "unavailable" not in done.err
    assert "acc1" in done.out
    missing, there = read_run(world / "out").result.evaluations
    assert (missing.status, there.status) == ("unavailable", "ok")


@pytest.mark.parametrize(
    ("arrays", "measured", "reason"),
    [
        (["texts"], ["retrieval", "modality-gap"], "the file lacks labels and class_texts"),
        (["class_texts", "labels"], ["zero-shot", "retrieval"], "the file lacks texts"),
    ],
)
def test_all_tasks_on_vectors_are_those_that_the_vectors_allow(
    world: Path, run: Run, arrays: list[str], measured: list[str], reason: str
) -> None:
    write_vectors(world / "vectors.npz", *arrays)
    done = run("--tasks", "all", "--out", "out", model="embeddings:vectors.npz")
    assert done.status == 0, done.err
    assert [record["task"] for record in json.loads((world / "out/result.json").read_text())["evaluations"]] == measured
    (line,) = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: unavailable for these vectors, so not in all: ")
    assert reason in line and "composition, text-in-image, long-caption (needs the model itself)" in line


@pytest.mark.parametrize("tasks", ["composition", "all,composition", "zero-shot"])
def test_a_task_by_name_that_the_vectors_do_not_allow_is_incomplete(world: Path, run: Run, tasks: str) -> None:
    write_vectors(world / "vectors.npz", "texts")
    assert run("--tasks", tasks, "--out", "out", model="embeddings:vectors.npz").status == 3


def test_vectors_that_allow_no_task_are_refused(world: Path, run: Run) -> None:
    write_vectors(world / "vectors.npz", "class_texts")
    done = run("--tasks", "all", "--out", "out", model="embeddings:vectors.npz")
    assert done.status == 3 and "has samples for no task" in done.err


@pytest.mark.slow
def test_all_tasks_on_a_series_of_files_are_taken_as_finished_the_second_time(world: Path, run: Run) -> None:
    for step in (1, 2):
        write_vectors(world / f"step-{step}.npz", "texts", seed=step)
    pattern = "embeddings:step-*.npz"
    assert run("--tasks", "all", "--out", "out", model=pattern).status == 0
    again = run("--tasks", "all", "--out", "out", model=pattern)
    assert again.status == 0 and again.err.count("was measured before") == 2, again.err


def test_runs_of_one_task_are_not_taken_for_all_tasks(world: Path, run: Run) -> None:
    for step in (1, 2):
        write_vectors(world / f"step-{step}.npz", "texts", seed=step)
    tables = (f'[[evaluation]]\ntask = "{task}"\ndata = "all.jsonl"\n' for task in ("zero-shot", "retrieval"))
    (world / "suite.toml").write_text("".join(tables))
    models = ("--model", "python:toymodels:constant", "--suite", "suite.toml", "--out", "out", "--no-report")
    for more, model in ((models, "python:toymodels:toy"), (("--out", "vectors"), "embeddings:step-*.npz")):
        assert run(*more, "--tasks", "retrieval", model=model).status == 0
        again = run(*more, "--tasks", "all", model=model)
        assert again.status == 2 and "holds a finished run of other tasks (retrieval@" in again.err, again.err


def write_vectors(path: Path, *names: str, seed: int = 0) -> None:
    """Write vectors of 12 images, with some of texts, class_texts and labels."""
    rng = np.random.default_rng(seed)
    arrays = {"texts": rng.normal(size=(12, 4)), "class_texts": rng.normal(size=(3, 4)), "labels": np.arange(12) % 3}
    np.savez(path, allow_pickle=False, images=rng.normal(size=(12, 4)), **{name: arrays[name] for name in names})


def test_a_run_is_never_overwritten(world: Path, run: Run) -> None:
    run("--tasks", "zero-shot@images", "--out", "out")
    before = (world / "out/result.json").read_bytes()
    done = run("--tasks", "zero-shot@images", "--out", "out")
    assert done.status == 2 and "already holds a run" in done.err
    assert (world / "out/result.json").read_bytes() == before
    (world / "mine").mkdir()
    (world / "mine/thesis.tex").write_text("precious")
    done = run("--tasks", "zero-shot@images", "--out", "mine")
    assert done.status == 2 and "holds other files (thesis.tex)" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "zeroshot@images"], "unknown task 'zeroshot': did you mean 'zero-shot'?"),
        (["--tasks", "zero-shot@gone/folder"], "gone/folder"),
        (["--tasks", "zero-shot@imagenett"], "did you mean 'imagenet'?"),
        (["--task", "all"], "No such option"),
        (["--tasks", "all", "--suite", "standart"], "unknown suite 'standart': did you mean 'standard'?"),
        (["--tasks", "zero-shot@images", "--batch-size", "0"], "--batch-size"),
        (["--tasks", "zero-shot@images", "--seed", str(2**63)], "--seed"),
        (["--tasks", "zero-shot@images", "-v", "--json"], "--verbose has no meaning with --json"),
        (["--tasks", "zero-shot@images", "--precision", "fp8"], "'fp8' is not one of"),
        (["--tasks", "zero-shot@images", "--model-option", "x"], "--model-option x: expected KEY=VALUE"),
        (["--tasks", "zero-shot@all.jsonl", "--data-option", "lable=kind"], "did you mean 'label'?"),
        (["--tasks", "zero-shot@images", "--prompts", "gone.json"], "gone.json"),
        (["--tasks", "retrieval@all.jsonl", "--prompts", "prompts.json"], "prompts.json"),
        (["--tasks", "zero-shot@images", "--arch", "ViT-B-32"], "--arch ViT-B-32"),
        (["--tasks", "zero-shot@all.jsonl", "--data-option", "image=photo"], "photo"),
    ],
)
def test_a_slip_is_one_line_and_nothing_is_written(world: Path, run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments, "--out", "out")
    lines = [line for line in done.err.splitlines() if not line.startswith("measuring")]
    assert done.status == 2
    assert len(lines) == 1 and message in lines[0] and lines[0].startswith("clipbench: ")
    assert not (world / "out").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vit-b-23", "did you mean"),
        ("open_clip:ViT-B-32/opneai", "openai"),
        ("python:toymodels:tay", "toymodels"),
        ("python:nowhere:make", "nowhere"),
        ("embeddings:gone.npz", "gone.npz"),
        ("gone.safetensors", "gone.safetensors"),
    ],
)
def test_a_model_that_cannot_be_is_one_line(world: Path, run: Run, model: str, message: str) -> None:
    done = run("--tasks", "zero-shot@images", "--out", "out", model=model)
    lines = [line for line in done.err.splitlines() if not line.startswith("measuring")]
    assert done.status == 2
    assert len(lines) == 1 and message in lines[0]


def test_a_bug_in_a_model_is_one_line_and_its_traceback_is_shown_on_request(world: Path, run: Run) -> None:
    buggy = "    model = ToyModel()\n    model.encode_texts = lambda texts: 1 / 0\n    return model\n"
    (world / "toymodels.py").write_text(f"{TOY}\ndef buggy():\n{buggy}")
    arguments = ("--tasks", "zero-shot@images", "--out", "out")
    done = run(*arguments, model="python:toymodels:buggy")
    assert done.status == 2 and "ZeroDivisionError" in done.err and "Traceback" not in done.err
    done = run(*arguments, "--traceback", model="python:toymodels:buggy")
    assert done.status == 2 and "Traceback" in done.err and "model.encode_texts = lambda texts: 1 / 0" in done.err


def test_a_report_can_be_made_again_from_results_alone(world: Path, run: Run) -> None:
    run("--tasks", "zero-shot@images", "--out", "out")
    done = run("out", "-o", "again.html", command="report")
    assert done.status == 0 and (world / "again.html").read_text() == (world / "out/report.html").read_text()
    done = run("gone", "-o", "again.html", command="report")
    assert done.status == 2 and "no result.json in gone" in done.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")
def test_an_interruption_is_said_and_the_store_keeps_what_was_done(world: Path) -> None:
    (world / "stopped.py").write_text(
        "import os, signal\nfrom clipbench.testing import ToyModel\n\n"
        "class Stopped(ToyModel):\n    def encode_texts(self, texts):\n        if 'number 3' in texts:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n        return super().encode_texts(texts)\n"
    )
    # a shell that runs the tests in the background may have told them, and so their children, to ignore SIGINT
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code += "; from clipbench.cli import main; main()"
    tasks = ["--tasks", "retrieval@all.jsonl", "--out", "out"]
    command = [sys.executable, "-c", code, "run", "--model", "python:stopped:Stopped", *tasks]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=world)
    assert done.returncode == 130
    assert "interrupted: what was encoded is stored" in done.stderr and "Traceback" not in done.stderr
    assert not (world / "out/result.json").exists()
    assert list((world / "cache").rglob("*.vectors"))
