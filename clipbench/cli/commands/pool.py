"""``clipbench pool``: collect what models and search engines find among photographs, to be judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from clipbench.cli import options
from clipbench.cli.main import command
from clipbench.cli.options import PATH, ModelArguments, with_arguments
from clipbench.cli.output import echo, print_note
from clipbench.errors import UsageError
from clipbench.results.numbers import counted


@dataclass(frozen=True, kw_only=True)
class PoolArguments(ModelArguments):
    """The arguments of ``clipbench pool``."""

    models: Sequence[str]
    rankings: Sequence[str]
    images: Path
    queries: Path
    k: int
    n_random: int
    price: bool
    out: Path
    on_bad_image: str
    seed: int


@command(
    What=("models", "rankings", "images", "queries", "k", "n_random", "price", "out"),
    Model=("model_option", "arch", "precision"),
    Speed=("device",),
)
@click.option("--model", "models", multiple=True, metavar="REF", help="Model to choose from (repeatable).")
@click.option(
    "--ranking",
    "rankings",
    multiple=True,
    metavar="NAME=FILE",
    help="Results of a search engine to choose from, a TREC run or JSON Lines (repeatable).",
)
@click.option("--images", required=True, metavar="FOLDER", type=PATH, help="Folder of photographs.")
@click.option("--queries", required=True, metavar="FILE", type=PATH, help="Text file with one query per line.")
@click.option(
    "--k",
    default=10,
    metavar="N",
    type=click.IntRange(1, 100),
    help="Photographs that each model or ranking adds to the pool per query.",
)
@click.option(
    "--random",
    "n_random",
    default=5,
    metavar="N",
    type=click.IntRange(0, 100),
    help="Photographs drawn at random per query, to estimate what no model found.",
)
@click.option("--price", is_flag=True, help="Measure what one query costs each model, which choose shows.")
@click.option("--out", required=True, metavar="POOL", type=PATH, help="New folder for the pool.")
@click.option(
    "--on-bad-image",
    default="error",
    type=click.Choice(["error", "skip"]),
    help="Stop at an image that cannot be read, or leave it out.",
)
@options.model_options
@options.SEED
@options.TRACEBACK
@with_arguments(PoolArguments)
def pool(arguments: PoolArguments) -> None:
    """Collect the photographs that models and search engines find, to be judged.

    \b
    clipbench pool --model vit-b-32 --model siglip-b-16 \\
        --images photos --queries queries.txt --out pool
    clipbench judge pool
    clipbench choose pool

    The first N photographs of all models and rankings are united for each query, with others drawn at random.
    docs/choose.md shows how to write the results of a search engine.
    """
    from clipbench.choosing.make import PoolOptions, make_pool, read_queries
    from clipbench.models.encoding.image_hashes import ImageHashes
    from clipbench.models.encoding.loading import load_embedder
    from clipbench.models.introspection.price import price_in_subprocess
    from clipbench.models.reference import check_references

    hashes = ImageHashes()  # shared, so that no photograph is hashed again per model
    queries = read_queries(arguments.queries)
    load = arguments.load_options
    check_references(arguments.models, load)
    models = []
    for name in arguments.models:
        models.append((name, partial(load_embedder, name, load, show_progress=True, hashes=hashes)))
    new_pool = make_pool(
        models,
        arguments.images,
        queries,
        arguments.out,
        PoolOptions(
            k=arguments.k,
            rankings=[*map(_named_file, arguments.rankings)],
            n_random=arguments.n_random,
            seed=arguments.seed,
            skip_bad_images=arguments.on_bad_image == "skip",
            price=partial(price_in_subprocess, options=load) if arguments.price else None,
        ),
        note=print_note,
    )
    n = sum(map(len, new_pool.candidates.values()))
    echo(
        f"{counted(len(new_pool.queries), 'query', 'queries')}, {counted(new_pool.facts.n_images, 'photograph')},"
        f" {counted(n, 'candidate')} to judge in {new_pool.folder}",
        f"clipbench judge {new_pool.folder}",
    )


def _named_file(value: str) -> tuple[str, Path]:
    """Return the name and the file of a finished ranking."""
    name, _, file = value.partition("=")
    if not name.strip() or not file:
        raise UsageError(f"--ranking {value}: expected NAME=FILE, such as immich=immich.jsonl")
    return name.strip(), Path(file)
