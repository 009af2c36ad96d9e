"""Many runs as one table: which could be the best, a row per run, and what is missing from them."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from clipbench.cli.tables import WIDTH, averages_by_title
from clipbench.comparison.best_models import best_lines, best_models, rank_runs
from clipbench.comparison.model_ranks import MEASURED, NO_DIRECTION, MetricRanks, mean_ranks
from clipbench.results.grouping import group_values
from clipbench.results.matching import is_one_training
from clipbench.results.metric_name import MetricName
from clipbench.results.numbers import counted, interval, listed, metric_value
from clipbench.results.opening import opening_lines
from clipbench.results.provenance import missing_reason
from clipbench.results.record import Metric
from clipbench.results.run import Run, labels
from clipbench.results.run_names import short_labels
from clipbench.results.short_names import shorten_names
from clipbench.results.table import Cell, Row, Table, as_text, columns
from clipbench.results.table.text import n_columns
from clipbench.results.titles import first_headline

GAP = 2
"""Spaces between two columns."""
MAX_EVALUATION = 32
"""Characters of an evaluation's name over its column."""
RANK_LEGEND = "rank: the ranks that paired tests of all pairs allow, with 95 % for all runs at once"
MOST_FACTS = 5
"""Lines on warnings, on missing evaluations and on what has no ranks, each."""


class RunColumn(NamedTuple):
    """The values of all runs for the metric that stands for an evaluation."""

    heading: str
    metric: str
    values: list[Metric | None]
    """One per run, None where the run lacks it."""
    ranks: Sequence[str] = ()
    """Ranks that are possible for each run, such as 2-4. Empty if the metric has no ranks."""
    order: Sequence[int] = ()
    """Positions of the runs, the best first. Empty if the metric has no ranks."""

    def width(self, *, has_intervals: bool) -> int:
        """Return the characters that the column takes, with its ranks and the gap before it."""
        cells = [_value_cell(metric, has_interval=has_intervals).plain for metric in self.values]
        value = max(n_columns(text) for text in (self.heading, self.metric, *cells))
        return GAP + value + (GAP + max(map(len, ("rank", *self.ranks))) if self.ranks else 0)


def many_runs_lines(runs: Sequence[Run], width: int | None = None) -> list[str]:
    """Return which of several runs could be the best, and a table with a row for each.

    The table has the first headline metric of each evaluation, as far as there is room for it. Its rows are in the
    order of the first evaluation that has ranks, the best run first, or as given if the runs are of one training.

    Args:
        width: columns of the terminal, or None for ``WIDTH``.
    """
    names = short_labels(labels(runs))
    ranked = rank_runs(runs, is_first_only=True)
    best = best_models(ranked.ranks, mean_ranks(ranked.ranks, len(runs)))
    evaluations = _evaluation_columns(runs, ranked.ranks)
    order = next((column.order for column in evaluations if column.order), [])
    rows = list(range(len(runs)))
    if not is_one_training(runs):
        rows = [*order, *(position for position in rows if position not in order)]
    table = _table_lines(names, evaluations, rows, width or WIDTH)
    opening = best_lines(best, names)
    reasons: dict[str, list[str]] = {}
    for name, reason in ranked.reasons.items():
        if reason != NO_DIRECTION and not reason.endswith(MEASURED):
            reasons.setdefault(reason, []).append(name)
    unranked = [f"no ranks in {listed(evaluations)}: {reason}" for reason, evaluations in reasons.items()]
    if opening and table:
        opening = [*opening, ""]
    return [*opening, *table, *unranked[:MOST_FACTS]]


def many_runs_facts(runs: Sequence[Run]) -> list[str]:
    """Return the warnings of the runs, what is missing from them, and how to see all of one run."""
    names = short_labels(labels(runs))
    warnings: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    for name, run in zip(names, runs, strict=True):
        for finding in run.result.preflight or ():
            warnings.append((f"warning: {finding.check}: {finding.seen}. Fix: {finding.fix}", name))
        warnings += [(sentence, name) for sentence in opening_lines(run.result.evaluations)]
        for record in run.result.evaluations:
            if record.status != "ok":
                missing.append((f"{record.name} {missing_reason(record)}", name))
    lines = [*_grouped_lines(warnings, len(runs)), *_grouped_lines(missing, len(runs))]
    example = shlex.quote(str(runs[0].folder))
    return [*lines, f"all of one run: clipbench show {example} --all"]


