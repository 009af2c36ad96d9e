"""Points of a scatter are told by picture, caption and name, in the order in which they are drawn."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from clipbench.result import Run
from clipbench_reports import figures
from clipbench_reports.evidence import Evidence
from clipbench_reports.pictures import Room
from clipbench_reports.points import points

MakeRun = Callable[..., Run]


def test_each_point_is_the_sample_that_it_was_made_of(make_run: MakeRun, parts: SimpleNamespace) -> None:
    found = parts.modality_gap(np.random.default_rng(0), n=40)
    order = np.random.default_rng(1).permutation(40)
    found["samples"] |= {
        "sample_id": np.array([f"pair-{k}" for k in order], object),
        "image": np.array([f"{k:032x}" for k in order], object),
        "caption": np.array([f"caption {k}" for k in order], object),
    }
    run = make_run({"modality-gap@scenes": found})
    parts.write_thumbnails(run.folder, [f"{7:032x}"])
    evidence = Evidence(run, run.result.evaluations[0])
    made = points(figures.gap(evidence), evidence, Room(10_000))
    assert [(each.id, each.caption) for each in made] == [(f"pair-{k}", f"caption {k}") for k in range(40)]
    assert [each.id for each in made if each.address] == ["pair-7"]
    assert not any(each.address for each in points(figures.gap(evidence), evidence, Room(0)))


def test_a_figure_without_a_cloud_has_no_points(make_run: MakeRun, parts: SimpleNamespace) -> None:
    run = make_run({"modality-gap@scenes": parts.modality_gap(np.random.default_rng(0), n=40)})
    evidence = Evidence(run, run.result.evaluations[0])
    assert points(figures.cones(evidence), evidence, Room(10_000)) == []
