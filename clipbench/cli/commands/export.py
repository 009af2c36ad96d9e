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
@TRACEBACK
def export(runs: tuple[Path, ...], to: str, out: Path | None, depth: int | None, direction: str | None) -> None:
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
    bibtex          clipbench and the data of the runs, for a bibliography
    trec            result lists of a run as a TREC run (run --keep-lists)
    rankings        the same as JSON Lines, for --model rankings:FILE

    A RUN is a run folder or the folder of several. If you give several RUNs, those without a run are left out.
    Only the run folders are read: neither models nor data are needed.
    """
    from clipbench.results.export.formats import ListChoice
    from clipbench.results.export.formats import export as write
    from clipbench.results.run import find_runs

    done = write(find_runs(runs, print_note), to, out, ListChoice(depth=depth, side=direction))
    for note in done.notes:
        print_note(note)
    if done.text is not None:
        echo_text(done.text)
    for path in done.written:
        echo(f"wrote {path}")
