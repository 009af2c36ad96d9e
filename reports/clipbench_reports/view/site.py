"""The site: what belongs to each address, and the server, which nobody but this machine reaches."""

import asyncio
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
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from clipbench.errors import FOREIGN, ClipbenchError, MachineError, UsageError, bug
from clipbench.untrusted.reading import is_folder
from clipbench_reports.page.evidence import MissingEvidence
from clipbench_reports.page.report import assets
from clipbench_reports.view.guard import Guard
from clipbench_reports.view.index import Index
from clipbench_reports.view.pages import Pages, render

HOST = "127.0.0.1"
STATIC = {"view.css": "text/css", "view.js": "text/javascript", "map.js": "text/javascript"}
SECONDS_TO_END = 1
"""Pages that are being made when the server ends are waited for so long."""


class Site:
    """A site over the runs below a folder, with an address that only who sees it knows.

    Raises:
        UsageError: there is no such folder, or the port is taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        if not is_folder(folder):
            raise UsageError(f"there is no folder {folder}: name the one that holds your runs")
        self.socket = _listening(port)
        port = self.socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.address = f"http://{HOST}:{port}/?token={token}"
        config = uvicorn.Config(
            application(folder, token, port),
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
    pages = Pages(Index(folder))
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
    routes = [Route(path, partial(_answer, make)) for path, make in made.items()]
    routes += [Route(f"/static/{name}", partial(_static, name)) for name in STATIC]
    return Guard(Starlette(routes=routes), token, port)


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()  # before the address is told
    except OSError as error:
        listener.close()
        raise MachineError(f"cannot listen on port {port}: {error.strerror}; name another with --port") from error
    return listener


async def _answer(make: Callable[[Request], Response], request: Request) -> Response:
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
    return await answer


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
    text = files("clipbench_reports.view").joinpath(f"static/{name}").read_text(encoding="utf-8")
    if name == "view.css":
        text = f"{assets()['style']}\n{text}"
    return Response(text, media_type=STATIC[name])
