"""Figures show what the run holds: their numbers against naive versions of the same."""

import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest

from clipbench.comparison.across import Across, Place
from clipbench.comparison.records import Difference, Verdict
from clipbench.results import numbers as fmt
from clipbench.results.record import Curve, Metric
from clipbench.results.run import Run
from clipbench.stats.intervals import Interval, wilson
from clipbench.stats.rank_correlation import RankCorrelation
from clipbench_reports import figures
from clipbench_reports.drawing import page, paper, plotted
from clipbench_reports.drawing.layout import lay_out
from clipbench_reports.drawing.marks import (
    Bars,
    Boxes,
    Cells,
    Chart,
    Dots,
    Hill,
    Line,
    ModelKey,
    Ranges,
    Rule,
    Shade,
    Threads,
    Words,
)
from clipbench_reports.figures._figure import HEAD, MAX_LINES
from clipbench_reports.page.evidence import Evidence, MissingEvidence, ModelEvidence
from clipbench_reports.page.groups import group

MakeRun = Callable[..., Run]
COLOURS = ["black", "blue", "cyan", "green", "pink", "purple", "red", "white", "yellow"]
Draw = Callable[[list[ModelEvidence]], Chart]
Kind = TypeVar("Kind")


def alone(evidence: Evidence) -> list[ModelEvidence]:
    """Return the evidence of one model, as a figure takes it."""
    return [ModelEvidence(ModelKey("model", 0), evidence)]


@pytest.fixture
def evidence(make_run: MakeRun) -> Callable[..., Evidence]:
    """Return a function that keeps the parts of one evaluation in a run and gives it as evidence."""

    def make(**parts: Any) -> Evidence:
        run = make_run({"task@data": parts})
        return Evidence(run, run.result.evaluations[0])

    return make


Make = Callable[..., Evidence]


def marks(figure: Chart, kind: type[Kind]) -> list[Kind]:
    """Return the marks of one kind in all panels."""
    return [mark for panel in figure.panels for mark in panel.marks if isinstance(mark, kind)]


@pytest.mark.parametrize(
    ("task", "draw"),
    [
        ("zero-shot", figures.confusion),
        ("zero-shot", figures.reliability),
        ("zero-shot", figures.templates),
        ("retrieval", figures.similarity),
        ("retrieval", figures.recall),
        ("modality-gap", figures.gap),
        ("retrieval", figures.curve("image_retrieval_recall")),
    ],
)
def test_both_renderers_draw_it_and_its_data_are_listed(
    make_run: MakeRun, tmp_path: Path, task: str, draw: Draw
) -> None:
    run = make_run()
    found = draw(alone(Evidence(run, next(each for each in run.result.evaluations if each.task == task))))
    assert page.draw(found).startswith("<svg") and "nan" not in page.draw(found)
    paper.save(found, tmp_path / "figure.png")
    assert all({"x", "y", "low"} & set(row) for row in plotted.rows(found))
    roles: dict[str, set[str]] = {}
    for mark in (mark for panel in found.panels for mark in panel.marks):
        roles.setdefault(mark.name, set()).add(mark.role)
    assert all(len(used) == 1 for name, used in roles.items() if name), roles


def test_the_gap_that_would_show_if_none_remained_is_drawn_as_chance(make_run: MakeRun) -> None:
    run = make_run()
    evaluation = next(each for each in run.result.evaluations if each.task == "modality-gap")
    found = figures.corrections(alone(Evidence(run, evaluation)))
    gap, *others = found.panels
    lines = [
        (mark.name, mark.of, list(mark.ys)) for mark in gap.marks if isinstance(mark, Line) and mark.role == "chance"
    ]
    ways = {"centred": "centring", "standardised": "standardising", "centred, length kept": "collapse"}
    curves = {words: evaluation.curves[f"gap_chance_by_{way}"] for words, way in ways.items()}
    assert lines == [("chance", words, list(curve.y)) for words, curve in curves.items()]
    assert all(mark.role != "chance" for panel in others for mark in panel.marks)
    assert [mark.name for mark in lay_out(found).legend].count("chance") == 1
    assert {f"gap_chance_by_{way}" for way in ways.values()} <= figures.GEOMETRY  # and in no figure of its own


