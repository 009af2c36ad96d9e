"""The world that `make torture` attacks: small data and models, and commands in processes forked from this one.

What commands import is imported here once they have run undisturbed, so that an attack at a random moment falls into
the work and not into imports, and a command costs a fraction of a second. The models' vectors do not depend on the
batch, so that the numbers of an attacked run have to equal those of an undisturbed one in every bit.
"""

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: its threads do not survive a fork

import numpy as np
import torch  # noqa: F401
from PIL import Image

import clipbench.models.encoding.pipeline
from clipbench.cli import main
from clipbench.models.options import LoadOptions
from clipbench.testing import ToyModel
from clipbench.training.clip import config
from clipbench.training.clip.config import ClipConfig, Tower

N_IMAGES = 64
PAUSE = 0.01
"""Seconds that a model takes for a batch at least, so that there is a middle of the work to be killed in."""
PATIENCE = 180.0
"""Seconds after which a command is said to hang."""
GRACE = 4.0
"""Seconds that a worker may outlive its command."""
READ_ONLY, REMOUNT = 1, 32
"""Flags of mount."""
SUBREAPER = 36
"""Number of prctl's PR_SET_CHILD_SUBREAPER: orphans become children of this process, which sees them."""
SERVERS: set[int] = set()
"""Children that are no commands."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
SWALLOWED = re.compile(r"Exception ignored .*?\nKeyboardInterrupt:? *\n", re.DOTALL)
"""Text that Python prints of an interruption amid a callback of a fork or a __del__: the command goes on."""
MICRO = ClipConfig(
    embed_dim=16,
    image_size=16,
    patch_size=8,
    vision=Tower(width=32, layers=1, heads=2),
    text=Tower(width=16, layers=1, heads=2),
    vocab_size=560,
    context_length=12,
)
clipbench.models.encoding.pipeline.COMMIT_VECTORS = 8
config.CONFIGS["micro"] = MICRO


class Steady(ToyModel):
    """A model whose vectors do not depend on the batch, and that takes its time."""

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        time.sleep(PAUSE)
        return np.concatenate([super(Steady, self).encode_images([image]) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        time.sleep(PAUSE)
        return super().encode_texts(texts)


def make(name: str = "a") -> Steady:
    """Return a model: those of other names have other vectors of the same dimension."""
    model = Steady(fingerprint=f"steady-{name}")
    model._pixel_weights = model._pixel_weights * np.float32(1 + sum(name.encode()) / 1000)
    return model


def load(body: str, options: LoadOptions) -> Steady:
    """Return a model as the plug-in ``steady:``, which takes any device."""
    return make(body)


def install(folder: Path) -> None:
    """Make a package with the plug-in, which this process and those that it starts find."""
    package = folder / "steady-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: steady\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[clipbench.models]\nsteady = torture_world:load\n")
    sys.path.append(str(folder))
    places = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))


class Ended(NamedTuple):
    """The end of a command."""

    status: int
    """Its exit status; below 0 the signal that killed it."""
    out: str
    err: str


@dataclass
class World:
    """A folder with data, a store and outputs of its own, and the commands that were started in it."""

    folder: Path
    cache: Path = field(init=False)
    temporary: Path = field(init=False)
    """Folder of the commands' temporary files."""
    children: dict[int, Path] = field(default_factory=dict)
    last: Path = field(init=False)
    """Log of the command that was waited for last."""

    def __post_init__(self) -> None:
        self.cache = self.folder / "cache"
        self.cache.mkdir(parents=True)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        (self.folder / "data").mkdir()
        rng = np.random.default_rng(0)
        rows = []
        for number in range(N_IMAGES):
            # A batch of four is more than a pipe holds: a worker that nobody reads from is stuck in the middle of one.
            pixels = rng.integers(0, 256, (96, 96, 3), np.uint8)
            Image.fromarray(pixels).save(self.folder / "data" / f"{number}.png", compress_level=0)
            captions = [f"image {number} of noise", f"the {number}th of them"]
            rows.append(json.dumps({"image": f"{number}.png", "captions": captions, "label": f"class {number % 5}"}))
        (self.folder / "data/images.jsonl").write_text("\n".join(rows))

    def run(self, out: str, *, model: str = "a", workers: int = 0, more: Sequence[str] = ()) -> list[str]:
        """Return the arguments of a run of a model of ``make``, or of a reference."""
        tasks = ",".join(f"{task}@data/images.jsonl" for task in ("retrieval", "zero-shot"))
        options = ["--batch-size", "4", "--workers", str(workers), "--thumbnails", "8", *more]
        own = ["--model", "python:torture_world:make", "--model-option", f"name={model}"]
        own = ["--model", model] if ":" in model else own
        return ["run", *own, "--tasks", tasks, "--out", out, *options]

    def train(self, out: str, *, resume: bool = False, workers: int = 0) -> list[str]:
        """Return the arguments of a training."""
        start = ["--data", "data/images.jsonl", "--arch", "micro", "--steps", "12", "--batch-size", "8"]
        more = ["--save-every", "3", "--eval-every", "6", "--device", "cpu", "--workers", str(workers), "--quiet"]
        return ["train", "--out", out, *(["--resume"] if resume else start), *(more if not resume else ["--quiet"])]

    def start(
        self, arguments: Sequence[str], *, prepare: Callable[[], object] | None = None, user: int | None = None
    ) -> int:
        """Run a command in a child, after ``prepare`` and perhaps as another user, and return its number."""
        log = self.folder / f"log-{len(self.children)}-{time.time_ns()}"
        for path in (log, log.with_suffix(".err")):
            path.touch()  # the child may be killed before it opens them
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the child has handlers of its own
        child = os.fork()
        if child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self.children[child] = log
            return child
        status = 70
        try:
            status = self._command(arguments, log, prepare, user)
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
            os._exit(status)

    def end(self, child: int, patience: float = PATIENCE) -> Ended:
        """Wait for a command, and return how it ended."""
        log = self.last = self.children[child]
        until = time.monotonic() + patience
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Ended(-99, "", f"hung for {patience:.0f} seconds")
            time.sleep(0.002)
        self.children.pop(child)
        out, err = (path.read_text(errors="replace") for path in (log, log.with_suffix(".err")))
        return Ended(os.waitstatus_to_exitcode(done[1]), out, SWALLOWED.sub("", err))

    def do(self, arguments: Sequence[str], **how: Any) -> Ended:
        """Run a command to its end."""
        return self.end(self.start(arguments, **how))

    def import_its_modules(self) -> None:
        """Import what the last command has imported, so that the next ones are forked with it."""
        modules = self.last.with_suffix(".modules")
        for name in modules.read_text().split() if modules.exists() else ():  # not of a program of its own
            with contextlib.suppress(Exception):  # some can be imported by their packages alone
                importlib.import_module(name)

    def chunks(self, model: str = "") -> list[Path]:
        """Return the committed chunks of the store, of one model or of all."""
        return sorted(path for path in self.cache.glob("store/*/*/*.vectors") if model in str(path))

    def _command(
        self, arguments: Sequence[str], log: Path, prepare: Callable[[], object] | None, user: int | None
    ) -> int:
        for number, path in ((1, log), (2, log.with_suffix(".err"))):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(handle, number)
            os.close(handle)
        os.chdir(self.folder)
        os.environ.update(CLIPBENCH_CACHE=str(self.cache), TMPDIR=str(self.temporary))
        tempfile.tempdir = None
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if user is not None:
            os.setgid(user)
            os.setuid(user)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            if prepare is not None:
                prepare()
            main(list(arguments))
        except SystemExit as end:
            return int(end.code or 0)
        except KeyboardInterrupt:  # before it has begun
            return 130
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # it has ended
            with contextlib.suppress(OSError):  # nobody reads it
                sys.stdout.flush()
                sys.stderr.flush()
            log.with_suffix(".modules").write_text("\n".join(list(sys.modules)))
        return 71


