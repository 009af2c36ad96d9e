"""The attacks of `make torture` on what comes from servers, downloads and served models, and on the server of
`view`.
"""

import contextlib
import http.client
import importlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torture_attacks import Attack, Bench, goes_on, leftovers, stopped, two_at_once, unclear
from torture_world import SERVERS, SIGNALS, Ended, World, make, new_world, numbers

TESTS = Path(__file__).parents[1] / "tests"
"""Has the servers."""
API = ("--model-option", "model=steady", "--model-option", "logit_scale=100", "--model-option", "logit_bias=0")
N_LINKS = 8
"""Links of the list of runs to reports and samples of the four runs of the template."""
GET = ["data", "get", "mnist", "--data-root", "sets", "--quiet"]
VIEW = ["view", ".", "--no-open"]
LINK = re.compile(r'href="(/(?:report|samples)\?[^"]*)"')
MODEL = "hf-hub:me/small"
FAULTS = {
    "busy": ("busy", "broken"),
    "half an answer": ("cut_short", "cut_short_without_length", "dropped"),
    "wrong answers": ("html", "fewer", "shorter", "ragged", "not_a_number", "large_numbers", "numbered_twice"),
}
"""Ways of tests/embeddings_server.py to misbehave."""


def attacks() -> dict[str, Attack]:
    """Return the attacks by name."""
    named: dict[str, Attack] = {}
    for number in (signal.SIGKILL, *SIGNALS, signal.SIGHUP):
        named[f"data get, {number.name}"] = partial(stopped_get, number=number)
        named[f"model download, {number.name}"] = partial(stopped_model, number=number)
        named[f"view, {number.name}"] = partial(stopped_view, number=number)
    named["2 data get of one data set"] = two_gets
    for kind in ("cut", "gone", "status"):
        named[f"model download: {kind}"] = partial(damaged_model, kind=kind)
    named["api: a server that dies"] = failing_server
    for kind in FAULTS:
        named[f"api: {kind}"] = partial(failing_server, kind=kind)
    return named


def of_tests(name: str) -> Any:
    """Return a module that lies among the tests."""
    if str(TESTS) not in sys.path:
        sys.path += [str(TESTS), str(TESTS / "clipbench/models")]
    return importlib.import_module(name)


