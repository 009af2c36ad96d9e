"""Files of models from the Hub: damaged ones are fetched again, and what fails is told by its cause. A Hub on this
machine.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_hub_download

from clipbench.errors import ModelError, Unavailable
from clipbench.hub import HubRequest, files_of, online
from clipbench.models import downloads
from clipbench.models.adapters.open_clip import _weights_of
from clipbench.models.adapters.transformers import WEIGHTS
from clipbench.models.downloads import check_fingerprint, from_hub, remove_damaged
from clipbench.models.trust import file_of, snapshot
from tests import hub_server

WANTED = HubRequest(what="the weights of x", repository="me/small", remedy="do this instead")
LARGE, SMALL = b"weights " * 400, b"{}"
NAMES = ("open_clip_model.safetensors", "model.safetensors")


@pytest.fixture
def served(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hub with a repository of two weights and a configuration, and an empty cache."""
    hub.add("me/small", {**dict.fromkeys(NAMES, LARGE), "config.json": SMALL})
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "clipbench"))
    return hub


def by_open_clip() -> Path:
    return _weights_of("me/small/")


def by_snapshot() -> Path:
    return snapshot("me/small", None, WEIGHTS) / NAMES[1]


def fetched(name: str) -> Path:
    return Path(from_hub(lambda: hf_hub_download("me/small", name, cache_dir=constants.HF_HUB_CACHE), WANTED))


@pytest.mark.parametrize("name", [NAMES[0], "config.json"])  # known by SHA-256, and by git's hash
def test_what_arrives_damaged_is_said_and_fetched_again(
    served: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    served.faults = [hub_server.Fault(name, "corrupt", times=1, method="GET")]
    assert fetched(name).read_bytes() in (LARGE, SMALL)
    assert capsys.readouterr().err.startswith(f"note: {name} is damaged and removed: ")


def test_what_arrives_damaged_again_is_refused(served: Any) -> None:
    served.faults = [hub_server.Fault("safetensors", "corrupt", method="GET")]
    with pytest.raises(
        Unavailable, match=rf"me/small: {NAMES[0]} arrived damaged twice: try another network or mirror"
    ):
        from_hub(by_open_clip, WANTED)


def test_a_whole_file_is_read_once_and_a_changed_one_again(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetched(NAMES[0])
    is_whole, read = downloads._is_whole, []

    def reading(path: Path) -> bool:
        read.append(path)
        return is_whole(path)

    monkeypatch.setattr(downloads, "_is_whole", reading)
    fetched(NAMES[0])
    assert not read
    path.resolve().write_bytes(LARGE[:-1] + b"!")
    assert fetched(NAMES[0]).read_bytes() == LARGE and read


def test_a_name_that_is_no_hash_says_nothing(served: Any) -> None:
    blobs = files_of("me/small") / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("0" * 32)).write_bytes(LARGE)
    assert remove_damaged(files_of("me/small")) == []


def test_a_bit_that_turns_on_the_disk_is_noticed_when_the_fingerprint_changes(served: Any) -> None:
    path, files = fetched(NAMES[0]).resolve(), [files_of("me/small")]
    check_fingerprint("hf:me/small", "fp32", "one", files)
    times = path.stat()
    path.write_bytes(LARGE[:-1] + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    check_fingerprint("hf:me/small", "fp32", "one", files)
    check_fingerprint("hf:me/small", "fp16", "two", files)
    with pytest.raises(ModelError, match=rf"another fingerprint than before: {NAMES[0]} was damaged on the disk"):
        check_fingerprint("hf:me/small", "fp32", "three", files)
    assert fetched(NAMES[0]).read_bytes() == LARGE


@pytest.mark.parametrize("load", [by_open_clip, by_snapshot])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "status", "status": 500}, "the Hub answered 500"),
        ({"kind": "status", "status": 200}, "another server answered in place of the Hub"),
        ({"kind": "cut", "after": 10}, "the connection broke"),
        ({"kind": "gone"}, "the connection broke"),
        ({"kind": "status", "status": 404, "headers": {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "a" * 40}}, "the repository lacks a file"),
    ],
)  # fmt: skip
def test_a_hub_that_fails_is_told_apart_from_a_file_that_is_not_there_and_the_next_try_goes_on(
    served: Any, load: Callable[[], Path], fault: dict[str, Any], message: str
) -> None:
    served.faults = [hub_server.Fault("resolve/.*safetensors", **fault)]
    with pytest.raises(Unavailable, match=f"cannot get the weights of x from Hub repository me/small: {message}"):
        from_hub(load, WANTED)
    served.faults = []
    assert from_hub(load, WANTED).read_bytes() == LARGE


def test_a_setting_that_a_failing_hub_does_not_give_is_not_taken_for_none(served: Any) -> None:
    assert file_of("me/small", "tokenizer_config.json") is None
    served.faults = [hub_server.Fault("config.json", "status", status=500)]
    with pytest.raises(Unavailable, match="the Hub answered 500"):
        online(lambda: file_of("me/small", "config.json"), WANTED)
