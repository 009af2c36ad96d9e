"""``clipbench data``: what it lists, says and fetches, as a user runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from clipbench.cli.main import cli, main


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["data", *arguments], standalone_mode=False)


def test_the_list_says_presence_size_licence_and_access(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / ".svhn.part").mkdir()
    lines = call("list", "--data-root", str(tmp_path)).output.splitlines()
    rows = {line.split()[0]: line.split()[1] for line in lines[1:-3]}
    assert (rows["mnist"], rows["svhn"], rows["imagenet"]) == ("yes", "unfinished", "no")
    assert any(line.startswith("winoground") and "369 MB" in line and "accept the licence" in line for line in lines)
    assert any(line.startswith("imagenet-r ") and "MIT (?)" in line for line in lines)
    assert any(line.startswith("paint ") and "by hand" in line for line in lines)
    assert any(line.startswith("babel-imagenet ") and line.endswith("comes with imagenet") for line in lines)


def test_the_variable_names_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coco").mkdir()
    monkeypatch.setenv("CLIPBENCH_DATA", str(tmp_path))
    result = CliRunner().invoke(cli, ["data", "show", "coco"], auto_envvar_prefix="CLIPBENCH", standalone_mode=False)
    assert f"present     {tmp_path}/coco" in result.output


def test_show_says_what_is_known_and_what_is_not_verified() -> None:
    text = call("show", "Imagenet-R").output
    assert text.startswith("imagenet-r: ImageNet-R\n")
    for line in ("tasks       zero-shot", "size        30,000 images, 200 classes", "licence     MIT (?)",
                 "chance      acc1 0.5 %", "cite        Hendrycks et al., The Many Faces of Robustness", "no revision pinned", "unverified  licence"):  # fmt: skip
        assert line in text
    assert "@1 0.02 %, text" in call("show", "coco").output, "no digit of the level of chance is cut off"
    text = call("show", "cifar-100").output
    assert "prompts     18 published templates, the data's class names" in text and "download    52 MB" in text
    assert "split test, no revision pinned (image = img, label = fine_label)" in text
    assert "split validation, no revision pinned; gated" in call("show", "imagenet").output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["show", "imagnet"], 2, "clipbench: unknown data 'imagnet': did you mean 'imagenet'? (clipbench data list)\n"),
        (["get", "rta-100"], 3, "clipbench: rta-100 cannot be fetched by command: put it into rta-100 below"),
        (
            ["get", "mnist", "--from", "urls"],
            2,
            "clipbench: 'mnist' has no source 'urls': known: hf:clip-benchmark/wds_mnist",
        ),
        (["get", "mnist", "svhn", "--revision", "main"], 2, "clipbench: --from and --revision apply to one data set"),
        (["get"], 2, "clipbench: Missing argument 'NAMES...'"),
        (["got"], 2, "clipbench: No such command 'got'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["data", *arguments])
    said = capsys.readouterr().err
    assert caught.value.code == status
    assert said.startswith(message)
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_get_downloads_from_the_endpoint_prints_the_folder_and_does_not_download_twice(
    hub_server: ModuleType, tmp_path: Path
) -> None:
    def get(*names: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from clipbench.cli import main; main()", "data", "get", *names, "--quiet"]
        env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "CLIPBENCH_DATA": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**env, **more})

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
            "clipbench: cannot get data set svhn from Hub repository datasets/clip-benchmark/wds_vtab-svhn: the Hub has no such"
        )
        assert not any("mnist" in path for _, path, _ in served.requests[n_requests:])
    offline = get("svhn", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stderr.count("\n")) == (3, 1)
    assert "HF_HUB_OFFLINE is set" in offline.stderr


def test_ctrl_c_ends_a_download_at_once_and_the_same_command_continues(hub_server: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from clipbench.cli import main; main()", "data", "get", "mnist", "--quiet"]
    with hub_server.running(tmp_path / "served") as (served, address):
        served.add("clip-benchmark/wds_mnist", {"test/nshards.txt": b"1", "test/0.tar": b"x", "classnames.txt": b"0\n"})
        served.faults.append(hub_server.Fault(r"resolve/.*0\.tar", "slow", seconds=60, method="GET", times=1))
        env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "CLIPBENCH_DATA": str(tmp_path)}
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        while not any(method == "GET" and path.endswith("0.tar") for method, path, _ in served.requests):
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        since = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert time.monotonic() - since < 10
        assert running.returncode == 130
        assert said.splitlines()[-1].startswith("clipbench: interrupted: complete files are kept")
        assert not (tmp_path / "mnist").exists()
        again = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert again.returncode == 0 and (tmp_path / "mnist/test/0.tar").read_bytes() == b"x"
