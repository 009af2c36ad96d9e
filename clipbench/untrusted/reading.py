"""Files that others wrote, and the names of files: what is damaged is refused in one line.

A name may be too long for the system, hold a NUL, or belong to a FIFO, which waits for its writer for ever. JSON may be
nested deeper than Python can read, an array may be shorter than its header says. Everything that comes from outside is
opened by the functions of this module, so that no caller has to think of these.
"""

import ast
import codecs
import gc
import io
import json
import math
import os
import re
import reprlib
import stat
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from clipbench.errors import ClipbenchError

if TYPE_CHECKING:
    import numpy as np

FileName = str | os.PathLike[str]
"""A path as a text or as an object."""
ErrorType = type[ClipbenchError]
"""The class of the error that a function raises for a file that cannot be read."""

MOST_BITS = 10_000
"""Bits of an integer that is shown with decimal digits, two thirds of Python's own limit."""
MOST_DEPTH = 100
"""Objects and lists inside each other, in JSON and TOML: no known format has more than ten."""
MOST_SHOWN = 60
"""Characters of a value that a message shows."""

UTF8 = "utf-8-sig"
"""The encoding of texts: UTF-8, with or without a byte order mark, or UTF-16 with its mark."""

_CONTAINERS = (dict, list)
_HALF_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_QUOTED = r"""(?:'(?:[^'\\\n]|\\[\\'"nrtxuU])*'|"(?:[^"\\\n]|\\[\\'"nrtxuU])*")"""
_LIST = re.compile(rf"\s*\[\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*(?:\s*,)?\s*\]\s*")


# -- names


def user_path(name: FileName) -> Path:
    """Return a path that a user wrote, with ``~`` as the home folder. The path of an unknown user is left as it is."""
    return Path(os.path.expanduser(name))


def is_file(path: FileName) -> bool:
    """Return whether a path is a regular file, or a link to one, or False for every name that no file can have."""
    return os.path.isfile(path)  # Path.is_file raises OSError for a name that is too long


def is_folder(path: FileName) -> bool:
    """Return whether a path is a folder, or a link to one, or False for every name that no folder can have."""
    return os.path.isdir(path)


def is_there(path: FileName) -> bool:
    """Return whether there is anything under a name, or False for every name that nothing can have."""
    return os.path.exists(path)


def why_not_there(path: FileName) -> str:
    """Return why a name cannot be looked up, in brackets for a message, or empty if there is simply nothing."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f" ({error.strerror})"
    except ValueError:
        return " (the name holds a NUL or is not text)"
    return ""


def entries(folder: Path, error: ErrorType) -> list[Path]:
    """Return the entries of a folder, by name, or raise ``error`` if it cannot be listed."""
    with reading(folder, error):
        return sorted(folder / entry.name for entry in os.scandir(folder))


def refuse_special_files(folder: Path, error: ErrorType) -> None:
    """Raise ``error`` where a folder, or one in it, holds a FIFO, device or socket: a library would open it, and
    wait.
    """
    pending = [os.fspath(folder)]
    for folder_path in pending:
        with reading(folder_path, error):
            entries_of_folder = list(os.scandir(folder_path))
        for entry in entries_of_folder:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif not entry.is_file() and not entry.is_dir() and is_there(entry.path):
                raise error(f"{entry.path} is a FIFO, a device or a socket: remove it from the folder")


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what a pattern matches in a folder, by name, or nothing if there is no such folder."""
    return sorted(folder.glob(pattern)) if is_folder(folder) else []


# -- files


@contextmanager
def reading(
    path: object, error: ErrorType, *, name: str | None = None, advice: str = "", is_table: bool = False
) -> Iterator[None]:
    """Raise ``error``, in one line, if the block cannot read a file or decode its text.

    Args:
        name: name of the file in the message, if not its path.
        advice: what to do.
        is_table: the file is one that a person can save again.
    """
    source, end = name or path, f": {advice}" if advice else ""
    try:
        yield
    except UnicodeDecodeError as fault:
        encoding = "UTF-16" if "16" in fault.encoding else "UTF-8"
        end = ". Save it as UTF-8" if is_table else end
        raise error(f"{source} is not {encoding} text: {fault.reason} at byte {fault.start}{end}") from fault
    except OSError as fault:
        raise error(f"cannot read {source}: {fault.strerror or fault}{end}") from fault


def open_file(path: FileName, inside: Path | None = None) -> io.BufferedReader:
    """Open a regular file, or raise OSError for a folder, and for a FIFO, a device or a socket: those may wait for
    ever.

    What was opened is examined, and not the name, which may lead elsewhere a moment later.

    Args:
        inside: the folder that the file must be in, links followed. OSError is raised if it is not.
    """
    try:
        _check_kind(os.stat(path), path)  # before it is opened, which alone may change a device
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115  closed below, or by the caller
    except ValueError as error:
        raise OSError(None, "the name holds a NUL or is not text") from error
    try:
        _check_kind(os.fstat(file.fileno()), path)
        if inside is not None and not _real_path(file, path).is_relative_to(inside.resolve()):
            raise OSError(None, f"it is outside {inside}")
    except BaseException:
        file.close()
        raise
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(status: os.stat_result, path: FileName) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "it is a FIFO, a device or a socket, expected a file")


