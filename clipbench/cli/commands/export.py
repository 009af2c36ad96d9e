"""``clipbench export``: write the metrics of runs as a table, or for other tools."""

from pathlib import Path

import click

from clipbench.cli.main import command
from clipbench.cli.options import PATH, RUNS, TRACEBACK
from clipbench.cli.output import echo, echo_text, print_note


@command()
@RUNS
@click.option("--to", required=True, metavar="FORMAT", help="Output format, one of those above.")
@click.option(
    "-o", "--out", metavar="FILE", type=PATH, help="Output file, replaced if it exists.  [default: standard output]"
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    metavar="K",
    help="Results per query of trec and rankings. [default: all that the run keeps]",
)
@click.option(
    "--direction",
    type=click.Choice(["text", "image"]),
    help="Lists of trec and rankings whose queries are captions (text) or images. [default: both]",
)
@click.option(
    "--rows",
    type=click.Choice(["metrics", "models"]),
    default="metrics",
    help="Rows of latex, markdown and csv: metrics, or models with the metrics of --metric as columns.",
)
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME",
    help="Column of --rows models, such as acc1 or zero-shot@birds/acc1 (repeatable). [default: the first headline"
    " metric of each evaluation]",
)
@click.option("--intervals", is_flag=True, help="Add the confidence interval of each value to --rows models.")
@TRACEBACK
def export(  # noqa: PLR0913  one parameter per option
    runs: tuple[Path, ...],
    *,
    to: str,
    out: Path | None,
    depth: int | None,
    direction: str | None,
    rows: str,
    metric: tuple[str, ...],
    intervals: bool,
) -> None:
    """Write the metrics or the result lists of runs, as a table or for other tools.

    \b
    csv, parquet    one row per metric, with interval, chance and versions
    clip_benchmark  CLIP_benchmark's JSON: one list, or files (-o FOLDER)
    mteb            mteb's JSON of image tasks: one list, or files (-o FOLDER)
    every-eval-ever JSON of the EvalEval coalition's shared schema, with a
                    record per sample for an archive (-o FOLDER)
    model-index     YAML for the metadata of a Hugging Face model card
    eval-results    YAML for the leaderboards of the Hub's benchmarks
    markdown        one table per evaluation, one column per model
    latex           the same tables for a paper, with booktabs
    board           ranks of several models with their intervals, in Markdown
    board-csv       the same as CSV
    bibtex          clipbench, data, metrics and figures, for a bibliography
    trec            result lists of a run as a TREC run (run --keep-lists)
    rankings        the same as JSON Lines, for --model rankings:FILE

    With --rows models, latex, markdown and csv are one table of the metrics that you choose. A value is bold if
    paired tests show that its model is better than every other one.

    A RUN is a run folder or the folder of several. If you give several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.comparison.model_table import table_maker
    from clipbench.results.export.formats import ListChoice
    from clipbench.results.export.formats import export as write
    from clipbench.results.run import find_runs

    make_table = table_maker(rows, metric, has_intervals=intervals)
    done = write(find_runs(runs, print_note), to, out, ListChoice(depth=depth, side=direction), make_table)
    for note in done.notes:
        print_note(note)
    if done.text is not None:
        echo_text(done.text)
    for path in done.written:
        echo(f"wrote {path}")
