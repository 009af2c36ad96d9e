"""Measure how often intervals cover and tests raise false alarms, and write experiments/coverage.md. Run by `make
rates`.

    python experiments/rates.py                                # hours on two cores
    python experiments/rates.py --simulations 100 --n 100      # minutes
    python experiments/rates.py --worlds retrieval --workers 2

Each simulation draws a data set of one law and two models that are exchangeable, measures both by the task, makes
metrics of that as a run does, and compares them as `clipbench compare` does. Outcomes are kept below runs/rates, so
that an interrupted run goes on; those of other code are left aside. The page is made of what is there.
"""

import argparse
import hashlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clipbench.comparison.compare_runs import compare
from clipbench.errors import UsageError, did_you_mean
from clipbench.evaluation.measure import with_numbers
from clipbench.files import write_atomic
from clipbench.results.record import DatasetRecord, EvaluationRecord, Result, finite, finite_curve
from clipbench.results.run import Run
from clipbench.seeding import generator
from rates_composition import CaptionsAlone, FourKinds, SharedImages
from rates_page import Outcome, Outcomes, around_tables, write_page
from rates_pairs import Clouds, Paragraphs, Search
from rates_text_in_image import WrittenWords
from rates_worlds import EFFECTS, Draw, Truth, World
from rates_zero_shot import AnyOfSeveral, OneLabel, SeveralLabels

ROOT = Path(__file__).parents[1]
WORLDS: Mapping[str, World] = {
    world.name: world
    for world in (
        OneLabel(),
        AnyOfSeveral(),
        SeveralLabels(),
        Search(n_each=1),
        Search(n_each=5),
        FourKinds(),
        SharedImages(),
        CaptionsAlone(),
        WrittenWords(),
        Paragraphs(),
        Clouds("modality gap, around the origin", cone=0.0, n_each=1),
        Clouds("modality gap, in a cone", cone=1.5, n_each=2),
    )
}
NS = (100, 1_000)
ROUNDING = 1e-9
CHUNK = 20
"""Simulations of a piece of work, after which their outcomes are kept."""


@dataclass(frozen=True, repr=False)
class SimulatedRun(Run):
    """A run whose table of samples is in memory."""

    table: Mapping[str, np.ndarray] = field(default_factory=dict)

    def samples(self, evaluation: EvaluationRecord | str) -> Any:
        import pandas

        return pandas.DataFrame(dict(self.table))


def simulate(world: World, n: int, effect: str, index: int, truth: Truth) -> dict[str, dict[str, float]]:
    """Return the outcomes of one simulation.

    Args:
        truth: of the world, n and effect.

    Returns:
        ``covers`` of metrics, baselines and points of curves with an interval: 1 where it contains the truth; ``p`` of
        each difference that has a test.
    """
    rng = np.random.default_rng([index, n, *effect.encode()])
    drawn = world.draw(rng, n, effect, n_models=2)
    base, candidate = (_run(world, drawn, number, index) for number in range(2))
    covers = {
        name: float(low - ROUNDING <= truth[name] <= high + ROUNDING)
        for name, (low, high) in intervals_of(base.result.evaluations[0]).items()
    }
    differences = compare(base, candidate).differences
    return {"covers": covers, "p": {each.name: each.p_value for each in differences if each.p_value is not None}}


def intervals_of(record: EvaluationRecord) -> dict[str, tuple[float, float]]:
    """Return every interval that an evaluation prints, by its name in ``World.truth``."""
    metrics = {**record.metrics, **{f"baseline {name}": each for name, each in record.baselines.items()}}
    found = {
        name: (each.low, each.high) for name, each in metrics.items() if each.low is not None and each.high is not None
    }
    for name, curve in record.curves.items():
        for place, (low, high) in enumerate(zip(curve.low or (), curve.high or (), strict=True)):
            if low is not None and high is not None:
                found[f"curve {name} {place}"] = (low, high)
    return found


def measured(world: World, drawn: Draw, number: int, index: int) -> tuple[EvaluationRecord, Mapping[str, np.ndarray]]:
    """Return what a run records of one of the models, and its table of samples."""
    # The task draws the same samples for each model, as it does in two runs of one seed.
    evaluation = world.task.evaluate(drawn.dataset, drawn.models[number], np.random.default_rng(index))
    data = DatasetRecord(id=drawn.dataset.id, fingerprint=str(index))
    task = world.task
    empty = EvaluationRecord(task=task.name, task_version=task.version, params={}, dataset=data, status="ok")
    return with_numbers(empty, evaluation, seed=index), evaluation.samples


def _run(world: World, drawn: Draw, number: int, index: int) -> SimulatedRun:
    record, samples = measured(world, drawn, number, index)
    result = Result(
        clipbench_version="", created="", command=[], seed=index, environment={}, model={}, evaluations=[record]
    )
    return SimulatedRun(Path(str(number)), result, samples)


# Outcomes that are kept ------------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """Return a hash of all code that outcomes follow from."""
    folders = ("clipbench/stats", "clipbench/metrics", "clipbench/comparison", "tasks/clipbench_tasks")
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    files += sorted(file for file in (ROOT / "experiments").glob("rates*.py") if file.stem != "rates_page")
    # Of these modules no more than a function each: what else they hold changes often, and no outcome.
    functions = (with_numbers, finite, finite_curve, generator)
    code = [*(file.read_text(encoding="utf-8") for file in files), *(inspect.getsource(each) for each in functions)]
    return hashlib.blake2b("".join(code).encode(), digest_size=6).hexdigest()


