"""User errors as exceptions, each with a message of one clear line.

A message says what failed, what was got, what was expected and what to do. The command line prints it and exits with
the status of its class. --traceback shows the rest. An error that ends a single evaluation does not end the run: the
evaluation is marked unavailable or failed, and the run exits with 3.

    ClipbenchError            bad usage or bad input                             exit 2
    ├── UsageError            an argument, option or reference is wrong
    │   ├── MachineError      a full disk, a missing permission, a killed process
    │   ├── UnknownSplit      the data has splits, and not the one that is asked for
    │   └── NotComparable     two results must not be compared                   exit 3
    ├── ModelError            a model cannot be built or does not fit
    │   └── NoTokenCounts     it cannot say how many tokens a text takes
    ├── DataError             a data set is malformed, empty or unreadable
    │   ├── BadImage          one image cannot be decoded
    │   └── MissingPart       the data set lacks labels, captions, ... that a task needs
    ├── VectorError           a NaN, infinite or zero vector
    ├── PluginFault           the code of a plug-in raised
    └── Unavailable           weights or data that could not be fetched          exit 3
"""

import errno
import inspect
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from types import NoneType, UnionType
from typing import Any, ParamSpec, SupportsFloat, SupportsIndex, TypeVar, get_args, get_origin

P = ParamSpec("P")
T = TypeVar("T")

RESUME = "encoded vectors are stored, and the same command resumes from there"
"""Advice after an interruption of whatever encodes."""
MOST_CHARACTERS = 2_000
"""Characters of an error's text: names and values of the user's own in it may be of any length."""


class ClipbenchError(Exception):
    """An error that the user can fix, with a text of one line."""

    def __str__(self) -> str:
        text = " ".join(super().__str__().splitlines())
        half = MOST_CHARACTERS // 2
        return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


class UsageError(ClipbenchError):
    """An argument, option, name or reference is wrong."""


class MachineError(UsageError):
    """The machine does not let the work go on: a full or read-only disk, a missing permission, a process that was
    killed.

    It ends the whole run and not only an evaluation, as it says nothing of the model or the data: once it is fixed, the
    same command goes on.
    """


class UnknownSplit(UsageError):
    """Data has splits, and not the one that is asked for."""

    def __init__(self, source: object, split: str, names: Iterable[str]) -> None:
        has = ", ".join(names) or "none"
        super().__init__(f"{source} has no split '{split}': it has {has}. Choose one with {data_option(split='NAME')}")


class NotComparable(UsageError):
    """Two results whose numbers must not be compared."""


class NotMeasured(ClipbenchError):
    """A model that could not be measured, so that there is nothing to read or compare."""


class ModelError(ClipbenchError):
    """A model cannot be built from its files or options, or does not fit them."""


class NoTokenCounts(ModelError):
    """A model cannot count the tokens of a text. Metrics that depend on the count are undefined, with this reason."""


class DataError(ClipbenchError):
    """A data set is malformed, empty or unreadable."""