def _real_path(file: io.BufferedReader, path: FileName) -> Path:
    """Return where an open file is, without links, as the system tells it."""
    handle = file.fileno()
    if os.path.exists(f"/proc/self/fd/{handle}"):
        return Path(os.readlink(f"/proc/self/fd/{handle}"))
    real_path = Path(path).resolve()
    if not os.path.samestat(os.fstat(handle), os.lstat(real_path)):
        raise OSError(None, "another program changed it while it was read")
    return real_path


def name_of_open_file(file: io.BufferedReader, path: FileName) -> str:
    """Return a name under which a library that takes only names opens this file, even if another took its path."""
    name = f"/proc/self/fd/{file.fileno()}"
    return name if os.path.exists(name) else os.fspath(path)


def open_text(path: FileName, newline: str | None = None) -> io.TextIOWrapper:
    """Open a regular file as text, in UTF-8 or UTF-16, or raise OSError like ``open_file``."""
    file = open_file(path)
    return io.TextIOWrapper(file, encoding=encoding_of(file.peek(len(codecs.BOM_UTF16))), newline=newline)


def encoding_of(data: bytes) -> str:
    """Return the encoding of a text by the mark at its beginning.

    Example:
        >>> encoding_of("é".encode()), encoding_of("é".encode("utf-16"))
        ('utf-8-sig', 'utf-16')
    """
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else UTF8


def read_bytes(path: FileName, inside: Path | None = None) -> bytes:
    """Return the content of a regular file, or raise OSError if it cannot be read, or is not in a folder."""
    with open_file(path, inside) as file:
        return file.read()


def read_text(
    path: FileName, error: ErrorType, *, name: str | None = None, advice: str = "", inside: Path | None = None
) -> str:
    """Return the text of a file, UTF-8 or UTF-16 with any kind of line end, or raise ``error`` if it cannot be read."""
    with reading(path, error, name=name, advice=advice):
        data = read_bytes(path, inside)
        text = data.decode(encoding_of(data))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def array_header(file: BinaryIO) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    """Return shape, whether columns come first, and type of the ``.npy`` array that begins here, or raise
    ValueError if none does.
    """
    import numpy as np

    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        header = readers[np.lib.format.read_magic(file)](file)
    except Exception as error:  # the header is Python, whose parser raises many kinds of error
        raise ValueError(f"it is not an array in .npy form ({' '.join(str(error).split())[:MOST_SHOWN]})") from error
    if header[2].hasobject:
        raise ValueError("it holds Python objects, which are never read")
    if any(side < 0 for side in header[0]):
        raise ValueError(f"its shape is {header[0]}, expected sizes of 0 or more")
    return header


def decode_array(data: bytes) -> "np.ndarray":
    """Return the array in the bytes of an ``.npy`` file, or raise ValueError, with the reason, if they hold none.

    Nothing is allocated for what a header promises and the bytes do not hold.
    """
    import numpy as np

    file = io.BytesIO(data)
    shape, is_columns_first, dtype = array_header(file)
    start = file.tell()
    if not dtype.itemsize:
        raise ValueError(f"its values of type {dtype} have a size of 0 bytes")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start != expected:
        raise ValueError(f"it has {len(data) - start:,} bytes, expected {expected:,} for shape {shape} of {dtype}")
    array = np.frombuffer(data, dtype, math.prod(shape), start) if expected else np.empty(shape, dtype)
    return array.reshape(shape, order="F" if is_columns_first else "C")


# -- JSON and TOML


def read_json(path: FileName, error: ErrorType, *, name: str | None = None, advice: str = "") -> Any:
    """Return the value in a JSON file, or raise ``error`` as ``read_text`` and ``parse_json`` do."""
    text = read_text(path, error, name=name, advice=advice)
    return parse_json(text, name or str(path), error, advice=advice)


def parse_json(text: str, location: str, error: ErrorType, *, advice: str = "", is_text: bool = True) -> Any:
    """Return the value of a JSON text, or raise ``error`` if it is not JSON, too deep, or has too many digits.

    Args:
        location: name of the file, or of the line in it, for the message.
        is_text: refuse half surrogates, which are not text. False for a result, which may name a file that has them.
    """
    try:
        return decode_json(text, is_text=is_text)
    except ValueError as fault:
        raise error(f"{location} is not JSON: {_fault_text(fault)}{f': {advice}' if advice else ''}") from fault


