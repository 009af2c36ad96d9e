"""Attacks of `make torture`: a kill here, all of them slowly, change no number, leave nothing behind, and are said in a
line.
"""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[1] / "experiments" / "torture.py"
SHORT = "run, SIGKILL, 2 workers"


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.skipif(not TORTURE.is_file(), reason="experiments/ is not part of the source distribution")
@pytest.mark.slow
@pytest.mark.parametrize("is_short", [True, False])
def test_attacks_are_survived(is_short: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TORTURE.parent))
    torture = importlib.import_module("torture")
    expected = [SHORT] if is_short else torture.attacks(may_mount=torture.can_mount(tmp_path))
    options = ["--tries", "1", "--seconds", "3600", *(["--only", SHORT] if is_short else [])]
    done = subprocess.run(
        [sys.executable, str(TORTURE), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=4200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\| (.*?) +\| +(\d+) \| +(\d+) \| +(\d+) \|$", done.stdout, re.MULTILINE)
    counts = {name: tuple(map(int, numbers)) for name, *numbers in rows}
    n = len(expected)
    assert counts == {**dict.fromkeys(expected, (1, 1, 0)), "all": (n, n, 0)}