class Kept:
    """Outcomes in a folder: a file for each world, n and effect, with a line for each simulation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, world: str, n: int, effect: str) -> Path:
        return self.folder / f"{world.replace(', ', '-').replace(' ', '-')}-{n}-{effect}.jsonl"

    def read(self, world: str, n: int, effect: str) -> dict[int, dict[str, dict[str, float]]]:
        """Return the outcomes by the index of their simulation, in its order; a line that was broken off is none."""
        path = self.path(world, n, effect)
        if not path.is_file():
            return {}
        found = {}
        for line in path.read_text().splitlines():
            try:
                outcome = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[outcome.pop("index")] = outcome
        return dict(sorted(found.items()))

    def outcomes(self) -> Outcomes:
        """Return the outcomes of every n of which there are some of each world and effect."""
        found: dict[tuple[str, int, str], Sequence[Outcome]] = {}
        for n in NS:
            of_n = {
                (world, n, effect): list(self.read(world, n, effect).values())
                for world, effect in product(WORLDS, EFFECTS)
            }
            found |= of_n if all(of_n.values()) else {}
        return found

    def truth(self, world: str, n: int, effect: str) -> Truth:
        """Return the true values, computed once: some take as long as many simulations."""
        path = self.path(world, n, effect).with_suffix(".truth.json")
        if not path.is_file():
            found = {name: float(value) for name, value in WORLDS[world].truth(n, effect).items()}
            write_atomic({path: json.dumps(found).encode()})
        truth: dict[str, float] = json.loads(path.read_text())
        return truth

    def add(self, world: str, n: int, effect: str, outcomes: Mapping[int, Mapping[str, Mapping[str, float]]]) -> None:
        lines = [json.dumps({"index": index, **outcome}) + "\n" for index, outcome in outcomes.items()]
        with self.path(world, n, effect).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # the last line was broken off: it must not swallow the first of these
                    lines.insert(0, "\n")
            file.write("".join(lines).encode())


def _chunk(
    kept: Kept, world: str, n: int, effect: str, indices: Sequence[int]
) -> dict[int, dict[str, dict[str, float]]]:
    truth = kept.truth(world, n, effect)
    return {index: simulate(WORLDS[world], n, effect, index, truth) for index in indices}


def _missing(kept: Kept, worlds: Sequence[str], counts: Mapping[int, int]) -> Iterator[tuple[str, int, str, list[int]]]:
    """Yield the pieces of work that are missing: the first simulations of everything come first."""
    pieces = []
    for world, n, effect in product(worlds, counts, EFFECTS):
        missing = sorted(set(range(counts[n])) - set(kept.read(world, n, effect)))
        pieces += [
            (missing[start], world, n, effect, missing[start : start + CHUNK])
            for start in range(0, len(missing), CHUNK)
        ]
    for _, *piece in sorted(pieces, key=lambda each: each[0]):
        yield tuple(piece)  # type: ignore[misc]


def _end_when_asked() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # inherited, it would end a piece of work, and the next would begin


def main(*, worlds: Sequence[str], counts: Mapping[int, int], workers: int, runs: Path, page: Path | None) -> int:
    """Make the simulations that are missing, write the page, and return an exit status.

    Raises:
        UsageError: the page has no place for the tables.
    """
    if page is not None:
        around_tables(page)  # now, not after hours
    kept = Kept(runs / fingerprint())
    kept.folder.mkdir(parents=True, exist_ok=True)
    pieces = list(_missing(kept, worlds, counts))
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    fresh = get_context("spawn")  # a fork would keep the threads of numpy that is imported here
    with (
        ProcessPoolExecutor(workers, mp_context=fresh, initializer=_end_when_asked) as pool,
        tqdm(total=sum(len(each[3]) for each in pieces), unit=" simulations") as bar,
    ):
        waiting = [(piece, pool.submit(_chunk, kept, *piece)) for piece in pieces]
        try:
            for (world, n, effect, indices), future in waiting:
                kept.add(world, n, effect, future.result())
                bar.update(len(indices))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else the error is told hours later
            raise
    if page is not None:
        write_page(page, kept.outcomes())
    return 0


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1_000, help="simulations of each world and effect")
    parser.add_argument("--large", type=int, help="the same for n = 1,000, which takes longest; as many by default")
    parser.add_argument("--n", type=int, nargs="+", default=NS, choices=NS, help="numbers of samples")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), metavar="WORLD", help="beginnings of their names")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "rates", help="folder of the outcomes")
    parser.add_argument("--no-page", action="store_true", help="leave experiments/coverage.md as it is")
    return parser.parse_args(given)


def _chosen(beginnings: Sequence[str]) -> list[str]:
    for each in beginnings:
        if not any(name.startswith(each) for name in WORLDS):
            raise UsageError(f"unknown world '{each}': {did_you_mean(each, WORLDS)}")
    return [name for name in WORLDS if any(name.startswith(each) for each in beginnings)]


if __name__ == "__main__":
    options = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    n_simulations = {100: options.simulations, 1_000: options.large or options.simulations}
    sys.exit(
        main(
            worlds=_chosen(options.worlds),
            counts={n: n_simulations[n] for n in options.n},
            workers=options.workers,
            runs=options.runs,
            page=None if options.no_page else ROOT / "experiments" / "coverage.md",
        )
    )
