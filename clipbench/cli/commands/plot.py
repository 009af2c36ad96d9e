"""``clipbench plot``: draw a figure of finished runs for a paper."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from clipbench.cli.main import command
from clipbench.cli.options import PATH, TRACEBACK, with_arguments
from clipbench.cli.output import echo, print_note


@dataclass(frozen=True, kw_only=True)
class PlotArguments:
    """The arguments of ``clipbench plot``."""

    name: str | None
    runs: Sequence[Path]
    out: Path | None
    kind: str | None
    width: str
    projection: str | None
    baseline: str | None
    x: str | None
    y: str | None
    data: str | None
    seed: int
    style: Path | None
    lists: bool


@command(What=("lists", "data", "projection", "baseline", "x", "y"), Output=("out", "kind", "width", "style"))
@click.argument("name", metavar="NAME", required=False)
@click.argument("runs", nargs=-1, metavar="RUN...", type=PATH)
@click.option(
    "-o", "--out", metavar="FILE.{pdf,svg,png}", type=PATH, help="Output file.  [default with --format: NAME.FORMAT]"
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["pdf", "svg", "png"]),
    help="File type. For slides, png has 600 pixels per inch. -o FILE.png has 300.",
)
@click.option(
    "--width",
    default="column",
    metavar="column|full|CM",
    help="Width of the figure: column (8.25 cm), full (17.5 cm), or a number of cm.",
)
@click.option("--projection", metavar="pca|umap|gap-axis|svd", help="Projection of the plot gap.  [default: pca]")
@click.option(
    "--baseline",
    metavar="standard|open_clip",
    help=(
        "Reference models of the plot robustness: trained only on ImageNet, "
        "or open_clip's CLIP models.  [default: standard]"
    ),
)
@click.option(
    "--x",
    metavar="METRIC",
    help=(
        "Metric on the x axis of the plot across, such as gap or retrieval/image_retrieval_recall@1, or a number"
        " of the model: parameters, dimensions, bytes, step, image_flops, image_parameters, image_per_second,"
        " image_memory, or text_flops and the like."
    ),
)
@click.option("--y", metavar="METRIC", help="Metric on the y axis of the plot across.")
@click.option("--data", metavar="DATA", help="Data set to plot, if the run has the task on several.")
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(min=0, max=2**32 - 1),
    metavar="N",
    help="Seed of UMAP, and of the resamples of the plot across.",
)
@click.option("--style", metavar="FILE.mplstyle", type=PATH, help="Matplotlib style file.")
@click.option("--list", "lists", is_flag=True, help="List the plots and exit.")
@TRACEBACK
@with_arguments(PlotArguments)
def plot(arguments: PlotArguments) -> None:
    """Draw a figure for a paper.

    The numbers of the figure (.csv) and a draft of its caption (.txt) are written next to it.

    A RUN is a run folder or the folder of several. If you give several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.

    \b
    clipbench plot gap runs/tiny runs/vit-b-32 -o gap.pdf
    clipbench plot gap runs/tiny --projection gap-axis --width full -o gap.svg
    clipbench plot gap runs/tiny --format png         (gap.png, for slides)
    clipbench plot track runs/train -o track.pdf      (a training's folder)
    clipbench plot across runs/* --x gap --y zero-shot/acc1 -o across.pdf
    clipbench plot representational-similarity runs/* --width full -o alike.pdf
    clipbench plot --list
    """
    from clipbench.plugins import plotter
    from clipbench.results.run import find_runs

    maker = plotter()
    if arguments.lists:
        with _printed_warnings():
            plots = maker.plots()
        width = max(len(name) for name in plots)
        echo(*(f"{name:{width}}  {summary}" for name, summary in plots.items()))
        return
    name, runs, out = arguments.name, arguments.runs, _output_file(arguments)
    if name is None or not runs or out is None:
        missing = "NAME"
        if name is not None:
            missing = "-o FILE" if runs else "RUN..."
        raise click.UsageError(f"missing {missing}: expected NAME RUN... -o FILE, such as gap runs/tiny -o gap.pdf")
    options = maker.PlotOptions(
        width=arguments.width,
        style=arguments.style,
        projection=arguments.projection,
        data=arguments.data,
        baseline=arguments.baseline,
        x=arguments.x,
        y=arguments.y,
        seed=arguments.seed,
        format=arguments.kind,
    )
    with _printed_warnings():
        # The plot track reads logs and the folders of trainings too, and finds the runs inside a folder itself.
        folders = _training_histories(runs) if name == "track" else find_runs(runs, print_note)
        paths = maker.write_plot(name, folders, out, options)
    echo(*(f"wrote {path}" for path in paths))


def _output_file(arguments: PlotArguments) -> Path | None:
    """Return the file that the figure is written to, or None if neither ``-o`` nor ``--format`` says it."""
    kind, out = arguments.kind, arguments.out
    if kind is None or arguments.name is None:
        return out
    out = out or Path(f"{arguments.name}.{kind}")
    out = out if out.suffix else out.with_suffix(f".{kind}")
    if out.suffix.lower() != f".{kind}":
        raise click.UsageError(f"--format {kind} and -o {out} are of different types: remove one of them")
    return out


@contextmanager
def _printed_warnings() -> Iterator[None]:
    """Print what libraries and sections warn of: one line for each warning, without repetition."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for line in dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught):
        print_note(line)


def _training_histories(paths: Sequence[Path]) -> list[Path]:
    """Return paths without the files that are neither logs nor results, such as a report that a pattern matched."""
    from clipbench.untrusted.reading import is_file

    unusable = [path for path in paths if is_file(path) and path.suffix not in (".json", ".jsonl")]
    if len(unusable) in (0, len(paths)):
        return list(paths)
    for path in unusable:
        print_note(f"{path} is left out: it holds neither a log nor a run")
    return [path for path in paths if path not in unusable]
