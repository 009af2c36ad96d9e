"""Files of models from the Hub, when the Hub fails: the message names the cause. The Hub runs on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipbench.errors import Unavailable
from clipbench.hub import HubRequest, cached_first, load_online
from clipbench.models.adapters.open_clip import _fetch_weights
from clipbench.models.adapters.transformers import WEIGHTS
from clipbench.models.hub_files import file_of, snapshot_folder
from tests import hub_server

WANTED = HubRequest(subject="the weights of x", repository="me/small", remedy="do this instead")
LARGE, SMALL = b"weights " * 400, b"{}"
NAMES = ("open_clip_model.safetensors", "model.safetensors")


@pytest.fixture
def served(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Hub with a repository of two weights and a configuration, and an empty cache."""
    hub.add("me/small", {**dict.fromkeys(NAMES, LARGE), "config.json": SMALL})
    monkeypatch.setenv("CLIPBENCH_CACHE", str(tmp_path / "clipbench"))
    return hub


def by_open_clip() -> Path:
    return _fetch_weights("me/small/")


def by_snapshot() -> Path:
    return snapshot_folder("me/small", None, WEIGHTS) / NAMES[1]


@pytest.mark.parametrize("load", [by_open_clip, by_snapshot])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "status", "status": 500}, "the Hub answered 500"),
        ({"kind": "status", "status": 200}, "another server answered instead of the Hub"),
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
        cached_first(load, WANTED)
    served.faults = []
    assert cached_first(load, WANTED).read_bytes() == LARGE


def test_a_setting_that_a_failing_hub_does_not_give_is_not_taken_for_none(served: Any) -> None:
    assert file_of("me/small", "tokenizer_config.json") is None
    served.faults = [hub_server.Fault("config.json", "status", status=500)]
    with pytest.raises(Unavailable, match="the Hub answered 500"):
        load_online(lambda: file_of("me/small", "config.json"), WANTED)
