"""``clipbench explain``: where did the candidate get worse, and where better?"""

from dataclasses import dataclass
from pathlib import Path

import click

from clipbench.cli import options
from clipbench.cli.main import command
from clipbench.cli.options import PATH, ModelArguments, with_arguments
from clipbench.cli.output import echo, terminal_width
from clipbench.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class ExplainArguments(ModelArguments):
    """The arguments of ``clipbench explain``."""

    runs: tuple[Path, ...]
    metric: str | None
    columns: Path | None
    model: str | None
    json_file: Path | None
    out: Path | None
    seed: int


@command(
    What=("metric", "columns", "model"),
    Model=("model_option", "arch", "precision"),
    Speed=("device",),
    Output=("json_file", "out"),
)
@click.argument("runs", nargs=-1, metavar="BASE CANDIDATE", type=PATH)
@click.option("--metric", metavar="NAME", help="Metric to explain. [default: the first headline]")
@click.option(
    "--columns",
    metavar="FILE.csv",
    type=PATH,
    help="More columns of the samples. The first column is id, or image for a path or file name.",
)
@click.option("--model", metavar="REF", help="The base's model, for groups of similar classes and of 550 phrases.")
@options.model_options
@click.option("--json", "json_file", metavar="FILE", type=PATH, help="Write the result as JSON.")
@click.option("-o", "--out", metavar="FILE.html", type=PATH, help="Write a page with images.")
@options.SEED
@options.TRACEBACK
@with_arguments(ExplainArguments)
def explain(arguments: ExplainArguments) -> None:
    """Find where a candidate got worse, or better, by groups of samples.

    \b
    clipbench explain runs/base runs/candidate
    clipbench explain runs/base runs/candidate --metric kind/acc1
    clipbench explain runs/base runs/candidate --columns cameras.csv -o explain.html
    clipbench explain runs/base runs/candidate --model vit-b-32

    BASE and CANDIDATE are run folders over the same samples. Groups are made of inputs only: columns, classes, words
    and lengths of captions, and measured inputs of images. The chance of any false claim among all groups is 5 % for
    each of two questions: is it worse here, and is it worse here than elsewhere? docs/explain.md has a worked case.

    Exit status: 0 whatever is found, 2 bad usage or input, 3 not comparable.
    """
    if len(arguments.runs) != 2:
        raise click.UsageError(f"expected 2 runs, BASE CANDIDATE: got {len(arguments.runs)}")
    from clipbench.evaluation.explain_runs import explain_runs
    from clipbench.models.encoding.loading import load_embedder
    from clipbench.results.numbers import ascii_signs

    model = None
    if arguments.model is not None:
        model = load_embedder(arguments.model, arguments.load_options, show_progress=True, owns_process=True)
    explanation = explain_runs(
        *arguments.runs,
        metric=arguments.metric,
        columns=arguments.columns,
        model=model,
        seed=arguments.seed,
    )
    # Files before words: whoever reads the words may stop, as ``head`` does.
    if (json_file := arguments.json_file) is not None:
        write_atomic({json_file: explanation.as_json().encode()})
    if (out := arguments.out) is not None:
        from clipbench import plugins

        plugins.load(plugins.REPORTS, "explain")(explanation, arguments.runs, out)
    echo(*map(ascii_signs, explanation.lines(terminal_width() or 100)))
    echo(*(f"wrote {path}" for path in (json_file, out) if path is not None))
