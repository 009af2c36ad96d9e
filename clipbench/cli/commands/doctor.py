"""``clipbench doctor``: check a model and data, and find out why a score misses what was expected."""

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from clipbench.cli import options
from clipbench.cli.main import DONE, FAULT, command
from clipbench.cli.options import DataArguments, ModelArguments, shows_traceback, with_arguments
from clipbench.cli.output import echo, echo_json, terminal_width
from clipbench.results.table.text import wrap_text

if TYPE_CHECKING:
    from clipbench.evaluation.score_causes import ScoreCauses
    from clipbench.results.record import CheckFinding

MARKS = {"ok": "ok", "warning": "WARNING", "fault": "FAULT", "not examined": "-"}
SHOW_MORE = "To have more examined, show the parts of the object by a method (leave out what it does not have):"
NAME, MARK = 16, 8
"""Characters of the first two columns."""


@dataclass(frozen=True, kw_only=True)
class DoctorArguments(ModelArguments, DataArguments):
    """The arguments of ``clipbench doctor``."""

    model: str
    expect: str | None
    metric: str | None
    tries_served: bool
    as_json: bool


@command(
    What=("model", "data", "expect", "metric", "tries_served"),
    Data=("data_root", "data_option", "limit"),
    Model=("model_option", "arch", "precision"),
    Speed=("device",),
    Output=("as_json",),
)
@click.option("--model", required=True, metavar="REF", help="Model to check.")
@click.option("--data", metavar="DATA", help="Data to check, and to check the model with.")
@click.option("--expect", metavar="SCORE|published", help="Expected score on the data, such as 52.1.")
@click.option("--metric", metavar="TASK/METRIC", help="Metric of the expected score, such as zero-shot/acc1.")
@click.option(
    "--try",
    "tries_served",
    is_flag=True,
    help="Try changes of texts and images on a model behind a server too: about 20 times the sample's requests.",
)
@click.option("--allow-partial", is_flag=True, help="Check what is present when images or classes are missing.")
@options.model_options
@options.DATA_ROOT
@options.DATA_OPTION
@options.LIMIT
@options.SEED
@options.JSON
@options.TRACEBACK
@with_arguments(DoctorArguments)
def doctor(arguments: DoctorArguments) -> int:
    """Check that a model's adapter is right, and its data is sound.

    Each check prints what it saw. A warning or a fault also has the reason why it matters, and a fix. Takes seconds, on
    built-in images and captions, and on a sample of the data.

    \b
    clipbench doctor --model vit-b-32
    clipbench doctor --model hf:my/checkpoint --data photos/captions.csv
    clipbench doctor --model siglip2-b-16 --data coco --expect published

    With --data, changes of texts (templates, article, full stop, space, case) and of images (shape, size, channels) are
    tried on a sample of at most 500 images, and those that score clearly higher are named.

    With --expect, the score is measured, and each switch is flipped in turn (templates, case, padding, end of text,
    resize, interpolation, normalization, activation, precision), to say which leads to the expected one.

    Exit status: 0 healthy, 1 a fault was found, 2 bad usage or input, 3 weights or data that are not here.
    """
    from clipbench.evaluation.diagnosis import DoctorOptions, diagnose
    from clipbench.evaluation.score_causes import Expectation

    if arguments.metric is not None and arguments.expect is None:
        raise click.UsageError("--metric has no effect without --expect: add --expect SCORE")
    options = DoctorOptions(
        data=arguments.data,
        loading=arguments.data_options,
        expectation=None if arguments.expect is None else Expectation(arguments.expect, arguments.metric),
        limit=arguments.limit,
        seed=arguments.seed,
        tries_served=arguments.tries_served,
        raise_bugs=shows_traceback(),
    )
    as_json, width = arguments.as_json, terminal_width()

    def print_finding(finding: "CheckFinding") -> None:
        if not as_json:
            echo(*finding_lines(finding, width))

    diagnosis = diagnose(arguments.model, arguments.load_options, options, print_finding)
    explanation = diagnosis.explanation
    if as_json:
        parts = {"model": diagnosis.model.ref, "is_healthy": diagnosis.is_healthy}
        explained = None if explanation is None else asdict(explanation)
        found = {
            "findings": [asdict(finding) for finding in diagnosis.findings],
            "tries": [asdict(change) for change in diagnosis.tries],
        }
        echo_json({**parts, **found, "explanation": explained, "code_to_add": diagnosis.code_to_add or None})
    else:
        if explanation is not None:
            echo("", *explanation_lines(explanation, width))
        if diagnosis.code_to_add:
            echo("", SHOW_MORE, "", *textwrap.indent(diagnosis.code_to_add, "    ").splitlines())
        echo("", f"{diagnosis.model.ref}: {diagnosis.summary}")
    return DONE if diagnosis.is_healthy else FAULT


def finding_lines(finding: "CheckFinding", width: int | None) -> list[str]:
    """Return the lines of a finding: the observation, and for a warning or a fault why it matters and the fix."""
    observation = f"not examined: {finding.seen}" if finding.status == "not examined" else finding.seen
    lines = _wrap_columns(MARKS[finding.status], finding.check, observation, width)
    if finding.status in ("warning", "fault"):
        lines += _wrap_columns("", "  why", finding.why, width) + _wrap_columns("", "  fix", finding.fix, width)
    return lines


def explanation_lines(explanation: "ScoreCauses", width: int | None = None) -> list[str]:
    """Return a table of the effect of each switch on the score."""
    from clipbench.results.numbers import change, change_interval, p_value, quantity
    from clipbench.results.table import Table, as_text, columns

    unit = explanation.metric.unit
    rows = [
        [
            ("> " if effect.is_towards else "  ") + effect.switch,
            effect.setting,
            quantity(effect.value, unit),
            change(effect.change, unit),
            change_interval(effect.low, effect.high, unit),
            p_value(effect.p_value),
            change(explanation.expected - effect.value, unit),
        ]
        for effect in explanation.effects
    ]
    headers = [*columns("switch", "setting", numbers=["score", "change"]), *columns("interval", "p", numbers=["left"])]
    table = Table(columns=headers, rows=rows)
    return [*as_text(table, width=width).splitlines(), *(f"  note: {note}" for note in explanation.notes)]


def _wrap_columns(mark: str, name: str, text: str, width: int | None) -> list[str]:
    """Return a text in a column of its own, behind a mark and a name."""
    indent = MARK + NAME
    line = f"{mark:{MARK}}{name:{NAME}}{' '.join(text.split())}".rstrip()
    return [line] if width is None else wrap_text(line, width, " " * min(indent, width // 3))
