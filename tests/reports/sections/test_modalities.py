"""The section on several modalities: matrices, map, table and sentences, from a run."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import clipbench as cb
from clipbench.errors import UsageError
from clipbench.results.run import Run
from clipbench_reports.drawing import svg_chart
from clipbench_reports.drawing.marks import Cells, Chart, Dots, Threads
from clipbench_reports.evidence import Evidence, ModelEvidence, ModelKey
from clipbench_reports.figures import maps, matrices
from clipbench_reports.sections.modalities import findings


@cache
def run_of(*names: str) -> Run:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((40, 8))
    vectors: dict[str, Any] = {
        name: shared + rng.standard_normal(8) + 0.5 * rng.standard_normal((40, 8)) for name in names
    }
    return cb.run(cb.vectors(**vectors), "modalities")


def evidence(*names: str) -> list[ModelEvidence]:
    run = run_of(*names)
    return [ModelEvidence(ModelKey("model", 0), Evidence(run, run.result.evaluations[0]))]


def cells(chart: Chart) -> dict[str, Cells]:
    return {panel.title: mark for panel in chart.panels for mark in panel.marks if isinstance(mark, Cells)}


def test_each_matrix_has_its_metrics_in_their_places() -> None:
    models = evidence("audio", "text", "video")
    metrics = models[0].evidence.evaluation.metrics
    chart = matrices.modality_matrices(models)
    result = cells(chart)
    assert list(result) == ["Gap", "Cosine", "R@1, %", "Separability, %"]
    gap, cosine, recall = (result[title].values for title in ("Gap", "Cosine", "R@1, %"))
    assert gap[0, 2] == gap[2, 0] == metrics["audio-video/gap"].value and np.isnan(gap[1, 1])
    assert cosine[1, 1] == metrics["text/cone"].value and cosine[0, 1] == metrics["audio-text/pair_cosine"].value
    assert recall[2, 1] == metrics["video-to-text/recall@1"].value and np.isnan(recall[0, 0])
    assert result["Gap"].words[0][2].count("\n") == 1  # the interval below the value
    assert all(np.isfinite(value.depths).all() for value in result.values())
    assert "separate 95 % intervals" in chart.reading and "largest" not in chart.title
    assert svg_chart.draw(chart)


def test_two_modalities_have_threads_and_a_gap_axis_and_three_have_none() -> None:
    chart = maps.modality_map(evidence("audio", "text"), projection="gap-axis")
    assert [len(mark.starts) for mark in chart.panels[0].marks if isinstance(mark, Threads)] == [40]
    with pytest.raises(UsageError, match="gap-axis' maps two modalities: got 3"):
        maps.modality_map(evidence("audio", "image", "text"), projection="gap-axis")


def test_a_modality_without_partners_is_neither_drawn_nor_in_the_titles() -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 20, 8))
    run = cb.run(cb.vectors(audio=vectors[0][:15], text=vectors[1], video=vectors[2]), "modalities")
    models = [ModelEvidence(ModelKey("model", 0), Evidence(run, run.result.evaluations[0]))]
    drawn, matrix = maps.modality_map(models), matrices.modality_matrices(models)
    assert [mark.name for mark in drawn.panels[0].marks if isinstance(mark, Dots)] == ["text", "video"]
    assert " of text and video that" in drawn.title and matrix.title.startswith("Text and video: a gap of ")
    assert svg_chart.draw(drawn) and svg_chart.draw(matrix)


def test_the_sentences_say_the_mean_recall_and_each_gap_with_its_interval_and_noise() -> None:
    sentences = findings(run_of("audio", "text", "video").result.evaluations[0])
    assert (
        sentences[0].text.startswith("An item of audio, text or video finds its partner first in ")
        and sentences[0].mark == "good"
    )
    number = r"\d\.\d{4}"
    gap = rf"{number} \[{number}, {number}\] \(%s, {number} without a gap\)"
    gaps = ", ".join(gap % pair for pair in ("audio and text", "audio and video", "text and video"))
    assert re.fullmatch(rf"Distance between the mean vectors of two modalities: {gaps}\.", sentences[1].text)
    of_two = findings(run_of("audio", "text").result.evaluations[0])
    assert re.fullmatch(
        rf"Distance between the mean vectors of two modalities: {gap % 'audio and text'}\.", of_two[1].text
    )


def test_a_modality_without_pairs_is_not_said_to_lie_apart_from_others_nor_to_find_partners() -> None:
    evaluation = run_of("audio", "text", "video").result.evaluations[0]
    unpaired = {
        name: metric for name, metric in evaluation.metrics.items() if "video" not in name or name == "video/cone"
    }
    sentences = findings(replace(evaluation, metrics=unpaired))
    assert sentences[0].text.startswith("An item of audio or text finds its partner")
    assert "audio and text" in sentences[1].text and "video" not in sentences[1].text
    two_of_three = {name: metric for name, metric in evaluation.metrics.items() if not name.startswith("audio-video")}
    assert "audio and video" not in findings(replace(evaluation, metrics=two_of_three))[1].text
