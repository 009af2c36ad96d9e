"""``clipbench list``: list the tasks, suites, models or data sets of clipbench, without importing torch."""

from collections.abc import Callable

import click

from clipbench.cli.main import command
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo
from clipbench.errors import ClipbenchError

Rows = list[tuple[str, str]]
"""Names, each with a text."""


@command("list")
@click.argument("subject", type=click.Choice(["tasks", "suites", "models", "data"]))
@TRACEBACK
def list_names(subject: str) -> None:
    """List the tasks, suites, models or data sets that clipbench knows."""
    from clipbench import plugins
    from clipbench.evaluation.plan import task_class
    from clipbench.models import reference_rows

    makers: dict[str, Callable[[], Rows]] = {
        "tasks": lambda: [*plugins.load_usable(plugins.TASKS, lambda name: task_class(name).summary).items()],
        "suites": _suites,
        "models": reference_rows,
        "data": _data,
    }
    rows = makers[subject]()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        echo(f"{name:{width}}  {text}".rstrip())


def _suites() -> Rows:
    from clipbench import plugins
    from clipbench.evaluation.plan import read_suite, suites
    from clipbench.results.numbers import counted

    rows = []
    for suite in suites():
        try:
            requests = read_suite(suite)
        except ClipbenchError as error:
            plugins.warn_left_out(str(error))
            continue
        tasks = ", ".join(dict.fromkeys(request.task for request in requests if not request.only_by_name))
        by_name = ", ".join(dict.fromkeys(request.task for request in requests if request.only_by_name))
        tasks += f" (only if named in --tasks: {by_name})" if by_name else ""
        data = list(dict.fromkeys(str(request.data) for request in requests))
        rows.append((suite, f"{tasks} on {data[0] if len(data) == 1 else counted(len(data), 'data set')}"))
    return rows


def _data() -> Rows:
    from clipbench.data.catalogue.entries import catalogue

    forms = [
        ("scenes", "generated images with captions and data for each task, without a download"),
        ("FOLDER", "one folder of images per class, or CLIP_benchmark's webdataset layout"),
        ("FILE.csv, .tsv, .jsonl, .json", "a table of images with captions, labels or both"),
        ("hf:ORG/NAME[:CONFIG[:SPLIT]]", "a Hugging Face data set, from the Hub or a local folder"),
    ]
    return [(entry.name, entry.title) for entry in catalogue().values()] + forms
