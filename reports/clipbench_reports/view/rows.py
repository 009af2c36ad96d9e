"""The list of runs as it is asked for: filtered, sorted, grouped, a page of it, with chosen columns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter

from clipbench_reports.view.index import Column, Row

PAGE = 100
"""Runs of a page."""
N_COLUMNS, MOST_COLUMNS = 4, 60
"""Metrics that are shown where none is chosen, and metrics that one may choose among: the commonest."""


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """The filter, order, grouping and columns that a reader chose for the list."""

    words: str = ""
    """All of them stand in the model, the folder, a task or the data of a run."""
    sort: str = "created"
    """``created``, ``model``, ``place`` or the full name of a metric."""
    is_rising: bool = False
    is_grouped: bool = False
    """By model."""
    columns: Sequence[str] = ()
    page: int = 1


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A page of the list."""

    rows: Sequence[Row]
    counts: Counter[str]
    """Runs that pass the filter, by model."""
    n: int
    n_pages: int
    page: int
    columns: dict[str, Column]
    choices: dict[str, Column]


def column_choices(rows: Sequence[Row]) -> dict[str, Column]:
    """Return the metrics of a list by their full names, the commonest first."""
    counts, columns = Counter[str](), dict[str, Column]()
    for row in rows:
        counts.update(row.columns.keys())
        columns |= row.columns
    return {name: columns[name] for name, _ in counts.most_common()}


def listed(rows: Sequence[Row], choices: dict[str, Column], asked: RunChoice) -> Listed:
    """Return a page of the runs that pass the filter; those without what is sorted by come last.

    Args:
        rows: all runs.
        choices: their metrics.
        asked: the filter, the order and the page.
    """
    words = asked.words.casefold().split()
    kept = [row for row in rows if all(word in row.text for word in words)] if words else rows
    keyed = [(_key(row, asked.sort), row.place, row) for row in kept]
    with_key = sorted(
        (each for each in keyed if each[0] is not None), key=itemgetter(0, 1), reverse=not asked.is_rising
    )
    kept = [row for _, _, row in (*with_key, *(each for each in keyed if each[0] is None))]
    if asked.is_grouped:
        kept.sort(key=lambda row: (bool(row.fault), row.model.casefold()))
    columns = [name for name in asked.columns if name in choices] or list(choices)[:N_COLUMNS]
    n_pages = max(1, -(-len(kept) // PAGE))
    page = min(max(1, asked.page), n_pages)
    return Listed(
        rows=kept[PAGE * (page - 1) : PAGE * page],
        counts=Counter(row.model for row in kept) if asked.is_grouped else Counter(),
        n=len(kept),
        n_pages=n_pages,
        page=page,
        columns={name: choices[name] for name in columns},
        choices=dict(islice(choices.items(), MOST_COLUMNS)),
    )


def _key(row: Row, sort: str) -> str | float | None:
    if sort in row.columns:
        return row.columns[sort].metric.value
    return {"created": row.created, "model": row.model.casefold(), "place": row.place}.get(sort) or None
