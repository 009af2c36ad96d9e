"""Train small CLIPs, hold what papers say of CLIP against them, and print the tables of experiments/claims.md: `make claims`.

    python experiments/claims.py                  # about two hours on two cores
    python experiments/claims.py --samples 8192   # sooner, with less to be seen

InfoNCE against the sigmoid loss at three batch sizes, and the modality gap at three temperatures, each with several
seeds; and what the InfoNCE runs of one size, and `tiny`, make of swapped captions, written words, long captions, and
texts that match texts. Runs are kept below runs/claims and made once; one that was broken off is resumed.
"""

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np

from claims_figures import draw_gap, draw_losses, draw_weaknesses
from claims_outcomes import (
    DIRECTIONS,
    MEASURED,
    SHOWN,
    WEAKNESSES,
    Bounded,
    Runs,
    gap,
    gap_difference,
    gap_of_one_cloud,
    lead,
    loss_of_lead,
    of_seeds,
    over_names,
    over_seeds,
    read_outcome,
    read_weaknesses,
    recall,
    value_of,
)
from claims_texts import EMBEDDERS, Found, is_installed, read_clip_names, read_found
from clipbench.cli.main import DONE
from clipbench.data.scenes import SCENES_VERSION
from clipbench.errors import ClipbenchError, UsageError
from clipbench.metrics.geometry import cone, modality_gap
from clipbench.metrics.similarity import unit
from clipbench.models.checkpoints import bundled_checkpoints
from clipbench.stats import intervals
from clipbench.training.options import TrainOptions, arguments_of

ROOT = Path(__file__).parents[1]
LOSSES = ("clip", "siglip")
BATCH_SIZES = (16, 64, 256)
"""At 1,024 there would be 32 steps, in which neither loss gets above chance, and 4 GB of memory for each run."""
TEMPERATURES = (0.01, 0.07)
"""The fixed ones, at the largest batch. The learned one is that of the InfoNCE run of that batch size."""
WEAK = "clip-64"
"""Runs whose weaknesses are measured."""
LEARNING_RATE = 1e-3
"""Learning rate at the largest batch; it is scaled by the square root of the batch, for both losses."""
WARMUP_SHARE = 0.5
"""Warm-up as a share of the samples. A warm-up of 4 steps up to 1e-3 was seen to collapse."""
AT_ONCE = 2
"""Runs of one thread each: two of them get more done on two cores than one of two threads."""
TASKS = {
    MEASURED: "retrieval@scenes,modality-gap@scenes",
    WEAKNESSES: "composition@scenes,text-in-image@scenes,long-caption@scenes",
}
"""Tasks of each folder of results."""
TEXTS = "texts.json"
NAMES = Path("vitb32_class_text")
GAPS = {"random weights": "features_clip_random.npy", "trained": "features_clip.npy"}
"""Public CLIP vectors: of class names (Detic), and of images and texts (Liang et al.)."""
CLIPBENCH = (sys.executable, "-m", "clipbench")

Work = tuple[Path, Sequence[str]]
"""A file that is there when the work is done, and the command that makes it."""


