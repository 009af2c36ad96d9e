import gc
import io
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipbench.errors import ClipbenchError, DataError
from clipbench.untrusted import reading

LONG = "a" * 300


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


@pytest.mark.parametrize("name", [LONG, f"{LONG}/x", "nul\0", "half\ud800", "", "none", os.devnull])
def test_a_name_that_nothing_can_have_is_no_file(name: str) -> None:
    assert not reading.is_file(name) and not reading.is_folder(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [(LONG, " (File name too long)"), ("nul\0", " (the name holds a NUL or is not text)"), ("none", "")],
)
def test_a_message_says_why_a_name_cannot_be_looked_up(name: str, why: str) -> None:
    assert reading.why_not_there(name) == why


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, {"a": "b"}], "[1, {'a': 'b'}]"),
        (None, "None"),
        (0.25, "0.25"),
        (16**4_000 - 1, "0x" + "f" * 57 + "…"),
        ({"a": 16**4_000}, "{'a': 0x1" + "0" * 50 + "…"),
        ("a" * 10**6, "'" + "a" * 58 + "…"),
        ([["a" * 100] * 100] * 100, "[['" + "a" * 27 + "..." + "a" * 26 + "…"),
    ],
    ids=lambda value: str(value)[:10] if isinstance(value, str) else "",
)
def test_a_value_is_shown_in_few_characters_however_large_it_is(value: object, text: str) -> None:
    assert reading.shown(value) == text


def test_the_home_of_an_unknown_user_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert reading.user_path("~/x") == Path("/home/me/x")
    assert reading.user_path("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_what_would_be_waited_for_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        for name in ("fifo", "socket"):
            with pytest.raises(OSError, match="it is a FIFO, a device or a socket, expected a file"):
                reading.open_file(tmp_path / name)
    with pytest.raises(OSError, match="it is a FIFO"):
        reading.read_bytes(os.devnull)
    with pytest.raises(OSError, match="Is a directory"):
        reading.open_file(tmp_path)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/loop").symlink_to(tmp_path)
    (tmp_path / "fifo").rename(tmp_path / "deep/er/fifo")
    (tmp_path / "socket").unlink()
    with pytest.raises(DataError, match=r"deep/er/fifo is a FIFO, a device or a socket: remove it"):
        reading.refuse_special_files(tmp_path, DataError)


def test_a_file_is_opened_only_inside_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_bytes(b"own")
    (tmp_path / "file").write_bytes(b"secret")
    (folder / "own").symlink_to(folder / "file")
    (folder / "out").symlink_to(tmp_path / "file")
    (folder / "deep" / "out").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(folder)
    for name in ("file", "own"):
        assert (
            reading.read_bytes(folder / name, folder) == reading.read_bytes(folder / name, tmp_path / "alias") == b"own"
        )
    for name in ("out", "deep/out/file", "../file"):
        with pytest.raises(OSError, match=f"it is outside {folder}"):
            reading.open_file(folder / name, inside=folder)


@pytest.mark.parametrize("replacement", ["link", "FIFO"])
def test_a_file_that_is_replaced_after_it_was_looked_at_is_not_read(
    replacement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    file = folder / "file"
    file.write_bytes(b"own")
    (tmp_path / "secret").write_bytes(b"secret")
    look = reading._check_kind

    def look_and_replace(*rest: Any) -> None:
        look(*rest)
        monkeypatch.setattr(reading, "_check_kind", look)
        file.unlink()
        if replacement == "link":
            file.symlink_to(tmp_path / "secret")
        else:
            os.mkfifo(file)

    monkeypatch.setattr(reading, "_check_kind", look_and_replace)
    with pytest.raises(OSError, match=r"it is outside|it is a FIFO"):
        reading.read_bytes(file, folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, r"^cannot read .*none: No such file or directory: do this$"),
        (LONG, None, "^cannot read .*: File name too long: do this$"),
        ("nul\0", None, "^cannot read .*: the name holds a NUL"),
        ("file", b"a\xff", r"^.*file is not UTF-8 text: invalid start byte at byte 1: do this$"),
    ],
)
def test_a_text_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        reading.read_text(tmp_path / name, DataError, advice="do this")


def test_a_text_is_read_with_any_line_end_and_mark(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert reading.read_text(tmp_path / "file", DataError) == "a\nb\nc\n"


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)  # root, who runs many a test, may list any
    with pytest.raises(DataError, match=r"^cannot read .*: Permission denied$"):
        reading.entries(tmp_path, DataError)


