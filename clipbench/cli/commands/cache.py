"""``clipbench cache``: where vectors and small copies of images are stored, how many, and how to make room."""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import SETTINGS, HelpfulGroup
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import confirm, echo, is_interactive, terminal_width
from clipbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from clipbench.models.encoding.stored_models import StoredModel

SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
"""Units of ages."""


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    match = re.fullmatch(r"(\d{1,6})([hdw])", value or "")
    if value is not None and match is None:
        raise click.UsageError(
            f"--older-than {value}: expected a number of hours, days or weeks: 12h, 30d, 8w", context
        )
    return int(match[1]) * SECONDS[match[2]] if match else None


@click.group(cls=HelpfulGroup, invoke_without_command=True, context_settings=SETTINGS)
@TRACEBACK
@click.pass_context
def cache(context: click.Context) -> None:
    """Show where vectors are stored, and how many of which models.

    Each image and text is encoded once for each model, and its vector stored in $CLIPBENCH_CACHE, by default in the
    user's cache folder, with small copies of the images that reports show. What is removed is made again when it is
    needed.
    """
    if context.invoked_subcommand is None:
        from clipbench.evaluation.persist import kept_copies
        from clipbench.files import default_root
        from clipbench.models.encoding.stored_models import stored_models

        root = default_root()
        models = stored_models(root)
        copies = kept_copies(root)
        echo(f"vectors are stored in {root} (set CLIPBENCH_CACHE to use another folder)")
        echo(*_model_lines(models) if models else ["no vector is stored there"])
        if copies:
            echo(f"also stored: {_copies_text(copies)}")


# An environment variable that is meant for `run`, such as CLIPBENCH_YES, must not remove anything here.
@cache.command(context_settings=SETTINGS, reads_environment=False)
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    callback=_age,
    help="Minimum time since models were last used, and since copies were made, to remove them: 12h, 30d, 8w.",
)
@click.option("--model", "names", multiple=True, metavar="NAME", help="Model by name or fingerprint (repeatable).")
@click.option("--yes", is_flag=True, help="Remove without asking for confirmation.")
@TRACEBACK
def prune(age: int | None, names: Sequence[str], yes: bool) -> None:
    """Remove the stored vectors of models.

    With both options, only named models of that age are removed. Without --model, small copies of images of that age
    are removed too. It first shows what would be removed, and asks. Results and reports stay as they are.

    \b
    clipbench cache prune --older-than 30d
    clipbench cache prune --model vit-b-32 --yes
    """
    from clipbench.data.catalogue.download import readable_size
    from clipbench.evaluation.persist import kept_copies, remove_copies
    from clipbench.files import default_root
    from clipbench.models.encoding.stored_models import remove, stored_models
    from clipbench.results.numbers import counted

    if age is None and not names:
        raise UsageError("missing option: expected --older-than AGE or --model NAME, to choose what is removed")
    root = default_root()
    models = stored_models(root)
    for name in names:
        if not any(model.is_called(name) for model in models):
            known_names = set().union(*((*model.names[:1], model.fingerprint) for model in models))
            raise UsageError(f"--model {name}: no vector of it in {root}: {did_you_mean(name, known_names)}")
    chosen = [model for model in models if _is_chosen(model, age, names)]
    copies = {} if age is None or names else kept_copies(root, before=time.time() - age)
    if not chosen and not copies:
        echo(f"nothing to remove: none of {counted(len(models), 'model')} in {root} is that old")
        return
    echo(f"to remove from {root}:")
    parts = []
    if chosen:
        echo(*_model_lines(chosen))
        size = readable_size(sum(model.n_bytes for model in chosen))
        parts.append(f"{counted(len(chosen), 'model')}, {size}")
    if copies:
        echo(_copies_text(copies))
        parts.append(_copies_text(copies))
    summary = " and ".join(parts)
    if not yes and not is_interactive():
        raise UsageError("nothing was removed: not a terminal, so pass --yes to confirm")
    if not yes and not confirm(f"Remove {summary}?", default=False):
        echo("nothing was removed")
        return
    remove(chosen)
    remove_copies(copies)
    echo(f"removed {summary}")


def _is_chosen(model: "StoredModel", age: int | None, names: Sequence[str]) -> bool:
    """Return whether a model is old enough, if an age is given, and named, if there are names."""
    is_old = age is None or time.time() - model.last_used > age
    is_named = not names or any(model.is_called(name) for name in names)
    return is_old and is_named


def _copies_text(copies: "Mapping[Path, int]") -> str:
    """Return how many small copies of images there are, and their size, from the bytes of each."""
    from clipbench.data.catalogue.download import readable_size
    from clipbench.results.numbers import counted

    size = readable_size(sum(copies.values()))
    return f"{counted(len(copies), 'small copy', 'small copies')} of images for reports, {size}"


def _model_lines(models: "Sequence[StoredModel]") -> list[str]:
    from clipbench.data.catalogue.download import readable_size
    from clipbench.results.numbers import count, counted
    from clipbench.results.table import Cell, Row, Table, as_text, columns

    rows: list[Row] = []
    notes: list[str] = []
    for model in models:
        if model.n_damaged:
            are = "is" if model.n_damaged == 1 else "are"
            notes.append(f"{counted(model.n_damaged, 'file')} of it {are} damaged or of an old version")
        name = model.names[0] if model.names else "name not recorded"
        used = f"{datetime.fromtimestamp(model.last_used):%Y-%m-%d}"
        vectors = Cell(count(model.n_vectors), note=len(notes) if model.n_damaged else 0)
        rows.append([name, model.fingerprint[:12], vectors, readable_size(model.n_bytes), used])
    if len(models) > 1:
        n_vectors, n_bytes = sum(model.n_vectors for model in models), sum(model.n_bytes for model in models)
        rows.append(["in all", "", count(n_vectors), readable_size(n_bytes), ""])
    headers = columns("model", "fingerprint", numbers=("vectors", "size", "last used"))
    return as_text(Table(columns=headers, rows=rows, notes=notes), width=terminal_width()).splitlines()
