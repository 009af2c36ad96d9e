"""Output of ``clipbench run``: progress on standard error, the numbers on standard output."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path

from clipbench.cli.output import echo, echo_json, print_error, print_note, print_warning, terminal_width
from clipbench.errors import ClipbenchError
from clipbench.evaluation.progress import Progress
from clipbench.results.numbers import NONE, ascii_signs, count, counted, duration, interval, interval_name, quantity
from clipbench.results.provenance import encoded_facts
from clipbench.results.record import AverageRecord, CheckFinding, EvaluationRecord, Metric, SlicesRecord
from clipbench.results.run import Run, model_name
from clipbench.results.table import Cell, Column, Row, Table, as_text, columns
from clipbench.results.titles import headlines, subset_legend
from clipbench.stats.claims import order


class Printer(Progress):
    """Prints as a run goes on, in the manner that was asked for."""

    def __init__(
        self, *, quiet: bool, as_json: bool, several: bool, is_series: bool = False, is_verbose: bool = False
    ) -> None:
        self.quiet = quiet
        self.is_verbose = is_verbose
        self.as_json = as_json
        self.several = several
        self.is_series = is_series
        """A line for each model has to be enough."""
        self.shows_bars = not quiet

    def model(self, name: str, number: int, n_models: int) -> None:
        """Say which model is being measured: it is loaded only if something of it is not stored."""
        if not self.quiet:
            place = f" ({number + 1} of {n_models})" if self.is_series else ""
            echo(f"measuring {name}{place}", err=True)

    def reused(self, name: str, run: Run) -> None:
        """Say that a run was finished before, and what of it could not be measured."""
        if not self.quiet:
            echo(f"{name} was measured before, in {run.folder}", err=True)
        for record in run.result.evaluations:
            if record.status != "ok":
                self.evaluation(record)
                print_error(f"to measure it again, move or delete {run.folder}")

    def note(self, text: str) -> None:
        """Say what differs between a finished run and what is asked for, though the samples are the same."""
        if not self.quiet:
            print_note(text)

    def warning(self, finding: CheckFinding) -> None:
        """Say what a quick check of the model found, and what to do."""
        if not self.quiet:
            print_warning(finding)

    def left_out(self, reasons: Mapping[str, str]) -> None:
        """Say which tasks the vectors do not allow, those of one reason together."""
        tasks: dict[str, list[str]] = {}
        for task, reason in reasons.items():
            tasks.setdefault(reason, []).append(task)
        if not self.quiet:
            listed = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in tasks.items())
            print_note(f"unavailable for these vectors, so not in all: {listed}")

    def model_failed(self, name: str, error: ClipbenchError, data_problems: Sequence[str]) -> None:
        """Say why a model could not be measured, unless that ends the command and is said anyway."""
        for line in data_problems:
            print_error(line)
        if self.several:
            print_error(f"{name}: {error}")

    def report_failed(self, report: Path, why: str) -> None:
        """Say why there is no report."""
        print_error(f"cannot write {report}: {why}")

    def log_failed(self, tracker: str, why: str) -> None:
        """Say that a tracker lacks something of a run, which is whole."""
        print_error(f"--log: {tracker} failed ({why}); the run folder is whole")

    def evaluation(self, record: EvaluationRecord) -> None:
        """Say that an evaluation has ended, with its headline metric, or why there is none."""
        if record.status != "ok":
            print_error(f"{record.name} {record.status}: {record.reason}")
        elif not self.quiet and not self.as_json and not self.is_series:
            echo("; ".join([heading(record), *_headline_facts(record)]), err=True)

    def end(self, runs: Sequence[Run], report: Path | None) -> None:
        """Print where the results are, with the report's path as the last line, or the results themselves."""
        if self.as_json:
            results = [asdict(run.result) for run in runs]
            echo_json(results if self.several else results[0])
            return
        if self.quiet:
            return
        width = terminal_width()
        for run in runs if self.is_verbose or not self.is_series else ():
            echo(*([model_name(run)] if self.several else []), *run_lines(run, is_verbose=self.is_verbose, width=width))
            echo(f"results in {run.folder}", *([""] if self.several else []))
        if self.is_series:
            from clipbench.cli.telling import table

            echo(*table(runs, width).splitlines(), f"results in {runs[0].folder.parent}")
        if report is not None:
            echo(str(report))


