"""Requests to an embeddings server: retried while it is busy, counted, and with the key in no message."""

import json
import logging
import math
import os
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from typing import IO, Any

from clipbench.errors import FOREIGN, ModelError, model_option, option
from clipbench.untrusted.reading import decode_json, shortened

_logger = logging.getLogger(__name__)

BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
"""Answers after which the same request may succeed."""
TRIES = 8
"""Times that a request is sent. With the waits between them, a server may be away for a minute."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second try, doubled for each further one up to the longest. Jitter removes up to half of it."""
LONGEST_ASKED = 120.0
"""Longest wait in seconds that a server may request by Retry-After. Beyond it, the run ends."""
LONGEST_SILENT = 2.0
"""Longest wait in seconds that is not shown."""
SHOWN = 160
"""Characters of a server's own words in an error."""
MOST_BYTES_OF_ERROR = 4096
"""Bytes of an error's answer that are read for them."""
GRACE = 1.0
"""Seconds after the timeout in which a status still counts whose words have not come whole."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: followed, it would carry the key to another host and turn POST into GET."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


@dataclass(eq=False)
class _RetryableError(Exception):
    """A failure after which the same request may succeed."""

    cause: str
    advice: str
    wait: float | None = None
    """Seconds to wait before the next try that the server has requested, or None."""
    is_silence: bool = False
    """True where nothing answered at all."""


@dataclass
class Client:
    """A server's address, key and costs for its requests, safe to use from several threads."""

    url: str
    name: str
    """The model reference, for messages."""
    timeout: float
    """Seconds in which an answer must be whole."""
    key_variable: str
    """Environment variable that holds the key, read for each request and stored nowhere."""
    costs: Counter[str] = field(default_factory=Counter)
    """Requests, retries, bytes sent and received, and tokens by the server's count so far, written under the lock."""
    has_answered: bool = False
    """True once the server has answered anything whole: before that, silence is a wrong address and not a busy
    moment.
    """
    failure: BaseException | None = None
    """The error that ended one of the requests: nothing more is sent."""
    _shown_until: float = 0.0
    """Time on the monotonic clock until which a wait is shown already."""
    _failed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> str | None:
        """The key, or None if there is none."""
        return os.environ.get(self.key_variable) or None

    def for_call(self) -> "Client":
        """Return a client with shared costs, stopped separately by its first failed request."""
        return replace(self, failure=None, _failed=threading.Event())

    def stop(self, failure: BaseException) -> None:
        """Make all requests that are not yet sent, or wait to be sent again, end with this error."""
        self.failure = self.failure or failure
        self._failed.set()

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the server's JSON object for a JSON object.

        Raises:
            ModelError: the server refuses, answers with other content, or is still busy or silent after the last try.
        """
        data = json.dumps(body).encode()
        for number in range(1, TRIES + 1):
            if self.failure is not None:
                raise self.failure
            try:
                return self._parse(*self._send_within_timeout(data))
            except _RetryableError as failure:
                cause = self._redact(failure.cause)
                if number == TRIES or (failure.is_silence and not self.has_answered):
                    tries = f" after {number} tries" if number > 1 else ""
                    raise ModelError(f"{self.name}: {cause}{tries}: {failure.advice}") from None
                usual = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1)) * random.uniform(0.5, 1)
                self._count(retries=1)
                self._wait(usual if failure.wait is None else failure.wait, cause)
        raise AssertionError(TRIES)

    def _wait(self, seconds: float, cause: str) -> None:
        """Wait before the next try, and show a long wait, once for requests that wait together."""
        with self._lock:
            is_shown = seconds > LONGEST_SILENT and time.monotonic() > self._shown_until
            if is_shown:
                self._shown_until = time.monotonic() + seconds
        if is_shown:
            _logger.warning("%s: %s: waiting %.0f s", self.name, cause, seconds)
        self._failed.wait(seconds)

    def _count(self, **counts: int) -> None:
        with self._lock:
            self.costs.update(counts)

    def _send_within_timeout(self, data: bytes) -> tuple[bytes, bool]:
        """Return an answer as ``_send`` does, within the timeout: a socket's limit is for each piece that comes."""
        sent: Future[tuple[bytes, bool]] = Future()

        def send() -> None:
            try:
                sent.set_result(self._send(data))
            except FOREIGN as error:
                sent.set_exception(error)

        threading.Thread(target=send, daemon=True).start()
        try:
            return sent.result(self.timeout + GRACE)
        except TimeoutError as error:
            raise self._connection_error(error) from None

    def _send(self, data: bytes) -> tuple[bytes, bool]:
        """Return an answer, and whether the server has shown that it is whole."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "clipbench"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        self._count(requests=1, sent=len(data))
        end = time.monotonic() + self.timeout
        try:
            request = urllib.request.Request(self.url, data=data, headers=headers, method="POST")
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                content, is_whole = self._read(response, end), response.length is not None or response.chunked
        except urllib.error.HTTPError as error:
            with error:
                raise self._status_error(error, end) from None
        except (ValueError, InvalidURL) as error:  # a header or address that cannot be sent; its text may hold the key
            raise ModelError(
                f"{self.name}: the request cannot be sent ({type(error).__name__}): check that"
                f" {self.key_variable} is one line of ASCII, and that the address is complete"
            ) from None
        except (OSError, HTTPException) as error:  # refused, reset, timed out, cut short
            raise self._connection_error(error) from None
        self.has_answered = True
        return content, is_whole

    def _read(self, response: HTTPResponse, end: float) -> bytes:
        expected, content = response.length, bytearray()
        while piece := response.read1(1 << 20):
            self._count(received=len(piece))
            content += piece
            if time.monotonic() > end:  # nobody waits for it any more
                raise TimeoutError
        if expected is not None and len(content) < expected:
            raise ConnectionError("the answer was cut short")
        return bytes(content)

    def _connection_error(self, error: OSError | HTTPException) -> _RetryableError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        advice = "check that a server runs there"
        failure = f"the connection broke ({type(reason).__name__}: {reason})"
        if isinstance(reason, TimeoutError):
            failure = f"no answer within {self.timeout:g} s"
        elif isinstance(reason, socket.gaierror):
            advice = "check the name of the host"
        elif isinstance(reason, ssl.SSLError):
            advice = "check that the server uses https, with a certificate that this machine trusts"
        silent_errors = (TimeoutError, socket.gaierror, ssl.SSLError, ConnectionRefusedError)
        return _RetryableError(failure, advice, is_silence=isinstance(reason, silent_errors))

    def _parse(self, content: bytes, is_whole: bool) -> dict[str, Any]:
        try:
            answer = decode_json(content.decode())
        except ValueError:
            begin = content.lstrip()[:1]
            if begin == b"{" and not is_whole:
                raise _RetryableError("the answer was cut short", "check that a server runs there") from None
            raise ModelError(
                f"{self.name} answered {'HTML' if begin == b'<' else 'text that is not JSON'}"
                f" ({self._redact(content.decode(errors='replace'))}): expected the address of OpenAI-style"
                " embeddings, such as api:http://127.0.0.1:8000/v1"
            ) from None
        if not isinstance(answer, dict):
            raise ModelError(f"{self.name} answered a JSON {type(answer).__name__}: expected an object with 'data'")
        usage = answer.get("usage")
        if isinstance(usage, dict) and type(usage.get("total_tokens")) is int:  # a bool is none
            self._count(tokens=usage["total_tokens"])
        return answer

    def _status_error(self, error: urllib.error.HTTPError, end: float) -> Exception:
        words = self._redact(_error_message(error, end))
        failure = f"the server answered {error.code}{words and f' ({words})'}"
        self.has_answered = True
        if error.code in BUSY:
            advice = "check that the model behind it runs"
            if error.code == 429:
                slower = model_option(concurrency="1")
                advice = f"send fewer requests at once ({slower}), wait, or check the quota of the key"
            wait = _retry_after_seconds(error.headers.get("Retry-After", ""))
            if wait is not None and wait > LONGEST_ASKED:
                return ModelError(
                    f"{self.name}: {failure}, with a wait of {wait:,.0f} s, expected at most"
                    f" {LONGEST_ASKED:g} s: run the command again later, "
                    "which resumes from the stored vectors"
                )
            return _RetryableError(failure, advice, wait=wait)
        if error.code in (401, 403):
            key_state = "is not set" if self.key is None else "was refused"
            key_option = model_option(key_env="NAME")
            advice = f"the key in {self.key_variable} {key_state}. Set it, or choose another variable with {key_option}"
        elif 300 <= error.code < 400:
            advice = f"it redirects to {self._redact(error.headers.get('Location', 'nowhere'))}: give that address"
        elif error.code == 404:
            advice = f"check that the address is complete, and that the server has {model_option(model='NAME')}"
        elif error.code == 413:
            advice = f"the request is too large: give a smaller {option('batch_size')}"
        else:
            advice = f"check that the model takes such inputs, and try a smaller {option('batch_size')}"
        return ModelError(f"{self.name}: {failure}: {advice}")

    def _redact(self, text: str) -> str:
        """Return words of a server in one short line, without the key that some echo."""
        return shortened(" ".join((text.replace(self.key, "***") if self.key else text).split()), SHOWN)


def _error_message(error: urllib.error.HTTPError, end: float) -> str:
    """Return the server's message about an error status, from the fields that servers use for it."""
    body = b""
    try:
        while piece := error.fp.read1(MOST_BYTES_OF_ERROR - len(body)):  # type: ignore[attr-defined]
            body += piece
            if time.monotonic() > end:
                return ""
    except (OSError, HTTPException):
        return ""
    content = body.decode(errors="replace")
    try:
        message = decode_json(content)
    except ValueError:
        return "" if content.lstrip().startswith("<") else content
    for name in ("error", "detail", "message"):
        if isinstance(message, dict) and name in message:
            message = message[name]
    return str(message.get("message", message) if isinstance(message, dict) else message)


def _retry_after_seconds(retry_after: str) -> float | None:
    """Return the seconds to wait that a server's Retry-After gives, None if it is not a number."""
    try:
        seconds = float(retry_after)
    except ValueError:  # absent, or a date
        return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
