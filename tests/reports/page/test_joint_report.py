"""The report of several models: their figures together, once for each label set, and what cannot be joined by model."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.results.run import Run
from clipbench_reports.page.groups import group_evaluations
from clipbench_reports.page.report import write_report
from clipbench_reports.page.task_results import CLOUD_SHARES, n_shares
from tests.reports.conftest import MakeRun


def sections(folder: Path, *runs: Run) -> dict[str, str]:
    """Write the report of some runs, and return its sections by their anchors."""
    write_report(runs, folder / "report.html")
    body = (folder / "report.html").read_text(encoding="utf-8").partition("<body>")[2]
    parts = body.replace("\N{NO-BREAK SPACE}", " ").split('<section aria-labelledby="')[1:]
    return {part.partition('"')[0]: part for part in parts}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, parts: SimpleNamespace) -> list[Run]:
    """Return the runs of two models."""
    folder = tmp_path_factory.mktemp("models")
    models = {name: {**parts.model, "ref": f"models/{name}"} for name in ("base", "tuned")}
    written_runs = []
    for k, (name, model) in enumerate(models.items()):
        rng = np.random.default_rng(k)
        result = {
            "zero-shot@scenes": parts.zero_shot(rng, parts.classes, n=200, skill=1 - k / 2),
            "retrieval@scenes": parts.retrieval(rng, n=40, skill=1 - k / 2),
            "modality-gap@scenes": parts.modality_gap(rng, n=60),
        }
        written_runs.append(parts.write_run(folder / name, result, model=model))
    return written_runs


def by_model(section: str) -> list[str]:
    """Return what is of all models, then what is of each."""
    return re.split(r'<div data-model="\d">\s*<details', section)


@pytest.fixture
def small(make_run: MakeRun, parts: SimpleNamespace) -> list[Run]:
    """Return the runs of two models that were asked one thing of few samples."""
    result = {"retrieval@scenes": parts.retrieval(np.random.default_rng(0), n=30)}
    return [make_run(result, name=name, model={**parts.model, "ref": name}) for name in ("base", "tuned")]


def changed(run: Run, **changes: Any) -> Run:
    """Return a run with its one evaluation changed."""
    (result,) = run.result.evaluations
    return replace(run, result=replace(run.result, evaluations=[replace(result, **changes)]))


def test_what_only_some_models_have_is_named(small: list[Run], tmp_path: Path) -> None:
    section = sections(tmp_path, small[0], changed(small[1], curves={}))["retrieval"]
    assert "Not drawn for <bdi>tuned</bdi>: <bdi>no curves for “recall”: the run kept none</bdi>." in section
    together = by_model(section)[0]
    assert together.count("<figure") == 2 and ">base</text>" in together
    neither = sections(tmp_path, *(changed(run, curves={}) for run in small))["retrieval"]
    assert "Not drawn: <bdi>no curves for “recall”: the run kept none</bdi>." in neither


def test_models_that_must_not_be_compared_have_figures_of_their_own(small: list[Run], tmp_path: Path) -> None:
    section = sections(tmp_path, small[0], changed(small[1], params={"prompts": "other"}))["retrieval"]
    assert "the models differ in prompts. Each has figures of its own." in section
    together, *models = by_model(section)
    assert "<figure" not in together and [model.count("<figure") for model in models] == [2, 2]


def test_every_label_set_is_drawn_of_all_models_together(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    by_set = {"kind": parts.zero_shot(rng, parts.classes, n=60), "shape": parts.zero_shot(rng, parts.classes, n=60)}
    both = [make_run({"zero-shot@mine": parts.side_by_side(by_set)}, name=name) for name in "ab"]
    first, second = by_model(sections(tmp_path, *both)["zero-shot"])[0].split('id="zero-shot/sets/')
    assert [figure.count("<figure") for figure in (first, second)] == [3, 3]
    assert "<b><bdi>kind</bdi></b>" in first and "<b>shape</b>" in second


def test_a_label_set_that_only_one_model_has_is_drawn_of_it_and_not_missed_of_the_other(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    by_set = {name: parts.zero_shot(rng, parts.classes, n=60) for name in ("kind", "shape", "size")}
    runs = [
        make_run({"zero-shot@mine": parts.side_by_side({name: by_set[name] for name in names})}, name=f"run {k}")
        for k, names in enumerate((("kind", "shape", "size"), ("kind", "shape")))
    ]
    last = by_model(sections(tmp_path, *runs)["zero-shot"])[0].split('id="zero-shot/sets/')[-1]
    assert "<b>size</b>" in last and last.count("<figure") == 3 and "Not drawn" not in last


def test_the_room_for_images_is_shared_by_all_galleries_and_clouds_of_all_label_sets(
    make_run: MakeRun, parts: SimpleNamespace
) -> None:
    rng = np.random.default_rng(0)
    by_set = {name: parts.zero_shot(rng, parts.classes, n=60) for name in ("kind", "shape")}
    run = make_run({"zero-shot@mine": parts.side_by_side(by_set), "modality-gap@mine": parts.modality_gap(rng, n=60)})
    assert n_shares(group_evaluations([run])) == 2 + CLOUD_SHARES
