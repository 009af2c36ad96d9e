"""An object of the user's own that lives in another interpreter, whose packages need not go with those here.

Its process is handed ``interpreter_child.py``, is called over pipes, and ends with this one.
"""

import io
import os
import select
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from clipbench.errors import ModelError, UsageError, model_option, on_command_line
from clipbench.models.adapters import interpreter_child
from clipbench.models.adapters.interpreter_child import Broken, read_message, write_message
from clipbench.models.options import LoadOptions
from clipbench.models.protocol import Role
from clipbench.untrusted.reading import decode_array, decode_json, shortened

OPTIONS = ("interpreter", "timeout")
SECONDS = 600.0
"""Default time limit of an answer, which includes loading the model."""
MOST_BYTES = 1 << 28
"""Bytes of a frame of an answer."""
MOST_SHOWN = 300
"""Characters of an error, and of standard error, that are shown."""
HAS_GROUPS = hasattr(os, "killpg")
"""True if processes form groups here, and pipes can be waited for: not on Windows."""
SECONDS_BETWEEN_LOOKS = 0.2
"""Seconds of silence after which a process is looked at: has it ended?"""
Answer = tuple[dict[str, Any], list[np.ndarray]]
"""A message of the other interpreter, and the arrays that go with it."""
NAMED = ("python", "numpy", "torch", "transformers")
"""Versions that are reported, all of them part of the fingerprint."""


def load_remote(
    module: str, factory: str, options: LoadOptions, reference: str
) -> tuple[object, Mapping[str, str], Mapping[str, str], str]:
    """Return an object that a factory creates in another interpreter, with the attributes and methods that it has
    there, the sources of its module, the versions of its packages, and a note.

    Raises:
        UsageError: it is not a Python with numpy and Pillow.
        ModelError: the module or the factory does not exist, or the user's code failed.
    """
    factory_options = {name: value for name, value in options.options.items() if name not in OPTIONS}
    process = _Process(options.options["interpreter"], reference, options.number("timeout") or SECONDS)
    description, _ = process.ask("the factory", {"module": module, "factory": factory, "options": factory_options})
    methods = {
        name: staticmethod(_remote_method(process, name, takes_role))
        for name, takes_role in description["methods"].items()
    }
    encoders = type(description["class"], (), {**description["values"], **methods})()
    versions = ", ".join(f"{name} {description['versions'][name]}" for name in NAMED if name in description["versions"])
    return encoders, description["sources"], description["versions"], f"runs in another interpreter ({versions})"


def _remote_method(process: "_Process", name: str, takes_role: bool) -> Callable[..., np.ndarray]:
    """Return a method of the object: it takes ``role`` where that one does."""

    def call(*lists: Any, **keywords: Role) -> np.ndarray:
        arrays: list[np.ndarray] = []
        batches = [lists] if name == "combine_prompts" else lists
        packed = []
        for batch in batches:
            packed.append([_pack_item(item, arrays, process.reference) for item in batch])
        _, output_arrays = process.ask(name, {"call": name, "lists": packed, **keywords}, arrays)
        return output_arrays[0]

    def call_with_role(*lists: Any, role: Role = None) -> np.ndarray:
        return call(*lists, role=role)

    return call_with_role if takes_role else call


def _pack_item(item: object, arrays: list[np.ndarray], reference: str) -> Any:
    """Return an item as JSON has it, and add pixels and numbers to the arrays."""
    if isinstance(item, str):
        return item
    if isinstance(item, os.PathLike):
        return {"path": os.fspath(item)}
    is_image = isinstance(item, Image.Image)
    array = np.asarray(item) if is_image else item
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        raise ModelError(
            f"{reference}: an item of type {type(item).__name__} cannot be passed to another interpreter:"
            " expected a text, an image, an array of numbers or a path"
        )
    arrays.append(array)
    return {"is_image": is_image}


