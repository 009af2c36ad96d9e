"""Draw all kinds of figures from models and data that need no download, and write docs/figures.md: `make figures`.

    python experiments/figures.py    # about six minutes on two quiet cores, most of it a small training

Runs are made once, in runs/figures; the page is made from finished runs alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipbench_reports.plots.plots import PLOTS

ROOT = Path(__file__).parents[1]
RUNS, PAGE, IMAGES = ROOT / "runs" / "figures", ROOT / "docs" / "figures.md", ROOT / "docs" / "figures"
CLIPBENCH = (sys.executable, "-m", "clipbench.cli")
STEPS, EVERY = 400, 100
NEED_DATA = {"robustness", "relevance", "modalities", "modality-map"}
"""Plots that need ImageNet, judgements or other modalities: the page refers to others for them."""

HEAD = """# Figures

<!-- page not run: `make figures` runs the commands and writes the page -->

All kinds of figures that `clipbench plot` draws, at column width (8.25 cm) unless noted, from the bundled model and from
a training of {steps} steps of 64 pairs, both on scenes. Made by `make figures`.

A figure is drawn from run folders alone. `-o gap.pdf` also writes `gap.csv`, the numbers that are plotted, and `gap.txt`,
the draft of a caption, which is shown under each figure here. `-o` takes pdf, svg, png, pgf and the other formats of
matplotlib; `--width` takes `column`, `full` (17.5 cm) or a number of cm; `--style` takes a matplotlib style file, whose
settings take precedence. Text is 8 pt, fonts are embedded as TrueType (type 42), dense clouds are rasterized at 300 dpi,
everything else is vector graphics, and equal runs give equal files. In Python,
`clipbench_reports.plots.plots.draw_plot("gap", runs)` returns the same figure.

Colours and shapes have one meaning everywhere, also in the report: images are blue discs and solid lines, texts orange
squares (hollow in dense clouds) and dashed lines, pairs are grey, everything else is black, chance is dotted. Shapes tell
them apart in print without colour.

Several runs share panels, as in a report of several models: colour, shape and dashes then mean the model, and each series
that had a colour in the figure of one model has its own panel. Marks that would hide each other (gap, cones,
similarity-matrix, twins) are drawn side by side on the same axes, and so are all marks of more than six models. A
reference that is the same for all, such as chance, is drawn once; one that differs, such as the effective length, is
dashed in the colour of each model. The title gives the value of each model and claims no difference: that takes the
paired tests of `compare`. That of one model names the best or the worst of several values only where tests tell it from
each other one ([statistics.md](statistics.md)). Bands are drawn for up to two models; the table has all of them, with a series per model.

[modality-gap.md](modality-gap.md) defines what the figures of the modality gap show. `robustness` needs ImageNet, and is described in
[datacomp.md](datacomp.md#effective-robustness); `modalities` and `modality-map` are in [tasks/modalities.md](tasks/modalities.md);
`relevance` needs [data with judgements](data.md#data-with-judgements). `across` needs three models or more, and draws one quantity of
them against another: two metrics, or [quality against price](models.md#quality-against-price), with a logarithmic axis where prices span
decades, the intervals of the metric, and a dashed line through their front: no other model is at least as cheap and as good, and ahead in one.
"""


class Entry(NamedTuple):
    """A figure of the page."""

    plot: str
    runs: tuple[str, ...]
    options: tuple[str, ...] = ()
    name: str = ""
    """Name of its file; needed if a plot is shown more than once."""


ENTRIES = (
    Entry("gap", ("tiny",)),
    Entry("gap", ("tiny",), ("--projection", "gap-axis"), "gap-axis"),
    Entry("gap", ("tiny",), ("--projection", "svd"), "gap-svd"),
    Entry("gap", ("tiny",), ("--projection", "umap"), "gap-umap"),
    Entry(
        "gap",
        ("series/step-0", "series/step-100", "series/step-200", "series/step-400"),
        ("--width", "full"),
        "gap-series",
    ),
    Entry("cones", ("tiny",)),
    Entry("spectrum", ("tiny",)),
    Entry("shift", ("tiny",)),
    Entry("shift", ("series/step-400", "tiny"), ("--width", "full"), "shift-models"),
    Entry("corrections", ("tiny",)),
    Entry("similarity-calibration", ("tiny",)),
    Entry("track", ("training",)),
    Entry("similarity-matrix", ("tiny",)),
    Entry("mixed-retrieval", ("tiny",)),
    Entry("typographic", ("tiny",)),
    Entry("long-caption", ("tiny",)),
    Entry("long-caption", ("series/step-400", "tiny"), (), "long-caption-models"),
    Entry("operating-points", ("tiny",)),
    Entry("compression", ("tiny",)),
    Entry("few-shot", ("tiny",)),
    Entry("composition", ("tiny",)),
    Entry("scorecard", ("tiny",)),
    Entry(
        "across",
        ("series/step-0", "series/step-100", "series/step-200", "series/step-400", "tiny"),
        ("--x", "gap", "--y", "retrieval/image_retrieval_recall@1"),
    ),
    Entry(
        "representational-similarity",
        ("series/step-0", "series/step-100", "series/step-200", "series/step-400", "tiny"),
        ("--width", "full"),
    ),
    Entry("compare", ("series/step-400", "tiny")),
)


def main() -> None:
    """Make the missing runs, then all figures and the page."""
    make_runs()
    IMAGES.mkdir(exist_ok=True)
    sections = [draw(each) for each in ENTRIES]
    assert {each.plot for each in ENTRIES} == set(PLOTS) - NEED_DATA, "a kind of figure is not on the page"
    PAGE.write_text("\n".join([HEAD.format(steps=STEPS), *sections]), encoding="utf-8")


def make_runs() -> None:
    """Measure the bundled model, train a small one, and measure its checkpoints."""
    suite = ("--tasks", "all", "--suite", "scenes", "--no-report")
    if not (RUNS / "tiny" / "result.json").exists():
        others = ("--tasks", "few-shot@scenes,operating-points@scenes,compression@scenes,mixed-retrieval@scenes")
        clipbench("run", "--model", "tiny", *suite, *others, "--out", "tiny")
    if not (RUNS / "training" / f"step-{STEPS}").exists():
        resume = ("--resume",) if (RUNS / "training" / "step-0").exists() else ()
        clipbench(
            *("train", "--data", "scenes", "--data-option", "primer=12800", "--arch", "tiny", "--batch-size", "64"),
            *("--steps", str(STEPS), "--lr", "1e-3", "--warmup", "40", "--save-every", str(EVERY), "--eval-every", "20"),
            *("--out", "training", *resume),
        )  # fmt: skip
    clipbench("run", "--model", "training/step-*", *suite, "--out", "series")


def draw(entry: Entry) -> str:
    """Draw a figure, and return its part of the page."""
    name = entry.name or entry.plot
    path = RUNS / f"{name}.png"
    clipbench("plot", entry.plot, *entry.runs, *entry.options, "-o", path.name)
    with Image.open(path) as full:  # 256 colours are enough for a page, at a quarter of the size
        full.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / path.name, optimize=True)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    command = " ".join(["clipbench plot", entry.plot, *entry.runs, *entry.options, "-o", f"{name}.pdf"])
    width = 827 if "full" in entry.options else 390
    return f"""## {name}

    {command}

<img src="figures/{path.name}" width="{width}" alt="{PLOTS[entry.plot].summary}">

{caption}
"""


def clipbench(*arguments: str) -> None:
    """Run a command in the folder of the runs, and exit if it fails."""
    RUNS.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*CLIPBENCH, *arguments], check=False, cwd=RUNS)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
