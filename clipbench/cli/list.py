"""``clipbench list``: the known tasks, suites, models and data sets; answers without importing torch."""

import click

from clipbench.cli.main import SETTINGS
from clipbench.cli.options import TRACEBACK
from clipbench.cli.output import echo


@click.command("list", context_settings=SETTINGS)
@click.argument("what", type=click.Choice(["tasks", "suites", "models", "data"]))
@TRACEBACK
def list_(what: str) -> None:
    """List the tasks, suites, models or data sets that clipbench knows."""
    rows = {"tasks": _tasks, "suites": _suites, "models": _models, "data": _data}[what]()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        echo(f"{name:{width}}  {text}".rstrip())


def _tasks() -> list[tuple[str, str]]:
    from clipbench import plugins
    from clipbench.evaluation.plan import Request, build_task

    return [(name, build_task(Request(task=name)).summary) for name in plugins.names(plugins.TASKS)]


def _suites() -> list[tuple[str, str]]:
    from clipbench.evaluation.plan import read_suite, suites
    from clipbench.results.numbers import counted

    rows = []
    for suite in suites():
        requests = read_suite(suite)
        tasks = ", ".join(dict.fromkeys(each.task for each in requests if not each.only_by_name))
        by_name = ", ".join(dict.fromkeys(each.task for each in requests if each.only_by_name))
        tasks += f" (only if named in --tasks: {by_name})" if by_name else ""
        data = list(dict.fromkeys(str(each.data) for each in requests))
        rows.append((suite, f"{tasks} on {data[0] if len(data) == 1 else counted(len(data), 'data set')}"))
    return rows


def _models() -> list[tuple[str, str]]:
    from clipbench.models import reference_rows

    return reference_rows()


def _data() -> list[tuple[str, str]]:
    from clipbench.data.catalogue.entries import catalogue

    forms = [
        ("scenes", "generated captioned images, with data for each task; no download"),
        ("FOLDER", "one folder of images per class, or CLIP_benchmark's webdataset layout"),
        ("FILE.csv, .tsv, .jsonl, .json", "a table of images with captions, labels or both"),
        ("hf:ORG/NAME[:CONFIG[:SPLIT]]", "a Hugging Face data set, from the Hub or a local folder"),
    ]
    return [(entry.name, entry.title) for entry in catalogue().values()] + forms
