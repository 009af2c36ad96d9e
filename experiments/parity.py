"""Measure true checkpoints on true data, and compare the values with published ones: `make parity`, experiments/parity.md.

It says first what it downloads and how long that takes. After an interruption, the same command continues: what was
measured is kept in --out. A model or a data set that cannot be had is named on the page, and the others are measured.
If nothing was measured, no page is written. Every number is that of `clipbench run`; where a published value lies
outside its interval, `clipbench doctor --expect published` looks for the reason.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipbench.data.catalogue.entries import catalogue
from clipbench.errors import ClipbenchError
from clipbench.models.reference import aliases
from clipbench.results.numbers import percent
from clipbench.results.record import EvaluationRecord
from clipbench.results.run import read_run

ROOT = Path(__file__).parents[1]
MODELS = (
    "vit-b-32", "vit-l-14", "siglip-b-16", "siglip2-b-16", "open_clip:ViT-B-32-quickgelu/metaclip_400m",
    "vit-h-14-378-dfn5b", "open_clip:EVA02-B-16/merged2b_s8b_b131k", "pe-core-b-16", "mobileclip2-s2",
    "hf:jinaai/jina-clip-v1", "hf:OFA-Sys/chinese-clip-vit-base-patch16", "hf-hub:BeichenZhang/LongCLIP-B",
)  # fmt: skip
DATA = {"imagenet": "zero-shot", "coco": "retrieval", "flickr30k": "retrieval", "sugarcrepe": "composition"}
"""Data sets by their name in the catalogue, with the task."""
SHOWN = re.compile(r"acc1|(image|text)_retrieval_recall@1|macro/text_acc")
"""Metrics that a model without published values shows."""
CLIPBENCH = [sys.executable, "-c", "from clipbench.cli import main; main()"]
TOKENS = 300
"""Tokens of an image and its texts, for a guess of the time: twice the parameters are multiplied for each."""
HUB = "https://huggingface.co"


class Cell(NamedTuple):
    """A model on a data set: its evaluation, or the reason why there is none."""

    model: str
    data: str
    record: EvaluationRecord | None
    reason: str = ""


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    options = arguments()
    print("\n".join(announcement(options.models, options.data)), flush=True)
    cells = [Cell(model, data, *measured(model, data, options)) for model in options.models for data in options.data]
    n = sum(cell.record is not None for cell in cells)
    if n:
        options.page.write_text(page(cells, options), encoding="utf-8")
    print(f"{n} of {len(cells)} measured; {options.page if n else 'no page is written'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="REF", help="as clipbench run takes them")
    parser.add_argument("--data", nargs="+", default=[*DATA], choices=DATA, help="[%(default)s]")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "parity", help="where runs are kept")
    parser.add_argument("--data-root", type=Path, default=Path("."), help="folder that holds data sets by name")
    parser.add_argument("--page", type=Path, default=ROOT / "experiments" / "parity.md", help="[experiments/parity.md]")
    options = parser.parse_args()
    options.out = options.out.absolute()
    return options


# -- what it costs


def announcement(models: Sequence[str], data: Sequence[str]) -> Iterator[str]:
    """Yield what is downloaded, and how long it takes at the speed of a product of matrices on this machine."""
    entries = {name: catalogue()[name] for name in data if name in catalogue()}
    parameters = {model: n_parameters(model) for model in models}
    of_data = {name: entry.size for name, entry in entries.items()}
    of_models = {model: None if n is None else 4 * n for model, n in parameters.items()}
    for what, sizes in (("data", of_data), ("weights", of_models)):
        listed = ", ".join(
            f"{name} {'of unknown size' if n is None else f'{n / 1e9:.1f} GB'}" for name, n in sizes.items()
        )
        known = sum(n or 0 for n in sizes.values())
        yield f"downloads {what}, where they are not here yet: {listed}; {known / 1e9:.0f} GB and what is unknown"
    n_images = sum(entry.n_images or 0 for entry in entries.values())
    work = sum(2.0 * (n or 3e8) * TOKENS * n_images for n in parameters.values())
    yield f"takes about {work / flops_per_second() / 3600:.1f} hours of computing on this machine, beside the downloads"


def n_parameters(model: str) -> int | None:
    """Return what the list of models says."""
    what = next((alias.description for alias in aliases() if alias.alias == model), "")
    found = re.search(r"([\d.]+) M parameters", what)
    return None if found is None else int(float(found[1]) * 1e6)


def flops_per_second() -> float:
    """Return the speed at which torch multiplies matrices here, in its default place for models."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.ones(2048, 2048, device=device)
    float((matrix @ matrix)[0, 0])  # the first is slower
    start = time.monotonic()
    float((matrix @ matrix)[0, 0])
    return 2 * 2048**3 / (time.monotonic() - start)


# -- runs


