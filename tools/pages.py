"""Write docs/commands.md from the commands' own help, and docs/metrics.md from the tasks' own definitions: `make
pages`.

A test holds both pages to what this writes.
"""

import argparse
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from inspect import cleandoc
from pathlib import Path

import click

from clipbench.cli.main import COMMANDS, cli
from clipbench.stats.measures import Definition
from clipbench_tasks import (
    compression,
    few_shot,
    judged,
    long_caption,
    mixed_retrieval,
    modalities,
    operating_points,
    retrieval,
    zero_shot,
)
from clipbench_tasks.composition import task as composition
from clipbench_tasks.directions import DIRECTIONS
from clipbench_tasks.modality_gap import structure
from clipbench_tasks.modality_gap import task as modality_gap
from clipbench_tasks.perturbation import task as perturbation
from clipbench_tasks.text_in_image import probes
from clipbench_tasks.text_in_image import task as text_in_image

DOCS = Path(__file__).parents[1] / "docs"
OF_ALL = ("traceback", "help", "help_all", "quiet")
"""Options that nearly every command has, explained once."""

COMMANDS_HEAD = """# Commands

<!-- page not run: what is shown is how each command is called -->

`make pages` writes this page from the help of the commands.

Every option has an environment variable, except `--data` and the options of `cache prune`. For example, `--device` is `CLIPBENCH_DEVICE`, and `--data-root` is `CLIPBENCH_DATA_ROOT`. In an option, `-` and `_`
mean the same. Most commands also have `--quiet` (print errors only), `--traceback` (print the traceback of an error), `--help` and, if there are many options, `--help-all`. The option `--version` of `clipbench` prints the
version. A RUN is a run folder or a folder of runs. Commands with a RUN need neither models nor data. The guides list the forms of [`--model`](models.md), [`--data`](data.md) and [`export --to`](runs.md#export).

| exit status | meaning |
|---|---|
| 0 | done; `compare`: no regression; `doctor`: healthy |
| 1 | `compare`: a regression, or a requirement that is not met; `doctor`: a fault |
| 2 | bad usage or bad input: the message says how to fix it |
| 3 | something could not be measured (the rest is written), or was missing and could not be downloaded; `compare`: not comparable, or undecided |
| 130 | interrupted: the same command continues |
"""

SAID_AT_THE_TOP = re.compile(
    r"Exit status: .*|A RUN is .*? are left out\. ?|Only (?:the )?run folders are read: .*?needed\.\n?", re.DOTALL
)
"""Text that the help of a command repeats, and the page says once."""

METRICS_HEAD = """# Metrics

`make pages` writes this page from the definitions of the tasks. Results, gates and exports name a metric by its key, the report by its title. Data with subsets have one metric per subset, for example
`swap_att/text_acc`. Baselines are scores of rules that do not look at the image, and fractions of ties. The pages of the [tasks](tasks/index.md) show how to read the metrics, and
[statistics](statistics.md) how their confidence intervals are computed. Metrics that differ by one word share an entry:

- k: a number, such as 5; `all` labels
- DIRECTION: `image_retrieval` (text to image), `text_retrieval` (image to text), `image_image`, `text_text`
- SCORE: another score of the task, if it has this variant; in `SCORE_strict` also `macro_SCORE`
- M, N: `image` or `text`, and the other one
- CONDITION: `clean` (without an overlay), `blank` (a blank overlay), `benign` (a truthful overlay), `attacked` (under attack)
- PAIR: `image_text`, `text_text`, `image_image`
- PROBE: `zero_shot` (the prompts, among the classes of the probes), `linear_probe`, `knn`
"""


