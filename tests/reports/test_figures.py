"""Figures show what the run holds: their numbers against naive versions of the same."""

import re
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipbench.result import Curve, Run
from clipbench_reports import figures
from clipbench_reports import format as fmt
from clipbench_reports.evidence import Evidence, Lacking

MakeRun = Callable[..., Run]
COLOURS = ["black", "blue", "cyan", "green", "pink", "purple", "red", "white", "yellow"]
Draw = Callable[[Evidence], figures.Figure]


@pytest.fixture
def evidence(make_run: MakeRun) -> Callable[..., Evidence]:
    """Return a function that keeps the parts of one evaluation in a run and gives it as evidence."""

    def make(**parts: Any) -> Evidence:
        run = make_run({"task@data": parts})
        return Evidence(run, run.result.evaluations[0])

    return make


Make = Callable[..., Evidence]


def answers(label: str, predicted: str) -> dict[str, np.ndarray]:
    return {"label": np.array(label.split(), object), "predicted": np.array(predicted.split(), object)}


def test_the_confusion_matrix_names_the_worst_pair_and_its_share(evidence: Make) -> None:
    found = figures.confusion(evidence(samples=answers("a a a a b b", "a b b c b b")))
    assert "“a” is taken for “b”: 50.0 % of its pictures" in found.title
    cells = re.findall(r'class="cell" fill-opacity="([\d.]+)"', found.picture)
    assert Counter(cells) == Counter(["0.50", "0.71", "0.50", "1.00"])  # square roots of 1/4, 1/2, 1/4 and 1


def test_a_class_that_is_only_ever_an_answer_has_an_empty_row(evidence: Make) -> None:
    found = figures.confusion(evidence(samples=answers("a a", "b b")))
    assert ": 100.0 % of its pictures" in found.title
    assert "right on the diagonal: 0.0 % on average over classes" in found.picture
    assert "nan" not in found.picture


def test_the_diagonal_is_averaged_over_classes_that_have_samples(evidence: Make) -> None:
    found = figures.confusion(evidence(samples=answers("a a c", "a b c")))  # b is an answer only
    assert "right on the diagonal: 75.0 % on average over classes" in found.picture


def test_a_faultless_model_confuses_nothing(evidence: Make) -> None:
    assert figures.confusion(evidence(samples=answers("a b", "a b"))).title == "No picture is taken for another class."


def test_classes_are_in_natural_order(evidence: Make) -> None:
    found = figures.confusion(evidence(samples=answers("c10 c2 c1", "c10 c2 c1")))
    assert re.findall(r">(c\d+)<", found.picture)[::2] == ["c1", "c2", "c10"]


def test_too_many_classes_for_a_picture_are_refused(evidence: Make) -> None:
    names = " ".join(f"c{k}" for k in range(121))
    with pytest.raises(Lacking, match="121 classes are too many"):
        figures.confusion(evidence(samples=answers(names, names)))


def test_many_classes_are_a_pattern_with_a_box_for_each_first_word(evidence: Make) -> None:
    names = [f"{colour} {kind}" for colour in COLOURS for kind in ("arch", "cone", "cube", "disc")]
    rng = np.random.default_rng(0)
    label, predicted = (np.array(names, object)[rng.integers(0, 36, 500)] for _ in range(2))
    found = figures.confusion(evidence(samples={"label": label, "predicted": predicted}))
    written = re.findall(r">([^<>]+)</text>", found.picture)
    assert Counter(written) == Counter(2 * COLOURS)  # each beside its rows and under its columns
    assert found.picture.count('class="outline"') == 9
    shares = {pair: n / (label == pair[0]).sum() for pair, n in Counter(zip(label, predicted, strict=True)).items()}
    wrong = {pair: share for pair, share in shares.items() if pair[0] != pair[1]}
    inside = sum(share for (true, answer), share in wrong.items() if true.split()[0] == answer.split()[0])
    assert f"begin with one word; {fmt.percent(inside / sum(wrong.values()))} % of the mistakes" in found.reading
    assert found.picture.count("h1M") + found.picture.count('h1"') == len(shares)  # one stroke a pair that occurs


