"""Served models: vectors in order whatever the server does, and one line for each way in which it can be wrong."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipbench.checks.examination import OURS, finding
from clipbench.checks.subject import Subject
from clipbench.data.modalities import JOINT
from clipbench.errors import ClipbenchError, ModelError, UsageError, VectorError
from clipbench.models import load_model
from clipbench.models.adapters import http_client as _http_client
from clipbench.models.adapters.http_api import ApiModel, data_url, load
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.options import LoadOptions
from clipbench.testing import ToyModel
from tests import embeddings_server
from tests.clipbench.models import small_models
from tests.clipbench.models.small_models import same

TEXTS = [f"{number} cats and a dog 🐈" for number in range(40)] + ["", "word " * 300]
MODEL = {"model": "toy"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(_http_client, "GRACE", 0.2)
    monkeypatch.delenv("CLIPBENCH_API_KEY", raising=False)


@pytest.fixture
def toy() -> ToyModel:
    return ToyModel()


@pytest.fixture
def state(toy: ToyModel) -> Any:
    return embeddings_server.State(toy.encode_images, toy.encode_texts)


@pytest.fixture
def url(state: Any) -> Iterator[str]:
    with embeddings_server.serve(state) as address:
        yield address


def served(url: str, *, batch_size: int = 16, **options: str) -> ApiModel:
    return load(url, LoadOptions(batch_size=batch_size, options=MODEL | options))


# ----- the vectors


def test_vectors_are_those_of_the_model_behind_the_server(url: str, state: Any, toy: ToyModel) -> None:
    model = served(url)

    def wait_for_another(number: int) -> None:
        """Answer the first request only once a second one is there, however busy the machine is."""
        state.has_company.wait(timeout=60)

    state.fault = wait_for_another
    same(model.encode_texts(TEXTS), toy.encode_texts(TEXTS))
    same(model.encode_images(small_models.images()), toy.encode_images(small_models.images()))
    assert model.encode_texts([]).shape == (0, 32)
    assert {body["model"] for body in state.bodies} == {"toy"} and state.keys == [None] * len(state.keys)
    assert 1 < state.most_at_once <= 4


@pytest.mark.parametrize("style", ["infinity", "objects", "messages"])
def test_images_are_sent_in_the_form_that_the_server_takes(url: str, state: Any, toy: ToyModel, style: str) -> None:
    model = served(url, images=style, texts="messages" if style == "messages" else "input")

    same(model.encode_images(small_models.images()), toy.encode_images(small_models.images()))
    same(model.encode_texts(TEXTS[:3]), toy.encode_texts(TEXTS[:3]))
    (images,) = {tuple(sorted(body)) for body in state.bodies if "data:image" in json.dumps(body)}
    more = {"infinity": ["input", "modality"], "objects": ["input"], "messages": ["messages"]}[style]
    assert set(images) == {"model", "encoding_format", *more}


def test_messages_are_those_of_the_template(url: str, state: Any, toy: ToyModel, tmp_path: Path) -> None:
    """What vLLM's example sends to Qwen3-VL-Embedding: examples/pooling/embed/vision_embedding_online.py."""
    picture, text = Image.new("RGB", (8, 8), (9, 99, 9)), "a {image} of {text}"
    model = served(url, template="qwen3-vl")
    state.bodies.clear()
    vectors = [
        model.encode(name, [item]) for name, item in (("text", text), ("image", picture), (JOINT, (picture, text)))
    ]

    assert model.info.is_joint and not model.info.roles
    same(vectors[2], toy.encode_images([picture]) + toy.encode_texts([text]))
    shown = {"type": "image_url", "image_url": {"url": data_url(picture)}}
    users = [[words(text)], [shown, words("")], [shown, words(text)]]
    for body, user in zip(state.bodies, users, strict=True):
        turns = {"system": [words("Represent the user's input.")], "user": user, "assistant": [words("")]}
        assert body == {
            "model": "toy",
            "encoding_format": "float",
            "messages": [{"role": role, "content": content} for role, content in turns.items()],
            "continue_final_message": True,
            "add_special_tokens": True,
        }

    def fingerprint(instruction: str) -> str:
        (tmp_path / "mine.json").write_text(json.dumps({"messages": [instruction, "{text} {image}"]}))
        state.vectors = lambda body: [[1.0, 2.0]]
        return served(url, template=str(tmp_path / "mine.json")).info.fingerprint

    assert fingerprint("one") == fingerprint("one") != fingerprint("other")


