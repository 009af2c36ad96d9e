"""Models behind OpenAI-style embeddings over HTTP: OpenAI, vLLM, Infinity, TEI, Jina and others. Imports no torch."""

import base64
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32
from PIL import Image

from clipbench.data.images import EncodedImage, rgb
from clipbench.data.modalities import IMAGE, JOINT, TEXT
from clipbench.errors import ModelError, UsageError, did_you_mean, model_option
from clipbench.models.adapters.http_client import Client
from clipbench.models.fingerprint import TEXTS, check_vectors, digest
from clipbench.models.options import LoadOptions, Tower
from clipbench.models.protocol import ROLES, Model, ModelInfo, Notes, Role, Vectors, in_batches, parse_role
from clipbench.untrusted.reading import decode_json, is_file, read_json, shown, user_path

ADAPTER = "api adapter 1"
"""Part of every fingerprint, changed whenever the same server would give other vectors."""

KEY_VARIABLE = "CLIPBENCH_API_KEY"
"""Environment variable of the key. It is not the variable of one provider, whose key would go to any address."""

ENDPOINT = "/embeddings"

STYLES: Mapping[Tower, tuple[str, ...]] = {
    "images": ("input", "infinity", "objects", "messages"),
    "texts": ("input", "messages"),
}
"""Forms in which servers take images and texts: data URLs, or texts, in ``input``; the same with ``modality``, as
Infinity takes them; objects with ``image``, as Jina and Voyage; a chat message for each, as vLLM.
"""

OPTIONS = ("model", "images", "texts", "template", "concurrency", "timeout", "key_env", "logit_scale", "logit_bias")

BODY = "body."
"""Prefix of options that are added to the body of each request, such as ``body.truncate=true``, or to the body of the
requests of one role, with ``query.`` or ``document.`` after it.
"""

SECONDS = 60.0
"""Default limit of an answer."""

NOISE = 1e-5
"""Fraction of a vector's length by which a server's vector of one input may vary without a note."""

NOISE_FACTOR = 10.0
"""Vectors of two roles differ if their distance is larger than this multiple of the noise."""

Block = Mapping[str, Any]
"""Fields of a request, with places for the content."""

PLACEHOLDER = re.compile(r"\{(text|image)\}")
"""Placeholder of a text, or of the data URL of an image, in a block."""

TEMPLATES: Mapping[str, Block] = {
    # As in vLLM's examples/pooling/embed/vision_embedding_online.py (dd30740): the vector is that of the last token,
    # which is another one where a turn is closed, or the tokenizer adds none.
    "qwen3-vl": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Represent the user's input."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "{image}"}},
                    {"type": "text", "text": "{text}"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": ""}]},
        ],
        "continue_final_message": True,
        "add_special_tokens": True,
    }
}

Body = Callable[[list[Any]], dict[str, Any]]
Kind = tuple[str, Role]
"""A modality, and the side of a search."""
TOWERS: Mapping[str, Tower] = {IMAGE: "images", TEXT: "texts"}


class Sample(NamedTuple):
    """The server's vector of a fixed input, encoded when the model is loaded."""

    vector: Float32[np.ndarray, " dim"]
    noise: float
    """Fraction of its length by which the vector varies between calls and within a batch."""


