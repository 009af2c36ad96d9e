"""Requests to an embeddings server: retried while it is busy, counted, and with the key in no message."""

import json
import math
import os
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from typing import IO, Any

from clipbench.errors import ModelError
from clipbench.untrusted.reading import MOST_BYTES, decode_json, shortened

BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
"""Answers after which the same request may succeed."""

TRIES = 8
"""Times that a request is sent; with the waits between them, a server may be away for a minute."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
"""Seconds before the second try, doubled for each further one up to the longest; jitter takes up to half away."""

LONGEST_ASKED = 600.0
"""Longest wait in seconds that a server may ask for by Retry-After."""

SHOWN = 160
"""Characters of a server's own words in an error."""
MOST_BYTES_OF_ERROR = 4096
"""Bytes of an error's answer that are read for them."""


@dataclass
class Costs:
    """The requests of a client so far; written by several threads under the client's lock."""

    requests: int = 0
    retries: int = 0
    sent: int = 0
    received: int = 0
    tokens: int = 0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: followed, it would carry the key to another host and turn POST into GET."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class _Again(Exception):
    """A failure after which the same request may succeed."""

    def __init__(
        self,
        cause: str,
        wait: float | None = None,
        *,
        is_silence: bool = False,
        advice: str = "is a server running there?",
    ) -> None:
        super().__init__(cause)
        self.wait = wait
        self.is_silence = is_silence
        """True where nothing answered at all."""
        self.advice = advice


