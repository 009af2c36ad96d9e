"""Hold two claims of the literature against the bundled CLIP, and write docs/claims.md. Run by `make claims`.

    python experiments/claims.py                  # about twenty minutes on two quiet cores
    python experiments/claims.py --samples 8192   # sooner, with less to be seen

InfoNCE against the sigmoid loss at four batch sizes, and the modality gap at three temperatures. Runs are kept below
runs/claims and made once; one that was broken off is resumed. The page is made of finished runs alone.
"""

import argparse
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from tqdm import tqdm

from claims_outcomes import MEASURED, read_outcome
from claims_page import RATE_AT, write_page
from clipbench.cli.main import DONE, INTERRUPTED
from clipbench.data.scenes import SCENES_VERSION
from clipbench.errors import ClipbenchError, UsageError
from clipbench.models.checkpoints import bundled_checkpoints
from clipbench.results.numbers import duration
from clipbench.training.log import LOG_FILE
from clipbench.training.options import TrainOptions, arguments_of

ROOT = Path(__file__).parents[1]
SAMPLES = 32_768
LOSSES = ("clip", "siglip")
BATCH_SIZES = (1024, 256, 64, 16)
"""The largest first: if a learning rate is too high, it shows there, and soon."""
TEMPERATURES = (0.07, 0.01)
"""The fixed ones. The learned one is that of the InfoNCE run of the same batch size."""
TEMPERATURE_BATCH = 256

LEARNING_RATE = 1e-3
"""Learning rate at a batch of RATE_AT; it is scaled by the square root of the batch, for both losses."""
WARMUP_SHARE = 0.5
"""Warm-up as a share of the samples. A warm-up of 4 steps up to 1e-3 was seen to collapse, and a batch of 1,024 has 32 steps in all. The
sum of the learning rates is the same for any share, as a line and half a cosine both have half their height as mean."""

AT_ONCE = 2
"""Runs of one thread each: two of them get more done on two cores than one of two threads."""
IMAGES_MEASURED = 1_000
CLIPBENCH = (sys.executable, "-m", "clipbench.cli")


class Work(NamedTuple):
    """A command to run in a process of its own."""

    name: str
    command: list[str]
    output: Path
    """Progress messages of the process."""


def main(*, samples: int, seed: int, runs: Path, docs: Path) -> int:
    """Make what runs are missing, write the page, and return an exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = runs / f"scenes-{SCENES_VERSION}-samples-{samples}-seed-{seed}"
    planned = plan(folder, samples=samples, seed=seed)
    try:
        make_runs(planned)
    except KeyboardInterrupt:
        again = shlex.join([sys.executable, *sys.argv])
        print(
            f"interrupted; what is done is kept in {folder}, and this goes on from there:\n  {again}", file=sys.stderr
        )
        return INTERRUPTED
    first = replace(planned[0], out=Path("runs", planned[0].out.name))
    page = write_page(
        [read_outcome(options.out) for options in planned],
        docs,
        command=f"python experiments/claims.py --samples {samples} --seed {seed}",
        train_command=f"clipbench train {shlex.join(said_in_full(first))}",
    )
    print(f"page in {page}")
    return DONE


def plan(folder: Path, *, samples: int, seed: int) -> list[TrainOptions]:
    """Return the runs of both experiments, each below a folder under a name of its own.

    Raises:
        UsageError: the samples do not make whole batches of each size.

    Example:
        >>> [options.out.name for options in plan(Path("runs"), samples=2048, seed=0)][:3]
        ['clip-1024', 'siglip-1024', 'clip-256']
    """
    if samples < 1 or samples % max(BATCH_SIZES):
        raise UsageError(f"--samples is {samples}: expected a multiple of {max(BATCH_SIZES)}, the largest batch")
    by_loss = [
        _options(folder / f"{loss}-{batch_size}", samples=samples, seed=seed, loss=loss, batch_size=batch_size)
        for batch_size in BATCH_SIZES
        for loss in LOSSES
    ]
    by_temperature = [
        _options(folder / f"temperature-{temperature}", samples=samples, seed=seed, temperature=temperature)
        for temperature in TEMPERATURES
    ]
    return by_loss + by_temperature


def make_runs(planned: Sequence[TrainOptions]) -> None:
    """Train and measure what is not yet, two runs at a time, under one progress bar.

    Raises:
        ClipbenchError: a run failed, or its folder holds a run of other arguments.
        KeyboardInterrupt: each run has ended the step in hand, and saved.
    """
    to_train = [options for options in planned if not is_trained(options)]
    for options in to_train:
        if not bundled_checkpoints(options.out):  # killed before its first one, it could not be started again
            shutil.rmtree(options.out, ignore_errors=True)
    to_measure = [options for options in planned if not is_measured(options)]
    with tqdm(
        total=sum(options.steps * options.batch_size + IMAGES_MEASURED for options in planned),
        initial=n_seen(planned),
        unit=" images",
        mininterval=0.2 if sys.stderr.isatty() else 30.0,
        dynamic_ncols=True,
    ) as bar:
        for work in ([training(each) for each in to_train], [measuring(each) for each in to_measure]):
            work_off(work, planned, bar)


def is_trained(options: TrainOptions) -> bool:
    """Return whether a run has its last checkpoint.

    Raises:
        UsageError: the folder holds a run of other arguments.
    """
    if not bundled_checkpoints(options.out):
        return False
    options.check_same(arguments_of(options.out))
    return bundled_checkpoints(options.out)[-1].name == f"step-{options.steps}"


def is_measured(options: TrainOptions) -> bool:
    """Return whether a run's last checkpoint has its result."""
    return (options.out / MEASURED / "result.json").is_file()


