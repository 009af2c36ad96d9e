"""The attacks of `make torture` on every command: streams, terminals, limits, clocks and signals that are not what a
command expects. The commands are those of tests/command_lines.py, which takes their names from the command line.
"""

import contextlib
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.__main__ import _open_closed_streams
from torture_attacks import CACHE_OF_TORCH, Attack, Bench, leftovers, outliving, two_at_once, unclear
from torture_served import TESTS
from torture_world import Ended, World, kill, new_world, numbers

COLUMNS = 40
FEW_FILES = 64
MOST_WORD = COLUMNS - 8
"""Characters of a word that is not broken, such as a path: its line may be wider than the terminal."""
JUMP = 7200
"""Seconds by which a clock jumps back."""
UNREAD = 141
"""Status of a command whose output nobody reads."""
KILLED = ("run", "train", "compare", "pool", "cache", "doctor", "report", "explain", "show", "export", "plot", "choose")
"""Commands that are killed at random moments."""
ENCODING = ("run", "pool", "doctor")
"""Commands that do more without the vectors of earlier ones. ``explain`` needs what an earlier run has measured."""


class Prepared(NamedTuple):
    """What every command needs, and what it does if nothing disturbs it."""

    folder: Path
    """A world in which each command has run."""
    lines: dict[str, list[str]]
    ends: dict[str, Ended]
    seconds: dict[str, float]


_prepared: dict[Path, Prepared] = {}


def attacks() -> dict[str, Attack]:
    """Return the attacks by name."""
    named: dict[str, Attack] = {
        f"every command, {stream}": partial(every_command, disturb=partial(close, handle))
        for handle, stream in enumerate(("<&-", ">&-", "2>&-"))
    }
    named["every command, a closed pipe"] = partial(every_command, disturb=close_pipe, also=UNREAD)
    named["every command, a closed pipe of errors"] = partial(
        every_command, disturb=partial(close_pipe, 2), also=UNREAD, is_written_before=False
    )
    named["every command, 40 columns"] = partial(every_command, disturb=open_terminal, check=fits)
    named["every command, ulimit -n 64"] = partial(every_command, disturb=limit_files)
    named["every command, nohup"] = partial(every_command, disturb=ignore_hangup)
    named["every command, a clock that jumps"] = partial(every_command, disturb=jump_clock)
    for number in (signal.SIGTERM, signal.SIGHUP):
        named[f"every output, {number.name} amid a write"] = partial(signal_amid_writes, number=number)
    named["every output, 2 commands"] = two_of_each
    named["SIGKILL of any command"] = killed
    return named


def prepare(bench: Bench) -> Prepared:
    """Run each command undisturbed, the first time, and return what came of it."""
    if bench.root in _prepared:
        return _prepared[bench.root]
    if str(TESTS.parent) not in sys.path:
        sys.path.append(str(TESTS.parent))
    from tests.command_lines import CANDIDATE, SERVERS, STATUS, command_lines

    world = World(bench.root / "commands")
    lines = {
        name: arguments
        for name, arguments in command_lines(tasks="zero-shot,retrieval,modality-gap", limit=120).items()
        if name not in SERVERS  # the attacks on servers are in torture_served
    }
    ends, seconds = {}, {}
    for name, arguments in lines.items():
        start = time.monotonic()
        ends[name] = world.do(arguments)
        seconds[name] = time.monotonic() - start
        assert ends[name].status in STATUS.get(name, (0,)), (name, ends[name])
        world.import_its_modules()
        if name == "run":
            shutil.copytree(world.folder / "runs/base", world.folder / CANDIDATE)
    _prepared[bench.root] = Prepared(world.folder, lines, ends, seconds)
    return _prepared[bench.root]


@contextlib.contextmanager
def before(bench: Bench, name: str, *, has_store: bool = True) -> Iterator[tuple[World, Path | None]]:
    """Yield a world in which a command may run for the first time, and the output that it will write."""
    from tests.command_lines import output_of

    prepared = prepare(bench)
    with new_world(bench.root, prepared.folder) as world:
        relative = output_of(prepared.lines[name])
        output = None if relative is None else world.folder / relative
        if output is not None and output.is_dir():
            shutil.rmtree(output)
        elif output is not None:
            output.unlink(missing_ok=True)
        if not has_store:
            shutil.rmtree(world.cache)
        yield world, output


