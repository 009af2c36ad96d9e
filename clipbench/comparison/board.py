"""The board of several models: the rank of each model for each headline metric, as a table, a frame and an export."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from clipbench.comparison.best_models import best_lines, best_models, rank_runs
from clipbench.comparison.compare_runs import repeated_run
from clipbench.comparison.model_ranks import MeanRanks, MetricRanks, RankedModel, mean_ranks
from clipbench.errors import NotComparable, UsageError
from clipbench.results.export.formats import ExportFormat, RenderedExport
from clipbench.results.frames import typed_frame
from clipbench.results.metric_name import evaluation_name
from clipbench.results.numbers import counted, interval, metric_value, number
from clipbench.results.run import Run, labels, runs_of
from clipbench.results.run_names import short_labels
from clipbench.results.table import Row, Table, as_html, as_markdown, as_text, columns
from clipbench.results.titles import full_title
from clipbench.untrusted.terminal import harmless_cell, printable

if TYPE_CHECKING:
    import pandas

FRAME = {
    **dict.fromkeys(("model", "task", "data", "metric"), "str"),
    **dict.fromkeys(("value", "low", "high", "rank"), "float64"),
    **dict.fromkeys(("rank_low", "rank_high"), "Int64"),
    **dict.fromkeys(("unit", "title"), "str"),
}
"""Columns of ``Board.frame`` and their types."""


RANK_RULE = (
    "A rank interval such as 2–4 contains every rank that paired tests of all pairs of models allow. It contains the "
    "true ranks of all models for one metric at once with 95 % confidence."
)
"""The rule, for a reader."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Board:
    """Several models by their ranks."""

    models: Sequence[str]
    metrics: Sequence[MetricRanks]
    mean_ranks: MeanRanks | None
    """None if fewer than two evaluations rank all models."""
    notes: Sequence[str]
    """Evaluations and metrics without ranks, with the reasons."""

    def __repr__(self) -> str:
        """Return the number of models and metrics."""
        return f"<board of {len(self.models)} models by {len(self.metrics)} metrics>"

    def __str__(self) -> str:
        table = self._table()
        lines = [*self.best_lines(), "", *as_text(table).splitlines(), "", *table.warnings]
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{escape(line)}</p>" for line in self.best_lines())
        return f"{sentences}{as_html(self._table())}"

    def best_lines(self) -> list[str]:
        """Return which models could be best, by the rank intervals: a sentence per evaluation, and the mean rank."""
        return best_lines(best_models(self.metrics, self.mean_ranks), short_labels(self.models))

    def markdown(self) -> str:
        """Return the board as a table of GitHub's Markdown."""
        return f"{as_markdown(self._table())}\n"

    def csv(self) -> str:
        """Return ``frame`` as CSV, with undefined numbers empty and no cell that is a formula."""
        return self.frame().map(harmless_cell).to_csv(index=False, lineterminator="\n")

    def frame(self) -> "pandas.DataFrame":
        """Return a row for each metric and model: ``model``, ``task``, ``data``, ``metric``, ``value``, ``low``,
        ``high``, ``rank``, ``rank_low``, ``rank_high``, ``unit`` and ``title``, the best model of a metric first.

        Mean ranks are rows of the task ``(mean rank)``, with the interval in ``low`` and ``high``.
        """
        rows = []
        for facts, models in self._sections():
            for model in models:
                row = {**vars(model.metric), **facts, "model": self.models[model.position]}
                row |= {"rank": model.rank, "rank_low": model.low, "rank_high": model.high}
                rows.append(row)
        return typed_frame(rows, FRAME)

    def _sections(self) -> Iterator[tuple[dict[str, str], list[RankedModel]]]:
        """Yield the facts of each metric with its models, mean ranks first."""
        means = self.mean_ranks.ranked() if self.mean_ranks else ()
        for name, models in zip(("these_tasks", "new_tasks"), means, strict=False):
            yield {"task": "(mean rank)", "data": "", "metric": name}, models
        for ranks in self.metrics:
            record, title = ranks.record, full_title(ranks.name, ranks.metrics[0], ranks.record.subsets)
            facts = {"task": record.task, "data": record.dataset.id, "metric": ranks.name, "title": title}
            yield facts, ranks.ranked()

    def _table(self) -> Table:
        rows: list[Row | str] = []
        for facts, models in self._sections():
            title, data = facts.get("title", models[0].metric.title), facts["data"]
            rows.append(f"{title}, {evaluation_name(facts['task'], data)}" if data else title)
            for model in models:
                ranks = model.ranks or number(model.metric.value, "rank")
                value = "" if model.rank is None else metric_value(model.metric)
                rows.append([self.models[model.position], ranks, value, interval(model.metric)])
        warnings = [RANK_RULE]
        if self.mean_ranks:
            warnings.append(self.mean_ranks.rule)
        return Table(
            title=f"{len(self.models)} models by rank",
            columns=columns("model", numbers=("rank", "value", "95 % interval")),
            rows=rows,
            warnings=[*warnings, *self.notes],
        )


def board(*runs: Run | str | os.PathLike[str]) -> Board:
    """Return the ranks of several models on the same samples, each with the interval that tests allow.

    All pairs of models are tested on their common samples, and corrected together for each headline metric. Over
    evaluations, the mean rank has an interval for these tasks and data, and one for new tasks like these if there are
    at least six.

    Args:
        runs: runs of different models, or their folders, two or more.

    Returns:
        The board: ``frame()``, ``markdown()`` and ``csv()`` have all of it, ``print`` shows it.

    Raises:
        UsageError: there is only one run.
        NotComparable: no two runs have a headline metric on the same samples.
        ClipbenchError: a run is damaged.

    Example:
        >>> import numpy as np
        >>> from clipbench import run, vectors
        >>> x = np.eye(32)
        >>> good, same, bad = (vectors(images=x, texts=y, name=name) for name, y in
        ...     (("good", x), ("same", x), ("bad", np.roll(x, 1, axis=0))))
        >>> ranks = board(*(run(model, "retrieval") for model in (good, same, bad))).frame().head(3)
        >>> ranks[["model", "rank_low", "rank_high"]].values.tolist()
        [['good', 1, 2], ['same', 1, 2], ['bad', 3, 3]]

    See Also:
        compare: two models in detail.
        export: the table of a paper.
    """
    if len(runs) < 2:
        raise UsageError(
            f"a board ranks models: got {counted(len(runs), 'run')}, expected at least 2. Add the runs of other models."
        )
    loaded_runs = runs_of(runs)
    repeated = repeated_run(loaded_runs)
    if repeated is not None:
        raise UsageError(f"{repeated.label} is given twice: a board ranks each run once. Remove one of them")
    metrics, reasons = rank_runs(loaded_runs)
    notes = [f"{name} is not ranked: {reason}" for name, reason in reasons.items()]
    if not metrics:
        raise NotComparable(f"no metric ranks these runs: {notes[0] if notes else 'they have no evaluation in common'}")
    means = mean_ranks(metrics, len(loaded_runs))
    return Board(models=labels(loaded_runs), metrics=metrics, mean_ranks=means, notes=notes)


def _render(write: Callable[[Board], str], runs: Sequence[Run]) -> RenderedExport:
    return RenderedExport(content=write(board(*runs)).encode())


MARKDOWN = ExportFormat(suffixes=(".md",), render=partial(_render, Board.markdown))


CSV = ExportFormat(suffixes=(".csv",), render=partial(_render, Board.csv))
