"""Any object with ``encode_images`` and ``encode_texts``, or with encoders of other modalities, made by a function of
the user's own.
"""

import inspect
import operator
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from PIL import Image

from clipbench.data.images import rgb
from clipbench.data.modalities import IMAGE, JOINT, NAME, TEXT
from clipbench.errors import (
    FOREIGN,
    ClipbenchError,
    ModelError,
    NoTokenCounts,
    Unavailable,
    UsageError,
    error_summary,
    is_machine_error,
    model_option,
    on_command_line,
    option,
)
from clipbench.models.adapters.found_parts import found_parts
from clipbench.models.adapters.interpreter import OPTIONS, load_remote
from clipbench.models.adapters.interpreter_child import as_floats, module_of, similarity_of, sources_of, takes_role
from clipbench.models.encoding.embedder import StoreEmbedder
from clipbench.models.fingerprint import TEXTS, Probes, array_digest, coarse_digest, digest, probe_images
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import (
    COSINE,
    ROLES,
    TOWERS,
    Embedder,
    Internals,
    Model,
    ModelInfo,
    Notes,
    Role,
    RoleTexts,
    TokenCounts,
    Vectors,
    encode_in_batches,
)

USUAL = {IMAGE: "encode_images", TEXT: "encode_texts"}
METHODS = tuple(USUAL.values())
ENCODE = "encode_"
"""Beginning of the name of a method that encodes a modality, such as ``encode_audio``."""
NO_ENCODERS = frozenset(
    {"image", "text", "pixels", "tokens", "query", "queries", "document", "documents", "corpus", "joint"}
)
"""Ends of the names of methods of usual libraries that begin so and encode no modality of their own."""
ROLE_METHODS: Mapping[Role, str] = {"query": "encode_queries", "document": "encode_documents"}
"""Methods that encode texts by their role, where an object has both."""

T = TypeVar("T")


@runtime_checkable
class Encoders(Protocol):
    """The user's object: it has encoders of two modalities, in general ``encode_images`` and ``encode_texts``.

    ``encode_images(images: list[PIL.Image.Image])`` returns vectors of shape (n, d) for RGB images. A method of another
    name, such as ``encode_audio(items)``, encodes a modality of that name. A method that takes ``role`` gets the side
    of a search, ``query``, ``document`` or None. Texts may have ``encode_queries`` and ``encode_documents`` instead, of
    which the second stands for a missing ``encode_texts``. ``encode_joint(images, texts)`` encodes images with a text
    each. Optional are logit_scale, logit_bias, context_length, fingerprint, embed_dim (needed of an object that encodes
    neither images nor texts), and ``count_tokens(texts: list[str])``, the number of tokens that each text takes before
    any is cut off, start and end among them.
    """

    def encode_texts(self, texts: list[str]) -> object:
        """Return vectors of shape (n, d) for texts, as a numpy array or a torch tensor."""