def every_command(
    bench: Bench,
    rng: random.Random,
    *,
    disturb: Callable[[], object],
    also: int | None = None,
    check: Callable[[Ended], list[str]] = lambda ended: [],
    is_written_before: bool = True,
) -> list[str]:
    """Run each command under one condition, which has to change neither its status nor its output.

    Args:
        also: a status that may be instead of the usual one.
        check: returns what is wrong with what a command printed.
        is_written_before: outputs are written even with the status ``also``. Otherwise the same command has to write
            them afterwards.
    """
    wrong = []
    for name, arguments in prepare(bench).lines.items():
        expected = prepare(bench).ends[name]
        with before(bench, name) as (world, output):
            ended = world.do(arguments, prepare=disturb)
            faults = outliving()  # also waits for what copies a terminal
            faults += check(ended._replace(out=world.last.read_text(errors="replace")))
            is_unread = ended.status == also != expected.status and not is_written_before
            if ended.status not in (expected.status, also):
                faults.append(f"status {ended.status}, expected {expected.status}: {ended.err[-300:]}")
            if "Traceback" in ended.err or "(a bug in" in ended.err or "Exception ignored" in ended.err:
                faults.append(ended.err[-500:])
            if output is not None and expected.status == 0 and not output.exists() and not is_unread:
                faults.append(f"{output.name} was not written")
            if is_unread:
                faults += again(bench, world, name, output)
            faults += differences(world, prepare(bench).folder, output) + leftovers(world)
        wrong += [f"{name}: {fault}" for fault in faults]
    return wrong


def differences(world: World, expected: Path, output: Path | None) -> list[str]:
    """Return how an output differs from the undisturbed one: in its files, and in the numbers of a run."""
    if output is None or not output.is_dir():
        return []
    same = expected / output.relative_to(world.folder)
    names, expected_names = (
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (output, same)
    )
    faults = [f"other files: {sorted(names ^ expected_names)}"] if names != expected_names else []
    if (output / "result.json").exists() and numbers(output) != numbers(same):
        faults.append("other numbers")
    return faults


# -- conditions, each made in the process of a command before it begins


def close(handle: int) -> None:
    """Close a standard stream, as ``>&-`` does."""
    os.close(handle)
    setattr(sys, ("stdin", "stdout", "stderr")[handle], None)
    _open_closed_streams()


def close_pipe(handle: int = 1) -> None:
    """Give a command a pipe that nobody reads any more."""
    reads, writes = os.pipe()
    os.close(reads)
    use_as(handle, writes)
    os.close(writes)


def use_as(handle: int, new: int) -> None:
    """Use another file as a standard stream. Python has looked at the old one, and is given a new stream."""
    os.dup2(new, handle)
    setattr(sys, ("stdin", "stdout", "stderr")[handle], os.fdopen(handle, "w", closefd=False))