@dataclass
class Client:
    """A server's address with what every request to it has in common; safe to use from several threads."""

    url: str
    name: str
    """The model reference, for messages."""
    timeout: float
    """Seconds in which an answer must be whole."""
    key_variable: str
    """Environment variable that holds the key; it is read for each request and kept nowhere."""
    costs: Costs = field(default_factory=Costs)
    has_answered: bool = False
    """True once the server has answered anything whole: before that, silence is a wrong address and not a busy moment."""
    failure: BaseException | None = None
    """The error that ended one of the requests: nothing more is sent."""
    _failed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_key(self) -> bool:
        return bool(os.environ.get(self.key_variable))

    def for_call(self) -> "Client":
        """Return a client with the same costs, which one failed request stops alone."""
        return replace(self, failure=None, _failed=threading.Event())

    def stop(self, failure: BaseException) -> None:
        """Make all requests that are not yet sent, or wait to be sent again, end with this error."""
        self.failure = self.failure or failure
        self._failed.set()

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON object that the server answers to a JSON object.

        Raises:
            ModelError: the server refuses, answers something else, or is still busy or silent after the last try.
        """
        data = json.dumps(body).encode()
        for number in range(1, TRIES + 1):
            if self.failure is not None:
                raise self.failure
            try:
                return self._once(data)
            except _Again as failure:
                if number == TRIES or (failure.is_silence and not self.has_answered):
                    tries = f" after {number} tries" if number > 1 else ""
                    raise ModelError(f"{self.name}: {self._safe(str(failure))}{tries}: {failure.advice}") from None
                wait = failure.wait
                if wait is None:
                    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1)) * random.uniform(0.5, 1)
                with self._lock:
                    self.costs.retries += 1
                self._failed.wait(wait)
        raise AssertionError(TRIES)

    def _once(self, data: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "clipbench"}
        key = os.environ.get(self.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with self._lock:
            self.costs.requests += 1
            self.costs.sent += len(data)
        end = time.monotonic() + self.timeout
        try:
            request = urllib.request.Request(self.url, data=data, headers=headers, method="POST")
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                content = self._read(response, end)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, end) from None
        except (ValueError, InvalidURL) as error:  # a header or address that cannot be sent; its text may hold the key
            raise ModelError(
                f"{self.name}: the request cannot be sent ({type(error).__name__}): is {self.key_variable} one line of"
                " ASCII, and the address whole?"
            ) from None
        except (OSError, HTTPException) as error:  # refused, reset, timed out, cut short
            raise self._broken(error) from None
        self.has_answered = True
        return self._parsed(content)

    def _read(self, response: HTTPResponse, end: float) -> bytes:
        """Return the whole body."""
        expected, received, pieces = response.length, 0, []
        for piece in _pieces(response, end):
            with self._lock:
                self.costs.received += len(piece)
            received += len(piece)
            pieces.append(piece)
            if received > MOST_BYTES:
                raise ModelError(
                    f"{self.name} answered more than {MOST_BYTES:,} bytes: is it the address of embeddings?"
                )
        if expected is not None and received < expected:
            raise ConnectionError("the answer was cut short")
        return b"".join(pieces)

    def _broken(self, error: OSError | HTTPException) -> _Again:
        """Return what an error of the connection means."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return _Again(f"no answer within {self.timeout:g} s", is_silence=True)
        said = f"the connection broke ({type(reason).__name__}: {reason})"
        if isinstance(reason, socket.gaierror):
            return _Again(said, is_silence=True, advice="is the name of the host right?")
        if isinstance(reason, ssl.SSLError):
            advice = "does the server speak https, with a certificate that this machine trusts?"
            return _Again(said, is_silence=True, advice=advice)
        return _Again(said, is_silence=isinstance(reason, ConnectionRefusedError))

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            answer = decode_json(content.decode())
        except ValueError:
            if content.lstrip()[:1] == b"{":
                raise _Again("the answer was cut short") from None
            kind = "HTML" if content.lstrip()[:1] == b"<" else "no JSON"
            raise ModelError(
                f"{self.name} answered {kind} ({self._safe(content.decode(errors='replace'))}): expected the address of"
                " OpenAI-style embeddings, such as api:http://127.0.0.1:8000/v1"
            ) from None
        if not isinstance(answer, dict):
            raise ModelError(f"{self.name} answered a JSON {type(answer).__name__}: expected an object with 'data'")
        usage = answer.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("total_tokens"), int):
            with self._lock:
                self.costs.tokens += usage["total_tokens"]
        return answer

    def _refused(self, error: urllib.error.HTTPError, end: float) -> Exception:
        """Return what an HTTP status means: to be tried again, or an error for the user."""
        said = self._safe(_words(error, end))
        self.has_answered = True
        if error.code in BUSY:
            cause, wait = f"the server answered {error.code}{said and f' ({said})'}", _asked_wait(error.headers)
            if error.code == 429:
                advice = "ask less at once (--model-option concurrency=1), or later; has the key any quota left?"
                return _Again(cause, wait, advice=advice)
            return _Again(cause, wait, advice="does the model behind it run?")
        if error.code in (401, 403):
            found = "was refused" if self.has_key else "is not set"
            advice = f"the key in {self.key_variable} {found}; --model-option key_env=NAME names another variable"
        elif 300 <= error.code < 400:
            advice = f"it redirects to {self._safe(error.headers.get('Location', 'nowhere'))}: give that address"
        elif error.code == 404:
            advice = "is the address whole, and does the server have --model-option model=NAME?"
        elif error.code == 413:
            advice = "the request is too large: give a smaller --batch-size"
        else:
            advice = "does the model take such inputs, and so many at once (--batch-size)?"
        return ModelError(f"{self.name}: the server answered {error.code}{said and f' ({said})'}: {advice}")

    def _safe(self, text: str) -> str:
        """Return words of a server in one short line, without the key that some echo."""
        key = os.environ.get(self.key_variable)
        line = " ".join((text.replace(key, "***") if key else text).split())
        return shortened(line, SHOWN)


def _pieces(response: HTTPResponse, end: float) -> Iterator[bytes]:
    """Yield the body as it comes, up to a time: a limit for each piece alone would never be reached.

    Raises:
        TimeoutError: it is not whole by then.
    """
    while piece := response.read1(1 << 20):
        yield piece
        if time.monotonic() > end:
            raise TimeoutError


def _words(error: urllib.error.HTTPError, end: float) -> str:
    """Return what a server says about a status, from the places where servers put it."""
    said = b""
    try:
        for piece in _pieces(error.fp, end):  # type: ignore[arg-type]
            said += piece
            if len(said) > MOST_BYTES_OF_ERROR:
                break
    except (OSError, HTTPException):
        return ""
    content = said[:MOST_BYTES_OF_ERROR].decode(errors="replace")
    try:
        found = decode_json(content)
    except ValueError:
        return "" if content.lstrip().startswith("<") else content
    for name in ("error", "detail", "message"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return str(found.get("message", found) if isinstance(found, dict) else found)


def _asked_wait(headers: Message) -> float | None:
    """Return the seconds that a server asks to wait, if it says so in a number."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:  # absent, or a date
        return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_ASKED)
