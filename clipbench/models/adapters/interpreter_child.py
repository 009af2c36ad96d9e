"""Runs an object of the user's own in another interpreter, and answers calls of its methods over pipes.

The source is handed to that interpreter, which has numpy and Pillow and no clipbench: so nothing of clipbench is
imported, and the syntax is limited to Python 3.8. A message is a frame of JSON, then one with an ``.npy`` file for each
array that goes with it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import json
import os
import queue
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

MAGIC = b"clipbench pipe 1"
HEAD = struct.Struct(f"<{len(MAGIC)}sQ")
"""Before each frame: the magic, and how many bytes follow."""
MOST_BYTES = 1 << 30
"""Bytes of a frame."""
VALUES = ("logit_scale", "logit_bias", "context_length", "fingerprint", "embed_dim")
METHODS = ("count_tokens", "combine_prompts")
"""Methods of an object in addition to its encoders."""


# -- messages


class Broken(Exception):
    """Bytes that do not form a message, described by the text, which is empty at the end of the input."""


def write_message(pipe: BinaryIO, message: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Send a JSON object and the arrays that it speaks of, or raise ValueError for an array of Python objects."""
    frames = [json.dumps({**message, "n_arrays": len(arrays)}).encode()]
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        frames.append(file.getvalue())
    for frame in frames:
        pipe.write(HEAD.pack(MAGIC, len(frame)))
        pipe.write(frame)
    pipe.flush()


def read_message(
    pipe: BinaryIO, parse: Callable[[str], Any] = json.loads, most: int = MOST_BYTES
) -> tuple[dict[str, Any], list[bytes]]:
    """Return a JSON object and the ``.npy`` files that go with it, or raise Broken."""
    content = _frame(pipe, most)
    try:
        message = parse(content.decode())
        array_numbers = range(message["n_arrays"])
    except (ValueError, TypeError, KeyError) as error:
        raise Broken(f"{len(content):,} bytes that are not a message") from error
    return message, [_frame(pipe, most) for _ in array_numbers]


def _frame(pipe: BinaryIO, most: int) -> bytes:
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        raise Broken
    magic, n_bytes = HEAD.unpack(head)
    if magic != MAGIC or n_bytes > most:
        raise Broken(f"{magic!r} where a frame begins" if magic != MAGIC else f"a frame of {n_bytes:,} bytes")
    content = pipe.read(n_bytes)
    if len(content) < n_bytes:
        raise Broken
    return content


# -- objects, in any interpreter