def words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"messages": [{"role": "user", "content": "{text}"}]}', r"has no placeholder for the content: expected \{image\} in one"),
        ('{"messages": ["a", {"b": null}]}', r"has no placeholder for the content: expected \{text\} and \{image\} in one of"),
        ('["{text}", "{image}"]', 'has no list "messages": expected an object with "messages", the list'),
        ('{"query": {"messages": ["{text} {image}"]}}', "has query: expected the keys query and document, and no other"),
        ('{"query": {"messages": ["{text} {image}"]}, "document": 3}', "block document has no list \"messages\""),
        ("{", "template=.* is not JSON"),
        (None, r"neither a file nor the name of a template: did you mean 'qwen3-vl'\?"),
    ],
)  # fmt: skip
def test_a_template_that_is_none_is_refused_before_anything_is_asked(
    tmp_path: Path, content: str | None, message: str
) -> None:
    (tmp_path / "mine.json").write_text(content or "")
    text = "qwen3vl" if content is None else str(tmp_path / "mine.json")
    with pytest.raises(UsageError, match=message):
        served("http://127.0.0.1:1", template=text)
    with pytest.raises(UsageError, match=r"template=qwen3-vl already defines how texts are sent: remove texts="):
        served("http://127.0.0.1:1", template="qwen3-vl", texts="messages")


@pytest.mark.parametrize(("shift", "status"), [(0.0, "ok"), (3.0, "warning")])
def test_doctor_notices_vectors_that_are_all_alike(url: str, tmp_path: Path, shift: float, status: str) -> None:
    model = served(url)
    spread = replace(model, info=replace(model.info, embed_dim=65))
    vectors = np.hstack([np.eye(64), np.full((64, 1), shift)]).astype(np.float32)
    object.__setattr__(spread, "encode", lambda modality, items, role=None: vectors[: len(items)])
    check = next(each for each in OURS if each.name == "pairs")
    outcome = finding(check, Subject(StoreEmbedder(spread, tmp_path)))
    assert outcome.status == status
    assert ("mean cosine of 0.90" in outcome.seen and "qwen3-vl" in outcome.fix) == (status == "warning")


@pytest.mark.parametrize("name", ["busy", "broken", "dropped", "cut_short", "cut_short_without_length"])
def test_a_request_that_fails_for_a_while_is_sent_again(url: str, state: Any, toy: ToyModel, name: str) -> None:
    model = served(url)
    start = len(state.bodies)
    state.fault = lambda number: getattr(embeddings_server, name) if number <= start + 8 else None

    same(model.encode_texts(TEXTS), toy.encode_texts(TEXTS))
    assert model.client.costs["retries"] == 8 and "of them again" in model.costs()[0]