def _grouped_lines(facts: Sequence[tuple[str, str]], n_runs: int) -> Iterator[str]:
    """Yield each fact once, with the runs for which it holds."""
    grouped = group_values(facts)
    for fact, names in list(grouped.items())[:MOST_FACTS]:
        distinct = list(dict.fromkeys(names))
        whose = "all runs"
        if len(distinct) < n_runs:
            more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
            whose = f"{', '.join(distinct[:3])}{more}"
        yield f"{fact} ({whose})"
    if len(grouped) > MOST_FACTS:
        yield f"... and {counted(len(grouped) - MOST_FACTS, 'more line')} like these: --all"


def _evaluation_columns(runs: Sequence[Run], ranks: Sequence[MetricRanks]) -> list[RunColumn]:
    ranks_by_evaluation = {metric_ranks.record.name: metric_ranks for metric_ranks in ranks}
    metrics_by_run = [run.named_metrics for run in runs]
    names = [
        MetricName(evaluation, metric) for evaluation, metric in _headline_names(runs, ranks_by_evaluation).items()
    ]
    headings = shorten_names([name.evaluation for name in names], MAX_EVALUATION)
    table_columns = []
    for name, heading in zip(names, headings, strict=True):
        values = [metrics.get(name) for metrics in metrics_by_run]
        metric_ranks = ranks_by_evaluation.get(name.evaluation)
        if metric_ranks is None:
            table_columns.append(RunColumn(heading, name.metric, values))
            continue
        models = metric_ranks.ranked()
        by_position = {model.position: model.ranks for model in models}
        possible = [by_position.get(position, "") for position in range(len(runs))]
        order = [model.position for model in models]
        table_columns.append(RunColumn(heading, name.metric, values, possible, order))
    return [*_average_columns(runs), *table_columns]


def _average_columns(runs: Sequence[Run]) -> Iterator[RunColumn]:
    """Yield the averages of the suites."""
    for title, averages in averages_by_title(runs).items():
        yield RunColumn(title, "average", averages)


def _headline_names(runs: Sequence[Run], ranks: Mapping[str, MetricRanks]) -> dict[str, str]:
    """Return the metric that stands for each evaluation: the one that has ranks, or the first headline."""
    names: dict[str, str] = {}
    for run in runs:
        for record in run.result.evaluations:
            if record.status == "ok" and record.metrics and record.name not in names:
                ranked = ranks.get(record.name)
                names[record.name] = first_headline(record.metrics) if ranked is None else ranked.name
    return names


def _table_lines(names: Sequence[str], evaluations: Sequence[RunColumn], rows: Sequence[int], width: int) -> list[str]:
    """Return the table, with intervals if all evaluations have room for them, and what has no room."""
    if not evaluations:
        return []
    room = width - max(map(n_columns, (*names, "run")))
    has_intervals = sum(column.width(has_intervals=True) for column in evaluations) <= room
    shown: list[RunColumn] = []
    for column in evaluations:
        room -= column.width(has_intervals=has_intervals)
        if shown and room < 0:
            break
        shown.append(column)
    headings, subheadings, numbers = ["run"], [""], []
    for column in shown:
        headings += [column.heading, *(["rank"] if column.ranks else [])]
        subheadings += [column.metric, *([""] if column.ranks else [])]
    body: list[Row] = [subheadings]
    for position in rows:
        row: list[Cell | str] = [names[position]]
        for column in shown:
            row.append(_value_cell(column.values[position], has_interval=has_intervals))
            row += [column.ranks[position]] if column.ranks else []
        body.append(row)
    numbers = headings[1:]
    table = Table(columns=columns(headings[0], numbers=numbers), rows=body)
    lines = as_text(table, indent="", width=width).splitlines()
    legend = ["in brackets: 95 % interval"] if has_intervals else []
    legend += [RANK_LEGEND] if any(column.ranks for column in shown) else []
    lines += ["; ".join(legend)] if legend else []
    if len(shown) < len(evaluations):
        n_more = counted(len(evaluations) - len(shown), "more evaluation")
        lines.append(f"no room for {n_more}: clipbench report, or clipbench export --to board")
    return lines


def _value_cell(metric: Metric | None, *, has_interval: bool) -> Cell:
    bounds = interval(metric) if has_interval and metric is not None and metric.low is not None else ""
    return Cell(metric_value(metric), aside=bounds)
