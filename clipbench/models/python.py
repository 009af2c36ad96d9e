"""Any object with ``encode_images`` and ``encode_texts``, made by a function of the user's own."""

import contextlib
import importlib
import inspect
import operator
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.decoding import rgb
from clipbench.errors import FOREIGN, ClipbenchError, ModelError, NoTokenCounts, UsageError, cause, is_machines
from clipbench.models._fingerprint import digest
from clipbench.models.internals import Internals
from clipbench.models.probes import coarse_digest, encode_probes, exact_digest
from clipbench.models.protocol import LoadOptions, ModelInfo

METHODS = ("encode_images", "encode_texts")

T = TypeVar("T")


@runtime_checkable
class Encoders(Protocol):
    """Interface of the user's object; it may also have logit_scale, logit_bias, context_length and fingerprint.

    Another method is optional: ``count_tokens(texts: list[str])``, the number of tokens that each text takes before any
    is cut off, start and end among them.
    """

    def encode_images(self, images: list[Image.Image]) -> object:
        """Return vectors of shape (n, d) for RGB images, as a numpy array or a torch tensor."""

    def encode_texts(self, texts: list[str]) -> object:
        """Return vectors of shape (n, d) for texts, of the same d."""


@dataclass(frozen=True, kw_only=True)
class PythonModel:
    """The user's object as a model: it gets batches, and each of its results is checked."""

    info: ModelInfo
    encoders: Encoders
    batch_size: int

    def encode_images(self, images: Sequence[Image.Image]) -> Float32[np.ndarray, "n_images dim"]:
        """Return one vector an image, in order; the user's method gets them as RGB, a batch at a time."""
        rgb_images = [rgb(image) for image in images]
        return self._vectors("encode_images", self.encoders.encode_images, rgb_images)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "n_texts dim"]:
        """Return one vector a text, in order; the user's method gets a batch at a time."""
        return self._vectors("encode_texts", self.encoders.encode_texts, list(texts))

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return the token counts of the user's ``count_tokens``.

        Raises:
            NoTokenCounts: the object has no such method.
            ModelError: it failed, or gave no whole number a text.
        """
        count = getattr(self.encoders, "count_tokens", None)
        if not callable(count):
            raise NoTokenCounts(
                f"{self.info.id} does not say how many tokens a text takes: give the object count_tokens(texts), the"
                " number of tokens of each text before any is cut off, start and end among them"
            )
        return _whole_numbers(f"{self.info.id}: count_tokens", count, list(texts))

    def internals(self) -> Internals:
        """Return the parts that the user's object shows by a method of this name, as ``torch_model`` does."""
        shown = getattr(self.encoders, "internals", None)
        parts = shown() if callable(shown) else None
        return parts if isinstance(parts, Internals) else Internals()

    def _vectors(self, name: str, encode: Callable[[list[T]], object], items: list[T]) -> np.ndarray:
        out = np.empty((len(items), self.info.embed_dim), np.float32)
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            out[start : start + len(batch)] = _encoded(f"{self.info.id}: {name}", encode, batch, self.info.embed_dim)
        return out


def load(body: str, options: LoadOptions) -> PythonModel:
    """Return the object that ``MODULE:FACTORY`` returns; the module may lie in the current folder.

    The factory is called with all ``--model-option key=value`` pairs, the values as text.

    Raises:
        UsageError: no such module or factory, an option that it does not take, or a setting that it must choose itself.
        ModelError: the user's code failed, or its object is no dual encoder.
    """
    reference = f"python:{body}"
    options.refuse_arch(reference)
    _refuse_settings(options, reference)
    factory = _factory(body, reference)
    encoders = _call_factory(factory, options, reference)
    info = _info(encoders, reference, "", ())  # first: it finds what is wrong with a method
    given = getattr(encoders, "fingerprint", None)
    if given is None:
        fingerprint, notes = _fingerprint_of_source(factory, encoders, options, reference)
    else:
        fingerprint, notes = str(given), ()
    info = replace(info, fingerprint=fingerprint, notes=notes)
    return PythonModel(info=info, encoders=encoders, batch_size=options.n_at_once)


