"""``clipbench pool``, ``judge`` and ``choose``: which model finds the photographs of one's own."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import click

from clipbench.cli import options
from clipbench.cli.main import DONE, INCOMPLETE, command
from clipbench.cli.options import PATH, load_options
from clipbench.cli.output import echo, print_note, terminal_width
from clipbench.results.numbers import counted

POOL = click.argument("folder", metavar="POOL", type=PATH)


@command(
    What=("models", "images", "queries", "k", "n_random", "price", "out"),
    Model=("model_option", "arch", "precision"),
    Speed=("device",),
)
@click.option(
    "--model", "models", multiple=True, required=True, metavar="REF", help="Model to choose from; repeatable."
)
@click.option("--images", required=True, metavar="FOLDER", type=PATH, help="Folder of photographs.")
@click.option("--queries", required=True, metavar="FILE", type=PATH, help="Text file with a query in each line.")
@click.option(
    "--k", default=10, metavar="N", type=click.IntRange(1, 100), help="Photographs that each model brings to a query."
)
@click.option(
    "--random",
    "n_random",
    default=5,
    metavar="N",
    type=click.IntRange(0, 100),
    help="Others drawn at random for each query: they show what no model found.",
)
@click.option("--price", is_flag=True, help="Measure what one query costs each model, which choose shows.")
@click.option("--out", required=True, metavar="POOL", type=PATH, help="New folder for the pool.")
@click.option(
    "--on-bad-image",
    default="error",
    type=click.Choice(["error", "skip"]),
    help="Unreadable images end the command, or are left out.",
)
@options.MODEL_OPTION
@options.TRUST_REMOTE_CODE
@options.ARCH
@options.DEVICE
@options.PRECISION
@options.BATCH_SIZE
@options.SEED
@options.TRACEBACK
def pool(**given: Any) -> None:
    """Collect what models find among your photographs, to be judged.

    \b
    clipbench pool --model vit-b-32 --model siglip-b-16 \\
        --images photos --queries queries.txt --out pool
    clipbench judge pool
    clipbench choose pool

    The first N photographs of all models are united for each query, with others drawn at random. docs/choose.md says
    more.
    """
    from clipbench.choosing.make import PoolOptions, make_pool, read_queries
    from clipbench.models.encoding.image_hashes import ImageHashes
    from clipbench.models.encoding.loading import load_embedder
    from clipbench.models.facts.price import price_alone
    from clipbench.models.reference import check_references

    hashes = ImageHashes()
    queries = read_queries(given["queries"])
    load = load_options(given)
    check_references(given["models"], load)
    made = make_pool(
        [(name, partial(load_embedder, name, load, show_progress=True, hashes=hashes)) for name in given["models"]],
        given["images"],
        queries,
        given["out"],
        PoolOptions(
            k=given["k"],
            n_random=given["n_random"],
            seed=given["seed"],
            skip_bad_images=given["on_bad_image"] == "skip",
            price=partial(price_alone, options=load) if given["price"] else None,
        ),
        note=print_note,
    )
    n = sum(map(len, made.candidates.values()))
    echo(
        f"{counted(len(made.queries), 'query', 'queries')}, {counted(made.facts.n_images, 'photograph')},"
        f" {counted(n, 'candidate')} to judge in {made.folder}",
        f"clipbench judge {made.folder}",
    )


@command()
@POOL
@click.option("--judge", "judge_name", metavar="NAME", help="Name of the judge. [default: that of the user]")
@options.PORT
@options.NO_OPEN
@options.TRACEBACK
def judge(folder: Path, judge_name: str | None, port: int, no_open: bool) -> None:
    """Judge the photographs of POOL in the browser, blind to the models.

    \b
    clipbench judge pool
    clipbench judge pool --judge anna --port 8000 --no-open

    Each judgement is on the disk before the next photograph is shown. You may stop at any time and go on later; several
    judges may judge at once. Only this machine, and who knows the address that is printed, can judge. Ctrl-C ends it.
    """
    from clipbench import plugins

    made = plugins.load(plugins.REPORTS, "judge")(folder, port, judge_name or _user())
    echo(
        f"{folder} is at {made.address}",
        f"Ctrl-C ends it. clipbench choose {shlex.quote(str(folder))} prints the verdict.",
    )
    if not no_open:
        click.launch(made.address)
    made.serve()


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a user without a name
        return "judge"


@command()
@POOL
@click.option(
    "--scope",
    default="future",
    type=click.Choice(["future", "list"]),
    help="Decide for future queries, of which the list is a sample, or for the list itself.",
)
@click.option(
    "--margin",
    default=3.0,
    metavar="POINTS",
    type=float,
    help="Points of nDCG, relative to the pool: models that differ by less count as equal.",
)
@click.option(
    "--alpha", default=0.05, metavar="A", type=float, help="Chance that any of the intervals ever misses the truth."
)
@click.option("--report", metavar="FILE.html", type=PATH, help="Write the verdict as a page, too.")
@options.TRACEBACK
def choose(folder: Path, report: Path | None, **terms: Any) -> int:
    """Say which model of POOL is better, by what was judged so far.

    \b
    clipbench choose pool
    clipbench choose pool --scope list --report choice.html

    The intervals hold whenever you look, so you may stop as soon as it is decided.

    Exit status: 0 decided, 2 bad usage or input, 3 not yet, or without judgements.
    """
    from clipbench import plugins
    from clipbench.choosing.log import read_log, write_qrels
    from clipbench.choosing.pool import read_pool
    from clipbench.choosing.verdict import choose_model

    found = read_log(read_pool(folder))
    chosen = choose_model(found, **terms)
    write_qrels(found)
    echo(*chosen.text(terminal_width()).split("\n"))
    if report is not None:
        plugins.load(plugins.REPORTS, "choice")(chosen, report)
        echo(f"wrote {report}")
    return DONE if chosen.is_decided else INCOMPLETE
