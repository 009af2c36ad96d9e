"""``clipbench compare``: is the candidate better or worse than the base, and does it pass the gate?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipbench.cli.main import command
from clipbench.cli.options import PATH, TRACEBACK, with_arguments
from clipbench.cli.output import echo, echo_commands, echo_text, print_error, terminal_width
from clipbench.errors import NotComparable, UsageError
from clipbench.files import write_atomic

if TYPE_CHECKING:
    from clipbench.comparison.explanation_records import Explanation
    from clipbench.comparison.gate import GatedComparison
    from clipbench.comparison.gate_rules import Gate
    from clipbench.results.other_tools import Values
    from clipbench.results.run import Run

REGRESSION = 1
FORMATS = ("table", "md", "json", "junit", "github", "html")


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """The arguments of ``clipbench compare``."""

    runs: Sequence[Path]
    max_drop: str | None
    gate: Path | None
    require: Sequence[str]
    strict: bool
    alpha: float
    smallest: str
    form: str
    out: Path | None
    explain: bool
    verbose: bool


@command(
    Gate=("max_drop", "gate", "require", "strict"),
    Test=("alpha", "smallest"),
    Output=("form", "out", "explain", "verbose"),
)
@click.argument("runs", nargs=-1, metavar="BASE CANDIDATE [MORE...]", type=PATH)
@click.option(
    "--max-drop",
    metavar="0.5pp|1%",
    help="Largest drop allowed for any metric: percentage points, or percent of the base.",
)
@click.option(
    "--gate",
    metavar="FILE.toml",
    type=PATH,
    help="Gate file: allowed drops by metric, requirements, and acknowledged losses.",
)
@click.option(
    "--require", multiple=True, metavar="'METRIC >= NUMBER'", help="Requirement on each candidate (repeatable)."
)
@click.option("--strict", is_flag=True, help="Fail on every drop beyond the limit, significant or not.")
@click.option("--alpha", default=0.05, metavar="P", type=float, help="Significance level.")
@click.option("--smallest", default="0", metavar="0.5pp|NUMBER", help="Smallest difference that matters.")
@click.option("--format", "form", default="table", type=click.Choice(FORMATS), help="Output format.")
@click.option("-o", "--out", metavar="FILE", type=PATH, help="Output file (required for html).")
@click.option("--explain", is_flag=True, help="Add where each candidate got worse to the page (--format html).")
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

    BASE and CANDIDATE are run folders, result.json files, or results of CLIP_benchmark, DataComp, open_clip or MIEB: a
    file or a folder, with #MODEL if it has several models. Results of other tools have no samples and are not tested. A
    regression is a drop that is beyond the limit and significant. docs/ci.md shows workflows.

    The last line is the verdict: better, worse, mixed, equal or undecided, with the reason.

    Exit status: 0 no regression, 1 regression or a requirement not met, 2 bad usage or input, 3 not comparable, or a
    drop beyond the limit that cannot be tested.
    """
    form = arguments.form
    if len(arguments.runs) < 2:
        raise click.UsageError(f"got {len(arguments.runs)} of at least 2 runs: expected BASE CANDIDATE [MORE...]")
    if form == "html" and arguments.out is None:
        raise click.UsageError("--format html needs -o FILE.html")
    if arguments.explain and form != "html":
        raise click.UsageError(f"--explain adds a section to the page: got --format {form}, expected html")
    gate = _read_gate(arguments)
    if form == "junit" and not (gate.rules or gate.requirements):
        raise UsageError("--format junit reports gated metrics only: give --max-drop, --gate or --require")
    comparisons, sides = _compare_candidates(arguments, gate)
    _write(comparisons, sides, arguments)
    statuses = [gated.exit_status for gated in comparisons]
    return REGRESSION if REGRESSION in statuses else max(statuses)