def _refuse_settings(options: LoadOptions, reference: str) -> None:
    given = {"--device": (options.device, "auto"), "--precision": (options.precision, "fp32")}
    for flag, (value, default) in given.items():
        if value != default:
            name = flag.removeprefix("--")
            raise UsageError(
                f"{flag} {value} does not reach {reference}, which chooses its own: drop it, or give it to the factory"
                f" as --model-option {name}={value}"
            )


def _factory(body: str, reference: str) -> Callable[..., object]:
    module_name, colon, factory_name = body.partition(":")
    if not (colon and module_name and factory_name):
        raise UsageError(f"'{reference}' is incomplete: expected python:MODULE:FACTORY, such as python:my_model:load")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):  # it, or its package
            raise UsageError(
                f"no module '{module_name}' for {reference}: expected {module_name}.py in {os.getcwd()}, or installed"
            ) from error
        raise _fault(f"{reference}: importing {module_name}", error) from error
    except FOREIGN as error:
        raise _fault(f"{reference}: importing {module_name}", error) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        found = "nothing" if factory is None else f"an object of type {type(factory).__name__}"
        raise UsageError(f"{reference}: module {module_name} has {found} under '{factory_name}': expected a function")
    return cast(Callable[..., object], factory)


def _call_factory(factory: Callable[..., object], options: LoadOptions, reference: str) -> Encoders:
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
        made = factory(**options.options)
    except FOREIGN as error:
        raise _fault(f"{reference}: the factory", error) from error
    return _checked(made, f"{reference} made")


def wrap(made: object, name: str, *, batch_size: int) -> PythonModel:
    """Return an object in memory as a model. Without a ``fingerprint``, its vectors must not be kept for another run.

    Raises:
        ModelError: it has not both methods, one of them fails, or what it gives are no vectors of one dimension.
    """
    encoders = _checked(made, "got")
    fingerprint = getattr(encoders, "fingerprint", None)
    notes = () if fingerprint is not None else ("measured in memory, without a fingerprint: no vector was stored",)
    # Weights may change between two runs, and nothing from outside would show it: each has an identity of its own.
    identity = uuid.uuid4().hex if fingerprint is None else digest("object 1", name, str(fingerprint))
    model = PythonModel(info=_info(encoders, name, identity, notes), encoders=encoders, batch_size=batch_size)
    if fingerprint is None:
        return model
    probes = encode_probes(model.encode_images, model.encode_texts)
    return replace(model, info=replace(model.info, fingerprint=digest(identity, coarse_digest(probes))))


def _checked(made: object, what: str) -> Encoders:
    for name in METHODS:
        if not callable(getattr(made, name, None)):
            raise ModelError(
                f"{what} an object of type {type(made).__name__} without {name}(...): expected {' and '.join(METHODS)}"
            )
    return cast(Encoders, made)


def _info(encoders: Encoders, reference: str, fingerprint: str, notes: tuple[str, ...]) -> ModelInfo:
    image = _encoded(
        f"{reference}: encode_images", encoders.encode_images, [Image.new("RGB", (64, 64), (128, 128, 128))]
    )
    embed_dim = image.shape[1]
    _encoded(f"{reference}: encode_texts", encoders.encode_texts, ["a photo"], embed_dim)
    context_length = getattr(encoders, "context_length", None)
    if context_length is not None:
        try:
            context_length = operator.index(context_length)  # numpy's numbers too
        except TypeError as error:
            raise ModelError(
                f"{reference}: context_length is {context_length!r}: expected a whole number of tokens"
            ) from error
    return ModelInfo(
        ref=reference,
        id=reference,
        fingerprint=fingerprint,
        family=f"python/{type(encoders).__name__}",
        embed_dim=embed_dim,
        context_length=context_length,
        image_size=None,
        logit_scale=_number(encoders, "logit_scale", reference),
        logit_bias=_number(encoders, "logit_bias", reference) or 0.0,
        n_parameters=None,
        notes=notes,
    )


