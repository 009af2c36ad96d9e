"""The Hub: never waited for, and its refusals told apart. A server on this machine stands in for it."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from clipbench import hub as network
from clipbench.errors import Unavailable
from clipbench.hub import HubRequest, cached_first, unreachable_reason

WANTED = HubRequest(subject="the weights of x", repository="org/name", remedy="do this instead")


class Hub(BaseHTTPRequestHandler):
    """Answers every request with the status and headers that the server holds."""

    def do_GET(self) -> None:
        status, headers = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.answer = (200, {})  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def download() -> str:
    return huggingface_hub.hf_hub_download("org/name", "model.safetensors", cache_dir=constants.HF_HUB_CACHE)


def test_what_is_cached_is_not_asked_for() -> None:
    assert cached_first(lambda: "there", WANTED) == "there"


def test_the_hub_is_out_of_reach_while_the_cache_is_looked_at() -> None:
    states = []

    cached_first(lambda: states.append(huggingface_hub.is_offline_mode()), WANTED)

    assert states == [True] and not huggingface_hub.is_offline_mode()


def test_an_error_that_is_not_the_network_s_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        cached_first(lambda: 1 / 0, WANTED)
    assert not huggingface_hub.is_offline_mode()


def test_no_connection_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)

    with pytest.raises(
        Unavailable,
        match=r"cannot get the weights of x: not on this machine, and Hub repository org/name cannot be reached"
        r" \(no connection to http://127.0.0.1:9: .*refused\)\. Fix: do this instead",
    ):
        cached_first(download, WANTED)

    assert not waits


def test_a_hub_that_takes_no_notice_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)

        cause = unreachable_reason(seconds=0.2)  # without a limit it would wait for ever

        assert cause is not None and address in cause


def test_a_look_up_of_the_name_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(network, "_probe_endpoint", lambda url, seconds: release.wait())

    assert unreachable_reason(seconds=0.2) == "no answer from http://127.0.0.1:9 within 0.2 s"
    release.set()  # it waits still


def test_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch, hub: ThreadingHTTPServer) -> None:
    assert unreachable_reason() is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(Unavailable, match=r"\(offline, because of HF_HUB_OFFLINE or offline=True\)"):
        cached_first(download, WANTED)


def test_a_proxy_is_asked_where_one_is_set(monkeypatch: pytest.MonkeyPatch, hub: ThreadingHTTPServer) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setattr(constants, "ENDPOINT", "http://no-such-host.invalid")

    assert unreachable_reason() is None


def test_any_answer_shows_that_there_is_a_hub(hub: ThreadingHTTPServer) -> None:
    hub.answer = (503, {})  # type: ignore[attr-defined]

    assert unreachable_reason() is None


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, r"gated: accept the licence at https://huggingface.co/org/name, then `hf auth login`"),
        (403, {"X-Error-Code": "GatedRepo"}, r"gated: accept the licence"),
        (401, {"X-Error-Code": "RepoNotFound"}, r"the Hub has no such repository, or it is private: check the name, or `hf auth login`"),
        (404, {"X-Error-Code": "RepoNotFound"}, r"the Hub has no such repository, or it is private"),
        (404, {"X-Error-Code": "EntryNotFound"}, r"the repository lacks a file that is needed: see https://huggingface.co/org/name"),
        (403, {}, r"the Hub answered 403: ask for access at https://huggingface.co/org/name, then `hf auth login`"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(
    hub: ThreadingHTTPServer, status: int, headers: dict[str, str], message: str
) -> None:
    hub.answer = (status, headers)  # type: ignore[attr-defined]

    with pytest.raises(Unavailable, match=f"cannot get the weights of x from Hub repository org/name: {message}"):
        cached_first(download, WANTED)
