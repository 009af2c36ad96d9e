"""``clipbench plot``: a figure for a paper, from finished runs alone."""

import warnings
from pathlib import Path

import click

from clipbench.cli.main import SETTINGS


@click.command(context_settings=SETTINGS)
@click.argument("name", metavar="NAME", required=False)
@click.argument("runs", nargs=-1, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE.{pdf,svg,png,pgf}", type=click.Path(path_type=Path))
@click.option("--width", default="column", show_default=True, metavar="column|full|CM",
              help="8.25 cm, 17.5 cm, or a number of cm.")  # fmt: skip
@click.option("--projection", metavar="pca|umap|gap-axis|svd", help="Of the plot gap.  [default: pca]")  # fmt: skip
@click.option("--data", metavar="DATA", help="Which data, where a run has the task on several.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0, max=2**32 - 1), help="Of UMAP.")
@click.option("--style", metavar="FILE.mplstyle", type=click.Path(path_type=Path), help="A matplotlib style file.")
@click.option("--list", "lists", is_flag=True, help="List the plots, and end.")
@click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
def plot(name: str | None, runs: tuple[Path, ...], out: Path | None, lists: bool, **given: object) -> None:
    """Draw a figure for a paper, its numbers (.csv) and a draft of its caption (.txt) beside it.

    \b
    clipbench plot gap runs/tiny runs/vit-b-32 -o gap.pdf
    clipbench plot gap runs/tiny --projection gap-axis --width full -o gap.svg
    clipbench plot track runs/train -o track.pdf      (a training's folder, or runs of its checkpoints)
    clipbench plot --list

    It is made from the run folders alone: neither the models nor the data are needed.
    """
    from clipbench.plugins import plotter

    maker = plotter()
    if lists:
        found = maker.plots()
        width = max(len(each) for each in found)
        click.echo("\n".join(f"{each:{width}}  {summary}" for each, summary in found.items()))
        return
    if name is None or not runs or out is None:
        lacking = "NAME" if name is None else "RUN..." if not runs else "-o FILE"
        raise click.UsageError(f"missing {lacking}: expected NAME RUN... -o FILE, such as gap runs/tiny -o gap.pdf")
    options = maker.PlotOptions(**{key: value for key, value in given.items() if key != "traceback"})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        written = maker.write_plot(name, runs, out, options)
    for line in dict.fromkeys(str(each.message).splitlines()[0] for each in said):
        click.echo(f"note: {line}", err=True)
    click.echo("\n".join(f"wrote {path}" for path in written))
