"""The attacks of `make torture`: each takes a fresh world, does one harm at a random moment, and returns what it found wrong."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import clipbench.files
from torture_world import (
    Ended,
    World,
    children_of,
    has_ended,
    new_world,
    notes,
    numbers,
    orphans,
    set_read_only,
    small_disk,
)

NOBODY = 65534
HOURS = 7200
FILLER = "filler"
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
    """Seconds of a command, by its name."""
    report: bytes = b""
    weights: bytes = b""
    template: Path = Path()
    """A world with a finished run, its store and a training."""
    watched: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Numbers of each checkpoint of the training."""
    serve: Callable[[World], contextlib.AbstractContextManager[dict[str, str]]] | None = None
    """Serves a data set, and yields the environment in which it is found."""

    def prepare(self, *, trains: bool, is_short: bool) -> list[str]:
        """Run every command undisturbed, or runs of one model alone, and return what is wrong already."""
        self.template = self.root / "template"
        world = World(self.template)
        wrong = []
        commands = {"first": world.run("first", more=["--no-report"]), "run": world.run("done")}
        if not is_short:
            commands |= {name: world.run(name, model=name, more=["--no-report"]) for name in "bc"}
            commands["report"] = ["report", "done", "-o", "again.html"]
        if trains:
            commands |= {"train": world.train("trained"), "watch": watch()}
        for name, arguments in commands.items():
            start = time.monotonic()
            ended = world.do(arguments)
            self.seconds[name] = time.monotonic() - start
            wrong += [f"undisturbed {name}: {ended.status} {ended.err}"] if ended.status else []
            world.import_its_modules()
        self.expected = {"a": numbers(world.folder / "done")}
        if is_short:
            return wrong
        self.expected |= {name: numbers(world.folder / name) for name in "bc"}
        self.report = (world.folder / "again.html").read_bytes()
        if not trains:
            return wrong
        self.weights = last_weights(world.folder / "trained")
        self.watched = {path.parent.name: numbers(path.parent) for path in world.folder.glob("watched/*/result.json")}
        shutil.rmtree(world.folder / "watched")
        return wrong + ([] if len(self.watched) > 3 else [f"watched {list(self.watched)}"])


def attacks(*, may_mount: bool, may_serve: bool) -> dict[str, Attack]:
    """Return the attacks by name; those that need a disk of their own only where one can be mounted."""
    named: dict[str, Attack] = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        for workers in (0, 2):
            named[f"run, {number.name}, {workers} workers"] = partial(stopped_run, number=number, workers=workers)
        named[f"watch, {number.name}"] = partial(stopped_watch, number=number)
        named[f"train, {number.name}"] = partial(stopped_train, number=number)
        named[f"report, {number.name}"] = partial(stopped_report, number=number)
        if may_serve:
            named[f"data get, {number.name}"] = partial(stopped_get, number=number)
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
    if may_serve:
        named["2 data get of one data set"] = two_gets
    named["a clock 2 hours ahead"] = partial(together, models="aa", clock=HOURS)
    named["a clock 2 hours behind"] = partial(together, models="aa", clock=-HOURS)
    named["the store deleted meanwhile"] = deleted_store
    named["readers beside a killed run"] = readers
    if may_mount:
        for where in ("cache", "out", "both"):
            named[f"run, full disk: {where}"] = partial(full_disk, where=where)
            named[f"run, read-only disk: {where}"] = partial(read_only, where=where)
        named["train, full disk"] = full_disk_of_training
    return named


def watch() -> list[str]:
    """Return the arguments of a watch."""
    more = ["--device", "cpu", "--workers", "0", "--interval", "0.01", "--thumbnails", "4", "--no-report"]
    return ["watch", "trained", "--once", "--tasks", "retrieval@data/images.jsonl", "--out", "watched", *more]


def last_weights(run: Path) -> bytes:
    """Return the weights of a training's last step."""
    return (run / "step-12/model.safetensors").read_bytes()