OF_A_MODALITY = (
    "cone|uniformity|effective_rank|participation_ratio|isoscore|norm|hub_skewness|largest_hub|never_retrieved"
)
SHARED_ROWS: Mapping[str, Mapping[str, str]] = {
    r"disturbed_\S+": {r"`disturbed_.*, disturbed": "`disturbed_SCORE` | SCORE, disturbed"},
    r"\w+@all": {"@all": "@k", "all labels": "k labels per class"},
    r"[\w@]+_strict": {
        r"`[\w@]+_strict` \| .*, ties": "`SCORE_strict` | SCORE, ties",
        r"\| [^|]*, where": "| The score where",
        r"Baseline\* of `[^`]*`": "Baseline* of `SCORE`",
    },
    r"macro_\w+_\w+": {r"`macro_\w+` \| .*, mean over": "`macro_SCORE` | SCORE, mean over"},
    r"[\w@]+_smallest": {
        r"`[\w@]+_smallest` \| .*: bytes": "`SCORE_smallest` | SCORE: bytes",
        r"point of the [^|]*\.": "point of it.",
    },
    r"[\w@]+_change": {
        r"`[\w@]+_change` \| .*, change": "`SCORE_change` | SCORE, change",
        r"\| Share [^|]*, minus the share with": "| The score in the format, minus the score with",
    },
    rf"image_(?:{OF_A_MODALITY})": {r"(?i)\bimage(?=s?\b|_)": "M", r"(?i)\btext(?=s?\b)": "N"},
    rf"text_(?:{OF_A_MODALITY})": {r"(?i)\btext(?=s?\b|_)": "M", r"(?i)\bimage(?=s?\b)": "N"},
    r"(?:zero_shot|linear_probe|knn)_(?:attack|plain)\w+|zero_shot_minus_\w+": {
        r"\b(?:linear_probe|knn|zero_shot(?!_minus))(?=_|`)|(?<=minus_)\w+": "PROBE",
        r" \(same attacks and classes\)|, among the classes that the probes are trained on": "",
        r"(?i)\blinear probe\b|k-NN|\bzero-shot(?! minus)": "PROBE",
        r"by the prompts(?=[.,])|by the trained PROBE": "by PROBE",
        r" The interval is of the classifiers trained in this run: other training images give others\.": "",
    },
    r"(?:clean|blank|benign|attacked)_(?:acc|two_way_acc|named_word)": {
        r"`(?:clean|blank|benign|attacked)_": "`CONDITION_",
        r"without an overlay|with a (?:blank|truthful) overlay|under attack": "CONDITION",
    },
    r"(?:image_text|text_text|image_image)_calibration_error": {
        "image_text|text_text|image_image|image–text|text–text|image–image": "PAIR"
    },
    r"(?:image_retrieval|text_retrieval|image_image|text_text)_(?:median|tie|recall).*": {
        r"image_retrieval|text_retrieval|image_image|text_text|(?i:(?:text|image)-to-(?:text|image))": "DIRECTION",
        r"the (?:captions|images)(?: that search|(?= with| whose))": "the queries",
        r"captions whose image comes first, .* are": "queries whose right answer comes first, where the others are",
        r"images for which one .* are": "queries whose right answer comes first, where the others are",
    },
}
"""By pattern of the key of metrics that share a row: what is replaced in it, by what."""


def main() -> None:
    """Write both pages."""
    (DOCS / "commands.md").write_text(commands_page(), encoding="utf-8")
    (DOCS / "metrics.md").write_text(metrics_page(), encoding="utf-8")


def commands_page() -> str:
    """Return a section for each command, its help and a table of its options, and one for options of several
    commands.
    """
    found = [each for name in COMMANDS for each in commands(name, cli, "clipbench")]
    rows = [row for command, own in found for row in option_rows(command, own).values()]
    shared = [row for row in dict.fromkeys(rows) if rows.count(row) > 1]
    of_several = f"## Options of several commands\n\n{list_of(shared)}"
    return "\n".join([COMMANDS_HEAD, of_several, *(section(command, own, shared) for command, own in found)])


def commands(name: str, group: click.Group, parent: str) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield a command, or each command of a group, with its context."""
    context = click.Context(group, info_name=parent)
    command = group.get_command(context, name)
    assert command is not None, name
    path = f"{parent} {name}"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from commands(each, command, path)
        if not command.invoke_without_command:
            return
    yield command, click.Context(command, info_name=path)


def section(command: click.Command, own: click.Context, shared: Collection[str]) -> str:
    """Return the section of a command: of options that several commands share, their names."""
    usage = re.sub(r"\s+", " ", command.get_usage(own).removeprefix("Usage: "))
    rows = option_rows(command, own)
    parts = [f"## {own.info_name}", help_of(command), f"    {usage}"]
    named = [f"`{name}`" for name, row in rows.items() if row in shared]
    if named:
        parts.append(f"Also [shared options](#options-of-several-commands): {', '.join(named)}.")
    if len(named) < len(rows):
        parts.append(list_of(row for row in rows.values() if row not in shared).rstrip())
    return "\n\n".join(parts) + "\n"


def list_of(rows: Iterable[str]) -> str:
    """Return a list of options."""
    return "\n".join(rows) + "\n"


def help_of(command: click.Command) -> str:
    """Return the help as Markdown: examples as code, and no lists of names, which the guides have."""
    paragraphs = [
        kept for each in cleandoc(command.help or "").split("\n\n") if (kept := SAID_AT_THE_TOP.sub("", each).strip())
    ]
    by_hand = "\b\n"
    paragraphs = [each for each in paragraphs if not each.startswith(by_hand) or "\nclipbench " in each]
    return "\n\n".join(
        f"```text\n{each.removeprefix(by_hand)}\n```" if each.startswith(by_hand) else each for each in paragraphs
    )


def option_rows(command: click.Command, context: click.Context) -> dict[str, str]:
    """Return the entries of a command's options, by name."""
    rows = {}
    for each in command.params:
        if isinstance(each, click.Option) and each.name not in OF_ALL and not each.hidden:
            record = each.get_help_record(context)
            assert record is not None
            names, text = (" ".join(part.split()) for part in record)
            without_range = re.sub(r" \[[^]]*\bx[<>][^]]*]", "", text)
            shown = without_range.replace("[", chr(92) + "[")  # [x] would be the address of something
            rows[max(each.opts, key=len)] = f"- `{names}`: {shown}"
    return rows


