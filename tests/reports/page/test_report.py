"""The report as a reader, a screen reader and a browser find it."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipbench.errors import UsageError
from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench_reports.page.report import write_report
from tests.reports.conftest import MakeRun
from tests.reports.page.html_tree import Node, parse


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Node]:
    """Return a function that writes the report of some runs and parses it."""

    def make(*runs: Run) -> Node:
        write_report(runs, tmp_path / "report.html")
        return parse((tmp_path / "report.html").read_text(encoding="utf-8"))

    return make


Report = Callable[..., Node]


@pytest.fixture(scope="module")
def run(parts: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the standard evaluations, which nobody changes."""
    written_run: Run = parts.write_run(tmp_path_factory.mktemp("standard") / "run", parts.standard())
    return written_run


@pytest.fixture(scope="module")
def page(run: Run) -> Node:
    """The report of the run."""
    write_report([run], run.folder.parent / "one.html")
    return parse((run.folder.parent / "one.html").read_text(encoding="utf-8"))


def test_nothing_is_asked_of_any_network(page: Node) -> None:
    assert not page.all("iframe", "object", "embed", "base", "form")
    (script,) = page.all("script")
    assert not script.attributes
    for node in page.all():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), f"<{node.tag} {name}>"
            if name in {"src", "href", "srcset", "action", "data", "xlink:href"}:
                assert value.startswith(("#", "data:")), f"<{node.tag} {name}={value}>"
    style = page.all("style")[0].children[0]
    assert isinstance(style, str) and not re.search(r"url\(|@import", style)
    policy = next(node for node in page.all("meta") if node.attributes.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(str(script.children[0]).encode()).digest()).decode()
    assert policy.attributes["content"] == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    )


def test_baseline_characters_and_lone_surrogates_do_not_reach_the_file(make_run: MakeRun, report: Report) -> None:
    run = make_run({})
    damaged = replace(run.result, model={"ref": "a\x00b\x1bc\ud800d"})
    page = report(Run(run.folder, damaged))
    assert page.all("h1")[0].text == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}d"


def test_no_number_is_ever_nan(make_run: MakeRun, report: Report, parts: SimpleNamespace) -> None:
    task_parts = parts.zero_shot(np.random.default_rng(0), parts.classes, n=50)
    task_parts["samples"]["confidence"][:5] = np.nan
    task_parts["metrics"]["acc5"] = Metric(value=None, reason="of only 3 classes")
    holed = Curve(x=[0.1, 0.5, 0.9], y=[0.2, float("nan"), 0.8])
    task_parts |= {"curves": {**task_parts["curves"], "reliability": holed, "own": holed}, "params": {}}
    run = make_run({"zero-shot@scenes": {**task_parts, "curves": {}}})
    run.result.evaluations[0] = replace(run.result.evaluations[0], curves=task_parts["curves"])
    page = report(run)
    words = page.text + " ".join(value for node in page.all("main")[0].all() for value in node.attributes.values())
    assert not re.search(r"\b(nan|none|null|inf)\b", words, re.IGNORECASE)
    assert "Undefined: of only 3 classes" in page.text
    assert len(page.all("figure")) == 4


def test_a_long_series_leaves_figures_to_the_single_reports_and_says_so(
    make_run: MakeRun, report: Report, parts: SimpleNamespace
) -> None:
    rng = np.random.default_rng(0)
    measured = (
        parts.zero_shot(rng, parts.classes, n=20),
        parts.retrieval(rng, n=8),
        {"metrics": {"x": Metric(value=1.0)}},
    )
    evaluations = {
        f"{task}@mine": result for task, result in zip(("zero-shot", "retrieval", "own"), measured, strict=True)
    }
    series = [make_run(evaluations, name=f"epoch-{k}", model={"ref": f"epoch {k}"}) for k in range(17)]
    assert report(*series[:16]).all("figure")
    page = report(*series)
    assert not page.all("figure")
    assert "Figures and tables of single models are left out" in page.text


