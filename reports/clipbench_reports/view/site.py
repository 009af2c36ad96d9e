"""The sites: the function of each address, the guard before every page, and the server, reachable from this machine."""

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from importlib.resources import files
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipbench.errors import FOREIGN, ClipbenchError, MachineError, UsageError, bug_summary
from clipbench.untrusted.reading import is_folder
from clipbench_reports.evidence import MissingEvidence
from clipbench_reports.page.html import assets
from clipbench_reports.view.pages import Pages, SiteAnswers
from clipbench_reports.view.runs import Runs

HOST = "127.0.0.1"
TYPES = {".js": "text/javascript", ".css": "text/css"}
"""Media types of the files of a site."""
SECONDS_TO_END = 1
"""Pages that are being made when the server ends are waited for so long."""
SECONDS_OF_PAGE = 180
"""A page that takes longer is answered with a request to try again later."""
SECONDS_OF_SILENCE = 30
"""A connection is closed that brings no whole request for so long, or up to twice as long."""
MOST_BYTES = 1 << 16
"""Bytes of a request that writes."""
WRITES = "x-clipbench-token"
"""The header of a request that writes, which no form and no page of another site can send. Its value is the token."""


class Site:
    """A site with an address that only who sees it knows.

    Args:
        make: returns the answers, given the token.
        command: the command that serves it, for refusals.

    Raises:
        MachineError: the port is taken.
    """

    def __init__(self, make: Callable[[str], SiteAnswers], port: int, command: str) -> None:
        try:
            self.socket = socket.create_server((HOST, port))  # it listens before the address is told
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise MachineError(f"cannot listen on port {port}: {reason}. Choose another with --port") from error
        port = self.socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.address = f"http://{HOST}:{port}/?token={token}"
        config = uvicorn.Config(
            guarded(make(token), token, port, command),
            http=Impatient,
            log_level="critical",  # names in requests are those of others
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=SECONDS_TO_END,
        )
        self.server = uvicorn.Server(config)

    def serve(self) -> None:
        """Answer until the process is interrupted, which raises KeyboardInterrupt."""
        with self.socket:
            self.server.run(sockets=[self.socket])


def view(folder: Path, port: int = 0) -> Site:
    """Return the site over the runs below a folder.

    Raises:
        UsageError: there is no such folder.
        MachineError: the port is taken.
    """
    if not is_folder(folder):
        raise UsageError(f"{folder} is not a folder: name the folder that holds your runs")
    return Site(lambda token: Pages(Runs(folder)), port, "clipbench view")


def guarded(answers: SiteAnswers, token: str, port: int, command: str) -> ASGIApp:
    """Return a site behind its guard."""
    routes = [Route(path, partial(_answer, make, answers)) for path, make in answers.reads.items()]
    routes += [Route(path, partial(_write, make, answers), methods=["POST"]) for path, make in answers.writes.items()]
    routes += [Route(f"/static/{name}", partial(_static, name)) for name in answers.static]
    return Guard(Starlette(routes=routes), token, port, command=command, writes=answers.writes)


class Impatient(H11Protocol):
    """A connection that is closed if no complete request arrives."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again()

    def _look_again(self) -> None:
        self.loop.call_later(SECONDS_OF_SILENCE, self._close_if_silent, self.cycle)

    def _close_if_silent(self, before: object) -> None:
        if self.cycle is before and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
        elif not self.transport.is_closing():
            self._look_again()


async def _write(make: Callable[[Request, bytes], Response], answers: SiteAnswers, request: Request) -> Response:
    """Return the answer to a request that writes, once its content is there."""
    content = b""
    try:
        async with asyncio.timeout(SECONDS_OF_SILENCE):
            async for part in request.stream():
                content += part
                if len(content) > MOST_BYTES:
                    return answers.refusal(f"The request has more than {MOST_BYTES:,} bytes.", 413)
    except TimeoutError:
        return answers.refusal("The request ended too early.", 408)
    return await _answer(lambda request: make(request, content), answers, request)


async def _answer(make: Callable[[Request], Response], answers: SiteAnswers, request: Request) -> Response:
    """Return what is made in a thread that no end of the process waits for: a map by UMAP takes minutes."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    def give(response: Response) -> None:
        if not answer.done():  # else nobody waits any more
            answer.set_result(response)

    def work() -> None:
        response = _page(make, answers, request)
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(give, response)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await asyncio.wait_for(answer, SECONDS_OF_PAGE)
    except TimeoutError:
        return answers.refusal(answers.late(request), 503)


