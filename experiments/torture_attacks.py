"""The attacks of `make torture`: each takes a fresh world, does one harm at a random moment, and returns what it found
wrong.
"""

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch.distributed.run import main as torchrun

import clipbench.files
from torture_world import (
    GRACE,
    READ_ONLY,
    REMOUNT,
    Ended,
    World,
    children_of,
    is_complete,
    kill,
    mount,
    new_world,
    notes,
    numbers,
    orphans,
    small_disk,
)

NOBODY = 65534
HOURS = 7200
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Ask whether a child has ended, which then still waits to be reaped."""
PATIENCE_OF_RANKS = 20.0
"""Seconds that a process of several may outlive the one that has started it: it has 15 to put away its work."""
LAST = "step-12/model.safetensors"
"""Weights of a training's last step."""
CACHE_OF_TORCH = "torchinductor_"
"""Beginning of the name of a folder in TMPDIR that torch makes once per user, and keeps."""
KINDS = ("flipped bit", "cut", "zeros", "emptied", "noise", "another model's", "no digest", "no permission", "a folder")
"""Kinds of damage to a chunk."""

Attack = Callable[["Bench", random.Random], list[str]]


@dataclass
class Bench:
    """Results of undisturbed commands, and how long they take."""

    root: Path
    expected: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Numbers of a run, by model."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of a command that was not disturbed, by its name."""
    report: bytes = b""
    weights: bytes = b""
    template: Path = Path()
    """A world with a finished run, its store and a training."""
    watched: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Numbers of each checkpoint of the training."""

    def time(self, name: str, world: World, arguments: Sequence[str], **how: Any) -> list[str]:
        """Run a command undisturbed, the first time, and return what is wrong already."""
        if name in self.seconds:
            return []
        start = time.monotonic()
        ended = world.do(arguments, **how)
        if ended.status:
            return [f"undisturbed {name}: {ended.status} {ended.err}"]
        self.seconds[name] = time.monotonic() - start
        world.import_its_modules()
        return []

    def prepare(self, names: Iterable[str]) -> list[str]:
        """Run undisturbed every command that attacks of these names need, and return what is wrong already."""
        self.template = self.root / "template"
        world = World(self.template)

        def is_needed(*words: str) -> bool:
            return any(word in name for name in names for word in words)

        commands = {"first": world.run("first", more=["--no-report"]), "run": world.run("done")}
        if is_needed("report", "several", "another", "readers", "view"):
            commands |= {name: world.run(name, model=name, more=["--no-report"]) for name in "bc"}
            commands["report"] = ["report", "done", "-o", "again.html"]
        if is_needed("train", "watch", "resume"):
            commands |= {"train": world.train("trained"), "watch": watch()}
        wrong = [each for name, arguments in commands.items() for each in self.time(name, world, arguments)]
        self.expected = {"a": numbers(world.folder / "done")}
        if "report" in commands:
            self.expected |= {name: numbers(world.folder / name) for name in "bc"}
            self.report = (world.folder / "again.html").read_bytes()
        if "train" in commands:
            self.weights = (world.folder / "trained" / LAST).read_bytes()
            watched = world.folder.glob("watched/*/result.json")
            self.watched = {path.parent.name: numbers(path.parent) for path in watched}
            wrong += [] if len(self.watched) > 3 else [f"watched {list(self.watched)}"]
            shutil.rmtree(world.folder / "watched")
        return wrong


def attacks(*, may_mount: bool) -> dict[str, Attack]:
    """Return the attacks by name; those that need a disk of their own only where one can be mounted."""
    named: dict[str, Attack] = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for workers in (0, 2):
            named[f"run, {number.name}, {workers} workers"] = partial(stopped_run, number=number, workers=workers)
        named[f"watch, {number.name}"] = partial(stopped_watch, number=number)
        named[f"train, {number.name}"] = partial(stopped_train, number=number)
        named[f"report, {number.name}"] = partial(stopped_report, number=number)
        for way in ("cpu,cpu", "torchrun"):
            named[f"run by {way}, {number.name}"] = partial(stopped_processes, number=number, way=way)
    named["run, a worker killed"] = worker_killed
    for kind in KINDS:
        if kind != "no permission" or os.getuid() == 0:
            named[f"chunks: {kind}"] = partial(damaged, kind=kind)
    for count in (2, 8):
        named[f"{count} processes, one model"] = partial(together, models="a" * count)
        named[f"{count} processes, several models"] = partial(together, models=("abc" * count)[:count])
    named["8 processes, some killed"] = partial(together, models="a" * 8, kills=3)
    named["2 processes, one output"] = one_output
    named["2 --resume of one training"] = two_resumes
    named["a clock 2 hours ahead"] = partial(together, models="aa", clock=HOURS)
    named["a clock 2 hours behind"] = partial(together, models="aa", clock=-HOURS)
    named["the store deleted meanwhile"] = deleted_store
    named["readers beside a killed run"] = readers
    named["data that change while they are read"] = changing_data
    if may_mount:
        for where in ("cache", "out", "both"):
            named[f"run, full disk: {where}"] = partial(full_disk, where=where)
            named[f"run, read-only disk: {where}"] = partial(read_only, where=where)
        named["train, full disk"] = full_disk_of_training
    return named


def watch() -> list[str]:
    """Return the arguments of a watch."""
    options = ["--device", "cpu", "--workers", "0", "--interval", "0.01", "--thumbnails", "4", "--no-report"]
    tasks = ["--tasks", "retrieval@data/images.jsonl", "--out", "watched"]
    return ["run", "--watch", "trained", "--idle", "0", *tasks, *options]


def stopped(
    world: World,
    arguments: Sequence[str],
    number: int,
    after: float,
    *,
    ready: Callable[[int], object] | None = None,
    **how: Any,
) -> tuple[Ended, list[str]]:
    """Start a command, wait until it is ready, send it a signal, and return how it ended and what was wrong with
    that.
    """
    child = world.start(arguments, **how)
    if ready is not None:
        ready(child)
    time.sleep(after)
    kill(child, number)
    ended = world.end(child)
    wrong = unclear(ended)
    is_silent = ended.status == -number and not ended.out + ended.err  # it had not begun to listen
    if number != signal.SIGKILL and ended.status not in (0, 130) and not is_silent:
        wrong.append(f"ended with {ended.status} after signal {number}: {ended.err[-300:]}")
    return ended, wrong + outliving()


def outliving(grace: float = GRACE) -> list[str]:
    """Return whether processes are left of commands that have ended."""
    return [f"{len(left)} processes outlived the command"] if (left := orphans(grace)) else []


def unclear(ended: Ended) -> list[str]:
    """Return what is wrong with the way in which a command says that it failed."""
    if "Traceback" in ended.err or "(a bug in" in ended.err or ended.status == -99:
        return [f"status {ended.status}: {ended.err[-800:]}"]
    if ended.status > 0 and not any(line.startswith("clipbench: ") for line in ended.err.splitlines()):
        return [f"status {ended.status} without a line: {ended.err[-300:]!r}"]
    return []


def goes_on(
    world: World, bench: Bench, out: str = "out", model: str = "a", more: Sequence[str] = (), **how: Any
) -> list[str]:
    """Return what is wrong with a run after an attack: the same command has to finish it with the same numbers."""
    folder = world.folder / out
    if (folder / "result.json").exists() and not is_complete(folder):  # its failures are said, and it stays as it is
        out, folder = f"{out}-again", world.folder / f"{out}-again"
    committed = set(world.chunks())
    wrong = []
    if not (is_complete(folder) and (folder / "report.html").exists()):
        ended = world.do(world.run(out, model=model, more=more), **how)
        if ended.status:
            return [f"the next run ended with {ended.status}: {ended.err[-500:]}"]
        if lost := committed - set(world.chunks()):
            wrong.append(f"{len(lost)} committed chunks are gone")
    if found := notes(folder):
        wrong.append(f"the next run noted {found}")
    return wrong + rightness(folder, bench.expected.get(model, bench.expected["a"])) + leftovers(world)


def rightness(folder: Path, expected: Mapping[str, Any]) -> list[str]:
    """Return whether a run's numbers are others than those of an undisturbed one."""
    found = numbers(folder)
    differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    return [f"{len(differing)} wrong numbers, the first {differing[0]}"] if differing else []


