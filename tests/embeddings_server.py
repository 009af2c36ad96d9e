"""A server of OpenAI-style embeddings on the loopback address, which misbehaves as it is told. Needs no network."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Answer = Callable[["Handler", list[list[float]]], None]
"""Answers a request, whose vectors are given, in a way of its own."""


@dataclass
class State:
    """The model behind a server, what it does to requests, and what it was asked."""

    encode_images: Callable[..., np.ndarray]
    encode_texts: Callable[..., np.ndarray]
    """From images or texts, with the ``input_type`` of a request that has one."""
    fault: Callable[[int], Answer | None] = lambda number: None
    """From the number of a request, from 1 on, to the way it is answered; None answers well."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    n_at_once: int = 0
    most_at_once: int = 0
    has_company: threading.Event = field(default_factory=threading.Event)
    """Set once two requests were there at once."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def vectors(self, body: dict[str, Any]) -> list[list[float]]:
        """Return the vectors of a request in the order of its inputs."""
        if "messages" in body:
            parts = next(text["content"] for text in body["messages"] if text["role"] == "user")
            inputs = [part["image_url"]["url"] if part["type"] == "image_url" else part["text"] for part in parts]
            if len(inputs) > 1:  # an empty text says nothing
                requests = [
                    {**body, "messages": [{"role": "user", "content": [part]}]}
                    for part in parts
                    if part.get("text") != ""
                ]
                return [list(np.sum([self.vectors(text)[0] for text in requests], axis=0))]
        else:
            inputs = [text["image"] if isinstance(text, dict) else text for text in body["input"]]
        role = [body["input_type"]] if "input_type" in body else []
        if all(text.startswith("data:image/") for text in inputs):
            files = [io.BytesIO(base64.b64decode(text.partition(",")[2])) for text in inputs]
            return self.encode_images([Image.open(file) for file in files], *role).tolist()
        return self.encode_texts(inputs, *role).tolist()


class Handler(BaseHTTPRequestHandler):
    """Answers POST requests by the server's state."""

    state: State

    def do_POST(self) -> None:
        state = self.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append(body)
            state.keys.append(self.headers.get("Authorization"))
            number = len(state.bodies)
            state.n_at_once += 1
            state.most_at_once = max(state.most_at_once, state.n_at_once)
            if state.n_at_once > 1:
                state.has_company.set()
        try:
            vectors = state.vectors(body)
            answer = state.fault(number)
            if answer is None:
                self.embeddings(vectors)
            else:
                answer(self, vectors)
        finally:
            with state.lock:
                state.n_at_once -= 1

    def embeddings(self, vectors: list[Any], *, order: Sequence[int] | None = None) -> None:
        """Answer vectors as OpenAI does, in another order if one is given."""
        order_of_vectors = range(len(vectors)) if order is None else order
        data = [{"object": "embedding", "index": index, "embedding": vectors[index]} for index in order_of_vectors]
        self.say(200, json.dumps({"data": data, "usage": {"total_tokens": len(vectors)}}))

    def say(
        self, status: int, content: str, *, kind: str = "application/json", promised: int = 0, **headers: str
    ) -> None:
        """Answer a text; with ``promised`` the header says that so many more bytes follow."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content.encode()) + promised))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(state: State, port: int = 0) -> Iterator[str]:
    """Yield the address of a server, such as ``http://127.0.0.1:4711/v1``, that ends with the block; port 0 takes a
    free one.
    """
    handler = type("OwnHandler", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


# ----- ways to misbehave


def busy(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(429, json.dumps({"error": {"message": "slow down"}}), Retry_After="0.01")


def broken(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(503, "<html>upstream</html>", kind="text/html")


def dropped(handler: Handler, vectors: list[list[float]]) -> None:
    handler.close_connection = True
    handler.connection.close()


def cut_short(handler: Handler, vectors: list[list[float]]) -> None:
    handler.close_connection = True
    handler.say(200, '{"data": [{"index": 0, "embed', promised=500)


def cut_short_without_length(handler: Handler, vectors: list[list[float]]) -> None:
    handler.close_connection = True
    handler.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n{"data": [{"index": 0, "embed')


def whole_and_wrong(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(200, '{"data": [1,}')


def reordered(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings(vectors, order=list(reversed(range(len(vectors)))))


def as_base64(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings([base64.b64encode(np.array(vector, "<f4").tobytes()).decode() for vector in vectors])


def html(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(200, "<!doctype html><title>Welcome</title>", kind="text/html")


def fewer(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings(vectors[:-1])


def shorter(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings([vector[:-1] for vector in vectors])


def ragged(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings(
        [vector[: len(vector) - index] for index, vector in enumerate([*vectors, *vectors])][: len(vectors)]
    )


def not_a_number(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings([[float("nan")] * len(vector) for vector in vectors])


def booleans(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings([[True, *vector[1:]] for vector in vectors])


def without_data(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(200, json.dumps({"embeddings": vectors}))


def texts(handler: Handler, vectors: list[list[float]]) -> None:
    handler.embeddings([["0.5", *vector[1:]] for vector in vectors])


def numbered_in_texts(handler: Handler, vectors: list[list[float]]) -> None:
    data = [{"index": str(index), "embedding": vector} for index, vector in enumerate(vectors)]
    handler.say(200, json.dumps({"data": data}))


def numbered_twice(handler: Handler, vectors: list[list[float]]) -> None:
    data = [{"index": 0, "embedding": vector} for vector in vectors]
    handler.say(200, json.dumps({"data": [*data, *data][: max(2, len(vectors))]}))


def unauthorized(handler: Handler, vectors: list[list[float]]) -> None:
    key = (handler.headers.get("Authorization") or "nothing").removeprefix("Bearer ")
    handler.say(401, json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}))


def redirected(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(302, "", Location="http://127.0.0.1:9/elsewhere")


def silent(handler: Handler, vectors: list[list[float]]) -> None:
    time.sleep(30)


def dripping(handler: Handler, vectors: list[list[float]], status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    with suppress(OSError):  # the client hangs up
        for _ in range(600):
            time.sleep(0.05)
            handler.wfile.write(b" ")


def dripping_headers(handler: Handler, vectors: list[list[float]]) -> None:
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(40):
            threading.Event().wait(0.05)  # of time.sleep a later test may keep account
            handler.wfile.write(b"X")


def dripping_refusal(handler: Handler, vectors: list[list[float]]) -> None:
    dripping(handler, vectors, 400)


def refusal_in_pieces(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(400, '{"error": "no', promised=8)
    time.sleep(0.05)
    handler.wfile.write(b' image"}')


def out_of_quota(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(429, "slow down", Retry_After="0")


def endless_wait(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(429, "slow down", Retry_After="inf")


def wrong_wait(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(429, "slow down", Retry_After="nan")


def large_numbers(handler: Handler, vectors: list[list[float]]) -> None:
    handler.say(200, json.dumps({"data": [{"index": index, "embedding": [10**400]} for index in range(len(vectors))]}))