@contextmanager
def results_alone(is_on: bool) -> Iterator[None]:
    """Send what models and libraries print meanwhile to standard error, so that only results are on standard output.

    What libraries in C and child processes print goes there too.
    """
    if not is_on:
        yield
        return
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        output = None
        with suppress(OSError):  # a standard output that is closed needs no keeping clean
            output = os.dup(1)
            os.dup2(2, 1)
        try:
            yield
        finally:
            if output is not None:
                os.dup2(output, 1)
                os.close(output)


def run_lines(run: Run, *, is_verbose: bool, width: int | None = None) -> list[str]:
    """Return the headline metrics of a run, and all others below or the command that prints them.

    Args:
        width: columns of the terminal; None for no limit.
    """
    records = [record for record in run.result.evaluations if record.status == "ok"]
    lines = headline_lines(records, width)
    for record in records if is_verbose else ():
        lines += ["", *evaluation_lines(record, width=width)]
    folded = None if is_verbose else folded_facts(records)
    if folded is not None:
        lines += [f"{folded}: -v, or clipbench show {shlex.quote(str(run.folder))} --all"]
    return [*lines, *(average_lines(run.result.average, width) if run.result.average is not None else ())]


def headline_lines(records: Iterable[EvaluationRecord], width: int | None = None) -> list[str]:
    """Return a table of the first headline metric of each evaluation that is ok."""
    rows: list[Row] = []
    notes: list[str] = []
    shown = {record.name: _headline(record) for record in records if record.status == "ok" and record.metrics}
    for task, (name, metric) in shown.items():
        if metric.reason is not None:  # of no value, of no interval, or of a choice
            notes.append(f"{name}{' is undefined' if metric.value is None else ''}: {metric.reason}")
        value = Cell(quantity(metric.value, metric.unit), note=len(notes) if metric.reason is not None else 0)
        chance = NONE if metric.chance is None else quantity(metric.chance, metric.unit)
        rows.append([task, name, value, interval(metric), chance, published_cell(metric).removeprefix("published ")])
    headers = columns(
        "task", "metric", numbers=["value", interval_name(metric for _, metric in shown.values()), "chance"]
    )
    table = Table(columns=[*headers, Column("published", is_number=False)], rows=rows, notes=notes)
    has_published = any(metric.published for _, metric in shown.values())
    table = table if has_published else table.select(range(len(headers)))
    return as_text(table, indent="", width=width).splitlines() if rows else []


def folded_facts(records: Sequence[EvaluationRecord]) -> str | None:
    """Return what the table of headline metrics leaves out, such as ``28 more metrics, 5 notes``; None if nothing."""
    n_more = sum(max(0, len(record.metrics) - 1) for record in records)
    n_notes = sum(len(record.notes) for record in records)
    groupings = dict.fromkeys(grouping for record in records for grouping in record.slices)
    facts = [counted(n_more, "more metric")] * bool(n_more) + [f"metrics by {each}" for each in groupings]
    return ", ".join(facts + [counted(n_notes, "note")] * bool(n_notes)) or None


