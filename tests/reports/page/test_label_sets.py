"""Several label sets of the same images: each is shown as it would be alone, and says which it is."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench_reports.drawing.marks import Chart
from clipbench_reports.drawing.svg_chart import draw
from clipbench_reports.evidence import PLAIN, Evidence, MissingEvidence, label_sets
from clipbench_reports.sections import zero_shot
from clipbench_reports.sections.section import load_section
from tests.reports.conftest import MakeRun, alone, evidence_of

PAIRS = tuple(f"{colour} {kind}" for colour in ("blue", "cyan", "pink", "red", "tan") for kind in "abcdefghijklmnopqr")
DRAWS = (zero_shot.confusion, zero_shot.reliability, zero_shot.templates)
TABLES = (zero_shot.class_recall, zero_shot.confused_pairs, zero_shot.template_scores)


@pytest.fixture
def by_set(parts: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """Return the parts of two label sets of 400 images, of 10 and of 90 classes."""
    rng = np.random.default_rng(0)
    return {"kind": parts.zero_shot(rng, parts.classes, n=400), "colour_kind": parts.zero_shot(rng, PAIRS, n=400)}


BySet = dict[str, dict[str, Any]]


@pytest.mark.parametrize("make", [*DRAWS, *TABLES])
def test_a_set_among_others_is_drawn_as_it_would_be_alone(
    make: Callable[..., object], make_run: MakeRun, parts: SimpleNamespace, by_set: BySet
) -> None:
    def made(evidence: Evidence) -> object:
        if make in TABLES:
            return make(evidence)
        chart = make(alone(evidence))
        assert isinstance(chart, Chart)
        return chart.title, chart.reading, draw(chart)

    together = evidence_of(make_run({"zero-shot@mine": parts.side_by_side(by_set)}))
    for label_set, single in by_set.items():
        expected = evidence_of(make_run({"zero-shot@mine": single}, name=label_set))
        assert made(together.for_label_set(label_set)) == made(expected)


def test_a_set_does_not_borrow_what_is_another_s(make_run: MakeRun, parts: SimpleNamespace, by_set: BySet) -> None:
    panels = parts.side_by_side({"kind": by_set["kind"], "x/kind": by_set["colour_kind"]})
    evidence = evidence_of(make_run({"zero-shot@mine": panels}))
    assert label_sets(evidence.evaluation) == ["kind", "x/kind"]
    assert set(evidence.for_label_set("kind").column("label")) <= set(parts.classes)
    assert set(evidence.for_label_set("x/kind").column("label")) <= set(PAIRS)
    with pytest.raises(MissingEvidence, match="no column “label”"):
        evidence.column("label")


def test_a_slash_in_the_metrics_of_another_task_is_no_label_set(make_run: MakeRun, parts: SimpleNamespace) -> None:
    evaluation = make_run({"mine@here": {"metrics": {"a/b": parts.fraction(0.5, 9)}}}).result.evaluations[0]
    assert load_section(evaluation.task).label_sets(evaluation) == [PLAIN]