def test_boxes_and_their_cells_lie_at_the_rows_of_their_classes(evidence: Make) -> None:
    names = [f"{letter} {k:02}" for letter in "ab" for k in range(20)]
    found = figures.confusion(evidence(samples={name: np.array(names, object) for name in ("label", "predicted")}))
    assert found.title == "No picture is taken for another class."
    cells = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1", found.picture)}
    assert cells == {(k, k) for k in range(40)}
    first, second = re.findall(r'd="M([\d.]+) ([\d.]+)h([\d.]+)[^"]*" class="outline"', found.picture)
    assert float(second[0]) - float(first[0]) == pytest.approx(float(first[2]), abs=0.11)
    assert found.is_wide is False


def test_many_classes_without_groups_are_named_here_and_there(evidence: Make) -> None:
    names = " ".join(f"c{k}" for k in range(90))
    found = figures.confusion(evidence(samples=answers(names, names)))
    written = re.findall(r">(c\d+)</text>", found.picture)
    assert written[::2] == written[1::2] == ["c5", "c15", "c25", "c35", "c45", "c55", "c65", "c75", "c85"]
    assert "outline" not in found.picture


def test_names_beside_small_boxes_do_not_touch(evidence: Make) -> None:
    names = [*(f"a{k} x" for k in range(6)), *(f"z {k:02}" for k in range(100))]
    found = figures.confusion(evidence(samples={name: np.array(names, object) for name in ("label", "predicted")}))
    heights = [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" text-anchor="end">', found.picture)]
    assert len(heights) == 3
    assert np.diff(heights).min() >= 15


def test_reliability_tells_mean_confidence_and_accuracy(evidence: Make) -> None:
    curve = Curve(x=[0.2, 0.9], y=[0.0, 0.5])
    samples = {"confidence": np.array([0.2, 0.8, 1.0]), "acc1": np.array([0.0, 1.0, 0.0])}
    found = figures.reliability(evidence(samples=samples, curves={"reliability": curve}))
    assert found.title == "On average it is 66.7 % sure, and right in 33.3 %."
    assert "20.0 → 0.0, 90.0 → 50.0" in found.picture


def test_templates_are_told_from_best_to_worst(evidence: Make, parts: SimpleNamespace) -> None:
    curve = Curve(x=[1.0, 2.0, 3.0], y=[0.5, 0.6, 0.65])
    kept = evidence(
        curves={"templates": curve},
        arrays={"template_names": np.array(["worst", "middle", "best"])},
        metrics={"acc1": parts.fraction(0.7, 100)},
    )
    assert figures.ranked(kept) == (["best", "middle", "worst"], [0.65, 0.6, 0.5])
    found = figures.templates(kept)
    assert found.title == "Alone, the prompt templates reach 50.0 to 65.0 %."
    assert "all together 70.0" in found.picture


def test_many_templates_are_dots_without_names(evidence: Make) -> None:
    names = np.array([f"template {k}" for k in range(80)])
    curve = Curve(x=[float(k) for k in range(80)], y=[0.5 + k / 1000 for k in range(80)])
    found = figures.templates(evidence(curves={"templates": curve}, arrays={"template_names": names}))
    assert found.picture.count("<circle") == 80
    assert "template 40" not in found.picture
    assert "template 79" in found.reading and "template 0" in found.reading


def test_the_line_of_all_templates_makes_way_for_a_name(evidence: Make, parts: SimpleNamespace) -> None:
    def line(together: float) -> str:
        kept = evidence(
            curves={"templates": Curve(x=[1.0, 2.0, 3.0], y=[0.5, 0.55, 0.6])},
            arrays={"template_names": np.array(["a picture of a {c}", "a {c}", "a photo of a {c}"])},
            metrics={"acc1": parts.fraction(together, 100)},
        )
        (found,) = re.findall(r'd="([^"]+)" class="line pair dashed"', figures.templates(kept).picture)
        return str(found)

    assert line(0.7).count("M") == 1  # right of all names
    assert line(0.57).count("M") == 1 and "V24" not in line(0.57)
    assert line(0.57).startswith("M") and float(line(0.57).split()[1].split("V")[0]) > 24  # the top row is struck


def test_templates_that_all_score_alike_are_drawn_within_what_is_possible(evidence: Make) -> None:
    names = np.array(["a {c}", "the {c}"])
    for score in (1.0, 0.992, 0.0):
        curve = Curve(x=[1.0, 2.0], y=[score, score])
        found = figures.templates(evidence(curves={"templates": curve}, arrays={"template_names": names}))
        ticks = [float(tick) for tick in re.findall(r">([\d.]+)<", found.picture)]
        assert min(ticks) >= 0 and max(ticks) <= 100 and max(ticks) - min(ticks) < 2, ticks


def test_one_template_has_no_spread(evidence: Make) -> None:
    kept = evidence(curves={"templates": Curve(x=[1.0], y=[0.5])}, arrays={"template_names": np.array(["a {c}"])})
    with pytest.raises(Lacking, match="one prompt template was used"):
        figures.templates(kept)


def test_names_that_do_not_fit_the_templates_are_not_drawn(evidence: Make) -> None:
    curves = {"templates": Curve(x=[1.0, 2.0], y=[0.5, 0.6])}
    with pytest.raises(Lacking, match="1 names for 2 prompt templates"):
        figures.templates(evidence(curves=curves, arrays={"template_names": np.array(["a"])}))


def test_the_similarity_figure_counts_rows_whose_pair_is_strictly_highest(evidence: Make) -> None:
    matrix = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.3, 0.8, 0.7]], np.float32)  # lit, tied, beaten
    found = figures.similarity(evidence(arrays={"similarity": matrix}))
    assert found.title == "In 1 of 3 rows the true pair, on the diagonal, has the highest cosine."
    assert "of the pairs is 0.700, of all others 0.333" in found.reading


