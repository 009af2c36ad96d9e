"""Figures show what the run holds: their numbers against naive versions of the same."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest

from clipbench.comparison.across import Across, ModelPoint
from clipbench.comparison.metric_difference import Difference, Verdict
from clipbench.results.record import Curve, Metric
from clipbench.stats.intervals import Interval, wilson
from clipbench.stats.rank_correlation import RankCorrelation
from clipbench.training.history import History
from clipbench_reports.drawing import chart_data, paper, svg_chart
from clipbench_reports.drawing.alt_text import alt_text
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import Cells, Chart, Dots, Line, Ranges, Threads, Words
from clipbench_reports.evidence import Evidence, MissingEvidence, ModelEvidence, ModelKey, figure_of
from clipbench_reports.figures import differences, many_models, maps, matrices, training
from clipbench_reports.figures.curves import CurvesFigure
from clipbench_reports.figures.shared import HEAD, MAX_LINES
from clipbench_reports.sections import modality_gap, retrieval, zero_shot
from tests.reports.conftest import Make, MakeRun

Draw = Callable[[list[ModelEvidence]], Chart]
Kind = TypeVar("Kind")


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


def marks(figure: Chart, kind: type[Kind]) -> list[Kind]:
    """Return the marks of one kind in all panels."""
    return [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, kind)]


@pytest.mark.parametrize(
    ("task", "draw"),
    [
        ("zero-shot", zero_shot.confusion),
        ("zero-shot", zero_shot.reliability),
        ("zero-shot", zero_shot.templates),
        ("retrieval", matrices.similarity),
        ("retrieval", retrieval.RECALL),
        ("modality-gap", maps.gap),
        ("retrieval", CurvesFigure(name="recall")),
    ],
)
def test_both_renderers_draw_it_and_its_data_are_listed(
    make_run: MakeRun, tmp_path: Path, task: str, draw: Draw
) -> None:
    run = make_run()
    chart = draw(
        alone(Evidence(run, next(evaluation for evaluation in run.result.evaluations if evaluation.task == task)))
    )
    assert svg_chart.draw(chart).startswith("<svg") and "nan" not in svg_chart.draw(chart)
    paper.save(chart, tmp_path / "figure.png")
    assert all({"x", "y", "low"} & set(row) for row in chart_data.chart_rows(chart))
    roles: dict[str, set[str]] = {}
    for mark in (mark for panel in chart.panels for mark in panel.marks):
        roles.setdefault(mark.name, set()).add(mark.role)
    assert all(len(used) == 1 for name, used in roles.items() if name), roles


def test_the_gap_that_would_show_if_none_remained_is_drawn_as_chance(make_run: MakeRun) -> None:
    run = make_run()
    evaluation = next(record for record in run.result.evaluations if record.task == "modality-gap")
    corrections = modality_gap.CORRECTIONS(alone(Evidence(run, evaluation)))
    gap, *other_panels = corrections.panels
    lines = [
        (mark.name, mark.of, list(mark.ys)) for mark in gap.marks if isinstance(mark, Line) and mark.role == "chance"
    ]
    ways = {"centred": "centring", "standardised": "standardising", "centred, length kept": "collapse"}
    curves = {words: evaluation.curves[f"gap_chance_by_{way}"] for words, way in ways.items()}
    assert lines == [("chance", words, list(curve.y)) for words, curve in curves.items()]
    assert all(mark.role != "chance" for panel in other_panels for mark in panel.marks)
    assert [mark.name for mark in lay_out(corrections).legend].count("chance") == 1
    # ... and in no figure of its own.
    assert not any(figure_of(f"gap_chance_by_{way}", curves[words]) for words, way in ways.items())


def test_shares_of_corrected_pairs_have_their_doubt_and_no_axis_is_tighter(make_run: MakeRun) -> None:
    run = make_run()
    evaluation = next(record for record in run.result.evaluations if record.task == "modality-gap")
    corrections = modality_gap.CORRECTIONS(alone(Evidence(run, evaluation)))
    recall = corrections.panels[2]
    lines = [mark for mark in recall.marks if isinstance(mark, Line)]
    assert [line.has_band for line in lines] == [True, False, False]
    n = (evaluation.metrics["gap"].n or 0) // 2
    for line in lines:
        assert line.lows is not None and line.highs is not None
        for y, low, high in zip(line.ys, line.lows, line.highs, strict=True):
            assert (low, high) == wilson(y * n, n)[:2]
            assert recall.y.low <= low < y < high <= recall.y.high
    assert all(mark.lows is None for mark in corrections.panels[0].marks if isinstance(mark, Line))  # a gap is no share


def test_the_differences_of_two_runs_fit_on_a_page_the_headlines_and_the_surest_first() -> None:
    before, head = Metric(value=0.5, n=9), Metric(value=0.5, n=9, is_headline=True)

    def difference(name: str, half: float, verdict: Verdict, candidate: Metric = before) -> Difference:
        return Difference(
            evaluation="mine@here", name=name, base=before, candidate=candidate, value=0.1, low=0.1 - half,
            high=0.1 + half, n=9, method="a method", test="a test", verdict=verdict,
        )  # fmt: skip

    unsure = [difference(f"own{k}", 0.2, "not shown") for k in range(66)]
    result = [*unsure, difference("wide", 0.09, "better"), difference("sure", 0.01, "worse")]
    (panel,) = differences.compare(result, ("a", "b")).panels
    assert panel.n_rows == int(MAX_LINES - HEAD) == 67
    assert panel.y.names[-2:] == ["Wide", "Sure"] and panel.y.names[:65] == [f"Own{k}" for k in range(65)]
    result = [*result, difference("head", 0.3, "not shown", head)]
    chart = differences.compare(result, ("a", "b"))
    assert chart.panels[0].y.names[-3:] == ["Wide", "Sure", "Head"] and "2 others would not fit" in chart.reading
    assert chart.title == "b against a: 1 better, 1 worse, 67 neither."
    assert [each.name for each in differences.select_differences(result, 2)] == ["sure", "head"]
    assert [each.name for each in differences.select_differences(result, 1)] == ["head"]


def test_words_in_a_column_of_numbers_are_damaged(evidence: Make) -> None:
    samples = {"sample_id": np.array(["a", "b"], object), "confidence": np.array(["x", "y"], object)}
    with pytest.raises(MissingEvidence, match=r"the column .confidence. holds no numbers: the run is damaged, make it"):
        evidence(samples=samples).numbers("confidence")


def test_columns_of_words_take_the_memory_of_their_words(evidence: Make) -> None:
    label = np.array(["a"] * 2_000 + ["b" * 20_000], object)  # 160 MB as numpy's own strings
    samples = {"label": label, "predicted": label}
    recorded = evidence(samples=samples)
    tracemalloc.start()
    confused = zero_shot.confusion(alone(recorded))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert confused.title == "Mean recall of 2 classes: 100.0 %, no image is taken for another class."


def answers(label: str, predicted: str) -> dict[str, np.ndarray]:
    return {"label": np.array(label.split(), object), "predicted": np.array(predicted.split(), object)}


def test_the_confusion_matrix_has_shares_of_the_true_class(evidence: Make) -> None:
    chart = zero_shot.confusion(alone(evidence(samples=answers("a a a a b b", "a b b c b b"))))
    (cells,) = marks(chart, Cells)
    assert cells.values.tolist() == [[0.25, 0.5, 0.25], [0, 1, 0], [0, 0, 0]]
    assert cells.depths == pytest.approx(np.sqrt(cells.values))
    assert list(cells.words) == [(0, 0, "25"), (0, 1, "50"), (0, 2, "25"), (1, 1, "100")]
    (panel,) = chart.panels
    assert list(panel.x.names) == list(panel.y.names) == ["a", "b", "c"]
    assert list(panel.x.ticks) == list(panel.y.ticks) == [0.5, 1.5, 2.5]
    assert (panel.y.low, panel.y.high, panel.x.is_turned) == (3, 0, True)  # the first row on top


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,)])
def test_a_similarity_array_that_is_no_matrix_of_pairs_is_not_drawn(evidence: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(MissingEvidence, match=r"expected a square one|not a matrix of finite"):
        matrices.similarity(alone(evidence(arrays={"similarity": np.zeros(shape, np.float32)})))


@pytest.mark.parametrize("projection", ["pca", "svd", "gap-axis"])
def test_images_lie_left_of_texts_and_threads_join_pairs(
    evidence: Make, parts: SimpleNamespace, projection: str
) -> None:
    arrays = parts.modality_gap(np.random.default_rng(3), n=60)["arrays"]
    for images, texts in (("images", "texts"), ("texts", "images")):
        recorded = evidence(arrays={"images": arrays[images], "texts": arrays[texts]})
        result = maps.gap(alone(recorded), projection=projection)
        left, right = marks(result, Dots)
        assert (left.role, right.role) == ("image", "text") and np.mean(left.xs) < np.mean(right.xs)
        (threads,) = marks(result, Threads)
        assert threads.starts == pytest.approx(np.column_stack([left.xs, left.ys]))
        assert threads.ends == pytest.approx(np.column_stack([right.xs, right.ys]))


def test_a_curve_with_holes_is_drawn_where_it_is_known(evidence: Make) -> None:
    recorded = evidence(
        curves={"own": Curve(x=[1.0, 2.0, 3.0], y=[1.0, None, 3.0], low=[0.0, 4.0, 2.0], high=[2.0, 6.0, 4.0])}
    )
    result = CurvesFigure(name="own")(alone(recorded))
    (line,) = marks(result, Line)
    assert (line.xs, line.ys, line.lows, line.highs) == ([1, 3], [1, 3], [0, 2], [2, 4])
    assert result.title == "“own” with x from 1 to 3: 1 to 3."


def test_models_by_two_metrics_have_both_intervals_a_name_each_and_the_correlation_in_words() -> None:
    metrics = [Metric(value=0.1 * k, low=0.1 * k - 0.02, high=0.1 * k + 0.02) for k in range(1, 10)]
    points = [
        ModelPoint(label=f"m{k}", x=modelpoint, y=modelpoint, n_parameters=None, training=None)
        for k, modelpoint in enumerate(metrics)
    ]
    figure = Across(
        x_title="Top-1 accuracy", y_title="MRR", points=points, given_parameters=None, left_out=["m9: no mrr"],
        correlation=RankCorrelation(1.0, Interval(0.9, 1.0, "percentile bootstrap over 9 points"), 0.0004),
        evaluations=["zero-shot@x", "retrieval@x"], are_checkpoints=False,
    )  # fmt: skip
    names = [modelpoint.label for modelpoint in points]
    many, few = many_models.across(figure, names), many_models.across(replace(figure, points=points[:3]), names[:3])
    assert many.title == "MRR against top-1 accuracy of 9 models: rank correlation 1.00 (0.90 to 1.00)."
    priced = many_models.across(replace(figure, x_title="Parameters, millions"), names)
    assert priced.title.startswith("MRR against parameters of 9 models: ")
    assert priced.panels[0].x.label.startswith("Parameters, millions")
    assert many.reading.endswith("p = 0.0004. Models differ in more than these two quantities: correlation does not imply a cause. Not drawn: m9: no mrr.")  # fmt: skip
    upright, lying = marks(many, Ranges)
    assert (upright.is_upright, lying.is_upright) == (True, False)
    assert list(upright.xs) == list(upright.ys) == [modelpoint.value for modelpoint in metrics]
    assert list(lying.lows) == [modelpoint.low for modelpoint in metrics]
    assert sorted(modelpoint.words for modelpoint in marks(many, Words)) == names
    assert [modelpoint.name for modelpoint in marks(few, Ranges) if modelpoint.name] == names[:3]
    assert svg_chart.draw(many) and paper.draw(few, width=8.25)


def test_models_by_price_and_quality_have_a_logarithmic_axis_and_the_front_in_words() -> None:
    costs, scores = [0.1701, 4.0, 20.0, 9.25], [0.3, 0.5, 0.7, 0.4]
    points = [
        ModelPoint(
            label=f"runs/m{k}",
            x=Metric(value=cost, unit="count"),
            y=Metric(value=score),
            n_parameters=None,
            training=None,
        )
        for k, (cost, score) in enumerate(zip(costs, scores, strict=True))
    ]
    figure = Across(
        x_title="GFLOPs of one image", y_title="MRR", points=points, given_parameters=None, left_out=[],
        correlation=RankCorrelation(0.8, Interval(None, None, "too few"), 0.3), evaluations=["retrieval@x"],
        are_checkpoints=False, front=["runs/m0", "runs/m1", "runs/m2"], notes=["Of a machine."],
    )  # fmt: skip
    result = many_models.across(figure, ["m0", "m1", "m2", "m3"])
    (panel,) = result.panels
    assert panel.x.is_log
    (front,) = marks(result, Line)
    assert (front.xs, front.ys, front.is_dashed) == ([0.1701, 4, 20], [0.3, 0.5, 0.7], True)
    assert "at least as cheap and at least as good, and ahead in one of the two: m0, m1 and m2." in result.reading
    assert "may belong to it. Of a machine. The rank" in result.reading
    assert "m0 30.0 % at 0.170; m1 50.0 % at 4; m2 70.0 % at 20; m3 40.0 % at 9.25" in alt_text(result)
    assert not marks(many_models.across(replace(figure, front=["runs/m2"]), ["m0", "m1", "m2", "m3"]), Line)
    assert svg_chart.draw(result) and paper.draw(result, width=8.25)


def test_a_track_says_text_to_image_recall_of_that_direction_alone() -> None:
    of_texts: dict[str, list[float | None]] = {"image_retrieval_recall@1": [0.2, 0.8]}
    scalars: dict[str, list[float | None]] = {"gap": [1.0, 0.5], "text_retrieval_recall@1": [0.1, 0.9]}
    gap = "The gap at step 0 and at step 10: 1.0000 and 0.5000"
    for values, title in (
        (scalars, f"{gap}."),
        (scalars | of_texts, f"{gap}, text-to-image R@1 20.0 and 80.0 %."),
    ):
        assert training.track([History(label="tiny", steps=[0.0, 10.0], values=values)], ["tiny"]).title == title


def test_vectors_that_are_no_pairs_are_not_drawn(evidence: Make) -> None:
    one = np.ones((1, 4), np.float32) / 2
    with pytest.raises(MissingEvidence, match=r"\(1, 4\) and \(1, 4\), expected equal shapes and two or more pairs"):
        maps.gap(alone(evidence(arrays={"images": one, "texts": one})))


def test_one_template_has_no_spread(evidence: Make) -> None:
    recorded = evidence(curves={"templates": Curve(x=[1.0], y=[0.5])}, arrays={"template_names": np.array(["a {c}"])})
    with pytest.raises(MissingEvidence, match="the run used one"):
        zero_shot.templates(alone(recorded))


def test_names_that_do_not_fit_the_templates_are_not_drawn(evidence: Make) -> None:
    curves = {"templates": Curve(x=[1.0, 2.0], y=[0.5, 0.6])}
    with pytest.raises(MissingEvidence, match="1 names for 2 prompt templates"):
        zero_shot.templates(alone(evidence(curves=curves, arrays={"template_names": np.array(["a"])})))