def plan(folder: Path, *, samples: int, seed: int) -> dict[str, TrainOptions]:
    """Return the runs of both experiments by their names, each below a folder under that name.

    Raises:
        UsageError: the samples do not make whole batches of each size.

    Example:
        >>> list(plan(Path("runs"), samples=2048, seed=0))[:3]
        ['clip-16', 'siglip-16', 'clip-64']
    """
    largest = max(BATCH_SIZES)
    if samples < 1 or samples % largest:
        raise UsageError(f"--samples is {samples}: expected a multiple of {largest}, the largest batch")
    settings = {f"{loss}-{size}": (loss, size, None) for size in BATCH_SIZES for loss in LOSSES}
    fixed = {f"temperature-{each}": ("clip", largest, each) for each in TEMPERATURES}
    found = {}
    for name, (loss, size, temperature) in {**settings, **fixed}.items():
        steps = samples // size
        found[name] = TrainOptions(
            data="scenes",
            out=folder / name,
            loss=loss,
            steps=steps,
            batch_size=size,
            lr=LEARNING_RATE * math.sqrt(size / largest),
            warmup=round(WARMUP_SHARE * steps),
            temperature=temperature,
            precision="bf16",
            seed=seed,
            device="cpu",
            save_every=-(-steps // 2),
            eval_every=min(2, steps) if loss == "clip" and size == largest else steps,
        )
    return found


def training(options: TrainOptions) -> Work:
    """Return the work of training a run, from its newest checkpoint where it has one."""
    out = options.out
    values = {name: value for name, value in options.to_json().items() if value not in (None, {})}
    arguments = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    if bundled_checkpoints(out):
        options.check_same(arguments_of(out))
        arguments = ["--resume", "--out", str(out)]
    return out / f"step-{options.steps}", [*CLIPBENCH, "train", *arguments]


def measuring(out: Path, model: str, folder: str) -> Work:
    """Return the work of measuring a model into a folder of TASKS below ``out``."""
    options = ["--no-report", "--thumbnails", "0", "--device", "cpu", "--workers", "0", "--out", str(out / folder)]
    return out / folder / "result.json", [*CLIPBENCH, "run", "--model", model, "--tasks", TASKS[folder], *options]


def matching(out: Path, model: str, *names: str) -> Work:
    """Return the work of measuring what a model finds among texts."""
    return out, [sys.executable, str(Path(__file__).with_name("claims_texts.py")), model, str(out), *names]


def measurements(planned: Sequence[TrainOptions], runs: Path, clip_vectors: Path | None) -> list[Work]:
    """Return all measurements: of each run, of ``tiny``, and of the text embedders that are installed."""
    found = [measuring(options.out, str(options.out), MEASURED) for options in planned]
    models = [(options.out, str(options.out)) for options in planned if options.out.name == WEAK]
    for out, model in [*models, (runs / "tiny", "tiny")]:
        found += [measuring(out, model, WEAKNESSES), matching(out / TEXTS, model)]
    for name in filter(is_installed, EMBEDDERS):
        found.append(matching(runs / f"{name}-texts.json", name))
        if clip_vectors is not None:
            found.append(
                matching(runs / f"{name}-names.json", name, "--names", str(clip_vectors / NAMES / "coco80.json"))
            )
    return found


def work_off(works: Iterable[Work]) -> None:
    """Do what is not done, two pieces at a time.

    Raises:
        ClipbenchError: one failed; its last line is in the message.
    """

    def do(work: Work) -> None:
        result, command = work
        result.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "CLIPBENCH_CACHE": str(result.parent / "cache")}
        print(f"making {result}", file=sys.stderr)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != DONE:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ClipbenchError(f"{result} ended with status {done.returncode}: {said[-1]}")

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        list(pool.map(do, [work for work in works if not work[0].exists()]))
    finally:
        pool.shutdown(cancel_futures=True)


# The tables -----------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def bounded(found: Bounded, form: str = ".1f", scale: float = 100, unit: str = " %") -> str:
    """Return a number with its interval.

    Example:
        >>> bounded(Bounded(0.031, -0.002, 0.064), "+.1f", unit=" pp")
        '+3.1 pp (−0.2 to +6.4)'
    """
    value, low, high = (f"{scale * part:{form}}".replace("-", "−") for part in found[:3])
    return f"{value}{unit} ({low} to {high})"


def points(found: Bounded) -> str:
    return bounded(found, "+.1f", unit=" pp")


def number(found: Bounded) -> str:
    return bounded(found, ".3f", 1, "")


def of_losses(duels: Sequence[tuple[Runs, Runs]]) -> str:
    """Return recall@1 of both losses by batch size, and by how much the sigmoid loss's lead shrinks."""
    head = ("Batch size", "Loss", "Text to image", "Image to text", "Both", "Sigmoid loss minus InfoNCE", "Seconds")
    rows = [
        (
            f"{runs[0].options.batch_size:,}",
            name,
            *(bounded(recall(runs, direction)) for direction in (*DIRECTIONS, None)),
            points(lead(siglip, clip)) if runs is siglip else "",
            f"{np.mean([run.seconds for run in runs]):.0f}",
        )
        for clip, siglip in duels
        for name, runs in (("InfoNCE", clip), ("sigmoid loss", siglip))
    ]
    small, large = ((siglip, clip) for clip, siglip in (duels[0], duels[-1]))
    shrinks = points(loss_of_lead(small, large))
    return f"{table(head, rows)}\nFrom the smallest to the largest batch the lead shrinks by {shrinks}.\n"


def of_gaps(by_temperature: Sequence[Runs]) -> str:
    """Return the gap by temperature, at the start as a multiple of what chance makes, and the difference at the end."""
    head = ("Temperature", "Gap, start", "of chance", "Gap, end", "Image cone, both", "Text cone, both", "Gap, test",
            "Recall@1, test")  # fmt: skip
    rows = []
    for runs in by_temperature:
        first, last = ([run.history[at] for run in runs] for at in (0, -1))
        cones = [
            ", ".join(f"{np.mean([getattr(each, name) for each in of]):.3f}" for of in (first, last))
            for name in ("image_cone", "text_cone")
        ]
        ratio = of_seeds([each.gap / gap_of_one_cloud(each) for each in first])
        start, end = (of_seeds([each.gap for each in of]) for of in (first, last))
        test = number(gap(runs)), bounded(recall(runs))
        rows.append((runs[0].label, number(start), f"{ratio.value:.0f} times", number(end), *cones, *test))
    low, high = by_temperature[0], by_temperature[len(TEMPERATURES) - 1]
    return f"{table(head, rows)}\nHighest minus lowest fixed temperature: {number(gap_difference(high, low))}.\n"