def n_seen(planned: Sequence[TrainOptions]) -> int:
    """Return how many images all runs have seen so far, those of the measurement among them."""
    return sum(_n_logged(each) * each.batch_size + IMAGES_MEASURED * is_measured(each) for each in planned)


def training(options: TrainOptions) -> Work:
    """Return the work of training a run, from its newest checkpoint where it has one."""
    out = options.out
    arguments = ["--resume", "--out", str(out)] if bundled_checkpoints(out) else said_in_full(options)
    return Work(f"training {out.name}", [*CLIPBENCH, "train", *arguments], out.with_suffix(".train.txt"))


def said_in_full(options: TrainOptions) -> list[str]:
    """Return the arguments of `clipbench train` that ask for a run."""
    values = {name: value for name, value in options.to_json().items() if value not in (None, {})}
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def measuring(options: TrainOptions) -> Work:
    """Return the work of measuring a run's last checkpoint on the test scenes."""
    tasks = ["--tasks", "retrieval@scenes,modality-gap@scenes", "--no-report", "--thumbnails", "0"]
    place = ["--device", "cpu", "--workers", "0", "--out", str(options.out / MEASURED)]
    command = [*CLIPBENCH, "run", "--model", str(options.out), *tasks, *place]
    return Work(f"measuring {options.out.name}", command, options.out.with_suffix(".measure.txt"))


def work_off(waiting: list[Work], planned: Sequence[TrainOptions], bar: "tqdm[NoReturn]") -> None:
    """Do all work, two pieces at a time; whatever ends this early tells those that run to save and stop."""
    n_all, waiting = len(waiting), list(waiting)
    running: dict[subprocess.Popen[bytes], tuple[Work, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                work = waiting.pop(0)
                running[start(work)] = (work, time.monotonic())
                bar.write(f"started  {work.name} ({n_all - len(waiting)} of {n_all})", file=sys.stderr)
            time.sleep(0.5)
            for process in [each for each in running if each.poll() is not None]:
                work, since = running.pop(process)
                check_ended_well(work, process.returncode)
                bar.write(f"finished {work.name} in {duration(time.monotonic() - since)}", file=sys.stderr)
            bar.update(n_seen(planned) - bar.n)
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()


def start(work: Work) -> "subprocess.Popen[bytes]":
    """Start a piece of work on one thread.

    In a process group of its own: Ctrl-C would reach it from the terminal as well as from here, and a second one kills.
    """
    work.output.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CLIPBENCH_CACHE": str(work.output.parent / "cache")}
    with work.output.open("ab") as output:
        return subprocess.Popen(
            work.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, process_group=0
        )


def check_ended_well(work: Work, status: int) -> None:
    """Raise ClipbenchError with the last line that a process said, unless its status is 0."""
    if status != DONE:
        said = work.output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ClipbenchError(f"{work.name} ended with status {status}: {said[-1] if said else 'it said nothing'}")


def _options(
    out: Path,
    *,
    samples: int,
    seed: int,
    loss: str = "clip",
    batch_size: int = TEMPERATURE_BATCH,
    temperature: float | None = None,
) -> TrainOptions:
    steps = samples // batch_size
    is_watched = loss == "clip" and batch_size == TEMPERATURE_BATCH
    return TrainOptions(
        data="scenes",
        out=out,
        loss=loss,
        steps=steps,
        batch_size=batch_size,
        lr=LEARNING_RATE * math.sqrt(batch_size / RATE_AT),
        warmup=round(WARMUP_SHARE * steps),
        temperature=temperature,
        precision="bf16",
        seed=seed,
        device="cpu",
        save_every=-(-steps // 2),
        eval_every=min(2, steps) if is_watched else steps,
    )


def _n_logged(options: TrainOptions) -> int:
    """Return the last step in a run's log, from the end of the file: it is asked for twice a second."""
    log = options.out / LOG_FILE
    if not log.is_file():
        return 0
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        steps = re.findall(rb'"step": (\d+)', file.read())
    return int(steps[-1]) if steps else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help="that each run sees, a multiple of 1024 [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and scenes [%(default)s]")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "claims", help="where runs are kept")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where claims.md is written")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(**vars(_parse())))
    except ClipbenchError as error:
        sys.exit(f"claims: {error}")