def test_shares_of_corrected_pairs_have_their_doubt_and_no_axis_is_tighter(make_run: MakeRun) -> None:
    run = make_run()
    evaluation = next(each for each in run.result.evaluations if each.task == "modality-gap")
    found = figures.corrections(alone(Evidence(run, evaluation)))
    recall = found.panels[2]
    lines = [mark for mark in recall.marks if isinstance(mark, Line)]
    assert [line.has_band for line in lines] == [True, False, False]
    n = (evaluation.metrics["gap"].n or 0) // 2
    for line in lines:
        assert line.lows is not None and line.highs is not None
        for y, low, high in zip(line.ys, line.lows, line.highs, strict=True):
            assert (low, high) == wilson(y * n, n)[:2]
            assert recall.y.low <= low < y < high <= recall.y.high
    assert all(mark.lows is None for mark in found.panels[0].marks if isinstance(mark, Line))  # a gap is no share


def test_figures_of_the_gap_say_which_lines_are_not_there_and_why(make_run: MakeRun) -> None:
    run = make_run()
    whole = next(each for each in run.result.evaluations if each.task == "modality-gap")
    metrics = {**whole.metrics, "text_text_calibration_error": Metric(value=None, n=0, reason="there are no labels")}
    curves = {name: curve for name, curve in whole.curves.items() if "text_text" not in name}
    scored = {f"acc1_by_{way}": whole.curves[f"gap_by_{way}"] for way in ("shift_both", "centring")}
    whole = replace(whole, curves={**whole.curves, **scored})
    told = {}
    for name, evaluation in (("whole", whole), ("part", replace(whole, metrics=metrics, curves=curves))):
        for draw in (figures.shift, figures.corrections, figures.similarity_calibration):
            told[name, draw.__name__] = draw(alone(Evidence(run, evaluation))).reading
    assert "No line for text–text: there are no labels." in told["part", "similarity_calibration"]
    for name in ("shift", "corrections"):
        assert "Zero-shot accuracy takes one label for each image" in told["part", name]
        assert "Zero-shot accuracy" not in told["whole", name]


def test_the_scorecard_has_titles_and_no_more_rows_than_a_page(make_run: MakeRun, parts: SimpleNamespace) -> None:
    few = {f"swap_att/{name}": replace(parts.fraction(0.5, 90, chance=0.25), title="Text score") for name in "ab"}
    many = {"acc1": replace(parts.fraction(0.5, 90, chance=0.25), is_headline=True)}
    many |= {f"own{k}": parts.fraction(0.5, 90, chance=0.25) for k in range(80)}
    made = []
    for name, metrics in (("few", few), ("many", many)):
        run = make_run({"composition@d": {"metrics": metrics, "subsets": {"swap_att": "Colours swapped"}}}, name=name)
        made.append(figures.scorecard(group([run]), ["model"]))
    assert made[0].panels[0].y.names == ["Text score (colours swapped)"] * 2
    assert made[1].panels[0].y.names == ["Acc1"] and "80 more" in made[1].reading


def test_the_differences_of_two_runs_fit_on_a_page_the_headlines_and_the_surest_first() -> None:
    before, head = Metric(value=0.5, n=9), Metric(value=0.5, n=9, is_headline=True)

    def difference(name: str, half: float, verdict: Verdict, candidate: Metric = before) -> Difference:
        return Difference(
            evaluation="mine@here", name=name, base=before, candidate=candidate, value=0.1, low=0.1 - half,
            high=0.1 + half, n=9, method="a method", test="a test", verdict=verdict,
        )  # fmt: skip

    unsure = [difference(f"own{k}", 0.2, "no evidence") for k in range(66)]
    found = [*unsure, difference("wide", 0.09, "better"), difference("sure", 0.01, "worse")]
    (panel,) = figures.compare(found, ("a", "b")).panels
    assert panel.n_rows == int(MAX_LINES - HEAD) == 67
    assert panel.y.names[-2:] == ["Wide", "Sure"] and panel.y.names[:65] == [f"Own{k}" for k in range(65)]
    found = [*found, difference("head", 0.3, "no evidence", head)]
    chart = figures.compare(found, ("a", "b"))
    assert chart.panels[0].y.names[-3:] == ["Wide", "Sure", "Head"] and "2 others would not fit" in chart.reading
    assert chart.title == "b against a: 1 better, 1 worse, 67 neither."
    assert [each.name for each in figures.most_telling(found, 2)] == ["sure", "head"]
    assert [each.name for each in figures.most_telling(found, 1)] == ["head"]


