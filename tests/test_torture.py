"""A few attacks of `make torture`: kills, damage and company change no number, leave nothing behind, and are said in a line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[1] / "experiments" / "torture.py"


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.skipif(not TORTURE.is_file(), reason="experiments/ is not part of the source distribution")
@pytest.mark.parametrize(
    ("more", "n_attacks"), [(["--short"], 5), pytest.param(["--tries", "1"], 40, marks=pytest.mark.slow)]
)
def test_attacks_are_survived(more: list[str], n_attacks: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TORTURE), *more], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tries, survived, defects = map(int, re.findall(r"\d+", re.findall(r"^\| all .*$", done.stdout, re.MULTILINE)[0]))
    assert tries >= n_attacks and (survived, defects) == (tries, 0)