def _page(make: Callable[[Request], Response], answers: SiteAnswers, request: Request) -> Response:
    try:
        return make(request)
    except KeyError:
        return answers.refusal("This page does not exist: the run may have been removed.", 404)
    except (ClipbenchError, MissingEvidence) as error:
        return answers.refusal(str(error), 422)
    except FOREIGN as error:  # a hostile run, or a bug, costs a page
        return answers.refusal(bug_summary(error, "clipbench or the run"), 500)


def _static(name: str, request: Request) -> Response:
    # Reports have the same script, which lets a reader choose light or dark.
    package = "clipbench_reports" if name == "page.js" else "clipbench_reports.view"
    text = files(package).joinpath(f"static/{name}").read_text(encoding="utf-8")
    suffix = Path(name).suffix
    if suffix == ".css":
        text = f"{assets()['style']}\n{text}"
    return Response(text, media_type=TYPES[suffix])


POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""A page requests only its own style, script and data. Images are part of it."""
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# A cookie that is SameSite=Strict is not sent after a redirect from another site, such as a terminal in the browser.
ENTRY = """<!doctype html>
<title>clipbench</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url=/">
<a href="/">clipbench</a>
"""


class Guard:
    """An application that answers only those who know the token, and only questions, but for some addresses.

    Any page of the web may send requests to this machine, and a name of its own may lead here (DNS rebinding). So the
    host must be this one by its number or as localhost, and the browser must have shown the token once: it then has it
    as a cookie that it sends only with requests from here. What writes needs the token in a header as well, which a
    browser lets only the pages of this site send, and must not come from another origin.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, *, command: str, writes: Collection[str] = ()) -> None:
        self._app, self._token, self._command, self._writes = app, token, command, writes
        self._hosts = [[f"{name}:{port}"] for name in ("127.0.0.1", "localhost")]
        if port == 80:  # browsers leave it out
            self._hosts += [["127.0.0.1"], ["localhost"]]
        self._cookie = f"clipbench-{port}"  # cookies know no ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["type"] == "http":
            answer = self._answer(Request(scope))
            await (answer or self._app)(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return what is answered instead of a page, or None if there is to be a page."""
        if request.headers.getlist("host") not in self._hosts:
            return PlainTextResponse(f"This is not the address that {self._command} printed.", 421)
        is_for_writing = request.url.path in self._writes
        is_write = request.method == "POST" and is_for_writing
        if not is_write and (request.method not in ("GET", "HEAD") or is_for_writing):
            allowed = "POST" if is_for_writing else "GET, HEAD"
            return PlainTextResponse("This address does not support the request's method.", 405, {"allow": allowed})
        if not is_write and self._is_token(request.query_params.get("token", "")):
            page = HTMLResponse(ENTRY)
            page.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return page
        if not self._is_token(request.cookies.get(self._cookie, "")):
            return PlainTextResponse(f"Open the address that {self._command} printed: it ends in a token.", 403)
        return self._refused_write(request) if is_write else None

    def _refused_write(self, request: Request) -> Response | None:
        origins = [f"http://{host}" for host in request.headers.getlist("host")]
        if request.headers.getlist("origin") not in ([], origins):
            return PlainTextResponse("Only the pages of this site can write.", 403)
        if not self._is_token(request.headers.get(WRITES, "")):
            return PlainTextResponse(f"A request that writes needs the token in the header {WRITES}.", 403)
        return None

    def _is_token(self, candidate: str) -> bool:
        return secrets.compare_digest(candidate.encode(errors="replace"), self._token.encode())