def test_each_chance_of_a_row_of_the_scorecard_has_a_rule(make_run: MakeRun, parts: SimpleNamespace) -> None:
    runs = [
        make_run({"zero-shot@birds": {"metrics": {"acc1": parts.fraction(0.5, 90, chance=chance)}}}, name=f"run{k}")
        for k, chance in enumerate((0.1, 0.25, 0.1))
    ]
    rules = marks(figures.scorecard(group(runs), ["a", "b", "c"]), Rule)
    assert [rule.at for rule in rules if rule.role == "chance"] == [0.1, 0.25]


def test_words_in_a_column_of_numbers_are_damaged(evidence: Make) -> None:
    samples = {"sample_id": np.array(["a", "b"], object), "confidence": np.array(["x", "y"], object)}
    with pytest.raises(MissingEvidence, match=r"the column .confidence. holds no numbers: the run is damaged, make it"):
        evidence(samples=samples).numbers("confidence")


def test_columns_of_words_take_the_memory_of_their_words(evidence: Make) -> None:
    label = np.array(["a"] * 2_000 + ["b" * 20_000], object)  # 160 MB as numpy's own strings
    samples = {"label": label, "predicted": label}
    found = evidence(samples=samples)
    tracemalloc.start()
    confused = figures.confusion(alone(found))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert confused.title == "No image is taken for another class."


def answers(label: str, predicted: str) -> dict[str, np.ndarray]:
    return {"label": np.array(label.split(), object), "predicted": np.array(predicted.split(), object)}


def test_the_confusion_matrix_names_the_mistake_that_tests_tell_from_all_others(evidence: Make) -> None:
    few, many = ("a a a a b b", "a b b c b b"), (" ".join(["a a a a b b"] * 10), " ".join(["a b b b b b"] * 10))
    titles = [figures.confusion(alone(evidence(samples=answers(*each)))).title for each in (few, many)]
    assert titles == [
        "Named right: 62.5 % of the images of a class, on average over 2 classes.",
        "Most often, “a” is taken for “b”: 75.0 % of its images.",
    ]
    level = answers(
        " ".join(["a a a a b b"] * 10), " ".join(["a b b c b c"] * 10)
    )  # half of the images of either class
    assert figures.confusion(alone(evidence(samples=level))).title.startswith("Named right: ")


def test_the_confusion_matrix_has_shares_of_the_true_class(evidence: Make) -> None:
    found = figures.confusion(alone(evidence(samples=answers("a a a a b b", "a b b c b b"))))
    (cells,) = marks(found, Cells)
    assert cells.values.tolist() == [[0.25, 0.5, 0.25], [0, 1, 0], [0, 0, 0]]
    assert cells.depths == pytest.approx(np.sqrt(cells.values))
    assert list(cells.words) == [(0, 0, "25"), (0, 1, "50"), (0, 2, "25"), (1, 1, "100")]
    (panel,) = found.panels
    assert list(panel.x.names) == list(panel.y.names) == ["a", "b", "c"]
    assert list(panel.x.ticks) == list(panel.y.ticks) == [0.5, 1.5, 2.5]
    assert (panel.y.low, panel.y.high, panel.x.is_turned) == (3, 0, True)  # the first row on top


def test_a_class_that_is_only_ever_an_answer_has_an_empty_row(evidence: Make) -> None:
    found = figures.confusion(alone(evidence(samples=answers("a a", "b b"))))
    assert ": 100.0 % of its images" in found.title
    assert "right on the diagonal: 0.0 % on average over classes" in found.detail
    assert marks(found, Cells)[0].values.tolist() == [[0, 1], [0, 0]]


def test_the_diagonal_is_averaged_over_classes_that_have_samples(evidence: Make) -> None:
    found = figures.confusion(alone(evidence(samples=answers("a a c", "a b c"))))  # b is an answer only
    assert "right on the diagonal: 75.0 % on average over classes" in found.detail


def test_a_faultless_model_confuses_nothing(evidence: Make) -> None:
    assert (
        figures.confusion(alone(evidence(samples=answers("a b", "a b")))).title
        == "No image is taken for another class."
    )


