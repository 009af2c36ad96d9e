"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from clipbench.errors import UsageError
from clipbench.files import write_atomic, writing_atomically


def test_files_are_written_and_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_atomic({tmp_path / "a": b"new", tmp_path / "b": b"\xff"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new", "b": b"\xff"}


def test_nothing_is_replaced_when_one_of_several_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"^cannot write .*folder: Is a directory$"):
        write_atomic({tmp_path / "a": b"new", tmp_path / "folder": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^cannot write .*no/a: No such file or directory$"):
        write_atomic({tmp_path / "no" / "a": b""})


def test_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), writing_atomically({tmp_path / "a": b"new", tmp_path / "b": b"new"}):
        assert (tmp_path / "a").read_bytes() == b"old"  # not before the block has ended
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