def _headline_facts(record: EvaluationRecord) -> Iterator[str]:
    """Yield each headline metric with its value; then why others have none, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, metric in headlines(record).items():
        if metric.value is None:
            reasons.setdefault(str(metric.reason), []).append(name)
        else:
            yield f"{name} {ascii_signs(quantity(metric.value, metric.unit))}"
    for reason, names in reasons.items():
        yield f"{', '.join(names)} undefined: {ascii_signs(reason)}"


def _headline(record: EvaluationRecord) -> tuple[str, Metric]:
    """Return the first headline metric that is defined, or else the first."""
    found = list(headlines(record).items())
    return next((each for each in found if each[1].value is not None), found[0])


def heading(record: EvaluationRecord, *, is_precomputed: bool = True) -> str:
    """Return the name of an evaluation, and what it took.

    Args:
        is_precomputed: the meaning of a record that counts no encoded images: that the vectors were there before, or
            that an old version did not count.
    """
    encoded = encoded_facts(record.encoded) or ("precomputed vectors" if is_precomputed else None)
    facts = [counted(record.dataset.n_samples, record.dataset.sample), encoded, duration(sum(record.seconds.values()))]
    return f"{record.name}  {'; '.join(filter(None, facts))}"


def evaluation_lines(record: EvaluationRecord, *, is_precomputed: bool = True, width: int | None = None) -> list[str]:
    """Return the table of an evaluation that is ok: a heading, then a line per metric, in columns."""
    notes = [f"  note: {note}" for note in record.notes]
    legend = subset_legend(record.metrics, record.subsets)
    subsets = [f"  subsets: {legend}"] if legend else []
    return [
        heading(record, is_precomputed=is_precomputed),
        *metric_lines(record.metrics, width),
        *subsets,
        *slice_lines(record, width),
        *notes,
    ]


def average_lines(average: AverageRecord, width: int | None = None) -> list[str]:
    """Return the average of a suite, or why there is none, with a heading."""
    return [average.metric.title, *metric_lines({"average": average.metric}, width)]


def metric_lines(metrics: Mapping[str, Metric], width: int | None = None) -> list[str]:
    """Return an indented line for each metric, in columns; below them the undefined ones, those of one reason together."""
    headers = ("metric", "value", "interval", "chance", "n", "published")
    rows = [metric_row(name, metric) for name, metric in metrics.items() if metric.value is not None]
    table = Table(columns=[Column(header, is_number=header == "value") for header in headers], rows=rows)
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            reasons.setdefault(str(metric.reason), []).append(name)
    undefined = [f"  undefined: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return [*as_text(table, has_header=False, width=width).splitlines(), *undefined]


def slice_lines(record: EvaluationRecord, width: int | None = None) -> list[str]:
    """Return an indented line for each headline metric by slice: its mean, the worst group, and how far groups differ."""
    lines = []
    for grouping, slices in record.slices.items():
        names = [name for name in headlines(record) if name in slices.mean]
        lines += [f"  by {grouping}, {len(slices.groups)} groups:"] if names else []
        rows = []
        for name in names:
            mean, worst, distance = slices.mean[name], slices.worst.get(name), slices.distance[name]
            group = slices.worst_group.get(name, "")
            rows.append(
                [
                    f"  {name}",
                    f"mean {_with_interval(mean)} {published_cell(mean)}".strip(),
                    "" if worst is None else f"{_how(name, slices)} {group} {_with_interval(worst)}",
                    f"largest difference {_with_interval(distance)}",
                ]
            )
        table = Table(columns=[Column(header, is_number=False) for header in ("metric", "", "", "")], rows=rows)
        lines += as_text(table, has_header=False, width=width).splitlines() if rows else []
    return lines


def _how(name: str, slices: SlicesRecord) -> str:
    """Return "worst" where tests tell the group with the worst value of a metric from each other one, else which value it is."""
    groups = {group: metrics[name] for group, metrics in slices.groups.items() if name in metrics}
    worst = slices.worst_group[name]
    is_lowest = groups[worst].higher_is_better is not False
    found = order({group: metric for group, metric in groups.items() if metric.value is not None})
    if worst == (found.lowest if is_lowest else found.highest):
        return "worst"
    return "lowest" if is_lowest else "highest"


def _with_interval(metric: Metric) -> str:
    return f"{quantity(metric.value, metric.unit)} {interval(metric)}".strip()


def metric_row(name: str, metric: Metric) -> list[str]:
    """Return the cells of a metric that is defined; each says what it is.

    Example:
        >>> metric_row("acc1", Metric(value=0.5, low=0.4, high=0.6, n=90, chance=0.1))
        ['acc1', '50.0 %', '[40.0, 60.0]', 'chance 10.0 %', 'n 90', '']
    """
    return [
        name,
        quantity(metric.value, metric.unit),
        "" if metric.low is None else interval(metric),
        "" if metric.chance is None else f"chance {quantity(metric.chance, metric.unit)}",
        f"n {count(metric.n)}",
        published_cell(metric),
    ]


def published_cell(metric: Metric) -> str:
    """Return what was published for the same model, data and protocol, and whether the interval contains it.

    Example:
        >>> from clipbench.results.record import PublishedValue
        >>> values = [PublishedValue(value=0.481, protocol="", source="", is_secondary=True, agrees=True)]
        >>> published_cell(Metric(value=0.5, low=0.4, high=0.6, published=values))
        'published 48.1 % (agrees, secondary source)'
    """
    verdicts = {True: "agrees", False: "differs", None: "no interval"}
    parts = [
        f"{quantity(each.value, metric.unit)}"
        f" ({verdicts[each.agrees]}{', secondary source' if each.is_secondary else ''})"
        for each in metric.published
    ]
    return f"published {', '.join(parts)}" if parts else ""