@contextlib.contextmanager
def served(serve: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """Serve in a process of its own, as one with threads must not be forked; yield the address, and kill it in the
    end.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with serve() as address:
                os.write(writes, address.encode())
                os.close(writes)
                signal.pause()
        finally:
            os._exit(1)
    SERVERS.add(child)
    os.close(writes)
    try:
        with open(reads) as pipe:
            yield pipe.read()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        SERVERS.remove(child)


@contextlib.contextmanager
def hub(world: World, repository: str, files: dict[str, bytes], **fault: Any) -> Iterator[str]:
    """Serve a repository, with a fault."""
    hub_server = of_tests("hub_server")
    with hub_server.running(world.folder / "served") as (found, address):
        found.add(repository, files)
        found.faults.append(hub_server.Fault(method="GET", **fault))
        yield address


@contextlib.contextmanager
def served_files(world: World, *given: Any, **fault: Any) -> Iterator[Callable[[], None]]:
    """Serve a repository, and yield what leads a process there."""
    from huggingface_hub import constants

    with served(partial(hub, world, *given, **fault)) as address:

        def use_hub() -> None:
            constants.ENDPOINT, constants.HF_HUB_CACHE = address, str(world.folder / "home/hub")
            constants.HUGGINGFACE_CO_URL_TEMPLATE = address + "/{repo_id}/resolve/{revision}/{filename}"
            os.environ.update({"HF_ENDPOINT": address, "HF_HOME": str(world.folder / "home")})

        yield use_hub


def served_data(world: World) -> AbstractContextManager[Callable[[], None]]:
    rng = random.Random(0)
    shards = {f"test/{number}.tar": rng.randbytes(100_000) for number in range(6)}
    files = {"classnames.txt": b"0\n", "test/nshards.txt": b"6", **shards}
    return served_files(world, "clip-benchmark/wds_mnist", files, path=r"resolve/.*\.tar", kind="slow", seconds=0.05)


def stopped_get(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    with new_world(bench.root) as world, served_data(world) as prepare:
        _, wrong = stopped(world, GET, number, rng.uniform(0, 0.8), prepare=prepare)
        ended = world.do(GET, prepare=prepare)
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
    with new_world(bench.root) as world, served_data(world) as prepare:
        return is_whole_set(world, two_at_once(world, GET, rng.uniform(0, 0.5), prepare=prepare))


def served_model(bench: Bench, world: World, **fault: Any) -> AbstractContextManager[Callable[[], None]]:
    folder = bench.root / "small"
    if not folder.exists():
        small = of_tests("small_models")
        small.open_clip_folder(folder, small.CLIP)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return served_files(world, "me/small", files, path="resolve/.*safetensors", **fault)


def measure_model(bench: Bench) -> list[str]:
    """Run the served model undisturbed, the first time, and return what is wrong already."""
    if MODEL in bench.expected:
        return []
    with new_world(bench.root) as world, served_model(bench, world, kind="slow") as prepare:
        wrong = bench.time(MODEL, world, world.run("out", model=MODEL), prepare=prepare)
        if not wrong:
            bench.expected[MODEL] = numbers(world.folder / "out")
        return wrong


def stopped_model(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    if wrong := measure_model(bench):
        return wrong
    pause = {"kind": "slow", "seconds": 0.3, "after": rng.randrange(1, 6_000_000)}
    with new_world(bench.root) as world, served_model(bench, world, **pause) as prepare:
        after = rng.uniform(0, bench.seconds[MODEL] + 0.6)
        _, wrong = stopped(world, world.run("out", model=MODEL), number, after, prepare=prepare)
        return wrong + goes_on(world, bench, model=MODEL, prepare=prepare)


def damaged_model(bench: Bench, rng: random.Random, *, kind: str) -> list[str]:
    """Serve a model badly, a few times or as long as the command lasts, then well."""
    if wrong := measure_model(bench):
        return wrong
    fault = {"kind": kind, "after": rng.randrange(6_000_000), "times": rng.choice((1, 2, 1000)), "status": 503}
    with new_world(bench.root) as world:
        with served_model(bench, world, **fault) as prepare:
            ended = world.do(world.run("out", model=MODEL), prepare=prepare)
            wrong = unclear(ended)
            if named := re.search(r"checkpoint (\S+) is no whole .* remove that file", ended.err):
                Path(named[1]).unlink()
        with served_model(bench, world, kind="slow") as prepare:
            return wrong + goes_on(world, bench, model=MODEL, prepare=prepare)


@contextlib.contextmanager
def embeddings(seed: str = "", ways: Sequence[str] = (), share: float = 0.0, port: int = 0) -> Iterator[str]:
    """Serve the model of the other attacks, and answer a share of the requests in one of some bad ways."""
    server, model, rng = of_tests("embeddings_server"), make(), random.Random(seed)
    answers = [getattr(server, way) for way in ways]
    state = server.State(model.encode_images, model.encode_texts)
    state.fault = lambda number: rng.choice(answers) if rng.random() < share else None
    with server.serve(state, port) as address:
        yield address


def be_quick() -> None:
    """Wait less for a server than for one that is far away."""
    from clipbench.models.adapters import http_client

    http_client.FIRST_WAIT, http_client.LONGEST_WAIT = 0.02, 0.3


def failing_server(bench: Bench, rng: random.Random, *, kind: str = "") -> list[str]:
    """Let a server misbehave, or kill it amid a run; a good one is back soon, or after the run has given up."""
    with new_world(bench.root) as world:
        faults = (str(rng.random()), FAULTS[kind], rng.choice((0.02, 0.3, 0.8))) if kind else ()
        with served(partial(embeddings, *faults)) as address:
            model = f"api:{address}"
            child = world.start(world.run("out", model=model, more=API), prepare=be_quick)
            ended = world.end(child) if kind else None
            time.sleep(0 if kind else rng.uniform(0, 1.5 * bench.seconds["run"]))
        time.sleep(0 if kind else rng.uniform(0, 2))
        with served(partial(embeddings, port=urlsplit(address).port or 0)):
            wrong = unclear(ended or world.end(child))
            return wrong + goes_on(world, bench, model=model, more=API, prepare=be_quick)


def stopped_view(bench: Bench, rng: random.Random, *, number: int) -> list[str]:
    """Stop `view` as it starts or while it makes pages; afterwards it shows the same folder again."""
    with new_world(bench.root, bench.template) as world:
        asked: list[http.client.HTTPConnection] = []

        def visit(command: int) -> None:
            pages = LINK.findall(read(ask(world, command, "/")))
            asked.extend(ask(world, command, page) for page in rng.choices(pages, k=rng.randint(0, 4)))

        is_open = rng.random() < 0.8
        _, wrong = stopped(world, VIEW, number, rng.uniform(0, 0.3), ready=visit if is_open else None)
        again = world.start(VIEW)
        pages = LINK.findall(read(ask(world, again, "/")))
        wrong += [f"{len(pages)} links"] if len(pages) != N_LINKS else []
        answers = {page: read(ask(world, again, page)) for page in rng.sample(pages, 2)}
        wrong += [f"{page} is answered with {text[-300:]}" for page, text in answers.items() if text[:4] != "200 "]
        os.kill(again, signal.SIGINT)
        ended = world.end(again)
        wrong += [f"view ended with {ended.status}: {ended.err[-300:]}"] if ended.status != 130 else []
        return wrong + leftovers(world)


def ask(world: World, command: int, page: str, patience: float = 30.0) -> http.client.HTTPConnection:
    """Ask `view` for a page, once it has told its address, as a browser that has its cookie."""
    log, until = world.children[command], time.monotonic() + patience
    while " is at " not in (told := log.read_text()) and time.monotonic() < until:
        time.sleep(0.005)
    address = urlsplit(told.partition(" is at ")[2].split()[0])
    connection = http.client.HTTPConnection(address.netloc, timeout=patience)
    token = address.query.partition("=")[2]
    connection.request("GET", page, headers={"Cookie": f"clipbench-{address.port}={token}"})
    return connection


def read(connection: http.client.HTTPConnection) -> str:
    """Return the status and text of an answer."""
    answer = connection.getresponse()
    return f"{answer.status} {answer.read().decode()}"
