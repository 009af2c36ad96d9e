"""The tables that fold out, on cases worked by hand."""

from typing import Any

import numpy as np
import pytest

from clipbench_reports.evidence import Evidence, MissingEvidence
from clipbench_reports.sections import zero_shot as tables
from tests.reports.conftest import MakeRun


def evidence(make_run: MakeRun, **samples: Any) -> Evidence:
    run = make_run({"zero-shot@data": {"samples": samples}})
    return Evidence(run, run.result.evaluations[0])


def test_the_worst_class_is_on_top_with_its_commonest_mistake(make_run: MakeRun) -> None:
    kept = evidence(
        make_run,
        label=np.array(list("aaaabb"), object),
        predicted=np.array(list("abbcbb"), object),
        acc1=np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.5]),  # the last is a tie, which scores half
    )
    found = tables.class_recall(kept)
    assert found.rows == [["a", "b", "25.0", "4"], ["b", "–", "75.0", "2"]]
    assert found.title == "Recall of each class (25.0 to 75.0 %)"


def test_classes_beyond_the_table_are_counted(make_run: MakeRun) -> None:
    names = np.array([f"c{k}" for k in range(130)], object)
    found = tables.class_recall(evidence(make_run, label=names, predicted=names, acc1=np.ones(130)))
    assert len(found.rows) == 100
    assert "30 classes with higher recall are only in the sample table" in found.facts


def test_pairs_are_counted_by_direction(make_run: MakeRun) -> None:
    label, predicted = np.array(list("aabbbc"), object), np.array(list("bbaacc"), object)
    found = tables.confused_pairs(evidence(make_run, label=label, predicted=predicted))
    assert found.rows == [["a", "b", "2", "100.0"], ["b", "a", "2", "66.7"], ["b", "c", "1", "33.3"]]
    assert found.title == "Confused classes (5 mistakes in all)"


def test_a_faultless_model_has_no_confused_pairs(make_run: MakeRun) -> None:
    names = np.array(["a", "b"], object)
    with pytest.raises(MissingEvidence, match="no sample was taken for another class"):
        tables.confused_pairs(evidence(make_run, label=names, predicted=names))