def _fingerprint_of_source(
    factory: Callable[..., object], encoders: Encoders, options: LoadOptions, reference: str
) -> tuple[str, tuple[str, ...]]:
    """Return a hash of the code, of what it was called with, and of the vectors that a few probes have."""
    images = f"{reference}: encode_images", encoders.encode_images
    texts = f"{reference}: encode_texts", encoders.encode_texts
    files = _source_files(factory, module_name=reference.split(":")[1])
    code = [path.read_bytes().decode(errors="backslashreplace") for path in files]  # in any encoding
    note = (
        f"fingerprint from {' and '.join(path.name for path in files) or 'the name'}, the factory's options and the vectors"
        " of a few probes: where these differ from call to call, give the object a 'fingerprint', or all is encoded again"
    )
    probes = exact_digest(encode_probes(partial(_encoded, *images), partial(_encoded, *texts)))
    return digest("python 2", reference, *code, sorted(options.options.items()), probes), (note,)


def _source_files(factory: Callable[..., object], module_name: str) -> list[Path]:
    """Return the module that was asked for, and where the factory comes from if that is another."""
    found = {getattr(sys.modules[module_name], "__file__", None)}
    with contextlib.suppress(TypeError):  # a partial or an object has no source file of its own
        found.add(inspect.getsourcefile(inspect.unwrap(factory)))
    return sorted(Path(name) for name in found if name is not None and name.endswith(".py"))


def _number(encoders: Encoders, name: str, reference: str) -> float | None:
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


def _encoded(what: str, encode: Callable[[list[T]], object], batch: list[T], dim: int | None = None) -> np.ndarray:
    """Return what a method of the user's gave for a batch, as float32 of the right shape."""
    try:
        given = encode(batch)
    except ClipbenchError:
        raise
    except FOREIGN as error:
        raise _fault(what, error) from error
    vectors = _as_floats(given, what)
    if (
        vectors.ndim != 2
        or len(vectors) != len(batch)
        or vectors.shape[1] != (dim or vectors.shape[1])
        or not vectors.size
    ):
        raise ModelError(f"{what} gave shape {vectors.shape} for {len(batch)}: expected ({len(batch)}, {dim or 'd'})")
    return vectors


def _whole_numbers(what: str, count: Callable[[list[str]], object], texts: list[str]) -> Int64[np.ndarray, " n_texts"]:
    """Return what a method of the user's counted, one whole number a text."""
    try:
        found = np.asarray(count(texts))
    except ClipbenchError:
        raise
    except FOREIGN as error:
        raise _fault(what, error) from error
    is_whole = found.size == 0 or (found.dtype.kind in "iu" and found.min() >= 0)
    if found.shape != (len(texts),) or not is_whole:
        raise ModelError(
            f"{what} gave {found.tolist()!r:.60} for {len(texts)} texts: expected one whole number for each"
        )
    return found.astype(np.int64)


def _as_floats(given: object, what: str) -> np.ndarray:
    """Return an array or a tensor, wherever and in whatever precision it is, as float32."""
    for step in ("detach", "cpu", "float"):  # a torch tensor may need gradients, a GPU and bfloat16 taken off it
        if hasattr(given, step):
            given = getattr(given, step)()
    try:
        return np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{what} gave an object of type {type(given).__name__}: expected an array of numbers, (n, d)"
        ) from error


def _fault(what: str, error: BaseException) -> ModelError:
    advice = "" if is_machines(error) else ": see its traceback (--traceback)"
    return ModelError(f"{what} failed ({cause(error)}){advice}")
