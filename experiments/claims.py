"""Hold what the literature says of CLIP against the bundled one, and write docs/claims.md. Run by `make claims`.

    python experiments/claims.py                  # about two hours on two cores
    python experiments/claims.py --samples 8192   # sooner, with less to be seen
    python experiments/claims.py --page-only      # the page alone, of runs that are there

InfoNCE against the sigmoid loss at three batch sizes, and the modality gap at three temperatures, each with several seeds; and
what the InfoNCE runs of one size, and `tiny`, make of swapped captions, written words, long captions, and texts that match texts.
Runs are kept below runs/claims and made once; one that was broken off is resumed. The page is made of finished runs alone.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from tqdm import tqdm

from claims_outcomes import MEASURED, WEAKNESSES, Measured, read_outcome, read_weaknesses
from claims_page import RATE_AT, write_page
from claims_tables import NAMES_FOLDER
from claims_texts import EMBEDDERS, is_installed, read_found
from clipbench.cli.main import DONE, INTERRUPTED
from clipbench.data.scenes import SCENES_VERSION
from clipbench.errors import ClipbenchError, DataError, UsageError
from clipbench.models.checkpoints import bundled_checkpoints
from clipbench.results.numbers import duration
from clipbench.training.log import LOG_FILE
from clipbench.training.options import TrainOptions, arguments_of

ROOT = Path(__file__).parents[1]
SAMPLES = 32_768
LOSSES = ("clip", "siglip")
BATCH_SIZES = (16, 64, 256)
"""At 1,024 there would be 32 steps, in which neither loss gets above chance, and 4 GB of memory for each run."""
TEMPERATURES = (0.07, 0.01)
"""The fixed ones. The learned one is that of the InfoNCE run of the same batch size."""
TEMPERATURE_BATCH = 256
WEAK = "clip-64"
"""Runs whose weaknesses are measured."""

LEARNING_RATE = 1e-3
"""Learning rate at a batch of RATE_AT; it is scaled by the square root of the batch, for both losses."""
WARMUP_SHARE = 0.5
"""Warm-up as a share of the samples. A warm-up of 4 steps up to 1e-3 was seen to collapse, and a batch of 1,024 has 32 steps in all. The
sum of the learning rates is the same for any share, as a line and half a cosine both have half their height as mean."""

AT_ONCE = 2
"""Runs of one thread each: two of them get more done on two cores than one of two threads."""
TASKS = {
    MEASURED: ("retrieval@scenes,modality-gap@scenes", 1_000),
    WEAKNESSES: ("composition@scenes,text-in-image@scenes,long-caption@scenes", 5_375),
}
"""Tasks of each folder of results, and the number of their images."""
TEXTS = "texts.json"
CLIPBENCH = (sys.executable, "-m", "clipbench.cli")


class Work(NamedTuple):
    """A command to run in a process of its own."""

    name: str
    command: list[str]
    output: Path
    """Progress messages of the process."""
    result: Path | None = None
    """File that is there when a measurement is done."""
    n_images: int = 0
    """Images that a measurement sees."""


def main(
    *, samples: int, seeds: Sequence[int], runs: Path, docs: Path, clip_vectors: Path | None, page_only: bool
) -> int:
    """Make what runs are missing, write the page, and return an exit status.

    Raises:
        UsageError: fewer than three seeds, one twice, or a folder of vectors that is not there.
    """
    if len(set(seeds)) < max(3, len(seeds)):
        raise UsageError(f"--seeds are {list(seeds)}: expected three or more, each once, for an interval over seeds")
    names = [] if clip_vectors is None else [clip_vectors / NAMES_FOLDER / f"coco80.{kind}" for kind in ("npy", "json")]
    if lacking := [path for path in names if not path.is_file()]:
        raise UsageError(f"--clip-vectors: {lacking[0]} is missing: expected Detic's text vectors in {clip_vectors}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    by_seed = [
        plan(runs / f"scenes-{SCENES_VERSION}-samples-{samples}-seed-{seed}", samples=samples, seed=seed)
        for seed in seeds
    ]
    planned = [options for each in by_seed for options in each]
    measured = measurements(planned, runs, clip_vectors)
    try:
        if not page_only:
            make_runs(planned, measured)
    except KeyboardInterrupt:
        again = shlex.join([sys.executable, *sys.argv])
        print(f"interrupted; what is done is kept in {runs}, and this goes on from there:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    first = replace(planned[0], out=Path("runs", planned[0].out.name))
    page = write_page(
        read_all(by_seed, measured, runs, clip_vectors),
        docs,
        weak=WEAK,
        command=f"python experiments/claims.py --samples {samples} --seeds {' '.join(map(str, seeds))}"
        + (" --clip-vectors FOLDER" if clip_vectors else ""),
        train_command=f"clipbench train {shlex.join(said_in_full(first))}",
    )
    print(f"page in {page}")
    return DONE


def read_all(
    by_seed: Sequence[Sequence[TrainOptions]], measured: Sequence[Work], runs: Path, clip_vectors: Path | None
) -> Measured:
    """Return what the page is made of, from finished runs.

    Raises:
        DataError: one is missing, or not at its end.
    """
    missing = [work.name for work in measured if not is_measured(work)]
    if missing:
        raise DataError(f"{len(missing)} measurements are missing, the first of {missing[0]}: leave --page-only out")
    weak = [next(options.out for options in each if options.out.name == WEAK) for each in by_seed]
    embedders, names = (
        {name: read_found(path) for name in EMBEDDERS if (path := _texts_of(name, runs, of_names)).is_file()}
        for of_names in (False, True)
    )
    return Measured(
        runs=[[read_outcome(options.out) for options in same] for same in zip(*by_seed, strict=True)],
        weaknesses=[read_weaknesses(out / WEAKNESSES) for out in weak],
        tiny=read_weaknesses(runs / "tiny" / WEAKNESSES),
        texts=[read_found(out / TEXTS) for out in weak],
        tiny_texts=read_found(runs / "tiny" / TEXTS),
        embedders=embedders,
        names=names if clip_vectors else {},
        clip_vectors=clip_vectors,
    )


def plan(folder: Path, *, samples: int, seed: int) -> list[TrainOptions]:
    """Return the runs of both experiments, each below a folder under a name of its own.

    Raises:
        UsageError: the samples do not make whole batches of each size.

    Example:
        >>> [options.out.name for options in plan(Path("runs"), samples=2048, seed=0)][:3]
        ['clip-16', 'siglip-16', 'clip-64']
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