@dataclass(frozen=True, kw_only=True)
class ApiModel(Model):
    """A served model. Several requests run at a time, and vectors come back in the order of the inputs."""

    info: ModelInfo
    client: Client
    bodies: Mapping[Kind, Body]
    """From inputs to the body of a request."""
    request_size: Mapping[str, int]
    """Items of a modality that one request takes."""
    concurrency: int

    takes_files = True
    is_sole = True  # requests and bytes are counted in one process

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one vector per item, in order, with images sent as lossless PNG, or raise ModelError if the server
        fails.
        """
        if not inputs:
            return np.empty((0, self.info.embed_dim), np.float32)
        groups = in_batches(inputs, self.request_size[modality])
        client = self.client.for_call()

        def request(group: Sequence[Any]) -> np.ndarray:
            try:
                vectors = _request_vectors(
                    client, self.bodies[modality, role], [SENT[modality](item) for item in group]
                )
                self._check_dimension(vectors)
                return vectors
            except BaseException as error:  # here, as this thread would go on with the next group
                client.stop(error)
                raise

        pool = ThreadPoolExecutor(max_workers=min(self.concurrency, len(groups)))
        try:
            futures = [pool.submit(request, group) for group in groups]
            wait(futures, return_when=FIRST_EXCEPTION)
            if client.failure is not None:
                raise client.failure
            return np.concatenate([future.result() for future in futures])
        except BaseException as error:
            client.stop(error)  # after a failure nothing more is asked, or paid for
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def costs(self) -> Notes:
        costs = self.client.costs
        retries = f", {costs['retries']:,} of them again" if costs["retries"] else ""
        tokens = f", {costs['tokens']:,} tokens by the server's count" if costs["tokens"] else ""
        note = f"{costs['requests']:,} requests to {self.info.id} so far{retries}: {costs['sent']:,} bytes sent,"
        return (f"{note} {costs['received']:,} received{tokens}",)

    def _check_dimension(self, vectors: np.ndarray) -> None:
        if vectors.shape[1] != self.info.embed_dim:
            raise ModelError(
                f"{self.info.id} gave vectors of dimension {vectors.shape[1]}, "
                f"and {self.info.embed_dim} when it was loaded"
            )


def load(body: str, options: LoadOptions) -> ApiModel:
    """Return the model behind an address such as ``https://api.openai.com/v1``, or its whole ``.../embeddings``.

    Options: ``model``, its name on the server; ``images`` (``input``, ``infinity``, ``objects`` or ``messages``) and
    ``texts`` (``input`` or ``messages``), the form of requests; ``concurrency`` (4); ``timeout`` in seconds (60);
    ``template``, the messages of each request, by name or from a file (``read_template``); ``key_env``, the
    environment variable of the key (``CLIPBENCH_API_KEY``); ``body.NAME=VALUE``, more for each request, such as
    ``body.dimensions=256``, or ``body.ROLE.NAME=VALUE`` for each request of a role, ``query`` or ``document``;
    ``logit_scale`` and ``logit_bias``, which servers do not say.

    Raises:
        UsageError: the address or an option is wrong.
        ModelError: the server cannot be reached, refuses, or does not answer with vectors of one dimension.
        VectorError: it answers with NaN.
    """
    reference = f"api:{body}"
    reason = "which runs on a server"
    options.refuse_device(reference, reason)
    options.refuse_precision(reference, reason)
    options.refuse_unknown((*OPTIONS, *(name for name in options.options if name.startswith(BODY))), reference)
    requests = _parse_requests(options)
    concurrency, timeout = options.whole_number("concurrency"), options.number("timeout")
    if concurrency == 0:
        raise UsageError("model option concurrency=0: expected 1 or more requests at once")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"model option timeout={timeout:g}: expected a number above 0")
    concurrency = concurrency or 4
    shared = max(2, options.n_at_once // concurrency)  # a batch is shared out among the requests that run at once
    request_size = dict.fromkeys((*TOWERS, JOINT), shared) | dict.fromkeys(requests.one_by_one, 1)
    scale, bias = options.logits()
    client = Client(
        url=_endpoint_url(body, reference),
        name=reference,
        timeout=timeout or SECONDS,
        key_variable=options.options.get("key_env", KEY_VARIABLE),
    )
    samples: dict[Kind, Sample] = {}
    y, x = np.indices((64, 64))
    ramps = Image.fromarray(np.stack([x * 4, y * 4, (x + y) * 2], axis=-1).astype(np.uint8))
    fixed: dict[str, Any] = {TEXT: TEXTS[0], IMAGE: data_url(ramps), JOINT: (data_url(ramps), TEXTS[0])}
    for (modality, role), request_body in requests.bodies.items():
        if {TOWERS[component] for component in (TOWERS if modality == JOINT else [modality])} <= {*options.towers}:
            samples[modality, role] = _sample(client, request_body, fixed[modality], request_size[modality])
    dims = {
        f"{modality} as {role}" if role else modality: len(sample.vector)
        for (modality, role), sample in samples.items()
    }
    if len({*dims.values()}) != 1:
        raise ModelError(
            f"{reference} gives vectors of different dimensions"
            f" ({', '.join(f'{kind} {dim}' for kind, dim in dims.items())}): expected a model that gives one"
            " dimension, which some servers set by body.dimensions=N"
        )
    identity_options = _identity_options(options)
    templates = [f"template={name}" for name in requests.template]
    notes = ["a served model is identified only by its address, its name and the vectors of a few probes"]
    noise = max(sample.noise for sample in samples.values())
    if noise > NOISE:
        notes.append(
            f"the server's vector of one input varies by {noise:.1g} of its length from call to call: a later run may"
            " not find these vectors in the store again"
        )
    if client.key is not None and client.url.startswith("http:"):
        notes.append("the key travels unencrypted: the address begins with http:")
    info = ModelInfo(
        ref=reference,
        id=" ".join([reference, *identity_options, *templates]),
        fingerprint=digest(ADAPTER, client.url, *identity_options, *map(json.dumps, requests.template.values())),
        family="api",
        embed_dim=next(iter(dims.values())),
        logit_scale=scale,
        logit_bias=bias,
        notes=tuple(notes),
        roles={modality: requests.by_role for modality in _modalities_with_roles(samples)},
        is_joint=(JOINT, None) in samples,
    )
    return ApiModel(
        info=info,
        client=client,
        bodies=requests.bodies,
        request_size=request_size,
        concurrency=concurrency,
    )


def data_url(image: Image.Image | EncodedImage) -> str:
    """Return an image as a data URL of an RGB PNG, or a file as it is.

    Example:
        >>> data_url(Image.new("L", (1, 1)))[:32]
        'data:image/png;base64,iVBORw0KGg'
    """
    if isinstance(image, EncodedImage):
        return _base64_url(image.read(), image.media_type)
    file = io.BytesIO()
    rgb(image).save(file, "PNG")
    return _base64_url(file.getvalue(), "image/png")


def _base64_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


SENT: Mapping[str, Callable[[Any], Any]] = {
    TEXT: str,
    IMAGE: data_url,
    JOINT: lambda pair: (data_url(pair[0]), pair[1]),
}
"""From an item to what a body is made from."""


def _request_vectors(client: Client, body: Body, items: list[Any]) -> np.ndarray:
    answer = client.post(body(items))
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(record, dict) and "embedding" in record for record in data):
        raise ModelError(
            f"{client.name} answered without embeddings, {shown(answer)}: "
            "expected 'data', a list of objects with 'embedding'"
        )
    if len(data) != len(items):
        raise ModelError(f"{client.name} answered {len(data)} vectors for {len(items)} inputs: expected one per input")
    indices = [record.get("index", position) for position, record in enumerate(data)]
    if sorted(map(repr, indices)) != sorted(map(repr, range(len(items)))):
        raise ModelError(
            f"{client.name} numbered its vectors {indices!s:.60}: expected each of 0 to {len(items) - 1} once"
        )
    rows = [
        _parse_embedding(record["embedding"], client.name)
        for _, record in sorted(zip(indices, data, strict=True), key=itemgetter(0))
    ]
    lengths = sorted(map(len, rows))
    if not lengths[0] or lengths[0] != lengths[-1]:
        raise ModelError(
            f"{client.name} answered embeddings of {lengths[0]} to {lengths[-1]} numbers: expected one length above 0"
        )
    return np.stack(rows)


def _parse_embedding(embedding: object, name: str) -> Float32[np.ndarray, " dim"]:
    culprit = embedding
    with suppress(OverflowError, ValueError):
        if isinstance(embedding, str):  # some servers send base64 of little-endian float32 though floats were asked for
            return np.frombuffer(base64.b64decode(embedding), "<f4").astype(np.float32)
        if isinstance(embedding, list):
            non_numbers = [component for component in embedding if type(component) not in (int, float)]
            if not non_numbers:
                return np.array(embedding, np.float32)
            culprit = non_numbers[0]  # numpy would take true for 1 and "2" for 2
    raise ModelError(
        f"{name} answered an embedding with {shown(culprit)}: expected a list of float32 numbers, or base64 of them"
    )


def _sample(client: Client, body: Body, item: Any, size: int) -> Sample:
    """Return the vector of a fixed input, which is sent twice, and if a request takes several, also in a pair."""
    batches = [[item], [item]]
    if size > 1:
        batches.append([item, item])
    answers = [_request_vectors(client, body, batch) for batch in batches]
    for vectors in answers:
        check_vectors(vectors, client.name)
    if len({vectors.shape[1] for vectors in answers}) != 1:
        raise ModelError(f"{client.name} gave vectors of different dimensions for one input")
    first = answers[0][0]
    differences = [_difference(vector, first) for vector in np.concatenate(answers)]
    return Sample(first, max(differences))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of two vectors as a fraction of the second's length."""
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