DEEP = "nested more than 100 deep"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[" * 100_000, DEEP),
        ("[" * 100_000 + "]" * 100_000, DEEP),
        ('{"a":' * 100_000, DEEP),
        ("[" * 101 + "]" * 101, DEEP),
        ('[{"a": ' * 60 + "1" + "}]" * 60, DEEP),
        ("1" * 5_000, "Exceeds the limit .4300 digits."),
        (f"[-{'1' * 5_000}]", "Exceeds the limit .4300 digits."),
        (r'{"a": ["\ud800"]}', "'\\\\ud800' holds half a surrogate pair"),
        (r'{"\udfff": 1}', "holds half a surrogate pair"),
        ("", "Expecting value"),
        ("[1", "Expecting ',' delimiter"),
    ],
)
def test_json_beyond_the_limits_is_refused_in_one_line(text: str, cause: str) -> None:
    with pytest.raises(DataError, match=f"^a.json is not JSON: .*{cause}"):
        reading.parse_json(text, "a.json", DataError)


def test_json_within_the_limits_is_what_json_reads() -> None:
    values = [
        json.loads("[" * 100 + "]" * 100),
        {"a": [1, -2, 10**30, 1.5, None, True, "caf\u00e9 \U0001f600"]},
        [[]] * 200,
        "text",
    ]
    for value in values:
        assert reading.decode_json(json.dumps(value)) == value
    assert reading.decode_json(r'["\ud83d\ude00"]') == ["\U0001f600"]  # both halves
    assert reading.decode_json(r'["\ud800"]', is_text=False) == ["\ud800"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a = " + "[" * 100_000, DEEP),
        ("a" + ".a" * 200 + " = 1", DEEP),
        ("a = " + "1" * 5_000, "Exceeds the limit .4300 digits.[^;]*$"),
        ("a = 2026-13-41", "is not TOML: "),
        ("a = ", "is not TOML: Invalid value"),
    ],
)
def test_toml_beyond_the_limits_is_refused_in_one_line(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ClipbenchError, match=cause) as error:
        reading.read_toml(tmp_path / "a.toml", ClipbenchError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(3),
        np.zeros((0, 4), np.int8),
        np.array(["a", "bc"]),
        np.zeros(3, "V16"),
    ],
)
def test_an_array_is_what_numpy_wrote(array: np.ndarray) -> None:
    result = reading.decode_array(npy(array))
    assert result.dtype == array.dtype and result.shape == array.shape and (result == array).all()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "it is not an array in .npy form"),
        (b"PK\x03\x04" + bytes(100), "it is not an array in .npy form"),
        (npy(np.arange(3))[:-1], "it has 23 bytes, expected 24 for shape"),
        (npy(np.arange(3)) + b"x", "it has 25 bytes, expected 24"),
        (
            npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"),
            "expected 4,000,000,000,000",
        ),
        (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }\n"), "its shape is"),
        (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"), "it holds Python objects"),
        (
            npy_header("{'descr': '<U0', 'fortran_order': False, 'shape': (10000000000000,), }\n"),
            "type <U0 have a size of 0 bytes",
        ),
        (npy_header("(" * 9_000), "it is not an array in .npy form"),
        (npy_header("{'descr': 5, 'fortran_order': False, 'shape': (1,), }\n"), "it is not an array in .npy form"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "it is not an array in .npy form"),
    ],
)
def test_an_array_that_is_not_whole_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        reading.decode_array(data)


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a": 1}', '{"b": ["x", 2]}'],
        ['{"a": "-"}', '{"b": "----"}'],
        ["1", "null"],
        [" {} "],
    ],
)
def test_lines_decoded_at_once_are_the_values_of_each_line(lines: list[str]) -> None:
    assert reading.decode_json_lines(lines) == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "lines",
    [
        ['{"a": 1', '"b": 2}'],  # one value in two lines
        ["{}, {}", '{"a": 1}'],  # two values in a line
        ['{"a": [{}', "{}]}", "{}, {}"],  # as many values as lines
        ['{"a": [{}', "{}]}", '{}, "-", {}'],
        ['{"a": 1}', '{"a": 1,}'],
        ['{"a": "' + r"\ud800" + '"}'],
        ["{}", "[" * 200 + "]" * 200],
        ["[" * 100_000],
        ["{}", "]"],
        ["{}]", "[{}"],
    ],
)
def test_lines_of_which_one_is_no_value_are_not_decoded_at_once(lines: list[str]) -> None:
    assert reading.decode_json_lines(lines) is None


def test_reading_many_rows_leaves_the_search_for_cycles_as_it_was() -> None:
    with pytest.raises(ValueError, match="stop"), reading.without_cycle_search():
        assert not gc.isenabled()
        raise ValueError("stop")
    assert gc.isenabled()