def stopped(
    world: World, arguments: Sequence[str], number: int, after: float, *, amid: bool = False, **how: Any
) -> tuple[Ended, list[str]]:
    """Start a command, send it a signal, and return how it ended and what was wrong with that.

    Args:
        after: seconds from its start, or from that of its workers.
        amid: wait for its workers.
    """
    child = world.start(arguments, **how)
    if amid:
        wait_for_workers(child)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    ended = world.end(child)
    wrong = unclear(ended)
    if number != signal.SIGKILL and ended.status not in (0, 130):
        wrong.append(f"ended with {ended.status} after signal {number}: {ended.err[-300:]}")
    if left := orphans():
        wrong.append(f"{len(left)} processes outlived the command")
    return ended, wrong


def unclear(ended: Ended) -> list[str]:
    """Return what is wrong with the way in which a command says that it failed."""
    if "Traceback" in ended.err or "(a bug in" in ended.err or ended.status == -99:
        return [f"status {ended.status}: {ended.err[-800:]}"]
    if ended.status > 0 and not any(line.startswith("clipbench: ") for line in ended.err.splitlines()):
        return [f"status {ended.status} without a line: {ended.err[-300:]!r}"]
    return []


def goes_on(world: World, bench: Bench, out: str = "out", *, model: str = "a", workers: int = 0) -> list[str]:
    """Return what is wrong with a run after an attack: the same command has to finish it with the same numbers."""
    folder = world.folder / out
    committed = set(world.chunks())
    wrong = []
    if not ((folder / "result.json").exists() and (folder / "report.html").exists()):
        ended = world.do(world.run(out, model=model, workers=workers))
        if ended.status:
            return [f"the next run ended with {ended.status}: {ended.err[-500:]}"]
        if lost := committed - set(world.chunks()):
            wrong.append(f"{len(lost)} committed chunks are gone")
    if found := notes(folder):
        wrong.append(f"the next run noted {found}")
    return wrong + rightness(folder, bench.expected[model]) + leftovers(world)


def rightness(folder: Path, expected: Mapping[str, Any]) -> list[str]:
    """Return whether a run's numbers are others than those of an undisturbed one."""
    found = numbers(folder)
    differing = [name for name in expected if found.get(name) != expected[name]]
    return (
        [f"{len(differing)} wrong numbers, the first {differing[0]}"] if differing or set(found) - set(expected) else []
    )


def leftovers(world: World) -> list[str]:
    """Return the unfinished files that lie about in a world."""
    left = [path for path in world.folder.rglob(".*.half") if path.is_file()]
    return [f"left behind: {path.relative_to(world.folder)}" for path in left]


def stopped_run(bench: Bench, rng: random.Random, *, number: int, workers: int) -> list[str]:
    with new_world(bench.root) as world:
        arguments = world.run("out", workers=workers)
        amid = workers > 0 and rng.random() < 0.7  # among the workers, which are there for a part of the time only
        after = rng.uniform(0, 0.2 if amid else 1.1 * bench.seconds["run"])
        _, wrong = stopped(world, arguments, number, after, amid=amid)
        return wrong + goes_on(world, bench)


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


def training_goes_on(world: World, bench: Bench, rng: random.Random) -> list[str]:
    """Return what is wrong with a training after an attack: it has to end with the weights of an undisturbed one."""
    run = world.folder / "run"
    has_checkpoint = any(run.glob("step-*"))
    may_resume = (
        has_checkpoint or '"start"' in (run / "log.jsonl").read_text() if (run / "log.jsonl").exists() else False
    )
    is_resumed = has_checkpoint or (may_resume and rng.random() < 0.5)
    ended = world.do(world.train("run", resume=is_resumed))
    if ended.status:
        return [f"{'--resume' if is_resumed else 'a fresh start'} ended with {ended.status}: {ended.err[-500:]}"]
    left = [path.name for path in run.iterdir() if path.name.startswith(".")]
    wrong = [f"left behind: {left}"] if left else []
    return wrong + (["other weights than undisturbed"] if last_weights(run) != bench.weights else [])


