"""``clipbench view``: its errors in a line, and its end."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import WITH_CTRL_C


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for children")
def test_ctrl_c_ends_it_quietly_and_nothing_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITH_CTRL_C, "view", str(tmp_path), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address, said = process.stdout.readline().split()[-1], process.stdout.readline()
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, said + out, err.strip()) == (
        130,
        "Ctrl-C stops the server.\n",
        "clipbench: interrupted",
    )
    assert not list(tmp_path.iterdir())
