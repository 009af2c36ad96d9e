"""``clipbench choose``: say which model of a judged pool is better."""

from pathlib import Path
from typing import Literal

import click

from clipbench.cli import options
from clipbench.cli.main import DONE, INCOMPLETE, command
from clipbench.cli.options import PATH
from clipbench.cli.output import echo, terminal_width


@command()
@options.POOL
@click.option(
    "--scope",
    default="future",
    type=click.Choice(["future", "list"]),
    help="Decide for future queries, of which the list is a sample, or for the list itself.",
)
@click.option(
    "--equivalence-margin",
    default="3pp",
    metavar="3pp",
    help="Models are equal if the interval of their difference in nDCG, relative to the pool, is within this margin.",
)
@click.option(
    "--alpha", default=0.05, metavar="A", type=float, help="Chance that any of the intervals ever misses the truth."
)
@click.option("--report", metavar="FILE.html", type=PATH, help="Write the verdict as a page, too.")
@options.TRACEBACK
def choose(
    folder: Path, scope: Literal["future", "list"], equivalence_margin: str, alpha: float, report: Path | None
) -> int:
    """Decide which model of POOL is better, by the judgements so far.

    \b
    clipbench choose pool
    clipbench choose pool --scope list --report choice.html

    The intervals hold whenever you look, so you may stop as soon as it is decided.

    Exit status: 0 decided, 2 bad usage or input, 3 not yet, or without judgements.
    """
    from clipbench import plugins
    from clipbench.choosing.judgement_log import read_log, write_qrels
    from clipbench.choosing.pool import read_pool
    from clipbench.choosing.verdict import choose_model

    judgements = read_log(read_pool(folder))
    choice = choose_model(judgements, scope=scope, equivalence_margin=equivalence_margin, alpha=alpha)
    write_qrels(judgements)
    if report is not None:  # before the words, whose reader may stop, as ``head`` does
        plugins.load(plugins.REPORTS, "choice")(choice, report)
    echo(*choice.text(terminal_width()).split("\n"))
    if report is not None:
        echo(f"wrote {report}")
    return DONE if choice.is_decided else INCOMPLETE