def leftovers(world: World) -> list[str]:
    """Return the unfinished and temporary files that are left in a world."""
    left = [path for path in world.folder.rglob(".*.half") if path.is_file()]
    left += [path for path in world.temporary.iterdir() if not (is_of_torch(path) or is_trial_of_python(path))]
    return [f"left behind: {path.relative_to(world.folder)}" for path in left]


def is_of_torch(path: Path) -> bool:
    return path.name.startswith(CACHE_OF_TORCH)


def is_trial_of_python(path: Path) -> bool:
    """Return whether a file is the one with which Python finds out, at each start, where temporary files may be."""
    return path.is_file() and path.read_bytes() == b"blat"


def stopped_run(bench: Bench, rng: random.Random, *, number: int, workers: int) -> list[str]:
    with new_world(bench.root) as world:
        arguments = world.run("out", workers=workers)
        amid = workers > 0 and rng.random() < 0.7  # among the workers, which are there for a part of the time only
        after = rng.uniform(0, 0.2 if amid else 1.1 * bench.seconds["run"])
        _, wrong = stopped(world, arguments, number, after, ready=wait_for_workers if amid else None)
        return wrong + goes_on(world, bench)


def by_torchrun(arguments: list[str]) -> None:
    torchrun(arguments)
    sys.exit(0)


