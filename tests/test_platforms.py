"""What other systems lack: locks of files, process groups, the count of usable cores, /proc, and fork."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import clipbench as cb
from clipbench.errors import ClipbenchError

WITHOUT = """
import builtins, io, multiprocessing, os, select, signal, sys
sys.modules["fcntl"] = None
for module, names in ((os, ("sched_getaffinity", "killpg", "O_NOFOLLOW", "fork")), (select, ("poll", "epoll"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
before = builtins.open
def opened(path, *rest, **named):
    if str(path).startswith("/proc/meminfo"):
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return before(path, *rest, **named)
builtins.open = io.open = opened
multiprocessing.set_start_method("spawn")
from clipbench.cli import main
if __name__ == "__main__":
    main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_run_is_the_same_where_the_system_offers_less(tmp_path: Path, device: str) -> None:
    script = tmp_path / "without.py"
    script.write_text(WITHOUT, encoding="utf-8")
    options = ["--suite", "scenes", "--tasks", "retrieval", "--limit", "20", "--device", device, "--workers", "2"]
    command = [
        sys.executable,
        str(script),
        "run",
        "--model",
        "tiny",
        *options,
        "--no-report",
        "--out",
        str(tmp_path / "a"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    completed = cb.run("tiny", "retrieval", suite="scenes", limit=20, device="cpu")
    assert cb.read_run(tmp_path / "a").result.evaluations[0].metrics == completed.result.evaluations[0].metrics


@pytest.mark.parametrize("path", [r"C:\photos\captions.csv", "C:/photos/captions.csv"])
def test_a_path_with_a_drive_is_a_path(path: str) -> None:
    with pytest.raises(ClipbenchError, match=re.escape(f"no such file or folder: {path}")):
        cb.load_data(path)
