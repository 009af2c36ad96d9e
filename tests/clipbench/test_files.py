"""Files that are written whole or not at all, and folders that are let go of whatever happens."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import UUID

import pytest

from clipbench.errors import UsageError
from clipbench.files import check_writable, folder_lock, temporary_folder, write_atomic, writing_atomically

HOLD = "import sys, time; from pathlib import Path; from clipbench.files import folder_lock\n"
HOLD += "with folder_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
FORK = "import os, sys, time; from pathlib import Path; from clipbench.files import folder_lock\n"
FORK += "with folder_lock(Path(sys.argv[1])): print(os.fork() or '', flush=True); time.sleep(60)"


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


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such locks")
def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    message = f"another clipbench process writes to {tmp_path}: wait until it ends, or choose another out"
    with pytest.raises(UsageError, match=message), folder_lock(tmp_path):
        pass
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    with folder_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such locks")
def test_a_folder_is_let_go_of_after_an_error_and_whoever_was_forked_meanwhile(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with pytest.raises(RuntimeError), folder_lock(tmp_path):
        worker = context.Process(target=signal.pause)
        worker.start()
        raise RuntimeError
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        worker.kill()
        worker.join()


def test_a_link_in_the_place_of_the_temporary_file_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").write_bytes(b"mine")
    monkeypatch.setattr("clipbench.files.uuid.uuid4", lambda: UUID(int=0))  # as if its random name had been guessed
    (tmp_path / ".report.html.00000000.half").symlink_to(tmp_path / "private")
    with pytest.raises(UsageError, match=r"^cannot write .*report\.html: File exists$"):
        write_atomic({tmp_path / "report.html": b"new"})
    assert (tmp_path / "private").read_bytes() == b"mine" and not (tmp_path / "report.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such locks")
def test_a_child_that_outlives_its_killed_parent_does_not_hold_the_folder(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int("".join(parent.stdout.readline() for _ in range(2)))
    try:
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # it lives
        with folder_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_a_folder_is_made_and_taken_away_again_if_nothing_came_into_it(tmp_path: Path) -> None:
    for name, content in (("empty", None), ("full", "result.json")):
        with folder_lock(tmp_path / name / "run"):
            assert (tmp_path / name / "run").is_dir()
            if content is not None:
                (tmp_path / name / "run" / content).touch()
    (tmp_path / "mine").mkdir()
    with folder_lock(tmp_path / "mine"):
        pass
    assert not (tmp_path / "empty/run").exists() and (tmp_path / "full/run").is_dir() and (tmp_path / "mine").is_dir()


def test_an_interrupt_between_opening_and_locking_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipbench.files._has_name", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic({tmp_path / "a": b"x"})
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_mix_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".a.12345678.half").write_bytes(b"of a process that was killed")
    with writing_atomically({tmp_path / "a": b"x" * 9}):
        write_atomic({tmp_path / "a": b"y"})
        assert (tmp_path / "a").read_bytes() == b"y"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"x" * 9}


def test_a_name_that_cannot_be_looked_up_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 300) / "run"
    check_writable(folder, advice="")  # of the nearest folder that is there
    with pytest.raises(UsageError, match=r"^cannot write .*: File name too long$"), folder_lock(folder):
        pass


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    check_writable(tmp_path / "new/run", advice="")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^cannot write to .*file/run: Not a directory\. Fix: name another$"):
        check_writable(tmp_path / "file/run", advice="name another")
    with pytest.raises(UsageError, match=r"MB free, expected 1,000,000,000\.0 MB\. Fix: name another$"):
        check_writable(tmp_path, 10**15, advice="name another")


def test_temporary_folders_of_processes_that_were_killed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "clipbench-results").mkdir()  # a person's
    code = (
        "import os, signal\nfrom clipbench.files import temporary_folder\n"
        "with temporary_folder('logs') as folder:\n"
        "    (folder / 'log').touch()\n    print(folder, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    left = Path(killed.stdout.strip())
    assert (left / "log").is_file() and left.parent.parent == tmp_path
    with temporary_folder("logs") as first, temporary_folder("logs") as second:
        assert first.is_dir() and second.is_dir() and first != second and not left.parent.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clipbench-results"]
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=300)
    assert len(list(tmp_path.iterdir())) == 2
    subprocess.run([sys.executable, "-m", "clipbench", "list", "tasks"], capture_output=True, check=True, timeout=300)
    assert [path.name for path in tmp_path.iterdir()] == ["clipbench-results"]