@dataclass(frozen=True, kw_only=True)
class PythonModel(Model):
    """The user's object as a model: it gets batches, and each of its results is checked."""

    info: ModelInfo
    encoders: object
    batch_size: int

    @property
    def modalities(self) -> list[str]:  # type: ignore[override]  # of the object as it is now
        """The names of the modalities that the user's object has encoders of."""
        return modalities_of(self.encoders)

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one vector per item, in order. The user's method gets one batch at a time, images as RGB."""
        name = method_name(self.encoders, modality, role)
        encode = encoder_of(self.encoders, modality, role)
        if encode is None:
            raise Unavailable(f"model {self.info.id} has no {name}: it encodes {' and '.join(self.modalities)}")
        items: list[Any] = [rgb(image) for image in inputs] if modality == IMAGE else list(inputs)
        if modality == JOINT:
            items = [(rgb(image), text) for image, text in items]
        dim = self.info.embed_dim
        encode_batch = lambda batch: _encode_batch(f"{self.info.id}: {name}", encode, batch, dim)
        return encode_in_batches(encode_batch, items, self.batch_size, dim)

    def combine(self, vectors: Vectors) -> np.ndarray | None:
        """Return the output of the user's ``combine_prompts`` for the prompts of a class, or None without that
        method.
        """
        combine = getattr(self.encoders, "combine_prompts", None)
        if not callable(combine):
            return None
        label = f"{self.info.id}: combine_prompts"
        encode = lambda batch: _as_floats(combine(batch[0]), label)[None]
        return _encode_batch(label, encode, [vectors], self.info.embed_dim)[0]

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        """Return the user's token counts, or raise ModelError if it does not give one integer per text."""
        count = getattr(self.encoders, "count_tokens", None)
        if not callable(count):
            raise NoTokenCounts(
                f"{self.info.id} does not say how many tokens a text takes: add a method count_tokens(texts) that"
                " returns the number of tokens of each text before truncation, with start and end"
            )
        return _count_tokens(f"{self.info.id}: count_tokens", count, list(texts))

    def internals(self) -> Internals:
        """Return the parts that the user's object shows by a method of this name, as ``torch_model`` does.

        Without the method, those are shown that are attributes of the object (``found_parts``). A method
        ``open_image(data: bytes)`` is its way to open a file, whatever else the object shows.
        """
        get_internals = getattr(self.encoders, "internals", None)
        parts = get_internals() if callable(get_internals) else found_parts(self.encoders)
        parts = parts if isinstance(parts, Internals) else Internals()
        open_image = getattr(self.encoders, "open_image", None)
        return replace(parts, open_image=open_image) if callable(open_image) else parts


def load(body: str, options: LoadOptions) -> PythonModel:
    """Return the object that ``MODULE:FACTORY`` or ``FILE.py:FACTORY`` returns, also from the current folder.

    The factory is called with all ``--model-option key=value`` pairs, the values as text, except two that are used
    here: ``interpreter``, the Python that makes the object and runs its methods, and with it ``timeout``, the seconds
    that one answer may take (600).

    Raises:
        UsageError: no such module or factory, an option that it does not take, or a setting that it must choose itself.
        ModelError: the user's code failed, or its object is not a dual encoder.
    """
    reference = f"python:{body}"
    for name, value, default in (("device", options.device, "auto"), ("precision", options.precision, "fp32")):
        if value != default:
            raise UsageError(
                f"{option(name, value)} has no effect on {reference}, which chooses its own {name}: remove it, or"
                f" pass it to the factory as {model_option(**{name: value})}"
            )
    module_name, _, factory_name = body.rpartition(":")
    if not (module_name and factory_name):
        raise UsageError(f"'{reference}' is incomplete: expected python:MODULE:FACTORY, such as python:my_model:load")
    versions: Mapping[str, str] = {}
    if "interpreter" in options.options:
        encoders, sources, versions, *note = load_remote(module_name, factory_name, options, reference)
        options = replace(options, options={k: v for k, v in options.options.items() if k not in OPTIONS})
    else:
        module, factory = _import_factory(module_name, factory_name, reference)
        encoders, sources, note = _call_factory(factory, options, reference), sources_of(module, factory), []
    _check_encoders(encoders, f"{reference} made")
    info = _model_info(encoders, reference, "", ())  # first: it finds what is wrong with a method
    declared, notes = getattr(encoders, "fingerprint", None), list(note)
    fingerprint = str(declared)
    if declared is None:
        # Of every bit of the probes' vectors: other weights always show, and so may other threads.
        probes = digest(*map(array_digest, _probes(reference, encoders, info.embed_dim)))
        fingerprint = digest("python 2", reference, *sources.values(), sorted(options.options.items()), probes)
        source = " and ".join(os.path.basename(path) for path in sources) or "the name"
        notes.insert(
            0,
            f"fingerprint from {source}, the factory's options and the vectors of a few probes: if these"
            " differ from call to call, give the object a 'fingerprint', or everything is encoded again",
        )
    if versions:
        fingerprint = digest("interpreter 1", fingerprint, sorted(versions.items()))
    info = replace(info, fingerprint=fingerprint, notes=tuple(notes))
    return PythonModel(info=info, encoders=encoders, batch_size=options.n_at_once)