def test_classes_are_in_natural_order(evidence: Make) -> None:
    found = figures.confusion(alone(evidence(samples=answers("c10 c2 c1", "c10 c2 c1"))))
    assert list(found.panels[0].y.names) == ["c1", "c2", "c10"]


def test_too_many_classes_for_an_image_are_refused(evidence: Make) -> None:
    names = " ".join(f"c{k}" for k in range(121))
    with pytest.raises(MissingEvidence, match="121 classes are too many"):
        figures.confusion(alone(evidence(samples=answers(names, names))))


def test_many_classes_are_a_pattern_with_a_box_for_each_first_word(evidence: Make) -> None:
    names = [f"{colour} {kind}" for colour in COLOURS for kind in ("arch", "cone", "cube", "disc")]
    rng = np.random.default_rng(0)
    label, predicted = (np.array(names, object)[rng.integers(0, 36, 500)] for _ in range(2))
    found = figures.confusion(alone(evidence(samples={"label": label, "predicted": predicted})))
    (panel,), (boxes,), (cells,) = found.panels, marks(found, Boxes), marks(found, Cells)
    assert list(panel.x.names) == list(panel.y.names) == COLOURS
    assert list(panel.y.ticks) == [4 * k + 2 for k in range(9)]
    assert list(boxes.corners) == [(k, k, k + 4, k + 4) for k in range(0, 36, 4)]
    shares = {pair: n / (label == pair[0]).sum() for pair, n in Counter(zip(label, predicted, strict=True)).items()}
    wrong = {pair: share for pair, share in shares.items() if pair[0] != pair[1]}
    inside = sum(share for (true, answer), share in wrong.items() if true.split()[0] == answer.split()[0])
    assert f"begin with one word; {fmt.percent(inside / sum(wrong.values()))} % of the mistakes" in found.reading
    place = {name: k for k, name in enumerate(sorted(names))}
    filled = {(int(row), int(column)) for row, column in np.argwhere(cells.values > 0)}
    assert filled == {(place[true], place[answer]) for true, answer in shares}
    assert not cells.words


def test_right_answers_of_many_classes_lie_on_the_diagonal(evidence: Make) -> None:
    names = [f"{letter} {k:02}" for letter in "ab" for k in range(20)]
    found = figures.confusion(
        alone(evidence(samples={name: np.array(names, object) for name in ("label", "predicted")}))
    )
    assert found.title == "No image is taken for another class."
    assert marks(found, Cells)[0].values.tolist() == np.eye(40).tolist()
    assert list(marks(found, Boxes)[0].corners) == [(0, 0, 20, 20), (20, 20, 40, 40)]
    assert found.is_wide is False


def test_many_classes_without_groups_are_named_here_and_there(evidence: Make) -> None:
    names = " ".join(f"c{k}" for k in range(90))
    found = figures.confusion(alone(evidence(samples=answers(names, names))))
    (panel,) = found.panels
    assert list(panel.y.names) == ["c5", "c15", "c25", "c35", "c45", "c55", "c65", "c75", "c85"]
    assert list(panel.y.ticks) == [5.5, 15.5, 25.5, 35.5, 45.5, 55.5, 65.5, 75.5, 85.5]
    assert not marks(found, Boxes)


def test_a_matrix_with_many_names_is_broader_than_a_column(evidence: Make) -> None:
    few, many = (" ".join(f"class{k}" for k in range(n)) for n in (4, 30))
    assert not figures.confusion(alone(evidence(samples=answers(few, few)))).is_wide
    assert figures.confusion(alone(evidence(samples=answers(many, many)))).is_wide


def test_reliability_tells_mean_confidence_and_accuracy(evidence: Make) -> None:
    curve = Curve(x=[0.2, 0.9], y=[0.0, 0.5])
    samples = {"confidence": np.array([0.2, 0.8, 1.0]), "acc1": np.array([0.0, 1.0, 0.0])}
    found = figures.reliability(alone(evidence(samples=samples, curves={"reliability": curve})))
    assert found.title == "Mean confidence 66.7 %, accuracy 33.3 %."
    assert "20.0 → 0.0, 90.0 → 50.0" in found.detail
    (bars,), (even, line) = marks(found, Bars), marks(found, Line)
    assert list(line.xs) == [0.2, 0.9] and list(line.ys) == [0.0, 0.5] and list(even.xs) == list(even.ys) == [0, 1]
    shares = {round(low, 2): n for low, n in zip(bars.edges, bars.counts, strict=False) if n}
    assert shares == pytest.approx({0.2: 1 / 3, 0.8: 1 / 3, 0.95: 1 / 3})


