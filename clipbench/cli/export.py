"""``clipbench export``: finished runs in the formats of others."""

from pathlib import Path

import click

from clipbench.cli.main import SETTINGS


@click.command(context_settings=SETTINGS)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="csv|parquet|clip_benchmark|model-index|markdown|latex", help="The format.")  # fmt: skip
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path),
              help="Where to; a file that is there is replaced.  [default: printed]")  # fmt: skip
@click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
def export(runs: tuple[Path, ...], to: str, out: Path | None, traceback: bool) -> None:
    """Write the metrics of runs as a table, or as what other tools read.

    \b
    csv, parquet    a row a metric, with interval, n, chance, data, model, seed and versions
    clip_benchmark  CLIP_benchmark's JSON: a list, or in a folder (-o FOLDER) a file an evaluation
    model-index     YAML for the metadata of a Hugging Face model card
    markdown        a table an evaluation, a column a model
    latex           the same for a paper, with booktabs

    It is made from the run folders alone: neither the models nor the data are needed.
    """
    from clipbench.results.export import export as write

    done = write(runs, to, out)
    for note in done.notes:
        click.echo(f"note: {' '.join(note.split())}", err=True)
    if done.text is not None:
        click.echo(done.text, nl=False)
    for path in done.written:
        click.echo(f"wrote {path}")