def test_a_constant_model_lights_no_diagonal(evidence: Make) -> None:
    found = figures.similarity(evidence(arrays={"similarity": np.ones((4, 4), np.float32)}))
    assert "In 0 of 4 rows" in found.title


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,)])
def test_a_similarity_array_that_is_no_matrix_of_pairs_is_not_drawn(evidence: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(Lacking, match="expected a square one"):
        figures.similarity(evidence(arrays={"similarity": np.zeros(shape, np.float32)}))


def test_recall_is_told_at_the_first_answer_and_along_the_curve(evidence: Make, parts: SimpleNamespace) -> None:
    ks = [float(k) for k in range(1, 101)]
    curves = {
        "image_retrieval_recall": Curve(x=ks, y=[k / 100 for k in ks]),
        "text_retrieval_recall": Curve(x=ks, y=[k / 200 for k in ks]),
    }
    metrics = {"image_retrieval_recall@1": parts.fraction(0.01, 100, chance=0.01)}
    found = figures.recall(evidence(curves=curves, metrics=metrics))
    assert found.title == "At the first answer, a caption finds its image in 1.0 % and an image its caption in 0.5 %."
    assert "caption → image: 1.0 % at 1, 5.0 % at 5, 10.0 % at 10, 100.0 % at 100." in found.picture


@pytest.mark.parametrize("levels", [(0.97, 0.96), (0.97, 0.3), (0.5, 0.45), (0.04, 0.03), (0.5, 0.01), (1.0, 1.0)])
def test_the_names_of_recall_curves_do_not_lie_on_the_curves(evidence: Make, levels: tuple[float, float]) -> None:
    ks = [float(k) for k in range(1, 101)]
    flat = zip(("image_retrieval_recall", "text_retrieval_recall"), levels, strict=True)
    drawn = figures.recall(evidence(curves={name: Curve(x=ks, y=[y] * 100) for name, y in flat})).picture
    curves = [float(y) for y in re.findall(r'd="M[\d.]+ ([\d.]+)L[^"]*" class="line (?:image|text)"', drawn)]
    names = [float(y) for y in re.findall(r'y="([\d.]+)" class="halo name', drawn)]
    assert len(curves) == len(names) == 2
    for foot in names:
        assert all(not foot - 11 < curve < foot + 2 for curve in curves)
        assert 11 < foot < 254
    assert abs(names[0] - names[1]) >= 15


def test_retrieval_within_a_modality_is_a_figure_of_its_own(evidence: Make) -> None:
    kept = evidence(curves={"text_text_recall": Curve(x=[1.0, 2.0], y=[0.25, 0.5])})
    assert figures.recall_within(kept).title == "At the first answer, a caption finds another of its image in 25.0 %."
    with pytest.raises(Lacking):
        figures.recall(kept)


def test_mean_cosines_are_those_of_every_pair_counted_naively(evidence: Make, parts: SimpleNamespace) -> None:
    arrays = parts.modality_gap(np.random.default_rng(1), n=40)["arrays"]
    images, texts = (arrays[name].astype(np.float64) for name in ("images", "texts"))
    different = [(i, j) for i in range(40) for j in range(40) if i != j]
    naive = {
        "image – image": np.mean([images[i] @ images[j] for i, j in different]),
        "text – text": np.mean([texts[i] @ texts[j] for i, j in different]),
        "true pair": np.mean([images[i] @ texts[i] for i in range(40)]),
        "image – other text": np.mean([images[i] @ texts[j] for i, j in different]),
    }
    found = figures.cosines(evidence(arrays=arrays))
    for label, mean in naive.items():
        assert f"{label} {fmt.significant(float(mean))}" in found.picture


def test_cosines_of_a_constant_model_are_drawn(evidence: Make) -> None:
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (5, 1))
    found = figures.cosines(evidence(arrays={"images": same, "texts": same}))
    assert found.title.startswith("A true pair has cosine 1.00 on average, an image and another text 1.00")


