"""The guard before every page: who may ask, for what, and what a page may do in the browser.

Any page of the web may send requests to this machine, and a name of its own may lead here (DNS rebinding). So the host must
be this one by its number or as localhost, and the browser must have shown the token once: it then has it as a cookie that
it sends with requests from here alone.
"""

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """An application that answers only those who know the token, and only questions."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:  # browsers leave it out
            self._hosts |= {"127.0.0.1", "localhost"}
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
        if _one(request.headers, "host") not in self._hosts:
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


def _one(headers: Headers, name: str) -> str:
    """Return the value of a header that is there once; nothing otherwise."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else ""