def stopped_processes(bench: Bench, rng: random.Random, *, number: int, way: str) -> list[str]:
    """Stop a run of two processes, or one of them: half of the time soon after they are there, before they have met."""
    with new_world(bench.root) as world:
        model = "steady:a"  # a factory of one's own takes no --device
        devices = ["--device", "cpu,cpu" if way == "cpu,cpu" else "cpu"]
        arguments = world.run("out", model=model, more=devices)
        logs = str(world.folder / "logs")  # without it torchrun makes a folder in TMPDIR, and keeps it
        program = ["--standalone", "--nproc-per-node", "2", "--log-dir", logs, "-m", "clipbench", *arguments]
        prepare = partial(by_torchrun, program) if way == "torchrun" else None
        if way not in bench.seconds:
            wrong = bench.time(way, world, arguments, prepare=prepare)
            return wrong + goes_on(world, bench, model=model)
        child = world.start(arguments, prepare=prepare)
        ranks = wait_for_workers(child, 2 if way == "torchrun" else 1)
        victim = rng.choice((child, *ranks))
        time.sleep(rng.uniform(0, rng.choice((1.4, bench.seconds[way]))))
        kill(victim, number)
        ended = world.end(child)
        if way == "torchrun":  # which has words and a traceback of its own
            wrong = [ended.err] if "/clipbench/" in ended.err or "(a bug in" in ended.err or ended.status == -99 else []
        else:
            wrong = unclear(ended)
            may_be = (0, 2, 130) if victim != child else (0, -9) if number == signal.SIGKILL else (0, 130)
            wrong += [f"ended with {ended.status}: {ended.err[-300:]}"] if ended.status not in may_be else []
        wrong += outliving(PATIENCE_OF_RANKS)
        again: dict[str, Any] = {"more": devices, "prepare": prepare} if rng.random() < 0.25 else {}
        wrong += goes_on(world, bench, model=model, **again)
        return [f"{number} to {'launcher' if victim == child else 'rank'}: {each}" for each in wrong]