def open_terminal() -> None:
    """Give a command a terminal of few columns, and copy what it shows into the log."""
    os.environ.pop("COLUMNS", None)  # it would be believed before the terminal
    reads, writes = os.openpty()
    fcntl.ioctl(writes, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    if os.fork() == 0:
        os.close(writes)
        with contextlib.suppress(OSError):  # the command has ended
            while part := os.read(reads, 1 << 16):
                os.write(1, part)
        os._exit(0)
    for handle in (1, 2):
        use_as(handle, writes)
    os.close(reads)
    os.close(writes)


def fits(ended: Ended) -> list[str]:
    """Return the lines that are wider than the terminal, although their words are not."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ended.out)
    wide = [line for line in re.split(r"[\r\n]+", text) if len(line) > COLUMNS]
    broken = [line for line in wide if all(len(word) <= MOST_WORD for word in line.split())]
    faults = [f"{len(broken)} lines are too wide, the first {broken[0]!r}"] if broken else []
    return faults if text.strip() else ["nothing was shown"]


def limit_files() -> None:
    """Allow a command few open files, and no more by its own request."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES))


def ignore_hangup() -> None:
    """Ignore the end of the terminal, as ``nohup`` does, and let it end soon."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    command = os.getpid()
    if os.fork() == 0:
        for _ in range(20):
            time.sleep(0.05)
            kill(command, signal.SIGHUP)
        os._exit(0)


def jump_clock() -> None:
    """Let the clock jump back at each call."""
    real, n_calls = time.time, [0]

    def jumping() -> float:
        n_calls[0] += 1
        return real() - JUMP * n_calls[0]

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


def signal_at_write(number: int, n: int) -> None:
    """Send this process a signal in the middle of its n-th move of a finished file to its name."""
    replace, n_calls = os.replace, [0]

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        n_calls[0] += 1
        if n_calls[0] == n:
            os.kill(os.getpid(), number)
        replace(*arguments, **keywords)

    os.replace = interrupted


# -- attacks on outputs


def signal_amid_writes(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    """Stop each command that writes something as it moves a file to its name. The same command has to do it again."""
    wrong = []
    for name, arguments in prepare(bench).lines.items():
        with before(bench, name) as (world, output):
            if output is None:
                continue
            n = rng.choice((1, 1, 2, 3, 5))
            ended = world.do(arguments, prepare=partial(signal_at_write, number, n))
            faults = unclear(ended)
            if ended.status not in (0, 130):
                faults.append(f"status {ended.status} after a signal at move {n}: {ended.err[-300:]}")
            faults += again(bench, world, name, output)
        wrong += [f"{name}: {fault}" for fault in faults]
    return wrong


def again(bench: Bench, world: World, name: str, output: Path | None) -> list[str]:
    """Return what is wrong with the same command after an attack."""
    prepared = prepare(bench)
    arguments = prepared.lines[name]
    if name == "train" and output is not None and (output / "step-0").exists():
        arguments = ["train", "--resume", "--out", "training"]
    ended = world.do(arguments)
    if ended.status == 2 and output is not None and re.search("already (holds|exists)|is not empty", ended.err):
        return unclear(ended) + differences(world, prepared.folder, output)  # it had finished, and stays as it is
    if ended.status != prepared.ends[name].status:
        return [f"the next one ended with {ended.status}: {ended.err[-300:]}"]
    return differences(world, prepared.folder, output) + leftovers(world) + outliving()


def two_of_each(bench: Bench, rng: random.Random) -> list[str]:
    """Run each command that writes something twice at once: one succeeds, and the other too or says why not."""
    wrong = []
    for name, arguments in prepare(bench).lines.items():
        with before(bench, name) as (world, output):
            if output is None:
                continue
            ends = two_at_once(world, arguments, rng.uniform(0, 0.5 * prepare(bench).seconds[name]))
            faults = [fault for ended in ends for fault in unclear(ended)]
            statuses = {ended.status for ended in ends}
            if 0 not in statuses or not statuses <= {0, 2}:
                faults.append(f"two at once ended with {sorted(statuses)}: {ends[1].err[-300:]}")
            faults += differences(world, prepare(bench).folder, output) + leftovers(world) + outliving()
        wrong += [f"{name}: {fault}" for fault in faults]
    return wrong


def killed(bench: Bench, rng: random.Random) -> list[str]:
    """Kill a command at a random moment. The same command then does its work, and removes what was left."""
    name = rng.choice(KILLED)
    prepared = prepare(bench)
    with before(bench, name, has_store=name not in ENCODING or rng.random() < 0.3) as (world, output):
        child = world.start([*prepared.lines[name], *more_of(name, rng)])
        time.sleep(rng.uniform(0, 1.2 * prepared.seconds[name]))
        kill(child, signal.SIGKILL)
        ended = world.end(child)
        faults = ([] if ended.status == prepared.ends[name].status else unclear(ended)) + outliving()
        n_left = n_temporary(world)
        faults += again(bench, world, name, output)
        KILLS.append(Death(name, ended.status < 0, n_left, n_temporary(world)))
        print(len(KILLS), *KILLS[-1], file=sys.stderr, flush=True)
        return [f"{name}: {fault}" for fault in faults]


def n_temporary(world: World) -> int:
    """Return the number of temporary files and folders, without the cache of torch."""
    paths = [path.relative_to(world.temporary) for path in world.temporary.rglob("*")]
    return sum(not path.parts[0].startswith(CACHE_OF_TORCH) for path in paths)


def more_of(name: str, rng: random.Random) -> list[str]:
    return ["--workers", "2"] if name in ("run", "train") and rng.random() < 0.7 else []


class Death(NamedTuple):
    """What a killed command left."""

    command: str
    is_killed: bool
    """False if it had ended before."""
    n_left: int
    """Files and folders in the folder for temporary files."""
    n_later: int
    """The same after the next command."""


KILLS: list[Death] = []
"""Every kill so far."""


def table_of_kills() -> str:
    """Return by command how many kills there were and what they left, empty without any."""
    rows = []
    for name in sorted({death.command for death in KILLS}):
        kills = [death for death in KILLS if death.command == name]
        n_killed = sum(death.is_killed for death in kills)
        n_with_files = sum(death.n_left > 0 for death in kills)
        n_left, n_later = (sum(getattr(death, field) for death in kills) for field in ("n_left", "n_later"))
        rows.append(f"| {name:8} | {len(kills):5} | {n_killed:6} | {n_with_files:9} | {n_left:10} | {n_later:11} |")
    head = "| command  | kills | in time | with files | files left | after the next |\n|---|---:|---:|---:|---:|---:|"
    return "\n".join([head, *rows, ""]) if rows else ""