def _import_factory(module_name: str, factory_name: str, reference: str) -> tuple[object, Callable[..., object]]:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = module_of(module_name)
    except FOREIGN as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):  # it, or its package
            raise UsageError(
                f"no module '{module_name}' for {reference}: expected {module_name}.py in {os.getcwd()}, or installed"
            ) from error
        raise _call_error(f"{reference}: importing {module_name}", error) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        attribute = "nothing" if factory is None else f"an object of type {type(factory).__name__}"
        raise UsageError(
            f"{reference}: module {module_name} has {attribute} under '{factory_name}': expected a function"
        )
    return module, cast(Callable[..., object], factory)


def _call_factory(factory: Callable[..., object], options: LoadOptions, reference: str) -> object:
    try:
        inspect.signature(factory).bind(**options.options)
    except ValueError:
        pass  # some callables written in C have no signature
    except TypeError as error:
        raise UsageError(
            f"{reference} cannot be called with options {', '.join(options.options) or 'none'} ({error}):"
            f" it takes {inspect.signature(factory)}"
        ) from error
    try:
        return factory(**options.options)
    except FOREIGN as error:
        raise _call_error(f"{reference}: the factory", error) from error


def wrap(encoders: object, name: str, *, batch_size: int) -> PythonModel:
    """Return an object in memory as a model. Without a ``fingerprint``, its vectors must not be kept for another run.

    Raises:
        ModelError: it has no encoders of two modalities, one of them fails, or its outputs are not vectors of one
            dimension.
    """
    _check_encoders(encoders, "got")
    fingerprint = getattr(encoders, "fingerprint", None)
    notes = () if fingerprint is not None else ("measured in memory, without a fingerprint: no vector was stored",)
    # Weights may change between two runs, and nothing from outside would show it: each has an identity of its own.
    compared = similarity_of(encoders)
    parts = () if compared == COSINE else (compared,)
    identity = uuid.uuid4().hex if fingerprint is None else digest("object 1", name, str(fingerprint), *parts)
    model = PythonModel(info=_model_info(encoders, name, identity, notes), encoders=encoders, batch_size=batch_size)
    if fingerprint is None:
        return model
    probes = _probes(model.info.ref, encoders, model.info.embed_dim)
    return replace(model, info=replace(model.info, fingerprint=digest(identity, coarse_digest(probes))))


def embedder_of(
    model: object, root: Path, own_root: Path, *, batch_size: int, workers: int | None, show_progress: bool
) -> Embedder:
    """Return a model in memory as an embedder.

    Args:
        root: the store of models that have a fingerprint.
        own_root: a temporary store for only this model.

    Raises:
        ModelError: it is not a model: neither vectors nor an object with both methods.
    """
    if isinstance(model, type):
        raise ModelError(f"got the class {model.__name__}: expected an object of it, {model.__name__}(...)")
    if isinstance(model, Embedder):
        return model
    if not isinstance(model, Model):
        methods = [name for names in TOWERS for name in names if callable(getattr(model, name, None))]
        if methods:
            raise ModelError(
                f"got an object of type {type(model).__name__} with {' and '.join(methods)}: expected"
                " encode_images, which takes a list of PIL images, and encode_texts, which takes a list of"
                " strings. If its methods take tensors, wrap it with its preprocessing and tokenizer:"
                " clipbench.torch_model(net, preprocess, tokenizer)"
            )
        is_stored = getattr(model, "fingerprint", None) is not None
        name = getattr(model, "name", None)
        model = wrap(model, name if isinstance(name, str) else type(model).__name__, batch_size=batch_size)
        root = root if is_stored else own_root
    return StoreEmbedder(model, root, batch_size=batch_size, workers=workers, show_progress=show_progress)