def _identity_options(options: LoadOptions) -> list[str]:
    """Return the options that change vectors, as they are in the name of the model."""
    identity_options = []
    for name, value in sorted(options.options.items()):
        if name in ("model", *STYLES) or name.startswith(BODY):
            identity_options.append(f"{name}={value}")
    return identity_options


def _modalities_with_roles(samples: Mapping[Kind, Sample]) -> list[str]:
    """Return the modalities whose vectors depend on the role."""
    modalities = []
    for modality in (*TOWERS, JOINT):
        if any(_has_effect(samples, modality, role) for role in ROLES):
            modalities.append(modality)
    return modalities


def _has_effect(samples: Mapping[Kind, Sample], modality: str, role: Role) -> bool:
    """Return whether a role changes the vector of an input: a server may use a field only for texts."""
    plain, by_role = samples.get((modality, None)), samples.get((modality, role))
    if plain is None or by_role is None:
        return False
    return _difference(by_role.vector, plain.vector) > NOISE_FACTOR * max(by_role.noise, plain.noise, NOISE)


def _body_fields(options: LoadOptions) -> dict[Role, dict[str, Any]]:
    """Return the fields of a request body except its inputs, for each role and for no role."""
    if not options.options.get("model"):
        raise UsageError(f"api: needs the model's name on the server: {model_option(model='NAME')}")
    fields_by_role: dict[Role, dict[str, Any]] = {None: {}, "query": {}, "document": {}}
    for name, value in options.options.items():
        if name.startswith(BODY):
            role, _, field = name.removeprefix(BODY).rpartition(".")
            fields = fields_by_role[parse_role(role) if role else None]
            fields[field] = value
            with suppress(ValueError):
                fields[field] = decode_json(value)
    common: dict[str, Any] = {"model": options.options["model"], "encoding_format": "float", **fields_by_role[None]}
    return {role: {**common, **fields} for role, fields in fields_by_role.items()}


