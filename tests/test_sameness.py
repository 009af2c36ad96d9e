"""One rule says whether two runs hold the same evaluation: compare, report, reuse, history and export agree on it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pandas
import pytest

from clipbench.comparison.compare_runs import compare
from clipbench.errors import NotComparable, UsageError
from clipbench.evaluation import output_folders
from clipbench.evaluation.plan import Request, RunOptions
from clipbench.results.export.tables import tables
from clipbench.results.matching import BY_POSITION, EQUAL_SAMPLES, ON_TRUST, OTHER_ORDER, match
from clipbench.results.record import DatasetRecord, EvaluationRecord, Metric
from clipbench.results.run import Run, read_run, write_result
from clipbench.training.history import history_of_runs
from clipbench_reports.page.groups import comparison_notes, group_evaluations, uncompared
from tests.made import record_of, result_of

BASE = record_of(
    data=DatasetRecord(
        id="birds",
        revision="r1",
        split="test",
        n_samples=4,
        fingerprint="f1",
        unordered_fingerprint="u1",
        has_ids=True,
    ),
    params={"ks": [1, 5], "prompts": "own"},
    metrics={"acc1": Metric(value=0.5, low=0.1, high=0.9, n=4, column="hit", higher_is_better=True)},
)


class Case(NamedTuple):
    """Changes of the second record against the first, and what must be said of the two."""

    record: Mapping[str, Any]
    data: Mapping[str, Any]
    difference: str = ""
    """Name of the fact that forbids holding the two against each other; empty where they are the same."""
    note: str = ""
    both: Mapping[str, Any] = {}
    """Changes of both data sets."""


CASES = {
    "the same": Case({}, {}),
    "parameters read and just made": Case({"params": {"prompts": "own", "ks": (1, 5)}}, {}),
    "another task version": Case({"task_version": 2}, {}, "task version"),
    "other parameters": Case({"params": {"ks": [1], "prompts": "own"}}, {}, "ks"),
    "another revision alone": Case({}, {"revision": "r2"}, note=f"data revision r1 .*, r2 .*; {EQUAL_SAMPLES}"),
    "another split alone": Case({}, {"split": "val"}, note=f"data split test .*, val .*; {EQUAL_SAMPLES}"),
    "another count alone": Case({}, {"n_samples": 5}, note=f"number of samples 4 .*, 5 .*; {EQUAL_SAMPLES}"),
    "other samples": Case({}, {"fingerprint": "f2", "unordered_fingerprint": "u2"}, "contents of the data"),
    "another order": Case({}, {"fingerprint": "f2"}, note=OTHER_ORDER),
    "another order, of an old run": Case(
        {}, {"fingerprint": "f2", "unordered_fingerprint": None, "has_ids": None}, "contents of the data"
    ),
    "another order, without ids": Case(
        {},
        {"fingerprint": "f2"},
        "contents of the data",
        both={"unordered_fingerprint": None, "has_ids": False},
    ),
    "no ids": Case({}, {}, note=BY_POSITION, both={"unordered_fingerprint": None, "has_ids": False}),
    "data that were never read": Case(
        {},
        {
            "fingerprint": None,
            "unordered_fingerprint": None,
            "has_ids": None,
            "n_samples": 0,
            "revision": None,
            "split": None,
        },
        note=ON_TRUST,
    ),
    "a missing fingerprint": Case({}, {"fingerprint": None, "unordered_fingerprint": None}, note=ON_TRUST),
    "a missing fingerprint and another revision": Case(
        {}, {"fingerprint": None, "unordered_fingerprint": None, "revision": "r2"}, "data revision"
    ),
}


def records(case: Case) -> tuple[EvaluationRecord, EvaluationRecord]:
    base = replace(BASE, dataset=replace(BASE.dataset, **case.both))
    return base, replace(base, dataset=replace(base.dataset, **case.data), **case.record)


def written(folder: Path, record: EvaluationRecord, *, step: int, is_reversed: bool = False) -> Run:
    """Return a run on disk of four samples, of which every second is a hit."""
    rows = pandas.DataFrame({"sample_id": list("abcd"), "hit": [1.0, 0.0, 1.0, 0.0]})
    (folder / "samples").mkdir(parents=True)
    (rows[::-1] if is_reversed else rows).to_parquet(folder / "samples/it.parquet", index=False)
    model = {"ref": f"toy/step-{step}", "fingerprint": f"weights {step}", "step": step}
    record = replace(record, files={"samples": "samples/it.parquet"})
    result = result_of(record, created=f"2026-01-0{step}", model=model)
    write_result(result, folder)
    return read_run(folder)


def by_compare(base: Run, candidate: Run) -> str:
    try:
        return "\n".join(compare(base, candidate).notes)
    except NotComparable as error:
        return f"refused: {error}"


def by_report(base: Run, candidate: Run) -> str:
    (result,) = group_evaluations([base, candidate])
    text = "\n".join(reason for reason, _ in (*uncompared([result], 2), *comparison_notes([result])))
    return f"refused: {text}" if result.same.differences else text


def by_reuse(base: Run, candidate: Run) -> str:
    notes: list[str] = []
    embedder = SimpleNamespace(info=SimpleNamespace(fingerprint=base.result.model["fingerprint"]))
    (record,) = candidate.result.evaluations
    requests = [Request(task=record.task, data=record.dataset.id)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output_folders, "describe", lambda *_: record)
        try:
            output_folders.finished_run(
                cast(Any, embedder),
                requests,
                base.folder,
                options=RunOptions(),
                datasets=cast(Any, None),
                note=notes.append,
            )
        except UsageError as error:
            return f"refused: {error}"
    return "\n".join(notes)


def by_history(base: Run, candidate: Run) -> str:
    try:
        return "\n".join(history_of_runs([base, candidate]).notes)
    except UsageError as error:
        return f"refused: {error}"


def by_export(base: Run, candidate: Run) -> str:
    (table,) = tables([base, candidate])
    text = "\n".join(table.warnings)
    return f"refused: {text}" if "is not comparable" in text else text


USERS: Mapping[str, Callable[[Run, Run], str]] = {
    "compare": by_compare,
    "report": by_report,
    "reuse": by_reuse,
    "history": by_history,
    "export": by_export,
}


@pytest.mark.parametrize("name", CASES)
def test_compare_report_reuse_history_and_export_agree(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    one, other = records(case)
    base = written(tmp_path / "base", one, step=1)
    candidate = written(tmp_path / "candidate", other, step=2, is_reversed="another order" in name)
    for user, ask in USERS.items():
        said = ask(base, candidate)
        assert said.startswith("refused") == bool(case.difference), (user, said)
        assert case.difference in said, (user, said)
        assert re.search(case.note, said), (user, said)
        if not case.difference and not case.note:
            assert said == "", user


def test_all_facts_that_differ_are_told_with_both_values() -> None:
    one, other = records(
        Case({"task_version": 2}, {"fingerprint": "f2", "unordered_fingerprint": "u2", "split": "val"})
    )
    same = match(one, other)
    assert same.reason == (
        "task version 1 in the one run, 2 in the other; data split test in the one run, val in the other"
    )
    assert same.names == "task version, data split"


def test_samples_in_another_order_are_paired_by_id(tmp_path: Path) -> None:
    one, other = records(CASES["another order"])
    base = written(tmp_path / "base", one, step=1)
    (difference,) = compare(base, written(tmp_path / "candidate", other, step=2, is_reversed=True)).differences
    assert difference.flips is not None
    assert difference.flips.gained == difference.flips.lost == ()