def test_dots_of_reliability_know_their_samples(make_run: MakeRun) -> None:
    run = make_run()
    evaluation = next(each for each in run.result.evaluations if each.task == "zero-shot")
    (line,) = [mark for mark in marks(figures.reliability(alone(Evidence(run, evaluation))), Line) if mark.has_dots]
    assert len(line.weights) == len(line.xs) and sum(line.weights) == 2000


def test_without_confidences_the_reliability_figure_says_why(evidence: Make) -> None:
    ece = {"ece": Metric(value=None, n=0, reason="the model has no logit_scale")}
    with pytest.raises(MissingEvidence, match="the run holds no confidences: the model has no logit_scale"):
        figures.reliability(alone(evidence(metrics=ece)))


def test_templates_are_told_from_best_to_worst(evidence: Make, parts: SimpleNamespace) -> None:
    curve = Curve(x=[1.0, 2.0, 3.0], y=[0.5, 0.6, 0.65])
    kept = evidence(
        curves={"templates": curve},
        arrays={"template_names": np.array(["worst", "middle", "best"])},
        metrics={"acc1": parts.fraction(0.7, 100)},
    )
    assert figures.ranked(kept) == (["best", "middle", "worst"], [0.65, 0.6, 0.5])
    found = figures.templates(alone(kept))
    assert found.title == "Single prompt templates reach an accuracy of 50.0 to 65.0 %."
    (dots,), (rule,) = marks(found, Dots), marks(found, Rule)
    assert list(dots.xs) == [0.65, 0.6, 0.5] and list(dots.ids) == list(found.panels[0].y.names)
    assert (rule.at, rule.axis, rule.is_dashed, rule.name) == (0.7, "x", True, "ensemble")


def test_long_names_of_templates_take_two_lines_at_most(evidence: Make, parts: SimpleNamespace) -> None:
    names = np.array(["a photo of one of the {c}, which is taken in the evening by the sea", "{c}", parts.hostile])
    curves = {"templates": Curve(x=[1.0, 2.0, 3.0], y=[0.5, 0.6, 0.7])}
    found = figures.templates(alone(evidence(curves=curves, arrays={"template_names": names})))
    lines = [name.split("\n") for name in found.panels[0].y.names]
    assert lines[1:] == [["{c}"], ["a photo of one of", "the {c}, which is t…"]]
    assert len(lines[0]) == 2 and max(map(len, lines[0])) <= 20


def test_many_templates_are_dots_without_names(evidence: Make) -> None:
    names = np.array([f"template {k}" for k in range(80)])
    curve = Curve(x=[float(k) for k in range(80)], y=[0.5 + k / 1000 for k in range(80)])
    found = figures.templates(alone(evidence(curves={"templates": curve}, arrays={"template_names": names})))
    assert len(marks(found, Dots)[0].xs) == 80
    assert not found.panels[0].y.names and found.panels[0].y.label == "80 prompt templates"
    assert "template 79" in found.reading and "template 0" in found.reading


def test_templates_that_all_score_alike_are_drawn_within_what_is_possible(evidence: Make) -> None:
    names = np.array(["a {c}", "the {c}"])
    for score in (1.0, 0.992, 0.0):
        curve = Curve(x=[1.0, 2.0], y=[score, score])
        found = figures.templates(alone(evidence(curves={"templates": curve}, arrays={"template_names": names})))
        ticks = [float(tick) for tick in found.panels[0].x.words]
        assert min(ticks) >= 0 and max(ticks) <= 100 and max(ticks) - min(ticks) < 2, ticks
        assert found.title == f"Each of 2 prompt templates alone reaches an accuracy of {fmt.percent(score)} %."