def measurements(planned: Sequence[TrainOptions], runs: Path, clip_vectors: Path | None) -> list[Work]:
    """Return all measurements: of each run, of ``tiny``, and of the text embedders that are installed."""
    found = [measuring(options.out, str(options.out), MEASURED, _named(options)) for options in planned]
    models = [(options.out, str(options.out), _named(options)) for options in planned if options.out.name == WEAK]
    for out, model, name in [*models, (runs / "tiny", "tiny", "tiny")]:
        found += [measuring(out, model, WEAKNESSES, name), matching(model, out / TEXTS, name)]
    for name in filter(is_installed, EMBEDDERS):
        found.append(matching(name, _texts_of(name, runs, of_names=False), name))
        if clip_vectors is not None:
            names = clip_vectors / NAMES_FOLDER / "coco80.json"
            found.append(matching(name, _texts_of(name, runs, of_names=True), name, "--names", str(names)))
    return found


def make_runs(planned: Sequence[TrainOptions], measured: Sequence[Work]) -> None:
    """Train and measure what is not yet, two runs at a time, under one progress bar.

    Raises:
        ClipbenchError: a run failed, or its folder holds a run of other arguments.
        KeyboardInterrupt: each run has ended the step in hand, and saved.
    """
    to_train = [options for options in planned if not is_trained(options)]
    for options in to_train:
        if not bundled_checkpoints(options.out):  # killed before its first one, it could not be started again
            shutil.rmtree(options.out, ignore_errors=True)
    to_measure = [work for work in measured if not is_measured(work)]
    with tqdm(
        total=sum(options.steps * options.batch_size for options in planned) + sum(work.n_images for work in measured),
        initial=n_seen(planned, measured),
        unit=" images",
        mininterval=0.2 if sys.stderr.isatty() else 30.0,
        dynamic_ncols=True,
    ) as bar:
        for work in ([training(each) for each in to_train], to_measure):
            work_off(work, lambda: n_seen(planned, measured), bar)


