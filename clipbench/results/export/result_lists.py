"""``trec`` and ``rankings``: the result lists that a run keeps, for other tools and for ``--model rankings:FILE``.

A TREC run has an order, whether scores are equal or not. JSON Lines have scores too, and equal scores stay a tie when
the file is read, so that the metrics of the lists equal the metrics of the run.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from clipbench.errors import UsageError, model_option, option
from clipbench.metrics.result_lists import MOST_TIED
from clipbench.results.export.formats import ExportFormat, ListChoice, RenderedExport
from clipbench.results.numbers import count, counted, listed
from clipbench.results.record import EvaluationRecord, finished_evaluations
from clipbench.results.run import Run
from clipbench.untrusted.reading import shown

if TYPE_CHECKING:
    import pandas

Form = Literal["trec", "rankings"]
QUERIES = {"text": "captions", "image": "images", "query": "queries"}
"""The queries of the lists of a side."""


@dataclass(frozen=True)
class KeptLists:
    """The result lists of one evaluation whose queries are on one side."""

    run: Run
    record: EvaluationRecord
    side: str
    query: np.ndarray
    """Name of the query of each result."""
    result: np.ndarray
    score: np.ndarray
    position: np.ndarray
    """Place of each result in its list, from 0."""
    depth: int
    """Number of results that a list may have."""

    @property
    def title(self) -> str:
        return f"lists of {QUERIES.get(self.side, self.side)} of {self.record.name}"


class WrittenLists(NamedTuple):
    """Result lists as they are written."""

    content: bytes
    notes: Sequence[str]


def render_trec(runs: Sequence[Run], choice: ListChoice) -> RenderedExport:
    """Return result lists as TREC runs: ``QUERY Q0 RESULT RANK SCORE TAG``.

    Raises:
        UsageError: the runs keep no lists or shorter ones, or one file cannot hold all of them.
    """
    return _render(runs, choice, "trec")


def render_rankings(runs: Sequence[Run], choice: ListChoice) -> RenderedExport:
    """Return result lists as JSON Lines with scores; errors are the same as for ``render_trec``."""
    return _render(runs, choice, "rankings")


def _render(runs: Sequence[Run], choice: ListChoice, form: Form) -> RenderedExport:
    all_lists = [lists for run in runs for lists in _lists_of(run, choice)]
    if not choice.is_folder and len(all_lists) > 1:
        sides = {lists.side for lists in all_lists}
        one_side = f"choose one with {option('direction', 'text')} or {option('direction', 'image')}, or "
        raise UsageError(
            f"one file cannot hold {listed([lists.title for lists in all_lists])}:"
            f" {one_side if len(sides) == len(all_lists) else ''}give a folder, -o FOLDER"
        )
    write = _as_trec if form == "trec" else _as_json_lines
    parts: dict[str, bytes] = {}
    notes: list[str] = []
    for lists in all_lists:
        written = write(lists, _depth(lists, choice))
        parts[_file_name(lists, runs, SUFFIX[form])] = written.content
        notes += [f"{lists.title}: {note}" for note in written.notes]
    return RenderedExport(content=b"".join(parts.values()), parts=parts, notes=notes)


def _lists_of(run: Run, choice: ListChoice) -> Iterator[KeptLists]:
    """Yield the lists that a run keeps, by evaluation and side.

    Raises:
        UsageError: there are none, none of the side, or the depth is larger than what is kept.
    """
    records = finished_evaluations(run.result)
    kept = [record for record in records if "lists" in record.files]
    if not kept:
        has_retrieval = any(record.task == "retrieval" for record in records)
        depth = choice.depth or 100
        fix = (
            f"run its command again with {option('keep_lists', depth)} and another {option('out')}: stored vectors are"
            " not encoded again"
            if has_retrieval
            else f"measure retrieval with {option('keep_lists', depth)}"
        )
        raise UsageError(f"run {run.folder} keeps no result lists: {fix}")
    n_yielded = 0
    for record in kept:
        table = run.result_lists(record)
        for side in dict.fromkeys(table["side"].tolist()):
            if choice.side in (None, side):
                n_yielded += 1
                lists = _kept_lists(run, record, side, table[table["side"] == side])
                _check_depth(lists, choice)
                yield lists
    if not n_yielded:
        raise UsageError(f"run {run.folder} has no lists with {option('direction', choice.side)}: remove it")


def _kept_lists(run: Run, record: EvaluationRecord, side: str, table: "pandas.DataFrame") -> KeptLists:
    query = table["query"].to_numpy()
    is_first = np.ones(len(query), bool)
    is_first[1:] = query[1:] != query[:-1]
    starts = np.flatnonzero(is_first)
    position = np.arange(len(query)) - np.repeat(starts, np.diff(starts, append=len(query)))
    return KeptLists(
        run=run,
        record=record,
        side=side,
        query=query,
        result=table["result"].to_numpy(),
        score=table["score"].to_numpy(float),
        position=position,
        depth=int(table["depth"].max()),
    )


def _check_depth(lists: KeptLists, choice: ListChoice) -> None:
    """Raise UsageError if more results are asked for than the run keeps, and it does not keep all."""
    kept = lists.depth
    longest = int(lists.position.max(initial=-1)) + 1
    if choice.depth is None or choice.depth <= kept or longest < kept:
        return
    again = f"run its command again with {option('keep_lists', choice.depth)}"
    if lists.run.result.model.get("family") == "rankings":
        again = f"its file has no more, so remove {option('depth', choice.depth)}"
    raise UsageError(
        f"{option('depth', choice.depth)}: run {lists.run.folder} keeps {counted(kept, 'result')} per query: {again}"
    )


def _depth(lists: KeptLists, choice: ListChoice) -> int:
    return lists.depth if choice.depth is None else choice.depth


def _file_name(lists: KeptLists, runs: Sequence[Run], suffix: str) -> str:
    stem = Path(lists.record.files["lists"]).stem.removesuffix("-lists")
    run = f"{lists.run.folder.resolve().name}-" if len(runs) > 1 else ""
    return f"{run}{stem}-{lists.side}{suffix}"


def _as_trec(lists: KeptLists, depth: int) -> WrittenLists:
    is_kept = lists.position < depth
    query, result, score, position = (
        column[is_kept] for column in (lists.query, lists.result, lists.score, lists.position)
    )
    for name in (*dict.fromkeys(query.tolist()), *dict.fromkeys(result.tolist())):
        if not name or name.split() != [name]:
            raise UsageError(
                f"{lists.title}: a TREC run cannot hold the name {shown(name)}, which has spaces: use"
                f" {option('to', 'rankings')}"
            )
    tag = "-".join(str(lists.run.result.model.get("id") or "clipbench").split())
    rows = zip(query.tolist(), result.tolist(), position.tolist(), score.tolist(), strict=True)
    lines = [f"{name} Q0 {item} {rank + 1} {points!r} {tag}\n" for name, item, rank, points in rows]
    n_tied = len(_tied_queries(query, score))
    notes = []
    if n_tied:
        lists_with = f"{counted(n_tied, 'list')} {'has' if n_tied == 1 else 'have'}"
        notes.append(
            f"{lists_with} equal scores, whose order here is the order of the data: {option('to', 'rankings')} keeps"
            " the tie"
        )
    return WrittenLists("".join(lines).encode(), notes)


def _as_json_lines(lists: KeptLists, depth: int) -> WrittenLists:
    # Results that score as the one at the depth does stay: which of them come first is arbitrary.
    query, score, position = lists.query, lists.score, lists.position
    starts = np.flatnonzero(position == 0)
    last = starts + np.minimum(np.diff(starts, append=len(query)), depth) - 1
    list_of = np.cumsum(position == 0) - 1
    is_kept = (position < depth) | (score == score[last[list_of]])
    rows = zip(query[is_kept].tolist(), lists.result[is_kept].tolist(), score[is_kept].tolist(), strict=True)
    lines = []
    for name, group in groupby(rows, key=lambda row: row[0]):
        results, scores = zip(*((result, score) for _, result, score in group), strict=True)
        line = {"query": name, "results": results, "scores": scores}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    n_longer = len(set(query[is_kept & (position >= depth)].tolist()))
    notes = []
    if n_longer:
        lists_are = f"{counted(n_longer, 'list')} {'is' if n_longer == 1 else 'are'}"
        notes.append(
            f"{lists_are} longer than {count(depth)} results, because results that tie with number {count(depth)} are"
            f" kept: read the file with {model_option(depth=depth)}"
        )
    n_cut = int((np.diff(starts, append=len(query)) >= lists.depth + MOST_TIED).sum())
    if n_cut:
        notes.append(
            f"{counted(n_cut, 'list')} {'is' if n_cut == 1 else 'are'} cut off between results with equal scores, so"
            " metrics of the file differ from metrics of the run"
        )
    return WrittenLists("".join(lines).encode(), notes)


def _tied_queries(query: np.ndarray, score: np.ndarray) -> set[str]:
    """Return the queries with two results of one score."""
    is_tied = (query[1:] == query[:-1]) & (score[1:] == score[:-1])
    return set(query[1:][is_tied].tolist())


def _whole(form: Form) -> ExportFormat:
    render_lists = render_trec if form == "trec" else render_rankings

    def render(runs: Sequence[Run]) -> RenderedExport:
        return render_lists(runs, ListChoice())

    suffix = SUFFIX[form]
    return ExportFormat(
        suffixes=(suffix, f"{suffix}.gz"), render=render, render_lists=render_lists, takes_folder=True, has_slices=True
    )


SUFFIX = {"trec": ".trec", "rankings": ".jsonl"}
TREC = _whole("trec")
RANKINGS = _whole("rankings")
