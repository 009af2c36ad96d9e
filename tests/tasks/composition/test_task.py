"""composition: each paper's score worked out by its rule on vectors written by hand, ties among them, and baselines.

Images and texts are points on two axes or between them; each comment says which cosines that makes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import scipy.stats

from clipbench.data import Contrast, Dataset, ImageRef
from clipbench.data.contrasts import shuffle_words
from clipbench.evaluation.task import Evaluation
from clipbench.metrics.similarity import unit
from clipbench.models.protocol import Embedder
from clipbench.results.record import Metric
from clipbench.stats.clusters import standard_error
from clipbench.testing import FixedEmbedder
from clipbench_tasks.choices import ItemVectors
from clipbench_tasks.composition import scoring
from clipbench_tasks.composition.scoring import means, symmetric_relations
from clipbench_tasks.composition.task import Composition
from tests.made import ConstantEmbedder, assert_at_chance, data_of, evaluate_task

PAIR = ((True, False),)
OWN = ((True, False), (False, True))
EAST, NORTH, BETWEEN = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]
NEAR = [2.0, 1.0]
"""Nearer to the east than ``BETWEEN`` is."""
PLACES: Mapping[str, Sequence[float]] = {"e": EAST, "n": NORTH, "b": BETWEEN, "e+": NEAR}


class Hand(FixedEmbedder):
    """An embedder in which the last word of a text, and the name of an image up to a dot, say where it points."""

    def __init__(self) -> None:
        super().__init__({"e": EAST}, {})

    def images(self, images: Sequence[ImageRef]) -> np.ndarray:
        return np.array([PLACES[image.name.partition(".")[0]] for image in images], np.float32)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        # A shuffled text has its place somewhere else: it is found as the one word that is a place.
        return np.array([next(PLACES[word] for word in text.split() if word in PLACES) for text in texts], np.float32)


def dataset(images: str, contrasts: Sequence[Contrast] | None, **parts: object) -> Dataset:
    return data_of(images.split(), contrasts=contrasts, **parts)


def evaluate(data: Dataset, embedder: Embedder | None = None) -> tuple[Evaluation, dict[str, Metric]]:
    return evaluate_task(Composition(), data, embedder or Hand())


def values(metrics: Mapping[str, Metric], *names: str) -> list[float | None]:
    return [metrics[name].value for name in names]


# What each paper's rule gives ---------------------------------------------------------------------------------------


def test_sugarcrepe_by_subset_category_and_macro() -> None:
    outcomes = {  # of each subset: right (the true caption points with the image), wrong, tied
        "replace_obj": "right right right wrong",
        "replace_att": "right wrong",
        "replace_rel": "right",
        "swap_obj": "wrong",
        "swap_att": "tied right",
        "add_obj": "right",
        "add_att": "wrong wrong",
    }
    captions = {"right": ("x e", "x n"), "wrong": ("x n", "x e"), "tied": ("x e", "y e")}
    items = [
        Contrast(f"{subset}/{k}", subset, (0,), captions[part], PAIR)
        for subset, all_of in outcomes.items()
        for k, part in enumerate(all_of.split())
    ]
    _, metrics = evaluate(dataset("e", items))
    expected = {"replace_obj": 0.75, "replace_att": 0.5, "replace_rel": 1.0, "swap_obj": 0.0, "swap_att": 0.75}
    expected |= {"add_obj": 1.0, "add_att": 0.0, "replace": 0.75, "swap": 0.375, "add": 0.5, "macro": 4.0 / 7}
    assert {name: metrics[f"{name}/text_acc"].value for name in expected} == pytest.approx(expected)
    assert metrics["micro/text_acc"].value == pytest.approx(7.5 / 13)
    # The paper's rule is a strict one: the tie fails.
    assert values(metrics, "swap_att/text_acc_strict", "swap_att/text_acc") == [0.5, 0.75]
    expected |= {"swap_att": 0.5, "swap": 0.25, "macro": 3.75 / 7, "micro": 7 / 13}
    assert {name: metrics[f"{name}/text_acc_strict"].value for name in expected} == pytest.approx(expected)
    assert {metrics[f"{name}/text_acc_strict"].chance for name in expected} == {None}
    assert metrics["tie_rate"].value == pytest.approx(1 / 13)
    assert {metric.chance for name, metric in metrics.items() if name.endswith("/text_acc")} == {0.5}


def test_sugarcrepe_plus_plus_by_image_and_by_text_alone() -> None:
    truth = ((True, True, False),)
    items = [
        Contrast("right", "", (0,), ("x e", "y e", "z n"), truth),  # both above; cosine of the true ones 1, others 0
        Contrast("one below", "", (0,), ("x e", "y n", "z b"), truth),  # the second below the false one, in both ways
        # The image holds each true one as near as the false one; so do the texts: two coins of three.
        Contrast("all tied", "", (0,), ("x e", "y e", "z e"), truth),
        # By image 1 and .894 beat .707; by text .894 (P1, P2) against .707 (P1, N) and .949 (P2, N): wrong.
        Contrast("by image only", "", (0,), ("x e", "y e+", "z b"), truth),
    ]
    _, metrics = evaluate(dataset("e", items))
    assert values(metrics, "text_acc", "text_only_acc") == pytest.approx([(1 + 0 + 1 / 3 + 1) / 4, (1 + 0 + 1 / 3) / 4])
    assert values(metrics, "text_acc_strict", "text_only_acc_strict") == [0.5, 0.25]
    assert metrics["text_acc"].chance == pytest.approx(1 / 3) == metrics["text_only_acc"].chance


def test_winoground_text_image_and_group() -> None:
    items = [
        Contrast("right", "", (0, 1), ("x e", "x n"), OWN),  # image e, image n
        # Image e with captions e, b; image b.1 with the same: 1 > .71, 1 > .71; captions likewise: all right.
        Contrast("near", "", (0, 2), ("x e", "x b"), OWN),
        # Images e, e+; captions b, n: e .71 > 0 right; e+ .95 > .45 wrong; b .71 < .95 wrong; n .45 > 0 right.
        Contrast("half", "", (0, 3), ("x b", "x n"), OWN),
        # Two images alike, captions e, n: both prefer the first: text wrong; each caption ties: a coin twice, one order.
        Contrast("same image", "", (4, 5), ("x e", "x n"), OWN),
        # Two captions alike, images e and n: each image ties: text 1/4; image wrong, as both prefer the first.
        Contrast("same caption", "", (6, 7), ("x e", "y e"), OWN),
        Contrast("all alike", "", (8, 9), ("x e", "y e"), OWN),
    ]
    evaluation, metrics = evaluate(dataset("e.0 n.0 b.1 e+.1 e.2 e.3 e.4 n.4 e.5 e.6", items))
    assert evaluation.samples["text_acc"].tolist() == [1, 1, 0, 0, 1 / 4, 1 / 4]
    assert evaluation.samples["image_acc"].tolist() == [1, 1, 0, 1 / 4, 0, 1 / 4]
    assert evaluation.samples["group_acc"].tolist() == pytest.approx([1, 1, 0, 0, 0, 1 / 6])
    assert [metrics[f"{side}_acc"].chance for side in ("text", "image", "group")] == pytest.approx(
        [1 / 4, 1 / 4, 1 / 6]
    )
    assert values(metrics, "text_acc_strict", "image_acc_strict", "group_acc_strict") == pytest.approx([2 / 6] * 3)
    assert "text_pair_acc" not in metrics


def test_nlvr_asks_for_all_true_images_above_all_false_ones() -> None:
    truth = ((True,), (True,), (False,))
    items = [
        Contrast("right", "", (0, 1, 2), ("boxes e",), truth),  # 1, .894 > 0
        Contrast("one wrong", "", (3, 4, 5), ("boxes e",), truth),  # 1, 0 against .707: one of two pairs
        Contrast("tied", "", (6, 7, 8), ("boxes e",), truth),  # 1, .707 against .707: one pair right, one tied
    ]
    evaluation, metrics = evaluate(dataset("e.0 e+.0 n.0 e.1 n.1 b.1 e.2 b.2 b.3", items))
    assert evaluation.samples["image_acc"].tolist() == [1, 0, 0.5]
    assert metrics["image_pair_acc"].value == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert [metrics[name].chance for name in ("image_acc", "image_pair_acc")] == pytest.approx([1 / 3, 1 / 2])
    assert not {"text_acc", "group_acc", "hard_negative_cosine", "shorter_caption"} & set(metrics)
    assert evaluation.samples["caption"].tolist() == ["boxes e"] * 3 and set(evaluation.samples["preferred"]) == {""}
    assert evaluation.samples["image"].tolist() == [1, 4, 7]  # of each, the true image that is lowest


def test_a_cue_chooses_as_many_images_as_belong_to_it_by_number_of_candidates() -> None:
    truth = ((True,), (True,), (False,), (False,), (False,))
    items = [
        Contrast("10-12/a", "10-12", (0, 1, 2, 3, 4), ("boxes e",), truth),  # both right: 2 / 2
        Contrast("10-12/b", "10-12", (0, 2, 3, 4, 1), ("boxes e",), truth),  # one of two: 1 / 3
        Contrast("5-6/c", "5-6", (2, 3, 0, 1, 4), ("boxes e",), truth),  # none
    ]
    evaluation, metrics = evaluate(dataset("e.0 e+.0 n.0 n.1 n.2", items))
    assert metrics["10-12/image_jaccard"].value == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["10-12/image_jaccard"].title == "Jaccard index of images"
    assert metrics["micro/image_jaccard"].is_headline
    assert evaluation.subsets["10-12"] == "10 or 12 images"
    # All items share images: one cluster of all would leave nothing to compare it with.
    assert "cluster" not in evaluation.samples
    assert evaluation.notes[-1].startswith("the items share images so widely that they are one cluster")


def test_aro_relations_are_averaged_without_symmetric_ones_and_attributes_with_enough_cases() -> None:
    right, wrong = ("x e", "x n"), ("x n", "x e")
    assert len(symmetric_relations()) == 157 and "next to" in symmetric_relations()
    relations = {"eating": [right, wrong], "riding": [right], "next to": [wrong] * 3}
    attributes = {"red_old": [right] * 20 + [wrong] * 5, "big_wet": [right] * 25, "few_cases": [wrong] * 24}
    items = [
        Contrast(f"{subset}/{group}/{k}", subset, (0,), captions, PAIR, group)
        for subset, groups in (("vg_relation", relations), ("vg_attribution", attributes))
        for group, cases in groups.items()
        for k, captions in enumerate(cases)
    ]
    evaluation, metrics = evaluate(dataset("e", items))
    assert metrics["vg_relation/macro_text_acc"].value == pytest.approx((1 / 2 + 1) / 2)
    assert metrics["vg_relation/text_acc"].value == pytest.approx(2 / 6)
    assert metrics["vg_attribution/macro_text_acc"].value == pytest.approx((20 / 25 + 1) / 2)
    assert metrics["vg_attribution/text_acc"].value == pytest.approx(45 / 74)
    assert (metrics["vg_relation/macro_text_acc"].n, metrics["vg_attribution/macro_text_acc"].n) == (3, 50)
    assert any("without the 157 that are true both ways" in note for note in evaluation.notes)


def test_an_order_set_has_one_true_caption_among_five() -> None:
    truth = ((True, False, False, False, False),)
    items = [
        Contrast("right", "order", (0,), ("1 e", "2 n", "3 n", "4 n", "5 b"), truth),
        Contrast("tied with two", "order", (0,), ("1 e", "2 e", "3 e", "4 n", "5 n"), truth),  # argmax would say right
        Contrast("wrong", "order", (0,), ("1 b", "2 e", "3 n", "4 n", "5 n"), truth),
    ]
    _, metrics = evaluate(dataset("e", items))
    assert metrics["order/text_acc"].value == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert metrics["order/text_acc_strict"].value == pytest.approx(1 / 3)
    assert metrics["order/text_acc"].chance == pytest.approx(0.2)
    assert metrics["order/text_pair_acc"].value == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)


# What stands beside the accuracy ------------------------------------------------------------------------------------


def test_a_constant_model_scores_chance_everywhere() -> None:
    items = [
        Contrast("a", "pair", (0,), ("red cube", "blue cube ring"), PAIR),
        Contrast("b", "wino", (0, 1), ("a on b", "b on a"), OWN),
        Contrast("c", "two", (1,), ("one here", "one there", "none at all"), ((True, True, False),)),
        Contrast("d", "images", (0, 1, 2), ("some words",), ((True,), (False,), (False,))),
        Contrast("e", "order", (2,), ("a b c d", "d a b c", "b a d c", "c d b a", "b c d a"), ((True, *[False] * 4),)),
    ]
    _, metrics = evaluate(dataset("e n b", items), ConstantEmbedder())
    assert sum(metric.chance is not None for metric in metrics.values()) > 15
    assert_at_chance(metrics)
    assert metrics["tie_rate"].value == 1.0 and metrics["hard_negative_cosine"].value == pytest.approx(1.0)


def test_twins_cosines_and_blind_rules() -> None:
    items = [
        Contrast("1", "s", (0,), ("red on blue e", "blue on red e"), PAIR),  # the same words, as long: a coin
        Contrast("2", "s", (0,), ("a cup e", "a very old cup n"), PAIR),  # the shorter is true
        Contrast("3", "s", (0,), ("a cup and a box b", "a cup e"), PAIR),  # the longer is true
    ]
    evaluation, metrics = evaluate(dataset("e", items))
    assert evaluation.samples["hard_negative_cosine"].tolist() == pytest.approx([1, 0, 1 / np.sqrt(2)], abs=1e-6)
    assert values(metrics, "s/shorter_caption", "s/same_words") == pytest.approx([(0.5 + 1 + 0) / 3, 1 / 3])
    assert evaluation.samples["other_cosine"].min() >= 1 / np.sqrt(2) - 1e-6  # the first captions point e, e and b


def test_the_standard_error_of_unrelated_captions_is_that_of_repeated_samples() -> None:
    """Captions around a common direction are each in two cosines, so that neighbours in the draw are alike."""
    items = [Contrast(str(k), "s", (0,), (f"caption {k}", "false"), PAIR) for k in range(40)]
    rows = {text: row for row, text in enumerate([*(item.captions[0] for item in items), "false"])}
    averages, errors = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        texts = unit((rng.standard_normal((41, 8)) * 0.3 + np.eye(8)[0]).astype(np.float32))
        cosine, influence = scoring.other_cosine(items, ItemVectors(texts[:1], texts, rows, texts), rng)
        averages.append(cosine.mean())
        errors.append(standard_error(influence) or 0.0)
    assert np.mean(errors) == pytest.approx(np.std(averages), rel=0.12)  # 400 repeats know it to 3.5 %


def test_word_order_is_the_true_caption_against_its_shuffled_self() -> None:
    caption, twin = "red cube on blue ball", "blue cube on red ball"
    other = shuffle_words(caption)
    assert other is not None
    texts = {caption: EAST, twin: NORTH, other: BETWEEN}
    data = dataset("e", [Contrast("1", "", (0,), (caption, twin), PAIR)])
    _, metrics = evaluate(data, FixedEmbedder({"e": EAST}, texts))
    assert values(metrics, "word_order_acc", "shuffled_cosine") == pytest.approx([1.0, 1 / np.sqrt(2)], abs=1e-6)


def test_a_sample_of_captions_is_noted_though_some_cannot_be_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAX_SHUFFLED", 3)
    captions = ["a big red dog sits on the mat e", "the small blue cat lies under a table e", "e", "e"]
    items = [Contrast(str(row), "", (0,), (caption, "n"), PAIR) for row, caption in enumerate(captions)]
    evaluation, _ = evaluate(dataset("e", items))
    assert "word order: a seeded sample of 3 captions" in evaluation.notes


def test_items_that_share_any_image_are_a_cluster() -> None:
    items = [Contrast(str(k), "", (row, row + 1), ("x e", "x n"), OWN) for k, row in enumerate((0, 1, 2, 4))]
    evaluation, _ = evaluate(dataset("e.0 n.0 e.1 n.1 e.2 n.2", items))
    assert evaluation.samples["cluster"].tolist() == ["e.0", "e.0", "e.0", "e.2"]


def test_both_sides_of_an_item_have_their_margin_with_the_cosines_that_it_is_the_difference_of() -> None:
    # Image e: its own caption at 1, the other's at 0. Image b.1: .707 each. Caption "x e": 1 with e, .707 with b.1.
    items = [Contrast("1", "", (0, 1), ("x e", "x n"), OWN), Contrast("2", "", (0,), ("x e", "x b"), PAIR)]
    samples = evaluate(dataset("e b.1", items))[0].samples
    half = np.sqrt(0.5)
    assert samples["text_margin"] == pytest.approx([0, 1 - half], abs=1e-7)
    assert samples["target_cosine"] == pytest.approx([half, 1], abs=1e-7)
    assert samples["predicted_cosine"] == pytest.approx([half, half], abs=1e-7)
    # "x n" has nothing of e and .707 of b.1, a margin of .707; "x e" is nearer to failing, by 1 - .707.
    assert samples["image_margin"] == pytest.approx([1 - half, np.nan], abs=1e-7, nan_ok=True)
    assert samples["query_caption"].tolist() == ["x e", ""]
    assert samples["target_image"].tolist() == [0, -1] and samples["predicted_image"].tolist() == [1, -1]
    assert samples["target_image"].dtype == samples["predicted_image"].dtype == np.int64
    assert samples["target_image_cosine"] == pytest.approx([1, np.nan], abs=1e-7, nan_ok=True)
    assert samples["predicted_image_cosine"] == pytest.approx([half, np.nan], abs=1e-7, nan_ok=True)


def test_the_macro_interval_is_the_standard_error_of_a_mean_of_means() -> None:
    draws = np.random.default_rng(5)
    sizes = {"replace_obj": 400, "swap_obj": 100}
    rights = {subset: draws.random(n) < 0.6 for subset, n in sizes.items()}
    items = [
        Contrast(f"{subset}/{k}", subset, (row,), ("x e", "x n") if right else ("x n", "x e"), PAIR)
        for subset, all_of in rights.items()
        for row, (k, right) in enumerate(enumerate(all_of), start=400 * (subset == "swap_obj"))
    ]
    _, metrics = evaluate(dataset(" ".join(f"e.{k}" for k in range(500)), items))
    variance = sum(all_of.var(ddof=1) / len(all_of) for all_of in rights.values()) / 4  # of the mean of two means
    error = scipy.stats.t.ppf(0.975, 499) * np.sqrt(variance * 500 / 499)
    macro = metrics["macro/text_acc"]
    assert macro.value == pytest.approx(np.mean([all_of.mean() for all_of in rights.values()]))
    assert macro.value is not None
    for bound in (macro.low, macro.high):  # Wilson's at least: the standard error is that of a share at the bound
        assert bound is not None
        spread = bound * (1 - bound) / (macro.value * (1 - macro.value))
        assert 1 - 1e-9 <= abs(bound - macro.value) / (error * np.sqrt(spread)) < 1.04


@pytest.mark.parametrize(("sizes", "at_least"), [((2,) * 40, 0.92), ((1,) * 20 + (10,) * 20, 0.9), ((5,) * 40, 0.93)])
def test_the_macro_interval_covers_where_groups_are_small(sizes: tuple[int, ...], at_least: float) -> None:
    draws = np.random.default_rng(1)
    groups = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    items = [Contrast(str(k), "", (0,), ("x e", "x n"), PAIR, group) for k, group in enumerate(groups)]
    covered = []
    for _ in range(400):
        rights = (draws.random(len(groups)) < 0.6).astype(np.float64)
        result = means(items, {"text_acc": rights}, {"text_acc": np.full(len(groups), 0.5)})
        macro = result.of_groups["macro_text_acc"].metric(result.columns, draws)
        assert macro.low is not None and macro.high is not None
        covered.append(macro.low <= 0.6 <= macro.high)
    assert np.mean(covered) >= at_least  # 95 %, less what is left of the groups of one, and three standard errors


# What data it takes -------------------------------------------------------------------------------------------------


def test_data_with_captions_only_get_the_order_test() -> None:
    captions = ["a big red dog sits on the mat e", "two cats n"]
    data = dataset("e n", None, captions=captions, caption_image=np.array([0, 1]))
    evaluation, metrics = evaluate(data)
    assert set(evaluation.samples["subset"]) == {"order"} and len(evaluation.samples["sample_id"]) == 2
    # All options of a caption hold the same word that says where it points: ties throughout.
    assert metrics["order/text_acc"].value == pytest.approx(metrics["order/text_acc"].chance)
    assert metrics["order/same_words"].value == 1.0
    assert "each must beat word-shuffled copies of itself" in evaluation.notes[0]
