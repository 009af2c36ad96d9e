"""``clipbench view``: its errors in a line, and its end."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from clipbench.cli import main


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["view", str(tmp_path / "nothing"), "--no-open"])
    assert end.value.code == 2 and "there is no folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for children")
def test_ctrl_c_ends_it_quietly_and_nothing_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clipbench", "view", str(tmp_path), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out.strip(), err.strip()) == (130, "Ctrl-C ends it.", "clipbench: interrupted")
    assert not list(tmp_path.iterdir())