def see_orphans() -> None:
    """Become the parent of processes whose parent is gone, on Linux."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def orphans(grace: float = GRACE) -> list[int]:
    """Return, and kill, what is left of commands that have ended, after some seconds; all of them are reaped."""
    until = time.monotonic() + grace
    while left := [child for child in children_of(os.getpid()) if child not in SERVERS]:
        for child in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    for child in left:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return left


def kill(process: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def children_of(process: int) -> list[int]:
    """Return the children of a process, on Linux."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def numbers(run: Path) -> dict[str, Any]:
    """Return every value and bound in a result, by evaluation and metric."""
    result = json.loads((run / "result.json").read_text())
    return {
        f"{each['task']}/{name}/{part}": metric[part]
        for each in result["evaluations"]
        for name, metric in {**each["metrics"], **each["baselines"]}.items()
        for part in ("value", "low", "high", "n")
    }


def is_complete(run: Path) -> bool:
    """Return whether a run has a result in which nothing has failed."""
    file = run / "result.json"
    return file.exists() and all(each["status"] == "ok" for each in json.loads(file.read_text())["evaluations"])


def notes(run: Path) -> list[str]:
    """Return the notes of a result on its store."""
    result = json.loads((run / "result.json").read_text())
    return [note for each in result["evaluations"] for note in each["notes"] if "of the store" in note]


def mount(folder: Path, flags: int = 0, options: bytes | None = None) -> None:
    """Mount a disk in memory on a folder; raise OSError where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", flags, options) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount a small disk")


@contextlib.contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[None]:
    """Mount a disk of some size on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(folder, options=f"size={n_bytes}".encode())
    try:
        yield
    finally:
        ctypes.CDLL(None).umount2(str(folder).encode(), 2)


def can_mount(folder: Path) -> bool:
    """Return whether disks can be mounted here, which the superuser may."""
    try:
        with small_disk(folder / "probe", 1 << 20):
            return True
    except (OSError, AttributeError):
        return False


@contextlib.contextmanager
def new_world(root: Path, template: Path | None = None) -> Iterator[World]:
    """Make a world below a folder, and remove it with all that is left of its commands."""
    folder = root / f"world-{time.time_ns()}"
    world = World(folder)
    if template is not None:
        shutil.copytree(template, folder, dirs_exist_ok=True)
    try:
        yield world
    finally:
        for child in world.children:
            kill(child, signal.SIGKILL)
        orphans(0)
        shutil.rmtree(folder, ignore_errors=True)
