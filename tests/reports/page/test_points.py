"""Points of a scatter are told by image, caption and name, in the order in which they are drawn."""

from types import SimpleNamespace

import numpy as np

from clipbench_reports.figures import geometry, maps
from clipbench_reports.galleries import PageBudget
from clipbench_reports.page.task_results import CLOUD_SHARES, points_at
from tests.reports.conftest import MakeRun, alone, evidence_of


def test_each_point_is_the_sample_that_it_was_made_of(make_run: MakeRun, parts: SimpleNamespace) -> None:
    task_parts = parts.modality_gap(np.random.default_rng(0), n=40)
    order = np.random.default_rng(1).permutation(40)
    task_parts["samples"] |= {
        "sample_id": np.array([f"pair-{k}" for k in order], object),
        "image": np.array([f"{k:032x}" for k in order], object),
        "caption": np.array([f"caption {k}" for k in order], object),
    }
    run = make_run({"modality-gap@scenes": task_parts})
    parts.write_thumbnails(run.folder, [f"{7:032x}"])
    evidence = evidence_of(run)
    points = points_at(maps.gap(alone(evidence)), evidence, PageBudget(10_000))
    assert [(point.id, point.caption) for point in points] == [(f"pair-{k}", f"caption {k}") for k in range(40)]
    assert [point.id for point in points if point.address] == ["pair-7"]
    assert not any(point.address for point in points_at(maps.gap(alone(evidence)), evidence, PageBudget(0)))


def test_where_the_page_is_full_the_points_with_an_image_are_evenly_spread(
    make_run: MakeRun, parts: SimpleNamespace
) -> None:
    task_parts = parts.modality_gap(np.random.default_rng(0), n=100)
    task_parts["samples"] |= {"image": np.array([f"{k:032x}" for k in range(100)], object)}
    run = make_run({"modality-gap@scenes": task_parts})
    parts.write_thumbnails(run.folder, task_parts["samples"]["image"])
    evidence = evidence_of(run)
    figure = maps.gap(alone(evidence))
    one = max(len(point.address) for point in points_at(figure, evidence, PageBudget(1_000_000)))
    points = points_at(figure, evidence, PageBudget(20 * one))
    told = [row for row, point in enumerate(points) if point.address]
    assert sum(len(point.address) for point in points) <= 20 * one and len(told) >= 15
    assert told[0] < 10 and told[-1] > 90 and max(np.diff(told)) <= 10
    shared = points_at(figure, evidence, PageBudget(40 * one, n_shares=2 * CLOUD_SHARES))  # with as many others
    assert sum(len(point.address) for point in shared) <= 20 * one


def test_a_figure_without_a_cloud_has_no_points(make_run: MakeRun, parts: SimpleNamespace) -> None:
    evidence = evidence_of(make_run({"modality-gap@scenes": parts.modality_gap(np.random.default_rng(0), n=40)}))
    assert points_at(geometry.cones(alone(evidence)), evidence, PageBudget(10_000)) == []