def of_texts(found: dict[str, Sequence[Found]], *, of_names: bool) -> str:
    """Return who finds the matching text, and the difference of each text embedder from each CLIP."""

    def mean(values: np.ndarray, within: intervals.Range = intervals.SHARES) -> Bounded:
        return over_names(values[0], within=within) if of_names else over_seeds(values, within=within)

    rows = [
        (name, f"{each[0].parameters / 1e6:.1f} M", bounded(mean(np.stack([one.hits for one in each]))))
        for name, each in found.items()
    ]
    differences = []
    for name, other in product(found, EMBEDDERS):
        if other in found and name not in EMBEDDERS:
            less = np.stack([one.hits - found[other][0].hits for one in found[name]])
            differences.append(f"{name} minus {other}: {points(mean(less, intervals.DIFFERENCES))}")
    return "\n".join([table(("Text encoder", "Parameters", "Right text nearest"), rows), *differences, ""])


def main(*, samples: int, seeds: Sequence[int], runs: Path, docs: Path, clip_vectors: Path | None) -> None:
    """Make what runs are missing, print the tables, and draw the figures.

    Raises:
        UsageError: fewer than three seeds, or one twice.
        ClipbenchError: a run failed, or its folder holds a run of other arguments.
    """
    if len(set(seeds)) < max(3, len(seeds)):
        raise UsageError(f"--seeds are {list(seeds)}: expected three or more, each once, for an interval over seeds")
    by_seed = [
        plan(runs / f"scenes-{SCENES_VERSION}-samples-{samples}-seed-{seed}", samples=samples, seed=seed)
        for seed in seeds
    ]
    planned = [options for each in by_seed for options in each.values()]
    work_off(map(training, planned))
    work_off(measurements(planned, runs, clip_vectors))
    found = {name: [read_outcome(each[name].out) for each in by_seed] for name in by_seed[0]}
    duels = [(found[f"clip-{size}"], found[f"siglip-{size}"]) for size in BATCH_SIZES]
    by_temperature = [*(found[f"temperature-{each}"] for each in TEMPERATURES), duels[-1][0]]
    print(of_losses(duels), of_gaps(by_temperature), sep="\n")

    folders = [each[WEAK].out for each in by_seed]
    ours, tiny = [read_weaknesses(out / WEAKNESSES) for out in folders], [read_weaknesses(runs / "tiny" / WEAKNESSES)]
    of_runs, of_tiny = ({name: value_of(models, name) for name in models[0]} for models in (ours, tiny))
    rows = [
        (title, bounded(of_runs[name]), bounded(of_tiny[name]), "" if chance is None else f"{100 * chance:.1f} %")
        for name, (title, chance) in SHOWN.items()
    ]
    print(table(("", "Runs, mean of seeds", "`tiny`", "Chance"), rows))
    for name in ("hard_negative_cosine", "other_cosine", "word_wins", "past_few"):
        print(f"{name}: {number(of_runs[name])}; `tiny` {number(of_tiny[name])}")

    texts = {"runs": [read_found(out / TEXTS) for out in folders], "`tiny`": [read_found(runs / "tiny" / TEXTS)]}
    print(of_texts({**texts, **embedders(runs, "texts")}, of_names=False))
    if clip_vectors is not None:
        clip = {"CLIP ViT-B/32": [read_clip_names(clip_vectors / NAMES)]}
        print(of_texts({**clip, **embedders(runs, "names")}, of_names=True))
        for title, name in GAPS.items():
            images, of_captions = (
                unit(side.astype(np.float32)) for side in np.load(clip_vectors / "modality_gap" / name)
            )
            cones = cone(images).value, cone(of_captions).value
            print(
                f"CLIP, {title}: gap {modality_gap(images, of_captions):.4f}, cones {cones[0]:.4f} and {cones[1]:.4f}"
            )
    draw_losses(duels, docs / "losses.svg")
    draw_gap(by_temperature, docs / "gap.svg")
    draw_weaknesses(of_runs, of_tiny, docs / "weaknesses.svg")


def embedders(runs: Path, kind: str) -> dict[str, Sequence[Found]]:
    """Return what the text embedders have found that are installed."""
    return {name: [read_found(path)] for name in EMBEDDERS if (path := runs / f"{name}-{kind}.json").is_file()}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=32_768, help="of each run, a multiple of 256 [%(default)s]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="[%(default)s]")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "claims", help="where runs are kept")
    parser.add_argument("--docs", type=Path, default=ROOT / "experiments" / "claims", help="where figures are drawn")
    parser.add_argument(
        "--clip-vectors",
        type=Path,
        metavar="FOLDER",
        help=(
            "folder with vitb32_class_text/coco80.npy and .json (Detic) "
            "and modality_gap/features_clip.npy (Liang et al.)"
        ),
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main(**vars(_parse()))
    except ClipbenchError as error:
        sys.exit(f"claims: {error}")