def test_a_wait_that_a_person_would_notice_is_shown_once(url: str, state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served(url)
    messages: list[str] = []
    logger = logging.getLogger(_http_client.__name__)
    monkeypatch.setattr(logger, "handle", lambda record: messages.append(record.getMessage()))
    monkeypatch.setattr(_http_client, "LONGEST_SILENT", 0.005)
    start = len(state.bodies)
    state.fault = lambda number: embeddings_server.busy if number == start + 1 else None

    model.encode_texts(["a"])

    (line,) = messages
    assert line == f"{model.info.ref}: the server answered 429 (slow down): waiting 0 s"


@pytest.mark.parametrize("name", ["reordered", "as_base64"])
def test_order_and_form_of_the_answer_do_not_matter(url: str, state: Any, toy: ToyModel, name: str) -> None:
    state.fault = lambda number: getattr(embeddings_server, name)

    same(served(url).encode_texts(TEXTS), toy.encode_texts(TEXTS))


def test_requests_and_bytes_are_counted(url: str, state: Any) -> None:
    model = served(url, batch_size=8, concurrency="1")
    before = model.client.costs.copy()
    n_bodies = len(state.bodies)

    model.encode_texts(TEXTS[:10])

    sent = sum(len(json.dumps(body).encode()) for body in state.bodies[n_bodies:])
    costs = model.client.costs - before
    assert (costs["requests"], costs["sent"]) == (2, sent)
    assert model.is_sole  # or they would be counted in several processes
    assert costs["tokens"] == 10 and costs["received"] > 0


# ----- another model behind the same address


def test_another_model_behind_the_address_has_another_fingerprint(url: str, state: Any) -> None:
    def fingerprint() -> str:
        return load_model(f"api:{url}", LoadOptions(options=MODEL)).info.fingerprint

    first, again = fingerprint(), fingerprint()
    other = ToyModel()
    state.encode_texts = lambda texts: other.encode_texts(texts)[:, ::-1]

    assert first == again != fingerprint()


def test_a_server_that_fails_in_company_is_refused(url: str, state: Any, toy: ToyModel) -> None:
    state.encode_texts = lambda texts: toy.encode_texts(texts) * (np.nan if len(texts) > 1 else 1)
    with pytest.raises(VectorError, match="zero or not finite for a fixed input"):
        served(url)


def test_noise_of_a_server_is_no_change(url: str, state: Any, toy: ToyModel) -> None:
    rng = np.random.default_rng(0)

    def noisy(texts: list[str]) -> np.ndarray:
        exact = toy.encode_texts(texts)
        return exact * (1 + 1e-3 * rng.standard_normal(exact.shape))

    state.encode_texts = noisy
    model = served(url)

    assert model.encode_texts(TEXTS).shape == (42, 32)
    assert "varies by 0.00" in model.info.notes[1]


# ----- the key


def test_the_key_is_sent_and_written_nowhere(
    url: str, state: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    model = served(url, key_env="MY_KEY")
    state.fault = lambda number: embeddings_server.unauthorized

    with pytest.raises(ModelError, match=r"answered 401 \(Incorrect API key provided: \*\*\*\): the key in") as caught:
        model.encode_texts(["a"])
    assert set(state.keys) == {"Bearer sk-secret"}
    assert "sk-secret" not in f"{caught.value!r} {model!r} {model.info!r} {model.costs()}"
    assert "unencrypted" in model.info.notes[-1]


def test_the_key_of_a_provider_goes_to_no_other_address(url: str, state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    served(url)

    assert set(state.keys) == {None}


def test_a_redirect_does_not_carry_the_key_elsewhere(url: str, state: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPBENCH_API_KEY", "sk-secret")
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/v1/embeddings"
        state.fault = lambda number: lambda handler, vectors: handler.say(302, "", Location=address)
        with pytest.raises(ModelError, match=f"it redirects to {address}: give that address"):
            served(url, timeout="2")
        with pytest.raises(BlockingIOError):  # nobody has come
            elsewhere.accept()


def test_a_key_that_cannot_be_sent_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPBENCH_API_KEY", "sk-secret\nHost: elsewhere")

    with pytest.raises(ModelError, match="CLIPBENCH_API_KEY is one line of ASCII") as caught:
        served(url)
    assert "secret" not in str(caught.value)


# ----- what is refused


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("html", ModelError, r"answered HTML \(<!doctype html><title>Welcome</title>\): expected the address"),
        ("fewer", ModelError, "answered 0 vectors for 1 inputs: expected one per input"),
        ("not_a_number", VectorError, "zero or not finite"),
        ("unauthorized", ModelError, "answered 401 .*the key in CLIPBENCH_API_KEY is not set"),
        ("redirected", ModelError, "answered 302: it redirects to http://127.0.0.1:9/elsewhere: give that address"),
        ("numbered_twice", ModelError, "answered 2 vectors for 1 inputs"),
        ("silent", ModelError, "no answer within 0.2 s: check that a server runs there"),
        ("dripping", ModelError, "no answer within 0.2 s"),
        ("dripping_headers", ModelError, "no answer within 0.2 s"),
        ("whole_and_wrong", ModelError, r"answered text that is not JSON \(.*\): expected the address"),
        ("booleans", ModelError, "answered an embedding with True: expected a list of float32 numbers, or base64 of them"),
        ("texts", ModelError, "answered an embedding with '0.5': expected"),
        ("without_data", ModelError, r"answered without embeddings, \{'embeddings': \[.*: expected 'data', a list"),
        ("numbered_in_texts", ModelError, r"numbered its vectors \['0'\]: expected each of 0 to 0 once"),
        ("dripping_refusal", ModelError, "the server answered 400: check that the model takes such inputs"),
        ("refusal_in_pieces", ModelError, r"the server answered 400 \(no image\): check that the model takes such inputs"),
        ("broken", ModelError, "the server answered 503 after 8 tries: check that the model behind it runs"),
        ("out_of_quota", ModelError, r"answered 429 \(slow down\) after 8 tries: send fewer requests at once \(model_options={'conc"),
        ("endless_wait", ModelError, r"answered 429 \(slow down\), with a wait of inf s, expected at most 120 s"),
        ("wrong_wait", ModelError, "the server answered 429 .* after 8 tries"),
        ("large_numbers", ModelError, r"answered an embedding with \[1000"),
    ],
)  # fmt: skip
def test_a_server_that_is_wrong_from_the_start_is_refused(
    url: str,
    state: Any,
    name: str,
    error: type[ClipbenchError],
    message: str,
) -> None:
    state.fault = lambda number: getattr(embeddings_server, name)

    with pytest.raises(error, match=message) as caught:
        served(url, timeout="0.2" if name.startswith(("silent", "dripping")) else "60")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "towers", "message"),
    [
        ({}, ("images", "texts"), r"\((text 32, image 31|image 32, text 31)\): expected a model that gives one"),
        ({"body.query.input_type": "query"}, ("texts",), r"\(text 32, text as query 31, text as document 31\)"),
    ],
)  # fmt: skip
def test_vectors_of_different_dimensions_are_refused(
    url: str, state: Any, toy: ToyModel, options: dict[str, str], towers: Any, message: str
) -> None:
    state.encode_texts = lambda texts, *role: toy.encode_texts(texts)
    state.fault = lambda number: embeddings_server.shorter if number > 3 else None  # the first kind takes three
    with pytest.raises(ModelError, match=f"gives vectors of different dimensions {message}"):
        load(url, LoadOptions(options=MODEL | options, towers=towers))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shorter", "gave vectors of dimension 31, and 32 when it was loaded"),
        ("ragged", r"answered embeddings of \d+ to 32 numbers: expected one length above 0"),
        ("fewer", r"answered \d vectors for \d inputs"),
        ("numbered_twice", r"numbered its vectors \[0, 0, .*: expected each of 0 to \d once"),
    ],
)  # fmt: skip
def test_a_server_that_goes_wrong_later_is_refused(url: str, state: Any, name: str, message: str) -> None:
    model = served(url)
    state.fault = lambda number: getattr(embeddings_server, name)

    with pytest.raises(ModelError, match=message):
        model.encode_texts(TEXTS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9", "the connection broke .*check that a server runs there"),
        ("http://no.such.host.invalid", "the connection broke .*check the name of the host"),
        ("https://HOST", "the connection broke .*check that the server uses https"),
        ("http://HOST/a b", "the request cannot be sent .*the address is complete"),
    ],
)
def test_a_wrong_address_is_said_at_once(url: str, monkeypatch: pytest.MonkeyPatch, address: str, message: str) -> None:
    def looked_up(host: str, *more: Any, **options: Any) -> Any:  # without a network, this may take seconds
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *more, **options)

    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)

    with pytest.raises(ModelError, match=message):
        served(address.replace("HOST", url.removeprefix("http://").removesuffix("/v1")))
    assert not waits, "what will not fix itself is not tried again"


def test_after_a_failure_nothing_more_is_asked(url: str, state: Any) -> None:
    model = served(url, batch_size=8, concurrency="4")
    start, asked_to_wait = len(state.bodies), threading.Event()

    def wait_long(handler: Any, vectors: list[list[float]]) -> None:
        handler.say(429, "slow down", Retry_After="0.3")
        asked_to_wait.set()

    def refuse(handler: Any, vectors: list[list[float]]) -> None:
        asked_to_wait.wait(600)
        handler.say(400, "no")

    state.fault = lambda number: refuse if number == start + 1 else wait_long
    with pytest.raises(ModelError, match="the server answered 400"):
        model.encode_texts(TEXTS)
    time.sleep(0.1)  # what was on its way arrives
    n_asked = len(state.bodies)
    time.sleep(0.4)
    assert len(state.bodies) == n_asked
    state.fault = lambda number: None
    assert len(model.encode_texts(TEXTS)) == len(TEXTS), "the next call asks again"