class _ProcessOutput(io.RawIOBase):
    """The output of a process, until it has ended: a process that it started may hold the pipe open for longer."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process, self._pipe = process, cast(Any, process.stdout).fileno()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        has_ended = False
        while not select.select([self._pipe], [], [], 0 if has_ended else SECONDS_BETWEEN_LOOKS)[0]:
            if has_ended:
                return 0
            has_ended = self._process.poll() is not None  # it may have written in between: looked at once more
        return os.readv(self._pipe, [buffer])


class _Process:
    """The other interpreter, which waits for calls, and ends with this object or this process."""

    def __init__(self, interpreter: str, reference: str, seconds: float) -> None:
        self.reference, self._seconds = reference, seconds
        self._lock = threading.Lock()
        self._stderr_file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        weakref.finalize(self, self._stderr_file.close)
        self._is_late = False
        self._end = ""
        source = Path(interpreter_child.__file__).read_bytes()
        begin = f"import sys; exec(sys.stdin.buffer.read({len(source)}))"  # short: what is no Python may show it
        # These would bring packages of this interpreter into the other.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                [os.path.expanduser(interpreter), "-c", begin],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr_file,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process
            )
            self._answers = io.BufferedReader(_ProcessOutput(self._process)) if HAS_GROUPS else self._process.stdout
            weakref.finalize(self, _close, self._process)
            with suppress(OSError):  # where it has ended already, the answer is that
                cast(Any, self._process.stdin).write(source)
                cast(Any, self._process.stdin).flush()
            self._answer(None, ())
        except (Broken, OSError) as error:
            raise UsageError(
                f"model option interpreter={interpreter}: {error}: expected a Python with numpy and pillow, "
                "such as .venv/bin/python"
            ) from error

    def ask(self, callee: str, message: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> Answer:
        """Return the answer to a message, or raise ModelError, which names the callee."""
        try:
            answer, result_arrays = self._answer(message, arrays)
        except Broken as error:
            raise ModelError(f"{self.reference}: {callee}: {error}") from error
        if "failed" in answer:
            failed = shortened(" ".join(answer["failed"].split()), MOST_SHOWN)
            advice = on_command_line(": see its traceback (--traceback)")
            behind = RuntimeError(answer["traceback"])
            raise ModelError(f"{self.reference}: {callee} failed ({failed}){advice}{self._stderr_tail()}") from behind
        return answer, result_arrays

    def _answer(self, message: Mapping[str, Any] | None, arrays: Sequence[np.ndarray]) -> Answer:
        """Return the answer to a message, or the first message of the process. Raise Broken with the reason if it
        fails.
        """
        stdin, answers = cast(Any, self._process.stdin), cast(Any, self._answers)
        with self._lock:
            if self._end:
                raise Broken(self._end)
            timer = threading.Timer(self._seconds, self._give_up)
            timer.daemon = True
            timer.start()
            try:
                if message is not None:
                    write_message(stdin, message, arrays)
                answer, files = read_message(answers, partial(decode_json, is_text=False), MOST_BYTES)
                return answer, [decode_array(file) for file in files]
            except (Broken, OSError, ValueError) as error:
                sent = str(error) if isinstance(error, Broken | ValueError) else ""
                self._end = self._failure(sent) + self._stderr_tail()
                raise Broken(self._end) from error
            except BaseException:  # Ctrl-C: the answer that still comes must not be taken for that to the next call
                self._end = "the call before was interrupted"
                _close(self._process)
                raise
            finally:
                timer.cancel()

    def _give_up(self) -> None:
        self._is_late = True
        _kill(self._process)

    def _failure(self, sent: str) -> str:
        """End the process, and return the reason for the missing answer."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if sent else 1)
        status = self._process.poll()
        _close(self._process)
        if self._is_late:
            return f"no answer within {self._seconds:g} s: {model_option(timeout='SECONDS')} allows more"
        if sent or status is None:
            return f"the other interpreter sent {sent or 'no more data'}"
        ended = f"ended with status {status}" if status >= 0 else f"was killed ({signal.strsignal(-status)})"
        return f"the other interpreter {ended}"

    def _stderr_tail(self) -> str:
        """Return the last lines of the process on standard error."""
        self._stderr_file.seek(max(0, self._stderr_file.seek(0, os.SEEK_END) - 4 * MOST_SHOWN))
        lines = self._stderr_file.read().decode(errors="replace").splitlines()
        words = " | ".join(line.strip() for line in lines[-3:] if line.strip())
        return f". Its output ends with: {words[-MOST_SHOWN:]}" if words else ""


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and its children, which may have outlived it."""
    with suppress(OSError):
        if HAS_GROUPS:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _close(process: "subprocess.Popen[bytes]") -> None:
    if cast(Any, process.stdin).closed:  # its number may be another's by now
        return
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            cast(Any, pipe).close()