def stopped_watch(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        _, wrong = stopped(world, watch(), number, rng.uniform(0, 1.1 * bench.seconds["watch"]))
        ended = world.do(watch())
        if ended.status:
            return [*wrong, f"the next watch ended with {ended.status}: {ended.err[-500:]}"]
        for name, expected in bench.watched.items():
            wrong += rightness(world.folder / "watched" / name, expected)
        return wrong + leftovers(world)


def stopped_get(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    assert bench.serve is not None
    with new_world(bench.root) as world, bench.serve(world) as environment:
        get = partial(os.environ.update, environment)
        arguments = ["data", "get", "mnist", "--data-root", "sets", "--quiet"]
        _, wrong = stopped(world, arguments, number, rng.uniform(0, 0.8), prepare=get)
        ended = world.do(arguments, prepare=get)
        return [*wrong, *unclear(ended), *is_whole_set(world, [ended])]


def is_whole_set(world: World, downloads: Sequence[Ended]) -> list[str]:
    """Return what is wrong with a data set after the last download."""
    wrong = [f"data get ended with {ended.status}: {ended.err[-300:]}" for ended in downloads if ended.status]
    served, got = world.folder / "served", world.folder / "sets/mnist"
    for path in served.rglob("*"):
        if path.is_file() and not (got / path.name).exists() and not list(got.rglob(path.name)):
            wrong.append(f"{path.name} is missing")
    for path in got.rglob("*.tar"):
        if path.read_bytes() != next(served.rglob(path.name)).read_bytes():
            wrong.append(f"{path.name} has other bytes than were served")
    return wrong + [f"left behind: {path.name}" for path in (world.folder / "sets").glob(".*")]


def two_gets(bench: Bench, rng: random.Random) -> list[str]:
    assert bench.serve is not None
    with new_world(bench.root) as world, bench.serve(world) as environment:
        arguments = ["data", "get", "mnist", "--data-root", "sets", "--quiet"]
        first = world.start(arguments, prepare=partial(os.environ.update, environment))
        time.sleep(rng.uniform(0, 0.5))
        second = world.start(arguments, prepare=partial(os.environ.update, environment))
        return is_whole_set(world, [world.end(first), world.end(second)])


def wait_for_workers(command: int, patience: float = 10.0) -> list[int]:
    """Return the workers of a command once it has some; none if it has ended without."""
    until = time.monotonic() + patience
    while not (workers := children_of(command)) and time.monotonic() < until and not has_ended(command):
        time.sleep(0.001)
    return workers


def worker_killed(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        child = world.start(world.run("out", workers=2))
        workers = wait_for_workers(child)
        time.sleep(rng.uniform(0, 0.1))
        for worker in rng.sample(workers, min(1, len(workers))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        ended = world.end(child)
        wrong = unclear(ended)
        if ended.status not in (0, 2) or (ended.status and "a worker process that decodes images" not in ended.err):
            wrong.append(f"a killed worker ended it with {ended.status}: {ended.err[-300:]}")
        return wrong + goes_on(world, bench)


def damaged(bench: Bench, rng: random.Random, *, kind: str) -> list[str]:
    with new_world(bench.root, bench.template) as world:
        chunks = world.chunks("steady-a") or [path for path in world.chunks() if is_of(path, world, "done")]
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


def is_of(chunk: Path, world: World, out: str) -> bool:
    """Return whether a chunk is of the model of a run."""
    return chunk.parent.parent.name in (world.folder / out / "result.json").read_text()


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
            with contextlib.suppress(ProcessLookupError):
                os.kill(started[number], signal.SIGKILL)
        wrong = []
        for number, child in enumerate(started):
            ended = world.end(child, 240)
            if number not in victims:
                wrong += [f"one of several ended with {ended.status}: {ended.err[-500:]}"] if ended.status else []
        wrong += [f"{len(left)} processes were left"] if (left := orphans()) else []
        for number, model in enumerate(models):
            wrong += goes_on(world, bench, f"out-{number}", model=model)
        return wrong


def shift_clock(seconds: int) -> None:
    """Set this process's clock ahead, and have its files take long to be written, so that others meet them unfinished."""
    real, real_ns, sync = time.time, time.time_ns, os.fsync
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + seconds * 10**9

    def slow(handle: Any) -> None:
        time.sleep(0.05)
        sync(handle)

    os.fsync = slow  # type: ignore[assignment]


def one_output(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world:
        first = world.start(world.run("out"))
        time.sleep(rng.uniform(0, bench.seconds["run"]))
        second = world.start(world.run("out"))
        ends = [world.end(first), world.end(second)]
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
        first = world.start(world.train("run", resume=True))
        time.sleep(rng.uniform(0, 0.1))
        second = world.start(world.train("run", resume=True))
        ends = [world.end(first), world.end(second)]
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
        with contextlib.suppress(ProcessLookupError):
            os.kill(run, signal.SIGKILL)
        world.end(run)
        wrong += [f"{len(left)} processes outlived the run"] if (left := orphans()) else []
        for command in commands:
            wrong += unclear(world.do(command))
        return wrong + goes_on(world, bench, model="b")


@contextlib.contextmanager
def disks(world: World, where: str, n_bytes: int) -> Iterator[list[Path]]:
    """Mount a small disk as the store, as the folder of outputs, or one as both."""
    with contextlib.ExitStack() as stack:
        places = []
        if where == "both":
            places = [world.folder / "disk"]
            stack.enter_context(small_disk(places[0], n_bytes))
            world.cache = places[0] / "cache"
        else:
            places = [world.cache if where == "cache" else world.folder / "disk"]
            stack.enter_context(small_disk(places[0], n_bytes))
        yield places


def full_disk(bench: Bench, rng: random.Random, *, where: str) -> list[str]:
    """Leave a random room on a disk, with and without the check before the work."""
    with new_world(bench.root) as world, disks(world, where, 8 << 20) as (disk,):
        out = "out" if where == "cache" else "disk/out"
        free = rng.choice((rng.randrange(0, 300_000), rng.randrange(0, 3 << 20)))
        (disk / FILLER).write_bytes(bytes((8 << 20) - (free + 4095) // 4096 * 4096 - 8192))
        unchecked = partial(setattr, clipbench.files, "LEAST_FREE", 0) if rng.random() < 0.7 else None
        ended = world.do(world.run(out, workers=rng.choice((0, 2))), prepare=unchecked)
        wrong = unclear(ended)
        if ended.status == 0:
            wrong += rightness(world.folder / out, bench.expected["a"])
        elif "No space left" not in ended.err and "MB free" not in ended.err:
            wrong.append(f"a full disk ended it with {ended.status}: {ended.err[-300:]}")
        for image in (world.folder / out).rglob("*.webp"):
            wrong += [f"half an image: {image.name}"] if not is_whole_webp(image) else []
        (disk / FILLER).unlink()
        return wrong + goes_on(world, bench, out)


def is_whole_webp(path: Path) -> bool:
    """Return whether a WebP image is as long as it says."""
    content = path.read_bytes()
    return content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(content)


def read_only(bench: Bench, rng: random.Random, *, where: str) -> list[str]:
    with new_world(bench.root) as world, disks(world, where, 16 << 20) as (disk,):
        out = "out" if where == "cache" else "disk/out"
        child = world.start(world.run(out))
        time.sleep(rng.choice((0.0, rng.uniform(0, bench.seconds["run"]))))
        with contextlib.suppress(OSError):  # a file is being written just now
            set_read_only(disk, True)
        ended = world.end(child)
        wrong = unclear(ended)
        if ended.status and "Read-only" not in ended.err:
            wrong.append(f"a read-only disk ended it with {ended.status}: {ended.err[-300:]}")
        set_read_only(disk, False)
        return wrong + goes_on(world, bench, out)


def full_disk_of_training(bench: Bench, rng: random.Random) -> list[str]:
    with new_world(bench.root) as world, small_disk(world.folder / "run", 8 << 20):
        free = rng.randrange(0, 1_500_000)
        (world.folder / "run" / ".step-filler").mkdir()
        filler = world.folder / "run" / ".step-filler" / FILLER
        filler.write_bytes(bytes((8 << 20) - (free + 4095) // 4096 * 4096 - 12288))
        keep = partial(keep_filler, filler)
        ended = world.do(world.train("run"), prepare=keep)
        wrong = unclear(ended)
        if ended.status and "No space left" not in ended.err and "MB free" not in ended.err:
            wrong.append(f"a full disk ended it with {ended.status}: {ended.err[-300:]}")
        if filler.exists():
            shutil.rmtree(filler.parent)
        if ended.status == 0:
            return wrong
        return wrong + training_goes_on(world, bench, rng)


def keep_filler(filler: Path) -> None:
    """Let a training check for no room, and leave what fills the disk."""
    clipbench.files.LEAST_FREE = 0
    remove = shutil.rmtree

    def other(path: Any, *given: Any, **more: Any) -> None:
        if Path(path) != filler.parent and Path(path).name != filler.parent.name:
            remove(path, *given, **more)

    shutil.rmtree = other  # type: ignore[assignment]