def module_of(name: str) -> Any:
    """Return the module of a name, or of a ``.py`` file, which may import its neighbours."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = os.path.abspath(os.path.expanduser(name))
    spec = importlib.util.spec_from_file_location(f"model_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None, name  # the suffix has a loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[spec.name] = module  # before it runs: dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def sources_of(module: Any, factory: Callable[..., object]) -> dict[str, str]:
    """Return the code that made an object, by the path of its file."""
    files = {getattr(module, "__file__", None)}
    with contextlib.suppress(TypeError):  # a partial or an object has no source file of its own
        files.add(inspect.getsourcefile(inspect.unwrap(factory)))
    paths = sorted(Path(name) for name in files if name is not None and name.endswith(".py"))
    return {str(path): path.read_bytes().decode(errors="backslashreplace") for path in paths}  # in any encoding


def takes_role(method: Callable[..., object]) -> bool:
    """Return whether a method has a parameter for the side of a search."""
    try:
        return "role" in inspect.signature(method).parameters
    except ValueError:  # some callables written in C have no signature
        return False


def similarity_of(encoders: object) -> Any:
    """Return the similarity that an object declares. A method of that name is ignored, because it declares nothing."""
    similarity = getattr(encoders, "similarity", "cosine")
    return "cosine" if callable(similarity) else similarity


def as_floats(output: Any) -> np.ndarray:
    """Return an array or a tensor of any device and precision as a new array of float32, or raise TypeError for others.

    It is a copy, because a model may give all its batches in the same memory.
    """
    kind = f"{type(output).__name__} of {output.dtype}" if hasattr(output, "dtype") else type(output).__name__
    message = f"gave an object of type {kind}: expected an array of real numbers, (n, d)"
    if "complex" in kind or isinstance(output, np.ma.MaskedArray):  # numpy and torch drop an imaginary part or a mask
        raise TypeError(message)
    try:
        for step in ("detach", "cpu", "float"):  # a torch tensor may need gradients, a GPU and bfloat16 taken off it
            if hasattr(output, step):
                output = getattr(output, step)()
        return np.asarray(output, dtype=np.float32).copy()
    except (Exception, SystemExit) as error:  # of a meta tensor NotImplementedError
        raise TypeError(message) from error


# -- in the other interpreter


def main() -> None:
    """Answer the messages of standard input until it ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the object prints must not come between frames
    messages: Any = queue.Queue()

    def take() -> None:
        try:
            while True:
                messages.put(read_message(requests))
        finally:
            os._exit(0)  # the parent is gone: nobody waits for what is computed now

    threading.Thread(target=take, daemon=True).start()
    write_message(answers, {"ready": True})
    encoders: Any = None
    while True:
        message, files = messages.get()
        try:
            if encoders is None:
                encoders, answer = _make_object(**message)
                arrays = []
            else:
                answer, arrays = {}, [_call_method(encoders, message, iter(files))]
        except (Exception, SystemExit) as error:  # noqa: BLE001  of the user's code
            cause = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
            answer, arrays = {"failed": cause, "traceback": traceback.format_exc()}, []
        sys.stdout.flush()
        sys.stderr.flush()
        write_message(answers, answer, arrays)


def _make_object(module: str, factory: str, options: dict[str, str], n_arrays: int) -> tuple[object, dict[str, Any]]:
    """Return the object that a factory creates, and a description of it."""
    sys.path.insert(0, os.getcwd())
    imported = module_of(module)
    function = getattr(imported, factory)
    encoders = function(**options)
    values = {name: _json_value(getattr(encoders, name)) for name in VALUES if hasattr(encoders, name)}
    names = [name for name in dir(encoders) if name.startswith("encode_") or name in METHODS]
    methods = {name: getattr(encoders, name) for name in names}
    versions = {"python": sys.version.split()[0]}
    for name, package in sorted(sys.modules.items()):
        version = getattr(package, "__version__", None) if "." not in name else None
        if version:
            versions[name] = str(version)
    return encoders, {
        "class": type(encoders).__name__,
        "values": {**values, "similarity": _json_value(similarity_of(encoders))},
        "methods": {name: takes_role(method) for name, method in methods.items() if callable(method)},
        "sources": sources_of(imported, function),
        "versions": versions,
    }


def _json_value(value: Any) -> Any:
    """Return a value as JSON: the number in an array or a tensor, and text for other objects."""
    value = value.item() if hasattr(value, "item") else value
    is_json = value is None or isinstance(value, (str, int)) or (isinstance(value, float) and np.isfinite(value))
    return value if is_json else repr(value)


def _call_method(encoders: object, message: dict[str, Any], files: Iterator[bytes]) -> np.ndarray:
    name, keywords = message["call"], {}
    if "role" in message:
        keywords["role"] = message["role"]
    lists = []
    for batch in message["lists"]:
        lists.append([_unpack_item(packed, files) for packed in batch])
    arguments = lists[0] if name == "combine_prompts" else lists
    output = getattr(encoders, name)(*arguments, **keywords)
    return np.asarray(output) if name == "count_tokens" else as_floats(output)


def _unpack_item(packed: Any, files: Iterator[bytes]) -> Any:
    if isinstance(packed, str):
        return packed
    if "path" in packed:
        return Path(packed["path"])
    array = np.load(io.BytesIO(next(files)), allow_pickle=False)
    return Image.fromarray(array) if packed["is_image"] else array


if __name__ == "__main__":
    main()
