"""Somebody else's package adds a task and a model by entry points alone, and they run like clipbench's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PACKAGE = Path(__file__).parent / "stranger"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the package apart from the environment, and return variables with which it is found."""
    folder = tmp_path_factory.mktemp("installed")
    command = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", *command, str(PACKAGE)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder), "CLIPBENCH_CACHE": str(folder / "cache")}


def clipbench(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_they_are_listed_beside_clipbench_s_own(environment: dict[str, str]) -> None:
    listed = clipbench("list", "tasks", env=environment).stdout
    assert "length-bias" in listed and "zero-shot" in listed
    assert "colour:" in clipbench("list", "models", env=environment).stdout


def test_they_run_together_and_with_clipbench_s_own(environment: dict[str, str], tmp_path: Path) -> None:
    rows = []
    for name, colour in {"red": (250, 5, 5), "blue": (3, 9, 240), "green": (10, 120, 8)}.items():
        Image.new("RGB", (20, 12), colour).save(tmp_path / f"{name}.png")
        rows.append(json.dumps({"image": f"{name}.png", "caption": f"a {name} card", "label": name}))
    (tmp_path / "cards.jsonl").write_text("\n".join(rows))
    tasks = ",".join(f"{task}@{tmp_path / 'cards.jsonl'}" for task in ("length-bias", "zero-shot", "retrieval"))
    out = tmp_path / "run"
    done = clipbench("run", "--model", "colour:3", "--tasks", tasks, "--out", str(out), env=environment)
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    bias, zero_shot, retrieval = result["evaluations"]
    assert bias["metrics"]["longest_wins"]["value"] == pytest.approx((0 + 0 + 0.5) / 3)
    assert zero_shot["metrics"]["acc1"]["value"] == 1.0
    assert retrieval["metrics"]["image_retrieval_recall@1"]["value"] == 1.0
    assert "length-bias" in (out / "report.html").read_text()


def test_its_errors_are_lines_like_clipbench_s_own(environment: dict[str, str]) -> None:
    done = clipbench("run", "--model", "colour:x", "--tasks", "length-bias@.", env=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2 and "Traceback" not in done.stderr