def test_the_doubt_of_the_ensemble_is_drawn_and_no_axis_is_tighter(evidence: Make, parts: SimpleNamespace) -> None:
    accuracy = parts.fraction(0.9, 100)
    curve, names = Curve(x=[1.0, 2.0], y=[0.91, 0.9]), np.array(["a {c}", "the {c}"])
    kept = evidence(curves={"templates": curve}, arrays={"template_names": names}, metrics={"acc1": accuracy})
    found = figures.templates(alone(kept))
    (shade,) = marks(found, Shade)
    assert (shade.low, shade.high) == (accuracy.low, accuracy.high)
    assert found.panels[0].x.low <= shade.low < shade.high <= found.panels[0].x.high


def test_one_template_has_no_spread(evidence: Make) -> None:
    kept = evidence(curves={"templates": Curve(x=[1.0], y=[0.5])}, arrays={"template_names": np.array(["a {c}"])})
    with pytest.raises(MissingEvidence, match="one prompt template was used"):
        figures.templates(alone(kept))


def test_names_that_do_not_fit_the_templates_are_not_drawn(evidence: Make) -> None:
    curves = {"templates": Curve(x=[1.0, 2.0], y=[0.5, 0.6])}
    with pytest.raises(MissingEvidence, match="1 names for 2 prompt templates"):
        figures.templates(alone(evidence(curves=curves, arrays={"template_names": np.array(["a"])})))


def test_the_similarity_figure_counts_rows_whose_pair_is_strictly_highest(evidence: Make) -> None:
    matrix = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.8, 0.7]], np.float32)  # lit, tied, beaten
    found = figures.similarity(alone(evidence(arrays={"similarity": matrix})))
    assert found.title == "In 1 of 3 rows the true pair, on the diagonal, has the highest cosine."
    assert "of the pairs is 0.7000, of all others 0.3333" in found.reading