def test_equal_runs_give_equal_bytes(make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path) -> None:
    run = make_run({"retrieval@scenes": parts.retrieval(np.random.default_rng(0), n=30)})
    for name in ("a.html", "b.html"):
        write_report([run], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_thousand_classes_stay_far_under_two_megabytes(
    make_run: MakeRun, parts: SimpleNamespace, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"a rather long name of class {k}" for k in range(1000))
    evaluations = {
        "zero-shot@imagenet": parts.zero_shot(rng, names, n=4000),
        "retrieval@coco": parts.retrieval(rng, n=1000),
        "modality-gap@coco": parts.modality_gap(rng, n=2000),
    }
    write_report([make_run(evaluations)], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 500_000


def test_of_a_table_that_is_missing_its_section_says_so_and_the_rest_is_there(
    make_run: MakeRun, report: Report
) -> None:
    run = make_run()
    n_figures = len(report(run).all("figure"))
    (run.folder / run.result.evaluations[0].files["samples"]).unlink()
    page = report(run)
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("lacks 0.parquet: the run is damaged, make it again") == 1
    assert 0 < len(page.all("figure")) < n_figures
    assert all(name in text for name in ("acc1", "image_retrieval_recall@1", "gap"))


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a report needs at least one run: got none"):
        write_report([], tmp_path / "report.html")


def test_a_run_in_which_nothing_could_be_measured_still_has_a_report(make_run: MakeRun, report: Report) -> None:
    missing = {"zero-shot@imagenet": {"status": "unavailable", "reason": "imagenet is gated"}}
    page = report(make_run(missing, model={"ref": "tiny"}))
    assert "imagenet is gated" in page.all("section")[0].text
    assert "not known" in page.text


def checkpoints(make_run: MakeRun, parts: SimpleNamespace, steps: tuple[int | None, ...]) -> list[Run]:
    """Return the runs of a training's checkpoints, with a gap that closes and a recall that grows."""
    runs = []
    for index, step in enumerate(steps):
        gap = {"metrics": {"gap": Metric(value=1 - index / 4, n=9, unit="distance")}}
        result = {"metrics": {"image_retrieval_recall@1": parts.fraction(index / 4, 9, chance=1 / 9)}}
        model = {**parts.model, "ref": f"hf:mine/checkpoint-{index}", "fingerprint": f"w{index}", "step": step}
        runs.append(make_run({"modality-gap@scenes": gap, "retrieval@scenes": result}, name=f"at{index}", model=model))
    return runs


def test_the_runs_of_one_training_are_told_through_the_training(
    make_run: MakeRun, report: Report, parts: SimpleNamespace
) -> None:
    page = report(*checkpoints(make_run, parts, (0, 100, 200)))
    section = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "training")
    assert section.all("h2")[0].text == "Through the training"
    assert "The gap at step 0 and at step 200: 1.0000 and 0.5000, text-to-image R@1 0.0 and 50.0 %." in (
        section.text.replace("\N{NO-BREAK SPACE}", " ")
    )
    images = [node for node in section.all("svg") if node.attributes.get("role") == "img"]
    assert len(images) == 4  # the first headline of each evaluation, then the track; for a narrow screen too
    for image in images[:2]:
        assert "Modality gap: gap" in image.text
        assert "Retrieval: image retrieval recall@1" in " ".join(node.text for node in image.all("text"))
    assert "Gap, cosines and recall" in section.all("summary")[0].text
    for anchor in ("modality-gap", "retrieval"):
        task = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == anchor)
        (fold,) = [node for node in task.all("div") if node.attributes.get("id") == f"{anchor}/by-model"]
        assert len(fold.all("details")) == 3  # a checkpoint each, in one fold
    sources = next(node for node in page.all("section") if node.attributes["aria-labelledby"] == "provenance")
    assert sources.text.count("To cite the data") == 1
    assert len([node for fold in sources.all("details") for node in fold.all("pre")]) == 2  # of three commands