class _Requests(NamedTuple):
    """The requests that options ask for."""

    bodies: Mapping[Kind, Body]
    one_by_one: Collection[str]
    """Modalities of which a request takes one item."""
    by_role: Mapping[str, str]
    """By role, what its requests have that others have not."""
    template: Mapping[str, Mapping[Role, Block]]
    """By its name, the template, or empty without one."""


def _parse_requests(options: LoadOptions) -> _Requests:
    styles = {tower: options.options.get(tower, "input") for tower in STYLES}
    for tower, style in styles.items():
        if style not in STYLES[tower]:
            raise UsageError(f"model option {tower}={style}: {did_you_mean(style, STYLES[tower])}")
    fields, name = _body_fields(options), options.options.get("template")
    blocks = {} if name is None else read_template(name)
    if blocks and (both := [tower for tower in STYLES if tower in options.options]):
        raise UsageError(f"model option template={name} already defines how {both[0]} are sent: remove {both[0]}=")
    by_role: dict[str, str] = {}
    for name_of_role in ROLES:
        of_role = fields[name_of_role].items()
        own_fields = " ".join(f"{field}={value}" for field, value in of_role if fields[None].get(field) != value)
        if len(blocks) > 1:
            own_fields = f"block {name_of_role} of {name} {own_fields}".rstrip()
        by_role[name_of_role] = own_fields
    bodies: dict[Kind, Body] = {}
    sent_roles: list[Role] = [None]
    if any(by_role.values()):
        sent_roles += ROLES
    for role in sent_roles:
        if blocks:
            by_modality = _template_bodies(blocks.get(role, blocks[None]), fields[role])
        else:
            by_modality = _bodies(fields[role], styles)
        bodies |= {(modality, role): body for modality, body in by_modality.items()}
    one_by_one = [modality for modality, tower in TOWERS.items() if styles[tower] == "messages"]
    return _Requests(
        bodies=bodies,
        one_by_one=(*TOWERS, JOINT) if blocks else one_by_one,
        by_role=by_role,
        template={name: blocks} if name else {},
    )