def measured(model: str, data: str, options: argparse.Namespace) -> tuple[EvaluationRecord | None, str]:
    """Return an evaluation, of an earlier command where there is one; or the reason why it failed, and is tried again
    next time.
    """
    folder = folder_of(options.out, model) / data
    record = finished(folder)
    if record is not None:
        print(f"{model} on {data}: was measured", flush=True)
        return record, ""
    shutil.rmtree(folder, ignore_errors=True)  # of a command that was killed; its vectors are in the store
    print(f"{model} on {data}", flush=True)
    command = ["run", "--model", model, "--tasks", f"{DATA[data]}@{data}", "--yes", "--no-report", "--out", str(folder)]
    command += ["--data-root", str(options.data_root)]
    done = called(*command)
    record = finished(folder)
    reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("clipbench: ")), "")
    reason = reason.removeprefix("clipbench: ").replace(str(options.data_root), ".") or f"exit status {done.returncode}"
    if record is None:
        print(f"  {reason}", flush=True)
    return record, "" if record is not None else reason


def folder_of(out: Path, model: str) -> Path:
    """Return where the runs of a model are kept."""
    return out / re.sub(r"[^\w.-]+", "-", model)


def finished(folder: Path) -> EvaluationRecord | None:
    """Return the evaluation of a run, if it came to its end."""
    try:
        found = read_run(folder).result.evaluations
    except ClipbenchError:
        return None
    return found[0] if len(found) == 1 and found[0].status == "ok" else None


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of clipbench; a crash of one is not that of all."""
    return subprocess.run([*CLIPBENCH, *arguments], capture_output=True, text=True, check=False)


def likely_reason(cell: Cell, name: str, options: argparse.Namespace) -> str:
    """Return what `doctor` found about a value that misses the published one; its answer is kept."""
    kept = folder_of(options.out, cell.model) / f"{cell.data}-{name.replace('/', '-')}.json"
    if not kept.is_file():
        expected = ["--expect", "published", "--metric", f"{DATA[cell.data]}/{name}", "--json"]
        expected += ["--data-root", str(options.data_root)]
        done = called("doctor", "--model", cell.model, "--data", cell.data, *expected)
        if not done.stdout.startswith("{"):
            return f"doctor: {done.stderr.strip().removeprefix('clipbench: ') or done.returncode}"
        kept.write_text(done.stdout, encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    told = [each for each in found["findings"] if each["status"] == "fault" and each["check"] != "expected-score"]
    faults = [f"{each['check']}: {each['seen']}" for each in told]
    effects = (found["explanation"] or {}).get("effects", [])
    towards = next((each for each in effects if each["is_towards"]), None)
    causes = (
        faults
        if towards is None
        else [f"{towards['switch']}: {towards['setting']} gives {percent(towards['value'])} %", *faults]
    )
    return "; ".join(causes) or "no switch of doctor explains it"


# -- the page


def page(cells: Sequence[Cell], options: argparse.Namespace) -> str:
    """Return the page: what could not be tried first, then every value beside the published one."""
    lacking: dict[str, list[str]] = {}
    for cell in cells:
        if cell.record is None:
            lacking.setdefault(cell.reason.partition(";")[0], []).append(f"{cell.model} on {cell.data}")
    hub = os.environ.get("HF_ENDPOINT", HUB)
    lines = [
        "# Parity with published values",
        "",
        f"Weights and data were downloaded from {hub} and measured from their images.",
        "",
    ]
    if lacking:
        lines += ["Not measured:", "", *(f"- {', '.join(names)}: {reason}" for reason, names in lacking.items()), ""]
    lines += [
        (
            "Written by `make parity`, which says what it downloads and how long it takes, "
            "and continues after an interruption."
        ),
        "",
    ]
    lines += [
        "| model | data | metric | value | interval | published | difference | likely reason |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [row for cell in cells if cell.record is not None for row in rows(cell, options)]
    sources = sorted(
        {
            each.source
            for cell in cells
            if cell.record is not None
            for metric in cell.record.metrics.values()
            for each in metric.published
        }
    )
    return "\n".join([*lines, "", *(["Sources:", "", *(f"- {source}" for source in sources), ""] if sources else [])])


def rows(cell: Cell, options: argparse.Namespace) -> Iterator[str]:
    """Yield a row for each published value of an evaluation; without any, for the usual metrics."""
    assert cell.record is not None
    asked = False
    found = {name: metric for name, metric in cell.record.metrics.items() if metric.value is not None}
    published = {name: metric for name, metric in found.items() if metric.published}
    for name, metric in (published or {name: each for name, each in found.items() if SHOWN.fullmatch(name)}).items():
        assert metric.value is not None
        interval = (
            "" if metric.low is None or metric.high is None else f"[{percent(metric.low)}, {percent(metric.high)}]"
        )
        begin = f"| `{cell.model}` | {cell.data} | `{name}` | {percent(metric.value)} | {interval}"
        for each in [value for value in metric.published if not value.is_secondary] or metric.published[:1]:
            reason = "within the interval"
            if not each.agrees:  # one switch explains all of a data set, and trying all takes minutes
                reason, asked = "as above" if asked else likely_reason(cell, name, options), True
            yield (
                f"{begin} | {percent(each.value)} | {100 * (metric.value - each.value):+.1f} |"
                f" {reason.replace('|', '/')} |"
            )
        if not metric.published:
            yield f"{begin} | none is known | | |"


if __name__ == "__main__":
    main()