def _check_encoders(encoders: object, prefix: str) -> None:
    missing = next((method for name, method in USUAL.items() if encoder_of(encoders, name) is None), None)
    if missing is not None and len(modalities_of(encoders)) < 2:
        raise ModelError(
            f"{prefix} an object of type {type(encoders).__name__} without {missing}(...): expected"
            f" {' and '.join(METHODS)}, or encoders of two modalities, such as encode_audio and encode_texts"
        )


def method_name(encoders: object, modality: str, role: Role = None) -> str:
    """Return the name of the method that encodes items of a modality in a role."""
    if modality == JOINT:
        return f"{ENCODE}joint"
    default_method = USUAL.get(modality, f"{ENCODE}{modality}")
    if modality != TEXT or not all(callable(getattr(encoders, name, None)) for name in ROLE_METHODS.values()):
        return default_method
    if role is None:
        return default_method if callable(getattr(encoders, default_method, None)) else ROLE_METHODS["document"]
    return ROLE_METHODS[role]


def encoder_of(encoders: object, modality: str, role: Role = None) -> Callable[[list[Any]], object] | None:
    """Return a function that encodes a list of items of a modality in a role, or None if the object has none."""
    method = getattr(encoders, method_name(encoders, modality, role), None)
    if not callable(method):
        return None
    encode = partial(method, role=role) if takes_role(method) else method
    return (lambda pairs: encode(*map(list, zip(*pairs, strict=True)))) if modality == JOINT else encode


def roles_of(encoders: object) -> RoleTexts:
    """Return how an object encodes each modality by role, without modalities that ignore the role.

    Example:
        >>> from types import SimpleNamespace
        >>> roles_of(SimpleNamespace(encode_images=lambda images: 0, encode_texts=lambda texts, role: 0))
        {'text': {'query': "encode_texts(role='query')", 'document': "encode_texts(role='document')"}}
    """
    roles: RoleTexts = {}
    for modality in (*modalities_of(encoders), JOINT):
        names: dict[str, str] = {role: method_name(encoders, modality, role) for role in ROLES}
        calls: dict[str, str] = {}
        for role, name in names.items():
            calls[role] = f"{name}(role='{role}')" if takes_role(getattr(encoders, name, len)) else name
        depends_on_role = len(set(calls.values())) > 1
        if depends_on_role:
            roles[modality] = calls
    return roles


def modalities_of(encoders: object) -> list[str]:
    """Return the names of the modalities that an object can encode, images and texts first.

    Example:
        >>> from types import SimpleNamespace
        >>> modalities_of(SimpleNamespace(encode_audio=len, encode_texts=len, encode_tokens=len))
        ['text', 'audio']
    """
    usual = [name for name in USUAL if encoder_of(encoders, name) is not None]
    names = [name.removeprefix(ENCODE) for name in dir(encoders) if name.startswith(ENCODE) and name not in METHODS]
    custom = [name for name in names if NAME.fullmatch(name) and name not in NO_ENCODERS]
    return [*usual, *(name for name in custom if encoder_of(encoders, name) is not None)]


def _model_info(encoders: object, reference: str, fingerprint: str, notes: Notes) -> ModelInfo:
    embed_dim = _embed_dim(encoders, reference)
    context_length = getattr(encoders, "context_length", None)
    try:
        context_length = None if context_length is None else operator.index(context_length)  # numpy's numbers too
    except TypeError as error:
        raise ModelError(
            f"{reference}: context_length is {context_length!r}: expected an integer number of tokens"
        ) from error
    return ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=fingerprint,
        family=f"python/{type(encoders).__name__}",
        embed_dim=embed_dim,
        context_length=context_length,
        logit_scale=_number(encoders, "logit_scale", reference),
        logit_bias=_number(encoders, "logit_bias", reference) or 0.0,
        notes=notes,
        roles=roles_of(encoders),
        is_joint=encoder_of(encoders, JOINT) is not None,
        similarity=similarity_of(encoders),
    )


