"""Draw all kinds of figures from models and data that need no download, and write docs/figures.md: `make figures`.

    python tools/figures.py    # about six minutes on two quiet cores, most of it a small training

Runs are made once, in runs/figures; the page is made from finished runs alone.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from clipbench_command import clipbench
from clipbench_reports.plots.plots import plots

ROOT = Path(__file__).parents[1]
RUNS, PAGE, IMAGES = ROOT / "runs" / "figures", ROOT / "docs" / "figures.md", ROOT / "docs" / "figures"
STEPS, EVERY = 400, 100
NEED_DATA = {"robustness", "relevance", "gallery-size", "modalities", "modality-map"}
"""Plots that need ImageNet, judgements, distractors or other modalities: other pages show them."""

HEAD = """# Figures

<!-- page not run: `make figures` runs the commands and writes the page -->

Draw figures for a paper or a talk from finished runs, without the model and the data. The command is `clipbench plot NAME tiny -o NAME.pdf` if no other is shown. In Python, use `run.plot("gap")`. `make figures` made
these from the bundled model and a training of {steps} steps, both on scenes.

`-o gap.pdf` also writes `gap.csv`, the plotted numbers, and `gap.txt`, the draft of a caption. `-o` takes pdf, svg, png and most other formats of matplotlib. `--width` takes `column` (8.25 cm,
the default), `full` (17.5 cm) or a number of cm. `--style` takes a matplotlib style file. Text is 8 pt, fonts are embedded, and equal runs give equal files.

Images are blue discs and solid lines, texts orange squares and dashed lines, pairs are grey, chance is dotted. With several runs, colour, shape and dashes mean the model. Titles claim no difference that a test does not
support ([statistics](statistics.md)).

More figures are on other pages: [`robustness`](datacomp.md#effective-robustness), [`modalities` and `modality-map`](tasks/modalities.md), [`relevance`](tasks/retrieval.md#judged-relevance),
[`gallery-size`](tasks/retrieval.md#galleries-of-other-sizes), and
[quality against cost](costs.md#quality-against-cost) with `across`.
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
    Entry("corrections", ("tiny",)),
    Entry("similarity-calibration", ("tiny",)),
    Entry("track", ("training",)),
    Entry("similarity-matrix", ("tiny",)),
    Entry("mixed-retrieval", ("tiny",)),
    Entry("typographic", ("tiny",)),
    Entry("long-caption", ("tiny",)),
    Entry("operating-points", ("tiny",)),
    Entry("compression", ("tiny",)),
    Entry("few-shot", ("tiny",)),
    Entry("composition", ("tiny",)),
    Entry("perturbation", ("tiny",), ("--width", "full")),
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
    sections = [draw(entry) for entry in ENTRIES]
    PAGE.write_text("\n".join([HEAD.format(steps=STEPS), *sections]), encoding="utf-8")


def make_runs() -> None:
    """Measure the bundled model, train a small one, and measure its checkpoints."""
    suite = ("--tasks", "all", "--suite", "scenes", "--no-report")
    if not (RUNS / "tiny" / "result.json").exists():
        others = ("--tasks", "few-shot,operating-points,compression,mixed-retrieval,perturbation")
        clipbench(RUNS, "run", "--model", "tiny", *suite, *others, "--out", "tiny")
    if not (RUNS / "training" / f"step-{STEPS}").exists():
        resume = ("--resume",) if (RUNS / "training" / "step-0").exists() else ()
        clipbench(
            RUNS,
            *("train", "--data", "scenes", "--data-option", "primer=12800", "--arch", "tiny", "--batch-size", "64"),
            *("--steps", str(STEPS), "--lr", "1e-3", "--warmup", "40", "--save-every", str(EVERY), "--eval-every", "20"),
            *("--out", "training", *resume),
        )  # fmt: skip
    clipbench(RUNS, "run", "--model", "training/step-*", *suite, "--out", "series")


def draw(entry: Entry) -> str:
    """Draw a figure, and return its part of the page."""
    name = entry.name or entry.plot
    path = RUNS / f"{name}.png"
    clipbench(RUNS, "plot", entry.plot, *entry.runs, *entry.options, "-o", path.name)
    with Image.open(path) as full:  # 256 colours are enough for a page, at a quarter of the size
        full.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / path.name, optimize=True)
    command = " ".join(["clipbench plot", entry.plot, *entry.runs, *entry.options, "-o", f"{name}.pdf"])
    shown = "" if command == f"clipbench plot {name} tiny -o {name}.pdf" else f"    {command}\n\n"
    description = plots()[entry.plot]
    width = 827 if "full" in entry.options else 390
    return f"""## `{name}`

{description[0].upper()}{description[1:]}.

{shown}<img src="figures/{path.name}" width="{width}" alt="figure {name}">
"""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