class BadImage(DataError):
    """One image that cannot be decoded."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(
            f"cannot read image {name}: {cause}. Replace it, or run with {option('on_bad_image', 'skip')} to"
            " leave it out with a note"
        )
        self.name = name
        self.cause = cause

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        # Unpickling calls the class with args, which hold the message, and a worker process does not know its reader.
        return BadImage, (self.name, self.cause)


class MissingPart(DataError):
    """A task needs a part that the data set lacks."""

    def __init__(self, dataset: str, part: str, advice: str = "") -> None:
        super().__init__(f"the task needs {part.replace('_', ' ')}, and data set {dataset} has none{advice}")
        self.part = part


class VectorError(ClipbenchError):
    """A model gave a NaN, infinite or zero vector, which has no direction to compare."""


class PluginFault(ClipbenchError):
    """The code of a plug-in raised."""


class LeftOutWarning(UserWarning):
    """A plug-in is left out, or a field of a result that a later clipbench wrote."""


class Unavailable(ClipbenchError):
    """Weights or data that are not on this machine and could not be fetched."""


KINDS: Mapping[str, type[ClipbenchError]] = {
    error_type.__name__: error_type
    for error_type in (ClipbenchError, UsageError, ModelError, DataError, VectorError, Unavailable)
}
"""Classes that take only a message, by name: a result keeps the name."""


def error_kind(error: ClipbenchError) -> str:
    """Return the name of the class in ``KINDS`` that an error is of.

    Example:
        >>> error_kind(BadImage("a.png", "it is empty"))
        'DataError'
    """
    return next(parent.__name__ for parent in type(error).__mro__ if parent.__name__ in KINDS)


class _MessageReader:
    is_at_command_line = False
    model_kind = "model"


@contextmanager
def for_command_line() -> Iterator[None]:
    """Have messages name command-line flags while a command runs, instead of Python's keywords.

    It holds for the whole process and not for a context: images are read and servers are asked in threads too.
    """
    before, _MessageReader.is_at_command_line = _MessageReader.is_at_command_line, True
    try:
        yield
    finally:
        _MessageReader.is_at_command_line = before


@contextmanager
def for_model_of(kind: str) -> Iterator[None]:
    """Have messages name the options of another model, such as ``--against-option``, while it is loaded."""
    before, _MessageReader.model_kind = _MessageReader.model_kind, kind
    try:
        yield
    finally:
        _MessageReader.model_kind = before


def on_command_line(text: str) -> str:
    """Return words that make sense only on the command line, and nothing for a reader in Python."""
    return text if _MessageReader.is_at_command_line else ""


def option(name: str, value: object = None) -> str:
    """Return an option as the reader of a message writes it.

    Args:
        name: the keyword of the functions, such as ``"allow_partial"``.
        value: value of the option, True for a switch. None gives only the name of the option.

    Example:
        >>> option("out"), option("device", "cpu"), option("allow_partial", True)
        ('out', "device='cpu'", 'allow_partial=True')
        >>> with for_command_line():
        ...     option("out"), option("device", "cpu"), option("allow_partial", True)
        ('--out', '--device cpu', '--allow-partial')
    """
    if _MessageReader.is_at_command_line:
        flag = f"--{name.replace('_', '-')}"
        return flag if value is None or value is True else f"{flag} {value}"
    if value is None:
        return name
    written = value if isinstance(value, int | float) else str(value)
    return f"{name}={written!r}"


def data_option(**entry: object) -> str:
    """Return an option of the data as the reader of a message writes it.

    Example:
        >>> data_option(split="NAME")
        "data_options={'split': 'NAME'}"
    """
    return _entry("data", entry)


def model_option(**entry: object) -> str:
    """Return an option of the model as the reader of a message writes it."""
    return _entry(_MessageReader.model_kind, entry)


def _entry(kind: str, entry: Mapping[str, object]) -> str:
    ((name, value),) = entry.items()
    return f"--{kind}-option {name}={value}" if _MessageReader.is_at_command_line else f"{kind}_options={entry}"


FOREIGN = (Exception, SystemExit)
"""Errors that the code of a model, a task or a plug-in may end with: it may call ``sys.exit``."""

STOP_SIGNALS = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
"""Signals that ask a program to end: Ctrl-C, a scheduler, and a terminal that closes."""
MACHINE = {
    getattr(errno, f"E{name}", None)
    for name in ["NOSPC", "DQUOT", "FBIG", "ACCES", "PERM", "ROFS", "IO", "MFILE", "NFILE", "NOMEM", "NAMETOOLONG"]
}
"""Errors of the system that no code is to blame for: a full or read-only disk, a missing permission, no memory."""


def error_summary(error: BaseException) -> str:
    """Return in one line why the code of others failed.

    Example:
        >>> error_summary(ZeroDivisionError("division by zero"))
        'ZeroDivisionError: division by zero'
        >>> error_summary(SystemExit(0))
        'it called sys.exit(0)'
        >>> error_summary(OSError(errno.ENOSPC, "No space left on device", "runs/a"))
        'No space left on device: runs/a'
    """
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    if package := missing_package(error):
        return f"the package {package} is not installed: install clipbench with all its dependencies"
    if is_machine_error(error):
        name = getattr(error, "filename", None)
        text = getattr(error, "strerror", None) or "out of memory"
        return text if name is None else f"{text}: {name}"
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")


def bug_summary(error: BaseException, whose: str) -> str:
    """Return in one line why code failed, and that it is to blame, unless the machine is.

    Example:
        >>> bug_summary(KeyError("a"), "the task")
        "KeyError: 'a' (a bug in the task)"
    """
    is_to_blame = not is_machine_error(error) and missing_package(error) is None
    return (
        f"{error_summary(error)} (a bug in {whose}{on_command_line(': --traceback shows where')})"
        if is_to_blame
        else error_summary(error)
    )


MODULES = {"PIL": "pillow", "google": "protobuf", "google.protobuf": "protobuf", "sklearn": "scikit-learn"}
"""Packages by their modules, where these do not bear the name of the package or its first words."""


def missing_package(error: BaseException) -> str | None:
    """Return the package of clipbench's own dependencies that an import did not find, or None for any other error.

    Example:
        >>> missing_package(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
        'torch'
        >>> missing_package(ModuleNotFoundError("No module named 'open_clip'", name="open_clip"))
        'open-clip-torch'
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    from importlib.metadata import requires

    # A package that is not there cannot say which modules it has.
    name = MODULES.get(error.name) or error.name.partition(".")[0].replace("_", "-")
    needed = [
        re.split(r"[^\w-]", requirement)[0]
        for requirement in requires("clipbench") or ()
        if "extra ==" not in requirement
    ]
    return next((package for package in needed if f"{package}-".startswith(f"{name}-")), None)


def is_machine_error(error: BaseException) -> bool:
    """Return whether an error comes from the machine, such as a full disk, whatever code met it."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in MACHINE)


def did_you_mean(word: str, known_names: Iterable[str]) -> str:
    """Return a hint for an unknown name: the three nearest names, or six known names if none is near.

    A name is near if it resembles the word, wholly or after its last slash.

    Example:
        >>> did_you_mean("zero_shot", ["zero-shot", "retrieval"])
        "did you mean 'zero-shot'?"
        >>> did_you_mean("tyni", ["Tiny", "small"])
        "did you mean 'Tiny'?"
        >>> did_you_mean("acc9", ["zero-shot@birds/acc1", "zero-shot@birds/acc5", "retrieval@birds/mrr"])
        "did you mean 'zero-shot@birds/acc5' or 'zero-shot@birds/acc1'?"
        >>> did_you_mean("ACC1", ["acc1", "zero-shot@birds/acc1"])
        "did you mean 'acc1'?"
        >>> did_you_mean("xyz", ["b", "a"])
        'known: a, b'
    """
    names = sorted(known_names)
    by_folded = {name.casefold().rpartition("/")[2]: name for name in names}
    by_folded |= {name.casefold(): name for name in names}
    folded = word.casefold()
    swapped = [name for name in by_folded if sorted(name) == sorted(folded)]  # letters in another order, as in "tyni"
    nearest = swapped or get_close_matches(folded, by_folded, n=3, cutoff=0.6)
    if nearest:
        choices = "' or '".join(dict.fromkeys(by_folded[match] for match in nearest))
        return f"did you mean '{choices}'?"
    return f"known: {shorten_list(names)}"


def shorten_list(names: Sequence[str]) -> str:
    """Return up to six names in words, with the number of all if there are more.

    Example:
        >>> shorten_list("abcdefg")
        'a, b, c, d, e, f, ... (7 in all)'
    """
    return ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "") or "none"


def with_checked_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that raises UsageError for a missing, unknown or mistyped argument, with a suggestion.

    Example:
        >>> with_checked_arguments(option)("device", valve="cpu")
        Traceback (most recent call last):
            ...
        clipbench.errors.UsageError: option(): no argument 'valve': did you mean 'value'?
        >>> with_checked_arguments(option)()
        Traceback (most recent call last):
            ...
        clipbench.errors.UsageError: option(): missing a required argument: 'name'. Expected option(name=..., value=...)
        >>> with_checked_arguments(option)(3)
        Traceback (most recent call last):
            ...
        clipbench.errors.UsageError: option(): name: got 3, expected a text
    """
    parameters, called = inspect.signature(function).parameters, f"{function.__name__}()"

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            arguments = inspect.signature(function).bind(*args, **kwargs).arguments
        except TypeError as error:
            unknown = [keyword for keyword in kwargs if keyword not in parameters]
            if unknown:
                hint = did_you_mean(unknown[0], parameters)
                raise UsageError(f"{called}: no argument '{unknown[0]}': {hint}") from None
            names = [f"{name}=..." for name in parameters][:3] + ["..."] * (len(parameters) > 3)
            raise UsageError(f"{called}: {error}. Expected {function.__name__}({', '.join(names)})") from None
        for name, argument in arguments.items():
            is_repeated = parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for value in argument if is_repeated else (argument,):
                _check_argument(f"{called}: {name}", value, parameters[name].annotation)
        return function(*args, **kwargs)

    return call


ARGUMENT_KINDS: Mapping[Any, tuple[str, Any]] = {
    str: ("a text", object),
    os.PathLike: ("a path", os.PathLike),
    int: ("an integer", SupportsIndex),
    float: ("a number", SupportsFloat),
    Mapping: ("a dictionary", Mapping),
    Sequence: ("a list", Iterable),
    NoneType: ("None", NoneType),
}
"""Annotated types that are checked: in words, and the types of values that are as good, such as numbers of numpy."""
NO_TEXT = (int, float, list, tuple, dict, bytes, os.PathLike, NoneType)
"""Types that are not accepted as text. Other objects may have a name as their text, such as a torch device."""


def _check_argument(name: str, value: object, annotation: object) -> None:
    """Raise UsageError if a value is none of the annotated types.

    Classes of clipbench are checked as well as ``ARGUMENT_KINDS``. Nothing is checked if another type is allowed.
    """
    members = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    expected = []
    for member in members:
        kind: Any = get_origin(member) or member
        if kind not in ARGUMENT_KINDS and not str(kind).startswith("<class 'clipbench."):
            return
        words, accepted = ARGUMENT_KINDS.get(kind) or (f"a {kind.__name__}", kind)
        holds_texts = kind in (Sequence, Mapping) and str in get_args(member)
        expected.append(f"{words} of texts" if holds_texts else words)
        texts: Iterable[object] = ()
        if holds_texts and isinstance(value, list | tuple | dict):
            texts = value
        elif kind is str:
            texts = (value,)
        if isinstance(value, accepted) and not any(isinstance(text, NO_TEXT) for text in texts):
            return
    raise UsageError(f"{name}: got {value!r:.60}, expected {' or '.join(expected)}")