def _read_gate(arguments: CompareArguments) -> "Gate":
    from clipbench.comparison.gate_rules import Gate, read_gate

    gate = Gate.from_options(arguments.max_drop, arguments.require, arguments.strict)
    if arguments.gate is not None:
        gate += read_gate(arguments.gate)
    if gate.is_strict and not gate.rules:
        raise UsageError("--strict needs an allowed drop: give --max-drop, or a --gate with patterns")
    return gate


def _compare_candidates(
    arguments: CompareArguments, gate: "Gate"
) -> "tuple[list[GatedComparison], list[Run | Values]]":
    """Return the comparisons, and the results that were compared, the base first. Print why one could not be.

    Raises:
        NotComparable: no candidate could be compared.
    """
    from clipbench.comparison.compare_runs import compare
    from clipbench.comparison.gate import GatedComparison, check_gate, judge
    from clipbench.comparison.gate_rules import smallest_difference
    from clipbench.comparison.records import CompareOptions, Comparison, Outcome, Refusal
    from clipbench.results.other_tools import Values, open_results

    options = CompareOptions(alpha=arguments.alpha, smallest=smallest_difference(arguments.smallest))
    base, *candidates = (open_results(path) for path in arguments.runs)
    check_gate(gate, {name: metric for side in (*candidates, base) for name, metric in side.named_metrics.items()})
    comparisons: list[GatedComparison] = []
    sides, errors = [base], []
    for candidate in candidates:
        outcomes: list[Outcome] = []
        try:
            comparison = compare(base, candidate, options)
            outcomes = judge(
                comparison, gate, base=base.named_metrics, candidate=candidate.named_metrics, alpha=options.alpha
            )
        except NotComparable as error:
            errors.append(error)
            # A candidate among others must not just be missing: its comparison says why there is none.
            labels = [side.label if isinstance(side, Values) else str(side.folder) for side in (base, candidate)]
            refusal = Refusal(labels[1], str(error))
            comparison = Comparison(base=labels[0], candidate=labels[1], differences=[], refused=[refusal])
        comparisons.append(GatedComparison(comparison=comparison, outcomes=outcomes))
        sides.append(candidate)
    if len(errors) == len(comparisons):
        raise errors[0]
    for reason in errors:
        print_error(str(reason))
    return comparisons, sides


def _explanations(sides: "list[Run | Values]") -> "list[Explanation | None]":
    """Return where each candidate got worse, and print why one cannot be explained."""
    from clipbench.errors import ClipbenchError
    from clipbench.evaluation.explain_runs import explain_runs

    explanations: list[Explanation | None] = []
    for candidate in sides[1:]:
        try:
            explanations.append(explain_runs(sides[0], candidate))
        except ClipbenchError as error:
            print_error(f"no explanation: {error}")
            explanations.append(None)
    return explanations


def _write(comparisons: "list[GatedComparison]", sides: "list[Run | Values]", arguments: CompareArguments) -> None:
    from clipbench.comparison.formats.difference_tables import verdict_lines
    from clipbench.results.numbers import ascii_signs

    form, out = arguments.form, arguments.out
    if form == "html":
        assert out is not None, form
        from clipbench import plugins
        from clipbench.results.other_tools import Values

        runs = [None if isinstance(side, Values) else side for side in sides]
        explanations = _explanations(sides) if arguments.explain else []
        plugins.load(plugins.REPORTS, "compare")(comparisons, runs, out, explanations)
    else:
        from clipbench.comparison import formats

        makers = {"md": formats.markdown, "json": formats.as_json, "junit": formats.junit, "github": formats.github}
        if form == "table":
            width = terminal_width() if out is None else None
            text = formats.terminal(comparisons, width, is_verbose=arguments.verbose)
        else:
            text = makers[form](comparisons)
        if form == "github":
            _append_step_summary(formats.markdown(comparisons))
        if out is None and form == "table":
            echo(*text.split("\n"))
        elif out is None:
            (echo_commands if form == "github" else echo_text)(text)
        else:
            write_atomic({out: text.encode()})
    if out is not None:
        echo(f"wrote {out}", *map(ascii_signs, verdict_lines(comparisons)))


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
