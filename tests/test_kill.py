"""Ten kills at random moments, and the run that follows gives the numbers of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DRIVER = Path(__file__).with_name("kill_driver.py")


def write_images(folder: Path, n: int) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
        caption = f"image {number} of noise"
        rows.append(json.dumps({"image": f"{number}.png", "caption": caption, "label": f"class {number % 5}"}))
    (folder / "images.jsonl").write_text("\n".join(rows))
    return folder / "images.jsonl"


def run(data: Path, folder: Path, *, kills: int) -> tuple[dict[str, float], str]:
    environment = {**os.environ, "CLIPBENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, str(DRIVER), str(data), str(folder / "run"), "7", str(kills)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    values = {
        f"{evaluation['task']}/{name}/{field}": metric[field]
        for evaluation in result["evaluations"]
        for name, metric in evaluation["metrics"].items()
        for field in ("value", "low", "high")
        if metric[field] is not None
    }
    return values, done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_ten_kills_at_random_moments_change_no_number(tmp_path: Path) -> None:
    data = write_images(tmp_path, 240)
    (tmp_path / "killed").mkdir()
    (tmp_path / "undisturbed").mkdir()
    expected, _ = run(data, tmp_path / "undisturbed", kills=0)
    found, said = run(data, tmp_path / "killed", kills=10)
    hits = int(said.split(" of 10 kills")[0].split("\n")[-1])
    assert hits >= 5, said
    assert len(expected) > 40
    assert found == pytest.approx(expected, abs=1e-6)
