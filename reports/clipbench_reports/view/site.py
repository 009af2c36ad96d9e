"""The site: what belongs to each address, the guard before every page, and the server, which nobody but this machine reaches."""

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Callable
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

from clipbench.errors import FOREIGN, ClipbenchError, MachineError, UsageError, bug
from clipbench.untrusted.reading import is_folder
from clipbench_reports.evidence.evidence import MissingEvidence
from clipbench_reports.page.html import assets
from clipbench_reports.view.pages import Pages, render
from clipbench_reports.view.runs import Runs

HOST = "127.0.0.1"
STATIC = {f"{name}.js": "text/javascript" for name in ("page", "view", "map")} | {"view.css": "text/css"}
SECONDS_TO_END = 1
"""Pages that are being made when the server ends are waited for so long."""
SECONDS_OF_PAGE = 180
"""A page that takes longer is told to be asked for again."""
SECONDS_OF_SILENCE = 30
"""A connection is closed that brings no whole request for so long, or up to twice as long."""


class Site:
    """A site over the runs below a folder, with an address that only who sees it knows.

    Raises:
        UsageError: there is no such folder, or the port is taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        if not is_folder(folder):
            raise UsageError(f"there is no folder {folder}: name the one that holds your runs")
        try:
            self.socket = socket.create_server((HOST, port))  # it listens before the address is told
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise MachineError(f"cannot listen on port {port}: {reason}; name another with --port") from error
        port = self.socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.address = f"http://{HOST}:{port}/?token={token}"
        config = uvicorn.Config(
            application(folder, token, port),
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


def application(folder: Path, token: str, port: int) -> ASGIApp:
    """Return the guarded site over the runs below a folder."""
    pages = Pages(Runs(folder))
    made: dict[str, Callable[[Request], Response]] = {
        "/": pages.runs,
        "/state": pages.state,
        "/report": pages.report,
        "/compare": pages.compare,
        "/samples": pages.samples,
        "/sample": pages.sample,
        "/map": pages.map,
        "/map/points": pages.points,
        "/map/list": pages.chosen,
    }
    routes = [Route(path, partial(_answer, make, pages.late)) for path, make in made.items()]
    routes += [Route(f"/static/{name}", partial(_static, name)) for name in STATIC]
    return Guard(Starlette(routes=routes), token, port)


class Impatient(H11Protocol):
    """A connection that is closed where it brings no whole request."""

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


async def _answer(make: Callable[[Request], Response], late: Callable[[Request], str], request: Request) -> Response:
    """Return what is made in a thread that no end of the process waits for: a map by UMAP takes minutes."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    def give(response: Response) -> None:
        if not answer.done():  # else nobody waits any more
            answer.set_result(response)

    def work() -> None:
        response = _page(make, request)
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(give, response)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await asyncio.wait_for(answer, SECONDS_OF_PAGE)
    except TimeoutError:
        return _refusal(late(request), 503)


def _page(make: Callable[[Request], Response], request: Request) -> Response:
    """Return a page, or one that says in a line why there is none."""
    try:
        return make(request)
    except KeyError:
        return _refusal("There is no such page: the run may have been removed.", 404)
    except (ClipbenchError, MissingEvidence) as error:
        return _refusal(str(error), 422)
    except FOREIGN as error:  # a hostile run, or a bug, costs a page
        return _refusal(bug(error, "clipbench or the run"), 500)


def _refusal(reason: str, status: int) -> Response:
    return HTMLResponse(render("refusal.html.j2", reason=reason), status)


def _static(name: str, request: Request) -> Response:
    package = (
        "clipbench_reports" if name == "page.js" else "clipbench_reports.view"
    )  # that of all pages has the switch for dark
    text = files(package).joinpath(f"static/{name}").read_text(encoding="utf-8")
    if name == "view.css":
        text = f"{assets()['style']}\n{text}"
    return Response(text, media_type=STATIC[name])


POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""A page asks for nothing but its own style, script and data; images are part of it."""
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
    """An application that answers only those who know the token, and only questions.

    Any page of the web may send requests to this machine, and a name of its own may lead here (DNS rebinding). So the host
    must be this one by its number or as localhost, and the browser must have shown the token once: it then has it as a
    cookie that it sends with requests from here alone.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
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
        """Return what is answered instead of a page; None where there is to be a page."""
        if request.headers.getlist("host") not in self._hosts:
            return PlainTextResponse("This is not the address that clipbench view printed.", 421)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Nothing can be changed here.", 405, {"allow": "GET, HEAD"})
        if self._is_token(request.query_params.get("token", "")):
            entry = HTMLResponse(ENTRY)
            entry.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return entry
        if not self._is_token(request.cookies.get(self._cookie, "")):
            return PlainTextResponse("Open the address that clipbench view printed: it ends in a token.", 403)
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(errors="replace"), self._token.encode())
