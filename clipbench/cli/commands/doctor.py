"""``clipbench doctor``: check a model and data, explain a score that misses the expected one, compare two models."""

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli import options
from clipbench.cli.main import DONE, FAULT, command
from clipbench.cli.options import PATH, DataArguments, ModelArguments, key_values, shows_traceback, with_arguments
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

    model: str | None
    expect: str | None
    metric: str | None
    tries_served: bool
    against: str | None
    against_option: Mapping[str, str]
    write_inputs: Path | None
    out: Path | None
    as_json: bool


@command(
    What=("model", "data", "expect", "metric", "tries_served", "against", "write_inputs"),
    Data=("data_root", "data_option", "limit"),
    Model=("model_option", "against_option", "arch", "precision"),
    Speed=("device",),
    Output=("as_json", "out"),
)
@click.option("--model", metavar="REF", help="Model to check.")
@click.option("--data", metavar="DATA", help="Data to check, and to check the model with.")
@click.option("--expect", metavar="SCORE|published", help="Expected score on the data, such as 52.1.")
@click.option("--metric", metavar="TASK/METRIC", help="Metric of the expected score, such as zero-shot/acc1.")
@click.option(
    "--try",
    "tries_served",
    is_flag=True,
    help="Try changes of texts and images on a model behind a server too: about 20 times the sample's requests.",
)
@click.option("--against", metavar="REF", help="Another way to run the same weights: are the vectors the same?")
@click.option(
    "--write-inputs",
    metavar="DIR",
    type=PATH,
    help="Write the pictures and texts of --against, for programs that clipbench cannot run.",
)
@click.option("--allow-partial", is_flag=True, help="Check what is present where images, classes or vectors are not.")
@click.option("-o", "--out", metavar="FILE.html", type=PATH, help="Write the comparison of --against as a page.")
@click.option(
    "--against-option",
    multiple=True,
    metavar="KEY=VALUE",
    callback=key_values,
    help="Option of the model of --against, also device, precision, batch_size and arch (repeatable).",
)
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
    clipbench doctor --model vit-b-32 --against onnx:export/ --data photos/captions.csv

    With --data, changes of texts (templates, article, full stop, space, case) and of images (shape, size, channels) are
    tried on a sample of at most 500 images, and those that score clearly higher are named.

    With --expect, the score is measured, and each switch is flipped in turn (templates, case, padding, end of text,
    resize, interpolation, normalization, activation, precision), to say which leads to the expected one.

    With --against, both models encode the same fixed pictures and texts. The stage that differs is named (pixels,
    tokens, tower, pooling, projection, normalization, precision, batch), and with --data whether both may share an
    index.

    Exit status: 0 healthy, or the same vectors, 1 a fault or other vectors, 2 bad usage or input, 3 weights or data
    that are not here.
    """
    if arguments.write_inputs is not None:
        return _write_inputs(arguments)
    if arguments.against is not None:
        return _compare(arguments)
    for name, value in (("--against-option", arguments.against_option), ("-o", arguments.out)):
        if value:
            raise click.UsageError(f"{name} has no effect without --against: add --against REF")
    return _check(arguments)


def _write_inputs(arguments: DoctorArguments) -> int:
    """Write the fixed inputs, without a model."""
    from clipbench.checks.agreement.fixed_inputs import TEXTS_FILE, write_inputs

    folder = arguments.write_inputs
    assert folder is not None
    if arguments.model is not None or arguments.against is not None:
        raise click.UsageError("--write-inputs writes the same inputs for any model: remove --model and --against")
    n_images = len(write_inputs(folder)) - 1
    echo(f"wrote {n_images} pictures and {TEXTS_FILE} to {folder}")
    return DONE


def _compare(arguments: DoctorArguments) -> int:
    """Compare the vectors of two models."""
    from clipbench.evaluation.vector_comparison import ComparisonOptions, against_load_options, compare_vectors
    from clipbench.results.numbers import ascii_signs

    assert arguments.against is not None
    for name, value in (("--expect", arguments.expect), ("--metric", arguments.metric)):
        if value is not None:
            raise click.UsageError(f"{name} has no effect together with --against: remove one of them")
    if arguments.tries_served:
        raise click.UsageError("--try has no effect together with --against: remove one of them")
    options = ComparisonOptions(
        data=arguments.data, loading=arguments.data_options, limit=arguments.limit, seed=arguments.seed
    )
    load = arguments.load_options
    comparison = compare_vectors(
        _model(arguments), arguments.against, load, against_load_options(load, arguments.against_option), options
    )
    if arguments.out is not None:  # before the words, whose reader may stop, as ``head`` does
        from clipbench import plugins

        plugins.load(plugins.REPORTS, "against")(comparison, arguments.out)
    if arguments.as_json:
        echo_json(comparison.to_json())
    else:
        echo(*map(ascii_signs, comparison.lines(terminal_width())))
    if arguments.out is not None:
        echo(f"wrote {arguments.out}", err=arguments.as_json)
    return DONE if comparison.is_same else FAULT


def _model(arguments: DoctorArguments) -> str:
    if arguments.model is None:
        raise click.UsageError("Missing option '--model'")
    return arguments.model


def _check(arguments: DoctorArguments) -> int:
    """Check one model and data."""
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

    diagnosis = diagnose(_model(arguments), arguments.load_options, options, print_finding)
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
    rows = []
    for effect in explanation.effects:
        mark = "> " if effect.is_towards else "  "
        rows.append(
            [
                f"{mark}{effect.switch}",
                effect.setting,
                quantity(effect.value, unit),
                change(effect.change, unit),
                change_interval(effect.low, effect.high, unit),
                p_value(effect.p_value),
                change(explanation.expected - effect.value, unit),
            ]
        )
    headers = [*columns("switch", "setting", numbers=["score", "change"]), *columns("interval", "p", numbers=["left"])]
    table = Table(columns=headers, rows=rows)
    return [*as_text(table, width=width).splitlines(), *(f"  note: {note}" for note in explanation.notes)]


def _wrap_columns(mark: str, name: str, text: str, width: int | None) -> list[str]:
    """Return a text in a column of its own, behind a mark and a name."""
    indent = MARK + NAME
    line = f"{mark:{MARK}}{name:{NAME}}{' '.join(text.split())}".rstrip()
    return [line] if width is None else wrap_text(line, width, " " * min(indent, width // 3))
