"""Write docs/commands.md from the commands' own help, and docs/metrics.md from the tasks' own definitions: `make pages`.

A test holds both pages to what this writes.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path

import click

from clipbench.cli.main import COMMANDS, cli
from clipbench.stats.measures import Definition
from clipbench_tasks import judged, modalities, operating_points, retrieval, zero_shot
from clipbench_tasks.composition import task as composition
from clipbench_tasks.compression import Compression
from clipbench_tasks.compression import task as compression
from clipbench_tasks.directions import DIRECTIONS
from clipbench_tasks.few_shot import FewShot
from clipbench_tasks.few_shot import task as few_shot
from clipbench_tasks.long_caption import position_probe, tokens_kept
from clipbench_tasks.long_caption.task import LongCaption
from clipbench_tasks.mixed_retrieval import MixedRetrieval
from clipbench_tasks.mixed_retrieval import task as mixed_retrieval
from clipbench_tasks.modality_gap import calibration
from clipbench_tasks.modality_gap import task as modality_gap
from clipbench_tasks.text_in_image import attacks, probes, reading

DOCS = Path(__file__).parents[1] / "docs"
OF_ALL = ("traceback", "help", "quiet")
"""Options that nearly every command has, explained once."""

COMMANDS_HEAD = """# Commands

<!-- page not run: what is shown is how each command is called -->

Written by `make pages` from the commands' own help. Every option has an environment variable of its name: `--device` is
`CLIPBENCH_DEVICE`. `-` and `_` mean the same in an option. Most commands also take `--quiet` (print errors only), `--traceback`
(print the traceback of an error) and `--help`; and the option `--version` of `clipbench` itself prints the version.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | `compare`: a regression, or a requirement that is not met; `doctor`: a fault |
| 2 | bad usage or bad input: the message says what to do |
| 3 | something could not be measured (the rest is written), or runs are not comparable |
| 130 | interrupted: the same command continues |
"""

METRICS_HEAD = """# All metrics

Written by `make pages` from the tasks' own definitions. A metric has the key by which results, gates and exports name it, the
title by which the report names it, and one sentence. Data with subsets have a metric for each: `swap_att/text_acc`. Controls
are scores of rules that do not look at the image, and shares of ties; they stand beside the metrics that they are read against.

The guide of each task ([tasks](tasks/index.md)) says how to read them, and [statistics.md](statistics.md) how their intervals
are made.
"""


def main() -> None:
    """Write both pages."""
    (DOCS / "commands.md").write_text(commands_page(), encoding="utf-8")
    (DOCS / "metrics.md").write_text(metrics_page(), encoding="utf-8")


def commands_page() -> str:
    """Return a section for each command: its help, and a table of its options."""
    return "\n".join([COMMANDS_HEAD, *(section for name in COMMANDS for section in sections(name, cli, "clipbench"))])


def sections(name: str, group: click.Group, parent: str) -> Iterator[str]:
    """Yield the section of a command, or of each command of a group."""
    context = click.Context(group, info_name=parent)
    command = group.get_command(context, name)
    assert command is not None, name
    path = f"{parent} {name}"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from sections(each, command, path)
        if not command.invoke_without_command:
            return
    own = click.Context(command, info_name=path)
    usage = command.get_usage(own).removeprefix("Usage: ").replace("\n", " ")
    rows = [row for parameter in command.params for row in option_rows(parameter, own)]
    yield f"## {path}\n\n{help_of(command)}\n\n    {re.sub(' +', ' ', usage)}\n"
    if rows:
        yield "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def help_of(command: click.Command) -> str:
    """Return the help as Markdown: what is laid out by hand, as it is."""
    paragraphs = cleandoc(command.help or "").split("\n\n")
    by_hand = "\b\n"
    return "\n\n".join(
        f"```text\n{each.removeprefix(by_hand)}\n```" if each.startswith(by_hand) else each for each in paragraphs
    )


def option_rows(parameter: click.Parameter, context: click.Context) -> Iterator[str]:
    """Yield the row of an option."""
    if not isinstance(parameter, click.Option) or parameter.name in OF_ALL or parameter.hidden:
        return
    record = parameter.get_help_record(context)
    assert record is not None
    names, text = (" ".join(part.split()).replace("|", "&#124;") for part in record)
    yield f"| <code>{names}</code> | {text.replace('[', chr(92) + '[')} |"  # [x>=0] would be the address of something


def metrics_page() -> str:
    """Return a table of metrics and controls for each task."""
    return "\n".join([METRICS_HEAD, *(table(task, found) for task, found in definitions().items())])


def definitions() -> dict[str, dict[str, Definition]]:
    """Return the definitions of each task, by key."""
    of_retrieval = {
        name: definition
        for direction in DIRECTIONS
        for name, definition in retrieval._definitions(direction, retrieval.Retrieval().ks).items()
    } | judged.definitions(retrieval.Retrieval().ks)
    k = modality_gap.ModalityGap().hub_k
    of_hubs = {
        name: definition
        for modality in ("image", "text")
        for name, definition in modality_gap.hub_definitions(modality, k).items()
    }
    of_captions = tokens_kept._definitions(LongCaption().share)
    return {
        "zero-shot": zero_shot.METRICS,
        "retrieval": of_retrieval,
        "mixed-retrieval": mixed_retrieval.definitions(MixedRetrieval().ks),
        "modality-gap": modality_gap.METRICS | of_hubs | calibration.METRICS,
        "modalities": modalities.METRICS,
        "composition": composition.METRICS,
        "text-in-image": reading.METRICS | attacks.METRICS | probes.METRICS,
        "long-caption": of_captions | position_probe.METRICS,
        "few-shot": few_shot.definitions(FewShot().shots),
        "operating-points": operating_points.definitions(operating_points.OperatingPoints().precisions),
        "compression": compression.definitions(Compression().points),
    }


def table(task: str, found: Mapping[str, Definition]) -> str:
    """Return the table of a task."""
    rows = [f"| `{key}` | {each.title} | {each.description}{control(each)} |" for key, each in found.items()]
    return f"## {task}\n\n| key | title | |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def control(definition: Definition) -> str:
    """Return which metrics a control is read against."""
    of = ", ".join(f"`{name}`" for name in definition.owners)
    return f" *Control* of {of}." if of else ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
