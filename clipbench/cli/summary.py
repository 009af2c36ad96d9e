"""What ``clipbench run`` says: progress on standard error, the numbers on standard output."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from clipbench.errors import ClipbenchError
from clipbench.evaluation.progress import Progress
from clipbench.results.numbers import ascii_signs, count, duration, interval, quantity
from clipbench.results.record import EvaluationRecord, Metric
from clipbench.results.run import Run


class Printer(Progress):
    """Prints as a run goes on, in the manner that was asked for."""

    def __init__(self, *, quiet: bool, as_json: bool, several: bool, is_series: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.several = several
        self.is_series = is_series
        """A line for each model has to be enough."""
        self.shows_bars = not quiet

    def model(self, name: str, number: int, n_models: int) -> None:
        """Say which model is being loaded."""
        if not self.quiet:
            place = f" ({number + 1} of {n_models})" if self.is_series else ""
            click.echo(f"loading {name}{place}", err=True)

    def reused(self, name: str, run: Run) -> None:
        """Say that a run was finished before, and what of it could not be measured."""
        if not self.quiet:
            click.echo(f"{name} is finished already, in {run.folder}", err=True)
        for record in run.result.evaluations:
            if record.status != "ok":
                self.evaluation(record)
                click.echo(f"clipbench: to measure it again, move {run.folder} away", err=True)

    def model_failed(self, name: str, error: ClipbenchError, data_problems: Sequence[str]) -> None:
        """Say why a model could not be measured, unless that ends the command and is said anyway."""
        for line in data_problems:
            click.echo(f"clipbench: {line}", err=True)
        if self.several:
            click.echo(f"clipbench: {name}: {error}", err=True)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Print the numbers of an evaluation, or why there are none."""
        if record.status != "ok":
            click.echo(f"clipbench: {record.name} {record.status}: {record.reason}", err=True)
        elif not self.quiet and not self.as_json and not self.is_series:
            click.echo("\n".join(evaluation_lines(record)))

    def end(self, runs: Sequence[Run]) -> None:
        """Print where the results are, or the results themselves."""
        if self.as_json:
            results = [asdict(run.result) for run in runs]
            click.echo(json.dumps(results if self.several else results[0], allow_nan=False, ensure_ascii=False))
        elif self.quiet:
            return
        elif self.is_series:
            from clipbench.cli.telling import table

            click.echo("\n".join(table(runs)))
            click.echo(f"results in {runs[0].folder.parent}")
        else:
            for run in runs:
                click.echo(f"results in {run.folder}")


def evaluation_lines(record: EvaluationRecord, *, is_precomputed: bool = True) -> list[str]:
    """Return the table of an evaluation: a heading, then a line a metric, in columns.

    Args:
        record: one that is ok.
        is_precomputed: what it means when the record counts no encoded images: that the vectors were there before, or
            that it was not counted.
    """
    encoded = _encoded(record) or ("precomputed vectors" if is_precomputed else None)
    facts = [f"{record.dataset.n_samples:,} images", encoded, duration(sum(record.seconds.values()))]
    heading = f"{record.name}  {', '.join(filter(None, facts))}"
    return [heading, *metric_lines(record.metrics), *(f"  note: {note}" for note in record.notes)]


def metric_lines(metrics: Mapping[str, Metric]) -> list[str]:
    """Return an indented line for each metric, in columns; below them the undefined ones, those of one reason together."""
    defined = {name: metric for name, metric in metrics.items() if metric.value is not None}
    reasons: dict[str, list[str]] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            reasons.setdefault(str(metric.reason), []).append(name)
    return [
        *map(
            ascii_signs,
            _columns([(name, *metric_cells(metric), published_cell(metric)) for name, metric in defined.items()]),
        ),
        *(f"  undefined: {', '.join(names)}: {reason}" for reason, names in reasons.items()),
    ]


def metric_cells(metric: Metric) -> tuple[str, str, str, str]:
    """Return value, interval, chance and n of a metric that is defined.

    Example:
        >>> metric_cells(Metric(value=0.5, low=0.4, high=0.6, n=90, chance=0.1))
        ('50.0 %', '[40.0, 60.0]', 'chance 10.0 %', 'n 90')
    """
    bounds = "" if metric.low is None else interval(metric)
    chance = "" if metric.chance is None else f"chance {quantity(metric.chance, metric.unit)}"
    return quantity(metric.value, metric.unit), bounds, chance, f"n {count(metric.n)}"


def published_cell(metric: Metric) -> str:
    """Return what was published for the same model, data and protocol, and whether the interval holds it.

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


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return indented lines with the cells of each column below each other, numbers to the right."""
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(5)]
    return [
        f"  {name:{widths[0]}}  {value:>{widths[1]}}  {interval:<{widths[2]}}  {chance:<{widths[3]}}  {n:<{widths[4]}}"
        f"  {published}".rstrip()
        for name, value, interval, chance, n, published in rows
    ]


def _encoded(record: EvaluationRecord) -> str | None:
    counts = record.encoded
    if not counts.keys() >= {"images", "stored_images", "texts", "stored_texts"}:
        return None
    images = f"encoded {counts['images']:,} images ({counts['stored_images']:,} stored)"
    return f"{images} and {counts['texts']:,} texts ({counts['stored_texts']:,} stored)"