def test_a_constant_model_lights_no_diagonal(evidence: Make) -> None:
    found = figures.similarity(alone(evidence(arrays={"similarity": np.ones((4, 4), np.float32)})))
    assert "In 0 of 4 rows" in found.title


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,)])
def test_a_similarity_array_that_is_no_matrix_of_pairs_is_not_drawn(evidence: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(MissingEvidence, match=r"expected a square one|no matrix of finite"):
        figures.similarity(alone(evidence(arrays={"similarity": np.zeros(shape, np.float32)})))


def test_recall_is_told_at_the_first_answer_and_along_the_curve(evidence: Make, parts: SimpleNamespace) -> None:
    ks = [float(k) for k in range(1, 101)]
    curves = {
        "image_retrieval_recall": Curve(x=ks, y=[k / 100 for k in ks]),
        "text_retrieval_recall": Curve(x=ks, y=[k / 200 for k in ks]),
    }
    metrics = {
        "image_retrieval_recall@1": parts.fraction(0.01, 100, chance=0.01),
        "image_retrieval_recall@5": parts.fraction(0.05, 100, chance=0.05),
        "image_retrieval_recall@1000": parts.fraction(1.0, 100, chance=1.0),
    }
    found = figures.recall(alone(evidence(curves=curves, metrics=metrics)))
    assert found.title == "Recall@1: text-to-image 1.0 %, image-to-text 0.5 %."
    assert "text → image: 1.0 % at 1, 5.0 % at 5, 10.0 % at 10, 100.0 % at 100." in found.detail
    chance, *lines = marks(found, Line)
    assert (list(chance.xs), list(chance.ys), chance.role) == ([1, 5], [0.01, 0.05], "chance")
    assert [(line.name, line.role) for line in lines] == [("text → image", "image"), ("image → text", "text")]
    assert list(lines[1].ys) == [k / 200 for k in ks]
    assert found.panels[0].x.is_log and [mark.name for mark in lay_out(found).legend][-1] == "chance"


def test_retrieval_within_a_modality_is_a_figure_of_its_own(evidence: Make) -> None:
    kept = evidence(curves={"text_text_recall": Curve(x=[1.0, 2.0], y=[0.25, 0.5])})
    assert figures.recall_within(alone(kept)).title == "Recall@1: text-to-text 25.0 %."
    with pytest.raises(MissingEvidence):
        figures.recall(alone(kept))


def cosine_curves() -> dict[str, Curve]:
    middles, shares = [-0.505, 0.195, 0.205], [0.2, 0.3, 0.5]
    names = ("cosines_image", "cosines_text", "cosines_pair", "cosines_cross")
    return {name: Curve(x=middles, y=shares) for name in names}


def test_cones_tell_the_means_and_keep_the_shape_of_each_distribution(evidence: Make) -> None:
    metrics = {name: Metric(value=value) for name, value in (("pair_cosine", 0.31), ("cross_cosine", 0.12))}
    found = figures.cones(alone(evidence(curves=cosine_curves(), metrics=metrics)))
    assert found.title == "A true pair has cosine 0.3100 on average, an image and another text 0.1200."
    mean = 0.2 * -0.505 + 0.3 * 0.195 + 0.5 * 0.205
    assert f"image–image {fmt.significant(mean)}" in found.detail  # from the distribution, where no metric is kept
    hills = marks(found, Hill)
    assert [hill.foot for hill in hills] == [3, 2, 1, 0]
    tops = [max(zip(hill.ys, hill.xs, strict=True)) for hill in hills]
    assert [x for _, x in tops] == pytest.approx([0.205] * 4)
    heights = [y - hill.foot for (y, _), hill in zip(tops, hills, strict=True)]
    assert heights == pytest.approx([heights[0]] * 4)


def test_cones_without_distributions_say_what_to_do(evidence: Make) -> None:
    with pytest.raises(MissingEvidence, match="run task again to have it"):
        figures.cones(alone(evidence(curves={"cosines_image": Curve(x=[0.0], y=[1.0])})))


def test_the_map_holds_the_variance_that_a_singular_value_decomposition_finds(
    evidence: Make, parts: SimpleNamespace
) -> None:
    arrays = parts.modality_gap(np.random.default_rng(2), n=60)["arrays"]
    together = np.concatenate([arrays["images"], arrays["texts"]]).astype(np.float64)
    values = np.linalg.svd(together - together.mean(axis=0), compute_uv=False) ** 2
    first, both = values[0] / values.sum(), values[:2].sum() / values.sum()
    found = figures.gap(alone(evidence(arrays=arrays)))
    assert f"hold {fmt.percent(float(both))} %" in found.title
    assert f"alone {fmt.percent(float(first))} %" in found.title


@pytest.mark.parametrize("projection", ["pca", "svd", "gap-axis"])
def test_images_lie_left_of_texts_and_threads_join_pairs(
    evidence: Make, parts: SimpleNamespace, projection: str
) -> None:
    arrays = parts.modality_gap(np.random.default_rng(3), n=60)["arrays"]
    for images, texts in (("images", "texts"), ("texts", "images")):
        kept = evidence(arrays={"images": arrays[images], "texts": arrays[texts]})
        found = figures.gap(alone(kept), projection=projection)
        left, right = marks(found, Dots)
        assert (left.role, right.role) == ("image", "text") and np.mean(left.xs) < np.mean(right.xs)
        (threads,) = marks(found, Threads)
        assert threads.starts == pytest.approx(np.column_stack([left.xs, left.ys]))
        assert threads.ends == pytest.approx(np.column_stack([right.xs, right.ys]))


def test_along_the_gap_axis_the_means_are_the_gap_apart(evidence: Make, parts: SimpleNamespace) -> None:
    arrays = parts.modality_gap(np.random.default_rng(3), n=60)["arrays"]
    gap = np.linalg.norm(arrays["images"].astype(float).mean(axis=0) - arrays["texts"].astype(float).mean(axis=0))
    left, right = marks(figures.gap(alone(evidence(arrays=arrays)), projection="gap-axis"), Dots)
    assert np.mean(right.xs) - np.mean(left.xs) == pytest.approx(gap)
    assert np.mean(right.ys) == pytest.approx(np.mean(left.ys))


def test_equal_vectors_have_no_map(evidence: Make) -> None:
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (5, 1))
    with pytest.raises(MissingEvidence, match="all kept vectors are equal"):
        figures.gap(alone(evidence(arrays={"images": same, "texts": same})))


def test_vectors_that_are_no_pairs_are_not_drawn(evidence: Make) -> None:
    one = np.ones((1, 4), np.float32) / 2
    with pytest.raises(MissingEvidence, match=r"shapes \(1, 4\) and \(1, 4\), expected two or more pairs"):
        figures.gap(alone(evidence(arrays={"images": one, "texts": one})))