def _bodies(common: Mapping[str, Any], styles: Mapping[Tower, str]) -> dict[str, Body]:
    """Return one function per modality that builds the body of a request from texts or data URLs."""
    images = {
        "input": lambda urls: {**common, "input": urls},
        "infinity": lambda urls: {**common, "input": urls, "modality": "image"},
        "objects": lambda urls: {**common, "input": [{"image": url} for url in urls]},
        "messages": lambda urls: {**common, **_user_message({"type": "image_url", "image_url": {"url": urls[0]}})},
    }
    texts = {
        "input": lambda texts: {**common, "input": texts},
        "messages": lambda texts: {**common, **_user_message({"type": "text", "text": texts[0]})},
    }
    return {IMAGE: images[styles["images"]], TEXT: texts[styles["texts"]]}


def _template_bodies(block: Block, common: Mapping[str, Any]) -> dict[str, Body]:
    """Return one function per modality that builds the body of a request from a template."""
    return {
        IMAGE: lambda urls: {**fill_template(block, {"image": urls[0]}), **common},
        TEXT: lambda texts: {**fill_template(block, {"text": texts[0]}), **common},
        JOINT: lambda pairs: {**fill_template(block, {"image": pairs[0][0], "text": pairs[0][1]}), **common},
    }


def _user_message(content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [content]}]}


def _endpoint_url(body: str, reference: str) -> str:
    parts = urlsplit(body)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"'{reference}' is not an address: expected api:URL, such as api:http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "the address of api: holds more than host and path, and would be written into results: put a key into the"
            f" environment variable {KEY_VARIABLE}"
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}{'' if path.endswith(ENDPOINT) else ENDPOINT}"


# -- messages


def read_template(source: str) -> dict[Role, Block]:
    """Return the blocks of a template by role. None has the common block, or the block for documents if roles differ.

    Args:
        source: a name, or a file with the JSON of a block, or of an object with a block for ``query`` and one for
            ``document``.

    Raises:
        UsageError: the name or file does not exist, or a block has no ``messages`` with a placeholder for text and for
            image.
    """
    option = f"model option template={source}"
    path = user_path(source)
    if source not in TEMPLATES and not is_file(path):
        raise UsageError(f"{option}: neither a file nor the name of a template: {did_you_mean(source, TEMPLATES)}")
    template = TEMPLATES.get(source) or read_json(path, UsageError, name=option)
    by_role = isinstance(template, dict) and bool(template.keys() & {*ROLES})
    blocks: dict[Role, Any] = {role: template.get(role) for role in ROLES} if by_role else {None: template}
    if by_role and template.keys() != {*ROLES}:
        raise UsageError(f"{option} has {', '.join(template)}: expected the keys {' and '.join(ROLES)}, and no other")
    for role, block in blocks.items():
        name = option if role is None else f"{option}, block {role}"
        if not isinstance(block, dict) or not isinstance(block.get("messages"), list):
            raise UsageError(
                f'{name} has no list "messages": expected an object with "messages", the list sent to the server'
            )
        missing = [f"{{{kind}}}" for kind in ("text", "image") if kind not in _placeholders(block)]
        if missing:
            raise UsageError(
                f"{name} has no placeholder for the content: expected {' and '.join(missing)} in one of its texts"
            )
    return {None: blocks["document"], **blocks} if by_role else blocks


def fill_template(value: Any, content: Mapping[str, str]) -> Any:
    """Return a block with the content in its placeholders.

    A part of a list whose only places are for an image is left out without an image, and a text that is not there is
    empty.

    Example:
        >>> fill_template([{"text": "a {text}"}, {"url": "{image}"}], {"text": "dog {image}"})
        [{'text': 'a dog {image}'}]
    """
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: content.get(match[1], ""), value)
    if isinstance(value, Mapping):
        return {name: fill_template(part, content) for name, part in value.items()}
    if isinstance(value, list):
        return [
            fill_template(part, content) for part in value if "image" in content or _placeholders(part) != {"image"}
        ]
    return value


def _placeholders(value: Any) -> set[str]:
    """Return the kinds of content that a block has placeholders for."""
    if isinstance(value, str):
        return set(PLACEHOLDER.findall(value))
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list):
        parts = value
    return set().union(*(_placeholders(part) for part in parts))