def decode_json(text: str, *, is_text: bool = True) -> Any:
    """Return the value of a JSON text, or raise ValueError, with the reason, for every text that has none."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if text.count("[") + text.count("{") > MOST_DEPTH:  # else it cannot be deeper, as most lines cannot
        check_depth(value)
    if is_text and _may_hold_half_surrogate(text):
        check_text(value)
    return value


def decode_json_lines(lines: Sequence[str]) -> list[Any] | None:
    """Return the values of lines, decoded at once, or None if a line has to be looked at on its own.

    A mark that no line holds is between them. Because every second value of the whole has to be the mark, no two lines
    can be one value, and no line can be two.
    """
    mark = "-"
    text = "\n".join(lines)
    while mark in text:
        mark += "-" * len(mark)
    try:
        separator = f',"{mark}",'
        values = json.loads(f"[{separator.join(lines)}]")
        if text.count("[") + text.count("{") > len(lines) + MOST_DEPTH - 1:  # else none is deeper
            check_depth(values)
    except (ValueError, RecursionError):
        return None
    is_separated = len(values) == 2 * len(lines) - 1 and values[1::2].count(mark) == len(lines) - 1
    return values[::2] if is_separated and not _may_hold_half_surrogate(text) else None


def _may_hold_half_surrogate(text: str) -> bool:
    return "\\u" in text and _HALF_SURROGATE.search(text) is not None  # most texts have no code of a character


@contextmanager
def without_cycle_search() -> Iterator[None]:
    """Read many rows without searches for reference cycles: they have none, and each search looks at all of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_toml(path: FileName, error: ErrorType, *, name: str | None = None) -> dict[str, Any]:
    """Return the table in a TOML file, or raise ``error`` if it cannot be read, is not TOML, or is too deep."""
    text = read_text(path, error, name=name)
    try:
        return decode_toml(text)
    except ValueError as fault:
        raise error(f"{name or path} is not TOML: {_fault_text(fault)}") from fault


def _fault_text(fault: ValueError) -> str:
    return str(fault).partition("; use sys.")[0]  # what Python advises for long numbers is no remedy here


def decode_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text, or raise ValueError, with the reason, for every text that has none."""
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    check_depth(table)
    return table


def check_depth(value: object) -> None:
    """Raise ValueError if lists and objects are nested too deep, because readers of them are recursive."""
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(MOST_DEPTH):
        inside = [child for node in level for child in (node.values() if type(node) is dict else node)]
        level = [child for child in inside if type(child) in _CONTAINERS]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def check_text(value: object) -> None:
    """Raise ValueError where a text inside a value holds half a surrogate pair: no tokenizer and no file takes that."""
    nodes = [value]
    for node in nodes:
        if isinstance(node, str):
            try:
                node.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{shown(node)} holds half a surrogate pair, which is not text") from error
        elif isinstance(node, dict):
            nodes += [*node.keys(), *node.values()]
        elif isinstance(node, list):
            nodes += node


def read_written_list(text: str) -> list[str] | None:
    """Return the texts of a list in one cell of a table, as Python writes it, or None if it is not such a list, or an
    empty one.

    Only quoted texts are parsed, because an evaluation of the cell by Python could be deep, large or slow.

    Example:
        >>> read_written_list('''['a cat', "a dog's tail"]''')
        ['a cat', "a dog's tail"]
        >>> read_written_list("[sic] a cat") is None
        True
    """
    if _LIST.fullmatch(text) is None:
        return None
    try:
        texts = [ast.literal_eval(quoted) for quoted in re.findall(_QUOTED, text)]
        check_text(texts)
    except (SyntaxError, ValueError):
        return None
    return texts


def is_int64(text: str) -> bool:
    """Return whether a text is an integer that fits 64 bits.

    Example:
        >>> [is_int64(text) for text in ("-1", "9223372036854775807", "9223372036854775808", "1.0", "")]
        [True, True, False, False, False]
    """
    return text.removeprefix("-").isdecimal() and len(text) <= 20 and -(2**63) <= int(text) < 2**63


def shown(value: object) -> str:
    """Return the beginning of a value as code, short enough for a message."""
    text = repr(value[:MOST_SHOWN]) if isinstance(value, str | bytes) else _SHORT.repr(value)
    return shortened(text, MOST_SHOWN)


class _Short(reprlib.Repr):
    """The code of a value's beginning: little more is made than a message shows."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlist = self.maxtuple = self.maxdict = MOST_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < MOST_BITS else hex(x)  # of longer ones Python makes no decimal text


_SHORT = _Short()


def shortened(text: str, width: int) -> str:
    """Return the beginning of a text, up to a number of characters.

    Example:
        >>> shortened("a red cube", 10), shortened("a red cube", 6)
        ('a red cube', 'a red…')
    """
    return text if len(text) <= width else f"{text[: width - 1]}…"


_TOO_DEEP = f"lists or objects are nested more than {MOST_DEPTH} deep"


def damaged_weights(folder: Path) -> Path | None:
    """Return the first ``.safetensors`` in a folder that cannot be opened, or None if there is none."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.rglob("*.safetensors")):
        try:
            safe_open(path, "np")
        except (SafetensorError, OSError):
            return path
    return None
