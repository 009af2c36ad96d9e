"""A small Hub on this machine: the few endpoints that huggingface_hub and datasets call, and faults on demand.

Repositories, of data sets or models, are folders ``ROOT/ORG/NAME/COMMIT/...``; ``main`` is the commit that was added
last. Those in ``Hub.gated`` are given to who shows ``LET_IN`` as a token. Everything below ``ROOT/files`` is served as
it is, for archives outside the Hub.
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CONVERTED = "converted"
"""Commit that the branch ``refs/convert/parquet`` of a repository is at."""
LET_IN = "hf_let_in"
"""The token of one who has accepted all licences."""
LARGE = 2_000
"""Bytes from which a file has a pointer with its SHA-256, as large files of the Hub have."""


@dataclass
class Fault:
    """A fault of the next requests whose path matches."""

    path: str
    """Regular expression, looked for in the path."""
    kind: str
    """``status``, ``cut``, ``slow``, ``corrupt`` or ``gone``: no answer at all, as without a network."""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    """Bytes of a body that come before a cut, or before a slow one pauses again."""
    seconds: float = 0.0
    times: int = 1_000_000
    method: str = "GET|HEAD|POST"
    """Regular expression of the methods; only a GET can be cut."""


class Hub:
    """The repositories, the faults, and what was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = ""
        self.gated: set[str] = set()
        self.heads: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of each request."""

    def add(self, repository: str, files: dict[str, bytes], commit: str = "a" * 40) -> None:
        """Put files into a commit, and make it the head."""
        for name, content in files.items():
            path = self.root / repository / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.heads[repository] = commit

    def remove(self, repository: str, commit: str) -> None:
        """Forget a commit, as a force-push does."""
        (self.root / repository / commit).rename(self.root / f"gone-{commit}")

    def commits(self, repository: str) -> list[str]:
        return sorted(path.name for path in (self.root / repository).iterdir())

    def folder(self, repository: str, revision: str) -> Path | None:
        commit = self.heads.get(repository, "") if revision == "main" else revision
        folder = self.root / repository / commit
        return folder if commit and folder.is_dir() else None

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.kind == "cut" and method != "GET":
                continue
            if fault.times > 0 and re.search(fault.path, path) and re.fullmatch(fault.method, method):
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed is no fault of the server's
            super().handle_error(request, client_address)


@contextmanager
def running(root: Path) -> Iterator[tuple[Hub, str]]:
    """Serve the repositories below a folder; yields the hub and its address."""
    hub = Hub(root)
    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub, hub.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path.replace("refs%2Fconvert%2Fparquet", CONVERTED))
        hub.requests.append((self.command, path, self.headers.get("Range")))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = hub.fault(self.command, path)
        if fault is not None and fault.kind == "gone":
            self.close_connection = True
            return
        if fault is not None and fault.kind == "slow":
            threading.Event().wait(fault.seconds)  # tests make time.sleep return at once
        if fault is not None and fault.kind == "status":
            self._send(fault.status, b"", fault.headers)
        elif match := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|commits|paths-info|auth-check)(?:/([^/]+)(.*))?)?",
            path,
        ):
            self._api(hub, *match.groups(), body=body)
        elif match := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(hub, *match.groups(), fault=fault)
        elif path.startswith("/files/"):
            self._bytes(hub.root / path.lstrip("/"), {}, fault)
        else:
            self._send(404, b"", {})

    do_HEAD = do_GET
    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _api(
        self, hub: Hub, repository: str, what: str | None, revision: str | None, rest: str | None, *, body: bytes
    ) -> None:
        if repository not in hub.heads:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if what == "auth-check":
            return self._closed() if self._is_closed(hub, repository) else self._send(200, b"{}", {})
        folder = hub.folder(repository, revision or "main")
        if folder is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if what == "commits":
            result: Any = [{"id": commit, "title": "", "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"}
                          for commit in hub.commits(repository)]  # fmt: skip
        elif what == "tree":
            result = [_node(path, folder) for path in sorted((folder / (rest or "").strip("/")).rglob("*"))]
            if "recursive=true" not in self.path.lower():
                depth = len((rest or "").strip("/").split("/")) if (rest or "").strip("/") else 0
                result = [node for node in result if node["path"].count("/") == depth]
        elif what == "paths-info":
            result = [_node(folder / name, folder) for name in _asked(body) if (folder / name).exists()]
        else:
            names = [{"rfilename": _name(path, folder)} for path in sorted(folder.rglob("*")) if path.is_file()]
            result = {"id": repository, "sha": folder.name, "siblings": names, "private": False, "gated": False,
                     "disabled": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
        return self._send(200, json.dumps(result).encode(), {"Content-Type": "application/json"})

    def _file(self, hub: Hub, repository: str, revision: str, name: str, *, fault: Fault | None) -> None:
        if self._is_closed(hub, repository):
            return self._closed()
        folder = hub.folder(repository, revision)
        if folder is None:
            code = "RevisionNotFound" if repository in hub.heads else "RepoNotFound"
            return self._send(404, b"", {"X-Error-Code": code})
        path = folder / name
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": folder.name})
        node = _node(path, folder)
        etag = node["lfs"]["oid"] if "lfs" in node else node["oid"]
        return self._bytes(path, {"ETag": f'"{etag}"', "X-Repo-Commit": folder.name}, fault)

    def _is_closed(self, hub: Hub, repository: str) -> bool:
        return repository in hub.gated and self.headers.get("Authorization") != f"Bearer {LET_IN}"

    def _closed(self) -> None:
        self._send(401, b"", {"X-Error-Code": "GatedRepo"})

    def _bytes(self, path: Path, headers: dict[str, str], fault: Fault | None) -> None:
        if not path.is_file():
            return self._send(404, b"", {})
        content = path.read_bytes()
        if fault is not None and fault.kind == "corrupt":
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Accept-Ranges": "bytes", **headers}
        status = 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(match[1]), int(match[2]) if match[2] else len(content) - 1
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        if fault is not None and fault.kind == "slow" and fault.after and self.command == "GET":
            return self._send(status, content, headers, pause=(fault.after, fault.seconds))
        cut = fault.after if fault is not None and fault.kind == "cut" and self.command == "GET" else None
        return self._send(status, content, headers, cut=cut)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        cut: int | None = None,
        pause: tuple[int, float] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            if pause is not None:
                self.wfile.write(body[: pause[0]])
                self.wfile.flush()
                threading.Event().wait(pause[1])
                body = body[pause[0] :]
            if self.command != "HEAD":
                self.wfile.write(body if cut is None else body[:cut])
                self.wfile.flush()
        except OSError:
            pass  # the client did not wait
        if cut is not None:
            self.close_connection = True


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _node(path: Path, folder: Path) -> dict[str, Any]:
    name = _name(path, folder)
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    node: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if len(content) >= LARGE:
        node["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return node


def _asked(body: bytes) -> list[str]:
    """Return the paths of a paths-info request, which come as a form or as JSON."""
    if body.startswith(b"{"):
        return list(json.loads(body)["paths"])
    return parse_qs(body.decode())["paths"]