def metrics_page() -> str:
    """Return a list of metrics and baselines for each task."""
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
        for name, definition in structure.hub_definitions(modality, k).items()
    }
    return {
        "zero-shot": zero_shot.METRICS,
        "retrieval": of_retrieval,
        "mixed-retrieval": mixed_retrieval.definitions(mixed_retrieval.MixedRetrieval().ks),
        "modality-gap": modality_gap.METRICS | of_hubs,
        "modalities": modalities.METRICS,
        "composition": composition.METRICS,
        "text-in-image": text_in_image.METRICS | probes.METRICS,
        "long-caption": long_caption._definitions(long_caption.LongCaption().share),
        "few-shot": few_shot.definitions(few_shot.FewShot().shots),
        "operating-points": operating_points.definitions(operating_points.OperatingPoints().precisions),
        "compression": compression.definitions(compression.Compression().points),
        "perturbation": perturbation.METRICS,
    }


def table(task: str, found: Mapping[str, Definition]) -> str:
    """Return the list of a task; metrics that differ by one word share a row."""
    rows = dict.fromkeys(
        shared_row(f"| `{key}` | {each.title} | {each.description}{baseline(each)} |") for key, each in found.items()
    )
    return f"## {task}\n\n" + "\n".join(map(listed, rows)) + "\n"


def listed(row: str) -> str:
    """Return a row of a table as an entry of a list.

    Example:
        >>> listed("| `acc1` | Top-1 accuracy | Fraction of images. |")
        '- `acc1`, **Top-1 accuracy**: Fraction of images.'
        >>> listed("| `acc1` | Top-1 accuracy |")
        '- `acc1`, **Top-1 accuracy**:'
    """
    key, title, *text = row.strip("| ").split(" | ", 2)
    return f"- {key}, **{title}**: {''.join(text)}".rstrip()


def shared_row(row: str) -> str:
    """Return the row that a metric shares with others that differ by one word.

    Example:
        >>> shared_row("| `text_cone` | Mean text–text cosine | Mean cosine of two different texts. |")
        '| `M_cone` | Mean M–M cosine | Mean cosine of two different Ms. |'
        >>> shared_row("| `macro_set_acc_strict` | Set accuracy, mean over groups, ties as misses |")
        '| `SCORE_strict` | SCORE, ties as misses |'
    """
    row = of_any_k(row)
    for keys, replacements in SHARED_ROWS.items():
        if re.match(rf"\| `(?:{keys})` ", row):
            for pattern, replacement in replacements.items():
                row = re.sub(pattern, replacement, row)
    return row


def of_any_k(row: str) -> str:
    """Return a row, or a key, with k in place of a number of places or labels.

    Example:
        >>> of_any_k("| `recall@5` | R@5 | Right answer among the first 5. |")
        '| `recall@k` | R@k | Right answer among the first k. |'
    """
    places = re.sub(r"(?<=@)\d+|(?<=@p)\d+|(?<=the first )\d+|\b\d+(?= % precision| % of the accepted)", "k", row)
    return re.sub(r"\b\d+ labels?\b", "k labels", places)


def baseline(definition: Definition) -> str:
    """Return which metrics a baseline is read against."""
    of = ", ".join(f"`{name}`" for name in definition.owners)
    return f" *Baseline* of {of}." if of else ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