def stopped_report(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        (world.folder / "again.html").unlink()
        arguments = ["report", "done", "-o", "again.html"]
        _, wrong = stopped(world, arguments, number, rng.uniform(0, 1.1 * bench.seconds["report"]))
        page = world.folder / "again.html"
        if page.exists() and page.read_bytes() != bench.report:
            wrong.append("half a report has its name")
        if world.do(arguments).status or page.read_bytes() != bench.report:
            wrong.append("the report cannot be made again")
        return wrong + leftovers(world)


def stopped_train(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    with new_world(bench.root) as world:
        arguments = world.train("run", workers=rng.choice((0, 2)))
        _, wrong = stopped(world, arguments, number, rng.uniform(0, 1.1 * bench.seconds["train"]))
        return wrong + training_goes_on(world, bench, rng)


def training_goes_on(world: World, bench: Bench, rng: random.Random, out: str = "run") -> list[str]:
    """Return what is wrong with a training after an attack: it has to end with the weights of an undisturbed one."""
    run = world.folder / out
    has_checkpoint = any(run.glob("step-*"))
    may_resume = (
        has_checkpoint or '"start"' in (run / "log.jsonl").read_text() if (run / "log.jsonl").exists() else False
    )
    is_resumed = has_checkpoint or (may_resume and rng.random() < 0.5)
    ended = world.do(world.train(out, resume=is_resumed))
    if ended.status:
        return [f"{'--resume' if is_resumed else 'a fresh start'} ended with {ended.status}: {ended.err[-500:]}"]
    left = [path.name for path in run.iterdir() if path.name.startswith(".")]
    wrong = [f"left behind: {left}"] if left else []
    return wrong + (["other weights than undisturbed"] if (run / LAST).read_bytes() != bench.weights else [])


def stopped_watch(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        _, wrong = stopped(world, watch(), number, rng.uniform(0, 1.1 * bench.seconds["watch"]))
        ended = world.do(watch())
        if ended.status:
            return [*wrong, f"the next watch ended with {ended.status}: {ended.err[-500:]}"]
        for name, expected in bench.watched.items():
            wrong += rightness(world.folder / "watched" / name, expected)
        return wrong + leftovers(world)


def wait_for_workers(command: int, n: int = 1, patience: float = 30.0) -> list[int]:
    """Return the workers of a command once it has some; fewer if it has ended without."""
    until = time.monotonic() + patience
    while (
        len(workers := children_of(command)) < n
        and time.monotonic() < until
        and not os.waitid(os.P_PID, command, ENDED)
    ):
        time.sleep(0.001)
    return workers


def worker_killed(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        child = world.start(world.run("out", workers=2))
        workers = wait_for_workers(child)
        time.sleep(rng.uniform(0, 0.1))
        for worker in rng.sample(workers, min(1, len(workers))):
            kill(worker, signal.SIGKILL)
        ended = world.end(child)
        wrong = unclear(ended)
        if ended.status not in (0, 2) or (ended.status and "a worker process that decodes images" not in ended.err):
            wrong.append(f"a killed worker ended it with {ended.status}: {ended.err[-300:]}")
        return wrong + goes_on(world, bench)


def damaged(bench: Bench, rng: random.Random, *, kind: str) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        result = (world.folder / "done/result.json").read_text()
        chunks = [path for path in world.chunks() if path.parent.parent.name in result]
        victims = rng.sample(chunks, rng.randint(1, min(3, len(chunks))))
        for chunk in victims:
            spoil(chunk, kind, rng, [path for path in world.chunks() if path.parent.parent != chunk.parent.parent])
        user = NOBODY if kind == "no permission" else None
        if user is not None:
            for path in (world.folder, *world.folder.rglob("*")):
                os.chown(path, user, user)
        ended = world.do(world.run("out"), user=user)
        if ended.status:
            return [*unclear(ended), f"ended with {ended.status}: {ended.err[-500:]}"]
        found = notes(world.folder / "out")
        wrong = rightness(world.folder / "out", bench.expected["a"])
        # One of another model may hold nothing but what later chunks hold too: then nobody looks at it.
        stays = kind in ("no permission", "a folder", "another model's")
        if not found and kind != "another model's":
            wrong.append(f"{len(victims)} chunks with {kind} were not noticed")
        wrong += [f"{kind}: a chunk is still there" for chunk in victims if chunk.exists() and not stays]
        if kind not in ("no permission", "a folder"):
            ended = world.do(world.run("again"))
            wrong += [f"the next run ended with {ended.status}"] if ended.status else []
            wrong += [f"noted again: {found}" for found in notes(world.folder / "again")]
        return wrong


def spoil(chunk: Path, kind: str, rng: random.Random, others: Sequence[Path]) -> None:
    """Damage a chunk."""
    content = bytearray(chunk.read_bytes())
    place = rng.randrange(len(content))
    match kind:
        case "flipped bit":
            content[place] ^= 1 << rng.randrange(8)
        case "cut":
            del content[place:]
        case "zeros":
            content[-max(17, len(content) - place) :] = bytes(max(17, len(content) - place))
        case "emptied":
            content.clear()
        case "noise":
            content = bytearray(rng.randbytes(len(content)))
        case "another model's":
            same = [path for path in others if path.parent.name == chunk.parent.name]
            content = bytearray(rng.choice(same).read_bytes())
        case "no digest":
            del content[-16:]
    if kind == "a folder":
        chunk.unlink()
        chunk.mkdir()
        return
    chunk.write_bytes(content)
    if kind == "no permission":
        chunk.chmod(0)


def together(bench: Bench, rng: random.Random, *, models: Sequence[str], kills: int = 0, clock: int = 0) -> list[str]:
    """Run several processes on one store, some of which are killed or have another clock."""
    with new_world(bench.root) as world:
        started = []
        for number, model in enumerate(models):
            shift = partial(shift_clock, clock if number == 0 else 0)
            arguments = world.run(f"out-{number}", model=model, workers=rng.choice((0, 0, 2)))
            started.append(world.start(arguments, prepare=shift if clock else None))
            time.sleep(rng.uniform(0, 0.1))
        victims = rng.sample(range(len(models)), kills)
        for number in victims:
            time.sleep(rng.uniform(0, 0.3))
            kill(started[number], signal.SIGKILL)
        wrong = []
        for number, child in enumerate(started):
            ended = world.end(child, 240)
            if number not in victims:
                wrong += [f"one of several ended with {ended.status}: {ended.err[-500:]}"] if ended.status else []
        wrong += outliving()
        for number, model in enumerate(models):
            wrong += goes_on(world, bench, f"out-{number}", model=model)
        return wrong


def shift_clock(seconds: int) -> None:
    """Set this process's clock ahead, and have its files take long to be written, so that others meet them
    unfinished.
    """
    real, real_ns, sync = time.time, time.time_ns, os.fsync
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + seconds * 10**9

    def slow(handle: Any) -> None:
        time.sleep(0.05)
        sync(handle)

    os.fsync = slow  # type: ignore[assignment]


def two_at_once(world: World, arguments: Sequence[str], pause: float, **how: Any) -> list[Ended]:
    """Start a command twice, and return how both ended."""
    first = world.start(arguments, **how)
    time.sleep(pause)
    second = world.start(arguments, **how)
    return [world.end(first), world.end(second)]


def one_output(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        ends = two_at_once(world, world.run("out"), rng.uniform(0, bench.seconds["run"]))
        wrong = [each for ended in ends for each in unclear(ended)]
        if not any(ended.status == 0 for ended in ends) or any(ended.status not in (0, 2) for ended in ends):
            wrong.append(
                f"two runs into one folder ended with {[ended.status for ended in ends]}: {ends[1].err[-300:]}"
            )
        return wrong + goes_on(world, bench)


def two_resumes(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        stopped(world, world.train("run"), signal.SIGTERM, rng.uniform(0.3, 0.8) * bench.seconds["train"])
        if not any((world.folder / "run").glob("step-*")):
            return training_goes_on(world, bench, rng)
        ends = two_at_once(world, world.train("run", resume=True), rng.uniform(0, 0.1))
        wrong = [each for ended in ends for each in unclear(ended)]
        if not any(ended.status == 0 for ended in ends):
            wrong.append(f"two --resume ended with {[ended.status for ended in ends]}")
        return wrong + training_goes_on(world, bench, rng)


def deleted_store(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        child = world.start(world.run("out", workers=rng.choice((0, 2))))
        for _ in range(rng.randint(1, 4)):
            time.sleep(rng.uniform(0, 0.4 * bench.seconds["run"]))
            shutil.rmtree(world.cache, ignore_errors=True)
        ended = world.end(child)
        wrong = unclear(ended) + ([f"ended with {ended.status}: {ended.err[-300:]}"] if ended.status else [])
        return wrong + goes_on(world, bench)


def readers(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        run = world.start(world.run("out", model="b", workers=2))
        until = time.monotonic() + rng.uniform(0, 1.2 * bench.seconds["run"])
        wrong = []
        commands = (
            ["show", "out"],
            ["compare", "done", "out"],
            ["export", "out", "--to", "csv", "-o", "out.csv"],
            ["report", "out", "-o", "r.html"],
        )
        while True:
            ended = world.do(rng.choice(commands))
            wrong += unclear(ended)
            if ended.status not in (0, 2, 3):
                wrong.append(f"a reader ended with {ended.status}")
            if time.monotonic() > until:
                break
        kill(run, signal.SIGKILL)
        world.end(run)
        wrong += outliving()
        for command in commands:
            wrong += unclear(world.do(command))
        return wrong + goes_on(world, bench, model="b")


def changing_data(bench: Bench, rng: random.Random) -> list[str]:
    """Replace images and the table during a run, and put them back: no later run has a vector of another image."""
    with new_world(bench.root) as world:
        child = world.start(world.run("out", workers=rng.choice((0, 2))))
        files = sorted((world.folder / "data").iterdir())
        until = time.monotonic() + rng.uniform(0, 1.2 * bench.seconds["run"])
        while time.monotonic() < until:
            file, other = rng.sample(files, 2)
            content = file.read_bytes()
            replace(file, other.read_bytes()[: rng.choice((None, 50))])
            time.sleep(rng.uniform(0, 0.02))
            replace(file, content)
        ended = world.end(child)
        wrong = unclear(ended) + outliving()
        if ended.status not in (0, 2, 3):
            wrong.append(f"changing data ended it with {ended.status}: {ended.err[-300:]}")
        return wrong + goes_on(world, bench, "again")


def replace(file: Path, content: bytes) -> None:
    """Replace a file in one step."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


@contextlib.contextmanager
def disk_as(world: World, where: str, n_bytes: int) -> Iterator[Path]:
    """Mount a small disk as the store, as the folder of outputs, or as both."""
    disk = world.cache if where == "cache" else world.folder / "disk"
    world.cache = disk / "cache" if where == "both" else world.cache
    with small_disk(disk, n_bytes):
        yield disk


def full_disk(bench: Bench, rng: random.Random, *, where: str) -> list[str]:
    """Leave a random room on a disk, with and without the check before the work."""
    with new_world(bench.root) as world, disk_as(world, where, 8 << 20) as disk:
        out = "out" if where == "cache" else "disk/out"
        free = rng.choice((rng.randrange(0, 300_000), rng.randrange(0, 3 << 20)))
        filler = fill(disk, free)
        unchecked = check_no_room if rng.random() < 0.7 else None
        ended = world.do(world.run(out, workers=rng.choice((0, 2))), prepare=unchecked)
        wrong = unclear(ended)
        if ended.status == 0:
            wrong += rightness(world.folder / out, bench.expected["a"])
        elif "No space left" not in ended.err and "MB free" not in ended.err:
            wrong.append(f"a full disk ended it with {ended.status}: {ended.err[-300:]}")
        for image in (world.folder / out).rglob("*.webp"):
            wrong += [f"half an image: {image.name}"] if not is_whole_webp(image) else []
        filler.unlink()
        return wrong + goes_on(world, bench, out)


def is_whole_webp(path: Path) -> bool:
    """Return whether a WebP image is as long as it says."""
    content = path.read_bytes()
    return content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(content)


def read_only(bench: Bench, rng: random.Random, *, where: str) -> list[str]:
    with new_world(bench.root) as world, disk_as(world, where, 16 << 20) as disk:
        out = "out" if where == "cache" else "disk/out"
        child = world.start(world.run(out))
        time.sleep(rng.choice((0.0, rng.uniform(0, bench.seconds["run"]))))
        with contextlib.suppress(OSError):  # a file is being written just now
            mount(disk, REMOUNT | READ_ONLY)
        ended = world.end(child)
        wrong = unclear(ended)
        if ended.status and "Read-only" not in ended.err:
            wrong.append(f"a read-only disk ended it with {ended.status}: {ended.err[-300:]}")
        mount(disk, REMOUNT)
        return wrong + goes_on(world, bench, out)


def full_disk_of_training(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world, small_disk(world.folder / "disk", 8 << 20):
        filler = fill(world.folder / "disk", rng.randrange(0, 1_500_000))
        ended = world.do(world.train("disk/run"), prepare=check_no_room)
        wrong = unclear(ended)
        if ended.status and "No space left" not in ended.err and "MB free" not in ended.err:
            wrong.append(f"a full disk ended it with {ended.status}: {ended.err[-300:]}")
        filler.unlink()
        return wrong + (training_goes_on(world, bench, rng, "disk/run") if ended.status else [])


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes of a disk of 8 MB, and return the file that takes the others."""
    filler = disk / "filler"
    filler.write_bytes(bytes((8 << 20) - (free + 4095) // 4096 * 4096 - 8192))
    return filler


def check_no_room() -> None:
    clipbench.files.LEAST_FREE = 0