def test_a_curve_with_holes_is_drawn_where_it_is_known(evidence: Make) -> None:
    kept = evidence(
        curves={"own": Curve(x=[1.0, 2.0, 3.0], y=[1.0, None, 3.0], low=[0.0, 4.0, 2.0], high=[2.0, 6.0, 4.0])}
    )
    found = figures.curve("own")(alone(kept))
    (line,) = marks(found, Line)
    assert (line.xs, line.ys, line.lows, line.highs) == ([1, 3], [1, 3], [0, 2], [2, 4])
    assert "from 1 to 3 over 3 points" in found.title


def test_models_by_two_metrics_have_both_intervals_a_name_each_and_the_correlation_in_words() -> None:
    metrics = [Metric(value=0.1 * k, low=0.1 * k - 0.02, high=0.1 * k + 0.02) for k in range(1, 10)]
    places = [Place(label=f"m{k}", x=each, y=each, n_parameters=None, training=None) for k, each in enumerate(metrics)]
    found = Across(
        x_title="Top-1 accuracy", y_title="MRR", places=places, given_parameters=None, left_out=["m9: no mrr"],
        correlation=RankCorrelation(1.0, Interval(0.9, 1.0, "percentile bootstrap over 9 points"), 0.0004),
        evaluations=["zero-shot@x", "retrieval@x"], are_checkpoints=False,
    )  # fmt: skip
    names = [each.label for each in places]
    many, few = figures.across(found, names), figures.across(replace(found, places=places[:3]), names[:3])
    assert many.title == "MRR against top-1 accuracy of 9 models: rank correlation 1.00 (0.90 to 1.00)."
    priced = figures.across(replace(found, x_title="Parameters, millions"), names)
    assert priced.title.startswith("MRR against parameters of 9 models: ")
    assert priced.panels[0].x.label.startswith("Parameters, millions")
    assert many.reading.endswith("p = 0.0004. Models differ in more than these two quantities: a correlation is no cause. Not drawn: m9: no mrr.")  # fmt: skip
    upright, lying = marks(many, Ranges)
    assert (upright.is_upright, lying.is_upright) == (True, False)
    assert list(upright.xs) == list(upright.ys) == [each.value for each in metrics]
    assert list(lying.lows) == [each.low for each in metrics]
    assert sorted(each.words for each in marks(many, Words)) == names
    assert [each.name for each in marks(few, Ranges) if each.name] == names[:3]
    assert page.draw(many) and paper.draw(few, width=8.25)


def test_models_by_price_and_quality_have_a_logarithmic_axis_and_the_front_in_words() -> None:
    costs, scores = [0.1701, 4.0, 20.0, 9.25], [0.3, 0.5, 0.7, 0.4]
    places = [
        Place(
            label=f"runs/m{k}",
            x=Metric(value=cost, unit="count"),
            y=Metric(value=score),
            n_parameters=None,
            training=None,
        )
        for k, (cost, score) in enumerate(zip(costs, scores, strict=True))
    ]
    found = Across(
        x_title="GFLOPs of one image", y_title="MRR", places=places, given_parameters=None, left_out=[],
        correlation=RankCorrelation(0.8, Interval(None, None, "too few"), 0.3), evaluations=["retrieval@x"],
        are_checkpoints=False, front=["runs/m0", "runs/m1", "runs/m2"], notes=["Of a machine."],
    )  # fmt: skip
    drawn = figures.across(found, ["m0", "m1", "m2", "m3"])
    (panel,) = drawn.panels
    assert panel.x.is_log
    (front,) = marks(drawn, Line)
    assert (front.xs, front.ys, front.is_dashed) == ([0.1701, 4, 20], [0.3, 0.5, 0.7], True)
    assert "at least as cheap and at least as good, and ahead in one of the two: m0, m1 and m2." in drawn.reading
    assert "may belong to it. Of a machine. The rank" in drawn.reading
    assert drawn.detail == "m0: 0.170 and 30.0 %. m1: 4 and 50.0 %. m2: 20 and 70.0 %. m3: 9.25 and 40.0 %."
    assert not marks(figures.across(replace(found, front=["runs/m2"]), ["m0", "m1", "m2", "m3"]), Line)
    assert page.draw(drawn) and paper.draw(drawn, width=8.25)