def _embed_dim(encoders: object, reference: str) -> int:
    """Return the dimension of the vectors of a test image and text, or ``embed_dim`` if the object encodes neither."""
    inputs: dict[str, list[Any]] = {IMAGE: [Image.new("RGB", (64, 64), (128, 128, 128))], TEXT: ["a photo"]}
    embed_dim: int | None = None
    for modality, batch in inputs.items():
        method = encoder_of(encoders, modality)
        if method is not None:
            embed_dim = _encode_batch(
                f"{reference}: {method_name(encoders, modality)}", method, batch, embed_dim
            ).shape[1]
    if embed_dim is not None:
        return embed_dim
    stated = getattr(encoders, "embed_dim", None)
    if not isinstance(stated, int | np.integer) or stated < 1:
        raise ModelError(
            f"{reference}: embed_dim is {stated!r:.60}: expected the dimension of the vectors, which an"
            " object without encode_images and encode_texts must provide"
        )
    return int(stated)


def _probes(reference: str, encoders: object, embed_dim: int) -> Probes:
    """Return the vectors of the probes, or empty arrays for modalities without an encoder."""
    vectors = []
    for modality, batch in ((IMAGE, probe_images()), (TEXT, list(TEXTS))):
        method, label = encoder_of(encoders, modality), f"{reference}: {method_name(encoders, modality)}"
        none = np.empty((0, embed_dim), np.float32)
        vectors.append(none if method is None else _encode_batch(label, method, batch, embed_dim))
    return Probes(*vectors)


def _number(encoders: object, name: str, reference: str) -> float | None:
    value = getattr(encoders, name, None)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{reference}: {name} is {value!r}: expected a number") from error
    if not np.isfinite(number) or (name == "logit_scale" and number <= 0):
        raise ModelError(
            f"{reference}: {name} is {number}: expected a finite number{' above 0' * (name == 'logit_scale')}"
        )
    return number


def _call_method(label: str, method: Callable[[list[T]], object], batch: list[T]) -> object:
    try:
        return method(batch)
    except ClipbenchError:
        raise
    except FOREIGN as error:
        raise _call_error(label, error) from error


def _encode_batch(
    label: str, encode: Callable[[list[T]], object], batch: list[T], dim: int | None = None
) -> np.ndarray:
    vectors = _as_floats(_call_method(label, encode, batch), label)
    is_right = vectors.ndim == 2 and len(vectors) == len(batch) and vectors.shape[1] == (dim or vectors.shape[1])
    if not is_right or not vectors.size:
        raise ModelError(
            f"{label} gave shape {vectors.shape} for a batch of {len(batch)}: expected ({len(batch)}, {dim or 'd'})"
        )
    return vectors


def _count_tokens(label: str, count: Callable[[list[str]], object], texts: list[str]) -> TokenCounts:
    counts = np.asarray(_call_method(label, lambda batch: np.asarray(count(batch)), texts))
    is_whole = counts.size == 0 or (counts.dtype.kind in "iu" and counts.min() >= 0)
    if counts.shape != (len(texts),) or not is_whole:
        raise ModelError(f"{label} gave {counts.tolist()!r:.60} for {len(texts)} texts: expected one integer per text")
    return counts.astype(np.int64)


def _as_floats(output: object, label: str) -> np.ndarray:
    try:
        return as_floats(output)
    except TypeError as error:
        reason = "" if error.__cause__ is None else f" ({error_summary(error.__cause__)})"
        raise ModelError(f"{label} {error}{reason}") from error


def _call_error(label: str, error: BaseException) -> ModelError:
    advice = "" if is_machine_error(error) else f": see its traceback{on_command_line(' (--traceback)')}"
    return ModelError(f"{label} failed ({error_summary(error)}){advice}")