def is_trained(options: TrainOptions) -> bool:
    """Return whether a run has its last checkpoint.

    Raises:
        UsageError: the folder holds a run of other arguments.
    """
    if not bundled_checkpoints(options.out):
        return False
    options.check_same(arguments_of(options.out))
    return bundled_checkpoints(options.out)[-1].name == f"step-{options.steps}"


def is_measured(work: Work) -> bool:
    """Return whether a measurement has its result."""
    return work.result is not None and work.result.is_file()


def n_seen(planned: Sequence[TrainOptions], measured: Sequence[Work]) -> int:
    """Return how many images all runs have seen so far, those of measurements among them."""
    trained = sum(_n_logged(options) * options.batch_size for options in planned)
    return trained + sum(work.n_images for work in measured if is_measured(work))


def training(options: TrainOptions) -> Work:
    """Return the work of training a run, from its newest checkpoint where it has one."""
    out = options.out
    arguments = ["--resume", "--out", str(out)] if bundled_checkpoints(out) else said_in_full(options)
    return Work(f"training {_named(options)}", [*CLIPBENCH, "train", *arguments], _said(out, "train"))


def said_in_full(options: TrainOptions) -> list[str]:
    """Return the arguments of `clipbench train` that ask for a run."""
    values = {name: value for name, value in options.to_json().items() if value not in (None, {})}
    return [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def measuring(out: Path, model: str, folder: str, name: str) -> Work:
    """Return the work of measuring a model, of a run its last checkpoint, into a folder of TASKS below ``out``."""
    tasks, n_images = TASKS[folder]
    place = ["--device", "cpu", "--workers", "0", "--out", str(out / folder)]
    command = [*CLIPBENCH, "run", "--model", model, "--tasks", tasks, "--no-report", "--thumbnails", "0", *place]
    output = _said(out, folder)
    return Work(f"measuring {folder} of {name}", command, output, out / folder / "result.json", n_images)


def matching(model: str, out: Path, name: str, *names: str) -> Work:
    """Return the work of measuring what a model finds among texts."""
    script = [sys.executable, str(Path(__file__).with_name("claims_texts.py")), model, str(out), *names]
    return Work(f"matching texts of {name}", script, _said(out, "match"), out)


def work_off(waiting: list[Work], count: Callable[[], int], bar: "tqdm[NoReturn]") -> None:
    """Do all work, two pieces at a time; whatever ends this early tells those that run to save and stop.

    Args:
        waiting: work to do.
        count: returns the number of images seen so far.
        bar: progress in images.
    """
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
            bar.update(count() - bar.n)
    finally:
        for process in running:
            process.terminate()  # Ctrl-C is ignored by what a shell started in the background
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


def _said(out: Path, step: str) -> Path:
    return out.parent / f"{out.name}.{step}.txt"


def _named(options: TrainOptions) -> str:
    return f"{options.out.name}, seed {options.seed}"


def _texts_of(embedder: str, runs: Path, of_names: bool) -> Path:
    return runs / f"{embedder}-{'names' if of_names else 'texts'}.json"


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
        "--samples", type=int, default=SAMPLES, help="that each run sees, a multiple of 256 [%(default)s]"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="of weights and scenes [%(default)s]"
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "claims", help="where runs are kept")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where claims.md is written")
    parser.add_argument(
        "--clip-vectors",
        type=Path,
        metavar="FOLDER",
        help="folder with vitb32_class_text/coco80.npy and .json (Detic) and modality_gap/features_clip.npy (Liang et al.)",
    )
    parser.add_argument("--page-only", action="store_true", help="make no run, only the page")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main(**vars(_parse())))
    except ClipbenchError as error:
        sys.exit(f"claims: {error}")
