"""The tables that fold out, on cases worked by hand."""

import numpy as np
import pytest

from clipbench_reports.evidence import Damaged, MissingEvidence
from clipbench_reports.sections import zero_shot as tables
from tests.reports.conftest import Make


def test_the_worst_class_is_on_top_with_its_commonest_mistake(evidence: Make) -> None:
    label, predicted = np.array(list("aaaabb"), object), np.array(list("abbcbb"), object)
    acc1 = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.5])  # the last is a tie, which scores half
    recall = tables.class_recall(evidence(samples={"label": label, "predicted": predicted, "acc1": acc1}))
    assert recall.rows == [["a", "b", "25.0", "4"], ["b", "–", "75.0", "2"]]
    assert recall.title == "Recall of each class (25.0 to 75.0 %)"


def test_classes_beyond_the_table_are_counted(evidence: Make) -> None:
    names = np.array([f"c{k}" for k in range(130)], object)
    recall = tables.class_recall(evidence(samples={"label": names, "predicted": names, "acc1": np.ones(130)}))
    assert len(recall.rows) == 100
    assert "30 classes with higher recall are only in the sample table" in recall.facts


def test_pairs_are_counted_by_direction(evidence: Make) -> None:
    label, predicted = np.array(list("aabbbc"), object), np.array(list("bbaacc"), object)
    table = tables.confused_pairs(evidence(samples={"label": label, "predicted": predicted}))
    assert table.rows == [["a", "b", "2", "100.0"], ["b", "a", "2", "66.7"], ["b", "c", "1", "33.3"]]
    assert table.title == "Confused classes (5 mistakes in all)"


def test_a_faultless_model_has_no_confused_pairs(evidence: Make) -> None:
    names = np.array(["a", "b"], object)
    with pytest.raises(MissingEvidence, match="no sample was classified as another class"):
        tables.confused_pairs(evidence(samples={"label": names, "predicted": names}))


SEVERAL = {
    "label": np.array(["cat; dog", "cat; dog", "owl", "owl"], object),
    "right_classes": np.array(['["cat", "dog"]', '["cat", "dog"]', '["owl"]', '["owl"]'], object),
    "predicted": np.array(["cat", "owl", "owl", "cat"], object),
    "acc1": np.array([1.0, 0.0, 1.0, 0.0]),
}
"""A hit on one of two classes, a miss that counts half for each, a hit and a miss of one class."""


def test_images_of_several_classes_count_in_parts(evidence: Make) -> None:
    recall = tables.class_recall(evidence(samples=SEVERAL))
    assert [row[:4] for row in recall.rows] == [
        ["dog", "owl", "0.0", "0.5"],
        ["owl", "cat", "50.0", "2"],
        ["cat", "owl", "66.7", "1.5"],
    ]
    pairs = tables.confused_pairs(evidence(samples=SEVERAL))
    assert pairs.title == "Confused classes (2 mistakes in all)"
    assert pairs.rows == [["owl", "cat", "1", "50.0"], ["cat", "owl", "0.5", "33.3"], ["dog", "owl", "0.5", "100.0"]]


def test_damaged_lists_of_classes_are_named(evidence: Make) -> None:
    for text in ("cat", "[]", "[1]", "{}"):
        damaged = {**SEVERAL, "right_classes": np.array([text] * 4, object)}
        with pytest.raises(Damaged, match="the column 'right_classes' holds"):
            tables.class_recall(evidence(samples=damaged))
