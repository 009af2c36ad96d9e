"""``clipbench data``: what it lists, says and fetches, as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import hub_server

GET = [sys.executable, "-c", "from clipbench.cli import main; main()", "data", "get", "--quiet"]


def environment(address: str, root: Path) -> dict[str, str]:
    folders = {"HF_HOME": str(root / "home"), "CLIPBENCH_DATA_ROOT": str(root)}
    return {**os.environ, "HF_ENDPOINT": address, **folders}


def test_get_downloads_from_the_endpoint_prints_the_folder_and_does_not_download_twice(tmp_path: Path) -> None:
    def get(*names: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**environment(address, tmp_path), **more}
        return subprocess.run([*GET, *names], capture_output=True, text=True, check=False, env=env)

    with hub_server.running(tmp_path / "served") as (served, address):
        files: dict[str, Any] = {"test/nshards.txt": b"1", "test/0.tar": b"x" * 5_000, "classnames.txt": b"0\n"}
        served.add("clip-benchmark/wds_mnist", files)
        done = get("mnist")
        assert (done.returncode, done.stdout) == (0, f"mnist is present: {tmp_path}/mnist (commit {'a' * 40})\n")
        assert done.stderr == "mnist: 5.0 kB from hf:clip-benchmark/wds_mnist\n"
        n_requests = len(served.requests)
        again = get("mnist", "svhn")
        assert again.returncode == 3
        assert again.stdout == f"mnist is present: {tmp_path}/mnist/test (to download it again, move that away)\n"
        assert again.stderr.startswith(
            "clipbench: cannot get data set svhn from Hub repository datasets/clip-benchmark/wds_vtab-svhn: "
            "the Hub has no such"
        )
        assert not any("mnist" in path for _, path, _ in served.requests[n_requests:])
    offline = get("svhn", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stderr.count("\n")) == (3, 1)
    assert "offline, because of HF_HUB_OFFLINE" in offline.stderr


def test_ctrl_c_ends_a_download_at_once_and_the_same_command_continues(tmp_path: Path) -> None:
    with hub_server.running(tmp_path / "served") as (served, address):
        served.add("clip-benchmark/wds_mnist", {"test/nshards.txt": b"1", "test/0.tar": b"x", "classnames.txt": b"0\n"})
        served.faults.append(hub_server.Fault(r"resolve/.*0\.tar", "slow", seconds=600, method="GET", times=1))
        env = environment(address, tmp_path)
        command = [*GET, "mnist"]
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        while not any(method == "GET" and path.endswith("0.tar") for method, path, _ in served.requests):
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, output = running.communicate(timeout=300)  # the server holds its answer for longer
        assert running.returncode == 130
        assert output.splitlines()[-1].startswith("clipbench: interrupted: complete files are kept")
        assert not (tmp_path / "mnist").exists()
        again = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert again.returncode == 0 and (tmp_path / "mnist/test/0.tar").read_bytes() == b"x"
