"""Draw every kind of figure from what needs no download, and write docs/figures.md. Run by `make figures`.

    python experiments/figures.py    # about six minutes on two quiet cores, most of it a small training

Runs are kept below runs/figures and made once; the page is made of finished runs alone.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipbench_reports.plots.plots import PLOTS

ROOT = Path(__file__).parents[1]
RUNS, PAGE, PICTURES = ROOT / "runs" / "figures", ROOT / "docs" / "figures.md", ROOT / "docs" / "figures"
CLIPBENCH = (sys.executable, "-m", "clipbench.cli")
STEPS, EVERY = 400, 100

HEAD = """# Figures

Every kind of figure that `clipbench plot` draws, at the width of a column (8.25 cm) unless it says otherwise, from the
bundled model and from a training of {steps} steps of 64 pairs, both on the generated world. Made by `make figures`.

A figure is drawn from run folders alone. With `-o gap.pdf` come `gap.csv`, the numbers that are plotted, and `gap.txt`,
the draft of a caption that stands under each picture here. Type and size: `-o` takes pdf, svg, png, pgf and what else
matplotlib writes; `--width` takes `column`, `full` (17.5 cm) or a number of cm; `--style` a matplotlib style file, whose
settings come before ours. Text is 8 pt, fonts are embedded as TrueType (type 42), dense clouds are pixels at 300 dpi in a
file of vectors, and equal runs give equal files.

Colours and shapes mean one thing everywhere, in the report too: images are blue discs and full lines, texts orange
squares (hollow in dense clouds) and broken lines, what joins the two is grey, what belongs to neither is black, chance is dotted. In print
without colour the shapes tell them apart.

Of several runs, values and lines lie in the same panels, as in a report of several models: there colour, shape and dashes are
the model and nothing else, and what colour was in the figure of one model is a panel of its own. What would hide each other
(gap, cones, similarity-matrix, twins) stands side by side on the same axes, and so does all of more than six models. What is the same for
all, such as chance, is drawn once, and what differs, such as the effective length, broken in the colour of each model. The title says one
thing of each model and claims no difference: that takes the paired tests of `compare`. Bands are drawn of up to two models; the table has
them all, and its series are the models.

[modality-gap.md](modality-gap.md) defines what the figures of the modality gap show.
"""


class Picture(NamedTuple):
    """A figure of the page."""

    plot: str
    runs: tuple[str, ...]
    options: tuple[str, ...] = ()
    name: str = ""
    """Of its file, where a plot is shown more than once."""


PAGES = (
    Picture("gap", ("tiny",)),
    Picture("gap", ("tiny",), ("--projection", "gap-axis"), "gap-axis"),
    Picture("gap", ("tiny",), ("--projection", "svd"), "gap-svd"),
    Picture("gap", ("tiny",), ("--projection", "umap"), "gap-umap"),
    Picture(
        "gap",
        ("series/step-0", "series/step-100", "series/step-200", "series/step-400"),
        ("--width", "full"),
        "gap-series",
    ),
    Picture("cones", ("tiny",)),
    Picture("spectrum", ("tiny",)),
    Picture("shift", ("tiny",)),
    Picture("shift", ("series/step-400", "tiny"), ("--width", "full"), "shift-models"),
    Picture("corrections", ("tiny",)),
    Picture("similarity-calibration", ("tiny",)),
    Picture("track", ("training",)),
    Picture("similarity-matrix", ("tiny",)),
    Picture("typographic", ("tiny",)),
    Picture("long-caption", ("tiny",)),
    Picture("long-caption", ("series/step-400", "tiny"), (), "long-caption-models"),
    Picture("composition", ("tiny",)),
    Picture("scorecard", ("tiny",)),
    Picture("compare", ("series/step-400", "tiny")),
)


def main() -> None:
    """Make the runs that are not there yet, then all pictures and the page."""
    make_runs()
    PICTURES.mkdir(exist_ok=True)
    sections = [drawn(each) for each in PAGES]
    assert {each.plot for each in PAGES} == set(PLOTS), "a kind of figure has no picture"
    PAGE.write_text("\n".join([HEAD.format(steps=STEPS), *sections]), encoding="utf-8")


def make_runs() -> None:
    """Measure the bundled model, train a small one, and measure its checkpoints."""
    suite = ("--tasks", "all", "--suite", "scenes", "--no-report")
    if not (RUNS / "tiny" / "result.json").exists():
        clipbench("run", "--model", "tiny", *suite, "--out", "tiny")
    if not (RUNS / "training" / f"step-{STEPS}").exists():
        resume = ("--resume",) if (RUNS / "training" / "step-0").exists() else ()
        clipbench(
            *("train", "--data", "scenes", "--data-option", "primer=12800", "--arch", "tiny", "--batch-size", "64"),
            *("--steps", str(STEPS), "--lr", "1e-3", "--warmup", "40", "--save-every", str(EVERY), "--eval-every", "20"),
            *("--out", "training", *resume),
        )  # fmt: skip
    clipbench("run", "--model", "training/step-*", *suite, "--out", "series")


def drawn(picture: Picture) -> str:
    """Draw a picture, and return its part of the page."""
    name = picture.name or picture.plot
    path = RUNS / f"{name}.png"
    clipbench("plot", picture.plot, *picture.runs, *picture.options, "-o", path.name)
    with Image.open(path) as full:  # 256 colours are enough for a page, at a quarter of the size
        full.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURES / path.name, optimize=True)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    command = " ".join(["clipbench plot", picture.plot, *picture.runs, *picture.options, "-o", f"{name}.pdf"])
    width = 827 if "full" in picture.options else 390
    return f"""## {name}

    {command}

<img src="figures/{path.name}" width="{width}" alt="{PLOTS[picture.plot].summary}">

{caption}
"""


def clipbench(*arguments: str) -> None:
    """Run a command in the folder of the runs; its failure is ours."""
    RUNS.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*CLIPBENCH, *arguments], check=False, cwd=RUNS)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
