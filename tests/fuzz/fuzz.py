"""Feed damaged input to every reader for some minutes: ``make fuzz MINUTES=5``.

An escape is any error but a ClipbenchError of one line. Inputs that take more than ten seconds of computing or 2 GB are
passed over. The smallest input of an escape is written to ``--found``; one that is fixed goes to ``corpus/TARGET/``,
which a test replays.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 10
"""Seconds of computing, for one input."""
BYTES = 1 << 31
"""Bytes of memory, beside what the process had."""
HERE = Path(__file__).parent


class TooSlow(BaseException):
    """More than ten seconds of computing; no library catches it."""


@dataclass
class Tally:
    """Outcomes of the inputs of a target."""

    inputs: int = 0
    refused: int = 0
    escapes: dict[str, bytes] = field(default_factory=dict)
    """The smallest input, by kind and place of the escape."""


@contextmanager
def limits(seconds: float = SECONDS, n_bytes: int = BYTES) -> Iterator[None]:
    """Hold a block to some seconds of computing, and to some memory beside what the process has."""

    def over(signum: int, frame: FrameType | None) -> None:
        raise TooSlow

    before, memory = signal.signal(signal.SIGPROF, over), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, memory[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, memory)
        signal.signal(signal.SIGPROF, before)


def check(target: Any, data: bytes, folder: Path, seconds: float | None = SECONDS) -> BaseException | None:
    """Return what escapes when a target reads an input, without limits if ``seconds`` is None; None for an answer."""
    from clipbench.errors import ClipbenchError

    try:
        with nullcontext() if seconds is None else limits(seconds):
            target.run(data, folder)
    except ClipbenchError as error:
        text = str(error)
        is_sound = "\n" not in text and "(a bug " not in text and len(text) < 20_000
        return None if is_sound else error
    except (TooSlow, MemoryError):
        return None
    except Exception as error:  # noqa: BLE001  an escape
        return error
    return None


def place(error: BaseException) -> str:
    """Return kind and place of an escape: the innermost line of this project."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if "/clipbench" in frame.filename and "/tests/" not in frame.filename]
    last = own_frames[-1] if own_frames else frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.5, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**300, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", " ", "\0", "\ud800", "a" * 300, "b" * 70_000, "../x", "/", ".", "~nouser",
    "{c}", "{}", "%s", "\x1b[31m", "<b>&", "**", "*", "[", "٣", "é", "1e999", "nan", "1979-05-27", "1" * 400, [], {}, [[]], [None],
    {"": {}}, {"a": [1, "x"]}, ["a", 1], [[1, 2], [3]],
)  # fmt: skip
RAW = (
    b"", b"\0", b"\xff", b"\xed\xa0\x80", b"[" * 200, b"[" * 100_000, b'{"a":' * 500, b"9" * 5_000, b"\n", b"\r", b",", b'"', b"'", b"=",
    b"[[", b"]]", b".", b"a." * 600, b"\\ud800", b"1e999", b"-", b"inf", b"nan", b"%", b"pp", b">=", b"*", b"@", b":", b"/", b"~",
)  # fmt: skip


def mutated(data: bytes, rng: Any) -> bytes:
    """Return an input with a few odd values in place of its own, or with odd bytes in it."""
    head, _, content = data.partition(b"\n")
    if rng.random() < 0.7:
        texts = content.splitlines() if head.endswith(b"l") else [content]
        with suppress(ValueError, RecursionError):
            values = [json.loads(text) for text in texts]
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                at = rng.randrange(len(values))
                values[at] = _odd(values[at], rng)
            odd = (json.dumps(value, ensure_ascii=rng.random() < 0.9) for value in values)
            return head + b"\n" + b"\n".join(text.encode("utf-8", "surrogatepass") for text in odd)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((0, 0, 1, 2, 8, 64)))
        middle = rng.choice(RAW) if rng.random() < 0.7 else json.dumps(rng.choice(ODD)).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            middle = content[rng.randrange(len(content) + 1) :][: rng.choice((1, 4, 32))]
        content = content[:start] + middle + content[end:]
    return head + b"\n" + content


def _odd(value: Any, rng: Any) -> Any:
    """Return a JSON value in which one part, at any depth, is another, is there twice, or is missing."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        odd = rng.choice(ODD)
        return [value] if odd == [None] else odd
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, action = rng.choice(keys), rng.random()
    if action < 0.1:
        other_keys = [other_key for other_key in keys if other_key != key]
        return (
            {other_key: value[other_key] for other_key in other_keys}
            if isinstance(value, dict)
            else [value[other_key] for other_key in other_keys]
        )
    if action < 0.17:
        return {**value, str(rng.choice(ODD)): value[key]} if isinstance(value, dict) else [*value, value[key]]
    changed = value.copy()
    changed[key] = _odd(value[key], rng)
    return changed


def by_hypothesis(target: Any, tally: Tally, seconds: float, folder: Path) -> None:
    """Feed inputs that hypothesis draws, until the time is over."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as with_seed
    from hypothesis import strategies as st

    end = time.monotonic() + seconds
    examples = [*target.seeds, *(data for data in tally.escapes.values() if len(data) < 100_000)]
    inputs = st.builds(mutated, st.sampled_from(examples), st.randoms(use_true_random=True)) | st.builds(
        lambda head, content: head + b"\n" + content,
        st.sampled_from([name.encode() for name in target.reads]),
        st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def feed(data: bytes) -> None:
        if time.monotonic() < end:
            one(target, tally, data, folder)

    while time.monotonic() < end:
        with_seed(random.getrandbits(64))(feed)()


def one(target: Any, tally: Tally, data: bytes, folder: Path, seconds: float | None = SECONDS) -> None:
    """Feed one input, and note what became of it."""
    error = check(target, data, folder, seconds)
    tally.inputs += 1
    if error is not None:
        name = place(error)
        if len(data) < len(tally.escapes.get(name, data + b" ")):
            tally.escapes[name] = data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="targets to feed; all by default")
    parser.add_argument("--minutes", type=float, default=5.0, help="time for all targets together")
    parser.add_argument("--found", type=Path, help="folder for inputs that escape")
    arguments = parser.parse_args()
    os.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1", CLIPBENCH_CACHE=tempfile.mkdtemp())
    os.environ.setdefault("HF_HOME", tempfile.mkdtemp())
    sys.path.insert(0, str(HERE))
    from targets import TARGETS, with_seeds  # type: ignore[import-not-found]

    warnings.simplefilter("ignore")  # numpy says more than once what it thinks of damaged arrays
    n_escapes = 0
    for name in arguments.targets or list(TARGETS):
        target, tally = with_seeds(name), Tally()
        with tempfile.TemporaryDirectory() as folder:
            target.furnish(Path(folder))
            for data in target.seeds:  # without limits: what they import has a time and a size of its own
                one(target, tally, data, Path(folder), seconds=None)
            by_hypothesis(target, tally, 60 * arguments.minutes / len(arguments.targets or TARGETS), Path(folder))
        n_escapes += len(tally.escapes)
        told(name, tally, arguments.found)
    return 1 if n_escapes else 0


def told(name: str, tally: Tally, path: Path | None) -> None:
    """Print what became of a target's inputs, and write those that escaped."""
    print(f"{name:12} {tally.inputs:9,} inputs  {len(tally.escapes):3} escapes", flush=True)
    for number, (text, data) in enumerate(tally.escapes.items()):
        print(f"    {text}: {data[:100]!r}", flush=True)
        if path is not None:
            (path / name).mkdir(parents=True, exist_ok=True)
            (path / name / f"{number}-{text.split()[0]}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