def test_the_map_holds_the_variance_that_a_singular_value_decomposition_finds(
    evidence: Make, parts: SimpleNamespace
) -> None:
    arrays = parts.modality_gap(np.random.default_rng(2), n=60)["arrays"]
    together = np.concatenate([arrays["images"], arrays["texts"]]).astype(np.float64)
    values = np.linalg.svd(together - together.mean(axis=0), compute_uv=False) ** 2
    first, both = values[0] / values.sum(), values[:2].sum() / values.sum()
    found = figures.vector_map(evidence(arrays=arrays))
    assert f"hold {fmt.percent(float(both))} %" in found.title
    assert f"alone {fmt.percent(float(first))} %" in found.title


def test_images_lie_left_of_texts_on_the_map(evidence: Make, parts: SimpleNamespace) -> None:
    arrays = parts.modality_gap(np.random.default_rng(3), n=60)["arrays"]
    for images, texts in (("images", "texts"), ("texts", "images")):
        drawn = figures.vector_map(evidence(arrays={"images": arrays[images], "texts": arrays[texts]})).picture
        paths = re.findall(r'd="([^"]+)" class="specks', drawn)
        left, right = (np.mean([float(x) for x in re.findall(r"M([\d.]+) ", path)]) for path in paths)
        assert left < right


def test_equal_vectors_have_no_map(evidence: Make) -> None:
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (5, 1))
    with pytest.raises(Lacking, match="all kept vectors are equal"):
        figures.vector_map(evidence(arrays={"images": same, "texts": same}))


@pytest.mark.parametrize("draw", [figures.cosines, figures.vector_map])
def test_vectors_that_are_no_pairs_are_not_drawn(evidence: Make, draw: Draw) -> None:
    one = np.ones((1, 4), np.float32) / 2
    with pytest.raises(Lacking, match=r"shapes \(1, 4\) and \(1, 4\), expected two or more pairs"):
        draw(evidence(arrays={"images": one, "texts": one}))


def test_a_curve_with_holes_is_drawn_where_it_is_known(evidence: Make) -> None:
    kept = evidence(
        curves={"own": Curve(x=[1.0, 2.0, 3.0], y=[1.0, 5.0, 3.0], low=[0.0, 4.0, 2.0], high=[2.0, 6.0, 4.0])}
    )
    kept.evaluation.curves["own"].y[1] = float("nan")
    found = figures.curve("own")(kept)
    assert found.picture.count("<circle") == 2
    assert "from 1 to 3 over 3 points" in found.title
