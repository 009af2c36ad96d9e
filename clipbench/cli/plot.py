"""``clipbench plot``: a figure for a paper, from finished runs alone."""

import warnings
from pathlib import Path

import click

from clipbench.cli.main import SETTINGS
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo, print_note


@click.command(context_settings=SETTINGS)
@click.argument("name", metavar="NAME", required=False)
@click.argument("runs", nargs=-1, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE.{pdf,svg,png,pgf}", type=click.Path(path_type=Path),
              help="Output file.  [default with --format: NAME.FORMAT]")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["pdf", "svg", "png", "pgf"]),
              help="File type; png has 600 pixels per inch, twice those of -o FILE.png, for slides.")  # fmt: skip
@click.option("--width", default="column", show_default=True, metavar="column|full|CM",
              help="Width of the figure: column (8.25 cm), full (17.5 cm), or a number of cm.")  # fmt: skip
@click.option("--projection", metavar="pca|umap|gap-axis|svd", help="Projection of the plot gap.  [default: pca]")  # fmt: skip
@click.option("--baseline", metavar="standard|open_clip",
              help="Reference models of the plot robustness: trained on ImageNet alone, or open_clip's CLIP models.  [default: standard]")  # fmt: skip
@click.option("--x", metavar="METRIC",
              help="Metric on the x axis of the plot across, such as gap or retrieval/image_retrieval_recall@1; or a number of the model: parameters, dimensions, bytes, step, image_flops, image_parameters, image_per_second, image_memory, the same of text.")  # fmt: skip
@click.option("--y", metavar="METRIC", help="Metric on the y axis of the plot across.")
@click.option("--data", metavar="DATA", help="Data set to plot, if the run has the task on several.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0, max=2**32 - 1),
    help="Seed of UMAP, and of the resamples of the plot across.",
)
@click.option("--style", metavar="FILE.mplstyle", type=click.Path(path_type=Path), help="Matplotlib style file.")
@click.option("--list", "lists", is_flag=True, help="List the plots and exit.")
@TRACEBACK
def plot(
    name: str | None, runs: tuple[Path, ...], out: Path | None, kind: str | None, lists: bool, **given: object
) -> None:
    """Draw a figure for a paper.

    A RUN is a run folder or the folder of several; of several RUNs, those without a run are left out. The numbers of the
    figure (.csv) and a draft of its caption (.txt) are written beside it. Only run folders are read: neither models nor data
    are needed.

    \b
    clipbench plot gap runs/tiny runs/vit-b-32 -o gap.pdf
    clipbench plot gap runs/tiny --projection gap-axis --width full -o gap.svg
    clipbench plot gap runs/tiny --format png         (gap.png, for slides)
    clipbench plot track runs/train -o track.pdf      (a training's folder, or runs of its checkpoints)
    clipbench plot across runs/* --x gap --y retrieval/image_retrieval_recall@1 -o across.pdf
    clipbench plot across runs/* --x image_flops --y zero-shot/acc1 -o price.pdf
    clipbench plot representational-similarity runs/* --width full -o alike.pdf
    clipbench plot --list
    """
    from clipbench.plugins import plotter
    from clipbench.results.run import find_runs

    maker = plotter()
    if lists:
        found = maker.plots()
        width = max(len(each) for each in found)
        echo(*(f"{each:{width}}  {summary}" for each, summary in found.items()))
        return
    if kind is not None and name is not None:
        out = out or Path(f"{name}.{kind}")
        out = out if out.suffix else out.with_suffix(f".{kind}")
        if out.suffix.lower() != f".{kind}":
            raise click.UsageError(f"--format {kind} and -o {out} name two types: drop one of them")
    if name is None or not runs or out is None:
        lacking = "NAME" if name is None else "RUN..." if not runs else "-o FILE"
        raise click.UsageError(f"missing {lacking}: expected NAME RUN... -o FILE, such as gap runs/tiny -o gap.pdf")
    options = maker.PlotOptions(**given, format=kind)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # The plot track reads logs and the folders of trainings too, and finds the runs inside a folder itself.
        found_runs = _histories(runs) if name == "track" else find_runs(runs, print_note)
        written = maker.write_plot(name, found_runs, out, options)
    for line in dict.fromkeys(str(each.message).splitlines()[0] for each in said):
        print_note(line)
    echo(*(f"wrote {path}" for path in written))


def _histories(paths: tuple[Path, ...]) -> list[Path]:
    """Return paths without the files that are neither logs nor results, such as a report that a pattern matched."""
    from clipbench.untrusted.reading import is_file

    others = [path for path in paths if is_file(path) and path.suffix not in (".json", ".jsonl")]
    if len(others) in (0, len(paths)):
        return list(paths)
    for path in others:
        print_note(f"{path} is left out: it holds neither a log nor a run")
    return [path for path in paths if path not in others]
