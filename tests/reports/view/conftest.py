"""Runs to be viewed, and a way to ask the site without a server."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

TOKEN, PORT = "the-token", 8000
N = 40


class Answer(NamedTuple):
    """An answer of the site."""

    status: int
    headers: dict[str, str]
    text: str


@pytest.fixture(scope="session")
def viewed(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> Path:
    """Write three runs: one with good answers, one with worse ones on the same samples, and one that is damaged."""
    folder = tmp_path_factory.mktemp("viewed")
    for name, skill in (("good", 1.0), ("bad", 0.3)):
        result = {
            "zero-shot@scenes": parts.zero_shot(np.random.default_rng(1), parts.classes[:4], n=N, skill=skill),
            "retrieval@scenes": parts.retrieval(np.random.default_rng(2), n=N, skill=skill),
            "modality-gap@scenes": parts.modality_gap(np.random.default_rng(3), n=N),
        }
        gap = result["modality-gap@scenes"]["samples"]
        gap |= {"image": np.array([f"{k:032x}" for k in range(N)], object)}
        gap |= {"caption": np.array([f"caption {k}" for k in range(N)], object)}
        run = parts.write_run(folder / name, result, model={**parts.model, "ref": f"model-{name}"})
        parts.write_thumbnails(run.folder, [f"{k:032x}" for k in range(N // 2)])
    shutil.copytree(folder / "good", folder / "damaged")
    (folder / "damaged/result.json").write_text('{"schema_version": ')
    return folder


@pytest.fixture
def ask() -> Callable[..., Answer]:
    """Return a function that asks an application for an address as the browser does that has shown the token."""

    def send(app: Any, address: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        headers_sent = {"host": f"127.0.0.1:{PORT}", "cookie": f"clipbench-{PORT}={TOKEN}", **headers}
        path, _, query = address.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "server": ("127.0.0.1", PORT),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers_sent.items()],
        }
        messages = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def collect(message: dict[str, Any]) -> None:
            messages.append(message)

        with ThreadPoolExecutor(1) as thread:  # a browser of other tests may have a loop in this thread
            thread.submit(asyncio.run, app(scope, receive, collect)).result()
        head, *bodies = messages
        return Answer(
            head["status"],
            {name.decode(): value.decode() for name, value in head["headers"]},
            b"".join(each.get("body", b"") for each in bodies).decode(errors="replace"),
        )

    return send
