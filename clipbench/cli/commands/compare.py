"""``clipbench compare``: is the candidate better or worse than the base, and does it pass the gate?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from clipbench.cli.main import command, environment_variable
from clipbench.cli.options import PATH, TRACEBACK, with_arguments
from clipbench.cli.output import echo, echo_commands, echo_text, print_error, terminal_width
from clipbench.errors import NotComparable, NotMeasured, UsageError
from clipbench.files import write_atomic

if TYPE_CHECKING:
    from clipbench.comparison.chain import Chain
    from clipbench.comparison.explanation_records import Explanation
    from clipbench.comparison.gate_rules import Gate
    from clipbench.comparison.records import CompareOptions, Comparison
    from clipbench.results.other_tools import Values
    from clipbench.results.run import Run

REGRESSION = 1
EXAMPLES = {
    "max_drop": "0.5pp",
    "gate": "clipbench-gate.toml",
    "require": "'zero-shot/acc1 >= 63%'",
    "strict": "1",
    "conclusive": "1",
    "alpha": "0.05",
    "equivalence_margin": "0.5pp",
}
"""A value of each option of the gate and the test."""
GATE_OPTIONS = ("max_drop", "gate", "require", "strict", "conclusive")
TEST_OPTIONS = ("alpha", "equivalence_margin")
FORMATS = ("table", "md", "json", "junit", "github", "html")


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """The arguments of ``clipbench compare``."""

    runs: Sequence[Path]
    max_drop: str | None
    gate: Path | None
    require: Sequence[str]
    strict: bool
    conclusive: bool
    alpha: float
    equivalence_margin: str
    labels: Path | None
    form: str
    out: Path | None
    explain: bool
    chain: bool
    verbose: bool


@command(
    Gate=GATE_OPTIONS,
    Test=(*TEST_OPTIONS, "labels"),
    Output=("form", "out", "explain", "chain", "verbose"),
)
@click.argument("runs", nargs=-1, metavar="BASE CANDIDATE [MORE...]", type=PATH)
@click.option(
    "--max-drop",
    metavar="0.5pp|1%|0",
    help="Largest drop allowed for any metric: percentage points, or percent of the base.",
)
@click.option(
    "--gate",
    metavar="FILE.toml",
    type=PATH,
    help="Gate file: allowed drops by metric, requirements, and acknowledged losses.",
)
@click.option("--require", multiple=True, metavar="'METRIC >= 63%'", help="Requirement on each candidate (repeatable).")
@click.option("--strict", is_flag=True, help="Fail on every drop beyond the limit, also if no test shows a loss.")
@click.option("--conclusive", is_flag=True, help="Exit with 3 if a gated metric is not decided.")
@click.option("--alpha", default=0.05, metavar="P", type=float, help="Significance level.")
@click.option(
    "--equivalence-margin",
    default="0",
    metavar="0.5pp|1%|0",
    help="Two values are equivalent if the interval of their difference is within this margin.",
)
@click.option(
    "--labels",
    metavar="FILE",
    type=PATH,
    help="Other labels of the images (id and label): top-1 accuracy is compared by them too.",
)
@click.option("--format", "form", default="table", type=click.Choice(FORMATS), help="Output format.")
@click.option("-o", "--out", metavar="FILE", type=PATH, help="Output file (required for html).")
@click.option("--explain", is_flag=True, help="Add where each candidate got worse to the page (--format html).")
@click.option(
    "--chain", is_flag=True, help="Compare each run with the one before, and the last with the first, which is gated."
)
@click.option("-v", "--verbose", is_flag=True, help="Print all metrics, slices, changed samples and notes.")
@TRACEBACK
@with_arguments(CompareArguments)
def compare(arguments: CompareArguments) -> int:
    """Compare candidates with a base, sample by sample, and apply a gate.

    \b
    clipbench compare runs/base runs/candidate
    clipbench compare runs/base runs/candidate --max-drop 0.5pp
    clipbench compare runs/base runs/candidate --gate gate.toml --format md
    clipbench compare runs/base runs/one runs/two --format html -o compare.html
    clipbench compare --chain runs/model runs/int8 runs/index runs/filtered

    BASE and CANDIDATE are run folders, result.json files, or results of CLIP_benchmark, DataComp, open_clip or MIEB: a
    file or a folder, with #MODEL if it has several models. Results of other tools have no samples and are not tested.
    docs/ci.md shows workflows.

    The last line is the verdict: better, worse, mixed, equal or undecided, with the reason.

    Exit status: 1 if a metric lost more than the limit, and a test shows that it is a loss, or a requirement is not
    met. 2 for bad usage or input. 3 if a run was not measured or is not comparable, if a loss beyond the limit cannot
    be tested, and with --conclusive if a metric is not decided. 0 otherwise.
    """
    form = arguments.form
    if len(arguments.runs) < 2:
        raise click.UsageError(f"got {len(arguments.runs)} of at least 2 runs: expected BASE CANDIDATE [MORE...]")
    if form == "html" and arguments.out is None:
        raise click.UsageError("--format html needs -o FILE.html")
    if arguments.explain and form != "html":
        raise click.UsageError(f"--explain adds a section to the page: got --format {form}, expected html")
    _refuse_empty_variables(click.get_current_context())
    gate = _read_gate(arguments)
    if form == "junit" and gate.is_empty:
        raise UsageError("--format junit reports gated metrics only: give --max-drop, --gate or --require")
    if arguments.chain:
        return _compare_chain(arguments, gate)
    sides = [_open(path) for path in arguments.runs]
    _refuse_repeated_candidates(sides)
    comparisons = _compare_candidates(sides, arguments, gate)
    if form != "table" or arguments.out is not None:
        for comparison in comparisons:
            if not comparison.differences:
                print_error(comparison.reason)
    _write(comparisons, [None if isinstance(side, NotMeasured) else side for side in sides], arguments)
    statuses = [comparison.exit_status for comparison in comparisons]
    return REGRESSION if REGRESSION in statuses else max(statuses)


def _compare_chain(arguments: CompareArguments, gate: "Gate") -> int:
    """Print or write the comparisons of a chain of runs, and return the exit status."""
    from clipbench.comparison.chain import compare_chain
    from clipbench.comparison.compare_runs import open_side

    if arguments.labels is not None:
        raise UsageError("--labels has no effect with --chain: compare two of the runs without --chain")
    runs = [open_side(path) for path in arguments.runs]
    chain = compare_chain(runs, _compare_options(arguments), gate)
    _write_chain(chain, (runs[0], runs[-1]), arguments)
    return chain.exit_status


def _compare_options(arguments: CompareArguments) -> "CompareOptions":
    from clipbench.comparison.gate_rules import Tolerance
    from clipbench.comparison.records import CompareOptions

    margin = Tolerance.parse_option(arguments.equivalence_margin, "equivalence_margin")
    return CompareOptions(alpha=arguments.alpha, equivalence_margin=margin)


def _refuse_empty_variables(context: click.Context) -> None:
    """Raise UsageError for a variable of the gate or the test that is set and empty: it may have been meant as a limit.

    A workflow sets it so if what it refers to has no value.
    """
    for parameter in context.command.params:
        if parameter.name not in (*GATE_OPTIONS, *TEST_OPTIONS) or not isinstance(parameter, click.Option):
            continue
        name = environment_variable(parameter)
        is_given = context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        if os.environ.get(name) == "" and not is_given:
            raise UsageError(
                f"{name} is set and empty: give it a value such as {EXAMPLES[parameter.name]}, or unset it"
            )


def _open(path: Path) -> "Run | Values | NotMeasured":
    """Return the results of a path, or why it has none if it was not measured."""
    from clipbench.results.other_tools import open_results

    try:
        return open_results(path)
    except NotMeasured as error:
        return error


def _refuse_repeated_candidates(sides: "Sequence[Run | Values | NotMeasured]") -> None:
    from clipbench.comparison.compare_runs import repeated_run
    from clipbench.results.run import Run

    repeated = repeated_run([side for side in sides[1:] if isinstance(side, Run)])
    if repeated is not None:
        raise UsageError(f"{repeated.label} is given twice as a candidate: remove one of them")


def _read_gate(arguments: CompareArguments) -> "Gate":
    from clipbench.comparison.gate_rules import Gate

    return Gate.from_options(
        arguments.max_drop,
        arguments.require,
        file=arguments.gate,
        strict=arguments.strict,
        conclusive=arguments.conclusive,
    )


def _compare_candidates(
    sides: "Sequence[Run | Values | NotMeasured]", arguments: CompareArguments, gate: "Gate"
) -> "list[Comparison]":
    """Return a comparison of each candidate with the base, also of one that was not measured or is not comparable."""
    from clipbench.comparison.compare_runs import check_warnings, compare, metrics_of
    from clipbench.comparison.gate import check_gate
    from clipbench.comparison.overall import with_verdict
    from clipbench.comparison.records import Comparison, Refusal
    from clipbench.results.run import Run
    from clipbench.untrusted.label_files import read_label_file

    options = _compare_options(arguments)
    labels = None if arguments.labels is None else read_label_file(arguments.labels)
    base, *candidates = sides
    measured = [side for side in (*candidates, base) if not isinstance(side, NotMeasured)]
    if measured:
        check_gate(gate, metrics_of(*measured))
    comparisons = []
    for candidate, path in zip(candidates, arguments.runs[1:], strict=True):
        try:
            comparisons.append(compare(_measured(base), _measured(candidate), options, gate, labels))
        except (NotComparable, NotMeasured) as error:
            names = [_label(side, name) for side, name in ((base, arguments.runs[0]), (candidate, path))]
            refusal = Refusal("", str(error))
            warnings = check_warnings(*(side for side in (base, candidate) if isinstance(side, Run)))
            nothing = Comparison(
                base=names[0], candidate=names[1], differences=[], refused=[refusal], warnings=warnings
            )
            comparisons.append(with_verdict(nothing))
    return comparisons


def _measured(side: "Run | Values | NotMeasured") -> "Run | Values":
    if isinstance(side, NotMeasured):
        raise side
    return side


def _label(side: "Run | Values | NotMeasured", path: Path) -> str:
    """Return the name of a side in a comparison, which is the path as it was given if there are no results."""
    return str(path) if isinstance(side, NotMeasured) else side.label


def _explanations(sides: "Sequence[Run | Values | None]") -> "list[Explanation | None]":
    """Return where each candidate got worse, and print why one cannot be explained."""
    from clipbench.errors import ClipbenchError
    from clipbench.evaluation.explain_runs import explain_runs

    explanations: list[Explanation | None] = []
    base, *candidates = sides
    for candidate in candidates:
        if base is None or candidate is None:
            explanations.append(None)
            continue
        try:
            explanations.append(explain_runs(base, candidate))
        except ClipbenchError as error:
            print_error(f"no explanation: {error}")
            explanations.append(None)
    return explanations


def _write(
    comparisons: "Sequence[Comparison]", sides: "Sequence[Run | Values | None]", arguments: CompareArguments
) -> None:
    from clipbench.comparison import formats
    from clipbench.comparison.formats.difference_tables import verdict_lines

    form = arguments.form
    if form == "html":
        _write_page(comparisons, sides, arguments)
    elif form == "table":
        width = terminal_width() if arguments.out is None else None
        labels = _row_labels(sides, arguments)
        text = formats.terminal(comparisons, width, is_verbose=arguments.verbose, labels=labels)
        _write_text(text, arguments)
    else:
        if form == "github":
            _append_step_summary(formats.markdown(comparisons))
        makers = {"md": formats.markdown, "json": formats.as_json, "junit": formats.junit, "github": formats.github}
        _write_text(makers[form](comparisons), arguments)
    _echo_written(verdict_lines(comparisons), arguments)


def _write_chain(chain: "Chain", ends: "Sequence[Run | Values]", arguments: CompareArguments) -> None:
    """Print or write a chain. JUnit and annotations are about what is gated: the last run against the first."""
    from clipbench.comparison import formats
    from clipbench.comparison.records import verdict_line

    form = arguments.form
    if form == "html":
        _write_page([chain.whole], ends, arguments, chain)
    elif form == "table":
        width = terminal_width() if arguments.out is None else None
        _write_text(formats.chain_terminal(chain, width, is_verbose=arguments.verbose), arguments)
    elif form in ("junit", "github"):
        if form == "github":
            _append_step_summary(formats.chain_markdown(chain))
        _write_text((formats.junit if form == "junit" else formats.github)([chain.whole]), arguments)
    else:
        _write_text((formats.chain_json if form == "json" else formats.chain_markdown)(chain), arguments)
    _echo_written([verdict_line(chain.verdict, chain.reason)], arguments)


def _write_page(
    comparisons: "Sequence[Comparison]",
    sides: "Sequence[Run | Values | None]",
    arguments: CompareArguments,
    chain: "Chain | None" = None,
) -> None:
    from clipbench import plugins
    from clipbench.results.run import Run

    assert arguments.out is not None, arguments.form
    runs = [side if isinstance(side, Run) else None for side in sides]
    explanations = _explanations(sides) if arguments.explain else []
    plugins.load(plugins.REPORTS, "compare")(comparisons, runs, arguments.out, explanations, chain)


def _write_text(text: str, arguments: CompareArguments) -> None:
    """Print a text, or write it into the file of the arguments."""
    form, out = arguments.form, arguments.out
    if out is not None:
        write_atomic({out: text.encode()})
    elif form == "table":
        echo(*text.split("\n"))
    else:
        (echo_commands if form == "github" else echo_text)(text)


def _echo_written(verdicts: Sequence[str], arguments: CompareArguments) -> None:
    """Print the file that was written, if any, and the verdicts, which are in it."""
    from clipbench.results.numbers import ascii_signs

    if arguments.out is not None:
        echo(f"wrote {arguments.out}", *map(ascii_signs, verdicts))


def _row_labels(sides: "Sequence[Run | Values | None]", arguments: CompareArguments) -> list[str]:
    """Return short distinct names of the base and of the candidates, as the tables of other commands have them."""
    from clipbench.results.run import Run, model_name
    from clipbench.results.run_names import distinct_labels, short_labels

    paths = [str(path) for path in arguments.runs]
    models = []
    folders = []
    for side, path in zip(sides, paths, strict=True):
        if isinstance(side, Run):
            models.append(model_name(side))
            folders.append(side.folder.name)
        else:
            models.append(path if side is None else side.label)
            folders.append(path)
    return short_labels(distinct_labels(models, folders))


def _append_step_summary(text: str) -> None:
    """Append a text to the page of a GitHub workflow's run."""
    summary_path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary_path:
        print_error("GITHUB_STEP_SUMMARY is not set: no summary was written")
        return
    try:
        with Path(summary_path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write GITHUB_STEP_SUMMARY {summary_path}: {error.strerror or error}") from error
